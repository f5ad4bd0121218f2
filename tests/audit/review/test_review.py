"""Decisions are kept, in SQLite and in PostgreSQL: appended only, durable, whole under several writers."""

import os
import shutil
import signal
import subprocess
import sys
import threading

import pandas as pd
import pytest
from helpers import make_run
from processes import at_once

from lossprint.audit.review.reviews import CHOICES, COLUMNS, open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made, tmp_path, database):
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


LABELS = tuple(choice for choice in CHOICES if choice != "reorder")  # what is decided of an image


def test_every_choice_is_stored_and_the_latest_that_stands_is_current(run):
    reviews = open_reviews(run)
    for sample, choice in enumerate(LABELS):
        label = "coat" if choice in ("accept", "relabel") else None
        reviews.add(finding=f"outlier:{sample}", sample=sample, decision=choice, reviewer="ann", new_label=label)
    reviews.add(finding="label_error:0", sample=0, decision="exclude", reviewer="bob")
    current = reviews.current()
    assert current["sample"].tolist() == [0, 1, 2, 3, 4]
    assert current["decision"].tolist() == ["exclude", *LABELS[1:]]
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
    assert table.loc["label_error", list(LABELS)].tolist() == [0, 0, 0, 0, 1]
    assert table.loc["duplicate", "exclude"] == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"decision": "maybe"},
            "expected a decision of accept, keep, relabel, reorder, exclude, unsure, found 'maybe'",
        ),
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


def _write(reviews, name: str) -> None:
    for i in range(50):
        with reviews:
            reviews.add(finding=f"label_error:{i}", sample=i % 30, decision="keep", reviewer=name, comment=str(i))


def test_four_processes_lose_and_double_nothing(run, database):
    names = [f"reviewer {i}" for i in range(4)]
    at_once(run, database, _write, names)  # all four find no database and create it
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


def test_more_decisions_are_taken_back_at_once_than_a_statement_takes_values(run):
    reviews = open_reviews(run)
    mine = [keep(reviews, sample).id for sample in (1, 2, 3)]
    assert [row.undoes for row in reviews.undo_ids("ann", list(range(70_000, 0, -1)))] == mine


def test_what_is_read_piece_by_piece_is_what_is_read_whole(run):
    one, other = open_reviews(run), open_reviews(run)
    for act in (
        lambda: keep(other, 1),
        lambda: [keep(one, 2), keep(other, 3, "bob")],
        lambda: other.undo("ann"),
        lambda: one.add(finding="x:1", sample=1, decision="accept", reviewer="cay", new_label="coat", seconds=1.5),
        lambda: one.undo_ids("bob", [3]),
        lambda: None,
    ):
        act()
        known = one.history()
        pd.testing.assert_frame_equal(known, open_reviews(run).history())
        known["stands"] = False  # the caller's own
    assert one.history()["stands"].tolist() == [True, False, False, False, True, False]


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
        "import sys\nfrom lossprint.audit.review.reviews import open_reviews\n"
        "from lossprint.audit.runs.open import open_run\n"
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
