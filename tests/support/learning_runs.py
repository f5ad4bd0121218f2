"""Runs of networks that learnt much, little or nothing: losses made up, nothing is trained."""

from pathlib import Path

import numpy as np
import pandas as pd

from lossprint.audit.findings.find import find_run
from lossprint.audit.findings.score import score_run
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.runs.run import Run

CHECKPOINTS = 8


def learning_run(
    folder: Path,
    train: list[int],
    val: list[int],
    *,
    knows: float | list[float] = 0.9,
    steady: float = 1.0,
    wrong: float = 0.05,
    sure: float = 4.0,
    seed: int = 0,
) -> tuple[Run, np.ndarray]:
    """A scored run with so many samples of each class, and which of its training labels are wrong (N,).

    knows: the share of samples (of each class) whose true class the network names; it takes the others for one other
    class each. steady: how often a checkpoint does so, else it names any class. sure: logit of what it names.
    """
    rng = np.random.default_rng(seed)
    classes = len(train)
    true = np.repeat(np.tile(np.arange(classes), 2), [*train, *val])
    split = np.repeat(["train", "val"], [sum(train), sum(val)])
    size = len(true)
    errors = (split == "train") & (rng.random(size) < wrong)
    labels = np.where(errors, (true + rng.integers(1, classes, size)) % classes, true)
    known, other = rng.random(size) < np.broadcast_to(knows, classes)[true], rng.integers(1, classes, size)
    usual = np.where(known, true, (true + other) % classes)
    table = pd.DataFrame({"path": [f"{at}.png" for at in range(size)], "split": split})
    table["label"] = [f"class {label:03d}" for label in labels]
    recorder = Recorder(folder, table.assign(sample=np.arange(size)))
    for checkpoint in range(1, CHECKPOINTS + 1):
        named = np.where(rng.random(size) < steady, usual, rng.integers(0, classes, size))
        logits = rng.normal(size=(size, classes)) + sure * np.eye(classes)[named] * checkpoint / CHECKPOINTS
        losses = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(size), labels]
        recorder.update(np.arange(size), losses.astype(np.float32), logits.astype(np.float32), labels)
        recorder.end_checkpoint(checkpoint)
    return find_run(score_run(recorder.finish())), errors[split == "train"]
