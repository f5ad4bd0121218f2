"""The action bar: one selection, tagged, sent to Review, taken along and taken back; views by name."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from app_pages import assert_whole, open_page, said
from helpers import make_run

from lossprint.app import data
from lossprint.app.questions import questions
from lossprint.app.shared import decide
from lossprint.app.shared.acting import acts, bar, picked, steps
from lossprint.app.views import history
from lossprint.app.views.explore import columns, filters
from lossprint.audit.coresets.files import read
from lossprint.audit.review.marks import open_marks
from lossprint.audit.review.reviews import open_reviews


@pytest.fixture
def loaded(tmp_path):
    return data.load(make_run(tmp_path, kind="folder").path)


@pytest.fixture
def session(loaded, monkeypatch):
    """(loaded, state) of one reviewer's session on Explore, without pages."""
    state = {"reviewer": "ann", decide.PAGE: "Explore"}
    for module in (decide, steps, acts, bar):
        monkeypatch.setattr(module, "st", SimpleNamespace(session_state=state))
    return loaded, state


def test_tags_decisions_and_queues_are_taken_back_in_the_order_they_were_made(session):
    loaded, state = session
    ids = np.array([7, 4, 1])
    acts.tag(loaded, ids, "blurry")
    acts.decide_all(loaded, ids, "relabel", "bag", data.reviews(loaded).history(), "none")
    acts.send(loaded, ids, "Look again")
    assert picked.queues(loaded) == ["Sent: Look again"]
    items = questions.queue_of(loaded, "Sent: Look again", "", False)
    assert items["samples"].tolist() == [[7], [4], [1]], "in the order in which it was sent"
    kept = open_reviews(loaded.run).current()
    assert set(kept["decision"]) <= {"relabel", "keep"} and len(kept) == 3
    steps.undo(loaded)
    assert state[decide.ASKING][0] == "Take back queue Look again saved?", "a batch asks first"
    state[decide.ASKING][1]()
    assert picked.queues(loaded) == []
    for words in ("Take back 3 decisions?", "Take back tag blurry on 3 samples?"):
        steps.undo(loaded)
        assert state[decide.ASKING][0] == words
        state[decide.ASKING][1]()
    assert open_marks(loaded.run).tags() == {} and open_reviews(loaded.run).current().empty
    for _ in range(3):
        steps.redo(loaded)
    assert {name: ids.tolist() for name, ids in open_marks(loaded.run).tags().items()} == {"blurry": [1, 4, 7]}
    assert len(open_reviews(loaded.run).current()) == 3 and picked.queues(loaded) == ["Sent: Look again"]


def test_another_session_of_the_reviewer_takes_back_the_latest_of_both_kinds(session):
    loaded, state = session
    acts.tag(loaded, np.array([7]), "blurry")
    decide.press(loaded, [("pick:3", 3, "exclude", None)], seen={})
    acts.tag(loaded, np.array([5]), "glare")
    open_marks(loaded.run).tag("theirs", [5], "bob")
    for left in (["blurry", "theirs"], ["blurry", "theirs"], ["theirs"]):
        state.pop(decide.STACK, None)
        steps.undo(loaded)
        assert list(open_marks(loaded.run).tags()) == left
    assert open_reviews(loaded.run).current().empty
    steps.undo(loaded)
    assert state["_toast"][0].startswith("Nothing to take back for ann")


def test_what_cannot_be_tagged_or_sent_is_one_line(session):
    loaded, state = session
    acts.tag(loaded, np.array([7]), None)
    assert "expected a name of 1 to 80" in state.pop("_error")
    acts.send(loaded, np.array([7]), "mine")
    acts.send(loaded, np.array([8]), "Mine")
    assert "there is one named" in state.pop("_error")
    assert acts.free_name(loaded, "mine") == "mine (2)"
    (loaded.run.path / "embeddings.safetensors").unlink()
    acts.more_like(loaded, np.array([7]))
    assert "run with embeddings, found none" in state.pop("_error")


