"""A DATASET on disk -> a table of samples with stable ids, and their pixels.

The audit opens it, decides on a size from the headers, and decodes every image once:

    dataset = open_dataset(source, check=False)
    widths_and_heights = image_sizes(dataset, at_most=1000)
    if fits_in_memory(len(dataset.samples), size):
        loaded = load(dataset, size)              # dataset without the unreadable ones, pixels, digests
    else:
        loaded = load(dataset)                    # the same without pixels
        stream = ImageStream(loaded.dataset, size)

A sample's id is its position among all images of the dataset, readable or not, in the order of the manifest, of the
sorted relative paths, or of torchvision. It depends neither on what can be read nor on what is drawn for validation.
"""

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lossprint.audit.datasets import fit
from lossprint.audit.datasets.choices import USUAL, Choices
from lossprint.audit.datasets.further import straddling, together
from lossprint.audit.datasets.images import CUT, MORE, Room, admitting, pixel_digest, reason, reduced, square
from lossprint.audit.datasets.kinds import OF_FILES, open_reader, read_source
from lossprint.audit.datasets.labels import doubtful_note, several_note, spelling
from lossprint.audit.datasets.media import TEXTS, Media, media_of
from lossprint.audit.datasets.shown import PLAIN, View, rendered, sketch, view_of
from lossprint.audit.datasets.source import Source, read_file_inside
from lossprint.audit.datasets.tasks import ALL
from lossprint.audit.datasets.validation import draw
from lossprint.audit.system.memory import free_memory
from lossprint.audit.system.urls import Unreachable
from lossprint.audit.types import LossprintError
from lossprint.scoring import quality

__all__ = [
    "Dataset",
    "ImageStream",
    "Loaded",
    "decode",
    "each",
    "fits_in_memory",
    "image_reader",
    "image_sizes",
    "load",
    "open_dataset",
    "pixel_digest",
    "sample_reader",
    "text_reader",
]

CHUNK = 64
Progress = Callable[[int, int], None]  # called with how many images are done, and of how many


