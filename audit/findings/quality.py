"""Image quality of a run's samples: what is measured once as they are decoded, and what stands out in the dataset.

Frames of a video are measured, and are no findings: dark and blurred stretches are of its nature, and one decision
for each frame would help nobody.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.datasets.media import TEXTS
from lossprint.audit.runs.run import Run
from lossprint.scoring import quality
from lossprint.scoring.labels import SUSPECT

# Issue -> what it is called, and what is said of one such image.
WORDS = {
    "dark": ("Dark", "nothing in it is bright, unlike in the other images"),
    "bright": ("Bright", "nothing in it is dark, unlike in the other images"),
    "blurry": ("Blurry", "its edges are softer than those of the other images"),
    "low_information": ("Low information", "it holds fewer grey levels than the other images"),
    "odd_size": ("Odd size", "it is much larger or smaller than the other images"),
    "odd_aspect": ("Odd aspect", "its sides are in another proportion than those of the other images"),
    "grey": ("Grey", "it has no colour, and nearly all others have"),
}
SHOWN = {
    "dark": "the brightness of its brightest parts",
    "bright": "the brightness of its darkest parts",
    "sharpness": "sharpness",
    "information": "the variety of its grey levels",
    "colour": "colourfulness",
    "pixels": "size in pixels",
    "aspect": "width by height",
}
COLUMNS = [f"is_{name}" for name in quality.QUALITIES]  # of quality.parquet, a severity each
TELLING = 0.8  # AUROC from which a measure alone is said to tell a class from the others, by its lower bound
LEAST = 20  # samples of a class, and of the others, below which that is not said


def write_quality(run: Run, loaded: datasets.Loaded) -> None:
    """Keep the measures of a run's samples, and how far each stands out among all images of the dataset."""
    if loaded.dataset.media is TEXTS or not len(loaded.sizes):
        return
    severities = quality.issues(loaded.measures, loaded.sizes)
    frame = pd.DataFrame({"sample": loaded.dataset.samples["sample"].to_numpy(np.int64)})
    frame[["width", "height"]] = loaded.sizes
    frame[list(quality.MEASURES[:5])] = loaded.measures
    for name, severity in severities.items():
        frame[f"is_{name}"] = severity
    known = frame["sample"].isin(run.samples(columns=["sample"])["sample"])
    run.write_quality(frame[known].reset_index(drop=True))


def flagged(table: pd.DataFrame) -> pd.DataFrame:
    """sample, issue and severity of whatever stands out, a row a sample, most severe first.

    Of several issues the first in the order of `quality.QUALITIES`: a dark image has few grey levels since it is dark.
    """
    severities = table[COLUMNS].to_numpy(float)
    beyond = severities > SUSPECT
    issue = beyond.argmax(axis=1)
    severity = severities[np.arange(len(table)), issue]
    rows = np.flatnonzero(beyond.any(axis=1))
    rows = rows[np.argsort(-severity[rows], kind="stable")]
    return pd.DataFrame(
        {
            "sample": table["sample"].to_numpy(np.int64)[rows],
            "issue": np.array(quality.QUALITIES, object)[issue[rows]],
            "severity": severity[rows],
        }
    )


def issues_of(table: pd.DataFrame, sample: int) -> list[str]:
    """All issues in which a sample stands out, the one that it is listed for first."""
    rows = table.loc[table["sample"] == sample, COLUMNS].to_numpy(float)
    return _beyond(rows[0]) if len(rows) else []


def _beyond(severities: np.ndarray) -> list[str]:
    return [name for name, severity in zip(quality.QUALITIES, severities) if severity > SUSPECT]


@dataclass(frozen=True)
class Telling:
    """A measure that tells a class from the others without a look at what is shown.

    auroc: how often an image of the class has more of it than one of another class (`more`), or less; low and high:
    95 % interval.
    """

    label: str
    measure: str
    more: bool
    auroc: float
    low: float
    high: float
    count: int


def telling(table: pd.DataFrame, labels: pd.Series) -> list[Telling]:
    """What a network could learn in place of the classes, most telling first; a measure once a class.

    labels by sample id. The interval is Hanley's and McNeil's (Radiology 1982), widened for the number of questions
    (Bonferroni), so that chance is not reported. One class of two is the mirror of the other: the first is named.
    """
    table = table[table["sample"].isin(labels.index)]
    names = labels.loc[table["sample"]].to_numpy(object)
    columns = {**{name: table[name].to_numpy(float) for name in quality.MEASURES[:5]}, **_shape(table)}
    classes, code = np.unique(names.astype(str), return_inverse=True)
    counts = np.bincount(code, minlength=len(classes))
    rows = []
    for name, values in columns.items():
        known = np.isfinite(values)
        if not known.any() or np.ptp(values[known]) == 0:
            continue
        for at, label in enumerate(classes[: 1 if len(classes) == 2 else None]):
            one = known & (code == at)
            if min(one.sum(), known.sum() - one.sum()) >= LEAST:
                rows.append((label, name, quality.auroc(values[known], one[known]), int(counts[at])))
    intervals = [quality.auroc_interval(value, count, len(code) - count, len(rows)) for _, _, value, count in rows]
    said = [
        Telling(label, name, value >= 0.5, max(value, 1 - value), *_folded(low, high), count)
        for (label, name, value, count), (low, high) in zip(rows, intervals, strict=True)
    ]
    return sorted((one for one in said if one.low >= TELLING), key=lambda one: -one.auroc)


def _folded(low: float, high: float) -> tuple[float, float]:
    return (low, high) if low + high >= 1 else (1 - high, 1 - low)


def _shape(table: pd.DataFrame) -> dict[str, np.ndarray]:
    width, height = table["width"].to_numpy(float), table["height"].to_numpy(float)
    return {"pixels": width * height, "aspect": width / np.maximum(height, 1)}


def sentence(one: Telling, show=str) -> str:
    """What a measure alone tells, in words; `show` makes a label fit to be shown."""
    side = "above" if one.more else "below"
    return (
        f"By {SHOWN[one.measure]} alone, an image of {show(one.label)} is {side} one of another class in "
        f"{100 * one.auroc:.0f} % of pairs (95 % interval: {100 * one.low:.0f} to {100 * one.high:.0f})"
    )


def claims(table: pd.DataFrame | None, samples: np.ndarray) -> dict[int, str]:
    """What stands out of each of these samples, in words, by its id."""
    if table is None:
        return {}
    rows = table[table["sample"].isin(samples)]
    return {
        int(sample): "; ".join(f"{WORDS[name][0].lower()}: {WORDS[name][1]}" for name in _beyond(severities))
        for sample, severities in zip(rows["sample"], rows[COLUMNS].to_numpy(float))
    }
