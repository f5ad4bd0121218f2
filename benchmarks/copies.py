"""Changed copies of images for benchmarks/duplicates.py: what each change does, and datasets with planted copies."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter


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


def contrast(percent: int) -> Callable:
    """Every grey level's distance from the image's mean times 1 + percent or 1 - percent."""

    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        levels = np.asarray(image, dtype=float)
        factor = 1 + random.choice((-1, 1)) * percent / 100
        levels = levels.mean() + (levels - levels.mean()) * factor
        return Image.fromarray(np.clip(levels, 0, 255).round().astype(np.uint8))

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


def crop(pixels: int) -> Callable:
    """`pixels` rows and columns cut off, from a side drawn for each; what is left is enlarged to the same size."""

    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        left, top = random.integers(0, pixels + 1, 2)
        box = (left, top, image.width - pixels + left, image.height - pixels + top)
        return image.crop(box).resize(image.size, Image.Resampling.BICUBIC)

    return change


def blur(image: Image.Image, random: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(0.6))


def noise(image: Image.Image, random: np.random.Generator) -> Image.Image:
    levels = np.asarray(image)
    return Image.fromarray(np.clip(levels + random.normal(0, 3, levels.shape), 0, 255).round().astype(np.uint8))


def grey(image: Image.Image, random: np.random.Generator) -> Image.Image:
    return image.convert("L").convert(image.mode)


def turn(how: Image.Transpose) -> Callable:
    return lambda image, random: image.transpose(how)


def rotated(image: Image.Image, random: np.random.Generator) -> Image.Image:
    return image.rotate(2 * random.choice((-1, 1)), Image.Resampling.BICUBIC)


def chain(*changes: Callable) -> Callable:
    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        for one in changes:
            image = one(image, random)
        return image

    return change


PACK = "shift 1 px, brightness 5 %, JPEG 60"  # how the packs' copies were made
# A third of each kind's copies is mirrored as well. The last ones are no part of what is promised.
CHANGES: dict[str, Callable] = {
    PACK: chain(shift(1), brightness(5), jpeg(60)),
    "nothing but the mirror": chain(),
    "shift 2 px": shift(2),
    "resize to 0.9 or 1.1 and back": resized(0.9, 1.1),
    "JPEG 90": jpeg(90),
    "JPEG 40": jpeg(40),
    "crop 1 px, enlarged": crop(1),
    "crop 2 px, enlarged": crop(2),
    "crop 3 px, enlarged": crop(3),
    "brightness 10 %": brightness(10),
    "contrast 10 %": contrast(10),
    "blur 0.6 px": blur,
    "noise, 3 grey levels": noise,
    "grey": grey,
    "not promised: rotation by 2 degrees": rotated,
    "not promised: upside down": turn(Image.Transpose.FLIP_TOP_BOTTOM),
    "not promised: rotation by 90 degrees": turn(Image.Transpose.ROTATE_90),
}


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
