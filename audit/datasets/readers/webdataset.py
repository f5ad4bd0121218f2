"""WebDataset shards, tar files of samples -> one table. Nothing is unpacked: images are read where they lie.

DATASET is a tar file, a pattern such as shards-{000..009}.tar or {train,val}/{00..03}.tar, or a folder of tar files,
with or without train, val and test above them; with :// in it, anywhere that fsspec reaches. As WebDataset says, the
members of a sample share their name up to the first dot of its last part; the rest, in lower case, says what each is:

    .jpg, .png, ...           the image
    .cls, .class or .label    its class, as a whole number or a name; or
    .json                     an object with label or class

Whole numbers are numbered names where a classes.txt (classnames.txt), a name a line from 0, or a classes.json, a list
or {number: name}, lies beside the shards. A sample's path is SHARD/MEMBER, its image's name in the tar; its split is
the word train, val or test in the shard's file name, or else in its folder's, or else train.
"""

import io
import os
import re
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from PIL import Image

from lossprint.audit.datasets.images import EXTENSIONS, read_size, read_values
from lossprint.audit.datasets.readers.shards import Shards, class_names, find, splits_of
from lossprint.audit.datasets.source import Reader, Source, fingerprint, tabulate
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.system.urls import WORKERS, is_url
from lossprint.audit.types import LossprintError, one_line

IMAGES = frozenset(extension[1:] for extension in EXTENSIONS)
CLASS_MEMBERS = ("cls", "class", "label")
CLASS_KEYS = ("label", "class")
MEMBER = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")
META = re.compile(r"__[^/]*__($|/)")  # what WebDataset keeps for itself
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
LONGEST = 1 << 20  # bytes of a label's member
BLOCK = 512


@dataclass
class _Sample:
    """What a tar has of a sample. image: its member's name, where it begins and its size."""

    image: tuple[str, int, int] | None = None
    label: str | None = None
    rank: int = len(CLASS_MEMBERS) + 1  # of the member that the label is from: the first of those known counts


@dataclass
class _Contents:
    samples: dict[str, _Sample] = field(default_factory=dict)
    passed: list[str] = field(default_factory=list)  # members that are no plain files
    cut: bool = False  # without the mark at its end


def read_tars(name: str) -> Source:
    """List the samples of WebDataset shards, from the headers of the tar files and the members that hold labels.

    Ids count on through the shards, as the pattern or the sorted folder has them. Samples without an image or without a
    label, links and devices are left out with a note. Raises LossprintError, in one line, where there are no shards,
    one is compressed, cut off or damaged, or a label cannot be read.
    """
    shards = find(name)
    names = class_names(shards)
    reader = _Members(shards)
    paths, labels, kinds, sizes, faults = [], [], [], [], {}
    lacks: dict[str, list[str]] = {"an image": [], "a label": []}
    passed, cut, count = [], [], 0
    for file, split in zip(shards.files, splits_of(shards)):
        contents = _contents(shards, file, with_labels=True)
        reader.keep(file, contents)
        passed += [f"{file}/{member}" for member in contents.passed]
        cut += [file] * contents.cut
        count += len(contents.samples)
        for key, sample in contents.samples.items():
            if sample.image is None or sample.label is None:
                lacks["an image" if sample.image is None else "a label"].append(f"{file}/{key}")
                continue
            member, _, size = sample.image
            if size == 0:
                faults[len(paths)] = "an empty file"
            paths.append(f"{file}/{member}")
            labels.append(_named(sample.label, names, f"{file}/{key}", shards.name))
            kinds.append(split)
            sizes.append(size)
    if not paths:
        raise LossprintError(
            f"expected samples with an image (such as .jpg) and a class (.{', .'.join(CLASS_MEMBERS)} or .json with "
            f"{' or '.join(CLASS_KEYS)}) in {shards.name}, found {len(lacks['an image']):,} without an image and "
            f"{len(lacks['a label']):,} without a label"
        )
    notes = [
        f"left out, because without {what}: {len(keys):,} of {count:,} samples, such as {keys[0]}"
        for what, keys in lacks.items()
        if keys
    ]
    if passed:
        notes.append(f"passed over, because no plain files: {len(passed):,} members of tars, such as {passed[0]}")
    if cut:
        notes.append(f"without the mark that ends a tar, as if cut off: {len(cut):,} shards, such as {cut[0]}")
    rows = tabulate(paths, labels, kinds)
    mark = fingerprint(rows, sizes)
    root, workers = (shards.root, WORKERS) if is_url(name) else (Path(shards.root), None)
    return Source(
        shards.name, "webdataset", root, rows, mark, reader.read, reader.size, faults, tuple(notes), workers=workers
    )


def open_tars(name: str) -> Reader:
    """How to read one image by its path: a shard is looked through when it is first asked for.

    Raises LossprintError where there are no shards.
    """
    shards = find(name)
    return Reader(shards.name, _Members(shards).read)


