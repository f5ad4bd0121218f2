"""The built-in training loop: trains a proxy network and records every sample after each epoch.

All randomness of an epoch comes from (seed, epoch), so that a run killed at any moment goes on from its last whole
epoch and ends in the same bytes. Deterministic on the CPU for a given number of threads.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from lossprint.audit.models import build_model, last_linear
from lossprint.audit.record import Recorder
from lossprint.audit.types import LossprintError

EVAL_BATCH = 64  # on a CPU a fifth faster than 256: the feature maps stay in the cache
STATISTICS_BATCH = 256


@dataclass(frozen=True)
class Recipe:
    """How the proxy is trained: SGD with Nesterov momentum, one cycle of the rate, random shifts as the augmentation.

    Gentle enough to reach a good validation accuracy before it memorises: then a wrong label keeps a high loss for most
    of the run. No mirroring: it would change the meaning of digits, letters and left or right organs.
    """

    epochs: int = 24
    batch: int = 64
    rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.3
    shift: float = 1 / 14  # of the side; 2 px at 28
    statistics: int = 1000  # images on which batch norm's statistics are estimated anew before recording
    half: bool = False  # training steps in bfloat16, the weights and all that is recorded in float32

    def for_size(self, n: int) -> "Recipe":
        """Smaller batches, at a rate that goes down with them, for a small dataset: at least 16 steps an epoch."""
        batch = min(self.batch, max(8, 2 ** int(math.log2(max(n // 16, 1)))))
        return replace(self, batch=batch, rate=self.rate * batch / self.batch)

    def steps(self, n: int) -> int:
        """Steps of an epoch of n samples. Batches are this size or more: a last one of a few images would make batch
        norm's statistics a lottery, so they differ by one image at most."""
        return max(n // self.batch, 1)

    def rate_at(self, step: int, steps: int) -> float:
        """One cycle: a cosine rise from a tenth over the warm-up, then a cosine fall to a thousandth of the peak."""
        rise = max(self.warmup * steps, 1)
        if step < rise:
            low, high, at = self.rate / 10, self.rate, step / rise
        else:
            low, high, at = self.rate / 1000, self.rate, 1 - (step - rise) / max(steps - rise, 1)
        return low + (high - low) * (1 - math.cos(math.pi * at)) / 2


@dataclass(frozen=True)
class Inputs:
    """All samples as the network sees them, rows ordered by sample id.

    pixels: (N, S, S, 3) uint8 in memory, or a `datasets.ImageStream` that decodes as it goes. labels (N,) int64 class
    indices, split (N,) str. mean and std (3,) normalise a channel of values in [0, 1], from the training split.
    """

    samples: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    pixels: object
    size: int
    mean: np.ndarray
    std: np.ndarray
    classes: int
    sequence: np.ndarray | None = None  # (N,) names of video sequences, empty for a plain image; None: no frames

    def rows(self, split: str) -> np.ndarray:
        return np.flatnonzero(self.split == split)

    def raw(self, parts: list[np.ndarray], workers: int = 2) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """The given batches of rows as (rows, uint8 (B, 3, S, S))."""
        if isinstance(self.pixels, np.ndarray):
            for at in parts:
                yield at, torch.from_numpy(self.pixels[at]).permute(0, 3, 1, 2)
        else:
            batches = [part.tolist() for part in parts]
            try:
                for at, images in torch.utils.data.DataLoader(self.pixels, batch_sampler=batches, num_workers=workers):
                    yield at.numpy(), images
            except LossprintError as error:  # a worker's error comes with the worker's whole traceback as its text
                last = str(error).strip().splitlines()[-1]
                raise LossprintError(last.rpartition("LossprintError: ")[2]) from None

    def normalised(self, images: torch.Tensor, device: str) -> torch.Tensor:
        """uint8 (B, 3, S, S) -> float32 on the device, channels last, each channel of zero mean and unit deviation."""
        scale = torch.tensor(1 / (255 * self.std), dtype=torch.float32, device=device).view(1, 3, 1, 1)
        offset = torch.tensor(-self.mean / self.std, dtype=torch.float32, device=device).view(1, 3, 1, 1)
        images = images.to(device).float().mul_(scale).add_(offset)
        return images.contiguous(memory_format=torch.channels_last)

    def batches(self, rows: np.ndarray, device: str, batch: int = EVAL_BATCH):
        """Batches of (sample ids, normalised inputs, labels), not augmented, for recording and curvature."""
        parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
        for at, images in self.raw(parts):
            labels = torch.from_numpy(self.labels[at]).to(device)
            yield self.samples[at], self.normalised(images, device), labels


def channel_statistics(pixels, rows: np.ndarray, most: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (3,) of the channels in [0, 1] over at most `most` evenly spaced training images."""
    rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]
    total, squares, count = np.zeros(3), np.zeros(3), 0
    for start in range(0, len(rows), EVAL_BATCH):
        at = rows[start : start + EVAL_BATCH]
        if isinstance(pixels, np.ndarray):
            values = pixels[at]
        else:
            values = np.stack([pixels[int(row)][1].permute(1, 2, 0).numpy() for row in at])
        values = values.reshape(-1, 3).astype(np.float64) / 255
        total += values.sum(0)
        squares += (values**2).sum(0)
        count += len(values)
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 1e-4))


def pick_device(asked: str) -> str:
    """auto, cpu or cuda -> the device to use."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise LossprintError("expected a CUDA GPU for --device cuda, found none: use --device cpu or auto")
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return asked


def train(
    recorder: Recorder,
    inputs: Inputs,
    *,
    model: str,
    epochs: int,
    seed: int,
    device: str,
    quiet: bool = False,
    recipe: Recipe | None = None,
    rows: np.ndarray | None = None,
    recorded: np.ndarray | None = None,
    weights: range | None = None,
    name: str = "train",
) -> nn.Module:
    """Train `model` for `epochs` from where the run stands, record after each; the trained network.

    Trains on the rows `rows` and records the rows `recorded`: by default on train, and train and val. Leaves a
    safetensors file for each of the checkpoints `weights`, by default all. `name` stands beside the bar. Raises
    LossprintError where training diverges.
    """
    run, rows = recorder.run, inputs.rows("train") if rows is None else rows
    recipe = replace(recipe or Recipe(), epochs=epochs).for_size(len(rows))
    network, optimizer = _start(inputs, model, recipe, seed, device)
    done = _restore(run, network, optimizer)
    run.drop_parts_after(done)
    record_rows = np.concatenate([inputs.rows("val"), rows]) if recorded is None else recorded
    total = epochs * len(rows)
    with tqdm(total=total, initial=done * len(rows), unit="img", desc=name, disable=quiet, **bar_style()) as bar:
        for epoch in range(done + 1, epochs + 1):
            loss, speed = _epoch(network, optimizer, recipe, inputs, rows, seed, epoch, device, bar)
            _estimate_statistics(network, inputs, rows, recipe.statistics, device)
            accuracy = record(recorder, network, inputs, record_rows, device)
            bar.set_postfix_str(
                f"epoch {epoch}/{epochs}, loss {loss:.3f}, val accuracy {accuracy:.3f}, {speed:,.0f} img/s",
                refresh=True,
            )
            recorder.end_checkpoint(epoch)
            if weights is None or epoch in weights:
                run.write_checkpoint(epoch, {name: t.cpu() for name, t in network.state_dict().items()})
            run.write_state(epoch, _state(network, optimizer))
    return network


def fit(
    inputs: Inputs, rows: np.ndarray, *, model: str, recipe: Recipe, steps: int, seed: int, device: str, bar: tqdm
) -> nn.Module:
    """A network trained on `rows` for exactly `steps` steps of the optimizer; nothing is recorded.

    With the steps of `train`, and its recipe made for the size, it is the network that `train` returns. `bar` counts
    steps. Raises LossprintError where training diverges.
    """
    network, optimizer = _start(inputs, model, recipe, seed, device)
    for epoch in range(1, -(-steps // recipe.steps(len(rows))) + 1):
        _epoch(network, optimizer, recipe, inputs, rows, seed, epoch, device, _Steps(bar), steps)
    _estimate_statistics(network, inputs, rows, recipe.statistics, device)
    return network


@dataclass(frozen=True)
class _Steps:
    bar: tqdm

    def update(self, _: int) -> None:
        self.bar.update()


@torch.inference_mode()
def predict(network: nn.Module, inputs: Inputs, rows: np.ndarray, device: str) -> np.ndarray:
    """The class index (R,) of the largest logit for each of the rows, in eval mode."""
    network.eval()
    return np.concatenate([network(images).argmax(1).cpu().numpy() for _, images, _ in inputs.batches(rows, device)])


def fold_of(inputs: Inputs, folds: int, seed: int) -> np.ndarray:
    """The fold (N,) that each row is left out in: every class and split spread evenly, by chance, over the folds.

    A training sequence is left out with all its frames: the longest first, each goes to the fold with the fewest. Those
    of validation are never trained on, so their frames are spread like images. Raises LossprintError where train has
    fewer sequences than there are folds.
    """
    random = np.random.default_rng((seed, folds))
    fold = np.empty(len(inputs.samples), np.int64)
    shuffled = random.permutation(len(fold))
    order = shuffled[np.lexsort((inputs.labels[shuffled], inputs.split[shuffled]))]
    fold[order] = np.arange(len(fold)) % folds
    if inputs.sequence is None:
        return fold
    rows = np.flatnonzero((inputs.split == "train") & (inputs.sequence != ""))
    names, of, sizes = np.unique(inputs.sequence[rows], return_inverse=True, return_counts=True)
    if 0 < len(names) < folds:
        raise LossprintError(
            f"expected at least {folds} training sequences for --folds {folds}, found {len(names)}: a sequence "
            "is in one fold with all its frames"
        )
    chance, load, dealt = random.permutation(len(names)), np.zeros(folds, np.int64), np.zeros(len(names), np.int64)
    for at in np.lexsort((chance, -sizes)):
        dealt[at] = load.argmin()
        load[dealt[at]] += sizes[at]
    fold[rows] = dealt[of]
    return fold


def train_members(
    recorder: Recorder,
    inputs: Inputs,
    *,
    seeds: int,
    folds: int,
    epochs: int,
    seed: int,
    recipe: Recipe | None = None,
    **options,
) -> None:
    """Further trainings beside the run's own: `seeds` - 1 with other seeds, and `folds` with a fold left out of each.

    A network of a fold records the samples that it has not trained on, and its share of the validation samples, so that
    every sample is recorded once. Goes on where a run was cut off. Other arguments as in `train`.
    """
    fold = fold_of(inputs, folds, seed) if folds else None
    used = np.isin(inputs.split, ("train", "val"))
    todo = [(f"seed={seed + k:05d}", seed + k, None) for k in range(1, seeds)]
    todo += [(f"fold={k:03d}", seed, k) for k in range(folds)]
    for at, (name, its_seed, left_out) in enumerate(todo):
        member = recorder.member(name)
        if member.last == epochs and member.run.read_state() is None:
            continue
        rows = recorded = None
        if left_out is not None:
            rows = np.flatnonzero((inputs.split == "train") & (fold != left_out))
            recorded = np.flatnonzero(used & (fold == left_out))
        train(
            member,
            inputs,
            epochs=epochs,
            seed=its_seed,
            recipe=recipe,
            rows=rows,
            recorded=recorded,
            # Frames that no fold has seen, such as those of a new video, are looked at by the last network of each.
            weights=range(epochs, epochs + (left_out is not None and inputs.sequence is not None)),
            name=f"{name.replace('=', ' ')}, {at + 1} of {len(todo)}",
            **options,
        )
        member.run.drop_state()


def bar_style() -> dict:
    """tqdm's layout; a log file that is no terminal gets a line now and then, not hundreds."""
    import sys

    terminal = sys.stderr.isatty()
    return {"mininterval": 0.2 if terminal else 15, "dynamic_ncols": terminal, "smoothing": 0.1, "unit_scale": True}


def _start(inputs: Inputs, model: str, recipe: Recipe, seed: int, device: str) -> tuple[nn.Module, torch.optim.SGD]:
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    network = build_model(model, inputs.classes, inputs.size).to(device)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=recipe.rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )
    return network, optimizer


def _epoch(network, optimizer, recipe, inputs, rows, seed, epoch, device, bar, steps=None) -> tuple[float, float]:
    """One epoch of a training of `steps` steps (those of the recipe's epochs), cut short where it reaches them.

    Returns the mean training loss and images a second.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    torch.manual_seed(seed * 1_000_003 + epoch)  # for dropout, where a network has it
    order = rows[torch.randperm(len(rows), generator=generator).numpy()]
    each = recipe.steps(len(rows))
    first, steps = (epoch - 1) * each, steps or recipe.epochs * each
    parts = np.array_split(order, each)[: steps - first]
    network.train()
    total, seen, began = 0.0, 0, time.perf_counter()
    for step, (at, images) in enumerate(inputs.raw(parts)):
        rate = recipe.rate_at(first + step, steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        images = _shifted(images, max(round(recipe.shift * inputs.size), 1), generator)
        labels = torch.from_numpy(inputs.labels[at]).to(device)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=recipe.half):
            logits = network(inputs.normalised(images, device))
        losses = F.cross_entropy(logits.float(), labels, reduction="none")
        optimizer.zero_grad(set_to_none=True)
        losses.mean().backward()
        optimizer.step()
        total += float(losses.detach().sum())
        seen += len(at)
        if not math.isfinite(total):
            raise LossprintError(
                f"expected a finite training loss, found {total} in epoch {epoch}: training diverged; try --model small"
            )
        bar.update(len(at))
    return total / seen, seen / (time.perf_counter() - began)


def _shifted(images: torch.Tensor, most: int, generator: torch.Generator) -> torch.Tensor:
    """Each image of (B, 3, S, S) moved by up to `most` px either way, its edge pixels repeated."""
    size = images.shape[-1]
    padded = F.pad(images.float(), (most,) * 4, mode="replicate").to(torch.uint8)
    down, right = torch.randint(0, 2 * most + 1, (2, len(images)), generator=generator)
    windows = padded.unfold(2, size, 1).unfold(3, size, 1)
    return windows[torch.arange(len(images)), :, down, right]


@torch.no_grad()
def _estimate_statistics(network, inputs, rows, most, device) -> None:
    """Estimate batch norm's statistics anew on plain training images.

    On small datasets the running averages lag behind the weights and eval-mode losses jump. In train mode the network
    uses each batch's own statistics, so this changes nothing of the training.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
        norm.train()
    rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]
    for _, images, _ in inputs.batches(rows, device, STATISTICS_BATCH):
        if len(images) > 1:
            network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


@torch.inference_mode()
def record(recorder: Recorder, network: nn.Module, inputs: Inputs, rows: np.ndarray, device: str) -> float:
    """Hand the eval-mode losses of the rows to the recorder; the accuracy on the validation samples among them.

    The network's mode and the random state are as before afterwards: recording does not change training.
    """
    mode = network.training
    network.eval()
    right = of = 0
    for ids, images, labels in inputs.batches(rows, device):
        logits = network(images).float()
        recorder.update(ids, F.cross_entropy(logits, labels, reduction="none"), logits, labels)
        val = inputs.split[np.searchsorted(inputs.samples, ids)] == "val"
        right += int((logits.argmax(1) == labels).cpu().numpy()[val].sum())
        of += int(val.sum())
    network.train(mode)
    return right / max(of, 1)


@torch.inference_mode()
def embed(network: nn.Module, inputs: Inputs, device: str) -> np.ndarray:
    """What goes into the last linear layer: (N, D) float32 for all samples, in eval mode."""
    caught: list[torch.Tensor] = []
    hook = last_linear(network).register_forward_pre_hook(lambda _, args: caught.append(args[0].flatten(1)))
    network.eval()
    vectors = []
    try:
        for _, images, _ in inputs.batches(np.arange(len(inputs.samples)), device):
            network(images)
            vectors.append(caught.pop().float().cpu().numpy())
    finally:
        hook.remove()
    return np.concatenate(vectors)


def _state(network: nn.Module, optimizer: torch.optim.SGD) -> dict[str, torch.Tensor]:
    """Weights, statistics and momentum, by name."""
    state = {f"model.{name}": tensor.cpu() for name, tensor in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        state[f"momentum.{name}"] = optimizer.state[parameter]["momentum_buffer"].cpu()
    return state


def _restore(run, network: nn.Module, optimizer: torch.optim.SGD) -> int:
    """Load the state of a run that was cut off; the number of epochs that are done."""
    saved = run.read_state()
    if saved is None:
        return 0
    done, state = saved
    load_weights(network, {n.removeprefix("model."): t for n, t in state.items() if n.startswith("model.")})
    for name, parameter in network.named_parameters():
        # empty_like keeps the parameter's memory layout, on which the bits of a later sum can depend.
        buffer = torch.empty_like(parameter, requires_grad=False).copy_(state[f"momentum.{name}"])
        optimizer.state[parameter]["momentum_buffer"] = buffer
    return done


def load_weights(network: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Load a checkpoint's tensors; LossprintError where they are not this network's."""
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise LossprintError(f"expected a checkpoint of this network, found: {str(error).splitlines()[0]}") from None
