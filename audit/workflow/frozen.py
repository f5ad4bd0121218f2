"""An audit on frozen features: one pass over the images, or a file of features, then heads in place of a training.

Features and duplicates come first, since folds keep copies together. A run that was cut off while it recorded begins
anew; what follows goes on where it was.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.findings.duplicates import write_duplicates
from lossprint.audit.findings.find import find_run
from lossprint.audit.findings.quality import write_quality
from lossprint.audit.findings.score import score_run
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.runs.run import Run
from lossprint.audit.system import processes
from lossprint.audit.system.progress import Bar
from lossprint.audit.training import backbones, heads
from lossprint.audit.training.feature_files import read_features
from lossprint.audit.training.loading import FROZEN_DEFAULTS
from lossprint.audit.training.names import FEATURES, SENTENCES, VIEW, parts
from lossprint.audit.types import LossprintError
from lossprint.audit.video import videos
from lossprint.audit.workflow import feature_cache, sentences
from lossprint.audit.workflow.stages import Work
from lossprint.scoring.duplicates import components
from lossprint.scoring.heads import folds

LEFT_OUT = "not measured on frozen features: it is of the image, and would cost backward passes through the backbone"


@dataclass(frozen=True, eq=False)
class Source:
    """Where features come from: `vectors` gives them (N, d), float32 or float16, `facts` are for run.json."""

    vectors: Callable[[Work], np.ndarray]
    facts: dict


def refuse_more(asked: dict, compiled: bool) -> None:
    """Raise LossprintError for what does not go with a frozen backbone, and for a backbone that there is not."""
    model = asked["model"]
    trained, backbone = parts(model)
    if not trained and (count := asked["curvature_checkpoints"]) not in (None, 0):
        raise LossprintError(
            f"expected no --curvature-checkpoints with {model}, found --curvature-checkpoints {count}: {LEFT_OUT}"
        )
    if compiled and not trained:
        raise LossprintError(f"expected no --compile with {model}, found one: nothing is trained but a linear head")
    if (world := processes.world()).size > 1:
        raise LossprintError(f"expected one process for {model}, found {world.size}: start it without torchrun")
    if backbone.startswith(SENTENCES):
        if asked.get("weights") is not None:
            raise LossprintError(f"expected no --weights with {model}, which has its own, found {asked['weights']}")
    elif backbone != FEATURES:
        backbones.check_backbone(backbone, asked.get("weights"))


def open_source(asked: dict, dataset: datasets.Dataset, download: bool, quiet: bool) -> Source:
    """The backbone tried on an image, or the features read; LossprintError for what is wrong with either."""
    name = parts(asked["model"])[1]
    if name == FEATURES:
        vectors = read_features(asked["features"], dataset)
        return Source(lambda _: vectors, {"backbone": FEATURES, "features": asked["features"]})
    if name.startswith(SENTENCES):
        return _of_sentences(name, dataset, download)
    backbone = backbones.open_backbone(name, len(dataset.classes), asked.get("weights"), download, quiet)
    made = backbones.made_for(backbone, dataset)

    def look(work: Work) -> np.ndarray:
        half, first = asked["precision"] == "bfloat16", feature_cache.of_first(backbone.module, made.one(0))
        store = feature_cache.Store(
            feature_cache.key_of(backbone.name, backbone.module, backbone.facts, half, dataset.view)
        )
        with work.bar(len(made.paths), "features") as bar:

            def make(rows: np.ndarray) -> np.ndarray:
                return backbones.features(backbone, made, work.device, half, bar, rows)

            return store.fill(work.loaded.digests.tolist(), first, make, bar)

    return Source(look, {"backbone": backbone.name, **backbone.facts})


def _of_sentences(name: str, dataset: datasets.Dataset, download: bool) -> Source:
    if dataset.media.trained:
        raise LossprintError(f"expected texts for {name}, found images in {dataset.source}")
    encoder = sentences.open_encoder(name, download=download)

    def look(work: Work) -> np.ndarray:
        texts = [dataset.origin.read(path) for path in dataset.samples["path"]]
        with work.bar(len(texts), "encode") as bar:
            return sentences.encoded(encoder, texts, bar)

    return Source(look, {"backbone": name})


def record(recorder: Recorder, work: Work, source: Source) -> Run:
    """Features, duplicates, the recorded head and the ranking, from the start: a run without a network."""
    facts = _recorded(recorder, recorder.run, work, source, work.asked["epochs"])
    return recorder.finish(device=work.device, **facts)


def record_view(recorder: Recorder, work: Work, source: Source) -> dict:
    """The same beside a training that is recorded, its head as the member `VIEW` of the run; facts for run.json."""
    return _recorded(recorder.member(VIEW), recorder.run, work, source, FROZEN_DEFAULTS["epochs"], members=False)


def _recorded(recorder: Recorder, run: Run, work: Work, source: Source, epochs: int, members: bool = True) -> dict:
    """Record the head by `recorder` and leave features, duplicates and the ranking in the run; facts for run.json."""
    began, inputs = time.perf_counter(), work.inputs
    recorder.rewind(0)
    vectors = source.vectors(work)
    run.write_embeddings(inputs.samples, vectors)
    write_duplicates(run, work.loaded, vectors.astype(np.float32, copy=False))
    write_quality(run, work.loaded)
    seconds = round(time.perf_counter() - began, 2)
    options = {"epochs": epochs, "device": work.device, "members": members}
    options |= {name: work.asked[name] or usual for name, usual in (("seed", 0), ("seeds", 1), ("folds", 0))}
    total = epochs * (options["seeds"] + bool(options["folds"]))
    with Bar(total=total, unit="epoch", desc="head", disable=work.quiet) as bar:
        ranking, facts = heads.train(recorder, vectors, inputs, _groups(run, work), bar=bar, **options)
    run.write_head(ranking)
    videos.look(run, work, vectors.astype(np.float32, copy=False) if inputs.sequence is not None else vectors)
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "features_seconds": seconds,
        "dimensions": vectors.shape[1],
        **source.facts,
        **facts,
    }


def _groups(run: Run, work: Work) -> np.ndarray:
    """The group (N,) of each sample, whose members are never in two folds: copies, frames, and by a column."""
    ids, pairs = work.inputs.samples, run.duplicates()
    first, second = (np.searchsorted(ids, pairs[name].to_numpy(np.int64)) for name in ("sample", "partner"))
    columns = [components(first, second, len(ids))]
    if work.inputs.sequence is not None:
        columns.append(work.inputs.sequence)
    if work.inputs.group is not None:
        columns.append(work.inputs.group)
    return folds.joined(*columns)


def finished(run: Run) -> Run:
    """A recorded run, made whole. A stage that is done is not done again."""
    if "curvature" not in run.stages:
        run = run.finish("curvature", seconds=0.0, checkpoints=[], draws=0, skipped=LEFT_OUT)
    if "embed" not in run.stages:
        run = run.finish("embed", seconds=0.0, dimensions=run.manifest["facts"]["record"]["dimensions"])
    return find_run(score_run(run))
