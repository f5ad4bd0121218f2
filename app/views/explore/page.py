"""Explore: every sample of every split, as a grid, a table or groups; filters combine, and all of it is in the URL."""

import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.access import roles
from lossprint.app.elements import gallery
from lossprint.app.questions import picked
from lossprint.app.shared import browse, decide, drawer, guard, parts
from lossprint.app.views.explore import actions, columns
from lossprint.app.views.explore.columns import ALL, CLEAN, FLAGGED, Ask
from lossprint.audit.export import export
from lossprint.audit.types import KIND_WORDS

PER_PAGE = (60, 120, 240)
VIEWS = ("Grid", "Table", "Groups")
DECIDED, OPEN = "Decided", "Not decided"
MANY = 300  # labels above which they are searched for as text
LONGEST = 200  # characters of a search


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
        ask, state = _filters(loaded)
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
                on_change=_first_page,
            )
            by, down = _sort(loaded)
            per_page = parts.per_page(PER_PAGE, "e_per", on_change=_first_page)
            tools = st.container(width="content")
        chosen = columns.places(loaded, ask, by, down)
        history = data.reviews(loaded).history()
        decided = decide.decided(loaded)
        if state != ALL:
            ids = loaded.samples.index.to_numpy()[chosen]
            done = pd.Index(list(decided), dtype="int64").get_indexer(ids) >= 0
            chosen = chosen[done if state == DECIDED else ~done]
        with count:
            of = f" of {len(loaded.samples):,}" if len(chosen) < len(loaded.samples) else ""
            st.markdown(f"**{len(chosen):,}{of}** samples")
        if not len(chosen):
            parts.empty("Nothing matches", "No sample passes all filters: take one away.", "filter_alt_off")
            drawer.draw(loaded, [])
            return
        with tools:
            _export(loaded, chosen)
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            actions.all_that_match(loaded, chosen, history)
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


def _first_page() -> None:
    if st.session_state.get("e_page", 1) != 1:
        st.session_state["e_page"] = 1


# ---------------------------------------------------------------------------------------------- what is asked for


def _choice(label: str, options: list[str], key: str, **how) -> str:
    parts.dead_link(key, options, label.lower())
    return st.selectbox(label, options, key=key, bind="query-params", on_change=_first_page, **how)


def _filters(loaded: data.Loaded) -> tuple[Ask, str]:
    """What is asked for, and which decisions."""
    splits = [ALL, *data.derived(loaded, columns.codes, "split")[1]]
    kinds = {ALL: ALL, FLAGGED: FLAGGED, CLEAN: CLEAN}
    kinds |= {KIND_WORDS[kind][0]: kind for kind in data.derived(loaded, columns.kinds)}
    with st.container(key="e_filters-row"):
        search, split, label, kind, state = st.columns([4, 2, 3, 3, 3], gap="small")
    with search:
        words = st.text_input(
            "Search",
            key="e_search",
            bind="query-params",
            placeholder="path or id",
            icon=":material/search:",
            max_chars=LONGEST,
            on_change=_first_page,
        )
    with split:
        of = _choice("Split", splits, "e_split", format_func=lambda name: parts.SPLITS.get(name, parts.md(name)))
    with label:
        given = ALL
        if loaded.labelled:
            given = _choice("Label", [ALL, *loaded.classes], "e_label")
    with kind:
        found = _choice("Findings", list(kinds), "e_kind")
    with state:
        decision = _choice("Decision", [ALL, DECIDED, OPEN], "e_state")
    more = _more(loaded)
    return Ask(words or "", of, given, kind=kinds[found], **more), decision


