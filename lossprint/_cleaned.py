"""The dataset as the reviewers decided, and what becomes of it: a DataLoader's dataset, Hugging Face's, files."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lossprint.audit.export import export
from lossprint.audit.export.applied import Applied
from lossprint.audit.export.items import Items, classes_of
from lossprint.audit.types import LossprintError

if TYPE_CHECKING:
    from datasets import DatasetDict

CHANGES = ("relabelled", "reordered", "excluded")


class Cleaned:
    """The dataset as decided: `table` has path, label, split, given_label, change, reason and who decided, a row each
    sample that is kept. The source dataset is never edited."""

    def __init__(self, decisions: Applied) -> None:
        self.decisions = decisions
        self.table: pd.DataFrame = export.cleaned(decisions)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        changes = self.decisions.table["change"].value_counts()
        words = [f"{int(changes[name]):,} {name}" for name in CHANGES if name in changes]
        return f"<lossprint.Cleaned: {len(self):,} samples; {', '.join(words) or 'nothing changed'}>"

    @property
    def changes(self) -> pd.DataFrame:
        """What was changed: path, split, old, new, decision, finding, reason, reviewer, at, comment, review."""
        return export.changes(self.decisions)

    def as_dataset(self, transform: Callable[[Any], Any] | None = None, split: str = "train") -> Items:
        """The samples of a split for torch's DataLoader: (image, class index); `transform` takes the PIL image.

        A dataset of texts gives the texts. `.classes` are the names of the indices, the same for each split: the run's,
        and after them those that reviewers added.
        """
        run, table = self.decisions.run, self.table
        return Items(run, table[table["split"] == split], transform, classes_of(run, table))

    def as_hf_dataset(self) -> "DatasetDict":
        """The same as a DatasetDict of Hugging Face's datasets: image or text, label, path, given_label, change."""
        from lossprint.audit.export.huggingface import as_datasets

        return as_datasets(self.decisions.run, self.table)

    def to_folder(self, out: str | Path, *, link: str = "copy") -> export.Cleaned:
        """Write the images as OUT/split/label/image, with labels.csv, changes.csv and export.json beside them."""
        if Path(out).suffix.lower() in (".csv", ".parquet", ".pq"):
            raise LossprintError(f"expected the name of a folder, found {out}: use to_file")
        return export.write_cleaned(self.decisions, out, link=link)

    def to_file(self, out: str | Path) -> export.Cleaned:
        """Write `table` as FILE.csv or FILE.parquet, FILE.changes.csv and a record beside it."""
        if Path(out).suffix.lower() not in (".csv", ".parquet", ".pq"):
            raise LossprintError(f"expected a file name that ends in .csv or .parquet, found {out}")
        return export.write_cleaned(self.decisions, out)
