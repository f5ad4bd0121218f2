"""Figures from tables and arrays. Knows no Streamlit.

Colours are Okabe and Ito's, which people with colour-blindness tell apart, and mean the same on every page. Backgrounds
are transparent; the colours that must stand out against one come in a light and a dark form.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

FEW = 5_000  # up to here points are drawn without WebGL, which not every browser has
MANY = 20_000  # from here on the mass is drawn as density
HEIGHT = 300
FONT = '"Source Sans", "Source Sans 3", system-ui, sans-serif'


@dataclass(frozen=True)
class Palette:
    """Which colour means what."""

    ink: str
    muted: str
    grid: str
    given: str
    suggested: str
    aligned: str
    conflicting: str
    test: str


LIGHT = Palette("#1c2733", "#6b7885", "#e3e9ee", "#0072b2", "#b25d96", "#009e73", "#d55e00", "#e69f00")
DARK = Palette("#e6edf3", "#94a3b0", "#26323d", "#56b4e9", "#e19cc4", "#2fc79a", "#ee8042", "#f0b73a")


def palette(dark: bool) -> Palette:
    return DARK if dark else LIGHT


@dataclass(frozen=True)
class Line:
    """One trajectory to draw: its name in the legend, its losses by checkpoint, and what it is (a field of Palette)."""

    name: str
    losses: pd.Series
    role: str = "given"
    thin: bool = False


def text(label: object) -> str:
    """A label as text in a figure: Plotly reads a little HTML, and labels may hold anything."""
    shown = " ".join(str(label).split())
    return html.escape(shown if len(shown) <= 40 else shown[:39] + "…")


def tint(colour: str, alpha: float) -> str:
    """A hex colour with an opacity."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def _figure(dark: bool, height: int, x: str, y: str, legend: bool = True) -> go.Figure:
    colours = palette(dark)
    axis = {
        "gridcolor": colours.grid,
        "zerolinecolor": colours.grid,
        "linecolor": colours.grid,
        "tickfont": {"color": colours.muted, "size": 12},
        "title": {"font": {"color": colours.muted, "size": 12}, "standoff": 10},
        "zeroline": False,
        "ticks": "",
        "automargin": True,
    }
    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 12, "t": 34 if legend else 12, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        template=None,
        font={"color": colours.ink, "size": 12, "family": FONT},
        showlegend=legend,
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "xanchor": "left",
            "yanchor": "bottom",
            "font": {"color": colours.ink, "size": 12},
            "bgcolor": "rgba(0,0,0,0)",
            "itemclick": False,
            "itemdoubleclick": False,
        },
        hoverlabel={"font": {"size": 12, "family": FONT}},
        dragmode=False,
        bargap=0.25,
    )
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    figure.update_xaxes(title_text=x)
    figure.update_yaxes(title_text=y)
    return figure


def _whole_steps(figure: go.Figure, values: Sequence) -> None:
    """Ticks at whole checkpoints."""
    if len(values) and len(values) <= 12:
        figure.update_xaxes(tickvals=list(values))
    figure.update_xaxes(tickformat="d")


# ---------------------------------------------------------------------------------------------- trajectories


def loss_print(
    lines: Sequence[Line],
    *,
    dark: bool,
    mean: pd.Series | None = None,
    low: pd.Series | None = None,
    high: pd.Series | None = None,
    band: str = "class",
    height: int = HEIGHT,
) -> go.Figure:
    """Loss by checkpoint of some samples, over a class's mean and its band of 10 to 90 %."""
    colours = palette(dark)
    figure = _figure(dark, height, "checkpoint", "loss (nats)")
    if low is not None and high is not None:
        figure.add_scatter(
            x=[*low.index, *high.index[::-1]],
            y=[*low, *high[::-1]],
            fill="toself",
            fillcolor=tint(colours.muted, 0.22),
            line={"width": 0},
            hoverinfo="skip",
            name="10–90 %",
            mode="lines",
        )
    if mean is not None:
        figure.add_scatter(
            x=mean.index,
            y=mean,
            mode="lines",
            name=text(band),
            line={"color": colours.muted, "width": 2, "dash": "dot"},
            hovertemplate="checkpoint %{x}: %{y:.3f} nats<extra>" + text(band) + "</extra>",
        )
    seen = set()
    for line in lines:
        many = len(line.losses) > 40
        figure.add_scatter(
            x=line.losses.index,
            y=line.losses,
            mode="lines" if line.thin or many else "lines+markers",
            name=text(line.name),
            legendgroup=line.name,
            showlegend=line.name not in seen,
            line={"color": getattr(colours, line.role), "width": 1.4 if line.thin else 2.6},
            marker={"size": 5},
            opacity=0.75 if line.thin else 1,
            hovertemplate="checkpoint %{x}: %{y:.3f} nats<extra>" + text(line.name) + "</extra>",
        )
        seen.add(line.name)
    steps = max((line.losses.index for line in lines), key=len, default=[])
    _whole_steps(figure, steps)
    figure.update_yaxes(rangemode="tozero")
    return figure


