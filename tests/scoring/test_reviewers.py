"""Agreement between reviewers against published examples, scikit-learn, NLTK and plain loops."""

import itertools

import numpy as np
import pytest

from lossprint.scoring import reviewers
from lossprint.scoring.reviewers import MISSING

# Fleiss (1971), table 1: 30 patients, 6 psychiatrists each, 5 diagnoses.
FLEISS_1971 = """
0 0 0 6 0|0 3 0 0 3|0 1 4 0 1|0 0 0 0 6|0 3 0 3 0|2 0 4 0 0|0 0 4 0 2|2 0 3 1 0|2 0 0 4 0|0 0 0 0 6
1 0 0 5 0|1 1 0 4 0|0 3 3 0 0|1 0 0 5 0|0 2 0 3 1|0 0 5 0 1|3 0 0 1 2|5 1 0 0 0|0 2 0 4 0|1 0 2 0 3
0 0 0 0 6|0 1 0 5 0|0 2 0 1 3|2 0 0 4 0|1 0 0 4 1|0 5 0 1 0|4 0 0 0 2|0 2 0 4 0|1 0 5 0 0|0 0 0 0 6
"""
# The worked example of Wikipedia's article: 10 subjects, 14 raters, 5 categories.
FLEISS_14 = """
0 0 0 0 14|0 2 6 4 2|0 0 3 5 6|0 3 9 2 0|2 2 8 1 1|7 7 0 0 0|3 2 6 3 0|2 5 3 2 2|6 5 2 1 0|0 2 2 3 7
"""
# Krippendorff (2011), section C: four observers, twelve units, some missing; nominal alpha 0.743.
KRIPPENDORFF_2011 = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""


def from_counts(text: str) -> np.ndarray:
    rows = [[int(one) for one in row.split()] for row in text.replace("\n", "|").split("|") if row.strip()]
    return np.array([np.repeat(np.arange(len(row)), row) for row in rows])


def observers(text: str) -> np.ndarray:
    rows = [[MISSING if one == "." else int(one) for one in row.split()] for row in text.strip().splitlines()]
    return np.array(rows).T


def test_published_examples():
    assert reviewers.fleiss(from_counts(FLEISS_1971)).value == pytest.approx(0.430, abs=5e-4)
    assert reviewers.fleiss(from_counts(FLEISS_14)).value == pytest.approx(0.210, abs=5e-4)
    found = reviewers.alpha(observers(KRIPPENDORFF_2011))
    assert found.value == pytest.approx(0.743, abs=5e-4)
    assert found.items == 11
    assert found.low < found.value < found.high


@pytest.mark.parametrize("seed", range(4))
def test_cohen_is_that_of_scikit_learn(seed):
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(seed)
    first = rng.integers(0, 4, 200)
    second = np.where(rng.random(200) < 0.6, first, rng.integers(0, 5, 200))
    assert reviewers.cohen(first, second).value == pytest.approx(cohen_kappa_score(first, second))
    seen = rng.random(200) < 0.5
    found = reviewers.cohen(np.where(seen, first, MISSING), second)
    assert found.items == seen.sum()
    assert found.value == pytest.approx(cohen_kappa_score(first[seen], second[seen]))


def nltk_alpha(ratings: np.ndarray) -> float:
    """Krippendorff's alpha by NLTK, of the items that two or more rated."""
    from nltk.metrics.agreement import AnnotationTask

    ratings = ratings[(ratings != MISSING).sum(1) >= 2]
    item, rater = np.nonzero(ratings != MISSING)
    return AnnotationTask(list(zip(rater.tolist(), item.tolist(), ratings[item, rater].tolist()))).alpha()


@pytest.mark.parametrize("items, raters, categories", [(60, 4, 4), (300, 2, 2), (12, 7, 30), (500, 12, 3)])
@pytest.mark.parametrize("right, missing", [(0.7, 0.4), (0.0, 0.6), (0.99, 0.1)])
def test_alpha_is_that_of_nltk(items, raters, categories, right, missing):
    """For few and many items, raters and categories, with little to much agreement."""
    rng = np.random.default_rng(items)
    truth = rng.integers(0, categories, (items, 1))
    ratings = np.where(rng.random((items, raters)) < right, truth, rng.integers(0, categories, (items, raters)))
    ratings[rng.random(ratings.shape) < missing] = MISSING
    assert reviewers.alpha(ratings).value == pytest.approx(nltk_alpha(ratings), abs=1e-12)


def test_alpha_of_the_odd_cases_is_that_of_nltk():
    for ratings in (
        observers(KRIPPENDORFF_2011),
        np.array([[0, 1], [1, 0], [0, 1]]),  # they never agree
        np.array([[0, 0], [1, 1], [2, 2]]),  # they always do
        np.array([[0] * 9 + [1]] * 1),  # one item alone
        np.array([[5, 5]] * 999 + [[5, 7]]),  # nearly all answers are the same
    ):
        assert reviewers.alpha(ratings).value == pytest.approx(nltk_alpha(ratings), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_raw_agreement_is_that_of_a_loop(seed):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, (60, 1))
    ratings = np.where(rng.random((60, 4)) < 0.7, truth, rng.integers(0, 4, (60, 4)))
    ratings[rng.random(ratings.shape) < 0.4] = MISSING
    pairs = [(a, b) for row in ratings for a, b in itertools.combinations(row[row != MISSING].tolist(), 2)]
    share = reviewers.raw(ratings)
    assert share.value == pytest.approx(np.mean([a == b for a, b in pairs]))
    assert share.items == sum((row != MISSING).sum() >= 2 for row in ratings)
    assert share.low < share.value < share.high
    assert reviewers.differing(ratings).tolist() == [len(set(row[row != MISSING])) > 1 for row in ratings]
    assert reviewers.raw(ratings) == share, "the same seed, the same interval"


