"""Export: what changes when the decisions are applied, and where should it go?"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.access import roles
from lossprint.app.shared import decide, parts
from lossprint.app.views.export import bring
from lossprint.audit.export import export, labelstudio, manifests, outfile
from lossprint.audit.export.applied import Applied, applied
from lossprint.audit.review.resolve import RULES
from lossprint.audit.types import LossprintError

PREVIEW = 200
NAMES = {
    "latest": "The latest decision",
    "majority": "What the majority said",
    "settled": "What is settled",
    "adjudicated": "Only what was adjudicated",
    "reviewer": "One reviewer",
}
UNSURE = {"keep": "Keep them with their given label", "drop": "Leave them out"}


def render(loaded: data.Loaded) -> None:
    parts.header(
        "Export", "What changes when the decisions are applied, and where should it go? The source stays as it is."
    )
    decisions = _options(loaded, applied(loaded.run, data.reviews(loaded)))
    _cleaned(loaded, decisions)
    _rest(loaded, decisions.rule)
    if roles.may("owner"):
        bring.render(loaded)


def _options(loaded: data.Loaded, decisions: Applied) -> Applied:
    """Whose decisions are applied; asked only where that makes a difference."""
    standing = decisions.history[decisions.history["stands"]]
    people = sorted(set(standing["reviewer"].astype(str)))
    asks_rule = len(people) > 1 or bool((standing["role"] == "adjudication").any())
    asks_unsure = bool((standing["decision"] == "unsure").any())
    if not (asks_rule or asks_unsure):
        return decisions
    with st.container(border=True, key="export-options"):
        left, right = st.columns([3, 2], gap="medium") if asks_rule and asks_unsure else (st.container(),) * 2
        if asks_unsure:  # drawn on the right, asked first: it changes what the rules change
            with right:
                unsure = st.radio(
                    "Samples left as unsure",
                    list(UNSURE),
                    format_func=UNSURE.get,
                    key="unsure",
                    bind="query-params",
                )
            decisions = replace(decisions, unsure=unsure)
        if asks_rule:
            with left:
                decisions = replace(decisions, rule=_rule(loaded, decisions, people))
    return decisions


def _rule(loaded: data.Loaded, decisions: Applied, people: list[str]) -> str:
    def changes(rule: str) -> str:
        tally = replace(decisions, rule=rule).tally(loaded.samples["label"])
        return f"changes {parts.plural(tally.changed, 'sample')}"

    told = [
        f"{text[0].upper()}{text[1:]}" + (f": {changes(rule)}." if rule != "reviewer" else ".")
        for rule, text in RULES.items()
    ]
    rule = st.radio(
        "Whose decisions are applied?",
        list(NAMES),
        format_func=NAMES.get,
        captions=told,
        key="apply",
        bind="query-params",
    )
    if rule != "reviewer":
        return rule
    who = st.selectbox("Reviewer", people, key="e_of", bind="query-params", width=320)
    st.caption(f"{parts.md(who)} {changes(f'reviewer:{who}')}.")
    return f"reviewer:{who}"


def _cleaned(loaded: data.Loaded, decisions: Applied) -> None:
    st.subheader("Cleaned dataset", anchor=False)
    changed = export.changes(decisions)
    excluded = int(changed["new"].eq("").sum())
    kept = len(loaded.samples) - excluded
    grid = st.grid(4, min_column_width=150, gap="small")
    grid.metric("Samples exported", f"{kept:,}", border=True, help="All splits, without the excluded ones.")
    moved = int(changed["new_frame"].notna().sum())
    relabeled = int((changed["new"].ne("") & changed["new"].ne(changed["old"])).sum())
    grid.metric("Labels changed", f"{relabeled:,}", border=True)
    if moved:
        grid.metric("Frames put elsewhere", f"{moved:,}", border=True, help="In the order of time of their video.")
    grid.metric("Excluded", f"{excluded:,}", border=True)
    reviewed = len(decide.decided(loaded))
    grid.metric("Decisions", f"{reviewed:,}", border=True, help="Samples with a standing decision, changed or not.")
    if changed.empty and reviewed:
        parts.empty(
            "Nothing changes",
            "The decisions that apply confirm the given labels, so the export would repeat the dataset.",
            "rule",
        )
    elif changed.empty:
        parts.empty(
            "No changes yet",
            "Nothing was relabeled or excluded so far, so the export would repeat the dataset. Decide on some first.",
            "rule",
        )
        parts.link("review", "Start the review", "rule")
    else:
        _changes(changed)
    cleaned = partial(export.cleaned, decisions)
    with st.container(horizontal=True, gap="small"):
        _download("Cleaned labels (CSV)", "cleaned.csv", lambda: _csv(cleaned()), primary=True)
        if _manifest(loaded):
            name = f"corrected{_manifest(loaded).suffix.lower()}"
            corrected = partial(manifests.corrected, decisions)
            _download("Corrected manifest", name, corrected, help="Your own file: its columns, order and row format.")
        if data.videos(loaded) is not None:
            stretches = partial(export.segments, decisions)
            told = "Sequence, start, end and label; of video files, your own file of segments, corrected."
            _download("Corrected segments (CSV)", "segments.csv", lambda: _csv(stretches()), help=told)
        _download("Changes only (CSV)", "changes.csv", lambda: _csv(changed))
    if loaded.media.filed and roles.may("owner"):
        _folder(loaded, kept, decisions)
    _other_tools(loaded, cleaned, decisions)


def _changes(changed: pd.DataFrame) -> None:
    st.markdown("**What changes, and who decided it**")
    at = changed["at"].astype(object).head(PREVIEW)
    st.dataframe(
        changed.head(PREVIEW).assign(at=[str(one)[:16].replace("T", " ") for one in at]),
        hide_index=True,
        height=min(420, 38 + 35 * min(len(changed), PREVIEW)),
        column_order=["path", "split", "old", "new", "decision", "reviewer", "at", "comment", "finding", "review"],
        column_config={
            "reviewer": "who",
            "at": "when (UTC)",
            "review": st.column_config.NumberColumn("review", help="The number of the decision."),
        },
        alt="The changes, a row a sample",
    )
    if len(changed) > PREVIEW:
        st.caption(f"The first {PREVIEW} of {len(changed):,} changes; the file has all.")


def _manifest(loaded: data.Loaded) -> Path | None:
    """The dataset's own manifest, if it has one that is still there."""
    try:
        path = manifests.original(loaded.run)
        return path if path.is_file() else None
    except (LossprintError, OSError):
        return None


