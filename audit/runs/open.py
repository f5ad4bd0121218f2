"""Run folders made, opened and listed, and what to say of one that is half written."""

import os
import platform
import shlex
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from lossprint.audit.runs import checked, places
from lossprint.audit.runs.keys import PLACES
from lossprint.audit.runs.run import VIDEO_FRAMES, Run
from lossprint.audit.system.atomic import sweep
from lossprint.audit.system.urls import local
from lossprint.audit.types import LossprintError, one_line

FORMAT = 1
LARGE = {VIDEO_FRAMES, "exports"}  # folders of images: `places` looks at the former, nothing reads the latter
RECORD_OPTIONS = ("size", "mean", "std", "batch", "val_fraction", "curvature_checkpoints", "weights")


def version() -> str:
    """The installed version of lossprint."""
    return metadata.version("lossprint")


def create_run(path: str | Path, asked: dict, dataset: dict, seed: int, recording: str = "eval") -> Run:
    """Make a run folder in which no stage is done.

    `asked` is what the user asked for (it must match on resume), `dataset` has source, kind, fingerprint, classes and
    counts. `recording` says which losses the run holds: `eval` (after each epoch, eval mode, no augmentation),
    `by-product` (of the training batches themselves) or `imported`; they are different quantities and never mixed.
    """
    path = local(path)
    refuse_run(path, resumable=True)
    refuse_others(path, dataset.get("root"))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LossprintError(f"expected a place for a new run folder, found at {path}: {one_line(error)}") from None
    manifest = {
        "format": FORMAT,
        "lossprint": version(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "asked": asked,
        "seed": seed,
        "recording": recording,
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in ("numpy", "pandas", "pillow", "torch", "torchvision")},
        "dataset": dataset,
        "stages": [],
        "facts": {},
    }
    return Run(path, manifest).rewrite([])


def refuse_run(path: str | Path, resumable: bool = False) -> None:
    """Raise LossprintError where there is a run already; `resumable` ones may be continued."""
    if (Path(path) / "run.json").exists():
        way = "add --resume to continue it, or " * resumable
        raise LossprintError(f"expected a new folder for the run, found a run at {path}: {way}choose another --out")


def refuse_changed(out: Path, before: dict, given: dict, options: dict[str, str] | None = None) -> None:
    """Raise LossprintError where what is asked now is not what the run was begun with; None asks for nothing.

    `options` has what an option is called where that is not its name in `asked`.
    """
    for name, value in given.items():
        if value is not None and value != before.get(name):
            option = (options or {}).get(name, f"--{name.replace('_', '-')}")
            raise LossprintError(
                f"expected {option} {before.get(name)}, with which {out} was begun, found {value}: resume with the "
                "same, or choose another --out"
            )


def refuse_others(path: Path, root: str | Path | None = None) -> None:
    """Raise LossprintError where a new run's folder holds anything but its own dataset: frames decoded from videos."""
    sweep(path)
    own = None if root is None else Path(root).absolute()
    if path.exists() and (not path.is_dir() or any(file.absolute() != own for file in path.iterdir())):
        raise LossprintError(f"expected a new or empty folder for the run, found other files at {path}")


def open_run(path: str | Path, need: str | None = "find") -> Run:
    """Open a run folder. `need` is the stage that must be done; None opens a half-written one too.

    Raises LossprintError, in one line, where there is no run, it is damaged, newer than this program, or half written.
    """
    path = local(path)
    if not path.exists():
        raise LossprintError(f"expected a run folder, found nothing at {path}")
    file = path / "run.json"
    if not file.is_file():
        raise LossprintError(f"expected a run folder (one with a run.json), found none in {path}")
    _refuse_links(path, LARGE)
    try:
        manifest = checked.read_manifest(file.read_bytes())
        number = manifest["format"]
    except (OSError, ValueError, KeyError, RecursionError) as error:
        raise LossprintError(f"expected a readable run.json, found in {file}: {one_line(error)}") from None
    if number > FORMAT:
        raise LossprintError(
            f"expected a run of format {FORMAT} or older, found format {number} (written by lossprint "
            f"{manifest.get('lossprint', '?')}; this is {version()}) at {path}: upgrade lossprint to open it"
        )
    try:
        checked.check_manifest(manifest)
    except ValueError as error:
        raise LossprintError(f"expected a run.json as lossprint writes it, found {error} in {file}") from None
    for name in PLACES:
        if str(manifest["dataset"].get(name)).partition("/")[0] == VIDEO_FRAMES:
            manifest["dataset"][name] = str(path.absolute() / manifest["dataset"][name])
    run = Run(path, manifest)
    run = replace(run, believed=places.checked(run))
    if need is not None and need not in run.stages:
        raise LossprintError(f"expected a whole run, found one half written at {path}: {how_far(run)}")
    return run


