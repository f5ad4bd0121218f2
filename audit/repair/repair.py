"""`lossprint repair`: a trained model projected to what matters for verified samples (SAP), beside fine-tuning on them
and a training from the start on the cleaned data; all judged on held-out samples that chose nothing.

Each of the two mendings has as many settings to choose among, by the held-out samples of one part, and the original is
among them. The retrained model has none to choose.
"""

import copy
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lossprint.audit.export import outfile
from lossprint.audit.export.applied import applied
from lossprint.audit.repair import layers as projecting
from lossprint.audit.repair import words
from lossprint.audit.repair.models import OWN, Model, descended, opened
from lossprint.audit.repair.verified import Decided, decided
from lossprint.audit.runs import beside
from lossprint.audit.runs.open import version
from lossprint.audit.runs.run import Run
from lossprint.audit.training import train
from lossprint.audit.types import LossprintError
from lossprint.scoring import intervals
from lossprint.scoring.repair.sap import STRENGTHS

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
ROUNDS = 10  # epochs of fine-tuning on the verified samples
ENDING = ".safetensors"


@dataclass(frozen=True, eq=False)
class Arm:
    """A model as it answers: right (H,) bool of all held-out samples, choosing first; its setting, as a number."""

    right: np.ndarray
    setting: float | None = None


def repair(
    run: Run,
    model: str = OWN,
    *,
    network: str | None = None,
    out: str | Path | None = None,
    rule: str = "latest",
    device: str = "auto",
    quiet: bool = True,
    **how,
) -> dict:
    """Repair `model` of a run; the result, as `--json` prints it. It is kept in the run, and a repaired model written.

    `model`, `network` and `how`: see `models.opened`; `out`: the file of the repaired weights, which must not be there
    yet. Nothing is written where the original is kept. Raises LossprintError for too few verified or held-out samples,
    and what `models.opened` does.
    """
    began, seed = time.perf_counter(), int(run.manifest["asked"].get("seed") or 0)
    known = decided(run, applied(run, apply=rule), seed)
    out = _place(run, model, out)
    mine = opened(run, model, known, network=network, device=device, quiet=quiet, **how)
    arms, tried, layers = compared(mine, known, seed, quiet)
    choosing, strength = len(known.choosing), arms["repaired"].setting
    judged = {name: arm.right[choosing:] for name, arm in arms.items()}
    kept = strength is None or judged["repaired"].sum() <= judged["original"].sum()
    result = {
        "run": str(run.path.absolute()),
        "model": mine.words,
        "rule": rule,
        "verified": _verified(known, run),
        "choosing": {"of": known.places[0], "samples": choosing},
        "judging": {"of": known.places[1], "samples": len(known.judging)},
        "layers": len(layers),
        "strengths": [{"strength": one, "accuracy": float(right.mean())} for one, right in tried.items()],
        "arms": [_row(name, arm, arms, choosing) for name, arm in arms.items()],
        "original_kept": bool(kept),
        "cleaned": {
            "samples": len(known.trained),
            "relabelled": int((known.labels[known.trained] != known.given[known.trained]).sum()),
            "excluded": int((known.samples["split"].eq("train").to_numpy() & (known.labels < 0)).sum()),
            "how": mine.how,
        },
        "weights": None if kept else str(out.absolute()),
        "seconds": round(time.perf_counter() - began, 2),
        "notes": list(mine.notes),
    }
    result["sentences"] = words.sentences(result)
    if not kept:
        _write(out, mine, layers, strength, result)
    beside.write_repair(run, result | {"lossprint": version()})
    return result


def compared(mine: Model, known: Decided, seed: int, quiet: bool = True):
    """The arms by name, by strength the right answers of the choosing samples, and the layers that are projected."""
    held = np.concatenate([known.choosing, known.judging])
    arms = {"original": Arm(_right(mine, mine.network, held))}
    tried, layers = _projections(mine, known, seed)
    strength = _best(tried, arms["original"].right[: len(known.choosing)])
    with projecting.at(layers, strength):
        arms["repaired"] = Arm(_right(mine, mine.network, held), strength)
    arms["finetuned"] = _finetuned(mine, known, held, arms["original"], seed)
    arms["retrained"] = Arm(_right(mine, mine.retrained(known.trained, seed, quiet), held))
    return arms, tried, layers


