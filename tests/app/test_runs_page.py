"""The page Runs & jobs: who may start, cancel and manage; what it says of a job; runs renamed, put away, deleted."""

import json
import time

import pytest
import streamlit as st
from app_pages import assert_whole, open_page, said
from helpers import make_run
from planted_jobs import planted
from test_access import BY, as_  # noqa: F401 (a fixture)
from test_access import said as claims

from lossprint.app.access import owned, roles
from lossprint.app.shared.owners import working
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError
from lossprint.audit.workflow import jobs, offered


@pytest.fixture(autouse=True)
def fresh_caches():
    st.cache_resource.clear()
    yield


@pytest.fixture
def folder(tmp_path):
    """A served folder with the run `one` and a dataset beside it."""
    root = tmp_path / "served"
    root.mkdir()
    make_run(tmp_path / "x").path.rename(root / "one")
    (root / "cats" / "tabby").mkdir(parents=True)
    (root / "cats" / "tabby" / "1.png").write_bytes(b"")
    return root


@pytest.fixture
def started(monkeypatch):
    """What was started, in place of a process."""
    calls = []

    def start(shelf, title, run, commands, by=""):
        calls.append((title, run, commands))
        return planted(shelf, run.name)

    monkeypatch.setattr(jobs, "start", start)
    return calls


def press(app, key: str):
    return next(one for one in app.button if one.key == key).click().run()


def labels(app) -> list[str]:
    return [one.key for one in app.button]


def test_an_audit_is_started_from_what_is_picked(folder, monkeypatch, started):
    app = open_page("runs", folder, monkeypatch, **{"new-at": "cats"})
    assert_whole(app)
    assert any(f"lossprint audit {folder / 'cats'} --out {folder / 'cats-audit'}" in one.value for one in app.code)
    app = press(app, "new-start")
    assert_whole(app)
    ((title, run, commands),) = started
    assert (title, run) == ("Audit of cats", folder / "cats-audit")
    assert commands == [["audit", str(folder / "cats"), "--out", str(run), "--model", "auto"]]
    assert "at work" in said(app) and any((one.key or "").endswith("-cancel") for one in app.button)


@pytest.mark.parametrize("role", ["viewer", "reviewer"])
def test_nobody_else_starts_cancels_or_manages(as_, folder, monkeypatch, role):  # noqa: F811
    job = planted(folder, "one")
    as_(claims(BY[role]))
    app = open_page("runs", folder, monkeypatch)
    assert not {"new-start", "runs-delete", "runs-rename", "runs-describe"} & set(labels(app))
    assert not app.code, "neither commands nor logs"
    work = offered.audit(folder, "cats", "new")
    for act in (
        lambda: owned.start(folder, work),
        lambda: owned.cancel(job),
        lambda: owned.forget(job),
        lambda: owned.describe(folder, "one", "x"),
        lambda: owned.rename(folder, "one", "x"),
        lambda: owned.put_away(folder, "one"),
        lambda: owned.put_back(folder, "one"),
        lambda: owned.delete(folder, "one", "one"),
    ):
        with pytest.raises(roles.Refused, match="expected the role owner"):
            act()
    assert jobs.state(job) == jobs.WORKING and not jobs.cancelling(job) and (folder / "one").is_dir()


def test_a_button_that_was_drawn_for_an_owner_starts_nothing_for_another(as_, folder, monkeypatch, started):  # noqa: F811
    """As a forged message of a button: the callback asks again."""
    as_(claims(BY["owner"]))
    app = open_page("runs", folder, monkeypatch, **{"new-at": "cats"})
    as_(claims(BY["reviewer"]))
    app = press(app, "new-start")
    assert not started and "expected the role owner" in "".join(one.value for one in app.error)


