"""What owners do with the served folder: jobs, and the runs on their shelf. Checked here, whatever a button shows.

`root` is the served run or folder of runs. Beside a single run that is served nothing is made, moved or removed.
"""

import os
from pathlib import Path

from lossprint.app.access import roles
from lossprint.audit.runs import beside
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError
from lossprint.audit.workflow import jobs, offered, shelf


def single(root: str | Path) -> bool:
    """Whether one run is served, not a folder of them."""
    return (Path(root) / "run.json").is_file()


def place(root: str | Path) -> Path:
    """The folder in which the runs lie."""
    top = Path(os.path.realpath(root))
    return top.parent if single(top) else top


def jobs_of(root: str | Path) -> list[jobs.Job]:
    """The jobs of the served runs, the latest first."""
    listed, top = jobs.jobs(place(root)), os.path.realpath(root)
    return [job for job in listed if job.run == top] if single(root) else listed


def start(root: str | Path, work: offered.Work) -> jobs.Job:
    """Start a job. Raises Refused for whoever is no owner, LossprintError where one is at work on that run."""
    one = roles.require("owner", "to start a job")
    if why := refused(root, work):
        raise LossprintError(why)
    return jobs.start(place(root), work.title, work.run, work.commands, one.email)


def refused(root: str | Path, work: offered.Work) -> str:
    """Why a job is not started on what is served; empty where nothing speaks against it."""
    if not work.refused and single(root) and os.path.realpath(work.run) != os.path.realpath(root):
        return f"expected a job on the run {Path(root).name}, which alone is served, found one that makes another run"
    return work.refused


def cancel(job: jobs.Job, force: bool = False) -> None:
    """End a job, see `jobs.cancel`."""
    jobs.cancel(job, roles.require("owner", "to cancel a job").email, force)


def forget(job: jobs.Job) -> None:
    """Take a job that ended off the list."""
    roles.require("owner", "to clear jobs")
    jobs.forget(job)


def describe(root: str | Path, name: str, text: str) -> None:
    """Say what a run is about."""
    roles.require("owner", "to describe a run")
    beside.describe(open_run(offered.beside(Path(root), name), need=None), text)


def rename(root: str | Path, name: str, new: str) -> Path:
    """Give a run another name."""
    return shelf.rename(_mine(root, name, "to rename a run"), new)


def put_away(root: str | Path, name: str) -> Path:
    """Put a run into the archive."""
    return shelf.put_away(_mine(root, name, "to archive a run"))


def put_back(root: str | Path, name: str) -> Path:
    """Take a run out of the archive."""
    return shelf.put_back(_mine(Path(root) / shelf.AWAY, name, "to take a run out of the archive"))


def delete(root: str | Path, name: str, again: str) -> None:
    """Delete a run, whose name was typed `again`."""
    run = _mine(root, name, "to delete a run")
    if again.strip() != name:
        raise LossprintError(f"expected the name {name} once more, found {again!r}: nothing was deleted")
    shelf.delete(run)


def _mine(root: str | Path, name: str, what: str) -> Path:
    roles.require("owner", what)
    if single(root):
        raise LossprintError(f"expected a folder of runs, found the one run {root} served: serve the folder of it")
    run = offered.beside(Path(root), name)
    for job in jobs_of(root):
        if job.run == str(run) and jobs.state(job) == jobs.WORKING:
            raise LossprintError(f"expected no job at work on {name}, found one ({job.title}): cancel it first")
    return run
