"""Two linear heads in closed form, out of fold: what a sample's features say of its class without its own label.

N samples, d features, C classes, K folds. In the standardised units of the training part (`moments.Part`: no statistic
and no label of the left-out fold): class means m_c, priors q_c = n_c / n, covariance S inside the classes, and T of all
samples, T = S + sum q_c m_c m_c', whose diagonal is 1. With the shrinkage a, X_a = (1 - a) X + a I (after Friedman,
1989, whose multiple of I is S's own mean variance):

    discriminant    log softmax of f' S_a^-1 m_c - m_c' S_a^-1 m_c / 2 + log q_c     Fisher's and Gauss's
    ridge           f' T_a^-1 q_c m_c + q_c          least squares on the classes' indicators, penalised

One factor of S_a gives both, since with V = S_a^-1 M', M of rows m_c and Q = diag q, T_a^-1 M' is
V (I + (1 - a) Q M V)^-1 (Woodbury). It is taken in float32, which a of .1 and more allows.

Both name much the same classes. But the discriminant's odds grow without bound with the distance from all means, where
its one covariance fits worst, so that a hard sample of a wide class outranks a wrong label (the demo: AP .68), while
ridge aims at 0 and 1 (.79). Where classes are alike in width the discriminant is ahead by less than .01.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lossprint.scoring.heads.blocks import blocks, check
from lossprint.scoring.heads.folds import deal
from lossprint.scoring.heads.moments import Moments, Part, moments, part

SHRINKAGES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
MANY = 20_000
TRIED = 2  # folds on which shrinkages are compared


@dataclass(frozen=True)
class Head:
    """z = f @ weights + bias of raw features f: weights (d, C), bias (C,), -inf for a class it never saw."""

    weights: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class OutOfFold:
    """Of each sample (N, C) float32, by heads that did not see its fold; NaN where the other folds are empty.

    discriminant: log-probabilities. ridge: scores about 0 to 1. Both -inf for a class that the other folds lack.
    """

    discriminant: np.ndarray
    ridge: np.ndarray


def discriminant(training: Part, shrinkage: float) -> Head:
    """The discriminant's head, before the softmax. Where no class has any spread the identity takes the place of S."""
    return _both(training, shrinkage)[0]


def ridge(training: Part, shrinkage: float) -> Head:
    """Least squares on the classes' indicators."""
    return _both(training, shrinkage)[1]


def out_of_fold(
    features, labels: np.ndarray, classes: int, fold: np.ndarray, shrinkage: float | None = None
) -> OutOfFold:
    """Both heads' answers for features (N, d) with labels (N,); fold (N,) as `folds.deal` has it.

    Features may be memory-mapped: two passes of N d^2 / 2 and of 2 N d C products, and K times d^3 / 3 for each head.
    Without `shrinkage` it is chosen, see `chosen_shrinkage`.
    """
    total = moments(features, labels, classes, fold)
    if shrinkage is None:
        shrinkage = chosen_shrinkage(total, features, labels, fold)
    return OutOfFold(*_answers(total, features, fold, shrinkage))


def shuffled(
    features,
    labels: np.ndarray,
    classes: int,
    *,
    groups=None,
    folds: int = 5,
    seeds: int = 1,
    seed: int = 0,
    rounds=None,
) -> tuple[OutOfFold, float]:
    """Means of both heads' answers over several deals of the folds, and the shrinkage: what `combine.rank` takes.

    groups (N,) of samples that stay together, see `folds.joined`. For each of `seeds` three rounds up to 20,000
    samples, one beyond, where the deal matters less; or as many `rounds` as are asked for.
    """
    rounds, shrinkage = rounds or seeds * (3 if len(labels) <= MANY else 1), None
    for number in range(rounds):
        fold = deal(labels, folds, groups=groups, seed=seed * rounds + number)
        total = moments(features, labels, classes, fold)
        if shrinkage is None:
            shrinkage = chosen_shrinkage(total, features, labels, fold)
        both = _answers(total, features, fold, shrinkage)
        if number == 0:
            sums = both
            continue
        for one, other in zip(sums, both):
            one += other
    if rounds > 1:
        for one in sums:
            one /= rounds
    return OutOfFold(*sums), shrinkage


def applied(heads: Sequence[Head], features, fold: np.ndarray | None = None) -> np.ndarray:
    """z (N, C) float32 of features (N, d), each row by the head of its fold (N,), or all by the first."""
    result = np.empty((features.shape[0], len(heads[0].bias)), np.float32)
    for rows, block in _applied(heads, features, fold):
        result[rows] = block
    return result


