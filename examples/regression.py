"""The recorder where a quantity is learnt: any loss of which one a sample remains, negative ones too.

    from lossprint.audit import Recorder
    recorder = Recorder("runs/mine", table, task="regression")
    recorder.update(ids, losses)                            # (B,); then recorder.end_checkpoint(epoch)

    python examples/regression.py --out runs/regression [--epochs 15]

The network predicts a mean and a variance, and its loss is the Gaussian negative log-likelihood. The data are made up
here: 5 % of the training samples have a target that is off by 2.
"""

import argparse

import numpy as np
import pandas as pd
import torch
from suspects import print_suspects
from torch import nn
from torch.nn import functional as F

from lossprint.audit import Recorder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args()
    torch.manual_seed(0)

    table, features, targets, planted = made_up(np.random.default_rng(0))
    train = torch.from_numpy(np.flatnonzero(table["split"] == "train"))
    network = nn.Sequential(nn.Linear(features.shape[1], 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    recorder = Recorder(options.out, table, task="regression")

    def losses_of(rows: torch.Tensor) -> torch.Tensor:
        mean, log_variance = network(features[rows]).T
        return F.gaussian_nll_loss(mean, targets[rows], log_variance.exp(), reduction="none", eps=1e-3)

    for epoch in range(1, options.epochs + 1):
        for rows in train[torch.randperm(len(train))].split(64):
            optimizer.zero_grad()
            losses_of(rows).mean().backward()
            optimizer.step()
        with torch.inference_mode():
            recorder.update(table["sample"], losses_of(torch.arange(len(table))))
        recorder.end_checkpoint(epoch)
    recorder.finish()
    print_suspects(options.out, planted)


def made_up(random: np.random.Generator, train: int = 1200, val: int = 200) -> tuple:
    """A table of samples, features (N, D), targets (N,), and the paths of those with a wrong target."""
    features = random.normal(size=(train + val, 8)).astype(np.float32)
    targets = 2 + np.tanh(features @ random.normal(size=8) / 2) + 0.05 * random.normal(size=train + val)
    wrong = random.choice(train, train // 20, replace=False)
    targets[wrong] += random.choice([-2, 2], len(wrong))
    table = pd.DataFrame({"sample": np.arange(train + val), "split": ["train"] * train + ["val"] * val})
    table["path"] = [f"measurement-{sample:05d}" for sample in table["sample"]]
    table["target"] = [f"{target:.3f}" for target in targets]
    planted = set(table.loc[wrong, "path"])
    return table, torch.from_numpy(features), torch.from_numpy(targets.astype(np.float32)), planted


if __name__ == "__main__":
    main()
