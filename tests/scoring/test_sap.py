"""SAP against its definition, sample by sample and direction by direction, and where the answer is known."""

import numpy as np
import pytest
from scipy.stats import binom

from lossprint.scoring import intervals
from lossprint.scoring.repair import sap


def by_definition(inputs: np.ndarray, weight: np.ndarray, strength: float) -> np.ndarray:
    """inputs (n, d), weight (o, d): the paper's steps with a singular value decomposition and loops."""
    columns, values, _ = np.linalg.svd(inputs.T, full_matrices=False)
    total = sum(value**2 for value in values)
    matrix = np.zeros((inputs.shape[1], inputs.shape[1]))
    for at, value in enumerate(values):
        share = value**2 / total
        kept = strength * share / ((strength - 1) * share + 1)
        matrix += kept * np.outer(columns[:, at], columns[:, at])
    return weight @ matrix


@pytest.mark.parametrize("shape", [(40, 7), (5, 12), (1, 3)])
@pytest.mark.parametrize("strength", [1, 30.0, 1e6])
def test_projection_is_the_definition(shape, strength):
    random = np.random.default_rng(0)
    inputs, weight = random.normal(size=shape) * np.arange(1, shape[1] + 1), random.normal(size=(4, shape[1]))
    projected = sap.projected(weight, *sap.factored(inputs.T @ inputs), strength)
    np.testing.assert_allclose(projected, by_definition(inputs, weight, strength), atol=1e-8)


def test_groups_are_projected_each_on_its_own():
    random = np.random.default_rng(1)
    inputs, weight = random.normal(size=(3, 20, 5)), random.normal(size=(3, 2, 5))
    whole = sap.projected(weight, *sap.factored(np.swapaxes(inputs, 1, 2) @ inputs), 100)
    for group in range(3):
        np.testing.assert_allclose(whole[group], by_definition(inputs[group], weight[group], 100), atol=1e-9)


def test_with_growing_strength_nothing_changes_on_trusted_inputs():
    random = np.random.default_rng(2)
    inputs, weight = random.normal(size=(6, 10)), random.normal(size=(3, 10))  # of rank 6 in 10 dimensions
    factors = sap.factored(inputs.T @ inputs)
    changes = [np.abs(inputs @ (sap.projected(weight, *factors, a) - weight).T).max() for a in (1, 1e2, 1e4, 1e12)]
    assert changes == sorted(changes, reverse=True) and changes[-1] < 1e-6 < changes[0]
    assert np.isin(np.argsort(sap.importance(np.array([0.1, 0.5]), 10.0)), [0, 1]).all()
    np.testing.assert_allclose(sap.importance(np.array([0.0, 0.2, 1.0]), 1), [0, 0.2, 1])


def test_what_was_learnt_in_directions_that_trusted_samples_lack_fades():
    """A linear classifier with the truth in two strong directions and what it learnt by heart in 48 weak ones."""
    random = np.random.default_rng(3)
    scale = np.r_[np.full(2, 5.0), np.full(48, 0.5)]
    weight = np.r_[1.0, -1.0, random.normal(size=48) * 4]
    trusted, new = (random.normal(size=(count, 50)) * scale for count in (300, 4000))
    truth = new[:, 0] - new[:, 1] > 0
    before = ((new @ weight > 0) == truth).mean()
    mended = sap.projected(weight[None], *sap.factored(trusted.T @ trusted), 3.0)[0]
    assert ((new @ mended > 0) == truth).mean() > before + 0.15


def test_what_it_refuses():
    with pytest.raises(ValueError, match="must be"):
        sap.factored(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="finite"):
        sap.factored(np.full((2, 2), np.nan))
    directions, share = sap.factored(np.zeros((4, 4)))  # a layer that never gets anything
    assert (share == 0).all() and not sap.projected(np.ones((2, 4)), directions, share, 10).any()
    with pytest.raises(ValueError, match="1 or more"):
        sap.importance(share, 0.5)
    with pytest.raises(ValueError, match="inputs"):
        sap.projected(np.ones((2, 3)), directions, share, 10)


@pytest.mark.parametrize("images, first, second", [(50, 0.1, 0.1), (200, 0.2, 0.05), (200, 0.02, 0.0)])
def test_the_interval_of_a_difference_holds_it_as_often_as_it_says(images, first, second):
    """Over all counts of images that one of two models alone has right; exact chances, no draws."""
    held = 0.0
    for more in range(images + 1):
        chance = binom.pmf(more, images, first)
        if chance < 1e-9:
            continue
        for less in range(images - more + 1):
            part = chance * binom.pmf(less, images - more, second / (1 - first))
            if part > 1e-9:
                one = intervals.difference(more, less, images)
                assert one.low <= one.estimate <= one.high
                held += part * (one.low <= first - second <= one.high)
    assert held >= 0.88


def test_differences_at_the_edges():
    assert intervals.difference(0, 0, 0) == intervals.Interval(0.0, -1.0, 1.0)
    same = intervals.difference(0, 0, 100)
    assert same.low < 0 == same.estimate < same.high < 0.03
    with pytest.raises(ValueError):
        intervals.difference(3, 3, 5)
