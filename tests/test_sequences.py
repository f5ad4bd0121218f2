"""Smoothing, hysteresis and matching of spans, against plain loops and planted answers."""

import itertools

import numpy as np
import pytest

from lossprint.scoring.sequences import Spans, matched, smoothed, spans


def random_case(seed):
    random = np.random.default_rng(seed)
    sizes = random.integers(0, 30, 6)
    values = random.normal(size=sizes.sum())
    values[random.random(len(values)) < 0.1] = np.nan
    return values, np.r_[0, np.cumsum(sizes)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("width", [1, 3, 9, 61])
def test_smoothing_is_the_mean_of_the_window_within_the_sequence(seed, width):
    values, bounds = random_case(seed)
    expected = np.full(len(values), np.nan)
    for first, last in itertools.pairwise(bounds):
        for row in range(first, last):
            window = values[max(row - width // 2, first) : min(row + width // 2 + 1, last)]
            window = window[np.isfinite(window)]
            expected[row] = window.mean() if len(window) else np.nan
    np.testing.assert_allclose(smoothed(values, bounds, width), expected, atol=1e-12)


def plain_spans(values, bounds, high, low, gap, shortest):
    found = []
    for first, last in itertools.pairwise(bounds):
        runs = []
        for row in range(first, last):
            if values[row] >= low:
                if runs and row - runs[-1][1] <= gap:
                    runs[-1][1] = row + 1
                else:
                    runs.append([row, row + 1])
        for start, stop in runs:
            inside = [v for v in values[start:stop] if np.isfinite(v)]
            if max(v for v in inside) >= high and stop - start >= shortest:
                found.append((start, stop, np.mean(inside)))
    return found


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("gap", "shortest"), [(0, 1), (2, 1), (3, 4)])
def test_spans_are_those_of_a_plain_loop(seed, gap, shortest):
    values, bounds = random_case(seed)
    found = spans(values, bounds, high=1.0, low=0.2, gap=gap, shortest=shortest)
    expected = plain_spans(values, bounds, 1.0, 0.2, gap, shortest)
    assert list(zip(found.start, found.stop)) == [one[:2] for one in expected]
    np.testing.assert_allclose(found.severity, [one[2] for one in expected])


def test_a_flicker_does_not_cut_a_span_and_no_span_crosses_two_sequences():
    values = np.array([0, 1, 1, 0, 1, 1, 1, 1, 0, 0], float)
    found = spans(values, np.array([0, 6, 10]), high=0.9, low=0.5, gap=1, shortest=2)
    assert list(zip(found.start, found.stop)) == [(1, 6), (6, 8)]


def test_nothing_is_found_where_there_is_nothing():
    for values in (np.zeros(5), np.full(5, np.nan), np.empty(0)):
        assert not len(spans(values, np.array([0, len(values)]), high=1, low=0.5).start)
    assert not len(smoothed(np.empty(0), np.array([0]), 3))


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="odd width"):
        smoothed(np.zeros(3), np.array([0, 3]), 4)
    with pytest.raises(ValueError, match="low of at most high"):
        spans(np.zeros(3), np.array([0, 3]), high=0.1, low=0.5)
    with pytest.raises(ValueError, match="bounds from 0 to 3"):
        smoothed(np.zeros(3), np.array([0, 2]), 3)


def test_a_span_cut_in_two_is_found_once():
    found = Spans(np.array([10, 17, 40]), np.array([17, 20, 50]), np.ones(3))
    hit, right = matched(found, np.array([10, 60]), np.array([20, 70]))
    assert hit.tolist() == [True, False]
    assert right.tolist() == [True, False, False]
    hit, right = matched(Spans(np.empty(0, int), np.empty(0, int), np.empty(0)), np.array([1]), np.array([5]))
    assert hit.tolist() == [False]
    assert not len(right)
