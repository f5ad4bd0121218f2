"""How far several reviewers agree: raw agreement, Cohen's and Fleiss' kappa, Krippendorff's alpha, with intervals.

Ratings are an (N, R) array of integer codes, a row an item and a column a rater, `MISSING` where a rater said nothing;
the codes are names, not numbers (nominal). Every measure is an `Estimate`: where it is not defined its value is NaN
and `reason` says why. None of them tells whether what reviewers agree on is right.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lossprint.scoring import intervals

MISSING = -1
LEVEL = intervals.LEVEL
FEW = 30  # shared items below which a reader is warned
DRAWS = 1000  # resamples of a bootstrap interval
NAMES = ((0.0, "slight"), (0.2, "fair"), (0.4, "moderate"), (0.6, "substantial"), (0.8, "almost perfect"))


@dataclass(frozen=True)
class Estimate:
    """A measure over `items` items, with the ends of its interval; NaN where it, or they, are not defined."""

    value: float
    low: float = float("nan")
    high: float = float("nan")
    items: int = 0
    reason: str = ""


def rating_table(items: np.ndarray, raters: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Long ratings, (M,) each, as the (N, R) table, with the items (N,) and raters (R,) of its rows and columns.

    Where a rater rated an item more than once, the last counts.
    """
    rows, row = np.unique(items, return_inverse=True)
    columns, column = np.unique(raters, return_inverse=True)
    table = np.full((len(rows), len(columns)), MISSING, np.int32)
    table[row, column] = codes
    return table, rows, columns


# ------------------------------------------------------------------------------------------------- the measures


def raw(ratings: np.ndarray, *, level: float = LEVEL, seed: int = 0) -> Estimate:
    """The share in [0, 1] of the pairs of ratings on one item that are the same; every pair counts alike.

    The interval is a percentile bootstrap over items (Efron, Ann. Statist. 7, 1979). Where all agree or none do, items
    drawn again would all look the same: there the exact binomial interval of `intervals.rate` stands in.
    """
    kept = _Patterns(ratings)
    if kept.reason:
        return Estimate(float("nan"), items=kept.items, reason=kept.reason)
    value = kept.raw(kept.counts[None])[0]
    if value in (0.0, 1.0):
        exact = intervals.rate(int(value) * kept.items, kept.items, level)
        return Estimate(value, exact.low, exact.high, kept.items)
    return Estimate(value, *_ends(kept.raw(kept.draws(seed)), level), kept.items)


def share(ratings: np.ndarray) -> float:
    """The value of `raw` alone, which costs no bootstrap; NaN where it is not defined."""
    kept = _Patterns(ratings)
    return float("nan") if kept.reason else float(kept.raw(kept.counts[None])[0])


def alpha(ratings: np.ndarray, *, level: float = LEVEL, seed: int = 0) -> Estimate:
    """Krippendorff's alpha for names: 1 - observed / expected disagreement; 1 at best, 0 as by chance, at least -1.

    Items that fewer than two rated tell nothing and are left out; ratings may be missing anywhere (Krippendorff,
    Computing Krippendorff's Alpha-Reliability, 2011). The interval is a percentile bootstrap over items, by the same
    formula on counts; without any disagreement there is none.
    """
    kept = _Patterns(ratings)
    if kept.reason:
        return Estimate(float("nan"), items=kept.items, reason=kept.reason)
    if kept.categories < 2:
        return Estimate(float("nan"), items=kept.items, reason="all answers are the same, so chance explains them all")
    value = float(kept.alpha(kept.counts[None])[0])
    if kept.raw(kept.counts[None])[0] == 1.0:
        return Estimate(value, items=kept.items, reason="nobody differs, so the interval is not known")
    return Estimate(value, *_ends(kept.alpha(kept.draws(seed)), level), kept.items)


