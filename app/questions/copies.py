"""Which copy of a duplicate group stays, and what has been decided on groups. Knows no Streamlit."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.app.questions.groups import EXACT, NEAR, Table, column, flat, locate
from lossprint.audit.review.reviews import LABELLED

POLICIES = {"loss": "Lowest loss", "central": "Most central", "largest": "Largest image"}
PART = re.compile(rf"^{NEAR}:\d+ \((\d+) of \d+\)$")


# ---------------------------------------------------------------------------------------------- what was decided


@dataclass(frozen=True)
class Standing:
    """The standing decisions on some samples, oldest first: rows with sample, finding, decision, new_label, ..."""

    rows: list[dict]

    def now(self) -> dict[int, dict]:
        """The latest decision on each sample."""
        return {int(row["sample"]): row for row in self.rows}

    def before(self, finding: str) -> dict[int, dict]:
        """The latest decision on each sample that was made under another finding than this one."""
        return {int(row["sample"]): row for row in self.rows if row["finding"] != finding}


def standing(history: pd.DataFrame, samples: Sequence[int]) -> Standing:
    """What stands on these samples, from `Reviews.history()`."""
    rows = history[history["stands"] & history["sample"].isin(samples)]
    return Standing(rows.astype(object).where(rows.notna(), None).to_dict("records"))


def states(table: Table, history: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(decided, partly) (groups,) bool: a standing decision names the group or what it is a part of; or its part."""
    frame, standing = table.frame, history[history["stands"]]
    codes, names = pd.factorize(standing["finding"])
    names = pd.Index(names, dtype=object)
    decided = names.get_indexer(frame["group"]) >= 0
    split = np.flatnonzero((frame["size"] < frame["whole"]).to_numpy())
    decided[split] |= names.get_indexer(frame["of"].iloc[split]) >= 0
    partly = np.zeros(len(frame), bool)
    parts = {at: int(match[1]) for at, name in enumerate(names) if " (" in name and (match := PART.match(name))}
    if parts:
        row, at = flat(frame)
        near = (frame["kind"] == NEAR).to_numpy()[row]
        size = np.zeros(len(names), np.int64)
        size[list(parts)] = list(parts.values())
        size = size[codes]
        place = locate(table.members[at[near]], standing["sample"].to_numpy(np.int64)[size > 0])
        owner, size = row[near][place[place >= 0]], size[size > 0][place >= 0]
        # Parts are nested: one that shares a sample and is larger holds this group, a smaller one is a part of it.
        decided[owner[size > frame["size"].to_numpy()[owner]]] = True
        partly[owner[size < frame["size"].to_numpy()[owner]]] = True
    return decided, partly & ~decided


# ---------------------------------------------------------------------------------------------- which copy stays


def carried(sample: int, before) -> tuple[int, str, str | None]:
    """What stands on a sample, said once more under a group: a bare `keep` would give the old label back."""
    if before is not None and before["decision"] in LABELLED:
        return sample, "relabel", str(before["new_label"])
    if before is not None and before["decision"] == "exclude":
        return sample, "exclude", None
    return sample, "keep", None


def labels_now(samples: Sequence[int], given: Sequence[str], before: dict) -> list[str]:
    """The label of each member after the decisions `before`."""
    return [
        str(before[sample]["new_label"]) if sample in before and before[sample]["decision"] in LABELLED else str(label)
        for sample, label in zip(samples, given)
    ]


def losses(scores: pd.DataFrame, ids: np.ndarray) -> np.ndarray:
    """The mean loss of each sample, NaN where unknown: what the policy `loss` goes by."""
    if "csl" not in scores:
        return np.full(len(ids), np.nan)
    at = scores.index.get_indexer(ids)
    return np.where(at >= 0, scores["csl"].to_numpy(float)[at], np.nan)


def stays(samples: Sequence[int], before: dict, train: Sequence[bool], value: Sequence[float], among=None) -> int:
    """The copy that a policy keeps. `value` (k,): a policy's, the lowest stays, NaN last; `among`: bools, only these.

    A copy that another finding left out is kept last. An evaluation copy is kept before one of the training split, so
    that evaluation data stays as it is; then the policy decides, then the smallest id.
    """
    able = [at for at in range(len(samples)) if among is None or among[at]]

    def order(at: int) -> tuple:
        out = carried(samples[at], before.get(samples[at]))[1] == "exclude"
        unknown = bool(np.isnan(value[at]))
        return out, bool(train[at]), unknown, 0.0 if unknown else float(value[at]), samples[at]

    return samples[min(able, key=order)]


