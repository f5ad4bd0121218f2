"""Aligned and conflicting partners: for each sample the queries whose loss trajectories go with its own, or against it.

E checkpoints, N samples, M queries (for example validation samples), k partners a side. The correlation is Pearson's,
of raw trajectories (LTC, arXiv 2503.09721, figures 1 and 2) or of loss differences. Correlations of a block of samples
with all queries are one float32 matrix product, whose last bits depend on where in the block a column stands; the few
that can be among the k best are computed again one by one, so that equal queries tie exactly, whatever the blocking.
Working memory is bounded whatever the data: about 100 MB beside the queries' trajectories in float32, even when all
queries tie.
"""

from dataclasses import dataclass

import numpy as np

from lossprint.scoring.correlation import on_differences, standardised

BLOCK_ELEMENTS = 1 << 21  # correlations, or losses, held at once: 8 MB of float32
CONTENDERS = 1 << 18  # entries that are computed one by one at once
ROUNDING = 4e-6  # more than the error of a float32 correlation, so that no rival is lost before the exact pass
# Correlations are multiples of this, float32's resolution just below 1: keys made of row and value are then exact.
QUANTUM = 2.0**-24


@dataclass(frozen=True)
class Partners:
    """For each of N samples its k partners a side, best first.

    aligned, conflicting (N, k) int64: indices of queries, -1 where there are fewer than k. Their correlations (N, k)
    float32, NaN there. Aligned: highest correlation first; conflicting: lowest first. With fewer than 2k queries both
    sides may name the same one: only the correlation's sign tells whether a partner really agrees or conflicts.
    """

    aligned: np.ndarray
    aligned_correlation: np.ndarray
    conflicting: np.ndarray
    conflicting_correlation: np.ndarray


def partners(
    losses: np.ndarray,
    queries: np.ndarray,
    k: int,
    *,
    labels: np.ndarray | None = None,
    query_labels: np.ndarray | None = None,
    same_class: bool = False,
    on: str = "losses",
    block: int | None = None,
) -> Partners:
    """For each sample the k queries of highest and the k of lowest correlation: losses (E, N), queries (E, M).

    on="losses" correlates trajectories (LTC), on="differences" their changes from checkpoint to checkpoint. With
    same_class, only queries whose entry of query_labels (M,) equals the sample's of labels (N,) count. Ties, to a
    resolution of 6e-8, go to the smaller query index. A trajectory that does not vary or misses a value has no partners
    and is nobody's. `block` is the most samples handled at once (default: about 8 MB of correlations or losses).
    """
    losses, queries = np.asarray(losses), np.asarray(queries)
    if losses.ndim != 2 or queries.ndim != 2 or len(losses) != len(queries):
        raise ValueError(f"losses {losses.shape} and queries {queries.shape} must share their checkpoints (first axis)")
    differences = on_differences(on)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if block is not None and block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    samples = losses.shape[1]
    found = Partners(
        *(np.full((samples, k), fill, dtype) for fill, dtype in 2 * ((-1, np.int64), (np.nan, np.float32)))
    )
    if len(losses) < 2 + differences:
        return found
    for members, rivals in _groups(samples, queries.shape[1], labels, query_labels, same_class):
        _search(losses, queries, members, rivals, differences, block, found)
    return found


def _groups(samples: int, queries: int, labels, query_labels, same_class: bool):
    """(members, rivals): each group of sample indices with the query indices that it is compared with."""
    if not same_class:
        yield np.arange(samples), np.arange(queries)
        return
    if labels is None or query_labels is None:
        raise ValueError("same_class needs labels and query_labels")
    labels, query_labels = np.asarray(labels), np.asarray(query_labels)
    if labels.shape != (samples,) or query_labels.shape != (queries,):
        raise ValueError(
            f"labels {labels.shape} and query_labels {query_labels.shape} must be {(samples,)} and {(queries,)}"
        )
    for label in np.unique(labels):
        yield np.flatnonzero(labels == label), np.flatnonzero(query_labels == label)


