"""What is decided on a finding of the Sequences page: its label, its ends, and the answer."""

import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.elements.keys import KEYS
from lossprint.app.shared import decide, drawer, identity, parts
from lossprint.app.shared import spans as view
from lossprint.app.shared.acting import steps
from lossprint.app.views.sequences.rows import ENDS, go
from lossprint.audit.review.reviews import Conflict
from lossprint.audit.types import LossprintError
from lossprint.audit.video import spans


def said_of(loaded: data.Loaded, videos: data.Videos, history: pd.DataFrame) -> pd.DataFrame:
    return spans.said(history, videos.spans, loaded.samples["frame"])


def actions(loaded, videos, shown, span, frames, edges, said, history) -> None:
    name, label = span["span"], None
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        if span["how"] == "relabel":
            others = [one for one in loaded.classes if one != span["label"]]
            suggested = others.index(span["suggested_label"])
            label = st.selectbox("Right label", others, index=suggested, key=f"seq-label-{name}", width=200)
        _number_inputs(name, frames, edges)
        if edges != view.decided_ends(named(span), said):
            icon = ":material/restart_alt:"
            st.button("Ends as found", key="seq-reset", icon=icon, type="tertiary", on_click=_forget, args=(name,))
    yes = {"relabel": f"Relabel as {parts.md(label or '')}", "swap": "Exchange the labels", "move": "Restore the order"}
    args = (loaded, videos, shown, name, label, edges, history)
    with st.container(horizontal=True, gap="small"):
        for text, choice, icon in (
            (yes[span["how"]], "accept", "check"),
            ("Keep as given", "keep", "thumb_up"),
            ("Unsure", "unsure", "help"),
        ):
            st.button(
                text,
                key=f"seq-{choice}-{name}",
                shortcut=shortcut(KEYS[choice]),
                icon=f":material/{icon}:",
                type="primary" if choice == "accept" else "secondary",
                on_click=_decide,
                args=(choice, *args),
            )
        st.button(
            "Undo my last decision",
            icon=":material/undo:",
            shortcut=shortcut(KEYS["undo"]),
            key="seq-undo",
            on_click=steps.undo,
            args=(loaded, _back),
        )
    st.caption(
        "Drag the ends on the band, or press `[` or `]` to choose one and move it with the arrow keys, with Shift by "
        "10. `+` and `-` go closer and further away."
    )


def _number_inputs(name: str, frames: pd.DataFrame, edges: dict) -> None:
    low, high = int(frames["frame"].min()), int(frames["frame"].max())
    labels = {"start": "First frame", "middle": "Second block from", "end": "Last frame"}
    asked = [one for one in labels if edges[one] is not None]
    for one in asked:
        key = f"seq-{one}-{name}"
        st.session_state[key] = min(max(edges[one], low), high)
        args = (name, frames, edges, one)
        st.number_input(labels[one], low, high, key=key, step=1, width=170, on_change=_typed, args=args)


def _typed(name: str, frames: pd.DataFrame, edges: dict, one: str) -> None:
    new = edges | {one: int(st.session_state[f"seq-{one}-{name}"])}
    start, stop, middle = view.positions(frames, **new)
    if start < (stop if middle is None else middle) and (middle is None or middle < stop):
        st.session_state.setdefault(ENDS, {})[name] = new
    else:
        st.session_state["_toast"] = ("The ends have to stay in order, with a frame between them", ":material/info:")


def _forget(name: str) -> None:
    st.session_state.get(ENDS, {}).pop(name, None)


def _decide(
    choice: str, loaded, videos, shown, name: str, label: str | None, edges: dict, history: pd.DataFrame
) -> None:
    span = videos.spans[videos.spans["span"] == name].iloc[0]
    frames = videos.frames.iloc[videos.rows[span["sequence"]]]
    try:
        rows = spans.decide(frames, span, choice, label=label, **edges)
        left = spans.left_over(history, span, rows, frames)
        rows = pd.concat([left.astype(object), rows.astype(object)], ignore_index=True) if len(left) else rows
        rows = rows.assign(finding=name).astype(object)
        decide.store(loaded, rows.where(rows.notna(), None).to_dict("records"), seen=decide.last_seen(history, [name]))
    except identity.Nameless:
        identity.ask(lambda: _decide(choice, loaded, videos, shown, name, label, edges, history))
        return
    except Conflict as conflict:
        st.session_state["_error"] = decide.meanwhile(conflict)
        return
    except LossprintError as error:
        st.session_state["_error"] = f"The decision was not stored: {parts.md(error)}"
        return
    changed = int((~rows["decision"].isin(("keep", "unsure"))).sum())
    st.session_state["_toast"] = (
        f"{view.CHOICES[choice].capitalize()}: {changed or len(rows)} frames",
        ":material/check:",
    )
    _forget(name)
    decided = set(said_of(loaded, videos, data.reviews(loaded).history()).index)
    names = shown["span"].tolist()
    at = names.index(name)
    rest = [one for one in names[at + 1 :] + names[:at] if one not in decided]
    if rest:
        go(rest[0])


def _back(row) -> None:
    go(row.finding)


def shortcut(key: str) -> str | None:
    """While the drawer of a frame is open, the keys are its."""
    return key if drawer.opened() is None else None


def named(span: pd.Series):
    return next(pd.DataFrame([span]).itertuples())
