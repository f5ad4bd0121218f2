"""The CSV that Lossprint writes: UTF-8, lines end in a line feed, quoted as RFC 4180 says, every text as it is.

Programs read most of them, and a class named -1 is still named so afterwards. For people there is a second form, for a
spreadsheet: with a byte order mark, so that its letters are read as UTF-8, and harmless there. A spreadsheet runs a
cell as a formula when its text starts with = + - or @ (or their full-width forms), at once or after blanks, and trims
or splits one that starts with a tab, carriage return or line feed (OWASP, CSV injection). Paths, labels and comments
come from strangers, so such a text gets an apostrophe in front; where a spreadsheet of some countries would split a
text at its semicolons, tabs and line ends, each piece does. One that has apostrophes before such a start gets another,
so that taking one away gives every text back exactly. Numbers are left alone.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from lossprint.audit.system.atomic import atomic
from lossprint.audit.types import LossprintError

BOM = "\ufeff"
SIGN = r"[=+\-@＝＋－＠]"
BLANK = r"[^\S;\t\r\n]|\0"
OPENING = rf"'*(?:[\t\r\n]|(?:{BLANK})*{SIGN})"
LATER = rf"'*(?:{BLANK}|\")*{SIGN}"  # after what another spreadsheet splits a text at; quotes do not hold there
SPLIT = r"(?<=[;\t\r\n])"
FORMULA = re.compile(rf"\A(?={OPENING})|{SPLIT}(?={LATER})")
BARE = re.compile(rf"\A(?:[\t\r\n]|(?:{BLANK})*{SIGN})|{SPLIT}(?:{BLANK}|\")*{SIGN}")
GUARDED = re.compile(rf"\A'(?={OPENING})|{SPLIT}'(?={LATER})")
QUOTED = re.compile(r'[",\r\n]')


def guard(text: str) -> str:
    """The text as a cell that no spreadsheet runs."""
    return FORMULA.sub("'", text)


def unguard(text: str) -> str:
    """The text that `guard` made a cell of; any other text as it is."""
    return GUARDED.sub("", text)


def as_meant(cells: Sequence[str], marked: bool) -> list[str]:
    """The texts of a column of a CSV file; `marked` says whether the file starts with a byte order mark.

    Such a file may be one that was written for a spreadsheet. It is, where none of its cells would be run as it stands.
    """
    if not marked or any(BARE.search(cell) for cell in set(cells)):
        return list(cells)
    return [unguard(cell) for cell in cells]


def csv_text(frame: pd.DataFrame, for_excel: bool = False) -> str:
    """A table as CSV, with a header and without the index. A missing value is an empty field.

    `for_excel`: the form for people, with a byte order mark and cells that a spreadsheet does not run.
    """
    cell = _guarded if for_excel else _quote
    columns = [_fields(frame.iloc[:, i], cell) for i in range(frame.shape[1])]
    header = [cell(str(name)) for name in frame.columns]
    return BOM * for_excel + "".join(",".join(row) + "\n" for row in [header, *zip(*columns)])


def write_csv(frame: pd.DataFrame, path: str | Path, for_excel: bool = False) -> None:
    """Write `csv_text`, whole or not at all. Raises LossprintError where it cannot be written."""
    path = Path(path)
    try:
        content = csv_text(frame, for_excel).encode("utf-8")
        if path.is_dir():
            raise IsADirectoryError(None, "a folder")
        with atomic(path) as part:
            part.write_bytes(content)
    except UnicodeEncodeError as error:
        raise LossprintError(
            f"expected text that UTF-8 can hold for {path}, found {error.object[error.start - 20 : error.end]!r}"
        ) from None
    except OSError as error:
        raise LossprintError(
            f"expected a file that can be written at {path}, found: {error.strerror or error}"
        ) from None


def _fields(column: pd.Series, cell: Callable[[str], str]) -> list[str]:
    missing = column.isna().to_numpy()
    if pd.api.types.is_numeric_dtype(column.dtype):
        # str of a numpy float is its shortest exact form, such as 0.1 for a float32 that was 0.1.
        return ["" if gone else str(value) for value, gone in zip(column.array, missing)]
    return [
        "" if gone else cell(value) if isinstance(value, str) else _quote(str(value))
        for value, gone in zip(column.array, missing)
    ]


def _guarded(text: str) -> str:
    return _quote(guard(text))


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if QUOTED.search(text) else text
