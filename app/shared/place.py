"""Where a run from elsewhere says that its images are: nothing is read there before an owner says so."""

import streamlit as st

from lossprint.app import data
from lossprint.app.access import roles
from lossprint.app.shared import parts
from lossprint.audit.runs import places
from lossprint.audit.types import LossprintError


def ask(loaded: data.Loaded) -> None:
    """On every page of a run whose images nobody here has named: where they would be read, and the way to allow it."""
    if places.believed(loaded.run):
        return
    about = loaded.run.manifest["dataset"]
    with st.container(border=True, gap="small"):
        st.warning(
            f"No {loaded.noun}s are read: this run was not made by you on this machine, and it names "
            f"**{parts.md(about.get('source') or about.get('root'))}** as their place. Allow it if that is where they "
            "are; else start the app with `--dataset PLACE`.",
            icon=":material/folder_off:",
        )
        able = roles.may("owner")
        st.button(
            "Read them there",
            key="confirm-place",
            on_click=_confirm,
            args=(loaded,),
            disabled=not able,
            help=None if able else "Owners of this server may allow it.",
        )


def _confirm(loaded: data.Loaded) -> None:
    try:
        roles.require("owner", "to say where images are")
        places.confirm(loaded.run)
    except LossprintError as error:
        st.session_state["_error"] = f"Nothing was allowed: {parts.md(error)}"
