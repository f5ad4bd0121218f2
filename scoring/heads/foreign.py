"""Foreign images by their features: NNGuide with a head's energy, and the distance to the k-th neighbour beside it."""

import numpy as np

from lossprint.scoring.heads.blocks import bank_size, blocks, directions

ELEMENTS = 1 << 22  # similarities held at once: 16 MB of float32


def neighbour_count(samples: int) -> int:
    """k = max(50, 5 % of N), N - 1 at most: foreign images come in groups, and k must exceed the group.

    The price: a valid class or sub-group smaller than k looks foreign too, so a finding should tell its group's size.
    """
    return max(1, min(max(50, samples // 20), samples - 1))


def nnguide(
    features, energy: np.ndarray, *, neighbours: int | None = None, bank: int | None = None, seed: int = 0
) -> np.ndarray:
    """NNGuide (arXiv 2309.14888) within a set: features (N, d), energy (N,) -> (N,) float64; high is foreign.

    -(mean of the k largest f_i . e_j f_j) e_i, of features of length 1 and energies e = logsumexp of the logits of a
    head trained with all of them, j over the others; above `bank` samples, by default
    `blocks.bank_size`, over a random part, k in proportion. A head
    that is kept from learning by heart never becomes sure of a foreign image, and neighbours that are sure vouch more.
    With one sample alone NaN.
    """
    energy = np.asarray(energy, np.float64)
    if energy.shape != features.shape[:1] or not np.isfinite(energy).all():
        raise ValueError(f"energy must be ({features.shape[0]},) finite numbers, got {energy.shape}")
    return -_nearest(features, energy, neighbours, bank, seed)[0] * energy


def remoteness(features, energy: np.ndarray, **options) -> np.ndarray:
    """1 / -`nnguide`, (N,) above 0, high is foreign: a distance in kind, for `outliers.outlier_severity`.

    What has no neighbour in its direction at all is put at a thousandth of the median guidance.
    """
    guidance = -nnguide(features, energy, **options)
    if not len(guidance) or np.isnan(guidance).all():
        return guidance
    return 1 / np.maximum(guidance, max(np.nanmedian(guidance) / 1000, np.finfo(np.float64).tiny))


def distance(features, *, neighbours: int | None = None, bank: int | None = None, seed: int = 0) -> np.ndarray:
    """Cosine distance (N,) in [0, 2] of features (N, d) to the k-th nearest other; high is foreign. As `nnguide`.

    Not the mean of k, in which a group of foreign images that is most of k vouches for itself.
    """
    return np.clip(1 - _nearest(features, np.ones(features.shape[0]), neighbours, bank, seed)[1], 0, 2)


def _nearest(
    features, weight: np.ndarray, neighbours: int | None, bank: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and least (N,) of the k largest products of a row's direction with those of others times weight (N,)."""
    n = features.shape[0]
    if neighbours is not None and neighbours < 1:
        raise ValueError(f"neighbours must be at least 1, got {neighbours}")
    if n < 2:
        return np.full(n, np.nan), np.full(n, np.nan)
    bank = bank or bank_size(n)
    members = np.arange(n) if n <= bank else np.sort(np.random.default_rng(seed).permutation(n)[:bank])
    around = np.empty((len(members), features.shape[1]), np.float32)
    for rows, block in blocks(features, np.float32):
        first, last = np.searchsorted(members, (rows.start, rows.stop))
        mine = members[first:last]
        around[first:last] = directions(block[mine - rows.start]) * weight[mine, None].astype(np.float32)
    k = max(1, round((neighbours or neighbour_count(n)) * len(members) / n))
    mean, least, width = np.empty(n), np.empty(n), max(ELEMENTS // len(members), 1)
    for start in range(0, n, width):
        rows = np.arange(start, min(start + width, n))
        similarity = directions(features[rows]) @ around.T
        place = np.minimum(np.searchsorted(members, rows), len(members) - 1)
        itself = np.flatnonzero(members[place] == rows)
        similarity[itself, place[itself]] = -np.inf
        most = min(k, len(members) - 1)
        similarity.partition(len(members) - most, axis=1)
        mean[rows] = similarity[:, len(members) - most :].mean(axis=1, dtype=np.float64)
        least[rows] = similarity[:, len(members) - most]
    return mean, least
