"""Subsets by the gradients of the last layer: GRAD-MATCH and GLISTER.

The gradient of the cross-entropy loss in the last linear layer is the outer product of the error p - y (C,) and the
embedding h (D,) with a 1 for the bias. No gradient is ever written out: products of two are products of two errors
times products of two embeddings.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from lossprint.scoring.coresets.budgets import first_of_each

STEPS = 500  # of matching pursuit: more than so many samples are chosen several at a time


@dataclass(frozen=True)
class LastLayer:
    """What the last layer sees and says: vectors (N, D) float32 embeddings and labels (N,) int64 class indices of the
    training samples, val_vectors (M, D) and val_labels (M,) of the validation samples, weight (C, D) and bias (C,). A
    label of -1 is a class that the layer does not know.
    """

    vectors: np.ndarray
    labels: np.ndarray
    val_vectors: np.ndarray
    val_labels: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    def errors(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """p - y (R, C) float32 of training samples."""
        return errors(self.vectors[rows], self.labels[rows], self.weight, self.bias)


def errors(vectors: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """p - y: softmax of the logits minus the one-hot label, (N, C) float32; p alone where the label is -1."""
    logits = vectors @ weight.T + bias
    logits -= logits.max(1, keepdims=True)
    p = np.exp(logits, out=logits)
    p /= p.sum(1, keepdims=True)
    known = np.flatnonzero(labels >= 0)
    p[known, labels[known]] -= 1
    return p.astype(np.float32)


def grad_match(
    error: np.ndarray, vectors: np.ndarray, count: int, damping: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """`count` rows whose weighted gradients sum up to the mean gradient of all; (rows as chosen, weights, sum 1).

    Orthogonal matching pursuit (Killamsetty et al., 2021, Algorithm 2) over the gradients of N samples of one class,
    error (N, C) and vectors (N, D): the row that goes most with what is left of the mean gradient comes next, then all
    weights are fitted anew by least squares, with `damping` times the mean squared length of a gradient as the ridge.
    Weights below 0 count as 0. O(count^2 + N) memory and O(count^3 / 3 + N count (C + D)) operations.
    """
    n, count = len(error), min(count, len(error))
    if count == 0:
        return np.zeros(0, np.int64), np.zeros(0)
    error = np.ascontiguousarray(error, np.float32)
    vectors = np.concatenate([vectors, np.ones((n, 1), np.float32)], 1, dtype=np.float32)
    target = np.einsum("nd,nd->n", error @ (error.T @ vectors / n), vectors)
    ridge = damping * float((np.einsum("nc,nc->n", error, error) * np.einsum("nd,nd->n", vectors, vectors)).mean())
    ridge = max(ridge, 1e-12)
    lower = np.zeros((count, count))  # Cholesky factor of the chosen rows' products, ridge included
    solved = np.zeros(count)
    products = np.zeros((count, n), np.float32)
    left, chosen, open_ = target, np.zeros(0, np.int64), np.ones(n, bool)
    together = max(1, count // STEPS)
    while (k := len(chosen)) < count:
        rows = np.argsort(np.where(open_, -left, np.inf), kind="stable")[: min(together, count - k)]
        stop = k + len(rows)
        open_[rows] = False
        products[k:stop] = (error[rows] @ error.T) * (vectors[rows] @ vectors.T)
        corner = products[k:stop, rows].astype(np.float64) + ridge * np.eye(len(rows))
        if k:
            lower[k:stop, :k] = _solve(lower[:k, :k], products[k:stop, chosen].T.astype(np.float64)).T
            corner -= lower[k:stop, :k] @ lower[k:stop, :k].T
        lower[k:stop, k:stop] = np.linalg.cholesky(corner)
        solved[k:stop] = _solve(lower[k:stop, k:stop], target[rows] - lower[k:stop, :k] @ solved[:k])
        chosen = np.concatenate([chosen, rows])
        weights = _solve(lower[:stop, :stop], solved[:stop], trans="T")
        left = target - weights.astype(np.float32) @ products[:stop]
    weights = np.maximum(weights, 0)
    total = weights.sum()
    return chosen, weights / total if total > 0 else np.full(count, 1 / count)


def _solve(lower: np.ndarray, values: np.ndarray, **options) -> np.ndarray:
    return solve_triangular(lower, values, lower=True, check_finite=False, **options)


def glister(
    layer: LastLayer, of: np.ndarray, budgets: np.ndarray, allowed: np.ndarray, rounds: int = 20, rate: float = 0.05
) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose gradient step lowers the validation loss most, budgets (K,) of each group; (rows, their gains).

    GLISTER (Killamsetty et al., 2021) in the form of its last-layer Taylor approximation: the gain of a sample is the
    product of its gradient with that of the mean validation loss. The samples of a round are chosen together; then the
    layer takes a step of `rate` along their mean gradient and the validation gradient is worked out again. of (N,): the
    group, such as the class, of each row; allowed (N,) bool: who may be chosen.
    """
    weight, bias = layer.weight.astype(np.float32), layer.bias.astype(np.float32)
    mine = layer.errors()
    left, open_ = budgets.astype(np.int64).copy(), allowed.copy()
    chosen, gains = [], []
    for k in range(rounds):
        val = errors(layer.val_vectors, layer.val_labels, weight, bias) / max(len(layer.val_labels), 1)
        gain = np.einsum("nd,nd->n", mine @ (val.T @ layer.val_vectors), layer.vectors) + mine @ val.sum(0)
        take = -(-left // (rounds - k))
        order = np.lexsort((np.arange(len(gain)), -gain))
        order = order[open_[order]]
        rows = first_of_each(order, of, take)
        if not len(rows):
            break
        open_[rows] = False
        left -= np.bincount(of[rows], minlength=len(left))
        chosen.append(rows)
        gains.append(gain[rows])
        step = mine[rows] / len(rows)
        weight -= rate * (step.T @ layer.vectors[rows])
        bias -= rate * step.sum(0)
    if not chosen:
        return np.zeros(0, np.int64), np.zeros(0)
    return np.concatenate(chosen), np.concatenate(gains)
