"""Label-error ranking and suggestions: worked by hand, against a loop over real softmax outputs, and planted."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from lossprint.scoring.labels import (
    LabelErrors,
    by_class,
    checkpoint_weights,
    clear,
    confusion_excess,
    confusions,
    fit,
    label_errors,
    level,
    lowered,
    newness,
    rank_confidence,
    ranked,
    triage,
    with_prior,
)


def recorded(logits, labels):
    """(losses, margins, predicted), each (E, N), as a run stores them, from logits (E, N, C)."""
    logits = np.asarray(logits, dtype=np.float64)
    own = np.take_along_axis(logits, np.asarray(labels)[None, :, None], axis=2)[:, :, 0]
    others = logits.copy()
    np.put_along_axis(others, np.broadcast_to(np.asarray(labels)[None, :, None], (*logits.shape[:2], 1)), -np.inf, 2)
    losses = np.logaddexp.reduce(logits, axis=2) - own
    return losses.astype(np.float32), (own - others.max(axis=2)).astype(np.float32), logits.argmax(axis=2)


def test_two_samples_by_hand():
    # Probabilities of three classes at two checkpoints; the first sample's label is 0, the second's 2.
    p = np.array([[[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]], [[0.2, 0.7, 0.1], [0.6, 0.1, 0.3]]])
    losses, margins, predicted = recorded(np.log(p), [0, 2])
    found = label_errors(losses, np.array([0, 2]), margins=margins, predicted=predicted)
    margin = np.array([np.log(0.5 / 0.3) + np.log(0.2 / 0.7), np.log(0.1 / 0.8) + np.log(0.3 / 0.6)]) / 2
    np.testing.assert_allclose(found.severity, (1 - margin / (1 + np.abs(margin))) / 2, rtol=1e-6)
    assert (found.severity > 0.5).all()
    assert found.suggested.tolist() == [1, 1]
    np.testing.assert_allclose(found.probability, [0.7 / 2, 0.8 / 2], rtol=1e-6)
    later = label_errors(losses, np.array([0, 2]), margins=margins, predicted=predicted, weights=[0, 1])
    assert later.suggested.tolist() == [1, 0]
    margin = np.log([0.2 / 0.7, 0.3 / 0.6])
    np.testing.assert_allclose(later.severity, (1 - margin / (1 - margin)) / 2, rtol=1e-6)
    bare = label_errors(losses, np.array([0, 2]), weights=[0, 1])
    margin = np.log([0.2 / 0.8, 0.3 / 0.7])
    np.testing.assert_allclose(bare.severity, (1 - margin / (1 - margin)) / 2, rtol=1e-6)
    assert bare.suggested.tolist() == [-1, -1]
    np.testing.assert_allclose(later.probability, [0.7, 0.6], rtol=1e-6)


def test_equal_to_a_loop_over_the_probabilities():
    rng = np.random.default_rng(0)
    checkpoints, samples, classes = 9, 300, 7
    logits = rng.normal(size=(checkpoints, samples, classes)) * rng.gamma(2, 20, size=(checkpoints, 1, 1))
    labels = rng.integers(0, classes, samples)
    losses, margins, predicted = recorded(logits, labels)
    weights = np.array([0, 0, *rng.random(checkpoints - 2)])
    found = label_errors(losses, labels, margins=margins, predicted=predicted, weights=weights)
    p = np.exp(logits - np.logaddexp.reduce(logits, axis=2)[:, :, None])
    for i in range(samples):
        total, given, totals, shares = 0.0, 0.0, [0.0] * classes, [0.0] * classes
        for t in range(checkpoints):
            others = [logits[t, i, c] for c in range(classes) if c != labels[i]]
            total += weights[t] * (logits[t, i, labels[i]] - max(others))
            given += weights[t] * p[t, i, labels[i]]
            best = int(np.argmax(p[t, i]))
            shares[best] += weights[t]
            if best != labels[i]:
                totals[best] += weights[t] * p[t, i, best]
        margin = total / weights.sum()
        assert found.margin[i] == pytest.approx(margin, rel=1e-5, abs=1e-5)
        assert found.severity[i] == pytest.approx((1 - margin / (1 + abs(margin))) / 2, abs=1e-6)
        assert found.given_probability[i] == pytest.approx(given / weights.sum(), abs=1e-4)
        if max(totals) == 0:
            assert found.suggested[i] == -1 and np.isnan(found.probability[i]) and found.stability[i] == 0
        else:
            assert found.probability[i] == pytest.approx(max(totals) / weights.sum(), abs=1e-4)
            assert totals[found.suggested[i]] == pytest.approx(max(totals), abs=1e-4)
            assert found.stability[i] == pytest.approx(shares[found.suggested[i]] / weights.sum())
    assert (found.severity >= 0).all() and (found.severity <= 1).all() and (found.suggested != labels).all()


def test_planted_errors_come_first_with_the_right_suggestion():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 10, 500)
    labels = truth.copy()
    labels[:25] = (truth[:25] + 1 + rng.integers(0, 9, 25)) % 10
    logits = rng.normal(size=(12, 500, 10))
    logits[:, np.arange(500), truth] += np.linspace(0, 6, 12)[:, None]
    losses, margins, predicted = recorded(logits, labels)
    found = label_errors(losses, labels, margins=margins, predicted=predicted, weights=np.arange(12) >= 3)
    assert set(np.argsort(-found.severity)[:25]) == set(range(25))
    assert (found.suggested[:25] == truth[:25]).all() and (found.severity[:25] > 0.5).all()
    plain = label_errors(losses, labels, weights=np.arange(12) >= 3)
    assert set(np.argsort(-plain.severity)[:25]) == set(range(25)) and (plain.suggested == -1).all()


def test_extreme_and_missing_values():
    losses = np.array([[0, 200, 1e-8, np.nan, 2], [0, 150, -1e-7, 1, np.inf]], dtype=np.float32)
    margins = np.array([[90, -200, 30, 1, -3], [90, -150, 120, 1, -3]], dtype=np.float32)
    predicted = np.array([[0, 1, 0, 1, 1], [0, 1, 0, 1, -1]])
    found = label_errors(losses, np.zeros(5, int), margins=margins, predicted=predicted)
    mean = np.array([90, -175, 75])
    np.testing.assert_allclose(found.severity[:3], (1 - mean / (1 + np.abs(mean))) / 2, rtol=1e-6)
    assert (found.severity[:3] >= 0).all() and (found.severity[:3] <= 1).all()
    assert found.suggested.tolist() == [-1, 1, -1, -1, -1]
    assert found.probability[1] == pytest.approx(1) and np.isnan(found.probability[[0, 2, 3, 4]]).all()
    assert np.isnan(found.severity).tolist() == [False, False, False, True, True]
    # Only the counted checkpoints need their losses.
    assert np.isfinite(label_errors(losses, np.zeros(5, int), weights=[0, 2]).severity[3])
    none = label_errors(losses[:, :0], np.zeros(0, int), margins=margins[:, :0], predicted=predicted[:, :0])
    assert none.severity.shape == none.suggested.shape == (0,)


def test_blocks_do_not_show(monkeypatch):
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(size=(6, 101, 5)), rng.integers(0, 5, 101)
    losses, margins, predicted = recorded(logits, labels)
    whole = label_errors(losses, labels, margins=margins, predicted=predicted)
    monkeypatch.setattr("lossprint.scoring.labels.BLOCK_ELEMENTS", 60)
    parts = label_errors(losses, labels, margins=margins, predicted=predicted)
    for name in ("severity", "margin", "suggested", "probability", "given_probability", "stability"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_checkpoints_count_by_their_validation_loss():
    means = np.array([2.0, 1.0, 0.5, 0.6, 1.0])
    weights = checkpoint_weights(np.stack([means - 0.1, means + 0.1], axis=1))
    expected = np.exp(-(means - 0.5) / 0.1)
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-6)
    missing = np.stack([means, means + 0.2], axis=1)
    missing[3] = np.nan  # nothing is known of this checkpoint
    weights = checkpoint_weights(missing)
    assert weights[3] == 0 and weights.argmax() == 2 and weights.sum() == pytest.approx(1)
    assert checkpoint_weights(np.zeros((4, 0))).tolist() == [0, 0, 0.5, 0.5]
    assert checkpoint_weights(np.zeros((2, 3))).tolist() == [0.5, 0.5]
    assert checkpoint_weights(np.ones((1, 3))).tolist() == [1]
    with pytest.raises(ValueError, match="with a checkpoint"):
        checkpoint_weights(np.zeros((0, 3)))


def one_checkpoint(p, labels):
    """`label_errors` of one checkpoint with the probabilities p (N, C)."""
    losses, margins, predicted = recorded(np.log(np.asarray(p))[None], labels)
    return label_errors(losses, np.asarray(labels), margins=margins, predicted=predicted)


def test_a_pair_that_annotators_mix_up_counts_more_than_the_networks_own_mistakes():
    # 100 samples labelled 0: the network prefers 1 for 20 and 2 for 20. On validation samples it makes the second
    # mistake as often, the first one never: that one is the annotators'.
    sure = [0.8, 0.1, 0.1]
    p = [[0.3, 0.6, 0.1]] * 20 + [[0.3, 0.1, 0.6]] * 20 + [sure] * 60
    labels = np.zeros(100, int)
    found = one_checkpoint(p, labels)
    val_p = [[0.3, 0.1, 0.6]] * 20 + [sure] * 80
    excess = confusion_excess(found, labels, one_checkpoint(val_p, labels), labels, 3)
    rate, val_rate = 0.4 / 2, 0.2 / 2
    assert excess[0, 1] == pytest.approx(np.log((20 + 10) / (100 * rate + 10) / (10 / (100 * val_rate + 10))))
    assert excess[0, 1] > excess[0, 2] and (excess[1:] == 0).all()
    shifted = with_prior(found, labels, excess)
    np.testing.assert_allclose(shifted.margin[:20], found.margin[:20] - excess[0, 1] / 2)
    assert (shifted.severity[:20] > shifted.severity[20:40].max()).all()
    assert (shifted.margin[40:] == found.margin[40:]).all()  # nothing was suggested instead
    # Validation labels with the same errors explain them: nothing changes.
    same = confusion_excess(found, labels, found, labels, 3)
    np.testing.assert_allclose(same, 0, atol=1e-12)
    none = one_checkpoint(np.empty((0, 3)), np.empty(0, int))
    assert np.isfinite(confusion_excess(found, labels, none, np.empty(0, int), 3)).all()


def test_triage_of_planted_cases():
    wrong = np.tile([0.1, 0.8, 0.1], (4, 1))
    undecided = np.array([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    hard = np.array([[0.4, 0.3, 0.3]] * 4)
    easy = np.array([[0.9, 0.05, 0.05]] * 4)
    logits = np.log(np.stack([wrong, undecided, hard, easy], axis=1))
    losses, margins, predicted = recorded(logits, np.zeros(4, int))
    found = label_errors(losses, np.zeros(4, int), margins=margins, predicted=predicted)
    assert triage(found).tolist() == ["wrong", "ambiguous", "hard", ""]
    losses[0] = np.nan
    missing = label_errors(losses, np.zeros(4, int), margins=margins, predicted=predicted)
    assert triage(missing).tolist() == [""] * 4


def test_confidence_is_the_share_of_resampled_checkpoints():
    margins = np.zeros((8, 5), np.float32)
    margins[:, 0], margins[:, 1] = -9, -4  # always suspect
    margins[:, 2] = [-9, 0, 0, 0, 0, 0, 0, 0]  # suspect at one checkpoint only
    margins[3, 4] = np.nan
    weights = np.full(8, 1 / 8)
    share = rank_confidence(margins, np.zeros(5), weights, 2)
    assert share[:2].tolist() == [1, 1] or share[0] == 1
    assert share[2] < 0.2 and share[3] == 0 and np.isnan(share[4])
    assert rank_confidence(margins, np.array([0, 9, -9, 0, 0]), weights, 2)[:3].tolist() == [1, 0, 1]
    assert rank_confidence(margins, np.zeros(5), weights, 0)[0] == 0
    # A second seed that ranks the other way halves it; its own number of checkpoints is fine.
    other = np.zeros((3, 5), np.float32)
    other[:, 3], other[:, 2] = -9, -8
    both = rank_confidence([margins, other], np.zeros(5), [weights, np.ones(3)], 2)
    assert both[0] == 0.5 and both[3] == 0.5
    again = rank_confidence([margins, other], np.zeros(5), [weights, np.ones(3)], 2)
    np.testing.assert_array_equal(both, again)


def test_errors_state_both_shapes():
    losses, labels = np.ones((3, 4), np.float32), np.zeros(4, int)
    with pytest.raises(ValueError, match=r"\(3, 4\).*\(5,\)"):
        label_errors(losses, np.zeros(5, int))
    with pytest.raises(ValueError, match=r"margins \(2, 4\).*\(3, 4\)"):
        label_errors(losses, labels, margins=losses[1:])
    for wrong in ([1, 1], [0, 0, 0], [1, -1, 1], [1, np.nan, 1]):
        with pytest.raises(ValueError, match="3 numbers of 0 or more, not all 0"):
            label_errors(losses, labels, weights=wrong)


def learnt_by_heart(rng, checkpoints=24, samples=600, classes=6, hidden=150):
    """Logits (E, N, C) of a training that names true classes first and then learns given labels by heart, wrong ones
    too; the last `hidden` samples are for validation, which it goes on to name better and better."""
    true = rng.integers(0, classes, samples)
    wrong = (rng.random(samples) < 0.1) & (np.arange(samples) < samples - hidden)
    labels = np.where(wrong, (true + 1) % classes, true)
    ease = rng.random(samples)[:, None]
    steps = np.arange(checkpoints)[:, None, None] / checkpoints
    known = 6 * np.minimum(2 * steps, 1) * ease * np.eye(classes)[true]
    heart = np.broadcast_to(np.clip(2 * steps - 0.7, 0, 1), (checkpoints, samples, 1)).copy()
    heart[:, samples - hidden :] = 0
    logits = rng.normal(size=(checkpoints, samples, classes)) + (1 - heart) * known
    better = np.where(np.arange(samples)[:, None] < samples - hidden, 0, 2 * steps)  # what is new keeps improving
    return logits + heart * 10 * np.eye(classes)[labels] + better * np.eye(classes)[true], labels, wrong


@pytest.mark.parametrize("seed", range(3))
def test_learning_by_heart_takes_nothing_from_the_ranking(seed):
    logits, labels, wrong = learnt_by_heart(np.random.default_rng(seed))
    losses, margins, predicted = recorded(logits, labels)
    train, val = slice(0, 450), slice(450, None)

    def ranking(checkpoints: int, with_newness: bool = True) -> float:
        rows = slice(0, checkpoints)
        fits = [fit(losses[rows, part], margins[rows, part]) for part in (train, val)]
        weights = checkpoint_weights(losses[rows, val], newness(*fits) if with_newness else None)
        plain, seen = (
            label_errors(
                losses[rows, part], labels[part], margins=margins[rows, part], predicted=predicted[rows, part],
                weights=weights,
            )
            for part in (train, val)
        )  # fmt: skip
        excess = confusion_excess(plain, labels[train], seen, labels[val], 6)
        found = ranked(plain, labels[train], excess, confusions(plain, labels[train], 6).usual)
        return average_precision_score(wrong[train], found.severity)

    assert ranking(24) > ranking(24, with_newness=False) + 0.4
    assert ranking(24) > 0.95 * ranking(12)


def test_newness_by_hand():
    train = fit(np.array([[1.0, 3.0], [0.1, np.nan]]), np.array([[-1.0, 2.0], [1.0, np.nan]]))
    assert train.losses.tolist() == [4, 0.1] and train.counted.tolist() == [2, 1]
    assert train.missed.tolist() == [1, 0] and train.judged.tolist() == [2, 1]
    val = fit(np.array([[1.0, 1.0], [0.5, 0.5]]), np.array([[-1.0, 2.0], [-1.0, -2.0]]))
    # losses 2 : 1 and .1 : .5; missed (1 + 1) / (2 + 2) on both sides, then (0 + 1) / (1 + 2) and (2 + 1) / (2 + 2)
    np.testing.assert_allclose(newness(train, val), [1.0, 0.2 * (1 / 3) / 0.75])
    both = train + train
    np.testing.assert_allclose(newness(both, val)[0], 1.0)
    bare = newness(fit(np.full((2, 4), 0.5)), fit(np.ones((2, 4))))
    np.testing.assert_allclose(bare, [0.5, 0.5])
    zero = newness(fit(np.zeros((2, 4))), fit(np.zeros((2, 4))))
    assert (zero > 0).all() and np.isfinite(zero).all()
    assert checkpoint_weights(np.ones((2, 3)), np.array([0.75, 0.25])).tolist() == [0.75, 0.25]


def test_flags_count_class_by_class():
    # Class 0 is always named surely, class 1 never: the same margin is less of a reason to doubt a label of class 1.
    labels = np.array([0] * 40 + [1] * 40)
    given = np.where(labels == 0, 0.9, 0.3)
    found = LabelErrors(np.zeros(80), np.full(80, 1.0), 1 - labels, 1 - given, given, np.ones(80))
    counts = confusions(found, labels, 2)
    np.testing.assert_allclose(counts.given, [36, 12], atol=1e-5)
    np.testing.assert_allclose(counts.usual, [(36 + 5 * 0.6) / 45, (12 + 5 * 0.6) / 45], atol=1e-6)
    margins = by_class(found, labels, counts.usual).margin
    assert margins[0] < 1 < margins[-1]
    # What another label is ahead with must be half of what its own class usually gets.
    weak = LabelErrors(
        np.ones(3), np.full(3, -1.0), np.array([0, 0, -1]), np.array([0.2, 0.6, np.nan]), given[:3], given[:3]
    )
    assert clear(weak, np.array([0.9, 0.3])).tolist() == [False, True, True]


def test_the_level_leaves_so_many():
    margins = np.array([-4.0, -2.0, -1.0, 0.5, np.nan])
    for count in range(4):
        assert (margins < level(margins, count)).sum() == count
    assert level(margins, 3) == level(margins, 9) == level(np.array([1.0]), 0) == 0
    found = LabelErrors(np.zeros(5), margins, np.full(5, -1), np.full(5, np.nan), np.ones(5), np.ones(5))
    low = lowered(found, -1.5)
    assert (low.severity > 0.5).tolist() == [True, True, False, False, False]
    assert np.array_equal(np.argsort(low.margin), np.argsort(margins))


def test_triage_never_says_wrong_of_the_doubtful():
    sure = LabelErrors(
        np.full(2, 0.9), np.full(2, -4.0), np.ones(2, int), np.full(2, 0.9), np.full(2, 0.05), np.ones(2)
    )
    assert triage(sure).tolist() == ["wrong", "wrong"]
    assert triage(sure, np.array([True, False])).tolist() == ["ambiguous", "wrong"]
