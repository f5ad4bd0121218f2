"""`--model auto`, the default: both views where weights of a backbone are at hand, `small` alone where none are.

At hand: in the cache of torch.hub, in a file named by `--weights` or `--features`, or to be fetched by `--download` or
after a yes at the terminal. Of many photos that are larger than the small network sees, and of frames of videos, the
backbone's view alone.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.training import backbones
from lossprint.audit.training.loading import FROZEN_DEFAULTS
from lossprint.audit.training.models import SMALL_IMAGE
from lossprint.audit.training.names import FEATURES, FROZEN, SMALL, parts
from lossprint.audit.types import LossprintError

QUICK = 10_000  # training samples up to which a training at 64 px takes no longer than a look at photos
FETCHED = "efficientnet_b0"  # what a yes downloads: the least work an image of those of its accuracy
# As torchvision's own record has it, whose import takes seconds that every audit without weights would wait for.
PUBLISHED = f"{FETCHED}, 20 MB from https://download.pytorch.org/models/efficientnet_b0_rwightman-7f5810bc.pth"
PREFERRED = (FETCHED, "resnet50", "convnext_tiny", "efficientnet_v2_s", "resnet18", "mobilenet_v3_large")
Consent = Callable[[str], bool]


def proposed(asked: dict, download: bool, consent: Consent | None, several: bool = False) -> str:
    """`small`, or `small+frozen:NAME` with a backbone whose weights are at hand.

    consent: asked with a question whether weights may be downloaded, None where nobody can be asked. Of several
    processes, which only train, it is `small` unless weights are named. Raises LossprintError for a file of weights
    whose name does not say of which classifier they are.
    """
    if asked.get("features") is not None:
        return f"{SMALL}+{FEATURES}"
    if (file := asked.get("weights")) is not None:
        return f"{SMALL}+{FROZEN}{_named_in(Path(file))}"
    if several and not download:
        return SMALL
    if name := backbones.at_hand(PREFERRED):
        return f"{SMALL}+{FROZEN}{name}"
    if download or (consent and consent(f"No pretrained weights are at hand. Download {PUBLISHED}?")):
        return f"{SMALL}+{FROZEN}{FETCHED}"
    return SMALL


def hint(backbone: str | None, dataset: datasets.Dataset) -> None:
    """Say on standard error how wrong labels would be ranked better, where no weights were at hand."""
    if backbone is None and dataset.samples["sequence"].isna().all():
        print(
            f"lossprint: no pretrained weights at hand: trains small alone; with --download ({PUBLISHED}) or "
            f"--model small+{FROZEN}NAME wrong labels of photos are ranked better",
            file=sys.stderr,
        )


def settled(asked: dict, by_user: dict, dataset: datasets.Dataset) -> dict:
    """What is asked, once the samples are known: of many large photos, and of videos, the backbone's view alone.

    by_user: the options as they were given, None where they were not. What only a training has, such as further seeds,
    keeps the training: of videos alone, since a run of theirs has one view.
    """
    trained, backbone = parts(asked["model"])
    if backbone is None:
        return asked
    wanted = (by_user["seeds"] or 1) > 1 or by_user["folds"] or by_user["curvature_checkpoints"] or by_user["compiled"]
    defaults = {name: value for name, value in FROZEN_DEFAULTS.items() if by_user[name] is None}
    if dataset.samples["sequence"].notna().any():
        return {**asked, "model": trained} if wanted else {**asked, "model": backbone, **defaults}
    sides = datasets.image_sizes(dataset, at_most=1000)
    large = len(sides) and np.median(sides.max(axis=1)) > SMALL_IMAGE
    if wanted or not large or (dataset.samples["split"] == "train").sum() <= QUICK:
        return asked
    return {**asked, "model": backbone, **defaults}


def _named_in(file: Path) -> str:
    """The classifier whose name a file's begins with, as torchvision's do: resnet50-11ad3fa6.pth."""
    name = file.name.partition("-")[0].partition(".")[0]
    if name not in backbones.names():
        raise LossprintError(
            f"expected --weights beside --model {FROZEN}NAME, found it beside small, and no classifier's name at the "
            f"beginning of {file.name!r}"
        )
    return name
