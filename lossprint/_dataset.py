"""The dataset that follows from a run: cleaned as the reviewers decided, or a coreset of it."""

from pathlib import Path

import pandas as pd

from lossprint._run import open_run
from lossprint.audit.coresets.coreset import coreset
from lossprint.audit.export import export
from lossprint.audit.export.applied import Applied, applied
from lossprint.audit.runs.run import Run as Folder


class Cleaned:
    """The dataset as decided: `table` has path, label, split, given_label, change, reason and who decided, a row each
    sample that is kept. The source dataset is never edited."""

    def __init__(self, decisions: Applied):
        self.decisions = decisions
        self.table: pd.DataFrame = export.cleaned(decisions)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        changes = self.decisions.table["change"].value_counts()
        words = [
            f"{int(changes[name]):,} {name}" for name in ("relabelled", "reordered", "excluded") if name in changes
        ]
        return f"<lossprint.Cleaned: {len(self):,} samples; {', '.join(words) or 'nothing changed'}>"


def cleaned(run: Folder | str | Path, *, rule: str = "latest", unsure: str = "keep") -> Cleaned:
    """The decisions on a run, applied: `rule` says whose hold (latest, majority, settled, adjudicated, reviewer:NAME),
    `unsure` whether samples that were left unsure are kept as given or dropped."""
    return Cleaned(applied(_opened(run), apply=rule, unsure=unsure))


def choose_coreset(
    run: Folder | str | Path,
    method: str = "recommended",
    *,
    fraction: float | None = None,
    number: int | None = None,
    per_class: int | None = None,
    equal: bool = False,
    at_least: int = 1,
    one_of_duplicates: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """A subset of the training split, best first: sample, path, label, score, rank. One budget of three is given.

    Decisions are applied: an excluded sample is never chosen. Raises LossprintError for an unknown method or budget.
    """
    budget = {"fraction": fraction, "number": number, "per_class": per_class}
    more = {"equal": equal, "at_least": at_least, "one_of_duplicates": one_of_duplicates, "seed": seed}
    return coreset(_opened(run), method, **budget, **more)


def _opened(run: Folder | str | Path) -> Folder:
    return run if isinstance(run, Folder) else open_run(run)
