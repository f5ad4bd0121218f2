"""A report's words: numbers, dates and names as a reader sees them, what findings are called, and the longer sentences.

Nothing here escapes: the templates do, so what comes from a dataset or a reviewer may be handed to them as it is.
"""

import math
import re
import shlex
from datetime import datetime
from numbers import Integral
from pathlib import Path

from markupsafe import Markup, escape

from lossprint.audit import words
from lossprint.audit.report.facts import Facts
from lossprint.audit.runs.open import record_command
from lossprint.audit.types import KIND_WORDS
from lossprint.audit.words import NBSP, percent, verb
from lossprint.scoring.intervals import Interval

# Control characters, which HTML forbids, and those that turn the direction of what follows them.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
SPLITS = {"train": "training", "val": "validation", "test": "test"}
DASH = "–"
# What the findings of each kind mean.
MEANINGS = {
    "label_error": "While it learned, the network kept preferring another label to the given one. That is a reason to "
    "look, not a proof: some of these images are only hard to tell.",
    "duplicate": "The same pixels are in the dataset more than once. Where the labels differ, at least one is wrong; "
    "where copies lie in the training and the test part, results look better than they are.",
    "near_duplicate": "Almost the same image, such as shifted, mirrored, cropped or compressed, is in the dataset more "
    "than once. How alike is alike follows from how the dataset’s images differ, or from --near-similarity.",
    "sequence_label": "Stretches of a video in which another label was ahead of the given one, by a model over time "
    "that was trained on the other videos only.",
    "sequence_order": "Two neighbouring blocks of a video that have each other’s labels, or stand in each other’s "
    "place: exchanged, the order of phases is one that other videos have, and the pictures go on where they meet.",
    "outlier": "Images that are unlike all others to the network: broken, foreign to the dataset, or rare and worth "
    "keeping.",
    "quality": "Images that look unlike the rest: dark, bright, blurred, nearly empty, of another size or proportion, "
    "or grey among coloured ones. Nothing says that their labels are wrong.",
}
TITLES = {kind: texts[0] for kind, texts in KIND_WORDS.items()}
ASKED = TITLES | {"audit": "Random checks", "other": "Other questions"}  # what a decision is about
OPTIONS = (
    *("model", "weights", "features", "epochs", "seed", "curvature_checkpoints", "val_fraction", "seeds", "folds"),
    "near_similarity",
)


# ------------------------------------------------------------------------------------------------- texts


def printable(value: object) -> object:
    """What a template writes for a value: whole numbers with commas, nothing that HTML forbids."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        return f"{value:,}"
    return _UNFIT.sub("\ufffd", value) if type(value) is str else value


def text(value: object, most: int = 120) -> str:
    """Foreign text on one line, at most so many characters long, without those that steer what follows them."""
    plain = _UNFIT.sub("\ufffd", " ".join(str(value).split()))
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def name(value: object, most: int = 80) -> Markup:
    """A label or a person's name within a sentence, whatever direction it is written in."""
    return Markup("<bdi>{}</bdi>").format(text(value, most))


def path(value: object, most: int = 90) -> Markup:
    """A path; of a long one its end."""
    plain = " ".join(str(value).split())
    shown = plain if len(plain) <= most else "…" + plain[1 - most :]
    return Markup('<bdi class="path">{}</bdi>').format(text(shown, most))


def given(label: object, most: int = 80) -> Markup:
    """A label as the dataset has it."""
    return Markup('<span class="given">{}</span>').format(name(label, most))


def other(label: object) -> Markup:
    """A label that was suggested or decided."""
    return Markup('<span class="other">{}</span>').format(name(label))


def prose(sentence: str) -> str:
    """A sentence of ours, without a line break between a number and its sign."""
    return text(sentence, 800).replace(" %", f"{NBSP}%")


def css_string(value: str, most: int = 80) -> Markup:
    """Foreign text as a string in a style sheet: everything but letters and digits is escaped."""
    plain = text(value, 10_000)[:most]
    return Markup('"' + "".join(one if one.isalnum() and one.isascii() else f"\\{ord(one):06x}" for one in plain) + '"')


def listed(names: list, most: int = 5) -> Markup:
    """`a, b and c`; of many, some and how many more."""
    return Markup(words.listed(list(map(escape, names)), most))


def first_sentence(words: str) -> str:
    return text(words.partition(". ")[0].rstrip(".") + ".", 300)


def dataset_name(facts: Facts) -> str:
    """The last two parts of the dataset's path."""
    source = str(facts.about.get("source") or "")
    if source.startswith("torchvision:"):
        return source.split(":")[1]
    return "/".join(Path(source).parts[-2:]).lstrip("/") or facts.run.name


# ------------------------------------------------------------------------------------------------- numbers and dates


def plural(number: int, one: str, many: str = "") -> str:
    """On a page the number stays with its noun."""
    return words.plural(number, one, many, NBSP)


def ends(low: float, high: float) -> str:
    """The ends of an interval of shares in [0, 1]."""
    return f"{100 * low:.0f} to {100 * high:.0f}{NBSP}%"


def share(estimate: float, low: float, high: float) -> str:
    """A share in [0, 1] with its interval."""
    return f"{percent(estimate)} ({ends(low, high)})"


def share_of(interval: Interval | None) -> str:
    return DASH if interval is None else share(interval.estimate, interval.low, interval.high)


def count_of(interval: Interval | None, what: str = "") -> str:
    """An interval of counts: about 120 (90 to 160); `what` stands before its ends."""
    if interval is None:
        return "not known"
    low, high = math.floor(interval.low), math.ceil(interval.high)
    return f"{low:,}" if low == high else f"about {round(interval.estimate):,} ({what}{low:,} to {high:,})"


