"""Several sessions at once, in SQLite and in PostgreSQL: conflicts, repeated answers, assignments, claims."""

import multiprocessing
import shutil
import signal
import subprocess
import sys
import time

import pytest
from helpers import make_run
from postgres import database, free_port, postgresql  # noqa: F401 (fixtures)

from lossprint.audit.review import Conflict, open_reviews
from lossprint.audit.store import open_run
from lossprint.audit.types import LossprintError

FINDING = "label_error:4"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made, tmp_path, database):  # noqa: F811
    return open_run(shutil.copytree(made.path, tmp_path / "run"))


def say(reviews, reviewer, decision="keep", seen=None, finding=FINDING, **more):
    row = {"finding": finding, "sample": 4, "decision": decision, "reviewer": reviewer, **more}
    return reviews.add_all([row], seen=None if seen is None else {finding: seen})[0]


def test_the_second_session_on_a_finding_is_told_and_stores_nothing(run):
    ann, bob = open_reviews(run), open_reviews(run)
    first = say(ann, "ann", seen=0)
    with pytest.raises(Conflict) as told:
        say(bob, "bob", "exclude", seen=0)
    assert (told.value.row.reviewer, told.value.row.decision, told.value.row.id) == ("ann", "keep", first.id)
    assert len(ann.history()) == 1
    assert say(bob, "bob", "exclude", seen=first.id).id == 2  # once seen, one may add one's own
    with pytest.raises(Conflict):
        say(ann, "ann", seen=first.id)
    assert say(ann, "cay", seen=None).id == 3  # galleries do not ask


def test_what_was_taken_back_meanwhile_is_no_conflict(run):
    reviews = open_reviews(run)
    say(reviews, "ann", seen=0)
    reviews.undo("ann")
    assert say(reviews, "bob", seen=0).id == 3


def test_independent_answers_are_no_conflict_but_ones_own_other_window_is(run):
    reviews = open_reviews(run)
    reviews.assign([(FINDING, "ann"), (FINDING, "bob"), ("outlier:5", "ann")])
    say(reviews, "ann", seen=0)
    say(reviews, "bob", seen=0)
    with pytest.raises(Conflict):
        say(reviews, "ann", "exclude", seen=0)
    say(reviews, "cay", finding="outlier:5", seen=0)  # assigned to one only: nobody else's answer was asked for
    with pytest.raises(Conflict):
        say(reviews, "ann", finding="outlier:5", seen=0)


def test_an_answer_that_is_sent_again_is_stored_once(run):
    reviews = open_reviews(run)
    first = say(reviews, "ann", seen=0, token="t:0")
    again = say(open_reviews(run), "ann", seen=0, token="t:0")
    assert again == first and len(reviews.history()) == 1
    rows = [{"finding": "duplicate:0", "sample": at, "decision": "keep", "reviewer": "ann"} for at in (0, 3)]
    reviews.add_all([{**row, "token": f"u:{at}"} for at, row in enumerate(rows[:1])])
    made = reviews.add_all([{**row, "token": f"u:{at}"} for at, row in enumerate(rows)])
    assert [row.id for row in made] == [2, 3] and len(reviews.history()) == 3


def test_many_tokens_at_once(run):
    reviews = open_reviews(run)
    rows = [
        {
            "finding": f"label_error:{at % 30}",
            "sample": at % 30,
            "decision": "keep",
            "reviewer": "ann",
            "token": f"{at}",
        }
        for at in range(2500)
    ]
    assert len(reviews.add_all(rows)) == 2500
    assert [row.id for row in reviews.add_all(rows)] == list(range(1, 2501)) and len(reviews.history()) == 2500


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"blind": "both"}, "expected blind of '', 'given', 'suggestion', found 'both'"),
        ({"role": "boss"}, "expected role of"),
        ({"seconds": -1}, "expected the seconds of a decision, found -1"),
        ({"seconds": float("nan")}, "expected the seconds of a decision"),
    ],
)
def test_how_a_decision_came_about_is_checked(run, change, says):
    with pytest.raises(LossprintError) as error:
        say(open_reviews(run), "ann", **change)
    assert says in str(error.value)


def _race(path: str, name: str, start, queue) -> None:
    reviews = open_reviews(open_run(path))
    start.wait()
    try:
        say(reviews, name, seen=0)
        queue.put(name)
    except Conflict as conflict:
        queue.put(f"told of {conflict.row.reviewer}")


def test_of_eight_processes_that_answer_the_same_question_one_wins_and_seven_are_told(run):
    context = multiprocessing.get_context("spawn")
    start, queue = context.Barrier(8), context.Queue()
    workers = [context.Process(target=_race, args=(str(run.path), f"r{at}", start, queue)) for at in range(8)]
    for worker in workers:
        worker.start()
    said = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    won = [one for one in said if not one.startswith("told")]
    assert len(won) == 1 and said.count(f"told of {won[0]}") == 7
    assert open_reviews(run).history()["reviewer"].tolist() == won


