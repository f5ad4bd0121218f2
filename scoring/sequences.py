"""Scores of video frames and the spans that they form; arrays only.

Rows are frames; those of one sequence lie together, in the order of time, and `bounds` (S + 1,) says where each of the
S sequences begins: sequence s has the rows bounds[s] to bounds[s + 1] - 1.
"""

import itertools
from dataclasses import dataclass

import numpy as np

CHANGE = 4.0  # nats that a change of phase costs a path: a phase of a few frames must be clear to be one
SHORTEST = 4  # frames of a span
LEAST = 30.0  # nats that the frames of a span must say together
FLOOR = 1e-4  # probability under which nothing more is said


@dataclass(frozen=True)
class Spans:
    """K stretches of neighbouring frames. start, stop (K,) rows, stop excluded; label (K,) class index suggested;
    evidence (K,) in nats a frame: how far the suggested label is ahead of the given one. High is suspect."""

    start: np.ndarray
    stop: np.ndarray
    label: np.ndarray
    evidence: np.ndarray


@dataclass(frozen=True)
class Swaps:
    """K pairs of neighbouring phases, rows start to middle and middle to stop (K,); evidence (K,) in nats a frame that
    their labels have been exchanged. High is suspect."""

    start: np.ndarray
    middle: np.ndarray
    stop: np.ndarray
    evidence: np.ndarray


def bounds_of(names: np.ndarray) -> np.ndarray:
    """The bounds (S + 1,) of the S stretches of equal neighbours in `names` (N,)."""
    return np.r_[0, np.flatnonzero(names[1:] != names[:-1]) + 1, len(names)]


