"""Outliers: samples that lie far from all others in a network's embedding."""

import numpy as np

BLOCK_ELEMENTS = 1 << 22  # similarities held at once: 16 MB of float32


def neighbour_distance(vectors: np.ndarray, neighbours: int = 10) -> np.ndarray:
    """Mean cosine distance (N,) in [0, 2] of each embedding (N, D) to its nearest `neighbours` others. High = suspect.

    The k-nearest-neighbour distance is the classic outlier score (Ramaswamy et al., SIGMOD 2000), the cosine form the
    usual one for features (Sun et al., ICML 2022). With fewer others than asked, all of them count; alone: NaN.
    """
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2:
        raise ValueError(f"vectors must be (N, D), got shape {vectors.shape}")
    n = len(vectors)
    if n < 2:
        return np.full(n, np.nan)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    k = min(neighbours, n - 1)
    distance = np.empty(n)
    block = max(BLOCK_ELEMENTS // n, 1)
    for start in range(0, n, block):
        rows = np.arange(start, min(start + block, n))
        similarity = unit[rows] @ unit.T
        similarity[np.arange(len(rows)), rows] = -np.inf
        nearest = np.partition(similarity, n - k, axis=1)[:, n - k :]
        distance[rows] = 1 - nearest.mean(axis=1, dtype=np.float64)
    return np.maximum(distance, 0)


def outlier_severity(distance: np.ndarray) -> np.ndarray:
    """Distances (N,) -> severity in [0, 1): one half at the outer fence of this dataset, whatever its scale.

    The fence is Tukey's, the third quartile plus 1.5 interquartile ranges (Exploratory Data Analysis, 1977), of the
    logarithm, because neighbour distances are skewed. NaN stays NaN.
    """
    distance = np.asarray(distance, np.float64)
    known = distance[~np.isnan(distance)]
    if not len(known):
        return distance.copy()
    low, high = np.percentile(known, (25, 75))
    high = max(high, 1e-12)
    low = max(low, high / 10)  # where a quarter are copies of each other, the ratio would know no bounds
    return distance / (distance + high * (high / low) ** 1.5)
