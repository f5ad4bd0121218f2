"""What a report is made of: one reading of a run and its decisions. Knows no HTML."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from lossprint.audit.datasets.media import Media, media_of
from lossprint.audit.export.applied import applied
from lossprint.audit.review import assigning, resolve, span_counts, stopping
from lossprint.audit.review.queues import SPANS
from lossprint.audit.review.resolve import RULES
from lossprint.audit.review.reviews import Reviews
from lossprint.audit.runs.run import Run
from lossprint.audit.scores import SCORES
from lossprint.audit.types import ALONE, KINDS, SPLITS

WORST = 12  # findings of a kind that are shown with pictures
MEMBERS = 4  # images of a group that are shown
ROWS = 200  # changes that are listed
STRIP = 8  # frames of a segment that are shown
FEATURES = ("suggested_probability", "triage", "rank_confidence")


@dataclass(frozen=True)
class Prints:
    """Loss trajectories: checkpoints (E,), losses (E,) by sample, means (E,) by given label; `of` says whose means."""

    checkpoints: list[int]
    losses: dict[int, np.ndarray]
    means: dict[str, np.ndarray]
    of: str


@dataclass(frozen=True)
class Place:
    """A segment in a video of `count` frames: positions first to stop (excluded), of two blocks the second's `middle`,
    the `edges` (P,) at which the given phases begin, and the numbers of the video's first and last frame."""

    count: int
    first: int
    stop: int
    middle: int | None
    edges: np.ndarray
    ends: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Facts:
    """A run and its decisions under a rule of `resolve.RULES`.

    samples: path, label, split, indexed by sample. counts: samples by label (rows) and split (columns). worst: the rows
    of findings that are shown, but those of video. scores: names of the scores that the run has. accuracy: of the
    validation samples at the last checkpoint, in [0, 1], None where unknown. history, progress: as of `Reviews`;
    standing: what stands of the history. reviewed: rows of `Applied.decided` with a decision under the rule, indexed by
    sample; changed: those of them that differ from the dataset. frames, spans: as of `Run`, None and empty
    where no video was looked at over time; outcomes: what holds of these spans, see `span_counts`. sequences: how many
    videos the dataset has.
    """

    run: Run
    rule: str
    samples: pd.DataFrame
    counts: pd.DataFrame
    unreadable: pd.DataFrame
    findings: pd.DataFrame
    worst: pd.DataFrame
    scores: tuple[str, ...]
    prints: Prints | None
    accuracy: float | None
    history: pd.DataFrame
    standing: pd.DataFrame
    progress: pd.DataFrame
    reviewed: pd.DataFrame
    changed: pd.DataFrame
    stop: stopping.Stopping
    agreement: assigning.Agreement
    comparison: pd.DataFrame | None
    frames: pd.DataFrame | None
    spans: pd.DataFrame
    outcomes: pd.DataFrame
    sequences: int

    @property
    def about(self) -> dict:
        """What run.json says of the dataset."""
        return self.run.manifest["dataset"]

    @property
    def media(self) -> Media:
        return media_of(self.about)

    @property
    def noun(self) -> str:
        """What one sample is: image or text."""
        return self.media.noun

    @property
    def reviewers(self) -> list[str]:
        return sorted(set(self.standing["reviewer"].astype(str)))

    @property
    def date(self) -> str:
        """When the state was reached that the report tells: the last row of the history, else the run's creation."""
        return str(self.history["at"].iloc[-1]) if len(self.history) else str(self.run.manifest.get("created", ""))

    @cached_property
    def by_segment(self) -> pd.Series:
        """Which of `changed` a decision on a stretch of video has changed, (N,) bool."""
        kind = self.changed["finding"].astype(object).str.split(":", n=1).str[0]
        return kind.isin(SPANS)

    @property
    def only_frames(self) -> bool:
        """Whether all samples are frames of videos that were looked at over time: none has a finding of its own."""
        return self.frames is not None and len(self.frames) == len(self.samples)

    # --------------------------------------------------------------------------------------------- what was found

    @cached_property
    def kinds(self) -> list[str]:
        """The kinds of finding that there are."""
        return [kind for kind in KINDS if (self.progress["kind"] == kind).any()]

    def number_of(self, kind: str) -> int:
        return int(self.progress.loc[self.progress["kind"] == kind, "of"].iloc[0])

    @property
    def looked_for(self) -> dict[str, bool]:
        """Whether the run was able to find each kind that the dataset may have."""
        able = {
            "label_error": "label_error" in self.scores,
            "duplicate": self.run.has_duplicates(),
            "near_duplicate": self.run.has_duplicates(),
            "outlier": "outlier" in self.scores,
            "quality": self.run.quality() is not None,
        }
        if self.only_frames:
            del able["label_error"]  # a frame's label is wrong for a stretch
        return able | (dict.fromkeys(SPANS, self.frames is not None) if self.sequences else {})

    @property
    def not_found(self) -> tuple[list[str], list[str]]:
        """The kinds that were looked for in vain, and those that were not looked for."""
        missing = [(kind, able) for kind, able in self.looked_for.items() if kind not in self.kinds]
        return [kind for kind, able in missing if able], [kind for kind, able in missing if not able]

    def top(self, samples: pd.Series) -> float:
        """The upper end of the scale that the loss prints of these samples share; 0 where there are none."""
        drawn = [sample for sample in samples if self.prints is not None and sample in self.prints.losses]
        curves = [self.prints.losses[sample] for sample in drawn]
        curves += [self.prints.means[self.samples.at[sample, "label"]] for sample in drawn]
        values = np.concatenate(curves) if curves else np.empty(0)
        return float(np.nanmax(values)) if np.isfinite(values).any() else 0.0

    def odd_groups(self, kind: str) -> tuple[int, int]:
        """How many of all groups of a kind have conflicting labels, and how many lie in several splits."""
        members = self.findings.loc[self.findings["kind"] == kind, ["group", "sample"]]
        samples = self.samples.loc[members["sample"], ["label", "split"]].astype(object).reset_index(drop=True)
        each = samples.groupby(members["group"].to_numpy()).nunique()
        return int((each["label"] > 1).sum()), int((each["split"] > 1).sum())

    def worst_spans(self, kind: str) -> pd.DataFrame:
        """The segments of video of a kind that are shown."""
        return self.spans[self.spans["kind"] == kind].head(WORST)

    def strip(self, span) -> pd.DataFrame:
        """Frames from all of a segment (a row of `Run.spans`), in order, at most `STRIP`."""
        rows = self.frames[self.frames["sequence"] == span.sequence]
        rows = rows[rows["frame"].between(span.start, span.end)]
        count = min(STRIP, len(rows))
        return rows.iloc[[int((at + 0.5) * len(rows) / count) for at in range(count)]]

    def place(self, span) -> Place:
        """Where in its video a segment lies."""
        video = self.frames[self.frames["sequence"] == span.sequence]
        number, label = video["frame"].to_numpy(np.int64), video["label"].to_numpy(str)
        middle = None if pd.isna(span.middle) else int(np.searchsorted(number, int(span.middle)))
        return Place(
            count=len(number),
            first=int(np.searchsorted(number, span.start)),
            stop=int(np.searchsorted(number, span.end, side="right")),
            middle=middle,
            edges=np.flatnonzero(label[1:] != label[:-1]) + 1,
            ends=(int(number[0]), int(number[-1])),
        )

    # --------------------------------------------------------------------------------------------- what was decided

    @property
    def tally(self) -> dict[str, int]:
        """Reviewed samples by what holds for them."""
        change, decision = self.reviewed["change"], self.reviewed["decision"]
        unsure = decision == "unsure"
        return {
            "changed": int((change == "relabelled").sum()),
            "moved": int((change == "reordered").sum()),
            "out": int((change == "excluded").sum()),
            "kept": int(((change == "") & ~unsure).sum()),
            "unsure": int(((change == "") & unsure).sum()),
        }

    @property
    def decided_on(self) -> int:
        """How many samples somebody decided on."""
        return self.standing["sample"].nunique()

    def decision(self, sample: int) -> pd.Series | None:
        """The row of `reviewed` of a sample."""
        return self.reviewed.loc[sample] if sample in self.reviewed.index else None

    def is_open(self, sample: int) -> bool:
        """Whether a sample that was reviewed has no decision yet."""
        return bool((self.standing["sample"] == sample).any())

    def outcome_of(self, span: str) -> tuple[str, int, list[str]]:
        """What holds of a segment (see `span_counts.outcomes`), its frames that are changed, and who decided on it."""
        choice, changed = self.outcomes.loc[span, ["choice", "changed"]]
        people = self.standing.loc[self.standing["finding"] == span, "reviewer"]
        return choice, int(changed), sorted(set(people.astype(str)))

    @cached_property
    def segment_counts(self) -> pd.DataFrame:
        return span_counts.counts(self.spans, self.outcomes)

    @cached_property
    def answers(self) -> pd.DataFrame:
        """The last answer of each reviewer to each question, in each role."""
        return self.standing.drop_duplicates(["finding", "sample", "reviewer", "role"], keep="last")

    @cached_property
    def about_segments(self) -> pd.Series:
        """Which of `answers` are about a segment of video."""
        return self.answers["finding"].astype(object).str.split(":", n=1).str[0].isin(SPANS)

    @property
    def disagreements(self) -> tuple[int, int]:
        """Samples on which reviewers differ, and how many of these an adjudication has settled."""
        apart = resolve.disagreements(self.history, self.samples["label"])
        return len(apart), int(apart["adjudicated"].sum())

    @property
    def stop_sentences(self) -> list[str]:
        sentences = stopping.findings_in_words(self.stop)
        return sentences[1:] if self.no_labels_flagged else sentences  # of frames, segments are flagged

    @property
    def stop_notes(self) -> list[str]:
        return stopping.notes(replace(self.stop, elsewhere=0) if self.no_labels_flagged else self.stop)

    @property
    def no_labels_flagged(self) -> bool:
        return self.only_frames and not self.stop.flagged

    @property
    def decided_since_comparison(self) -> int:
        """Decisions that the comparison of given and cleaned labels does not know."""
        last = self.comparison["last_review"].dropna()
        return int((self.standing["id"] > int(last.max())).sum()) if len(last) else 0

    @property
    def digest(self) -> str:
        """A sha256 over what was decided, by whom and when: another one means other decisions."""
        names = ["id", "finding", "sample", "decision", "new_label", "reviewer", "at", "comment", "undoes", "role"]
        table = self.history[names].to_csv(index=False, lineterminator="\n")
        return hashlib.sha256(table.encode("utf-8", "replace")).hexdigest()

    @property
    def rule_words(self) -> str:
        if self.rule.startswith("reviewer:"):
            return f"what {self.rule.removeprefix('reviewer:').strip()} said"
        return RULES[self.rule]