WRITER = """
import sys
from lossprint.audit.review import open_reviews
from lossprint.audit.store import open_run
reviews = open_reviews(open_run(sys.argv[1]))
for at in range(100_000):
    reviews.add(finding="outlier:5", sample=5, decision="keep", reviewer="ann", token=str(at))
    print(at, flush=True)
"""


def test_a_writer_that_is_killed_has_lost_nothing_that_it_said_was_stored(run):
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(run.path)], stdout=subprocess.PIPE, text=True
        ) as child:
            for _ in range(40):
                child.stdout.readline()
            child.send_signal(signal.SIGKILL)
            said = [int(line) for line in child.stdout.read().split()]
        tokens = open_reviews(run).history()["token"].astype(int).tolist()
        assert tokens == list(range(len(tokens)))  # the second writer repeats, and doubles nothing
        assert len(tokens) >= (said[-1] + 1 if said else 40)
    open_reviews(run).add(finding="outlier:5", sample=5, decision="keep", reviewer="bob")


# ------------------------------------------------------------------------------------------- assignments and claims


def test_assignments_replace_extend_and_end(run):
    reviews = open_reviews(run)
    assert reviews.assignments().empty and list(reviews.assignments()) == ["finding", "reviewer", "at"]

    def now():
        return reviews.assignments()[["finding", "reviewer"]].to_numpy().tolist()

    assert reviews.assign([("a:1", "ann"), ("a:1", "bob"), ("a:2", " ann "), ("a:1", "ann")]) == 3
    assert now() == [["a:1", "ann"], ["a:1", "bob"], ["a:2", "ann"]]
    assert reviews.assign([("a:2", "ann"), ("a:3", "cay")], replace=False) == 1
    assert now() == [["a:1", "ann"], ["a:1", "bob"], ["a:2", "ann"], ["a:3", "cay"]]
    assert open_reviews(run).assign([("a:9", "ann")]) == 1 and now() == [["a:9", "ann"]]
    assert reviews.assign([]) == 0 and now() == []
    assert reviews.assign([("a:4", "bob")], replace=False) == 1 and now() == [["a:4", "bob"]]
    with pytest.raises(LossprintError, match="expected a finding and a reviewer"):
        reviews.assign([("a:1", " ")])


def test_a_claim_is_one_sessions_until_it_moves_on_or_time_is_up(run):
    reviews = open_reviews(run)
    assert reviews.claims().empty
    assert reviews.claim("a:1", "ann", "s1") is None
    assert reviews.claim("a:1", "bob", "s2") == "ann"
    assert reviews.claim("a:2", "bob", "s2") is None
    assert reviews.claim("a:2", "bob", "s3") is None  # one's own other window
    assert sorted(reviews.claims()["finding"]) == ["a:1", "a:2"]
    assert reviews.claim("a:3", "ann", "s1") is None  # lets a:1 go
    assert reviews.claim("a:1", "bob", "s3") is None
    assert sorted(reviews.claims()["finding"]) == ["a:1", "a:3"]
    reviews.claim("a:3", "ann", "s1", seconds=0.05)
    time.sleep(0.1)
    assert reviews.claim("a:3", "cay", "s4") is None
    reviews.release("s4")
    assert reviews.claims()["finding"].tolist() == ["a:1"]


# ------------------------------------------------------------------------------------------- PostgreSQL's own faults


def test_a_server_that_does_not_answer_is_one_line_soon(made, monkeypatch):
    monkeypatch.setenv("LOSSPRINT_DATABASE_URL", f"postgresql://ann:hush@127.0.0.1:{free_port()}/team")
    began = time.monotonic()
    for act in (lambda: open_reviews(made).history(), lambda: say(open_reviews(made), "ann")):
        with pytest.raises(LossprintError, match=r"expected a review database that can be (read|written) at") as error:
            act()
        assert "\n" not in str(error.value) and "hush" not in str(error.value)
    assert time.monotonic() - began < 15


def test_a_wrong_password_is_one_line_without_it(made, postgresql, monkeypatch):  # noqa: F811
    wrong = postgresql.replace("a%20secret%20of%20the%20tests", "hush")
    monkeypatch.setenv("LOSSPRINT_DATABASE_URL", f"{wrong}/postgres")
    with pytest.raises(LossprintError, match="password authentication failed") as error:
        open_reviews(made).history()
    assert "hush" not in str(error.value) and "\n" not in str(error.value)


def test_a_server_that_was_restarted_is_written_to_again(made):
    """The pool's old connection is dead by then: it is noticed before a decision is given to it."""
    from postgres import new_database, running_postgresql
    from sqlalchemy import text

    with running_postgresql() as server:
        reviews = open_reviews(made, new_database(server))
        say(reviews, "ann", seen=0)
        with reviews.database.engine.connect() as connection:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            connection.execute(text(others + " AND datname = current_database()"))
        say(reviews, "ann", finding="outlier:5", seen=0)
        assert len(reviews.history()) == 2
