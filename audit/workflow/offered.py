"""What may be started from the app: the commands for it, made of what an owner picked and of nothing else.

A run folder may come from a stranger. So a dataset is one below the served folder, or the one of a run that this user
made or confirmed (`runs.places`); a model is a name, never code; a run is a folder beside the others.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from lossprint.audit.runs import places
from lossprint.audit.runs.open import needs_audit, open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.types import LossprintError
from lossprint.audit.workflow.jobs import Job

MODELS = ("auto", "small")
NAMED = re.compile(r"[a-z0-9_]+|([a-z0-9_]+\+)?frozen:[a-z0-9_]+")  # no MODULE:FUNCTION, which is code
FILES = (".csv", ".parquet", ".json", ".tar")  # manifests, COCO files and shards
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".dcm")
LOOKED_AT = 2000  # entries of a folder that are looked at, to say what it holds


@dataclass(frozen=True)
class Work:
    """What a job does: a title, the run folder that it writes and the words of its commands after `lossprint`.

    `refused`: why it is shown only, to be run by whoever knows better, and never started by the app; else empty.
    """

    title: str
    run: Path
    commands: list[list[str]]
    refused: str = ""


# ------------------------------------------------------------------------------------------------- a dataset


@dataclass(frozen=True)
class Entries:
    """What a folder below the served one offers: folders to go into, files that are datasets, and how many class
    folders and images are seen in it, of at most `LOOKED_AT` entries."""

    folders: list[str]
    files: list[str]
    classes: int
    images: int
    more: bool


def below(root: Path, name: str) -> Path:
    """The file or folder `name` below the served folder, without links out of it, hidden names or runs on the way.

    Raises LossprintError for any other.
    """
    top = Path(os.path.realpath(root))
    place = top / name
    real = Path(os.path.realpath(place))
    if "\0" in name or not real.is_relative_to(top):
        raise LossprintError(f"expected a place below {top}, found {name!r}, which leads out of it")
    if not real.exists():
        raise LossprintError(f"expected a file or folder of {top}, found none called {name!r}")
    if any(part.startswith(".") for part in real.relative_to(top).parts):
        raise LossprintError(f"expected a place that is not hidden, found {name!r}")
    if any((parent / "run.json").exists() for parent in (real, *real.parents) if parent.is_relative_to(top)):
        raise LossprintError(f"expected a dataset, found {name!r} in a run folder")
    return real


def entries(root: Path, name: str) -> Entries:
    """What the folder `name` below the served one offers."""
    place, top = below(root, name), Path(os.path.realpath(root))
    folders, files, images, classes, count = [], [], 0, 0, 0
    try:
        with os.scandir(place) as listed:
            for one in listed:
                count += 1
                if count > LOOKED_AT:
                    break
                if one.name.startswith(".") or not Path(os.path.realpath(one.path)).is_relative_to(top):
                    continue
                if one.is_dir():
                    if not os.path.exists(os.path.join(one.path, "run.json")):
                        folders.append(one.name)
                elif one.name.lower().endswith(IMAGES):
                    images += 1
                elif one.name.lower().endswith(FILES):
                    files.append(one.name)
        for folder in folders[:100]:
            inside = _images(place / folder)
            images, classes = images + inside, classes + bool(inside)
    except OSError as error:
        raise LossprintError(f"expected a folder that can be read, found {name!r}: {error.strerror}") from None
    return Entries(sorted(folders), sorted(files), classes, images, count > LOOKED_AT or len(folders) > 100)


def _images(folder: Path) -> int:
    """How many images lie in a folder, or in the folders of it, of the first entries of each."""
    count = 0
    with os.scandir(folder) as listed:
        for at, one in enumerate(listed):
            if at >= LOOKED_AT:
                break
            if one.is_dir(follow_symlinks=False) and at < 50:
                with os.scandir(one.path) as inner:
                    count += sum(two.name.lower().endswith(IMAGES) for _, two in zip(range(LOOKED_AT), inner))
            count += one.name.lower().endswith(IMAGES)
    return count


def named(root: Path, name: str) -> Path:
    """The place of a new run beside the others. Raises LossprintError where that is no name, or taken."""
    if not name or not name.isprintable() or name != Path(name).name or name.startswith((".", "-")):
        raise LossprintError(f"expected the name of a folder, without / and no dot or dash first, found {name!r}")
    place = Path(os.path.realpath(root)) / name
    if os.path.lexists(place):
        raise LossprintError(f"expected a name that is free, found something at {place}")
    return place


# ------------------------------------------------------------------------------------------------- what is offered


def audit(root: Path, dataset: str, name: str, model: str = "auto", epochs: int | None = None, seed: int = 0) -> Work:
    """Audit a dataset below the served folder, into a new run beside the others."""
    source, run = below(root, dataset), named(root, name)
    if model not in MODELS:
        raise LossprintError(f"expected a model of {', '.join(MODELS)}, found {model!r}")
    if source == run.parent or run.is_relative_to(source):
        raise LossprintError(
            f"expected a dataset in a folder of its own, found {source}, in which the runs lie: a run among its class "
            "folders would be read as one of them"
        )
    if not source.is_dir() and not source.name.lower().endswith(FILES):
        raise LossprintError(f"expected a folder, a CSV, Parquet or COCO file or a tar, found {source.name!r}")
    words = ["audit", str(source), "--out", str(run), "--model", model]
    words += ["--epochs", f"{epochs}"] * (epochs is not None) + ["--seed", f"{seed}"] * (seed != 0)
    return Work(f"Audit of {source.name}", run, [words])


def continued(root: Path, job: Job) -> Work:
    """The commands of a job that ended, once more; an audit that was cut off goes on where it was."""
    place = Path(job.run)
    if place.parent != Path(os.path.realpath(root)) and place != Path(os.path.realpath(root)):
        raise LossprintError(f"expected a job on a run of {root}, found one on {place}")
    commands = [list(words) for words in job.commands]
    for words in commands:
        if words[0] == "audit" and "--from" not in words and (place / "run.json").is_file():
            words += ["--resume"] * ("--resume" not in words)
    return Work(job.title, place, commands)


def second(root: Path, run: Run) -> Work:
    """Audit a run's dataset once more with another seed, beside it, so that the two can be compared."""
    seed, asked = run.manifest.get("seed"), run.manifest["asked"]
    seed = seed + 1 if isinstance(seed, int) else 1
    out = Path(os.path.realpath(root)) / f"{run.name}-seed{seed}"
    words = ["audit", _dataset(run), "--seed", str(seed), "--out", str(out)]
    model, epochs = asked.get("model"), asked.get("epochs")
    words += ["--model", model] * isinstance(model, str)
    words += ["--epochs", str(epochs)] * (isinstance(epochs, int) and not isinstance(epochs, bool))
    refused = _strange(run) or _elsewhere(run)
    if isinstance(model, str) and not NAMED.fullmatch(model):
        refused = refused or f"expected a model that is a name, found {model!r}"
    if os.path.lexists(out):
        refused = refused or f"expected a name that is free, found something at {out}"
    return Work(f"{run.name} with seed {seed}", out, [words], refused)


