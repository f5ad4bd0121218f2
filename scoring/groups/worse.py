"""Which groups of held-out samples a model does worse on than their classes let one expect."""

from dataclasses import dataclass

import numpy as np

from lossprint.scoring.intervals import LEVEL, rate

SMALLEST = 20  # samples: of fewer nothing is said
MOST = 16  # clusters
EACH = 50  # samples a cluster has on the average, at the least
FITTED = 5000  # vectors from which the centres of clusters are found


@dataclass(frozen=True)
class Group:
    """A group: its name, how many samples it has, the share of right answers with its interval, and the share that
    samples of the same classes outside it have. `worse`: it falls short of that by more than chance."""

    name: str
    size: int
    right: float
    low: float
    high: float
    expected: float
    worse: bool


def compare(names: np.ndarray, right: np.ndarray, labels: np.ndarray) -> tuple[list[Group], int]:
    """The groups of `SMALLEST` samples and more, those that fall furthest short first; how many smaller ones there are.

    names (N,) texts, empty for no group; right (N,) bool, whether the model's answer is the given label; labels (N,)
    class indices. What is expected of a group is the mean, over its samples, of the share of right answers that the
    class has outside of the group; samples of a class that is nowhere else are not counted.

    A group is worse where its whole interval lies below what is expected and where the difference, class by class, is
    larger than chance makes it (the variances of Cochran's test for strata, Biometrics 10, 1954). The level of both is
    `LEVEL` shared out among the groups that are looked at (Bonferroni): in nine of ten datasets chance names none.
    """
    names, right, labels = np.asarray(names, object), np.asarray(right, bool), np.asarray(labels)
    every, sizes = np.unique(names[names != ""].astype(str), return_counts=True)
    wanted = every[sizes >= SMALLEST]
    tail = (1 - LEVEL) / max(1, len(wanted))
    classes = int(labels.max()) + 1 if len(labels) else 0
    count, hits = np.bincount(labels, minlength=classes), np.bincount(labels, right, minlength=classes)
    chance = (hits + 0.5) / (count + 1)
    groups = []
    for name in wanted:
        inside = names == name
        own = np.bincount(labels[inside], minlength=classes)
        own_hits = np.bincount(labels[inside], right[inside], minlength=classes)
        known = (count > own) & (own > 0)
        size, outside = int(own[known].sum()), (count - own)[known]
        if size < SMALLEST:
            continue
        weights = own[known] / size
        expected = float(weights @ ((hits - own_hits)[known] / outside))
        spread = chance[known] * (1 - chance[known]) * (1 / own[known] + 1 / outside)
        interval = rate(int(own_hits[known].sum()), size, 1 - tail)
        short = (expected - interval.estimate) / np.sqrt(weights**2 @ spread)
        worse = bool(interval.high < expected and short > _quantile(1 - tail))
        groups.append(Group(str(name), size, interval.estimate, interval.low, interval.high, expected, worse))
    return sorted(groups, key=lambda one: (not one.worse, one.right - one.expected)), len(every) - len(groups)


def _quantile(share: float) -> float:
    """That of the normal distribution."""
    from scipy.special import ndtri

    return float(ndtri(share))


def clusters(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """A cluster index (N,) for each of the vectors (N, D), -1 for all where there are too few to part: k-means on
    centred vectors of length one, N / `EACH` clusters, at most `MOST`."""
    number = min(MOST, len(vectors) // EACH)
    if number < 2:
        return np.full(len(vectors), -1)
    from scipy.cluster.vq import kmeans2, vq

    points = np.asarray(vectors, np.float64)
    points = points - points.mean(0)
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    rng = np.random.default_rng(seed)
    fitted = points if len(points) <= FITTED else points[rng.choice(len(points), FITTED, replace=False)]
    if len(np.unique(fitted[: 2 * number], axis=0)) < number:
        return np.full(len(vectors), -1)  # all but the same
    centres, _ = kmeans2(fitted, number, minit="++", rng=rng)
    return vq(points, centres)[0]
