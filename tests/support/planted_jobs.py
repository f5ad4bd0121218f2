"""A job as if it had been started here, without a process of its own."""

import os
import time
from pathlib import Path

from lossprint.audit.workflow import jobs


def planted(shelf: Path, run: str = "run", **about) -> jobs.Job:
    """A signed job of this very process, as if it had been started here."""
    folder = shelf / jobs.FOLDER / about.pop("name", "one")
    folder.mkdir(parents=True)
    pid = about.pop("pid", os.getpid())
    how = {"pid": pid, "born": jobs._born(pid), "machine": jobs.platform.node(), "by": "", "at": time.time()} | about
    how = {"title": "Audit", "commands": (("audit", "x"),)} | how
    job = jobs.Job(run=str(shelf / run), folder=folder, **how)
    jobs._write(job)
    return job
