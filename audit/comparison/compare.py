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

import hashlib
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from lossprint.audit.comparison.cleaned import Cleaned, read_cleaned
from lossprint.audit.runs.run import Run, open_run
from lossprint.audit.system.progress import bar_style
from lossprint.audit.types import LossprintError

ARMS = ("given", "cleaned", "thinned")
LEVEL = 0.9
TRAINED = ("train_samples", "steps", "epochs", "batch", "model", "device", "seconds")
ABOUT = ("seeds", "relabelled", "excluded", "cleaned", "last_review")
COLUMNS = ("arm", "seed", "sample", "split", "given", "decided", "predicted", *TRAINED, *ABOUT, "key")
TEXT = ("arm", "split", "model", "device", "cleaned", "key")
NAMES = {"given": "given", "cleaned": "cleaned", "thinned": "randomly thinned"}
SPLITS = {"val": "validation", "test": "test"}


# ------------------------------------------------------------------------------------------------- training


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
    from lossprint.audit.training import models, train
    from lossprint.audit.workflow import audit as workflow  # torch only once the cheap checks have passed

    asked = {**workflow.DEFAULTS, "dataset": run.manifest["dataset"].get("source")}
    asked |= {name: value for name, value in run.manifest["asked"].items() if name in asked and name != "dataset"}
    if not asked["dataset"]:
        raise LossprintError(f"expected a run whose images are known, found none named in {run.path}")
    models.check_model(asked["model"])
    device = train.pick_device(device)
    epochs = epochs or asked["epochs"]
    inputs = workflow.inputs_again(data.samples, data.given, data.split, data.classes, asked, quiet)
    recipe = replace(train.Recipe(), epochs=epochs).for_size(len(data.rows("train")))
    steps = epochs * recipe.steps(len(data.rows("train")))
    relabelled, excluded = data.changed("train")
    about = {
        "seeds": seeds,
        "relabelled": relabelled,
        "excluded": excluded,
        "cleaned": str(Path(cleaned).absolute()),
        "last_review": data.record.get("last_review"),
    }
    how = {"steps": steps, "epochs": epochs, "batch": recipe.batch, "model": asked["model"], "device": device}
    before = run.comparison()
    # Trainings with further seeds, asked for earlier, are kept as long as they are of the same comparison.
    most = seeds if before is None else max(seeds, int(before["seed"].max()) - asked["seed"] + 1)
    todo = [(arm, asked["seed"] + k) for k in range(most) for arm in ARMS if excluded or arm != "thinned"]
    settings = {**how, "size": inputs.size, "classes": run.classes}
    every = [_key(data, *_arm(data, *one), {**settings, "arm": one[0], "seed": one[1]}) for one in todo]
    done = {} if before is None else {key: rows for key, rows in before.groupby("key", observed=True) if key in every}
    todo, keys = zip(*(one for one in zip(todo, every) if one[1] in done or one[0][1] < asked["seed"] + seeds))
    about["seeds"] = len({seed for _, seed in todo})

    def save() -> pd.DataFrame:
        """Write what is there, in the order of `todo`."""
        frames = [done[key] for key in keys if key in done]
        table = pd.concat(frames, ignore_index=True).assign(**about)[list(COLUMNS)]
        table = table.astype({**dict.fromkeys(TEXT, "category"), "last_review": "Int64"})
        run.write_comparison(table)
        return table

    steps_done = steps * sum(key in done for key in keys)
    style = {"unit": "step", "desc": "compare", "disable": quiet, **bar_style()}
    with tqdm(total=len(todo) * steps, initial=steps_done, **style) as bar:
        for at, ((arm, seed), key) in enumerate(zip(todo, keys)):
            if key in done:
                continue
            began = time.perf_counter()
            bar.set_postfix_str(f"{NAMES[arm]}, seed {seed}, {at + 1} of {len(todo)}")
            rows, labels = _arm(data, arm, seed)
            mine = replace(inputs, labels=labels)
            network = train.fit(
                mine, rows, model=asked["model"], recipe=recipe, steps=steps, seed=seed, device=device, bar=bar
            )
            found = _measure(data, lambda some, net=network: train.predict(net, inputs, some, device))
            took = round(time.perf_counter() - began, 2)
            done[key] = found.assign(arm=arm, seed=seed, train_samples=len(rows), **how, seconds=took, key=key)
            save()
    return save()


