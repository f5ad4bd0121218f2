"""Features of a frozen backbone as judges of video frames: heads that never saw a video, and one that has.

A video's own mean is taken off first, since that is mostly its light and its camera.
"""

import itertools

import numpy as np
import torch

from lossprint.scoring.heads import linear

AXES = 256  # principal components of features that are kept
SHRINKAGE = 0.3  # of a ridge's covariance to a multiple of the identity
FLOOR = 1e-3  # of a ridge's scores, which are about 0 to 1
EPOCHS, DECAY = 12, 1e-4  # of the head that knows the videos


def centred(vectors: np.ndarray, rows: np.ndarray, bounds: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """The `AXES` first principal components (M, A) float32 of standardised features, each video freed of its mean.

    vectors (N, d), M rows of them by video, trained (M,) bool: those that say what a deviation and a component is. Goes
    a video at a time.
    """

    def videos():
        for start, stop in itertools.pairwise(np.asarray(bounds).tolist()):
            one = vectors[rows[start:stop]].astype(np.float64)
            yield slice(start, stop), one - one.mean(0)

    size = vectors.shape[1]
    moments = np.zeros((size, size))
    for part, one in videos():
        if trained[part].any():
            moments += one.T @ one
    moments /= max(int(trained.sum()), 1)
    scale = np.sqrt(np.diag(moments))
    scale = np.where(scale > 1e-6 * max(scale.max(), 1e-12), 1 / np.maximum(scale, 1e-12), 0.0)
    _, axes = np.linalg.eigh(moments * scale * scale[:, None])
    axes = scale[:, None] * axes[:, ::-1][:, :AXES]
    flat = np.empty((len(rows), axes.shape[1]), np.float32)
    for part, one in videos():
        flat[part] = one @ axes
    return flat


def held_out(flat: np.ndarray, labels: np.ndarray, where, classes: int) -> np.ndarray:
    """Log-probabilities (K, M, C) float32 by the head of each fold of videos, as `timeline.frame_looks` has them.

    Heads are least squares on the classes' indicators, penalised, see `scoring.heads.lda`.
    """
    fold = np.repeat(where.fold, np.diff(where.bounds))
    count = int(where.fold.max()) + 1
    found = np.empty((count, len(labels), classes), np.float32)
    for k in range(count):
        inside = (fold >= 0) & (fold != k)
        log = _ridge(flat[inside].astype(np.float64), labels[inside], classes, flat)
        found[k, fold < 0] = log[fold < 0]
        found[:, fold == k] = log[fold == k]
    return found


def _ridge(seen: np.ndarray, labels: np.ndarray, classes: int, flat: np.ndarray) -> np.ndarray:
    share = np.bincount(labels, minlength=classes) / len(labels)
    mean = seen.mean(0)
    seen = seen - mean
    spread = seen.T @ seen / len(seen)
    spread = (1 - SHRINKAGE) * spread + SHRINKAGE * np.trace(spread) / len(spread) * np.eye(len(spread))
    weights = np.linalg.solve(spread, seen.T @ (np.eye(classes)[labels] - share) / len(seen))
    scores = np.clip((flat - mean) @ weights + share, FLOOR, 1)
    return np.log(scores / scores.sum(1, keepdims=True))


def known(flat: np.ndarray, labels: np.ndarray, of_trial: np.ndarray, classes: int, seed: int) -> dict[str, np.ndarray]:
    """Mean log-probabilities (M, C) over the epochs of a linear head that trains on all frames, and on the trial."""
    found = {}
    for name, given in (("single", labels), ("single.trial", of_trial)):
        total = np.zeros((len(labels), classes), np.float32)
        for head in linear.train(flat, given, classes, decay=DECAY, epochs=EPOCHS, seed=seed):
            for part, logits in head.logits(flat):
                total[part] += torch.log_softmax(logits, 1).numpy() / EPOCHS
        found[name] = total
    return found
