"""A folder of class folders, with or without train, val and test above them -> the rows of a `Source`."""

import os
from collections import Counter
from pathlib import Path

import pandas as pd

from lossprint.audit.datasets.choices import USUAL, Choices
from lossprint.audit.datasets.images import EXTENSIONS
from lossprint.audit.datasets.readers.layouts import doubts, left_out
from lossprint.audit.datasets.source import MANIFESTS, SPLIT_NAMES, Source, locate, of_files, tabulate
from lossprint.audit.types import LossprintError
from lossprint.audit.words import some

CLUTTER = {"thumbs.db", "desktop.ini"}


# Whoever has a folder of these alone does not miss a class.
DOCUMENTS = {
    *(".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml"),
    *(".toml", ".ini", ".cfg", ".html", ".htm", ".pdf", ".log", ".py", ".ipynb", ".sh"),
    *(".zip", ".tar", ".gz", ".db", ".parquet", ".pq", ".xlsx", ".docx"),
}
HINTS = {
    (".heic", ".heif", ".hif"): "HEIC is read with the extra pip install 'lossprint[heif]' (pillow-heif)",
    (".dcm", ".dicom", ".ima"): "DICOM is read with the extra pip install 'lossprint[dicom]' (pydicom)",
    ("no extension",): "images are told by their extension, such as .jpg or .png",
}


def read_folder(name: str | Path, choices: Choices = USUAL) -> Source:
    """A folder of class folders, with or without train, val and test above them. Sample ids: sorted relative paths.

    Images may lie at any depth below their class folder. Hidden files and files whose extension is not an image's are
    passed over, the latter with a note. Links to folders are refused, or followed, each folder once.
    """
    root = locate(name)
    images, others = _walk(root, choices.follow_links)
    rows, notes, lost, loose = class_folders(root, images, others, _hint(root), choices.exclude)
    return of_files("folder", root, root, rows, [""] * len(rows), notes, choices.follow_links, lost=lost, loose=loose)


def every_image(root: Path, choices: Choices = USUAL) -> list[str]:
    """The sorted relative paths of all images below a folder, whatever folders they lie in. LossprintError for none."""
    images, others = _walk(locate(root), choices.follow_links)
    images, _ = left_out(images, choices.exclude)
    if not images:
        passed = f": passed over {_counted(others)}{_help(others)}" if others else ""
        raise LossprintError(f"expected images under {root}, found none{passed}{_hint(Path(root))}")
    return images


def class_folders(
    root: Path | str, images: list[str], others: list[str], hint: str, exclude: str | None = None
) -> tuple[pd.DataFrame, list[str], dict[str, str], list[tuple[str, str]]]:
    """The rows of `Source`, the notes, the classes without an image, and the images in none with their splits, for the
    files under a folder or a URL.

    Both kinds of files are given by their sorted relative paths. `exclude` names folders to be left out.
    """
    (images, notes), (others, _) = left_out(images, exclude), left_out(others, exclude)
    if not images:
        passed = f": passed over {_counted(others)}{_help(others)}" if others else ""
        raise LossprintError(f"expected images in class folders under {root}, found none{passed}{hint}")
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
    notes += doubts(placed, labels, depth)
    loose = [(path, SPLIT_NAMES.get(path.split("/")[0].lower(), "")) for path in images if path.count("/") < depth]
    if loose:
        left = f"{len(images) - len(placed):,} of {len(images):,} images"
        notes.append(f"left out, because in no class folder: {left}, such as {loose[0][0]}")
    if others:
        left = f"{len(others):,} of {len(images) + len(others):,} files"
        whose = Counter(
            path.split("/")[depth - 1] for path in others if path.count("/") >= depth and _ending(path) not in DOCUMENTS
        )
        of = some((f"{name!r} ({count:,})" for name, count in sorted(whose.items())), 3)
        notes.append(
            f"passed over, because no images by their extension: {left} ({_by_kind(others)}"
            f"{f'; of {of}' if of else ''}){_help(others)}"
        )
    rows = tabulate(placed, labels, [SPLIT_NAMES[part[0].lower()] if depth == 2 else "train" for part in parts])
    known, bare = set(labels), {}
    for path in others:
        part = path.split("/")
        if len(part) > depth and part[depth - 1] not in known:
            bare.setdefault(part[depth - 1], []).append(path)
    lost = {name: paths for name, paths in bare.items() if not all(_ending(path) in DOCUMENTS for path in paths)}
    return rows, notes, {name: f"{_counted(paths)}{_help(paths)}" for name, paths in lost.items()}, loose


def _ending(path: str) -> str:
    return os.path.splitext(path)[1].lower() or "no extension"


def _by_kind(paths: list[str]) -> str:
    counts = Counter(map(_ending, paths))
    return some((f"{count:,} {kind}" for kind, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))))


def _counted(paths: list[str]) -> str:
    return f"{len(paths):,} {'file' if len(paths) == 1 else 'files'} ({_by_kind(paths)})"


def _help(paths: list[str]) -> str:
    """What to do about files that are passed over, where that is known."""
    kinds = set(map(_ending, paths))
    return "".join(f"; {hint}" for endings, hint in HINTS.items() if kinds & set(endings))


def _walk(root: Path, follow: bool) -> tuple[list[str], list[str]]:
    """Relative paths of the images and of the other files under `root`, each sorted; hidden ones are left out."""

    def fail(error: OSError):
        raise LossprintError(f"expected a readable folder, found {str(error.strerror).lower()} at {error.filename}")

    images, others = [], []
    for folder, folders, files in os.walk(root, onerror=fail, followlinks=follow):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in list(folders):
            place = os.path.join(folder, name)
            if not os.path.islink(place):
                continue
            if not follow:  # passing over would drop a class without a word
                raise LossprintError(
                    f"expected folders of images, found a link at {place} (--follow-links reads what links name)"
                )
            if _in_circle(root, folder, os.path.realpath(place)):
                raise LossprintError(f"expected links that end, found one that leads in a circle at {place}")
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


def _in_circle(root: Path, folder: str, target: str) -> bool:
    """Whether a folder, reached from `root` perhaps by links, lies in `target` by any step of the way."""
    way, steps = root, [os.path.realpath(root)]
    for part in Path(folder).relative_to(root).parts:
        way = way / part
        steps.append(os.path.realpath(way))
    return any(step == target or step.startswith(f"{target.rstrip('/')}/") for step in steps)


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
