"""What somebody writes against Lossprint in a project that checks its types: `mypy --strict` is run on it by a test."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import lossprint
from lossprint import LossprintError, Recorder, Run, choose_coreset, cleaned, open_run
from lossprint.audit import Recorder as Same
from lossprint.scoring import aum, cld, csl, curvature, label_errors, triage


def scores(losses: npt.NDArray[np.float32], labels: list[int], val: npt.NDArray[np.float32]) -> dict[str, Any]:
    low: npt.NDArray[np.float64] = cld(losses, labels, val, labels)
    errors = label_errors(losses, labels, margins=losses, predicted=losses.astype(int), val_losses=val)
    kinds: list[str] = triage(errors).tolist()
    return {"cld": low, "csl": csl(losses), "aum": aum(losses), "kinds": kinds, "severity": errors.severity}


def bends(model: Any, loader: Any) -> npt.NDArray[np.float64]:
    measured = curvature(model, loader, draws=3)
    return np.asarray(measured.curvature, np.float64)


def record(out: Path, losses: npt.NDArray[np.float32]) -> Run:
    recorder: Same = Recorder(out, "data/labels.csv", classes=["cat", "dog"])
    for epoch in range(3):
        recorder.update([0, 1], losses[:, epoch])
        recorder.end_checkpoint(epoch + 1)
    recorder.finish()
    return lossprint.score(out)


def review(path: str) -> str:
    try:
        run = open_run(path)
    except LossprintError as error:
        return str(error)
    for row in run.findings("label_error", top=10).itertuples():
        run.decide(row.group, "accept", reviewer="ann")
    prints = run.trajectory("train", samples=[3, 5])
    mean: npt.NDArray[np.float64] = csl(prints.losses)
    data = cleaned(run).as_dataset(transform=None)
    subset = choose_coreset(run, fraction=0.3)
    figure = run.plot_loss_print(3)
    figure.write_html("print.html")
    return f"{run.counts()['label_error']} {len(data)} {len(subset)} {mean.sum():.2f} {lossprint.__version__}"


def whole(dataset: Path) -> Run:
    return lossprint.run_audit(dataset, "runs/mine", epochs=3, device="cpu")
