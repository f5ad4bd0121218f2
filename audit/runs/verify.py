"""What is whole in a run folder, what is missing or damaged: what `lossprint verify` says. Nothing is changed.

The files of finished stages are compared with checksums.json, see `checksums`; others, of an older version or of a
stage that is half written, are read. What the tables say is compared with each other. Evaluations, coresets, exports
and decisions come and go after a run is whole: they are only read. Images are not part of a run.
"""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lossprint.audit.runs import checksums
from lossprint.audit.runs.open import how_far, open_run
from lossprint.audit.runs.run import STAGES, WHOLE, Run
from lossprint.audit.runs.tables import SURE
from lossprint.audit.runs.tensors import check_seal
from lossprint.audit.system import sqlite
from lossprint.audit.system.locks import writing
from lossprint.audit.system.parquet import opened, read_table
from lossprint.audit.types import LossprintError, one_line

WRONG = ("missing", "damaged", "unfinished")  # the other words, left over and note, are no fault of the run
TABLES = {"score": ("scores.parquet", "pairs.parquet"), "find": ("findings.parquet",)}
HEAD = "head.parquet"  # only of runs on frozen features
AFTER = (
    *("evaluation.parquet", "overlap.parquet", "comparison.parquet"),
    *("votes.parquet", "consensus.parquet", "annotators.parquet", "counted.parquet"),
    *("responses.parquet", "exposure.parquet", "memorization.parquet", "description.txt"),
)


@dataclass(frozen=True)
class Line:
    """One thing to say: a word of `WRONG`, left over or note; where, as a path in the run; what is expected."""

    word: str
    where: str
    text: str


@dataclass(frozen=True)
class Verified:
    """All that there is to say of a run, and of how many files and bytes: compared with a checksum, or only read."""

    lines: list[Line]
    compared: int
    size: int
    read: int

    @property
    def whole(self) -> bool:
        return not any(line.word in WRONG for line in self.lines)

    def count(self, word: str) -> int:
        return sum(line.word == word for line in self.lines)


def verify(path: str | Path, quick: bool = False, progress: Callable[[int], None] = lambda size: None) -> Verified:
    """Look at every file of a run, half written or whole. `quick` compares sizes and counts only, and reads no content.

    `progress` is told the size of each file that was looked at. Raises LossprintError where there is no run, or none
    with a readable run.json.
    """
    run, lines = open_run(path, need=None), []
    try:
        with writing(run.path):
            pass
    except LossprintError:
        lines.append(Line("note", ".", "another process is writing this run now: look again when it is done"))
    try:
        known = checksums.listed(run.path)
    except LossprintError as error:
        known = {}
        lines.append(Line("damaged", checksums.LIST, str(error)))
    done = {name: one for name, one in known.items() if checksums.stage_of(name) in run.stages}
    size, bad = 0, set()
    for name, expected in done.items():
        if wrong := checksums.fault(run.path, name, expected, quick):
            word = "damaged" if (run.path / name).exists() else "missing"
            lines.append(Line(word, name, "expected {}, found {}".format(*wrong)))
            bad.add(name)
        size += expected[0]
        progress(expected[0])
    others = [name for name in _files(run.path) if name not in done]
    for name in others:
        wrong = _unreadable(run.path / name, quick)
        if wrong:
            lines.append(Line("damaged", name, wrong))
            bad.add(name)
        progress((run.path / name).stat().st_size)
    lines += _tables(run, bad, quick)
    lines += _left_over(run)
    lines += _half_written(run)
    if run.stages and not known:
        lines.append(Line("note", ".", "no checksums: the run was made by an older version; files were only read"))
    order = ("missing", "damaged", "unfinished", "left over", "note")
    lines = sorted(dict.fromkeys(lines), key=lambda line: (order.index(line.word), line.where))
    return Verified(lines, len(done), size, len(others))


# ------------------------------------------------------------------------------------------------- one file


def _files(run: Path) -> list[str]:
    """What is looked at: the files of stages, the training state, and what came after."""
    more = [*AFTER, "repair.json", "resume.safetensors", "reviews.db"]
    more += [one.relative_to(run).as_posix() for one in run.glob("members/*/resume.safetensors")]
    for folder in ("exports", "selections", "checks"):
        more += [one.relative_to(run).as_posix() for one in sorted((run / folder).glob("*"))]
    return [*checksums.present(run), *(name for name in more if (run / name).is_file())]


