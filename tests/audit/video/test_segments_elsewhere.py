"""Stretches of video outside of their own page: in queues, assignments, progress, stories, pages, and the report."""

import shutil

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from app_pages import assert_whole, open_page, said
from helpers import at_home
from html_page import Page
from videos import make_video_run

from lossprint.app import data, main
from lossprint.app.questions import questions
from lossprint.app.shared import story
from lossprint.app.shared.sample import claims_of
from lossprint.app.views.classes import health
from lossprint.app.views.overview import suggest
from lossprint.audit.cli import app as cli_app
from lossprint.audit.cli import main as cli
from lossprint.audit.report import svg
from lossprint.audit.report import write as report
from lossprint.audit.report.facts import Place
from lossprint.audit.review import assigning, queues, span_counts
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import KIND_WORDS, LossprintError
from lossprint.audit.video import spans
from lossprint.audit.workflow import demo


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    make_video_run(folder)
    return folder


@pytest.fixture
def run(made, tmp_path):
    st.cache_resource.clear()
    return at_home(shutil.copytree(made, tmp_path / "home"))


def decide(run, how: str, choice: str = "accept", reviewer: str = "Ann", **ends):
    """Answer the first finding of a way to mend it; its row."""
    found = run.spans()
    span = found[found["how"] == how].iloc[0]
    rows = spans.decide(run.frames(), span, choice, **ends).to_dict("records")
    asked = [{name: None if pd.isna(value) else value for name, value in row.items()} for row in rows]
    shared = {"finding": span["span"], "reviewer": reviewer, "seconds": 12.0, "comment": "as <b>seen</b>"}
    open_reviews(run).add_all([{**one, **shared} for one in asked])
    return span


# ------------------------------------------------------------------------------------------------- questions


def test_a_segment_is_one_question_and_its_answer_covers_all_frames(run):
    loaded, history = data.load(run.path), open_reviews(run).history()
    items = questions.items(loaded)
    mine = items[items["kind"].isin(queues.SPANS)].set_index("group")
    assert sorted(mine.index) == sorted(run.spans()["span"]) and set(mine["tier"]) == {"look"}
    for span in run.spans().itertuples():
        samples = mine.at[span.span, "samples"]
        draft = questions.about_span(loaded, span.span, history)
        assert span.sequence in draft.title and f"{span.frames:,} frames" in draft.hint
        assert [offer.keys[0] for offer in draft.offers] == ["A", "K", "N"]
        for choice, decisions in ((offer.id, offer.decisions) for offer in draft.offers):
            assert sorted(sample for sample, *_ in decisions) == sorted(samples)
            if choice != "accept":
                assert {decision for _, decision, *_ in decisions} == {choice}
        changed = {decision for _, decision, *_ in draft.decisions("accept")} - {"keep"}
        assert changed == {"reorder" if span.how == "move" else "relabel"}
        shown = questions.images(loaded, questions.shown(samples, span.kind), strip=True)
        numbers = [int(one.title.split()[0]) for one in shown]
        assert len(shown) == min(8, len(samples)) and numbers == sorted(numbers)
        assert span.start <= numbers[0] and numbers[-1] <= span.end
        if len(samples) >= 16:
            gaps = np.diff(numbers)
            assert gaps.max() - gaps.min() <= 1


def test_an_answer_after_wider_ends_puts_back_what_it_leaves(run):
    span = decide(run, "relabel", start=0)
    history = open_reviews(run).history()
    before = set(history.loc[history["decision"] == "relabel", "sample"])
    draft = questions.about_span(data.load(run.path), span["span"], history)
    assert {sample for sample, *_ in draft.decisions("keep")} >= before
    assert {decision for _, decision, *_ in draft.decisions("keep")} == {"keep"}


def test_progress_and_assignments_count_segments(run):
    findings, reviews = run.findings(), open_reviews(run)
    queue = assigning.queue(findings, "video")
    assert sorted(queue["group"]) == sorted(run.spans()["span"])
    plan = assigning.plan(queue, ["Ann", "Ben"], reviews.history(), reviews.assignments(), overlap=2)
    assert sorted(plan.loads["open"]) == [len(queue)] * 2
    reviews.assign(plan.pairs)
    span = decide(run, "move")
    kinds = reviews.progress(findings).set_index("kind")
    assert kinds.at["sequence_order", "reviewed"] == kinds.at["sequence_order", "reorder"] == 1
    assert kinds.at["sequence_label", "reviewed"] == 0
    each = assigning.progress(reviews.history(), reviews.assignments(), findings).set_index("reviewer")
    assert each.loc["Ann", ["decided", "left", "seconds"]].tolist() == [1, len(queue) - 1, 12.0]
    names = queue["group"]
    for who, asked in (("Ann", False), ("Ben", True)):
        now = queues.unanswered_by(who, names, reviews.history(), reviews.assignments())
        assert now[names == span["span"]].tolist() == [asked] and now.sum() == len(queue) - (not asked)


