"""A recorded run -> scores.parquet and pairs.parquet (`score_run`) -> findings.parquet (`find_run`).

Needs neither the images nor the network: all that they give lies in the run folder. A finder is a function from
`Evidence` to findings; `FINDERS` is the list of them.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.audit.store import Run
from lossprint.audit.types import SPLITS, Finding, LossprintError, Trajectory
from lossprint.scoring import labels as label_scores
from lossprint.scoring import outliers, trajectory
from lossprint.scoring.duplicates import Pairs, groups
from lossprint.scoring.pairs import Partners, partners

PARTNERS = 5  # kept a side and a scope
FEW = 10  # validation samples a class under which CLD is called noisy


def score_run(run: Run) -> Run:
    """Compute every score of every training sample and its partners among the validation samples, and store them."""
    train, val = _counted(run.trajectory("train")), _counted(run.trajectory("val"))
    if not len(train.checkpoints):
        raise LossprintError(f"expected recorded checkpoints in {run.path}, found none")
    if not np.array_equal(train.checkpoints, val.checkpoints):
        raise LossprintError(
            f"expected the same checkpoints of train and val in {run.path}, found {train.checkpoints.tolist()} and "
            f"{val.checkpoints.tolist()}"
        )
    curvature, outlying = run.curvature(), _outlier_severity(run, train.samples)
    run = run.reopen("score")  # all that may be damaged is read: a whole run stays whole if it cannot be scored anew
    classes = len(run.classes)
    means = trajectory.class_means(val.losses, val.labels, classes)
    errors = label_scores.label_errors(
        train.losses,
        train.labels,
        margins=train.margins,
        predicted=train.predicted,
        first=len(train.checkpoints) // 2,
    )
    samples = run.samples().set_index("sample").loc[train.samples]
    names = np.array([*run.classes, None], object)  # -1, no suggestion, takes the last
    frame = pd.DataFrame(
        {
            "sample": train.samples,
            "path": samples["path"].to_numpy(),
            "label": samples["label"].to_numpy(),
            "cld": trajectory.cld(train.losses, train.labels, means),
            "ltc": trajectory.ltc(train.losses, train.labels, means),
            "csl": trajectory.csl(train.losses),
            "aum": np.nan if train.margins is None else trajectory.aum(train.margins),
        }
    )
    frame = frame.join(curvature, on="sample")
    frame["label_error"] = errors.severity
    frame["outlier"] = outlying
    frame["suggested_label"] = pd.array(names[errors.suggested], dtype="string")
    frame["suggested_probability"] = np.where(errors.suggested >= 0, errors.probability, np.nan)
    run.write_scores(frame)
    run.write_pairs(_pairs(train, val))
    undefined = trajectory.undefined_reasons(train.losses, train.labels, means)
    counts = np.bincount(val.labels, minlength=classes)
    return run.finish(
        "score",
        undefined_cld={name: int(count) for name, count in vars(undefined).items() if count},
        few_validation={run.classes[c]: int(counts[c]) for c in np.flatnonzero(counts < FEW)},
    )


def _counted(recorded: Trajectory) -> Trajectory:
    """Without checkpoint 0, the initial weights: the papers' authors never log it, so no score counts it."""
    if not len(recorded.checkpoints) or recorded.checkpoints[0] > 0:
        return recorded
    rest = [None if a is None else a[1:] for a in (recorded.losses, recorded.margins, recorded.predicted)]
    return Trajectory(recorded.samples, recorded.labels, recorded.checkpoints[1:], *rest)


def _outlier_severity(run: Run, samples: np.ndarray) -> np.ndarray:
    """Severity (N,) for the training samples, NaN where the run has no embedding."""
    found = run.embeddings()
    if found is None:
        return np.full(len(samples), np.nan)
    ids, vectors = found
    at = np.minimum(np.searchsorted(ids, samples), len(ids) - 1)
    known = ids[at] == samples
    severity = np.full(len(samples), np.nan)
    severity[known] = outliers.outlier_severity(outliers.neighbour_distance(vectors[at[known]]))
    return severity


def _pairs(train: Trajectory, val: Trajectory) -> pd.DataFrame:
    """The partners of every training sample among the validation samples, of its own class and among all."""
    k = min(PARTNERS, len(val.samples))
    found = {
        "class": partners(train.losses, val.losses, k, labels=train.labels, query_labels=val.labels, same_class=True),
        "all": partners(train.losses, val.losses, k),
    }
    tables = [_side(train, val, p, side, scope) for scope, p in found.items() for side in ("aligned", "conflicting")]
    return pd.concat(tables).sort_values(["sample", "scope", "side", "rank"], ignore_index=True)


