"""The neighbours' vote: against a plain loop and scikit-learn's neighbours, copies that must not vote, nasty cases."""

import numpy as np
import pytest
from heads_data import planted
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from lossprint.scoring.heads import lda, vote


def plain(features, labels, classes, k, groups, voters):
    shares = np.full((len(labels), classes), np.nan)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for i in range(len(labels)):
        others = [j for j in voters if groups[j] != groups[i]]
        nearest = sorted(others, key=lambda j, i=i: -unit[i] @ unit[j])[:k]
        votes = np.zeros(classes)
        for j in nearest:
            votes[labels[j]] += max(unit[i] @ unit[j], 0)
        if votes.sum() > 0:
            shares[i] = votes / votes.sum()
    return shares


@pytest.mark.parametrize("bank", [1000, 40])
def test_vote_is_that_of_a_plain_loop(bank, monkeypatch):
    features, labels, _, _ = planted(120, 8)
    features = features.astype(np.float64) - 5
    groups = np.where(np.arange(120) < 60, np.arange(120) // 4, np.arange(120))
    monkeypatch.setattr(vote, "ELEMENTS", 700)
    shares = vote.vote(features, labels, 4, groups=groups, neighbours=7, bank=bank, seed=2)
    voters = np.arange(120) if bank > 120 else np.sort(np.random.default_rng(2).permutation(120)[:40])
    np.testing.assert_allclose(shares, plain(features, labels, 4, 7, groups, voters), atol=1e-5)


def test_neighbours_are_those_of_scikit_learn():
    features, labels, _, _ = planted(200, 30)
    order = NearestNeighbors(n_neighbors=2, metric="cosine").fit(features).kneighbors(features)[1][:, 1]
    assert (vote.vote(features, labels, 4, neighbours=1).argmax(axis=1) == labels[order]).all()


def test_planted_errors_lose_the_vote_and_copies_cannot_save_them():
    features, labels, wrong, true = planted(600, 20, apart=4.0)
    shares = vote.vote(features - features.mean(axis=0), labels, 4)
    assert roc_auc_score(wrong, -lda.margins(shares, labels)) > 0.95
    assert (shares.argmax(axis=1) == true)[wrong].mean() > 0.7
    again, doubled = np.repeat(features - features.mean(axis=0), 2, axis=0), np.repeat(labels, 2)
    saved = vote.vote(again, doubled, 4, neighbours=1)
    assert (saved.argmax(axis=1) == doubled).all()
    alone = vote.vote(again, doubled, 4, groups=np.repeat(np.arange(600), 2), neighbours=1)
    assert (alone.argmax(axis=1) == doubled)[np.repeat(wrong, 2)].mean() < 0.2


def test_nasty_cases():
    features, labels, _, _ = planted(40, 6)
    assert (vote.vote(features, np.zeros(40, int), 1) == 1).all()
    shares = vote.vote(np.ones((40, 3)), labels, 4, neighbours=100)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(shares[0], (np.bincount(labels, minlength=4) - np.eye(4)[labels[0]]) / 39, atol=1e-6)
    assert np.isnan(vote.vote(features[:1], labels[:1], 4)).all()
    assert vote.vote(features[:0], labels[:0], 4).shape == (0, 4)
    assert np.isnan(vote.vote(np.zeros((5, 3)), labels[:5], 4)).all()
    assert np.isnan(vote.vote(features, labels, 4, groups=np.zeros(40))).all()
    features[3, 3] = np.nan
    with pytest.raises(ValueError, match="row 3 is not"):
        vote.vote(features, labels, 4)
    with pytest.raises(ValueError, match="at least 1"):
        vote.vote(features, labels, 4, neighbours=0)
    with pytest.raises(ValueError, match="groups"):
        vote.vote(features, labels, 4, groups=np.zeros(3))


def test_count_of_neighbours_follows_the_classes():
    assert vote.neighbour_count(np.array([500, 400, 0])) == 20
    assert vote.neighbour_count(np.array([12, 10, 9])) == 10
    assert vote.neighbour_count(np.array([2, 2])) == 5
    assert vote.neighbour_count(np.zeros(3, int)) == 5
