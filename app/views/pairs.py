"""Aligned and conflicting: which validation samples were learned with this one, and which against it?"""

import streamlit as st

from lossprint.app import charts, data, detail, parts
from lossprint.app.gallery import gallery
from lossprint.app.views.trajectories import default_sample

SCOPES = {"Its own class": "class", "All classes": "all"}
WORDS = {
    "aligned": ("Aligned", "Their losses rise and fall together: what teaches one helps the other."),
    "conflicting": (
        "Conflicting",
        "One improves while the other gets worse: a wrong label, or a hard case.",
    ),
}


def render(loaded: data.Loaded) -> None:
    parts.header(
        "Aligned & conflicting", "Which validation samples were learned together with this one, and which against it?"
    )
    search, choice = st.columns([4, 6], gap="large", vertical_alignment="bottom")
    with search:
        sample = parts.choose_sample(loaded, default_sample(loaded), train_only=True)
    with choice:
        chosen = st.segmented_control(
            "Partners from",
            list(SCOPES),
            default="Its own class",
            required=True,
            key="scope",
            bind="query-params",
        )
    scope = SCOPES[chosen]
    if sample is None:
        parts.empty("No samples", "This run holds no training samples.", "search_off")
        return
    pairs = data.partners(loaded, sample)
    pairs = pairs[pairs["scope"] == scope]
    _query(loaded, sample, pairs)
    if pairs.empty:
        parts.empty(
            "No partners",
            "This sample has no validation partners here: its class may have no validation samples.",
            "group_off",
        )
    else:
        columns = st.columns(2, gap="large")
        for column, side in zip(columns, WORDS):
            with column:
                _side(loaded, sample, detail.on_side(pairs, side), side)
    _strongest(loaded, scope)


def _query(loaded: data.Loaded, sample: int, pairs) -> None:
    with st.container(border=True):
        picture, words, chart = st.columns([2, 3, 5], gap="medium")
        with picture:
            parts.big_image(loaded, sample, 200)
        with words:
            st.markdown(f"#### Sample {sample}")
            st.markdown(parts.labels_line(loaded, sample, parts.suggestion(loaded, sample)))
            detail.why(loaded, sample)
            parts.link("trajectories", "Whole story", "show_chart", {"sample": sample})
        with chart:
            detail.loss_chart(loaded, sample, "query-loss", height=240)


def _side(loaded: data.Loaded, sample: int, mine, side: str) -> None:
    title, meaning = WORDS[side]
    st.subheader(title, anchor=False)
    st.caption(meaning)
    if mine.empty:
        st.caption("None found.")
        return
    tiles = detail.partner_tiles(loaded, mine)
    parts.tell_missing(tiles)
    gallery(tiles, key=f"partners-{side}", label=f"{side} partners of sample {sample}", size="small", columns=5)
    lines = []
    for partner in mine["partner"]:
        losses = data.losses(loaded, int(partner))
        if losses is not None:
            lines.append(charts.Line(f"{side} validation samples", losses, side, thin=True))
    own = data.losses(loaded, sample)
    if own is not None:
        lines.append(charts.Line(f"sample {sample}", own, "given"))
    if lines:
        figure = charts.loss_print(lines, dark=parts.dark(), height=270)
        parts.chart(figure, f"Loss of sample {sample} and of its {side} partners at each checkpoint", f"curves-{side}")


def _strongest(loaded: data.Loaded, scope: str) -> None:
    st.subheader("The dataset's strongest conflicts", anchor=False)
    st.caption(
        "Training samples whose best-opposed validation sample pulls hardest against them. Click one to see it above."
    )
    rows = data.conflicts(loaded, scope)
    if rows.empty:
        st.caption("None found.")
        return
    tiles = [
        parts.tile(loaded, row.sample, given=loaded.samples.at[row.sample, "label"], note=f"r = {row.correlation:+.2f}")
        for row in rows.itertuples()
    ]
    gallery(tiles, key="strongest", label="strongest conflicts", size="small", on_open=parts.choose)
