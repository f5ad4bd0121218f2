"""Figures of the page Classes. Knows no Streamlit; colours and axes are those of `charts.base`."""

import pandas as pd
import plotly.graph_objects as go

from lossprint.app.charts.base import base_figure, palette, short, text, tint


def partners(out: pd.Series, into: pd.Series, *, label: str, dark: bool, top: int = 6) -> go.Figure:
    """What a class is mixed up with: flagged samples by the other label, indexed by it; the most frequent first.

    `out` counts samples given this label that look like the other, drawn to the right; `into` those given the other
    that look like this class, drawn to the left.
    """
    colours = palette(dark)
    both = pd.concat([out, into], axis=1).fillna(0).set_axis(["out", "into"], axis=1)
    both = both.loc[both.sum(axis=1).sort_values(ascending=False, kind="stable").index[:top]]
    figure = base_figure(dark, 76 + 30 * len(both), "flagged samples", "")
    names = [short(name) for name in both.index]
    whole = [text(name) for name in both.index]
    own = text(label)
    for column, name, hue, sign in (
        ("into", "given the other, looks like it", colours.suggested, -1),
        ("out", "given it, looks like the other", colours.given, 1),
    ):
        count = both[column].to_numpy(float)
        template = "given %{customdata[0]}, looks like %{customdata[1]}: %{customdata[2]:,}<extra></extra>"
        pair = [(one, own) if column == "into" else (own, one) for one in whole]
        figure.add_bar(
            y=list(range(len(names))),
            x=sign * count,
            orientation="h",
            name=name,
            marker={"color": hue, "line": {"width": 0}},
            text=[f"{int(one):,}" if one else "" for one in count],
            textposition="auto",
            textangle=0,
            cliponaxis=False,
            customdata=[(*names_, int(one)) for names_, one in zip(pair, count)],
            hovertemplate=template,
        )
    most = max(1.0, float(both.to_numpy().max(initial=0)))
    figure.update_layout(barmode="relative", bargap=0.35)
    # Names may be equal once they are cut: the places on the axis are numbers, the names only their text.
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, autorange="reversed", gridcolor="rgba(0,0,0,0)"
    )
    figure.update_xaxes(range=[-1.15 * most, 1.15 * most], showticklabels=False, zeroline=True, zerolinewidth=1.5)
    return figure


def class_losses(
    own: pd.Series, low: pd.Series, high: pd.Series, others: pd.Series, *, label: str, dark: bool, height: int = 270
) -> go.Figure:
    """Mean loss of a class by checkpoint over its band of 10 to 90 %, beside the mean of all classes."""
    colours = palette(dark)
    figure = base_figure(dark, height, "checkpoint", "loss (nats)")
    figure.add_scatter(
        x=[*low.index, *high.index[::-1]],
        y=[*low, *high[::-1]],
        fill="toself",
        fillcolor=tint(colours.given, 0.16),
        line={"width": 0},
        mode="lines",
        name="10–90 %",
        hoverinfo="skip",
    )
    for series, name, hue, dash in (
        (others, "mean of all classes", colours.muted, "dot"),
        (own, f"mean of {short(label)}", colours.given, "solid"),
    ):
        figure.add_scatter(
            x=series.index,
            y=series,
            mode="lines",
            name=name,
            line={"color": hue, "width": 2.4, "dash": dash},
            hovertemplate="checkpoint %{x}: %{y:.3f} nats<extra></extra>",
        )
    figure.update_yaxes(rangemode="tozero")
    figure.update_xaxes(tickformat="d")
    return figure
