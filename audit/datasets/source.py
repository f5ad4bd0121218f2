"""Where samples and labels come from: what every reader of a kind of dataset gives, and files under a root.

Each reader lists every image in a fixed order, so that a sample keeps its id whatever turns out to be unreadable.
Images are not decoded here.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lossprint.audit.datasets.images import read_size, read_values
from lossprint.audit.datasets.media import IMAGES, Media
from lossprint.audit.datasets.paths import settled
from lossprint.audit.types import SPLITS, LossprintError

SPLIT_NAMES = {name: name for name in SPLITS}
SPLIT_NAMES |= {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
COLUMNS = ("path", "label", "split", "sequence", "frame")
DATASETS = (
    "a folder of class folders, a manifest of images or texts (.csv, .parquet, .pq, .jsonl), a COCO file (.json), "
    "WebDataset shards (a .tar, a pattern or a folder of them), the URL of a folder, manifest or .tar, hf:PLACE or "
    "torchvision:NAME:ROOT"
)
MANIFESTS = (".csv", ".tsv", ".parquet", ".pq", ".jsonl", ".json")


@dataclass(frozen=True, eq=False)
class Source:
    """All samples of a dataset, readable or not.

    kind: its `kinds.Kind` by name. rows: sample int64 (the position), path, label, split, sequence, frame, as the
    dataset itself says. faults: sample -> why its file cannot even be opened. read(path) decodes an image, upright
    and with the values that it holds (`images.read_values`), or gives a text, as `media` says; size(path) gives an
    image's width and height from the header. Both raise whatever is wrong with the file and trust that the path is
    one of the rows'. written: whether labels are cells of a table, in which some signs stand for none. lost: class
    -> why no file of it is among the rows. loose: images that are in no class, and the split of each, empty where
    it has none. links: the paths that lead out of the root by a link that is followed, and where to.
    """

    name: str
    kind: str
    root: Path | str  # text where it is a URL
    rows: pd.DataFrame
    fingerprint: str
    read: Callable[[str], Image.Image | str]
    size: Callable[[str], tuple[int, int]] | None
    faults: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    media: Media = IMAGES
    workers: int | None = None  # threads that reading is worth, where it mostly waits
    written: bool = False
    lost: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    loose: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Reader:
    """How one sample of a dataset is read by its path, as by a `Source`, but of a path that nobody has checked.

    It raises whatever is wrong with the sample, and for a path that leads out of the dataset.
    """

    name: str
    read: Callable[[str], Image.Image | str]
    media: Media = IMAGES


def locate(name: str | Path) -> Path:
    """The absolute path of a folder or a manifest that is there. Raises LossprintError."""
    path = Path(os.path.abspath(os.path.expanduser(name)))
    try:
        there = path.exists()
    except OSError:  # a name that is too long
        there = False
    if not there:
        raise LossprintError(f"expected {DATASETS}, found nothing at {path}")
    if not path.is_dir() and not (path.is_file() and path.suffix.lower() in MANIFESTS):  # a pipe would block for ever
        raise LossprintError(f"expected {DATASETS}, found {path}")
    return path


def tabulate(paths, labels, splits, sequences=None, frames=None) -> pd.DataFrame:
    """The rows of a `Source`. Raises LossprintError for half of a character in a text, which JSON can hold."""
    try:
        rows = pd.DataFrame({"sample": np.arange(len(paths)), "path": paths, "label": labels, "split": splits})
        rows["sequence"] = pd.Series(sequences if sequences else [None] * len(paths), dtype="string")
    except UnicodeEncodeError as error:
        text = error.object[max(error.start - 20, 0) : error.end]
        raise LossprintError(f"expected paths and labels that UTF-8 can hold, found {text!r}") from None
    rows["frame"] = pd.Series(frames if frames else [None] * len(paths), dtype="Int64")
    return rows.astype({"sample": "int64"})


def fingerprint(rows: pd.DataFrame, contents: Iterable) -> str:
    """sha256 over path, label and split of each row, sequence and frame where there are any, then over `contents`."""
    digest = hashlib.sha256()
    for row in rows[[name for name in COLUMNS if rows[name].notna().any()]].itertuples(index=False):
        digest.update(("\0".join(map(str, row)) + "\n").encode())
    digest.update("\n".join(map(str, contents)).encode())
    return digest.hexdigest()


def split_of(cell: str, line: str, path: Path) -> str:
    """The split that a cell names: train, val or test. Raises LossprintError for another word."""
    if cell.strip().lower() not in SPLIT_NAMES:
        raise LossprintError(f"expected a split of {', '.join(SPLIT_NAMES)}, found {cell!r} in {line} of {path}")
    return SPLIT_NAMES[cell.strip().lower()]


# ---------------------------------------------------------------------------------------------- files under a root


def inside(root: Path, path: str, follow: bool = False) -> Path:
    """The file that a relative path names. Raises LossprintError where it leads out of the root.

    A link that leads out of it is refused as well, unless links are to be followed.
    """
    if path.startswith(("/", "\\")) or path[1:2] == ":" or "\0" in path:
        raise LossprintError(f"expected a path relative to {root}, or to the folder that --root names, found {path!r}")
    out = f"found {path!r}, which leads out of it"
    if os.path.normpath(path).split("/")[0] == "..":
        raise LossprintError(f"expected a path inside {root}, {out}")
    if not follow and _leads_out(root, path):
        raise LossprintError(f"expected a path inside {root} (or --follow-links, which follows links out of it), {out}")
    return root / path


def _leads_out(root: Path, path: str) -> bool:
    return not Path(os.path.realpath(root / path)).is_relative_to(os.path.realpath(root))


def _read_file(root: Path, path: str) -> Image.Image:
    return read_values(root / path)


def read_file_inside(root: Path, path: str, follow: bool = False) -> Image.Image:
    """Decode an image under `root` as `Source.read` does, of a path that nobody has checked."""
    file = inside(root, path, follow)
    if file.exists() and not file.is_file():  # a pipe would block for ever
        raise LossprintError(f"expected an image at {file}, found something that is no file")
    return read_values(file)


def _size_file(root: Path, path: str) -> tuple[int, int]:
    return read_size(root / path)


def of_files(
    kind: str, name: Path, root: Path, rows: pd.DataFrame, places: list[str], notes=(), follow: bool = False, **more
) -> Source:
    """A source of files under `root`; `places` says where each row stands, for messages.

    Paths are made those of the files that they mean, see `paths`, and each file is listed once, see `once`. Raises
    LossprintError for a path that leads outside.
    """
    paths, written = rows["path"].tolist(), []
    if kind != "folder":  # whose paths were just listed
        paths, written = settled(root, paths)
    if written:
        rows = rows.assign(path=paths)
        rows, places, again = once(rows, places, " in another spelling")
        paths, written = rows["path"].tolist(), [*written, *again]
    sizes, faults, links = _measure(root, paths, places, follow)
    ids = rows["sample"].tolist()
    if links:
        first, target = next(iter(links.items()))
        written = [f"followed links out of {root}: {len(links):,} files, such as {first} -> {target}", *written]
    return Source(
        str(name),
        kind,
        root,
        rows,
        fingerprint(rows, sizes),
        partial(_read_file, root),
        partial(_size_file, root),
        {ids[row]: why for row, why in faults.items()},
        (*written, *notes),
        links=links,
        **more,
    )


def once(rows: pd.DataFrame, places: list[str], spelling: str = "") -> tuple[pd.DataFrame, list[str], list[str]]:
    """The rows with each file once, their places, and notes on those that name a file again.

    The first row of a file counts, or the first that has a label. A file whose rows name two labels has none, as nobody
    can tell which is meant, and can be labelled in review. Raises LossprintError where more than a tenth of the
    files are so, as in a table of several labels an image, and where rows differ in their place in a sequence.
    """
    files = [os.path.normpath(path) for path in rows["path"]]
    first: dict[str, int] = {}
    for row, label in enumerate(rows["label"]):
        start = first.setdefault(files[row], row)
        if start != row and label.strip() and not rows["label"].iat[start].strip():
            first[files[row]] = row
    if len(first) == len(rows):
        return rows, places, []
    cells = {name: rows[name].astype(object).where(rows[name].notna(), None).tolist() for name in COLUMNS}
    same, unlike = [], {"label": {}, "split": {}}  # by column: the row that counts -> one that contradicts it
    for row, file in enumerate(files):
        start = first[file]
        if row == start:
            continue
        names = [name for name in COLUMNS[1:] if cells[name][row] != cells[name][start]]
        if "label" in names and not cells["label"][row].strip():
            names.remove("label")
        if not names:
            same.append(row)
        for name in names:
            if name not in unlike or (start not in unlike[name] and 10 * (len(unlike[name]) + 1) > len(first)):
                raise LossprintError(
                    f"expected each path once, found {rows['path'].iat[row]!r}{places[start]}, and again, with another "
                    f"{name},{places[row][1:]}"
                )
            unlike[name].setdefault(start, row)
    notes = []
    if same:
        notes.append(
            f"left out, because listed before{spelling}: {len(same):,} rows, such as the one{places[same[0]][1:]}"
        )
    for name, end in (("label", "taken as images without a label"), ("split", "the first split counts")):
        for start, row in list(unlike[name].items())[:1]:
            notes.append(
                f"rows that say two {name}s of one image: {len(unlike[name]):,} of {len(first):,} images, such as "
                f"{rows['path'].iat[start]!r} ({cells[name][start]!r}{places[start]}, and {cells[name][row]!r}"
                f"{places[row]}): {end}"
            )
    for start in unlike["label"]:
        cells["label"][start] = ""
    kept = sorted(first.values())
    rows = rows.assign(label=cells["label"]).iloc[kept].reset_index(drop=True)
    return rows, [places[row] for row in kept], notes


def _measure(
    root: Path, paths: list[str], places: list[str], follow: bool
) -> tuple[list[int], dict[int, str], dict[str, str]]:
    """File sizes in bytes (-1 for none), faults by position, and followed links by path with the files that they name.

    Raises LossprintError for a path that leads outside.
    """
    sizes, faults, links, folders = [], {}, {}, {}  # folders: whether each leads out by a link
    for position, path in enumerate(paths):
        folder = os.path.dirname(path)
        size = -1
        try:
            # Resolving a path is slow. A plain file needs it once for its folder; whatever looks odd, for itself.
            plain = folder in folders and not (path[0] == "\\" or path[1:2] == ":" or ".." in path or "\0" in path)
            link = os.path.islink(root / path)
            if not plain or link:
                inside(root, path, follow)
            if follow:
                if folder not in folders:
                    folders[folder] = _leads_out(root, folder)
                if (link or folders[folder]) and _leads_out(root, path):
                    links[path] = os.path.realpath(root / path)
            elif not link:
                folders[folder] = False
            status = os.stat(root / path)
        except LossprintError as error:
            raise LossprintError(f"{error}{places[position]}") from None
        except OSError as error:
            faults[position] = "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror).lower()
            if "\\" in path and faults[position] == "no such file":
                faults[position] = "no such file, nor one with slashes for its backslashes"
        else:
            size = status.st_size
            # A pipe or a device would block the reader for ever.
            if not stat.S_ISREG(status.st_mode):
                faults[position] = "a folder, not a file" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            elif size == 0:
                faults[position] = "an empty file"
        sizes.append(size)
    return sizes, faults, links
