"""The CSV that Lossprint writes: UTF-8, lines end in a line feed, quoted as RFC 4180 says, harmless in a spreadsheet.

A spreadsheet runs a cell as a formula when its text starts with = + - or @ (or their full-width forms), at once or
after blanks, and trims or splits one that starts with a tab, carriage return or line feed, so that the rest may start a
cell (OWASP, CSV injection). Paths, labels and comments come from strangers, so such a text gets an apostrophe in front.
One that has apostrophes before such a start gets another, so that taking one away gives every text back exactly.
Numbers are left alone. This holds for a file read as comma-separated: another separator may split a text anew.
"""

import re
from pathlib import Path

import pandas as pd

from lossprint.audit.system.atomic import atomic
from lossprint.audit.types import LossprintError

FORMULA = re.compile(r"'*(?:[\t\r\n]|[\s\0]*[=+\-@＝＋－＠])")
QUOTED = re.compile(r'[",\r\n]')


def guard(text: str) -> str:
    """The text as a cell that no spreadsheet runs."""
    return f"'{text}" if FORMULA.match(text) else text


def unguard(text: str) -> str:
    """The text that `guard` made a cell of; any other text as it is."""
    return text[1:] if text.startswith("'") and FORMULA.match(text, 1) else text


def csv_text(frame: pd.DataFrame) -> str:
    """A table as CSV, with a header and without the index. A missing value is an empty field."""
    columns = [_fields(frame.iloc[:, i]) for i in range(frame.shape[1])]
    header = [_quote(guard(str(name))) for name in frame.columns]
    return "".join(",".join(row) + "\n" for row in [header, *zip(*columns)])


def write_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table as CSV, whole or not at all. Raises LossprintError where it cannot be written."""
    path = Path(path)
    try:
        content = csv_text(frame).encode("utf-8")
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


def _fields(column: pd.Series) -> list[str]:
    missing = column.isna().to_numpy()
    if pd.api.types.is_numeric_dtype(column.dtype):
        # str of a numpy float is its shortest exact form, such as 0.1 for a float32 that was 0.1.
        return ["" if gone else str(value) for value, gone in zip(column.array, missing)]
    return ["" if gone else _cell(value) for value, gone in zip(column.array, missing)]


def _cell(value) -> str:
    return _quote(guard(value)) if isinstance(value, str) else _quote(str(value))


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if QUOTED.search(text) else text
