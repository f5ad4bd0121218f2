"""The map of what is alike: samples near each other look alike to the model; a lasso leads to the bar."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from lossprint.app import data
from lossprint.app.charts import base as charts
from lossprint.app.elements import gallery
from lossprint.app.shared import decide, drawer, guard, parts
from lossprint.app.shared.acting import acts, bar
from lossprint.app.views.map import charts as charts_map
from lossprint.app.views.map import zones
from lossprint.audit.scores import SCORES

DRAWN = 20_000  # points that a browser still draws at once
NAMED = 8  # values with a colour of their own
PER_PAGE = (60, 120, 240)
STEPS = 5_000  # samples that the drawer steps through
AREA = "_alike_area"
TOOLS = {"lasso": "Lasso", "select": "Box", "zoom": "Zoom"}


def table(loaded: data.Loaded) -> pd.DataFrame | None:
    """Where the samples of this run lie: x, y float32, by sample; None where no map was made."""
    found = loaded.run.layout()
    if found is None:
        return None
    found = found[found["sample"].isin(loaded.samples.index)].set_index("sample")[["x", "y"]]
    return found.astype(np.float32).sort_index()


def shown(loaded: data.Loaded) -> np.ndarray:
    """The rows of `table` that are drawn, (n,): all, or so many by chance."""
    number = len(data.derived(loaded, table))
    return np.sort(np.random.default_rng(0).permutation(number)[:DRAWN])


def about(loaded: data.Loaded) -> str:
    """What the map was made of, and how, in a sentence."""
    facts = loaded.run.manifest["facts"].get("find", {}).get("layout") or {}
    of = {"losses": "loss trajectories", "embedding": "network's embedding"}.get(facts.get("of"), "frozen features")
    if facts.get("method") != "tsne":
        how = "The two principal components: a run of few samples, or without `openTSNE` (the extra `map`)."
        return f"Made of the {of}. {how}"
    return f"Made of the {of} by t-SNE of {facts.get('arranged', 0):,} samples, the others placed among them."


@guard.fragment
def page(loaded: data.Loaded) -> None:
    with guard.one_line():
        decide.tell()
        st.session_state[drawer.DRAWN] = False
        _draw(loaded)


def _draw(loaded: data.Loaded) -> None:
    places = data.derived(loaded, table)
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        by = st.selectbox("Colour", _colours(loaded), key="a_colour", bind="query-params", width=200)
        tool = parts.one_of(
            "Dragging", list(TOOLS), default="lasso", key="a_drag", format_func=TOOLS.get, bind="query-params"
        )
    area = _area(loaded)

    def chosen() -> None:
        selection = st.session_state["alike"]["selection"]
        drawn = zones.drawn(selection)
        if drawn is not None:
            _set_area(loaded, drawn)
            return
        points = selection["points"]
        if points and isinstance(points[0].get("customdata"), list):
            drawer.show(int(points[0]["customdata"][0]))

    figure = _figure(loaded, places, by, tool, area)
    st.plotly_chart(
        figure,
        key="alike",
        on_select=chosen,
        selection_mode=("points", "box", "lasso"),
        theme=None,
        config=parts.CHART,
        alt=f"{parts.plural(len(places), 'sample')}, those that look alike to the model near each other, by {by}",
    )
    few = f" {DRAWN:,} of {len(places):,} points are drawn; a lasso takes all within it." if len(places) > DRAWN else ""
    st.caption(f"{about(loaded)} Near means alike; far, and how large or dense a group is, mean nothing.{few}")
    if area is None:
        st.caption("Draw a line around samples to see them here and to act on them.")
        drawer.draw(loaded, [])
        return
    inside = zones.inside(area, places["x"].to_numpy(), places["y"].to_numpy())
    _selection(loaded, places.index.to_numpy()[inside])


def _colours(loaded: data.Loaded) -> list[str]:
    names = ["Label"] if loaded.labelled else []
    names += ["Suggested label"] if loaded.labelled and "suggested_label" in loaded.scores else []
    return [*names, "Split", "Decision", "Tag", *(info.title for name, info in SCORES.items() if loaded.has(name))]


def _values(loaded: data.Loaded, ids: np.ndarray, by: str) -> np.ndarray:
    """What the points are coloured by, (n,): numbers of a score, else texts."""
    if by == "Decision":
        decided = decide.decided(loaded)
        return np.array(
            [decide.BADGE[decided[one]["decision"]][0] if one in decided else "none" for one in ids.tolist()]
        )
    if by == "Tag":
        return np.array([text or "none" for text in acts.tags_of(loaded, ids)])
    if by in ("Label", "Split"):
        return loaded.samples[by.lower()].reindex(ids).astype(str).to_numpy()
    if by == "Suggested label":
        column = loaded.scores["suggested_label"].reindex(ids).astype(object)
        return column.where(column.notna(), "none").astype(str).to_numpy()
    name = next(name for name, info in SCORES.items() if info.title == by)
    return loaded.scores[name].reindex(ids).to_numpy(float)


def _figure(loaded: data.Loaded, places: pd.DataFrame, by: str, tool: str, area) -> go.Figure:
    part = places.iloc[data.derived(loaded, shown)]
    ids, values, dark = part.index.to_numpy(), _values(loaded, part.index.to_numpy(), by), parts.dark()
    figure = charts.base_figure(dark, 620, "", "", legend=True)
    size = 6 if len(part) < 3_000 else 4

    def points(rows: np.ndarray, name: str, marker: dict) -> None:
        given = loaded.samples["label"].reindex(ids[rows]).astype(str)
        figure.add_trace(
            go.Scattergl(
                x=part["x"].to_numpy()[rows],
                y=part["y"].to_numpy()[rows],
                mode="markers",
                name=charts.text(name),
                customdata=ids[rows][:, None],
                text=[f"#{one} {charts.text(label)}" for one, label in zip(ids[rows].tolist(), given)],
                hovertemplate="%{text}<extra></extra>",
                marker={"size": size, "opacity": 0.75, **marker},
            )
        )

    if values.dtype.kind == "f":
        known = np.isfinite(values)
        points(~known, "no score", {"color": charts.palette(dark).muted})
        low, high = np.quantile(values[known], [0.02, 0.98]) if known.any() else (0, 1)
        scale = {"colorscale": "Viridis", "cmin": low, "cmax": high, "showscale": True, "colorbar": {"title": by}}
        points(known, by, {"color": values[known], **scale})
    else:
        names, counts = np.unique(values, return_counts=True)
        frequent = [name for name in names[np.argsort(-counts, kind="stable")] if name != "none"][:NAMED]
        points(~np.isin(values, frequent), "others", {"color": charts.palette(dark).muted})
        for name, colour in zip(frequent, charts.class_colours(len(frequent))):
            points(values == name, str(name), {"color": colour})
    if area is not None:
        charts_map.outline(figure, area, charts.palette(dark))
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    figure.update_layout(dragmode=tool, uirevision="alike")
    return figure


def _area(loaded: data.Loaded):
    asked = parts.url_asks("alike")
    if asked is not None:
        _set_area(loaded, zones.read_area(asked))
    run, text = st.session_state.get(AREA, (None, None))
    text = text if run == loaded.key[0] else None
    parts.write_url("alike", text)
    return zones.read_area(text)


def _set_area(loaded: data.Loaded, area) -> None:
    st.session_state[AREA] = (loaded.key[0], zones.write_area(area))
    st.session_state["a_page"] = 1


def _selection(loaded: data.Loaded, ids: np.ndarray) -> None:
    """What lies within, the most suspicious label first: the bar, and a gallery."""
    if "label_error" in loaded.scores:
        doubt = loaded.scores["label_error"].reindex(ids).fillna(-1).to_numpy()
        ids = ids[np.argsort(-doubt, kind="stable")]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        bar.draw(loaded, acts.Selection(ids, "within the line", "alike", "from the map"))
        st.button("Clear", key="a_clear", icon=":material/close:", on_click=_set_area, args=(loaded, None))
    bar.draw_ticked(loaded, "alike-gallery")
    if not len(ids):
        parts.empty("Nothing in there", "Draw a larger area.", "highlight_alt")
        drawer.draw(loaded, [])
        return
    slot = st.container()
    number = parts.pages(-(-len(ids) // PER_PAGE[0]), "a_page")
    page_ids = ids[(number - 1) * PER_PAGE[0] : number * PER_PAGE[0]]
    history = data.reviews(loaded).history()  # first: never newer than what is shown
    on_act = acts.of_tiles(loaded, page_ids, "alike-gallery", history)
    decided = decide.decided(loaded)
    tiles = [
        parts.tile(
            loaded,
            one,
            given=str(loaded.samples.at[one, "label"]),
            suggested=parts.suggestion(loaded, one) or "",
            **decide.badge(decided.get(one)),
        )
        for one in page_ids.tolist()
    ]
    drawer.draw(loaded, ids[:STEPS].tolist() if drawer.opened() is not None else [])
    with slot:
        parts.begins("alike-top", number)
        parts.tell_missing(tiles)
        gallery(
            tiles,
            key="alike-gallery",
            label="samples within the line, most suspicious label first",
            size="small",
            selected=drawer.opened(),
            on_open=drawer.show,
            on_act=on_act,
            more=True,
            labels=decide.labels(loaded) if loaded.labelled else (),
        )
