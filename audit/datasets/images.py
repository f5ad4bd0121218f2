"""One image file -> upright RGB pixels, and what makes a file unreadable. Knows no dataset and no run.

Whatever Pillow reads becomes 8-bit RGB: EXIF rotation is applied, transparency is laid on white, CMYK and palettes are
converted, 16- and 32-bit greys are scaled from their own minimum..maximum to 0..255 (an image of one value becomes
black). Of an animation or a multi-page file the first image counts.
"""

import contextlib
import hashlib
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from lossprint.audit.types import one_line

Image.init()
with contextlib.suppress(ImportError):  # the extra `heif`
    import pillow_heif

    pillow_heif.register_heif_opener()

# EPS is rendered by an external Ghostscript, which no picture of a dataset should start; the others hold no pixels that
# Pillow itself can decode.
_LEFT_OUT = {"EPS", "BUFR", "FPX", "GRIB", "HDF5", "MIC", "MPEG", "WMF"}
FORMATS = tuple(
    sorted(set(Image.OPEN) - _LEFT_OUT, key=lambda name: (name not in ("PNG", "JPEG"), name))  # the usual ones first
)
EXTENSIONS = frozenset(
    extension for extension, name in Image.registered_extensions().items() if name in {*FORMATS, "MPO"}
)

DEEP_GREY = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
SAME_ASPECT = 1.04


def read_image(file: str | Path) -> Image.Image:
    """Decode a file wholly, as upright RGB at full size. Raises whatever is wrong with it; see `reason`."""
    with Image.open(file, formats=FORMATS) as image:
        _refuse_bomb(image.size)
        return upright_rgb(image)


def read_size(file: str | Path) -> tuple[int, int]:
    """Width and height in pixels from the file's header, without decoding it. Raises as `read_image` does.

    Upright, but for a turned PNG or TIFF, whose two numbers may come swapped: good for choosing a size, not for layout.
    """
    with Image.open(file, formats=FORMATS) as image:
        _refuse_bomb(image.size)
        # Newer versions of Pillow turn a TIFF's size by themselves. A PNG may keep its EXIF behind the pixels, where
        # looking for it would decode them.
        if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
            return image.size
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        return image.size[::-1] if turned else image.size


def upright_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow image as upright RGB, 8 bits a channel; the module's docstring says how."""
    image.load()
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in DEEP_GREY:
        return _scaled(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("LA") if image.mode == "La" else image
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _scaled(image: Image.Image) -> Image.Image:
    """Deep grey -> 8-bit grey, linearly from the image's own range. Values that are not finite become the minimum."""
    values = np.asarray(image).astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return Image.new("L", image.size, 0)
    low, high = values[finite].min(), values[finite].max()
    values = np.where(finite, values, low) - low
    return Image.fromarray(np.rint(values * (255 / (high - low) if high > low else 0)).astype(np.uint8))


def pixel_digest(image: Image.Image) -> str:
    """32 hexadecimal digits over an upright RGB image's size and pixels: equal for exact duplicates of any format."""
    return hashlib.blake2b(b"%d x %d:" % image.size + image.tobytes(), digest_size=16).hexdigest()


def square(image: Image.Image, size: int) -> np.ndarray:
    """An RGB image as (size, size, 3) uint8.

    Resized directly (bilinear with antialiasing) where the sides differ by less than 4 %. Otherwise the longer side is
    made to fit, and the rest, half on each side, is filled with the mean colour of the image's outermost pixels, so
    that nothing is cut off or distorted and no hard frame appears.
    """
    width, height = image.size
    if (width, height) == (size, size):
        return np.asarray(image)
    if max(width, height) < SAME_ASPECT * min(width, height):
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    scale = size / max(width, height)
    fitted = np.asarray(
        image.resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BILINEAR)
    )
    rim = np.concatenate([fitted[0], fitted[-1], fitted[1:-1, 0], fitted[1:-1, -1]])
    canvas = np.empty((size, size, 3), np.uint8)
    canvas[:] = np.rint(rim.mean(axis=0))
    top, left = (size - fitted.shape[0]) // 2, (size - fitted.shape[1]) // 2
    canvas[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    return canvas


def _refuse_bomb(size: tuple[int, int]) -> None:
    # Pillow only warns between its limit and twice the limit. A dataset may come from strangers: hold it to the limit.
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and size[0] * size[1] > limit:
        raise Image.DecompressionBombError(f"{size[0]} x {size[1]} pixels")


def reason(error: Exception) -> str:
    """One line, without the file's name, that says why an image could not be read."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "a folder, not a file"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels: refused as a possible decompression bomb"
    if isinstance(error, UnidentifiedImageError):
        return "not an image that Pillow can read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return one_line(error)
