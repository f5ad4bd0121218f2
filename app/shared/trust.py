"""How far label findings can be trusted, and how many are wrong: the same words on every page that shows them."""

import streamlit as st

from lossprint.app import data
from lossprint.app.shared import parts
from lossprint.audit.findings import doubts
from lossprint.audit.review import stopping, strata, wrong_labels
from lossprint.audit.review.wrong_labels import WrongLabels


def warn(loaded: data.Loaded) -> None:
    """Say that the findings of wrong labels are a reading order, and why, where the run knows that they are no more."""
    if loaded.of_kind("label_error").empty:
        return
    for sentence in doubts.sentences(loaded.run):
        st.warning(f"{parts.md(sentence)}.", icon=":material/school:")


def wrong(loaded: data.Loaded) -> WrongLabels | None:
    """How many of the flagged labels are wrong, by the answers so far or by the network; None where nothing tells."""
    if loaded.of_kind("label_error").empty:
        return None
    return wrong_labels.wrong_labels(loaded.run, _so_far(loaded))


def _so_far(loaded: data.Loaded) -> stopping.Stopping:
    return stopping.so_far(data.derived(loaded, _asked), data.reviews(loaded).history())


def _asked(loaded: data.Loaded) -> strata.Asked:
    train = loaded.samples.index[(loaded.samples["split"] == "train").to_numpy(bool)].to_numpy()
    return strata.asked(loaded.findings, train, int(loaded.run.manifest.get("seed") or 0))


def count(loaded: data.Loaded) -> None:
    """One line: how many of the flagged labels are expected to be wrong, and from which rank on fewer than half."""
    if loaded.of_kind("label_error").empty:
        return
    found = _so_far(loaded)
    about = wrong_labels.wrong_labels(loaded.run, found)
    if about is not None:
        ranks = wrong_labels.rank_sentence(found)
        st.caption(f"{parts.md(wrong_labels.sentence(about))}.{f' {parts.md(ranks)}.' if ranks else ''}")