def learning(frame: pd.DataFrame, what: str, *, dark: bool, height: int = 300) -> go.Figure:
    """`loss` or `accuracy` of the training and the validation split by checkpoint."""
    colours = palette(dark)
    title = "mean loss (nats)" if what == "loss" else "accuracy (%)"
    figure = _figure(dark, height, "checkpoint", title)
    for split, name, colour, dash in (
        ("train", "training", colours.given, "solid"),
        ("val", "validation", colours.muted, "solid"),
    ):
        part = frame[frame["split"] == split]
        values = part[what] * (100 if what == "accuracy" else 1)
        if part.empty or values.isna().all():
            continue
        shape = "%{y:.1f} %" if what == "accuracy" else "%{y:.3f} nats"
        figure.add_scatter(
            x=part["checkpoint"],
            y=values,
            name=name,
            mode="lines+markers" if len(part) <= 40 else "lines",
            line={"color": colour, "width": 2.2, "dash": dash},
            marker={"size": 5},
            hovertemplate="checkpoint %{x}: " + shape + f"<extra>{name}</extra>",
        )
    _whole_steps(figure, sorted(frame["checkpoint"].unique()))
    if what == "accuracy":
        figure.update_yaxes(range=[0, 100])
    else:
        figure.update_yaxes(rangemode="tozero")
    return figure


# ---------------------------------------------------------------------------------------------- the dataset


def class_bars(counts: dict[str, pd.Series], *, dark: bool, unit: str = "samples", top: int = 30) -> go.Figure:
    """Bars by class, one colour a series: {series name: counts indexed by class}. At most `top` classes are drawn."""
    colours = palette(dark)
    whole = pd.concat(counts.values(), axis=1).fillna(0).sum(axis=1)
    order = whole.sort_values(ascending=False, kind="stable").index[:top]
    figure = _figure(dark, 60 + 21 * len(order) + 12 * len(counts), unit, "", legend=len(counts) > 1)
    hues = [colours.given, colours.muted, colours.test]
    for (name, series), hue in zip(counts.items(), hues):
        values = series.reindex(order).fillna(0)
        figure.add_bar(
            y=[text(label) for label in order],
            x=values,
            orientation="h",
            name=text(name),
            marker={"color": hue, "line": {"width": 0}},
            hovertemplate="%{y}: %{x:,.6~g} " + unit + "<extra>" + text(name) + "</extra>",
        )
    figure.update_yaxes(autorange="reversed", gridcolor="rgba(0,0,0,0)", type="category", tickmode="linear")
    figure.update_layout(barmode="group", bargap=0.3, bargroupgap=0.05)
    return figure


def histogram(values: pd.Series, *, dark: bool, unit: str, suspect: str = "none", height: int = 190) -> go.Figure:
    """How a score is distributed; the suspect end (about 5 % of the samples) is coloured."""
    colours = palette(dark)
    figure = _figure(dark, height, unit, "samples", legend=False)
    values = values.replace([np.inf, -np.inf], np.nan).dropna()
    if values.empty:
        return figure
    low, high = np.quantile(values, [0.002, 0.998])
    edges = np.linspace(low, high if high > low else low + 1, 41)
    counts, _ = np.histogram(values.clip(edges[0], edges[-1]), edges)
    centres = (edges[:-1] + edges[1:]) / 2
    hue = np.full(len(centres), colours.given, dtype=object)
    if suspect == "high":
        hue[centres > np.quantile(values, 0.95)] = colours.conflicting
    elif suspect == "low":
        hue[centres < np.quantile(values, 0.05)] = colours.conflicting
    figure.add_bar(
        x=centres,
        y=counts,
        width=(edges[1] - edges[0]) * 0.92,
        marker={"color": list(hue), "line": {"width": 0}},
        hovertemplate="about %{x:.3g}: %{y:,} samples<extra></extra>",
    )
    figure.update_yaxes(nticks=4)
    return figure


