"""A recorder's samples: any DATASET or table -> the samples, what run.json says of them, and if they are the same."""

from pathlib import Path

import pandas as pd

from lossprint.audit.datasets import tasks
from lossprint.audit.datasets.media import IMAGES
from lossprint.audit.datasets.source import SPLIT_NAMES
from lossprint.audit.runs import run as store
from lossprint.audit.types import SPLITS, LossprintError


def opened(dataset, seed: int, task: str):
    """A DATASET's name -> what it stands for, all of it read once; anything else as it is."""
    if not isinstance(dataset, str | Path):
        return dataset
    from lossprint.audit.datasets.dataset import open_dataset

    return open_dataset(str(dataset), seed=seed, task=task)


def described(dataset, seed: int, task: str) -> tuple[pd.DataFrame, dict, pd.DataFrame]:
    """The samples table, the manifest's description and the unreadable images of whatever the caller gave."""
    dataset = opened(dataset, seed, task)
    if isinstance(dataset, pd.DataFrame):
        return _of_table(dataset, task)
    if not hasattr(dataset, "fingerprint"):
        raise LossprintError(f"expected a DATASET or a table of samples, found {type(dataset).__name__}")
    return dataset.samples, _of_dataset(dataset), dataset.unreadable


def _of_table(given: pd.DataFrame, task: str) -> tuple[pd.DataFrame, dict, pd.DataFrame]:
    """A caller's own table of samples, checked."""
    if task != "classes" and "label" not in given:
        given = given.assign(label=tasks.ALL)
    elif task == "regression" and "target" not in given and given["label"].notna().all():  # quantities are no classes
        given = given.assign(target=given["label"].astype(str), label=tasks.ALL)
    missing = [name for name in ("sample", "path", "label", "split") if name not in given]
    if missing:
        raise LossprintError(
            f"expected the columns sample, path, label, split, found {', '.join(map(str, given.columns))}"
        )
    if given[["sample", "path", "label", "split"]].isna().any(axis=None):
        raise LossprintError("expected a value in each cell of sample, path, label and split, found empty ones")
    if given["sample"].dtype.kind not in "iu":
        raise LossprintError(f"expected whole numbers in the column sample, found {given['sample'].dtype}")
    splits = given["split"].astype(str).str.lower().map(SPLIT_NAMES)
    if splits.isna().any():
        raise LossprintError(f"expected the splits train, val or test, found {given['split'][splits.isna()].iloc[0]!r}")
    table = given.assign(path=given["path"].astype(str), label=given["label"].astype(str), split=splits)
    if table["sample"].duplicated().any() or table["path"].duplicated().any():
        raise LossprintError("expected every sample id and every path once, found some twice")
    classes, counts = sorted(set(table["label"])), table["split"].value_counts()
    least = 2 if task == "classes" else 1
    if len(classes) < least or not {"train", "val"} <= set(counts.index):
        raise LossprintError(
            f"expected at least {('one class', 'two classes')[least - 1]} and samples in train and val, found "
            f"{len(classes)} classes and {sorted(counts.index)}"
        )
    said = {
        "source": None,
        "kind": "table",
        "root": None,
        "classes": classes,
        "counts": {split: int(counts.get(split, 0)) for split in SPLITS},
        "fingerprint": tasks.digest(table),
    }
    if task != "classes":
        said["task"] = task
    return table, said, pd.DataFrame({"path": [], "reason": []}, dtype=str)


def _of_dataset(dataset) -> dict:
    """What run.json says of a `datasets.Dataset`."""
    counts = dataset.samples["split"].value_counts()
    return {
        "source": dataset.source,
        "kind": dataset.kind,
        "root": str(dataset.root),
        "fingerprint": dataset.fingerprint,
        "classes": list(dataset.classes),
        "counts": {split: int(counts.get(split, 0)) for split in SPLITS},
        "unreadable": len(dataset.unreadable),
        "notes": list(dataset.notes),
        **({} if dataset.task == "classes" else {"task": dataset.task}),
        **({} if dataset.media is IMAGES else {"media": dataset.media.noun}),
    }


def check_samples(run: store.Run, table: pd.DataFrame) -> None:
    """An image that became unreadable between two parts of a run would leave a gap in it."""
    if run.has_samples() and sorted(run.samples()["sample"]) != sorted(table["sample"]):
        raise LossprintError(
            f"expected the samples that {run.path} was begun with, found others: an image can or cannot be read now, "
            "unlike then; start a new run"
        )


def check_same(run: store.Run, described: dict, recording: str) -> None:
    """A run is continued on the data and with the kind of losses that it began with, or not at all."""
    before = run.manifest["dataset"]
    if before.get("fingerprint") != described.get("fingerprint") or before["classes"] != described["classes"]:
        raise LossprintError(
            f"expected the dataset that {run.path} was begun with ({before.get('source')}), found another or a changed "
            f"one ({described.get('source')}): start a new run"
        )
    for name, usual in (("task", "classes"), ("labels", None)):
        if before.get(name, usual) != described.get(name, usual):
            raise LossprintError(
                f"expected the {name} that {run.path} was begun with, {before.get(name, usual)}, found "
                f"{described.get(name, usual)}"
            )
    if run.manifest["recording"] != recording:
        raise LossprintError(
            f"expected {run.manifest['recording']} losses, which {run.path} holds, found {recording} ones: "
            f"never mix them"
        )
