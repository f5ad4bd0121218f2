"""DICOM files: drawn by their window and level, told apart by what they hold, refused with the extra's name without."""

import numpy as np
import pytest
from dataset_files import folder, message

from lossprint.audit.datasets import images
from lossprint.audit.datasets.dataset import load, open_dataset
from lossprint.audit.datasets.readers import folders

HINT = "DICOM is read with the extra pip install 'lossprint[dicom]' (pydicom)"


@pytest.mark.parametrize("ending", [".dcm", ".dicom"])
def test_without_the_extra_it_is_named(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(folders, "EXTENSIONS", folders.EXTENSIONS - {".dcm", ".dicom", ".ima"})
    folder(tmp_path, 4)
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / f"1{ending}").write_bytes(bytes(128) + b"DICM")
    assert f"'scan': 1 file (1 {ending}); {HINT}" in message(tmp_path)


def scan(path, values, *, center=None, width=None, photometric="MONOCHROME2", slope=1, intercept=0, frames=None):
    """A DICOM file of values (H, W) uint16, uint8 colours (H, W, 3), or several frames."""
    pydicom = pytest.importorskip("pydicom")
    file = pydicom.Dataset()
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    colour = values.ndim == 3 and frames is None
    file.Rows, file.Columns = values.shape[-2:] if not colour else values.shape[:2]
    file.SamplesPerPixel, file.PhotometricInterpretation = (3, "RGB") if colour else (1, photometric)
    if colour:
        file.PlanarConfiguration = 0
    bits = 8 * values.itemsize
    file.BitsAllocated = file.BitsStored = bits
    file.HighBit, file.PixelRepresentation = bits - 1, int(values.dtype.kind == "i")
    if frames:
        file.NumberOfFrames = frames
    if center is not None:
        file.WindowCenter, file.WindowWidth = center, width
    if (slope, intercept) != (1, 0):
        file.RescaleSlope, file.RescaleIntercept = slope, intercept
    file.PixelData = values.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)
    return path


RAMP = np.tile(np.linspace(0, 4000, 64).astype(np.uint16), (64, 1))


def grey(path) -> np.ndarray:
    return np.asarray(images.read_image(path))[..., 0].astype(int)


def test_window_and_level_say_what_is_black_and_white(tmp_path):
    drawn = grey(scan(tmp_path / "a.dcm", RAMP, center=2000, width=1000))[0]
    assert drawn[0] == 0 and drawn[-1] == 255 and (np.diff(drawn) >= 0).all()
    assert drawn[RAMP[0] < 1490].max() == 0 and drawn[RAMP[0] > 2510].min() == 255
    assert abs(drawn[np.abs(RAMP[0].astype(int) - 2000).argmin()] - 127) < 12
    turned = grey(scan(tmp_path / "b.dcm", RAMP, center=2000, width=1000, photometric="MONOCHROME1"))[0]
    assert (turned == 255 - drawn).all()
    moved = grey(scan(tmp_path / "c.dcm", RAMP, center=1000, width=1000, intercept=-1000))[0]
    assert np.abs(moved - drawn).max() <= 1
    whole = grey(scan(tmp_path / "d.dcm", RAMP))[0]
    assert whole[0] == 0 and whole[-1] == 255 and len(set(whole.tolist())) > 60


def test_signed_values_colours_and_frames(tmp_path):
    signed = grey(scan(tmp_path / "a.dcm", (RAMP.astype(np.int16) - 2000), center=0, width=1000))[0]
    assert signed[0] == 0 and signed[-1] == 255 and abs(int(np.median(signed)) - 127) < 40
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[..., 1] = 200
    assert np.asarray(images.read_image(scan(tmp_path / "b.dcm", colours)))[0, 0].tolist() == [0, 200, 0]
    frames = np.stack([RAMP, RAMP[::-1, ::-1]])
    assert grey(scan(tmp_path / "c.dcm", frames, frames=2))[0, 0] == 0


def test_a_dataset_of_scans_is_read_and_told_apart_by_stored_values(tmp_path):
    for number, name in enumerate(("ill", "well")):
        for at in range(4):
            values = RAMP + np.uint16(100 * number + 10 * at)
            scan(tmp_path / name / f"{at}.dcm", values, center=100, width=10)  # all of it is white
    scan(tmp_path / "well" / "copy.dcm", RAMP, center=100, width=10)  # other notes in the file
    (tmp_path / "well" / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"nothing")
    loaded = load(open_dataset(tmp_path), 16)
    paths = loaded.dataset.samples["path"].tolist()
    assert len(paths) == 9 and loaded.dataset.unreadable["path"].tolist() == ["well/broken.dcm"]
    digests = dict(zip(paths, loaded.digests))
    assert digests["well/copy.dcm"] == digests["ill/0.dcm"] and len(set(digests.values())) == 8
