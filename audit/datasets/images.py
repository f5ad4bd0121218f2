"""One image file -> its upright pixels, and what makes a file unreadable. Knows no dataset and no run.

`read_values` gives what the file holds, nothing lost and turned as its EXIF says: that is compared, see
`pixel_digest`, and drawn for eyes and networks by `shown`. Of an animation or a multi-page file the first image counts.
"""

import contextlib
import hashlib
import re
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from lossprint.audit.datasets import dicom
from lossprint.audit.datasets.shown import DEEP_GREY, has_transparency, rendered, strips
from lossprint.audit.system.memory import free_memory
from lossprint.audit.types import one_line

Image.init()
with contextlib.suppress(ImportError):  # the extra `heif`
    import pillow_heif

    pillow_heif.register_heif_opener()
HELD = "lossprint: digest of the file"  # in the `info` of an image of which Pillow gives fewer bits than the file holds
with contextlib.suppress(ImportError):  # the extra `dicom`
    dicom.register(HELD)

# EPS is rendered by an external Ghostscript, which no picture of a dataset should start; the others hold no pixels that
# Pillow itself can decode.
_LEFT_OUT = {"EPS", "BUFR", "FPX", "GRIB", "HDF5", "MIC", "MPEG", "WMF"}
FORMATS = tuple(
    sorted(set(Image.OPEN) - _LEFT_OUT, key=lambda name: (name not in ("PNG", "JPEG"), name))  # the usual ones first
)
EXTENSIONS = frozenset(
    extension for extension, name in Image.registered_extensions().items() if name in {*FORMATS, "MPO"}
)

SAME_ASPECT = 1.04
# Bytes that one pixel of an image takes while it is decoded and drawn: its values, their grey levels, and RGB.
BYTES = 12
LARGE = 1 << 22  # pixels: smaller images are decoded without asking for room
CUT = "lossprint: truncated"
MORE = "lossprint: further images"  # how many images a file holds beside the first, which is the one that counts
REDUCED = ("JPEG2000", "AVIF", "HEIF", "SGI")  # may hold more than the 8 bits that Pillow gives of them


class Room:
    """Memory that decoding threads share: an image that is too large beside the others waits until they are done."""

    def __init__(self, size: int):
        self.size, self.used, self.change = size, 0, threading.Condition()

    def take(self, size: int) -> None:
        with self.change:
            self.change.wait_for(lambda: not self.used or self.used + size <= self.size)
            self.used += size

    def leave(self, size: int) -> None:
        with self.change:
            self.used -= size
            self.change.notify_all()


@dataclass
class Admission:
    """What images are decoded: truncated ones, as far as they go; up to how many pixels (None: Pillow's limit).

    room: memory that is shared with other threads; taken: how many bytes of it this reading has.
    """

    allow_truncated: bool = False
    max_pixels: int | None = None
    room: Room | None = None
    taken: int = field(default=0, compare=False)


_admission: ContextVar[Admission] = ContextVar("admission", default=Admission())  # noqa: B039 (never written to)
_cut: ContextVar[bool] = ContextVar("cut", default=False)
_opening = threading.Lock()


class _Truncated:
    """Pillow's switch for truncated images is one for the whole process; this one answers for each reading."""

    def __bool__(self) -> bool:
        return _cut.get()


if ImageFile.LOAD_TRUNCATED_IMAGES is False:
    ImageFile.LOAD_TRUNCATED_IMAGES = _Truncated()


@contextlib.contextmanager
def admitting(
    allow_truncated: bool = False, max_pixels: int | None = None, room: Room | None = None
) -> Iterator[Admission]:
    """Within it, this thread decodes what an `Admission` admits; what it takes of the room is given back at the end."""
    admission = Admission(allow_truncated, max_pixels, room)
    token = _admission.set(admission)
    try:
        yield admission
    finally:
        _admission.reset(token)
        if admission.taken:
            room.leave(admission.taken)


