"""The datasets of label_errors.py: pixels, given labels and the truth, which is looked at when all is ranked."""

import colorsys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

SIMILAR = {0: 6, 6: 0, 2: 4, 4: 2, 1: 3, 3: 1, 5: 7, 7: 5, 8: 5, 9: 7}  # Fashion-MNIST: the class put instead
SIDE = 32  # px of the drawn images


@dataclass(frozen=True)
class Set:
    """Images (N, S, S, 3) uint8, given labels (N,), split (N,), and the truth, looked at when all is ranked."""

    pixels: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    true: np.ndarray
    wrong: np.ndarray
    classes: int


def injected(folder: Path, images: int, kind: str, rate: float, seed: int) -> Set:
    """`images` of Fashion-MNIST with a share of wrong labels, and 500 validation images with their own labels."""
    from lossprint.assets.make_demo import read_idx

    pixels, true = (read_idx(folder / f"train-{name}-ubyte.gz") for name in ("images-idx3", "labels-idx1"))
    true = true.astype(int)
    random = np.random.default_rng((seed, int(1000 * rate), kind == "symmetric"))
    rows = random.permutation(len(true))[: images + 500]
    true = true[rows]
    wrong = np.zeros(len(rows), bool)
    wrong[random.permutation(images)[: round(rate * images)]] = True
    other = (true + random.integers(1, 10, len(rows))) % 10
    if kind == "class-dependent":
        other = np.array([SIMILAR[c] for c in true])
    split = np.array(["train"] * images + ["val"] * 500)
    return Set(np.repeat(pixels[rows][..., None], 3, 3), np.where(wrong, other, true), split, true, wrong, 10)


def opened(labels: Path, truth: Path) -> Set:
    """A manifest and its answers, the training and validation splits."""
    from lossprint.audit.datasets import dataset as datasets
    from lossprint.audit.training.models import proxy_size

    dataset = datasets.open_dataset(str(labels))
    side = proxy_size("small", int(np.median(datasets.image_sizes(dataset, at_most=1000).max(axis=1))))
    pixels = datasets.load(dataset, side).pixels
    answers = pd.read_csv(truth, dtype=str, keep_default_na=False).set_index("path").loc[dataset.samples["path"]]
    index = {label: i for i, label in enumerate(dataset.classes)}
    used = (dataset.samples["split"] != "test").to_numpy()
    given = dataset.samples["label"].map(index).to_numpy()
    true = answers["true_label"].map(index).fillna(-1).to_numpy(int)
    wrong = (answers["is_error"].astype(int) == 1).to_numpy()
    split = dataset.samples["split"].to_numpy(str)
    return Set(pixels[used], given[used], split[used], true[used], wrong[used], len(index))


def drawn(classes: int, each: int, seed: int) -> Set:
    """`classes` of `each` drawn shapes, form, hue and bars telling the class; 5 % of all labels made wrong, symmetric.

    One image in six, drawn after the labels, is for validation: its labels are as wrong as the others.
    """
    random = np.random.default_rng((seed, classes, each))
    true = np.repeat(np.arange(classes), each)
    wrong = np.zeros(len(true), bool)
    wrong[random.permutation(len(true))[: round(0.05 * len(true))]] = True
    labels = np.where(wrong, (true + random.integers(1, classes, len(true))) % classes, true)
    pixels = np.stack([shape(c, random) for c in true])
    split = np.full(len(true), "train")
    split[random.permutation(len(true))[: len(true) // 6]] = "val"
    return Set(pixels, labels, split, true, wrong, classes)


def shape(c: int, random: np.random.Generator) -> np.ndarray:
    """An image (SIDE, SIDE, 3) uint8 of class c: one of five forms, ten hues, and so many bars across it."""
    image = Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    x, y = random.uniform(0.4, 0.6, 2) * SIDE
    r = random.uniform(0.25, 0.36) * SIDE
    hue = (c // 5 % 10) / 10 + random.normal(0, 0.015)
    colour = tuple(int(255 * v) for v in colorsys.hsv_to_rgb(hue % 1, 0.85, random.uniform(0.5, 0.95)))
    box, form = [x - r, y - r, x + r, y + r], c % 5
    if form == 0:
        draw.ellipse(box, fill=colour)
    elif form == 1:
        draw.rectangle(box, fill=colour)
    elif form == 2:
        draw.ellipse(box, outline=colour, width=3)
    else:
        turned = (
            [(x, y - r), (x + r, y + r), (x - r, y + r)]
            if form == 3
            else [(x, y - r), (x + r, y), (x, y + r), (x - r, y)]
        )
        draw.polygon(turned, fill=colour)
    bars = c // 50 + 1
    for k in range(bars):
        at = y - r + 2 * r * (k + 1) / (bars + 1)
        draw.line([(x - r, at), (x + r, at)], fill=(0, 0, 0), width=2)
    values = np.asarray(image).astype(float) + random.normal(0, 6, (SIDE, SIDE, 3))
    return np.clip(values, 0, 255).astype(np.uint8)
