"""`lossprint record`: the loss trajectories of a training that is over, from the checkpoints that it left.

The network at each of them looks at every sample of train, val and test, in eval mode and without augmentation, as a
Recorder would have done in the training; then a run goes on as an audit does. The weights stay where they are: a run
folder holds no copy of them. A run that was cut off goes on after its last whole checkpoint, to the same bytes.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.datasets import kinds
from lossprint.audit.datasets.choices import Choices
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.runs.open import open_run, refuse_changed, refuse_others, refuse_run
from lossprint.audit.runs.run import STAGES, Run
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.system.locks import writes
from lossprint.audit.training import checkpoints as files
from lossprint.audit.training import loading
from lossprint.audit.types import LossprintError, one_line
from lossprint.audit.workflow.audit import refuse_inside

DEFAULTS = {"curvature_checkpoints": 10, "val_fraction": 0.1, "seed": 0}
LARGEST = 224  # px, side of images that a network of the user's own gets, unless --size says otherwise
TRIED = 512  # training images on which the last checkpoint is tried out


@writes(lambda checkpoints, model, dataset, out, **_: out)
def record(
    checkpoints: str | Path,
    model: str,
    dataset: str,
    out: str | Path,
    *,
    size: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    batch: int | None = None,
    device: str = "auto",
    val_fraction: float | None = None,
    curvature_checkpoints: int | None = None,
    classes: str | Path | None = None,
    weights: str | None = None,
    resume: bool = False,
    quiet: bool = False,
    say: Callable[[str], None] = lambda line: None,
    **choices,
) -> Run:
    """Record every sample at each checkpoint of a folder, measure curvature, embed, score and find.

    `checkpoints`, see `checkpoints.find_checkpoints`; `model`, see `networks.find_builder`. Without a transform of the
    user's own, images are made square at `size` and each channel, in [0, 1], is normalised by `mean` and `std`, by
    default those of the training split; both must be as they were in training. `classes` is a file with the order of
    the classes in the logits, sorted by default; `weights` names one of several sets of weights in a file. Curvature is
    measured at `curvature_checkpoints` of them, spread evenly, by default 10, as in an audit. None stands for the
    default, or on resume for what was asked. `say` gets each thing that the user should know before it takes long.
    `choices` are those of `datasets.choices`.
    """
    saved, notes = files.find_checkpoints(checkpoints)
    options = {
        "dataset": kinds.absolute(dataset),
        "checkpoints": str(Path(checkpoints).expanduser().absolute()),
        "network" if ":" in model else "model": model,
        "size": size,
        "mean": None if mean is None else list(mean),
        "std": None if std is None else list(std),
        "batch": batch,
        "val_fraction": val_fraction,
        "curvature_checkpoints": curvature_checkpoints,
        "classes": None if classes is None else read_classes(classes),
        "weights": weights,
        **{name: value for name, value in choices.items() if value is not None},
    }
    out = Path(out)
    asked = _asked(out, options, saved, resume)
    from lossprint.audit.training import networks, train
    from lossprint.audit.workflow import stages

    build, device = networks.find_builder(model), train.pick_device(device)  # what is cheap to find out comes first
    run = open_run(out, need=None) if (out / "run.json").is_file() else None
    todo = [one for one in saved if run is None or one.number not in run.recorded("train")]
    if run is not None and not todo and run.stages == list(STAGES):
        return run
    if run is None:
        refuse_others(out)
    images = opened(asked, out)
    order = order_of(asked["classes"], images.classes)
    network, side = built(build, model, images, asked)
    own = SavedNetworks(saved, network.module, asked["weights"])
    for one in todo:
        own.read(one)  # a damaged file, or one of another network, is found now
    loaded, inputs = inputs_for(images, network, model, side, order, asked, device, quiet)
    work = stages.Work(asked, inputs, loaded, device, quiet)
    own, accuracy, more = _tried_out(replace(own, module=network.module.to(device)), model, work)
    notes = [*notes, *_notes(images, network, inputs, asked), *more]
    for note in notes:
        say(note)
    noted = replace(loaded.dataset, notes=[*loaded.dataset.notes, *notes])
    recorder = Recorder(out, noted, classes=asked["classes"], asked=asked, seed=asked["seed"], resume=resume)
    return stages.finished(_record(recorder, own, todo, work, accuracy), own, work)


@dataclass(frozen=True, eq=False)
class SavedNetworks:
    """`stages.Networks` in the files that a training left. module: the user's own, or one that gives its logits."""

    saved: list[files.Saved]
    module: object
    weights: str | None
    embeds: bool = False

    @property
    def checkpoints(self) -> list[int]:
        return [one.number for one in self.saved]

    @property
    def users(self):
        """The user's own module."""
        from lossprint.audit.training.networks import Logits

        return self.module.module if isinstance(self.module, Logits) else self.module

    def read(self, one: files.Saved) -> dict:
        """The weights of a checkpoint by the names of the user's module."""
        return files.fitted(files.read_weights(one.path), self.users, one.path, self.weights)

    def load(self, one: files.Saved) -> None:
        """Put the weights of a checkpoint into the user's module."""
        self.users.load_state_dict(self.read(one))

    @contextmanager
    def at(self, checkpoint: int) -> Iterator[object]:
        """The module with the weights of a checkpoint; what goes wrong within is one line that names the checkpoint."""
        one = next(one for one in self.saved if one.number == checkpoint)
        self.load(one)
        try:
            yield self.module
        except LossprintError as error:
            raise LossprintError(f"{error} (at checkpoint {one.name})") from None
        except (RuntimeError, ValueError, TypeError) as error:
            hint = ": try a smaller --batch" if "out of memory" in str(error) else ""
            raise LossprintError(
                f"expected losses of every image at checkpoint {one.name}, found {type(error).__name__}: "
                f"{one_line(error)}{hint}"
            ) from None


