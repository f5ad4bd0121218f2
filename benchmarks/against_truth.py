"""What an audit found against the known faults of its dataset: label errors and duplicate pairs.

    python benchmarks/against_truth.py RUN TRUTH.csv

TRUTH.csv has path,true_label,is_error and, for duplicates, kind (exact / near) and pair_id. The audit never reads it.
Prints one table. A pair counts as found if both samples are in one group of findings.parquet; a group is false if it
holds two samples that are of different pairs or of none.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from lossprint.audit import open_run
from lossprint.audit.runs.run import Run


def auroc(positive: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve (Mann-Whitney), ties counted half. positive (N,) bool, score (N,)."""
    ranks = pd.Series(score).rank().to_numpy()
    count = int(positive.sum())
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(positive) - count)))


def average_precision(positive: np.ndarray, score: np.ndarray) -> float:
    """Mean precision at each positive, from the highest score down; ties in the order of the rows."""
    hits = positive[np.argsort(-score, kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def label_errors(run: Run, truth: pd.DataFrame) -> list[tuple[str, str]]:
    """AUROC, AP and precision of the label-error ranking and of plain scores, over the training samples."""
    scores = run.scores()
    rows = truth.loc[scores["path"]]
    positive = rows["is_error"].astype(int).to_numpy() == 1
    lines = [("training samples, of them with a wrong label", f"{len(positive)}, {positive.sum()}")]
    for name, sign in (("label_error", 1), ("csl", 1), ("aum", -1), ("curvature", 1), ("cld", -1)):
        score = scores[name].to_numpy(float) * sign
        if np.isnan(score).all():  # not measured
            continue
        score = np.where(np.isnan(score), np.nanmin(score) - 1, score)
        top = positive[np.argsort(-score, kind="stable")]
        cut = int(positive.sum())
        lines.append(
            (
                f"{name}: AUROC, AP, precision at 10, at {cut}",
                f"{auroc(positive, score):.3f}, {average_precision(positive, score):.3f}, "
                f"{top[:10].mean():.2f}, {top[:cut].mean():.3f}",
            )
        )
    flagged = run.findings()
    flagged = set(flagged.loc[flagged["kind"] == "label_error", "path"])
    found = truth.index[(truth["is_error"].astype(int) == 1) & truth.index.isin(flagged)]
    lines.append(("flagged label errors, of them wrong", f"{len(flagged)}, {len(found)}"))
    suggested = scores.set_index("path")["suggested_label"].loc[found]
    right = (suggested == truth.loc[found, "true_label"]).sum()
    lines.append(("right suggestions among the wrong ones flagged", f"{right} of {len(found)}"))
    return lines


def duplicate_pairs(run: Run, truth: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs found and false groups, for exact and near duplicates."""
    findings = run.findings()
    lines = []
    for kind, kinds in (("exact", ["duplicate"]), ("near", ["near_duplicate"])):
        pairs = truth[truth["kind"] == kind].groupby("pair_id").groups
        groups = [set(paths) for _, paths in findings[findings["kind"].isin(kinds)].groupby("group")["path"]]
        hit = sum(any(set(pair) <= group for group in groups) for pair in pairs.values())
        ids = truth["pair_id"].where(truth["kind"].isin(("exact", "near")), "")
        false = sum(len({ids[path] for path in group} - {""}) != 1 or "" in {ids[p] for p in group} for group in groups)
        lines.append((f"{kind} pairs found", f"{hit} of {len(pairs)}"))
        lines.append((f"{kind} groups, of them false", f"{len(groups)}, {false}"))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("truth", type=Path)
    options = parser.parse_args()
    run = open_run(options.run)
    truth = pd.read_csv(options.truth, dtype=str, keep_default_na=False).set_index("path")
    lines = label_errors(run, truth)
    if "pair_id" in truth:
        lines += duplicate_pairs(run, truth)
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"{name:<{width}}  {value}")


if __name__ == "__main__":
    main()
