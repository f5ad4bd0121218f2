"""The part of a run folder that holds coresets: those kept under a name, and what training on some came to."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from lossprint.audit.system.atomic import alone, remove, write_frame, write_text
from lossprint.audit.types import LossprintError

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._+-]{0,62}[A-Za-z0-9_+-])?")
Merge = Callable[[pd.DataFrame | None], pd.DataFrame]  # what is there, None for nothing -> what is to be there


class SelectionFiles:
    """What `store.Run` knows of coresets."""

    path: Path

    def evaluation(self) -> pd.DataFrame | None:
        """What training on coresets came to, see `evaluate`; None where that was not tried."""
        return self._optional("evaluation.parquet")

    def evaluation_stamp(self) -> int | None:
        """When the evaluation was written, in nanoseconds; it changes while one goes on."""
        return self._stamp("evaluation.parquet")

    def update_evaluation(self, merge: Merge) -> pd.DataFrame:
        """Replace the evaluation by what `merge` makes of it; another process cannot write in between."""
        return self._update("evaluation.parquet", merge)

    def overlap(self) -> pd.DataFrame | None:
        """What the evaluated coresets share, see `evaluate`; None where none were."""
        return self._optional("overlap.parquet")

    def update_overlap(self, merge: Merge) -> pd.DataFrame:
        return self._update("overlap.parquet", merge)

    def _update(self, name: str, merge: Merge) -> pd.DataFrame:
        folder = self.path / "selections"
        folder.mkdir(exist_ok=True)
        with alone(folder):
            for part in self.path.glob(f".{name}.*.part"):  # of a process that was killed
                part.unlink(missing_ok=True)
            table = merge(self._optional(name))
            write_frame(self.path / name, table)
        return table

    def selections(self) -> list[str]:
        """The names of the subsets that were kept."""
        found = (path.stem for path in (self.path / "selections").glob("*.csv"))
        return sorted(name for name in found if NAME.fullmatch(name))

    def selection_path(self, name: str) -> Path:
        """The file of a subset that is or could be kept under a name. Raises LossprintError for one that cannot be."""
        if not NAME.fullmatch(name):
            raise LossprintError(
                "expected a name of up to 64 letters (A to Z), digits, blanks and . _ + -, a letter or digit first and "
                f"no blank or dot last, found {name[:80]!r}"
            )
        return self.path / "selections" / f"{name}.csv"

    def write_selection(self, name: str, csv: str, record: str) -> None:
        """Keep a subset under a name; its record is beside it, written first."""
        path = self.selection_path(name)
        write_text(path.with_name(f"{path.name}.json"), record)
        write_text(path, csv)

    def drop_selection(self, name: str) -> None:
        """Remove a kept subset; nothing happens where there is none of that name."""
        path = self.selection_path(name)
        remove(path)
        remove(path.with_name(f"{path.name}.json"))
