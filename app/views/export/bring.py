"""The part of the export page that brings in decisions made elsewhere: looked at first, stored in one go."""

import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.access import login, roles
from lossprint.app.shared import decide, parts
from lossprint.audit.export import exchange
from lossprint.audit.types import LossprintError

SHOWN = 50
NEW = "Label Studio's files may always bring new classes: there labels are chosen. In a table they are typed."
PLAN = "_plan"  # what the file at hand says: (what it was worked out for, the plan or what is wrong)
DONE = "_brought"  # what was stored last: (run, ids, sentence)


def render(loaded: data.Loaded) -> None:
    st.subheader("Decisions made elsewhere", anchor=False)
    st.caption(
        "From Label Studio (JSON or JSON-MIN), from cleanlab or a spreadsheet (CSV with the columns path and label), "
        "or from another copy of this run (changes.csv, cleaned.csv). You see what it says before anything is stored."
    )
    _tell_done(loaded)
    left, right = st.columns([3, 2], gap="medium", vertical_alignment="top")
    with left:
        file = st.file_uploader(
            "File with decisions",
            type=["json", "csv"],
            key="bring-file",
            max_upload_size=login.UPLOAD,
            on_change=_forget,
        )
    with right:
        who = st.text_input(
            "Decided by, where the file names nobody",
            value=decide.reviewer(),
            key="bring-who",
            max_chars=100,
            help="Label Studio's files name their annotators; a plain table of labels names nobody.",
        )
    if file is None:
        st.session_state.pop(PLAN, None)
        return
    new = st.checkbox("Labels that the dataset does not have become new classes", key="bring-new", help=NEW)
    made = _plan(loaded, file, who, new)
    if isinstance(made, str):
        st.error(f"Nothing was stored. {parts.md(made)}", icon=":material/error:")
        return
    _preview(loaded, made)


def _forget() -> None:
    """Another file: what was stored of the one before has been told."""
    st.session_state.pop(DONE, None)


def _plan(loaded: data.Loaded, file, who: str, new: bool) -> exchange.Plan | str:
    """What the file says, worked out again only when it, the reviewer or the decisions have changed."""
    roles.require("owner", "to bring in decisions")
    reviews = data.reviews(loaded)
    history = reviews.history()
    mark = (loaded.run.path, file.file_id, who, new, len(history))
    known = st.session_state.get(PLAN)
    if known is not None and known[0] == mark:
        return known[1]
    try:
        with st.spinner("Reading the file …"):
            made = exchange.plan(loaded.run, file.getvalue(), file.name, who, reviews, new)
    except LossprintError as error:
        made = str(error)
    st.session_state[PLAN] = (mark, made)
    return made


def _preview(loaded: data.Loaded, made: exchange.Plan) -> None:
    says = {
        "accept": ("relabels as suggested", "relabel as suggested"),
        "relabel": ("relabels", "relabel"),
        "keep": ("keeps the given label", "keep the given label"),
        "exclude": ("excludes the sample", "exclude the sample"),
        "unsure": ("is unsure", "are unsure"),
    }
    passed = [(made.known, "already stored"), (made.nothing, "without a decision")]
    others = ", ".join(f"{count:,} {parts.md(what)}" for count, what in passed if count)
    if not made.decisions:
        st.info(
            f"{parts.md(made.name)} has nothing new: of {parts.plural(made.rows, 'row')}, {others or 'none'}.",
            icon=":material/info:",
        )
        return
    counts = ", ".join(f"{count:,} {says[choice][count != 1]}" for choice, count in made.counts.items())
    people = ", ".join(parts.md(one) for one in made.reviewers[:5]) + (" and others" if len(made.reviewers) > 5 else "")
    number = parts.plural(len(made.decisions), "decision")
    st.markdown(f"**{parts.md(made.name)}: {number} by {people}.** {counts}." + (f" {others}." if others else ""))
    if made.new_classes:
        names = ", ".join(parts.md(one) for one in made.new_classes[:10])
        more = f" and {len(made.new_classes) - 10:,} more" if len(made.new_classes) > 10 else ""
        st.warning(f"New classes, which the dataset does not have: {names}{more}.", icon=":material/new_label:")
    frame = pd.DataFrame(made.decisions[:SHOWN])
    about = loaded.samples.loc[frame["sample"]]
    frame = frame.assign(path=about["path"].to_numpy(), given=about["label"].astype(object).to_numpy())
    frame["new_label"] = frame["new_label"].astype(object).where(frame["new_label"].notna(), "")
    st.dataframe(
        frame,
        hide_index=True,
        height=min(320, 38 + 35 * len(frame)),
        column_order=["path", "given", "decision", "new_label", "reviewer", "comment"],
        column_config={"new_label": "new", "reviewer": "who"},
        alt="What the file says, a row a decision",
    )
    if len(made.decisions) > SHOWN:
        st.caption(f"The first {SHOWN} of {len(made.decisions):,}.")
    st.button(
        f"Store {number}",
        key="bring-store",
        type="primary",
        icon=":material/save:",
        on_click=_store,
        args=(loaded, made),
    )


def _store(loaded: data.Loaded, made: exchange.Plan) -> None:
    reviews = data.reviews(loaded)
    try:
        ids = [row.id for row in reviews.add_all(made.decisions)]
    except LossprintError as error:
        st.session_state["_error"] = f"Nothing was stored: {parts.md(error)}"
        return
    st.session_state.setdefault(decide.STACK, []).append(
        (loaded.run.path, decide.reviewer(), ids, decide.page(), decide.DECISIONS)
    )
    text = f"{parts.plural(len(ids), 'decision')} from {made.name} stored."
    st.session_state[DONE] = (loaded.run.path, ids, text)


def _tell_done(loaded: data.Loaded) -> None:
    done = st.session_state.get(DONE)
    if done is None or done[0] != loaded.run.path:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.success(parts.md(done[2]), icon=":material/check_circle:")
        if len(done[1]):
            st.button(
                "Take it back", key="bring-undo", icon=":material/undo:", on_click=_take_back, args=(loaded, done[1])
            )


def _take_back(loaded: data.Loaded, ids: list[int]) -> None:
    try:
        taken = exchange.take_back(data.reviews(loaded), ids)
    except LossprintError as error:
        st.session_state["_error"] = f"Nothing was taken back: {parts.md(error)}"
        return
    st.session_state[DONE] = (loaded.run.path, [], f"{parts.plural(len(taken), 'decision')} taken back.")
