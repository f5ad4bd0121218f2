"""Coreset selection on planted scores: which end, how many of each class, ties, gaps, and repeatability."""

import numpy as np
import pytest

from lossprint.scoring.coreset import METHODS, select

LABELS = np.array(["b"] * 50 + ["a"] * 30 + ["c"] * 20)
SCORE = np.random.default_rng(0).permutation(100).astype(float)


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name].column])
def test_each_method_keeps_its_end_of_its_score_in_every_class(name):
    method = METHODS[name]
    chosen = select(name, {method.column: SCORE}, LABELS, fraction=0.1)
    for label, count in (("b", 5), ("a", 3), ("c", 2)):
        members = np.flatnonzero(label == LABELS)
        ranked = members[np.argsort(-SCORE[members] if method.keep == "high" else SCORE[members])]
        assert set(chosen.index[LABELS[chosen.index] == label]) == set(ranked[:count])
    falling = np.diff(chosen.score) * (1 if method.keep == "high" else -1)
    assert (falling < 0).all()  # best first over all classes
    np.testing.assert_array_equal(chosen.score, SCORE[chosen.index])
    assert method.title and method.meaning.endswith(".")


def test_the_ends_are_the_published_ones():
    kept = {name: (method.column, method.keep) for name, method in METHODS.items()}
    assert kept == {
        "random": (None, "any"),
        "cld": ("cld", "high"),
        "cld_reversed": ("cld", "low"),
        "csl_easy": ("csl", "low"),
        "csl_hard": ("csl", "high"),
        "aum_easy": ("aum", "high"),
        "aum_hard": ("aum", "low"),
        "curvature_low": ("curvature", "low"),
        "gradient_norm_low": ("gradient_norm", "low"),
    }


@pytest.mark.parametrize("fraction", [0.01, 0.02, 0.03, 0.05, 0.123, 0.5, 0.77, 1.0])
def test_budgets_add_up_and_every_class_is_there_if_it_can_be(fraction):
    labels = np.repeat(np.arange(6), [1, 2, 3, 40, 70, 84])
    chosen = select("random", {}, labels, fraction=fraction)
    assert len(chosen.index) == len(set(chosen.index)) == round(fraction * 200)
    counts = np.bincount(labels[chosen.index], minlength=6)
    assert (counts > 0).sum() == min(6, len(chosen.index))
    if fraction >= 0.5:
        np.testing.assert_allclose(counts, np.bincount(labels) * fraction, atol=1.5)


def test_largest_remainders_by_hand():
    labels = np.repeat([0, 1, 2], [47, 16, 37])  # 10 %: 4.7, 1.6, 3.7 -> 4, 1, 3 and two seats for .7 and .7
    counts = np.bincount(labels[select("random", {}, labels, fraction=0.1).index])
    assert counts.tolist() == [5, 1, 4]


def test_per_class_takes_that_many_or_all():
    labels = np.repeat([0, 1, 2], [3, 10, 5])
    chosen = select("csl_easy", {"csl": np.arange(18.0)}, labels, per_class=4)
    assert sorted(chosen.index) == [0, 1, 2, 3, 4, 5, 6, 13, 14, 15, 16]


def test_missing_scores_come_last_and_ties_go_to_the_smaller_id():
    scores = {"cld": np.array([np.nan, 0.5, 0.5, 0.9, np.nan, 0.5])}
    ids = np.array([0, 30, 20, 50, 1, 10])
    labels = np.zeros(6, int)
    order = select("cld", scores, labels, fraction=1.0, sample_ids=ids)
    assert ids[order.index].tolist() == [50, 10, 20, 30, 0, 1]
    assert np.isnan(order.score[-2:]).all()
    assert ids[select("cld", scores, labels, per_class=3, sample_ids=ids).index].tolist() == [50, 10, 20]


def test_the_same_seed_chooses_the_same_samples_in_any_row_order():
    ids = np.random.default_rng(1).permutation(1000)[:100]
    order = np.random.default_rng(2).permutation(100)
    first = select("random", {}, LABELS, fraction=0.3, seed=5, sample_ids=ids)
    again = select("random", {}, LABELS[order], fraction=0.3, seed=5, sample_ids=ids[order])
    assert ids[first.index].tolist() == ids[order][again.index].tolist()
    other = select("random", {}, LABELS, fraction=0.3, seed=6, sample_ids=ids)
    assert set(other.index) != set(first.index)


def test_errors_say_what_there_is():
    with pytest.raises(ValueError, match=r"'cdl', did you mean 'cld'\?; there are random, cld,"):
        select("cdl", {}, LABELS, fraction=0.1)
    for fraction in (0, -0.1, 1.01, float("nan")):
        with pytest.raises(ValueError, match="above 0 and at most 1"):
            select("random", {}, LABELS, fraction=fraction)
    with pytest.raises(ValueError, match="only one"):
        select("random", {}, LABELS, fraction=0.1, per_class=1)
    with pytest.raises(ValueError, match="one of them"):
        select("random", {}, LABELS)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        select("random", {}, LABELS, per_class=0)
    with pytest.raises(ValueError, match="not a single one"):
        select("random", {}, LABELS, fraction=0.001)
    with pytest.raises(ValueError, match=r"'curvature', which was not computed; there are csl"):
        select("curvature_low", {"csl": SCORE}, LABELS, fraction=0.1)
    with pytest.raises(ValueError, match=r"\(99,\).*\(100,\)"):
        select("csl_easy", {"csl": SCORE[1:]}, LABELS, fraction=0.1)
    with pytest.raises(ValueError, match=r"\(100,\).*\(3,\)"):
        select("csl_easy", {"csl": SCORE}, LABELS, fraction=0.1, sample_ids=np.arange(3))
