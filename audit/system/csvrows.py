"""Tables of text as other programs write them: commas, semicolons or tabs; UTF-8, UTF-16, or Windows' letters.

A spreadsheet of many countries writes semicolons, its "Unicode text" is UTF-16 with tabs, and its plain CSV is in the
code page of the machine. Of code pages only cp1252 (western Europe) is read, and only where the text makes sense in it:
no file says which one it is in.
"""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from lossprint.audit.system.csvfile import as_meant
from lossprint.audit.types import LossprintError

MARKS = (
    *((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32")),
    *((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")),
)
SEPARATOR = re.compile(r'\A"?sep=([,;\t|])"?\r?\n')  # a line with which spreadsheets name what separates cells
WORD = re.compile(r"[^\W\d_]+")
SAVE = "save it as UTF-8 (in a spreadsheet: 'CSV UTF-8')"


@dataclass(frozen=True)
class Text:
    """A file's text, without a byte order mark, and how it is written: its encoding and what separates its cells.

    mark: whether it starts with the mark of UTF-8. head: a line before the table that names the delimiter, if any.
    """

    text: str
    encoding: str
    delimiter: str
    mark: bool
    head: str = ""

    def encoded(self, text: str) -> bytes:
        """Another text as a file of the same form. Raises UnicodeEncodeError for letters that it has not."""
        return (self.head + text).encode(self.encoding)

    @property
    def notes(self) -> list[str]:
        """What is not certain about it."""
        if self.encoding != "cp1252":
            return []
        word = next(one for one in WORD.findall(self.text) if not one.isascii())
        return [
            f"read as cp1252 (Windows, western Europe), as it is no UTF-8: words such as {word!r}; if they are "
            f"other words, {SAVE}"
        ]


def read_text(path: Path) -> Text:
    """The `text_of` a file. Raises LossprintError as it does, and OSError."""
    return text_of(path.read_bytes(), str(path))


def text_of(data: bytes, path: str) -> Text:
    """The text of a file of rows. Raises LossprintError where it cannot be told how it is written."""
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), None) or _wide(data) or "utf-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-8" and (western := _western(data)) is not None:
            return _told(western, "cp1252", path)
        byte = data[error.start]
        known = "UTF-8" if encoding.startswith("utf-8") else "UTF-16"
        raise LossprintError(f"expected {known} text in {path}, found the byte 0x{byte:02x}: {SAVE}") from None
    return _told(text.removeprefix("\ufeff"), encoding, path)


def _told(text: str, encoding: str, path: str) -> Text:
    """The text without the line that may name its delimiter, else with the one that its first line shows."""
    head = SEPARATOR.match(text)
    delimiter = head[1] if head else _delimiter(text, path)
    return Text(
        text[head.end() if head else 0 :], encoding, delimiter, encoding == "utf-8-sig", head[0] if head else ""
    )


def csv_rows(path: Path) -> tuple[list[str], list[list[str]], list[str]]:
    """The column names of a CSV file, the cells of its rows, and what to call each row in a message.

    Cells that were written for a spreadsheet are as they were before, see `csvfile`. Raises LossprintError where it is
    no file of rows, is empty, or a row has another number of cells; cells that are empty may be too many.
    """
    header, rows, lines, _ = noted_rows(path)
    return header, rows, lines


def noted_rows(path: Path) -> tuple[list[str], list[list[str]], list[str], list[str]]:
    """As `csv_rows`, and what is not certain about the text."""
    rows, lines = [], []
    try:
        file = read_text(path)
        reader = csv.reader(io.StringIO(file.text, newline=""), delimiter=file.delimiter, strict=True)
        for row in reader:
            if row:
                rows.append(row)
                lines.append(f"line {reader.line_num + bool(file.head)}")
    except csv.Error as error:
        raise LossprintError(f"expected a CSV file, found in line {reader.line_num} of {path}: {error}") from None
    except OSError as error:
        raise LossprintError(f"expected a readable manifest, found {str(error.strerror).lower()} at {path}") from None
    if not rows:
        raise LossprintError(f"expected a manifest with the columns path and label, found an empty file at {path}")
    header = [name.strip() for name in rows[0]]
    cells = [fitted(row, header, line, path) for row, line in zip(rows[1:], lines[1:])]
    if file.mark and cells:
        cells = list(map(list, zip(*(as_meant(column, True) for column in zip(*cells)))))
    return header, cells, lines[1:], file.notes


def fitted(row: list[str], header: list[str], line: str, path: str | Path) -> list[str]:
    """A row with as many cells as the header: empty ones of a spreadsheet may be too many or too few."""
    if len(row) == len(header):
        return row
    if any(cell.strip() for cell in row[len(header) :]) or (len(row) < len(header) and any(map(str.strip, row))):
        raise LossprintError(
            f"expected {len(header)} cells in {line} of {path}, as many as the first line has names, found {len(row)} "
            "(a text with a separator in it stands in quotes)"
        )
    return [*row, *[""] * len(header)][: len(header)]


def _wide(data: bytes) -> str | None:
    """UTF-16 without its mark: the names of the columns are of letters that leave every other byte empty."""
    start = data[:64]
    start = start[: len(start) // 2 * 2]
    if len(start) >= 8:
        for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
            if not any(start[first::2]) and all(start[1 - first :: 2]):
                return name
    return None


def _western(data: bytes) -> str | None:
    """The text in cp1252, where its letters make words of western Europe: they stand among plain ones."""
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        return None
    for sign in set(text):
        if ord(sign) > 127 and not (sign.isalpha() and 0xC0 <= ord(sign) <= 0xFF):  # others are letters elsewhere
            return None
    letters = "".join(word for word in set(WORD.findall(text)) if not word.isascii())
    return text if sum(map(str.isascii, letters)) * 3 >= len(letters) else None


def _delimiter(text: str, path: str) -> str:
    """What the first line is split by: a comma where there is one, else semicolons, tabs or upright bars."""
    head = next((line for line in text.splitlines() if line.strip()), "")
    if path.lower().endswith(".tsv") and "\t" in head:
        return "\t"
    return "," if "," in head else max((",", ";", "\t", "|"), key=head.count)
