"""What leaves a run: findings, a coreset, and the dataset as the experts decided. The source dataset is never edited.

In every export `path` is the path that the dataset itself gives a sample, so that exports can be joined. The same run
and the same decisions give the same bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lossprint.audit.csvfile import csv_text, write_csv
from lossprint.audit.review import LABELLED, Reviews, open_reviews
from lossprint.audit.store import Run, how_far
from lossprint.audit.tables import FINDINGS
from lossprint.audit.tree import dataset_root, write_tree
from lossprint.audit.types import LossprintError
from lossprint.scoring.coreset import select

TRACE = ("reason", "reviewer", "at", "comment", "review")
CHANGES = ("path", "split", "old", "new", "decision", "finding", *TRACE)


@dataclass(frozen=True)
class Cleaned:
    """What `write_cleaned` wrote: the manifest, the list of changes, and how many samples went which way.

    `unreadable` images are in neither: the audit had left them out already, see `Run.unreadable`.
    """

    manifest: Path
    changes: Path
    kept: int
    relabelled: int
    excluded: int
    unreadable: int

    def __str__(self) -> str:
        unreadable = f", {self.unreadable:,} unreadable images left out" if self.unreadable else ""
        return (
            f"{self.kept:,} samples written to {self.manifest}: {self.relabelled:,} relabelled, "
            f"{self.excluded:,} excluded{unreadable}; every change and its reason in {self.changes}"
        )


def findings(run: Run) -> pd.DataFrame:
    """All findings: kind, sample, path, label, suggested_label, severity in [0, 1], rank within the kind, group."""
    _need_whole(run)
    return run.findings()[list(FINDINGS)]


def coreset(
    run: Run, method: str, *, fraction: float | None = None, per_class: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """A subset of the training split, best first: sample, path, label, score (of that method), rank from 1.

    Give either `fraction` in (0, 1] or `per_class`, a number of samples. Raises LossprintError for an unknown method,
    an impossible budget, or a method whose score the run does not have.
    """
    _need_whole(run)
    table = run.scores()
    # A score that no sample has was not computed: without margins, for one, there is no AUM.
    numeric = table.select_dtypes("number").dropna(axis="columns", how="all").columns.drop("sample")
    scores = {name: table[name].to_numpy(float) for name in numeric}
    try:
        chosen = select(
            method,
            scores,
            table["label"].to_numpy(str),
            fraction=fraction,
            per_class=per_class,
            seed=seed,
            sample_ids=table["sample"].to_numpy(),
        )
    except ValueError as error:
        raise LossprintError(" ".join(str(error).split())) from None
    rows = table.iloc[chosen.index][["sample", "path", "label"]].reset_index(drop=True)
    return rows.assign(score=chosen.score, rank=range(1, len(rows) + 1))


# ------------------------------------------------------------------------------------------------- decisions, applied


def cleaned(run: Run, reviews: Reviews | None = None) -> pd.DataFrame:
    """The dataset as decided: the samples of all splits that no expert excluded, in the dataset's order.

    Columns path, label (as decided), split, sequence and frame where the dataset has them, given_label, change
    (`relabelled` or empty), and for each reviewed sample, changed or not, reason, reviewer, at, comment, review (id).
    """
    return _kept(_replay(run, reviews))


def changes(run: Run, reviews: Reviews | None = None) -> pd.DataFrame:
    """What was changed, a row a sample, columns CHANGES; `new` is the decided label, empty for an excluded sample."""
    return _changed(_replay(run, reviews, decided_only=True))


def write_cleaned(
    run: Run,
    out: str | Path,
    *,
    link: str = "copy",
    reviews: Reviews | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Cleaned:
    """Write the dataset as decided, as a CSV or as a folder of images.

    FILE.csv becomes the table of `cleaned`, a manifest once it lies in the dataset's folder, to which its paths are
    relative; FILE.changes.csv beside it has what was changed, the excluded samples among it. Any other name becomes a
    folder OUT/split/label/image (see `tree.write_tree`) with labels.csv (the table of `cleaned` with the new paths, the
    dataset's own as `source`) and changes.csv. `link="hardlink"` saves space, but whoever then edits an image in OUT
    edits the dataset's as well; so the default is `copy`.

    Raises LossprintError as `save` and `write_tree` do.
    """
    out = Path(out)
    table = _replay(run, reviews)
    kept, changed = _kept(table), _changed(table)
    if out.suffix.lower() == ".csv":
        files = out, out.with_name(f"{out.stem}.changes.csv")
        for file, frame in zip(files, (kept, changed)):
            _refuse_file(run, frame, file)
        unreadable = len(run.unreadable())  # read before anything is written
        write_csv(changed, files[1])
        write_csv(kept, files[0])
    else:
        files = out / "labels.csv", out / "changes.csv"
        images = table[table["change"] != "excluded"]
        unreadable = len(run.unreadable())
        write_tree(run, images, {"labels.csv": kept, "changes.csv": changed}, out, link, progress)
    relabelled = int((kept["change"] == "relabelled").sum())
    return Cleaned(*files, len(kept), relabelled, len(changed) - relabelled, unreadable)


def save(run: Run, frame: pd.DataFrame, out: str | Path) -> Path:
    """Write an exported table as CSV, whole or not at all; an earlier file there is replaced.

    Raises LossprintError where it cannot be written, and where that would touch the source dataset: `out` is its
    manifest, or a file in its folder that is no earlier export of the same columns.
    """
    out = Path(out)
    _refuse_file(run, frame, out)
    write_csv(frame, out)
    return out


def reason(decision: str, finding: str, old: str, new: str) -> str:
    """Why a sample is exported as it is, in words, such as `shirt -> coat: accepted suggestion of label_error:17`."""
    if decision == "exclude":
        return f"excluded in review of {finding}"
    if decision == "unsure":
        return f"left as given, unsure in review of {finding}"
    if old == new:
        return f"given label confirmed in review of {finding}"
    how = "accepted suggestion of" if decision == "accept" else "relabelled in review of"
    return f"{old} -> {new}: {how} {finding}"


def _replay(run: Run, reviews: Reviews | None, decided_only: bool = False) -> pd.DataFrame:
    """Every sample (or only the decided ones), by id, with the decision that stands on it.

    Columns sample, decision, finding and those of `cleaned`.

    `change` is relabelled, excluded or empty.
    """
    _need_whole(run)
    decided = (reviews or open_reviews(run)).current().rename(columns={"id": "review"})
    samples = run.samples(decided["sample"].tolist() if decided_only else None)
    samples = samples.sort_values("sample", ignore_index=True).rename(columns={"label": "given_label"})
    lost = decided.loc[~decided["sample"].isin(samples["sample"])]
    if len(lost):
        raise LossprintError(
            f"expected decisions on the {len(samples)} samples of {run.path}, found review {lost['review'].iloc[0]} "
            f"of sample {lost['sample'].iloc[0]}"
        )
    table = samples.merge(decided.drop(columns="undoes"), on="sample", how="left", validate="one_to_one")
    table["review"] = table["review"].astype("Int64")
    decision = table["decision"].fillna("")
    table["label"] = table["given_label"].mask(decision.isin(LABELLED), table["new_label"])
    table["change"] = pd.Series("", table.index, dtype="string")
    table.loc[table["label"] != table["given_label"], "change"] = "relabelled"
    table.loc[decision == "exclude", "change"] = "excluded"
    rows = zip(decision, table["finding"], table["given_label"], table["label"])
    table["reason"] = pd.array([reason(*row) if row[0] else None for row in rows], dtype="string")
    return table


def _kept(table: pd.DataFrame) -> pd.DataFrame:
    frames = ["sequence", "frame"] if "sequence" in table and table["sequence"].notna().any() else []
    columns = ["path", "label", "split", *frames, "given_label", "change", *TRACE]
    return table.loc[table["change"] != "excluded", columns].reset_index(drop=True)


def _changed(table: pd.DataFrame) -> pd.DataFrame:
    table = table[table["change"] != ""].rename(columns={"given_label": "old", "label": "new"})
    table["new"] = table["new"].mask(table["change"] == "excluded", "")
    return table[list(CHANGES)].reset_index(drop=True)


def _need_whole(run: Run) -> None:
    if "find" not in run.stages:
        raise LossprintError(f"expected a whole run, found one half written at {run.path}: {how_far(run)}")


def _refuse_file(run: Run, frame: pd.DataFrame, out: Path) -> None:
    if out.suffix.lower() != ".csv":
        raise LossprintError(f"expected a file name that ends in .csv, found {out}")
    place = out.resolve()
    if place.is_relative_to(run.path.resolve()) and not place.is_relative_to(run.exports.resolve()):
        raise LossprintError(f"expected a file outside the run folder, or in its exports/, found {out}")
    if not out.is_file():
        return
    source, root = run.manifest["dataset"].get("source"), dataset_root(run)
    if source and out.resolve() == Path(source).resolve():
        raise LossprintError(f"expected another file than the dataset's own manifest, found {out}")
    header = csv_text(frame.iloc[:0]).encode()
    if root and out.resolve().is_relative_to(root):
        try:
            with open(out, "rb") as file:
                earlier = file.read(len(header)) == header
        except OSError as error:
            raise LossprintError(f"expected a readable file at {out}, found: {error.strerror}") from None
        if not earlier:
            raise LossprintError(f"expected a new file or an earlier export in the dataset's folder, found {out}")
