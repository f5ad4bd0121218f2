"""Scoring by shards, ranges of training samples that fit into memory: what is worked out of a shard, in any process.

`measure` reads a shard's trajectories and gives what a sample has by itself: scores, partners, its mean margin in each
draw. Only the confusions of labels take all samples, and ranks in the draws (`scoring.ranks`): `score` sees to these.
What is one a sample is left in a scratch folder, what is small is returned.
"""

import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from lossprint.audit.runs.run import Run
from lossprint.audit.runs.tables import rows_writer
from lossprint.audit.types import LossprintError, Trajectory
from lossprint.scoring import labels as label_scores
from lossprint.scoring import ranks, trajectory
from lossprint.scoring.correlation import Undefined
from lossprint.scoring.labels import SUSPECT, Confusions, LabelErrors
from lossprint.scoring.pairs import partners

PARTNERS = 5  # kept a side and a scope
MANY = 2_000_000  # training samples above which only suspicious ones keep partners
CANDIDATES = 100  # validation samples of a class that are looked at then, spread evenly
BLOCK = 1 << 16  # samples whose partners, or forgetting events, are worked out at once
SIDES = ("aligned", "conflicting")
PAIRS_SCHEMA = pa.schema(
    [
        ("sample", pa.int64()),
        ("partner", pa.int64()),
        ("partner_split", pa.large_string()),
        ("correlation", pa.float32()),
        ("side", pa.large_string()),
        ("rank", pa.int64()),
        ("scope", pa.large_string()),
    ]
)


@dataclass(frozen=True)
class Shard:
    """Training samples with ids `first` to `last`, both included: `count` of them, the first is number `start`."""

    number: int
    first: int
    last: int
    start: int
    count: int


@dataclass(frozen=True)
class Training:
    """One training of the run, itself or a member, and which of margin, predicted and el2n it recorded at all."""

    run: Run
    known: frozenset[str]


@dataclass(frozen=True)
class Job:
    """What all shards share.

    Label errors are ranked by the run's own training and those of further seeds, or by its folds as one: the sources.
    means (E, C), weights[s] (E,) of each source, draws: from the validation samples. opponents: the losses of those
    that may be partners, `limited` if not all; then only suspicious samples have partners.
    """

    own: Training
    seeds: tuple[Training, ...]
    folds: tuple[Training, ...]
    means: np.ndarray
    weights: tuple[np.ndarray, ...]
    draws: ranks.Draws
    opponents: Trajectory
    limited: bool
    scratch: Path

    @property
    def classes(self) -> int:
        return self.means.shape[1]

    def place(self, shard: Shard, name: str) -> Path:
        return self.scratch / f"{name}-{shard.number:05d}"


@dataclass(frozen=True)
class Measured:
    """Of a shard: why its CLD is undefined, and its confusions."""

    shard: Shard
    undefined: Undefined
    confusions: Confusions


def measure(job: Job, shard: Shard) -> Measured:
    """Leave in the scratch folder what each sample has by itself: scores, means, and unless `limited` its pairs."""
    train, sources = _trajectories(job, shard)
    cld, undefined = trajectory.class_correlation(train.losses, train.labels, job.means)
    errors = errors_of(sources, job.weights)
    p_mean, p_std = trajectory.data_map(train.losses)
    curvature = job.own.run.curvature((shard.first, shard.last)).reindex(train.samples)
    margins = margins_of(sources)
    lost = ranks.unknown(job.draws, margins)
    save(
        job.place(shard, "scores"),
        sample=train.samples,
        labels=train.labels,
        cld=cld,
        ltc=trajectory.ltc(train.losses, train.labels, job.means),
        csl=trajectory.csl(train.losses),
        aum=_nan(train) if train.margins is None else trajectory.aum(train.margins),
        forgetting=_forgetting(train),
        el2n=_nan(train) if train.norms is None else trajectory.el2n(train.norms),
        p_mean=p_mean,
        p_std=p_std,
        **{name: curvature[name].to_numpy() for name in curvature},
        margin=errors.margin,
        suggested=errors.suggested.astype(np.int32),
        probability=errors.probability,
        given_probability=errors.given_probability,
        stability=errors.stability,
        unranked=lost[-1],
    )
    confusions = label_scores.confusions(errors, train.labels, job.classes)
    del errors
    _write_means(job, shard, margins, lost)
    if not job.limited:
        _write_pairs(job, shard, train, np.arange(len(train.samples)))
    return Measured(shard, undefined, confusions)


