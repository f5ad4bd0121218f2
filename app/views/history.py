"""History: every decision that was stored, who, when and what; any step of one's own can be taken back from here."""

import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.access import roles
from lossprint.app.elements import gallery
from lossprint.app.shared import decide, drawer, parts

LISTED = 500  # steps
SHOWN = 24  # samples of a step
KEY = "history-steps"


def render(loaded: data.Loaded) -> None:
    parts.header(
        "History", "Who decided what, and when? Nothing is ever changed: a step that is taken back is a new one."
    )
    history = data.reviews(loaded).history()
    table = steps(history)
    if table.empty:
        parts.empty("No decisions yet", "What is decided on any page is listed here, step by step.", "history")
        return
    shown = table.head(LISTED)
    st.markdown(f"**{parts.plural(len(table), 'step')}**, {parts.plural(int(table['decisions'].sum()), 'decision')}")
    chosen = st.dataframe(
        shown.drop(columns="ids"),
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
            "decisions": "Decisions",
            "standing": "Still standing",
        },
    ).selection.rows
    if len(table) > LISTED:
        st.caption(f"The latest {LISTED:,} of {len(table):,} steps.")
    if chosen and chosen[0] < len(shown):
        _step(loaded, history, shown.iloc[chosen[0]])
    else:
        st.caption("The box at the left of a step shows its samples, and takes it back.")


def steps(history: pd.DataFrame) -> pd.DataFrame:
    """A row a step (what was stored in one go), newest first: at, reviewer, what, decisions, standing, ids."""
    made = history[history["decision"] != "undo"]
    rows = []
    for (at, who), part in made.groupby(["at", "reviewer"], sort=False, observed=True):
        counts = part["decision"].value_counts()
        words = ", ".join(f"{count:,} {decide.DONE[name].lower()}" for name, count in counts.items())
        first = part.iloc[0]
        what = decide.one_in_words(first["decision"], first["new_label"]) if len(part) == 1 else words
        rows.append((pd.Timestamp(at), str(who), what, len(part), int(part["stands"].sum()), part["id"].tolist()))
    columns = ["at", "reviewer", "what", "decisions", "standing", "ids"]
    return pd.DataFrame(rows[::-1], columns=columns)


def _step(loaded: data.Loaded, history: pd.DataFrame, step: pd.Series) -> None:
    rows = history[history["id"].isin(step["ids"])]
    own = step["reviewer"] == decide.reviewer() or (roles.asked() and roles.may("owner"))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{parts.md(step['what'])}** by {parts.md(step['reviewer'])}", width="content")
        st.space("stretch")
        st.button(
            f"Take back {parts.plural(int(step['standing']), 'decision')}",
            key="history-back",
            icon=":material/undo:",
            disabled=not step["standing"] or not own,
            help=None if own else "Only whoever stored them takes them back.",
            on_click=decide.take_back,
            args=(loaded, step["ids"]),
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
            **decide.badge({"decision": row.decision}),
        )
        for row in known.itertuples()
    ]
    gallery(tiles, key="history-samples", label="samples of the step", size="small", on_open=drawer.show)
    if len(rows) > len(known):
        st.caption(f"The first {len(known):,} of {len(rows):,}.")
