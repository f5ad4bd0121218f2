import numpy as np
import pytest

from lossprint.scoring import outliers


def plain_distance(vectors, k):
    """The definition, one pair at a time."""
    found = []
    for i, v in enumerate(vectors):
        others = [1 - v @ w / np.linalg.norm(v) / np.linalg.norm(w) for j, w in enumerate(vectors) if j != i]
        found.append(sorted(others)[min(k, len(others)) - 1])
    return np.array(found)


def cloud(n, seed=1, noise=0.05):
    """Vectors (n, 8) about one direction."""
    return np.eye(8)[0] + noise * np.random.default_rng(seed).normal(size=(n, 8))


@pytest.mark.parametrize("neighbours", [1, 4, 49, 200])
def test_distance_equals_a_plain_loop(monkeypatch, neighbours):
    vectors = np.random.default_rng(0).normal(size=(50, 7))
    monkeypatch.setattr(outliers, "BLOCK_ELEMENTS", 50 * 7)  # several blocks, the last one short
    found = outliers.neighbour_distance(vectors, neighbours)
    np.testing.assert_allclose(found, plain_distance(vectors, neighbours), atol=1e-6)


def test_distance_by_hand():
    vectors = np.array([[1, 0], [2, 0], [0, 3], [-1, 0]])
    np.testing.assert_allclose(outliers.neighbour_distance(vectors, 1), [0, 0, 1, 1], atol=1e-7)
    np.testing.assert_allclose(outliers.neighbour_distance(vectors, 2), [1, 1, 1, 2], atol=1e-7)


def test_planted_outliers_lead_and_are_over_the_fence():
    vectors = cloud(300)
    vectors[[17, 40]] = np.eye(8)[[3, 5]]
    severity = outliers.outlier_severity(outliers.neighbour_distance(vectors))
    assert set(np.argsort(-severity)[:2]) == {17, 40} and (severity[[17, 40]] > 0.5).all()
    assert (severity > 0.5).sum() <= 2 + 6 and severity.min() >= 0 and severity.max() < 1  # 2 % of the rest


def test_copies_do_not_vouch_for_a_foreign_image():
    vectors = cloud(300)
    vectors[100:120] = np.eye(8)[3]  # twenty times the same one
    severity = outliers.outlier_severity(outliers.neighbour_distance(vectors))
    assert (severity[100:120] > 0.5).all() and (np.delete(severity, slice(100, 120)) > 0.5).sum() <= 3
    assert outliers.neighbour_distance(vectors, 19)[100] == pytest.approx(0, abs=1e-6)  # as far as the copies reach


def test_a_third_of_copies_does_not_move_the_fence_onto_the_rest():
    vectors = np.repeat(cloud(150), [3] * 50 + [1] * 100, axis=0)
    vectors[-1] = np.eye(8)[3]
    severity = outliers.outlier_severity(outliers.neighbour_distance(vectors))
    assert severity.argmax() == 249 and severity[249] > 0.5 and (severity > 0.5).sum() <= 5


@pytest.mark.parametrize(("members", "least", "most"), [(30, 30, 30), (100, 0, 3)])
def test_a_class_with_no_more_members_than_neighbours_is_flagged_whole_and_a_larger_one_is_not(members, least, most):
    vectors = np.concatenate([cloud(400, 1), np.roll(cloud(members, 2), 4, axis=1)])
    severity = outliers.outlier_severity(outliers.neighbour_distance(vectors, 30))
    assert least <= (severity[400:] > 0.5).sum() <= most


def test_severity_does_not_depend_on_the_scale():
    distance = np.random.default_rng(3).lognormal(size=500)
    np.testing.assert_allclose(outliers.outlier_severity(distance), outliers.outlier_severity(1e-3 * distance))
    low, high = np.percentile(distance, (25, 75))
    at = outliers.outlier_severity(np.append(distance, high * (high / low) ** 1.25))[-1]
    assert at == pytest.approx(0.5, abs=0.005)  # the appended one moves the quartiles a little


def test_neighbour_count_is_a_fifth_of_a_class_within_bounds():
    assert [outliers.neighbour_count(n, 10) for n in (0, 150, 600, 1000, 60_000)] == [5, 5, 12, 20, 30]
    assert outliers.neighbour_count(1000, 100) == 5 and outliers.neighbour_count(40, 0) == 8


def test_identical_vectors_are_no_outliers():
    for vectors in (np.ones((50, 3)), np.zeros((50, 3)), np.tile(cloud(1), (50, 1))):
        distance = outliers.neighbour_distance(vectors)
        assert np.ptp(distance) < 1e-6
        assert (outliers.outlier_severity(distance) <= 0.5).all()
    most = np.tile(cloud(1), (50, 1))
    most[7] = np.eye(8)[3]
    severity = outliers.outlier_severity(outliers.neighbour_distance(most))
    assert np.flatnonzero(severity > 0.5).tolist() == [7]


def test_a_vector_that_is_not_finite_has_no_score_and_is_nobodys_neighbour():
    vectors = cloud(20)
    expected = outliers.neighbour_distance(np.delete(vectors, (3, 9), axis=0), 2)
    vectors[3, 1], vectors[9] = np.nan, np.inf
    found = outliers.neighbour_distance(vectors, 2)
    assert np.flatnonzero(np.isnan(found)).tolist() == [3, 9]
    np.testing.assert_allclose(np.delete(found, (3, 9)), expected, atol=1e-6)
    assert np.isnan(outliers.outlier_severity(found)).sum() == 2


def test_zero_huge_and_tiny_vectors():
    vectors = cloud(40).astype(np.float32)
    expected = outliers.neighbour_distance(vectors, 3)
    scaled = vectors.copy()
    scaled[:10] *= 1e37
    scaled[10:20] *= 1e-30
    np.testing.assert_allclose(outliers.neighbour_distance(scaled, 3), expected, atol=2e-6)
    vectors[5] = 0
    assert outliers.neighbour_distance(vectors, 3)[5] == 1


def test_few_samples_and_wrong_input():
    assert np.isnan(outliers.neighbour_distance(np.ones((1, 3)))).all()
    assert outliers.neighbour_distance(np.ones((0, 3))).shape == (0,)
    np.testing.assert_allclose(outliers.neighbour_distance(np.eye(3)[:2]), 1)
    assert outliers.outlier_severity(np.array([])).shape == (0,)
    assert np.isnan(outliers.outlier_severity(np.array([np.nan, 1.0]))[0])
    with pytest.raises(ValueError, match=r"\(N, D\)"):
        outliers.neighbour_distance(np.ones(3))
    with pytest.raises(ValueError, match="at least 1"):
        outliers.neighbour_distance(np.ones((3, 2)), 0)
