"""Scores of a sample's loss trajectory: CLD, LTC, CSL, AUM, forgetting and data-map statistics.

Throughout, E is the number of checkpoints, N of scored samples, M of validation samples, C of classes. `losses` is
(E, N): one row a checkpoint in training order, natural log. Input may be float32; sums run in float64. Work goes in
blocks of samples that fit in a core's cache, so that no (E, N) float64 copy is ever made. An undefined score is NaN,
never 0. A loss that is not finite counts as missing. Wrong shapes raise ValueError and state both.

Sources: CLD, arXiv 2508.20230; LTC, arXiv 2503.09721; CSL, "Loss Knows Best" (2026) and ICML 2025; AUM, arXiv
2001.10528; forgetting, arXiv 1812.05159; data maps, arXiv 2009.10795. `Stream` gives all of them in one pass over the
checkpoints, holding a few numbers a sample.
"""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from lossprint.scoring.running import Correlation, Margins, Moments

# Elements of one float64 working block (256 KB): several of them stay in a core's second-level cache.
BLOCK_ELEMENTS = 1 << 15
MIN_BLOCK = 128
PARALLEL_ELEMENTS = 1 << 20  # from here on blocks are shared among threads
# A spread below this share of the trajectory's largest value is float32 rounding (about 5e-8 of it for differences).
FLAT = 1e-6
DEFINED, CONSTANT, CLASS_MEAN, MISSING, TOO_FEW = range(5)


@dataclass(frozen=True)
class Undefined:
    """Why correlations of a set of samples are NaN: number of samples for each reason, the first that applies.

    too_few: fewer than 3 checkpoints for CLD, 2 for LTC. missing: a loss of the sample is not finite. class_mean: its
    class has no validation samples, or their mean does not vary. constant: the sample's own trajectory does not vary
    (for CLD: its differences do not).
    """

    constant: int = 0
    class_mean: int = 0
    missing: int = 0
    too_few: int = 0

    @property
    def total(self) -> int:
        return self.constant + self.class_mean + self.missing + self.too_few


