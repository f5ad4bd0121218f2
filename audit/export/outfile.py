"""Where an export may be written and how: whole or not at all, and never over anything of the source dataset.

Beside a file or in a folder with applied decisions lies a record of them: FILE.csv.json, or FOLDER/export.json.
"""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lossprint.audit.export.tree import dataset_root
from lossprint.audit.runs.run import Run
from lossprint.audit.system.atomic import write_bytes
from lossprint.audit.system.csvfile import BOM, csv_text, write_csv
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.types import LossprintError

PARQUET = (".parquet", ".pq")
TREE_RECORD = "export.json"
MARK = b'{\n "lossprint": '  # how each record starts


def save(run: Run, frame: pd.DataFrame, out: str | Path, for_excel: bool = False) -> Path:
    """Write an exported table as CSV or Parquet, by its name, whole or not at all; an earlier file there is replaced.

    Raises LossprintError where it cannot be written, and where that would touch the source dataset: `out` is its
    manifest, or a file in its folder that is no earlier export of the same columns.
    """
    return save_table(run, frame, out, (".csv", *PARQUET), for_excel)


def save_table(
    run: Run, frame: pd.DataFrame, out: str | Path, endings: tuple[str, ...], for_excel: bool = False
) -> Path:
    """As `save`, as CSV or Parquet by the name's ending, which is one of `endings`."""
    out = Path(out)
    refuse_table(run, frame, out, endings)
    if out.suffix.lower() in PARQUET:
        if for_excel:
            raise LossprintError(f"expected a file name that ends in .csv with --for-excel, found {out}")
        write(out, parquet_bytes(frame))
    else:
        write_csv(frame, out, for_excel)
    return out


def refuse_table(run: Run, frame: pd.DataFrame, out: Path, endings: tuple[str, ...]) -> None:
    """Raise LossprintError where `save_table` would not write this table."""

    def same_columns(path: Path) -> bool:
        if path.suffix.lower() in PARQUET:
            try:
                return pq.read_schema(path).names == list(frame.columns)
            except pa.ArrowException:
                return False
        header = csv_text(frame.iloc[:0]).encode()
        with open(path, "rb") as file:
            return file.read(len(BOM.encode()) + len(header)).removeprefix(BOM.encode())[: len(header)] == header

    refuse(run, out, endings, same_columns)


def refuse(run: Run, out: Path, endings: tuple[str, ...], earlier: Callable[[Path], bool]) -> None:
    """Raise LossprintError where a file must not be written: `earlier` says whether a file is an earlier export."""
    if out.suffix.lower() not in endings:
        raise LossprintError(f"expected a file name that ends in {' or '.join(endings)}, found {out}")
    place = out.resolve()
    if place.is_relative_to(run.path.resolve()) and not place.is_relative_to(run.exports.resolve()):
        raise LossprintError(f"expected a file outside the run folder, or in its exports/, found {out}")
    if not out.is_file():
        return
    source, root = run.manifest["dataset"].get("source"), dataset_root(run)
    if source and place == Path(source).resolve():
        raise LossprintError(f"expected another file than the dataset's own manifest, found {out}")
    if root and place.is_relative_to(root) and not _asked(earlier, out):
        raise LossprintError(f"expected a new file or an earlier export in the dataset's folder, found {out}")


def _asked(earlier: Callable[[Path], bool], out: Path) -> bool:
    try:
        return earlier(out)
    except OSError as error:
        raise LossprintError(f"expected a readable file at {out}, found: {error.strerror or error}") from None


def write(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all. Raises LossprintError where it cannot be written."""
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "a folder")
        write_bytes(path, content)
    except OSError as error:
        raise LossprintError(
            f"expected a file that can be written at {path}, found: {error.strerror or error}"
        ) from None


def encoded(text: str, what: str) -> bytes:
    """The text in UTF-8. Raises LossprintError for a lone surrogate, which UTF-8 cannot hold."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        near = error.object[max(0, error.start - 20) : error.end]
        raise LossprintError(f"expected text that UTF-8 can hold for {what}, found {near!r}") from None


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """A table as a Parquet file, without pandas' own notes: the same table gives the same bytes.

    Raises LossprintError for text that UTF-8 cannot hold.
    """
    buffer = io.BytesIO()
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    except (pa.ArrowException, UnicodeEncodeError) as error:
        raise LossprintError(
            f"expected text that UTF-8 can hold, found: {' '.join(str(error).split())[:200]}"
        ) from None
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------- what was applied


def record_path(out: Path) -> Path:
    """Where the record of an export lies: FILE.csv.json for FILE.csv, the same for Parquet, export.json in a folder."""
    return out.with_name(f"{out.name}.json") if out.suffix.lower() in (".csv", ".tsv", *PARQUET) else out / TREE_RECORD


def record_text(record: dict) -> str:
    """A record as JSON; it starts with MARK."""
    return json.dumps(record, indent=1, ensure_ascii=True) + "\n"


def refuse_record(out: Path) -> None:
    """Raise LossprintError where something else than an earlier record lies where the record of `out` belongs."""
    path = record_path(out)

    def is_record(path: Path) -> bool:
        with open(path, "rb") as file:
            return file.read(len(MARK)) == MARK

    if path.exists() and not (path.is_file() and _asked(is_record, path)):
        raise LossprintError(f"expected no file or an earlier record of {out.name}, found something else at {path}")


def read_record(out: str | Path) -> dict | None:
    """The record of an exported file or folder (`export.record_of` says what is in it), or None where there is none.

    `out` may also be labels.csv of an exported folder. Raises LossprintError where it cannot be read.
    """
    out = Path(out)
    for path in (record_path(out), *([out.parent / TREE_RECORD] if out.name == "labels.csv" else [])):
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise LossprintError(f"expected a readable file at {path}, found: {error.strerror or error}") from None
        if not content.startswith(MARK):
            continue
        try:
            return parsed(content)
        except ValueError as error:
            raise LossprintError(f"expected the record of an export at {path}, found: {error}") from None
    return None
