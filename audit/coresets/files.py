"""Coresets as files, CSV or Parquet: read with their records, and checked against the dataset they are to serve."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from lossprint.audit.datasets.choices import Choices
from lossprint.audit.datasets.labels import spelling
from lossprint.audit.datasets.paths import Spelled
from lossprint.audit.export import outfile
from lossprint.audit.system.csvfile import BOM, csv_text
from lossprint.audit.system.csvrows import csv_rows
from lossprint.audit.system.parquet import read_table
from lossprint.audit.types import LossprintError, one_line

NEEDED = ("sample", "path", "label")
NUMBER = re.compile(r"[0-9]{1,18}")


def read(path: str | Path) -> tuple[pd.DataFrame, dict | None]:
    """A coreset in CSV or Parquet, sample as int64 and all else as text, and its record, None without one.

    Raises LossprintError where it is none.
    """
    path = Path(path)
    if not path.is_file():
        raise LossprintError(f"expected a coreset's file, found {'no file' if path.exists() else 'nothing'} at {path}")
    if path.stat().st_size == 0:
        raise LossprintError(f"expected a coreset's file, found an empty file at {path}")
    header, rows, lines = _table(path) if _is_parquet(path) else csv_rows(path)
    missing = [name for name in NEEDED if header.count(name) != 1]
    if missing:
        raise LossprintError(
            f"expected the columns {','.join(NEEDED)} once each in {path}, found {header.count(missing[0])} of "
            f"{missing[0]!r}"
        )
    if not rows:
        raise LossprintError(f"expected samples in {path}, found none")
    frame = pd.DataFrame(rows, columns=header)
    ids = frame["sample"].tolist()
    for cell, line in zip(ids, lines):
        if not NUMBER.fullmatch(cell):
            raise LossprintError(f"expected a whole number as sample, found {cell[:80]!r} in {line} of {path}")
    frame["sample"] = np.array([int(cell) for cell in ids], np.int64)
    again = frame["sample"].duplicated()
    if again.any():
        at = int(again.to_numpy().argmax())
        raise LossprintError(f"expected each sample once in {path}, found {ids[at]} again in {lines[at]}")
    return frame, outfile.read_record(path)


def _table(path: Path) -> tuple[list[str], list[list[str]], list[str]]:
    """Columns, rows of texts and what each row is called, of a Parquet file."""
    frame = _parquet(path)
    cells = frame.astype(object).where(frame.notna(), "").astype(str).to_numpy().tolist()
    return list(frame.columns), cells, [f"row {number}" for number in range(1, len(frame) + 1)]


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return read_table(path).to_pandas()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise LossprintError(f"expected a coreset in Parquet, found at {path}: {one_line(error)}") from None


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in outfile.PARQUET


def digest(text: str) -> str:
    """Of a CSV, to tell another one from it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def untouched(path: Path, record: dict | None) -> bool | None:
    """Whether a file is the one that its record was written for; None where the record does not say."""
    told = (record or {}).get("sha256")
    if told is None:
        return None
    if _is_parquet(path):  # the record is of the texts
        return told == digest(csv_text(_parquet(path)))
    data = path.read_bytes()
    if data.startswith(BOM.encode()):  # for a spreadsheet: the record is of the texts
        data = csv_text(pd.DataFrame(csv_rows(path)[1], columns=csv_rows(path)[0], dtype=object)).encode()
    return told == hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, eq=False)
class Fit:
    """How a coreset fits a dataset.

    samples: its rows. relabelled: how many have another label than the dataset gives them. of: training samples there.
    fingerprint: whether the dataset is the one of the record; untouched: whether the CSV is; None where it is not said.
    """

    samples: pd.DataFrame
    relabelled: int
    of: int
    fingerprint: bool | None
    untouched: bool | None


def apply(path: str | Path, dataset: str | Path) -> Fit:
    """Check that the samples of a coreset CSV are training samples of a dataset, with these paths, and still there.

    Raises LossprintError, naming the first that is not. Splits are those that the dataset itself has: a validation
    split that an audit drew is not known here, so such samples count as training samples.
    """
    from lossprint.audit.datasets.dataset import open_dataset

    path = Path(path)
    frame, record = read(path)
    there = open_dataset(dataset, check=False, choices=Choices.of(part(record, "run").get("choices", {})))
    rows = there.origin.rows  # all that it lists, also what cannot be read; a sample's id is its position

    def refuse(bad: np.ndarray, expected: str, found) -> None:
        if bad.any():
            raise LossprintError(f"expected {expected} in {path}, found {found(int(bad.argmax()), int(bad.sum()))}")

    ids, paths = frame["sample"].to_numpy(), frame["path"].to_numpy(object)
    refuse(
        ids >= len(rows),
        f"samples of {dataset}, which has {len(rows):,}",
        lambda at, n: f"{n:,} others, such as {ids[at]} ({paths[at]!r})",
    )
    mine = rows.iloc[ids]
    known, split = mine["path"].to_numpy(object), mine["split"].to_numpy(object)
    spelled = Spelled(rows["path"], paths=True)
    refuse(
        np.array([own != one and own != spelled(one) for own, one in zip(known, paths)], bool),
        f"the paths of {dataset}",
        lambda at, n: f"{n:,} others, such as {paths[at]!r} for sample {ids[at]}, there {known[at]!r}",
    )
    refuse(
        np.isin(ids, list(there.faults)),
        f"images that are there in {dataset}",
        lambda at, n: f"{n:,} that are not, such as {paths[at]!r} ({there.faults[int(ids[at])]})",
    )
    refuse(
        split != "train",
        "training samples",
        lambda at, n: f"{n:,} others, such as {paths[at]!r} of the {split[at]} split of {dataset}",
    )
    own, classes = _labels(rows, there.choices)
    labels = frame["label"].map(lambda label: classes(label) or label).to_numpy(object)
    refuse(
        np.array([label not in classes.known for label in labels], bool),
        f"labels of {dataset}",
        lambda at, n: f"{n:,} others, such as {labels[at]!r} for sample {ids[at]}",
    )
    made = part(record, "run").get("fingerprint")
    return Fit(
        frame,
        int((own[ids] != labels).sum()),
        int((rows["split"] == "train").sum()),
        None if made is None else made == there.fingerprint,
        untouched(path, record),
    )


def _labels(rows: pd.DataFrame, choices: Choices) -> tuple[np.ndarray, Spelled]:
    """The labels (N,) that a dataset's rows have, in the spelling that was asked for, and the classes."""
    labels = spelling(rows["label"], choices.normalise_labels)[0]
    return labels.to_numpy(object), Spelled(dict.fromkeys(labels))


def part(record: dict | None, name: str) -> dict:
    """A part of a record that was read from a file, empty where there is no such part."""
    found = (record or {}).get(name)
    return found if isinstance(found, dict) else {}
