"""All keys on one sheet: a button in the head of every page, and the key `?` from anywhere, show and close it."""

import streamlit as st

from lossprint.app.elements.gallery import part
from lossprint.app.elements.keys import KEYS

SHEET = (
    ("Everywhere", (("?", "This sheet"), ("Esc", "Closes it, a drawer, a list"))),
    (
        "Galleries",
        (
            ("← → ↑ ↓", "Move"),
            ("Enter", "Open the sample"),
            ("Space, Shift+Space, Ctrl+A", "Select one, up to here, all"),
            (KEYS["accept"], "Take the suggestion"),
            (KEYS["keep"], "Keep the label"),
            (KEYS["exclude"], "Exclude"),
            (KEYS["unsure"], "Unsure"),
            ("1 to 9", "Give that label"),
            (f"{KEYS['undo']}, {KEYS['redo']}", "Undo, redo"),
        ),
    ),
    (
        "Review",
        (
            (f"{KEYS['accept']}, {KEYS['keep']}", "The suggestion, the given label"),
            ("1 to 9", "The class of that number, the same in every question"),
            ("0, then one key", "A further class; with ten classes 0 is the tenth"),
            ("/", "Search a class"),
            (f"{KEYS['exclude']}, {KEYS['unsure']}", "Exclude, unsure"),
            ("C", "Comment"),
            ("Z", "Zoom"),
            ("S", "Skip"),
            (f"{KEYS['undo']}, {KEYS['redo']}", "Undo, redo"),
        ),
    ),
    (
        "An image",
        (("+ − 0", "Zoom in, out, fit"), ("← → ↑ ↓", "Move it"), ("B, C", "Brightness, contrast; Shift: less")),
    ),
    ("Videos", (("← →", "A frame back, on"), ("[ ] |", "Start, end, middle of the span"), ("+ −", "Zoom in time"))),
)
_SHEET = st.components.v2.component(
    "lossprint_shortcuts",
    html='<button type="button" class="keys" aria-label="Keys" aria-haspopup="dialog" title="Keys (?)">?</button>'
    '<dialog aria-label="Keys"><form method="dialog"><button aria-label="Close">×</button></form></dialog>',
    css=part("shortcuts.css"),
    js=part("dom.js") + part("shortcuts.js"),
)


def shortcuts() -> None:
    """Draw the button; the sheet is shown by the browser alone."""
    _SHEET(key="shortcuts", data={"sheet": SHEET}, height="content")