def pair_suspicious(job: Job, shard: Shard) -> Shard:
    """Write the pairs of a shard's suspicious samples, whose severity is in the scratch folder by now."""
    train = _own(job, shard, predicted=False)
    # Of tasks without classes it is not known yet which are.
    suspicious = (load(job.place(shard, "severity"))["severity"] > SUSPECT) & (job.own.run.task == "classes")
    _write_pairs(job, shard, train, np.flatnonzero(suspicious))
    return shard


ERRORS = ("margin", "suggested", "probability", "given_probability", "stability")


def errors_from(arrays: dict[str, np.ndarray]) -> LabelErrors:
    """`LabelErrors` from the arrays `ERRORS`; the severity, if it is not among them, is still to come."""
    return LabelErrors(arrays.get("severity", np.empty(0)), **{name: arrays[name] for name in ERRORS})


# ---------------------------------------------------------------------------------------------- trajectories


def _trajectories(job: Job, shard: Shard) -> tuple[Trajectory, list[Trajectory]]:
    """The run's own trajectories of a shard, and those of the sources of label errors."""
    train, between = _own(job, shard), (shard.first, shard.last)
    if job.folds:
        return train, [merged(_read(fold, between) for fold in job.folds)]
    return train, [train, *(_read(seed, between) for seed in job.seeds)]


def _own(job: Job, shard: Shard, predicted: bool = True) -> Trajectory:
    _look(job.own.run)
    train = _read(job.own, (shard.first, shard.last), predicted)
    if len(train.samples) != shard.count:
        raise LossprintError(
            f"expected {shard.count:,} training samples from {shard.first} to {shard.last} in {job.own.run.path}, "
            f"found {len(train.samples):,}: it was changed while it was scored"
        )
    return train


def _read(training: Training, between: tuple[int, int], predicted: bool = True) -> Trajectory:
    """Trajectories of a range without checkpoint 0; what the training recorded of others only is all missing."""
    read = training.run.trajectory("train", between=between, predicted=predicted)
    more = {}
    for column, name in (("margin", "margins"), ("predicted", "predicted"), ("el2n", "norms")):
        if column in training.known and getattr(read, name) is None and (predicted or column == "margin"):
            missing, kind = (-1, np.int32) if column == "predicted" else (np.nan, np.float32)
            more[name] = np.full(read.losses.shape, missing, kind)
    return replace(read, **more).trained()


def _look(run: Run) -> None:
    """Raise LossprintError where this process, perhaps on another machine, does not see the run folder."""
    if not run.has_samples():
        raise LossprintError(
            f"expected the run folder {run.path} on every machine of the cluster, found none on {socket.gethostname()} "
            f"(process {os.getpid()}): keep it on a file system that they share"
        )


def merged(parts) -> Trajectory:
    """Trajectories of the same samples, each recorded in one of the parts only, as one; without norms."""
    parts = iter(parts)
    first = next(parts)
    losses, margins, predicted = first.losses, first.margins, first.predicted
    for part in parts:
        losses = np.where(np.isnan(losses), part.losses, losses)
        margins = _either(margins, part.margins, lambda a, b: np.where(np.isnan(a), b, a))
        predicted = _either(predicted, part.predicted, np.maximum)
    return Trajectory(first.samples, first.labels, first.checkpoints, losses, margins, predicted)


def _either(one, other, join):
    return one if other is None else other if one is None else join(one, other)


def errors_of(sources: list[Trajectory], weights: tuple[np.ndarray, ...]) -> LabelErrors:
    """Label errors by one or several trainings, whose checkpoints count together; weights[s] (E,) sum to 1 each."""
    whole = np.concatenate(weights) / len(sources)
    names = ("losses", "margins", "predicted")
    if len(sources) == 1:
        losses, margins, predicted = (getattr(sources[0], name) for name in names)
    else:
        losses, margins, predicted = (
            None if getattr(sources[0], name) is None else np.concatenate([getattr(one, name) for one in sources])
            for name in names
        )
    return label_scores.label_errors(losses, sources[0].labels, margins=margins, predicted=predicted, weights=whole)


def margins_of(sources: list[Trajectory]) -> list[np.ndarray]:
    """What ranks are drawn by. Without margins the loss's negative stands in: the confidence is about ranks alone."""
    return [-one.losses if one.margins is None else one.margins for one in sources]


def _nan(train: Trajectory) -> np.ndarray:
    return np.full(len(train.samples), np.nan)


def _forgetting(train: Trajectory) -> np.ndarray:
    """Forgetting events (N,), NaN where predictions or losses are missing; block by block, as masks take memory."""
    events = _nan(train)
    if train.margins is None:
        return events
    for start in range(0, len(events), BLOCK):
        part = slice(start, start + BLOCK)
        losses, margins = train.losses[:, part], train.margins[:, part]
        events[part] = trajectory.forgetting(margins > 0, ~(np.isfinite(losses) & np.isfinite(margins)))
    return events


