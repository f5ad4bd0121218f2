"""What a DATASET's name stands for: which reader lists it, and how one image or text of it is read alone.

Kinds are told apart by the name and, for a file, its columns. Modules that need an extra are imported by their kind.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lossprint.audit.sources import Source, locate, read_file_inside, read_folder, read_manifest

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
        from lossprint.audit.torchvision_sets import read_torchvision

        return read_torchvision(name)
    if name.startswith("hf:"):
        from lossprint.audit.huggingface_sets import read_huggingface

        return read_huggingface(name)
    if _tars(name):
        from lossprint.audit.tars import read_tars

        return read_tars(name)
    if "://" in name:
        from lossprint.audit.remote_images import read_remote

        return read_remote(name)
    path = locate(name)
    if path.is_dir():
        return read_folder(path)
    if path.suffix.lower() == ".json":
        from lossprint.audit.coco import read_coco

        return read_coco(path)
    if _texts(path):
        from lossprint.audit.texts import read_texts

        return read_texts(path)
    return read_manifest(path)


def open_reader(name: str | Path) -> Reader:
    """How to read one sample of a DATASET, without listing it where that can be done without."""
    name = str(name)
    if name.startswith(("torchvision:", "hf:")) or _tars(name) or "://" in name:
        source = read_source(name)
        return Reader(source.name, source.read, source.text)
    place = locate(name)
    if not place.is_dir() and _texts(place):
        source = read_source(name)
        return Reader(source.name, None, source.text)
    root = place if place.is_dir() else place.parent
    return Reader(str(place), lambda path: read_file_inside(root, path))


def _tars(name: str) -> bool:
    """Whether this names WebDataset shards: a tar file, a pattern such as shards-{000..009}.tar, a folder of tars."""
    if name.lower().endswith(TARS):
        return True
    if "://" in name or not os.path.isdir(name):
        return False
    files = [file for file in os.listdir(name) if not file.startswith(".")]
    return any(file.lower().endswith(TARS) for file in files) and not any(
        os.path.isdir(os.path.join(name, file)) for file in files
    )


def _texts(path: Path) -> bool:
    """Whether a file lists texts: JSON Lines, or a table with a column of texts and none of paths."""
    if path.suffix.lower() == ".jsonl":
        return True
    from lossprint.audit.texts import lists_texts

    return lists_texts(path)
