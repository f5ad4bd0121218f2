"""What many tests share: a small whole run folder with planted faults, without training; refusals; servers; files."""

import atexit
import csv
import hashlib
import importlib.util
import io
import os
import runpy
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lossprint.audit.runs.open import create_run, open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.runs.tables import PAIRS
from lossprint.audit.scores import SCORES
from lossprint.audit.types import Finding, LossprintError

CLASSES = ("bag", "coat", "shirt")
BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


def make_run(
    folder: str | Path,
    *,
    kind: str = "manifest",
    classes: tuple[str, ...] = CLASSES,
    train: int = 10,
    held_out: int = 4,
    checkpoints: int = 5,
    frames: bool = False,
    seed: int = 0,
    done: bool = True,
) -> Run:
    """Make FOLDER/data (a dataset of 12 px images) and FOLDER/run (its run), and return the run.

    kind is `manifest` (data/labels.csv) or `folder` (data/split/class_000/...). `train` and `held_out` count images a
    class; ids go through train, val, test in this order, classes in turn within a split. `frames` adds a sequence and
    a frame to each sample; `done=False` leaves the run recorded but not scored.

    Planted, all in train: samples 1 and 4 are wrong labels (suggested: the class after theirs), 0 and 3 are the same
    pixels under different labels if there are several classes, 6 is nearly 2, and 5 is an outlier.

    Each kind is made once a process and copied: its run.json is written anew, and is as if it had been made here.
    """
    made = _made(kind, tuple(sorted(classes)), train, held_out, checkpoints, frames, seed, done)
    folder = Path(folder)
    for name in ("data", "run"):
        shutil.copytree(made.path.parent / name, folder / name, dirs_exist_ok=name == "data")
    root = folder.absolute() / "data"
    source = str(root / "labels.csv" if kind == "manifest" else root)
    manifest = deepcopy(made.manifest)
    manifest["asked"]["dataset"] = source
    manifest["dataset"] |= {"source": source, "root": str(root)}
    return Run(folder / "run", manifest).rewrite(made.stages)


