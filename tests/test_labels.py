"""Label-error ranking and suggestions: worked by hand, against a loop over real softmax outputs, and planted."""

import numpy as np
import pytest

from lossprint.scoring.labels import first_learned, label_errors


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
    later = label_errors(losses, np.array([0, 2]), margins=margins, predicted=predicted, first=1)
    assert later.suggested.tolist() == [1, 0]
    margin = np.log([0.2 / 0.7, 0.3 / 0.6])
    np.testing.assert_allclose(later.severity, (1 - margin / (1 - margin)) / 2, rtol=1e-6)
    bare = label_errors(losses, np.array([0, 2]), first=1)
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
    found = label_errors(losses, labels, margins=margins, predicted=predicted, first=2)
    p = np.exp(logits - np.logaddexp.reduce(logits, axis=2)[:, :, None])[2:]
    for i in range(samples):
        total, totals = 0.0, [0.0] * classes
        for t in range(checkpoints - 2):
            others = [logits[2 + t, i, c] for c in range(classes) if c != labels[i]]
            total += logits[2 + t, i, labels[i]] - max(others)
            best = int(np.argmax(p[t, i]))
            if best != labels[i]:
                totals[best] += p[t, i, best]
        margin = total / (checkpoints - 2)
        assert found.severity[i] == pytest.approx((1 - margin / (1 + abs(margin))) / 2, abs=1e-6)
        if max(totals) == 0:
            assert found.suggested[i] == -1 and np.isnan(found.probability[i])
        else:
            assert found.probability[i] == pytest.approx(max(totals) / (checkpoints - 2), abs=1e-4)
            assert totals[found.suggested[i]] == pytest.approx(max(totals), abs=1e-4)
    assert (found.severity >= 0).all() and (found.severity <= 1).all() and (found.suggested != labels).all()


def test_planted_errors_come_first_with_the_right_suggestion():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 10, 500)
    labels = truth.copy()
    labels[:25] = (truth[:25] + 1 + rng.integers(0, 9, 25)) % 10
    logits = rng.normal(size=(12, 500, 10))
    logits[:, np.arange(500), truth] += np.linspace(0, 6, 12)[:, None]
    losses, margins, predicted = recorded(logits, labels)
    found = label_errors(losses, labels, margins=margins, predicted=predicted, first=3)
    assert set(np.argsort(-found.severity)[:25]) == set(range(25))
    assert (found.suggested[:25] == truth[:25]).all() and (found.severity[:25] > 0.5).all()
    plain = label_errors(losses, labels, first=3)
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
    assert np.isfinite(label_errors(losses, np.zeros(5, int), first=1).severity[3])
    none = label_errors(losses[:, :0], np.zeros(0, int), margins=margins[:, :0], predicted=predicted[:, :0])
    assert none.severity.shape == none.suggested.shape == (0,)


def test_blocks_do_not_show(monkeypatch):
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(size=(6, 101, 5)), rng.integers(0, 5, 101)
    losses, margins, predicted = recorded(logits, labels)
    whole = label_errors(losses, labels, margins=margins, predicted=predicted)
    monkeypatch.setattr("lossprint.scoring.labels.BLOCK_ELEMENTS", 60)
    parts = label_errors(losses, labels, margins=margins, predicted=predicted)
    for name in ("severity", "suggested", "probability"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_first_learned_leaves_chance_level_and_half_of_the_checkpoints():
    chance, learned = np.full((1, 50), np.log(10)), np.full((1, 50), 0.5)
    learned[:, :20] = 8.0  # 40 % wrong labels keep the mean loss above chance
    assert first_learned(np.concatenate([chance] * 3 + [learned] * 5), 10) == 3
    assert first_learned(np.concatenate([chance] * 7 + [learned]), 10) == 4
    assert first_learned(np.concatenate([learned] * 4), 10) == 0
    assert first_learned(chance, 10) == 0
    assert first_learned(np.concatenate([chance * np.nan] * 2 + [learned] * 4), 10) == 2


def test_errors_state_both_shapes():
    losses, labels = np.ones((3, 4), np.float32), np.zeros(4, int)
    with pytest.raises(ValueError, match=r"\(3, 4\).*\(5,\)"):
        label_errors(losses, np.zeros(5, int))
    with pytest.raises(ValueError, match=r"margins \(2, 4\).*\(3, 4\)"):
        label_errors(losses, labels, margins=losses[1:])
    with pytest.raises(ValueError, match="0 to 2, got 3"):
        label_errors(losses, labels, first=3)
    with pytest.raises(ValueError, match="at least 2"):
        first_learned(losses, 1)
