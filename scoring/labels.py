"""Label errors: a ranking of all samples, and for each the label that the model preferred, from one run's trajectories.

E checkpoints, N samples, C classes. A run stores three numbers a sample and checkpoint: the loss of the given label y,
the margin (logit of y minus the largest other one) and the predicted class. They give the probability of the given
label, p_y = exp(-loss), and of the strongest other class, p_o = exp(-loss - margin), whose name is known whenever it is
the predicted one.
"""

from dataclasses import dataclass, replace

import numpy as np

from lossprint.scoring import ranks

BLOCK_ELEMENTS = 1 << 18  # elements of one working array: 2 MB of float64
SUSPECT = 0.5  # severity above which a sample is a finding: another label was ahead; of outliers: beyond the fence
SHARPNESS = 0.2  # a checkpoint whose validation loss is this share above the least one counts 1/e as much
PRIOR_WEIGHT, PRIOR_COUNT = 0.5, 10.0  # of `excess`
USUAL_COUNT = 5.0  # samples by which a class's usual probability is drawn towards that of all
SHARE = 0.5  # of the usual probability of its class that a suggestion must have for a flag


@dataclass(frozen=True)
class LabelErrors:
    """One row a sample.

    severity (N,) in [0, 1]: high is suspect, above SUSPECT another label was ahead on average (after `ranked` so
    clearly that it is flagged); NaN where a counted loss is missing (not finite). margin (N,): what severity is made
    of, in logits, low is suspect. suggested (N,) int64: the class to put instead, -1 where none was ever predicted.
    probability (N,): that class's mean probability over the counted checkpoints, those at which it was not the
    predicted class counting as 0; NaN without a suggestion. given_probability (N,): mean p_y. stability (N,): share of
    the counted checkpoints that predicted the suggested class, 0 without one. Means and shares are weighted like the
    checkpoints.
    """

    severity: np.ndarray
    margin: np.ndarray
    suggested: np.ndarray
    probability: np.ndarray
    given_probability: np.ndarray
    stability: np.ndarray