def _unreadable(file: Path, quick: bool) -> str | None:
    """Why a file cannot be read, in one line, or None."""
    try:
        if file.suffix == ".parquet":
            with opened(file, **SURE) as table:
                for group in range(0 if quick else table.num_row_groups):
                    table.read_row_group(group)
        elif file.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(file, framework="numpy"):
                pass
            if not quick:
                check_seal(file)
        elif file.name == "reviews.db":
            return _database_fault(file, quick)
        else:
            with open(file, "rb") as content:
                content.read(1)
    except Exception as error:  # the readers raise errors of many kinds on damaged bytes
        return f"expected a readable file, found: {one_line(error)}"
    return None


def _database_fault(file: Path, quick: bool) -> str | None:
    """What SQLite itself says of its file; where none can be written, it is read without its log's index."""
    check = "PRAGMA quick_check(1)" if quick else "PRAGMA integrity_check(1)"
    for mode in ("mode=ro", "immutable=1"):
        try:
            connection = sqlite3.connect(f"file:{quote(str(file.absolute()))}?{mode}", uri=True, timeout=20)
            try:
                sqlite.guard(connection)
                sqlite.refuse_odd(lambda query, ask=connection.execute: ask(query).fetchall(), file)
                found = connection.execute(check).fetchone()[0]
            finally:
                connection.close()
            return None if found == "ok" else f"expected a whole database, found: {' '.join(found.split())[:300]}"
        except LossprintError as error:
            return str(error)
        except sqlite3.Error as error:
            wrong = f"expected a readable database, found: {error}"
            if not any(words in str(error) for words in ("unable to open", "readonly", "disk I/O error")):
                break
    return wrong


# ----------------------------------------------------------------------------------------- what belongs together


def _tables(run: Run, bad: set[str], quick: bool) -> Iterator[Line]:
    """Whether tables that must be there are, and say the same of how many samples and checkpoints there are."""
    if not run.has_samples():
        if run.stages or run.recorded("train"):
            yield Line("missing", "samples.parquet", "expected the samples, found no file")
        return
    if "samples.parquet" in bad:
        return
    try:
        samples = run.table("samples.parquet", columns=["sample", "split"])
    except LossprintError as error:
        yield Line("damaged", "samples.parquet", str(error))
        return
    ids = {split: np.sort(rows["sample"].to_numpy(np.int64)) for split, rows in samples.groupby("split")}
    yield from _checkpoints(run)
    facts = run.manifest["facts"].get("record", {})
    partial = run.manifest.get("recording") == "by-product" or facts.get("incomplete", 0) or not facts
    for one, within in ((run, partial), *((run.member(name), True) for name in _members(run))):
        yield from _parts(run.path, one.path / "trajectories", ids, bad, quick, within)
    everything = np.concatenate([np.empty(0, np.int64), *ids.values()])
    yield from _parts(run.path, run.path / "curvature", {None: everything}, bad, quick, True)
    for stage, names in TABLES.items():
        for name in names if stage in run.stages else ():
            yield from _table(run, name, len(ids.get("train", ())), np.sort(everything), bad, quick)
    if "record" in run.stages and (run.path / HEAD).exists():
        yield from _table(run, HEAD, len(ids.get("train", ())), np.sort(everything), bad, quick)


