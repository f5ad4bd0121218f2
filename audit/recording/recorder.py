"""The recorder: rides in anyone's training loop and writes the loss of every sample at every checkpoint.

It needs no torch: tensors are taken by their `detach`, arrays as they are.
"""

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lossprint.audit.datasets import tasks
from lossprint.audit.recording import gpu_copies
from lossprint.audit.recording.agreement import Check
from lossprint.audit.recording.batch import Batch, Columns, checked
from lossprint.audit.recording.responses import responses, write_responses
from lossprint.audit.recording.samples import Samples, described
from lossprint.audit.recording.session import Session
from lossprint.audit.runs.run import Run
from lossprint.audit.system import processes
from lossprint.audit.system.urls import local
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
        out = local(out)
        if recording not in ("eval", "by-product", "imported"):
            raise LossprintError(f"expected recording to be 'eval' or 'by-product', found {recording!r}")
        tasks.check_task(task, label_names)
        self.world = processes.opened()
        with self.world.agreed("a Recorder's samples"):
            table, description, unreadable = described(dataset, seed, task)
            if label_names is not None:
                description["labels"] = [str(name) for name in label_names]
            self._samples = Samples.of(table, description, classes, out / "samples.parquet")
        options = {"recording": recording, "asked": asked or {}, "seed": seed, "resume": resume}
        self._session = Session.begin(self.world, out, table, unreadable, description, **options)
        self._doubt: str | None = None
        self._responses: pd.DataFrame | None = None
        self._clear()

    @property
    def run(self) -> Run:
        """The run as it stands."""
        return self._session.run

    @property
    def task(self) -> str:
        """What the losses are of."""
        return self._samples.task

    @property
    def last(self) -> int:
        """The last checkpoint that is recorded whole, 0 where there is none."""
        recorded = set(self.run.recorded("train"))
        if "val" in self._samples.split:
            recorded &= set(self.run.recorded("val"))
        return max(recorded, default=0)

    def member(self, name: str) -> "Recorder":
        """Recorder for another seed or fold of the same run."""
        other = copy.copy(self)
        other._session = self._session.member(name)
        other._clear()
        return other

    def ids(self, split: str) -> np.ndarray:
        """The sample ids of a split, ascending: what a plain dataset of its samples, in their order, is numbered by."""
        return self._samples.ids[self._samples.split == split]

    def labels(self, ids) -> np.ndarray:
        """The given labels (B,) of samples, as indices of the run's classes."""
        return self._samples.labels[self._samples.rows(ids)]

    def reask(self, asked: dict) -> None:
        """What the run is asked for from now on, where that is settled while it records."""
        self._session.reask(asked)

    def rewind(self, checkpoint: int) -> None:
        """Forget what was recorded after a checkpoint, where a training goes on from weights of then."""
        self._settle()
        self._session.drop_after(checkpoint)
        self._clear()

    def update(self, ids, losses, logits=None, labels=None) -> None:
        """Take a batch: ids (B,) sample ids or paths, losses (B,) unreduced, in nats, of the given labels.

        With logits (B, C), classes in the run's sorted order, margins and predictions are recorded too: suggested
        labels, AUM and the best label-error ranking need them. Where the first losses of a checkpoint are not the
        cross-entropy of the logits and the dataset's labels, a warning says what they look like. `labels` (B,) class
        indices default to the dataset's. An id that comes twice within a checkpoint (a sampler's padding) counts once.
        Losses on a GPU are copied while the training goes on, so that what is wrong with them is said some batches
        later.
        """
        if gpu_copies.on_gpu(losses):
            self._copies.put((ids, losses, logits, labels))
            self._settle(gpu_copies.AHEAD)
        else:
            self._settle()
            self._put(checked(ids, losses, logits, labels, self._samples))

    def responses(self, ids, losses, tokens, alone=None) -> None:
        """Of prompt/response pairs, ids (B,): sums (B,) of the losses of the response's tokens after the prompt, and
        without it (`alone`), in nats, and counts of tokens (B,); `per_sample.response_sums` gives both.

        Once, by the model that is to judge, such as the last; of a pair that comes twice the later numbers count.
        The scores `response_loss` and `ifd` come of them.
        """
        if self.world.size > 1:
            raise LossprintError(
                "expected one process to hand over responses, found several: write a table, and lossprint score "
                "RUN --responses FILE"
            )
        rows = self._samples.rows(ids)
        arrays = [None if one is None else _array(one) for one in (losses, alone, tokens)]
        if any(one is not None and one.shape != rows.shape for one in arrays):
            raise LossprintError(
                f"expected a loss and a count of tokens for each of {len(rows)} ids, found other shapes"
            )
        frame = responses(self._samples.ids[rows], *arrays)
        before = [] if self._responses is None else [self._responses]
        both = pd.concat([*before, frame], ignore_index=True).drop_duplicates("sample", keep="last")
        self._responses = both.sort_values("sample", ignore_index=True)
        write_responses(self.run, self._responses)

    def _settle(self, left: int = 0) -> None:
        """Take the batches that are on their way, oldest first, but for the last few."""
        for batch in self._copies.arrived(left):
            self._put(checked(*batch, self._samples))

    def _put(self, batch: Batch) -> None:
        if batch.logits is not None:
            self._check.look(batch.losses, batch.logits, self._samples.labels[batch.rows])
        self._columns.put(batch)

    def _compare(self) -> None:
        """Say once what the losses look like that are not those of the logits and the dataset's labels."""
        doubt = None if self._doubt else self._check.sentence()
        if doubt:
            self._doubt = doubt
            warnings.warn(f"{doubt} (in {self.run.path})", stacklevel=3)

    def end_checkpoint(self, checkpoint: int) -> None:
        """Write what was collected as this checkpoint (1 is after the first epoch) and begin the next one."""
        world, columns, split = self.world, self._columns, self._samples.split
        with world.agreed(f"end_checkpoint({checkpoint})"):
            if isinstance(checkpoint, bool) or not isinstance(checkpoint, int | np.integer) or checkpoint < 0:
                raise LossprintError(f"expected a checkpoint number of 0 or more, found {checkpoint!r}")
            self._settle()
            self._compare()
            if checkpoint in self.run.recorded("train") and checkpoint <= self.last:
                raise LossprintError(
                    f"expected a new checkpoint, found that {checkpoint} is recorded in {self.run.path}"
                )
        owner = world.owners(columns.seen)
        if (owner == world.size).all():
            raise LossprintError(f"expected losses for checkpoint {checkpoint}, found none: call update first")
        if self._samples.names and world.total(len(columns.each))[0]:
            columns.begin_labels()  # all processes write the labels that one of them has seen
        self._session.reopen()
        splits = [name for name in SPLITS if (owner[split == name] < world.size).any()]
        with world.agreed("room for parts"):
            runs = (self.run, *map(self.run.member, self._samples.label_folders))
            for run in runs if world.rank == 0 else ():
                for name in splits:
                    run.make_room(name, checkpoint, world.size)
        world.first_last(f"parts of {checkpoint}", lambda: self._write_parts(splits, checkpoint, owner))
        self._clear()

    def _write_parts(self, splits: list[str], checkpoint: int, owner: np.ndarray) -> None:
        """Training last: `last` and a resumed run take a checkpoint with both splits as whole."""
        rank = self.world.rank
        for split in reversed(splits):
            rows = np.flatnonzero((owner == rank) & (self._samples.split == split))
            if len(rows) or rank == 0:  # rank 0's part says that all are there, even where it has no rows
                self._columns.write(self.run, split, checkpoint, rows, rank)

    def finish(self, **facts) -> Run:
        """Say that recording is done. `lossprint score RUN`, or `audit.findings.score.score_run`, goes on from here."""
        doubt = {"doubt": self._doubt} if self._doubt else {}
        return self._session.finish(self._samples, facts | doubt)

    def _clear(self) -> None:
        self._columns, self._copies = Columns(self._samples), gpu_copies.Queue()
        self._check = Check()


def _array(values) -> np.ndarray:
    """Numbers (B,) of a list, an array or a tensor."""
    return np.asarray(values.detach().float().cpu() if hasattr(values, "detach") else values, float)
