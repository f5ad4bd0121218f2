"""Wrong labels of a new batch, by what a head and the neighbours say that never saw it: no training on the batch."""

from dataclasses import dataclass

import numpy as np

from lossprint.scoring.heads.blocks import BANK, blocks, check, directions
from lossprint.scoring.heads.lda import log_softmax, margins
from lossprint.scoring.heads.vote import ELEMENTS, neighbour_count


@dataclass(frozen=True)
class NewLabels:
    """One row a new sample: margin (M,) of the given label, low is suspect; suggested (M,) int64, the head's class;
    probability and given_probability (M,) of both; flagged (M,) bool: head and neighbours name another class than the
    given one, certain (M,): both the same one. Of a sample without a label (-1) margin and given_probability are NaN.
    """

    margin: np.ndarray
    suggested: np.ndarray
    probability: np.ndarray
    given_probability: np.ndarray
    flagged: np.ndarray
    certain: np.ndarray


def judged(logits: np.ndarray, shares: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> NewLabels:
    """From logits (M, C) of a head, shares (M, C) of `vote` and labels (M,), -1 for none; `combine.temperature`."""
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    if logits.ndim != 2 or shares.shape != logits.shape or labels.shape != logits.shape[:1]:
        raise ValueError(f"expected logits, shares (M, C), labels (M,): {logits.shape}, {shares.shape}, {labels.shape}")
    if len(labels) and not -1 <= labels.min() <= labels.max() < logits.shape[1]:
        raise ValueError(f"labels must be from -1 to {logits.shape[1] - 1}, got {labels.min()} to {labels.max()}")
    rows, known = np.arange(len(labels)), labels >= 0
    own = np.where(known, labels, 0)
    margin = np.where(known, margins(logits, own) if len(labels) else 0.0, np.nan)
    p = np.exp(log_softmax(logits / temperature)) if len(labels) else logits
    suggested = logits.argmax(axis=1) if len(labels) else labels
    voted = np.where(np.isnan(shares).any(axis=1), own, shares.argmax(axis=1)) if len(labels) else labels
    flagged = known & (suggested != labels) & (voted != labels)
    return NewLabels(
        margin,
        suggested,
        p[rows, suggested],
        np.where(known, p[rows, own], np.nan),
        flagged,
        flagged & (voted == suggested),
    )


def vote(features, labels: np.ndarray, classes: int, new, *, bank: int = BANK, seed: int = 0) -> np.ndarray:
    """Shares (M, C) of the vote of the nearest of features (N, d), labels (N,), around `new` (M, d), as `heads.vote`.

    Weighted by cosine similarity, negative ones count nothing; a row whose voters are all at right angles is NaN.
    """
    labels = check(features, labels, classes)
    n = len(labels)
    voters = np.arange(n) if n <= bank else np.sort(np.random.default_rng(seed).permutation(n)[:bank])
    around, m = directions(np.asarray(features[voters], np.float32)), new.shape[0]
    k = min(neighbour_count(np.bincount(labels, minlength=classes)), len(voters))
    shares, width = np.full((m, classes), np.nan, np.float32), max(ELEMENTS // max(len(voters), 1), 1)
    for part, block in blocks(new, np.float32):
        for start in range(0, len(block) if k else 0, width):
            similarity = directions(block[start : start + width]) @ around.T
            nearest = np.argpartition(similarity, len(voters) - k, axis=1)[:, len(voters) - k :]
            weight = np.maximum(np.take_along_axis(similarity, nearest, axis=1), 0)
            cell = np.arange(len(nearest))[:, None] * classes + labels[voters][nearest]
            total = np.bincount(cell.ravel(), weights=weight.ravel(), minlength=len(nearest) * classes)
            total = total.reshape(len(nearest), classes)
            sums = total.sum(axis=1, keepdims=True)
            place = slice(part.start + start, part.start + start + len(nearest))
            shares[place] = np.divide(total, sums, out=np.full_like(total, np.nan), where=sums > 0)
    return shares
