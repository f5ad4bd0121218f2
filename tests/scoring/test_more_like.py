"""More of a confusion, and more that look alike: against plain loops, and on planted answers."""

import numpy as np
import pytest

from lossprint.scoring.heads import lda
from lossprint.scoring.heads.folds import deal
from lossprint.scoring.heads.more_like import look_alikes, same_confusion


def by_loops(features, query, kept, number):
    """One pair at a time."""
    spread = features.std(axis=0)
    standard = [(row - features.mean(axis=0)) / spread for row in features]

    def cosine(a: int, b: int) -> float:
        return standard[a] @ standard[b] / np.linalg.norm(standard[a]) / np.linalg.norm(standard[b])

    def value(a: int) -> float:
        near = [cosine(a, q) for q in query]
        far = [cosine(a, p) for p in kept]
        return np.mean(near) - max([0, *(one - max(near) for one in far)])

    values = {a: value(a) for a in range(len(features)) if a not in {*query, *kept}}
    chosen = sorted(values, key=lambda a: -values[a])[:number]
    return chosen, [values[a] for a in chosen]


@pytest.mark.parametrize("kept", [[], [7, 8, 9]])
def test_look_alikes_are_those_of_the_plain_loop(kept):
    features = np.random.default_rng(3).normal(size=(40, 6)) * [1, 1, 20, 1, 0.1, 1] + 5
    rows, values = look_alikes(features, [0, 1, 2], kept, number=15)
    expected, worth = by_loops(features, [0, 1, 2], kept, 15)
    assert rows.tolist() == expected
    np.testing.assert_allclose(values, worth, atol=1e-5)


def test_planted_look_alikes_come_first_and_the_kept_ones_repel():
    random = np.random.default_rng(0)
    features = random.normal(size=(500, 16))
    features[:40, :4] += 6  # thirty of one sort, and ten that differ in something that was confirmed as fine
    features[30:40, 4:8] += 6
    rows, _ = look_alikes(features, [0, 1, 2], [30, 31], number=27)
    assert set(rows.tolist()) == set(range(3, 30))


def test_everything_is_asked_for_and_nothing_twice():
    features = np.random.default_rng(1).normal(size=(12, 3))
    rows, values = look_alikes(features, [4, 4], [5], number=100, leave=[0])
    assert sorted(rows.tolist()) == [1, 2, 3, 6, 7, 8, 9, 10, 11]
    assert np.isfinite(values).all()


@pytest.mark.parametrize(
    ("query", "kept", "number", "sentence"),
    [
        ([], [], 5, "at least one sample"),
        ([12], [], 5, "query must name rows from 0 to 11"),
        ([1], [-1], 5, "kept must name rows"),
        ([1], [], 0, "number must be at least 1"),
    ],
)
def test_what_is_wrong_with_a_query_is_said(query, kept, number, sentence):
    with pytest.raises(ValueError, match=sentence):
        look_alikes(np.ones((12, 3)), query, kept, number=number)


def test_one_confusion_is_ranked_above_other_errors_of_its_class():
    """Of class 0's wrong labels some are truly 1, others truly 2: the question is after the first only."""
    random = np.random.default_rng(5)
    truth = random.integers(0, 4, 800)
    features = random.normal(size=(800, 10)) + 5 * np.eye(4, 10)[truth]
    labels = truth.copy()
    ones, twos = np.flatnonzero(truth == 1)[:20], np.flatnonzero(truth == 2)[:20]
    labels[ones] = labels[twos] = 0
    answers = lda.out_of_fold(features, labels, 4, deal(labels), 0.3)
    rows, odds = same_confusion(answers.discriminant, labels, 0, 1, leave=ones[:5])
    assert set(rows[:15].tolist()) == set(ones[5:].tolist())
    assert (np.diff(odds) <= 0).all()
    assert (labels[rows] == 0).all()
    assert len(rows) == np.count_nonzero(labels == 0) - 5


def test_rows_without_scores_are_left_out_and_absent_classes_come_last():
    scores = np.array([[0.0, 1.0], [np.nan, np.nan], [0.0, -np.inf], [3.0, 4.5]])
    rows, odds = same_confusion(scores, np.zeros(4, int), 0, 1)
    assert rows.tolist() == [3, 0, 2]
    assert odds.tolist() == [1.5, 1.0, -np.inf]


@pytest.mark.parametrize(("given", "corrected"), [(0, 0), (0, 2), (-1, 1)])
def test_a_confusion_is_of_two_classes_that_there_are(given, corrected):
    with pytest.raises(ValueError, match="must be"):
        same_confusion(np.zeros((3, 2)), np.zeros(3, int), given, corrected)
