"""Label errors: a ranking of all samples, and for each the label that the model preferred, from one run's trajectories.

E checkpoints, N samples, C classes. A run stores three numbers a sample and checkpoint: the loss of the given label y,
the margin (logit of y minus the largest other one) and the predicted class. They give the probability of the given
label, p_y = exp(-loss), and of the strongest other class, p_o = exp(-loss - margin), whose name is known whenever it is
the predicted one.
"""

from dataclasses import dataclass

import numpy as np

BLOCK_ELEMENTS = 1 << 18  # elements of one working array: 2 MB of float64


@dataclass(frozen=True)
class LabelErrors:
    """One row a sample.

    severity (N,) in [0, 1]: high is suspect, above 0.5 another label was ahead on average; NaN where a counted loss is
    missing (not finite). suggested (N,) int64: the class to put instead, -1 where none was ever predicted. probability
    (N,): that class's mean probability over the counted checkpoints, those at which it was not the predicted class
    counting as 0; NaN without a suggestion.
    """

    severity: np.ndarray
    suggested: np.ndarray
    probability: np.ndarray


def label_errors(
    losses: np.ndarray,
    labels: np.ndarray,
    *,
    margins: np.ndarray | None = None,
    predicted: np.ndarray | None = None,
    first: int = 0,
) -> LabelErrors:
    """Rank samples by how much the model believed in another label: losses (E, N) nats, labels (N,) class indices.

    severity is (1 - m / (1 + |m|)) / 2 for the margin m, in logits, averaged over checkpoints `first`, first + 1, ...
    (AUM, arXiv 2001.10528, of late training alone): 0.5 where given and strongest other label are level. The squashing
    keeps the order of even the largest margins, which a sigmoid in floating point would not. Without margins (E, N) the
    log-odds of the given label, log(p_y / (1 - p_y)), take their place.

    suggested is the class other than the given one with the largest sum of p_o over the checkpoints that predicted it;
    it needs margins and predicted (E, N), -1 where not recorded.
    """
    losses, labels = np.asarray(losses), np.asarray(labels)
    if losses.ndim != 2 or labels.shape != losses.shape[1:]:
        raise ValueError(f"losses {losses.shape} and labels {labels.shape} must be (checkpoints, N) and (N,)")
    for name, values in (("margins", margins), ("predicted", predicted)):
        if values is not None and np.shape(values) != losses.shape:
            raise ValueError(f"{name} {np.shape(values)} do not match losses {losses.shape}")
    if not 0 <= first < len(losses):
        raise ValueError(f"first must be one of the {len(losses)} checkpoints, 0 to {len(losses) - 1}, got {first}")
    size = losses.shape[1]
    severity, probability = np.full((2, size), np.nan)
    suggested = np.full(size, -1, dtype=np.int64)
    named = margins is not None and predicted is not None and size > 0
    classes = 1 + max(int(labels.max()), int(np.max(predicted))) if named else 1
    width = max(1, BLOCK_ELEMENTS // max(len(losses) - first, classes))
    for start in range(0, size, width):
        part = slice(start, start + width)
        block = losses[first:, part].astype(np.float64)
        block[np.isinf(block)] = np.nan  # not finite is missing, as in every trajectory score
        if margins is None:
            # Under 1e-12 a float32 loss says no more than "certain".
            severity[part] = _squashed(-np.log(np.expm1(np.clip(block, 1e-12, 700.0))).mean(axis=0))
            continue
        # Where a loss is missing, so is the sample, whatever its margin says.
        severity[part] = _squashed(np.where(np.isnan(block), np.nan, margins[first:, part]).mean(axis=0))
        if named:
            other = _strongest_other(block, margins[first:, part])
            suggested[part], probability[part] = _suggestion(other, predicted[first:, part], labels[part], classes)
    unknown = ~np.isfinite(severity)
    severity[unknown], suggested[unknown], probability[unknown] = np.nan, -1, np.nan
    return LabelErrors(severity, suggested, probability)


def first_learned(losses: np.ndarray, classes: int) -> int:
    """The first checkpoint at which the model has left chance level: losses (E, N) of all samples -> index into E.

    Chance level is a loss of log(classes). The median loss must have fallen to half of it; the median, because a few
    wrong labels or an unsettled early epoch can hold the mean up for the whole run. At least half of the checkpoints
    always remain: a model that learns late, or never, gives E // 2.
    """
    losses = np.asarray(losses)
    if losses.ndim != 2 or losses.shape[0] == 0 or classes < 2:
        raise ValueError(
            f"losses {losses.shape} must be (checkpoints, N) with a checkpoint, classes {classes} at least 2"
        )
    latest = len(losses) // 2
    for checkpoint in range(latest):
        seen = losses[checkpoint][np.isfinite(losses[checkpoint])]
        if seen.size and np.median(seen) <= np.log(classes) / 2:
            return checkpoint
    return latest


def _squashed(margin: np.ndarray) -> np.ndarray:
    """Mean margin (B,) -> severity in (0, 1), decreasing."""
    return (1 - margin / (1 + np.abs(margin))) / 2


def _strongest_other(losses: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """p_o (E, B): probability of the strongest class other than the given one.

    From the logits: p_o / p_y = exp(-margin). Taken in the exponent, where neither factor can overflow, and held to
    what p_y leaves, since loss and margin are rounded to float32 each.
    """
    left = np.maximum(-np.expm1(-losses), 0.0)  # 1 - p_y; a loss may round to below 0
    return np.minimum(np.exp(np.minimum(-losses - margins, 0.0)), left)


def _suggestion(other, predicted, labels, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(class (B,) or -1, mean probability (B,) or NaN): the other class with the largest sum of `other` (E, B)."""
    size = len(labels)
    checkpoint, sample = np.nonzero((predicted != labels) & (predicted >= 0))
    cell = sample * classes + predicted[checkpoint, sample]
    total = np.bincount(cell, weights=other[checkpoint, sample], minlength=size * classes).reshape(size, classes)
    best = total.argmax(axis=1)
    most = total[np.arange(size), best]
    found = most > 0
    return np.where(found, best, -1), np.where(found, most / len(other), np.nan)
