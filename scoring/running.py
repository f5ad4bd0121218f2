"""Running statistics of many series at once, one value a series and step: what `trajectory.Stream` is made of.

Means, sums of squared deviations and of co-deviations are updated as by Welford (1962) and its extension to
covariances, so that no large sums cancel. `part` is a slice of the series: callers go through them in blocks that fit
in the cache.
"""

import numpy as np


class Moments:
    """Running mean, squared deviations and, beside a partner series, co-deviations of many series at once."""

    def __init__(self, size: int):
        self.mean, self.m2, self.co = np.zeros((3, size))

    def add(self, part: slice, values: np.ndarray, count: int, partner: np.ndarray | None = None) -> None:
        """The `count`-th value of the series in `part`; `partner` is the other series' step away from its mean."""
        shrink = (count - 1) / count
        away = values - self.mean[part]
        self.mean[part] += away * (1 / count)
        if partner is not None:
            self.co[part] += away * partner
        away *= away
        away *= shrink
        self.m2[part] += away

    def joined(self, other: "Moments") -> "Moments":
        both = Moments(0)
        both.mean, both.m2, both.co = (
            np.concatenate(pair) for pair in zip((self.mean, self.m2, self.co), (other.mean, other.m2, other.co))
        )
        return both


class Correlation:
    """Running Pearson correlation of N series with the reference series of their class."""

    def __init__(self, size: int, classes: int):
        self.count, self.sample, self.reference = 0, Moments(size), Moments(classes)
        self._step = np.zeros(classes)

    def begin(self, reference: np.ndarray) -> None:
        """The next value (C,) of the references; `add` of each sample's follows."""
        self.count += 1
        self._step = (reference - self.reference.mean) * ((self.count - 1) / self.count)
        self.reference.add(slice(None), reference, self.count)

    def add(self, part: slice, values: np.ndarray, labels: np.ndarray) -> None:
        self.sample.add(part, values, self.count, np.take(self._step, labels))

    def r(self, labels: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.sample.co / np.sqrt(self.sample.m2 * self.reference.m2[labels])

    def joined(self, other: "Correlation") -> "Correlation":
        both = Correlation(0, 0)
        both.count, both.reference = self.count, self.reference
        both.sample = self.sample.joined(other.sample)
        return both


class Margins:
    """Running sum of margins and count of forgetting events; a sample is learned while its margin is above 0."""

    def __init__(self, size: int):
        self.total, self.events = np.zeros(size), np.zeros(size, dtype=np.int32)
        self.correct, self.learned = np.zeros((2, size), dtype=bool)

    def add(self, part: slice, margins: np.ndarray) -> None:
        correct = margins > 0
        self.total[part] += margins
        self.events[part] += self.correct[part] & ~correct
        self.correct[part] = correct
        self.learned[part] |= correct

    def result(self, checkpoints: int) -> tuple[np.ndarray, np.ndarray]:
        forgotten = np.where(self.learned, self.events, checkpoints).astype(np.float64)
        missing = ~np.isfinite(self.total)
        forgotten[missing] = np.nan
        return np.where(missing, np.nan, self.total / checkpoints), forgotten

    def joined(self, other: "Margins") -> "Margins":
        both = Margins(0)
        for name in ("total", "events", "correct", "learned"):
            setattr(both, name, np.concatenate([getattr(self, name), getattr(other, name)]))
        return both
