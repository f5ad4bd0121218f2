"""Several processes at one run: which one this is, what all of them agree on, and who writes which sample.

Everything rests on torch.distributed, where it is initialised; torch is not imported for that. In a single process
nothing here does anything. What processes tell each other is bytes and numbers; nothing is pickled.
"""

import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from lossprint.audit.types import LossprintError, one_line

TIMEOUT = timedelta(hours=2)  # of the group: as long as the first process may decode videos, the others waiting
PATIENCE = timedelta(seconds=20)  # that a process waits for the others to hear of its end
POLL = 0.2  # seconds between two looks whether another process has failed
LINE = 1024  # bytes of what each tells the others


class ElsewhereError(LossprintError):
    """What another process has raised itself, and says better."""


@dataclass(frozen=True)
class World:
    """This process is number `rank` of `size` that run the same program. Rank 0 alone writes what there is one of."""

    rank: int = 0
    size: int = 1

    @contextmanager
    def agreed(self, what: str) -> Iterator[None]:
        """All processes do what is in the block, and none goes on before all have done it.

        Where one of them fails, it raises its own error and the others an ElsewhereError that says the same. `what`
        names the place in the program, which must be the same for all.
        """
        if self.size == 1:
            yield
            return
        failed = None
        try:
            yield
        except Exception as error:
            failed = error
        told = self._told(f"{what}\n{'' if failed is None else one_line(failed)}")
        if failed is not None:
            raise failed
        places, errors = zip(*(text.split("\n", 1) for text in told))
        for error in filter(None, errors):
            raise ElsewhereError(error)
        if len(set(places)) > 1:
            at = next(rank for rank, place in enumerate(places) if place != places[0])
            raise LossprintError(
                f"expected all {self.size} processes at the same point, found rank 0 at {places[0]!r} and rank {at} "
                f"at {places[at]!r}"
            )

    def in_turn(self, what: str, call: Callable[[], object]):
        """What `call` returns: rank 0 calls it first, alone, the others when it has succeeded."""
        result = None
        for mine in (self.rank == 0, self.rank > 0):
            with self.agreed(what):
                if mine:
                    result = call()
        return result

    def first_last(self, what: str, write: Callable[[], None]) -> None:
        """All write, rank 0 when the others have done so: what rank 0 has written is there whole."""
        for mine in (self.rank > 0, self.rank == 0):
            with self.agreed(what):
                if mine:
                    write()

    def owners(self, seen: np.ndarray) -> np.ndarray:
        """Who writes which sample: (N,) int32, the lowest rank that has seen it, `size` where none has.

        seen (N,) bool says what this rank has seen. A sample that a sampler's padding gave to two has one owner.
        """
        owner = np.where(seen, self.rank, self.size).astype(np.int32)
        if self.size > 1:
            with self._alive() as dist:
                shared = _tensor(dist, owner)
                dist.all_reduce(shared, dist.ReduceOp.MIN)
                owner = shared.cpu().numpy()
        return owner

    def total(self, *values: float) -> list[float]:
        """The sum over all processes of each value."""
        if self.size == 1:
            return list(values)
        with self._alive() as dist:
            shared = _tensor(dist, np.array(values, np.float64))
            dist.all_reduce(shared)
            return shared.tolist()

    def dealt(self, parts: list) -> list:
        """Those of the parts that are this process's."""
        return parts[self.rank :: self.size]

    def slice_of(self, count: int) -> slice:
        """This process's part of a batch of `count`: sizes differ by one at most.

        Batch norm needs two images, so that in a small batch the first processes get two, the last ones none.
        """
        among = max(min(self.size, count // 2), 1)
        least, more = divmod(count, among)
        start = min(self.rank * least + min(self.rank, more), count)
        return slice(start, min(start + least + (self.rank < more), count))

    def add(self, tensors: list) -> None:
        """Replace each tensor, all of one type and device, by its sum over all processes."""
        if self.size == 1:
            return
        torch = sys.modules["torch"]
        with self._alive() as dist, torch.no_grad():
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
            dist.all_reduce(flat)
            for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(part.view(tensor.shape))

    def spread(self, tensors: list) -> None:
        """Replace each tensor by that of rank 0."""
        if self.size == 1:
            return
        torch = sys.modules["torch"]
        with self._alive() as dist, torch.no_grad():
            for tensor in tensors:
                shared = tensor.contiguous()
                dist.broadcast(shared, 0)
                tensor.copy_(shared)

    @contextmanager
    def _alive(self):
        """torch.distributed, to talk to the others; a LossprintError where they are gone."""
        dist = sys.modules["torch.distributed"]
        if not dist.is_initialized():
            raise LossprintError(
                f"expected the {self.size} processes that the run was opened with, found their group gone: end with "
                "the Recorder before destroy_process_group"
            )
        try:
            yield dist
        except RuntimeError as error:
            raise ElsewhereError(
                f"expected {self.size} processes at work, found one of them gone; what is recorded is kept "
                f"({one_line(error)[:120]})"
            ) from None

    def _told(self, text: str) -> list[str]:
        """The texts of all processes, by rank, each cut at `LINE` bytes."""
        line = np.zeros(LINE, np.uint8)
        data = np.frombuffer(text.encode()[:LINE], np.uint8)
        line[: len(data)] = data
        with self._alive() as dist:
            mine = _tensor(dist, line)
            all_lines = [mine.new_empty(LINE) for _ in range(self.size)]
            dist.all_gather(all_lines, mine)
            return [bytes(one.tolist()).rstrip(b"\0").decode(errors="ignore") for one in all_lines]


ALONE = World()


def world() -> World:
    """The processes of torch.distributed if it is initialised, else this one alone."""
    dist = sys.modules.get("torch.distributed")
    if dist is None or not dist.is_available() or not dist.is_initialized():
        return ALONE
    return World(dist.get_rank(), dist.get_world_size())


def opened() -> World:
    """`world`, for what opens a run. LossprintError where a launcher's processes do not know of each other yet."""
    here = world()
    if here.size == 1 and launched() and not _initialised():
        raise LossprintError(
            f"expected torch.distributed to be initialised in the {os.environ['WORLD_SIZE']} processes that were "
            "launched, found it not: call init_process_group before you make a Recorder"
        )
    return here


def launched() -> bool:
    """Whether torchrun or the like started this process as one of several; by environment variables."""
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return all(os.environ.get(name) for name in names) and os.environ["WORLD_SIZE"] != "1"


def leading() -> bool:
    """Whether this process speaks for all that were launched with it, before they know of each other."""
    return not launched() or os.environ["RANK"] == "0"


@contextmanager
def joined(device: str, told: Callable[[BaseException], int]) -> Iterator[World]:
    """The processes that a launcher started, made one group for a command: nccl on GPUs, one each, else gloo.

    A command that fails in one of them ends in all of them with the same exit status, whatever the others wait for;
    `told` says what went wrong, once, and returns that status. Nothing of this where only one process was launched, or
    where the group is there already.
    """
    if not launched() or _initialised():
        yield world()
        return
    # Its functions keep the group that there is when they are imported, which an optimizer does: destroy_process_group
    # would then leave gloo's threads at work, and one that lets go of a tensor while Python ends aborts the process.
    import torch.distributed.nn  # noqa: F401
    from torch import distributed as dist

    base, rank, size = next(dist.rendezvous("env://", timeout=TIMEOUT))
    # A connection of its own: one that waits for something keeps the others of the same connection waiting.
    ours = dist.PrefixStore("lossprint", base.clone() if hasattr(base, "clone") else base)
    over = threading.Event()
    watch = threading.Thread(target=_look_out, args=(ours, rank, size, over), daemon=True)
    watch.start()
    try:
        backend = _backend(device, rank, size)
        dist.init_process_group(backend, store=base, rank=rank, world_size=size, timeout=TIMEOUT)
        yield World(rank, size)
    except BaseException as error:
        over.set()
        watch.join()
        os._exit(_ended(ours, rank, size, error, told))  # at once: a launcher soon kills what is left
    over.set()
    watch.join()
    with suppress(RuntimeError):  # the store may be gone with the process that kept it
        ours.set(f"gone/{rank}", "")
    dist.destroy_process_group()


def _initialised() -> bool:
    dist = sys.modules.get("torch.distributed")
    return dist is not None and dist.is_available() and dist.is_initialized()


def _backend(device: str, rank: int, size: int) -> str:
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return "gloo"
    local, there = int(os.environ.get("LOCAL_RANK", rank)), torch.cuda.device_count()
    if local >= there:
        raise LossprintError(
            f"expected a GPU for each of the {size} processes, found {there}: launch as many, or use --device cpu"
        )
    torch.cuda.set_device(local)
    return "nccl"


def _ended(store, rank: int, size: int, error: BaseException, told: Callable[[BaseException], int]) -> int:
    """Tell the user, if no other process has, and the others; the exit status."""
    try:
        if isinstance(error, ElsewhereError):
            _wait(store, ["status"])  # for the one that knows best; it may have been killed, though
        if store.add("failed", 1) > 1:
            _wait(store, ["status"])
            status = int(store.get("status"))
        else:
            try:
                status = told(error)
            except BaseException:  # one that has no line: a fault of the program
                traceback.print_exception(error)
                status = 1
            sys.stdout.flush()
            sys.stderr.flush()
            store.set("status", str(status))
        _leave_together(store, rank, size)
    except RuntimeError:  # the process that kept the store is gone, so all are to go
        return 1
    return status


def _look_out(store, rank: int, size: int, over: threading.Event) -> None:
    """End this process when another one has failed: in a collective it would wait for it."""
    while not over.wait(POLL):
        try:
            if not store.check(["status"]):
                continue
            status = int(store.get("status"))
            _leave_together(store, rank, size)
        except RuntimeError:  # the store is gone: so is the process that kept it, and its launcher ends the others
            return
        os._exit(status)


def _leave_together(store, rank: int, size: int) -> None:
    """A launcher kills the others as soon as one is gone: wait till each knows how to end by itself."""
    store.set(f"gone/{rank}", "")
    _wait(store, [f"gone/{other}" for other in range(size)])


def _wait(store, keys: list[str]) -> None:
    """Until the keys are there, or patience is over."""
    with suppress(RuntimeError):
        store.wait(keys, PATIENCE)


def _tensor(dist, values: np.ndarray):
    """A copy of the values where the group's collectives take them."""
    return sys.modules["torch"].from_numpy(values.copy()).to("cuda" if dist.get_backend() == "nccl" else "cpu")
