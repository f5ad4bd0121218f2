"""Datasets of texts: a CSV, Parquet or JSON Lines file -> one row a text; the texts themselves are read when needed.

The first of these forms that the columns (or the keys of the first JSON object) allow is taken:

    messages                        a conversation: a list of {role, content}; content is text, or a list of its parts
    prompt, response                instruction tuning
    instruction[, input], output    the same
    text                            anything else

beside optional columns `label`, `split` and `id`. Without labels all texts are of one group, `tasks.ALL`. `path` of a
sample is its id or, without ids, `row/000017`, its row counted from 0, as sample ids are. A file with a column `path`
is a manifest of images. Kept in memory: where each row lies in the file, not its text.
"""

import csv
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import numpy as np
import pandas as pd

from lossprint.audit.datasets.media import TEXTS
from lossprint.audit.datasets.source import Source, fingerprint, locate, split_of, tabulate
from lossprint.audit.datasets.tasks import ALL
from lossprint.audit.datasets.turns import joined
from lossprint.audit.system.csvfile import BOM, as_meant
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.system.parquet import batches, opened
from lossprint.audit.types import LossprintError, one_line

FORMS = (("messages",), ("prompt", "response"), ("instruction", "output"), ("text",))
INPUT = "input"
OPTIONAL = ("label", "split", "id")
LONGEST = 1 << 24  # characters of one cell of a CSV
BATCH = 64  # rows of a Parquet file that are read at once
HELD = 8  # such batches that are kept by the reader of single texts
PARQUET = (".parquet", ".pq")


def lists_texts(path: str | Path) -> bool:
    """Whether a file lists texts: JSON Lines, or a table with a column of texts and none of paths, by its header."""
    path = Path(os.path.expanduser(path))
    if not os.path.isfile(path):  # a pipe would block for ever
        return False
    if path.suffix.lower() == ".jsonl":
        return True
    try:
        names = _header(path)
    except (LossprintError, OSError, csv.Error, StopIteration):
        return False  # whoever reads all of it says what is wrong
    return "path" not in names and form_of(names) is not None


def read_texts(name: str | Path) -> Source:
    """List the texts of a file. Sample ids are row positions; labels are text, whatever they look like.

    The fingerprint is over paths, labels, splits and all texts. Raises LossprintError, in one line that names the line
    or row, for what is no UTF-8 or no JSON object, a row without its text, an empty text, an id that comes twice.
    """
    path = locate(name)
    index, rows, digest = _Index(path), [], hashlib.sha256()
    for place, span, record in _records(path):
        if index.form is None:
            index.form = form_of(record)
        if index.form is None:
            raise LossprintError(
                f"expected a column text, prompt and response, instruction and output, or messages in {path}, "
                f"found {', '.join(map(repr, record))[:300] or 'none'}"
            )
        text = text_of(record, index.form, place, path)
        digest.update(hashlib.sha256(text.encode()).digest())
        index.spans.append(span)
        rows.append((place, *(_cell(record, name, place, path) for name in OPTIONAL)))
    if not rows:
        raise LossprintError(f"expected texts in {path}, found no rows")
    places, labels, splits, ids = map(list, zip(*rows))
    if path.suffix.lower() == ".csv":
        marked = path.open("rb").read(3) == BOM.encode()
        labels, splits, ids = (as_meant(cells, marked) for cells in (labels, splits, ids))
    if any(labels):
        _refuse_gaps(labels, "label", places, path)
    if any(ids):
        _refuse_gaps(ids, "id", places, path)
        first: dict[str, str] = {}
        for one, place in zip(ids, places):
            if first.setdefault(one, place) != place:
                raise LossprintError(f"expected each id once in {path}, found {one!r} in {first[one]} and in {place}")
    table = tabulate(
        ids if any(ids) else [f"row/{row:06d}" for row in range(len(rows))],
        labels if any(labels) else [ALL] * len(rows),
        [split_of(cell, place, path) if cell else "train" for cell, place in zip(splits, places)],
    )
    index.settle(pd.Index(ids) if any(ids) else None)
    mark = fingerprint(table, [digest.hexdigest()])
    return Source(str(path), "text", path.parent, table, mark, index.text, None, media=TEXTS)


# ------------------------------------------------------------------------------------------------- one text alone


