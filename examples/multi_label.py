"""The recorder where a sample has several labels at once: losses (B, L), one a label.

    from lossprint.audit import Recorder
    recorder = Recorder("runs/mine", table, task="multi-label", label_names=["bright", "round", "striped"])
    recorder.update(ids, losses, logits, labels)            # each (B, L); then recorder.end_checkpoint(epoch)

    python examples/multi_label.py --out runs/multi-label [--epochs 12]

Their sums are the samples' losses; each label's own are kept as well, so that the suspects come with the label that is
too much or missing. The data are made up here: 5 % of the training samples have one label flipped.
"""

import argparse

import numpy as np
import pandas as pd
import torch
from suspects import print_suspects
from torch import nn
from torch.nn import functional as F

from lossprint.audit import Recorder
from lossprint.audit.recording.per_sample import label_losses

NAMES = ["bright", "round", "striped", "large"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    torch.manual_seed(0)

    table, features, labels, planted = made_up(np.random.default_rng(0))
    train = torch.from_numpy(np.flatnonzero(table["split"] == "train"))
    network = nn.Sequential(nn.Linear(features.shape[1], 64), nn.ReLU(), nn.Linear(64, len(NAMES)))
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    recorder = Recorder(options.out, table, task="multi-label", label_names=NAMES)
    for epoch in range(1, options.epochs + 1):
        for rows in train[torch.randperm(len(train))].split(64):
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(network(features[rows]), labels[rows]).backward()
            optimizer.step()
        with torch.inference_mode():
            logits = network(features)
            recorder.update(table["sample"], label_losses(logits, labels), logits, labels)
        recorder.end_checkpoint(epoch)
    run = recorder.finish()
    print_suspects(options.out, planted)
    print(run.label_scores().sort_values("severity", ascending=False).head().to_string(index=False))


def made_up(random: np.random.Generator, train: int = 1200, val: int = 200) -> tuple:
    """A table of samples, features (N, D), labels (N, L) of 0 and 1, and the paths of those with a flipped label."""
    features = random.normal(size=(train + val, 12)).astype(np.float32)
    labels = features @ random.normal(size=(12, len(NAMES))) > 0.5
    wrong = random.choice(train, train // 20, replace=False)
    labels[wrong, random.integers(0, len(NAMES), len(wrong))] ^= True
    table = pd.DataFrame({"sample": np.arange(train + val), "split": ["train"] * train + ["val"] * val})
    table["path"] = [f"thing-{sample:05d}" for sample in table["sample"]]
    table["label"] = ["|".join(np.array(NAMES)[one]) for one in labels]
    return table, torch.from_numpy(features), torch.from_numpy(labels).float(), set(table.loc[wrong, "path"])


if __name__ == "__main__":
    main()
