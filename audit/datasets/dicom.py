"""DICOM files as Pillow reads others: the first frame, drawn by the window and level that the file says.

Needs pydicom, the extra `dicom`. Values are rescaled as the modality says, laid through the file's window (or lookup
table) and become 8 bits of grey, inverted where the file says that low values are bright. Without a window the whole
range of the image's own values is drawn. Files are equal whose stored values are, and what is drawn of them.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version

import numpy as np
from PIL import Image, ImageFile

EXTENSIONS = (".dcm", ".dicom", ".ima")
FORMAT = "DICOM"
MAGIC = b"DICM"
GREY = ("MONOCHROME1", "MONOCHROME2")
VALUES = "lossprint: values"  # in the `info` of an image that was decoded within `keeping`
_keeps: ContextVar[bool] = ContextVar("keeps", default=False)


@contextmanager
def keeping() -> Iterator[None]:
    """Within it, a grey image keeps its values and its window: array (H, W) float64, low, high, inverted."""
    token = _keeps.set(True)
    try:
        yield
    finally:
        _keeps.reset(token)


class DicomImageFile(ImageFile.ImageFile):
    """A file of Part 10 of the standard: 128 bytes of anything, then DICM."""

    format = FORMAT
    format_description = "DICOM, Part 10"
    held = ""  # the name in `info` under which a digest of the stored values is kept

    def _open(self) -> None:
        self.fp.seek(128)
        if self.fp.read(4) != MAGIC:
            raise SyntaxError("not a DICOM file")
        import pydicom

        self.fp.seek(0)
        header = pydicom.dcmread(self.fp, stop_before_pixels=True)
        if "Rows" not in header or "Columns" not in header:
            raise SyntaxError("a DICOM file without an image")
        self._size = int(header.Columns), int(header.Rows)
        self._mode = "L" if str(header.get("PhotometricInterpretation", GREY[1])) in GREY else "RGB"
        self.tile = []

    def load(self):
        """Decode the first frame, once."""
        if self._im is None:
            import pydicom

            self.fp.seek(0)
            file = pydicom.dcmread(self.fp)
            values, drawn = _drawn(file)
            if _keeps.get() and self._mode == "L":
                self.info[VALUES] = _values(file)
            if self.held:
                self.info[self.held] = hashlib.blake2b(values, digest_size=16).hexdigest()
            self._im = Image.fromarray(drawn, self._mode).im
        return Image.Image.load(self)


def _drawn(file) -> tuple[bytes, np.ndarray]:
    """The stored values of the first frame as bytes, and what is drawn of them: (H, W) or (H, W, 3) uint8."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut, pixel_array

    stored = pixel_array(file, index=0)  # colours as RGB
    about = f"{stored.shape}{stored.dtype}".encode()
    photometric = str(file.get("PhotometricInterpretation", GREY[1]))
    if photometric not in GREY:
        drawn = stored if stored.dtype == np.uint8 else _stretched(stored.astype(np.float64))
        return about + stored.tobytes(), np.ascontiguousarray(drawn)
    values = apply_modality_lut(stored, file)
    windowed = "WindowCenter" in file or "VOILUTSequence" in file
    drawn = apply_voi_lut(values, file, index=0) if windowed else values
    drawn = _stretched(np.asarray(drawn, np.float64), _limits(file, values) if windowed else None)
    return about + stored.tobytes(), 255 - drawn if photometric == GREY[0] else drawn


def _values(file) -> tuple[np.ndarray, float, float, bool]:
    """The first frame's values as the modality rescales them, the first window of the file (else their range), and
    whether low values are bright."""
    from pydicom.pixels import apply_modality_lut, pixel_array

    array = np.asarray(apply_modality_lut(pixel_array(file, index=0), file), np.float64)
    low, high = float(array.min()), float(array.max())
    if "WindowCenter" in file and "WindowWidth" in file:
        centre, width = (float(np.atleast_1d(file[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
        if np.isfinite([centre, width]).all() and width > 0:
            low, high = centre - width / 2, centre + width / 2
    return array, low, high, str(file.get("PhotometricInterpretation", GREY[1])) == GREY[0]


def _limits(file, values: np.ndarray) -> tuple[float, float] | None:
    """The least and the largest value that a window gives: those of the stored bits, after the rescaling of them."""
    if "VOILUTSequence" in file:
        return None
    bits, signed = int(file.BitsStored), int(file.get("PixelRepresentation", 0)) == 1
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope, intercept = float(file.get("RescaleSlope", 1) or 1), float(file.get("RescaleIntercept", 0) or 0)
    ends = sorted((low * slope + intercept, high * slope + intercept))
    return ends[0], ends[1]


def _stretched(values: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Values as uint8, the limits (else the least and the largest of them) as black and white."""
    low, high = limits or (float(values.min()), float(values.max()))
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    return np.round((np.clip(values, low, high) - low) / (high - low) * 255).astype(np.uint8)


def register(held: str) -> None:
    """Let Pillow read DICOM, by a pydicom that is imported at the first such file. Raises ImportError without one."""
    if int(version("pydicom").partition(".")[0]) < 3:  # without pydicom.pixels
        raise ImportError("expected pydicom 3 or later")
    DicomImageFile.held = held
    Image.register_open(FORMAT, DicomImageFile)
    Image.register_extensions(FORMAT, EXTENSIONS)
