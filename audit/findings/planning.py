"""How a run is scored: what all shards share, how many there are to be, and how much memory that takes."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lossprint.audit.findings import sharding
from lossprint.audit.findings.sharding import Job, Shard, Training, errors_of, merged, opponents
from lossprint.audit.runs.run import Run
from lossprint.audit.runs.tables import LOOKUP_ROWS
from lossprint.audit.system.memory import resident
from lossprint.audit.types import LossprintError, Trajectory
from lossprint.scoring import labels as label_scores
from lossprint.scoring import ranks, strength, trajectory
from lossprint.scoring.labels import SUSPECT, Confusions
from lossprint.scoring.strength import Learnt

# Bytes, from above, as measured (benchmarks/scale.py): of a sample of a shard beside its trajectories, of a sample of
# the dataset throughout, and whatever the samples.
OF_SHARD, OF_ALL, ALWAYS = 250, 48, 250 << 20
LEAST = 1 << 14  # samples that a shard has at least, where there are as many
LOOKED_AT, RANGE = 1 << 17, 1 << 12  # training samples that tell what was learned by heart, and ids in a row of them


@dataclass(frozen=True)
class Basis:
    """What is known before any training sample is looked at.

    ids (N,) of the training samples, val the run's own validation trajectories, seen the confusions on them, learnt
    what the network has learnt by them, newness in [0, 1] how far training samples are like new ones to it.
    """

    job: Job
    ids: np.ndarray
    val: Trajectory
    seen: Confusions
    learnt: Learnt
    newness: float


def prepare(run: Run, scratch: Path) -> Basis:
    """Read the validation samples, and look at what was recorded of the training samples."""
    checkpoints, val = [one for one in run.recorded("train") if one > 0], run.trajectory("val").trained()
    if not checkpoints:
        raise LossprintError(f"expected recorded checkpoints in {run.path}, found none")
    if checkpoints != val.checkpoints.tolist():
        raise LossprintError(
            f"expected the same checkpoints of train and val in {run.path}, found {checkpoints} and "
            f"{val.checkpoints.tolist()}"
        )
    run = replace(run, path=run.path.absolute(), home=run.home and run.home.absolute())  # a worker has its own folder
    folds, seeds = run.members("fold"), run.members("seed")
    # Out of fold, each sample's losses come from the one network that did not train on it.
    if folds:
        sources = [merged(fold.trajectory("val").trained() for fold in folds)]
    else:
        sources = [val, *(seed.trajectory("val").trained() for seed in seeds)]
    ids, classes = run.sample_ids("train"), len(run.classes)
    new = [None] if folds else [_newness(one, ids, seen) for one, seen in zip([run, *seeds], sources)]
    weights = tuple(label_scores.checkpoint_weights(one.losses, least) for one, least in zip(sources, new))
    limited = len(ids) > sharding.MANY
    job = Job(
        own=_training(run),
        seeds=() if folds else tuple(map(_training, seeds)),
        folds=tuple(map(_training, folds)),
        means=trajectory.class_means(val.losses, val.labels, classes),
        weights=weights,
        draws=ranks.draw(weights),
        opponents=opponents(val, limited),
        limited=limited,
        scratch=scratch.absolute(),
    )
    like_new = float(np.mean([1.0 if one is None else shares @ one for one, shares in zip(new, weights)]))
    seen = label_scores.confusions(errors_of(sources, weights), val.labels, classes)
    predicted = [one.predicted for one in sources if one.predicted is not None]
    shares = [weight for one, weight in zip(sources, weights) if one.predicted is not None]
    return Basis(job, ids, val, seen, strength.learnt(predicted, sources[0].labels, shares, classes), like_new)


def _newness(training: Run, ids: np.ndarray, val: Trajectory) -> np.ndarray | None:
    """How much training samples are still like new ones at each checkpoint (E,), from all or from many of them.

    Of a large dataset from ranges spread evenly over it; None where there are no samples of one kind.
    """
    if not len(ids) or not len(val.samples):
        return None
    starts = [0] if len(ids) <= LOOKED_AT else np.linspace(0, len(ids) - RANGE, LOOKED_AT // RANGE).astype(int)
    parts = [ids[start : start + (LOOKED_AT if len(starts) == 1 else RANGE)] for start in starts]
    fits = []
    for part in parts:
        train = training.trajectory("train", between=(int(part[0]), int(part[-1])), predicted=False).trained()
        fits.append(label_scores.fit(train.losses, train.margins))
    return label_scores.newness(sum(fits[1:], fits[0]), label_scores.fit(val.losses, val.margins))


def _training(run: Run) -> Training:
    return Training(run, run.known())


def facts(job: Job) -> dict:
    """What run.json is to say of partners that were not kept or not looked at."""
    if not job.limited:
        return {}
    of = f"label_error > {SUSPECT}" if job.own.run.task == "classes" else "none"
    return {"partners": {"of": of, "candidates_per_class": sharding.CANDIDATES}}


# ---------------------------------------------------------------------------------------------- memory


def cut(basis: Basis, memory: float, workers: int = 1) -> tuple[list[Shard], float]:
    """Shards that fit into `memory` bytes a process, as few as possible but one a worker; and the bytes they will take.

    Where not even small shards fit, they are small ones, and the second number says what is needed.
    """
    job, samples = basis.job, len(basis.ids)
    always, each = _always(basis), _each(job)
    fits = max((memory - always) / each, LEAST)
    count = max(-(-samples // int(fits)), min(workers, -(-samples // LEAST)), 1)
    size = -(-samples // count) if samples else 0
    if size > LOOKUP_ROWS:  # whole row groups, so that none is read twice
        size = min(-(-size // LOOKUP_ROWS), max(int(fits) // LOOKUP_ROWS, 1)) * LOOKUP_ROWS
    starts = range(0, samples, size) if samples else [0]
    parts = [basis.ids[start : start + size] for start in starts]
    ends = [(int(part[0]), int(part[-1])) if len(part) else (0, -1) for part in parts]
    shards = [Shard(number, *ends[number], start, len(parts[number])) for number, start in enumerate(starts)]
    return shards, always + each * size


def _always(basis: Basis) -> float:
    """Bytes that are held whatever the shard: the program, validation losses, what is one a sample of the dataset."""
    run = basis.job.own.run
    vectors = 3 * run.embedding_bytes()  # as read, of the training samples, scaled to length 1
    val = basis.val.losses.nbytes + 2 * basis.job.opponents.losses.nbytes
    return resident() + ALWAYS + val + vectors + OF_ALL * len(basis.ids)


def _each(job: Job) -> float:
    """Bytes for each sample of a shard: its trajectories by all trainings at once, and what is made of them."""
    own = len(job.means) * (4 + 4 * len(job.own.known))
    if job.folds:  # merged, while another one is read
        return own + 3 * 12 * len(job.means) + OF_SHARD
    return own + 12 * 2 * sum(map(len, job.weights)) * (len(job.weights) > 1) + OF_SHARD
