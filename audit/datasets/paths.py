"""Paths as other programs write them: absolute, with backslashes or in another Unicode form -> those of the files."""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from lossprint.audit.system.csvfile import unguard


def relative(root: Path, path: str) -> str:
    """A path with the dataset's folder before it, without; else as it is. Nothing is read but where the folder is."""
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

    Macs write letters decomposed, in paths as in labels, and a spreadsheet keeps the apostrophe of a guarded cell.
    """

    def __init__(self, known: Iterable[str]):
        self.known = {text: at for at, text in enumerate(known)}
        self._composed: dict[str, list[str]] | None = None

    def __call__(self, text: str) -> str | None:
        """The known text that is meant, None where there is none or several are."""
        meant = self.like(text)
        return meant[0] if len(meant) == 1 else None

    def like(self, text: str) -> list[str]:
        """The known texts that may be meant."""
        if text in self.known:
            return [text]
        if self._composed is None:
            self._composed = {}
            for one in self.known:
                self._composed.setdefault(unicodedata.normalize("NFC", one), []).append(one)
        composed = unicodedata.normalize("NFC", text)
        return self._composed.get(composed) or self._composed.get(unguard(composed), [])


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
                name = self._names(place).get(unicodedata.normalize("NFC", part))
            if name is None:
                return None
            place = os.path.join(place, name)
        return place

    def _names(self, folder: str) -> dict[str, str]:
        if folder not in self.names:
            try:
                listed = os.listdir(os.path.join(self.root, folder))
            except OSError:
                listed = []
            self.names[folder] = {unicodedata.normalize("NFC", name): name for name in sorted(listed)}
        return self.names[folder]


def settled(root: Path, paths: list[str]) -> tuple[list[str], list[str]]:
    """The paths (N,) as they are below `root`, and a note for each way in which some were written otherwise."""
    tree, settled, counts = Tree(root), [], {}
    for path in paths:
        own = relative(root, path)
        if own != path:
            counts.setdefault("the dataset's own folder before them: made relative", []).append(path)
        if "\0" not in own and not os.path.lexists(root / own):
            other = tree.there(own)
            if other is not None and other != own:
                way = "backslashes: read as slashes" if "\\" in own else "letters in another Unicode form: found"
                counts.setdefault(way, []).append(own)
                own = other
        settled.append(own)
    return settled, [f"{len(some):,} paths with {way}, such as {some[0]}" for way, some in counts.items()]
