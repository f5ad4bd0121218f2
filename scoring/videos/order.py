"""Whether phases of a video stand in an order that the other videos do not have; arrays only.

Labels are class indices (N,) int64 of frames, `bounds` (S + 1,) as in `scoring.sequences`. A block is a stretch of
neighbouring frames; an exchange takes two neighbouring blocks: start to before middle, and middle to before stop.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from lossprint.scoring.sequences import runs, smoothed

UNSEEN = 0.1  # what a transition that no other video has counts as, of one that a single video has
JOIN = 2  # frames on either side of a join that are compared
DRAWS = 300  # pairs of frames that a join is compared with
REACH = 5  # stretches that the two blocks of an exchange have together, at most
JUMPS = 2  # of a video, the largest within a phase, at which blocks may also begin
APART = 4  # frames between such a jump and the next place where a block may begin, at least
MOST = 2.3  # nats that a single join may say, 10 to 1: a camera that is taken out and put back is no proof


@dataclass(frozen=True)
class Exchanges:
    """K ways to exchange two neighbouring blocks. sequence, start, middle, stop (K,) rows; evidence (K,) in nats.

    grammar (K,): by how much likelier the order of phases becomes; joins (K,): by how much likelier it becomes that
    frames that would be neighbours are, and that those that are neighbours are not. High: the blocks were exchanged.
    """

    sequence: np.ndarray
    start: np.ndarray
    middle: np.ndarray
    stop: np.ndarray
    grammar: np.ndarray
    joins: np.ndarray

    @property
    def evidence(self) -> np.ndarray:
        return self.grammar + self.joins


class Grammar:
    """How often a phase follows another, over all videos; each is judged by the others."""

    def __init__(self, labels: np.ndarray, bounds: np.ndarray, classes: int):
        self.classes = classes
        self.orders = [labels[runs(labels, a, b)[:-1]] for a, b in itertools.pairwise(bounds)]
        self.counts = np.zeros((classes + 2, classes + 2))
        for order in self.orders:
            np.add.at(self.counts, self._steps(order), 1)

    def _steps(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From and to, the beginning and the end of the video included."""
        order = order[np.r_[True, order[1:] != order[:-1]]] if len(order) else order
        return np.r_[self.classes, order], np.r_[order, self.classes + 1]

    def surprise(self, video: int) -> np.ndarray:
        """Negative log-probability (C + 2, C + 2) in nats of each transition, by the other videos, smoothed."""
        counts = self.counts.copy()
        np.add.at(counts, self._steps(self.orders[video]), -1)
        counts += UNSEEN
        return np.log(counts.sum(1, keepdims=True)) - np.log(counts)

    def cost(self, order: np.ndarray, surprise: np.ndarray) -> float:
        """Negative log-probability of an order of phases, in nats."""
        return float(surprise[self._steps(order)].sum())


def exchanges(labels: np.ndarray, bounds: np.ndarray, pictures: np.ndarray, classes: int, seed: int = 0) -> Exchanges:
    """Ways to exchange two neighbouring blocks within each video, with the evidence for each.

    Blocks begin where phases do, and at the largest jumps between frames within a phase.

    pictures (N, P): features of frames that are alike where the frames are. The joins are compared with pairs of frames
    of the same two phases drawn from the whole video: neighbours in time are more alike than those, by how much is
    learned from all joins of the dataset. Where phases change by hard cuts the joins weigh nothing by themselves.
    """
    grammar = Grammar(labels, bounds, classes)
    random = np.random.default_rng(seed)
    found, ranks = [], []
    for video, (first, last) in enumerate(itertools.pairwise(np.asarray(bounds).tolist())):
        if last <= first:
            continue
        phases = runs(labels, first, last)
        cuts = np.union1d(phases, _jumps(pictures, phases))
        order, surprise = labels[cuts[:-1]], grammar.surprise(video)
        joins = _Joins(pictures, cuts, random)
        changes = np.flatnonzero(order[1:] != order[:-1]).tolist()
        ranks += [joins.rank(block, block + 1) for block in changes]
        given = grammar.cost(order, surprise)
        for one, two, three in _blocks(len(order)):
            swapped = np.r_[order[:one], order[two:three], order[one:two], order[three:]]
            ends = [(one - 1, one, two), (two - 1, two, one), (three - 1, three, two)]
            now = [joins.rank(a, b) for a, b, _ in ends if a >= 0 and b < len(order)]
            then = [(one - 1, two), (three - 1, one), (two - 1, three)]
            then = [joins.rank(a, b) for a, b in then if a >= 0 and b < len(order)]
            rows = (video, cuts[one], cuts[two], cuts[three], given - grammar.cost(swapped, surprise), now, then)
            found.append(rows)
    power = _power(np.array(ranks))
    weight = [sum(_genuine(r, power) for r in then) - sum(_genuine(r, power) for r in now) for *_, now, then in found]
    columns = [np.array([row[at] for row in found], np.int64) for at in range(4)]
    return Exchanges(*columns, np.array([row[4] for row in found], float), np.array(weight, float))


