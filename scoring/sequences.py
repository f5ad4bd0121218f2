"""Scores of video frames and the spans that they form; arrays only.

Rows are frames; those of one sequence lie together, in the order of time, and `bounds` (S + 1,) says where each of the
S sequences begins: sequence s has the rows bounds[s] to bounds[s + 1] - 1.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spans:
    """K stretches of neighbouring frames. start, stop (K,) rows, stop excluded; severity (K,): high is suspect."""

    start: np.ndarray
    stop: np.ndarray
    severity: np.ndarray


def bounds_of(names: np.ndarray) -> np.ndarray:
    """The bounds (S + 1,) of the S stretches of equal neighbours in `names` (N,)."""
    return np.r_[0, np.flatnonzero(names[1:] != names[:-1]) + 1, len(names)]


def smoothed(values: np.ndarray, bounds: np.ndarray, width: int) -> np.ndarray:
    """Centred moving mean (N,) over `width` frames (odd) of values (N,), within each sequence, NaN left out.

    At the ends of a sequence the window is cut, not padded. A window without any value gives NaN. Raises ValueError for
    a width that is not odd and positive. "Loss Knows Best", post-processing: it suppresses flicker, and it blurs
    errors of order that are shorter than the window.
    """
    if width < 1 or width % 2 == 0:
        raise ValueError(f"expected an odd width of 1 or more, found {width}")
    first, last = _reach(bounds, len(values))
    rows, half = np.arange(len(values)), width // 2
    return _means(values, np.maximum(rows - half, first), np.minimum(rows + half + 1, last))


def spans(values: np.ndarray, bounds: np.ndarray, *, high: float, low: float, gap: int = 0, shortest: int = 1) -> Spans:
    """Hysteresis: stretches of values (N,) of `low` and more that reach `high` somewhere.

    Stretches of a sequence with at most `gap` frames between them become one first, so a flicker does not cut a span;
    those of fewer than `shortest` frames are dropped. NaN counts as below `low`. Severity is the mean of the known
    values in the span. Raises ValueError where low is above high.
    """
    if low > high:
        raise ValueError(f"expected low of at most high, found {low} and {high}")
    values = np.asarray(values, float)
    first, _ = _reach(bounds, len(values))
    rows = np.flatnonzero(values >= low)
    if not len(rows):
        return Spans(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    new = np.r_[True, (np.diff(rows) > gap + 1) | (first[rows[1:]] != first[rows[:-1]])]
    begins = np.flatnonzero(new)
    start, stop = rows[begins], rows[np.r_[begins[1:], len(rows)] - 1] + 1
    peak = np.maximum.reduceat(values[rows], begins)
    keep = (peak >= high) & (stop - start >= shortest)
    start, stop = start[keep], stop[keep]
    return Spans(start, stop, _means(values, start, stop))


def matched(found: Spans, start: np.ndarray, stop: np.ndarray, overlap: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Which true spans, rows start to stop (T,) excluded, are found, and which found spans are true: (T,), (K,) bool.

    Overlap is intersection over union. A found span counts for one true span at most, the best pairs first, so that a
    span cut in two is not counted twice.
    """
    inside = np.minimum(found.stop[:, None], stop) - np.maximum(found.start[:, None], start)
    union = (found.stop - found.start)[:, None] + (stop - start) - np.maximum(inside, 0)
    ratio = np.maximum(inside, 0) / np.maximum(union, 1)
    hit, right = np.zeros(len(start), bool), np.zeros(len(found.start), bool)
    for flat in np.argsort(-ratio, axis=None, kind="stable"):
        one, truth = np.unravel_index(flat, ratio.shape)
        if ratio[one, truth] < overlap:
            break
        if not hit[truth] and not right[one]:
            hit[truth] = right[one] = True
    return hit, right


def _means(values: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Means (K,) of the known among the values start to stop (K,), stop excluded; NaN where none is known."""
    values = np.asarray(values, float)
    known = np.isfinite(values)
    total = np.r_[0.0, np.cumsum(np.where(known, values, 0.0))]
    count = np.r_[0, np.cumsum(known)]
    here = count[stop] - count[start]
    return np.where(here > 0, (total[stop] - total[start]) / np.maximum(here, 1), np.nan)


def _reach(bounds: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row the first of its sequence, and the one after the last."""
    bounds = np.asarray(bounds, np.int64)
    if len(bounds) < 1 or bounds[0] != 0 or bounds[-1] != rows or (np.diff(bounds) < 0).any():
        raise ValueError(f"expected ascending bounds from 0 to {rows}, found {bounds[:5].tolist()}...")
    sizes = np.diff(bounds)
    return np.repeat(bounds[:-1], sizes), np.repeat(bounds[1:], sizes)
