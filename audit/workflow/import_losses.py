"""`lossprint import`: a run from losses that somebody else recorded."""

import warnings
from pathlib import Path

from lossprint.audit.datasets import kinds
from lossprint.audit.datasets.dataset import Dataset
from lossprint.audit.findings.duplicates import write_duplicates
from lossprint.audit.findings.find import find_run
from lossprint.audit.findings.score import score_run
from lossprint.audit.recording import agreement
from lossprint.audit.recording.imported import read_losses
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.runs.open import refuse_run
from lossprint.audit.runs.run import Run
from lossprint.audit.system.locks import writes
from lossprint.audit.training.loading import DEFAULTS, load


@writes(lambda losses, dataset, out, *_, **__: out)
def import_losses(
    losses: str | Path, dataset: str, out: str | Path, quiet: bool = False, task: str = "classes", **choices
) -> Run:
    """A run from losses of `task` that the user recorded: all but curvature, embedding and what rests on them.

    `choices` are those of `datasets.choices`.
    """
    refuse_run(out)
    loaded, _ = load({**DEFAULTS, **choices, "dataset": dataset, "task": task}, quiet)
    parts = read_losses(losses, loaded.dataset.samples, loaded.dataset.classes, loaded.dataset.task)
    asked = {"dataset": kinds.absolute(dataset), "losses": kinds.absolute(losses)}
    recorder = Recorder(out, loaded.dataset, recording="imported", asked=asked, task=loaded.dataset.task)
    for split, checkpoint, table in sorted(parts, key=lambda part: (part[0], part[1])):
        recorder.run.write_part(split, checkpoint, table)
    doubt = _doubt(parts, loaded.dataset)
    if doubt:
        warnings.warn(doubt, stacklevel=2)
    run = recorder.finish(**({"doubt": doubt} if doubt else {}))
    write_duplicates(run, loaded, None)
    return find_run(score_run(run))


def _doubt(parts: list[tuple], dataset: Dataset) -> str | None:
    """What the losses of the first and the last checkpoint look like that do not fit their margins and predictions."""
    if dataset.task != "classes":
        return None
    numbers = dict(zip(dataset.classes, range(len(dataset.classes))))
    labels = dataset.samples.set_index("sample")["label"].map(numbers)
    checkpoints = {checkpoint for _, checkpoint, _ in parts}
    for split, checkpoint, table in parts:
        if split == "train" and checkpoint in (min(checkpoints), max(checkpoints)):
            columns = (table[name].to_numpy() for name in ("loss", "margin", "predicted"))
            own = labels.reindex(table["sample"]).to_numpy()
            cause = agreement.margins_disagreement(*columns, own, len(dataset.classes))
            if cause:
                return f"{agreement.WANTED} of what their margins are of, found {cause} (at checkpoint {checkpoint})"
    return None
