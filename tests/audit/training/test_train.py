"""The built-in training: resumable to the byte, deterministic, and recording changes nothing."""

import copy
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import cut_demo
from helpers import refused

from lossprint.audit.cli import main as cli
from lossprint.audit.training import inputs as inputs_of
from lossprint.audit.training import train
from lossprint.audit.training.models import Small, build_model, check_model, last_linear, proxy_size
from lossprint.audit.types import LossprintError


def arguments(dataset: Path, out: Path, *more: str) -> list[str]:
    """Those of the audit that `audited` is."""
    return ["audit", str(dataset), "--out", str(out), "--quiet", "--epochs", "6", "--curvature-checkpoints", "2", *more]


def contents(run: Path) -> dict[str, bytes]:
    """All files of a run but run.json, which holds times."""
    files = [file for file in run.rglob("*") if file.is_file() and file.name != "run.json"]
    return {str(file.relative_to(run)): file.read_bytes() for file in sorted(files)}


def kill_when(condition, process: subprocess.Popen) -> None:
    """SIGKILL the process as soon as the condition holds."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the audit ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.proof
def test_killed_twice_and_resumed_is_the_same_to_the_byte(small_dataset, audited, tmp_path, capsys):
    broken = tmp_path / "broken"

    # Once as soon as a trajectory is written, most likely before its weights are; once after, when the next has begun.
    trajectory, weights = "trajectories/split=train/checkpoint=00002/rank-0.parquet", "checkpoints/00004.safetensors"
    for file, more in ((trajectory, ()), (weights, ("--resume",))):
        command = [sys.executable, "-m", "lossprint.audit.cli", *arguments(small_dataset, broken, *more)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        kill_when((broken / file).exists, process)
        assert "half written" in refused(capsys, "score", broken)
    assert cli.main(arguments(small_dataset, broken, "--resume")) == 0
    expected, found = contents(audited), contents(broken)
    assert expected.keys() == found.keys()
    assert [name for name in expected if expected[name] != found[name]] == []
    assert sum(name.startswith("trajectories") for name in expected) == 12


def inputs(n=40, size=28, classes=3) -> train.Inputs:
    random = np.random.default_rng(0)
    return train.Inputs(
        samples=np.arange(n) * 2,
        labels=random.integers(0, classes, n),
        split=np.array(["train"] * (n - 10) + ["val"] * 10),
        pixels=random.integers(0, 256, (n, size, size, 3), dtype=np.uint8),
        size=size,
        mean=np.array([0.5, 0.4, 0.3]),
        std=np.array([0.2, 0.3, 0.4]),
        classes=classes,
    )


class Collect:
    def __init__(self):
        self.losses = {}

    def update(self, ids, losses, logits, labels):
        self.losses |= dict(zip(ids.tolist(), losses.tolist(), strict=True))


def test_recording_leaves_mode_weights_and_random_state_alone():
    data, network = inputs(), build_model("small", 3, 28)
    network.train()
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    collect = Collect()
    accuracy = train.record(collect, network, data, np.arange(40), "cpu")
    assert network.training and torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    network.eval()
    with torch.no_grad():
        for row in (0, 17, 39):  # one by one, normalised by hand
            image = torch.tensor((data.pixels[row] / 255 - data.mean) / data.std, dtype=torch.float32)
            logits = network(image.permute(2, 0, 1)[None])
            expected = torch.nn.functional.cross_entropy(logits, torch.tensor([data.labels[row]]))
            assert collect.losses[row * 2] == pytest.approx(float(expected), abs=1e-4)
    assert 0 <= accuracy <= 1


def test_shifts_move_each_image_by_its_own_amount():
    images = torch.zeros(64, 12, 12, 3, dtype=torch.uint8)
    images[:, 6, 5] = 255
    moved = inputs_of.moved(images, torch.arange(64), inputs_of.drawn_shifts(64, 2, torch.Generator().manual_seed(1)))
    assert moved.shape == images.shape and moved.dtype == torch.uint8
    places = {tuple(np.argwhere(image[..., 0].numpy() == 255)[0]) for image in moved}
    assert len(places) > 10
    assert all(abs(down - 6) <= 2 and abs(right - 5) <= 2 for down, right in places)


def test_statistics_are_those_of_the_images():
    data, network = inputs(), build_model("small", 3, 28)
    train._estimate_statistics(network, data, np.arange(30), 1000, "cpu")
    stem = network.stem[0](torch.cat([images for _, images, _ in data.batches(np.arange(30), "cpu")]))
    torch.testing.assert_close(network.stem[1].running_mean, stem.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
    assert not network.training and network.stem[1].momentum == 0.1


def test_one_cycle_rises_and_falls():
    recipe = train.Recipe()
    rates = [recipe.rate_at(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.01) and max(rates) == pytest.approx(0.1) and rates[-1] < 0.001
    assert int(np.argmax(rates)) == 30


def test_folds_are_even_in_every_class_and_split():
    data = inputs()
    fold = train.fold_of(data, 4, 0)
    assert (fold == train.fold_of(data, 4, 0)).all() and (fold != train.fold_of(data, 4, 1)).any()
    for split in ("train", "val"):
        for label in range(3):
            counts = np.bincount(fold[(data.split == split) & (data.labels == label)], minlength=4)
            assert counts.max() - counts.min() <= 1


def test_a_sequence_is_left_out_whole():
    names = np.repeat(["a", "b", "c", "d", "e", "v", "w"], [12, 6, 6, 3, 3, 5, 5])
    data = replace(inputs(), sequence=names)
    fold = train.fold_of(data, 3, 0)
    assert all(len(set(fold[names == name])) == 1 for name in "abcde")
    assert set(fold[data.split == "val"]) == {0, 1, 2}  # never trained on, and each fold's network needs some
    assert sorted(np.bincount(fold[data.split == "train"])) == [9, 9, 12]  # 30 frames: a alone, b and c with one each
    with pytest.raises(LossprintError, match="at least 6 training sequences for --folds 6, found 5"):
        train.fold_of(data, 6, 0)


def test_half_precision_steps_train_and_leave_float32():
    data = inputs()
    torch.manual_seed(0)
    network = build_model("small", 3, 28)
    recipe = train.Recipe(epochs=4, half=True).for_size(32)
    optimizer = train.Optimizer(network, recipe, {})
    losses = [
        train._epoch(network, optimizer, recipe, data, data.rows("train"), 0, epoch, "cpu", Bar())[0]
        for epoch in range(1, 5)
    ]
    assert losses[-1] < losses[0] and {p.dtype for p in network.parameters()} == {torch.float32}


class Bar:
    def update(self, _):
        pass


def test_a_small_dataset_gets_small_batches():
    assert train.Recipe().for_size(4000).batch == 64
    small = train.Recipe().for_size(100)
    assert small.batch == 8 and small.rate == pytest.approx(0.1 * 8 / 64)
    assert train.Recipe().for_size(1).batch == 8


def test_embedding_is_the_input_of_the_last_layer():
    data, network = inputs(), build_model("small", 3, 28)
    vectors = train.embed(network, data, "cpu")
    assert vectors.shape == (40, 128)
    network.eval()
    with torch.inference_mode():
        logits = torch.cat([network(images) for _, images, _ in data.batches(np.arange(40), "cpu")])
        torch.testing.assert_close(network.head(torch.from_numpy(vectors)), logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "densenet121", "convnext_tiny"])
def test_torchvision_networks_take_small_images(name):
    network = build_model(name, 5, 32)
    assert network.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 5)
    assert last_linear(network).out_features == 5


def test_the_small_image_stem_of_resnet():
    network = build_model("resnet18", 5, 32)
    assert network.conv1.stride == (1, 1) and network.conv1.kernel_size == (3, 3)
    assert isinstance(network.maxpool, torch.nn.Identity)
    assert build_model("resnet18", 5, 224).conv1.stride == (2, 2)


def test_unknown_model_names_the_nearest():
    with pytest.raises(LossprintError, match="resnet18") as caught:
        check_model("resnet-18")
    assert "\n" not in str(caught.value)


def test_sizes():
    assert [proxy_size("small", side) for side in (8, 28, 32, 33, 200)] == [28, 28, 32, 36, 64]
    assert [proxy_size("resnet18", side) for side in (28, 64, 100, 500)] == [32, 64, 100, 224]
    assert sum(p.numel() for p in Small(10).parameters()) < 400_000


def test_diverged_training_is_one_line(tmp_path, monkeypatch):
    from lossprint.audit.workflow.audit import audit

    monkeypatch.setattr(train.Recipe, "rate_at", lambda *_: 1e12)
    dataset = cut_demo(tmp_path / "data", 20, 3)
    with pytest.raises(LossprintError, match="diverged") as caught:
        audit(str(dataset), tmp_path / "run", epochs=3, quiet=True)
    assert "\n" not in str(caught.value)


def test_cuda_without_a_gpu_is_refused():
    if torch.cuda.is_available():
        assert train.pick_device("cuda") == "cuda"
    else:
        with pytest.raises(LossprintError, match="found none"):
            train.pick_device("cuda")
        assert train.pick_device("auto") == "cpu"


def test_no_batch_is_left_with_a_few_images():
    """73 images in batches of 8 would end in one image; instead the batches differ by one image at most."""

    class Seen:
        def update(self, count):
            sizes.append(count)

    sizes = []
    data, network = inputs(n=83), build_model("small", 3, 28)
    recipe = train.Recipe(batch=8)
    train._epoch(network, train.Optimizer(network, recipe, {}), recipe, data, np.arange(73), 0, 1, "cpu", Seen())
    assert sum(sizes) == 73 and len(sizes) == 9 and max(sizes) - min(sizes) == 1


def test_a_network_without_an_embedding_is_refused_before_training(tmp_path):
    from lossprint.audit.workflow.audit import audit

    dataset = cut_demo(tmp_path / "data", 20, 3)
    with pytest.raises(LossprintError, match="linear layer"):
        audit(str(dataset), tmp_path / "run", model="squeezenet1_0", epochs=1, quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_step_is_that_of_torch_s_own_class():
    """Three steps at changing rates, to the bit, also where a parameter has no gradient."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 3))
    network[0].bias.requires_grad_(False)
    oracle = copy.deepcopy(network)
    recipe = train.Recipe()
    ours = train.Optimizer(network, recipe, {})
    theirs = torch.optim.SGD(
        oracle.parameters(), lr=1, momentum=recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True
    )
    for rate in (0.1, 0.02, 0.5):
        images = torch.randn(5, 3, 8, 8)
        for each in (network, oracle):
            each.zero_grad(set_to_none=True)
            each(images).square().mean().backward()
        theirs.param_groups[0]["lr"] = rate
        ours.step(rate)
        theirs.step()
    assert list(ours.momenta) == ["0.weight", "2.weight", "2.bias"]
    for parameter, expected in zip(network.parameters(), oracle.parameters()):
        assert torch.equal(parameter, expected)
