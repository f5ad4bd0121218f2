"""The sections of a report on what is left: errors found and expected, and whether the cleaned data train better."""

import math
from dataclasses import replace

import pandas as pd

from lossprint.audit.comparison import compare as loop
from lossprint.audit.report import spans
from lossprint.audit.report.facts import Facts
from lossprint.audit.report.html import (
    DASH,
    NBSP,
    bullets,
    command,
    name,
    p,
    percent,
    plural,
    prose,
    section,
    table,
    text,
)
from lossprint.audit.report.svg import accuracies, yield_curve
from lossprint.audit.review import stopping
from lossprint.audit.review.strata import ENOUGH
from lossprint.scoring.intervals import Interval

MOST = 12  # classes in the comparison
ARMS = {"given": "As given", "cleaned": "Cleaned", "thinned": "Thinned at random"}
SPLITS = {"val": "Validation", "test": "Test"}


def left(of: Facts) -> str:
    """The section on how many errors were found and how many are left, with 90 % intervals."""
    stop = of.stop
    said = [prose(one) for one in stopping.findings_in_words(stop)]
    if of.only_frames and not stop.flagged:
        said = said[1:]  # that no label was flagged: of frames, segments are
        stop = replace(stop, elsewhere=0)  # they are told above
    return section(
        "left",
        "Errors found, and errors left",
        p(
            of.media.worded("An error is an image whose label the reviewers changed or which they left out. ")
            + "The 90 % intervals are made so that nine in ten of them hold the true value; they take the reviewers at "
            "their word."
        ),
        spans.left(of),
        "<h3>Frames that nothing flagged</h3>" if of.only_frames else "",
        bullets(said),
        "" if of.only_frames and not stop.audited else _strata(of),
        _audit(of),
        _curve(stop),
        _tenths(stop),
        _notes([prose(one) for one in stopping.notes(stop)]),
    )


def _notes(notes: list[str]) -> str:
    return p(*notes, kind="note")


def span(found: Interval | None, what: str = "") -> str:
    """An interval of counts, in HTML: about 120 (90 to 160); `what` stands before its ends."""
    if found is None:
        return "not known"
    low, high = math.floor(found.low), math.ceil(found.high)
    if low == high:
        return f"{low:,}"
    return f"about {round(found.estimate):,} ({what}{low:,} to {high:,})"


def _strata(of: Facts) -> str:
    stop = of.stop
    rows = [
        [
            "Flagged as doubtful",
            stop.flagged,
            stop.answered,
            stop.errors,
            _share(stop.precision),
            span(stop.queue_left),
        ],
        ["Flagged by nothing", stop.rest, stop.audited, stop.audit_errors, DASH, span(stop.rest_left)],
    ]
    if stop.found_outside:
        rows[1][4] = f"and {stop.found_outside:,} elsewhere"
    rows.append(
        [
            "Together",
            stop.flagged + stop.rest,
            stop.answered + stop.audited,
            stop.errors + stop.audit_errors + stop.found_outside,
            DASH,
            span(stop.left),
        ]
    )
    lines = [[one if isinstance(one, str) else f"{one:,}" for one in row] for row in rows]
    head = [
        f"Training {of.noun}s",
        ">All",
        ">Checked",
        ">Errors found",
        "Share of errors among the checked",
        "Errors still expected (90 % interval)",
    ]
    return table("Errors found and errors left in the training part", head, lines, "wide")


def _share(found: Interval | None) -> str:
    if found is None:
        return DASH
    return f"{percent(found.estimate)} ({100 * found.low:.0f} to {100 * found.high:.0f}{NBSP}%)"


def _audit(of: Facts) -> str:
    """How the random checks behind these figures were drawn, or that there are too few."""
    stop = of.stop
    if not stop.rest:
        return ""
    seed = text(of.run.manifest.get("seed") or 0, 20)
    said = []
    if stop.rest_left is None:
        said.append(
            f"What nobody flagged has not been judged: {stop.audited or 'none'} of its {of.noun}s "
            f"{'was' if stop.audited == 1 else 'were'} checked at random, and at least {min(ENOUGH, stop.rest)} are "
            "needed. How many errors the ranking missed is therefore not known."
        )
    if stop.audited:
        said.append(
            f"The random checks are the first {plural(stop.audited + stop.audit_open, of.noun)} of a random order of "
            f"all training {of.noun}s that no finding names (seed {seed}): a simple random sample, so that the figures "
            "for this part rest on chance alone and on no model."
        )
    if stop.queue_left is not None and stop.answered < stop.flagged:
        said.append(
            f"Of the flagged part the figure rests on {plural(stop.spots, 'random check')} below its reviewed top."
            if stop.spots
            else "Of the flagged part the figure rests on how the share of errors fell along the queue so far, which "
            "is a projection and no more."
        )
    return p(*said)


