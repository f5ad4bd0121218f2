"""A run copied to an fsspec URL, or from one: what `lossprint sync` and `--sync` do.

Only what differs is copied, by the list of sizes and digests that each copy leaves on both sides (`LIST`). run.json is
taken away before the first file is copied and comes last, so that a copy that was cut off is never taken for a run; the
next one goes on with it. What only the target changed since the last copy stays; what both changed is refused.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lossprint.audit.runs import checksums
from lossprint.audit.runs.run import FINISHED, Run
from lossprint.audit.system.atomic import atomic, remove, write_text
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.system.locks import writing
from lossprint.audit.system.sqlite import SUFFIXES, guard, refuse_odd
from lossprint.audit.system.sqlite import refuse_links as refuse_database_links
from lossprint.audit.system.urls import FIRST, STORES, WEB, WORKERS, Place, is_url, protocol_of, relative
from lossprint.audit.types import LossprintError, one_line

LIST = ".sync.json"  # {"url": ..., "files": Files}: what was the same on both sides after the last copy
RUN, DECISIONS = checksums.RUN, "reviews.db"
Files = dict[
    str, list
]  # path in the run -> [bytes, digest], "" for one that is not known; of decisions that of its rows


@dataclass(frozen=True)
class Copied:
    """What a copy did: files copied and removed at the target, bytes copied, and the files that are newer there."""

    files: int
    removed: int
    size: int
    newer: list[str]


def sync(source: str | Path, target: str | Path) -> Copied:
    """Copy the run at `source` to `target`; one of them is an fsspec URL, the other a folder of this machine.

    Raises LossprintError where there is no run at the source, where the target holds anything else or was changed since
    the last copy, and where both have new decisions.
    """
    source, target = str(source), str(target)
    if is_url(source) == is_url(target):
        raise LossprintError(
            f"expected a run folder and a URL such as s3://bucket/runs/mine, in any order, found {source} and {target}"
        )
    if is_url(target):
        return _copy(_Here(Path(source)), _There(target), Path(source), target)
    return _copy(_There(source), _Here(Path(target)), Path(target), source)


@contextmanager
def syncing(folder: str | Path, url: str | None) -> Iterator[None]:
    """While in here, the run in a folder is copied to a URL after each stage that is finished, and once in the end.

    A copy that fails in between is said on standard error, and the next one makes up for it; the last one raises. No
    URL: nothing is copied. Raises LossprintError at once where the run could not be copied there in the end.
    """
    if url is None:
        yield
        return
    folder, here, there = Path(folder).absolute(), _Here(Path(folder)), _There(url)
    _planned(here.files(), there.files(), _last(folder, url), folder, there)

    def copy(run: Run) -> None:
        if run.path.absolute() == folder:
            try:
                sync(folder, url)
            except LossprintError as error:
                print(f"lossprint: not copied yet: {error}", file=sys.stderr)

    FINISHED.append(copy)
    try:
        yield
    finally:
        FINISHED.remove(copy)
    sync(folder, url)


def _copy(source: "_Here | _There", target: "_Here | _There", folder: Path, url: str) -> Copied:
    """Copy what differs; `folder` and `url` are the two of them."""
    with writing(folder), tempfile.TemporaryDirectory(prefix="lossprint-") as scratch:
        files = source.files()
        if RUN not in files:
            cut_off = "one that was not copied whole" if LIST in files else "none"
            raise LossprintError(f"expected a run folder (one with a {RUN}), found {cut_off} at {source}")
        there, last = target.files(), _last(folder, url)
        plan = _planned(files, there, last, source, target)
        both = {name: one for name, one in files.items() if name not in (LIST, *plan.stay)}  # the same in the end
        both |= {name: last[name] for name in plan.stay if name in last}

        def move(name: str) -> None:
            both[name] = target.put(name, source.fetch(name, Path(scratch), files[name]))

        with writing(folder, make=True):
            up = isinstance(target, _There)
            if plan.wanted or plan.gone:
                before = {name: one for name, one in there.items() if name not in plan.wanted} if up else last
                target.write_list(url, before)
                if RUN not in plan.stay:
                    target.drop(RUN)
                _each(move, [name for name in plan.wanted if not _is_last(name)])
                _each(target.drop, plan.gone)
                last_ones = {*filter(_is_last, plan.wanted), *({RUN} - {*plan.stay})}
                for name in sorted(last_ones, key=lambda name: (name.endswith(RUN), name == RUN)):
                    move(name)
            if up and (plan.wanted or plan.gone):
                target.write_list(url, both | {name: there[name] for name in plan.stay if name in there})
            if last != both:
                _Here(folder).write_list(url, both)
    return Copied(len(plan.wanted), len(plan.gone), sum(both[name][0] for name in plan.wanted), plan.stay)


@dataclass(frozen=True)
class _Plan:
    """The files to copy, those to remove at the target, and those that stay there, as only the target changed them."""

    wanted: list[str]
    gone: list[str]
    stay: list[str]


def _planned(files: Files, there: Files, last: Files, source: object, target: object) -> _Plan:
    """What to do with each file. Raises LossprintError for a target that holds anything else, and where both sides
    changed a file since the last copy; one that was cut off is overwritten, but not its decisions."""
    cut_off = RUN not in there
    if cut_off and there and LIST not in there:
        raise LossprintError(
            f"expected a new or empty folder for the run, found other files at {target}, such as {min(there)}"
        )
    if not cut_off and RUN not in files:
        raise LossprintError(f"expected no run at {target} before there is one at {source}, found one: copy it first")
    plan, conflicts = _Plan([], [], []), []
    for name in sorted({*files, *there} - {LIST}):
        digest, known, before = (side.get(name, [0, ""])[1] for side in (files, there, last))
        if name in files and name in there and known == digest != "":
            continue
        if known == before or name not in there or (cut_off and not _is_decisions(name)):
            if name not in files:
                plan.gone.extend([name] * (name in last))
            elif name not in there and digest == before and not cut_off:
                plan.stay.append(name)  # removed there
            else:
                plan.wanted.append(name)
        elif name not in files or digest == before:
            plan.stay.append(name)
        else:
            conflicts.append(name)
    if conflicts:
        name = min(conflicts, key=lambda name: (name != RUN, not _is_decisions(name), name))
        raise LossprintError(
            f"expected each file to be changed on one side only since the last sync, found another {name} at {source} "
            f"than at {target}: copy to a new place with lossprint sync, or move one of the two away"
        )
    return plan


def _is_decisions(name: str) -> bool:
    return name.rpartition("/")[2] == DECISIONS


def _is_log(name: str) -> bool:
    """Whether a file is SQLite's own beside the decisions: another one's there would be played into ours."""
    return name.startswith(tuple(DECISIONS + suffix for suffix in SUFFIXES if suffix))


def _is_none(name: str) -> bool:
    """Whether a file at a URL is none of a run's, so that it is neither copied nor removed."""
    *folders, last = name.split("/")
    return _is_log(last) or (name != LIST and any(one.startswith(".") for one in (*folders, last)))


