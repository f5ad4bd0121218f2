"""A run folder while a recorder writes to it: begun or gone on with, taken back, finished; this process alone writes.

In several processes rank 0 makes and changes the folder, and the others open what it has made.
"""

import warnings
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from lossprint.audit.datasets.further import further_columns
from lossprint.audit.recording.samples import Samples, check_same, check_samples
from lossprint.audit.runs.open import create_run, open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.system import locks, processes
from lossprint.audit.system.atomic import sweep
from lossprint.audit.types import LossprintError


class Session:
    """`run` as it stands, for the processes of `world`."""

    def __init__(self, run: Run, world: processes.World, lock: ExitStack):
        self.run, self.world, self._lock = run, world, lock

    @classmethod
    def begin(
        cls,
        world: processes.World,
        out: Path,
        table: pd.DataFrame,
        unreadable: pd.DataFrame,
        description: dict,
        *,
        recording: str,
        asked: dict,
        seed: int,
        resume: bool,
    ) -> "Session":
        """A new run at `out` or, with `resume`, what is there. The folder stays locked until `finish`.

        table: its samples; description: what run.json says of the dataset. Raises LossprintError where another process
        writes there, or where the run holds other samples or losses.
        """
        lock = ExitStack()

        def make() -> Run:
            lock.enter_context(locks.writing(out, make=True))
            if resume and (out / "run.json").exists():
                run = opened()
                sweep(run.path)
                run.drop_unfinished()
            else:
                run = create_run(out, asked, description, seed, recording)
            if not run.has_samples():  # a run may have been killed before they were written
                run.write_further(further_columns(description, table["sample"].to_numpy()))
                run.write_samples(table, unreadable)
            return run

        def opened() -> Run:
            run = open_run(out, need=None)
            check_same(run, description, recording)
            check_samples(run, table)
            return run

        try:
            return cls(world.in_turn("a Recorder", make if world.rank == 0 else opened), world, lock)
        except BaseException:
            lock.close()
            raise

    def member(self, name: str) -> "Session":
        """That of a further training in a folder of the run."""
        return Session(self.run.member(name), self.world, self._lock)

    def reopen(self) -> None:
        """Take back what was scored before: it does not know of what is recorded now."""
        if self.run.stages:
            self._rewritten("reopen", lambda: self._relocked().reopen("record"), need=None)

    def _relocked(self) -> Run:
        self._lock.close()
        self._lock.enter_context(locks.writing(self.run.path))
        return self.run

    def _rewritten(self, what: str, call, need: str | None) -> None:
        """Rank 0 changes run.json, the others read it."""
        path = self.run.path
        first = self.world.rank == 0
        self.run = self.world.in_turn(what, call if first else lambda: open_run(path, need=need))

    def reask(self, asked: dict) -> None:
        """Write what the run is asked for anew."""
        run = replace(self.run, manifest=self.run.manifest | {"asked": asked})
        self._rewritten("reask", lambda: run.rewrite(run.stages), need=None)

    def drop_after(self, checkpoint: int) -> None:
        """Remove what was recorded after a checkpoint."""
        self.reopen()
        with self.world.agreed(f"rewind to {checkpoint}"):
            for run in (self.run, *self.run.members("label")) if self.world.rank == 0 else ():
                run.drop_parts_after(checkpoint)

    def finish(self, samples: Samples, facts: dict) -> Run:
        """Say that recording is done, and let others write. Raises LossprintError where a split lacks checkpoints."""
        counts = _counts(self.run, samples.ids, samples.split, stacklevel=5)
        self._rewritten("finish", lambda: self.run.finish("record", **counts, **facts), need="record")
        self._lock.close()
        return self.run


def end_partial(run: Run) -> Run:
    """Say that the recording of a Recorder that was cut off is done, with its last checkpoint of both splits.

    A Recorder may go on with it all the same. Raises LossprintError where no checkpoint is whole.
    """
    run.drop_unfinished()
    whole = set(run.recorded("train")) & set(run.recorded("val"))
    if not whole:
        raise LossprintError(f"expected a whole checkpoint, of train and val, in {run.path}, found none")
    for one in (run, *run.members("label")):
        one.drop_parts_after(max(whole))
    samples = run.samples(columns=["sample", "split"])
    counts = _counts(run, samples["sample"].to_numpy(np.int64), samples["split"].to_numpy(str), stacklevel=4)
    return run.finish("record", **counts, partial=True)


def _counts(run: Run, ids: np.ndarray, split: np.ndarray, stacklevel: int) -> dict:
    """How many checkpoints there are, and how many training and validation samples lack one.

    ids (N,) ascending with the split (N,) of each.
    """
    checkpoints = run.recorded("train")
    if not checkpoints:
        raise LossprintError(f"expected at least one recorded checkpoint in {run.path}, found none")
    if set(run.recorded("val")) != set(checkpoints):
        raise LossprintError(
            f"expected validation samples at each of the {len(checkpoints)} checkpoints in {run.path}, "
            f"found them at {len(run.recorded('val'))}: record the val split as well"
        )
    counts = np.zeros(len(ids), np.int64)
    for name in ("train", "val"):
        for checkpoint in checkpoints:
            counts[np.searchsorted(ids, run.part(name, checkpoint)["sample"].to_numpy())] += 1
    missing = int((counts[np.isin(split, ("train", "val"))] < len(checkpoints)).sum())
    if missing:
        warnings.warn(
            f"{missing:,} samples were not recorded at every checkpoint: scores that need them stay empty",
            stacklevel=stacklevel,
        )
    return {"checkpoints": len(checkpoints), "incomplete": missing}
