"""The user's own key, in their configuration folder, and what it says of the place in a run.json."""

import hashlib
import hmac
import json
import os
import platform
import secrets
import stat
from contextlib import suppress
from pathlib import Path

KEY, CONFIRMED = "key", "places"
SIZE = 32  # bytes of the key
PLACES = ("source", "root")  # of a dataset, in run.json


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
    choices = json.dumps(about.get("choices") or {}, sort_keys=True)  # among them: other roots, links that are followed
    told = [about.get(name) for name in (*PLACES, "kind", "media", "fingerprint")]
    text = json.dumps([_machine(), _user(), manifest.get("created"), choices, *told])
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


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


def keep(own: str) -> None:
    if own not in confirmed():
        with open(os.open(config() / CONFIRMED, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
            file.write(f"{own}\n")


def confirmed() -> set[str]:
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


def signed(text: str) -> str:
    """What this user's key says of any text of this program, of another kind than places; empty without a key."""
    key = _key()
    return "" if key is None else hmac.new(key, f"job\n{text}".encode(), hashlib.sha256).hexdigest()
