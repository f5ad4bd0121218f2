"""Losses in a CSV file, or one that gzip packed -> the table that a Parquet file of losses would be.

One row a sample and checkpoint, as `losses` says. UTF-8, with or without a byte order mark, commas, quotes as RFC 4180
says. Cells that were written for a spreadsheet are as they were before; blanks around numbers do not count.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from lossprint.audit.recording import predicted
from lossprint.audit.system.csvfile import BOM, as_meant
from lossprint.audit.types import LossprintError, one_line

ENDINGS = (".csv", ".csv.gz")
WHOLE, NUMBERS, WORDS = ("sample", "checkpoint"), ("loss", "margin"), ("path", "split", "predicted")
BOMB, PACKED = 1 << 28, 200  # bytes from which a file must not unpack to so many times its size; losses come to 10
OPTIONAL = ("margin", "predicted")  # a column of nothing but empty cells was not recorded


def header(path: Path) -> list[str]:
    """The names of the file's columns."""
    _refuse_bomb(path)
    return [name.strip() for name in _raw_header(path)]


def read_csv_table(path: Path, columns: tuple[str, ...], classes: list[str]) -> pa.Table:
    """Those of `columns` that the file has: int64, double or string. Others are passed over.

    Raises LossprintError, in
    one line that names the line of the file, for a row of another length, an empty cell and what is no number.
    """
    raw, names = _raw_header(path), header(path)
    for name in columns:
        if names.count(name) > 1:
            raise LossprintError(f"expected one column {name} in {path}, found {names.count(name)}")
    wanted = [cell for cell, name in zip(raw, names) if name in columns]
    try:
        table = pacsv.read_csv(
            path,
            parse_options=pacsv.ParseOptions(newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()), include_columns=wanted, strings_can_be_null=False
            ),
        )
    except (pa.ArrowException, OSError) as error:
        _find_fault(path, len(raw))
        raise LossprintError(f"expected readable CSV at {path}, found: {one_line(error)}") from None
    table = table.rename_columns([name.strip() for name in wanted])
    read = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if name in WORDS and pc.any(pc.match_substring(column, "\n")).as_py():
            _find_fault(path, len(raw))  # a quote that is never closed takes all that follows it into one cell
        empty = pc.equal(pc.utf8_trim_whitespace(column), "")
        if name in OPTIONAL and pc.all(empty).as_py():
            continue
        if pc.any(empty).as_py():
            raise LossprintError(
                f"expected a {name} in every row of {path}, found an empty cell in {_line(path, _first(empty))}"
            )
        read[name] = _converted(column, name, classes, path)
    return pa.table(read)


def _converted(column: pa.Array, name: str, classes: list[str], path: Path) -> pa.Array:
    if name in WHOLE:
        return _cast(column, pa.int64(), f"whole numbers as {name}", path)
    if name in NUMBERS:
        return _cast(column, pa.float64(), f"numbers as {name}", path)
    column = _meant(column, path)
    if name == "predicted":
        _refuse_unknown(column, classes, path)
    return column


def _refuse_unknown(column: pa.Array, classes: list[str], path: Path) -> None:
    """Raise LossprintError, with its line, for the first prediction that is neither a class nor a number."""
    for text in pc.unique(column).to_pylist():
        try:
            predicted.indices([text], classes, f"column predicted of {path}")
        except LossprintError as error:
            if predicted.number_of(text) is None:
                row = _first(pc.equal(column, text))
                raise LossprintError(f"{error} in {_line(path, row)}") from None


def _cast(column: pa.Array, kind: pa.DataType, expected: str, path: Path) -> pa.Array:
    try:
        return pc.cast(column, kind)
    except pa.ArrowInvalid:
        column = pc.utf8_trim_whitespace(_meant(pc.utf8_trim_whitespace(column), path))
    try:
        return pc.cast(column, kind)
    except pa.ArrowInvalid:
        row = next(row for row, text in enumerate(column.to_pylist()) if not _fits(text, kind))
        found = f"{column[row].as_py()[:60]!r} in {_line(path, row)}"
        raise LossprintError(f"expected {expected} in {path}, found {found}") from None


def _fits(text: str, kind: pa.DataType) -> bool:
    try:
        pc.cast(pa.scalar(text), kind)
        return True
    except pa.ArrowInvalid:
        return False


def _meant(column: pa.Array, path: Path) -> pa.Array:
    """The texts that stood in the cells before they were guarded, where the file was written for a spreadsheet."""
    codes = pc.dictionary_encode(column)
    marked = next(_lines(path, "utf-8"), "").startswith(BOM)
    return pa.array(as_meant(codes.dictionary.to_pylist(), marked), pa.string()).take(codes.indices)


# ------------------------------------------------------------------------------------------------ lines


def _first(mask: pa.Array) -> int:
    return int(np.argmax(mask.to_numpy(zero_copy_only=False)))


def _lines(path: Path, first: str = "utf-8-sig") -> Iterator[str]:
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield line.decode(first if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                byte = f"0x{error.object[error.start]:02x}"
                raise LossprintError(f"expected UTF-8 text in {path}, found the byte {byte} in line {number}") from None


def _refuse_bomb(path: Path) -> None:
    """Raise LossprintError where gzip packed far more into a file than losses can come to."""
    if path.suffix.lower() != ".gz":
        return
    unpacked, packed = 0, path.stat().st_size
    try:
        with gzip.open(path, "rb") as file:
            while piece := len(file.read(1 << 20)):
                unpacked += piece
                if unpacked > max(BOMB, PACKED * packed):
                    raise LossprintError(
                        f"expected CSV packed by gzip, found {packed:,} bytes at {path} that unpack to more than "
                        f"{unpacked:,}: refused as a possible decompression bomb"
                    )
    except (OSError, EOFError, zlib.error):
        return  # whoever reads it says what is wrong


def _raw_header(path: Path) -> list[str]:
    try:
        raw = next((row for row in csv.reader(_lines(path)) if row), None)
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise LossprintError(f"expected readable CSV at {path}, found: {one_line(error)}") from None
    if raw is None:
        raise LossprintError(f"expected losses in {path}, found an empty file")
    other = next((mark for mark in (";", "\t") if len(raw) == 1 and mark in raw[0]), None)
    if other:
        raise LossprintError(f"expected columns separated by commas in {path}, found {other!r} between them")
    return raw


def _line(path: Path, row: int) -> str:
    """What to call a row of the table, counted from 0, in a message: its last line in the file."""
    reader = csv.reader(_lines(path))
    rows = (cells for cells in reader if cells)
    try:
        for _ in range(row + 2):  # that of the header is one
            next(rows)
    except (csv.Error, StopIteration):  # a lone carriage return ends a line for pyarrow alone
        return f"row {row + 1}"
    return f"line {reader.line_num}"


def _find_fault(path: Path, length: int) -> None:
    """Raise LossprintError for the first line that is no row of a CSV file of so many columns, if there is one."""
    reader = csv.reader(_lines(path), strict=True)
    try:
        for cells in reader:
            if cells and len(cells) != length:
                raise LossprintError(f"expected {length} cells in line {reader.line_num} of {path}, found {len(cells)}")
    except csv.Error as error:
        raise LossprintError(f"expected a CSV file, found in line {reader.line_num} of {path}: {error}") from None
    except (OSError, EOFError, zlib.error):  # a file that was cut off within what gzip packed
        return
