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


def in_parts(draws, margins, shift, top, edges, some):
    """The confidence from parts of the samples between `edges`; brackets are judged by the samples `some`."""
    parts = [slice(*pair) for pair in itertools.pairwise(edges)]
    tallies, rounds = [], []

    def count(bracket):
        rounds.append(bracket)
        tallies[:] = [ranks.tally(draws, [one[:, part] for one in margins], shift[part], bracket) for part in parts]
        return tallies

    found = ranks.search(draws, ([one[:, some] for one in margins], shift[some]), top, len(shift), count)
    return np.concatenate([ranks.shares(one, found) for one in tallies]), len(rounds)


@pytest.mark.parametrize("sources", [1, 2])
@pytest.mark.parametrize("top", [0, 1, 7, 30, 58, 59, 60, 99])
def test_equal_to_a_loop(top, sources):
    draws, margins, shift = case(np.random.default_rng(top), sources=sources)
    plain = loop(draws, margins, shift, top)
    np.testing.assert_array_equal(ranks.confidence(draws, margins, shift, top), plain)
    for edges in ([0, 60], [0, 1, 29, 60], [0, 59, 60]):
        shares, rounds = in_parts(draws, margins, shift, top, edges, np.arange(60))
        np.testing.assert_array_equal(shares, plain)
        assert rounds == 1  # of a sample of all, the brackets are the thresholds


def test_brackets_of_a_random_sample_hold_the_thresholds_at_once():
    random = np.random.default_rng(3)
    size = 60_000
    margins, shift = [random.normal(1, 2, (6, size)).astype(np.float32)], random.normal(0, 0.3, size)
    draws = ranks.draw([np.ones(6)], 30)
    some = np.sort(random.permutation(size)[:8000])
    whole = ranks.confidence(draws, margins, shift, 3000)
    assert 0 < ((whole > 0) & (whole < 1)).sum() < size / 2 and whole.sum() == pytest.approx(3000)
    shares, rounds = in_parts(draws, margins, shift, 3000, [0, 100, 40_000, size], some)
    np.testing.assert_array_equal(shares, whole)
    bracket = ranks.brackets(draws, [margins[0][:, some]], shift[some], 3000, size)
    tallied = ranks.tally(draws, margins, shift, bracket)
    assert rounds == 1 and len(tallied.mean) / 30 < 0.06 * size


@pytest.mark.parametrize("some", [np.arange(290), np.arange(310, 600), np.arange(0)])
def test_missed_brackets_are_looked_for_again(some):
    """Brackets judged by the least or the most suspect samples, or by none: further rounds, the same result."""
    random = np.random.default_rng(5)
    margins = [np.sort(random.normal(0, 3, (1, 600)).astype(np.float32), axis=1).repeat(4, axis=0)]
    shift = np.zeros(600)
    draws = ranks.draw([np.ones(4)], 10)
    plain = loop(draws, margins, shift, 300)
    shares, rounds = in_parts(draws, margins, shift, 300, [0, 7, 600], some)
    np.testing.assert_array_equal(shares, plain)
    assert 1 <= rounds < 8 and (rounds > 1 or not len(some))


def test_many_that_tie():
    """Most samples have one mean: it is low end, high end or within a bracket, and all of them are inside with it."""
    random = np.random.default_rng(6)
    margins = [np.where(random.random((1, 3000)) < 0.8, 1, random.normal(1, 2, (1, 3000))).astype(np.float32)]
    margins[0] = margins[0].repeat(3, axis=0)
    draws = ranks.draw([np.ones(3)], 5)
    for top in (100, 300, 1500, 2700, 2950):
        plain = loop(draws, margins, np.zeros(3000), top)
        shares, _ = in_parts(draws, margins, np.zeros(3000), top, [0, 1000, 3000], np.arange(0, 3000, 7))
        np.testing.assert_array_equal(shares, plain)


def test_chosen_are_different_samples_in_order():
    assert ranks.chosen(1000, 30).tolist() == list(range(1000))
    some = ranks.chosen(5_000_000, 30)
    assert 200_000 < len(some) <= 1 << 18 and (np.diff(some) > 0).all() and some[-1] < 5_000_000
    assert abs(some.mean() / 2_500_000 - 1) < 0.01
