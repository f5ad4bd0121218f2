"""What leaves a run: findings, and the dataset as the experts decided. The source dataset is never edited.

In every export `path` is the path that the dataset itself gives a sample, so that exports can be joined. The same run
and the same decisions give the same bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lossprint.audit import outfile
from lossprint.audit.csvfile import csv_text, write_csv
from lossprint.audit.outfile import PARQUET, save
from lossprint.audit.resolve import about_places, outcome, resolve
from lossprint.audit.review import LABELLED, Reviews, open_reviews
from lossprint.audit.sources import DECODED
from lossprint.audit.store import Run, how_far, version
from lossprint.audit.tables import FINDINGS
from lossprint.audit.tree import write_tree
from lossprint.audit.types import LossprintError

__all__ = ["changes", "cleaned", "cleanlab", "csv_text", "findings", "save", "tally", "write_cleaned"]

TRACE = ("reason", "reviewer", "at", "comment", "review")
CHANGES = ("path", "split", "old", "new", "decision", "finding", *TRACE, "blind", "role", "old_frame", "new_frame")
CLEANLAB = (
    "sample",
    "path",
    "split",
    "given_label",
    "predicted_label",
    "is_label_issue",
    "label_quality",
    "cleaned_label",
    "decision",
    "reviewer",
    "review",
)
UNSURE = ("keep", "drop")
LEFT_UNSURE = "left as given, unsure in review of"


@dataclass(frozen=True)
class Cleaned:
    """What `write_cleaned` wrote: the manifest, the list of changes, and how many samples went which way.

    `unreadable` images are in neither: the audit had left them out already, see `Run.unreadable`. `unsure` of the
    excluded samples were left out because their reviewers were unsure.
    """

    manifest: Path
    changes: Path
    kept: int
    relabelled: int
    excluded: int
    unreadable: int
    unsure: int = 0
    reordered: int = 0

    def __str__(self) -> str:
        unsure = f" ({self.unsure:,} of them unsure)" if self.unsure else ""
        reordered = f"{self.reordered:,} frames put elsewhere, " if self.reordered else ""
        unreadable = f", {self.unreadable:,} unreadable images left out" if self.unreadable else ""
        return (
            f"{self.kept:,} samples written to {self.manifest}: {self.relabelled:,} relabelled, {reordered}"
            f"{self.excluded:,} excluded{unsure}{unreadable}; every change and its reason in {self.changes}"
        )


def findings(run: Run) -> pd.DataFrame:
    """All findings: kind, sample, path, label, suggested_label, severity in [0, 1], rank within the kind, group."""
    need_whole(run)
    return run.findings()[list(FINDINGS)]


# ------------------------------------------------------------------------------------------------- decisions, applied
#
# `apply` says whose decisions hold: a rule of `resolve.RULES`, or `reviewer:NAME`. `unsure` says whether samples that
# were left unsure are kept as given (`keep`) or left out (`drop`).


def cleaned(run: Run, reviews: Reviews | None = None, *, apply: str = "latest", unsure: str = "keep") -> pd.DataFrame:
    """The dataset as decided: the samples of all splits that no expert excluded, in the dataset's order.

    Columns path, label (as decided), split, sequence and frame where the dataset has them, given_label, change
    (`relabelled`, `reordered` or empty), and for each reviewed sample, changed or not, reason, reviewer, at, comment,
    review (id). Frames stand in the order that was decided.
    """
    return _kept(applied(run, reviews, apply=apply, unsure=unsure))


def changes(run: Run, reviews: Reviews | None = None, *, apply: str = "latest", unsure: str = "keep") -> pd.DataFrame:
    """What was changed, a row a sample, columns CHANGES; `new` is the decided label, empty for an excluded sample."""
    return _changed(applied(run, reviews, apply=apply, unsure=unsure, decided_only=True))


def segments(run: Run, reviews: Reviews | None = None, *, apply: str = "latest", unsure: str = "keep") -> pd.DataFrame:
    """The videos as stretches of one label, as decided, in the order of time.

    Of a run of video files, the file of segments in its own form, see `segments.corrected_segments`: the pictures stay
    in the order in which they are in the video. Otherwise sequence, start, end (frame numbers, inclusive) and label;
    excluded frames are in no stretch. Raises LossprintError where the run has no video frames.
    """
    return _segments(run, applied(run, reviews, apply=apply, unsure=unsure))


def _segments(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    if "sequence" not in table or table["sequence"].isna().all() or table["frame"].isna().all():
        raise LossprintError(f"expected video frames with sequence and frame in {run.path}, found none")
    if of_video_files(run):
        from lossprint.audit.segments import corrected_segments

        return corrected_segments(run, table)
    rows = table[table["frame"].notna() & table["sequence"].notna()].sort_values(["sequence", "frame"])
    label = rows["label"].astype(object).mask(rows["change"] == "excluded", None)
    keys = list(zip(rows["sequence"], label.where(label.notna(), None)))
    new = [at == 0 or key != keys[at - 1] for at, key in enumerate(keys)]
    found = rows.assign(label=label, stretch=np.cumsum(new))[label.notna().to_numpy()].groupby("stretch")
    return found.agg(
        sequence=("sequence", "first"), start=("frame", "min"), end=("frame", "max"), label=("label", "first")
    ).reset_index(drop=True)


def of_video_files(run: Run) -> bool:
    """Whether the run's frames were decoded from video files beside a CSV of segments."""
    root = run.manifest["dataset"].get("root")
    return bool(root) and (Path(root) / DECODED).is_file()


