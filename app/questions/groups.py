"""Duplicate groups: as recorded, at a threshold of similarity, in order, and how alike their members are.

Knows no Streamlit. Which copy of a group stays is in copies.py. Groups are those of the findings: equal pixels
(`duplicate`), and connected near pairs (`near_duplicate`), which may hold a whole exact group. A threshold is a view on
the recorded pairs and changes no file: near groups fall into the parts that the pairs still above it connect.

**Names, since decisions are stored under them.** A group that a threshold leaves whole keeps its name. A part of one is
called `near_duplicate:SMALLEST (2 of 5)`, by its smallest sample, its size and that of the recorded group. Raising the
threshold only ever splits, so smallest sample and size say which part it is at whatever threshold. The name is never
that of a recorded finding: deciding on a part does not make the whole group count as reviewed (it is `partly` decided),
while a decision on the whole counts for its parts. An export applies the latest decision on each sample, whatever its
finding, so that a decision on a part changes its own samples only, and the export's reason names the part.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.scoring.duplicates import components

EXACT, NEAR = KINDS = ("duplicate", "near_duplicate")
CLOSE = 1e-9  # below any step of the threshold


@dataclass(frozen=True)
class Edges:
    """The recorded pairs: first, second (P,) sample ids, similarity (P,) in [0, 1], exact (P,) bool."""

    first: np.ndarray
    second: np.ndarray
    similarity: np.ndarray
    exact: np.ndarray

    def among(self, samples: Iterable[int]) -> "Edges":
        """The pairs both of whose samples are among these."""
        some = np.fromiter(samples, np.int64)
        return self._of(np.isin(self.first, some) & np.isin(self.second, some))

    def near(self) -> np.ndarray:
        """Similarities of the near pairs."""
        return self.similarity[~self.exact]

    def _of(self, mask: np.ndarray) -> "Edges":
        return Edges(self.first[mask], self.second[mask], self.similarity[mask], self.exact[mask])


@dataclass(frozen=True)
class Table:
    """Duplicate groups. The members of a row of `frame` are `members[start : start + size]`, the suspect one first.

    `frame`: group (its name), kind, severity, conflict (labels differ), leak (splits differ), start, size, of (the
    recorded group's name; the same unless this is a part) and whole (the recorded group's size). Conflicts come first,
    then leakage, then by severity. `images` counts the samples that are in any group.
    """

    frame: pd.DataFrame
    members: np.ndarray
    images: int

    def samples(self, row) -> list[int]:
        """The members of one row of `frame`."""
        return self.members[row.start : row.start + row.size].tolist()


def edges(loaded) -> Edges:
    """The recorded pairs of a run; none where no images were compared."""
    pairs = loaded.duplicates
    return Edges(
        pairs["sample"].to_numpy(np.int64),
        pairs["partner"].to_numpy(np.int64),
        pairs["similarity"].to_numpy(float),
        (pairs["kind"] == "exact").to_numpy(bool),
    )


def recorded(loaded) -> Table:
    """The groups of the run's findings."""
    found = loaded.of_kind(*KINDS)
    codes, names = pd.factorize(found["group"])
    order = np.argsort(codes, kind="stable")
    members = found["sample"].to_numpy(np.int64)[order]
    size = np.bincount(codes, minlength=len(names)).astype(np.int64)
    start = np.cumsum(size) - size
    conflict, leak = _odd(loaded, members, start)
    severity = found["severity"].to_numpy(float)[order]
    frame = pd.DataFrame(
        {
            "group": np.asarray(names, object),
            "kind": found["kind"].to_numpy(object)[order][start],
            "severity": np.maximum.reduceat(severity, start) if len(start) else severity,
            "conflict": conflict,
            "leak": leak,
            "start": start,
            "size": size,
            "of": np.asarray(names, object),
            "whole": size,
        }
    )
    return _ordered(frame, members)


def listed(loaded) -> pd.DataFrame:
    """One row a recorded group: group, kind, samples (list), severity, conflict, leak; conflicts and leakage first."""
    table = recorded(loaded)
    bounds = zip(table.frame["start"].tolist(), (table.frame["start"] + table.frame["size"]).tolist())
    members = table.members.tolist()
    samples = pd.Series([members[a:b] for a, b in bounds], index=table.frame.index, dtype=object)
    return table.frame[["group", "kind"]].assign(
        samples=samples, **{name: table.frame[name] for name in ("severity", "conflict", "leak")}
    )


