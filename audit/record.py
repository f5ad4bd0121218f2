"""The recorder: rides in anyone's training loop and writes the loss of every sample at every checkpoint.

It needs no torch: tensors are taken by their `detach`, arrays as they are.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from lossprint.audit import atomic, store
from lossprint.audit.types import SPLITS, LossprintError


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
                recorder.update(ids, cross_entropy(logits, labels, reduction="none"), logits)
            recorder.end_checkpoint(epoch)
        recorder.finish()

    `recording` says what the losses are: `eval` as above, or `by-product`, those of the training batches themselves
    (train mode, augmented), which cost nothing but are another quantity. A run holds one of them. With `resume`, an
    existing run is continued after its last whole checkpoint, `recorder.last`.
    """

    def __init__(
        self,
        out: str | Path,
        dataset,
        *,
        recording: str = "eval",
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
            atomic.sweep(self.run.path)
        else:
            self.run = store.create_run(out, asked or {}, described, seed, recording)
        if not self.run.has_samples():  # a run may have been killed before they were written
            self.run.write_samples(table, unreadable)
        table = table.sort_values("sample", ignore_index=True)
        index = {label: i for i, label in enumerate(described["classes"])}
        self.rank = rank
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
        self._loss[rows] = losses
        if logits is not None:
            logits = _array(logits)
            expected = (len(rows), len(self.run.classes))
            if logits.shape != expected:
                raise LossprintError(f"expected logits of shape {expected} (samples, classes), found {logits.shape}")
            given = self._labels[rows] if labels is None else _array(labels).astype(np.int64)
            self._margin[rows], self._predicted[rows] = margins(logits, given)

    def end_checkpoint(self, checkpoint: int) -> None:
        """Write what was collected as this checkpoint (1 is after the first epoch) and begin the next one."""
        if not self._seen.any():
            raise LossprintError(f"expected losses for checkpoint {checkpoint}, found none: call update first")
        # Training last: `last` and a resumed run take a checkpoint with both splits as whole.
        for split in reversed(SPLITS):
            rows = np.flatnonzero(self._seen & (self._split == split))
            if len(rows):
                columns = [self._ids[rows], self._loss[rows], self._margin[rows], self._predicted[rows]]
                table = pa.Table.from_arrays([pa.array(column) for column in columns], schema=store.PART)
                self.run.write_part(split, checkpoint, table, self.rank)
        self._clear()

    def finish(self, **facts) -> store.Run:
        """Say that recording is done. `lossprint score RUN`, or `audit.find.score_run`, goes on from here."""
        checkpoints = self.run.recorded("train")
        if not checkpoints:
            raise LossprintError(f"expected at least one recorded checkpoint in {self.run.path}, found none")
        self.run = self.run.finish("record", checkpoints=len(checkpoints), **facts)
        return self.run

    def _rows(self, ids) -> np.ndarray:
        """Rows of the samples table for ids or paths; an unknown one is an error that names it."""
        if isinstance(ids, Sequence) and len(ids) and isinstance(ids[0], str):
            rows = self._paths.get_indexer(ids)
            unknown = [ids[i] for i in np.flatnonzero(rows < 0)[:3]]
        else:
            ids = _array(ids).astype(np.int64).reshape(-1)
            rows = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
            unknown = ids[self._ids[rows] != ids][:3].tolist()
        if unknown:
            raise LossprintError(
                f"expected ids of the {len(self._ids)} samples in {self.run.path / 'samples.parquet'}, "
                f"found unknown ones such as {unknown}"
            )
        self._seen[rows] = True
        return rows

    def _clear(self) -> None:
        n = len(self._ids)
        self._loss = np.full(n, np.nan, np.float32)
        self._margin = np.full(n, np.nan, np.float32)
        self._predicted = np.full(n, -1, np.int32)
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
        missing = [name for name in ("sample", "path", "label", "split") if name not in dataset]
        if missing:
            raise LossprintError(
                f"expected the columns sample, path, label, split, found {', '.join(map(str, dataset.columns))}"
            )
        table = dataset.assign(path=dataset["path"].astype(str), label=dataset["label"].astype(str))
        if table["sample"].duplicated().any() or table["path"].duplicated().any():
            raise LossprintError("expected every sample id and every path once, found some twice")
        described = {"source": None, "kind": "table", "root": None, "classes": sorted(table["label"].unique())}
        described["counts"] = table["split"].value_counts().to_dict()
        rows = table[["sample", "path", "label", "split"]].to_csv(index=False)
        described["fingerprint"] = hashlib.sha256(rows.encode()).hexdigest()
        return table, described, pd.DataFrame({"path": [], "reason": []}, dtype=str)
    return dataset.samples, describe(dataset), dataset.unreadable


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
