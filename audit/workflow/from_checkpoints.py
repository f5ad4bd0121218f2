"""`lossprint record`: the loss trajectories of a training that is over, from the checkpoints that it left.

The network at each of them looks at every sample of train, val and test, in eval mode and without augmentation, as a
Recorder would have done in the training; then a run goes on as an audit does. The weights stay where they are: a run
folder holds no copy of them. A run that was cut off goes on after its last whole checkpoint, to the same bytes.
"""

import json
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.findings.find import find_run
from lossprint.audit.findings.score import score_run
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.runs import run as store
from lossprint.audit.system.atomic import writes
from lossprint.audit.system.progress import bar_style
from lossprint.audit.training import checkpoints as files
from lossprint.audit.training import stages
from lossprint.audit.types import LossprintError, one_line
from lossprint.audit.workflow import audit as workflow

DEFAULTS = {"curvature_checkpoints": 10, "val_fraction": 0.1, "seed": 0}
LARGEST = 224  # px, side of images that a network of the user's own gets, unless --size says otherwise
TRIED = 512  # training images on which the last checkpoint is tried out


@writes("out")
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
) -> store.Run:
    """Record every sample at each checkpoint of a folder, measure curvature, embed, score and find.

    `checkpoints`, see `checkpoints.find_checkpoints`; `model`, see `networks.find_builder`. Without a transform of the
    user's own, images are made square at `size` and each channel, in [0, 1], is normalised by `mean` and `std`, by
    default those of the training split; both must be as they were in training. `classes` is a file with the order of
    the classes in the logits, sorted by default; `weights` names one of several sets of weights in a file. Curvature is
    measured at `curvature_checkpoints` of them, spread evenly, by default 10, as in an audit. None stands for the
    default, or on resume for what was asked. `say` gets each thing that the user should know before it takes long.
    """
    saved, notes = files.find_checkpoints(checkpoints)
    given = {
        "dataset": workflow.absolute(dataset),
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
    }
    asked = _asked(Path(out), given, saved, resume)
    return _Recording(saved, model, asked, Path(out), device, resume, quiet).run(notes, say)


