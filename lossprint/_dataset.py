"""The dataset that follows from a run: cleaned as the reviewers decided, or a coreset of it."""

from pathlib import Path

import pandas as pd

from lossprint._cleaned import Cleaned
from lossprint._run import Run, folder_of
from lossprint.audit.coresets.coreset import coreset
from lossprint.audit.export.applied import applied
from lossprint.audit.runs.run import Run as Folder


def cleaned(run: Run | Folder | str | Path, *, rule: str = "latest", unsure: str = "keep") -> Cleaned:
    """The decisions on a run, applied: `rule` says whose hold (latest, majority, settled, adjudicated, reviewer:NAME),
    `unsure` whether samples that were left unsure are kept as given or dropped."""
    return Cleaned(applied(folder_of(run), apply=rule, unsure=unsure))


def choose_coreset(
    run: Run | Folder | str | Path,
    method: str = "recommended",
    *,
    fraction: float | None = None,
    number: int | None = None,
    per_class: int | None = None,
    equal: bool = False,
    at_least: int = 1,
    one_of_duplicates: bool = False,
    without_exposed: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """A subset of the training split, best first: sample, path, label, score, rank. One budget of three is given.

    Decisions are applied: an excluded sample is never chosen, nor one of the share `without_exposed` that a model gives
    away the most, see `lossprint exposure`. Raises LossprintError for an unknown method or budget.
    """
    budget = {"fraction": fraction, "number": number, "per_class": per_class}
    more = {"equal": equal, "at_least": at_least, "one_of_duplicates": one_of_duplicates, "seed": seed}
    return coreset(folder_of(run), method, **budget, **more, without_exposed=without_exposed)
