"""How far two trainings agree on what is suspect in the same dataset. Knows no Streamlit.

N samples that both have. A *place* is a sample's rank from the suspect end, 1 the most suspect; NaN where there is no
score. Work is sorting and counting: N log N, a million samples in about a second a score.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.audit.runs.run import Run
from lossprint.audit.scores import SCORES
from lossprint.scoring import labels
from lossprint.scoring.labels import SUSPECT

SEVERITIES = ("label_error", "outlier")  # flagged over SUSPECT; of the other scores the most suspect share counts
SHARE = 0.05
BINS = 40
OWN = ("csl", "aum", "p_mean", "label_error")  # what `training_scores` gives


@dataclass(frozen=True)
class Matched:
    """The rows, (N,) each, of two score tables that are the same sample; `by` is `sample` (ids) or `path`."""

    first: np.ndarray
    second: np.ndarray
    by: str


@dataclass(frozen=True)
class Agreement:
    """How two trainings rank the same samples by one score.

    rho: Spearman's rank correlation in [-1, 1] over the `count` samples that have the score in both. top (K,) and
    shared (K,): of the k most suspect of either, the share in [0, 1] that is in both; by chance it would be top / N.
    density (B, B): number of samples by place, as a percentage from 0 (most suspect) to 100, second's along the rows
    and first's along the columns. sets: rows of `Matched` that both flag (`both`), and that only one does (`first`,
    `second`), the most suspect first, with their places in either. jaccard: both / any, NaN where nothing is flagged.
    """

    score: str
    rho: float
    count: int
    top: np.ndarray
    shared: np.ndarray
    density: np.ndarray
    sets: dict[str, pd.DataFrame]
    jaccard: float


def match(first: pd.DataFrame, second: pd.DataFrame, same_dataset: bool) -> Matched:
    """Match two tables with sample and path: by id within one dataset, else by path (the first of a repeated one)."""
    name = "sample" if same_dataset else "path"
    if same_dataset:
        _, left, right = np.intersect1d(
            first[name].to_numpy(), second[name].to_numpy(), assume_unique=True, return_indices=True
        )
        return Matched(left, right, name)
    paths = [pd.Index(table[name].astype(object)) for table in (first, second)]
    kept = [np.flatnonzero(~one.duplicated()) for one in paths]
    at = paths[1][kept[1]].get_indexer(paths[0][kept[0]])
    return Matched(kept[0][at >= 0], kept[1][at[at >= 0]], name)


def places(values: np.ndarray, suspect: str) -> np.ndarray:
    """The place of each score (N,), 1 the most suspect, ties the mean of theirs, NaN where there is none.

    `suspect` is the end to look at first, `high` or `low`; for `none` the low end counts as first.
    """
    values = np.asarray(values, np.float64)
    found = np.full(len(values), np.nan)
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return found
    key = -values[known] if suspect == "high" else values[known]
    order = np.argsort(key, kind="stable")
    start = np.flatnonzero(np.concatenate([[True], np.diff(key[order]) != 0]))
    size = np.diff(np.append(start, len(key)))
    found[known[order]] = np.repeat(start + (size + 1) / 2, size)
    return found


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r of two vectors; of places it is Spearman's. NaN under two samples, or where one does not vary."""
    if len(first) < 2:
        return np.nan
    first, second = first - first.mean(), second - second.mean()
    scale = np.sqrt((first @ first) * (second @ second))
    return float(np.clip(first @ second / scale, -1, 1)) if scale > 0 else np.nan


