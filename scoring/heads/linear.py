"""A linear softmax head trained by gradient descent on frozen features, with every epoch's logits of all samples.

N samples, d features, C classes. Features (N, d) are an array, a memory map or a tensor, of any float type, wherever
they lie: nothing leaves their device. They are standardised by dimension and scaled to length 1, a batch at a time, by
means and deviations that know no labels, so that one learning rate serves every backbone: the loss's second derivative
is at most 1/2 then, and descent with momentum .9 is stable below a rate of 7. About 40 batches an epoch, whatever N (32
to 1,024 samples each), so that 30 epochs regularise alike everywhere; the rate falls to 0 along a cosine.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

DECAYS = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
MOMENTUM, STEPS = 0.9, 40
ROWS = 4096
CONSTANT = 1e-6  # a deviation below this share of the dimension's root mean square is rounding
HELD = 1 << 30  # bytes of prepared features that are held in memory


@dataclass(frozen=True)
class Preparation:
    """What turns a raw feature into what the head sees: (f - mean) * scale, then length 1. Both (d,) float32.

    `ready`: the features are prepared already, see `ready`, and nothing is done to them.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    ready: bool = False

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.float() if self.ready else functional.normalize((rows.float() - self.mean) * self.scale, dim=1)


@dataclass(frozen=True)
class Linear:
    """A head after an epoch, of prepared features: weight (C, d), bias (C,). Training that goes on leaves it alone."""

    epoch: int
    preparation: Preparation
    weight: torch.Tensor
    bias: torch.Tensor

    def logits(self, features, rows: np.ndarray | None = None) -> Iterator[tuple[slice, torch.Tensor]]:
        """Logits (B, C) of features (N, d) block by block, with the place as a slice: what a Recorder takes.

        rows (R,): of these alone, the slices being of `rows`; so no copy of all their features is made.
        """
        features, total = tensor(features), len(features) if rows is None else len(rows)
        for start in range(0, total, ROWS):
            part = slice(start, min(start + ROWS, total))
            block = features[part] if rows is None else features[torch.from_numpy(rows[part])]
            yield part, torch.addmm(self.bias, self.preparation(block.to(self.bias.device)), self.weight.T)


@dataclass(frozen=True)
class Measured:
    """Of each sample (N,), on the head's device: loss in nats, margin z_y - largest other, low: suspect, predicted."""

    loss: torch.Tensor
    margin: torch.Tensor
    predicted: torch.Tensor


