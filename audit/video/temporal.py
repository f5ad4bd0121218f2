"""A model over time: each frame's label from what comes before and after it, and from its place in the video.

A dilated temporal convolution over whole sequences (as in MS-TCN, one stage), small enough for a CPU. A model of single
frames cannot see that two phases that look alike have exchanged their labels; this one can. Rows are frames, those of a
sequence together and in the order of time, `bounds` (S + 1,) as in `scoring.sequences`.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

EPOCHS = 30
SIDE = 10  # px of the thumbnails that features are made of
WIDTH, LAYERS = 48, 7  # seven doublings of the dilation reach 127 frames either way
RATE, DECAY, DROP, DROP_INPUT = 2e-3, 1e-2, 0.3, 0.2
PLACES = 4  # inputs that tell the place in time
FLOOR = -6.0  # nats under which a log-probability of the model of single frames says nothing more


class TemporalNetwork(nn.Module):
    """(B, D, T) features of whole sequences -> logits (B, C, T)."""

    def __init__(self, inputs: int, classes: int):
        super().__init__()
        self.first = nn.Conv1d(inputs, WIDTH, 1)
        self.blocks = nn.Sequential(*(_Block(2**layer) for layer in range(LAYERS)))
        self.last = nn.Conv1d(WIDTH, classes, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.last(self.blocks(self.first(features)))


class _Block(nn.Module):
    def __init__(self, dilation: int):
        super().__init__()
        self.conv = nn.Conv1d(WIDTH, WIDTH, 3, padding=dilation, dilation=dilation)
        self.norm, self.out, self.drop = nn.GroupNorm(4, WIDTH), nn.Conv1d(WIDTH, WIDTH, 1), nn.Dropout(DROP)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.drop(self.out(F.relu(self.norm(self.conv(x)))))


@dataclass(frozen=True)
class Axes:
    """The principal components that thumbnails become features by: mean (3 S S,), axes (3 S S, D), scale (D,)."""

    mean: np.ndarray
    axes: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class Seen:
    """What networks say of frames. losses (E, N) float32 in nats after each epoch, of the given labels; probabilities
    (N, C) float32, the mean over the second half of the epochs. Of several networks, the mean."""

    losses: np.ndarray
    probabilities: np.ndarray


def axes_of(flat: np.ndarray, most: int = 24) -> Axes:
    """The `most` first principal components of `styleless` thumbnails, to unit deviation."""
    mean = flat.mean(0)
    _, axes = np.linalg.eigh((flat - mean).T @ (flat - mean))
    axes = np.ascontiguousarray(axes[:, ::-1][:, :most])
    return Axes(mean, axes, np.maximum(((flat - mean) @ axes).std(0), 1e-6))


def frame_features(flat: np.ndarray, axes: Axes, looks: np.ndarray | None = None) -> np.ndarray:
    """Features (N, D) float32 of `styleless` thumbnails and, where a model of single frames has looked at them, of its
    log-probabilities (N, C)."""
    parts = (flat - axes.mean) @ axes.axes / axes.scale
    if looks is None:
        return parts.astype(np.float32)
    looks = np.maximum(looks, FLOOR)
    return np.concatenate([parts, (looks - looks.mean(1, keepdims=True)) / 2], 1).astype(np.float32)


def fit(
    features: np.ndarray,
    labels: np.ndarray,
    bounds: np.ndarray,
    classes: int,
    *,
    epochs: int = EPOCHS,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, torch.Tensor]:
    """Train a network on whole sequences: its weights after every epoch, stacked (E, ...) by name.

    features (N, D) float32, labels (N,) class indices. Deterministic on the CPU for a given number of threads. Raises
    ValueError where there is no sequence, or one has no frame. `progress` is called after each epoch.
    """
    inputs, targets = _tensors(features, labels, bounds)
    if not inputs:
        raise ValueError("expected sequences to train on, found none")
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = TemporalNetwork(inputs[0].shape[1], classes)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * len(inputs))
    weights = []
    network.train()
    for _ in range(epochs):
        for at in random.permutation(len(inputs)):
            # Whole features are dropped at times, so that no single one, such as the place, decides alone.
            loss = F.cross_entropy(network(F.dropout1d(inputs[at], DROP_INPUT)), targets[at])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        weights.append({name: tensor.detach().clone() for name, tensor in network.state_dict().items()})
        progress()
    return {name: torch.stack([each[name] for each in weights]) for name in weights[0]}


def look(weights: dict[str, torch.Tensor], features: np.ndarray, labels: np.ndarray, bounds: np.ndarray) -> Seen:
    """What the network of `fit` says of other sequences after each epoch, in eval mode. Raises ValueError as `fit`."""
    epochs, classes = weights["last.bias"].shape
    losses = np.empty((epochs, len(labels)), np.float32)
    probabilities = np.zeros((len(labels), classes), np.float32)
    for epoch, log in enumerate(looks(weights, features, bounds)):
        losses[epoch] = -log[np.arange(len(labels)), labels]
        if epoch >= epochs // 2:
            probabilities += np.exp(log) / (epochs - epochs // 2)
    return Seen(losses, probabilities)


@torch.inference_mode()
def looks(weights: dict[str, torch.Tensor], features: np.ndarray, bounds: np.ndarray) -> Iterator[np.ndarray]:
    """Log-probabilities (N, C) float32 of frames by the network of `fit`, in eval mode, after each epoch in turn."""
    inputs, _ = _tensors(features, np.zeros(len(features), np.int64), bounds)
    epochs, classes = weights["last.bias"].shape
    network = TemporalNetwork(features.shape[1] + PLACES, classes).eval()
    for epoch in range(epochs):
        network.load_state_dict({name: tensor[epoch] for name, tensor in weights.items()})
        yield np.concatenate([F.log_softmax(network(one), 1)[0].T.numpy() for one in inputs])


def _tensors(features, labels, bounds) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    inputs, targets = [], []
    for start, stop in itertools.pairwise(np.asarray(bounds, np.int64).tolist()):
        if stop <= start:
            raise ValueError("expected a frame in every sequence, found an empty one")
        whole = np.concatenate([features[start:stop].T, _place(stop - start)])
        inputs.append(torch.from_numpy(whole.astype(np.float32))[None])
        targets.append(torch.from_numpy(labels[start:stop].astype(np.int64))[None])
    return inputs, targets


def _place(count: int) -> np.ndarray:
    """The place in time (4, T): the share of the video that has passed, and smooth functions of it."""
    at = np.linspace(0, 1, count)
    return np.stack([at, at**2, np.sin(np.pi * at), np.cos(np.pi * at)])
