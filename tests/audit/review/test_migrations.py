"""Schema versions of the decisions: what the first release kept comes along whole, in both databases."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from first_release import plant_first_release
from helpers import make_run
from processes import at_once
from sqlalchemy import text

from lossprint.audit.review.database import HEAD, VERSION_TABLE, Database
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made, tmp_path, database):
    return open_run(shutil.copytree(made.path, tmp_path / "run"))


def version(run) -> str | None:
    with Database(run.reviews_url).reading() as reading:
        return None if reading is None else reading[1]


def test_the_newest_version_is_the_one_that_is_expected():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    import lossprint.audit.review.database as module

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


def _say(reviews, name: str) -> None:
    reviews.add(finding="outlier:5", sample=5, decision="keep", reviewer=name)


def test_several_processes_upgrade_at_once_and_none_loses_its_decision(run, database):
    plant_first_release(run)
    at_once(run, database, _say, [f"reviewer {at}" for at in range(4)])
    history = open_reviews(run).history()
    assert len(history) == 8 and history["reviewer"].tolist()[:4] == ["ann"] * 4
    assert set(history["reviewer"][4:]) == {f"reviewer {at}" for at in range(4)}


def test_threads_of_one_process_create_their_databases_at_once(made, tmp_path):
    """Two people decide first on two runs that one app shows; Alembic keeps its state in module globals."""
    start, said = threading.Barrier(6), []

    def create(at: int) -> None:
        reviews = open_reviews(made, f"sqlite:///{tmp_path / f'{at}.db'}")
        start.wait()
        _say(reviews, "ann")
        said.append(len(reviews.history()))

    threads = [threading.Thread(target=create, args=(at,)) for at in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert said == [1] * 6


AT_HEAD = """
import sys
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
reviews = open_reviews(open_run(sys.argv[1]))
reviews.add(finding="outlier:5", sample=5, decision="keep", reviewer="ann")
print(len(reviews.history()), "alembic" in sys.modules)
"""


def test_alembic_is_loaded_only_where_the_schema_has_to_change(made, tmp_path):
    run = open_run(shutil.copytree(made.path, tmp_path / "run"))
    command = [sys.executable, "-c", AT_HEAD, str(run.path)]
    said = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(2)]
    assert said == [["1", "True"], ["2", "False"]]


KILLED = """
import os, signal, sys
from alembic.operations import Operations
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
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


def test_a_newer_schema_in_the_first_releases_own_table_is_refused(run):
    plant_first_release(run)
    with Database(run.reviews_url).engine.connect() as connection:
        connection.execute(text("UPDATE schema_version SET version = 2"))
        connection.commit()
    for act in (open_reviews(run).history, lambda: _say(open_reviews(run), "ann")):
        with pytest.raises(LossprintError, match=r"or older, found schema 2 in .*: upgrade lossprint"):
            act()


def test_another_programs_table_of_the_same_name_is_not_taken_for_ours(run):
    with Database(run.reviews_url).engine.connect() as connection:
        connection.execute(text("CREATE TABLE schema_version (installed_rank INTEGER, version VARCHAR(50))"))
        connection.execute(text("INSERT INTO schema_version VALUES (1, '7')"))
        connection.commit()
    assert open_reviews(run).history().empty
    _say(open_reviews(run), "ann")
    assert version(run) == HEAD and len(open_reviews(run).history()) == 1


def test_other_programs_alembic_version_is_not_touched(run):
    with Database(run.reviews_url).engine.connect() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('theirs')"))
        connection.commit()
        open_reviews(run).add(finding="outlier:5", sample=5, decision="keep", reviewer="ann")
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "theirs"
    assert version(run) == HEAD
