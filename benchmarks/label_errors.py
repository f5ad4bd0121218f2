"""Label errors: the ranking from one training run beside the scores it competes with and beside cleanlab.

    python benchmarks/label_errors.py --fashion FOLDER [--data LABELS.csv TRUTH.csv ...] [--seeds 0 1 2] [--half]

FOLDER holds Fashion-MNIST's IDX files (Debian's package dataset-fashion-mnist): labels of 5, 10, 20 and 40 % of
`--images` training images are injected, symmetric (any other class) and class-dependent (one fixed similar class). The
validation images keep their labels. `--drawn 100x6` adds 600 drawn shapes of 100 classes, 5 % wrong. `--data` adds
datasets with known errors; their truth is read at the very end. The demo always takes part. Needs cleanlab 2.8 or later
(`pip install '.[bench]'`).

For every dataset and seed one ordinary training run gives all of ours; cleanlab gets the out-of-sample probabilities of
four more networks of the same kind, epochs and recipe, each trained on three quarters ("4-fold", as its documentation
recommends), and for comparison the in-sample ones of our own run. Prints one table, a row a dataset and method: AUROC,
average precision (AP) and precision at the number of errors (P@n), mean and standard deviation over the seeds, and the
images trained on. Two processes of one thread each. `--half` trains everything, cleanlab's networks too, with bfloat16
steps. `--keep FOLDER` stores what each dataset and seed taught, as arrays: a second run judges them without training.
"""

import argparse
import hashlib
import multiprocessing
import os
import platform
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import pandas as pd
from against_truth import auroc, average_precision  # beside this file
from label_error_sets import Set, drawn, injected, opened

DEMO = Path(__file__).parent.parent / "assets" / "demo"
FOLDS = 4
ANSWERS = 120  # of a simulated review
STEPS = {"every 2nd": 2, "every 5th": 5}  # checkpoints, the last among them
RECORDED = ("samples", "labels", "checkpoints", "losses", "margins", "predicted")  # of a trajectory


def recorded(name: str, seed: int, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """All that is learnt of one dataset and seed, as arrays: trajectories, probabilities, curvature, and the truth."""
    import torch

    torch.set_num_threads(1)
    from lossprint.audit.findings import sharding
    from lossprint.audit.recording.recorder import Recorder
    from lossprint.audit.training import train
    from lossprint.scoring import input_curvature as curvature

    data = made(name, seed, options)
    n = len(data.labels)
    mean, std = train.channel_statistics(data.pixels, np.flatnonzero(data.split == "train"))
    inputs = train.Inputs(
        np.arange(n), data.labels, data.split, data.pixels, data.pixels.shape[1], mean, std, data.classes
    )
    table = pd.DataFrame({"sample": np.arange(n), "path": [str(i) for i in range(n)], "split": data.split})
    table["label"] = [f"{c:03d}" for c in data.labels]
    rows = inputs.rows("train")
    recipe = train.Recipe(half=options.half)
    epochs = options.epochs or recipe.epochs
    shared = {"model": "small", "epochs": epochs, "device": "cpu", "quiet": True, "recipe": recipe}
    arrays = {"wrong": data.wrong[rows], "true": data.true[rows], "classes": np.array(data.classes)}
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder) / "run", table)
        began = time.process_time()
        network = train.train(recorder, inputs, seed=seed, **shared)
        seconds = [time.process_time() - began]
        run = recorder.run
        parts = {"train": run.trajectory("train"), "val": run.trajectory("val")}
        arrays["inside"] = probabilities(network, inputs, rows)
        arrays["bends"] = np.zeros(len(rows))
        for checkpoint in sorted({round(epochs * k / 4) for k in range(1, 5)} - {0}):
            train.load_weights(network, run.read_checkpoint(checkpoint))
            measured = curvature.measure(network, inputs.batches(rows, "cpu"), draws=1, seed=checkpoint)
            arrays["bends"] += measured.curvature
        fold = train.fold_of(inputs, FOLDS, seed)
        arrays["outside"] = np.full((len(rows), data.classes), np.nan)
        began = time.process_time()
        for k in range(0 if options.no_folds else FOLDS):
            left = np.flatnonzero((data.split == "train") & (fold == k))
            trained = train.train(
                recorder.member(f"fold={k:03d}"),
                inputs,
                seed=seed,
                rows=np.flatnonzero((data.split == "train") & (fold != k)),
                recorded=np.flatnonzero(fold == k),
                weights=range(0),
                **shared,
            )
            arrays["outside"][np.searchsorted(rows, left)] = probabilities(trained, inputs, left)
        arrays["seconds"] = np.array([*seconds, time.process_time() - began])
        members = [run.member(f"fold={k:03d}") for k in range(FOLDS)]
        for split in () if options.no_folds else ("train", "val"):
            parts[f"folds {split}"] = sharding.merged([member.trajectory(split) for member in members])
    for what, one in parts.items():
        arrays |= {f"{what} {field}": getattr(one, field) for field in RECORDED}
    return arrays


