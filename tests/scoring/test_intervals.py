"""Intervals against scipy, against every population there is, and by simulation against a known truth."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest, hypergeom

from lossprint.scoring.intervals import Interval, combined, count_left, next_errors, rate, to_halve


def test_a_rate_is_the_exact_binomial_interval():
    for errors, reviewed, level in [(0, 20, 0.9), (171, 240, 0.9), (1, 3, 0.95), (50, 50, 0.8)]:
        exact = binomtest(errors, reviewed).proportion_ci(level, method="exact")
        found = rate(errors, reviewed, level)
        assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
        assert found.estimate == errors / reviewed
    assert rate(0, 0) == Interval(0.5, 0.0, 1.0)
    assert rate(0, 60).high == pytest.approx(1 - 0.05 ** (1 / 60))  # about 3 / 60, the rule of three


@pytest.mark.parametrize("true", [0.0, 0.005, 0.03, 0.5, 0.9])
@pytest.mark.parametrize("size", [20, 100, 500])
def test_a_rate_holds_the_truth_at_least_as_often_as_it_says(true, size):
    inside = [one.low <= true <= one.high for one in (rate(k, size) for k in range(size + 1))]
    assert binom.pmf(np.arange(size + 1), size, true) @ inside >= 0.9


def test_what_is_left_is_what_no_hypergeometric_test_rejects():
    for population, sampled, errors in [(12, 5, 0), (40, 10, 3), (40, 40, 7), (41, 40, 7), (300, 60, 60), (9, 0, 0)]:
        total = np.arange(errors, population - sampled + errors + 1)
        low = hypergeom.sf(errors - 1, population, total, sampled) > 0.05
        high = hypergeom.cdf(errors, population, total, sampled) > 0.05
        kept = total[low & high] - errors
        found = count_left(population, sampled, errors)
        assert (found.low, found.high) == (kept.min(), kept.max()), (population, sampled, errors)
        assert found.low <= found.estimate <= found.high
    assert count_left(100, 100, 3) == Interval(0.0, 0.0, 0.0)


@pytest.mark.parametrize(("share", "size"), [(0.0, 60), (0.005, 20), (0.005, 300), (0.03, 100), (0.3, 60), (0.5, 500)])
def test_what_is_left_holds_the_truth_at_least_as_often_as_it_says(share, size):
    population = 2000
    total = round(share * population)
    possible = np.arange(min(total, size) + 1)
    likely = hypergeom.pmf(possible, population, total, size)
    inside = np.zeros(len(possible), bool)
    for k in possible[likely > 1e-9]:
        found = count_left(population, size, int(k))
        inside[k] = found.low <= total - k <= found.high
    assert likely @ inside >= 0.9 - 1e-6


def test_things_that_could_not_be_told_count_both_ways():
    known, found = count_left(1000, 100, 3), count_left(1000, 100, 3, unknown=4)
    assert found.low == known.low
    assert found.high == count_left(1000, 100, 7).high + 4
    assert found.estimate == pytest.approx(904 * 3 / 96)


def test_a_million_is_quick_and_halving_halves():
    found = count_left(1_000_000, 500, 4)
    assert hypergeom.cdf(4, 1_000_000, int(found.high) + 4, 500) > 0.05 - 1e-5
    assert hypergeom.cdf(4, 1_000_000, int(found.high) + 5, 500) <= 0.05 + 1e-5
    more = to_halve(3000, 100, 1)
    assert count_left(3000, 100 + more, round((100 + more) / 100)).width <= count_left(3000, 100, 1).width / 2
    assert to_halve(200, 60, 0) < 140


def test_wrong_counts_are_refused():
    for call in (
        lambda: rate(3, 2),
        lambda: rate(-1, 2),
        lambda: rate(1, 2, 1.0),
        lambda: count_left(10, 11, 0),
        lambda: next_errors([], [], [0.5]),
        lambda: next_errors([0.5], [True], [0.5], 0),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()


def test_strata_are_added_at_levels_that_hold_together():
    parts = [lambda level: rate(3, 50, level), lambda level: rate(1, 90, level)]
    both = combined(parts, 0.9)
    assert both.estimate == 3 / 50 + 1 / 90
    assert both.low == rate(3, 50, 0.95).low + rate(1, 90, 0.95).low
    assert both.high == rate(3, 50, 0.95).high + rate(1, 90, 0.95).high
    exact = combined([parts[0], lambda level: Interval(2.0, 2.0, 2.0)])
    assert exact.low == rate(3, 50, 0.9).low + 2
    assert combined([lambda level: Interval(2.0, 2.0, 2.0)]) == Interval(2.0, 2.0, 2.0)


# ------------------------------------------------------------------------------------------------- what comes next


def test_the_ends_of_a_prediction_are_whole_and_within_what_there_is():
    severity = np.linspace(1, 0, 300)
    for error in (np.zeros(200, bool), np.ones(200, bool), np.arange(200) < 100, np.arange(200) % 3 == 0):
        found = next_errors(severity[:200], error, severity[200:])
        assert 0 <= found.low <= found.estimate <= found.high <= 100
        assert found.low == int(found.low)
        assert found.high == int(found.high)
    assert next_errors(severity[:200], error, severity[:0]) == Interval(0.0, 0.0, 0.0)
    assert next_errors(severity[:200], np.zeros(200, bool), severity[200:]).high <= 5
    assert next_errors([0.9], [True], [0.8]).high == 1


def test_equal_and_missing_severities_leave_the_rate():
    found = next_errors(np.full(100, np.nan), np.arange(100) % 4 == 0, np.full(100, np.nan))
    assert found.estimate == pytest.approx(25, abs=1.5)
    assert found.low < 20 < 30 < found.high


QUEUES = {
    "falls with the severity": lambda severity, place: 1 / (1 + np.exp(9 - 12 * severity)),
    "straight": lambda severity, place: 0.95 - 0.9 * place,
    "early and fast": lambda severity, place: 0.9 * np.exp(-4 * place),
    "late": lambda severity, place: 0.9 - 0.6 * place**3,
    "to a plain": lambda severity, place: 0.15 + 0.75 * np.exp(-10 * place),
    "constant": lambda severity, place: np.full(len(place), 0.3),
    "rare": lambda severity, place: np.full(len(place), 0.03),
}


@pytest.mark.parametrize("shape", list(QUEUES))
def test_the_next_hundred_hold_what_was_predicted(shape):
    rng = np.random.default_rng(7)
    held = []
    for _ in range(30):
        severity = np.sort(0.5 + 0.45 * rng.beta(1.6, 1.3, 600))[::-1]
        error = rng.random(600) < QUEUES[shape](severity, np.arange(600) / 600)
        for done in (60, 120, 240, 400):
            found = next_errors(severity[:done], error[:done], severity[done : done + 100])
            held.append(found.low <= error[done : done + 100].sum() <= found.high)
    assert np.mean(held) >= 0.9 - 1.64 * np.sqrt(0.09 / len(held))
