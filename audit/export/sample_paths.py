"""Which sample an image's path means that another tool wrote, perhaps as a URL or from another folder."""

import os
import re
import unicodedata
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

import pandas as pd

from lossprint.audit.datasets.images import EXTENSIONS
from lossprint.audit.datasets.paths import Spelled

PATHS = ("path", "image", "file", "filename")
UPLOAD = re.compile(r"^/data/upload/.*/[0-9a-f]{8}-")  # what Label Studio calls an uploaded file


class Finder:
    """The sample that an image's path means: the same path, or the only one with the same ending."""

    def __init__(self, samples: pd.DataFrame):
        self.paths = dict(zip(samples["path"], samples["sample"].tolist()))
        self.ids = set(self.paths.values())
        self._spelled = Spelled(self.paths)
        self._by_name: dict[str, list[str]] | None = None

    def __call__(self, data: dict) -> tuple[int | None, tuple[str, str] | None]:
        """The sample, or what is wrong and with which text."""
        texts = {key: value for key, value in data.items() if isinstance(value, str) and value.strip()}
        images = [value for value in texts.values() if os.path.splitext(value.lower())[1] in EXTENSIONS]
        path = next((texts[key] for key in PATHS if key in texts), images[0] if len(images) == 1 else None)
        if path is None:
            number = str(data.get("sample", "")).strip()
            if number.isascii() and number.isdigit() and len(number) < 19 and int(number) in self.ids:
                return int(number), None
            return None, ("no known path or sample id", number)
        same = self._spelled.like(path)
        if len(same) == 1:
            return self.paths[same[0]], None
        if same:
            return None, ("a path of which several samples differ in Unicode form alone", path)
        found = self._ending(path)
        if len(found) == 1:
            return self.paths[found[0]], None
        return None, ("an ambiguous path" if found else "an unknown path", path)

    def _ending(self, path: str) -> list[str]:
        wanted = _composed(_plain(path))
        if self._by_name is None:
            self._by_name = {}
            for known in self.paths:
                self._by_name.setdefault(_composed(known).rsplit("/", 1)[-1], []).append(known)
        near = self._by_name.get(wanted.rsplit("/", 1)[-1], [])
        longer = [known for known in near if f"/{_composed(known)}".endswith(f"/{wanted}")]
        if longer:
            return longer
        shorter = [known for known in near if wanted.endswith("/" + _composed(_plain(known)))]
        longest = max(map(len, shorter), default=0)
        return [known for known in shorter if len(known) == longest]


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _plain(path: str) -> str:
    """A path without what surrounds it in a URL, in Label Studio's local and uploaded files, or on another system."""
    if UPLOAD.match(path):
        return unquote(UPLOAD.sub("", path))
    try:
        parts = urlsplit(path) if "://" in path or path.startswith("/data/local-files/") else None
    except ValueError:  # it only looks like a URL
        parts = None
    if parts is not None:
        path = parse_qs(parts.query).get("d", [""])[0] or unquote(parts.path)
    return os.path.normpath(str(PurePosixPath(path.replace("\\", "/")))).replace(os.sep, "/").lstrip("/")