def cohen(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Cohen's kappa of two raters' codes, (N,) each, over the items that both rated; at most 1, 0 as by chance.

    Cohen, Educational and Psychological Measurement 20 (1960). Chance is what two raters with these shares of answers
    would agree by. NaN where both used only one and the same answer.
    """
    both = (first != MISSING) & (second != MISSING)
    items = int(both.sum())
    if not items:
        return Estimate(float("nan"), reason="no item that both answered")
    _, codes = np.unique(np.stack([first[both], second[both]]), return_inverse=True)
    codes = codes.reshape(2, items)
    shares = [np.bincount(one, minlength=codes.max() + 1) / items for one in codes]
    return _beyond_chance((codes[0] == codes[1]).mean(), float(shares[0] @ shares[1]), items)


def fleiss(ratings: np.ndarray) -> Estimate:
    """Fleiss' kappa for two or more raters, who need not be the same for each item; at most 1, 0 as by chance.

    Fleiss, Psychological Bulletin 76 (1971). It is defined for one number of ratings an item: the items with the most
    common number of at least two are used (of two equally common ones the larger), and `reason` says how many are not.
    """
    each = (ratings != MISSING).sum(1)
    sizes, times = np.unique(each[each >= 2], return_counts=True)
    if not len(sizes):
        return Estimate(float("nan"), reason=_none_shared(ratings))
    size = int(sizes[times == times.max()].max())
    kept = _Patterns(ratings[each == size])
    left = int((each >= 2).sum()) - kept.items
    shares = kept.totals(kept.counts[None])[0] / (kept.items * size)
    found = _beyond_chance(kept.raw(kept.counts[None])[0], float(shares @ shares), kept.items)
    note = f"over the items with {size} answers; {left} with another number are left out" if left else ""
    return found if found.reason else Estimate(found.value, items=found.items, reason=note)


def pairwise(ratings: np.ndarray) -> list[tuple[int, int, Estimate, Estimate]]:
    """For each pair of raters (columns i < j) their raw agreement, without an interval, and Cohen's kappa."""
    found = []
    for i, j in combinations(range(ratings.shape[1]), 2):
        first, second = ratings[:, i], ratings[:, j]
        both = (first != MISSING) & (second != MISSING)
        items = int(both.sum())
        same = float((first[both] == second[both]).mean()) if items else float("nan")
        why = "" if items else "no item that both answered"
        found.append((i, j, Estimate(same, items=items, reason=why), cohen(first, second)))
    return found


def differing(ratings: np.ndarray) -> np.ndarray:
    """Which items got two different codes or more, (N,) bool."""
    least = np.where(ratings == MISSING, np.iinfo(np.int32).max, ratings).min(1, initial=np.iinfo(np.int32).max)
    return ratings.max(1, initial=MISSING) > least


# ------------------------------------------------------------------------------------------------- in words


def words(same: Estimate, beyond: Estimate, *, thing: str = "sample") -> list[str]:
    """What raw agreement and alpha mean, as plain sentences; says nothing about who is right."""
    if np.isnan(same.value):
        return [f"Agreement cannot be told yet: {same.reason}."]
    told = [f"Of 100 times that two of them saw the same {thing}, they gave the same answer about {_of(same)}."]
    if np.isnan(beyond.value):
        told.append(f"Whether that is more than chance cannot be told: {beyond.reason}.")
    elif beyond.value <= 0:
        told.append("They differ as often as if the same answers had been dealt out at random, or more often.")
    else:
        name = [name for least, name in NAMES if beyond.value > least][-1]
        told.append(
            f"They differ {100 * beyond.value:.0f} % less often than if the same answers had been dealt out at random. "
            f"By the convention of Landis and Koch (1977) that is called {name} agreement; it is a habit of speech, "
            "not a test, and does not say that the answers are right."
        )
        if same.value > 0.9 and beyond.value < 0.6:
            told.append("Almost all answers are the same, so few differences are enough to make alpha low.")
    if same.items < FEW:
        number = f"{same.items} {thing}" + "s" * (same.items != 1)
        told.append(f"This rests on {number} that two or more answered: too few to rely on (from {FEW} on it is fair).")
    return told


def _of(same: Estimate) -> str:
    ends = f" (90 % interval {100 * same.low:.0f} to {100 * same.high:.0f})" if np.isfinite(same.low) else ""
    return f"{100 * same.value:.0f} times{ends}"


# ------------------------------------------------------------------------------------------------- how


class _Patterns:
    """Items with two ratings or more, those rated alike (whoever rated how) together: P patterns with their counts."""

    def __init__(self, ratings: np.ndarray):
        kept = ratings[(ratings != MISSING).sum(1) >= 2]
        self.items = len(kept)
        self.reason = "" if self.items else _none_shared(ratings)
        if not self.items:
            return
        patterns, self.counts = np.unique(np.sort(kept, 1), axis=0, return_counts=True)
        row, column = np.nonzero(patterns != MISSING)
        names, code = np.unique(patterns[row, column], return_inverse=True)
        from scipy.sparse import csr_array

        self.categories = len(names)
        self.table = csr_array((np.ones(len(row)), (row, code)), shape=(len(patterns), len(names)))
        self.size = np.bincount(row, minlength=len(patterns)).astype(float)
        self.pairs = self.size * (self.size - 1) / 2
        self.same = (self.table.multiply(self.table).sum(1) - self.size) / 2

    def draws(self, seed: int) -> np.ndarray:
        """How often each pattern comes when as many items are drawn with replacement, (B, P)."""
        times = int(np.clip(20_000_000 // len(self.counts), 100, DRAWS))
        return np.random.default_rng(seed).multinomial(self.items, self.counts / self.items, size=times)

    def totals(self, weights: np.ndarray) -> np.ndarray:
        """Ratings of each category, (B, K)."""
        return weights @ self.table

    def raw(self, weights: np.ndarray) -> np.ndarray:
        return (weights @ self.same) / (weights @ self.pairs)

    def alpha(self, weights: np.ndarray) -> np.ndarray:
        """NaN where a draw holds one category only."""
        number = weights @ self.size
        observed = weights @ (2 * (self.pairs - self.same) / (self.size - 1)) / number
        totals = self.totals(weights)
        expected = 1 - (totals * (totals - 1)).sum(1) / (number * (number - 1))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(expected > 1e-12, 1 - observed / expected, np.nan)


def _none_shared(ratings: np.ndarray) -> str:
    raters = int((ratings != MISSING).any(0).sum()) if ratings.size else 0
    if raters < 2:
        return "only one reviewer answered" if raters else "nobody answered"
    return "no item that two reviewers answered"


def _beyond_chance(observed: float, expected: float, items: int) -> Estimate:
    if expected > 1 - 1e-12:
        return Estimate(float("nan"), items=items, reason="all answers are the same, so chance explains them all")
    return Estimate(float((observed - expected) / (1 - expected)), items=items)


def _ends(values: np.ndarray, level: float) -> tuple[float, float]:
    """The middle `level` of the draws; NaN where most draws had no value."""
    values = values[np.isfinite(values)]
    if len(values) < DRAWS // 20:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
