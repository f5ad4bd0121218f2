"""Exchanged blocks: by the order that other videos have, and by joins that are no longer joins."""

import itertools

import numpy as np
import pytest

from lossprint.scoring.videos.order import Grammar, exchanges, unrest

ORDER = (0, 1, 2, 1, 3)


def videos(count=8, length=20, seed=0, drift=2.0, order=ORDER):
    """Frames whose pictures drift slowly in 30 directions; rows of features, labels and bounds."""
    random = np.random.default_rng(seed)
    labels = np.tile(np.repeat(order, length), count)
    each = length * len(order)
    steps = random.normal(size=(count, each, 30)) * drift
    pictures = np.cumsum(steps, 1).reshape(-1, 30) + random.normal(size=(len(labels), 30))
    return pictures, labels, np.arange(count + 1) * each


def moved(rows, start, middle, stop):
    return np.r_[rows[:start], rows[middle:stop], rows[start:middle], rows[stop:]]


def test_the_grammar_is_that_of_the_other_videos():
    labels = np.array([0, 0, 1, 0, 1, 2, 2])
    grammar = Grammar(labels, np.array([0, 3, 7]), 3)
    surprise = grammar.surprise(1)  # by the first video alone: begin 0 1 end
    assert surprise[0, 1] == pytest.approx(np.log((1 + 5 * 0.1) / 1.1))
    assert surprise[1, 2] == pytest.approx(np.log((1 + 5 * 0.1) / 0.1))
    steps = [(3, 0), (0, 1), (1, 2), (2, 4)]
    assert grammar.cost(np.array([0, 1, 1, 2]), surprise) == pytest.approx(sum(surprise[step] for step in steps))


def test_blocks_moved_are_found_with_their_ends():
    pictures, labels, bounds = videos()
    start, middle, stop = 220, 240, 260  # phases 1 and 2 of the third video
    rows = moved(np.arange(len(labels)), start, middle, stop)
    found = exchanges(labels[rows], bounds, pictures[rows], 4)
    best = found.evidence.argmax()
    assert (found.sequence[best], found.start[best], found.middle[best], found.stop[best]) == (2, start, middle, stop)
    assert found.grammar[best] > 3
    assert found.joins[best] > 1
    elsewhere = found.evidence[found.sequence != 2]
    assert elsewhere.max() < found.evidence[best] / 2


def test_joins_tell_of_a_move_that_the_grammar_cannot_see():
    pictures, labels, bounds = videos(order=(0, 1, 0, 1, 0, 1))
    rows = moved(np.arange(len(labels)), 140, 180, 220)  # 1 0 and 1 0 exchanged: the same order of phases
    found = exchanges(labels[rows], bounds, pictures[rows], 2)
    best = found.evidence.argmax()
    assert (found.start[best], found.middle[best], found.stop[best]) == (140, 180, 220)
    assert found.grammar[best] == pytest.approx(0)


def test_the_joins_weigh_nothing_where_neighbours_are_not_alike():
    random = np.random.default_rng(0)
    _, labels, bounds = videos()
    found = exchanges(labels, bounds, random.normal(size=(len(labels), 30)), 4)
    assert np.abs(found.joins).max() < 3


def test_every_exchange_of_neighbouring_phases_is_tried():
    pictures, labels, bounds = videos(count=2, length=5)  # too short for jumps within a phase
    found = exchanges(labels, bounds, pictures, 4)
    cuts = range(0, 26, 5)
    expected = {(v * 25 + a, v * 25 + b, v * 25 + c) for v in (0, 1) for a, b, c in itertools.combinations(cuts, 3)}
    assert {(a, b, c) for a, b, c in zip(found.start, found.middle, found.stop)} == expected
    assert len(found.start) == len(expected)


@pytest.mark.parametrize("labels", [[], [0], [0, 0, 0], [0, 1]])
def test_short_videos_are_no_fault(labels):
    labels = np.array(labels, np.int64)
    found = exchanges(labels, np.array([0, len(labels)]), np.zeros((len(labels), 2)), 2)
    assert np.isfinite(found.evidence).all()
    assert len(found.start) == (1 if len(labels) == 2 else 0)


def test_shuffled_frames_have_neighbours_that_are_not_alike():
    pictures, labels, bounds = videos(length=30)
    rows = np.arange(len(labels))
    rows[340:360] = 340 + np.random.default_rng(1).permutation(20)  # within a phase of the third video
    found = unrest(pictures[rows], labels[rows], bounds, 9)
    inside = np.zeros(len(rows), bool)
    inside[340:360] = True
    assert found[inside].mean() > 1
    assert np.nanmean(found[~inside]) < -4
    still = unrest(np.zeros((40, 2)), np.zeros(40, int), np.array([0, 40]), 9)
    assert np.isfinite(still[1:]).all()
    assert np.isnan(unrest(np.zeros((4, 2)), np.arange(4), np.array([0, 4]), 9)).all()
