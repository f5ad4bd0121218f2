"""Trainings of one network on different rows or labels, each done once: what is done is saved and not repeated.

They go on side by side, a process each, the images decoded once for all.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from lossprint.audit.system.progress import Bar, bar_style
from lossprint.audit.types import LossprintError

HELD_OUT = ("val", "test")
PATIENCE = 5  # seconds that a process gets to end when it is told to


@dataclass(frozen=True, eq=False)
class Plan:
    """What all trainings share: `train.Inputs` and a `train.Recipe`; others as in `train.fit`."""

    inputs: object
    recipe: object
    model: str
    steps: int
    device: str
    precision: str

    @property
    def held_out(self) -> np.ndarray:
        """The rows (H,) that each network is judged on."""
        return np.flatnonzero(np.isin(self.inputs.split, HELD_OUT))


@dataclass(frozen=True, eq=False)
class Training:
    """One of them: the rows (R,) to train on, the seed, and the labels (N,) where they are not those of the inputs."""

    rows: np.ndarray
    seed: int
    labels: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Judgement:
    """What a network says of what is held out: class indices (H,); and the seconds that training and asking took."""

    predicted: np.ndarray
    seconds: float


def digest(settings: dict, *arrays: np.ndarray) -> str:
    """The key of a training and its judgement: a digest of the settings and whole numbers that they depend on."""
    key = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    for array in arrays:
        key.update(np.ascontiguousarray(array, np.int64).tobytes() + b"|")
    return key.hexdigest()


def measured_once(
    plan: Plan,
    todo: dict[str, Training],
    done: dict[str, pd.DataFrame],
    judged: Callable[[str, np.ndarray], pd.DataFrame],
    save: Callable[[], pd.DataFrame],
    *,
    name: str,
    jobs: int = 1,
    quiet: bool = False,
) -> pd.DataFrame:
    """Do the trainings that `done` lacks, `jobs` at once, and save after each; what `save` returns in the end.

    todo and done are by key, see `digest`. judged: key, predicted classes (H,) -> the rows to keep; they get the column
    seconds and are added to `done`. `name` stands beside the bar. Raises LossprintError as `trained` does; what is done
    by then is saved.
    """
    missing = {key: training for key, training in todo.items() if key not in done}
    if missing:
        style = {"unit": "step", "desc": name, "disable": quiet, **bar_style()}
        with (
            Bar(total=len(missing) * plan.steps, **style) as bar,
            closing(trained(plan, missing, jobs, bar)) as judgements,
        ):
            for at, (key, judgement) in enumerate(judgements):
                done[key] = judged(key, judgement.predicted).assign(seconds=judgement.seconds)
                save()
                bar.set_postfix_str(f"{at + 1} of {len(missing)} trainings")
    return save()


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def trained(plan: Plan, todo: dict[str, Training], jobs: int, bar: Bar) -> Iterator[tuple[str, Judgement]]:
    """(key, what came of it) of each training, as they are done; `jobs` at once. `bar` counts steps.

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
        for key, training in todo.items():
            yield key, one(plan, training, bar)
    finally:
        torch.set_num_threads(all_threads)


def one(plan: Plan, training: Training, bar) -> Judgement:
    """Train, and ask the network of what is held out."""
    from lossprint.audit.training import train

    inputs, began = plan.inputs, time.perf_counter()
    own = inputs if training.labels is None else replace(inputs, labels=training.labels)
    options = {"model": plan.model, "recipe": plan.recipe, "steps": plan.steps, "precision": plan.precision}
    network = train.fit(own, training.rows, seed=training.seed, device=plan.device, bar=bar, **options)
    predicted = train.predict(network, inputs, plan.held_out, plan.device, plan.precision)
    return Judgement(predicted, round(time.perf_counter() - began, 2))


# ------------------------------------------------------------------------------------------------- processes

_MINE: dict = {}  # what a process trains with, set once


def _in_processes(
    plan: Plan, todo: dict[str, Training], jobs: int, threads: int, bar: Bar
) -> Iterator[tuple[str, Judgement]]:
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
                waiting = {pool.submit(_next, training): key for key, training in todo.items()}
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


def _next(training: Training) -> Judgement:
    return one(_MINE["plan"], training, _Counted())


class _Counted:
    """As much of a Bar as `train.fit` needs: steps counted over all processes."""

    def update(self, steps: int = 1) -> None:
        with _MINE["count"].get_lock():
            _MINE["count"].value += steps
