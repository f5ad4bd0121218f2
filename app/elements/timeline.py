"""Videos as rows of bands over time: phases, loss prints, severity, findings; what the pointer is at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from lossprint.app.elements.gallery import part


@dataclass(frozen=True)
class Block:
    """A finding on a band: positions start to stop, stop excluded, middle where the second block begins or None.

    `state` is open, accept, keep or unsure; `text` says in words what is claimed.
    """

    id: str
    kind: str
    start: int
    stop: int
    middle: int | None
    state: str
    text: str


@dataclass(frozen=True)
class Row:
    """One video of `count` frames. given, suggested and after: runs (first position, class index), after None where no
    finding of it is looked at. score: severities in 0..100, the largest of a bin each; doubt: 100 less the probability
    of the given label in percent, likewise. heat: at a few epochs, the first first, losses in 0..100, the largest of a
    bin each; empty where none are known. numbers: frame numbers as runs (first position, first number), consecutive
    within a run. sprite: sources (data URIs of evenly spaced frames) and tiny, None until it was asked for."""

    name: str
    count: int
    split: str
    given: Sequence[tuple[int, int]]
    suggested: Sequence[tuple[int, int]]
    after: Sequence[tuple[int, int]] | None
    score: Sequence[int]
    doubt: Sequence[int]
    numbers: Sequence[tuple[int, int]]
    blocks: Sequence[Block]
    heat: Sequence[Sequence[int]] = ()
    sprite: dict | None = None


_HTML = """
<div class="legend" role="list" aria-label="Phases"></div>
<div class="rows"></div>
<div class="tip" role="status" hidden><img alt=""><div class="words"></div></div>
"""
_ROWS = st.components.v2.component(
    "lossprint_timeline",
    html=_HTML,
    css=part("timeline.css"),
    js=part("dom.js") + part("band.js") + part("timeline.js"),
)


def timeline(
    rows: Sequence[Row],
    *,
    classes: Sequence[str],
    colours: Sequence[str],
    chosen: str | None,
    editable: bool,
    reveal: int = 0,
    key: str,
    on_pick: Callable[[str], None],
    on_look: Callable[[str, int, bool], None],
    on_ends: Callable[[str, Mapping], None],
    frame: dict | None = None,
) -> None:
    """Draw the rows. `on_pick` gets the id of a finding; `on_look` the name of a video and the position in it where the
    pointer rests, and whether the pictures that it runs along are wanted as well. The browser keeps those.

    `on_ends` gets the id of the chosen finding and its new ends {start, middle, stop}, positions; with `editable` they
    can be moved, and the view goes close up where the finding is short. A larger `reveal` than before scrolls the rows
    into view. `frame` is a picture of one frame: sequence, position, doubt, src, tiny.
    """

    def value(name: str):
        return st.session_state[key].get(name)

    def picked() -> None:
        if value("pick"):
            on_pick(str(value("pick")["id"]))

    def looked() -> None:
        if value("look"):
            on_look(str(value("look")["name"]), int(value("look")["position"]), bool(value("look")["pictures"]))

    def moved() -> None:
        if value("ends"):
            on_ends(str(value("ends")["id"]), dict(value("ends")))

    _ROWS(
        key=key,
        data={
            "rows": [asdict(row) for row in rows],
            "classes": list(classes),
            "colours": list(colours),
            "chosen": chosen,
            "editable": editable,
            "reveal": reveal,
            "frame": frame,
        },
        on_pick_change=picked,
        on_look_change=looked,
        on_ends_change=moved,
    )
