"""Privacy exposure: which training samples a trained model gives away, from the losses of that one training.

LT-IQR (arXiv 2411.05743): the spread Q3 - Q1 of a sample's losses over the checkpoints. Exposed are samples that are
learnt late, but fully: their losses were high for long and ended near zero. One that is never learnt has a spread as
well, and is not exposed; so the final loss stands beside the spread. E checkpoints, N training samples, M others.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, rankdata

from lossprint.scoring.correlation import blocks, float_matrix

ENOUGH = 20  # checkpoints from which on quartiles of a trace say much
LEAST = 4  # below which there are no quartiles
LEARNT = float(np.log(2))  # nats: a smaller loss gives the label more than all others together
RATES = (0.01, 0.001)  # false positive rates at which an attack is judged


def lt_iqr(losses: np.ndarray) -> np.ndarray:
    """Q3 - Q1 (linear quantiles) over checkpoints of losses (E, N) -> (N,) nats. High: exposed, if learnt at the end.

    NaN where a loss is missing, and with fewer than four checkpoints. Drop those at chance level first, see `warm_up`.
    """
    losses = float_matrix(losses, "losses")
    spread = np.full(losses.shape[1], np.nan)
    if len(losses) < LEAST:
        return spread
    for part in blocks(*losses.shape):
        columns = losses[:, part].astype(np.float64)
        columns[:, ~np.isfinite(columns).all(axis=0)] = np.nan
        low, high = np.quantile(columns, (0.25, 0.75), axis=0)
        spread[part] = high - low
    return spread


def warm_up(losses: np.ndarray, chance: float) -> int:
    """How many of the first checkpoints of losses (E, N) are at chance level: their median loss is at least `chance`.

    Everybody's losses are high there, which raises all spreads alike. For classes chance is log C.
    """
    learning = (at for at, row in enumerate(float_matrix(losses, "losses")) if not at_chance(row, chance))
    return next(learning, 0)  # where nothing was ever learnt there is no warm-up to tell from the rest


def at_chance(losses: np.ndarray, chance: float) -> bool:
    """Whether the losses (N,) of a checkpoint are at chance level, see `warm_up`."""
    known = losses[np.isfinite(losses)]
    return bool(len(known) and np.median(known) >= chance)


def order(spread: np.ndarray, final: np.ndarray, learnt: float = LEARNT) -> np.ndarray:
    """Ranks (N,) int64 from 1, the most exposed first: by spread (N,), those whose final loss (N,) is above `learnt`
    after all others, ties by place. 0 for samples without a spread.
    """
    known = np.isfinite(spread) & np.isfinite(final)
    late = np.where(known, final > learnt, True)
    rows = np.lexsort((np.where(known, -np.nan_to_num(spread), np.inf), late, ~known))
    ranks = np.empty(len(spread), np.int64)
    ranks[rows] = np.arange(1, len(spread) + 1)
    return np.where(known, ranks, 0)


# ------------------------------------------------------------------------------------------------- the whole model


@dataclass(frozen=True)
class Rate:
    """The share of members that an attack finds at a false positive rate, with the ends of its interval.

    The interval is that of the threshold: the M others tell only so well where the rate lies. NaN, and not `measured`,
    with fewer than 1 / rate of them: then no threshold among them has that rate.
    """

    rate: float
    found: float
    low: float
    high: float

    @property
    def measured(self) -> bool:
        return self.found == self.found


@dataclass(frozen=True)
class Attack:
    """Guessing members by their loss alone. auroc: the chance that a member's loss is below another's, ties a half,
    .5 is chance; error: its standard error. found: at each of RATES the share of members that is told. spared: at the
    same rates of wrongly spared members, the share of others whose loss is so high that only others have it.
    """

    members: int
    others: int
    auroc: float
    error: float
    found: tuple[Rate, ...]
    spared: tuple[Rate, ...]


def attack(members: np.ndarray, others: np.ndarray, rates: tuple[float, ...] = RATES) -> Attack:
    """The plain loss attack: losses of members (N,) and of samples that were not trained on (M,), finite ones count.

    auroc's error is Hanley and McNeil's (Radiology 143, 1982). ValueError without a member or without another.
    """
    inside, outside = (np.asarray(one, np.float64) for one in (members, others))
    inside, outside = (one[np.isfinite(one)] for one in (inside, outside))
    if not len(inside) or not len(outside):
        raise ValueError(f"expected losses of members and of others, got {len(inside)} and {len(outside)}")
    n, m = len(inside), len(outside)
    ranks = rankdata(np.concatenate([-inside, -outside]))
    auroc = (ranks[:n].sum() - n * (n + 1) / 2) / (n * m)
    one, two = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    spread = auroc * (1 - auroc) + (n - 1) * (one - auroc**2) + (m - 1) * (two - auroc**2)
    return Attack(
        n,
        m,
        float(auroc),
        float(np.sqrt(max(spread, 0) / (n * m))),
        tuple(found_at(-inside, -outside, rate) for rate in rates),
        tuple(found_at(outside, inside, rate) for rate in rates),
    )


def found_at(positives: np.ndarray, negatives: np.ndarray, rate: float, level: float = 0.9) -> Rate:
    """The share of positives (N,) above the threshold that a share `rate` of the negatives (M,) passes.

    Strictly above: equal scores are not told apart. The interval of `level` takes thresholds that so many negatives
    pass as chance may let pass where the rate holds for all that might have been drawn (binomial).
    """
    falling = np.sort(np.asarray(negatives, np.float64))[::-1]
    rising = np.sort(np.asarray(positives, np.float64))

    def share(passing: int) -> float:
        if passing >= len(falling):
            return 1.0
        return 1 - float(np.searchsorted(rising, falling[passing], side="right")) / len(rising)

    if len(falling) * rate < 1 - 1e-9:
        return Rate(rate, float("nan"), float("nan"), float("nan"))
    tail = (1 - level) / 2
    low, high = (int(one) for one in binom.ppf((tail, 1 - tail), len(falling), rate))
    return Rate(rate, share(int(len(falling) * rate + 1e-9)), share(low), share(high))
