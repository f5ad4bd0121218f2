"""Runs & jobs: which runs are here, what is at work, and a new audit."""

from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.access import owned, roles
from lossprint.app.shared import decide, parts
from lossprint.app.shared.owners import working
from lossprint.app.views.runs import new
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError
from lossprint.audit.workflow import jobs, offered, shelf

ASKED = "runs-delete-asked"  # the run that is to be deleted, once the button was pressed
EARLIER = 8  # jobs that ended, shown


def render(loaded: data.Loaded | None) -> None:
    parts.header("Runs & jobs", "Which runs are here, what is at work, and a new audit.")
    root = Path(data.runs_path())
    able = roles.may("owner")
    table = shelf.listed(root)
    if not len(table):
        parts.empty(
            "No runs yet",
            "An audit trains a small network on a dataset and keeps what it finds in a run, which is opened here. "
            + ("Pick the dataset below." if able else "An owner of this server may start one."),
            "inventory_2",
        )
    listed = owned.jobs_of(root)
    states = {job.folder: jobs.state(job) for job in listed}
    at_work = [job for job in listed if states[job.folder] == jobs.WORKING]
    ended = [job for job in listed if states[job.folder] != jobs.WORKING]
    latest = [job for job in ended[:1] if job.folder.name == st.session_state.get(working.STARTED)]
    for job in [*at_work, *latest]:
        working.show(job)
    if len(table):
        _runs(root, table, loaded, able)
    if able and not owned.single(root):
        with st.expander("Audit a dataset", icon=":material/add_circle:", expanded=not len(table)):
            new.render(root)
        _archive(root)
    if earlier := [job for job in ended if job not in latest]:
        with st.expander(f"Earlier jobs ({len(earlier):,})", icon=":material/history:"):
            for job in earlier[:EARLIER]:
                working.show(job)


def _runs(root: Path, table: pd.DataFrame, loaded: data.Loaded | None, able: bool) -> None:
    st.subheader("Runs", anchor=False)
    st.dataframe(
        table.assign(created=[str(one or "")[:16].replace("T", " ") for one in table["created"]]),
        hide_index=True,
        height=min(420, 38 + 35 * len(table)),
        column_order=["name", "description", "created", "samples", "classes", "findings", "state"],
        column_config={
            "name": "run",
            "created": "made (UTC)",
            "samples": st.column_config.NumberColumn("samples", help="Training samples.", format="localized"),
            "findings": st.column_config.NumberColumn("findings", format="localized"),
        },
        alt="The runs of this folder, a row each",
    )
    if not able:
        st.caption("Owners of this server may start audits, and rename, describe, archive and delete runs.")
        return
    names = [name for name, state in zip(table["name"], table["state"]) if not state.startswith("damaged")]
    if names:
        with st.expander("Rename, describe, archive or delete a run", icon=":material/edit:"):
            _manage(root, table.set_index("name"), names, loaded)


def _manage(root: Path, table: pd.DataFrame, names: list[str], loaded: data.Loaded | None) -> None:
    own = loaded.run.path.name if loaded else names[0]
    name = names[0]
    if not owned.single(root):
        at = names.index(own) if own in names else 0
        name = st.selectbox("Run to change", names, index=at, key="runs-name", width=420)
    if data_of := [one for one in data.list_runs(str(root)) if one.name == name and one.problem is None]:
        parts.link("overview", "Open it", "arrow_forward", {"run": data_of[0].name})
    text = st.text_area(
        "Description", table.at[name, "description"], key=f"runs-text-{name}", max_chars=2000, height=90
    )
    st.button("Keep the description", key="runs-describe", on_click=_describe, args=(root, name, text))
    if owned.single(root):
        _score(root, name)
        st.caption("One run is served. To rename, archive or delete runs, serve the folder in which they lie.")
        return
    _score(root, name)
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        other = st.text_input("New name", name, key=f"runs-rename-{name}", max_chars=120, width=280)
        st.button(
            "Rename",
            key="runs-rename",
            icon=":material/edit:",
            on_click=_rename,
            args=(root, name, other),
            disabled=other.strip() in ("", name),
        )
        st.button("Archive", key="runs-archive", icon=":material/archive:", on_click=_put_away, args=(root, name))
        st.button("Delete …", key="runs-delete", icon=":material/delete:", on_click=_ask, args=(name,))
    if st.session_state.get(ASKED) == name:
        _asked(root, name)


def _score(root: Path, name: str) -> None:
    """The command that scores a run again, or finishes it."""
    try:
        run = open_run(offered.beside(root, name), need=None)
    except LossprintError as error:
        st.caption(f":material/info: {parts.md(error)}")
        return
    label = "Score it again" if "find" in run.stages else "Finish it"
    working.offer(run.path, label, partial(offered.finished, run), "score", follow=False)


def _asked(root: Path, name: str) -> None:
    """The second question before a run is deleted."""
    try:
        count = shelf.decisions(offered.beside(root, name))
    except LossprintError as error:
        st.warning(f"Its decisions cannot be counted: {parts.md(error)}", icon=":material/help:")
        count = 0
    with st.container(border=True, key="runs-asked", gap="small"):
        going = f" with **{parts.plural(count, 'decision')}**" if count else ""
        st.markdown(
            f":red[:material/delete_forever:] **{parts.md(name)}**{going} will be gone for good; the dataset stays. "
            "Type its name to be sure."
        )
        again = st.text_input("Its name", key=f"runs-again-{name}", max_chars=260, width=280)
        with st.container(horizontal=True, gap="small"):
            st.button("Delete it for good", key="runs-gone", type="primary", on_click=_delete, args=(root, name, again))
            st.button("Leave it", key="runs-leave", on_click=_ask, args=(None,))


def _archive(root: Path) -> None:
    away = shelf.listed(root, away=True)
    if not len(away):
        return
    with st.expander(f"Archive ({len(away):,})", icon=":material/archive:"):
        for name in away["name"]:
            with st.container(horizontal=True, gap="small", vertical_alignment="center"):
                st.markdown(parts.md(name), width="content")
                st.button("Take it out", key=f"runs-back-{name}", on_click=_put_back, args=(root, name))


# ---------------------------------------------------------------------------------------------- callbacks


def _describe(root: Path, name: str, text: str) -> None:
    if working.attempt(lambda: owned.describe(root, name, text), "The description was not kept"):
        decide.say("Description kept.", ":material/check:")


def _rename(root: Path, name: str, other: str) -> None:
    other = other.strip()
    if working.attempt(lambda: owned.rename(root, name, other), "Nothing was renamed"):
        _moved(name, other)


def _put_away(root: Path, name: str) -> None:
    if working.attempt(lambda: owned.put_away(root, name), "Nothing was archived"):
        _moved(name, None)
        decide.say("Archived: it is at the end of this page.", ":material/archive:")


def _put_back(root: Path, name: str) -> None:
    if working.attempt(lambda: owned.put_back(root, name), "Nothing was taken out"):
        st.cache_resource.clear()


def _delete(root: Path, name: str, again: str) -> None:
    if working.attempt(lambda: owned.delete(root, name, again), "Nothing was deleted"):
        _moved(name, None)
        decide.say("Deleted.", ":material/delete:")


def _ask(name: str | None) -> None:
    st.session_state[ASKED] = name


def _moved(name: str, other: str | None) -> None:
    """A run has another name now, or none: nothing of it stays open, and the page goes on with what is there."""
    st.cache_resource.clear()
    _ask(None)
    if st.session_state.get("run") == name:
        if other is None:
            st.session_state.pop("run")
        else:
            st.session_state["run"] = other
        parts.write_url("run", other)
