"""Input-loss curvature, Hessian trace and input-gradient norm of samples, at one checkpoint of a model.

Definitions (l: cross-entropy of the given label; g = grad_x l; n draws of r with entries +-1; v = h r):

    curvature      mean over draws of |g(x + v) - g(x)| / h     arXiv 2307.05831 (there without the 1/h); high: suspect
    trace          mean over draws of r . (g(x + v) - g(x)) / h          Hutchinson's estimate of the Hessian's trace
    gradient_norm  |g(x)|                                    EasyCore, arXiv 2510.11018; low: easy, high: suspect
    membership     mean over draws of |l(x+u+v) - l(x+u-v) - l(x-u+v) + l(x-u-v)| / (4 h)    arXiv "Curvature Clues"

Norms and products run over all input elements, in the units of the normalised input. The sum of the batch's losses is
differentiated, not the mean, so that a score does not depend on the batch size; g(x) is computed once, not once a draw.
Each sample's draws follow from (seed, sample id) alone. A sample whose input or loss is not finite gets NaN, the others
of its batch their own scores. Of `scoring`, only this module and `heads.linear` import torch.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

Batches = Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
Transform = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class CurvatureScores:
    """One row a sample, in the order of the batches: samples (N,) int64; the others (N,) float64, see the module."""

    samples: np.ndarray
    curvature: np.ndarray
    trace: np.ndarray
    gradient_norm: np.ndarray


def measure(
    model: torch.nn.Module,
    batches: Batches,
    *,
    draws: int = 10,
    h: float = 1e-3,
    seed: int = 0,
    chunk: int = 1,
    transform: Transform | None = None,
    device: str | torch.device | None = None,
    progress: Callable[[int], None] | None = None,
) -> CurvatureScores:
    """Curvature, trace and gradient norm of every sample, with `draws` + 1 backward passes a batch.

    batches yields (sample ids (B,) int64, inputs (B, ...) float32 as the model takes them, class indices (B,)). With
    `transform`, inputs are raw, of any type, and transform(inputs) on the device is what the model takes: it runs once
    a batch, outside the derivative, and must treat each sample alone and alike every time (no augmentation). `h` is the
    step of each element of the model's input, in normalised units; under half precision a step of 1e-3 drowns, so the
    pass is in float32 without TF32 or autocast. `chunk` draws share a pass: faster on a GPU that a batch does not fill,
    for as many times the memory; on a CPU one is best. For the mean over checkpoints pass another `seed` at each, so
    that their errors average out. `device` defaults to the model's own. The model's mode, its parameters'
    requires_grad and the global random state are left as they were. `progress` is called with the number of samples
    done since its last call. ValueError where a batch is not of these shapes and types.
    """
    _positive(draws=draws, h=h, chunk=chunk)
    columns: list[tuple[np.ndarray, ...]] = []
    with _measuring(model, device) as place:
        for ids, inputs, labels in _checked(batches, place, transform):
            size = len(ids)
            base = _input_gradient(model, inputs, labels)
            curvature, trace = torch.zeros(2, size, dtype=torch.float64, device=inputs.device)
            for first in range(0, draws, chunk):
                part = range(first, min(first + chunk, draws))
                signs = _joint([rademacher(ids, draw, inputs, seed) for draw in part])
                moved = torch.add(_joint([inputs] * len(part)), signs, alpha=h)
                change = _input_gradient(model, moved, _joint([labels] * len(part))) - _joint([base] * len(part))
                curvature += _norm(change).double().view(len(part), size).sum(dim=0)
                trace += _total(change.mul_(signs)).double().view(len(part), size).sum(dim=0)
            scores = (curvature / (draws * h), trace / (draws * h), _norm(base))
            columns.append((ids, *(score.cpu().numpy() for score in scores)))
            if progress is not None:
                progress(size)
    return CurvatureScores(*_joined(columns, 4))


def membership(
    model: torch.nn.Module,
    batches: Batches,
    *,
    draws: int = 10,
    h: float = 1e-3,
    seed: int = 0,
    transform: Transform | None = None,
    device: str | torch.device | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The zeroth-order curvature of "Curvature Clues": (sample ids (N,) int64, scores (N,) float64). No gradients.

    Higher tends to mean not a member of the training set. Arguments as in `measure`; four forward passes a draw. The
    second difference of float32 losses is close to their rounding: average many draws, or give a float64 model.
    """
    _positive(draws=draws, h=h)
    columns: list[tuple[np.ndarray, ...]] = []
    with _measuring(model, device) as place, torch.no_grad():
        for ids, inputs, labels in _checked(batches, place, transform):
            score = torch.zeros(len(ids), dtype=torch.float64, device=inputs.device)
            for draw in range(draws):
                u, v = (h * rademacher(ids, 2 * draw + second, inputs, seed) for second in (0, 1))
                ahead = _losses(model, inputs + u + v, labels) - _losses(model, inputs + u - v, labels)
                behind = _losses(model, inputs - u + v, labels) - _losses(model, inputs - u - v, labels)
                score += (ahead - behind).abs()
            columns.append((ids, (score / (draws * 4 * h)).cpu().numpy()))
            if progress is not None:
                progress(len(ids))
    return _joined(columns, 2)


