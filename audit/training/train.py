"""The built-in training loop: trains a proxy network and records every sample after each epoch.

All randomness of an epoch comes from (seed, epoch), so that a run killed at any moment goes on from its last whole
epoch and ends in the same bytes. Deterministic on the CPU for a given number of threads.

Several processes (torch.distributed) train on the batches of one: each takes its part of every batch, the gradients are
those of the mean over the whole batch, and the weights stay the same in all. Batch norm in training uses the
statistics of each process's part on a CPU and of the whole batch on GPUs; what is recorded uses statistics that are
estimated anew and alike in all. Each records its share of the batches, which are those of a single process.
"""

import copy
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.sgd import sgd

from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.system import processes
from lossprint.audit.system.processes import ALONE, World
from lossprint.audit.system.progress import Bar, bar_style
from lossprint.audit.training.folds import fold_of
from lossprint.audit.training.inputs import Inputs, counted, drawn_shifts
from lossprint.audit.training.inputs import channel_statistics as channel_statistics
from lossprint.audit.training.models import build_model, last_linear
from lossprint.audit.training.recipe import Recipe
from lossprint.audit.types import LossprintError, one_line

STATISTICS_BATCH = 256
PRECISIONS = ("float32", "bfloat16")
CHECK_EVERY = 32  # steps between two looks at the loss on a GPU, each of which waits for it


def pick_device(asked: str) -> str:
    """auto, cpu or cuda -> the device to use."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise LossprintError("expected a CUDA GPU for --device cuda, found none: use --device cpu or auto")
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return asked


def pick_precision(asked: str | None, device: str) -> str:
    """auto (or None), float32 or bfloat16 -> what forward passes are computed in: bfloat16 on a GPU that has it."""
    if asked in PRECISIONS:
        return asked
    if asked not in (None, "auto"):
        raise LossprintError(f"expected a precision among auto, {', '.join(PRECISIONS)}, found {asked!r}")
    # is_bf16_supported also says yes where bfloat16 is emulated, which is slow.
    fast = torch.device(device).type == "cuda" and torch.cuda.get_device_capability() >= (8, 0)
    return "bfloat16" if fast else "float32"


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
    precision: str = "float32",
    compiled: bool = False,
) -> nn.Module:
    """Train `model` for `epochs` from where the run stands, record after each; the trained network.

    Trains on the rows `rows` and records the rows `recorded`: by default on train, and train and val. Leaves a
    safetensors file for each of the checkpoints `weights`, by default all. `name` stands beside the bar. `precision` is
    that of the forward passes of training and recording; losses are computed in float32 from the logits. `compiled`
    uses torch.compile, or warns that it cannot. Raises LossprintError where training diverges.
    """
    run, rows, world = recorder.run, inputs.rows("train") if rows is None else rows, processes.world()
    half, inputs = precision == "bfloat16", inputs.on(device)
    recipe = replace(recipe or Recipe(), epochs=epochs).for_size(len(rows))
    recipe = replace(recipe, half=recipe.half or half)
    network, optimizer = _start(inputs, model, recipe, seed, device)
    done = _restore(run, network, optimizer)
    with world.agreed(f"{name} from epoch {done}"):
        pass  # all have read the run before its rests are removed
    with world.agreed(name):
        if world.rank == 0:
            run.drop_parts_after(done)
    world.spread([*network.state_dict().values(), *optimizer.momenta.values()])
    if world.size > 1 and torch.device(device).type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    if compiled:
        _compile(network, inputs, device, recipe.half)
    record_rows = np.concatenate([inputs.rows("val"), rows]) if recorded is None else recorded
    total = epochs * len(rows)
    with Bar(total=total, initial=done * len(rows), unit="img", desc=name, disable=quiet, **bar_style()) as bar:
        for epoch in range(done + 1, epochs + 1):
            loss, speed = _epoch(network, optimizer, recipe, inputs, rows, seed, epoch, device, bar, world=world)
            _estimate_statistics(network, inputs, rows, recipe.statistics, device, half)
            world.spread(list(network.buffers()))
            accuracy = record(recorder, network, inputs, record_rows, device, half, world)
            bar.set_postfix_str(
                f"epoch {epoch}/{epochs}, loss {loss:.3f}, val accuracy {accuracy:.3f}, {speed:,.0f} img/s",
                refresh=True,
            )
            recorder.end_checkpoint(epoch)
            if world.rank > 0:
                continue
            if weights is None or epoch in weights:
                run.write_checkpoint(epoch, {name: t.cpu() for name, t in network.state_dict().items()})
            run.write_state(epoch, _state(network, optimizer))
    return network


def fit(
    inputs: Inputs,
    rows: np.ndarray,
    *,
    model: str,
    recipe: Recipe,
    steps: int,
    seed: int,
    device: str,
    bar: Bar,
    precision: str = "float32",
    each: Callable[[int, nn.Module], None] | None = None,
) -> nn.Module:
    """A network trained on `rows` for exactly `steps` steps of the optimizer; nothing is recorded.

    With the steps of `train`, its precision, and its recipe made for the size, it is the network that `train` returns.
    `bar` counts steps. `each` is given every epoch, from 1, and the network after it, in eval mode. Raises
    LossprintError where training diverges.
    """
    half, inputs = precision == "bfloat16", inputs.on(device)
    recipe = replace(recipe, half=recipe.half or half)
    network, optimizer = _start(inputs, model, recipe, seed, device)
    for epoch in range(1, -(-steps // recipe.steps(len(rows))) + 1):
        _epoch(network, optimizer, recipe, inputs, rows, seed, epoch, device, _Steps(bar), steps)
        if each is not None:
            _estimate_statistics(network, inputs, rows, recipe.statistics, device, half)
            each(epoch, network)
    _estimate_statistics(network, inputs, rows, recipe.statistics, device, half)
    return network


@dataclass(frozen=True)
class Optimizer:
    """SGD with Nesterov momentum; `momenta` by the parameters' names, none before the first step.

    The function of torch.optim and not its class, which at its first step imports torch's compiler: over a second and
    150 MB of every process that trains.
    """

    network: nn.Module
    recipe: Recipe
    momenta: dict[str, torch.Tensor]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move every parameter that has a gradient."""
        named = {name: parameter for name, parameter in self.network.named_parameters() if parameter.grad is not None}
        momenta = [self.momenta.get(name) for name in named]
        sgd(
            list(named.values()),
            [parameter.grad for parameter in named.values()],
            momenta,
            lr=rate,
            momentum=self.recipe.momentum,
            weight_decay=self.recipe.weight_decay,
            dampening=0,
            nesterov=True,
            maximize=False,
        )
        self.momenta.update(zip(named, momenta))


