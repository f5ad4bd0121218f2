"""SAP's gain in miniature: a network that has learnt wrong labels by heart, repaired, fine-tuned, and retrained.

    python benchmarks/repair.py SOURCE [--images N] [--noise F] [--verified 100 500] [--seeds 0 1 2] [--epochs E ...]

SOURCE is a folder of gzipped IDX files (Debian's dataset-fashion-mnist). Of N training images a share F gets another
label, any with equal chance; K random ones of them are verified: their true label counts as decided. A small network
(0.08 M parameters) is trained on plain images, as in the paper without what would keep it from memorising, for each of
the numbers of epochs. Then the program's own arms: the original, SAP and fine-tuning, each at its best setting by 500
clean validation images, and a training from the start on the cleaned data (verified labels put right, the others as
they are). Beside them a training on the right labels alone, which nobody has, and chance. Accuracy on 2,000 test
images; mean and range over seeds. The last table has the accuracy of each strength on these test images, which no
program may see.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lossprint.assets.make_demo import read_idx
from lossprint.audit.repair import layers as projecting
from lossprint.audit.repair import repair
from lossprint.audit.repair.models import Model, descended
from lossprint.audit.repair.verified import Decided
from lossprint.audit.training import train
from lossprint.audit.training.models import Small
from lossprint.scoring.repair.sap import STRENGTHS

ARMS = ("original", "repaired", "finetuned", "retrained")


def data(source: Path, images: int, noise: float, seed: int):
    """`train.Inputs` with true labels, and the given ones (N,): of `images` training ones a share is wrong."""
    random = np.random.default_rng(seed)
    pixels, labels, split = [], [], []
    for part, counts in (("train", {"train": images, "val": 500}), ("t10k", {"test": 2000})):
        content = read_idx(source / f"{part}-images-idx3-ubyte.gz")
        classes = read_idx(source / f"{part}-labels-idx1-ubyte.gz").astype(np.int64)
        rows = random.permutation(len(classes))[: sum(counts.values())]
        pixels.append(content[rows][..., None].repeat(3, axis=3))
        labels.append(classes[rows])
        split += [name for name, count in counts.items() for _ in range(count)]
    pixels, labels, split = np.concatenate(pixels), np.concatenate(labels), np.array(split)
    given = labels.copy()
    wrong = random.permutation(images)[: round(noise * images)]
    given[wrong] = (labels[wrong] + random.integers(1, 10, len(wrong))) % 10
    mean, std = train.channel_statistics(pixels, np.arange(images))
    return train.Inputs(np.arange(len(labels)), labels, split, pixels, 28, mean, std, 10), given


def trained(inputs, rows: np.ndarray, seed: int, epochs: int):
    """A network trained on the rows, plain images."""
    torch.manual_seed(seed)
    network = Small(inputs.classes, (16, 32, 64)).to(memory_format=torch.channels_last)
    return descended(network, inputs, rows, epochs=epochs, rate=0.05, seed=seed, device="cpu")


def share(network, inputs, rows: np.ndarray, labels: np.ndarray) -> float:
    return float((train.predict(network, inputs, rows, "cpu") == labels[rows]).mean())


def one(inputs, given: np.ndarray, network, verified: int, epochs: int, seed: int) -> dict:
    """Accuracies of the arms on the test images for so many verified ones, and of each strength."""
    sure = np.sort(np.random.default_rng((seed, 1)).permutation(inputs.rows("train"))[:verified])
    labels = np.where(inputs.split == "train", given, inputs.labels)
    labels[sure] = inputs.labels[sure]
    table = pd.DataFrame({"sample": inputs.samples, "split": inputs.split})
    known = Decided(table, given, labels, sure, inputs.rows("val"), inputs.rows("test"), ("validation", "test"))
    decided = replace(inputs, labels=labels)
    model = Model(
        network,
        decided,
        "cpu",
        lambda rows, its_seed, _: trained(decided, rows, its_seed, epochs),
        network.state_dict,
        "small",
        "",
    )
    arms, _, layers = repair.compared(model, known, seed)
    count = len(known.choosing)
    row = {name: arms[name].right[count:].mean() for name in ARMS} | {"strength": arms["repaired"].setting}
    for strength in STRENGTHS:
        with projecting.at(layers, strength):
            row[strength] = share(network, decided, known.judging, labels)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--noise", type=float, default=0.25)
    parser.add_argument("--verified", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, nargs="+", default=[30])
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for epochs in options.epochs:
        for seed in options.seeds:
            began = time.perf_counter()
            inputs, given = data(options.source, options.images, options.noise, seed)
            training, test = inputs.rows("train"), inputs.rows("test")
            labels = np.where(inputs.split == "train", given, inputs.labels)
            network = trained(replace(inputs, labels=labels), training, seed, epochs)
            clean = trained(inputs, training[given[training] == inputs.labels[training]], seed, epochs)
            rest = {
                "right": share(clean, inputs, test, inputs.labels),
                "learnt": share(network, inputs, training, given),
            }
            for verified in options.verified:
                row = one(inputs, given, network, verified, epochs, seed)
                rows.append({"epochs": epochs, "verified": verified, "seed": seed, **row, **rest})
                print({name: value if value is None else round(float(value), 4) for name, value in rows[-1].items()})
            print(f"seed {seed}: {time.perf_counter() - began:.0f} s", flush=True)
    table = pd.DataFrame(rows)
    columns = [*ARMS, "right", "learnt"]
    print("\nchance .100; mean over seeds (least to greatest); learnt: given labels of the training images")
    for (epochs, verified), part in table.groupby(["epochs", "verified"]):
        cells = (f"{name} {part[name].mean():.3f} ({part[name].min():.3f}-{part[name].max():.3f})" for name in columns)
        print(f"{epochs} epochs, {verified} verified: " + ", ".join(cells))
    print("\naccuracy by strength, mean over seeds")
    for (epochs, verified), part in table.groupby(["epochs", "verified"]):
        print(f"{epochs} epochs, {verified}: " + ", ".join(f"{one:g} {part[one].mean():.3f}" for one in STRENGTHS))


if __name__ == "__main__":
    main()
