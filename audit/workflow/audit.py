"""From a dataset to a whole run: what `lossprint audit`, `demo`, `import` and `score` call."""

import functools
import importlib.resources
import secrets
import shutil
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.datasets import kinds
from lossprint.audit.datasets.media import Media
from lossprint.audit.findings import engines
from lossprint.audit.findings.find import find_run
from lossprint.audit.findings.score import score_run
from lossprint.audit.recording.imported import read_losses
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.runs import run as store
from lossprint.audit.runs.mirror import place
from lossprint.audit.system import processes as distributed
from lossprint.audit.system.atomic import writes
from lossprint.audit.system.progress import bar_style
from lossprint.audit.training import stages
from lossprint.audit.types import LossprintError
from lossprint.audit.video import decode

DEFAULTS = {
    "model": "small",
    "epochs": 24,
    "seed": 0,
    "curvature_checkpoints": 10,
    "val_fraction": 0.1,
    "seeds": 1,
    "folds": 0,
    "rate": 1.0,
    "precision": "float32",  # of runs that were not asked
}
# Of video frames: neighbouring ones repeat each other, and what is found in a video comes from networks without it.
FRAME_DEFAULTS = {"epochs": 12, "folds": 4}


@writes("out")
def audit(
    dataset: str,
    out: str | Path,
    *,
    model: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    device: str = "auto",
    curvature_checkpoints: int | None = None,
    val_fraction: float | None = None,
    seeds: int | None = None,
    folds: int | None = None,
    rate: float | None = None,
    precision: str | None = None,
    compiled: bool = False,
    resume: bool = False,
    quiet: bool = False,
) -> store.Run:
    """Record, measure curvature, embed, score and find. None stands for the default, or on resume for what was asked.

    `seeds` trainings with the seeds that follow make the ranking of label errors steadier, `folds` of two and more rank
    it by out-of-fold losses. `rate` is of videos: frames a second, see `video`. A stage that is done is not done again;
    a run killed in any of them goes on with `resume`, to the same bytes.

    `precision` is that of training and recording: float32, bfloat16 or auto, which is bfloat16 on a GPU that has it.
    Curvature is always measured in float32. `compiled` uses torch.compile for both.

    In several processes (torch.distributed), as many as there are now, they train, record and measure together, see
    `train`; rank 0 alone embeds, scores and finds, and the others return the run as far as they have seen it.
    """
    out = place(out, write=True)
    world = distributed.opened()
    quiet = quiet or world.rank > 0
    given = {
        "dataset": absolute(dataset),
        "model": model,
        "epochs": epochs,
        "seed": seed,
        "curvature_checkpoints": curvature_checkpoints,
        "val_fraction": val_fraction,
        "seeds": seeds,
        "folds": folds,
        "precision": None if precision == "auto" else precision,
        **decode.asked(dataset, rate),
    }
    asked = _asked(Path(out), given, resume)
    _refuse_texts(dataset, kinds.kind_of(dataset).media)
    from lossprint.audit.training import (
        models,  # torch only once the cheap checks have passed
        train,
    )

    models.check_model(asked["model"])
    device = train.pick_device(device)
    if resume and (Path(out) / "run.json").is_file():
        run = store.open_run(out, need=None)
        if run.stages == list(store.STAGES):
            return run
    else:
        asked["precision"] = train.pick_precision(precision, device)
    source = world.in_turn("videos", lambda: decode.prepared(asked["dataset"], out, asked.get("rate"), quiet))
    loaded, size = load({**asked, "dataset": source}, quiet)
    _refuse_texts(dataset, loaded.dataset.media)
    asked = settled(asked, loaded.dataset.samples)
    refuse_inside(Path(out), loaded.dataset)
    models.build_model(asked["model"], len(loaded.dataset.classes), size)  # one that does not fit leaves no run behind
    recorder = Recorder(out, loaded.dataset, asked=asked, seed=asked["seed"], resume=resume)
    inputs = inputs_of(loaded, size).on(device)
    run = recorder.run
    if "record" not in run.stages:
        began = time.perf_counter()
        options = {name: asked[name] for name in ("model", "epochs", "seed")} | {"device": device, "quiet": quiet}
        options |= {"precision": asked["precision"], "compiled": compiled}
        train.train(recorder, inputs, **options)
        train.train_members(recorder, inputs, seeds=asked["seeds"], folds=asked["folds"], **options)
        run = recorder.finish(
            seconds=round(time.perf_counter() - began, 2),
            device=device,
            size=size,
            mean=inputs.mean.tolist(),
            std=inputs.std.tolist(),
            processes=world.size,
            compiled=compiled,
        )
    if world.rank == 0:
        run.drop_state()
    if "curvature" not in run.stages:
        run = _measure_curvature(run, inputs, asked, device, quiet)
    if world.rank > 0:
        return run
    if "embed" not in run.stages:
        run = _embed(run, inputs, loaded, asked, device, quiet)
    return find_run(score_run(run))


