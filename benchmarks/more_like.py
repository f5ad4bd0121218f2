"""Are there more like these? Both rankings after a handful of confirmed samples, beside simpler ones and chance.

    python benchmarks/more_like.py --data LABELS.csv TRUTH.csv [--photos FOLDER] --cache FOLDER [--draws 10]

More of a confusion: five confirmed errors of one confusion (given a, truly b) and ten right labels of a, drawn anew
`--draws` times for each confusion of at least eight cases; precision of the next 20 (or of all there are) among the
rest labelled a: of the same confusion, and of any error. Look-alikes: sixty digits of scikit-learn, sixty synthetic
images and, with `--photos`, sixty crops of those are laid beside the dataset's features; after five of them and
ten of the dataset, precision of the next 50. Features: lite0's, see `frozen_features.py`. The truth is read here only.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from frozen_features import features, images  # beside this file
from PIL import Image

from lossprint.scoring.heads import blocks, lda
from lossprint.scoring.heads.more_like import look_alikes, same_confusion

CONFIRMED, KEPT, NEXT = 5, 10, 20
FREQUENT = 20  # cases: a confusion of as many counts as a frequent one


def precision(rows: np.ndarray, right: np.ndarray, number: int) -> float:
    """The share of the first `number` rows that are right (N,) bool, of as many as there are to find."""
    some = rows[: min(number, max(int(right.sum()), 1))]
    return float(right[some].mean()) if len(some) else np.nan


def confusions(values: np.ndarray, labels: np.ndarray, truth: np.ndarray, classes: int, draws: int) -> pd.DataFrame:
    answers = lda.shuffled(blocks.prepare(values), labels, classes, rounds=1)[0].discriminant
    margin = -lda.margins(answers, labels)
    unit = blocks.directions(values)
    pairs, counts = np.unique(np.stack([labels, truth])[:, labels != truth], axis=1, return_counts=True)
    random, lines = np.random.default_rng(0), []
    for (given, right), count in zip(pairs.T, counts):
        if count < CONFIRMED + 3:
            continue
        cases, fine = (np.flatnonzero((labels == given) & (truth == kind)) for kind in (right, given))
        for _ in range(draws):
            confirmed, kept = random.permutation(cases)[:CONFIRMED], random.permutation(fine)[:KEPT]
            out = np.concatenate([confirmed, kept])
            rest = np.setdiff1d(np.flatnonzero(labels == given), out)
            near, far = (unit[rest] @ unit[some].T for some in (confirmed, kept))
            orders = {
                "chance": random.permutation(rest),
                "nearest by features": rest[np.argsort(-near.mean(axis=1))],
                "nearest, minus the kept": rest[np.argsort(far.mean(axis=1) - near.mean(axis=1))],
                "label margin": rest[np.argsort(-margin[rest])],
                "more of this confusion": same_confusion(answers, labels, given, right, out)[0],
            }
            same, wrong = np.zeros((2, len(labels)), bool)
            same[rest], wrong[rest] = truth[rest] == right, truth[rest] != given
            for name, order in orders.items():
                sort = "frequent" if count >= FREQUENT else "rare"
                lines.append((sort, name, precision(order, same, NEXT), precision(order, wrong, NEXT)))
    return pd.DataFrame(lines, columns=["confusions", "ranking", "the same confusion", "any error"])


def plants(folder: Path, photos: Path | None) -> dict[str, Path]:
    """Manifests of sixty foreign images each, made once."""
    from sklearn.datasets import load_digits

    random, made = np.random.default_rng(1), {}
    digits = load_digits().images[random.permutation(1797)[:60]]
    made["digits"] = [Image.fromarray((15 * one).astype(np.uint8)).resize((32, 32)) for one in digits]
    down, across = np.mgrid[:32, :32] / 32
    waves = []
    for _ in range(60):
        pitch, turn, colour = random.uniform(2, 9), random.uniform(0, np.pi), random.integers(60, 255, 3)
        wave = np.sin(2 * np.pi * pitch * (down * np.sin(turn) + across * np.cos(turn)))
        waves.append(Image.fromarray(((wave[..., None] + 1) / 2 * colour).astype(np.uint8)))
    made["synthetic"] = waves
    if photos:
        files = sorted(photos.rglob("*.jpg"))
        made["photo crops"] = []
        for at in random.permutation(len(files))[:60]:
            photo = Image.open(files[at]).convert("RGB")
            left, top = random.integers(0, photo.width - 63), random.integers(0, photo.height - 63)
            made["photo crops"].append(photo.crop((left, top, left + 64, top + 64)).resize((32, 32)))
    manifests = {}
    for name, pictures in made.items():
        place = folder / name.replace(" ", "-")
        (place / "images").mkdir(parents=True, exist_ok=True)
        for at, picture in enumerate(pictures):
            picture.convert("RGB").save(place / "images" / f"{at:02d}.png")
        rows = {"path": [f"images/{at:02d}.png" for at in range(len(pictures))], "label": "x", "split": "train"}
        pd.DataFrame(rows).to_csv(place / "labels.csv", index=False)
        manifests[name] = place / "labels.csv"
    return manifests


def covering(near: np.ndarray, number: int) -> np.ndarray:
    """The greedy order of FLQMI (arXiv 2107.00717) by similarities (N, |query|), the first `number`."""
    gain, covered, order = near.max(axis=1).astype(float), np.zeros(near.shape[1]), []
    for _ in range(number):
        order.append(int(np.argmax(gain + np.maximum(near - covered, 0).sum(axis=1))))
        covered = np.maximum(covered, near[order[-1]])
        gain[order[-1]] = -np.inf
    return np.array(order)


def planted(values: np.ndarray, foreign: np.ndarray, draws: int) -> pd.DataFrame:
    random, lines, n = np.random.default_rng(2), [], len(values)
    every = np.concatenate([values, foreign])
    prepared = {"raw": every, "standardised": (every - every.mean(axis=0)) / (every.std(axis=0) + 1e-6)}
    unit = {kind: blocks.directions(vectors) for kind, vectors in prepared.items()}
    right = np.arange(len(every)) >= n
    for _ in range(draws):
        query, kept = n + random.permutation(len(foreign))[:CONFIRMED], random.permutation(n)[:KEPT]
        orders = {("standardised", "look-alikes"): look_alikes(every, query, kept, number=50)[0]}
        for kind, directions in unit.items():
            near, far = directions @ directions[query].T, directions @ directions[kept].T
            orders[kind, "nearest to any"] = np.argsort(-near.max(axis=1))
            orders[kind, "nearest to the mean"] = np.argsort(-near.mean(axis=1))
            orders[kind, "mean, minus the kept's"] = np.argsort(far.mean(axis=1) - near.mean(axis=1))
            orders[kind, "facility location"] = covering(near, 50 + CONFIRMED + KEPT)
        for (kind, name), order in orders.items():
            order = order[~np.isin(order, np.concatenate([query, kept]))]
            lines.append((kind, name, right[order[:50]].mean()))
        lines.append(("", "chance", (len(foreign) - CONFIRMED) / len(every)))
    return pd.DataFrame(lines, columns=["features", "ranking", "precision of 50"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs=2, type=Path, required=True, metavar=("LABELS", "TRUTH"))
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=10)
    options = parser.parse_args()
    labels_file, truth_file = options.data
    table = pd.read_csv(labels_file, dtype=str, keep_default_na=False)
    values = features(labels_file, "lite0", options.cache)[0].astype(np.float32)
    order = {path: at for at, path in enumerate(str(p) for p in images(labels_file))}
    table = table[table["split"] == "train"].reset_index(drop=True)
    rows = [order[str(labels_file.parent / path)] for path in table["path"]]
    values = values[rows]
    classes, labels = np.unique(table["label"], return_inverse=True)
    answer = pd.read_csv(truth_file, dtype=str, keep_default_na=False).set_index("path")
    column = next(name for name in ("true_label", "truth", "clean_label", "label") if name in answer)
    true = table["path"].map(answer[column]).fillna(table["label"])
    truth = np.searchsorted(classes, true.to_numpy())
    frame = confusions(values, labels, truth, len(classes), options.draws)
    print(frame.groupby(["confusions", "ranking"], sort=False).mean().round(2).to_string(), "\n")
    for name, manifest in plants(options.cache / "plants", options.photos).items():
        foreign = features(manifest, "lite0", options.cache)[0].astype(np.float32)
        print(name)
        frame = planted(values, foreign, options.draws)
        print(frame.groupby(["features", "ranking"], sort=False).mean().round(2).to_string(), "\n")


if __name__ == "__main__":
    main()