@cache
def _made(kind, classes, train, held_out, checkpoints, frames, seed, done) -> Run:
    folder = Path(tempfile.mkdtemp(prefix="lossprint-made-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rng = np.random.default_rng(seed)
    samples = _samples(kind, classes, {"train": train, "val": held_out, "test": held_out}, frames)
    root = folder / "data"
    _draw(root, samples, classes, rng)
    source = root
    if kind == "manifest":
        source = root / "labels.csv"
        names = ["path", "label", "split"] + (["sequence", "frame"] if frames else [])
        samples[names].to_csv(source, index=False)

    fingerprint = hashlib.sha256("\n".join(samples["path"] + samples["label"]).encode()).hexdigest()
    dataset = {
        "source": str(source),
        "root": str(root),
        "kind": kind,
        "fingerprint": fingerprint,
        "classes": list(classes),
        "counts": {split: int(n) for split, n in samples["split"].value_counts().items()} | {"unreadable": 0},
    }
    asked = {"dataset": str(source), "model": "small", "epochs": checkpoints, "seed": seed}
    run = create_run(folder / "run", asked, dataset, seed)
    run.write_samples(samples, pd.DataFrame({"path": [], "reason": []}, dtype="string"))
    wrong = {1: _other(samples, 1, classes), 4: _other(samples, 4, classes)}
    _record(run, samples, classes, wrong, checkpoints, rng)
    run = run.finish("record", seconds=1.0)
    if not done:
        return run
    _score(run, samples, wrong, rng)
    for stage in ("curvature", "embed", "score", "find"):
        run = run.finish(stage, seconds=0.5)
    return run


def _samples(kind: str, classes: tuple[str, ...], sizes: dict[str, int], frames: bool) -> pd.DataFrame:
    rows = []
    for split, each in sizes.items():
        for i in range(each * len(classes)):
            which = i % len(classes)
            place = f"{split}/class_{which:03d}" if kind == "folder" else "images"
            rows.append((len(rows), f"{place}/{split}_{i:03d}.png", classes[which], split, f"{split}-1", i))
    frame = pd.DataFrame(rows, columns=["sample", "path", "label", "split", "sequence", "frame"])
    if not frames:
        frame[["sequence", "frame"]] = None
    text = dict.fromkeys(("path", "label", "split", "sequence"), "string")
    return frame.astype({**text, "sample": "int64", "frame": "Int64"})


def _draw(root: Path, samples: pd.DataFrame, classes: tuple[str, ...], rng: np.random.Generator) -> None:
    pixels = {}
    for row in samples.itertuples():
        shade = np.full((12, 12, 3), 40 + 150 * classes.index(row.label) // len(classes), np.uint8)
        pixels[row.sample] = shade + rng.integers(0, 30, shade.shape, dtype=np.uint8)
    pixels[3] = pixels[0]
    pixels[6] = pixels[2].copy()
    pixels[6][0, 0] ^= 3
    for row in samples.itertuples():
        path = root / row.path
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[row.sample]).save(path)


def _other(samples: pd.DataFrame, sample: int, classes: tuple[str, ...]) -> str:
    return classes[(classes.index(samples["label"].iloc[sample]) + 1) % len(classes)]


def _record(run: Run, samples: pd.DataFrame, classes, wrong: dict[int, str], checkpoints: int, rng) -> None:
    """Losses fall from about 2 towards 0; those of the wrong labels stay high, with a negative margin."""
    for split in ("train", "val"):
        mine = samples[samples["split"] == split]
        ids = mine["sample"].to_numpy()
        given = np.array([classes.index(label) for label in mine["label"]], np.int32)
        bad = np.isin(ids, list(wrong))
        for t in range(1, checkpoints + 1):
            losses = np.where(bad, 3.0, 2.0 / t) + rng.random(len(ids)) * 0.1
            predicted = given.copy()
            predicted[bad] = [classes.index(wrong[i]) for i in ids[bad]]
            margin = np.where(bad, -2.0, float(t))
            run.write_part(
                split, t, pd.DataFrame({"sample": ids, "loss": losses, "margin": margin, "predicted": predicted})
            )


def _score(run: Run, samples: pd.DataFrame, wrong: dict[int, str], rng: np.random.Generator) -> None:
    mine = samples[samples["split"] == "train"]
    ids = mine["sample"].to_numpy()
    bad = np.isin(ids, list(wrong))
    scores = mine[["sample", "path", "label"]].reset_index(drop=True)
    for name in SCORES:
        scores[name] = rng.random(len(ids)) * 0.4
    scores["cld"] = np.where(bad, -0.9, scores["cld"])
    scores["label_error"] = np.where(bad, 0.9 + ids / 1000, scores["label_error"])
    scores["suggested_label"] = scores["sample"].map(wrong).astype("string").fillna(scores["label"])
    scores["suggested_probability"] = np.where(bad, 0.9, 0.1)
    run.write_scores(scores)

    found = [Finding("label_error", (i,), 0.9 + i / 1000, label) for i, label in wrong.items()]
    found += [Finding("duplicate", (3, 0), 1.0), Finding("near_duplicate", (6, 2), 0.95), Finding("outlier", (5,), 0.8)]
    run.write_findings(found, samples)
    run.write_duplicates(
        pd.DataFrame({"sample": [0, 2], "partner": [3, 6], "kind": ["exact", "near"], "similarity": [1.0, 0.97]})
    )
    val = samples.loc[samples["split"] == "val", "sample"].to_numpy()
    rows = [
        (i, val[r], "val", (0.9 - 0.1 * r) * (1 if side == "aligned" else -1), side, r + 1, scope)
        for i in ids
        for scope in ("class", "all")
        for side in ("aligned", "conflicting")
        for r in range(min(3, len(val)))
    ]
    run.write_pairs(pd.DataFrame(rows, columns=list(PAIRS)))
    everything = samples["sample"].to_numpy()
    run.write_embeddings(everything, rng.normal(size=(len(everything), 8)).astype(np.float32))
    values = {name: rng.random(len(ids)).astype(np.float32) for name in ("curvature", "trace", "gradient_norm")}
    run.write_curvature(5, pd.DataFrame({"sample": ids, **values}))


# ------------------------------------------------------------------------------------------------- what is refused


def one_line(call, *arguments, kind=LossprintError, **options) -> str:
    """What a call refuses with, in one line."""
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 500, text
    return text


def refusal(call, *arguments, **options) -> str:
    """The same, of the form `expected ..., found ...`, without a line break that LossprintError spelled out."""
    text = one_line(call, *arguments, **options)
    assert text.startswith("expected ") and ", found" in text and "\\n" not in text, text
    return text


class Trap:
    """Unpickling one makes a folder."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def refused(capsys, *arguments) -> str:
    """The one line with which a command refuses, in this process: it is as the program's, and faster."""
    from lossprint.audit.cli import main as cli

    capsys.readouterr()
    status = cli.main([str(argument) for argument in arguments])
    error = capsys.readouterr().err
    assert status == 2, f"exit status {status}: {error}"
    assert error.startswith("lossprint: ") and error.count("\n") == 1, error
    return error


# ------------------------------------------------------------------------------------------------- programs


def in_a_thread(call: Callable, *arguments):
    """What call(*arguments) returns, from a thread: it has no event loop yet; Playwright's runs in the main one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call, *arguments).result()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def answering(command: list, url: str, log: IO[str], **options) -> Iterator[subprocess.Popen]:
    """The process of an app's server, from when it answers until the block ends. What it says goes to `log` (w+)."""
    with subprocess.Popen(command, stdout=log, stderr=log, **options) as server:
        try:
            until_it_answers(url, log, lambda: server.poll() is None)
            yield server
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def until_it_answers(url: str, log: IO[str], alive: Callable[[], bool]) -> None:
    """Wait for the app's server, and fail with what it said where it ends or takes a minute."""
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=5).read()
            return
        except OSError:
            if not alive() or time.monotonic() > deadline:
                log.seek(0)
                pytest.fail(f"the server did not start: {log.read()}")
            time.sleep(0.05)


@contextmanager
def environment(**changed: str) -> Iterator[None]:
    """With these variables; in the end the environment is as it was, whatever was done to it."""
    before = {**os.environ}
    os.environ.update(changed)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def as_script(file: Path, *arguments) -> str:
    """What `python FILE ARGUMENTS` prints, run in this process: it has torch already, and takes seconds less.

    What a program changes for itself is put back: the environment, the path, the threads of torch.
    """
    import torch

    said, threads = io.StringIO(), torch.get_num_threads()
    with environment(), pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.setattr(sys, "argv", [str(file), *map(str, arguments)])
        patch.syspath_prepend(str(file.parent))
        try:
            runpy.run_path(str(file), run_name="__main__")
        except SystemExit as left:
            assert not left.code, f"{left.code}: {said.getvalue()}"
        finally:
            torch.set_num_threads(threads)
    return said.getvalue()


def benchmark(name: str, monkeypatch=None):
    """The module benchmarks/NAME.py, made anew; with `monkeypatch` it finds what lies beside it, as a script does."""
    if monkeypatch is not None:
        monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ------------------------------------------------------------------------------------------------- looking at files


def at_home(folder: Path, **changed) -> Run:
    """The run of a copied folder, told where its data lies now."""
    run = open_run(folder / "run")
    data = folder / "data"
    source = data / "labels.csv" if run.manifest["dataset"]["kind"] == "manifest" else data
    return Run(
        run.path,
        {**run.manifest, "dataset": {**run.manifest["dataset"], "root": str(data), "source": str(source), **changed}},
    )


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder, by relative path."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def read_csv(file: Path) -> list[dict]:
    """The rows of a CSV that Lossprint wrote, every cell as text."""
    with open(file, encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened, strict=True))


def plain_label_errors(sources: list[tuple], classes: int) -> tuple:
    """`LabelErrors` of the training samples and their confidence (N,), on whole arrays: what shards must come to.

    sources: the trajectories (train, val) of one training or of several with other seeds.
    """
    from lossprint.audit.findings.sharding import errors_of, margins_of
    from lossprint.scoring import labels

    train, val = ([pair[side] for pair in sources] for side in (0, 1))
    new = [
        labels.newness(labels.fit(mine.losses, mine.margins), labels.fit(its.losses, its.margins))
        for mine, its in sources
    ]
    weights = tuple(labels.checkpoint_weights(one.losses, least) for one, least in zip(val, new))
    plain, given = errors_of(train, weights), train[0].labels
    excess = labels.confusion_excess(plain, given, errors_of(val, weights), val[0].labels, classes)
    usual = labels.confusions(plain, given, classes).usual
    errors = labels.ranked(plain, given, excess, usual)
    flagged = int((errors.severity > labels.SUSPECT).sum())
    shift = labels.by_class(labels.with_prior(plain, given, excess), given, usual).margin - plain.margin
    return errors, labels.rank_confidence(margins_of(train), shift, list(weights), flagged)
