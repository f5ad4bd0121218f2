"""Coresets: keep a fraction of the samples, a number of them, or a number of each class, by one of `methods.METHODS`.

Budgets are shared among the classes in proportion to their sizes, so that a subset keeps the class balance of the whole
and one method can be compared with another. Methods that rank by a score take the best of each class, ties by sample
id, samples without a score last. The same seed and ids give the same subset whatever the order of the rows.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from lossprint.scoring.coresets.budgets import class_budgets, first_of_each, share
from lossprint.scoring.coresets.cover import facility_location, k_centre
from lossprint.scoring.coresets.gradients import LastLayer, glister, grad_match
from lossprint.scoring.coresets.methods import METHODS, Method, recommended

STRATA, DROPPED = 50, 0.1  # of CCS: strata of the score, and the share of the hardest that is left out


@dataclass(frozen=True)
class Pool:
    """What may be chosen and what is known of it beside scores; all arrays (N,), by row.

    excluded: never chosen. suspect: how likely the label is wrong where it counts as flagged, NaN elsewhere; methods
    `cleaned` take those last, the likeliest at the very end. group: of samples with the same number >= 0, one at most
    is chosen. vectors (N, D): embeddings. layer: for GRAD-MATCH, GLISTER and CRUST; its N training
    samples are the rows.
    """

    excluded: np.ndarray | None = None
    suspect: np.ndarray | None = None
    group: np.ndarray | None = None
    vectors: np.ndarray | None = None
    layer: LastLayer | None = None


@dataclass(frozen=True)
class Chosen:
    """index (K,) int64: the rows chosen, best first over all classes; score (K,) float64: what they were ranked by: the
    score's column, for chance the number drawn (lowest first), else the gain, distance or weight of the method.
    """

    index: np.ndarray
    score: np.ndarray


def select(
    method: str,
    scores: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    fraction: float | None = None,
    number: int | None = None,
    per_class: int | None = None,
    equal: bool = False,
    at_least: int = 1,
    seed: int = 0,
    sample_ids: np.ndarray | None = None,
    pool: Pool | None = None,
) -> Chosen:
    """Choose a subset by a method of `METHODS`: scores are columns (N,), labels (N,) of any sortable type.

    The budget is a fraction in (0, 1] of N, a number, or a number of each class; see `budgets.class_budgets`, also for
    `equal` and `at_least`. Within a class the best come first; a NaN score comes last; ties go to the smaller sample id
    (default: the row). Raises ValueError for an unknown method, one whose needs are not met, or an impossible budget.
    """
    if method not in METHODS:
        raise ValueError(f"unknown coreset method {method!r}{_meant(method, METHODS)}; there are {', '.join(METHODS)}")
    labels, pool = np.asarray(labels), pool or Pool()
    ids = np.arange(len(labels)) if sample_ids is None else np.asarray(sample_ids)
    if labels.ndim != 1 or ids.shape != labels.shape:
        raise ValueError(f"labels {labels.shape} and sample_ids {ids.shape} must be (N,) both")
    about = METHODS[method]
    score = _score(about, scores, ids)
    if lacking := lacks(about, scores, pool):
        raise ValueError(f"{about.title} needs {lacking}")
    by_id = np.argsort(ids, kind="stable")
    task = _task(about, score, labels, by_id, pool, seed)
    if not task.allowed.any():
        raise ValueError("no sample is left to choose from: all are excluded")
    budget = {"fraction": fraction, "number": number, "per_class": per_class}
    first = np.bincount(task.of[task.allowed & ~task.last], minlength=len(task.sizes))
    everyone = np.bincount(task.of[task.allowed], minlength=len(task.sizes))
    wanted = class_budgets(task.sizes, everyone, equal=equal, at_least=at_least, **budget)
    if about.how == "recommended":
        about = METHODS[recommended(wanted.sum() / len(labels), pool.vectors is not None)]
    if about.cleaned and first.sum() >= wanted.sum():  # the other classes make up for the suspects of one
        wanted = class_budgets(task.sizes, first, equal=equal, at_least=at_least, **budget)
    if about.how == "plain":  # the number counts, the classes do not
        task, wanted = replace(task, of=np.zeros_like(task.of)), np.array([wanted.sum()])
    rows, value = _choose(replace(task, method=about), wanted)
    return Chosen(by_id[rows], value)


def lacks(method: Method, scores: Mapping[str, np.ndarray], pool: Pool) -> str:
    """What a method needs and does not have, in words; empty where it can be used."""
    if method.column is not None and method.column not in scores:
        return f"the score {method.column!r}, which was not computed; there are {', '.join(scores)}"
    if method.needs == "embeddings" and pool.vectors is None:
        return "embeddings, which a run without a model of its own does not have"
    if method.needs == "last layer" and pool.layer is None:
        return "the last layer of a trained model, which a run of imported losses does not have"
    return ""


# ------------------------------------------------------------------------------------------------- how


@dataclass(frozen=True)
class _Task:
    """What is to be chosen from, rows in the order of their ids.

    key (N,): rank by it, lowest first, NaN last. shown (N,): the score as reported. of (N,): class index; sizes (C,).
    last (N,): suspects, where the method is a cleaned one.
    """

    key: np.ndarray
    shown: np.ndarray
    of: np.ndarray
    sizes: np.ndarray
    allowed: np.ndarray
    last: np.ndarray
    suspect: np.ndarray
    vectors: np.ndarray | None
    layer: LastLayer | None
    random: np.random.Generator
    method: Method


def _task(method: Method, score, labels, by_id, pool: Pool, seed: int) -> _Task:
    n = len(labels)
    _, of, sizes = np.unique(labels[by_id], return_inverse=True, return_counts=True)
    random = np.random.default_rng(seed)
    shown = random.random(n) if score is None else score[by_id]
    key = -shown if method.keep == "high" else shown
    allowed = np.ones(n, bool) if pool.excluded is None else ~np.asarray(pool.excluded, bool)[by_id]
    suspect = np.full(n, np.nan) if pool.suspect is None else np.asarray(pool.suspect, np.float64)[by_id]
    last = np.isfinite(suspect) & method.cleaned
    if pool.group is not None:
        group = np.asarray(pool.group)[by_id]
        order = np.lexsort((np.arange(n), key, np.isnan(key), last, ~allowed))
        order = order[group[order] >= 0]
        _, best = np.unique(group[order], return_index=True)
        twin = group >= 0
        twin[order[best]] = False
        allowed &= ~twin
    vectors = None if pool.vectors is None else np.asarray(pool.vectors)[by_id]
    layer = None
    if pool.layer is not None:
        layer = replace(pool.layer, vectors=pool.layer.vectors[by_id], labels=pool.layer.labels[by_id])
    return _Task(key, shown, of, sizes, allowed, last, suspect, vectors, layer, random, method)


def _choose(task: _Task, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows, best first, and what they were ranked by."""
    key, how = task.key, task.method.how
    if task.method.cleaned:  # suspects come behind all others, the likeliest errors at the very end
        key = np.where(task.last, task.suspect, key)
    order = np.lexsort((np.arange(len(key)), key, np.isnan(key), task.last))
    order = order[task.allowed[order]]
    if how in ("score", "plain"):
        rows = first_of_each(order, task.of, wanted)
        return rows, task.shown[rows]
    good = task.allowed & ~task.last
    if how == "glister":
        return glister(task.layer, task.of, wanted, good)
    of = np.where(good, task.of, len(wanted))
    by_class = np.argsort(of, kind="stable")
    members = np.split(by_class, np.cumsum(np.bincount(of, minlength=len(wanted) + 1))[:-1])
    suspects = order[task.last[order]]
    rows, values, place = [], [], []
    for c, count in enumerate(wanted.tolist()):
        some, value = _WAYS[how](task, members[c], min(count, len(members[c])))
        mine = members[c][some]
        more = suspects[task.of[suspects] == c][: count - len(mine)]
        rows += [mine, more]
        values += [value, np.full(len(more), np.nan)]
        place.append(np.arange(len(mine) + len(more)) / max(count, 1))
    rows, values, place = np.concatenate(rows), np.concatenate(values), np.concatenate(place)
    best = np.lexsort((rows, place, task.last[rows]))
    return rows[best], values[best]


