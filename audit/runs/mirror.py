"""Run folders at fsspec URLs: a working copy on this machine, and every finished file put at the URL right after it.

The rest of the program works on files of this machine. A working copy is brought up to date when a run is opened by
its URL: small tables are fetched then, what is large (trajectories, weights, ...) when it is read. What `atomic`
finishes in the copy is uploaded after its rename, in that order, so that run.json, written last, still means a whole
stage, and what was killed here goes on elsewhere. Objects are put whole: a reader never sees half a file.

Decisions stay here, in reviews.db of the working copy (or where LOSSPRINT_DATABASE_URL says): a bucket holds no SQLite.
They are neither uploaded, nor fetched, nor ever removed.
"""

import hashlib
import json
import os
import re
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lossprint.audit.system.atomic import MIRRORS, atomic
from lossprint.audit.system.urls import (
    STORES,
    WORKERS,
    Place,
    Unreachable,
    home,
    is_url,
    protocol_of,
    relative,
    version,
)
from lossprint.audit.types import LossprintError

RUN = "run.json"
DECISIONS = "reviews.db"  # also reviews.db-wal and -shm
# Fetched when they are read. Showing a gallery needs none of them.
PARTS = ("trajectories/", "members/", "curvature/")
LATER = (*PARTS, "checkpoints/", "temporal/", "frames/images/", "exports/", "new/")
LATER_FILES = ("pairs.parquet", "resume.safetensors")
WHOLE_PUTS = (*STORES, "memory")  # elsewhere a file is put beside its name and renamed
ROUNDS = 3  # tries to see a run that is being written stand still


class NotUploaded(LossprintError):
    """A finished file could not be put at the URL; it is kept in the working copy, which the message names."""


@dataclass(frozen=True)
class Known:
    """A file as it was when it was last the same here and at the URL."""

    remote: str
    size: int
    changed: int


def place(path: str | Path, write: bool = False) -> Path:
    """A run's folder on this machine: `path` itself, or the working copy of a URL, brought up to date."""
    return working_copy(path, write) if is_url(path) else Path(path)


def working_copy(url: str, write: bool = False) -> Path:
    """Bring the working copy of the run at a URL up to date; from now on what is finished in it is uploaded as well.

    With `write` the run may be a new one, and what an earlier call could not upload is uploaded now. Raises
    LossprintError where there is no run, or where there is something else.
    """
    url = url.rstrip("/")
    name = re.sub(r"[^\w.=+-]", "_", url.rpartition("/")[2]).lstrip(".") or "run"
    folder = home("LOSSPRINT_DATA", "XDG_DATA_HOME", ".local/share") / "runs" / _digest(url) / name
    mirror = next((one for one in MIRRORS if one.folder == folder), None) or Mirror(Place(url), folder)
    mirror.bring(write)
    if mirror not in MIRRORS:
        MIRRORS.append(mirror)
    return folder


def shown(path: str | Path) -> str:
    """How to name a run, or a folder in one, to its user: by the URL where it was opened by one."""
    for mirror in MIRRORS:
        for folder in (mirror.folder, mirror.folder.resolve()):
            if Path(path).absolute().is_relative_to(folder):
                return f"{mirror.url}/{Path(path).absolute().relative_to(folder).as_posix()}".removesuffix("/.")
    return str(path)


def spoken(error: LossprintError) -> str:
    """The error's line, with runs named by their URLs; one about the working copy names that."""
    text = str(error)
    if not isinstance(error, NotUploaded):
        for mirror in MIRRORS:
            text = text.replace(str(mirror.folder), mirror.place.url)
    return text


def about_decisions(path: Path) -> str | None:
    """Where the decisions on a run at a URL are kept, in one line; None for another run or a team's database."""
    if os.environ.get("LOSSPRINT_DATABASE_URL") or shown(path) == str(path):
        return None
    return (
        f"decisions are kept on this machine, in {path / DECISIONS}, not at {shown(path)}; "
        "LOSSPRINT_DATABASE_URL names a database to share"
    )


