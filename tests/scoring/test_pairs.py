"""Aligned and conflicting partners against numpy's own correlations, with planted ties, gaps and constants."""

import tracemalloc

import numpy as np
import pytest

from lossprint.scoring import pairs
from lossprint.scoring.pairs import partners


def made_up(checkpoints=15, samples=40, queries=30, seed=0):
    rng = np.random.default_rng(seed)
    fall = np.linspace(2.3, 0.2, checkpoints)[:, None]
    losses = fall * rng.uniform(-1, 2, samples) + rng.gamma(1.0, 0.3, (checkpoints, samples))
    others = fall * rng.uniform(-1, 2, queries) + rng.gamma(1.0, 0.3, (checkpoints, queries))
    return losses.astype(np.float32), others.astype(np.float32)


def loop_partners(losses, queries, k, allowed, differences):
    """(aligned, conflicting) lists of (query, correlation) for each sample, ties to the smaller query."""
    for i in range(losses.shape[1]):
        found = []
        for j in range(queries.shape[1]):
            x, y = losses[:, i].astype(float), queries[:, j].astype(float)
            if differences:
                x, y = np.diff(x), np.diff(y)
            with np.errstate(all="ignore"):
                r = np.corrcoef(x, y)[0, 1]
            if allowed(i, j) and np.isfinite(r):
                found.append((j, r))
        yield sorted(found, key=lambda one: (-one[1], one[0]))[:k], sorted(found, key=lambda one: (one[1], one[0]))[:k]


def check(found, expected, k):
    """Same correlations at each rank, and the same queries wherever the neighbours in rank differ clearly."""
    for i, (aligned, conflicting) in enumerate(expected):
        for side, index, r in (
            (aligned, found.aligned[i], found.aligned_correlation[i]),
            (conflicting, found.conflicting[i], found.conflicting_correlation[i]),
        ):
            assert (index[len(side) :] == -1).all() and np.isnan(r[len(side) :]).all()
            np.testing.assert_allclose(r[: len(side)], [value for _, value in side], atol=2e-6)
            assert index[: len(side)].tolist() == [j for j, _ in side]
    assert found.aligned.shape == found.conflicting_correlation.shape == (found.aligned.shape[0], k)


@pytest.mark.parametrize("on", ["losses", "differences"])
@pytest.mark.parametrize("same_class", [False, True])
@pytest.mark.parametrize("block", [None, 7])
def test_partners_equal_a_double_loop(on, same_class, block):
    losses, queries = made_up()
    labels, query_labels = np.arange(40) % 4, np.arange(30) % 3  # class 3 has no query
    found = partners(
        losses, queries, 5, labels=labels, query_labels=query_labels, same_class=same_class, on=on, block=block
    )

    def allowed(i, j):
        return not same_class or labels[i] == query_labels[j]

    check(found, list(loop_partners(losses, queries, 5, allowed, on == "differences")), 5)
    if same_class:
        assert (found.aligned[labels == 3] == -1).all()


def test_many_queries_equal_a_full_sort():
    losses, queries = made_up(checkpoints=20, samples=300, queries=1777, seed=1)
    found = partners(losses, queries, 10)
    r = np.corrcoef(losses.T.astype(float), queries.T.astype(float))[:300, 300:]
    highest, lowest = np.argsort(-r, axis=1)[:, :10], np.argsort(r, axis=1)[:, :10]
    np.testing.assert_allclose(found.aligned_correlation, np.take_along_axis(r, highest, 1), atol=2e-6)
    np.testing.assert_allclose(found.conflicting_correlation, np.take_along_axis(r, lowest, 1), atol=2e-6)
    # The named queries really have those correlations, and none is named twice.
    np.testing.assert_allclose(np.take_along_axis(r, found.aligned, 1), found.aligned_correlation, atol=2e-6)
    assert all(len(set(row)) == 10 for row in found.conflicting.tolist())


@pytest.mark.parametrize("block", [None, 3, 64])
def test_equal_queries_tie_and_the_smaller_index_comes_first(block):
    losses, queries = made_up(checkpoints=33, samples=200, queries=7)
    copies = np.tile(queries, (1, 60))  # query j stands at j, j + 7, j + 14, ...
    found = partners(losses, copies, 20, block=block)
    single = partners(losses, queries, 1)
    np.testing.assert_array_equal(found.aligned, single.aligned + 7 * np.arange(20))
    np.testing.assert_array_equal(found.conflicting, single.conflicting + 7 * np.arange(20))
    assert (found.aligned_correlation == found.aligned_correlation[:, :1]).all()


@pytest.mark.parametrize("block", [None, 1, 5])
@pytest.mark.parametrize("most", [1 << 18, 500])
def test_when_all_queries_tie_the_first_ones_win(block, most, monkeypatch):
    """More contenders than are computed together: equal, equal but for rounding, and equal but for the scale."""
    monkeypatch.setattr(pairs, "CONTENDERS", most)
    losses, queries = made_up(checkpoints=21, samples=30, queries=1)
    factors = np.random.default_rng(0).uniform(0.5, 2, 900)
    near = queries * (1 + np.random.default_rng(1).uniform(-2e-7, 2e-7, (21, 900)))
    r = np.corrcoef(losses.T.astype(float), queries[:, 0].astype(float))[:30, 30:]
    for many in (np.repeat(queries, 900, axis=1), queries * factors, near):
        found = partners(losses, many, 4, block=block)
        np.testing.assert_allclose(found.aligned_correlation, np.repeat(r, 4, axis=1), atol=2e-6)
        np.testing.assert_allclose(found.conflicting_correlation, np.repeat(r, 4, axis=1), atol=2e-6)
        again = partners(losses, many, 4)
        np.testing.assert_array_equal(found.aligned, again.aligned)
        np.testing.assert_array_equal(found.conflicting, again.conflicting)
        if many is not near:
            ties = (np.diff(found.aligned_correlation, axis=1) == 0) & (np.diff(found.aligned, axis=1) <= 0)
            assert not ties.any()
    exact = partners(losses, np.repeat(queries, 900, axis=1), 4, block=block)
    assert (exact.aligned == np.arange(4)).all() and (exact.conflicting == np.arange(4)).all()


