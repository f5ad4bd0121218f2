"""How each class of a dataset is doing, from the tables of a run. Knows no Streamlit.

N training samples, C classes. Work goes by class codes and counts, never sample by sample: a million samples take a
fraction of a second.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.audit.review.queues import SPANS
from lossprint.audit.types import SPLITS
from lossprint.scoring.labels import SUSPECT


@dataclass(frozen=True)
class Health:
    """One row a class in `table`, indexed by the class's name, in the order of the run's classes.

    The share of wrong labels is estimated as a range, from `noise` to `noise_most`. `basis` is what `noise` counts:
    `wrong` (triage), `flagged` (runs without triage, both ends are the same), or None where nothing tells. `total` is
    the range over all classes, NaN without a basis.
    """

    table: pd.DataFrame
    basis: str | None
    total: tuple[float, float]


def codes(labels: pd.Series, classes: list[str]) -> np.ndarray:
    """The class index of each label, (N,) int64, -1 where it is missing or no class of the run."""
    if not isinstance(labels.dtype, pd.CategoricalDtype):
        labels = labels.astype(object).astype("category")
    index = {name: at for at, name in enumerate(classes)}
    known = np.array([index.get(name, -1) for name in labels.cat.categories] + [-1], np.int64)
    return known[labels.cat.codes.to_numpy()]  # a missing label has the code -1: the last entry


def flagged(scores: pd.DataFrame) -> np.ndarray:
    """Whether another label was ahead of the given one, (N,) bool; all False where it was not looked for."""
    if "label_error" not in scores:
        return np.zeros(len(scores), bool)
    return scores["label_error"].to_numpy(float) > SUSPECT


def confusions(scores: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Which label was ahead of which among the flagged samples: given, suggested, count; most frequent first."""
    empty = pd.DataFrame({"given": [], "suggested": [], "count": []}).astype({"count": "int64"})
    if "suggested_label" not in scores or not len(scores):
        return empty
    rows = np.flatnonzero(flagged(scores))
    given = codes(scores["label"].iloc[rows], classes)
    other = codes(scores["suggested_label"].iloc[rows], classes)
    counted = (given >= 0) & (other >= 0) & (given != other)
    pairs, count = np.unique(given[counted] * len(classes) + other[counted], return_counts=True)
    order = np.lexsort((pairs, -count))
    names = np.array(classes, object)
    if not len(order):
        return empty
    pairs = pairs[order]
    return pd.DataFrame(
        {"given": names[pairs // len(classes)], "suggested": names[pairs % len(classes)], "count": count[order]}
    )


def over_time(scores: pd.DataFrame, frames: np.ndarray, findings: pd.DataFrame) -> pd.DataFrame:
    """The scores of a run whose videos were looked at over time: there the label of a frame is wrong for a stretch.

    scores: indexed by sample. frames: the ids of all frames, (M,). findings: rows of findings.parquet. Of the frames
    `label_error` is 1 and `triage` wrong in a stretch whose label does not fit, with its suggestion, else 0 and empty.
    """
    mine = scores.index.isin(frames)
    wrong = findings[findings["kind"].isin(SPANS) & findings["suggested_label"].notna()]
    wrong = wrong[wrong["suggested_label"] != wrong["label"]].drop_duplicates("sample").set_index("sample")
    suggested = wrong["suggested_label"].reindex(scores.index).astype(object)
    suggested = suggested.where(suggested.notna(), None)
    flag, table = suggested.notna().to_numpy(bool), scores.copy()
    for name, value in (
        ("label_error", flag.astype(float)),
        ("triage", np.where(flag, "wrong", "")),
        ("suggested_label", suggested.to_numpy(object)),
    ):
        if name in table:
            before = table[name].astype(object if name != "label_error" else float).to_numpy()
            table[name] = np.where(mine, value, before)
    return table


def accuracy(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Share of right predictions of each class, (C,) in [0, 1]: class indices (M,), -1 where unknown; NaN without any.

    Low is the suspect end.
    """
    seen = (predicted >= 0) & (labels >= 0)
    labels, right = labels[seen], predicted[seen] == labels[seen]
    count = np.bincount(labels, minlength=classes)
    return _ratio(np.bincount(labels, weights=right, minlength=classes), count)


def class_health(
    samples: pd.DataFrame, scores: pd.DataFrame, classes: list[str], right: np.ndarray | None = None
) -> Health:
    """The table of all classes. `right` (C,) is the accuracy on validation samples, where known.

    Columns: noise and noise_most (estimated share of wrong training labels, in [0, 1]: those called wrong, and all that
    are flagged), wrong and flagged (numbers of samples), train, val, test (sizes), csl (mean CSL, nats), accuracy;
    goes_to and goes_to_count (the label most often suggested for its flagged samples), comes_from and comes_from_count
    (the given label whose flagged samples are most often suggested to be of this class). High noise and CSL and low
    accuracy are suspect. NaN and None where nothing tells.
    """
    number = len(classes)
    of, split = codes(samples["label"], classes), samples["split"]
    table = pd.DataFrame(index=pd.Index(classes, dtype=object))
    sizes = {name: _counts(of[(split == name).to_numpy()], number) for name in SPLITS}
    given = codes(scores["label"], classes)
    scored = _counts(given, number)
    flag = flagged(scores)
    looked = "label_error" in scores and bool(scores["label_error"].notna().any())
    wrong = (scores["triage"] == "wrong").to_numpy() if "triage" in scores else np.zeros(len(scores), bool)
    suggests = "suggested_label" in scores and bool(scores["suggested_label"].notna().any())
    # The triage calls a sample wrong by the label that it suggests: without any it has nothing to go by.
    basis = ("wrong" if suggests and "triage" in scores else "flagged") if looked else None
    counted = {"wrong": wrong, "flagged": flag}.get(basis)
    table["noise"] = np.nan if counted is None else _ratio(_counts(given[counted], number), scored)
    table["noise_most"] = np.nan if counted is None else _ratio(_counts(given[flag], number), scored)
    table["wrong"], table["flagged"] = _counts(given[wrong], number), _counts(given[flag], number)
    for name, size in sizes.items():
        table[name] = size
    table["csl"] = _means(given, scores["csl"], number) if "csl" in scores else np.nan
    table["accuracy"] = np.nan if right is None else right
    pairs = confusions(scores, classes)
    for column, own, other in (("goes_to", "given", "suggested"), ("comes_from", "suggested", "given")):
        first = pairs.drop_duplicates(own).set_index(own)
        partner = first[other].reindex(table.index).astype(object)
        table[column] = partner.where(partner.notna(), None)
        table[f"{column}_count"] = first["count"].reindex(table.index).fillna(0).astype(int)
    none = counted is None or not len(scores)
    return Health(table, basis, (np.nan, np.nan) if none else (float(counted.mean()), float(flag.mean())))


def with_ranges(found: Health, ranges: dict[str, tuple[int, int, int]], whole: tuple[int, int]) -> Health:
    """The same with the estimates of `wrong_labels`: by class how many are flagged, at least and at most how many of
    them are wrong, and the latter two in all. A class without an entry has nothing flagged."""
    table, sizes = found.table.copy(), found.table["train"].to_numpy(float)
    ends = np.array([ranges.get(name, (0, 0, 0))[1:] for name in table.index], float).reshape(-1, 2)
    for column, counts in zip(("noise", "noise_most"), ends.T):
        table[column] = _ratio(counts, sizes)
    low, high = (count / max(float(sizes.sum()), 1.0) for count in whole)
    return Health(table, found.basis, (low, high))


def picks(scores: pd.DataFrame, classes: list[str], label: str, top: int = 12) -> dict[str, list[int]]:
    """Training samples of a class worth a look, at most `top` of each kind, the clearest first.

    suspicious: flagged, by the severity of the label error. hard: not flagged, with the highest CSL. typical: not
    flagged, low in CSL and high in CLD, by the mean of both ranks (by one of them where the other is unknown).
    """
    if label not in classes:
        return {"suspicious": [], "hard": [], "typical": []}
    rows = np.flatnonzero(codes(scores["label"], classes) == classes.index(label))
    mine = scores.iloc[rows]
    flag = flagged(mine)
    ids = mine["sample"].to_numpy()

    def best(order: np.ndarray, able: np.ndarray) -> list[int]:
        """The lowest values first; NaN is no value."""
        able = np.flatnonzero(able & ~np.isnan(order))
        return [int(one) for one in ids[able[np.argsort(order[able], kind="stable")[:top]]]]

    csl = mine["csl"].to_numpy(float) if "csl" in mine else np.full(len(mine), np.nan)
    worst = -mine["label_error"].to_numpy(float) if "label_error" in mine else np.full(len(mine), np.nan)
    calm = [pd.Series(csl[~flag]).rank()]
    if "cld" in mine:
        calm.append(pd.Series(-mine["cld"].to_numpy(float)[~flag]).rank())
    calm = [one for one in calm if one.notna().any()]
    typical = np.full(len(mine), np.nan)
    if calm:
        typical[~flag] = pd.concat(calm, axis=1).mean(axis=1, skipna=False).to_numpy()
    return {"suspicious": best(worst, flag), "hard": best(-csl, ~flag), "typical": best(typical, ~flag)}


def _counts(given: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(given[given >= 0], minlength=classes)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _means(given: np.ndarray, values: pd.Series, classes: int) -> np.ndarray:
    values = values.to_numpy(float)
    known = np.isfinite(values) & (given >= 0)
    sums = np.bincount(given[known], weights=values[known], minlength=classes)
    return _ratio(sums, np.bincount(given[known], minlength=classes))