# ---------------------------------------------------------------------------------------------- partners


def opponents(val: Trajectory, limited: bool) -> Trajectory:
    """The validation samples that may be partners: all, or at most CANDIDATES of a class, spread evenly; losses."""
    keep = np.arange(len(val.samples))
    if limited:
        of_class = (np.flatnonzero(val.labels == label) for label in np.unique(val.labels))
        spread = [one[np.unique(np.linspace(0, len(one) - 1, CANDIDATES).round().astype(int))] for one in of_class]
        keep = np.sort(np.concatenate([np.empty(0, int), *spread]))
    return Trajectory(val.samples[keep], val.labels[keep], val.checkpoints, val.losses[:, keep])


def _write_pairs(job: Job, shard: Shard, train: Trajectory, rows: np.ndarray) -> None:
    """The partners of some of a shard's samples, rows ascending, as one file."""
    with rows_writer(job.place(shard, "pairs")) as append:
        append(PAIRS_SCHEMA.empty_table())
        for start in range(0, len(rows), BLOCK):
            append(_pairs(train, job.opponents, rows[start : start + BLOCK]))


def _pairs(train: Trajectory, val: Trajectory, rows: np.ndarray) -> pa.Table:
    """The partners of some training samples among validation samples, of their own class and among all."""
    if not len(val.samples):  # new videos of a run that is trained
        return PAIRS_SCHEMA.empty_table()
    losses, labels, k = train.losses[:, rows], train.labels[rows], min(PARTNERS, len(val.samples))
    by_scope = {  # in the order in which the rows of one sample are stored
        "all": partners(losses, val.losses, k),
        "class": partners(losses, val.losses, k, labels=labels, query_labels=val.labels, same_class=True),
    }
    groups = [(scope, side) for scope in by_scope for side in SIDES]
    index = np.stack([getattr(by_scope[scope], side) for scope, side in groups], axis=1)  # (B, 4, k)
    value = np.stack([getattr(by_scope[scope], f"{side}_correlation") for scope, side in groups], axis=1)
    row, group, place = np.nonzero(index >= 0)
    names = [pa.array([pair[at] for pair in groups], pa.large_string()).take(pa.array(group)) for at in (0, 1)]
    columns = [
        pa.array(train.samples[rows[row]]),
        pa.array(val.samples[index[row, group, place]]),
        pa.array(["val"], pa.large_string()).take(pa.array(np.zeros(len(row), np.int64))),
        pa.array(value[row, group, place]),
        names[1],
        pa.array(place.astype(np.int64) + 1),
        names[0],
    ]
    return pa.Table.from_arrays(columns, schema=PAIRS_SCHEMA)


# ---------------------------------------------------------------------------------------------- scratch files


def save(path: Path, **arrays: np.ndarray) -> None:
    """Leave arrays for the coordinator; a second try of the same shard puts the same bytes in their place."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, part)
    except SafetensorError as error:  # a full disk, which it does not tell from other faults but by its text
        number = re.search(r"\b(?:os error|code:) (\d+)", str(error))  # now, and in 0.4 and 0.5
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(part)) from None
    part.replace(path)


def load(path: Path, names: tuple[str, ...] | None = None, part: slice = slice(None)) -> dict[str, np.ndarray]:
    """The arrays that `save` left, or some of them, or a part of each."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:

        def read(name: str) -> np.ndarray:
            # safetensors refuses a slice that goes beyond the end, and any slice of an empty array
            start, stop, _ = part.indices(file.get_slice(name).get_shape()[0])
            return file.get_slice(name)[start:stop] if start < stop else file.get_tensor(name)[:0]

        return {name: read(name) for name in names or file.keys()}


def _write_means(job: Job, shard: Shard, margins: list[np.ndarray], lost: list[np.ndarray]) -> None:
    """The mean margins of a shard in all draws, (D, N) float32: 400 bytes a sample, on disk only."""
    place = job.place(shard, "means")
    part = place.with_name(f"{place.name}.{os.getpid()}.part")
    with open(part, "wb") as file:
        for d, samples, mean in ranks.means(job.draws, margins, lost):
            file.seek((d * shard.count + samples.start) * mean.itemsize)
            file.write(mean.tobytes())
    part.replace(place)


def draw_means(job: Job, shards: list[Shard]) -> Iterator[np.ndarray]:
    """Of each draw the mean margins (N,) float32 of the samples of all shards, in their order."""
    for d in range(len(job.draws.of)):
        yield np.concatenate(
            [
                np.fromfile(job.place(shard, "means"), np.float32, shard.count, offset=4 * d * shard.count)
                for shard in shards
            ]
        )
