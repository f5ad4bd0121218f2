"""A network of the user's own: MODULE:FUNCTION is imported and called, and what it gives is tried out on images.

The user's code runs, as it would in the user's own program. The current directory is looked through first, as
`python -m` does. Whatever goes wrong in it is told in one line, with the place where it did.
"""

import difflib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lossprint.audit.training.models import build_model, check_model, last_linear
from lossprint.audit.types import LossprintError, one_line

CLASS_COUNTS = ("num_classes", "n_classes", "classes", "num_labels")  # parameters that take the number of classes


@dataclass(frozen=True)
class Network:
    """A module and, if the user gave one, what turns an upright RGB image of Pillow into its input (...) float."""

    module: nn.Module
    transform: Callable | None = None


class Logits(nn.Module):
    """A network whose answer holds the logits, such as those of Hugging Face, as one that gives them."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return _logits(self.module(images))


def _logits(answer):
    if isinstance(answer, dict):
        return answer.get("logits", answer)
    if isinstance(answer, tuple | list) and len(answer):
        return answer[0]
    return getattr(answer, "logits", answer)


def is_own(name: str) -> bool:
    """Whether --model names a function of the user's, not a built-in network."""
    return ":" in name


def find_builder(name: str, option: str = "--model") -> Callable[[int, int], Network]:
    """What builds the network `name`, called with the numbers of classes and of pixels a side.

    `name` is MODULE:FUNCTION, `small` or a classifier of torchvision, the last two as `audit` builds them. The function
    is called with the number of classes if it takes it, and returns a module or a pair (module, transform). Raises
    LossprintError where there is no such function, naming the `option`; so does the builder for what goes wrong in it.
    """
    if not is_own(name):
        check_model(name)
        return lambda classes, size: Network(build_model(name, classes, size))
    function = _find(name, option)
    return lambda classes, _: _build(function, name, classes)


def _find(name: str, option: str) -> Callable:
    module, _, attribute = name.partition(":")
    parts = module.split(".")
    script = module.endswith(".py")
    if script or not attribute or not all(part.isidentifier() for part in [*parts, *attribute.split(".")]):
        hint = f", as import names it: {Path(module).stem}:{attribute}" if script else ""
        raise LossprintError(f"expected {option} MODULE:FUNCTION{hint}, found {name!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in [".".join(parts[:end]) for end in range(1, len(parts) + 1)]:
            raise _failed(f"a module {module} that can be imported", error) from None
        raise LossprintError(
            f"expected a module {module} in {os.getcwd()} or among the installed packages, found none"
        ) from None
    except (Exception, SystemExit) as error:
        raise _failed(f"a module {module} that can be imported", error) from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, dir(found), 3)
            hint = f": did you mean {' or '.join(near)}?" if near else ""
            raise LossprintError(f"expected a function {attribute} in {module}, found none{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise LossprintError(f"expected a function at {name}, found {type(found).__name__}")
    return found


def _build(function: Callable, name: str, classes: int) -> Network:
    arguments, named = _arguments(function, classes)
    try:
        made = function(*arguments, **named)
    except (Exception, SystemExit) as error:
        raise _failed(f"a network from {name}", error) from None
    module, transform = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module):
        raise LossprintError(
            f"expected a torch.nn.Module, or a pair (module, transform), from {name}, found {type(module).__name__}"
        )
    if transform is not None and not callable(transform):
        raise LossprintError(f"expected a transform that can be called from {name}, found {type(transform).__name__}")
    return Network(module.float(), transform)


def _arguments(function: Callable, classes: int) -> tuple[list[int], dict[str, int]]:
    """How the function is told the number of classes: by a parameter's name, as its only argument, or not at all."""
    try:
        taken = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # one that is not written in Python
        return [], {}
    known = next((one.name for one in taken if one.name in CLASS_COUNTS and one.kind != one.POSITIONAL_ONLY), None)
    if known is not None:
        return [], {known: classes}
    plain = [one for one in taken if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    if plain and (len(plain) == 1 or plain[0].default is plain[0].empty):
        return [classes], {}
    if any(one.kind == one.VAR_KEYWORD for one in taken):  # torchvision's and timm's
        return [], {CLASS_COUNTS[0]: classes}
    return [], {}


def _failed(expected: str, error: BaseException) -> LossprintError:
    """What went wrong in the user's code, and the last line of it that was reached."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith("<") and frame.filename != __file__]
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return LossprintError(f"expected {expected}, found {type(error).__name__}: {one_line(error)}{place}")


# ------------------------------------------------------------------------------------------------ tried out


@torch.inference_mode()
def giving_logits(network: nn.Module, images: torch.Tensor, classes: int, name: str) -> nn.Module:
    """The network, in eval mode, as one that gives logits (B, classes) for images (B, ...); LossprintError if not."""
    network.eval()
    try:
        answer = network(images)
    except Exception as error:
        hint = ": other inputs come from a pair (module, transform)" if is_own(name) else ""
        raise _failed(
            f"a network that takes images of shape {tuple(images.shape[1:])}{hint} from {name}", error
        ) from None
    if not isinstance(answer, torch.Tensor):
        network, answer = Logits(network), _logits(answer)
    expected = (len(images), classes)
    if not isinstance(answer, torch.Tensor) or tuple(answer.shape) != expected:
        found = f"shape {tuple(answer.shape)}" if isinstance(answer, torch.Tensor) else type(answer).__name__
        raise LossprintError(
            f"expected logits of shape {expected} (images, classes of the dataset) from {name}, found {found}"
        )
    return network


@torch.inference_mode()
def embeds(network: nn.Module, images: torch.Tensor) -> bool:
    """Whether the last linear layer of the network is called once and gives the logits, so that its input embeds."""
    try:
        layer = last_linear(network)
    except LossprintError:
        return False
    given: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda _, inputs, output: given.append(output))
    try:
        logits = network(images)
    finally:
        hook.remove()
    return len(given) == 1 and given[0].shape == logits.shape and torch.equal(given[0], logits)
