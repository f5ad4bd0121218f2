"""Further columns of a manifest, such as patient, camera or date: kept with the run, to filter and to group by."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from lossprint.audit.datasets.choices import Choices
from lossprint.audit.datasets.readers.manifests import CSV, TABLES
from lossprint.audit.datasets.source import COLUMNS
from lossprint.audit.system.csvrows import noted_rows
from lossprint.audit.system.parquet import read_table

MOST = 40  # columns
LONGEST = 60  # characters of a name
NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?")
TAKEN = (*COLUMNS, "sample")


def further_columns(dataset: dict, samples: np.ndarray) -> pd.DataFrame | None:
    """The columns of the manifest beyond those that an audit knows, for these samples, or None where it has none.

    dataset: run.json's; samples (N,) int64, which are the positions of rows. The column `sample`, then at most `MOST`
    others by their names: numbers where every cell that is not empty is one, else texts; None where a cell is empty.
    """
    path = Path(str(dataset.get("source") or ""))
    if dataset.get("kind") != "manifest" or path.suffix.lower() not in TABLES or not path.is_file():
        return None
    choices = Choices.of(dataset.get("choices", {}))
    own = {*TAKEN, choices.path_column or "path", choices.label_column or "label"}
    table = _csv(path, own) if path.suffix.lower() in CSV else _parquet(path, own)
    if table.empty or not len(table.columns) or (len(samples) and samples.max() >= len(table)):
        return None
    kept = {name: _values(table[name].iloc[samples]) for name in table.columns}
    return pd.DataFrame({"sample": samples, **kept})


def _wanted(header: list[str], own: set[str]) -> list[str]:
    able = [name for name in header if name.strip() and name not in own and header.count(name) == 1]
    return [name for name in able if len(name) <= LONGEST][:MOST]


def _csv(path: Path, own: set[str]) -> pd.DataFrame:
    header, rows, _, _ = noted_rows(path)
    places = {name: header.index(name) for name in _wanted(header, own)}
    return pd.DataFrame({name: [row[at] for row in rows] for name, at in places.items()}, dtype=object)


def _parquet(path: Path, own: set[str]) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    names = _wanted(schema.names, own)
    flat = [name for name in names if not pa.types.is_nested(schema.field(name).type)]
    columns = {name: read_table(path, [name])[name] for name in flat}
    return pd.DataFrame({name: _texts(column) for name, column in columns.items()}, dtype=object)


def _texts(column) -> list[str | None]:
    return [None if cell is None else str(cell) for cell in column.to_pylist()]


def _values(cells: pd.Series) -> pd.Series:
    """Numbers, or texts with None for what is empty."""
    texts = [None if cell is None or not str(cell).strip() else str(cell) for cell in cells.tolist()]
    known = [cell for cell in texts if cell is not None]
    # 007 and 1e5 are names as often as numbers: they stay texts.
    if known and all(NUMBER.fullmatch(cell) for cell in known):
        return pd.Series([np.nan if cell is None else float(cell) for cell in texts], dtype=float)
    return pd.Series(texts, dtype=object)