def finished(run: Run) -> Work:
    """Score a recorded run, again or for the first time; an audit that was cut off goes on where it was."""
    place, asked = run.path.resolve(), run.manifest["asked"]
    if "record" in run.stages and not needs_audit(run):
        again = " again" * ("find" in run.stages)
        return Work(f"Score {run.name}{again}", place, [["score", str(place), *_moved(run)]])
    words = ["audit", _dataset(run), "--out", str(place), "--resume"]
    refused = _strange(run) or _elsewhere(run)
    if "epochs" not in asked or "checkpoints" in asked:
        refused = refused or "expected an audit that was cut off, found a recording of another kind"
    return Work(f"Audit of {run.name}, continued", place, [words], refused)


def measured(run: Run, words: list[str]) -> Work:
    """Measure coresets, by the words of the page Coreset after `lossprint`."""
    return Work(f"Coresets of {run.name}", run.path.resolve(), [[*words, *_moved(run)]], _strange(run))


def compared(run: Run) -> Work:
    """Write the cleaned labels, then train on the given and the cleaned data."""
    place, cleaned = str(run.path.resolve()), str(run.exports.resolve() / "cleaned.csv")
    train = ["audit", *_moved(run)[1:], "--from", cleaned, "--out", place]
    export = ["export", "cleaned", place, "--out", cleaned]
    return Work(f"{run.name} before and after", run.path.resolve(), [export, train], _strange(run))


def beside(root: Path, name: str) -> Path:
    """The run folder of that name beside the others, or the served run itself; no link to a folder elsewhere."""
    top = Path(os.path.realpath(root))
    place = top if (top / "run.json").is_file() else top / name
    if name != Path(name).name or name.startswith(".") or place.is_symlink() or not (place / "run.json").is_file():
        raise LossprintError(f"expected a run folder of {top}, found none called {name!r}")
    return place


def _strange(run: Run) -> str:
    """Why nothing is trained on the images of a run: only the run names their place. Empty where a user did."""
    try:
        places.dataset_of(run)
    except LossprintError as error:
        return str(error)
    return ""


def _elsewhere(run: Run) -> str:
    """Why a dataset is not audited again from here: it is no place on this machine, or was made of other files."""
    source = run.manifest["dataset"].get("source")
    if source and os.path.isabs(str(source)) and run.manifest["asked"].get("dataset", source) == source:
        return ""
    return f"expected a dataset that is read where it lies on this machine, found {_dataset(run)!r}"


def _dataset(run: Run) -> str:
    return str(run.manifest["asked"].get("dataset") or run.manifest["dataset"].get("source") or "DATASET")


def _moved(run: Run) -> list[str]:
    """--dataset, where this server was told another place of the images than the run has."""
    own = open_run(run.path, need=None).manifest["dataset"].get("source")
    source = run.manifest["dataset"].get("source")
    return ["--dataset", str(source)] if source and source != own else []
