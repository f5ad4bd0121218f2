"""Figures of the page Before & after. Knows no Streamlit; colours and axes are those of `charts`."""

import pandas as pd
import plotly.graph_objects as go

from lossprint.app.charts.base import base_figure, palette, text, tint

ARMS = {"given": "given", "cleaned": "cleaned", "thinned": "randomly<br>thinned"}
MOST = 24  # classes that are drawn


def arms(accuracy: pd.DataFrame, *, dark: bool, height: int = 260) -> go.Figure:
    """Accuracy of each arm: a dot a seed, a bar at the mean. accuracy: a row a seed, a column an arm, in [0, 1]."""
    colours = palette(dark)
    figure = base_figure(dark, height, "accuracy (%)", "", legend=False)
    shown = list(accuracy.columns)[::-1]  # the first one on top
    paint = {"given": colours.given, "cleaned": colours.aligned, "thinned": colours.muted}
    for _, row in accuracy.iterrows():  # what belongs together: the same weights and order at the start
        figure.add_scatter(
            x=[100 * row[arm] for arm in shown],
            y=list(range(len(shown))),
            mode="lines",
            line={"color": tint(colours.muted, 0.35), "width": 1},
            hoverinfo="skip",
        )
    for place, arm in enumerate(shown):
        values = 100 * accuracy[arm]
        figure.add_scatter(
            x=[values.mean()],
            y=[place],
            mode="markers",
            marker={"symbol": "line-ns", "size": 30, "line": {"width": 3, "color": paint[arm]}},
            hovertemplate=f"mean of {len(values)}: %{{x:.1f}} %<extra></extra>",
        )
        figure.add_scatter(
            x=values,
            y=[place] * len(values),
            mode="markers",
            customdata=list(values.index),
            marker={"size": 10, "color": paint[arm], "opacity": 0.75},
            hovertemplate="seed %{customdata}: %{x:.1f} %<extra></extra>",
        )
    figure.update_yaxes(
        tickvals=list(range(len(shown))),
        ticktext=[ARMS[arm] for arm in shown],
        range=[-0.6, len(shown) - 0.4],
        tickfont={"color": colours.ink, "size": 13},
        gridcolor="rgba(0,0,0,0)",
    )
    low, high = 100 * accuracy.min().min(), 100 * accuracy.max().max()
    room = max(0.12 * (high - low), 0.5)
    figure.update_xaxes(range=[low - room, high + room])
    return figure


def by_class(table: pd.DataFrame, *, dark: bool) -> go.Figure:
    """Change of each class in points, its mean and its range over the seeds; at most MOST rows, as sorted."""
    colours = palette(dark)
    figure = base_figure(dark, 90 + 24 * len(table), "change of accuracy (points)", "", legend=False)
    places = list(range(len(table)))
    figure.add_vline(x=0, line={"color": colours.muted, "width": 1.2})
    figure.add_scatter(
        x=table["change"],
        y=places,
        mode="markers",
        marker={
            "size": 10,
            "color": [colours.conflicting if change < 0 else colours.aligned for change in table["change"]],
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": table["high"] - table["change"],
            "arrayminus": table["change"] - table["low"],
            "color": colours.muted,
            "thickness": 1.4,
            "width": 0,
        },
        customdata=list(
            zip(100 * table["given"], 100 * table["cleaned"], table["samples"], table["low"], table["high"])
        ),
        hovertemplate="%{customdata[0]:.1f} → %{customdata[1]:.1f} % of %{customdata[2]:,} images: %{x:+.1f} points, "
        "seeds %{customdata[3]:+.1f} to %{customdata[4]:+.1f}<extra></extra>",
    )
    figure.update_yaxes(
        tickvals=places,
        ticktext=[text(name) for name in table["class"]],
        range=[-0.7, len(table) - 0.3],
        gridcolor="rgba(0,0,0,0)",
        tickfont={"color": colours.ink, "size": 12},
    )
    return figure
