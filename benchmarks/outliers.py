"""Which score finds images that do not belong: foreign ones mixed into a training set, each with a random given label.

    python benchmarks/outliers.py FASHION_FOLDER CIFAR_MANIFEST [--seeds 0 1 2] [--images 2000] [--epochs 20] [--keep F]

FASHION_FOLDER holds Fashion-MNIST's IDX files (Debian's dataset-fashion-mnist), CIFAR_MANIFEST is a path,label table
beside 32 px images; its labels are taken as they come. In each mixture a share of the training images (.5 or 2 %) gives
way to foreign ones: a third from the other of the two datasets (resized, greyed for Fashion-MNIST), a third from two
classes that are left out of the base, a third broken (flat grey, lower half black, noise, turned by 90 degrees,
inverted); "x4": each of them four times, under one label. The built-in recipe trains `small` on each mixture, one
thread; every candidate sees the same networks, and none the truth. `--keep` stores what was measured of each network in
a folder F, so that a second call only compares. About 40 s of one core for a network.

Prints one row a candidate, all oriented to high = suspect, the best first: AUROC and average precision (means over the
networks), precision at the number planted, AUROC a mixture, AUROC a base and kind (fashion: broken, classes, dataset;
then CIFAR), and for distances the share of the planted over the severity fence and how many of 1,000 clean images are.
Candidates are of the last checkpoint unless it says "half".
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from against_truth import auroc, average_precision
from PIL import Image

from lossprint.assets.make_demo import read_idx
from lossprint.scoring import outliers
from lossprint.scoring.labels import SUSPECT

DATASET, CLASSES = "other dataset", "other classes"
BROKEN = ("flat", "half black", "noise", "turned", "inverted")
KINDS = (DATASET, CLASSES, *BROKEN)


# ---------------------------------------------------------------------------------------------- mixtures


@dataclass(frozen=True)
class Pool:
    """All images (N, S, S, 3) uint8 of a dataset and their class indices (N,)."""

    pixels: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Mixture:
    """What a network is trained on: the share of a base's images that foreign ones replace, each in so many copies."""

    base: str
    share: float
    copies: int = 1

    @property
    def name(self) -> str:
        return f"{self.base} {self.share:.1%}" + (f" x{self.copies}" if self.copies > 1 else "")


MIXTURES = (
    Mixture("fashion", 0.005),
    Mixture("fashion", 0.02),
    Mixture("fashion", 0.02, copies=4),
    Mixture("cifar", 0.005),
    Mixture("cifar", 0.02),
)


def read_fashion(folder: Path) -> Pool:
    grey, labels = (read_idx(folder / f"train-{name}-ubyte.gz") for name in ("images-idx3", "labels-idx1"))
    return Pool(np.repeat(grey[..., None], 3, axis=3), labels.astype(np.int64))


def read_manifest(path: Path) -> Pool:
    table = pd.read_csv(path)
    pixels = np.stack([np.asarray(Image.open(path.parent / name).convert("RGB")) for name in table["path"]])
    return Pool(pixels, np.unique(table["label"], return_inverse=True)[1].astype(np.int64))


def resized(image: np.ndarray, side: int, grey: bool) -> np.ndarray:
    """(S, S, 3) uint8 -> (side, side, 3) uint8."""
    picture = Image.fromarray(image).convert("L" if grey else "RGB")
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC).convert("RGB"))


