"""Sequences: which spans of a video have a wrong label, or stand in the wrong place?"""

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.charts import base as charts
from lossprint.app.elements.gallery import gallery
from lossprint.app.shared import drawer, parts
from lossprint.app.shared import spans as view
from lossprint.app.views.sequences import trust
from lossprint.app.views.sequences.decisions import actions, named, said_of, shortcut
from lossprint.app.views.sequences.rows import CHOSEN, ENDS, all_videos, go, rows_of

KINDS = {"All findings": None, "Wrong label": "sequence_label", "Wrong order": "sequence_order"}
AROUND, INSIDE = 1, 7  # pictures before and after a finding, and of it
LISTED = 500  # findings that can be chosen from a list
WHAT = {"relabel": "Wrong label", "swap": "Labels exchanged", "move": "Blocks exchanged"}
ICONS = {"accept": "check", "keep": "close", "unsure": "help"}


def render(loaded: data.Loaded) -> None:
    parts.header("Sequences", "Which spans of a video have a wrong label, or stand in the wrong place?")
    videos = data.videos(loaded)
    if videos is None:
        trust.nothing(loaded)
        return
    history = data.reviews(loaded).history()
    said = said_of(loaded, videos, history)
    _asked(videos)
    kind, only_found, query = _filters(videos, said)
    shown = videos.spans if kind is None else videos.spans[videos.spans["kind"] == kind]
    span = _chosen(shown)
    if span is not None:
        _finding(loaded, videos, shown, span, said, history)
    elif videos.spans.empty:
        trust.clean(loaded, videos)
    else:
        parts.empty("None of this kind", "Show all findings, at the top, to see the others.", "filter_alt_off")
    trust.worth(loaded)
    all_videos(loaded, videos, shown, said, only_found, query)
    drawer.draw(loaded, [])


def _asked(videos: data.Videos) -> None:
    """What a link asks for: `span`, a finding, or `sequence`, a video. Before the filters, which it may set."""
    name, video = parts.url_asks("span"), parts.url_asks("sequence")
    if name is not None:
        if name in set(videos.spans["span"]):
            st.session_state[CHOSEN] = name
        else:
            text = f"There is no finding **{parts.md(name[:80])}** in this run."
            st.warning(text, icon=":material/search_off:")
    if video is None:
        return
    mine = videos.spans.loc[videos.spans["sequence"] == video, "span"]
    if video not in videos.rows:
        st.warning(f"There is no video **{parts.md(video[:80])}** in this run.", icon=":material/search_off:")
    elif mine.empty:
        st.session_state["s_all"], st.session_state["s_video"] = True, video[:200]
    elif name is None:
        st.session_state[CHOSEN] = str(mine.iloc[0])
    parts.write_url("sequence", None)


def _filters(videos: data.Videos, said: pd.DataFrame) -> tuple[str | None, bool, str]:
    done, of = int(videos.spans["span"].isin(said.index).sum()), len(videos.spans)
    kind, whole = next(iter(KINDS)), True
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        if of:
            kind = st.selectbox("Show", list(KINDS), key="s_kind", width=170, bind="query-params", on_change=_first)
        query = st.text_input(
            "Video",
            key="s_video",
            placeholder="part of a name",
            width=190,
            max_chars=200,
            bind="query-params",
            on_change=_first,
        )
        if of:
            whole = st.toggle("Videos without findings too", key="s_all", bind="query-params", on_change=_first)
            st.space("stretch")
            st.progress(done / of, f"**{done:,} of {of:,}** findings decided", width=230)
    return KINDS[kind], not whole, (query or "").strip().lower()


def _first() -> None:
    if "s_page" in st.session_state:
        st.session_state["s_page"] = 1


def _chosen(shown: pd.DataFrame) -> pd.Series | None:
    """The finding that the URL or the session names, else the first of those shown."""
    names = shown["span"].tolist()
    if not names:
        parts.write_url("span", None)
        return None
    if st.session_state.get(CHOSEN) not in names:
        st.session_state[CHOSEN] = names[0]
    parts.write_url("span", st.session_state[CHOSEN])
    return shown[shown["span"] == st.session_state[CHOSEN]].iloc[0]


