"""Changed copies of images, for duplicates.py and copies.py: what each change does, and datasets with planted ones."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps


def jpeg(quality: int) -> Callable:
    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        packed = io.BytesIO()
        image.save(packed, "JPEG", quality=quality)
        return Image.open(packed).convert(image.mode)

    return change


def brightness(percent: int) -> Callable:
    """Every grey level times 1 + percent or 1 - percent."""

    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        factor = 1 + random.choice((-1, 1)) * percent / 100
        return Image.fromarray(np.clip(np.asarray(image) * factor, 0, 255).round().astype(np.uint8))

    return change


def shift(pixels: int) -> Callable:
    """By `pixels` in at least one direction; the border repeats."""

    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        dy, dx = random.permutation([pixels * random.choice((-1, 1)), random.integers(-pixels, pixels + 1)])
        levels = np.asarray(image)
        rows = np.clip(np.arange(levels.shape[0]) - dy, 0, levels.shape[0] - 1)
        return Image.fromarray(levels[rows][:, np.clip(np.arange(levels.shape[1]) - dx, 0, levels.shape[1] - 1)])

    return change


def resized(low: float, high: float) -> Callable:
    """To a side times `low` or `high`, and back."""

    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        factor = random.choice((low, high))
        small = [max(1, round(side * factor)) for side in image.size]
        return image.resize(small, Image.Resampling.BICUBIC).resize(image.size, Image.Resampling.BICUBIC)

    return change


def crop(percent: int) -> Callable:
    """`percent` of its side cut off at each side; a file of fewer pixels is left."""

    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        x, y = (max(1, round(side * percent / 100)) for side in image.size)
        return image.crop((x, y, image.width - x, image.height - y))

    return change


def brighter(factor: float) -> Callable:
    """Every grey level times a factor, cut off at white."""
    return lambda image, random: image.point(lambda level: min(255, round(factor * level)))


def frame(fill: str) -> Callable:
    """A plain border of 6 % of the longer side around it."""

    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        return ImageOps.expand(image, max(1, round(0.06 * max(image.size))), fill)

    return change


def watermark(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """A word in white of three quarters' opacity, over two thirds of the width, somewhere in the picture."""
    width, height = image.size
    size = next(size for size in range(200, 3, -1) if ImageFont.load_default(size).getlength("SAMPLE") <= 0.66 * width)
    mask = Image.new("L", image.size, 0)
    y = int(random.integers(0, max(1, height - size)))
    ImageDraw.Draw(mask).text((0.17 * width, y), "SAMPLE", 192, ImageFont.load_default(size))
    return Image.composite(Image.new(image.mode, image.size, "white"), image, mask)


def blur(image: Image.Image, random: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(0.6))


def noise(image: Image.Image, random: np.random.Generator) -> Image.Image:
    levels = np.asarray(image)
    return Image.fromarray(np.clip(levels + random.normal(0, 3, levels.shape), 0, 255).round().astype(np.uint8))


def grey(image: Image.Image, random: np.random.Generator) -> Image.Image:
    return image.convert("L").convert(image.mode)


def turn(how: Image.Transpose) -> Callable:
    return lambda image, random: image.transpose(how)


def chain(*changes: Callable) -> Callable:
    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        for one in changes:
            image = one(image, random)
        return image

    return change


PACK = "shift 1 px, brightness 5 %, JPEG 60"  # how the packs' copies were made
# A third of the copies of each of the first eight is mirrored as well.
CHANGES: dict[str, Callable] = {
    PACK: chain(shift(1), brightness(5), jpeg(60)),
    "nothing but the mirror": chain(),
    "shift 2 px": shift(2),
    "resize to 0.9 or 1.1 and back": resized(0.9, 1.1),
    "JPEG 40": jpeg(40),
    "blur 0.6 px": blur,
    "noise, 3 grey levels": noise,
    "grey": grey,
    "brightness 1.5": brighter(1.5),
    "brightness 0.7": brighter(0.7),
    "crop, 5 % a side": crop(5),
    "crop, 10 % a side": crop(10),
    "quarter turn": turn(Image.Transpose.ROTATE_90),
    "half turn": turn(Image.Transpose.ROTATE_180),
    "upside down": turn(Image.Transpose.FLIP_TOP_BOTTOM),
    "light frame": frame("white"),
    "dark frame": frame("black"),
    "watermark": watermark,
}
MIRRORED = list(CHANGES)[:8]