def unrest(pictures: np.ndarray, labels: np.ndarray, bounds: np.ndarray, width: int, seed: int = 0) -> np.ndarray:
    """Evidence (N,) in nats that frames within a phase are shuffled: high where neighbours are no more alike than
    frames of the phase drawn at random.

    The sum over the `width` frames around, each of at most MOST; how alike neighbours usually are is learned from all
    of the dataset's. NaN where a phase is too short to tell. A camera that is moved fast looks the same.
    """
    random = np.random.default_rng(seed)
    ranks = np.full(len(labels), np.nan)
    for first, last in itertools.pairwise(np.asarray(bounds).tolist()):
        for start, stop in itertools.pairwise(runs(labels, first, last).tolist()):
            if stop - start < 2 * APART:
                continue
            apart = np.abs(np.diff(pictures[start:stop], axis=0)).mean(1)
            one, other = random.integers(start, stop, (2, DRAWS))
            drawn = np.sort(np.abs(pictures[one] - pictures[other]).mean(1)[one != other])
            ranks[start + 1 : stop] = np.searchsorted(drawn, apart) / max(len(drawn), 1)
    power = _power(ranks[np.isfinite(ranks)])
    return smoothed(-_genuine(ranks, power), bounds, width) * width


def _jumps(pictures: np.ndarray, phases: np.ndarray) -> np.ndarray:
    """The rows of the largest jumps between neighbours inside the phases of one video, of its `runs`."""
    first, last = int(phases[0]), int(phases[-1])
    jump = np.abs(np.diff(pictures[first:last], axis=0)).mean(1)
    rows = first + 1 + np.argsort(-jump, kind="stable")[: 10 * JUMPS]
    far = rows[np.abs(rows[:, None] - phases).min(1) > APART]
    chosen: list[int] = []
    for row in far.tolist():
        if len(chosen) < JUMPS and all(abs(row - other) > APART for other in chosen):
            chosen.append(row)
    return np.array(chosen, np.int64)


def _blocks(count: int):
    """All pairs of neighbouring blocks of whole phases: (first, second, after the second), indices of phases."""
    for one in range(count):
        for three in range(one + 2, min(one + REACH, count) + 1):
            for two in range(one + 1, three):
                yield one, two, three


class _Joins:
    """How alike two frames at a join are, beside pairs of frames drawn from the same two phases."""

    def __init__(self, pictures: np.ndarray, cuts: np.ndarray, random: np.random.Generator):
        self.pictures, self.cuts, self.random, self.known = pictures, cuts.tolist(), random, {}

    def rank(self, before: int, after: int) -> float:
        """The share in [0, 1] of drawn pairs that are more alike than the end of `before` and the start of `after`."""
        if (before, after) not in self.known:
            (low, stop), (start, high) = (self.cuts[block : block + 2] for block in (before, after))
            ends = [(stop - 1 - k, start + k) for k in range(JOIN) if stop - 1 - k >= low and start + k < high]
            one = np.r_[[end for end, _ in ends], self.random.integers(low, stop, DRAWS)]
            other = np.r_[[begin for _, begin in ends], self.random.integers(start, high, DRAWS)]
            apart = np.abs(self.pictures[one] - self.pictures[other]).mean(1)
            self.known[before, after] = float((apart[len(ends) :] < apart[: len(ends)].mean()).mean())
        return self.known[before, after]


def _power(ranks: np.ndarray) -> float:
    """The maximum-likelihood b of Beta(1, b) over ranks of joins, at least 1, at which a join weighs nothing."""
    if not len(ranks):
        return 1.0
    return max(1.0, -len(ranks) / float(np.log1p(-np.minimum(ranks, 1 - 1 / DRAWS)).sum() - 1e-9))


def _genuine(ranks, power: float):
    """Log-odds in nats that neighbours in time, and not frames drawn at random, have these ranks."""
    return np.clip(np.log(power) + (power - 1) * np.log1p(-np.minimum(ranks, 1 - 1 / DRAWS)), -MOST, MOST)
