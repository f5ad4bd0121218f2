"""Where the tar files of a DATASET are, on this machine or where fsspec reaches, their splits and names of classes."""

import itertools
import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lossprint.audit.datasets.source import SPLIT_NAMES
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.system.urls import Place
from lossprint.audit.types import LossprintError, one_line

COMPRESSED = (".tar.gz", ".tgz")
TARS = (".tar", *COMPRESSED)
CLASS_FILES = ("classes.txt", "classnames.txt", "classes.json")
BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")
WORD = re.compile(rf"(?<![a-z])({'|'.join(SPLIT_NAMES)})(?![a-z])")
MOST = 100_000


@dataclass(frozen=True)
class Shards:
    """Where the tar files are: names relative to `root`.

    `open` gives one as a file, `part(file, start, size)` some bytes of it, `beside` another file's bytes or None.
    """

    name: str
    root: str
    files: tuple[str, ...]
    open: Callable[[str], BinaryIO]
    part: Callable[[str, int, int], bytes]
    beside: Callable[[str], bytes | None]


def names_shards(name: str) -> bool:
    """Whether this names WebDataset shards: a tar file, a pattern such as shards-{000..009}.tar, a folder of tars."""
    place = os.path.expanduser(name)
    return name.lower().endswith(TARS) or ("://" not in name and os.path.isdir(place) and bool(_tars_in(place)))


def _tars_in(folder: str) -> list[str]:
    """The tars of a folder, or of its folders of splits, sorted; none where it holds any other folder."""
    entries = _entries(folder)
    parts = [entry for entry in entries if entry.is_dir()]
    if any(part.name.lower() not in SPLIT_NAMES for part in parts):
        return []
    if parts:  # of tars; beside those of class folders may lie the tar that they came in
        entries = [entry for part in parts for entry in _entries(part.path)]
        if any(entry.is_dir() for entry in entries):
            return []
    return sorted(entry.path for entry in entries if entry.name.lower().endswith(TARS))


def _entries(folder: str) -> list[os.DirEntry]:
    return [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]


def find(name: str) -> Shards:
    """The tar files that a name stands for. Raises LossprintError where there are none, or one is compressed."""
    if "://" in name:
        return _remote(name)
    place = os.path.abspath(os.path.expanduser(name)).replace(os.sep, "/")
    if os.path.isdir(place):
        files, root = _tars_in(place), place
    else:
        files = [place] if os.path.isfile(place) else expand(place)  # a file's own name may have braces
        root = _root(files)
    _refuse_compressed(files)
    lost = next((file for file in files if not os.path.isfile(file)), None)
    if lost or not files:
        raise LossprintError(f"expected tar files, found none at {lost or place}")

    def part(file: str, start: int, size: int) -> bytes:
        with open(os.path.join(root, file), "rb") as opened:
            opened.seek(start)
            return opened.read(size)

    def beside(file: str) -> bytes | None:
        path = os.path.join(root, file)
        return Path(path).read_bytes() if os.path.exists(path) else None

    relative = tuple(file[len(root) + 1 :] for file in files)
    return Shards(place, root, relative, lambda file: open(os.path.join(root, file), "rb"), part, beside)


def _remote(name: str) -> Shards:
    files = expand(name)
    _refuse_compressed(files)
    root = _root(files)

    def ask(file: str, use: Callable):
        return Place(f"{root}/{file}").call(use)

    def small(system, path: str) -> bytes | None:
        try:
            return system.cat_file(path)
        except (FileNotFoundError, PermissionError):  # S3 says so of what is not there to who may not list a bucket
            return None

    return Shards(
        name,
        root,
        tuple(file[len(root) + 1 :] for file in files),
        open=lambda file: ask(file, lambda system, path: system.open(path, "rb")),
        part=lambda file, start, size: ask(
            file, lambda system, path: system.cat_file(path, start=start, end=start + size)
        ),
        beside=lambda file: ask(file, small),
    )


def _root(files: list[str]) -> str:
    """The folder, or its URL, that all the files are in."""
    folders = [file.split("/")[:-1] for file in files]
    same = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*folders))
    return "/".join(parts[0] for parts in same)


