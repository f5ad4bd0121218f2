"""A run in the hands of somebody at a prompt or in a notebook: the run folder's tables, and what one does with them."""

from pathlib import Path
from typing import Any

from lossprint.audit.runs import open as runs
from lossprint.audit.runs.run import Run as Folder


class Run(Folder):
    """An opened run. Its tables are DataFrames: `samples()`, `scores()`, `findings()`, `pairs()`, `duplicates()`."""

    @classmethod
    def of(cls, run: Folder) -> "Run":
        return cls(run.path, run.manifest, run.home)

    def __repr__(self) -> str:
        counts = self.manifest["dataset"].get("counts", {})
        of = ", ".join(f"{count:,} {split}" for split, count in counts.items())
        return f"<lossprint.Run {str(self.path)!r}: {of or 'samples unknown'}; {len(self.classes):,} classes>"


def open_run(path: str | Path) -> Run:
    """Open a run folder that is whole. Raises LossprintError, in one line, where there is none."""
    return Run.of(runs.open_run(path))


def run_audit(dataset: str | Path, out: str | Path, *, resume: bool = False, quiet: bool = True, **options: Any) -> Run:
    """`lossprint audit`: train a proxy, record every sample's loss, score and find.

    `options` are those of `audit.workflow.audit.Options`, such as model, epochs, seed, folds, device.
    """
    from lossprint.audit.workflow.audit import audit

    return Run.of(audit(str(dataset), out, resume=resume, quiet=quiet, **options))


def score(run: Folder | str | Path, *, quiet: bool = True, partial: bool = False) -> Run:
    """`lossprint score`: scores and findings of what is recorded, once more; no training."""
    from lossprint.audit.workflow.score import score as work

    return Run.of(work(run.path if isinstance(run, Folder) else run, quiet=quiet, partial=partial))
