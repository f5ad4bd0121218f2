"""What a DATASET's name stands for: which reader lists it, and how one image or text of it is read alone.

Kinds are told apart by the name and, for a file, its columns. Modules that need an extra are imported by their kind.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lossprint.audit.datasets.folders import read_folder
from lossprint.audit.datasets.source import MANIFESTS, SPLIT_NAMES, Source, locate, read_file_inside, read_manifest

TARS = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class Reader:
    """How one sample of a dataset is read by its path: an image, or a text, in a dataset of texts.

    Both raise whatever is wrong with it, and for a path that leads out of the dataset.
    """

    name: str
    image: Callable[[str], Image.Image] | None = None
    text: Callable[[str], str] | None = None


def read_source(name: str | Path) -> Source:
    """List the samples of a DATASET. Raises LossprintError where there is none."""
    name = str(name)
    if name.startswith("torchvision:"):
        from lossprint.audit.datasets.torchvision import read_torchvision

        return read_torchvision(name)
    if name.startswith("hf:"):
        from lossprint.audit.datasets.huggingface import read_huggingface

        return read_huggingface(name)
    if _tars(name):
        from lossprint.audit.datasets.webdataset import read_tars

        return read_tars(name)
    if "://" in name:
        from lossprint.audit.datasets.remote import read_remote

        return read_remote(name)
    path = locate(name)
    if path.is_dir():
        return read_folder(path)
    if path.suffix.lower() == ".json":
        from lossprint.audit.datasets.coco import read_coco

        return read_coco(path)
    if _texts(path):
        from lossprint.audit.datasets.texts import read_texts

        return read_texts(path)
    return read_manifest(path)


def absolute(name: str | Path) -> str:
    """A DATASET's name that means the same from any folder. Nothing is opened."""
    name = str(name)
    if name.startswith("hf:"):
        from lossprint.audit.datasets.huggingface import absolute as of_huggingface

        return of_huggingface(name)
    return name if name.startswith("torchvision:") or "://" in name else str(Path(name).expanduser().absolute())


def open_reader(name: str | Path) -> Reader:
    """How to read one sample of a DATASET, without listing it where that can be done without."""
    name = str(name)
    if name.startswith("hf:"):
        from lossprint.audit.datasets.huggingface import open_huggingface

        return Reader(*open_huggingface(name))
    if _tars(name):
        from lossprint.audit.datasets.webdataset import open_tars

        return Reader(*open_tars(name))
    if "://" in name:
        from lossprint.audit.datasets.remote import open_remote

        return Reader(name, open_remote(name))
    if name.startswith("torchvision:"):
        source = read_source(name)
        return Reader(source.name, source.read, source.text)
    place = locate(name)
    if not place.is_dir() and _texts(place):
        source = read_source(name)
        return Reader(source.name, None, source.text)
    root = place if place.is_dir() else place.parent
    if place.suffix.lower() == ".json":
        from lossprint.audit.datasets.coco import root_of

        root = root_of(place)
    if place.suffix.lower() in MANIFESTS:  # its paths may be URLs
        return Reader(str(place), lambda path: _read_url(path) if "://" in path else read_file_inside(root, path))
    return Reader(str(place), lambda path: read_file_inside(root, path))


def _read_url(path: str) -> Image.Image:
    from lossprint.audit.datasets.remote import read_url

    return read_url(path)


def _tars(name: str) -> bool:
    """Whether this names WebDataset shards: a tar file, a pattern such as shards-{000..009}.tar, a folder of tars."""
    if name.lower().endswith(TARS):
        return True
    folder = os.path.expanduser(name)
    if "://" in name or not os.path.isdir(folder):
        return False
    found = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    folders = [entry for entry in found if entry.is_dir()]
    if any(entry.name.lower() not in SPLIT_NAMES for entry in folders):
        return False
    if folders:  # of tars; beside those of class folders may lie the tar that they came in
        found = [entry for inner in folders for entry in os.scandir(inner) if not entry.name.startswith(".")]
    return any(entry.name.lower().endswith(TARS) for entry in found) and not any(
        entry.is_dir() for entry in found if folders
    )


def is_texts(name: str | Path) -> bool:
    """Whether a DATASET is a file of texts on this machine, told by its name and header."""
    name = str(name)
    return "://" not in name and os.path.isfile(os.path.expanduser(name)) and not _tars(name) and _texts(Path(name))


def _texts(path: Path) -> bool:
    """Whether a file lists texts: JSON Lines, or a table with a column of texts and none of paths."""
    if path.suffix.lower() == ".jsonl":
        return True
    from lossprint.audit.datasets.texts import lists_texts

    return lists_texts(path)
