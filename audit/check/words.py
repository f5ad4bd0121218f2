"""What a check says, in words: a sentence for each thing that was looked for, and what could not be judged."""

from lossprint.audit.check.looked_for import KINDS
from lossprint.audit.check.quality import WORDS
from lossprint.audit.words import percent, plural, some

SIGNIFICANT = 0.01  # of the tests for shifts


def sentences(result: dict) -> list[str]:
    """What was found, most telling first, and what could not be judged."""
    parts, images = result["parts"], result["images"]
    told = [f"{plural(images, 'image')}, {_labelled(result)}"]
    told += _foreign(parts["foreign"])
    told += [line for kind in ("copy", "leak", "repeat") if (line := _copies(kind, parts[kind]))]
    told += _labels(parts)
    told += _classes(parts["class_shift"]) + _quality(parts["quality_shift"])
    if parts["unreadable"]["found"]:
        told.append(plural(parts["unreadable"]["found"], *KINDS["unreadable"]))
    told += unjudged(result)
    return told


def unjudged(result: dict) -> list[str]:
    """What could not be judged, a sentence each; not measured is not clean."""
    whys: dict[str, list[str]] = {}
    for kind, part in result["parts"].items():
        if part["unjudged"] or (part["why"] and kind == "foreign"):
            whys.setdefault(f"{part['why']}|{part['unjudged']}", []).append(kind.replace("_", " "))
    told = []
    for key, kinds in whys.items():
        why, _, count = key.rpartition("|")
        what = f"not judged for {some(kinds, 9)}: {plural(int(count), 'image')}" if int(count) else "doubtful: foreign"
        told.append(f"{what}; {why}" if why else what)
    return told


def _labelled(result: dict) -> str:
    count = result["labelled"]
    return "none labelled" if not count else "all labelled" if count == result["images"] else f"{count:,} labelled"


def _foreign(part: dict) -> list[str]:
    if part.get("usual") is None:
        return []
    kind = f"{part['references']:,} {part['reference']} images of the run"
    told = [f"{plural(part['found'], *KINDS['foreign'])} (of the {kind} {percent(part['usual'])} would be)"]
    whole = part.get("whole")
    if whole is not None:
        if whole["low"] > 0.5:
            told.append(
                f"the batch as a whole lies farther out than the run: one of its images is the more foreign of two in "
                f"{percent(whole['above'])} of pairs (95 % interval {percent(whole['low'])} to "
                f"{percent(whole['high'])}; 50 % where both are alike)"
            )
        else:
            told.append("the batch as a whole lies no farther out than the run's own images")
    return told


def _copies(kind: str, part: dict) -> str:
    if not part["found"]:
        return ""
    more = f" ({part['exact']:,} exact, {part['near']:,} changed)" if "near" in part else ""
    return plural(part["found"], *KINDS[kind]) + more


def _labels(parts: dict) -> list[str]:
    told = []
    if parts["label_error"]["found"]:
        sure = parts["label_error"].get("certain", 0)
        words = plural(parts["label_error"]["found"], *KINDS["label_error"])
        told.append(f"{words}, of {sure:,} of them head and neighbours name the same other class")
    if parts["unknown_label"]["found"]:
        names = some((repr(one["label"]) for one in parts["unknown_label"]["names"]), 5)
        told.append(f"{plural(parts['unknown_label']['found'], *KINDS['unknown_label'])}: {names}")
    return told


def _classes(part: dict) -> list[str]:
    if part.get("distance") is None:
        return []
    how = "classes" if part["how"] == "given" else "predicted classes"
    if part["p"] > SIGNIFICANT:
        return [f"{how}: no shift that chance could not make (p = {part['p']:.2g})"]
    moved = [one for one in part["rows"] if one["label"] is not None][:3]
    words = "; ".join(
        f"{one['label']} {percent(one['share'])} instead of {percent(one['known_share'])}" for one in moved
    )
    least = f"at least {percent(part['least'])} out of place" if part["least"] > 0 else "how much is uncertain"
    return [f"{how} are shifted by {percent(part['distance'])} ({least}, p = {part['p']:.2g}): {words}"]


def _quality(part: dict) -> list[str]:
    told = []
    for row in part.get("rows") or ():
        if row["least"] is None or row["p"] > SIGNIFICANT:
            continue
        smaller, larger = WORDS[row["name"]][1:]
        way = larger if row["low"] > 0.5 else smaller if row["high"] < 0.5 else "otherwise spread"
        least = f"at least {percent(row['least'])} out of place" if row["least"] > 0 else "how much is uncertain"
        told.append(
            f"{row['name']}: {way} than the run's images (median {row['median']:.3g} against "
            f"{row['known_median']:.3g}; shifted by {percent(row['distance'])}, {least}, p = {row['p']:.2g})"
        )
    return told or (["size, brightness and sharpness: no shift that chance could not make"] if part.get("rows") else [])
