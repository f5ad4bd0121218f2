"""Membership by shadow models: was a sample in the training set, judged by models that had it and models that did not.

S shadow models, N samples, each model trained on a random half. LiRA (arXiv 2112.03570) asks which of two Gaussians a
statistic of the target model fits better: that of the shadows which had the sample, or that of those which had not. The
statistic is the log-odds of the given label, or the log-curvature of "Curvature Clues" (arXiv 2407.02747). Its authors'
code passes variances where deviations belong, and takes those of one side for both; neither is done here.
"""

import numpy as np

FEW = 32  # shadows a side; with fewer, deviations are those of all samples together, as LiRA's authors advise
TINY = 1e-22  # of a curvature, before its logarithm


def log_odds(losses: np.ndarray) -> np.ndarray:
    """log p / (1 - p) of the given label from losses -log p, of any shape; finite, of 1e-12 to 700 nats. High: sure."""
    losses = np.clip(np.asarray(losses, np.float64), 1e-12, 700)
    return -losses - np.log(-np.expm1(-losses))


def log_curvature(curvature: np.ndarray) -> np.ndarray:
    """The curvature of `scoring.membership`, or of any kind above 0, as a statistic that is nearly Gaussian."""
    return np.log(np.asarray(curvature, np.float64) + TINY)


def likelihood_ratio(shadows: np.ndarray, member: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Log-likelihood ratio (N,), high: a member. shadows (S, N): the statistic of each sample in each shadow model;
    member (S, N) bool: whether it was trained on it; target (N,): of the model in question. NaN where two shadows on
    either side are lacking.
    """
    sides = [_gaussian(shadows, one) for one in _checked(shadows, member)]
    (mean, spread), (other, others) = sides
    target = np.asarray(target, np.float64)
    ratio = np.log(others / spread) + ((target - other) / others) ** 2 / 2 - ((target - mean) / spread) ** 2 / 2
    return ratio


def distance(shadows: np.ndarray, member: np.ndarray) -> np.ndarray:
    """How far apart both Gaussians of a sample lie, (N,): (mean with - mean without) / root mean square deviation.

    High: models that had the sample are told from those that had not; 0: nothing shows. It needs no target: it is a
    property of the sample and the recipe. Arguments as in `likelihood_ratio`.
    """
    (mean, spread), (other, others) = [_gaussian(shadows, one) for one in _checked(shadows, member)]
    return (mean - other) / np.sqrt((spread**2 + others**2) / 2)


def _checked(shadows: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shadows, member = np.asarray(shadows), np.asarray(member)
    if shadows.ndim != 2 or shadows.shape != member.shape or member.dtype != bool:
        raise ValueError(
            f"shadows {shadows.shape} and member {member.dtype} {member.shape} must be (S, N), member bool"
        )
    return member, ~member


def _gaussian(shadows: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (N,) and deviation (N,) of the shadows of one side."""
    count = side.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(side, shadows, 0.0).sum(axis=0, dtype=np.float64) / count
        squares = np.where(side, (shadows - mean) ** 2, 0.0).sum(axis=0, dtype=np.float64)
        variance = squares / (count - 1)
    known = count > 1
    pooled = squares[known].sum() / max((count[known] - 1).sum(), 1)
    variance = np.where(count >= FEW, variance, pooled)
    return np.where(known, mean, np.nan), np.sqrt(np.maximum(variance, 1e-12))
