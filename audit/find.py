"""A recorded run -> scores.parquet and pairs.parquet (`score_run`) -> findings.parquet (`find_run`).

Needs neither the images nor the network: all that they give lies in the run folder. A finder is a function from
`Evidence` to findings; `FINDERS` is the list of them.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.audit import frames
from lossprint.audit.spans import mend
from lossprint.audit.store import Run
from lossprint.audit.tables import PAIRS
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
    sources = _label_sources(run, train, val)
    curvature, outlying = run.curvature(), _outlier_severity(run, train.samples)
    run = run.reopen("score")  # all that may be damaged is read: a whole run stays whole if it cannot be scored anew
    classes = len(run.classes)
    means = trajectory.class_means(val.losses, val.labels, classes)
    cld, undefined = trajectory.class_correlation(train.losses, train.labels, means)
    errors, confidence = rank_labels(sources, classes)
    samples = run.samples().set_index("sample").loc[train.samples]
    names = np.array([*run.classes, None], object)  # -1, no suggestion, takes the last
    frame = pd.DataFrame(
        {
            "sample": train.samples,
            "path": samples["path"].to_numpy(),
            "label": samples["label"].to_numpy(),
            "cld": cld,
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
    frame["triage"] = pd.array(label_scores.triage(errors), dtype="string")
    frame["rank_confidence"] = confidence
    frame["forgetting"] = _forgetting(train)
    frame["el2n"] = np.nan if train.norms is None else trajectory.el2n(train.norms)
    frame["p_mean"], frame["p_std"] = trajectory.data_map(train.losses)
    frame = _over_time(run, frame)
    run.write_scores(frame)
    run.write_pairs(_pairs(train, val))
    counts = np.bincount(val.labels, minlength=classes)
    return run.finish(
        "score",
        undefined_cld={name: int(count) for name, count in vars(undefined).items() if count},
        few_validation={run.classes[c]: int(counts[c]) for c in np.flatnonzero(counts < FEW)},
    )


def _over_time(run: Run, scores: pd.DataFrame) -> pd.DataFrame:
    """Write the tables of frames and spans, where videos were looked at over time; the scores with theirs."""
    seen = run.timeline()
    if seen is None:
        return scores
    table, spans = frames.tables(run, seen)
    run.write_frames(table, spans)
    return scores.join(table.set_index("sample")[["sequence_label", "sequence_order"]], on="sample")


def _counted(recorded: Trajectory) -> Trajectory:
    """Without checkpoint 0, the initial weights: the papers' authors never log it, so no score counts it."""
    if not len(recorded.checkpoints) or recorded.checkpoints[0] > 0:
        return recorded
    arrays = (recorded.losses, recorded.margins, recorded.predicted, recorded.norms)
    rest = [None if a is None else a[1:] for a in arrays]
    return Trajectory(recorded.samples, recorded.labels, recorded.checkpoints[1:], *rest)


def _label_sources(run: Run, train: Trajectory, val: Trajectory) -> list[tuple[Trajectory, Trajectory]]:
    """(train, val) trajectories that label errors are ranked by: the out-of-fold ones, or the run's and further seeds'.

    Out of fold, each sample's losses come from the one network that did not train on it.
    """
    folds = run.members("fold")
    if folds:
        return [tuple(merged([_counted(fold.trajectory(split)) for fold in folds]) for split in ("train", "val"))]
    further = [tuple(_counted(seed.trajectory(split)) for split in ("train", "val")) for seed in run.members("seed")]
    return [(train, val), *further]


def merged(parts: list[Trajectory]) -> Trajectory:
    """Trajectories of the same samples, each recorded in one of the parts only, as one; without norms."""
    losses, margins, predicted = parts[0].losses, parts[0].margins, parts[0].predicted
    for part in parts[1:]:
        losses = np.where(np.isnan(losses), part.losses, losses)
        margins = np.where(np.isnan(margins), part.margins, margins)
        predicted = np.maximum(predicted, part.predicted)
    return Trajectory(parts[0].samples, parts[0].labels, parts[0].checkpoints, losses, margins, predicted)


def rank_labels(
    sources: list[tuple[Trajectory, Trajectory]], classes: int
) -> tuple[label_scores.LabelErrors, np.ndarray]:
    """Label errors of the training samples, and how sure each one's place among the flagged is, (N,) in [0, 1].

    Several sources are trainings with other seeds: their checkpoints count together, and each takes its share of the
    draws of the confidence.
    """
    weights = [label_scores.checkpoint_weights(val.losses) for _, val in sources]
    whole = np.concatenate(weights) / len(sources)

    def errors(of: list[Trajectory]) -> label_scores.LabelErrors:
        stacked = [
            None if getattr(of[0], name) is None else np.concatenate([getattr(one, name) for one in of])
            for name in ("losses", "margins", "predicted")
        ]
        losses, margins, predicted = stacked
        return label_scores.label_errors(losses, of[0].labels, margins=margins, predicted=predicted, weights=whole)

    train, val = ([pair[side] for pair in sources] for side in (0, 1))
    plain, labels = errors(train), train[0].labels
    excess = label_scores.confusion_excess(plain, labels, errors(val), val[0].labels, classes)
    found = label_scores.with_prior(plain, labels, excess)
    # Without margins the loss's negative stands in: the confidence is about ranks alone.
    rows = [-one.losses if one.margins is None else one.margins for one in train]
    flagged = int((found.severity > 0.5).sum())
    shift = found.margin - plain.margin
    return found, label_scores.rank_confidence(rows, shift, weights, flagged)


