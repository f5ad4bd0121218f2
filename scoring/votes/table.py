"""Votes as arrays, and what is counted in them: V votes by A annotators on N samples, of K classes."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

FEW = 30  # shared votes below which an annotator's numbers say little


@dataclass(frozen=True, eq=False)
class Votes:
    """sample (V,) in [0, N), annotator (V,) in [0, A), label (V,) in [0, K): int64, ordered by sample; every sample has
    a vote, and an annotator at most one on each. Who abstains has no vote there.
    """

    sample: np.ndarray
    annotator: np.ndarray
    label: np.ndarray
    classes: int

    @classmethod
    def of(cls, sample, annotator, label, classes: int) -> "Votes":
        """Checked and ordered; ValueError for numbers out of range, a sample without a vote and a vote twice."""
        sample, annotator, label = (np.asarray(one, np.int64) for one in (sample, annotator, label))
        if not len(sample) == len(annotator) == len(label) or not len(sample):
            raise ValueError(f"expected as many samples, annotators and labels, one at least, got {len(sample)}")
        if min(sample.min(), annotator.min(), label.min()) < 0 or label.max() >= classes:
            raise ValueError(f"expected labels from 0 to {classes - 1} and no negative number")
        if (np.bincount(sample) == 0).any():
            raise ValueError("expected a vote on each sample, got some without")
        order = np.lexsort((annotator, sample))
        votes = cls(sample[order], annotator[order], label[order], classes)
        if ((np.diff(votes.sample) == 0) & (np.diff(votes.annotator) == 0)).any():
            raise ValueError("expected at most one vote of an annotator on a sample, got two")
        return votes

    @cached_property
    def samples(self) -> int:
        return int(self.sample[-1]) + 1

    @cached_property
    def annotators(self) -> int:
        return int(self.annotator.max()) + 1

    @cached_property
    def each(self) -> np.ndarray:
        """How many votes each sample has (N,)."""
        return np.bincount(self.sample)

    @cached_property
    def cast(self) -> np.ndarray:
        """How many votes each annotator has cast (A,)."""
        return np.bincount(self.annotator)

    @cached_property
    def counts(self) -> np.ndarray:
        """Votes of each sample for each class (N, K)."""
        return self.sums(np.ones(len(self.sample)))

    def sums(self, weight: np.ndarray) -> np.ndarray:
        """The weights (V,) of the votes of each sample for each class, summed: (N, K)."""
        cell = self.sample * self.classes + self.label
        return np.bincount(cell, weight, self.samples * self.classes).reshape(self.samples, self.classes)

    def mean(self, values: np.ndarray, kept: np.ndarray | None = None) -> np.ndarray:
        """The mean (A,) of values (V,) over each annotator's votes, or those that are kept (V,); NaN without any."""
        kept = np.ones(len(values), bool) if kept is None else kept
        total = np.bincount(self.annotator[kept], np.asarray(values, float)[kept], self.annotators)
        number = np.bincount(self.annotator[kept], minlength=self.annotators)
        return np.divide(total, number, out=np.full(self.annotators, np.nan), where=number > 0)

    @cached_property
    def others(self) -> np.ndarray:
        """Votes of others on the same sample, of each vote (V,)."""
        return self.each[self.sample] - 1

    @cached_property
    def agreeing(self) -> np.ndarray:
        """Votes of others on the same sample for the same class, of each vote (V,)."""
        return self.counts[self.sample, self.label].astype(np.int64) - 1


def agreement(votes: Votes) -> np.ndarray:
    """Of all pairs of an annotator's vote and another's on the same sample the share that agree, (A,); NaN for none."""
    agreeing, others = (np.bincount(votes.annotator, one, votes.annotators) for one in (votes.agreeing, votes.others))
    return np.divide(agreeing, others, out=np.full(votes.annotators, np.nan), where=others > 0)


def overlap(votes: Votes) -> np.ndarray:
    """The share of each annotator's votes on which another votes, too, (A,)."""
    return votes.mean(votes.others > 0)


def conflict(votes: Votes) -> np.ndarray:
    """The share of each annotator's votes that another one contradicts, (A,)."""
    return votes.mean(votes.agreeing < votes.others)


def confusions(votes: Votes, truth: np.ndarray) -> np.ndarray:
    """(A, K, K) int64: how often each annotator called what is `truth` (N,) k by the name l: [annotator, k, l].

    truth: of each sample a class, or the probabilities (N, K) of classes, which give a float64 table.
    """
    size = votes.classes
    cell = votes.annotator * size + votes.label
    if np.ndim(truth) == 1:
        table = np.bincount(cell * size + np.asarray(truth)[votes.sample], minlength=votes.annotators * size**2)
    else:
        columns = [np.bincount(cell, truth[votes.sample, k], votes.annotators * size) for k in range(size)]
        table = np.stack(columns, axis=1)
    return table.reshape(votes.annotators, size, size).swapaxes(1, 2)


def majority(votes: Votes, p: np.ndarray | None = None) -> np.ndarray:
    """The class (N,) that most name. Ties: the higher of p (N, K); the class with fewer votes in all; the one whose
    voters agree more often with the untied majorities; the first.
    """
    left = votes.counts == votes.counts.max(axis=1, keepdims=True)
    if p is not None:
        left = _narrowed(left, np.asarray(p, float))
    left = _narrowed(left, np.broadcast_to(-votes.counts.sum(axis=0), left.shape))
    label, tied = left.argmax(axis=1), left.sum(axis=1) > 1
    if tied.any():
        # whether a vote is with the majority, of those on which no class is tied at first
        clear = (votes.counts == votes.counts.max(axis=1, keepdims=True)).sum(axis=1) == 1
        skill = votes.mean(votes.label == label[votes.sample], clear[votes.sample])
        skill = np.where(np.isnan(skill), np.nanmean(skill) if not np.isnan(skill).all() else 0.0, skill)
        mean = votes.sums(skill[votes.annotator]) / np.maximum(votes.counts, 1)
        label = np.where(tied, _narrowed(left, mean).argmax(axis=1), label)
    return label


def _narrowed(left: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Of the classes that are left (N, K) those with the largest score."""
    score = np.where(left, score, -np.inf)
    return left & (score == score.max(axis=1, keepdims=True))
