"""Smoothing, paths, spans and their matching, against plain loops and planted answers."""

import itertools

import numpy as np
import pytest

from lossprint.scoring.sequences import best_path, label_spans, matched, severity, smoothed, swaps


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


def best_cost(log, change):
    """The cost of the likeliest path by trying all of them."""
    paths = itertools.product(range(log.shape[1]), repeat=len(log))
    return min(
        -sum(log[at, one] for at, one in enumerate(path)) + change * sum(a != b for a, b in itertools.pairwise(path))
        for path in paths
    )


@pytest.mark.parametrize("seed", range(8))
def test_the_path_is_the_likeliest_of_all(seed):
    random = np.random.default_rng(seed)
    log = random.normal(size=(10, 3)) * 2
    bounds = np.array([0, 6, 6, 10])
    path = best_path(log, bounds, 1.5)
    for first, stop in ((0, 6), (6, 10)):
        mine = path[first:stop]
        cost = -log[np.arange(first, stop), mine].sum() + 1.5 * (np.diff(mine) != 0).sum()
        assert cost == pytest.approx(best_cost(log[first:stop], 1.5))


def certain(labels, classes, p=0.9):
    """Log-probabilities of a model that is rather certain of these labels."""
    found = np.full((len(labels), classes), (1 - p) / (classes - 1))
    found[np.arange(len(labels)), labels] = p
    return np.log(found)


def spans_of(log, labels, bounds, skip=None, **options):
    return label_spans(log, labels, bounds, best_path(log, bounds), skip, **options)


def planted():
    """Two videos of three phases of ten frames; in the second the middle phase is given as class 3."""
    true = np.tile(np.repeat([0, 1, 2], 10), 2)
    given = true.copy()
    given[40:50] = 3
    return true, given, np.array([0, 30, 60])


def test_a_phase_with_a_wrong_label_is_one_span_with_the_right_suggestion():
    true, given, bounds = planted()
    log = certain(true, 4)
    log[44] = log[44, [0, 3, 2, 1]]  # a flicker
    found = spans_of(log, given, bounds, least=20)
    assert (found.start.tolist(), found.stop.tolist(), found.label.tolist()) == ([40], [50], [1])
    ratio = np.log(0.9 / (0.1 / 3))
    assert found.evidence[0] == pytest.approx(ratio * 0.8)
    assert not len(spans_of(log, given, bounds, np.arange(60) >= 35).start)
    assert not len(spans_of(log, given, bounds, least=1000).start)


def test_what_is_mixed_up_in_many_videos_counts_less():
    true, given, bounds = planted()
    alone = spans_of(certain(true, 4), given, bounds).evidence
    given[10:20] = 3
    both = spans_of(certain(true, 4), given, bounds).evidence
    np.testing.assert_allclose(both, np.repeat(alone, 2) - np.log(2))


def test_a_phase_that_two_others_would_fit_is_one_span():
    true, given, bounds = planted()
    seen = true.copy()
    seen[40:44] = 0
    found = spans_of(certain(seen, 4), given, bounds, least=10)
    assert (found.start.tolist(), found.stop.tolist(), found.label.tolist()) == ([40], [50], [1])


def test_exchanged_labels_stand_out_among_all_neighbours():
    true = np.tile(np.repeat([0, 1, 2], 10), 2)
    given = true.copy()
    given[30:40], given[40:50] = 1, 0
    found = swaps(certain(true, 3), given, np.array([0, 30, 60]))
    best = found.evidence.argmax()
    assert (found.start[best], found.middle[best], found.stop[best]) == (30, 40, 50)
    assert found.evidence[best] == pytest.approx(np.log(0.9 / 0.05))
    assert (np.delete(found.evidence, best) < 0).all()
    one_wrong = swaps(certain(true, 3), np.where(np.arange(60) < 40, true, given), np.array([0, 30, 60]))
    assert (one_wrong.evidence < 0).all()


def test_nothing_is_found_where_there_is_nothing():
    none = np.empty((0, 3))
    labels = np.empty(0, np.int64)
    assert not len(spans_of(none, labels, np.array([0])).start)
    assert not len(swaps(none, labels, np.array([0])).start)
    assert not len(swaps(certain(np.zeros(4, int), 2), np.zeros(4, np.int64), np.array([0, 4])).start)
    assert not len(smoothed(np.empty(0), np.array([0]), 3))
    assert severity(np.array([0.0, 3.0, 9.0]), 3.0) == pytest.approx([0.2689, 0.5, 0.8808], abs=1e-4)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="odd width"):
        smoothed(np.zeros(3), np.array([0, 3]), 4)
    with pytest.raises(ValueError, match="bounds from 0 to 3"):
        smoothed(np.zeros(3), np.array([0, 2]), 3)


def test_a_span_cut_in_two_is_found_once():
    hit, right = matched(np.array([10, 17, 40]), np.array([17, 20, 50]), np.array([10, 60]), np.array([20, 70]))
    assert hit.tolist() == [True, False]
    assert right.tolist() == [True, False, False]
    hit, right = matched(np.empty(0, int), np.empty(0, int), np.array([1]), np.array([5]))
    assert hit.tolist() == [False]
    assert not len(right)
