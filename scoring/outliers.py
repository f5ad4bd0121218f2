"""Outliers: samples that lie far from the others in a network's embedding."""

import numpy as np

BLOCK_ELEMENTS = 1 << 22  # similarities held at once: 16 MB of float32
MOST, FEWEST = 30, 5  # neighbours
FENCE = 1.25  # interquartile ranges of the logarithm
ROUNDING = 1e-6  # cosine distances below it are the rounding of float32


def neighbour_count(samples: int, classes: int) -> int:
    """Which neighbour to measure the distance to: a fifth of an average class, at least the 5th, at most the 30th.

    Foreign images come in copies and in kinds, which are each other's nearest neighbours: the count must exceed such a
    group. It must stay under the size of a valid class, whose members would all be far from their neighbours otherwise.
    """
    return min(max(samples // (5 * max(classes, 1)), FEWEST), MOST)


def neighbour_distance(vectors: np.ndarray, neighbours: int = MOST) -> np.ndarray:
    """Cosine distance (N,) in [0, 2] of each embedding (N, D) to its `neighbours`-th nearest other. High = suspect.

    The distance to the k-th neighbour is the classic outlier score (Ramaswamy et al., SIGMOD 2000); Sun et al. (ICML
    2022) take it between normalised features. A mean over the k nearest would let one copy of a foreign image vouch for
    it. With fewer others than asked the farthest counts; alone: NaN. A vector that is not finite gets NaN and is
    nobody's neighbour; one of zeros, which has no direction, is at distance 1 from all. `benchmarks/outliers.py`
    compares the score with others. Time grows with N^2 D, memory with N: a block of rows is held at once.
    ValueError for vectors of another shape and for `neighbours` under 1.
    """
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2:
        raise ValueError(f"vectors must be (N, D), got shape {vectors.shape}")
    if neighbours < 1:
        raise ValueError(f"neighbours must be at least 1, got {neighbours}")
    distance = np.full(len(vectors), np.nan)
    known = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    n = len(known)
    if n < 2:
        return distance
    unit = _directions(vectors[known])
    k = min(neighbours, n - 1)
    block = max(BLOCK_ELEMENTS // n, 1)
    for start in range(0, n, block):
        rows = np.arange(start, min(start + block, n))
        similarity = unit[rows] @ unit.T
        similarity[np.arange(len(rows)), rows] = -np.inf  # nobody is its own neighbour; copies are
        similarity.partition(n - k, axis=1)
        distance[known[rows]] = 1 - similarity[:, n - k].astype(np.float64)
    return np.clip(distance, 0, 2)


def outlier_severity(distance: np.ndarray) -> np.ndarray:
    """Distances (N,) -> severity in [0, 1): one half at the upper fence of this dataset, whatever its scale.

    The fence follows Tukey (Exploratory Data Analysis, 1977) in the logarithm, because neighbour distances are skewed:
    1.25 interquartile ranges above the third quartile, where his inner fence has 1.5. Over it in
    `benchmarks/outliers.py`: 1.9 of 1,000 clean images of Fashion-MNIST, 5.2 of CIFAR-10 with a person's labels, and
    60 and 27 % of the foreign images (seeds 0 to 2). It is drawn from the distances alone, so that some samples are
    beyond it where nothing is foreign. NaN stays NaN.
    """
    distance = np.asarray(distance, np.float64)
    known = distance[~np.isnan(distance)]
    if not len(known):
        return distance.copy()
    low, high = np.percentile(known, (25, 75))
    high = max(high, ROUNDING)
    low = max(low, high / 10)  # where a quarter are copies of each other, the ratio would know no bounds
    return distance / (distance + high * (high / low) ** FENCE)


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Vectors (N, D) scaled to length 1, zeros left alone; by the largest entry first, so that no square overflows."""
    scale = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    vectors = np.divide(vectors, scale, out=np.zeros_like(vectors), where=scale > 0)
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norm, out=vectors, where=norm > 0)
