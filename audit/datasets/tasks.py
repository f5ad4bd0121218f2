"""What a run's losses are of, beyond one class a sample: several labels, a quantity, tokens.

A loss a sample is all that CLD, CSL, pairs and coresets need. What rests on classes (margins, suggested labels,
confusion, triage) is there for `classes`, and label by label for `multi-label`.
"""

import hashlib

import numpy as np
import pandas as pd

from lossprint.audit.types import LossprintError

TASKS = ("classes", "multi-label", "regression", "text")
ALL = "all"  # the label of samples that have none: one group
BETWEEN = "|"  # the labels of one sample, in the order of the task's labels


def check_task(task: str, labels) -> None:
    if task not in TASKS:
        raise LossprintError(f"expected a task of {', '.join(TASKS)}, found {task!r}")
    if labels is None:
        return
    if task != "multi-label":
        raise LossprintError(f"expected the names of labels only with task='multi-label', found them with {task!r}")
    names = list(labels)
    if len(names) < 2 or len(set(names)) < len(names) or any(BETWEEN in str(name) or not name for name in names):
        raise LossprintError(f"expected two or more different labels without {BETWEEN!r} in them, found {names[:8]}")


def reduced(losses: np.ndarray, task: str, labels: int) -> tuple[np.ndarray, np.ndarray | None]:
    """What was handed over as losses -> losses (B,) and, of several labels, each label's (B, L): summed."""
    if task == "multi-label" and losses.ndim == 2:
        if labels and losses.shape[1] != labels:
            raise LossprintError(f"expected losses of shape (samples, {labels}), one a label, found {losses.shape}")
        return losses.sum(axis=1), losses if labels else None
    return losses, None


def sides(logits: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (B, L) and given labels (B, L), 0 or 1 -> margins float32, negative: the other answer is preferred; and
    what is predicted, int32, 0 or 1."""
    if given.shape != logits.shape or not np.isin(given, (0, 1)).all():
        raise LossprintError(
            f"expected labels of 0 or 1 in the shape of the logits {logits.shape}, found shape {given.shape}"
            + ("" if given.shape != logits.shape else " and other values")
        )
    if not np.isfinite(logits).all():
        raise LossprintError(f"expected finite logits of shape {logits.shape}, found some that are not finite")
    there = given == 1
    predicted = np.where(logits == 0, ~there, logits > 0)  # level: `given_sides` could not tell the two apart otherwise
    return np.where(there, logits, -logits).astype(np.float32), predicted.astype(np.int32)


def given_sides(margins: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `sides` was given, from what it made, (E, N) each: whether the label was there, and whether that is known.

    Both are (N,) bool. A sample was given the same at every checkpoint: its last recorded one says.
    """
    recorded = (predicted >= 0) & np.isfinite(margins)
    last = len(recorded) - 1 - recorded[::-1].argmax(axis=0)
    each = np.arange(recorded.shape[1])
    there = (predicted[last, each] == 1) == (margins[last, each] > 0)
    return there & recorded.any(axis=0), recorded.any(axis=0)


def label_sets(labels, names: list[str]) -> np.ndarray | None:
    """Labels of samples, "cat|dog", as (N, L) bool; None where they are not sets of these names."""
    place = {name: at for at, name in enumerate(names)}
    sets = [[place.get(one, -1) for one in label.split(BETWEEN)] if label else [] for label in labels]
    if not names or any(at < 0 for one in sets for at in one):
        return None
    there = np.zeros((len(sets), len(names)), bool)
    for row, one in enumerate(sets):
        there[row, one] = True
    return there


def folder(label: int) -> str:
    """The name of the run's member that holds the losses of one label."""
    return f"label={label:05d}"


def digest(table: pd.DataFrame) -> str:
    names = ["sample", "path", "label", "split", *(["target"] if "target" in table else [])]
    rows = table[names].to_csv(index=False)
    return hashlib.sha256(rows.encode()).hexdigest()
