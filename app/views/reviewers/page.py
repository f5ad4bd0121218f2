"""Reviewers: who reviews what, how far is each, and how well do they agree?"""

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.access import roles
from lossprint.app.questions import disagreements
from lossprint.app.shared import decide, parts
from lossprint.app.views.reviewers import charts
from lossprint.audit.review import assigning
from lossprint.audit.types import KIND_WORDS, LossprintError

QUEUES = {  # as the page says them: name in assigning.QUEUES
    "Everything": "all",
    KIND_WORDS["label_error"][0]: "labels",
    "Duplicates": "duplicates",
    KIND_WORDS["outlier"][0]: "outliers",
    KIND_WORDS["quality"][0]: "quality",
    "Video": "video",
}
CARD = {"delta_color": "off", "delta_arrow": "off", "border": True, "height": "stretch"}
MOST = 50  # classes in the table
DRAWN = 12  # reviewers up to which the pairs are drawn as a square


def render(loaded: data.Loaded) -> None:
    parts.header("Reviewers", "Who reviews what, how far is each, and how well do they agree?")
    kept = data.reviews(loaded)
    history, assignments = kept.history(), kept.assignments()
    table, found = assigning.status(history, assignments, loaded.findings, loaded.samples["label"])
    if table.empty:
        parts.empty(
            "Nobody has reviewed yet",
            "Share a queue out among the reviewers below, or just start: whoever answers first counts.",
            "group",
        )
        with st.container(horizontal=True, horizontal_alignment="center"):
            parts.link("review", "Start the review", "rule")
    else:
        _progress(loaded, table)
        _agreement(found, history)
    _share_out(loaded, history, assignments, table)


# ---------------------------------------------------------------------------------------------- how far is each


def _progress(loaded: data.Loaded, table: pd.DataFrame) -> None:
    shown = pd.DataFrame(
        {
            "Reviewer": table["reviewer"],
            "Done": np.where(table["assigned"] > 0, 100 * table["decided"] / table["assigned"].clip(lower=1), np.nan),
            "Assigned": table["assigned"],
            "Left": table["left"],
            "Decided": table["decided"] + table["besides"],
            "Seconds each": table["seconds"],
            "Same answer": 100 * table["agreement"],
            "Open disagreements": table["differs"],
            "Settled": table["settled"],
            "Last decision (UTC)": pd.to_datetime(table["last"], utc=True, errors="coerce"),
        }
    )
    config = st.column_config
    st.dataframe(
        shown,
        hide_index=True,
        alt="Each reviewer's progress, a row a reviewer",
        placeholder="–",
        column_config={
            "Reviewer": config.TextColumn(pinned=True),
            "Done": config.ProgressColumn(format="%.0f %%", min_value=0, max_value=100, help="Of what is assigned."),
            "Decided": config.NumberColumn(help="Findings decided on, whether assigned or not."),
            "Seconds each": config.NumberColumn(
                format="%.1f", help="Median time on a question, where it was measured."
            ),
            "Same answer": config.NumberColumn(
                format="%.0f %%",
                help="Of the times that this reviewer and another answered about the same sample, how often they said "
                "the same.",
            ),
            "Open disagreements": config.NumberColumn(help="Samples on which somebody else differs, not settled yet."),
            "Settled": config.NumberColumn(help="Disagreements that this reviewer settled."),
            "Last decision (UTC)": config.DatetimeColumn(format="D MMM YYYY, HH:mm"),
        },
    )
    with st.container(horizontal=True, gap="small"):
        parts.link("review", f"Review as {parts.md(decide.reviewer())}", "rule")
        open_ones = int((table["differs"] > 0).sum())
        if open_ones:
            parts.link("disagreements", "Settle the disagreements", "forum")


# ---------------------------------------------------------------------------------------------- how well they agree


