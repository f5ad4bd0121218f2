"""A recorder's samples: any DATASET or table -> the samples, what run.json says of them, and if they are the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lossprint.audit.datasets import tasks
from lossprint.audit.datasets.media import IMAGES
from lossprint.audit.datasets.paths import Spelled
from lossprint.audit.datasets.source import SPLIT_NAMES
from lossprint.audit.runs.run import Run
from lossprint.audit.types import SPLITS, LossprintError


@dataclass(frozen=True, eq=False)
class Samples:
    """The N samples that losses are taken of, rows ordered by id.

    ids (N,) int64, labels (N,) int32 indices into `classes`, split (N,) str, paths. names: of several labels; sets
    (N, L) bool: whether a sample has each, None where its label does not say. order: for each class its place in the
    caller's order, None where that is the same. file: where they are listed, for what is said of unknown ids.
    """

    ids: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    paths: pd.Index
    classes: list[str]
    task: str
    names: list[str]
    sets: np.ndarray | None
    order: list[int] | None
    file: Path
    spelled: Spelled

    @classmethod
    def of(cls, table: pd.DataFrame, description: dict, classes: Sequence[str] | None, file: Path) -> "Samples":
        """Those of a table, as `described` gives it; `classes` in the order of the caller's logits."""
        table, names = table.sort_values("sample", ignore_index=True), description.get("labels", [])
        own = description["classes"]
        return cls(
            ids=table["sample"].to_numpy(np.int64),
            labels=table["label"].map({label: at for at, label in enumerate(own)}).to_numpy(np.int32),
            split=table["split"].to_numpy(str),
            paths=pd.Index(table["path"]),
            classes=own,
            task=description.get("task", "classes"),
            names=names,
            sets=tasks.label_sets(table["label"], names),
            order=None if classes is None else _class_order(list(classes), own),
            file=file,
            spelled=Spelled(table["path"], paths=True),
        )

    @property
    def label_folders(self) -> list[str]:
        """The members of the run that hold the losses of each label."""
        return [tasks.folder(at) for at in range(len(self.names))]

    def rows(self, ids) -> np.ndarray:
        """Rows (B,) for sample ids or paths (B,); an unknown one is an error that names it."""
        ids = as_array([str(path) for path in ids] if _are_paths(ids) else ids)
        if ids.ndim != 1 or ids.dtype.kind not in "iuUO":
            raise LossprintError(
                f"expected a vector of whole-number ids or of paths, found {ids.dtype} of shape {ids.shape}"
            )
        if ids.dtype.kind in "UO":
            rows = self.paths.get_indexer(ids)
            for at in np.flatnonzero(rows < 0):  # written in another way, as on a Mac
                path = self.spelled(str(ids[at]))
                rows[at] = -1 if path is None else self.spelled.known[path]
            unknown = ids[rows < 0][:3].tolist()
        else:
            ids = ids.astype(np.int64)
            rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
            unknown = ids[self.ids[rows] != ids][:3].tolist()
        if unknown:
            raise LossprintError(
                f"expected ids of the {len(self.ids)} samples in {self.file}, found unknown ones such as {unknown}"
            )
        return rows


def as_array(values) -> np.ndarray:
    """A tensor on any device, or anything array-like, as a numpy array."""
    if hasattr(values, "detach"):
        values = values.detach()
        values = (values.float() if values.is_floating_point() else values).cpu().numpy()
    return np.asarray(values)


def _are_paths(ids) -> bool:
    """Whether ids are a collection of paths, whatever kind of collection."""
    kinds = list | tuple | pd.Series | pd.Index
    return isinstance(ids, kinds) and len(ids) > 0 and isinstance(next(iter(ids)), str | Path)


def _class_order(theirs: list[str], ours: list[str]) -> list[int]:
    """For each class of the run its place in the caller's order."""
    if sorted(theirs) != sorted(ours):
        raise LossprintError(f"expected the dataset's {len(ours)} classes {ours[:8]}, found {theirs[:8]}")
    return [theirs.index(name) for name in ours]


def opened(dataset, seed: int, task: str):
    """A DATASET's name -> what it stands for, all of it read once; anything else as it is."""
    if not isinstance(dataset, str | Path):
        return dataset
    from lossprint.audit.datasets.dataset import open_dataset

    return open_dataset(str(dataset), seed=seed, task=task)


