"""What a repair came to, in sentences; of its result alone."""

NAMES = {
    "original": "the original",
    "repaired": "repaired (SAP)",
    "finetuned": "fine-tuned",
    "retrained": "retrained on the cleaned data",
}


def sentences(result: dict) -> list[str]:
    """What it was done with, the accuracies, and what follows."""
    verified, judging = result["verified"], result["judging"]
    rows = {row["arm"]: row for row in result["arms"]}
    said = [
        f"Trusted: {verified['samples']:,} verified training samples ({verified['confirmed']:,} labels confirmed, "
        f"{verified['relabelled']:,} put right){_without(verified['without'])}.",
        f"Judged on {judging['of']}, {judging['samples']:,} samples; {result['choosing']['of']}, "
        f"{result['choosing']['samples']:,}, chose how much is changed.",
        f"Right: {'; '.join(f'{NAMES[arm]} {share(row)}' for arm, row in rows.items())}.",
    ]
    return [*said, verdict(result, rows), _tuned(result, rows), _retrained(result, rows)]


def verdict(result: dict, rows: dict) -> str:
    """Whether the repaired model is to be taken."""
    repaired = rows["repaired"]
    if repaired["setting"] is None:
        return "No strength helps: the original is kept, and nothing is written."
    gain = repaired["over_original"]
    if result["original_kept"]:
        return (
            f"The best strength ({repaired['setting']:g}) does not help on samples that did not choose it "
            f"({points(gain)}): the original is kept, and nothing is written."
        )
    doubt = "" if gain["low"] > 0 else " The interval holds 0: other images could turn this round."
    return f"The repaired model, at strength {repaired['setting']:g}: {points(gain)} over the original.{doubt}"


def _tuned(result: dict, rows: dict) -> str:
    if rows["finetuned"]["setting"] is None:
        return "Fine-tuning on the verified samples helps at no rate."
    return _beside(result, rows["finetuned"], "Fine-tuning on the verified samples", "Fine-tune instead.")


def _retrained(result: dict, rows: dict) -> str:
    cleaned = result["cleaned"]
    how = (
        f"Retraining on the cleaned data ({cleaned['samples']:,} samples, {cleaned['relabelled']:,} relabelled, "
        f"{cleaned['excluded']:,} left out; {cleaned['how']})"
    )
    return _beside(result, rows["retrained"], how, "Retrain where you can.")


def _beside(result: dict, row: dict, how: str, advice: str) -> str:
    """Plainly, whether another way is better than the model that is to be taken."""
    kept = result["original_kept"]
    gain, other = row["over_original" if kept else "over_repaired"], "the original" if kept else "the repaired model"
    if gain["low"] > 0:
        return f"{how} is better than {other}: {points(gain)}. {advice}"
    if gain["high"] < 0:
        return f"{how} is worse than {other}: {points(gain)}."
    return f"{how} against {other}: {points(gain)}, which so many images cannot tell from none."


def points(gain: dict) -> str:
    low, high = (f"{100 * gain[end]:.1f}" for end in ("low", "high"))
    return f"{100 * gain['estimate']:+.1f} points (90 % interval {low} to {high})"


def share(row: dict) -> str:
    return f"{100 * row['accuracy']:.1f} % ({100 * row['low']:.1f} to {100 * row['high']:.1f})"


def _without(names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"; none of {', '.join(names[:5])}{more}, whose directions may fade"
