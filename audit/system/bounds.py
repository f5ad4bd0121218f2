"""How much a packed file may take once it is unpacked: a few kilobytes may say that they are terabytes."""

import zipfile
from pathlib import Path

from lossprint.audit.system.memory import free_memory
from lossprint.audit.types import LossprintError

RATIO = 100  # bytes in memory a byte of the file: tables of runs have about 5
ROOM = 256 << 20  # bytes that any file may take


def most_of(size: int) -> int:
    """The bytes that the content of a packed file of `size` bytes may take in memory."""
    return min(max(ROOM, RATIO * size), free_memory() // 2)


def refuse_unpacked(archive: zipfile.ZipFile, file: Path) -> None:
    """Raise LossprintError for an archive of arrays that unpacks to more: by the sizes that it states, beyond which
    nothing of it is unpacked."""
    size, most = sum(one.file_size for one in archive.infolist()), most_of(file.stat().st_size)
    if size > most:
        raise LossprintError(
            f"expected arrays of at most {most / 1e9:,.1f} GB, as many as a file of its length may hold, in {file}, "
            f"found {size / 1e9:,.1f} GB"
        )
