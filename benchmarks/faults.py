"""What is lost when a process is killed: SIGKILL at random moments of every stage, and then to the end.

    python benchmarks/faults.py [--kills 200] [--seed 0] [--stages record score ...]

Every stage runs in a process of its own on a tiny dataset (60 training images, 3 epochs). It is killed, its whole
process group, at a moment drawn evenly from the time that it takes undisturbed, up to three times in a row, and begun
again as a user would; then it runs to the end. What lies there must be what an undisturbed process leaves, to the byte,
and `lossprint verify` must call the run whole. Ignored: times and what is signed with them
(IGNORED in JSON, `seconds` in tables of trainings).

Decisions go to SQLite, and to PostgreSQL where it is installed, one after the other; each that was acknowledged must be
there, once. One that was not acknowledged is sent again, with its token, and must not be there twice.

A fork of one process that has imported everything takes milliseconds to start: so 200 kills take minutes.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from faults_stages import (  # beside this file
    DECISIONS,
    acknowledged,
    audit,
    back_to,
    decide,
    export,
    loop,
    lossprint,
    make_data,
    stored,
    whole,
)

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy: a process with threads cannot be forked safely
TESTS = Path(__file__).resolve().parent.parent / "tests" / "support"
IGNORED = {"created", "seconds", "written", "at", "exported", "date", "place"}  # place: signed with `created`
SHARES = {  # of the kills
    "record": 42, "loop": 20, "curvature": 20, "embed": 10, "score": 24, "find": 10, "export": 24, "report": 10,
    "evaluate": 10, "SQLite": 16, "PostgreSQL": 14,
}  # fmt: skip
IN_A_ROW, PATIENCE = 3, 180
LITTER = (".part", ".unfinished")  # a file, a folder


@dataclass
class Stage:
    """What is killed: `begin` makes the folder that it starts from, `work` is the process, `lost` the bytes missing."""

    name: str
    begin: Callable[[Path], None]
    work: Callable[[Path], None]
    lost: Callable[[Path], dict[str, int]]


@dataclass
class Count:
    """Of a stage: kills, trials that ended well of all, bytes lost, for decisions what was lost or doubled.

    litter: temporary files that are still there in the end, under names that nothing reads.
    """

    kills: int = 0
    trials: int = 0
    well: int = 0
    lost: int = 0
    acknowledged: int = 0
    gone: int = 0
    doubled: int = 0
    litter: int = 0
    faults: list[str] = field(default_factory=list)


# ------------------------------------------------------------------------------------------------- processes


def fork(work: Callable[[], None], log: Path) -> int:
    """Start a process that does the work, the leader of its own group; its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        with suppress(OSError):  # it may have done so itself
            os.setpgid(pid, pid)
        return pid
    status = 1
    try:
        os.setpgid(0, 0)
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        work()
        status = 0
    except BaseException as error:  # told by the log and the exit status
        import traceback

        with suppress(OSError):
            os.write(2, "".join(traceback.format_exception(error)).encode())
    finally:
        os._exit(status)


def ended(pid: int, seconds: float) -> int | None:
    """The exit status of a process (negative: its signal), or None where it still runs after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            return None
        time.sleep(min(0.002, max(deadline - time.monotonic(), 0)))


def to_the_end(work: Callable[[], None], log: Path) -> str | None:
    """Run to the end; what went wrong, or None."""
    pid = fork(work, log)
    status = ended(pid, PATIENCE)
    if status == 0:
        return None
    if status is None:
        kill(pid)
        return f"still at work after {PATIENCE} s"
    said = log.read_text(errors="replace").strip().splitlines()
    return f"exit status {status}: {said[-1][:300] if said else ''}"


def kill(pid: int) -> bool:
    """Kill a process and its group; whether it was still at work."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def trial(stage: Stage, folder: Path, seconds: float, draw: random.Random, count: Count, most: int) -> float:
    """Begin, kill up to `most` times in a row, run to the end and compare; how long the stage takes by now."""
    log, hits = folder.with_name(f"{folder.name}.log"), 0
    log.unlink(missing_ok=True)
    prepared = to_the_end(lambda: stage.begin(folder), log)
    if prepared:
        raise RuntimeError(f"{stage.name} cannot begin: {prepared}")
    for _ in range(min(draw.choice((1, 1, 2, IN_A_ROW)), most)):
        began = time.perf_counter()
        pid = fork(lambda: stage.work(folder), log)
        status = ended(pid, draw.uniform(0, seconds))
        if status is not None:  # quicker than the clock said, or it failed, which the last start will show again
            seconds = min(seconds, time.perf_counter() - began) if not (hits or status) else seconds
            break
        hits += kill(pid)
    wrong = to_the_end(lambda: stage.work(folder), log)
    count.kills += hits
    count.trials += 1
    try:
        missing = {} if wrong else stage.lost(folder)
    except (OSError, ValueError) as error:
        missing, wrong = {}, f"cannot be compared: {error}"
    count.lost += sum(missing.values())
    if wrong or missing:
        where = f"{stage.name}, after {hits} kills"
        count.faults.append(f"{where}: {wrong or 'other bytes in ' + ', '.join(sorted(missing)[:5])}")
    else:
        count.well += 1
        count.litter += len({file for end in LITTER for file in folder.rglob(f".*{end}")})
        shutil.rmtree(folder, ignore_errors=True)
    return seconds


