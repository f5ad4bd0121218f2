"""The part of a run folder that holds coresets: those kept under a name, and what training on some came to."""

from pathlib import Path

import pandas as pd

from lossprint.audit.atomic import write_frame, write_text


class SelectionFiles:
    """What `store.Run` knows of coresets."""

    path: Path

    def evaluation(self) -> pd.DataFrame | None:
        """What training on coresets came to, see `evaluate`; None where that was not tried."""
        return self._table("evaluation.parquet") if (self.path / "evaluation.parquet").exists() else None

    def evaluation_stamp(self) -> int | None:
        """When the evaluation was written, in nanoseconds; it changes while one goes on."""
        file = self.path / "evaluation.parquet"
        return file.stat().st_mtime_ns if file.exists() else None

    def write_evaluation(self, frame: pd.DataFrame) -> None:
        write_frame(self.path / "evaluation.parquet", frame)

    def overlap(self) -> pd.DataFrame | None:
        """What the evaluated coresets share: fraction, first, second (methods), shared (of the smaller one)."""
        return self._table("overlap.parquet") if (self.path / "overlap.parquet").exists() else None

    def write_overlap(self, frame: pd.DataFrame) -> None:
        write_frame(self.path / "overlap.parquet", frame)

    def selections(self) -> list[str]:
        """The names of the subsets that were kept."""
        return sorted(path.stem for path in (self.path / "selections").glob("*.csv"))

    def selection_path(self, name: str) -> Path:
        return self.path / "selections" / f"{name}.csv"

    def write_selection(self, name: str, csv: str, record: str) -> None:
        """Keep a subset under a name; its record is beside it, written first."""
        path = self.selection_path(name)
        write_text(path.with_name(f"{path.name}.json"), record)
        write_text(path, csv)

    def drop_selection(self, name: str) -> None:
        path = self.selection_path(name)
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}.json").unlink(missing_ok=True)
