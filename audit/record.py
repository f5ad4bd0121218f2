"""The recorder: rides in anyone's training loop and writes the loss of every sample at every checkpoint.

It needs no torch: tensors are taken by their `detach`, arrays as they are.
"""

import copy
import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from lossprint.audit import atomic, store
from lossprint.audit.sources import SPLIT_NAMES
from lossprint.audit.tables import OPTIONAL, PART
from lossprint.audit.types import SPLITS, LossprintError
from lossprint.scoring.trajectory import el2n_norms


class Recorder:
    """Collects the losses of one checkpoint at a time and writes each, when it ends, to the run folder `out`.

    `dataset` is anything that `lossprint audit` takes (a folder of class folders, a manifest, `torchvision:NAME:ROOT`),
    or a table with the columns sample, path, label, split. Sample ids are those of the dataset: the row of the manifest
    or the position in the sorted list of paths, from 0; paths serve as ids as well. The split follows from the id.

    Record after each epoch, in eval mode and without augmentation, the training and the validation samples:

        recorder = Recorder("runs/mine", "data/labels.csv")
        for epoch in range(1, epochs + 1):
            ...
            for ids, images, labels in plain_loader:
                logits = model(images)
                recorder.update(ids, cross_entropy(logits, labels, reduction="none"), logits, labels)
            recorder.end_checkpoint(epoch)
        recorder.finish()

    `recording` says what the losses are: `eval` as above, or `by-product`, those of the training batches themselves
    (train mode, augmented), which cost nothing but are another quantity. A run holds one of them. With `resume`, an
    existing run is continued after its last whole checkpoint, `recorder.last`.

    `classes` is the order of the classes in your logits and labels; by default they are sorted by name, as ImageFolder
    sorts them. Hand over `labels` too and a different order cannot go unnoticed.
    """

    def __init__(
        self,
        out: str | Path,
        dataset,
        *,
        recording: str = "eval",
        classes: Sequence[str] | None = None,
        resume: bool = False,
        asked: dict | None = None,
        seed: int = 0,
        rank: int = 0,
    ):
        if recording not in ("eval", "by-product", "imported"):
            raise LossprintError(f"expected recording to be 'eval' or 'by-product', found {recording!r}")
        table, described, unreadable = _describe(dataset, seed)
        if resume and (Path(out) / "run.json").exists():
            self.run = store.open_run(out, need=None)
            _check_same(self.run, described, recording)
            _check_samples(self.run, table)
            atomic.sweep(self.run.path)
        else:
            self.run = store.create_run(out, asked or {}, described, seed, recording)
        if not self.run.has_samples():  # a run may have been killed before they were written
            self.run.write_samples(table, unreadable)
        table = table.sort_values("sample", ignore_index=True)
        index = {label: i for i, label in enumerate(described["classes"])}
        self.rank = rank
        self._order = None if classes is None else _class_order(list(classes), described["classes"])
        self._ids = table["sample"].to_numpy(np.int64)
        self._labels = table["label"].map(index).to_numpy(np.int32)
        self._split = table["split"].to_numpy(str)
        self._paths = pd.Index(table["path"])
        self._clear()

    @property
    def last(self) -> int:
        """The last checkpoint that is recorded whole, 0 where there is none."""
        recorded = set(self.run.recorded("train"))
        if "val" in self._split:
            recorded &= set(self.run.recorded("val"))
        return max(recorded, default=0)

    def member(self, name: str) -> "Recorder":
        """A recorder of the same samples for a further training, another seed or fold, in a folder of the run."""
        other = copy.copy(self)
        other.run = self.run.member(name)
        other._clear()
        return other

    def update(self, ids, losses, logits=None, labels=None) -> None:
        """Take a batch: ids (B,) sample ids or paths, losses (B,) unreduced, in nats, of the given labels.

        With logits (B, C), classes in the run's sorted order, margins and predictions are recorded too: suggested
        labels, AUM and the best label-error ranking need them. `labels` (B,) class indices default to the dataset's.
        An id that comes twice within a checkpoint (a sampler's padding) counts once.
        """
        rows = self._rows(ids)
        losses = _array(losses)
        if losses.shape != rows.shape:
            raise LossprintError(
                f"expected one loss a sample, shape {rows.shape}, found {losses.shape}: use reduction='none'"
            )
        # float32 cross-entropy of a certain sample may round to just below 0.
        bad = ~(np.isfinite(losses) & (losses >= -1e-6))
        if bad.any():
            raise LossprintError(
                f"expected finite losses of 0 or more, found {int(bad.sum())} others, such as {losses[bad][0]} of "
                f"sample {self._ids[rows[bad]][0]}"
            )
        if labels is not None:
            self._check_labels(rows, _array(labels))
        if logits is not None:
            logits = _array(logits)
            expected = (len(rows), len(self.run.classes))
            if logits.shape != expected or not np.isfinite(logits).all():
                found = logits.shape if logits.shape != expected else "some that are not finite"
                raise LossprintError(f"expected finite logits of shape {expected} (samples, classes), found {found}")
            if self._order is not None:
                logits = logits[:, self._order]
            self._margin[rows], self._predicted[rows] = margins(logits, self._labels[rows])
            self._norm[rows] = el2n_norms(logits, self._labels[rows])
        self._loss[rows] = np.maximum(losses, 0)
        self._seen[rows] = True

    def _check_labels(self, rows: np.ndarray, labels: np.ndarray) -> None:
        """The caller's labels must be the dataset's: else classes are in another order, or ids are mixed up."""
        given = self._labels[rows]
        if self._order is not None:  # a class of the run -> its place in the caller's order
            given = np.asarray(self._order)[given]
        if labels.shape != rows.shape or not np.array_equal(labels, given):
            order = ", ".join(self.run.classes[:8]) + (", ..." if len(self.run.classes) > 8 else "")
            raise LossprintError(
                f"expected the dataset's own labels as indices into the classes {order}; found others for these ids: "
                "if your classes are in another order, pass Recorder(classes=[...])"
            )

    def end_checkpoint(self, checkpoint: int) -> None:
        """Write what was collected as this checkpoint (1 is after the first epoch) and begin the next one."""
        if isinstance(checkpoint, bool) or not isinstance(checkpoint, int | np.integer) or checkpoint < 0:
            raise LossprintError(f"expected a checkpoint number of 0 or more, found {checkpoint!r}")
        if checkpoint in self.run.recorded("train") and checkpoint <= self.last:
            raise LossprintError(f"expected a new checkpoint, found that {checkpoint} is recorded in {self.run.path}")
        if not self._seen.any():
            raise LossprintError(f"expected losses for checkpoint {checkpoint}, found none: call update first")
        if self.run.stages:  # what was scored before does not know of this checkpoint
            self.run = self.run.reopen("record")
        # Training last: `last` and a resumed run take a checkpoint with both splits as whole.
        for split in reversed(SPLITS):
            rows = np.flatnonzero(self._seen & (self._split == split))
            if len(rows):
                columns = [self._ids[rows], self._loss[rows], self._margin[rows], self._predicted[rows]]
                table = pa.Table.from_arrays([pa.array(column) for column in columns], schema=PART)
                if not np.isnan(self._norm[rows]).all():
                    table = table.append_column(OPTIONAL, pa.array(self._norm[rows]))
                self.run.write_part(split, checkpoint, table, self.rank)
        self._clear()

    def finish(self, **facts) -> store.Run:
        """Say that recording is done. `lossprint score RUN`, or `audit.find.score_run`, goes on from here."""
        checkpoints = self.run.recorded("train")
        if not checkpoints:
            raise LossprintError(f"expected at least one recorded checkpoint in {self.run.path}, found none")
        if set(self.run.recorded("val")) != set(checkpoints):
            raise LossprintError(
                f"expected validation samples at each of the {len(checkpoints)} checkpoints in {self.run.path}, "
                f"found them at {len(self.run.recorded('val'))}: record the val split as well"
            )
        missing = self._missing(checkpoints)
        if missing:
            warnings.warn(
                f"{missing:,} samples were not recorded at every checkpoint: scores that need them stay empty",
                stacklevel=2,
            )
        self.run = self.run.finish("record", checkpoints=len(checkpoints), incomplete=missing, **facts)
        return self.run

    def _missing(self, checkpoints: list[int]) -> int:
        """How many training and validation samples lack a checkpoint."""
        counts = np.zeros(len(self._ids), np.int64)
        for split in ("train", "val"):
            for checkpoint in checkpoints:
                counts[np.searchsorted(self._ids, self.run.part(split, checkpoint)["sample"].to_numpy())] += 1
        return int((counts[np.isin(self._split, ("train", "val"))] < len(checkpoints)).sum())

    def _rows(self, ids) -> np.ndarray:
        """Rows of the samples table for ids or paths; an unknown one is an error that names it."""
        ids = _array([str(path) for path in ids] if _paths(ids) else ids)
        if ids.ndim != 1 or ids.dtype.kind not in "iuUO":
            raise LossprintError(
                f"expected a vector of whole-number ids or of paths, found {ids.dtype} of shape {ids.shape}"
            )
        if ids.dtype.kind in "UO":
            rows = self._paths.get_indexer(ids)
            unknown = ids[rows < 0][:3].tolist()
        else:
            ids = ids.astype(np.int64)
            rows = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
            unknown = ids[self._ids[rows] != ids][:3].tolist()
        if unknown:
            raise LossprintError(
                f"expected ids of the {len(self._ids)} samples in {self.run.path / 'samples.parquet'}, "
                f"found unknown ones such as {unknown}"
            )
        return rows

    def _clear(self) -> None:
        n = len(self._ids)
        self._loss = np.full(n, np.nan, np.float32)
        self._margin = np.full(n, np.nan, np.float32)
        self._predicted = np.full(n, -1, np.int32)
        self._norm = np.full(n, np.nan, np.float32)
        self._seen = np.zeros(n, bool)


