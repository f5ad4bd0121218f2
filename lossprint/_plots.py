"""Pictures of a run for a notebook: the dashboard's own figures, without the dashboard."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from plotly.graph_objects import Figure

from lossprint.app.charts import base as charts
from lossprint.audit.scores import SCORES
from lossprint.audit.types import SPLITS, LossprintError

if TYPE_CHECKING:
    from lossprint._run import LossPrints, Run

MOST = 20  # lines that one figure shows
ROLES = ("given", "suggested", "aligned", "conflicting", "test")  # whose colours several lines take in turn


def loss_print(run: "Run", samples: Sequence[int], dark: bool) -> Figure:
    """Of one sample over its class; of several, over the class of the first."""
    if not 0 < len(samples) <= MOST:
        raise LossprintError(f"expected 1 to {MOST} samples to draw, found {len(samples)}")
    rows = run.folder.samples([*samples], ["sample", "label", "split"]).set_index("sample")
    strange = [one for one in samples if one not in rows.index]
    if strange:
        raise LossprintError(f"expected samples of {run.path}, found {strange[0]}")
    lines = []
    for at, sample in enumerate(samples):
        label, split = rows.loc[sample, "label"], rows.loc[sample, "split"]
        name = f"sample {sample} ({label}, {split})"
        losses = run.trajectory(str(split), [sample])
        lines.append(charts.Line(name, pd.Series(losses.losses[0], losses.checkpoints), ROLES[at % len(ROLES)]))
    label = str(rows.loc[samples[0], "label"])
    return _open(charts.loss_print(lines, dark=dark, **_band(run, label)), dark)


def _band(run: "Run", label: str) -> dict[str, object]:
    """Mean and 10 to 90 % of a class at each checkpoint, of validation samples; of training samples without any."""
    for split, words in (("val", "validation"), ("train", "training")):
        if not run.folder.recorded(split):
            continue
        prints = run.trajectory(split)
        losses = prints.losses[prints.labels == run.classes.index(label)] if label in run.classes else prints.losses[:0]
        if len(losses) and np.isfinite(losses).any(axis=0).all():
            low, high = np.nanquantile(losses, [0.1, 0.9], axis=0)
            curves = {"mean": np.nanmean(losses, axis=0), "low": low, "high": high}
            curves = {name: pd.Series(curve, prints.checkpoints) for name, curve in curves.items()}
            return curves | {"band": f"{label}, {words} mean"}
    return {}


def learning(run: "Run", what: str, dark: bool) -> Figure:
    """Mean loss or accuracy of each split by checkpoint."""
    if what not in ("loss", "accuracy"):
        raise LossprintError(f"expected loss or accuracy to draw, found {what!r}")
    parts = [_means(split, run.trajectory(split)) for split in SPLITS[:2] if run.folder.recorded(split)]
    frame = pd.concat(parts) if parts else pd.DataFrame(columns=["split", "checkpoint", "loss", "accuracy"])
    if frame[what].isna().all():
        raise LossprintError(f"expected predictions recorded in {run.path} to draw {what}, found none")
    return _open(charts.learning(frame, what, dark=dark), dark)


def _means(split: str, prints: "LossPrints") -> pd.DataFrame:
    accuracy = np.full(len(prints.checkpoints), np.nan)
    if prints.predicted is not None:
        known = prints.predicted >= 0
        right = (prints.predicted == prints.labels[:, None]) & known
        accuracy = right.sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
    losses = pd.DataFrame(prints.losses).mean().to_numpy()
    return pd.DataFrame({"split": split, "checkpoint": prints.checkpoints, "loss": losses, "accuracy": accuracy})


def score(run: "Run", name: str, dark: bool) -> Figure:
    """How a score is distributed."""
    scores = run.scores()
    known = [column for column in SCORES if column in scores and scores[column].notna().any()]
    if name not in known:
        raise LossprintError(f"expected a score of {', '.join(known)}, found {name!r}")
    about = SCORES[name]
    figure = charts.histogram(scores[name], dark=dark, unit=about.unit, suspect=about.suspect, height=charts.HEIGHT)
    figure.update_layout(title={"text": about.title, "font": {"size": 14}})
    return _open(figure, dark)


def _open(figure: Figure, dark: bool) -> Figure:
    """With a background of its own, and free to zoom: no page is around it."""
    ground = "#10161d" if dark else "#ffffff"
    return figure.update_layout(paper_bgcolor=ground, plot_bgcolor=ground, dragmode="zoom")
