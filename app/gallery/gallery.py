"""A responsive grid of thumbnails that reports which one was opened by mouse or keyboard."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import resources

import streamlit as st

SIZES = {"small": 92, "medium": 132, "large": 188}


@dataclass(frozen=True)
class Tile:
    """One thumbnail. Every text is shown as text, never as markup, so labels and paths may hold anything.

    `src` is a data URI, or None for an image that cannot be read. `bar` is a severity in [0, 1] drawn as a thin bar.
    `tone` colours the badge: good, bad, warn or plain.
    """

    id: int
    src: str | None
    alt: str
    pixelated: bool = False
    title: str = ""
    given: str = ""
    suggested: str = ""
    note: str = ""
    bar: float | None = None
    badge: str = ""
    tone: str = "plain"


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


_GRID = st.components.v2.component(
    "lossprint_gallery",
    html='<div class="grid" role="listbox"></div>',
    css=_part("gallery.css"),
    js=_part("gallery.js"),
)


def gallery(
    tiles: list[Tile],
    *,
    key: str,
    label: str,
    size: str = "medium",
    columns: int | None = None,
    selected: int | None = None,
    on_open: Callable[[int], None] | None = None,
) -> None:
    """Draw the tiles. `on_open(id)` is called once, before the page is drawn again, by a click or by Enter.

    `label` names the grid for screen readers. `selected` gets a ring. `size` is a key of `SIZES`; `columns` fixes their
    number, else as many as fit. Without `on_open` the tiles are pictures only.
    """

    def opened() -> None:
        chosen = st.session_state[key].get("open")
        if chosen is not None and on_open is not None:
            on_open(int(chosen))

    _GRID(
        key=key,
        data={
            "tiles": [asdict(tile) for tile in tiles],
            "label": label,
            "width": SIZES[size],
            "columns": columns,
            "selected": selected,
            "clickable": on_open is not None,
        },
        on_open_change=opened,
    )
