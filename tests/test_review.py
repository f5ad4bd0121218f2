"""Decisions are kept: appended only, durable, whole under several writers, readable where nothing may be written."""

import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from helpers import make_run

from lossprint.audit import review
from lossprint.audit.review import CHOICES, COLUMNS, open_reviews
from lossprint.audit.store import open_run
from lossprint.audit.types import LossprintError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made, tmp_path):
    return open_run(shutil.copytree(made.path, tmp_path / "run"))


def keep(reviews, sample, reviewer="ann", finding=None):
    return reviews.add(finding=finding or f"label_error:{sample}", sample=sample, decision="keep", reviewer=reviewer)


# ------------------------------------------------------------------------------------------------- one writer


def test_a_run_without_decisions_is_read_without_writing_anything(run):
    before = sorted(os.listdir(run.path))
    reviews = open_reviews(run)
    assert reviews.history().empty and list(reviews.history()) == [*COLUMNS, "stands"]
    assert reviews.current().empty and list(reviews.current()) == list(COLUMNS)
    assert reviews.undo("ann") is None
    assert reviews.progress(run.findings())["reviewed"].sum() == 0
    assert sorted(os.listdir(run.path)) == before


def test_a_decision_is_read_back_as_it_was_made_by_another_opening(run):
    made = open_reviews(run).add(
        finding="label_error:1",
        sample=1,
        decision="accept",
        reviewer=" ann ",
        new_label="shirt",
        comment="a 'cuff', no?\nyes",
    )
    assert (made.id, made.reviewer, made.undoes) == (1, "ann", None)
    row = open_reviews(open_run(run.path)).history().iloc[0]
    assert row["stands"]
    assert row[["finding", "sample", "decision", "reviewer", "new_label", "comment"]].tolist() == [
        "label_error:1", 1, "accept", "ann", "shirt", "a 'cuff', no?\nyes",
    ]  # fmt: skip
    at = pd.Timestamp(row["at"])
    assert (
        row["at"] == made.at
        and at.utcoffset().total_seconds() == 0
        and len(row["at"]) == len("2026-01-01T00:00:00.000000+00:00")
    )


def test_every_choice_is_stored_and_the_latest_that_stands_is_current(run):
    reviews = open_reviews(run)
    for sample, choice in enumerate(CHOICES):
        label = "coat" if choice in ("accept", "relabel") else None
        reviews.add(finding=f"outlier:{sample}", sample=sample, decision=choice, reviewer="ann", new_label=label)
    reviews.add(finding="label_error:0", sample=0, decision="exclude", reviewer="bob")
    current = reviews.current()
    assert current["sample"].tolist() == [0, 1, 2, 3, 4]
    assert current["decision"].tolist() == ["exclude", *CHOICES[1:]]
    assert current["reviewer"].tolist() == ["bob", "ann", "ann", "ann", "ann"]
    assert current["id"].tolist() == [6, 2, 3, 4, 5]
    assert reviews.history()["stands"].all() and len(reviews.history()) == 6


def test_undo_goes_back_one_reviewers_decisions_to_the_first(run):
    reviews = open_reviews(run)
    keep(reviews, 1), keep(reviews, 2), keep(reviews, 3, "bob")
    reviews.add(finding="label_error:1", sample=1, decision="relabel", reviewer="ann", new_label="bag")
    assert reviews.current()["decision"].tolist() == ["relabel", "keep", "keep"]

    assert reviews.undo("ann").undoes == 4
    assert reviews.current()["decision"].tolist() == ["keep", "keep", "keep"]
    assert reviews.undo("ann").undoes == 2
    keep(reviews, 5)  # id 7: a new decision after undoing is undone first
    assert [reviews.undo("ann").undoes for _ in range(2)] == [7, 1]
    assert reviews.undo("ann") is None and reviews.undo("nobody") is None

    history = reviews.history()
    assert history["id"].tolist() == list(range(1, 10))  # nothing was removed
    assert history.loc[history["stands"], "id"].tolist() == [3]
    undone = history[history["decision"] == "undo"]
    assert undone["undoes"].tolist() == [4, 2, 7, 1] and undone["sample"].tolist() == [1, 2, 5, 1]
    assert reviews.current()["reviewer"].tolist() == ["bob"]


def test_progress_counts_findings_by_their_latest_decision(run):
    reviews = open_reviews(run)
    keep(reviews, 1), keep(reviews, 1, "bob")
    reviews.add(finding="label_error:1", sample=1, decision="unsure", reviewer="cay")
    reviews.add(finding="duplicate:0", sample=3, decision="exclude", reviewer="ann")
    keep(reviews, 5, finding="outlier:5")
    reviews.undo("ann")
    table = reviews.progress(run.findings()).set_index("kind")
    assert table["of"].to_dict() == {"label_error": 2, "duplicate": 1, "near_duplicate": 1, "outlier": 1}
    assert table["reviewed"].to_dict() == {"label_error": 1, "duplicate": 1, "near_duplicate": 0, "outlier": 0}
    assert table.loc["label_error", list(CHOICES)].tolist() == [0, 0, 0, 0, 1]
    assert table.loc["duplicate", "exclude"] == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"decision": "maybe"}, "expected a decision of accept, keep, relabel, exclude, unsure, found 'maybe'"),
        ({"decision": "undo"}, "found 'undo'"),
        ({"decision": "accept"}, "expected a new label with 'accept', found none"),
        ({"decision": "relabel", "new_label": "coats"}, "found 'coats'; near it: coat"),
        ({"decision": "keep", "new_label": "coat"}, "expected no new label with 'keep'"),
        ({"sample": 999}, "found 999"),
        ({"sample": -1}, "found -1"),
        ({"sample": "1"}, "found '1'"),
        ({"reviewer": "  "}, "expected the reviewer of a decision"),
        ({"finding": ""}, "expected the finding of a decision"),
        ({"comment": "a\0b"}, "expected plain text as the comment"),
        ({"comment": "\udc80"}, "expected plain text as the comment"),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused_in_one_line(run, change, says):
    asked = {"finding": "label_error:1", "sample": 1, "decision": "keep", "reviewer": "ann", **change}
    with pytest.raises(LossprintError) as error:
        open_reviews(run).add(**asked)
    assert says in str(error.value) and "\n" not in str(error.value)
    assert open_reviews(run).history().empty


