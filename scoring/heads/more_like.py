"""More samples like a few: the rest of one confusion of labels, or what looks like the chosen images.

N samples, d features (any real ones; those of a frozen backbone see most), C classes. A reviewer has confirmed a few
errors; both rankings say which samples to ask about next. Neither is a verdict.

Sources: graph cut mutual and conditional information, arXiv 2107.00717, for look-alikes, of which this keeps the sum
over the query. Facility location (FLQMI there), which covers the query's samples first, found fewer of what was planted
(`benchmarks/more_like.py`).
"""

from collections.abc import Sequence

import numpy as np

from lossprint.scoring.heads.blocks import blocks, directions, prepare


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
) -> tuple[np.ndarray, np.ndarray]:
    """The `number` rows of features (N, d) most like the rows `query` and unlike the rows `kept`, and their values.

    With the cosine similarity s of standardised features, of a row a:

        mean over query q of s(a, q)  -  max(0, max over kept p of s(a, p) - max over query q of s(a, q))

    The value (K,) is at most 1, high is like the query. A kept sample repels only what is nearer to it than to any of
    the query: with the plain difference of both, what is like nothing at all comes before what is like both. Rows of
    the query, of `kept` and of `leave` are not chosen. ValueError for a row that is not finite. Memory N (|query| +
    |kept|) and one block.
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
    prepared = prepare(features)
    anchors = directions(prepared[np.concatenate([query, kept])])
    value = np.empty(n)
    for rows, block in blocks(prepared, np.float32):
        similarity = directions(block) @ anchors.T
        near, far = similarity[:, : len(query)], similarity[:, len(query) :]
        repelled = np.maximum(far.max(axis=1, initial=-1) - near.max(axis=1), 0) if len(kept) else 0
        value[rows] = near.mean(axis=1) - repelled
    value[np.concatenate([query, kept, np.asarray(leave, np.int64)])] = -np.inf
    rows = np.argsort(-value, kind="stable")[: min(number, int(np.isfinite(value).sum()))]
    return rows, value[rows]
