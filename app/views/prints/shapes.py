"""The shapes that loss trajectories have, and the numbers behind the heat map and the quantile bands. No Streamlit.

Two levels of the loss carry the rules, both measured from chance, the loss ln(classes) of an even guess:

    low    min(ln(classes) / 2, ln 2): from four classes on, the given label has at least half of the probability
    high   twice that, min(ln(classes), ln 4): it has a quarter or less, with two or three classes no more than a guess

Without labels both are measured from the losses themselves, see `levels`.
What is early is measured by the sample's own class. A loss that is not finite counts as not recorded.
"""

import math
from dataclasses import dataclass

import numpy as np

from lossprint.audit.types import Trajectory

FEW = {
    1: "Only one checkpoint was recorded: when a loss falls and whether it rises again cannot be told from it.",
    2: "Only two checkpoints were recorded: early and late are one step apart, and a rise may be chance.",
}

EARLY, LATE, NEVER, AGAIN = range(4)
UNTOLD = -1
BAND = (0.1, 0.5, 0.9)
CHUNK = 65_536  # samples looked at together: a few megabytes at any number of checkpoints
CELLS = 2_000_000  # losses sorted together


@dataclass(frozen=True)
class Shape:
    """A shape of the loss trajectory: its name, and its rule in one sentence, in which {third} is a checkpoint."""

    name: str
    rule: str


SHAPES = (
    Shape("Falls early", "Low by checkpoint {third}, or no later than half of its class, and never high after that."),
    Shape("Falls late", "Low only after checkpoint {third} and after half of its class, and never high after that."),
    Shape("Never falls", "Not low at any checkpoint: the model never took to the label."),
    Shape("Rises again", "Was low and later high, at a checkpoint at which the median of its class was not."),
)


@dataclass(frozen=True)
class Shapes:
    """The shape of each of N samples.

    code (N,) int8: an index into `SHAPES`, or -1 where fewer than half of the losses are known. fell (N,) int16: at
    which row of the trajectory the loss was low first, the number of rows where never. low and high are losses in nats.
    third: the number of rows that count as early for every class. typical (classes,) int64: the row by which half of a
    class was low. bands (classes, 3, E) float32: 10 %, median and 90 % of each class, NaN where there is none.
    """

    code: np.ndarray
    fell: np.ndarray
    low: float
    high: float
    third: int
    typical: np.ndarray
    bands: np.ndarray

    def counts(self) -> np.ndarray:
        """How many samples have each of `SHAPES`; those that cannot be told are in none."""
        return np.bincount(self.code[self.code >= 0], minlength=len(SHAPES))


@dataclass(frozen=True)
class Blocks:
    """A heat map of samples in some order: rows are blocks of them, as equal in number as they can be.

    edges (B + 1,) int64: block b holds the places edges[b] to edges[b + 1] of the order. mean (B, K) float32: mean loss
    in nats at the trajectory's rows steps (K,), NaN where no loss of a block is known.
    """

    edges: np.ndarray
    steps: np.ndarray
    mean: np.ndarray

    def sizes(self) -> np.ndarray:
        return np.diff(self.edges)

    def around(self, first: int, end: int) -> tuple[int, int]:
        """The first and the last block that the places `first` to `end` (one after the last) of the order lie in."""
        low, high = np.searchsorted(self.edges, [first, end - 1], side="right") - 1
        return int(low), int(high)


def levels(classes: int, losses: np.ndarray | None = None) -> tuple[float, float]:
    """The losses in nats up to which a loss is low and above which it is high.

    With one class (samples without labels) nothing says what a guess would lose: the losses (E, N) themselves do. High
    is then above their median at the first checkpoint, low below halfway from there to the median at the last. Without
    them one class is taken as two.
    """
    if classes == 1 and losses is not None and len(losses) > 1:
        ends, columns = losses[[0, -1]], np.arange(losses.shape[1])
        first, last = quantiles(ends, columns, (0.5,))[0].astype(float).tolist()
        if last < first:
            return (first + last) / 2, first
    low = min(math.log(max(2, classes)) / 2, math.log(2))
    return low, 2 * low


# ---------------------------------------------------------------------------------------------- quantiles