def _finding(loaded, videos, shown, span, said, history) -> None:
    frames = videos.frames.iloc[videos.rows[span["sequence"]]]
    one = named(span)
    edges = _edges(span, said)
    label = _label(loaded, span)
    with st.container(border=True, key="seq-card"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            severity = f":gray-badge[severity {span['severity']:.2f}]"
            st.markdown(f"**{WHAT[span['how']]}** in {parts.md(span['sequence'])} {severity}", width="content")
            _state(said, span["span"])
            st.space("stretch")
            _steps(shown, said, span["span"])
        st.markdown(parts.md(view.claim(one, edges, label)))
        st.caption(parts.md(view.evidence(loaded, frames, one, edges, label)))
        rows_of(loaded, videos, [span["sequence"]], said, span["span"], edges, label, key="seq-one")
        _strips(loaded, frames, span, edges, label)
        actions(loaded, videos, shown, span, frames, edges, said, history)
        with st.expander(
            "Loss prints of these frames", icon=":material/show_chart:", key="seq-losses", on_change="rerun"
        ) as opened:
            if opened.open:
                _prints(loaded, span, edges)


def _steps(shown: pd.DataFrame, said: pd.DataFrame, name: str) -> None:
    """To the finding before, to the next, and to any of them."""
    names = shown["span"].tolist()
    at = names.index(name)
    if len(names) <= LISTED:
        marks = {"accept": "✓ ", "keep": "✕ ", "unsure": "? "}
        choice = said["choice"].to_dict()
        titles = {
            one.span: f"{row} of {len(names)}: {marks.get(choice.get(one.span), '')}{one.sequence}, {WHAT[one.how]}"
            for row, one in enumerate(shown.itertuples(), 1)
        }
        st.session_state["seq-list"] = name
        st.selectbox(
            "Finding",
            names,
            key="seq-list",
            format_func=titles.get,
            label_visibility="collapsed",
            width=300,
            on_change=lambda: go(st.session_state["seq-list"]),
        )
    else:
        st.caption(f"{at + 1:,} of {len(names):,}", width="content")
    for text, icon, key, to in (
        ("Previous", "arrow_back", "P", names[at - 1]),
        ("Next", "arrow_forward", "J", names[(at + 1) % len(names)]),
    ):
        st.button(
            text,
            icon=f":material/{icon}:",
            shortcut=shortcut(key),
            on_click=go,
            args=(to,),
            key=f"seq-{text.lower()}",
        )


def _label(loaded: data.Loaded, span: pd.Series) -> str | None:
    """The label that a wrong one is to become: as chosen, else as suggested."""
    if span["how"] != "relabel":
        return None
    chosen = st.session_state.get(f"seq-label-{span['span']}")
    return chosen if chosen in loaded.classes else span["suggested_label"]


def _state(said: pd.DataFrame, name: str) -> None:
    if name in said.index:
        choice, who = said.at[name, "choice"], said.at[name, "reviewer"]
        st.markdown(f":material/{ICONS[choice]}: {view.CHOICES[choice]} by {parts.md(who)}")


def _edges(span: pd.Series, said: pd.DataFrame) -> dict:
    """The ends that the reviewer gave the finding in this session, or those it has."""
    given = st.session_state.get(ENDS, {}).get(span["span"])
    return given or view.decided_ends(named(span), said)


def _strips(loaded, frames: pd.DataFrame, span: pd.Series, edges: dict, label: str | None) -> None:
    start, stop, _ = view.positions(frames, **edges)
    after = view.mended(frames, named(span), edges, label)
    moved = span["how"] == "move"
    given = frames[["sample", "frame", "label"]].assign(then=None if moved else after["label"].to_numpy())
    st.caption("As given, then if accepted" if not moved else "As given")
    _strip(loaded, given, start, stop, "seq-given")
    if moved:
        st.caption("If accepted")
        _strip(loaded, after.assign(then=None), start, stop, "seq-after")


def _strip(loaded, table: pd.DataFrame, start: int, stop: int, key: str) -> None:
    """Frames before, of and after a finding, its first and last among them, in the order of the table."""
    inside = np.linspace(start, stop - 1, INSIDE).round().astype(int).tolist()
    before = range(max(start - AROUND, 0), start)
    after = range(stop, min(stop + AROUND, len(table)))
    tiles = []
    for at in [*before, *dict.fromkeys(inside), *after]:
        row = table.iloc[at]
        badge = "before" if at < start else "after" if at >= stop else ""
        more = {"title": f"{row['frame']}", "given": str(row["label"]), "badge": badge, "dim": bool(badge)}
        if not badge and isinstance(row["then"], str) and row["then"] != row["label"]:
            more["suggested"] = row["then"]
        tiles.append(parts.tile(loaded, int(row["sample"]), **more))
    gallery(tiles, key=key, label="Frames in order", size="small", on_open=drawer.show)
    parts.tell_missing(tiles)


def _prints(loaded, span: pd.Series, edges: dict) -> None:
    lines = view.prints(loaded, named(span), edges)
    if not lines:
        st.caption("The run folder has no losses over time (`timeline.safetensors`).")
        return
    roles = ("conflicting", "given", "suggested")
    drawn = [charts.Line(name, losses, role) for (name, losses), role in zip(lines.items(), roles)]
    figure = charts.loss_print(drawn, dark=parts.dark())
    told = "; ".join(f"{name} end at {losses.iloc[-1]:.2f} nats" for name, losses in lines.items())
    parts.chart(figure, f"Mean loss at each checkpoint of the model over time: {told}", "seq-prints")
