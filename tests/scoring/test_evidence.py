"""Judges weighed on a trial: what they are worth is told without any truth, and the useless one steps back."""

import numpy as np
import pytest

from lossprint.scoring.sequences import bounds_of
from lossprint.scoring.videos import evidence

PHASES, LONG = 5, 30


def annotated(videos=6):
    """Labels (N,) of videos of the phases in order, one after another, and their bounds."""
    labels = np.tile(np.repeat(np.arange(PHASES), LONG), videos)
    return labels, np.arange(videos + 1) * PHASES * LONG


def judge(labels, sure, random):
    """Log-probabilities (N, C) that say the label with noise, the louder the surer."""
    logits = random.normal(size=(len(labels), PHASES))
    logits[np.arange(len(labels)), labels] += sure
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def test_the_window_follows_the_length_of_phases():
    labels, bounds = annotated()
    assert evidence.window(labels, bounds) == 11
    assert evidence.window(np.repeat(np.arange(400) % 5, 2), np.array([0, 800])) == 1
    assert evidence.window(np.repeat([0, 1], 5000), np.array([0, 10000])) == evidence.LONGEST


def test_a_trial_makes_errors_of_each_kind_with_labels_that_the_video_has():
    labels, bounds = annotated()
    trial = evidence.trial(labels, bounds, np.random.default_rng(0))
    assert ((trial.labels != labels) == (trial.kind > 0)).all()
    assert set(trial.kind.tolist()) == {0, 1, 2, 3}
    assert 0.03 < (trial.kind > 0).mean() < 0.5
    again = evidence.trial(labels, bounds, np.random.default_rng(0))
    np.testing.assert_array_equal(trial.labels, again.labels)
    for start in bounds_of(trial.kind)[:-1]:
        if trial.kind[start] == 1:
            assert (trial.kind == 0)[max(start - 1, 0)] or start % LONG == 0


def test_one_phase_alone_or_short_ones_leave_a_trial_without_errors():
    for labels in (np.zeros(100, int), np.arange(60) // 2 % 5):
        trial = evidence.trial(labels, np.array([0, len(labels)]), np.random.default_rng(1))
        np.testing.assert_array_equal(trial.labels, labels)
        assert not trial.kind.any()


def test_the_judge_that_knows_leads_and_the_one_that_repeats_what_is_stated_steps_back():
    labels, bounds = annotated()
    random = np.random.default_rng(2)
    trial = evidence.trial(labels, bounds, random)
    knows, parrot = judge(labels, 1.5, random), judge(trial.labels, 4.0, random)
    weights = evidence.fitted([parrot, knows], trial, labels, bounds)
    loud = (weights.near + weights.far) * [evidence.doubt(one, trial.labels).std() for one in (parrot, knows)]
    assert loud[0] < 0.3 * loud[1]
    log = weights([parrot, knows], trial.labels, bounds)
    assert log.shape == knows.shape
    assert evidence.worth(log, trial) > 0.85 > evidence.worth(parrot, trial)


def test_two_judges_that_know_in_different_places_are_worth_more_together():
    labels, bounds = annotated()
    random = np.random.default_rng(3)
    trial = evidence.trial(labels, bounds, random)
    both = [judge(labels, 0.4, random) for _ in range(2)]
    alone = [
        evidence.worth(evidence.fitted([one], trial, labels, bounds)([one], trial.labels, bounds), trial)
        for one in both
    ]
    weights = evidence.fitted(both, trial, labels, bounds)
    assert evidence.worth(weights(both, trial.labels, bounds), trial) > max(alone) + 0.005


def test_without_errors_in_the_trial_judges_of_a_kind_count_alike_and_nothing_is_known():
    labels, bounds = annotated()
    random = np.random.default_rng(4)
    trial = evidence.Trial(labels, np.zeros(len(labels), int))
    judges = [judge(labels, 1.0, random), judge(labels, 1.0, random)]
    weights = evidence.fitted(judges, trial, labels, bounds)
    assert weights.near[0] == pytest.approx(weights.near[1], rel=0.2) and np.isfinite(weights.stated)
    assert np.isnan(evidence.auroc(evidence.doubt(judges[0], labels), trial.kind)).all()


def test_auroc_is_that_of_sklearn():
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(5)
    doubt, kind = random.integers(0, 8, 300).astype(float), random.integers(0, 4, 300)
    found = evidence.auroc(doubt, kind)
    for one in (1, 2, 3):
        rows = (kind == 0) | (kind == one)
        assert found[one - 1] == pytest.approx(roc_auc_score(kind[rows] == one, doubt[rows]))


def test_two_phases_that_explain_each_other_stand_out_from_one_that_is_wrong_alone():
    labels, bounds = annotated(2)
    stated = labels.copy()
    stated[30:60], stated[90:120] = 3, 1  # exchanged in the first video, not neighbours
    stated[180:210] = 3  # wrong in the second, where the other 3 is right
    log = judge(labels, 6.0, np.random.default_rng(6))
    partners = evidence.partnered(log, stated, bounds)
    exchanged, alone = partners[np.r_[30:60, 90:120]], partners[180:210]
    assert exchanged.mean() > 3 > 0 > alone.mean()
    assert evidence.doubt(log, stated)[180:210].mean() > 3
    right = np.setdiff1d(np.arange(len(labels)), np.r_[30:60, 90:120, 180:210])
    assert partners[right].mean() < 0


def test_evidence_of_a_phase_is_lent_to_its_frames_and_not_to_others():
    labels, bounds = annotated(1)
    log = np.zeros((len(labels), PHASES))
    log[30:45, 0] = 2.0
    lent = evidence.Weights(np.array([1.0]), np.array([0.5]), 0.0)([log], labels, bounds)
    assert lent[29, 0] == 0 and lent[30, 0] == 2.5 and lent[59, 0] == 0.5 and lent[60, 0] == 0


def test_no_frame_outvotes_its_window():
    log = np.zeros((9, 2))
    log[4, 0] = -1000.0
    averaged = evidence.averaged(log, np.array([0, 9]), 3)
    assert averaged[3:6, 0].tolist() == [-evidence.DROP / 3] * 3 and averaged[2, 0] == 0
