"""Simulated experts: how many label errors they find in our order, at random and in cleanlab's. See review.py."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lossprint.audit.review import queues
from lossprint.audit.runs.run import Run

SHARES = (0.05, 0.1, 0.2, 0.3)  # of the training samples, reviewed
KEEPS = 0.5  # an expert who errs on a wrong label keeps it, else puts another wrong one


@dataclass(frozen=True)
class Said:
    """What an expert would say of each sample, (N,) bool each.

    `blames`: says that the label is wrong, rightly or not. `mends`: puts the true label in place of a wrong one.
    `spoils`: changes a right label. `misses`: changes a wrong label into another wrong one.
    """

    blames: np.ndarray
    mends: np.ndarray
    spoils: np.ndarray
    misses: np.ndarray


def says(wrong: np.ndarray, error: float, random: np.random.Generator, classes: int = 10) -> Said:
    """An expert who answers wrongly with the chance `error`, on each sample anew. wrong (N,) bool: the truth.

    A wrong answer to a right label changes it. A wrong answer to a wrong label keeps it or puts another wrong one, with
    equal chance; with two classes there is no other.
    """
    errs = random.random(len(wrong)) < error
    keeps = random.random(len(wrong)) < (KEEPS if classes > 2 else 1.0)
    mends, spoils, misses = wrong & ~errs, ~wrong & errs, wrong & errs & ~keeps
    return Said(mends | spoils | misses, mends, spoils, misses)


def reviewed(order: np.ndarray, wrong: np.ndarray, said: Said, shares=SHARES) -> np.ndarray:
    """After the first shares (K,) of an order (N,) of positions: (K, 3) found, wrong corrections, left.

    Found: the wrong labels that were put right. Wrong corrections: right labels changed, and wrong ones changed into
    another wrong one. Left: the wrong labels among all N samples afterwards.
    """
    ends = np.round(np.asarray(shares) * len(order)).astype(int)
    mended, spoilt, missed = (np.r_[0, np.cumsum(one[order])][ends] for one in (said.mends, said.spoils, said.misses))
    return np.stack([mended, spoilt + missed, wrong.sum() - mended + spoilt], axis=1)


def simulated(orders: dict, wrong: np.ndarray, error: float, simulations: int, seed: int, classes: int) -> dict:
    """By the name of an order: (simulations, K, 3) as `reviewed` gives them. An order of None is drawn by chance.

    In each simulation the same expert goes through all orders, and says the same of a sample in each.
    """
    found = {name: [] for name in orders}
    for number in range(simulations):
        random = np.random.default_rng([seed, number, round(1e6 * error)])
        said = says(wrong, error, random, classes)
        by_chance = random.permutation(len(wrong))
        for name, order in orders.items():
            found[name].append(reviewed(by_chance if order is None else order, wrong, said))
    return {name: np.array(rows) for name, rows in found.items()}


# ---------------------------------------------------------------------------------------------- orders


def our_order(findings: pd.DataFrame, scores: pd.DataFrame) -> np.ndarray:
    """Positions (N,) in `scores` (a row a training sample): the queue in its order, then the rest by label_error."""
    named = queues.items(findings, scores.set_index("sample"))["samples"]
    asked = np.array([sample for samples in named for sample in samples], np.int64)
    at = pd.Index(scores["sample"]).get_indexer(asked)
    at = at[at >= 0]  # a duplicate may lie in another split
    rest = np.argsort(-scores["label_error"].fillna(-np.inf).to_numpy(float), kind="stable")
    return pd.unique(np.r_[at, rest])


def cleanlab_orders(given: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Positions (N,), the most suspect first: two of its scores, and its issues first, ranked, then the rest."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    orders = {}
    for method in ("self_confidence", "normalized_margin"):
        quality = get_label_quality_scores(given, probabilities, method=method)
        orders[f"cleanlab {method}"] = np.argsort(quality, kind="stable")
    issues = find_label_issues(given, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    orders["cleanlab find_label_issues"] = pd.unique(np.r_[issues, orders["cleanlab self_confidence"]])
    return orders


def out_of_sample(run: Run, folds: int, kept: Path) -> tuple[np.ndarray, np.ndarray]:
    """Samples (N,) and probabilities (N, C) of networks that were not trained on them, from the file `kept` or made.

    The same network, recipe, epochs and seed as the run's, trained once for each of the folds on the others.
    """
    key = f"{run.manifest['dataset']['fingerprint']} {folds} {run.manifest['asked']}"
    if kept.exists():
        with np.load(kept) as file:
            if str(file["key"]) != key:
                raise SystemExit(f"expected the probabilities of {run.path} in {folds} folds, found others in {kept}")
            return file["samples"], file["probabilities"]
    samples, probabilities = _trained(run, folds)
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.savez(kept, key=key, samples=samples, probabilities=probabilities)
    return samples, probabilities


def _trained(run: Run, folds: int) -> tuple[np.ndarray, np.ndarray]:
    from label_errors import probabilities  # beside this file

    from lossprint.audit.datasets import dataset as datasets
    from lossprint.audit.recording.recorder import Recorder
    from lossprint.audit.training import train

    asked, size = run.manifest["asked"], run.manifest["facts"]["record"]["size"]
    dataset = datasets.open_dataset(asked["dataset"], asked["val_fraction"], asked["seed"])
    table = dataset.samples
    split = table["split"].to_numpy(str)
    labels = np.searchsorted(dataset.classes, table["label"].to_numpy(str))
    pixels = datasets.load(dataset, size).pixels
    mean, std = train.channel_statistics(pixels, np.flatnonzero(split == "train"))
    ids = table["sample"].to_numpy(np.int64)
    inputs = train.Inputs(ids, labels, split, pixels, size, mean, std, len(dataset.classes))
    rows, fold = inputs.rows("train"), train.fold_of(inputs, folds, asked["seed"])
    found = np.zeros((len(rows), inputs.classes))
    device = train.pick_device("auto")
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder) / "run", table)
        for k in range(folds):
            left = rows[fold[rows] == k]
            network = train.train(
                recorder.member(f"fold={k:03d}"),
                inputs,
                model=asked["model"],
                epochs=asked["epochs"],
                seed=asked["seed"],
                device=device,
                rows=rows[fold[rows] != k],
                recorded=left,
                weights=range(0),
                name=f"fold {k + 1} of {folds}",
            )
            found[fold[rows] == k] = probabilities(network.to("cpu"), inputs, left)
    return ids[rows], found


# ---------------------------------------------------------------------------------------------- the table


def orders_of(run: Run, folds: int, kept: Path | None) -> tuple[np.ndarray, dict]:
    """The ids (N,) of the training samples and the orders to compare; the truth is not needed."""
    scores = run.scores()
    orders = {"ours": our_order(run.findings(), scores), "random": None}
    samples = scores["sample"].to_numpy(np.int64)
    if kept is not None:
        ids, probabilities = out_of_sample(run, folds, kept)
        probabilities = probabilities[pd.Index(ids).get_indexer(samples)]
        given = np.searchsorted(run.classes, scores["label"].to_numpy(str))
        orders |= cleanlab_orders(given, probabilities)
    return samples, orders


def wrong_of(run: Run, samples: np.ndarray, truth: Path) -> np.ndarray:
    """Which labels are wrong (N,) bool, by the answers of path,is_error."""
    answers = pd.read_csv(truth, dtype=str, keep_default_na=False).set_index("path")["is_error"]
    paths = run.samples().set_index("sample").loc[samples, "path"]
    return answers.loc[paths].astype(int).to_numpy() == 1


def lines(orders: dict, wrong: np.ndarray, errors, simulations: int, seed: int, classes: int) -> Iterator[str]:
    """The table: a line an expert and order."""
    perfect = np.argsort(~wrong, kind="stable")
    shares = "".join(f"{f'after {share:.0%}':>21}" for share in SHARES)
    last = f"{SHARES[-1]:.0%}"
    yield f"{'expert':<11}{'order':<28}{shares}{f'wrong corrections, {last}':>25}{f'errors left, {last}':>21}"
    for error in errors:
        found = simulated({**orders, "perfect": perfect}, wrong, error, simulations, seed, classes)
        for name, rows in found.items():
            cells = "".join(f"{spread(rows[:, at, 0] / wrong.sum(), 3):>21}" for at in range(len(SHARES)))
            ends = f"{spread(rows[:, -1, 1], 0):>25}{spread(rows[:, -1, 2], 0):>21}"
            yield f"{f'{error:.0%} errors':<11}{name:<28}{cells}{ends}"


def spread(values: np.ndarray, digits: int) -> str:
    """The mean, and from the 5 % to the 95 % quantile where there is a spread."""
    low, high = np.quantile(values, [0.05, 0.95])
    told = f"{values.mean():.{digits}f}"
    return told if low == high else f"{told} ({low:.{digits}f}-{high:.{digits}f})"


def experts(options) -> None:
    """Print the table; the truth is read at the very end."""
    from lossprint.audit import open_run

    run = open_run(options.run)
    samples, orders = orders_of(run, options.folds, options.cleanlab)
    wrong = wrong_of(run, samples, options.truth)
    print(f"{len(wrong):,} training samples, {wrong.sum():,} with a wrong label ({wrong.mean():.1%})")
    rates = [0.0, *(rate for rate in options.errors if rate)]
    print(f"share of them put right, mean (5 to 95 %) of {options.simulations} simulations")
    for line in lines(orders, wrong, rates, options.simulations, options.seed, len(run.classes)):
        print(line, flush=True)
