"""Runs the app's server in this process until it is stopped."""

import argparse
import ctypes
import os
import socket
import sys
import webbrowser
from pathlib import Path
from threading import Timer

from lossprint.audit.types import LossprintError

MAIN = Path(__file__).with_name("main.py")


def serve(path: str | Path, host: str = "127.0.0.1", port: int = 8501, open_browser: bool = True) -> int:
    """Serve the run, or the folder of runs, at `path`; print the URL; return when the server ends.

    Raises LossprintError where the port is taken or the host is not this machine's.
    """
    _free(host, port)
    _steady_memory()
    os.environ["LOSSPRINT_RUNS"] = str(Path(path).absolute())
    import streamlit as st

    shown = "localhost" if host in ("127.0.0.1", "0.0.0.0", "::", "") else host
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
    print(f"Lossprint is at {url} (Ctrl+C stops it)", flush=True)
    if open_browser:
        timer = Timer(1.5, webbrowser.open, [url])
        timer.daemon = True
        timer.start()
    # The config.toml beside MAIN is read because MAIN is the app's script.
    app = st.App(MAIN, on_script_error=_failed)
    try:
        app.run(
            config={
                "server.address": host,
                "server.port": port,
                "server.headless": True,
                "logger.hideWelcomeMessage": True,
            }
        )
    except KeyboardInterrupt:
        pass
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


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
    from lossprint.app.guard import failed  # imported when the server runs: caches are made on import

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
    parser.add_argument("run", type=Path, metavar="RUN_OR_FOLDER")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8501)
    parser.add_argument("--no-browser", action="store_true")
    options = parser.parse_args()
    try:
        return serve(options.run, options.host, options.port, not options.no_browser)
    except LossprintError as error:
        print(f"lossprint: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
