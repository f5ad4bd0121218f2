"""What the examples share: the images of the embedded demo; and the end, a scored run and its most suspect samples."""

import importlib.resources
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import TensorDataset

from lossprint.audit.datasets.dataset import load, open_dataset
from lossprint.audit.workflow.score import score

DEMO = str(importlib.resources.files("lossprint.assets") / "demo" / "labels.csv")


def demo() -> tuple[TensorDataset, TensorDataset, int]:
    """The demo's training and validation images (N, 1, 28, 28) with their class indices, in the order of its ids."""
    loaded = load(open_dataset(DEMO, check=False), 28)
    samples, names = loaded.dataset.samples, loaded.dataset.classes
    images = torch.tensor(loaded.pixels[..., 0]).unsqueeze(1).float() / 127.5 - 1
    labels = torch.tensor([names.index(label) for label in samples["label"]])
    rows = [torch.from_numpy(np.flatnonzero(samples["split"] == split)) for split in ("train", "val")]
    return *(TensorDataset(images[of], labels[of]) for of in rows), len(names)


def demo_truth() -> set[str]:
    """The paths of the demo's planted wrong labels."""
    truth = pd.read_csv(Path(DEMO).with_name("truth.csv"))
    return set(truth.loc[truth["is_error"] == 1, "path"])


def print_suspects(out: str, planted: Collection[str], most: int = 5) -> None:
    """Score the run and print its most suspect samples; `planted` are the paths of those that are wrong for sure.

    How many of the planted ones are among as many of the most suspect tells how well they were found; by chance it
    would be their share of the training samples.
    """
    run = score(out)
    scores = run.scores().sort_values("label_error", ascending=False)
    top = scores.head(most)
    print(f"\nThe {most} most suspect of {len(scores):,} training samples:")
    for row in top.itertuples():
        instead = f", rather {row.suggested_label}" if isinstance(row.suggested_label, str) else ""
        truly = "planted" if row.path in planted else "not planted"
        print(f"  {row.path}: {row.label}{instead} (severity {row.label_error:.2f}, {truly})")
    wrong = scores["path"].isin(planted)
    found = int(wrong.head(int(wrong.sum())).sum())
    print(f"{found} of the {wrong.sum()} planted errors are among the {wrong.sum()} most suspect", end=", ")
    print(f"{wrong.mean() * wrong.sum():.1f} would be by chance. Next: lossprint app {out}")