def _arm(data: Cleaned, arm: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The training rows of an arm, ascending, and all labels (N,)."""
    rows = data.rows("train")
    kept = rows[data.decided[rows] >= 0]
    if arm == "cleaned":
        return kept, np.where(data.decided >= 0, data.decided, data.given)
    return (rows[thin(data.given[rows], len(kept), seed)] if arm == "thinned" else rows), data.given


def _measure(data: Cleaned, predict) -> pd.DataFrame:
    """The held-out samples with what they are and what the network says. predict: rows -> class indices."""
    rows = np.flatnonzero(np.isin(data.split, list(SPLITS)))
    return pd.DataFrame(
        {
            "sample": data.samples["sample"].to_numpy(np.int64)[rows],
            "split": data.split[rows],
            "given": data.given[rows].astype(np.int32),
            "decided": data.decided[rows].astype(np.int32),
            "predicted": predict(rows).astype(np.int32),
        }
    )


def _key(data: Cleaned, rows: np.ndarray, labels: np.ndarray, settings: dict) -> str:
    """A digest of what a training and its measurement depend on."""
    held_out = np.flatnonzero(np.isin(data.split, list(SPLITS)))
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    ids = data.samples["sample"].to_numpy(np.int64)
    for part in (ids[rows], labels[rows], ids[held_out], data.given[held_out], data.decided[held_out]):
        digest.update(np.ascontiguousarray(part, np.int64).tobytes() + b"|")
    return digest.hexdigest()


# ------------------------------------------------------------------------------------------------- what came of it


@dataclass(frozen=True)
class Gain:
    """Accuracy of the cleaned arm minus that of another in points (100 = all), and its 90 % interval.

    low and high are None with fewer than two seeds.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def sure(self) -> bool:
        """Whether the interval is on one side of 0."""
        return self.low is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True, eq=False)
class Summary:
    """One way of judging: on a split, against the `given` or the `cleaned` labels (those decided, without excluded).

    truth: class indices (n,) of the images. right: for each arm, a row a seed, a column an image (S, n) bool, for the
    seeds that are done in all arms. over: the cleaned arm's Gain over the other arms.
    """

    split: str
    labels: str
    truth: np.ndarray
    seeds: list[int]
    right: dict[str, np.ndarray]
    over: dict[str, Gain]

    @property
    def accuracy(self) -> pd.DataFrame:
        """A row a seed, a column an arm, in [0, 1]."""
        return pd.DataFrame({arm: right.mean(1) for arm, right in self.right.items()}, index=self.seeds)


def gain(cleaned: np.ndarray, other: np.ndarray) -> Gain:
    """From right answers (S, n) bool of two arms, for the same seeds and images.

    A 90 % interval for other seeds and other images of the same kind: the variance of the mean over seeds (paired) plus
    that over images (paired, averaged over seeds), with Welch and Satterthwaite's degrees of freedom (Biometrics
    Bulletin 2, 1946). Their sum counts what seeds and images do together twice, so it is rather too wide. Accuracies
    come in steps of an image: a deviation over seeds under one step is taken as one step.
    """
    difference = cleaned.astype(np.float64) - other
    seeds, images = difference.shape
    mean = float(100 * difference.mean())
    if seeds < 2:
        return Gain(mean, None, None, seeds)
    from scipy.special import stdtrit

    of_seeds = max(float(difference.mean(1).std(ddof=1)), 1 / images) ** 2 / seeds
    of_images = float(difference.mean(0).var()) / images
    freedom = (of_seeds + of_images) ** 2 / (of_seeds**2 / (seeds - 1) + of_images**2 / max(images - 1, 1))
    half = 100 * float(stdtrit(freedom, (1 + LEVEL) / 2)) * np.sqrt(of_seeds + of_images)
    return Gain(mean, mean - half, mean + half, seeds)


