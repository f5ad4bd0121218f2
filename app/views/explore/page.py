"""Explore: every sample of every split, as a grid, a table or groups; filters combine, and all of it is in the URL."""

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.elements import gallery
from lossprint.app.shared import browse, decide, drawer, guard, parts
from lossprint.app.shared.acting import acts, bar, picked
from lossprint.app.views.explore import columns, filters, views
from lossprint.app.views.explore.columns import ALL, Ask

PER_PAGE = (60, 120, 240)
VIEWS = ("Grid", "Table", "Groups")
GRID = "explore-grid"


def render(loaded: data.Loaded) -> None:
    parts.header("Explore", f"Every {loaded.noun} of every split: find, sort, group, look and decide.")
    if loaded.samples.empty:
        parts.empty("No samples", "This run holds no samples.", "search_off")
        return
    _all(loaded)


@guard.fragment
def _all(loaded: data.Loaded) -> None:
    with guard.one_line():
        decide.tell()
        st.session_state[drawer.DRAWN] = False
        views.follow_link(loaded)
        ask, state, tag = filters.draw(loaded)
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            count = st.container(width="content")
            st.space("stretch")
            view = parts.one_of(
                "As",
                VIEWS,
                default="Grid",
                key="e_view",
                bind="query-params",
                label_visibility="collapsed",
                on_change=filters.first_page,
            )
            by, down = filters.sort(loaded)
            per_page = parts.per_page(PER_PAGE, "e_per", on_change=filters.first_page)
            tools = st.container(width="content")
        chosen = columns.places(loaded, ask, by, down)
        history = data.reviews(loaded).history()  # first: never newer than what is shown
        decided = decide.decided(loaded)
        chosen = _by_state(loaded, chosen, decided, state, tag)
        with count:
            of = f" of {len(loaded.samples):,}" if len(chosen) < len(loaded.samples) else ""
            st.markdown(f"**{len(chosen):,}{of}** samples")
        if not len(chosen):
            parts.empty("Nothing matches", "No sample passes all filters: take one away.", "filter_alt_off")
            drawer.draw(loaded, [])
            return
        with tools:
            views.draw(loaded)
        words = "that match" if len(chosen) < len(loaded.samples) else f"{loaded.noun}s, all of them"
        ids = loaded.samples.index.to_numpy()[chosen]
        bar.draw(loaded, acts.Selection(ids, words, "e", _named(ask, tag)), _rows(loaded), history)
        bar.draw_ticked(loaded, GRID, _rows(loaded))
        if view == "Groups":
            _groups(loaded, chosen)
            drawer.draw(loaded, [])
            return
        slot = st.container()
        number = parts.pages(-(-len(chosen) // per_page), "e_page")
        page = chosen[(number - 1) * per_page : number * per_page]
        ids = [int(one) for one in loaded.samples.index.to_numpy()[page]]
        drawer.draw(loaded, ids)
        with slot:
            parts.begins("explore", number)
            draw = _grid if view == "Grid" else _table
            draw(loaded, page, ids, by, decided, history)


def _by_state(loaded: data.Loaded, chosen: np.ndarray, decided: dict, state: str, tag: str) -> np.ndarray:
    """Of the chosen places those that are decided, or not, and that have a tag: what changes with every step."""
    if state != ALL:
        ids = loaded.samples.index.to_numpy()[chosen]
        done = pd.Index(list(decided), dtype="int64").get_indexer(ids) >= 0
        chosen = chosen[done if state == filters.DECIDED else ~done]
    if tag != ALL:
        tags, ids = data.marks(loaded).tags(), loaded.samples.index.to_numpy()[chosen]
        if tag in tags:
            return chosen[np.isin(ids, tags[tag])]
        return chosen[~np.isin(ids, np.concatenate(list(tags.values())))] if tags else chosen
    return chosen


def _named(ask: Ask, tag: str) -> str:
    """What a queue of it is called at first."""
    words = (ask.search.strip(), ask.label, ask.kind, ask.split, ask.value, tag)
    return " ".join(str(word) for word in words if word and word != ALL)[:60] or "all"


def _rows(loaded: data.Loaded):
    def table(ids: np.ndarray) -> pd.DataFrame:
        places = loaded.samples.index.get_indexer(ids)
        return columns.table(loaded, places, decide.decided(loaded), acts.tags_of(loaded, ids))

    return table


# ---------------------------------------------------------------------------------------------- what is shown


def _grid(loaded: data.Loaded, page, ids: list[int], by: str, decided: dict, history: pd.DataFrame) -> None:
    on_act = acts.of_tiles(loaded, ids, GRID, history)
    rows = picked.names(loaded, ids)
    rows = rows.assign(label=[str(loaded.samples.at[one, "label"]) for one in ids])
    value = None
    if by in columns.numbers(loaded):
        value = data.derived(loaded, columns.values, by)[page]
    tiles = []
    for at, row in enumerate(rows.itertuples()):
        note = "" if value is None or pd.isna(value[at]) else f"{columns.title(by)} {value[at]:.3g}"
        split = loaded.samples.at[row.sample, "split"]
        tiles.append(
            parts.tile(
                loaded,
                row.sample,
                given=row.label,
                suggested=row.suggested_label or "",
                title=f"#{row.sample}",
                note=note or parts.SPLITS.get(split, str(split)),
                **decide.badge(decided.get(row.sample)),
            )
        )
    parts.tell_missing(tiles)
    gallery(
        tiles,
        key=GRID,
        label="all samples",
        size="small",
        selected=drawer.opened(),
        on_open=drawer.show,
        on_act=on_act,
        more=True,
        labels=decide.labels(loaded) if loaded.labelled else (),
        digits=browse.digits(loaded) if loaded.labelled else (),
    )


def _table(loaded: data.Loaded, page, ids: list[int], by: str, decided: dict, history: pd.DataFrame) -> None:
    frame = columns.table(loaded, page, decided, acts.tags_of(loaded, np.asarray(ids)))
    with st.popover("Columns", icon=":material/view_column:"):
        able = [name for name in frame.columns if name != "sample"]
        picked_columns = st.multiselect(
            "Columns", able, key="e_columns", format_func=lambda name: parts.md(columns.title(name)), placeholder="All"
        )
    if picked_columns:
        frame = frame[["sample", *picked_columns]]
    images = [data.thumb(loaded, one) for one in ids] if loaded.noun == "image" else []
    if images:
        frame.insert(0, "image", [one.uri if one else None for one in images])

    def opened() -> None:
        rows = st.session_state["explore-table"].selection.rows
        if rows:
            drawer.show(ids[rows[0]])

    numbers = {
        name: st.column_config.NumberColumn(parts.md(columns.title(name)), format="%.3f")
        for name in columns.scores(loaded)
        if name in frame
    }
    st.dataframe(
        frame,
        hide_index=True,
        key="explore-table",
        on_select=opened,
        selection_mode="single-row",
        height=620,
        row_height=44,
        alt="Samples, a row each; choosing one opens it",
        column_config={
            "image": st.column_config.ImageColumn("Image", width="small"),
            "sample": st.column_config.NumberColumn("Id", format="%d"),
            "path": st.column_config.TextColumn("Path", width="medium"),
            "label": "Label",
            "split": "Split",
            "suggested_label": "Prefers",
            "decision": "Decision",
            "new_label": "New label",
            "tags": "Tags",
            **numbers,
        },
    )
    st.caption("The box at the left of a row opens it. **Sort** above puts all pages in order, a heading this one.")


def _groups(loaded: data.Loaded, chosen) -> None:
    """What is chosen, grouped by a column."""
    names = ["label", "split"] if loaded.labelled else ["split"]
    names += [name for name in ("sequence",) if loaded.samples[name].notna().any()]
    names += [name for name in ("suggested_label", "triage") if name in loaded.scores]
    names += columns.texts(loaded)
    tags = data.marks(loaded).tags()
    names += ["tag"] if tags else []
    titles = {columns.title(name).replace("_", " "): name for name in names}
    by = titles[filters.choice("Group by", list(titles), "e_group", width=220)]
    table = columns.groups_by_tag(loaded, tags, chosen) if by == "tag" else columns.groups(loaded, by, chosen)
    slot = st.container()
    rows = st.dataframe(
        table.head(1000),
        hide_index=True,
        key=f"e_groups-{by}",
        on_select="rerun",
        selection_mode="multi-row",
        height=min(620, 38 + 35 * len(table)),
        alt="Samples by group",
        column_config={
            "value": parts.md(columns.title(by)),
            "samples": st.column_config.NumberColumn("Samples", format="localized"),
            "flagged": st.column_config.NumberColumn("Flagged", format="localized"),
            "share": st.column_config.ProgressColumn("Share flagged", format="%.1f %%", min_value=0, max_value=100),
            "difficulty": st.column_config.NumberColumn("Mean difficulty", format="%.3f"),
        },
    ).selection.rows
    values = [str(table["value"].iloc[row]) for row in rows if row < len(table)]
    if values:
        places = columns.in_groups(loaded, by, chosen, values, tags)
        what = f"in {', '.join(values[:3])}{' …' if len(values) > 3 else ''}"
        with slot:
            ids = loaded.samples.index.to_numpy()[places]
            bar.draw(loaded, acts.Selection(ids, what, "e_grouped", " ".join(values)[:60]), _rows(loaded))
    if len(table) > 1000:
        st.caption(f"The 1,000 largest of {len(table):,} groups.")
