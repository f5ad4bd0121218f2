"""When to stop: what did the review find, what do the next questions hold, and what is left?"""

import html
from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.questions import questions
from lossprint.app.shared import parts, trust
from lossprint.app.views.stop import charts
from lossprint.audit.review import costs, queues, span_counts, stopping, wrong_labels
from lossprint.audit.review.strata import ENOUGH
from lossprint.audit.types import KIND_WORDS

AUDIT = {"queue": "Random audit"}
RULES = {
    "latest": "latest decision",
    "majority": "majority of reviewers",
    "settled": "agreed or adjudicated",
    "adjudicated": "adjudicated only",
}
HOW = """
**A question is answered** when a decision stands on its sample; *accept*, *relabel* and *exclude* mean that the label
was an error, *keep* that it was right, *unsure* leaves it open.

**Reviewed suggestions.** The interval is for suggestions like those reviewed: what one would find if the same kind of
samples came again (Clopper & Pearson, 1934). It says nothing of suggestions further down the queue, which are worse.

**The next hundred** are predicted from the answers before: at the least the yield goes on falling with the severity as
it did, at most it stays as it was. In simulated reviews the interval held the truth in over 90 % of the cases, except
where a queue's yield broke off from one question to the next, which nothing announces.

**What nobody flagged** is judged from random checks alone: a simple random sample, inverted exactly (hypergeometric).
No model, no trend: it holds whatever the ranking missed. Checks that were skipped count against it at both ends.

**Reviewers err.** The intervals cover what these reviewers would say of all samples. Where few labels are wrong, slips
outweigh errors: a reviewer who calls 3 in 100 right labels wrong finds 100 errors too many among 3,300. So have the
errors that random checks found looked at again.
"""


def render(loaded: data.Loaded) -> None:
    parts.header("When to stop", "What did the review find, what do the next questions hold, and what is left?")
    trust.warn(loaded)
    history = data.reviews(loaded).history()
    of = data.derived(loaded, questions.strata_of)
    rule = _rule(history)
    found = stopping.so_far(of, history, rule=rule)
    if not found.flagged and not found.rest and not len(loaded.of_kind(*queues.SPANS)):
        parts.empty("Nothing to review", "This run has no training samples with findings or without.", "info")
        return
    _sentences(found, _of_videos(loaded, history, rule))
    if (about := wrong_labels.wrong_labels(loaded.run, found)) is not None:
        st.caption(f"{parts.md(wrong_labels.sentence(about))}.")
    if found.answered:
        left, right = st.columns(2, gap="large")
        with left:
            _curve(found)
        with right:
            _tenths(found)
    elif found.flagged:
        parts.empty(
            "No suggestion reviewed yet",
            "Answer some questions of the queue, most suspicious first: the yield curve is drawn here as you go.",
            "rule",
        )
        parts.link("review", "Review the suggested labels", "rule", {"queue": KIND_WORDS["label_error"][0]})
    _costs(loaded, found, history)
    _audit(found)
    if found.answered:
        _classes(found)


def _costs(loaded: data.Loaded, found: stopping.Stopping, history: pd.DataFrame) -> None:
    """How many minutes the open questions take, by two times that a person can change."""
    items = data.derived(loaded, questions.items)
    cost = costs.measured(history, items.set_index("group")["tier"])
    answered = set(history.loc[history["stands"], "finding"].astype(object))
    still = items[~items["group"].isin(answered)]
    labels = still["kind"] == "label_error"
    if still.empty and not found.to_halve:
        return
    st.subheader("Time", anchor=False)
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="stop-costs"):
        verify, correct = (
            st.number_input(
                f"Seconds to {word}",
                0.1,
                3600.0,
                min(max(round(seconds, 1), 0.1), 3600.0),
                step=0.5,
                format="%.1f",
                key=f"{word}_seconds",
                bind="query-params",
                width=190,
                help=text,
            )
            for word, seconds, text in (
                ("verify", cost.verify, "A yes or no to one suggestion."),
                ("correct", cost.correct, "To choose among several labels, or to look closer."),
            )
        )
    chosen = costs.Costs(verify, correct)
    for sentence in costs.sentences(chosen, found, still.loc[labels, "tier"], still.loc[~labels, "tier"]):
        st.markdown(parts.md(sentence))
    st.caption(f"{parts.md(costs.basis(cost))} Of one person; pauses are not counted.")


def _rule(history: pd.DataFrame) -> str:
    """Whose decisions count; asked only where several reviewers decided."""
    if history.loc[history["stands"], "reviewer"].nunique() < 2:
        return "latest"
    return st.selectbox(
        "What counts",
        list(RULES),
        key="rule",
        bind="query-params",
        format_func=lambda rule: RULES[rule].capitalize(),
        width=240,
        help="Where several reviewers decided on a sample, which of their decisions is the answer.",
    )


