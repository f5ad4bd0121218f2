"""How much a network has learnt, and which findings of wrong labels are therefore no more than a reading order.

What a network has not learnt looks like a wrong label: another class is ahead of the given one. That can be told from
the outside, without knowing which labels are wrong: from validation samples, which it was not trained on, from how many
samples a class has, and from how much of it is flagged. M validation samples, C classes, E checkpoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lossprint.scoring.intervals import Interval, rate
from lossprint.scoring.labels import LabelErrors

FEW = 10  # training samples of a class below which there is too little to learn it from
MOSTLY = 2 / 3  # share of a class that is flagged, from which on it is the class that is doubtful, not its labels
LITTLE = 0.5  # of the way from chance to all right
SURELY = 1.645  # deviations: the end of a 90 % interval
OFF = 0.1  # share by which the network's probabilities may be off together
STEADY = 0.9  # share of the checkpoints that agree on a validation sample, below which a network is unsure of itself


@dataclass(frozen=True)
class Learnt:
    """What a network has learnt by its validation samples.

    right (C,), of (C,): how many of how many validation samples of each class it named right, mean over checkpoints;
    `of` is 0 where nothing is known. named (C,): how many it named so, right or wrong. steady in [0, 1]: share of the
    checkpoints that gave a sample its most frequent prediction, mean over samples; low is suspect, NaN without any.
    """

    right: np.ndarray
    of: np.ndarray
    named: np.ndarray
    steady: float


@dataclass(frozen=True)
class Strength:
    """What holds of the findings of wrong labels of a run.

    accuracy: of all validation samples, with a 90 % interval; None where it is not known. guess: the accuracy of always
    naming the most frequent class. little: the network learnt little or nothing. kappa: how far it agrees with the
    validation labels, 0 as by chance, 1 perfectly; NaN where it is not known. few, unlearnt, mostly (C,) bool: the
    class has under `FEW` training samples; its validation samples are mostly wrong, surely; `MOSTLY` of it is flagged.
    """

    accuracy: Interval | None
    guess: float
    little: bool
    kappa: float
    few: np.ndarray
    unlearnt: np.ndarray
    mostly: np.ndarray

    @property
    def doubtful(self) -> np.ndarray:
        """The classes (C,) bool whose findings are a reading order, not a count: all, where little was learnt."""
        return self.few | self.unlearnt | self.mostly | self.little


def learnt(predicted: Sequence[np.ndarray], labels: np.ndarray, weights: Sequence[np.ndarray], classes: int) -> Learnt:
    """What one or several trainings have learnt.

    predicted: of each training (E, M) class indices, -1 where not recorded; labels (M,) given; weights: of each
    training (E,), its checkpoints' share, sum 1. A sample that no counted checkpoint predicted is left out.
    """
    size = len(labels)
    votes = np.zeros((size, classes))
    for some, shares in zip(predicted, weights):
        for row, share in zip(some, shares):
            known = np.flatnonzero(row >= 0)
            votes[known, row[known]] += share / len(predicted)
    total = votes.sum(axis=1)
    known = total > 0
    labels = np.asarray(labels)[known]
    votes = votes[known] / total[known, None]
    right = np.bincount(labels, votes[np.arange(len(labels)), labels], minlength=classes)
    steady = float(votes.max(axis=1).mean()) if len(labels) else float("nan")
    return Learnt(right, np.bincount(labels, minlength=classes), votes.sum(axis=0), steady)


def strength(seen: Learnt, sizes: np.ndarray, flagged: np.ndarray) -> Strength:
    """What can be said for the findings, from the training samples (C,) of each class and how many are flagged.

    Little was learnt where the agreement with the validation labels cannot be told from chance (Cohen's kappa, Educ.
    Psychol. Meas. 20, 1960: 0 is chance, whatever the sizes of the classes, 1 perfect), or where it is under one half
    and the checkpoints do not even agree among themselves: where they do, validation labels as wrong as the training
    labels explain it as well.
    """
    sizes, flagged = np.asarray(sizes), np.asarray(flagged)
    there, number = sizes > 0, int(seen.of.sum())
    mostly, few, unlearnt = there & (flagged >= MOSTLY * sizes), there & (sizes < FEW), np.zeros(len(sizes), bool)
    if not number:
        return Strength(None, float("nan"), False, float("nan"), few, unlearnt, mostly)
    for at in np.flatnonzero(there & (seen.of > 0)):
        unlearnt[at] = rate(round(float(seen.right[at])), int(seen.of[at])).high < LITTLE
    accuracy, guess = rate(round(float(seen.right.sum())), number), float(seen.of.max() / number)
    return Strength(accuracy, guess, *_little(seen), few, unlearnt, mostly)


def _little(seen: Learnt) -> tuple[bool, float]:
    """Whether little was learnt, see `strength`, and kappa; of one class there is nothing to learn."""
    number = seen.of.sum()
    share, chance = seen.right.sum() / number, (seen.of / number) @ (seen.named / number)
    if (seen.of > 0).sum() < 2:
        return False, float("nan")
    if chance >= 1:
        return True, 0.0
    smoothed = (share * number + 1) / (number + 2)
    kappa, deviation = (share - chance) / (1 - chance), np.sqrt(smoothed * (1 - smoothed) / number) / (1 - chance)
    return bool(kappa <= SURELY * deviation or (kappa < LITTLE and seen.steady < STEADY)), float(max(kappa, 0.0))


# ------------------------------------------------------------------------------------------------- how many are wrong


@dataclass(frozen=True)
class Wrong:
    """How many of the flagged labels are wrong, a range: in all from low to high, and by given label (C, 2)."""

    low: int
    high: int
    by_class: np.ndarray


def chances(found: LabelErrors, usual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest chance (N,) that a flagged label is wrong, by the network's own probabilities.

    At least what it gives the other label more than the given one, at most what it gives the other label relative to
    what is `usual` (C,) for that class (`labels.Confusions.usual`); 0 and 1 without a suggestion.
    """
    named = found.suggested >= 0
    other = np.where(named, np.nan_to_num(found.probability), 0.0)
    low = np.where(named, np.clip(other - np.nan_to_num(found.given_probability), 0, 1), 0.0)
    high = np.where(named, np.minimum(other / usual[np.maximum(found.suggested, 0)], 1.0), 1.0)
    return low, np.maximum(low, high)


