"""Counts, sums and second moments of features by fold and class: what closed-form heads are made of.

One pass takes them for each fold; a training part is their total less one fold, exactly as if it had been read again,
so that K heads cost one pass. Sums run in float64 about a shift (the mean of the first rows), which keeps the digits
and which no result depends on; covariances are sums over blocks of rows that are multiplied in float32.
"""

import functools
import itertools
from dataclasses import dataclass

import numpy as np

from lossprint.scoring.heads.blocks import blocks, check

CONSTANT = 1e-12  # a variance below this share of the mean square about the shift is rounding


@dataclass(frozen=True)
class Moments:
    """Of each fold: counts (K, C), sums (K, C, d), squares (K, d, d) of features less shift (d,), all float64."""

    counts: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    shift: np.ndarray

    @functools.cached_property
    def whole(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Counts (C,), sums (C, d) and squares (d, d) of all folds."""
        return self.counts.sum(axis=0), self.sums.sum(axis=0), self.squares.sum(axis=0)


@dataclass(frozen=True)
class Part:
    """A training part in its own standardised units, which are (f - mean) * scale.

    counts (C,); mean, scale (d,), scale 0 where the part is constant; means (C, d) of the classes, 0 for an absent one;
    within (d, d): covariance inside the classes, divided by the part's size.
    """

    counts: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    means: np.ndarray
    within: np.ndarray


def moments(features, labels: np.ndarray, classes: int, fold: np.ndarray | None = None) -> Moments:
    """One pass over features (N, d), labels (N,), fold (N,) in [0, K), None for one fold. 8 K (d^2 + C d) bytes."""
    labels = check(features, labels, classes)
    fold = np.zeros(len(labels), np.int64) if fold is None else np.asarray(fold)
    if fold.shape != labels.shape or fold.dtype.kind not in "iu" or fold.min(initial=0) < 0:
        raise ValueError(f"fold must be {labels.shape} whole numbers of 0 and more, got {fold.shape} {fold.dtype}")
    folds, d = int(fold.max(initial=0)) + 1, features.shape[1]
    counts = np.bincount(fold * classes + labels, minlength=folds * classes).reshape(folds, classes).astype(float)
    sums, squares, shift = np.zeros((folds * classes, d)), np.zeros((folds, d, d)), np.zeros(d)
    exact = np.zeros((folds, d))  # a variance is a difference
    for rows, block in blocks(features):
        if rows.start == 0:
            shift = block.mean(axis=0)
        block -= shift
        cell = fold[rows] * classes + labels[rows]
        order = np.argsort(cell, kind="stable")
        block, cell = block[order], cell[order]
        starts = np.flatnonzero(np.diff(cell, prepend=-1))
        sums[cell[starts]] += np.add.reduceat(block, starts, axis=0)
        edges, half = np.searchsorted(cell, np.arange(folds + 1) * classes), block.astype(np.float32)
        for k, (first, last) in enumerate(itertools.pairwise(edges)):
            if last > first:
                squares[k] += half[first:last].T @ half[first:last]
                exact[k] += np.einsum("nd,nd->d", block[first:last], block[first:last])
    squares[:, np.arange(d), np.arange(d)] = exact
    return Moments(counts, sums.reshape(folds, classes, d), squares, shift)


def part(total: Moments, without: int | None = None) -> Part:
    """All folds but one (`without`), or all. ValueError where nothing is left."""
    counts, sums, squares = total.whole
    if without is None:
        squares = squares.copy()
    else:
        counts, sums = counts - total.counts[without], sums - total.sums[without]
        squares = squares - total.squares[without]
    n = counts.sum()
    if n < 1:
        raise ValueError(f"expected samples in the training part, found none without fold {without}")
    means = sums / np.maximum(counts, 1)[:, None]
    mean, moment = sums.sum(axis=0) / n, np.diag(squares) / n
    variance = moment - mean**2
    varies = variance > CONSTANT * moment
    scale = np.divide(1.0, np.sqrt(np.where(varies, variance, 1)), where=varies, out=np.zeros_like(mean))
    roots = np.sqrt(counts)[:, None] * means
    squares -= roots.T @ roots
    squares *= scale / n
    squares *= scale[:, None]
    squares[np.diag_indices(len(mean))] = np.maximum(np.diag(squares), 0)
    centred = np.where(counts[:, None] > 0, (means - mean) * scale, 0.0)
    return Part(counts, total.shift + mean, scale, centred, squares)
