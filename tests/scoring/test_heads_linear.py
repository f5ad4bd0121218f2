"""The trained head: against a plain loop, by autograd and scikit-learn, planted errors, nasty cases."""

import numpy as np
import pytest
import torch
from heads_data import planted
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from lossprint.scoring.heads import blocks, linear
from lossprint.scoring.heads.folds import deal


def plain(features, labels, classes, decay, epochs, seed):
    """The same descent by torch's own layer, optimiser and cross-entropy."""
    inputs = torch.from_numpy(blocks.prepare(features)[:])
    layer = torch.nn.Linear(features.shape[1], classes)
    torch.nn.init.zeros_(layer.weight), torch.nn.init.zeros_(layer.bias)
    groups = [{"params": [layer.weight], "weight_decay": decay}, {"params": [layer.bias], "weight_decay": 0}]
    optimiser = torch.optim.SGD(groups, lr=1.0, momentum=0.9)
    size, order, step = linear.batch_size(len(labels)), torch.Generator().manual_seed(seed), 0
    steps = epochs * -(-len(labels) // size)
    targets = torch.from_numpy(labels)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=order).split(size):
            optimiser.zero_grad()
            functional.cross_entropy(layer(inputs[rows]), targets[rows]).backward()
            for group in optimiser.param_groups:
                group["lr"] = (1 + np.cos(np.pi * step / steps)) / 2
            optimiser.step()
            step += 1
    return layer(inputs).detach()


def logits(head, features):
    return torch.cat([block for _, block in head.logits(features)])


@pytest.mark.parametrize("decay", [1e-5, 1e-2])
def test_the_head_is_that_of_a_plain_loop(decay):
    features, labels, _, _ = planted(300, 12)
    state = torch.random.get_rng_state()
    heads = list(linear.train(features, labels, 4, decay=decay, epochs=6, seed=3))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [head.epoch for head in heads] == list(range(1, 7))
    expected = plain(features, labels, 4, decay, 6, 3)
    torch.testing.assert_close(logits(heads[-1], features), expected, rtol=1e-3, atol=1e-3)
    measured = linear.measure(heads[-1], features, labels)
    targets = torch.from_numpy(labels)
    torch.testing.assert_close(
        measured.loss, functional.cross_entropy(expected, targets, reduction="none"), rtol=1e-3, atol=1e-3
    )
    for row, (own, values) in enumerate(zip(labels, logits(heads[-1], features).numpy())):
        margin = values[own] - max(value for c, value in enumerate(values) if c != own)
        assert float(measured.margin[row]) == pytest.approx(margin, abs=1e-5)
        assert int(measured.predicted[row]) == values.argmax()
    assert not torch.equal(heads[0].weight, heads[-1].weight), "an earlier head changed with the training"


def test_a_long_descent_reaches_the_optimum_of_scikit_learn():
    features, labels, _, _ = planted(300, 12)
    for head in linear.train(features, labels, 4, decay=1e-2, epochs=150):
        last = head
    inputs = blocks.prepare(features)[:].astype(np.float64)
    model = LogisticRegression(C=1 / (len(labels) * 1e-2), max_iter=5000, tol=1e-8).fit(inputs, labels)
    ours, theirs = last.weight.numpy(), model.coef_
    np.testing.assert_allclose(ours - ours.mean(axis=0), theirs - theirs.mean(axis=0), atol=0.05)


