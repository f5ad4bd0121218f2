"""Folds: groups stay whole, classes are spread, whatever is joined by a chain is together."""

import numpy as np
import pytest

from lossprint.scoring.heads import folds


def test_columns_join_by_chains_and_blanks_join_nobody():
    copies = np.array([7, 7, -1, -1, -1, -1])
    patient = np.array(["", "a", "a", "b", "", "nan"])
    groups = folds.joined(copies, patient)
    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups.tolist())) == 4
    with pytest.raises(ValueError, match="one length"):
        folds.joined(copies, patient[:3])


def test_every_class_is_spread_evenly_without_groups():
    labels = np.repeat([0, 1, 2], [50, 23, 7])
    fold = folds.deal(labels, 5, seed=3)
    counts = np.array([np.bincount(fold[labels == c], minlength=5) for c in range(3)])
    assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()
    assert (fold == folds.deal(labels, 5, seed=3)).all() and (fold != folds.deal(labels, 5, seed=4)).any()


def test_groups_stay_whole_and_single_samples_even_out():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 400)
    groups = np.where(np.arange(400) < 200, random.integers(0, 30, 400), np.arange(400) + 100)
    fold = folds.deal(labels, 4, groups=groups)
    for group in np.unique(groups):
        assert len(set(fold[groups == group].tolist())) == 1
    for c in range(3):
        counts = np.bincount(fold[labels == c], minlength=4)
        assert counts.max() - counts.min() <= 3, counts


def test_more_folds_than_samples_and_small_classes():
    assert sorted(folds.deal(np.zeros(3, int), 5).tolist()) == sorted(set(folds.deal(np.zeros(3, int), 5).tolist()))
    fold = folds.deal(np.repeat([0, 1], [20, 1]), 5)
    assert np.bincount(fold[:20], minlength=5).tolist() == [4] * 5
    assert len(folds.deal(np.zeros(0, int), 5)) == 0
    with pytest.raises(ValueError, match="at least 2"):
        folds.deal(np.zeros(3, int), 1)
    with pytest.raises(ValueError, match="groups"):
        folds.deal(np.zeros(3, int), 2, groups=np.zeros(2))
