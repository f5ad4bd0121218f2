"""Decisions in SQLite: durable, readable where nothing may be written, and its faults in one line."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from first_release import plant_first_release
from helpers import make_run

from lossprint.audit.review import database
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made, tmp_path):
    return open_run(shutil.copytree(made.path, tmp_path / "run"))


def keep(reviews, sample, reviewer="ann", finding=None):
    return reviews.add(finding=finding or f"label_error:{sample}", sample=sample, decision="keep", reviewer=reviewer)


def test_the_log_of_a_session_that_did_not_end_well_is_read(run):
    keep(open_reviews(run), 1)
    file = run.path / "reviews.db"
    holder = sqlite3.connect(file)  # while it is open, SQLite leaves decisions in the log beside the database
    holder.execute("select * from reviews").fetchall()
    keep(open_reviews(run), 2)
    saved = {name: (run.path / name).read_bytes() for name in ("reviews.db", "reviews.db-wal")}
    assert len(saved["reviews.db-wal"]) > 0
    holder.close()
    for name, content in saved.items():  # as a power cut would leave them
        (run.path / name).write_bytes(content)
    assert open_reviews(run).current()["sample"].tolist() == [1, 2]


def test_full_synchronisation_and_a_write_ahead_log_are_on(run):
    keep(open_reviews(run), 1)
    with database.Database(run.reviews_url).engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == database.WAIT * 1000
    assert not list(run.path.glob("reviews.db-*"))  # closed cleanly


# ------------------------------------------------------------------------------------------------- other databases


def test_one_database_serves_several_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("LOSSPRINT_DATABASE_URL", f"sqlite:///{tmp_path / 'team 100%41?.db'}")
    one, two = make_run(tmp_path / "one"), make_run(tmp_path / "two", seed=1, train=9)
    keep(open_reviews(one), 1), keep(open_reviews(two), 2), keep(open_reviews(two), 3)
    assert open_reviews(one).current()["sample"].tolist() == [1]
    assert open_reviews(two).current()["sample"].tolist() == [2, 3]
    assert open_reviews(one).undo("ann").undoes == 1 and open_reviews(one).undo("ann") is None
    assert (tmp_path / "team 100%41?.db").is_file() and not (one.path / "reviews.db").exists()
    moved = one.path.rename(tmp_path / "moved")
    assert len(open_reviews(open_run(moved)).history()) == 2


def test_a_folder_with_odd_characters_keeps_its_database(run, tmp_path):
    run = open_run(run.path.rename(tmp_path / "what? 50%20 #1"))
    keep(open_reviews(run), 1)
    assert (run.path / "reviews.db").is_file() and len(open_reviews(run).current()) == 1


def test_a_newer_schema_is_refused(run):
    keep(open_reviews(run), 1)
    with closing(sqlite3.connect(run.path / "reviews.db")) as db:
        db.execute(f"update {database.VERSION_TABLE} set version_num = '0099'")
        db.commit()
    for act in (open_reviews(run).history, lambda: keep(open_reviews(run), 2), lambda: open_reviews(run).undo("ann")):
        with pytest.raises(
            LossprintError,
            match=rf"expected reviews of schema {database.HEAD} or older, found schema 0099 in .*reviews\.db",
        ):
            act()


def test_a_locked_database_is_one_line_and_loses_nothing(run, monkeypatch):
    keep(open_reviews(run), 1)
    monkeypatch.setattr(database, "WAIT", 0.1)
    database._engine.cache_clear()
    holder = sqlite3.connect(run.path / "reviews.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LossprintError, match=r"can be written at .*reviews\.db, found: database is locked"):
        keep(open_reviews(run), 2)
    assert len(open_reviews(run).history()) == 1  # reading goes on beside a writer
    holder.execute("ROLLBACK")
    holder.close()
    assert keep(open_reviews(run), 2).id == 2


def test_a_database_that_was_put_back_from_a_copy_is_read_anew(run):
    reviews, file = open_reviews(run), run.path / "reviews.db"
    keep(reviews, 1)
    shutil.copyfile(file, run.path / "copy")
    keep(reviews, 2), keep(reviews, 3)
    assert reviews.history()["sample"].tolist() == [1, 2, 3]
    (run.path / "copy").replace(file)
    for sample in (4, 5, 6):
        keep(open_reviews(run), sample)
    assert reviews.history()["sample"].tolist() == [1, 4, 5, 6]


def test_what_is_damaged_is_one_line(run):
    file = run.path / "reviews.db"
    for _ in range(40):
        keep(open_reviews(run), 1)
    file.write_bytes(file.read_bytes()[:4096] + b"\xff" * (file.stat().st_size - 4096))
    for act in (open_reviews(run).history, lambda: keep(open_reviews(run), 1)):
        with pytest.raises(LossprintError, match="malformed") as error:
            act()
        assert "\n" not in str(error.value)


def test_what_is_no_database_is_one_line(run):
    (run.path / "reviews.db").write_bytes(b"not a database" * 100)
    for act in (open_reviews(run).history, lambda: keep(open_reviews(run), 1)):
        with pytest.raises(LossprintError, match="found: file is not a database"):
            act()


URLS = [
    "mysql://u:secret@h/d",
    "nonsense",
    "sqlite://",
    "sqlite:///:memory:",
    "bad://secret",
    "postgresql://u:a@secret@h/d",
]


@pytest.mark.parametrize("url", URLS)
def test_a_url_that_is_not_understood_is_one_line_without_its_password(run, monkeypatch, url):
    monkeypatch.setenv("LOSSPRINT_DATABASE_URL", url)
    with pytest.raises(LossprintError) as error:
        open_reviews(run)
    assert "LOSSPRINT_DATABASE_URL" in str(error.value) and "secret" not in str(error.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_missing_postgresql_driver_is_named(run, monkeypatch, scheme):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setenv("LOSSPRINT_DATABASE_URL", f"{scheme}://ann:secret@127.0.0.1/team")
    with pytest.raises(LossprintError, match=r"pip install 'psycopg\[binary\]'") as error:
        open_reviews(run)
    assert "secret" not in str(error.value)


def test_a_folder_that_is_gone_is_one_line(run, tmp_path, monkeypatch):
    monkeypatch.setenv("LOSSPRINT_DATABASE_URL", f"sqlite:///{tmp_path / 'no such folder' / 'x.db'}")
    assert open_reviews(run).history().empty
    with pytest.raises(LossprintError, match=r"can be written at .*x\.db, found: unable to open database file"):
        keep(open_reviews(run), 1)


# ------------------------------------------------------------------------------------------------- read-only

READ_THEN_WRITE = """
import os, sys
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError
asked = dict(finding="outlier:5", sample=5, decision="keep", reviewer="ann")
rehearsal, run = open_run(sys.argv[1]), open_run(sys.argv[2])
open_reviews(rehearsal).add(**asked), open_reviews(rehearsal).current()
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
assert not os.access(run.path, os.W_OK)
print(open_reviews(run).current()["sample"].tolist())
try:
    open_reviews(run).add(**asked)
