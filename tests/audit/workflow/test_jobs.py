"""Jobs: commands in a process of their own, what is kept of them, and what a stranger's folder cannot do."""

import json
import os
import subprocess
import sys
import time

import pytest
from helpers import make_run, one_line
from planted_jobs import planted

from lossprint.audit.runs import beside, places
from lossprint.audit.runs.open import open_run
from lossprint.audit.system import progress
from lossprint.audit.types import LossprintError
from lossprint.audit.workflow import jobs, offered


def eventually(check) -> None:
    until = time.monotonic() + 60
    while not check():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_job_outlives_who_started_it_and_says_how_it_ended(tmp_path):
    """Started by a process that ends at once; its commands run in turn until one fails."""
    code = (
        "import sys; from pathlib import Path; from lossprint.audit.workflow import jobs;"
        "shelf = Path(sys.argv[1]);"
        "jobs.start(shelf, 'Twice', shelf / 'run', [['--version'], ['runs', 'list', 'nowhere'], ['--version']], 'ann')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    (job,) = jobs.jobs(tmp_path)
    assert (job.title, job.by, job.words.splitlines()[1]) == ("Twice", "ann", "lossprint runs list nowhere")
    eventually(lambda: jobs.state(job) != jobs.WORKING)
    assert jobs.state(job) == jobs.FAILED and jobs.ended(job)[0] == 2
    lines = jobs.tail(job).splitlines()
    assert lines[0] == "$ lossprint --version" and lines[-1].startswith("lossprint: expected a run folder")
    jobs.forget(job)
    assert jobs.jobs(tmp_path) == []


def test_two_jobs_into_one_run_are_refused_and_a_reused_number_is_no_job(tmp_path):
    job = planted(tmp_path)
    assert jobs.state(job) == jobs.WORKING
    said = one_line(jobs.start, tmp_path, "More", tmp_path / "run", [["score", "run"]])
    assert "no job at work on run, found one (Audit)" in said
    other = planted(tmp_path, name="two", born="another boot 1")  # the same number, another process
    assert jobs.state(other) == jobs.LOST
    assert "ended already" in one_line(jobs.cancel, other)
    assert [one.folder.name for one in jobs.jobs(tmp_path)] == ["two", "one"]
    assert "at work" in one_line(jobs.forget, job)


def test_a_cancelled_job_ends_as_by_ctrl_c(tmp_path):
    place = tmp_path / "jobs"
    place.mkdir()
    job = jobs.start(tmp_path, "Waits", tmp_path / "run", [["reviews", "import", str(tmp_path), str(place / "pipe")]])
    os.mkfifo(place / "pipe")
    eventually(lambda: jobs.tail(job))
    jobs.cancel(job, "ann")
    eventually(lambda: jobs.state(job) != jobs.WORKING)
    assert jobs.state(job) == jobs.CANCELLED and jobs.cancelling(job)


@pytest.mark.parametrize("change", ["commands", "pid", "sign", "folder", "link"])
def test_what_was_not_signed_here_is_no_job(tmp_path, change):
    job = planted(tmp_path)
    file = job.folder / "job.json"
    said = json.loads(file.read_text())
    if change == "folder":
        job.folder.rename(job.folder.with_name("copy"))
    elif change == "link":
        job.folder.rename(tmp_path / "away")
        (tmp_path / jobs.FOLDER / "one").symlink_to(tmp_path / "away")
    else:
        said |= {"sign": "0" * 64} if change == "sign" else {}
        said["job"] |= {"pid": 1} if change == "pid" else {"commands": [["x"]]} if change == "commands" else {}
        file.write_text(json.dumps(said))
    assert jobs.jobs(tmp_path) == []


def test_a_folder_of_jobs_that_is_a_link_is_not_used(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / jobs.FOLDER).symlink_to(tmp_path / "elsewhere")
    assert "found a link" in one_line(jobs.start, tmp_path, "x", tmp_path / "run", [["--version"]])
    assert jobs.jobs(tmp_path) == [] and not list((tmp_path / "elsewhere").iterdir())


def test_progress_is_told_in_a_file_and_the_time_left_worked_out(tmp_path, monkeypatch):
    job = planted(tmp_path)
    assert jobs.how_far(job) is None
    monkeypatch.setenv(progress.FILE, str(job.folder / "progress.json"))
    monkeypatch.setattr(progress, "EVERY", 0)
    with progress.Bar(total=40, initial=10, unit="img", desc="train", disable=True) as bar:
        monkeypatch.setattr(bar, "began", bar.began - 30)
        bar.update(10)
        far = jobs.how_far(job)
    assert (far.step, far.done, far.total, far.unit) == ("train", 20, 40, "img")
    assert 55 < far.left < 65  # ten in thirty seconds, twenty to go
    assert list(progress.Bar(range(3), desc="choose", disable=True)) == [0, 1, 2]
    assert (jobs.how_far(job).step, jobs.how_far(job).done) == ("choose", 3)
    for text in ("{", "[1]", '{"done": "x"}', '{"done": 1, "first": 0, "began": 0, "at": 1, "total": "x"}'):
        (job.folder / "progress.json").write_text(text)
        assert jobs.how_far(job) is None


def test_a_log_is_told_without_what_a_terminal_obeys(tmp_path):
    job = planted(tmp_path)
    (job.folder / "log").write_bytes(b"x" * 30_000 + b"\n" + b" 10%\r 50%\r 90%\n\x1b[2Jend\n")
    assert jobs.tail(job, 2) == " 90%\n\\x1b[2Jend"
    (job.folder / "log").unlink()
    assert jobs.tail(job) == ""


# ------------------------------------------------------------------------------------------------- what is offered


@pytest.fixture
def served(tmp_path):
    """A served folder with the run `one`, images in `cats/a`, a file elsewhere, and links to it."""
    root = tmp_path / "served"
    root.mkdir()
    make_run(tmp_path / "x").path.rename(root / "one")
    for name in ("cats/a/1.png", "cats/b/2.png", "cats/b/3.jpg", "cats/labels.csv", ".hidden/a/1.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "secret.csv").write_text("")
    (root / "cats" / "leads_out").symlink_to(tmp_path / "out")
    (root / "cats" / "file_out.csv").symlink_to(tmp_path / "out" / "secret.csv")
    (root / "cats" / "within").symlink_to(root / "cats" / "a")
    return root


def test_a_picker_shows_what_lies_below_the_served_folder(served):
    assert offered.entries(served, "").folders == ["cats"]
    entries = offered.entries(served, "cats")
    assert (entries.folders, entries.files) == (["a", "b", "within"], ["labels.csv"])
    assert (entries.classes, entries.images, entries.more) == (3, 4, False)
    for name in (
        "..",
        "/etc",
        "cats/../..",
        "cats/leads_out",
        "cats/file_out.csv",
        ".hidden/a",
        "one",
        "one/exports",
        "no",
    ):
        with pytest.raises(LossprintError, match=r"^expected a "):
            offered.below(served, name)


def test_an_audit_is_made_of_what_was_picked_and_nothing_else(served):
    work = offered.audit(served, "cats", "new run", "small", 3, 1)
    assert jobs.typed(work.commands) == (
        f"lossprint audit {served / 'cats'} --out '{served / 'new run'}' --model small --epochs 3 --seed 1"
    )
    assert offered.audit(served, "cats/labels.csv", "n").commands[0][1] == str(served / "cats" / "labels.csv")
    for words, told in {
        ("cats", "one"): "a name that is free",
        ("cats", "../x"): "the name of a folder",
        ("cats", "-x"): "the name of a folder",
        ("cats", ".x"): "the name of a folder",
        ("cats/a/1.png", "x"): "a folder, a CSV",
        ("", "x"): "in a folder of its own",
        ("cats", "x", "evil:code"): "a model of auto, small",
    }.items():
        assert told in one_line(offered.audit, served, *words)


def test_a_run_from_elsewhere_names_no_place_and_no_code(served, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(places, "_named", set())
    file = served / "one" / "run.json"
    manifest = json.loads(file.read_text())
    manifest["place"] = "0" * 64
    file.write_text(json.dumps(manifest))
    run = open_run(served / "one")
    for work in (offered.second(served, run), offered.measured(run, ["coreset", "evaluate"]), offered.compared(run)):
        assert "only the run" in work.refused
    places.confirm(run)
    run = open_run(served / "one")
    assert not offered.compared(run).refused and not offered.finished(run).refused
    manifest["asked"] |= {"model": "evil:code", "dataset": "/etc"}
    file.write_text(json.dumps(manifest))
    run = open_run(served / "one")
    assert "read where it lies" in offered.second(served, run).refused
    manifest["asked"].pop("dataset")
    file.write_text(json.dumps(manifest))
    assert "a model that is a name" in offered.second(served, open_run(served / "one")).refused


def test_a_run_is_described_and_a_long_text_refused(tmp_path):
    run = make_run(tmp_path)
    assert beside.description(run) == ""
    beside.describe(run, "  Ward 7, second camera\n")
    assert beside.description(run) == "Ward 7, second camera"
    assert "at most 2,000" in one_line(beside.describe, run, "x" * 2001)
    beside.describe(run, " ")
    assert beside.description(run) == "" and not (run.path / beside.DESCRIPTION).exists()
