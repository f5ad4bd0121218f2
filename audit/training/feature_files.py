"""Features that were made elsewhere, `--features FILE`: .npy, .npz or Parquet -> one row a sample of the dataset.

.npy: (M, d), row i that of the image with id i, so M counts all images of the dataset, unreadable ones too. .npz: the
array `features` (M, d), and beside it none or one of `samples` (M,), the ids, and `paths` (M,). Parquet: a column
`sample` or `path`, and the features in one column of lists or in columns of numbers. By id or path, rows of images that
are not in the dataset are passed over.
"""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.types as kinds

from lossprint.audit.datasets.dataset import Dataset
from lossprint.audit.system.atomic import refuse_pipe
from lossprint.audit.system.bounds import refuse_unpacked
from lossprint.audit.system.parquet import read_table
from lossprint.audit.types import LossprintError, one_line

BESIDE = ("sample", "path", "label", "split")  # columns that are no features
INDEX = "__index_level_"  # what pandas calls the index of a table without a name
DAMAGED = (OSError, ValueError, KeyError, EOFError, BadZipFile, pa.ArrowException)


def read_features(file: str | Path, dataset: Dataset) -> np.ndarray:
    """The rows (N, d) float32 of the dataset's samples, in their order.

    Raises LossprintError, in one line, where the file cannot be read, where a sample has no row or several, or one that
    is not finite, and where the rows are those of another dataset.
    """
    file = Path(file)
    try:
        refuse_pipe(file)
        rows, keys, name = _read(file)
    except DAMAGED as error:
        raise LossprintError(f"expected features in {file}, found: {one_line(error)}") from None
    if rows.ndim != 2 or not rows.shape[1] or rows.dtype.kind not in "fiu":
        raise LossprintError(
            f"expected numbers of shape (rows, d) as features in {file}, found {rows.dtype} of shape {rows.shape}"
        )
    samples = dataset.samples
    ids = samples["sample"].to_numpy(np.int64)
    if keys is None:
        total = len(samples) + len(dataset.unreadable)
        if len(rows) != total:
            raise LossprintError(
                f"expected {total:,} rows of features in {file}, one an image of {dataset.source} in the order of "
                f"their ids, found {len(rows):,}: give ids or paths beside them, or the file of this dataset"
            )
        chosen = ids
    else:
        chosen = _places(file, rows, keys, name, dataset)
    vectors = np.asarray(rows[chosen], np.float32)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        first = samples["path"].iloc[int(np.argmin(finite))]
        raise LossprintError(
            f"expected finite features in {file}, found NaN or infinity in {int((~finite).sum()):,} rows, such as that "
            f"of {first!r}"
        )
    return vectors


def _read(file: Path) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Rows (M, d), ids or paths (M,) or None, and what these are called."""
    ending = file.suffix.lower()
    if ending == ".npy":
        return np.load(file, mmap_mode="r", allow_pickle=False), None, ""
    if ending == ".npz":
        with np.load(file, allow_pickle=False) as arrays:
            refuse_unpacked(arrays.zip, file)
            name = next((one for one in ("samples", "paths") if one in arrays), None)
            if "features" not in arrays:
                raise ValueError(f"the arrays {', '.join(arrays)[:100]}, no features")
            return arrays["features"], None if name is None else arrays[name], name or ""
    if ending in (".parquet", ".pq"):
        return _read_parquet(file)
    raise ValueError(f"a file of another kind than .npy, .npz and .parquet: {file.name!r}")


def _read_parquet(file: Path) -> tuple[np.ndarray, np.ndarray, str]:
    table = read_table(file)
    name = next((one for one in ("sample", "path") if one in table.column_names), None)
    if name is None:
        raise ValueError(f"the columns {', '.join(table.column_names)[:100]}, neither sample nor path")
    columns = [one for one in table.column_names if one not in BESIDE and not one.startswith(INDEX)]
    lists = [one for one in columns if _is_list(table.schema.field(one).type)]
    if lists and len(columns) > 1:
        raise ValueError(f"several columns beside the lists of {lists[0]!r}: {', '.join(columns)[:100]}")
    if lists:
        column = table[lists[0]].combine_chunks()
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        if column.null_count or len(np.unique(lengths)) != 1:
            raise ValueError(f"lists of several lengths, or none, in the column {lists[0]!r}")
        rows = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    else:
        words = [one for one in columns if not _is_number(table.schema.field(one).type)]
        if words or not columns:
            raise ValueError(f"{words[0]!r}, no column of numbers" if words else "no columns of features")
        rows = np.stack([table[one].to_numpy() for one in columns], axis=1)
    return rows, table[name].to_numpy(), name


def _is_list(kind: pa.DataType) -> bool:
    return kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind)


def _is_number(kind: pa.DataType) -> bool:
    return kinds.is_integer(kind) or kinds.is_floating(kind)


def _places(file: Path, rows: np.ndarray, keys: np.ndarray, name: str, dataset: Dataset) -> np.ndarray:
    """Of each sample the row (N,) whose id or path is its own."""
    if keys.shape != (len(rows),):
        raise LossprintError(
            f"expected one of {name} for each of the {len(rows):,} rows of features in {file}, found shape {keys.shape}"
        )
    by_path = name in ("path", "paths")
    if not by_path and keys.dtype.kind not in "iu":
        raise LossprintError(f"expected whole numbers as {name} in {file}, found {keys.dtype}")
    index = pd.Index(keys.astype(str).astype(object) if by_path else keys.astype(np.int64))
    if index.has_duplicates:
        raise LossprintError(
            f"expected each of {name} once in {file}, found {str(index[index.duplicated()][0])!r} twice"
        )
    wanted = dataset.samples["path"].to_numpy(object) if by_path else dataset.samples["sample"].to_numpy(np.int64)
    last = int(dataset.samples["sample"].max()) + len(dataset.unreadable)
    if not by_path and len(index) and int(index.max()) > last:
        raise LossprintError(
            f"expected features of {dataset.source} in {file}, whose ids end at {last:,}, found id "
            f"{int(index.max()):,}: those of another dataset"
        )
    places = index.get_indexer(wanted)
    if (places < 0).any():
        missing = int((places < 0).sum())
        other = ": it is of another dataset" if missing == len(places) else ""
        first = dataset.samples["path"].iloc[int(np.argmax(places < 0))]
        raise LossprintError(
            f"expected features of all {len(places):,} samples of {dataset.source} in {file}, found none of "
            f"{missing:,}, such as {first!r}{other}"
        )
    return places
