"""A folder of class folders, with or without train, val and test above them -> the rows of a `Source`."""

import os
from pathlib import Path

import pandas as pd

from lossprint.audit.datasets.images import EXTENSIONS
from lossprint.audit.datasets.source import MANIFESTS, SPLIT_NAMES, Source, locate, of_files, tabulate
from lossprint.audit.types import LossprintError

CLUTTER = {"thumbs.db", "desktop.ini"}


def read_folder(name: str | Path) -> Source:
    """A folder of class folders, with or without train, val and test above them. Sample ids: sorted relative paths.

    Images may lie at any depth below their class folder. Hidden files and files whose extension is not an image's are
    passed over, the latter with a note.
    """
    root = locate(name)
    images, others = _walk(root)
    rows, notes = class_folders(root, images, others, _hint(root))
    return of_files("folder", root, root, rows, [""] * len(rows), notes)


def class_folders(root: Path | str, images: list[str], others: list[str], hint: str) -> tuple[pd.DataFrame, list[str]]:
    """The rows of `Source` and the notes for the files under a folder or a URL, by their sorted relative paths."""
    if not images:
        raise LossprintError(f"expected images in class folders under {root}, found none{hint}")
    tops = sorted({path.split("/")[0] for path in images if "/" in path})
    depth = 2 if _has_splits(root, tops, images) else 1
    placed = [path for path in images if path.count("/") >= depth]
    if not placed:
        raise LossprintError(
            f"expected class folders in {f'{root}/{tops[0]}' if tops else root}, found {len(images):,} images "
            f"that lie in no class folder{hint}"
        )
    parts = [path.split("/") for path in placed]
    labels = [part[depth - 1] for part in parts]
    if len(set(labels)) == 1 and hint:
        raise LossprintError(f"expected at least two class folders in {root}, found only {labels[0]!r}{hint}")
    notes = []
    if len(placed) < len(images):
        loose = next(path for path in images if path.count("/") < depth)
        left = f"{len(images) - len(placed):,} of {len(images):,} images"
        notes.append(f"left out, because in no class folder: {left}, such as {loose}")
    if others:
        kinds = ", ".join(sorted({os.path.splitext(path)[1].lower() or "no extension" for path in others})[:5])
        left = f"{len(others):,} of {len(images) + len(others):,} files"
        notes.append(f"passed over, because no images by their extension: {left} ({kinds})")
    rows = tabulate(placed, labels, [SPLIT_NAMES[part[0].lower()] if depth == 2 else "train" for part in parts])
    return rows, notes


def _walk(root: Path) -> tuple[list[str], list[str]]:
    """Relative paths of the images and of the other files under `root`, each sorted; hidden ones are left out."""

    def fail(error: OSError):
        raise LossprintError(f"expected a readable folder, found {str(error.strerror).lower()} at {error.filename}")

    images, others = [], []
    for folder, folders, files in os.walk(root, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            # Following could run in circles, passing over would drop a class without a word.
            if os.path.islink(os.path.join(folder, name)):
                raise LossprintError(f"expected folders of images, found a link at {os.path.join(folder, name)}")
        for name in files:
            if name.startswith(".") or name.lower() in CLUTTER:
                continue
            path = Path(folder, name).relative_to(root).as_posix()
            try:
                path.encode()
            except UnicodeEncodeError:
                raise LossprintError(f"expected file names in UTF-8 under {root}, found {path!r}") from None
            (images if os.path.splitext(name)[1].lower() in EXTENSIONS else others).append(path)
    return sorted(images), sorted(others)


def _has_splits(root: Path | str, tops: list[str], images: list[str]) -> bool:
    """Whether the top folders are splits. They may also be classes that happen to be called train or test."""
    splits = [name for name in tops if name.lower() in SPLIT_NAMES]
    train = [name for name in splits if SPLIT_NAMES[name.lower()] == "train"]
    rest = [name for name in tops if name not in splits]
    if tops and not rest:
        if not train:
            raise LossprintError(f"expected a train folder in {root}, found only {', '.join(tops)}")
        return True
    if any(path.startswith(f"{name}/") and path.count("/") >= 2 for name in train for path in images):
        raise LossprintError(
            f"expected only train, val and test beside {train[0]} in {root}, found {', '.join(rest[:5])} as well: "
            "move the folders apart or write a manifest"
        )
    return False


def _hint(root: Path) -> str:
    names = sorted(file.name for file in root.iterdir() if file.suffix.lower() in MANIFESTS)
    return (
        f"; did you mean the manifest {root / ('labels.csv' if 'labels.csv' in names else names[0])}?" if names else ""
    )
