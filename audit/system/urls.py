"""Files on fsspec URLs: which ones may be named, waits that end, a few retries, and every fault in one line.

The libraries behind fsspec (s3fs, gcsfs, aiohttp, ...) are imported when a URL of theirs is used.
"""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from lossprint.audit.types import LossprintError, one_line

# What a manifest may name. Others read this machine's files (file, zip, local) or its memory.
STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
WEB = ("http", "https")
REMOTE = (*STORES, *WEB)
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "http": "http", "https": "http"}
MODULES = {"s3": "s3fs", "gcs": "gcsfs", "http": "aiohttp"}  # what is missing where an extra is
CONTENT = ("ETag", "etag", "md5Hash", "crc32c", "content_md5")  # how a store tells what is in an object, best first
CHANGED = ("LastModified", "last_modified", "Last-Modified", "mtime", "updated", "created")
WORKERS = 16  # reads at once: they mostly wait

PAUSES = (0.3, 1.0)  # seconds before another try
LONGEST = 25.0  # seconds after which nothing is tried again
FIRST = 30.0  # seconds in which a server has to answer the first time
PATIENCE = 120.0  # seconds in which one file has to be read: libraries that try again within tries may wait for longer
DOWN = 30.0  # seconds for which a server that did not answer is not asked again
BROKEN = {
    # what means that the server was not reached or broke off, by class name: their libraries may not be installed
    *("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError", "HTTPClientError"),
    *("ClientConnectionError", "ClientPayloadError", "ServerDisconnectedError", "ClientOSError", "TransportError"),
    *("TimeoutError", "ConnectionError", "IncompleteRead", "IncompleteReadError", "ResponseParserError", "gaierror"),
}
NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "TokenRetrievalError"}
STALE = ("expired", "credential", "signature", "access key", "invalidaccesskeyid", "token")

Result = TypeVar("Result")
_down: dict[str, float] = {}  # where nobody answered -> until when it is not asked again


class Unreachable(LossprintError):
    """A server did not answer, or knows no such credentials: nothing is known of the file that was asked for."""


def is_url(name: object) -> bool:
    return isinstance(name, str) and "://" in name


def local(folder: str | Path) -> Path:
    """The folder of a run. Raises LossprintError for a URL: runs are read and written on this machine only."""
    if "://" in str(folder):
        raise LossprintError(
            f"expected a run folder on this machine, found the URL {folder}: lossprint sync copies a run from a URL, "
            "and to one"
        )
    return Path(folder)


def protocol_of(url: str) -> str:
    return url.partition("://")[0].lower()


@dataclass(frozen=True)
class Place:
    """A file or folder at an fsspec URL, which the user named. Raises LossprintError for one of chained URLs."""

    url: str

    def __post_init__(self):
        if "::" in self.url:
            raise LossprintError(f"expected a plain URL, found chained ones: {self.url}")

    def connect(self):
        """The file system and the place's path there. Instances are fsspec's own, of this process and thread."""
        try:
            from fsspec.core import url_to_fs

            return url_to_fs(self.url, **_options(protocol_of(self.url)))
        except ImportError as error:
            raise LossprintError(f"expected {_lacking(self.url, error)}") from None
        except ValueError as error:
            raise LossprintError(f"expected the URL of a file or folder, found {self.url}: {one_line(error)}") from None

    def below(self, path: str) -> "Place":
        """A file below a folder; `path` has been checked by `relative`."""
        return Place(f"{self.url.rstrip('/')}/{path}")

    def call(self, use: Callable[..., Result], seconds: float | None = None) -> Result:
        """`use(file system, path)`, tried up to three times; see `attempt`."""
        return attempt(self.url, lambda: use(*self.connect()), seconds if protocol_of(self.url) in REMOTE else None)

    def info(self, first: bool = False) -> dict | None:
        """What the store says of a file, None where there is none."""
        try:
            return self.call(lambda fs, path: fs.info(path), FIRST if first else PATIENCE)
        except FileNotFoundError:
            return None

    def read(self) -> bytes:
        """All bytes of a file that is not empty. Raises FileNotFoundError where there is none, else as `attempt`."""
        # s3fs asks for the size before it reads, unless a range is given; of an image in one go that is one too many.
        ranged = {"start": 0} if protocol_of(self.url) in ("s3", "s3a") else {}
        return self.call(lambda fs, path: fs.cat_file(path, **ranged), PATIENCE)


def relative(path: str, line: str, where: str) -> str:
    """A path that may follow a folder's URL. Raises LossprintError for one that could lead anywhere else.

    Also what a server would decode or normalise: %2e%2e, and names of other protocols.
    """
    for text in (path, unquote(path)):
        parts = text.replace("\\", "/").split("/")
        if is_url(text) or "::" in text or text[:1] in "/\\" or text[1:2] == ":" or "\0" in text or ".." in parts:
            raise LossprintError(f"expected paths below {where}, found {path!r}{line}")
    return path


def remote(url: str, line: str = "") -> str:
    """A URL that a manifest or a run names. Raises LossprintError for one of this machine's own files."""
    if protocol_of(url) not in REMOTE or "::" in url or "\0" in url:
        raise LossprintError(f"expected URLs of {', '.join(REMOTE)}, found {url!r}{line}")
    return url


def version(info: dict) -> str:
    """What changes with a file's content, by what its store says: a digest, or the time and size; "" for neither."""
    size = info.get("size")
    for name in CONTENT:
        if info.get(name):
            return f"{str(info[name]).removeprefix('W/').strip(chr(34))}-{size}"
    for name in CHANGED:
        when = info.get(name)
        if when:
            when = when.timestamp() if isinstance(when, datetime) else when
            return f"{when:.6f}-{size}" if isinstance(when, float) else f"{when}-{size}"
    return ""