class NoImages(LossprintError):
    """Not one image of a dataset can be read."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """The images of a dataset that can be read, as far as that is known.

    samples: sample int64 ascending, path str, label str, split (train, val or test), sequence string or missing,
    frame Int64 or missing; a row's position is not its sample id where images are left out. classes: all labels,
    sorted as ImageFolder sorts its class folders. unreadable: path, reason. notes: what was drawn, left out or
    passed over, one sentence each. fingerprint: sha256 over path, label and split of every image as the dataset
    itself says, and the files' sizes. checked: whether every image was decoded once. aside: path and split of images
    that are no samples, as they have no label or class, or too few are of it. view: how images are drawn, known
    once they were decoded.
    """

    source: str
    kind: str
    root: Path
    samples: pd.DataFrame
    classes: list[str]
    unreadable: pd.DataFrame
    notes: list[str]
    fingerprint: str
    checked: bool
    origin: Source = field(repr=False)
    faults: dict[int, str] = field(repr=False)
    val_fraction: float = 0.1
    seed: int = 0
    task: str = "classes"
    choices: Choices = USUAL
    view: View = PLAIN
    aside: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({"path": [], "split": []}, dtype=object))

    def image(self, path: str) -> Image.Image:
        """The upright RGB image at a path of `samples`, at full size. Raises LossprintError if it cannot be read."""
        if self.media is TEXTS:
            raise LossprintError(f"expected an image, found a text at {path!r} of {self.source}")
        if self.kind in OF_FILES:
            read = partial(read_file_inside, self.root, follow=self.choices.follow_links)
        else:
            read = self.origin.read
        return _shown(read, path, self.source, self.view, self.choices)

    @property
    def media(self) -> Media:
        """What the samples are: images or texts."""
        return self.origin.media


@dataclass(frozen=True, eq=False)
class Loaded:
    """What one pass over all images gave. Rows are those of `dataset.samples`, in which every image could be decoded.

    pixels (N, size, size, 3) uint8, or None where no size was asked for; digests (N,) str, equal for images of equal
    values at full size, see `images.pixel_digest`. Of texts there are no pixels, and equal digests mean equal but for
    blanks and line breaks. sizes (N, 2) int64: width and height of each image, 0 of texts. measures (N, 5) float32:
    what `scoring.quality.measure` says of each image as it is drawn, NaN of texts.
    """

    dataset: Dataset
    pixels: np.ndarray | None
    digests: np.ndarray
    sizes: np.ndarray
    measures: np.ndarray


def open_dataset(
    source: str | Path,
    val_fraction: float = 0.1,
    seed: int = 0,
    check: bool = True,
    progress: Progress | None = None,
    task: str = "classes",
    choices: Choices = USUAL,
) -> Dataset:
    """Open a DATASET of any kind, see `kinds`; `choices` say what becomes of samples that cannot be used.

    Without validation samples, about `val_fraction` of each class's training samples is drawn, at least one, and at
    least one is left; of video frames, whole sequences: the same ones for the same paths (or names) and seed. With
    `check` every image is decoded once to find those that cannot be read; without, only missing files are found, and
    `load` finds the rest.

    `task` is what is learnt, see `tasks`: of `regression` the labels are quantities, kept in a column `target`, and all
    samples are of one group; the sets of labels of `multi-label` are no classes either.

    Raises LossprintError, in one line, where there is no dataset or nothing can be learnt from it: no image that can be
    read, a class of which none can be read, fewer than two classes with enough samples in train and val.
    """
    if not 0 < val_fraction < 1:
        raise LossprintError(f"expected a validation fraction between 0 and 1, found {val_fraction}")
    origin = read_source(source, choices)
    dataset = _assemble(origin, origin.faults, val_fraction, seed, task, choices, checked=False)
    return load(dataset, progress=progress).dataset if check else dataset


def image_reader(source: str | Path, choices: Choices = USUAL, view: View = PLAIN) -> Callable[[str], Image.Image]:
    """A function from a sample's path to its upright RGB image at full size; the dataset is not scanned.

    `view` is how the dataset's images are drawn. Raises LossprintError where there is no such source. So does the
    function, for an image that cannot be read and for a path that leads out of the dataset's folder.
    """
    reader = open_reader(source, choices)
    if reader.media is TEXTS:
        raise LossprintError(f"expected a dataset of images, found texts in {reader.name}")
    return lambda path: _shown(reader.read, path, reader.name, view, choices)


def text_reader(source: str | Path, fingerprint: str | None = None, choices: Choices = USUAL) -> Callable[[str], str]:
    """A function from a sample's path to its text. Lists the dataset once.

    Raises LossprintError where there are no texts. So does the function, for an unknown path, and for each where the
    dataset has not this `fingerprint`: rows are told apart by their places.
    """
    origin = read_source(source, choices)
    if origin.media is not TEXTS:
        raise LossprintError(f"expected a dataset of texts, found images in {origin.name}")

    def changed(path: str) -> str:
        raise LossprintError(f"expected the texts that were audited in {origin.name}, found that they were changed")

    return origin.read if fingerprint in (None, origin.fingerprint) else changed


def sample_reader(dataset: dict) -> Callable[[str], Image.Image | str]:
    """The `image_reader` or the `text_reader` of run.json's `dataset`. Raises LossprintError as they do."""
    if media_of(dataset) is TEXTS:
        return text_reader(dataset["source"], dataset.get("fingerprint"), Choices.of(dataset.get("choices", {})))
    try:
        view = View.of(dataset.get("shown"))
    except ValueError as error:
        raise LossprintError(
            f"expected a view of the images of {dataset['source']} in run.json, found {error}"
        ) from None
    read = image_reader(dataset["source"], Choices.of(dataset.get("choices", {})), view)
    return partial(_read_file_only, read) if dataset.get("kind") in OF_FILES else read


def _read_file_only(read: Callable[[str], Image.Image], path: str) -> Image.Image:
    """An image of a dataset that was read as files, whatever its manifest or the run says now."""
    if "://" in path:
        raise LossprintError(f"expected the path of a file, found the URL {path}")
    return read(path)


def _shown(read: Callable[[str], Image.Image], path: str, source: str, view: View, choices: Choices) -> Image.Image:
    """The image at a path as the dataset's images are drawn, upright RGB. Raises LossprintError."""
    try:
        with admitting(**choices.admitted):
            return rendered(read(path), view).convert("RGB")
    except LossprintError:
        raise
    except Exception as error:  # a decoder may raise anything at all on a damaged file
        raise LossprintError(f"expected a readable image at {path!r} of {source}, found: {reason(error)}") from None


# ------------------------------------------------------------------------------------------------ what is in it


