"""Ranks in bootstrap draws, from parts of the samples: the same bits as a loop over whole draws."""

import itertools

import numpy as np
import pytest

from lossprint.scoring import ranks


@np.errstate(invalid="ignore")
def loop(draws, margins, shift, top):
    """The confidence by one sum after the other, and a sort of each draw."""
    count, inside = len(shift), np.zeros(len(shift))
    for d, source in enumerate(draws.of):
        means = []
        for i in range(count):
            total = np.float32(0)
            for times, row in zip(draws.times[d], draws.rows[source]):
                total += times * margins[source][row, i]
            means.append(float(total / np.float32(draws.sizes[source])) + shift[i])
            sources = range(source + 1)
            if not np.isfinite(shift[i]) or any(not np.isfinite(margins[s][draws.rows[s], i]).all() for s in sources):
                means[-1] = np.inf
        if 0 < top < count:
            inside += np.array(means) <= sorted(means)[top - 1]
        else:
            inside += top > 0
    lost = ~np.isfinite(shift)
    for values, rows in zip(margins, draws.rows):
        lost |= ~np.isfinite(values[rows]).all(axis=0)
    return np.where(lost, np.nan, inside / len(draws.of))


def case(random, sources):
    size = 60
    margins = [random.normal(1, 2, (5 + s, size)).astype(np.float32) for s in range(sources)]
    shift = random.normal(0, 0.3, size)
    margins[0][1, 3], margins[-1][2, 4], shift[5] = np.nan, np.inf, np.nan
    margins[0][0, 6] = np.nan  # at a checkpoint that does not count
    weights = [random.random(len(one)) for one in margins]
    weights[0][0] = 0
    return ranks.draw(weights, 20), margins, shift


def in_parts(draws, margins, shift, top, edges):
    """The confidence from the means of parts of the samples between `edges`, each worked out by itself."""
    rows, lost = np.empty((len(draws.of), len(shift)), np.float32), np.empty(len(shift), bool)
    for first, last in itertools.pairwise(edges):
        some = [one[:, first:last] for one in margins]
        missing = ranks.unknown(draws, some)
        lost[first:last] = missing[-1]
        for d, part, mean in ranks.means(draws, some, missing):
            rows[d, first:last][part] = mean
    return ranks.shares(iter(rows), shift, lost, top)


@pytest.mark.parametrize("sources", [1, 2])
@pytest.mark.parametrize("top", [0, 1, 7, 30, 58, 59, 60, 99])
def test_equal_to_a_loop(top, sources):
    draws, margins, shift = case(np.random.default_rng(top), sources=sources)
    plain = loop(draws, margins, shift, top)
    np.testing.assert_array_equal(ranks.confidence(draws, margins, shift, top), plain)
    for edges in ([0, 60], [0, 1, 29, 60], [0, 59, 60], [0, 0, 60]):
        np.testing.assert_array_equal(in_parts(draws, margins, shift, top, edges), plain)


def test_parts_of_many_samples_give_the_same_bits():
    random = np.random.default_rng(3)
    size = 60_000
    margins, shift = [random.normal(1, 2, (6, size)).astype(np.float32)], random.normal(0, 0.3, size)
    draws = ranks.draw([np.ones(6)], 30)
    whole = ranks.confidence(draws, margins, shift, 3000)
    assert 0 < ((whole > 0) & (whole < 1)).sum() < size / 2 and whole.sum() == pytest.approx(3000)
    np.testing.assert_array_equal(in_parts(draws, margins, shift, 3000, [0, 100, 40_000, size]), whole)


def test_many_that_tie():
    """Most samples have one mean: where the threshold is theirs, all of them are inside with it."""
    random = np.random.default_rng(6)
    margins = [np.where(random.random((1, 3000)) < 0.8, 1, random.normal(1, 2, (1, 3000))).astype(np.float32)]
    margins[0] = margins[0].repeat(3, axis=0)
    draws = ranks.draw([np.ones(3)], 5)
    for top in (100, 300, 1500, 2700, 2950):
        plain = loop(draws, margins, np.zeros(3000), top)
        np.testing.assert_array_equal(in_parts(draws, margins, np.zeros(3000), top, [0, 1000, 3000]), plain)
