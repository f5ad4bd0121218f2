"""Wrong labels: which given labels are probably wrong, most severe first?"""

import streamlit as st

from lossprint.app import data
from lossprint.app.shared import browse, parts, trust
from lossprint.audit.types import KIND_WORDS


def render(loaded: data.Loaded) -> None:
    if loaded.labelled:
        question = "Which given labels are probably wrong? Most severe first, with the label the model preferred."
    else:
        question = (
            f"Which {loaded.noun}s did the model keep doubting? Those whose loss stayed far above the others first."
        )
    parts.header(KIND_WORDS["label_error"][0], question)
    if loaded.of_kind("label_error").empty:
        _empty(loaded)
        return
    trust.warn(loaded)
    trust.count(loaded)
    browse.findings_gallery(loaded, "label_error", suggestions=loaded.labelled)


def _empty(loaded: data.Loaded) -> None:
    videos = data.videos(loaded)
    if videos is not None and len(videos.frames) == len(loaded.samples):
        parts.empty(
            "Single frames are not flagged",
            "A frame of a video is labeled with those around it, so wrong labels are looked for in stretches of "
            f"frames: {parts.plural(len(videos.spans), 'span')} found.",
            "movie",
        )
        with st.container(horizontal=True, horizontal_alignment="center"):
            parts.link("sequences", "Show them in Sequences", "movie")
    elif not loaded.has("label_error"):
        parts.empty("Not looked for", "No loss of this run tells whether a label fits.", "info")
    elif not loaded.labelled:
        parts.empty(
            f"No suspicious {loaded.noun}s",
            "No mean loss (CSL) lies beyond the upper fence of this dataset. What the model learned as if right stays "
            "invisible; **Loss prints** shows all in order.",
        )
    elif not loaded.has("aum"):
        parts.empty(
            "No wrong labels by their losses",
            "This run has no margins, so only labels that stayed unlikely throughout were looked for, without "
            "suggestions.",
            "info",
        )
    else:
        parts.empty(
            "No wrong labels",
            "The model came to agree with every given label. Errors that it learned as if right stay invisible.",
        )
