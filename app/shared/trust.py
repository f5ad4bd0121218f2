"""How far label findings can be trusted: one warning, the same on every page that shows them."""

import streamlit as st

from lossprint.app import data
from lossprint.app.shared import parts
from lossprint.audit.findings import doubts


def warn(loaded: data.Loaded) -> None:
    """Say that the findings of wrong labels are a reading order, and why, where the run knows that they are no more."""
    if loaded.of_kind("label_error").empty:
        return
    for sentence in doubts.sentences(loaded.run):
        st.warning(f"{parts.md(sentence)}.", icon=":material/school:")
