"""How well are planted errors in videos found, by kind? Made-up videos (audit/procedural.py), several seeds.

    python benchmarks/sequences.py --seeds 3

Every loss is held out: from the fold network that saw no frame of the video. The truth is read after the audit only.
What is measured is the model of single frames: no model over time, and no peer, is in it yet.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from lossprint.audit import find, procedural, workflow
from lossprint.scoring import sequences, trajectory

WIDTH = 9  # frames of the moving mean


def frame_scores(run) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Training frames (N,), bounds of their sequences, and held-out scores (N,) by name; high is suspect."""
    held = find.merged([fold.trajectory("train") for fold in run.members("fold")])
    names = run.samples().set_index("sample").loc[held.samples, "sequence"].to_numpy(str)
    bounds = np.r_[0, np.flatnonzero(names[1:] != names[:-1]) + 1, len(names)]
    csl = trajectory.csl(held.losses)
    error = run.scores().set_index("sample").loc[held.samples, "label_error"].to_numpy()
    return (
        held.samples,
        bounds,
        {
            "final loss": held.losses[-1],
            "frame CSL": csl,
            f"frame CSL, mean of {WIDTH}": sequences.smoothed(csl, bounds, WIDTH),
            "label error": error,
            f"label error, mean of {WIDTH}": sequences.smoothed(error, bounds, WIDTH),
        },
    )


def measure(folder: Path, seed: int, count: int, epochs: int) -> dict:
    truth = procedural.make_videos(folder / "videos", sequences=count, seed=seed)
    run = workflow.audit(
        str(truth.manifest), folder / "run", epochs=epochs, seed=seed, folds=4, curvature_checkpoints=0, quiet=True
    )
    samples, bounds, scores = frame_scores(run)
    error = truth.frames["error"].to_numpy(str)[samples]
    table = {}
    for name, score in scores.items():
        for kind in procedural.ERRORS:
            rows = (error == kind) | (error == "")
            if (error == kind).any():
                wrong = error[rows] == kind
                table[name, kind] = roc_auc_score(wrong, score[rows]), average_precision_score(wrong, score[rows])
    found = sequences.spans(
        scores[f"label error, mean of {WIDTH}"], bounds, high=0.6, low=0.5, gap=WIDTH // 2, shortest=4
    )
    labelled = np.isin(error, [kind for kind in procedural.ERRORS if kind not in procedural.ORDER])
    planted = sequences.spans(labelled.astype(float), bounds, high=1, low=1)
    hit, right = sequences.matched(found, planted.start, planted.stop)
    table["spans of wrong labels", "recall, precision at overlap .5"] = hit.mean(), right.mean() if len(right) else 0.0
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    tables = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            tables.append(measure(Path(folder), seed, options.videos, options.epochs))
        print(f"seed {seed} done", flush=True)
    print(f"{'score':32} {'planted error':34} {'AUROC':>14} {'AP':>14}   mean (deviation) of {options.seeds} seeds")
    for key in sorted({key for table in tables for key in table}):
        values = np.array([table[key] for table in tables if key in table])
        first, second = (f"{values[:, at].mean():.3f} ({values[:, at].std():.3f})" for at in (0, 1))
        print(f"{key[0]:32} {key[1]:34} {first:>14} {second:>14}")


if __name__ == "__main__":
    main()