def audit_demo(out: str | Path, quiet: bool = False) -> store.Run:
    """Audit the embedded demo dataset; a run that is there already is continued, or used as it is."""
    demo = importlib.resources.files("lossprint.assets") / "demo" / "labels.csv"
    return audit(str(demo), out, resume=True, quiet=quiet)


def audit_video_demo(
    out: str | Path, quiet: bool = False, *, sequences: int = 24, length: int = 200, epochs: int | None = None
) -> store.Run:
    """Audit made-up videos with planted errors; a run that is there already is continued, or used as it is.

    `sequences` videos of about `length` frames each, and their manifest, are made in OUT-frames, beside the run.
    """
    from lossprint.audit.workflow.procedural import make_videos

    out = Path(out)
    videos = out.absolute().with_name(f"{out.absolute().name}-frames")
    if not (out / "run.json").exists() and not videos.exists():
        part = videos.with_name(f".{videos.name}.{secrets.token_hex(4)}.unfinished")
        try:
            make_videos(part, sequences=sequences, length=length)
            part.rename(videos)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return audit(str(videos / "labels.csv"), out, epochs=epochs, resume=True, quiet=quiet)


@writes("out")
def import_losses(
    losses: str | Path, dataset: str, out: str | Path, quiet: bool = False, task: str = "classes"
) -> store.Run:
    """A run from losses of `task` that the user recorded: all but curvature, embedding and what rests on them."""
    out = place(out, write=True)
    if (Path(out) / "run.json").exists():
        raise LossprintError(f"expected a new folder for the run, found a run at {out}: choose another --out")
    loaded, _ = load({"dataset": dataset, "model": "small", "val_fraction": 0.1, "seed": 0, "task": task}, quiet)
    parts = read_losses(losses, loaded.dataset.samples, loaded.dataset.classes, loaded.dataset.task)
    asked = {"dataset": absolute(dataset), "losses": absolute(losses)}
    recorder = Recorder(out, loaded.dataset, recording="imported", asked=asked, task=loaded.dataset.task)
    for split, checkpoint, table in sorted(parts, key=lambda part: (part[0], part[1])):
        recorder.run.write_part(split, checkpoint, table)
    run = recorder.finish()
    stages.write_duplicates(run, loaded, None)
    return find_run(score_run(run))


