"""Budgets add up, keep to their bounds and go in proportion, whatever is asked."""

import numpy as np
import pytest

from lossprint.scoring.coresets.budgets import class_budgets, share


def test_shares_add_up_within_bounds_and_in_proportion():
    random = np.random.default_rng(0)
    for _ in range(300):
        k = random.integers(1, 12)
        high = random.integers(0, 50, k)
        low = np.minimum(random.integers(0, 4, k), high)
        weights = random.integers(1, 100, k)
        total = random.integers(low.sum(), high.sum() + 1)
        parts = share(total, weights, low, high)
        assert parts.sum() == total and (parts >= low).all() and (parts <= high).all()
        # Where no bound holds, two parts are in proportion to their weights, but for the rounding.
        free = np.flatnonzero((parts > low + 1) & (parts < high - 1))
        for one in free:
            for other in free:
                assert (parts[one] - 1.001) / weights[one] <= (parts[other] + 1.001) / weights[other]


def test_shares_without_bounds_are_largest_remainders():
    random = np.random.default_rng(1)
    for _ in range(100):
        sizes = random.integers(1, 1000, random.integers(1, 30))
        total = random.integers(0, sizes.sum() + 1)
        exact = sizes * (total / sizes.sum())
        plain = np.floor(exact).astype(int)
        order = np.argsort(plain - exact, kind="stable")
        plain[order[: total - plain.sum()]] += 1
        assert share(total, sizes, np.zeros(len(sizes)), sizes).tolist() == plain.tolist()


def budgets(sizes, available=None, **asked):
    sizes = np.array(sizes)
    return class_budgets(sizes, sizes if available is None else np.array(available), **asked).tolist()


def test_fraction_number_and_per_class():
    assert budgets([47, 16, 37], fraction=0.1) == [5, 1, 4]  # 4.7, 1.6, 3.7: two seats left for .7 and .7
    assert budgets([47, 16, 37], number=10) == [5, 1, 4]
    assert budgets([3, 10, 5], per_class=4) == [3, 4, 4]
    assert budgets([60, 20, 20], number=30, equal=True) == [10, 10, 10]
    assert budgets([60, 5, 20], number=30, equal=True) == [13, 5, 12]  # what the small class cannot give, others do


def test_a_class_gets_its_least_and_what_is_not_available_goes_to_others():
    assert budgets([90, 8, 2], number=10, at_least=2) == [6, 2, 2]
    assert budgets([90, 8, 1], number=10, at_least=2) == [7, 2, 1]
    assert budgets([50, 50], [50, 3], number=20) == [17, 3]
    assert budgets([50, 50], [5, 3], number=20) == [5, 3]
    assert budgets([5, 5], per_class=2, at_least=3) == [3, 3]
    assert budgets([5, 0, 5], number=4) == [2, 0, 2]


def test_one_of_each_gives_way_and_more_than_one_does_not():
    assert budgets([5, 9, 7, 1], number=2) == [0, 1, 1, 0]  # the largest classes
    assert budgets([5, 9, 7, 1], number=3, at_least=0) == [1, 1, 1, 0]
    with pytest.raises(ValueError, match="at least 2 of each class are 7 samples, more than the budget of 6"):
        budgets([5, 9, 7, 1], number=6, at_least=2)


def test_what_cannot_be_is_said():
    for asked, said in (
        ({}, "one of them"),
        ({"fraction": 0.5, "number": 3}, "only one"),
        ({"fraction": 0.0}, "above 0 and at most 1"),
        ({"fraction": float("nan")}, "above 0 and at most 1"),
        ({"fraction": 0.01}, "not a single one"),
        ({"number": 0}, "from 1 to the 10 samples"),
        ({"number": 11}, "from 1 to the 10 samples"),
        ({"per_class": 0}, "at least 1, got 0"),
        ({"number": 3, "at_least": -1}, "at least 0, got -1"),
    ):
        with pytest.raises(ValueError, match=said):
            budgets([6, 4], **asked)
