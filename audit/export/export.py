"""What leaves a run: findings, and the dataset as the experts decided. The source dataset is never edited.

In every export `path` is the path that the dataset itself gives a sample, so that exports can be joined. The same run
and the same decisions give the same bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lossprint.audit.datasets.readers.manifests import DECODED
from lossprint.audit.export import outfile
from lossprint.audit.export.applied import Applied, elsewhere, need_whole, row_swaps
from lossprint.audit.export.outfile import PARQUET, save
from lossprint.audit.export.tree import write_tree
from lossprint.audit.review.marks import open_marks
from lossprint.audit.runs import beside, places
from lossprint.audit.runs.aside import finding_rows
from lossprint.audit.runs.run import Run
from lossprint.audit.runs.tables import FINDINGS
from lossprint.audit.system.csvfile import csv_text, write_csv
from lossprint.audit.types import LossprintError

__all__ = ["changes", "cleaned", "cleanlab", "csv_text", "findings", "save", "write_cleaned"]

TRACE = ("reason", "reviewer", "at", "comment", "review")
CHANGES = ("path", "split", "old", "new", "decision", "finding", *TRACE, "blind", "role", "old_frame", "new_frame")
VOTED = {"votes": "votes", "for_given": "for_given", "consensus": "consensus", "consensus_quality": "quality"}
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


def findings(run: Run, tags: bool = False) -> pd.DataFrame:
    """All findings, and copies of samples among images without a label: kind, sample, path, label, suggested_label,
    severity in [0, 1], rank within the kind, group; with `tags` also those of the sample, with `; ` between them. Where
    annotators' votes were counted: votes on the sample, those for the given label, consensus and its probability.
    """
    need_whole(run)
    table, more = run.findings()[list(FINDINGS)], finding_rows(run)
    table = table if more is None else pd.concat([table.astype({"sample": "Int64"}), more], ignore_index=True)
    if tags:
        with open_marks(run) as marks:
            texts = marks.table().groupby("sample")["tag"].agg("; ".join)
        table = table.assign(tags=table["sample"].map(texts).astype(object).fillna(""))
    if (counted := beside.consensus(run)) is not None:
        about = counted[0].drop_duplicates("sample").set_index("sample")
        for name, column in VOTED.items():
            table[name] = table["sample"].map(about[column])
        table = table.astype({"votes": "Int64", "for_given": "Int64"})
    return table


# ------------------------------------------------------------------------------------------------- decisions, applied


def cleaned(decisions: Applied) -> pd.DataFrame:
    """The dataset as decided: the samples of all splits that no expert excluded, in the dataset's order.

    Columns path, label (as decided), split, sequence and frame where the dataset has them, given_label, change
    (`relabelled`, `reordered` or empty), and for each reviewed sample, changed or not, reason, reviewer, at, comment,
    review (id). Frames stand in the order that was decided.
    """
    table = decisions.table
    swapped = row_swaps(table)
    if swapped:
        at = pd.Series(range(len(table)), index=table["sample"])
        source = at.index.map(lambda sample: swapped.get(sample, sample))
        table = table.iloc[at[source].to_numpy()]
    frames = ["sequence", "frame"] if "sequence" in table and table["sequence"].notna().any() else []
    columns = ["path", "label", "split", *frames, "given_label", "change", *TRACE]
    return table.loc[table["change"] != "excluded", columns].reset_index(drop=True)


def changes(decisions: Applied) -> pd.DataFrame:
    """What was changed, a row a sample, columns CHANGES; `new` is the decided label, empty for an excluded sample."""
    return _change_rows(decisions.decided)


def _change_rows(table: pd.DataFrame) -> pd.DataFrame:
    table = table[table["change"] != ""].rename(columns={"given_label": "old", "label": "new"})
    table = table.assign(old_frame=table["given_frame"].where(elsewhere(table)))
    table["new_frame"] = table["frame"].where(elsewhere(table))
    table["new"] = table["new"].mask(table["change"] == "excluded", "")
    return table[list(CHANGES)].reset_index(drop=True)


def segments(decisions: Applied) -> pd.DataFrame:
    """The videos as stretches of one label, as decided, in the order of time.

    Of a run of video files, the file of segments in its own form, see `segments.corrected_segments`: the pictures stay
    in the order in which they are in the video. Otherwise sequence, start, end (frame numbers, inclusive) and label;
    excluded frames are in no stretch. Raises LossprintError where the run has no video frames.
    """
    run, table = decisions.run, decisions.table
    if "sequence" not in table or table["sequence"].isna().all() or table["frame"].isna().all():
        raise LossprintError(f"expected video frames with sequence and frame in {run.path}, found none")
    if of_video_files(run):
        from lossprint.audit.video.segments import corrected_segments

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
    return bool(root) and places.believed(run) and (Path(root) / DECODED).is_file()


def write_segments(decisions: Applied, out: str | Path, for_excel: bool = False) -> tuple[int, Path | None]:
    """Write `segments` as FILE.csv or FILE.parquet with its record, and how many there are.

    A video file is not cut anew: frames that are to stand elsewhere are listed in FILE.order.csv or .parquet
    (sequence, frame, new_frame), which is returned, None without any. Raises LossprintError as `segments` and `save`
    do.
    """
    out, run, table = Path(out), decisions.run, decisions.table
    frame = segments(decisions)
    endings = (".csv", *PARQUET)
    outfile.refuse_table(run, frame, out, endings)
    if for_excel and out.suffix.lower() != ".csv":
        raise LossprintError(f"expected a file name that ends in .csv with --for-excel, found {out}")
    outfile.refuse_record(out)
    moved = table[elsewhere(table)] if of_video_files(run) else table.head(0)
    order = None
    if len(moved):
        order = out.with_name(f"{out.stem}.order{out.suffix}")
        listed = moved.assign(new_frame=moved["frame"], frame=moved["given_frame"])[["sequence", "frame", "new_frame"]]
        listed = listed.sort_values(["sequence", "frame"])
        outfile.save_table(run, listed, order, endings, for_excel)
    outfile.save_table(run, frame, out, endings, for_excel)
    _write_record(decisions, out)
    return len(frame), order


def cleanlab(decisions: Applied) -> pd.DataFrame:
    """Every sample as cleanlab's `find_label_issues` tells it, with what was decided: columns CLEANLAB, by sample.

    `is_label_issue`: whether there is a label error finding. `label_quality` in [0, 1], low is suspect: 1 - severity,
    empty where no score is known (validation and test samples). `predicted_label`: the suggested one, empty likewise.
    `cleaned_label` is empty for an excluded sample.
    """
    run, table = decisions.run, decisions.table
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


def weights(decisions: Applied, table: pd.DataFrame) -> np.ndarray:
    """How much each sample of `cleaned` is to count in a training that weighs, (N,) in [0, 1].

    1, but for what is flagged as a wrong label and undecided: one minus its severity.
    """
    findings = decisions.run.findings()
    flagged = findings[findings["kind"].isin(["label_error", "sequence_label"])]
    severity = flagged.groupby("path")["severity"].max()
    doubt = severity.reindex(table["path"]).fillna(0.0).to_numpy(float)
    return np.round(np.where(table["review"].isna(), 1.0 - doubt, 1.0), 6)


def write_cleaned(
    decisions: Applied,
    out: str | Path,
    *,
    link: str = "copy",
    for_excel: bool = False,
    weight: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Cleaned:
    """Write the dataset as decided, as a CSV or Parquet file or as a folder of images, with a record of what was done.

    FILE.csv or FILE.parquet becomes the table of `cleaned`, a manifest once it lies in the dataset's folder, to which
    its paths are relative; beside it lie FILE.changes.csv with what was changed, the excluded samples among it, and
    FILE.csv.json (`Applied.record`). Any other name becomes a folder OUT/split/label/image (see `tree.write_tree`) with
    labels.csv (the table of `cleaned` with the new paths, the dataset's own as `source`), changes.csv and export.json.
    `link="hardlink"` saves space, but whoever then edits an image in OUT edits the dataset's as well; so the default is
    `copy`.

    With `weight` there is a last column `weight`, see `weights`. `for_excel` writes CSV files as `csvfile` says, for
    people. Raises LossprintError as `save` and `write_tree` do, where there would be no CSV file alone, and where its
    record would replace another file.
    """
    out, run, table = Path(out), decisions.run, decisions.table
    if for_excel and out.suffix.lower() != ".csv":
        raise LossprintError(f"expected a file name that ends in .csv with --for-excel, found {out}")
    kept, changed = cleaned(decisions), _change_rows(table)
    if weight:
        kept = kept.assign(weight=weights(decisions, kept))
    if out.suffix.lower() in (".csv", *PARQUET):
        files = out, out.with_name(f"{out.stem if out.suffix.lower() == '.csv' else out.name}.changes.csv")
        outfile.refuse_table(run, kept, files[0], (".csv", *PARQUET))
        outfile.refuse_table(run, changed, files[1], (".csv",))
        outfile.refuse_record(out)
        unreadable = len(run.unreadable())  # read before anything is written
        write_csv(changed, files[1], for_excel)
        outfile.save_table(run, kept, out, (".csv", *PARQUET), for_excel)
        _write_record(decisions, out)
    else:
        files = out / "labels.csv", out / "changes.csv"
        images = table[table["change"] != "excluded"]
        unreadable = len(run.unreadable())
        texts = {"labels.csv": kept, "changes.csv": changed, outfile.TREE_RECORD: outfile.record_text(decisions.record)}
        write_tree(run, images, texts, out, link, progress)
    relabelled = int((kept["change"] == "relabelled").sum())
    left_out = int((changed["decision"] == "unsure").sum())
    excluded, reordered = int((table["change"] == "excluded").sum()), int(elsewhere(table).sum())
    return Cleaned(*files, len(kept), relabelled, excluded, unreadable, left_out, reordered)


def write_table(
    decisions: Applied, content: Callable[[Applied], pd.DataFrame], out: str | Path, for_excel: bool = False
) -> pd.DataFrame:
    """Write a table, `content` being `changes` or `cleanlab`, as FILE.csv or FILE.parquet, with its record. Raises as
    `save` does."""
    out, frame = Path(out), content(decisions)
    outfile.refuse_table(decisions.run, frame, out, (".csv", *PARQUET))
    outfile.refuse_record(out)
    save(decisions.run, frame, out, for_excel)
    _write_record(decisions, out)
    return frame


def _write_record(decisions: Applied, out: Path) -> None:
    outfile.write(outfile.record_path(out), outfile.record_text(decisions.record).encode())