# Each gives the places of `count` of the rows `members` of a class, best first, and what they were ranked by.


def _strata(task: _Task, members: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """CCS (Zheng et al., 2023, Algorithm 1) on AUM: equal budgets for strata of equal width, drawn at random."""
    left, drawn = np.arange(len(members)), task.random.random(len(members))
    if not task.method.cleaned:
        score = task.shown[members]
        hardest = np.lexsort((left, score, ~np.isnan(score)))  # without a score first
        left = np.sort(hardest[min(int(DROPPED * len(members)), len(members) - count) :])
    score, drawn = task.shown[members[left]], drawn[: len(left)]
    known = np.isfinite(score)
    low, high = (score[known].min(), score[known].max()) if known.any() else (0.0, 0.0)
    width = max((high - low) / STRATA, 1e-12)
    stratum = np.where(known, np.clip((score - low) / width, 0, STRATA - 1), 0).astype(np.int64)
    held = np.bincount(stratum, minlength=STRATA)
    take = share(count, np.ones(STRATA), np.zeros(STRATA), held)
    rows = first_of_each(np.lexsort((left, drawn)), stratum, take)
    return left[rows], score[rows]


def _thinned(task: _Task, members: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Facility location among the best: what is near to one that is chosen gains little."""
    key = task.key[members]
    order = np.lexsort((np.arange(len(key)), key, np.isnan(key)))
    best = np.sort(order[: max(2 * count, int(task.method.pool * len(members)))])
    chosen = best[facility_location(task.vectors[members[best]], count)[0]]
    return chosen, task.shown[members[chosen]]


_WAYS: dict[str, Callable] = {
    "strata": _strata,
    "thinned": _thinned,
    "facility": lambda task, members, count: facility_location(task.vectors[members], count),
    "k_centre": lambda task, members, count: k_centre(task.vectors[members], count),
    "crust": lambda task, members, count: facility_location(task.layer.errors(members), count),
    "grad_match": lambda task, members, count: grad_match(
        task.layer.errors(members), task.layer.vectors[members], count
    ),
}


def _score(method: Method, scores: Mapping[str, np.ndarray], ids: np.ndarray) -> np.ndarray | None:
    if method.column is None or method.column not in scores:
        return None
    score = np.asarray(scores[method.column], dtype=np.float64)
    if score.shape != ids.shape:
        raise ValueError(f"score {method.column!r} {score.shape} does not match labels {ids.shape}")
    return score


def _meant(word: str, known) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""
