"""Rows of a table that have no images: what a network learnt of them was recorded elsewhere, and is imported.

A row is shown as a text of its cells. `path` names it, and need not be a file.
"""

from pathlib import Path

import pandas as pd

from lossprint.audit.datasets.choices import USUAL, Choices
from lossprint.audit.datasets.media import TEXTS
from lossprint.audit.datasets.readers.manifests import CSV, manifest_rows
from lossprint.audit.datasets.source import COLUMNS, Source, fingerprint, locate
from lossprint.audit.system.csvrows import csv_rows
from lossprint.audit.system.parquet import read_table
from lossprint.audit.types import LossprintError


def read_rows(name: str | Path, choices: Choices = USUAL) -> Source:
    """The rows of a CSV or Parquet manifest without its images. Raises LossprintError where there is no such file."""
    path = locate(name)
    if path.is_dir() or path.suffix.lower() not in (*CSV, ".parquet", ".pq"):
        raise LossprintError(f"expected a CSV or Parquet manifest with --no-images, found {path}")
    rows, _, notes = manifest_rows(path, choices)
    texts = _texts(path, rows, {choices.path_column or "path", choices.label_column or "label", *COLUMNS})
    shown = dict(zip(rows["path"], texts))
    mark = fingerprint(rows, texts)
    notes = ["rows without images, as asked: they are shown as text", *notes]
    return Source(
        str(path), "rows", path.parent, rows, mark, shown.__getitem__, None, {}, tuple(notes), TEXTS, written=True
    )


def _texts(path: Path, rows: pd.DataFrame, known: set[str]) -> list[str]:
    """What each row says beside what is known of it; its path where it says nothing else."""
    if path.suffix.lower() in CSV:
        names, cells, _ = csv_rows(path)
    else:
        table = read_table(path).to_pandas()
        names, cells = list(map(str, table.columns)), table.astype(str).to_numpy().tolist()
    other = [at for at, name in enumerate(names) if name not in known]
    if not other:
        return rows["path"].tolist()
    return ["\n".join(f"{names[at]}: {cells[row][at]}" for at in other) for row in rows["sample"].tolist()]
