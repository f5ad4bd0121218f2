"""The drawer: one sample over whatever page one is on. The URL says of which (`?open=`)."""

import streamlit as st

from lossprint.app import data
from lossprint.app.elements.keys import KEYS
from lossprint.app.shared import buttons, decide, guard, parts, proof
from lossprint.app.shared.acting import steps
from lossprint.app.shared.sample import (
    PICKED,
    evidence,
    finding_of,
    in_plain_words,
    label_line,
    picture,
    suggestion_of,
    why,
)
from lossprint.app.shared.viewport import when_seen
from lossprint.audit.types import ALONE, Review

DRAWN = "_drawer_drawn"


def opened() -> int | None:
    """The sample whose drawer is open, from the URL (`?open=`)."""
    text = parts.url_value("open") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def show(sample: int) -> None:
    parts.write_url("open", str(sample))


def close() -> None:
    parts.write_url("open", None)


def check(loaded: data.Loaded) -> None:
    """Say that a link asks for a sample that is not there, once."""
    text = parts.url_asks("open")
    if text and opened() not in loaded.samples.index:
        parts.told_missing("sample", text)
        close()


def draw(loaded: data.Loaded, order: list[int], kinds: tuple[str, ...] = ()) -> None:
    """Open the drawer of the sample that the URL names. `order` is the gallery's, to step through.

    main.py calls it after every page, so that the drawer opens anywhere; where a page has called it, that one counts.
    """
    if st.session_state.get(DRAWN):
        return
    st.session_state[DRAWN] = True
    if opened() in loaded.samples.index:
        _drawer(loaded, order, kinds)


@st.dialog("Sample", width="medium", position="right", on_dismiss=close)
def _drawer(loaded: data.Loaded, order: list[int], kinds: tuple[str, ...]) -> None:
    guard.still_in()
    with guard.one_line():
        _panel(loaded, order, kinds)


def _panel(loaded: data.Loaded, order: list[int], kinds: tuple[str, ...]) -> None:
    decide.tell()
    sample = opened()
    if sample is None or sample not in loaded.samples.index:
        st.caption("Closed.")
        return
    at = order.index(sample) if sample in order else None
    finding = finding_of(loaded, sample, kinds)
    group = finding["group"] if finding is not None and finding["kind"] in ALONE else f"{PICKED}:{sample}"
    alone = finding is None or finding["kind"] in ALONE
    # Before anything is drawn: never newer than what is shown.
    seen = decide.last_seen(data.reviews(loaded).history(), [group])
    suggested = suggestion_of(loaded, sample)

    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        _step("Previous", "chevron_left", order, at, -1)
        _step("Next", "chevron_right", order, at, +1)
        if at is not None:
            st.caption(f"{at + 1:,} of {len(order):,}")
        st.space("stretch")
        parts.link("sample", "Open as a page", "open_in_new", {"sample": sample})
    left, right = st.columns([5, 4], gap="medium")
    with left:
        picture(loaded, sample, "drawer-image", 360)
    with right:
        label_line(loaded, sample, suggested)
        why(loaded, sample)
    if alone:
        following = order[at + 1] if at is not None and at + 1 < len(order) else None

        def then() -> None:
            if following is not None:
                show(following)

        with right:
            buttons.warn_excluded(loaded, group, [sample], "deciding here brings it back, except by **Exclude**.")
            how = {"then": then, "current": lambda: opened() == sample}
            buttons.choices(loaded, group, sample, suggested, key="drawer", seen=seen, **how)
            st.button(
                "Undo my last decision",
                key="drawer-undo",
                icon=":material/undo:",
                shortcut=KEYS["undo"],
                type="tertiary",
                on_click=steps.undo,
                args=(loaded, _back),
            )
    proof.draw(loaded, sample, suggested, "drawer", examples=True)
    in_plain_words(loaded, sample)
    when_seen(f"drawer {loaded.key} {sample}", evidence, loaded, sample, "drawer", height=300)


def _back(row: Review) -> None:
    show(row.sample)


def _step(label: str, icon: str, order: list[int], at: int | None, by: int) -> None:
    to = at + by if at is not None else None
    able = to is not None and 0 <= to < len(order)
    st.button(
        label,
        key=f"drawer-{icon}",
        icon=f":material/{icon}:",
        disabled=not able,
        on_click=show,
        args=(order[to],) if able else (0,),
        shortcut="Left" if by < 0 else "Right",
    )
