"""Memorization of a run's training samples: what is known of a label only because it was trained on, with its error.

On pretrained features from linear heads trained on random parts, minutes of them; it is the head's memorization. Else
from the further trainings that were recorded with `--folds`: of each sample the models with it and the one without.
The answers are probabilities of the given label. The heads are shadow models, too: `distance` is how far apart the
log-odds lie that heads with and without a sample give its label. See `scoring.memorized.memorization`.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from lossprint.audit.runs.run import Run
from lossprint.audit.runs.tables import MEMORIZATION
from lossprint.audit.system.atomic import write_table
from lossprint.audit.types import LossprintError, Trajectory
from lossprint.audit.words import plural
from lossprint.scoring.memorized import membership
from lossprint.scoring.memorized.memorization import memorization

FILE = "memorization.parquet"
PARTS = 3  # a head sees two of three parts
LAST = 3  # checkpoints whose probabilities are averaged
CLEAR, Z = 0.25, 1.645  # a memorization of which its authors speak; one-sided 95 %


@dataclass(frozen=True, eq=False)
class Memorized:
    """table: `tables.MEMORIZATION`, the most memorized first. trainings: how many stand behind it. heads: whether they
    are of heads on pretrained features. notes: what to know before trusting it."""

    table: pd.DataFrame
    trainings: int
    heads: bool
    notes: tuple[str, ...]


def measure(run: Run, trainings: int = 102, progress=lambda: None) -> Memorized:
    """Estimate and keep it. LossprintError for a run without pretrained features and without folds."""
    if run.task != "classes":
        raise LossprintError(f"expected a run of classes, found one of {run.task} in {run.path}")
    if run.head() is not None:
        memorized = _of_heads(run, trainings, progress)
    elif run.members("fold"):
        memorized = _of_folds(run)
    else:
        raise LossprintError(
            f"expected a run on pretrained features or with --folds, found neither in {run.path}: memorization needs "
            "models that were not trained on a sample"
        )
    table = pa.Table.from_pandas(memorized.table, schema=MEMORIZATION, preserve_index=False)
    write_table(run.path / FILE, table)
    return memorized


def _of_heads(run: Run, trainings: int, progress) -> Memorized:
    """Heads as the run's own, each on two random thirds of the training samples."""
    ids, vectors = run.embeddings() or (np.empty(0, np.int64), np.empty((0, 1)))
    samples = run.samples(columns=["sample", "label", "split"])
    train = samples[(samples["split"] == "train") & samples["sample"].isin(ids)].sort_values("sample")
    if len(train) < 2 * PARTS:
        raise LossprintError(f"expected features of the training samples in {run.path}, found {len(train)}")
    labels = pd.Index(run.classes).get_indexer(train["label"]).astype(np.int64)
    values = np.ascontiguousarray(vectors[pd.Index(ids).get_indexer(train["sample"])])
    record = run.manifest["facts"].get("record", {})
    decay = record.get("decay") or (record.get("frozen") or {}).get("decay") or 3e-4
    epochs = len(run.recorded("train")) if not run.members("view") else 30
    how = {"decay": decay, "epochs": max(epochs, 1), "seed": int(run.manifest.get("seed") or 0), "progress": progress}
    member, losses = heads_on_parts(values, labels, len(run.classes), max(-(-trainings // PARTS), 2), **how)
    estimate, error = memorization(member, np.exp(-losses))
    table = _table(train["sample"], estimate, error, member.sum(axis=0), (~member).sum(axis=0))
    apart = pd.Series(membership.distance(membership.log_odds(losses), member), train["sample"].to_numpy())
    table["distance"] = table["sample"].map(apart)
    notes = ("it is the linear head's memorization, which keeps little of most samples; not that of a network",)
    return Memorized(table, len(member), True, notes)


def heads_on_parts(
    values: np.ndarray, labels: np.ndarray, classes: int, rounds: int, *, decay: float, epochs: int, seed: int, progress
) -> tuple[np.ndarray, np.ndarray]:
    """Three heads a round on features (N, d), each without another random third: which samples each was trained on,
    (3 rounds, N) bool, and the loss by each, the same shape, float32."""
    from lossprint.scoring.heads import linear

    shape, preparation = (rounds * PARTS, len(labels)), linear.prepare(values)
    member, losses = np.empty(shape, bool), np.empty(shape, np.float32)
    for number in range(rounds):
        part = np.random.default_rng((seed, number)).permutation(len(labels)) % PARTS
        how = {"fold": part, "epochs": epochs, "seed": seed + number, "preparation": preparation}
        last = deque(linear.train_stack(values, labels, classes, [decay] * PARTS, **how), maxlen=1)
        for one, head in enumerate(last.pop()):
            member[number * PARTS + one] = part != one
            losses[number * PARTS + one] = linear.measure(head, values, labels).loss.cpu().numpy()
        progress()
    return member, losses


def _of_folds(run: Run) -> Memorized:
    """One model without each sample; with it the run's own and those of further seeds."""
    ids = run.sample_ids("train")
    inside = np.stack([_last(one.trajectory("train", True), ids) for one in (run, *run.members("seed"))])
    outside = np.full(len(ids), np.nan)
    for fold in run.members("fold"):
        values = _last(fold.trajectory("train", True), ids)
        outside = np.where(np.isnan(values), outside, values)
    a, count = inside.mean(axis=0), len(inside)
    error = np.sqrt(a * (1 - a) / count + outside * (1 - outside))  # no value in [0, 1] is spread more
    table = _table(ids, a - outside, error, np.full(len(ids), count), np.isfinite(outside).astype(np.int64))
    note = (
        f"{plural(count, 'model')} with a sample and one without it: the error is the most that it may be, and far "
        "above what more trainings would leave"
    )
    return Memorized(table, count + len(run.members("fold")), False, (note,))


def _last(recorded: Trajectory, ids: np.ndarray) -> np.ndarray:
    """The mean probability of the given label at the last checkpoints, (N,), NaN for samples that were not recorded."""
    values = np.full(len(ids), np.nan)
    if len(recorded.losses):
        at = pd.Index(ids).get_indexer(recorded.samples)
        values[at[at >= 0]] = np.exp(-recorded.losses[-LAST:].astype(np.float64)).mean(axis=0)[at >= 0]
    return values


def _table(ids, estimate: np.ndarray, error: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> pd.DataFrame:
    columns = {"sample": np.asarray(ids, np.int64), "memorization": estimate, "error": error}
    counts = {"inside": inside.astype(np.int64), "outside": outside.astype(np.int64)}
    frame = pd.DataFrame(columns | {"distance": np.nan} | counts)
    return frame.sort_values("memorization", ascending=False, kind="stable", ignore_index=True)


def kept(run: Run) -> pd.DataFrame | None:
    """What was kept, indexed by sample; None where nothing was measured. LossprintError where it is damaged."""
    if not (run.path / FILE).exists():
        return None
    return run.table(FILE).set_index("sample")


def stamp(run: Run) -> int:
    """When it was measured last, in nanoseconds; 0 if never."""
    file = run.path / FILE
    return file.stat().st_mtime_ns if file.exists() else 0


def clear(table: pd.DataFrame) -> np.ndarray:
    """Which samples (N,) are memorized for sure: by CLEAR or more, the error taken off."""
    return (table["memorization"] - Z * table["error"]).to_numpy() >= CLEAR


def sentence(row) -> str:
    """What a row says of its sample where it is `clear`, else empty."""
    if not row.memorization - Z * row.error >= CLEAR:
        return ""
    return (
        f"Learned only because it was there: models trained with it give its label {100 * row.memorization:.0f} "
        f"percentage points more than models trained without it (standard error {100 * row.error:.0f})"
    )
