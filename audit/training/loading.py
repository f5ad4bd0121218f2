"""A run's images, opened, decoded and made a training's inputs; of a run that is there, once more."""

from dataclasses import replace

import numpy as np
import pandas as pd

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.datasets.choices import Choices
from lossprint.audit.datasets.further import together
from lossprint.audit.datasets.media import Media
from lossprint.audit.runs.places import dataset_of
from lossprint.audit.runs.run import Run
from lossprint.audit.system.progress import Bar
from lossprint.audit.training.names import SMALL, parts, trained_of
from lossprint.audit.types import LossprintError

THUMB = 32  # px, side of the grey images that near duplicates are confirmed on
DEFAULTS = {
    "model": "small",
    "epochs": 24,
    "seed": 0,
    "curvature_checkpoints": 10,
    "val_fraction": 0.1,
    "seeds": 1,
    "folds": 0,
    "rate": 1.0,
    "precision": "float32",  # of runs that were not asked
}
FROZEN_DEFAULTS = {"epochs": 30, "folds": 0, "curvature_checkpoints": 0}  # of the linear head


def asked_of(run: Run) -> dict:
    """What a run was asked for, defaults in place of what it was not, and its dataset as run.json names it.

    Of two views the model is that which was trained.

    Raises LossprintError where the run does not say where its images are.
    """
    asked = {name: run.manifest["asked"].get(name, value) for name, value in DEFAULTS.items()}
    asked |= run.manifest["dataset"].get("choices", {}) | {"dataset": run.manifest["dataset"].get("source")}
    asked["model"] = trained_of(asked["model"])
    if not asked["dataset"]:
        raise LossprintError(f"expected a run whose images are known, found none named in {run.path}")
    dataset_of(run)
    return asked


def load(asked: dict, quiet: bool) -> tuple[datasets.Loaded, int]:
    """Open and decode the dataset once; the side in pixels at which the network sees it, 0 of texts."""
    task = asked.get("task", "classes")
    name, share, seed = asked["dataset"], asked["val_fraction"], asked["seed"]
    dataset = datasets.open_dataset(name, share, seed, check=False, task=task, choices=Choices.of(asked))
    if not dataset.media.trained:
        return datasets.load(dataset), 0
    from lossprint.audit.training.models import proxy_size

    sides = datasets.image_sizes(dataset, at_most=1000)
    # A frozen backbone reads its images anew, at its own size: these are for duplicates.
    model = parts(asked["model"])[0] or SMALL
    size = proxy_size(model, int(np.median(sides.max(axis=1)))) if len(sides) else 28
    return decoded(dataset, size, quiet), size


def refuse_texts(dataset: str, media: Media) -> None:
    """Raise LossprintError where a DATASET is one of texts, for which there is no training built in."""
    if not media.trained:
        raise LossprintError(
            f"expected images to train on, found texts in {dataset}, for which there is no training built in: give "
            "vectors of labelled ones with --features FILE or --model frozen:sentences:NAME, or record the losses in "
            "your own loop with Recorder(RUN, DATASET) and `lossprint score RUN`, or `lossprint import` them; see "
            "docs/howto/texts.md"
        )


def decoded(dataset: datasets.Dataset, side: int, quiet: bool) -> datasets.Loaded:
    """The dataset without what cannot be read; its images at `side` pixels, if they fit into memory."""
    count = len(dataset.samples)
    fits = datasets.fits_in_memory(count, side)
    with Bar(total=count, unit="img", desc="decode", disable=quiet or count < 20_000) as bar:
        return datasets.load(dataset, side if fits else None, progress=lambda done, _: bar.update(done - bar.n))


