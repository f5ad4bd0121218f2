"""Samples for the tests of the callbacks, and the random states that a recorder must leave alone."""

import random

import numpy as np
import pandas as pd
import torch
from torch.utils.data import TensorDataset

N, M, WIDTH = 40, 12, 6
NAMES = ["ant", "bee", "cat"]


def samples() -> pd.DataFrame:
    """Ids that are no positions, training and validation samples mixed."""
    split = np.array(["train"] * N + ["val"] * M)[np.random.default_rng(0).permutation(N + M)]
    ids = np.arange(N + M) * 3 + 5
    labels = [NAMES[i % 3] for i in range(N + M)]
    return pd.DataFrame({"sample": ids, "path": [f"{i}.png" for i in ids], "label": labels, "split": split})


TABLE = samples()


def tensors(split: str) -> TensorDataset:
    rows = np.flatnonzero(TABLE["split"] == split)
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(N + M, WIDTH, generator=generator)[rows]
    return TensorDataset(features, torch.tensor([NAMES.index(TABLE["label"][row]) for row in rows]))


def states() -> list:
    return [random.getstate(), np.random.get_state(), torch.get_rng_state()]
