"""Figures of the page When to stop. Knows no Streamlit; colours and axes are those of `charts`."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lossprint.app.charts.base import base_figure, palette, tint
from lossprint.scoring.intervals import Interval

POINTS = 600  # of a long curve that many are drawn


def yield_curve(
    curve: pd.DataFrame, ahead: int, coming: Interval | None, *, dark: bool, height: int = 340
) -> go.Figure:
    """Errors found against questions reviewed, both so far, and the band that the next `ahead` questions lead to."""
    colours = palette(dark)
    figure = base_figure(dark, height, "suggestions reviewed", "errors found")
    reviewed, errors = (np.r_[0, curve[name].to_numpy()] for name in ("reviewed", "errors"))
    last, found = int(reviewed[-1]), int(errors[-1])
    end = last + (ahead if coming else 0)
    figure.add_scatter(
        x=[0, end],
        y=[0, end],
        mode="lines",
        name="if all were errors",
        line={"color": colours.muted, "width": 1.4, "dash": "dot"},
        hoverinfo="skip",
    )
    if coming:
        figure.add_scatter(
            x=[last, end, end, last],
            y=[found, found + coming.high, found + coming.low, found],
            fill="toself",
            fillcolor=tint(colours.suggested, 0.25),
            line={"width": 0},
            mode="lines",
            showlegend=False,
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=[last, end],
            y=[found, found + coming.estimate],
            mode="lines",
            name=f"the next {ahead}, with 90 % interval" if ahead > 1 else "the next one",
            line={"color": colours.suggested, "width": 2.2, "dash": "dash"},
            hovertemplate="after %{x:,}: about %{y:,.0f} errors<extra></extra>",
        )
    at = np.unique(np.linspace(0, len(reviewed) - 1, POINTS).astype(int))
    figure.add_scatter(
        x=reviewed[at],
        y=errors[at],
        mode="lines",
        name="found so far",
        line={"color": colours.given, "width": 2.6},
        hovertemplate="after %{x:,}: %{y:,} errors<extra></extra>",
    )
    figure.update_yaxes(rangemode="tozero")
    figure.update_xaxes(range=[0, max(1, end)])
    return figure


def tenths(table: pd.DataFrame, *, dark: bool, height: int = 340) -> go.Figure:
    """Share of errors in each tenth of the queue, the most severe first, with its interval, as far as reviewed."""
    colours = palette(dark)
    figure = base_figure(dark, height, "place in the queue", "errors among those reviewed (%)", legend=False)
    names = [f"{first:,}–{last:,}" for first, last in zip(table["first"], table["last"])]
    places = np.arange(len(table))
    known = table["reviewed"].to_numpy() > 0
    shown = table[known]
    share, low, high = (100 * shown[name].to_numpy() for name in ("share", "low", "high"))
    figure.add_bar(
        x=places[known],
        y=share,
        marker={
            "color": [tint(colours.given, 0.85 if done else 0.4) for done in shown["reviewed"] > shown["of"] / 2],
            "line": {"width": 0},
        },
        error_y={
            "type": "data",
            "symmetric": False,
            "array": high - share,
            "arrayminus": share - low,
            "color": colours.ink,
            "thickness": 1.3,
            "width": 4,
        },
        customdata=list(
            zip(np.array(names, object)[known], shown["errors"], shown["reviewed"], low.round(), high.round())
        ),
        hovertemplate="%{customdata[0]}: %{customdata[1]:,} errors among %{customdata[2]:,} reviewed, "
        "%{y:.0f} % (%{customdata[3]:.0f} to %{customdata[4]:.0f})<extra></extra>",
    )
    if (~known).any():
        figure.add_scatter(
            x=places[~known],
            y=np.full(int((~known).sum()), 2.0),
            mode="text",
            text=["open"] * int((~known).sum()),
            textposition="top center",
            textfont={"color": colours.muted, "size": 11},
            hoverinfo="skip",
        )
    figure.update_xaxes(
        tickvals=places, ticktext=names, range=[-0.6, len(table) - 0.4], gridcolor="rgba(0,0,0,0)", tickangle=-40
    )
    figure.update_yaxes(range=[0, 103])
    return figure