def read_classes(path: str | Path) -> list[str]:
    """The names of classes in a file, in their order: one a line, or a JSON list."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        names = parsed(text) if text.lstrip().startswith("[") else text.splitlines()
    except (OSError, ValueError) as error:
        raise LossprintError(f"expected names of classes in {path}, found: {one_line(error)}") from None
    if not all(isinstance(name, str) for name in names):
        raise LossprintError(f"expected names of classes as text in {path}, found others")
    return [name for name in names if name.strip()]


def _asked(out: Path, options: dict, saved: list[files.Saved], resume: bool) -> dict:
    """What is to be done; on resume what the run was begun with, which the options now must not contradict."""
    listed = [[one.number, one.name] for one in saved]
    if not (out / "run.json").is_file():
        chosen = {name: DEFAULTS.get(name) if value is None else value for name, value in options.items()}
        return chosen | {"seed": DEFAULTS["seed"], "files": listed}
    if not resume:
        refuse_run(out, resumable=True)
    before = open_run(out, need=None).manifest["asked"]
    if "checkpoints" not in before:
        raise LossprintError(f"expected a run made by record, found another at {out}: choose another --out")
    refuse_changed(out, before, options, {"network": "--model"})
    gone = [name for number, name in before["files"] if [number, name] not in listed]
    if gone:
        raise LossprintError(
            f"expected the checkpoints with which {out} was begun, found {gone[0]} missing or of another number: start "
            "a new run"
        )
    return before


# ------------------------------------------------------------------------- what is looked at, and by what


def opened(asked: dict, out: Path) -> datasets.Dataset:
    """The dataset, which must be one of images, and lie elsewhere than the run."""
    name, share, seed = asked["dataset"], asked["val_fraction"], asked["seed"]
    dataset = datasets.open_dataset(name, share, seed, check=False, choices=Choices.of(asked))
    if not dataset.media.trained:
        raise LossprintError(
            f"expected a dataset of images with one class each, found texts in {asked['dataset']}: record them in "
            "your own loop with Recorder(RUN, DATASET)"
        )
    refuse_inside(out, dataset)
    return dataset


def order_of(names: list[str] | None, classes: list[str]) -> list[str]:
    """The classes as the logits have them."""
    if names is None:
        return list(classes)
    if sorted(names) != sorted(classes):
        strange = next((f"{name!r}, which it does not have" for name in names if name not in classes), None)
        lacking = next((f"no {name!r}" for name in classes if name not in names), "a name twice")
        raise LossprintError(
            f"expected the {len(classes)} classes of the dataset in --classes, found {strange or lacking}"
        )
    return list(names)


def built(build: Callable, model: str, dataset: datasets.Dataset, asked: dict):
    """The network and the side in pixels of its images, None where it has a transform of its own."""
    from lossprint.audit.training import networks
    from lossprint.audit.training.models import proxy_size

    sides = datasets.image_sizes(dataset, at_most=1000)
    side = int(np.median(sides.max(axis=1))) if len(sides) else 28
    size = asked["size"] or (min(side, LARGEST) if networks.is_own(model) else proxy_size(model, side))
    network = build(len(dataset.classes), size)
    if network.transform is None:
        return network, size
    extra = next((name for name in ("size", "mean", "std") if asked[name] is not None), None)
    if extra:
        raise LossprintError(f"expected no --{extra} beside the transform that {model} gives, found one")
    return network, None


def inputs_for(
    dataset: datasets.Dataset, network, model: str, size: int | None, order: list[str], asked: dict, device, quiet: bool
):
    """The dataset without what cannot be read, and its images as the network takes them."""
    from lossprint.audit.training.inputs import channel_statistics
    from lossprint.audit.training.transformed import Given, Made

    side = size or loading.THUMB  # through a transform images go anew; these are for near duplicates
    loaded = loading.decoded(dataset, side, quiet)
    if loaded.dataset.classes != dataset.classes:
        lost = sorted(set(dataset.classes) - set(loaded.dataset.classes))
        raise LossprintError(f"expected readable images of each class, found none of {', '.join(lost[:5])}")
    samples = loaded.dataset.samples
    pixels = loaded.pixels if loaded.pixels is not None else datasets.ImageStream(loaded.dataset, side)
    split = samples["split"].to_numpy(str)
    mean = std = np.zeros(3)
    if size is not None:
        mean, std = asked["mean"], asked["std"]
        if mean is None or std is None:
            own = channel_statistics(pixels, np.flatnonzero(split == "train"))
            mean, std = (value if option is None else option for value, option in zip(own, (mean, std)))
    made = None
    if network.transform is not None:
        made = Made(loaded.dataset, network.transform, model)
        made.hold(quiet)
    inputs = Given(
        samples=samples["sample"].to_numpy(np.int64),
        labels=samples["label"].map({name: at for at, name in enumerate(order)}).to_numpy(np.int64),
        split=split,
        pixels=pixels,
        size=side,
        mean=np.array(mean, float),
        std=np.array(std, float),
        classes=len(order),
        batch=asked["batch"],
        made=made,
    )
    return loaded, inputs if made else inputs.on(device)


def _notes(dataset: datasets.Dataset, network, inputs, asked: dict) -> list[str]:
    notes = []
    if network.transform is None and (asked["mean"] is None or asked["std"] is None):
        mean, std = (",".join(f"{one:.4f}" for one in values) for values in (inputs.mean, inputs.std))
        notes.append(
            f"images are normalised by the training split's own statistics (--size {inputs.size} --mean {mean} "
            f"--std {std}): give those of your training if they were others, the losses depend on them"
        )
    if not (dataset.origin.rows["split"] == "val").any():
        notes.append(
            "validation samples were drawn now: if the network was trained on them, CLD and the ranking of labels "
            "do not rest on held-out losses"
        )
    return notes


def _tried_out(networks_: SavedNetworks, model: str, work) -> tuple[SavedNetworks, float, list[str]]:
    """The networks as ones that give logits, the accuracy of the last on some training images, and notes.

    Raises LossprintError where they cannot do what is asked of them.
    """
    from lossprint.audit.training import networks, train

    last, inputs = networks_.saved[-1], work.inputs
    networks_.load(last)
    rows = inputs.rows("train")
    rows = rows[np.linspace(0, len(rows) - 1, min(TRIED, len(rows))).astype(np.int64)]
    _, images, _ = next(iter(inputs.batches(rows[:2], work.device)))
    module = networks.giving_logits(networks_.module, images, inputs.classes, model)
    networks_ = replace(networks_, module=module, embeds=networks.embeds(module, images))
    notes = [] if networks_.embeds else ["the network does not end in a linear layer: outliers are not looked for"]
    if work.asked["curvature_checkpoints"]:
        _check_curvature(module, inputs.batches(rows[:2], work.device), work.device)
    with networks_.at(last.number):
        predicted = train.predict(module, inputs, rows, work.device)
    labels = inputs.labels[rows]
    accuracy = float((predicted == labels).mean())
    chance = np.bincount(labels).max() / len(labels)
    if accuracy <= chance + 2 * np.sqrt(chance * (1 - chance) / len(labels)):
        notes.append(
            f"{last.name} is right for {accuracy:.1%} of {len(labels):,} training images, no better than one answer "
            f"for all ({chance:.1%}): the order of the classes, the normalisation, the size or the transform may not "
            "be those of the training"
        )
    return networks_, accuracy, notes


def _check_curvature(module, batches, device: str) -> None:
    from lossprint.scoring import input_curvature as curvature

    try:
        curvature.measure(module, batches, draws=1, device=device)
    except Exception as error:
        raise LossprintError(
            f"expected a network whose loss has a gradient with respect to its input, for curvature, found "
            f"{type(error).__name__}: {one_line(error)}: use --curvature-checkpoints 0"
        ) from None


def _record(recorder: Recorder, own: SavedNetworks, todo: list[files.Saved], work, accuracy: float) -> Run:
    """Every sample at each of the checkpoints that are to do."""
    import torch

    from lossprint.audit.training import train

    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    began, inputs = time.perf_counter(), work.inputs
    # Train and val as in a training of our own, so that the batches, and with them the bits, are the same.
    parts = [np.concatenate([inputs.rows("val"), inputs.rows("train")]), inputs.rows("test")]
    with work.bar(len(todo) * sum(map(len, parts)), "record") as bar:
        for one in todo:
            bar.set_postfix_str(one.name)
            with own.at(one.number) as network:
                for rows in parts:
                    train.record(recorder, network, inputs, rows, work.device, bar=bar)
            recorder.end_checkpoint(one.number)
    if "record" in recorder.run.stages:
        return recorder.run
    seconds = round(time.perf_counter() - began, 2)
    facts = {"seconds": seconds, "device": work.device, "accuracy": round(accuracy, 4)}
    if inputs.made is None:
        facts |= {"size": inputs.size, "mean": inputs.mean.tolist(), "std": inputs.std.tolist()}
    else:
        facts["input"] = list(inputs.made.shape)
    return recorder.finish(**facts, files=[[one.number, one.name] for one in own.saved])
