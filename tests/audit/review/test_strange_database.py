"""A run's database that came from a stranger: nothing in it computes, no link is followed, no question hangs."""

import os
import sqlite3
import subprocess
import sys
import time

import pytest
from helpers import make_run

from lossprint.audit.cli import main as cli
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.system import sqlite
from lossprint.audit.types import LossprintError

HANG = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made, tmp_path):
    """A run with one decision in its database."""
    (made.path / "reviews.db").unlink(missing_ok=True)
    with open_reviews(made) as kept:
        kept.add(finding="label_error:1", sample=1, decision="keep", reviewer="ann")
    return made


def change(run, *statements: str) -> None:
    connection = sqlite3.connect(run.path / "reviews.db")
    for one in statements:
        connection.execute(one)
    connection.commit()
    connection.close()


def rewritten(old: str, new: str) -> list[str]:
    """Statements that change how `reviews` was made, with the file as it is."""
    changed = f"UPDATE sqlite_master SET sql = replace(sql, '{old}', '{new.replace(chr(39), chr(39) * 2)}')"
    return ["PRAGMA writable_schema=1", f"{changed} WHERE name = 'reviews'", "PRAGMA writable_schema=0"]


ODD = {
    "a trigger": ["CREATE TRIGGER t AFTER INSERT ON reviews BEGIN UPDATE reviews SET decision = 'keep'; END"],
    "a view": [f"CREATE VIEW v AS {HANG}"],
    "a view for a table": ["ALTER TABLE claims RENAME TO c", "CREATE VIEW claims AS SELECT * FROM c"],
    "a virtual table": ["CREATE VIRTUAL TABLE f USING fts5(x)"],
    "a check": rewritten("comment TEXT NOT NULL", "comment TEXT NOT NULL CHECK (length(hex(zeroblob(9))) > 1)"),
    "a default": rewritten("comment TEXT NOT NULL", "comment TEXT NOT NULL DEFAULT (hex(zeroblob(9)))"),
    "an order": rewritten("reviewer TEXT NOT NULL", "reviewer TEXT COLLATE NOCASE NOT NULL"),
    "a rule that removes": rewritten("finding TEXT NOT NULL", "finding TEXT NOT NULL ON CONFLICT REPLACE DEFAULT ''"),
    "ids that come again": rewritten(" AUTOINCREMENT", ""),
    "a computed column": ["ALTER TABLE reviews ADD COLUMN x TEXT GENERATED ALWAYS AS (hex(zeroblob(9))) VIRTUAL"],
    "a computed column of claims": ["ALTER TABLE claims ADD COLUMN x AS (upper(reviewer))"],
    "an index": ["CREATE UNIQUE INDEX i ON reviews (lower(reviewer))"],
}


@pytest.mark.parametrize("statements", ODD.values(), ids=ODD)
def test_what_computes_in_a_database_is_refused(statements, run, capsys):
    change(run, *statements)
    with open_reviews(run) as kept:
        with pytest.raises(LossprintError, match="own tables"):
            kept.history()
        with pytest.raises(LossprintError, match="own tables"):
            kept.add(finding="outlier:5", sample=5, decision="exclude", reviewer="ann")
    assert cli.main(["verify", str(run.path)]) == 2
    assert "own tables" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["", "-wal", "-journal"])
def test_links_to_other_databases_are_refused(suffix, run, tmp_path):
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE mine (x)")
    connection.commit()
    connection.close()
    before = other.read_bytes()
    file = run.path / f"reviews.db{suffix}"
    file.unlink(missing_ok=True)
    file.symlink_to(other)
    try:
        with open_reviews(run) as kept:
            with pytest.raises(LossprintError, match="found the link"):
                kept.history()
            with pytest.raises(LossprintError, match="found the link"):
                kept.add(finding="outlier:5", sample=5, decision="exclude", reviewer="ann")
    finally:
        file.unlink()
    assert other.read_bytes() == before and not os.path.exists(f"{other}-wal")


def test_whoever_names_a_link_may_have_one(run, tmp_path, monkeypatch):
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    monkeypatch.setenv("LOSSPRINT_DATABASE_URL", f"sqlite:///{tmp_path / 'link.db'}")
    with open_reviews(run) as kept:
        kept.add(finding="outlier:5", sample=5, decision="exclude", reviewer="ann")
        assert len(kept.history()) == 1


def test_a_question_that_takes_too_long_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "DEADLINE", 0.2)
    connection = sqlite3.connect(tmp_path / "one.db")
    sqlite.guard(connection)
    began = time.monotonic()
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        connection.execute(f"SELECT count(*) FROM ({HANG})").fetchall()
    assert time.monotonic() - began < 20
    assert connection.execute("PRAGMA trusted_schema").fetchone() == (0,)
    connection.close()


def test_what_was_stored_otherwise_is_not_said_to_be_stored(run, monkeypatch):
    """A trigger that the look at the schema missed: the answer is read back within the transaction."""
    change(run, *ODD["a trigger"])
    monkeypatch.setattr(sqlite, "refuse_odd", lambda rows, file: None)
    with open_reviews(run) as kept:
        with pytest.raises(LossprintError, match="stored as they were made"):
            kept.add(finding="outlier:5", sample=5, decision="exclude", reviewer="ann")
        assert len(kept.history()) == 1


def test_a_full_database_is_read_on_and_refuses_in_one_line(run, monkeypatch):
    """No page more than there are, as on a disk without room."""
    guard = sqlite.guard

    def full(connection):
        guard(connection)
        connection.execute("PRAGMA max_page_count=1")  # SQLite takes the pages that there are

    monkeypatch.setattr(sqlite, "guard", full)
    with open_reviews(run) as kept:
        with pytest.raises(LossprintError, match="full") as caught:
            for sample in range(3000):
                kept.add(finding="outlier:5", sample=5, decision="exclude", reviewer="ann", comment=f"{sample}" * 300)
        assert "\n" not in str(caught.value)
        kept.history()
    with open_reviews(run) as kept:
        assert kept.history()["reviewer"].tolist()[0] == "ann"


def test_decisions_are_read_where_no_byte_can_be_written(run):
    """As on a full disk, where SQLite has no room even for the index that it keeps beside a log."""
    resource = pytest.importorskip("resource")
    code = """
import sys
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
with open_reviews(open_run(sys.argv[1])) as kept:
    print(*kept.history()["decision"])
    try:
        kept.add(finding="outlier:5", sample=5, decision="exclude", reviewer="ann")
    except Exception as error:
        print(type(error).__name__, error)
    print(len(kept.history()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.path)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    )
    assert done.returncode == 0, done.stderr
    decisions, refusal, count = done.stdout.splitlines()
    assert (decisions, count) == ("keep", "1")
    assert refusal.startswith("LossprintError expected a review database that can be written")
