"""Which coreset trains the best network? Every method against random, at equal steps, with the spread over seeds.

The same network is trained on each subset: equally many optimizer steps, the same batch size, schedule and seeds; the
last epoch counts, never the best. A network is judged on the held-out images of the run, labels as decided. Subsets of
the same samples share their training. This module writes a row for each training, split and class into
evaluation.parquet:

    method, fraction, seed      of the subset and of the training; methods without chance have one subset for all seeds
    model, steps, batch, device, epochs     how it was trained; epochs: of the whole training split, as many steps
    options                     equal, at_least, one_of_duplicates where they are not the default, as JSON
    train_samples, noisy        size of the subset, and its share of wrong labels where a truth file was given
    split, label, right, of     held-out images of a class, and how many the network got right
    seconds, key                of the training; a digest of all that it depends on: none is repeated
"""

import hashlib
import json
import multiprocessing
import os
import signal
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from lossprint.audit import coresets, workflow
from lossprint.audit.coresets import Ask
from lossprint.audit.store import Run, open_run
from lossprint.audit.types import LossprintError
from lossprint.scoring.methods import METHODS

CELL = ["model", "steps", "options", "split", "method", "fraction"]
TEXT = ("method", "model", "device", "options", "split", "label", "key")


def evaluate(
    run: Run | str | Path,
    methods: list[str],
    fractions: list[float],
    *,
    seeds: int = 3,
    model: str | None = None,
    steps: int | None = None,
    truth: str | Path | None = None,
    equal: bool = False,
    at_least: int = 1,
    one_of_duplicates: bool = False,
    jobs: int | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> pd.DataFrame:
    """Train on every subset with `seeds` seeds; save and return the table that this module's docstring describes.

    The network is the run's or `model`, the steps are those of the run's training. Trainings run side by side on a CPU,
    `jobs` at once (default: one a core), the images decoded once for all. Each is saved when it is done, so that an
    evaluation that was cut off goes on; rows of other methods and fractions stay. Methods that the run has not the
    scores for are refused before anything is trained. Raises LossprintError.
    """
    run = run if isinstance(run, Run) else open_run(run)
    asked = {**workflow.DEFAULTS, **{k: v for k, v in run.manifest["asked"].items() if k in workflow.DEFAULTS}}
    asked["dataset"] = run.manifest["dataset"].get("source")
    if not asked["dataset"]:
        raise LossprintError(f"expected a run whose images are known, found none named in {run.path}")
    from lossprint.audit import models, train  # torch only once the cheap checks have passed

    models.check_model(model or asked["model"])
    device = train.pick_device(device)
    source = coresets.source_of(run, methods=tuple(methods))
    for method in methods:
        if method not in METHODS or coresets.lacking(source, method):
            coresets.choose(source, Ask(method, fraction=1.0))  # says what is wrong
    samples = _decided(run)
    labels, split = samples["label"].map({name: at for at, name in enumerate(run.classes)}), samples["split"]
    asked_now = {**asked, "model": model or asked["model"]}
    inputs = workflow.inputs_again(
        samples, labels.to_numpy(np.int64), split.to_numpy(str), run.classes, asked_now, quiet
    )
    if not np.isin(inputs.split, ("val", "test")).any():
        raise LossprintError(f"expected validation or test samples to judge on, found none in {run.path}")
    recipe = replace(train.Recipe(), epochs=asked["epochs"]).for_size(len(inputs.rows("train")))
    each = recipe.steps(len(inputs.rows("train")))
    steps = steps or asked["epochs"] * each
    options = {"equal": equal, "at_least": at_least, "one_of_duplicates": one_of_duplicates}
    changed = {name: value for name, value in options.items() if value != getattr(Ask(""), name)}
    about = {
        "model": model or asked["model"],
        "steps": steps,
        "batch": recipe.batch,
        "device": device,
        "epochs": round(steps / each, 2),
        "options": json.dumps(changed) if changed else "",
    }
    wrong = None if truth is None else _wrong(samples, truth)
    before = run.evaluation()
    done = {} if before is None else dict(tuple(before.groupby(["method", "fraction", "seed", "key"], observed=True)))
    trained = {key[3]: rows for key, rows in done.items()}
    todo: dict[str, tuple] = {}
    cells: list[tuple] = []
    subsets = {}
    seeds_of = [asked["seed"] + k for k in range(seeds)]
    choices = [(m, f, s) for f in fractions for m in methods for s in (seeds_of if METHODS[m].chance else [None])]
    style = {"unit": "subset", "desc": "choose", "disable": quiet, **train.bar_style()}
    for method, fraction, seed in tqdm(choices, **style):
        chosen = coresets.choose(source, Ask(method, fraction=fraction, seed=seed or 0, **options))
        rows = np.sort(np.searchsorted(inputs.samples, chosen["sample"].to_numpy()))
        for one in seeds_of if seed is None else [seed]:
            key = _key(inputs, rows, {**about, "seed": one, "size": inputs.size})
            noisy = np.nan if wrong is None else float(wrong[rows].mean())
            cells.append((method, fraction, one, key, len(rows), noisy))
            subsets.setdefault((fraction, method), set(rows.tolist()))
            if key not in trained:
                todo[key] = (rows, one)

    def save() -> pd.DataFrame:
        mine = {(m, f, s, key): (n, noisy) for m, f, s, key, n, noisy in cells}
        tables = [rows for key, rows in done.items() if key not in mine]
        for (method, fraction, seed, key), (n, noisy) in mine.items():
            if key in trained:
                old = done.get((method, fraction, seed, key))
                if np.isnan(noisy) and old is not None:
                    noisy = old["noisy"].iloc[0]
                values = {"method": method, "fraction": fraction, "seed": seed, "train_samples": n, "noisy": noisy}
                tables.append(trained[key].assign(**values))
        if not tables:
            return pd.DataFrame()
        table = pd.concat([one.astype(dict.fromkeys(TEXT, object)) for one in tables], ignore_index=True)
        table = table.sort_values([*CELL, "seed", "label"], kind="stable", ignore_index=True)
        run.write_evaluation(table.astype(dict.fromkeys(TEXT, "category")))
        return table

    if todo:
        jobs = max(1, min(jobs or (1 if device == "cuda" else os.cpu_count() or 1), len(todo)))
        world = {name: about[name] for name in ("model", "steps", "device")}
        world |= {"inputs": inputs, "recipe": recipe, "names": run.classes}
        with tqdm(total=len(todo) * steps, **(style | {"unit": "step", "desc": "evaluate"})) as bar:
            for at, (key, right) in enumerate(_trained(world, todo, jobs, bar)):
                trained[key] = right.assign(**about, key=key)
                bar.set_postfix_str(f"{at + 1} of {len(todo)} trainings")
                save()
    table = save()
    _write_overlap(run, subsets)
    return table


def _decided(run: Run) -> pd.DataFrame:
    """The run's samples by id with the labels as decided, held-out ones that are excluded left out."""
    from lossprint.audit.export import applied

    table = applied(run)
    table = table[(table["change"] != "excluded") | (table["split"] == "train")]
    return table.sort_values("sample", ignore_index=True)


def _wrong(samples: pd.DataFrame, truth: str | Path) -> np.ndarray:
    """Which of the samples have another label than in the truth file (path, true_label), (N,) bool."""
    try:
        told = pd.read_csv(truth, dtype=str, keep_default_na=False).set_index("path")["true_label"]
    except (OSError, ValueError, KeyError) as error:
        raise LossprintError(f"expected columns path,true_label in {truth}, found: {error}") from None
    real = samples["path"].map(told)
    return (real.notna() & (real != samples["label"])).to_numpy(bool)


def _key(inputs, rows: np.ndarray, settings: dict) -> str:
    held_out = np.flatnonzero(np.isin(inputs.split, ("val", "test")))
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    for part in (inputs.samples[rows], inputs.labels[rows], inputs.samples[held_out], inputs.labels[held_out]):
        digest.update(np.ascontiguousarray(part, np.int64).tobytes() + b"|")
    return digest.hexdigest()


# ------------------------------------------------------------------------------------------------- trainings

_WORLD: dict = {}  # what a process trains with, set once


def _trained(world: dict, todo: dict[str, tuple], jobs: int, bar: tqdm):
    """(key, right answers by split and class) of each training, as they are done."""
    if jobs == 1:
        _WORLD.update(world, count=None)
        for key, (rows, seed) in todo.items():
            yield key, _one(rows, seed, bar)
        return
    context = multiprocessing.get_context("spawn")
    count = context.Value("q", 0)
    with tempfile.TemporaryDirectory() as folder:
        inputs = world["inputs"]
        if isinstance(inputs.pixels, np.ndarray):  # one copy in memory, whatever the number of processes
            file = Path(folder) / "pixels.npy"
            np.save(file, inputs.pixels)
            world = world | {"inputs": replace(inputs, pixels=str(file))}
        threads = max(1, (os.cpu_count() or 1) // jobs)
        pool = ProcessPoolExecutor(jobs, context, _begin, (world, count, threads))
        try:
            waiting = {pool.submit(_one, rows, seed): key for key, (rows, seed) in todo.items()}
            while waiting:
                ready, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                bar.update(count.value - bar.n)
                for one in ready:
                    yield waiting.pop(one), one.result()
        except BrokenProcessPool:
            raise LossprintError(
                f"expected {jobs} processes to train side by side, found one of them gone, maybe for want of memory: "
                "what is done is kept; try --jobs 1"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            for process in multiprocessing.active_children():
                process.join()


def _begin(world: dict, count, threads: int) -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process answers it, for all
    torch.set_num_threads(threads)
    if isinstance(world["inputs"].pixels, str):
        pixels = np.load(world["inputs"].pixels, mmap_mode="r", allow_pickle=False)
        world = world | {"inputs": replace(world["inputs"], pixels=pixels)}
    _WORLD.update(world, count=count)


class _Counted:
    """As much of a tqdm as `train.fit` needs: steps counted over all processes."""

    def update(self, steps: int = 1) -> None:
        with _WORLD["count"].get_lock():
            _WORLD["count"].value += steps


def _one(rows: np.ndarray, seed: int, bar=None) -> pd.DataFrame:
    """Train on the rows; split, label, right, of and seconds on what is held out."""
    from lossprint.audit import train

    world, inputs = _WORLD, _WORLD["inputs"]
    began = time.perf_counter()
    network = train.fit(
        inputs,
        rows,
        model=world["model"],
        recipe=world["recipe"],
        steps=world["steps"],
        seed=seed,
        device=world["device"],
        bar=bar or _Counted(),
    )
    held_out = np.flatnonzero(np.isin(inputs.split, ("val", "test")))
    right = train.predict(network, inputs, held_out, world["device"]) == inputs.labels[held_out]
    table = pd.DataFrame({"split": inputs.split[held_out], "label": inputs.labels[held_out], "right": right})
    table = table.groupby(["split", "label"])["right"].agg(right="sum", of="size").reset_index()
    table["label"] = np.array(world["names"], object)[table["label"]]
    return table.assign(seconds=round(time.perf_counter() - began, 2))


# ------------------------------------------------------------------------------------------------- what came of it


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each model, steps, options, split, method and fraction.

    accuracy: mean over the seeds, in [0, 1]; spread: their deviation (n - 1), NaN of one seed; worst, worst_label: the
    class with the lowest mean accuracy; over_random: mean difference to `random` at the same seeds, NaN where that was
    not trained; over_spread: the deviation of those differences; seeds, train_samples, noisy.
    """
    one = table.groupby([*CELL, "seed"], observed=True)
    runs = one.agg(right=("right", "sum"), of=("of", "sum"), size=("train_samples", "first"), noisy=("noisy", "first"))
    runs["accuracy"] = runs["right"] / runs["of"]
    runs = runs.reset_index()
    base = runs[runs["method"] == "random"].drop(columns="method")
    at = [name for name in (*CELL, "seed") if name != "method"]
    runs = runs.merge(base[[*at, "accuracy"]], on=at, how="left", suffixes=("", "_random"))
    runs["over"] = runs["accuracy"] - runs["accuracy_random"]
    found = runs.groupby(CELL, observed=True).agg(
        accuracy=("accuracy", "mean"),
        spread=("accuracy", "std"),
        over_random=("over", "mean"),
        over_spread=("over", "std"),
        seeds=("seed", "nunique"),
        train_samples=("size", "first"),
        noisy=("noisy", "mean"),
    )
    by_class = table.groupby([*CELL, "label"], observed=True).agg(right=("right", "sum"), of=("of", "sum"))
    by_class = (by_class["right"] / by_class["of"]).rename("worst").reset_index()
    worst = by_class.sort_values(["worst", "label"], kind="stable").drop_duplicates(CELL).set_index(CELL)
    worst = worst.rename(columns={"label": "worst_label"})
    return found.join(worst[["worst", "worst_label"]]).reset_index()


def text(table: pd.DataFrame, split: str | None = None) -> str:
    """Accuracy in percent with its deviation, a line a method and a column a fraction, for one split: test if any."""
    found = cells(table)
    split = split or ("test" if (found["split"] == "test").any() else "val")
    lines = []
    for (model, steps, options), mine in found[found["split"] == split].groupby(CELL[:3], observed=True):
        fractions = sorted(mine["fraction"].unique())
        lines.append(f"accuracy on {split}, %: {model}, {steps:,} steps{', ' + options if options else ''}")
        lines.append(" " * 22 + "".join(f"{100 * f:>13.4g} %" for f in fractions))
        mine = mine.set_index(["method", "fraction"])
        for method in dict.fromkeys(mine.index.get_level_values(0)):
            row = ""
            for fraction in fractions:
                if (method, fraction) not in mine.index:
                    row += f"{'':>15}"
                    continue
                one = mine.loc[(method, fraction)]
                spread = "" if np.isnan(one["spread"]) else f" ± {100 * one['spread']:.1f}"
                row += f"{100 * one['accuracy']:.1f}{spread}".rjust(15)
            lines.append(f"{method:22}{row}")
    return "\n".join(lines)


def _write_overlap(run: Run, subsets: dict[tuple[float, str], set[int]]) -> None:
    """Shared samples of each two methods at each fraction, beside those of earlier evaluations."""
    rows = []
    for (fraction, first), mine in subsets.items():
        for (other, second), theirs in subsets.items():
            if other == fraction:
                share = len(mine & theirs) / max(1, min(len(mine), len(theirs)))
                rows.append((fraction, first, second, share))
    new = pd.DataFrame(rows, columns=["fraction", "first", "second", "shared"])
    old = run.overlap()
    if old is not None:
        new = pd.concat([new, old]).drop_duplicates(["fraction", "first", "second"])
    run.write_overlap(new.sort_values(["fraction", "first", "second"], ignore_index=True))
