"""Memorization of linear heads on frozen features: how reliable is it, what follows it, and what do folds alone say?

    python benchmarks/memorization_heads.py FEATURES.npz LABELS.csv TRUTH.csv [--samples N] [--rounds R] [--epochs E]

FEATURES.npz is a file of `frozen_features.py`'s cache. R rounds of three heads, each on two random thirds of the first
N training samples, as `lossprint memorization` trains them; decay by the given labels. Printed: how far the estimates
of odd and even rounds agree (Spearman's correlation, stepped up to all, after Spearman and Brown), of probabilities and
of right and wrong answers; the mean standard error; how many are memorized for sure; Spearman's correlation of one
head's trajectory scores with the estimate, and of the estimate from a single round (each left out once, as by --folds
3); AUROC for wrong labels, which the truth tells when all else is done.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from memorization import reliability  # beside this file
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from lossprint.audit.memorized.memorization import CLEAR, PARTS, Z, heads_on_parts
from lossprint.scoring import trajectory
from lossprint.scoring.heads import linear
from lossprint.scoring.heads.folds import deal
from lossprint.scoring.memorized import exposure
from lossprint.scoring.memorized.memorization import memorization


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("features", "labels", "truth"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=34)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--decay", type=float, help="default: the one that fits the given labels out of fold")
    options = parser.parse_args()
    options.rounds += options.rounds % 2  # halves are compared
    began = time.process_time()
    table = pd.read_csv(options.labels, dtype=str)
    rows = np.flatnonzero((table["split"] == "train").to_numpy())[: options.samples]
    with np.load(options.features) as file:
        values = file["features"][np.flatnonzero(table["split"].isin(["train", "val"]).to_numpy()).searchsorted(rows)]
    names, labels = np.unique(table["label"].to_numpy(object)[rows].astype(str), return_inverse=True)
    how = {"epochs": options.epochs, "seed": 0}
    decay = options.decay or linear.chosen_decay(values, labels, len(names), deal(labels, seed=0), **how)
    parts = heads_on_parts(values, labels, len(names), options.rounds, decay=decay, progress=lambda: None, **how)
    member, p = parts[0], np.exp(-parts[1])
    estimate, error = memorization(member, p)
    right = p > 0.5
    hard, hard_error = memorization(member, right)
    single, _ = memorization(member[:PARTS], p[:PARTS])
    print(f"{len(rows)} samples, {len(member)} heads, decay {decay:g}; {time.process_time() - began:.0f} s")
    order = np.argsort(np.arange(len(member)) // PARTS % 2, kind="stable").reshape(2, -1).T.ravel()  # rounds take turns
    print(
        f"probabilities: reliability {reliability(member[order], p[order]):.3f}, mean error {np.nanmean(error):.3f}; "
        f"right or wrong: {reliability(member[order], right[order]):.3f}, {np.nanmean(hard_error):.3f}"
    )
    sure = np.mean(estimate - Z * error >= CLEAR)
    print(
        f"memorization: mean {estimate.mean():.3f}, over {CLEAR} {np.mean(estimate > CLEAR):.1%}, for sure {sure:.1%}"
    )
    losses, margins = [], []
    for head in linear.train(values, labels, len(names), decay=decay, **how):
        measured = linear.measure(head, values, labels)
        losses.append(measured.loss.numpy())
        margins.append(measured.margin.numpy())
    losses = np.stack(losses)
    scores = {
        "memorization": estimate,
        "memorization, right or wrong": hard,
        "each left out once (3 folds)": single,
        "CSL": trajectory.csl(losses),
        "AUM, low": -trajectory.aum(np.stack(margins)),
        "LT-IQR": exposure.lt_iqr(losses),
        "final loss": losses[-1],
    }
    truth = pd.read_csv(options.truth, dtype=str).set_index("path")["true_label"]
    wrong = truth.reindex(table["path"].iloc[rows]).to_numpy() != table["label"].to_numpy()[rows]
    print(f"{'':<32}{'Spearman':>10}{'AUROC, wrong labels':>22}")
    for name, score in scores.items():
        print(f"{name:<32}{spearmanr(score, estimate).statistic:>10.3f}{roc_auc_score(wrong, score):>22.3f}")


if __name__ == "__main__":
    main()
