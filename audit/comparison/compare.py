"""Close the loop: does the cleaned data train a better model than the given data?

The same network is trained on three versions of the training split, an arm each: `given`, `cleaned` (as decided) and
`thinned` (the given labels, and as many samples as the cleaned ones, taken away at random within the classes). All get
equally many optimizer steps, the same batch size, schedule and seeds, and are judged on the same held-out images. An
arm with fewer samples goes through them more often. Thinning shows what leaving out that many samples does by itself.

This module writes a row for each arm, seed and held-out sample into comparison.parquet:

    arm, seed                   given, cleaned or thinned; the seed of weights, order, shifts and thinning
    sample, split               a validation or test sample
    given, decided, predicted   class indices: as given, as decided (-1: excluded), as this network says
    train_samples, steps, epochs, batch, model, device, seconds     how it was trained; `epochs` are those of `given`
    seeds, relabelled, excluded     seeds that were asked for; training samples that the decisions changed
    cleaned, last_review            the export, and the last decision that it holds (missing where unknown)
    key                 a digest of all that the row depends on: a row with the same key is not measured again
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from lossprint.audit.comparison.cleaned import Cleaned, read_cleaned
from lossprint.audit.comparison.summary import ARMS
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.training import loading, side_by_side
from lossprint.audit.training.side_by_side import Training, digest, measured_once

TRAINED = ("train_samples", "steps", "epochs", "batch", "model", "device", "seconds")
ABOUT = ("seeds", "relabelled", "excluded", "cleaned", "last_review")
COLUMNS = ("arm", "seed", "sample", "split", "given", "decided", "predicted", *TRAINED, *ABOUT, "key")
TEXT = ("arm", "split", "model", "device", "cleaned", "key")


def thin(labels: np.ndarray, keep: int, seed: int) -> np.ndarray:
    """`keep` of the positions of labels (N,), ascending, drawn at random, each class in proportion to its size."""
    order = np.random.default_rng((seed, len(labels), keep)).permutation(len(labels))
    drawn = order[np.argsort(labels[order], kind="stable")]  # class by class, shuffled within
    count = np.bincount(labels)
    starts = np.cumsum(count) - count
    place = np.arange(len(labels)) - starts[labels[drawn]]
    quantile = (place + 0.5) / count[labels[drawn]]
    return np.sort(drawn[np.argsort(quantile, kind="stable")[:keep]])


def compare(
    run: Run | str | Path,
    cleaned: str | Path,
    *,
    seeds: int = 3,
    epochs: int | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> pd.DataFrame:
    """Train all arms with `seeds` seeds each, and save and return the table that this module's docstring describes.

    The network is the run's, and so are, if not given, the epochs; its seed is the first one. Each training is saved
    when it is done, and none is repeated while the data and the settings stay the same. Without excluded training
    samples there is nothing to thin, and no such arm. Raises LossprintError as `read_cleaned` does, and where images of
    the run cannot be read any more.
    """
    run = run if isinstance(run, Run) else open_run(run)
    data = read_cleaned(run, cleaned)
    from lossprint.audit.training import models, train  # torch only once the cheap checks have passed

    asked = loading.asked_of(run)
    models.check_model(asked["model"])
    device = train.pick_device(device)
    epochs = epochs or asked["epochs"]
    inputs = loading.inputs_again(data.samples, data.given, data.split, data.classes, asked, quiet)
    recipe = replace(train.Recipe(), epochs=epochs).for_size(len(data.rows("train")))
    steps = epochs * recipe.steps(len(data.rows("train")))
    plan = side_by_side.Plan(inputs, recipe, asked["model"], steps, device, "float32")
    settings = {"steps": steps, "epochs": epochs, "batch": recipe.batch, "model": asked["model"], "device": device}
    table = _Table(run, data, plan, settings, range(asked["seed"], asked["seed"] + seeds), cleaned)
    return measured_once(plan, table.todo, table.done, table.judged, table.save, name="compare", quiet=quiet)


class _Table:
    """The comparison as it grows. todo: trainings by key, in the order of the table; done: rows by key."""

    def __init__(self, run: Run, data: Cleaned, plan: side_by_side.Plan, settings: dict, seeds: range, cleaned):
        self.run, self.data, self.plan, self.settings = run, data, plan, settings
        relabelled, excluded = data.changed("train")
        before = run.comparison()
        # Trainings with further seeds, asked for earlier, are kept as long as they are of the same comparison.
        last = seeds.stop if before is None else max(seeds.stop, int(before["seed"].max()) + 1)
        old = {} if before is None else dict(list(before.groupby("key", observed=True)))
        arms = ARMS if excluded else ARMS[:2]  # with none excluded there is nothing to thin
        self.arms, self.todo, self.done = {}, {}, {}
        for arm, seed in ((arm, seed) for seed in range(seeds.start, last) for arm in arms):
            training = _training(data, arm, seed)
            key = self._key(arm, training)
            if key in old or seed in seeds:
                self.arms[key], self.todo[key] = arm, training
            if key in old:
                self.done[key] = old[key]
        self.about = {
            "seeds": len({training.seed for training in self.todo.values()}),
            "relabelled": relabelled,
            "excluded": excluded,
            "cleaned": str(Path(cleaned).absolute()),
            "last_review": data.record.get("last_review"),
        }

    def _key(self, arm: str, training: Training) -> str:
        data, held_out, rows = self.data, self.plan.held_out, training.rows
        settings = {**self.settings, "size": self.plan.inputs.size, "classes": self.data.classes}
        ids = data.samples["sample"].to_numpy(np.int64)
        parts = (ids[rows], training.labels[rows], ids[held_out], data.given[held_out], data.decided[held_out])
        return digest({**settings, "arm": arm, "seed": training.seed}, *parts)

    def judged(self, key: str, predicted: np.ndarray) -> pd.DataFrame:
        """The held-out samples with what they are and what the network says."""
        data, rows, training = self.data, self.plan.held_out, self.todo[key]
        table = pd.DataFrame(
            {
                "sample": data.samples["sample"].to_numpy(np.int64)[rows],
                "split": data.split[rows],
                "given": data.given[rows].astype(np.int32),
                "decided": data.decided[rows].astype(np.int32),
                "predicted": predicted.astype(np.int32),
            }
        )
        more = {"arm": self.arms[key], "seed": training.seed, "train_samples": len(training.rows), "key": key}
        return table.assign(**more, **self.settings)

    def save(self) -> pd.DataFrame:
        """Write what is there, in the order of `todo`."""
        frames = [self.done[key] for key in self.todo if key in self.done]
        table = pd.concat(frames, ignore_index=True).assign(**self.about)[list(COLUMNS)]
        table = table.astype({**dict.fromkeys(TEXT, "category"), "last_review": "Int64"})
        self.run.write_comparison(table)
        return table


def _training(data: Cleaned, arm: str, seed: int) -> Training:
    """What an arm is trained on, rows ascending."""
    rows = data.rows("train")
    kept = rows[data.decided[rows] >= 0]
    if arm == "cleaned":
        return Training(kept, seed, np.where(data.decided >= 0, data.decided, data.given))
    if arm == "thinned":
        rows = rows[thin(data.given[rows], len(kept), seed)]
    return Training(rows, seed, data.given)