def regrouped(base: Table, loaded, pairs: Edges, least: float) -> Table:
    """The groups when near pairs less similar than `least` do not count. `base`: the recorded groups.

    Exact groups stay. Samples that no pair holds any more leave; a part that is all equal pixels is an exact group of
    its own already.
    """
    whole = base.frame
    row, at = flat(whole)
    near = (whole["kind"] == NEAR).to_numpy()[row]
    owner, nodes = row[near], base.members[at[near]]
    first, second = locate(nodes, pairs.first), locate(nodes, pairs.second)
    inside = (first >= 0) & (second >= 0)
    inside[inside] = owner[first[inside]] == owner[second[inside]]
    strong = pairs.exact | (pairs.similarity >= least - CLOSE)
    touched = np.zeros(len(whole), bool)
    touched[owner[first[inside & ~strong]]] = True
    if not touched.any():
        return base
    used = inside & strong
    part = components(first[used], second[used], len(nodes))
    same = components(first[inside & pairs.exact], second[inside & pairs.exact], len(nodes))
    mine = np.flatnonzero(touched[owner])
    _, part_of = np.unique(part[mine], return_inverse=True)
    order = np.argsort(part_of, kind="stable")
    mine, part_of = mine[order], part_of[order]
    size = np.bincount(part_of).astype(np.int64)
    start = np.cumsum(size) - size
    parent = owner[mine[start]]
    all_exact = np.minimum.reduceat(same[mine], start) == np.maximum.reduceat(same[mine], start)
    unchanged = size == whole["size"].to_numpy()[parent]
    new = (size > 1) & ~unchanged & ~all_exact
    least_alike = np.ones(len(size))
    where = np.full(len(nodes), -1)
    where[mine] = part_of
    ends = where[first[used]]
    np.minimum.at(least_alike, ends[ends >= 0], pairs.similarity[used][ends >= 0])

    members = nodes[mine]
    conflict, leak = _odd(loaded, members, start)
    smallest = np.minimum.reduceat(members, start)
    of = whole["size"].to_numpy()[parent]
    parts = pd.DataFrame(
        {
            "group": [f"{NEAR}:{low} ({k} of {n})" for low, k, n in zip(smallest[new], size[new], of[new])],
            "kind": NEAR,
            # As in audit/findings/find.py: conflicting labels weigh most, then a leak between splits, then repetition.
            "severity": (least_alike * np.where(conflict, 1.0, np.where(leak, 0.75, 0.5)))[new],
            "conflict": conflict[new],
            "leak": leak[new],
            "start": start[new] + len(base.members),
            "size": size[new],
            "of": whole["group"].to_numpy(object)[parent[new]],
            "whole": of[new],
        }
    )
    touched[parent[unchanged]] = False
    return _ordered(pd.concat([whole[~touched], parts], ignore_index=True), np.concatenate([base.members, members]))


