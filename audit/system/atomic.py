"""Files that are whole or not there: written beside their names and renamed. Folders with one writer at a time."""

import functools
import inspect
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lossprint.audit.runs import checksums
from lossprint.audit.types import LossprintError

# Folders that are kept at a URL as well, see `remote.Mirror`: each is told of every file that is finished, about to be
# removed or about to be read. Empty in a program that works on local folders only.
MIRRORS: list = []

WRITERS: dict[Path, list[int]] = {}  # folders that this process writes: how many times entered, the lock's handle or -1


@contextmanager
def atomic(path: Path, mirrored: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well, remove it when it does not.

    The temporary name starts with a dot, which readers of Parquet datasets pass over. Mirrors of the folder are told,
    unless it is they who write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        checksums.forget(path)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    if mirrored:
        for mirror in MIRRORS:
            mirror.finished(path)


def remove(path: Path) -> None:
    """Remove a file that may not be there; from mirrors first, so that one that fails leaves it in both places."""
    for mirror in MIRRORS:
        mirror.removed(path)
    checksums.forget(path)
    path.unlink(missing_ok=True)


def needed(path: Path) -> None:
    """A file or folder is about to be read: mirrors fetch what is not here yet."""
    for mirror in MIRRORS:
        mirror.needed(path)


def refuse_pipe(path: Path) -> None:
    """Raise OSError for a pipe or a device, which is there but would be waited for without end when it is opened."""
    if path.exists() and not path.is_file():
        raise OSError(f"something that is no file at {path}")


def names(folder: Path) -> set[str]:
    """What is in a folder, by name, also what a mirror has not fetched yet; nothing is read."""
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return found.union(*(mirror.names(folder) for mirror in MIRRORS))


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
    held = WRITERS.setdefault(folder, [0, -1])
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
                os.close(held[1])
            WRITERS.pop(folder, None)


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


def writes(name: str):
    """Decorate a function that writes the run folder which its argument `name` says: alone, see `writing`."""

    def decorate(call):
        @functools.wraps(call)
        def alone_in_it(*args, **more):
            folder = str(inspect.signature(call).bind(*args, **more).arguments[name])
            if "://" in folder:  # the Recorder knows the folder on this machine
                return call(*args, **more)
            from lossprint.audit.system import processes

            world = processes.world()
            with ExitStack() as stack:
                with world.agreed(f"alone in {folder}"[:200]):
                    if world.rank == 0:
                        stack.enter_context(writing(Path(folder)))
                return call(*args, **more)

        return alone_in_it

    return decorate


def write_text(path: Path, text: str) -> None:
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8", newline="")


def write_bytes(path: Path, data: bytes) -> None:
    """What safetensors gives as bytes: its own save_file leaves temporary files of another name when it is killed."""
    with atomic(path) as part:
        part.write_bytes(data)


def write_table(path: Path, table: pa.Table, row_group: int | None = None) -> None:
    with atomic(path) as part:
        pq.write_table(table, part, compression="zstd", row_group_size=row_group, write_page_checksum=True)


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    write_table(path, pa.Table.from_pandas(frame, preserve_index=False))


def sweep(path: Path) -> None:
    """Remove what killed writes left behind: the dot files that were never renamed."""
    for part in path.rglob(".*.part"):
        part.unlink(missing_ok=True)
