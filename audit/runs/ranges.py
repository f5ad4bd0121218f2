"""The part of a run folder that is read and written a range of samples at a time: all of it may not fit into memory.

Parts, scores and pairs are sorted by sample and have row groups of `LOOKUP_ROWS`, of which a range reads only its own.
A part of an older version has row groups of 1,048,576 rows: a range then decodes up to two of those for nothing.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.types import is_floating as floating

from lossprint.audit.runs import checked
from lossprint.audit.runs.tables import LOOKUP_ROWS, OPTIONAL
from lossprint.audit.system.atomic import atomic, needed, refuse_pipe
from lossprint.audit.types import LossprintError, Trajectory

SURE = {"page_checksum_verification": True}  # a page that is not as it was written is refused
UNIQUE = ("sample", "path")  # columns whose values do not repeat
Between = tuple[int, int] | None  # sample ids, both ends included; None for all


class RangeFiles:
    """What `store.Run` knows of ranges of samples."""

    path: Path

    def sample_ids(self, split: str) -> np.ndarray:
        """The ids of a split's samples (N,) int64, ascending."""
        table = self._table("samples.parquet", [("split", "==", split)], self.home, ["sample"])
        return np.sort(table["sample"].to_numpy(np.int64))

    def texts(self, split: str, between: Between = None) -> pa.Table:
        """The samples of a split, or of a range of it, in the order of their ids: sample, path, label."""
        path = (self.home or self.path) / "samples.parquet"
        needed(path)
        filters = [("split", "==", split), *within(between)]
        columns = ["sample", "path", "label"]
        try:
            table = pq.read_table(path, filters=filters, columns=columns, **SURE)
            checked.check_table(table, "samples.parquet", columns)
        except checked.DAMAGED as error:
            raise LossprintError(f"expected readable samples in run {self.path}, found: {error}") from None
        ids = table["sample"].to_numpy()
        return table if (ids[1:] > ids[:-1]).all() else table.sort_by("sample")

    def trajectory(
        self, split: str = "train", losses_only: bool = False, between: Between = None, predicted: bool = True
    ) -> Trajectory:
        """The loss trajectories of a split, or of a range of its samples, in memory: O(E N).

        A third of it with the losses only; `predicted=False` leaves out predictions and norms.
        """
        filters = [("split", "==", split), *within(between)]
        table = self._table("samples.parquet", filters, self.home, ["sample", "label"]).sort_values("sample")
        ids = table["sample"].to_numpy(np.int64)
        index = {label: i for i, label in enumerate(self.classes)}
        labels = table["label"].map(index)
        if labels.isna().any():
            strange = table["label"][labels.isna()].iloc[0]
            raise LossprintError(f"expected labels of the classes of run {self.path}, found {strange!r}")
        labels = labels.to_numpy(np.int32)
        del table
        if self.task == "multi-label":  # their sets of labels are no classes: all samples are compared with all
            labels[:] = 0
        checkpoints = self.recorded(split)
        names = ["loss"] if losses_only else ["loss", "margin"] + ["predicted", OPTIONAL.name] * predicted
        found: dict[str, np.ndarray] = {}
        for row, checkpoint in enumerate(checkpoints):
            part = self.part(split, checkpoint, between, ["sample", *names])
            samples = part["sample"].to_numpy()
            at = np.searchsorted(ids, samples)
            if len(samples) and (at.max(initial=0) >= len(ids) or not np.array_equal(ids[at], samples)):
                raise LossprintError(
                    f"expected sample ids of split {split} in {self._part_folder(split, checkpoint)}, "
                    f"found ids that samples.parquet does not have"
                )
            if len(samples) == len(ids) and np.array_equal(samples, ids):
                at = slice(None)
            for name in names:
                if name not in part.column_names:
                    continue
                if name not in found:
                    missing, kind = (-1, np.int32) if name == "predicted" else (np.nan, np.float32)
                    found[name] = np.full((len(checkpoints), len(ids)), missing, kind)
                found[name][row, at] = part[name].to_numpy()
        losses = found.pop("loss", np.empty((0, len(ids)), np.float32))
        for name in list(found):
            if not _known(found[name]):
                del found[name]
        margins, preferred, norms = (found.get(name) for name in ("margin", "predicted", OPTIONAL.name))
        return Trajectory(ids, labels, np.array(checkpoints, np.int64), losses, margins, preferred, norms)

    def known(self, split: str = "train") -> frozenset[str]:
        """Which of the columns margin, predicted and el2n hold a value at any checkpoint, of any sample of a split."""
        found: set[str] = set()
        for checkpoint in self.recorded(split):
            for file in self._part_files(split, checkpoint):
                try:
                    refuse_pipe(file)
                    with pq.ParquetFile(file, page_checksum_verification=True) as part:
                        for name in {"margin", "predicted", OPTIONAL.name} & set(part.schema_arrow.names) - found:
                            if any(_holds(part, group, name) for group in range(part.num_row_groups)):
                                found.add(name)
                except checked.DAMAGED as error:
                    raise LossprintError(f"expected a readable Parquet part at {file}, found: {error}") from None
        return frozenset(found)

    def embedding_bytes(self) -> int:
        """How large the file of embeddings is, 0 without one."""
        file = self.path / "embeddings.safetensors"
        needed(file)
        return file.stat().st_size if file.exists() else 0

    # Written a range at a time ------------------------------------------------------------------------------------

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder in the run folder for what shards hand over; removed in the end, and before, if one was left."""
        folder = self.path / ".scoring"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def scores_path(self) -> Path:
        return self.path / "scores.parquet"

    @property
    def pairs_path(self) -> Path:
        """The file of `pairs`, sorted by sample, for reading it piece by piece."""
        needed(self.path / "pairs.parquet")
        return self.path / "pairs.parquet"


def write_sorted(path: Path, table: pa.Table) -> None:
    """Write a table that is sorted by sample, so that a range of it can be read."""
    with rows_writer(path) as append:
        append(table)


@contextmanager
def rows_writer(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    """Yield a function that appends a table to the Parquet file `path`, which is there when the block ends well.

    Row groups are of LOOKUP_ROWS, however long the tables are. The first table says what the columns are.
    """
    waiting: list[pa.Table] = []
    writer: pq.ParquetWriter | None = None

    with atomic(path) as part:

        def write(rows: int) -> None:
            together = pa.concat_tables(waiting)
            writer.write_table(together.slice(0, rows), row_group_size=LOOKUP_ROWS)
            waiting[:] = [together.slice(rows)]

        def append(table: pa.Table) -> None:
            nonlocal writer
            if writer is None:
                # A dictionary of numbers that hardly repeat would double the file, and the time to read it.
                repeated = [one.name for one in table.schema if one.name not in UNIQUE and not floating(one.type)]
                options = {"use_dictionary": repeated, "column_encoding": {"sample": "DELTA_BINARY_PACKED"}}
                writer = pq.ParquetWriter(part, table.schema, compression="zstd", write_page_checksum=True, **options)
            waiting.append(table.cast(writer.schema))
            rows = sum(map(len, waiting))
            if rows >= LOOKUP_ROWS:
                write(rows // LOOKUP_ROWS * LOOKUP_ROWS)

        try:
            yield append
            if writer is not None:
                write(sum(map(len, waiting)))
        finally:
            if writer is not None:
                writer.close()


def within(between: Between) -> list[tuple]:
    """Filters for a range of sample ids."""
    return [] if between is None else [("sample", ">=", int(between[0])), ("sample", "<=", int(between[1]))]


def _known(values: np.ndarray) -> bool:
    """Whether anything was recorded: looked at row by row, where the first value usually settles it."""
    if values.dtype == np.int32:
        return any((row >= 0).any() for row in values)
    return not all(np.isnan(row).all() for row in values)


def _holds(part: pq.ParquetFile, group: int, name: str) -> bool:
    """Whether a column holds a value in a row group. Its statistics would tell without reading it, but pyarrow aborts
    the process where those of a damaged file do not fit; a column without values is read in no time."""
    return _known(np.atleast_2d(part.read_row_group(group, [name])[name].to_numpy()))
