"""A corrected copy of the manifest that a run was made from: its own columns, row order, quoting and line ends.

Only the label cells of changed samples differ, and the rows of excluded samples are gone; every other byte of a CSV is
as it was. A label is spelled as the manifest itself spells it where it first has it.
"""

import csv
import io
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from lossprint.audit.datasets.choices import Choices
from lossprint.audit.datasets.kinds import WORDS
from lossprint.audit.datasets.labels import plain
from lossprint.audit.datasets.paths import meant
from lossprint.audit.datasets.readers.manifests import is_table, manifest_of
from lossprint.audit.export import outfile
from lossprint.audit.export.applied import Applied, row_swaps
from lossprint.audit.runs.places import dataset_of
from lossprint.audit.runs.run import Run
from lossprint.audit.system.csvfile import QUOTED, as_meant, guard
from lossprint.audit.system.csvrows import Text, fitted, read_text
from lossprint.audit.system.parquet import read_table
from lossprint.audit.types import LossprintError, one_line

CLOSED = re.compile(r'"(?:[^"]|"")*"')


def original(run: Run) -> Path:
    """The manifest that the run's dataset was read from. Raises LossprintError where the dataset has none."""
    dataset = dataset_of(run)
    kind, source = dataset.get("kind"), dataset.get("source")
    if kind == "remote" and is_table(source):
        return manifest_of(source) if "://" in source else Path(source)
    if kind not in ("manifest", "rows") or not source:
        what = WORDS.get(kind, "none")
        raise LossprintError(
            f"expected a dataset with a CSV or Parquet manifest, found {what} in run {run.path}: export the cleaned "
            "dataset instead"
        )
    return Path(source)


def corrected(decisions: Applied) -> bytes:
    """The manifest as decided, as the bytes of a file of its own kind.

    Rows of images that could not be read stay as they are. Raises LossprintError where the dataset has no manifest, or
    where it is not the one that was audited: another path or label in some row.
    """
    return _corrected(original(decisions.run), decisions)


def write_manifest(decisions: Applied, out: str | Path) -> tuple[Path, dict]:
    """Write `corrected` to `out`, which ends as the manifest's name does, and its record beside it.

    Returns the file and the record. Raises LossprintError as `corrected` does, and where `out` cannot be written or is
    the dataset's own manifest or another file of its folder that is no earlier export.
    """
    out, run = Path(out), decisions.run
    path = original(run)
    same_kind = outfile.PARQUET if path.suffix.lower() in outfile.PARQUET else (path.suffix.lower(),)
    outfile.refuse(run, out, same_kind, lambda file: outfile.read_record(file) is not None)
    outfile.refuse_record(out)
    content, record = _corrected(path, decisions), decisions.record
    outfile.write(out, content)
    outfile.write(outfile.record_path(out), outfile.record_text(record).encode())
    return out, record


def _corrected(path: Path, decisions: Applied) -> bytes:
    choices = Choices.of(decisions.run.manifest["dataset"].get("choices", {}))
    root = str(decisions.run.manifest["dataset"].get("root") or "")
    same = partial(_same, path.parent if not root or "://" in root else Path(root), choices.normalise_labels)
    columns = choices.path_column or "path", choices.label_column or "label"
    return (_parquet if path.suffix.lower() in outfile.PARQUET else _csv)(path, decisions.table, same, columns)


def _same(root: Path, normalised: bool, name: str, cell: str, wanted: str) -> bool:
    """Whether a cell of the column `name` of the manifest says what the run has, as `datasets` reads it."""
    if name == "path":
        if cell == wanted:
            return True
        cell, wanted = (meant(root, one).casefold() for one in (cell, wanted))
        return cell == wanted or cell.endswith(f"/{wanted}")  # absolute, as on another machine
    return cell == wanted or (normalised and plain(cell) == plain(wanted))


def _changed(path: Path, where: str, expected: str, found: str) -> LossprintError:
    return LossprintError(
        f"expected the manifest {path} as it was audited, with {expected!r} in {where}, found {found!r}: audit it again"
    )


# ------------------------------------------------------------------------------------------------------------- CSV


def _csv(path: Path, table: pd.DataFrame, same: Callable[[str, str, str], bool], columns: tuple[str, str]) -> bytes:
    file, rows = _records(path)
    header = next((cells for cells, _, _ in rows if cells), [])
    names = [name.strip() for name in header]
    missing = [name for name in columns if name not in names]
    if missing:
        found = ", ".join(names)[:200] or "none"
        raise LossprintError(f"expected the columns {' and '.join(columns)} in {path}, found {found}")
    at_path, at_label = (names.index(name) for name in columns)
    at_frame = names.index("frame") if "frame" in names else None
    known = dict(zip(table["sample"], zip(table["path"], table["given_label"], table["label"], table["change"])))
    new = set(table.loc[table["change"] == "relabelled", "label"])
    cells_of = [fitted(cells, header, f"line {line}", path) for cells, _, line in rows if cells][1:]
    paths, labels = (as_meant([cells[at] for cells in cells_of], file.mark) for at in (at_path, at_label))
    guarded = any(cells[at_label] != label for cells, label in zip(cells_of, labels))
    spelled: dict[str, str] = {}
    body: list[tuple[str, str | None, int]] = []  # the raw record, the label that it is to have, and its sample
    sample, headed = 0, False
    for cells, raw, line in rows:
        if not cells or not headed:
            headed = headed or bool(cells)
            body.append((raw, None, -1))
            continue
        here, expected, label = sample, known.get(sample), labels[sample]
        if label in new and label not in spelled:
            spelled[label] = _raw_cells(raw, file)[at_label]
        sample += 1
        if expected is None:  # an image that could not be read, or was left out
            body.append((raw, None, here))
            continue
        for name, cell, wanted in (("path", paths[here], expected[0]), ("label", label, expected[1])):
            if not same(name, cell, wanted):
                raise _changed(path, f"line {line}", wanted, cell)
        body.append((raw, expected[2] if expected[3] == "relabelled" else None, here))
    if sample <= table["sample"].max():
        raise LossprintError(f"expected the manifest {path} as it was audited, found only {sample:,} rows")
    spelled |= {one: _quoted(guard(one) if guarded else one, file) for one in new if one not in spelled}
    records = {
        here: raw if label is None else _with_cell(raw, at_label, spelled[label], raw, file)
        for raw, label, here in body
    }
    swapped, gone = row_swaps(table), set(table.loc[table["change"] == "excluded", "sample"])
    text = ""
    for raw, _, here in body:
        source = swapped.get(here, here)
        if source in gone:
            continue
        # A frame that is put elsewhere takes the number and the line end of the row that it takes.
        record = raw if here < 0 else records[source]
        text += record if source == here else _with_cell(record, at_frame, _raw_cells(raw, file)[at_frame], raw, file)
    try:
        return file.encoded(text)
    except UnicodeEncodeError as error:
        found = error.object[error.start : error.end]
        raise LossprintError(f"expected labels that {file.encoding} can hold for {path}, found {found!r}") from None


