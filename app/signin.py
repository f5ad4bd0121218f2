"""What somebody sees who is not let in, and the signed-in user in the sidebar."""

import os

import streamlit as st

from lossprint.app.access import roles
from lossprint.app.shared import decide, parts

INSECURE = "LOSSPRINT_INSECURE"  # the address, where a server that others can reach asks for no login
FAILED = {
    "failed": "Signing in did not work: the login provider refused it, or the server's client id or secret is wrong. "
    "The terminal that runs Lossprint says more.",
    "unreachable": "Signing in did not work: the login provider could not be reached. The terminal that runs Lossprint "
    "says more.",
}
MAY = {
    "viewer": "You see everything here, and change nothing.",
    "reviewer": "You decide. Owners settle, share out and export.",
    "owner": "You decide, settle, share out and export.",
}


def shut() -> bool:
    """Whether whoever is there sees the sign-in page and nothing else."""
    return roles.visitor().role is None or _misplaced()


def _misplaced() -> bool:
    """A login that Streamlit knows of and this server does not: it was started without `lossprint app`."""
    return not roles.asked() and "is_logged_in" in roles.claims()


def draw() -> None:
    """The sign-in page: what is missing, and one button."""
    one = roles.visitor()
    _, middle, _ = st.columns([1, 2, 1])
    with middle, st.container(border=True, gap="small"):
        st.title("Lossprint", anchor=False)
        decide.tell()
        if _misplaced():
            st.error("A login is configured, and this server does not ask for it: start it with `lossprint app`.")
        elif one.why in (roles.SIGNED_OUT, roles.EXPIRED):
            if one.why == roles.EXPIRED:
                st.warning(
                    "Your login has expired. Sign in again; what was not stored meanwhile can be done again.",
                    icon=":material/schedule:",
                )
            elif st.query_params.get("login") in FAILED:
                st.error(FAILED[st.query_params["login"]], icon=":material/error:")
            else:
                st.markdown("Sign in to see what is here.")
            for provider in _providers():
                text = "Sign in" + (f" with {parts.md(provider)}" if provider else "")
                args = (provider,) if provider else ()
                st.button(text, key=f"sign-in-{provider}", type="primary", on_click=st.login, args=args)
        else:
            why = f"**{parts.md(one.email or one.name)}** has no role here. Ask an owner of this server for one."
            if one.why == roles.UNVERIFIED:
                why = f"The address **{parts.md(one.email)}** is not verified by your login provider. Verify it first."
            st.warning(why, icon=":material/block:")
            st.button("Sign out", key="sign-out", on_click=out)


def _providers() -> list[str]:
    """The names under [auth], or one without a name."""
    auth = st.secrets.get("auth", {})
    named = [name for name in auth if hasattr(auth[name], "keys") and "client_id" in auth[name]]
    return named or [""]


def user() -> None:
    """In the sidebar: who is signed in, as what, and the way out."""
    one = roles.visitor()
    st.markdown(f":material/person: **{parts.md(one.name)}**", help=parts.md(one.email))
    st.caption(f"{parts.md(one.role.capitalize())}. {MAY[one.role]}")
    st.button("Sign out", key="sign-out", icon=":material/logout:", on_click=out)


def out() -> None:
    roles.forget()
    st.logout()


def banner() -> None:
    """On every page of a server that lets in whoever reaches it."""
    where = os.environ.get(INSECURE)
    if where:
        st.warning(
            f"**No login.** Whoever reaches this server ({parts.md(where)}) sees every image and may change every "
            "decision: it was started with `--insecure`.",
            icon=":material/lock_open:",
        )
