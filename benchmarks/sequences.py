"""How well are planted errors in videos found, by kind? Made-up videos (audit/procedural.py), several seeds.

    python benchmarks/sequences.py --seeds 3
    python benchmarks/sequences.py --seeds 3 --only temporal    (without the model of single frames)

Every loss is held out: from the network that saw no frame of the video. The truth is read at the very end only. Spans
are those of 1 - p(given label), the mean of 9 frames. No peer is in it yet.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from lossprint.audit import find, procedural, temporal, workflow
from lossprint.scoring import sequences, trajectory

WIDTH = 9  # frames of the moving mean
HIGH, LOW, GAP, SHORTEST = 0.8, 0.5, 4, 4  # of the spans; set once, before anything was measured


def frame_scores(manifest: Path, folder: Path, seed: int, epochs: int) -> pd.DataFrame:
    """Scores of the model of single frames, high is suspect, by sample id; the training frames only."""
    run = workflow.audit(str(manifest), folder, epochs=epochs, seed=seed, folds=4, curvature_checkpoints=0, quiet=True)
    held = find.merged([fold.trajectory("train") for fold in run.members("fold")])
    error = run.scores().set_index("sample").loc[held.samples, "label_error"].to_numpy()
    columns = {"frame: final loss": held.losses[-1], "frame: CSL": trajectory.csl(held.losses), "frame: margins": error}
    return pd.DataFrame(columns, index=held.samples)


def temporal_scores(manifest: Path, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Scores of the model over time, high is suspect, by sample id, and the bounds (S + 1,) of the sequences."""
    table = pd.read_csv(manifest)
    shape = (temporal.SIDE, temporal.SIDE)
    thumbs = [np.asarray(Image.open(manifest.parent / path).resize(shape, Image.BOX)) for path in table["path"]]
    bounds = sequences.bounds_of(table["sequence"].to_numpy(str))
    classes, labels = np.unique(table["label"], return_inverse=True)
    features = temporal.frame_features(np.stack(thumbs), bounds)
    held = temporal.held_out(features, labels, bounds, np.arange(len(bounds) - 1) % 4, len(classes), seed=seed)
    csl = held.losses.mean(0)
    doubt = 1 - held.probabilities[np.arange(len(labels)), labels]
    columns = {
        "temporal: final loss": held.losses[-1],
        "temporal: CSL": csl,
        f"temporal: CSL, mean of {WIDTH}": sequences.smoothed(csl, bounds, WIDTH),
        "temporal: 1 - p": sequences.smoothed(doubt, bounds, WIDTH),
    }
    return pd.DataFrame(columns), bounds


def measure(folder: Path, seed: int, count: int, epochs: int, only: str | None) -> dict:
    """{(score, kind): (AUROC, AP)} and of the spans {(what, which figures): the two} of one seed."""
    truth = procedural.make_videos(folder / "videos", sequences=count, seed=seed)
    scores, bounds = temporal_scores(truth.manifest, seed)
    found = sequences.spans(
        scores["temporal: 1 - p"].to_numpy(), bounds, high=HIGH, low=LOW, gap=GAP, shortest=SHORTEST
    )
    if only is None:
        scores = scores.join(frame_scores(truth.manifest, folder / "run", seed, epochs), how="inner")
    error = truth.frames["error"].to_numpy(str)
    here, table = error[scores.index], {}
    for name in scores:
        for kind in procedural.ERRORS:
            rows = (here == kind) | (here == "")
            if (here == kind).any():
                wrong, score = here[rows] == kind, scores[name].to_numpy()[rows]
                table[name, kind] = roc_auc_score(wrong, score), average_precision_score(wrong, score)
    start = (bounds[truth.spans["sequence"].str[5:].astype(int)] + truth.spans["start"]).to_numpy()
    stop = start + (truth.spans["end"] - truth.spans["start"] + 1).to_numpy()
    # A swap shows as two spans, one a phase, to this detector: it knows labels, not yet order.
    label = ~truth.spans["error"].isin(procedural.ORDER).to_numpy()
    in_order = np.isin(error, procedural.ORDER)
    ours = ~np.array([in_order[one:other].any() for one, other in zip(found.start, found.stop)], bool)
    kept = sequences.Spans(found.start[ours], found.stop[ours], found.severity[ours])
    hit, right = sequences.matched(kept, start[label], stop[label])
    table["spans of wrong labels", "recall, precision"] = hit.mean(), right.mean() if len(right) else 0.0
    untouched = [not (error[a:b] != "").any() for a, b in itertools.pairwise(bounds)]
    of = np.searchsorted(bounds, found.start, side="right") - 1
    false = int(np.isin(of, np.flatnonzero(untouched)).sum())
    table["false spans a clean video", "(twice the same)"] = (false / max(sum(untouched), 1),) * 2
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=12, help="of the model of single frames")
    parser.add_argument("--only", choices=("temporal",), help="leave out the model of single frames")
    options = parser.parse_args()
    tables = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            tables.append(measure(Path(folder), seed, options.videos, options.epochs, options.only))
        print(f"seed {seed} done", flush=True)
    print(f"{'score':30} {'planted error':20} {'AUROC':>14} {'AP':>14}   mean (deviation) of {options.seeds} seeds")
    for key in sorted({key for table in tables for key in table}):
        values = np.array([table[key] for table in tables if key in table])
        first, second = (f"{values[:, at].mean():.3f} ({values[:, at].std():.3f})" for at in (0, 1))
        print(f"{key[0]:30} {key[1]:20} {first:>14} {second:>14}")


if __name__ == "__main__":
    main()
