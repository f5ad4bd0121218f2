"""Scoring of a run that outgrows memory: by the local engine, and by Ray on a local cluster of 2 workers.

    python benchmarks/scale.py --samples 20000000 --checkpoints 30 --work DIR [--classes 100] [--memory GB]

DIR/run is a made-up run: losses, margins and predictions as a Recorder writes them, 3 % wrong labels, 50 validation
samples a class; it is made in bounded memory, and used again if it is there. Each engine then scores it and looks for
findings, in a process of its own. Prints a table of seconds and peak memory (VmHWM of each process, by itself; Ray's
own daemons are not counted), beside reading the columns alone, and the largest difference of each column.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lossprint.audit.findings import engines, planning
from lossprint.audit.findings.find import find_run
from lossprint.audit.findings.score import score_run
from lossprint.audit.runs.open import create_run, open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.runs.tables import rows_writer
from lossprint.audit.system.memory import peak

BLOCK = 1 << 22  # samples made at once, which become one part file of a checkpoint
VALIDATION = 50  # samples a class
WRONG, HARD = 0.03, 0.05
WORKERS = 2
TABLES = ("scores", "pairs", "findings")


# ---------------------------------------------------------------------------------------------- a made-up run


def make(folder: Path, samples: int, checkpoints: int, classes: int) -> Run:
    """The run folder, made unless the same is there."""
    asked = {"dataset": f"{samples} samples, {checkpoints} checkpoints, {classes} classes, made up"}
    if (folder / "run.json").exists():
        run = open_run(folder, need=None)
        if run.manifest["asked"] == asked and "record" in run.stages:
            return run
        shutil.rmtree(folder)
    names = [f"class {number:03d}" for number in range(classes)]
    counts = {"train": samples, "val": VALIDATION * classes, "test": 0}
    described = {"source": None, "kind": "table", "root": None, "classes": names, "counts": counts, "fingerprint": "-"}
    run = create_run(folder, asked, described, 0)
    nothing = pd.DataFrame({"path": [], "reason": []}, dtype="string")
    run.write_samples(nothing.rename(columns={"reason": "label"}).assign(sample=0), nothing)
    total = samples + counts["val"]
    with rows_writer(folder / "samples.parquet") as append:
        for start in range(0, total, BLOCK):
            ids = np.arange(start, min(start + BLOCK, total))
            append(_table(ids, _labels(ids, classes), names, samples))
    for block, start in enumerate(range(0, samples, BLOCK)):
        _record(run, "train", block, np.arange(start, min(start + BLOCK, samples)), checkpoints, classes)
    _record(run, "val", 0, np.arange(samples, total), checkpoints, classes)
    return run.finish("record", checkpoints=checkpoints)


def _labels(ids: np.ndarray, classes: int) -> np.ndarray:
    """The given label of each sample, by its id alone."""
    return (ids * 2654435761 % 4294967291 % classes).astype(np.int32)


def _table(ids: np.ndarray, labels: np.ndarray, names: list[str], train: int) -> pa.Table:
    path = pc.binary_join_element_wise("i/", pc.cast(pa.array(ids), pa.string()), ".jpg", "")
    split = pa.array(["train", "val"]).take(pa.array((ids >= train).astype(np.int64)))
    columns = {"sample": ids, "path": path, "label": pa.array(names).take(pa.array(labels)), "split": split}
    nulls = {"sequence": pa.nulls(len(ids), pa.string()), "frame": pa.nulls(len(ids), pa.int64())}
    return pa.table(columns | nulls)


def _record(run: Run, split: str, block: int, ids: np.ndarray, checkpoints: int, classes: int) -> None:
    """The parts of a block of samples. Margins grow, those of wrong labels fall and turn; as in generated_run.py."""
    random = np.random.default_rng([block, split == "val"])
    size, given = len(ids), _labels(ids, classes)

    def normal(scale: float) -> np.ndarray:
        return random.standard_normal(size, np.float32) * np.float32(scale)

    rival = ((given + 1 + random.integers(0, 3, size, np.int32)) % classes).astype(np.int32)
    wrong = (random.random(size, np.float32) < WRONG) & (split == "train")
    hard = random.random(size, np.float32) < HARD
    pace = np.exp(normal(0.5)) * np.float32(checkpoints / 6) * np.where(hard, np.float32(2), np.float32(1))
    height = np.where(hard, 3.5 + normal(1), 7 + normal(2)).astype(np.float32)
    height[wrong] = -5 + normal(2)[wrong]
    for t in range(1, checkpoints + 1):
        margin = -0.6 + height * (1 - np.exp(-t / pace)) + normal(0.7)
        columns = [ids, np.log1p(np.exp(-margin)), margin, np.where(margin > 0, given, rival)]
        part = pa.table(dict(zip(("sample", "loss", "margin", "predicted"), columns)))
        run.write_part(split, t, part, block)


# ---------------------------------------------------------------------------------------------- measured


def measured(run: Path, engine: str, memory: float | None) -> dict:
    """What one engine took, in this process: `reading` only reads the columns, as often as scoring does."""
    began = time.perf_counter()
    if engine == "reading":
        _read(open_run(run, need="record"), memory)
        return {"score": time.perf_counter() - began, "peak": peak()}
    with engines.start(engine, WORKERS if engine == "ray" else None) as started:
        opened = score_run(open_run(run, need="record"), started, memory, quiet=False)
        scored, most = time.perf_counter(), peak()
        workers = sorted(started.peaks.values()) if engine == "ray" else []
    find_run(opened)
    found = time.perf_counter()
    return {"score": scored - began, "peak": most, "workers": workers, "find": found - scored, "end": peak()}


def _read(run: Run, memory: float | None) -> None:
    with run.scratch() as scratch:
        basis = planning.prepare(run, scratch)
        shards, _ = planning.cut(basis, memory or engines.Local().memory())
    for columns in (None, ["sample", "loss", "margin"]):
        for shard in shards:
            for checkpoint in run.recorded("train"):
                run.part("train", checkpoint, (shard.first, shard.last), columns)


def compare(ours: Path, theirs: Path) -> list[tuple[str, float]]:
    """The largest difference of each column of numbers, row group by row group; all else must be the same."""
    found: dict[str, float] = {}
    for name in TABLES:
        with pq.ParquetFile(ours / f"{name}.parquet") as one, pq.ParquetFile(theirs / f"{name}.parquet") as other:
            assert one.schema_arrow.remove_metadata() == other.schema_arrow.remove_metadata()
            assert one.metadata.num_rows == other.metadata.num_rows
            for group in range(one.num_row_groups):
                mine, others = one.read_row_group(group), other.read_row_group(group)
                for column in mine.column_names:
                    key = f"{name}.{column}"
                    if pa.types.is_floating(mine[column].type):
                        a, b = mine[column].to_numpy(), others[column].to_numpy()
                        assert np.array_equal(np.isnan(a), np.isnan(b)), key
                        most = np.nanmax(np.abs(a - b)) if np.isfinite(a).any() else 0.0
                        found[key] = max(found.get(key, 0.0), float(most))
                    else:
                        assert mine[column].equals(others[column]), key
                        found[key] = 0.0
    return list(found.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--checkpoints", type=int, default=30)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--memory", type=float, metavar="GB", help="of each process; by default as for lossprint score")
    parser.add_argument("--engines", nargs="+", default=["reading", "local", "ray"])
    parser.add_argument("--one", help=argparse.SUPPRESS)  # what a process of its own is to do
    options = parser.parse_args()
    memory = options.memory and options.memory * 1e9
    if options.one:
        print(json.dumps(measured(options.work / "run", options.one, memory)))
        return
    began = time.perf_counter()
    run = make(options.work / "run", options.samples, options.checkpoints, options.classes)
    size = sum(file.stat().st_size for file in (run.path / "trajectories").rglob("*.parquet"))
    about = f"{options.samples:,} samples x {options.checkpoints} checkpoints, {options.classes} classes"
    print(f"{about}; {size / 1e9:.2f} GB, made in {time.perf_counter() - began:,.0f} s; {os.cpu_count()} cores")
    print(f"\n{'':<10}{'score s':>9}{'find s':>8}{'peak GB':>9}{'with find':>11}  workers' peaks, GB", flush=True)
    for engine in options.engines:
        command = [sys.executable, __file__, "--work", str(options.work), "--one", engine]
        command += ["--memory", str(options.memory)] if options.memory else []
        took = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        workers = " ".join(f"{one / 1e9:.2f}" for one in took.get("workers", []))
        later = f"{took['find']:>8.0f}" if "find" in took else " " * 8
        end = f"{took['end'] / 1e9:>11.2f}" if "end" in took else " " * 11
        print(f"{engine:<10}{took['score']:>9.0f}{later}{took['peak'] / 1e9:>9.2f}{end}  {workers}", flush=True)
        for name in TABLES if engine in engines.NAMES else ():
            (options.work / engine).mkdir(exist_ok=True)
            shutil.copyfile(run.path / f"{name}.parquet", options.work / engine / f"{name}.parquet")
    if set(engines.NAMES) <= set(options.engines):
        print(f"\n{'largest difference, local and Ray':<40}")
        for column, most in compare(options.work / "local", options.work / "ray"):
            print(f"{column:<40}{most:g}")


if __name__ == "__main__":
    main()
