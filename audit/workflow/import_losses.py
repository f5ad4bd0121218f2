"""`lossprint import`: a run from losses that somebody else recorded."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from lossprint.audit.datasets import kinds
from lossprint.audit.datasets.dataset import Dataset, NoImages
from lossprint.audit.findings.duplicates import write_duplicates
from lossprint.audit.findings.find import find_run
from lossprint.audit.findings.quality import write_quality
from lossprint.audit.findings.score import score_run
from lossprint.audit.recording import agreement
from lossprint.audit.recording.imported import read_losses
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.runs.open import refuse_run
from lossprint.audit.runs.run import Run
from lossprint.audit.system.locks import writes
from lossprint.audit.training.loading import DEFAULTS, load
from lossprint.audit.types import LossprintError
from lossprint.audit.words import some


@writes(lambda losses, dataset, out, *_, **__: out)
def import_losses(
    losses: str | Path, dataset: str, out: str | Path, quiet: bool = False, task: str = "classes", **choices
) -> Run:
    """A run from losses of `task` that the user recorded: all but curvature, embedding and what rests on them.

    `choices` are those of `datasets.choices`.
    """
    refuse_run(out)
    try:
        loaded, _ = load({**DEFAULTS, **choices, "dataset": dataset, "task": task}, quiet)
    except NoImages as error:
        raise LossprintError(f"{error}; --no-images imports the losses of rows that have none") from None
    parts = read_losses(losses, loaded.dataset.samples, loaded.dataset.classes, loaded.dataset.task)
    _refuse_order(parts, loaded.dataset, losses)
    asked = {"dataset": kinds.absolute(dataset), "losses": kinds.absolute(losses)}
    recorder = Recorder(out, loaded.dataset, recording="imported", asked=asked, task=loaded.dataset.task)
    for split, checkpoint, table in sorted(parts, key=lambda part: (part[0], part[1])):
        recorder.run.write_part(split, checkpoint, table)
    doubt = _doubt(parts, loaded.dataset)
    if doubt:
        warnings.warn(doubt, stacklevel=2)
    run = recorder.finish(**({"doubt": doubt} if doubt else {}))
    write_duplicates(run, loaded, None)
    write_quality(run, loaded)
    return find_run(score_run(run))


def _refuse_order(parts: list[tuple], dataset: Dataset, losses: str | Path) -> None:
    """Raise LossprintError where the margins say that predicted classes are numbered in another order."""
    if dataset.task != "classes":
        return
    tables = [table for split, _, table in parts if split == "train"]
    margins, predicted = (np.concatenate([table[name] for table in tables]) for name in ("margin", "predicted"))
    labels = np.concatenate([_labels(dataset, table) for table in tables])
    meant = agreement.other_order(margins, predicted, labels)
    if meant:
        one, other = next((one, other) for one, other in meant.items() if one != other)
        names = dataset.classes
        raise LossprintError(
            f"expected predicted classes in the order of the dataset's, {some(names)}, in {losses}, found that by the "
            f"margins what is taken for {names[one]!r} is {names[other]!r}: write the names of the classes in place of "
            "numbers"
        )


def _labels(dataset: Dataset, table: pd.DataFrame) -> np.ndarray:
    """The places of the given labels of a table's samples among the classes."""
    places = dict(zip(dataset.classes, range(len(dataset.classes))))
    return dataset.samples.set_index("sample")["label"].map(places).reindex(table["sample"]).to_numpy()


def _doubt(parts: list[tuple], dataset: Dataset) -> str | None:
    """What the losses of the first and the last checkpoint look like that do not fit their margins and predictions."""
    if dataset.task != "classes":
        return None
    checkpoints = {checkpoint for _, checkpoint, _ in parts}
    for split, checkpoint, table in parts:
        if split == "train" and checkpoint in (min(checkpoints), max(checkpoints)):
            columns = (table[name].to_numpy() for name in ("loss", "margin", "predicted"))
            cause = agreement.margins_disagreement(*columns, _labels(dataset, table), len(dataset.classes))
            if cause:
                return f"{agreement.WANTED} of what their margins are of, found {cause} (at checkpoint {checkpoint})"
    return None
