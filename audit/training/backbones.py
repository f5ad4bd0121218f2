"""Frozen, pretrained networks: an image -> a vector. `--model frozen:NAME`, NAME a classifier of torchvision with its
published weights, or MODULE:FUNCTION of the user's.

Of torchvision's, the vector is what goes into the last linear layer, and size, crop, mean and deviation are those that
the weights were trained with. Published weights are read from the local cache of torch.hub; only `download` fetches
them, by torchvision's own way, which compares their digest. Nothing else is ever fetched.
"""

import difflib
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit

import numpy as np
import torch
from torch import nn

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.training.checkpoints import fitted, read_weights
from lossprint.audit.training.models import last_linear, model_names
from lossprint.audit.training.names import FROZEN
from lossprint.audit.training.networks import find_builder, is_own
from lossprint.audit.training.transformed import Made
from lossprint.audit.types import LossprintError, one_line

BATCH, GPU_BATCH = 32, 256
FEW_BATCHES, LONG = 4, 1800.0  # seconds from which it is said how long a pass takes, after so many batches
SIDE = 224  # px, of a module that brings no transform
OWN_INPUT = ("googlenet", "inception_v3")  # their published weights want channels from -1 to 1, as the network knows


@dataclass(frozen=True)
class Backbone:
    """A module in eval mode, images (B, ...) -> vectors (B, d); what makes an upright RGB image of Pillow its input.

    facts: what run.json says of both.
    """

    name: str
    module: nn.Module
    transform: Callable
    facts: dict = field(default_factory=dict)


def names() -> list[str]:
    """The classifiers of torchvision that have published weights."""
    import torchvision

    return [name for name in model_names()[1:] if len(torchvision.models.get_model_weights(name))]


def at_hand(preferred: Sequence[str] = ()) -> str | None:
    """A classifier whose published weights lie in the cache of torch.hub, preferred ones first; None for none."""
    there = {file.name for file in _cache().glob("*.pth")} if _cache().is_dir() else set()
    if not there:
        return None
    import torchvision  # two seconds, which an audit without weights need not wait

    for name in (*preferred, *names()):
        if Path(urlsplit(torchvision.models.get_model_weights(name).DEFAULT.url).path).name in there:
            return name
    return None


def _cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def check_backbone(model: str, weights: str | None = None) -> None:
    """LossprintError for a `--model frozen:...` that there is not, and for `--weights` that do not go with it."""
    name = model.removeprefix(FROZEN)
    if is_own(name):
        if weights is not None:
            raise LossprintError(f"expected no --weights with {model}, whose function loads its own, found {weights}")
        return
    if name.startswith("timm/"):
        raise LossprintError(
            f"expected a classifier of torchvision or MODULE:FUNCTION after {FROZEN}, found {name!r}: write a function "
            f"that returns timm.create_model({name.removeprefix('timm/')!r}, pretrained=True, num_classes=0)"
        )
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name, known, 3) or ["resnet50", "efficientnet_b0", "vit_b_16"]
        raise LossprintError(
            f"expected a backbone that exists, found {name!r}: did you mean "
            f"{' or '.join(FROZEN + one for one in near)}? There are torchvision's {len(known)} classifiers, and "
            f"{FROZEN}MODULE:FUNCTION, yours"
        )


def open_backbone(
    model: str, classes: int, weights: str | None = None, download: bool = False, quiet: bool = False
) -> Backbone:
    """The backbone of `--model frozen:...`. `weights`: a file of safetensors or tensors in place of published ones.

    Raises LossprintError where weights are not there, or are another network's, and for what goes wrong in a function
    of the user's, which is called with the number of classes if it takes it.
    """
    check_backbone(model, weights)
    name = model.removeprefix(FROZEN)
    if is_own(name):
        return _own(name, classes)
    return _of_torchvision(name, weights, download, quiet)


def _own(name: str, classes: int) -> Backbone:
    network = find_builder(name)(classes, SIDE)
    if network.transform is not None:
        return Backbone(name, _ready(network.module), network.transform, {"transform": _described(network.transform)})
    from torchvision.transforms._presets import ImageClassification

    preset = ImageClassification(crop_size=SIDE)
    return Backbone(name, _ready(network.module), preset, _preset_facts(preset))


def _of_torchvision(name: str, file: str | None, download: bool, quiet: bool) -> Backbone:
    import torchvision

    published = torchvision.models.get_model_weights(name).DEFAULT
    if file is not None:
        found, origin = read_weights(Path(file)), file
    else:
        found, origin = _published(name, published, download, quiet), str(published)
    options = {"transform_input": True, "init_weights": False} if name in OWN_INPUT else {}
    options |= {"aux_logits": True} if name in OWN_INPUT else {}
    module = torchvision.models.get_model(name, weights=None, **options)
    layer = _name_of(module, last_linear(module))
    classes = _classes_in(found, f"{layer}.weight")
    if classes not in (None, last_linear(module).out_features):  # fine-tuned: its last layer is left out anyway
        module = torchvision.models.get_model(name, weights=None, num_classes=classes, **options)
    module.load_state_dict(fitted(found, module, Path(origin)))
    parent, _, attribute = layer.rpartition(".")
    setattr(module.get_submodule(parent), attribute, nn.Identity())
    preset = published.transforms()
    facts = {"weights": origin, "vector": f"the input of {layer}", **_preset_facts(preset)}
    return Backbone(name, _ready(module), preset, facts)