def _more(loaded: data.Loaded) -> dict:
    """The filters that are asked for less often: a suggested label, limits of a score, a further column."""
    named = {"": "", **{columns.title(name): name for name in columns.numbers(loaded)}}
    further = {"": "", **{columns.title(name): name for name in columns.texts(loaded)}}
    suggested = data.derived(loaded, columns.codes, "suggested_label")[1] if "suggested_label" in loaded.scores else []
    keys = ("e_suggested", "e_score", "e_column")
    active = sum(st.session_state.get(key) not in (None, "", ALL) for key in keys)
    title = f"More filters ({active})" if active else "More filters"
    fold = st.expander(title, icon=":material/filter_alt:", key="e_more", on_change="rerun")
    with fold:
        chosen = {}
        left, middle, right = st.columns(3, gap="medium")
        with left:
            if suggested and loaded.labelled:
                chosen["suggested"] = _choice("Suggested label", [ALL, *suggested], "e_suggested")
        with middle:
            score = named[_choice("Limits of", list(named), "e_score", format_func=lambda one: parts.md(one) or "None")]
            if score:
                low, high = st.columns(2, gap="small")
                with low:
                    chosen["least"] = st.number_input(
                        "At least", value=None, key=f"e_least-{score}", on_change=_first_page
                    )
                with high:
                    chosen["most"] = st.number_input(
                        "At most", value=None, key=f"e_most-{score}", on_change=_first_page
                    )
                chosen["score"] = score
        with right:
            if len(further) > 1:
                picked = _choice("Column", list(further), "e_column", format_func=lambda one: parts.md(one) or "None")
                column = further[picked]
                if column:
                    values = data.derived(loaded, columns.codes, column)[1]
                    chosen |= {"column": column, "value": _choice("Says", [ALL, *values], "e_value")}
    return chosen


def _sort(loaded: data.Loaded) -> tuple[str, bool]:
    names = ["sample", "path", *(["label"] if loaded.labelled else []), "split"]
    names += [*columns.numbers(loaded), *columns.texts(loaded)]
    titles = {columns.title(name): name for name in names}
    picked = st.selectbox(
        "Sort",
        list(titles),
        key="e_sort",
        bind="query-params",
        label_visibility="collapsed",
        width=170,
        on_change=_first_page,
    )
    down = st.toggle("Highest first", key="e_down", bind="query-params", on_change=_first_page)
    return titles[picked], down


# ---------------------------------------------------------------------------------------------- what is shown


def _grid(loaded: data.Loaded, page, ids: list[int], by: str, decided: dict, history: pd.DataFrame) -> None:
    findings = picked.names(loaded, ids)
    rows = findings.assign(label=[str(loaded.samples.at[one, "label"]) for one in ids])
    seen = decide.last_seen(history, rows["group"])
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
        key="explore-grid",
        label="all samples",
        size="small",
        selected=drawer.opened(),
        on_open=drawer.show,
        on_act=decide.bulk(loaded, rows, seen),
        labels=loaded.classes if loaded.labelled else (),
        digits=browse.digits(loaded) if loaded.labelled else (),
    )


def _table(loaded: data.Loaded, page, ids: list[int], by: str, decided: dict, history: pd.DataFrame) -> None:
    frame = columns.table(loaded, page, decided)
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
    titles = {columns.title(name).replace("_", " "): name for name in names}
    by = titles[_choice("Group by", list(titles), "e_group", width=220)]
    table = columns.groups(loaded, by, chosen)
    st.dataframe(
        table.head(1000),
        hide_index=True,
        height=min(620, 38 + 35 * len(table)),
        alt="Samples by group",
        column_config={
            "value": parts.md(columns.title(by)),
            "samples": st.column_config.NumberColumn("Samples", format="localized"),
            "flagged": st.column_config.NumberColumn("Flagged", format="localized"),
            "share": st.column_config.ProgressColumn("Share flagged", format="%.1f %%", min_value=0, max_value=100),
            "difficulty": st.column_config.NumberColumn("Mean difficulty", format="%.3f"),
        },
    )
    if len(table) > 1000:
        st.caption(f"The 1,000 largest of {len(table):,} groups.")


def _export(loaded: data.Loaded, chosen) -> None:
    def made() -> bytes:
        return export.csv_text(columns.table(loaded, chosen, decide.decided(loaded))).encode("utf-8")

    with st.popover("Export", icon=":material/download:"):
        roles.download(
            f"Download {parts.plural(len(chosen), 'row')} (CSV)",
            made,
            "samples.csv",
            "text/csv",
            key="e_download",
            on_click="ignore",
        )
