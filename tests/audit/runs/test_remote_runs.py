"""Run folders at URLs, against a real S3 server: written, killed, gone on with elsewhere, opened, decided on."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import cut_demo
from helpers import make_run, refusal

from lossprint.audit.cli.main import main
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs import mirror
from lossprint.audit.runs.mirror import NotUploaded
from lossprint.audit.runs.run import list_runs, open_run
from lossprint.audit.system import urls
from lossprint.audit.system.atomic import MIRRORS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
NAMES = iter(f"run-{number}" for number in range(100))


@pytest.fixture(scope="module")
def made(s3, tmp_path_factory) -> Path:
    """A small whole run on this machine, whose images are at s3://runs/data as well."""
    run = make_run(tmp_path_factory.mktemp("made"))
    s3.bucket("runs")
    s3.upload(run.path.parent / "data", "runs", "data/")
    return run.path


@pytest.fixture
def url(s3, made) -> str:
    """A copy of that run at a URL of its own."""
    name = next(NAMES)
    s3.upload(made, "runs", f"{name}/")
    return f"s3://runs/{name}"


def keys(s3, url: str) -> set[str]:
    """The files of a run in the bucket."""
    start = url.removeprefix("s3://runs/") + "/"
    return {key.removeprefix(start) for key in s3.keys("runs") if key.startswith(start)}


def files(folder: Path) -> dict[str, bytes]:
    found = [file for file in folder.rglob("*") if file.is_file()]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in found}


# ------------------------------------------------------------------------------------------- an audit, cut off and not


@pytest.fixture(scope="module")
def killed(s3, tmp_path_factory):
    """An audit of images in a bucket into a bucket, killed when its first checkpoint was there; the same undisturbed
    on this machine."""
    from lossprint.audit.workflow.audit import audit

    place = tmp_path_factory.mktemp("audits")
    labels = cut_demo(place / "demo", 14, 4)
    s3.bucket("audits")
    s3.upload(place / "demo", "audits", "data/")
    asked = ["audit", "s3://audits/data/labels.csv", "--out", "s3://audits/runs/one", "--epochs", "2", "--quiet"]
    command = [sys.executable, "-m", "lossprint.audit.cli", *asked, "--curvature-checkpoints", "1"]
    homes = {f"LOSSPRINT_{name}": str(place / "first" / name) for name in ("DATA", "CACHE")}
    there = threading.Event()

    def when(verb: str, path: str) -> None:
        if verb == "PUT" and "split=train/checkpoint=00001" in path:
            there.set()
            os.kill(process.pid, signal.SIGKILL)

    s3.when = when
    with subprocess.Popen(command, env={**os.environ, **homes}, stderr=subprocess.PIPE, text=True) as process:
        said = process.communicate(timeout=120)[1]
    s3.when = None
    assert there.is_set() and process.returncode == -signal.SIGKILL, said
    audit(str(labels), place / "here", epochs=2, curvature_checkpoints=1, quiet=True)
    return place


@pytest.mark.proof
def test_a_killed_audit_goes_on_from_another_machine_to_the_same_bytes(s3, killed, machine, capsys):
    left = {key.removeprefix("runs/one/") for key in s3.keys("audits") if key.startswith("runs/one/")}
    assert "run.json" in left and "scores.parquet" not in left and "resume.safetensors" not in left
    assert not any("checkpoint=00002" in name for name in left)
    second = machine("second")
    assert "half written" in refusal(open_run, "s3://audits/runs/one") and "1 of 2" in refusal(
        open_run, "s3://audits/runs/one"
    )
    asked = ["audit", "s3://audits/data/labels.csv", "--out", "s3://audits/runs/one", "--quiet"]
    assert main(asked) == 2
    assert "found a run at s3://audits/runs/one: add --resume" in capsys.readouterr().err
    s3.asked.clear()
    assert main([*asked, "--resume"]) == 0
    assert "see it: lossprint app s3://audits/runs/one\n" in capsys.readouterr().out
    want = files(killed / "here")
    got = {key.removeprefix("runs/one/"): key for key in s3.keys("audits") if key.startswith("runs/one/")}
    assert set(got) == set(want)
    for name in set(want) - {"run.json"}:
        assert s3.body("audits", got[name]) == want[name], name
    mine, other = (json.loads(one) for one in (want["run.json"], s3.body("audits", got["run.json"])))
    assert other["dataset"]["source"] == other["asked"]["dataset"] == "s3://audits/data/labels.csv"
    assert other["dataset"]["root"] == "s3://audits/data"
    assert mine["stages"] == other["stages"] and mine["dataset"]["classes"] == other["dataset"]["classes"]
    assert [name for name, there in files(second).items() if name.endswith("run.json")] == [
        f"runs/{mirror._digest('s3://audits/runs/one')}/one/run.json"
    ]
    # the whole run, opened again: nothing is trained, nothing is written
    s3.asked.clear()
    assert main([*asked, "--resume"]) == 0
    assert not [path for verb, path in s3.asked if verb in ("PUT", "DELETE") or "/data/" in path]


