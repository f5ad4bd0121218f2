"""Runs copied to URLs and back, against a real S3 server: cut off, gone on with elsewhere, decided on, refused."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import cut_demo
from helpers import make_run, refusal, refused

from lossprint.audit.cli.main import main
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.sync import LIST, sync, syncing
from lossprint.audit.runs.verify import verify
from lossprint.audit.types import LossprintError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
NAMES = iter(f"run-{number}" for number in range(100))


@pytest.fixture
def run(tmp_path):
    """A small whole run on this machine."""
    return make_run(tmp_path / "made")


@pytest.fixture
def url(s3) -> str:
    """A place for a run of its own, in a bucket that exists."""
    s3.bucket("runs")
    return f"s3://runs/{next(NAMES)}"


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a run folder but the list of the last sync."""
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    return {name: file.read_bytes() for name, file in files.items() if name != LIST}


def there(s3, url: str) -> dict[str, bytes]:
    """The same at a URL."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    names = [key.removeprefix(f"{prefix}/") for key in s3.keys(bucket) if key.startswith(f"{prefix}/")]
    return {name: s3.body(bucket, f"{prefix}/{name}") for name in names if name != LIST}


def writes(s3) -> list[str]:
    """The files that were written or removed at the server since `asked` was cleared."""
    return [path.rpartition("/")[2] for verb, path in s3.asked if verb in ("PUT", "DELETE")]


def decide(path: Path, decision: str = "keep", sample: int = 1, reviewer: str = "ann") -> None:
    with open_reviews(open_run(path)) as reviews:
        reviews.add(finding=f"label_error:{sample}", sample=sample, decision=decision, reviewer=reviewer)


def decisions(path: Path) -> list[str]:
    with open_reviews(open_run(path)) as reviews:
        return list(reviews.history()["decision"])


# ------------------------------------------------------------------------------------------- an audit, cut off and not


@pytest.mark.proof
def test_an_audit_that_was_killed_goes_on_on_another_machine_to_the_same_bytes(s3, tmp_path, capsys):
    from lossprint.audit.workflow.audit import audit

    labels = cut_demo(tmp_path / "demo", 14, 4)
    s3.bucket("audits")
    s3.upload(tmp_path / "demo", "audits", "data/")
    audit(str(labels), tmp_path / "here", epochs=2, curvature_checkpoints=1, quiet=True)
    url = "s3://audits/runs/one"
    options = ["audit", "s3://audits/data/labels.csv", "--quiet", "--sync", url]
    first = [*options, "--out", str(tmp_path / "first"), "--epochs", "2", "--curvature-checkpoints", "1"]
    reached = threading.Event()

    def when(verb: str, path: str) -> None:
        if verb == "PUT" and path.endswith("curvature/checkpoint=00002/rank-0.parquet"):
            reached.set()
            os.kill(process.pid, signal.SIGKILL)

    s3.when = when
    with subprocess.Popen(
        [sys.executable, "-m", "lossprint.audit.cli", *first], stderr=subprocess.PIPE, text=True
    ) as process:
        errors = process.communicate(timeout=120)[1]
    s3.when = None
    assert reached.is_set() and process.returncode == -signal.SIGKILL, errors
    left = there(s3, url)
    assert "samples.parquet" in left and "run.json" not in left and "scores.parquet" not in left
    assert "found one that was not copied whole at" in refusal(sync, url, tmp_path / "second")
    assert not (tmp_path / "second").exists()
    assert main(["sync", str(tmp_path / "first"), url]) == 0
    assert main(["sync", url, str(tmp_path / "second")]) == 0
    assert open_run(tmp_path / "second", need=None).stages == ["record", "curvature"]
    assert "half written" in refusal(open_run, tmp_path / "second")
    assert main([*options, "--out", str(tmp_path / "second"), "--resume"]) == 0
    assert f"see it: lossprint app {tmp_path / 'second'}\n" in capsys.readouterr().out
    here, second = contents(tmp_path / "here"), contents(tmp_path / "second")
    assert second == there(s3, url) and set(second) == set(here)
    assert [name for name in here if here[name] != second[name]] == ["run.json"]
    mine, other = (json.loads(one["run.json"]) for one in (here, second))
    assert other["dataset"]["source"] == other["asked"]["dataset"] == "s3://audits/data/labels.csv"
    assert mine["stages"] == other["stages"] and mine["dataset"]["classes"] == other["dataset"]["classes"]
    s3.asked.clear()
    assert main([*options, "--out", str(tmp_path / "second"), "--resume"]) == 0
    assert not writes(s3), "a whole run that is there already"
    assert main(["sync", url, str(tmp_path / "first")]) == 0, "the first machine is behind, and nothing of it is lost"
    assert contents(tmp_path / "first") == second


def test_each_finished_stage_is_copied_and_a_copy_that_fails_in_between_stops_nothing(s3, run, url, broken, capsys):
    with syncing(run.path, url):
        run.finish("score")
        assert "run.json" in there(s3, url)
        broken("put_file")
        run.write_scores(run.scores().assign(cld=0.25))
        run.finish("find", seconds=1.0)
        error = capsys.readouterr().err
        assert error.startswith("lossprint: not copied yet: ") and "the line broke" in error and error.count("\n") == 1
        broken()
    assert contents(run.path) == there(s3, url)
    broken("put_file")
    with pytest.raises(LossprintError, match="expected an answer from s3"), syncing(run.path, url):
        run.finish("find", seconds=2.0)
    broken()
    assert main(["sync", str(run.path), url]) == 0 and contents(run.path) == there(s3, url)


def test_an_audit_is_refused_before_it_begins_where_it_could_not_be_copied(
    s3, run, url, small_dataset, tmp_path, capsys
):
    sync(run.path, url)
    s3.upload(run.path.parent / "data", "runs", "pictures/")
    wrong = {
        url: "before there is one at",
        "s3://runs/pictures": "found other files",
        "here": "expected the URL of a folder",
    }
    for place, part in wrong.items():
        options = ["audit", str(small_dataset), "--out", str(tmp_path / "new"), "--sync", place]
        assert main(options) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and part in lines[0], lines
    assert not (tmp_path / "new").exists()


# ---------------------------------------------------------------------------------------------------- what is copied


def test_a_run_there_and_back_has_the_same_bytes_and_is_whole(s3, run, url, tmp_path):
    run.write_selection("mine", "sample\n1\n", "{}")
    copied = sync(run.path, url)
    assert contents(run.path) == there(s3, url) and copied.files == len(contents(run.path)) and not copied.removed
    sync(url, tmp_path / "deep" / "other")
    assert contents(tmp_path / "deep" / "other") == contents(run.path)
    assert verify(tmp_path / "deep" / "other").whole
    pd.testing.assert_frame_equal(open_run(tmp_path / "deep" / "other").scores(), run.scores())


def test_only_what_differs_is_copied_and_what_was_removed_is_removed(s3, run, url, tmp_path):
    run.write_selection("mine", "sample\n1\n", "{}")
    sync(run.path, url)
    sync(url, tmp_path / "other")
    s3.asked.clear()
    assert sync(run.path, url).files == 0 and not writes(s3)
    other = open_run(tmp_path / "other")
    other.write_scores(other.scores().assign(cld=0.5))
    other.drop_selection("mine")
    other.drop_parts_after(3)
    s3.asked.clear()
    copied = sync(other.path, url)
    assert copied.removed == 2 + 2 * 2  # the selection and its record; two checkpoints of two splits
    assert {"scores.parquet", "mine.csv", "rank-0.parquet", "run.json", LIST} <= set(writes(s3))
    assert "samples.parquet" not in writes(s3) and "findings.parquet" not in writes(s3)
    assert writes(s3)[:2] == [LIST, "run.json"] and writes(s3)[-2:] == ["run.json", LIST], "away first, back last"
    exported = run.path / "exports" / "mine.csv"
    exported.parent.mkdir()
    exported.write_text("sample\n")
    sync(url, run.path)
    assert (open_run(run.path).scores()["cld"] == 0.5).all() and open_run(run.path).recorded("train") == [1, 2, 3]
    assert open_run(run.path).selections() == [] and exported.exists(), "what was never there is not removed"


def test_a_copy_that_was_cut_off_is_no_run_and_is_gone_on_with(s3, run, url, broken, tmp_path):
    count = len(contents(run.path))
    sync(run.path, url)
    run.write_scores(run.scores().assign(cld=0.5))
    run.finish("find", seconds=1.0)
    broken("put_file")
    assert "the line broke" in refusal(sync, run.path, url)
    broken()
    assert "run.json" in there(s3, url), "nothing was changed"
    broken("put_file", skip=1)
    assert "the line broke" in refusal(sync, run.path, url)
    broken()
    assert "run.json" not in there(s3, url)
    assert sync(run.path, url).files < count / 2 and there(s3, url) == contents(run.path)
    other = tmp_path / "other"
    sync(url, other)
    run.write_scores(run.scores().assign(cld=0.75))
    run.finish("find", seconds=2.0)
    sync(run.path, url)
    broken("get_file")
    assert "the line broke" in refusal(sync, url, other)
    assert "expected a run folder" in refusal(open_run, other)
    broken()
    sync(url, other)
    assert contents(other) == contents(run.path)


def test_bytes_that_changed_on_their_way_are_refused(s3, run, url, tmp_path):
    sync(run.path, url)
    name = url.rpartition("/")[2]
    content = s3.body("runs", f"{name}/scores.parquet")
    s3.client().put_object(Bucket="runs", Key=f"{name}/scores.parquet", Body=content[:-1] + b"x")
    assert f"expected scores.parquet of {url} as it was copied there" in refusal(sync, url, tmp_path / "other")
    assert not (tmp_path / "other" / "run.json").exists()


def test_runs_that_other_programs_copied_are_read(s3, run, url, tmp_path):
    s3.upload(run.path, "runs", url.removeprefix("s3://runs/") + "/")
    sync(url, tmp_path / "other")
    assert contents(tmp_path / "other") == contents(run.path)


def test_names_at_a_url_cannot_lead_out_of_the_folder(s3, run, url, tmp_path):
    sync(run.path, url)
    s3.client().put_object(Bucket="runs", Key=f"{url.removeprefix('s3://runs/')}/a\\..\\..\\evil", Body=b"x")
    assert "evil" in refusal(sync, url, tmp_path / "other")
    assert not list(tmp_path.rglob("*evil*"))


# --------------------------------------------------------------------------------------------- changed on both sides


def test_a_run_that_went_on_elsewhere_is_not_overwritten(s3, run, url, tmp_path):
    sync(run.path, url)
    sync(url, tmp_path / "other")
    other = open_run(tmp_path / "other")
    other.write_scores(other.scores().assign(cld=0.25))
    other.finish("find", seconds=9.0)
    sync(other.path, url)
    before = there(s3, url)
    run.finish("find", seconds=1.0)
    for source, target in ((run.path, url), (url, run.path)):
        assert f"found another run.json at {source} than at {target}" in refusal(sync, source, target)
    assert there(s3, url) == before and open_run(run.path).manifest["facts"]["find"] == {"seconds": 1.0}
    sync(url, tmp_path / "new")
    assert open_run(tmp_path / "new").manifest["facts"]["find"] == {"seconds": 9.0}


def test_what_only_the_target_changed_stays(s3, run, url, tmp_path, capsys):
    run.write_selection("old", "sample\n1\n", "{}")
    sync(run.path, url)
    sync(url, tmp_path / "other")
    other = open_run(tmp_path / "other")
    other.write_comparison(pd.DataFrame({"a": [1]}))
    other.drop_selection("old")
    run.write_comparison(pd.DataFrame({"a": [2]}))
    sync(other.path, url)
    assert "found another comparison.parquet" in refusal(sync, url, run.path)
    (run.path / "comparison.parquet").unlink()
    run.write_selection("new", "sample\n2\n", "{}")
    assert main(["sync", str(run.path), url]) == 0
    assert (
        f"3 newer at {url}, which stay as they are: comparison.parquet, selections/old.csv" in capsys.readouterr().out
    )
    for folder in (run.path, other.path):
        sync(url, folder)
        assert open_run(folder).comparison()["a"].tolist() == [1] and open_run(folder).selections() == ["new"]
    assert contents(run.path) == contents(other.path) == there(s3, url)


def test_decisions_travel_and_newer_ones_are_not_overwritten(s3, run, url, tmp_path, capsys):
    other = tmp_path / "other"
    decide(run.path)
    sync(run.path, url)
    assert "reviews.db-wal" not in there(s3, url)
    sync(url, other)
    assert decisions(other) == ["keep"]
    s3.asked.clear()
    assert sync(run.path, url).files == sync(other, url).files == 0 and not writes(s3), "read, but not decided"
    decide(other, "unsure", 4)
    assert sync(other, url).files == 1
    assert main(["sync", str(run.path), url]) == 0
    assert f"1 newer at {url}, which stay as they are: reviews.db" in capsys.readouterr().out
    sync(url, tmp_path / "third")
    assert decisions(tmp_path / "third") == ["keep", "unsure"], "those of the URL outlived the older ones"
    decide(run.path, "unsure", 1, "bob")
    for source, target in ((run.path, url), (url, run.path)):
        assert main(["sync", str(source), str(target)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and f"found another reviews.db at {source} than at {target}" in lines[0]
    assert decisions(run.path) == ["keep", "unsure"] and decisions(other) == ["keep", "unsure"]
    (run.path / "reviews.db").rename(tmp_path / "mine.db")
    sync(url, run.path)
    with open_reviews(open_run(run.path)) as reviews:
        assert set(reviews.history()["reviewer"]) == {"ann"}


def test_decisions_are_copied_as_they_were_between_two_of_them(s3, run, url, tmp_path):
    """While a transaction is open, which the copy has nothing of."""
    decide(run.path)
    with sqlite3.connect(run.path / "reviews.db") as database:
        database.execute("DELETE FROM reviews")
        sync(run.path, url)
        database.rollback()
    database.close()
    sync(url, tmp_path / "other")
    assert decisions(tmp_path / "other") == ["keep"]


# -------------------------------------------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    ("source", "target", "part"),
    [
        ("s3://runs/nowhere", "{tmp}/new", "found none at s3://runs/nowhere"),
        ("s3://no-such-bucket/run", "{tmp}/new", "found none of that name"),
        ("{run}", "s3://no-such-bucket/run", "found none of that name"),
        ("{tmp}/nowhere", "s3://runs/new", "found none at {tmp}/nowhere"),
        ("{run}", "{tmp}/new", "expected a run folder and a URL"),
        ("s3://runs/a", "s3://runs/b", "expected a run folder and a URL"),
        ("{run}", "nosuch://runs/a", "nosuch"),
        ("{run}", "https://example.com/run", "expected the URL of a folder"),
        ("{run}", "file:///x::s3://runs/a", "chained"),
    ],
)
def test_what_cannot_be_copied_is_refused_in_one_line(s3, run, url, tmp_path, capsys, source, target, part):
    source, target, part = (text.format(run=run.path, tmp=tmp_path) for text in (source, target, part))
    assert main(["sync", source, target]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and part in lines[0], lines
    assert not (tmp_path / "new").exists() and not (tmp_path / "nowhere").exists()


def test_other_files_are_not_overwritten(s3, run, url, tmp_path):
    s3.upload(run.path.parent / "data", "runs", "data/")
    assert "found other files at s3://runs/data" in refusal(sync, run.path, "s3://runs/data")
    sync(run.path, url)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    assert "found other files" in refusal(sync, url, tmp_path / "full")


def test_other_commands_name_sync_where_a_run_is_named_by_its_url(tmp_path, capsys):
    for command in (
        ["score"],
        ["app"],
        ["report", "--out", str(tmp_path / "r.html")],
        ["verify"],
        ["reviews", "status"],
    ):
        assert "lossprint sync copies a run from a URL" in refused(capsys, *command, "s3://runs/one")
    assert "lossprint sync" in refusal(open_run, "s3://runs/one")
    table = pd.DataFrame({"sample": [0], "path": ["0.png"], "label": ["a"], "split": ["train"]})
    assert "lossprint sync" in refusal(Recorder, "s3://runs/one", table)


def test_runs_on_other_file_systems(run, tmp_path):
    for base in (f"file://{tmp_path}/share/run", "memory://share/run"):
        sync(run.path, base)
        sync(base, tmp_path / base.partition(":")[0])
        assert contents(tmp_path / base.partition(":")[0]) == contents(run.path)
    assert contents(tmp_path / "share" / "run") == contents(run.path)
    assert np.array_equal(open_run(tmp_path / "memory").trajectory().losses, run.trajectory().losses)


def test_a_run_on_this_machine_needs_no_fsspec(run):
    code = (
        "import sys; from lossprint.audit.runs.open import open_run; "
        f"open_run({str(run.path)!r}).scores(); assert 'fsspec' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
