"""Trajectory scores against the CLD authors' own output, plain double loops, scipy, and data with planted answers."""

import itertools
import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from lossprint.scoring import trajectory
from lossprint.scoring.trajectory import Stream, Undefined

GOLDEN = Path(__file__).parent / "data" / "cld_official.npz"


def made_up(checkpoints=12, samples=60, validation=40, classes=4, seed=0):
    """losses (E, N), labels (N,), validation losses (E, M), validation labels (M,): falling, noisy, float32."""
    rng = np.random.default_rng(seed)
    fall = np.linspace(2.3, 0.2, checkpoints)[:, None]
    losses = (fall * rng.uniform(0.3, 2, samples) + rng.gamma(1.0, 0.2, (checkpoints, samples))).astype(np.float32)
    val = (fall * rng.uniform(0.3, 2, validation) + rng.gamma(1.0, 0.2, (checkpoints, validation))).astype(np.float32)
    return losses, rng.integers(0, classes, samples), val, np.arange(validation) % classes


def loop_pearson(x, y):
    """Pearson's r of two short lists, as in the textbook."""
    mx, my = sum(x) / len(x), sum(y) / len(y)
    sxy = sum((a - mx) * (b - my) for a, b in zip(x, y))
    return sxy / math.sqrt(sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y))


def loop_correlation(losses, labels, val, val_labels, differences):
    """CLD or LTC with a loop over samples, classes and checkpoints."""
    scores = []
    for i in range(losses.shape[1]):
        own = [j for j in range(val.shape[1]) if val_labels[j] == labels[i]]
        mean = [sum(float(val[t, j]) for j in own) / len(own) for t in range(len(val))]
        mine = [float(value) for value in losses[:, i]]
        if differences:
            mean = [after - before for before, after in itertools.pairwise(mean)]
            mine = [after - before for before, after in itertools.pairwise(mine)]
        scores.append(loop_pearson(mine, mean))
    return np.array(scores)


def test_cld_orders_each_class_as_the_authors_code_does():
    golden = np.load(GOLDEN)
    losses, val = golden["train_losses"].T, golden["val_losses"].T
    labels, lengths = golden["train_labels"], golden["order_lengths"]
    means = trajectory.class_means(val, golden["val_labels"], 20)
    scores = trajectory.cld(losses, labels, means)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    for c in range(20):
        expected = golden["order_concatenated"][starts[c] : starts[c + 1]]
        members = np.flatnonzero(labels == c)
        if c in (18, 19):  # no validation sample: the authors' code skips the class
            assert len(expected) == 0 and np.isnan(scores[members]).all()
            continue
        defined = members[np.isfinite(scores[members])]
        assert set(members) - set(defined) <= {7, 8}
        expected = np.array([i for i in expected if i not in (7, 8)])
        assert set(expected) == set(defined)
        # Ties may stand in either order: what must agree is the falling sequence of scores.
        np.testing.assert_allclose(scores[expected], np.sort(scores[defined])[::-1], rtol=0, atol=1e-9)
    assert np.isnan(scores[[7, 8]]).all()
    without = int(np.isin(labels, (18, 19)).sum())
    reasons = trajectory.undefined_reasons(losses, labels, means)
    assert reasons == Undefined(constant=2, class_mean=without)
    assert np.isnan(scores).sum() == reasons.total


@pytest.mark.parametrize("differences", [True, False])
def test_correlations_equal_a_plain_loop_and_scipy(differences):
    losses, labels, val, val_labels = made_up()
    means = trajectory.class_means(val, val_labels, 4)
    scores = (trajectory.cld if differences else trajectory.ltc)(losses, labels, means)
    np.testing.assert_allclose(scores, loop_correlation(losses, labels, val, val_labels, differences), atol=1e-9)
    x, y = losses.astype(float), means[:, labels]
    if differences:
        x, y = np.diff(x, axis=0), np.diff(y, axis=0)
    expected = [scipy.stats.pearsonr(x[:, i], y[:, i]).statistic for i in range(x.shape[1])]
    np.testing.assert_allclose(scores, expected, atol=1e-9)


def test_class_means_are_plain_means_and_leave_out_incomplete_samples():
    losses = np.array([[1, 3, 10, 4], [2, 4, 20, np.nan]], dtype=np.float32)
    means = trajectory.class_means(losses, np.array([0, 0, 2, 2]), 4)
    np.testing.assert_array_equal(means, [[2, np.nan, 10, np.nan], [3, np.nan, 20, np.nan]])


