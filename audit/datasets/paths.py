"""Paths as other programs write them: absolute, with backslashes or in another Unicode form -> those of the files."""

import os
import unicodedata
from pathlib import Path


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
