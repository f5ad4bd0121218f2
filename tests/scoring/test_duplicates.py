"""Near and exact duplicates planted among textured images and look-alikes of our own making."""

import io

import numpy as np
import pytest
from PIL import Image

from lossprint.scoring.duplicates import Pairs, doubted, exact_pairs, groups, linked, near_pairs


def textured(count, size=32, seed=0):
    """Random pictures with detail at every scale, grey levels 0 to 255."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing="ij")
    falloff = 1 / np.maximum(np.hypot(y, x), 1 / size)
    fields = np.fft.ifft2(np.fft.fft2(rng.normal(size=(count, size, size))) * falloff).real
    fields = fields / fields.std(axis=(1, 2), keepdims=True) * rng.uniform(25, 50, (count, 1, 1))
    return np.clip(fields + 128, 0, 255).round().astype(np.uint8)


def look_alikes(count, size=28, seed=0):
    """Bright shapes of nearly the same outline on black, with a texture of their own each."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    pictures = []
    for texture in textured(count, size, seed + 1).astype(float):
        left, right, top = 7 + rng.integers(0, 3), 20 + rng.integers(0, 3), 3 + rng.integers(0, 3)
        shape = (x >= left) & (x <= right) & (y >= top) & ~((abs(x - 14) < 2) & (y > 12))
        pictures.append(np.where(shape, np.clip(200 + 0.5 * (texture - 128), 0, 255), 0))
    return np.array(pictures).round().astype(np.uint8)


def processed(image, kind, quality=60):
    """The image moved by one pixel, brighter or darker by 5 %, sometimes mirrored, and through a JPEG."""
    dy, dx = [(0, 1), (1, 0), (-1, 1), (1, 1), (0, -1)][kind % 5]
    image = np.pad(image, 1, mode="edge")[1 + dy : 1 + dy + image.shape[0], 1 + dx : 1 + dx + image.shape[1]]
    if kind % 3 == 0:
        image = image[:, ::-1]
    image = np.clip(image * (1.05 if kind % 2 else 0.95), 0, 255).round().astype(np.uint8)
    packed = io.BytesIO()
    Image.fromarray(image).save(packed, "JPEG", quality=quality)
    return np.array(Image.open(packed))


def planted(pictures, copies):
    """(pictures with processed copies of the first ones appended, the set of pairs)."""
    count = len(pictures)
    more = np.stack([processed(pictures[i], i) for i in range(copies)])
    return np.concatenate([pictures, more]), {(i, count + i) for i in range(copies)}


def as_set(pairs):
    return set(zip(pairs.first.tolist(), pairs.second.tolist()))


@pytest.mark.parametrize("pictures", [textured(300), look_alikes(300)], ids=["textured", "look-alikes"])
def test_planted_copies_are_found_and_nothing_else(pictures):
    images, expected = planted(pictures, 40)
    misleading = np.random.default_rng(5).normal(size=(len(images), 8))  # an embedding that knows nothing
    for vectors in (None, misleading):
        found = near_pairs(vectors, images)
        assert as_set(found) == expected
        assert (found.similarity > 0.8).all() and (found.similarity <= 1).all()


def test_the_embedding_alone_brings_candidates_too(monkeypatch):
    images, expected = planted(textured(60), 10)
    vectors = np.random.default_rng(5).normal(size=(70, 16))
    vectors[60:] = vectors[:10] + 0.01
    noise = np.random.default_rng(6).normal(size=(2, 70, 5)).astype(np.float32)
    monkeypatch.setattr("lossprint.scoring.duplicates._spectra", lambda images: tuple(noise))
    assert as_set(near_pairs(vectors, images, neighbours=1)) >= expected


def test_mirrored_equal_and_brighter_copies_have_full_similarity():
    image = textured(40).astype(float) * 0.7
    images = np.concatenate([image, image[:1], image[1:2, :, ::-1], 1.2 * image[2:3] + 10])
    found = near_pairs(None, images)
    assert as_set(found) == {(0, 40), (1, 41), (2, 42)}
    np.testing.assert_allclose(found.similarity, 1, atol=1e-3)
    # Twice the contrast is no longer the same picture.
    assert len(near_pairs(None, np.concatenate([0.5 * image, image[:1]])).first) == 0


def test_a_move_by_half_a_pixel_is_followed():
    large = textured(60, size=64)
    moved = np.stack([processed(image, 2 * kind + 1, quality=75) for kind, image in enumerate(large[:20])])
    small = np.stack([np.array(Image.fromarray(i).resize((32, 32))) for i in np.concatenate([large, moved])])
    assert as_set(near_pairs(None, small)) == {(i, 60 + i) for i in range(20)}


