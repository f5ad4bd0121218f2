"""Every kind of image becomes the right upright RGB pixels, and every kind of damage a reason."""

import warnings

import numpy as np
import pytest
from PIL import Image

from lossprint.audit.datasets.images import (
    MORE,
    pixel_digest,
    read_image,
    read_size,
    read_values,
    reason,
    square,
    upright_rgb,
)

GREY = np.array([[0, 50, 100], [150, 200, 250]], np.uint8)
COLOUR = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 120, 30]]], np.uint8)


def grey_rgb(values) -> np.ndarray:
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, axis=2)


def saved(tmp_path, image, name="a.png", **options) -> np.ndarray:
    """Save an image, read it as Lossprint does, check that it is upright RGB; its pixels (H, W, 3)."""
    image.save(tmp_path / name, **options)
    found = read_image(tmp_path / name)
    assert found.mode == "RGB"
    assert read_size(tmp_path / name) == found.size
    return np.asarray(found)


def test_grey_and_colour(tmp_path):
    assert np.array_equal(saved(tmp_path, Image.fromarray(GREY)), grey_rgb(GREY))
    assert np.array_equal(saved(tmp_path, Image.fromarray(COLOUR)), COLOUR)


def test_one_bit(tmp_path):
    assert np.array_equal(saved(tmp_path, Image.fromarray(GREY > 120)), grey_rgb((GREY > 120) * 255))


@pytest.mark.parametrize("transparent", [False, True])
def test_palette(tmp_path, transparent):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    expected = np.array([[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [40, 50, 60]]])
    options = {}
    if transparent:
        options["transparency"] = 1
        expected[[0, 1], [1, 1]] = 255  # the entry that one looks through shows the white behind
    assert np.array_equal(saved(tmp_path, image, **options), expected)


def test_alpha_is_laid_on_white(tmp_path):
    alpha = np.array([[255, 0], [51, 255]], np.uint8)
    expected = COLOUR.astype(float) * (alpha[..., None] / 255) + 255 * (1 - alpha[..., None] / 255)
    found = saved(tmp_path, Image.fromarray(np.dstack([COLOUR, alpha])))
    assert np.abs(found - expected).max() <= 1
    found = saved(tmp_path, Image.fromarray(np.dstack([GREY[:, :2], alpha])))  # LA
    assert np.abs(found - (GREY[:, :2] * (alpha / 255) + 255 - alpha)[..., None]).max() <= 1


def test_transparent_colour_of_a_grey_png(tmp_path):
    assert np.array_equal(saved(tmp_path, Image.fromarray(GREY), transparency=50)[0, 1], [255, 255, 255])


def test_cmyk(tmp_path):
    ink = np.zeros((2, 2, 4), np.uint8)
    ink[0, 0] = (0, 255, 255, 0)
    ink[0, 1] = (0, 0, 0, 255)
    ink[1, 0] = (255, 0, 0, 0)
    found = saved(tmp_path, Image.fromarray(ink, "CMYK"), "a.tif")
    assert found.tolist() == [[[255, 0, 0], [0, 0, 0]], [[0, 255, 255], [255, 255, 255]]]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_scaled_from_their_own_range(tmp_path, name):
    values = np.array([[1000, 1500], [2000, 3000]], np.uint16)
    assert np.array_equal(saved(tmp_path, Image.fromarray(values), name), grey_rgb([[0, 64], [128, 255]]))


def test_other_deep_greys(tmp_path):
    expected = grey_rgb([[0, 64], [128, 255]])
    values = np.array([[-1000, -500], [0, 1000]])
    assert np.array_equal(saved(tmp_path, Image.fromarray(values.astype(np.int32)), "i.tif"), expected)
    assert np.array_equal(saved(tmp_path, Image.fromarray(values.astype(np.float32)), "f.tif"), expected)
    big_endian = Image.fromarray((values // 2 + 500).astype(">u2"))
    assert big_endian.mode == "I;16B"
    assert np.array_equal(np.asarray(upright_rgb(big_endian)), expected)


def test_a_deep_grey_of_one_value_is_black_and_what_is_not_finite_is_the_minimum(tmp_path):
    flat = Image.fromarray(np.full((2, 3), 777, np.uint16))
    assert not saved(tmp_path, flat).any()
    holes = Image.fromarray(np.array([[np.nan, 1.0], [np.inf, 2.0]], np.float32))
    assert np.array_equal(saved(tmp_path, holes, "f.tif"), grey_rgb([[0, 0], [0, 255]]))
    assert not np.asarray(upright_rgb(Image.fromarray(np.full((2, 2), np.nan, np.float32)))).any()


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, name, orientation):
    turn = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a.transpose(1, 0, 2), 2), 8: np.rot90,
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if name.endswith("webp") else {}
    Image.fromarray(grey_rgb(GREY)).save(tmp_path / name, exif=exif, **options)
    assert np.array_equal(np.asarray(read_image(tmp_path / name)), turn(grey_rgb(GREY)))
    size = read_image(tmp_path / name).size
    assert read_size(tmp_path / name) in ({size} if name == "a.webp" else {size, size[::-1]})