def flat(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Each member of these groups: (row of `frame` counted from 0 (M,), its place in the table's members (M,))."""
    size, start = frame["size"].to_numpy(np.int64), frame["start"].to_numpy(np.int64)
    row = np.repeat(np.arange(len(frame)), size)
    return row, np.arange(len(row)) + np.repeat(start - (np.cumsum(size) - size), size)


def filtered(
    table: Table,
    samples: pd.DataFrame,
    decided: np.ndarray,
    *,
    show: str = "All",
    kind: str = "All",
    label: str = "All",
    state: str = "All",
) -> pd.DataFrame:
    """The rows of the table's frame that pass the filters. `decided` (groups,) bool is what `state` goes by."""
    frame = table.frame
    keep = np.ones(len(frame), bool)
    if show in ("Conflicting labels", "Across splits"):
        keep &= frame["conflict" if show == "Conflicting labels" else "leak"].to_numpy(bool)
    if kind in ("Exact", "Near"):
        keep &= (frame["kind"] == (EXACT if kind == "Exact" else NEAR)).to_numpy(bool)
    if state in ("Open", "Decided"):
        keep &= decided == (state == "Decided")
    if label != "All":
        row, at = flat(frame)
        has = (column(samples, "label", table.members[at]) == label).to_numpy(bool)
        keep &= np.bincount(row[has], minlength=len(frame)) > 0
    return frame[keep]


def column(samples: pd.DataFrame, name: str, ids: np.ndarray) -> pd.Series:
    return samples[name].iloc[samples.index.get_indexer(ids)]


def _odd(loaded, members: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether labels, and whether splits, differ within each group of sorted members."""
    if not len(start):
        return np.zeros(0, bool), np.zeros(0, bool)
    found = []
    for name in ("label", "split"):
        codes = pd.factorize(column(loaded.samples, name, members))[0]
        found.append(np.minimum.reduceat(codes, start) != np.maximum.reduceat(codes, start))
    return found[0], found[1]


def _ordered(frame: pd.DataFrame, members: np.ndarray) -> Table:
    by = ["conflict", "leak", "severity"]
    frame = frame.sort_values(by, ascending=False, kind="stable", ignore_index=True)
    ids = np.sort(members[flat(frame)[1]])
    return Table(frame, members, int((ids[1:] != ids[:-1]).sum()) + (len(ids) > 0))


def locate(nodes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each wanted id is in `nodes` (distinct ids in any order), -1 where it is not."""
    if not len(nodes):
        return np.full(len(wanted), -1)
    order = np.argsort(nodes, kind="stable")
    at = order[np.minimum(np.searchsorted(nodes[order], wanted), len(nodes) - 1)]
    return np.where(nodes[at] == wanted, at, -1)


# ---------------------------------------------------------------------------------------------- similarity


def matrix(samples: Sequence[int], pairs: Edges) -> np.ndarray:
    """(k, k) similarity of each pair of a group, 1 for equal pixels, NaN where no similarity was recorded.

    What was recorded of one copy holds for those that equal it.
    """
    nodes = np.asarray(samples, np.int64)
    first, second = locate(nodes, pairs.first), locate(nodes, pairs.second)
    inside = (first >= 0) & (second >= 0)
    first, second, similarity = first[inside], second[inside], pairs.similarity[inside]
    same = components(first[pairs.exact[inside]], second[pairs.exact[inside]], len(nodes))
    known = np.full((len(nodes), len(nodes)), -1.0)
    np.maximum.at(known, (same[first], same[second]), similarity)
    known = np.maximum(known, known.T)
    np.fill_diagonal(known, 1.0)
    found = known[np.ix_(same, same)]
    return np.where(found < 0, np.nan, found)


def central(frame: pd.DataFrame, members: np.ndarray, pairs: Edges) -> np.ndarray:
    """Mean similarity of each member (M,), in the order of `flat(frame)`, to the others of its group; high: central.

    A pair that was not recorded counts as 0: nothing says that the two are one picture.
    """
    row, at = flat(frame)
    found = np.ones(len(row))
    mine = np.flatnonzero((frame["kind"] == NEAR).to_numpy()[row])  # near groups share no sample
    if not len(mine):
        return found
    owner, nodes = row[mine], members[at[mine]]
    first, second = locate(nodes, pairs.first), locate(nodes, pairs.second)
    inside = (first >= 0) & (second >= 0)
    inside[inside] = owner[first[inside]] == owner[second[inside]]
    first, second, exact = first[inside], second[inside], pairs.exact[inside]
    same = components(first[exact], second[exact], len(nodes))
    alike = pd.DataFrame({"a": same[first], "b": same[second], "s": pairs.similarity[inside]})
    alike = alike[alike["a"] != alike["b"]]
    swapped = alike.rename(columns={"a": "b", "b": "a"})
    alike = pd.concat([alike, swapped]).groupby(["a", "b"], as_index=False)["s"].max()
    copies = np.bincount(same)
    weights = (alike["s"] * copies[alike["b"]]).to_numpy(float)
    total = (copies - 1 + np.bincount(alike["a"], weights, minlength=len(copies)))[same]
    others = np.maximum(frame["size"].to_numpy()[owner] - 1, 1)
    found[mine] = total / others
    return found
