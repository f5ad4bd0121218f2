"""Batches of images: held on a device, from memory or decoded as they come, the same; precision and compiling."""

import functools
import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import ranks
import torch
from conftest import cut_demo
from helpers import BENCHMARKS
from torch import nn

from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.system.processes import World
from lossprint.audit.training import inputs as inputs_of
from lossprint.audit.training import train
from lossprint.audit.types import LossprintError
from lossprint.audit.workflow.audit import audit


class Stream(torch.utils.data.Dataset):
    """As `datasets.ImageStream`, from an array."""

    def __init__(self, pixels):
        self.pixels = pixels

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, row):
        return row, torch.from_numpy(self.pixels[row]).permute(2, 0, 1).contiguous()


def plainly_moved(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """One image (S, S, 3) shifted: padded with its edge pixels, then cut."""
    most, side = 4, len(image)
    padded = np.pad(image, ((most, most), (most, most), (0, 0)), mode="edge")
    return padded[most + down : most + down + side, most + right : most + right + side]


def ways(data: train.Inputs) -> dict[str, train.Inputs]:
    """The same images held on a device (the CPU stands for one), in memory, and streamed."""
    streamed = train.Inputs(
        **{name: getattr(data, name) for name in vars(data)} | {"pixels": Stream(data.pixels), "held": None}
    )
    return {"held": data.on("cpu"), "memory": data, "streamed": streamed}


def test_shifted_batches_are_the_same_from_a_device_from_memory_and_streamed():
    data = ranks.images()
    random = np.random.default_rng(1)
    parts = [random.permutation(163)[:size] for size in (7, 0, 8)]
    shifts = inputs_of.drawn_shifts(15, 3, torch.Generator().manual_seed(2))
    assert shifts.min() == -3 and shifts.max() == 3
    for way, given in ways(data).items():
        done = 0
        for at, (rows, images) in zip(parts, given.raw(parts, "cpu", shifts, workers=0), strict=True):
            assert np.array_equal(rows, at) and images.dtype == torch.uint8 and images.shape == (len(at), 3, 28, 28), (
                way
            )
            for row, image in zip(at, images, strict=True):
                expected = plainly_moved(data.pixels[row], *shifts[:, done].tolist())
                assert np.array_equal(image.permute(1, 2, 0).numpy(), expected), way
                done += 1
        assert done == 15


def test_plain_batches_are_the_same_and_dealt_whole_to_processes():
    data, rows = ranks.images(), np.arange(160)[::-1]
    expected = [data.samples[part] for part in np.split(rows, (64, 128))]
    for way, given in ways(data).items():
        found = list(given.batches(rows, "cpu"))
        assert [ids.tolist() for ids, _, _ in found] == [ids.tolist() for ids in expected], way
        for ids, images, labels in found:
            assert images.is_contiguous(memory_format=torch.channels_last) and images.dtype == torch.float32
            assert labels.tolist() == data.labels[ids // 3].tolist()
            by_hand = (data.pixels[ids // 3] / 255 - data.mean) / data.std
            np.testing.assert_allclose(images.permute(0, 2, 3, 1).numpy(), by_hand, atol=1e-5)
        dealt = [list(given.batches(rows, "cpu", world=World(rank, 2))) for rank in (0, 1)]
        assert [len(part) for part in dealt] == [2, 1]
        for (_, images, _), (_, same, _) in zip(found, (dealt[0][0], dealt[1][0], dealt[0][1]), strict=True):
            assert torch.equal(images, same), way


def test_images_are_held_where_they_take_a_third_of_the_free_memory_at_most():
    data = ranks.images()
    assert data.on("cpu", free=3 * data.pixels.nbytes - 3).held is None
    held = data.on("cpu", free=3 * data.pixels.nbytes + 3)
    assert held.held is not None and held.on("cpu", free=0) is held
    streamed = ways(data)["streamed"]
    assert streamed.on("cpu", free=1 << 60) is streamed
    frozen = data.pixels.copy()
    frozen.flags.writeable = False  # as a file that other processes share
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(train.replace(data, pixels=frozen).on("cpu").held, held.held)


def test_batches_that_are_only_looked_at_are_larger_on_a_gpu():
    assert inputs_of.eval_batch("cpu", 224) == 64
    assert [inputs_of.eval_batch("cuda", side) for side in (28, 64, 128, 224)] == [512, 512, 128, 64]


def test_precision_of_a_run_is_kept_and_asked_for_again(tmp_path):
    dataset, out = cut_demo(tmp_path / "data", 8, 2), tmp_path / "run"
    run = audit(str(dataset), out, epochs=2, curvature_checkpoints=0, precision="bfloat16", quiet=True)
    assert run.manifest["asked"]["precision"] == "bfloat16"
    audit(str(dataset), out, precision="auto", resume=True, quiet=True)
    with pytest.raises(LossprintError, match="--precision bfloat16"):
        audit(str(dataset), out, precision="float32", resume=True, quiet=True)
    told = json.loads((out / "run.json").read_text())
    del told["asked"]["precision"]  # a run of an earlier version
    (out / "run.json").write_text(json.dumps(told))
    audit(str(dataset), out, precision="float32", resume=True, quiet=True)
    with pytest.raises(LossprintError, match="--precision float32"):
        audit(str(dataset), out, precision="bfloat16", resume=True, quiet=True)


def test_half_precision_is_that_of_training_and_recording_and_nothing_else(tmp_path):
    full, half = (trained(tmp_path, name, precision=name) for name in ("float32", "bfloat16"))
    one, other = (run.trajectory("val").losses for run in (full, half))
    assert other.dtype == np.float32 and not np.array_equal(one, other)
    np.testing.assert_allclose(other[np.isfinite(one)], one[np.isfinite(one)], rtol=0.2)
    assert {str(tensor.dtype) for tensor in half.read_checkpoint(1).values()} == {"torch.float32", "torch.int64"}


def test_bfloat16_is_chosen_where_a_gpu_computes_in_it(monkeypatch):
    assert train.pick_precision("auto", "cpu") == "float32"
    for capability, chosen in (((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda found=capability: found)
        assert train.pick_precision(None, "cuda") == chosen and train.pick_precision("float32", "cuda") == "float32"
    with pytest.raises(LossprintError, match="found 'half'"):
        train.pick_precision("half", "cpu")


def trained(tmp_path, name: str, **options):
    """The run after an epoch."""
    data = ranks.images()
    recorder = Recorder(tmp_path / name, ranks.table(data))
    options |= {"model": "small", "epochs": 1, "seed": 0, "device": "cpu", "quiet": True}
    rows = data.rows("train")[:24]
    recorded = np.concatenate([rows, data.rows("val")[:8]])
    train.train(recorder, data, rows=rows, recorded=recorded, **options)
    return recorder.run


@pytest.mark.proof
def test_a_compiled_network_trains_the_same_and_its_weights_keep_their_names(tmp_path, monkeypatch):
    """Traced by torch.compile for real, without the C++ compiler, which would take most of a minute."""
    plain = trained(tmp_path, "plain").read_checkpoint(1)
    calls = []
    before = nn.Module.compile

    def compile_(module, **options):
        calls.append(module)
        before(module, backend="aot_eager", **options)

    monkeypatch.setattr(nn.Module, "compile", compile_)
    weights = trained(tmp_path, "compiled", compiled=True).read_checkpoint(1)
    assert len(calls) == 2 and weights.keys() == plain.keys()
    for name, tensor in plain.items():
        torch.testing.assert_close(weights[name], tensor, atol=1e-5, rtol=1e-4)


def test_a_network_that_cannot_be_compiled_is_trained_as_it_is(tmp_path, monkeypatch):
    def none(*_):
        raise RuntimeError("no compiler\nis here")

    monkeypatch.setattr(nn.Module, "compile", functools.partialmethod(nn.Module.compile, backend=none))
    plain = trained(tmp_path, "plain").read_checkpoint(1)
    with pytest.warns(UserWarning, match="the network is not compiled: .*no compiler") as caught:
        weights = trained(tmp_path, "compiled", compiled=True).read_checkpoint(1)
    ours = [str(warning.message) for warning in caught if "not compiled" in str(warning.message)]  # torch has its own
    assert len(ours) == 1 and "\n" not in ours[0]
    assert all(torch.equal(weights[name], tensor) for name, tensor in plain.items())


@pytest.mark.proof
def test_the_benchmark_of_a_gpu_runs_where_there_is_none():
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--small"]
    command += ["--model", "small", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("device: CPU") and "not a GPU" in lines[0]
    assert [line.partition(",")[0] for line in lines[1:]] == ["training", "recording", "curvature"]
    assert "images held on the device: True" in lines[1]