def _refuse_compressed(files: list[str]) -> None:
    compressed = next((file for file in files if file.lower().endswith(COMPRESSED)), None)
    if compressed:
        raise LossprintError(
            f"expected tar files that are not compressed, as images are read from within, found {compressed}: gunzip it"
        )


def expand(pattern: str) -> list[str]:
    """Every name that a pattern with {a,b} and {000..009} stands for, in order, as a shell expands it."""
    pieces, at = [], 0
    for brace in BRACES.finditer(pattern):
        span = RANGE.fullmatch(brace[1])
        if span:
            first, last = int(span[1]), int(span[2])
            wide = len(span[1]) if span[1].startswith("0") or span[2].startswith("0") else 0
            many = abs(last - first) + 1
            numbers = range(first, last + 1) if last >= first else range(first, last - 1, -1)
            pieces.append((pattern[at : brace.start()], [f"{n:0{wide}d}" for n in numbers[: MOST + 1]], many))
        else:
            words = brace[1].split(",")
            words = words if len(words) > 1 else [brace[0]]  # {x} stands for itself
            pieces.append((pattern[at : brace.start()], words, len(words)))
        at = brace.end()
    count = 1
    for _, _, many in pieces:
        count *= many
    if count > MOST:
        raise LossprintError(f"expected at most {MOST:,} tar files, found {count:,} in {pattern}")
    before, rest = [text for text, _, _ in pieces], pattern[at:]
    names = [
        "".join(text + word for text, word in zip(before, words)) + rest
        for words in itertools.product(*(words for _, words, _ in pieces))
    ]
    if len(set(names)) < len(names):
        raise LossprintError(
            f"expected each tar file once, found {Counter(names).most_common(1)[0][0]} again in {pattern}"
        )
    return names


def splits_of(shards: Shards) -> list[str]:
    """The split of each shard. Where no two differ, there is only what is trained on."""
    splits = []
    for file in shards.files:
        folder, _, own = f"{shards.root}/{file}".rpartition("/")
        words = {SPLIT_NAMES[word] for word in WORD.findall(own.lower())}
        words = words or {SPLIT_NAMES[word] for word in WORD.findall(folder.rpartition("/")[2].lower())}
        if len(words) > 1:
            raise LossprintError(
                f"expected one of train, val and test in a tar's name, found {file} in {shards.name}: rename it"
            )
        splits.append(next(iter(words), "train"))
    return splits if len(set(splits)) > 1 else ["train"] * len(splits)


def class_names(shards: Shards) -> list[str]:
    """Names by number, [] where no file has them. Names that come twice get their number added."""
    folders = list(dict.fromkeys(["", os.path.dirname(shards.files[0])]))
    for file in (os.path.join(folder, name) for folder in folders for name in CLASS_FILES):
        try:
            content = shards.beside(file)
            if content is None:
                continue
            text = content.decode("utf-8-sig")
            names = _listed(parsed(text)) if file.endswith(".json") else text.splitlines()
        except (OSError, ValueError, RecursionError) as error:
            raise LossprintError(
                f"expected names of classes, found in {file} of {shards.name}: {one_line(error)}"
            ) from None
        names = [str(name).strip() for name in names]
        while names and not names[-1]:
            names.pop()
        if not all(names):
            raise LossprintError(f"expected a name for each class, found an empty one in {file} of {shards.name}")
        twice = {name for name, count in Counter(names).items() if count > 1}
        return [f"{name} ({at})" if name in twice else name for at, name in enumerate(names)]
    return []


def _listed(names) -> list:
    """The names in a classes.json: a list, {number: name} or {name: number}."""
    if isinstance(names, dict):
        pairs = [(key, name) if str(key).isdigit() else (name, key) for key, name in names.items()]
        numbered = {int(number): name for number, name in pairs if str(number).isdigit()}
        if sorted(numbered) != list(range(len(names))):
            raise ValueError("not the numbers from 0 on, each once")
        names = [numbered[number] for number in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("neither a list of names nor {number: name}")
    return names
