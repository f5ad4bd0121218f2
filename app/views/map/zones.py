"""The triage map's arithmetic: zones, where samples lie on two scores, density, and what a box or a lasso holds.

Knows no Streamlit. N is the number of training samples, rows in the order of scores.parquet; NaN is unknown.

The zones are quantiles within the dataset, because neither losses nor curvature have a scale that two runs share.
`HIGH` and `LOW` were chosen beforehand and tuned on nothing: where fewer labels than a fifth are wrong, the upper
fifth of CSL still holds nearly all of them, beside samples that are merely hard.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.scoring.labels import SUSPECT

HIGH, LOW = 0.8, 0.3  # quantiles of a score from which it is high, up to which it is low
FENCE = 0.001  # this share at either end is drawn at the border: one huge value would squeeze all others into a corner
BINS = (80, 60)
TOP = (500, 2_000)  # points of their own: a fifth of the samples, between these
CORNERS = 24  # of a stored lasso
LONGEST = 700  # characters of a stored area
FARTHEST = 1e12  # no place on a map is farther out
SCALES = ("percentiles", "values")


@dataclass(frozen=True)
class Zone:
    """A region of the map. `rule` in words; `meaning` what its samples are; `advice` what to do; `needs` its scores."""

    title: str
    rule: str
    meaning: str
    advice: str
    needs: tuple[str, ...]


# What is said of two of them where samples have no labels: rule, meaning, advice.
WITHOUT_LABELS = {
    "wrong": (
        "CSL in the upper fifth, and beyond the upper fence",
        "The model took far longer than for nearly all others, or never took to it: wrong, broken, or rare.",
        "Look at it.",
    ),
    "hard": (
        "CSL in the upper fifth, within the fence",
        "Learned late or with effort: rare, unclear or long, yet most likely right.",
        "Keep. More samples of this kind would help.",
    ),
}
# In order of precedence: a sample is in the first one whose rule it fulfils. "Wrong" and "hard" are words of the
# findings alone, which go by all checkpoints: a zone of the map must not count other samples under them.
ZONES: dict[str, Zone] = {
    "wrong": Zone(
        "Late, doubted",
        "CSL in the upper fifth, and another label ahead of the given one",
        "The model took long to accept the label, or never did, and believed in another one.",
        "Check the label.",
        ("csl", "doubt"),
    ),
    "hard": Zone(
        "Late",
        "CSL in the upper fifth, but the given label ahead",
        "Learned late or with effort: rare, unclear or borderline, yet most likely labelled right.",
        "Keep. More samples of this kind would help.",
        ("csl", "doubt"),
    ),
    "aligned": Zone(
        "Aligned",
        "CLD in the upper fifth, and positive",
        "Their losses fall when the validation loss of their class falls: learning them and generalising go together.",
        "Keep: the core of a smaller training set.",
        ("cld",),
    ),
    "redundant": Zone(
        "Redundant",
        "CSL and curvature both in the lower three tenths",
        "Learned early and smoothly: many samples of this kind teach the same.",
        "The first to thin out where training must be cheaper.",
        ("csl", "curvature"),
    ),
}
NAMES = tuple(ZONES)
NEEDED = {"csl": "CSL", "curvature": "curvature", "cld": "CLD", "doubt": "a score that compares labels"}


# ---------------------------------------------------------------------------------------------- zones


def known(scores: pd.DataFrame, name: str) -> np.ndarray:
    """A score as (N,) floats, NaN where it is missing or not finite."""
    if name not in scores:
        return np.full(len(scores), np.nan)
    values = scores[name].to_numpy(dtype=np.float64, na_value=np.nan)
    finite = np.isfinite(values)
    return values if finite.all() else np.where(finite, values, np.nan)


def doubt(scores: pd.DataFrame) -> str | None:
    """The score that says if another label was ahead: label_error (over SUSPECT), else aum (under 0), else None."""
    return next((name for name in ("label_error", "aum") if not np.isnan(known(scores, name)).all()), None)


def bounds(scores: pd.DataFrame) -> dict[str, dict[str, tuple[float, float]]]:
    """The rule of each zone as {score: (lowest, highest)}, ends included. Zones whose scores are unknown are left out.

    What is high must also be above the median and what is low below it: a constant score has neither.
    """
    high, low = {}, {}
    for name in ("csl", "curvature", "cld"):
        values = known(scores, name)
        values = values[~np.isnan(values)]
        if len(values):
            least, middle, most = np.quantile(values, [LOW, 0.5, HIGH])
            high[name] = (max(most, np.nextafter(middle, np.inf)), np.inf)
            low[name] = (-np.inf, min(least, np.nextafter(middle, -np.inf)))
    ahead = {  # (another label ahead, the given one ahead)
        "label_error": ((np.nextafter(SUSPECT, 1), np.inf), (-np.inf, SUSPECT)),
        "aum": ((-np.inf, np.nextafter(0.0, -1)), (0.0, np.inf)),
    }
    found, by = {}, doubt(scores)
    if "csl" in high and by:
        found["wrong"] = {"csl": high["csl"], by: ahead[by][0]}
        found["hard"] = {"csl": high["csl"], by: ahead[by][1]}
    if "cld" in high:
        found["aligned"] = {"cld": (max(high["cld"][0], np.nextafter(0.0, 1)), np.inf)}
    if "csl" in low and "curvature" in low:
        found["redundant"] = {"csl": low["csl"], "curvature": low["curvature"]}
    return found


def spoken(rule: Mapping[str, tuple[float, float]], titles: Mapping[str, str]) -> str:
    """A rule of `bounds` with its numbers, such as `CSL ≥ 0.79, Label error > 0.5`."""
    said = []
    for score, (lowest, highest) in rule.items():
        end, sign, strict = (lowest, "≥", ">") if np.isinf(highest) else (highest, "≤", "<")
        beside = round(end, 12) + 0.0  # 0 and SUSPECT themselves are outside where the rule begins right beside them
        said.append(f"{titles[score]} {strict if end != beside in (0.0, SUSPECT) else sign} {beside:.3g}")
    return ", ".join(said)


def membership(scores: pd.DataFrame) -> np.ndarray:
    """Which zone each sample is in: (N,) int8, 1 + its place in `NAMES`, 0 for none."""
    zone = np.zeros(len(scores), dtype=np.int8)
    rules = bounds(scores)
    for code, name in reversed(list(enumerate(NAMES, 1))):  # the first one written last
        if name in rules:
            inside = np.ones(len(scores), dtype=bool)
            for score, (lowest, highest) in rules[name].items():
                values = known(scores, score)
                inside &= (values >= lowest) & (values <= highest)
            zone[inside] = code
    return zone


# ---------------------------------------------------------------------------------------------- where samples lie


@dataclass(frozen=True)
class Axis:
    """Where the samples lie along one score: at (N,) float32, NaN where unknown; the drawn range, low < high."""

    at: np.ndarray
    low: float
    high: float


def axis(scores: pd.DataFrame, name: str, scale: str = "percentiles") -> Axis:
    """Positions by `percentiles`, 0 to 100, ties at their middle, or by `values`, the outermost 0.1 % at the border."""
    values = known(scores, name)
    if scale == "percentiles":
        ranks = pd.Series(values).rank(method="average").to_numpy()
        count = max(1, int((~np.isnan(values)).sum()))
        return Axis((100 * (ranks - 0.5) / count).astype(np.float32), 0.0, 100.0)
    low, high = _fences(values)
    return Axis(np.clip(values, low, high).astype(np.float32), low, high)


def _fences(values: np.ndarray) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    if not len(values):
        return 0.0, 1.0
    # `lower` and `higher`: with fewer than a thousand samples nothing is moved.
    low = float(np.quantile(values, FENCE, method="lower"))
    high = float(np.quantile(values, 1 - FENCE, method="higher"))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def place(scores: pd.DataFrame, name: str, value: float, scale: str = "percentiles") -> float:
    """Where a value of a score lies on its `axis`; beyond the samples on its ends."""
    values = known(scores, name)
    if scale == "percentiles":
        count = max(1, int((~np.isnan(values)).sum()))
        below, equal = (values < value).sum(), (values == value).sum()
        return float(100 * (below + equal / 2) / count)
    return float(np.clip(value, *_fences(values)))


@dataclass(frozen=True)
class Region:
    """A rectangle of the map: of the zones `whose`. `exact`: where a rule holds, else where half of a zone is."""

    whose: tuple[str, ...]
    x: tuple[float, float]
    y: tuple[float, float]
    exact: bool


def regions(
    scores: pd.DataFrame, zone: np.ndarray, names: tuple[str, str], lines: tuple[Axis, Axis], scale: str
) -> list[Region]:
    """What to draw of the zones on two scores, `names` across and up; `lines` are their axes, `zone` is `membership`.

    Where a rule's first score (CSL, CLD) is one of the two, it is a rectangle; zones that the two scores cannot tell
    apart share it. Of the other zones the rectangle holds the middle half of their samples in either direction.
    """
    found: dict[tuple, list[str]] = {}
    for name, rule in bounds(scores).items():
        mine = zone == 1 + NAMES.index(name)
        if not mine.any():
            continue
        exact = next(iter(rule)) in names
        sides = []
        for score, line in zip(names, lines):
            if exact and score in rule:
                inner = [end if np.isinf(end) else place(scores, score, end, scale) for end in rule[score]]
                sides.append((max(inner[0], line.low), min(inner[1], line.high)))
            elif exact:
                sides.append((line.low, line.high))
            else:
                there = line.at[mine]
                there = there[~np.isnan(there)]
                sides.append(tuple(np.quantile(there, [0.25, 0.75]).tolist()) if len(there) else (np.nan, np.nan))
        if not np.isnan(sides).any():
            found.setdefault((*sides, exact), []).append(name)
    return [Region(tuple(whose), x, y, exact) for (x, y, exact), whose in found.items()]


# ---------------------------------------------------------------------------------------------- density and points


@dataclass(frozen=True)
class Field:
    """A crowd as a picture: counts by cell (rows up, columns across); points (P,): the rows to draw one by one.

    Where every sample is a point, the counts are 0.
    """

    counts: np.ndarray
    points: np.ndarray


def cells(x: Axis, y: Axis, bins: tuple[int, int] = BINS) -> np.ndarray:
    """The cell of each sample, (N,) int32, row by row from the lower left; -1 where it is not on the map."""
    on = ~(np.isnan(x.at) | np.isnan(y.at))
    found = np.full(len(x.at), -1, dtype=np.int32)
    column, row = (
        np.clip((line.at[on] - line.low) / (line.high - line.low) * many, 0, many - 1).astype(np.int32)
        for line, many in zip((x, y), bins)
    )
    found[on] = row * bins[0] + column
    return found


def density(x: Axis, y: Axis, keep: np.ndarray | None = None, bins: tuple[int, int] = BINS) -> np.ndarray:
    """How many samples (those of `keep` (N,) bool) are in each cell: (bins[1], bins[0]) int64."""
    return _count(cells(x, y, bins), keep, bins)


def _count(cell: np.ndarray, keep: np.ndarray | None, bins: tuple[int, int]) -> np.ndarray:
    mine = cell[cell >= 0] if keep is None else cell[keep & (cell >= 0)]
    return np.bincount(mine, minlength=bins[0] * bins[1]).reshape(bins[1], bins[0])


def field(
    x: Axis,
    y: Axis,
    keep: np.ndarray | None = None,
    *,
    extra: Sequence[int] = (),
    top: int | None = None,
    bins: tuple[int, int] = BINS,
) -> Field:
    """The density of all samples (those of `keep`), and as points `top` of them at most, and the rows `extra`.

    Points are those in the emptiest cells: the extremes of a map are where few others are, whichever scores it shows.
    Among equally empty cells chance decides, the same each time.
    """
    cell = cells(x, y, bins)
    counts = _count(cell, keep, bins).ravel()
    if top is None:
        top = int(np.clip(counts.sum() // 5, *TOP))
    order = np.lexsort([np.random.default_rng(0).permutation(len(counts)), counts])
    sparse = np.zeros(len(counts), dtype=bool)
    sparse[order[np.cumsum(counts[order]) <= top]] = True
    chosen = (cell >= 0) & sparse[cell]
    if keep is not None:
        chosen &= keep
    extra = np.asarray(extra, dtype=np.int64)
    extra = extra[cell[extra] >= 0]
    if keep is not None:
        extra = extra[keep[extra]]
    points = np.union1d(np.flatnonzero(chosen), extra)
    return Field(counts.reshape(bins[1], bins[0]) * (not sparse.all()), points)


# ---------------------------------------------------------------------------------------------- box and lasso


@dataclass(frozen=True)
class Area:
    """A part of the map: a `box` by its lower left and upper right corner, or a `lasso` by its corners in turn."""

    kind: str
    corners: tuple[tuple[float, float], ...]


def box(x0: float, x1: float, y0: float, y1: float) -> Area:
    """A box from any two opposite corners, with the digits that are stored."""
    (x0, x1), (y0, y1) = sorted((x0, x1)), sorted((y0, y1))
    return Area("box", ((_short(x0), _short(y0)), (_short(x1), _short(y1))))


def lasso(xs: Sequence[float], ys: Sequence[float]) -> Area | None:
    """A lasso of at most `CORNERS` corners: those that change its shape least are dropped. None without a surface."""
    corners = np.column_stack([xs, ys]).astype(float)
    if len(corners) < 3 or not np.isfinite(corners).all():
        return None
    if len(corners) > 400:
        corners = corners[np.linspace(0, len(corners) - 1, 400).astype(int)]
    span = np.ptp(corners, axis=0)
    if (span == 0).any():
        return None
    while len(corners) > CORNERS:
        before, after = np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0)
        (ax, ay), (bx, by) = ((corners - before) / span).T, ((after - before) / span).T
        corners = np.delete(corners, np.argmin(np.abs(ax * by - ay * bx)), axis=0)
    return Area("lasso", tuple((_short(x), _short(y)) for x, y in corners.tolist()))


def drawn(selection: Mapping) -> Area | None:
    """The area of a Plotly selection as Streamlit hands it over, the latest one; None if only points were clicked."""
    for kind in ("lasso", "box"):
        shapes = selection.get(kind) or []
        if shapes:
            xs, ys = shapes[-1]["x"], shapes[-1]["y"]
            if kind == "lasso":
                return lasso(xs, ys)
            if len(xs) == len(ys) == 2 and xs[0] != xs[1] and ys[0] != ys[1]:
                return box(*xs, *ys)
    return None


def write_area(area: Area | None) -> str | None:
    """An area as a short text for the URL: `x0_y0~x1_y1` is a box, three corners or more are a lasso."""
    return "~".join(f"{x:.5g}_{y:.5g}" for x, y in area.corners) if area else None


def read_area(text: str | None) -> Area | None:
    """The area of such a text; None where it is none."""
    if not text or len(text) > LONGEST:
        return None
    try:
        corners = [tuple(float(number) for number in corner.split("_")) for corner in text.split("~")]
    except ValueError:
        return None
    if len(corners) > CORNERS or any(len(corner) != 2 for corner in corners):
        return None
    if not (np.abs(corners) < FARTHEST).all():  # nor are nan and inf
        return None
    if len(corners) == 2:
        (x0, y0), (x1, y1) = corners
        return box(x0, x1, y0, y1)
    return lasso(*zip(*corners)) if len(corners) > 2 else None


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def inside(area: Area, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which of N places are in an area, (N,) bool: a box with its border, a lasso by the even-odd rule. NaN is out."""
    corners = np.array(area.corners)
    (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
    within = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    if area.kind == "box":
        return within
    rows = np.flatnonzero(within)  # only these can be inside
    px, py = x[rows].astype(np.float64), y[rows].astype(np.float64)
    odd = np.zeros(len(rows), dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0)):
        if ay != by:
            crosses = (ay > py) != (by > py)
            odd ^= crosses & (px < ax + (py - ay) * (bx - ax) / (by - ay))
    within[rows] = odd
    return within


# ---------------------------------------------------------------------------------------------- the selection


def order(scores: pd.DataFrame) -> np.ndarray:
    """The rows from the most suspicious label on: by label_error, then CSL, both falling, unknown last; (N,) int32."""
    keys = [np.nan_to_num(-known(scores, name), nan=np.inf) for name in ("csl", "label_error")]
    return np.lexsort(keys).astype(np.int32)


def shares(chosen: np.ndarray, whole: np.ndarray, names: Sequence[str], top: int) -> pd.DataFrame:
    """The `top` classes of a selection, most frequent first: index class, columns count, chosen and whole.

    `chosen` and `whole` (C,) are counts by class of the selection and of all samples; the columns of these names are
    the class's share of either, in per cent.
    """
    chosen, whole = np.asarray(chosen), np.asarray(whole)
    rows = np.argsort(-chosen, kind="stable")[:top]
    rows = rows[chosen[rows] > 0]
    return pd.DataFrame(
        {
            "count": chosen[rows],
            "chosen": 100 * chosen[rows] / max(1, chosen.sum()),
            "whole": 100 * whole[rows] / max(1, whole.sum()),
        },
        index=[names[row] for row in rows],
    )