class Mirror:
    """A working copy and its URL. `atomic.MIRRORS` holds those of this process; processes may share a folder.

    known: what was the same on both sides, kept in a journal beside the folder, one JSON line a change. there: what is
    at the URL, as listed last and written since: name -> what its store says.
    """

    def __init__(self, place: Place, folder: Path):
        self.place, self.folder = place, folder
        self.journal = folder.parent / "journal.jsonl"
        self.known: dict[str, Known] = {}
        self.there: dict[str, dict] = {}
        self._lock = threading.Lock()

    # What `atomic` tells --------------------------------------------------------------------------------------

    def finished(self, path: Path) -> None:
        """A file was renamed into place: upload it. Before run.json goes whatever else is not there yet."""
        name = self._name(path)
        if name is None or _stays(name):
            return
        if name == RUN:
            self._refuse_changed()
            for other in self.pending():
                if other != RUN:
                    self._put(other)
        self._put(name)

    def removed(self, path: Path) -> None:
        """A file is about to be removed here: remove it there."""
        name = self._name(path)
        if name is None or _stays(name):
            return
        target = self.place.below(name)
        try:
            target.call(lambda fs, path: fs.rm_file(path))
        except FileNotFoundError:
            pass
        except LossprintError as error:
            raise self._not_uploaded(f"{name} removed", error) from None
        self.there.pop(name, None)
        self._note(name, None)

    def needed(self, path: Path) -> None:
        """A file or folder is about to be read: fetch what is not here."""
        name = self._name(path)
        if name is None:
            return
        wanted = [name] if name in self.there else [one for one in self.there if one.startswith(f"{name}/")]
        self._fetch([one for one in wanted if not self._current(one) and not self._changed(one)])

    def names(self, folder: Path) -> set[str]:
        """What a folder has at the URL, files and folders."""
        start = f"{self._name(folder)}/"
        return {one.removeprefix(start).partition("/")[0] for one in self.there if one.startswith(start)}

    # Opening --------------------------------------------------------------------------------------------------

    def bring(self, write: bool) -> None:
        """See `working_copy`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._replay()
        for _ in range(ROUNDS):
            about = self.place.below(RUN).info(first=True)
            if about is None:
                self._absent(write)
                break
            self.there = self._listing()
            if RUN not in self.there:
                continue
            self._settle()
            wanted = [name for name in self.there if name != RUN and not _later(name, write)]
            self._fetch([name for name in wanted if not self._current(name) and not self._changed(name)])
            if version(self.place.below(RUN).info() or {}) == version(self.there[RUN]):
                if not self._current(RUN) and not self._changed(RUN):
                    self._fetch([RUN])
                break
        else:
            raise LossprintError(f"expected a run that nobody writes now, found another at each look at {self.url}")
        waiting = self.pending()
        if write:
            for name in waiting:
                self._put(name)
        elif waiting:
            self._say(f"{len(waiting):,} files of {self.folder} are not at {self.url} yet: --resume uploads them")

    @property
    def url(self) -> str:
        return self.place.url

    def _absent(self, write: bool) -> None:
        """There is no run.json at the URL: good for a new run, if nothing else is there."""
        self.there = {}
        if RUN in self.known and not (self.folder / RUN).is_file():  # gone on both sides
            for name in list(self.known):
                self._note(name, None)
        if RUN in self.known:
            raise LossprintError(
                f"expected the run at {self.url}, found none any more; its copy is still in {self.folder}: copy it "
                "back, or move it away"
            )
        below = self._names_below()
        runs = [name for name in below if self.place.below(f"{name}/{RUN}").info() is not None] if below else []
        if runs:
            some = ", ".join(runs[:5]) + (", ..." if len(runs) > 5 else "")
            raise LossprintError(f"expected one run, found a folder of runs at {self.url}: open one of them ({some})")
        if not write and not (self.folder / RUN).is_file():
            raise LossprintError(f"expected a run folder (one with a {RUN}), found none at {self.url}")
        others = [name for name in below if name != "frames"]
        if others:
            raise LossprintError(
                f"expected a new or empty folder for the run, found other files at {self.url}, such as {others[0]}"
            )

    def _names_below(self) -> list[str]:
        try:
            listing = self.place.call(lambda fs, path: fs.ls(path, detail=True))
        except FileNotFoundError:
            return []
        names = {one["name"].rstrip("/").rpartition("/")[2] for one in listing}
        return sorted(names - {self.url.rpartition("/")[2], ""})

    def _listing(self) -> dict[str, dict]:
        """What is at the URL. Raises LossprintError for names that would lead out of the working copy."""
        found, base = self.place.call(lambda fs, path: (_found(fs, path), path))
        names = {name.removeprefix(base).lstrip("/"): about for name, about in found.items()}
        kept = {name: about for name, about in names.items() if name and not name.endswith("/") and not _stays(name)}
        return {relative(name, "", f"{self.url}/"): about for name, about in kept.items()}

    def _settle(self) -> None:
        """Bring both sides together where they differ from what was the same.

        Where the run went on elsewhere since (its run.json is another), files that were never uploaded are set aside.
        """
        here = (self.folder / RUN).is_file()
        last = self.known[RUN].remote if RUN in self.known else None
        elsewhere = (here or last is not None) and last != version(self.there[RUN]) and not (here and self._same(RUN))
        aside = self.folder.parent / f"aside-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        moved = 0
        for name in self.pending():
            if name in self.there and self._same(name):
                self._note(name, self._stat(name, version(self.there[name])))
            elif elsewhere:
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(self.folder / name, aside / name)
                moved += 1
        if moved:
            self._say(f"{moved:,} files of {self.url} had gone on here and elsewhere: those of here are now in {aside}")
        for name in [name for name in self.known if name not in self.there]:
            if not self._changed(name):  # removed at the URL by whoever went on
                (self.folder / name).unlink(missing_ok=True)
            self._note(name, None)

    def _same(self, name: str) -> bool:
        """Whether a file is byte by byte what is at the URL, as after a kill between an upload and its note."""
        mine = self.folder / name
        if mine.stat().st_size != self.there[name].get("size"):
            return False
        try:
            return mine.read_bytes() == self.place.below(name).read()
        except FileNotFoundError:
            return False

    # Files ----------------------------------------------------------------------------------------------------

    def pending(self) -> list[str]:
        """The files that are not at the URL as they are here, oldest first, run.json last."""
        found = []
        for folder, folders, files in os.walk(self.folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [(Path(folder) / name).relative_to(self.folder).as_posix() for name in files]
        changed = [name for name in found if not _stays(name) and self._changed(name)]
        return sorted(changed, key=lambda name: (name == RUN, (self.folder / name).stat().st_mtime_ns, name))

    def _name(self, path: Path) -> str | None:
        """A path below the folder, None for one that is not."""
        path = Path(os.path.abspath(path))
        return path.relative_to(self.folder).as_posix() if self.folder in path.parents else None

    def _stat(self, name: str, remote: str) -> Known | None:
        try:
            status = os.stat(self.folder / name)
        except OSError:
            return None
        return Known(remote, status.st_size, status.st_mtime_ns)

    def _changed(self, name: str) -> bool:
        """Whether a file here is another than the one that was last the same on both sides."""
        known = self.known.get(name)
        now = self._stat(name, known.remote if known else "")
        return now is not None and now != known

    def _current(self, name: str) -> bool:
        known = self.known.get(name)
        return known is not None and self._stat(name, version(self.there[name])) == known

    def _fetch(self, names: list[str]) -> None:
        if len(names) < 2:
            return [self._get(name) for name in names] and None
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(self._get, names))

    def _get(self, name: str) -> None:
        target, about = self.folder / name, self.there[name]
        with atomic(target, mirrored=False) as part:
            try:
                self.place.below(name).call(lambda fs, path: fs.get_file(path, str(part)))
            except FileNotFoundError:
                raise self._moved_on(name) from None
            if about.get("size") not in (None, part.stat().st_size):
                raise self._moved_on(name)
        self._note(name, self._stat(name, version(about)))

    def _moved_on(self, name: str) -> LossprintError:
        return LossprintError(f"expected {name} of {self.url} as it was, found it changed: open the run again")

    def _put(self, name: str) -> None:
        source, target = self.folder / name, self.place.below(name)
        before = self._stat(name, "")
        if before is None:  # it was removed again
            return

        def put(fs, path: str) -> None:
            if protocol_of(self.url) in WHOLE_PUTS:
                fs.put_file(str(source), path)
                return
            folder, _, last = path.rpartition("/")
            fs.makedirs(folder, exist_ok=True)
            fs.put_file(str(source), f"{folder}/.{last}.part")
            fs.mv(f"{folder}/.{last}.part", path)

        try:
            target.call(put)
            about = target.info()
        except (LossprintError, FileNotFoundError) as error:
            raise self._not_uploaded(name, error) from None
        if about is not None:
            self.there[name] = about
            self._note(name, Known(version(about), before.size, before.changed))

    def _not_uploaded(self, what: str, error: Exception) -> NotUploaded:
        found = str(error).partition(", found ")[2] or str(error)
        return NotUploaded(
            f"expected {what} to be uploaded to {self.url}, found {found}; it is kept in {self.folder}, and --resume "
            "uploads what is missing"
        )

    def _refuse_changed(self) -> None:
        """Raise LossprintError where another machine has written run.json since: two that write one run lose both."""
        try:
            about = self.place.below(RUN).info()
        except Unreachable as error:
            raise self._not_uploaded(RUN, error) from None
        known = self.known.get(RUN)
        if (version(about) if about else None) != (known.remote if known else None):
            raise NotUploaded(
                f"expected nobody else to write {self.url} meanwhile, found another {RUN} there; what was made here is "
                f"kept in {self.folder}"
            )

    # The journal ----------------------------------------------------------------------------------------------

    def _note(self, name: str, known: Known | None) -> None:
        """Keep what is now the same on both sides, or (None) that a file is on neither."""
        line = {"name": name} if known is None else {"name": name, **vars(known)}
        with self._lock:
            if known is None:
                self.known.pop(name, None)
            else:
                self.known[name] = known
            with open(self.journal, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def _replay(self) -> None:
        """Read the journal, which other processes may have continued; a line that was cut off says nothing."""
        self.known = {}
        try:
            text = self.journal.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        for line in text.splitlines():
            try:
                found = json.loads(line)
                name = found.pop("name")
                self.known[name] = Known(**found) if found else self.known.pop(name, None)
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
        self.known = {name: known for name, known in self.known.items() if known is not None}
        if text and not text.endswith("\n"):
            with open(self.journal, "a", encoding="utf-8") as file:
                file.write("\n")

    def _say(self, text: str) -> None:
        print(f"lossprint: {text}", file=sys.stderr)


def _found(fs, path: str) -> dict[str, dict]:
    fs.invalidate_cache()
    return fs.find(path, detail=True)


def _later(name: str, write: bool) -> bool:
    """Whether a file is fetched only when it is read. Whoever goes on with a run looks through its parts."""
    if name.endswith("/video.json") or (write and name.endswith(".parquet") and name.startswith(PARTS)):
        return False
    return name in LATER_FILES or name.startswith(LATER)


def _stays(name: str) -> bool:
    """Whether a file is of this machine only: decisions, and what is still being written."""
    return any(part.startswith(".") or f"{part}-".startswith(f"{DECISIONS}-") for part in name.split("/"))


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]