def gather(run: Run, reviews: Reviews, rule: str = "latest") -> Facts:
    """Read all of it. Raises LossprintError for an unknown rule, and where the run is damaged or half written."""
    decisions = applied(run, reviews, apply=rule)
    history, decided = decisions.history, decisions.decided  # first: a wrong rule costs no time
    decided = decided[decided["decision"].notna()].set_index("sample")
    table = run.samples()
    samples = table.set_index("sample")[["path", "label", "split"]]
    findings, spans = run.findings(), run.spans()
    counts = pd.crosstab(samples["label"].astype(object), samples["split"].astype(object))
    train = samples.index[(samples["split"] == "train").to_numpy(bool)].to_numpy()
    worst = findings[(findings["rank"] <= WORST) & ~findings["kind"].isin(SPANS)]
    worst, scores = _with_scores(run, worst)
    alone = worst.loc[worst["kind"].isin(ALONE), "sample"].tolist()
    return Facts(
        run=run,
        rule=rule,
        samples=samples,
        counts=counts.reindex(columns=[one for one in SPLITS if one in counts], fill_value=0),
        unreadable=run.unreadable(),
        findings=findings,
        worst=worst,
        scores=scores,
        prints=_prints(run, samples, alone),
        accuracy=_accuracy(run, samples),
        history=history,
        standing=history[history["stands"]],
        progress=reviews.progress(findings, history),
        reviewed=decided,
        changed=decided[decided["change"] != ""],
        stop=_stop(findings, train, history, int(run.manifest.get("seed") or 0), rule),
        agreement=assigning.agreement(history, samples["label"]),
        comparison=run.comparison(),
        frames=run.frames(),
        spans=spans,
        outcomes=span_counts.outcomes(history, spans, rule),
        sequences=int(table["sequence"].nunique()) if "sequence" in table else 0,
    )


