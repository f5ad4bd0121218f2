"""Groups that do worse than their classes let one expect: planted ones are named, chance and hard classes are not."""

import numpy as np
import pytest

from lossprint.scoring.groups import worse as subgroups


def drawn(seed: int, sizes: dict[str, int], chances: dict[str, float], classes: int = 3):
    """Samples of groups, right by the chance of their group, whose classes are drawn alike."""
    rng = np.random.default_rng(seed)
    names = np.repeat(list(sizes), list(sizes.values()))
    labels = rng.integers(0, classes, len(names))
    right = rng.random(len(names)) < np.array([chances.get(name, 0.9) for name in names])
    return names, right, labels


def test_a_planted_group_is_named_first_and_a_small_one_is_not_judged():
    groups, small = subgroups.compare(*drawn(0, {"a": 300, "b": 300, "bad": 60, "tiny": 19}, {"bad": 0.5, "tiny": 0.0}))
    assert [one.name for one in groups if one.worse] == ["bad"] and groups[0].name == "bad" and small == 1
    worst = groups[0]
    assert worst.size == 60 and worst.low < worst.right < worst.high < worst.expected and 0.8 < worst.expected < 0.95


@pytest.mark.parametrize("sizes", [{str(one): 40 for one in range(25)}, {"a": 45, "b": 45}, {"a": 25, "b": 200}])
def test_chance_names_a_group_in_one_of_ten_datasets_at_most(sizes):
    alarms = [any(one.worse for one in subgroups.compare(*drawn(seed, sizes, {}))[0]) for seed in range(100)]
    assert np.mean(alarms) <= 0.1


def test_a_group_of_a_hard_class_is_not_worse_for_that():
    rng = np.random.default_rng(1)
    labels = np.r_[np.zeros(300, int), np.ones(300, int)]
    right = rng.random(600) < np.where(labels == 0, 0.5, 0.98)
    names = np.where(np.arange(600) < 100, "ward", "rest")  # the ward has the hard class only
    groups, _ = subgroups.compare(names, right, labels)
    assert not any(one.worse for one in groups)
    alone, _ = subgroups.compare(np.where(labels == 0, "only", "rest"), right, labels)
    assert alone == []  # nothing outside to compare with


def test_nothing_is_said_of_nothing():
    assert subgroups.compare(np.array([]), np.array([]), np.array([], int)) == ([], 0)


def test_clusters_part_what_lies_apart_and_few_vectors_stay_together():
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 5, (2, 8))
    of = np.repeat([0, 1], 60)
    found = subgroups.clusters(centres[of] + rng.normal(0, 0.3, (120, 8)))
    assert len(set(found[:60])) == len(set(found[60:])) == 1 and found[0] != found[60]
    assert (subgroups.clusters(rng.normal(size=(99, 4))) == -1).all()
    assert (subgroups.clusters(np.zeros((200, 3))) == -1).all()
