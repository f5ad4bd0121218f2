"""What a report says of stretches of video: what was found, with frames of each, what became of it, and each change."""

import numpy as np
import pandas as pd

from lossprint.audit.report.facts import ROWS, WORST, Facts
from lossprint.audit.report.html import DASH, NBSP, bullets, moment, name, p, percent, plural, prose, table, text
from lossprint.audit.report.pictures import Pictures
from lossprint.audit.report.svg import place_in_video
from lossprint.audit.review import span_counts
from lossprint.audit.review.queues import SPANS
from lossprint.audit.types import KIND_WORDS

STRIP = 8  # frames of a segment that are shown
HOW = {"relabel": "Wrong label", "swap": "Labels exchanged", "move": "Blocks moved"}


def worst(of: Facts, kind: str) -> pd.DataFrame:
    """The spans of a kind that are shown."""
    return of.spans[of.spans["kind"] == kind].head(WORST)


def strip(of: Facts, span) -> list[int]:
    """Samples of a span (a row of `Run.spans`) from all of it, in order, at most `STRIP`."""
    rows = of.frames[(of.frames["sequence"] == span.sequence) & of.frames["frame"].between(span.start, span.end)]
    count = min(STRIP, len(rows))
    return rows["sample"].iloc[[int((at + 0.5) * len(rows) / count) for at in range(count)]].tolist()


def pictured(of: Facts) -> list[int]:
    """The samples whose pictures the sections need."""
    return [sample for kind in SPANS for span in worst(of, kind).itertuples() for sample in strip(of, span)]


def segments(of: Facts, pictures: Pictures, kind: str) -> str:
    """The most severe segments of a kind, each with its place in the video and frames of it."""
    items = "".join(f"<li>{_segment(of, pictures, span)}</li>" for span in worst(of, kind).itertuples())
    return f'<ul class="segments">{items}</ul>'


def _segment(of: Facts, pictures: Pictures, span) -> str:
    video = of.frames[of.frames["sequence"] == span.sequence]
    number, label = video["frame"].to_numpy(np.int64), video["label"].to_numpy(str)
    middle = None if pd.isna(span.middle) else int(np.searchsorted(number, int(span.middle)))
    first, last = int(np.searchsorted(number, span.start)), int(np.searchsorted(number, span.end, side="right"))
    edges = np.flatnonzero(label[1:] != label[:-1]) + 1
    where = f"{text(span.sequence, 60)}: frames {span.start:,} to {span.end:,} of {number[0]:,} to {number[-1]:,}"
    figures = []
    for sample in strip(of, span):
        row = video[video["sample"] == sample].iloc[0]
        figures.append(
            f'<figure><div class="picture">{pictures.card(sample, row["label"])}</div>'
            f'<figcaption>{row["frame"]:,} <span class="given">{name(row["label"], 30)}</span></figcaption></figure>'
        )
    return (
        f'<div class="group">{p(f"<b>{HOW[span.how]}</b> in {name(span.sequence)}. {_claim(span)}")}'
        f"{place_in_video(len(number), first, last, middle, edges, where)}"
        f'<div class="strip">{"".join(figures)}</div>{p(f"Severity {span.severity:.2f}", kind="note")}'
        f'<p class="said">{_said(of, span)}</p></div>'
    )


def _claim(span) -> str:
    """What a segment's finding says, as a sentence of HTML."""
    given = f'<span class="given">{name(span.label)}</span>'
    other = f'<span class="other">{name(span.suggested_label)}</span>'
    if span.how == "relabel":
        return f"Frames {span.start:,} to {span.end:,} are labelled {given} and look like {other}."
    first, second = f"{span.start:,} to {int(span.middle) - 1:,}", f"{int(span.middle):,} to {span.end:,}"
    if span.how == "swap":
        return f"Frames {first} ({given}) and {second} ({other}) seem to have each other’s labels."
    return f"Frames {first} ({given}) and {second} ({other}) seem to stand in each other’s place."