def planted(
    originals: list[Image.Image], plan: list[tuple[str, str, bool]], folder: Path, random: np.random.Generator
) -> Path:
    """Write originals, and a copy of one of its own for each (kind, name of change, mirrored) of the plan, as a FOLDER.

    kind is exact (the same pixels in other bytes) or near. Labels say nothing: they alternate, for the audit wants two.
    """
    (folder / "images").mkdir(parents=True)
    rows = [{"kind": "", "pair_id": "", "change": "", "mirrored": ""} for _ in originals]
    pictures = list(originals)
    for number, source in enumerate(random.permutation(len(originals))[: len(plan)]):
        kind, change, mirrored = plan[number]
        image = originals[source]
        if kind == "near":
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image
            image = CHANGES[change](image, random)
        row = {"kind": kind, "pair_id": str(number), "change": change, "mirrored": str(int(mirrored))}
        rows[source] = row
        rows.append(row)
        pictures.append(image)
    frame = pd.DataFrame(rows)
    frame.insert(0, "path", [f"images/{row:06d}.png" for row in range(len(frame))])
    for row, (path, picture) in enumerate(zip(frame["path"], pictures)):
        picture.save(folder / path, compress_level=1 if row < len(originals) else 2)
    frame.to_csv(folder / "truth.csv", index=False)
    labels = np.where(np.arange(len(frame)) % 2, "odd", "even")
    pd.DataFrame({"path": frame["path"], "label": labels, "split": "train"}).to_csv(folder / "labels.csv", index=False)
    return folder


def read_images(source: Path, most: int, random: np.random.Generator) -> list[Image.Image]:
    """At most `most` images, drawn at random, of a gzipped IDX file or of a folder with labels.csv."""
    if source.is_dir():
        paths = pd.read_csv(source / "labels.csv")["path"]
        return [Image.open(source / paths[row]).convert("RGB") for row in random.permutation(len(paths))[:most]]
    from lossprint.assets.make_demo import read_idx

    images = read_idx(source)
    return [Image.fromarray(images[row]) for row in random.permutation(len(images))[:most]]


def fixed_camera(count: int, random: np.random.Generator) -> list[Image.Image]:
    """One part before one camera, 192 px: noise and exposure anew in each photo, a small defect in half of them."""
    still = Image.fromarray(random.integers(0, 255, (6, 6, 3), dtype=np.uint8)).resize((192, 192))
    pen = ImageDraw.Draw(still)
    pen.rectangle([45, 45, 147, 147], fill=(120, 130, 140), outline=(40, 40, 50), width=4)
    images = []
    for at in range(count):
        image = still.copy()
        x, y = random.integers(66, 126, 2).tolist()
        if at % 2:
            ImageDraw.Draw(image).ellipse([x, y, x + 10, y + 10], fill=(0, 0, 0))
        images.append(photographed(image, 4, random))
    return images


def meters(count: int, random: np.random.Generator) -> list[Image.Image]:
    """Readings of one meter, 128 x 96 px, each by a few more than the one before."""
    reading, images = 1234, []
    for _ in range(count):
        image = Image.new("RGB", (128, 96), (170, 175, 168))
        pen = ImageDraw.Draw(image)
        pen.rectangle([8, 30, 120, 66], fill=(30, 34, 30))
        for place, digit in enumerate(f"{reading:05d}"):
            pen.text((14 + 20 * place, 34), digit, fill=(240, 60, 40), font_size=26)
        reading += int(random.integers(1, 9))
        images.append(photographed(image, 2, random))
    return images


def colours(count: int, random: np.random.Generator) -> list[Image.Image]:
    """One template in four colours, 96 px."""
    images = []
    for at in range(count):
        image = Image.new("RGB", (96, 96), (240, 240, 240))
        moved = int(random.integers(-1, 2))
        colour = ((200, 40, 40), (30, 112, 30), (70, 90, 235), (95, 95, 95))[at % 4]
        fill = tuple(int(np.clip(level + random.integers(-8, 9), 0, 255)) for level in colour)
        shape = [(20 + moved, 20), (76 + moved, 20), (60 + moved, 84), (36 + moved, 84)]
        ImageDraw.Draw(image).polygon(shape, fill=fill)
        images.append(photographed(image, 3, random))
    return images


def photographed(image: Image.Image, noise: float, random: np.random.Generator) -> Image.Image:
    """With another exposure and noise of its own."""
    levels = np.asarray(image) * random.uniform(0.97, 1.03)
    return Image.fromarray(np.clip(levels + random.normal(0, noise, levels.shape), 0, 255).astype(np.uint8))


# Datasets of images that are much alike and no copies of each other, made up.
ALIKE: dict[str, Callable] = {"fixed camera": fixed_camera, "meter": meters, "colours": colours}
