"""Votes: CROWDLAB and ActiveLab as cleanlab computes them, Dawid and Skene's abilities, counts by plain loops."""

import warnings

import numpy as np
import pytest
from planted_votes import planted_votes, wide
from sklearn.metrics import roc_auc_score

from lossprint.scoring.votes import active, crowdlab, dawid_skene, table
from lossprint.scoring.votes.consensus import consensus
from lossprint.scoring.votes.table import Votes

SHAPES = [
    {},
    {"classes": 2, "abilities": (0.9, 0.7, 0.55), "each": 2, "samples": 150},
    {"classes": 7, "abilities": (0.9, 0.8, 0.5, 0.3), "each": 4, "samples": 80, "seed": 3},
    {"model": 0.3, "samples": 200, "seed": 5},
]


def cleanlab(votes, p, **how):
    from cleanlab.multiannotator import get_label_quality_multiannotator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_label_quality_multiannotator(wide(votes), p, return_weights=True, verbose=False, **how)


@pytest.mark.parametrize("shape", SHAPES)
def test_crowdlab_is_that_of_cleanlab(shape):
    votes, _, p = planted_votes(**shape)
    ours, theirs = crowdlab.crowdlab(votes, p), cleanlab(votes, p)
    quality = theirs["label_quality"]
    np.testing.assert_array_equal(ours.label, quality["consensus_label"])
    np.testing.assert_allclose(ours.quality, quality["consensus_quality_score"], atol=1e-9)
    np.testing.assert_allclose(ours.agreement, quality["annotator_agreement"])
    stats = theirs["annotator_stats"].sort_index()
    np.testing.assert_allclose(ours.annotator_quality, stats["annotator_quality"], atol=1e-9)
    np.testing.assert_allclose(ours.weight, theirs["annotator_weight"], atol=1e-9)
    assert ours.model_weight == pytest.approx(theirs["model_weight"])
    detailed = theirs["detailed_label_quality"].to_numpy()
    np.testing.assert_allclose(crowdlab.vote_quality(votes, ours), detailed[votes.sample, votes.annotator], atol=1e-9)


def test_some_with_one_vote_and_some_annotators_who_share_nothing():
    votes, _, p = planted_votes(samples=300, each=2)
    alone = np.arange(300, 320)
    more = Votes.of(
        np.append(votes.sample, alone),
        np.append(votes.annotator, np.where(alone < 310, 5, 0)),
        np.append(votes.label, alone % 5),
        5,
    )
    p = np.vstack([p, np.full((20, 5), 0.2) + np.eye(5)[alone % 5] * 0.1])
    ours, theirs = crowdlab.crowdlab(more, p), cleanlab(more, p)
    np.testing.assert_allclose(ours.quality, theirs["label_quality"]["consensus_quality_score"], atol=1e-9)
    np.testing.assert_allclose(
        ours.annotator_quality, theirs["annotator_stats"].sort_index()["annotator_quality"], atol=1e-9
    )
    assert np.isnan(ours.annotator_quality[5]) and not ours.alone


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_activelab_is_that_of_cleanlab(shape):
    from cleanlab.internal.multiannotator_utils import find_best_temp_scaler, temp_scale_pred_probs
    from cleanlab.multiannotator import get_active_learning_scores

    votes, _, p = planted_votes(**shape)
    warmth = find_best_temp_scaler(wide(votes), p)
    scaled = temp_scale_pred_probs(p, warmth)
    ours = crowdlab.crowdlab(votes, scaled)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, rest = get_active_learning_scores(wide(votes), p, p[:20])
    np.testing.assert_allclose(active.activelab(votes, ours), theirs, atol=1e-9)
    np.testing.assert_allclose(active.unlabelled(scaled[:20], ours), rest, atol=1e-9)


def test_counts_are_those_of_plain_loops():
    votes, truth, _ = planted_votes(samples=60, each=2)
    table_of = wide(votes)
    for j in range(votes.annotators):
        pairs = [
            (table_of[i, j] == table_of[i, other], i)
            for i in range(votes.samples)
            for other in range(votes.annotators)
            if other != j and not np.isnan([table_of[i, j], table_of[i, other]]).any()
        ]
        assert table.agreement(votes)[j] == pytest.approx(np.mean([same for same, _ in pairs]))
        own = [i for i in range(votes.samples) if not np.isnan(table_of[i, j])]
        contradicted = {i for same, i in pairs if not same}
        assert table.conflict(votes)[j] == pytest.approx(len(contradicted) / len(own))
        assert table.overlap(votes)[j] == 1
        expected = np.zeros((5, 5), int)
        for i in own:
            expected[truth[i], int(table_of[i, j])] += 1
        np.testing.assert_array_equal(table.confusions(votes, truth)[j], expected)
    soft = table.confusions(votes, np.eye(5)[truth])
    np.testing.assert_allclose(soft, table.confusions(votes, truth))


