"""Losses of a few samples that follow from their ids, and whether they were read as planted."""

import numpy as np
import pandas as pd

from lossprint.audit.recording.imported import read_losses

CLASSES = ["bag", "coat", "shirt"]


TRAIN, VAL, TEST = [2, 3, 5, 8], [10, 11], [20]  # ids have gaps: unreadable images keep theirs


E = 3


def dataset() -> pd.DataFrame:
    ids = TRAIN + VAL + TEST
    split = ["train"] * 4 + ["val"] * 2 + ["test"]
    return pd.DataFrame(
        {
            "sample": ids,
            "path": [f"images/{i}.png" for i in ids],
            "label": [CLASSES[i % 3] for i in ids],
            "split": split,
        }
    )


def loss(sample: int, checkpoint: int) -> float:
    return sample / 100 + 1 / checkpoint


def rows(ids=(*TRAIN, *VAL), **changed) -> pd.DataFrame:
    frame = pd.DataFrame(
        [(i, t, loss(i, t)) for t in range(1, E + 1) for i in ids], columns=["sample", "checkpoint", "loss"]
    )
    return frame.assign(**changed)


def read_rows(tmp_path, samples, frame):
    frame.to_parquet(tmp_path / "l.parquet", index=False)
    return read_losses(tmp_path / "l.parquet", samples, CLASSES)


def assert_planted(parts, ids_of=None, checkpoints=(1, 2, 3)):
    ids_of = ids_of or {"train": TRAIN, "val": VAL}
    assert [(split, t) for split, t, _ in parts] == [(split, t) for t in checkpoints for split in ids_of]
    for split, t, table in parts:
        assert table["sample"].tolist() == ids_of[split]
        at = checkpoints.index(t) + 1
        np.testing.assert_allclose(table["loss"], [loss(i, at) for i in ids_of[split]], rtol=1e-6)
        assert table.dtypes.astype(str).tolist() == ["int64", "float32", "float32", "int32"]
