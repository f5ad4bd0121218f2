"""Does a batch belong? `lossprint check`'s scores on batches with planted foreign images, and on labels, beside peers.

    python benchmarks/batch.py --cifar DIR --photos DIR --cache DIR [--seeds 0 1 2] [--backbone lite0]
        [--scratch RUN LABELS.csv ...]

DIRs are folders with labels.csv and its images, CIFAR's with truth.csv as well; CACHE is that of `frozen_features.py`.
The bank is the 5,000 training images with a person's labels, 500 validation images are the reference, and a batch is
the other 500 and 60 foreign ones: the plants of `foreign.py` (10 crops and 12 mixed ones are as many), and twice 60
images of a class that the bank has not. AUROC of each score, chance .500; how many are named foreign of the planted and
of the others; and the batch without any. GradNorm is arXiv 2110.00218, norm-scaled softmax arXiv 2205.03493 as far as
its abstract says: the largest softmax of logits standardised by class. Then labels: a bank of 4,000, a batch of 1,000
with a person's labels, average precision of the margin, chance the share of wrong ones. `--scratch`: a run of
`--model small`, and batches of 500 of its test images and the first three plants, by its network's own embedding.
"""

import argparse
import tempfile
from pathlib import Path

import frozen_features
import numpy as np
import pandas as pd
import torch
from foreign import looked_at, pictures  # beside this file
from sklearn.metrics import average_precision_score, roc_auc_score

from lossprint.audit.check import bank
from lossprint.audit.check.batch import read_batch
from lossprint.audit.datasets.choices import Choices
from lossprint.audit.runs.open import open_run
from lossprint.scoring.heads import blocks, lda, linear
from lossprint.scoring.heads.folds import deal
from lossprint.scoring.heads.moments import moments, part
from lossprint.scoring.newcomers import foreign
from lossprint.scoring.newcomers import labels as new_labels

PLANTED = 60
PLANTS = ("digits", "crops", "synthetic")