# --------------------------------------------------------------------------------------------------- what is fetched


def test_opening_fetches_the_small_tables_and_the_rest_when_it_is_read(s3, url, made, machine):
    machine("reader")
    here, s3.asked[:] = open_run(made), []
    run = open_run(url)
    pd.testing.assert_frame_equal(run.scores(), here.scores())
    pd.testing.assert_frame_equal(run.findings(), here.findings())
    late = [path for path in s3.reads("parquet") if "trajectories" in path or "pairs" in path or "curvature" in path]
    assert not late
    assert not (run.path / "trajectories").exists() and not (run.path / "pairs.parquet").exists()
    assert run.recorded("train") == here.recorded("train")
    assert np.array_equal(run.trajectory("train").losses, here.trajectory("train").losses)
    assert not any("split=val" in path for path in s3.reads("parquet"))
    pd.testing.assert_frame_equal(run.pairs(3), here.pairs(3))
    pd.testing.assert_frame_equal(run.curvature(), here.curvature())
    s3.asked.clear()
    again = open_run(url)
    assert np.array_equal(again.trajectory("train").losses, here.trajectory("train").losses)
    assert again.path == run.path and not s3.reads("parquet"), "what is here is not fetched again"
    assert again.name == url.rpartition("/")[2] and list_runs(again.path) == [again.path]


def test_only_what_changed_is_fetched(s3, url, machine):
    machine("reader")
    scores = open_run(url).scores()
    machine("writer")
    open_run(url).write_scores(scores.assign(cld=0.5))
    machine("reader")
    s3.asked.clear()
    assert (open_run(url).scores()["cld"] == 0.5).all()
    assert [path.rpartition("/")[2] for path in s3.reads("parquet")] == ["scores.parquet"]


def test_weights_are_listed_without_being_fetched(s3, url, machine):
    import torch

    machine("writer")
    run = open_run(url)
    for checkpoint in (1, 2):
        run.write_checkpoint(checkpoint, {"w": torch.full((3,), float(checkpoint))})
    machine("reader")
    run = open_run(url)
    s3.asked.clear()
    assert run.saved_checkpoints() == [1, 2] and not s3.asked
    assert run.read_checkpoint(2)["w"].tolist() == [2, 2, 2]
    assert [path.rpartition("/")[2] for path in s3.reads("safetensors")] == ["00002.safetensors"]


def test_names_in_a_bucket_cannot_lead_out_of_the_working_copy(s3, url, machine):
    machine("reader")
    s3.client().put_object(Bucket="runs", Key=f"{url.removeprefix('s3://runs/')}/a\\..\\..\\evil", Body=b"x")
    assert "evil" in refusal(open_run, url)
    assert not [name for name in files(machine("reader")) if "evil" in name]


# -------------------------------------------------------------------------------------------------- what is uploaded


def test_a_recorder_writes_to_a_url_in_the_order_of_a_local_run(s3, machine):
    machine("writer")
    rows = [(i, f"{i}.png", "ab"[i % 2], "train" if i < 8 else "val") for i in range(12)]
    table = pd.DataFrame(rows, columns=["sample", "path", "label", "split"])
    s3.asked.clear()
    recorder = Recorder("s3://runs/recorded", table)
    for epoch in (1, 2):
        recorder.update(np.arange(12), np.full(12, 1.0 / epoch))
        recorder.end_checkpoint(epoch)
    recorder.finish()
    puts = [path.removeprefix("/runs/recorded/") for verb, path in s3.asked if verb == "PUT"]
    assert puts[0] == puts[-1] == "run.json" and puts.count("run.json") == 2
    assert puts.index("unreadable.parquet") < puts.index("samples.parquet")
    checkpoints = [name.split("/")[2] for name in puts if name.startswith("trajectories")]
    assert checkpoints == sorted(checkpoints) and len(set(checkpoints)) == 2
    machine("other")
    more = Recorder("s3://runs/recorded", table, resume=True)
    assert more.last == 2
    assert more.run.recorded("val") == [1, 2]
    assert main(["score", "s3://runs/recorded"]) == 0
    assert "scores.parquet" in keys(s3, "s3://runs/recorded")


