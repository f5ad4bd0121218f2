"""Several sessions at once, in SQLite and in PostgreSQL: conflicts, repeated answers, assignments, claims."""

import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from helpers import make_run
from postgres import PASSWORD, free_port, new_database
from processes import at_once
from sqlalchemy import text

from lossprint.audit.review import database as module
from lossprint.audit.review.reviews import Conflict, open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError

FINDING = "label_error:4"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made, tmp_path, database):
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


def test_an_adjudication_is_told_of_every_newer_answer(run):
    """Two who settle the same disagreement, and an answer that was not there yet when it was looked at."""
    reviews = open_reviews(run)
    reviews.assign([(FINDING, "ann"), (FINDING, "bob")])
    last = [say(reviews, who, seen=0).id for who in ("ann", "bob")][-1]
    settled = say(reviews, "cay", "exclude", seen=last, role="adjudication")
    with pytest.raises(Conflict) as told:
        say(reviews, "dan", seen=last, role="adjudication")
    assert told.value.row == settled
    with pytest.raises(Conflict) as told:
        say(reviews, "dan", seen=1, role="adjudication")
    assert told.value.row == settled  # the latest of what was not seen
    assert say(reviews, "dan", seen=0).id == 4  # an independent answer is not told what was settled


def test_many_findings_are_checked_at_once_and_all_or_none_is_stored(run):
    reviews = open_reviews(run)
    names = [f"label_error:{at}" for at in range(1200)]  # more than one statement takes
    rows = [{"finding": name, "sample": 4, "decision": "keep", "reviewer": "ann"} for name in names]
    made = reviews.add_all(rows, seen=dict.fromkeys(names, 0))
    assert reviews.add_all(rows, seen={row.finding: row.id for row in made})[0].id == 1201
    with pytest.raises(Conflict) as told:
        reviews.add_all(rows[:700], seen={name: 1200 if name == names[650] else 9999 for name in names})
    assert told.value.row.finding == names[650] and len(reviews.history()) == 2400


def test_an_answer_that_is_sent_again_is_stored_once(run):
    reviews = open_reviews(run)
    first = say(reviews, "ann", seen=0, token="t:0")
    again = say(open_reviews(run), "ann", seen=0, token="t:0")
    assert again == first and len(reviews.history()) == 1
    rows = [{"finding": "duplicate:0", "sample": at, "decision": "keep", "reviewer": "ann"} for at in (0, 3)]
    reviews.add_all([{**row, "token": f"u:{at}"} for at, row in enumerate(rows[:1])])
    made = reviews.add_all([{**row, "token": f"u:{at}"} for at, row in enumerate(rows)])
    assert [row.id for row in made] == [2, 3] and len(reviews.history()) == 3
    say(reviews, "bob", seen=first.id)
    assert say(reviews, "ann", seen=0, token="t:0") == first  # it came through before; now is no conflict
    with pytest.raises(LossprintError, match="a token of its own for each decision, found one twice"):
        reviews.add_all([{**row, "token": "v"} for row in rows])


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
        ({"seconds": "soon"}, "expected the seconds of a decision, found 'soon'"),
        ({"token": ""}, "expected a token of 1 to 80 characters"),
        ({"token": "x" * 81}, "expected a token of 1 to 80 characters"),
        ({"token": "a\0b"}, "expected a token of 1 to 80 characters"),
    ],
)
def test_how_a_decision_came_about_is_checked(run, change, says):
    with pytest.raises(LossprintError) as error:
        say(open_reviews(run), "ann", **change)
    assert says in str(error.value)


def _race(reviews, name: str) -> str:
    try:
        say(reviews, name, seen=0)
    except Conflict as conflict:
        return f"told of {conflict.row.reviewer}"
    return name


def test_of_eight_processes_that_answer_the_same_question_one_wins_and_seven_are_told(run, database):
    said = at_once(run, database, _race, [f"r{at}" for at in range(8)])
    won = [one for one in said if not one.startswith("told")]
    assert len(won) == 1 and said.count(f"told of {won[0]}") == 7
    assert open_reviews(run).history()["reviewer"].tolist() == won


WRITER = """
import sys
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
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


def _claim(reviews, name: str) -> str:
    return reviews.claim("a:1", name, f"session of {name}") or name


def test_of_eight_processes_that_claim_the_same_finding_one_gets_it(run, database):
    said = at_once(run, database, _claim, [f"r{at}" for at in range(8)])
    assert len(set(said)) == 1 and open_reviews(run).claims()["reviewer"].tolist() == said[:1]


def test_a_name_that_no_database_can_keep_is_one_line(run):
    reviews = open_reviews(run)
    for act in (lambda: reviews.claim("a:1", "\udc80", "s"), lambda: (say(reviews, "ann"), reviews.undo("\udc80"))):
        with pytest.raises(LossprintError, match="that can be written") as error:
            act()
        assert "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------- PostgreSQL's own faults


def told(made, url: str, monkeypatch) -> list[str]:
    """What reading and writing say of a server that is not as it should be."""
    monkeypatch.setenv("LOSSPRINT_DATABASE_URL", url)
    said = []
    for act in (lambda: open_reviews(made).history(), lambda: say(open_reviews(made), "ann")):
        with pytest.raises(LossprintError, match=r"expected a review database that can be (read|written) at") as error:
            act()
        assert "\n" not in str(error.value) and "hush" not in str(error.value)
        said.append(str(error.value))
    return said


def test_a_server_that_is_not_there_is_one_line_soon(made, monkeypatch):
    began = time.monotonic()
    told(made, f"postgresql://ann:hush@127.0.0.1:{free_port()}/team", monkeypatch)
    told(made, f"postgresql://127.0.0.1:{free_port()}/team?user=ann&password=hush", monkeypatch)
    assert time.monotonic() - began < module.CONNECT


def test_a_server_that_says_nothing_is_one_line_soon(made, monkeypatch):
    monkeypatch.setattr(module, "CONNECT", 2)  # the least that the driver takes
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reviews = open_reviews(made, f"postgresql://ann:hush@127.0.0.1:{silent.getsockname()[1]}/team")
        with pytest.raises(LossprintError, match=r"can be read at .*timeout expired") as error:
            reviews.history()
    assert time.monotonic() - began < 10 and "\n" not in str(error.value) and "hush" not in str(error.value)


def test_a_writer_waits_for_a_stuck_one_no_longer_than_it_said(made, postgresql, monkeypatch):
    monkeypatch.setattr(module, "WAIT", 0.2)
    reviews = open_reviews(made, new_database(postgresql))
    say(reviews, "ann")
    with (
        reviews.database.writing(reviews.key),
        pytest.raises(LossprintError, match="canceling statement due to lock timeout"),
    ):
        say(reviews, "bob")
    assert say(reviews, "bob").id == 2


def test_a_wrong_password_is_one_line_without_it(made, postgresql, monkeypatch):
    wrong = postgresql.replace(PASSWORD.replace(" ", "%20"), "hush")
    assert wrong != postgresql
    assert all("password authentication failed" in one for one in told(made, f"{wrong}/postgres", monkeypatch))


def test_a_server_that_dropped_its_connections_is_written_to_again(made, postgresql):
    """The pool's old connection is dead by then: it is noticed before a decision is given to it."""
    reviews = open_reviews(made, new_database(postgresql))
    say(reviews, "ann", seen=0)
    with reviews.database.engine.connect() as connection:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        connection.execute(text(others + " AND datname = current_database()"))
    say(reviews, "ann", finding="outlier:5", seen=0)
    assert len(reviews.history()) == 2
