"""What follows on recording, whatever networks a run has: curvature, embedding, duplicates, scores and findings."""

import functools
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.findings.duplicates import write_duplicates
from lossprint.audit.findings.find import find_run
from lossprint.audit.findings.quality import write_quality
from lossprint.audit.findings.score import score_run
from lossprint.audit.runs.run import Run
from lossprint.audit.system import processes
from lossprint.audit.system.progress import Bar, bar_style
from lossprint.audit.training import curvature, models, train
from lossprint.audit.training.inputs import counted
from lossprint.audit.video import videos


class Networks(Protocol):
    """The networks of a run: a module and the weights that it had at each of `checkpoints`, ascending.

    `embeds` says whether the module ends in a linear layer, whose inputs are embeddings.
    """

    checkpoints: list[int]
    embeds: bool

    def at(self, checkpoint: int) -> AbstractContextManager[nn.Module]:
        """The module, which gives logits, with the weights of a checkpoint; errors within name the checkpoint."""


@dataclass(frozen=True, eq=False)
class Work:
    """What the stages of a run share: what was asked, its samples as a network sees them and as they were read."""

    asked: dict
    inputs: train.Inputs
    loaded: datasets.Loaded
    device: str
    quiet: bool

    def bar(self, total: int, name: str) -> Bar:
        """A progress bar of images."""
        return Bar(total=total, unit="img", desc=name, disable=self.quiet, **bar_style())


@dataclass(frozen=True, eq=False)
class OwnNetworks:
    """`Networks` that a built-in training left in the run's folder, one an epoch."""

    run: Run
    work: Work
    embeds: bool = True

    @property
    def checkpoints(self) -> list[int]:
        return list(range(1, self.work.asked["epochs"] + 1))

    @functools.cached_property
    def _network(self) -> nn.Module:
        inputs = self.work.inputs
        return models.build_model(self.work.asked["model"], inputs.classes, inputs.size).to(self.work.device)

    @contextmanager
    def at(self, checkpoint: int) -> Iterator[nn.Module]:
        train.load_weights(self._network, self.run.read_checkpoint(checkpoint))
        yield self._network


def finished(run: Run, networks: Networks, work: Work) -> Run:
    """A recorded run, made whole. A stage that is done is not done again.

    Several processes measure curvature together; rank 0 alone goes on from there, and the others return the run as far
    as they have seen it.
    """
    if "curvature" not in run.stages:
        run = measure_curvature(run, networks, work)
    if processes.world().rank > 0:
        return run
    if "embed" not in run.stages:
        run = embed(run, networks, work)
    return find_run(score_run(run))


def measure_curvature(run: Run, networks: Networks, work: Work) -> Run:
    """Curvature of the training samples at K checkpoints spread over training, one file each and process."""
    began, world, inputs = time.perf_counter(), processes.world(), work.inputs
    chosen, rows = curvature.spread(networks.checkpoints, work.asked["curvature_checkpoints"]), inputs.rows("train")
    measured = set(run.curvature_recorded())
    todo = [checkpoint for checkpoint in chosen if checkpoint not in measured]
    with world.agreed(f"curvature of {todo}"[:80]):
        pass  # all have seen what is there before anything is added
    with work.bar(len(todo) * len(rows), "curvature") as bar:
        for checkpoint in todo:
            with networks.at(checkpoint) as network:
                batches = counted(inputs.batches(rows, work.device, world=world), bar, world.size)
                table = curvature.curvature_at(checkpoint, network, batches, work.asked["seed"], work.device)
            write = functools.partial(run.write_curvature, checkpoint, table, world.rank)
            world.first_last(f"curvature of {checkpoint}", write)
    if world.rank > 0:
        return run
    facts = {"checkpoints": run.curvature_recorded(), "draws": curvature.DRAWS if chosen else 0}
    return run.finish("curvature", seconds=round(time.perf_counter() - began, 2), **facts)


def embed(run: Run, networks: Networks, work: Work) -> Run:
    """The last checkpoint's embedding of every sample, the duplicates among them, and videos looked at over time."""
    began, inputs, vectors = time.perf_counter(), work.inputs, None
    seen = run.embeddings() if run.members("view") else None  # a backbone's, and with them the duplicates
    if seen is not None:
        vectors = seen[1]
    elif networks.embeds:
        with networks.at(networks.checkpoints[-1]) as network, work.bar(len(inputs.samples), "embed") as bar:
            vectors = train.embed(network, inputs, work.device, bar)
        run.write_embeddings(inputs.samples, vectors)
    if seen is None:  # else done with the backbone's, when that was looked at
        write_duplicates(run, work.loaded, vectors)
        write_quality(run, work.loaded)
        videos.look(run, work)
    dimensions = 0 if vectors is None else vectors.shape[1]
    return run.finish("embed", seconds=round(time.perf_counter() - began, 2), dimensions=dimensions)