def _search(losses, queries, members, rivals, differences, block, found: Partners) -> None:
    """Fill in `found` for the samples `members` among the queries `rivals`, both ascending indices."""
    query_rows, defined = _rows(queries, rivals, differences)
    query_rows, rivals = (query_rows, rivals) if defined.all() else (query_rows[defined], rivals[defined])
    if not len(rivals):
        return
    k = min(found.aligned.shape[1], len(rivals))
    most = min(len(rivals), 4 * k + 64)  # contenders of a row: a few more than k, unless many queries tie
    widest = max(1, min(BLOCK_ELEMENTS // max(len(losses), len(rivals)), CONTENDERS // most))
    block = max(1, min(block or widest, max(16, widest), len(members)))
    buffer = np.empty((block, len(rivals)), dtype=np.float32)
    for start in range(0, len(members), block):
        part = members[start : start + block]
        sample_rows, defined = _rows(losses, part, differences)
        if not defined.all():
            sample_rows, part = sample_rows[defined], part[defined]
        if not len(part):
            continue
        r = np.matmul(sample_rows, query_rows.T, out=buffer[: len(part)])
        for sign, index, correlation in (
            (1, found.aligned, found.aligned_correlation),
            (-1, found.conflicting, found.conflicting_correlation),
        ):
            for row, column, value in _candidates(r, k, sign, most, sample_rows, query_rows):
                best, rank = first_of_each(row, sign * value, k)
                index[part[row[best]], rank] = rivals[column[best]]
                correlation[part[row[best]], rank] = value[best]


def _candidates(r, k: int, sign: int, most: int, sample_rows, query_rows):
    """(row, column, exact correlation) of what may be among a row's k best.

    Where there is too much of it, rows with more than `most` contenders are taken one by one.
    """
    keep = _contending(r, k, sign)
    crowded = np.empty(0, dtype=np.int64)
    if np.count_nonzero(keep) > CONTENDERS:
        crowded = np.flatnonzero(np.count_nonzero(keep, axis=1) > most)
        keep[crowded] = False
    row, column = np.divmod(np.flatnonzero(keep), r.shape[1])
    yield row, column, _products(lambda part: sample_rows[row[part]], lambda part: query_rows[column[part]], len(row))
    for index in crowded:
        alone = np.broadcast_to(sample_rows[index], query_rows.shape)
        value = _products(alone.__getitem__, query_rows.__getitem__, len(query_rows))
        column = np.argsort(-sign * value, kind="stable")[:k]
        yield np.full(k, index), column, value[column]


def _rows(losses: np.ndarray, chosen: np.ndarray, differences: bool) -> tuple[np.ndarray, np.ndarray]:
    """(standardised trajectories of `chosen` (B,) as rows (B, E) float32, which of them are defined (B,) bool)."""
    rows = np.empty((len(chosen), len(losses) - differences), dtype=np.float32)
    defined = np.empty(len(chosen), dtype=bool)
    width = max(1, (BLOCK_ELEMENTS >> 3) // len(losses))
    for start in range(0, len(chosen), width):
        part = slice(start, start + width)
        with np.errstate(invalid="ignore", over="ignore"):
            columns, flat = standardised(losses[:, chosen[part]].astype(np.float64), differences)
        rows[part], defined[part] = columns.T, ~flat
    return rows, defined


def _products(left, right, count: int) -> np.ndarray:
    """Row-wise products of left(part) and right(part), each (P, E), for all parts of `count` rows: (count,) float64.

    Multiples of QUANTUM within [-1, 1]. In parts, since thousands of queries may be as good as equal.
    """
    value = np.empty(count)
    for start in range(0, count, 1 << 14):
        part = slice(start, start + (1 << 14))
        value[part] = np.einsum("pe,pe->p", left(part), right(part))
    return np.clip(np.round(value / QUANTUM) * QUANTUM, -1.0, 1.0)


def contenders(r: np.ndarray, k: int, sign: int) -> tuple[np.ndarray, np.ndarray]:
    """(row, column) of all entries of r (B, M) that may be among the row's k highest (sign=1) or lowest (-1).

    Row by row, columns ascending. A few more than k a row, or all of its entries where all tie.
    """
    return np.divmod(np.flatnonzero(_contending(r, k, sign)), r.shape[1])


def _contending(r: np.ndarray, k: int, sign: int) -> np.ndarray:
    """(B, M) bool: which entries of r may be among the row's k highest (sign=1) or lowest (-1).

    A row's k-th best of the bests of disjoint groups of columns bounds its k-th best value: comparing with that bound
    leaves a few more than k entries, in two passes over r and without sorting it.
    """
    groups = min(r.shape[1], 16 * k)
    best = np.maximum if sign > 0 else np.minimum
    whole = r.shape[1] // groups * groups
    # Group g holds columns g, g + groups, ...: the reduction then runs along contiguous memory.
    bests = best.reduce(r[:, :whole].reshape(len(r), -1, groups), axis=1)
    bound = np.partition(-bests if sign > 0 else bests, k - 1, axis=1)[:, k - 1 : k]
    return r >= -bound - ROUNDING if sign > 0 else r <= bound + ROUNDING


def first_of_each(row: np.ndarray, value: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(index into the entries, rank) of each row's k highest values, ties in the order given; `row` ascends.

    Values lie in [-2, 1.9], so that row and value make one key: several times as fast as sorting by both.
    """
    order = np.argsort(4.0 * row - value, kind="stable")
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    return order[rank < k], rank[rank < k]
