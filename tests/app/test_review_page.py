"""What the review page does between a question and the next one, without a browser: test_browser_review.py has one."""

import pytest
import streamlit as st
from helpers import make_run

from lossprint.app import data
from lossprint.app.questions import questions
from lossprint.app.shared import decide
from lossprint.app.shared.acting import steps
from lossprint.app.views import review
from lossprint.audit.runs.open import open_run


class Reviewer:
    """One session of the page: the state that Streamlit keeps for it, and what the browser would send."""

    def __init__(self, run, monkeypatch, name: str = "ann"):
        self.loaded, self.state, self.patch = data.load(run.path), {"reviewer": name}, monkeypatch

    def __enter__(self):
        self.patch.setattr(st, "session_state", self.state)
        return self

    def __exit__(self, *_):
        pass

    def ask(self, queue: str = "Everything", blind: str = "", mix: bool = False) -> str | None:
        """Draw the page as far as the question; its finding, or None where nothing is left."""
        with self:
            kept = data.reviews(self.loaded)
            items = questions.queue(self.loaded, queue, "", mix)
            assignments = kept.assignments()
            open_now = review.queues.unanswered_by(decide.reviewer(), items["group"], kept.history(), assignments)
            name = review._choose(self.loaded, items, open_now, assignments)
            if name is not None:
                item = review._item(self.loaded, items, name)
                review._show(self.loaded, item, items, open_now, kept.history(), assignments, blind)
            return name

    def answer(self, key: str, token: str | None = None, **more) -> None:
        with self:
            state = self.state[review.ASKED]
            choice = next(offer.id for offer in state["draft"].offers if key in offer.keys)
            review._answer(self.loaded, {"token": token or state["token"], "choice": choice, **more})

    @property
    def notice(self) -> str:
        return self.state[review.ASKED]["notice"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    made = make_run(tmp_path)
    monkeypatch.setattr(review, "question", lambda *_, **__: None)
    monkeypatch.setattr(review.parts, "url_asks", lambda _: None)
    return made


def stored(run):
    from lossprint.audit.review.reviews import open_reviews

    return open_reviews(open_run(run.path)).history()


def test_an_answer_is_stored_with_how_it_came_about_and_leads_on(run, monkeypatch):
    ann = Reviewer(run, monkeypatch)
    assert ann.ask(blind="suggestion") == "label_error:4"
    ann.answer("K", seconds=3.217, comment="  a cuff ")
    row = stored(run).iloc[0]
    assert row[["finding", "sample", "decision", "reviewer", "blind", "comment"]].tolist() == [
        "label_error:4", 4, "keep", "ann", "suggestion", "a cuff",
    ]  # fmt: skip
    assert row["seconds"] == pytest.approx(3.22) and row["role"] == ""
    assert ann.ask() == "label_error:1"


def test_every_question_of_the_queue_comes_once_and_then_it_ends(run, monkeypatch):
    ann, seen = Reviewer(run, monkeypatch), []
    while (name := ann.ask()) is not None:
        seen.append(name)
        ann.answer("K")
    assert seen == ["label_error:4", "label_error:1", "duplicate:0", "near_duplicate:2", "outlier:5"]
    assert ann.ask("Random audit").startswith("audit:")


def test_undo_goes_back_through_all_answers_and_asks_them_again(run, monkeypatch):
    ann, asked = Reviewer(run, monkeypatch), []
    for _ in range(3):
        asked.append(ann.ask())
        ann.answer("X")
    assert len(stored(run)) == 4  # the group has two rows
    for name in reversed(asked):
        with ann:
            steps.undo(ann.loaded, review._back)
        assert ann.ask() == name
    assert not stored(run)["stands"].any()


def test_an_answer_sent_twice_or_too_late_is_stored_once(run, monkeypatch):
    ann = Reviewer(run, monkeypatch)
    ann.ask()
    before = dict(ann.state[review.ASKED])
    ann.answer("K")
    ann.ask()
    ann.state[review.ASKED] |= {}
    ann.answer("X", token=before["token"])  # a late key
    assert stored(run)["decision"].tolist() == ["keep"]
    ann.state[review.ASKED] = before  # the browser repeats what it could not know to be stored
    ann.answer("K")
    assert stored(run)["decision"].tolist() == ["keep"]


def test_two_sessions_on_one_item_the_second_is_told_and_may_add_its_answer(run, monkeypatch):
    ann, bob = Reviewer(run, monkeypatch), Reviewer(run, monkeypatch, "bob")
    assert ann.ask() == "label_error:4"
    bob.state[review.AT] = "label_error:4"  # by a link
    assert bob.ask() == "label_error:4"
    ann.answer("A")
    bob.answer("K")
    assert stored(run)["reviewer"].tolist() == ["ann"]
    assert "ann has answered this meanwhile: relabeled as suggested" in bob.notice
    assert bob.ask() == "label_error:4"
    bob.answer("K")
    assert stored(run)["reviewer"].tolist() == ["ann", "bob"]
    assert bob.ask() == "label_error:1"


def test_no_two_are_handed_the_same_question_unless_it_is_assigned_to_both(run, monkeypatch):
    ann, bob = Reviewer(run, monkeypatch), Reviewer(run, monkeypatch, "bob")
    assert (ann.ask(), bob.ask()) == ("label_error:4", "label_error:1")
    with ann:
        data.reviews(ann.loaded).assign([("outlier:5", "ann"), ("outlier:5", "bob")])
    ann, bob = Reviewer(run, monkeypatch), Reviewer(run, monkeypatch, "bob")
    assert ann.ask("Outliers") == bob.ask("Outliers") == "outlier:5"
    ann.answer("K")
    bob.answer("X")  # no conflict: an independent answer was asked for
    assert stored(run)["decision"].tolist() == ["keep", "exclude"]
    assert ann.ask("Outliers") is None


def test_when_all_that_is_left_is_held_by_others_it_is_said(run, monkeypatch):
    ann, bob = Reviewer(run, monkeypatch), Reviewer(run, monkeypatch, "bob")
    assert ann.ask("Outliers") == "outlier:5"
    assert bob.ask("Outliers") is None and bob.state["_review_held"] == "ann"


def test_a_fault_of_the_store_keeps_the_question(run, monkeypatch):
    ann = Reviewer(run, monkeypatch)
    ann.ask()
    (run.path / "reviews.db").unlink(missing_ok=True)
    (run.path / "reviews.db").write_text("no database" * 1000)
    ann.answer("K")
    assert "The answer was not stored: expected" in ann.notice and "\n" not in ann.notice


def test_what_another_finding_left_out_is_said_first(run, monkeypatch):
    ann = Reviewer(run, monkeypatch)
    with ann:
        data.reviews(ann.loaded).add(finding="duplicate:31", sample=4, decision="exclude", reviewer="bob")
        assignments = data.reviews(ann.loaded).assignments()
        told = review._before(ann.loaded, "label_error:4", stored(run).iloc[:0], [4], assignments)
    assert "Sample 4 is excluded in duplicate:31; deciding here brings it back" in told


def test_an_unknown_choice_or_label_stores_nothing(run, monkeypatch):
    ann = Reviewer(run, monkeypatch)
    ann.ask()
    with ann:
        token = ann.state[review.ASKED]["token"]
        for choice in ("", "nothing", "label:no such", None):
            review._answer(ann.loaded, {"token": token, "choice": choice})
    assert stored(run).empty


@pytest.mark.parametrize("value, known", [(2.345, 2.35), ("x", None), (None, None), (-1, 0.0), (1e9, 3600.0)])
def test_seconds_from_a_browser_are_a_number_or_unknown(value, known):
    assert decide.seconds_or_none(value) == known
