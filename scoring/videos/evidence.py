"""What several judges of video frames say together, each weighed by what it is worth on this dataset; arrays only.

N frames, C classes, `bounds` (S + 1,) as in `scoring.sequences`. A judge gives log-probabilities (N, C) in nats. Some
have never seen the video (held out), some have trained on it under the labels as given (within): what these were slow
to believe is suspect. Which is worth more depends on the dataset: where videos are alike the former, where each has a
look of its own the latter. Nobody knows which labels are wrong, so some are made wrong on purpose, in a copy: judges
within are trained once more on the copy (a trial), and the weights are those with which the labels before are told
best from the copy's. What a judge within learns by heart, and at which epoch it does, shows there as well.

Each judge is asked twice: about the frames around, and about the whole phase as given. A label is as a rule right or
wrong for all of a phase, and a judge that is right in half of its frames may be right of most phases.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from lossprint.scoring.intervals import share_below
from lossprint.scoring.sequences import runs, smoothed

LONGEST = 31  # frames of the window of evidence, at most
SHARE = 0.12  # of the frames that a trial relabels, about
SHORT = 8  # frames: a phase of fewer is left alone by a trial
KINDS = ("window", "phase", "exchange")  # of errors in a trial, 1 and up
FEW = 20  # frames of a kind of error in a trial, below which its figure says nothing
ALIKE = 60.0  # frames that so many of a trial count as: neighbours say much the same, and the prior holds against them
PULL = 5.0  # of each judge's weight to an equal share: a trial has a few dozen errors, from which little is certain
ROWS = 6000  # frames of a trial that weights are fitted on, at most
DROP = 12.0  # nats below the likeliest class at which a judge says no more


@dataclass(frozen=True)
class Trial:
    """Labels (N,) with errors made on purpose; kind (N,) int: 0 as before, else one more than its place in `KINDS`."""

    labels: np.ndarray
    kind: np.ndarray


@dataclass(frozen=True)
class Weights:
    """Of each of K judges about the frames around, near (K,), and about the phase as given, far (K,); and of the label
    as stated: how many nats its being stated is worth."""

    near: np.ndarray
    far: np.ndarray
    stated: float

    def __call__(self, judges: list[np.ndarray], labels: np.ndarray, bounds: np.ndarray) -> np.ndarray:
        """What the judges (K of (N, C), averaged) say together of each label (N, C), in nats and up to a constant."""
        near = sum(weight * judge for weight, judge in zip(self.near, judges))
        return near + whole(sum(weight * judge for weight, judge in zip(self.far, judges)), labels, bounds)


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
    """Labels with errors of all `KINDS` made in every video, about SHARE of its frames.

    A part of a phase has a wrong label that the video has, or all of it, or two neighbouring phases have each other's.
    Not phases that begin too late: with these in it fewer windows were found, on four videos many fewer, see
    docs/measured/video.md.
    """
    copy, kind = labels.copy(), np.zeros(len(labels), np.int64)
    turn = int(random.integers(len(KINDS)))
    for first, last in itertools.pairwise(np.asarray(bounds).tolist()):
        cuts = runs(labels, first, last)
        own = np.unique(labels[first:last])
        todo = SHARE * (last - first)
        for at in random.permutation(len(cuts) - 1).tolist():
            start, stop = int(cuts[at]), int(cuts[at + 1])
            size, what = stop - start, KINDS[turn % len(KINDS)]
            if todo <= 0:
                break
            if size < SHORT or len(own) < 2 or kind[start:stop].any():
                continue
            if size > (last - first) / 3 and what in ("phase", "exchange"):
                continue
            if what == "exchange":
                if at + 2 >= len(cuts) or kind[stop : cuts[at + 2]].any():
                    continue
                middle, stop = stop, int(cuts[at + 2])
                copy[start:middle], copy[middle:stop] = labels[middle], labels[start]
            else:
                if what == "window":
                    part = min(max(int(size * random.uniform(0.25, 0.6)), SHORT // 2), int(todo) + SHORT)
                    start += int(random.integers(size - part + 1)) if size > part else 0
                    stop = min(start + part, stop)
                copy[start:stop] = random.choice(own[own != labels[start]])
            kind[start:stop] = turn % len(KINDS) + 1
            todo -= stop - start
            turn += 1
    return Trial(copy, kind)


def fitted(judges: list[np.ndarray], trial: Trial, labels: np.ndarray, bounds: np.ndarray) -> Weights:
    """The weights of judges (K of (N, C), of the trial's labels) with which `labels` (N,) are likeliest.

    A conditional logit: P(c) is proportional to exp(what the judges say of c + nats if c is stated). No weight is below
    0, and each is pulled towards an equal share, in units of how far the judge's doubts spread.
    """
    spread = np.array([max(float(doubt(one, trial.labels).std()), 1e-9) for one in judges])
    step = -(-len(labels) // ROWS)
    stated = np.zeros_like(judges[0])
    stated[np.arange(len(labels)), trial.labels] = 1
    parts = [one / size for one, size in zip(judges, spread)]
    parts = [*parts, *(whole(one, trial.labels, bounds) for one in parts), stated]
    design, true = np.stack([one[::step] for one in parts], 2), labels[::step]
    design = design - design[np.arange(len(true)), true][:, None]
    count, many = 2 * len(judges), len(true) / ALIKE
    prior, pull = np.r_[np.full(count, 1 / count), 0.0], np.r_[np.full(count, PULL), 0.01]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        score = design @ weights
        top = score.max(1, keepdims=True)
        p = np.exp(score - top)
        total = p.sum(1, keepdims=True)
        slope = np.einsum("nc,ncj->j", p / total, design) / many
        value = float((np.log(total) + top).sum()) / many + float((pull * (weights - prior) ** 2).sum())
        return value, slope + 2 * pull * (weights - prior)

    limits = [(0, None)] * count + [(None, None)]
    weights = minimize(loss, prior, jac=True, bounds=limits, method="L-BFGS-B").x
    return Weights(weights[: len(judges)] / spread, weights[len(judges) : count] / spread, float(weights[-1]))


def worth(log: np.ndarray, trial: Trial) -> float:
    """The mean of `auroc` over the kinds of error of a trial, by evidence (N, C); 0.5 where it has too few."""
    figures = auroc(doubt(log, trial.labels), trial.kind)
    return float(np.nanmean(figures)) if np.isfinite(figures).any() else 0.5


def auroc(doubt: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """How well doubts (N,) tell the frames of each kind of error of a trial from those without: areas under the ROC
    curve, in the order of `KINDS`, NaN where there are fewer than FEW frames of it."""
    clean, figures = doubt[kind == 0], np.full(len(KINDS), np.nan)
    for one in range(1, len(KINDS) + 1):
        wrong = doubt[kind == one]
        if min(len(wrong), len(clean)) >= FEW:
            figures[one - 1] = share_below(wrong, clean).mean()
    return figures


def whole(log: np.ndarray, labels: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Evidence (N, C) of frames -> its mean over the phase as given that each is in."""
    mean = np.empty_like(log)
    for first, last in itertools.pairwise(np.asarray(bounds).tolist()):
        for start, stop in itertools.pairwise(runs(labels, first, last).tolist()):
            mean[start:stop] = log[start:stop].mean(0)
    return mean


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
