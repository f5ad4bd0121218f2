"""Faults: killed processes, a full disk, a read-only folder, two processes on one run, a clock that jumps."""

import ctypes
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import cut_demo
from helpers import BENCHMARKS, digests, make_run

from lossprint.audit.cli.main import main
from lossprint.audit.review import reviews as review
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.verify import verify
from lossprint.audit.system import locks
from lossprint.audit.types import LossprintError

BENCHMARK = BENCHMARKS / "faults.py"
LOSSPRINT = [sys.executable, "-m", "lossprint.audit.cli"]


STAGES = ["record", "loop", "curvature", "score", "find", "export", "SQLite"]


@pytest.mark.parametrize(("kills", "stages"), [(2, ["SQLite"]), pytest.param(12, STAGES, marks=pytest.mark.proof)])
def test_kills_lose_nothing(tmp_path, kills, stages):
    """`benchmarks/faults.py --kills 200` is the long form."""
    command = [sys.executable, str(BENCHMARK), "--kills", str(kills), "--seed", "3", "--keep", str(tmp_path / "work")]
    done = subprocess.run([*command, "--stages", *stages], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    total = next(line for line in done.stdout.splitlines() if line.startswith("| all |")).split("|")
    assert (
        int(total[2]) >= kills - 2 and int(total[2]) and total[4].strip() == total[6].strip() == total[7].strip() == "0"
    )


def test_the_benchmark_sees_what_is_lost(tmp_path):
    """Its comparison: a changed byte, a file too many, one too few; times do not count."""
    program = f"import sys; sys.path.insert(0, {str(BENCHMARK.parent)!r})\nfrom pathlib import Path\nimport faults\n"
    program += f"print(sorted(faults.lost_bytes(Path({str(tmp_path / 'b')!r}), Path({str(tmp_path / 'a')!r})).items()))"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for file in ("same", "other", f"only-{name}"):
            (tmp_path / name / file).write_text("1234")
        (tmp_path / name / "run.json").write_text(f'{{"seed": 0, "created": "{name}", "facts": {{"seconds": 1}}}}')
    (tmp_path / "b" / "other").write_text("1235")
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "[('only-a', 4), ('only-b', 1), ('other', 4)]"


# ------------------------------------------------------------------------------------------------- a full disk


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB in memory; mounting one takes root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform != "linux" or libc.mount(b"tmpfs", bytes(disk), b"tmpfs", 0, b"size=2m"):
        pytest.skip(f"no file system can be mounted here: {os.strerror(ctypes.get_errno())}")
    yield disk
    libc.umount2(bytes(disk), 2)


def fill(disk: Path) -> Path:
    """Take all the room there is but some bytes."""
    ballast = disk / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
    return ballast


def refused(capsys, *arguments) -> str:
    """The one line that a command leaves when it stops."""
    capsys.readouterr()
    status = main([*map(str, arguments)])
    line = capsys.readouterr().err.strip()
    assert status in (1, 2) and line.startswith("lossprint: expected") and len(line.splitlines()) == 1, line
    return line


def test_a_full_disk_stops_with_one_line_and_loses_nothing(small_disk, capsys):
    run = make_run(small_disk).path
    before = digests(run)
    out = small_disk / "findings.csv"
    with open_reviews(open_run(run)) as reviews:
        kept = [reviews.add(finding="outlier:5", sample=5, decision="exclude", reviewer="ann").id]
    ballast = fill(small_disk)
    assert "No space left" in refused(capsys, "score", run, "--quiet")
    assert "No space left" in refused(capsys, "export", "findings", run, "--out", out)
    assert "No space left" in refused(capsys, "report", run, "--out", small_disk / "report.html")
    assert not out.exists() and not (small_disk / "report.html").exists()
    with open_reviews(open_run(run)) as reviews:
        try:
            while True:  # until the log of the database is full, too
                kept.append(reviews.add(finding="outlier:5", sample=5, decision="keep", reviewer="ann").id)
                assert len(kept) < 2000
        except LossprintError as error:
            assert str(error).startswith("expected a review database that can be written") and "\n" not in str(error)
    ballast.unlink()
    with open_reviews(open_run(run)) as reviews:
        assert reviews.history()["id"].tolist() == kept
        reviews.add(finding="outlier:5", sample=5, decision="keep", reviewer="ann")
    after = digests(run)
    assert {name: after[name] for name in before if name != "run.json"}.items() <= before.items()
    assert not list(run.rglob("*.part"))
    assert main(["export", "findings", str(run), "--out", str(out)]) == 0 and out.stat().st_size
    assert main(["score", str(run), "--quiet"]) == 0 and verify(run).whole


@pytest.mark.parametrize("log", [False, True], ids=["closed", "with a log"])
def test_decisions_are_read_on_a_full_disk_and_new_ones_refused(small_disk, log, capsys):
    run = make_run(small_disk)
    with open_reviews(run) as reviews:
        reviews.add(finding="outlier:5", sample=5, decision="exclude", reviewer="ann")
    with closing(sqlite3.connect(run.path / "reviews.db")) as other:
        if log:  # another program holds the database open, so that its log is not taken in
            other.execute("SELECT count(*) FROM reviews").fetchone()
            with open_reviews(run) as reviews:
                reviews.add(finding="outlier:5", sample=5, decision="keep", reviewer="ann")
        ballast = fill(small_disk)
        for _ in range(2):
            with open_reviews(run) as reviews:
                assert reviews.history()["decision"].tolist() == ["exclude", "keep"][: 1 + log]
                with pytest.raises(LossprintError, match="can be written") as caught:
                    reviews.add(finding="outlier:5", sample=5, decision="unsure", reviewer="ann")
            assert "\n" not in str(caught.value)
        assert main(["reviews", "status", str(run.path)]) == 0 and "ann" in capsys.readouterr().out
        assert verify(run.path).whole
    ballast.unlink()
    with open_reviews(run) as reviews:
        reviews.add(finding="outlier:5", sample=5, decision="keep", reviewer="ann")
        assert len(reviews.history()) == 2 + log


def test_recording_stops_on_a_full_disk_and_goes_on(small_disk):
    import numpy as np

    from lossprint.audit.recording.recorder import Recorder

    run = make_run(small_disk, done=False).path
    table = open_run(run, need=None).samples()[["sample", "path", "label", "split"]]
    recorder = Recorder(small_disk / "mine", table)
    ids, room = table["sample"].to_numpy(), None
    for epoch in range(1, 4):
        if epoch == 2:
            room = fill(small_disk)
        recorder.update(ids, np.full(len(ids), float(epoch)))
        if room is None or not room.exists():
            recorder.end_checkpoint(epoch)
            continue
        with pytest.raises(OSError, match="No space left"):
            recorder.end_checkpoint(epoch)
        room.unlink()
        recorder = Recorder(small_disk / "mine", table, resume=True)
        assert recorder.last == 1
        recorder.update(ids, np.full(len(ids), float(epoch)))
        recorder.end_checkpoint(epoch)
    done = recorder.finish()
    assert done.trajectory("train").losses[:, 0].tolist() == [1, 2, 3] and not list(done.path.rglob("*.part"))


# ------------------------------------------------------------------------------------------------- a read-only folder


def bound() -> None:
    """In a child: root, too, may write only where the permissions say so (PR_CAPBSET_DROP of CAP_DAC_OVERRIDE)."""
    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(24, 1, 0, 0, 0):
        os._exit(77)


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_a_read_only_folder_is_read_and_not_written(tmp_path):
    run, out = make_run(tmp_path / "made").path, tmp_path / "findings.csv"
    for path in (run, *run.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = digests(run)
    commands = [
        ["score", run, "--quiet"],
        ["verify", run],
        ["export", "findings", run, "--out", out],
        ["export", "findings", run, "--out", run / "exports" / "x.csv"],
    ]
    program = "import sys, json; from lossprint.audit.cli.main import main\n"
    program += "for command in json.loads(sys.argv[1]): print('status', main(command), file=sys.stderr, flush=True)"
    command = [sys.executable, "-c", program, json.dumps(commands, default=str)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=bound)
        if done.returncode == 77:
            pytest.skip("root's right to write anywhere cannot be dropped here")
        lines = done.stderr.splitlines()
        assert [line for line in lines if line.startswith("status")] == [f"status {n}" for n in (2, 0, 0, 2)], lines
        assert "Permission denied" in lines[0] and lines[1] == "status 2"
        assert lines[-3] == "status 0" and lines[-2].startswith("lossprint: ")
        assert out.stat().st_size and digests(run) == before
    finally:
        for path in (run, *run.rglob("*")):
            path.chmod(0o755)


# ------------------------------------------------------------------------------------------------- two processes


def held_by_another(folder: Path) -> subprocess.Popen:
    program = (
        "import sys; from pathlib import Path; from lossprint.audit.system.locks import writing\n"
        "with writing(Path(sys.argv[1])):\n    print('in', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(folder)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "in\n"
    return child


def test_a_second_writer_is_refused_and_readers_are_not(tmp_path, capsys):
    run = make_run(tmp_path).path
    before = (run / "scores.parquet").stat().st_mtime_ns
    with held_by_another(run) as child:
        for command in (["score", run], ["audit", tmp_path / "data" / "labels.csv", "--out", run, "--resume"]):
            assert "expected a run that no other process writes" in refused(capsys, *command)
        assert main(["export", "findings", str(run), "--out", str(tmp_path / "f.csv")]) == 0
        assert [line.word for line in verify(run).lines] == ["note"]
        open_run(run).update_evaluation(lambda _: open_run(run).findings())  # coresets have a lock of their own
        (run / "evaluation.parquet").unlink()
        with open_reviews(open_run(run)) as reviews:
            reviews.add(finding="outlier:5", sample=5, decision="keep", reviewer="ann")
        assert (run / "scores.parquet").stat().st_mtime_ns == before
        child.kill()
    assert main(["score", str(run), "--quiet"]) == 0  # a killed writer keeps nobody out


@pytest.mark.proof
def test_two_audits_of_one_new_run_at_once(tmp_path):
    """One of two is refused in one line; the run is whole, and the one that was refused left nothing in it."""
    data, run = cut_demo(tmp_path / "data", 15, 4), tmp_path / "run"
    more = ["--epochs", "2", "--curvature-checkpoints", "0", "--quiet", "--resume", "--device", "cpu"]
    command = [*LOSSPRINT, "audit", str(data), "--out", str(run), *more]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=200) for process in both]
    status = sorted(process.returncode for process in both)
    assert status[0] == 0 and status[1] in (0, 2), told
    for process, (_, error) in zip(both, told):
        if process.returncode:
            assert "expected a run that no other process writes" in error and len(error.strip().splitlines()) == 1
    assert verify(run).whole


def test_a_process_enters_what_it_is_in_already(tmp_path):
    with locks.writing(tmp_path / "new"):
        assert not (tmp_path / "new").exists()
        with locks.writing(tmp_path / "new", make=True):
            assert list(locks.WRITERS) == [tmp_path / "new"]
        program = (
            "import sys; from pathlib import Path; from lossprint.audit.system.locks import writing\n"
            "with writing(Path(sys.argv[1])): pass"
        )
        other = subprocess.run([sys.executable, "-c", program, str(tmp_path / "new")], capture_output=True, text=True)
        assert "LossprintError: expected a run that no other process writes" in other.stderr
    assert not locks.WRITERS
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path / "new")]).returncode == 0


