"""One ranking of label errors from the heads on frozen features, and one from two views of the same samples.

N samples, C classes. All parts are out of fold, or of a head that its weight decay keeps from learning labels by
heart. How parts are weighed was decided once, on four sets of features together (`benchmarks/frozen.py`) and with their
truth in hand; where it is applied, no weight looks at which labels are wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lossprint.scoring.heads.lda import margins

VOTE = DISCRIMINANT = 0.5  # of their ranks against ridge's and the trained head's
POWER = 3.0  # of a view's odds
SLIGHT = 1 / 9  # the weight of a view at half of the other's odds
ROWS, FITTED = 1 << 14, 50_000  # samples looked at at once, and that a temperature is fitted to
FEW = 20  # samples: below it a class has no mean worth the name


@dataclass(frozen=True)
class Ranking:
    """One row a sample.

    suspicion (N,) in [0, 1]: a mean rank, high is suspect, NaN where no part knows. suggested (N,) int64: the likeliest
    class other than the given one, out of fold; -1 where unknown. probability, given_probability (N,): of the suggested
    and of the given class, at the temperature of `temperature`. flagged (N,) bool: both the head and the vote name
    another class than the given one; certain (N,) bool: flagged, and both name the same. few (N,) bool: the given class
    has fewer than 20 samples.
    """

    suspicion: np.ndarray
    suggested: np.ndarray
    probability: np.ndarray
    given_probability: np.ndarray
    flagged: np.ndarray
    certain: np.ndarray
    few: np.ndarray


def rank(
    labels: np.ndarray, log_probabilities: np.ndarray, ridge: np.ndarray, aum: np.ndarray, shares: np.ndarray
) -> Ranking:
    """The ranking, from labels (N,), `lda.OutOfFold`'s discriminant and ridge (N, C), aum (N,) and `vote` (N, C).

    suspicion is the mean of four ranks of margins: ridge's out of fold, the trained head's mean over its epochs (AUM,
    arXiv 2001.10528), at half weight the discriminant's, and the vote's at half weight, and less where neighbours name
    fewer given labels right than ridge does: by the square of the ratio of the odds. Ranks, since the margins have
    nothing else in common.
    """
    labels, shapes = np.asarray(labels), [np.shape(one) for one in (log_probabilities, ridge, shares)]
    n = len(labels)
    if np.shape(aum) != (n,) or any(shape != shapes[0] or shape[:1] != (n,) for shape in shapes):
        raise ValueError(f"expected labels and aum (N,), three arrays (N, C), got {n}, {np.shape(aum)} and {shapes}")
    outside, sharpness = [np.empty(n) for _ in range(3)], 1 / temperature(log_probabilities, labels)
    suggested, voted = np.full(n, -1), labels.copy()
    given, probability = np.full((2, n), np.nan)
    for start in range(0, n, ROWS):  # so that of a million samples no (N, C) in float64 is held
        rows = slice(start, start + ROWS)
        own = labels[rows]
        for part, scores in zip(outside, (ridge, log_probabilities, shares)):
            part[rows] = margins(scores[rows], own)
        at, p = np.arange(len(own)), _probabilities(log_probabilities[rows], sharpness)
        known = ~np.isnan(p).any(axis=1)
        given[rows] = p[at, own]
        others = np.where(known[:, None], p, 0)
        others[at, own] = -1
        suggested[rows] = np.where(known & (others.max(axis=1, initial=-1) > 0), others.argmax(axis=1), -1)
        probability[rows] = np.where(suggested[rows] >= 0, others[at, suggested[rows]], np.nan)
        voters = ~np.isnan(shares[rows]).any(axis=1)
        voted[rows] = np.where(voters, np.argmax(shares[rows], axis=1), own)
    odds = [_odds(share_named(one, labels)) for one in (ridge, shares)]
    ease = VOTE * min(1.0, (odds[1] / odds[0]) ** 2)
    parts = [outside[0], np.asarray(aum, np.float64), outside[1], outside[2]]
    suspicion = mean_rank([-one for one in parts], [1.0, 1.0, DISCRIMINANT, ease])
    flagged = (suggested >= 0) & (probability > given) & (voted != labels)
    few = np.bincount(labels, minlength=shapes[0][1])[labels] < FEW
    return Ranking(suspicion, suggested, probability, given, flagged, flagged & (voted == suggested), few)


def _probabilities(log_probabilities: np.ndarray, sharpness: float) -> np.ndarray:
    """(B, C) float64 of rows that sum to 1; a row that is not known is NaN."""
    scaled = np.asarray(log_probabilities, np.float64) * sharpness
    known = ~np.isnan(scaled).any(axis=1)
    with np.errstate(over="ignore"):
        p = np.exp(scaled - np.max(scaled, axis=1, keepdims=True, initial=-np.inf))
    return np.where(known[:, None], p / np.where(known, p.sum(axis=1), 1)[:, None], np.nan)


def share_named(scores: np.ndarray, labels: np.ndarray) -> float:
    """The share of labels (N,) that scores (N, C) name, of the rows without NaN; NaN where there are none."""
    known = ~np.isnan(scores).any(axis=1)
    return float((scores[known].argmax(axis=1) == labels[known]).mean()) if known.any() else float("nan")


def temperature(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature in [.05, 50] by which log-probabilities (N, C) out of fold give the given labels the least loss.

    One number for all samples, so that no label tells anything about itself; no order within a row changes. It is
    fitted to 50,000 rows, spread evenly, where there are more.
    """
    from scipy.optimize import minimize_scalar

    if len(labels) > FITTED:
        some = np.linspace(0, len(labels) - 1, FITTED).astype(np.int64)
        log_probabilities, labels = log_probabilities[some], labels[some]
    values = np.asarray(log_probabilities, np.float64)
    values, labels = values[~np.isnan(values).any(axis=1)], labels[~np.isnan(values).any(axis=1)]
    own = values[np.arange(len(labels)), labels]
    values, own = values[np.isfinite(own)], own[np.isfinite(own)]
    if not len(own):
        return 1.0

    def loss(logarithm: float) -> float:
        sharpness = np.exp(-logarithm)
        return float((np.log(np.exp((values - own[:, None]) * sharpness).clip(max=1e300).sum(axis=1))).mean())

    with np.errstate(over="ignore"):
        return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(50)), method="bounded").x))


