"""The closed-form heads: against scikit-learn, against plain refits without the fold, planted errors, nasty cases."""

import numpy as np
import pytest
from heads_data import planted
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from lossprint.scoring.heads import blocks, lda, moments
from lossprint.scoring.heads.folds import deal


class Shrunk:
    """A covariance as scikit-learn takes it: (1 - a) S + a I."""

    def __init__(self, shrinkage):
        self.shrinkage = shrinkage

    def fit(self, rows):
        covariance = np.cov(rows.T, bias=True)
        self.covariance_ = (1 - self.shrinkage) * covariance + self.shrinkage * np.eye(len(covariance))
        return self


def refit(features, labels, classes, fold, shrinkage):
    """Both heads' answers, fitted anew for each fold by scikit-learn on the standardised training part."""
    log_p, scores = np.empty((2, len(labels), classes))
    for k in np.unique(fold):
        kept = fold != k
        scaler = StandardScaler().fit(features[kept].astype(np.float64))
        inside, outside = scaler.transform(features[kept]), scaler.transform(features[~kept])
        # Means over the classes of (1 - a) S_c + a I are (1 - a) S + a I.
        model = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Shrunk(shrinkage))
        model.fit(inside, labels[kept])
        log_p[~kept] = model.predict_log_proba(outside)
        # (1 - a) T + a I: least squares with a penalty of n a / (1 - a).
        aims = np.eye(classes)[labels[kept]]
        model = Ridge(alpha=kept.sum() * shrinkage / (1 - shrinkage)).fit(inside, aims)
        share = aims.mean(axis=0)
        scores[~kept] = (model.predict(outside) - share) / (1 - shrinkage) + share
    return log_p, scores


@pytest.mark.parametrize(("n", "d"), [(300, 12), (60, 90)])
@pytest.mark.parametrize("shrinkage", [0.1, 0.7])
def test_downdated_heads_are_those_of_a_refit(n, d, shrinkage):
    features, labels, _, _ = planted(n, d)
    fold = deal(labels, 5)
    log_p, scores = refit(features, labels, 4, fold, shrinkage)
    answers = lda.out_of_fold(features, labels, 4, fold, shrinkage)
    np.testing.assert_allclose(answers.discriminant, log_p, rtol=2e-4, atol=2e-3)
    np.testing.assert_allclose(answers.ridge, scores, rtol=2e-4, atol=2e-4)


def test_a_label_is_not_seen_in_its_own_fold():
    features, labels, _, _ = planted(200, 10)
    fold = deal(labels, 5)
    other = labels.copy()
    other[fold == 2] = (labels[fold == 2] + 1) % 4
    before, after = (lda.out_of_fold(features, which, 4, fold, 0.3) for which in (labels, other))
    for kind in ("discriminant", "ridge"):
        one, two = getattr(before, kind), getattr(after, kind)
        np.testing.assert_allclose(one[fold == 2], two[fold == 2], rtol=1e-6, atol=1e-6)
        assert np.abs(one[fold != 2] - two[fold != 2]).max() > 1e-3


def test_moments_in_blocks_of_a_memory_map_far_from_zero(tmp_path, monkeypatch):
    features, labels, _, _ = planted(500, 8)
    fold = deal(labels, 3)
    np.save(tmp_path / "features.npy", features + 1000)
    monkeypatch.setattr(blocks, "ROWS", 64)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    near, far = moments.moments(features, labels, 4, fold), moments.moments(mapped, labels, 4, fold)
    for without in (None, 1):
        one, two = moments.part(near, without), moments.part(far, without)
        np.testing.assert_allclose(two.mean, one.mean + 1000, rtol=1e-6)
        np.testing.assert_allclose(two.within, one.within, atol=1e-3)  # float32 keeps 3 digits behind the point
    kept = fold != 1
    sizes = np.bincount(labels[kept], minlength=4)
    total = sum(
        sizes[c] * np.cov((features[kept & (labels == c)] * moments.part(near, 1).scale).T, bias=True) for c in range(4)
    )
    np.testing.assert_allclose(moments.part(near, 1).within, total / kept.sum(), atol=1e-5)


