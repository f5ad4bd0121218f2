"""A dataset as a folder tree OUT/split/label/image, with names that every file system takes.

Built beside its name and renamed when whole, so that a tree that is there is complete.
"""

import hashlib
import io
import os
import secrets
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from lossprint.audit.datasets.images import read_size, reason
from lossprint.audit.datasets.kinds import OF_FILES, PACKED
from lossprint.audit.runs.places import dataset_of
from lossprint.audit.runs.run import Run
from lossprint.audit.system.atomic import write_text
from lossprint.audit.system.csvfile import write_csv
from lossprint.audit.types import LossprintError

LINKS = ("copy", "hardlink")
LONGEST = 120  # bytes of a name: file systems take 255, but some limit the whole path
UNSAFE = frozenset('%/\\:*?"<>|')
RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{i}" for port in ("COM", "LPT") for i in range(10))}


def write_tree(
    run: Run,
    table: pd.DataFrame,
    tables: dict[str, pd.DataFrame | str],
    out: Path,
    link: str = "copy",
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the images of `table` (sample, path, label, split) as OUT/split/label/ID_NAME.EXT.

    `tables` are CSV files (or, given as str, texts) to lie in OUT; a column `path` of `labels.csv` is replaced by the
    new paths and kept as `source`. Files are copied byte by byte; `link="hardlink"` links them where the file system
    can. A dataset of a kind in PACKED has no such files: its images are written as PNG. `progress` is told (images
    written, of).

    Raises LossprintError where something else is at OUT, OUT lies among the dataset's own images, an image is gone, the
    run's dataset has no images, or nothing can be written there.
    """
    if link not in LINKS:
        raise LossprintError(f"expected link to be one of {', '.join(LINKS)}, found {link!r}")
    refuse_place(run, out)
    fetch, extension = _fetcher(run, link)
    folders = folder_names([*run.classes, *table["label"]])
    places = [
        f"{row.split}/{folders[row.label]}/{safe_name(f'{row.sample:07d}_{Path(row.path).stem}')}{extension(row.path)}"
        for row in table.itertuples()
    ]
    part = out.with_name(f".{out.name}.{secrets.token_hex(4)}.unfinished")
    try:
        part.mkdir(parents=True)
        for folder in sorted({os.path.dirname(place) for place in places}):
            (part / folder).mkdir(parents=True)
        for i, (path, place) in enumerate(zip(table["path"], places)):
            fetch(path, part / place)
            if progress:
                progress(i + 1, len(places))
        for name, frame in tables.items():
            if isinstance(frame, str):
                write_text(part / name, frame)
                continue
            write_csv(_moved(frame, places) if name == "labels.csv" else frame, part / name)
        if out.is_dir():
            out.rmdir()  # it is empty, and not every system renames onto an empty folder
        part.rename(out)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise LossprintError(
            f"expected a folder that can be written at {out}, found: {error.strerror or error}{where}"
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def dataset_root(run: Run) -> Path | None:
    """The folder of the run's dataset, links resolved, or None where it has none."""
    root = run.manifest["dataset"].get("root")
    return Path(os.path.realpath(root)) if root and os.path.isabs(root) else None  # a URL is no folder


def _moved(frame: pd.DataFrame, places: list[str]) -> pd.DataFrame:
    after = list(frame.columns).index("given_label") if "given_label" in frame else len(frame.columns)
    frame = frame.copy()
    frame.insert(after, "source", frame["path"])
    frame["path"] = pd.array(places, dtype="string")
    return frame


def refuse_place(run: Run, out: Path) -> None:
    """Raise LossprintError where a folder of images must not be made."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LossprintError(f"expected a new or empty folder (or a name that ends in .csv), found something at {out}")
    root, place = dataset_root(run), Path(os.path.realpath(out))
    if root is None or run.manifest["dataset"]["kind"] == "remote":
        return
    held = {root}
    if run.manifest["dataset"]["kind"] in ("manifest", "coco"):
        # A manifest's folder may be a whole project, and a new folder beside the listed images touches none of them.
        held = {root / os.path.normpath(path).split(os.sep)[0] for path in run.samples()["path"]}
    if any(place.is_relative_to(folder) for folder in held):
        raise LossprintError(f"expected a folder outside the dataset's own ({root}), found {out}")


def _fetcher(run: Run, link: str) -> tuple[Callable[[str, Path], object], Callable[[str], str]]:
    """fetch(path, place), which puts the image of a path at a place, and the extension that it has there."""
    about = dataset_of(run)
    kind, root = about["kind"], dataset_root(run)
    if kind in PACKED:
        from lossprint.audit.datasets.dataset import sample_reader

        read = sample_reader(about)
        return lambda path, place: read(path).save(place, format="PNG"), lambda path: ".png"
    if kind == "remote":
        from lossprint.audit.datasets.readers.remote import images_of

        images = images_of(about)

        def download(path: str, place: Path) -> None:
            content = images.content(path)
            refuse_other(io.BytesIO(content), path, about["source"])
            place.write_bytes(content)

        return download, _extension
    if root is None or kind not in OF_FILES:
        raise LossprintError(
            f"expected a run of a dataset with images, found one of kind {kind!r} at {run.path}: export a .csv instead"
        )

    follow = bool(about.get("choices", {}).get("follow_links"))

    def fetch(path: str, place: Path) -> None:
        file = Path(os.path.realpath(root / path))
        if not (follow or file.is_relative_to(root)) or ".." in Path(path).parts or not file.is_file():
            raise LossprintError(
                f"expected the image {path!r} in {root}, found none: was the dataset moved? --dataset names its place"
            )
        refuse_other(file, path, str(root))
        if link == "hardlink":
            try:
                return os.link(file, place)
            except OSError:
                pass  # another disk, or one without links: copy
        shutil.copyfile(file, place)

    return fetch, _extension


def refuse_other(file: Path | io.BytesIO, path: str, where: str) -> None:
    """Raise LossprintError for a file that is no image: what a run calls one may be anything."""
    try:
        read_size(file)
    except Exception as error:  # a decoder may raise anything at all
        raise LossprintError(f"expected an image at {path!r} of {where}, found: {reason(error)}") from None


def _extension(path: str) -> str:
    """The extension of an image's path or URL where it is a plain one."""
    suffix = Path(path.partition("?")[0] if "://" in path else path).suffix
    return suffix if suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= 9 else ""


# ------------------------------------------------------------------------------------------------- names of files


def folder_names(labels: list[str]) -> dict[str, str]:
    """A folder name for each label; no two labels share one, not even where upper and lower case are the same."""
    names: dict[str, str] = {}
    taken = set()
    for label in sorted(set(labels)):
        name = safe_name(label)
        if _folded(name) in taken:
            name = f"{name}%~{_digest(label)[:12]}"
        taken.add(_folded(name))
        names[label] = name
    return names


def safe_name(text: str) -> str:
    """The text as the name of one file or folder; different texts give different names.

    What some system forbids or treats in its own way is written as %XX of its UTF-8 bytes, and so is % itself: control
    and format characters, / \\ : * ? " < > |, a dot or blank at the start or the end, and the first letter of a name
    that Windows reserves. A name over LONGEST bytes is cut and ends in %~ and a digest, as no other name can.
    """
    if not text:
        return "%~"
    reserved = text.split(".")[0].rstrip().upper() in RESERVED
    parts = []
    for i, char in enumerate(text):
        edge = i in (0, len(text) - 1) and (char == "." or char.isspace())
        if edge or (i == 0 and reserved) or char in UNSAFE or unicodedata.category(char)[0] == "C":
            parts.append("".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass")))
        else:
            parts.append(char)
    name = "".join(parts)
    if len(name.encode()) <= LONGEST:
        return name
    ending = f"%~{_digest(text)[:32]}"
    while len("".join(parts).encode()) + len(ending) > LONGEST:
        parts.pop()
    return "".join(parts) + ending


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