def _records(path: Path) -> tuple[Text, list[tuple[list[str], str, int]]]:
    """The text, and each record of it: its cells, its raw text with the line end, and its last line's number."""
    try:
        file = read_text(path)
        lines = list(io.StringIO(file.text, newline=""))
        reader, found, done = csv.reader(lines, delimiter=file.delimiter, strict=True), [], 0
        for cells in reader:
            found.append((cells, "".join(lines[done : reader.line_num]), reader.line_num + bool(file.head)))
            done = reader.line_num
    except OSError as error:
        raise LossprintError(f"expected the run's manifest, found {str(error.strerror).lower()} at {path}") from None
    except csv.Error as error:
        raise LossprintError(f"expected the manifest {path} as it was audited, found: {error}") from None
    return file, found


def _raw_cells(raw: str, file: Text) -> list[str]:
    """The cells of a raw record as they are spelled there, with their quotes; without the line end."""
    record, cells, at = raw.rstrip("\r\n"), [], 0
    while True:
        closed = CLOSED.match(record, at)
        end = closed.end() if closed else record.find(file.delimiter, at)
        end = len(record) if end < 0 else end
        cells.append(record[at:end])
        if end >= len(record):
            return cells
        at = end + 1


def _with_cell(record: str, at: int, cell: str, row: str, file: Text) -> str:
    cells = _raw_cells(record, file)
    cells[at] = cell
    return file.delimiter.join(cells) + row[len(row.rstrip("\r\n")) :]


def _quoted(cell: str, file: Text) -> str:
    quoted = f'"{cell.replace(chr(34), chr(34) * 2)}"'
    return quoted if QUOTED.search(cell) or file.delimiter in cell else cell


# --------------------------------------------------------------------------------------------------------- Parquet


def _parquet(path: Path, table: pd.DataFrame, same: Callable[[str, str, str], bool], columns: tuple[str, str]) -> bytes:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        whole = read_table(path).unify_dictionaries()
        paths, labels = (_text(whole[name]) for name in columns)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        detail = one_line(error)
        raise LossprintError(f"expected the run's manifest, a Parquet file, at {path}, found: {detail}") from None
    rows = table["sample"].to_numpy()
    if len(rows) and rows.max() >= len(paths):
        raise LossprintError(f"expected the manifest {path} as it was audited, found only {len(paths):,} rows")
    for found, name in ((paths, "path"), (labels, "given_label")):
        wanted = table[name].to_numpy(object)
        at = next(
            (at for at in np.flatnonzero(found[rows] != wanted) if not same(name, found[rows[at]], wanted[at])), None
        )
        if at is not None:
            raise _changed(path, f"row {rows[at] + 1}", wanted[at], found[rows[at]])
    # Taking the cell of a row that has the label keeps the column's type, whatever it is.
    source = np.arange(len(paths))
    relabelled = table[table["change"] == "relabelled"]
    first = pd.Series(source, index=labels)
    first = first[~first.index.duplicated()].reindex(relabelled["label"])
    if first.isna().any():
        raise LossprintError(f"expected the label {first.index[first.isna()][0]!r} in {path}, found no row that has it")
    source[relabelled["sample"].to_numpy()] = first.to_numpy(np.int64)
    stays = np.ones(len(paths), bool)
    stays[table.loc[table["change"] == "excluded", "sample"].to_numpy()] = False
    at = whole.column_names.index(columns[1])
    fixed = whole.set_column(at, whole.schema.field(at), whole[columns[1]].take(pa.array(source)))
    row = np.arange(len(paths))
    for here, sample in row_swaps(table).items():
        row[here] = sample
    if (row != np.arange(len(row))).any():  # the rows move, the frame numbers stay
        at = fixed.column_names.index("frame")
        fixed = fixed.take(pa.array(row)).set_column(at, whole.schema.field(at), whole["frame"])
    fixed = fixed.filter(pa.array(stays[row]))
    buffer = io.BytesIO()
    pq.write_table(fixed, buffer, compression="zstd")
    return buffer.getvalue()


def _text(column):
    """A column as `sources.read_manifest` reads it: text, empty where missing."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    return np.array([cell or "" for cell in column.cast(pa.string()).to_pylist()], dtype=object)
