"""Trajectory scores against the CLD authors' own output, plain double loops, scipy, and data with planted answers."""

import itertools
import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from lossprint.scoring import correlation, trajectory
from lossprint.scoring.correlation import Undefined

GOLDEN = Path(__file__).parent.parent / "data" / "cld_official.npz"


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


def test_extra_memory_stays_small():
    losses, labels, val, val_labels = made_up(checkpoints=60, samples=40_000)
    means = trajectory.class_means(val, val_labels, 4)
    for call in (
        lambda: trajectory.cld(losses, labels, means),
        lambda: trajectory.correlations(losses, means[:, :1]),
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
    with pytest.raises(ValueError, match=r"\(11, 60\).*\(12, 60\)"):
        trajectory.forgetting(losses > 1, losses[1:] > 1)
    with pytest.raises(ValueError, match=r"\(12, 60\).*\(11, 4\)"):
        trajectory.correlations(losses, means[:-1])
    with pytest.raises(ValueError, match="differences"):
        trajectory.correlations(losses, means, on="steps")
    with pytest.raises(ValueError, match=r"\(2,\).*\(3, 4\)"):
        trajectory.el2n_norms(means[:3], np.array([0, 1]))
    with pytest.raises(ValueError, match=r"0\.\.3"):
        trajectory.el2n_norms(means[:3], np.array([0, 1, 4]))
    with pytest.raises(ValueError, match="are these logits"):
        trajectory.el2n_norms(means[:3], np.array([0, 1, 2]), probabilities=True)


# ---------------------------------------------------------------------------------------------- hard inputs


@pytest.mark.parametrize("on", ["differences", "losses"])
@pytest.mark.parametrize(
    "offset, scale", [(0, 1), (1e6, 50), (1e6, 2.5), (0, 1e-6), (0, 1e30), (-3e4, 1)], ids=lambda value: f"{value:g}"
)
def test_huge_and_tiny_losses_equal_a_plain_loop(on, offset, scale):
    losses, labels, val, val_labels = made_up(checkpoints=30)
    losses = (losses * np.float32(scale) + np.float32(offset)).astype(np.float32)
    val = (val * np.float32(scale) + np.float32(offset)).astype(np.float32)
    means = trajectory.class_means(val, val_labels, 4)
    r, reasons = trajectory.class_correlation(losses, labels, means, on=on)
    expected = loop_correlation(losses, labels, val, val_labels, on == "differences")
    known = np.isfinite(r)
    assert reasons.total == np.count_nonzero(~known) and ((offset == 1e6 and scale == 2.5) or known.all())
    np.testing.assert_allclose(r[known], expected[known], atol=1e-6)


def test_a_straight_line_with_a_ripple_keeps_its_digits():
    """The mean of the differences is 10,000 times their spread: a plain sum of squares would lose the ripple."""
    t = np.arange(50)
    ripple, other = np.random.default_rng(0).normal(size=(2, 50)) * 1e-5
    losses = np.stack([5 - 0.1 * t + ripple, 5 - 0.1 * t + other], axis=1)
    means = (5 - 0.1 * t + ripple + other)[:, None]
    expected = [scipy.stats.pearsonr(np.diff(x), np.diff(means[:, 0])).statistic for x in losses.T]
    np.testing.assert_allclose(trajectory.cld(losses, np.zeros(2, int), means), expected, atol=1e-9)


def test_rounding_to_float32_is_no_signal():
    rng = np.random.default_rng(0)
    levels = rng.uniform(0.01, 1e4, 500)
    with_rounding = (levels * (1 + rng.uniform(-4e-8, 4e-8, (40, 500)))).astype(np.float32)
    labels, means = np.zeros(500, int), rng.normal(size=(40, 1))
    for on in ("differences", "losses"):
        assert trajectory.undefined_reasons(with_rounding, labels, means, on=on) == Undefined(constant=500)


def test_planted_answers_are_found_and_blocks_and_threads_do_not_show():
    """Aligned, opposed and constant samples by turns, more of them than a block holds, on several threads."""
    checkpoints, samples = 40, 30_011
    assert checkpoints * samples > correlation.PARALLEL_ELEMENTS
    rng = np.random.default_rng(0)
    means = np.cumsum(rng.normal(size=(checkpoints, 3)), axis=0)
    labels = rng.integers(0, 3, samples)
    sign = np.tile([1.0, -1.0, 0.0], samples)[:samples]
    losses = (4 + sign * rng.uniform(0.5, 2, samples) * means[:, labels]).astype(np.float32)
    losses[7, 12_345] = np.inf
    expected = np.where(sign == 0, np.nan, sign)
    expected[12_345] = np.nan
    for on in ("differences", "losses"):
        r, reasons = trajectory.class_correlation(losses, labels, means, on=on)
        np.testing.assert_allclose(r, expected, atol=1e-5)
        assert reasons == Undefined(constant=np.count_nonzero(sign[np.arange(samples) != 12_345] == 0), missing=1)


# ---------------------------------------------------------------------------------------------- matrices


@pytest.mark.parametrize("on", ["differences", "losses"])
@pytest.mark.parametrize("samples", [1, 700])
def test_correlations_with_every_reference_equal_scipy_and_the_own_class_score(on, samples):
    losses, labels, val, val_labels = made_up(samples=samples)
    means = trajectory.class_means(val, val_labels, 4)
    r, reasons = trajectory.correlations(losses, means, on=on)
    assert r.shape == (samples, 4) and r.dtype == np.float32 and reasons == Undefined()
    own = trajectory.class_correlation(losses, labels, means, on=on)[0]
    np.testing.assert_allclose(r[np.arange(samples), labels], own, atol=1e-6)
    queries, _ = trajectory.correlations(losses, val, on=on)
    x, y = (np.diff(v, axis=0) if on == "differences" else v for v in (losses.astype(float), val.astype(float)))
    for i, j in itertools.product(range(min(samples, 20)), range(val.shape[1])):
        assert queries[i, j] == pytest.approx(scipy.stats.pearsonr(x[:, i], y[:, j]).statistic, abs=1e-6)


def test_correlations_count_their_undefined_pairs():
    losses, labels, means = nasty()  # two of three references are undefined
    for on in ("differences", "losses"):
        r, reasons = trajectory.correlations(losses, means, on=on)
        # 8 samples, two with gaps; of the other six, three have no differences that vary and two no losses.
        constant = 3 if on == "differences" else 2
        assert reasons == Undefined(constant=constant, class_mean=12, missing=6)
        assert np.count_nonzero(np.isnan(r)) == reasons.total
        np.testing.assert_allclose(
            r[:7, 0], trajectory.class_correlation(losses, labels, means, on=on)[0][:7], atol=1e-6
        )
    assert trajectory.correlations(losses[:2], means[:2])[1] == Undefined(too_few=24)
    r, reasons = trajectory.correlations(losses[:, :0], means)
    assert r.shape == (0, 3) and reasons == Undefined()
    assert trajectory.correlations(losses, means[:, :0])[0].shape == (8, 0)


# ---------------------------------------------------------------------------------------------- EL2N


def test_el2n_norms_by_hand_and_by_a_loop():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    norms = trajectory.el2n_norms(probabilities, np.array([0, 2, 0]), probabilities=True)
    np.testing.assert_allclose(norms, [math.sqrt(0.09 + 0.04 + 0.01), 0, math.sqrt(2)], rtol=1e-6)
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 5, (700, 90)).astype(np.float32), rng.integers(0, 90, 700)
    norms = trajectory.el2n_norms(logits, labels)
    assert norms.dtype == np.float32
    for i in range(0, 700, 50):
        weights = [math.exp(value) for value in logits[i].tolist()]
        error = [weight / sum(weights) - (j == labels[i]) for j, weight in enumerate(weights)]
        assert norms[i] == pytest.approx(math.sqrt(sum(e * e for e in error)), rel=1e-5)
    exp = np.exp(logits.astype(float))
    again = trajectory.el2n_norms(exp / exp.sum(axis=1, keepdims=True), labels, probabilities=True)
    np.testing.assert_allclose(again, norms, rtol=1e-6)