def _said(of: Facts, span) -> str:
    choice, changed = of.outcomes.loc[span.span, ["choice", "changed"]]
    mine = of.standing[of.standing["finding"] == span.span]
    if not choice:
        return "Reviewed, nothing decided yet" if len(mine) else "Not reviewed"
    tag = {
        "error": f'<span class="tag changed">Corrected: {plural(int(changed), "frame")}</span>',
        "right": '<span class="tag">Kept as given</span>',
        "unsure": '<span class="tag">Left open (unsure)</span>',
    }[choice]
    people = ", ".join(name(one, 40) for one in sorted(set(mine["reviewer"].astype(str)))[:4])
    return f'{tag} <span class="by">{people}</span>'


# ------------------------------------------------------------------------------------------------- what is left


def left(of: Facts) -> str:
    """How many segments held an error, for the section on what was found and what is left; empty without any."""
    counts = span_counts.counts(of.spans, of.outcomes)
    if counts.empty:
        return ""
    lines = []
    for kind, row in counts.iterrows():
        found = span_counts.share(counts.loc[[kind]])
        ends = "" if found is None else f" ({100 * found.low:.0f} to {100 * found.high:.0f}{NBSP}%)"
        share = DASH if found is None else f"{percent(found.estimate)}{ends}"
        numbers = [row["of"], row["answered"], row["errors"]]
        lines.append([KIND_WORDS[kind][0], *(f"{one:,}" for one in numbers), share, f"{row['changed']:,}"])
    head = ["Spans of video", ">All", ">Reviewed", ">Errors", "Share of errors (90 % interval)", ">Frames corrected"]
    return (
        "<h3>Spans of video</h3>"
        + bullets(prose(one) for one in span_counts.sentences(counts))
        + table("Spans that were flagged, and those that held an error", head, lines, "wide")
        + p(
            "A span is one question, whatever it has of frames; it held an error where the reviewers changed the "
            "label or the place of any of its frames. How many spans were missed is not known: where most videos "
            "share an error, it is learned as if it were right.",
            kind="note",
        )
    )


# ------------------------------------------------------------------------------------------------- changes


def changes(of: Facts) -> str:
    """The changes that decisions on segments make, a row for frames that are changed alike; empty without any."""
    mine = of.changed[of.by_segment]
    if mine.empty:
        return ""
    moved = (mine["frame"] - mine["given_frame"]).fillna(0).astype("int64")
    keys = ["finding", "change", "given_label", "label", "moved"]
    rows = mine.assign(moved=moved).astype(dict.fromkeys(keys[:4], object)).groupby(keys, sort=False, dropna=False)
    each = rows.agg(
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
    each = each.reset_index().sort_values(["sequence", "first"], kind="stable")
    lines = []
    for row in each.head(ROWS).itertuples():
        new = {"relabelled": f'<span class="other">{name(row.label)}</span>', "excluded": "left out"}.get(
            row.change, ""
        )
        place = f"frames {row.first + row.moved:,} to {row.last + row.moved:,}" if row.moved else ""
        one = row.review == row.until
        which = f"decision{NBSP}{row.review}" if one else f"decisions {row.review} to {row.until}"
        lines.append(
            [
                f"{name(row.sequence, 60)}, frames {row.first:,} to {row.last:,}",
                f"{row.frames:,}",
                f'<span class="given">{name(row.given_label)}</span>',
                ", ".join(part for part in (new, place) if part),
                f"{name(row.reviewer, 40)}<br>{moment(row.at)}",
                f"<small>{text(row.finding, 60)}, {which}</small>",
                text(row.comment, 300) if isinstance(row.comment, str) else "",
            ]
        )
    head = ["Span", ">Frames", "Old label", "New label or place", "Who, and when (UTC)", "Why", "Comment"]
    caption = f"{plural(len(mine), 'frame').replace(NBSP, ' ')} changed in {each['finding'].nunique():,} spans of video"
    more = p(f"{len(each) - ROWS:,} further rows not shown here.", kind="note") if len(each) > ROWS else ""
    return table(caption, head, lines, "wide changes") + more
