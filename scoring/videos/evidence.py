"""What several judges of video frames say together, each weighed by what it is worth on this dataset; arrays only.

N frames, C classes, `bounds` (S + 1,) as in `scoring.sequences`. A judge gives log-probabilities (N, C) in nats. Some
have never seen the video (held out), some have trained on it under the labels as given (within): what these were slow
to believe is suspect. Which is worth more depends on the dataset: where videos are alike the former, where each has a
look of its own the latter. Nobody knows which labels are wrong, so some are made wrong on purpose, in a copy: judges
within are trained once more on the copy (a trial), and the weights are those with which the labels before are told
best from the copy's. What a judge within learns by heart, and at which epoch it does, shows there as well.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from lossprint.scoring.sequences import runs, smoothed

LONGEST = 31  # frames of the window of evidence, at most
SHARE = 0.12  # of the frames that a trial relabels, about
SHORT = 8  # frames: a phase of fewer is left alone by a trial
FEW = 20  # frames of a kind of error in a trial, below which its figure says nothing
ROUNDS, STEPS, LEAST = 3, (0.0, 0.25, 0.5, 1.0, 2.0), 0.003  # of the search for weights, in deviations of a judge
PULL = 1.0  # penalty of the squares of weights, in frames
DROP = 12.0  # nats below the likeliest class at which a judge says no more


@dataclass(frozen=True)
class Trial:
    """Labels (N,) with errors made on purpose; kind (N,) int: 0 as before, 1 a window, 2 a phase, 3 an exchange."""

    labels: np.ndarray
    kind: np.ndarray


@dataclass(frozen=True)
class Weights:
    """Of each of K judges (K,), and of the label as stated: how many nats its being stated is worth."""

    judges: np.ndarray
    stated: float


def window(labels: np.ndarray, bounds: np.ndarray) -> int:
    """Frames (odd) to average evidence over: a third of a short phase of this dataset (the lower quartile)."""
    sizes = np.concatenate([np.diff(runs(labels, a, b)) for a, b in itertools.pairwise(np.asarray(bounds).tolist())])
    third = int(np.quantile(sizes, 0.25) / 3) if len(sizes) else 1
    return int(np.clip(third // 2 * 2 + 1, 1, LONGEST))


def averaged(log: np.ndarray, bounds: np.ndarray, width: int) -> np.ndarray:
    """Log-probabilities (N, C), none of them further than DROP below the likeliest, averaged along time."""
    log = np.maximum(log, log.max(1, keepdims=True) - DROP)
    return np.stack([smoothed(column, bounds, width) for column in log.T], 1)


def trial(labels: np.ndarray, bounds: np.ndarray, random: np.random.Generator) -> Trial:
    """Labels with windows, phases and exchanges of two phases made wrong in every video, about SHARE of its frames.

    The wrong label is one that the video has.
    """
    copy, kind = labels.copy(), np.zeros(len(labels), np.int64)
    turn = 0
    for first, last in itertools.pairwise(np.asarray(bounds).tolist()):
        cuts = runs(labels, first, last)
        own = np.unique(labels[first:last])
        todo = SHARE * (last - first)
        for at in random.permutation(len(cuts) - 1).tolist():
            start, stop = int(cuts[at]), int(cuts[at + 1])
            size = stop - start
            if todo <= 0:
                break
            if size < SHORT or len(own) < 2 or kind[start:stop].any() or (size > (last - first) / 3 and turn % 3):
                continue
            if turn % 3 == 0:
                part = min(max(int(size * random.uniform(0.25, 0.6)), SHORT // 2), int(todo) + SHORT)
                start += int(random.integers(size - part + 1)) if size > part else 0
                stop = min(start + part, stop)
            if turn % 3 == 2:
                if at + 2 >= len(cuts) or kind[stop : cuts[at + 2]].any():
                    continue
                middle, stop = stop, int(cuts[at + 2])
                copy[start:middle], copy[middle:stop] = labels[middle], labels[start]
            else:
                copy[start:stop] = random.choice(own[own != labels[start]])
            kind[start:stop] = turn % 3 + 1
            todo -= stop - start
            turn += 1
    return Trial(copy, kind)


def fitted(judges: list[np.ndarray], trial: Trial, labels: np.ndarray) -> Weights:
    """The weights of judges (K of (N, C), of the trial's labels) with which errors of the trial are told best.

    Told by `auroc`, the mean over the kinds of error. A judge that does not better it by LEAST has weight 0. Then how
    far they all together weigh against a label's being stated, so that `labels` (N,) are likeliest.
    """
    spread = [max(float(doubt(one, trial.labels).std()), 1e-9) for one in judges]

    def told(weights: np.ndarray) -> float:
        score = _together(judges, weights / spread)
        return _mean(auroc(doubt(score, trial.labels), trial.kind))

    alone = [told(row) for row in np.eye(len(judges))]
    weights = np.eye(len(judges))[int(np.argmax(alone))]
    best = max(alone)
    for _ in range(ROUNDS):
        before = best
        for at in range(len(judges)):
            for value in STEPS:
                other = weights.copy()
                other[at] = value
                if other.any() and (figure := told(other)) > best + LEAST:
                    weights, best = other, figure
        if best == before:
            break
    weights = weights / spread
    scale, stated = _newton([_together(judges, weights)], trial.labels, labels)
    return Weights(weights * scale, stated)


def worth(judges: list[np.ndarray], trial: Trial, weights: Weights) -> float:
    """The mean of `auroc` over the kinds of error of a trial, 0.5 where it has too few."""
    return _mean(auroc(doubt(_together(judges, weights.judges), trial.labels), trial.kind))


def _mean(figures: np.ndarray) -> float:
    return float(np.nanmean(figures)) if np.isfinite(figures).any() else 0.5


def _together(judges: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    return sum(weight * judge for weight, judge in zip(weights, judges) if weight)


def _newton(judges: list[np.ndarray], stated: np.ndarray, labels: np.ndarray, rounds: int = 25) -> tuple[float, float]:
    """A conditional logit: P(c) is proportional to exp(scale * judge + nats [c is stated]); its scale and nats."""
    n = len(labels)
    own = np.zeros((n, judges[0].shape[1]))
    own[np.arange(n), stated] = 1
    design = np.stack([*judges, own], 2)  # (N, C, K + 1)
    design = design - design[np.arange(n), labels][:, None]
    weights = np.zeros(design.shape[2])
    for _ in range(rounds):
        score = design @ weights
        p = np.exp(score - score.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        mean = np.einsum("nc,nck->nk", p, design)
        slope = mean.sum(0) + PULL * weights
        bend = np.einsum("nc,nck,ncj->kj", p, design, design, optimize=True) + PULL * np.eye(len(weights))
        bend -= mean.T @ mean
        step = np.clip(np.linalg.solve(bend, slope), -2, 2)
        weights = weights - step
        if np.abs(step).max() < 1e-5:
            break
    return max(float(weights[0]), 1e-3), float(weights[1])


def auroc(doubt: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """How well doubts (N,) tell the frames of each kind of error of a trial from those without: areas under the ROC
    curve (3,), NaN where there are fewer than FEW frames of it."""
    clean, figures = np.sort(doubt[kind == 0]), np.full(3, np.nan)
    for one in (1, 2, 3):
        wrong = doubt[kind == one]
        if min(len(wrong), len(clean)) >= FEW:
            below = np.searchsorted(clean, wrong) + np.searchsorted(clean, wrong, "right")
            figures[one - 1] = below.mean() / 2 / len(clean)
    return figures


def combined(judges: list[np.ndarray], stated: np.ndarray, weights: Weights) -> np.ndarray:
    """Log-probabilities (N, C) of the true label: what the judges and the label as stated say together."""
    score = _together(judges, weights.judges)
    score[np.arange(len(stated)), stated] += weights.stated
    score = score - score.max(1, keepdims=True)
    return score - np.log(np.exp(score).sum(1, keepdims=True))


def scaled(log: np.ndarray, like: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A judge's log-probabilities (N, C), its doubts spread as far as those of another judge that is `like` it."""
    spread = float(doubt(like, labels).std()) / max(float(doubt(log, labels).std()), 1e-9)
    return log * spread


def with_phase(log: np.ndarray, labels: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Evidence (N, C) of frames, averaged with that of the whole phase as given that they are in: a label is as a rule
    right or wrong for all of it."""
    whole = np.empty_like(log)
    for first, last in itertools.pairwise(np.asarray(bounds).tolist()):
        for start, stop in itertools.pairwise(runs(labels, first, last).tolist()):
            whole[start:stop] = log[start:stop].mean(0)
    return (log + whole) / 2


def doubt(log: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How far the likeliest other label is ahead of the given one, (N,) nats. High is suspect."""
    others = log.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return others.max(1) - log[np.arange(len(labels)), labels]


def partnered(log: np.ndarray, labels: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Evidence (N,) in nats that a frame's label has been exchanged with that of another phase of the same video.

    The less of two: how far another label is ahead of the given one here, and how far the given one is ahead of that
    other in the phase of it where it is most. High: two stretches explain each other.
    """
    evidence = np.full(len(labels), -np.inf)
    for first, last in itertools.pairwise(np.asarray(bounds).tolist()):
        cuts = runs(labels, first, last)
        wants = np.full((log.shape[1],) * 2, -np.inf)  # [given, other]
        for start, stop in itertools.pairwise(cuts.tolist()):
            given = labels[start]
            wants[given] = np.maximum(wants[given], (log[start:stop] - log[start:stop, given][:, None]).mean(0))
        np.fill_diagonal(wants, -np.inf)
        rows = slice(first, last)
        here = log[rows] - log[np.arange(first, last), labels[rows]][:, None]
        evidence[rows] = np.minimum(here, wants.T[labels[rows]]).max(1) if last > first else 0
    return evidence
