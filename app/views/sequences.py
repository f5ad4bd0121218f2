"""Sequences: which spans of a video have a wrong label, or stand in the wrong place?"""

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.charts import base as charts
from lossprint.app.elements.gallery import gallery
from lossprint.app.elements.keys import KEYS
from lossprint.app.elements.timeline import timeline
from lossprint.app.shared import decide, drawer, guard, parts
from lossprint.app.shared import spans as view
from lossprint.audit.review.reviews import Conflict
from lossprint.audit.types import LossprintError
from lossprint.audit.video import spans
from lossprint.scoring.labels import SUSPECT

CHOSEN, ENDS, LOOKED, AGAIN, REVEAL = "seq-span", "seq-ends", "seq-looked", "_seq-again", "seq-reveal"
KINDS = {"All findings": None, "Wrong label": "sequence_label", "Wrong order": "sequence_order"}
AROUND, INSIDE = 1, 7  # pictures before and after a finding, and of it
LISTED = 500  # findings that can be chosen from a list
WHAT = {"relabel": "Wrong label", "swap": "Labels exchanged", "move": "Blocks exchanged"}
ICONS = {"accept": "check", "keep": "close", "unsure": "help"}


def render(loaded: data.Loaded) -> None:
    parts.header("Sequences", "Which spans of a video have a wrong label, or stand in the wrong place?")
    videos = data.videos(loaded)
    if videos is None:
        _nothing(loaded)
        return
    history = data.reviews(loaded).history()
    said = _said(loaded, videos, history)
    _asked(videos)
    kind, only_found, query = _filters(videos, said)
    shown = videos.spans if kind is None else videos.spans[videos.spans["kind"] == kind]
    span = _chosen(shown)
    if span is not None:
        _finding(loaded, videos, shown, span, said, history)
    elif videos.spans.empty:
        _clean(videos)
    else:
        parts.empty("None of this kind", "Show all findings, at the top, to see the others.", "filter_alt_off")
    _all(loaded, videos, shown, said, only_found, query)
    drawer.draw(loaded, [])


def _said(loaded: data.Loaded, videos: data.Videos, history: pd.DataFrame) -> pd.DataFrame:
    return spans.said(history, videos.spans, loaded.samples["frame"])


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


def _clean(videos: data.Videos) -> None:
    """Nothing was found, and how near to it the videos came."""
    severity = float(videos.frames[["sequence_label", "sequence_order"]].max(axis=None))
    near = f"a finding begins at a severity of {SUSPECT:.2f}, and the highest here is {severity:.2f}"
    if severity > SUSPECT:
        near = "frames stand out here and there, but no span of them whose labels or place another would fit better"
    text = f"No span of frames in {parts.plural(len(videos.rows), 'video')} is suspicious: {near}."
    parts.empty("Nothing found", text)


def _nothing(loaded: data.Loaded) -> None:
    if (loaded.run.path / "timeline.safetensors").exists():
        text = "The videos were looked at, and the findings are missing: run `lossprint score` on this run's folder."
    elif "sequence" in loaded.samples and loaded.samples["sequence"].notna().any():
        text = (
            "The run has video frames, but nothing was looked at over time. That takes at least two training videos "
            "with a number for each frame, and an audit by this version of Lossprint: run `lossprint audit` again."
        )
    else:
        text = (
            "This dataset has no video frames. A manifest with the columns `sequence` and `frame` names the video of "
            "each image and its number in it; a CSV of segments (`sequence,start,end,label`) beside video files "
            "does as well. An example: `lossprint demo --video`"
        )
    parts.empty("No videos here", text, "movie")


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


# ---------------------------------------------------------------------------------------------- one finding


def _finding(loaded, videos, shown, span, said, history) -> None:
    frames = videos.frames.iloc[videos.rows[span["sequence"]]]
    one = _named(span)
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
        _rows(loaded, videos, [span["sequence"]], said, span["span"], edges, label, key="seq-one")
        _strips(loaded, frames, span, edges, label)
        _actions(loaded, videos, shown, span, frames, edges, said, history)
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
            on_change=lambda: _go(st.session_state["seq-list"]),
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
            shortcut=_shortcut(key),
            on_click=_go,
            args=(to,),
            key=f"seq-{text.lower()}",
        )


def _shortcut(key: str) -> str | None:
    """While the drawer of a frame is open, the keys are its."""
    return key if drawer.opened() is None else None


