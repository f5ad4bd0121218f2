"""Files that are whole or not there: written beside their names and renamed."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

WATCHERS: list[Callable[[Path], None]] = []  # told of each file that is about to be replaced or removed


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well, remove it when it does not.

    The temporary name starts with a dot, which readers of Parquet datasets pass over.
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
        for tell in WATCHERS:
            tell(path)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a file that may not be there."""
    for tell in WATCHERS:
        tell(path)
    path.unlink(missing_ok=True)


def refuse_pipe(path: Path) -> None:
    """Raise OSError for a pipe or a device, which is there but would be waited for without end when it is opened."""
    if path.exists() and not path.is_file():
        raise OSError(f"something that is no file at {path}")


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
