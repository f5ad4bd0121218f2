"""The model over time: it sees order where single frames do not, and never a label of the video it is asked about."""

import numpy as np
import pytest

from lossprint.audit.video import temporal, timeline
from lossprint.scoring.sequences import styleless


def two_alike(videos=8, length=40, seed=0):
    """Videos whose two phases look the same; the first half is 0, the second 1."""
    random = np.random.default_rng(seed)
    labels = np.tile(np.repeat([0, 1], length // 2), videos)
    flat = random.normal(size=(videos * length, 3)).astype(np.float32)
    where = timeline.Rows(np.arange(len(labels)), np.arange(videos + 1) * length, np.arange(videos) % 4)
    return flat, labels, where


def seen(flat, labels, where, epochs=3, folds=4, **options):
    looks = np.zeros((folds, len(labels), 2), np.float32)
    return timeline.held_out(flat, temporal.axes_of(flat), looks, labels, where, 2, epochs=epochs, **options)


def test_exchanged_labels_of_phases_that_look_alike_have_the_highest_losses():
    flat, labels, where = two_alike()
    labels[80:120] = 1 - labels[80:120]
    by_video = seen(flat, labels, where, epochs=20).losses.mean(0).reshape(8, 40).mean(1)
    assert by_video.argmax() == 2
    assert by_video[2] > 2 * np.delete(by_video, 2).max()


def test_what_is_said_of_a_video_does_not_depend_on_its_own_labels():
    flat, labels, where = two_alike()
    where.fold[2] = 4  # alone in its fold, so that no other video's network saw these labels either
    alone = seen(flat, labels, where, folds=5)
    labels[80:120] = 1 - labels[80:120]
    changed = seen(flat, labels, where, folds=5)
    np.testing.assert_array_equal(alone.probabilities[80:120], changed.probabilities[80:120])
    assert not np.array_equal(alone.losses[:, 80:120], changed.losses[:, 80:120])
    assert np.isfinite(changed.losses).all()
    np.testing.assert_allclose(alone.probabilities.sum(1), 1, atol=1e-5)


def test_a_video_of_no_fold_is_seen_by_all_networks_and_trains_none():
    flat, labels, where = two_alike()
    where.fold[1] = -1
    kept = {}
    found = seen(flat, labels, where, keep=kept.__setitem__)
    labels[40:80] = 1 - labels[40:80]
    np.testing.assert_array_equal(found.probabilities, seen(flat, labels, where).probabilities)
    features = temporal.frame_features(flat, temporal.axes_of(flat), np.zeros((len(labels), 2), np.float32))[40:80]
    one = [temporal.look(kept[k], features, labels[40:80], np.array([0, 40])).probabilities for k in range(4)]
    np.testing.assert_allclose(found.probabilities[40:80], np.mean(one, 0), atol=1e-6)


def test_the_same_seed_gives_the_same_losses():
    case = two_alike(videos=4)
    first, again = (seen(*case, epochs=2, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.losses, again.losses)


def test_features_are_free_of_a_videos_style():
    random = np.random.default_rng(0)
    thumbs = random.integers(60, 120, (40, 4, 4, 3)).astype(np.uint8)
    bounds = np.array([0, 20, 40])
    styled = thumbs.copy()
    styled[20:] = styled[20:] * 2
    np.testing.assert_allclose(styleless(thumbs, bounds), styleless(styled, bounds), atol=1e-5)
    flat = styleless(np.zeros((3, 4, 4, 3), np.uint8), np.array([0, 3]))
    assert np.isfinite(temporal.frame_features(flat, temporal.axes_of(flat))).all()


def test_rows_are_by_sequence_and_number_and_only_training_videos_have_a_fold():
    sequence = np.array(["b", "", "a", "b", "a"])
    split = np.array(["train", "train", "val", "train", "val"])
    where = timeline.rows_of(sequence, np.array([7, -1, 3, 2, 1]), split, np.array([1, 0, 0, 1, 0]))
    assert where.rows.tolist() == [4, 2, 3, 0]
    assert where.bounds.tolist() == [0, 2, 4]
    assert where.fold.tolist() == [-1, 1]


def test_no_video_or_an_empty_one_is_refused():
    flat, labels, _ = two_alike(videos=2)
    with pytest.raises(ValueError, match="found none"):
        temporal.fit(flat[:0], labels[:0], np.array([0]), 2)
    with pytest.raises(ValueError, match="empty one"):
        temporal.fit(flat, labels, np.array([0, 0, 80]), 2)
