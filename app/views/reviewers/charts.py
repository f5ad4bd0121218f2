"""The figure of the page Reviewers: how far each two agree. Knows no Streamlit; colours are those of `charts`."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lossprint.app.charts.base import base_figure, palette, text, tint

CELL = 62  # pixels
LONGEST = 14  # characters of a name beside a cell


def agreement_matrix(pairs: pd.DataFrame, *, dark: bool) -> go.Figure:
    """Raw agreement of each two reviewers as a square table: darker is more alike, with the number of samples below.

    pairs: first, second, samples, raw in [0, 1] (NaN without a shared sample), kappa, as in `assigning.Agreement`.
    """
    colours = palette(dark)
    names = list(dict.fromkeys([*pairs["first"], *pairs["second"]]))
    place = {name: at for at, name in enumerate(names)}
    both = pd.concat([pairs, pairs.rename(columns={"first": "second", "second": "first"})])
    both = both[both["samples"] > 0]
    figure = base_figure(dark, 60 + CELL * len(names), "", "", legend=False)
    share = both["raw"].to_numpy(float)
    kappa = ["not defined" if np.isnan(one) else f"{one:.2f}" for one in both["kappa"].to_numpy(float)]
    figure.add_scatter(
        x=[place[name] for name in both["second"]],
        y=[place[name] for name in both["first"]],
        mode="markers+text",
        text=[f"{100 * one:.0f} %<br>n = {count:,}" for one, count in zip(share, both["samples"])],
        textfont={"size": 12, "color": colours.ink},
        marker={
            "symbol": "square",
            "size": CELL - 4,
            "color": [tint(colours.given, 0.06 + 0.36 * one) for one in share],
            "line": {"width": 0},
        },
        hovertext=[
            f"{text(first)} and {text(second)}: alike on {100 * one:.0f} % of {count:,} samples, kappa {beyond}"
            for first, second, one, count, beyond in zip(both["first"], both["second"], share, both["samples"], kappa)
        ],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    short = [text(name if len(name) <= LONGEST else name[: LONGEST - 1] + "…") for name in names]
    ticks = {"tickvals": list(range(len(names))), "ticktext": short, "gridcolor": "rgba(0,0,0,0)"}
    figure.update_xaxes(**ticks, range=[-0.5, len(names) - 0.5], side="top")
    figure.update_yaxes(**ticks, range=[len(names) - 0.5, -0.5], scaleanchor="x", constrain="domain")
    figure.update_xaxes(constrain="domain")
    figure.update_layout(hovermode="closest")
    return figure
