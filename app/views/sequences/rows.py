"""The Sequences page's rows of bands: of the finding that is looked at, and of all videos."""

import streamlit as st

from lossprint.app.charts import base as charts
from lossprint.app.elements.timeline import timeline
from lossprint.app.shared import guard, parts
from lossprint.app.shared import spans as view
from lossprint.app.views.sequences import trust

CHOSEN, ENDS, LOOKED, AGAIN, REVEAL = "seq-span", "seq-ends", "seq-looked", "_seq-again", "seq-reveal"


def go(name: str) -> None:
    st.session_state[CHOSEN] = name


def all_videos(loaded, videos, shown, said, only_found: bool, query: str) -> None:
    found = set(shown["sequence"])
    names = [name for name in videos.rows if (name in found or not only_found) and query in name.lower()]
    if not names:
        parts.empty("No such video", "No video has this in its name, or none has such findings.", "search_off")
        return
    st.subheader("Videos with findings" if only_found else "All videos", anchor=False)
    per = parts.per_page((12, 24, 48), "s_per") if len(names) > 12 else 12
    pages = -(-len(names) // per)
    number = 1
    slot = st.container()
    if pages > 1:
        with st.container(horizontal_alignment="center"):
            number = min(st.pagination(pages, key="s_page", bind="query-params"), pages)
    here = names[(number - 1) * per : number * per]
    with slot:
        trust.quiet(loaded, videos, here)
        rows_of(loaded, videos, here, said, st.session_state.get(CHOSEN), None, None, key="seq-all")


@guard.fragment
def rows_of(loaded, videos, names: list[str], said, chosen, edges: dict | None, label: str | None, *, key: str) -> None:
    """The rows of some videos; with `edges`, of the finding that is looked at. What the pointer asks for is drawn
    without the rest of the page."""
    if st.session_state.pop(AGAIN, False):
        st.rerun()
    looked, position, pictures = st.session_state.pop(LOOKED, ("", 0, False))
    alone = edges is not None
    one = {"chosen": chosen, "ends": edges, "label": label} if alone else {}
    rows = [view.row(loaded, name, said, sprite=pictures and name == looked, **one) for name in names]

    def look(*asked) -> None:
        st.session_state[LOOKED] = asked

    def pick(name: str) -> None:
        go(name)
        st.session_state[REVEAL] = st.session_state.get(REVEAL, 0) + (0 if alone else 1)
        st.session_state[AGAIN] = True

    def move(name: str, ends) -> None:
        span = videos.spans[videos.spans["span"] == name]
        if len(span):
            frames = videos.frames.iloc[videos.rows[span["sequence"].iloc[0]]]
            new = view.numbers(frames, ends["start"], ends["stop"], ends.get("middle"))
            st.session_state.setdefault(ENDS, {})[name] = new
            st.session_state[AGAIN] = True

    timeline(
        rows,
        classes=loaded.classes,
        colours=charts.class_colours(len(loaded.classes)),
        chosen=chosen,
        editable=alone,
        reveal=st.session_state.get(REVEAL, 0) if alone else 0,
        key=key,
        on_pick=pick,
        on_look=look,
        on_ends=move,
        frame=view.picture(loaded, looked, position) if looked in names else None,
    )
