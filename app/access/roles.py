"""Who may do what: the signed-in user's claims, the roles file, and the checks before anything is stored or handed out.

Three roles, each may what the one before may: a viewer sees, a reviewer decides, an owner shares out, settles, saves,
brings in and takes out. Where no login is asked (LOGIN is not set), whoever is there is the owner.
The claims are what the login provider signed; this module trusts nothing that a browser sent beside them.
"""

import csv
import hashlib
import io
import logging
import os
import string
import time
import tomllib
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from threading import Lock

import streamlit as st

from lossprint.audit.types import LossprintError

LOGIN = "LOSSPRINT_LOGIN"  # "1" where the server that runs asks for a login; set by serve.py, never by a user
FILE = "LOSSPRINT_ROLES"
ROLES = ("viewer", "reviewer", "owner")
SIGNED_OUT, EXPIRED, UNVERIFIED, UNKNOWN = "signed out", "expired", "unverified", "unknown"
# What anybody who may see the run may call on its decisions; whatever is not here or checked below is refused.
READ_MARKS = {"run", "key", "history", "standing", "state", "tags", "table"}
WRITE_MARKS = {"tag", "keep_queue", "keep_view", "rename", "delete", "again"}
READ = {"run", "key", "history", "classes", "current", "progress", "assignments", "claims", "release"}
LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
HELD = 2000  # files handed out that are remembered
_gone: dict[str, float] = {}  # logins that were signed out of: their mark, until when their cookie might come back
_made: OrderedDict[tuple[str, str], None] = OrderedDict()  # (digest of a file, who had it made)
_lock = Lock()
log = logging.getLogger("lossprint.app")


class Refused(LossprintError):
    """Something that the visitor's role does not allow, or that nobody may who is not signed in any more."""


# ---------------------------------------------------------------------------------------------- the roles file


@dataclass(frozen=True)
class Roles:
    """`of`: role by e-mail address or `*@domain`, lower case. `hours`: how long a login lasts; else until `exp`."""

    of: dict[str, str | None]
    default: str | None = None
    hours: float | None = None

    @cached_property
    def _looks(self) -> frozenset[str]:
        """What the listed addresses look like; worked out once, as each request asks for a role."""
        return frozenset(map(_folded, self.of))

    def role(self, email: str) -> str | None:
        """An address of its own beats its domain, which beats the default. An address that only looks like one of the
        file (a Kelvin sign for a k, a ligature for two letters), or whose domain does, has no role at all."""
        for name in (email, "*@" + email.rpartition("@")[2]):
            if name in self.of:
                return self.of[name]
            if _folded(name) in self._looks:
                return None
        return self.default


def read_roles(path: str | Path) -> Roles:
    """Read a roles file: CSV with the columns email,role, else TOML with [roles], `default` and `hours`.

    Raises LossprintError where it cannot be read, or says something that is not known.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = _csv(text) if path.suffix.lower() == ".csv" else tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise LossprintError(
            f"expected a roles file (TOML or CSV), found none that can be read in {path}: {reason}"
        ) from None
    return _checked(found, path)


def _csv(text: str) -> dict:
    rows = csv.DictReader(io.StringIO(text), strict=True)
    if rows.fieldnames is None or [str(one).strip().lower() for one in rows.fieldnames] != ["email", "role"]:
        raise csv.Error(f"expected the columns email,role, found {','.join(rows.fieldnames or []) or 'nothing'}")
    email, role = rows.fieldnames
    return {"roles": {(row[email] or "").strip(): (row[role] or "").strip() for row in rows}}


def _checked(found: dict, path: Path) -> Roles:
    if set(found) - {"roles", "default", "hours"} or not isinstance(found.get("roles", {}), dict):
        raise LossprintError(f"expected [roles], default and hours, found {', '.join(map(str, found))} in {path}")

    def role(name: str, value: object) -> str | None:
        if value not in (*ROLES, "none"):
            raise LossprintError(f"expected a role of {', '.join(ROLES)} or none, found {value!r} for {name} in {path}")
        return None if value == "none" else str(value)

    of = {}
    for name, value in found.get("roles", {}).items():
        email = _address(name)
        if not email:
            raise LossprintError(f"expected an e-mail address or *@domain, found {name!r} in {path}")
        if email in of:
            raise LossprintError(f"expected each address once, found {email} twice in {path}")
        of[email] = role(email, value)
    hours = found.get("hours")
    if hours is not None and not (_number(hours) and 0 < hours <= 720):
        raise LossprintError(f"expected hours from 0 to 720, found {hours!r} in {path}")
    return Roles(of, role("default", found.get("default", "none")), hours)


def _address(value: object) -> str:
    """An address in the form that is compared: A to Z in lower case, nothing else changed. Empty for what is none."""
    text = value.strip().translate(LOWER) if isinstance(value, str) else ""
    local, at, domain = text.rpartition("@")
    return text if at and local and domain and text.isprintable() and " " not in text else ""


def _folded(address: str) -> str:
    """What an address looks like to whoever does not compare its characters one by one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", address).casefold())


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@lru_cache(4)
def _read(path: str, written: int, size: int) -> Roles:
    return read_roles(path)


