"""A batch of new images, labelled or not: listed, read once, and measured.

A folder may hold images without any class folders; folders count as labels where one of them is a class of the run. A
manifest may have no column of labels. Every image that cannot be read is listed with the reason.
"""

import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from lossprint.audit.check import quality
from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.datasets import kinds
from lossprint.audit.datasets.choices import Choices
from lossprint.audit.datasets.images import Room, admitting, pixel_digest, reason, square
from lossprint.audit.datasets.labels import EMPTY
from lossprint.audit.datasets.media import TEXTS
from lossprint.audit.datasets.readers.folders import every_image
from lossprint.audit.datasets.shown import View, rendered
from lossprint.audit.datasets.source import SPLIT_NAMES, Source, of_files, tabulate
from lossprint.audit.runs.run import Run
from lossprint.audit.system.memory import free_memory
from lossprint.audit.system.progress import Bar, bar_style
from lossprint.audit.system.urls import Unreachable
from lossprint.audit.types import LossprintError
from lossprint.audit.words import some

CARD = 96  # px of the pictures that are kept beside the result


@dataclass(frozen=True, eq=False)
class Batch:
    """M images that can be read: `loaded`, whose dataset has the classes of the run and their labels, "" for none.

    unknown (M,) bool: labels that the run does not have. measures (M, Q): `quality.MEASURES`. unreadable: path, reason.
    """

    loaded: datasets.Loaded
    unknown: np.ndarray
    measures: np.ndarray
    unreadable: pd.DataFrame
    notes: list[str]

    @property
    def samples(self) -> pd.DataFrame:
        return self.loaded.dataset.samples

    @property
    def codes(self) -> np.ndarray:
        """The class index (M,) of each label; -1 for none and for one that the run does not have."""
        return pd.Index(self.loaded.dataset.classes).get_indexer(self.samples["label"])


def read_batch(name: str, run: Run, choices: Choices, side: int, quiet: bool = True) -> Batch:
    """Read a batch as the run's images are drawn; pixels at `side`. LossprintError where no image can be read."""
    origin, notes = _source(name, choices, run.classes)
    rows = origin.rows
    pixels = np.zeros((len(rows), side, side, 3), np.uint8)
    digests, sizes = [""] * len(rows), np.zeros((len(rows), 2), np.int64)
    measures, faults = np.full((len(rows), len(quality.MEASURES)), np.nan), dict(origin.faults)
    view, admit = View.of(run.manifest["dataset"].get("shown")), partial(admitting, **choices.admitted)
    room, paths, ids = Room(free_memory() // 2), rows["path"].tolist(), rows["sample"].tolist()

    def one(row: int) -> None:
        if ids[row] in faults:
            return
        try:
            with admit(room=room):
                content = origin.read(paths[row])
                seen = rendered(content, view).convert("RGB")
                digests[row], sizes[row] = pixel_digest(content), content.size
                measures[row], pixels[row] = quality.measured(seen), square(seen, side)
        except Unreachable:
            raise
        except Exception as error:  # a decoder may raise anything at all on a damaged file
            faults[ids[row]] = reason(error)

    with Bar(total=len(rows), unit="img", desc="batch", disable=quiet, **bar_style()) as bar:
        datasets.each(one, len(rows), origin.workers, lambda done, _: bar.update(done - bar.n))
    bad = rows["sample"].isin(list(faults)).to_numpy()
    unreadable = rows.loc[bad, ["path"]].assign(reason=[faults[sample] for sample in rows.loc[bad, "sample"]])
    if bad.all():
        first = unreadable.iloc[0]
        raise LossprintError(
            f"expected images that can be read in {origin.name}, found none among {len(rows):,} ({first['path']!r}: "
            f"{first['reason']})"
        )
    kept = np.flatnonzero(~bad)
    samples = rows.iloc[kept].assign(split="test").reset_index(drop=True)
    known = samples["label"].isin(run.classes).to_numpy()
    dataset = datasets.Dataset(
        source=origin.name,
        kind=origin.kind,
        root=origin.root,
        samples=samples,
        classes=run.classes,
        unreadable=unreadable.astype(object).reset_index(drop=True),
        notes=notes,
        fingerprint=origin.fingerprint,
        checked=True,
        origin=origin,
        faults=faults,
        choices=choices,
        view=view,
    )
    names, unmeasured = np.array(digests, dtype=object)[kept], np.full((len(kept), 5), np.nan, np.float32)
    loaded = datasets.Loaded(dataset, pixels[kept], names, sizes[kept], unmeasured)
    unknown = ~known & (samples["label"] != "").to_numpy()
    return Batch(loaded, unknown, measures[kept], dataset.unreadable, notes)


def _source(name: str, choices: Choices, classes: list[str]) -> tuple[Source, list[str]]:
    """All images of a batch, `label` "" for none, and notes."""
    kind = kinds.kind_of(name)
    if kind.media is TEXTS or choices.no_images:
        raise LossprintError(f"expected images to check, found texts in {name}")
    notes: list[str] = []
    if kind.name == "folder":
        origin, notes = _of_folder(Path(name).expanduser().absolute(), choices, classes)
    else:
        origin = _of_manifest(name, choices)
    if origin.media is TEXTS:
        raise LossprintError(f"expected images to check, found texts in {name}")
    if origin.rows.empty:
        raise LossprintError(f"expected images to check in {name}, found none")
    cells = origin.rows["label"].fillna("").astype(str)
    label = cells.where(~cells.str.strip().str.lower().isin(EMPTY), "").astype(object) if origin.written else cells
    return replace(origin, rows=origin.rows.assign(label=label.astype(object))), [*notes, *origin.notes]


def _of_manifest(name: str, choices: Choices) -> Source:
    try:
        return kinds.read_source(name, choices)
    except LossprintError as error:
        if "expected a column 'label'" not in str(error):
            raise
    column = choices.path_column or "path"
    origin = kinds.read_source(name, replace(choices, label_column=column))
    return replace(origin, rows=origin.rows.assign(label=""))


def _of_folder(root: Path, choices: Choices, classes: list[str]) -> tuple[Source, list[str]]:
    """Every image below a folder; the folder that says its label is the first, after one named as a split."""
    paths = every_image(root, choices)
    names, known = [], set(classes)
    for path in paths:
        folders = path.split("/")[:-1]
        if folders and folders[0].lower() in SPLIT_NAMES and folders[0] not in known:
            folders = folders[1:]
        names.append(folders[0] if folders else "")
    notes = []
    if not known & set(names):
        others = sorted(set(names) - {""})
        if others:
            notes.append(
                f"no folder is named as a class of the run ({some(others, 3)}): the images count as without a label"
            )
        names = [""] * len(paths)
    rows = tabulate(paths, names, ["test"] * len(paths))
    return of_files("folder", root, root, rows, [""] * len(rows), (), choices.follow_links), notes


def fits(name: str) -> str:
    """A batch's name as that of its result in the run: letters, digits and . _ -, the end of its path."""
    stem = os.path.basename(name.rstrip("/\\").partition("?")[0])
    kept = "".join(one if one.isascii() and (one.isalnum() or one in "._-") else "-" for one in stem).strip("._-")
    return kept[:60] or "batch"
