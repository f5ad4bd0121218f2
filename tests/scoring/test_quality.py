"""Image quality: against plain loops, and on datasets in which single images are made dark, blurred and so on."""

import math

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lossprint.scoring import quality


def loop(image: np.ndarray) -> list[float]:
    """Pixel by pixel."""
    height, width = image.shape[:2]
    colour, greys = [], []
    for y in range(height):
        for x in range(width):
            red, green, blue = (int(v) for v in image[y, x])
            colour.append(max(red, green, blue) - min(red, green, blue))
            greys.append(round(0.299 * red + 0.587 * green + 0.114 * blue))
    grey = np.array(greys).reshape(height, width)
    edges = [
        grey[y - 1, x] + grey[y + 1, x] + grey[y, x - 1] + grey[y, x + 1] - 4 * grey[y, x]
        for y in range(1, height - 1)
        for x in range(1, width - 1)
    ]
    ranked = sorted(greys)
    high, low = (ranked[max(math.ceil(part * len(ranked)) - 1, 0)] / 255 for part in (0.99, 0.05))
    share = [greys.count(level) / len(greys) for level in set(greys)]
    entropy = -sum(one * math.log2(one) for one in share)
    return [high, low, math.log2(np.std(edges) / np.std(greys)), entropy, float(np.mean(colour))]


@pytest.mark.parametrize("shape", [(12, 17), (4, 5), (40, 9)])
def test_measures_are_those_of_a_loop(shape):
    image = np.random.default_rng(len(shape)).integers(0, 256, (*shape, 3), dtype=np.uint8)
    np.testing.assert_allclose(quality.measure(image), loop(image), rtol=1e-4)


def test_grey_is_grey_whatever_its_shape():
    grey = np.random.default_rng(1).integers(0, 256, (20, 20), dtype=np.uint8)
    one, other = quality.measure(grey), quality.measure(np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_allclose(one, other, atol=1e-6)
    assert one[4] == 0


def test_a_plain_image_holds_nothing_and_has_no_sharpness():
    high, low, sharpness, information, colour = quality.measure(np.full((9, 9, 3), 70, np.uint8))
    assert high == low == pytest.approx(70 / 255) and np.isnan(sharpness) and information == colour == 0
    assert np.isnan(quality.measure(np.zeros((1, 5), np.uint8))[2])


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8)])
def test_what_is_no_image_is_refused(image):
    with pytest.raises(ValueError, match="an image must be"):
        quality.measure(image)


# ---------------------------------------------------------------------------------------- what stands out


def photo(rng: np.random.Generator, side: int = 64, light: float = 1.0) -> np.ndarray:
    """Coloured blobs with edges, over noise: no two alike."""
    image = rng.normal(128, 12, (side, side, 3))
    for _ in range(12):
        x, y, size = (int(one) for one in (*rng.integers(0, side - 8, 2), rng.integers(6, side // 2)))
        image[y : y + size, x : x + size] = rng.integers(20, 236, 3)
    return (image * light).clip(0, 255).astype(np.uint8)


def blurred(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(4)))


PLANTED = {
    "dark": lambda image: (image * 0.15).astype(np.uint8),
    "bright": lambda image: (215 + image * 0.15).astype(np.uint8),
    "blurry": blurred,
    "low_information": lambda image: (image // 120 * 120).astype(np.uint8),
    "grey": lambda image: np.repeat(image.mean(2, keepdims=True).astype(np.uint8), 3, axis=2),
    "odd_size": lambda image: np.asarray(Image.fromarray(image).resize((9, 9))),
    "odd_aspect": lambda image: image[:20],
}


def measured(images: list[np.ndarray]) -> dict[str, np.ndarray]:
    measures = np.stack([quality.measure(image) for image in images])
    return quality.issues(measures, np.array([image.shape[1::-1] for image in images]))


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("seed", [0, 1])
def test_six_of_six_planted_stand_out_and_no_other_image(name, seed):
    rng = np.random.default_rng(seed)
    images = [photo(rng) for _ in range(200)]
    images[:6] = [PLANTED[name](image) for image in images[:6]]
    severities = measured(images)
    assert (severities[name][:6] > 0.5).all()
    assert not any((severities[other][6:] > 0.5).any() for other in severities)


def test_a_dataset_that_is_dark_or_grey_as_a_whole_has_nothing_odd():
    rng = np.random.default_rng(3)
    xrays = [photo(rng, light=0.2).mean(2).astype(np.uint8) for _ in range(100)]
    assert not any((severity > 0.5).any() for severity in measured(xrays).values())
    half = [photo(rng, light=0.2 if at % 2 else 1.0) for at in range(100)]
    assert not (measured(half)["dark"] > 0.5).any()
    mixed = [image if at % 3 else PLANTED["grey"](image) for at, image in enumerate(half)]
    assert not (measured(mixed)["grey"] > 0.5).any()


def test_equal_images_have_nothing_odd_and_few_cannot_be_judged():
    image = photo(np.random.default_rng(4))
    assert not any((severity > 0.5).any() for severity in measured([image] * 30).values())
    assert all(np.isnan(severity).all() for severity in measured([image] * 5).values())


def test_severity_grows_with_the_distance_and_is_a_half_at_the_fence():
    sizes = np.full((100, 2), 64)
    measures = np.tile(np.array([0.9, 0.1, 0.0, 7.0, 30.0], np.float32), (100, 1))
    measures[:3, 0] = 0.65, 0.4, 0.1  # the least difference is 0.25
    dark = quality.issues(measures, sizes)["dark"]
    assert dark[0] == pytest.approx(0.5, abs=1e-6) and dark[0] < dark[1] < dark[2] < 1 and (dark[3:] == 0).all()


def test_unknown_measures_are_not_judged_and_shapes_are_checked():
    measures = np.tile(np.array([0.9, 0.1, np.nan, 7.0, 30.0]), (40, 1))
    severities = quality.issues(measures, np.full((40, 2), 8))
    assert np.isnan(severities["blurry"]).all() and not np.isnan(severities["dark"]).any()
    with pytest.raises(ValueError, match="measures must be"):
        quality.issues(measures, np.full((39, 2), 8))


# ---------------------------------------------------------------------------------------- what tells a class


def test_auroc_is_that_of_all_pairs():
    rng = np.random.default_rng(5)
    values, positive = rng.integers(0, 9, 60), rng.random(60) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a in values[positive] for b in values[~positive]]
    assert quality.auroc(values, positive) == pytest.approx(np.mean(pairs))
    with pytest.raises(ValueError, match="some positive"):
        quality.auroc(values, np.zeros(60, bool))


def test_its_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(6)
    truth, inside = 0.7602, 0  # of two normals one deviation apart
    for _ in range(400):
        values = np.concatenate([rng.normal(1, 1, 40), rng.normal(0, 1, 80)])
        low, high = quality.auroc_interval(quality.auroc(values, np.arange(120) < 40), 40, 80)
        inside += low <= truth <= high
    assert 0.92 <= inside / 400 <= 0.98
    assert quality.auroc_interval(0.8, 40, 80, 50)[0] < quality.auroc_interval(0.8, 40, 80)[0]
