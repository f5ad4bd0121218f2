"""Duplicates: which images are in the dataset more than once, do their labels agree, and which copy should stay?"""

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.charts import base as charts
from lossprint.app.elements.keys import KEYS
from lossprint.app.questions import copies, groups
from lossprint.app.questions.copies import POLICIES, Plan
from lossprint.app.questions.groups import Table
from lossprint.app.shared import browse, decide, drawer, guard, parts
from lossprint.app.shared.acting import steps
from lossprint.app.views.duplicates import strips
from lossprint.app.views.duplicates.strips import BEST

PER_PAGE = (8, 16, 32)
FILES = 2_000  # images that are opened at most to find the largest of each group
ALL = "All"
SHOW = (ALL, "Conflicting labels", "Across splits")


def render(loaded: data.Loaded) -> None:
    parts.header(
        "Duplicates",
        loaded.media.worded(
            "Which images are in the dataset more than once, do their labels agree, and which copy should stay?"
        ),
    )
    base = data.derived(loaded, groups.recorded)
    if base.frame.empty:
        if loaded.run.has_duplicates():
            parts.empty("No duplicates", f"No two {loaded.noun}s have the same or nearly the same content.")
        else:
            text = f"No {loaded.noun}s were compared in this run: its losses came from elsewhere."
            parts.empty("Not looked for", text, "info")
        return
    table = _threshold(loaded, base)
    history = data.reviews(loaded).history()
    decided, partly = copies.states(table, history)
    chosen = _filters(loaded)
    found = groups.filtered(table, loaded.samples, decided, **chosen)
    per_page = _counts(found, decided[found.index])
    if found.empty:
        parts.empty(
            "No such group",
            "Choose another view above, or lower the threshold of similarity."
            if len(table.frame) < len(base.frame)
            else "Choose another view above.",
            "filter_alt_off",
        )
        drawer.draw(loaded, [])
        return
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="d-policy-strip"):
        policy = _policy(loaded)
        buttons = st.container(horizontal=True, gap="xsmall", vertical_alignment="bottom", width="content")
    pages = -(-len(found) // per_page)
    top, slot = st.container(), st.container()
    number = parts.pages(pages, "dpage")
    with top:
        parts.begins("duplicates-top", number)
    shown = browse.page_of(found, number, per_page)
    open_now = ~(decided | partly)
    with buttons:
        asked = _bulk(loaded, table, found, shown, open_now, policy, history)
    with slot:
        strips.strips(loaded, table, shown, decided, partly, policy, history)
    if not asked and drawer.opened() is not None:
        # A sample may be in an exact group and in a near one: the arrows of the drawer pass it once.
        order = list(dict.fromkeys(table.members[groups.flat(found)[1]].tolist()))
        drawer.draw(loaded, order)


# ---------------------------------------------------------------------------------------------- what is shown


def _threshold(loaded: data.Loaded, base: Table) -> Table:
    """The slider, what it makes of the groups, and how similar the near pairs are."""
    pairs = data.derived(loaded, groups.edges)
    near = pairs.near()
    low, step = scale(near)
    if not len(near) or low >= 1:
        return base
    if not low <= st.session_state.get("alike", low) <= 1:  # of another run
        del st.session_state["alike"]
    left, right = st.columns([3, 2], gap="medium", vertical_alignment="center")
    with left:
        least = st.slider(
            "Near duplicates: alike by at least",
            low,
            1.0,
            low,
            step,
            format="%.3f",
            key="alike",
            bind="query-params",
            on_change=_first_page,
            help=f"{loaded.media.alike}. Raising it splits groups of near duplicates into what is still alike, at "
            "once; it is a view and changes no finding. Decisions on a part of a group are stored under the part's "
            "own name, such as near_duplicate:17 (2 of 5), and leave the other copies as they are.",
        )
        table = data.derived(loaded, _at, round(least, 4)) if least > low else base
        line = f"**{parts.plural(len(table.frame), 'group')}, {parts.plural(table.images, loaded.noun)}**"
        line += ", at this threshold"
        if least > low:
            kept = int((near >= least - groups.CLOSE).sum())
            line += f" · {kept:,} of {parts.plural(len(near), 'near pair')} · {len(base.frame):,} groups as recorded"
        st.markdown(line)
    with right:
        figure = charts.histogram(pd.Series(near), dark=parts.dark(), unit="similarity of near pairs", height=130)
        _shade(figure, least)
        parts.chart(figure, f"Similarities of {len(near):,} near pairs, those below {least:.3f} in grey", "alike-pairs")
    return table


def scale(near: np.ndarray) -> tuple[float, float]:
    """(lowest value, step) of the slider, for the similarities of the near pairs: 100 steps at most."""
    if not len(near):
        return 1.0, 0.001
    least = float(np.clip(near.min(), 0, 1))
    step = next(step for step in (0.001, 0.002, 0.005, 0.01) if 1 - least <= 100 * step)
    return round(float(np.floor(least / step + groups.CLOSE)) * step, 4), step


def _at(loaded: data.Loaded, least: float) -> Table:
    base, pairs = data.derived(loaded, groups.recorded), data.derived(loaded, groups.edges)
    return groups.regrouped(base, loaded, pairs, least)


def _shade(figure, least: float) -> None:
    """Pairs that do not count at this threshold in grey."""
    colours = charts.palette(parts.dark())
    if not figure.data:
        return
    bars = figure.data[0]
    bars.marker.color = [colours.given if x >= least else charts.tint(colours.muted, 0.45) for x in bars.x]
    bars.hovertemplate = "about %{x:.3f}: %{y:,} pairs<extra></extra>"
    figure.update_yaxes(title_text="pairs", nticks=3)


def _first_page() -> None:
    if "dpage" in st.session_state:
        st.session_state["dpage"] = 1


def _labels(loaded: data.Loaded) -> list[str]:
    """The labels of images in groups, most frequent first."""
    members = np.unique(groups.recorded(loaded).members)
    return list(data.counts(groups.column(loaded.samples, "label", members)).index)


def _filters(loaded: data.Loaded) -> dict:
    """What to show, as keywords of `groups.filtered`."""

    def control(label: str, options: tuple, key: str) -> str:
        return parts.one_of(label, options, default=ALL, key=key, bind="query-params", on_change=_first_page)

    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom", key="d-filters-strip"):
        show = control("Show", SHOW, "groups")
        kind = control("Kind", (ALL, "Exact", "Near"), "kind")
        state = control("Decision", (ALL, "Open", "Decided"), "dstate")
        classes = [ALL, *data.derived(loaded, _labels)]
        parts.dead_link("dclass", classes, "duplicate with this label:")
        label = st.selectbox(
            "Class",
            classes,
            key="dclass",
            bind="query-params",
            on_change=_first_page,
            width=170,
            help="Groups in which a copy has this label.",
        )
    return {"show": show, "kind": kind, "label": label, "state": state}


def _counts(found: pd.DataFrame, decided: np.ndarray) -> int:
    """What the filters left; how many groups a page."""
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.caption(
            f"{parts.plural(len(found), 'group')}: {found['conflict'].sum():,} with conflicting labels, "
            f"{found['leak'].sum():,} across splits, {(~decided).sum():,} not decided.",
            width="content",
        )
        st.space("stretch")
        return parts.per_page(PER_PAGE, "dper", label="Groups a page", on_change=_first_page)


# ---------------------------------------------------------------------------------------------- which copy stays


def _policy(loaded: data.Loaded) -> str:
    return parts.one_of(
        "Which copy stays",
        list(POLICIES),
        default="loss",
        key="policy",
        bind="query-params",
        format_func=lambda name: loaded.media.worded(POLICIES[name]),
        help="An evaluation copy stays before a training copy, so that evaluation data stays as it is. Else: "
        + "; ".join(loaded.media.worded(f"**{POLICIES[name]}**: {text}") for name, text in BEST.items())
        + ". Where that says nothing, the smallest id stays.",
    )


def _bulk(loaded, table: Table, found, shown, open_now: np.ndarray, policy: str, history: pd.DataFrame) -> bool:
    """The buttons that keep one copy of many groups at once. Whether one of them has asked for a confirmation."""
    conflict = copies.conflicting_now(table, found, loaded.samples, history)
    able = found[~conflict & open_now[found.index]]
    here = shown[shown.index.isin(able.index)]
    asked = None
    if len(here) and st.button(
        f"Apply to the {parts.plural(len(here), 'group')} shown",
        key="bulk-page",
        icon=":material/filter_1:",
        help="Keeps one copy of each group on this page whose labels agree and that is open. Asks before.",
    ):
        asked = here
    many = policy == "largest" and int(able["size"].sum()) > FILES
    if len(able) > len(here) and st.button(
        f"Apply to all {len(able):,} groups without conflicting labels",
        key="bulk-all",
        icon=":material/done_all:",
        disabled=many,
        help=loaded.media.worded(
            f"Sizes are read from the image files: for {FILES:,} images at most. Go page by page, or filter."
        )
        if many
        else "Keeps one copy of each group under these filters whose labels agree and that is open. Asks before.",
    ):
        asked = able
    st.button(
        "Undo",
        key="duplicates-undo",
        icon=":material/undo:",
        type="tertiary",
        shortcut=KEYS["undo"] if drawer.opened() is None else None,  # the drawer has its own
        on_click=steps.undo,
        args=(loaded,),
    )
    if asked is None:
        return False
    value = strips.value_of(loaded, table, asked, policy)
    plan = copies.plan(table, asked, value, loaded.samples, history)
    whole = found if asked is able else shown
    left = conflict[found.index.get_indexer(whole.index)]
    seen = decide.last_seen(history, asked["group"])
    _confirm(loaded, plan, policy, int(left.sum()), len(whole) - len(asked) - int(left.sum()), seen)
    return True


@st.dialog("Keep one copy of each group?")
def _confirm(loaded: data.Loaded, plan: Plan, policy: str, conflicts: int, others: int, seen: dict[str, int]) -> None:
    guard.still_in()
    st.markdown(
        f"**{parts.plural(plan.groups, 'group')}, {parts.plural(plan.images, loaded.noun)}**: "
        f"{parts.plural(plan.stay, f'{loaded.noun} stays', f'{loaded.noun}s stay')}, {plan.go:,} will be excluded."
    )
    st.markdown(
        f"Of each group an evaluation copy stays if there is one, else {loaded.media.worded(BEST[policy])}. "
        "What other findings left out stays out, and labels that they gave are kept."
    )
    if plan.tested:
        text = parts.plural(
            plan.tested, "of the excluded is an evaluation copy", "of the excluded are evaluation copies"
        )
        st.markdown(f":orange[:material/warning:] {text}: further copies within the evaluation data.")
    left = []
    if conflicts:
        left.append(
            f"{parts.plural(conflicts, 'group')} with conflicting labels: which label is right is for you to say"
        )
    if others:
        left.append(f"{parts.plural(others, 'group')} decided already, in whole or in part")
    if left:
        st.markdown("Left as before: " + "; ".join(left) + ".")
    st.caption("No file is deleted: these are decisions, applied on export. One Undo (U) takes all of them back.")
    with st.container(horizontal=True, horizontal_alignment="right", gap="xsmall"):
        if st.button("Cancel", key="bulk-cancel"):
            st.rerun()
        if st.button("Apply", key="bulk-apply", type="primary", icon=":material/check:"):
            with st.spinner("Storing …"):
                decide.press(loaded, plan.decisions, seen=seen)  # somebody may have decided while the dialog was open
            st.rerun()