# ------------------------------------------------------------------------------------------------- what is compared


def contents(folder: Path) -> dict[str, Path]:
    """The files of a folder by name, without SQLite's own, which no two databases have alike, and without litter."""
    files = [file.relative_to(folder) for file in sorted(folder.rglob("*")) if file.is_file()]
    files = [file for file in files if not file.name.startswith("reviews.db")]
    temporary = {file for file in files if any(one[0] == "." and one.endswith(LITTER) for one in file.parts)}
    return {file.as_posix(): folder / file for file in files if file not in temporary}


def without_times(value):
    if isinstance(value, dict):
        return {name: without_times(one) for name, one in value.items() if name not in IGNORED}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def plain(file: Path, place: Path) -> bytes | str:
    """What of a file must be the same, wherever its run lies."""
    if file.name in ("evaluation.parquet", "overlap.parquet"):
        import pyarrow.parquet as pq  # on one thread: see OMP_NUM_THREADS

        table = pq.read_table(file, use_threads=False, partitioning=None)
        return json.dumps(table.drop_columns([n for n in ("seconds",) if n in table.column_names]).to_pylist())
    if file.name == "run.json" or file.name.endswith((".csv.json", ".parquet.json")) or file.name == "export.json":
        value = without_times(json.loads(file.read_text(encoding="utf-8")))
        return json.dumps(value).replace(str(place), "PLACE")
    if file.suffix == ".html":  # the report's time and the folder's name
        text = file.read_text(encoding="utf-8").replace(str(place), "PLACE")
        return re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?", "TIME", text)
    return file.read_bytes()


def lost_bytes(found: Path, expected: Path) -> dict[str, int]:
    """Of each file that is missing, different or too many, the bytes that it should have had (at least 1)."""
    ours, theirs = contents(found), contents(expected)
    wrong = {name: max(file.stat().st_size, 1) for name, file in theirs.items() if name not in ours}
    wrong |= {name: 1 for name in ours if name not in theirs}
    for name in ours.keys() & theirs.keys():
        if plain(ours[name], found) != plain(theirs[name], expected):
            wrong[name] = max(theirs[name].stat().st_size, 1)
    return wrong


def lost_decisions(folder: Path, count: Count) -> dict[str, int]:
    """Decisions that were acknowledged and are gone, or are there twice; also counted."""
    told, there = acknowledged(folder), [tuple(one) for one in json.loads((folder / "stored").read_text())]
    tokens = [token for _, token in there]
    gone = {token: 1 for number, token in told if (number, token) not in there}
    twice = {f"{token} (twice)": 1 for token in set(tokens) if tokens.count(token) > 1}
    every = {f"{folder.name}-{number}" for number in range(DECISIONS)}
    never = dict.fromkeys(every - set(tokens), 1)
    count.acknowledged += len(told)
    count.gone += len(gone)
    count.doubled += len(tokens) - len(set(tokens))
    return gone | twice | never


def stages(place: Path, names: list[str], counts: dict[str, Count], server: str | None) -> list[Stage]:
    """The stages of these names. `place` has the undisturbed folders: data, record, loop, export, report, evaluate."""
    data, run = place / "data" / "labels.csv", place / "whole" / "record"

    def copied(source: Path) -> Callable[[Path], None]:
        return lambda folder: shutil.copytree(source, folder)

    def again(stage: str) -> Callable[[Path], None]:
        def begin(folder: Path) -> None:
            shutil.copytree(run, folder)
            back_to(stage, folder)

        return begin

    def rescored(folder: Path) -> None:
        lossprint("score", folder, "--quiet")
        whole(folder)

    def evaluated(folder: Path) -> None:
        options = ["--methods", "random", "csl_easy", "--fractions", "0.5", "--seeds", 2, "--steps", 6, "--jobs", 1]
        lossprint("coreset", "evaluate", folder, *options, "--quiet")
        whole(folder)

    def like(name: str) -> Callable[[Path], dict[str, int]]:
        return lambda folder: lost_bytes(folder, place / "whole" / name)

    def nothing(folder: Path) -> None:
        folder.mkdir()

    def exported(folder: Path) -> None:
        export(run, folder)

    def reported(folder: Path) -> None:
        lossprint("report", run, "--out", folder / "report.html")

    def decisions(name: str, url: str | None) -> Stage:
        def where(folder: Path) -> Path:
            return run if url else folder / "run"

        def begin(folder: Path) -> None:
            folder.mkdir()
            if not url:
                shutil.copytree(run, folder / "run")

        def work(folder: Path) -> None:
            decide(where(folder), url, folder)
            stored(where(folder), url, folder)

        return Stage(name, begin, work, lambda folder: lost_decisions(folder, counts[name]))

    found = {
        "record": Stage("record", lambda folder: None, lambda folder: audit(data, folder), like("record")),
        "loop": Stage("loop", lambda folder: None, lambda folder: loop(data, folder), like("loop")),
        "score": Stage("score", copied(run), rescored, like("record")),
        "export": Stage("export", nothing, exported, like("export")),
        "report": Stage("report", nothing, reported, like("report")),
        "evaluate": Stage("evaluate", copied(run), evaluated, like("evaluate")),
        "SQLite": decisions("SQLite", None),
        "PostgreSQL": decisions("PostgreSQL", server),
    }
    for name in ("curvature", "embed", "find"):
        found[name] = Stage(name, again(name), lambda folder: audit(data, folder), like("record"))
    return [found[name] for name in names]