# ------------------------------------------------------------------------------------------------- many writers


def _write(path: str, name: str, start) -> None:
    run = open_run(path)
    start.wait()
    for i in range(50):
        with open_reviews(run) as reviews:
            reviews.add(finding=f"label_error:{i}", sample=i % 30, decision="keep", reviewer=name, comment=str(i))


def test_four_processes_lose_and_double_nothing(run):
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(4)  # all four find no database and create it at once
    names = [f"reviewer {i}" for i in range(4)]
    workers = [context.Process(target=_write, args=(str(run.path), name, start)) for name in names]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    history = open_reviews(run).history()
    assert history["id"].is_unique and len(history) == 200
    for name in names:
        assert history.loc[history["reviewer"] == name, "comment"].tolist() == [str(i) for i in range(50)]


def test_many_decisions_are_stored_whole_or_not_at_all(run):
    reviews = open_reviews(run)
    one = {"finding": "duplicate:0", "sample": 0, "decision": "keep", "reviewer": "ann"}
    with pytest.raises(LossprintError, match="expected a sample"):
        reviews.add_all([one, {**one, "sample": 99999}])
    assert reviews.history().empty
    made = reviews.add_all([one, {**one, "sample": 3, "decision": "exclude"}])
    assert [row.id for row in made] == [1, 2] and made[0].at == made[1].at
    assert reviews.current()["decision"].tolist() == ["keep", "exclude"]
    assert reviews.add_all([]) == []


def test_given_decisions_are_taken_back_where_they_stand_and_are_ones_own(run):
    reviews = open_reviews(run)
    mine = [keep(reviews, sample).id for sample in (1, 2, 3)]
    other = keep(reviews, 4, "bob").id
    assert [row.undoes for row in reviews.undo_ids(" ann ", [*mine[:2], other, 999])] == mine[:2]
    assert reviews.undo_ids("ann", mine[:2]) == []
    history = reviews.history()
    assert history.loc[history["stands"], "id"].tolist() == [mine[2], other]


def test_threads_may_share_one_object_and_race_for_an_undo(run):
    reviews = open_reviews(run)
    for i in range(8):
        keep(reviews, i)
    taken, start = [], threading.Barrier(4)

    def undo_three():
        start.wait()
        for _ in range(3):
            taken.append(reviews.undo("ann"))

    threads = [threading.Thread(target=undo_three) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    undone = [row.undoes for row in taken if row is not None]
    assert sorted(undone) == list(range(1, 9)) and taken.count(None) == 4
    assert reviews.current().empty


def test_a_decision_survives_a_kill_right_after_it_returned(run):
    program = (
        "import sys; from lossprint.audit.review import open_reviews; from lossprint.audit.store import open_run\n"
        "reviews = open_reviews(open_run(sys.argv[1]))\n"
        "row = reviews.add(finding='outlier:5', sample=5, decision='exclude', reviewer='ann')\n"
        "print(row.id, flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        made = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert open_reviews(run).history()["id"].tolist() == [made]


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
    with review._make_engine(run.reviews_url, review.WAIT).connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == review.WAIT * 1000
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
        db.execute("update schema_version set version = 99")
        db.commit()
    for act in (open_reviews(run).history, lambda: keep(open_reviews(run), 2), lambda: open_reviews(run).undo("ann")):
        with pytest.raises(
            LossprintError, match=r"expected reviews of schema 1 or older, found schema 99 in .*reviews\.db"
        ):
            act()


def test_a_locked_database_is_one_line_and_loses_nothing(run, monkeypatch):
    keep(open_reviews(run), 1)
    monkeypatch.setattr(review, "WAIT", 0.1)
    holder = sqlite3.connect(run.path / "reviews.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LossprintError, match=r"can be written at .*reviews\.db, found: database is locked"):
        keep(open_reviews(run), 2)
    assert len(open_reviews(run).history()) == 1  # reading goes on beside a writer
    holder.execute("ROLLBACK")
    holder.close()
    assert keep(open_reviews(run), 2).id == 2


def test_what_is_no_database_is_one_line(run):
    (run.path / "reviews.db").write_bytes(b"not a database" * 100)
    for act in (open_reviews(run).history, lambda: keep(open_reviews(run), 1)):
        with pytest.raises(LossprintError, match="found: file is not a database"):
            act()


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "nonsense", "sqlite://", "sqlite:///:memory:", "bad://secret"])
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
from lossprint.audit.review import open_reviews
from lossprint.audit.store import open_run
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
@pytest.mark.parametrize("state", ["no database", "closed", "log left behind"])
def test_a_read_only_folder_is_read_and_refuses_a_decision_in_one_line(run, made, state):
    """Permissions do not bind root: as root, the process becomes `nobody` once all its modules are loaded."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # pytest's own folders may not be entered by others
    try:
        frozen = open_run(shutil.copytree(made.path, folder / "run"))
        expected, holder = [], None
        if state != "no database":
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
