"""Sample: one sample, whole story. Its URL (`/sample?sample=17`) is what one sends to a colleague."""

import streamlit as st

from lossprint.app import data
from lossprint.app.shared import parts, proof
from lossprint.app.shared.sample import (
    default_sample,
    evidence,
    finding_of,
    in_plain_words,
    label_line,
    picture,
    suggestion_of,
    why,
)


def render(loaded: data.Loaded) -> None:
    parts.header("Sample", "Why is this sample flagged, and what speaks for and against its label?")
    sample = parts.choose_sample(loaded, default_sample(loaded))
    if sample is None:
        if loaded.samples.empty:
            parts.empty("No samples", "This run holds no samples.", "search_off")
        return
    # Suggestion and story are about the label: where it is in question, that question is opened.
    finding = finding_of(loaded, sample, ("label_error",))
    finding = finding_of(loaded, sample) if finding is None else finding
    suggested = suggestion_of(loaded, sample)
    left, right = st.columns([4, 5], gap="large")
    with left:
        picture(loaded, sample, "story-image", 440)
        st.markdown(f"#### Sample {sample}")
        label_line(loaded, sample, suggested)
        why(loaded, sample)
        if finding is not None:
            parts.link("review", "Decide on it", "rule", {"finding": finding["group"]})
    with right:
        proof.draw(loaded, sample, suggested, "story", examples=True)
        in_plain_words(loaded, sample)
    evidence(loaded, sample, "story")
