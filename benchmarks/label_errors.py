"""Label errors: the ranking from one training run beside the scores it competes with and beside cleanlab.

    python benchmarks/label_errors.py --fashion FOLDER [--data LABELS.csv TRUTH.csv ...] [--seeds 0 1 2] [--half]

FOLDER holds Fashion-MNIST's IDX files (Debian's package dataset-fashion-mnist): labels of 5, 10, 20 and 40 % of
`--images` training images are injected, symmetric (any other class) and class-dependent (one fixed similar class). The
validation images keep their labels. `--data` adds datasets with known errors; their truth is read at the very end. The
demo always takes part. Needs cleanlab 2.8 or later (`pip install '.[bench]'`).

For every dataset and seed one ordinary training run gives all of ours; cleanlab gets the out-of-sample probabilities of
four more networks of the same kind, epochs and recipe, each trained on three quarters ("4-fold", as its documentation
recommends), and for comparison the in-sample ones of our own run. Prints one table, a row a dataset and method: AUROC,
average precision (AP) and precision at the number of errors (P@n), mean and standard deviation over the seeds, and the
images trained on. Two processes of one thread each. `--half` trains everything, cleanlab's networks too, with bfloat16
steps. `--keep FOLDER` stores each dataset's and seed's result, and goes on from there.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from against_truth import auroc, average_precision  # beside this file

DEMO = Path(__file__).parent.parent / "assets" / "demo"
FOLDS = 4
SIMILAR = {0: 6, 6: 0, 2: 4, 4: 2, 1: 3, 3: 1, 5: 7, 7: 5, 8: 5, 9: 7}  # Fashion-MNIST: the class put instead
STEPS = {"every 2nd": 2, "every 5th": 5}  # checkpoints, the last among them


@dataclass(frozen=True)
class Set:
    """Images (N, S, S, 3) uint8, given labels (N,), split (N,), and the truth, looked at when all is ranked."""

    pixels: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    true: np.ndarray
    wrong: np.ndarray
    classes: int


def injected(folder: Path, images: int, kind: str, rate: float, seed: int) -> Set:
    """`images` of Fashion-MNIST with a share of wrong labels, and 500 validation images with their own labels."""
    from lossprint.assets.make_demo import read_idx

    pixels, true = (read_idx(folder / f"train-{name}-ubyte.gz") for name in ("images-idx3", "labels-idx1"))
    true = true.astype(int)
    random = np.random.default_rng((seed, int(1000 * rate), kind == "symmetric"))
    rows = random.permutation(len(true))[: images + 500]
    true = true[rows]
    wrong = np.zeros(len(rows), bool)
    wrong[random.permutation(images)[: round(rate * images)]] = True
    other = (true + random.integers(1, 10, len(rows))) % 10
    if kind == "class-dependent":
        other = np.array([SIMILAR[c] for c in true])
    split = np.array(["train"] * images + ["val"] * 500)
    return Set(np.repeat(pixels[rows][..., None], 3, 3), np.where(wrong, other, true), split, true, wrong, 10)


def opened(labels: Path, truth: Path) -> Set:
    """A manifest and its answers, the training and validation splits."""
    from lossprint.audit.datasets import dataset as datasets

    dataset = datasets.open_dataset(str(labels))
    side = int(np.median(datasets.image_sizes(dataset, at_most=100).max(axis=1)))
    pixels = datasets.load(dataset, side).pixels
    answers = pd.read_csv(truth, dtype=str, keep_default_na=False).set_index("path").loc[dataset.samples["path"]]
    index = {label: i for i, label in enumerate(dataset.classes)}
    used = (dataset.samples["split"] != "test").to_numpy()
    given = dataset.samples["label"].map(index).to_numpy()
    true = answers["true_label"].map(index).fillna(-1).to_numpy(int)
    wrong = (answers["is_error"].astype(int) == 1).to_numpy()
    split = dataset.samples["split"].to_numpy(str)
    return Set(pixels[used], given[used], split[used], true[used], wrong[used], len(index))


def one(name: str, seed: int, options: argparse.Namespace) -> dict:
    """All rankings of one dataset and seed: {method: [AUROC, AP, P@n, training images]} and what else is reported."""
    import torch

    torch.set_num_threads(1)
    from lossprint.audit.findings import sharding
    from lossprint.audit.recording.recorder import Recorder
    from lossprint.audit.training import train
    from lossprint.scoring import input_curvature as curvature
    from lossprint.scoring import trajectory

    data = made(name, seed, options)
    n = len(data.labels)
    mean, std = train.channel_statistics(data.pixels, np.flatnonzero(data.split == "train"))
    inputs = train.Inputs(
        np.arange(n), data.labels, data.split, data.pixels, data.pixels.shape[1], mean, std, data.classes
    )
    names = [f"{c:03d}" for c in range(data.classes)]
    table = pd.DataFrame({"sample": np.arange(n), "path": [str(i) for i in range(n)], "split": data.split})
    table["label"] = [names[c] for c in data.labels]
    rows = inputs.rows("train")
    given = data.labels[rows]
    recipe = train.Recipe(half=options.half)
    epochs = options.epochs or recipe.epochs
    shared = {"model": "small", "epochs": epochs, "device": "cpu", "quiet": True, "recipe": recipe}
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder) / "run", table)
        began = time.process_time()
        network = train.train(recorder, inputs, seed=seed, **shared)
        seconds = time.process_time() - began
        run = recorder.run
        ours, val = run.trajectory("train"), run.trajectory("val")
        inside = probabilities(network, inputs, rows)
        bends = np.zeros(len(rows))
        for checkpoint in sorted({round(epochs * k / 4) for k in range(1, 5)} - {0}):
            train.load_weights(network, run.read_checkpoint(checkpoint))
            measured = curvature.measure(network, inputs.batches(rows, "cpu"), draws=1, seed=checkpoint)
            bends += measured.curvature
        fold = train.fold_of(inputs, FOLDS, seed)
        outside = np.zeros((len(rows), data.classes))
        began = time.process_time()
        for k in range(FOLDS):
            left = np.flatnonzero((data.split == "train") & (fold == k))
            member = recorder.member(f"fold={k:03d}")
            trained = train.train(
                member,
                inputs,
                seed=seed,
                rows=np.flatnonzero((data.split == "train") & (fold != k)),
                recorded=np.flatnonzero(fold == k),
                weights=range(0),
                **shared,
            )
            outside[np.searchsorted(rows, left)] = probabilities(trained, inputs, left)
        fold_seconds = time.process_time() - began
        out_of_fold = tuple(
            sharding.merged([run.member(f"fold={k:03d}").trajectory(split) for k in range(FOLDS)])
            for split in ("train", "val")
        )
    found, sure = ranked(ours, val, data.classes)
    scores = {"label_error (ours)": (found.severity, 1)}
    economy = {name: slice((epochs - 1) % step, None, step) for name, step in STEPS.items()}
    for part, few in {"first half": slice(0, (epochs + 1) // 2), **economy}.items():
        less = ranked(cut(ours, few), cut(val, few), data.classes)[0]
        scores[f"label_error, {part}"] = (less.severity, 1)
        scores[f"CSL, {part}"] = (trajectory.csl(ours.losses[few]), 1)
    scores["label_error, 4 folds (ours)"] = (ranked(*out_of_fold, data.classes)[0].severity, FOLDS - 1)
    csl = trajectory.csl(ours.losses)
    scores["final loss"] = (ours.losses[-1], 1)
    scores["CSL"] = (csl, 1)
    scores["AUM"] = (-trajectory.aum(ours.margins), 1)
    scores["curvature"] = (bends, 1)
    scores["rank mean of CSL and curvature"] = (ranks(csl) + ranks(bends), 1)
    from cleanlab.rank import get_label_quality_scores

    for what, p, cost in (("4-fold", outside, FOLDS - 1), ("in-sample", inside, 1)):
        for method in ("self_confidence", "normalized_margin"):
            scores[f"cleanlab {what}, {method}"] = (-get_label_quality_scores(given, p, method=method), cost)
    scores["random"] = (np.random.default_rng(seed).random(len(rows)), 0)
    wrong, true = data.wrong[rows], data.true[rows]
    return {
        "name": name,
        "seed": seed,
        "errors": int(wrong.sum()),
        "samples": len(rows),
        "epochs": epochs,
        "seconds": [seconds, fold_seconds],
        "methods": {k: [*figures(wrong, s), cost * len(rows) * epochs] for k, (s, cost) in scores.items()},
        "triage": triaged(found, sure, wrong, true),
        "range": expected(ours, val, found, data.classes),
    }


def made(name: str, seed: int, options: argparse.Namespace) -> Set:
    if name == "demo":
        return opened(DEMO / "labels.csv", DEMO / "truth.csv")
    if name.startswith("data "):
        return opened(*(Path(path) for path in options.data[int(name.split()[1])]))
    _, kind, percent = name.split()[:3]
    return injected(Path(options.fashion), options.images, kind, int(percent) / 100, seed)


def ranked(train, val, classes: int):
    """Label errors of the training samples as `score` finds them, and their confidence (N,), from two trajectories."""
    from lossprint.scoring import labels

    new = labels.newness(labels.fit(train.losses, train.margins), labels.fit(val.losses, val.margins))
    weights = labels.checkpoint_weights(val.losses, new)
    plain, seen = (
        labels.label_errors(one.losses, one.labels, margins=one.margins, predicted=one.predicted, weights=weights)
        for one in (train, val)
    )
    excess = labels.confusion_excess(plain, train.labels, seen, val.labels, classes)
    found = labels.ranked(plain, train.labels, excess, labels.confusions(plain, train.labels, classes).usual)
    flagged = int((found.severity > labels.SUSPECT).sum())
    return found, labels.rank_confidence(train.margins, found.margin - plain.margin, weights, flagged)


def cut(recorded, few: slice):
    """The trajectories at some of the checkpoints."""
    from lossprint.audit.types import Trajectory

    arrays = [None if a is None else a[few] for a in (recorded.losses, recorded.margins, recorded.predicted)]
    return Trajectory(recorded.samples, recorded.labels, recorded.checkpoints[few], *arrays)


def probabilities(network, inputs, rows: np.ndarray) -> np.ndarray:
    """(N, C) float64 of the network in eval mode."""
    import torch

    network.eval()
    with torch.inference_mode():
        logits = torch.cat([network(images).double() for _, images, _ in inputs.batches(rows, "cpu")])
    return torch.softmax(logits, 1).numpy()


def ranks(score: np.ndarray) -> np.ndarray:
    return score.argsort(kind="stable").argsort(kind="stable").astype(float)


def figures(wrong: np.ndarray, score: np.ndarray) -> list[float]:
    """AUROC, AP and precision at the number of errors; high scores are suspect, NaN comes last."""
    score = np.where(np.isnan(score), -np.inf, score)
    worst = np.argsort(-score, kind="stable")[: int(wrong.sum())]
    return [auroc(wrong, score), average_precision(wrong, score), float(wrong[worst].mean())]


def triaged(found, sure, wrong, true) -> dict:
    """Of each kind of case: samples, of them wrong, right suggestions among the wrong; the same by confidence."""
    from lossprint.scoring.labels import SUSPECT, triage

    kinds, flagged = triage(found), found.severity > SUSPECT
    parts = {kind or "none": kinds == kind for kind in ("wrong", "ambiguous", "hard", "")}
    parts |= {"flagged": flagged}
    parts |= {"flagged, confidence .9 and more": flagged & (sure >= 0.9), "flagged, less": flagged & (sure < 0.9)}
    right = found.suggested == true
    return {k: [int(m.sum()), int((m & wrong).sum()), int((m & wrong & right).sum())] for k, m in parts.items()}


def expected(train, val, found, classes: int) -> list[int]:
    """From how many to how many of the flagged are wrong, as the program says, and whether little was learnt."""
    from lossprint.scoring import labels, strength

    new = labels.newness(labels.fit(train.losses, train.margins), labels.fit(val.losses, val.margins))
    weights = labels.checkpoint_weights(val.losses, new)
    flagged, given = found.severity > labels.SUSPECT, train.labels
    counts = (np.bincount(given, minlength=classes), np.bincount(given[flagged], minlength=classes))
    verdict = strength.strength(strength.learnt([val.predicted], val.labels, [weights], classes), *counts)
    chances = strength.chances(found, labels.confusions(found, given, classes).usual)
    wrong = strength.wrong_among(given[flagged], *(one[flagged] for one in chances), float(weights @ new), verdict)
    return [wrong.low, wrong.high, int(verdict.little)]


def report(results: list[dict], titles: dict[str, str]) -> None:
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'dataset':<30} {'method':<38} {'AUROC':>15} {'AP':>13} {'P@n':>13} {'images trained':>15}")
    names = list(dict.fromkeys(r["name"] for r in results))
    for name in names:
        mine = [r for r in results if r["name"] == name]
        shown = f"{titles.get(name, name)}, {mine[0]['errors']} of {mine[0]['samples']}"
        for method in mine[0]["methods"]:
            values = np.array([r["methods"][method] for r in mine])
            mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1) if len(mine) > 1 else np.zeros(4)
            cells = [
                f"{m:.4f} ± {s:.4f}" if i == 0 else f"{m:.3f} ± {s:.3f}" for i, (m, s) in enumerate(zip(mean, spread))
            ]
            print(f"{shown:<30} {method:<38} {cells[0]:>15} {cells[1]:>13} {cells[2]:>13} {mean[3]:>15,.0f}")
    print(f"\n{'dataset':<30} {'triage':<38} {'samples':>9} {'wrong':>9} {'precision':>10} {'right suggestions':>18}")
    for name in names:
        mine = [r for r in results if r["name"] == name]
        for kind in mine[0]["triage"]:
            count, wrong, right = np.mean([r["triage"][kind] for r in mine], axis=0)
            shares = f"{wrong / max(count, 1e-9):>10.3f} {right / max(wrong, 1e-9):>18.3f}"
            print(f"{titles.get(name, name):<30} {kind:<38} {count:>9.1f} {wrong:>9.1f} {shares}")
    print(f"\n{'dataset':<30} {'seed':>4} {'flagged':>8} {'wrong':>6} {'as the program says':>20}  little learnt")
    for r in results:
        flagged, wrong, _ = r["triage"]["flagged"]
        low, high, little = r["range"]
        shown = f"{low} to {high}"
        print(
            f"{titles.get(r['name'], r['name']):<30} {r['seed']:>4} {flagged:>8} {wrong:>6} {shown:>20}  {bool(little)}"
        )
    seconds = np.sum([r["seconds"] for r in results], axis=0)
    print(
        f"\nprocessor seconds of training and recording: ours {seconds[0]:,.0f}, cleanlab's folds {seconds[1]:,.0f}, ",
        end="",
    )
    print(f"ratio {seconds[1] / seconds[0]:.2f}; seeds {sorted({r['seed'] for r in results})}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", metavar="FOLDER")
    parser.add_argument("--data", nargs=2, action="append", default=[], metavar=("LABELS", "TRUTH"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rates", nargs="+", type=int, default=[10, 20, 5, 40], help="per cent")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--half", action="store_true")
    parser.add_argument("--no-demo", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    names = [f"data {at}" for at in range(len(options.data))] + ([] if options.no_demo else ["demo"])
    if options.fashion:
        names += [f"fashion {kind} {rate} %" for rate in options.rates for kind in ("symmetric", "class-dependent")]
    if not names:
        parser.error("expected --fashion, --data or the demo, found nothing to measure")
    asked = hashlib.sha256(repr((options.images, options.epochs, options.half, options.data)).encode()).hexdigest()[:8]
    results, files = {}, {}
    todo = [(name, seed) for seed in options.seeds for name in names]
    for name, seed in todo:
        file = options.keep and options.keep / f"{asked} {name} {seed}.json"
        if file and file.exists():
            results[name, seed] = json.loads(file.read_text())
        files[name, seed] = file
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(one, *job, options): job for job in todo if job not in results}
        for done in as_completed(running):
            job = running[done]
            results[job] = done.result()
            if files[job]:
                files[job].parent.mkdir(parents=True, exist_ok=True)
                files[job].write_text(json.dumps(results[job]))
    titles = {f"data {at}": Path(labels).parent.name for at, (labels, _) in enumerate(options.data)}
    report([results[name, seed] for name in names for seed in options.seeds], titles)


if __name__ == "__main__":
    main()