def described(dataset, seed: int, task: str) -> tuple[pd.DataFrame, dict, pd.DataFrame]:
    """The samples table, the manifest's description and the unreadable images of whatever the caller gave."""
    dataset = opened(dataset, seed, task)
    if isinstance(dataset, pd.DataFrame):
        return _of_table(dataset, task)
    if not hasattr(dataset, "fingerprint"):
        raise LossprintError(f"expected a DATASET or a table of samples, found {type(dataset).__name__}")
    return dataset.samples, _of_dataset(dataset), dataset.unreadable


def _of_table(given: pd.DataFrame, task: str) -> tuple[pd.DataFrame, dict, pd.DataFrame]:
    """A caller's own table of samples, checked."""
    if task != "classes" and "label" not in given:
        given = given.assign(label=tasks.ALL)
    elif task == "regression" and "target" not in given and given["label"].notna().all():  # quantities are no classes
        given = given.assign(target=given["label"].astype(str), label=tasks.ALL)
    missing = [name for name in ("sample", "path", "label", "split") if name not in given]
    if missing:
        raise LossprintError(
            f"expected the columns sample, path, label, split, found {', '.join(map(str, given.columns))}"
        )
    if given[["sample", "path", "label", "split"]].isna().any(axis=None):
        raise LossprintError("expected a value in each cell of sample, path, label and split, found empty ones")
    if given["sample"].dtype.kind not in "iu":
        raise LossprintError(f"expected whole numbers in the column sample, found {given['sample'].dtype}")
    splits = given["split"].astype(str).str.lower().map(SPLIT_NAMES)
    if splits.isna().any():
        raise LossprintError(f"expected the splits train, val or test, found {given['split'][splits.isna()].iloc[0]!r}")
    table = given.assign(path=given["path"].astype(str), label=given["label"].astype(str), split=splits)
    if table["sample"].duplicated().any() or table["path"].duplicated().any():
        raise LossprintError("expected every sample id and every path once, found some twice")
    classes, counts = sorted(set(table["label"])), table["split"].value_counts()
    least = 2 if task == "classes" else 1
    if len(classes) < least or not {"train", "val"} <= set(counts.index):
        raise LossprintError(
            f"expected at least {('one class', 'two classes')[least - 1]} and samples in train and val, found "
            f"{len(classes)} classes and {sorted(counts.index)}"
        )
    said = {
        "source": None,
        "kind": "table",
        "root": None,
        "classes": classes,
        "counts": {split: int(counts.get(split, 0)) for split in SPLITS},
        "fingerprint": tasks.digest(table),
    }
    if task != "classes":
        said["task"] = task
    return table, said, pd.DataFrame({"path": [], "reason": []}, dtype=str)


def _of_dataset(dataset) -> dict:
    """What run.json says of a `datasets.Dataset`."""
    counts = dataset.samples["split"].value_counts()
    return {
        "source": dataset.source,
        "kind": dataset.kind,
        "root": str(dataset.root),
        "fingerprint": dataset.fingerprint,
        "classes": list(dataset.classes),
        "counts": {split: int(counts.get(split, 0)) for split in SPLITS},
        "unreadable": len(dataset.unreadable),
        "notes": list(dataset.notes),
        **({"choices": dataset.choices.changed()} if dataset.choices.changed() else {}),
        **({"shown": dataset.view.changed()} if dataset.view.changed() else {}),
        **({} if dataset.task == "classes" else {"task": dataset.task}),
        **({} if dataset.media is IMAGES else {"media": dataset.media.noun}),
    }


def check_samples(run: Run, table: pd.DataFrame) -> None:
    """An image that became unreadable between two parts of a run would leave a gap in it."""
    if run.has_samples() and sorted(run.samples()["sample"]) != sorted(table["sample"]):
        raise LossprintError(
            f"expected the samples that {run.path} was begun with, found others: an image can or cannot be read now, "
            "unlike then; start a new run"
        )


def check_same(run: Run, described: dict, recording: str) -> None:
    """A run is continued on the data and with the kind of losses that it began with, or not at all."""
    before = run.manifest["dataset"]
    if before.get("fingerprint") != described.get("fingerprint") or before["classes"] != described["classes"]:
        raise LossprintError(
            f"expected the dataset that {run.path} was begun with ({before.get('source')}), found another or a changed "
            f"one ({described.get('source')}): start a new run"
        )
    for name, usual in (("task", "classes"), ("labels", None)):
        if before.get(name, usual) != described.get(name, usual):
            raise LossprintError(
                f"expected the {name} that {run.path} was begun with, {before.get(name, usual)}, found "
                f"{described.get(name, usual)}"
            )
    if run.manifest["recording"] != recording:
        raise LossprintError(
            f"expected {run.manifest['recording']} losses, which {run.path} holds, found {recording} ones: "
            f"never mix them"
        )