def test_csl_aum_forgetting_and_data_map_by_hand():
    losses = np.log(np.array([[2, 4], [4, 4], [2, 4]], dtype=np.float32))
    np.testing.assert_allclose(trajectory.csl(losses), [np.log(2) * 4 / 3, np.log(4)], rtol=1e-6)
    mean, spread = trajectory.data_map(losses)
    np.testing.assert_allclose(mean, [(0.5 + 0.25 + 0.5) / 3, 0.25], rtol=1e-6)
    np.testing.assert_allclose(spread, [np.std([0.5, 0.25, 0.5]), 0], atol=1e-6)
    margins = np.array([[1, -2], [3, -4]], dtype=np.float32)
    np.testing.assert_allclose(trajectory.aum(margins), [2, -3])
    correct = np.array([[1, 0, 1, 0], [0, 0, 1, 1], [1, 0, 1, 1], [0, 0, 1, 1]], dtype=bool)
    assert trajectory.forgetting(correct).tolist() == [2, 4, 0, 0]


def nasty():
    """Eight trajectories over six checkpoints, most of them with an undefined score, and class means for 3 classes."""
    ramp = np.array([5, 3, 2.5, 1, 0.9, 0.2], dtype=np.float32)
    line = (3 - 0.4 * np.arange(6)).astype(np.float32)  # its differences are constant but for rounding
    noise = np.float32(2.3) + np.float32(2.3e-7) * np.array([0, 1, 0, 1, 1, 0], dtype=np.float32)
    hole = np.where(np.arange(6) == 3, np.nan, ramp)
    infinite = np.where(np.arange(6) == 3, np.inf, ramp)
    tiny = ramp * np.float32(1e-6)
    losses = np.stack([ramp, np.full(6, 2.3), line, noise, hole, infinite, tiny, ramp], axis=1).astype(np.float32)
    means = np.stack([ramp[::-1], np.full(6, np.nan), np.full(6, 0.7)], axis=1).astype(np.float64)
    return losses, np.array([0, 0, 0, 0, 0, 0, 0, 1]), means


def test_undefined_is_nan_and_counted():
    losses, labels, means = nasty()
    scores = trajectory.cld(losses, labels, means)
    assert np.isfinite(scores).tolist() == [True, False, False, False, False, False, True, False]
    assert scores[0] == pytest.approx(scores[6], abs=1e-6)
    assert trajectory.undefined_reasons(losses, labels, means) == Undefined(constant=3, class_mean=1, missing=2)
    raw = trajectory.ltc(losses, labels, means)
    assert np.isfinite(raw).tolist() == [True, False, True, False, False, False, True, False]
    assert trajectory.undefined_reasons(losses, labels, means, on="losses") == Undefined(2, 1, 2)
    # Class 2's mean is constant: undefined for everyone in it.
    assert np.isnan(trajectory.cld(losses, np.full(8, 2), means)).all()
    assert np.isnan(trajectory.csl(losses)).tolist() == [False] * 4 + [True] * 2 + [False] * 2
    assert np.isnan(trajectory.data_map(losses)[0]).tolist() == [False] * 4 + [True] * 2 + [False] * 2


@pytest.mark.parametrize("checkpoints", [1, 2, 3])
@pytest.mark.parametrize("samples", [0, 1, 5])
def test_few_checkpoints_and_few_samples(checkpoints, samples):
    losses, labels, val, val_labels = made_up(checkpoints, samples)
    means = trajectory.class_means(val, val_labels, 4)
    assert np.isfinite(trajectory.cld(losses, labels, means)).all() == (checkpoints > 2 or samples == 0)
    assert np.isfinite(trajectory.ltc(losses, labels, means)).all() == (checkpoints > 1 or samples == 0)
    if checkpoints == 1:
        assert trajectory.undefined_reasons(losses, labels, means) == Undefined(too_few=samples)
    assert trajectory.csl(losses).shape == trajectory.data_map(losses)[1].shape == (samples,)


def test_scores_follow_the_samples_whatever_their_order_and_memory_layout():
    losses, labels, val, val_labels = made_up(samples=1000)
    means = trajectory.class_means(val, val_labels, 4)
    order = np.random.default_rng(1).permutation(1000)
    scores = trajectory.cld(losses, labels, means)
    np.testing.assert_allclose(trajectory.cld(losses[:, order], labels[order], means), scores[order], atol=1e-12)
    np.testing.assert_allclose(trajectory.cld(np.asfortranarray(losses), labels, means), scores, atol=1e-12)
    shuffled = np.random.default_rng(2).permutation(val.shape[1])
    again = trajectory.class_means(val[:, shuffled], val_labels[shuffled], 4)
    np.testing.assert_allclose(again, means, atol=1e-12)


