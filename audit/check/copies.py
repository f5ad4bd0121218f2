"""Which images of a batch are in the run already, exactly or changed, and which come twice in the batch."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.findings.duplicates import pairs_and_doubted
from lossprint.audit.training.loading import grey, thumbs
from lossprint.scoring.heads.blocks import directions

ALL = 10_000  # images of a run that are compared with a batch, every one
NEAREST, OTHERS = 30, 3_000  # of a larger run: the nearest of each new image, and some for comparison
TINY = 8  # px


@dataclass(frozen=True)
class Copies:
    """sample (M,) int64: the run's sample that each new image is a copy of, -1 for none; kind (M,): exact, near or "";
    similarity (M,); repeat (M,) int64: an earlier row of the batch that it is a copy of, -1. doubted: how many new
    images resemble too many others for that. shortlisted: whether the run's images were too many to compare all nearly.
    """

    sample: np.ndarray
    kind: np.ndarray
    similarity: np.ndarray
    repeat: np.ndarray
    doubted: int
    shortlisted: bool


def found(known: datasets.Loaded, batch: datasets.Loaded, vectors: tuple[np.ndarray, np.ndarray] | None) -> Copies:
    """Copies among known and new images, pixels of one side. vectors: embeddings of both, in their order, if any.

    Every new image is compared with all for equal pixels. For changed copies it is compared with all of up to ALL
    images, else with those of the run that resemble it.
    """
    n, m = len(known.digests), len(batch.digests)
    some = np.arange(n) if n <= ALL else _shortlist(known, batch, vectors)
    new = batch.dataset.samples
    rows = [known.dataset.samples.iloc[some], new.assign(sequence="new/" + new["sequence"])]
    samples = pd.concat(rows, ignore_index=True).assign(sample=np.arange(len(some) + m))
    joint = datasets.Loaded(
        replace(known.dataset, samples=samples),
        np.concatenate([_pixels(known, some, batch.pixels.shape[1]), batch.pixels]),
        np.concatenate([known.digests[some], batch.digests]),
        np.concatenate([known.sizes[some], batch.sizes]),
        np.concatenate([known.measures[some], batch.measures]),
    )
    both = None if vectors is None else np.concatenate([vectors[0][some], vectors[1]])
    table, doubted = pairs_and_doubted(joint, both)
    result = Copies(
        np.full(m, -1),
        np.full(m, "", object),
        np.zeros(m),
        np.full(m, -1),
        int(doubted[len(some) :].sum()),
        len(some) < n,
    )
    _exact(result, known, batch)
    first, second = table["sample"].to_numpy(np.int64), table["partner"].to_numpy(np.int64)
    ids, similarity = known.dataset.samples["sample"].to_numpy(np.int64)[some], table["similarity"].to_numpy(float)
    for at in np.argsort(-similarity, kind="stable"):
        new = second[at] - len(some)
        if new < 0:
            continue
        if first[at] >= len(some):
            if result.repeat[new] < 0:
                result.repeat[new] = first[at] - len(some)
        elif result.sample[new] < 0:
            result.sample[new], result.kind[new] = ids[first[at]], table["kind"].iloc[at]
            result.similarity[new] = similarity[at]
    return result


def _pixels(known: datasets.Loaded, rows: np.ndarray, side: int) -> np.ndarray:
    """Pixels (R, S, S, 3) of some images of the run, which may be too many to be held all."""
    if known.pixels is not None:
        return known.pixels[rows]
    samples = known.dataset.samples.iloc[rows].reset_index(drop=True)
    return datasets.decode(replace(known.dataset, samples=samples), side)


def _exact(result: Copies, known: datasets.Loaded, batch: datasets.Loaded) -> None:
    """Equal pixels, of all images: the first one of the run, and the first row of the batch."""
    ids = known.dataset.samples["sample"].to_numpy(np.int64)
    first = dict(zip(known.digests[::-1], ids[::-1]))
    earlier: dict[str, int] = {}
    for row, digest in enumerate(batch.digests):
        if digest in first:
            result.sample[row], result.kind[row], result.similarity[row] = first[digest], "exact", 1.0
        if earlier.setdefault(digest, row) != row:
            result.repeat[row] = earlier[digest]


def _shortlist(known: datasets.Loaded, batch: datasets.Loaded, vectors) -> np.ndarray:
    """Rows of the run that resemble a new image by embedding, tiny picture or spectrum, and some at random."""
    small = [grey(thumbs(one)) for one in (known, batch)]
    views = [[_spectrum(one) for one in small]]
    plain = [_tiny(one) for one in small]
    views += [[plain[0], _tiny(small[1], turn)] for turn in range(8)]
    if vectors is not None:
        views.append([directions(one) for one in vectors])
    chosen = [np.random.default_rng(0).permutation(len(known.digests))[:OTHERS]]
    for there, new in views:
        for start in range(0, len(new), 64):
            likeness = new[start : start + 64] @ there.T
            chosen.append(np.argpartition(-likeness, NEAREST, axis=1)[:, :NEAREST].ravel())
    return np.unique(np.concatenate(chosen))


def _tiny(images: np.ndarray, turn: int = 0) -> np.ndarray:
    """Directions of pictures (N, S, S) made TINY a side, turned by quarters and, from 4 on, mirrored."""
    images = np.rot90(images[:, :, ::-1] if turn >= 4 else images, turn % 4, axes=(1, 2)).astype(np.float32)
    edge = images.shape[1] // TINY * TINY
    blocks = images[:, :edge, :edge].reshape(len(images), TINY, edge // TINY, TINY, edge // TINY).mean(axis=(2, 4))
    blocks = blocks.reshape(len(images), -1)
    return directions(blocks - blocks.mean(axis=1, keepdims=True))


def _spectrum(images: np.ndarray) -> np.ndarray:
    """Directions of the magnitudes of low frequencies: alike for pictures that are moved."""
    images = images.astype(np.float32)
    values = np.abs(np.fft.rfft2(images - images.mean(axis=(1, 2), keepdims=True)))
    values = np.log1p(np.concatenate([values[:, :9, :9], values[:, -8:, :9]], axis=1).reshape(len(images), -1))
    return directions(values - values.mean(axis=0))