def _label(loaded: data.Loaded, span: pd.Series) -> str | None:
    """The label that a wrong one is to become: as chosen, else as suggested."""
    if span["how"] != "relabel":
        return None
    chosen = st.session_state.get(f"seq-label-{span['span']}")
    return chosen if chosen in loaded.classes else span["suggested_label"]


def _named(span: pd.Series):
    return next(pd.DataFrame([span]).itertuples())


def _state(said: pd.DataFrame, name: str) -> None:
    if name in said.index:
        choice, who = said.at[name, "choice"], said.at[name, "reviewer"]
        st.markdown(f":material/{ICONS[choice]}: {view.CHOICES[choice]} by {parts.md(who)}")


def _edges(span: pd.Series, said: pd.DataFrame) -> dict:
    """The ends that the reviewer gave the finding in this session, or those it has."""
    given = st.session_state.get(ENDS, {}).get(span["span"])
    return given or view.decided_ends(_named(span), said)


def _strips(loaded, frames: pd.DataFrame, span: pd.Series, edges: dict, label: str | None) -> None:
    start, stop, _ = view.positions(frames, **edges)
    after = view.mended(frames, _named(span), edges, label)
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


def _actions(loaded, videos, shown, span, frames, edges, said, history) -> None:
    name, label = span["span"], None
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        if span["how"] == "relabel":
            others = [one for one in loaded.classes if one != span["label"]]
            suggested = others.index(span["suggested_label"])
            label = st.selectbox("Right label", others, index=suggested, key=f"seq-label-{name}", width=200)
        _number_inputs(name, frames, edges)
        if edges != view.decided_ends(_named(span), said):
            icon = ":material/restart_alt:"
            st.button("Ends as found", key="seq-reset", icon=icon, type="tertiary", on_click=_forget, args=(name,))
    yes = {"relabel": f"Relabel as {parts.md(label or '')}", "swap": "Exchange the labels", "move": "Restore the order"}
    args = (loaded, videos, shown, name, label, edges, history)
    with st.container(horizontal=True, gap="small"):
        for text, choice, icon in (
            (yes[span["how"]], "accept", "check"),
            ("Keep as given", "keep", "thumb_up"),
            ("Unsure", "unsure", "help"),
        ):
            st.button(
                text,
                key=f"seq-{choice}-{name}",
                shortcut=_shortcut(KEYS[choice]),
                icon=f":material/{icon}:",
                type="primary" if choice == "accept" else "secondary",
                on_click=_decide,
                args=(choice, *args),
            )
        st.button(
            "Undo my last decision",
            icon=":material/undo:",
            shortcut=_shortcut(KEYS["undo"]),
            key="seq-undo",
            on_click=decide.undo,
            args=(loaded, _back),
        )
    st.caption(
        "Drag the ends on the band, or press `[` or `]` to choose one and move it with the arrow keys, with Shift by "
        "10. `+` and `-` go closer and further away."
    )


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
    else:
        st.session_state["_toast"] = ("The ends have to stay in order, with a frame between them", ":material/info:")


def _forget(name: str) -> None:
    st.session_state.get(ENDS, {}).pop(name, None)


def _prints(loaded, span: pd.Series, edges: dict) -> None:
    lines = view.prints(loaded, _named(span), edges)
    if not lines:
        st.caption("The run folder has no losses over time (`timeline.safetensors`).")
        return
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
    try:
        rows = spans.decide(frames, span, choice, label=label, **edges)
        left = spans.left_over(history, span, rows, frames)
        rows = pd.concat([left.astype(object), rows.astype(object)], ignore_index=True) if len(left) else rows
        rows = rows.assign(finding=name).astype(object)
        decide.store(loaded, rows.where(rows.notna(), None).to_dict("records"), seen=decide.last_seen(history, [name]))
    except Conflict as conflict:
        st.session_state["_error"] = decide.meanwhile(conflict)
        return
    except LossprintError as error:
        st.session_state["_error"] = f"The decision was not stored: {parts.md(error)}"
        return
    changed = int((~rows["decision"].isin(("keep", "unsure"))).sum())
    st.session_state["_toast"] = (
        f"{view.CHOICES[choice].capitalize()}: {changed or len(rows)} frames",
        ":material/check:",
    )
    _forget(name)
    decided = set(_said(loaded, videos, data.reviews(loaded).history()).index)
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
        _rows(loaded, videos, here, said, st.session_state.get(CHOSEN), None, None, key="seq-all")


@guard.fragment
def _rows(loaded, videos, names: list[str], said, chosen, edges: dict | None, label: str | None, *, key: str) -> None:
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
        _go(name)
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
