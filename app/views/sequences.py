"""Sequences: which stretches of a video have a wrong label, or stand in the wrong place?"""

import pandas as pd
import streamlit as st

from lossprint.app import charts, data, decide, detail, parts
from lossprint.app import sequences as view
from lossprint.app.gallery.gallery import gallery
from lossprint.app.gallery.timeline import timeline
from lossprint.audit import spans
from lossprint.audit.types import LossprintError

CHOSEN, ENDS, LOOKED, AGAIN = "seq-span", "seq-ends", "seq-looked", "_seq-again"
KINDS = {"All findings": None, "Wrong label": "sequence_label", "Wrong order": "sequence_order"}
AROUND, INSIDE = 2, 8  # pictures before and after a finding, and of it
ICONS = {"accept": "check", "keep": "close", "unsure": "help"}


def render(loaded: data.Loaded) -> None:
    parts.header("Sequences", "Which stretches of a video have a wrong label, or stand in the wrong place?")
    videos = data.videos(loaded)
    if videos is None:
        _nothing(loaded)
        return
    history = data.reviews(loaded).history()
    said = spans.said(history, videos.spans)
    kind, only_found, query = _filters(videos, said)
    shown = videos.spans if kind is None else videos.spans[videos.spans["kind"] == kind]
    span = _chosen(shown)
    if videos.spans.empty:
        parts.empty(
            "Nothing found", f"No stretch of frames in {parts.plural(len(videos.rows), 'video')} is suspicious."
        )
    elif span is not None:
        _finding(loaded, videos, shown, span, said, history)
    _all(loaded, videos, shown, said, only_found, query)
    detail.drawer(loaded, [])


def _nothing(loaded: data.Loaded) -> None:
    if "sequence" in loaded.samples and loaded.samples["sequence"].notna().any():
        text = (
            "The run has video frames, but nothing was looked at over time. That takes at least two training videos "
            "with a number for each frame, and an audit by this version of Lossprint."
        )
    else:
        text = (
            "This dataset has no video frames. A manifest with the columns `sequence` and `frame` names the video of "
            "each image and its number in it; `lossprint demo --video` shows an example."
        )
    parts.empty("No videos here", text, "movie")


def _filters(videos: data.Videos, said: pd.DataFrame) -> tuple[str | None, bool, str]:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        kind = st.selectbox("Show", list(KINDS), key="seq-kind", width=170)
        query = st.text_input("Video", key="seq-query", placeholder="name", width=170, max_chars=200)
        only = st.toggle("Only videos with findings", key="seq-only", value=bool(len(videos.spans)))
        st.space("stretch")
        done, of = int(videos.spans["span"].isin(said.index).sum()), len(videos.spans)
        if of:
            st.caption(f"**{done} of {of}** findings decided in {parts.plural(len(videos.rows), 'video')}")
    return KINDS[kind], only, query.strip().lower()


def _chosen(shown: pd.DataFrame) -> pd.Series | None:
    """The finding that the URL or the session names, else the first of those shown."""
    asked = parts.url_asks("span")
    if asked is not None:
        st.session_state[CHOSEN] = asked
    names = shown["span"].tolist()
    if not names:
        return None
    if st.session_state.get(CHOSEN) not in names:
        sequence = st.query_params.get("sequence")
        mine = shown.loc[shown["sequence"] == sequence, "span"]
        st.session_state[CHOSEN] = names[0] if mine.empty else str(mine.iloc[0])
    parts.write_url("span", st.session_state[CHOSEN])
    return shown[shown["span"] == st.session_state[CHOSEN]].iloc[0]


# ---------------------------------------------------------------------------------------------- one finding


