"""Figures of the page Compare runs. Knows no Streamlit; colours and axes are those of `charts.base`."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lossprint.app.charts.base import base_figure, palette, short, tint
from lossprint.app.views.compare.agreement import Agreement


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


def top_agreement(agreement: Agreement, *, dark: bool, height: int = 300) -> go.Figure:
    """Of the k most suspect by either training, the percentage that is among both, and what chance would give."""
    colours = palette(dark)
    figure = base_figure(dark, height, "the k most suspect samples", "in both (%)")
    figure.add_scatter(
        x=agreement.top,
        y=100 * agreement.top / max(1, agreement.count),
        mode="lines",
        name="by chance",
        line={"color": colours.muted, "width": 1.6, "dash": "dot"},
        hovertemplate="k = %{x:,}: %{y:.1f} % by chance<extra></extra>",
    )
    figure.add_scatter(
        x=agreement.top,
        y=100 * agreement.shared,
        mode="lines",
        name="these two",
        line={"color": colours.given, "width": 2.4},
        hovertemplate="of the first %{x:,}, %{y:.1f} % are in both<extra></extra>",
    )
    if agreement.count > 20:
        steps = [10**power for power in range(int(np.log10(agreement.count)) + 1)]
        figure.update_xaxes(type="log", tickvals=steps, ticktext=[f"{step:,}" for step in steps])
    figure.update_yaxes(range=[0, 103])
    return figure


def rank_density(agreement: Agreement, *, names: tuple[str, str], dark: bool, height: int = 300) -> go.Figure:
    """Samples by their places in two trainings, in percent from the most suspect; the more alike, the more diagonal."""
    colours = palette(dark)
    first, second = (short(name) for name in names)
    figure = base_figure(dark, height, f"place in {first} (%)", f"place in {second} (%)", legend=False)
    bins = len(agreement.density)
    centres = (np.arange(bins) + 0.5) * 100 / bins
    counts = agreement.density.astype(float)
    # Square roots: the crowded diagonal would leave everything else as pale as nothing.
    figure.add_heatmap(
        x=centres,
        y=centres,
        z=np.where(counts > 0, np.sqrt(counts), np.nan),
        customdata=agreement.density,
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
