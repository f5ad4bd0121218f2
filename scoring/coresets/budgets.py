"""How many samples of each class, or of each stratum, a budget keeps: whole numbers that add up, within bounds."""

import numpy as np


def share(total: int, weights: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Split `total` among K parts in proportion to weights (K,) > 0, each between low and high (K,): int64 (K,).

    Where a bound holds a part back, the others share the rest in proportion. Largest remainders settle the rounding,
    ties go to the first part. Needs sum(low) <= total <= sum(high).
    """
    weights, low, high = (np.asarray(one, np.float64) for one in (weights, low, high))
    # Water-filling: the level at which the parts, each cut to its bounds, add up to the total.
    under, over = 0.0, float((high / weights).max(initial=0)) + 1
    for _ in range(100):
        level = (under + over) / 2
        if np.clip(level * weights, low, high).sum() < total:
            under = level
        else:
            over = level
    exact = np.clip(over * weights, low, high)
    parts = np.floor(exact + 1e-9)
    left = int(total - parts.sum())
    while left > 0:  # once, but for parts that a bound fills
        order = np.argsort(parts - exact, kind="stable")
        order = order[parts[order] < high[order]][:left]
        parts[order] += 1
        left -= len(order)
    return parts.astype(np.int64)


def first_of_each(order: np.ndarray, of: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The first wanted[k] rows of each group k in an order (R,), in that order; of (N,): the group of each row."""
    by_group = order[np.argsort(of[order], kind="stable")]
    sizes = np.bincount(of[order], minlength=len(wanted))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = np.zeros(len(of), bool)
    chosen[by_group[rank < np.repeat(wanted, sizes)]] = True
    return order[chosen[order]]


def class_budgets(
    sizes: np.ndarray,
    available: np.ndarray,
    *,
    fraction: float | None = None,
    number: int | None = None,
    per_class: int | None = None,
    equal: bool = False,
    at_least: int = 1,
) -> np.ndarray:
    """How many to keep of each class: of `sizes` (C,) samples, of which `available` (C,) may be chosen.

    fraction in (0, 1] keeps round(fraction * sum(sizes)), number that many, or all that are available; per_class that
    many of each class, or all of a smaller one. Classes get their share in proportion to their sizes, with `equal` all
    the same, and at least `at_least` of each, as far as there are that many; at_least = 1 gives way where the budget
    has not one for each class. Raises ValueError for anything else that cannot be.
    """
    given = sum(value is not None for value in (fraction, number, per_class))
    if given != 1:
        raise ValueError(f"give either fraction, number or per_class, {'only one' if given else 'one of them'}")
    if at_least < 0:
        raise ValueError(f"at_least must be at least 0, got {at_least}")
    if per_class is not None:
        if per_class < 1:
            raise ValueError(f"per_class must be at least 1, got {per_class}")
        return np.minimum(available, max(per_class, at_least)).astype(np.int64)
    if number is not None:
        if not 1 <= number <= sizes.sum():
            raise ValueError(f"number must be from 1 to the {sizes.sum()} samples that there are, got {number}")
        total = int(number)
    else:
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction must be above 0 and at most 1, got {fraction}")
        total = round(fraction * int(sizes.sum()))
        if total == 0:
            raise ValueError(f"fraction {fraction} of {sizes.sum()} samples is not a single one")
    total = min(total, int(available.sum()))
    low = np.minimum(available, at_least)
    if low.sum() > total:
        if at_least > 1:
            raise ValueError(
                f"at least {at_least} of each class are {low.sum()} samples, more than the budget of {total}"
            )
        low = np.zeros_like(available)  # one each of the largest classes
        low[np.lexsort((np.arange(len(sizes)), -sizes, available == 0))[:total]] = 1
    there = available > 0
    weights = np.where(there, 1 if equal else np.maximum(sizes, 1), 1)
    return share(total, weights, low, available)