@dataclass(frozen=True)
class _Steps:
    bar: Bar

    def update(self, _: int) -> None:
        self.bar.update()


@torch.inference_mode()
def predict(
    network: nn.Module, inputs: Inputs, rows: np.ndarray, device: str, precision: str = "float32"
) -> np.ndarray:
    """The class index (R,) of the largest logit for each of the rows, in eval mode."""
    network.eval()
    with _precision(device, precision == "bfloat16"):
        found = [network(images).argmax(1).cpu().numpy() for _, images, _ in inputs.batches(rows, device)]
    return np.concatenate(found)


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
        if processes.world().rank == 0:
            member.run.drop_state()


def _start(inputs: Inputs, model: str, recipe: Recipe, seed: int, device: str) -> tuple[nn.Module, Optimizer]:
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    network = build_model(model, inputs.classes, inputs.size).to(device)
    return network, Optimizer(network, recipe, {})


def _compile(network: nn.Module, inputs: Inputs, device: str, half: bool) -> None:
    """Compile the network in place, so that its weights keep their names; a warning where that does not work.

    A copy is tried first: compilers fail only at the first batch, and then in many ways.
    """
    tried = copy.deepcopy(network).train()
    images = inputs.normalised(torch.zeros((2, 3, inputs.size, inputs.size), dtype=torch.uint8, device=device), device)
    try:
        with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
            tried.compile()
            with _precision(device, half):
                tried(images).sum().backward()
    except Exception as error:  # of the compiler, of what it calls, of what it cannot find
        warnings.warn(f"the network is not compiled: {one_line(error)}", stacklevel=3)
    else:
        network.compile()


def _precision(device: str, half: bool) -> AbstractContextManager:
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=half)


