"""Every page renders without an exception, on a run with findings, without, and where things are missing."""

import logging
import os
import shutil
from types import SimpleNamespace

import pandas as pd
import pytest
import streamlit as st
from app_pages import NAMES, assert_whole, open_page, said
from helpers import make_run

from lossprint.app import data, main
from lossprint.app.questions import copies, groups
from lossprint.app.shared import decide, parts, story
from lossprint.app.shared.sample import on_side
from lossprint.app.views.overview import suggest
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.scores import SCORES
from lossprint.audit.types import LossprintError


@pytest.fixture(autouse=True)
def fresh_caches():
    st.cache_data.clear()
    st.cache_resource.clear()
    yield


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "one")


@pytest.mark.parametrize("name", NAMES)
def test_page_renders(name, run, monkeypatch):
    app = open_page(name, run.path, monkeypatch)
    assert_whole(app)
    assert app.title[0].value == next(page[1] for page in main.PAGES if page[0] == name)
    assert "cannot be read" not in said(app)


@pytest.mark.parametrize("name", NAMES)
def test_page_renders_without_findings(name, run, monkeypatch):
    run.write_findings([], run.samples())
    run.write_duplicates(pd.DataFrame({"sample": [], "partner": [], "kind": [], "similarity": []}))
    assert_whole(open_page(name, run.path, monkeypatch))


@pytest.mark.parametrize("name", NAMES)
def test_page_renders_when_the_images_are_gone(name, run, monkeypatch):
    shutil.rmtree(run.manifest["dataset"]["root"])
    app = open_page(name, run.path, monkeypatch)
    assert_whole(app)
    assert sum("cannot be read" in warning.value for warning in app.warning) <= 1
    if name == "labels":
        assert "cannot be read" in said(app)


@pytest.mark.parametrize("name", NAMES)
def test_page_renders_without_scores_and_pairs(name, run, monkeypatch):
    """As after an import of losses only: most scores are unknown."""
    scores = run.scores()
    scores[[score for score in SCORES if score != "csl"]] = float("nan")
    scores["suggested_label"] = None
    run.write_scores(scores)
    run.write_pairs(run.pairs().iloc[:0])
    app = open_page(name, run.path, monkeypatch)
    assert not app.exception
    assert name == "coreset" or [error.value for error in app.error] == []


# What stands in the page as text. In Chromium all pages are drawn with such labels: test_browser.
@pytest.mark.parametrize(
    "name", ["labels", "classes", "pairs", "review", *(pytest.param(n, marks=pytest.mark.proof) for n in NAMES)]
)
def test_page_renders_with_hostile_labels(name, tmp_path, monkeypatch):
    labels = ("<script>alert(1)</script>", "[x](javascript:alert(1)) $x$ :red[a]", "_a_ | `b` \n # c")
    app = open_page(name, make_run(tmp_path / "one", kind="folder", classes=labels).path, monkeypatch)
    assert_whole(app)
    for element in [*app.markdown, *app.caption]:
        assert "<script>" not in element.value
        assert "](javascript" not in element.value


@pytest.mark.parametrize("sample", ["0", "4", "images/train_003.png", "train", "30", "no such", "-1", "9" * 30])
@pytest.mark.parametrize("name", ["sample", "pairs"])
def test_samples_are_found_by_id_and_path(name, sample, run, monkeypatch):
    app = open_page(name, run.path, monkeypatch, sample=sample)
    assert_whole(app)
    if sample == "4":
        assert "Sample 4" in said(app)


def test_a_frames_place_in_time_and_past_decisions_are_told(tmp_path, monkeypatch):
    run = make_run(tmp_path / "one", frames=True)
    with open_reviews(run) as reviews:
        reviews.add(finding="label_error:4", sample=4, decision="exclude", reviewer="ann", comment="blurred")
        reviews.undo("ann")
        reviews.add(finding="label_error:4", sample=4, decision="keep", reviewer="bob")
    told = said(open_page("sample", run.path, monkeypatch, sample="4")).replace("\\", "")
    assert "Frame 4 of *train-1*, number 5 of 30." in told
    assert "Label kept by bob" in told and "Excluded by ann" in told
    assert told.count("(taken back)") == 1 and told.index("bob") < told.index("ann")


def test_half_written_and_damaged_runs_are_listed_with_the_reason(tmp_path, monkeypatch):
    folder = tmp_path / "runs"
    for name, done in (("whole", True), ("half", False)):
        made = make_run(tmp_path / name, done=done)
        folder.mkdir(exist_ok=True)
        made.path.rename(folder / name)
    (folder / "damaged").mkdir()
    (folder / "damaged" / "run.json").write_text("{")
    app = open_page("overview", folder, monkeypatch)
    assert_whole(app)
    assert "checkpoints recorded" in said(app).replace("\\", "")
    assert "found in" in said(app)


