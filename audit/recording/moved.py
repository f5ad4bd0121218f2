"""Where the images of a run are, said by the person who uses it: the place that it names, or one that they moved to."""

import os
from dataclasses import replace
from pathlib import Path

from lossprint.audit.datasets import kinds
from lossprint.audit.datasets.choices import Choices
from lossprint.audit.runs import places
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.types import LossprintError


def opened(path: str | Path, dataset: str | None = None, need: str | None = "find") -> Run:
    """`open_run`, with the images at `dataset`, as `at` says."""
    run = open_run(path, need)
    return run if dataset is None else at(run, dataset)


def opened_if(path: str | Path, dataset: str | None) -> Run:
    """`opened`, but where the images at `dataset` are those of another run, as of a folder of runs, without them."""
    run = open_run(path)
    try:
        return at(run, dataset) if dataset else run
    except LossprintError:
        return run


def at(run: Run, dataset: str) -> Run:
    """The run with its images at a DATASET: the place that it names, which is then believed, or another with the same.

    Raises LossprintError where what is there are not the samples of the run: paths, labels, splits or sizes differ.
    """
    about, name = run.manifest["dataset"], kinds.absolute(dataset)
    if name in (about.get("source"), _real(about.get("source"))):
        return places.name(run)
    origin = kinds.read_source(dataset, Choices.of(about.get("choices") or {}))
    if origin.fingerprint != about.get("fingerprint") or origin.kind != about.get("kind"):
        raise LossprintError(
            f"expected the dataset of {run.path} (it was at {about.get('source')}), found another one or a changed one "
            f"at {dataset}: its paths, labels, splits or sizes of files are not those of the run"
        )
    moved = about | {"source": origin.name, "root": str(origin.root)}
    return places.name(replace(run, manifest=run.manifest | {"dataset": moved}))


def _real(source: str | None) -> str:
    return os.path.realpath(source) if source and os.path.isabs(source) else ""
