"""More samples like a few: the rest of one confusion of labels, or what looks like the chosen images.

N samples, d features (any real ones; those of a frozen backbone see most), C classes. A reviewer has confirmed a few
errors; both rankings say which samples to ask about next. Neither is a verdict.

Source: facility location mutual information, arXiv 2107.00717 (FLQMI there; another name in the authors' library).
"""

from collections.abc import Sequence

import numpy as np

from lossprint.scoring.heads.blocks import blocks, directions


def same_confusion(
    scores: np.ndarray, labels: np.ndarray, given: int, corrected: int, leave: Sequence[int] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Rows labelled `given` in the order in which they look like `corrected`, and their log-odds, both (M,).

    scores (N, C): log-probabilities out of fold (`heads.lda.OutOfFold.discriminant`), so that a sample's own label has
    no part in them; labels (N,). The value is scores[:, corrected] - scores[:, given], high is suspect. Left out: the
    rows `leave`, and rows without scores. ValueError where the two are one class, or none.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(f"expected scores (N, C) and labels (N,), got {scores.shape} and {labels.shape}")
    for name, index in (("given", given), ("corrected", corrected)):
        if not 0 <= index < scores.shape[1]:
            raise ValueError(f"{name} must be a class from 0 to {scores.shape[1] - 1}, got {index}")
    if given == corrected:
        raise ValueError(f"given and corrected must be two classes, got {given} twice")
    mask = labels == given
    mask[np.asarray(leave, np.int64)] = False
    rows = np.flatnonzero(mask)
    with np.errstate(invalid="ignore"):
        odds = scores[rows, corrected].astype(np.float64) - scores[rows, given]
    rows, odds = rows[~np.isnan(odds)], odds[~np.isnan(odds)]
    order = np.argsort(-odds, kind="stable")
    return rows[order], odds[order]


def look_alikes(
    features: np.ndarray,
    query: Sequence[int],
    kept: Sequence[int] = (),
    *,
    number: int = 50,
    leave: Sequence[int] = (),
    eta: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """The `number` rows of features (N, d) most like the rows `query` and unlike the rows `kept`, and their values.

    Greedy maximisation of FLQMI over similarities s in [0, 1], (1 + cosine) / 2:

        sum over q of max over chosen a of s(a, q)  +  eta x sum over chosen a of v(a)
        v(a) = max over q of s(a, q) - max(0, max over kept p of s(a, p) - max over q of s(a, q))

    The first few picks cover each of the query's samples with its nearest; from there on the nearest to any of them
    come first. The value (K,) is v, in [-1, 1], high is like the query. A kept sample repels only what is nearer to it
    than to any of the query: with the plain difference of both, what is like nothing at all came before what is like
    both. Rows of the query, of `kept` and of `leave` are not chosen. Memory N x |query|. ValueError for a row that is
    not finite.
    """
    query, kept = np.unique(np.asarray(query, np.int64)), np.unique(np.asarray(kept, np.int64))
    if not len(query):
        raise ValueError("expected at least one sample to look like, got none")
    if number < 1:
        raise ValueError(f"number must be at least 1, got {number}")
    n = len(features)
    for name, rows in (("query", query), ("kept", kept)):
        if len(rows) and (rows[0] < 0 or rows[-1] >= n):
            raise ValueError(f"{name} must name rows from 0 to {n - 1}, got {rows[0]} to {rows[-1]}")
    towards, away = (directions(np.asarray(features[rows], np.float32)) for rows in (query, kept))
    similarity, value = np.empty((n, len(query)), np.float32), np.empty(n)
    for rows, block in blocks(features, np.float32):
        unit = directions(block)
        similarity[rows] = (1 + unit @ towards.T) / 2
        near = similarity[rows].max(axis=1)
        value[rows] = near - (np.maximum((1 + unit @ away.T) / 2 - near[:, None], 0).max(axis=1) if len(kept) else 0)
    out = np.concatenate([query, kept, np.asarray(leave, np.int64)])
    free = np.ones(n, bool)
    free[out] = False
    similarity[~free] = 0
    return _greedy(similarity, value, free, min(number, int(free.sum())), eta)


def _greedy(
    similarity: np.ndarray, value: np.ndarray, free: np.ndarray, number: int, eta: float
) -> tuple[np.ndarray, np.ndarray]:
    covered, chosen = np.zeros(similarity.shape[1], np.float32), []
    gain = np.where(free, eta * value, -np.inf)
    rest = similarity.sum(axis=1, dtype=np.float64)  # of the first sum, while something is left to cover
    while len(chosen) < number:
        best = int(np.argmax(gain + rest))
        chosen.append(best)
        gain[best] = -np.inf
        if (similarity[best] > covered).any():
            covered = np.maximum(covered, similarity[best])
            rest = np.maximum(similarity - covered, 0).sum(axis=1, dtype=np.float64)
    rows = np.array(chosen, np.int64)
    return rows, value[rows]
