"""Tags, queues and views are kept beside the decisions, in SQLite and in PostgreSQL, and taken back like them."""

import os
import shutil
import threading

import numpy as np
import pytest
from first_release import plant_first_release
from helpers import make_run

from lossprint.audit.review import ids
from lossprint.audit.review.marks import open_marks
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made, tmp_path, database):
    return open_run(shutil.copytree(made.path, tmp_path / "run"))


def tagged(marks) -> dict[str, list[int]]:
    return {name: samples.tolist() for name, samples in marks.tags().items()}


@pytest.mark.parametrize("numbers", [[], [4], [3, 4, 5, 7], [9, 8, 8, 1, 2], [0, 10**12, 10**12 + 1]])
def test_ids_come_back_in_their_order(numbers):
    assert ids.read(ids.write(numbers)).tolist() == numbers
    with pytest.raises(ValueError):
        ids.read("5-3")


def test_nothing_is_written_before_the_first_step(run):
    before = sorted(os.listdir(run.path))
    marks = open_marks(run)
    assert marks.tags() == {} and marks.table().empty and marks.history() == []
    assert marks.state().views == {} and sorted(os.listdir(run.path)) == before


def test_a_sample_has_several_tags_each_with_who_and_when_and_a_step_holds_only_what_changed(run):
    marks = open_marks(run)
    first = marks.tag("blurry", [3, 1, 2], " ann ")
    marks.tag("Ärztin fragen", [2], "ann")
    again = marks.tag("blurry", [2, 3, 4], "bob")
    assert again.samples.tolist() == [4] and marks.tag("blurry", [1, 4], "cid") is None
    marks.tag("blurry", [3], "bob", remove=True)
    other = open_marks(open_run(run.path))
    assert tagged(other) == {"blurry": [1, 2, 4], "Ärztin fragen": [2]}
    table = other.table()
    rows = table[["sample", "tag", "reviewer"]].to_numpy().tolist()
    blurry = [[1, "blurry", "ann"], [2, "blurry", "ann"], [4, "blurry", "bob"]]
    assert sorted(rows) == sorted([*blurry, [2, "Ärztin fragen", "ann"]])
    assert table["at"].iloc[0] == first.at
    marks.tag("blurry", [1, 2, 4], "ann", remove=True)
    assert list(tagged(other)) == ["Ärztin fragen"], "a tag without samples is none"


def test_a_step_is_taken_back_by_whoever_made_it_and_made_again(run):
    marks = open_marks(run)
    first, second = marks.tag("blurry", [1, 2], "ann"), marks.tag("blurry", [3], "bob")
    assert marks.take_back([first.id, second.id], "bob") == [second]
    assert marks.take_back([second.id], "bob") == [], "only once"
    assert tagged(marks) == {"blurry": [1, 2]}
    marks.again([second], "bob")
    assert tagged(marks) == {"blurry": [1, 2, 3]}
    assert marks.take_back([first.id], "owner", anybodys=True) == [first]
    assert tagged(marks) == {"blurry": [3]}
    assert [one.action for one in marks.history()] == ["add", "add", "undo", "add", "undo"]


def test_a_view_keeps_its_number_through_renaming_deletion_and_back(run):
    marks = open_marks(run)
    view = marks.keep_view("Doubted coats", {"e_label": "coat", "e_down": True}, "ann")
    queue = marks.keep_queue("Doubted coats", [7, 3, 4, 7], "ann")
    renamed = marks.rename("view", view.id, "Coats", "bob")
    assert marks.rename("view", view.id, "Coats", "bob") is None
    marks.keep_view("coats", {"e_label": "bag"}, "bob", replace=True)
    now = open_marks(run).state()
    assert now.views[view.id].asked == {"e_label": "bag"} and now.queues[queue.id].samples.tolist() == [7, 3, 4]
    gone = marks.delete("view", view.id, "ann")
    assert view.id not in marks.state().views and queue.id in marks.state().queues
    marks.take_back([gone.id], "ann")
    assert marks.state().views[view.id].name == "coats"
    marks.take_back([renamed.id, view.id], "owner", anybodys=True)
    assert marks.state().views[view.id].asked == {"e_label": "bag"}, "what was set after still stands"
    lone = marks.keep_view("Bags", {}, "ann")
    marks.take_back([lone.id], "ann")
    marks.again([lone], "ann")
    assert marks.state().views[lone.id].name == "Bags", "links to it still hold"


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda marks: marks.tag("  ", [1], "ann"), "expected a name of 1 to 80 plain characters for a tag, found ''"),
        (lambda marks: marks.tag("a\nb", [1], "ann"), r"found 'a\\nb'"),
        (lambda marks: marks.tag("x" * 81, [1], "ann"), "1 to 80"),
        (lambda marks: marks.tag("blurry", [1, 10**6], "ann"), "expected samples of run .*, found 1000000"),
        (lambda marks: marks.tag("blurry", [], "ann"), "found none"),
        (lambda marks: marks.tag("blurry", [1], " "), "expected the reviewer of a step"),
        (lambda marks: marks.keep_view("Mine", {}, "bob"), "there is one named 'Mine'"),
        (lambda marks: marks.keep_view("MINE", {}, "bob"), "there is one named 'MINE'"),
        (lambda marks: marks.delete("view", 99, "bob"), "none of the number 99: it was deleted"),
        (lambda marks: marks.keep_queue("More", [10**6], "bob"), "found 1000000"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_nothing_stored(made, tmp_path, act, words):
    marks = open_marks(open_run(shutil.copytree(made.path, tmp_path / "run")))
    marks.keep_view("Mine", {}, "ann")
    with pytest.raises(LossprintError, match=words):
        act(marks)
    assert len(open_marks(marks.run).history()) == 1


def test_a_database_of_the_first_release_has_no_tags_and_takes_them(run):
    plant_first_release(run)
    marks = open_marks(run)
    assert marks.tags() == {} and marks.history() == []
    marks.tag("blurry", [1], "ann")
    assert tagged(marks) == {"blurry": [1]} and len(open_reviews(run).history()) == 4


def test_two_writers_lose_nothing(run):
    open_marks(run).tag("blurry", [0], "ann")
    errors = []

    def write(who: str, samples) -> None:
        try:
            mine = open_marks(run)
            for one in samples:
                mine.tag("blurry", [int(one)], who)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(f"r{at}", np.arange(1, 13)[at::2])) for at in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert errors == [] and tagged(open_marks(run)) == {"blurry": list(range(13))}
