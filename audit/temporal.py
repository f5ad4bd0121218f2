"""A model over time: each frame's label from what comes before and after it, and from its place in the video.

A dilated temporal convolution over whole sequences (as in MS-TCN, one stage), small enough for a CPU. A model of single
frames cannot see that two phases that look alike have exchanged their labels; this one can. Rows are frames, those of a
sequence together and in the order of time, `bounds` (S + 1,) as in `scoring.sequences`.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

SIDE = 10  # px of the thumbnails that features are made of
WIDTH, LAYERS = 48, 7  # seven doublings of the dilation reach 127 frames either way
RATE, DECAY, DROP, DROP_INPUT = 2e-3, 1e-2, 0.3, 0.2


@dataclass(frozen=True)
class HeldOut:
    """losses (E, N) float32 in nats after each epoch, of the given labels; probabilities (N, C) float32, the mean over
    the second half of the epochs. Both come from the network that was trained without the frame's sequence."""

    losses: np.ndarray
    probabilities: np.ndarray


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


def frame_features(thumbs: np.ndarray, bounds: np.ndarray, most: int = 24) -> np.ndarray:
    """Label-free features (N, D) float32 of thumbnails (N, S, S, 3) uint8: principal components of unit deviation.

    Each sequence is first freed of its own mean picture and contrast, that is of its style.
    """
    flat = thumbs.reshape(len(thumbs), -1).astype(np.float32)
    for start, stop in itertools.pairwise(bounds):
        if stop > start:
            flat[start:stop] -= flat[start:stop].mean(0)
            flat[start:stop] /= max(float(flat[start:stop].std()), 1e-6)
    flat -= flat.mean(0)
    _, axes = np.linalg.eigh(flat.T @ flat)
    parts = flat @ axes[:, ::-1][:, :most]
    return parts / np.maximum(parts.std(0), 1e-6)


def held_out(
    features: np.ndarray,
    labels: np.ndarray,
    bounds: np.ndarray,
    fold: np.ndarray,
    classes: int,
    *,
    epochs: int = 30,
    seed: int = 0,
) -> HeldOut:
    """Train one network a fold on the sequences of the other folds, and take the losses of those left out.

    features (N, D) float32, labels (N,) class indices, fold (S,) of each sequence. Deterministic on the CPU for a given
    number of threads. Raises ValueError where a fold leaves nothing to train on, or a sequence has no frame.
    """
    spans = list(itertools.pairwise(np.asarray(bounds, np.int64).tolist()))
    if any(stop <= start for start, stop in spans):
        raise ValueError("expected a frame in every sequence, found an empty one")
    if len(np.unique(fold)) < 2:
        raise ValueError(f"expected sequences in at least 2 folds, found {len(np.unique(fold))}")
    inputs, targets = [], []
    for start, stop in spans:
        whole = np.concatenate([features[start:stop].T, _place(stop - start)])
        inputs.append(torch.from_numpy(whole.astype(np.float32))[None])
        targets.append(torch.from_numpy(labels[start:stop].astype(np.int64))[None])
    losses = np.full((epochs, len(labels)), np.nan, np.float32)
    probabilities = np.zeros((len(labels), classes), np.float32)
    late = range(epochs // 2, epochs)
    for left_out in np.unique(fold):
        torch.manual_seed(seed * 1_000_003 + int(left_out))
        random = np.random.default_rng((seed, int(left_out)))
        mine, rest = np.flatnonzero(fold != left_out), np.flatnonzero(fold == left_out)
        network = TemporalNetwork(inputs[0].shape[1], classes)
        optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * len(mine))
        for epoch in range(epochs):
            network.train()
            for at in random.permutation(mine):
                # Whole features are dropped at times, so that no single one, such as the place, decides alone.
                loss = F.cross_entropy(network(F.dropout1d(inputs[at], DROP_INPUT)), targets[at])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
            network.eval()
            with torch.inference_mode():
                for at in rest:
                    rows, logits = slice(*spans[at]), network(inputs[at])
                    losses[epoch, rows] = F.cross_entropy(logits, targets[at], reduction="none")[0].numpy()
                    if epoch in late:
                        probabilities[rows] += F.softmax(logits, 1)[0].T.numpy() / len(late)
    return HeldOut(losses, probabilities)


def _place(count: int) -> np.ndarray:
    """The place in time (4, T): the share of the video that has passed, and smooth functions of it."""
    at = np.linspace(0, 1, count)
    return np.stack([at, at**2, np.sin(np.pi * at), np.cos(np.pi * at)])
