"""What a network has learnt, from predictions that are made up."""

import numpy as np
import pytest

from lossprint.scoring.labels import LabelErrors
from lossprint.scoring.strength import chances, learnt, strength, wrong_among


def predictions(rng, labels, classes, share, steady=1.0, checkpoints=8):
    """(E, M): a share of the samples is named right, the others at random; each checkpoint keeps that prediction with
    probability `steady`, else it is drawn anew."""
    size = len(labels)
    usual = np.where(rng.random(size) < share, labels, rng.integers(0, classes, size))
    anew = rng.integers(0, classes, (checkpoints, size))
    return np.where(rng.random((checkpoints, size)) < steady, usual, anew)


def verdict(rng, sizes, share, *, steady=1.0, flagged=None, each=20):
    """Strength of a run with so many training samples of each class and `each` for validation."""
    classes = len(sizes)
    labels = np.repeat(np.arange(classes), each)
    rows = predictions(rng, labels, classes, share, steady)
    seen = learnt([rows], labels, [np.full(len(rows), 1 / len(rows))], classes)
    return strength(seen, np.array(sizes), np.zeros(classes, int) if flagged is None else np.array(flagged))


def test_counts_by_hand():
    rows = np.array([[0, 1, 1, -1], [0, 0, 1, -1]])
    seen = learnt([rows], np.array([0, 0, 1, 1]), [np.array([0.25, 0.75])], 2)
    np.testing.assert_allclose(seen.right, [1.75, 1.0])
    np.testing.assert_allclose(seen.named, [1.75, 1.25])
    assert seen.of.tolist() == [2, 1]  # the last sample has no prediction
    assert seen.steady == pytest.approx((1 + 0.75 + 1) / 3)
    two = learnt([rows, rows], np.array([0, 0, 1, 1]), [np.array([0.25, 0.75])] * 2, 2)
    np.testing.assert_allclose(two.right, seen.right)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("sizes", "share", "steady", "each", "little"),
    [
        ([400] * 10, 0.85, 0.95, 50, False),
        ([500] * 10, 0.6, 0.95, 100, False),  # photos, a small network
        ([5] * 100, 0.35, 0.7, 1, True),
        ([10] * 30, 0.4, 0.7, 2, True),
        ([5] * 100, 0.95, 0.95, 1, False),
        ([300] * 2, 0.0, 0.9, 50, True),  # guesses
        ([300] * 5, 0.0, 1.0, 20, True),  # always the same guess
        ([240] * 4, 0.5, 0.97, 60, False),  # what a perfect network gets where 40 % of the validation labels are wrong
    ],
)
def test_little_is_told_from_enough(seed, sizes, share, steady, each, little):
    found = verdict(np.random.default_rng(seed), sizes, share, steady=steady, each=each)
    assert found.little == little
    assert found.doubtful.all() == (little or sizes[0] < 10)
    assert found.accuracy.low <= share + (1 - share) / len(sizes) + 0.1


def test_always_naming_the_largest_class_is_no_knowledge():
    labels = np.repeat([0, 1], [97, 3])
    none = learnt([np.zeros((4, 100), int)], labels, [np.full(4, 0.25)], 2)
    found = strength(none, np.array([970, 30]), np.array([0, 30]))
    assert found.little and found.accuracy.estimate == found.guess == pytest.approx(0.97)
    assert found.mostly.tolist() == [False, True] and found.unlearnt.tolist() == [False, False]  # of 3, nothing is sure
    good = learnt([np.tile(labels, (4, 1))], labels, [np.full(4, 0.25)], 2)
    assert not strength(good, np.array([970, 30]), np.array([5, 3])).doubtful.any()


def test_reasons_of_single_classes():
    labels = np.repeat(np.arange(4), [50, 50, 50, 2])
    rows = np.tile(np.where(labels == 1, 0, labels), (3, 1))
    seen = learnt([rows], labels, [np.full(3, 1 / 3)], 4)
    found = strength(seen, np.array([200, 200, 200, 5]), np.array([10, 40, 150, 5]))
    assert not found.little
    assert found.unlearnt.tolist() == [False, True, False, False]
    assert found.mostly.tolist() == [False, False, True, True]
    assert found.few.tolist() == [False, False, False, True]
    assert found.doubtful.tolist() == [False, True, True, True]


def test_without_predictions_only_sizes_speak():
    seen = learnt([], np.array([0, 1]), [], 2)
    found = strength(seen, np.array([9, 100]), np.array([0, 90]))
    assert found.accuracy is None and not found.little
    assert found.doubtful.tolist() == [True, True] and found.mostly.tolist() == [False, True]
    absent = strength(seen, np.array([0, 100]), np.array([0, 0]))
    assert not absent.doubtful.any()  # no training sample, no finding
    one = learnt([np.zeros((2, 8), int)], np.zeros(8, int), [np.full(2, 0.5)], 1)
    assert not strength(one, np.array([40]), np.array([0])).little


def test_chances_by_hand():
    found = LabelErrors(
        np.full(4, 0.9), np.full(4, -2.0), np.array([1, 1, 0, -1]), np.array([0.6, 0.9, 0.2, np.nan]),
        np.array([0.3, 0.05, 0.4, 0.1]), np.ones(4),
    )  # fmt: skip
    low, high = chances(found, np.array([0.5, 0.8]))
    np.testing.assert_allclose(low, [0.3, 0.85, 0, 0])
    np.testing.assert_allclose(high, [0.75, 1, 0.4, 1])


def test_the_range_of_wrong_labels():
    verdict = strength(learnt([], np.array([0, 1]), [], 2), np.array([100, 100]), np.array([50, 10]))
    labels = np.repeat([0, 1], [50, 10])
    low, high = np.full(60, 0.5), np.full(60, 0.5)
    known = wrong_among(labels, low, high, 1.0, verdict)
    width = 1.645 * np.sqrt(15)
    assert (known.low, known.high) == (np.floor(27 - width), np.ceil(33 + width))
    assert known.by_class[0].tolist() == [np.floor(22.5 - 1.645 * 12.5**0.5), np.ceil(27.5 + 1.645 * 12.5**0.5)]
    by_heart = wrong_among(labels, low, high, 0.0, verdict)  # what was learnt by heart may all be wrong
    assert by_heart.low == known.low and by_heart.high == 60
    doubtful = strength(learnt([], np.array([0, 1]), [], 2), np.array([100, 9]), np.array([50, 9]))
    found = wrong_among(labels, np.ones(60), np.ones(60), 1.0, doubtful)
    assert found.by_class.tolist() == [[45, 50], [0, 10]]
    none = wrong_among(labels[:0], low[:0], high[:0], 1.0, verdict)
    assert (none.low, none.high) == (0, 0) and none.by_class.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("seed", range(5))
def test_the_range_holds_the_truth_where_probabilities_do(seed):
    rng = np.random.default_rng(seed)
    p = rng.random(400)
    wrong = rng.random(400) < p
    verdict = strength(learnt([], np.array([0, 1]), [], 2), np.array([1000, 1000]), np.array([200, 200]))
    found = wrong_among(rng.integers(0, 2, 400), p, p, 1.0, verdict)
    assert found.low <= wrong.sum() <= found.high and found.high - found.low < 100
