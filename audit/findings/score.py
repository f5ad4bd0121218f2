"""A recorded run becomes scores.parquet and pairs.parquet (`score_run`).

Needs neither the images nor the network: all that they give lies in the run folder.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lossprint.audit.findings import doubts, engines, frozen, planning, sharding, views
from lossprint.audit.findings.sharding import Job, Shard
from lossprint.audit.findings.task_scores import mend_scores
from lossprint.audit.recording.responses import scores_of
from lossprint.audit.runs import checksums
from lossprint.audit.runs.run import Run
from lossprint.audit.runs.tables import LOOKUP_ROWS, rows_writer
from lossprint.audit.system.progress import Bar
from lossprint.audit.video import frames
from lossprint.scoring import labels as label_scores
from lossprint.scoring import outliers, ranks
from lossprint.scoring import strength as strengths
from lossprint.scoring.labels import SUSPECT
from lossprint.scoring.strength import Strength, Wrong

SCORED = (  # columns of scores.parquet that are numbers, or triage; the suggested label comes after `outlier`
    *("cld", "ltc", "csl", "aum", "curvature", "trace", "gradient_norm", "label_error", "outlier"),
    *("suggested_probability", "triage", "rank_confidence", "forgetting", "el2n", "p_mean", "p_std"),
)
CURVATURE = "head_curvature"  # a column of runs on frozen features alone
FEW = 10  # validation samples a class under which CLD is called noisy


@dataclass(frozen=True)
class Beside:
    """What comes from all samples at once, not from a shard: outlier severity (N,), confidence of the rank (N,), what
    holds of each class's findings, and the ranking of heads on frozen features, if there is one, a row a sample; and of
    prompt/response pairs their two scores by sample."""

    outlier: np.ndarray
    confidence: np.ndarray
    strength: Strength
    head: pd.DataFrame | None = None
    responses: pd.DataFrame | None = None


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
        job, head = basis.job, frozen.head_of(run, basis.ids)
        shards, needed = planning.cut(basis, memory or engine.memory(), engine.workers)
        quiet |= len(shards) == 1
        if not quiet:
            print(_plan(basis, shards, needed, engine.workers), file=sys.stderr, flush=True)
        responses = scores_of(run)
        outlier = _outlier_severity(run, basis.ids) if head is None else frozen.foreign(head)
        total = len(shards) * (2 if job.limited else 1)
        with Bar(total=total, unit="shard", desc="score", disable=quiet, mininterval=1) as bar:
            measured = list(_each(engine.map(sharding.measure, shards, job), bar))
            confusions = sum((part.confusions for part in measured[1:]), measured[0].confusions)
            excess, both = label_scores.excess(confusions, basis.seen), bool(run.members("view")) and head is not None
            usual = confusions.usual
            confidence, flagged = _confidence(job, shards, excess, usual, None if both else head)
            more = planning.facts(job)
            if both:
                together = views.combined(run, head, _own_errors(job, shards))
                head, more = together.head, more | {"views": together.facts}
                confidence, flagged = _confidence(job, shards, excess, usual, head)
            if job.limited:
                list(_each(engine.map(sharding.pair_suspicious, shards, job), bar))
        run = run.reopen("score")  # all that may be damaged is read: what cannot be scored anew stays as it is
        verdict = strengths.strength(basis.learnt, confusions.sizes, flagged)
        wrong = _wrong(job, shards, usual, basis.newness, verdict, head)
        seen = _write_scores(run, job, shards, Beside(outlier, confidence, verdict, head, responses))
        _write_pairs(run, job, shards)
    if run.task != "classes":
        mend_scores(run)
    reasons = vars(measured[0].undefined)
    undefined = {name: sum(getattr(part.undefined, name) for part in measured) for name in reasons}
    counts = np.bincount(basis.val.labels, minlength=job.classes)
    return run.finish(
        "score",
        undefined_cld={name: count for name, count in undefined.items() if count},
        few_validation={
            run.classes[c]: int(counts[c]) for c in np.flatnonzero(counts < FEW) if run.task != "multi-label"
        },
        **doubts.facts(run, basis.learnt, verdict, confusions.sizes, flagged, wrong),
        **more,
        **seen,
    )


def _plan(basis: planning.Basis, shards: list[Shard], needed: float, workers: int) -> str:
    size = f"{len(basis.ids):,} samples x {len(basis.val.checkpoints)} checkpoints"
    each = f" each of {workers} workers" if workers > 1 else ""
    return f"lossprint: scoring {size} in {len(shards):,} shards, about {needed / 1e9:.1f} GB{each}"


def _each(results: Iterator, bar: Bar) -> Iterator:
    for result in results:
        bar.update()
        yield result


def _confidence(
    job: Job, shards: list[Shard], excess: np.ndarray, usual: np.ndarray, head: pd.DataFrame | None
) -> tuple[np.ndarray, np.ndarray]:
    """The confidence of the ranks (N,), and how many of each class are flagged (C,); leaves the severity of each shard
    in the scratch folder.

    excess (C, C), usual (C,): of the confusions of all shards. Holds some numbers a sample of all shards, but no
    trajectories. With the ranking of a `head`, which knows no checkpoints, there is no confidence.
    """
    if head is not None:
        severities = [frozen.severity(head[shard.start :][: shard.count]) for shard in shards]
        return np.full(len(head), np.nan), _leave(job, shards, severities)
    margins, shifts, unranked, clear = [], [], [], 0
    for shard in shards:
        arrays = sharding.load(job.place(shard, "scores"), ("labels", "unranked", *sharding.ERRORS))
        errors = label_scores.with_prior(sharding.errors_from(arrays), arrays["labels"], excess)
        errors = label_scores.by_class(errors, arrays["labels"], usual)
        clear += int(label_scores.clear(errors, usual).sum())
        margins.append(errors.margin)
        shifts.append(errors.margin - arrays["margin"])
        unranked.append(arrays["unranked"])
    level = label_scores.level(np.concatenate(margins), clear)
    flagged = _leave(job, shards, [label_scores.severity(margin - level) for margin in margins])
    rows = sharding.draw_means(job, shards)
    shares = ranks.shares(rows, np.concatenate(shifts), np.concatenate(unranked), int(flagged.sum()))
    return shares, flagged


def _leave(job: Job, shards: list[Shard], severities: list[np.ndarray]) -> np.ndarray:
    """Leave the severity of each shard in the scratch folder; how many samples of each class are flagged (C,)."""
    flagged = np.zeros(job.classes, np.int64)
    for shard, severity in zip(shards, severities):
        labels = sharding.load(job.place(shard, "scores"), ("labels",))["labels"]
        sharding.save(job.place(shard, "severity"), severity=severity)
        flagged += np.bincount(labels[severity > SUSPECT], minlength=job.classes)
    return flagged


def _wrong(
    job: Job, shards: list[Shard], usual: np.ndarray, newness: float, verdict: Strength, head: pd.DataFrame | None
) -> Wrong:
    """How many of the flagged are wrong. On frozen features by the heads' probabilities, which are out of fold."""
    parts = []
    for shard in shards:
        names = ("labels", *sharding.ERRORS)
        arrays = sharding.load(job.place(shard, "scores"), names) | sharding.load(job.place(shard, "severity"))
        errors = sharding.errors_from(arrays)
        if head is not None:
            errors = frozen.errors(errors, head[shard.start :][: shard.count])
        rows = errors.severity > SUSPECT
        parts.append([arrays["labels"][rows], *(one[rows] for one in strengths.chances(errors, usual))])
    labels, low, high = (np.concatenate(some) for some in zip(*parts))
    return strengths.wrong_among(labels, low, high, 1.0 if head is not None else newness, verdict)


