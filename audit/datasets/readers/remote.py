"""Images at fsspec URLs: a folder of class folders there, and what the manifests of images at URLs read by.

Images are read one by one where they lie, and kept in the bounded cache of `cache` by what their store says of
their content, so that one that was changed is not shown as it was.
"""

import io
import os
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pandas as pd
from PIL import Image

from lossprint.audit.datasets.images import EXTENSIONS, read_size, read_values
from lossprint.audit.datasets.readers.cache import cache
from lossprint.audit.datasets.readers.folders import CLUTTER, class_folders
from lossprint.audit.datasets.source import Reader, Source, fingerprint
from lossprint.audit.system import urls
from lossprint.audit.system.urls import WEB, WORKERS, Place
from lossprint.audit.types import LossprintError

KIND = "remote"
FEW = 16  # images of a folder: these are asked for one by one, as the folder may hold millions


@dataclass(frozen=True, eq=False)
class Images:
    """Images below the URL `root`, or, where that is "", images whose paths are URLs themselves.

    versions: path -> `urls.version` as listed; one that is missing is asked for when the image is read.
    """

    root: str
    versions: dict[str, str] = field(default_factory=dict)

    def place(self, path: str) -> Place:
        """Where an image is. Raises LossprintError for a path that leads elsewhere."""
        if not self.root:
            return Place(urls.remote(path))
        return Place(self.root).below(urls.relative(path, "", self.root))

    def content(self, path: str) -> bytes:
        """The bytes of an image's file, from the cache where they are there."""
        return self._open(path, lambda data: data)

    def image(self, path: str) -> Image.Image:
        return self._open(path, lambda data: read_values(io.BytesIO(data)))

    def size(self, path: str) -> tuple[int, int]:
        return self._open(path, lambda data: read_size(io.BytesIO(data)))

    def _open(self, path: str, decode: Callable):
        place, kept = self.place(path), cache()
        version = self.versions.get(path)
        if version is None and kept is not None:
            version = urls.version(place.info() or {})
        if kept is None or not version:
            return decode(place.read())
        key = f"{place.url}\n{version}"
        data = kept.get(key)
        if data is not None:
            try:
                return decode(data)
            except Exception:  # torn by a crash of the machine, or as bad as the original, which will say so
                kept.drop(key)
        data = place.read()
        if data and version.endswith((f"-{len(data)}", "-None")):  # else it was changed since it was listed
            kept.put(key, data)
        return decode(data)


def read_remote(name: str) -> Source:
    """Class folders at a URL, as `folders.read_folder` reads those on a disk.

    Raises LossprintError where nothing can be read there, and for paths that lead out of it.
    """
    Place(name)
    root = name.rstrip("/")
    suffix = PurePosixPath(file_name(name)).suffix.lower()
    if suffix in (".json", ".jsonl"):
        raise LossprintError(f"expected a CSV or Parquet manifest or a folder of class folders, found {name}")
    try:
        Place(root).info(first=True)  # an answer, within bounded time; the listing itself may take long
        files, base = Place(root).call(lambda fs, path: (fs.find(path, detail=True), path))
    except FileNotFoundError:
        files, base = {}, ""
    below = {path.removeprefix(base).lstrip("/"): about for path, about in files.items()}
    names = sorted(path for path in below if path and not any(part.startswith(".") for part in path.split("/")))
    names = [path for path in names if path.rpartition("/")[2].lower() not in CLUTTER]
    images = [path for path in names if os.path.splitext(path)[1].lower() in EXTENSIONS]
    for path in images:
        urls.relative(path, "", f"{root}/")
    if not files:
        raise LossprintError(f"expected a manifest or class folders, found nothing at {name}")
    rows, notes, lost, loose = class_folders(root, images, [path for path in names if path not in set(images)], "")
    return _source(name, root, rows, notes, [below[path] for path in rows["path"]], lost=lost, loose=loose)


def open_remote(name: str) -> Reader:
    """How one image of class folders at a URL is read by its path. Nothing is listed.

    The image's store is asked whether it was changed, one small request each; the function raises LossprintError for a
    path that leads elsewhere and FileNotFoundError where there is no such image.
    """
    return Reader(name, Images(name.rstrip("/")).image)


