"""Suspect samples of runs whose losses are not of one class a sample: several labels, a quantity, tokens."""

import numpy as np
import pandas as pd

from lossprint.audit.datasets.tasks import given_sides, label_sets
from lossprint.audit.runs.run import Run
from lossprint.audit.types import LossprintError
from lossprint.scoring import labels as label_scores
from lossprint.scoring import trajectory
from lossprint.scoring.labels import SUSPECT
from lossprint.scoring.outliers import outlier_severity


def mend_scores(run: Run) -> None:
    """Put into the run's scores, written as if of classes, what holds for its task; and the table of each label.

    Without classes nothing was ahead of what was given, so that label_error is the severity of a high CSL: one half at
    the upper fence of this dataset (`outliers.outlier_severity`). Where each label's losses were kept it is the largest
    severity of the labels, each as `labels.label_errors` has it, and the suggestion is the sample's labels with that
    one added or taken away, if some sample has just these. Confidence, triage and, of quantities and sets of labels,
    the probabilities have no meaning there and are left empty.
    """
    scores = run.scores()
    empty = {"rank_confidence": np.nan, "triage": pd.array([""] * len(scores), dtype="string"), "forgetting": np.nan}
    scores = scores.assign(**empty)
    if run.task != "text":
        scores = scores.assign(p_mean=np.nan, p_std=np.nan)
    scores["label_error"] = _high(scores["csl"].to_numpy(np.float64))
    scores["suggested_label"] = pd.array([None] * len(scores), dtype="string")
    scores["suggested_probability"] = np.nan
    names = run.manifest["dataset"].get("labels", [])
    if names and run.members("label"):
        _by_label(run, scores, names)
    run.write_scores(scores)


def _high(csl: np.ndarray) -> np.ndarray:
    """Severity (N,) of mean losses of any sign, by how far above the least: over one half beyond the upper fence."""
    known = np.isfinite(csl)
    return outlier_severity(np.where(known, csl - csl[known].min(initial=np.inf), np.nan))


def _by_label(run: Run, scores: pd.DataFrame, names: list[str]) -> None:
    """The scores of each label, written as a table of their own, and from them those of the samples, in place."""
    tables = []
    worst = np.full(len(scores), -np.inf)
    which = np.full(len(scores), -1)
    sure = np.full(len(scores), np.nan)
    sets = label_sets(scores["label"], names)
    for at, member in enumerate(run.members("label")):
        train, val = (member.trajectory(split).trained() for split in ("train", "val"))
        if not np.array_equal(train.checkpoints, val.checkpoints) or not len(train.checkpoints):
            raise LossprintError(
                f"expected losses of each label at the same checkpoints of train and val in {member.path}, found "
                f"{train.checkpoints.tolist()} and {val.checkpoints.tolist()}"
            )
        means = trajectory.class_means(val.losses, val.labels, 1)
        fits = (label_scores.fit(one.losses, one.margins) for one in (train, val))
        errors = label_scores.label_errors(
            train.losses,
            train.labels,
            margins=train.margins,
            weights=label_scores.checkpoint_weights(val.losses, label_scores.newness(*fits)),
        )
        cld, _ = trajectory.class_correlation(train.losses, train.labels, means)
        given = pd.array([pd.NA] * len(scores), dtype="boolean")
        if sets is not None:
            given[:] = sets[:, at]
        elif train.margins is not None and train.predicted is not None:
            there, known = given_sides(train.margins, train.predicted)
            given[known] = there[known]
        columns = {"sample": train.samples, "name": names[at], "given": given, "csl": trajectory.csl(train.losses)}
        tables.append(pd.DataFrame({**columns, "cld": cld, "severity": errors.severity}))
        higher = np.nan_to_num(errors.severity, nan=-np.inf) > worst
        worst[higher], which[higher] = errors.severity[higher], at
        sure[higher] = 1 - errors.given_probability[higher]
    run.write_label_scores(pd.concat(tables, ignore_index=True))
    scores["label_error"] = np.where(np.isfinite(worst), worst, np.nan)
    suggested: list[str | None] = [None] * len(scores)
    if sets is not None:
        known_sets = {one.tobytes(): text for one, text in zip(label_sets(run.classes, names), run.classes)}
        for row in np.flatnonzero(worst > SUSPECT):
            changed = sets[row].copy()
            changed[which[row]] ^= True
            suggested[row] = known_sets.get(changed.tobytes())
    scores["suggested_label"] = pd.array(suggested, dtype="string")
    scores["suggested_probability"] = np.where([one is not None for one in suggested], sure, np.nan)
