"""Networks as users have them, whole and broken: test_from_checkpoints.py copies this file and imports the copy."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from lossprint.audit.training.models import Small

MEAN, STD = 0.0, 1.0  # of the images, set in the copy
NUMBER = 3


def network(classes):
    return Small(classes)


def no_argument():
    return Small(3)


def optional(width=1, num_classes=10):
    return Small(num_classes)


def keywords(*, weights=None, **more):
    return Small(more["num_classes"])


class HuggingFace(Small):
    """Its answer holds the logits."""

    def forward(self, x):
        return SimpleNamespace(loss=None, logits=super().forward(x))


def pixels(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


def pair(classes):
    return Small(classes), lambda image: (pixels(image) - MEAN) / STD


inner = SimpleNamespace(network=network)


class Tailed(nn.Module):
    def __init__(self):
        super().__init__()
        self.small, self.tail = Small(3), nn.Linear(3, 3, bias=False)

    def forward(self, x):
        return torch.log_softmax(self.tail(self.small(x)), 1)


def tailed():
    return Tailed()


def failing():
    return 1 / 0


def leaving():
    raise SystemExit(3)


def text():
    return "resnet18"


def no_transform():
    return Small(3), 28


def grey(classes):
    return nn.Sequential(nn.Conv2d(1, classes, 28), nn.Flatten())


def four(classes):
    return nn.Sequential(nn.Conv2d(3, classes + 1, 28), nn.Flatten())


def maps(classes):
    return nn.Conv2d(3, classes, 28)


class Named(nn.Conv2d):
    def forward(self, x):
        return "bag"


def named(classes):
    return Named(3, classes, 28)


def chance():
    return Small(3), lambda image: pixels(image) + torch.rand(1)


def ragged():
    shapes = iter([28, 28] + [30] * 1000)
    return Small(3), lambda image: torch.zeros(3, next(shapes), 28)


def numpy():
    return Small(3), lambda image: np.zeros((3, 28, 28))


def broken():
    return Small(3), lambda image: {}["size"]


class WithoutGradient(Small):
    def forward(self, x):
        with torch.no_grad():
            return super().forward(x)


def without_gradient():
    return WithoutGradient(3)
