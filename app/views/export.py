"""Export: what changes when the decisions are applied, and where should it go?"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from lossprint.app import data, decide, parts
from lossprint.audit import export
from lossprint.audit.types import LossprintError

PREVIEW = 200


def render(loaded: data.Loaded) -> None:
    parts.header(
        "Export", "What changes when the decisions are applied, and where should it go? The source stays as it is."
    )
    reviews = data.reviews(loaded)
    _cleaned(loaded, export.changes(loaded.run, reviews))
    _rest(loaded)


def _cleaned(loaded: data.Loaded, changed: pd.DataFrame) -> None:
    st.subheader("Cleaned dataset", anchor=False)
    excluded = int((changed["decision"] == "exclude").sum())
    relabeled = len(changed) - excluded
    kept = len(loaded.samples) - excluded
    reviewed = len(decide.decided(loaded))
    grid = st.grid(4, min_column_width=150, gap="small")
    grid.metric("Samples exported", f"{kept:,}", border=True, help="All splits, without the excluded ones.")
    grid.metric("Labels changed", f"{relabeled:,}", border=True)
    grid.metric("Excluded", f"{excluded:,}", border=True)
    grid.metric("Decisions", f"{reviewed:,}", border=True, help="Samples with a standing decision, changed or not.")
    if changed.empty:
        parts.empty(
            "No changes yet",
            "Nothing was relabeled or excluded so far, so the export would repeat the dataset. Decide on some first.",
            "rule",
        )
        parts.link("review", "Start the review", "rule")
    else:
        st.markdown("**What changes, and who decided it**")
        st.dataframe(
            changed.head(PREVIEW),
            hide_index=True,
            height=min(420, 38 + 35 * min(len(changed), PREVIEW)),
            column_order=["path", "split", "old", "new", "decision", "reviewer", "at", "comment", "finding"],
            alt="The changes, a row a sample",
        )
        if len(changed) > PREVIEW:
            st.caption(f"The first {PREVIEW} of {len(changed):,} changes; the file has all.")
    with st.container(horizontal=True, gap="small"):
        cleaned = partial(export.cleaned, loaded.run, data.reviews(loaded))
        _download("Cleaned labels (CSV)", "cleaned.csv", cleaned, primary=True)
        _download("Changes only (CSV)", "changes.csv", lambda: changed)
    _folder(loaded, kept)


def _folder(loaded: data.Loaded, count: int) -> None:
    with st.expander("Write it as a folder of images on this machine", icon=":material/folder_copy:"):
        st.caption("The images are copied to FOLDER/split/label/, with labels.csv and changes.csv beside them.")
        out = st.text_input("Folder", value=str(loaded.run.exports / "cleaned"), key="export-folder")
        if not st.button("Write the folder", key="export-write", icon=":material/save:", disabled=not out.strip()):
            return
        bar = st.progress(0.0, text="Copying images …")

        def told(done: int, of: int) -> None:
            if of and (done == of or done % max(1, of // 100) == 0):
                bar.progress(min(1.0, done / of), text=f"Copied {done:,} of {of:,} images")

        try:
            made = export.write_cleaned(
                loaded.run, Path(out.strip()).expanduser(), reviews=data.reviews(loaded), progress=told
            )
        except LossprintError as error:
            bar.empty()
            st.error(parts.md(error), icon=":material/error:")
            return
        bar.empty()
        st.success(
            f"{made.kept:,} of {count:,} samples written to {parts.md(Path(out.strip()).expanduser())}: "
            f"{made.relabelled:,} with a changed label, {made.excluded:,} left out.",
            icon=":material/check_circle:",
        )


def _rest(loaded: data.Loaded) -> None:
    left, right = st.columns(2, gap="medium")
    with left, st.container(border=True, height="stretch"):
        st.markdown("#### Findings")
        counts = loaded.findings.drop_duplicates("group")["kind"].value_counts()
        said = ", ".join(f"{number:,} {kind.replace('_', ' ')}" for kind, number in counts.items()) or "none"
        st.markdown(f"Everything that was flagged, a row a sample: {said}.")
        _download("Findings (CSV)", "findings.csv", lambda: export.findings(loaded.run))
    with right, st.container(border=True, height="stretch"):
        st.markdown("#### Coreset")
        st.markdown("A smaller training set, chosen by a method and a fraction that you can look at first.")
        parts.link("coreset", "Choose a coreset", "filter_alt")


def _download(label: str, name: str, frame: Callable[[], pd.DataFrame], primary: bool = False) -> None:
    """A download button; the file is made when it is clicked."""
    st.download_button(
        label,
        lambda: export.csv_text(frame()).encode("utf-8"),
        name,
        "text/csv",
        key=f"download-{name}",
        on_click="ignore",
        icon=":material/download:",
        type="primary" if primary else "secondary",
    )