def rademacher(ids: np.ndarray, draw: int, like: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Independent signs +-1 in the shape, type and place of `like` (B, ...): bits that depend on (seed, id, draw) only.

    A counter-based generator: 64 signs come from one SplitMix64 output (Steele, Lea & Flood, OOPSLA 2014) at a counter
    that starts from a hash of seed, id and draw. No state is kept and none is disturbed.
    """
    elements = like[0].numel()
    words = np.arange(1, -(-elements // 64) + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        start = _mixed(_mixed(_mixed(np.array([seed & _MASK], np.uint64)) ^ ids.astype(np.uint64)) + np.uint64(draw))
        packed = _mixed(start[:, None] + words * _GOLDEN).astype("<u8").view(np.uint8)
    # Only the bits travel to the device; a table turns each byte into its eight signs in one step.
    signs = functional.embedding(torch.from_numpy(packed).to(like.device).int(), _SIGNS.to(like))
    signs = signs.flatten(1)[:, :elements].reshape(like.shape)
    return torch.empty_like(like).copy_(signs)  # in the memory order of `like`, which mixed sums and networks want


_SIGNS = torch.tensor([[2.0 * (byte >> bit & 1) - 1 for bit in range(8)] for byte in range(256)])
_MASK = (1 << 64) - 1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mixed(z: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser on uint64 counters."""
    z = z + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _input_gradient(model: torch.nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Gradient of each sample's own loss with respect to its input: that of the sum, since samples do not mix."""
    inputs = inputs.detach().requires_grad_(True)
    loss = functional.cross_entropy(_logits(model, inputs, labels), labels, reduction="sum")
    return torch.autograd.grad(loss, inputs)[0]


def _losses(model: torch.nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(_logits(model, inputs, labels).double(), labels, reduction="none")


def _logits(model: torch.nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logits = model(inputs)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(labels):
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"the model must give logits of shape ({len(labels)}, classes), got {found}")
    if labels.max() >= logits.shape[1]:
        raise ValueError(f"labels must be below the model's {logits.shape[1]} classes, got {int(labels.max())}")
    return logits


def _joint(batches: list[torch.Tensor]) -> torch.Tensor:
    """One batch of several, in their memory order; a single one as it is, not copied."""
    return batches[0] if len(batches) == 1 else torch.cat(batches)


def _norm(rows: torch.Tensor) -> torch.Tensor:
    """Euclidean length (B,) of each of (B, ...), over the dimensions as they lie: flattening would copy."""
    return torch.linalg.vector_norm(rows, dim=tuple(range(1, rows.ndim)))


def _total(rows: torch.Tensor) -> torch.Tensor:
    return rows.sum(dim=tuple(range(1, rows.ndim)))


@contextmanager
def _measuring(model: torch.nn.Module, device) -> Iterator[tuple[torch.device, torch.dtype]]:
    """Eval mode, no weight gradients, full precision, on `device`; everything as before afterwards.

    Gives the place and type of the inputs. Runs under no_grad or inference_mode of the caller, too.
    """
    parameters = list(model.parameters())
    home = parameters[0].device if parameters else torch.device("cpu")
    place = home if device is None else torch.device(device)
    kinds = {tensor.dtype for tensor in parameters if tensor.is_floating_point()} or {torch.float32}
    if len(kinds) > 1 or not kinds <= {torch.float32, torch.float64}:
        raise ValueError(f"curvature needs float32 weights (a step of 1e-3 drowns in fewer bits), got {kinds}")
    modes = [(module, module.training) for module in model.modules()]
    asked = [(parameter, parameter.requires_grad) for parameter in parameters]
    cudnn, matmul = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        model.eval()
        for parameter in parameters:
            parameter.requires_grad_(False)
        if place.type == "cuda":
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        if place != home:
            model.to(place)
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(place.type, enabled=False):
            yield place, kinds.pop()
    finally:
        if place != home:
            model.to(home)
        if place.type == "cuda":
            torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = cudnn, matmul
        for parameter, wanted in asked:
            parameter.requires_grad_(wanted)
        for module, training in modes:
            module.training = training


def _checked(batches: Batches, place: tuple[torch.device, torch.dtype], transform: Transform | None):
    """(ids as numpy, inputs, labels) of each batch, on the device; ValueError where their shapes or types are wrong."""
    for ids, inputs, labels in batches:
        ids = np.asarray(ids.cpu() if isinstance(ids, torch.Tensor) else ids, dtype=np.int64)
        inputs, labels = torch.as_tensor(inputs), torch.as_tensor(labels)
        if transform is not None:
            with torch.no_grad():
                inputs = transform(inputs.to(place[0]))
        if inputs.ndim < 2 or ids.shape != (len(inputs),) or labels.shape != (len(inputs),):
            raise ValueError(
                f"a batch's ids {ids.shape}, inputs {tuple(inputs.shape)} and labels {tuple(labels.shape)} must be "
                "(B,), (B, ...) and (B,)"
            )
        if not inputs.is_floating_point():
            raise ValueError(f"inputs must be normalised floats, as the model takes them, got {inputs.dtype}")
        # cross_entropy takes -100 for "ignore": its gradient of 0 would look like the flattest of samples.
        if len(ids) and labels.min() < 0:
            raise ValueError(f"labels must be class indices of 0 or more, got {int(labels.min())}")
        if len(ids):
            # A tensor made under inference_mode can never require a gradient; its clone can.
            inputs = inputs.clone() if inputs.is_inference() else inputs.detach()
            yield ids, inputs.to(*place), labels.to(place[0], torch.int64)


def _joined(columns: list[tuple[np.ndarray, ...]], count: int) -> tuple[np.ndarray, ...]:
    if not columns:
        return (np.empty(0, np.int64), *(np.empty(0) for _ in range(count - 1)))
    return tuple(np.concatenate(parts) for parts in zip(*columns))


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
