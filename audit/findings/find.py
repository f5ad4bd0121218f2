"""A recorded run -> scores.parquet and pairs.parquet (`score_run`) -> findings.parquet (`find_run`).

Needs neither the images nor the network: all that they give lies in the run folder. A finder is a function from
`Evidence` to findings; `FINDERS` is the list of them.
"""

import sys
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from lossprint.audit.findings import engines, planning, sharding
from lossprint.audit.findings.sharding import Job, Shard
from lossprint.audit.runs import checksums
from lossprint.audit.runs.run import Run
from lossprint.audit.runs.tables import LOOKUP_ROWS, rows_writer
from lossprint.audit.types import SPLITS, Finding
from lossprint.audit.video import frames
from lossprint.audit.video.spans import mend
from lossprint.scoring import labels as label_scores
from lossprint.scoring import outliers, ranks
from lossprint.scoring.duplicates import Pairs, groups
from lossprint.scoring.labels import SUSPECT

SCORED = (  # columns of scores.parquet that are numbers, or triage; the suggested label comes after `outlier`
    *("cld", "ltc", "csl", "aum", "curvature", "trace", "gradient_norm", "label_error", "outlier"),
    *("suggested_probability", "triage", "rank_confidence", "forgetting", "el2n", "p_mean", "p_std"),
)
FEW = 10  # validation samples a class under which CLD is called noisy


def score_run(run: Run, engine=None, memory: float | None = None, quiet: bool = True) -> Run:
    """Compute every score of every training sample and its partners among the validation samples, and store them.

    Goes by shards of the samples, see `sharding`, as many as `memory` asks for: bytes that a process may take, by
    default half of what is free, shared among the workers of `engine` (see `engines`; by default this process). The
    number of shards and the engine change nothing but time and memory. Unless `quiet`, says how much it will take where
    that is more than one shard, and how far it is. What is there is replaced once everything has been worked out.
    """
    engine = engine or engines.Local()
    checksums.refuse_damaged(run.path, run.stages)
    checksums.sweep(run.path)
    with run.scratch() as scratch:
        basis = planning.prepare(run, scratch)
        memory = memory or engine.memory()
        shards, needed = planning.cut(basis, memory, engine.workers)
        job = basis.job if len(shards) > 1 or engine.workers > 1 else replace(basis.job, held={})
        quiet |= len(shards) == 1
        if not quiet:
            print(_said(basis, shards, needed, engine.workers), file=sys.stderr, flush=True)
        outlying = _outlier_severity(run, basis.ids)
        with tqdm(total=2 * len(shards), unit="shard", desc="score", disable=quiet, mininterval=1) as bar:
            undefined, excess, thresholds = _work(basis, job, shards, engine, bar)
        run = run.reopen("score")  # all that may be damaged is read: what cannot be scored anew stays as it is
        job = replace(job, held=None)
        _write(run, job, shards, excess, thresholds, outlying)
    if run.task != "classes":
        from lossprint.audit.findings.task_scores import mend_scores

        mend_scores(run)
    counts = np.bincount(basis.val.labels, minlength=job.classes)
    return run.finish(
        "score",
        undefined_cld={name: count for name, count in undefined.items() if count},
        few_validation={
            run.classes[c]: int(counts[c]) for c in np.flatnonzero(counts < FEW) if run.task != "multi-label"
        },
        **planning.facts(job),
    )


def _said(basis: planning.Basis, shards: list[Shard], needed: float, workers: int) -> str:
    size = f"{len(basis.ids):,} samples x {len(basis.val.checkpoints)} checkpoints"
    each = f" each of {workers} workers" if workers > 1 else ""
    return f"lossprint: scoring {size} in {len(shards):,} shards, about {needed / 1e9:.1f} GB{each}"


def _work(basis: planning.Basis, job: Job, shards: list[Shard], engine, bar) -> tuple[dict, np.ndarray, np.ndarray]:
    """Why CLD is undefined, the excess of confusions (C, C), the thresholds of the draws (D,); the rest is on disk."""
    measured = {}
    for one in engine.map(sharding.measure, shards, job):
        measured[one.shard.number] = one
        bar.update()
    measured = [measured[shard.number] for shard in shards]
    undefined = {name: sum(getattr(one.undefined, name) for one in measured) for name in vars(measured[0].undefined)}
    excess = label_scores.excess(sum((one.confusions for one in measured[1:]), measured[0].confusions), basis.seen)
    margins = [np.concatenate(some, axis=1) for some in zip(*(one.margins for one in measured))]
    margin, suggested, labels = (
        np.concatenate([getattr(one, name) for one in measured]) for name in ("margin", "suggested", "labels")
    )
    del measured
    shift = label_scores.shifted(margin, suggested, labels, excess) - margin
    flagged = 0
    for shard in shards:
        arrays = sharding.load(job.place(shard, "scores"), ("labels", *sharding.ERRORS))
        found = label_scores.with_prior(sharding.errors_from(arrays), arrays["labels"], excess)
        flagged += int((found.severity > SUSPECT).sum())
    again = False

    def count(bracket: np.ndarray) -> list[ranks.Tally]:
        nonlocal again
        if again:
            bar.total += len(shards)
        tallies = []
        for one in engine.map(sharding.rank, shards, job, excess, bracket, again):
            tallies.append(one)
            bar.update()
        again = True
        return tallies

    return undefined, excess, ranks.search(job.draws, (margins, shift), flagged, len(basis.ids), count)


