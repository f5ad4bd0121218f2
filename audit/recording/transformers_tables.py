"""The rows of a Trainer's datasets as a table of samples for the Recorder: path SPLIT/NUMBER, labels by their names."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lossprint.audit.datasets.tasks import ALL, BETWEEN
from lossprint.audit.types import LossprintError

COLUMNS = ("label", "labels", "label_ids")  # what Transformers' collators take for labels


def table(rows: dict[str, object], task: str, names: Sequence[str] | None) -> pd.DataFrame:
    """Columns sample, path, label, split: the training rows from 0, then the validation rows.

    Labels are the names of the class or of the set of labels; a quantity as it is; of texts there are none.
    """
    parts = []
    for split, of in rows.items():
        labels = [ALL] * len(of) if task == "text" else _labels(of, split)
        if task in ("classes", "multi-label"):
            labels = [_named(one, task, names, split) for one in labels]
        paths = [f"{split}/{row:06d}" for row in range(len(of))]
        parts.append(pd.DataFrame({"path": paths, "label": labels, "split": split}))
    whole = pd.concat(parts, ignore_index=True)
    return whole.assign(sample=np.arange(len(whole)))


def class_names(model, rows, width: int) -> list[str]:
    """The names of a model's `width` classes or labels: the dataset's own, or else those of its configuration."""
    features = getattr(rows, "features", None) or {}
    for column in COLUMNS:
        feature = features.get(column)
        names = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
        if names and len(names) == width:
            return list(names)
    known = getattr(model.config, "id2label", None) or {}
    return [str(known.get(at, f"LABEL_{at}")) for at in range(width)]


def _labels(rows, split: str) -> list:
    names = getattr(rows, "column_names", None)
    if names is None:  # a dataset of another library: each item is read once
        first = rows[0]
        column = next((one for one in COLUMNS if isinstance(first, dict) and one in first), None)
        found = None if column is None else [rows[row][column] for row in range(len(rows))]
    else:
        column = next((one for one in COLUMNS if one in names), None)
        found = None if column is None else list(rows[column])
    if found is None:
        raise LossprintError(
            f"expected a column {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]} in the {split} rows, found none: "
            "name a DATASET or hand over a table of the samples"
        )
    return [one.tolist() if hasattr(one, "tolist") else one for one in found]


def _named(label, task: str, names: Sequence[str], split: str) -> str:
    try:
        if task == "classes":
            return names[label if label >= 0 else len(names)]
        if len(label) != len(names) or not set(label) <= {0, 1}:
            raise ValueError
        return BETWEEN.join(name for name, there in zip(names, label) if there)
    except (IndexError, TypeError, ValueError):
        what = "the index of a class" if task == "classes" else f"0 or 1 for each of {len(names)} labels"
        raise LossprintError(f"expected {what} as a label of the {split} rows, found {label!r}") from None