def _epoch(
    network, optimizer, recipe, inputs, rows, seed, epoch, device, bar, steps=None, world=ALONE
) -> tuple[float, float]:
    """One epoch of a training of `steps` steps (those of the recipe's epochs), cut short where it reaches them.

    Returns the mean training loss and images a second.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    torch.manual_seed(seed * 1_000_003 + epoch + (world.rank << 40))  # for dropout, where a network has it
    order = rows[torch.randperm(len(rows), generator=generator).numpy()]
    each = recipe.steps(len(rows))
    first, steps = (epoch - 1) * each, steps or recipe.epochs * each
    parts = np.array_split(order, each)[: steps - first]
    most = max(round(recipe.shift * inputs.size), 1)
    shifts = [drawn_shifts(len(part), most, generator) for part in parts]
    shares = [world.slice_of(len(part)) for part in parts]  # of each batch what this process trains on
    mine = [part[share] for part, share in zip(parts, shares)]
    shifts = torch.cat([shift[:, share] for shift, share in zip(shifts, shares)], 1)
    labels = torch.from_numpy(inputs.labels[np.concatenate(mine)]).to(device).split([len(part) for part in mine])
    normalised, synced = inputs.normaliser(device), any(isinstance(m, nn.SyncBatchNorm) for m in network.modules())
    network.train()
    total, seen, began = torch.zeros((), dtype=torch.float64, device=device), 0, time.perf_counter()
    for step, (_, images) in enumerate(inputs.raw(mine, device, shifts)):
        rate, count = recipe.rate_at(first + step, steps), len(parts[step])
        network.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=device)
        if len(images) or synced:
            with _precision(device, recipe.half):
                logits = network(normalised(images))
            losses = F.cross_entropy(logits.float(), labels[step], reduction="none")
            (losses.mean() if world.size == 1 else losses.sum() / count).backward()
            loss = losses.detach().sum()
        if world.size > 1:
            _share_gradients(network, loss, world)
        optimizer.step(rate)
        total += loss
        seen += count
        if (step % CHECK_EVERY == 0 or step == len(parts) - 1 or total.device.type == "cpu") and not total.isfinite():
            raise LossprintError(
                f"expected a finite training loss, found {total} in epoch {epoch}: training diverged; try --model small"
            )
        bar.update(count)
    return float(total) / seen, seen / (time.perf_counter() - began)


def _share_gradients(network: nn.Module, loss: torch.Tensor, world: World) -> None:
    """Replace the gradients and the loss by their sums over all processes; one without images has zeros to give."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    world.add([*(parameter.grad for parameter in parameters), loss])


@torch.no_grad()
def _estimate_statistics(network, inputs, rows, most, device, half=False) -> None:
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
            with _precision(device, half):
                network.forward(images)  # not what is compiled: a plain average needs numbers that a graph cannot hold
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


@torch.inference_mode()
def record(
    recorder: Recorder,
    network: nn.Module,
    inputs: Inputs,
    rows: np.ndarray,
    device: str,
    half: bool = False,
    world: World = ALONE,
    bar: Bar | None = None,
) -> float:
    """Hand the eval-mode losses of the rows to the recorder; the accuracy on the validation samples among them.

    The network's mode and the random state are as before afterwards: recording does not change training. Each process
    hands over its share of the batches; the accuracy is that of all. `bar` counts images.
    """
    mode, right, of = network.training, torch.zeros((), dtype=torch.int64, device=device), 0
    network.eval()
    batches = inputs.batches(rows, device, world=world)
    for ids, images, labels in batches if bar is None else counted(batches, bar):
        with _precision(device, half):
            logits = network(images)
        logits = logits.float()
        recorder.update(ids, F.cross_entropy(logits, labels, reduction="none"), logits, labels)
        val = torch.from_numpy(inputs.split[np.searchsorted(inputs.samples, ids)] == "val")
        right += ((logits.argmax(1) == labels) & val.to(device, non_blocking=True)).sum()
        of += int(val.sum())
    network.train(mode)
    right, of = world.total(int(right), of)
    return right / max(of, 1)


@torch.inference_mode()
def embed(network: nn.Module, inputs: Inputs, device: str, bar: Bar | None = None) -> np.ndarray:
    """What goes into the last linear layer: (N, D) float32 for all samples, in eval mode. `bar` counts images."""
    caught: list[torch.Tensor] = []
    hook = last_linear(network).register_forward_pre_hook(lambda _, args: caught.append(args[0].flatten(1)))
    network.eval()
    vectors = []
    try:
        batches = inputs.batches(np.arange(len(inputs.samples)), device)
        for _, images, _ in batches if bar is None else counted(batches, bar):
            network(images)
            vectors.append(caught.pop().float().cpu().numpy())
    finally:
        hook.remove()
    return np.concatenate(vectors)


def _state(network: nn.Module, optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """Weights, statistics and momentum, by name."""
    state = {f"model.{name}": tensor.cpu() for name, tensor in network.state_dict().items()}
    return state | {f"momentum.{name}": tensor.cpu() for name, tensor in optimizer.momenta.items()}


def _restore(run, network: nn.Module, optimizer: Optimizer) -> int:
    """Load the state of a run that was cut off; the number of epochs that are done."""
    saved = run.read_state()
    if saved is None:
        return 0
    done, state = saved
    load_weights(network, {n.removeprefix("model."): t for n, t in state.items() if n.startswith("model.")})
    for name, parameter in network.named_parameters():
        # empty_like keeps the parameter's memory layout, on which the bits of a later sum can depend.
        buffer = torch.empty_like(parameter, requires_grad=False).copy_(state[f"momentum.{name}"])
        optimizer.momenta[name] = buffer
    return done


def load_weights(network: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Load a checkpoint's tensors; LossprintError where they are not this network's."""
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise LossprintError(f"expected a checkpoint of this network, found: {str(error).splitlines()[0]}") from None