def _members(run: Run) -> list[str]:
    folder = run.path / "members"
    return sorted(one.name for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []


def _checkpoints(run: Run) -> Iterator[Line]:
    """Checkpoints must be recorded for train and val, as many as run.json says."""
    train, val = (set(run.recorded(split)) for split in ("train", "val"))
    word = "missing" if "record" in run.stages else "unfinished"
    if run.manifest["asked"].get("new") is None and (val or "record" not in run.stages):
        for one in sorted(train ^ val):
            has, lacks = ("train", "val") if one in train else ("val", "train")
            text = f"expected checkpoint {one} of train and val, found it of {has} only"
            yield Line(word, f"trajectories/split={lacks}/checkpoint={one:05d}", text)
    expected = run.manifest["facts"].get("record", {}).get("checkpoints")
    if "record" in run.stages and isinstance(expected, int) and len(train) < expected:
        text = f"expected {expected:,} checkpoints, found {len(train):,}"
        yield Line("missing", "trajectories/split=train", text)
    measured = run.manifest["facts"].get("curvature", {}).get("checkpoints")
    if "curvature" in run.stages and isinstance(measured, list):
        for one in sorted(set(measured) - set(run.curvature_recorded())):
            yield Line(
                "missing", f"curvature/checkpoint={one:05d}", "expected the curvature measured there, found none"
            )


def _parts(run: Path, folder: Path, ids: dict, bad: set[str], quick: bool, partial: bool) -> Iterator[Line]:
    """Parts of a checkpoint: all processes' or none, each sample once, none that the run does not know."""
    for place in sorted({file.parent for file in folder.rglob("rank-*.parquet")}):
        where = place.relative_to(run).as_posix()
        files = sorted(place.glob("rank-*.parquet"))
        if not (place / WHOLE).exists():
            text = f"expected {WHOLE} beside {files[0].name}, found none: cut off, or left by an earlier start"
            yield Line("unfinished", where, text)
            continue
        if bad & {file.relative_to(run).as_posix() for file in files}:
            continue
        known = ids.get(None) if None in ids else ids.get(place.parent.name.removeprefix("split="))
        known = np.empty(0, np.int64) if known is None else known
        try:
            if quick:
                count = sum(pq.read_metadata(file).num_rows for file in files)
            else:
                columns = [read_table(file, ["sample"], **SURE) for file in files]
                found = pa.concat_tables(columns)["sample"].to_numpy()
                count, twice = len(found), len(found) - len(np.unique(found))
                if twice:
                    text = f"expected each sample once, found {twice:,} twice in {len(files)} files: one is stale"
                    yield Line("damaged", where, text)
                    continue
                if unknown := int((~np.isin(found, known)).sum()):
                    text = f"expected samples that samples.parquet has in this split, found {unknown:,} others"
                    yield Line("damaged", where, text)
                    continue
        except Exception as error:  # as in `_unreadable`
            yield Line("damaged", where, f"expected readable parts, found: {one_line(error)}")
            continue
        if count > len(known) or (count < len(known) and not partial):
            yield Line("damaged", where, f"expected {len(known):,} samples, found {count:,}")


def _table(run: Run, name: str, train: int, known: np.ndarray, bad: set[str], quick: bool) -> Iterator[Line]:
    file = run.path / name
    if not file.exists():
        yield Line("missing", name, "expected a file, found none")
        return
    if name in bad:
        return
    try:
        rows = pq.read_metadata(file).num_rows
        if name in ("scores.parquet", HEAD) and rows != train:
            yield Line("damaged", name, f"expected {train:,} training samples, found {rows:,}")
        if not quick:
            found = read_table(file, ["sample"], **SURE)["sample"].to_numpy()
            if unknown := int((~np.isin(found, known)).sum()):
                yield Line("damaged", name, f"expected samples that samples.parquet has, found {unknown:,} others")
    except Exception as error:  # as in `_unreadable`
        yield Line("damaged", name, f"expected a readable table, found: {one_line(error)}")


def _left_over(run: Run) -> Iterator[Line]:
    """What killed writes have left: nothing reads it, and the next resume or score removes it."""
    for part in sorted(run.path.rglob(".*.part")):
        yield Line("left over", part.relative_to(run.path).as_posix(), "a write that was cut off; nothing reads it")
    if (run.path / ".scoring").exists():
        yield Line("left over", ".scoring", "scoring that was cut off; the next lossprint score removes it")
    if "record" in run.stages and (run.path / "resume.safetensors").exists():
        yield Line("left over", "resume.safetensors", "the state of a training that is done; it can be removed")


def _half_written(run: Run) -> Iterator[Line]:
    if "find" not in run.stages:
        done = ", ".join(run.stages) or "none"
        yield Line("unfinished", ".", f"of the stages {', '.join(STAGES)} done: {done}; {how_far(run)}")