def class_means(losses: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Mean loss of each class's validation samples at each checkpoint: losses (E, M), labels (M,) -> (E, C) float64.

    A sample with a missing loss at any checkpoint is left out at all of them, so that every value of a column averages
    the same samples and no step in it comes from a change of company. A class with no complete sample is NaN.
    """
    losses, labels = _checked(losses, labels, classes)
    complete = np.ones(losses.shape[1], dtype=bool)
    for row in losses:
        complete &= np.isfinite(row)
    kept = labels[complete]
    counts = np.bincount(kept, minlength=classes).astype(np.float64)
    counts[counts == 0] = np.nan
    means = np.empty((losses.shape[0], classes))
    for row, mean in zip(losses, means):
        mean[:] = np.bincount(kept, weights=row[complete], minlength=classes) / counts
    return means


def cld(losses: np.ndarray, labels: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Correlation of loss differences: losses (E, N), labels (N,), means (E, C) from `class_means` -> (N,) in [-1, 1].

    Pearson correlation of l_i(t+1) - l_i(t) with v_c(t+1) - v_c(t), c the sample's own class. High: aligned with
    generalisation; low is the suspect end. NaN where undefined (see `Undefined`). arXiv 2508.20230, the CLD score.
    """
    return _class_correlation(losses, labels, means, differences=True)[0]


def ltc(losses: np.ndarray, labels: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Loss trajectory correlation: as `cld`, but of the raw trajectories l_i(t) and v_c(t). Low is the suspect end.

    arXiv 2503.09721.
    """
    return _class_correlation(losses, labels, means, differences=False)[0]


def undefined_reasons(losses: np.ndarray, labels: np.ndarray, means: np.ndarray, *, on: str = "differences"):
    """Counts of why `cld` (on="differences") or `ltc` (on="losses") is NaN, as `Undefined`. Arguments as there."""
    return _count(_class_correlation(losses, labels, means, differences=_on_differences(on))[1])


def csl(losses: np.ndarray) -> np.ndarray:
    """Cumulative sample loss: the mean over checkpoints, losses (E, N) -> (N,) nats. High is the suspect end.

    NaN where a loss is missing: a mean over fewer checkpoints is not comparable.
    """
    return _mean_rows(losses, "losses")


def aum(margins: np.ndarray) -> np.ndarray:
    """Area under the margin: mean over checkpoints of margins (E, N), logit of the given label minus the largest other
    one -> (N,) logits. Low is the suspect end. NaN where a margin is missing. arXiv 2001.10528, equation 2.
    """
    return _mean_rows(margins, "margins")


def forgetting(correct: np.ndarray) -> np.ndarray:
    """Forgetting events: correct (E, N) bool -> (N,) int64, how often a correct prediction was followed by a wrong one.

    A sample that is never correct counts as most forgotten: E events, one more than can be observed. High is suspect.
    arXiv 1812.05159 counts per presentation of the sample; here it is per checkpoint.
    """
    correct = np.asarray(correct)
    if correct.ndim != 2 or correct.dtype != bool:
        raise ValueError(f"correct must be a bool array (checkpoints, samples), got {correct.dtype} {correct.shape}")
    events = np.zeros(correct.shape[1], dtype=np.int64)
    for before, after in itertools.pairwise(correct):
        events += before & ~after
    events[~correct.any(axis=0)] = correct.shape[0]
    return events


def data_map(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over checkpoints of p_y = exp(-loss): losses (E, N) -> two (N,) arrays.

    The mean is the data map's confidence (low is suspect), the deviation (population form) its variability (high:
    ambiguous). NaN where a loss is missing. arXiv 2009.10795, section 2.
    """
    losses = _matrix(losses, "losses")
    mean, spread = np.empty((2, losses.shape[1]))
    for part in _blocks(losses):
        p = np.exp(-_finite(losses[:, part]))
        mean[part] = p.mean(axis=0)
        p -= mean[part]
        spread[part] = np.sqrt(np.einsum("tn,tn->n", p, p) / len(p))
    return mean, spread


class Stream:
    """The scores of this module from one checkpoint at a time, in O(N) memory; equal to the batch forms.

    labels (N,) class indices below `classes`. `columns` names what to keep: fewer is faster and smaller (about 110
    bytes a sample for all of them, 40 for "cld" alone). Call `update` once a checkpoint in training order, then
    `result`. Checkpoints are not kept: a run that goes on adds its further ones to the same stream.
    """

    COLUMNS = ("cld", "ltc", "csl", "aum", "forgetting", "p_mean", "p_std")

    def __init__(self, labels: np.ndarray, classes: int, columns: tuple[str, ...] = COLUMNS):
        labels = np.asarray(labels)
        check_labels(labels, labels.size, classes, "a vector of labels")
        unknown = set(columns) - set(self.COLUMNS)
        if unknown:
            raise ValueError(f"unknown columns {sorted(unknown)}; there are {list(self.COLUMNS)}")
        self.labels, self.classes, self.columns, self.checkpoints = labels, classes, tuple(columns), 0
        size, wanted = labels.size, set(columns)
        self._raw = Correlation(size, classes) if wanted & {"ltc", "csl"} else None
        self._steps = Correlation(size, classes) if "cld" in wanted else None
        self._p = Moments(size) if wanted & {"p_mean", "p_std"} else None
        self._margins = Margins(size) if wanted & {"aum", "forgetting"} else None
        self._previous = np.empty(0, dtype=np.float32)  # the losses of the checkpoint before, for "cld"
        self._previous_means = np.zeros(classes)
        self._peak = np.zeros(size, dtype=np.float32)
        self._class_peak = np.zeros(classes)

    def update(self, losses: np.ndarray, means: np.ndarray, margins: np.ndarray | None = None) -> None:
        """Add a checkpoint: losses (N,), means (C,) of the validation losses of each class, margins (N,) or None.

        Margins come at every checkpoint or at none; without them there is no "aum" and no "forgetting".
        """
        losses, means = np.asarray(losses), np.asarray(means, dtype=np.float64)
        if losses.shape != self.labels.shape or means.shape != (self.classes,):
            raise ValueError(
                f"a checkpoint's losses {losses.shape} and means {means.shape} must be "
                f"{self.labels.shape} and {(self.classes,)}"
            )
        if margins is not None and np.shape(margins) != losses.shape:
            raise ValueError(f"margins {np.shape(margins)} do not match losses {losses.shape}")
        if self._margins is not None and margins is None:
            if self.checkpoints:
                raise ValueError(f"margins came at {self.checkpoints} checkpoints and are missing at this one")
            self._margins = None
        self.checkpoints += 1
        with np.errstate(invalid="ignore", over="ignore"):
            self._class_peak = np.maximum(self._class_peak, np.abs(means))
            if self._raw is not None:
                self._raw.begin(means)
            if self._steps is not None and self.checkpoints > 1:
                self._steps.begin(means - self._previous_means)
            for start in range(0, losses.size, BLOCK_ELEMENTS // 4):
                self._add(slice(start, start + BLOCK_ELEMENTS // 4), losses, margins)
        self._previous_means = means.copy()
        if self._steps is not None:
            self._previous = losses.copy()

    def _add(self, part: slice, losses: np.ndarray, margins: np.ndarray | None) -> None:
        now, own, peak = losses[part].astype(np.float64), self.labels[part], self._peak[part]
        np.maximum(peak, np.abs(losses[part]), out=peak, casting="same_kind")
        if self._raw is not None:
            self._raw.add(part, now, own)
        if self._steps is not None and self.checkpoints > 1:
            self._steps.add(part, now - self._previous[part], own)
        if self._p is not None:
            self._p.add(part, np.exp(-now), self.checkpoints)
        if self._margins is not None:
            self._margins.add(part, np.asarray(margins[part]))

    def result(self) -> dict[str, np.ndarray]:
        """The columns kept, each (N,) float64, over the checkpoints so far; NaN where undefined, as in batch form."""
        if not self.checkpoints:
            raise ValueError("no checkpoint has been added yet")
        missing = ~np.isfinite(self._peak)
        found: dict[str, np.ndarray] = {}
        if self._steps is not None:
            found["cld"] = self._correlation(differences=True)[0]
        if self._raw is not None:
            found["ltc"] = self._correlation(differences=False)[0]
            found["csl"] = self._raw.sample.mean.copy()
        if self._margins is not None:
            found["aum"], found["forgetting"] = self._margins.result(self.checkpoints)
        if self._p is not None:
            found["p_mean"] = self._p.mean.copy()
            found["p_std"] = np.sqrt(self._p.m2 / self.checkpoints)
        for name in {"csl", "p_mean", "p_std"} & set(found):
            found[name][missing] = np.nan
        return {name: found[name] for name in self.columns if name in found}

    def undefined_reasons(self, on: str = "differences") -> Undefined:
        """Why "cld" (on="differences") or "ltc" (on="losses") is NaN; see `undefined_reasons`."""
        return _count(self._correlation(differences=_on_differences(on))[1])

    def _correlation(self, *, differences: bool) -> tuple[np.ndarray, np.ndarray]:
        pair, count = (self._steps, self.checkpoints - 1) if differences else (self._raw, self.checkpoints)
        if pair is None:
            raise ValueError(f"this stream keeps {list(self.columns)} only")
        if self.checkpoints < 2 + differences:
            return np.full(self.labels.size, np.nan), np.full(self.labels.size, TOO_FEW, dtype=np.uint8)
        constant = ~(pair.sample.m2 > (FLAT * self._peak.astype(np.float64)) ** 2 * count)
        flat = ~(pair.reference.m2 > (FLAT * self._class_peak) ** 2 * count)
        return _masked(pair.r(self.labels), ~np.isfinite(self._peak), flat[self.labels], constant)

    def merge(self, other: "Stream") -> "Stream":
        """The stream of this shard's samples followed by the other's, which must have seen the same checkpoints."""
        same = (
            (self.checkpoints, self.classes, self.columns) == (other.checkpoints, other.classes, other.columns)
            and (self._margins is None) == (other._margins is None)
            and np.array_equal(self._previous_means, other._previous_means, equal_nan=True)
            and np.array_equal(self._class_peak, other._class_peak, equal_nan=True)
        )
        if not same:
            raise ValueError(
                "only shards with the same class means at the same checkpoints merge: "
                f"{self.checkpoints} checkpoints of {self.classes} classes, columns {list(self.columns)}, and "
                f"{other.checkpoints} of {other.classes}, columns {list(other.columns)}"
            )
        merged = Stream(np.concatenate([self.labels, other.labels]), self.classes, self.columns)
        merged.checkpoints = self.checkpoints
        merged._previous_means, merged._class_peak = self._previous_means.copy(), self._class_peak.copy()
        merged._previous = np.concatenate([self._previous, other._previous])
        merged._peak = np.concatenate([self._peak, other._peak])
        for name in ("_raw", "_steps", "_p", "_margins"):
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(merged, name, None if mine is None else mine.joined(theirs))
        return merged


def _class_correlation(losses, labels, means, *, differences: bool) -> tuple[np.ndarray, np.ndarray]:
    """(r (N,) float64, reason (N,) uint8) of each sample's trajectory with its own class's mean trajectory."""
    means = _matrix(means, "means").astype(np.float64)
    losses, labels = _checked(losses, labels, means.shape[1])
    if len(means) != len(losses):
        raise ValueError(f"losses {losses.shape} and means {means.shape} differ in checkpoints (the first axis)")
    r = np.full(losses.shape[1], np.nan)
    reason = np.full(losses.shape[1], TOO_FEW, dtype=np.uint8)
    if len(losses) < 2 + differences:
        return r, reason
    reference, flat = standardised(means, differences)
    reference[:, flat] = np.nan

    def block(part: slice) -> None:
        own = labels[part]
        columns = losses[:, part].astype(np.float64)
        scale = np.maximum(columns.max(axis=0), -columns.min(axis=0))  # NaN or infinite where a loss is missing
        if differences:
            total = columns[-1] - columns[0]
            columns = np.subtract(columns[1:], columns[:-1])
        else:
            total = columns.sum(axis=0)
        # The reference has zero mean and unit length, so the columns need not be centred for the product, and their
        # own length follows from sums of squares. Float64 loses at most 1e-8 of `scale` there, far below FLAT.
        square = np.einsum("tn,tn->n", columns, columns) - total * total / len(columns)
        length = np.sqrt(np.maximum(square, 0.0))
        constant = ~(length > FLAT * scale * np.sqrt(len(columns)))
        length[constant] = np.nan
        product = np.einsum("tn,tn->n", columns, np.take(reference, own, axis=1))
        r[part], reason[part] = _masked(product / length, ~np.isfinite(scale), flat[own], constant)

    def guarded(part: slice) -> None:
        with np.errstate(invalid="ignore", over="ignore"):  # of this thread; what is missing is masked
            block(part)

    if losses.size < PARALLEL_ELEMENTS:
        for part in _blocks(losses):
            guarded(part)
    else:  # numpy lets go of the interpreter's lock, and blocks do not share anything
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            list(pool.map(guarded, _blocks(losses)))
    return r, reason


def _masked(r, missing, class_mean, constant) -> tuple[np.ndarray, np.ndarray]:
    """r within [-1, 1] and NaN where undefined, and the reason for each sample."""
    reason = np.select([missing, class_mean, constant], [MISSING, CLASS_MEAN, CONSTANT], DEFINED).astype(np.uint8)
    return np.where(reason == DEFINED, np.clip(r, -1.0, 1.0), np.nan), reason


def _on_differences(on: str) -> bool:
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


def _mean_rows(values: np.ndarray, name: str) -> np.ndarray:
    """Mean over the first axis in float64, NaN where a value is not finite."""
    values = _matrix(values, name)
    total = np.zeros(values.shape[1])
    with np.errstate(invalid="ignore"):
        for row in values:
            total += row
    total /= len(values)
    total[~np.isfinite(total)] = np.nan
    return total


def _count(reason: np.ndarray) -> Undefined:
    counts = np.bincount(reason, minlength=5)
    return Undefined(*(int(counts[code]) for code in (CONSTANT, CLASS_MEAN, MISSING, TOO_FEW)))


def _finite(block: np.ndarray) -> np.ndarray:
    """A float64 copy with every value that is not finite as NaN."""
    block = block.astype(np.float64)
    infinite = np.isinf(block)
    if infinite.any():
        block[infinite] = np.nan
    return block


def _blocks(matrix: np.ndarray):
    """Slices of the second axis, each of about BLOCK_ELEMENTS elements."""
    width = max(MIN_BLOCK, BLOCK_ELEMENTS // len(matrix))
    return (slice(start, start + width) for start in range(0, matrix.shape[1], width))


def _matrix(values, name: str) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 2 or values.shape[0] == 0 or not np.issubdtype(values.dtype, np.floating):
        raise ValueError(
            f"{name} must be a float array (checkpoints, samples) with at least one checkpoint, "
            f"got {values.dtype} {values.shape}"
        )
    return values


def _checked(losses, labels, classes: int) -> tuple[np.ndarray, np.ndarray]:
    losses, labels = _matrix(losses, "losses"), np.asarray(labels)
    check_labels(labels, losses.shape[1], classes, f"losses {losses.shape}")
    return losses, labels


def check_labels(labels: np.ndarray, count: int, classes: int, beside: str) -> None:
    """ValueError unless `labels` are `count` class indices in 0..classes-1; `beside` says what they belong to."""
    if labels.shape != (count,):
        raise ValueError(f"labels {labels.shape} do not match {beside}: expected ({count},)")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integer class indices, got {labels.dtype}")
    if count and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(f"labels must be in 0..{classes - 1}, got {labels.min()}..{labels.max()}")