@pytest.mark.proof
def test_two_exports_to_one_name_leave_one_of_them_whole(tmp_path):
    one, two = make_run(tmp_path / "a").path, make_run(tmp_path / "b", seed=1, train=12).path
    out, wanted = tmp_path / "scores.csv", set()
    for run in (one, two):
        assert main(["export", "cleanlab", str(run), "--out", str(out)]) == 0
        wanted.add(out.read_bytes())
    assert len(wanted) == 2
    program = (
        "import sys; from lossprint.audit.cli.main import main\n"
        "for _ in range(15): main(['export', 'cleanlab', sys.argv[1], '--out', sys.argv[2]])"
    )
    both = [subprocess.Popen([sys.executable, "-c", program, str(run), str(out)], stdout=-3) for run in (one, two)]
    while any(process.poll() is None for process in both):
        assert out.read_bytes() in wanted
        time.sleep(0.001)
    assert [process.returncode for process in both] == [0, 0] and not list(tmp_path.glob(".*.part"))


def test_two_exports_to_one_new_folder(tmp_path):
    run, out = make_run(tmp_path / "a").path, tmp_path / "tree"
    command = [*LOSSPRINT, "export", "cleaned", str(run), "--out", str(out)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=100) for process in both]
    assert sorted(process.returncode for process in both) in ([0, 2], [0, 0]), told
    alone = tmp_path / "alone"
    assert main(["export", "cleaned", str(run), "--out", str(alone)]) == 0

    def names(folder: Path) -> list[str]:
        return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*"))

    assert names(out) == names(alone) and not [one for one in tmp_path.iterdir() if one.name.startswith(".")]