# ------------------------------------------------------------------------------------------------- stories


def test_reasons_and_suggestions_name_the_segment(run):
    loaded = data.load(run.path)
    claims = claims_of(loaded)
    span = run.spans().iloc[0]
    inside = run.findings().loc[run.findings()["group"] == span["span"], "sample"]
    tables = (loaded.findings, loaded.scores, loaded.samples)
    (told,) = story.reasons(*tables, int(inside.iloc[0]), claims=claims)
    assert claims[span["span"]] in told and told.startswith("Part of a ")
    clean = loaded.samples.index.difference(loaded.findings["sample"])
    assert story.reasons(*tables, int(clean[0]), claims=claims)[0].startswith("Not flagged: the model over time")
    counts = data.counts(loaded.samples["label"])
    none = pd.DataFrame({"conflict": [], "leak": [], "samples": []}).astype({"conflict": bool, "leak": bool})
    found = suggest.suggestions(loaded.findings, none, counts, claims=claims)
    assert [one.page for one in found[:2]] == ["sequences"] * 2
    for at, one in enumerate(found[:2]):
        worst = run.spans()[run.spans()["kind"] == queues.SPANS[at]].iloc[0]
        assert one.params == {"span": worst["span"]} and one.text == claims[worst["span"]]
        assert one.samples == sorted(one.samples) and len(one.samples) == min(6, worst["frames"])


def test_the_classes_count_wrong_frames_by_segment(run):
    loaded = data.load(run.path)
    frames = run.frames()["sample"].to_numpy()
    table = health.over_time(loaded.scores, frames, loaded.findings)
    found = loaded.findings
    wrong = {}
    for row in found.itertuples():
        if row.kind in queues.SPANS and isinstance(row.suggested_label, str) and row.suggested_label != row.label:
            wrong[row.sample] = row.suggested_label
    for sample in loaded.scores.index:
        assert (table.at[sample, "label_error"] == 1) == (sample in wrong)
        label = table.at[sample, "suggested_label"]
        assert (label if isinstance(label, str) else None) == wrong.get(sample)
    some = health.over_time(loaded.scores, frames[:0], loaded.findings)
    pd.testing.assert_series_equal(some["label_error"], loaded.scores["label_error"])


def test_no_unusual_score_is_said_to_be_none():
    table = pd.DataFrame({"title": ["CSL", "AUM"], "percent": [50.0, 40.0], "suspect": ["high", "low"]})
    assert story.unusual(table, "a") == "No score is at the suspect end among *a*."


ABOUT_VIDEOS = ("overview", "labels", "sample", "stop", "help", "classes", "sequences", "review", "export", "compare")


@pytest.mark.parametrize(
    "name",
    [pytest.param(page[0], marks=[] if page[0] in ABOUT_VIDEOS else pytest.mark.proof) for page in main.PAGES],
)
def test_pages_render_with_videos(name, run, monkeypatch):
    sample = int(run.findings()["sample"].iloc[0])
    span = decide(run, "swap")
    app = open_page(name, run.path, monkeypatch, **({"sample": str(sample)} if name == "sample" else {}))
    assert_whole(app)
    told = said(app).replace("\\", "")
    counts = span_counts.counts(run.spans(), span_counts.outcomes(open_reviews(run).history(), run.spans()))
    expected = {  # the start of a sentence of each page that speaks of videos
        "overview": f"{counts.at['sequence_order', 'frames']:,} frames in ",
        "labels": f"{len(run.spans())} spans found",
        "sample": "Its phase, ",
        "stop": f"1 of {len(run.spans())} spans of video was reviewed",
        "help": "What it cannot see.",
        "classes": "of video frames those in spans",
    }
    if name == "stop":
        told = " ".join(str(element.body) for element in app.get("html")) + told
        assert "No label was flagged" not in told
    assert expected.get(name, "") in told
    assert span["span"]


# ------------------------------------------------------------------------------------------------- the report


def read(run, **how) -> Page:
    return Page(report.report_bytes(run, **how).decode())


