"""Whether a new batch is spread as what is known: one number of each image, or classes; with what chance could do.

Both give the least share of the batch that is out of place, with 95 % confidence: at so many of its images one would
have to put something else for it to be spread as the rest. It is 0 where chance alone may be at work.
"""

from dataclasses import dataclass

import numpy as np

from lossprint.scoring.intervals import share_below

CONFIDENCE = 0.95
DRAWS = 2000


@dataclass(frozen=True)
class Shift:
    """Of M new values beside N known ones.

    distance: the share of the batch that would have to be moved, as observed (for numbers the Kolmogorov-Smirnov
    distance, a lower bound of it; for classes the total variation), which chance alone makes larger than 0. least: what
    is left of it with 95 % confidence. p: of the test that both are spread alike. above, low, high: of numbers the
    chance that a new one is larger than a known one, ties half, one half where they are alike, and its 95 % interval;
    NaN of classes.
    """

    distance: float
    least: float
    p: float
    above: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")


def of_numbers(new: np.ndarray, known: np.ndarray, tests: int = 1) -> Shift | None:
    """`Shift` of numbers, (M,) and (N,); None where either has fewer than two. `tests`: how many are looked at at once.

    p is exact for few (scipy's two-sample test) and multiplied by `tests`; `least` takes from the distance what both
    empirical distributions may be off by (Dvoretzky-Kiefer-Wolfowitz with Massart's constant, 1990), at 95 % for all
    tests together. The interval of `above` is DeLong's (1988).
    """
    new, known = (np.asarray(one, np.float64) for one in (new, known))
    new, known = new[np.isfinite(new)], known[np.isfinite(known)]
    if min(len(new), len(known)) < 2:
        return None
    from scipy.stats import ks_2samp

    test = ks_2samp(new, known)
    slack = sum(np.sqrt(np.log(4 * tests / (1 - CONFIDENCE)) / (2 * len(one))) for one in (new, known))
    above, deviation = _superiority(new, known)
    reach = 1.96 * deviation
    distance = float(test.statistic)
    return Shift(
        distance,
        max(0.0, distance - float(slack)),
        min(1.0, float(test.pvalue) * tests),
        above,
        max(0.0, above - reach),
        min(1.0, above + reach),
    )


def of_classes(new: np.ndarray, known: np.ndarray, seed: int = 0) -> Shift | None:
    """`Shift` of counts by class, (C,) each; None where either has none.

    p: the share of 2,000 deals of all samples to two sets of these sizes whose chi-square is as large. `least` takes
    from the distance what both sets of shares may be off by (Bretagnolle-Huber-Carol, 1978): little of few classes,
    much of many.
    """
    new, known = (np.asarray(one, np.int64) for one in (new, known))
    if new.shape != known.shape or min(new.min(initial=0), known.min(initial=0)) < 0:
        raise ValueError(f"expected counts of the same classes, got {new.shape} and {known.shape}")
    if not new.sum() or not known.sum():
        return None
    seen = new + known > 0
    new, known = new[seen], known[seen]
    distance = float(np.abs(new / new.sum() - known / known.sum()).sum() / 2)
    total, m = new + known, int(new.sum())
    drawn = np.random.default_rng(seed).multivariate_hypergeometric(total, m, DRAWS, method="marginals")
    expected = total * (m / total.sum())
    chi = ((np.vstack([new, drawn]) - expected) ** 2 / expected).sum(axis=1)
    p = float((1 + (chi[1:] >= chi[0] * (1 - 1e-9)).sum()) / (1 + DRAWS))
    free = len(new) * np.log(2) + np.log(2 / (1 - CONFIDENCE))
    slack = sum(np.sqrt(free / (2 * count)) for count in (m, int(known.sum())))
    return Shift(distance, max(0.0, distance - float(slack)), p)


def _superiority(new: np.ndarray, known: np.ndarray) -> tuple[float, float]:
    """P(new > known), ties half, and its standard deviation by DeLong."""
    of_new, of_known = share_below(new, known), 1 - share_below(known, new)
    variance = of_new.var(ddof=1) / len(new) + of_known.var(ddof=1) / len(known)
    return float(of_new.mean()), float(np.sqrt(variance))
