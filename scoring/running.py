"""Running statistics of many series at once, one value a series and step: what the streams of `stream` are made of.

Means, sums of squared deviations and of co-deviations are updated as by Welford (1962) and its extension to
covariances, so that no large sums cancel. `part` is a slice of the series: callers go through them in blocks that fit
in the cache. `joined` puts the series of another object, which saw the same steps, behind one's own.
"""

import numpy as np

BLOCK_ELEMENTS = 1 << 15  # of the products of samples and queries handled at once: 256 KB


class Sums:
    """Running sum of many series at once; not finite where a value was not, or where the sum overflows."""

    def __init__(self, size: int):
        self.total = np.zeros(size)

    def add(self, part: slice, values: np.ndarray) -> None:
        self.total[part] += values

    def mean(self, count: int) -> np.ndarray:
        return np.where(np.isfinite(self.total), self.total / count, np.nan)

    def joined(self, other: "Sums") -> "Sums":
        both = Sums(0)
        both.total = np.concatenate([self.total, other.total])
        return both


class Moments:
    """Running mean, squared deviations and, beside a partner series, co-deviations of many series at once."""

    def __init__(self, size: int, *, co: bool = False):
        self.mean, self.m2 = np.zeros((2, size))
        self.co = np.zeros(size if co else 0)

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
        self.count, self.sample, self.reference = 0, Moments(size, co=True), Moments(classes)
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
        both.count, both.reference = self.count, self.reference.joined(Moments(0))  # a copy: the shards may go on too
        both.sample = self.sample.joined(other.sample)
        return both


class Products:
    """Running Pearson correlation of each of N series with each of Q reference series; co-deviations co (N, Q)."""

    def __init__(self, samples: int, queries: int):
        self.count, self.sample, self.query = 0, Moments(samples), Moments(queries)
        self.co = np.zeros((samples, queries))

    def _parts(self):
        width = max(1, BLOCK_ELEMENTS // max(1, self.co.shape[1]))
        return (slice(start, start + width) for start in range(0, len(self.co), width))

    def add(self, values: np.ndarray, references: np.ndarray) -> None:
        """The next value of each series (N,) and of each reference (Q,)."""
        self.count += 1
        step = (references - self.query.mean) * ((self.count - 1) / self.count)
        away = values - self.sample.mean
        for part in self._parts():
            self.co[part] += np.multiply.outer(away[part], step)
        self.query.add(slice(None), references, self.count)
        self.sample.add(slice(None), values, self.count)

    def r(self) -> np.ndarray:
        """(N, Q) float32 within [-1, 1]; NaN or noise where a series does not vary."""
        r = np.empty(self.co.shape, dtype=np.float32)
        with np.errstate(invalid="ignore", divide="ignore"):
            length, query_length = np.sqrt(self.sample.m2), np.sqrt(self.query.m2)
            for part in self._parts():
                r[part] = np.clip(self.co[part] / length[part, None] / query_length, -1.0, 1.0)
        return r

    def joined(self, other: "Products") -> "Products":
        both = Products(0, 0)
        both.count, both.query = self.count, self.query.joined(Moments(0))
        both.sample, both.co = self.sample.joined(other.sample), np.concatenate([self.co, other.co])
        return both


class Margins:
    """Running sum of margins and count of forgetting events; a sample is learned while its margin is above 0."""

    def __init__(self, size: int):
        self.total, self.events = Sums(size), np.zeros(size, dtype=np.int32)
        self.correct, self.learned = np.zeros((2, size), dtype=bool)

    def add(self, part: slice, margins: np.ndarray) -> None:
        correct = margins > 0
        self.total.add(part, margins)
        self.events[part] += self.correct[part] & ~correct
        self.correct[part] = correct
        self.learned[part] |= correct

    def result(self, checkpoints: int) -> tuple[np.ndarray, np.ndarray]:
        """(mean margin, forgetting events), NaN where a margin was missing."""
        mean = self.total.mean(checkpoints)
        events = np.where(self.learned, self.events, checkpoints)
        return mean, np.where(np.isnan(mean), np.nan, events)

    def joined(self, other: "Margins") -> "Margins":
        both = Margins(0)
        both.total = self.total.joined(other.total)
        for name in ("events", "correct", "learned"):
            setattr(both, name, np.concatenate([getattr(self, name), getattr(other, name)]))
        return both