def _side(train: Trajectory, val: Trajectory, found: Partners, side: str, scope: str) -> pd.DataFrame:
    index, correlation = getattr(found, side), getattr(found, f"{side}_correlation")
    row, rank = np.nonzero(index >= 0)
    return pd.DataFrame(
        {
            "sample": train.samples[row],
            "partner": val.samples[index[row, rank]],
            "partner_split": "val",
            "correlation": correlation[row, rank],
            "side": side,
            "rank": rank + 1,
            "scope": scope,
        }
    )


# ---------------------------------------------------------------------------------------------- findings


@dataclass(frozen=True)
class Evidence:
    """What the finders see: scores and samples, both indexed by sample id, and the duplicate pairs."""

    scores: pd.DataFrame
    samples: pd.DataFrame
    duplicates: pd.DataFrame


def find_run(run: Run) -> Run:
    """Turn the stored scores into ranked findings."""
    run = run.reopen("find")
    samples = run.samples()
    evidence = Evidence(run.scores().set_index("sample"), samples.set_index("sample"), run.duplicates())
    findings = [finding for finder in FINDERS for finding in finder(evidence)]
    run.write_findings(findings, samples)
    kinds = pd.Series([finding.kind for finding in findings], dtype=object).value_counts()
    return run.finish("find", findings={kind: int(count) for kind, count in kinds.items()})


def label_errors(evidence: Evidence) -> list[Finding]:
    """Samples for which, over the counted checkpoints, another label was ahead of the given one: severity over 0.5."""
    scores = evidence.scores
    return [
        Finding("label_error", (int(row.Index),), float(row.label_error), _text(row.suggested_label))
        for row in scores[scores["label_error"] > 0.5].itertuples()
    ]


def outlier_samples(evidence: Evidence) -> list[Finding]:
    """Samples beyond the outer fence of the distance to their nearest neighbours: severity over 0.5."""
    scores = evidence.scores
    return [
        Finding("outlier", (int(row.Index),), float(row.outlier))
        for row in scores[scores["outlier"] > 0.5].itertuples()
    ]


def duplicates(evidence: Evidence) -> list[Finding]:
    """Groups of pixel-identical images."""
    return _groups(evidence, "duplicate", evidence.duplicates[evidence.duplicates["kind"] == "exact"])


def near_duplicates(evidence: Evidence) -> list[Finding]:
    """Groups of images that are nearly the same, unless all of their members are pixel-identical anyway."""
    pairs = evidence.duplicates
    near = _groups(evidence, "near_duplicate", pairs)
    exact = {group.name.partition(":")[2]: set(group.samples) for group in duplicates(evidence)}
    return [group for group in near if set(group.samples) != exact.get(group.name.partition(":")[2])]


FINDERS = (label_errors, duplicates, near_duplicates, outlier_samples)


def _groups(evidence: Evidence, kind: str, pairs: pd.DataFrame) -> list[Finding]:
    """Connected pairs as findings: conflicting labels weigh most, then a leak between splits, then plain repetition.

    The suspect comes first: of the training samples the one with the highest label-error severity. In a conflict the
    suggested label is that of the member which is least suspect; validation and test samples are trusted most.
    """
    ids = np.unique(pairs[["sample", "partner"]].to_numpy(np.int64))
    first, second = (np.searchsorted(ids, pairs[name].to_numpy(np.int64)) for name in ("sample", "partner"))
    findings = []
    for members in groups(Pairs(first, second, pairs["similarity"].to_numpy()), len(ids)):
        members = ids[members]
        rows = evidence.samples.loc[members]
        suspicion = evidence.scores["label_error"].reindex(members).fillna(-1.0).to_numpy()
        order = np.lexsort((members, -suspicion))
        conflict, leak = rows["label"].nunique() > 1, rows["split"].nunique() > 1
        similarity = float(pairs.loc[pairs["sample"].isin(members), "similarity"].min())
        findings.append(
            Finding(
                kind,
                tuple(int(member) for member in members[order]),
                similarity * (1.0 if conflict else 0.75 if leak else 0.5),
                str(rows["label"].iloc[order[-1]]) if conflict else None,
                {"conflict": bool(conflict), "splits": [s for s in SPLITS if (rows["split"] == s).any()]},
            )
        )
    return findings


def _text(value) -> str | None:
    return None if pd.isna(value) else str(value)