def _stop(findings: pd.DataFrame, train: np.ndarray, history: pd.DataFrame, seed: int, rule: str) -> stopping.Stopping:
    if rule.startswith("reviewer:"):  # one who decided on other kinds of finding only is no fault here
        who = rule.removeprefix("reviewer:").strip()
        history, rule = history[(history["reviewer"] == who).to_numpy(bool)], "latest"
    return stopping.stopping(findings, train, history, seed, rule=rule)


def _with_scores(run: Run, worst: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """`worst` with FEATURES, missing where the run has none, and the names of the scores that it has."""
    table = run.scores()
    has = tuple(one for one in SCORES if one in table and table[one].notna().any())
    features = [one for one in FEATURES if one in table]
    mine = table.loc[table["sample"].isin(worst["sample"]), ["sample", *features]]
    return worst.merge(mine, on="sample", how="left").reindex(columns=[*worst.columns, *FEATURES]), has


def _prints(run: Run, samples: pd.DataFrame, wanted: list[int]) -> Prints | None:
    """Loss prints of some training samples, one checkpoint in memory at a time."""
    checkpoints = run.recorded("train")
    if not checkpoints or not wanted:
        return None
    losses = {int(sample): np.full(len(checkpoints), np.nan) for sample in wanted}
    labels = sorted(set(samples.loc[wanted, "label"].astype(object)))
    split = "val" if run.recorded("val") == checkpoints else "train"
    code = pd.Series(pd.Index(labels).get_indexer(samples["label"].astype(object)), index=samples.index)
    means = np.full((len(labels), len(checkpoints)), np.nan)
    for at, checkpoint in enumerate(checkpoints):
        ids, values = _column(run, "train", checkpoint, "loss")
        mine = np.isin(ids, wanted)
        for sample, value in zip(ids[mine].tolist(), values[mine].tolist()):
            losses[sample][at] = value
        if split == "val":
            ids, values = _column(run, "val", checkpoint, "loss")
        of = code.reindex(ids).to_numpy()
        known = np.isfinite(values) & (of >= 0)
        number = np.bincount(of[known].astype(int), minlength=len(labels))
        sums = np.bincount(of[known].astype(int), values[known], minlength=len(labels))
        means[:, at] = np.where(number > 0, sums / np.maximum(number, 1), np.nan)
    return Prints(checkpoints, losses, dict(zip(labels, means)), {"val": "validation", "train": "training"}[split])


def _accuracy(run: Run, samples: pd.DataFrame) -> float | None:
    checkpoints = run.recorded("val")
    if not checkpoints:
        return None
    ids, predicted = _column(run, "val", checkpoints[-1], "predicted")
    given = pd.Index(run.classes).get_indexer(samples["label"].reindex(ids).astype(object))
    known = predicted >= 0
    return float((predicted == given)[known].mean()) if known.any() else None


def _column(run: Run, split: str, checkpoint: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    part = run.part(split, checkpoint)
    return part["sample"].to_numpy(), part[name].to_numpy()
