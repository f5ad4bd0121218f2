"""What speaks for and against a label: examples of both classes, the loss print over their bands, the partners."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from lossprint.app.elements.gallery import Tile, part

GIVEN, SUGGESTED, OTHER = "given", "suggested", "other"  # what a label is here: it decides its colour


@dataclass(frozen=True)
class Side:
    """Examples of one class; `role` is GIVEN or SUGGESTED."""

    name: str
    role: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Band:
    """The losses of a class at each step: `label` its name, `name` its legend; None where unknown."""

    label: str
    name: str
    role: str
    mean: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


@dataclass(frozen=True)
class Print:
    """The losses of a sample at each of `steps`, over bands of as many values. `said`: what is to be seen, as text."""

    name: str
    steps: tuple[int, ...]
    losses: tuple[float | None, ...]
    bands: tuple[Band, ...]
    said: str
    unit: str = "Loss (nats) at each checkpoint; the bands hold the middle 80 % of each class."


@dataclass(frozen=True)
class Partners:
    """Samples that were learned with one or against it: `roles` says of each tile what its label is."""

    title: str
    said: str
    tiles: tuple[Tile, ...]
    roles: tuple[str, ...]


_PROOF = st.components.v2.component(
    "lossprint_proof",
    html='<div class="proof"><div class="sides"></div><div class="prints"></div><div class="partners"></div></div>',
    css=part("print.css") + part("proof.css") + part("words.css"),
    js=part("dom.js") + part("print.js") + part("proof.js"),
)


def proof(
    *, key: str, sides: Sequence[Side] = (), print: Print | None = None, partners: Sequence[Partners] = ()
) -> None:
    """Draw what there is of it, in this order. All texts are shown as text."""
    _PROOF(
        key=key,
        data={
            "sides": [asdict(side) for side in sides],
            "print": None if print is None else asdict(print),
            "partners": [asdict(group) for group in partners],
        },
    )
