"""The values of files of more than 8 bits: of DICOM after the modality's rescaling, of other greys as stored."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from test_dicom import scan

from lossprint.app.deep import SIDE, packed
from lossprint.audit.datasets import dicom, images
from lossprint.audit.datasets.shown import PLAIN, View
from lossprint.audit.datasets.values import Values, of_image


def values_of(file, view: View = PLAIN) -> Values | None:
    with dicom.keeping():
        return of_image(images.read_values(file), view)


def saved(image: Image.Image, kind: str) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind)
    file.seek(0)
    return file


@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (2, -1024), (0.5, 10)])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_scan_has_its_values_and_its_window(tmp_path, slope, intercept, photometric):
    stored = np.random.default_rng(0).integers(0, 4096, (17, 31)).astype(np.uint16)
    how = {"slope": slope, "intercept": intercept, "photometric": photometric}
    kept = values_of(scan(tmp_path / "a.dcm", stored, center=40, width=400, **how))
    assert np.array_equal(kept.array, stored.astype(float) * slope + intercept)
    assert (kept.low, kept.high, kept.inverted) == (-160, 240, photometric == "MONOCHROME1")
    plain = values_of(scan(tmp_path / "b.dcm", stored, **how))
    assert (plain.low, plain.high) == (plain.array.min(), plain.array.max())


def test_a_scan_of_8_bits_keeps_nothing_outside_and_one_of_colours_has_no_window(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (9, 9)).astype(np.uint8)
    file = scan(tmp_path / "a.dcm", grey)
    assert np.array_equal(values_of(file).array, grey)
    assert dicom.VALUES not in images.read_values(file).info
    assert values_of(scan(tmp_path / "c.dcm", np.zeros((4, 4, 3), np.uint8))) is None


def test_deep_greys_are_drawn_between_the_values_of_their_dataset():
    array = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    kept = values_of(saved(Image.fromarray(array), "PNG"), View(whole=(500, 4000)))
    assert np.array_equal(kept.array, array) and (kept.low, kept.high) == (500, 4000)
    real = np.linspace(-2, 3, 64, dtype=np.float32).reshape(8, 8)
    real[0, 0] = np.nan
    kept = values_of(saved(Image.fromarray(real), "TIFF"))
    assert np.isfinite(kept.array).all() and kept.high == 3 and kept.low == real[0, 1]
    assert values_of(saved(Image.new("L", (4, 4)), "PNG")) is None
    assert values_of(saved(Image.new("RGB", (4, 4)), "JPEG")) is None


@pytest.mark.parametrize("shape", [(3, 5), (SIDE, 1), (SIDE + 1, 40), (2, 3 * SIDE)])
def test_what_is_sent_are_the_values_themselves(shape):
    array = np.random.default_rng(1).normal(0, 1000, shape)
    deep = packed(Values(array, -10, 10))
    sent = np.frombuffer(base64.b64decode(deep.data), "<u2").reshape(deep.height, deep.width)
    step = -(-max(shape) // SIDE)
    assert max(sent.shape) <= SIDE
    back = deep.least + sent * (deep.greatest - deep.least) / 65535
    assert np.abs(back - array[::step, ::step]).max() <= (deep.greatest - deep.least) / 65535
    assert packed(Values(np.full((2, 2), 7.0), 0, 1)).least == 7