def test_more_like_a_selection_and_more_of_its_confusion_are_queues(session):
    loaded, state = session
    samples = loaded.samples
    pulled = (samples["label"] == loaded.classes[0]).to_numpy()
    vectors = np.random.default_rng(0).normal(size=(len(samples), 6)) + 3 * pulled[:, None]
    vectors[5] += 3  # looks like the first class, whatever its label
    loaded.run.write_embeddings(samples.index.to_numpy(), vectors.astype(np.float32))
    ids = np.flatnonzero(pulled)[:3]
    acts.more_like(loaded, ids)
    assert "_error" not in state
    queue = picked.asked(loaded, picked.queues(loaded)[0])
    assert pulled[queue[:5]].mean() > 0.7 and not set(queue) & set(ids.tolist())
    pairs = acts.confusions(loaded, samples.index.to_numpy())
    assert pairs and all(one != two for one, two in pairs)
    given, other = pairs[0]
    acts.more_of(loaded, given, other)
    assert "_error" not in state
    queue = picked.asked(loaded, f"Sent: {given} or {other}")
    assert queue and set(samples.loc[queue, "label"]) == {given}


def test_a_selection_is_a_coreset_that_the_command_line_takes(session, tmp_path):
    loaded, _ = session
    train = loaded.samples.index[loaded.samples["split"] == "train"][:6].to_numpy()
    val = loaded.samples.index[loaded.samples["split"] == "val"][:2].to_numpy()
    decide.press(loaded, [(f"pick:{train[1]}", int(train[1]), "exclude", None)], seen={})
    file = tmp_path / "coreset.csv"
    file.write_bytes(acts.coreset(loaded, np.r_[train[::-1], val]))
    frame, record = read(file)
    assert record is None and list(frame.columns) == ["sample", "path", "label", "score", "rank"]
    assert frame["sample"].tolist() == [one for one in train[::-1].tolist() if one != train[1]]
    assert frame["path"].tolist() == loaded.samples.loc[frame["sample"], "path"].tolist()


def test_explore_filters_groups_lists_and_exports_by_tag(loaded, monkeypatch):
    marks = open_marks(loaded.run)
    marks.tag("blurry", [1, 2, 7], "ann")
    marks.tag("a | [b](c)", [2, 40], "bob")
    every = loaded.samples.index.to_numpy()
    assert acts.tags_of(loaded, np.array([2, 3, 7])) == ["a | [b](c); blurry", "", "blurry"]
    groups = columns.groups_by_tag(loaded, marks.tags(), np.arange(len(every))).set_index("value")["samples"]
    assert groups.to_dict() == {"blurry": 3, "a | [b](c)": 2, "(none)": len(every) - 4}
    assert columns.in_groups(loaded, "tag", np.arange(len(every)), ["blurry"], marks.tags()).tolist() == [1, 2, 7]
    app = open_page("explore", loaded.run.path, monkeypatch, e_tag="blurry", e_view="Table")
    assert_whole(app)
    assert f"**3 of {len(every)}** samples" in said(app)
    table = app.dataframe[0].value
    assert dict(zip(table["sample"], table["tags"])) == {1: "blurry", 2: "a | [b](c); blurry", 7: "blurry"}
    app = open_page("explore", loaded.run.path, monkeypatch, e_tag="gone", e_view="Groups", e_group="Tag")
    assert_whole(app)
    assert "There is no tag **gone**" in said(app) and f"**{len(every)}** samples" in said(app)


def test_the_bar_on_explore_tags_all_that_match_and_history_takes_it_back(loaded, monkeypatch):
    coats = (loaded.samples["label"] == "coat") & (loaded.samples["split"] == "test")
    open_marks(loaded.run).tag("blurry", [0], "bob")
    app = open_page("explore", loaded.run.path, monkeypatch, e_label="coat", e_split="test", reviewer="ann")
    assert_whole(app)
    app.selectbox(key="e_put").set_value("blurry").run()
    app.button(key="e_put-on").click().run()
    assert_whole(app)
    assert open_marks(loaded.run).tags()["blurry"].tolist() == [0, *loaded.samples.index[coats]]
    table = history.steps(data.reviews(loaded).history(), open_marks(loaded.run).history())
    assert table[["reviewer", "what", "standing"]].values.tolist() == [
        ["ann", f"Tag blurry on {coats.sum()} samples", coats.sum()],
        ["bob", "Tag blurry on 1 sample", 1],
    ]
    app = open_page("history", loaded.run.path, monkeypatch, reviewer="ann")
    assert_whole(app)
    assert "**2 steps**, 0 decisions" in said(app)
    state = {"reviewer": "ann"}
    for module in (decide, steps):
        monkeypatch.setattr(module, "st", SimpleNamespace(session_state=state))
    steps.take_back(loaded, table["ids"].iloc[0], of=table["of"].iloc[0])
    assert open_marks(loaded.run).tags()["blurry"].tolist() == [0]