def margins(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (B, C) and given class indices (B,) -> margins (B,) float32, predictions (B,) int32.

    The margin is the given label's logit minus the largest other one; negative: another class is preferred.
    """
    rows = np.arange(len(labels))
    given = logits[rows, labels]
    others = logits.astype(np.float32, copy=True)
    others[rows, labels] = -np.inf
    return (given - others.max(axis=1)).astype(np.float32), logits.argmax(axis=1).astype(np.int32)


def _paths(ids) -> bool:
    """Whether ids are a collection of paths, whatever kind of collection."""
    return (
        isinstance(ids, list | tuple | pd.Series | pd.Index)
        and len(ids) > 0
        and isinstance(next(iter(ids)), str | Path)
    )


def _class_order(theirs: list[str], ours: list[str]) -> list[int]:
    """For each class of the run its place in the caller's order."""
    if sorted(theirs) != sorted(ours):
        raise LossprintError(f"expected the dataset's {len(ours)} classes {ours[:8]}, found {theirs[:8]}")
    return [theirs.index(name) for name in ours]


def _array(values) -> np.ndarray:
    """A tensor on any device, or anything array-like, as a numpy array."""
    if hasattr(values, "detach"):
        values = values.detach()
        values = (values.float() if values.is_floating_point() else values).cpu().numpy()
    return np.asarray(values)


def _describe(dataset, seed: int) -> tuple[pd.DataFrame, dict, pd.DataFrame]:
    """The samples table, the manifest's description and the unreadable images of whatever the caller gave."""
    if isinstance(dataset, str | Path):
        from lossprint.audit.datasets import open_dataset

        dataset = open_dataset(str(dataset), seed=seed)
    if isinstance(dataset, pd.DataFrame):
        return _described_table(dataset)
    if not hasattr(dataset, "fingerprint"):
        raise LossprintError(f"expected a DATASET or a table of samples, found {type(dataset).__name__}")
    return dataset.samples, describe(dataset), dataset.unreadable


def _described_table(given: pd.DataFrame) -> tuple[pd.DataFrame, dict, pd.DataFrame]:
    """A caller's own table of samples, checked."""
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
    if len(classes) < 2 or not {"train", "val"} <= set(counts.index):
        raise LossprintError(
            f"expected at least two classes and samples in train and val, found {len(classes)} classes "
            f"and {sorted(counts.index)}"
        )
    rows = table[["sample", "path", "label", "split"]].to_csv(index=False)
    described = {
        "source": None,
        "kind": "table",
        "root": None,
        "classes": classes,
        "counts": {split: int(counts.get(split, 0)) for split in SPLITS},
        "fingerprint": hashlib.sha256(rows.encode()).hexdigest(),
    }
    return table, described, pd.DataFrame({"path": [], "reason": []}, dtype=str)


def describe(dataset) -> dict:
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
    }


def _check_samples(run: store.Run, table: pd.DataFrame) -> None:
    """An image that became unreadable between two parts of a run would leave a gap in it."""
    if run.has_samples() and sorted(run.samples()["sample"]) != sorted(table["sample"]):
        raise LossprintError(
            f"expected the samples that {run.path} was begun with, found others: an image can or cannot be read now, "
            "unlike then; start a new run"
        )


def _check_same(run: store.Run, described: dict, recording: str) -> None:
    """A run is continued on the data and with the kind of losses that it began with, or not at all."""
    before = run.manifest["dataset"]
    if before.get("fingerprint") != described.get("fingerprint") or before["classes"] != described["classes"]:
        raise LossprintError(
            f"expected the dataset that {run.path} was begun with ({before.get('source')}), found another or a changed "
            f"one ({described.get('source')}): start a new run"
        )
    if run.manifest["recording"] != recording:
        raise LossprintError(
            f"expected {run.manifest['recording']} losses, which {run.path} holds, found {recording} ones: "
            f"never mix them"
        )