class _Index:
    """Where each row lies in the file: bytes from and to, or row group, batch in it and place in that."""

    def __init__(self, path: Path):
        self.path, self.form, self.ids = path, None, None
        self.spans: list[tuple[int, ...]] | np.ndarray = []
        self.stamp = _stamp(path)
        self.header: list[str] | None = None
        self.lock = Lock()
        self.held: dict[tuple[int, int], list[str]] = {}  # batches of a Parquet file
        self.next = (-1, 0)  # the row group and the batch that `self.batches` gives next
        self.batches: Iterator = iter(())

    def settle(self, ids: pd.Index | None) -> None:
        self.spans, self.ids = np.array(self.spans, np.int64), ids
        if self.path.suffix.lower() == ".csv":
            self.header = _header(self.path)

    def text(self, path: str) -> str:
        """The text of a row, by its path. Raises LossprintError for an unknown one, and where the file has changed."""
        row = self._row(path)
        if _stamp(self.path) != self.stamp:
            raise LossprintError(f"expected the texts as they were listed, found that {self.path} has changed since")
        if self.path.suffix.lower() in PARQUET:
            group, batch, place = self.spans[row].tolist()
            with self.lock:
                return self._batch(group, batch)[place]
        start, stop = self.spans[row].tolist()
        with open(self.path, "rb") as file:
            file.seek(start)
            raw = file.read(stop - start).decode("utf-8-sig")
        record = parsed(raw) if self.header is None else _cells(raw, self.header)
        return text_of(record, self.form, f"row {row + 1}", self.path)

    def _row(self, path: str) -> int:
        if self.ids is not None:
            row = int(self.ids.get_indexer([path])[0])
        else:
            number = path.removeprefix("row/")
            row = int(number) if number.isascii() and number.isdigit() and len(number) < 19 else -1
            row = row if f"row/{row:06d}" == path and row < len(self.spans) else -1
        if row < 0:
            raise LossprintError(f"expected the path of a text in {self.path}, found {path!r}")
        return row

    def _batch(self, group: int, batch: int) -> list[str]:
        """The texts of a batch. A row group is read from its start: who goes on from the last one reads it once."""

        if (group, batch) not in self.held and not (self.next[0] == group and self.next[1] <= batch):
            file = opened(self.path)
            columns = [name for name in (*self.form, INPUT) if name in file.schema_arrow.names]
            self.next, self.batches = (group, 0), file.iter_batches(BATCH, row_groups=[group], columns=columns)
        while (group, batch) not in self.held:
            read = next(self.batches)
            if self.next[1] > batch - HELD:
                texts = [text_of(record, self.form, "a row", self.path) for record in read.to_pylist()]
                self.held[self.next] = texts
            self.next = (group, self.next[1] + 1)
            while len(self.held) > HELD:
                del self.held[next(iter(self.held))]
        return self.held[group, batch]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError as error:
        raise LossprintError(f"expected texts, found {str(error.strerror).lower()} at {path}") from None
    return status.st_mtime_ns, status.st_size


# ------------------------------------------------------------------------------------------------- rows of a file


def _records(path: Path) -> Iterator[tuple[str, tuple[int, ...], dict]]:
    """(what to call it in a message, where it lies, what it holds) of each row."""
    kind = path.suffix.lower()
    try:
        yield from (_of_parquet if kind in PARQUET else _of_csv if kind == ".csv" else _of_json)(path)
    except OSError as error:
        detail = error.strerror or one_line(error)
        raise LossprintError(f"expected a readable file of texts, found {detail.lower()} at {path}") from None


def _of_json(path: Path) -> Iterator[tuple[str, tuple[int, ...], dict]]:
    with open(path, "rb") as file:
        stop = 0
        for number, raw in enumerate(file, 1):
            start, stop = stop, stop + len(raw)
            line = _decoded(raw, number, path)
            if not line.strip():
                continue
            try:
                record = parsed(line)
            except (ValueError, RecursionError) as error:
                detail = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
                raise LossprintError(f"expected a JSON object in line {number} of {path}, found: {detail}") from None
            if not isinstance(record, dict):
                raise LossprintError(f"expected a JSON object in line {number} of {path}, found {_kind_of(record)}")
            yield f"line {number}", (start, stop), record


def _of_csv(path: Path) -> Iterator[tuple[str, tuple[int, ...], dict]]:
    csv.field_size_limit(max(LONGEST, csv.field_size_limit()))
    at = [0, 0]  # bytes and lines that the reader has taken

    def lines(file) -> Iterator[str]:
        for raw in file:
            at[0], at[1] = at[0] + len(raw), at[1] + 1
            yield _decoded(raw, at[1], path)

    with open(path, "rb") as file:
        reader, header, stop = csv.reader(lines(file), strict=True), None, 0
        try:
            for cells in reader:
                start, stop = stop, at[0]
                if not cells:
                    continue
                if header is None:
                    header = _checked([name.strip() for name in cells], path)
                    continue
                if len(cells) != len(header):
                    raise LossprintError(f"expected {len(header)} cells in line {at[1]} of {path}, found {len(cells)}")
                yield f"line {at[1]}", (start, stop), dict(zip(header, cells))
        except csv.Error as error:
            raise LossprintError(f"expected a CSV file, found in line {at[1]} of {path}: {error}") from None


