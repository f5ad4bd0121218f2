"""Speed on a GPU: training, recording and curvature, each beside a plain or the published procedure in the same run.

    python benchmarks/gpu.py [--device auto|cpu|cuda] [--model resnet18] [--precision auto|float32|bfloat16] [--compile]
                             [--images 50000] [--batch 512] [--draws 10] [--times 3] [--small]

Random images of 32 px, ten classes. Each figure is the best of several runs, taken by turns. Prints the device first.

  training   images a second of the audit's own steps, the images held on the device, beside a hand-written loop: the
             same network, batch, precision, optimizer and random shifts, its images on the device as well. Once with
             deterministic convolutions, as ours, and once with those that cuDNN measures to be the fastest
  recording  batch norm's statistics, the losses of all training and as many as a tenth of validation images, Parquet
             written: its time and share of an epoch
  curvature  milliseconds an image in float32, beside the authors' procedure (see speed.py) with as many draws

`--small` shrinks it for a test; on a CPU the figures say nothing of a GPU.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import speed
import torch
from torch.nn import functional as F

from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.training import train
from lossprint.audit.training.inputs import eval_batch
from lossprint.audit.training.models import build_model
from lossprint.scoring import input_curvature as curvature

SHIFT = 2  # px


class NoBar:
    def update(self, _):
        pass


def waited(call: Callable[[], object], device: str) -> Callable[[], object]:
    """The same, until the device has done it."""

    def whole():
        call()
        if device == "cuda":
            torch.cuda.synchronize()

    return whole


def built(options, device: str):
    torch.manual_seed(0)
    network = build_model(options.model, 10, 32).to(device)
    recipe = train.Recipe()
    return network, torch.optim.SGD(
        network.parameters(), lr=0.01, momentum=recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True
    )


def plain_epoch(network, optimizer, pixels, labels, scale, offset, batch: int, half: bool) -> None:
    """A hand-written loop over images (N, 3, 32, 32) uint8 and labels (N,), both on the device."""
    network.train()
    device, n = pixels.device, len(pixels)
    rows, columns = torch.arange(32, device=device)[None, :, None], torch.arange(32, device=device)[None, None, :]
    order = torch.randperm(n, device=device)
    for start in range(0, n - batch + 1, batch):
        at = order[start : start + batch]
        padded = F.pad(pixels[at].float(), (SHIFT,) * 4, mode="replicate")
        down, right = torch.randint(0, 2 * SHIFT + 1, (2, batch, 1, 1), device=device)
        every = torch.arange(batch, device=device)[:, None, None]
        images = padded.permute(0, 2, 3, 1)[every, rows + down, columns + right].permute(0, 3, 1, 2)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            logits = network(images.mul(scale).add_(offset).contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), labels[at])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def training(options, device: str, inputs, table, half: bool) -> list[str]:
    rows, everything = inputs.rows("train"), np.arange(len(inputs.samples))
    recipe = train.Recipe(epochs=2, batch=options.batch, half=half, shift=SHIFT / 32)
    held = inputs.on(device)
    (ours, optimizer), (theirs, their_optimizer) = built(options, device), built(options, device)
    if options.compile:
        train._compile(ours, held, device, half)
        theirs.compile()
    pixels = torch.from_numpy(inputs.pixels[rows]).permute(0, 3, 1, 2).contiguous().to(device)
    labels = torch.from_numpy(inputs.labels[rows]).to(device)
    scale = torch.tensor(1 / (255 * inputs.std), dtype=torch.float32, device=device).view(1, 3, 1, 1)
    offset = torch.tensor(-inputs.mean / inputs.std, dtype=torch.float32, device=device).view(1, 3, 1, 1)

    def own():
        train._epoch(ours, optimizer, recipe, held, rows, 0, 1, device, NoBar())

    def plain(fastest: bool):
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = fastest, not fastest
        plain_epoch(theirs, their_optimizer, pixels, labels, scale, offset, options.batch, half)
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True

    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder) / "run", table)

        def record():
            train._estimate_statistics(ours, held, rows, train.Recipe.statistics, device, half)
            train.record(recorder, ours, held, everything, device, half)
            recorder.end_checkpoint(recorder.last + 1)

        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True  # as in a training
        calls = [own, lambda: plain(False), lambda: plain(True), record]
        calls = [waited(call, device) for call in calls]
        for call in calls:  # what is compiled, tried out and allocated once
            call()
        mine, alike, fastest, recorded = speed.side_by_side(*calls, times=options.times)
    n = len(rows)
    said = f"{options.model}, batches of {options.batch}, {'bfloat16' if half else 'float32'}"
    said += ", compiled" * options.compile + f", images held on the device: {held.held is not None}"
    return [
        f"training, {said} | ours {n / mine:,.0f} images/s | plain loop, deterministic {n / alike:,.0f}, ratio "
        f"{alike / mine:.2f} | plain loop, fastest {n / fastest:,.0f}, ratio {fastest / mine:.2f}",
        f"recording, {len(everything):,} images in batches of {eval_batch(device, 32)} | {recorded:.3f} s | "
        f"{len(everything) / recorded:,.0f} images/s | {recorded / mine:.0%} of an epoch of {mine:.3f} s",
    ]


def measuring(options, device: str, inputs) -> str:
    """Curvature in float32 without TF32 for both."""
    torch.manual_seed(0)
    network = build_model(options.model, 10, 32).to(device).eval()
    batch = eval_batch(device, 32)
    ((ids, images, labels),) = inputs.on(device).batches(inputs.rows("train")[:batch], device, batch)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False

    def ours():
        curvature.measure(network, [(ids, images, labels)], draws=options.draws, device=device)

    def theirs():
        signs = lambda _: torch.randint_like(images, 2).mul_(2).sub_(1)  # noqa: E731
        speed.published_curvature(network, images, labels, signs, options.draws, 1e-3)

    calls = [waited(call, device) for call in (ours, theirs)]
    for call in calls:
        call()
    own, published = (1000 * seconds / len(ids) for seconds in speed.side_by_side(*calls, times=options.times))
    return (
        f"curvature, {options.model}, {options.draws} draws, batch of {len(ids)}, float32 | ours {own:.4f} ms an image "
        f"| the authors' procedure {published:.4f} | {published / own:.2f} times as fast"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--precision", choices=("auto", *train.PRECISIONS), default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    if options.small:
        options.images, options.batch, options.draws, options.times = 128, 32, 2, 1
    device = train.pick_device(options.device)
    half = train.pick_precision(options.precision, device) == "bfloat16"
    where = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads: not a GPU"
    print(f"device: {where}; torch {torch.__version__}, {time.strftime('%Y-%m-%d')}", flush=True)
    inputs, table = speed.synthetic_inputs(options.images, options.images // 10, 0)
    for line in training(options, device, inputs, table, half):
        print(line, flush=True)
    print(measuring(options, device, inputs), flush=True)


if __name__ == "__main__":
    main()