def label_errors(
    losses: np.ndarray,
    labels: np.ndarray,
    *,
    margins: np.ndarray | None = None,
    predicted: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> LabelErrors:
    """Rank samples by how much the model believed in another label: losses (E, N) nats, labels (N,) class indices.

    severity is (1 - m / (1 + |m|)) / 2 for the margin m, in logits, averaged over the checkpoints (AUM, arXiv
    2001.10528) with `weights` (E,), uniform by default: 0.5 where given and strongest other label are level. The
    squashing keeps the order of even the largest margins, which a sigmoid in floating point would not. Without margins
    (E, N) the log-odds of the given label, log(p_y / (1 - p_y)), take their place. A checkpoint of weight 0 does not
    count: what is missing there does not matter.

    suggested is the class other than the given one with the largest sum of p_o over the checkpoints that predicted it;
    it needs margins and predicted (E, N), -1 where not recorded.
    """
    losses, labels = np.asarray(losses), np.asarray(labels)
    if losses.ndim != 2 or labels.shape != losses.shape[1:] or not len(losses):
        raise ValueError(f"losses {losses.shape} and labels {labels.shape} must be (checkpoints, N) and (N,)")
    for name, values in (("margins", margins), ("predicted", predicted)):
        if values is not None and np.shape(values) != losses.shape:
            raise ValueError(f"{name} {np.shape(values)} do not match losses {losses.shape}")
    weights = _checked_weights(weights, len(losses))
    counted = np.flatnonzero(weights)
    weights = weights[counted]
    size = losses.shape[1]
    margin, probability, given = np.full((3, size), np.nan)
    suggested, stability = np.full(size, -1, dtype=np.int64), np.zeros(size)
    named = margins is not None and predicted is not None and size > 0
    classes = 1 + max(int(labels.max()), int(np.max(predicted))) if named else 1
    width = max(1, BLOCK_ELEMENTS // max(len(counted), classes))
    for start in range(0, size, width):
        part = slice(start, start + width)
        block = losses[counted, part].astype(np.float64)
        block[np.isinf(block)] = np.nan  # not finite is missing, as in every trajectory score
        given[part] = _mean(np.exp(-block), weights)
        if margins is None:
            # Under 1e-12 a float32 loss says no more than "certain".
            margin[part] = _mean(-np.log(np.expm1(np.clip(block, 1e-12, 700.0))), weights)
            continue
        # Where a loss is missing, so is the sample, whatever its margin says.
        margin[part] = _mean(np.where(np.isnan(block), np.nan, margins[counted, part]), weights)
        if named:
            other = weights[:, None] * _strongest_other(block, margins[counted, part])
            found = _suggestion(other, predicted[counted, part], labels[part], classes, weights)
            suggested[part], probability[part], stability[part] = found
    unknown = ~np.isfinite(margin)
    margin[unknown], suggested[unknown], probability[unknown] = np.nan, -1, np.nan
    given[unknown], stability[unknown] = np.nan, 0.0
    return LabelErrors(severity(margin), margin, suggested, probability, given, stability)


@dataclass(frozen=True)
class Fit:
    """How well a network fits some samples at each checkpoint; those of parts of them add up.

    losses (E,) sums of finite losses, counted (E,) how many; missed (E,) how many it did not name right of judged (E,).
    """

    losses: np.ndarray
    counted: np.ndarray
    missed: np.ndarray
    judged: np.ndarray

    def __add__(self, other: "Fit") -> "Fit":
        return Fit(*(mine + its for mine, its in zip(vars(self).values(), vars(other).values())))


def fit(losses: np.ndarray, margins: np.ndarray | None = None) -> Fit:
    """The fit to samples with losses (E, N) and margins (E, N), low is suspect; without margins nothing is judged."""
    known = np.isfinite(losses)
    sums = np.where(known, losses, 0).sum(axis=1, dtype=np.float64)
    if margins is None:
        return Fit(sums, known.sum(axis=1), *np.zeros((2, len(sums))))
    judged = np.isfinite(margins)
    return Fit(sums, known.sum(axis=1), (judged & (margins <= 0)).sum(axis=1), judged.sum(axis=1))


def newness(train: Fit, val: Fit) -> np.ndarray:
    """How much the training samples are still like new ones to the network at each checkpoint, (E,) in (0, 1].

    The mean loss of training samples relative to that of validation samples, times the same of the share that is not
    named right, each 1 at most. It falls as labels are learned by heart, wrong ones too, which a validation loss that
    still goes down does not show where samples are few.
    """
    size = np.maximum([train.counted, val.counted], 1)
    losses = np.maximum([train.losses, val.losses] / size, 1e-9)
    missed = [(one.missed + 1) / (one.judged + 2) for one in (train, val)]
    ratio = np.minimum(losses[0] / losses[1], 1.0) * np.minimum(missed[0] / missed[1], 1.0)
    return np.maximum(ratio, 1e-6)


def checkpoint_weights(val_losses: np.ndarray, new: np.ndarray | None = None) -> np.ndarray:
    """How much each checkpoint counts, (E,) summing to 1, from the validation losses (E, M).

    w_t is proportional to exp(-(v_t - v_min) / (0.2 v_min)) for the mean validation loss v_t, times `newness` where
    that is known: early checkpoints near chance level count little, and so do late ones at which the network has
    learned its wrong labels by heart. Chosen by measure among fixed halves, linear ramps and plain means, which all
    fit one length of training only (benchmarks/label_errors.py). Without a finite validation loss the second half
    counts.
    """
    val_losses = np.asarray(val_losses)
    if val_losses.ndim != 2 or not len(val_losses):
        raise ValueError(f"val_losses must be (checkpoints, M) with a checkpoint, got {val_losses.shape}")
    means = np.array(
        [row[np.isfinite(row)].mean(dtype=np.float64) if np.isfinite(row).any() else np.nan for row in val_losses]
    )
    if not np.isfinite(means).any():
        weights = (np.arange(len(means)) >= len(means) // 2).astype(np.float64)
    else:
        least = np.nanmin(means)
        weights = np.nan_to_num(np.exp(-(means - least) / max(SHARPNESS * least, 1e-6)))
        weights *= 1.0 if new is None else new
    return weights / weights.sum()


@dataclass(frozen=True)
class Confusions:
    """How often the network preferred another class among some samples, C classes; those of parts of them add up.

    pairs (C, C) float64: of each given label (row) how many preferred each class (column). sizes (C,) int64: how many
    there are of each given label. given (C,): the sum of the mean probabilities of their given label, where known.
    """

    pairs: np.ndarray
    sizes: np.ndarray
    given: np.ndarray

    def __add__(self, other: "Confusions") -> "Confusions":
        return Confusions(self.pairs + other.pairs, self.sizes + other.sizes, self.given + other.given)

    @property
    def usual(self) -> np.ndarray:
        """The probability (C,) that the network usually gives the samples of each class for their given label.

        The class thresholds of confident learning (Northcutt et al., JAIR 70, 2021); of a class of few samples drawn
        towards the mean of all.
        """
        mean = self.given.sum() / max(self.sizes.sum(), 1)
        return np.maximum((self.given + USUAL_COUNT * mean) / (self.sizes + USUAL_COUNT), 1e-6)


def confusions(found: LabelErrors, labels: np.ndarray, classes: int) -> Confusions:
    """Count the samples whose suggested class has the larger mean probability, by given label (N,) and suggestion."""
    ahead = (found.suggested >= 0) & (found.probability > found.given_probability)
    pairs = np.zeros((classes, classes))
    np.add.at(pairs, (labels[ahead], found.suggested[ahead]), 1)
    # In steps of 2**-24, sums are exact, in whatever parts the samples come.
    steps = np.rint(np.nan_to_num(found.given_probability) * 2.0**24)
    given = np.bincount(labels, steps, minlength=classes) / 2.0**24
    return Confusions(pairs, np.bincount(labels, minlength=classes), given)


def excess(found: Confusions, seen: Confusions) -> np.ndarray:
    """Log-odds (C, C) that a pair (given label, suggested label) is mixed up by the annotators, not by the network.

    Row: given, column: suggested. Compares how often the network prefers the suggested class among training samples of
    the given label (`found`) with the same on validation samples (`seen`), each relative to its overall rate, with
    PRIOR_COUNT pseudo-counts towards no difference. Positive: this confusion is more frequent in the training labels
    than the network's own mistakes explain. Where the validation labels are as noisy as the training labels it stays
    close to 0 and changes little.
    """
    rates = []
    for counted in (found, seen):
        total, classes = counted.sizes.sum(), len(counted.sizes)
        overall = max(counted.pairs.sum() / total if total else 0.0, 1e-3) / max(classes - 1, 1)
        rates.append((counted.pairs + PRIOR_COUNT) / (counted.sizes[:, None] * overall + PRIOR_COUNT))
    return np.log(rates[0] / rates[1])


def confusion_excess(
    found: LabelErrors, labels: np.ndarray, seen: LabelErrors, val_labels: np.ndarray, classes: int
) -> np.ndarray:
    """`excess` (C, C) of training samples with given labels (N,) and validation samples with val_labels (M,)."""
    return excess(confusions(found, labels, classes), confusions(seen, val_labels, classes))


def with_prior(found: LabelErrors, labels: np.ndarray, excess: np.ndarray) -> LabelErrors:
    """The same errors with the log-odds of `excess` (C, C), at half weight, taken off each margin.

    A margin is the network's log-odds of given against suggested label; how often a dataset mixes the two up is the
    prior that belongs to it. Half weight, since both rest partly on the same predictions.
    """
    margin = shifted(found.margin, found.suggested, labels, excess)
    return replace(found, margin=margin, severity=severity(margin))


def shifted(margin: np.ndarray, suggested: np.ndarray, labels: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """The margins (N,) of `with_prior`, from margins, suggested classes (-1 for none) and given labels, (N,) each."""
    return margin - PRIOR_WEIGHT * np.where(suggested >= 0, excess[labels, suggested], 0.0)


def by_class(found: LabelErrors, labels: np.ndarray, usual: np.ndarray) -> LabelErrors:
    """The same errors with each probability judged by what is `usual` (C,) for its class, see `Confusions.usual`.

    A class that the network is rarely sure of is no suspect for that alone, and one that it gives away freely is a
    weak suggestion. Without a suggestion the margin stays.
    """
    ratio = np.log(usual[np.maximum(found.suggested, 0)] / usual[labels])
    margin = found.margin + np.where(found.suggested >= 0, ratio, 0.0)
    return replace(found, margin=margin, severity=severity(margin))


def clear(found: LabelErrors, usual: np.ndarray) -> np.ndarray:
    """Which samples (N,) bool another label was ahead of, with at least half of the probability usual for its class."""
    enough = found.probability >= SHARE * usual[np.maximum(found.suggested, 0)]
    return (found.margin < 0) & (enough | (found.suggested < 0))


def level(margins: np.ndarray, count: int) -> float:
    """The margin, 0 at most, below which `count` of the negative ones among `margins` lie; NaN do not count."""
    ahead = np.sort(margins[margins < 0])
    if count >= len(ahead):
        return 0.0
    return float(ahead[0] - 1 if count == 0 else (ahead[count - 1] + ahead[count]) / 2)


def lowered(found: LabelErrors, level: float) -> LabelErrors:
    """The same errors with `level` as the margin at which a sample is flagged, so that severity 0.5 is there."""
    return replace(found, margin=found.margin - level, severity=severity(found.margin - level))


def ranked(found: LabelErrors, labels: np.ndarray, excess: np.ndarray, usual: np.ndarray) -> LabelErrors:
    """The ranking of training samples from the errors of `label_errors`, with `excess` (C, C) and `usual` (C,).

    Flagged (severity above SUSPECT) are as many as are `clear`, the most suspect ones: how many comes from counting
    class by class, which of them from the margin.
    """
    found = by_class(with_prior(found, labels, excess), labels, usual)
    return lowered(found, level(found.margin, int(clear(found, usual).sum())))


def triage(found: LabelErrors, doubtful: np.ndarray | None = None) -> np.ndarray:
    """What kind of case each sample is, (N,): "wrong", "ambiguous", "hard" or "".

    wrong: another label was ahead, the same one at three quarters of the checkpoints and more, and with half of the
    probability on average. ambiguous: another label was ahead, but none so surely, or the sample is one of those that
    are `doubtful` (N,) bool, about whose class the network knows too little (`strength`). hard: not flagged, with less
    than half of the probability for the given label. Empty: none of these, or unknown.
    """
    kind = np.full(len(found.severity), "", dtype="<U9")
    kind[(found.severity <= SUSPECT) & (found.given_probability < 0.5)] = "hard"
    ahead = found.severity > SUSPECT
    kind[ahead] = "ambiguous"
    sure = ahead & (found.stability >= 0.75) & (found.probability >= 0.5)
    kind[sure if doubtful is None else sure & ~doubtful] = "wrong"
    return kind


def rank_confidence(
    margins: np.ndarray, shift: np.ndarray, weights: np.ndarray, top: int, *, draws: int = 100, seed: int = 0
) -> np.ndarray:
    """Share (N,) in [0, 1] of bootstrap draws of the checkpoints in which a sample is among the `top` most suspect.

    margins (E, N) low is suspect, or a list of such, one a seed of the training: each gets its share of the draws.
    shift (N,) is added to every mean margin (`with_prior`). weights (E,), or a list: a draw takes as many checkpoints
    as there are, with replacement, with these probabilities. NaN where a counted margin is missing. A finding near 1
    keeps its place whatever the checkpoints; around 0.5 it is at the edge.
    """
    margins = [margins] if isinstance(margins, np.ndarray) else list(margins)
    weights = [weights] * len(margins) if isinstance(weights, np.ndarray) else list(weights)
    for values, weight in zip(margins, weights):
        _checked_weights(weight, len(values))
    return ranks.confidence(ranks.draw(weights, draws, seed), margins, shift, top)


def _checked_weights(weights, checkpoints: int) -> np.ndarray:
    """Weights (E,) of sum 1; ValueError where they are not E numbers of 0 or more with a positive one."""
    weights = np.ones(checkpoints) if weights is None else np.asarray(weights, dtype=np.float64)
    if weights.shape != (checkpoints,) or not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
        raise ValueError(f"weights must be {checkpoints} numbers of 0 or more, not all 0, got {weights}")
    return weights / weights.sum()


def _mean(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sum over the first axis, row by row: the last bits of other ways would depend on the blocking."""
    total = np.zeros(rows.shape[1:])
    for weight, row in zip(weights, rows):
        total += weight * row
    return total


def severity(margin: np.ndarray) -> np.ndarray:
    """Margins (B,) -> severity in (0, 1), decreasing, 0.5 at 0."""
    return (1 - margin / (1 + np.abs(margin))) / 2


def _strongest_other(losses: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """p_o (E, B): probability of the strongest class other than the given one.

    From the logits: p_o / p_y = exp(-margin). Taken in the exponent, where neither factor can overflow, and held to
    what p_y leaves, since loss and margin are rounded to float32 each.
    """
    left = np.maximum(-np.expm1(-losses), 0.0)  # 1 - p_y; a loss may round to below 0
    return np.minimum(np.exp(np.minimum(-losses - margins, 0.0)), left)


def _suggestion(other, predicted, labels, classes: int, weights):
    """(class (B,) or -1, mean probability (B,) or NaN, stability (B,)): the class with the largest sum of `other`.

    other (E, B) is already weighted; the weights sum to 1.
    """
    size = len(labels)
    checkpoint, sample = np.nonzero((predicted != labels) & (predicted >= 0))
    cell = sample * classes + predicted[checkpoint, sample]
    total = np.bincount(cell, weights=other[checkpoint, sample], minlength=size * classes).reshape(size, classes)
    best = total.argmax(axis=1)
    most = total[np.arange(size), best]
    found = most > 0
    stability = _mean(predicted == best, weights)
    return np.where(found, best, -1), np.where(found, most, np.nan), np.where(found, stability, 0.0)
