"""The default audit, both views at once, against training from scratch and against the frozen features alone.

    python benchmarks/frozen_views.py --work DIR [--fashion FOLDER] [--data LABELS.csv TRUTH.csv ...] [--demo]
        [--blind scrambled spectra] [--seeds 0] [--images 2000] [--rates 5 10 20 40] [--backbone lite0_backbone]
        [--c 1e-4 ... 10]

FOLDER holds Fashion-MNIST's IDX files: labels of 5, 10, 20 and 40 % of `--images` training images are changed, randomly
or to one similar class; the images are the same for all of these, the validation labels (500) are right. `--blind`
makes sets of them, at the first of the rates, that a backbone cannot know: each image's pixels in one other order, or
the logarithm of its spectrum. Each set and seed is one audit, `--model small+frozen:frozen_features:BACKBONE`, in DIR
(a finished one is used again), whose run holds both views. A row a set: average precision (AP) of label_error from
scratch, of the frozen view, of what the program made of both, of cleanlab (5 folds of logistic regression on the same
features, default C and, with the truth in hand, the best of `--c`), mean and standard deviation over the seeds;
validation accuracies, weights, what `--model auto` makes of it, which leaves a backbone out that hardly counts, and by
how much that is below the better view and below the one from scratch. The truth is read when all is ranked.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from against_truth import average_precision  # beside this file
from label_error_sets import SIMILAR
from label_errors import DEMO, ranked
from PIL import Image

HELD = 500  # validation images of Fashion-MNIST


def scrambled(pixels: np.ndarray) -> np.ndarray:
    """Images (N, S, S) uint8, the pixels of each in one and the same other order."""
    order = np.random.default_rng(0).permutation(pixels[0].size)
    return pixels.reshape(len(pixels), -1)[:, order].reshape(pixels.shape)


def spectra(pixels: np.ndarray) -> np.ndarray:
    """The logarithm of the amplitudes of images (N, S, S), 0 to 255."""
    amplitudes = np.log1p(np.abs(np.fft.fftshift(np.fft.fft2(pixels.astype(float)), axes=(1, 2))))
    return (255 * amplitudes / amplitudes.max()).astype(np.uint8)


LOOKS = {"": lambda pixels: pixels, "scrambled": scrambled, "spectra": spectra}


def injected(
    source: Path, folder: Path, images: int, kind: str, rate: int, seed: int, look: str = ""
) -> tuple[Path, Path]:
    """A manifest and its truth, of Fashion-MNIST with `rate` % of wrong labels; look: a key of LOOKS."""
    from lossprint.assets.make_demo import read_idx

    pixels, classes = (read_idx(source / f"train-{name}-ubyte.gz") for name in ("images-idx3", "labels-idx1"))
    rows = np.random.default_rng(seed).permutation(len(classes))[: images + HELD]
    looks = LOOKS[look](pixels[rows])
    true, random = classes[rows].astype(int), np.random.default_rng((seed, rate, kind == "random"))
    wrong = np.zeros(len(rows), bool)
    wrong[random.permutation(images)[: round(rate * images / 100)]] = True
    other = (true + random.integers(1, 10, len(rows))) % 10 if kind == "random" else np.vectorize(SIMILAR.get)(true)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    paths = [f"images/{row:05d}.png" for row in rows]
    for path, picture in zip(paths, looks):
        if not (folder / path).exists():
            Image.fromarray(picture).save(folder / path)
    name = f"{kind}-{rate}"
    split = np.where(np.arange(len(rows)) < images, "train", "val")
    manifest = pd.DataFrame({"path": paths, "label": np.where(wrong, other, true), "split": split})
    manifest.to_csv(folder / f"{name}.csv", index=False)
    truth = pd.DataFrame({"path": paths, "true_label": true, "is_error": wrong.astype(int)})
    truth.to_csv(folder / f"{name}-truth.csv", index=False)
    return folder / f"{name}.csv", folder / f"{name}-truth.csv"


def audited(labels: Path, out: Path, backbone: str, seed: int):
    """The finished run of both views."""
    from lossprint.audit import open_run
    from lossprint.audit.workflow.audit import audit

    if (out / "findings.parquet").exists():
        return open_run(out)
    shutil.rmtree(out, ignore_errors=True)
    model = f"small+frozen:frozen_features:{backbone}"
    return audit(str(labels), out, model=model, seed=seed, curvature_checkpoints=0, quiet=True)


def measured(run, truth: Path, regularisations: list[float], seed: int) -> dict[str, float]:
    """AP of each ranking, validation accuracies and the frozen view's weight."""
    from frozen import peer

    from lossprint.audit.findings import frozen
    from lossprint.scoring.heads import combine

    train, val, head = run.trajectory("train"), run.trajectory("val"), run.head()
    found, _ = ranked(train, val, len(run.classes))
    scores = run.scores()
    views = list(run.manifest["facts"]["score"]["views"].values())
    ids, vectors = run.embeddings()
    inside = vectors[np.searchsorted(ids, train.samples)]
    peers = {c: peer(inside, train.labels, c, seed)[0] for c in regularisations}
    answers = pd.read_csv(truth, dtype=str, keep_default_na=False).set_index("path").loc[scores["path"]]
    wrong = (answers["is_error"].astype(int) == 1).to_numpy()
    rankings = {"scratch": found.severity, "frozen": frozen.severity(head), "both": scores["label_error"].to_numpy()}
    row = {name: average_precision(wrong, score) for name, score in rankings.items()}
    best = {c: max(average_precision(wrong, score) for score in kinds.values()) for c, kinds in peers.items()}
    row |= {"cleanlab": best[1.0], "best C": max(best.values())} if best else {}
    row |= {"accuracy": views[0]["accuracy"], "frozen's": views[1]["accuracy"], "weight": views[1]["weight"]}
    row["auto"] = row["scratch" if row["weight"] < combine.SLIGHT else "both"]
    row["below better"] = max(row["scratch"], row["frozen"]) - row["auto"]
    return row | {"below scratch": row["scratch"] - row["auto"]}