def test_preparations_of_numpy_and_torch_agree_and_drop_constants():
    features, _, _, _ = planted(200, 9)
    features[:, 4] = 7.3
    both = blocks.prepare(features)[:], linear.prepare(features)(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(*both, atol=2e-6)
    assert (both[1][:, 4] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(both[1], axis=1), 1, atol=1e-5)


def test_stacked_heads_are_those_trained_alone_and_folds_are_left_out():
    features, labels, _, _ = planted(200, 10)
    stacks = list(linear.train_stack(features, labels, 4, [1e-5, 1e-3], epochs=3, seed=1))
    for g, decay in enumerate((1e-5, 1e-3)):
        alone = list(linear.train(features, labels, 4, decay=decay, epochs=3, seed=1))
        torch.testing.assert_close(stacks[-1][g].weight, alone[-1].weight, rtol=1e-4, atol=1e-5)
    fold = deal(labels, 2)
    other = np.where(fold == 1, (labels + 1) % 4, labels)
    before, after = (
        list(linear.train_stack(features, which, 4, [1e-4] * 2, fold=fold, epochs=2))[-1] for which in (labels, other)
    )
    torch.testing.assert_close(before[1].weight, after[1].weight)
    assert (before[0].weight - after[0].weight).abs().max() > 0.1


def test_planted_errors_have_low_margins_and_the_decay_needs_no_truth():
    features, labels, wrong, _ = planted(1000, 400, share=0.2, apart=5.0)
    decay = linear.chosen_decay(features, labels, 4, deal(labels))
    assert decay in linear.DECAYS
    sums = sum(linear.measure(head, features, labels).margin for head in linear.train(features, labels, 4, decay=decay))
    assert roc_auc_score(wrong, -sums.numpy()) > 0.9


def test_more_noise_asks_for_no_less_decay():
    features, labels, _, _ = planted(600, 300, share=0.4, apart=4.0)
    noisy = linear.chosen_decay(features, labels, 4, deal(labels))
    features, labels, _, _ = planted(600, 300, share=0.0, apart=4.0)
    assert noisy >= linear.chosen_decay(features, labels, 4, deal(labels))


def test_curvature_is_the_trace_of_the_hessian():
    features, labels, _, _ = planted(60, 7)
    *_, head = linear.train(features, labels, 4, decay=1e-4, epochs=5)
    trace = linear.curvature(head, features)
    inputs = head.preparation(torch.from_numpy(features))
    for row in range(10):
        hessian = torch.autograd.functional.hessian(
            lambda x, row=row: functional.cross_entropy(head.weight @ x + head.bias, torch.tensor(labels[row])),
            inputs[row],
        )
        assert float(trace[row]) == pytest.approx(float(hessian.trace()), rel=1e-3, abs=1e-5)


def test_half_precision_memory_maps_and_tensors_are_taken_as_they_are(tmp_path):
    features, labels, _, _ = planted(300, 12)
    np.save(tmp_path / "features.npy", features.astype(np.float16))
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    *_, one = linear.train(mapped, labels, 4, decay=1e-4, epochs=2)
    *_, two = linear.train(torch.from_numpy(features).half(), torch.from_numpy(labels), 4, decay=1e-4, epochs=2)
    assert torch.equal(one.weight, two.weight)


def test_one_class_a_class_of_one_and_equal_rows():
    features, labels, _, _ = planted(50, 60)
    *_, head = linear.train(features, np.zeros(50, int), 1, decay=1e-4, epochs=2)
    assert torch.isnan(linear.measure(head, features, np.zeros(50, int)).margin).all()
    labels[0] = 4
    *_, head = linear.train(features, labels, 5, decay=1e-4, epochs=2)
    assert torch.isfinite(linear.measure(head, features, labels).margin).all()
    *_, head = linear.train(np.ones((50, 6), np.float32), labels, 5, decay=1e-4, epochs=30)
    share = np.bincount(labels, minlength=5) / 50
    np.testing.assert_allclose(logits(head, np.ones((1, 6), np.float32)).softmax(1)[0].numpy(), share, atol=0.02)
    assert linear.chosen_decay(features[:2], np.array([0, 1]), 2, np.array([1, 1])) == 3e-4


def test_bad_input_is_one_line():
    features, labels, _, _ = planted(40, 6)
    features[17, 2] = np.inf
    with pytest.raises(ValueError, match="row 17 is not"):
        next(linear.train(features, labels, 4, decay=1e-4))
    features[17, 2] = 0
    for wrong, match in ((labels[:-1], "must be"), (labels + 1, "from 0 to 3"), (labels.astype(float), "whole")):
        with pytest.raises(ValueError, match=match):
            next(linear.train(features, wrong, 4, decay=1e-4))
    with pytest.raises(ValueError, match=r"\(N, d\)"):
        next(linear.train(features[:, 0], labels, 4, decay=1e-4))
    with pytest.raises(ValueError, match="have a row"):
        next(linear.train(features[:0], labels[:0], 4, decay=1e-4))