def write_segments(
    run: Run, out: str | Path, *, apply: str = "latest", unsure: str = "keep"
) -> tuple[int, Path | None]:
    """Write `segments` as FILE.csv with its record, and how many there are.

    A video file is not cut anew: frames that are to stand elsewhere are listed in FILE.order.csv (sequence, frame,
    new_frame), which is returned, None without any. Raises LossprintError as `segments` and `save` do.
    """
    out = Path(out)
    table = applied(run, apply=apply, unsure=unsure)
    frame, record = _segments(run, table), record_of(run, table, apply, unsure)
    outfile.refuse_table(run, frame, out, (".csv",))
    outfile.refuse_record(out)
    moved = table[_elsewhere(table)] if of_video_files(run) else table.head(0)
    order = None
    if len(moved):
        order = out.with_name(f"{out.stem}.order.csv")
        listed = moved.assign(new_frame=moved["frame"], frame=moved["given_frame"])[["sequence", "frame", "new_frame"]]
        outfile.refuse_table(run, listed, order, (".csv",))
        write_csv(listed.sort_values(["sequence", "frame"]), order)
    write_csv(frame, out)
    outfile.write(outfile.record_path(out), outfile.record_text(record).encode())
    return len(frame), order


def cleanlab(run: Run, reviews: Reviews | None = None, *, apply: str = "latest", unsure: str = "keep") -> pd.DataFrame:
    """Every sample as cleanlab's `find_label_issues` tells it, with what was decided: columns CLEANLAB, by sample.

    `is_label_issue`: whether there is a label error finding. `label_quality` in [0, 1], low is suspect: 1 - severity,
    empty where no score is known (validation and test samples). `predicted_label`: the suggested one, empty likewise.
    `cleaned_label` is empty for an excluded sample.
    """
    table = applied(run, reviews, apply=apply, unsure=unsure)
    scores = run.scores().set_index("sample").reindex(table["sample"])
    found = run.findings()
    severity = scores["label_error"].to_numpy(float) if "label_error" in scores else np.full(len(table), np.nan)
    suggested = scores["suggested_label"] if "suggested_label" in scores else pd.Series(None, scores.index)
    text = suggested.astype(object)
    frame = table.assign(
        predicted_label=pd.array(text.where(text.notna(), None).to_numpy(), dtype="string"),
        is_label_issue=table["sample"].isin(found.loc[found["kind"] == "label_error", "sample"]).to_numpy(bool),
        label_quality=np.round(np.clip(1.0 - severity, 0.0, 1.0), 6),
        cleaned_label=table["label"].astype("string").mask(table["change"] == "excluded"),
    )
    return frame[list(CLEANLAB)]