@writes("path")
def score(
    path: str | Path,
    engine: str = "local",
    memory: float | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> store.Run:
    """Score and find again from what is recorded. In a Recorder's run, look for duplicates the first time.

    `engine` is local or ray, `memory` the bytes that each process may take for scoring, `workers` the processes that
    Ray starts on this machine. See `engines` and `score_run`.
    """
    engines.check(engine, workers)
    path = place(path, write=True)
    run = store.open_run(path, need="record")
    if store.unmeasured(run):
        raise LossprintError(f"expected a whole run, found one half written at {path}: {store.how_far(run)}")
    if not run.has_duplicates() and run.manifest["dataset"].get("source"):
        _look_for_duplicates(run)
    with engines.start(engine, workers) as started:
        run = score_run(run, started, memory, quiet)
    return find_run(run)


def _look_for_duplicates(run: store.Run) -> None:
    """Duplicates among the images of a run whose losses came from the user's own loop, if they are still there."""
    try:
        loaded, _ = load({**DEFAULTS, "dataset": run.manifest["dataset"]["source"], "task": run.task}, quiet=True)
    except LossprintError as error:
        warnings.warn(f"duplicates were not looked for: {error}", stacklevel=3)
        return
    stages.write_duplicates(run, loaded, None)


# ---------------------------------------------------------------------------------------------- stages


def _measure_curvature(run: store.Run, inputs, asked: dict, device: str, quiet: bool) -> store.Run:
    """Curvature of the training samples at K checkpoints spread over training, one file each and process."""
    from lossprint.audit.training import models, train

    began, epochs = time.perf_counter(), asked["epochs"]
    checkpoints = stages.spread(range(1, epochs + 1), asked["curvature_checkpoints"])
    rows = inputs.rows("train")
    network = models.build_model(asked["model"], inputs.classes, inputs.size).to(device)
    world = distributed.world()
    todo = [checkpoint for checkpoint in checkpoints if checkpoint not in run.curvature_recorded()]
    with world.agreed(f"curvature of {todo}"[:80]):
        pass  # all have seen what is there before anything is added
    with tqdm(total=len(todo) * len(rows), unit="img", desc="curvature", disable=quiet, **bar_style()) as bar:
        for checkpoint in todo:
            train.load_weights(network, run.read_checkpoint(checkpoint))
            batches = _counted(inputs.batches(rows, device, world=world), bar, world.size)
            measured = stages.curvature_at(checkpoint, network, batches, asked["seed"], device)
            write = functools.partial(run.write_curvature, checkpoint, measured, world.rank)
            world.first_last(f"curvature of {checkpoint}", write)
    if world.rank > 0:
        return run
    draws = stages.DRAWS if checkpoints else 0
    return run.finish("curvature", seconds=round(time.perf_counter() - began, 2), checkpoints=checkpoints, draws=draws)


def _counted(batches, bar, processes: int):
    """The same batches, each told to the progress bar once it has been worked on, and with it those of the others."""
    for batch in batches:
        yield batch
        bar.update(min(len(batch[0]) * processes, bar.total - bar.n))


def _embed(run: store.Run, inputs, loaded: datasets.Loaded, asked: dict, device: str, quiet: bool) -> store.Run:
    """The last checkpoint's embedding of every sample, the duplicates among them, and videos looked at over time."""
    from lossprint.audit.training import models, train

    began = time.perf_counter()
    network = models.build_model(asked["model"], inputs.classes, inputs.size).to(device)
    train.load_weights(network, run.read_checkpoint(asked["epochs"]))
    vectors = train.embed(network, inputs, device)
    run.write_embeddings(inputs.samples, vectors)
    stages.write_duplicates(run, loaded, vectors)
    frame = loaded.dataset.samples["frame"]
    if inputs.sequence is not None and asked["folds"] and frame[inputs.sequence != ""].notna().all():
        from lossprint.audit.video import timeline

        timeline.write(run, inputs, frame.fillna(-1).to_numpy(np.int64), stages.thumbs(loaded), asked, device, quiet)
    return run.finish("embed", seconds=round(time.perf_counter() - began, 2), dimensions=vectors.shape[1])


# ---------------------------------------------------------------------------------------------- data


def load(asked: dict, quiet: bool) -> tuple[datasets.Loaded, int]:
    """Open and decode the dataset once; the side in pixels at which the network sees it, 0 of texts."""
    task = asked.get("task", "classes")
    dataset = datasets.open_dataset(asked["dataset"], asked["val_fraction"], asked["seed"], check=False, task=task)
    if not dataset.media.trained:
        return datasets.load(dataset), 0
    from lossprint.audit.training.models import proxy_size

    sides = datasets.image_sizes(dataset, at_most=1000)
    size = proxy_size(asked["model"], int(np.median(sides.max(axis=1)))) if len(sides) else 28
    return stages.decoded(dataset, size, quiet), size


def _refuse_texts(dataset: str, media: Media) -> None:
    if not media.trained:
        raise LossprintError(
            f"expected images to train on, found texts in {dataset}, for which there is no training built in: record "
            "the losses in your own loop with Recorder(RUN, DATASET) and `lossprint score RUN`, or `lossprint import` "
            "them; see docs/howto/datasets.md"
        )


def refuse_inside(out: Path, dataset: datasets.Dataset) -> None:
    """A run among the class folders would be read as one of them the next time, beside tars they would not be found."""
    whole = dataset.source == str(dataset.root) and dataset.kind in ("folder", "webdataset")
    if whole and out.resolve().is_relative_to(dataset.root.resolve()):
        raise LossprintError(f"expected a place outside the dataset's folder {dataset.root} for the run, found {out}")


def inputs_of(loaded: datasets.Loaded, size: int):
    """What the training takes: ids, class indices, splits and pixels, with the channels' statistics of `train`."""
    samples, classes = loaded.dataset.samples, loaded.dataset.classes
    labels = samples["label"].map({label: i for i, label in enumerate(classes)}).to_numpy(np.int64)
    sequence = samples["sequence"].fillna("").to_numpy(str) if samples["sequence"].notna().any() else None
    return _inputs(loaded, size, labels, samples["split"].to_numpy(str), classes, sequence)


def _inputs(loaded: datasets.Loaded, size: int, labels: np.ndarray, split: np.ndarray, classes: list[str], sequence):
    from lossprint.audit.training import train

    ids = loaded.dataset.samples["sample"].to_numpy(np.int64)
    pixels = loaded.pixels if loaded.pixels is not None else datasets.ImageStream(loaded.dataset, size)
    mean, std = train.channel_statistics(pixels, np.flatnonzero(split == "train"))
    return train.Inputs(ids, labels, split, pixels, size, mean, std, len(classes), sequence)


def inputs_again(
    samples: pd.DataFrame, labels: np.ndarray, split: np.ndarray, classes: list[str], asked: dict, quiet: bool
):
    """The images of a run's samples, ordered by id, decoded anew, with the given class indices and splits (N,).

    Raises LossprintError where the dataset at `asked["dataset"]` has not all of them any more, or others.
    """
    loaded, size = load(asked, quiet)
    _refuse_texts(asked["dataset"], loaded.dataset.media)
    there = loaded.dataset.samples
    ids = samples["sample"].to_numpy(np.int64)
    at = pd.Index(there["sample"]).get_indexer(ids)
    if (at < 0).any():
        raise LossprintError(
            f"expected the {len(ids):,} images of the run in {asked['dataset']}, found {int((at < 0).sum()):,} missing "
            f"or unreadable, such as {samples['path'][at < 0].iloc[0]!r}"
        )
    moved = there["path"].to_numpy(str)[at] != samples["path"].to_numpy(str)
    if moved.any():
        raise LossprintError(
            f"expected the dataset that the run was made of, found other images in {asked['dataset']}, such as "
            f"{there['path'].iloc[at[moved][0]]!r} for {samples['path'][moved].iloc[0]!r}"
        )
    if len(at) < len(there):  # images that could not be read when the run was made
        dataset = replace(loaded.dataset, samples=there.iloc[at].reset_index(drop=True))
        loaded = replace(loaded, dataset=dataset, pixels=None if loaded.pixels is None else loaded.pixels[at])
    return _inputs(loaded, size, labels, split, classes, None)


# ---------------------------------------------------------------------------------------------- what was asked


def _asked(out: Path, given: dict, resume: bool) -> dict:
    """What this run is to do; on resume what it was begun with, which the options given now must not contradict."""
    if (out / "run.json").is_file() and resume:
        before = store.open_run(out, need=None).manifest["asked"]
        if "epochs" not in before:
            made = "of imported losses" if "losses" in before else "recorded by a Recorder in another loop"
            made = "recorded from saved checkpoints" if "checkpoints" in before else made
            raise LossprintError(f"expected a run made by audit, found one {made} at {out}: choose another --out")
        before = {**DEFAULTS, **before}  # what a run of an earlier version could not be asked
        stages.refuse_changed(out, before, given, {"dataset": "the dataset"})
        return before
    if (out / "run.json").is_file():
        raise stages.begun(out)
    chosen = {name: DEFAULTS.get(name) for name in given if name not in FRAME_DEFAULTS}
    return chosen | {name: value for name, value in given.items() if value is not None or name in FRAME_DEFAULTS}


def settled(asked: dict, samples: pd.DataFrame) -> dict:
    """What is asked, with the defaults that depend on whether the samples are frames of several videos."""
    names = samples.loc[(samples["split"] == "train") & samples["sequence"].notna(), "sequence"]
    defaults = DEFAULTS
    if (videos := names.nunique()) > 1:
        defaults = FRAME_DEFAULTS | {"folds": min(FRAME_DEFAULTS["folds"], videos)}
    return {name: defaults[name] if value is None and name in defaults else value for name, value in asked.items()}


def absolute(source: str | Path) -> str:
    """A DATASET as run.json names it."""
    return kinds.absolute(source)
