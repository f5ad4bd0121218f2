"""Figures of the pages Classes and Compare runs. Knows no Streamlit; colours and axes are those of `charts`."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lossprint.app.charts.base import base_figure, palette, text, tint
from lossprint.app.views.compare.agreement import Agreement

LONGEST = 18  # characters of a class name beside a bar


def _short(label: object) -> str:
    shown = " ".join(str(label).split())
    return text(shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…")


def partners(out: pd.Series, into: pd.Series, *, label: str, dark: bool, top: int = 6) -> go.Figure:
    """What a class is mixed up with: flagged samples by the other label, indexed by it; the most frequent first.

    `out` counts samples given this label that look like the other, drawn to the right; `into` those given the other
    that look like this class, drawn to the left.
    """
    colours = palette(dark)
    both = pd.concat([out, into], axis=1).fillna(0).set_axis(["out", "into"], axis=1)
    both = both.loc[both.sum(axis=1).sort_values(ascending=False, kind="stable").index[:top]]
    figure = base_figure(dark, 76 + 30 * len(both), "flagged samples", "")
    names = [_short(name) for name in both.index]
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
        (own, f"mean of {_short(label)}", colours.given, "solid"),
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


def correlations(frame: pd.DataFrame, *, dark: bool, chosen: str) -> go.Figure:
    """Spearman's rank correlation of each score between two trainings: title, score, rho; the chosen one stands out."""
    colours = palette(dark)
    figure = base_figure(dark, 56 + 24 * len(frame), "rank correlation (Spearman)", "", legend=False)
    figure.add_bar(
        y=list(frame["title"]),
        x=frame["rho"],
        orientation="h",
        text=["–" if pd.isna(rho) else f"{rho:.2f}" for rho in frame["rho"]],
        textposition="outside",
        cliponaxis=False,
        marker={
            "color": [colours.given if score == chosen else tint(colours.given, 0.4) for score in frame["score"]],
            "line": {"width": 0},
        },
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    least = min(0.0, float(frame["rho"].min(skipna=True)) if len(frame) else 0.0)
    figure.update_xaxes(range=[1.15 * least, 1.15], tickvals=[-1, -0.5, 0, 0.5, 1], zeroline=True)
    figure.update_yaxes(autorange="reversed", gridcolor="rgba(0,0,0,0)", type="category")
    figure.update_layout(bargap=0.35)
    return figure


def top_agreement(found: Agreement, *, dark: bool, height: int = 300) -> go.Figure:
    """Of the k most suspect by either training, the percentage that is among both, and what chance would give."""
    colours = palette(dark)
    figure = base_figure(dark, height, "the k most suspect samples", "in both (%)")
    figure.add_scatter(
        x=found.top,
        y=100 * found.top / max(1, found.count),
        mode="lines",
        name="by chance",
        line={"color": colours.muted, "width": 1.6, "dash": "dot"},
        hovertemplate="k = %{x:,}: %{y:.1f} % by chance<extra></extra>",
    )
    figure.add_scatter(
        x=found.top,
        y=100 * found.shared,
        mode="lines",
        name="these two",
        line={"color": colours.given, "width": 2.4},
        hovertemplate="of the first %{x:,}, %{y:.1f} % are in both<extra></extra>",
    )
    if found.count > 20:
        steps = [10**power for power in range(int(np.log10(found.count)) + 1)]
        figure.update_xaxes(type="log", tickvals=steps, ticktext=[f"{step:,}" for step in steps])
    figure.update_yaxes(range=[0, 103])
    return figure


def rank_density(found: Agreement, *, names: tuple[str, str], dark: bool, height: int = 300) -> go.Figure:
    """Samples by their places in two trainings, in percent from the most suspect; the more alike, the more diagonal."""
    colours = palette(dark)
    first, second = (_short(name) for name in names)
    figure = base_figure(dark, height, f"place in {first} (%)", f"place in {second} (%)", legend=False)
    bins = len(found.density)
    centres = (np.arange(bins) + 0.5) * 100 / bins
    counts = found.density.astype(float)
    # Square roots: the crowded diagonal would leave everything else as pale as nothing.
    figure.add_heatmap(
        x=centres,
        y=centres,
        z=np.where(counts > 0, np.sqrt(counts), np.nan),
        customdata=found.density,
        colorscale=[[0, tint(colours.given, 0.12)], [1, tint(colours.given, 1)]],
        zmin=0,
        showscale=False,
        hoverongaps=False,
        hovertemplate="%{customdata:,} samples<extra></extra>",
    )
    figure.add_scatter(
        x=[0, 100],
        y=[0, 100],
        mode="lines",
        line={"color": colours.muted, "width": 1, "dash": "dot"},
        hoverinfo="skip",
    )
    figure.update_xaxes(range=[0, 100], gridcolor="rgba(0,0,0,0)", tickvals=[0, 25, 50, 75, 100])
    figure.update_yaxes(range=[0, 100], gridcolor="rgba(0,0,0,0)", tickvals=[0, 25, 50, 75, 100])
    return figure