def test_a_folder_without_runs_offers_an_audit_on_any_page(tmp_path, monkeypatch):
    (tmp_path / "data" / "a").mkdir(parents=True)
    for page in ("overview", "labels"):
        app = open_page(page, tmp_path, monkeypatch)
        assert_whole(app)
        assert app.title[0].value == "Runs & jobs" and "No runs yet" in said(app)


def test_a_run_is_renamed_described_put_away_taken_out_and_deleted_after_two_questions(folder, monkeypatch):
    with open_reviews(open_run(folder / "one")) as kept:
        kept.add(finding="label_error:4", sample=4, decision="keep", reviewer="ann")
    app = open_page("runs", folder, monkeypatch)
    app.text_area[0].set_value("Ward *7*").run()
    app = press(app, "runs-describe")
    assert list(app.dataframe[0].value["description"]) == ["Ward *7*"]
    next(one for one in app.text_input if one.key == "runs-rename-one").set_value("two").run()
    app = press(app, "runs-rename")
    assert_whole(app)
    assert (folder / "two" / "run.json").is_file() and app.session_state["run"] == "two"
    app = press(app, "runs-archive")
    assert (folder / "archive" / "two").is_dir() and "No runs yet" in said(app)
    app = press(app, "runs-back-two")
    assert_whole(app)
    app = press(app, "runs-delete")
    assert "with **1 decision**" in said(app)
    app = press(app, "runs-gone")
    assert "expected the name two once more" in "".join(one.value for one in app.error) and (folder / "two").is_dir()
    next(one for one in app.text_input if one.key == "runs-again-two").set_value("two").run()
    app = press(app, "runs-gone")
    assert not (folder / "two").exists() and (folder / "cats").is_dir()


def test_a_run_at_work_or_a_link_is_not_moved_and_a_single_run_neither(folder, tmp_path):
    planted(folder, "one")
    with pytest.raises(LossprintError, match="cancel it first"):
        owned.rename(folder, "one", "two")
    (folder / "link").symlink_to(make_run(tmp_path / "y").path)
    for name in ("link", "..", "", "cats", "../y"):
        with pytest.raises(LossprintError, match="expected a run folder"):
            owned.delete(folder, name, name)
    with pytest.raises(LossprintError, match="the one run"):
        owned.put_away(folder / "one", "one")


@pytest.mark.parametrize(
    "end, asked, told",
    [
        ({"status": 0}, False, "Done after 1 hour."),
        ({"status": 2}, False, "It failed after 1 hour: expected \\*cats\\*, found none"),
        ({"status": -9}, False, "signal 9"),
        ({"status": 1}, True, "Cancelled after 1 hour."),
        (None, False, "ended without a word"),
    ],
)
def test_what_is_said_of_a_job_that_ended(folder, monkeypatch, end, asked, told):
    job = planted(folder, "one", born="gone", at=time.time() - 3600)
    (job.folder / "log").write_text("lossprint: expected *cats*, found none\n")
    if end:
        (job.folder / "end.json").write_text(json.dumps(end | {"at": job.at + 3600}))
    if asked:
        (job.folder / "cancelled.json").write_text("{}")
    app = open_page("runs", folder, monkeypatch)
    assert_whole(app)
    assert told in said(app)
    app = press(app, f"job-{job.folder.name}-clear")
    assert not job.folder.exists()


@pytest.mark.parametrize("page, key", [("coreset", "coreset"), ("compare", "compare"), ("runs", "score")])
def test_a_page_starts_the_command_that_it_shows(folder, monkeypatch, started, page, key):
    app = open_page(page, folder, monkeypatch)
    shown = [one.value for one in app.code]
    app = press(app, f"job-start-{key}")
    assert_whole(app)
    ((_, _, commands),) = started
    assert jobs.typed(commands) in shown


def test_durations_in_words():
    words = [working.duration(seconds) for seconds in (0.2, 59, 170, 3600, 5500)]
    assert words == ["1 second", "59 seconds", "3 minutes", "1 hour", "1 hour 32 minutes"]
