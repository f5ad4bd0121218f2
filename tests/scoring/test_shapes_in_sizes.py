"""A shape drawn in several sizes is no copy of its neighbour in size, though a map lays one on the other exactly."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lossprint.scoring.near import copies
from lossprint.scoring.near.describing import candidates, colours


def drawn(sides: int, ground: int, glyph: int) -> np.ndarray:
    """(6, 64, 64, 3) uint8: regular polygons of six sizes at places of their own."""
    random, images = np.random.default_rng(sides), []
    for size in range(6):
        image = Image.new("RGB", (64, 64), (ground,) * 3)
        x, y = (int(value) for value in random.integers(26, 38, 2))
        ImageDraw.Draw(image).regular_polygon((x, y, 10 + 2 * size), sides, fill=(glyph,) * 3)
        images.append(np.asarray(image))
    return np.stack(images)


def small(images: np.ndarray, side: int) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(one).resize((side, side))) for one in images]).astype(np.float32)


@pytest.mark.parametrize(("ground", "glyph"), [(0, 255), (255, 0), (120, 180)])
def test_icons_are_no_copies(ground, glyph):
    images = np.concatenate([drawn(sides, ground, glyph) for sides in (3, 4, 6, 30)])
    pairs = copies.changed_pairs(candidates(small(images, 32).mean(axis=3)), len(images))
    assert len(pairs.first), "no candidate: the test shows nothing"
    found, _ = copies.confirmed(pairs, colours(small(images, 32)), lambda rows: images[rows])
    assert not len(found.first), list(zip(found.first.tolist(), found.second.tolist()))
    assert copies._detail(images.astype(np.float32)).max() < copies.DETAILED
