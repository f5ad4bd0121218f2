"""The recorder: rides in anyone's training loop and writes the loss of every sample at every checkpoint.

It needs no torch: tensors are taken by their `detach`, arrays as they are.
"""

import copy
import warnings
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from lossprint.audit.datasets import tasks
from lossprint.audit.recording import arriving
from lossprint.audit.recording.samples import check_same, check_samples, described
from lossprint.audit.runs import run as store
from lossprint.audit.runs.mirror import place
from lossprint.audit.runs.tables import OPTIONAL, PART
from lossprint.audit.system import atomic, processes
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

    `task` says what the losses are of: `classes`, one class a sample; `multi-label`, several at once: losses (B, L) are
    summed, and with `label_names` (L,) kept for each label as well; `text`, the mean over a text's tokens;
    `regression`, any other quantity, where a loss may be negative. See `per_sample` for the first three.

    With several processes (torch.distributed, initialised before), each has a Recorder, hands over what its sampler
    gives it, and calls what follows at the same points. A sample that two of them hand over is recorded once.

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
        task: str = "classes",
        label_names: Sequence[str] | None = None,
        resume: bool = False,
        asked: dict | None = None,
        seed: int = 0,
    ):
        out = place(out, write=True)
        if recording not in ("eval", "by-product", "imported"):
            raise LossprintError(f"expected recording to be 'eval' or 'by-product', found {recording!r}")
        tasks.check_task(task, label_names)
        self.world = processes.opened()
        with self.world.agreed("a Recorder's samples"):
            table, said, unreadable = described(dataset, seed, task)
        if label_names is not None:
            said["labels"] = [str(name) for name in label_names]

        self._alone = ExitStack()  # in the run folder, until `finish`

        def begun() -> store.Run:
            mine = self.world.rank == 0  # the others open what it has made
            if mine:
                self._alone.enter_context(atomic.writing(Path(out), make=True))
            if not mine or (resume and (Path(out) / "run.json").exists()):
                run = store.open_run(out, need=None)
                check_same(run, said, recording)
                check_samples(run, table)
                if mine:
                    atomic.sweep(run.path)
                    run.drop_unfinished()
            else:
                run = store.create_run(out, asked or {}, said, seed, recording)
            if mine and not run.has_samples():  # a run may have been killed before they were written
                run.write_samples(table, unreadable)
            return run

        self.run = self.world.in_turn("a Recorder", begun)
        table = table.sort_values("sample", ignore_index=True)
        index = {label: i for i, label in enumerate(said["classes"])}
        self.task, self._names = said.get("task", "classes"), said.get("labels", [])
        self._order = None if classes is None else _class_order(list(classes), said["classes"])
        self._ids = table["sample"].to_numpy(np.int64)
        self._labels = table["label"].map(index).to_numpy(np.int32)
        self._split = table["split"].to_numpy(str)
        self._paths = pd.Index(table["path"])
        self._sets = tasks.label_sets(table["label"], self._names)
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

    def ids(self, split: str) -> np.ndarray:
        """The sample ids of a split, ascending: what a plain dataset of its samples, in their order, is numbered by."""
        return self._ids[self._split == split]

    def rewind(self, checkpoint: int) -> None:
        """Forget what was recorded after a checkpoint, where a training goes on from weights of then."""
        self._settle()
        self._take_back()
        with self.world.agreed(f"rewind to {checkpoint}"):
            for run in (self.run, *self.run.members("label")) if self.world.rank == 0 else ():
                run.drop_parts_after(checkpoint)
        self._clear()

    def _take_back(self) -> None:
        """What was scored before does not know of what is recorded now."""
        if self.run.stages:
            path, first = self.run.path, self.world.rank == 0
            self.run = self.world.in_turn(
                "reopen", lambda: self._reopened() if first else store.open_run(path, need=None)
            )

    def _reopened(self) -> store.Run:
        self._alone.close()
        self._alone.enter_context(atomic.writing(self.run.path))
        return self.run.reopen("record")

    def update(self, ids, losses, logits=None, labels=None) -> None:
        """Take a batch: ids (B,) sample ids or paths, losses (B,) unreduced, in nats, of the given labels.

        With logits (B, C), classes in the run's sorted order, margins and predictions are recorded too: suggested
        labels, AUM and the best label-error ranking need them. `labels` (B,) class indices default to the dataset's.
        An id that comes twice within a checkpoint (a sampler's padding) counts once. Losses on a GPU are copied while
        the training goes on, so that what is wrong with them is said some batches later.
        """
        if arriving.on_gpu(losses):
            self._arriving.append(arriving.leave((ids, losses, logits, labels)))
            self._settle(arriving.AHEAD)
        else:
            self._settle()
            self._take(ids, losses, logits, labels)

    def _settle(self, left: int = 0) -> None:
        """Take the batches that are on their way, oldest first, but for the last few."""
        while len(self._arriving) > left:
            batch, event = self._arriving.popleft()
            event.synchronize()
            self._take(*batch)

    def _take(self, ids, losses, logits, labels) -> None:
        rows = self._rows(ids)
        losses, each = tasks.reduced(_array(losses), self.task, len(self._names))
        if losses.shape != rows.shape:
            raise LossprintError(
                f"expected one loss a sample, shape {rows.shape}, found {losses.shape}: use reduction='none'"
            )
        # float32 cross-entropy of a certain sample may round to just below 0.
        least = losses if each is None else each.min(axis=1)
        bad = ~np.isfinite(losses) if self.task == "regression" else ~(np.isfinite(losses) & (least >= -1e-6))
        if bad.any():
            nothing = self.task == "text" and np.isnan(losses[bad][0])
            raise LossprintError(
                f"expected finite losses{'' if self.task == 'regression' else ' of 0 or more'}, found {int(bad.sum())} "
                f"others, such as {least[bad][0]} of sample {self._ids[rows[bad]][0]}"
                + (": a text of which no token counts has no mean" if nothing else "")
            )
        if self.task == "classes":
            self._take_logits(rows, logits, labels)
        elif each is not None:
            self._take_labels(rows, each, logits, labels)
        self._loss[rows] = losses if self.task == "regression" else np.maximum(losses, 0)
        self._seen[rows] = True

    def _take_logits(self, rows: np.ndarray, logits, labels) -> None:
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

    def _take_labels(self, rows: np.ndarray, each: np.ndarray, logits, labels) -> None:
        """Keep the losses of each label, and with logits and given labels, 0 or 1, what was preferred instead."""
        if (logits is None) != (labels is None):
            raise LossprintError("expected logits and labels together, found only one of them")
        if not self._each:
            self._each = self._no_labels()
        margins_, predicted = (None, None) if logits is None else self._sides(rows, _array(logits), _array(labels))
        for at, (loss, margin, side) in enumerate(self._each):
            loss[rows] = np.maximum(each[:, at], 0)
            if margins_ is not None:
                margin[rows], side[rows] = margins_[:, at], predicted[:, at]

    def _no_labels(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        n = len(self._ids)
        return [
            (np.full(n, np.nan, np.float32), np.full(n, np.nan, np.float32), np.full(n, -1, np.int32))
            for _ in self._names
        ]

    def _sides(self, rows: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if logits.shape != (len(rows), len(self._names)):
            raise LossprintError(f"expected logits of shape {(len(rows), len(self._names))}, found {logits.shape}")
        sides = tasks.sides(logits, labels)
        if self._sets is not None and not np.array_equal(self._sets[rows], labels == 1):
            raise LossprintError(
                f"expected the dataset's own sets of the labels {', '.join(self._names[:8])}, in this order; found "
                "others for these ids"
            )
        return sides

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
        with self.world.agreed(f"end_checkpoint({checkpoint})"):
            if isinstance(checkpoint, bool) or not isinstance(checkpoint, int | np.integer) or checkpoint < 0:
                raise LossprintError(f"expected a checkpoint number of 0 or more, found {checkpoint!r}")
            self._settle()
            if checkpoint in self.run.recorded("train") and checkpoint <= self.last:
                raise LossprintError(
                    f"expected a new checkpoint, found that {checkpoint} is recorded in {self.run.path}"
                )
        owner = self.world.owners(self._seen)
        if (owner == self.world.size).all():
            raise LossprintError(f"expected losses for checkpoint {checkpoint}, found none: call update first")
        if self._names and self.world.total(len(self._each))[0] and not self._each:
            self._each = self._no_labels()  # all processes write the labels that one of them has seen
        self._take_back()
        splits = [split for split in SPLITS if (owner[self._split == split] < self.world.size).any()]
        with self.world.agreed("room for parts"):
            for run in (self.run, *map(self.run.member, self._label_folders())) if self.world.rank == 0 else ():
                for split in splits:
                    run.make_room(split, checkpoint, self.world.size)
        self.world.first_last(f"parts of {checkpoint}", lambda: self._write_parts(splits, checkpoint, owner))
        self._clear()

    def _write_parts(self, splits: list[str], checkpoint: int, owner: np.ndarray) -> None:
        """Training last: `last` and a resumed run take a checkpoint with both splits as whole."""
        rank = self.world.rank
        for split in reversed(splits):
            rows = np.flatnonzero((owner == rank) & (self._split == split))
            if len(rows) or rank == 0:  # rank 0's part says that all are there, even where it has no rows
                for folder, columns in zip(self._label_folders(), self._each):
                    self.run.member(folder).write_part(split, checkpoint, _part(self._ids, *columns, rows), rank)
                table = _part(self._ids, self._loss, self._margin, self._predicted, rows)
                if not np.isnan(self._norm[rows]).all():
                    table = table.append_column(OPTIONAL, pa.array(self._norm[rows]))
                self.run.write_part(split, checkpoint, table, rank)

    def _label_folders(self) -> list[str]:
        return [tasks.folder(at) for at in range(len(self._names))]

    def finish(self, **facts) -> store.Run:
        """Say that recording is done. `lossprint score RUN`, or `audit.findings.score.score_run`, goes on from here."""
        first, path = self.world.rank == 0, self.run.path
        self.run = self.world.in_turn(
            "finish", lambda: self._finished(facts) if first else store.open_run(path, need="record")
        )
        self._alone.close()
        return self.run

    def _finished(self, facts: dict) -> store.Run:
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
                stacklevel=5,
            )
        return self.run.finish("record", checkpoints=len(checkpoints), incomplete=missing, **facts)

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
        self._arriving: deque = deque()  # batches that are still being copied from a GPU
        self._each: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # loss, margin, predicted of each label


def _part(ids: np.ndarray, loss: np.ndarray, margin: np.ndarray, predicted: np.ndarray, rows: np.ndarray) -> pa.Table:
    columns = [pa.array(column[rows]) for column in (ids, loss, margin, predicted)]
    return pa.Table.from_arrays(columns, schema=PART)


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
