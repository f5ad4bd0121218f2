"""Trainings of one network on different rows, side by side: a process each, the images decoded once for all."""

import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from lossprint.audit.types import LossprintError

Todo = dict[str, tuple[np.ndarray, int]]  # by key: the rows to train on and the seed
PATIENCE = 5  # seconds that a process gets to end when it is told to


@dataclass(frozen=True, eq=False)
class Plan:
    """What all trainings share: `train.Inputs`, a `train.Recipe`, the names of the classes; others as in `train`."""

    inputs: object
    recipe: object
    model: str
    steps: int
    device: str
    precision: str
    classes: list[str]


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def trained(plan: Plan, todo: Todo, jobs: int, bar: tqdm) -> Iterator[tuple[str, pd.DataFrame]]:
    """(key, what came of it: see `one`) of each training, as they are done; `jobs` at once. `bar` counts steps.

    Each uses a `jobs`-th of the threads, also the last ones: how many are left to do changes no bit of a result. Close
    the iterator to end what is going on. Raises LossprintError where a training diverges or a process is lost.
    """
    import torch

    all_threads = torch.get_num_threads()
    threads = max(1, all_threads // jobs)
    if min(jobs, len(todo)) > 1:
        yield from _in_processes(plan, todo, min(jobs, len(todo)), threads, bar)
        return
    torch.set_num_threads(threads)
    try:
        for key, (rows, seed) in todo.items():
            yield key, one(plan, rows, seed, bar)
    finally:
        torch.set_num_threads(all_threads)


def one(plan: Plan, rows: np.ndarray, seed: int, bar) -> pd.DataFrame:
    """Train on the rows; for each class of what is held out split, label, right, of, and the seconds of it all."""
    from lossprint.audit.training import train

    inputs, began = plan.inputs, time.perf_counter()
    how = {"model": plan.model, "recipe": plan.recipe, "steps": plan.steps, "seed": seed, "device": plan.device}
    network = train.fit(inputs, rows, bar=bar, precision=plan.precision, **how)
    held_out = np.flatnonzero(np.isin(inputs.split, ("val", "test")))
    right = train.predict(network, inputs, held_out, plan.device, plan.precision) == inputs.labels[held_out]
    table = pd.DataFrame({"split": inputs.split[held_out], "label": inputs.labels[held_out], "right": right})
    table = table.groupby(["split", "label"])["right"].agg(right="sum", of="size").reset_index()
    table["label"] = np.array(plan.classes, object)[table["label"]]
    return table.assign(seconds=round(time.perf_counter() - began, 2))


# ------------------------------------------------------------------------------------------------- processes

_MINE: dict = {}  # what a process trains with, set once


def _in_processes(plan: Plan, todo: Todo, jobs: int, threads: int, bar: tqdm) -> Iterator[tuple[str, pd.DataFrame]]:
    context = multiprocessing.get_context("spawn")
    count, others = context.Value("q", 0), set(multiprocessing.active_children())
    with tempfile.TemporaryDirectory(prefix="lossprint-") as folder:
        inputs = plan.inputs
        if isinstance(inputs.pixels, np.ndarray):  # one copy in memory, whatever the number of processes
            file = Path(folder) / "pixels.npy"
            np.save(file, inputs.pixels)
            plan = replace(plan, inputs=replace(inputs, pixels=str(file)))
        pool = ProcessPoolExecutor(jobs, context, _begin, (plan, count, threads))
        try:
            with _deaf():
                waiting = {pool.submit(_next, rows, seed): key for key, (rows, seed) in todo.items()}
            while waiting:
                ready, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                bar.update(count.value - bar.n)
                for future in ready:
                    yield waiting.pop(future), future.result()
        except BrokenProcessPool:
            raise LossprintError(
                f"expected {jobs} processes to train side by side, found one of them gone, maybe for want of memory: "
                "what is done is kept; try fewer with --jobs"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            _end(set(multiprocessing.active_children()) - others)


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes begun in here do not hear Ctrl-C, which a terminal sends to all: the first one answers it for them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(processes: set) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()


def _begin(plan: Plan, count, threads: int) -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    file = plan.inputs.pixels if isinstance(plan.inputs.pixels, str) else None
    threading.Thread(target=_leave_with_parent, args=(file,), daemon=True).start()
    if file is not None:
        pixels = np.load(file, mmap_mode="r", allow_pickle=False)
        plan = replace(plan, inputs=replace(plan.inputs, pixels=pixels))
    _MINE.update(plan=plan, count=count)


def _leave_with_parent(file: str | None) -> None:
    """A parent that is killed can neither end its children nor remove the images that they shared."""
    multiprocessing.parent_process().join()
    if file is not None:
        shutil.rmtree(Path(file).parent, ignore_errors=True)
    os._exit(1)


def _next(rows: np.ndarray, seed: int) -> pd.DataFrame:
    return one(_MINE["plan"], rows, seed, _Counted())


class _Counted:
    """As much of a tqdm as `train.fit` needs: steps counted over all processes."""

    def update(self, steps: int = 1) -> None:
        with _MINE["count"].get_lock():
            _MINE["count"].value += steps
