"""Where the server is: what its user asks for, else what the environment or a config.toml says to any Streamlit app."""

import os
import re
import sys
import tomllib
from pathlib import Path

from lossprint.audit.types import LossprintError

PORT = 8501
BASE = re.compile(r"[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*")
ENVIRONMENT = {
    "server.baseUrlPath": "STREAMLIT_SERVER_BASE_URL_PATH",
    "server.port": "STREAMLIT_SERVER_PORT",
    "server.address": "STREAMLIT_SERVER_ADDRESS",
    "server.sslCertFile": "STREAMLIT_SERVER_SSL_CERT_FILE",
}


def base_path(asked: str | None) -> str:
    """The path below which the server answers, such as tools/audit; empty for none. Raises LossprintError."""
    path = (_said("server.baseUrlPath") if asked is None else asked).strip("/")
    if path and (not BASE.fullmatch(path) or {".", ".."} & set(path.split("/"))):
        raise LossprintError(f"expected a path such as tools/audit below which the server answers, found {path!r}")
    return path


def port(asked: int | None) -> int:
    """The port. Raises LossprintError where the environment names none."""
    text = str(asked or _said("server.port") or PORT)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise LossprintError(f"expected a port from 1 to 65535 in {ENVIRONMENT['server.port']}, found {text!r}")
    return int(text)


def say_what_is_not_followed(host: str) -> None:
    """Who may reach the server is said on the command line alone: another address elsewhere is told, not taken."""
    other = _said("server.address")
    if other and other != host:
        print(f"lossprint: the address {other} of Streamlit's settings is not taken: say --host", file=sys.stderr)


def scheme() -> str:
    """https where Streamlit's settings name a certificate."""
    return "https" if _said("server.sslCertFile") else "http"


def _said(option: str) -> str:
    """What the environment says of an option, else a config.toml of this folder or of the user; empty for nothing.

    Streamlit's own reading of them comes later, and is told what was found here.
    """
    text = os.environ.get(ENVIRONMENT[option], "").strip()
    section, _, name = option.partition(".")
    for folder in (Path.cwd(), Path.home()):
        if not text:
            try:
                said = tomllib.loads((folder / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
                text = str(said.get(section, {}).get(name) or "").strip()
            except (OSError, ValueError, AttributeError):  # Streamlit says what is wrong with it
                text = ""
    return text


# Addresses that once were pages, or that somebody would type, and where they lead: "" is the first page.
MOVED = {"overview": "", "home": "", "findings": "labels", "team": "reviewers", "results": "export"}


def moved(path: str, query: str) -> str | None:
    """Where the address `path`, such as /overview, leads: a URL relative to it that keeps the query; None: nowhere."""
    name = path.strip("/")
    if name not in MOVED:
        return None
    return f"./{MOVED[name]}{'?' * bool(query)}{query}"
