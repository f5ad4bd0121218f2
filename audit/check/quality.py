"""What can be measured of an image by itself, and whether a batch's images differ in it from those of a run."""

import numpy as np
from PIL import Image

from lossprint.audit.datasets.dataset import Dataset, each
from lossprint.scoring.newcomers import shift
from lossprint.scoring.quality import LUMA, detail

MEASURES = ("size", "shape", "brightness", "contrast", "colour", "sharpness")
WORDS = {  # measure -> (its unit, smaller, larger)
    "size": ("px, root of width times height", "smaller", "larger"),
    "shape": ("width by height", "narrower", "wider"),
    "brightness": ("mean grey, 0 to 255", "darker", "brighter"),
    "contrast": ("deviation of the grey", "flatter", "richer in contrast"),
    "colour": ("mean of the largest less the smallest channel", "paler", "more colourful"),
    "sharpness": ("logarithm of detail over contrast", "blurrier", "sharper"),
}
CROP = 512  # px of the middle that are measured, so that blur is not shrunk away
SAMPLED = 1000  # images of a run that are measured


def measured(image: Image.Image) -> np.ndarray:
    """`MEASURES` (Q,) of an upright RGB image; sharpness NaN where it shows nothing."""
    width, height = image.size
    left, top = max(0, (width - CROP) // 2), max(0, (height - CROP) // 2)
    middle = image.crop((left, top, min(width, left + CROP), min(height, top + CROP)))
    rgb = np.asarray(middle, np.float32)
    grey = rgb @ LUMA
    sharpness = np.nan
    if min(grey.shape) >= 3 and grey.std() > 1:
        sharpness = float(np.log(max(detail(grey), 1e-3) / float(grey.std())))
    colour = float((rgb.max(axis=2) - rgb.min(axis=2)).mean())
    return np.array(
        [np.sqrt(width * height), width / height, grey.mean(), grey.std(), colour, sharpness], dtype=np.float64
    )


def of_some(dataset: Dataset, seed: int = 0) -> np.ndarray:
    """`MEASURES` (S, Q) of up to SAMPLED images of a dataset, drawn at random; those that cannot be read are NaN."""
    paths = dataset.samples["path"].tolist()
    drawn = np.sort(np.random.default_rng(seed).permutation(len(paths))[:SAMPLED])
    values = np.full((len(drawn), len(MEASURES)), np.nan)

    def one(at: int) -> None:
        try:
            values[at] = measured(dataset.image(paths[drawn[at]]))
        except Exception:  # a decoder may raise anything at all on a damaged file
            values[at] = np.nan

    each(one, len(drawn), dataset.origin.workers, None)
    return values


def shifts(new: np.ndarray, known: np.ndarray) -> list[dict]:
    """A row a measure, of new (M, Q) and known (S, Q) values: name, medians, distance, least, p, above and its ends.

    Of a measure that cannot be compared, such as of one image, the numbers are missing (None).
    """
    rows = []
    for at, name in enumerate(MEASURES):
        one, other = (values[np.isfinite(values[:, at]), at] for values in (new, known))
        row = {"name": name, "unit": WORDS[name][0], "images": len(one), "known": len(other)}
        row |= {"median": float(np.median(one)) if len(one) else None}
        row |= {"known_median": float(np.median(other)) if len(other) else None}
        compared = shift.of_numbers(one, other, tests=len(MEASURES))
        names = ("distance", "least", "p", "above", "low", "high")
        rows.append(row | {key: None if compared is None else float(getattr(compared, key)) for key in names})
    return rows