def test_one_by_one_and_together_give_the_same_bits(monkeypatch):
    losses, queries = made_up(checkpoints=37, samples=50, queries=200)
    together = partners(losses, queries, 6)
    monkeypatch.setattr(pairs, "ROUNDING", 10.0)  # everything may be among the best
    monkeypatch.setattr(pairs, "CONTENDERS", 64)
    alone = partners(losses, queries, 6)
    for name in vars(together):
        np.testing.assert_array_equal(getattr(alone, name), getattr(together, name))


@pytest.mark.parametrize("samples, queries, equal", [(2_000, 3_000, True), (60_000, 2, False), (100, 20_000, False)])
def test_memory_is_bounded_whatever_the_shape_and_the_ties(samples, queries, equal, monkeypatch):
    monkeypatch.setattr(pairs, "BLOCK_ELEMENTS", 1 << 17)
    monkeypatch.setattr(pairs, "CONTENDERS", 1 << 14)
    losses, others = made_up(checkpoints=10, samples=samples, queries=1 if equal else queries)
    others = np.repeat(others, queries, axis=1) if equal else others
    tracemalloc.start()
    found = partners(losses[:, :200] if equal else losses, others, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    results = sum(column.nbytes for column in vars(found).values())
    # Beside the results and the queries' rows: some blocks of at most 16 rows of correlations or 2^17 elements.
    assert peak < results + 3 * others.nbytes + 10 * 4 * max(1 << 17, 16 * queries)


def test_a_class_of_one_sample_and_a_class_without_queries():
    losses, queries = made_up(samples=5, queries=4)
    labels, query_labels = np.array([2, 0, 0, 7, 0]), np.array([0, 2, 0, 9])
    found = partners(losses, queries, 2, labels=labels, query_labels=query_labels, same_class=True)
    assert found.aligned[0].tolist() == found.conflicting[0].tolist() == [1, -1]
    assert (found.aligned[3] == -1).all() and np.isnan(found.aligned_correlation[3]).all()
    assert set(found.aligned[[1, 2, 4]].ravel()) == {0, 2}


@pytest.mark.parametrize("on", ["losses", "differences"])
def test_a_planted_twin_and_its_mirror_image_are_found(on):
    losses, queries = made_up(checkpoints=30, samples=64, queries=500)
    at, mirror = np.arange(64) * 7, np.arange(64) * 7 + 3
    queries[:, at], queries[:, mirror] = 2 * losses + 1, 9 - losses
    found = partners(losses, queries, 3, on=on)
    np.testing.assert_array_equal(found.aligned[:, 0], at)
    np.testing.assert_array_equal(found.conflicting[:, 0], mirror)
    np.testing.assert_allclose(found.aligned_correlation[:, 0], 1, atol=1e-6)
    np.testing.assert_allclose(found.conflicting_correlation[:, 0], -1, atol=1e-6)


def test_constant_and_incomplete_trajectories_have_no_partners_and_are_nobodys():
    losses, queries = made_up()
    losses[:, 3], losses[4, 5] = 0.7, np.nan
    queries[:, 2], queries[1, 9], queries[0, 11] = 1.5, np.nan, np.inf
    found = partners(losses, queries, 29)
    assert (found.aligned[[3, 5]] == -1).all() and np.isnan(found.conflicting_correlation[[3, 5]]).all()
    rest = np.delete(np.arange(40), [3, 5])
    assert not np.isin(found.aligned[rest], [2, 9, 11]).any()
    assert (np.sort(found.aligned[rest], axis=1)[:, :3] == [-1, -1, 0]).all()  # 27 of 30 queries are left


def test_more_partners_asked_for_than_there_are():
    losses, queries = made_up(queries=3)
    found = partners(losses, queries, 5)
    assert (found.aligned[:, :3] >= 0).all() and (found.aligned[:, 3:] == -1).all()
    np.testing.assert_array_equal(found.aligned[:, :3], found.conflicting[:, 2::-1])
    assert (partners(losses, queries[:, :0], 2).aligned == -1).all()
    assert (partners(losses[:1], queries[:1], 2).aligned == -1).all()  # one checkpoint: no correlation
    assert partners(losses[:, :0], queries, 2).aligned.shape == (0, 2)


def test_errors_state_both_shapes():
    losses, queries = made_up()
    with pytest.raises(ValueError, match=r"\(15, 40\).*\(14, 30\)"):
        partners(losses, queries[:-1], 5)
    with pytest.raises(ValueError, match="needs labels"):
        partners(losses, queries, 5, same_class=True)
    with pytest.raises(ValueError, match=r"\(3,\).*\(30,\).*\(40,\)"):
        partners(losses, queries, 5, labels=np.zeros(3, int), query_labels=np.zeros(30, int), same_class=True)
    with pytest.raises(ValueError, match="at least 1"):
        partners(losses, queries, 0)
    with pytest.raises(ValueError, match="block must be"):
        partners(losses, queries, 1, block=0)
    with pytest.raises(ValueError, match="differences"):
        partners(losses, queries, 1, on="loss")