def _of_videos(loaded: data.Loaded, history: pd.DataFrame, rule: str) -> list[str]:
    """How far the review of the spans of video is; a span is one question."""
    videos = data.videos(loaded)
    if videos is None:
        return []
    said = span_counts.outcomes(history, videos.spans, rule)
    return span_counts.sentences(span_counts.counts(videos.spans, said))


def _sentences(found: stopping.Stopping, of_videos: list[str]) -> None:
    said = stopping.findings_in_words(found)
    said = of_videos + (said if found.flagged or not of_videos else said[1:])  # no label alone, but labels of spans
    with st.container(border=True, gap="small"):
        lines = "".join(
            f'<p style="font-size:1.3rem;line-height:1.45;margin:0 0 .55rem">{html.escape(one)}</p>' for one in said
        )
        st.html(f'<div class="sentences">{lines}</div>')
        for note in stopping.notes(replace(found, elsewhere=0) if of_videos else found):
            st.caption(parts.md(note))
        if of_videos:
            parts.link("review", "Review the spans", "movie", {"queue": "Video"})
        with st.expander("How this is worked out", icon=":material/help:"):
            st.markdown(HOW)


def _curve(found: stopping.Stopping) -> None:
    st.subheader("Yield", anchor=False)
    st.caption("Errors found against suggestions reviewed, in the order of the answers. Flat: little more to be found.")
    figure = charts.yield_curve(found.curve, found.ahead, found.coming, dark=parts.dark())
    alt = f"Errors found against suggestions reviewed: {found.errors} of {found.answered}"
    parts.chart(figure, alt, "stop-yield")


def _tenths(found: stopping.Stopping) -> None:
    st.subheader("Down the queue", anchor=False)
    st.caption("Share of errors in each tenth of the queue, most suspicious first. Pale: less than half reviewed.")
    figure = charts.tenths(found.tenths, dark=parts.dark())
    parts.chart(figure, "Share of errors in each tenth of the queue, with 90 % intervals", "stop-tenths")


def _audit(found: stopping.Stopping) -> None:
    if not found.rest:
        return
    st.subheader("Random checks", anchor=False)
    st.caption("Training samples that nothing flagged, drawn at random: the only way to know what the ranking missed.")
    need = min(ENOUGH, found.rest)
    goal = need if found.audited < need else min(found.rest, found.audited + (found.to_halve or 0))
    words = f"{found.audited:,} of {goal:,} answered, {found.audit_errors:,} wrong"
    if found.audited >= need and goal > found.audited:
        words += f" · at {goal:,} the interval is half as wide"
    st.progress(found.audited / max(1, goal), text=words)
    if found.audited + found.audit_open < found.rest:
        parts.link("review", f"Check {min(20, found.rest - found.audited):d} at random", "casino", AUDIT)
    if found.answered + found.unsure < found.flagged:
        parts.link("review", "Check flagged ones at random", "shuffle", {"queue": "Spot check"})


def _classes(found: stopping.Stopping) -> None:
    table = found.classes
    if table.empty:
        return
    st.subheader("By class", anchor=False)
    still = bool(table["open"].any())
    first = "where most errors are expected among the open suggestions first" if still else "all reviewed"
    st.caption(f"By given label, {first}.")
    shown = pd.DataFrame(
        {
            "class": table["label"].astype(str),
            "share": 100 * table["share"],
            **{name: table[name] for name in ("errors", "reviewed", "open")},
            "expected": np.round(table["expected"].astype(float)),
        }
    )
    if not still:
        shown = shown.drop(columns=["open", "expected"])
    number = st.column_config.NumberColumn
    st.dataframe(
        shown,
        hide_index=True,
        column_config={
            "class": st.column_config.TextColumn("Given label", pinned=True, width=130),
            "share": st.column_config.ProgressColumn(
                "Errors", min_value=0, max_value=100, format="%.0f %%", width=120, help="Share among those reviewed"
            ),
            "errors": number("Errors found", format="localized", width=90),
            "reviewed": number("Reviewed", format="localized", width=80),
            "open": number("Open", format="localized", width=70),
            "expected": number(
                "Expected in open",
                format="localized",
                width=110,
                help="The trend of the whole queue, times how this class compares with it so far. A rough figure.",
            ),
        },
        height="content" if len(shown) <= 12 else 460,
        placeholder="–",
        alt="Suggestions reviewed, errors found and expected, by given label",
    )
