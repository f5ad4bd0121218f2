"""Aligned and conflicting partners against numpy's own correlations, with planted ties, gaps and constants."""

import numpy as np
import pytest

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
    with pytest.raises(ValueError, match="differences"):
        partners(losses, queries, 1, on="loss")