def _agreement(found: assigning.Agreement, history: pd.DataFrame) -> None:
    st.subheader("Agreement", anchor=False)
    if not len(found.samples):
        parts.empty(
            "Nothing to compare yet",
            "No sample has answers of two reviewers. Share out a queue below, all or a fifth of it to two of them: "
            "what both answer tells how far their answers can be relied on.",
            "compare",
        )
        return
    grid = st.grid(4, min_column_width=190, gap="small")
    grid.metric(
        "Answered by two or more",
        f"{len(found.samples):,}",
        f"differ on {int(found.differ.sum()):,}",
        **CARD,
        help="Samples with answers of at least two reviewers. They were flagged by the model or chosen to be shared: "
        "agreement on them does not speak for the rest of the dataset.",
    )
    _metric(grid, "Same answer", found.raw, True, "Of two reviewers' answers about a sample, how often they are equal.")
    _metric(
        grid,
        parts.md(found.name),
        found.kappa,
        False,
        "Agreement beyond chance: 1 is perfect, 0 as by chance. "
        + ("Of two reviewers (Cohen 1960)." if len(found.reviewers) == 2 else "Of several reviewers (Fleiss 1971).")
        + " Answers count as kept, as suggested, another label, excluded or unsure.",
    )
    _metric(
        grid,
        "Krippendorff's alpha",
        found.alpha,
        False,
        "As kappa, but answers may be missing: how much less often they differ than by chance.",
    )
    st.markdown(" ".join(parts.md(one) for one in found.words))
    _seen_labels(found, history)
    if len(found.reviewers) < 3:  # one pair, which the figures above are about
        _tables(found)
        return
    left, right = st.columns(2, gap="large")
    with left:
        _pairs(found)
    with right:
        _tables(found)


def _metric(grid, title: str, one, percent: bool, text: str) -> None:
    def number(value: float) -> str:
        return f"{100 * value:.0f} %" if percent else f"{value:.2f}"

    if np.isnan(one.value):
        grid.metric(title, "–", parts.md(one.reason), help=text, **CARD)
        return
    ends = (
        f"90 % interval {number(one.low)} to {number(one.high)}"
        if np.isfinite(one.low)
        else parts.md(one.reason) or None
    )
    grid.metric(title, number(one.value), ends, help=text, **CARD)


def _seen_labels(found: assigning.Agreement, history: pd.DataFrame) -> None:
    """What a label in view does to agreement, where answers were given with one."""
    mine = history[history["stands"] & (history["role"] == "") & history["sample"].isin(found.samples)]
    blind = int((mine["blind"] != "").sum())
    if blind < len(mine):
        st.caption(
            f"{len(mine) - blind:,} of these {len(mine):,} answers were given with both labels in view, which pulls "
            "reviewers the same way: agreement without them (**How** on the page Review) tells more."
        )


def _pairs(found: assigning.Agreement) -> None:
    st.markdown("**Each two reviewers**")
    if len(found.reviewers) <= DRAWN:
        parts.chart(
            charts.agreement_matrix(found.pairs, dark=parts.dark()),
            "How often each two reviewers gave the same answer: "
            + "; ".join(
                f"{row.first} and {row.second} {100 * row.raw:.0f} % of {row.samples}"
                for row in found.pairs[found.pairs["samples"] > 0].itertuples()
            ),
            "pairs",
        )
        return
    shown = found.pairs[found.pairs["samples"] > 0].sort_values("raw")
    st.dataframe(
        pd.DataFrame(
            {
                "One": shown["first"],
                "Other": shown["second"],
                "Samples": shown["samples"],
                "Same answer": 100 * shown["raw"],
                "Kappa": shown["kappa"],
            }
        ),
        hide_index=True,
        height=420,
        alt="Agreement of each two reviewers",
        column_config={
            "Same answer": st.column_config.NumberColumn(format="%.0f %%"),
            "Kappa": st.column_config.NumberColumn(format="%.2f"),
        },
    )


def _tables(found: assigning.Agreement) -> None:
    config = st.column_config
    share = config.ProgressColumn("Same answer", format="%.0f %%", min_value=0, max_value=100)
    if len(found.classes):
        st.markdown("**By given label**, least agreement first")
        shown = found.classes.head(MOST)
        st.dataframe(
            shown[["label", "raw", "samples", "differ"]].assign(raw=100 * shown["raw"]),
            hide_index=True,
            height="auto" if len(shown) < 8 else 290,
            alt="Agreement by given label",
            column_config={"label": "Given label", "raw": share, "samples": "Samples", "differ": "Differ"},
        )
    if len(found.kinds) > 1:
        st.markdown("**By kind of finding**")
        shown = found.kinds.assign(
            raw=100 * found.kinds["raw"],
            kind=found.kinds["kind"].map(disagreements.kind_title),
            interval=[
                f"{100 * row.low:.0f} to {100 * row.high:.0f} %" if np.isfinite(row.low) else ""
                for row in found.kinds.itertuples()
            ],
        )
        st.dataframe(
            shown[["kind", "raw", "interval", "alpha", "samples"]],
            hide_index=True,
            alt="Agreement by kind of finding",
            column_config={
                "kind": "Kind",
                "raw": share,
                "interval": "90 % interval",
                "alpha": config.NumberColumn("Alpha", format="%.2f"),
                "samples": "Samples",
            },
        )


# ---------------------------------------------------------------------------------------------- who is asked what


