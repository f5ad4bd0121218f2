"""Label errors on frozen features: every head and their ranking beside cleanlab's folds on the same features.

    python benchmarks/frozen.py --data LABELS.csv TRUTH.csv [--data ...] --cache FOLDER [--backbone lite0 nsfw]
        [--seeds 0 1 2] [--c 1e-4 1e-3 1e-2 .1 1 10] [--peer-seeds 1] [--scratch RUN ...]

Features come from `frozen_features.py` and are kept in FOLDER. Prints one table, a row a dataset, backbone and method:
AP, AUROC and precision at the number of errors (P@n), mean and standard deviation over the seeds, and seconds of this
process and its one thread a seed. cleanlab gets the out-of-fold probabilities of scikit-learn's logistic regression on
the standardised features, 5 folds, for each inverse regularisation C (1 is scikit-learn's default), of the first
`--peer-seeds` seeds; the better of self-confidence and normalised margin is shown, with the truth in hand, which is to
its advantage. `--scratch`: for each `--data` a finished run of the same manifest, whose network was trained
from scratch; adds the network's ranking and the two views as one. The truth is read when all is ranked.
"""

import argparse
import os
import platform
import time
from pathlib import Path

import label_errors
import numpy as np
import pandas as pd
from against_truth import auroc, average_precision  # beside this file
from frozen_features import SIZES, features

from lossprint.scoring.heads import blocks, combine, lda, linear, moments, vote
from lossprint.scoring.heads.folds import deal

EPOCHS = 30


class Clock:
    """Seconds of this process since it was last asked."""

    def __init__(self):
        self.last = time.process_time()

    def __call__(self) -> float:
        now = time.process_time()
        seconds, self.last = now - self.last, now
        return seconds


