"""One outcome a sample out of what several reviewers said: the latest, a majority, only what is settled, or one voice.

What a reviewer says of a sample is that reviewer's latest decision on it that stands. An adjudication (a decision made
to settle a disagreement, `role` "adjudication") outweighs the reviewers' own under every rule except `reviewer`.
"""

import pandas as pd

from lossprint.audit.types import LossprintError

RULES = {
    "latest": "the latest decision on each sample, whoever made it",
    "majority": "what more than half of a sample's reviewers said, unsure ones not counted; else left as given",
    "settled": "what two or more reviewers agree on and none denies, and what was adjudicated; else left as given",
    "adjudicated": "only what was adjudicated; the rest is left as given",
    "reviewer": "what one reviewer said",
}
LABELLED = ("accept", "relabel")


def about_places(history: pd.DataFrame) -> pd.Series:
    """Which rows answer where a video frame stands, (N,) bool; the others are about labels."""
    if "new_frame" not in history:
        return pd.Series(False, history.index)
    return history["new_frame"].notna()


def votes(history: pd.DataFrame, given: pd.Series | None = None, places: bool = False) -> pd.DataFrame:
    """What each reviewer says of each sample: rows of `Reviews.history`, with a further column `outcome`.

    `outcome` is `label:NAME`, `keep`, `exclude` or `unsure`, so that an accepted suggestion and the same label chosen
    by hand count as one, and `frame:NUMBER` for a new place; with `given` (the given labels, indexed by sample) a
    choice of the given label is `keep`, as who does not see the given label may choose it. Of the rows about labels,
    or of those about places. Adjudications are left out. Ordered by sample, then by when it was said.
    """
    mine = history[history["stands"] & (history["role"] != "adjudication") & (about_places(history) == places)]
    mine = mine.drop_duplicates(["sample", "reviewer"], keep="last").sort_values(["sample", "id"], ignore_index=True)
    return mine.assign(outcome=outcome(mine, given))


def outcome(rows: pd.DataFrame, given: pd.Series | None = None) -> pd.Series:
    """What a decision comes to: `label:NAME`, `frame:NUMBER`, `keep`, `exclude` or `unsure`; `given` as in `votes`."""
    labelled = rows["decision"].isin(LABELLED)
    label = rows["new_label"].astype(object).where(rows["new_label"].notna(), "")
    said = rows["decision"].astype(object).mask(labelled, "label:" + label)
    if "new_frame" in rows:
        moved = rows["decision"] == "reorder"
        said = said.mask(moved, "frame:" + rows["new_frame"].astype("string").astype(object).where(moved, ""))
    if given is None:
        return said
    known = given.reindex(rows["sample"]).astype(object).to_numpy()
    return said.mask(labelled & (label == known), "keep")


def adjudications(history: pd.DataFrame, places: bool = False) -> pd.DataFrame:
    """The latest adjudication, of its label or place, of each sample that has one, ordered by sample."""
    found = history[history["stands"] & (history["role"] == "adjudication") & (about_places(history) == places)]
    return found.drop_duplicates("sample", keep="last").sort_values("sample", ignore_index=True)


def resolve(
    history: pd.DataFrame,
    rule: str = "latest",
    reviewer: str | None = None,
    given: pd.Series | None = None,
    places: bool = False,
) -> pd.DataFrame:
    """The decision that holds for each sample under a rule of `RULES`: one row of the history a sample, by sample.

    About labels, or with `places` about where video frames stand: one says nothing of the other. `rule` may also be
    `reviewer:NAME`. `given` as in `votes`. Samples without a decision are left out. Where several reviewers say the
    same, the row is that of the last of them. `unsure` holds only where nobody said anything else.
    Raises LossprintError for an unknown rule, and for a reviewer who decided nothing.
    """
    if rule.startswith("reviewer:"):
        rule, reviewer = "reviewer", rule.removeprefix("reviewer:")
    if rule not in RULES:
        known = ", ".join(name for name in RULES if name != "reviewer")
        raise LossprintError(f"expected a rule of {known} or reviewer:NAME, found {rule!r}")
    settled = adjudications(history, places)
    if rule == "adjudicated":
        return settled
    if rule == "reviewer":
        mine = _of_one(history, reviewer)
        mine = mine[about_places(mine) == places]
        return mine.drop_duplicates("sample", keep="last").sort_values("sample", ignore_index=True)
    said = votes(history, given, places)
    if rule == "latest":
        chosen = said.sort_values("id").drop_duplicates("sample", keep="last")
    else:
        chosen = _carried(said, rule)
    chosen = chosen[~chosen["sample"].isin(settled["sample"])].drop(columns="outcome")
    both = pd.concat([chosen, settled]) if len(chosen) and len(settled) else settled if len(settled) else chosen
    return both.sort_values("sample", ignore_index=True)


def disagreements(history: pd.DataFrame, given: pd.Series | None = None) -> pd.DataFrame:
    """The samples on which reviewers say different things, one row each, by sample.

    Columns sample, finding (that of the latest say), reviewers (how many said something), outcomes (how many different
    ones) and adjudicated (whether an adjudication stands). `unsure` against a decision is a disagreement too. `given`
    as in `votes`. About labels only.
    """
    said = votes(history, given)
    each = said.groupby("sample").agg(
        finding=("finding", "last"), reviewers=("reviewer", "size"), outcomes=("outcome", "nunique")
    )
    found = each[each["outcomes"] > 1].reset_index()
    return found.assign(adjudicated=found["sample"].isin(adjudications(history)["sample"]).astype(bool))


def _of_one(history: pd.DataFrame, reviewer: str | None) -> pd.DataFrame:
    mine = history[history["stands"] & (history["reviewer"] == (reviewer or "").strip())]
    if mine.empty:
        known = ", ".join(sorted(set(history.loc[history["stands"], "reviewer"].astype(str)))) or "nobody"
        raise LossprintError(f"expected a reviewer who decided something ({known}), found {reviewer!r}")
    return mine


def _carried(said: pd.DataFrame, rule: str) -> pd.DataFrame:
    """The last say of the winning outcome of each sample that has one; unsure says neither yes nor no."""
    voted = said["outcome"] != "unsure"
    said = said[voted | ~said["sample"].isin(said.loc[voted, "sample"])]
    counts = said.groupby(["sample", "outcome"])["id"].agg(["size", "max"]).reset_index()
    of = counts.groupby("sample")["size"].transform("sum")
    if rule == "majority":
        won = counts[2 * counts["size"] > of]
    else:
        won = counts[(counts["size"] == of) & (of >= 2)]
    return said[said["id"].isin(won["max"])]
