"""A new audit: a dataset picked below the served folder, a name, a model; the command is shown and can be copied."""

import os
from functools import partial
from pathlib import Path

import streamlit as st

from lossprint.app.shared import parts
from lossprint.app.shared.owners import working
from lossprint.audit.types import LossprintError
from lossprint.audit.workflow import offered

AT = "new-at"  # the folder that the picker shows, relative to the served one
MODELS = {
    "auto": "Automatic: pretrained features too, where this machine has them",
    "small": "The small built-in network alone",
}


def render(root: Path) -> None:
    at = st.session_state.get(AT, "")
    try:
        entries = offered.entries(root, at)
    except LossprintError as error:
        st.warning(parts.md(error), icon=":material/folder_off:")
        st.session_state[AT] = ""
        return
    dataset = _picked(root, at, entries)
    left, right = st.columns(2, gap="medium")
    with left:
        name = st.text_input("Name of the run", _free(root, dataset), key=f"new-name-{dataset}", max_chars=120)
        model = st.radio("Model", list(MODELS), format_func=MODELS.get, key="new-model")
    with right:
        epochs = st.number_input(
            "Epochs", 1, 500, None, key="new-epochs", placeholder="as usual", help="24; of frozen features 30."
        )
        seed = st.number_input("Seed", 0, 2**31, 0, key="new-seed", help="Another number is another training.")
    make = partial(offered.audit, root, dataset, name.strip(), model, epochs, seed)
    try:
        work = make()
    except LossprintError as error:
        start = "Go into the folder that holds the dataset, or pick a file of this one."
        st.caption(f":material/info: {parts.md(error) if dataset else start}")
        return
    st.code(working.typed(work), language=None, wrap_lines=True)
    st.button(
        "Start the audit", key="new-start", type="primary", icon=":material/play_arrow:", on_click=_start, args=(make,)
    )


def _picked(root: Path, at: str, entries: offered.Entries) -> str:
    """The dataset: the folder that is shown or a file in it, relative to the served folder."""
    steps = " / ".join(parts.md(one) for one in (root.absolute().name, *Path(at).parts))
    st.markdown(f":material/folder_open: **{steps}**")
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        st.button(
            "Up",
            key="new-up",
            icon=":material/arrow_upward:",
            on_click=_go,
            args=(str(Path(at).parent),),
            disabled=not at,
        )
        st.selectbox(
            "Go into a folder",
            entries.folders,
            index=None,
            key=f"new-into-{at}",
            placeholder=f"{parts.plural(len(entries.folders), 'folder')} here",
            on_change=_into,
            args=(at,),
            width=320,
            disabled=not entries.folders,
        )
    here = f"This folder: {_holds(entries)}"
    files = {name: parts.md(name) for name in entries.files[:50]}
    choice = st.radio("Dataset", ["", *files], format_func=lambda name: files.get(name, here), key=f"new-what-{at}")
    return str(Path(at) / choice) if choice else at


def _holds(entries: offered.Entries) -> str:
    more = "at least " if entries.more else ""
    if not entries.images:
        return "no images seen in it"
    folders = f" in {parts.plural(entries.classes, 'folder')}" if entries.classes else ""
    return f"{more}{parts.plural(entries.images, 'image')}{folders}"


def _free(root: Path, dataset: str) -> str:
    """A name for the run that is not taken yet."""
    name = Path(dataset).stem or "run"
    name = "".join(one if one.isalnum() or one in "-_." else "-" for one in name).strip("-.") or "run"
    taken = [f"{name}-audit", *(f"{name}-audit-{number}" for number in range(2, 1000))]
    return next((one for one in taken if not os.path.lexists(root / one)), name)


def _go(at: str) -> None:
    st.session_state[AT] = "" if at == "." else at


def _into(at: str) -> None:
    folder = st.session_state.get(f"new-into-{at}")
    if folder:
        _go(str(Path(at) / folder))


def _start(make) -> None:
    if working.start(make):
        st.session_state[AT] = ""
