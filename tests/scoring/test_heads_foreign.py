"""Foreign images: NNGuide and the distance against plain loops, a group that vouches for itself, nasty cases."""

import numpy as np
import pytest
from heads_data import planted
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from lossprint.scoring.heads import blocks, foreign, linear


def plain(features, energy, k):
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    scores = []
    for i in range(len(unit)):
        products = sorted((energy[j] * unit[i] @ unit[j] for j in range(len(unit)) if j != i), reverse=True)
        scores.append(-np.mean(products[:k]) * energy[i])
    return scores


def test_both_are_those_of_plain_loops(monkeypatch):
    features, _, _, _ = planted(90, 8)
    energy = np.random.default_rng(0).uniform(1, 3, 90)
    monkeypatch.setattr(foreign, "ELEMENTS", 1000)
    np.testing.assert_allclose(foreign.nnguide(features, energy, neighbours=10), plain(features, energy, 10), rtol=1e-4)
    farthest = NearestNeighbors(n_neighbors=11, metric="cosine").fit(features).kneighbors(features)[0][:, 10]
    np.testing.assert_allclose(foreign.distance(features, neighbours=10), farthest, atol=1e-5)


def test_a_group_that_is_its_own_neighbour_is_foreign_with_many_neighbours():
    features, labels, _, _ = planted(1000, 40, share=0, apart=12.0)
    features = blocks.prepare(features)[:]
    random = np.random.default_rng(1)
    group = random.normal(size=40) / 6 + random.normal(size=(40, 40)) * 0.02
    features = np.vstack([features, group]).astype(np.float32)
    labels = np.append(labels, random.integers(0, 4, 40))
    planted_ones = np.arange(1040) >= 1000
    *_, head = linear.train(features, labels, 4, decay=1e-3)
    energy = np.concatenate([logsumexp(block.numpy(), axis=1) for _, block in head.logits(features)])
    assert roc_auc_score(planted_ones, foreign.distance(features, neighbours=5)) < 0.1
    assert roc_auc_score(planted_ones, foreign.distance(features)) > 0.9
    assert roc_auc_score(planted_ones, foreign.nnguide(features, energy)) > 0.95


def test_a_bank_of_a_part_keeps_the_order():
    features, _, _, _ = planted(800, 10)
    whole, part = (foreign.distance(features, neighbours=40, bank=bank) for bank in (800, 400))
    assert np.corrcoef(whole, part)[0, 1] > 0.95
    assert not np.isclose(part, 0).any(), "a member of the bank is its own neighbour"


def test_remoteness_is_nnguides_order_and_positive():
    features, _, _, _ = planted(200, 8)
    features[0] = -features[1:].mean(axis=0) * 100  # nobody looks that way
    energy = np.full(200, 2.0)
    far, guide = foreign.remoteness(features, energy), foreign.nnguide(features, energy)
    assert (far > 0).all() and np.isfinite(far).all()
    order = guide < 0
    assert (np.argsort(far[order]) == np.argsort(guide[order])).all() and far.argmax() == guide.argmax()
    assert len(foreign.remoteness(np.ones((0, 3)), np.ones(0))) == 0


def test_counts_and_nasty_cases():
    assert [foreign.neighbour_count(n) for n in (2, 30, 500, 5000)] == [1, 29, 50, 250]
    assert np.isnan(foreign.distance(np.ones((1, 3)))).all()
    assert len(foreign.distance(np.ones((0, 3)))) == 0
    np.testing.assert_allclose(foreign.distance(np.ones((20, 3))), 0, atol=1e-6)
    np.testing.assert_allclose(foreign.distance(np.zeros((20, 3))), 1)
    with pytest.raises(ValueError, match="at least 1"):
        foreign.distance(np.ones((20, 3)), neighbours=0)
    with pytest.raises(ValueError, match="finite numbers"):
        foreign.nnguide(np.ones((20, 3)), np.full(20, np.nan))
    features = np.ones((20, 3))
    features[7, 0] = np.nan
    with pytest.raises(ValueError, match="row 7 is not"):
        foreign.distance(features)
