"""The model over time: it sees order where single frames do not, and never a label of the video it is asked about."""

import numpy as np
import pytest

from lossprint.audit.temporal import frame_features, held_out


def two_alike(videos=8, length=40, seed=0):
    """Videos whose two phases look the same; the first half is 0, the second 1."""
    random = np.random.default_rng(seed)
    labels = np.tile(np.repeat([0, 1], length // 2), videos)
    features = random.normal(size=(videos * length, 3)).astype(np.float32)
    return features, labels, np.arange(videos + 1) * length, np.arange(videos) % 4


def test_exchanged_labels_of_phases_that_look_alike_have_the_highest_losses():
    features, labels, bounds, fold = two_alike()
    labels[80:120] = 1 - labels[80:120]
    losses = held_out(features, labels, bounds, fold, 2, epochs=20).losses.mean(0)
    by_video = losses.reshape(8, 40).mean(1)
    assert by_video.argmax() == 2
    assert by_video[2] > 2 * np.delete(by_video, 2).max()


def test_what_is_said_of_a_video_does_not_depend_on_its_own_labels():
    features, labels, bounds, fold = two_alike()
    first = held_out(features, labels, bounds, fold, 2, epochs=3)
    fold[2] = 4  # alone in its fold, so that no other video's network saw these labels either
    alone = held_out(features, labels, bounds, fold, 2, epochs=3)
    labels[80:120] = 1 - labels[80:120]
    changed = held_out(features, labels, bounds, fold, 2, epochs=3)
    np.testing.assert_array_equal(alone.probabilities[80:120], changed.probabilities[80:120])
    assert not np.array_equal(alone.losses[:, 80:120], changed.losses[:, 80:120])
    assert np.isfinite(first.losses).all()
    np.testing.assert_allclose(first.probabilities.sum(1), 1, atol=1e-5)


def test_the_same_seed_gives_the_same_losses():
    case = two_alike(videos=4)
    first, again = (held_out(*case, 2, epochs=2, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.losses, again.losses)


def test_features_are_free_of_a_videos_style():
    random = np.random.default_rng(0)
    thumbs = random.integers(60, 120, (40, 4, 4, 3)).astype(np.uint8)
    bounds = np.array([0, 20, 40])
    styled = thumbs.copy()
    styled[20:] = styled[20:] * 2
    np.testing.assert_allclose(
        np.abs(frame_features(thumbs, bounds)), np.abs(frame_features(styled, bounds)), atol=1e-2
    )
    assert np.isfinite(frame_features(np.zeros((3, 4, 4, 3), np.uint8), np.array([0, 3]))).all()


def test_one_fold_or_an_empty_video_is_refused():
    features, labels, bounds, fold = two_alike(videos=2)
    with pytest.raises(ValueError, match="at least 2 folds"):
        held_out(features, labels, bounds, np.zeros(2), 2)
    with pytest.raises(ValueError, match="empty one"):
        held_out(features, labels, np.array([0, 0, 80]), fold, 2)