def test_what_is_removed_here_is_removed_there(s3, url, machine):
    machine("writer")
    run = open_run(url)
    run.write_selection("mine", "sample\n1\n", "{}")
    assert {"selections/mine.csv", "selections/mine.csv.json"} <= keys(s3, url)
    machine("other")
    other = open_run(mirror.place(url, write=True))
    other.drop_selection("mine")
    other.drop_parts_after(3)
    left = keys(s3, url)
    assert not any(name.startswith("selections") for name in left)
    assert {int(name.split("checkpoint=")[1][:5]) for name in left if "trajectories" in name} == {1, 2, 3}
    machine("writer")
    assert open_run(url).selections() == [] and open_run(url).recorded("train") == [1, 2, 3]


def test_what_could_not_be_uploaded_is_kept_named_and_uploaded_later(s3, url, machine, broken, capsys):
    folder = machine("writer")
    broken("put_file")
    assert main(["score", url]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and f"it is kept in {folder}" in said[0] and "the line broke" in said[0], said
    broken()
    before = keys(s3, url)
    run = open_run(url, need=None)
    assert "--resume uploads them" in capsys.readouterr().err and keys(s3, url) == before
    assert main(["score", url]) == 0
    assert "find" in json.loads(s3.body("runs", f"{url.rpartition('/')[2]}/run.json"))["stages"]
    assert files(run.path)["scores.parquet"] == s3.body("runs", f"{url.rpartition('/')[2]}/scores.parquet")
    assert mirror.Mirror(urls.Place(url), run.path).pending(), "without its journal nothing is known to be there"
    assert not MIRRORS[-1].pending()


def test_two_machines_that_write_one_run_are_told(s3, url, machine):
    first = machine("first")
    one = open_run(url)
    mirrors = list(MIRRORS)
    machine("second")
    other = open_run(url)
    other.write_scores(other.scores().assign(cld=0.25))
    other.finish("find", seconds=9.0)
    MIRRORS[:] = mirrors
    one.write_scores(one.scores().assign(cld=0.75))
    text = refusal(one.finish, "find", seconds=1.0, kind=NotUploaded)
    assert "nobody else to write" in text and str(first) in text
    name = url.rpartition("/")[2]
    assert json.loads(s3.body("runs", f"{name}/run.json"))["facts"]["find"] == {"seconds": 9.0}
    machine("first")
    again = open_run(url)
    assert again.manifest["facts"]["find"] == {"seconds": 9.0}
    aside = [path for path in first.rglob("run.json") if "aside-" in str(path)]
    assert len(aside) == 1 and json.loads(aside[0].read_text())["facts"]["find"] == {"seconds": 1.0}, "nothing is lost"
    assert not MIRRORS[-1].pending()


def test_a_kill_between_an_upload_and_its_note_is_no_conflict(s3, url, machine):
    machine("writer")
    run = open_run(url)
    journal = MIRRORS[-1].journal
    before = journal.read_bytes()
    run.write_scores(run.scores().assign(cld=0.125))
    run.finish("find", seconds=3.0)
    journal.write_bytes(before + b'{"name": "scores.par')  # the notes of both are lost, and one is cut off
    machine("writer")
    again = open_run(url)
    assert again.manifest["facts"]["find"] == {"seconds": 3.0} and (again.scores()["cld"] == 0.125).all()
    assert not MIRRORS[-1].pending() and not list(journal.parent.glob("aside-*"))
    journal.unlink()
    machine("writer")
    open_run(url)
    assert not MIRRORS[-1].pending() and not list(journal.parent.glob("aside-*"))


# --------------------------------------------------------------------------------------------------------- decisions


def test_decisions_stay_on_this_machine_and_outlive_every_fetch(s3, url, machine, capsys, monkeypatch):
    machine("writer")
    scores = open_run(url).scores()
    machine("reader")
    run = open_run(url)
    with open_reviews(run) as reviews:
        reviews.add(finding="label_error:1", sample=1, decision="keep", reviewer="ann")
    s3.client().put_object(Bucket="runs", Key=f"{url.rpartition('/')[2]}/reviews.db", Body=b"someone else's")
    machine("writer")
    other = open_run(url)
    other.write_scores(scores.assign(cld=0.5))
    other.finish("find", seconds=2.0)
    assert not (other.path / "reviews.db").exists()
    machine("reader")
    again = open_run(url)
    assert (again.scores()["cld"] == 0.5).all()
    with open_reviews(again) as reviews:
        assert list(reviews.current()["decision"]) == ["keep"]
        reviews.add(finding="label_error:4", sample=4, decision="unsure", reviewer="ann")
    again.finish("find", seconds=3.0)
    assert s3.body("runs", f"{url.rpartition('/')[2]}/reviews.db") == b"someone else's"
    capsys.readouterr()
    assert main(["reviews", "status", url]) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and f"in {again.path}/reviews.db, not at {url}" in said[0], said
    monkeypatch.setenv("LOSSPRINT_DATABASE_URL", f"sqlite:///{again.path.parent}/team.db")
    assert main(["reviews", "status", url]) == 0 and not capsys.readouterr().err


# -------------------------------------------------------------------------------------------------- the command line


def test_commands_take_a_run_at_a_url(s3, url, machine, tmp_path, capsys):
    machine("reader")
    for command in (
        ["export", "findings", url, "--out", str(tmp_path / "findings.csv")],
        ["export", "coreset", url, "--method", "cld", "--fraction", "0.5", "--out", str(tmp_path / "coreset.csv")],
        ["report", url, "--out", str(tmp_path / "report.html")],
        ["export", "changes", url, "--out", str(tmp_path / "changes.csv")],
    ):
        assert main(command) == 0, capsys.readouterr()
    assert "label_error" in (tmp_path / "findings.csv").read_text()
    assert (tmp_path / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("name", ["app", "report"])
def test_what_is_no_run_is_refused_in_one_line(s3, url, made, machine, name, capsys, tmp_path):
    machine("reader")
    last = [] if name == "app" else ["--out", str(tmp_path / "r.html")]
    s3.bucket("folder")
    s3.upload(made, "folder", "runs/a/")
    s3.upload(made, "folder", "runs/b/")
    for wrong, part in {
        "s3://runs/nowhere": "found none at s3://runs/nowhere",
        "s3://folder/runs": "found a folder of runs at s3://folder/runs: open one of them (a, b)",
        "s3://no-such-bucket/run": "found none of that name",
        "s3://runs/data": "found none at s3://runs/data",
    }.items():
        assert main([name, wrong, *last]) == 2
        said = [line for line in capsys.readouterr().err.splitlines() if "decisions are" not in line]
        assert len(said) == 1 and part in said[0], said


def test_a_new_run_is_not_written_among_other_files_nor_in_place_of_one_that_is_gone(s3, made, machine):
    machine("writer")
    assert "found other files at s3://runs/data, such as images" in refusal(
        mirror.working_copy, "s3://runs/data", write=True
    )
    name = next(NAMES)
    s3.upload(made, "runs", f"{name}/")
    folder = open_run(f"s3://runs/{name}").path
    for key in s3.keys("runs"):
        if key.startswith(f"{name}/"):
            s3.client().delete_object(Bucket="runs", Key=key)
    machine("writer")
    assert f"its copy is still in {folder}" in refusal(open_run, f"s3://runs/{name}")
    folder.rename(folder.with_name("moved"))
    assert mirror.working_copy(f"s3://runs/{name}", write=True) == folder
    assert not list(folder.iterdir())


def test_runs_on_other_file_systems(made, machine, tmp_path):
    """One that is no object store: a file is renamed into place, so that nobody reads half of it."""
    machine("writer")
    there = tmp_path / "share" / "run"
    there.parent.mkdir()
    for base in (f"file://{there}", "memory://share/run"):
        table = open_run(made).samples()
        recorder = Recorder(base, table)
        recorder.update(table["sample"].to_numpy(), np.ones(len(table)))
        recorder.end_checkpoint(1)
        recorder.finish()
        assert recorder.run.path != there
    assert (there / "run.json").is_file() and not list(there.rglob("*.part"))
    assert files(there) == files(mirror.place(f"file://{there}"))
    machine("reader")
    for base in (f"file://{there}", "memory://share/run"):
        assert open_run(base, need="record").recorded("train") == [1]


def test_a_run_on_this_machine_costs_nothing_more(made, tmp_path):
    """Without a run at a URL there are no mirrors to tell, and fsspec is not imported."""
    code = (
        "import sys; from lossprint.audit.runs.run import open_run; "
        f"open_run({str(made)!r}).scores(); assert 'fsspec' not in sys.modules; "
        "from lossprint.audit.system.atomic import MIRRORS; assert MIRRORS == []"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    MIRRORS.clear()
    began = time.perf_counter()
    from lossprint.audit.system.atomic import needed

    for _ in range(100_000):
        needed(tmp_path)
    assert time.perf_counter() - began < 0.5