def fixed(value: float, form: str = ".2f") -> str:
    """A number in a given form, a dash where it is not known."""
    return DASH if math.isnan(value) else format(value, form)


def seconds(number: float) -> str:
    return DASH if math.isnan(number) else f"{number:.1f}{NBSP}s"


def date(at: object) -> Markup:
    """The day of an ISO time, such as 2026-11-25."""
    return Markup("<time>{}</time>").format(text(str(at)[:10], 10))


def day(at: object) -> str:
    """An ISO time as `25 November 2026`; what is no time as it is."""
    try:
        when = datetime.fromisoformat(str(at))
    except ValueError:
        return text(at, 40)
    return f"{when.day}{NBSP}{MONTHS[when.month - 1]} {when.year}"


def moment(at: object) -> str:
    """An ISO time as `2026-11-25 14:05`."""
    try:
        return datetime.fromisoformat(str(at)).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return text(at, 40)


# ------------------------------------------------------------------------------------------------- sentences


def further_trainings(facts: Facts) -> str:
    """How many networks more than one were trained."""
    asked = facts.run.manifest["asked"]
    seeds, folds = (int(asked.get(name) or 0) for name in ("seeds", "folds"))
    parts = [plural(seeds - 1, "further training with another seed")] if seeds > 1 else []
    return ", ".join([*parts, plural(folds, "fold")] if folds > 1 else parts)


def errors_left(facts: Facts) -> str:
    """What of the errors is still to be expected, and where that is not known."""
    stop, noun = facts.stop, facts.noun
    if stop.left is not None:
        return _capital(f"{count_of(stop.left, '90 % interval ')} in the training {noun}s that were not reviewed.")
    if facts.only_frames and not stop.flagged:
        return _errors_left_in_videos(facts)
    parts = []
    if stop.flagged and stop.answered == stop.flagged:
        parts.append("none among the flagged labels, all of which were reviewed")
    elif stop.queue_left is not None and stop.flagged:
        parts.append(f"{count_of(stop.queue_left)} among the flagged labels that were not reviewed")
    if stop.rest_left is not None:
        parts.append(f"{count_of(stop.rest_left)} among the {noun}s that nothing flagged")
    if not parts:
        return f"Not known: too few {noun}s were reviewed, and too few checked at random."
    which = f"the {noun}s that nothing flagged" if stop.rest_left is None else "the flagged labels"
    return f"{_capital(' and '.join(parts))}. How many there are among {which} is not known."


def _errors_left_in_videos(facts: Facts) -> str:
    settled = int(facts.outcomes["choice"].isin(("error", "right")).sum())
    rest, left = len(facts.spans) - settled, facts.stop.rest_left
    which = f"of the {plural(len(facts.spans), 'span')} of video that were flagged"
    sentence = f"{rest:,} {which} {verb(rest, 'is')} not settled" if rest else f"None {which} is open"
    if left is None:
        return f"{sentence}. How many errors there are in frames that nothing flagged is not known."
    return f"{sentence}; {count_of(left, '90 % interval ')} wrong labels among the frames that nothing flagged."


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def titles(kinds: list[str]) -> str:
    return ", ".join(TITLES[kind].lower() for kind in kinds)


def flagged(facts: Facts) -> list[str]:
    """How many findings there are of each kind, for the kinds that there are."""
    return [plural(facts.number_of(kind), *KIND_WORDS[kind][1:]) for kind in facts.kinds]


def unaudited(facts: Facts) -> list[str]:
    """What was not looked for, and what was not reviewed to the end."""
    unable = [kind for kind, able in facts.looked_for.items() if not able]
    untouched = [row.kind for row in facts.progress.itertuples() if not row.reviewed]
    parts = [f"{titles(unable)} (not looked for)"] if unable else []
    parts += [f"{titles(untouched)} (none reviewed)"] if untouched else []
    return parts + [
        f"{TITLES[row.kind].lower()} ({row.of - row.reviewed:,} of {row.of:,})"
        for row in facts.progress.itertuples()
        if 0 < row.reviewed < row.of
    ]


# ------------------------------------------------------------------------------------------------- commands


def audit_command(facts: Facts) -> str:
    """The command that made the run, as far as it was one."""
    run, asked, source = facts.run, facts.run.manifest["asked"], str(facts.about.get("source") or "DATASET")
    out = f"--out {shlex.quote(run.name)}"
    if run.manifest.get("recording") == "imported":
        losses = shlex.quote(str(asked.get("losses") or "LOSSES"))
        task = "" if run.task == "classes" else f" --task {run.task}"
        return f"lossprint import {losses} --dataset {shlex.quote(source)} {out}{task}"
    if "checkpoints" in asked:
        return record_command(asked, run.name)
    if "epochs" not in asked:
        return f"# recorded in a training loop of the user's own, then: lossprint score {shlex.quote(run.name)}"
    options = [f"--{one.replace('_', '-')} {shlex.quote(str(asked[one]))}" for one in OPTIONS if one in asked]
    return f"lossprint audit {shlex.quote(source)} {out} {' '.join(options)}"


def export_command(facts: Facts, what: str) -> str:
    rule = "" if facts.rule == "latest" else f" --apply {shlex.quote(facts.rule)}"
    return f"lossprint export {what} {shlex.quote(facts.run.name)} --out {what}.csv{rule}"


def compare_command(facts: Facts) -> str:
    return f"lossprint audit --from cleaned.csv --out {shlex.quote(facts.run.name)}"
