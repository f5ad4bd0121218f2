"""Figures of the page Coreset. Knows no Streamlit; colours and axes are those of `charts`."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lossprint.app.charts.base import base_figure, palette, text, tint

SYMBOLS = ("square", "diamond", "triangle-up", "triangle-down", "cross", "x", "pentagon", "star", "hexagon", "bowtie")
WIDTH = 0.72  # of a fraction's column that its marks take up
NAMED = 8  # more marks than so many are named by hovering only


def measured(
    cells: pd.DataFrame,
    seeds: pd.DataFrame,
    *,
    titles: dict[str, str],
    chosen: str,
    wanted: float,
    whole: tuple[float, float] | None,
    what: str,
    dark: bool,
) -> go.Figure:
    """What was measured, a column a fraction: a mark with its deviation for each method, a dot for each seed. No lines.

    cells: method, fraction, value, spread (NaN of one seed), seeds. seeds: method, fraction, seed, value. All values in
    per cent. titles: of the methods, in the order in which they stand side by side. wanted: the fraction looked at,
    measured or not. whole: value and spread of all samples, the reference line.
    """
    colours = palette(dark)
    methods = [one for one in titles if one in set(cells["method"])]
    height = 350 + 17 * min(len(methods), NAMED)  # on a phone the legend has a line a method
    figure = base_figure(dark, height, "training samples kept", what, legend=len(methods) <= NAMED)
    fractions = sorted(cells["fraction"].unique())
    column = {fraction: at for at, fraction in enumerate(fractions)}
    slot = min(WIDTH / max(len(methods), 1), 0.16)
    _looked_at(figure, fractions, wanted, colours)
    if whole is not None:
        _reference(figure, *whole, colours)
    for at, method in enumerate(methods):
        mine = cells[cells["method"] == method]
        offset = (at - (len(methods) - 1) / 2) * slot
        loud = method in (chosen, "random", "recommended")
        colour = colours.given if method == chosen else colours.aligned if method == "recommended" else colours.ink
        colour = colour if loud else tint(colours.muted, 0.6)
        dots = seeds[seeds["method"] == method]
        figure.add_scatter(
            x=dots["fraction"].map(column) + offset + 0.32 * slot,
            y=dots["value"],
            mode="markers",
            showlegend=False,
            customdata=dots["seed"],
            marker={"size": 4, "color": colour, "opacity": 0.6},
            hovertemplate=text(titles[method]) + ", seed %{customdata}: %{y:.1f} %<extra></extra>",
        )
        spread = mine["spread"].fillna(0)
        figure.add_scatter(
            x=mine["fraction"].map(column) + offset,
            y=mine["value"],
            mode="markers",
            name=text(titles[method]),
            marker={
                "symbol": "circle" if method == chosen else SYMBOLS[at % len(SYMBOLS)],
                "size": 12 if method == chosen else 10 if loud else 8,
                "color": colour,
                "line": {"width": 0},
            },
            error_y={"type": "data", "array": spread, "color": colour, "thickness": 1.8 if loud else 1.2, "width": 3},
            customdata=np.column_stack([100 * mine["fraction"], spread, mine["seeds"]]),
            hovertemplate=text(titles[method])
            + " at %{customdata[0]:.6~g} %: %{y:.1f} ± %{customdata[1]:.1f} %, seeds: %{customdata[2]}<extra></extra>",
        )
    values = [*(cells["value"] - cells["spread"].fillna(0)), *(cells["value"] + cells["spread"].fillna(0))]
    values += [*seeds["value"], *([whole[0]] if whole else [])]
    low, high = min(values), max(values)
    room = max(0.08 * (high - low), 0.5)
    high += 0.1 * (high - low) * (not np.isclose(fractions, wanted).any())  # for the words on the line
    figure.update_xaxes(
        tickvals=list(column.values()),
        ticktext=[f"{100 * one:.6g} %" for one in fractions],
        range=[-0.5, len(fractions) - 0.5],
        showgrid=False,
        tickfont={"color": colours.ink, "size": 13},
    )
    figure.update_yaxes(range=[max(low - room, 0 if low >= 0 else low - room), high + room])
    return figure


def _looked_at(figure: go.Figure, fractions: list[float], wanted: float, colours) -> None:
    """The column of the fraction looked at, or a line between two columns where it was not measured."""
    same = [at for at, one in enumerate(fractions) if np.isclose(one, wanted)]
    if same:
        band = tint(colours.given, 0.09)
        figure.add_vrect(x0=same[0] - 0.48, x1=same[0] + 0.48, fillcolor=band, line={"width": 0}, layer="below")
    elif wanted < 1:
        at = float(np.searchsorted(fractions, wanted)) - 0.5
        at = min(max(at, -0.46), len(fractions) - 0.54)
        figure.add_vline(x=at, line={"color": colours.muted, "width": 1.2, "dash": "dot"})
        last = at > len(fractions) - 1
        figure.add_annotation(
            x=at,
            y=1,
            yref="paper",
            text=f"{100 * wanted:.6g} %: not measured",
            showarrow=False,
            xanchor="right" if last else "left",
            yanchor="top",
            font={"color": colours.muted, "size": 12},
        )


def _reference(figure: go.Figure, value: float, spread: float, colours) -> None:
    if not np.isnan(spread) and spread > 0:
        band = tint(colours.muted, 0.13)
        figure.add_hrect(y0=value - spread, y1=value + spread, fillcolor=band, line={"width": 0}, layer="below")
    figure.add_hline(y=value, line={"color": colours.muted, "width": 1.4, "dash": "dash"}, layer="below")
    figure.add_scatter(  # names the line in the legend: text beside it would lie on marks
        x=[None],
        y=[None],
        mode="lines",
        name=f"all samples, {value:.1f} %",
        line={"color": colours.muted, "width": 1.4, "dash": "dash"},
    )
