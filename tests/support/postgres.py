"""A real PostgreSQL for the tests: a server of their own in a temporary folder, run by an unprivileged user."""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from helpers import free_port

PASSWORD = "a secret of the tests"


def binaries() -> Path | None:
    """The folder of Debian's or another PostgreSQL; the newest where there are several."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    here = shutil.which("initdb")
    return Path(here).resolve().parent if here else None


def _end_with_the_tests() -> None:
    """In the server's process: Linux stops it also where the tests are killed and can stop nothing themselves."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG


@contextmanager
def running_postgresql():
    """Start a server and give its URL without a database's name; it and its files are gone afterwards."""
    place = binaries()
    if place is None:
        raise FileNotFoundError("no PostgreSQL: apt install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="lossprint-pg-", dir="/tmp"))  # a short path: sockets have no long ones
    data, secret, log = folder / "data", folder / "secret", folder / "log"
    as_user = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = pwd.getpwnam("nobody")
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    port = free_port()
    try:
        secret.write_text(PASSWORD)
        data.mkdir(mode=0o700)
        if as_user:
            for path in (folder, data, secret):
                os.chown(path, as_user["user"], as_user["group"])
        options = ["-D", data, "-U", "lossprint", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8"]
        subprocess.run(
            [place / "initdb", *options, "--no-locale", "--no-instructions"],
            check=True, capture_output=True, cwd=folder, **as_user,
        )  # fmt: skip
        server = subprocess.Popen(
            [place / "postgres", "-D", data, "-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1"],
            stdout=log.open("wb"), stderr=subprocess.STDOUT, cwd=folder, preexec_fn=_end_with_the_tests, **as_user,
        )  # fmt: skip
        try:
            _wait(place, port, server, log)
            yield f"postgresql://lossprint:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGQUIT)  # others wait for clients, or write all to the disk first
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(place: Path, port: int, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 60
    while subprocess.run([place / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode:
        assert server.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def new_database(server: str) -> str:
    """The URL of a fresh, empty schema: to its user a database, without the 300 files of one."""
    import psycopg

    name = f"test_{uuid4().hex}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{server}/postgres?options=-csearch_path%3D{name}"


@pytest.fixture(scope="session")
def postgresql():
    """One server for all tests of a worker; each test has a schema of its own."""
    if binaries() is None and os.environ.get("LOSSPRINT_NEED_POSTGRES") != "1":
        pytest.skip("no PostgreSQL here (apt install postgresql)")
    with running_postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, monkeypatch):
    """Decisions go to SQLite in the run folder, and then to a fresh database of a real PostgreSQL.

    The value is its URL, None for the run's own: what `open_reviews(run, database)` takes, and is without it.
    """
    monkeypatch.delenv("LOSSPRINT_DATABASE_URL", raising=False)
    if request.param == "sqlite":
        return None
    url = new_database(request.getfixturevalue("postgresql"))
    monkeypatch.setenv("LOSSPRINT_DATABASE_URL", url)
    return url
