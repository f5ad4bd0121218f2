"""Several processes under torchrun, gloo: each sample once, the same scores, killed and resumed, errors said once."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import ranks
from conftest import cut_demo

from lossprint.audit import Recorder, open_run
from lossprint.audit.runs.run import STAGES, Run
from lossprint.audit.system.processes import World
from lossprint.audit.types import LossprintError
from lossprint.audit.workflow.audit import audit
from lossprint.scoring import trajectory


def torchrun(processes: int, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += [ranks.__file__, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)


def rows(run: Run, split: str) -> dict[int, dict[str, list[int]]]:
    """The sample ids in each part file of a split, by checkpoint and file name, with nothing of ours in between."""
    import pyarrow.parquet as pq

    folders = sorted((run.path / "trajectories" / f"split={split}").iterdir())
    return {
        int(folder.name.partition("=")[2]): {
            file.name: pq.read_table(file, partitioning=None)["sample"].to_pylist() for file in folder.iterdir()
        }
        for folder in folders
    }


def once(run: Run) -> None:
    """Each sample in exactly one part file at each checkpoint."""
    samples = run.samples()
    for split in ("train", "val"):
        expected = sorted(samples.loc[samples["split"] == split, "sample"])
        for files in rows(run, split).values():
            assert sorted(itertools.chain(*files.values())) == expected


THREE = pytest.param(3, marks=pytest.mark.proof)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """What one process leaves."""
    folder = tmp_path_factory.mktemp("together")
    ranks.together(folder, 1)
    return folder


@pytest.fixture
def together(alone, processes) -> Path:
    """What 1 process and `processes` leave of the same."""
    if not (alone / f"loop-{processes}").exists():
        done = torchrun(processes, "together", str(alone))
        assert done.returncode == 0, done.stderr
    return alone


@pytest.mark.parametrize("processes", [2, THREE])
def test_a_sample_that_the_sampler_gave_twice_is_recorded_once(together, processes):
    run = open_run(together / f"loop-{processes}", need="record")
    once(run)
    parts = rows(run, "train")
    assert list(parts) == [1, 2] and all(len(files) == processes for files in parts.values())
    losses = run.trajectory("train").losses
    row, rank = np.divmod(np.round(losses * 10).astype(int), 10)
    assert (row == np.arange(ranks.TRAIN) + np.array([[1], [2]])).all()
    # Of the two that had a padded sample the first one keeps it, so the others have one less.
    sizes = np.bincount(rank[0], minlength=processes)
    padding = -ranks.TRAIN % processes
    assert sizes.sum() == ranks.TRAIN and sizes[0] == sizes.max() and sizes.max() - sizes.min() <= padding
    assert run.manifest["facts"]["record"]["incomplete"] == 0


@pytest.mark.proof
@pytest.mark.skipif(sys.platform != "linux", reason="looks at the names of threads in /proc")
def test_no_thread_of_the_group_is_left_to_abort_the_process():
    done = torchrun(2, "ended")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("processes", [2, THREE])
def test_scores_of_the_same_weights_are_those_of_one_process(together, processes):
    one, many = (open_run(together / f"given-{size}", need="record") for size in (1, processes))
    once(many)
    found = []
    for run in (one, many):
        train, val = run.trajectory("train"), run.trajectory("val")
        means = trajectory.class_means(val.losses, val.labels, 4)
        found.append((trajectory.cld(train.losses, train.labels, means), train.losses.mean(0), run.curvature()))
    for name, before, after in zip(("CLD", "CSL", "curvature"), *found, strict=True):
        difference = np.abs(np.asarray(after) - np.asarray(before)).max()
        print(f"{processes} processes, {name}: largest difference {difference:.2g}")
        assert difference <= 1e-5
    assert found[0][2].index.equals(found[1][2].index) and len(found[1][2]) == ranks.TRAIN
    assert many.curvature_recorded() == one.curvature_recorded() == [2, 5]
    assert len(list(many.path.glob("curvature/checkpoint=00002/rank-*.parquet"))) == processes


@pytest.mark.parametrize(
    ("processes", "name"),
    [(2, "seven"), pytest.param(3, "seven", marks=pytest.mark.proof), pytest.param(3, "four", marks=pytest.mark.proof)],
)
def test_training_goes_the_way_of_one_process(together, processes, name):
    one, many = (Run(together / f"{name}-{size}", {}) for size in (1, processes))
    for checkpoint in (1, 2):
        before, after = one.read_checkpoint(checkpoint), many.read_checkpoint(checkpoint)
        largest = max(float((before[key] - after[key]).abs().max()) for key in before)
        print(f"{processes} processes, {name}: largest difference of a weight {largest:.2g}")
        assert largest <= 1e-5
    started = one.read_checkpoint(1)
    assert any(float((started[key] - before[key]).abs().max()) > 1e-3 for key in before), "nothing was learned"


@pytest.mark.proof
def test_killed_with_three_resumed_with_two_then_with_one(tmp_path):
    dataset, out = cut_demo(tmp_path / "data", 40, 8), tmp_path / "run"
    options = [str(dataset), "--out", str(out), "--epochs", "4", "--curvature-checkpoints", "2", "--quiet"]
    done = torchrun(3, "audit", "write_part-2", *options)
    assert done.returncode != 0 and "Signal 9" in done.stderr, done.stderr
    cut = out / "trajectories" / "split=train" / "checkpoint=00002"
    assert {file.name for file in cut.iterdir()} == {"rank-1.parquet", "rank-2.parquet"}
    assert open_run(out, need=None).recorded() == [1]
    done = torchrun(2, "audit", "write_curvature-4", *options, "--resume")
    assert done.returncode != 0 and "Signal 9" in done.stderr, done.stderr
    run = open_run(out, need=None)
    assert run.recorded() == run.recorded("val") == [1, 2, 3, 4] and run.curvature_recorded() == [2]
    assert (out / "curvature" / "checkpoint=00004" / "rank-1.parquet").exists()
    run = audit(str(dataset), out, resume=True, quiet=True)
    once(run)
    names = {checkpoint: sorted(files) for checkpoint, files in rows(run, "train").items()}
    assert names == {1: [f"rank-{k}.parquet" for k in range(3)], **dict.fromkeys((2, 3, 4), names[1][:2])}
    assert [file.name for file in (out / "curvature" / "checkpoint=00004").iterdir()] == ["rank-0.parquet"]
    assert len(run.curvature()) == 120 and run.scores()["curvature"].notna().all()
    assert run.stages == list(STAGES) and not (out / "resume.safetensors").exists()
    val = run.trajectory("val")
    assert (val.predicted[-1] == val.labels).mean() > 0.6


@pytest.mark.proof
@pytest.mark.parametrize("processes", [2, 3])
def test_an_error_in_one_process_ends_all_of_them_with_one_line(tmp_path, processes):
    dataset = cut_demo(tmp_path / "data", 20, 4)
    done = torchrun(processes, "wrong", str(dataset), "--out", str(tmp_path / "run"), "--epochs", "2", "--quiet")
    lines = [line for line in done.stderr.splitlines() if line.startswith("lossprint:")]
    assert lines == ["lossprint: expected a loss, found none in rank 1"], done.stderr
    assert re.findall(r"exitcode +: (\S+)", done.stderr) == ["2"] * processes, done.stderr
    assert open_run(tmp_path / "run", need=None).recorded() == []


def test_processes_that_do_not_know_of_each_other_are_refused(tmp_path, monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LossprintError, match="init_process_group before") as caught:
        Recorder(tmp_path / "run", ranks.table(ranks.images()))
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_parts_of_a_batch_are_the_batch():
    for size in range(1, 9):
        for count in range(1, 40):
            parts = [range(count)[World(rank, size).slice_of(count)] for rank in range(size)]
            assert [at for part in parts for at in part] == list(range(count))
            sizes = [len(part) for part in parts]
            assert max(sizes) - min(filter(None, sizes)) <= 1
            assert count < 2 or min(filter(None, sizes)) >= 2


def test_what_an_unfinished_checkpoint_left_is_removed(tmp_path):
    """Parts of a larger number of processes than now, in the run, in a member and of the curvature."""
    inputs = ranks.images()
    recorder = Recorder(tmp_path / "run", ranks.table(inputs))
    recorder.update(inputs.samples, np.ones(len(inputs.samples)))
    recorder.end_checkpoint(1)
    whole = recorder.run.part("train", 1)
    for run in (recorder.run, recorder.run.member("seed=00001")):
        run.write_part("train", 2, whole, rank=5)
    recorder.run.write_curvature(2, whole.to_pandas().assign(curvature=1, trace=1, gradient_norm=1), rank=2)
    recorder.run.write_part("val", 2, recorder.run.part("val", 1))  # whole by itself, but there is no training part
    recorder.run.write_part("val", 2, recorder.run.part("val", 1), rank=4)
    assert recorder.run.curvature().empty and recorder.run.recorded() == [1]
    again = Recorder(tmp_path / "run", ranks.table(inputs), resume=True)
    assert again.last == 1 and not list((tmp_path / "run").rglob("rank-5.parquet"))
    assert not list((tmp_path / "run" / "curvature").iterdir())
    again.update(inputs.samples, np.ones(len(inputs.samples)))
    again.end_checkpoint(2)
    once(again.finish())