def read_image(file) -> Image.Image:
    """A file, or an open one, decoded wholly and drawn by itself: upright RGB at full size. Raises as `read_values`."""
    return upright_rgb(read_values(file))


def read_values(file) -> Image.Image:
    """A file, or an open one, decoded wholly: upright, at full size, with the values that it holds.

    Raises whatever is wrong with it; see `reason`. `admitting` says what is decoded.
    """
    admission = _admission.get()
    try:
        with _opened(file) as image:
            return upright(image)
    except OSError:
        if not admission.allow_truncated:
            raise
    if hasattr(file, "seek"):
        file.seek(0)
    token = _cut.set(True)
    try:
        with _opened(file) as image:
            found = upright(image)
    finally:
        _cut.reset(token)
    found.info[CUT] = True
    return found


def read_size(file) -> tuple[int, int]:
    """Width and height in pixels from the file's header, without decoding it. Raises as `read_values` does.

    Upright, but for a turned PNG or TIFF, whose two numbers may come swapped: good for choosing a size, not for layout.
    """
    with _opened(file, room=False) as image:
        # Newer versions of Pillow turn a TIFF's size by themselves. A PNG may keep its EXIF behind the pixels, where
        # looking for it would decode them.
        if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
            return image.size
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        return image.size[::-1] if turned else image.size


def _opened(file, room: bool = True) -> Image.Image:
    """The image of a file, its header read, if it is admitted and there is room to decode it."""
    admission = _admission.get()
    if admission.max_pixels is None:
        image = Image.open(file, formats=FORMATS)
    else:
        with _opening:  # Pillow's limit is one for the whole process, and asked while the header is read
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(file, formats=FORMATS)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    try:
        pixels = image.size[0] * image.size[1]
        _refuse_bomb(image.size, admission.max_pixels)
        if room and admission.room is not None and pixels > LARGE and not admission.taken:
            admission.room.take(pixels * BYTES)
            admission.taken = pixels * BYTES
    except BaseException:
        image.close()
        raise
    return image


def upright(image: Image.Image) -> Image.Image:
    """Any Pillow image, decoded and turned as its EXIF says; as RGB where that holds the same."""
    more = 0 if image.format == "MPO" else getattr(image, "n_frames", 1) - 1  # MPO: previews of the first
    held = _digest_of_file(image, more)
    image.load()
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in ("1", "L", "P") and not has_transparency(image):
        image = image.convert("RGB")
    if more:
        image.info[MORE] = more
    if held:
        image.info[HELD] = held
    return image


