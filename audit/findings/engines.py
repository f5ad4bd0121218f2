"""Where shards are scored: one after the other in this process, or by the workers of a Ray cluster.

An engine has `workers`, `memory` (bytes that each may take by default), `peaks` (the most that each process took) and
`map`, which gives the results of a function of a job and a shard in whatever order they are done.
"""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from lossprint.audit.system.memory import free_memory, peak
from lossprint.audit.types import LossprintError, one_line

NAMES = ("local", "ray")
TRIES = 3  # of a shard whose worker was lost, beside the first
QUEUED = 2  # shards that wait for each worker
STORE = 1 << 30  # bytes of shared memory for what Ray passes about; more goes to disk


def check(name: str, workers: int | None = None) -> None:
    """Raise LossprintError where there is no such engine, or none with workers, or Ray is not installed."""
    if name not in NAMES:
        raise LossprintError(f"expected an engine of {', '.join(NAMES)}, found {name!r}")
    if name == "local" and workers is not None:
        raise LossprintError("expected --workers only beside --engine ray: the local engine is one process")
    if name == "ray" and find_spec("ray") is None:
        raise LossprintError("expected Ray, found none: pip install 'lossprint[ray]'")


@contextmanager
def start(name: str = "local", workers: int | None = None) -> Iterator["Local | Ray"]:
    """Yield the engine of a name. `workers` is the number of processes of a Ray cluster started here, one a CPU.

    Where RAY_ADDRESS is set, or the caller has called ray.init, that cluster is joined instead, and left in the end.
    """
    check(name, workers)
    if name == "local":
        yield Local()
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield Ray(ray)
        return
    quiet = {"log_to_driver": False, "logging_level": "error"}
    where = os.environ.get("RAY_ADDRESS")
    try:
        if where:
            _reach(where)
            ray.init(address=where, **quiet)
        else:
            here = {"include_dashboard": False, "object_store_memory": STORE, "num_cpus": workers or os.cpu_count()}
            ray.init(address="local", **here, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        text = one_line(error)
        hint = " (one that asks for a token needs RAY_AUTH_TOKEN_PATH here as well)" if where else ""
        raise LossprintError(f"expected a Ray cluster at {where or 'this machine'}, found: {text}{hint}") from None
    try:
        yield Ray(ray)
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT: Ray itself would try for minutes, and say so each time."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


class Local:
    """Shards one after the other, in this process."""

    workers = 1

    def __init__(self):
        self.peaks: dict[str, int] = {}

    def memory(self) -> float:
        """Bytes that each process may take where nobody said: half of what is free."""
        return free_memory() / 2

    def map(self, function: Callable, shards: Sequence, job, *shared) -> Iterator:
        """Results of function(job, shard, *shared)."""
        for shard in shards:
            result, process, peak = _task(function, job, shard, *shared)
            self.peaks[process] = peak
            yield result


class Ray:
    """Shards as tasks of a Ray cluster; the processes must see the run folder under the same path.

    Ray pickles our own functions and arrays to pass them to its workers; none of that is stored.
    """

    def __init__(self, ray):
        self.ray, self.peaks = ray, {}
        self.workers = max(1, int(ray.cluster_resources().get("CPU", 1)))

    def memory(self) -> float:
        """As `Local.memory`; half of what Ray lets its workers have, on whatever machines, in equal shares."""
        return self.ray.cluster_resources().get("memory", 4 << 30) / 2 / self.workers

    def map(self, function: Callable, shards: Sequence, job, *shared) -> Iterator:
        """As `Local.map`. A shard whose worker is lost is done again by another."""
        ray = self.ray
        task = ray.remote(num_cpus=1, max_retries=TRIES)(_task)
        kept = [ray.put(one) for one in (job, *shared)]  # once, not with each shard
        waiting, running = list(reversed(shards)), []
        try:
            while waiting or running:
                while waiting and len(running) < QUEUED * self.workers:
                    running.append(task.remote(function, kept[0], waiting.pop(), *kept[1:]))
                done, running = ray.wait(running)
                for one in done:
                    result, process, peak = self._get(one)
                    self.peaks[process] = peak
                    yield result
        finally:
            for one in running:
                ray.cancel(one, force=True)

    def _get(self, one):
        errors = self.ray.exceptions
        try:
            return self.ray.get(one)
        except errors.RayTaskError as error:
            if isinstance(error.cause, LossprintError | OSError):  # its own text, without the worker's traceback
                raise error.cause from None
            raise
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError) as error:
            text = one_line(error)
            raise LossprintError(
                f"expected {TRIES + 1} tries of a shard to be enough, found each worker lost (perhaps its machine is "
                f"short of memory: give less of it with --memory): {text}"
            ) from None


def _task(function: Callable, job, shard, *shared) -> tuple:
    """(result, the process that worked it out, its peak memory in bytes so far)."""
    result = function(job, shard, *shared)
    return result, f"{socket.gethostname()}:{os.getpid()}", peak()
