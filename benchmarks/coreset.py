"""What each way to choose a coreset is worth: accuracy at equal steps, beside random, over methods, sizes and noise.

    python benchmarks/coreset.py fashion IDX --work DIR [--noise 0 20 40] [--train 60000] ...   make, audit, evaluate
    python benchmarks/coreset.py pack PACK --work DIR ...           the same on PACK/labels.csv, its noise as it is
    python benchmarks/coreset.py claims DIR                         the papers' claims, true or false, and our own
    python benchmarks/coreset.py table DIR                          accuracies, and what to choose when
    python benchmarks/coreset.py selectors [--samples N] [--classes C]       time and memory of each selector

IDX is a folder of gzipped IDX files (Debian's dataset-fashion-mnist). 5,000 training images, or --val, become a clean
validation split; a share of the labels of the others is changed, evenly among the other classes. DIR/fashion holds the
images and truth.csv, which only the share of noisy labels kept is read from, DIR/NAME/run each audit. An interrupted benchmark
goes on where it was. Everything is measured on the test split, labels as they should be.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lossprint.assets.make_demo import read_idx
from lossprint.audit import coresets, evaluate, store, workflow
from lossprint.scoring.methods import METHODS

CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
FRACTIONS = (0.01, 0.05, 0.1, 0.3, 0.5, 1.0)


def make_fashion(idx: Path, folder: Path, noise: int, train: int, val: int, seed: int = 0) -> None:
    """FOLDER/labels-NOISE.csv and truth.csv beside the images: so many percent of the training labels are wrong."""
    random = np.random.default_rng(seed)
    rows = []
    for split, count in (("train", train), ("t10k", None)):
        pixels, labels = (read_idx(idx / f"{split}-{what}.gz") for what in ("images-idx3-ubyte", "labels-idx1-ubyte"))
        for at in range(len(pixels))[:count]:
            rows.append((split, at, pixels[at], int(labels[at])))
    held_out = set(random.permutation(min(train, 60_000))[:val].tolist())
    table = []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for split, at, pixels, label in rows:
        path = folder / "images" / f"{split}-{at:05d}.png"
        if not path.exists():
            Image.fromarray(pixels).save(path, compress_level=1)
        part = "test" if split == "t10k" else "val" if at in held_out else "train"
        table.append((f"images/{path.name}", label, part))
    frame = pd.DataFrame(table, columns=["path", "true", "split"])
    wrong = (frame["split"] == "train") & (random.random(len(frame)) < noise / 100)
    other = (frame["true"] + random.integers(1, len(CLASSES), len(frame))) % len(CLASSES)
    names = np.array(CLASSES, object)
    given = names[np.where(wrong, other, frame["true"])]
    frame.assign(label=given)[["path", "label", "split"]].to_csv(folder / f"labels-{noise}.csv", index=False)
    frame.assign(true_label=names[frame["true"]])[["path", "true_label"]].to_csv(folder / "truth.csv", index=False)


def audited(manifest: Path, place: Path, options) -> store.Run:
    """The run at `place`, made or gone on with where it is not whole."""
    began = time.perf_counter()
    run = workflow.audit(
        str(manifest),
        place,
        model=options.model,
        epochs=options.epochs,
        curvature_checkpoints=options.curvature_checkpoints,
        resume=(place / "run.json").exists(),
        device=options.device,
    )
    print(f"{place.parent.name}: audit {time.perf_counter() - began:.0f} s", flush=True)
    return run


def measure(name: str, manifest: Path, truth: Path, options) -> None:
    run = audited(manifest, options.work / name / "run", options)
    source = coresets.source_of(run)
    methods = options.methods or [one for one in METHODS if not coresets.lacking(source, one)]
    began = time.perf_counter()
    table = evaluate.evaluate(
        run,
        methods,
        options.fractions,
        seeds=options.seeds,
        steps=options.steps,
        truth=truth,
        model=options.train_model,
        device=options.device,
    )
    print(f"\n{name}: evaluation {time.perf_counter() - began:.0f} s\n{evaluate.text(table)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    for name in ("fashion", "pack"):
        one = kinds.add_parser(name)
        one.add_argument("source", type=Path)
        one.add_argument("--work", type=Path, required=True)
        one.add_argument("--epochs", type=int, default=10, help="of the audit")
        one.add_argument("--curvature-checkpoints", type=int, default=3)
        one.add_argument("--model", help="of the audit; default: small")
        one.add_argument("--train-model", help="of the evaluation; default: that of the audit")
        one.add_argument("--methods", nargs="+", choices=list(METHODS), help="default: all")
        one.add_argument("--fractions", nargs="+", type=float, default=list(FRACTIONS))
        one.add_argument("--seeds", type=int, default=3)
        one.add_argument("--steps", type=int, default=500)
        one.add_argument("--device", default="auto")
        if name == "fashion":
            one.add_argument("--noise", nargs="+", type=int, default=[0, 20, 40])
            one.add_argument("--train", type=int, default=60_000)
            one.add_argument("--val", type=int, default=5_000)
        one.set_defaults(call=run_fashion if name == "fashion" else run_pack)
    options = parser.parse_args()
    options.call(options)


def run_fashion(options) -> None:
    for noise in options.noise:
        folder = options.work / "fashion"
        manifest = folder / f"labels-{noise}.csv"
        if not manifest.exists():
            make_fashion(options.source, folder, noise, options.train, options.val)
        measure(f"fashion-{noise}", manifest, folder / "truth.csv", options)


def run_pack(options) -> None:
    measure(options.source.name, options.source / "labels.csv", options.source / "truth.csv", options)


if __name__ == "__main__":
    main()
