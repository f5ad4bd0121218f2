"""Foreign images among 5,000 of CIFAR-10N by frozen features: the product's NNGuide, its k-NN and others, AUROC.

    python benchmarks/foreign.py --cifar DIR --photos DIR --cache DIR [--seeds 0 1 2] [--backbone lite0]

DIRs are folders with labels.csv and its images; CACHE is that of `frozen_features.py`. Seven plants, labels drawn at
random, the head trained with them: 60 digits (scikit-learn's, 8 px), 60 crops of 32 px of photos, 60 drawn rectangles
and gradients, 10 crops, 12 of all three, and twice a class of CIFAR-10 as 5 % of the other eight, labelled as those
(two classes are left out each time). Prints also how many are beyond the fence, planted and not.
"""

import argparse
from pathlib import Path

import frozen_features
import numpy as np
import pandas as pd
from PIL import Image
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score

from lossprint.scoring import outliers
from lossprint.scoring.heads import foreign, linear
from lossprint.scoring.heads.folds import deal
from lossprint.scoring.labels import SUSPECT


def pictures(photos: Path, random: np.random.Generator) -> dict[str, list[Image.Image]]:
    """60 images of each foreign kind, RGB."""
    from sklearn.datasets import load_digits

    digits = load_digits().images
    drawn = digits[random.choice(len(digits), 60, replace=False)]
    table = pd.read_csv(photos / "labels.csv", dtype=str)
    crops, shapes = [], []
    for path in table["path"].sample(60, random_state=int(random.integers(1 << 30))):
        image = Image.open(photos / path).convert("RGB")
        left, top = (int(random.integers(0, max(side - 31, 1))) for side in image.size)
        crops.append(image.crop((left, top, left + 32, top + 32)))
    for _ in range(60):
        pixels = np.linspace(random.integers(0, 255, 3), random.integers(0, 255, 3), 32)[:, None].repeat(32, 1)
        for _ in range(3):
            (y, x), (h, w) = random.integers(0, 24, 2), random.integers(4, 16, 2)
            pixels[y : y + h, x : x + w] = random.integers(0, 255, 3)
        shapes.append(Image.fromarray(pixels.astype(np.uint8)))
    return {
        "digits": [Image.fromarray((one / 16 * 255).astype(np.uint8)).convert("RGB") for one in drawn],
        "crops": crops,
        "synthetic": shapes,
    }


def looked_at(images: list[Image.Image], backbone: str) -> np.ndarray:
    """Features (N, d) as those of the cache."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for at, image in enumerate(images):
            paths.append(Path(folder) / f"{at}.png")
            image.save(paths[-1])
        passed = {"lite0": frozen_features.lite0, "nsfw": frozen_features.nsfw}[backbone](paths, 1)
        return np.concatenate([np.concatenate(stages, 1) for stages in passed]).astype(np.float32)


def measured(features: np.ndarray, labels: np.ndarray, planted: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Scores (N,), high is foreign, as the product computes them, and those beside it."""
    classes = int(labels.max()) + 1
    decay = linear.chosen_decay(features, labels, classes, deal(labels, seed=seed), seed=seed)
    *_, head = linear.train(features, labels, classes, decay=decay, seed=seed)
    energy = np.concatenate([logsumexp(block.numpy(), axis=1) for _, block in head.logits(features)])
    return {
        "NNGuide": foreign.remoteness(features, energy),
        "energy": -energy,
        "k-NN, 5 %": foreign.distance(features),
        "k-NN as before": outliers.neighbour_distance(features, outliers.neighbour_count(len(labels), classes)),
    }


def plants(values: np.ndarray, labels: np.ndarray, kinds: dict[str, np.ndarray], random) -> dict[str, tuple]:
    """By name features, labels and which are planted."""
    groups = {name: kinds[name] for name in ("digits", "crops", "synthetic")}
    groups["10 crops"] = kinds["crops"][:10]
    groups["12 mixed"] = np.concatenate([kinds[name][-4:] for name in ("digits", "crops", "synthetic")])
    made = {}
    for name, group in groups.items():
        drawn = np.append(labels, random.integers(0, labels.max() + 1, len(group)))
        made[name] = (np.vstack([values, group]), drawn, np.arange(len(drawn)) >= len(labels))
    classes = random.permutation(labels.max() + 1)
    for at in (0, 1):
        out, other = classes[2 * at], classes[2 * at + 1]
        kept = np.flatnonzero(~np.isin(labels, [out, other]))
        few = random.permutation(np.flatnonzero(labels == out))[: len(kept) // 20]
        names = np.unique(labels[kept])
        code = np.append(np.searchsorted(names, labels[kept]), random.integers(0, len(names), len(few)))
        made[f"near {at + 1}"] = (values[np.append(kept, few)], code, np.arange(len(code)) >= len(kept))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--backbone", choices=frozen_features.SIZES, default="lite0")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    table = pd.read_csv(options.cifar / "labels.csv", dtype=str)
    table = table[table["split"] != "test"]
    kept, _ = frozen_features.features(options.cifar / "labels.csv", options.backbone, options.cache)
    train = (table["split"] == "train").to_numpy()
    values = np.asarray(kept[train], np.float32)
    labels = np.unique(table["label"][train], return_inverse=True)[1]
    rows: dict[str, dict[str, list[float]]] = {}
    for seed in options.seeds:
        random = np.random.default_rng(seed)
        kinds = {name: looked_at(images, options.backbone) for name, images in pictures(options.photos, random).items()}
        for plant, (features, given, foreign_ones) in plants(values, labels, kinds, random).items():
            scores = measured(features, given, foreign_ones, seed)
            for name, score in scores.items():
                rows.setdefault(name, {}).setdefault(plant, []).append(roc_auc_score(foreign_ones, score))
            beyond = outliers.outlier_severity(scores["NNGuide"]) > SUSPECT
            before = outliers.outlier_severity(scores["k-NN as before"]) > SUSPECT
            told = [f"{(one & foreign_ones).sum()} and {(one & ~foreign_ones).sum()}" for one in (beyond, before)]
            print(
                f"seed {seed}, {plant}: {foreign_ones.sum()} planted; flagged of them and of others {told}", flush=True
            )
    names = list(next(iter(rows.values())))
    print(f"\n{'AUROC, mean of the seeds':<26}" + "".join(f"{name:>11}" for name in [*names, "mean"]))
    for name, by_plant in rows.items():
        means = [np.mean(by_plant[plant]) for plant in names]
        print(f"{name:<26}" + "".join(f"{one:>11.3f}" for one in [*means, np.mean(means)]))


if __name__ == "__main__":
    main()
