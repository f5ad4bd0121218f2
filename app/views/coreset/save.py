"""A coreset taken along: downloaded, used in code, saved in the run under a name, and what was saved there before."""

from collections.abc import Callable

import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.access import roles
from lossprint.app.shared import parts
from lossprint.app.views.coreset import numbers
from lossprint.audit.coresets import coreset as coresets
from lossprint.audit.coresets.coreset import Ask
from lossprint.audit.datasets.kinds import OF_FILES
from lossprint.audit.export import export, outfile
from lossprint.audit.types import LossprintError
from lossprint.scoring.coresets.methods import METHODS

DROPPED = "_selection_dropped"  # what was deleted last and can be put back: (run, name, csv, record)


def files(loaded: data.Loaded, ask: Ask, percent: int, chosen: data.Coreset) -> None:
    name = numbers.file_name(ask, percent)

    def manifest() -> bytes:
        return _csv(coresets.manifest(chosen.source, chosen.frame))

    def record() -> bytes:
        return outfile.record_text(coresets.record_of(loaded.run, chosen.source, ask, chosen.frame)).encode()

    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="coreset-files"):
        _download("Download CSV", lambda: _csv(chosen.frame), name, "download-coreset", type="primary")
        _download("Record", record, f"{name}.json", "download-record", help="How to make this subset again (JSON).")
        if loaded.run.manifest["dataset"].get("kind") in OF_FILES:
            told = (
                "The subset as a dataset of its own, with the validation and test samples. Put it where its images are."
            )
            _download("Manifest", manifest, name.replace(".csv", "-manifest.csv"), "download-manifest", help=told)
        st.space("stretch")
        key = f"save-{numbers.suggested_name(ask, percent)}"
        saved = st.text_input("Save in the run as", numbers.suggested_name(ask, percent), key=key, width=260)
        there = (saved or "").strip() in loaded.run.selections()
        st.button(
            "Replace" if there else "Save",
            key="save-coreset",
            icon=":material/save:",
            on_click=_save,
            args=(loaded, ask, key),
            disabled=not roles.may("owner"),
            help="One of this name was saved before." if there else "Keeps it in the run folder, with its record.",
        )


def _csv(frame: pd.DataFrame) -> bytes:
    return export.csv_text(frame).encode("utf-8")


def _download(label: str, content: Callable[[], bytes], name: str, key: str, **options) -> None:
    kind = "application/json" if name.endswith(".json") else "text/csv"
    roles.download(label, content, name, kind, key=key, on_click="ignore", icon=":material/download:", **options)


def in_code(loaded: data.Loaded, ask: Ask, percent: int, chosen: data.Coreset) -> None:
    st.subheader("Use it in code", anchor=False)
    st.caption("With the downloaded CSV in the folder that the code runs in.")
    made = numbers.snippets(loaded, chosen.frame, ask, numbers.file_name(ask, percent))
    for tab, text in zip(st.tabs([parts.md(name) for name in made]), made.values()):
        with tab:
            # No language: some of its colours are too pale. Wrapped: what scrolls cannot be reached by keyboard.
            st.code(text, language=None, wrap_lines=True)
    if chosen.relabelled:
        st.caption(
            "Labels that the experts changed are in the CSV. A dataset of your own still has the old ones: take them "
            "from the list of paths, or train on the manifest."
        )


# ---------------------------------------------------------------------------------------------- saved ones


def _save(loaded: data.Loaded, ask: Ask, key: str) -> None:
    try:
        roles.require("owner", "to save a selection")
        chosen = data.coreset(loaded, ask)  # in the cache
        made = coresets.keep(loaded.run, chosen.source, ask, str(st.session_state.get(key) or ""), chosen.frame)
    except (LossprintError, OSError) as error:
        st.session_state["_error"] = f"Nothing was saved: {parts.md(error)}"
        return
    told = f"Saved as {parts.md(made.name)}, {parts.plural(len(made.samples), 'sample')}"
    st.session_state["_toast"] = (told, ":material/check:")


