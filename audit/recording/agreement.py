"""Losses, logits and labels say the same thing twice: do they agree, and if not, which usual mistake is it?"""

import numpy as np

from lossprint.audit.words import percent

LOOKED = 2048  # samples of a checkpoint that are compared, its first
WANTED = "expected losses that are the cross-entropy"
FEW = 8  # samples under which no cause is named
SHARE = 0.1  # of them that may differ: more is no rounding
GROSS, FEWER = 10, 0.01  # times what is allowed for that no rounding is off by, and the share that may be nonetheless
SURE = 0.9  # of them that a cause must explain to be named


def disagreement(losses: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> str | None:
    """Why losses (B,) in nats are not the cross-entropy of logits (B, C) and labels (B,), in words; None if they are.

    Half precision is allowed for. Logits that were normalised already (log_softmax) are logits as well.
    """
    logits = logits.astype(np.float64)
    each = _entropies(logits)  # (B, C): the loss with each label
    plain = each[np.arange(len(labels)), labels]
    slack = 0.02 + 0.01 * np.abs(logits).max(axis=1)
    many, few = _differ(losses, plain, slack), _differ(losses, plain, GROSS * slack, GROSS)
    if many <= SHARE:
        if few <= FEWER or few * len(losses) < 3:
            return None
        far = f"{percent(few)} of them far off: do their ids, labels or weights belong to other samples?"
        return _weighted(losses, plain, labels) or far
    unknown = "another loss than the cross-entropy, or labels of other samples"
    if len(losses) < FEW:
        return unknown
    causes = (
        _probabilities(losses, logits, labels),
        _scaled(losses, plain),
        _weighted(losses, plain, labels),
        _smoothed(losses, plain, each, slack),
        _focal(losses, plain, slack),
        _mixed_up(losses, each, labels, slack),
    )
    return next((cause for cause in causes if cause), unknown)


def _entropies(logits: np.ndarray) -> np.ndarray:
    """The cross-entropy (B, C) of logits with each class."""
    top = logits.max(axis=1, keepdims=True)
    return top + np.log(np.exp(logits - top).sum(axis=1, keepdims=True)) - logits


def _differ(losses: np.ndarray, expected: np.ndarray, slack: np.ndarray, hundredths: float = 1) -> float:
    """The share of losses further from those expected than the slack (B,) and a hundredth, or so many."""
    return float((np.abs(losses - expected) > slack + 0.01 * hundredths * np.abs(expected)).mean())


def _probabilities(losses: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> str | None:
    if logits.min() < 0 or (np.abs(logits.sum(axis=1) - 1) > 0.02).any():
        return None
    return "probabilities (after a softmax) as logits: hand over what comes before the softmax"


def _ratios(losses: np.ndarray, plain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which losses are large enough to be divided, and how many times the cross-entropy each is."""
    large = plain > 0.05
    return large, losses[large] / plain[large]


def _steady(ratios: np.ndarray) -> float | None:
    """The median of ratios where nearly all are within 5 % of it."""
    if len(ratios) < 5:
        return None
    middle = float(np.median(ratios))
    return middle if middle > 0 and (np.abs(ratios - middle) < 0.05 * middle).mean() > SURE else None


def _scaled(losses: np.ndarray, plain: np.ndarray) -> str | None:
    factor = _steady(_ratios(losses, plain)[1])
    if factor is None:
        return None
    return f"the cross-entropy times {factor:.3g} (divided for gradient accumulation, or in bits?)"


def _weighted(losses: np.ndarray, plain: np.ndarray, labels: np.ndarray) -> str | None:
    large, ratios = _ratios(losses, plain)
    factors = [_steady(ratios[labels[large] == label]) for label in np.unique(labels[large])]
    if len(factors) < 2 or None in factors or max(factors) < 1.05 * min(factors):
        return None
    return f"the cross-entropy with weights of the classes, {min(factors):.3g} to {max(factors):.3g} times it"


def _smoothed(losses: np.ndarray, plain: np.ndarray, each: np.ndarray, slack: np.ndarray) -> str | None:
    way = each.mean(axis=1) - plain  # what a smoothing of 1 would add
    part = float((way * (losses - plain)).sum() / max((way**2).sum(), 1e-12))
    if not 0.005 < part < 1 or _differ(losses, plain + part * way, slack) > 1 - SURE:
        return None
    return f"the cross-entropy with label smoothing of about {part:.2f}"


def _focal(losses: np.ndarray, plain: np.ndarray, slack: np.ndarray) -> str | None:
    known = (plain > 0.05) & (losses > 0) & (plain < 5)
    if known.sum() < 5:
        return None
    missed = np.log1p(-np.exp(-plain))  # log of 1 - p
    gamma = float(np.median(np.log(losses[known] / plain[known]) / missed[known]))
    if not 0.1 < gamma < 10 or _differ(losses, np.exp(gamma * missed) * plain, slack) > 1 - SURE:
        return None
    return f"a focal loss with a gamma of about {gamma:.1f}"


def _mixed_up(losses: np.ndarray, each: np.ndarray, labels: np.ndarray, slack: np.ndarray) -> str | None:
    """Each loss fits another class: always the same one instead of a label, or now this one and now that."""
    fits = np.abs(losses[:, None] - each) < slack[:, None] + 0.01 * each
    if fits.any(axis=1).mean() < SURE:
        return None
    seen = np.unique(labels)
    shares = np.array([fits[labels == label].mean(axis=0) for label in seen])
    best = shares.argmax(axis=1)
    if len(set(best)) == len(seen) and shares[np.arange(len(seen)), best].mean() > SURE and (best != seen).any():
        return "classes in another order in the logits than sorted by name: say theirs with Recorder(classes=[...])"
    return "ids of other samples (does each loader count from 0?), or labels that the dataset has not"


def margins_disagreement(
    losses: np.ndarray, margins: np.ndarray, predicted: np.ndarray, labels: np.ndarray, classes: int
) -> str | None:
    """Why losses (B,) in nats, margins (B,), NaN where unknown, and predictions (B,), -1 there, do not fit, in words.

    The margin bounds the cross-entropy: below as if one other class had all the rest of the probability, above as if
    all had as much. And it is negative just where another class is predicted.
    """
    known = np.isfinite(margins)
    if known.sum() < FEW:
        return None
    margins, losses = margins[known].astype(np.float64), losses[known].astype(np.float64)
    least, most = np.logaddexp(0, -margins), np.logaddexp(0, np.log(classes - 1) - margins)
    slack = 0.02 + 0.01 * np.abs(margins)
    if ((losses < 0.99 * least - slack) | (losses > 1.01 * most + slack)).mean() > SHARE:
        return "losses that the margins do not allow: another or a scaled loss, margins of probabilities or other rows"
    predicted, labels = predicted[known], labels[known]
    sure = (predicted >= 0) & (np.abs(margins) > slack)
    if sure.sum() >= FEW and ((predicted == labels) != (margins > 0))[sure].mean() > SHARE:
        return "predictions that the margins contradict: classes in another order, or other rows"
    return None


def other_order(margins: np.ndarray, predicted: np.ndarray, labels: np.ndarray) -> dict[int, int] | None:
    """Which class (by place) each predicted class seems to be, where these are numbered in another order.

    A sample whose margin (B,) is positive is predicted as its label (B,). None where it is so for most, or where no
    other order fits.
    """
    sure = (predicted >= 0) & (margins > 0.02 + 0.01 * np.abs(margins))
    said, own = predicted[sure], labels[sure]
    if len(said) < FEW or (said == own).mean() > 1 - SHARE:
        return None
    meant = {int(one): int(np.bincount(own[said == one]).argmax()) for one in np.unique(said)}
    fits = np.array([meant[one] for one in said.tolist()]) == own
    return meant if len(set(meant.values())) == len(meant) and fits.mean() > SURE else None


class Check:
    """Compares the first losses of a checkpoint of N samples as they come, and says once what they look like."""

    def __init__(self):
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.left = LOOKED

    def look(self, losses: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> None:
        """Take the losses (B,), logits (B, C) and labels (B,) of a batch, if there are not enough yet."""
        if self.left <= 0 or not len(losses):
            return
        rows = np.unique(np.linspace(0, len(losses) - 1, min(len(losses), self.left)).astype(int))
        self.parts.append((losses[rows].astype(np.float64), logits[rows], labels[rows]))
        self.left -= len(rows)

    def sentence(self) -> str | None:
        """What is wrong with those that were taken, in one sentence; None where nothing is."""
        if not self.parts:
            return None
        cause = disagreement(*(np.concatenate(column) for column in zip(*self.parts)))
        if cause is None:
            return None
        return f"{WANTED} of the logits and the dataset's labels, found {cause}"