def test_blank_and_nearly_blank_images_are_nobodys_duplicates():
    rng = np.random.default_rng(0)
    blank = np.full((30, 32, 32), 200, np.uint8)
    nearly = (100 + rng.integers(0, 2, (30, 32, 32))).astype(np.uint8)
    slope = np.broadcast_to(np.linspace(50, 60, 32), (5, 32, 32)).astype(np.uint8)
    images = np.concatenate([blank, nearly, slope, textured(5)])
    vectors = np.ones((70, 4))
    assert len(near_pairs(vectors, images).first) == 0
    assert len(near_pairs(vectors[:30], blank).first) == 0
    assert len(near_pairs(None, blank[:0]).first) == 0


def test_many_equal_images_stay_one_group_and_few_pairs():
    images = np.concatenate([textured(20), np.repeat(textured(1, seed=9), 300, axis=0)])
    found = near_pairs(np.full((320, 3), np.nan), images, neighbours=5)
    assert len(found.first) <= 2 * 5 * 320
    (group,) = groups(found, 320)
    assert group.tolist() == list(range(20, 320))


def test_images_need_not_be_square():
    images, expected = planted(textured(40, size=40)[:, :24], 5)
    assert as_set(near_pairs(None, images)) == expected


def test_groups_are_connected_components():
    rng = np.random.default_rng(3)
    for _ in range(20):
        edges = np.sort(rng.integers(0, 40, (25, 2)), axis=1)
        edges = edges[edges[:, 0] < edges[:, 1]]
        reached = np.eye(40, dtype=int)
        reached[edges[:, 0], edges[:, 1]] = reached[edges[:, 1], edges[:, 0]] = 1
        for _ in range(6):  # paths of up to 64 edges
            reached = (reached @ reached > 0).astype(int)
        expected = {tuple(np.flatnonzero(row).tolist()) for row in reached if row.sum() > 1}
        found = groups(Pairs(edges[:, 0], edges[:, 1], np.ones(len(edges))), 40)
        assert {tuple(group.tolist()) for group in found} == expected
        assert [group[0] for group in found] == sorted(group[0] for group in found)
    assert groups(Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)), 5) == []


def test_exact_pairs_group_equal_digests():
    assert [group.tolist() for group in exact_pairs(["x", "a", "x", "b", "a", "x"])] == [[0, 2, 5], [1, 4]]
    assert exact_pairs([]) == exact_pairs(["x", "y"]) == []


def test_errors_state_both_shapes():
    with pytest.raises(ValueError, match=r"\(5, 3\).*\(4, 32, 32\)"):
        near_pairs(np.zeros((5, 3)), textured(4))
    with pytest.raises(ValueError, match=r"\(4, 32\)"):
        near_pairs(None, textured(4)[:, 0])
    with pytest.raises(ValueError, match="at least 8 pixels"):
        near_pairs(None, textured(4)[:, :5])
    with pytest.raises(ValueError, match="at least 1"):
        near_pairs(None, textured(4), neighbours=0)
    with pytest.raises(ValueError, match="0 to 255, the largest is 1"):
        near_pairs(None, textured(4) / textured(4).max())


def made(edges):
    first, second, similarity = (np.array(column) for column in zip(*edges))
    return Pairs(first.astype(np.int64), second.astype(np.int64), similarity.astype(float))


def test_average_linkage_joins_what_resembles_each_other_and_no_chain():
    chain = linked(made([(at, at + 1, 0.9 - at / 100) for at in range(9)]), 10)
    assert np.bincount(chain[chain >= 0]).max() <= 3  # of three, each resembles half of the two others or more
    whole = [(a, b, 0.9) for a in range(5) for b in range(a + 1, 5)]
    two = linked(made([*whole, (4, 6, 0.8), *[(a + 5, b + 5, s) for a, b, s in whole]]), 12)  # joined by one pair
    assert [np.flatnonzero(two == name).tolist() for name in np.unique(two[two >= 0])] == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
    ]
    assert (two[10:] == -1).all()
    assert linked(made([(0, 1, 0.9), (0, 2, 0.8), (0, 3, 0.7)]), 4).tolist().count(-1) <= 1
    assert (linked(Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)), 3) == -1).all()


def test_a_group_that_holds_much_of_the_dataset_is_doubted():
    group = np.full(400, -1)
    group[:13], group[20:32], group[50:52] = 7, 20, 50
    assert np.flatnonzero(doubted(group)).tolist() == list(range(13))
    small = np.full(20, -1)
    small[:5] = 0
    assert not doubted(small).any()
    small[5] = 0
    assert doubted(small).sum() == 6