def _finding(loaded, videos, shown, span, said, history) -> None:
    frames = videos.frames.iloc[videos.rows[span["sequence"]]]
    names = shown["span"].tolist()
    at = names.index(span["span"])
    edges = _edges(span, frames, said)
    with st.container(border=True, key="seq-card"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            what = {"relabel": "Wrong label", "swap": "Labels exchanged", "move": "Blocks exchanged"}[span["how"]]
            st.markdown(f"**{what}** in {parts.md(span['sequence'])} :gray-badge[severity {span['severity']:.2f}]")
            _state(said, span["span"])
            st.space("stretch")
            st.caption(f"{at + 1} of {len(names)}")
            st.button(
                "Previous",
                icon=":material/arrow_back:",
                shortcut="P",
                on_click=_go,
                args=(names[at - 1],),
                key="seq-prev",
            )
            st.button(
                "Next",
                icon=":material/arrow_forward:",
                shortcut="J",
                on_click=_go,
                args=(names[(at + 1) % len(names)],),
                key="seq-next",
            )
        st.markdown(parts.md(view.claim(_named(span), edges)))
        _rows(loaded, videos, [span["sequence"]], said, span["span"], edges, key="seq-one")
        _strips(loaded, frames, span, edges)
        _actions(loaded, videos, shown, span, frames, edges, history)
        with st.expander("Loss prints of these frames", icon=":material/show_chart:"):
            _prints(loaded, span, edges)


def _named(span: pd.Series):
    return next(pd.DataFrame([span]).itertuples())


def _state(said: pd.DataFrame, name: str) -> None:
    if name in said.index:
        choice, who = said.at[name, "choice"], said.at[name, "reviewer"]
        st.markdown(f":material/{ICONS[choice]}: {view.CHOICES[choice]} by {parts.md(who)}")


def _edges(span: pd.Series, frames: pd.DataFrame, said: pd.DataFrame) -> dict:
    """The ends that the reviewer gave the finding in this session, or those it has."""
    given = st.session_state.get(ENDS, {}).get(span["span"])
    return given or view.decided_ends(frames, _named(span), said)


def _strips(loaded, frames: pd.DataFrame, span: pd.Series, edges: dict) -> None:
    start, stop, _ = view.positions(frames, **edges)
    st.caption("As given")
    _strip(loaded, frames[["sample", "frame", "label"]], start, stop, "seq-given")
    if span["how"] == "move":
        st.caption("As it would be")
        _strip(loaded, view.mended(loaded, frames, _named(span), edges), start, stop, "seq-after")


def _strip(loaded, table: pd.DataFrame, start: int, stop: int, key: str) -> None:
    """Frames before, of and after a finding, in the order of the table."""
    inside = [start + int((at + 0.5) * (stop - start) / INSIDE) for at in range(INSIDE)]
    before = range(max(start - AROUND, 0), start)
    after = range(stop, min(stop + AROUND, len(table)))
    tiles = []
    for at in [*before, *dict.fromkeys(inside), *after]:
        row = table.iloc[at]
        badge = "before" if at < start else "after" if at >= stop else ""
        more = {"title": f"{row['frame']}", "given": str(row["label"]), "badge": badge, "dim": bool(badge)}
        tiles.append(parts.tile(loaded, int(row["sample"]), **more))
    gallery(tiles, key=key, label="Frames in order", size="small", strip=True, on_open=detail.show)
    parts.tell_missing(tiles)


def _actions(loaded, videos, shown, span, frames, edges, history) -> None:
    name, label = span["span"], None
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        if span["how"] == "relabel":
            others = [one for one in loaded.classes if one != span["label"]]
            suggested = others.index(span["suggested_label"])
            label = st.selectbox("Right label", others, index=suggested, key=f"seq-label-{name}", width=220)
        _number_inputs(name, frames, edges)
    yes = {"relabel": f"Relabel as {parts.md(label or '')}", "swap": "Exchange the labels", "move": "Restore the order"}
    args = (loaded, videos, shown, name, label, edges, history)
    with st.container(horizontal=True, gap="small"):
        for text, choice, key, icon in (
            (yes[span["how"]], "accept", "A", "check"),
            ("Keep as given", "keep", "K", "thumb_up"),
            ("Unsure", "unsure", "N", "help"),
        ):
            st.button(
                text,
                key=f"seq-{choice}-{name}",
                shortcut=key,
                icon=f":material/{icon}:",
                type="primary" if choice == "accept" else "secondary",
                on_click=_decide,
                args=(choice, *args),
            )
        decide.undo_button(loaded, _back, key="seq-undo")
    st.caption("Drag the ends on the band; or focus it: `[` and `]` choose an end, arrows move it, with Shift by 10.")


def _number_inputs(name: str, frames: pd.DataFrame, edges: dict) -> None:
    low, high = int(frames["frame"].min()), int(frames["frame"].max())
    labels = {"start": "First frame", "middle": "Second block from", "end": "Last frame"}
    asked = [one for one in labels if edges[one] is not None]
    for one in asked:
        key = f"seq-{one}-{name}"
        st.session_state[key] = min(max(edges[one], low), high)
        args = (name, frames, edges, one)
        st.number_input(labels[one], low, high, key=key, step=1, width=170, on_change=_typed, args=args)


def _typed(name: str, frames: pd.DataFrame, edges: dict, one: str) -> None:
    new = edges | {one: int(st.session_state[f"seq-{one}-{name}"])}
    start, stop, middle = view.positions(frames, **new)
    if start < (stop if middle is None else middle) and (middle is None or middle < stop):
        st.session_state.setdefault(ENDS, {})[name] = new


def _prints(loaded, span: pd.Series, edges: dict) -> None:
    lines = view.prints(loaded, _named(span), edges)
    roles = ("conflicting", "given", "suggested")
    drawn = [charts.Line(name, losses, role) for (name, losses), role in zip(lines.items(), roles)]
    figure = charts.loss_print(drawn, dark=parts.dark())
    told = "; ".join(f"{name} end at {losses.iloc[-1]:.2f} nats" for name, losses in lines.items())
    parts.chart(figure, f"Mean loss at each checkpoint of the model over time: {told}", "seq-prints")


# ---------------------------------------------------------------------------------------------- decisions


def _decide(
    choice: str, loaded, videos, shown, name: str, label: str | None, edges: dict, history: pd.DataFrame
) -> None:
    span = videos.spans[videos.spans["span"] == name].iloc[0]
    frames = videos.frames.iloc[videos.rows[span["sequence"]]]
    mine = history[history["finding"] == name]
    try:
        rows = spans.decide(frames, span, choice, label=label, **edges)
        decide.store_rows(loaded, name, rows, seen=int(mine["id"].max()) if len(mine) else 0)
    except LossprintError as error:
        st.session_state["_error"] = f"The decision was not stored: {error}"
        return
    changed = int((~rows["decision"].isin(("keep", "unsure"))).sum())
    st.session_state["_toast"] = (
        f"{view.CHOICES[choice].capitalize()}: {changed or len(rows)} frames",
        ":material/check:",
    )
    st.session_state.get(ENDS, {}).pop(name, None)
    decided = set(spans.said(data.reviews(loaded).history(), videos.spans).index)
    names = shown["span"].tolist()
    at = names.index(name)
    rest = [one for one in names[at + 1 :] + names[:at] if one not in decided]
    if rest:
        _go(rest[0])


def _go(name: str) -> None:
    st.session_state[CHOSEN] = name


def _back(row) -> None:
    _go(row.finding)


# ---------------------------------------------------------------------------------------------- all videos


def _all(loaded, videos, shown, said, only_found: bool, query: str) -> None:
    found = set(shown["sequence"])
    names = [name for name in videos.rows if (name in found or not only_found) and query in name.lower()]
    if not names:
        parts.empty("No such video", "No video has this in its name, or none has such findings.", "search_off")
        return
    st.subheader("All videos" if not only_found else "Videos with findings")
    per = parts.per_page((12, 24, 48), "seq-per") if len(names) > 12 else 12
    pages = -(-len(names) // per)
    page = 1
    if pages > 1:
        page = st.number_input(f"Page, of {pages}", 1, pages, key="seq-page", width=140)
    here = names[(page - 1) * per : page * per]
    _rows(loaded, videos, here, said, st.session_state.get(CHOSEN), None, key="seq-all")


@st.fragment
def _rows(loaded, videos, names: list[str], said, chosen: str | None, edges: dict | None, key: str) -> None:
    """The rows of some videos. What the pointer asks for is drawn without the rest of the page."""
    if st.session_state.pop(AGAIN, False):
        st.rerun()
    looked, position, pictures = st.session_state.pop(LOOKED, ("", 0, False))
    alone = len(names) == 1 and edges is not None
    rows = [
        view.row(loaded, name, said, chosen if alone else None, edges, pictures and name == looked) for name in names
    ]

    def look(*asked) -> None:
        st.session_state[LOOKED] = asked

    def pick(name: str) -> None:
        _go(name)
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
        chosen=chosen if alone else None,
        key=key,
        on_pick=pick,
        on_look=look,
        on_ends=move,
        frame=view.picture(loaded, looked, position) if looked in names else None,
    )
