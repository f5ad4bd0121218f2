"""A COCO file, JSON with images, annotations and categories -> one table with one label an image.

    {"images": [{"id": 1, "file_name": "a.jpg", "split": "val"}],
     "annotations": [{"image_id": 1, "category_id": 3}],
     "categories": [{"id": 3, "name": "cat"}]}

An image's label is the one category of its annotations; images without any, or of several, are left out with a note.
Files lie in the JSON's folder, in `images` beside it, or as COCO and Roboflow lay them out: beside `annotations/`, or
one folder a split. Splits are said by the images (train without), or by the name: where it says train, as in
instances_train2017.json or train/_annotations.coco.json, the files are read as well that say val or test there.
"""

import os
import re
from pathlib import Path

import numpy as np

from lossprint.audit.datasets.choices import USUAL, Choices
from lossprint.audit.datasets.source import SPLIT_NAMES, Source, locate, of_files, split_of, tabulate
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.types import SPLITS, LossprintError, one_line

TRAIN = re.compile(r"(?<![a-z])train(ing)?(?![a-z])", re.IGNORECASE)
ANNOTATIONS = "annotations"  # the folder of the JSON files in COCO's own layout
LOOKED = 20  # images whose files tell in which folder all lie


def read_coco(name: str | Path, choices: Choices = USUAL) -> Source:
    """List the images of a COCO file, and of the files beside it that hold the other splits.

    Sample ids are positions among the images that have one label, in the files' order. Raises LossprintError, in one
    line, for what is no such JSON, an id or a file that comes twice, and an annotation of nothing.
    """
    path = locate(name)
    root = choices.root_beside(path) or root_of(path)
    notes, paths, labels, splits, places = [], [], [], [], []
    for file, split in _files(path):
        rows, more = _listed(file)
        if file != path:
            notes.append(f"also read: {file} ({split})")
        notes += more
        folder = _folder(root, file, [name for name, _, _, _ in rows])
        for name, label, own, place in rows:
            paths.append(folder + name)
            labels.append(label)
            splits.append(own or split)
            places.append(f", in {place} of {file.name}")
    seen: dict[str, str] = {}
    for image, place in zip(paths, places):
        first = seen.setdefault(os.path.normpath(image), place)
        if first != place:
            raise LossprintError(f"expected each file once, found {image!r}{first} and{place.removeprefix(',')}")
    if not paths:
        raise LossprintError(
            f"expected images with one category in {path}, found none{''.join(f'; {n}' for n in notes)}"
        )
    return of_files("coco", path, root, tabulate(paths, labels, splits), places, notes, choices.follow_links)


def root_of(path: Path) -> Path:
    """The folder that the paths of a COCO file's images are relative to. Nothing is read."""
    folder = path.parent
    return folder.parent if folder.name.lower() in (ANNOTATIONS, *SPLIT_NAMES) else folder


def _files(path: Path) -> list[tuple[Path, str]]:
    """The JSON files of the dataset, and the split of the images of each that do not say theirs."""
    files = [(path, "train")]
    by_folder = path.parent.name.lower() in SPLIT_NAMES
    name = path.parent.name if by_folder else path.name
    word = TRAIN.search(name)
    if word is None:
        return files
    for other, split in SPLIT_NAMES.items():
        if split == "train":
            continue
        renamed = name[: word.start()] + other + name[word.end() :]
        file = path.parent.parent / renamed / path.name if by_folder else path.with_name(renamed)
        if file.is_file():
            files.append((file, split))
    return sorted(files, key=lambda one: SPLITS.index(one[1]))