def ranked(values: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> tuple[dict, dict, combine.Ranking]:
    """{method: scores (N,), high is suspect}, {method: seconds}, and the ranking, of features (N, d), labels (N,)."""
    scores, seconds, clock = {}, {}, Clock()
    prepared = blocks.prepare(values)
    closed, shrinkage = lda.shuffled(prepared, labels, classes, seed=seed)
    scores["LDA, margin"] = -lda.margins(closed.discriminant, labels)
    scores["ridge, margin"] = -lda.margins(closed.ridge, labels)
    seconds["LDA, margin"] = seconds["ridge, margin"] = clock()
    decay = linear.chosen_decay(values, labels, classes, deal(labels, seed=seed), epochs=EPOCHS, seed=seed)
    losses, sums = np.zeros((2, len(labels)))
    for head in linear.train(values, labels, classes, decay=decay, epochs=EPOCHS, seed=seed):
        measured = linear.measure(head, values, labels)
        losses += measured.loss.numpy() / EPOCHS
        sums += measured.margin.numpy() / EPOCHS
    scores["linear head, AUM"], scores["linear head, CSL"] = -sums, losses
    seconds["linear head, AUM"] = seconds["linear head, CSL"] = clock()
    scores["linear head, curvature"] = linear.curvature(head, values).numpy()
    seconds["linear head, curvature"] = clock()
    shares = vote.vote(prepared, labels, classes)
    scores["vote of 20 neighbours"] = -lda.margins(shares, labels)
    seconds["vote of 20 neighbours"] = clock()
    found = combine.rank(labels, closed.discriminant, closed.ridge, sums, shares)
    scores["ranking of all"] = found.suspicion
    seconds["ranking of all"] = clock() + sum(
        seconds[m] for m in ("LDA, margin", "linear head, AUM", "vote of 20 neighbours")
    )
    print(f"    seed {seed}: shrinkage {shrinkage:g}, weight decay {decay:g}", flush=True)
    return scores, seconds, found


def peer(values: np.ndarray, labels: np.ndarray, c: float, seed: int) -> tuple[dict, float]:
    """cleanlab's two scores, high is suspect, and the seconds of its folds."""
    from cleanlab.rank import get_label_quality_scores
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    clock = Clock()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    p = cross_val_predict(model, np.asarray(values, np.float32), labels, cv=folds, method="predict_proba")
    kinds = ("self_confidence", "normalized_margin")
    return {kind: -get_label_quality_scores(labels, p, method=kind) for kind in kinds}, clock()


def validated(values: np.ndarray, labels: np.ndarray, others: np.ndarray, theirs: np.ndarray, classes: int) -> float:
    """Share of the validation labels that ridge names, trained on all training samples."""
    prepared = blocks.prepare(values)
    fold = deal(labels)
    total = moments.moments(prepared, labels, classes, fold)
    head = lda.ridge(moments.part(total), lda.chosen_shrinkage(total, prepared, labels, fold))
    answers = lda.applied([head], blocks.Prepared(others, prepared.mean, prepared.scale))
    return combine.share_named(answers, theirs)


def two_views(run, ours: np.ndarray, accuracy: float) -> dict:
    """The ranking of a run from scratch, and of both: by accuracy on the same validation samples."""
    scratch = label_errors.ranked(run.trajectory("train"), run.trajectory("val"), len(run.classes))[0].severity
    theirs = float((run.trajectory("val").margins[-1] > 0).mean())
    both, weights = combine.views([ours, scratch], [accuracy, theirs])
    print(f"    validation accuracy: frozen {accuracy:.3f}, from scratch {theirs:.3f}; weights {weights.round(2)}")
    return {
        "small, from scratch": scratch,
        "two views": both,
        "two views, halves": combine.mean_rank([ours, scratch], [1, 1]),
    }


def measured(labels_file: Path, truth_file: Path, backbone: str, scratch: Path | None, options) -> list[list]:
    """Rows of the table of one dataset and backbone."""
    values, _ = features(labels_file, backbone, options.cache, options.threads)
    table = pd.read_csv(labels_file, dtype=str, keep_default_na=False)
    table = table[table["split"] != "test"].reset_index(drop=True)
    names = sorted(table["label"].unique())
    labels = table["label"].map({name: at for at, name in enumerate(names)}).to_numpy()
    train = (table["split"] == "train").to_numpy()
    print(f"{labels_file.parent.name}, {backbone}: {train.sum()} x {values.shape[1]}, {len(names)} classes", flush=True)
    inside, given, results, times, rankings = values[train], labels[train], {}, {}, []
    for seed in options.seeds:
        scores, seconds, found = ranked(inside, given, len(names), seed)
        if scratch:
            from lossprint.audit import open_run

            accuracy = validated(inside, given, values[~train], labels[~train], len(names))
            scores |= two_views(open_run(scratch), found.suspicion, accuracy)
        rankings.append(found)
        for method, score in scores.items():
            results.setdefault(method, []).append(score)
            times.setdefault(method, []).append(seconds.get(method, float("nan")))
    peers: dict[str, dict[str, list]] = {}
    for c in options.c:
        name = f"cleanlab, 5 folds, C {c:g}"
        for seed in options.seeds[: options.peer_seeds]:
            scores, seconds = peer(inside, given, c, seed)
            for kind, score in scores.items():
                peers.setdefault(name, {}).setdefault(kind, []).append(score)
            times.setdefault(name, []).append(seconds)
            print(f"    {name}, seed {seed}: {seconds:.0f} s", flush=True)
    answers = pd.read_csv(truth_file, dtype=str, keep_default_na=False).set_index("path").loc[table["path"][train]]
    wrong = (answers["is_error"].astype(int) == 1).to_numpy()
    true = answers["true_label"].map({name: at for at, name in enumerate(names)}).fillna(-1).to_numpy(int)
    for name, kinds in peers.items():
        results[name] = max(kinds.values(), key=lambda kind: np.mean([average_precision(wrong, one) for one in kind]))
    title = f"{labels_file.parent.name}, {backbone}, {wrong.sum()} of {len(wrong)}"
    for at, found in enumerate(rankings[:1]):
        for kind in ("flagged", "certain"):
            these = getattr(found, kind)
            right = (found.suggested == true)[these & wrong].mean()
            print(
                f"    seed {options.seeds[at]}, {kind}: {these.sum()}, precision {wrong[these].mean():.3f}, recall "
                f"{these[wrong].mean():.3f}, right suggestions of the wrong ones {right:.3f}"
            )
    return [
        [title, method, [figures(wrong, one) for one in scores], times[method]] for method, scores in results.items()
    ]


def figures(wrong: np.ndarray, score: np.ndarray) -> list[float]:
    """AP, AUROC and precision at the number of errors; high scores are suspect, NaN comes last."""
    score = np.where(np.isnan(score), -np.inf, score)
    worst = np.argsort(-score, kind="stable")[: int(wrong.sum())]
    return [average_precision(wrong, score), auroc(wrong, score), float(wrong[worst].mean())]


def report(rows: list[list]) -> None:
    load = os.getloadavg()[1]
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, load {load:.0f}, Python {platform.python_version()}")
    print(f"{'dataset':<44} {'method':<28} {'AP':>13} {'AUROC':>13} {'P@n':>13} {'seconds':>8}")
    for title, method, numbers, seconds in rows:
        mean = np.mean(numbers, axis=0)
        spread = np.std(numbers, axis=0, ddof=1) if len(numbers) > 1 else np.zeros(3)
        cells = " ".join(f"{m:.3f} ± {s:.3f}".rjust(13) for m, s in zip(mean, spread))
        print(f"{title:<44} {method:<28} {cells} {np.mean(seconds):>8.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs=2, action="append", required=True, type=Path, metavar=("LABELS", "TRUTH"))
    parser.add_argument("--backbone", nargs="+", choices=SIZES, default=["lite0"])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--c", nargs="*", type=float, default=[1e-4, 1e-3, 1e-2, 0.1, 1, 10])
    parser.add_argument("--peer-seeds", type=int, default=1)
    parser.add_argument("--scratch", nargs="*", type=Path, default=[])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.scratch and len(options.scratch) != len(options.data):
        parser.error(f"expected a run for each --data, found {len(options.scratch)} for {len(options.data)}")
    import torch

    torch.set_num_threads(options.threads)
    rows = []
    for at, (labels, truth) in enumerate(options.data):
        for backbone in options.backbone:
            scratch = options.scratch[at] if options.scratch else None
            rows += measured(labels, truth, backbone, scratch, options)
    report(rows)


if __name__ == "__main__":
    main()
