"""Foreign images of a new batch, by the features of a set that is known, its bank: no new image vouches for another.

N known samples, M new ones, d features. All scores are high where an image is foreign. None is a verdict: a valid image
of a kind that the bank has not is as foreign to it as any other.
"""

from dataclasses import dataclass

import numpy as np

from lossprint.scoring.heads.blocks import blocks, directions
from lossprint.scoring.heads.foreign import neighbour_count
from lossprint.scoring.outliers import FENCE, ROUNDING

ELEMENTS = 1 << 22  # similarities held at once: 16 MB of float32
BANK = 50_000
FEW = 50  # reference samples below which a p-value says next to nothing
DISCOVERY = 0.1  # share of what `discovered` names that may be false


@dataclass(frozen=True)
class Bank:
    """Directions of up to BANK known samples times their weight, (B, d) float32, and how many neighbours vouch."""

    rows: np.ndarray
    neighbours: int


def bank(features, weight: np.ndarray | None = None, *, most: int = BANK, seed: int = 0) -> Bank:
    """The bank of features (N, d) with weights (N,), energies for NNGuide, none for plain similarity.

    Above `most` samples a random part, k = max(50, 5 % of N) in proportion: a group of foreign images that is in the
    bank itself must not vouch for more of its kind.
    """
    n = features.shape[0]
    if n < 2:
        raise ValueError(f"expected a bank of 2 samples and more, got {n}")
    weight = np.ones(n) if weight is None else np.asarray(weight, np.float64)
    if weight.shape != (n,) or not np.isfinite(weight).all():
        raise ValueError(f"weight must be ({n},) finite numbers, got {weight.shape}")
    members = np.arange(n) if n <= most else np.sort(np.random.default_rng(seed).permutation(n)[:most])
    rows = np.empty((len(members), features.shape[1]), np.float32)
    for part, block in blocks(features, np.float32):
        first, last = np.searchsorted(members, (part.start, part.stop))
        own = members[first:last]
        rows[first:last] = directions(block[own - part.start]) * weight[own, None].astype(np.float32)
    return Bank(rows, max(1, round(neighbour_count(n) * len(members) / n)))


def nearest(known: Bank, features) -> tuple[np.ndarray, np.ndarray]:
    """Mean and least (M,) of the k largest products of features' (M, d) directions with the bank's rows."""
    m, size = features.shape[0], len(known.rows)
    if m and features.shape[1] != known.rows.shape[1]:
        raise ValueError(f"expected {known.rows.shape[1]} features as in the bank, got {features.shape[1]}")
    mean, least, k = np.empty(m), np.empty(m), min(known.neighbours, size)
    for part, block in blocks(features, np.float32):
        for start in range(0, len(block), max(ELEMENTS // size, 1)):
            rows = slice(start, min(start + max(ELEMENTS // size, 1), len(block)))
            similarity = directions(block[rows]) @ known.rows.T
            similarity.partition(size - k, axis=1)
            place = slice(part.start + rows.start, part.start + rows.stop)
            mean[place] = similarity[:, size - k :].mean(axis=1, dtype=np.float64)
            least[place] = similarity[:, size - k]
    return mean, least


def nnguide(known: Bank, features, energy: np.ndarray) -> np.ndarray:
    """NNGuide (arXiv 2309.14888): -(mean of the k largest f_i . e_j f_j) e_i, (M,), high is foreign.

    known: the bank of features weighed by energies e = logsumexp of a head's logits; energy (M,): the same of the new
    ones. Logits of mean 0 over the classes make every energy at least log C, so that no sign turns.
    """
    energy = np.asarray(energy, np.float64)
    if energy.shape != (features.shape[0],) or not np.isfinite(energy).all():
        raise ValueError(f"energy must be ({features.shape[0]},) finite numbers, got {energy.shape}")
    return -nearest(known, features)[0] * energy


def energies(logits: np.ndarray) -> np.ndarray:
    """logsumexp (N,) of logits (N, C), centred so that a constant added to all of a row changes nothing."""
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.mean(axis=1, keepdims=True)
    top = logits.max(axis=1, keepdims=True)
    return np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]


def mahalanobis(features, mean: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """min over classes of (f - m_c)' P (f - m_c), (M,) float64: features (M, d), mean (C, d), precision P (d, d)."""
    distance = np.empty(features.shape[0])
    for part, block in blocks(features):
        turned, centres = block @ precision, mean @ precision
        own = np.einsum("nd,nd->n", turned, block)[:, None]
        distance[part] = (own - 2 * turned @ mean.T + np.einsum("cd,cd->c", centres, mean)).min(axis=1)
    return np.maximum(distance, 0)


@dataclass(frozen=True)
class Judged:
    """Of M new images, by the scores of R reference images that are known to belong.

    severity (M,) in [0, 1), one half at the fence of the reference; p (M,): the share of the reference as foreign or
    more, itself counted. found (M,) bool: beyond the fence, or among those that `discovered` names. usual: the share of
    the reference beyond its own fence, which is what to expect of a batch that belongs.
    """

    severity: np.ndarray
    p: np.ndarray
    found: np.ndarray
    usual: float


def judged(scores: np.ndarray, reference: np.ndarray) -> Judged:
    """New scores (M,) beside those of the reference (R,), R >= 2, both above 0 and high where foreign.

    The fence is `outliers.outlier_severity`'s, drawn from the reference alone. p-values are conformal (Vovk et al.,
    2005): where new images belong, each is below any level at most as often as the level says.
    """
    scores, reference = np.asarray(scores, np.float64), np.sort(np.asarray(reference, np.float64))
    if len(reference) < 2 or not (reference > 0).all() or not (scores > 0).all():
        raise ValueError("expected 2 reference scores and more, and all scores above 0")
    low, high = np.percentile(reference, (25, 75))
    high = max(high, ROUNDING)
    low = max(low, high / 10)
    fence = high * (high / low) ** FENCE
    beyond = len(reference) - np.searchsorted(reference, scores, side="left")
    p = (1 + beyond) / (1 + len(reference))
    named = discovered(p) if len(reference) >= FEW else np.zeros(len(p), bool)
    usual = float((reference > fence).mean())
    return Judged(scores / (scores + fence), p, (scores > fence) | named, usual)


def discovered(p: np.ndarray, rate: float = DISCOVERY) -> np.ndarray:
    """Which p-values (M,) Benjamini and Hochberg (1995) name, so that about `rate` of these at most are false.

    Of conformal p-values with one reference for all this holds as well (Bates et al., Ann. Statist. 51, 2023).
    """
    order = np.sort(p)
    below = np.flatnonzero(order <= rate * np.arange(1, len(p) + 1) / max(len(p), 1))
    return p <= order[below[-1]] if len(below) else np.zeros(len(p), bool)


def remote(guidance: np.ndarray, usual: float) -> np.ndarray:
    """1 / guidance (M,), of `-nnguide`, above 0, high is foreign; at most 1,000 times that of guidance `usual`."""
    return 1 / np.maximum(guidance, max(usual / 1000, np.finfo(np.float64).tiny))