def test_the_report_shows_segments_and_what_became_of_them(run):
    found = run.spans()
    before = read(run)
    assert f"{len(found):,} spans of video found, none reviewed yet." in before.text
    assert before.text.count("Not reviewed") >= len(found)
    assert {row[0] for row in before.rows} & {title for title, *_ in KIND_WORDS.values()} == {
        KIND_WORDS[kind][0] for kind in found["kind"].unique()
    }
    assert len([one for one in before.all("svg") if one.get("class") == "place"]) == len(found)
    shown = sum(min(8, frames) for frames in found["frames"])
    assert sum(one["src"].startswith("data:image/png") for one in before.all("img")) == shown
    moved, kept = decide(run, "move"), decide(run, "relabel", "keep")
    decide(run, "swap", reviewer="Ben")
    page = read(run)
    assert f"3 of {len(found)} spans of video were reviewed: 2 of them were errors (67 %, 90 % interval" in page.text
    assert f"{moved['frames']:,} frames put elsewhere" in page.text
    rows = {row[0]: row for row in page.rows}
    first, second = moved["middle"] - moved["start"], moved["end"] - moved["middle"] + 1
    row = rows[f"{moved['sequence']}, frames {moved['start']} to {moved['middle'] - 1}"]
    assert row[1] == str(first) and row[3] == f"frames {moved['start'] + second} to {moved['end']}"
    assert row[5].startswith(moved["span"]) and row[6] == "as <b>seen</b>"
    counted = {tuple(row[:2]): row[2:] for row in page.rows if len(row) == 8}
    assert counted["Spans out of order", "Ann"] == ["0", "0", "0", "0", "0", "1"]
    assert counted["Spans with a wrong label", "Ann"] == ["0", "0", "1", "0", "0", "0"]
    assert counted["Spans out of order", "Ben"] == ["1", "0", "0", "0", "0", "0"]
    people = {row[0]: row for row in page.rows if row[0] in ("Ann", "Ben")}
    assert people["Ann"][1] == str(moved["frames"] + kept["frames"]) and people["Ann"][5] == "12.0 s"
    assert "Kept as given" in page.text and page.text.count("Corrected: ") == 2
    assert report.report_bytes(run) == report.report_bytes(run)


def test_names_of_videos_stay_text_in_the_report(run):
    hostile = "</style><script>x()</script>"
    frames, found = run.frames(), run.spans()
    worst = found["sequence"].iloc[0]
    run.write_frames(
        *(one.assign(sequence=one["sequence"].mask(one["sequence"] == worst, hostile)) for one in (frames, found))
    )
    page = read(run)
    assert not page.all("script") and hostile in page.text


def test_a_segments_place_lies_in_its_drawing():
    drawn = svg.place_in_video(Place(200, 50, 100, 75, np.array([0, 75, 150]), (0, 199)), "video: frames 50 to 99")
    assert "M160.0 1H320.0V15H160.0Z" in drawn and "M240.0 0V16" in drawn and 'aria-label="video: frames' in drawn


# ------------------------------------------------------------------------------------------------- the demo


@pytest.mark.proof
def test_the_video_demo_makes_its_videos_beside_the_run_and_goes_on(tmp_path):
    out = tmp_path / "a run"
    made = demo.audit_video_demo(out, quiet=True, sequences=5, length=40, epochs=1)
    videos = tmp_path / "a run-frames"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a run", "a run-frames"]
    assert made.manifest["dataset"]["source"] == str(videos / "labels.csv")
    assert made.frames()["sequence"].nunique() == 5 and (made.path / "spans.parquet").exists()
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert demo.audit_video_demo(out, quiet=True).path == open_run(out).path
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}


def test_a_video_demo_that_fails_leaves_no_half_made_videos(tmp_path, monkeypatch):
    def stop(*_, **__):
        (tmp_path / "nothing").mkdir()
        raise LossprintError("expected more, found less")

    monkeypatch.setattr("lossprint.audit.workflow.demo_videos.film", stop)
    with pytest.raises(LossprintError):
        demo.audit_video_demo(tmp_path / "run", quiet=True, sequences=2, length=40, epochs=1)
    assert [one.name for one in tmp_path.iterdir()] == ["nothing"]


def test_the_demo_takes_its_place_and_kind(tmp_path, monkeypatch, capsys):
    asked = []
    for name in ("audit_demo", "audit_video_demo"):
        monkeypatch.setattr(demo, name, lambda out, name=name: asked.append((name, str(out))))
    monkeypatch.setattr(cli_app, "summary", lambda run: "")
    monkeypatch.setattr(cli_app.output, "finish", lambda *_: 0)
    for arguments in ([], ["--video"], ["--video", "--out", "x"], ["--out", "y"]):
        assert cli.main(["demo", "--no-app", *arguments]) == 0
    assert asked == [
        ("audit_demo", "lossprint-demo"),
        ("audit_video_demo", "lossprint-video"),
        ("audit_video_demo", "x"),
        ("audit_demo", "y"),
    ]