def _own_errors(job: Job, shards: list[Shard]) -> label_scores.LabelErrors:
    """The label errors (N,) of the run's own trajectories, of all shards."""
    parts = [
        sharding.load(job.place(shard, "scores")) | sharding.load(job.place(shard, "severity")) for shard in shards
    ]
    names = ("severity", *sharding.ERRORS)
    return label_scores.LabelErrors(**{name: np.concatenate([part[name] for part in parts]) for name in names})


# ---------------------------------------------------------------------------------------------- tables


def _write_scores(run: Run, job: Job, shards: list[Shard], beside: Beside) -> dict:
    """The tables of scores and frames, from what the shards have left, in the memory of one shard; facts of videos."""
    names = np.array([*run.classes, None], object)  # -1, no suggestion, takes the last
    (over_time, seen), doubtful = _over_time(run), beside.strength.doubtful
    with rows_writer(run.scores_path) as append:
        for shard in shards:
            texts = run.texts("train", (shard.first, shard.last))
            for start in range(0, max(shard.count, 1), LOOKUP_ROWS):
                part = slice(start, start + LOOKUP_ROWS)
                arrays = sharding.load(job.place(shard, "scores"), part=part)
                arrays |= sharding.load(job.place(shard, "severity"), part=part)
                errors = sharding.errors_from(arrays)
                if beside.head is not None:
                    errors = frozen.errors(errors, beside.head[shard.start :][: shard.count][part])
                columns = {name: texts[name].slice(start, LOOKUP_ROWS).to_pandas() for name in ("path", "label")}
                frame = pd.DataFrame({"sample": arrays["sample"], **columns})
                arrays |= {
                    "label_error": errors.severity,
                    "outlier": beside.outlier[shard.start :][: shard.count][part],
                    "suggested_probability": np.where(errors.suggested >= 0, errors.probability, np.nan),
                    "triage": pd.array(label_scores.triage(errors, doubtful[arrays["labels"]]), dtype="string"),
                    "rank_confidence": beside.confidence[shard.start :][: shard.count][part],
                }
                for name in SCORED:
                    frame[name] = arrays[name]
                    if name == "outlier":
                        frame["suggested_label"] = pd.array(names[errors.suggested], dtype="string")
                if beside.head is not None and CURVATURE in beside.head:
                    frame[CURVATURE] = beside.head[CURVATURE].to_numpy()[shard.start :][: shard.count][part]
                for more in (over_time, beside.responses):
                    if more is not None:
                        frame = frame.join(more, on="sample")
                append(pa.Table.from_pandas(frame, preserve_index=False))
    return seen


