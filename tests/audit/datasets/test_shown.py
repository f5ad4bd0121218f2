"""Identity is of what a file holds; images are drawn by what their dataset holds; large and cut-off ones by choice."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

from lossprint.audit.datasets import images
from lossprint.audit.datasets.choices import Choices
from lossprint.audit.datasets.dataset import load, open_dataset, sample_reader
from lossprint.audit.datasets.images import Room, admitting, pixel_digest, read_size, read_values
from lossprint.audit.datasets.shown import View, rendered, sketch, view_of
from lossprint.audit.recording.samples import described
from lossprint.audit.types import LossprintError
from lossprint.scoring.duplicates import exact_pairs

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (24, 20, 4), dtype=np.uint8)


def digest(image: Image.Image, kind="PNG", **how) -> str:
    """Of the image as a file of that format."""
    held = io.BytesIO()
    image.save(held, kind, **how)
    held.seek(0)
    return pixel_digest(read_values(held))


def glyphs(root, colours, ground=(0, 0, 0, 0), mode="RGBA", per_class=4):
    """Squares of those colours, all of different places, transparent around; two classes."""
    for at in range(2 * per_class):
        values = np.zeros((32, 32, 4), np.uint8)
        values[:] = ground
        values[3 + at : 13 + at, 5:15] = (*colours[at % len(colours)], 255)
        folder = root / ("left" if at < per_class else "right")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).convert(mode).save(folder / f"{at}.png")
    return root


# ------------------------------------------------------------------------------------------------ identity


def test_what_differs_in_any_value_is_not_equal():
    rgba = Image.fromarray(NOISE)
    clear = NOISE.copy()
    clear[..., 3] = 0
    other = clear.copy()
    other[3, 4, 1] ^= 1  # a colour under what is transparent
    palette = Image.fromarray(NOISE[..., 0] % 4).convert("P")
    swapped = palette.copy()
    palette.putpalette([9, 9, 9, 80, 0, 0, 0, 80, 0, 0, 0, 80])
    swapped.putpalette([9, 9, 9, 0, 80, 0, 80, 0, 0, 0, 0, 80])
    deep = NOISE[..., 0].astype(np.uint16) * 7 + 100
    nudged = deep.copy()
    nudged[5, 5] += 1
    real = deep / 7.0
    kinds = [
        digest(rgba), digest(rgba.convert("RGB")), digest(Image.fromarray(clear)), digest(Image.fromarray(other)),
        digest(rgba.convert("LA")), digest(palette), digest(swapped), digest(palette, transparency=1),
        digest(Image.fromarray(deep)), digest(Image.fromarray(nudged)), digest(Image.fromarray(deep.T.copy())),
        digest(Image.fromarray(real.astype(np.float32)), "TIFF"),
        digest(Image.fromarray((real + 1e-3).astype(np.float32)), "TIFF"),
        digest(Image.fromarray(NOISE, "CMYK"), "TIFF"), digest(Image.fromarray(NOISE, "CMYK").convert("RGB")),
        digest(Image.fromarray(deep.astype(np.int32) - 500), "TIFF"),
    ]  # fmt: skip
    assert len(set(kinds)) == len(kinds)


def test_what_is_equal_in_every_value_is_equal_in_any_format():
    grey, deep = Image.fromarray(NOISE[..., 0]), Image.fromarray(NOISE[..., 0].astype(np.uint16) * 200)
    solid = np.dstack([NOISE[..., :3], np.full(NOISE.shape[:2], 255, np.uint8)])
    assert digest(grey) == digest(grey.convert("RGB"), "BMP") == digest(grey.convert("P"), "GIF")
    assert digest(Image.fromarray(solid)) == digest(Image.fromarray(solid[..., :3]))
    assert digest(deep) == digest(deep, "TIFF") == pixel_digest(Image.fromarray(np.asarray(deep).astype(">u2")))
    assert digest(Image.fromarray(NOISE)) == digest(Image.fromarray(NOISE), "WEBP", lossless=True, exact=True)


def test_sixteen_bit_colours_that_pillow_cuts_to_eight_are_told_apart(tmp_path):
    def ppm(low):
        return io.BytesIO(b"P6 2 1 65535\n" + bytes([10, low, 20, low, 30, low] * 2))

    assert np.array_equal(np.asarray(read_values(ppm(1))), np.asarray(read_values(ppm(2))))
    assert pixel_digest(read_values(ppm(1))) != pixel_digest(read_values(ppm(2)))
    assert pixel_digest(read_values(ppm(1))) == pixel_digest(read_values(ppm(1)))


def test_digests_of_strips_are_those_of_the_whole(monkeypatch):
    made = [Image.fromarray(NOISE), Image.fromarray(NOISE[..., :3]), Image.fromarray(NOISE[..., 0].astype(np.uint16))]
    made += [Image.fromarray(NOISE[..., 0].astype(np.float32)), Image.fromarray(NOISE[..., :2], "LA")]
    whole = [pixel_digest(image) for image in made]
    drawn = [np.asarray(rendered(image)) for image in made]
    monkeypatch.setattr("lossprint.audit.datasets.shown.STRIP", 60)
    assert [pixel_digest(image) for image in made] == whole
    assert all(np.array_equal(np.asarray(rendered(image)), one) for image, one in zip(made, drawn))


# ------------------------------------------------------------------------------------------------ how they are drawn


WHITE, BLACK = (255, 255, 255), (0, 0, 0)
OF_ALL_KINDS = [(255, 255, 0), WHITE, BLACK, (120, 130, 128)]


@pytest.mark.parametrize("colours", [[WHITE], [(250, 250, 250), BLACK], [WHITE, (128, 128, 128)], OF_ALL_KINDS])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_images_lie_where_they_can_be_seen(tmp_path, colours, mode):
    loaded = load(open_dataset(glyphs(tmp_path / "data", colours, mode=mode), check=False), 32)
    contrast = loaded.pixels.reshape(8, -1, 3).astype(int)
    assert (np.ptp(contrast, axis=1).max(axis=1) >= 32).all()  # none is blank
    assert exact_pairs(loaded.digests) == []
    assert len({one.tobytes() for one in loaded.pixels}) == 8
    about = described(loaded.dataset, 0, "classes")[1]
    assert about["shown"]["ground"] != "#ffffff" and any("transparent images are laid" in n for n in about["notes"])
    again = sample_reader(about)  # what a page shows
    for row, path in enumerate(loaded.dataset.samples["path"]):
        assert np.array_equal(np.asarray(again(path)), loaded.pixels[row])
        assert np.array_equal(np.asarray(loaded.dataset.image(path)), loaded.pixels[row])


def test_white_stays_the_ground_of_what_can_be_seen_on_it(tmp_path):
    dataset = open_dataset(glyphs(tmp_path / "data", [(0, 0, 0), (200, 30, 30)]))
    assert dataset.view == View() and "shown" not in described(dataset, 0, "classes")[1]
    assert not any("transparent" in note for note in dataset.notes)


def test_images_that_are_blank_on_any_ground_are_said(tmp_path):
    root = glyphs(tmp_path / "data", [(0, 0, 0)])
    for name in ("left/x.png", "right/y.png"):
        Image.new("RGBA", (32, 32), (9, 9, 9, 0)).save(root / name)
    assert "2 of 10 images with transparency are blank or hardly seen on #ffffff" in open_dataset(root).notes


@pytest.mark.parametrize("mode", ["uint16", "int32", "float32"])
def test_one_range_for_the_dataset_and_a_hot_pixel_changes_nothing(tmp_path, mode):
    """Exposure stays: a picture of twice the values is twice as bright, and 65535 in a corner takes no range."""
    field = RNG.integers(100, 230, (64, 64))
    for at in range(8):
        values = (field * (1 + at / 8)).astype(mode)
        values[3, at] = 65535
        folder = tmp_path / "data" / "ab"[at % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(folder / f"{at}.tif")
    loaded = load(open_dataset(tmp_path / "data", check=False), 64)
    order = np.argsort([int(path[2]) for path in loaded.dataset.samples["path"]])
    means = loaded.pixels[order].mean(axis=(1, 2, 3))
    assert (np.diff(means) > 8).all() and means[0] > 10 and loaded.pixels[order[0]].std() > 15
    assert exact_pairs(loaded.digests) == []
    shown = described(loaded.dataset, 0, "classes")[1]["shown"]
    ((low, high),) = shown.values()
    assert list(shown) == ["real" if mode == "float32" else "whole"] and 95 <= low <= 110 and 400 < high < 800
    again = sample_reader(described(loaded.dataset, 0, "classes")[1])
    path = loaded.dataset.samples["path"][0]
    assert np.array_equal(np.asarray(again(path)), loaded.pixels[0])


def test_a_view_from_a_stranger_is_refused(tmp_path):
    about = described(open_dataset(glyphs(tmp_path / "data", [(0, 0, 0)])), 0, "classes")[1]
    for shown in ({"ground": "javascript"}, {"whole": [1]}, {"real": [0, "x"]}, {"whole": [0, float("nan")]}):
        with pytest.raises(LossprintError, match="expected a view of the images"):
            sample_reader(about | {"shown": shown})
    assert View.of({"whole": [1, 5], "more": 3}) == View(whole=(1.0, 5.0))


def test_sketches_of_what_holds_nothing():
    assert sketch(Image.fromarray(NOISE[..., :3])) is None
    empty = sketch(Image.fromarray(np.full((4, 4), np.nan, np.float32)))
    assert view_of([empty]) == (View(), [])
    assert view_of([sketch(Image.fromarray(np.full((4, 4), 7, np.uint16)))])[0].whole == (7.0, 7.0)


# ------------------------------------------------------------------------------------------------ by choice


def cut_off(root, lost=(1, 5), name="JPEG"):
    for at in range(12):
        held = io.BytesIO()
        Image.fromarray(np.roll(NOISE[..., :3], at, 0)).resize((80, 60)).save(held, name)
        folder = root / "ab"[at % 2]
        folder.mkdir(parents=True, exist_ok=True)
        content = held.getvalue()
        kept = len(content) - 2 if at == lost[0] else len(content) // 2 if at == lost[1] else len(content)
        (folder / f"{at:02d}.{name.lower()}").write_bytes(content[:kept])
    return root


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_truncated_images_are_admitted_by_choice(tmp_path, name):
    root = cut_off(tmp_path / "data", (0, 5), name)
    strict = open_dataset(root)
    assert len(strict.unreadable) in (1, 2)  # a PNG without its last bytes is whole
    assert any("--allow-truncated" in note for note in strict.notes)
    loaded = load(open_dataset(root, check=False, choices=Choices(allow_truncated=True)), 32)
    assert len(loaded.dataset.samples) == 12 and loaded.dataset.unreadable.empty
    assert any("images are truncated and read as far as they go" in note for note in loaded.dataset.notes)
    about = described(loaded.dataset, 0, "classes")[1]
    assert about["choices"] == {"allow_truncated": True}
    assert sample_reader(about)(strict.unreadable["path"][0]).size == (80, 60)
    with pytest.raises(LossprintError, match="truncated"):  # only where it was asked for
        strict.image(strict.unreadable["path"][0])


def test_large_images_are_admitted_by_choice(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    root = glyphs(tmp_path / "data", [(0, 0, 0)])  # 1,024 pixels: over twice the limit
    Image.fromarray(NOISE[:20, :20, :3]).save(root / "left" / "small.png")
    Image.fromarray(NOISE[:20, :20, 1:]).save(root / "left" / "smaller.png")
    Image.fromarray(NOISE[:20, :20, :3]).save(root / "right" / "small.png")
    Image.fromarray(NOISE[1:20, :20, :3]).save(root / "right" / "smaller.png")
    strict = open_dataset(root)
    assert len(strict.unreadable) == 8 and any("--max-pixels N" in note for note in strict.notes)
    assert len(open_dataset(root, choices=Choices(max_pixels=1024)).samples) == 12
    assert strict.unreadable["reason"][0] == "more than 500 pixels: refused as a possible decompression bomb"
    assert len(open_dataset(root, choices=Choices(max_pixels=1023)).unreadable) == 8
    assert Image.MAX_IMAGE_PIXELS == 500


def test_fewer_pixels_than_usual_can_be_asked_for(tmp_path):
    Image.new("L", (30, 30)).save(tmp_path / "a.png")
    with admitting(max_pixels=899), pytest.raises(Image.DecompressionBombError, match="more than 899 pixels"):
        read_size(tmp_path / "a.png")


def test_large_images_wait_for_room(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "LARGE", 100)
    Image.new("L", (30, 30)).save(tmp_path / "a.png")
    room, at_once, most = Room(2 * 900 * images.BYTES), [], []

    def one():
        with admitting(room=room):
            read_values(tmp_path / "a.png")
            at_once.append(1)
            most.append(room.used)
            barrier.wait(5) if len(at_once) <= 2 else None

    barrier = threading.Barrier(2)
    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 6 and max(most) == 2 * 900 * images.BYTES and room.used == 0
    with admitting(room=Room(1)):  # larger than all there is: alone
        assert read_values(tmp_path / "a.png").size == (30, 30)


def test_no_image_is_begun_that_memory_cannot_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "LARGE", 100)
    monkeypatch.setattr(images, "free_memory", lambda: 900 * images.BYTES - 1)
    Image.new("L", (30, 30)).save(tmp_path / "a.png")
    with pytest.raises(MemoryError, match="more memory than there is free"):
        read_values(tmp_path / "a.png")


def test_a_deep_image_is_drawn_in_little_more_memory_than_it_has(tmp_path):
    import tracemalloc

    image = Image.fromarray(np.zeros((3000, 3000), np.float32))
    tracemalloc.start()
    rendered(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 9_000_000  # it took 24 bytes a pixel and more
