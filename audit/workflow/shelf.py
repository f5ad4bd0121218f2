"""Run folders on their shelf, the folder that they lie in: listed, renamed, put away, deleted, replaced.

A run is known by what run.json says, not by its folder's name: its decisions go along, in SQLite because they lie in
it, in PostgreSQL because they name the run. Nothing is touched that is no run folder, or that is being written.
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs import beside
from lossprint.audit.runs.open import how_far, list_runs, open_run
from lossprint.audit.runs.run import VIDEO_FRAMES, Run
from lossprint.audit.system.locks import writing
from lossprint.audit.types import LossprintError

AWAY = "archive"  # the folder on the shelf that the dashboard does not list
COLUMNS = ("name", "created", "samples", "classes", "state", "findings", "description", "path")


def listed(folder: str | Path, away: bool = False) -> pd.DataFrame:
    """The runs of a folder, or those put away in it, newest first: COLUMNS; what cannot be read says so as its state.

    samples: training samples. findings: how many of all kinds, missing where nothing was searched for yet.
    """
    place = Path(folder) / AWAY if away else Path(folder)
    rows = [_row(path) for path in list_runs(place)] if place.is_dir() or not away else []
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.astype({"samples": "Int64", "classes": "Int64", "findings": "Int64"})


def _row(path: Path) -> tuple:
    try:
        run = open_run(path, need=None)
    except LossprintError as error:
        return path.name, None, None, None, f"damaged: {error}", None, "", str(path.absolute())
    dataset, whole = run.manifest["dataset"], "find" in run.stages
    found = run.manifest["facts"].get("find", {}).get("findings")
    return (
        path.name,
        run.manifest.get("created"),
        dataset.get("counts", {}).get("train"),
        len(run.classes),
        "whole" if whole else how_far(run),
        sum(found.values()) if whole and found is not None else None,
        beside.description(run),
        str(path.absolute()),
    )


def rename(path: str | Path, name: str) -> Path:
    """Give a run folder another name on the same shelf. Raises LossprintError where that cannot be."""
    run = open_run(path, need=None)
    if not name.isprintable() or not name or name != Path(name).name or name.startswith("."):
        raise LossprintError(f"expected the name of a folder, without / and no dot first, found {name!r}")
    return _move(run, _home(run).with_name(name))


def put_away(path: str | Path) -> Path:
    """Move a run into the folder `archive` beside it, where the dashboard does not list it."""
    run = open_run(path, need=None)
    home = _home(run)
    if home.parent.name == AWAY:
        raise LossprintError(f"expected a run outside a folder {AWAY}, found {home}: put it back with --back")
    return _move(run, home.parent / AWAY / home.name)


def put_back(path: str | Path) -> Path:
    """Move a run from the folder `archive` back to where it was."""
    run = open_run(path, need=None)
    home = _home(run)
    if home.parent.name != AWAY:
        raise LossprintError(f"expected a run in a folder {AWAY}, found {home}")
    return _move(run, home.parent.parent / home.name)


def delete(path: str | Path) -> None:
    """Remove a run folder with all that is in it, its decisions in SQLite among it. The dataset is left alone.

    Raises LossprintError where it is no run, somebody writes it, or the dataset itself lies in it.
    """
    run = open_run(path, need=None)
    home = _home(run)
    _refuse_dataset(run)
    with writing(home):
        gone = home.with_name(f".{home.name}.{secrets.token_hex(4)}.deleted")
        home.rename(gone)  # at once: what is half deleted never looks like a run
    shutil.rmtree(gone)


def decisions(path: str | Path) -> int:
    """How many decisions stand on a run."""
    with open_reviews(open_run(path, need=None)) as reviews:
        return int(reviews.history()["stands"].sum())


@contextmanager
def replaced(path: Path, overwrite: bool) -> Iterator[None]:
    """Room for a new run at `path`, where `overwrite` allows a run to make way: it is back if no new one is begun.

    Raises LossprintError for a run with decisions, which nobody loses by an option.
    """
    if not overwrite or not (path / "run.json").is_file():
        yield
        return
    run = open_run(path, need=None)
    if count := decisions(path):
        raise LossprintError(
            f"expected a run without decisions to overwrite, found {count:,} on {path}: choose another --out, or "
            f"lossprint runs delete {path}"
        )
    _refuse_dataset(run)
    home = _home(run)
    aside = home.with_name(f".{home.name}.{secrets.token_hex(4)}.replaced")
    with writing(home):
        home.rename(aside)
    try:
        yield
    finally:
        if (home / "run.json").is_file():
            shutil.rmtree(aside)
        else:
            shutil.rmtree(home, ignore_errors=True)
            aside.rename(home)


def _home(run: Run) -> Path:
    """The run folder itself, where its path is a link too."""
    return run.path.resolve()


def _move(run: Run, place: Path) -> Path:
    home = _home(run)
    if place.exists():
        raise LossprintError(f"expected a name that is free, found something at {place}")
    if run.manifest["dataset"].get("root"):
        _refuse_dataset(run)
    with writing(home):
        place.parent.mkdir(exist_ok=True)
        home.rename(place)
    return place


def _refuse_dataset(run: Run) -> None:
    home, root = _home(run), run.manifest["dataset"].get("root")
    if root and "://" not in str(root):
        place = Path(root).resolve()
        if place.is_relative_to(home) and not place.is_relative_to(home / VIDEO_FRAMES):
            raise LossprintError(f"expected a dataset outside the run folder {home}, found it at {place}")