def mean_rank(scores: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Weighted mean (N,) in (0, 1] of the ranks of scores, (N,) each, high stays high; ties share their mean rank.

    A score that is NaN leaves its sample to the others; NaN where all are.
    """
    from scipy.stats import rankdata

    total, weight = np.zeros((2, len(scores[0])))
    for score, share in zip(scores, weights):
        known = ~np.isnan(score)
        total[known] += share * rankdata(score[known]) / max(known.sum(), 1)
        weight[known] += share
    return np.divide(total, weight, out=np.full(len(total), np.nan), where=weight > 0)


def views(suspicions: Sequence[np.ndarray], accuracies: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Views of the same samples as one: suspicions (N,) each, high is suspect -> mean rank (N,), weights (V,) of sum 1.

    A view counts by a power of its odds of naming the right class, accuracy / (1 - accuracy), of samples it was not
    trained on: validation samples where there are some, out of fold otherwise, the same kind for all. Views that err
    equally often count alike, and one that errs twice as often hardly at all.
    """
    if len(suspicions) != len(accuracies) or not len(suspicions):
        raise ValueError(f"expected an accuracy for each view, got {len(accuracies)} for {len(suspicions)}")
    if not all(0 <= accuracy <= 1 for accuracy in accuracies):
        raise ValueError(f"accuracies must be in [0, 1], got {list(accuracies)}")
    weights = shares_of(accuracies)
    return mean_rank(suspicions, weights), weights


def shares_of(accuracies: Sequence[float]) -> np.ndarray:
    """The weights (V,), of sum 1, of views with these accuracies, see `views`."""
    odds = np.array([_odds(accuracy) for accuracy in accuracies]) ** POWER
    return odds / odds.sum()


def joined(rankings: Sequence[Ranking], accuracies: Sequence[float]) -> tuple[Ranking, np.ndarray]:
    """The rankings of several views of the same samples as one, and the weights (V,) of `views`.

    suggested: the class for which the views' probabilities, by weight, are the highest; probability: their sum, in
    which a view that names another class counts as 0, so it is a lower bound. flagged: of what any view flags the most
    suspect, as many as the views flag on average by weight. certain: flagged, and views of half of the weight and more
    are certain of the class that is suggested. What one view does not know is left to the others.
    """
    suspicion, weights = views([one.suspicion for one in rankings], accuracies)
    known = np.array([~np.isnan(one.suspicion) for one in rankings])
    share = weights[:, None] * known
    share = np.divide(share, share.sum(axis=0), out=np.zeros_like(share), where=known.any(axis=0))
    classes = np.array([one.suggested for one in rankings])
    p = share * np.where(classes >= 0, np.nan_to_num([one.probability for one in rankings]), 0)
    total = np.array([np.where(classes == own, p, 0).sum(axis=0) for own in classes])
    best, rows = np.where(classes >= 0, total, -1).argmax(axis=0), np.arange(len(suspicion))
    suggested = classes[best, rows]
    given = (share * np.nan_to_num([one.given_probability for one in rankings])).sum(axis=0)
    flags = np.array([one.flagged for one in rankings])
    candidates = np.flatnonzero(flags.any(axis=0))
    order = candidates[np.argsort(-suspicion[candidates], kind="stable")]
    flagged = np.zeros(len(suspicion), bool)
    flagged[order[: round(float((share * flags).sum()))]] = True
    sure = np.array([one.certain for one in rankings]) & (classes == suggested)
    return Ranking(
        suspicion,
        suggested,
        np.where(suggested >= 0, total[best, rows], np.nan),
        np.where(known.any(axis=0), given, np.nan),
        flagged,
        flagged & ((share * sure).sum(axis=0) >= 0.5),
        np.any([one.few for one in rankings], axis=0),
    ), weights


def _odds(share: float) -> float:
    share = min(max(np.nan_to_num(share), 1e-3), 1 - 1e-3)
    return share / (1 - share)
