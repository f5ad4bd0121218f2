"""History: every decision that was stored, who, when and what; any step of one's own can be taken back from here."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.access import roles
from lossprint.app.elements import gallery
from lossprint.app.shared import decide, drawer, parts
from lossprint.app.shared.acting import steps as do
from lossprint.audit.review.marks import Mark

LISTED = 500  # steps
SHOWN = 24  # samples of a step
KEY = "history-steps"


def render(loaded: data.Loaded) -> None:
    parts.header(
        "History", "Who decided what, and when? Nothing is ever changed: a step that is taken back is a new one."
    )
    history, marks = data.reviews(loaded).history(), data.marks(loaded).history()
    table = steps(history, marks)
    if table.empty:
        parts.empty("No decisions yet", "What is decided or tagged on any page is listed here, by steps.", "history")
        return
    shown = table.head(LISTED)
    decisions = int(table.loc[table["of"] == decide.DECISIONS, "decisions"].sum())
    st.markdown(f"**{parts.plural(len(table), 'step')}**, {parts.plural(decisions, 'decision')}")
    chosen = st.dataframe(
        shown.drop(columns=["ids", "of"]),
        hide_index=True,
        key=KEY,
        on_select="rerun",
        selection_mode="single-row",
        height=min(440, 38 + 35 * len(shown)),
        alt="Steps, newest first; choosing one shows it below",
        column_config={
            "at": st.column_config.DatetimeColumn("When (UTC)", format="YYYY-MM-DD HH:mm:ss"),
            "reviewer": "Who",
            "what": "What",
            "decisions": "Samples",
            "standing": "Still standing",
        },
    ).selection.rows
    if len(table) > LISTED:
        st.caption(f"The latest {LISTED:,} of {len(table):,} steps.")
    if chosen and chosen[0] < len(shown):
        _step(loaded, history, marks, shown.iloc[chosen[0]])
    else:
        st.caption("The box at the left of a step shows its samples, and takes it back.")


def steps(history: pd.DataFrame, marks: Sequence[Mark] = ()) -> pd.DataFrame:
    """A row a step (what was stored in one go), newest first: at, reviewer, what, decisions, standing, ids, of.

    `of`: decisions, or marks (a tag, a queue, a view); `decisions` of a mark are its samples, those that stand too.
    """
    made = history[history["decision"] != "undo"]
    rows = []
    for (at, who), part in made.groupby(["at", "reviewer"], sort=False, observed=True):
        counts = part["decision"].value_counts()
        words = ", ".join(f"{count:,} {decide.DONE[name].lower()}" for name, count in counts.items())
        first = part.iloc[0]
        what = decide.one_in_words(first["decision"], first["new_label"]) if len(part) == 1 else words
        ids = part["id"].tolist()
        rows.append((pd.Timestamp(at), str(who), what, len(part), int(part["stands"].sum()), ids, decide.DECISIONS))
    undone = {one.undoes for one in marks}
    for one in marks:
        if one.undoes is None:
            number = len(one.samples)
            left = 0 if one.id in undone else max(number, 1)
            words = do.in_words(one)
            rows.append((pd.Timestamp(one.at), one.reviewer, words, number, left, [one.id], decide.MARKS))
    columns = ["at", "reviewer", "what", "decisions", "standing", "ids", "of"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("at", kind="stable", ignore_index=True)[::-1].reset_index(drop=True)


def _step(loaded: data.Loaded, history: pd.DataFrame, marks: Sequence[Mark], step: pd.Series) -> None:
    if step["of"] == decide.DECISIONS:
        rows = history[history["id"].isin(step["ids"])]
    else:
        samples = next(one.samples for one in marks if one.id == step["ids"][0])
        rows = pd.DataFrame({"sample": samples}).assign(stands=bool(step["standing"]), new_label=None, decision=None)
    own = step["reviewer"] == decide.reviewer() or (roles.asked() and roles.may("owner"))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{parts.md(step['what'])}** by {parts.md(step['reviewer'])}", width="content")
        st.space("stretch")
        st.button(
            f"Take back {parts.plural(int(step['standing']), 'decision')}"
            if step["of"] == decide.DECISIONS
            else "Take back",
            key="history-back",
            icon=":material/undo:",
            disabled=not step["standing"] or not own,
            help=None if own else "Only whoever stored them takes them back.",
            on_click=do.take_back,
            args=(loaded, step["ids"]),
            kwargs={"of": step["of"]},
        )
    known = rows[rows["sample"].isin(loaded.samples.index)].drop_duplicates("sample").head(SHOWN)
    tiles = [
        parts.tile(
            loaded,
            row.sample,
            given=loaded.samples.at[row.sample, "label"],
            suggested=row.new_label if isinstance(row.new_label, str) else "",
            title=f"#{row.sample}",
            note="" if row.stands else "taken back",
            **decide.badge({"decision": row.decision} if row.decision else None),
        )
        for row in known.itertuples()
    ]
    gallery(tiles, key="history-samples", label="samples of the step", size="small", on_open=drawer.show)
    if len(rows) > len(known):
        st.caption(f"The first {len(known):,} of {len(rows):,}.")
