"""SAP: the weights of a layer, projected to what matters for trusted samples (arXiv 2403.08618, Verifix).

Of a linear layer the trusted samples' inputs are rows (n, d), of a convolution the patches under its kernel. Directions
of much energy among them are kept, others fade: what a network learnt of wrong labels lies in the latter. Only inputs
count, so a trusted sample's label may be anything. Nothing is trained.
"""

import numpy as np

STRENGTHS = (1e2, 3e2, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6)


def factored(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directions (..., d, d), one a column, and the share of the energy (..., d) in each, of X' X (..., d, d).

    The squared singular values of X are the eigenvalues of its Gram matrix: d^3 work, however many rows there are. Of a
    layer without any input but zeros every share is 0.
    """
    gram = np.asarray(gram, np.float64)
    if gram.ndim < 2 or gram.shape[-1] != gram.shape[-2]:
        raise ValueError(f"gram must be (..., d, d), got {gram.shape}")
    if not np.isfinite(gram).all():
        raise ValueError("gram must be finite, found inputs that are not")
    energy, directions = np.linalg.eigh(gram)
    energy = np.maximum(energy, 0)
    total = energy.sum(axis=-1, keepdims=True)
    return directions, np.divide(energy, total, out=np.zeros_like(energy), where=total > 0)


def importance(share: np.ndarray, strength: float) -> np.ndarray:
    """How much of a direction is kept, in [0, 1]: a s / ((a - 1) s + 1) of its share s of the energy, (...,).

    With strength a = 1 it is the share itself, which damps heavily; the larger a, the less is changed.
    """
    if not strength >= 1:
        raise ValueError(f"strength must be 1 or more, got {strength}")
    return strength * share / ((strength - 1) * share + 1)


def projected(weight: np.ndarray, directions: np.ndarray, share: np.ndarray, strength: float) -> np.ndarray:
    """The weights (..., o, d) after the projection of their input side; the bias stays as it is."""
    weight = np.asarray(weight, np.float64)
    if weight.shape[-1] != directions.shape[-1]:
        raise ValueError(f"weight must have {directions.shape[-1]} inputs, got {weight.shape}")
    kept = importance(share, strength)[..., None, :]
    return ((weight @ directions) * kept) @ np.swapaxes(directions, -1, -2)
