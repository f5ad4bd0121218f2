"""Paths as other programs write them: absolute (here, or as on another machine), with backslashes, in another Unicode
form or another case -> those of the files."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

from lossprint.audit.system.csvfile import unguard

ABSOLUTE = re.compile(r"/|[A-Za-z]:[\\/]|\\\\")  # of this machine, with a drive's letter, or of a share
TRIED = 100  # paths that are looked for, to tell whether a folder is the one that another machine calls otherwise


def of_file_url(path: str) -> str:
    """The path that a file URL of this machine names; another text as it is."""
    return unquote(path[len("file://") :]) if path.startswith("file:///") else path


def relative(root: Path, path: str) -> str:
    """A path with the dataset's folder before it, without; else as it is. Nothing is read but where the folder is."""
    path = of_file_url(path)
    if not path.startswith("/"):
        return path
    plain = os.path.normpath(path)
    for folder in (str(root), os.path.realpath(root)):
        if plain.startswith(f"{folder.rstrip('/')}/"):
            return os.path.relpath(plain, folder)
    return path


def meant(root: Path, path: str) -> str:
    """One text for all ways to write the path of a file. Nothing is read but where the folder is."""
    slashed = relative(root, path).replace("\\", "/")
    return unicodedata.normalize("NFC", os.path.normpath(slashed))


class Spelled:
    """Where known texts stand, each found as it is or, where only one is so, in another Unicode form or guarded.

    Macs write letters decomposed, in paths as in labels, and a spreadsheet keeps the apostrophe of a guarded cell. Of
    `paths`, slashes may be backslashes and what stands before an absolute one does not count.
    """

    def __init__(self, known: Iterable[str], paths: bool = False):
        self.known = {text: at for at, text in enumerate(known)}
        self._composed: dict[str, list[str]] | None = None
        self.paths = paths

    def __call__(self, text: str) -> str | None:
        """The known text that is meant, None where there is none or several are."""
        meant = self.like(text)
        return meant[0] if len(meant) == 1 else None

    def form(self, text: str) -> str:
        """One text for all ways to write it."""
        return unicodedata.normalize("NFC", os.path.normpath(text.replace("\\", "/")) if self.paths else text)

    def like(self, text: str) -> list[str]:
        """The known texts that may be meant."""
        if text in self.known:
            return [text]
        if self._composed is None:
            self._composed = {}
            for one in self.known:
                self._composed.setdefault(self.form(one), []).append(one)
        composed = self.form(text)
        meant = self._composed.get(composed) or self._composed.get(unguard(composed), [])
        if self.paths and not meant and ABSOLUTE.match(text):
            ends = (composed[cut.end() :] for cut in re.finditer("/+", composed))
            meant = next((self._composed[end] for end in ends if end in self._composed), [])
        return meant


class Tree:
    """The names of files below `root`, each folder listed once, and only where a path does not fit as it is."""

    def __init__(self, root: Path):
        self.root = root
        self.names: dict[str, dict[str, str]] = {}

    def there(self, path: str) -> str | None:
        """The path of the file that is meant, where one is there: with slashes, and letters in either Unicode form."""
        if "\0" in path:
            return None
        if "\\" in path and not os.path.exists(self.root / path):
            path = path.replace("\\", "/")
        if path.startswith("/") or ".." in path.split("/"):
            return None
        place = ""
        for part in path.split("/"):
            if part in ("", "."):
                continue
            name = part
            if not os.path.exists(os.path.join(self.root, place, part)):
                form = unicodedata.normalize("NFC", part)
                name = self._names(place).get(form) or self._names(place).get((form.casefold(),))
            if name is None:
                return None
            place = os.path.join(place, name)
        return place

    def _names(self, folder: str) -> dict[str | tuple[str], str]:
        """The names in a folder by their form and, in a tuple, by their form in small letters, if only one is so."""
        if folder not in self.names:
            try:
                listed = os.listdir(os.path.join(self.root, folder))
            except OSError:
                listed = []
            names = {unicodedata.normalize("NFC", name): name for name in sorted(listed)}
            small = Counter(form.casefold() for form in names)
            alone = {(form.casefold(),): name for form, name in names.items() if small[form.casefold()] == 1}
            self.names[folder] = {**names, **alone}
        return self.names[folder]


def settled(root: Path, paths: list[str]) -> tuple[list[str], list[str]]:
    """The paths (N,) as they are below `root`, and a note for each way in which some were written otherwise."""
    tree, settled, counts, paths = Tree(root), [], {}, list(map(of_file_url, paths))
    abroad = _abroad(tree, [path for path in paths if ABSOLUTE.match(path) and relative(root, path) == path])
    for path in paths:
        own = relative(root, path)
        if abroad and own.replace("\\", "/").startswith(abroad):
            counts.setdefault(f"{abroad} before them, the dataset's folder elsewhere: made relative", []).append(path)
            own = own.replace("\\", "/")[len(abroad) :].lstrip("/")
        elif own != path:
            counts.setdefault("the dataset's own folder before them: made relative", []).append(path)
        if "\0" not in own and not os.path.lexists(root / own):
            other = tree.there(own)
            if other is not None and other != own:
                way = "letters in another Unicode form: found"
                if "\\" in own:
                    way = "backslashes: read as slashes"
                elif unicodedata.normalize("NFC", own) != unicodedata.normalize("NFC", other):
                    way = "letters in another case: found"
                counts.setdefault(way, []).append(own)
                own = other
        settled.append(own)
    return settled, [f"{len(some):,} paths with {way}, such as {some[0]}" for way, some in counts.items()]


def _abroad(tree: Tree, paths: list[str]) -> str:
    """What stands before absolute paths of another machine, up to the name that this dataset's folder has there; empty
    where their files are not below the root. The shortest that fits, with most of some paths' files behind it."""
    if not paths:
        return ""
    slashed = [path.replace("\\", "/") for path in paths]
    common = os.path.commonprefix(slashed)  # noqa: RUF071 (it is cut at slashes below)
    tried = slashed[:: max(len(slashed) // TRIED, 1)][:TRIED]
    if any(map(os.path.lexists, tried)):  # this machine's own, outside of the dataset
        return ""
    for cut in re.finditer("/+", common):
        if sum(tree.there(path[cut.end() :]) is not None for path in tried) * 2 > len(tried):
            return common[: cut.end()]
    return ""
