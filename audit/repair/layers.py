"""The layers of a network that can be projected, what went into them, and their weights at a strength."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lossprint.audit.types import LossprintError
from lossprint.scoring.repair.sap import factored, projected

KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d)
MOST = 50_000  # rows of inputs a layer, as the authors have it


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer with the directions (g, d, d) and shares (g, d) of its inputs, and its weight (g, o, d) as it was; g are
    the groups of a convolution, 1 for others."""

    module: nn.Module
    weight: np.ndarray
    directions: np.ndarray
    share: np.ndarray

    def at(self, strength: float | None) -> torch.Tensor:
        """The weight of the module after the projection; None: as it was."""
        value = self.weight if strength is None else projected(self.weight, self.directions, self.share, strength)
        own = self.module.weight
        return torch.from_numpy(np.ascontiguousarray(value)).reshape(own.shape).to(own)


def measured(network: nn.Module, batches: Iterator, images: int, seed: int = 0) -> list[Layer]:
    """The layers that the batches (ids, images, labels) of so many images reach, each weight once.

    A layer whose weight is made anew for each call, such as by weight_norm, is left out. LossprintError for inputs that
    are not finite.
    """
    random, grams, modules = torch.Generator().manual_seed(seed), {}, {}
    each = max(MOST // max(images, 1), 1)

    def look(module: nn.Module, arguments: tuple) -> None:
        rows = inputs_of(module, arguments[0].detach(), each, random)
        gram = (rows.transpose(1, 2) @ rows).double().cpu()
        key = id(module.weight)
        grams[key], modules[key] = grams.get(key, 0) + gram, module

    some = [one for one in network.modules() if isinstance(one, KINDS) and "weight" in one._parameters]
    hooks = [one.register_forward_pre_hook(look) for one in some]
    network.eval()
    try:
        with torch.inference_mode():
            for _, pictures, _ in batches:
                network(pictures)
    finally:
        for hook in hooks:
            hook.remove()
    layers = []
    for key, gram in grams.items():
        module = modules[key]
        try:
            directions, share = factored(gram.numpy())
        except (ValueError, np.linalg.LinAlgError) as error:
            raise LossprintError(f"expected finite inputs of each layer of the model, found: {error}") from None
        weight = module.weight.detach().double().cpu().numpy().reshape(len(gram), -1, gram.shape[-1])
        layers.append(Layer(module, weight, directions, share))
    return layers


def inputs_of(module: nn.Module, images: torch.Tensor, each: int, random: torch.Generator) -> torch.Tensor:
    """What the weights of a layer are multiplied with, (groups, rows, d); of an image at most `each` drawn places."""
    if isinstance(module, nn.Linear):
        width = images.shape[-1]
        rows = images.reshape(len(images) if images.ndim > 1 else 1, -1, width)
        return _drawn(rows, each, random).reshape(1, -1, width)
    flat = isinstance(module, nn.Conv1d)
    images = images if images.ndim == (3 if flat else 4) else images[None]
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    images = F.pad(images, module._reversed_padding_repeated_twice, mode)
    images, one = (images[:, :, None], (1,)) if flat else (images, ())
    kernel, stride, apart = (one + sizes for sizes in (module.kernel_size, module.stride, module.dilation))
    patches = F.unfold(images, kernel, apart, 0, stride).transpose(1, 2)  # (images, places, channels x kernel)
    rows = _drawn(patches, each, random)
    return rows.reshape(-1, module.groups, rows.shape[-1] // module.groups).transpose(0, 1)


def _drawn(rows: torch.Tensor, each: int, random: torch.Generator) -> torch.Tensor:
    """Of rows (images, places, d) at most `each` places of an image, (rows, d)."""
    if rows.shape[1] > each:
        rows = rows[:, torch.randperm(rows.shape[1], generator=random)[:each].to(rows.device)]
    return rows.reshape(-1, rows.shape[-1])


@contextmanager
def at(layers: list[Layer], strength: float | None) -> Iterator[None]:
    """The network of these layers projected with a strength, all from the original at once; afterwards as it was."""
    put(layers, strength)
    try:
        yield
    finally:
        put(layers, None)


@torch.no_grad()
def put(layers: list[Layer], strength: float | None) -> None:
    """Set the weights of the layers."""
    for layer in layers:
        layer.module.weight.copy_(layer.at(strength))
