"""Features as judges of video frames: heads that never saw a video, and one that has.

Features are those of a frozen backbone, or plain statistics where there is none. A video's own mean is taken off first,
since that is mostly its light and its camera.
"""

import itertools

import numpy as np
import torch
from scipy.ndimage import uniform_filter

from lossprint.scoring.heads import linear

AXES = 256  # principal components of features that are kept
SHRINKAGE = 0.3  # of a ridge's covariance to a multiple of the identity
FLOOR = 1e-3  # of a ridge's scores, which are about 0 to 1
BLOCK, QUANTILES = 512, (0.1, 0.25, 0.5, 0.75, 0.9)  # images at a time; of what pixels have
EPOCHS, DECAY = 12, 1e-4  # of the head that knows the videos


def statistics(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """How the rows (M,) of images (N, S, S, 3) uint8 are lit, coloured and textured, (M, 33) float32: features that
    need no training, where a network learns little from a few videos.

    Quantiles over the pixels of log-colours, of their differences and of log-gradients, and logs of the deviations
    between an image and itself blurred: light and gain are sums in all of them, which the video's mean takes off.
    """
    table = np.empty((len(rows), 33), np.float32)
    for start in range(0, len(rows), BLOCK):
        block = images[rows[start : start + BLOCK]].astype(np.float32)
        gray = block.mean(3)
        edges = np.log(np.hypot(*np.gradient(gray, axis=(1, 2))) + 2)
        colours = np.log(block + 8)
        maps = np.concatenate([colours, colours[..., :2] - colours[..., 1:], edges[..., None]], 3)
        quantiles = np.quantile(maps.reshape(len(block), -1, maps.shape[3]), QUANTILES, axis=1)
        blurred = [uniform_filter(gray, (0, width, width)) for width in (1, 2, 4, 8)]
        scales = [np.log((one - two).std((1, 2)) + 0.5) for one, two in itertools.pairwise(blurred)]
        flat = quantiles.transpose(1, 0, 2).reshape(len(block), -1)
        table[start : start + BLOCK] = np.concatenate([flat, np.stack(scales, 1)], 1)
    return table


def projection(vectors: np.ndarray, rows: np.ndarray, bounds: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """The `AXES` first principal components (d, A) of standardised features, each video freed of its mean.

    vectors (N, d), M rows of them by video, trained (M,) bool: those that say what a deviation and a component is. Goes
    a video at a time.
    """
    size = vectors.shape[1]
    moments = np.zeros((size, size))
    for part, one in _videos(vectors, rows, bounds):
        if trained[part].any():
            moments += one.T @ one
    moments /= max(int(trained.sum()), 1)
    scale = np.sqrt(np.diag(moments))
    scale = np.where(scale > 1e-6 * max(scale.max(), 1e-12), 1 / np.maximum(scale, 1e-12), 0.0)
    _, axes = np.linalg.eigh(moments * scale * scale[:, None])
    return scale[:, None] * axes[:, ::-1][:, :AXES]


def centred(vectors: np.ndarray, rows: np.ndarray, bounds: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Features (M, A) float32 along the axes of `projection`, each video freed of its own mean."""
    flat = np.empty((len(rows), axes.shape[1]), np.float32)
    for part, one in _videos(vectors, rows, bounds):
        flat[part] = one @ axes
    return flat


def _videos(vectors: np.ndarray, rows: np.ndarray, bounds: np.ndarray):
    """Of each video its rows among the M, and its features (m, d) about their mean."""
    for start, stop in itertools.pairwise(np.asarray(bounds).tolist()):
        one = vectors[rows[start:stop]].astype(np.float64)
        yield slice(start, stop), one - one.mean(0)


def heads(flat: np.ndarray, labels: np.ndarray, where, classes: int) -> np.ndarray:
    """The head (K, A + 1, C) float32 of each fold of videos, which has seen none of them; its last row is a constant.

    Heads are least squares on the classes' indicators, penalised, see `scoring.heads.lda`.
    """
    fold = np.repeat(where.fold, np.diff(where.bounds))
    inside = [(fold >= 0) & (fold != k) for k in range(int(where.fold.max()) + 1)]
    return np.stack([_ridge(flat[rows].astype(np.float64), labels[rows], classes) for rows in inside])


def held_out(flat: np.ndarray, heads: np.ndarray, where) -> np.ndarray:
    """Log-probabilities (K, M, C) float32 by the `heads` of the folds, as `timeline.frame_looks` has them."""
    fold = np.repeat(where.fold, np.diff(where.bounds))
    looks = np.empty((len(heads), len(flat), heads.shape[2]), np.float32)
    for k, head in enumerate(heads):
        scores = np.clip(flat @ head[:-1] + head[-1], FLOOR, 1)
        log = np.log(scores / scores.sum(1, keepdims=True))
        looks[k, fold < 0] = log[fold < 0]
        looks[:, fold == k] = log[fold == k]
    return looks


def _ridge(seen: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    share = np.bincount(labels, minlength=classes) / len(labels)
    mean = seen.mean(0)
    seen = seen - mean
    spread = seen.T @ seen / len(seen)
    spread = (1 - SHRINKAGE) * spread + SHRINKAGE * np.trace(spread) / len(spread) * np.eye(len(spread))
    weights = np.linalg.solve(spread, seen.T @ (np.eye(classes)[labels] - share) / len(seen))
    return np.concatenate([weights, (share - mean @ weights)[None]]).astype(np.float32)


def known(flat: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Mean log-probabilities (M, C) float32 over the epochs of a linear head that trains on all frames."""
    total = np.zeros((len(labels), classes), np.float32)
    for head in linear.train(flat, labels, classes, decay=DECAY, epochs=EPOCHS, seed=seed):
        for part, logits in head.logits(flat):
            total[part] += torch.log_softmax(logits, 1).numpy() / EPOCHS
    return total
