"""The gallery of findings: filters, order, counts, many decisions at once; and what the story says of scores."""

from types import SimpleNamespace

import pandas as pd
import pytest
import streamlit as st
from helpers import make_run

from lossprint.app import data
from lossprint.app.shared import browse, decide, parts, story
from lossprint.app.shared.acting import steps
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.tables import QUALITY


@pytest.fixture(autouse=True)
def fresh_caches():
    st.cache_resource.clear()


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "one")


def test_filters_and_paging():
    found = pd.DataFrame(
        {
            "group": ["a", "b", "c", "d"],
            "label": ["x", "x", "y", "y"],
            "suggested_label": ["y", "z", "x", None],
            "severity": [0.9, 0.8, 0.7, 0.1],
        }
    )
    assert list(browse.filtered(found, set())["group"]) == ["a", "b", "c", "d"]
    assert list(browse.filtered(found, set(), given="x", suggested="z")["group"]) == ["b"]
    assert list(browse.filtered(found, {"a"}, state="Open", least=0.5)["group"]) == ["b", "c"]
    assert list(browse.filtered(found, {"a"}, state="Decided")["group"]) == ["a"]
    assert list(browse.page_of(found, 2, 3)["group"]) == ["d"]
    assert list(browse.page_of(found, 99, 3)["group"]) == ["d"]


def test_findings_are_put_in_order_and_counted_by_both_labels(run):
    loaded = data.load(run.path)
    found = browse.with_scores(loaded, "label_error")
    assert list(found["sample"]) == [4, 1] and list(found["csl"]) == list(loaded.scores["csl"].loc[[4, 1]])
    assert list(browse.ordered(found, "sample")["sample"]) == [1, 4]
    assert list(browse.ordered(found, "csl")["csl"]) == sorted(found["csl"], reverse=True)
    assert browse.ordered(found, "no such score") is found
    found = pd.DataFrame({"label": ["x", "x", "y", "z"], "suggested_label": ["y", "y", "x", None]})
    table = browse.confusion(found)
    assert list(table.index) == list(table.columns) == ["x", "y"] and table.to_numpy().tolist() == [[0, 2], [1, 0]]
    assert browse.confusion(found, top=1).to_numpy().tolist() == [[0]]
    assert browse.digits(loaded) == loaded.classes


def test_many_are_decided_on_in_one_action(run, monkeypatch):
    loaded = data.load(run.path)
    session = SimpleNamespace(session_state={"reviewer": "ann"})
    for module in (decide, steps):
        monkeypatch.setattr(module, "st", session)
    rows = browse.with_scores(loaded, "label_error").assign(suggested_label=["bag", None])
    given = dict(zip(rows["sample"], rows["label"]))
    act, reviews = steps.bulk(loaded, rows, dict.fromkeys(rows["group"], 0)), data.reviews(loaded)
    act("accept", [4, 1, 999], None)  # 1 has no suggestion, 999 is not on the page
    assert list(reviews.current()["sample"]) == [4] and reviews.current()["new_label"][0] == "bag"
    assert given == {1: "coat", 4: "coat"}
    act("relabel", [1], "coat")  # its own label: kept
    act("relabel", [4], "shirt")
    assert reviews.current().set_index("sample")["decision"].to_dict() == {1: "keep", 4: "relabel"}
    act("relabel", [4], "no such label")
    act("no such action", [4], None)
    assert len(reviews.history()) == 3
    act("undo", [], None)
    assert reviews.current().set_index("sample")["decision"].to_dict() == {1: "keep", 4: "accept"}


def test_a_bulk_decision_on_what_a_colleague_decided_meanwhile_says_who_and_stores_nothing(run, monkeypatch):
    loaded, state = data.load(run.path), {"reviewer": "ann"}
    session = SimpleNamespace(session_state=state)
    for module in (decide, steps):
        monkeypatch.setattr(module, "st", session)
    rows, reviews = browse.with_scores(loaded, "label_error").assign(suggested_label="bag"), data.reviews(loaded)

    def drawn():
        return steps.bulk(loaded, rows, decide.last_seen(reviews.history(), rows["group"]))

    act = drawn()
    open_reviews(run).add(finding="label_error:4", sample=4, decision="relabel", new_label="shirt", reviewer="bob")
    act("exclude", [4, 1], None)
    assert reviews.history()["reviewer"].tolist() == ["bob"]
    said = f"Nothing was stored: decided meanwhile by bob on {parts.md('label_error:4: relabeled (shirt)')}."
    assert said in state["_error"]
    act("keep", [1], None)  # what nobody else decided on is no conflict
    act("unsure", [1], None)  # and neither is one's own, stored since the page was drawn
    assert reviews.history()["reviewer"].tolist() == ["bob", "ann", "ann"]
    drawn()("exclude", [4, 1], None)  # once bob's is on the page one may add one's own
    assert reviews.current().set_index("sample")["decision"].to_dict() == {1: "exclude", 4: "exclude"}
    act = drawn()
    open_reviews(run).add(finding="label_error:1", sample=1, decision="keep", reviewer="ann")  # in another window
    act("relabel", [1], "bag")
    assert f"you, in another window on {parts.md('label_error:1: label kept')}." in state["_error"]
    assert len(reviews.history()) == 6


def test_repeated_texts_are_categories_and_what_is_missing_is_no_label(run):
    loaded = data.load(run.path)
    assert loaded.samples["label"].dtype == loaded.scores["label"].dtype == "category"
    assert parts.suggestion(loaded, 4) is not None and parts.suggestion(loaded, 8) is None
    none = loaded.samples.iloc[:0]
    assert data.counts(none["label"]).empty
    assert data.counts(loaded.samples["split"]).to_dict() == {"train": 30, "val": 12, "test": 12}


def test_percentiles_are_within_the_class_and_the_unusual_ones_are_told():
    scores = pd.DataFrame(
        {"label": ["a"] * 41 + ["b"], "csl": [*range(41), 99.0], "cld": [0.5] * 41 + [0.0], "aum": [*range(41), -9.0]}
    )
    table = story.percentiles(scores, 40).set_index("name")
    assert table.at["csl", "percent"] == 100 and table.at["aum", "percent"] == 100 and table.at["cld", "percent"] == 0
    told = story.unusual(table.reset_index(), "*a*")
    assert "CSL higher than all other" in told and "AUM" not in told
    assert story.percentiles(scores, 0).set_index("name").at["csl", "percent"] == 0
    assert story.percentiles(scores, 20).set_index("name").at["csl", "percent"] == 50
    assert story.percentiles(scores, 7_000).empty
    assert story.compared(99.2) == "higher than 99.2\N{NO-BREAK SPACE}% of"
    assert story.compared(0.8) == "lower than 99.2\N{NO-BREAK SPACE}% of"


def test_a_tile_of_image_quality_names_what_stands_out(run):
    looks = pd.DataFrame(0.0, index=range(3), columns=QUALITY.names).assign(sample=[2, 5, 7])
    looks.loc[1, ["is_dark", "is_low_information"]] = 0.9
    looks.loc[2, "is_odd_size"] = 0.7
    run.write_quality(looks)
    loaded = data.load(run.path)
    row = SimpleNamespace(sample=5, place=3, severity=0.9)
    assert browse._note(loaded, row, "quality") == "3. · 0.90 · dark"
    assert browse._note(loaded, SimpleNamespace(sample=7, place=4, severity=0.7), "quality") == "4. · 0.70 · odd size"