def test_a_view_is_saved_opened_by_its_link_in_another_session_renamed_and_deleted(loaded, monkeypatch):
    limits = {"e_score": "Difficulty", "e_least-csl": 0.1, "e_sort": "Difficulty", "e_down": True}
    app = open_page(
        "explore",
        loaded.run.path,
        monkeypatch,
        e_label="coat",
        e_view="Groups",
        **limits,
        e_name="Coats",
        reviewer="ann",
    )
    app.button(key="e_save").click().run()
    assert_whole(app)
    (view,) = open_marks(loaded.run).state().views.values()
    assert view.asked == {"e_label": "coat", "e_view": "Groups", **limits}
    assert app.query_params["view"] == str(view.number)
    before = next(line for line in said(app).splitlines() if line.endswith("** samples"))
    monkeypatch.setenv("LOSSPRINT_RUNS", str(loaded.run.path))
    other = open_page("explore", loaded.run.path, monkeypatch, reviewer="bob")
    other.query_params["view"] = str(view.number)
    other.run()
    assert_whole(other)
    assert before in said(other) and other.session_state["e_down"] is True
    assert other.session_state["e_least-csl"] == 0.1
    other.text_input(key=f"e_rename-{view.number}").set_value("Hard coats").run()
    other.button(key="e_rename").click().run()
    assert open_marks(loaded.run).state().views[view.number].name == "Hard coats"
    assert other.query_params["view"] == str(view.number), "the link holds"
    other.selectbox(key="e_label").set_value("shirt").run()
    assert "view" not in other.query_params, "what was changed is no longer the view"
    other.button(key=f"e_open-{view.number}").click().run()
    assert before in said(other)
    other.button(key="e_delete").click().run()
    assert_whole(other)
    assert open_marks(loaded.run).state().views == {}
    other.query_params["view"] = "99"
    other.run()
    assert "There is no saved view **99**" in said(other)


def test_a_view_holds_what_says_something_and_nothing_else(session, monkeypatch):
    _, state = session
    monkeypatch.setattr(filters, "st", SimpleNamespace(session_state=state))
    state |= {"e_label": "coat", "e_split": "All", "e_down": True, "e_least-csl": 0.5, "other": 1}
    assert filters.asked() == {"e_label": "coat", "e_down": True}, "limits of no score are none"
    filters.ask({"e_label": 3, "e_down": False, "e_score": "Difficulty", "e_most-csl": 2, "unknown": "x"})
    assert filters.asked() == {"e_score": "Difficulty", "e_most-csl": 2.0}, "of another type is not taken"


def test_ticks_are_of_one_gallery_of_one_run(session):
    loaded, state = session
    rows = picked.names(loaded, [1, 2]).assign(label="coat")
    steps.bulk(loaded, rows, {}, "labels")("more", [1, 2], None)
    assert bar.ticked(loaded, "labels").ids.tolist() == [1, 2]
    assert bar.ticked(loaded, "outliers") is None
    state[steps.TICKED] = ("elsewhere", "labels", [1])
    assert bar.ticked(loaded, "labels") is None


def test_the_csv_of_a_bar_has_decisions_and_tags(session):
    loaded, _ = session
    open_marks(loaded.run).tag("blurry", [7], "ann")
    decide.press(loaded, [("pick:7", 7, "exclude", None)], seen={})
    frame = bar._rows(loaded, np.array([7, 2]))
    assert frame["decision"].fillna("").tolist() == ["exclude", ""] and frame["tags"].tolist() == ["blurry", ""]
    assert pd.read_csv(io.StringIO(frame.to_csv(index=False)))["sample"].tolist() == [7, 2]