def test_el2n_norms_are_stable_and_missing_where_outputs_are():
    logits = np.array([[1e4, -1e4], [1e30, 1e30], [20, 0], [np.nan, 0], [np.inf, 0], [-np.inf, 3]], dtype=np.float32)
    norms = trajectory.el2n_norms(logits, np.array([0, 1, 0, 0, 0, 0]))
    tail = math.exp(-20) / (1 + math.exp(-20))
    expected = [0, math.sqrt(0.5), math.sqrt(2) * tail, np.nan, np.nan, math.sqrt(2)]
    np.testing.assert_allclose(norms, expected, rtol=1e-6)
    assert trajectory.el2n_norms(logits[:0], np.zeros(0, int)).shape == (0,)
    np.testing.assert_allclose(trajectory.el2n(np.array([[0.5, 1, 1], [1, np.nan, 0]])), [0.75, np.nan, 0.5])


def test_missing_values_are_counted_alike_in_all_means():
    values = np.array([[0.5, 1, np.inf, 2], [1, np.nan, 0, 2]], dtype=np.float32)
    nowhere = [False, True, True, False]
    for call in (trajectory.csl, trajectory.aum, trajectory.el2n, lambda v: trajectory.data_map(v)[1]):
        assert np.isnan(call(values)).tolist() == nowhere
    events = trajectory.forgetting(values > 0.7, ~np.isfinite(values))
    np.testing.assert_array_equal(events, [0, np.nan, np.nan, 0])
    assert trajectory.forgetting(np.array([[True, False]])).tolist() == [0, 1]  # one checkpoint
    assert trajectory.data_map(values[:1, :1])[1] == 0


# ------------------------------------------------------------------------------------------------- which way round


@pytest.mark.parametrize(
    "score",
    [trajectory.csl, trajectory.aum, trajectory.el2n, lambda *one, **how: trajectory.data_map(*one, **how)[1]],
)
def test_an_axis_can_be_named_and_a_matrix_that_looks_turned_is_warned_of(score):
    losses = np.random.default_rng(0).random((8, 300))
    plain = score(losses)
    np.testing.assert_array_equal(score(losses.T, axis=1), plain)
    np.testing.assert_array_equal(score(losses, axis=0), plain)
    with pytest.warns(UserWarning, match=r"\(300, 8\) are taken as 300 checkpoints of 8 samples: say axis=1"):
        assert score(losses.T).shape == (8,)
    with pytest.raises(ValueError, match="0 or 1, got 2"):
        score(losses, axis=2)


def test_losses_the_wrong_way_round_beside_labels_are_refused():
    losses, labels = np.random.default_rng(0).random((300, 8)), np.arange(300) % 3
    with pytest.raises(ValueError, match=r"\(300, 8\).*samples in rows"):
        trajectory.class_means(losses, labels, 3)