# ---------------------------------------------------------------------------------------------- scores


def scatter(
    frame: pd.DataFrame,
    x: str,
    y: str,
    *,
    titles: tuple[str, str],
    dark: bool,
    chosen: int | None = None,
    height: int = 460,
) -> go.Figure:
    """Two scores against each other, a point a sample. `frame` has sample, label, flag (bool) and the two columns.

    Beyond `MANY` points the mass is drawn as density, with the extremes and the flagged as points.
    """
    colours = palette(dark)
    figure = _figure(dark, height, *titles)
    frame = frame[["sample", "label", "flag", x, y]].replace([np.inf, -np.inf], np.nan).dropna(subset=[x, y])
    points = frame
    if len(frame) > MANY:
        figure.add_histogram2d(
            x=frame[x],
            y=frame[y],
            nbinsx=80,
            nbinsy=60,
            zmin=0.5,
            colorscale=[[0, tint(colours.given, 0)], [0.02, tint(colours.given, 0.25)], [1, tint(colours.given, 0.95)]],
            showscale=False,
            hovertemplate="%{z:,} samples<extra></extra>",
        )
        points = extremes(frame, x, y)
    kind = go.Scatter if len(points) <= FEW else go.Scattergl
    for flag, name, colour in ((False, "not flagged", colours.given), (True, "flagged label", colours.conflicting)):
        part = points[points["flag"] == flag]
        if part.empty:
            continue
        figure.add_trace(
            kind(
                x=part[x],
                y=part[y],
                mode="markers",
                name=name,
                customdata=part["sample"],
                text=[text(label) for label in part["label"]],
                marker={
                    "size": 7 if flag else 5,
                    "color": colour,
                    "opacity": 0.85 if flag else 0.45,
                    "line": {"width": 0},
                },
                selected={"marker": {"opacity": 0.95}},
                unselected={"marker": {"opacity": 0.85 if flag else 0.45}},
                hovertemplate="%{text} · sample %{customdata}<br>"
                + f"{titles[0]}: %{{x:.3g}}<br>{titles[1]}: %{{y:.3g}}<extra></extra>",
            )
        )
    if chosen is not None and chosen in frame["sample"].to_numpy():
        row = frame[frame["sample"] == chosen].iloc[0]
        figure.add_scatter(
            x=[row[x]],
            y=[row[y]],
            mode="markers",
            name="this sample",
            hoverinfo="skip",
            marker={"size": 17, "symbol": "circle-open", "color": colours.ink, "line": {"width": 3}},
        )
    figure.update_layout(clickmode="event+select", hovermode="closest", dragmode="pan")
    return figure


def extremes(frame: pd.DataFrame, x: str, y: str, top: int = 2000) -> pd.DataFrame:
    """The flagged samples and those farthest out, by rank in either score: what is worth a point of its own."""
    ranks = frame[[x, y]].rank(pct=True)
    far = (ranks - 0.5).abs().max(axis=1) + frame["flag"] * 1.0
    return frame.loc[far.nlargest(top).index]


def percentiles(frame: pd.DataFrame, *, dark: bool) -> go.Figure:
    """Where a sample's scores lie among its class. `frame` has title, percent (0 to 100), suspect (high, low, none)."""
    colours = palette(dark)
    figure = _figure(dark, 40 + 30 * len(frame), "percentile within its class", "", legend=False)
    titles = [text(title) for title in frame["title"]]
    for title in titles:
        figure.add_scatter(
            x=[0, 100], y=[title, title], mode="lines", line={"color": colours.grid, "width": 5}, hoverinfo="skip"
        )
    odd = [
        (suspect == "high" and percent >= 95) or (suspect == "low" and percent <= 5)
        for percent, suspect in zip(frame["percent"], frame["suspect"])
    ]
    figure.add_scatter(
        x=frame["percent"],
        y=titles,
        mode="markers",
        marker={"size": 13, "color": [colours.conflicting if one else colours.given for one in odd]},
        hovertemplate="%{y}: higher than %{x:.1f} % of its class<extra></extra>",
    )
    figure.update_xaxes(range=[-3, 103], tickvals=[0, 25, 50, 75, 100], gridcolor="rgba(0,0,0,0)", zeroline=False)
    figure.update_yaxes(autorange="reversed", gridcolor="rgba(0,0,0,0)", type="category")
    return figure