def tensor(features) -> torch.Tensor:
    """Features as a tensor that shares their memory; ValueError for another shape than (N, d)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing is written
        features = torch.as_tensor(features)
    if features.ndim != 2 or not features.shape[1]:
        raise ValueError(f"features must be (N, d) with d of 1 and more, got shape {tuple(features.shape)}")
    return features


def prepare(features) -> Preparation:
    """Means and deviations of features (N, d), in float64; a constant dimension gets scale 0. Knows no labels."""
    features = tensor(features)
    if not len(features):
        raise ValueError("features must have a row, got none")
    shift = features[0].double()
    total, squares = torch.zeros_like(shift), torch.zeros_like(shift)
    for start in range(0, len(features), ROWS):
        block = features[start : start + ROWS].double()
        finite = torch.isfinite(block).all(dim=1)
        if not bool(finite.all()):
            raise ValueError(f"features must be finite, row {start + int(finite.int().argmin())} is not")
        total += (block - shift).sum(dim=0)
        squares += (block - shift).square().sum(dim=0)
    mean = total / len(features)
    deviation = (squares / len(features) - mean.square()).clamp(min=0).sqrt()
    mean += shift
    varies = deviation > CONSTANT * (deviation.square() + mean.square()).sqrt()
    scale = torch.where(varies, 1 / torch.where(varies, deviation, torch.ones_like(deviation)), 0.0)
    return Preparation(mean.float(), scale.float())


def ready(features, preparation: Preparation, device="cpu") -> tuple[torch.Tensor, Preparation]:
    """Features (N, d) prepared once, float32 on the device, and what is still to be done: nothing.

    Where they would take more than `HELD` bytes both are returned as they are, and each batch is prepared anew.
    """
    features, device = tensor(features), torch.device(device)
    if 4 * features.numel() > HELD:
        return features, preparation
    here = Preparation(preparation.mean.to(device), preparation.scale.to(device), preparation.ready)
    result = torch.empty(features.shape, dtype=torch.float32, device=device)
    for start in range(0, len(features), ROWS):
        result[start : start + ROWS] = here(features[start : start + ROWS].to(device))
    return result, Preparation(here.mean, here.scale, ready=True)


def train(
    features, labels, classes: int, *, decay: float, epochs: int = 30, seed: int = 0, device=None, preparation=None
) -> Iterator[Linear]:
    """The head after each of `epochs` epochs, trained on features (N, d) and labels (N,), weight decay as given.

    Hand each epoch's `logits` of the training and of the validation samples to a Recorder, and loss, CSL, AUM, CLD,
    forgetting and the data map follow as from any training. `device` defaults to the features'. The global random state
    stays as it is. Time: 3 N d C multiplications an epoch, and as much as a third for the logits of all samples.
    """
    for stack in train_stack(
        features, labels, classes, [decay], epochs=epochs, seed=seed, device=device, preparation=preparation
    ):
        yield stack[0]


def train_stack(
    features,
    labels,
    classes: int,
    decays: Sequence[float],
    *,
    fold: np.ndarray | None = None,
    epochs: int = 30,
    seed: int = 0,
    device=None,
    preparation: Preparation | None = None,
) -> Iterator[list[Linear]]:
    """As `train`, but G heads with these weight decays from the same batches, at the price of one with G C classes.

    With fold (N,), head g never sees the labels of the samples of fold g; there are as many decays as folds then.
    """
    features = tensor(features)
    device = features.device if device is None else torch.device(device)
    labels = _checked_labels(labels, features, classes).to(device)
    preparation = preparation or prepare(features)
    preparation = replace(preparation, mean=preparation.mean.to(device), scale=preparation.scale.to(device))
    count, (n, d) = len(decays), features.shape
    fold = None if fold is None else torch.as_tensor(np.asarray(fold)).to(device)
    weight, bias = torch.zeros(count * classes, d, device=device), torch.zeros(count * classes, device=device)
    pull, push = torch.zeros_like(weight), torch.zeros_like(bias)
    decay = torch.tensor(decays, dtype=torch.float32, device=device).repeat_interleave(classes)[:, None]
    batch = batch_size(n)
    steps = epochs * -(-n // batch)
    random = torch.Generator(features.device).manual_seed(seed)
    step = 0
    for epoch in range(1, epochs + 1):
        order = torch.randperm(n, generator=random, device=features.device)
        for rows in order.split(batch):
            inputs = preparation(features[rows].to(device))
            slope = torch.addmm(bias, inputs, weight.T).view(len(rows), count, classes).softmax(dim=2)
            slope[torch.arange(len(rows), device=device), :, labels[rows.to(device)]] -= 1
            if fold is not None:
                slope[torch.arange(len(rows), device=device), fold[rows.to(device)]] = 0
            slope = slope.view(len(rows), -1) / len(rows)
            pull.mul_(MOMENTUM).addmm_(slope.T, inputs).addcmul_(decay, weight)
            push.mul_(MOMENTUM).add_(slope.sum(dim=0))
            rate = first_rate(classes) * (1 + np.cos(np.pi * step / steps)) / 2
            weight.sub_(pull, alpha=rate)
            bias.sub_(push, alpha=rate)
            step += 1
        weights, biases = weight.clone().view(count, classes, d), bias.clone().view(count, classes)
        yield [Linear(epoch, preparation, weights[g], biases[g]) for g in range(count)]


def first_rate(classes: int) -> float:
    """sqrt(C / 10), 1 at least, since each class is met the more rarely; 6 at most, where descent is always stable."""
    return min(max(1.0, (classes / 10) ** 0.5), 6.0)


def batch_size(samples: int) -> int:
    """About STEPS batches an epoch, of 32 to 1,024 samples."""
    return min(max(samples // STEPS, 32), 1024)


def chosen_decay(
    features,
    labels,
    classes: int,
    fold,
    *,
    epochs: int = 30,
    rows: int = 5000,
    seed: int = 0,
    device=None,
    preparation: Preparation | None = None,
) -> float:
    """The one of DECAYS whose head, trained without fold 0, has the least loss of fold 0's given labels.

    fold (N,) is that of `folds.deal`, so that copies do not tell the labels. Given labels alone decide. A head that
    learns wrong labels by heart pays for it on labels that it has not seen, wrong ones among them or not, since those
    are not wrong in the same places. At most `rows` samples take part. Without samples in or out of fold 0: 3e-4.
    """
    labels, fold = np.asarray(labels), np.asarray(fold)
    some = np.sort(np.random.default_rng(seed).permutation(len(labels))[:rows])
    held, kept = some[fold[some] == 0], some[fold[some] != 0]
    if not len(held) or not len(kept):
        return 3e-4
    features = tensor(features)
    inside, outside = features[torch.from_numpy(kept)], features[torch.from_numpy(held)]
    options = {"epochs": epochs, "seed": seed, "device": device, "preparation": preparation}
    for stack in train_stack(inside, labels[kept], classes, DECAYS, **options):
        heads = stack
    losses = [float(measure(head, outside, labels[held]).loss.mean()) for head in heads]
    return DECAYS[int(np.argmin(losses))]


def measure(head: Linear, features, labels) -> Measured:
    """Loss, margin and predicted class of features (N, d) with labels (N,). With one class alone the margin is NaN."""
    features = tensor(features)
    labels = _checked_labels(labels, features, len(head.bias)).to(head.bias.device)
    loss, margin = torch.empty(2, len(features), device=head.bias.device)
    predicted = torch.empty(len(features), dtype=torch.int64, device=head.bias.device)
    for part, logits in head.logits(features):
        own = logits.gather(1, labels[part, None])
        loss[part] = functional.cross_entropy(logits, labels[part], reduction="none")
        predicted[part] = logits.argmax(dim=1)
        others = logits.scatter(1, labels[part, None], -torch.inf).amax(dim=1)
        margin[part] = torch.where(torch.isfinite(others), own[:, 0] - others, torch.nan)
    return Measured(loss, margin, predicted)


def curvature(head: Linear, features) -> torch.Tensor:
    """Trace of the loss's Hessian in the prepared features, (N,), trace W' (diag p - p p') W; high is suspect.

    In closed form, sum_c p_c |W_c|^2 - |sum_c p_c W_c|^2: the head's own; `scoring.input_curvature` is the image's. It
    knows no given label: it is high where the head wavers.
    """
    gram = head.weight @ head.weight.T
    result = torch.empty(len(features), device=gram.device)
    for part, logits in head.logits(features):
        p = logits.softmax(dim=1)
        result[part] = (p @ gram.diagonal() - ((p @ gram) * p).sum(dim=1)).clamp(min=0)
    return result


def _checked_labels(labels, features: torch.Tensor, classes: int) -> torch.Tensor:
    labels = torch.as_tensor(labels)
    if labels.shape != features.shape[:1]:
        raise ValueError(f"labels must be ({len(features)},), got {tuple(labels.shape)}")
    if len(labels) and (labels.is_floating_point() or int(labels.min()) < 0 or int(labels.max()) >= classes):
        raise ValueError(f"labels must be whole numbers from 0 to {classes - 1}, got {labels.min()} to {labels.max()}")
    return labels.long()