def test_majorities_and_their_ties():
    sample = [0, 0, 0, 1, 1, 2, 2, 3, 3]
    votes = Votes.of(sample, [0, 1, 2, 0, 1, 1, 2, 0, 2], [0, 0, 1, 0, 1, 2, 1, 0, 0], 3)
    assert table.majority(votes)[[0, 3]].tolist() == [0, 0]
    assert table.majority(votes)[2] == 2, "the class with fewer votes"
    p = np.tile([0.2, 0.5, 0.3], (4, 1))
    assert table.majority(votes, p)[[1, 2]].tolist() == [1, 1], "the model decides first"


def test_the_consensus_beats_the_majority_and_its_quality_finds_the_errors():
    for seed in range(3):
        votes, truth, p = planted_votes(samples=1500, seed=seed)
        told = consensus(votes, np.log(p))
        wrong, most = told.label != truth, told.majority != truth
        assert wrong.mean() < 0.5 * most.mean(), "with a model"
        assert wrong.mean() < (told.crowdlab.label != truth).mean()
        assert roc_auc_score(wrong, -told.quality) > roc_auc_score(wrong, -told.agreement) + 0.1
        alone = consensus(votes)
        assert (alone.label != truth).mean() < 0.7 * most.mean() and alone.p is None


@pytest.mark.parametrize("seed", range(3))
def test_abilities_come_back_within_a_twentieth_at_500_votes_each(seed):
    abilities = np.array([0.95, 0.85, 0.75, 0.6, 0.4])
    votes, truth, _ = planted_votes(samples=834, abilities=abilities, seed=seed)
    assert (np.abs(votes.cast - 500) < 40).all()
    told = dawid_skene.dawid_skene(votes)
    real = votes.mean(votes.label == truth[votes.sample])
    assert told.settled and np.abs(told.ability - real).max() < 0.05
    assert (told.posterior.argmax(axis=1) != truth).mean() < (table.majority(votes) != truth).mean()
    np.testing.assert_allclose(told.theta.sum(axis=2), 1)


def test_dawid_and_skene_is_a_plain_loop():
    votes, _, _ = planted_votes(samples=40, classes=3, abilities=(0.9, 0.7, 0.6), each=2)
    told = dawid_skene.dawid_skene(votes, rounds=4, draw=0)
    counts = np.array([np.bincount(votes.label[votes.sample == i], minlength=3) for i in range(40)])
    q = 0.9 * counts / 2 + 0.1 * np.eye(3)[table.majority(votes)]
    for _ in range(4):
        theta = np.eye(3)[None].repeat(3, 0) * dawid_skene.DIAGONAL + dawid_skene.SMOOTH
        for i, j, label in zip(votes.sample, votes.annotator, votes.label):
            theta[j, :, label] += q[i]
        theta /= theta.sum(axis=2, keepdims=True)
        new = np.tile(q.mean(axis=0), (40, 1))
        for i, j, label in zip(votes.sample, votes.annotator, votes.label):
            new[i] *= theta[j, :, label]
        q = new / new.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(told.posterior, q, atol=1e-9)


def test_without_overlap_the_model_stands_in_and_without_both_nothing_is_certain():
    votes, truth, p = planted_votes(samples=600, each=1, model=0.9)
    told = crowdlab.crowdlab(votes, p)
    assert told.alone and np.isfinite(told.quality).all() and np.isfinite(told.annotator_quality).all()
    assert told.annotator_quality[0] > told.annotator_quality[4] + 0.2
    assert roc_auc_score(told.label != truth, -told.quality) > 0.6
    bare = crowdlab.crowdlab(votes)
    assert bare.alone and bare.quality.max() == pytest.approx(0.5) and (bare.label == votes.label).all()
    assert crowdlab.crowdlab(planted_votes(samples=50)[0]).model_weight == 0


def test_an_annotator_with_one_vote_and_one_sample():
    votes = Votes.of([0, 0, 0], [0, 1, 2], [1, 1, 0], 2)
    told = crowdlab.crowdlab(votes, np.array([[0.3, 0.7]]))
    assert told.label.tolist() == [1] and np.isfinite(told.quality).all()
    assert dawid_skene.dawid_skene(votes).posterior.shape == (1, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([], [], [], 2), "one at least"),
        (([0], [0], [2], 2), "from 0 to 1"),
        (([0, 2], [0, 0], [1, 1], 2), "vote on each sample"),
        (([0, 0], [0, 0], [1, 1], 2), "at most one vote"),
    ],
)
def test_what_are_no_votes_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Votes.of(*arguments)


def test_what_are_no_probabilities_is_refused():
    votes, _, p = planted_votes(samples=50)
    for bad in (p[:-1], np.where(p > 0.5, np.nan, p)):
        with pytest.raises(ValueError, match="probabilities"):
            crowdlab.crowdlab(votes, bad)
    with pytest.raises(ValueError, match="two classes"):
        crowdlab.crowdlab(Votes.of([0], [0], [0], 1))