def write_cleaned(
    run: Run,
    out: str | Path,
    *,
    link: str = "copy",
    reviews: Reviews | None = None,
    progress: Callable[[int, int], None] | None = None,
    apply: str = "latest",
    unsure: str = "keep",
) -> Cleaned:
    """Write the dataset as decided, as a CSV or Parquet file or as a folder of images, with a record of what was done.

    FILE.csv or FILE.parquet becomes the table of `cleaned`, a manifest once it lies in the dataset's folder, to which
    its paths are relative; beside it lie FILE.changes.csv with what was changed, the excluded samples among it, and
    FILE.csv.json (see `record_of`). Any other name becomes a folder OUT/split/label/image (see `tree.write_tree`) with
    labels.csv (the table of `cleaned` with the new paths, the dataset's own as `source`), changes.csv and export.json.
    `link="hardlink"` saves space, but whoever then edits an image in OUT edits the dataset's as well; so the default is
    `copy`.

    Raises LossprintError as `save` and `write_tree` do, and where its record would replace another file.
    """
    out = Path(out)
    table = applied(run, reviews, apply=apply, unsure=unsure)
    kept, changed = _kept(table), _changed(table)
    record = outfile.record_text(record_of(run, table, apply, unsure))
    if out.suffix.lower() in (".csv", *PARQUET):
        files = out, out.with_name(f"{out.stem if out.suffix.lower() == '.csv' else out.name}.changes.csv")
        outfile.refuse_table(run, kept, files[0], (".csv", *PARQUET))
        outfile.refuse_table(run, changed, files[1], (".csv",))
        outfile.refuse_record(out)
        unreadable = len(run.unreadable())  # read before anything is written
        write_csv(changed, files[1])
        outfile.save_table(run, kept, out, (".csv", *PARQUET))
        outfile.write(outfile.record_path(out), record.encode())
    else:
        files = out / "labels.csv", out / "changes.csv"
        images = table[table["change"] != "excluded"]
        unreadable = len(run.unreadable())
        texts = {"labels.csv": kept, "changes.csv": changed, outfile.TREE_RECORD: record}
        write_tree(run, images, texts, out, link, progress)
    relabelled = int((kept["change"] == "relabelled").sum())
    left_out = int((changed["decision"] == "unsure").sum())
    excluded, reordered = int((table["change"] == "excluded").sum()), int(_elsewhere(table).sum())
    return Cleaned(*files, len(kept), relabelled, excluded, unreadable, left_out, reordered)


def write_table(run: Run, frame: pd.DataFrame, out: str | Path, apply: str, unsure: str, reviews=None) -> Path:
    """Write `changes` or `cleanlab` of these options as FILE.csv, with a record. Raises as `save` does."""
    out = Path(out)
    outfile.refuse_table(run, frame, out, (".csv",))
    outfile.refuse_record(out)
    record = record_of(run, applied(run, reviews, apply=apply, unsure=unsure), apply, unsure)
    write_csv(frame, out)
    outfile.write(outfile.record_path(out), outfile.record_text(record).encode())
    return out


def record_of(run: Run, table: pd.DataFrame, apply: str, unsure: str) -> dict:
    """What was applied, for `outfile.record_text`: no clock, so that the same decisions give the same record.

    table: `applied` of all samples. `samples` counts those that are left, `last_review` is the highest id of a decision
    that holds, None where there is none.
    """
    reviewed = table["review"].dropna()
    change = table["change"]
    return {
        "lossprint": version(),
        "dataset": run.manifest["dataset"].get("source"),
        "run": run_in_record(run),
        "rule": apply,
        "unsure": unsure,
        "samples": int((change != "excluded").sum()),
        "relabelled": int((change == "relabelled").sum()),
        "excluded": int((change == "excluded").sum()),
        **({"reordered": moved} if (moved := int(_elsewhere(table).sum())) else {}),
        "decisions": len(reviewed),
        "reviewers": sorted(set(table["reviewer"].dropna().astype(str))),
        "last_review": int(reviewed.max()) if len(reviewed) else None,
    }