def test_jpeg_is_turned_as_well(tmp_path):
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(wide).save(tmp_path / "a.jpg", exif=exif, quality=95)
    found = np.asarray(read_image(tmp_path / "a.jpg"))
    assert found.shape == (32, 16, 3)
    assert found[:14].min() > 200 and found[18:].max() < 50
    assert read_size(tmp_path / "a.jpg") == (16, 32)


def test_the_first_image_of_an_animation(tmp_path):
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.gif")), grey_rgb(GREY))


@pytest.mark.parametrize("ending", ["gif", "webp", "tif", "png"])
def test_files_whose_first_images_alone_are_equal_are_no_copies(tmp_path, ending):
    large = np.kron(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8), np.ones((4, 4, 1), np.uint8))
    for name, later in (("a", 255 - large), ("b", large // 2), ("c", 255 - large)):
        Image.fromarray(large).save(
            tmp_path / f"{name}.{ending}", save_all=True, append_images=[Image.fromarray(later)]
        )
    first, other, same = (pixel_digest(read_values(tmp_path / f"{name}.{ending}")) for name in "abc")
    assert first == same != other
    assert read_values(tmp_path / f"a.{ending}").info[MORE] == 1


# ------------------------------------------------------------------------------------------------ digest and square


def test_digest_is_of_pixels_and_size(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    Image.fromarray(grey_rgb(GREY)).save(tmp_path / "b.bmp")
    same = {pixel_digest(read_image(tmp_path / name)) for name in ("a.png", "b.bmp")}
    assert len(same) == 1
    other = grey_rgb(GREY)
    other[0, 0, 0] ^= 1
    assert pixel_digest(Image.fromarray(other)) not in same
    assert pixel_digest(Image.fromarray(grey_rgb(GREY).reshape(3, 2, 3))) not in same


def test_square_leaves_a_fitting_image_alone():
    assert np.array_equal(square(Image.fromarray(COLOUR), 2), COLOUR)


def test_square_resizes_what_is_nearly_square():
    ramp = grey_rgb(np.tile(np.arange(100, dtype=np.uint8), (103, 1)))
    found = square(Image.fromarray(ramp), 50)
    assert found.shape == (50, 50, 3)
    assert np.abs(found[:, :, 0].astype(int) - np.arange(0.5, 100, 2)).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(20, 40), (40, 20), (3, 90)])
def test_square_pads_with_the_colour_of_the_rim(height, width):
    image = np.full((height, width, 3), (10, 200, 90), np.uint8)
    image[height // 2, width // 2] = (255, 0, 0)
    found = square(Image.fromarray(image), 32)
    assert found.shape == (32, 32, 3) and found.dtype == np.uint8
    for corner in (found[0, 0], found[-1, -1], found[0, -1], found[-1, 0]):
        assert np.abs(corner - np.array([10, 200, 90])).max() <= 1


def test_square_keeps_the_aspect():
    image = np.zeros((20, 40, 3), np.uint8)
    image[5:15, 10:30] = 255  # a white field of half the sides on black, so the rim is black
    found = square(Image.fromarray(image), 40)[..., 0] > 127
    assert (found.any(axis=0).sum(), found.any(axis=1).sum()) == (20, 10)


# ------------------------------------------------------------------------------------------------ damage


def why(path) -> str:
    with pytest.raises(Exception) as caught:  # a damaged file may raise anything
        read_image(path)
    found = reason(caught.value)
    assert found and "\n" not in found and str(path.parent) not in found
    return found


def test_reasons(tmp_path):
    noise = np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)
    for name in ("a.png", "a.jpg", "a.bmp"):
        Image.fromarray(noise).save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        assert "truncated" in why(tmp_path / name).lower(), name
    (tmp_path / "text.png").write_text("not a picture")
    assert why(tmp_path / "text.png") == "not an image that Pillow can read"
    (tmp_path / "empty.png").touch()
    assert why(tmp_path / "empty.png") == "not an image that Pillow can read"
    assert why(tmp_path / "none.png") == "no such file"
    (tmp_path / "folder.png").mkdir()
    assert why(tmp_path / "folder.png") == "a folder, not a file"


@pytest.mark.parametrize("limit", [50, 90])  # at 50 Pillow raises (over twice the limit), at 90 it only warns
def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch, limit):
    Image.new("L", (10, 11)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        assert why(tmp_path / "a.png") == f"more than {limit} pixels: refused as a possible decompression bomb"
        with pytest.raises(Image.DecompressionBombError):
            read_size(tmp_path / "a.png")


def test_postscript_starts_no_other_program(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    assert why(tmp_path / "a.png") == "not an image that Pillow can read"
