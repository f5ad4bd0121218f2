"""Sample: one sample, whole story. Its URL (`/sample?sample=17`) is what one sends to a colleague."""

import streamlit as st

from lossprint.app import data
from lossprint.app.shared import parts
from lossprint.app.shared.sample import (
    default_sample,
    evidence,
    finding_of,
    label_line,
    loss_chart,
    picture,
    scores_chart,
    why,
)


def render(loaded: data.Loaded) -> None:
    parts.header("Sample", "Why is this sample flagged, and what speaks for and against its label?")
    sample = parts.choose_sample(loaded, default_sample(loaded))
    if sample is None:
        parts.empty("No samples", "This run holds no samples.", "search_off")
        return
    # Suggestion and story are about the label: where it is in question, that question is opened.
    found = finding_of(loaded, sample, ("label_error",))
    found = finding_of(loaded, sample) if found is None else found
    suggested = parts.suggestion(loaded, sample) if found is not None else None
    left, right = st.columns([4, 5], gap="large")
    with left:
        picture(loaded, sample, "story-image", 520)
        st.markdown(f"#### Sample {sample}")
        label_line(loaded, sample, suggested)
        why(loaded, sample)
        if found is not None:
            parts.link("review", "Decide on it", "rule", {"finding": found["group"]})
    with right:
        st.markdown("##### Loss print")
        loss_chart(loaded, sample, "story-loss", height=290)
        if loaded.samples.at[sample, "split"] == "train":
            st.markdown(f"##### Scores within {'its class' if loaded.labelled else 'all samples'}")
            scores_chart(loaded, sample, "story-scores")
    evidence(loaded, sample, "story")
