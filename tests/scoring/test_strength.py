"""What a network has learnt, from predictions that are made up."""

import numpy as np
import pytest

from lossprint.scoring.strength import learnt, strength


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