def wrong_among(labels: np.ndarray, low: np.ndarray, high: np.ndarray, newness: float, verdict: Strength) -> Wrong:
    """How many of the flagged samples are wrong, from their given labels and their chances, (F,) each.

    newness in [0, 1]: how much of what the network knows of its training samples is not learnt by heart; the rest says
    nothing of the upper end. Of a class that is doubtful nothing is known: from none to all. The lower end is taken
    times kappa, as the network's word counts no more than validation labels bear out, and both are widened by a tenth,
    as much as the probabilities may be off together, and by 1.645 deviations of a sum of independent events.
    """
    classes, trust = len(verdict.doubtful), (1 - OFF) * (1.0 if np.isnan(verdict.kappa) else verdict.kappa)
    doubtful = verdict.doubtful[labels]
    low = np.where(doubtful, 0.0, low)
    high = np.where(doubtful, 1.0, high + (1 - high) * (1 - newness))

    def ends(counts: np.ndarray, sums: np.ndarray, spreads: np.ndarray) -> np.ndarray:
        widths = SURELY * np.sqrt(spreads)
        low, high = np.floor(sums[0] * trust - widths[0]), np.ceil(sums[1] * (1 + OFF) + widths[1])
        return np.stack([low, high], axis=-1).clip(0, counts[..., None])

    each = np.stack([low, high])
    counts = np.bincount(labels, minlength=classes)
    sums = np.stack([np.bincount(labels, one, minlength=classes) for one in each])
    spreads = np.stack([np.bincount(labels, one * (1 - one), minlength=classes) for one in each])
    whole = ends(np.array(len(labels)), each.sum(axis=1), (each * (1 - each)).sum(axis=1))
    return Wrong(int(whole[0]), int(whole[1]), ends(counts, sums, spreads).astype(int))