def read_classes(path: str | Path) -> list[str]:
    """The names of classes in a file, in their order: one a line, or a JSON list."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        names = json.loads(text) if text.lstrip().startswith("[") else text.splitlines()
    except (OSError, ValueError) as error:
        raise LossprintError(f"expected names of classes in {path}, found: {one_line(error)}") from None
    if not all(isinstance(name, str) for name in names):
        raise LossprintError(f"expected names of classes as text in {path}, found others")
    return [name for name in names if name.strip()]


def _asked(out: Path, given: dict, saved: list[files.Saved], resume: bool) -> dict:
    """What is to be done; on resume what the run was begun with, which the options given now must not contradict."""
    listed = [[one.number, one.name] for one in saved]
    if not (out / "run.json").is_file():
        chosen = {name: DEFAULTS.get(name) if value is None else value for name, value in given.items()}
        return chosen | {"seed": DEFAULTS["seed"], "files": listed}
    if not resume:
        raise stages.begun(out)
    before = store.open_run(out, need=None).manifest["asked"]
    if "checkpoints" not in before:
        raise LossprintError(f"expected a run made by record, found another at {out}: choose another --out")
    stages.refuse_changed(out, before, given, {"network": "--model"})
    gone = [name for number, name in before["files"] if [number, name] not in listed]
    if gone:
        raise LossprintError(
            f"expected the checkpoints with which {out} was begun, found {gone[0]} missing or of another number: start "
            "a new run"
        )
    return before


class _Recording:
    """One call of `record`, once it is known what is asked."""

    def __init__(self, saved, model: str, asked: dict, out: Path, device: str, resume: bool, quiet: bool):
        from lossprint.audit.training import networks, train

        self.saved, self.model, self.asked, self.out = saved, model, asked, out
        self.resume, self.quiet = resume, quiet
        self.build = networks.find_builder(model)  # what is cheap to find out comes first
        self.device = train.pick_device(device)

    def run(self, notes: list[str], say: Callable[[str], None]) -> store.Run:
        run = store.open_run(self.out, need=None) if (self.out / "run.json").is_file() else None
        todo = [one for one in self.saved if run is None or one.number not in run.recorded("train")]
        if run is not None and not todo and run.stages == list(store.STAGES):
            return run
        if run is None:
            store.refuse_others(self.out)
        asked = self.asked
        dataset = datasets.open_dataset(asked["dataset"], asked["val_fraction"], asked["seed"], check=False)
        if not dataset.media.trained:
            raise LossprintError(
                f"expected a dataset of images with one class each, found texts in {asked['dataset']}: record them in "
                "your own loop with Recorder(RUN, DATASET)"
            )
        workflow.refuse_inside(self.out, dataset)
        order = _order(asked["classes"], dataset.classes)
        network, size = self._built(dataset)
        for one in todo:
            self._weights(network.module, one)  # a damaged file, or one of another network, is found now
        self._load(network.module, self.saved[-1])
        loaded, inputs = self._inputs(dataset, network, size, order)
        module, accuracy, embeds, further = self._tried_out(network.module.to(self.device), inputs)
        notes = [*notes, *self._notes(dataset, network, inputs), *further]
        for note in notes:
            say(note)
        described = replace(loaded.dataset, notes=[*loaded.dataset.notes, *notes])
        options = {"classes": asked["classes"], "asked": asked, "seed": asked["seed"], "resume": self.resume}
        recorder = Recorder(self.out, described, **options)
        run = self._record(recorder, module, inputs, todo, accuracy)
        if "curvature" not in run.stages:
            run = self._measure(run, module, inputs)
        if "embed" not in run.stages:
            run = self._embed(run, module, inputs, loaded, embeds)
        return find_run(score_run(run))

    # What is looked at, and by what ---------------------------------------------------------------------------

    def _built(self, dataset: datasets.Dataset):
        """The network and the side in pixels of its images, None where it has a transform of its own."""
        from lossprint.audit.training import networks
        from lossprint.audit.training.models import proxy_size

        sides = datasets.image_sizes(dataset, at_most=1000)
        side = int(np.median(sides.max(axis=1))) if len(sides) else 28
        size = self.asked["size"] or (
            min(side, LARGEST) if networks.is_own(self.model) else proxy_size(self.model, side)
        )
        network = self.build(len(dataset.classes), size)
        if network.transform is None:
            return network, size
        extra = next((name for name in ("size", "mean", "std") if self.asked[name] is not None), None)
        if extra:
            raise LossprintError(f"expected no --{extra} beside the transform that {self.model} gives, found one")
        return network, None

    def _inputs(self, dataset: datasets.Dataset, network, size: int | None, order: list[str]):
        """The dataset without what cannot be read, and its images as the network takes them."""
        from lossprint.audit.training.inputs import channel_statistics
        from lossprint.audit.training.transformed import Given, Made

        side = size or stages.THUMB  # through a transform images go anew; these are for near duplicates
        loaded = stages.decoded(dataset, side, self.quiet)
        if loaded.dataset.classes != dataset.classes:
            lost = sorted(set(dataset.classes) - set(loaded.dataset.classes))
            raise LossprintError(f"expected readable images of each class, found none of {', '.join(lost[:5])}")
        samples = loaded.dataset.samples
        pixels = loaded.pixels if loaded.pixels is not None else datasets.ImageStream(loaded.dataset, side)
        split = samples["split"].to_numpy(str)
        mean = std = np.zeros(3)
        if size is not None:
            mean, std = (self.asked[name] for name in ("mean", "std"))
            if mean is None or std is None:
                own = channel_statistics(pixels, np.flatnonzero(split == "train"))
                mean, std = (one if given is None else given for one, given in zip(own, (mean, std)))
        made = None
        if network.transform is not None:
            made = Made(loaded.dataset, network.transform, self.model)
            made.hold(self.quiet)
        inputs = Given(
            samples=samples["sample"].to_numpy(np.int64),
            labels=samples["label"].map({name: at for at, name in enumerate(order)}).to_numpy(np.int64),
            split=split,
            pixels=pixels,
            size=side,
            mean=np.array(mean, float),
            std=np.array(std, float),
            classes=len(order),
            batch=self.asked["batch"],
            made=made,
        )
        return loaded, inputs if made else inputs.on(self.device)

    def _notes(self, dataset: datasets.Dataset, network, inputs) -> list[str]:
        notes = []
        if network.transform is None and (self.asked["mean"] is None or self.asked["std"] is None):
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

    def _weights(self, network, one: files.Saved) -> dict:
        return files.fitted(files.read_weights(one.path), network, one.path, self.asked["weights"])

    def _load(self, network, one: files.Saved) -> None:
        """Put a checkpoint's weights into the user's module, or into the one within `Logits`."""
        from lossprint.audit.training.networks import Logits

        network = network.module if isinstance(network, Logits) else network
        network.load_state_dict(self._weights(network, one))

    def _tried_out(self, network, inputs) -> tuple:
        """The network as one that gives logits, the accuracy of the weights in it on some training images, whether it
        embeds, and notes. Raises LossprintError where it cannot do what is asked of it."""
        from lossprint.audit.training import networks, train

        rows = inputs.rows("train")
        rows = rows[np.linspace(0, len(rows) - 1, min(TRIED, len(rows))).astype(np.int64)]
        _, images, _ = next(iter(inputs.batches(rows[:2], self.device)))
        module = networks.giving_logits(network, images, inputs.classes, self.model)
        embeds = networks.embeds(module, images)
        notes = [] if embeds else ["the network does not end in a linear layer: outliers are not looked for"]
        if self.asked["curvature_checkpoints"]:
            self._check_curvature(module, inputs, rows[:2])
        with _told(self.saved[-1]):
            predicted = train.predict(module, inputs, rows, self.device)
        labels = inputs.labels[rows]
        accuracy = float((predicted == labels).mean())
        chance = np.bincount(labels).max() / len(labels)
        if accuracy <= chance + 2 * np.sqrt(chance * (1 - chance) / len(labels)):
            notes.append(self._no_better(accuracy, chance, len(labels)))
        return module, accuracy, embeds, notes

    def _no_better(self, accuracy: float, chance: float, count: int) -> str:
        return (
            f"{self.saved[-1].name} is right for {accuracy:.1%} of {count:,} training images, no better than one "
            f"answer for all ({chance:.1%}): the order of the classes, the normalisation, the size or the transform "
            "may not be those of the training"
        )

    def _check_curvature(self, module, inputs, rows: np.ndarray) -> None:
        from lossprint.scoring import curvature

        try:
            curvature.measure(module, inputs.batches(rows, self.device), draws=1, device=self.device)
        except Exception as error:
            raise LossprintError(
                f"expected a network whose loss has a gradient with respect to its input, for curvature, found "
                f"{type(error).__name__}: {one_line(error)}: use --curvature-checkpoints 0"
            ) from None

    # Stages ---------------------------------------------------------------------------------------------------

    def _bar(self, total: int, name: str):

        return tqdm(total=total, unit="img", desc=name, disable=self.quiet, **bar_style())

    def _record(self, recorder: Recorder, module, inputs, todo: list[files.Saved], accuracy: float) -> store.Run:
        import torch

        from lossprint.audit.training import train

        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        began = time.perf_counter()
        # Train and val as in a training of our own, so that the batches, and with them the bits, are the same.
        parts = [np.concatenate([inputs.rows("val"), inputs.rows("train")]), inputs.rows("test")]
        with self._bar(len(todo) * sum(map(len, parts)), "record") as bar:
            ticking = replace(inputs, bar=bar)
            for one in todo:
                self._load(module, one)
                bar.set_postfix_str(one.name)
                with _told(one):
                    for rows in parts:
                        train.record(recorder, module, ticking, rows, self.device)
                recorder.end_checkpoint(one.number)
        if "record" in recorder.run.stages:
            return recorder.run
        seconds = round(time.perf_counter() - began, 2)
        facts = {"seconds": seconds, "device": self.device, "accuracy": round(accuracy, 4)}
        if inputs.made is None:
            facts |= {"size": inputs.size, "mean": inputs.mean.tolist(), "std": inputs.std.tolist()}
        else:
            facts["input"] = list(inputs.made.shape)
        return recorder.finish(**facts, files=[[one.number, one.name] for one in self.saved])

    def _measure(self, run: store.Run, module, inputs) -> store.Run:
        """Curvature of the training samples at K checkpoints spread over the training, as `audit` measures it."""
        began, chosen = time.perf_counter(), stages.spread(self.saved, self.asked["curvature_checkpoints"])
        measured = set(run.curvature_recorded())  # of fewer checkpoints, where further ones were added to a whole run
        todo, rows = [one for one in chosen if one.number not in measured], inputs.rows("train")
        with self._bar(len(todo) * len(rows), "curvature") as bar:
            batches = replace(inputs, bar=bar).batches
            for one in todo:
                self._load(module, one)
                with _told(one):
                    given = batches(rows, self.device)
                    found = stages.curvature_at(one.number, module, given, self.asked["seed"], self.device)
                run.write_curvature(one.number, found)
        return run.finish(
            "curvature",
            seconds=round(time.perf_counter() - began, 2),
            checkpoints=run.curvature_recorded(),
            draws=stages.DRAWS if chosen else 0,
        )

    def _embed(self, run: store.Run, module, inputs, loaded: datasets.Loaded, embeds: bool) -> store.Run:
        """The last checkpoint's embedding of every sample, if the network has one, and the duplicates."""
        from lossprint.audit.training import train

        began, vectors = time.perf_counter(), None
        if embeds:
            self._load(module, self.saved[-1])
            with _told(self.saved[-1]), self._bar(len(inputs.samples), "embed") as bar:
                vectors = train.embed(module, replace(inputs, bar=bar), self.device)
            run.write_embeddings(inputs.samples, vectors)
        stages.write_duplicates(run, loaded, vectors)
        dimensions = 0 if vectors is None else vectors.shape[1]
        return run.finish("embed", seconds=round(time.perf_counter() - began, 2), dimensions=dimensions)


def _order(names: list[str] | None, classes: list[str]) -> list[str]:
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


@contextmanager
def _told(one: files.Saved):
    """What goes wrong within, in one line that names the checkpoint."""
    try:
        yield
    except LossprintError as error:
        raise LossprintError(f"{error} (at checkpoint {one.name})") from None
    except (RuntimeError, ValueError, TypeError) as error:
        hint = ": try a smaller --batch" if "out of memory" in str(error) else ""
        raise LossprintError(
            f"expected losses of every image at checkpoint {one.name}, found {type(error).__name__}: "
            f"{one_line(error)}{hint}"
        ) from None