class _Members:
    """Images by their path. Any number of threads may read: each call opens its shard for itself."""

    def __init__(self, shards: Shards):
        self.shards, self.known = shards, frozenset(shards.files)
        self.members: dict[str, dict[str, tuple[int, int]]] = {}
        self.lock = Lock()

    def keep(self, file: str, contents: _Contents) -> None:
        images = [sample.image for sample in contents.samples.values() if sample.image]
        self.members[file] = {member: (start, size) for member, start, size in images}

    def read(self, path: str) -> Image.Image:
        return read_values(self._bytes(path))

    def size(self, path: str) -> tuple[int, int]:
        return read_size(self._bytes(path))

    def _bytes(self, path: str) -> io.BytesIO:
        ends = [match.end() - 1 for match in re.finditer(r"\.tar/", path, re.IGNORECASE)]
        file = next((path[:end] for end in ends if path[:end] in self.known), None)
        if file is None:
            raise LossprintError(f"expected SHARD.tar/MEMBER of {self.shards.name}, found {path!r}")
        if file not in self.members:
            with self.lock:
                if file not in self.members:
                    self.keep(file, _contents(self.shards, file, with_labels=False))
        span = self.members[file].get(path[len(file) + 1 :])
        if span is None:
            raise LossprintError(f"expected an image of {self.shards.name}, found none called {path!r}")
        data = self.shards.part(file, *span)
        if len(data) != span[1]:  # the tar has changed, or a web server knows no ranges
            raise LossprintError(f"expected {span[1]:,} bytes of {path!r}, found {len(data):,}")
        return io.BytesIO(data)


def _named(label: str, names: list[str], where: str, name: str) -> str:
    """A label as text: a whole number stands for a name where there are names."""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", label):
        return label
    number = int(label)
    if names and not 0 <= number < len(names):
        raise LossprintError(f"expected a class from 0 to {len(names) - 1}, found {number} of {where} in {name}")
    return names[number] if names else str(number)


# ------------------------------------------------------------------------------------------------- inside a tar


def _contents(shards: Shards, file: str, with_labels: bool) -> _Contents:
    """The samples of a shard, in its order, from one pass over its headers. Labels are read on the way."""
    contents = _Contents()
    where = f"{file} of {shards.name}" if shards.name != f"{shards.root}/{file}" else shards.name
    try:
        with shards.open(file) as opened:
            end = opened.seek(0, os.SEEK_END)
            opened.seek(0)
            with tarfile.open(fileobj=opened, mode="r:") as tar:
                before = -1
                while (member := tar.next()) is not None:
                    tar.members.clear()  # it would keep all of them
                    if tar.offset <= before:  # a negative size would lead in circles
                        raise ValueError(f"a header that leads back, of {member.name!r}")
                    before = tar.offset
                    if member.offset_data + (member.size if member.isreg() else 0) > end:
                        raise LossprintError(f"expected a whole tar, found {where} cut off within {member.name!r}")
                    _take(contents, member, opened if with_labels else None, where)
                opened.seek(tar.offset)
                tail = opened.read(BLOCK)
                if tail.strip(b"\0"):
                    raise LossprintError(f"expected a tar, found {where} damaged after byte {tar.offset:,}")
                contents.cut = len(tail) < BLOCK
    except FileNotFoundError:
        raise LossprintError(f"expected a tar file, found nothing at {where}") from None
    except LossprintError:
        raise
    except Exception as error:  # a remote file system raises its own kinds
        raise LossprintError(
            f"expected a tar that is whole and not compressed, found {where}: {one_line(error)}"
        ) from None
    return contents


def _take(contents: _Contents, member: tarfile.TarInfo, opened, where: str) -> None:
    if META.match(member.name) or member.isdir():
        return
    if not member.isreg() or member.sparse is not None:
        contents.passed.append(member.name)
        return
    match = MEMBER.fullmatch(member.name)
    if not match:
        return
    key, kind = match[1], match[2].lower()
    known = (*CLASS_MEMBERS, "json")
    if kind not in IMAGES and (opened is None or kind not in known):
        return
    sample = contents.samples.setdefault(key, _Sample())
    if kind in IMAGES:
        if sample.image is not None:
            raise LossprintError(
                f"expected one image a sample, found {sample.image[0]!r} and {member.name!r} in {where}"
            )
        try:
            member.name.encode()
        except UnicodeEncodeError:
            raise LossprintError(f"expected names in UTF-8, found {member.name!r} in {where}") from None
        sample.image = (member.name, member.offset_data, member.size)
        return
    rank = known.index(kind)
    label = _label(opened, member, kind, where) if rank <= sample.rank else None
    if label is not None:
        if rank == sample.rank:
            raise LossprintError(f"expected each member of a sample once, found {member.name!r} again in {where}")
        sample.label, sample.rank = label, rank


def _label(opened, member: tarfile.TarInfo, kind: str, where: str) -> str | None:
    """What a member says of the class, None where it says nothing. Raises LossprintError where it cannot be read."""
    if member.size > LONGEST:
        raise LossprintError(f"expected a label, found {member.size:,} bytes in {member.name!r} of {where}")
    opened.seek(member.offset_data)
    try:
        text = opened.read(member.size).decode("utf-8-sig").strip()
        if kind == "json":
            about = parsed(text)
            values = [about[key] for key in CLASS_KEYS if key in about] if isinstance(about, dict) else []
            if not values or values[0] is None:
                return None
            if isinstance(values[0], bool) or not isinstance(values[0], str | int):
                raise ValueError("a label that is neither text nor a whole number")
            text = str(values[0]).strip()
        if CONTROL.search(text):
            raise ValueError("text of several lines or with control characters")
    except (ValueError, RecursionError) as error:
        raise LossprintError(f"expected a label in {member.name!r} of {where}, found: {one_line(error)}") from None
    return text or None
