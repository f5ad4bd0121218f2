"""What a run folder keeps beside its audit: results of `lossprint check`, annotators' votes, what it is about.

RUN/checks/NAME.json and .parquet; description.txt; repair.json, what `lossprint repair` came to; votes.parquet, and
what counting these gives: consensus.parquet, annotators.parquet and counted.parquet. Like decisions they come and go
after a run is whole.
"""

import json

import pandas as pd
import pyarrow as pa

from lossprint.audit.runs import checked
from lossprint.audit.runs.run import Run
from lossprint.audit.runs.tables import ANNOTATORS, CHECKED, CONSENSUS, COUNTED, SURE, VOTES
from lossprint.audit.system.atomic import refuse_pipe, remove, write_table, write_text
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.system.parquet import read_table
from lossprint.audit.types import LossprintError, one_line

DESCRIPTION = "description.txt"
LONGEST = 2000  # characters of a description


def write_check(run: Run, name: str, result: dict, frame: pd.DataFrame) -> None:
    """Keep what `lossprint check` says of a batch, in the place of an earlier result of that name."""
    table = pa.Table.from_pandas(frame[CHECKED.names], schema=CHECKED, preserve_index=False)
    write_table(run.path / "checks" / f"{name}.parquet", table)
    write_text(run.path / "checks" / f"{name}.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def checks(run: Run) -> list[str]:
    """The names of the batches that were checked, the latest first."""
    files = [file for file in (run.path / "checks").glob("*.json") if file.with_suffix(".parquet").exists()]
    return [file.stem for file in sorted(files, key=lambda file: (-file.stat().st_mtime, file.name))]


def check(run: Run, name: str) -> tuple[dict, pd.DataFrame]:
    """What was kept of a batch: the result and a row an image, columns `CHECKED`. LossprintError where damaged."""
    file = run.path / "checks" / f"{name}.parquet"
    try:
        for one in (file, file.with_suffix(".json")):
            refuse_pipe(one)
        table = read_table(file, **SURE)
        result = parsed(file.with_suffix(".json").read_text(encoding="utf-8"))
        return checked.check_result(result), checked.frame(table, "check.parquet")
    except checked.DAMAGED as error:
        raise LossprintError(f"expected a readable check {name!r} in {run.path}, found: {one_line(error)}") from None


def write_repair(run: Run, result: dict) -> None:
    """Keep what `lossprint repair` says, in the place of an earlier result."""
    write_text(run.path / "repair.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def repair(run: Run) -> dict | None:
    """What was kept of the latest repair, None without one. LossprintError where it is damaged."""
    file = run.path / "repair.json"
    if not file.exists():
        return None
    try:
        refuse_pipe(file)
        return checked.repair_result(parsed(file.read_text(encoding="utf-8")))
    except checked.DAMAGED as error:
        raise LossprintError(f"expected a readable repair.json in {run.path}, found: {one_line(error)}") from None


def write_votes(run: Run, frame: pd.DataFrame) -> None:
    """Keep annotators' votes in the place of earlier ones: sample, annotator, label, missing where one abstained."""
    write_table(run.path / "votes.parquet", pa.Table.from_pandas(frame, schema=VOTES, preserve_index=False))


def votes(run: Run) -> pd.DataFrame | None:
    """The votes that were imported, columns `VOTES`; None without any."""
    return run.table("votes.parquet") if (run.path / "votes.parquet").exists() else None


def write_consensus(run: Run, consensus: pd.DataFrame, annotators: pd.DataFrame, counted: pd.DataFrame) -> None:
    """Keep what counting the votes gave."""
    for name, schema, frame in (
        ("counted", COUNTED, counted),
        ("annotators", ANNOTATORS, annotators),
        ("consensus", CONSENSUS, consensus),
    ):
        table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
        write_table(run.path / f"{name}.parquet", table)


def consensus(run: Run) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame] | None:
    """The tables of `write_consensus`, or None where no votes were counted."""
    names = ("consensus.parquet", "annotators.parquet", "counted.parquet")
    if not all((run.path / name).exists() for name in names):
        return None
    return tuple(run.table(name) for name in names)


def consensus_stamp(run: Run) -> int:
    """When votes were counted last, in nanoseconds; 0 without."""
    file = run.path / "consensus.parquet"
    return file.stat().st_mtime_ns if file.exists() else 0


def describe(run: Run, text: str) -> None:
    """Keep what a run is about, in the words of its owner; an empty text is none. LossprintError where it is long."""
    text = text.strip()
    if len(text) > LONGEST:
        raise LossprintError(f"expected a description of at most {LONGEST:,} characters, found {len(text):,}")
    if text:
        write_text(run.path / DESCRIPTION, text + "\n")
    else:
        remove(run.path / DESCRIPTION)


def description(run: Run) -> str:
    """What a run is about; empty where nobody said, or it cannot be read."""
    file = run.path / DESCRIPTION
    try:
        refuse_pipe(file)
        with open(file, encoding="utf-8", errors="replace") as opened:
            return opened.read(LONGEST).strip()
    except OSError:
        return ""
