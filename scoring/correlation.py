"""What the correlation scores are made of: standardised trajectories, blocks, reasons why a score is undefined, checks.

E checkpoints, N samples, C classes. `trajectory` and `pairs` hold the scores themselves. Pearson correlation of raw
trajectories is LTC's (arXiv 2503.09721), of their differences between checkpoints CLD's (arXiv 2508.20230).
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

# Elements of one float64 working block (512 KB): two of them stay in a core's second-level cache.
BLOCK_ELEMENTS = 1 << 16
MIN_BLOCK = 128
PARALLEL_ELEMENTS = 1 << 20  # from here on blocks are shared among threads
# A spread below this share of the trajectory's largest value is float32 rounding (about 5e-8 of it for differences).
FLAT = 1e-6
# A variance below this share of the mean square has lost digits in a sum of squares: it is computed from deviations.
CANCELLED = 1e-6
DEFINED, CONSTANT, CLASS_MEAN, MISSING, TOO_FEW = range(5)


@dataclass(frozen=True)
class Undefined:
    """Why scores are NaN: number of samples (of pairs, for `correlations`) for each reason, the first that applies.

    too_few: fewer than 3 checkpoints for differences, 2 for losses. missing: a loss of the sample is not finite.
    class_mean: its class has no validation samples, or their mean does not vary; for a query, its trajectory misses a
    value or does not vary. constant: the sample's own trajectory does not vary (for CLD: its differences do not).
    Scores that are not correlations are NaN for one reason only, missing.
    """

    constant: int = 0
    class_mean: int = 0
    missing: int = 0
    too_few: int = 0

    @property
    def total(self) -> int:
        return self.constant + self.class_mean + self.missing + self.too_few


def own_class(losses, labels, means, *, differences: bool) -> tuple[np.ndarray, np.ndarray]:
    """(r (N,) float64, reason (N,) uint8) of each sample's trajectory with its own class's mean trajectory."""
    means = float_matrix(means, "means").astype(np.float64)
    losses, labels = checked(losses, labels, means.shape[1])
    if len(means) != len(losses):
        raise ValueError(f"losses {losses.shape} and means {means.shape} differ in checkpoints (the first axis)")
    r = np.full(losses.shape[1], np.nan)
    reason = np.full(losses.shape[1], TOO_FEW, dtype=np.uint8)
    if len(losses) < 2 + differences:
        return r, reason
    with np.errstate(invalid="ignore", over="ignore"):
        reference, flat = standardised(means, differences)
    reference[:, flat] = np.nan
    threads = 1 if losses.size < PARALLEL_ELEMENTS else min(8, os.cpu_count() or 1)
    # Each thread has two working blocks: together they stay below a tenth of the losses, even of small ones.
    width = max(MIN_BLOCK, min(BLOCK_ELEMENTS, losses.size // (50 * threads)) // len(losses))

    def share(first: int) -> None:
        room = np.empty((2, len(losses) * width))
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):  # of this thread; what is missing is masked
            for start in range(first * 4 * width, len(r), threads * 4 * width):
                part = slice(start, min(start + 4 * width, len(r)))
                found = _with_reference(losses[:, part], labels[part], reference, differences, room)
                r[part], reason[part] = masked(*found[:2], flat[labels[part]], found[2])

    if threads == 1:
        share(0)
    else:  # numpy lets go of the interpreter's lock, and blocks do not share anything
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(share, range(threads)))
    return r, reason


def _with_reference(losses, labels, reference, differences: bool, room) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(r, missing, constant), each (B,), of losses (E, B) with the standardised reference of each one's label.

    The reference has zero mean and unit length, so a trajectory need not be centred for the product, and its own length
    follows from sums of squares. Where digits may have cancelled in them, the plain way decides. `room` (2, elements)
    holds two working blocks.
    """
    rows, count = len(losses), losses.shape[1]
    width = room.shape[1] // rows
    total, square, product, reach = np.empty((4, count))
    for start in range(0, count, width):
        part = slice(start, start + width)
        own = labels[part]
        first, second = (flat[: rows * len(own)].reshape(rows, len(own)) for flat in room)
        np.copyto(first, losses[:, part])
        if differences:
            steps = np.subtract(first[1:], first[:-1], out=second[1:])
            np.subtract(first[-1], first[0], out=total[part])
            np.abs(first[0], out=reach[part])
            first = first[1:]
        else:
            steps, first = first, second
            steps.sum(axis=0, out=total[part])
        np.einsum("tn,tn->n", steps, steps, out=square[part])
        # mode="clip" (labels are checked) lets numpy fill `out` directly, ten times as fast as through a copy.
        np.take(reference, own, axis=1, out=first, mode="clip")
        np.einsum("tn,tn->n", steps, first, out=product[part])
    steps = len(reference)
    spread = np.sqrt(square * steps)
    # No loss is farther from 0 than this, by Cauchy and Schwarz: so their maximum is seldom needed.
    reach = reach + spread if differences else spread
    variance = square - total * total / steps
    missing = ~np.isfinite(square)
    doubtful = np.flatnonzero(~(variance > np.maximum(CANCELLED * square, (FLAT * reach) ** 2 * steps)) & ~missing)
    constant = np.zeros(count, dtype=bool)
    r = product / np.sqrt(variance)
    for start in range(0, len(doubtful), width):
        part = doubtful[start : start + width]
        columns, constant[part] = standardised(losses[:, part].astype(np.float64), differences)
        r[part] = np.einsum("tn,tn->n", columns, reference[:, labels[part]])
    return r, missing, constant