def spoiled(image: np.ndarray, kind: str, random: np.random.Generator) -> np.ndarray:
    """An image (S, S, 3) uint8 broken in one of the ways of BROKEN."""
    if kind == "flat":
        return np.full_like(image, random.integers(0, 256))
    if kind == "half black":
        return np.where(np.arange(len(image))[:, None, None] < len(image) // 2, image, 0)
    if kind == "noise":
        return random.integers(0, 256, image.shape, dtype=np.uint8)
    return np.rot90(image) if kind == "turned" else 255 - image


def mix(pools: dict[str, Pool], mixture: Mixture, images: int, seed: int):
    """The mixture's `train.Inputs`, `images` to train on and a tenth of that for validation; the training images' kind.

    Kind -1 is clean, others index KINDS: a third from the other dataset, a third from two classes that are left out of
    the base, a third broken. Validation images are clean.
    """
    from lossprint.audit.training import train

    random = np.random.default_rng(seed)
    base, other = pools[mixture.base], pools["cifar" if mixture.base == "fashion" else "fashion"]
    side = base.pixels.shape[1]
    held = random.choice(np.unique(base.labels), 2, replace=False)
    classes = np.setdiff1d(base.labels, held)
    count = round(mixture.share * images)
    own = random.permutation(np.flatnonzero(np.isin(base.labels, classes)))[: images + images // 10 - count]
    distinct = -(-count // mixture.copies)
    kinds = np.arange(distinct) % 3
    kinds[kinds == 2] = 2 + np.arange((kinds == 2).sum()) % len(BROKEN)
    apart = random.permutation(np.flatnonzero(np.isin(base.labels, held)))
    spare = random.permutation(np.setdiff1d(np.flatnonzero(np.isin(base.labels, classes)), own))
    strange = random.permutation(len(other.labels))
    foreign = []
    for row, kind in enumerate(kinds):
        if KINDS[kind] == DATASET:
            image = resized(other.pixels[strange[row]], side, grey=mixture.base == "fashion")
        elif KINDS[kind] == CLASSES:
            image = base.pixels[apart[row]]
        else:
            image = spoiled(base.pixels[spare[row]], KINDS[kind], random)
        foreign.append(image)
    again = np.arange(count) // mixture.copies  # copies share their label: they are one mistake made several times
    pixels = np.concatenate([np.stack(foreign)[again], base.pixels[own]])
    labels = np.concatenate([random.choice(classes, distinct)[again], base.labels[own]])
    kind = np.concatenate([kinds[again], np.full(images - count, -1)])
    order = random.permutation(images)
    everything = np.concatenate([order, np.arange(images, len(pixels))])
    pixels, labels = pixels[everything], np.searchsorted(classes, labels[everything])
    split = np.where(np.arange(len(pixels)) < images, "train", "val")
    statistics = train.channel_statistics(pixels, np.arange(images))
    return train.Inputs(np.arange(len(pixels)), labels, split, pixels, side, *statistics, len(classes)), kind[order]


# ---------------------------------------------------------------------------------------------- networks


def measured(pools: dict[str, Pool], mixture: Mixture, images: int, epochs: int, seed: int) -> dict[str, np.ndarray]:
    """Train on a mixture; all that candidates are made of, by name, the training images in order.

    kind and labels (N,); losses and margins (E, N); features (N, D) and logits (N, C) of the last checkpoint and, with
    "half_" before the name, of the middle one; curvature and input_gradient (N,), last; thumbs (N, 16, 16) grey.
    """
    from lossprint.audit.recording.recorder import Recorder
    from lossprint.audit.training import train
    from lossprint.scoring import input_curvature as curvature

    inputs, kind = mix(pools, mixture, images, seed)
    rows = inputs.rows("train")
    labels = inputs.labels.astype(str)
    table = pd.DataFrame({"sample": inputs.samples, "path": inputs.samples.astype(str), "label": labels})
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder) / "run", table.assign(split=inputs.split), seed=seed)
        network = train.train(recorder, inputs, model="small", epochs=epochs, seed=seed, device="cpu", quiet=True)
        run = recorder.run
        trajectory = run.trajectory("train")
        found = {
            "kind": kind,
            "labels": inputs.labels[rows],
            "losses": trajectory.losses,
            "margins": trajectory.margins,
        }
        for name, checkpoint in (("half_", max(epochs // 2, 1)), ("", epochs)):
            weights = run.read_checkpoint(checkpoint)
            train.load_weights(network, weights)
            features = train.embed(network, inputs, "cpu")[rows]
            found[f"{name}features"] = features
            found[f"{name}logits"] = features @ weights["head.weight"].numpy().T + weights["head.bias"].numpy()
    around = curvature.measure(network, inputs.batches(rows, "cpu"), draws=1)
    thumbs = np.stack([resized(image, 16, grey=True)[..., 0] for image in inputs.pixels[rows]])
    return {**found, "curvature": around.curvature, "input_gradient": around.gradient_norm, "thumbs": thumbs}


def kept(folder: Path | None, pools: dict[str, Pool], mixture: Mixture, images: int, epochs: int, seed: int):
    """What was measured, read from the folder where it is there, written to it where not."""
    name = f"{mixture.base}_{mixture.share}_{mixture.copies}_{images}_{epochs}_{seed}.npz"
    if folder is not None and (folder / name).exists():
        with np.load(folder / name) as file:
            return dict(file)
    found = measured(pools, mixture, images, epochs, seed)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / name, **found)
    return found


# ---------------------------------------------------------------------------------------------- candidates


def directions(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def distances(x: np.ndarray) -> np.ndarray:
    """Euclidean distances (N, N) between rows, infinite to itself."""
    squares = (x**2).sum(1)
    found = np.sqrt(np.maximum(squares[:, None] + squares - 2 * x @ x.T, 0))
    np.fill_diagonal(found, np.inf)
    return found


def cosines(x: np.ndarray) -> np.ndarray:
    """Cosine distances (N, N) between rows, infinite to itself."""
    found = np.maximum(1 - directions(x) @ directions(x).T, 0)
    np.fill_diagonal(found, np.inf)
    return found


def probabilities(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def ranks(score: np.ndarray) -> np.ndarray:
    """Ranks (N,) in (0, 1], ties their mean."""
    return pd.Series(score).rank(pct=True).to_numpy()


def local_factor(distance: np.ndarray, k: int) -> np.ndarray:
    """Local outlier factor (Breunig et al., SIGMOD 2000) from distances (N, N)."""
    order = np.argsort(distance, axis=1)[:, :k]
    nearest = np.take_along_axis(distance, order, 1)
    reach = np.maximum(np.maximum(nearest[order, -1], nearest).mean(1), 1e-12)
    return reach * (1 / reach)[order].mean(1)


def mahalanobis(x: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared distance to the nearest class mean (Lee et al., 2018), and that less the one to the mean of all."""

    def inverse(spread: np.ndarray) -> np.ndarray:
        covariance = spread.T @ spread / len(spread)
        return np.linalg.inv(covariance + 1e-6 * np.trace(covariance) / len(covariance) * np.eye(len(covariance)))

    means = np.stack([x[labels == c].mean(0) for c in np.unique(labels)])
    precision, plain = inverse(x - means[labels]), inverse(x - x.mean(0))
    near = np.min([(((x - mean) @ precision) * (x - mean)).sum(1) for mean in means], axis=0)
    return near, near - (((x - x.mean(0)) @ plain) * (x - x.mean(0))).sum(1)


def of_neighbours(x: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Candidates made of distances between embeddings (N, D)."""
    cosine, euclidean = cosines(x), distances(x)
    near, straight = np.sort(cosine, axis=1), np.sort(euclidean, axis=1)
    far = np.where(cosine < 1e-3, np.inf, cosine)  # as if what is nearly the same were not there
    own = np.sort(np.where(labels[:, None] == labels, cosine, np.inf), axis=1)
    around = np.argsort(cosine, axis=1)[:, :50]
    found = {f"cosine to neighbour {k}": near[:, k - 1] for k in (1, 5, 10, 20, 30, 50, 100, 200)}
    found |= {f"mean cosine to {k}": near[:, :k].mean(1) for k in (10, 50)}
    found |= {f"Euclidean to neighbour {k}": straight[:, k - 1] for k in (10, 30)}
    own20 = own[:, 19]
    return {
        **found,
        "shipped: neighbour_distance": outliers.neighbour_distance(
            x, outliers.neighbour_count(len(x), labels.max() + 1)
        ),
        "mean cosine to 10, none under .001": np.sort(far, axis=1)[:, :10].mean(1),
        "cosine to own class's neighbour 10": own[:, 9],
        "cosine to own class's neighbour 20": own20,
        "mean cosine to 50 / theirs": near[:, :50].mean(1) / np.maximum(near[around, :50].mean((1, 2)), 1e-9),
        "local outlier factor, 20": local_factor(cosine, 20),
        "rank mean: neighbour 30, own class's 20": (ranks(near[:, 29]) + ranks(own20)) / 2,
    }


def of_output(x: np.ndarray, logits: np.ndarray) -> dict[str, np.ndarray]:
    """Candidates made of features (N, D) and logits (N, C): low for what is strange, so the sign is turned."""
    p, norm = probabilities(logits), np.linalg.norm(x, axis=1)
    top = logits.max(1)
    return {
        "maximum softmax": -p.max(1),
        "maximum logit": -top,
        "energy": -(top + np.log(np.exp(logits - top[:, None]).sum(1))),
        "maximum softmax x norm": -p.max(1) * norm,
        "maximum logit / norm": -top / np.maximum(norm, 1e-12),
        "feature norm": -norm,
        # L1 norm of the last layer's gradient for uniform targets, (p - 1/C) x^T (Huang et al., NeurIPS 2021)
        "GradNorm": -np.abs(x).sum(1) * np.abs(p - 1 / p.shape[1]).sum(1),
    }


def candidates(m: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every candidate score (N,) by name, high = suspect."""
    labels, x, logits = m["labels"], m["features"].astype(np.float64), m["logits"].astype(np.float64)
    centred = x - x.mean(0)
    means = np.stack([centred[labels == c].mean(0) for c in np.unique(labels)])
    axes = np.linalg.eigh(centred.T @ centred)[1][:, -len(means) :]
    near, relative = mahalanobis(x, labels)
    grey = m["thumbs"].reshape(len(x), -1).astype(np.float64)
    spectrum = np.log1p(np.abs(np.fft.rfft2(m["thumbs"].astype(np.float64)))).reshape(len(x), -1)
    scores = {
        **of_neighbours(x, labels),
        **of_output(x, logits),
        "half: cosine to neighbour 30": np.sort(cosines(m["half_features"].astype(np.float64)), axis=1)[:, 29],
        "cosine to the nearest class mean": (1 - directions(centred) @ directions(means).T).min(1),
        "Mahalanobis": near,
        "Mahalanobis, relative": relative,
        "residual off the C main axes": np.linalg.norm(centred - centred @ axes @ axes.T, axis=1),
        "csl": m["losses"].mean(0),
        "last loss": m["losses"][-1],
        "aum": -m["margins"].mean(0),
        "curvature": m["curvature"],
        "input gradient": m["input_gradient"],
        "pixels: Euclidean, mean of 10": np.sort(distances(grey), axis=1)[:, :10].mean(1),
        "pixels: cosine, mean of 10": np.sort(cosines(grey - grey.mean(1, keepdims=True)), axis=1)[:, :10].mean(1),
        "spectrum: Euclidean, mean of 10": np.sort(distances(spectrum), axis=1)[:, :10].mean(1),
    }
    for other in ("csl", "maximum logit / norm", "Mahalanobis, relative", "residual off the C main axes"):
        scores[f"rank mean: neighbour 30, {other}"] = ranks(scores["cosine to neighbour 30"]) + ranks(scores[other])
    return scores


# ---------------------------------------------------------------------------------------------- table


def compared(m: dict[str, np.ndarray], mixture: Mixture) -> list[dict]:
    """A record a candidate: its figures on one network."""
    planted, records = m["kind"] >= 0, []
    kinds = {"broken": m["kind"] >= 2, "classes": m["kind"] == 1, "dataset": m["kind"] == 0}
    for name, score in candidates(m).items():
        top = planted[np.argsort(-score, kind="stable")][: planted.sum()]
        record = {"candidate": name, "AUROC": auroc(planted, score), "AP": average_precision(planted, score)}
        record |= {"precision": top.mean(), mixture.name: record["AUROC"]}
        for kind, chosen in kinds.items():
            rows = chosen | ~planted
            record[f"{mixture.base} {kind}"] = auroc(chosen[rows], score[rows])
        if score.min() >= 0 and not name.startswith("rank"):
            over = outliers.outlier_severity(score) > SUSPECT
            record[f"{mixture.base} planted over"] = over[planted].mean()
            record[f"{mixture.base} clean over"] = 1000 * over[~planted].mean()
        records.append(record)
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fashion", type=Path)
    parser.add_argument("cifar", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    pools = {"fashion": read_fashion(options.fashion), "cifar": read_manifest(options.cifar)}
    records = []
    for seed in options.seeds:
        for mixture in MIXTURES:
            print(f"{mixture.name}, seed {seed}", file=sys.stderr, flush=True)
            found = kept(options.keep, pools, mixture, options.images, options.epochs, seed)
            records += compared(found, mixture)
    table = pd.DataFrame(records).groupby("candidate").mean().sort_values("AUROC", ascending=False)
    per_kind = [f"{base} {kind}" for base in ("fashion", "cifar") for kind in ("broken", "classes", "dataset")]
    flags = [f"{base} {group} over" for base in ("fashion", "cifar") for group in ("planted", "clean")]
    order = ["AUROC", "AP", "precision", *(m.name for m in MIXTURES), *per_kind, *flags]
    print(f"{len(records) // len(table)} networks, {options.images} images, {options.epochs} epochs")
    pd.set_option("display.width", 1000, "display.max_columns", None)
    print(table[order].to_string(float_format="{:.3f}".format, na_rep="-"))


if __name__ == "__main__":
    main()
