"""Images that are no samples, as they have no label or were left out, and are copies of samples all the same.

They need no label for this: a test image that is a training image too is a leak, whatever it shows.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.datasets.images import admitting, pixel_digest, square
from lossprint.audit.datasets.media import TEXTS
from lossprint.audit.datasets.shown import rendered
from lossprint.audit.runs.run import Run
from lossprint.audit.system.urls import Unreachable
from lossprint.audit.training.loading import THUMB, grey, thumbs
from lossprint.scoring import duplicates

COLUMNS = ("path", "split", "sample", "kind", "similarity")


def write_aside(run: Run, loaded: datasets.Loaded) -> None:
    """Write which samples the images left out are copies of, a row each: columns COLUMNS, sample -1 for none."""
    aside = loaded.dataset.aside
    if aside.empty or loaded.dataset.media is TEXTS:
        return
    digests, small = _read(loaded.dataset, aside["path"].tolist())
    there = np.flatnonzero(digests != "")
    ids = loaded.dataset.samples["sample"].to_numpy(np.int64)
    first = dict(zip(loaded.digests[::-1], ids[::-1]))  # of equal samples the first
    sample = np.array([first.get(digests[row], -1) for row in there], np.int64)
    kind, similarity = np.where(sample >= 0, "exact", ""), np.where(sample >= 0, 1.0, 0.0)
    left = np.flatnonzero(sample < 0)
    if len(left):
        at, near = _nearest(grey(thumbs(loaded)), grey(small[there[left]]))
        hit = at >= 0
        sample[left[hit]], kind[left[hit]] = ids[at[hit]], "near"
        similarity[left[hit]] = near[hit]
    table = aside.iloc[there].reset_index(drop=True)
    table = table.assign(sample=sample, kind=kind.astype(object), similarity=similarity.astype(float))
    run.write_aside(table[list(COLUMNS)])


def _read(dataset: datasets.Dataset, paths: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The digest of each image (U,), empty for one that cannot be read, and its small picture (U, S, S, 3) uint8."""
    digests, small = np.full(len(paths), "", object), np.zeros((len(paths), THUMB, THUMB, 3), np.uint8)

    def one(row: int) -> None:
        try:
            with admitting(**dataset.choices.admitted):
                image = dataset.origin.read(paths[row])
                small[row] = square(rendered(image, dataset.view), THUMB)
                digests[row] = pixel_digest(image)
        except Unreachable:
            raise
        except Exception:  # a decoder may raise anything at all on a damaged file
            digests[row] = ""

    with ThreadPoolExecutor(dataset.origin.workers or min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(one, range(len(paths))))
    return digests, small


def _nearest(samples: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of the others (U, S, S) the sample (N, S, S) that it is nearly the same as, -1 for none; how much."""
    pairs = duplicates.near_pairs(None, np.concatenate([_sized(samples), others]))
    group = duplicates.linked(pairs, len(samples) + len(others))
    doubted = duplicates.doubted(group)
    at, similarity = np.full(len(others), -1, np.int64), np.zeros(len(others))
    low, high = np.minimum(pairs.first, pairs.second), np.maximum(pairs.first, pairs.second)
    sure = (group[low] >= 0) & (group[low] == group[high]) & ~doubted[low]
    between = np.flatnonzero(sure & (low < len(samples)) & (high >= len(samples)))
    for pair in between[np.argsort(pairs.similarity[between], kind="stable")]:  # the best last
        at[high[pair] - len(samples)], similarity[high[pair] - len(samples)] = low[pair], pairs.similarity[pair]
    return at, similarity


def _sized(pictures: np.ndarray) -> np.ndarray:
    """Small pictures (N, S, S) at the side of the others: images smaller than that were not made larger."""
    if pictures.shape[1] == THUMB:
        return pictures
    from PIL import Image

    sized = [np.asarray(Image.fromarray(one).resize((THUMB, THUMB), Image.Resampling.BICUBIC)) for one in pictures]
    return np.stack(sized)