# ------------------------------------------------------------------------------------------------- all of it


def load_everything() -> None:
    """Import what the stages need, once, and start no thread."""
    import alembic.command
    import torch
    import torch._dynamo
    import torchvision

    from lossprint.audit.cli import main as cli  # noqa: F401
    from lossprint.audit.training import models
    from lossprint.scoring import input_curvature  # noqa: F401

    torch.set_num_threads(1)
    models.check_model("small")  # imports networks
    assert torch._dynamo  # which the first step of an optimizer imports
    assert alembic.command and torchvision


def run(kills: int, seed: int, names: list[str], place: Path, server: str | None, say=print) -> dict[str, Count]:
    """Kill `kills` times in all, spread over the stages by their SHARES; what came of it."""
    load_everything()
    counts, draw = {name: Count() for name in names}, random.Random(seed)
    log, undisturbed = place / "undisturbed.log", place / "whole"
    undisturbed.mkdir(parents=True)
    if wrong := to_the_end(lambda: make_data(place / "data"), log):
        raise RuntimeError(wrong)
    needs = {"record", *names} - {"SQLite", "PostgreSQL", "loop"} | ({"loop"} & set(names))
    took = {}
    order = ["record", *sorted(needs - {"record"})]
    for stage in stages(
        place, [*order, *(one for one in names if one not in order)], counts | dict.fromkeys(order), server
    ):
        own = stage.name in ("record", "loop", "export", "report", "evaluate")
        folder = undisturbed / stage.name if own else place / f"{stage.name}-undisturbed"
        for part in (stage.begin, stage.work):
            began = time.perf_counter()
            if wrong := to_the_end(lambda part=part, folder=folder: part(folder), log):
                raise RuntimeError(f"{stage.name} undisturbed: {wrong}")
            took[stage.name] = time.perf_counter() - began
        if stage.name in ("SQLite", "PostgreSQL"):
            continue
        if not own and (wrong := stage.lost(folder)):
            raise RuntimeError(f"{stage.name} undisturbed: two runs differ in {sorted(wrong)}")
        say(f"{stage.name}: {took[stage.name]:.2f} s undisturbed", flush=True)
    total = sum(SHARES[name] for name in names)
    for stage in stages(place, names, counts, server):
        count, wanted, tries = counts[stage.name], max(round(kills * SHARES[stage.name] / total), 1), 0
        while count.kills < wanted and tries < 20 * wanted:
            tries += 1
            folder = place / f"{stage.name}-{tries}"
            took[stage.name] = trial(stage, folder, took[stage.name], draw, count, wanted - count.kills)
        say(f"{stage.name}: {count.kills} kills, {count.well} of {count.trials} ended well", flush=True)
    return counts


def table(counts: dict[str, Count]) -> str:
    lines = ["| stage | kills | ended the same | bytes lost | decisions acknowledged | lost | doubled | litter |"]
    lines.append("| --- " + "| ---: " * 7 + "|")
    every = Count(*(sum(getattr(one, key) for one in counts.values()) for key in list(vars(Count()))[:-1]))
    for name, one in [*counts.items(), ("all", every)]:
        decided = (one.acknowledged, one.gone, one.doubled) if one.acknowledged else ("", "", "")
        numbers = " | ".join(f"{value:,}" if isinstance(value, int) else value for value in decided)
        lines.append(
            f"| {name} | {one.kills:,} | {one.well:,} of {one.trials:,} | {one.lost:,} | {numbers} | {one.litter:,} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill every stage at random moments, and compare what is left.")
    parser.add_argument("--kills", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", nargs="+", choices=list(SHARES), default=list(SHARES))
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this new folder, and leave it")
    options = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    with ExitStack() as stack:
        names, server = list(options.stages), None
        if "PostgreSQL" in names:
            from postgres import binaries, new_database, running_postgresql

            if binaries() is None:
                print("no PostgreSQL here: its decisions are left out")
                names.remove("PostgreSQL")
            else:
                server = new_database(stack.enter_context(running_postgresql()))
        place = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lossprint-faults-")))
        place.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        counts = run(options.kills, options.seed, names, place.resolve(), server)
        print(f"\n{table(counts)}\n\nseed {options.seed}, {time.perf_counter() - began:,.0f} s")
        faults = [fault for count in counts.values() for fault in count.faults]
        print("\n".join(faults) or "no failures")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
