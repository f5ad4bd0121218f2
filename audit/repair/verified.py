"""What people have looked at: the training samples that a repair may trust, and the held-out ones that judge it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.audit.export.applied import Applied
from lossprint.audit.runs.run import Run
from lossprint.audit.types import LossprintError
from lossprint.scoring.duplicates import components
from lossprint.scoring.heads.folds import deal, joined

FEWEST = 100  # verified samples: the least of the paper's table of sizes
FEWEST_HELD_OUT = 30  # images that choose, and as many that judge
SURE = ("accept", "keep", "relabel")


@dataclass(frozen=True, eq=False)
class Decided:
    """The run's samples by id, with class indices (N,): as given, and as decided, -1 for excluded.

    verified, choosing and judging are rows (K,): training samples with a label that somebody has confirmed or put
    right, and two parts of the held-out samples, of which no copies or frames of a sequence are in both.
    """

    samples: pd.DataFrame
    given: np.ndarray
    labels: np.ndarray
    verified: np.ndarray
    choosing: np.ndarray
    judging: np.ndarray
    places: tuple[str, str]

    @property
    def trained(self) -> np.ndarray:
        """The rows (R,) of the cleaned training split."""
        return np.flatnonzero(self.samples["split"].eq("train").to_numpy() & (self.labels >= 0))


def decided(run: Run, decisions: Applied, seed: int) -> Decided:
    """The samples as decided; LossprintError where too few are verified, or too few held out to tell."""
    table = decisions.table
    classes = pd.Index(run.classes)
    given, labels = (classes.get_indexer(table[name].astype(str)) for name in ("given_label", "label"))
    labels[table["change"].eq("excluded").to_numpy()] = -1
    split = table["split"].to_numpy(str)
    known = table["decision"].isin(SURE).to_numpy() & (labels >= 0) & (split == "train")
    if known.sum() < FEWEST:
        others = int((table["decision"].isin(SURE).to_numpy() & (split != "train")).sum())
        besides = f" and {others:,} held-out ones, which serve to judge" if others else ""
        raise LossprintError(
            f"expected at least {FEWEST} training samples whose label somebody has confirmed or put right, found "
            f"{int(known.sum()):,}{besides} in {run.path}: nothing is repaired before more are reviewed"
        )
    choosing, judging, places = _held_out(run, table, labels, split, seed)
    columns = ["sample", "path", "split", "sequence", "decision"]
    return Decided(table[columns], given, labels, np.flatnonzero(known), choosing, judging, places)


def _held_out(run: Run, table: pd.DataFrame, labels: np.ndarray, split: np.ndarray, seed: int):
    """Validation chooses and test judges; without enough of the latter, a half of validation each."""
    val, test = (np.flatnonzero((split == name) & (labels >= 0)) for name in ("val", "test"))
    if len(test) >= FEWEST_HELD_OUT and len(val) >= FEWEST_HELD_OUT:
        return val, test, ("validation", "test")
    if len(val) < 2 * FEWEST_HELD_OUT:
        raise LossprintError(
            f"expected at least {2 * FEWEST_HELD_OUT} validation samples, one half to choose how much is changed and "
            f"the other to judge it, found {len(val):,} in {run.path}"
        )
    half = deal(labels[val], 2, groups=_groups(run, table)[val], seed=seed)
    choosing, judging = val[half == 0], val[half == 1]
    if min(len(choosing), len(judging)) < FEWEST_HELD_OUT:
        raise LossprintError(
            f"expected two halves of at least {FEWEST_HELD_OUT} validation samples without copies or frames of one "
            f"video in both, found {len(choosing):,} and {len(judging):,} in {run.path}"
        )
    return choosing, judging, ("a half of validation", "the other half of validation")


def _groups(run: Run, table: pd.DataFrame) -> np.ndarray:
    ids, pairs = table["sample"].to_numpy(np.int64), run.duplicates()
    columns = [np.arange(len(ids))]
    if pairs is not None and len(pairs):
        ends = [np.searchsorted(ids, pairs[name].to_numpy(np.int64)) for name in ("sample", "partner")]
        columns = [components(*ends, len(ids))]
    return joined(*columns, table["sequence"].fillna("").to_numpy(str))