def listed(name: str, root: str, rows: pd.DataFrame, notes: list[str]) -> Source:
    """The source of rows whose images are looked for: below the URL `root`, or, where that is "", at their paths."""
    return _source(name, root, rows, notes, _stat(Images(root), rows["path"].tolist()), written=True)


def images_of(dataset: dict) -> Images:
    """The images of the `dataset` of a run.json whose kind is KIND."""
    root = dataset.get("root") or ""
    return Images(root if urls.is_url(root) else "")


def file_name(name: str) -> str:
    """The last part of a URL or path, without a query."""
    name = name.partition("://")[2].partition("?")[0] if urls.is_url(name) else name
    return name.rstrip("/").rpartition("/")[2]


# ------------------------------------------------------------------------------------------------ what is there


def _source(name: str, root: str, rows: pd.DataFrame, notes: list[str], infos: list[dict | str], **of) -> Source:
    """`found` says of each row what its store knows of the image, or why there is none."""
    faults, versions, contents = {}, {}, []
    for row, (path, about) in enumerate(zip(rows["path"], infos)):
        if isinstance(about, str):
            faults[row] = about
            contents.append(-1)
            continue
        if about.get("type") == "directory":
            faults[row] = "a folder, not a file"
        elif about.get("size") == 0:
            faults[row] = "an empty file"
        versions[path] = urls.version(about)
        # Web servers make up their tags, each in its own way: only the size stays the same from one to the next.
        web = urls.protocol_of(root or path) in WEB
        contents.append(about.get("size") if web else versions[path])
    images = Images(root, versions)
    kept, total = cache(), sum(about.get("size") or 0 for about in infos if isinstance(about, dict))
    if kept is not None and total > kept.limit:
        notes = [
            *notes,
            f"the images take {total / 1e9:.1f} GB, more than the cache's {kept.limit / 1e9:.1f} GB "
            "(LOSSPRINT_CACHE_BYTES): what does not fit into memory is downloaded again each epoch",
        ]
    print_of = fingerprint(rows, contents)
    place = root or Path(name).parent
    ids = rows["sample"].tolist()
    faults = {ids[row]: why for row, why in faults.items()}
    more = of | {"faults": faults, "notes": tuple(notes), "workers": WORKERS}
    return Source(name, KIND, place, rows, print_of, images.image, images.size, **more)


def _stat(images: Images, paths: list[str]) -> list[dict | str]:
    """What the stores know of each image, or why there is none: one listing a folder, or one request an image where a
    folder has few of them or its server lists none."""
    folders: dict[str, list[int]] = defaultdict(list)
    places = [images.place(path) for path in paths]
    for row, place in enumerate(places):
        folders[place.url.rpartition("/")[0]].append(row)
    infos: list[dict | str] = ["no such file"] * len(paths)

    def ask_one(row: int, first: bool = False) -> None:
        infos[row] = _or_reason(lambda: places[row].info(first) or "no such file")

    def ask_folder(folder: str) -> None:
        listing = _or_reason(lambda: _names(Place(folder)))
        for row in folders[folder]:
            name = places[row].url.rpartition("/")[2]
            infos[row] = listing if isinstance(listing, str) else listing.get(name, "no such file")

    listed = [name for name, rows in folders.items() if len(rows) >= FEW and urls.protocol_of(name) not in WEB]
    single = [row for name, rows in folders.items() if name not in set(listed) for row in rows]
    ask_one(0, first=True)  # alone: a server that does not answer is said once, and soon
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(ask_one, single))
        list(pool.map(ask_folder, listed))
    return infos


def _names(folder: Place) -> dict[str, dict]:
    """What a folder holds, by name; empty where there is none."""
    try:
        listing = folder.call(lambda fs, path: fs.ls(path, detail=True))
    except FileNotFoundError:
        return {}
    return {about["name"].rstrip("/").rpartition("/")[2]: about for about in listing}


def _or_reason(ask: Callable):
    """What `ask` returns, or why an image cannot be had; what concerns all images is raised."""
    try:
        return ask()
    except urls.Unreachable:
        raise
    except LossprintError as error:
        if "expected access" not in str(error):
            raise
        return "access denied"