except LossprintError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
@pytest.mark.parametrize("state", ["no database", "closed", "log left behind", "first release"])
def test_a_read_only_folder_is_read_and_refuses_a_decision_in_one_line(run, made, state):
    """Permissions do not bind root: as root, the process becomes `nobody` once all its modules are loaded."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # pytest's own folders may not be entered by others
    try:
        frozen = open_run(shutil.copytree(made.path, folder / "run"))
        expected, holder = [], None
        if state == "first release":
            plant_first_release(frozen)  # not upgraded, and read all the same
            expected = [0, 1]
        elif state != "no database":
            keep(open_reviews(frozen), 1)
            expected = [1]
        if state == "log left behind":
            holder = sqlite3.connect(frozen.path / "reviews.db")
            holder.execute("select * from reviews").fetchall()
            keep(open_reviews(frozen), 2)
            (frozen.path / "reviews.db-shm").unlink()
            expected = [1, 2]
        for path in [*folder.rglob("*"), folder]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        command = [sys.executable, "-c", READ_THEN_WRITE, str(run.path), str(frozen.path)]
        done = subprocess.run(command, capture_output=True, text=True)
        if holder:
            holder.close()
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[0] == str(expected)
        assert len(lines) == 2 and lines[1].startswith("expected a review database that can be written at"), lines
    finally:
        folder.chmod(0o755)
        for path in folder.rglob("*"):
            path.chmod(0o755)
        shutil.rmtree(folder)