def run_in_record(run: Run) -> dict:
    """What the record of an export tells of its run."""
    return {
        "name": run.name,
        "path": str(run.path.resolve()),
        "fingerprint": run.manifest["dataset"].get("fingerprint"),
        "created": run.manifest.get("created"),
    }


@dataclass(frozen=True)
class Tally:
    """How many samples a rule relabels and leaves out; `unsure` of the latter because their reviewers were unsure. How
    many frames it puts elsewhere."""

    relabelled: int
    excluded: int
    unsure: int
    reordered: int = 0

    @property
    def changed(self) -> int:
        return self.relabelled + self.excluded + self.reordered


def tally(history: pd.DataFrame, given: pd.Series, *, apply: str = "latest", unsure: str = "keep") -> Tally:
    """What the options would change, without the tables: history of `Reviews`, given labels indexed by sample."""
    said = outcome(resolve(history, apply, given=given), given)
    dropped = int((said == "unsure").sum()) if unsure == "drop" else 0
    moved = outcome(resolve(history, apply, places=True)) if about_places(history).any() else said.head(0)
    counts = [int(one.str.startswith(what).sum()) for one, what in ((said, "label:"), (moved, "frame:"))]
    return Tally(counts[0], int((said == "exclude").sum()) + dropped, dropped, counts[1])


def reason(decision: str, finding: str, old: str, new: str, dropped: bool = False) -> str:
    """Why a sample is exported as it is, in words, such as `shirt -> coat: accepted suggestion of label_error:17`."""
    if decision == "reorder":
        return f"put elsewhere in review of {finding}"
    if decision == "exclude":
        return f"excluded in review of {finding}"
    if decision == "unsure":
        return f"left out, unsure in review of {finding}" if dropped else f"{LEFT_UNSURE} {finding}"
    if old == new:
        return f"given label confirmed in review of {finding}"
    how = "accepted suggestion of" if decision == "accept" else "relabelled in review of"
    return f"{old} -> {new}: {how} {finding}"


def applied(
    run: Run,
    reviews: Reviews | None = None,
    *,
    apply: str = "latest",
    unsure: str = "keep",
    decided_only: bool = False,
) -> pd.DataFrame:
    """Every sample (or only the decided ones), by id, with the decision that holds for it.

    Columns of the run's samples with `given_label`, `label` (as decided), `given_frame`, `frame` (as decided), `change`
    (relabelled, excluded, reordered where only the frame changes, or empty) and those of the decision's row, `review`
    being its id; missing without one. Raises LossprintError for unknown options, and where two frames would have one
    number.
    """
    need_whole(run)
    if unsure not in UNSURE:
        raise LossprintError(f"expected unsure to be one of {', '.join(UNSURE)}, found {unsure!r}")
    history = (reviews or open_reviews(run)).history()
    some = sorted(set(history.loc[history["stands"], "sample"].tolist())) if decided_only else None
    samples = run.samples(some).sort_values("sample", ignore_index=True)
    samples = samples.rename(columns={"label": "given_label", "frame": "given_frame"})
    decided = resolve(history, apply, given=samples.set_index("sample")["given_label"])
    places = resolve(history, apply, places=True) if about_places(history).any() else decided.head(0)
    # A frame that only moves is traced to the decision on its place.
    decided = pd.concat([decided, places[~places["sample"].isin(decided["sample"])]]) if len(places) else decided
    decided = decided.drop(columns="new_frame", errors="ignore").rename(columns={"id": "review"})
    lost = decided.loc[~decided["sample"].isin(samples["sample"])]
    if len(lost):
        raise LossprintError(
            f"expected decisions on the {len(samples)} samples of {run.path}, found review {lost['review'].iloc[0]} "
            f"of sample {lost['sample'].iloc[0]}"
        )
    table = samples.merge(decided.drop(columns=["undoes", "stands"]), on="sample", how="left", validate="one_to_one")
    table["review"] = table["review"].astype("Int64")
    decision = table["decision"].fillna("")
    table["label"] = table["given_label"].mask(decision.isin(LABELLED), table["new_label"])
    table["change"] = pd.Series("", table.index, dtype="string")
    table.loc[table["label"] != table["given_label"], "change"] = "relabelled"
    table["frame"] = table["given_frame"]
    moved = places[places["decision"] == "reorder"].set_index("sample")["new_frame"] if len(places) else pd.Series()
    here = table["sample"].isin(moved.index)
    table.loc[here, "frame"] = moved.reindex(table.loc[here, "sample"]).to_numpy()
    table.loc[(table["change"] == "") & _elsewhere(table), "change"] = "reordered"
    dropped = (decision == "unsure") & (unsure == "drop")
    table.loc[(decision == "exclude") | dropped, "change"] = "excluded"
    table["reason"] = pd.Series(None, table.index, dtype="string")
    some = np.flatnonzero(decision != "")
    rows = zip(*(column.iloc[some] for column in (decision, table["finding"], table["given_label"], table["label"])))
    table.loc[some, "reason"] = [reason(*row, gone) for row, gone in zip(rows, dropped.iloc[some])]
    _refuse_doubled(table)
    return table


