"""Schema versions of the decisions: what the first release kept comes along whole, in both databases."""

import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from helpers import make_run
from postgres import database, postgresql  # noqa: F401 (fixtures)
from sqlalchemy import text

from lossprint.audit.database import HEAD, VERSION_TABLE, Database
from lossprint.audit.review import open_reviews, run_key
from lossprint.audit.store import open_run
from lossprint.audit.types import LossprintError

# What the first release created, in its own words.
FIRST_RELEASE = """
CREATE TABLE reviews (id {serial}, run TEXT NOT NULL, finding TEXT NOT NULL, sample BIGINT NOT NULL,
  decision VARCHAR(16) NOT NULL, new_label TEXT, reviewer TEXT NOT NULL, at VARCHAR(40) NOT NULL, comment TEXT NOT NULL,
  undoes INTEGER UNIQUE REFERENCES reviews (id));
CREATE INDEX reviews_by_run ON reviews (run, id);
CREATE TABLE schema_version (component VARCHAR(64) PRIMARY KEY, version INTEGER NOT NULL);
INSERT INTO schema_version VALUES ('reviews', 1)
"""
SERIAL = {"sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT", "postgresql": "SERIAL PRIMARY KEY"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made, tmp_path, database):  # noqa: F811
    return open_run(shutil.copytree(made.path, tmp_path / "run"))


def plant_first_release(run, rows: int = 3) -> None:
    """A database of the first release with decisions on samples 0, 1, ..., the last one taken back."""
    with Database(run.reviews_url).engine.connect() as connection:
        for statement in FIRST_RELEASE.format(serial=SERIAL[connection.dialect.name]).split(";"):
            connection.execute(text(statement))
        add = text(
            "INSERT INTO reviews (run, finding, sample, decision, new_label, reviewer, at, comment, undoes) "
            "VALUES (:run, :finding, :sample, :decision, NULL, 'ann', '2026-01-01', 'é', :undoes)"
        )
        for sample in range(rows):
            one = {"run": run_key(run), "finding": f"label_error:{sample}", "sample": sample}
            connection.execute(add, {**one, "decision": "keep", "undoes": None})
        connection.execute(add, {**one, "decision": "undo", "undoes": rows})
        connection.commit()


def version(run) -> str | None:
    with Database(run.reviews_url).reading() as reading:
        return None if reading is None else reading[1]


def test_the_newest_version_is_the_one_that_is_expected():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    import lossprint.audit.database as module

    config = Config()
    config.set_main_option("script_location", str(Path(module.__file__).parent / "migrations"))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [HEAD]
    assert [one.revision for one in scripts.walk_revisions()][-1] == "0001"


def test_decisions_of_the_first_release_are_read_as_they_are_and_upgraded_by_the_next_write(run):
    plant_first_release(run)
    reviews = open_reviews(run)
    assert version(run) == "0001"
    before = reviews.history()
    assert before["sample"].tolist() == [0, 1, 2, 2] and before["stands"].tolist() == [True, True, False, False]
    assert before["blind"].tolist() == [""] * 4 and before["seconds"].isna().all() and before["token"].isna().all()
    assert reviews.assignments().empty and reviews.claims().empty and version(run) == "0001"
    made = reviews.add(finding="label_error:5", sample=5, decision="keep", reviewer="bob", blind="given", seconds=2.5)
    assert version(run) == HEAD and made.id == 5
    after = reviews.history()
    assert after.iloc[:4].equals(before) and after["comment"].tolist() == ["é"] * 4 + [""]
    assert after.iloc[4][["blind", "seconds"]].tolist() == ["given", 2.5]
    assert open_reviews(run).undo("ann").undoes == 2


def _upgrade(path: str, name: str, start) -> None:
    run = open_run(path)
    start.wait()
    open_reviews(run).add(finding="outlier:5", sample=5, decision="keep", reviewer=name)


def test_several_processes_upgrade_at_once_and_none_loses_its_decision(run):
    plant_first_release(run)
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(4)
    workers = [context.Process(target=_upgrade, args=(str(run.path), f"reviewer {at}", start)) for at in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    history = open_reviews(run).history()
    assert len(history) == 8 and history["reviewer"].tolist()[:4] == ["ann"] * 4
    assert set(history["reviewer"][4:]) == {f"reviewer {at}" for at in range(4)}


KILLED = """
import os, signal, sys
from alembic.operations import Operations
from lossprint.audit.review import open_reviews
from lossprint.audit.store import open_run
create = Operations.create_table
def stop(self, name, *columns, **more):
    if name == "claims":  # the columns and the assignments are there by now, the version is not
        os.kill(os.getpid(), signal.SIGKILL)
    return create(self, name, *columns, **more)
Operations.create_table = stop
import alembic.op
alembic.op.create_table = lambda name, *columns, **more: stop(alembic.op._proxy, name, *columns, **more)
open_reviews(open_run(sys.argv[1])).add(finding="outlier:5", sample=5, decision="keep", reviewer="ann")
"""


def test_an_upgrade_that_is_killed_leaves_the_old_schema_whole(run):
    plant_first_release(run)
    done = subprocess.run([sys.executable, "-c", KILLED, str(run.path)], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert version(run) == "0001" and len(open_reviews(run).history()) == 4
    open_reviews(run).add(finding="outlier:5", sample=5, decision="keep", reviewer="ann")
    assert version(run) == HEAD and len(open_reviews(run).history()) == 5


@pytest.mark.parametrize("found", ["0099", "f00d"])
def test_a_newer_schema_is_refused_and_left_alone(run, found):
    open_reviews(run).add(finding="outlier:5", sample=5, decision="keep", reviewer="ann")
    with Database(run.reviews_url).engine.connect() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '{found}'"))
        connection.commit()
    reviews = open_reviews(run)
    acts = (reviews.history, lambda: reviews.undo("ann"), lambda: reviews.claim("a:1", "ann", "s"), reviews.assignments)
    for act in acts:
        with pytest.raises(LossprintError) as error:
            act()
        assert f"found schema {found}" in str(error.value) and "upgrade lossprint" in str(error.value)
        assert "\n" not in str(error.value) and "secret" not in str(error.value)


def test_other_programs_alembic_version_is_not_touched(run):
    with Database(run.reviews_url).engine.connect() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('theirs')"))
        connection.commit()
        open_reviews(run).add(finding="outlier:5", sample=5, decision="keep", reviewer="ann")
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "theirs"
    assert version(run) == HEAD


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_an_old_database_in_a_read_only_folder_is_read(made, tmp_path):
    run = open_run(shutil.copytree(made.path, tmp_path / "run"))
    file = run.path / "reviews.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(FIRST_RELEASE.format(serial=SERIAL["sqlite"]))
        connection.execute(
            "INSERT INTO reviews (run, finding, sample, decision, reviewer, at, comment) VALUES (?,?,?,?,?,?,?)",
            (run_key(run), "outlier:5", 5, "keep", "ann", "2026-01-01", ""),
        )
        connection.commit()
    file.chmod(0o444)
    assert open_reviews(run).current()["sample"].tolist() == [5]