def saved(loaded: data.Loaded, able: list[str]) -> None:
    names, gone = loaded.run.selections(), st.session_state.get(DROPPED)
    gone = gone if gone and gone[0] == loaded.run.path and gone[1] not in names else None
    if not names and gone is None:
        return
    st.subheader("Saved in this run", anchor=False)
    if gone is not None:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.info(f"**{parts.md(gone[1])}** was deleted.", icon=":material/delete:")
            st.button("Put it back", key="selection-undo", icon=":material/undo:", on_click=_put_back, args=(loaded,))
    for name in names:
        _one_saved(loaded, name, able)


def _one_saved(loaded: data.Loaded, name: str, able: list[str]) -> None:
    path = loaded.run.selection_path(name)
    stamps = tuple(one.stat().st_mtime_ns for one in (path, outfile.record_path(path)) if one.exists())
    record, ask = data.derived(loaded, numbers.kept_record, name, stamps)
    percent = None
    if ask is None:
        about = ["its record is gone, or the file was changed since"]
    else:
        about = [METHODS[ask.method].title if ask.method in METHODS else ask.method, _budget(ask)]
        about += [parts.plural(record["samples"], "sample")] * isinstance(record.get("samples"), int)
        about += [numbers.options_in_words(ask.options)]
        about += [f"seed {ask.seed}"] * (ask.method in METHODS and METHODS[ask.method].chance)
        percent = _on_the_page(ask)
    with st.container(border=True, horizontal=True, vertical_alignment="center", gap="small", key=f"selection-{name}"):
        with st.container(gap="xxsmall", width="stretch"):
            st.markdown(f"**{parts.md(name)}**")
            st.caption(parts.md(" · ".join(one for one in about if one)))
        with st.container(horizontal=True, gap="small", width="content"):
            st.button(
                "Open",
                key=f"selection-open-{name}",
                icon=":material/tune:",
                on_click=_open,
                args=(ask, percent),
                disabled=percent is None or ask.method not in able,
                help="Sets the controls above to those that it was made with. Decisions made since then count.",
            )
            _download("CSV", path.read_bytes, f"{name}.csv", f"selection-download-{name}")
            st.button(
                "Delete", key=f"selection-delete-{name}", icon=":material/delete:", on_click=_drop, args=(loaded, name)
            )


def _on_the_page(ask: Ask) -> int | None:
    """How many per cent were kept, None for what the page's controls cannot show."""
    percent = None if ask.fraction is None else round(100 * ask.fraction)
    if percent is None or not 1 <= percent <= 100 or abs(100 * ask.fraction - percent) > 1e-9:
        return None
    exposed = round(100 * ask.without_exposed)
    if not 0 <= exposed <= numbers.EXPOSED or abs(100 * ask.without_exposed - exposed) > 1e-9:
        return None
    return percent if 0 <= ask.seed <= numbers.SEEDS and 0 <= ask.at_least <= numbers.LEAST else None


def _budget(ask: Ask) -> str:
    if ask.fraction is not None:
        return f"{numbers.per_cent(ask.fraction)} kept"
    if ask.number is not None:
        return f"{ask.number:,} kept"
    return f"{ask.per_class:,} of each class" if ask.per_class is not None else ""


def _open(ask: Ask, percent: int) -> None:
    state = {"method": ask.method, "keep": percent, "seed": ask.seed}
    state |= {"equal": ask.equal, "least": ask.at_least, "twins": ask.one_of_duplicates}
    state |= {"exposed": round(100 * ask.without_exposed)}
    for key, value in state.items():
        st.session_state[key] = value


def _drop(loaded: data.Loaded, name: str) -> None:
    path = loaded.run.selection_path(name)
    try:
        roles.require("owner", "to delete a selection")
        texts = [one.read_bytes().decode("utf-8") for one in (path, outfile.record_path(path)) if one.exists()]
        loaded.run.drop_selection(name)
    except (LossprintError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        st.session_state["_error"] = f"{parts.md(name)} was not deleted: {parts.md(reason)}"
        return
    st.session_state[DROPPED] = (loaded.run.path, name, *[*texts, "", ""][:2])


def _put_back(loaded: data.Loaded) -> None:
    gone = st.session_state.get(DROPPED)
    if gone is None:  # a second click
        return
    try:
        roles.require("owner", "to save a selection")
        loaded.run.write_selection(*gone[1:])
    except (LossprintError, OSError) as error:
        st.session_state["_error"] = f"{parts.md(gone[1])} was not put back: {parts.md(error)}"
        return
    st.session_state.pop(DROPPED, None)