def keep_one(samples: Sequence[int], kept: int, before: dict) -> list[tuple[int, str, str | None]]:
    """Decisions (sample, decision, new label) that keep this copy, with the label it has by now, without the others."""
    first = carried(kept, before.get(kept))
    first = (kept, "keep", None) if first[1] == "exclude" else first
    return [first] + [(sample, "exclude", None) for sample in samples if sample != kept]


def keep_all(samples: Sequence[int], before: dict) -> list[tuple[int, str, str | None]]:
    """Decisions that keep every copy as other findings left it: relabeled there, or left out there."""
    return [carried(sample, before.get(sample)) for sample in samples]


@dataclass(frozen=True)
class Plan:
    """What keeping one copy of each of many groups would store: (finding, sample, decision, new label), in order.

    `groups` and `images` count what it is about, `stay` and `go` the images that are in and out afterwards, `tested`
    those that go and are not training images.
    """

    decisions: list[tuple[str, int, str, str | None]]
    groups: int
    images: int
    stay: int
    go: int
    tested: int


def plan(table: Table, frame: pd.DataFrame, value: np.ndarray, samples: pd.DataFrame, history: pd.DataFrame) -> Plan:
    """Keep one copy of each group of `frame`, as `stays` does. `value` (M,), in the order of `flat(frame)`.

    Exact groups come before near ones, which may hold them: the near group then chooses among the copies that are still
    in, so that one stays of all. What another finding left out stays out, even if nothing of a group is then left.
    """
    row, at = flat(frame)
    ids = table.members[at]
    standing = history[history["stands"]].drop_duplicates("sample", keep="last")
    decision = standing["decision"].astype(object)
    out = np.isin(ids, standing.loc[(decision == "exclude").to_numpy(), "sample"].to_numpy(np.int64))
    was_out = out.copy()
    relabeled = standing[decision.isin(LABELLED).to_numpy() & standing["sample"].isin(ids).to_numpy()]
    label = dict(zip(relabeled["sample"].tolist(), relabeled["new_label"].astype(str)))
    train = (column(samples, "split", ids) == "train").to_numpy(bool)
    exact = (frame["kind"] == EXACT).to_numpy()[row]
    names = frame["group"].to_numpy(object)
    decisions, kept = [], np.zeros(len(ids), bool)
    for now in (exact, ~exact):
        rows = np.flatnonzero(now)
        order = rows[np.lexsort((ids[rows], value[rows], train[rows], out[rows], row[rows]))]
        first = order[np.r_[True, row[order][1:] != row[order][:-1]]] if len(order) else order
        kept[first[~out[first]]] = True
        for place in order.tolist():
            sample = int(ids[place])
            if not kept[place]:
                word, new = "exclude", None
            else:
                word, new = ("relabel", label[sample]) if sample in label else ("keep", None)
            decisions.append((names[row[place]], sample, word, new))
        out |= np.isin(ids, ids[rows[~kept[rows]]])
    once, at = np.unique(ids, return_index=True)
    gone = out[at] & ~was_out[at]
    return Plan(
        decisions, len(frame), len(once), int((~out[at]).sum()), int(gone.sum()), int((gone & ~train[at]).sum())
    )


def conflicting_now(table: Table, frame: pd.DataFrame, samples: pd.DataFrame, history: pd.DataFrame) -> np.ndarray:
    """(groups,) bool: labels differ as given or by what was decided since. Which is right is not for a policy."""
    conflict = frame["conflict"].to_numpy(bool, copy=True)
    standing = history[history["stands"]].drop_duplicates("sample", keep="last")
    changed = standing[standing["decision"].isin(LABELLED)]
    row, at = flat(frame)
    ids = table.members[at]
    touched = np.isin(ids, changed["sample"].to_numpy(np.int64))
    if not touched.any():
        return conflict
    inside = np.isin(row, row[touched])
    now = pd.Series(column(samples, "label", ids[inside]).astype(object).to_numpy(), index=ids[inside])
    new = dict(zip(changed["sample"].tolist(), changed["new_label"].astype(str)))
    labels = [new.get(sample, label) for sample, label in zip(now.index.tolist(), now)]
    differ = pd.Series(labels, dtype=object).groupby(row[inside]).nunique()
    conflict[differ.index[differ > 1]] = True
    return conflict