def _share_out(loaded: data.Loaded, history: pd.DataFrame, assignments: pd.DataFrame, table: pd.DataFrame) -> None:
    st.subheader("Share out a queue", anchor=False)
    st.caption(
        "Each reviewer is then asked only what is theirs. Without this, nobody is handed what another has open or has "
        "answered."
    )
    if loaded.findings.empty:
        st.info("This run has no findings to share out.", icon=":material/info:")
        return
    kinds = set(loaded.findings["kind"])
    have = [title for title, name in QUEUES.items() if not (of := assigning.QUEUES[name]) or kinds & set(of)]
    asked = table["assigned"] + table["decided"] + table["besides"] > 0  # not who only settled
    known = list(table.loc[asked, "reviewer"]) or ([decide.named()] if decide.named() else [])
    left, right = st.columns([5, 6], gap="large")
    with left:
        names = st.multiselect(
            "Reviewers",
            known,
            default=known,
            accept_new_options=True,
            key="assign-names",
            placeholder="Type a name, then Enter",
            help="Everybody types the same name into **Reviewer** in the sidebar, or signs in under it.",
        )
        names = list(dict.fromkeys(name.strip()[:60] for name in names if name.strip()))
        which = QUEUES[st.selectbox("Queue", have, key="assign-queue")]
        overlap = st.selectbox(
            "Reviewers for each finding",
            list(range(1, max(2, min(5, len(names)) + 1))),
            key="assign-overlap",
            help="With 2 or more, they answer independently: neither is told what the other said.",
        )
        shared = None
        if overlap > 1:
            percent = st.slider(
                "Share of the findings that get so many",
                5,
                100,
                100,
                5,
                format="%d %%",
                key="assign-share",
                help="The others get one reviewer. Those shared are spread evenly over kinds and severities.",
            )
            shared = percent / 100
        extend = False
        queue = assigning.queue(loaded.findings, which)
        if assignments["finding"].isin(queue["group"]).any():
            extend = st.toggle(
                "Everybody keeps what they have",
                key="assign-extend",
                help="Only what is missing is dealt out. Otherwise open questions of this queue are dealt out anew, so "
                "that somebody who joins takes a fair part. What is answered always stays.",
            )
    with right:
        if not names:
            st.info("Name at least one reviewer.", icon=":material/person_add:")
            return
        how = {"overlap": overlap, "shared": shared, "extend": extend}
        plan = assigning.plan(queue, names, history, assignments, **how)
        _preview(plan, len(queue), overlap, shared)
        st.button(
            "Store this assignment",
            key="assign-store",
            icon=":material/assignment_ind:",
            type="primary",
            on_click=_store,
            args=(loaded, which, names, how),
            disabled=not roles.may("owner"),
        )


def _preview(plan: assigning.Plan, number: int, overlap: int, shared: float | None) -> None:
    loads = plan.loads
    st.markdown("**Before it is stored: who would have how much**")
    st.dataframe(
        loads[["reviewer", "done", "open", "new", "shared"]],
        hide_index=True,
        alt="Questions of each reviewer, a row a reviewer",
        column_config={
            "reviewer": st.column_config.TextColumn("Reviewer", pinned=True),
            "done": st.column_config.NumberColumn("Answered", help="Answered already; it stays and counts."),
            "open": st.column_config.NumberColumn("To answer"),
            "new": st.column_config.NumberColumn("New", help="Of those to answer, not this reviewer's until now."),
            "shared": st.column_config.NumberColumn("Shared", help="Of those to answer, another is asked as well."),
        },
    )
    many = round(number * (1.0 if shared is None else shared)) if overlap > 1 else 0
    told = f"{parts.plural(number, 'finding')}, each for one reviewer."
    if many:
        told = f"{parts.plural(number, 'finding')}: {many:,} for {overlap} reviewers each"
        told += f", {number - many:,} for one." if many < number else "."
    if plan.withdrawn:
        told += f" {parts.plural(plan.withdrawn, 'open question')} would be taken from who has them now."
    st.caption(told)


def _store(loaded: data.Loaded, which: str, names: list[str], how: dict) -> None:
    """Planned anew when it is pressed: somebody may have answered since the preview was drawn."""
    kept = data.reviews(loaded)
    try:
        queue = assigning.queue(loaded.findings, which)
        plan = assigning.plan(queue, names, kept.history(), kept.assignments(), **how)
        kept.assign(plan.pairs)
    except LossprintError as error:
        st.session_state["_error"] = f"The assignment was not stored: {parts.md(error)}"
        return
    people = parts.plural(len(names), "reviewer")
    st.session_state["_toast"] = (f"Assigned to {people}", ":material/assignment_ind:")
