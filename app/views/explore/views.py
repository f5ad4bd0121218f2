"""Views by name: saved by anybody of the team, opened by a click or a link, renamed and deleted."""

import streamlit as st

from lossprint.app import data
from lossprint.app.access import roles
from lossprint.app.shared import decide, parts
from lossprint.app.shared.acting import acts, steps
from lossprint.app.views.explore import filters
from lossprint.audit.review.marks import LONGEST

FAILED = "The view was not saved"
OPENED = "_view"  # the view that was opened last: run, number


def follow_link(loaded: data.Loaded) -> None:
    """Open the view that the link names. Before any widget of the page is drawn."""
    link = parts.url_asks("view")
    if link is None:
        return
    views = data.marks(loaded).state().views
    if link.isascii() and link.isdigit() and int(link) in views:
        _open(loaded, int(link))
    else:
        parts.told_missing("saved view", link)
    parts.write_url("view", None)


def draw(loaded: data.Loaded) -> None:
    """What there is, and the one that is shown; saving what is shown now."""
    views = data.marks(loaded).state().views
    number = shown(loaded)
    title = f"View: {parts.md(views[number].name)}" if number is not None else "Views"
    # Names say which; the number stays through renaming, so that a link sent before still opens it.
    parts.write_url("view", None if number is None else str(number))
    with st.popover(title, icon=":material/bookmarks:"):
        _list(loaded, views, number)
        if roles.may("reviewer"):
            _save(loaded)
            if number is not None:
                _change(loaded, number, views[number].name)


def shown(loaded: data.Loaded) -> int | None:
    """The view that is opened and was not changed since."""
    run, number = st.session_state.get(OPENED, (None, None))
    kept = data.marks(loaded).state().views.get(number) if run == loaded.key[0] else None
    return number if kept is not None and kept.asked == filters.asked() else None


def _list(loaded: data.Loaded, views: dict, number: int | None) -> None:
    if not views:
        st.caption(
            "A view is all that this page is asked for: filters, search, order, mode and columns. None is saved."
        )
    for one in sorted(views.values(), key=lambda kept: kept.name.casefold()):
        st.button(
            parts.md(one.name),
            key=f"e_open-{one.number}",
            type="tertiary",
            icon=":material/check:" if one.number == number else ":material/bookmark:",
            help=f"Saved by {parts.md(one.reviewer)}",
            on_click=_open,
            args=(loaded, one.number),
        )


def _open(loaded: data.Loaded, number: int) -> None:
    kept = data.marks(loaded).state().views.get(number)
    if kept is None:
        st.session_state["_error"] = "This view was deleted meanwhile."
        return
    filters.ask(kept.asked)
    st.session_state[OPENED] = (loaded.key[0], number)


def _save(loaded: data.Loaded) -> None:
    st.text_input("Save what is shown as", key="e_name", max_chars=LONGEST, placeholder="A name")
    names = {one.name.casefold() for one in data.marks(loaded).state().views.values()}
    there = (st.session_state.get("e_name") or "").strip().casefold() in names

    def store() -> None:
        name = st.session_state.get("e_name") or ""
        asked = filters.asked()

        def act() -> None:
            stored = data.marks(loaded).keep_view(name, asked, reviewer=decide.reviewer(), replace=there)
            st.session_state[OPENED] = (loaded.key[0], stored.subject or stored.id)
            st.session_state["e_name"] = ""
            steps.note(loaded, [stored])

        acts.attempt(act, FAILED)

    st.button("Replace" if there else "Save", key="e_save", type="primary", icon=":material/save:", on_click=store)


def _change(loaded: data.Loaded, number: int, name: str) -> None:
    key = f"e_rename-{number}"
    st.text_input("Another name for it", value=name, key=key, max_chars=LONGEST)

    def rename() -> None:
        other = st.session_state.get(key) or ""

        def act() -> None:
            stored = data.marks(loaded).rename("view", number, other, reviewer=decide.reviewer())
            if stored is not None:
                steps.note(loaded, [stored])

        acts.attempt(act, FAILED)

    def delete() -> None:
        def act() -> None:
            steps.note(loaded, [data.marks(loaded).delete("view", number, reviewer=decide.reviewer())])

        acts.attempt(act, FAILED)

    with st.container(horizontal=True, gap="small"):
        st.button("Rename", key="e_rename", on_click=rename)
        st.button("Delete", key="e_delete", icon=":material/delete:", on_click=delete)
