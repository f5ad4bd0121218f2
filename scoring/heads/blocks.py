"""Features in blocks of rows, so that a memory map of a million rows is never in memory, and what must be checked."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

ROWS = 4096
BANK, LEAST, PRODUCTS = 50_000, 10_000, 10**10
CONSTANT = 1e-6  # a deviation below this share of the dimension's root mean square is rounding


@dataclass(frozen=True)
class Prepared:
    """Features (N, d) standardised by dimension and scaled to length 1, float32, a block at a time as rows are taken.

    Means and deviations know no labels. A constant dimension is 0, and so is a row that lies at the mean.
    """

    features: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        return self.features.shape

    def __getitem__(self, rows) -> np.ndarray:
        return directions((np.asarray(self.features[rows], np.float32) - self.mean) * self.scale)


def prepare(features: np.ndarray) -> Prepared:
    """`Prepared` features, from one pass in float64 over (N, d); ValueError for a value that is not finite."""
    if getattr(features, "ndim", 0) != 2 or not features.shape[0] or not features.shape[1]:
        raise ValueError(f"features must be (N, d) with N and d of 1 and more, got shape {np.shape(features)}")
    shift = np.asarray(features[0], np.float64)
    total, squares = np.zeros((2, features.shape[1]))
    for _, block in blocks(features):
        block -= shift
        total += block.sum(axis=0)
        squares += np.einsum("nd,nd->d", block, block)
    mean = total / features.shape[0]
    deviation = np.sqrt(np.maximum(squares / features.shape[0] - mean**2, 0))
    mean += shift
    varies = deviation > CONSTANT * np.hypot(deviation, mean)
    scale = np.divide(1.0, deviation, where=varies, out=np.zeros_like(deviation))
    return Prepared(features, mean.astype(np.float32), scale.astype(np.float32))


def check(features, labels: np.ndarray, classes: int) -> np.ndarray:
    """The labels as (N,) int64 of features (N, d), an array, a memory map or `Prepared`; ValueError otherwise."""
    labels = np.asarray(labels)
    if getattr(features, "ndim", 0) != 2 or not features.shape[1]:
        raise ValueError(f"features must be (N, d) with d of 1 and more, got shape {np.shape(features)}")
    if labels.shape != features.shape[:1]:
        raise ValueError(f"labels must be ({features.shape[0]},) as features {features.shape} are, got {labels.shape}")
    if len(labels) and (labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes):
        raise ValueError(f"labels must be whole numbers from 0 to {classes - 1}, got {labels.min()} to {labels.max()}")
    return labels.astype(np.int64)


def blocks(features, dtype: type = np.float64) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows as (slice, block of `dtype`, the caller's own), in order; ValueError at the first row that is not finite."""
    for start in range(0, features.shape[0], ROWS):
        part = slice(start, min(start + ROWS, features.shape[0]))
        block = np.array(features[part], dtype)
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            raise ValueError(f"features must be finite, row {start + int(np.argmin(finite))} is not")
        yield part, block


def directions(vectors: np.ndarray) -> np.ndarray:
    """Vectors (N, d) scaled to length 1, float32; zeros, which have no direction, stay zeros."""
    vectors = np.asarray(vectors, np.float32)
    scale = np.abs(vectors).max(axis=1, keepdims=True, initial=0)  # first, so that no square overflows
    vectors = np.divide(vectors, scale, out=np.zeros_like(vectors), where=scale > 0)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=vectors, where=length > 0)


def bank_size(samples: int, classes: int = 1) -> int:
    """Among how many of N samples neighbours are sought: 50,000 at most, and fewer beyond 200,000 samples, so that a
    million take minutes; never fewer than 10,000, or than 30 a class."""
    return min(samples, BANK, max(PRODUCTS // max(samples, 1), LEAST, 30 * classes))
