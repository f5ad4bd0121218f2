"""The decisions on a run under a rule, read once: an export's table, its tally and its record follow from one object.

So a decision that somebody stores while an export is made is in its file and in its record, or in neither.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from lossprint.audit.review.resolve import about_places, outcome, resolve
from lossprint.audit.review.reviews import LABELLED, Reviews, open_reviews
from lossprint.audit.runs.open import how_far, version
from lossprint.audit.runs.run import Run
from lossprint.audit.types import LossprintError

UNSURE = ("keep", "drop")
LEFT_UNSURE = "left as given, unsure in review of"


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


@dataclass(frozen=True, eq=False)
class Applied:
    """The decisions on a run at one moment, and how they are applied; `applied` makes it.

    history: as of `Reviews.history`. rule: whose decisions hold, one of `resolve.RULES` or `reviewer:NAME`. unsure:
    whether samples that were left unsure are kept as given (`keep`) or left out (`drop`). An unknown rule is a
    LossprintError where the decisions are first asked for.
    """

    run: Run
    history: pd.DataFrame
    rule: str = "latest"
    unsure: str = "keep"

    def __post_init__(self):
        if self.unsure not in UNSURE:
            raise LossprintError(f"expected unsure to be one of {', '.join(UNSURE)}, found {self.unsure!r}")

    @cached_property
    def table(self) -> pd.DataFrame:
        """Every sample, by id, with the decision that holds for it.

        Columns of the run's samples with `given_label`, `label` (as decided), `given_frame`, `frame` (as decided),
        `change` (relabelled, excluded, reordered where only the frame changes, or empty) and those of the decision's
        row, `review` being its id; missing without one. Raises LossprintError where two frames would have one number.
        """
        return _table(self, self.run.samples())

    @cached_property
    def decided(self) -> pd.DataFrame:
        """The rows of `table` of the samples that have a standing decision, without reading the others."""
        standing = self.history.loc[self.history["stands"], "sample"]
        return _table(self, self.run.samples(sorted(set(standing.tolist()))))

    def tally(self, given: pd.Series) -> Tally:
        """What is changed, without the tables; given labels indexed by sample."""
        said = outcome(resolve(self.history, self.rule, given=given), given)
        dropped = int((said == "unsure").sum()) if self.unsure == "drop" else 0
        places = about_places(self.history).any()
        moved = outcome(resolve(self.history, self.rule, places=True)) if places else said.head(0)
        counts = [int(one.str.startswith(what).sum()) for one, what in ((said, "label:"), (moved, "frame:"))]
        return Tally(counts[0], int((said == "exclude").sum()) + dropped, dropped, counts[1])

    @property
    def record(self) -> dict:
        """What was applied, for `outfile.record_text`: no clock, so that the same decisions give the same record.

        `samples` counts those that are left, `last_review` is the highest id of a decision that holds, None where there
        is none.
        """
        reviewed, change = self.table["review"].dropna(), self.table["change"]
        return {
            "lossprint": version(),
            "dataset": self.run.manifest["dataset"].get("source"),
            "run": run_in_record(self.run),
            "rule": self.rule,
            "unsure": self.unsure,
            "samples": int((change != "excluded").sum()),
            "relabelled": int((change == "relabelled").sum()),
            "excluded": int((change == "excluded").sum()),
            **({"reordered": moved} if (moved := int(elsewhere(self.table).sum())) else {}),
            "decisions": len(reviewed),
            "reviewers": sorted(set(self.table["reviewer"].dropna().astype(str))),
            "last_review": int(reviewed.max()) if len(reviewed) else None,
        }


def applied(run: Run, reviews: Reviews | None = None, *, apply: str = "latest", unsure: str = "keep") -> Applied:
    """Read the decisions on a run, once. Raises LossprintError for a run half written and an unknown `unsure`."""
    need_whole(run)
    return Applied(run, (reviews or open_reviews(run)).history(), apply, unsure)


def run_in_record(run: Run) -> dict:
    """What the record of an export tells of its run."""
    return {
        "name": run.name,
        "path": str(run.path.resolve()),
        "fingerprint": run.manifest["dataset"].get("fingerprint"),
        "created": run.manifest.get("created"),
        **{name: run.manifest["dataset"][name] for name in ("choices",) if name in run.manifest["dataset"]},
    }


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


def _table(of: Applied, samples: pd.DataFrame) -> pd.DataFrame:
    """See `Applied.table`; samples: rows of `Run.samples`."""
    history = of.history
    samples = samples.sort_values("sample", ignore_index=True)
    samples = samples.rename(columns={"label": "given_label", "frame": "given_frame"})
    decided = resolve(history, of.rule, given=samples.set_index("sample")["given_label"])
    places = resolve(history, of.rule, places=True) if about_places(history).any() else decided.head(0)
    # A frame that only moves is traced to the decision on its place.
    decided = pd.concat([decided, places[~places["sample"].isin(decided["sample"])]]) if len(places) else decided
    decided = decided.drop(columns="new_frame", errors="ignore").rename(columns={"id": "review"})
    lost = decided.loc[~decided["sample"].isin(samples["sample"])]
    if len(lost):
        raise LossprintError(
            f"expected decisions on the {len(samples)} samples of {of.run.path}, found review {lost['review'].iloc[0]} "
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
    table.loc[(table["change"] == "") & elsewhere(table), "change"] = "reordered"
    dropped = (decision == "unsure") & (of.unsure == "drop")
    table.loc[(decision == "exclude") | dropped, "change"] = "excluded"
    table["reason"] = pd.Series(None, table.index, dtype="string")
    some = np.flatnonzero(decision != "")
    rows = zip(*(column.iloc[some] for column in (decision, table["finding"], table["given_label"], table["label"])))
    table.loc[some, "reason"] = [reason(*row, gone) for row, gone in zip(rows, dropped.iloc[some])]
    _refuse_doubled(table)
    return table


def elsewhere(table: pd.DataFrame) -> pd.Series:
    """Whether a frame is to stand elsewhere, (N,) bool."""
    return table["frame"].notna() & (table["frame"] != table["given_frame"]).fillna(False).astype(bool)


def _refuse_doubled(table: pd.DataFrame) -> None:
    """Two reorders that overlap, or one of a part of the frames, leave two frames with one number."""
    touched = table.loc[elsewhere(table), "sequence"].unique()
    rows = table[table["sequence"].isin(touched) & (table["change"] != "excluded") & table["frame"].notna()]
    twice = rows[rows.duplicated(["sequence", "frame"], keep=False)].sort_values(["sequence", "frame"])
    if len(twice):
        one, other = twice.iloc[0], twice.iloc[1]
        why = ", ".join(sorted({str(finding) for finding in twice["finding"].dropna()})[:3])
        raise LossprintError(
            f"expected each frame of {one['sequence']!r} once, found frame {one['frame']} for samples {one['sample']} "
            f"and {other['sample']} after the review of {why}: take one of these decisions back"
        )


def row_swaps(table: pd.DataFrame) -> dict[int, int]:
    """{sample: the sample that is to stand in its row}, of the rows of `Applied.table` that change hands.

    The row that had a frame's number holds the sample that is to have it, so that reading by row and reading by number
    give the same order.
    """
    moved = table[elsewhere(table)]
    if moved.empty:
        return {}
    row_of = moved.set_index(["sequence", "given_frame"])["sample"]
    rows = row_of.reindex(pd.MultiIndex.from_frame(moved[["sequence", "frame"]]))
    return {int(row): int(sample) for row, sample in zip(rows, moved["sample"]) if not pd.isna(row)}


def need_whole(run: Run) -> None:
    if "find" not in run.stages:
        raise LossprintError(f"expected a whole run, found one half written at {run.path}: {how_far(run)}")
