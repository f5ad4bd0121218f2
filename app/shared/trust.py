"""How far label findings can be trusted, how many are wrong, and what annotators' votes say of a label: the same words
on every page that shows them."""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.shared import parts
from lossprint.audit.findings import doubts
from lossprint.audit.memorized import memorization
from lossprint.audit.review import stopping, strata, votes, wrong_labels
from lossprint.audit.review.wrong_labels import WrongLabels
from lossprint.audit.runs import beside
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError


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


@dataclass(frozen=True, eq=False)
class Voted:
    """The tables of `beside.consensus`; `consensus` is indexed by sample."""

    consensus: pd.DataFrame
    annotators: pd.DataFrame
    votes: pd.DataFrame


def voted(loaded: data.Loaded) -> Voted | None:
    """What was counted last, None without votes. LossprintError where it is damaged."""
    stamp = beside.consensus_stamp(loaded.run)
    return _counted(str(loaded.run.path), stamp) if stamp else None


@st.cache_resource(max_entries=4, show_spinner=False)
def _counted(path: str, stamp: int) -> Voted | None:
    tables = beside.consensus(open_run(path))
    if tables is None:
        return None
    consensus, annotators, counted_votes = tables
    return Voted(consensus.drop_duplicates("sample").set_index("sample", drop=False), annotators, counted_votes)


def memorized(loaded: data.Loaded, sample: int) -> str:
    """That a sample was learnt by heart, where this was measured and is sure; else empty."""
    stamp = memorization.stamp(loaded.run)
    try:
        table = _memorized(str(loaded.run.path), stamp) if stamp else None
    except LossprintError:  # `lossprint verify` says what is wrong
        return ""
    if table is None or sample not in table.index:
        return ""
    return memorization.sentence(table.loc[sample])


@st.cache_resource(max_entries=4, show_spinner=False)
def _memorized(path: str, stamp: int) -> pd.DataFrame | None:
    return memorization.kept(open_run(path))


def said(loaded: data.Loaded, sample: int) -> str:
    """`3 of 4 annotators said cat, 1 dog`; empty without votes on the sample."""
    try:
        tables = voted(loaded)
    except LossprintError:  # the page of votes says what is wrong
        return ""
    if tables is None or sample not in tables.consensus.index:
        return ""
    return votes.evidence(tables.consensus.loc[sample])