def _refuse_links(folder: str | Path, passed: set[str] | frozenset = frozenset()) -> None:
    """Raise LossprintError for a link, a pipe or a device in a run folder: what it leads to may be anybody's, and would
    be read, written or removed in the run's place."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in passed:
                        _refuse_links(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    what = "link" if entry.is_symlink() else "pipe or device"
                    raise LossprintError(f"expected a run folder of plain files, found the {what} {entry.path}")
    except FileNotFoundError:  # removed meanwhile
        pass
    except OSError as error:
        raise LossprintError(f"expected a run folder that can be read, found: {one_line(error)}") from None


def how_far(run: Run) -> str:
    """One sentence: progress of an unfinished run and the command that resumes it."""
    asked = run.manifest["asked"]
    if "record" in run.stages and not needs_audit(run):
        return f"recorded, not scored; finish it with: lossprint score {run.path}"
    if run.manifest.get("recording") == "imported":
        return f"the import was cut off; delete {run.path} and import again"
    done = len(set(run.recorded("train")) & set(run.recorded("val")))
    if "checkpoints" in asked:
        command = record_command(asked, run.path, resume=True)
        return f"{done} of {len(asked.get('files') or ())} checkpoints recorded; continue it with: {command}"
    if "epochs" not in asked:
        way = f"; or score what there is with: lossprint score {run.path} --partial" if done else ""
        return f"{done} checkpoints recorded; continue it in your own loop with Recorder(..., resume=True){way}"
    source = shlex.quote(str(asked.get("dataset", "DATASET")))  # a shell would take a pattern of shards apart
    command = f"lossprint audit {source} --out {run.path} --resume"
    return f"{done} of {asked.get('epochs')} checkpoints recorded; continue it with: {command}"


def needs_audit(run: Run) -> bool:
    """Whether an audit's (or a record's) curvature or duplicates are still to come: scoring alone cannot end it."""
    return not {"epochs", "checkpoints"}.isdisjoint(run.manifest["asked"]) and "embed" not in run.stages


def record_command(asked: dict, out: str | Path, resume: bool = False) -> str:
    """The command that records a run from checkpoints as `asked`, or that goes on with it."""
    options = {"checkpoints": asked.get("checkpoints"), "model": asked.get("model") or asked.get("network")}
    options |= {"dataset": asked.get("dataset"), "out": out}
    if not resume:
        options |= {name: asked[name] for name in RECORD_OPTIONS if asked.get(name) is not None}
        options |= {"classes": "FILE"} if asked.get("classes") else {}
    words = ["lossprint", "record"]
    for name, value in options.items():
        text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        words += [f"--{name.replace('_', '-')}", text]
    return shlex.join([*words, *["--resume"] * resume])


def list_runs(path: str | Path) -> list[Path]:
    """The run folders at `path`: itself, or those directly in it, newest first."""
    path = Path(path)
    if (path / "run.json").is_file():
        return [path]
    if not path.is_dir():
        raise LossprintError(f"expected a run folder or a folder of runs, found nothing at {path}")
    files = [file for file in path.glob("*/run.json") if file.is_file()]
    return [file.parent for file in sorted(files, key=lambda file: (-file.stat().st_mtime, file))]
