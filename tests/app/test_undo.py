"""Taking back and doing again: what is asked about first, and what never comes back."""

from types import SimpleNamespace

import pytest
from app_pages import assert_whole, open_page, said
from helpers import make_run

from lossprint.app import data
from lossprint.app.shared import decide
from lossprint.app.shared.acting import steps
from lossprint.app.views import history
from lossprint.audit.review.reviews import open_reviews


@pytest.fixture
def session(tmp_path, monkeypatch):
    """(loaded, state) of one reviewer's session on the page Duplicates."""
    state = {"reviewer": "ann", decide.PAGE: "Duplicates"}
    session = SimpleNamespace(session_state=state)
    for module in (decide, steps):
        monkeypatch.setattr(module, "st", session)
    return data.load(make_run(tmp_path).path), state


def press(loaded, *decisions) -> None:
    seen = decide.last_seen(data.reviews(loaded).history(), [one[0] for one in decisions])
    decide.press(loaded, list(decisions), seen=seen)


def standing(loaded) -> dict[int, str]:
    table = open_reviews(loaded.run).current()
    return dict(zip(table["sample"], table["decision"]))


def test_undo_in_review_asks_before_it_takes_back_eighty_decisions_of_duplicates(session):
    loaded, state = session
    press(loaded, *[("duplicate:0", one, "exclude", None) for one in range(8)])
    state[decide.PAGE] = "Review"
    steps.undo(loaded)
    assert len(standing(loaded)) == 8, "nothing goes before a yes"
    words, yes = state[decide.ASKING]
    assert words == "Take back 8 decisions stored on Duplicates?"
    yes()
    assert standing(loaded) == {}


def test_one_answer_of_this_page_is_taken_back_at_once_also_where_it_is_on_a_group(session):
    loaded, state = session
    press(loaded, ("duplicate:0", 0, "keep", None), ("duplicate:0", 3, "exclude", None))
    steps.undo(loaded)
    assert standing(loaded) == {} and decide.ASKING not in state


def test_many_questions_at_once_are_asked_about_in_a_new_session_as_well(session):
    loaded, state = session
    press(loaded, ("label_error:1", 1, "keep", None), ("label_error:4", 4, "exclude", None))
    del state[decide.STACK]
    steps.undo(loaded)
    assert len(standing(loaded)) == 2 and state[decide.ASKING][0] == "Take back 2 decisions?"


def test_what_was_taken_back_is_done_again_with_its_label_and_comment(session):
    loaded, state = session
    state["why"] = "a sleeve"
    decide.press(loaded, [("label_error:4", 4, "accept", "shirt")], seen={"label_error:4": 0}, comment_key="why")
    press(loaded, ("label_error:1", 1, "keep", None))
    steps.undo(loaded)
    steps.undo(loaded)
    assert standing(loaded) == {}
    steps.redo(loaded)
    assert standing(loaded) == {4: "accept"}
    steps.redo(loaded)
    assert standing(loaded) == {4: "accept", 1: "keep"}
    row = open_reviews(loaded.run).history().query("stands and sample == 4").iloc[0]
    assert (row["new_label"], row["comment"], row["reviewer"]) == ("shirt", "a sleeve", "ann")
    steps.redo(loaded)
    assert state["_toast"][0] == "Nothing to do again"
    steps.undo(loaded)  # a redo is work like any other
    assert standing(loaded) == {4: "accept"}


def test_nothing_is_done_again_over_newer_work_or_by_somebody_else(session):
    loaded, state = session
    press(loaded, ("label_error:1", 1, "exclude", None))
    steps.undo(loaded)
    press(loaded, ("label_error:4", 4, "keep", None))
    steps.redo(loaded)
    assert standing(loaded) == {4: "keep"}
    steps.undo(loaded)
    state["reviewer"] = "bob"
    decide.forget_stored()
    steps.redo(loaded)
    assert standing(loaded) == {}


def test_what_a_colleague_took_over_is_not_taken_back_twice(session):
    loaded, state = session
    press(loaded, ("label_error:1", 1, "exclude", None))
    open_reviews(loaded.run).undo("ann")  # in another window
    press(loaded, ("label_error:4", 4, "keep", None))
    steps.undo(loaded)
    steps.undo(loaded)
    assert state["_toast"][0].startswith("Nothing to take back for ann")


def test_the_history_lists_steps_and_takes_any_of_them_back(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    assert "No decisions yet" in said(open_page("history", run.path, monkeypatch))
    kept = open_reviews(run)
    kept.add_all([{"finding": "pick:7", "sample": 7, "decision": "exclude", "reviewer": "ann"}])
    many = [{"finding": "duplicate:0", "sample": one, "decision": "keep", "reviewer": "ann"} for one in (0, 3)]
    kept.add_all([*many, {"finding": "pick:2", "sample": 2, "decision": "exclude", "reviewer": "ann"}])
    kept.add(finding="label_error:4", sample=4, decision="relabel", new_label="bag", reviewer="bob")
    kept.undo("bob")
    table = history.steps(kept.history())
    assert table[["reviewer", "what", "decisions", "standing"]].values.tolist() == [
        ["bob", "relabeled (bag)", 1, 0],
        ["ann", "2 label kept, 1 excluded", 3, 3],
        ["ann", "excluded", 1, 1],
    ]
    app = open_page("history", run.path, monkeypatch, reviewer="ann")
    assert_whole(app)
    assert "**3 steps**, 5 decisions" in said(app)
    state = {"reviewer": "ann"}
    session = SimpleNamespace(session_state=state)
    for module in (decide, steps):
        monkeypatch.setattr(module, "st", session)
    steps.take_back(data.load(run.path), table["ids"].iloc[1])
    assert list(kept.current()["sample"]) == [7], "the step in the middle, and no other"
