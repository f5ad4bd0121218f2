"""Coresets: keep a fraction of the samples, or a number of each class, by a score.

`METHODS` says for each method which score it ranks by and which end it keeps. Budgets are shared among the classes in
proportion to their sizes, so that the subset keeps the class balance of the whole and one method can be compared with
another; ties are broken by sample id, and samples without a score come last.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Method:
    """A way to choose: title, the score's column (None: by chance), which of its ends is kept, what that means."""

    title: str
    column: str | None
    keep: str
    meaning: str


METHODS: dict[str, Method] = {
    "random": Method("Random", None, "any", "By chance: the baseline that every other method has to beat."),
    "cld": Method(
        "CLD, most aligned", "cld", "high", "Samples whose loss changes go with those of their class's validation mean."
    ),
    "cld_reversed": Method(
        "CLD, least aligned", "cld", "low", "The opposite end of CLD: a check that the ranking means something."
    ),
    "csl_easy": Method("CSL, easy", "csl", "low", "Samples that were learned early: safe, but often redundant."),
    "csl_hard": Method(
        "CSL, hard", "csl", "high", "Samples that were learned late or never: informative if clean, else label errors."
    ),
    "aum_easy": Method("AUM, easy", "aum", "high", "Samples whose given label won by the widest margin."),
    "aum_hard": Method(
        "AUM, hard", "aum", "low", "Samples whose given label barely won or lost: informative if clean, else errors."
    ),
    "curvature_low": Method(
        "Low curvature",
        "curvature",
        "low",
        "Samples around which the loss is flat: typical ones, not memorised (SLo-Curves).",
    ),
    "gradient_norm_low": Method(
        "Low input gradient", "gradient_norm", "low", "Easy samples, kept for adversarial robustness (EasyCore)."
    ),
}


@dataclass(frozen=True)
class Chosen:
    """index (K,) int64: the rows chosen, best first over all classes; score (K,) float64: what they were ranked by (for
    "random" the number drawn, lowest first).
    """

    index: np.ndarray
    score: np.ndarray


def select(
    method: str,
    scores: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    fraction: float | None = None,
    per_class: int | None = None,
    seed: int = 0,
    sample_ids: np.ndarray | None = None,
) -> Chosen:
    """Choose a subset by a method of `METHODS`: scores are columns (N,), labels (N,) of any sortable type.

    fraction in (0, 1] keeps round(fraction * N) samples, every class in proportion to its size and at least one of each
    as far as that goes round. per_class keeps that many of each class, all of a smaller one. Within a class the best
    come first; a NaN score comes last; ties go to the smaller sample id (default: the row). The same seed and ids give
    the same subset whatever the order of the rows.
    """
    if method not in METHODS:
        raise ValueError(f"unknown coreset method {method!r}{_meant(method, METHODS)}; there are {', '.join(METHODS)}")
    labels = np.asarray(labels)
    ids = np.arange(len(labels)) if sample_ids is None else np.asarray(sample_ids)
    if labels.ndim != 1 or ids.shape != labels.shape:
        raise ValueError(f"labels {labels.shape} and sample_ids {ids.shape} must be (N,) both")
    _, of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    budgets = _budgets(sizes, fraction, per_class)
    score = _score(METHODS[method], scores, ids, seed)
    key = -score if METHODS[method].keep == "high" else score
    order = np.lexsort((ids, key, np.isnan(key)))
    by_class = order[np.argsort(of[order], kind="stable")]
    rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[by_class[rank < np.repeat(budgets, sizes)]] = True
    index = order[chosen[order]]
    return Chosen(index, score[index])


def _score(method: Method, scores: Mapping[str, np.ndarray], ids: np.ndarray, seed: int) -> np.ndarray:
    if method.column is None:
        drawn = np.empty(len(ids))
        drawn[np.argsort(ids, kind="stable")] = np.random.default_rng(seed).random(len(ids))
        return drawn
    if method.column not in scores:
        raise ValueError(
            f"{method.title} needs the score {method.column!r}, which was not computed; there are {', '.join(scores)}"
        )
    score = np.asarray(scores[method.column], dtype=np.float64)
    if score.shape != ids.shape:
        raise ValueError(f"score {method.column!r} {score.shape} does not match labels {ids.shape}")
    return score


def _budgets(sizes: np.ndarray, fraction: float | None, per_class: int | None) -> np.ndarray:
    """How many to keep of each class of the given sizes."""
    if (fraction is None) == (per_class is None):
        raise ValueError(
            "give either fraction or per_class, " + ("not both" if fraction is not None else "one of them")
        )
    if per_class is not None:
        if per_class < 1:
            raise ValueError(f"per_class must be at least 1, got {per_class}")
        return np.minimum(sizes, per_class)
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be above 0 and at most 1, got {fraction}")
    total = round(fraction * int(sizes.sum()))
    if total == 0:
        raise ValueError(f"fraction {fraction} of {sizes.sum()} samples is not a single one")
    exact = sizes * (total / sizes.sum())
    budgets = np.floor(exact).astype(np.int64)
    # Largest remainder: the seats that rounding down left over go to the largest fractions, ties to the first class.
    left = total - budgets.sum()
    budgets[np.argsort(budgets - exact, kind="stable")[:left]] += 1
    # One of each class, taken from the classes that got most, as long as those keep more than one.
    for empty in np.flatnonzero(budgets == 0):
        richest = budgets.argmax()
        if budgets[richest] < 2:
            break
        budgets[richest] -= 1
        budgets[empty] += 1
    return budgets


def _meant(word: str, known) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""