def _curve(stop: stopping.Stopping) -> str:
    if not stop.answered:
        return ""
    drawn = yield_curve(stop.curve["reviewed"].to_numpy(), stop.curve["errors"].to_numpy(), stop.ahead, stop.coming)
    key = '<span class="swatch"></span> found so far · <span class="swatch all"></span> if all were errors'
    if stop.coming:
        key += f' · <span class="swatch next"></span> the next {stop.ahead:,}, with their 90{NBSP}% interval'
    return (
        "<h3>Yield</h3>"
        + p(
            "Errors found against suggestions reviewed, in the order of the answers. Where the line is flat, there is "
            "little more to be found.",
            kind="lead-in",
        )
        + f'<figure class="drawing">{drawn}<figcaption class="key">{key}</figcaption></figure>'
    )


def _tenths(stop: stopping.Stopping) -> str:
    shown = stop.tenths[stop.tenths["reviewed"] > 0]
    if len(stop.tenths) < 2 or shown.empty:
        return ""
    lines = [
        [
            f"{row.first:,} to {row.last:,}",
            f"{row.reviewed:,} of {row.of:,}",
            f"{row.errors:,}",
            f"{percent(row.share)} ({100 * row.low:.0f} to {100 * row.high:.0f}{NBSP}%)",
        ]
        for row in shown.itertuples()
    ]
    head = ["Place in the queue", ">Reviewed", ">Errors", "Share of errors (90 % interval)"]
    return table("Down the queue of doubtful labels, the most suspicious first", head, lines)


# ------------------------------------------------------------------------------------------------- before and after


def comparison(of: Facts, cleaned: str, compare: str) -> str:
    """The section on training with given and with cleaned labels, or with the commands for it where there is none."""
    title = "Before and after"
    data = of.comparison
    found = loop.summaries(data) if data is not None else []
    if not found:
        return section(
            "comparison",
            title,
            p(
                "Whether the cleaned labels train a better model than the given ones was not tried. These commands "
                "would: they train the same network on the given, the cleaned and randomly thinned data."
            ),
            command(f"{cleaned}\n{compare}"),
        )
    first = data.iloc[0]
    about = (
        f"The network of this audit ({text(first['model'], 40)}) was trained anew, "
        f"{plural(int(data['seed'].nunique()), 'time')} with another seed on each version of the training images: with "
        "the labels as given, with the cleaned ones, and with the given ones after as many images were taken away at "
        f"random. Each training took {first['steps']:,} steps. The cleaned version had "
        f"{plural(int(first['relabelled']), 'changed label')} and {plural(int(first['excluded']), 'image')} left out."
    )
    drawn = accuracies([(ARMS.get(arm, arm), found[0].accuracy[arm].to_numpy()) for arm in found[0].accuracy])
    key = f"Each dot is one training, the bar their mean: {_judged(found[0]).lower()}."
    return section(
        "comparison",
        title,
        p(about, _stale(of, data)),
        bullets(prose(one) for one in loop.sentences(data)),
        f'<figure class="drawing">{drawn}<figcaption class="key">{key}</figcaption></figure>',
        _accuracies(found),
        _by_class(found[0], of.run.classes),
    )


def _judged(one: loop.Summary) -> str:
    which = "given labels" if one.labels == "given" else "decided labels"
    return f"{SPLITS.get(one.split, one.split)} images, {which}"


def _stale(of: Facts, data: pd.DataFrame) -> str:
    last = data["last_review"].dropna()
    since = int((of.standing["id"] > int(last.max())).sum()) if len(last) else 0
    if not since:
        return ""
    return f"{plural(since, 'decision')} {'has' if since == 1 else 'have'} been made since, which this does not show."


def _accuracies(found: list[loop.Summary]) -> str:
    lines = []
    for one in found:
        for arm in one.accuracy:
            gain = one.over.get(arm)
            lines.append(
                [
                    f"{ARMS.get(arm, arm)}",
                    _judged(one),
                    f"{len(one.truth):,}",
                    f"{100 * one.accuracy[arm].mean():.1f}{NBSP}%",
                    DASH if gain is None else f"{gain.mean:+.1f}",
                    DASH if gain is None or gain.low is None else f"{gain.low:+.1f} to {gain.high:+.1f}",
                ]
            )
    head = ["Trained on", "Judged by", ">Images", ">Accuracy", ">Cleaned is ahead by (points)", ">90 % interval"]
    return table("Accuracy, mean over the seeds", head, lines, "wide")


def _by_class(first: loop.Summary, classes: list[str]) -> str:
    each = loop.by_class(first, classes)
    if len(each) < 2:
        return ""
    most = each.reindex(each["change"].abs().sort_values(ascending=False, kind="stable").index).head(MOST)
    most = most.sort_values("change", kind="stable")
    lines = [
        [
            name(row["class"]),
            f"{row['samples']:,.0f}",
            f"{100 * row['given']:.1f}{NBSP}%",
            f"{100 * row['cleaned']:.1f}{NBSP}%",
            f"{row['change']:+.1f}",
        ]
        for _, row in most.iterrows()
    ]
    which = f"the {MOST} classes that change most" if len(each) > MOST else "by class"
    caption = f"Accuracy {which}, the greatest loss first ({_judged(first).lower()})"
    return table(caption, ["Class", ">Images", ">As given", ">Cleaned", ">Change (points)"], lines)
