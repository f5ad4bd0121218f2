"""The report's drawings as inline SVG. Colours come from the style sheet's classes; each drawing says what it shows."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

from lossprint.audit.report.facts import Place
from lossprint.audit.report.words import NBSP, text
from lossprint.scoring.intervals import Interval

POINTS = 240  # of a long curve that many are drawn


def loss_print(losses: np.ndarray, mean: np.ndarray | None, top: float, label: str) -> Markup:
    """One sample's losses (E,) over its class's mean (E,), on a scale from 0 to `top` nats that a page shares."""
    width, height = 160, 46
    known = np.isfinite(losses)
    if not known.any():
        return Markup()

    def place(values: np.ndarray) -> str:
        across = np.linspace(2, width - 2, max(len(values), 2))[: len(values)]
        down = height - 2 - (height - 4) * np.clip(values / top, 0, 1)
        return _path(across, down)

    said = f"loss {losses[known][0]:.1f} at first, {losses[known][-1]:.1f} at last"
    behind = ""
    if mean is not None and np.isfinite(mean).any():
        behind = f'<path class="mean" d="{place(mean)}"/>'
        said += f"; the mean of {text(label, 40)} ends at {mean[np.isfinite(mean)][-1]:.1f}"
    return Markup(
        f'<svg class="print" viewBox="0 0 {width} {height}" role="img" aria-label="Loss print: {escape(said)}">'
        f'<path class="axis" d="M0.5 0V{height - 0.5}H{width}"/>{behind}<path class="line" d="{place(losses)}"/></svg>'
    )


def yield_curve(reviewed: np.ndarray, errors: np.ndarray, ahead: int, coming: Interval | None) -> Markup:
    """Errors found against suggestions reviewed, (A,) each, and the band of what the next `ahead` are expected to hold.

    Beside a dotted line along which every suggestion would be an error.
    """
    reviewed, errors = np.r_[0, reviewed], np.r_[0, errors]
    last, found = int(reviewed[-1]), int(errors[-1])
    end = last + (ahead if coming else 0)
    high = max(found + (coming.high if coming else 0), 1)
    frame = Frame(560, 300, end, min(high * 1.08, max(end, 1)))
    at = np.unique(np.linspace(0, len(reviewed) - 1, POINTS).astype(int))
    reach = min(end, frame.top)
    parts = [frame.axes("suggestions reviewed", "errors found")]
    parts.append(f'<path class="all" d="{frame.path([0, reach], [0, reach])}"/>')
    said = f"{found:,} errors found in {last:,} reviewed suggestions"
    if coming:
        ends = found + coming.high, found + coming.low
        band = frame.path([last, end, end, last], [found, ends[0], ends[1], found])
        middle = frame.path([last, end], [found, found + coming.estimate])
        parts += [f'<path class="band" d="{band}Z"/>', f'<path class="next" d="{middle}"/>']
        said += (
            f"; the next {ahead:,} are expected to hold about {coming.estimate:,.0f}, "
            f"from {coming.low:,.0f} to {coming.high:,.0f}"
        )
    parts.append(f'<path class="line" d="{frame.path(reviewed[at], errors[at])}"/>')
    return frame.svg(parts, f"Yield curve: {said}.")


def accuracies(rows: Sequence[tuple[str, np.ndarray]]) -> Markup:
    """Accuracies in [0, 1] of several trainings as dots, a row for each way of training (name, one value a seed)."""
    values = 100 * np.concatenate([each for _, each in rows])
    low, high = float(values.min()), float(values.max())
    margin = max(0.15 * (high - low), 0.25)
    low, high = max(0.0, low - margin), min(100.0, high + margin)
    width, left, step = 560, 156, 46
    height = step * len(rows) + 44

    def across(value: float) -> float:
        return left + 16 + (width - left - 36) * (value - low) / (high - low)

    parts, said = [], []
    for tick in ticks(low, high, 5):
        x = across(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} 6V{height - 34}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 16}" text-anchor="middle">{tick:g}{NBSP}%</text>')
    for at, (name, each) in enumerate(rows):
        y = step * at + 30
        mean = 100 * float(np.mean(each))
        parts.append(f'<text x="{left}" y="{y + 5}" text-anchor="end">{escape(text(name, 30))}</text>')
        parts += [f'<circle class="dot" cx="{across(100 * float(one)):.1f}" cy="{y}" r="5"/>' for one in each]
        parts.append(f'<path class="tick" d="M{across(mean):.1f} {y - 13}V{y + 13}"/>')
        said.append(f"{text(name, 30)} {mean:.1f} % on average")
    label = f"Accuracy of each training: {', '.join(said)}."
    return _plot(width, height, parts, label)


def place_in_video(place: Place, what: str) -> Markup:
    """Where a segment lies in its video, with a tick where each of the given phases begins; `what` says it in words."""
    width, height = 640, 16

    def across(at: int) -> str:
        return f"{width * at / max(place.count, 1):.1f}"

    first, stop = across(place.first), across(place.stop)
    ticks = "".join(f"M{across(int(at))} 3V{height - 3}" for at in place.edges)
    inside = f'<path class="tick" d="M{across(place.middle)} 0V{height}"/>' if place.middle is not None else ""
    size = f'viewBox="0 0 {width} {height}" preserveAspectRatio="none"'
    return Markup(
        f'<svg class="place" {size} role="img" aria-label="{escape(what)}">'
        f'<path class="axis" d="M0 {height / 2}H{width}{ticks}"/>'
        f'<path class="band" d="M{first} 1H{stop}V{height - 1}H{first}Z"/>'
        f'<path class="next" d="M{first} 0V{height}M{stop} 0V{height}"/>{inside}</svg>'
    )


class Frame:
    """A plot of `width` x `height` units whose axes run from 0 to `end` and to `top`."""

    def __init__(self, width: int, height: int, end: float, top: float):
        self.width, self.height = width, height
        self.end, self.top = max(float(end), 1.0), max(float(top), 1.0)
        self.left, self.right, self.above, self.below = 54, 14, 10, 48

    def path(self, x, y) -> str:
        x, y = np.asarray(x, float), np.asarray(y, float)
        across = self.left + (self.width - self.left - self.right) * x / self.end
        down = self.height - self.below - (self.height - self.above - self.below) * y / self.top
        return _path(across, down)

    def axes(self, x: str, y: str) -> str:
        parts = []
        floor, edge = self.height - self.below, self.width - self.right
        for tick in ticks(0, self.top, 5):
            at = floor - (floor - self.above) * tick / self.top
            parts.append(f'<path class="grid" d="M{self.left} {at:.1f}H{edge}"/>')
            parts.append(f'<text x="{self.left - 8}" y="{at + 5:.1f}" text-anchor="end">{tick:,g}</text>')
        for tick in ticks(0, self.end, 6):
            at = self.left + (edge - self.left) * tick / self.end
            parts.append(f'<text x="{at:.1f}" y="{floor + 19}" text-anchor="middle">{tick:,g}</text>')
        middle = (self.left + edge) / 2
        parts.append(f'<text x="{middle:.0f}" y="{self.height - 6}" text-anchor="middle">{x}</text>')
        height = (self.above + floor) / 2
        parts.append(f'<text transform="translate(13 {height:.0f}) rotate(-90)" text-anchor="middle">{y}</text>')
        return "".join(parts)

    def svg(self, parts: list[str], label: str) -> Markup:
        return _plot(self.width, self.height, parts, label)


def _plot(width: int, height: int, parts: list[str], label: str) -> Markup:
    size = f'viewBox="0 0 {width} {height}"'
    return Markup(f'<svg class="plot" {size} role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>')


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from `low` to `high`, about `most` of them and never twice as many."""
    span = max(high - low, 1e-9)
    size = 10.0 ** np.floor(np.log10(span / most))
    step = next(size * one for one in (1, 2, 5, 10) if span / (size * one) <= most)
    first = int(np.ceil(low / step - 1e-9))
    return [round(step * at, 9) for at in range(first, int(np.floor(high / step + 1e-9)) + 1)]


def _path(across: np.ndarray, down: np.ndarray) -> str:
    """Straight lines through points, broken where one is not known."""
    said, gap = [], True
    for x, y in zip(np.asarray(across, float).tolist(), np.asarray(down, float).tolist()):
        if np.isfinite(y):
            said.append(f"{'M' if gap else 'L'}{x:.1f} {y:.1f}")
        gap = not np.isfinite(y)
    return "".join(said)