def trained(features: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> linear.Linear:
    decay = linear.chosen_decay(features, labels, classes, deal(labels, seed=seed), seed=seed)
    *_, head = linear.train(features, labels, classes, decay=decay, seed=seed)
    return head


def logits(head: linear.Linear, features: np.ndarray) -> np.ndarray:
    return np.concatenate([block.numpy() for _, block in head.logits(features)])


def scores(features: np.ndarray, labels: np.ndarray, new: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Of each method a score (M,) of the new features, high is foreign."""
    classes = int(labels.max()) + 1
    head = trained(features, labels, classes, seed)
    known_logits, new_logits = logits(head, features), logits(head, new)
    energy, new_energy = foreign.energies(known_logits), foreign.energies(new_logits)
    plain = foreign.bank(features)
    p = np.exp(lda.log_softmax(new_logits))
    scaled = np.stack(
        [
            (new_logits[:, c] - known_logits[labels == c, c].mean()) / known_logits[labels == c, c].std()
            for c in range(classes)
        ],
        axis=1,
    )
    ridge = lda.ridge(part(moments(blocks.prepare(features), labels, classes)), 0.3)
    closed = [lda.applied([ridge], blocks.prepare(features)), lda.applied([ridge], blocks.prepare(new))]
    closed = [foreign.energies(10 * one) for one in closed]
    return {
        "NNGuide": foreign.remote(-foreign.nnguide(foreign.bank(features, energy), new, new_energy), 1e-9),
        "NNGuide, closed-form head": foreign.nnguide(foreign.bank(features, closed[0]), new, closed[1]),
        "k-NN, mean": -foreign.nearest(plain, new)[0],
        "k-NN, distance to the k-th": -foreign.nearest(plain, new)[1],
        "Mahalanobis": mahalanobis(features, labels, new),
        "GradNorm": -(np.abs(new).sum(axis=1) * np.abs(1 / classes - p).sum(axis=1)),
        "norm-scaled softmax": -np.exp(lda.log_softmax(scaled)).max(axis=1),
        "energy": -new_energy,
        "softmax": -p.max(axis=1),
    }


def mahalanobis(features: np.ndarray, labels: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Of features of length 1 (as Mahalanobis++), the covariance inside the classes shrunk by a tenth."""
    known, new = (blocks.directions(one).astype(float) for one in (features, new))
    means = np.stack([known[labels == c].mean(axis=0) for c in range(labels.max() + 1)])
    rest = known - means[labels]
    within = rest.T @ rest / len(rest)
    shrunk = 0.9 * within + 0.1 * np.trace(within) / len(within) * np.eye(len(within))
    return foreign.mahalanobis(new, means, np.linalg.inv(shrunk))


def of_network(run, manifest: Path, photos: Path, seed: int) -> None:
    """Print AUROC of the planted among test images, by the embedding of a run's own network."""
    table = pd.read_csv(manifest, dtype=str)
    paths = [manifest.parent.absolute() / path for path in table.loc[table["split"] == "test", "path"][:500]]
    with tempfile.TemporaryDirectory() as folder:
        for name, images in pictures(photos, np.random.default_rng(seed)).items():
            (Path(folder) / name).mkdir()
            for at, image in enumerate(images):
                image.save(Path(folder) / name / f"{at}.png")
        (Path(folder) / "test").mkdir()
        for path in paths:
            (Path(folder) / "test" / path.name).symlink_to(path)
        size = int(run.manifest["facts"]["record"]["size"])
        batch = read_batch(folder, run, Choices(follow_links=True), size)
    known = bank.known_of(run)
    looked = bank.look(run, known, batch, None, "cpu", True)
    energies = [foreign.energies(one) for one in (looked.bank, looked.new)]
    answers = bank.answers(known, looked, np.full(len(batch.samples), -1))
    told = {
        "distance to the k-th, 5 %": answers.remoteness,
        "NNGuide": foreign.nnguide(foreign.bank(known.vectors, energies[0]), looked.vectors, energies[1]),
        "energy": -energies[1],
        "Mahalanobis": mahalanobis(known.vectors, known.labels, looked.vectors),
    }
    group = batch.samples["path"].str.split("/").str[0].to_numpy()
    for name, score in told.items():
        row = [roc_auc_score(group[m] == one, score[m]) for one in PLANTS for m in [np.isin(group, [one, "test"])]]
        print(f"{run.name}, {name:<28}" + "".join(f"{one:>11.3f}" for one in [*row, np.mean(row)]))
    named = [f"{int(answers.foreign.found[group == one].sum())} {one}" for one in (*PLANTS, "test")]
    print(f"{run.name}, named: {', '.join(named)}", flush=True)


def batches(values: dict, labels: dict, kinds: dict[str, np.ndarray], random) -> dict[str, tuple]:
    """By name: bank, its labels, reference, batch, which of it are planted."""
    half = len(values["val"]) // 2
    reference, honest = values["val"][:half], values["val"][half:]
    groups = {name: kinds[name] for name in ("digits", "crops", "synthetic")}
    groups["10 crops"] = kinds["crops"][:10]
    groups["12 mixed"] = np.concatenate([kinds[name][-4:] for name in kinds])
    groups["none"] = kinds["digits"][:0]
    made = {}
    for name, group in groups.items():
        batch = np.concatenate([honest, group])
        made[name] = (values["train"], labels["train"], reference, batch, np.arange(len(batch)) >= len(honest))
    for at, out in enumerate(random.permutation(labels["train"].max() + 1)[:2]):
        kept = labels["train"] != out
        code = np.unique(labels["train"][kept], return_inverse=True)[1]
        own = labels["val"] == out
        held = values["train"][labels["train"] == out]
        group = held[random.permutation(len(held))[:PLANTED]]
        belonging = honest[~own[half:]]
        batch = np.concatenate([belonging, group])
        planted = np.arange(len(batch)) >= len(belonging)
        made[f"near {at + 1}"] = (values["train"][kept], code, reference[~own[:half]], batch, planted)
    return made


def of_labels(values: np.ndarray, given: np.ndarray, wrong: np.ndarray, seed: int) -> dict[str, float]:
    """Average precision of each way to rank a batch's labels, of 1,000 that nothing was trained on."""
    order = np.random.default_rng(seed).permutation(len(given))
    known, new = order[:-1000], order[-1000:]
    classes = int(given.max()) + 1
    head = trained(values[known], given[known], classes, seed)
    answer, prepared = logits(head, values[new]), blocks.prepare(values[known])
    moment = moments(prepared, given[known], classes)
    shares = new_labels.vote(
        prepared, given[known], classes, blocks.Prepared(values[new], prepared.mean, prepared.scale)
    )
    batch = blocks.Prepared(values[new], prepared.mean, prepared.scale)
    closed = {
        name: lda.applied([kind(part(moment), 0.3)], batch)
        for name, kind in (("LDA", lda.discriminant), ("ridge", lda.ridge))
    }
    told = {"head, as the program": answer, "k-NN vote": shares, **closed}
    found = {
        name: average_precision_score(wrong[new], -np.nan_to_num(lda.margins(one, given[new])))
        for name, one in told.items()
    }
    flags = new_labels.judged(answer, shares, given[new])
    found |= {
        "chance": wrong[new].mean(),
        "flagged": flags.flagged.sum(),
        "of them wrong": wrong[new][flags.flagged].mean(),
    }
    right = np.asarray(flags.certain & wrong[new])
    return found | {
        "certain": flags.certain.sum(),
        "of them wrong (certain)": right.sum() / max(flags.certain.sum(), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--backbone", choices=frozen_features.SIZES, default="lite0")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--scratch", nargs=2, action="append", default=[], metavar=("RUN", "LABELS"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = pd.read_csv(options.cifar / "labels.csv", dtype=str)
    table = table[table["split"] != "test"].reset_index(drop=True)
    kept, _ = frozen_features.features(options.cifar / "labels.csv", options.backbone, options.cache)
    code = np.unique(table["label"], return_inverse=True)[1]
    rows = {split: (table["split"] == split).to_numpy() for split in ("train", "val")}
    values = {split: np.asarray(kept[mask], np.float32) for split, mask in rows.items()}
    labels = {split: code[mask] for split, mask in rows.items()}
    found: dict[str, dict[str, list[float]]] = {}
    for seed in options.seeds:
        random = np.random.default_rng(seed)
        kinds = {name: looked_at(images, options.backbone) for name, images in pictures(options.photos, random).items()}
        for plant, (known, given, reference, batch, planted) in batches(values, labels, kinds, random).items():
            both = scores(known, given, np.concatenate([reference, batch]), seed)
            for name, score in both.items():
                if planted.any():
                    auroc = roc_auc_score(planted, score[len(reference) :])
                    found.setdefault(name, {}).setdefault(plant, []).append(auroc)
            score = both["NNGuide"]
            verdict = foreign.judged(score[len(reference) :], score[: len(reference)])
            print(
                f"seed {seed}, {plant}: named {(verdict.found & planted).sum()} of {planted.sum()} planted and "
                f"{(verdict.found & ~planted).sum()} of {(~planted).sum()} others",
                flush=True,
            )
    names = list(next(iter(found.values())))
    print(f"\n{'AUROC, mean of the seeds':<28}" + "".join(f"{name:>11}" for name in [*names, "mean"]))
    for name, by_plant in found.items():
        means = [np.mean(by_plant[plant]) for plant in names]
        print(f"{name:<28}" + "".join(f"{one:>11.3f}" for one in [*means, np.mean(means)]))
    truth = pd.read_csv(options.cifar / "truth.csv", dtype=str)
    column = next(name for name in truth.columns if name != "path" and "label" in name)
    right = table.loc[rows["train"], "path"].map(truth.set_index("path")[column]).to_numpy()
    wrong = right != table.loc[rows["train"], "label"].to_numpy()
    for run, manifest in options.scratch:
        of_network(open_run(run), Path(manifest), options.photos, options.seeds[0])
    measured = [of_labels(values["train"], labels["train"], wrong, seed) for seed in options.seeds]
    print("\nlabels of a batch of 1,000, average precision and counts, mean of the seeds")
    for name in measured[0]:
        print(f"{name:<28}{np.mean([one[name] for one in measured]):>11.3f}")


if __name__ == "__main__":
    main()
