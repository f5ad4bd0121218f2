"""The triage map as a figure: density for the crowd, points for the extremes, zones, the chosen area. No Streamlit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from lossprint.app.charts import base as charts
from lossprint.app.views.map import zones

HEIGHT = 520
# Blue is the given label on every page, and hard samples are those whose given label was ahead.
ROLES = {"wrong": "conflicting", "hard": "given", "aligned": "aligned", "redundant": "test"}
SYMBOLS = {"wrong": "diamond", "hard": "triangle-up", "aligned": "circle", "redundant": "square"}
CLIPS = {  # the same in CSS, for the mark before a zone's name
    "wrong": "polygon(50% 0, 100% 50%, 50% 100%, 0 50%)",
    "hard": "polygon(50% 6%, 100% 94%, 0 94%)",
    "aligned": "circle(46%)",
    "redundant": "inset(8%)",
}


@dataclass(frozen=True)
class Points:
    """P samples to draw one by one: where (P,), their true scores, id, label, zone (code of zones.membership), flag."""

    x: np.ndarray
    y: np.ndarray
    across: np.ndarray
    up: np.ndarray
    sample: np.ndarray
    label: Sequence[str]
    zone: np.ndarray
    flagged: np.ndarray


def swatch(name: str, dark: bool) -> str:
    """The mark of a zone as HTML, to stand before its name."""
    colour = getattr(charts.palette(dark), ROLES[name])
    return (
        f'<span aria-hidden="true" style="flex:none;width:12px;height:12px;background:{colour};'
        f'clip-path:{CLIPS[name]}"></span>'
    )


def triage_map(
    ranges: tuple[tuple[float, float], tuple[float, float]],
    crowd: np.ndarray,
    points: Points,
    regions: Sequence[zones.Region],
    *,
    titles: tuple[str, str],
    names: tuple[str, str],
    dark: bool,
    mine: np.ndarray | None = None,
    zone: str | None = None,
    area: zones.Area | None = None,
    tool: str = "select",
    height: int = HEIGHT,
) -> go.Figure:
    """Two scores against each other. `ranges`: (low, high) across and up.

    `crowd` are counts by cell (rows up, columns across); `mine` those of the chosen `zone`, which is then in colour
    while everything else steps back. `tool` is what dragging does: select, lasso or zoom. `titles` name the axes,
    `names` the scores.
    """
    colours = charts.palette(dark)
    figure = charts.base_figure(dark, height, *titles, legend=False)
    for region in regions:
        _region(figure, region, ranges, colours, zone)
    _heat(figure, crowd, ranges, colours.muted, 0.75 if zone is None else 0.4)
    if mine is not None and zone is not None:
        _heat(figure, mine, ranges, getattr(colours, ROLES[zone]), 0.9)
    for code, name in [(0, None), *reversed(list(enumerate(zones.NAMES, 1)))]:
        _points(figure, points, code, name, names, colours, zone)
    if not len(points.x):  # Plotly lets nobody draw a box on a figure without points
        (x, _), (y, _) = ranges
        figure.add_scatter(x=[x], y=[y], mode="markers", marker={"opacity": 0}, hoverinfo="skip")
    if area is not None:
        outline(figure, area, colours)
    for update, (low, high) in zip((figure.update_xaxes, figure.update_yaxes), ranges):
        pad = 0.02 * (high - low)
        update(range=[low - pad, high + pad])
    figure.update_layout(
        hovermode="closest",
        dragmode=tool,
        newselection={"line": {"color": colours.ink, "width": 2, "dash": "dot"}, "mode": "immediate"},
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
    )
    return figure


def _heat(figure: go.Figure, counts: np.ndarray, ranges, colour: str, most: float) -> None:
    if not counts.any():
        return
    centres = []
    for (low, high), many in zip(ranges, counts.shape[::-1]):
        edges = np.linspace(low, high, many + 1)
        centres.append(((edges[:-1] + edges[1:]) / 2).round(6))
    shown = np.where(counts > 0, np.log10(np.maximum(counts, 1)), np.nan)
    figure.add_heatmap(
        x=centres[0],
        y=centres[1],
        z=shown.round(3),
        zmin=0,
        zmax=float(np.log10(counts.max())) or 1.0,
        customdata=counts,
        colorscale=[[0, charts.tint(colour, 0.1 * most)], [1, charts.tint(colour, most)]],
        showscale=False,
        hoverongaps=False,
        hovertemplate="%{customdata:,} samples here<extra></extra>",
    )


def _points(figure: go.Figure, points: Points, code: int, name: str | None, names, colours, zone: str | None) -> None:
    rows = np.flatnonzero(points.zone == code)
    if not len(rows):
        return
    chosen = zone is None or name == zone
    flagged = points.flagged[rows]
    figure.add_scatter(
        x=points.x[rows],
        y=points.y[rows],
        mode="markers",
        name=zones.ZONES[name].title if name else "no zone",
        # Lists: of an array the browser would send back an object.
        customdata=np.column_stack([points.sample[rows], points.across[rows], points.up[rows]]).tolist(),
        text=[charts.text(points.label[row]) for row in rows],
        marker={
            "symbol": SYMBOLS[name] if name else "circle",
            "size": np.where(flagged, 8, 6 if name else 5),
            "color": getattr(colours, ROLES[name]) if name else colours.muted,
            "opacity": (0.85 if name else 0.5) if chosen else 0.15,
            "line": {"width": np.where(flagged & chosen, 1.0, 0.0), "color": colours.ink},
        },
        # Plotly fades what is not in its own selection, which ends with the density; ours is the outline.
        selected={"marker": {"opacity": 0.9}},
        unselected={"marker": {"opacity": (0.85 if name else 0.5) if chosen else 0.15}},
        hovertemplate="%{text} · sample %{customdata[0]}<br>"
        + f"{names[0]}: %{{customdata[1]:.3g}}<br>{names[1]}: %{{customdata[2]:.3g}}<extra>"
        + (zones.ZONES[name].title if name else "no zone")
        + "</extra>",
    )


def _region(figure: go.Figure, region: zones.Region, ranges, colours, zone: str | None) -> None:
    """A shaded rectangle with its name, dotted where it shows only where a zone's samples mostly are."""
    own = zone in region.whose
    if zone is not None and not own:
        return
    first = zone if own else region.whose[0]
    colour = getattr(colours, ROLES[first])
    sides = []
    for (low, high), (least, most) in zip((region.x, region.y), ranges):
        pad = 0.02 * (most - least)  # a rule without an end reaches the frame
        sides.append((low - pad if low <= least else low, high + pad if high >= most else high))
    (x0, x1), (y0, y1) = sides
    figure.add_shape(
        type="rect",
        x0=x0,
        x1=x1,
        y0=y0,
        y1=y1,
        layer="below" if region.exact else "above",
        fillcolor=charts.tint(colour, 0.1) if region.exact else "rgba(0,0,0,0)",
        line={
            "color": charts.tint(colour, 0.9),
            "width": 1.2 if region.exact else 2,
            "dash": None if region.exact else "dot",
        },
    )
    low = region.exact and y0 < ranges[1][0] and y1 < ranges[1][1]
    small = x1 - x0 < 0.12 * (ranges[0][1] - ranges[0][0])  # its name would cover it
    right = x0 > ranges[0][0] and x1 > ranges[0][1]
    figure.add_annotation(
        x=x1 if right or small else x0,
        y=y0 if low else y1,
        xanchor="right" if right else "left",
        yanchor="bottom" if low else "top",
        xshift=3 if small and not right else 0,
        text=" / ".join(zones.ZONES[name].title for name in ((zone,) if own else region.whose)),
        showarrow=False,
        font={"size": 13, "color": colours.ink, "weight": 600},
        bgcolor=charts.tint("#10161d" if colours is charts.DARK else "#ffffff", 0.72),
        borderpad=2,
    )


def outline(figure: go.Figure, area: zones.Area, colours) -> None:
    style = {
        "fillcolor": charts.tint(colours.ink, 0.07),
        "line": {"color": colours.ink, "width": 2, "dash": "dash"},
        "name": "chosen",
    }
    if area.kind == "box":
        (x0, y0), (x1, y1) = area.corners
        figure.add_shape(type="rect", x0=x0, x1=x1, y0=y0, y1=y1, **style)
    else:
        path = "M" + "L".join(f"{x:g},{y:g}" for x, y in area.corners) + "Z"
        figure.add_shape(type="path", path=path, **style)