def _forgetting(train: Trajectory):
    """Forgetting events, NaN where predictions or losses are missing."""
    if train.margins is None:
        return np.nan
    missing = ~(np.isfinite(train.losses) & np.isfinite(train.margins))
    return trajectory.forgetting(train.margins > 0, missing)


def _outlier_severity(run: Run, samples: np.ndarray) -> np.ndarray:
    """Severity (N,) for the training samples, NaN where the run has no embedding."""
    found = run.embeddings()
    if found is None:
        return np.full(len(samples), np.nan)
    ids, vectors = found
    at = np.minimum(np.searchsorted(ids, samples), len(ids) - 1)
    known = ids[at] == samples
    severity = np.full(len(samples), np.nan)
    neighbours = outliers.neighbour_count(int(known.sum()), len(run.classes))
    severity[known] = outliers.outlier_severity(outliers.neighbour_distance(vectors[at[known]], neighbours))
    return severity


def _pairs(train: Trajectory, val: Trajectory) -> pd.DataFrame:
    """The partners of every training sample among the validation samples, of its own class and among all."""
    if not len(val.samples):  # new videos of a run that is trained
        return pd.DataFrame(columns=list(PAIRS))
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
    """What the finders see: scores and samples, both indexed by sample id, the duplicate pairs, the tables of frames
    (None without any) and of spans."""

    scores: pd.DataFrame
    samples: pd.DataFrame
    duplicates: pd.DataFrame
    frames: pd.DataFrame | None = None
    spans: pd.DataFrame | None = None


def find_run(run: Run) -> Run:
    """Turn the stored scores into ranked findings."""
    run = run.reopen("find")
    samples = run.samples()
    scores = run.scores().set_index("sample")
    evidence = Evidence(scores, samples.set_index("sample"), run.duplicates(), run.frames(), run.spans())
    findings = [finding for finder in FINDERS for finding in finder(evidence)]
    run.write_findings(findings, samples)
    kinds = pd.Series([finding.kind for finding in findings], dtype=object).value_counts()
    return run.finish("find", findings={kind: int(count) for kind, count in kinds.items()})


def label_errors(evidence: Evidence) -> list[Finding]:
    """Samples for which another label was ahead of the given one, by the counted checkpoints: severity over 0.5.

    Not frames that were looked at over time: a label of theirs is wrong for a stretch, see `spans`.
    """
    scores = evidence.scores
    if evidence.frames is not None:
        scores = scores.drop(evidence.frames["sample"], errors="ignore")
    return [
        Finding("label_error", (int(row.Index),), float(row.label_error), _text(row.suggested_label))
        for row in scores[scores["label_error"] > 0.5].itertuples()
    ]


def outlier_samples(evidence: Evidence) -> list[Finding]:
    """Samples beyond the fence of the distance to their k-th nearest neighbour: severity over 0.5."""
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


def spans(evidence: Evidence) -> list[Finding]:
    """Stretches of frames with a wrong label or in a wrong place, each with all of its frames in order."""
    found = []
    if evidence.frames is None:
        return found
    by_sequence = dict(list(evidence.frames.groupby("sequence", sort=False)))
    for span in evidence.spans.itertuples():
        rows = by_sequence[span.sequence]
        inside = rows.loc[rows["frame"].between(span.start, span.end), "sample"]
        middle = None if pd.isna(span.middle) else int(span.middle)
        new = mend(rows, span.how, span.start, span.end, middle, span.suggested_label)
        labels = new.set_index("sample")["new_label"].reindex(inside)
        found.append(
            Finding(
                span.kind,
                tuple(inside.tolist()),
                float(span.severity),
                labels=tuple(label if isinstance(label, str) else None for label in labels),
            )
        )
    return found


FINDERS = (label_errors, duplicates, near_duplicates, spans, outlier_samples)


def _groups(evidence: Evidence, kind: str, pairs: pd.DataFrame) -> list[Finding]:
    """Connected pairs as findings: conflicting labels weigh most, then a leak between splits, then plain repetition.

    The suspect comes first: of the training samples the one with the highest label-error severity. In a conflict the
    suggested label is that of the member which is least suspect; validation and test samples are trusted most.
    """
    ids = np.unique(pairs[["sample", "partner"]].to_numpy(np.int64))
    first, second = (np.searchsorted(ids, pairs[name].to_numpy(np.int64)) for name in ("sample", "partner"))
    similarities = pairs["similarity"].to_numpy(float)
    found = groups(Pairs(first, second, similarities), len(ids))
    belongs = np.zeros(len(ids), np.int64)
    for group, at in enumerate(found):
        belongs[at] = group
    least = np.full(len(found), np.inf)
    np.minimum.at(least, belongs[first], similarities)
    # Only the samples in question: a look-up among a million texts would cost a hundredth of a second a group.
    known = evidence.samples.loc[ids, ["label", "split"]].astype(object)
    suspicions = evidence.scores["label_error"].reindex(ids).fillna(-1.0).to_numpy()
    findings = []
    for at, similarity in zip(found, least.tolist()):
        members, rows = ids[at], known.iloc[at]
        order = np.lexsort((members, -suspicions[at]))
        conflict, leak = rows["label"].nunique() > 1, rows["split"].nunique() > 1
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
