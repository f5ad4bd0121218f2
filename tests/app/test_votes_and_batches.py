"""The pages New batches and Annotators, and what votes say beside a label."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from app_pages import assert_whole, open_page, said
from helpers import make_run
from PIL import Image
from planted_votes import planted_votes

from lossprint.app import data
from lossprint.app.questions import questions
from lossprint.app.shared import trust
from lossprint.app.shared.acting import picked
from lossprint.audit.check.check import check
from lossprint.audit.review import votes
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs import beside
from lossprint.audit.runs.open import open_run

CLASSES = ("bag", "coat", "shirt")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """runs/run with votes on its first 30 samples, and a batch that was checked."""
    home = tmp_path_factory.mktemp("made")
    run = make_run(home)
    table, _, _ = planted_votes(samples=30, classes=3, abilities=(0.9, 0.8, 0.3), each=3)
    frame = pd.DataFrame(
        {
            "sample": table.sample,
            "annotator": np.array(["ann", "b*b", "eva"])[table.annotator],
            "label": np.array(CLASSES)[table.label],
        }
    )
    frame.to_csv(home / "votes.csv", index=False)
    beside.write_votes(run, votes.read_votes(run, home / "votes.csv").votes)
    votes.count(run)
    new = home / "new"
    new.mkdir()
    for at, path in enumerate(sorted((home / "data" / "images").glob("*"))[:4]):
        shutil.copyfile(path, new / f"<b>{at}.png")
    Image.new("RGB", (30, 20), "red").save(new / "red.png")
    check(run, str(new))
    return run.path


@pytest.fixture
def runs(made, tmp_path):
    shutil.copytree(made.parent, tmp_path / "home")
    return tmp_path / "home" / "run"


def test_annotators(runs, monkeypatch):
    app = open_page("annotators", runs, monkeypatch)
    assert_whole(app)
    text = said(app)
    assert "What ann calls what" in text or "What eva calls what" in text
    tables = [frame.value for frame in app.dataframe]
    assert tables[0]["annotator"].tolist()[0] == "eva" and tables[0]["few"].tolist() == [False] * 3
    assert "Ask" in tables[-1] and len(tables[-1]) == 30
    app.selectbox(key="annotator").set_value("b*b").run()
    assert_whole(app)
    assert "b\\*b" in said(app)


def test_votes_stand_beside_the_label_and_decisions_count_when_asked(runs, monkeypatch):
    app = open_page("sample", runs, monkeypatch, sample="1")
    assert_whole(app)
    assert "annotators said" in said(app)
    run = open_run(runs)
    open_reviews(run).add(finding="pick:2", sample=2, decision="keep", reviewer="zoe")
    app = open_page("annotators", runs, monkeypatch)
    assert "zoe (reviewer)" not in app.dataframe[0].value["annotator"].tolist()
    app.button(key="votes-count").click().run()
    assert_whole(app)
    assert "zoe (reviewer)" in app.dataframe[0].value["annotator"].tolist()


def test_review_asks_again_where_one_more_vote_tells_most(runs, monkeypatch):
    app = open_page("review", runs, monkeypatch, queue="Ask again")
    assert_whole(app)
    loaded = data.load(runs)
    rows = picked.again(loaded)
    again = trust.voted(loaded).consensus["again"]
    assert len(rows) == 30 and again[rows[0]] == again.min() and again[rows].is_monotonic_increasing
    items = questions.queue_of(loaded, "Ask again", "", False)
    assert [one[0] for one in items["samples"]] == rows.tolist()
    assert items["group"].iloc[0] in app.query_params["finding"]
    Path(runs, "consensus.parquet").write_bytes(b"odd")
    assert "Ask again" not in picked.queues(loaded)


def test_without_votes_or_batches_the_pages_say_how(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    for page, command in (("annotators", "lossprint votes"), ("batches", "lossprint check NEW")):
        app = open_page(page, run.path, monkeypatch)
        assert_whole(app)
        assert command in app.code[0].value


def test_batches(runs, monkeypatch):
    app = open_page("batches", runs, monkeypatch)
    assert_whole(app)
    text = said(app)
    assert "Copies of images of the run" in text and "not judged for foreign" in text
    table = app.dataframe[0].value.set_index("Kind")
    assert table.loc["Foreign images", "Not judged"] == 5 and "Copies of images of the run" in table.index


def test_a_batch_says_what_to_label_next(runs, monkeypatch):
    run = open_run(runs)
    result, frame = beside.check(run, "new")
    frame = frame.assign(probability=np.linspace(0.9, 0.3, len(frame)), suggested_label="coat", label="")
    frame.loc[frame["path"] == "red.png", "label"] = "bag"
    beside.write_check(run, "new", result, frame)
    free = frame[(frame["copy_of"] < 0) & (frame["repeat"] < 0) & (frame["label"] == "") & ~frame["is_foreign"]]
    app = open_page("batches", runs, monkeypatch)
    assert_whole(app)
    assert ("Label next" in said(app)) == bool(len(free))
    frame["copy_of"], frame["repeat"] = -1, -1
    beside.write_check(run, "new", result, frame)
    app = open_page("batches", runs, monkeypatch)
    table = next(one.value for one in app.dataframe if "Likely" in one.value)
    assert table["Sure"].is_monotonic_increasing and "red.png" not in table["Image"].tolist() and len(table) == 4


def test_a_damaged_result_is_said_and_no_page_breaks(runs, monkeypatch):
    for name in ("checks/new.json", "consensus.parquet"):
        Path(runs, name).write_bytes(b"odd")
    app = open_page("batches", runs, monkeypatch)
    assert not app.exception and "expected a readable check" in app.error[0].value
    app = open_page("annotators", runs, monkeypatch)
    assert not app.exception and "consensus" in app.error[0].value
    app = open_page("sample", runs, monkeypatch, sample="1")
    assert_whole(app)


def test_a_repair_stands_on_before_and_after(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    app = open_page("loop", run.path, monkeypatch)
    assert_whole(app)
    assert any("lossprint repair own" in code.value for code in app.code)
    arms = [{"arm": name, "accuracy": 0.5, "low": 0.4, "high": 0.6} for name in ("original", "repaired", "odd")]
    result = {
        "model": "a *small* network",
        "original_kept": True,
        "arms": arms,
        "notes": ["<b>"],
        "sentences": ["kept."],
    }
    beside.write_repair(run, result)
    app = open_page("loop", run.path, monkeypatch)
    assert_whole(app)
    assert any("kept" in one.value for one in app.markdown) and "a \\*small\\* network" in said(app)
    assert app.dataframe[0].value["arm"].tolist() == ["The original", "Repaired (SAP)", "Odd"]
    (run.path / "repair.json").write_text('{"arms": [{"arm": 1}]}')
    app = open_page("loop", run.path, monkeypatch)
    assert not app.exception and "expected a readable repair" in app.error[0].value
