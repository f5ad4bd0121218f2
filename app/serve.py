"""Runs the app's server in this process until it is stopped."""

import argparse
import ctypes
import os
import socket
import sys
import webbrowser
from pathlib import Path
from threading import Timer

from lossprint.app.access import address
from lossprint.app.access import login as logins
from lossprint.audit.system.urls import local
from lossprint.audit.types import LossprintError

MAIN = Path(__file__).with_name("main.py")


def serve(
    path: str | Path,
    host: str = "127.0.0.1",
    port: int | None = None,
    open_browser: bool = True,
    *,
    roles: str | None = None,
    secrets: Path | None = None,
    insecure: bool = False,
    base: str | None = None,
    dataset: str | None = None,
    host_name: str | None = None,
) -> int:
    """Serve the run, or the folder of runs, at `path`; print the URL; return when the server ends.

    `roles` and `secrets` are files: who may do what, and the login (see login.py). `insecure` asks for no login,
    `host_name` is that of a proxy before the server. `dataset` is where the images of a run are, if it was made
    elsewhere. `base` is the path below which it answers, behind a proxy; it and `port` are by default those of
    `address`. Raises LossprintError where others could enter unasked, the port is taken or the host is not this
    machine's.
    """
    login = settle(path, host, roles, secrets, insecure, host_name)
    base, port = address.base_path(base), address.port(port)
    address.say_what_is_not_followed(host)
    _free(host, port)
    _steady_memory()
    os.environ["LOSSPRINT_RUNS"] = str(Path(path).absolute())
    os.environ["LOSSPRINT_DATASET"] = dataset or ""
    import streamlit as st
    from starlette.middleware import Middleware

    from lossprint.app.access import gate, log

    log.install()
    shown = "localhost" if host in ("127.0.0.1", "0.0.0.0", "::", "") else host
    url = login.origin if login else f"{address.scheme()}://{f'[{shown}]' if ':' in shown else shown}:{port}"
    url += f"/{base}" * bool(base)
    for text in logins.warnings(login):
        print(f"lossprint: {text}", file=sys.stderr)
    print(f"Lossprint is at {url} (Ctrl+C stops it)", flush=True)
    if open_browser:
        timer = Timer(1.5, webbrowser.open, [url])
        timer.daemon = True
        timer.start()
    names = logins.hosts(host, login, insecure, host_name)
    before = Middleware(gate.Gate, hosts=names, origin=login.origin if login else None)
    kept = {"auth": login.auth} if login else None
    # The config.toml beside MAIN is read because MAIN is the app's script.
    app = st.App(MAIN, on_script_error=_failed, middleware=[before], secrets=kept)
    try:
        app.run(config=logins.settings(host, port, base))
    except KeyboardInterrupt:
        pass
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def settle(
    path: str | Path, host: str, roles: str | None, secrets: Path | None, insecure: bool, host_name: str | None = None
) -> logins.Login | None:
    """Find the login and refuse what would let in who does not belong; what the pages need to know of it is put into
    the environment."""
    if insecure and secrets is not None:
        raise LossprintError(
            "expected --secrets or --insecure, found both: the one asks for a login, the other for none"
        )
    if host_name and not insecure:
        raise LossprintError(
            "expected --host-name beside --insecure, found it alone: with a login the redirect_uri says the name"
        )
    roles = roles or os.environ.get("LOSSPRINT_ROLES")
    login = None if insecure else logins.find(secrets, Path(path))
    logins.check(host, login, roles, insecure)
    os.environ["LOSSPRINT_LOGIN"] = "1" if login else ""
    os.environ["LOSSPRINT_ROLES"] = str(Path(roles).absolute()) if login else ""
    os.environ["LOSSPRINT_INSECURE"] = "" if login or not insecure else host_name or host
    return login


def _steady_memory() -> None:
    """Let glibc give large blocks back to the system, from few arenas: each page is one of some 100 kB, sent by a new
    thread, and the holes that they leave would add up."""
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 1 << 16)  # M_MMAP_THRESHOLD
        libc.mallopt(-8, 2)  # M_ARENA_MAX
    except (AttributeError, OSError, TypeError):
        pass  # another C library, which has its own ways


def _failed(error: Exception) -> bool:
    from lossprint.app.shared.guard import failed  # imported when the server runs: caches are made on import

    return failed(error)


def _free(host: str, port: int) -> None:
    """Check that the port can be had, before Streamlit says it in many lines."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise LossprintError(
                f"expected a free port, found {host}:{port} not available ({reason}): choose another with --port"
            ) from None


def main() -> int:
    """`python -m lossprint.app.serve RUN_OR_FOLDER`: what `lossprint app` starts in a process of its own."""
    parser = argparse.ArgumentParser(prog="lossprint app")
    parser.add_argument("run", metavar="RUN_OR_FOLDER")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    parser.add_argument("--base-path")
    parser.add_argument("--no-browser", action="store_true")
    parser.add_argument("--roles")
    parser.add_argument("--secrets", type=Path)
    parser.add_argument("--dataset")
    parser.add_argument("--host-name")
    parser.add_argument("--insecure", action="store_true")
    parser.add_argument("--check", action="store_true", help="only say whether it would start")
    options = parser.parse_args()
    how = {"roles": options.roles, "secrets": options.secrets, "insecure": options.insecure}
    how |= {"host_name": options.host_name}
    try:
        run = local(options.run)
        if options.check:
            settle(run, options.host, **how)
            return 0
        how |= {"dataset": options.dataset, "base": options.base_path}
        return serve(run, options.host, options.port, not options.no_browser, **how)
    except LossprintError as error:
        print(f"lossprint: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
