"""A map of N samples in two dimensions: those that are alike near each other.

t-SNE (van der Maaten & Hinton 2008) as openTSNE computes it (Linderman et al. 2019; Policar et al. 2024), begun from
the first two principal components, on so many samples that its time is bounded; every other one is placed among its
nearest neighbours of these. Without openTSNE, or of a few samples, the two principal components themselves. Near means
alike; far, and the size and density of groups, mean nothing.
"""

from dataclasses import dataclass

import numpy as np

ANCHORS = 5_000  # samples that t-SNE itself arranges
FEWEST = 200  # samples below which neighbourhoods are too small to be arranged
COMPONENTS = 50
ROWS = 50_000  # placed or projected in one go
PERPLEXITY = 30
STEPS = 250  # of each of the two phases


@dataclass(frozen=True, eq=False)
class Layout:
    """Places (N, 2) float32, in the order of the samples; `method`: tsne or pca; `arranged`: samples that t-SNE saw."""

    places: np.ndarray
    method: str
    arranged: int = 0


def place(vectors: np.ndarray, seed: int = 0) -> Layout:
    """Places of vectors (N, D), finite. The same vectors and seed give the same places, on one thread."""
    reduced = principal(vectors, seed)
    fit = _tsne() if len(vectors) >= FEWEST and reduced[:, 0].std() > 0 else None
    if fit is None:
        return Layout(reduced[:, :2].copy(), "pca")
    random = np.random.default_rng([seed, 0x1A7])
    anchors = np.sort(random.permutation(len(reduced))[:ANCHORS])
    many = len(anchors) > 2_000  # interpolation pays from there on
    options = {"perplexity": PERPLEXITY, "n_jobs": 1, "random_state": seed, "initialization": "pca"}
    options |= {"neighbors": "exact", "negative_gradient_method": "fft" if many else "bh"}
    arranged = fit(**options, early_exaggeration_iter=STEPS, n_iter=STEPS).fit(reduced[anchors])
    places = np.empty((len(reduced), 2), np.float32)
    places[anchors] = arranged
    rest = np.setdiff1d(np.arange(len(reduced)), anchors, assume_unique=True)
    for at in range(0, len(rest), ROWS):
        part = rest[at : at + ROWS]
        places[part] = arranged.transform(reduced[part])
    return Layout(places, "tsne", len(anchors))


def principal(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """The first principal components (N, k) float32, k from 2 to 50, of at most `ROWS` samples; signs are settled."""
    some = np.sort(np.random.default_rng([seed, 0x9CA]).permutation(len(vectors))[:ROWS])
    sample = vectors[some].astype(np.float64)
    mean = sample.mean(axis=0)
    sample -= mean
    _, axes = np.linalg.eigh(sample.T @ sample)
    axes = axes[:, ::-1][:, :COMPONENTS]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    made = np.zeros((len(vectors), max(2, axes.shape[1])), np.float32)
    for at in range(0, len(vectors), ROWS):
        made[at : at + ROWS, : axes.shape[1]] = (vectors[at : at + ROWS] - mean) @ axes
    return made


def _tsne():
    """The class that fits, None where it is not installed."""
    try:
        from openTSNE import TSNE
    except ImportError:
        return None
    return TSNE
