"""What is settled before the server starts: who can reach it, whether a login is asked, and Streamlit's settings."""

import ipaddress
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lossprint.audit.types import LossprintError

UPLOAD = 50  # MB
SECRET = 32  # characters of the secret that signs cookies, at the least
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
NEEDED = ("client_id", "client_secret", "server_metadata_url")


@dataclass(frozen=True)
class Login:
    """The [auth] section of a secrets file, `file`. `origin` is where users come from: scheme://host[:port]."""

    file: Path
    auth: dict
    origin: str


def is_local(host: str) -> bool:
    """Whether a server at this address is for this machine alone: 127.0.0.0/8, ::1 or localhost."""
    try:
        found = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host.lower() == "localhost"
    found = getattr(found, "ipv4_mapped", None) or found
    return found.is_loopback


def find(secrets: Path | None, runs: Path) -> Login | None:
    """The login of `secrets`, else of .streamlit/secrets.toml in the working directory, else in the home directory.

    Never of the run folder: it comes from elsewhere, and whoever wrote it would say who may enter. So not of the
    working directory where that is RUN_OR_FOLDER or lies in it. Raises LossprintError for a section that cannot work.
    """
    if secrets is not None:
        found = _read(secrets)
        if found is None:
            raise LossprintError(f"expected a section [auth], found none in {secrets}")
        return found
    here, runs = Path.cwd().resolve(), Path(runs).resolve()
    places = [Path.home().resolve()] if here == runs or runs in here.parents else [here, Path.home().resolve()]
    for place in places:
        file = place / ".streamlit" / "secrets.toml"
        if file.is_file() and not (file.resolve() == runs or runs in file.resolve().parents):
            found = _read(file)
            if found is not None:
                return found
    return None


def _read(file: Path) -> Login | None:
    try:
        auth = tomllib.loads(file.read_text(encoding="utf-8")).get("auth")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no TOML"  # what TOML says may quote a secret
        raise LossprintError(f"expected a secrets file, found {file} not readable: {reason}") from None
    if auth is None:
        return None
    return Login(file, auth, _checked(auth, file))


def _checked(auth: object, file: Path) -> str:
    """The origin of the redirect URI of a section that has all it needs."""
    auth = auth if isinstance(auth, dict) else {}
    missing = [name for name in ("redirect_uri", "cookie_secret") if not isinstance(auth.get(name), str)]
    providers = {name: one for name, one in auth.items() if isinstance(one, dict) and name != "client_kwargs"}
    for name, one in providers.items() or {"auth": auth}.items():
        where = "" if one is auth else f"{name}."
        missing += [where + key for key in NEEDED if not isinstance(one.get(key), str)]
    if missing:
        raise LossprintError(f"expected {', '.join(missing)} in [auth], found none in {file}")
    if len(auth["cookie_secret"]) < SECRET:
        found = len(auth["cookie_secret"])
        raise LossprintError(f"expected a cookie_secret of {SECRET} random characters or more, found {found} in {file}")
    uri = urlsplit(auth["redirect_uri"])
    if uri.scheme not in ("http", "https") or not uri.netloc or not uri.path.endswith("/oauth2callback"):
        raise LossprintError(
            f"expected a redirect_uri such as https://HOST/oauth2callback, found {auth['redirect_uri']!r} in {file}"
        )
    return f"{uri.scheme}://{uri.netloc}"


def check(host: str, login: Login | None, roles: str | None, insecure: bool) -> None:
    """Refuse, in one line, what would let in who does not belong."""
    if login is None:
        if not (is_local(host) or insecure):
            raise LossprintError(
                f"expected a login for a server that others can reach, found none for --host {host}: configure one "
                "(SECURITY.md says how), or say --insecure to let in whoever reaches it"
            )
        return
    if not roles:
        raise LossprintError(
            f"expected --roles FILE beside the login of {login.file}, found none: it says who may enter, as what"
        )
    from lossprint.app.access.roles import read_roles

    read_roles(roles)
    from importlib.util import find_spec

    if find_spec("authlib") is None or (find_spec("httpx") or find_spec("httpx2")) is None:
        raise LossprintError("expected Authlib for the login, found it not installed: pip install 'lossprint[login]'")


def warnings(login: Login | None) -> list[str]:
    """What to say on the terminal about a login that works and is not as safe as it could be."""
    if login is None or login.origin.startswith("https:") or is_local(urlsplit(login.origin).hostname or ""):
        return []
    return [f"{login.origin} is not encrypted: passers-by can read images and take over logins; put HTTPS before it"]


def hosts(host: str, login: Login | None, insecure: bool, host_name: str | None = None) -> list[str]:
    """The names that the server answers to. A page elsewhere whose name was made to point here has another one.
    Empty: any, where others reach it without a login and no `host_name` says by which name."""
    if insecure and not is_local(host) and not host_name:
        return []
    names = [*LOOPBACK, f"[{host}]" if ":" in host else host, host_name]
    if login is not None:
        names.append(urlsplit(login.origin).hostname or "")
    return list(dict.fromkeys(name.lower() for name in names if name))


def settings(host: str, port: int, base: str = "") -> dict:
    """Streamlit's settings that decide who gets what. Given as on its command line: no config.toml of a user, nor one
    in the folder where the server happens to start, undoes them."""
    return {
        "browser.gatherUsageStats": False,
        "client.allowedOrigins": [],
        "client.showErrorDetails": "none",
        "global.developmentMode": False,
        "logger.enableRich": False,
        "logger.hideWelcomeMessage": True,
        "logger.level": "info",  # below, it says what browsers sent
        "secrets.files": [],  # the login is handed over; nothing else is read
        "server.address": host,
        "server.baseUrlPath": base,
        "server.allowedHosts": [],  # gate.py looks, for all routes
        "server.corsAllowedOrigins": [],
        "server.enableAgentApi": False,
        "server.enableCORS": True,
        "server.enableStaticServing": False,
        "server.enableXsrfProtection": True,
        "server.headless": True,
        "server.maxUploadSize": UPLOAD,
        "server.port": port,
        "server.scriptHealthCheckEnabled": False,
        "server.trustedUserHeaders": "{}",
    }