def roles() -> Roles:
    """The roles as the file says them now. Nobody has one while it cannot be read."""
    path = os.environ.get(FILE, "")
    try:
        known = os.stat(path)
        return _read(path, known.st_mtime_ns, known.st_size)
    except (OSError, LossprintError) as error:
        log.error("nobody may enter: %s", error)
        return Roles({})


# ---------------------------------------------------------------------------------------------- who is there


@dataclass(frozen=True)
class Visitor:
    """Whoever acts. `role` is None where nobody may enter, `why` says then what is missing.

    `email` is the identity; `mark` names this one login, `until` is when it ends (seconds since 1970).
    """

    email: str = ""
    name: str = ""
    role: str | None = None
    why: str = ""
    mark: str = ""
    until: float = 0.0

    def may(self, role: str) -> bool:
        return self.role is not None and ROLES.index(self.role) >= ROLES.index(role)


OWNER = Visitor(role="owner")  # where no login is asked


def asked() -> bool:
    """Whether a login is asked. Said by the environment and not by Streamlit's secrets: a file that disappears while
    the server runs must not open it."""
    return os.environ.get(LOGIN) == "1"


def claims() -> dict:
    """What the login provider says about the user of this session; empty outside of one."""
    return dict(st.user.to_dict())


def visitor(said: Mapping | None = None) -> Visitor:
    """Who acts, from the claims of this session, else from `said`: those of a cookie or of an earlier moment."""
    if not asked():
        return OWNER
    said = claims() if said is None else said
    email = _address(said.get("email"))
    if said.get("is_logged_in") is not True:
        return Visitor(why=SIGNED_OUT)
    name = " ".join(str(said.get("name") or email).split())[:60]
    known, now = roles(), time.time()
    mark, until = _mark(said), _until(said, known.hours)
    about = {"email": email, "name": name, "mark": mark, "until": until}
    if _gone.get(mark, 0.0) > now:
        return Visitor(why=SIGNED_OUT)
    if until <= now:
        return Visitor(why=EXPIRED, **about)
    # Absent is taken as verified: many providers hand out verified addresses only and do not say so.
    if str(said.get("email_verified", True)).lower() not in ("true", "1"):
        return Visitor(why=UNVERIFIED, **about)
    role = known.role(email) if email else None
    return Visitor(role=role, why="" if role else UNKNOWN, **about)


def _until(said: Mapping, hours: float | None) -> float:
    """When a login ends; at once where its claims do not say."""
    if hours is not None and _number(said.get("iat")):
        return float(said["iat"]) + 3600 * hours
    return float(said["exp"]) if _number(said.get("exp")) else 0.0


def _mark(said: Mapping) -> str:
    text = "\n".join(str(said.get(name)) for name in ("iss", "sub", "iat", "nonce", "at_hash"))
    return hashlib.sha256(text.encode()).hexdigest()


def forget(one: Visitor | None = None) -> None:
    """Sign a login out for good, this session's if none is given: in other windows, and for whoever kept its cookie."""
    now, one = time.time(), one or visitor()
    with _lock:
        for mark in [mark for mark, until in _gone.items() if until < now]:
            del _gone[mark]
        if one.mark:
            _gone[one.mark] = one.until


def may(role: str) -> bool:
    return visitor().may(role)


def require(role: str, what: str, said: Mapping | None = None) -> Visitor:
    """The visitor, if they may do `what` ("to export"). Raises Refused, in one line, where not."""
    one = visitor(said)
    if one.may(role):
        return one
    if one.role is not None:
        raise Refused(f"expected the role {role} {what}, found {one.role} ({one.email}): ask an owner of this server")
    told = {EXPIRED: "your login has expired: sign in again, then repeat it", UNKNOWN: f"{one.email} has no role here"}
    raise Refused(told.get(one.why, "nobody is signed in: sign in, then repeat it"))