def at_top(first: np.ndarray, second: np.ndarray, points: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """(k, shared): of the k most suspect by either places (N,), the share in [0, 1] that is among both.

    About `points` sizes k, evenly spread on a logarithmic scale from 1 to N. Ties are broken at random and
    independently in either, so that a score that says nothing does not look as if two trainings agreed on it.
    """
    size = len(first)
    if not size:
        return np.empty(0, np.int64), np.empty(0)
    random = np.random.default_rng(0)
    strict = []
    for one in (first, second):
        place = np.empty(size, np.int64)
        place[np.lexsort((random.random(size), one))] = np.arange(1, size + 1)
        strict.append(place)
    later = np.sort(np.maximum(*strict))  # a sample is in both tops from the later of its two places on
    top = np.unique(np.geomspace(1, size, points).round().astype(np.int64))
    return top, np.searchsorted(later, top, side="right") / top


def density(first: np.ndarray, second: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Number of samples, (bins, bins), by place in percent of N: the second's along the rows, the first's along
    the columns, 0 % the most suspect."""
    size = max(len(first), 1)
    column, row = (np.minimum((one - 0.5) / size * bins, bins - 1).astype(np.int64) for one in (first, second))
    return np.bincount(row * bins + column, minlength=bins * bins).reshape(bins, bins)


def flags(score: str, values: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Which samples (N,) count as flagged: a severity over SUSPECT, else the most suspect 5 %; none of a score without
    a suspect end, and none among equals that would fill the share together."""
    if score in SEVERITIES:
        return np.asarray(values, float) > SUSPECT
    if SCORES[score].suspect == "none":
        return np.zeros(len(place), bool)
    return place <= max(1.0, np.floor(SHARE * np.isfinite(place).sum()))


def agree(score: str, first: np.ndarray, second: np.ndarray) -> Agreement:
    """Compare a score of the same samples, (N,) each, between two trainings. Rows of the sets count from 0 to N - 1."""
    suspect = SCORES[score].suspect
    rows = np.flatnonzero(np.isfinite(first) & np.isfinite(second))
    first, second = np.asarray(first, float)[rows], np.asarray(second, float)[rows]
    left, right = places(first, suspect), places(second, suspect)
    flag = flags(score, first, left), flags(score, second, right)
    masks = {"both": flag[0] & flag[1], "first": flag[0] & ~flag[1], "second": flag[1] & ~flag[0]}
    order = {"both": left + right, "first": left, "second": right}
    sets = {}
    for name, mask in masks.items():
        at = np.flatnonzero(mask)
        at = at[np.argsort(order[name][at], kind="stable")]
        sets[name] = pd.DataFrame({"row": rows[at], "first": left[at], "second": right[at]})
    marked = sum(len(one) for one in sets.values())
    return Agreement(
        score,
        correlation(left, right),
        len(rows),
        *at_top(left, right),
        density(left, right),
        sets,
        len(sets["both"]) / marked if marked else np.nan,
    )


def rank_correlation(score: str, first: np.ndarray, second: np.ndarray) -> tuple[float, int]:
    """(Spearman's rho in [-1, 1], number of samples with the score in both), without the rest of `agree`."""
    known = np.isfinite(first) & np.isfinite(second)
    suspect = SCORES[score].suspect
    left, right = (places(np.asarray(one, float)[known], suspect) for one in (first, second))
    return correlation(left, right), int(known.sum())


def differences(first: dict, second: dict) -> dict[str, tuple]:
    """What differs between the datasets of two manifests, as {what: (first's, second's)}; empty where they are one.

    Keys: source, classes (those that only one has), train, val, test (numbers of samples), and contents where nothing
    of it differs, yet the fingerprints (paths, labels and splits) do.
    """
    first, second = first["dataset"], second["dataset"]
    if first.get("fingerprint") and first.get("fingerprint") == second.get("fingerprint"):
        return {}
    found = {}
    if first.get("source") != second.get("source"):
        found["source"] = str(first.get("source")), str(second.get("source"))
    mine, theirs = ([str(name) for name in one.get("classes", [])] for one in (first, second))
    if set(mine) != set(theirs):
        found["classes"] = [name for name in mine if name not in theirs], [name for name in theirs if name not in mine]
    for split in ("train", "val", "test"):
        sizes = tuple(int((one.get("counts") or {}).get(split, 0)) for one in (first, second))
        if sizes[0] != sizes[1]:
            found[split] = sizes
    return found or {"contents": ("", "")}


def training_scores(runs: list[Run]) -> pd.DataFrame:
    """Scores of a training, indexed by sample: sample, path, label, csl (nats), aum (logits), p_mean, label_error.

    Of one training, or of the folds of one, in each of which other samples were left out. One checkpoint at a time,
    O(N) memory. NaN where a sample was not recorded at each checkpoint, or without margins. label_error is the plain
    severity, high suspect: mean margin with the checkpoints weighted as `score` does, without what it adds from the
    confusions.
    """
    table = runs[0].samples()
    table = table.loc[table["split"] == "train", ["sample", "path", "label"]].sort_values("sample")
    ids = table["sample"].to_numpy(np.int64)
    steps = [step for step in runs[0].recorded("train") if step > 0]
    weights = _weights(runs, steps, ids)
    names = ("csl", "aum", "p_mean", "margin")
    sums = {name: np.zeros(len(ids)) for name in names}
    for weight, step in zip(weights, steps):
        loss, margin = _recorded(runs, step, ids)
        sums["csl"] += loss / len(steps)
        sums["p_mean"] += np.exp(-loss) / len(steps)
        sums["aum"] += margin / len(steps)
        if weight > 0:
            sums["margin"] += weight * margin
    found = {name: sums[name] if steps else np.full(len(ids), np.nan) for name in names}
    margin = found.pop("margin")
    frame = table.assign(**found, label_error=(1 - margin / (1 + np.abs(margin))) / 2)
    return frame.set_index("sample", drop=False).rename_axis(None)


def _recorded(runs: list[Run], step: int, ids: np.ndarray) -> np.ndarray:
    """Losses and margins (2, N) of the training samples at a checkpoint, NaN where a sample was not recorded."""
    values = np.full((2, len(ids)), np.nan)
    for run in runs:
        part = run.part("train", step)
        seen = np.isfinite(part["loss"].to_numpy())
        at = np.searchsorted(ids, part["sample"].to_numpy()[seen])
        values[:, at] = part["loss"].to_numpy()[seen], part["margin"].to_numpy()[seen]
    return values


def _weights(runs: list[Run], steps: list[int], ids: np.ndarray) -> np.ndarray:
    """How much each checkpoint counts, (E,). Validation losses of folds are put together; their training samples were
    new to them, so nothing was learnt by heart."""
    losses, new = None, None
    for run in runs:
        found = run.trajectory("val")
        rows = np.isin(found.checkpoints, steps)
        if rows.sum() == len(steps):
            seen = found.losses[rows]
            losses = seen if losses is None else np.where(np.isnan(losses), seen, losses)
            if len(runs) == 1 and seen.size:
                train = [labels.fit(*(values[None] for values in _recorded(runs, step, ids))) for step in steps]
                columns = (np.concatenate(column) for column in zip(*(vars(one).values() for one in train)))
                new = labels.newness(labels.Fit(*columns), labels.fit(seen, found.margins[rows]))
    if losses is None or not losses.size:
        losses = np.full((len(steps), 1), np.nan)
    return labels.checkpoint_weights(losses, new) if len(steps) else np.empty(0)
