"""Folds of samples that belong together: copies, frames of a sequence, images of a patient are left out at once."""

import numpy as np


def joined(*columns: np.ndarray) -> np.ndarray:
    """The group (N,) int64 of each sample, from columns (N,) of which any joins: duplicate group, sequence, patient.

    Two samples are together if a chain of equal values leads from one to the other. "", -1, NaN and None join nobody.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not columns or any(np.shape(column) != np.shape(columns[0]) for column in columns):
        raise ValueError(f"columns must be of one length (N,), got {[np.shape(column) for column in columns]}")
    size, rows, values, offset = len(columns[0]), [], [], len(columns[0])
    for column in columns:
        column = np.asarray(column)
        names, code = np.unique(column.astype(str), return_inverse=True)
        joins = ~np.isin(names, ("", "-1", "-1.0", "nan", "None"))[code]
        rows.append(np.flatnonzero(joins))
        values.append(code[joins] + offset)
        offset += len(names)
    # SciPy 1.11 takes no other integers, and joins nothing.
    ends = np.concatenate(rows).astype(np.int32), np.concatenate(values).astype(np.int32)
    graph = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(offset, offset))
    return connected_components(graph, directed=False)[1][:size].astype(np.int64)


def deal(labels: np.ndarray, folds: int = 5, *, groups: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    """The fold (N,) int64 in [0, folds) of each sample: groups (N,) whole, every class (N,) as even as they allow.

    Groups of several samples are dealt first, the largest first, each to the fold that has the fewest of its classes;
    single samples then fill the folds up class by class. A class of fewer samples than folds is missing in some folds,
    and with fewer samples than folds some folds are empty.
    """
    labels = np.asarray(labels)
    if folds < 2:
        raise ValueError(f"folds must be at least 2, got {folds}")
    if groups is not None and np.shape(groups) != labels.shape:
        raise ValueError(f"groups {np.shape(groups)} must be of the labels' shape {labels.shape}")
    random, fold = np.random.default_rng((seed, folds)), np.full(len(labels), -1, np.int64)
    names, code = np.unique(labels, return_inverse=True)
    load = np.zeros((len(names), folds), np.int64)
    if groups is not None:
        _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        order = np.argsort(group, kind="stable")
        ends = np.cumsum(sizes)
        several = np.flatnonzero(sizes > 1)
        several = several[random.permutation(len(several))]
        for at in several[np.argsort(-sizes[several], kind="stable")]:
            members = order[ends[at] - sizes[at] : ends[at]]
            kinds, counts = np.unique(code[members], return_counts=True)
            burden = counts @ load[kinds]
            chosen = np.lexsort((load.sum(axis=0), burden))[0]
            fold[members] = chosen
            load[kinds, chosen] += counts
    first = random.permutation(folds)  # so that small classes do not all end up in the first folds
    for kind in range(len(names)):
        rows = random.permutation(np.flatnonzero((code == kind) & (fold < 0)))
        fold[rows] = _filled(load[kind], len(rows), np.roll(first, kind))
    return fold


def _filled(load: np.ndarray, count: int, order: np.ndarray) -> np.ndarray:
    """The folds (count,) of single samples, so that the loads (folds,) end as level as they can; ties by `order`."""
    level = load.copy()
    # The level that all could be filled to, then one more each for what is left.
    target = 0
    for height in np.sort(load):
        if np.maximum(height - load, 0).sum() <= count:
            target = height
    spare = count - np.maximum(target - load, 0).sum()
    low = load <= target
    target += spare // low.sum()
    level[low] = target
    rest = count - (level - load).sum()
    level[[at for at in order if low[at]][:rest]] += 1
    return np.repeat(np.arange(len(load)), level - load)
