"""A table of samples as what a training takes: an image or a text, and the index of its label."""

import os
from collections.abc import Callable
from typing import Any

import pandas as pd

from lossprint.audit.datasets.dataset import sample_reader
from lossprint.audit.runs.places import dataset_of
from lossprint.audit.runs.run import Run
from lossprint.audit.types import LossprintError


class Items:
    """A map-style dataset, as torch's DataLoader takes it: item i is (image or text, class index) of row i of `table`.

    `transform` gets the upright RGB image at full size (PIL), or the text. `classes` are the names of the indices,
    those of `classes_of` the table if not given. Each process opens the source for itself.
    """

    def __init__(
        self,
        run: Run,
        table: pd.DataFrame,
        transform: Callable[[Any], Any] | None = None,
        classes: list[str] | None = None,
    ) -> None:
        self.table = table.reset_index(drop=True)
        self.classes = classes_of(run, table) if classes is None else classes
        self.transform = transform
        self.targets = pd.Index(self.classes).get_indexer(self.table["label"]).tolist()
        self._paths = self.table["path"].tolist()
        self._dataset = dataset_of(run)
        self._reader: tuple[int, Callable[[str], Any]] | None = None

    @property
    def follow(self) -> bool:
        """Whether links out of the dataset's folder are followed."""
        return bool((self._dataset.get("choices") or {}).get("follow_links"))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, at: int) -> tuple[Any, int]:
        item = self.read(self._paths[at])
        return (item if self.transform is None else self.transform(item)), self.targets[at]

    def read(self, path: str) -> Any:
        """The image or the text at a path of `table`. Raises LossprintError where it cannot be read."""
        if self._reader is None or self._reader[0] != os.getpid():
            self._reader = os.getpid(), sample_reader(self._dataset)
        return self._reader[1](path)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_reader": None}

    def __repr__(self) -> str:
        return f"<{len(self):,} samples of {len(self.classes):,} classes>"


def classes_of(run: Run, table: pd.DataFrame) -> list[str]:
    """The run's classes, and after them those that the reviewers added. Raises LossprintError for other tasks."""
    if run.task not in ("classes", "text"):
        raise LossprintError(f"expected a run of classes, found one of {run.task} at {run.path}: use its table")
    return [*run.classes, *sorted(set(table["label"].dropna()) - set(run.classes))]