def _write_pairs(run: Run, job: Job, shards: list[Shard]) -> None:
    with rows_writer(run.pairs_path) as append:
        for shard in shards:
            with pq.ParquetFile(job.place(shard, "pairs")) as file:
                append(file.schema_arrow.empty_table())
                for group in range(file.num_row_groups):
                    append(file.read_row_group(group))


def _over_time(run: Run) -> tuple[pd.DataFrame | None, dict]:
    """Write the tables of frames and spans, if videos were looked at over time; their columns of the scores, facts."""
    seen = run.timeline()
    if seen is None:
        return None, {}
    table, spans, facts = frames.tables(run, seen)
    run.write_frames(table, spans)
    return table.set_index("sample")[["sequence_label", "sequence_order"]], facts


def _outlier_severity(run: Run, samples: np.ndarray) -> np.ndarray:
    """Severity (N,) for the training samples, NaN where the run has no embedding."""
    severity = np.full(len(samples), np.nan)
    embeddings = run.embeddings()
    if embeddings is None:
        return severity
    ids, vectors = embeddings
    at = np.minimum(np.searchsorted(ids, samples), len(ids) - 1)
    known = ids[at] == samples
    neighbours = outliers.neighbour_count(int(known.sum()), len(run.classes))
    severity[known] = outliers.outlier_severity(outliers.neighbour_distance(vectors[at[known]], neighbours))
    return severity
