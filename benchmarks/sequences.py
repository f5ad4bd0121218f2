"""How well are planted errors in videos found, by kind? Made-up videos, several seeds.

    python benchmarks/sequences.py --seeds 0 1 2                       # videos that are alike (demo_videos.py)
    python benchmarks/sequences.py --unlike --videos 8 --seeds 0 1 2   # unlike each other (unlike_videos.py)
    python benchmarks/sequences.py --unlike --videos 8 --frozen        # the same on features of EfficientNet-Lite0

Ours are the tables of an ordinary audit: frames.parquet and spans.parquet. Beside them, on the same frames and from the
same audit: CSL and AUM as recorded, of the frames that were trained on; by networks that saw no frame of the video, the
loss of single frames and over time, confident learning (cleanlab) and disagreement with a smoothed prediction; and what
held-out judges alone would find. The truth is read at the very end only. A span is right where it overlaps an error of
its kind (label or order) by half, intersection over union.
"""

import argparse
import tempfile
import time
from pathlib import Path

import frozen_features
import numpy as np
import pandas as pd
import unlike_videos
from cleanlab.rank import get_label_quality_scores
from sklearn.metrics import average_precision_score, roc_auc_score

from lossprint.audit.video import frames as tables
from lossprint.audit.workflow import demo_videos
from lossprint.audit.workflow.audit import audit
from lossprint.scoring import sequences

WIDTH, WIDE = 9, 15  # frames of the moving means
FROZEN = "frozen:frozen_features:lite0_backbone"
SIDE = 96  # px at which the backbone sees frames, which have 40 or fewer


def scores_of(run) -> pd.DataFrame:
    """Every score of every frame, high is suspect, in the order of `run.frames()`."""
    frames, line = run.frames(), run.timeline()
    labels = frames["label"].map({label: at for at, label in enumerate(run.classes)}).to_numpy(np.int64)
    bounds = sequences.bounds_of(frames["sequence"].to_numpy(str))
    single = np.exp(line["looks"].astype(float))
    single /= single.sum(1, keepdims=True)
    smooth = np.stack([sequences.smoothed(column, bounds, WIDTH) for column in single.T], 1)
    smooth /= smooth.sum(1, keepdims=True)
    recorded = run.scores().set_index("sample").reindex(frames["sample"])
    csl, aum = recorded["csl"].to_numpy(float), -recorded["aum"].to_numpy(float)
    alone = {name: value for name, value in line.items() if not name.startswith(("within", "trial"))}
    alone, *_ = tables.tables(run, alone)
    rows = np.arange(len(labels))
    return pd.DataFrame(
        {
            "as recorded: CSL": csl,
            f"as recorded: CSL, mean of {WIDE}": sequences.smoothed(csl, bounds, WIDE),
            f"as recorded: AUM, mean of {WIDE}": sequences.smoothed(aum, bounds, WIDE),
            "single frames: final loss": -np.log(single[rows, labels]),
            "single frames: CSL": frames["frame_csl"],
            f"single frames: CSL, mean of {WIDTH}": sequences.smoothed(frames["frame_csl"].to_numpy(), bounds, WIDTH),
            "single frames: confident learning": 1 - get_label_quality_scores(labels, single),
            "single frames: smoothed prediction": smooth.max(1) - smooth[rows, labels],
            "over time: final loss": line["losses"][-1],
            "over time: CSL": frames["temporal_csl"],
            f"over time: CSL, mean of {WIDTH}": sequences.smoothed(frames["temporal_csl"].to_numpy(), bounds, WIDTH),
            "over time: confident learning": 1 - get_label_quality_scores(labels, line["probabilities"]),
            "held-out judges alone: sequence_label": alone["sequence_label"],
            "held-out judges alone: sequence_order": alone["sequence_order"],
            "sequence_label": frames["sequence_label"],
            "sequence_order": frames["sequence_order"],
        }
    )


def measure(folder: Path, seed: int, options: argparse.Namespace) -> dict:
    """{(score or what, kind): (first figure, second figure)} of one seed."""
    videos, more = folder / "videos", {"sequences": options.videos, "seed": seed, "errors": tuple(options.errors)}
    maker = unlike_videos if options.unlike else demo_videos
    truth = maker.make_videos(videos, **more, **({"length": options.length} if options.length else {}))
    began = time.perf_counter()
    frozen_features.SIZES["lite0"] = SIDE
    model = {"model": FROZEN} if options.frozen else {"curvature_checkpoints": 0}
    run = audit(str(truth.manifest), folder / "run", seed=seed, quiet=True, **model)
    seconds = time.perf_counter() - began
    frames, spans, scores = run.frames(), run.spans(), scores_of(run)
    error, trained = truth.frames["error"].to_numpy(str)[frames["sample"]], (frames["split"] == "train").to_numpy()
    table = {("the whole audit", f"seconds, frames ({len(frames):,} in the last seed)"): (seconds, len(frames))}
    for name in scores:
        value = scores[name].to_numpy(float)
        for kind in options.errors:
            rows = ((error == kind) | (error == "")) & np.isfinite(value) & (trained | (not options.unlike))
            if (error[rows] == kind).any():
                wrong = error[rows] == kind
                table[name, kind] = roc_auc_score(wrong, value[rows]), average_precision_score(wrong, value[rows])
    return table | spans_against(truth.spans, spans, frames["sequence"].nunique())


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
    parser.add_argument("--length", type=int, help="frames of a video, about; default: 200, or 300 with --unlike")
    parser.add_argument("--unlike", action="store_true", help="videos that differ more than their phases")
    parser.add_argument("--frozen", action="store_true", help="features of EfficientNet-Lite0 in place of a training")
    kinds = (*demo_videos.ERRORS, "shuffled")
    parser.add_argument("--errors", nargs="+", default=list(demo_videos.ERRORS), choices=kinds, help="kinds to plant")
    options = parser.parse_args()
    tables = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            tables.append(measure(Path(folder), seed, options))
        print(f"seed {seed} done", flush=True)
    print(f"{'score':42} {'planted error':20} {'AUROC':>16} {'AP':>16}   mean (deviation) of {len(tables)} seeds")
    for key in dict.fromkeys(key for table in tables for key in table):
        values = np.array([table[key] for table in tables if key in table], float)
        first, second = (f"{values[:, at].mean():.3f} ({values[:, at].std():.3f})" for at in (0, 1))
        print(f"{key[0]:42} {key[1]:20} {first:>16} {second:>16}")


if __name__ == "__main__":
    main()
