"""Scoring on a real local Ray cluster of two workers: the local engine's tables, whatever is lost on the way."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nasty_runs import differences, nasty_run, scored

from lossprint.audit.findings import engines, sharding
from lossprint.audit.runs.run import Run
from lossprint.audit.types import LossprintError

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """One cluster for the module: starting it takes longer than the tests."""
    mine = sys.modules[__name__]
    ray.cloudpickle.register_pickle_by_value(mine)  # its workers do not know the tests' folder
    with engines.start("ray", workers=2) as engine:
        assert engine.workers == 2
        yield engine
    ray.cloudpickle.unregister_pickle_by_value(mine)
    assert not ray.is_initialized()


def test_workers_do_what_they_are_given(cluster):
    """The smoke of what follows, which runs among the proofs."""

    def add(job, shard):
        if shard < 0:
            raise LossprintError("expected a shard, found none")
        return job + shard

    assert sorted(cluster.map(add, [1, 2, 3, 4], 10)) == [11, 12, 13, 14]
    assert cluster.peaks and not any(process.endswith(f":{os.getpid()}") for process in cluster.peaks)
    with pytest.raises(LossprintError, match=r"^expected a shard, found none$"):
        list(cluster.map(add, [1, -1], 10))


@pytest.mark.proof
@pytest.mark.parametrize("kind", ["plain", "folds"])
def test_equal_to_the_local_engine(kind, cluster, tmp_path, monkeypatch):
    run = nasty_run(tmp_path, kind)
    whole = scored(run, 1, monkeypatch)
    tables = scored(run, 7, monkeypatch, cluster)
    assert len(tables["pairs"]) > 2500
    assert set(differences(tables, whole).values()) == {0.0}
    assert len(cluster.peaks) >= 1 and all(50e6 < one < 5e9 for one in cluster.peaks.values())
    assert not any(process.endswith(f":{os.getpid()}") for process in cluster.peaks)


def dying(mark: Path, function):
    """The function, but the process that is first to call it, in which it is half done, is killed."""

    def call(job, shard, *shared):
        result = function(job, shard, *shared)
        if shard.number == 3 and not mark.exists():
            mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return call


@pytest.mark.proof
def test_a_shard_of_a_lost_worker_is_done_again(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(sharding, "MANY", 100)  # so that shards are gone through twice
    run = nasty_run(tmp_path)
    whole = scored(run, 1, monkeypatch)

    class Killing(engines.Ray):
        def map(self, function, shards, job, *shared):
            return super().map(dying(tmp_path / function.__name__, function), shards, job, *shared)

    assert set(differences(scored(run, 5, monkeypatch, Killing(ray)), whole).values()) == {0.0}
    killed = [int((tmp_path / name).read_text()) for name in ("measure", "pair_suspicious")]
    assert len(set(killed)) == 2 and os.getpid() not in killed


@pytest.mark.proof
def test_a_fault_of_a_worker_is_one_line(cluster, tmp_path, monkeypatch):
    run = nasty_run(tmp_path)

    def elsewhere(job, shard):
        sharding._look(Run(Path("/no/such/place"), {}))

    with pytest.raises(LossprintError, match="expected the run folder /no/such/place on every machine "):
        list(cluster.map(elsewhere, [0, 1], None))
    part = sorted((run.path / "trajectories/split=train/checkpoint=00006").iterdir())[1]
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(LossprintError) as fault:
        scored(run, 3, monkeypatch, cluster)
    assert "\n" not in str(fault.value) and "checkpoint=00006" in str(fault.value)


SLOW = """
import os, pathlib, sys, threading
from lossprint.audit.cli import main as cli
from lossprint.audit.findings import planning, sharding
from lossprint.audit.findings.sharding import Shard

def measure(job, shard):
    pathlib.Path(os.environ["LOSSPRINT_TEST"], f"task-{os.getpid()}").touch()
    threading.Event().wait()

def cut(basis, memory, workers):
    print("begun", flush=True)
    return [Shard(number, 0, -1, 0, 0) for number in range(9)], 0.0

sharding.measure, planning.cut = measure, cut
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.proof
def test_a_stopped_command_leaves_the_run_as_it_was_and_no_process_behind(tmp_path):
    run = nasty_run(tmp_path)
    before = (run.path / "run.json").read_bytes()
    mark = f"LOSSPRINT_TEST={tmp_path}"
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {
        "LOSSPRINT_TEST": str(tmp_path)
    }
    command = [sys.executable, "-c", SLOW, "score", str(run.path), "--engine", "ray", "--workers", "2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A shell starts what it runs in the background with this signal ignored, and children inherit that.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    stopped = subprocess.Popen(command, env=env, **pipes, **heard)
    assert stopped.stdout.readline() == "begun\n"
    assert stopped.stderr.readline().startswith(
        "lossprint: scoring 150 samples x 6 checkpoints in 9 shards, about 0.0 GB"
    )
    until = time.monotonic() + 60
    while not list(tmp_path.glob("task-*")):
        assert time.monotonic() < until, "no task began"
        time.sleep(0.05)
    stopped.send_signal(signal.SIGINT)
    _, err = stopped.communicate(timeout=60)
    assert stopped.returncode == 1 and err.endswith("lossprint: stopped; what is recorded is kept\n")
    assert (run.path / "run.json").read_bytes() == before and not (run.path / ".scoring").exists()
    until = time.monotonic() + 20
    while (left := with_environment(mark)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left


def with_environment(mark: str) -> list[str]:
    """The processes that were started with an environment variable, by their command lines."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (place / "environ").read_bytes().split(b"\0"):
                found.append((place / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # gone, or somebody else's
            continue
    return found