# ---------------------------------------------------------------------------------------------- decisions


class Guarded:
    """The decisions of a run (`audit.review.Reviews`) as pages may use them: whoever writes is asked for a role first.

    Here and not in the buttons: a browser can send the event of any button. Under a login, decisions are stored and
    taken back under the user's own address only, except by owners, who bring in what others decided elsewhere.
    """

    def __init__(self, kept):
        self._kept = kept

    def __getattr__(self, name: str):
        if name in READ:
            return getattr(self._kept, name)
        raise AttributeError(f"{name} of the decisions is not for pages: see access.READ")

    def add(self, **one):
        return self.add_all([one])[0]

    def add_all(self, decisions: list[dict], *, seen: dict[str, int] | None = None) -> list:
        roles = {one.get("role") or "" for one in decisions}
        told = "to settle or bring in decisions" if roles - {""} else "to decide"
        one = require("owner" if roles - {""} else "reviewer", told)
        if roles != {"import"}:
            _own(one, {str(row.get("reviewer")) for row in decisions})
        return self._kept.add_all(decisions, seen=seen)

    def undo(self, reviewer: str):
        _own(require("reviewer", "to take back"), {reviewer})
        return self._kept.undo(reviewer)

    def undo_ids(self, reviewer: str, ids: list[int]) -> list:
        one = require("reviewer", "to take back")
        if not one.may("owner"):
            _own(one, {reviewer})
        return self._kept.undo_ids(reviewer, ids)

    def assign(self, rows: list[tuple[str, str]], *, replace: bool = True) -> int:
        require("owner", "to share out")
        return self._kept.assign(rows, replace=replace)

    def claim(self, finding: str, reviewer: str, session: str, seconds: float = 600) -> str | None:
        _own(require("reviewer", "to be asked"), {reviewer})
        return self._kept.claim(finding, reviewer, session, seconds)


class GuardedMarks:
    """The tags, queues and views of a run (`audit.review.Marks`) as pages may use them, as `Guarded` the decisions."""

    def __init__(self, kept):
        self._kept = kept

    def __getattr__(self, name: str):
        if name in READ_MARKS:
            return getattr(self._kept, name)
        if name in WRITE_MARKS:
            return partial(self._write, getattr(self._kept, name))
        raise AttributeError(f"{name} of the marks is not for pages: see access.READ_MARKS")

    def _write(self, act: Callable, *what, reviewer: str, **more):
        _own(require("reviewer", "to tag, queue and save views"), {reviewer})
        return act(*what, reviewer=reviewer, **more)

    def take_back(self, ids: list[int], reviewer: str) -> list:
        one = require("reviewer", "to take back")
        _own(one, {reviewer})
        return self._kept.take_back(ids, reviewer, anybodys=asked() and one.may("owner"))


def _own(one: Visitor, names: set[str]) -> None:
    if one.email and names - {one.email}:
        raise Refused(f"expected decisions of {one.email}, found some of {', '.join(sorted(names - {one.email}))}")


# ---------------------------------------------------------------------------------------------- files taken out


def download(label: str, content: Callable[[], bytes], name: str, kind: str | None = None, **options) -> None:
    """A download button for owners; the file is made when it is clicked, and only its owner gets it (see gate.py).

    Streamlit makes it in a thread of its own, outside of the session: the claims are those of when it was drawn, and
    are checked anew.
    """
    said = claims() if asked() else None

    def made() -> bytes:
        one = require("owner", "to take files out", said)
        found = content()
        found = found.encode("utf-8") if isinstance(found, str) else found
        hand_out(found, one)
        return found

    if not may("owner"):
        options |= {"disabled": True, "help": "Owners of this server may take files out."}
    st.download_button(label, made, name, kind, **options)


def hand_out(content: bytes, one: Visitor) -> None:
    """Note that a file was made for somebody."""
    with _lock:
        _made[hashlib.sha256(content).hexdigest(), one.email] = None
        while len(_made) > HELD:
            _made.popitem(last=False)


def handed_out(content: bytes, one: Visitor) -> bool:
    """Whether precisely this file was made for them, and they may still have it."""
    with _lock:
        return one.may("owner") and (hashlib.sha256(content).hexdigest(), one.email) in _made