def test_the_interval_covers_about_as_often_as_it_says():
    """Two raters who agree with probability 0.8: the interval holds 0.8 about nine times in ten."""
    held, alphas = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        first = rng.integers(0, 2, 120)
        second = np.where(rng.random(120) < 0.8, first, 1 - first)
        ratings = np.stack([first, second], 1)
        one = reviewers.raw(ratings)
        held.append(one.low <= 0.8 <= one.high)
        other = reviewers.alpha(ratings)
        alphas.append(other.low <= 0.6 <= other.high)  # 1 - 0.2 / 0.5
    assert 0.85 < np.mean(held) < 0.96
    assert 0.85 < np.mean(alphas) < 0.96


def test_long_ratings_become_a_table_and_the_last_word_counts():
    table, items, raters = reviewers.rating_table(
        np.array([7, 7, 3, 7]), np.array(["bob", "ann", "bob", "bob"]), np.array([0, 1, 2, 1])
    )
    assert (items.tolist(), raters.tolist()) == ([3, 7], ["ann", "bob"])
    assert table.tolist() == [[MISSING, 2], [1, 1]]


def test_what_is_not_defined_is_nan_with_a_reason():
    one = np.array([[0], [1], [1]])
    apart = np.array([[0, MISSING], [MISSING, 1]])
    same = np.zeros((5, 2), int)
    none = np.full((4, 3), MISSING)
    for ratings, reason in (
        (one, "only one reviewer"),
        (apart, "no item that two"),
        (none, "nobody"),
        (np.zeros((0, 0), int), "nobody"),
    ):
        for measure in (reviewers.raw, reviewers.alpha, reviewers.fleiss):
            found = measure(ratings)
            assert np.isnan(found.value)
            assert reason in found.reason
        assert not reviewers.differing(ratings).any()
    for found in (reviewers.alpha(same), reviewers.fleiss(same), reviewers.cohen(same[:, 0], same[:, 1])):
        assert np.isnan(found.value)
        assert "all answers are the same" in found.reason
    assert np.isnan(reviewers.cohen(apart[:, 0], apart[:, 1]).value)
    whole = reviewers.raw(same)
    assert (whole.value, whole.high) == (1.0, 1.0)
    assert 0.4 < whole.low < 0.6  # five of five are no proof of more: 0.05 ** (1 / 5) = 0.55
    agreed = reviewers.alpha(np.array([[0, 0], [1, 1]]))
    assert agreed.value == 1.0
    assert np.isnan(agreed.low)
    assert "interval" in agreed.reason


def test_fleiss_uses_the_most_common_number_of_ratings():
    three = from_counts("2 1|3 0|0 3|1 2")
    two = np.array([[0, 1, MISSING], [1, MISSING, 1]])
    found = reviewers.fleiss(np.vstack([two, three]))
    assert found.value == pytest.approx(reviewers.fleiss(three).value)
    assert found.items == 4
    assert "2 with another number" in found.reason


def test_pairs():
    ratings = np.array([[0, 0, MISSING], [1, 0, MISSING], [1, 1, 1]])
    found = {(i, j): (share, kappa) for i, j, share, kappa in reviewers.pairwise(ratings)}
    assert set(found) == {(0, 1), (0, 2), (1, 2)}
    assert found[0, 1][0].value == pytest.approx(2 / 3)
    assert found[0, 1][1].value == pytest.approx((2 / 3 - 4 / 9) / (5 / 9))
    assert (found[0, 2][0].value, found[0, 2][0].items) == (1.0, 1)


def test_words_say_what_it_means_and_no_more():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2, 200)
    second = np.where(rng.random(200) < 0.9, first, 1 - first)
    ratings = np.stack([first, second], 1)
    told = " ".join(reviewers.words(reviewers.raw(ratings), reviewers.alpha(ratings)))
    assert "less often than if the same answers had been dealt out at random" in told
    assert "Landis and Koch (1977)" in told
    assert "does not say that the answers are right" in told
    assert "too few" not in told
    few = " ".join(reviewers.words(reviewers.raw(ratings[:8]), reviewers.alpha(ratings[:8])))
    assert "rests on 8 samples" in few
    assert "too few" in few
    opposite = np.stack([first, 1 - first], 1)
    assert "at random, or more often" in " ".join(reviewers.words(reviewers.raw(opposite), reviewers.alpha(opposite)))
    alone = reviewers.words(reviewers.raw(ratings[:, :1]), reviewers.alpha(ratings[:, :1]))
    assert alone == ["Agreement cannot be told yet: only one reviewer answered."]
    rare = np.stack([np.r_[np.zeros(97, int), 1, 0, 1], np.r_[np.zeros(97, int), 0, 1, 1]], 1)
    assert "make alpha low" in " ".join(reviewers.words(reviewers.raw(rare), reviewers.alpha(rare)))