def masked(r, missing, class_mean, constant) -> tuple[np.ndarray, np.ndarray]:
    """r within [-1, 1] and NaN where undefined, and the reason for each sample."""
    reason = np.select([missing, class_mean, constant], [MISSING, CLASS_MEAN, CONSTANT], DEFINED).astype(np.uint8)
    return np.where(reason == DEFINED, np.clip(r, -1.0, 1.0), np.nan), reason


def on_differences(on: str) -> bool:
    if on not in ("differences", "losses"):
        raise ValueError(f'on must be "differences" or "losses", got {on!r}')
    return on == "differences"


def standardised(columns: np.ndarray, differences: bool) -> tuple[np.ndarray, np.ndarray]:
    """Columns (E, B) centred and scaled to unit length, of their differences if asked; (B,) bool where they are flat.

    `columns` is overwritten. A flat or missing column comes out as NaN or noise: mask it with the second result.
    """
    scale = np.maximum(columns.max(axis=0), -columns.min(axis=0))
    if differences:
        columns = np.subtract(columns[1:], columns[:-1])
    columns -= columns.mean(axis=0)
    length = np.sqrt(np.einsum("tn,tn->n", columns, columns))
    flat = ~(length > FLAT * scale * np.sqrt(len(columns)))  # also true for NaN
    length[flat] = np.nan
    columns /= length
    return columns, flat


def count_reasons(reason: np.ndarray) -> Undefined:
    """How many samples have each reason, from `masked`."""
    counts = np.bincount(reason, minlength=5)
    return Undefined(*(int(counts[code]) for code in (CONSTANT, CLASS_MEAN, MISSING, TOO_FEW)))


def blocks(elements: int, count: int):
    """Slices of `count` items with `elements` numbers each, about BLOCK_ELEMENTS / 2 numbers a slice."""
    width = max(MIN_BLOCK, BLOCK_ELEMENTS // 2 // elements)
    return (slice(start, start + width) for start in range(0, count, width))


def float_matrix(values, name: str, axes: str = "(checkpoints, samples) with at least one checkpoint") -> np.ndarray:
    values = np.asarray(values)
    empty = values.ndim == 2 and values.shape[0] == 0 and "at least" in axes
    if values.ndim != 2 or empty or not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"{name} must be a float array {axes}, got {values.dtype} {values.shape}")
    return values


def checked(losses, labels, classes: int) -> tuple[np.ndarray, np.ndarray]:
    losses, labels = float_matrix(losses, "losses"), np.asarray(labels)
    turned = (
        ", with the samples in rows: transpose them" if labels.shape == losses.shape[:1] != losses.shape[1:] else ""
    )
    check_labels(labels, losses.shape[1], classes, f"losses {losses.shape}{turned}")
    return losses, labels


def check_labels(labels: np.ndarray, count: int, classes: int, beside: str) -> None:
    """ValueError unless `labels` are `count` class indices in 0..classes-1; `beside` says what they belong to."""
    if labels.shape != (count,):
        raise ValueError(f"labels {labels.shape} do not match {beside}: expected ({count},)")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integer class indices, got {labels.dtype}")
    if count and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(f"labels must be in 0..{classes - 1}, got {labels.min()}..{labels.max()}")