def _projections(mine: Model, known: Decided, seed: int) -> tuple[dict[float, np.ndarray], list[projecting.Layer]]:
    """By strength the right answers of the choosing samples, and the layers that are projected."""
    batches = mine.inputs.batches(known.verified, mine.device)
    layers = projecting.measured(mine.network, batches, len(known.verified), seed)
    if not layers:
        raise LossprintError("expected a model with linear layers or convolutions, found none that it uses")
    tried = {}
    for strength in STRENGTHS:
        with projecting.at(layers, strength):
            tried[strength] = _right(mine, mine.network, known.choosing)
    return tried, layers


def _best(tried: dict[float, np.ndarray], original: np.ndarray) -> float | None:
    """The setting with the most right answers, of equal ones the last; None where the original has as many."""
    best = max(tried, key=lambda one: (tried[one].sum(), one))
    return best if tried[best].sum() > original.sum() else None


def _finetuned(mine: Model, known: Decided, held: np.ndarray, original: Arm, seed: int) -> Arm:
    """Fine-tuned on the verified samples at the best of the rates, by the choosing samples."""
    answers = {}
    for rate in RATES:
        how = {"epochs": ROUNDS, "rate": rate, "seed": seed, "device": mine.device, "frozen_statistics": True}
        try:
            tuned = descended(copy.deepcopy(mine.network), mine.inputs, known.verified, **how)
        except LossprintError:  # it diverged
            continue
        answers[rate] = _right(mine, tuned, held)
    count = len(known.choosing)
    tried = {-rate: right[:count] for rate, right in answers.items()}  # of equal ones the least rate
    best = _best(tried, original.right[:count]) if tried else None
    return original if best is None else Arm(answers[-best], -best)


def _right(mine: Model, network, rows: np.ndarray) -> np.ndarray:
    return train.predict(network, mine.inputs, rows, mine.device) == mine.inputs.labels[rows]


def _verified(known: Decided, run: Run) -> dict:
    codes = known.labels[known.verified]
    changed = int((codes != known.given[known.verified]).sum())
    without = [name for at, name in enumerate(run.classes) if not (codes == at).any()]
    return {"samples": len(codes), "confirmed": len(codes) - changed, "relabelled": changed, "without": without}


def _row(name: str, arm: Arm, arms: dict[str, Arm], choosing: int) -> dict:
    """An arm in numbers: accuracy on the judging samples with its interval, and what it gains over the others."""
    right = arm.right[choosing:]
    accuracy = intervals.rate(int(right.sum()), len(right))
    row = {"arm": name, "setting": arm.setting, "accuracy": float(right.mean()), "low": accuracy.low}
    row |= {"high": accuracy.high, "choosing_accuracy": float(arm.right[:choosing].mean())}
    for other in ("original", "repaired"):
        theirs = arms[other].right[choosing:] if other in arms else right
        gain = intervals.difference(int((right & ~theirs).sum()), int((theirs & ~right).sum()), len(right))
        row[f"over_{other}"] = None if other == name else vars(gain) | {}
    return row


# ------------------------------------------------------------------------------------------------- what is written


def _place(run: Run, model: str, out: str | Path | None) -> Path:
    """Where the repaired weights go: beside a file of weights, or among the run's exports. Never over a file."""
    if out is None:
        own = run.exports / f"repaired{ENDING}"
        out = own if model == OWN else Path(model).expanduser().with_suffix("").with_suffix(f".repaired{ENDING}")
    out = Path(out).expanduser()
    outfile.refuse(run, out, (ENDING,), lambda path: False)
    for file in (out, record_of(out)):
        if file.exists():
            raise LossprintError(f"expected a new file for the repaired weights, found one at {file}: choose --out")
    if not out.parent.is_dir() and out.parent != run.exports:
        raise LossprintError(f"expected a folder for the repaired weights, found none at {out.parent}")
    return out


def record_of(out: Path) -> Path:
    """Where it stands what a file of repaired weights is."""
    return out.with_name(f"{out.name}.json")


def _write(out: Path, mine: Model, layers: list[projecting.Layer], strength: float, result: dict) -> None:
    from safetensors.torch import save

    with projecting.at(layers, strength):
        state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in mine.weights().items()}
    out.parent.mkdir(exist_ok=True)
    outfile.write(out, save(state))
    outfile.write(record_of(out), outfile.record_text({"lossprint": version()} | result).encode())
