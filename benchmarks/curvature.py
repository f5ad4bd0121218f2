"""How many draws and how many checkpoints of curvature: fidelity of the ranking against its cost.

    python benchmarks/curvature.py DATASET [--images N] [--epochs E] [--reference DRAWS] [--seed S]

Trains the built-in proxy on DATASET (anything `lossprint audit` takes) into a temporary folder and measures curvature
on N evenly spaced training images at every checkpoint. Prints, for K checkpoints spread over training and n fresh draws
at each, two Spearman correlations of the mean over the K checkpoints:

  all    with the mean over every checkpoint of a reference of its own draws: what fewer checkpoints cost as well
  same   with the mean over the same K checkpoints of that reference: the noise of the draws alone

Cost is counted in passes (forward and backward to the input) for each image: K (n + 1) here; 2 K n in the authors'
procedure, whose n draws have the same fidelity, since only the factor of the batch size and of h differ. Then, for the
authors' n = 10 at each K, the cheapest setting whose fidelity with `all` is no lower.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

GROUPS = (1, 1, 1, 2, 5)  # draws measured together; their running sums are the n of the table
COUNTS = tuple(int(n) for n in np.cumsum(GROUPS))
CHECKPOINTS = (1, 2, 4, 5, 8, 10, 20)
AUTHORS = 10  # draws


@dataclass(frozen=True)
class Measured:
    """Curvature of N images at E checkpoints: draws (n, E, N) the mean of the first n draws, reference (E, N)."""

    draws: dict[int, np.ndarray]
    reference: np.ndarray
    gradient_norm: np.ndarray
    seconds_a_pass: float  # and image


@dataclass(frozen=True)
class Setting:
    """K checkpoints with n draws each and the Spearman correlations of the module's first lines."""

    checkpoints: int
    draws: int
    all: float
    same: float

    @property
    def passes(self) -> int:
        return self.checkpoints * (self.draws + 1)


def spread(epochs: int, count: int) -> np.ndarray:
    """Indices of `count` of the checkpoints 0..epochs - 1, evenly spread, the last among them; as the audit does."""
    return np.array(sorted({round(epochs * (k + 1) / count) - 1 for k in range(count)}))


def measure(run, inputs, rows: np.ndarray, epochs: int, model: str, reference: int, seed: int) -> Measured:
    """Fresh draws for every checkpoint and group, and `reference` others."""
    from lossprint.audit.training import models, train
    from lossprint.scoring import input_curvature as curvature

    network = models.build_model(model, inputs.classes, inputs.size)
    sums, references, norms, passes, seconds = {n: [] for n in COUNTS}, [], [], 0, 0.0
    for checkpoint in range(1, epochs + 1):
        train.load_weights(network, run.read_checkpoint(checkpoint))
        total = np.zeros(len(rows))
        for group, draws in enumerate((*GROUPS, reference)):
            own = (seed * 1000 + checkpoint) * 100 + group
            began = time.perf_counter()
            found = curvature.measure(network, inputs.batches(rows, "cpu"), draws=draws, seed=own)
            seconds += time.perf_counter() - began
            passes += draws + 1
            if group < len(GROUPS):
                total = total + found.curvature * draws
                sums[COUNTS[group]].append(total / COUNTS[group])
            else:
                references.append(found.curvature)
                norms.append(found.gradient_norm)
    draws = {n: np.array(columns) for n, columns in sums.items()}
    return Measured(draws, np.array(references), np.array(norms), seconds / passes / len(rows))


def settings(measured: Measured) -> list[Setting]:
    """Every K and n, by K."""
    epochs, found = len(measured.reference), []
    target = measured.reference.mean(axis=0)
    for count in (count for count in CHECKPOINTS if count <= epochs):
        at = spread(epochs, count)
        same = measured.reference[at].mean(axis=0)
        for n, draws in measured.draws.items():
            score = draws[at].mean(axis=0)
            found.append(Setting(count, n, spearmanr(score, target).statistic, spearmanr(score, same).statistic))
    return found


def cheapest(found: list[Setting], fidelity: float) -> Setting:
    """Of the settings with at least this fidelity, the one with the fewest passes, then the highest fidelity."""
    return min((one for one in found if one.all >= fidelity), key=lambda one: (one.passes, -one.all))


def report(measured: Measured, found: list[Setting]) -> list[str]:
    epochs = len(measured.reference)
    lines = ["checkpoints  draws  passes   all   same   ms an image   authors' passes"]
    for one in found:
        cost = one.passes * measured.seconds_a_pass * 1000
        lines.append(
            f"{one.checkpoints:11}  {one.draws:5}  {one.passes:6}  {one.all:.3f}  {one.same:.3f}  {cost:12.2f}"
            f"  {2 * one.checkpoints * one.draws:16}"
        )
    for one in (one for one in found if one.draws == AUTHORS):
        ours, theirs = cheapest(found, one.all), 2 * one.checkpoints * AUTHORS
        lines.append(
            f"authors' n = {AUTHORS} at {one.checkpoints} checkpoints: {theirs} passes, {one.all:.3f}; "
            f"cheapest as good: n = {ours.draws} at {ours.checkpoints}, {ours.passes} passes, {ours.all:.3f}, "
            f"{theirs / ours.passes:.1f} times cheaper"
        )
    norm = measured.gradient_norm
    for count in (count for count in CHECKPOINTS if count <= epochs):
        value = spearmanr(norm[spread(epochs, count)].mean(axis=0), norm.mean(axis=0)).statistic
        lines.append(f"gradient norm of {count} checkpoints with that of all: {value:.3f}")
    return lines


def main() -> None:
    from lossprint.audit.training import loading
    from lossprint.audit.workflow.audit import audit

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--reference", type=int, default=50, help="draws of the reference at each checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = audit(
            options.dataset,
            Path(folder) / "run",
            epochs=options.epochs,
            seed=options.seed,
            curvature_checkpoints=0,
            quiet=True,
        )
        asked = run.manifest["asked"]
        inputs = loading.inputs_of(*loading.load(asked, quiet=True))
        rows = inputs.rows("train")
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, options.images).astype(np.int64))]
        measured = measure(run, inputs, rows, options.epochs, asked["model"], options.reference, options.seed)
    name = Path(options.dataset).parent.name if options.dataset.endswith(".csv") else Path(options.dataset).name
    print(f"{len(rows)} training images of {name}, {options.epochs} epochs, reference of {options.reference} draws")
    print("\n".join(report(measured, settings(measured))))


if __name__ == "__main__":
    main()
