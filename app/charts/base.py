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


LIGHT = Palette("#1c2733", "#5c6874", "#e3e9ee", "#0072b2", "#b25d96", "#009e73", "#d55e00", "#e69f00")
DARK = Palette("#e6edf3", "#94a3b0", "#26323d", "#56b4e9", "#e19cc4", "#2fc79a", "#ee8042", "#f0b73a")


def palette(dark: bool) -> Palette:
    return DARK if dark else LIGHT


CLASSES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#8c96a0")


def class_colours(count: int) -> list[str]:
    """A colour a class, for bands that a legend and hovering name as well: eight hues, then lighter, then darker."""
    shades = ((1.0, 0), (0.55, 255), (0.55, 0))
    made = []
    for at in range(count):
        share, other = shades[at // len(CLASSES) % len(shades)]
        parts = (int(CLASSES[at % len(CLASSES)][here : here + 2], 16) for here in (1, 3, 5))
        made.append("#" + "".join(f"{round(value * share + other * (1 - share)):02x}" for value in parts))
    return made


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


def short(label: object) -> str:
    """The name of a class as text beside a bar."""
    shown = " ".join(str(label).split())
    return html.escape(shown if len(shown) <= 18 else shown[:17] + "…")


def tint(colour: str, alpha: float) -> str:
    """A hex colour with an opacity."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def base_figure(dark: bool, height: int, x: str, y: str, legend: bool = True) -> go.Figure:
    """An empty figure in the common look, `height` CSS pixels high, with the titles of its axes."""
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
    # One dict, and no template: each later update of a figure costs as much as all of this.
    layout = {
        "height": height,
        "margin": {"l": 8, "r": 12, "t": 34 if legend else 12, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "template": go.layout.Template(),
        "font": {"color": colours.ink, "size": 12, "family": FONT},
        "showlegend": legend,
        "legend": {
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
        "hoverlabel": {"font": {"size": 12, "family": FONT}},
        "dragmode": False,
        "bargap": 0.25,
        "xaxis": {**axis, "title": {**axis["title"], "text": x}},
        "yaxis": {**axis, "title": {**axis["title"], "text": y}},
    }
    return go.Figure(layout=layout)


def whole_steps(figure: go.Figure, values: Sequence) -> None:
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
    figure = base_figure(dark, height, "checkpoint", "loss (nats)")
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
    whole_steps(figure, steps)
    figure.update_yaxes(rangemode="tozero")
    return figure


def learning(frame: pd.DataFrame, what: str, *, dark: bool, height: int = 300) -> go.Figure:
    """`loss` or `accuracy` of the training and the validation split by checkpoint."""
    colours = palette(dark)
    title = "mean loss (nats)" if what == "loss" else "accuracy (%)"
    figure = base_figure(dark, height, "checkpoint", title)
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
    whole_steps(figure, sorted(frame["checkpoint"].unique()))
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
    figure = base_figure(dark, 60 + 21 * len(order) + 12 * len(counts), unit, "", legend=len(counts) > 1)
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
    figure = base_figure(dark, height, unit, "samples", legend=False)
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


def confusion(
    table: pd.DataFrame, *, dark: bool, chosen: tuple[str | None, str | None] = (None, None), height: int | None = None
) -> go.Figure:
    """How many samples of each given label (rows) are suggested each other label (columns).

    `table` is square in its labels, counts >= 0. Every cell with a count is a point that can be clicked; its
    `customdata` is (given, suggested). `chosen` gets a ring.
    """
    colours = palette(dark)
    size = len(table)
    figure = base_figure(dark, height or min(760, 150 + 30 * size), "suggested label", "given label", legend=False)
    names = [text(label) for label in table.index]
    row, column = np.nonzero(table.to_numpy())
    counts = table.to_numpy()[row, column]
    share = np.log1p(counts) / np.log1p(counts.max(initial=1))
    strong = share > 0.77  # where dark ink could not be read
    figure.add_scatter(
        x=column,
        y=row,
        mode="markers+text",
        text=[f"{count:,}" for count in counts],
        textfont={"size": 11, "color": ["#ffffff" if one else colours.ink for one in strong]},
        customdata=[[str(table.index[i]), str(table.columns[j])] for i, j in zip(row, column)],
        marker={
            "symbol": "square",
            "size": 26,
            "color": [
                tint("#a63c06" if one or dark else colours.conflicting, 0.12 + 0.88 * part)
                for one, part in zip(strong, share)
            ],
            "line": {"width": 0},
        },
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
        hovertext=[f"{names[i]} → {names[j]}: {count:,}" for i, j, count in zip(row, column, counts)],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    if chosen[0] in table.index and chosen[1] in table.columns:
        figure.add_scatter(
            x=[table.columns.get_loc(chosen[1])],
            y=[table.index.get_loc(chosen[0])],
            mode="markers",
            hoverinfo="skip",
            marker={"symbol": "square-open", "size": 30, "color": colours.ink, "line": {"width": 3}},
        )
    ticks = {"tickvals": list(range(size)), "ticktext": names, "range": [-0.6, size - 0.4]}
    figure.update_xaxes(**ticks, tickangle=-40)
    figure.update_yaxes(**{**ticks, "range": [size - 0.4, -0.6]})
    figure.update_layout(clickmode="event+select", hovermode="closest")
    return figure


# ---------------------------------------------------------------------------------------------- scores


def percentiles(frame: pd.DataFrame, *, dark: bool, within: str = "its class") -> go.Figure:
    """Where a sample's scores lie among its class. `frame` has title, percent (0 to 100), suspect (high, low, none)."""
    colours = palette(dark)
    figure = base_figure(dark, 40 + 30 * len(frame), f"percentile within {within}", "", legend=False)
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
    figure.add_scatter(
        x=[108] * len(titles),
        y=titles,
        mode="text",
        text=[f"{percent:.1f}" for percent in frame["percent"]],
        textfont={"color": [colours.conflicting if one else colours.muted for one in odd]},
        hoverinfo="skip",
    )
    figure.update_xaxes(range=[-3, 116], tickvals=[0, 25, 50, 75, 100], gridcolor="rgba(0,0,0,0)", zeroline=False)
    figure.update_yaxes(autorange="reversed", gridcolor="rgba(0,0,0,0)", type="category")
    return figure
