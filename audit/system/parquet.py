"""Parquet read within bounds: a small file may unpack to more than there is room for.

What a file says of its rows and sizes is compared with its length before anything is read. Texts that repeat are kept
once in a file, so that neither says how long they are together: they are read as they are kept, and spelled out for
each row once their sum is known to fit.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as kinds

from lossprint.audit.system.bounds import most_of

CELL = 8  # bytes that a value takes at least, however it is packed


def refuse_bomb(file: Path, columns: Iterable[str] | None = None, group: bool = False) -> int:
    """Raise ValueError where the rows and sizes that a file tells of cannot be those of a table of its length.

    `group`: its row groups are read one after another, so that each has to fit. Returns the bytes that it may take.
    Raises what pyarrow raises where it is no Parquet file.
    """
    about, wanted = pq.read_metadata(file), None if columns is None else set(columns)
    places = [at for at in range(about.num_columns) if wanted is None or _top(about, at) in wanted]
    most = most_of(file.stat().st_size)
    sizes = [_size(about, at, places) for at in range(about.num_row_groups)]
    size = max(sizes, default=0) if group else sum(sizes)
    if size > most:
        rows = sum(about.row_group(at).num_rows for at in range(about.num_row_groups))
        raise ValueError(f"{rows:,} rows that take {size / 1e9:.1f} GB, more than the {most / 1e9:.1f} GB it may take")
    return most


def read_table(file: Path, columns: list[str] | None = None, **options) -> pa.Table:
    """`pyarrow.parquet.read_table` of one file, within the bounds. Raises ValueError beyond them."""
    most, schema = refuse_bomb(file, columns), pq.read_schema(file)
    if longest := _longest_of_prefixed(file):
        table = _in_pieces(file, columns, most, max(1, most // (8 * longest)))
        if options.get("filters"):
            table = table.filter(pq.filters_to_expression(options["filters"]))
    else:
        table = pq.read_table(file, columns=columns, partitioning=None, read_dictionary=repeated(file), **options)
    # Its own note of the columns need not be what is asked for, as of a part.
    wanted = options.get("schema") or schema
    return spelled(table, pa.schema([wanted.field(at) for at in map(wanted.get_field_index, table.column_names)]), most)


def opened(file: Path, columns: Iterable[str] | None = None, **options) -> pq.ParquetFile:
    """A file that is read a row group at a time, each within the bounds; texts that repeat come as dictionaries."""
    refuse_bomb(file, columns, group=True)
    return pq.ParquetFile(file, read_dictionary=repeated(file), **options)


def batches(file: Path, columns: list[str], rows: int) -> Iterator[tuple[int, int, pa.RecordBatch]]:
    """The row groups of a file in batches of `rows`: row group, number of the batch in it, batch.

    Raises ValueError where all of them would take more than the file may.
    """
    table, left = opened(file, columns), most_of(file.stat().st_size)
    for group in range(table.num_row_groups):
        for number, batch in enumerate(table.iter_batches(rows, row_groups=[group], columns=columns)):
            left -= sum(map(_length, batch.columns))
            if left < 0:
                raise ValueError("texts that repeat and take more than a file of its length may")
            yield group, number, batch


def _longest_of_prefixed(file: Path) -> int:
    """The most bytes of a text that is kept as what it adds to the one before (DELTA_BYTE_ARRAY), 0 without such ones:
    each may be as long as all that a row group adds."""
    about = pq.read_metadata(file)
    groups = (about.row_group(at) for at in range(about.num_row_groups))
    chunks = (group.column(at) for group in groups for at in range(about.num_columns))
    return max((one.total_uncompressed_size for one in chunks if "DELTA_BYTE_ARRAY" in one.encodings), default=0)


def _in_pieces(file: Path, columns: list[str] | None, most: int, rows: int) -> pa.Table:
    """A file read so many rows at a time. Raises ValueError when they take more than `most` bytes together."""
    pieces, size, table = [], 0, pq.ParquetFile(file)
    for piece in table.iter_batches(rows, columns=columns):
        pieces.append(piece)
        size += piece.nbytes
        if size > most:
            raise ValueError(f"texts that take more than the {most / 1e9:.1f} GB they may")
    schema = table.schema_arrow
    if columns is not None:
        schema = pa.schema([schema.field(name) for name in columns], schema.metadata)
    return pa.Table.from_batches(pieces, pieces[0].schema if pieces else schema)


def repeated(file: Path) -> list[str]:
    """The columns of texts or bytes, as Parquet calls them, whose values are kept once each in some row group."""
    about, names = pq.read_metadata(file), []
    for at in range(about.num_columns):
        if about.schema.column(at).physical_type == "BYTE_ARRAY":
            chunks = (about.row_group(group).column(at) for group in range(about.num_row_groups))
            if any(one.has_dictionary_page or any("DICTIONARY" in name for name in one.encodings) for one in chunks):
                names.append(about.schema.column(at).path)
    return names


def spelled(table: pa.Table, schema: pa.Schema, most: int) -> pa.Table:
    """A table whose texts are as `schema` has them. Raises ValueError where they would take more than `most` bytes."""
    size = sum(_length(chunk) for column in table.columns for chunk in column.chunks)
    if size > most:
        raise ValueError(f"texts that repeat and take {size / 1e9:.1f} GB, more than the {most / 1e9:.1f} GB they may")
    if table.schema.equals(schema):
        return table
    columns = [
        column if column.type.equals(field.type) else pa.chunked_array(map(_plain, column.chunks), _of(column.type))
        for column, field in zip(table.columns, schema)
    ]
    columns = [one if one.type.equals(field.type) else one.cast(field.type) for one, field in zip(columns, schema)]
    return pa.Table.from_arrays(columns, schema=schema.with_metadata(table.schema.metadata))


def lengths(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The bytes of each value (N,), null for none, of texts or bytes that may be kept as a dictionary."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    each = [
        pc.take(pc.binary_length(one.dictionary), one.indices)
        if kinds.is_dictionary(one.type)
        else pc.binary_length(one)
        for one in chunks
    ]
    return pa.concat_arrays([one.cast(pa.int64()) for one in each]) if each else pa.array([], pa.int64())


def _length(column: pa.Array) -> int:
    """The bytes of texts or bytes that a dictionary holds once, all rows together; 0 of any other column."""
    if kinds.is_struct(column.type):
        return sum(_length(column.field(at)) for at in range(column.type.num_fields))
    if not kinds.is_dictionary(column.type) or not _is_bytes(column.type.value_type):
        return 0
    return pc.sum(lengths(column)).as_py() or 0


def _is_bytes(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (kinds.is_string, kinds.is_large_string, kinds.is_binary, kinds.is_large_binary))


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if kinds.is_dictionary(column.type) else column


def _of(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if kinds.is_dictionary(kind) else kind


def _top(about: pq.FileMetaData, at: int) -> str:
    return about.schema.column(at).path.partition(".")[0]


def _size(about: pq.FileMetaData, group: int, places: list[int]) -> int:
    """The bytes that some columns of a row group take at least."""
    rows, size = about.row_group(group).num_rows, 0
    for at in places:
        chunk, column = about.row_group(group).column(at), about.schema.column(at)
        width = max(CELL, column.length) if column.physical_type == "FIXED_LEN_BYTE_ARRAY" else CELL
        size += max(max(rows, chunk.num_values, 0) * width, chunk.total_uncompressed_size)
    return size
