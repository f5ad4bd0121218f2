"""What each of several processes does in test_distributed.py; torchrun runs this file, pytest imports it.

ranks.py together FOLDER            a loop of one's own, given weights, a training: run folders in FOLDER
ranks.py ended                      what is left of the group when a command has ended
ranks.py audit KILL ARGUMENTS...    `lossprint audit`, in which rank 0 is killed in the middle of a checkpoint
ranks.py wrong ARGUMENTS...         `lossprint audit`, in which rank 1 finds a loss that is none
"""

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from torch import distributed as dist
from torch import nn

from lossprint.audit.cli import main as cli
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.runs.run import Run
from lossprint.audit.system import processes
from lossprint.audit.training import train
from lossprint.audit.training.models import build_model
from lossprint.audit.types import LossprintError
from lossprint.audit.workflow import stages

TRAIN, VAL, CHECKPOINTS = 139, 24, 5
ASKED = {"model": "small", "epochs": CHECKPOINTS, "seed": 5, "curvature_checkpoints": 2}


def images() -> train.Inputs:
    """Random images of 28 px, four classes; in three batches of `inputs.EVAL_BATCH` and less."""
    n, random = TRAIN + VAL, np.random.default_rng(3)
    pixels = random.integers(0, 256, (n, 28, 28, 3), dtype=np.uint8)
    split = np.array(["train"] * TRAIN + ["val"] * VAL)
    return train.Inputs(np.arange(n) * 3, np.arange(n) % 4, split, pixels, 28, np.full(3, 0.5), np.full(3, 0.3), 4)


def table(inputs: train.Inputs) -> pd.DataFrame:
    paths = [f"{row:04d}.png" for row in range(len(inputs.samples))]
    columns = {"sample": inputs.samples, "path": paths, "label": inputs.labels.astype(str), "split": inputs.split}
    return pd.DataFrame(columns)


def own_loop(out: Path) -> None:
    """A user's loop: torch's sampler pads, so that some samples come to two processes."""
    inputs = images()
    recorder = Recorder(out, table(inputs))
    rank, size = recorder.world.rank, recorder.world.size
    for epoch in (1, 2):
        for split in ("train", "val"):
            rows = inputs.rows(split)
            sampler = torch.utils.data.DistributedSampler(rows, size, rank, shuffle=True, drop_last=False)
            sampler.set_epoch(epoch)
            mine = rows[list(sampler)]
            assert len(mine) == -(-len(rows) // size)
            for at in np.array_split(mine, 4):
                recorder.update(inputs.samples[at], at + epoch + rank / 10)  # which process it came from shows
        recorder.end_checkpoint(epoch)
    recorder.finish()


def given_weights(out: Path) -> None:
    """Trajectories and curvature of networks that are the same whatever the number of processes."""
    inputs, world = images(), processes.world()
    recorder = Recorder(out, table(inputs), asked=ASKED)
    torch.manual_seed(0)
    network = build_model("small", 4, 28)
    for epoch in range(1, CHECKPOINTS + 1):
        torch.manual_seed(epoch)
        for parameter in network.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape)
        train._estimate_statistics(network, inputs, inputs.rows("train"), 1000, "cpu")
        train.record(recorder, network, inputs, np.arange(len(inputs.samples)), "cpu", world=world)
        recorder.end_checkpoint(epoch)
        if world.rank == 0:
            recorder.run.write_checkpoint(epoch, network.state_dict())
    run = recorder.finish(size=28)
    work = stages.Work(ASKED, inputs, None, "cpu", True)
    stages.measure_curvature(run, stages.OwnNetworks(run, work), work)


class Plain(nn.Module):
    """Without batch norm, whose statistics are those of each process's part of a batch."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU())
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def training(out: Path, batch: int) -> None:
    """A few steps of batches of `batch` images and one more: parts of unequal size, in three processes an empty one."""
    inputs, build = images(), train.build_model
    train.build_model = lambda *_: Plain().to(memory_format=torch.channels_last)
    try:
        options = {"model": "plain", "epochs": 2, "seed": 1, "device": "cpu", "quiet": True}
        recorder = Recorder(out, table(inputs))
        few = inputs.rows("train")[: 3 * batch + 2]
        rest = inputs.rows("val")
        recipe = train.Recipe(batch=batch)
        train.train(recorder, inputs, rows=few, recorded=np.concatenate([few, rest]), recipe=recipe, **options)
    finally:
        train.build_model = build


def errors(out: Path) -> None:
    """What one process does wrong is an error in all of them, and they can go on together."""
    inputs = images()
    recorder = Recorder(out, table(inputs))
    rank = recorder.world.rank
    calls = {
        "same point, found rank 0 at 'end_checkpoint\\(1\\)'": lambda: recorder.end_checkpoint(1 + (rank > 0)),
        "checkpoint number of 0 or more": lambda: recorder.end_checkpoint(1 if rank else -1),
        "call update first": lambda: recorder.end_checkpoint(1),
    }
    for message, call in calls.items():
        with pytest.raises(LossprintError, match=message):
            call()
    if rank > 0:  # rank 0 has nothing to record, and its part is there all the same
        recorder.update(inputs.samples, np.ones(len(inputs.samples)))
    recorder.end_checkpoint(1)
    parts = {file.name: pq.read_metadata(file).num_rows for file in out.glob("trajectories/split=train/*1/*")}
    assert recorder.last == 1 and parts == {"rank-0.parquet": 0, "rank-1.parquet": TRAIN}


def together(folder: Path, size: int) -> None:
    """All of them; their folders are named by the number of processes."""
    if size > 1:
        errors(folder / f"errors-{size}")
    own_loop(folder / f"loop-{size}")
    given_weights(folder / f"given-{size}")
    training(folder / f"seven-{size}", 7)
    training(folder / f"four-{size}", 4)


def audit(kill: str, arguments: list[str]) -> int:
    """kill: NAME-CHECKPOINT, the method of a Run that rank 0 does not live to call for this checkpoint; or nothing."""
    name, _, checkpoint = kill.partition("-")
    if checkpoint and os.environ["RANK"] == "0":
        before = getattr(Run, name)

        def write(run, *given, **more):
            if given[name == "write_part"] == int(checkpoint):
                os.kill(os.getpid(), signal.SIGKILL)
            return before(run, *given, **more)

        setattr(Run, name, write)
    return cli.main(["audit", *arguments])


def ended() -> int:
    """A command that has used an optimizer: the group's threads, which may abort a process that ends, are gone."""
    network = Plain()
    with processes.joined("cpu", lambda error: 1) as world:
        torch.optim.SGD(network.parameters()).zero_grad()
        assert "torch.distributed.nn" in sys.modules
        assert world.total(1.0) == [world.size]
    left = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]
    return sum("gloo" in name for name in left)


def wrong(arguments: list[str]) -> int:
    if os.environ["RANK"] == "1":

        def update(self, *_):
            raise LossprintError("expected a loss, found none in rank 1")

        Recorder.update = update
    return cli.main(["audit", *arguments])


if __name__ == "__main__":
    torch.set_num_threads(1)
    job, *rest = sys.argv[1:]
    if job == "together":
        import torch.distributed.nn  # before the group is there: see distributed.joined

        dist.init_process_group("gloo", timeout=timedelta(seconds=60))
        together(Path(rest[0]), dist.get_world_size())
        dist.destroy_process_group()
    elif job == "ended":
        sys.exit(ended())
    else:
        sys.exit(audit(rest[0], rest[1:]) if job == "audit" else wrong(rest))
