"""Commands of this program run in processes of their own, which outlive whoever started them.

A job is a folder in `.jobs` beside the runs: job.json (what runs, signed with the user's key), log, progress.json (see
`system.progress`), cancelled.json and end.json. Only what this user signed on this machine is shown or ended: a folder
that came with somebody's runs names no process and no command here.

The process is `python -m lossprint.audit.workflow.jobs FOLDER`: it reads its commands from standard input, runs one
after the other until one fails, and says in end.json how it ended.
"""

import hmac
import json
import os
import platform
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from lossprint.audit.runs.keys import config, signed
from lossprint.audit.system import progress
from lossprint.audit.system.atomic import write_text
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.system.locks import alone
from lossprint.audit.types import LossprintError, printable

FOLDER = ".jobs"
KEPT = 50  # jobs that ended, of which the folder is kept
TAIL = 20_000  # bytes of a log that are read for its last lines
LARGEST = 1 << 20  # bytes of a file of a job
WORKING, DONE, FAILED, CANCELLED, LOST = "at work", "done", "failed", "cancelled", "lost"
PROGRAM = [sys.executable, "-P", "-m", "lossprint.audit.cli"]  # -P: nothing of the working directory is imported


@dataclass(frozen=True)
class Job:
    """What runs, or ran. `commands` are words after `lossprint`; `run` the run folder that is written; `by` whoever
    started it; `at`, in seconds since 1970, when. `pid` is that of the process that runs them, `born` what tells it
    from a later one with the same number."""

    title: str
    run: str
    commands: tuple[tuple[str, ...], ...]
    by: str
    at: float
    pid: int
    born: str
    machine: str
    folder: Path

    @property
    def words(self) -> str:
        """The commands as one would type them, a line each."""
        return typed(self.commands)


@dataclass(frozen=True)
class Progress:
    """How far a step is: its name, how much of how much (None: unknown) is done, and the seconds that are left of it,
    None where nothing is known yet."""

    step: str
    done: float
    total: float | None
    unit: str
    left: float | None


def typed(commands: Iterable[Sequence[str]]) -> str:
    """Commands as one would type them, a line each."""
    return "\n".join(shlex.join(["lossprint", *words]) for words in commands)


def start(shelf: Path, title: str, run: Path, commands: list[list[str]], by: str = "") -> Job:
    """Start commands that write the run folder `run`, beside the runs of `shelf`; it goes on when this process ends.

    Raises LossprintError where a job is at work on that run, or its state can be kept nowhere.
    """
    if not commands or not all(isinstance(word, str) and "\0" not in word for words in commands for word in words):
        raise LossprintError("expected commands without a zero character, found one")
    place, run = _place(shelf), Path(os.path.realpath(run))
    with alone(place):
        for job in jobs(shelf):
            if state(job) == WORKING and job.run == str(run):
                raise LossprintError(
                    f"expected no job at work on {run.name}, found one ({job.title}): wait for it, or cancel it"
                )
        folder = place / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        folder.mkdir(mode=0o700)
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "lossprint.audit.workflow.jobs", str(folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=shelf,
                start_new_session=True,  # what ends the server's terminal or group does not end it
            )
        words = tuple(map(tuple, commands))
        born = _born(process.pid)
        job = Job(title, str(run), words, by, time.time(), process.pid, born, platform.node(), folder)
        try:
            _write(job)
        except (OSError, LossprintError):
            process.stdin.close()  # nothing runs then
            shutil.rmtree(folder, ignore_errors=True)
            raise
        with suppress(BrokenPipeError), process.stdin:  # it waits for this: without job.json nothing runs
            process.stdin.write(json.dumps(commands).encode())
    threading.Thread(target=process.wait, daemon=True).start()  # else it would stay as a zombie
    _forget_old(shelf)
    return job


def jobs(shelf: Path) -> list[Job]:
    """The jobs beside the runs of a folder that this user started on it, the latest first."""
    place = Path(shelf) / FOLDER
    if place.is_symlink() or not place.is_dir():
        return []
    read = (_read(folder) for folder in place.iterdir())
    return sorted((job for job in read if job), key=lambda job: (-job.at, job.folder.name))


def state(job: Job) -> str:
    """WORKING, DONE, FAILED, CANCELLED or LOST: ended without a word, as by a restart of the machine."""
    end = _json(job.folder / "end.json")
    asked = (job.folder / "cancelled.json").exists()
    if isinstance(end.get("status"), int):
        if end["status"] == 0:
            return DONE
        return CANCELLED if asked else FAILED
    if job.machine != platform.node() or _born(job.pid) == job.born:
        return WORKING
    return CANCELLED if asked else LOST


def how_far(job: Job) -> Progress | None:
    """The step that a job is at; None before the first one says anything."""
    said = _json(job.folder / "progress.json")
    numbers = [said.get(name) for name in ("done", "first", "began", "at")]
    total = said.get("total")
    if not all(map(_number, numbers)) or not (total is None or _number(total)):
        return None
    done, first, began, at = numbers
    left = None
    if total is not None and done > first and at > began:
        left = max(0.0, (total - done) * (at - began) / (done - first) - (time.time() - at))
    return Progress(printable(str(said.get("step") or "")), done, total, printable(str(said.get("unit") or "")), left)


