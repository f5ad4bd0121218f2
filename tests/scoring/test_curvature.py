"""Curvature against exact Hessians of small smooth nets, a plain loop over samples and draws, planted properties."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from lossprint.scoring.input_curvature import measure, membership, rademacher


def smooth_net(kind=torch.nn.Tanh, inputs=6, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(inputs, 12), kind(), torch.nn.Linear(12, classes))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.6)
    return net


def small_convnet():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Conv2d(1, 6, 3, padding=1),
            torch.nn.BatchNorm2d(6),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.5),
            torch.nn.AdaptiveAvgPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(24, 4),
        )


def data(size, shape, classes, seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.permutation(10 * size)[:size].astype(np.int64)
    return ids, torch.from_numpy(rng.normal(size=(size, *shape)).astype(np.float32)), rng.integers(0, classes, size)


def batched(ids, inputs, labels, batch):
    for start in range(0, len(ids), batch):
        part = slice(start, start + batch)
        yield torch.from_numpy(ids[part]), inputs[part], torch.from_numpy(labels[part])


def loop_loss(model, x, label):
    return functional.cross_entropy(model(x[None]), torch.tensor([label]))


def loop_gradient(model, x, label):
    x = x.clone().requires_grad_(True)
    loop_loss(model, x, label).backward()
    return x.grad


def for_loop_curvature(model, ids, inputs, labels, draws, h, seed):
    """One sample and one draw at a time, both gradients afresh, as the definition reads."""
    model.eval()
    rows = []
    for i, x, label in zip(ids, inputs, labels):
        lengths, products = [], []
        for draw in range(draws):
            r = rademacher(np.array([i]), draw, x[None], seed)[0]
            change = loop_gradient(model, x + h * r, label) - loop_gradient(model, x, label)
            lengths.append(change.norm().item() / h)
            products.append((r * change).sum().item() / h)
        rows.append((np.mean(lengths), np.mean(products), loop_gradient(model, x, label).norm().item()))
    return np.array(rows).T


def exact_hessian(model, x, label):
    return torch.autograd.functional.hessian(lambda point: loop_loss(model, point, label), x)


@pytest.mark.parametrize("chunk", [1, 3])
def test_scores_equal_a_plain_loop(chunk):
    model = small_convnet()
    ids, inputs, labels = data(10, (1, 8, 8), 4)
    found = measure(model, batched(ids, inputs, labels, 4), draws=5, seed=3, chunk=chunk)
    curvature, trace, norm = for_loop_curvature(model, ids, inputs, labels, 5, 1e-3, 3)
    np.testing.assert_array_equal(found.samples, ids)
    # Float32 gradients divided by h = 1e-3: their last bits become about 1e-4.
    np.testing.assert_allclose(found.curvature, curvature, rtol=2e-3, atol=5e-4)
    np.testing.assert_allclose(found.trace, trace, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(found.gradient_norm, norm, rtol=1e-5)


@pytest.mark.parametrize("kind", [torch.nn.Tanh, torch.nn.Softplus])
def test_scores_agree_with_the_exact_hessian(kind):
    model = smooth_net(kind).double()
    ids, inputs, labels = data(8, (6,), 3)
    found = measure(model, batched(ids, inputs, labels, 8), draws=2000, chunk=500)
    for row, (i, x, label) in enumerate(zip(ids, inputs.double(), labels)):
        hessian = exact_hessian(model, x, label)
        signs = torch.stack([rademacher(np.array([i]), draw, x[None])[0] for draw in range(2000)])
        expected = (signs @ hessian).norm(dim=1).mean().item()
        assert found.curvature[row] == pytest.approx(expected, rel=5e-3)
        spread = (2 * (hessian**2).sum() - 2 * (hessian.diag() ** 2).sum()).sqrt().item()  # of one Hutchinson draw
        assert found.trace[row] == pytest.approx(hessian.trace().item(), abs=4 * spread / 2000**0.5 + 5e-3 * spread)


def test_a_linear_model_has_the_curvature_of_its_softmax_and_a_single_class_none():
    model = torch.nn.Linear(5, 3).double()
    ids, inputs, labels = data(4, (5,), 3)
    found = measure(model, batched(ids, inputs, labels, 4), draws=20)
    weight = model.weight.detach()
    for row, (i, x) in enumerate(zip(ids, inputs.double())):
        p = model(x).softmax(0).detach()
        hessian = weight.T @ (p.diag() - p[:, None] * p) @ weight
        draws = [hessian @ rademacher(np.array([i]), draw, x[None])[0] for draw in range(20)]
        assert found.curvature[row] == pytest.approx(torch.stack(draws).norm(dim=1).mean().item(), rel=5e-3)
    alone = measure(torch.nn.Linear(5, 1), batched(ids, inputs, np.zeros(4, int), 4))
    assert (alone.curvature == 0).all() and (alone.trace == 0).all() and (alone.gradient_norm == 0).all()


def test_scores_do_not_depend_on_the_batch():
    model = small_convnet()
    ids, inputs, labels = data(64, (1, 8, 8), 4)
    whole = measure(model, batched(ids, inputs, labels, 64), draws=4)
    order = np.random.default_rng(1).permutation(64)
    for batch in (1, 7):
        found = measure(model, batched(ids[order], inputs[order], labels[order], batch), draws=4)
        np.testing.assert_array_equal(found.samples, ids[order])
        np.testing.assert_allclose(found.gradient_norm, whole.gradient_norm[order], rtol=1e-5, atol=1e-7)
        scale = np.abs(whole.curvature).max()
        np.testing.assert_allclose(found.curvature, whole.curvature[order], atol=1e-3 * scale)
    exact, double = model.double(), {}
    for batch in (1, 7, 64):
        double[batch] = measure(exact, batched(ids, inputs, labels, batch), draws=4)
    for batch in (1, 7):
        for name in ("curvature", "trace", "gradient_norm"):
            np.testing.assert_allclose(getattr(double[batch], name), getattr(double[64], name), rtol=1e-5, atol=1e-9)


def test_membership_is_the_second_difference_of_the_losses():
    model = smooth_net().double()
    ids, inputs, labels = data(6, (6,), 3)
    samples, score = membership(model, batched(ids, inputs, labels, 4), draws=7, seed=2)
    np.testing.assert_array_equal(samples, ids)
    h = 1e-3
    for row, (i, x, label) in enumerate(zip(ids, inputs.double(), labels)):
        expected = []
        for draw in range(7):
            u, v = (h * rademacher(np.array([i]), 2 * draw + second, x[None], 2)[0] for second in (0, 1))
            moved = (x + v + u, x - v + u, x + v - u, x - v - u)
            l1, l2, l3, l4 = (loop_loss(model, point, label).item() for point in moved)
            expected.append(abs(l1 - l2 - l3 + l4) / (4 * h))
        assert score[row] == pytest.approx(np.mean(expected), rel=1e-6)
        # ... and it is h times |u' H v'| of the exact Hessian, u', v' the signs.
        hessian = exact_hessian(model, x, label)
        products = []
        for draw in range(7):
            u, v = (rademacher(np.array([i]), 2 * draw + second, x[None], 2)[0] for second in (0, 1))
            products.append(abs((u @ hessian @ v).item()))
        assert score[row] == pytest.approx(h * np.mean(products), rel=1e-2, abs=1e-7)


def test_signs_are_balanced_independent_and_belong_to_the_sample():
    ids = np.array([5, 0, 7, 1 << 40, -3], dtype=np.int64)
    like = torch.empty(5, 3, 37, 11)
    signs = torch.stack([rademacher(ids, draw, like, seed=1) for draw in range(40)])
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    rows = signs.reshape(200, -1).double()  # 200 vectors of 1,221 signs
    elements = rows.shape[1]
    assert abs(rows.mean().item()) < 4 / (200 * elements) ** 0.5
    correlation = (rows @ rows.T / elements - torch.eye(200)).abs()
    assert correlation.max() < 6 / elements**0.5  # 19,900 pairs: six standard deviations
    across = (rows.T @ rows / 200 - torch.eye(elements)).abs()
    assert across.max() < 6.5 / 200**0.5
    torch.testing.assert_close(rademacher(ids[[3, 0]], 11, like[:2], seed=1), signs[11][[3, 0]])
    assert not torch.equal(rademacher(ids, 0, like, seed=2), signs[0])


def test_the_caller_finds_everything_as_it_was():
    model = small_convnet().train()
    model[1].eval()
    model[6].bias.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    asked = [parameter.requires_grad for parameter in model.parameters()]
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(5)
    np.random.seed(5)
    ids, inputs, labels = data(6, (1, 8, 8), 4)
    done = []
    with torch.inference_mode():
        made_inside = inputs.clone()
        found = measure(model, batched(ids, made_inside, labels, 4), draws=2, progress=done.append)
    membership(model, batched(ids, inputs, labels, 4), draws=1)
    assert done == [4, 2] and np.isfinite(found.curvature).all()
    assert (torch.rand(1), np.random.rand()) == expected
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == asked
    assert all(parameter.grad is None for parameter in model.parameters()) and not inputs.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

    def broken():
        yield from batched(ids, inputs, labels, 4)
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        measure(model, broken(), draws=1)
    assert [module.training for module in model.modules()] == modes


def test_raw_inputs_go_through_the_callers_transform_outside_the_derivative():
    model = small_convnet()
    ids, _, labels = data(6, (1, 8, 8), 4)
    raw = torch.from_numpy(np.random.default_rng(4).integers(0, 256, (6, 1, 8, 8), dtype=np.uint8))
    seen = []

    def normalised(images):
        seen.append(torch.is_grad_enabled())
        return (images.float() / 255 - 0.5) / 0.25

    plain = list(batched(ids, normalised(raw), labels, 4))
    given = list(batched(ids, raw, labels, 4))
    expected, found = measure(model, plain, draws=3), measure(model, given, draws=3, transform=normalised)
    for name in ("samples", "curvature", "trace", "gradient_norm"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert seen[1:] == [False, False]  # once a batch, not once a draw
    np.testing.assert_array_equal(
        membership(model, given, draws=2, transform=normalised)[1], membership(model, plain, draws=2)[1]
    )


@pytest.mark.parametrize("chunk", [1, 2])
def test_a_sample_without_a_finite_score_spoils_no_other(chunk):
    model = small_convnet()
    ids, inputs, labels = data(6, (1, 8, 8), 4)
    whole = measure(model, batched(ids, inputs, labels, 6), draws=3, chunk=chunk)
    inputs[2, 0, 3, 3], inputs[4] = np.nan, np.inf
    found = measure(model, batched(ids, inputs, labels, 6), draws=3, chunk=chunk)
    good = [0, 1, 3, 5]
    for name in ("curvature", "trace", "gradient_norm"):
        assert np.isnan(getattr(found, name)[[2, 4]]).all(), name
        np.testing.assert_allclose(getattr(found, name)[good], getattr(whole, name)[good], rtol=1e-3, atol=1e-3)
    score = membership(model, batched(ids, inputs, labels, 6), draws=2)[1]
    assert np.isnan(score).tolist() == [False, False, True, False, True, False]


def test_one_sample_and_an_input_whose_memory_is_shared():
    """A gradient that autograd hands back as one number expanded over the input is not written into."""
    ids, inputs, labels = data(3, (4, 5), 2)

    class Sums(torch.nn.Module):
        def forward(self, x):
            total = x.flatten(1).sum(dim=1)
            return torch.stack([total, -total], dim=1)

    model = Sums()
    for index in range(3):
        one = [(ids[index : index + 1], inputs[index : index + 1], torch.from_numpy(labels[index : index + 1]))]
        found = measure(model, one, draws=2)
        total = inputs[index].double().sum().item()
        p = 1 / (1 + np.exp(2 * total * (1 - 2 * labels[index])))  # of the other class
        assert found.gradient_norm == pytest.approx(2 * p * 20**0.5, rel=1e-4, abs=1e-6)
    same = [(ids, inputs[:1].expand(3, 4, 5), torch.zeros(3, dtype=torch.int64))]
    assert len(set(measure(model, same, draws=2).gradient_norm.tolist())) == 1


DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("chunk", [1, 4])
def test_memory_order_and_device_do_not_change_the_draws_or_the_scores(device, chunk):
    model = small_convnet()
    ids, inputs, labels = data(6, (3, 8, 8), 4)
    model[0] = torch.nn.Conv2d(3, 6, 3, padding=1)
    last = inputs.contiguous(memory_format=torch.channels_last)
    assert torch.equal(rademacher(ids, 3, last), rademacher(ids, 3, inputs))
    assert rademacher(ids, 3, last).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(rademacher(ids, 3, last.to(device)).cpu(), rademacher(ids, 3, inputs))
    expected = measure(model, batched(ids, inputs, labels, 6), draws=4)
    batch = [(torch.from_numpy(ids).to(device), last.to(device), torch.from_numpy(labels).to(device))]
    found = measure(model, batch, draws=4, chunk=chunk, device=device)
    np.testing.assert_allclose(found.curvature, expected.curvature, rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(found.gradient_norm, expected.gradient_norm, rtol=1e-4)
    assert next(model.parameters()).device.type == "cpu"  # the model is brought home


def test_autocast_around_it_changes_nothing():
    model = small_convnet()
    ids, inputs, labels = data(6, (1, 8, 8), 4)
    plain = measure(model, batched(ids, inputs, labels, 6), draws=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = measure(model, batched(ids, inputs, labels, 6), draws=2)
    np.testing.assert_array_equal(inside.curvature, plain.curvature)


def test_bad_input_says_what_was_expected():
    model = small_convnet()
    ids, inputs, labels = data(6, (1, 8, 8), 4)
    with pytest.raises(ValueError, match=r"\(5,\).*\(6, 1, 8, 8\)"):
        measure(model, [(ids[:5], inputs, labels)])
    with pytest.raises(ValueError, match="uint8"):
        measure(model, [(ids, inputs.to(torch.uint8), labels)])
    with pytest.raises(ValueError, match="float32 weights"):
        measure(small_convnet().half(), [(ids, inputs, labels)])
    with pytest.raises(ValueError, match="draws must be positive"):
        measure(model, [(ids, inputs, labels)], draws=0)
    with pytest.raises(ValueError, match="0 or more, got -100"):
        measure(model, [(ids, inputs, np.array([0, 1, -100, 0, 0, 0]))])
    with pytest.raises(ValueError, match="4 classes, got 4"):
        measure(model, [(ids, inputs, np.array([0, 1, 4, 0, 0, 0]))])
    with pytest.raises(ValueError, match=r"logits of shape \(6, classes\), got \(6, 6, 8, 8\)"):
        measure(model[:2], [(ids, inputs, labels)])
    with pytest.raises(ValueError, match="got tuple"):
        measure(torch.nn.LSTM(8, 4), [(ids, inputs[:, 0], labels)])
    assert measure(model, []).curvature.shape == (0,)
