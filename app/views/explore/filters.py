"""Explore's filters, order and what else its page is asked for, as widgets; all of it makes up a view."""

import streamlit as st

from lossprint.app import data
from lossprint.app.shared import parts
from lossprint.app.views.explore import columns
from lossprint.app.views.explore.columns import ALL, CLEAN, FLAGGED, Ask
from lossprint.audit.types import KIND_WORDS

DECIDED, OPEN = "Decided", "Not decided"
UNTAGGED = "(none)"
LONGEST = 200  # characters of a search
# What a view is made of: keys of widgets, with what they say where nothing was chosen.
ASKED = {
    "e_search": "",
    "e_split": ALL,
    "e_label": ALL,
    "e_kind": ALL,
    "e_state": ALL,
    "e_tag": ALL,
    "e_suggested": ALL,
    "e_score": "",
    "e_column": "",
    "e_value": ALL,
    "e_sort": "Id",
    "e_down": False,
    "e_view": "Grid",
    "e_group": "Label",
    "e_columns": [],
}
LIMITS = ("e_least-", "e_most-")  # before the name of a score


def first_page() -> None:
    if st.session_state.get("e_page", 1) != 1:
        st.session_state["e_page"] = 1


def choice(label: str, options: list[str], key: str, **how) -> str:
    # The URL holds what an option is called.
    parts.dead_link(key, map(how.get("format_func", str), options), label.lower())
    if st.session_state.get(key, options[0]) not in options:  # of a view that was saved when there was such a one
        parts.told_missing(label.lower(), str(st.session_state.pop(key)))
    return st.selectbox(label, options, key=key, bind="query-params", on_change=first_page, **how)


def draw(loaded: data.Loaded) -> tuple[Ask, str, str]:
    """What is asked for, which decisions, and which tag."""
    tags = list(data.marks(loaded).tags())
    splits = [ALL, *data.derived(loaded, columns.codes, "split")[1]]
    kinds = {ALL: ALL, FLAGGED: FLAGGED, CLEAN: CLEAN}
    kinds |= {KIND_WORDS[kind][0]: kind for kind in data.derived(loaded, columns.kinds)}
    with st.container(key="e_filters-row"):
        search, split, label, kind, state, *tag = st.columns([4, 2, 3, 3, 3, *([3] if tags else [])], gap="small")
    with search:
        words = st.text_input(
            "Search",
            key="e_search",
            bind="query-params",
            placeholder="path or id",
            icon=":material/search:",
            max_chars=LONGEST,
            on_change=first_page,
        )
    with split:
        of = choice("Split", splits, "e_split", format_func=lambda name: parts.SPLITS.get(name, parts.md(name)))
    with label:
        given = ALL
        if loaded.labelled:
            given = choice("Label", [ALL, *loaded.classes], "e_label")
    with kind:
        found = choice("Findings", list(kinds), "e_kind")
    with state:
        decision = choice("Decision", [ALL, DECIDED, OPEN], "e_state")
    tagged = ALL
    if tags:
        with tag[0]:
            tagged = choice("Tag", [ALL, *tags, UNTAGGED], "e_tag")
    elif st.session_state.pop("e_tag", ALL) != ALL:
        parts.told_missing("tag", st.query_params.get("e_tag") or "of this view")
    return Ask(words or "", of, given, kind=kinds[found], **_more(loaded)), decision, tagged


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
                chosen["suggested"] = choice("Suggested label", [ALL, *suggested], "e_suggested")
        with middle:
            score = named[choice("Limits of", list(named), "e_score", format_func=lambda one: parts.md(one) or "None")]
            if score:
                for box, name, label, start in zip(
                    st.columns(2, gap="small"), ("least", "most"), ("At least", "At most"), LIMITS
                ):
                    with box:
                        chosen[name] = st.number_input(label, value=None, key=start + score, on_change=first_page)
                chosen["score"] = score
        with right:
            if len(further) > 1:
                picked = choice("Column", list(further), "e_column", format_func=lambda one: parts.md(one) or "None")
                column = further[picked]
                if column:
                    values = data.derived(loaded, columns.codes, column)[1]
                    chosen |= {"column": column, "value": choice("Says", [ALL, *values], "e_value")}
    return chosen


def sort(loaded: data.Loaded) -> tuple[str, bool]:
    names = ["sample", "path", *(["label"] if loaded.labelled else []), "split"]
    names += [*columns.numbers(loaded), *columns.texts(loaded)]
    titles = {columns.title(name): name for name in names}
    picked = choice("Sort", list(titles), "e_sort", label_visibility="collapsed", width=170)
    down = st.toggle("Highest first", key="e_down", bind="query-params", on_change=first_page)
    return titles[picked], down


# ---------------------------------------------------------------------------------------------- as a view


def asked() -> dict:
    """What the page is asked for at present, without what says nothing; of a session, and as JSON can hold it."""
    state = {key: st.session_state.get(key, empty) for key, empty in ASKED.items()}
    limits = {key: value for key, value in st.session_state.items() if str(key).startswith(LIMITS)}
    kept = {key: value for key, value in state.items() if value not in (None, ASKED[key])}
    score = st.session_state.get("e_score")
    return kept | ({key: value for key, value in limits.items() if value is not None} if score else {})


def ask(view: dict) -> None:
    """Let the page be asked for what a view says, and for nothing else. Before its widgets are drawn."""
    for key in [key for key in st.session_state if str(key).startswith(LIMITS)]:
        st.session_state[key] = None
    for key, empty in ASKED.items():
        value = view.get(key, empty)
        if key != "e_group" or key in view:  # its first choice is another one where there are no labels
            st.session_state[key] = value if isinstance(value, type(empty)) else empty
    for key, value in view.items():
        if key.startswith(LIMITS) and isinstance(value, (int, float)):
            st.session_state[key] = float(value)
    first_page()