def summary(table: pd.DataFrame, split: str = "val", labels: str = "given") -> Summary | None:
    """What a comparison says on a split against a kind of label.

    None where no seed is done in all arms, or where the split has no images or (for `cleaned`) no changed labels.
    """
    mine = table[table["split"] == split]
    if labels == "cleaned":
        if (mine["decided"] == mine["given"]).all():
            return None
        mine = mine[mine["decided"] >= 0]
    if mine.empty:
        return None
    column = "given" if labels == "given" else "decided"
    arms = [arm for arm in ARMS if arm != "thinned" or mine["excluded"].iloc[0] > 0]
    parts = {key: rows.sort_values("sample") for key, rows in mine.groupby(["arm", "seed"], observed=True)}
    seeds = sorted(seed for seed in set(mine["seed"]) if all((arm, seed) in parts for arm in arms))
    if not seeds:
        return None
    right = {
        arm: np.stack([(parts[arm, seed]["predicted"] == parts[arm, seed][column]).to_numpy() for seed in seeds])
        for arm in arms
    }
    truth = parts["given", seeds[0]][column].to_numpy()
    over = {arm: gain(right["cleaned"], right[arm]) for arm in arms if arm != "cleaned"}
    return Summary(split, labels, truth, [int(seed) for seed in seeds], right, over)


def summaries(table: pd.DataFrame) -> list[Summary]:
    """All ways of judging that there are: validation first, given labels first."""
    ways = [(split, labels) for split in SPLITS for labels in ("given", "cleaned")]
    return [one for one in (summary(table, *way) for way in ways) if one is not None]


def sentence(found: Summary) -> str:
    """A Summary in words, with what it does not show."""
    mean = found.accuracy.mean()
    others = ", ".join(f"{NAMES[arm]} {100 * mean[arm]:.1f} %" for arm in found.over)
    first = found.over["given"]
    where = {
        ("val", "given"): "Cleaned labels",
        ("val", "cleaned"): "Cleaned labels, judged by the decided validation labels",
        ("test", "given"): "Cleaned labels, test split",
        ("test", "cleaned"): "Cleaned labels, judged by the decided test labels",
    }[found.split, found.labels]
    said = f"{where}: {100 * mean['cleaned']:.1f} % ({others}), {first.mean:+.1f} points"
    if first.low is None:
        return f"{said}, 1 seed: one training each cannot tell a gain from chance."
    said += f", 90 % interval {_points(first.low)} to {_points(first.high)}"
    said += f", {first.seeds} seeds, {len(found.truth):,} images."
    if not first.sure:
        return f"{said} The interval holds 0: other seeds or images could turn this round."
    if first.mean < 0:
        return f"{said} The cleaned labels trained a worse model."
    if "thinned" in found.over and not (found.over["thinned"].sure and found.over["thinned"].mean > 0):
        return f"{said} But leaving out as many at random did about as well."
    return said


def _points(value: float) -> str:
    return f"{round(value, 1) + 0.0:.1f}"  # not -0.0


def sentences(table: pd.DataFrame) -> list[str]:
    """A sentence for each way of judging, the validation split against the given labels first; none before a seed."""
    return [sentence(one) for one in summaries(table)]


def by_class(found: Summary, classes: list[str]) -> pd.DataFrame:
    """Per class: samples, accuracy of each arm in [0, 1], mean over seeds, and change (cleaned - given) in points.

    low and high are the least and the greatest change among the seeds. Sorted by change, the greatest loss first.
    """
    count = np.bincount(found.truth, minlength=len(classes))
    kept = np.flatnonzero(count)
    share = {
        arm: np.stack([np.bincount(found.truth, row, len(classes))[kept] / count[kept] for row in right])
        for arm, right in found.right.items()
    }
    change = 100 * (share["cleaned"] - share["given"])
    table = pd.DataFrame({"class": np.array(classes, object)[kept], "samples": count[kept]})
    table = table.assign(**{arm: each.mean(0) for arm, each in share.items()})
    table = table.assign(change=change.mean(0), low=change.min(0), high=change.max(0))
    return table.sort_values("change", kind="stable", ignore_index=True)