def _assemble(
    origin: Source, faults: dict[int, str], val_fraction: float, seed: int, task: str, choices: Choices, checked: bool
) -> Dataset:
    """The dataset without the rows in `faults` and those without a label, split, and found fit for training."""
    rows, notes = fit.labelled(origin, task)
    if task == "classes":
        label, more = spelling(rows["label"], choices.normalise_labels)
        rows, notes = rows.assign(label=label), [*notes, *more]
    bad = rows["sample"].isin(list(faults))
    samples = rows[~bad].reset_index(drop=True)
    if task == "regression":
        samples = samples.assign(target=samples["label"], label=ALL)
    unreadable = rows.loc[bad, ["path"]].reset_index(drop=True)
    unreadable["reason"] = pd.Series([faults[sample] for sample in rows.loc[bad, "sample"]], dtype=object).astype(str)
    if samples.empty:
        first = fit.first_fault(origin, unreadable)
        raise NoImages(
            f"expected images that can be read in {origin.name}, found none among {len(unreadable):,}{first}"
        )
    more = [fit.unreadable_note(rows[bad], unreadable["reason"], len(rows))] if len(unreadable) else []
    notes = [*origin.notes, *notes, *more]
    if task == "classes" and origin.media is TEXTS and samples["label"].nunique() == 1:
        task = "text"  # texts without labels, such as instructions and their answers
    if task == "classes":
        notes += fit.lost_note(origin, rows, faults, choices.allow_lost_classes)
        samples, more = fit.large_enough(samples, choices.min_per_class)
        notes += [*more, *doubtful_note(samples["label"]), *several_note(samples["label"])]
    fit.refuse_unfit(samples, origin.name, task, choices.min_per_class)
    groups = together(origin.name, samples, choices)
    if not (samples["split"] == "val").any():
        drawn, note = draw(samples, val_fraction, seed, origin.name, task, groups)
        samples.loc[drawn, "split"] = "val"
        notes.append(note)
    notes += straddling(groups, samples["split"], choices.group_by)
    classes = sorted(set(samples["label"]))
    for split, lack in (("train", "cannot be learnt"), ("val", "get no CLD")):
        has = set(samples.loc[samples["split"] == split, "label"])
        without = [name for name in classes if name not in has]
        if without:
            notes.append(f"{fit.named(without)} without {split} samples: their images {lack}")
    return Dataset(
        source=origin.name,
        kind=origin.kind,
        root=origin.root,
        samples=samples,
        classes=classes,
        unreadable=unreadable,
        notes=notes,
        fingerprint=origin.fingerprint,
        checked=checked,
        origin=origin,
        faults=dict(faults),
        val_fraction=val_fraction,
        seed=seed,
        task=task,
        choices=choices,
        aside=_aside(origin, set(samples["sample"]) | set(faults)),
    )


def _aside(origin: Source, known: set[int]) -> pd.DataFrame:
    """Path and split of images that are neither samples nor known to be unreadable."""
    rows = origin.rows.loc[~origin.rows["sample"].isin(list(known)), ["path", "split"]]
    return pd.concat([rows, pd.DataFrame(origin.loose, columns=["path", "split"], dtype=object)], ignore_index=True)


# ------------------------------------------------------------------------------------------------ decoding


