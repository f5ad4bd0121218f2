"""Figures of the page Loss prints: the heat map, the small multiples of the shapes, the bands of the classes."""

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from lossprint.app.charts.base import base_figure, palette, tint
from lossprint.app.views.prints.shapes import Blocks

# From dark blue to yellow through grey, evenly in lightness, as cividis: it reads the same with any kind of
# colour-blindness and in print. In the dark theme it starts lighter, so that low losses stand out against the page.
SCALES = {
    False: ("#0b2a57", "#3d4f72", "#6c7280", "#989681", "#c8bd6f", "#fbe74a"),
    True: ("#24487e", "#4c5f86", "#767d8b", "#9f9d88", "#ccc174", "#fdea55"),
}
LEAST = 0.03  # nats; below that the label has over 97 % of the probability, and all looks the same
HEAT = 520


def heat_range(classes: int) -> tuple[float, float]:
    """Losses in nats at the ends of the colour scale: from certain to half as much again as chance, 5.5 at the least.

    It is the same for all filters, so that two views compare.
    """
    return LEAST, max(5.5, 1.5 * math.log(max(2, classes)))


def _ticks(number: int, most: int) -> np.ndarray:
    """At most about `most` of the indices 0 to number - 1 in even steps, the first among them."""
    return np.arange(0, number, -(-number // most))


def _round_ranks(count: int) -> list[int]:
    """Up to five round ranks."""
    unit = 10 ** max(0, len(str(count)) - 2)
    step = next(unit * times for times in (1, 2, 5, 10, 20, 50) if count <= 5 * unit * times)
    return list(range(step, count + 1, step))


def heat(
    found: Blocks,
    checkpoints: np.ndarray,
    notes: Sequence[str],
    *,
    title: str,
    low: float,
    classes: int,
    dark: bool,
    chosen: tuple[int, int] | None = None,
) -> go.Figure:
    """Mean loss of blocks of samples (rows, best rank on top) by checkpoint, on a logarithmic scale of colours.

    `notes` are shown over a row: Plotly's markup, with no text of the dataset in it. A row can be clicked: an
    invisible bar with its index as `customdata` lies on it. `chosen` are the first and the last row of a frame.
    """
    colours = palette(dark)
    rows, columns = found.mean.shape
    figure = base_figure(dark, HEAT, "checkpoint", title, legend=False)
    least, most = heat_range(classes)
    marks = {
        least: f"≤ {least:g}",
        0.1: "0.1",
        low: f"low {low:.2f}",
        2 * low: f"high {2 * low:.1f}",
        most: f"≥ {most:.1f}",
    }
    figure.add_heatmap(
        z=np.log10(np.maximum(found.mean, least)).round(3),
        x=np.arange(columns),
        y=np.arange(rows),
        zmin=math.log10(least),
        zmax=math.log10(most),
        colorscale=[[at / (len(SCALES[dark]) - 1), colour] for at, colour in enumerate(SCALES[dark])],
        hoverinfo="skip",
        hoverongaps=False,
        colorbar={
            "title": {"text": "loss (nats)", "font": {"size": 12, "color": colours.muted}},
            "tickvals": [math.log10(value) for value in marks],
            "ticktext": list(marks.values()),
            "tickfont": {"size": 11, "color": colours.muted},
            "thickness": 12,
            "len": 1,
            "outlinewidth": 0,
            "xpad": 6,
            "ypad": 0,
        },
    )
    figure.add_bar(
        orientation="h",
        y=np.arange(rows),
        x=np.full(rows, columns),
        base=np.full(rows, -0.5),
        width=1,
        customdata=np.arange(rows),
        hovertext=list(notes),
        hovertemplate="%{hovertext}<extra></extra>",
        marker={"color": "rgba(0,0,0,0)", "line": {"width": 0}},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
    )
    steps, count = _ticks(columns, 9), int(found.edges[-1])
    ranks = [1, *(rank for rank in _round_ranks(count) if rank > 1)]
    figure.update_xaxes(
        range=[-0.5, columns - 0.5],
        tickvals=steps,
        ticktext=[f"{checkpoints[found.steps[step]]:d}" for step in steps],
        showgrid=False,
        fixedrange=True,
    )
    figure.update_yaxes(
        range=[rows - 0.5, -0.5],
        tickvals=[(rank - 1) * rows / count for rank in ranks],
        ticktext=[f"{rank:,}" for rank in ranks],
        showgrid=False,
        fixedrange=True,
    )
    if chosen is not None:
        frame = {"type": "rect", "x0": -0.5, "x1": columns - 0.5, "y0": chosen[0] - 0.5, "y1": chosen[1] + 0.5}
        edge = "#0f151b" if dark else "#ffffff"
        figure.add_shape(**frame, line={"color": edge, "width": 5})
        figure.add_shape(**frame, line={"color": colours.ink, "width": 2})
        figure.add_annotation(
            xref="paper", x=1, y=sum(chosen) / 2, text="◂", showarrow=False, xanchor="left", font={"color": colours.ink}
        )
    figure.update_layout(bargap=0, hovermode="closest", clickmode="event+select")
    return figure


def _band(
    figure: go.Figure, band: np.ndarray, x: np.ndarray, name: str, colour: str, dash: str, strength: float
) -> None:
    """The median of a band (3, E) over its 10 and 90 %; where a checkpoint is not known, it is left out."""
    known = np.isfinite(band).all(axis=0)
    low, middle, high = np.round(band[:, known].astype(float), 4)
    x = x[known]
    figure.add_scatter(
        x=[*x, *x[::-1]],
        y=[*high, *low[::-1]],
        fill="toself",
        fillcolor=tint(colour, strength),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )
    figure.add_scatter(
        x=x,
        y=middle,
        customdata=np.stack([low, high], axis=1),
        name=name,
        mode="lines+markers" if len(x) <= 2 else "lines",
        line={"color": colour, "width": 2.4, "dash": dash},
        marker={"size": 6},
        hovertemplate="checkpoint %{x}: median %{y:.2f} nats<br>10–90 %: %{customdata[0]:.2f} to %{customdata[1]:.2f}"
        + f"<extra>{name}</extra>",
    )


def _frame(figure: go.Figure, checkpoints: np.ndarray, low: float, top: float, dark: bool) -> None:
    """The same axes for all small multiples of a row, and the level of a low loss."""
    steps = checkpoints[_ticks(len(checkpoints), 4)] if len(checkpoints) else []
    figure.update_xaxes(tickvals=steps, tickformat="d", fixedrange=True)
    figure.update_yaxes(range=[0, top], nticks=5, fixedrange=True)
    figure.add_hline(low, line={"color": palette(dark).muted, "width": 1, "dash": "dot"})


def shape(
    band: np.ndarray, checkpoints: np.ndarray, *, low: float, top: float, dark: bool, faint: bool = False
) -> go.Figure:
    """Median and 10 to 90 % (3, E) of the samples of one shape; `faint` for one that another is chosen beside."""
    colours = palette(dark)
    figure = base_figure(dark, 170, "checkpoint", "loss (nats)", legend=False)
    _frame(figure, checkpoints, low, top, dark)
    if np.isfinite(band).any():
        colour = colours.muted if faint else colours.given
        _band(figure, band, checkpoints, "this shape", colour, "solid", 0.24)
    return figure


def class_bands(bands: dict[str, tuple[np.ndarray, np.ndarray]], *, low: float, top: float, dark: bool) -> go.Figure:
    """Bands (3, E) with their checkpoints (E,) of one class: `training` over `validation`, whichever are given."""
    colours = palette(dark)
    figure = base_figure(dark, 210, "checkpoint", "loss (nats)")
    longest = max((checkpoints for _, checkpoints in bands.values()), key=len, default=np.array([]))
    _frame(figure, longest, low, top, dark)
    looks = {"validation": (colours.muted, "dash", 0.22), "training": (colours.given, "solid", 0.2)}
    for name, (colour, dash, strength) in looks.items():
        if name in bands and np.isfinite(bands[name][0]).any():
            _band(figure, *bands[name], name, colour, dash, strength)
    figure.update_layout(legend={"traceorder": "reversed"})
    return figure