def report(rows: dict[str, list[dict[str, float]]]) -> None:
    names = list(dict.fromkeys(name for some in rows.values() for one in some for name in one))
    print(f"\n{'AP, mean ± deviation':<28}" + "".join(f"{name:>14}" for name in names))
    for title, some in rows.items():
        cells = []
        for name in names:
            values = [one[name] for one in some if name in one]
            spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.3f}{spread}" if values else "")
        print(f"{title:<28}" + "".join(f"{cell:>14}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--fashion", type=Path, metavar="FOLDER")
    parser.add_argument("--data", nargs=2, action="append", default=[], type=Path, metavar=("LABELS", "TRUTH"))
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--blind", nargs="*", choices=[look for look in LOOKS if look], default=[])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rates", nargs="+", type=int, default=[5, 10, 20, 40], help="per cent")
    parser.add_argument("--backbone", default="lite0_backbone", help="a function of frozen_features.py")
    parser.add_argument("--c", nargs="*", type=float, default=[], help="cleanlab's, 1 is the default one")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in options.seeds:
        sets = {labels.parent.name: (labels, truth) for labels, truth in options.data}
        if options.demo:
            sets["demo"] = (DEMO / "labels.csv", DEMO / "truth.csv")
        for rate in options.rates if options.fashion and not options.blind else []:
            for kind in ("random", "class-dependent"):
                folder = options.work / f"fashion-{options.images}-{seed}"
                sets[f"Fashion, {kind}, {rate} %"] = injected(options.fashion, folder, options.images, kind, rate, seed)
        for look in options.blind:
            for kind in ("random", "class-dependent"):
                folder = options.work / f"{look}-{options.images}-{seed}"
                rate = options.rates[0]
                title = f"Fashion, {look}, {kind}, {rate} %"
                sets[title] = injected(options.fashion, folder, options.images, kind, rate, seed, look)
        for title, (labels, truth) in sets.items():
            out = options.work / "runs" / f"{labels.parent.name}-{labels.stem}-{options.backbone}-{seed}"
            row = measured(audited(labels, out, options.backbone, seed), truth, options.c, seed)
            print(
                f"seed {seed}, {title}: " + ", ".join(f"{name} {value:.3f}" for name, value in row.items()), flush=True
            )
            rows.setdefault(title, []).append(row)
    report(rows)


if __name__ == "__main__":
    main()
