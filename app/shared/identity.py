"""Who is in front of the browser: the signed-in user, else a name that the browser remembers in a cookie.

A cookie, since a session's state is gone once the server was restarted: decisions would then go on under another name.
"""

from collections.abc import Callable
from urllib.parse import unquote

import streamlit as st

from lossprint.app.access import roles
from lossprint.app.shared import parts
from lossprint.audit.types import LossprintError

COOKIE = "lossprint_reviewer"
LONGEST = 60
JUST = "_just_named"
NAMING = "_naming"  # what is stored once a name is given
NAMED = "_named"  # whether somebody typed or picked the name in this session


def signed_in() -> str | None:
    """The address of the user who signed in, where the server asks for a login. Not the name: two may share one."""
    return roles.visitor().email or None


def remembered() -> str | None:
    """The name that this browser was given before."""
    found = st.context.cookies.get(COOKIE)
    name = unquote(found).strip() if isinstance(found, str) else ""
    return name[:LONGEST] if name.isprintable() and name else None


def known() -> bool:
    """Whether the name in use was typed, remembered or signed in with, and is not just a guess."""
    return bool(st.session_state.get(NAMED) or signed_in() or remembered())


def name_given() -> None:
    """Say that the name in use was typed or picked."""
    st.session_state[NAMED] = st.session_state[JUST] = True


def remember(name: str, key: str = "identity") -> None:
    """Let the browser keep the name; nothing is sent where it has it already."""
    name = (name or "").strip()
    if name and name != remembered() and not signed_in():
        parts.keep_cookie(COOKIE, name, key=key)


class Nameless(LossprintError):
    """Something is to be stored, and nobody has said under which name."""


def ask(retry: Callable[[], None]) -> None:
    """Ask who decides, once for this browser; `retry()` then stores what was to be stored."""
    st.session_state[NAMING] = retry


def draw() -> None:
    """The question who decides, where it was raised, and what lets the browser keep the answer."""
    if st.session_state.pop(JUST, None):
        remember(st.session_state.get("reviewer"), key="identity-asked")
    retry = st.session_state.pop(NAMING, None)
    if retry is None:
        return

    def named() -> None:
        name = (st.session_state.get("who_decides") or "").strip()
        if not name:
            ask(retry)
            return
        st.session_state["reviewer"] = name
        name_given()
        retry()

    with st.form("asked-name", border=True):
        st.markdown("**Who decides?** What you decide is stored under your name. This browser remembers it.")
        st.text_input("Your name", key="who_decides", max_chars=LONGEST, icon=":material/person:")
        st.form_submit_button("Store it", type="primary", icon=":material/check:", on_click=named)


def pick(names: list[str], then: Callable[[], None]) -> None:
    """Offer the names of those who review a run; `then()` is called when one is picked."""

    def picked() -> None:
        st.session_state["reviewer"] = st.session_state["your_name"]
        name_given()
        then()

    with st.container(border=True):
        st.markdown("**Who are you?** Several people review this run. Pick your name, or type it in the sidebar.")
        st.pills(
            "Your name",
            names[:12],
            format_func=parts.md,
            key="your_name",
            on_change=picked,
            label_visibility="collapsed",
        )