def _elsewhere(table: pd.DataFrame) -> pd.Series:
    """Whether a frame is to stand elsewhere, (N,) bool."""
    return table["frame"].notna() & (table["frame"] != table["given_frame"]).fillna(False).astype(bool)


def _refuse_doubled(table: pd.DataFrame) -> None:
    """Two reorders that overlap, or one of a part of the frames, leave two frames with one number."""
    touched = table.loc[_elsewhere(table), "sequence"].unique()
    rows = table[table["sequence"].isin(touched) & (table["change"] != "excluded") & table["frame"].notna()]
    twice = rows[rows.duplicated(["sequence", "frame"], keep=False)].sort_values(["sequence", "frame"])
    if len(twice):
        one, other = twice.iloc[0], twice.iloc[1]
        why = ", ".join(sorted({str(finding) for finding in twice["finding"].dropna()})[:3])
        raise LossprintError(
            f"expected each frame of {one['sequence']!r} once, found frame {one['frame']} for samples {one['sample']} "
            f"and {other['sample']} after the review of {why}: take one of these decisions back"
        )


def slots(table: pd.DataFrame) -> dict[int, int]:
    """{sample: the sample that is to stand in its row}, of the rows of `applied` of all samples that change hands.

    The row that had a frame's number holds the sample that is to have it, so that reading by row and reading by number
    give the same order.
    """
    moved = table[_elsewhere(table)]
    if moved.empty:
        return {}
    row_of = moved.set_index(["sequence", "given_frame"])["sample"]
    rows = row_of.reindex(pd.MultiIndex.from_frame(moved[["sequence", "frame"]]))
    return {int(row): int(sample) for row, sample in zip(rows, moved["sample"]) if not pd.isna(row)}


def _kept(table: pd.DataFrame) -> pd.DataFrame:
    swapped = slots(table)
    if swapped:
        at = pd.Series(range(len(table)), index=table["sample"])
        source = at.index.map(lambda sample: swapped.get(sample, sample))
        table = table.iloc[at[source].to_numpy()]
    frames = ["sequence", "frame"] if "sequence" in table and table["sequence"].notna().any() else []
    columns = ["path", "label", "split", *frames, "given_label", "change", *TRACE]
    return table.loc[table["change"] != "excluded", columns].reset_index(drop=True)


def _changed(table: pd.DataFrame) -> pd.DataFrame:
    table = table[table["change"] != ""].rename(columns={"given_label": "old", "label": "new"})
    table = table.assign(old_frame=table["given_frame"].where(_elsewhere(table)))
    table["new_frame"] = table["frame"].where(_elsewhere(table))
    table["new"] = table["new"].mask(table["change"] == "excluded", "")
    return table[list(CHANGES)].reset_index(drop=True)


def need_whole(run: Run) -> None:
    if "find" not in run.stages:
        raise LossprintError(f"expected a whole run, found one half written at {run.path}: {how_far(run)}")