def ended(job: Job) -> tuple[int | None, float | None]:
    """The exit status of a job that ended, and how many seconds it took; None where that is not known."""
    end = _json(job.folder / "end.json")
    status, at = end.get("status"), end.get("at")
    return status if isinstance(status, int) else None, at - job.at if _number(at) else None


def tail(job: Job, lines: int = 30) -> str:
    """The last lines of a job's log; of a bar that was drawn again and again the last state."""
    try:
        with open(job.folder / "log", "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            text = file.read(TAIL).decode("utf-8", "replace")
    except OSError:
        return ""
    drawn = [re.split(r"\r(?=.)", line.rstrip("\r"))[-1] for line in text.split("\n")]
    return "\n".join([printable(line) for line in drawn if line.strip()][-lines:])


def cancel(job: Job, by: str = "", force: bool = False) -> None:
    """Ask a job to end, as Ctrl+C does: what is recorded is kept. `force` ends it at once, in the middle of anything.

    Raises LossprintError where it is not at work, or not on this machine.
    """
    if state(job) != WORKING:
        raise LossprintError(f"expected a job at work, found {job.title} to have ended already")
    if job.machine != platform.node():
        raise LossprintError(f"expected a job of this machine, found one of {job.machine}: cancel it there")
    write_text(job.folder / "cancelled.json", json.dumps({"by": by, "at": time.time()}))
    with suppress(ProcessLookupError):
        os.killpg(job.pid, signal.SIGKILL if force else signal.SIGINT)  # its own session: it and what it started


def cancelling(job: Job) -> bool:
    """Whether a job was asked to end."""
    return (job.folder / "cancelled.json").exists()


def forget(job: Job) -> None:
    """Remove what is kept of a job that ended; the run stays. Raises LossprintError for one at work."""
    if state(job) == WORKING:
        raise LossprintError(f"expected a job that ended, found {job.title} at work: cancel it first")
    shutil.rmtree(job.folder, ignore_errors=True)


# ------------------------------------------------------------------------------------------------- what is kept


def _place(shelf: Path) -> Path:
    place = Path(shelf) / FOLDER
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        if place.is_symlink() or not place.is_dir():
            raise LossprintError(f"expected a folder at {place}, found a link or a file")
    except OSError as error:
        raise LossprintError(f"expected a folder that can be written at {place}, found: {error.strerror}") from None
    return place


def _text(job: Job) -> str:
    return json.dumps({**asdict(job), "folder": job.folder.name}, sort_keys=True)


def _write(job: Job) -> None:
    sign = signed(_text(job))
    if not sign:
        raise LossprintError(f"expected a key of yours at {config()}, found that none can be kept there")
    write_text(job.folder / "job.json", json.dumps({"job": parsed(_text(job)), "sign": sign}, indent=1))


def _read(folder: Path) -> Job | None:
    """The job of a folder, if this user wrote it for this folder."""
    if folder.is_symlink():
        return None
    said = _json(folder / "job.json")
    about, sign = said.get("job"), said.get("sign")
    if not isinstance(about, dict) or set(about) != set(Job.__dataclass_fields__) or about["folder"] != folder.name:
        return None
    own = signed(json.dumps(about, sort_keys=True))
    if not own or not hmac.compare_digest(own.encode(), str(sign).encode()):
        return None
    return Job(**{**about, "folder": folder, "commands": tuple(map(tuple, about["commands"]))})


def _json(file: Path) -> dict:
    try:
        if file.is_symlink() or not file.is_file() or file.stat().st_size > LARGEST:
            return {}
        said = parsed(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _forget_old(shelf: Path) -> None:
    for job in [job for job in jobs(shelf) if state(job) != WORKING][KEPT:]:
        forget(job)


def _born(pid: int) -> str:
    """When a process that is alive was started, as the system tells it; empty for none, and for one that ended and was
    not waited for yet."""
    try:
        about = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return "" if about[0] in "ZX" else f"{boot} {about[19]}"
    except (OSError, IndexError):
        if Path("/proc/self/stat").exists():
            return ""
    told = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True)
    status, _, began = told.stdout.strip().partition(" ")
    return "" if status.startswith("Z") else began.strip()


# ------------------------------------------------------------------------------------------------- the process


def run(folder: Path, commands: list[list[str]]) -> int:
    """Run the commands one after the other; the status of the first that fails, else 0. Ctrl+C ends the command."""
    signal.signal(signal.SIGINT, lambda *_: None)  # a function, which a child does not inherit: it ends, this tells
    environment = {**os.environ, progress.FILE: str(folder / "progress.json"), "PYTHONUNBUFFERED": "1"}
    status = 0
    for words in commands:
        if (folder / "cancelled.json").exists():
            status = status or 1
        if status:
            break
        print(f"$ {shlex.join(['lossprint', *words])}", flush=True)
        status = subprocess.call([*PROGRAM, *words], env=environment, stdin=subprocess.DEVNULL)
    write_text(folder / "end.json", json.dumps({"status": status, "at": time.time()}))
    return status


if __name__ == "__main__":
    said = sys.stdin.buffer.read()
    sys.exit(run(Path(sys.argv[1]), parsed(said)) if said else 1)
