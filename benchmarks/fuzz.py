"""Whether any input breaks a reader, a command or a page: many odd inputs a target, and hostile ones by kind.

    python benchmarks/fuzz.py [--inputs 10000] [--only TARGET ...] [--seed 0] [--jobs 1] [--first I]

Each target runs in a process of its own that may take MEMORY more bytes of address space than it has after loading, and
prints each failure with the number that makes its input again: `--only TARGET --seed S --first NUMBER --inputs 1`. A
target fails by a traceback, more than five seconds of work on one input, a crash of the process, or half a file that is
left. Ends with one table, and with 1 where anything failed. Inputs are made by mutation.py of tests/support, hostile
ones by hostile_files.py; the tests of the suite run the same targets on a few inputs.
"""

import argparse
import logging
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

MEMORY = 4 << 30
STUCK = 300  # seconds without a finished input, whatever the machine does, before a process counts as hanging
SHOWN = 5  # failures of a target that are printed


def targets() -> list:
    from fuzz_programs import PROGRAMS
    from fuzz_targets import READERS

    return [*READERS, *PROGRAMS]


def limit_memory(more: int = MEMORY) -> None:
    """Let this process take `more` bytes of address space beyond what it has."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + more, now + more))


def work(name: str, seed: int, first: int, inputs: int, folder: str, call, done, queue) -> None:
    """Try a target's inputs from number `first` on, in this process. `call` is the number, `done` counts inputs."""
    from fuzz_targets import TooLong, attempt

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    target = next(one for one in targets() if one.name == name)
    with open(os.devnull, "wb") as null:  # libtiff and libjpeg say on standard error what they think of an image
        os.dup2(null.fileno(), 2)
    check = target.make(Path(folder) / "t")
    limit_memory()
    call.value = first
    while done.value < inputs:
        try:
            done.value += attempt(target, check, Random(f"{name}:{seed}:{call.value}"))
        except (Exception, TooLong) as error:
            done.value += 1
            place = traceback.extract_tb(error.__traceback__)[-1]
            queue.put(f"{call.value}: {type(error).__name__}: {error!s:.300} ({place.filename}:{place.lineno})")
        call.value += 1
    queue.put(time.process_time())


def tried(name: str, seed: int, first: int, inputs: int) -> tuple[int, int, list[str], float]:
    """Run a target in processes of its own, another one after each that crashes: inputs, calls, failures, seconds."""
    context, done, calls, failed, seconds = multiprocessing.get_context("spawn"), 0, 0, [], 0.0
    while done < inputs:
        folder = tempfile.mkdtemp(prefix="lossprint-fuzz-")
        call, count, queue = context.Value("q", -1), context.Value("q", 0), context.Queue()
        process = context.Process(target=work, args=(name, seed, first, inputs - done, folder, call, count, queue))
        process.start()
        try:
            said, spent = _followed(process, call, queue)
        finally:
            process.kill()
            process.join()
            shutil.rmtree(folder, ignore_errors=True)
        if call.value < first:
            raise RuntimeError(f"{name} did not start: {said}")
        crashed = spent is None
        done, calls = done + count.value + crashed, calls + call.value - first + crashed
        failed, seconds, first = failed + said, seconds + (spent or 0.0), call.value + 1
    return done, calls, failed, seconds


def _followed(process, call, queue) -> tuple[list[str], float | None]:
    """What a process says of failures, and its seconds at the end; None where it crashed or hangs."""
    said, last, since = [], -1, time.monotonic()
    while True:
        dead = not process.is_alive()  # asked before the queue is emptied: what it said last is not lost
        try:
            while True:
                one = queue.get(timeout=1)
                if isinstance(one, float):
                    return said, one
                said.append(one)
        except Empty:
            pass
        if call.value != last:
            last, since = call.value, time.monotonic()
        if dead or time.monotonic() - since > STUCK:
            what = f"exit {process.exitcode}" if dead else f"no end in {STUCK} s"
            return [*said, f"{call.value}: the process itself: {what}"], None


def fuzzed(names: list[str], seed: int, first: int, inputs: int, jobs: int) -> tuple[list[str], int]:
    """Rows of the table and how many failures."""
    chosen = [one for one in targets() if one.name in names]
    with ThreadPoolExecutor(jobs) as pool:
        found = list(pool.map(lambda one: tried(one.name, seed, first, inputs), chosen))
    rows = ["| fuzzed | inputs | failures | processor s |", "| --- | --- | --- | --- |"]
    for target, (done, calls, failed, seconds) in zip(chosen, found):
        count = f"{done:,}" + (f" {target.unit} in {calls:,} visits" if target.unit != "inputs" else "")
        rows.append(f"| {target.what} | {count} | {len(failed):,} | {seconds:,.0f} |")
        for line in failed[:SHOWN]:
            print(f"{target.name} {line}", file=sys.stderr)
    return rows, sum(len(failed) for _, _, failed, _ in found)


def hostile_rows() -> tuple[list[str], int]:
    """The table of hostile inputs: kind, tried, let through."""
    from hostile_files import KINDS

    rows, through = ["| hostile | inputs | let through |", "| --- | --- | --- |"], 0
    for kind, cases in KINDS.items():
        bad = 0
        for name, case in cases.items():
            with tempfile.TemporaryDirectory() as folder:
                try:
                    case(Path(folder).resolve())
                except Exception as error:
                    bad += 1
                    print(f"{kind}, {name}: {type(error).__name__}: {error!s:.300}", file=sys.stderr)
        rows.append(f"| {kind} | {len(cases):,} | {bad} |")
        through += bad
    return rows, through


def main(arguments: list[str] | None = None) -> int:
    names = [target.name for target in targets()]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000, help="of each target; default: %(default)s")
    parser.add_argument("--only", nargs="+", choices=[*names, "hostile"], metavar="TARGET", help=", ".join(names))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--jobs", type=int, default=1, help="targets side by side")
    options = parser.parse_args(arguments)
    chosen = options.only or [*names, "hostile"]
    rows, failures = fuzzed(
        [one for one in chosen if one != "hostile"], options.seed, options.first, options.inputs, options.jobs
    )
    print("\n".join(rows))
    if "hostile" in chosen:
        rows, through = hostile_rows()
        failures += through
        print("\n" + "\n".join(rows))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