def home(variable: str, xdg: str, fallback: str) -> Path:
    """A folder of ours on this machine: the one that an environment variable names, else in the platform's place."""
    if os.environ.get(variable):
        return Path(os.environ[variable]).expanduser().absolute()
    default = os.environ.get("LOCALAPPDATA") or Path.home() / fallback
    return Path(os.environ.get(xdg) or default) / "lossprint"


# ---------------------------------------------------------------------------------------------- asking a server


def attempt(url: str, call: Callable[[], Result], seconds: float | None = None) -> Result:
    """What `call` returns; it is tried again where the server breaks off.

    `seconds`: in which it has to return, whatever the library's own waits; only for what reads, as it is left to
    itself then. Raises FileNotFoundError for a file that is not there, Unreachable where nobody answers or lets us in,
    else LossprintError.
    """
    host = _host(url)
    if _down.get(host, 0) > time.monotonic():
        raise Unreachable(f"expected an answer from {host}, found none in the last {DOWN:g} seconds")
    began = time.monotonic()
    for pause in (*PAUSES, None):
        try:
            return call() if seconds is None else _within(seconds, call)
        except LossprintError:
            raise
        except Exception as error:  # each library has its own
            found = _cause(error)
            broken = _is_broken(found)
            if broken and pause is not None and time.monotonic() - began + pause < LONGEST:
                time.sleep(pause)
                continue
            if broken:
                _down[host] = time.monotonic() + DOWN
                raise Unreachable(f"expected an answer about {url}, found {_reason(found)}") from None
            raise _translated(url, found) from None
    raise AssertionError("unreachable")


def _within(seconds: float, call: Callable[[], Result]) -> Result:
    """What `call` returns, or TimeoutError. Its thread is left to end by itself: some libraries wait for minutes."""
    done: list = []

    def run() -> None:
        try:
            done.append((call(), None))
        except BaseException as error:
            done.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not done:
        raise TimeoutError(f"none within {seconds:g} seconds")
    result, error = done[0]
    if error is not None:
        raise error
    return result


def _cause(error: Exception) -> Exception:
    """fsspec's HTTP says of every fault that the file was not found; what was behind it tells more."""
    inner = error.__cause__
    if isinstance(error, FileNotFoundError) and isinstance(inner, Exception):
        status = getattr(inner, "status", None)
        if _is_broken(inner) or (status is not None and status not in (404, 410)):
            return inner
    return error


def _is_broken(error: Exception) -> bool:
    status = getattr(error, "status", None)
    if isinstance(status, int) and (status == 429 or status >= 500):
        return True
    if isinstance(error, FileNotFoundError | PermissionError | FileExistsError):
        return False
    if any(kind.__name__ in BROKEN for kind in type(error).__mro__):
        return True
    # s3fs turns 500 and 503 into these.
    import errno

    return isinstance(error, OSError) and error.errno in (errno.EBUSY, getattr(errno, "EREMOTEIO", errno.EIO))


def _translated(url: str, error: Exception) -> Exception:
    """The exception to raise for one of a library's."""
    text = one_line(error)
    behind = f"{text} {error.__cause__ or ''}".lower()
    if isinstance(error, ImportError):
        return LossprintError(f"expected {_lacking(url, error)}")
    if isinstance(error, FileNotFoundError):
        if "bucket does not exist" in behind or "nosuchbucket" in behind:
            return LossprintError(f"expected a bucket or container at {url}, found none of that name")
        return FileNotFoundError(url)
    names = {kind.__name__ for kind in type(error).__mro__}
    denied = isinstance(error, PermissionError) or getattr(error, "status", getattr(error, "code", 0)) in (401, 403)
    if names & NO_CREDENTIALS or (denied and any(word in behind for word in STALE)):
        return Unreachable(f"expected credentials for {url}, found none that are accepted: {text}")
    if denied:
        return LossprintError(f"expected access to {url}, found: {text}")
    if isinstance(error, IsADirectoryError):
        return LossprintError(f"expected a file at {url}, found a folder")
    return LossprintError(f"expected a file or folder that can be used at {url}, found: {text}")


def _reason(error: Exception) -> str:
    text = one_line(error)
    return f"none: {text}" if not text.startswith("none") else text


def _lacking(url: str, error: ImportError) -> str:
    extra = EXTRAS.get(protocol_of(url))
    if extra is None:
        return f"the Python package for {url}, found it missing: {one_line(error)}"
    return f"{MODULES[extra]} for {url}, found it missing: pip install 'lossprint[{extra}]'"


def _host(url: str) -> str:
    protocol = protocol_of(url)
    return f"{protocol}://{url.partition('://')[2].partition('/')[0]}" if protocol in WEB else protocol


def _options(protocol: str) -> dict:
    """What we ask of a file system: no remembered listings, waits that end. What the user has set for fsspec holds."""
    from fsspec.config import conf

    if protocol in ("s3", "s3a"):
        # s3fs tries five times itself what botocore would try again in each of them.
        ours = {"connect_timeout": 4, "read_timeout": 15, "retries": {"max_attempts": 1, "mode": "standard"}}
        return {"use_listings_cache": False, "config_kwargs": {**ours, **conf.get("s3", {}).get("config_kwargs", {})}}
    if protocol in WEB:
        from aiohttp import ClientTimeout

        ours = {"timeout": ClientTimeout(total=None, sock_connect=5, sock_read=30)}
        return {"use_listings_cache": False, "client_kwargs": {**ours, **conf.get("http", {}).get("client_kwargs", {})}}
    return {"use_listings_cache": False} if protocol in STORES else {}