# ------------------------------------------------------------------------------------------------- a clock that jumps


def test_decisions_stand_in_their_order_whatever_the_clock_says(tmp_path, monkeypatch):
    run, clock = make_run(tmp_path), datetime(2026, 5, 1, 12, tzinfo=UTC)
    jumps = [0, -86400 * 400, 3600, 86400 * 9000, -10]  # a year back, an hour on, a quarter of a century on
    decisions = ["exclude", "keep", "unsure", "keep", "exclude"]
    with open_reviews(run) as reviews:
        for seconds, decision in zip(jumps, decisions):
            monkeypatch.setattr(review, "_now", lambda at=clock + timedelta(seconds=seconds): at.isoformat())
            reviews.add(finding="outlier:5", sample=5, decision=decision, reviewer="ann")
            assert reviews.current()["decision"].tolist() == [decision]
        assert reviews.history()["decision"].tolist() == decisions
        assert reviews.undo("ann").undoes == 5 and reviews.current()["decision"].tolist() == ["keep"]
        assert reviews.undo("ann").undoes == 4 and reviews.current()["decision"].tolist() == ["unsure"]


def test_a_run_whose_files_are_of_the_future_or_the_past_is_the_same(tmp_path):
    run = make_run(tmp_path).path
    assert main(["score", str(run), "--quiet"]) == 0
    before = (run / "scores.parquet").read_bytes()
    for when in (0, 4_000_000_000):
        for file in run.rglob("*"):
            os.utime(file, (when, when))
        assert verify(run).whole and main(["score", str(run), "--quiet"]) == 0
        assert (run / "scores.parquet").read_bytes() == before
    shutil.copytree(run, tmp_path / "copy", copy_function=shutil.copyfile)  # without times
    assert verify(tmp_path / "copy").whole
