"""Whether what a run says of the place of its images is to be believed: a run folder may come from a stranger.

A place is believed where it lies in the run folder itself, and where this user, on this machine, named it: when the run
was made (run.json then holds a signature under `place`), with `--dataset`, or by a click in the app. The key of the
signatures is the user's own, in their configuration folder; what was confirmed later stands in a list beside it.
"""

import hashlib
import hmac
import json
import os
import platform
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from lossprint.audit.runs.run import PLACES, VIDEO_FRAMES, Run
from lossprint.audit.system.urls import REMOTE, protocol_of
from lossprint.audit.types import LossprintError

KEY, CONFIRMED = "key", "places"
SIZE = 32  # bytes of the key
_named: set[str] = set()  # signatures of what was named to this process


def config() -> Path:
    """The user's configuration folder of this program."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home and os.path.isabs(home) else Path.home() / ".config") / "lossprint"


def signature(manifest: dict) -> str:
    """What this user's key says of the place in a run.json; empty where there can be no key."""
    key = _key()
    if key is None:
        return ""
    about = manifest["dataset"]
    follow = bool((about.get("choices") or {}).get("follow_links"))
    told = [about.get(name) for name in (*PLACES, "kind", "media", "fingerprint")]
    text = json.dumps([_machine(), _user(), manifest.get("created"), follow, *told])
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def believed(run: Run) -> bool:
    """Whether the place of the run's images may be read. A run without one has nothing to read."""
    about = run.manifest["dataset"]
    places = [about[name] for name in PLACES if about.get(name)]
    if not places or _own(about, places, run.path):
        return True
    own = signature(run.manifest)
    if not own:
        return False
    signed = str(run.manifest.get("place") or "")
    return hmac.compare_digest(signed.encode(), own.encode()) or own in _named or own in _confirmed()


def dataset_of(run: Run) -> dict:
    """The `dataset` of run.json, for whoever goes on to read from it. Raises LossprintError where nobody named it."""
    if not believed(run):
        about = run.manifest["dataset"]
        raise LossprintError(
            f"expected images at a place that you named, found {about.get('source') or about.get('root')}, which only "
            f"the run {run.path} names: look at it, then add --dataset PLACE, or confirm it in the app"
        )
    return run.manifest["dataset"]


def name(run: Run) -> Run:
    """Believe the place of a run that was named to this process, and remember it. Returns the run."""
    own = signature(run.manifest)
    if own:
        _named.add(own)
        with suppress(OSError):
            _keep(own)
    return run


def confirm(run: Run) -> None:
    """Believe the place of a run from now on. Raises LossprintError for one that only `--dataset` may name."""
    for place in PLACES:
        text = str(run.manifest["dataset"].get(place) or "")
        if "://" in text and protocol_of(text) not in REMOTE:
            known = ", ".join(REMOTE)
            raise LossprintError(f"expected a folder or a URL of {known}, found {text}: name it with --dataset")
    own = signature(run.manifest)
    try:
        if not own:
            raise OSError(None, "no key can be kept there")
        _keep(own)
    except OSError as error:
        raise LossprintError(f"expected a folder that can be written at {config()}, found: {error.strerror}") from None
    _named.add(own)


# ------------------------------------------------------------------------------------------------ the key


def _key() -> bytes | None:
    """The user's key, made when it is asked for first; None where none can be kept, or others may read it."""
    path = config() / KEY
    with suppress(OSError):
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = path.with_name(f".{KEY}.{secrets.token_hex(4)}")
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(SIZE))
            with suppress(FileExistsError):  # two at once: the first one's key
                os.link(part, path)
            os.unlink(part)
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            status = os.fstat(file.fileno())
            mine = os.name != "posix" or (status.st_uid == os.getuid() and not status.st_mode & 0o077)
            key = file.read(SIZE + 1) if mine and stat.S_ISREG(status.st_mode) else b""
        return key if len(key) == SIZE else None
    return None


def _keep(own: str) -> None:
    if own not in _confirmed():
        with open(os.open(config() / CONFIRMED, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
            file.write(f"{own}\n")


def _confirmed() -> set[str]:
    try:
        return set((config() / CONFIRMED).read_text().split())
    except (OSError, ValueError):
        return set()


def _machine() -> str:
    with suppress(OSError, ValueError):
        text = Path("/etc/machine-id").read_text().strip()
        if text:
            return text
    return platform.node()


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "")


def _own(about: dict, places: list[str], folder: Path) -> bool:
    """Whether the places are those of frames that were decoded into the run folder, whose manifest names no URL."""
    if about.get("kind") != "manifest" or (about.get("choices") or {}).get("follow_links"):
        return False
    frames = os.path.join(os.path.realpath(folder), VIDEO_FRAMES)
    if not all(os.path.isabs(place) and os.path.realpath(place) == _plain(place, folder) for place in places):
        return False
    if not all(Path(os.path.realpath(place)).is_relative_to(frames) for place in places):
        return False
    try:
        return all(b"://" not in Path(place).read_bytes() for place in places if os.path.isfile(place))
    except OSError:
        return False


def _plain(place: str, folder: Path) -> str:
    """A place below the run folder, of which nothing below may be a link."""
    return os.path.join(os.path.realpath(folder), os.path.relpath(os.path.normpath(place), os.path.abspath(folder)))
