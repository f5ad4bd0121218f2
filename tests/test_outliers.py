import numpy as np
import pytest

from lossprint.scoring import outliers


def test_distance_equals_a_plain_loop(monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    monkeypatch.setattr(outliers, "BLOCK_ELEMENTS", 50 * 7)  # several blocks, the last one short
    found = outliers.neighbour_distance(vectors, 4)
    for i, v in enumerate(vectors):
        others = [1 - v @ w / np.linalg.norm(v) / np.linalg.norm(w) for j, w in enumerate(vectors) if j != i]
        assert found[i] == pytest.approx(np.mean(sorted(others)[:4]), abs=1e-5)


def test_a_planted_outlier_is_over_the_fence_and_the_rest_is_not():
    random = np.random.default_rng(1)
    vectors = np.array([1.0, 0, 0, 0]) + 0.05 * random.normal(size=(200, 4))
    vectors[17] = [0, 0, 0, 1]
    severity = outliers.outlier_severity(outliers.neighbour_distance(vectors))
    assert severity[17] > 0.5 and severity.argmax() == 17
    assert (severity > 0.5).sum() <= 12 and severity.min() >= 0 and severity.max() < 1


def test_few_and_degenerate_vectors():
    assert np.isnan(outliers.neighbour_distance(np.ones((1, 3)))).all()
    np.testing.assert_allclose(outliers.neighbour_distance(np.ones((3, 2))), 0, atol=1e-6)
    assert np.isfinite(outliers.neighbour_distance(np.zeros((3, 2)))).all()
    assert outliers.outlier_severity(np.array([])).shape == (0,)
    assert np.isnan(outliers.outlier_severity(np.array([np.nan, 1.0]))[0])
    with pytest.raises(ValueError, match=r"\(N, D\)"):
        outliers.neighbour_distance(np.ones(3))