def _published(name: str, published, download: bool, quiet: bool) -> Mapping:
    """The published weights, from the cache of torch.hub or, if told, downloaded into it."""
    folder = _cache()
    file = folder / Path(urlsplit(published.url).path).name
    if file.is_file():
        return read_weights(file)
    size = f"{published.meta['_file_size']:.0f} MB" if "_file_size" in published.meta else "some MB"
    if not download:
        raise LossprintError(
            f"expected the published weights of {name} at {file}, found none: add --download ({size} from "
            f"{published.url}), put the file there, or name one with --weights FILE"
        )
    print(f"lossprint: downloading {size} from {published.url} to {folder}", file=sys.stderr, flush=True)
    try:
        return published.get_state_dict(progress=not quiet, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise LossprintError(
            f"expected the weights of {name} from {published.url}, found: {one_line(error)}; offline, put the file at "
            f"{file} or name one with --weights FILE"
        ) from None


def _ready(module: nn.Module) -> nn.Module:
    return module.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _name_of(module: nn.Module, layer: nn.Module) -> str:
    return next(name for name, one in module.named_modules() if one is layer)


def _classes_in(found: Mapping, key: str, depth: int = 3) -> int | None:
    """How many rows the tensor has whose name ends in `key`, in whichever mapping of a file it lies."""
    for name, value in found.items():
        if isinstance(value, torch.Tensor) and f".{name}".endswith(f".{key}") and value.ndim == 2:
            return len(value)
        if isinstance(value, Mapping) and depth and (count := _classes_in(value, key, depth - 1)):
            return count
    return None


def _described(transform: Callable) -> str:
    """A transform of the user's in words that are the same in every process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(transform))[:500]


def _preset_facts(preset) -> dict:
    transform = {
        "resize": preset.resize_size[0],
        "crop": preset.crop_size[0],
        "interpolation": preset.interpolation.value,
        "antialias": preset.antialias,
    }
    return {"transform": transform, "size": preset.crop_size[0], "mean": list(preset.mean), "std": list(preset.std)}


# ------------------------------------------------------------------------------------------------ looked at images


def _say_hours(speed: float, bar) -> None:
    """Say once how long a pass takes that takes long, at so many images a second."""
    left = (bar.total - bar.n) / max(speed, 1e-9)
    if left > LONG and not bar.disable and bar.n < 2 * FEW_BATCHES * GPU_BATCH:
        print(
            f"lossprint: features of {bar.total - bar.n:,} images take about {left / 3600:.1f} hours at {speed:,.1f} "
            "a second; they are kept as they come, so that --resume goes on where it was",
            file=sys.stderr,
        )


def made_for(backbone: Backbone, dataset: datasets.Dataset) -> Made:
    """The dataset's images, read at full size, as the backbone takes them; LossprintError where it gives no vectors."""
    made = Made(dataset, backbone.transform, backbone.name)
    try:
        with torch.inference_mode():
            answer = backbone.module(made.one(0)[None])
    except Exception as error:
        raise LossprintError(
            f"expected a backbone that takes images of shape {made.shape} from {backbone.name}, found "
            f"{type(error).__name__}: {one_line(error)}"
        ) from None
    if not isinstance(answer, torch.Tensor):
        raise LossprintError(f"expected vectors (images, d) from {backbone.name}, found {type(answer).__name__}")
    if answer.ndim != 2 or len(answer) != 1 or not answer.shape[1]:
        maps = "maps " if answer.ndim == 4 else ""
        hint = ": take their mean, .mean((2, 3))" if answer.ndim == 4 else ""
        hint = ": take one token or their mean" if answer.ndim == 3 else hint
        raise LossprintError(
            f"expected vectors (1, d) for one image from {backbone.name}, found {maps}of shape {tuple(answer.shape)}"
            f"{hint}"
        )
    return made


@torch.inference_mode()
def features(
    backbone: Backbone, made: Made, device: str, half: bool, bar, rows: np.ndarray | None = None
) -> np.ndarray:
    """The vectors (N, d) float32 of all images, or of those at `rows`, in order; `half`: computed in bfloat16.

    `bar` counts images. Where they take long, a line says how long once the first batches are done.
    """
    module, rows = backbone.module.to(device), np.arange(len(made.paths)) if rows is None else rows
    size = GPU_BATCH if torch.device(device).type == "cuda" else BATCH
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    vectors: np.ndarray | None = None
    began, done = time.perf_counter(), 0
    for at, images in made.batches(parts):
        if images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=half):
            block = module(images.to(device)).float().cpu().numpy()
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            raise LossprintError(
                f"expected finite vectors from {backbone.name}, found NaN or infinity for "
                f"{made.paths[at[int(np.argmin(finite))]]!r}"
            )
        if vectors is None:
            vectors = np.empty((len(rows), block.shape[1]), np.float32)
            began = time.perf_counter()  # the first batch warms up
        elif done == FEW_BATCHES * size:
            _say_hours((done - size) / (time.perf_counter() - began), bar)
        vectors[done : done + len(at)] = block
        done += len(at)
        bar.update(len(at))
    return vectors
