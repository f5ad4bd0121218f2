"""The tour: four steps for a browser's first visit, on the overview and in Help."""

from collections.abc import Callable

import streamlit as st

from lossprint.app import data
from lossprint.app.shared import decide, parts

# title, what, page, the words of its link, icon
STEPS = (
    (
        "The loss print",
        "While a model learned your dataset, Lossprint wrote down its loss on every sample: the *loss print*. It falls "
        "early for clear samples, late for hard ones, and hardly ever for wrong labels.",
        "prints",
        "See loss prints",
        "show_chart",
    ),
    (
        "The worst labels",
        "Samples whose label the model kept doubting, the most suspicious first, beside the label it preferred. Look "
        "at some: you see at once whether it has a point.",
        "labels",
        "See the worst labels",
        "label_off",
    ),
    (
        "Decide",
        "One question at a time: is the label right, wrong, or is the sample useless? Your own eye decides; keys make "
        "it quick, and U takes a decision back.",
        "review",
        "Start deciding",
        "rule",
    ),
    (
        "Export",
        "Take along what you decided: the findings, the cleaned dataset with the reason beside each change, or a "
        "smaller training set. The source dataset is never edited.",
        "export",
        "See the exports",
        "download",
    ),
)
OVER_TIME = (  # instead of the worst labels, where the dataset is of videos
    "The worst spans",
    "Frames in a row whose label or place does not fit, the most suspicious first, beside what the model over time "
    "makes of them. Look at some: you see at once whether it has a point.",
    "sequences",
    "See the videos",
    "movie",
)
COOKIE = "lossprint_tour"
TOUR = "_tour"  # `closed` or `open`; unset: as the browser's cookie says


def tour(loaded: data.Loaded) -> None:
    """Four steps for a browser's first visit, until they are dismissed or something is decided in this run.

    The dismissal is kept in the session and, for later visits, in a cookie of this site: the server reads it before it
    draws, so nothing flashes up. Where cookies are off the tour comes back with each visit. Help opens it again.
    """
    state = st.session_state.get(TOUR)
    if state == "closed":
        parts.keep_cookie(COOKIE, "closed", key="tour-remember")
        return
    if state is None and (st.context.cookies.get(COOKIE) == "closed" or decide.decided(loaded)):
        return
    with st.container(border=True, key="tour"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(":material/waving_hand: **New here?** Four steps, about a minute.")
            st.space("stretch")
            st.button(
                "Got it", key="tour-close", icon=":material/close:", type="tertiary", on_click=set_state("closed")
            )
        steps(loaded)


def set_state(state: str) -> Callable[[], None]:
    """What a button calls that shows the tour again (`open`) or puts it away (`closed`)."""

    def change() -> None:
        st.session_state[TOUR] = state

    return change


def steps(loaded: data.Loaded) -> None:
    """The steps of a first visit side by side, each with a link to its page."""
    videos = data.videos(loaded) is not None and loaded.of_kind("label_error").empty
    shown = [OVER_TIME if videos and step[2] == "labels" else step for step in STEPS]
    grid = st.grid(len(shown), min_column_width=210, gap="medium")
    for at, (title, text, page, words, icon) in enumerate(shown):
        with grid.cell(), st.container(gap="xxsmall"):
            st.markdown(f"**{at + 1}. {title}**")
            st.markdown(text)
            parts.link(page, words, icon)
