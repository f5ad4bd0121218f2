"""Who is in front of the browser: the signed-in user, else a name that the browser remembers in a cookie.

A cookie, since a session's state is gone once the server was restarted: decisions would then go on under another name.
"""

from urllib.parse import unquote

import streamlit as st

from lossprint.app.access import roles
from lossprint.app.shared import parts

COOKIE = "lossprint_reviewer"
LONGEST = 60
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
    st.session_state[NAMED] = True


def remember(name: str) -> None:
    """Let the browser keep the name; nothing is sent where it has it already."""
    name = (name or "").strip()
    if name and name != remembered() and not signed_in():
        parts.keep_cookie(COOKIE, name, key="identity")
