"""The ranking and the views: by hand, on planted errors, with parts that are missing."""

import numpy as np
import pytest
from heads_data import planted
from scipy.special import log_softmax
from sklearn.metrics import average_precision_score, log_loss

from lossprint.scoring.heads import blocks, combine, lda, linear, vote


def evidence(n=800, d=60, **options):
    features, labels, wrong, true = planted(n, d, share=0.15, **options)
    prepared = blocks.prepare(features)
    answers, _ = lda.shuffled(prepared, labels, 4)
    aum = sum(linear.measure(head, features, labels).margin for head in linear.train(features, labels, 4, decay=1e-4))
    shares = vote.vote(prepared, labels, 4)
    return labels, answers.discriminant, answers.ridge, aum.numpy(), shares, wrong, true


def test_planted_errors_lead_the_ranking_and_are_named():
    *parts, wrong, true = evidence()
    found = combine.rank(*parts)
    labels, log_p, ridge, aum, shares = parts
    singles = [-lda.margins(one, labels) for one in (ridge, log_p, shares)] + [-aum]
    assert average_precision_score(wrong, found.suspicion) > np.mean(
        [average_precision_score(wrong, s) for s in singles]
    )
    assert wrong[found.flagged].mean() > 0.8 and found.flagged[wrong].mean() > 0.7
    assert (found.flagged >= found.certain).all() and wrong[found.certain].mean() >= wrong[found.flagged].mean()
    assert (found.suggested == true)[found.certain & wrong].mean() > 0.9
    assert (found.suggested != labels).all() and not found.few.any()
    assert (found.probability + found.given_probability <= 1 + 1e-6).all()
    assert (shares.argmax(axis=1) != labels)[found.flagged].all()


def test_ranks_and_weights_by_hand():
    labels = np.array([0, 0, 1])
    log_p = log_softmax([[2.0, 0], [0, 1.0], [0, 3.0]], axis=1)
    shares = np.array([[0.6, 0.4], [0.1, 0.9], [0.3, 0.7]])
    aum = np.array([1.0, 2.0, -1.0])
    # As accurate as ridge, so that the vote counts half. Ranks: AUM 2, 1, 3, all others 2, 3, 1.
    found = combine.rank(labels, log_p, log_p, aum, shares)
    np.testing.assert_allclose(found.suspicion, [2 / 3, (1.5 * 3 + 1 + 0.5 * 3) / 9, (1.5 + 3 + 0.5) / 9])
    assert found.suggested.tolist() == [1, 1, 0] and found.flagged.tolist() == [False, True, False]
    assert found.certain.tolist() == [False, True, False] and found.few.all()


def test_temperature_is_that_of_least_loss():
    random = np.random.default_rng(0)
    logits = random.normal(size=(2000, 3)) * 1.5
    labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    assert combine.temperature(log_softmax(logits * 4, axis=1), labels) == pytest.approx(4, rel=0.15)
    log_p = log_softmax(logits * 4, axis=1)
    losses = {t: log_loss(labels, np.exp(log_softmax(log_p / t, axis=1))) for t in np.linspace(1, 8, 141)}
    assert combine.temperature(log_p, labels) == pytest.approx(min(losses, key=losses.get), abs=0.06)
    assert combine.temperature(np.full((3, 2), np.nan), np.zeros(3, int)) == 1


def test_parts_that_are_missing_leave_a_sample_to_the_others():
    *parts, _, _ = evidence(200, 10)
    labels, log_p, ridge, aum, shares = (one.copy() for one in parts)
    log_p[0], ridge[0] = np.nan, np.nan
    log_p[1, labels[1]] = ridge[1, labels[1]] = -np.inf
    shares[2] = np.nan
    found = combine.rank(labels, log_p, ridge, aum, shares)
    assert np.isfinite(found.suspicion).all()
    assert found.suggested[0] == -1 and np.isnan(found.probability[0]) and not found.flagged[0]
    assert not found.flagged[2]
    aum[0], shares[0] = np.nan, np.nan
    found = combine.rank(labels, log_p, ridge, aum, shares)
    assert np.isnan(found.suspicion[0]) and np.isfinite(found.suspicion[1:]).all()


def test_one_class_alone_has_no_suspect():
    found = combine.rank(np.zeros(5, int), np.zeros((5, 1)), np.ones((5, 1)), np.full(5, np.nan), np.ones((5, 1)))
    assert np.isnan(found.suspicion).all() and (found.suggested == -1).all() and not found.flagged.any()


def test_views_count_by_their_odds():
    first, second = np.array([0.1, 0.5, 0.9]), np.array([0.9, 0.5, np.nan])
    both, weights = combine.views([first, second], [0.8, 0.8])
    assert weights.tolist() == [0.5, 0.5]
    np.testing.assert_allclose(both, [(1 / 3 + 1) / 2, (2 / 3 + 1 / 2) / 2, 1])
    _, weights = combine.views([first, second], [0.8, 0.5])
    assert weights[0] == pytest.approx(64 / 65)
    assert combine.views([first, second], [1.0, 1.0])[1].tolist() == [0.5, 0.5]


def test_bad_input_is_one_line():
    with pytest.raises(ValueError, match="an accuracy for each view"):
        combine.views([np.zeros(3)], [0.5, 0.5])
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        combine.views([np.zeros(3)], [85])
    with pytest.raises(ValueError, match="three arrays"):
        combine.rank(np.zeros(3, int), np.zeros((3, 2)), np.zeros((3, 2)), np.zeros(3), np.zeros((3, 1)))