def _folder(loaded: data.Loaded, count: int, decisions: Applied) -> None:
    with st.expander("Write it as a folder of images on this machine", icon=":material/folder_copy:"):
        st.caption(
            "The images are copied to FOLDER/split/label/, with labels.csv, changes.csv and, with what was "
            "applied, export.json beside them."
        )
        out = st.text_input("Folder", value=str(loaded.run.exports / "cleaned"), key="export-folder")
        linked = st.checkbox(
            "Link the images instead of copying them",
            key="export-link",
            help="Takes no further space, but whoever then edits an image there edits the dataset's own as well.",
        )
        if not st.button("Write the folder", key="export-write", icon=":material/save:", disabled=not out.strip()):
            return
        roles.require("owner", "to export")
        bar = st.progress(0.0, text="Copying images …")

        def told(done: int, of: int) -> None:
            if of and (done == of or done % max(1, of // 100) == 0):
                bar.progress(min(1.0, done / of), text=f"Copied {done:,} of {of:,} images")

        place = Path(out.strip()).expanduser()
        how = {"link": "hardlink" if linked else "copy", "progress": told}
        try:
            made = export.write_cleaned(decisions, place, **how)
        except LossprintError as error:
            bar.empty()
            st.error(parts.md(error), icon=":material/error:")
            return
        bar.empty()
        st.success(
            f"{made.kept:,} of {count:,} samples written to {parts.md(place)}: "
            f"{made.relabelled:,} with a changed label, {made.excluded:,} left out.",
            icon=":material/check_circle:",
        )


def _other_tools(loaded: data.Loaded, cleaned: Callable[[], pd.DataFrame], decisions: Applied) -> None:
    reviews = data.reviews(loaded)
    with st.expander("Files for other tools", icon=":material/swap_horiz:"):
        if loaded.media.filed:
            _label_studio(loaded, reviews)
        st.markdown(
            "**cleanlab** has every sample with its label quality (0 is suspect), the suggested and the decided label; "
            "**Parquet** is the cleaned table for pandas, DuckDB or Spark; the **record** says what was applied."
        )
        with st.container(horizontal=True, gap="small"):
            as_cleanlab = partial(export.cleanlab, decisions)
            _download("cleanlab (CSV)", "cleanlab.csv", lambda: _csv(as_cleanlab()))
            _download("Cleaned labels (Parquet)", "cleaned.parquet", lambda: outfile.parquet_bytes(cleaned()))
            _download("Record (JSON)", "cleaned.json", lambda: outfile.record_text(decisions.record).encode())


def _label_studio(loaded: data.Loaded, reviews) -> None:
    st.markdown(
        "**Label Studio**: the flagged and the reviewed samples as tasks, with the suggested labels as predictions "
        "and each reviewer's decision as an annotation. Paste the interface under *Settings, Labeling Interface* "
        "first, then import the tasks."
    )
    with st.container(horizontal=True, gap="small"):
        tasks = partial(labelstudio.tasks_bytes, loaded.run, reviews)
        _download("Label Studio tasks (JSON)", "label-studio.json", tasks)
        interface = partial(labelstudio.config, reviews.classes(), loaded.noun)
        _download("Labeling interface (XML)", "label-studio.xml", lambda: interface().encode())


def _rest(loaded: data.Loaded, rule: str) -> None:
    left, middle, right = st.columns(3, gap="medium")
    with left, st.container(border=True, height="stretch"):
        st.markdown("#### Findings")
        counts = loaded.findings.drop_duplicates("group")["kind"].value_counts()
        said = ", ".join(f"{number:,} {parts.md(kind.replace('_', ' '))}" for kind, number in counts.items()) or "none"
        st.markdown(f"Everything that was flagged, a row a sample: {said}.")
        _download("Findings (CSV)", "findings.csv", lambda: _csv(export.findings(loaded.run)))
    with middle, st.container(border=True, height="stretch"):
        st.markdown("#### Report")
        st.markdown("What was audited, found, decided by whom, and what is left: one page to read, print or file.")
        _download("Report (HTML)", "report.html", partial(_report, loaded, rule))
    with right, st.container(border=True, height="stretch"):
        st.markdown("#### Coreset")
        st.markdown("A smaller training set, chosen by a method and a fraction that you can look at first.")
        parts.link("coreset", "Choose a coreset", "filter_alt")


def _report(loaded: data.Loaded, rule: str) -> bytes:
    from lossprint.audit.report.write import report_bytes

    return report_bytes(loaded.run, rule=rule, reviews=data.reviews(loaded))


def _csv(frame: pd.DataFrame) -> bytes:
    return export.csv_text(frame).encode("utf-8")


def _download(
    label: str, name: str, content: Callable[[], bytes], primary: bool = False, help: str | None = None
) -> None:
    """A download button; the file is made when it is clicked."""
    kinds = {".csv": "text/csv", ".json": "application/json", ".xml": "application/xml", ".html": "text/html"}
    roles.download(
        label,
        content,
        name,
        kinds.get(Path(name).suffix, "application/octet-stream"),
        key=f"download-{name}",
        on_click="ignore",
        icon=":material/download:",
        type="primary" if primary else "secondary",
        help=help,
    )
