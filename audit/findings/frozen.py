"""Label errors of a run on frozen features: the ranking of its heads in place of that of its trajectories."""

from dataclasses import replace

import numpy as np
import pandas as pd

from lossprint.audit.runs.run import Run
from lossprint.audit.types import LossprintError
from lossprint.scoring import outliers
from lossprint.scoring.labels import LabelErrors


def head_of(run: Run, samples: np.ndarray) -> pd.DataFrame | None:
    """The ranking of the heads, one row for each of the training samples (N,); None in a run that was trained."""
    head = run.head()
    if head is not None and not np.array_equal(head["sample"], samples):
        raise LossprintError(
            f"expected a row for each of the {len(samples):,} training samples in head.parquet of {run.path}, found "
            f"{len(head):,}, or other samples"
        )
    return head


def severity(head: pd.DataFrame) -> np.ndarray:
    """Severity (N,) in [0, 1], above SUSPECT where head and neighbours both disagree with the given label.

    Half the suspicion, and another half where it is flagged: in its order among the flagged and among the others.
    """
    return (head["suspicion"].to_numpy(float) + head["flagged"].to_numpy(bool)) / 2


def foreign(head: pd.DataFrame) -> np.ndarray:
    """Severity (N,) in [0, 1] of foreign images by NNGuide, above one half beyond the fence of its own values.

    NaN where a table says something else than a positive number.
    """
    far = head["foreign"].to_numpy(float)
    return outliers.outlier_severity(np.where(np.isfinite(far) & (far > 0), far, np.nan))


def errors(found: LabelErrors, head: pd.DataFrame) -> LabelErrors:
    """Those of trajectories, of the same samples, with what the heads say; the margin stays the trajectories' own.

    Stability, which is of checkpoints, is 1 where head and neighbours name the same class, else 0: what is called wrong
    is where both do, and with half of the probability.
    """
    return replace(
        found,
        severity=severity(head),
        suggested=head["suggested"].to_numpy(np.int64),
        probability=head["probability"].to_numpy(float),
        given_probability=head["given_probability"].to_numpy(float),
        stability=head["certain"].to_numpy(float),
    )
