"""Decisions on whatever was chosen among all samples: one by one, by ticks, or on all that match."""

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.access import roles
from lossprint.app.questions import picked
from lossprint.app.shared import decide, parts

MOST = 20_000  # decisions in one go
WORDS = {"keep": "Keep the label", "relabel": "Relabel", "exclude": "Exclude", "unsure": "Unsure"}


def all_that_match(loaded: data.Loaded, chosen: np.ndarray, history: pd.DataFrame) -> None:
    """One decision on all that the filters leave, in a fold: counted, asked about, one undo."""
    if len(chosen) == len(loaded.samples) or not roles.may("reviewer"):
        return
    if len(chosen) <= picked.MOST:
        ids = loaded.samples.index.to_numpy()[chosen]
        parts.link(
            "review", f"Review these {len(chosen):,}", "rule", {"queue": picked.QUEUE, "picked": picked.text(ids)}
        )
    with st.popover(f"Decide on all {len(chosen):,} that match", icon=":material/checklist:"):
        if len(chosen) > MOST:
            st.caption(f"At most {MOST:,} decisions are stored in one go: take a narrower filter.")
            return
        able = [name for name in WORDS if loaded.labelled or name != "relabel"]
        word = st.radio("Decision", able, format_func=WORDS.get, key="e_word", horizontal=True)
        label = st.selectbox("As", loaded.classes, key="e_new") if word == "relabel" else None
        comment = "e_comment"
        st.text_input("Comment", key=comment, max_chars=decide.LONGEST, placeholder="Why, stored with each decision")
        ids = loaded.samples.index.to_numpy()[chosen]
        splits = loaded.samples["split"].iloc[chosen].value_counts()
        told = ", ".join(
            f"{count:,} {parts.SPLITS.get(name, parts.md(name))}" for name, count in splits.items() if count
        )
        st.caption(f"{told}. One undo takes all of them back.")

        def store() -> None:
            rows = picked.names(loaded, ids)
            given = loaded.samples.loc[ids, "label"].astype(object)
            decisions = [
                (
                    row.group,
                    int(row.sample),
                    "keep" if word == "relabel" and label == old else word,
                    _new(word, label, old),
                )
                for row, old in zip(rows.itertuples(), given)
            ]
            decide.press(loaded, decisions, seen=decide.last_seen(history, rows["group"]), comment_key=comment)

        st.button(f"Store {parts.plural(len(chosen), 'decision')}", key="e_store", type="primary", on_click=store)


def _new(word: str, label: str | None, given: str) -> str | None:
    return label if word == "relabel" and label != given else None