def _applied(heads: Sequence[Head], features, fold: np.ndarray | None) -> Iterator[tuple[slice, np.ndarray]]:
    """The same block by block, (rows, z (B, C))."""
    for rows, block in blocks(features):
        which = np.zeros(len(block), np.int64) if fold is None else fold[rows]
        result = np.empty((len(block), len(heads[0].bias)), np.float32)
        for k in np.unique(which):
            mine = np.flatnonzero(which == k)
            result[mine] = block[mine] @ heads[k].weights + heads[k].bias
        yield rows, result


def chosen_shrinkage(
    total: Moments, features, labels: np.ndarray, fold: np.ndarray, *, rows: int = 5000, seed: int = 0
) -> float:
    """The one of SHRINKAGES at which ridge names most given labels of the first folds right, of `rows` samples at most.

    Given labels alone decide: wrong ones lower all shares alike, since nobody can learn them out of fold one by one. Of
    equal shares the larger shrinkage counts. It serves the discriminant too, whose best was the same on every dataset
    that was tried.
    """
    labels, fold = check(features, labels, total.counts.shape[1]), np.asarray(fold)
    some = np.sort(np.random.default_rng(seed).permutation(len(labels))[:rows])
    hits = np.zeros(len(SHRINKAGES))
    for k in range(min(TRIED, len(total.counts))):
        mine = some[fold[some] == k]
        if not len(mine) or total.counts.sum() == total.counts[k].sum():
            continue
        block, training = np.asarray(features[mine], np.float64), part(total, k)
        for at, shrinkage in enumerate(SHRINKAGES):
            head = ridge(training, shrinkage)
            hits[at] += np.count_nonzero((block @ head.weights + head.bias).argmax(axis=1) == labels[mine])
    return SHRINKAGES[len(hits) - 1 - int(hits[::-1].argmax())]


def margins(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """z_y - largest other (N,) of z (N, C), float64; low is suspect. NaN where y was not seen or is alone."""
    values, rows = np.array(scores, np.float64), np.arange(len(scores))
    own = values[rows, labels]
    values[rows, labels] = -np.inf
    with np.errstate(invalid="ignore"):
        margin = own - values.max(axis=1, initial=-np.inf)
    return np.where(np.isfinite(margin), margin, np.nan)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """(N, C) -> log-probabilities; a row of nothing but -inf becomes NaN."""
    with np.errstate(invalid="ignore"):
        logits = logits - logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def _answers(total: Moments, features, fold: np.ndarray, shrinkage: float) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of the discriminant and scores of ridge, (N, C) each."""
    classes = total.counts.shape[1]
    heads = [_joined(total, k, shrinkage) for k in range(len(total.counts))]
    answers = np.empty((2, features.shape[0], classes), np.float32)
    for rows, block in _applied(heads, features, fold):
        answers[0, rows], answers[1, rows] = log_softmax(block[:, :classes]), block[:, classes:]
    return answers[0], answers[1]


def _joined(total: Moments, without: int, shrinkage: float) -> Head:
    """Both heads as one of 2 C classes."""
    classes, d = total.counts.shape[1], len(total.shift)
    if total.counts.sum() == total.counts[without].sum():
        return Head(np.zeros((d, 2 * classes)), np.full(2 * classes, np.nan))
    heads = _both(part(total, without), shrinkage)
    return Head(np.hstack([head.weights for head in heads]), np.concatenate([head.bias for head in heads]))


def _both(training: Part, shrinkage: float) -> tuple[Head, Head]:
    """The discriminant's head and ridge's, from one factor."""
    from scipy.linalg import cho_factor, cho_solve

    if not 0 < shrinkage <= 1:
        raise ValueError(f"shrinkage must be in (0, 1], got {shrinkage}")
    seen = training.counts > 0
    means, share = training.means[seen], training.counts[seen] / training.counts.sum()
    shrunk = training.within.astype(np.float32)
    shrunk *= 1 - shrinkage
    shrunk[np.diag_indices(len(shrunk))] += shrinkage
    factor = cho_factor(shrunk, lower=True, overwrite_a=True, check_finite=False)
    solved = cho_solve(factor, means.T.astype(np.float32), check_finite=False).astype(np.float64)
    inner = means @ solved
    bias = np.log(share) - np.diag(inner) / 2
    weighed = np.linalg.solve(np.eye(len(share)) + (1 - shrinkage) * share[:, None] * inner, np.diag(share))
    return _head(training, seen, solved, bias), _head(training, seen, solved @ weighed, share)


def _head(training: Part, seen: np.ndarray, solved: np.ndarray, bias: np.ndarray) -> Head:
    """In raw units, absent classes filled in."""
    weights, biases = np.zeros((len(training.mean), len(seen))), np.full(len(seen), -np.inf)
    weights[:, seen] = solved * training.scale[:, None]
    biases[seen] = bias - training.mean @ weights[:, seen]
    return Head(weights, biases)
