"""The dataset of a run before and after the review, read from what `lossprint export cleaned` wrote."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from lossprint.audit.export.outfile import PARQUET, read_record
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.run import Run
from lossprint.audit.system.csvrows import csv_rows
from lossprint.audit.system.parquet import read_table
from lossprint.audit.types import LossprintError, one_line


@dataclass(frozen=True, eq=False)
class Cleaned:
    """The run's samples, ordered by id, before and after: class indices (N,) int64, -1 in `decided` for excluded.

    classes: the run's, and after them those that its reviewers added.
    """

    samples: pd.DataFrame
    given: np.ndarray
    decided: np.ndarray
    split: np.ndarray
    classes: list[str]
    record: dict

    def rows(self, split: str) -> np.ndarray:
        return np.flatnonzero(self.split == split)

    def changed(self, split: str) -> tuple[int, int]:
        """How many samples of a split are relabelled, and how many excluded."""
        mine = self.split == split
        gone = self.decided < 0
        return int((mine & ~gone & (self.decided != self.given)).sum()), int((mine & gone).sum())


def read_cleaned(run: Run, out: str | Path) -> Cleaned:
    """What `lossprint export cleaned` wrote (FILE.csv, FILE.parquet, or a folder or its labels.csv), beside the run.

    Raises LossprintError where it is no such export, is of another dataset, has unknown labels or changes no training
    sample, and where the run has no validation split.
    """
    out = Path(out)
    table = _table(out / "labels.csv" if out.is_dir() else out)
    record = read_record(out) or {}
    made, known = (record.get("run") or {}).get("fingerprint"), run.manifest["dataset"].get("fingerprint")
    if made and known and made != known:
        raise LossprintError(
            f"expected a cleaned version of the dataset of {run.path}, found one of {record.get('dataset')} ({out})"
        )
    samples = run.samples().sort_values("sample", ignore_index=True)
    paths = pd.Index(samples["path"].astype(str))
    if not paths.is_unique:
        twice = paths[paths.duplicated()][0]
        raise LossprintError(
            f"expected each path once in {run.path}, found {twice!r} again: cannot tell which is which"
        )
    at = paths.get_indexer(table["path"])
    if (at < 0).any():
        raise LossprintError(
            f"expected the paths of the dataset of {run.path}, found {int((at < 0).sum()):,} of {len(at):,} that it "
            f"does not have, such as {table['path'][at < 0].iloc[0]!r} ({out})"
        )
    if len(np.unique(at)) < len(at):
        raise LossprintError(
            f"expected each path once, found {table['path'][pd.Series(at).duplicated()].iloc[0]!r} again ({out})"
        )
    split = samples["split"].to_numpy(str)
    if not (split == "val").any():
        raise LossprintError(f"expected a validation split to compare on, found none in {run.path}")
    moved = table["split"].to_numpy(str) != split[at]
    if moved.any():
        raise LossprintError(
            f"expected the splits of {run.path}, found {table['path'][moved].iloc[0]!r} in another ({out})"
        )
    with open_reviews(run) as reviews:
        classes = pd.Index(reviews.classes())
    labels = classes.get_indexer(table["label"])
    if (labels < 0).any():
        raise LossprintError(f"expected labels of {run.path}, found {table['label'][labels < 0].iloc[0]!r} ({out})")
    other = table["given_label"].to_numpy(str) != samples["label"].to_numpy(str)[at]
    if other.any():
        raise LossprintError(
            f"expected the given labels of {run.path}, found another of {table['path'][other].iloc[0]!r} ({out})"
        )
    decided = np.full(len(samples), -1, np.int64)
    decided[at] = labels
    found = Cleaned(samples, classes.get_indexer(samples["label"].astype(str)), decided, split, list(classes), record)
    if found.changed("train") == (0, 0):
        raise LossprintError(
            f"expected changed training samples, found none in {out}: decide on some, and export them anew"
        )
    if not ((split == "train") & (decided >= 0)).any():
        raise LossprintError(f"expected training samples that are left, found all of them excluded ({out})")
    return found


def _table(file: Path) -> pd.DataFrame:
    """path, label and split of an export, as text."""
    names = ["path", "label", "split"]
    try:
        if file.suffix.lower() in PARQUET:
            table = read_table(file).to_pandas()
        else:
            os.stat(file)
            header, rows, _ = csv_rows(file)
            table = pd.DataFrame(rows, columns=header, dtype=str)
    except FileNotFoundError:
        raise LossprintError(f"expected what `lossprint export cleaned` wrote, found nothing at {file}") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        text = one_line(error)
        raise LossprintError(f"expected what `lossprint export cleaned` wrote at {file}, found: {text}") from None
    if "source" in table:  # of an exported folder: its own paths are new, these are the dataset's
        table["path"] = table["source"]
    lacking = [name for name in (*names, "given_label") if name not in table]
    if lacking:
        raise LossprintError(
            f"expected what `lossprint export cleaned` wrote, found no column {', '.join(lacking)} in {file}"
        )
    names = [*names, "given_label"]
    return table[names].astype(str)
