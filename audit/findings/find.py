"""The scores of a run become findings.parquet (`find_run`).

Needs neither the images nor the network: all that they give lies in the run folder. A finder is a function from
`Evidence` to findings; `FINDERS` is the list of them.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.audit.findings import quality
from lossprint.audit.findings.unjudged import count_unjudged
from lossprint.audit.runs.run import Run
from lossprint.audit.types import SPLITS, Finding
from lossprint.audit.video.spans import mend
from lossprint.scoring.duplicates import Pairs, groups
from lossprint.scoring.labels import SUSPECT
from lossprint.scoring.near import layout


@dataclass(frozen=True)
class Evidence:
    """What the finders see: scores (label_error, outlier, suggested_label) and samples (path, label, split, sequence),
    both by sample id, the duplicate pairs, the tables of frames (None without any) and of spans, and what stands out
    by its quality, see `quality.flagged` (None where no image was looked at).

    Samples and scores need only be those that can get into a finding.
    """

    scores: pd.DataFrame
    samples: pd.DataFrame
    duplicates: pd.DataFrame
    frames: pd.DataFrame | None = None
    spans: pd.DataFrame | None = None
    quality: pd.DataFrame | None = None


def find_run(run: Run) -> Run:
    """Turn the stored scores into ranked findings."""
    run = run.reopen("find")
    pairs, frames = run.duplicates(), run.frames()
    paired = np.unique(pairs[["sample", "partner"]].to_numpy(np.int64)).tolist()
    # Rows and columns in question only: of 20 million samples all would take 10 GB and more.
    suspicious = [[(kind, ">", SUSPECT)] for kind in ("label_error", "outlier")]
    if paired:
        suspicious.append([("sample", "in", paired)])
    scores = run.scores(suspicious, ["sample", "label_error", "outlier", "suggested_label"]).set_index("sample")
    framed = [] if frames is None else frames["sample"].tolist()
    odd = None if (measured := run.quality()) is None else quality.flagged(measured)
    ids = np.unique([*scores.index, *paired, *framed, *([] if odd is None else odd["sample"])]).astype(int).tolist()
    samples = run.samples(ids, ["sample", "path", "label", "split", *(() if odd is None else ("sequence",))])
    evidence = Evidence(scores, samples.set_index("sample"), pairs, frames, run.spans(), odd)
    findings = [finding for finder in FINDERS for finding in finder(evidence)]
    run.write_findings(findings, samples)
    kinds = pd.Series([finding.kind for finding in findings], dtype=object).value_counts()
    counts = {kind: int(count) for kind, count in kinds.items()}
    return run.finish("find", findings=counts, unjudged=count_unjudged(run), layout=_write_layout(run))


def _write_layout(run: Run) -> dict | None:
    """The map of what is alike, layout.parquet: of the embedding, else of the losses; what it was made of, and how."""
    embedded, of = run.embeddings(), "embedding"
    if str(run.manifest["asked"].get("model")).startswith("frozen:"):
        of = "frozen features"
    if embedded is None or not len(embedded[0]):
        recorded = run.trajectory("train", losses_only=True)
        embedded, of = (recorded.samples, np.log1p(np.clip(recorded.losses.T, 0, None))), "losses"
    samples, vectors = embedded
    known = np.isfinite(vectors).all(axis=1) if len(samples) else np.zeros(0, bool)
    if known.sum() < 2 or not vectors.shape[1]:
        run.write_layout(None)
        return None
    made = layout.place(vectors[known], int(run.manifest.get("seed") or 0))
    x, y = made.places.T
    run.write_layout(pd.DataFrame({"sample": samples[known].astype(np.int64), "x": x, "y": y}))
    return {"of": of, "method": made.method, "arranged": made.arranged}


def label_errors(evidence: Evidence) -> list[Finding]:
    """Samples for which another label was ahead of the given one, by the counted checkpoints.

    Not frames that were looked at over time: a label of theirs is wrong for a stretch, see `spans`.
    """
    scores = evidence.scores
    if evidence.frames is not None:
        scores = scores.drop(evidence.frames["sample"], errors="ignore")
    return [
        Finding("label_error", (int(row.Index),), float(row.label_error), _text(row.suggested_label))
        for row in scores[scores["label_error"] > SUSPECT].itertuples()
    ]


def outlier_samples(evidence: Evidence) -> list[Finding]:
    """Samples beyond the fence of the distance to their k-th nearest neighbour."""
    scores = evidence.scores
    return [
        Finding("outlier", (int(row.Index),), float(row.outlier))
        for row in scores[scores["outlier"] > SUSPECT].itertuples()
    ]


def odd_quality(evidence: Evidence) -> list[Finding]:
    """Images that stand out by how they look, whatever they show; no frames of videos."""
    if evidence.quality is None or evidence.quality.empty:
        return []
    videos = set(evidence.samples.index[evidence.samples["sequence"].notna()])
    return [
        Finding("quality", (int(row.sample),), float(row.severity))
        for row in evidence.quality.itertuples()
        if row.sample not in videos
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
    findings: list[Finding] = []
    if evidence.frames is None:
        return findings
    by_sequence = dict(list(evidence.frames.groupby("sequence", sort=False)))
    for span in evidence.spans.itertuples():
        rows = by_sequence[span.sequence]
        inside = rows.loc[rows["frame"].between(span.start, span.end), "sample"]
        middle = None if pd.isna(span.middle) else int(span.middle)
        new = mend(rows, span.how, span.start, span.end, middle, span.suggested_label)
        labels = new.set_index("sample")["new_label"].reindex(inside)
        findings.append(
            Finding(
                span.kind,
                tuple(inside.tolist()),
                float(span.severity),
                labels=tuple(label if isinstance(label, str) else None for label in labels),
            )
        )
    return findings


FINDERS = [label_errors, duplicates, near_duplicates, spans, outlier_samples, odd_quality]


def _groups(evidence: Evidence, kind: str, pairs: pd.DataFrame) -> list[Finding]:
    """Connected pairs as findings: conflicting labels weigh most, then a leak between splits, then plain repetition.

    The suspect comes first: of the training samples the one with the highest label-error severity. In a conflict the
    suggested label is that of the member which is least suspect; validation and test samples are trusted most.
    """
    ids = np.unique(pairs[["sample", "partner"]].to_numpy(np.int64))
    first, second = (np.searchsorted(ids, pairs[name].to_numpy(np.int64)) for name in ("sample", "partner"))
    similarities = pairs["similarity"].to_numpy(float)
    members_of = groups(Pairs(first, second, similarities), len(ids))
    group_of = np.zeros(len(ids), np.int64)
    for group, at in enumerate(members_of):
        group_of[at] = group
    least = np.full(len(members_of), np.inf)
    np.minimum.at(least, group_of[first], similarities)
    # Only the samples in question: a look-up among a million texts would cost a hundredth of a second a group.
    given = evidence.samples.loc[ids, ["label", "split"]].astype(object)
    suspicions = evidence.scores["label_error"].reindex(ids).fillna(-1.0).to_numpy()
    findings = []
    for at, similarity in zip(members_of, least.tolist()):
        members, rows = ids[at], given.iloc[at]
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