def upright_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow image by itself as upright RGB, 8 bits a channel, as `shown.PLAIN` draws it."""
    return rendered(upright(image)).convert("RGB")


def _digest_of_file(image: Image.Image, more: int) -> str:
    """A digest of the file where it holds `more` images than the first, or may hold more bits a channel than Pillow
    gives; else empty.

    Pillow reads 16-bit colours as 8-bit ones: two files that differ in the lower bits would then seem to be equal.
    """
    file, tiles = getattr(image, "fp", None), getattr(image, "tile", None) or ()
    deep = (
        more
        or image.format in REDUCED
        or any(";16" in str(tile[3]) or tile[0] in ("ppm", "ppm_plain") for tile in tiles if len(tile) > 3)
    )
    if not deep or file is None or (image.mode in DEEP_GREY and not more):
        return ""
    place, digest = file.tell(), hashlib.blake2b(digest_size=16)
    file.seek(0)
    while piece := file.read(1 << 20):
        digest.update(piece)
    file.seek(place)
    return digest.hexdigest()


def pixel_digest(image: Image.Image) -> str:
    """32 hexadecimal digits over an upright image's size and the values that it holds, whatever the file's format.

    Only what loses nothing is made alike: palettes and greys of 8 bits become RGB, transparency RGBA, an alpha that
    hides nothing is left out, and whole numbers up to 65535 are of 16 bits. So images of equal digests are equal in
    every value: those of 16 bits and more, the alpha channel, and colours under what is transparent among them.
    """
    size = b"%d x %d:" % image.size
    held = image.info.get(HELD, "").encode()
    if image.mode in DEEP_GREY:
        return _deep_digest(image, size)
    plain, whole, solid = hashlib.blake2b(size + held, digest_size=16), None, True
    if has_transparency(image):
        whole = hashlib.blake2b(b"RGBA " + size + held, digest_size=16)
        for strip in strips(image):
            values = np.asarray((strip.convert("LA") if strip.mode == "La" else strip).convert("RGBA"))
            solid = solid and bool((values[..., 3] == 255).all())
            whole.update(values)
            if solid:
                plain.update(np.ascontiguousarray(values[..., :3]))
    else:
        own = image.mode not in ("1", "L", "P", "RGB", "RGBX")  # CMYK, LAB and the like: RGB would lose something
        if own:
            plain.update(image.mode.encode())
        for strip in strips(image):
            plain.update((strip if own else strip.convert("RGB")).tobytes())
    return (plain if solid else whole).hexdigest()


def _deep_digest(image: Image.Image, size: bytes) -> str:
    kind = "<f4" if image.mode == "F" else "<u2"
    if image.mode == "I":
        low, high = image.getextrema()
        kind = "<u2" if low >= 0 and high < 1 << 16 else "<i4"
    digest = hashlib.blake2b(kind.encode() + size, digest_size=16)
    for strip in strips(image):
        digest.update(np.ascontiguousarray(np.asarray(strip), kind))
    return digest.hexdigest()


def reduced(image: Image.Image, side: int) -> Image.Image:
    """An image whose longer side is at least `side` px, made smaller by a whole number, fast, down to about that."""
    factor = max(image.size) // side
    return image.reduce(factor) if factor > 1 else image


def square(image: Image.Image, size: int) -> np.ndarray:
    """An RGB or 8-bit grey image as (size, size, 3) uint8.

    Resized directly (bilinear with antialiasing) where the sides differ by less than 4 %. Otherwise the longer side is
    made to fit, and the rest, half on each side, is filled with the mean colour of the image's outermost pixels, so
    that nothing is cut off or distorted and no hard frame appears.
    """
    width, height = image.size
    if (width, height) == (size, size):
        return np.asarray(image.convert("RGB"))
    if max(width, height) < SAME_ASPECT * min(width, height):
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR).convert("RGB"))
    scale = size / max(width, height)
    sides = max(1, round(width * scale)), max(1, round(height * scale))
    fitted = np.asarray(image.resize(sides, Image.Resampling.BILINEAR).convert("RGB"))
    rim = np.concatenate([fitted[0], fitted[-1], fitted[1:-1, 0], fitted[1:-1, -1]])
    canvas = np.empty((size, size, 3), np.uint8)
    canvas[:] = np.rint(rim.mean(axis=0))
    top, left = (size - fitted.shape[0]) // 2, (size - fitted.shape[1]) // 2
    canvas[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    return canvas


def _refuse_bomb(size: tuple[int, int], asked: int | None) -> None:
    # Pillow only warns between its limit and twice the limit. A dataset may come from strangers: hold it to the limit.
    limit = Image.MAX_IMAGE_PIXELS if asked is None else asked
    pixels = size[0] * size[1]
    if limit is not None and pixels > limit:
        raise Image.DecompressionBombError(f"more than {limit:,} pixels: refused as a possible decompression bomb")
    if pixels > LARGE and pixels * BYTES > free_memory():
        raise MemoryError(f"{pixels * BYTES / 1e9:.1f} GB to decode, more memory than there is free")


def reason(error: Exception) -> str:
    """One line, without the file's name, that says why an image could not be read."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "a folder, not a file"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        if str(error).startswith("more than"):
            return str(error)
        return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels: refused as a possible decompression bomb"
    if isinstance(error, UnidentifiedImageError):
        return "not an image that Pillow can read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return re.sub(r" \(\d+ bytes not processed\)", "", one_line(error))
