"""A reviewer names a class that the dataset does not have: in Review, in the action bar, beside a sample; and undo."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import streamlit as st
from app_pages import assert_whole, open_page, said
from helpers import make_run

from lossprint.app import data
from lossprint.app.questions import questions
from lossprint.app.shared import decide
from lossprint.app.shared.acting import acts, bar, steps
from lossprint.app.views import review
from lossprint.app.views.export import bring
from lossprint.audit.review.reviews import open_reviews


@pytest.fixture
def session(tmp_path, monkeypatch):
    """(loaded, state) of one reviewer's session."""
    state = {"reviewer": "ann", decide.PAGE: "Explore"}
    monkeypatch.setattr(st, "session_state", state)
    monkeypatch.setattr(review, "question", lambda *_, **__: None)
    for module in (decide, steps, acts, bar, bring):
        monkeypatch.setattr(module, "st", SimpleNamespace(session_state=state))
    return data.load(make_run(tmp_path).path), state


def standing(loaded) -> dict[int, tuple]:
    table = open_reviews(loaded.run).current()
    return {row.sample: (row.decision, row.new_label) for row in table.itertuples()}


def test_the_bar_gives_a_new_class_and_undo_and_redo_know_it(session):
    loaded, state = session
    acts.decide_all(loaded, np.array([7, 2]), "relabel", "zebra", data.reviews(loaded).history(), "none")
    assert standing(loaded) == {7: ("relabel", "zebra"), 2: ("relabel", "zebra")}
    assert decide.labels(loaded) == [*loaded.classes, "zebra"]
    steps.undo(loaded)
    state[decide.ASKING][1]()
    assert decide.labels(loaded) == loaded.classes
    steps.redo(loaded)
    assert decide.labels(loaded) == [*loaded.classes, "zebra"] and "_error" not in state
    steps.bulk(loaded, loaded.samples.loc[[5]].assign(group="pick:5", suggested_label=None), {})(
        "relabel", [5], "zebra"
    )
    steps.bulk(loaded, loaded.samples.loc[[6]].assign(group="pick:6", suggested_label=None), {})("relabel", [6], "ox")
    assert standing(loaded)[5] == ("relabel", "zebra") and 6 not in standing(loaded), "a gallery names no new class"


def test_a_question_of_review_takes_a_new_class_and_no_slip(session):
    loaded, state = session
    items = questions.queue(loaded, "Everything", "", False)
    item = items[items["kind"] == "label_error"].iloc[0]
    kept = data.reviews(loaded)

    def ask():
        state.pop(review.ASKED, None)
        review._show(loaded, item, items, np.ones(len(items), bool), kept.history(), kept.assignments(), "")
        return state[review.ASKED]

    asked = ask()
    assert asked["draft"].fresh and asked["draft"].labels == ()
    for choice in ("new:", "new:  ", f"new:{loaded.classes[0].upper()}"):
        review._answer(loaded, {"token": asked["token"], "choice": choice})
    assert standing(loaded) == {} and "like no other" in state[review.ASKED]["notice"]
    review._answer(loaded, {"token": asked["token"], "choice": "new: zebra "})
    sample = int(item["samples"][0])
    assert standing(loaded) == {sample: ("relabel", "zebra")}
    assert ask()["draft"].labels == (*loaded.classes, "zebra"), "the next reviewer can search for it"
    group = questions.about_group(loaded, "duplicate:0", [0, 3], np.zeros(2), kept.history())
    assert group.decisions("new:ox", lambda label: [(0, "relabel", label)]) is None, "no label is asked for there"


def test_a_file_with_a_new_class_is_taken_back_by_undo(session):
    """Red before: undo after a file was brought in ended in a ValueError."""
    loaded, state = session
    result = [{"from_name": "choice", "to_name": "image", "type": "choices", "value": {"choices": ["zebra"]}}]
    task = {"data": {"image": "images/train_002.png"}, "annotations": [{"completed_by": 1, "result": result}]}
    file = SimpleNamespace(getvalue=lambda: json.dumps([task]).encode(), name="tasks.json", file_id="1")
    bring.st.spinner = lambda _: SimpleNamespace(__enter__=lambda _: None, __exit__=lambda *_: None)
    plan = bring.exchange.plan(loaded.run, file.getvalue(), file.name, "ann", data.reviews(loaded))
    bring._store(loaded, plan)
    assert decide.labels(loaded)[-1] == "zebra"
    steps.undo(loaded)
    assert decide.labels(loaded) == loaded.classes and "_error" not in state


def test_the_pages_count_and_name_it(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    app = open_page("labels", run.path, monkeypatch, open="1")
    box = next(one for one in app.selectbox if (one.key or "").endswith("-other"))
    box.options.append("zebra *1*")  # AppTest types nothing: as if it had been in the list
    box.set_value("zebra *1*").run()
    assert_whole(app)
    assert open_reviews(run).classes()[-1] == "zebra *1*"
    classes = open_page("classes", run.path, monkeypatch)
    assert_whole(classes)
    told = [one.value for one in classes.info if "Added by reviewers" in one.value]
    assert len(told) == 1 and "(1 sample)" in told[0] and "*1*" not in told[0].replace("\\*1\\*", "")
    overview = open_page("overview", run.path, monkeypatch)
    assert f"{len(run.classes)} + 1 new" in said(overview) + "".join(str(one.value) for one in overview.metric)
    open_reviews(run).undo("tester")
    assert not open_page("classes", run.path, monkeypatch).info