@pytest.mark.parametrize("state", ["nothing", "damaged", "half"])
def test_no_run_at_all_is_one_line(state, tmp_path, monkeypatch):
    folder = tmp_path / "runs"
    if state != "nothing":
        folder.mkdir()
    if state == "damaged":
        (folder / "run.json").write_text("[]")
    if state == "half":
        shutil.move(make_run(tmp_path / "x", done=False).path, folder / "half")
    app = open_page("overview", folder, monkeypatch)
    assert not app.exception
    assert len(app.error) == 1 and "expected" in app.error[0].value


def test_an_unexpected_fault_is_one_line(run, monkeypatch):
    def broken(loaded):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("lossprint.app.views.labels.render", broken)
    app = open_page("labels", run.path, monkeypatch)
    assert not app.exception
    assert len(app.error) == 1 and "secret" not in app.error[0].value


def test_a_fault_within_the_drawer_is_one_line(run, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("lossprint.app.shared.drawer.why", broken)
    app = open_page("labels", run.path, monkeypatch, open="4")
    assert not app.exception
    assert len(app.error) == 1 and "secret" not in app.error[0].value


def test_a_review_database_that_cannot_be_read_is_one_line(run, monkeypatch):
    (run.path / "reviews.db").write_text("no database")
    app = open_page("labels", run.path, monkeypatch)
    assert not app.exception
    assert len(app.error) == 1 and "expected" in app.error[0].value


@pytest.mark.parametrize("params", [{"page": 99}, {"open": "99999"}, {"open": "x"}, {"open": "-1"}])
def test_odd_links_do_no_harm(params, run, monkeypatch):
    assert_whole(open_page("labels", run.path, monkeypatch, **params))


def keep_all(loaded, finding: str, members: list[int]) -> list[tuple]:
    known = copies.standing(data.reviews(loaded).history(), members)
    return copies.keep_all(members, known.before(finding))


def keep_one(loaded, finding: str, members: list[int], label: str | None = None) -> list[tuple]:
    """As the page does: the copy with the lowest mean loss, among those with a label."""
    before = copies.standing(data.reviews(loaded).history(), members).before(finding)
    rows = loaded.samples.loc[members]
    labels = copies.labels_now(members, rows["label"].astype(object).tolist(), before)
    among = None if label is None else [one == label for one in labels]
    loss = loaded.scores["csl"].reindex(members).to_numpy(float)
    kept = copies.stays(members, before, (rows["split"] == "train").tolist(), loss, among)
    return copies.keep_one(members, kept, before)


def test_duplicate_groups_put_conflicts_first_and_keep_one_copy(tmp_path):
    loaded = data.load(make_run(tmp_path / "two", classes=("coat", "shirt")).path)
    found = groups.listed(loaded)
    assert list(found["conflict"]) == [True, False]
    decisions = keep_one(loaded, "duplicate:0", [3, 0], loaded.samples.at[3, "label"])
    assert [(one[0], one[1]) for one in decisions] == [(3, "keep"), (0, "exclude")]
    val = int(loaded.samples.index[loaded.samples["split"] == "val"][0])
    assert keep_one(loaded, "duplicate:0", [3, val])[0] == (val, "keep", None)


def test_reasons_name_the_numbers(tmp_path):
    loaded = data.load(make_run(tmp_path / "two", classes=("coat", "shirt")).path)
    told = story.reasons(loaded.findings, loaded.scores, loaded.samples, 4)
    assert len(told) == 1 and loaded.scores.at[4, "suggested_label"] in told[0]
    assert "conflicting labels" in story.reasons(loaded.findings, loaded.scores, loaded.samples, 0)[0]
    assert story.reasons(loaded.findings, loaded.scores, loaded.samples, 8)[0].startswith("Not flagged")
    assert story.percentile(loaded.scores, 10**9, "csl") is None


def test_suggestions_point_at_pages(run):
    loaded = data.load(run.path)
    classes = loaded.samples["label"].value_counts()
    found = suggest.suggestions(loaded.findings, groups.listed(loaded), classes)
    assert found[0].samples == [4, 1]
    assert {one.page for one in found} <= set(NAMES)
    assert all(len(one.more) in (0, len(one.samples)) for one in found)


def test_markdown_is_escaped():
    assert parts.md("a*b\nc <i>[x](y)") == "a\\*b c \\<i\\>\\[x\\]\\(y\\)"


def test_a_run_that_was_scored_again_is_read_again(run):
    assert len(data.load(run.path).findings) > 0
    run.write_findings([], run.samples())
    before = (run.path / "run.json").stat().st_mtime_ns
    os.utime(run.path / "run.json", ns=(before + 1, before + 1))
    assert data.load(run.path).findings.empty


def test_reviewer_is_never_empty(monkeypatch):
    monkeypatch.setattr(decide, "st", SimpleNamespace(session_state={"reviewer": "  "}))
    assert decide.reviewer()


def test_nothing_is_stored_before_somebody_said_who_decides_and_then_it_is(run, monkeypatch):
    app = open_page("sample", run.path, monkeypatch, reviewer="", open="4")
    loaded = data.load(run.path)
    next(one for one in app.button if one.label.startswith("Keep")).click().run()
    assert_whole(app)
    assert data.reviews(loaded).history().empty and "Who decides?" in said(app)
    store = next(one for one in app.button if one.label == "Store it")
    store.click().run()
    assert data.reviews(loaded).history().empty and "Who decides?" in said(app)  # no name, no decision
    app.text_input(key="who_decides").set_value(" dora ")
    next(one for one in app.button if one.label == "Store it").click().run()
    assert_whole(app)
    rows = data.reviews(loaded).history()
    assert rows[["sample", "decision", "reviewer"]].to_numpy().tolist() == [[4, "keep", "dora"]]
    assert app.session_state["reviewer"] == "dora"


def test_a_duplicate_group_carries_on_what_other_findings_decided(tmp_path):
    loaded = data.load(make_run(tmp_path / "two", classes=("coat", "shirt")).path)
    group, reviews = "duplicate:0", data.reviews(loaded)
    given = {sample: loaded.samples.at[sample, "label"] for sample in (0, 3)}
    reviews.add(finding="label_error:3", sample=3, decision="accept", new_label=given[0], reviewer="ann")
    assert keep_all(loaded, group, [3, 0]) == [(3, "relabel", given[0]), (0, "keep", None)]
    assert len(keep_one(loaded, group, [3, 0], given[0])) == 2
    reviews.add(finding="outlier:0", sample=0, decision="exclude", reviewer="ann")
    assert keep_one(loaded, group, [3, 0]) == [(3, "relabel", given[0]), (0, "exclude", None)]
    assert keep_all(loaded, group, [3, 0])[1] == (0, "exclude", None)
    reviews.add(finding=group, sample=3, decision="exclude", reviewer="ann")  # the group itself changes its mind
    assert keep_one(loaded, group, [3, 0])[0] == (3, "relabel", given[0])


def test_the_same_answer_twice_is_one_row(run, monkeypatch):
    loaded, state = data.load(run.path), {"reviewer": "ann"}
    fake = SimpleNamespace(session_state=state)
    monkeypatch.setattr(decide, "st", fake)
    for _ in range(3):
        decide.press(loaded, [("label_error:4", 4, "keep", None)], seen={"label_error:4": 0})
    decide.press(loaded, [("label_error:4", 4, "exclude", None)], seen={"label_error:4": 0}, current=lambda: False)
    assert list(data.reviews(loaded).history()["decision"]) == ["keep"]
    decide.press(loaded, [("label_error:4", 4, "exclude", None)], seen={"label_error:4": 0}, current=lambda: True)
    decide.press(loaded, [("label_error:4", 4, "keep", None)], seen={"label_error:4": 0})
    assert list(data.reviews(loaded).history()["decision"]) == ["keep", "exclude", "keep"]


@pytest.mark.parametrize("name", ["labels", "outliers", "duplicates", "overview"])
def test_what_was_not_looked_for_is_not_called_absent(name, run, monkeypatch):
    """As after an import of losses without margins or images."""
    scores = run.scores()
    scores[["aum", "outlier", "curvature"]] = float("nan")
    run.write_scores(scores)
    run.write_findings([], run.samples())
    (run.path / "duplicates.parquet").unlink()
    told = said(open_page(name, run.path, monkeypatch))
    assert "no margins" in told if name == "labels" else "Not looked for" in told


def test_an_emptied_reviewer_is_asked_again(run, monkeypatch):
    app = open_page("overview", run.path, monkeypatch)
    app.text_input(key="reviewer").set_value(" ").run()
    assert app.text_input(key="reviewer").value == ""  # nobody is guessed, the system's user least of all


def test_partners_stand_on_the_side_of_their_sign():
    pairs = pd.DataFrame({"side": ["aligned"] * 2 + ["conflicting"] * 2, "correlation": [0.9, -0.1, 0.2, -0.5]})
    assert list(on_side(pairs, "aligned")["correlation"]) == [0.9]
    assert list(on_side(pairs, "conflicting")["correlation"]) == [-0.5]


def test_a_download_that_fails_leaves_one_line_in_the_log(caplog):
    log = logging.getLogger("streamlit.runtime.backend_operation_handler")
    with caplog.at_level(logging.ERROR, logger=log.name):
        log.addHandler(caplog.handler)
        try:
            try:
                raise RuntimeError("Callable execution failed") from LossprintError("expected a file, found none")
            except RuntimeError:
                log.exception("Error executing deferred callable")
        finally:
            log.removeHandler(caplog.handler)
    assert "expected a file, found none" in caplog.text and "Traceback" not in caplog.text
