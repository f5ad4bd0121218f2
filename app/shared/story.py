"""A sample's story in plain words and numbers, from the tables of a run. Knows no Streamlit."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lossprint.audit.datasets.media import IMAGES, Media
from lossprint.audit.datasets.tasks import ALL
from lossprint.audit.scores import SCORES
from lossprint.audit.types import KIND_WORDS
from lossprint.audit.words import NBSP

MEANING = {
    "label_error": "The model kept preferring another label.",
    "duplicate": "The same pixels more than once.",
    "near_duplicate": "Almost the same image more than once.",
    "sequence_label": "Consecutive frames of a video whose label does not fit.",
    "sequence_order": "Labels of two phases exchanged, or frames moved in time.",
    "outlier": "Unlike anything else in the dataset.",
    "quality": "Looks unlike the rest: dark, bright, blurred, empty, of another size, or grey.",
}


def percentile(scores: pd.DataFrame, sample: int, name: str, within_class: bool = True) -> float | None:
    """How many percent of the samples (of its given label) have a lower score; None where it has no score."""
    if sample not in scores.index or name not in scores.columns:
        return None
    row = scores.loc[sample]
    if pd.isna(row[name]):
        return None
    values = scores[name]
    if within_class:
        values = values[scores["label"] == row["label"]]
    values = values.dropna()
    others = len(values) - 1
    return 50.0 if others < 1 else 100.0 * float((values < row[name]).sum()) / others


def percentiles(scores: pd.DataFrame, sample: int) -> pd.DataFrame:
    """One row a score that the sample has: name, title, value, unit, percent, suspect."""
    rows = []
    if sample in scores.index:  # its class alone: a run may hold a million samples
        scores = scores.iloc[np.flatnonzero(scores["label"] == scores.at[sample, "label"])]
    for name, info in SCORES.items():
        percent = percentile(scores, sample, name, within_class=False)
        if percent is not None:
            rows.append((name, info.title, float(scores.at[sample, name]), info.unit, percent, info.suspect))
    return pd.DataFrame(rows, columns=["name", "title", "value", "unit", "percent", "suspect"])


def share(percent: float) -> str:
    """A percentage with as many digits as it deserves: 99.2 %, 50 %."""
    if percent >= 99.95:
        return "all"
    return f"{percent:.1f}{NBSP}%" if percent >= 90 or percent < 10 else f"{percent:.0f}{NBSP}%"


def compared(percent: float) -> str:
    """`higher than 99.2 % of`, or `lower than` where that says more."""
    low = 100 - percent
    word, part = ("lower", low) if low > percent else ("higher", percent)
    return f"{word} than {'all other' if part >= 99.95 else share(part) + ' of'}"


def plain(scores: pd.DataFrame, sample: int, label: str) -> str:
    """Markdown: how difficult a sample was and how well it fits, among those of its label; empty without scores."""
    among = f"*{label}*" if label else "the samples"
    said = []
    for name, word in (("csl", "Difficulty"), ("cld", "Fits its class" if label else "Fits the others")):
        percent = percentile(scores, sample, name)
        if percent is not None:
            said.append(f"**{word}:** {compared(percent)} {among}")
    return " · ".join(said)


def unusual(table: pd.DataFrame, label: str) -> str:
    """A sentence on the scores at whose suspect end a sample lies (beyond 95 % of its class), most extreme first.

    `table` as from `percentiles`; `label` is markdown.
    """
    far = table["percent"].where(table["suspect"] == "high", 100 - table["percent"]).where(table["suspect"] != "none")
    # The column first: an empty table would take on the rows of what is put in it.
    odd = table.assign(far=far)[far >= 95].sort_values("far", ascending=False).head(3)
    if odd.empty:
        return f"No score is at the suspect end among *{label}*."
    named = [f"{row.title} {compared(row.percent)} *{label}*" for row in odd.itertuples()]
    return f"{'; '.join(named)}."


def reasons(
    findings: pd.DataFrame,
    scores: pd.DataFrame,
    samples: pd.DataFrame,
    sample: int,
    show=str,
    claims: Mapping[str, str] | None = None,
    media: Media = IMAGES,
    labelled: bool = True,
    looks: Mapping[int, str] | None = None,
) -> list[str]:
    """Why a sample is flagged, a sentence a finding; one sentence saying that it is not, otherwise.

    `show` makes a label fit to be shown (it escapes markup). `media`: what the samples are; `labelled`: whether they
    have labels. `claims`: what each finding of a span says, by its name, if its videos were looked at over time;
    `looks`: what stands out in how a sample looks, by its id.
    """
    rows = findings[findings["sample"] == sample]
    label = show(samples.at[sample, "label"])
    sentences = []
    for row in rows.itertuples():
        if row.kind == "label_error":
            wrong = _label_error(row, scores, sample, label, show, media) if labelled else _doubted(scores, sample)
            sentences.append(wrong)
        elif row.kind in ("duplicate", "near_duplicate"):
            sentences.append(group_sentence(findings[findings["group"] == row.group], samples, show, media.noun))
        elif row.kind == "outlier":
            sentences.append(
                f"It lies farther from its nearest neighbours than {_outlier_share(scores, sample)} of the samples."
            )
        elif row.kind == "quality":
            look = (looks or {}).get(sample)
            sentences.append(f"It looks unlike the rest. {look[0].upper()}{look[1:]}." if look else MEANING["quality"])
        else:
            (title, one, _), meaning = KIND_WORDS[row.kind], MEANING[row.kind]
            claim = (claims or {}).get(row.group)
            sentences.append(
                f"Part of a {one}. {show(claim)}" if claim else f"{title}: {meaning[0].lower()}{meaning[1:]}"
            )
    over_time = claims is not None and isinstance(samples.at[sample, "sequence"], str)
    return sentences or [_unflagged_frame() if over_time else _unflagged(scores, samples, sample, label)]


def _doubted(scores: pd.DataFrame, sample: int) -> str:
    percent = percentile(scores, sample, "csl")
    more = "" if percent is None else f": higher than that of {'all others' if percent >= 99.95 else share(percent)}"
    return f"While the model learned, the loss of this sample stayed far above that of the others{more}."


def _label_error(row, scores: pd.DataFrame, sample: int, label: str, show, media: Media) -> str:
    other = row.suggested_label
    probability = scores.at[sample, "suggested_probability"] if sample in scores.index else None
    sure = "" if probability is None or pd.isna(probability) else f" ({100 * probability:.0f}{NBSP}% on average)"
    first = (
        f"While it learned, the model favoured **{show(other)}**{sure} over the given label **{label}**"
        if other
        else f"While it learned, the model kept doubting the given label **{label}**"
    )
    said = [first + "."]
    percent = percentile(scores, sample, "csl")
    if percent is not None and percent >= 50:
        rest = "all other" if percent >= 99.95 else f"{share(percent)} of"
        said.append(f"Its mean loss is higher than that of {rest} *{label}* samples.")
    said += [text for text in (_case(scores, sample, media), _sureness(scores, sample)) if text]
    return " ".join(said)


CASES = {
    "wrong": "One other label was ahead steadily and with confidence: most likely a wrong label.",
    "ambiguous": "No single other label was ahead steadily: the image may be ambiguous.",
}


def _case(scores: pd.DataFrame, sample: int, media: Media) -> str | None:
    """What kind of case it is, in a run that was scored with the triage."""
    if "triage" not in scores.columns or sample not in scores.index:
        return None
    found = CASES.get(scores.at[sample, "triage"])
    return found and media.worded(found)


def _sureness(scores: pd.DataFrame, sample: int) -> str | None:
    """How sure its rank is."""
    if "rank_confidence" not in scores.columns or sample not in scores.index:
        return None
    sure = scores.at[sample, "rank_confidence"]
    if pd.isna(sure):
        return None
    often = "always" if sure >= 0.995 else f"in {100 * sure:.0f}{NBSP}% of the trials"
    return f"With the checkpoints drawn anew, it stays among the flagged samples {often}."


def _outlier_share(scores: pd.DataFrame, sample: int) -> str:
    percent = percentile(scores, sample, "outlier", within_class=False)
    return "most" if percent is None else share(percent)


def group_sentence(group: pd.DataFrame, samples: pd.DataFrame, show=str, noun: str = "image") -> str:
    """What is odd about a duplicate group, conflicts and leakage first."""
    rows = samples.loc[group["sample"]]
    exact = (group["kind"] == "duplicate").all()
    often = "twice" if len(rows) == 2 else f"{len(rows)} times"
    what = f"{'The same' if exact else 'Almost the same'} {noun} is in the dataset {often}"
    labels = sorted(set(rows["label"]))
    splits = [name for name in ("train", "val", "test") if (rows["split"] == name).any()]
    parts = [what]
    if len(labels) > 1:
        parts.append("with conflicting labels: " + ", ".join(f"**{show(label)}**" for label in labels))
    if len(splits) > 1:
        names = {"train": "training", "val": "validation", "test": "test"}
        parts.append(f"in {' and '.join(names[name] for name in splits)} alike, so evaluation looks better than it is")
    if len(parts) == 1:
        same = f"under the same label, **{show(labels[0])}**: " if samples["label"].iat[0] != ALL else ""
        parts.append(f"{same}one copy is enough")
    return parts[0] + ", " + "; ".join(parts[1:]) + "."


def _unflagged_frame() -> str:
    return "Not flagged: the model over time, trained without this video, found nothing wrong at this frame."


def _unflagged(scores: pd.DataFrame, samples: pd.DataFrame, sample: int, label: str) -> str:
    if samples.at[sample, "split"] != "train":
        return "Not a training sample: it has a loss print but no scores, and serves as evidence for the others."
    high = percentile(scores, sample, "csl")
    if high is None:
        return "Not flagged, and without scores: its losses were not recorded at every checkpoint."
    if high >= 95:
        # Only margins tell how far ahead another label was.
        margin = "aum" in scores.columns and pd.notna(scores.at[sample, "aum"])
        ahead = ", and no other label was clearly ahead." if margin else "."
        return f"Not flagged, but hard: its mean loss is higher than that of {share(high)} of *{label}* samples{ahead}"
    if high <= 25:
        return f"Not flagged: learned early, with a lower mean loss than {share(100 - high)} of *{label}* samples."
    return f"Not flagged: its loss behaves like that of other *{label}* samples."
