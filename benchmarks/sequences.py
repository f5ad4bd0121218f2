"""How well are planted errors in videos found, by kind? Made-up videos (audit/workflow/demo_videos.py), several seeds.

    python benchmarks/sequences.py --seeds 0 1 2

Ours are the tables of an ordinary audit: frames.parquet and spans.parquet. Beside them, on the same frames and from the
same audit: the loss of single frames, at the end and over training, confident learning (cleanlab) and disagreement with
a smoothed prediction. Every number is held out: from networks that saw no frame of the video. The truth is read at the
very end only. A span is right where it overlaps an error of its kind (label or order) by half, intersection over union.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from cleanlab.rank import get_label_quality_scores
from sklearn.metrics import average_precision_score, roc_auc_score

from lossprint.audit.training import loading, train
from lossprint.audit.video import timeline
from lossprint.audit.workflow import demo_videos
from lossprint.audit.workflow.audit import audit
from lossprint.scoring import sequences

WIDTH = 9  # frames of the moving mean


def of_single_frames(run) -> np.ndarray:
    """Log-probabilities (N, C) by sample id of the networks of single frames that did not train on the video."""
    asked = run.manifest["asked"]
    loaded, size = loading.load(asked, quiet=True)
    inputs = loading.inputs_of(loaded, size)
    fold = train.fold_of(inputs, asked["folds"], asked["seed"])
    looks = timeline.frame_looks(run, inputs, fold, asked["model"], "cpu")
    return np.log(np.exp(looks).mean(0))


def scores_of(run) -> pd.DataFrame:
    """Every score of every frame, high is suspect, in the order of `run.frames()`."""
    frames, line = run.frames(), run.timeline()
    log = of_single_frames(run)[frames["sample"]]
    labels = frames["label"].map({label: at for at, label in enumerate(run.classes)}).to_numpy(np.int64)
    rows, bounds = np.arange(len(labels)), sequences.bounds_of(frames["sequence"].to_numpy(str))
    probabilities = np.exp(log)
    smooth = np.stack([sequences.smoothed(column, bounds, WIDTH) for column in probabilities.T], 1)
    smooth /= smooth.sum(1, keepdims=True)
    return pd.DataFrame(
        {
            "single frames: final loss": -log[rows, labels],
            "single frames: CSL": frames["frame_csl"],
            f"single frames: CSL, mean of {WIDTH}": sequences.smoothed(frames["frame_csl"].to_numpy(), bounds, WIDTH),
            "single frames: confident learning": 1
            - get_label_quality_scores(labels, probabilities / probabilities.sum(1)[:, None]),
            "single frames: smoothed prediction": smooth.max(1) - smooth[rows, labels],
            "over time: final loss": line["losses"][-1],
            "over time: CSL": frames["temporal_csl"],
            f"over time: CSL, mean of {WIDTH}": sequences.smoothed(frames["temporal_csl"].to_numpy(), bounds, WIDTH),
            "over time: confident learning": 1 - get_label_quality_scores(labels, line["probabilities"]),
            "sequence_label": frames["sequence_label"],
            "sequence_order": frames["sequence_order"],
        }
    )


def measure(folder: Path, seed: int, count: int, errors: tuple[str, ...]) -> dict:
    """{(score or what, kind): (first figure, second figure)} of one seed."""
    truth = demo_videos.make_videos(folder / "videos", sequences=count, seed=seed, errors=errors)
    began = time.perf_counter()
    run = audit(str(truth.manifest), folder / "run", seed=seed, curvature_checkpoints=0, quiet=True)
    seconds = time.perf_counter() - began
    frames, spans, scores = run.frames(), run.spans(), scores_of(run)
    error = truth.frames["error"].to_numpy(str)[frames["sample"]]
    table = {("the whole audit", f"seconds, frames ({len(frames):,} in the last seed)"): (seconds, len(frames))}
    for name in scores:
        value = scores[name].to_numpy()
        for kind in errors:
            rows = ((error == kind) | (error == "")) & np.isfinite(value)
            if (error[rows] == kind).any():
                wrong = error[rows] == kind
                table[name, kind] = roc_auc_score(wrong, value[rows]), average_precision_score(wrong, value[rows])
    return table | spans_against(truth.spans, spans, count)


def spans_against(planted: pd.DataFrame, spans: pd.DataFrame, count: int) -> dict:
    """Recall by kind of error and precision by kind of span, each beside how many there are."""
    order = planted["error"].isin(demo_videos.ORDER).to_numpy()
    claims = (spans["kind"] == "sequence_order").to_numpy()
    names = {name: at for at, name in enumerate(sorted({*planted["sequence"], *spans["sequence"]}))}
    far = 1_000_000  # frames between videos, so that spans of two never meet
    ends = []
    for one in (planted, spans):
        first = one["sequence"].map(names).to_numpy(np.int64) * far
        ends.append((first + one["start"].to_numpy(np.int64), first + one["end"].to_numpy(np.int64) + 1))
    hit, right = np.zeros(len(planted), bool), np.zeros(len(spans), bool)
    for mine, theirs in ((order, claims), (~order, ~claims)):
        (start, stop), (found_start, found_stop) = ends
        hit[mine], right[theirs] = sequences.matched(found_start[theirs], found_stop[theirs], start[mine], stop[mine])
    table = {}
    for kind in dict.fromkeys(planted["error"]):
        these = (planted["error"] == kind).to_numpy()
        table["spans: recall, planted", kind] = hit[these].mean(), these.sum()
    table["spans: recall, planted", "all"] = hit.mean(), len(hit)
    for name, these in (("wrong label", ~claims), ("wrong order", claims), ("all", claims | True)):
        if these.any():
            table["spans: precision, found", name] = right[these].mean(), these.sum()
    clean = count - planted["sequence"].nunique()
    false = int((~spans["sequence"].isin(planted["sequence"])).sum())
    table["spans: false a clean video, clean videos", "none"] = false / max(clean, 1), clean
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="S")
    parser.add_argument("--videos", type=int, default=24)
    kinds = (*demo_videos.ERRORS, "shuffled")
    parser.add_argument("--errors", nargs="+", default=list(demo_videos.ERRORS), choices=kinds, help="kinds to plant")
    options = parser.parse_args()
    tables = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            tables.append(measure(Path(folder), seed, options.videos, tuple(options.errors)))
        print(f"seed {seed} done", flush=True)
    print(f"{'score':42} {'planted error':20} {'AUROC':>16} {'AP':>16}   mean (deviation) of {len(tables)} seeds")
    for key in dict.fromkeys(key for table in tables for key in table):
        values = np.array([table[key] for table in tables if key in table], float)
        first, second = (f"{values[:, at].mean():.3f} ({values[:, at].std():.3f})" for at in (0, 1))
        print(f"{key[0]:42} {key[1]:20} {first:>16} {second:>16}")


if __name__ == "__main__":
    main()
