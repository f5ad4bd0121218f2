"""A batch as it was handed over -> checked arrays in the run's own order -> the columns of a checkpoint."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lossprint.audit.datasets import tasks
from lossprint.audit.recording.samples import Samples, as_array
from lossprint.audit.runs.run import Run
from lossprint.audit.runs.tables import OPTIONAL, PART
from lossprint.audit.types import LossprintError
from lossprint.scoring.trajectory import el2n_norms


@dataclass(frozen=True, eq=False)
class Batch:
    """What is recorded of B samples, the rows (B,) of `Samples`: losses (B,) in nats, and what goes with logits.

    margins (B,) float32, predicted (B,) int32 and norms (B,), el2n, are of one class a sample. each: of several labels
    the losses (B, L) of each; sides: their margins and predictions (B, L). logits: (B, C) in the run's order, kept to
    be compared with the losses.
    """

    rows: np.ndarray
    losses: np.ndarray
    margins: np.ndarray | None = None
    predicted: np.ndarray | None = None
    norms: np.ndarray | None = None
    each: np.ndarray | None = None
    sides: tuple[np.ndarray, np.ndarray] | None = None
    logits: np.ndarray | None = None


def checked(ids, losses, logits, labels, samples: Samples) -> Batch:
    """A batch as `Recorder.update` takes it. Raises LossprintError, which names what is wrong and with which sample."""
    rows = samples.rows(ids)
    losses, each = tasks.reduced(as_array(losses), samples.task, len(samples.names))
    if losses.shape != rows.shape:
        raise LossprintError(
            f"expected one loss a sample, shape {rows.shape}, found {losses.shape}: use reduction='none'"
        )
    signed = samples.task == "regression"
    # float32 cross-entropy of a certain sample may round to just below 0.
    least = losses if each is None else each.min(axis=1)
    bad = ~np.isfinite(losses) if signed else ~(np.isfinite(losses) & (least >= -1e-6))
    if bad.any():
        nothing = samples.task == "text" and np.isnan(losses[bad][0])
        raise LossprintError(
            f"expected finite losses{'' if signed else ' of 0 or more'}, found {int(bad.sum())} "
            f"others, such as {least[bad][0]} of sample {samples.ids[rows[bad]][0]}"
            + (": a text of which no token counts has no mean" if nothing else "")
        )
    losses = losses if signed else np.maximum(losses, 0)
    if samples.task == "classes":
        ordered = _of_classes(rows, logits, labels, samples)
        if ordered is None:
            return Batch(rows, losses)
        own = samples.labels[rows]
        return Batch(rows, losses, *margins(ordered, own), el2n_norms(ordered, own), logits=ordered)
    if each is None:
        return Batch(rows, losses)
    return Batch(rows, losses, each=np.maximum(each, 0), sides=_of_labels(rows, logits, labels, samples))


def _of_classes(rows: np.ndarray, logits, labels, samples: Samples) -> np.ndarray | None:
    """Logits (B, C) in the run's own order, None without any, once the labels have been compared."""
    if labels is not None:
        _check_labels(rows, as_array(labels), samples)
    if logits is None:
        return None
    logits, expected = as_array(logits), (len(rows), len(samples.classes))
    if logits.shape != expected or not np.isfinite(logits).all():
        fault = logits.shape if logits.shape != expected else "some that are not finite"
        raise LossprintError(f"expected finite logits of shape {expected} (samples, classes), found {fault}")
    return logits if samples.order is None else logits[:, samples.order]


def _check_labels(rows: np.ndarray, labels: np.ndarray, samples: Samples) -> None:
    """The caller's labels must be the dataset's: else classes are in another order, or ids are mixed up."""
    own = samples.labels[rows]
    if samples.order is not None:  # a class of the run -> its place in the caller's order
        own = np.asarray(samples.order)[own]
    if labels.shape != rows.shape or not np.array_equal(labels, own):
        order = ", ".join(samples.classes[:8]) + (", ..." if len(samples.classes) > 8 else "")
        raise LossprintError(
            f"expected the dataset's own labels as indices into the classes {order}; found others for these ids: "
            "if your classes are in another order, pass Recorder(classes=[...])"
        )


def _of_labels(rows: np.ndarray, logits, labels, samples: Samples) -> tuple[np.ndarray, np.ndarray] | None:
    """Margins and predictions from logits and given labels (B, L), 0 or 1; None without."""
    if (logits is None) != (labels is None):
        raise LossprintError("expected logits and labels together, found only one of them")
    if logits is None:
        return None
    logits, labels, expected = as_array(logits), as_array(labels), (len(rows), len(samples.names))
    if logits.shape != expected:
        raise LossprintError(f"expected logits of shape {expected}, found {logits.shape}")
    sides = tasks.sides(logits, labels)
    if samples.sets is not None and not np.array_equal(samples.sets[rows], labels == 1):
        raise LossprintError(
            f"expected the dataset's own sets of the labels {', '.join(samples.names[:8])}, in this order; found "
            "others for these ids"
        )
    return sides


def margins(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (B, C) and given class indices (B,) -> margins (B,) float32, predictions (B,) int32.

    The margin is the given label's logit minus the largest other one; negative: another class is preferred.
    """
    rows = np.arange(len(labels))
    given = logits[rows, labels]
    others = logits.astype(np.float32, copy=True)
    others[rows, labels] = -np.inf
    return (given - others.max(axis=1)).astype(np.float32), logits.argmax(axis=1).astype(np.int32)


class Columns:
    """One checkpoint of N samples as it is collected: float32, NaN where nothing is recorded yet; predicted -1 there.

    each: (loss, margin, predicted) of each label, empty until one of them is recorded.
    """

    def __init__(self, samples: Samples):
        self.samples = samples
        self.loss, self.margin, self.predicted = self._empty()
        self.norm = np.full(len(samples.ids), np.nan, np.float32)
        self.seen = np.zeros(len(samples.ids), bool)
        self.each: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def _empty(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n = len(self.samples.ids)
        return np.full(n, np.nan, np.float32), np.full(n, np.nan, np.float32), np.full(n, -1, np.int32)

    def begin_labels(self) -> None:
        """Make room for each label."""
        self.each = self.each or [self._empty() for _ in self.samples.names]

    def put(self, batch: Batch) -> None:
        rows = batch.rows
        self.loss[rows], self.seen[rows] = batch.losses, True
        if batch.margins is not None:
            self.margin[rows], self.predicted[rows], self.norm[rows] = batch.margins, batch.predicted, batch.norms
        if batch.each is None:
            return
        self.begin_labels()
        for at, (loss, margin, predicted) in enumerate(self.each):
            loss[rows] = batch.each[:, at]
            if batch.sides is not None:
                margin[rows], predicted[rows] = (side[:, at] for side in batch.sides)

    def write(self, run: Run, split: str, checkpoint: int, rows: np.ndarray, rank: int) -> None:
        """The rows (R,) of a split as this process's part of the run, and of its labels where there are any."""
        for folder, columns in zip(self.samples.label_folders, self.each):
            run.member(folder).write_part(split, checkpoint, self._part(columns, rows), rank)
        table = self._part((self.loss, self.margin, self.predicted), rows)
        if not np.isnan(self.norm[rows]).all():
            table = table.append_column(OPTIONAL, pa.array(self.norm[rows]))
        run.write_part(split, checkpoint, table, rank)

    def _part(self, columns: tuple, rows: np.ndarray) -> pa.Table:
        return pa.Table.from_arrays([pa.array(one[rows]) for one in (self.samples.ids, *columns)], schema=PART)