def styleless(thumbs: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Thumbnails (N, S, S, 3) uint8 -> (N, 3 S S) float32, each sequence freed of its mean picture and contrast."""
    flat = thumbs.reshape(len(thumbs), -1).astype(np.float32)
    for start, stop in itertools.pairwise(bounds):
        if stop > start:
            flat[start:stop] -= flat[start:stop].mean(0)
            flat[start:stop] /= max(float(flat[start:stop].std()), 1e-6)
    return flat


def smoothed(values: np.ndarray, bounds: np.ndarray, width: int) -> np.ndarray:
    """Centred moving mean (N,) over `width` frames (odd) of values (N,), within each sequence, NaN left out.

    At the ends of a sequence the window is cut, not padded. A window without any value gives NaN. Raises ValueError for
    a width that is not odd and positive. "Loss Knows Best", post-processing: it suppresses flicker, and it blurs
    errors of order that are shorter than the window.
    """
    if width < 1 or width % 2 == 0:
        raise ValueError(f"expected an odd width of 1 or more, found {width}")
    first, last = _reach(bounds, len(values))
    rows, half = np.arange(len(values)), width // 2
    return _means(values, np.maximum(rows - half, first), np.minimum(rows + half + 1, last))


def runs(labels: np.ndarray, first: int, last: int) -> np.ndarray:
    """The first rows of the stretches of one label between rows `first` and `last`, and `last`: (R + 1,)."""
    inner = np.flatnonzero(np.diff(labels[first:last])) + first + 1
    return np.r_[first, inner, last] if last > first else np.array([last])


def logs(probabilities: np.ndarray) -> np.ndarray:
    """Log-probabilities (N, C) in nats with a floor, so that a single certain frame cannot outvote a whole span."""
    return np.log(np.asarray(probabilities, float) + FLOOR)


def best_path(log: np.ndarray, bounds: np.ndarray, change: float = CHANGE) -> np.ndarray:
    """The labels (N,) of the likeliest path through log-probabilities (N, C), each change of label costing `change`.

    Viterbi's algorithm within each sequence: it merges flickers that a label frame by frame would show.
    """
    count, classes = log.shape
    path, back = np.zeros(count, np.int64), np.zeros((count, classes), np.int32)
    here = np.arange(classes)
    for first, stop in itertools.pairwise(np.asarray(bounds).tolist()):
        if stop <= first:
            continue
        best = log[first].copy()
        for row in range(first + 1, stop):
            top = int(best.argmax())
            stays = best >= best[top] - change
            back[row] = np.where(stays, here, top)
            best = np.where(stays, best, best[top] - change) + log[row]
        path[stop - 1] = best.argmax()
        for row in range(stop - 1, first, -1):
            path[row - 1] = back[row, path[row]]
    return path


def swaps(log: np.ndarray, labels: np.ndarray, bounds: np.ndarray, *, habit: float = 1.0, weaker: float = 1.0) -> Swaps:
    """Neighbouring phases as given, each with how much better each other's label fits: log (N, C), labels (N,).

    The evidence is the smaller of the two phases' mean log-ratios, by a share `weaker`, and for the rest the mean of
    both, less `habit` times the log of one more than the number of other videos in which the same two labels seem
    exchanged: what the model mixes up everywhere says little.
    """
    table = [np.empty(0, np.int64)] * 3
    found, pairs, videos = [], [], []
    for video, (first, last) in enumerate(itertools.pairwise(np.asarray(bounds).tolist())):
        for start, middle, stop in zip(cuts := runs(labels, first, last), cuts[1:], cuts[2:]):
            one, other = labels[start], labels[middle]
            ratio = log[start:stop, other] - log[start:stop, one]
            sides = ratio[: middle - start].mean(), -ratio[middle - start :].mean()
            found.append((start, middle, stop, weaker * min(sides) + (1 - weaker) * sum(sides) / 2))
            pairs.append((min(one, other), max(one, other)))
            videos.append(video)
    if not found:
        return Swaps(*table, np.empty(0))
    *table, evidence = (np.array(column) for column in zip(*found))
    return Swaps(*table, evidence - habit * _habit(pairs, np.array(videos), evidence > 0))


def label_spans(
    log: np.ndarray,
    labels: np.ndarray,
    bounds: np.ndarray,
    path: np.ndarray,
    skip: np.ndarray | None = None,
    *,
    least: float = LEAST,
    habit: float = 1.0,
) -> Spans:
    """Stretches in which `path` has another label than the given one, frames `skip` (N,) bool left out.

    log (N, C), labels (N,), path (N,) of `best_path`. A span lies within one phase as given; where the path changes
    inside, the span has the label that fits all of it best: a phase that is wrong as a whole is one finding. Spans of
    fewer than SHORTEST frames, or that say less than `least` nats in all, are dropped. The evidence is the mean
    log-ratio of the suggested and the given label, less `habit` times the log of one more than the number of other
    videos in which the model makes the same exchange.
    """
    off = path != labels
    if skip is not None:
        off &= ~skip
    video = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    change = (off[1:] != off[:-1]) | (labels[1:] != labels[:-1]) | (video[1:] != video[:-1])
    edges = np.r_[0, np.flatnonzero(change) + 1, len(off)]
    rows, pairs = [], []
    for start, stop in itertools.pairwise(edges.tolist()):
        if start == stop or not off[start]:
            continue
        label = int(log[start:stop].sum(0).argmax())
        ratio = log[start:stop, label] - log[np.arange(start, stop), labels[start:stop]]
        rows.append((start, stop, label, ratio.mean(), ratio.sum()))
        pairs.append((int(labels[start]), label))
    if not rows:
        return Spans(*[np.empty(0, np.int64)] * 3, np.empty(0))
    start, stop, label, mean, total = (np.array(column) for column in zip(*rows))
    evidence = mean - habit * _habit(pairs, video[start], mean > 0)
    keep = (stop - start >= SHORTEST) & (total >= least)
    return Spans(start[keep], stop[keep], label[keep], evidence[keep])


def _habit(pairs: list[tuple[int, int]], videos: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """log(1 + number of other videos) (K,) in which the same pair of labels is mixed up too."""
    seen: dict[tuple[int, int], set[int]] = {}
    for pair, video, one in zip(pairs, videos.tolist(), counts.tolist()):
        if one:
            seen.setdefault(pair, set()).add(video)
    return np.log1p([len(seen.get(pair, set()) - {video}) for pair, video in zip(pairs, videos.tolist())])


def severity(evidence: np.ndarray, threshold: float) -> np.ndarray:
    """Evidence in nats as a severity in (0, 1): 0.5 at the threshold, 0.27 at none, 0.88 at three times it."""
    return 1 / (1 + np.exp(1 - np.asarray(evidence, float) / threshold))


def matched(
    found_start: np.ndarray, found_stop: np.ndarray, start: np.ndarray, stop: np.ndarray, overlap: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Which true spans, rows start to stop (T,) excluded, are found, and which found spans are true: (T,), (K,) bool.

    Overlap is intersection over union. A found span counts for one true span at most, the best pairs first, so that a
    span cut in two is not counted twice.
    """
    inside = np.minimum(found_stop[:, None], stop) - np.maximum(found_start[:, None], start)
    union = (found_stop - found_start)[:, None] + (stop - start) - np.maximum(inside, 0)
    ratio = np.maximum(inside, 0) / np.maximum(union, 1)
    hit, right = np.zeros(len(start), bool), np.zeros(len(found_start), bool)
    for flat in np.argsort(-ratio, axis=None, kind="stable"):
        one, truth = np.unravel_index(flat, ratio.shape)
        if ratio[one, truth] < overlap:
            break
        if not hit[truth] and not right[one]:
            hit[truth] = right[one] = True
    return hit, right


def _means(values: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Means (K,) of the known among the values start to stop (K,), stop excluded; NaN where none is known."""
    values = np.asarray(values, float)
    known = np.isfinite(values)
    total = np.r_[0.0, np.cumsum(np.where(known, values, 0.0))]
    count = np.r_[0, np.cumsum(known)]
    here = count[stop] - count[start]
    return np.where(here > 0, (total[stop] - total[start]) / np.maximum(here, 1), np.nan)


def _reach(bounds: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row the first of its sequence, and the one after the last."""
    bounds = np.asarray(bounds, np.int64)
    if len(bounds) < 1 or bounds[0] != 0 or bounds[-1] != rows or (np.diff(bounds) < 0).any():
        raise ValueError(f"expected ascending bounds from 0 to {rows}, found {bounds[:5].tolist()}...")
    sizes = np.diff(bounds)
    return np.repeat(bounds[:-1], sizes), np.repeat(bounds[1:], sizes)