def _is_last(name: str) -> bool:
    """Whether a file says of others that they are there."""
    return name.rpartition("/")[2] in (RUN, checksums.LIST)


def _each(call: Callable[[str], object], names: list[str]) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(call, names))


# ------------------------------------------------------------------------------------------------------ the two sides


class _Here:
    """The run folder on this machine."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def files(self) -> Files:
        """All files but those that are being written."""
        files: Files = {}
        for folder, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for file in (Path(folder) / name for name in names if not _is_log(name)):
                if file.is_symlink():  # what it names may be anybody's
                    raise LossprintError(f"expected a run folder of plain files to copy, found the link {file}")
                if file.is_file() and (file == self.folder / LIST or not file.name.startswith(".")):
                    read = _about_decisions if file.name == DECISIONS else checksums.of
                    files[file.relative_to(self.folder).as_posix()] = read(file)
        return files

    def fetch(self, name: str, scratch: Path, about: list) -> Path:
        return _snapshot(self.folder / name, scratch) if _is_decisions(name) else self.folder / name

    def put(self, name: str, content: Path) -> list:
        target = self.folder / name
        if _is_decisions(name):  # others may read in it meanwhile
            target.parent.mkdir(parents=True, exist_ok=True)
            _backup(content, target)
            return _about_decisions(target)
        with atomic(target) as part:
            shutil.move(content, part)
        return checksums.of(target)

    def drop(self, name: str) -> None:
        remove(self.folder / name)

    def write_list(self, url: str, files: Files) -> None:
        write_text(self.folder / LIST, _list_text(url, files))


class _There:
    """The folder at a URL."""

    def __init__(self, url: str):
        self.place = Place(url.rstrip("/"))
        if not is_url(url) or protocol_of(url) in WEB:
            raise LossprintError(f"expected the URL of a folder, such as s3://bucket/runs/mine, found {url}")

    def __str__(self) -> str:
        return self.place.url

    def files(self) -> Files:
        """All files where a run was copied to, else what is directly in the folder. What is not in the list that a copy
        left, or has another size, is read for its digest, and has none where the copy was cut off."""
        if not any(self.place.below(name).info(first=True) for name in (RUN, LIST)):
            return {name: [0, ""] for name in self._names()}
        listing, base = self.place.call(lambda fs, path: (_listing(fs, path), path), FIRST)
        known = _read_list(self._read(LIST))
        files: Files = {}
        for path, about in listing.items():
            name = relative(path.removeprefix(base).lstrip("/"), "", f"{self}/")
            if _is_none(name):
                continue
            one = known.get(name, [0, ""])
            files[name] = one if about.get("size") == one[0] else [about.get("size") or 0, ""]
        if RUN in files:
            content = self._read(RUN) or b""
            files[RUN] = [len(content), _digest(content)]
        for name, one in files.items():
            if _is_decisions(name) or (RUN in files and not one[1] and name != LIST):
                with tempfile.TemporaryDirectory(prefix="lossprint-") as scratch:
                    read = _about_decisions if _is_decisions(name) else checksums.of
                    files[name] = read(self.fetch(name, Path(scratch), [0, ""]))
        return files

    def _names(self) -> list[str]:
        try:
            paths = self.place.call(lambda fs, path: fs.ls(path, detail=False), FIRST)
        except FileNotFoundError:
            return []
        return sorted({path.rstrip("/").rpartition("/")[2] for path in paths} - {str(self).rpartition("/")[2], ""})

    def _read(self, name: str) -> bytes | None:
        try:
            return self.place.below(name).read()
        except FileNotFoundError:
            return None

    def fetch(self, name: str, scratch: Path, about: list) -> Path:
        file = scratch / hashlib.sha256(name.encode()).hexdigest()
        try:
            self.place.below(name).call(lambda fs, path: fs.get_file(path, str(file)))
        except FileNotFoundError:
            raise self._changed(name) from None
        if about[1] and (_about_decisions if _is_decisions(name) else checksums.of)(file)[1] != about[1]:
            raise self._changed(name)
        return file

    def _changed(self, name: str) -> LossprintError:
        return LossprintError(f"expected {name} of {self} as it was copied there, found another: copy it there again")

    def put(self, name: str, content: Path) -> list:
        def write(fs, path: str) -> None:
            if protocol_of(str(self)) not in STORES:  # which have no folders
                fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            fs.put_file(str(content), path)

        self.place.below(name).call(write)
        return (_about_decisions if _is_decisions(name) else checksums.of)(content)

    def drop(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self.place.below(name).call(lambda fs, path: fs.rm_file(path))

    def write_list(self, url: str, files: Files) -> None:
        with tempfile.TemporaryDirectory(prefix="lossprint-") as scratch:
            content = Path(scratch) / LIST
            content.write_text(_list_text(url, files), encoding="utf-8")
            self.put(LIST, content)


def _listing(fs, path: str) -> dict[str, dict]:
    fs.invalidate_cache()
    return fs.find(path, detail=True)


# ------------------------------------------------------------------------------------------------------------ the list


def _last(folder: Path, url: str) -> Files:
    """What was the same in the folder and at the URL after the last copy."""
    try:
        content = (folder / LIST).read_bytes()
    except FileNotFoundError:
        return {}
    return _read_list(content, url)


def _read_list(content: bytes | None, url: str | None = None) -> Files:
    """A list that cannot be read is as none: all is copied, or refused where there is a run already."""
    try:
        fields = parsed(content or b"{}")
        files = fields["files"] if url is None or fields["url"] == url.rstrip("/") else {}
        return {name: [int(size), str(digest)] for name, (size, digest) in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _list_text(url: str, files: Files) -> str:
    return json.dumps({"url": url.rstrip("/"), "files": dict(sorted(files.items()))}, indent=1) + "\n"


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


# ----------------------------------------------------------------------------------------------------------- decisions


def _about_decisions(file: Path) -> list:
    """The size and the digest of what people have written: decisions and who was assigned what, not the claims of now,
    nor how SQLite keeps them."""
    refuse_database_links(file)
    digest = hashlib.blake2b(digest_size=16)
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=20)) as database:
            guard(database)
            refuse_odd(lambda query: database.execute(query).fetchall(), file)
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for name in ("assignments", "reviews"):
                if name in tables:
                    for row in database.execute(f"SELECT * FROM {name} ORDER BY id"):
                        digest.update(repr((name, row)).encode())
    except sqlite3.Error as error:
        raise LossprintError(f"expected a readable database of decisions at {file}, found: {one_line(error)}") from None
    return [file.stat().st_size, digest.hexdigest()]


def _snapshot(file: Path, scratch: Path) -> Path:
    """A copy of the database as it is between two decisions."""
    copy = scratch / f"{_digest(str(file).encode())}.db"
    _backup(file, copy)
    return copy


def _backup(source: Path, target: Path) -> None:
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=20)) as before,
            closing(sqlite3.connect(target, timeout=20)) as after,
        ):
            before.backup(after)
    except sqlite3.Error as error:
        raise LossprintError(f"expected decisions that can be copied at {source}, found: {one_line(error)}") from None
