"""What a comparison came to: the gain in accuracy with its interval, in words and by class. See `compare`."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

ARMS = ("given", "cleaned", "thinned")
NAMES = {"given": "given", "cleaned": "cleaned", "thinned": "randomly thinned"}
SPLITS = {"val": "validation", "test": "test"}
LEVEL = 0.9


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
    A class beyond `classes`, which a reviewer had added and nobody gives any more, is told as such.
    """
    count = np.bincount(found.truth, minlength=len(classes))
    classes = [*classes, *(f"class {at} of then" for at in range(len(classes) + 1, len(count) + 1))]
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
