"""What a Parquet file says of itself, before it is read: a small one may unpack to more than there is room for."""

from pathlib import Path

import pyarrow.parquet as pq

from lossprint.audit.system.memory import free_memory

RATIO = 100  # bytes in memory a byte of the file: tables of runs have about 5
ROOM = 256 << 20  # bytes that any table may take
CELL = 8  # bytes that a value takes at least, however it is packed


def refuse_bomb(file: Path, columns: list[str] | None = None) -> None:
    """Raise ValueError where the rows and sizes that a file tells of cannot be those of a table of its length.

    Raises what pyarrow raises where it is no Parquet file.
    """
    about = pq.read_metadata(file)
    wide = about.num_columns if columns is None else min(len(columns), about.num_columns)
    unpacked = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
    rows = max(about.num_rows, 0)
    size = max(rows * wide * CELL, unpacked)
    most = min(max(ROOM, RATIO * file.stat().st_size), free_memory() // 2)
    if size > most:
        raise ValueError(f"{rows:,} rows that take {size / 1e9:.1f} GB, more than the {most / 1e9:.1f} GB it may take")
