"""The kinds of datasets, in one table: what a DATASET's name stands for, and which reader lists it.

Whoever asks which kind a dataset is asks here: `kind_of` of a name, the tables below of what run.json calls it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lossprint.audit.datasets.choices import USUAL, Choices
from lossprint.audit.datasets.media import IMAGES, TEXTS, Media
from lossprint.audit.datasets.readers import (
    coco,
    embedded,
    huggingface,
    manifests,
    remote,
    rows,
    texts,
    torchvision,
    webdataset,
)
from lossprint.audit.datasets.readers.folders import read_folder
from lossprint.audit.datasets.readers.shards import names_shards
from lossprint.audit.datasets.source import Reader, Source, locate, read_file_inside
from lossprint.audit.types import LossprintError


@dataclass(frozen=True)
class Kind:
    """A kind of dataset. A dataset is of the first one in `KINDS` that `matches` its name, or the file that it names.

    name: what run.json calls it. read(DATASET) lists its samples; open(DATASET) tells how one of them is read alone,
    without listing the others where that can be done; both raise LossprintError where there is none. absolute(DATASET)
    is the same dataset from any folder, where the name is no path. media: what the samples are, as far as the name
    tells. words: what a message calls it, where it has no manifest of images. files: paths are files under its root,
    and `read` and `open` take the `choices` as well. packed: images are no files of their own.
    chosen: `read` and `open` take the `choices` though the images are no files.
    """

    name: str
    matches: Callable[[str], bool]
    read: Callable[[str], Source]
    open: Callable[[str], Reader | Source]
    absolute: Callable[[str], str] | None = None
    media: Media = IMAGES
    words: str = ""
    files: bool = False
    packed: bool = False
    chosen: bool = False


def _is_remote_table(name: str) -> bool:
    return "://" in name and manifests.is_table(name)


def _is_folder(name: str) -> bool:
    return os.path.isdir(os.path.expanduser(name))


def _is_json(name: str) -> bool:
    return name.lower().endswith(".json")


def _files_below(root_of: Callable[[Path], Path]) -> Callable[[str], Reader]:
    """The reader of files below the folder that belongs to a place on this machine."""

    def opened(name: str, choices: Choices = USUAL) -> Reader:
        place = locate(name)
        root = choices.root_beside(place) or root_of(place)
        return Reader(str(place), partial(read_file_inside, root, follow=choices.follow_links))

    return opened


KINDS = (
    Kind(
        "torchvision",
        lambda name: name.startswith("torchvision:"),
        torchvision.read_torchvision,
        torchvision.read_torchvision,
        absolute=str,
        words="a torchvision dataset",
        packed=True,
    ),
    Kind(
        "huggingface",
        lambda name: name.startswith("hf:"),
        huggingface.read_huggingface,
        huggingface.open_huggingface,
        absolute=huggingface.absolute,
        words="a Hugging Face dataset",
        packed=True,
    ),
    Kind(
        "webdataset", names_shards, webdataset.read_tars, webdataset.open_tars, words="WebDataset shards", packed=True
    ),
    Kind("remote", _is_remote_table, manifests.read_remote_manifest, manifests.open_remote_manifest),
    Kind("remote", lambda name: "://" in name, remote.read_remote, remote.open_remote, words="a folder"),
    Kind("folder", _is_folder, read_folder, _files_below(Path), words="a folder of class folders", files=True),
    Kind("coco", _is_json, coco.read_coco, _files_below(coco.root_of), words="a COCO file", files=True),
    Kind(
        "embedded",
        embedded.lists_embedded,
        embedded.read_embedded,
        embedded.read_embedded,
        words="a Parquet file of images",
        packed=True,
        chosen=True,
    ),
    Kind("text", texts.lists_texts, texts.read_texts, texts.read_texts, media=TEXTS),
    # Reading segments of videos says that they are to be decoded first; their frames are then a manifest.
    Kind("segments", manifests.lists_segments, manifests.read_manifest, manifests.read_manifest),
    Kind("manifest", lambda name: True, manifests.read_manifest, manifests.open_manifest, files=True),
)
# Never by its name: only who says that there are no images means it.
ROWS = Kind(
    "rows", lambda name: False, rows.read_rows, rows.read_rows, media=TEXTS, words="rows without images", chosen=True
)
OF_FILES = tuple(kind.name for kind in KINDS if kind.files)
PACKED = tuple(kind.name for kind in KINDS if kind.packed)
WORDS = {kind.name: kind.words for kind in (*KINDS, ROWS) if kind.words}


def kind_of(name: str | Path) -> Kind:
    """The kind of a DATASET, by its name and, for a file, its header. Whether it can be read is seen when it is."""
    return next(kind for kind in KINDS if kind.matches(str(name)))


def read_source(name: str | Path, choices: Choices = USUAL) -> Source:
    """List the samples of a DATASET as `choices` say. Raises LossprintError for none, and for no such choice."""
    kind = ROWS if choices.no_images else kind_of(name)
    _refuse_choices(name, kind, choices)
    return kind.read(str(name), choices) if kind.files or kind.chosen else kind.read(str(name))


def open_reader(name: str | Path, choices: Choices = USUAL) -> Reader | Source:
    """How to read one sample of a DATASET, without listing it where that can be done without."""
    kind = kind_of(name)
    return kind.open(str(name), choices) if kind.files or kind.chosen else kind.open(str(name))


def _refuse_choices(name: str | Path, kind: Kind, choices: Choices) -> None:
    """Raise LossprintError where something is said about a manifest that the dataset has not."""
    named = ("manifest", "rows", "embedded")
    fits = {"exclude": ("folder",), "root": ("manifest", "coco"), "path_column": named, "label_column": named}
    fits["group_by"] = ("manifest",)
    for option, kinds in fits.items():
        if getattr(choices, option) is not None and kind.name not in kinds:
            raise LossprintError(
                f"expected {'class folders' if option == 'exclude' else 'a manifest'} with "
                f"--{option.replace('_', '-')}, found {kind.words or 'a manifest'} at {name}"
            )


def absolute(name: str | Path) -> str:
    """A DATASET's name that means the same from any folder. Nothing is opened."""
    name = str(name)
    if "://" in name:
        return name
    own = next((kind.absolute for kind in KINDS if kind.absolute and kind.matches(name)), None)
    return own(name) if own else str(Path(name).expanduser().absolute())