def test_planted_errors_are_the_most_suspect_and_shrinkage_needs_no_truth():
    features, labels, wrong, true = planted(1000, 60, share=0.15)
    prepared = blocks.prepare(features)
    answers, shrinkage = lda.shuffled(prepared, labels, 4, seed=1)
    for scores in (answers.discriminant, answers.ridge):
        assert roc_auc_score(wrong, -lda.margins(scores, labels)) > 0.95
        assert (scores.argmax(axis=1) == true)[wrong].mean() > 0.8
    assert shrinkage in lda.SHRINKAGES
    np.testing.assert_allclose(np.exp(answers.discriminant).sum(axis=1) <= 1 + 1e-5, True)


def test_copies_that_tell_each_other_the_label_are_kept_apart_by_groups():
    features, labels, _, _ = planted(60, 200, share=0)
    random = np.random.default_rng(1)
    features = np.repeat(random.normal(size=features.shape).astype(np.float32), 2, axis=0)  # features say nothing
    labels, groups = np.repeat(labels, 2), np.repeat(np.arange(60), 2)
    leaking = lda.out_of_fold(features, labels, 4, deal(labels, 5), 0.1).ridge
    honest = lda.out_of_fold(features, labels, 4, deal(labels, 5, groups=groups), 0.1).ridge
    assert (leaking.argmax(axis=1) == labels).mean() > 0.6
    assert (honest.argmax(axis=1) == labels).mean() < 0.45


def test_a_class_of_one_is_unknown_out_of_its_fold_and_harms_nobody():
    features, labels, _, _ = planted(101, 10)
    labels[-1] = 4
    answers = lda.out_of_fold(features, labels, 5, deal(labels, 5), 0.3)
    assert answers.discriminant[-1, 4] == -np.inf and answers.ridge[-1, 4] == -np.inf
    for scores in (answers.discriminant, answers.ridge):
        margin = lda.margins(scores, labels)
        assert np.isnan(margin[-1]) and np.isfinite(margin[:-1]).all()


def test_one_class_equal_rows_constant_dimensions_and_more_folds_than_samples():
    features, labels, _, _ = planted(40, 6)
    alone = lda.out_of_fold(features, np.zeros(40, int), 1, deal(np.zeros(40, int), 5), 0.3)
    assert (alone.discriminant == 0).all() and np.isnan(lda.margins(alone.ridge, np.zeros(40, int))).all()
    flat = lda.out_of_fold(np.ones_like(features), labels, 4, deal(labels, 5), 0.3)
    for k, fold in enumerate(deal(labels, 5)):  # nothing but how frequent a class is in the other folds
        share = np.bincount(labels[deal(labels, 5) != fold], minlength=4) / (deal(labels, 5) != fold).sum()
        np.testing.assert_allclose(np.exp(flat.discriminant[k]), share, atol=1e-6)
    constant = np.hstack([features, np.full((40, 1), 3.7, np.float32)])
    with_it, without = (lda.out_of_fold(one, labels, 4, deal(labels, 5), 0.3) for one in (constant, features))
    np.testing.assert_allclose(with_it.ridge, without.ridge, atol=1e-6)
    few = lda.out_of_fold(features[:3], np.array([0, 1, 1]), 2, deal(np.array([0, 1, 1]), 5), 0.3)
    assert few.ridge.shape == (3, 2) and few.ridge[0, 0] == -np.inf
    single = lda.out_of_fold(features[:1], np.array([0]), 2, np.array([0]), 0.3)
    assert np.isnan(single.discriminant).all() and np.isnan(single.ridge).all()


def test_bad_input_is_one_line():
    features, labels, _, _ = planted(40, 6)
    fold = deal(labels, 5)
    features[17, 2] = np.nan
    with pytest.raises(ValueError, match="row 17 is not"):
        lda.out_of_fold(features, labels, 4, fold, 0.3)
    with pytest.raises(ValueError, match="row 17 is not"):
        blocks.prepare(features)
    features[17, 2] = 0
    for wrong, match in ((labels[:-1], "must be"), (labels + 1, "from 0 to 3"), (labels.astype(float), "whole")):
        with pytest.raises(ValueError, match=match):
            lda.out_of_fold(features, wrong, 4, fold, 0.3)
    with pytest.raises(ValueError, match="shrinkage"):
        lda.out_of_fold(features, labels, 4, fold, 0.0)
    with pytest.raises(ValueError, match="fold must be"):
        lda.out_of_fold(features, labels, 4, fold[:-1], 0.3)
    with pytest.raises(ValueError, match=r"\(N, d\)"):
        lda.out_of_fold(features[:, 0], labels, 4, fold, 0.3)
