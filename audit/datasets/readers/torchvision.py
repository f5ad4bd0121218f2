"""The classification datasets of torchvision that are already on the machine -> one table. Nothing is downloaded."""

import difflib
import hashlib
import inspect
import os
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from lossprint.audit.datasets.images import upright
from lossprint.audit.datasets.source import Source, fingerprint, tabulate
from lossprint.audit.types import SPLITS, LossprintError

_BY_FLAG = {"train": {"train": True}, "test": {"train": False}}
_TRAIN_TEST = {"train": {"split": "train"}, "test": {"split": "test"}}
_TRAIN_VAL = {"train": {"split": "train"}, "val": {"split": "val"}}
_ALL_THREE = {**_TRAIN_VAL, "test": {"split": "test"}}
_WHOLE = {"train": {}}

# Classification datasets of torchvision: our split -> the arguments that ask for it.
TORCHVISION = {
    "CIFAR10": _BY_FLAG,
    "CIFAR100": _BY_FLAG,
    "Caltech101": _WHOLE,
    "Caltech256": _WHOLE,
    "Country211": {**_TRAIN_TEST, "val": {"split": "valid"}},
    "DTD": _ALL_THREE,
    "EuroSAT": _WHOLE,
    "FGVCAircraft": _ALL_THREE,
    "FashionMNIST": _BY_FLAG,
    "Flowers102": _ALL_THREE,
    "Food101": _TRAIN_TEST,
    "GTSRB": _TRAIN_TEST,
    "ImageNet": _TRAIN_VAL,
    "Imagenette": _TRAIN_VAL,
    "KMNIST": _BY_FLAG,
    "MNIST": _BY_FLAG,
    "OxfordIIITPet": {"train": {"split": "trainval"}, "test": {"split": "test"}},
    "RenderedSST2": _ALL_THREE,
    "STL10": _TRAIN_TEST,
    "SUN397": _WHOLE,
    "SVHN": _TRAIN_TEST,
    "StanfordCars": _TRAIN_TEST,
    "USPS": _BY_FLAG,
}


def read_torchvision(name: str) -> Source:
    """`torchvision:NAME:ROOT`, never downloaded. Paths are SPLIT/NUMBER; ids count on through train, val and test."""
    title, _, folder = name.removeprefix("torchvision:").partition(":")
    if not title or not folder:
        raise LossprintError(f"expected torchvision:NAME:ROOT, such as torchvision:CIFAR10:data, found {name!r}")
    if title not in TORCHVISION:
        near = difflib.get_close_matches(title.lower(), [known.lower() for known in TORCHVISION], 1)
        guess = next((f" Did you mean {known}?" for known in TORCHVISION if near and known.lower() == near[0]), "")
        raise LossprintError(
            f"expected a classification dataset of torchvision, found {title!r}.{guess} "
            f"There are: {', '.join(sorted(TORCHVISION))}"
        )
    root = Path(os.path.abspath(os.path.expanduser(folder)))
    arguments_of = TORCHVISION[title]
    parts = {split: _construct(title, root, arguments_of[split]) for split in SPLITS if split in arguments_of}
    names = _class_names(next(iter(parts.values())))
    paths, labels, splits, contents = [], [], [], [title]
    for split, part in parts.items():
        targets = _targets(part)
        paths += [f"{split}/{number:06d}" for number in range(len(targets))]
        labels += [names[target] if names else str(target) for target in targets]
        splits += [split] * len(targets)
        contents += _contents(part)
    rows = tabulate(paths, labels, splits)
    read, size = partial(_read_part, parts), partial(_size_part, parts)
    return Source(f"torchvision:{title}:{root}", "torchvision", root, rows, fingerprint(rows, contents), read, size)


def _construct(name: str, root: Path, arguments: dict):
    import torchvision

    kind = getattr(torchvision.datasets, name)
    if "download" in inspect.signature(kind.__init__).parameters:
        arguments = {**arguments, "download": False}
    try:
        return kind(str(root), **arguments)
    except Exception as error:  # each dataset fails in its own way; all mean that its files are missing or damaged
        detail = " ".join(str(error).split()).split(" You can use download=True")[0][:200]
        raise LossprintError(
            f"expected the files of {name} as torchvision lays them out under {root} (nothing is downloaded), "
            f"found: {detail or type(error).__name__}"
        ) from None


def _targets(part) -> list[int]:
    """Class indices of a torchvision dataset, if possible without decoding its images."""
    for name in ("targets", "labels", "_labels", "y"):
        if hasattr(part, name):
            return [int(target) for target in getattr(part, name)]
    if hasattr(part, "_samples"):
        return [int(target) for _, target in part._samples]
    return [int(part[row][1]) for row in range(len(part))]


def _class_names(part) -> list[str]:
    """Names by class index, or [] where the dataset has none. Names that come twice get their index added."""
    names = getattr(part, "classes", None) or getattr(part, "categories", None) or []
    names = [name if isinstance(name, str) else ", ".join(name) for name in names]
    return [f"{name} ({at})" if names.count(name) > 1 else name for at, name in enumerate(names)]


def _contents(part) -> list:
    """What tells this copy of a torchvision dataset from another: a digest of its pixels, or else its files' sizes."""
    if hasattr(part, "data"):
        return [hashlib.sha256(np.ascontiguousarray(part.data)).hexdigest()]
    for name in ("samples", "_samples", "_image_files", "_images"):
        entries = getattr(part, name, [])
        files = [entry[0] if isinstance(entry, tuple) else entry for entry in entries]
        if files and all(isinstance(file, str | Path) for file in files):
            return [os.path.getsize(file) for file in files]
    return []


def _read_part(parts: dict, path: str) -> Image.Image:
    split, _, number = path.partition("/")
    return upright(parts[split][int(number)][0])


def _size_part(parts: dict, path: str) -> tuple[int, int]:
    return _read_part(parts, path).size
