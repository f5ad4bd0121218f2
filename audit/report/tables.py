"""The rows of a report's tables: each a list of cells, the first of which names it; the templates write them.

Where a table shows the first rows only, a function gives these and the number of all.
"""

import math

import numpy as np
import pandas as pd

from lossprint.audit.comparison.summary import Summary, by_class
from lossprint.audit.report.facts import Facts
from lossprint.audit.report.words import (
    ASKED,
    DASH,
    NBSP,
    TITLES,
    count_of,
    date,
    ends,
    first_sentence,
    fixed,
    name,
    path,
    percent,
    seconds,
    share,
    share_of,
    text,
)
from lossprint.audit.review import span_counts
from lossprint.audit.review.queues import SPANS
from lossprint.audit.scores import SCORES
from lossprint.scoring.reviewers import Estimate

CLASSES = 60  # rows of the table of classes
FAULTS = 20  # samples that could not be read
MOST = 40  # rows of most other tables
CORRECTIONS = 12  # pairs of labels
COMPARED = 12  # classes in the comparison
FEW = 10  # samples of a kind under which its alpha says nothing
CHOICES = {
    "accept": "Suggestion taken",
    "relabel": "Other label",
    "keep": "Label kept",
    "exclude": "Left out",
    "unsure": "Unsure",
    "reorder": "Put elsewhere",
}
ARMS = {"given": "As given", "cleaned": "Cleaned", "thinned": "Thinned at random"}
SPLITS = {"val": "Validation", "test": "Test"}


def classes(facts: Facts) -> list[list]:
    """Samples by class and split, the largest classes first, and their sums."""
    order = facts.counts.sum(axis=1).sort_values(ascending=False, kind="stable").index
    counts = facts.counts.loc[order]
    rows = [[name(label), *row] for label, row in zip(counts.index, counts.head(CLASSES).to_numpy().tolist())]
    if len(counts) > CLASSES:
        rows.append([f"{len(counts) - CLASSES:,} further classes", *counts.iloc[CLASSES:].sum().tolist()])
    rows.append(["All", *counts.sum().tolist()])
    return [[*row, sum(row[1:])] for row in rows]


def unreadable(facts: Facts) -> list[list]:
    return [[path(row.path), text(row.reason, 200)] for row in facts.unreadable.head(FAULTS).itertuples()]


def scores(facts: Facts) -> list[tuple]:
    """(whether findings rest on it, title, the findings, what it says, when not to trust it) of each score."""
    uses = {"outlier": "outlier"} | {kind: kind for kind in SPANS}
    uses |= {} if facts.only_frames else {"label_error": "label_error"}
    rows = []
    for score in facts.scores:
        use, about = TITLES.get(uses.get(score), "").lower(), SCORES[score]
        rows.append((bool(use), about.title, use, first_sentence(about.meaning), first_sentence(about.caution)))
    return sorted(rows, key=lambda row: not row[0])


def findings(facts: Facts) -> list[list]:
    """Findings of each kind, their samples, and how many were reviewed."""
    samples = facts.findings.groupby("kind", observed=True)["sample"].nunique()
    rows = []
    for kind in facts.kinds:
        row = facts.progress[facts.progress["kind"] == kind].iloc[0]
        rows.append([TITLES[kind], row["of"], samples[kind], row["reviewed"], row["of"] - row["reviewed"]])
    return rows


# ------------------------------------------------------------------------------------------------- decisions


def reviewers(facts: Facts) -> tuple[list[list], int]:
    # One look at a segment of video answers for all of its frames.
    rows = facts.answers
    looks = rows.drop_duplicates(["finding", "reviewer"], keep="last").groupby("reviewer", observed=True)["seconds"]
    each = rows.groupby("reviewer", observed=True).agg(
        samples=("sample", "nunique"),
        blind=("blind", lambda column: int((column != "").sum())),
        settled=("role", lambda column: int((column == "adjudication").sum())),
        brought=("role", lambda column: int((column == "import").sum())),
        first=("at", "first"),
        last=("at", "last"),
    )
    each = each.assign(seconds=looks.median()).sort_values("samples", ascending=False, kind="stable")
    table = [
        [
            *(name(row.Index), row.samples, row.blind, row.settled, row.brought),
            *(seconds(row.seconds), date(row.first), date(row.last)),
        ]
        for row in each.head(MOST).itertuples()
    ]
    return table, len(each)


