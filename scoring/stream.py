"""The scores of `trajectory` from one checkpoint at a time, holding a few numbers a sample; equal to the batch forms.

E checkpoints, N samples, C classes, Q queries. `Stream` has one column a score, O(N) memory; `QueryStream` correlates
every sample with every class or query, O(N Q) memory. Both take checkpoints in training order, keep none of them, go on
when a run goes on, and merge between shards of samples that saw the same checkpoints. Sources: see `trajectory`.
"""

import numpy as np

from lossprint.scoring.correlation import (
    CONSTANT,
    DEFINED,
    FLAT,
    MISSING,
    TOO_FEW,
    Undefined,
    check_labels,
    count_reasons,
    masked,
    on_differences,
)
from lossprint.scoring.running import Correlation, Margins, Moments, Products, Sums

BLOCK = 1 << 13  # samples handled at once: 64 KB a float64 vector, several of which stay in a core's cache


class Stream:
    """The columns of `trajectory` from one checkpoint at a time, in O(N) memory.

    labels (N,) class indices below `classes`. `columns` names what to keep: fewer is faster and smaller (about 120
    bytes a sample for all of them, 40 for "cld" alone). Call `update` once a checkpoint in training order, then
    `result` and `undefined_reasons`. Which end is suspect: see the functions in `trajectory`; "p_mean" and "p_std" are
    the two of `data_map`.
    """

    COLUMNS = ("cld", "ltc", "csl", "aum", "forgetting", "el2n", "p_mean", "p_std")

    def __init__(self, labels: np.ndarray, classes: int, columns: tuple[str, ...] = COLUMNS):
        labels = np.asarray(labels)
        check_labels(labels, labels.size, classes, "a vector of labels")
        unknown = set(columns) - set(self.COLUMNS)
        if unknown:
            raise ValueError(f"unknown columns {sorted(unknown)}; there are {list(self.COLUMNS)}")
        self.labels, self.classes, self.columns, self.checkpoints = labels, classes, tuple(columns), 0
        size, wanted = labels.size, set(columns)
        self._raw = Correlation(size, classes) if "ltc" in wanted else None
        self._steps = Correlation(size, classes) if "cld" in wanted else None
        self._total = Sums(size) if "csl" in wanted else None
        self._p = Moments(size) if wanted & {"p_mean", "p_std"} else None
        self._margins = Margins(size) if wanted & {"aum", "forgetting"} else None
        self._norms = Sums(size) if "el2n" in wanted else None
        self._previous = np.empty(size if "cld" in wanted else 0, dtype=np.float32)  # the checkpoint before
        self._previous_means = np.zeros(classes)
        self._peak = np.zeros(size, dtype=np.float32)
        self._class_peak = np.zeros(classes)

    def update(
        self,
        losses: np.ndarray,
        means: np.ndarray,
        margins: np.ndarray | None = None,
        norms: np.ndarray | None = None,
    ) -> None:
        """Add a checkpoint: losses (N,), means (C,) of the validation losses of each class, and what else there is.

        margins (N,) give "aum" and "forgetting", norms (N,) from `el2n_norms` give "el2n": each comes at every
        checkpoint or at none, and without it those columns are left out.
        """
        losses, means = np.asarray(losses), np.asarray(means, dtype=np.float64)
        if losses.shape != self.labels.shape or means.shape != (self.classes,):
            raise ValueError(
                f"a checkpoint's losses {losses.shape} and means {means.shape} must be "
                f"{self.labels.shape} and {(self.classes,)}"
            )
        extras = {"margins": margins, "norms": norms}
        for name, values in extras.items():
            if values is not None and np.shape(values) != losses.shape:
                raise ValueError(f"{name} {np.shape(values)} do not match losses {losses.shape}")
            if values is None and getattr(self, f"_{name}") is not None and self.checkpoints:
                raise ValueError(f"{name} came at {self.checkpoints} checkpoints and are missing at this one")
        if margins is None:
            self._margins = None
        if norms is None:
            self._norms = None
        self.checkpoints += 1
        with np.errstate(invalid="ignore", over="ignore"):
            self._class_peak = np.maximum(self._class_peak, np.abs(means))
            if self._raw is not None:
                self._raw.begin(means)
            if self._steps is not None and self.checkpoints > 1:
                self._steps.begin(means - self._previous_means)
            for start in range(0, losses.size, BLOCK):
                self._add(slice(start, start + BLOCK), losses, margins, norms)
        self._previous_means = means.copy()
        if self._steps is not None:
            self._previous = losses.copy()

    def _add(self, part: slice, losses, margins, norms) -> None:
        now, own, peak = losses[part].astype(np.float64), self.labels[part], self._peak[part]
        np.maximum(peak, np.abs(losses[part]), out=peak, casting="same_kind")
        if self._raw is not None:
            self._raw.add(part, now, own)
        if self._steps is not None and self.checkpoints > 1:
            self._steps.add(part, now - self._previous[part], own)
        if self._total is not None:
            self._total.add(part, now)
        if self._p is not None:
            self._p.add(part, np.exp(-now), self.checkpoints)
        if self._margins is not None:
            self._margins.add(part, np.asarray(margins[part]))
        if self._norms is not None:
            self._norms.add(part, np.asarray(norms[part]))

    def result(self) -> dict[str, np.ndarray]:
        """The columns kept, each (N,) float64, over the checkpoints so far; NaN where undefined, as in batch form."""
        return {name: values for name, (values, _) in self._found().items()}

    def undefined_reasons(self) -> dict[str, Undefined]:
        """For each column of `result` the counts of why it is NaN."""
        return {name: count_reasons(reason) for name, (_, reason) in self._found().items()}

    def _found(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """(values, reasons) of each column kept."""
        if not self.checkpoints:
            raise ValueError("no checkpoint has been added yet")
        found = {}
        if self._steps is not None:
            found["cld"] = self._correlation(self._steps, self.checkpoints - 1)
        if self._raw is not None:
            found["ltc"] = self._correlation(self._raw, self.checkpoints)
        means: dict[str, np.ndarray] = {}
        if self._total is not None:
            means["csl"] = self._total.mean(self.checkpoints)
        if self._margins is not None:
            means["aum"], means["forgetting"] = self._margins.result(self.checkpoints)
        if self._norms is not None:
            means["el2n"] = self._norms.mean(self.checkpoints)
        if self._p is not None:
            lost = ~np.isfinite(self._peak)
            means["p_mean"] = np.where(lost, np.nan, self._p.mean)
            means["p_std"] = np.where(lost, np.nan, np.sqrt(self._p.m2 / self.checkpoints))
        for name, values in means.items():
            found[name] = values, np.where(np.isnan(values), MISSING, DEFINED)
        return {name: found[name] for name in self.columns if name in found}

    def _correlation(self, pair: Correlation, count: int) -> tuple[np.ndarray, np.ndarray]:
        if count < 2:
            return np.full(self.labels.size, np.nan), np.full(self.labels.size, TOO_FEW)
        constant = ~(pair.sample.m2 > (FLAT * self._peak.astype(np.float64)) ** 2 * count)
        flat = ~(pair.reference.m2 > (FLAT * self._class_peak) ** 2 * count)
        return masked(pair.r(self.labels), ~np.isfinite(self._peak), flat[self.labels], constant)

    def merge(self, other: "Stream") -> "Stream":
        """The stream of this shard's samples followed by the other's, which must have seen the same checkpoints."""
        parts = ("_raw", "_steps", "_total", "_p", "_margins", "_norms")
        same = (
            (self.checkpoints, self.classes, self.columns) == (other.checkpoints, other.classes, other.columns)
            and all((getattr(self, name) is None) == (getattr(other, name) is None) for name in parts)
            and np.array_equal(self._previous_means, other._previous_means, equal_nan=True)
            and np.array_equal(self._class_peak, other._class_peak, equal_nan=True)
        )
        if not same:
            raise ValueError(
                "only shards with the same class means and inputs at the same checkpoints merge: "
                f"{self.checkpoints} checkpoints of {self.classes} classes, columns {list(self.columns)}, and "
                f"{other.checkpoints} of {other.classes}, columns {list(other.columns)}"
            )
        merged = Stream(np.concatenate([self.labels, other.labels]), self.classes, self.columns)
        merged.checkpoints = self.checkpoints
        merged._previous_means, merged._class_peak = self._previous_means.copy(), self._class_peak.copy()
        merged._previous = np.concatenate([self._previous, other._previous])
        merged._peak = np.concatenate([self._peak, other._peak])
        for name in parts:
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(merged, name, None if mine is None else mine.joined(theirs))
        return merged


class QueryStream:
    """`trajectory.correlations` from one checkpoint at a time: each of N samples with each of Q references.

    References are the means of all classes or the losses of single queries. Memory: 8 bytes a pair and about 30 a
    sample. on="differences" (the form of CLD) or "losses" (of LTC). Low: conflicting.
    """

    def __init__(self, samples: int, queries: int, *, on: str = "differences"):
        self.on, self.checkpoints = on, 0
        self._differences = on_differences(on)
        self._pairs = Products(samples, queries)
        self._previous, self._peak = np.empty(samples, dtype=np.float32), np.zeros(samples)
        self._previous_queries, self._query_peak = np.empty(queries), np.zeros(queries)

    @property
    def shape(self) -> tuple[int, int]:
        """(samples, queries)."""
        return self._pairs.co.shape

    def update(self, losses: np.ndarray, references: np.ndarray) -> None:
        """Add a checkpoint: losses (N,) of the samples, references (Q,)."""
        losses, references = np.asarray(losses), np.asarray(references, dtype=np.float64)
        if (*losses.shape, *references.shape) != self.shape or losses.ndim != 1:
            raise ValueError(
                f"a checkpoint's losses {losses.shape} and references {references.shape} must be "
                f"{self.shape[:1]} and {self.shape[1:]}"
            )
        self.checkpoints += 1
        with np.errstate(invalid="ignore", over="ignore"):
            np.maximum(self._peak, np.abs(losses), out=self._peak)
            np.maximum(self._query_peak, np.abs(references), out=self._query_peak)
            if not self._differences:
                self._pairs.add(losses.astype(np.float64), references)
            elif self.checkpoints > 1:
                self._pairs.add(
                    np.subtract(losses, self._previous, dtype=np.float64), references - self._previous_queries
                )
        if self._differences:
            self._previous, self._previous_queries = losses.copy(), references.copy()

    def result(self) -> np.ndarray:
        """r (N, Q) float32 over the checkpoints so far, NaN where undefined, as in batch form."""
        if self._pairs.count < 2:
            return np.full(self.shape, np.nan, dtype=np.float32)
        reason, flat = self._state()
        r = self._pairs.r()
        r[reason != DEFINED] = np.nan
        r[:, flat] = np.nan
        return r

    def undefined_reasons(self) -> Undefined:
        """Why pairs of `result` are NaN, counts of pairs."""
        samples, queries = self.shape
        if self._pairs.count < 2:
            return Undefined(too_few=samples * queries)
        reason, flat = self._state()
        lost = int(np.count_nonzero(flat))
        missing, constant = (int(np.count_nonzero(reason == code)) for code in (MISSING, CONSTANT))
        return Undefined(constant * (queries - lost), (samples - missing) * lost, missing * queries)

    def _state(self) -> tuple[np.ndarray, np.ndarray]:
        """(reason (N,) of each sample by itself, (Q,) bool where a query misses a value or does not vary)."""
        pairs, count = self._pairs, self._pairs.count
        flat = ~(pairs.query.m2 > (FLAT * self._query_peak) ** 2 * count)
        constant = ~(pairs.sample.m2 > (FLAT * self._peak) ** 2 * count)
        return np.select([~np.isfinite(self._peak), constant], [MISSING, CONSTANT], DEFINED), flat

    def merge(self, other: "QueryStream") -> "QueryStream":
        """The stream of this shard's samples followed by the other's, with the same references at each checkpoint."""
        same = (self.on, self.checkpoints, self.shape[1]) == (other.on, other.checkpoints, other.shape[1]) and all(
            np.array_equal(mine, theirs, equal_nan=True)
            for mine, theirs in (
                (self._query_peak, other._query_peak),
                (self._pairs.query.mean, other._pairs.query.mean),
            )
        )
        if not same:
            raise ValueError(
                "only shards with the same references at the same checkpoints merge: "
                f"{self.checkpoints} checkpoints of {self.shape} pairs on {self.on}, and "
                f"{other.checkpoints} of {other.shape} on {other.on}"
            )
        merged = QueryStream(self.shape[0] + other.shape[0], self.shape[1], on=self.on)
        merged.checkpoints, merged._pairs = self.checkpoints, self._pairs.joined(other._pairs)
        merged._previous = np.concatenate([self._previous, other._previous])
        merged._peak = np.concatenate([self._peak, other._peak])
        merged._previous_queries, merged._query_peak = self._previous_queries.copy(), self._query_peak.copy()
        return merged
