"""The values that a file of more than 8 bits holds, for whoever looks at it through a window of their own."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from lossprint.audit.datasets import dicom
from lossprint.audit.datasets.choices import Choices
from lossprint.audit.datasets.images import admitting
from lossprint.audit.datasets.kinds import OF_FILES, open_reader
from lossprint.audit.datasets.media import TEXTS, media_of
from lossprint.audit.datasets.shown import DEEP_GREY, View
from lossprint.audit.types import LossprintError


@dataclass(frozen=True, eq=False)
class Values:
    """`array` (H, W) float64, in the units of the file (of DICOM after the modality's rescaling); what lies between
    `low` and `high` is drawn from black to white, `inverted` from white to black."""

    array: np.ndarray
    low: float
    high: float
    inverted: bool = False


def values_reader(dataset: dict) -> Callable[[str], Values | None]:
    """From a path to its values, of run.json's `dataset`; None of a file of 8 bits, of colours and of texts.

    Raises LossprintError where there is no such dataset; the function whatever is wrong with the file.
    """
    if media_of(dataset) is TEXTS:
        return lambda path: None
    choices, view = Choices.of(dataset.get("choices", {})), View.of(dataset.get("shown"))
    read, files_only = open_reader(dataset["source"], choices).read, dataset.get("kind") in OF_FILES

    def values(path: str) -> Values | None:
        if files_only and "://" in path:  # see dataset.sample_reader
            raise LossprintError(f"expected the path of a file, found the URL {path}")
        with admitting(**choices.admitted), dicom.keeping():
            return of_image(read(path), view)

    return values


def of_image(image: Image.Image, view: View) -> Values | None:
    """The values of an upright image that was read within `dicom.keeping`."""
    kept = image.info.get(dicom.VALUES)
    if kept is not None:
        return Values(*kept)
    if image.mode not in DEEP_GREY:
        return None
    array = np.asarray(image).astype(np.float64)
    finite = array[np.isfinite(array)]
    ends = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    low, high = (view.real if image.mode == "F" else view.whole) or ends
    return Values(np.where(np.isfinite(array), array, low), low, high)