def decisions(facts: Facts) -> tuple[list[str], list[list], int]:
    """Decisions by kind of finding and reviewer: the titles of the columns, rows, number of all rows."""
    rows, video = facts.answers, facts.about_segments
    once = rows[video].drop_duplicates(["finding", "reviewer", "role"], keep="last")
    # Of a segment the suggestion is taken frame by frame: each has a label of its own when two were exchanged.
    segments = facts.findings[facts.findings["kind"].isin(SPANS)]
    suggested = dict(zip(zip(segments["group"], segments["sample"]), segments["suggested_label"]))
    taken = [
        row.decision == "relabel" and row.new_label == suggested.get((row.finding, row.sample))
        for row in once.itertuples()
    ]
    once = once.assign(decision=once["decision"].astype(object).mask(np.array(taken, bool), "accept"))
    rows = pd.concat([rows[~video], once])
    prefix = rows["finding"].astype(object).str.split(":", n=1).str[0]
    kind = prefix.where(prefix.isin(list(ASKED)), "other")
    counts = pd.crosstab([kind, rows["reviewer"].astype(object)], rows["decision"].astype(object))
    choices = [choice for choice in CHOICES if choice != "reorder" or choice in counts]
    counts = counts.reindex(columns=choices, fill_value=0)
    order = {kind: at for at, kind in enumerate(ASKED)}
    counts = counts.iloc[sorted(range(len(counts)), key=lambda at: order[counts.index[at][0]])]
    numbers = counts.head(MOST).to_numpy().tolist()
    table = [[ASKED[kind], name(who), *row] for (kind, who), row in zip(counts.index, numbers)]
    return [f">{CHOICES[choice]}" for choice in choices], table, len(counts)


def changed_classes(facts: Facts) -> tuple[list[list], int]:
    """Per class that a decision changed: size before, changed to others, changed to it, left out, size after."""
    moved = facts.changed[facts.changed["change"] == "relabelled"]
    out = facts.changed.loc[facts.changed["change"] == "excluded", "given_label"]
    columns = {"away": moved["given_label"], "into": moved["label"], "out": out}
    counts = {name: column.astype(object).value_counts() for name, column in columns.items()}
    frame = pd.DataFrame(counts).fillna(0).astype(int)
    frame["before"] = facts.counts.sum(axis=1).reindex(frame.index).fillna(0).astype(int)
    frame["total"] = frame[["away", "into", "out"]].sum(axis=1)
    frame = frame.sort_index().sort_values("total", ascending=False, kind="stable")
    table = [
        [name(row.Index), row.before, -row.away, f"{row.into:+,}", -row.out, row.before - row.away + row.into - row.out]
        for row in frame.head(MOST).itertuples()
    ]
    return table, len(frame)


def corrections(facts: Facts) -> tuple[list[list], int]:
    """The most frequent pairs of given and corrected label."""
    moved = facts.changed.loc[facts.changed["change"] == "relabelled", ["given_label", "label"]].astype(object)
    if len(moved) < 2:
        return [], 0
    pairs = moved.value_counts().reset_index(name="number")
    pairs = pairs.sort_values(["number", "given_label", "label"], ascending=[False, True, True])
    return [[name(old), name(new), number] for old, new, number in pairs.head(CORRECTIONS).to_numpy()], len(pairs)


def segment_changes(rows: pd.DataFrame) -> pd.DataFrame:
    """Changes of frames by decisions on segments of video, a row for frames that are changed alike."""
    moved = (rows["frame"] - rows["given_frame"]).fillna(0).astype("int64")
    keys = ["finding", "change", "given_label", "label", "moved"]
    alike = rows.assign(moved=moved).astype(dict.fromkeys(keys[:4], object)).groupby(keys, sort=False, dropna=False)
    each = alike.agg(
        sequence=("sequence", "first"),
        first=("given_frame", "min"),
        last=("given_frame", "max"),
        frames=("path", "size"),
        reviewer=("reviewer", "first"),
        at=("at", "first"),
        comment=("comment", "first"),
        review=("review", "min"),
        until=("review", "max"),
    )
    return each.reset_index().sort_values(["sequence", "first"], kind="stable")


# ------------------------------------------------------------------------------------------------- agreement


def measures(facts: Facts) -> list[list]:
    agreement = facts.agreement
    equal = facts.media.worded("Of two reviewers’ answers about an image, the share that is equal.")
    beyond = "Agreement beyond chance: 1 is perfect, 0 is what chance would give."
    several = "The same, for any number of reviewers and missing answers."
    return [
        ["Same answer", *_measured(agreement.raw, True, equal)],
        [agreement.name, *_measured(agreement.kappa, False, beyond)],
        ["Krippendorff’s alpha", *_measured(agreement.alpha, False, several)],
    ]