def trajectory_of(arrays: dict[str, np.ndarray], what: str):
    from lossprint.audit.types import Trajectory

    return Trajectory(**{field: arrays[f"{what} {field}"] for field in RECORDED})


def judged(name: str, seed: int, arrays: dict[str, np.ndarray]) -> dict:
    """All rankings of one dataset and seed: {method: [AUROC, AP, P@n, training images]} and what else is reported."""
    from lossprint.scoring import trajectory

    ours, val = (trajectory_of(arrays, what) for what in ("train", "val"))
    folds = "folds train losses" in arrays
    classes, epochs, given = int(arrays["classes"]), len(ours.losses), ours.labels
    errors, sure = ranked(ours, val, classes)
    scores = {"label_error (ours)": (errors.severity, 1)}
    economy = {name: slice((epochs - 1) % step, None, step) for name, step in STEPS.items()}
    for part, few in {"first half": slice(0, (epochs + 1) // 2), **economy}.items():
        less = ranked(cut(ours, few), cut(val, few), classes)[0]
        scores[f"label_error, {part}"] = (less.severity, 1)
        scores[f"CSL, {part}"] = (trajectory.csl(ours.losses[few]), 1)
    if folds:
        parts = [trajectory_of(arrays, f"folds {split}") for split in ("train", "val")]
        scores["label_error, 4 folds (ours)"] = (ranked(*parts, classes)[0].severity, FOLDS - 1)
    csl, bends = trajectory.csl(ours.losses), arrays["bends"]
    scores["final loss"] = (ours.losses[-1], 1)
    scores["CSL"] = (csl, 1)
    scores["AUM"] = (-trajectory.aum(ours.margins), 1)
    scores["curvature"] = (bends, 1)
    scores["rank mean of CSL and curvature"] = (ranks(csl) + ranks(bends), 1)
    from cleanlab.rank import get_label_quality_scores

    outside = [("4-fold", arrays["outside"], FOLDS - 1)] if folds else []
    for what, p, cost in (*outside, ("in-sample", arrays["inside"], 1)):
        for method in ("self_confidence", "normalized_margin"):
            scores[f"cleanlab {what}, {method}"] = (-get_label_quality_scores(given, p, method=method), cost)
    scores["random"] = (np.random.default_rng(seed).random(len(given)), 0)
    wrong, true = arrays["wrong"], arrays["true"]
    return {
        "name": name,
        "seed": seed,
        "errors": int(wrong.sum()),
        "samples": len(given),
        "epochs": epochs,
        "seconds": arrays["seconds"].tolist(),
        "methods": {k: [*figures(wrong, s), cost * len(given) * epochs] for k, (s, cost) in scores.items()},
        "triage": triaged(errors, sure, wrong, true),
        "range": expected(ours, val, errors, classes),
        "ranks": by_rank(errors.severity, wrong, seed),
    }


def made(name: str, seed: int, options: argparse.Namespace) -> Set:
    if name == "demo":
        return opened(DEMO / "labels.csv", DEMO / "truth.csv")
    if name.startswith("data "):
        return opened(*(Path(path) for path in options.data[int(name.split()[1])]))
    if name.startswith("drawn "):
        return drawn(*map(int, name.split()[1].split("x")), seed)
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


def by_rank(severity: np.ndarray, wrong: np.ndarray, seed: int) -> list:
    """Up to which rank more than half of the flagged are wrong; the same and the shares before and behind as the page
    says them after `ANSWERS` right answers, half to the first ranks, half spread at random; and the true shares."""
    from lossprint.audit.review import strata, wrong_labels

    order = np.argsort(-severity, kind="stable")[: int((severity > 0.5).sum())]
    errors, answered = wrong[order], np.zeros(len(order), bool)
    answered[: ANSWERS // 2] = True
    answered[np.random.default_rng(seed).permutation(len(order))[: ANSWERS // 2]] = True
    gain = np.cumsum(errors - 0.5)
    truly = int(gain.argmax()) + 1 if len(gain) and gain.max() > 0 else 0
    first, behind = wrong_labels.by_rank(strata.tenths(answered, errors & answered, 0.9))
    at, end = (0 if one is None else one.last for one in (first, behind))
    shares = [None if one is None else one.share for one in (first, behind)]
    return [truly, at, *shares, *(float(part.mean()) if len(part) else None for part in (errors[:at], errors[at:end]))]


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
    print(f"\n{'dataset':<30} {'seed':>4} {'more than half to rank':>22} {'by the page':>12}  before, behind (truly)")
    for r in results:
        truly, at, *shares = r["ranks"]
        shown = ["-" if one is None else f"{one:.2f}" for one in shares]
        words = f"{shown[0]} ({shown[2]}), {shown[1]} ({shown[3]})"
        print(f"{titles.get(r['name'], r['name']):<30} {r['seed']:>4} {truly:>22} {at or '-':>12}  {words}")
    seconds = np.sum([r["seconds"] for r in results], axis=0)
    print(
        f"\nprocessor seconds of training and recording: ours {seconds[0]:,.0f}, cleanlab's folds {seconds[1]:,.0f}, ",
        end="",
    )
    print(f"ratio {seconds[1] / seconds[0]:.2f}; seeds {sorted({r['seed'] for r in results})}")


def fingerprint(name: str, options: argparse.Namespace) -> str:
    """Eight letters for what a recording depends on beside its dataset and seed."""
    of = options.data[int(name.split()[1])] if name.startswith("data ") else [options.images, options.fashion]
    return hashlib.sha256(repr((of, options.epochs, options.half) + options.no_folds * (0,)).encode()).hexdigest()[:8]


def keep(name: str, seed: int, options: argparse.Namespace, file: Path) -> None:
    """Record one dataset and seed in an .npz file, whole or not at all."""
    beside = file.with_suffix(".part.npz")
    np.savez(beside, **recorded(name, seed, options))
    beside.rename(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", metavar="FOLDER")
    parser.add_argument("--data", nargs=2, action="append", default=[], metavar=("LABELS", "TRUTH"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rates", nargs="+", type=int, default=[10, 20, 5, 40], help="per cent")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--half", action="store_true")
    parser.add_argument("--drawn", nargs="*", default=[], metavar="CLASSESxIMAGES", help="drawn shapes, such as 100x6")
    parser.add_argument("--no-folds", action="store_true", help="one training each: no cleanlab out of sample")
    parser.add_argument("--no-demo", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    names = [f"data {at}" for at in range(len(options.data))] + ([] if options.no_demo else ["demo"])
    names += [f"drawn {size}" for size in options.drawn]
    if options.fashion:
        names += [f"fashion {kind} {rate} %" for rate in options.rates for kind in ("symmetric", "class-dependent")]
    if not names:
        parser.error("expected --fashion, --data or the demo, found nothing to measure")
    files = options.keep or Path(tempfile.mkdtemp(prefix="label-errors-"))
    files.mkdir(parents=True, exist_ok=True)
    recordings = {
        (name, seed): files / f"{fingerprint(name, options)} {name} {seed}.npz"
        for seed in options.seeds
        for name in names
    }
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        absent = {job: file for job, file in recordings.items() if not file.exists()}
        for finished in as_completed([pool.submit(keep, *job, options, file) for job, file in absent.items()]):
            finished.result()
    results = {}
    for job, file in recordings.items():
        with np.load(file) as arrays:
            results[job] = judged(*job, dict(arrays))
    titles = {f"data {at}": Path(labels).parent.name for at, (labels, _) in enumerate(options.data)}
    report([results[name, seed] for name in names for seed in options.seeds], titles)


if __name__ == "__main__":
    main()
