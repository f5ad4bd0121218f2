"""The vote of the nearest neighbours by cosine similarity: what the given labels around a sample say."""

import numpy as np

from lossprint.scoring.heads.blocks import bank_size, blocks, check, directions

ELEMENTS = 1 << 22  # similarities held at once: 16 MB of float32


def neighbour_count(counts: np.ndarray) -> int:
    """How many neighbours vote: 20, but no more than the median class has members, of counts (C,), and 5 at least."""
    counts = np.asarray(counts)[np.asarray(counts) > 0]
    return int(min(20, max(5, np.median(counts)))) if len(counts) else 5


def vote(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    *,
    groups: np.ndarray | None = None,
    neighbours: int | None = None,
    bank: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Shares (N, C) float32 of the neighbours' vote for each class, weighted by cosine similarity (negative ones: 0).

    Neither the sample itself nor another of its group (N,), its copies, votes. Above `bank` samples, by default
    `blocks.bank_size`, a random part of that size votes, the same for all. A row without voters, or whose voters are
    all at right angles and beyond, is NaN. Time N bank d; memory: the directions in float32 and one block. A share of
    the given label near 0 is suspect.
    """
    labels = check(features, labels, classes)
    if neighbours is not None and neighbours < 1:
        raise ValueError(f"neighbours must be at least 1, got {neighbours}")
    if groups is not None and np.shape(groups) != labels.shape:
        raise ValueError(f"groups {np.shape(groups)} must be of the labels' shape {labels.shape}")
    n = len(labels)
    bank = bank or bank_size(n, classes)
    shares = np.full((n, classes), np.nan, np.float32)
    if not n:
        return shares
    group = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    voters = np.arange(n) if n <= bank else np.sort(np.random.default_rng(seed).permutation(n)[:bank])
    around = np.empty((len(voters), features.shape[1]), np.float32)
    for rows, block in blocks(features, np.float32):
        first, last = np.searchsorted(voters, (rows.start, rows.stop))
        around[first:last] = directions(block[voters[first:last] - rows.start])
    order = np.argsort(group[voters], kind="stable")
    k = min(neighbours or neighbour_count(np.bincount(labels[voters], minlength=classes)), len(voters))
    width = max(ELEMENTS // len(voters), 1)
    for start in range(0, n, width):
        rows = np.arange(start, min(start + width, n))
        similarity = directions(features[rows]) @ around.T
        own, companions = _companions(group[rows], group[voters][order])
        similarity[own, order[companions]] = -np.inf
        nearest = np.argpartition(similarity, len(voters) - k, axis=1)[:, len(voters) - k :]
        weight = np.maximum(np.take_along_axis(similarity, nearest, axis=1), 0)
        cell = np.arange(len(rows))[:, None] * classes + labels[voters][nearest]
        total = np.bincount(cell.ravel(), weights=weight.ravel(), minlength=len(rows) * classes)
        total = total.reshape(len(rows), classes)
        sums = total.sum(axis=1, keepdims=True)
        shares[rows] = np.divide(total, sums, out=np.full_like(total, np.nan), where=sums > 0)
    return shares


def _companions(groups: np.ndarray, ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (row, place) with ordered[place] == groups[row], of sorted `ordered`."""
    first, last = (np.searchsorted(ordered, groups, side) for side in ("left", "right"))
    sizes = last - first
    begins = np.repeat(first - np.cumsum(sizes) + sizes, sizes)
    return np.repeat(np.arange(len(groups)), sizes), begins + np.arange(sizes.sum())