def quantiles(losses: np.ndarray, columns: np.ndarray, shares: tuple[float, ...] = BAND) -> np.ndarray:
    """Quantiles (len(shares), E) of the losses (E, N) of some columns at each checkpoint, NaN where none is known."""
    found = np.full((len(shares), len(losses)), np.nan, np.float32)
    if not len(columns):
        return found
    many = max(1, CELLS // len(columns))
    for start in range(0, len(losses), many):
        block = losses[start : start + many].take(columns, axis=1)
        block[~np.isfinite(block)] = np.nan  # sorted to the end
        block.sort(axis=1)
        known = block.shape[1] - np.isnan(block).sum(axis=1)
        rows = np.flatnonzero(known)
        last = known[rows] - 1
        place = np.asarray(shares)[:, None] * last
        below = place.astype(np.int64)
        lower, upper = block[rows, below], block[rows, np.minimum(below + 1, last)]
        found[:, start + rows] = lower + (upper - lower) * (place - below)
    return found


def class_quantiles(trajectory: Trajectory, classes: int, shares: tuple[float, ...] = BAND) -> np.ndarray:
    """Quantiles (classes, len(shares), E) of the loss of each class at each checkpoint."""
    order = np.argsort(trajectory.labels, kind="stable")
    ends = np.searchsorted(trajectory.labels, np.arange(classes + 1), sorter=order)
    found = [quantiles(trajectory.losses, order[ends[c] : ends[c + 1]], shares) for c in range(classes)]
    return np.array(found, np.float32).reshape(classes, len(shares), len(trajectory.losses))


def hardest(bands: np.ndarray, top: int) -> list[int]:
    """The classes (indices) whose median loss is highest over all checkpoints; `bands` as in `Shapes`."""
    medians = bands[:, 1].astype(np.float64)
    known = np.isfinite(medians)
    number = known.sum(axis=1)
    mean = np.where(known, medians, 0).sum(axis=1) / np.maximum(number, 1)
    order = np.argsort(np.where(number > 0, -mean, np.inf), kind="stable")[:top]
    return [int(label) for label in order if number[label]]


# ---------------------------------------------------------------------------------------------- shapes


def shapes_of(trajectory: Trajectory, classes: int) -> Shapes:
    """The shape of each trajectory. With fewer than two checkpoints none can be told."""
    losses, labels = trajectory.losses, trajectory.labels
    steps, count = losses.shape
    low, high = levels(classes, losses)
    bands = class_quantiles(trajectory, classes)
    calm = ~(bands[:, 1] > high).T  # (E, classes): where a rise is the sample's own and not that of its whole class
    fell = np.full(count, steps, np.int16)
    rose, told = np.zeros(count, bool), np.zeros(count, bool)
    for start in range(0, count, CHUNK):
        mine = slice(start, start + CHUNK)
        part = losses[:, mine]
        known = np.isfinite(part)
        is_low = known & (part <= low)
        fell[mine] = np.where(is_low.any(axis=0), is_low.argmax(axis=0), steps)
        been_low = np.logical_or.accumulate(is_low, axis=0)
        rose[mine] = (been_low & known & (part > high) & calm[:, labels[mine]]).any(axis=0)
        told[mine] = 2 * known.sum(axis=0) >= steps
    told &= steps >= 2
    typical = _typical(fell[told], labels[told], classes, steps)
    third = -(-steps // 3)
    code = np.full(count, LATE, np.int8)
    code[fell <= np.maximum(typical[labels], third - 1)] = EARLY
    code[fell == steps] = NEVER
    code[rose] = AGAIN
    code[~told] = UNTOLD
    return Shapes(code, fell, low, high, third, typical, bands)


def _typical(fell: np.ndarray, labels: np.ndarray, classes: int, steps: int) -> np.ndarray:
    """Per class the first row by which at least half of its samples have been low; `steps` where that never comes."""
    flat = labels.astype(np.int64) * (steps + 1) + fell
    reached = np.bincount(flat, minlength=classes * (steps + 1)).reshape(classes, steps + 1).cumsum(axis=1)
    return (2 * reached >= reached[:, -1:]).argmax(axis=1)


# ---------------------------------------------------------------------------------------------- the heat map


def rank(values: np.ndarray, suspect: str) -> np.ndarray:
    """The places (N,) int32 of the samples, the suspect end first (the high one where there is none), NaN last."""
    keys = np.array(values, np.float64)
    if suspect != "low":
        keys = -keys
    return np.argsort(keys, kind="stable").astype(np.int32)  # NaN goes last in either direction


def spread(number: int, most: int) -> np.ndarray:
    """At most `most` of the indices 0 to number - 1, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, number - 1, min(number, most)).round().astype(np.int64))


def blocks(losses: np.ndarray, order: np.ndarray, rows: int = 240, columns: int = 48) -> Blocks:
    """The heat map of the samples at the places `order` of losses (E, N), with at most `rows` x `columns` cells."""
    edges = np.linspace(0, len(order), min(len(order), rows) + 1).astype(np.int64)
    steps = spread(len(losses), columns)
    mean = np.full((len(edges) - 1, len(steps)), np.nan, np.float32)
    for at, step in enumerate(steps if len(order) else ()):
        row = losses[step].take(order)
        known = np.isfinite(row)
        if known.all():
            mean[:, at] = np.add.reduceat(row, edges[:-1], dtype=np.float64) / np.diff(edges)
            continue
        number = np.add.reduceat(known, edges[:-1], dtype=np.int64)
        total = np.add.reduceat(np.where(known, row, 0), edges[:-1], dtype=np.float64)
        mean[:, at] = np.divide(total, number, out=np.full(len(number), np.nan), where=number > 0)
    return Blocks(edges, steps, mean)


def said(value: float) -> str:
    """A value in three digits. Infinite is the checkpoint at which a loss was low first where it never was."""
    return "unknown" if np.isnan(value) else "never" if np.isinf(value) else f"{value:.3g}"


def rows_text(first: int, end: int) -> str:
    """Places of an order, `end` being one after the last, as ranks that `parse_rows` reads."""
    return f"{first + 1}-{end}" if end - first > 1 else f"{first + 1}"


def parse_rows(text: str, count: int) -> tuple[int, int] | None:
    """Ranks such as `17-33` or `5` as places of an order: (first, one after the last). None where it says no ranks.

    Ranks count from 1; what lies beyond `count` is cut off.
    """
    pieces = [piece.strip() for piece in text.replace("–", "-").replace(",", "").split("-")]
    if len(pieces) > 2 or not all(piece.isascii() and piece.isdigit() and len(piece) < 12 for piece in pieces):
        return None
    first, last = int(pieces[0]), int(pieces[-1])
    if not 1 <= first <= min(last, count):
        return None
    return first - 1, min(last, count)
