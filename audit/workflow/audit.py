"""`lossprint audit`: from a dataset to a whole run, through a training of its own."""

import sys
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import pandas as pd

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.datasets import kinds
from lossprint.audit.datasets.choices import Choices
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.runs.open import open_run, refuse_changed, refuse_run
from lossprint.audit.runs.run import STAGES, Run
from lossprint.audit.system import processes
from lossprint.audit.system.locks import writes
from lossprint.audit.system.urls import local
from lossprint.audit.training.loading import DEFAULTS, FROZEN_DEFAULTS, inputs_of, load, refuse_texts
from lossprint.audit.training.names import AUTO, FEATURES, FROZEN, SENTENCES, SMALL, parts, trained_of
from lossprint.audit.types import LossprintError
from lossprint.audit.video import decode

CHOICES = [field.name for field in fields(Choices)]
# Of video frames: neighbouring ones repeat each other, and what is found in a video comes from networks without it.
FRAME_DEFAULTS = {"epochs": 12, "folds": 4}
FILES = ("weights", "features")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be asked of an audit. None stands for the default, or on resume for what was asked before.

    `seeds` trainings with the seeds that follow make the ranking of label errors steadier, `folds` of two and more rank
    it by out-of-fold losses. `rate` is of videos: frames a second, see `video`. `precision` is that of training and
    recording: float32, bfloat16 or auto, which is bfloat16 on a GPU that has it. Curvature is always measured in
    float32. `near_similarity` says how alike near duplicates are, see `scoring.near.copies`. `min_per_class` to
    `group_by` are the `choices` of the dataset. `compiled` uses torch.compile for both; `device` is auto, cpu or cuda.

    A model `frozen:NAME` is a pretrained backbone, see `training.backbones`; `weights` is a file of its weights,
    `download` lets torchvision fetch them. `features` is a file of features instead, see `training.feature_files`.
    `small+frozen:NAME`, or small with features, trains as well and combines both views of the samples. The default,
    auto, chooses by what is at hand, see `auto`.
    """

    model: str | None = None
    epochs: int | None = None
    seed: int | None = None
    curvature_checkpoints: int | None = None
    val_fraction: float | None = None
    seeds: int | None = None
    folds: int | None = None
    precision: str | None = None
    rate: float | None = None
    weights: str | Path | None = None
    features: str | Path | None = None
    min_per_class: int | None = None
    allow_lost_classes: bool | None = None
    follow_links: bool | None = None
    normalise_labels: bool | None = None
    allow_truncated: bool | None = None
    max_pixels: int | None = None
    root: str | None = None
    path_column: str | None = None
    label_column: str | None = None
    no_images: bool | None = None
    exclude: str | None = None
    near_similarity: float | None = None
    group_by: str | None = None
    compiled: bool = False
    download: bool = False
    device: str = "auto"

    def of(self, dataset: str) -> dict:
        """What run.json keeps of them."""
        options = asdict(self) | {"precision": None if self.precision == "auto" else self.precision}
        unsaid = (name for name in (*CHOICES, "near_similarity") if options[name] is None)
        for name in ("rate", "weights", "features", "compiled", "download", "device", *unsaid):
            options.pop(name)
        options |= {name: str(Path(file).absolute()) for name in FILES if (file := getattr(self, name)) is not None}
        if self.features is not None and (self.model is None or parts(self.model)[1] is None):
            options["model"] = {None: FEATURES, AUTO: AUTO}.get(self.model, f"{self.model}+{FEATURES}")
        return {"dataset": kinds.absolute(dataset), **options, **decode.asked(dataset, self.rate)}


@writes(lambda dataset, out, **_: out)
def audit(dataset: str, out: str | Path, *, resume=False, quiet=False, consent=None, **options) -> Run:
    """Record, measure curvature, embed, score and find. `options` are those of `Options`.

    consent: a function, asked with a question whether weights may be downloaded; without one nobody is asked.

    A stage that is done is not done again; a run killed in any of them goes on with `resume`, to the same bytes.

    In several processes (torch.distributed), as many as there are now, they train, record and measure together, see
    `train`; rank 0 alone embeds, scores and finds, and the others return the run as far as they have seen it.
    """
    out, world, options = local(out), processes.opened(), Options(**options)
    quiet = quiet or world.rank > 0
    asked = _asked(out, options.of(dataset), resume)
    _refuse_mixed(asked, options.download)
    _refuse_media(dataset, kinds.kind_of(dataset).media, asked["model"])
    from lossprint.audit.training import models, train  # torch only once the cheap checks have passed
    from lossprint.audit.workflow import auto, frozen, stages

    if by_itself := asked["model"] == AUTO:
        asked["model"] = auto.proposed(asked, options.download, consent, world.size > 1)
    trained, backbone = parts(asked["model"])
    if backbone:
        frozen.refuse_more(asked, options.compiled)
    if trained:
        models.check_model(trained)
    device = train.pick_device(options.device)
    if not (out / "run.json").is_file():
        asked["precision"] = train.pick_precision(options.precision, device)
    elif (run := open_run(out, need=None)).stages == list(STAGES):
        return run
    source = world.in_turn("videos", lambda: decode.prepared(asked["dataset"], out, asked.get("rate"), quiet))
    loaded, size = load({**asked, "dataset": source}, quiet)
    _refuse_media(dataset, loaded.dataset.media, asked["model"])
    if not loaded.dataset.media.trained and len(loaded.dataset.classes) < 2:
        raise LossprintError(
            f"expected texts with a column label of at least two classes in {dataset}, found "
            f"{len(loaded.dataset.classes)}: a head on frozen features needs them"
        )
    asked = _settled(asked, loaded.dataset.samples)
    refuse_inside(out, loaded.dataset)
    if by_itself:
        asked = auto.settled(asked, asdict(options), loaded.dataset)
        trained, backbone = parts(asked["model"])
    # A network or a backbone that does not fit leaves no run behind.
    if trained:
        models.build_model(trained, len(loaded.dataset.classes), size)
    done = (out / "run.json").is_file() and "record" in open_run(out, need=None).stages
    look = None
    if backbone and not done:
        try:
            look = frozen.open_source(asked, loaded.dataset, options.download, quiet)
        except LossprintError as error:
            if not by_itself or options.weights or options.features or options.download:
                raise
            print(f"lossprint: trains small alone, since of {backbone}: {error}", file=sys.stderr)
            asked["model"], trained = SMALL, SMALL
    recorder = Recorder(out, loaded.dataset, asked=asked, seed=asked["seed"], resume=resume)
    if by_itself and not quiet:
        auto.hint(backbone, loaded.dataset)
    inputs = inputs_of(loaded, size)
    work = stages.Work(asked | {"model": trained_of(asked["model"])}, inputs, loaded, device, quiet)
    if not trained:
        return frozen.finished(recorder.run if done else frozen.record(recorder, work, look))
    work = replace(work, inputs=inputs.on(device))
    run = recorder.run if done else _train(recorder, work, options.compiled, look)
    if world.rank == 0:
        run.drop_state()
    return stages.finished(run, stages.OwnNetworks(run, work), work)


def _train(recorder: Recorder, work, compiled: bool, look) -> Run:
    """The run's own training and the further ones beside it, recorded as they go, and a backbone's view if there is
    one, a `frozen.Source`."""
    from lossprint.audit.training import train
    from lossprint.audit.workflow import frozen

    began, asked, inputs = time.perf_counter(), work.asked, work.inputs
    options = {name: asked[name] for name in ("model", "epochs", "seed", "precision")}
    options |= {"device": work.device, "quiet": work.quiet, "compiled": compiled}
    train.train(recorder, inputs, **options)
    train.train_members(recorder, inputs, seeds=asked["seeds"], folds=asked["folds"], **options)
    more = {"frozen": frozen.record_view(recorder, work, look)} if look else {}
    return recorder.finish(
        seconds=round(time.perf_counter() - began, 2),
        device=work.device,
        size=inputs.size,
        mean=inputs.mean.tolist(),
        std=inputs.std.tolist(),
        processes=processes.world().size,
        compiled=compiled,
        **more,
    )


def refuse_inside(out: Path, dataset: datasets.Dataset) -> None:
    """A run among the class folders would be read as one of them the next time, beside tars they would not be found."""
    whole = dataset.source == str(dataset.root) and dataset.kind in ("folder", "webdataset")
    if whole and out.resolve().is_relative_to(dataset.root.resolve()):
        raise LossprintError(f"expected a place outside the dataset's folder {dataset.root} for the run, found {out}")


def _asked(out: Path, options: dict, resume: bool) -> dict:
    """What this run is to do; on resume what it was begun with, which the options now must not contradict."""
    if not (out / "run.json").is_file():
        if (options["model"] or "").startswith(FROZEN):
            defaults = DEFAULTS | FROZEN_DEFAULTS
            return {name: defaults.get(name) if value is None else value for name, value in options.items()}
        chosen = {name: DEFAULTS.get(name) for name in options if name not in FRAME_DEFAULTS}
        chosen["model"] = AUTO
        return chosen | {name: value for name, value in options.items() if value is not None or name in FRAME_DEFAULTS}
    if not resume:
        refuse_run(out, resumable=True)
    before = open_run(out, need=None).manifest["asked"]
    if "epochs" not in before:
        maker = "of imported losses" if "losses" in before else "recorded by a Recorder in another loop"
        maker = "recorded from saved checkpoints" if "checkpoints" in before else maker
        raise LossprintError(f"expected a run made by audit, found one {maker} at {out}: choose another --out")
    options = options | {"model": None} if options["model"] == AUTO else options
    before = {**DEFAULTS, **before}  # what a run of an earlier version could not be asked
    refuse_changed(out, before, options, {"dataset": "the dataset"})
    return before


def _refuse_media(dataset: str, media, model: str) -> None:
    """Raise LossprintError for texts that would be trained on, or seen by a backbone of images."""
    trained, backbone = parts(model)
    if trained or not (backbone == FEATURES or backbone.startswith(SENTENCES)):
        refuse_texts(dataset, media)


def _refuse_mixed(asked: dict, download: bool) -> None:
    """Raise LossprintError where files of weights or features are asked of a model that takes none."""
    model, features = asked["model"], asked.get("features")
    if model == AUTO:
        return
    backbone = parts(model)[1]
    if features is not None and backbone != FEATURES:
        raise LossprintError(f"expected --features without --model, found --model {model}: it has features of its own")
    if features is None and backbone == FEATURES:
        raise LossprintError(f"expected --features FILE with --model {model}, found none")
    for option, there in (("--weights", asked.get("weights") is not None), ("--download", download)):
        if there and (features is not None or backbone is None):
            raise LossprintError(f"expected {option} beside --model {FROZEN}NAME, found it beside {model}")


def _settled(asked: dict, samples: pd.DataFrame) -> dict:
    """What is asked, with the defaults that depend on whether the samples are frames of several videos."""
    names = samples.loc[(samples["split"] == "train") & samples["sequence"].notna(), "sequence"]
    defaults = DEFAULTS
    if (videos := names.nunique()) > 1:
        defaults = FRAME_DEFAULTS | {"folds": min(FRAME_DEFAULTS["folds"], videos)}
    return {name: defaults[name] if value is None and name in defaults else value for name, value in asked.items()}
