"""Matching of last-layer gradients, against the same written out with explicit gradients."""

import numpy as np
import torch
from torch.nn import functional as F

from lossprint.scoring.coresets import gradients
from lossprint.scoring.coresets.gradients import LastLayer, errors, glister, grad_match


def layer_of(n=60, classes=3, d=4, val=30, seed=0):
    random = np.random.default_rng(seed)
    draw = lambda *shape: random.normal(size=shape).astype(np.float32)  # noqa: E731
    return LastLayer(
        np.abs(draw(n, d)), random.integers(0, classes, n), np.abs(draw(val, d)), random.integers(0, classes, val),
        draw(classes, d), draw(classes),
    )  # fmt: skip


def explicit(error, vectors):
    """(N, C * (D + 1)) float64."""
    with_bias = np.concatenate([vectors, np.ones((len(vectors), 1))], 1)
    return (error[:, :, None].astype(np.float64) * with_bias[:, None]).reshape(len(error), -1)


def test_the_gradient_is_that_of_the_loss():
    layer = layer_of()
    weight, bias = (torch.tensor(one, requires_grad=True) for one in (layer.weight, layer.bias))
    for row in (0, 7):
        logits = torch.tensor(layer.vectors[row]) @ weight.T + bias
        loss = F.cross_entropy(logits, torch.tensor(int(layer.labels[row])))
        by_torch = torch.autograd.grad(loss, (weight, bias))
        mine = explicit(layer.errors(), layer.vectors)[row].reshape(3, 5)
        np.testing.assert_allclose(mine[:, :4], by_torch[0], atol=1e-6)
        np.testing.assert_allclose(mine[:, 4], by_torch[1], atol=1e-6)


def plain_pursuit(gradients_, count, damping):
    target = gradients_.mean(0)
    ridge = damping * (gradients_**2).sum(1).mean()
    chosen, left = [], target
    for _ in range(count):
        fits = gradients_ @ left
        fits[chosen] = -np.inf
        chosen.append(int(fits.argmax()))
        some = gradients_[chosen]
        weights = np.linalg.solve(some @ some.T + ridge * np.eye(len(chosen)), some @ target)
        left = target - weights @ some
    weights = np.maximum(weights, 0)
    return chosen, weights / weights.sum()


def test_pursuit_is_the_plain_one():
    for seed in range(4):
        layer = layer_of(seed=seed)
        error = layer.errors()
        rows, weights = grad_match(error, layer.vectors, 25)
        plain, expected = plain_pursuit(explicit(error, layer.vectors), 25, 0.5)
        assert rows.tolist() == plain
        np.testing.assert_allclose(weights, expected, atol=1e-4)


def test_pursuit_in_steps_of_several_comes_near_the_mean_gradient(monkeypatch):
    layer = layer_of(n=300, seed=5)
    full = explicit(layer.errors(), layer.vectors)
    monkeypatch.setattr(gradients, "STEPS", 10)
    rows, weights = grad_match(layer.errors(), layer.vectors, 60)
    assert len(set(rows.tolist())) == 60 and abs(weights.sum() - 1) < 1e-9

    def gap(some, weights):
        """What is left of the mean gradient, whatever the length of the step."""
        step, target = weights @ full[some], full.mean(0)
        return np.linalg.norm(target - step * (step @ target) / (step @ step))

    random = np.random.default_rng(0)
    assert gap(rows, weights) < 0.8 * min(gap(random.permutation(300)[:60], np.ones(60)) for _ in range(50))


def test_one_round_of_glister_takes_the_steepest_of_each_class():
    layer = layer_of(n=90, seed=2)
    val = explicit(errors(layer.val_vectors, layer.val_labels, layer.weight, layer.bias), layer.val_vectors).mean(0)
    gain = explicit(layer.errors(), layer.vectors) @ val
    allowed = np.ones(90, bool)
    allowed[gain.argmax()] = False
    rows, gains = glister(layer, layer.labels, np.array([3, 0, 5]), allowed, rounds=1)
    np.testing.assert_allclose(gains, gain[rows], atol=1e-5)
    for label, count in ((0, 3), (1, 0), (2, 5)):
        mine = np.flatnonzero((layer.labels == label) & allowed)
        assert set(rows[layer.labels[rows] == label]) == set(mine[np.argsort(-gain[mine])][:count])


def test_steps_of_glister_lower_the_validation_loss_more_than_chance():
    layer = layer_of(n=400, val=200, seed=4)
    budget = np.bincount(layer.labels, minlength=3) // 8
    rows, _ = glister(layer, layer.labels, budget, np.ones(400, bool))
    assert np.bincount(layer.labels[rows], minlength=3).tolist() == budget.tolist() and len(set(rows)) == len(rows)

    def after(some):
        step = layer.errors()[some] / len(some)
        weight, bias = layer.weight - 0.5 * step.T @ layer.vectors[some], layer.bias - 0.5 * step.sum(0)
        logits = torch.tensor(layer.val_vectors @ weight.T + bias)
        return float(F.cross_entropy(logits, torch.tensor(layer.val_labels)))

    random = np.random.default_rng(0)
    by_chance = [
        after(np.concatenate([random.permutation(np.flatnonzero(layer.labels == c))[:k] for c, k in enumerate(budget)]))
        for _ in range(20)
    ]
    assert after(rows) < min(by_chance)


def test_nothing_to_choose():
    layer = layer_of()
    assert len(grad_match(layer.errors()[:0], layer.vectors[:0], 3)[0]) == 0
    assert len(glister(layer, layer.labels, np.array([2, 2, 2]), np.zeros(60, bool))[0]) == 0
    sure = np.zeros((5, 3), np.float32)  # no gradient at all: any five, with equal weights
    rows, weights = grad_match(sure, np.ones((5, 2), np.float32), 3)
    assert rows.tolist() == [0, 1, 2] and np.allclose(weights, 1 / 3)