def _folder(root: Path, file: Path, names: list[str]) -> str:
    """Where the files of a JSON lie, relative to the root, with a slash: the first place that has most of a few."""
    own = file.parent.relative_to(root).as_posix() if file.parent != root else ""
    part = re.sub(r"^[a-z]+_", "", file.stem)  # instances_train2017.json lists what is in train2017
    usual = ["" if own == ANNOTATIONS else own, f"{own}/images" if own else "images", "images", f"images/{part}", part]
    some = [names[at] for at in np.unique(np.linspace(0, len(names) - 1, LOOKED).astype(int))] if names else []
    counts = [sum(os.path.isfile(root / folder / name) for name in some if "\0" not in name) for folder in usual]
    folder = usual[int(np.argmax(counts))] if some else ""
    return f"{folder}/" if folder else ""


def _listed(path: Path) -> tuple[list[tuple[str, str, str, str]], list[str]]:
    """(file name, label, split or "", place) of the images that have one label, and notes on the others."""
    about = _read(path)
    names = _categories(about["categories"], path)
    images: dict = {}
    for at, image in enumerate(about["images"]):
        where = f"images[{at}]"
        key = _key(image, "id", where, path)
        if key in images:
            raise LossprintError(f"expected each image id once, found {key!r} again in {where} of {path}")
        file, split = image.get("file_name"), image.get("split")
        if not isinstance(file, str) or not file.strip():
            raise LossprintError(f"expected a file_name in {where} of {path}, found {_short(file)}")
        if split is not None and not isinstance(split, str):
            raise LossprintError(f"expected a split as text in {where} of {path}, found {_short(split)}")
        images[key] = (file, "" if split is None else split_of(split, where, path), where)
    labels: dict = {key: set() for key in images}
    for at, annotation in enumerate(about["annotations"]):
        where = f"annotations[{at}]"
        image, category = _key(annotation, "image_id", where, path), _key(annotation, "category_id", where, path)
        for key, known, what in ((image, images, "an image"), (category, names, "a category")):
            if key not in known:
                raise LossprintError(f"expected the id of {what} in {where} of {path}, found {key!r}, which is none")
        labels[image].add(category)
    rows, bare, several = [], [], []
    for key, (file, split, where) in images.items():
        if len(labels[key]) == 1:
            rows.append((file, names[next(iter(labels[key]))], split, where))
        else:
            (several if labels[key] else bare).append(file)
    notes = [
        f"left out, because {what}: {len(files):,} of {len(images):,} images of {path.name}, such as {files[0]}"
        for what, files in (("without an annotation", bare), ("of several categories", several))
        if files
    ]
    return rows, notes


def _read(path: Path) -> dict:
    try:
        about = parsed(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise LossprintError(f"expected a readable file, found {str(error.strerror).lower()} at {path}") from None
    except (ValueError, RecursionError) as error:
        detail = one_line(error)
        raise LossprintError(
            f"expected JSON with images, annotations and categories, found in {path}: {detail}"
        ) from None
    lists = ("images", "annotations", "categories")
    if not isinstance(about, dict) or not all(isinstance(about.get(name), list) for name in lists):
        content = ", ".join(map(repr, about))[:200] if isinstance(about, dict) else type(about).__name__
        raise LossprintError(
            f"expected an object with lists of {', '.join(lists)} in {path}, found {content or 'none'}"
        )
    return about


def _categories(listed: list, path: Path) -> dict:
    names: dict = {}
    for at, category in enumerate(listed):
        where = f"categories[{at}]"
        key = _key(category, "id", where, path)
        name = category.get("name")
        if not isinstance(name, str) or not name.strip():
            raise LossprintError(f"expected a name in {where} of {path}, found {_short(name)}")
        if key in names or name in names.values():
            raise LossprintError(
                f"expected each category once, found the {'id' if key in names else 'name'} "
                f"{key if key in names else name!r} again in {where} of {path}"
            )
        names[key] = name
    return names


def _key(record, name: str, where: str, path: Path):
    """An id: a whole number or text."""
    value = record.get(name) if isinstance(record, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | str):
        content = _short(value if isinstance(record, dict) else record)
        raise LossprintError(f"expected {name} as a whole number or text in {where} of {path}, found {content}")
    return value


def _short(value) -> str:
    return "none" if value is None else repr(value)[:80]
