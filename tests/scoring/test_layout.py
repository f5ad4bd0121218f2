"""The map of what is alike: groups stay together, whoever was placed afterwards too, and the same comes out again."""

import builtins

import numpy as np
import pytest

from lossprint.scoring.near import layout


def groups(sizes: list[int], dimensions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors in tight groups whose centres are far apart, shuffled, and the group of each."""
    random = np.random.default_rng(seed)
    which = np.repeat(np.arange(len(sizes)), sizes)
    vectors = 8 * random.normal(size=(len(sizes), dimensions))[which] + random.normal(size=(len(which), dimensions))
    order = random.permutation(len(which))
    return vectors[order].astype(np.float32), which[order]


def pure(places: np.ndarray, which: np.ndarray, neighbours: int = 5) -> float:
    """The share of nearest neighbours on the map that are of the same group."""
    apart = ((places[:, None] - places[None]) ** 2).sum(axis=2)
    np.fill_diagonal(apart, np.inf)
    return float((which[np.argsort(apart, axis=1)[:, :neighbours]] == which[:, None]).mean())


@pytest.mark.parametrize(("sizes", "dimensions"), [([90, 60, 30, 120], 12), ([40] * 9, 3), ([150, 150], 200)])
def test_groups_stay_together_and_the_same_comes_out_again(sizes, dimensions, monkeypatch):
    monkeypatch.setattr(layout, "ANCHORS", 240)
    vectors, which = groups(sizes, dimensions)
    made = layout.place(vectors)
    assert made.method == "tsne" and made.arranged == min(240, len(vectors))
    assert made.places.shape == (len(vectors), 2) and made.places.dtype == np.float32
    assert pure(made.places, which) > 0.95, "those that were placed afterwards too"
    assert np.array_equal(made.places, layout.place(vectors.copy()).places)


def test_few_samples_equal_ones_and_a_missing_library_are_principal_components(monkeypatch):
    vectors, _ = groups([20, 30], 6)
    made = layout.place(vectors)
    assert (made.method, made.arranged) == ("pca", 0)
    centred = vectors.astype(float) - vectors.mean(axis=0)
    first = np.linalg.svd(centred, full_matrices=False)[0][:, 0]
    assert abs(np.corrcoef(first, made.places[:, 0])[0, 1]) == pytest.approx(1, abs=1e-5)
    assert layout.place(np.ones((400, 5), np.float32)).method == "pca"
    one = layout.place(np.arange(300, dtype=np.float32)[:, None])
    assert one.places.shape == (300, 2) and np.isfinite(one.places).all()
    real = builtins.__import__

    def without(name, *more):
        if name == "openTSNE":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert layout.place(groups([200, 200], 6)[0]).method == "pca"