def batch_columns(losses, labels, means, margins):
    mean, spread = trajectory.data_map(losses)
    return {
        "cld": trajectory.cld(losses, labels, means),
        "ltc": trajectory.ltc(losses, labels, means),
        "csl": trajectory.csl(losses),
        "aum": trajectory.aum(margins),
        "forgetting": trajectory.forgetting(margins > 0),
        "p_mean": mean,
        "p_std": spread,
    }


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_stream_equals_batch_form(offset):
    losses, labels, val, val_labels = made_up(checkpoints=40, samples=20_000)
    losses += np.float32(offset)
    means = trajectory.class_means(val, val_labels, 4)
    margins = np.random.default_rng(3).normal(size=losses.shape).astype(np.float32)
    stream = Stream(labels, 4)
    for step in zip(losses, means, margins):
        stream.update(*step)
    expected = batch_columns(losses, labels, means, margins)
    found = stream.result()
    assert list(found) == list(Stream.COLUMNS)
    for name, column in found.items():
        np.testing.assert_allclose(column, expected[name], atol=1e-5, rtol=1e-5, err_msg=name)


def test_stream_is_undefined_where_the_batch_form_is_and_says_why():
    losses, labels, means = nasty()
    stream = Stream(labels, 3, columns=("cld", "ltc", "csl", "p_std"))
    for checkpoint, step in enumerate(zip(losses, means), start=1):
        stream.update(*step)
        if checkpoint < 3:
            assert stream.undefined_reasons() == Undefined(too_few=8)
            assert np.isnan(stream.result()["cld"]).all()
    found = stream.result()
    np.testing.assert_allclose(found["cld"], trajectory.cld(losses, labels, means), atol=1e-5)
    np.testing.assert_allclose(found["ltc"], trajectory.ltc(losses, labels, means), atol=1e-5)
    np.testing.assert_allclose(found["csl"], trajectory.csl(losses), rtol=1e-6)
    np.testing.assert_allclose(found["p_std"], trajectory.data_map(losses)[1], atol=1e-6)
    for on in ("differences", "losses"):
        assert stream.undefined_reasons(on) == trajectory.undefined_reasons(losses, labels, means, on=on)


def test_streams_of_shards_merge_into_the_stream_of_all():
    losses, labels, val, val_labels = made_up(samples=50)
    means = trajectory.class_means(val, val_labels, 4)
    margins = 1 - losses
    whole, left, right = Stream(labels, 4), Stream(labels[:20], 4), Stream(labels[20:], 4)
    for t in range(6):
        whole.update(losses[t], means[t], margins[t])
        left.update(losses[t, :20], means[t], margins[t, :20])
        right.update(losses[t, 20:], means[t], margins[t, 20:])
    with pytest.raises(ValueError, match="0 of 4"):
        left.merge(Stream(labels[20:], 4))
    merged = left.merge(right)
    for t in range(6, 12):  # a merged stream goes on like any other
        whole.update(losses[t], means[t], margins[t])
        merged.update(losses[t], means[t], margins[t])
    for name, column in whole.result().items():
        np.testing.assert_array_equal(merged.result()[name], column, err_msg=name)


def test_stream_without_margins_has_no_margin_scores():
    losses, labels, val, val_labels = made_up()
    means = trajectory.class_means(val, val_labels, 4)
    stream = Stream(labels, 4)
    stream.update(losses[0], means[0])
    assert list(stream.result()) == ["cld", "ltc", "csl", "p_mean", "p_std"]
    other = Stream(labels, 4)
    other.update(losses[0], means[0], losses[0])
    with pytest.raises(ValueError, match="margins came at 1"):
        other.update(losses[1], means[1])


def test_extra_memory_stays_small():
    losses, labels, val, val_labels = made_up(checkpoints=60, samples=40_000)
    means = trajectory.class_means(val, val_labels, 4)
    for call in (
        lambda: trajectory.cld(losses, labels, means),
        lambda: trajectory.ltc(losses, labels, means),
        lambda: trajectory.csl(losses),
        lambda: trajectory.data_map(losses),
        lambda: trajectory.class_means(losses, labels, 4),
    ):
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 0.2 * losses.nbytes


def test_errors_state_both_shapes():
    losses, labels, val, val_labels = made_up()
    means = trajectory.class_means(val, val_labels, 4)
    with pytest.raises(ValueError, match=r"\(59,\).*\(12, 60\)"):
        trajectory.cld(losses, labels[:-1], means)
    with pytest.raises(ValueError, match=r"\(12, 60\).*\(11, 4\)"):
        trajectory.cld(losses, labels, means[:-1])
    with pytest.raises(ValueError, match=r"0\.\.2"):
        trajectory.cld(losses, labels, means[:, :3])
    with pytest.raises(ValueError, match=r"float64.*\(60,\)|\(60,\)"):
        trajectory.csl(losses[0])
    with pytest.raises(ValueError, match="losses"):
        trajectory.undefined_reasons(losses, labels, means, on="loss")
    with pytest.raises(ValueError, match=r"bool array.*float32"):
        trajectory.forgetting(losses)
    with pytest.raises(ValueError, match=r"\(3,\).*\(4,\)"):
        Stream(labels, 4).update(losses[0], means[0, :3])
    with pytest.raises(ValueError, match=r"there are.*cld"):
        Stream(labels, 4, columns=("cdl",))