def inputs_of(loaded: datasets.Loaded, size: int):
    """What the training takes: ids, class indices, splits and pixels, with the channels' statistics of `train`."""
    samples, classes = loaded.dataset.samples, loaded.dataset.classes
    labels = samples["label"].map({label: i for i, label in enumerate(classes)}).to_numpy(np.int64)
    sequence = samples["sequence"].fillna("").to_numpy(str) if samples["sequence"].notna().any() else None
    group = together(loaded.dataset.source, samples, loaded.dataset.choices)
    inputs = _inputs(loaded, size, labels, samples["split"].to_numpy(str), classes, sequence)
    return inputs if group is None else replace(inputs, group=pd.factorize(group)[0])


def _inputs(loaded: datasets.Loaded, size: int, labels: np.ndarray, split: np.ndarray, classes: list[str], sequence):
    from lossprint.audit.training import train

    ids = loaded.dataset.samples["sample"].to_numpy(np.int64)
    if not loaded.dataset.media.trained:
        return train.Inputs(ids, labels, split, None, size, np.zeros(3), np.ones(3), len(classes), sequence)
    pixels = loaded.pixels if loaded.pixels is not None else datasets.ImageStream(loaded.dataset, size)
    mean, std = train.channel_statistics(pixels, np.flatnonzero(split == "train"))
    return train.Inputs(ids, labels, split, pixels, size, mean, std, len(classes), sequence)


def inputs_again(
    samples: pd.DataFrame, labels: np.ndarray, split: np.ndarray, classes: list[str], asked: dict, quiet: bool
):
    """The images of a run's samples, ordered by id, decoded anew, with the given class indices and splits (N,).

    Raises LossprintError where the dataset at `asked["dataset"]` has not all of them any more, or others.
    """
    loaded, size = load(asked, quiet)
    refuse_texts(asked["dataset"], loaded.dataset.media)
    there = loaded.dataset.samples
    ids = samples["sample"].to_numpy(np.int64)
    at = pd.Index(there["sample"]).get_indexer(ids)
    if (at < 0).any():
        raise LossprintError(
            f"expected the {len(ids):,} images of the run in {asked['dataset']}, found {int((at < 0).sum()):,} missing "
            f"or unreadable, such as {samples['path'][at < 0].iloc[0]!r}"
        )
    moved = there["path"].to_numpy(str)[at] != samples["path"].to_numpy(str)
    if moved.any():
        raise LossprintError(
            f"expected the dataset that the run was made of, found other images in {asked['dataset']}, such as "
            f"{there['path'].iloc[at[moved][0]]!r} for {samples['path'][moved].iloc[0]!r}"
        )
    if len(at) < len(there):  # images that could not be read when the run was made
        dataset = replace(loaded.dataset, samples=there.iloc[at].reset_index(drop=True))
        loaded = replace(loaded, dataset=dataset, pixels=None if loaded.pixels is None else loaded.pixels[at])
    return _inputs(loaded, size, labels, split, classes, None)


def thumbs(loaded: datasets.Loaded) -> np.ndarray:
    """Images (N, S, S, 3) uint8 of at most `THUMB` px a side, small enough to compare pixel by pixel."""
    if loaded.pixels is None:
        return datasets.decode(loaded.dataset, THUMB)
    if loaded.pixels.shape[1] <= THUMB:
        return loaded.pixels
    from PIL import Image

    thumbs = np.empty((len(loaded.pixels), THUMB, THUMB, 3), np.uint8)
    for row, image in enumerate(loaded.pixels):
        thumbs[row] = Image.fromarray(image).resize((THUMB, THUMB), Image.Resampling.BOX)
    return thumbs


def grey(pixels: np.ndarray) -> np.ndarray:
    """(N, S, S, 3) uint8 -> (N, S, S) uint8, the luma of Rec. 601 in whole numbers."""
    luma = np.empty(pixels.shape[:3], np.uint8)
    for start in range(0, len(pixels), 1024):
        red, green, blue = np.moveaxis(pixels[start : start + 1024].astype(np.uint16), 3, 0)
        luma[start : start + 1024] = (77 * red + 150 * green + 29 * blue) >> 8
    return luma
