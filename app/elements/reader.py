"""One text, whole: its turns in a box that scrolls by itself, by mouse or keyboard."""

from collections.abc import Sequence

import streamlit as st

from lossprint.app.elements.gallery import part

_READER = st.components.v2.component(
    "lossprint_reader",
    html='<div class="page" tabindex="0" role="region"></div><div class="left"></div>',
    css=part("reader.css") + part("words.css"),
    js=part("dom.js") + part("reader.js"),
)


def reader(turns: Sequence[tuple[str, str]], *, alt: str, left: int, tall: int, key: str) -> None:
    """Draw a text as its turns (role, what was said), at most `tall` CSS pixels high; `left` characters are not there.

    `alt` names the box for screen readers, which read what is in it.
    """
    told = f"{left:,} further characters are not shown; the dataset has them." if left else ""
    _READER(key=key, data={"turns": list(turns), "alt": alt, "left": told, "tall": tall})