def _write(run: Run, job: Job, shards: list[Shard], excess: np.ndarray, thresholds: np.ndarray, outlying) -> None:
    """The tables of scores, pairs and frames, from what the shards have left, in the memory of one shard."""
    names = np.array([*run.classes, None], object)  # -1, no suggestion, takes the last
    over_time = _over_time(run)
    with rows_writer(run.scores_path) as append:
        for shard in shards:
            known = run.texts("train", (shard.first, shard.last))
            sure = ranks.shares(ranks.Tally(**sharding.load(job.place(shard, "ranks"))), thresholds)
            for start in range(0, max(shard.count, 1), LOOKUP_ROWS):
                part = slice(start, start + LOOKUP_ROWS)
                arrays = sharding.load(job.place(shard, "scores"), part=part)
                found = label_scores.with_prior(sharding.errors_from(arrays), arrays["labels"], excess)
                texts = {name: known[name].slice(start, LOOKUP_ROWS).to_pandas() for name in ("path", "label")}
                frame = pd.DataFrame({"sample": arrays["sample"], **texts})
                arrays |= {
                    "label_error": found.severity,
                    "outlier": outlying[shard.start :][: shard.count][part],
                    "suggested_probability": np.where(found.suggested >= 0, found.probability, np.nan),
                    "triage": pd.array(label_scores.triage(found), dtype="string"),
                    "rank_confidence": sure[part],
                }
                for name in SCORED:
                    frame[name] = arrays[name]
                    if name == "outlier":
                        frame["suggested_label"] = pd.array(names[found.suggested], dtype="string")
                append(pa.Table.from_pandas(_joined(frame, over_time), preserve_index=False))
    with rows_writer(run.pairs_path) as append:
        for shard in shards:
            with pq.ParquetFile(job.place(shard, "pairs")) as file:
                append(file.schema_arrow.empty_table())
                for group in range(file.num_row_groups):
                    append(file.read_row_group(group))


def _over_time(run: Run) -> pd.DataFrame | None:
    """Write the tables of frames and spans, where videos were looked at over time; what goes to the scores of it."""
    seen = run.timeline()
    if seen is None:
        return None
    table, spans = frames.tables(run, seen)
    run.write_frames(table, spans)
    return table.set_index("sample")[["sequence_label", "sequence_order"]]


def _joined(frame: pd.DataFrame, over_time: pd.DataFrame | None) -> pd.DataFrame:
    return frame if over_time is None else frame.join(over_time, on="sample")


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


# ---------------------------------------------------------------------------------------------- findings


@dataclass(frozen=True)
class Evidence:
    """What the finders see: scores (label_error, outlier, suggested_label) and samples (path, label, split), both by
    sample id, the duplicate pairs, the tables of frames (None without any) and of spans.

    Of samples and scores there need not be more than may come to be in a finding.
    """

    scores: pd.DataFrame
    samples: pd.DataFrame
    duplicates: pd.DataFrame
    frames: pd.DataFrame | None = None
    spans: pd.DataFrame | None = None


def find_run(run: Run) -> Run:
    """Turn the stored scores into ranked findings."""
    run = run.reopen("find")
    pairs, seen = run.duplicates(), run.frames()
    paired = np.unique(pairs[["sample", "partner"]].to_numpy(np.int64)).tolist()
    # Rows and columns in question only: of 20 million samples all would take 10 GB and more.
    suspicious = [[(kind, ">", SUSPECT)] for kind in ("label_error", "outlier")]
    if paired:
        suspicious.append([("sample", "in", paired)])
    scores = run.scores(suspicious, ["sample", "label_error", "outlier", "suggested_label"]).set_index("sample")
    framed = [] if seen is None else seen["sample"].tolist()
    asked = np.unique([*scores.index, *paired, *framed]).tolist()
    samples = run.samples(asked, ["sample", "path", "label", "split"])
    evidence = Evidence(scores, samples.set_index("sample"), pairs, seen, run.spans())
    findings = [finding for finder in FINDERS for finding in finder(evidence)]
    run.write_findings(findings, samples)
    kinds = pd.Series([finding.kind for finding in findings], dtype=object).value_counts()
    return run.finish("find", findings={kind: int(count) for kind, count in kinds.items()})


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
