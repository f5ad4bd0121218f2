"""How sure a sample's place among the most suspect is: ranks in bootstrap draws of the checkpoints, also in parts.

A draw takes checkpoints with replacement and ranks all samples by their mean margin in it. A sample's mean needs the
sample alone; only the draw's threshold, the mean of the `top`-th sample, needs all. It is found exactly, from parts of
the samples that need not be in memory together: `brackets` of a random sample, a `tally` of each part, then `settle`
(selection by sampling, Floyd and Rivest, 1975). The result is the same to the last bit, whatever the parts.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

WIDTH = 2048  # samples whose means are worked out at once
TOGETHER = 10  # draws whose means of the random sample are held at once: 21 MB of float64
DEVIATIONS, SPARE = 6.0, 10.0  # of a sample's rank, that a bracket is wide to either side; and so many ranks more


@dataclass(frozen=True)
class Draws:
    """D draws, each of one training (source): of[d] is its number, rows[s] (U,) are the checkpoints that can be drawn.

    times[d] (U,) float32: how often each of them was. sizes[s]: of how many checkpoints a draw consists.
    """

    rows: tuple[np.ndarray, ...]
    sizes: tuple[int, ...]
    of: np.ndarray
    times: tuple[np.ndarray, ...]


def draw(weights: Sequence[np.ndarray], draws: int = 100, seed: int = 0) -> Draws:
    """Draw as many checkpoints as there are, with replacement, with probabilities in proportion to `weights[s]` (E,).

    Each source gets its share of the draws, one at least.
    """
    random, weights = np.random.default_rng(seed), [np.asarray(one, np.float64) / np.sum(one) for one in weights]
    rounds = max(1, draws // len(weights))
    rows = tuple(np.flatnonzero(one) for one in weights)
    times = [random.multinomial(len(one), one[used], rounds).astype(np.float32) for one, used in zip(weights, rows)]
    of = np.repeat(np.arange(len(weights)), rounds)
    return Draws(rows, tuple(len(one) for one in weights), of, tuple(one for some in times for one in some))


def unknown(draws: Draws, margins: Sequence[np.ndarray], shift: np.ndarray) -> list[np.ndarray]:
    """For each source which samples have no mean in its draws, (N,) bool; the last is of samples without confidence.

    margins[s] (E, N), shift (N,). What is missing in one source does not count in those that follow, either.
    """
    found = [~np.isfinite(shift)]
    for values, used in zip(margins, draws.rows):
        missing = found[-1].copy()
        for row in used:
            missing |= ~np.isfinite(values[row])
        found.append(missing)
    return found[1:]


def means(
    draws: Draws, margins: Sequence[np.ndarray], shift: np.ndarray, lost: Sequence[np.ndarray]
) -> Iterator[tuple[int, slice, np.ndarray]]:
    """Each draw's mean margins plus shift, (d, samples as a slice, (B,) float64), +inf where `lost`, see `unknown`.

    Sums run in float32, checkpoint by checkpoint, in blocks of one width: so a sample's mean does not depend on the
    others, as the last bits of a matrix product would.
    """
    mine = [np.flatnonzero(draws.of == source) for source in range(len(margins))]
    times = [np.stack([draws.times[d] for d in some]) if len(some) else None for some in mine]
    blocks = [np.zeros((len(used), WIDTH), np.float32) for used in draws.rows]
    total = np.empty((max(map(len, mine)), WIDTH), np.float32)
    for start in range(0, len(shift), WIDTH):
        part = slice(start, min(start + WIDTH, len(shift)))
        size = part.stop - start
        for source, values in enumerate(margins):
            if not len(mine[source]):
                continue
            blocks[source][:, :size] = values[draws.rows[source], part]
            with np.errstate(invalid="ignore", over="ignore"):
                np.einsum("dt,tn->dn", times[source], blocks[source], out=total[: len(mine[source])])
            for d, row in zip(mine[source], total):
                mean = row[:size] / draws.sizes[source] + shift[part]
                mean[lost[source][part]] = np.inf
                yield int(d), part, mean


@dataclass(frozen=True)
class Tally:
    """What a part of the samples says about brackets [low, high] (D, 2) of the draws' thresholds.

    below, upto (D,) int64: how many means are < low, <= low. draw (K,) int16, sample (K,) int64, mean (K,) float64:
    those in (low, high), by draw; sample is the place within the part. certain (N,) int64: in how many draws a sample's
    mean is <= low. unknown (N,) bool.
    """

    below: np.ndarray
    upto: np.ndarray
    draw: np.ndarray
    sample: np.ndarray
    mean: np.ndarray
    certain: np.ndarray
    unknown: np.ndarray


def brackets(
    draws: Draws, margins: Sequence[np.ndarray], shift: np.ndarray, top: int, of: int, wide: float = 1.0
) -> np.ndarray:
    """Where the thresholds of all `of` samples lie, judged by a random sample of them: (D, 2) float64, low <= high.

    margins[s] (E, S), shift (S,) are those of the sample. Where it is of all samples, both ends are the threshold. A
    bracket misses its threshold about once in 10^8 times; `wide` makes it that many times as wide, for another try.
    """
    size, found = len(shift), np.empty((len(draws.of), 2))
    if top <= 0 or top >= of or not size:
        found[:] = -np.inf if top <= 0 else np.inf if top >= of else [-np.inf, np.inf]
        return found
    share = top / of
    slack = wide * (DEVIATIONS * np.sqrt(size * share * (1 - share)) + SPARE) if size < of else 0
    low, high = int(np.floor(share * size - slack)), int(np.ceil(share * size + slack))
    if size == of:
        low = high = top - 1
    lost = unknown(draws, margins, shift)
    for first in range(0, len(draws.of), TOGETHER):
        some = slice(first, first + TOGETHER)
        few = replace(draws, of=draws.of[some], times=draws.times[some])
        mean = np.empty((len(few.of), size))
        for d, part, values in means(few, margins, shift, lost):
            mean[d, part] = values
        if within := [at for at in (low, high) if 0 <= at < size]:
            mean.partition(within, axis=1)
        found[some, 0] = mean[:, low] if low >= 0 else -np.inf
        found[some, 1] = mean[:, high] if high < size else np.inf
    return found


def tally(draws: Draws, margins: Sequence[np.ndarray], shift: np.ndarray, bracket: np.ndarray) -> Tally:
    """Count a part of the samples against brackets (D, 2): margins[s] (E, N), shift (N,)."""
    below, upto = np.zeros((2, len(draws.of)), np.int64)
    certain, lost = np.zeros(len(shift), np.int64), unknown(draws, margins, shift)
    columns: tuple[list, list, list] = ([], [], [])
    for d, part, mean in means(draws, margins, shift, lost):
        low, high = bracket[d]
        inside = mean <= low
        upto[d] += np.count_nonzero(inside)
        below[d] += np.count_nonzero(mean < low)
        certain[part] += inside
        if low < high:
            at = np.flatnonzero((mean > low) & (mean < high))
            for column, values in zip(columns, (np.full(len(at), d, np.int16), at + part.start, mean[at])):
                column.append(values)
    draw, sample, mean = (
        np.concatenate(column) if column else np.empty(0, kind)
        for column, kind in zip(columns, (np.int16, np.int64, np.float64))
    )
    order = np.argsort(draw, kind="stable")
    return Tally(below, upto, draw[order], sample[order], mean[order], certain, lost[-1])


def settle(bracket: np.ndarray, top: int, of: int, tallies: Sequence[Tally]) -> tuple[np.ndarray, np.ndarray]:
    """The thresholds (D,) of all `of` samples, NaN where a bracket missed, and brackets (D, 2) to go on with.

    tallies: of all parts, of which only below, upto, draw and mean are looked at. In the brackets to go on with, a draw
    that is settled has its threshold as both ends, one that is not the whole side of it where the threshold must lie.
    """
    below, upto = (sum(getattr(one, name) for one in tallies) for name in ("below", "upto"))
    found, following = np.full(len(bracket), np.nan), bracket.copy()
    for d, (low, high) in enumerate(bracket):
        values = np.concatenate([one.mean[slice(*np.searchsorted(one.draw, (d, d + 1)))] for one in tallies])
        if top <= 0 or top >= of:
            found[d] = -np.inf if top <= 0 else np.inf
        elif below[d] < top <= upto[d]:
            found[d] = low
        elif upto[d] < top <= upto[d] + len(values):
            rank = top - upto[d] - 1
            found[d] = np.partition(values, rank)[rank]
        else:
            following[d] = (-np.inf, low) if top <= below[d] else (high, np.inf)
            continue
        following[d] = found[d]
    return found, following


def narrowed(following: np.ndarray, wider: np.ndarray) -> np.ndarray:
    """What `settle` goes on with, (D, 2), as far as a wider bracket reaches; all of it where that does not help."""
    low, high = np.maximum(following[:, 0], wider[:, 0]), np.minimum(following[:, 1], wider[:, 1])
    held = (following[:, 0] == following[:, 1]) | (low >= high)
    return np.where(held[:, None], following, np.column_stack([low, high]))


def shares(tallied: Tally, thresholds: np.ndarray) -> np.ndarray:
    """The confidence (N,) of a part of the samples, from its last tally and the thresholds (D,) of all samples."""
    more = tallied.sample[tallied.mean <= thresholds[tallied.draw]]
    inside = (tallied.certain + np.bincount(more, minlength=len(tallied.certain))) / len(thresholds)
    inside[tallied.unknown] = np.nan
    return inside


def search(
    draws: Draws, sample: tuple[Sequence[np.ndarray], np.ndarray], top: int, of: int, count: Callable
) -> np.ndarray:
    """The thresholds (D,) of `of` samples: the mean of the `top`-th most suspect in each draw, exactly.

    sample: margins and shift of some of the samples, chosen at random. count(bracket) gives the tallies of all parts;
    it is called once, or a few times more where a bracket missed its threshold.
    """
    bracket, wide = brackets(draws, *sample, top, of), 1.0
    while True:
        found, following = settle(bracket, top, of, count(bracket))
        if not np.isnan(found).any():
            return found
        wide *= 8
        bracket = narrowed(following, brackets(draws, *sample, top, of, wide))


def confidence(draws: Draws, margins: Sequence[np.ndarray], shift: np.ndarray, top: int) -> np.ndarray:
    """Share (N,) of the draws in which a sample is among the `top` most suspect; NaN where unknown. All in memory."""
    tallied: list[Tally] = []

    def count(bracket: np.ndarray) -> list[Tally]:
        tallied[:] = [tally(draws, margins, shift, bracket)]
        return tallied

    some = chosen(len(shift), sum(len(one) for one in margins))
    found = search(draws, ([one[:, some] for one in margins], shift[some]), top, len(shift), count)
    return shares(tallied[0], found)


def chosen(samples: int, rows: int) -> np.ndarray:
    """Places of the random sample that brackets are judged by, ascending: all of a few, else about 32 MB of margins.

    rows: checkpoints of all sources together.
    """
    size = max(1 << 14, min(1 << 18, (1 << 23) // max(rows, 1)))
    if samples <= size:
        return np.arange(samples)
    return np.unique(np.random.default_rng(samples).integers(0, samples, size))
