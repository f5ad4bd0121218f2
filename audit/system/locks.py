"""Folders with one writer at a time."""

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lossprint.audit.system import processes
from lossprint.audit.system.urls import local
from lossprint.audit.types import LossprintError

WRITERS: dict[Path, list[int]] = {}  # folders that this process writes: how many times entered, the lock's handle or -1


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is in here with this folder; on a system without such locks, go in anyway."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have none
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def writing(folder: Path, make: bool = False) -> Iterator[None]:
    """This process alone writes the run folder; LossprintError where another one does. Enters what it is in already.

    A folder that is not there yet is not locked before it is entered again, or made with `make`. Readers, decisions and
    coresets are let in all the same. Where there are no such locks (Windows, some network file systems), none is taken.
    """
    folder = folder.absolute()
    writers, close = WRITERS, os.close  # names of the module are gone when Python ends while a run is written
    held = writers.setdefault(folder, [0, -1])
    held[0] += 1
    try:
        if held[1] < 0:
            with suppress(OSError):
                if make:
                    folder.mkdir(parents=True, exist_ok=True)
            held[1] = _locked(folder)
        yield
    finally:
        held[0] -= 1
        if not held[0]:
            if held[1] >= 0:
                close(held[1])
            writers.pop(folder, None)


def _locked(folder: Path) -> int:
    """A handle that holds the lock of a folder until it is closed, -1 where there is nothing to lock."""
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        return -1
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise LossprintError(
            f"expected a run that no other process writes, found one at work on {folder}: wait until it is done"
        ) from None
    except OSError:  # some network file systems have no locks
        os.close(handle)
        return -1
    return handle


def writes(folder: Callable[..., str | Path]):
    """Decorate a function that writes a run folder, which `folder` says of its arguments: alone, see `writing`."""

    def decorate(call):
        @functools.wraps(call)
        def alone_in_it(*args, **more):
            path, world = local(folder(*args, **more)), processes.world()
            with ExitStack() as stack:
                with world.agreed(f"alone in {path}"[:200]):
                    if world.rank == 0:
                        stack.enter_context(writing(path))
                return call(*args, **more)

        return alone_in_it

    return decorate