def load(
    dataset: Dataset, size: int | None = None, workers: int | None = None, progress: Progress | None = None
) -> Loaded:
    """Decode every image once: those that cannot be read are left out, the others become pixels and digests.

    Images are made square as `images.square` says. The result's validation split and notes are those that
    `open_dataset(check=True)` gives. Raises LossprintError where too little is left.
    """
    samples = dataset.samples
    paths, ids = samples["path"].tolist(), samples["sample"].tolist()
    pixels = None if size is None or dataset.media is TEXTS else np.empty((len(paths), size, size, 3), np.uint8)
    digests, sizes = [""] * len(paths), np.zeros((len(paths), 2), np.int64)
    measures = np.full((len(paths), 5), np.nan, np.float32)
    faults, sketches, cut, several = dict(dataset.faults), {}, [], []
    admit = partial(admitting, **dataset.choices.admitted, room=Room(free_memory() // 2))

    def text(row: int) -> None:
        digests[row] = _text_digest(dataset.origin.read(paths[row]))

    def image(row: int) -> None:
        with admit():
            content = dataset.origin.read(paths[row])
            digests[row], sizes[row] = pixel_digest(content), content.size
            if CUT in content.info:
                cut.append(row)
            if MORE in content.info:
                several.append(row)
            about = sketch(content)
            if about is not None:  # drawn once all of these are known
                sketches[row] = about
            else:
                draw_one(row, rendered(content))

    def draw_one(row: int, drawn: Image.Image) -> None:
        measures[row] = quality.measure(np.asarray(reduced(drawn, quality.SIDE)))
        if pixels is not None:
            pixels[row] = square(drawn, size)

    def later_one(row: int) -> None:
        with admit():
            draw_one(row, rendered(dataset.origin.read(paths[row]), view))

    def one(row: int, act: Callable[[int], None] = text if dataset.media is TEXTS else image) -> None:
        try:
            act(row)
        except Unreachable:  # says nothing of the image
            raise
        except Exception as error:  # a decoder may raise anything at all on a damaged file: all of it is listed
            faults[ids[row]] = reason(error)

    with _quiet_about_bombs():
        each(one, len(paths), workers or dataset.origin.workers, progress)
        later = sorted(set(sketches) - {row for row, sample in enumerate(ids) if sample in faults})
        view, notes = view_of([sketches[row] for row in later])
        if later:
            each(lambda at: one(later[at], later_one), len(later), workers or dataset.origin.workers, None)
    whole = _assemble(dataset.origin, faults, dataset.val_fraction, dataset.seed, dataset.task, dataset.choices, True)
    whole = replace(whole, view=view, notes=[*whole.notes, *notes, *fit.in_part_notes(paths, cut, several)])
    kept = np.flatnonzero(np.isin(ids, whole.samples["sample"])).tolist()
    if pixels is not None and len(kept) < len(paths):
        for to, row in enumerate(kept):  # in place: a second array might not fit
            pixels[to] = pixels[row]
        pixels = pixels[: len(kept)]
    return Loaded(whole, pixels, np.array(digests, dtype=object)[kept], sizes[kept], measures[kept])


def _text_digest(text: str) -> str:
    return blake2b(" ".join(text.split()).encode(), digest_size=16).hexdigest()


def decode(dataset: Dataset, size: int, workers: int | None = None, progress: Progress | None = None) -> np.ndarray:
    """The pixels (N, size, size, 3) uint8 of a checked dataset, in the order of its samples.

    Raises LossprintError where an image cannot be read; `load` leaves it out instead.
    """
    loaded = load(dataset, size, workers, progress)
    if len(loaded.dataset.samples) < len(dataset.samples):
        gone = loaded.dataset.unreadable.iloc[-1]
        raise LossprintError(
            f"expected every image of {dataset.source} to be readable, found: {gone['path']!r}: {gone['reason']}"
        )
    return loaded.pixels


def image_sizes(dataset: Dataset, at_most: int | None = None, workers: int | None = None) -> np.ndarray:
    """Width and height (K, 2) int64 in pixels from the headers of all images, or of `at_most` evenly spaced ones.

    Images whose header cannot be read are passed over, so K may be smaller.
    """
    paths = dataset.samples["path"].tolist()
    if at_most is not None and at_most < len(paths):
        paths = [paths[row] for row in np.linspace(0, len(paths) - 1, at_most).astype(int)]
    sizes: list = [None] * len(paths)

    def one(row: int) -> None:
        try:
            with admitting(**dataset.choices.admitted):
                sizes[row] = dataset.origin.size(paths[row])
        except Exception:  # `load` comes across the same file and lists it with its reason
            sizes[row] = None

    with _quiet_about_bombs():
        each(one, len(paths), workers or dataset.origin.workers, None)
    return np.array([size for size in sizes if size is not None], np.int64).reshape(-1, 2)


def each(one: Callable[[int], None], count: int, workers: int | None, progress: Progress | None) -> None:
    """Call one(row) for every row, on threads: Pillow lets go of the interpreter's lock while it decodes."""

    def chunk(start: int) -> int:
        for row in range(start, min(start + CHUNK, count)):
            one(row)
        return min(CHUNK, count - start)

    done = 0
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        for finished in pool.map(chunk, range(0, count, CHUNK)):
            done += finished
            if progress is not None:
                progress(done, count)


def _quiet_about_bombs() -> warnings.catch_warnings:
    # Images over Pillow's limit are listed as unreadable; its warning beside that would only clutter the terminal.
    return warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning)


# ------------------------------------------------------------------------------------------------ memory


def fits_in_memory(n: int, size: int) -> bool:
    """Whether n images of size x size x 3 bytes take at most half of the memory that is free now."""
    return n * size * size * 3 <= free_memory() // 2


class ImageStream:
    """The images of a dataset that does not fit into memory, for a torch DataLoader.

    Item `row` is (row, uint8 tensor (3, size, size)) of row `row` of `dataset.samples`. Open the dataset with a check
    first: an image that cannot be read raises LossprintError here.
    """

    def __init__(self, dataset: Dataset, size: int):
        self.paths = dataset.samples["path"].tolist()
        self.shown = partial(
            _shown, dataset.origin.read, source=dataset.source, view=dataset.view, choices=dataset.choices
        )
        self.size = size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int):
        import torch

        return row, torch.from_numpy(square(self.shown(self.paths[row]), self.size).transpose(2, 0, 1).copy())