def _measured(estimate: Estimate, is_share: bool, meaning: str) -> list:
    value = percent(estimate.value) if is_share and not math.isnan(estimate.value) else fixed(estimate.value)
    low, high = estimate.low, estimate.high
    interval = DASH if math.isnan(low) else ends(low, high) if is_share else f"{low:.2f} to {high:.2f}"
    note = f" Note: {text(estimate.reason, 200)}." if estimate.reason else ""
    return [value, interval, estimate.items, meaning + note]


def agreement_by_kind(facts: Facts) -> list[list]:
    return [
        [ASKED.get(row.kind, ASKED["other"]), row.samples, percent(row.raw), _alpha(row)]
        for row in facts.agreement.kinds.itertuples()
    ]


def _alpha(row) -> str:
    return DASH if row.samples < FEW else fixed(row.alpha)


def agreement_by_pair(facts: Facts) -> tuple[list[list], int]:
    pairs = facts.agreement.pairs
    pairs = pairs[pairs["samples"] > 0]
    table = [
        [name(row.first, 40) + " and " + name(row.second, 40), row.samples, percent(row.raw), fixed(row.kappa)]
        for row in pairs.head(MOST).itertuples()
    ]
    return table, len(pairs)


# ------------------------------------------------------------------------------------------------- what is left


def segments(facts: Facts) -> list[list]:
    """Segments of video that were flagged, and those that held an error, by kind."""
    counts = facts.segment_counts
    return [
        [
            *(TITLES[kind], row["of"], row["answered"], row["errors"]),
            *(share_of(span_counts.share(counts.loc[[kind]])), row["changed"]),
        ]
        for kind, row in counts.iterrows()
    ]


def errors(facts: Facts) -> list[list]:
    """Errors found and errors left, among the flagged, among the others, and together."""
    stop = facts.stop
    elsewhere = f"and {stop.found_outside:,} elsewhere" if stop.found_outside else DASH
    checked = stop.answered + stop.audited
    total = stop.errors + stop.audit_errors + stop.found_outside
    flagged = [stop.flagged, stop.answered, stop.errors, share_of(stop.precision), count_of(stop.queue_left)]
    return [
        ["Flagged as doubtful", *flagged],
        ["Flagged by nothing", stop.rest, stop.audited, stop.audit_errors, elsewhere, count_of(stop.rest_left)],
        ["Together", stop.flagged + stop.rest, checked, total, DASH, count_of(stop.left)],
    ]


def tenths(facts: Facts) -> list[list]:
    """Errors down the queue of doubtful labels; none where it is too short for tenths."""
    tenths = facts.stop.tenths
    return [
        [
            *(f"{row.first:,} to {row.last:,}", f"{row.reviewed:,} of {row.of:,}", row.errors),
            share(row.share, row.low, row.high),
        ]
        for row in tenths[tenths["reviewed"] > 0].itertuples()
        if len(tenths) > 1
    ]


# ------------------------------------------------------------------------------------------------- before and after


def judged(summary: Summary) -> str:
    labels = "given labels" if summary.labels == "given" else "decided labels"
    return f"{SPLITS.get(summary.split, summary.split)} images, {labels}"


def dots(summary: Summary) -> list[tuple[str, np.ndarray]]:
    """(way of training, accuracy of each seed) for the drawing."""
    return [(ARMS.get(arm, arm), accuracy.to_numpy()) for arm, accuracy in summary.accuracy.items()]


def accuracies(summaries: list[Summary]) -> list[list]:
    rows = []
    for summary in summaries:
        for arm, accuracy in summary.accuracy.items():
            gain = summary.over.get(arm)
            ahead = DASH if gain is None else f"{gain.mean:+.1f}"
            interval = DASH if gain is None or gain.low is None else f"{gain.low:+.1f} to {gain.high:+.1f}"
            mean = f"{100 * accuracy.mean():.1f}{NBSP}%"
            rows.append([ARMS.get(arm, arm), judged(summary), len(summary.truth), mean, ahead, interval])
    return rows


def accuracy_by_class(summary: Summary, classes: list[str]) -> tuple[list[list], int]:
    """The classes whose accuracy changes most, the greatest loss first."""
    each = by_class(summary, classes)
    order = each["change"].abs().sort_values(ascending=False, kind="stable").index
    most = each.reindex(order).head(COMPARED).sort_values("change", kind="stable")
    table = [
        [
            *(name(row["class"]), f"{row['samples']:,.0f}", f"{100 * row['given']:.1f}{NBSP}%"),
            *(f"{100 * row['cleaned']:.1f}{NBSP}%", f"{row['change']:+.1f}"),
        ]
        for _, row in most.iterrows()
    ]
    return table, len(each)
