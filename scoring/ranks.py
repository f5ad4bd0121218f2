"""How sure a sample's place among the most suspect is: ranks in bootstrap draws of the checkpoints.

A draw takes checkpoints with replacement and ranks all samples by their mean margin in it. A sample's mean needs the
sample alone, so that parts of the samples may be worked out one after the other (`means`); the mean of the `top`-th
sample, the draw's threshold, needs one number of each sample (`shares`). The result is the same to the last bit,
whatever the parts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

WIDTH = 2048  # samples whose means are worked out at once


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


def unknown(draws: Draws, margins: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each source which samples have no mean in its draws, (N,) bool; the last is of samples without confidence.

    margins[s] (E, N). What is missing in one source does not count in those that follow, either.
    """
    lost = [np.zeros(margins[0].shape[1], bool)]
    for values, used in zip(margins, draws.rows):
        missing = lost[-1].copy()
        for row in used:
            missing |= ~np.isfinite(values[row])
        lost.append(missing)
    return lost[1:]


def means(
    draws: Draws, margins: Sequence[np.ndarray], lost: Sequence[np.ndarray]
) -> Iterator[tuple[int, slice, np.ndarray]]:
    """Each draw's mean margins, (d, samples as a slice, (B,) float32), +inf where `lost`, see `unknown`.

    Sums run in float32, checkpoint by checkpoint, in blocks of one width: so a sample's mean does not depend on the
    others, as the last bits of a matrix product would.
    """
    draws_of = [np.flatnonzero(draws.of == source) for source in range(len(margins))]
    times = [np.stack([draws.times[d] for d in some]) if len(some) else None for some in draws_of]
    blocks = [np.zeros((len(used), WIDTH), np.float32) for used in draws.rows]
    total = np.empty((max(map(len, draws_of)), WIDTH), np.float32)
    for start in range(0, margins[0].shape[1], WIDTH):
        part = slice(start, min(start + WIDTH, margins[0].shape[1]))
        size = part.stop - start
        for source, values in enumerate(margins):
            if not len(draws_of[source]):
                continue
            blocks[source][:, :size] = values[draws.rows[source], part]
            with np.errstate(invalid="ignore", over="ignore"):
                np.einsum("dt,tn->dn", times[source], blocks[source], out=total[: len(draws_of[source])])
            for d, row in zip(draws_of[source], total):
                mean = row[:size] / draws.sizes[source]
                mean[lost[source][part]] = np.inf
                yield int(d), part, mean


def shares(rows: Iterable[np.ndarray], shift: np.ndarray, lost: np.ndarray, top: int) -> np.ndarray:
    """Share (N,) of the draws in which a sample is among the `top` most suspect; NaN where `lost` (N,) bool.

    rows: of each draw the mean margins (N,) float32, low is suspect, to which shift (N,) float64 is added; without a
    finite shift a sample has no mean. Takes memory for one draw at a time.
    """
    lost = lost | ~np.isfinite(shift)
    shift = np.where(np.isfinite(shift), shift, np.inf)
    inside, draws = np.zeros(len(shift), np.int32), 0
    for row in rows:
        threshold = -np.inf if top <= 0 else np.inf
        if 0 < top < len(shift):
            shifted = row + shift
            shifted.partition(top - 1)
            threshold = shifted[top - 1]
            del shifted
        inside += row + shift <= threshold
        draws += 1
    return np.where(lost, np.nan, inside / draws)


def confidence(draws: Draws, margins: Sequence[np.ndarray], shift: np.ndarray, top: int) -> np.ndarray:
    """`shares` of samples with margins[s] (E, N) and shift (N,), with the means of all draws in memory."""
    lost = unknown(draws, margins)
    rows = np.empty((len(draws.of), len(shift)), np.float32)
    for d, part, mean in means(draws, margins, lost):
        rows[d, part] = mean
    return shares(rows, shift, lost[-1], top)
