"""The fast covers against plain loops, on planted clusters and on the nasty cases."""

import numpy as np
import pytest

from lossprint.scoring.coresets.cover import facility_location, k_centre


def plain_facility(vectors, count):
    """Greedy facility location, all similarities and all gains worked out each time, in float64."""
    x = vectors.astype(np.float64) - vectors.mean(0)
    reach = 2 * np.sqrt((x**2).sum(1).max()) + 1e-6
    alike = reach - np.sqrt(((x[:, None] - x) ** 2).sum(2))
    best, chosen, won = np.zeros(len(x)), [], []
    for _ in range(count):
        gains = np.maximum(alike - best, 0).sum(1)
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        won.append(gains[chosen[-1]])
        best = np.maximum(best, alike[chosen[-1]])
    return chosen, won


def plain_centres(vectors, count):
    x = vectors.astype(np.float64)
    distance = np.sqrt(((x[:, None] - x) ** 2).sum(2))
    chosen = [int(((x - x.mean(0)) ** 2).sum(1).argmin())]
    while len(chosen) < count:
        nearest = distance[:, chosen].min(1)
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_lazy_greedy_is_plain_greedy(seed):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(150, 4)).astype(np.float32) * random.exponential(size=4).astype(np.float32)
    rows, gains = facility_location(vectors, 150)
    plain, won = plain_facility(vectors, 150)
    assert sorted(rows) == list(range(150))
    assert rows[:60].tolist() == plain[:60]  # later gains differ by less than float32 can tell
    np.testing.assert_allclose(gains, won, rtol=1e-4, atol=1e-2)
    assert k_centre(vectors, 150)[0].tolist() == plain_centres(vectors, 150)


def test_a_longer_choice_begins_with_the_shorter_one():
    vectors = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    for way in (facility_location, k_centre):
        assert way(vectors, 40)[0][:10].tolist() == way(vectors, 10)[0].tolist()


def test_clusters_get_one_each_and_an_outlier_only_where_distance_counts():
    random = np.random.default_rng(3)
    centres = 20 * np.eye(5, 6, dtype=np.float32)
    vectors = np.concatenate([centre + random.normal(0, 0.3, (40, 6)) for centre in centres] + [np.full((1, 6), 60.0)])
    cluster = np.repeat(np.arange(6), [40] * 5 + [1])
    assert sorted(cluster[facility_location(vectors, 5)[0]]) == [0, 1, 2, 3, 4]
    rows, far = k_centre(vectors, 6)
    assert sorted(cluster[rows]) == [0, 1, 2, 3, 4, 5] and cluster[rows[1]] == 5
    assert far[0] == np.inf and (np.diff(far) <= 1e-4).all()


@pytest.mark.parametrize("way", [facility_location, k_centre])
def test_nasty_inputs(way):
    same = np.ones((7, 3), np.float32)
    assert sorted(way(same, 7)[0].tolist()) == list(range(7))  # identical ones are still different samples
    assert way(same, 3)[0].tolist() == [0, 1, 2]
    assert way(same[:1], 5)[0].tolist() == [0]
    for rows in (way(same, 0)[0], way(same[:0], 4)[0]):
        assert rows.dtype == np.int64 and len(rows) == 0
    huge = np.array([[1e6, 0], [1e6, 1], [-1e6, 0]], np.float32)
    assert set(way(huge, 2)[0].tolist()) & {2}
