"""The loss trajectories of a run, put together from its parts."""

import numpy as np
import pyarrow.parquet as pq

from lossprint.audit.runs import checked
from lossprint.audit.runs.tables import OPTIONAL, SURE, Between, within
from lossprint.audit.system.atomic import refuse_pipe
from lossprint.audit.system.parquet import opened
from lossprint.audit.types import LossprintError, Trajectory


def read(run, split: str, losses_only: bool, between: Between, predicted: bool) -> Trajectory:
    """See `Run.trajectory`."""
    filters = [("split", "==", split), *within(between)]
    table = run.table("samples.parquet", filters, run.home, ["sample", "label"]).sort_values("sample")
    ids = table["sample"].to_numpy(np.int64)
    index = {label: i for i, label in enumerate(run.classes)}
    labels = table["label"].map(index)
    if labels.isna().any():
        strange = table["label"][labels.isna()].iloc[0]
        raise LossprintError(f"expected labels of the classes of run {run.path}, found {strange!r}")
    labels = labels.to_numpy(np.int32)
    del table
    if run.task == "multi-label":  # their sets of labels are no classes: all samples are compared with all
        labels[:] = 0
    checkpoints = run.recorded(split)
    names = ["loss"] if losses_only else ["loss", "margin"] + ["predicted", OPTIONAL.name] * predicted
    columns: dict[str, np.ndarray] = {}
    for row, checkpoint in enumerate(checkpoints):
        part = run.part(split, checkpoint, between, ["sample", *names])
        samples = part["sample"].to_numpy()
        at = np.searchsorted(ids, samples)
        if len(samples) and (at.max(initial=0) >= len(ids) or not np.array_equal(ids[at], samples)):
            raise LossprintError(
                f"expected sample ids of split {split} in {run.part_folder(split, checkpoint)}, "
                f"found ids that samples.parquet does not have"
            )
        if len(samples) == len(ids) and np.array_equal(samples, ids):
            at = slice(None)
        for name in names:
            if name not in part.column_names:
                continue
            if name not in columns:
                missing, kind = (-1, np.int32) if name == "predicted" else (np.nan, np.float32)
                columns[name] = np.full((len(checkpoints), len(ids)), missing, kind)
            columns[name][row, at] = part[name].to_numpy()
    losses = columns.pop("loss", np.empty((0, len(ids)), np.float32))
    for name in list(columns):
        if not _known(columns[name]):
            del columns[name]
    margins, preferred, norms = (columns.get(name) for name in ("margin", "predicted", OPTIONAL.name))
    return Trajectory(ids, labels, np.array(checkpoints, np.int64), losses, margins, preferred, norms)


def known(run, split: str) -> frozenset[str]:
    """See `Run.known`."""
    names: set[str] = set()
    for checkpoint in run.recorded(split):
        for file in run.part_files(split, checkpoint):
            try:
                refuse_pipe(file)
                known = {"margin", "predicted", OPTIONAL.name}
                with opened(file, known, **SURE) as part:
                    for name in known & set(part.schema_arrow.names) - names:
                        if any(_holds(part, group, name) for group in range(part.num_row_groups)):
                            names.add(name)
            except checked.DAMAGED as error:
                raise LossprintError(f"expected a readable Parquet part at {file}, found: {error}") from None
    return frozenset(names)


def _known(values: np.ndarray) -> bool:
    """Whether anything was recorded: looked at row by row, where the first value usually settles it."""
    if values.dtype == np.int32:
        return any((row >= 0).any() for row in values)
    return not all(np.isnan(row).all() for row in values)


def _holds(part: pq.ParquetFile, group: int, name: str) -> bool:
    """Whether a column holds a value in a row group. Its statistics would tell without reading it, but pyarrow aborts
    the process where those of a damaged file do not fit; a column without values is read in no time."""
    return _known(np.atleast_2d(part.read_row_group(group, [name])[name].to_numpy()))
