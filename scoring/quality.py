"""Image quality: how bright, sharp, varied and coloured an image is, how large, and which stand out in their dataset.

A dark photograph among bright ones stands out, a dark X-ray among X-rays does not: what counts is the distance from
the dataset's own middle, by the far fences of Tukey (Exploratory Data Analysis, 1977), three quartile ranges beyond
the quartiles, and no less than a difference that can be seen.
"""

import numpy as np

from lossprint.scoring.intervals import share_below

MEASURES = ("dark", "bright", "sharpness", "information", "colour", "pixels", "aspect")
# Kind -> measure, the suspect end, and the least distance from the median at which it can be seen.
ISSUES = {
    "dark": ("dark", -1, 0.25),
    "bright": ("bright", 1, 0.25),
    "blurry": ("sharpness", -1, 0.5),
    "low_information": ("information", -1, 1.5),
    "odd_size": ("pixels", 0, 2.0),
    "odd_aspect": ("aspect", 0, 0.5),
}
SIDE = 256  # px, about the longer side at which images are measured
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
GREY = "grey"  # among colour
QUALITIES = (*ISSUES, GREY)
FENCE = 3.0  # quartile ranges
FEW = 20  # images below which nothing can stand out
RARE = 0.1  # the share that grey images among coloured ones may have
COLOURED = 4.0  # levels of 255: what compression leaves in a grey image is below


def measure(image: np.ndarray) -> np.ndarray:
    """The first five of MEASURES, (5,) float32, of one image (H, W) or (H, W, 3) uint8, best of about SIDE px.

    dark and bright: the 99th and the 5th percentile of the grey levels, 0 black, 1 white: an image is dark where
    nothing in it is bright, and bright where nothing is dark. sharpness: log2 of the deviation of its Laplacian to
    that of its grey levels, low is blurry, whatever the contrast; NaN of a plain one. information: entropy of the
    grey levels in bits, 0 to 8, low holds little. colour: mean distance between the largest and the least channel,
    in levels of 255. Percentiles, entropy and Laplacian are what cleanvision looks at, too.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or not image.size or image.shape[2:] not in ((), (3,)):
        raise ValueError(f"an image must be (H, W) or (H, W, 3) uint8 and not empty, got {image.dtype} {image.shape}")
    colour = 0.0
    if image.ndim == 3:
        red, green, blue = (image[..., channel] for channel in range(3))
        largest, least = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
        colour = float(largest.mean() - least.mean())
        grey = np.rint(image @ LUMA).astype(np.int16)
    else:
        grey = image.astype(np.int16)
    counts = np.bincount(grey.ravel(), minlength=256)
    share = counts[counts > 0] / grey.size
    below = np.cumsum(counts)
    low, high = (np.searchsorted(below, part * grey.size) / 255 for part in (0.05, 0.99))
    sharpness = np.nan
    if min(grey.shape) >= 3 and len(share) > 1:
        edges = detail(grey)
        sharpness = np.log2(edges / float(grey.std())) if edges > 0 else np.nan
    entropy = max(0.0, float(-(share * np.log2(share)).sum()))
    return np.array([high, low, sharpness, entropy, colour], np.float32)


def detail(grey: np.ndarray) -> float:
    """The deviation of the Laplacian of grey levels (H, W), 3 px a side at least: fine edges, low where blurred."""
    inner = grey[1:-1, 1:-1]
    return float((4 * inner - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]).std())


def issues(measures: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Severity (N,) float64 of each of ISSUES and `grey`, in (0.5, 1) where an image is beyond the fence, else below.

    measures: (N, 5) of `measure`; sizes: (N, 2) width and height in pixels. NaN, the issue cannot be judged: no such
    measure, or fewer than FEW images. 0.5 is the fence, 0 the median; high is suspect.
    """
    measures, sizes = np.asarray(measures, np.float64), np.asarray(sizes, np.float64)
    if measures.ndim != 2 or measures.shape[1] != 5 or sizes.shape != (len(measures), 2):
        raise ValueError(f"measures must be (N, 5) and sizes (N, 2), got {measures.shape} and {sizes.shape}")
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels, aspect = np.log2(sizes.prod(axis=1)), np.log2(sizes[:, 0] / sizes[:, 1])
    columns = dict(zip(MEASURES, (*measures.T, pixels, aspect), strict=True))
    severities = {name: _beyond(columns[measure], side, least) for name, (measure, side, least) in ISSUES.items()}
    return severities | {GREY: _grey(columns["colour"])}


def _beyond(values: np.ndarray, side: int, least: float) -> np.ndarray:
    """How far values (N,) lie from their median on a side (0: on both), 0.5 at the fence."""
    known = np.isfinite(values)
    if known.sum() < FEW:
        return np.full(len(values), np.nan)
    first, median, third = np.percentile(values[known], (25, 50, 75))
    below = max(median - first + FENCE * (third - first), least)
    above = max(third - median + FENCE * (third - first), least)
    away = values - median
    distance = np.where(away < 0, -away / below, away / above)
    if side:
        distance = np.where(np.sign(away) == side, distance, 0.0)
    return np.where(known, distance / (1 + distance), np.nan)


def _grey(colour: np.ndarray) -> np.ndarray:
    """0.75 for a grey image where nearly all others are coloured, as there is no more or less of it; else 0."""
    known = np.isfinite(colour)
    if known.sum() < FEW:
        return np.full(len(colour), np.nan)
    grey = known & (colour < COLOURED)
    odd = 0 < grey.sum() <= RARE * known.sum()
    return np.where(known, 0.75 * (grey & odd), np.nan)


def auroc(values: np.ndarray, positive: np.ndarray) -> float:
    """How often a positive one's value (N,) is above another's, ties half; positive (N,) bool, some and not all."""
    values, positive = np.asarray(values), np.asarray(positive, bool)
    ones = int(positive.sum())
    if not 0 < ones < len(positive):
        raise ValueError(f"expected some positive values and some that are not, got {ones} of {len(positive)}")
    return float(share_below(values[positive], values[~positive]).mean())


def auroc_interval(value: float, ones: int, others: int, questions: int = 1) -> tuple[float, float]:
    """The 95 % interval of an AUROC of that many positive and other values, among so many questions (Bonferroni).

    Hanley and McNeil, "The meaning and use of the area under a ROC curve", Radiology 1982; normal, cut to [0, 1].
    """
    from scipy.special import ndtri

    first, second = value / (2 - value), 2 * value**2 / (1 + value)
    spread = value * (1 - value) + (ones - 1) * (first - value**2) + (others - 1) * (second - value**2)
    half = float(ndtri(1 - 0.025 / max(questions, 1))) * (max(spread, 0.0) / (ones * others)) ** 0.5
    return max(0.0, value - half), min(1.0, value + half)
