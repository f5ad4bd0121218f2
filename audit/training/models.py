"""The networks that an audit trains: `small`, made for 28 to 64 px on a CPU, and torchvision's classifiers by name."""

import difflib

import torch
from torch import nn
from torch.nn import functional as F

from lossprint.audit.training.names import FROZEN
from lossprint.audit.types import LossprintError

SMALL_IMAGE = 64  # at this side or less, a torchvision network gets the usual small-image stem


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al., 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class Small(nn.Module):
    """0.3 M parameters. Its stem halves the image: full-size feature maps are where a CPU's time goes."""

    def __init__(self, classes: int, widths: tuple[int, ...] = (32, 64, 128)):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
        pairs = zip((widths[0], *widths), widths, strict=False)
        self.body = nn.Sequential(*(Block(i, o, 1 if n == 0 else 2) for n, (i, o) in enumerate(pairs)))
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.stem(x)).mean((2, 3)))


def model_names() -> list[str]:
    """`small` and every classifier of torchvision."""
    import torchvision

    return ["small", *torchvision.models.list_models(module=torchvision.models)]


def check_model(name: str) -> None:
    """LossprintError, with the nearest names, for a network that there is not, or that is not trained."""
    if name.startswith(FROZEN):
        raise LossprintError(
            f"expected a model to train from scratch, found the frozen {name}: take small or one of torchvision"
        )
    if name == "small":  # without torchvision, whose import takes seconds
        return
    names = model_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, 3) or ["small", "resnet18", "mobilenet_v3_small"]
        raise LossprintError(
            f"expected a model that exists, found {name!r}: did you mean {' or '.join(near)}? "
            f"there are 'small' and torchvision's {len(names) - 1} classifiers"
        )


def proxy_size(name: str, side: int) -> int:
    """Side in pixels of the square input for images whose typical longer side is `side` pixels."""
    if name == "small":
        return min(max(-(-side // 4) * 4, 28), SMALL_IMAGE)
    if name.startswith(("vit_", "swin", "maxvit")):
        return 224  # their window and patch counts are made for it
    return max(side, 32) if side <= SMALL_IMAGE else min(side, 224)


def build_model(name: str, classes: int, size: int) -> nn.Module:
    """A freshly initialised network for `classes` classes and inputs (B, 3, size, size); seed torch before."""
    check_model(name)
    if name == "small":
        return Small(classes).to(memory_format=torch.channels_last)
    import torchvision

    extra = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model = torchvision.models.get_model(name, weights=None, num_classes=classes, **extra)
    if size <= SMALL_IMAGE:
        _small_image_stem(model)
    try:
        with torch.no_grad():
            shape = model.eval()(torch.zeros(1, 3, size, size)).shape
    except (RuntimeError, ValueError, AssertionError) as error:
        line = str(error).splitlines()[0]
        raise LossprintError(
            f"expected a model that takes images of {size} px, found that {name} does not ({line}): "
            f"try small or resnet18"
        ) from None
    if tuple(shape) != (1, classes):
        raise LossprintError(f"expected logits of shape (1, {classes}) from {name}, found {tuple(shape)}")
    last_linear(model)  # the embedding comes from it: better found out now than after training
    return model.to(memory_format=torch.channels_last)


def _small_image_stem(model: nn.Module) -> None:
    """First convolution at stride 1 and 3x3, no max-pooling behind it: the usual change for CIFAR-sized images."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d):
                if max(child.stride) > 1:
                    kernel = 3 if max(child.kernel_size) > 3 else child.kernel_size
                    stem = nn.Conv2d(child.in_channels, child.out_channels, kernel, 1, 1, bias=child.bias is not None)
                    setattr(parent, name, stem)
                if hasattr(model, "maxpool") and isinstance(model.maxpool, nn.MaxPool2d):
                    model.maxpool = nn.Identity()
                return


def last_linear(model: nn.Module) -> nn.Linear:
    """The layer whose input is the embedding."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise LossprintError("expected a model that ends in a linear layer, found none in it: choose another --model")
    return linear[-1]
