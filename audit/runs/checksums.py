"""What the files of a run were when their stage was finished: RUN/checksums.json, the size and digest of each.

A stage's files are listed just before run.json says that it is done, and no longer once it is opened again or a file is
written anew; a run of an earlier version has no list. Scoring compares what it is about to read (`refuse_damaged`),
`lossprint verify` everything. 1.1 s a gigabyte (BLAKE2b, one core at 2.5 GHz or so).
"""

import fnmatch
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from lossprint.audit.system.atomic import WATCHERS, write_text
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.types import LossprintError, one_line

LIST, RUN = "checksums.json", "run.json"
DEPTH = 6  # folders from a file to its run: members/seed=00001/trajectories/split=val/checkpoint=00001/rank-0.parquet
STAGES = {  # patterns of fnmatch, whose * also stands for folders
    "record": (
        "samples.parquet",
        "unreadable.parquet",
        "further.parquet",
        "trajectories/*.parquet",
        "checkpoints/*",
        "members/*",
        "head.parquet",
    ),
    "curvature": ("curvature/*.parquet",),
    "embed": (
        *("embeddings.safetensors", "duplicates.parquet", "aside.parquet", "quality.parquet", "timeline.safetensors"),
        "temporal/*.safetensors",
    ),
    "score": ("scores.parquet", "pairs.parquet", "label_scores.parquet", "frames.parquet", "spans.parquet"),
    "find": ("findings.parquet", "layout.parquet"),
}
FOLDERS = ("trajectories", "checkpoints", "members", "curvature", "temporal")
SCORING = (
    "samples.*",
    "trajectories/*",
    "members/*.parquet",
    "curvature/*",
    "embeddings.*",
    "duplicates.*",
    "aside.*",
    "timeline.*",
    "head.*",
)
Listed = dict[str, list]  # relative path -> [bytes, digest]


def stage_of(name: str) -> str | None:
    """The stage that leaves a file, by its path in the run folder; None for what no stage leaves."""
    if Path(name).name.startswith(".") or Path(name).name == "resume.safetensors":
        return None
    found = (stage for stage, patterns in STAGES.items() if any(fnmatch.fnmatchcase(name, one) for one in patterns))
    return next(found, None)


def present(run: Path) -> list[str]:
    """The files of stages that are in a run folder, sorted, as paths in it."""
    files = [*run.glob("*.*"), *(file for folder in FOLDERS for file in (run / folder).rglob("*.*"))]
    names = (file.relative_to(run).as_posix() for file in files if file.is_file())
    return sorted(name for name in names if stage_of(name))


def listed(run: Path) -> Listed:
    """The files of a run whose size and digest are known. Raises LossprintError where the list cannot be read."""
    try:
        files = parsed((run / LIST).read_text(encoding="utf-8"))["files"]
        if all(isinstance(one, list) and [*map(type, one)] == [int, str] for one in files.values()):
            return files
        error = "other values"
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as found:
        error = one_line(found)
    raise LossprintError(f"expected sizes and digests in {run / LIST}, found: {error}; remove it to do without")


def list_stage(run: Path, stage: str) -> None:
    """A stage's files are all there: list them, and those of earlier stages that are not listed."""
    before, order = _kept(run), list(STAGES)
    upto = order[: order.index(stage) + 1]
    names = [name for name in present(run) if stage_of(name) in upto]
    fresh = {name: of(run / name) for name in names if name not in before or stage_of(name) == stage}
    _write(run, {name: before.get(name) for name in names} | fresh)


def unlist(run: Path, stages: Iterable[str]) -> None:
    """Only these stages are done from now on: forget what others have left."""
    before, stages = _kept(run), set(stages)
    kept = {name: one for name, one in before.items() if stage_of(name) in stages}
    if kept != before:
        _write(run, kept)


def forget(file: Path) -> None:
    """A file is about to be written anew or removed: what is listed of it holds no longer."""
    if file.name in (RUN, LIST):
        return
    for run in list(file.parents)[:DEPTH]:
        if (run / RUN).exists():
            if (run / LIST).exists() and (name := file.relative_to(run).as_posix()) in (before := _kept(run)):
                _write(run, {other: one for other, one in before.items() if other != name})
            return


def sweep(run: Path) -> None:
    """Remove what killed writes of stages have left; for the one process that writes the run, see `locks.writing`."""
    for part in [*run.glob(".*.part"), *(part for name in FOLDERS for part in (run / name).rglob(".*.part"))]:
        name = part.with_name(part.name[1:].rsplit(".", 2)[0]).relative_to(run).as_posix()
        if stage_of(name) or name in (RUN, LIST):
            part.unlink(missing_ok=True)


def of(file: Path) -> list:
    """The size in bytes and the digest of a file's bytes."""
    with open(file, "rb") as content:
        digest = hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        return [content.tell(), digest]


def fault(run: Path, name: str, expected: list, quick: bool = False) -> tuple[str, str] | None:
    """What is wrong with a listed file: what was expected and found; None where nothing is. `quick`: only its size."""
    file = run / name
    try:
        size = file.stat().st_size
        if size != expected[0]:
            return f"{expected[0]:,} bytes", f"{size:,}"
        return None if quick or of(file) == expected else ("the bytes that were written", "others")
    except FileNotFoundError:
        return "a file", "none"
    except OSError as error:
        return "a readable file", str(error.strerror or error)


def refuse_damaged(run: Path, stages: Iterable[str], patterns: tuple[str, ...] = SCORING) -> None:
    """Raise LossprintError where a listed file of finished stages is not what was written."""
    stages = set(stages)
    for name, expected in listed(run).items():
        if stage_of(name) in stages and any(fnmatch.fnmatchcase(name, one) for one in patterns):
            wrong = fault(run, name, expected)
            if wrong and listed(run).get(name) == expected:  # else another process has just written it anew
                raise LossprintError(
                    f"expected {wrong[0]} at {run / name}, found: {wrong[1]}; see lossprint verify {run}"
                )


def _kept(run: Path) -> Listed:
    """As `listed`; a list that cannot be read is as none, and the next stage makes a new one."""
    try:
        return listed(run)
    except LossprintError:
        return {}


def _write(run: Path, files: Listed) -> None:
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(files[name])}" for name in sorted(files))
    write_text(run / LIST, f'{{\n "digest": "BLAKE2b, 16 bytes",\n "files": {{\n{lines}\n }}\n}}\n')


WATCHERS.append(forget)  # what writes a run's file has imported this module: all of a run's files are `Run`'s
