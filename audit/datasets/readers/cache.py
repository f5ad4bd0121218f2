"""A bounded cache on disk of images that were read from URLs: what is shown again or trained on again is read here.

The original bytes are kept, not smaller copies: training resizes the original, and a resize of a resize has other
pixels; so has a JPEG of a JPEG, and an expert who zooms in wants to see the file. fsspec's own caches (simplecache,
filecache) keep everything for ever, or until it is old, but know no bound in bytes; diskcache has one, but is a further
dependency that unpickles what lies in its folder, and writes to a database at each read to know what was used last.
Here that is the file's own time.
"""

import hashlib
import os
import tempfile
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lossprint.audit.system.locks import alone
from lossprint.audit.system.urls import home
from lossprint.audit.types import LossprintError

BYTES = 2 << 30
LARGEST = 16  # a single file takes at most this part of the bound
LEFT = 0.9  # of the bound, after the least recently used were removed
ABANDONED = 3600.0  # seconds after which a half-written file is nobody's


@dataclass(frozen=True)
class Cache:
    """Files under a key in `folder`, at most `limit` bytes in all; the least recently used go first.

    Several processes and threads may use one folder. A write is whole or not there; one that is killed leaves a file
    that a later one removes. Faults of the disk are passed over: a cache need not work.
    """

    folder: Path
    limit: int

    def get(self, key: str) -> bytes | None:
        path = self._path(key)
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return data

    def put(self, key: str, data: bytes) -> None:
        if len(data) * LARGEST > self.limit:
            return
        try:
            self._put(self._path(key), data)
        except OSError as error:
            warnings.warn(f"images are not cached in {self.folder}: {error.strerror or error}", stacklevel=2)

    def drop(self, key: str) -> None:
        """Remove what turned out to be damaged; it stays counted until files are removed anyway."""
        with suppress(OSError):
            self._path(key).unlink()

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        return self.folder / name[:2] / name

    def _put(self, path: Path, data: bytes) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            with alone(self.folder):
                if path.exists():
                    return
                # Counted first: who is killed in between has counted too much, and the next removal counts anew.
                total = self._counted() + len(data)
                if total > self.limit:
                    total = self._make_room(int(self.limit * LEFT) - len(data)) + len(data)
                (self.folder / "bytes").write_text(f"{total}\n")
                os.replace(name, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name)

    def _counted(self) -> int:
        """Bytes that are taken, as the last write left them."""
        try:
            return int((self.folder / "bytes").read_text())
        except (OSError, ValueError):  # a new folder, or a write that was cut off
            return sum(size for _, size, _ in self._files())

    def _make_room(self, most: int) -> int:
        """Remove the least recently used files until at most `most` bytes are left; how many are."""
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= most:
                break
            with suppress(OSError):
                os.unlink(path)
                total -= size
        return total

    def _files(self) -> list[tuple[float, int, str]]:
        """When each file was last used, its size and its path; what killed writes left is removed."""
        files = []
        for folder in os.scandir(self.folder):
            if not folder.is_dir():
                continue
            for file in os.scandir(folder.path):
                with suppress(OSError):
                    status = file.stat()
                    if not file.name.endswith(".part"):
                        files.append((status.st_mtime, status.st_size, file.path))
                    elif time.time() - status.st_mtime > ABANDONED:
                        os.unlink(file.path)
        return files


def cache() -> Cache | None:
    """This user's cache: LOSSPRINT_CACHE names its folder, LOSSPRINT_CACHE_BYTES its bound, 0 for none."""
    bound = os.environ.get("LOSSPRINT_CACHE_BYTES", "").strip()
    if bound and not bound.isdigit():
        raise LossprintError(f"expected a whole number of bytes in LOSSPRINT_CACHE_BYTES, found {bound!r}")
    limit = int(bound) if bound else BYTES
    folder = home("LOSSPRINT_CACHE", "XDG_CACHE_HOME", ".cache") / "images"
    return Cache(folder, limit) if limit else None
