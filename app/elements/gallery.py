"""A responsive grid of thumbnails that reports which one was opened by mouse or keyboard."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import resources

import streamlit as st

from lossprint.app.elements.keys import KEYS

SIZES = {"small": 92, "medium": 132, "large": 188}
WIDE = {"small": 184, "medium": 252, "large": 360}  # of texts


@dataclass(frozen=True)
class Tile:
    """One thumbnail. Every text is shown as text, never as markup, so labels and paths may hold anything.

    `src` is a data URI, or None for an image that cannot be read; of a text `turns` stand there: (role, what was said).
    `noun` is what the sample is. `bar` is a severity in [0, 1] drawn as a thin bar.
    `tone` colours the badge: good, bad, warn or plain; `dim` lets the tile step back.
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
    dim: bool = False
    turns: tuple[tuple[str, str], ...] = ()
    noun: str = "image"


def part(name: str) -> str:
    """A file of this package as text."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


_GRID = st.components.v2.component(
    "lossprint_gallery",
    html='<div class="bar" role="toolbar" aria-label="Decide on the selected" hidden></div><div class="grid"></div>',
    css=part("gallery.css") + part("words.css"),
    js=part("dom.js") + part("gallery.js"),
)


def gallery(
    tiles: list[Tile],
    *,
    key: str,
    label: str,
    size: str = "medium",
    columns: int | None = None,
    selected: int | None = None,
    strip: bool = False,
    on_open: Callable[[int], None] | None = None,
    on_act: Callable[[str, list[int], str | None], None] | None = None,
    labels: Sequence[str] = (),
    digits: Sequence[str] = (),
    more: bool = False,
) -> None:
    """Draw the tiles. `on_open(id)` is called once, before the page is drawn again, by a click or by Enter.

    `label` names the grid for screen readers. `selected` gets a ring. `size` is a key of `SIZES`; `columns` fixes their
    number, else (of texts always) as many as fit; `strip` puts them in one row that scrolls sideways. Without `on_open`
    the tiles are pictures only.

    With `on_act` several tiles can be selected (box on the tile, space, shift for a range, Ctrl+A) and decided on by
    key or button: `on_act(action, ids, label)` with an action of accept, keep, exclude, unsure, relabel (to `label`)
    or undo, on the selected tiles or, without any, the focused one. `labels` can be relabeled to; the keys 1 to 9 and 0
    stand for `digits`. With `more` there is a button besides that hands the selected tiles over: the action more.
    """

    def opened() -> None:
        chosen = st.session_state[key].get("open")
        if chosen is not None and on_open is not None:
            on_open(int(chosen))

    def acted() -> None:
        what = st.session_state[key].get("act")
        if what is not None and on_act is not None:
            on_act(str(what["action"]), [int(one) for one in what["ids"]], what.get("label"))

    texts = any(tile.noun == "text" for tile in tiles)
    _GRID(
        key=key,
        data={
            "tiles": [asdict(tile) for tile in tiles],
            "label": label,
            "width": (WIDE if texts else SIZES)[size],
            "columns": None if texts else columns,
            "texts": texts,
            "selected": selected,
            "clickable": on_open is not None,
            "strip": strip,
            "pickable": on_act is not None,
            "labels": list(labels),
            "digits": list(digits)[:10],
            "keys": KEYS,
            "more": more,
        },
        on_open_change=opened,
        on_act_change=acted,
    )