def _of_parquet(path: Path) -> Iterator[tuple[str, tuple[int, ...], dict]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        names = _checked(pq.read_schema(path).names, path)
        columns = [name for name in (*(form_of(names) or names), INPUT, *OPTIONAL) if name in names]
        for group, number, batch in batches(path, columns, BATCH):
            for place, record in enumerate(batch.to_pylist()):
                row += 1
                yield f"row {row}", (group, number, place), record
    except (pa.ArrowException, ValueError) as error:
        detail = one_line(error)
        raise LossprintError(f"expected readable Parquet after row {row} of {path}, found: {detail}") from None


def _header(path: Path) -> list[str]:
    if path.suffix.lower() in PARQUET:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.read_schema(path).names
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise LossprintError(f"expected a Parquet file at {path}, found: {error}") from None
    if path.suffix.lower() != ".csv":
        return []
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        return [name.strip() for name in next(row for row in csv.reader(file) if row)]


def _checked(header: list[str], path: Path) -> list[str]:
    known = {name for form in FORMS for name in form} | {INPUT, *OPTIONAL}
    twice = next((name for name in header if name in known and header.count(name) > 1), None)
    if twice:
        raise LossprintError(f"expected one column {twice!r} in {path}, found {header.count(twice)}")
    return list(header)


def _decoded(raw: bytes, number: int, path: Path) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise LossprintError(f"expected UTF-8 text in {path}, found the byte 0x{byte:02x} in line {number}") from None


def _cells(raw: str, header: list[str]) -> dict:
    return dict(zip(header, next(row for row in csv.reader(raw.splitlines(keepends=True)) if row)))


# ------------------------------------------------------------------------------------------------- cells


def form_of(names) -> tuple[str, ...] | None:
    """The columns or keys of the first known form that are all there."""
    return next((form for form in FORMS if all(name in names for name in form)), None)


def text_of(record: dict, form: tuple[str, ...], place: str, path: Path) -> str:
    """The text of a row, whatever the form. Raises LossprintError where it has none."""
    lacking = [name for name in form if name not in record]
    if lacking:
        keys = ", ".join(map(repr, record))[:200] or "none"
        raise LossprintError(f"expected {lacking[0]!r} in {place} of {path}, found {keys}")
    if form == ("messages",):
        parts = _messages(record["messages"], place, path)
    else:
        names = [form[0], *([INPUT] if form[0] == "instruction" and record.get(INPUT) else []), *form[1:]]
        parts = [(name, _string(record[name], name, place, path)) for name in names]
    if not any(words.strip() for _, words in parts):
        raise LossprintError(f"expected a text in {place} of {path}, found an empty one")
    text = parts[0][1] if form == ("text",) else joined(parts)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        odd = f"U+{ord(text[error.start]):04X}"
        raise LossprintError(
            f"expected text that UTF-8 can hold in {place} of {path}, found half of a character, {odd}"
        ) from None
    return text


def _messages(messages, place: str, path: Path) -> list[tuple[str, str]]:
    if not isinstance(messages, list) or not messages:
        raise LossprintError(f"expected a list of messages in {place} of {path}, found {_kind_of(messages)}")
    turns = []
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str) or "content" not in message:
            raise LossprintError(
                f"expected messages with role and content in {place} of {path}, found {_kind_of(message)}"
            )
        content = message["content"]
        if isinstance(content, list):  # parts, of which some may be images
            parts = [part if isinstance(part, dict) else {"type": "?"} for part in content]
            content = "\n".join(
                str(part["text"]) if isinstance(part.get("text"), str) else f"[{part.get('type')}]" for part in parts
            )
        turns.append((message["role"], _string(content, "content", place, path)))
    return turns


def _string(value, name: str, place: str, path: Path) -> str:
    if value is not None and not isinstance(value, str):
        raise LossprintError(f"expected text as {name!r} in {place} of {path}, found {_kind_of(value)}")
    return value or ""


def _cell(record: dict, name: str, place: str, path: Path) -> str:
    """A label, a split or an id as text, empty where there is none."""
    value = record.get(name)
    if isinstance(value, dict | list):
        raise LossprintError(f"expected one {name} in {place} of {path}, found {_kind_of(value)}")
    if value is None or value != value:  # pandas writes what is missing as NaN
        return ""
    value = str(value)
    return value if value.strip() else ""


def _refuse_gaps(cells: list[str], name: str, places: list[str], path: Path) -> None:
    gap = next((place for cell, place in zip(cells, places) if not cell), None)
    if gap:
        raise LossprintError(
            f"expected {'an' if name == 'id' else 'a'} {name} in every row of {path}, found none in {gap}"
        )


def _kind_of(value) -> str:
    kinds = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "nothing" if value is None else "an empty list" if value == [] else kinds.get(type(value), "something else")
