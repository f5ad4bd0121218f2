"""The search at the top of every page: by id, file name or a part of the path, over all samples of the run."""

from pathlib import PurePosixPath

import numpy as np
import streamlit as st

from lossprint.app import data
from lossprint.app.elements.shortcuts import shortcuts
from lossprint.app.shared import drawer, parts
from lossprint.app.views.explore import columns

BOX = "find"
LISTED = "_search_listed"  # words of which several samples have, to be shown in Explore
NOTHING = "_search_nothing"  # words that no sample has, and the page on which they were asked for
# In the head of the page, which is empty otherwise: it takes no room from what the page is about.
STYLE = (
    ".st-key-search { position: fixed; top: .55rem; right: 3.5rem; width: 290px; z-index: 999991 }"
    '@media (min-width: 641px) { [class*="st-key-tabs"] { margin-right: 290px } }'
    ".st-key-search { flex-wrap: nowrap } "
    "@media (max-width: 640px) { .st-key-search { right: 1rem; left: 7rem; width: auto } }"
)


def hits(loaded: data.Loaded, words: str) -> np.ndarray:
    """The samples that words mean: that of the id, path or file name if there is one, else all whose path has them."""
    words = words.strip()
    samples = loaded.samples
    if words.isascii() and words.isdigit() and str(int(words[:19])) == words and int(words) in samples.index:
        return np.array([int(words)])
    places = np.flatnonzero(data.derived(loaded, columns.mask, columns.Ask(search=words)))
    ids, paths = samples.index.to_numpy()[places], samples["path"].to_numpy(object)[places]
    for name in (str, lambda path: PurePosixPath(path).name):
        same = np.array([name(path) == words for path in paths], bool)
        if same.sum() == 1:
            return ids[same]
    return ids


def box(loaded: data.Loaded, name: str) -> bool:
    """Draw the box on page `name`. False where nothing was found: that is said, and the page is not to be drawn."""
    with st.container(key="search", horizontal=True, gap="xsmall"):
        st.text_input(
            "Search",
            key=BOX,
            placeholder="Search: file name or id",
            icon=":material/search:",
            label_visibility="collapsed",
            max_chars=200,
            on_change=_search,
            args=(loaded, name),
        )
        with st.container(width="content"):
            shortcuts()
    listed = st.session_state.pop(LISTED, None)
    if listed is not None:
        parts.go("explore", {"e_search": listed})
    page, words = st.session_state.get(NOTHING) or (name, "")
    if page != name:
        st.session_state.pop(NOTHING)
    elif words:
        parts.empty("Nothing found", f"No sample has “{parts.md(words)}” in its path or as its id.", "search_off")
        with st.container(horizontal=True, horizontal_alignment="center"):
            st.button("Back to the page", icon=":material/arrow_back:", on_click=_back)
        return False
    return True


def _back() -> None:
    st.session_state.pop(NOTHING, None)


def _search(loaded: data.Loaded, name: str) -> None:
    words = (st.session_state[BOX] or "").strip()
    _back()
    st.session_state[BOX] = ""
    if not words:
        return
    found = hits(loaded, words)
    if len(found) == 1:
        drawer.show(int(found[0]))
    elif len(found):
        st.session_state[LISTED] = words
        st.session_state["e_search"] = words
    else:
        st.session_state[NOTHING] = (name, words)
