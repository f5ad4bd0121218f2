"""Losses that users recorded in training loops of their own -> the tables of a run.

Three forms are read. All losses are of single samples (`reduction='none'`), of the given label, natural logarithm.

NPZ: `train_losses` (N, E), a row a sample and a column a checkpoint, and `val_losses` (M, E); `test_losses` if wanted.
For each split, say `train`, the rows are named by `train_samples` (N,), sample ids, or `train_paths` (N,), or both;
with neither, they are the split's samples in the order of their ids, all of them. Optional: `train_margins` (N, E), the
given label's logit minus the largest other one; `train_predicted` (N, E), names of classes or numbers, see `predicted`;
`checkpoints` (E,), ascending whole numbers, else 1 to E.

Parquet, a file or a folder of files (with partitions such as checkpoint=00003 too): one row a sample and checkpoint,
with the columns `sample` or `path` (or both), `checkpoint`, `loss`, and optionally `split`, `margin`, `predicted`.

CSV, also packed by gzip: the same rows and columns, see `losses_csv`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from lossprint.audit.datasets.paths import Spelled
from lossprint.audit.datasets.source import SPLIT_NAMES
from lossprint.audit.recording import imported_csv, predicted
from lossprint.audit.system.bounds import refuse_unpacked
from lossprint.audit.system.parquet import refuse_bomb, repeated, spelled
from lossprint.audit.types import SPLITS, LossprintError, one_line
from lossprint.audit.words import some

LEAST = 3  # checkpoints: a correlation of loss differences needs two differences
ROUNDING = 1e-6  # the cross-entropy of a sure prediction may come out this much below zero
NEEDED = ("train", "val")
ARRAYS = ("losses", "samples", "paths", "margins", "predicted")
COLUMNS = ("sample", "path", "checkpoint", "loss", "split", "margin", "predicted")


@dataclass(frozen=True)
class _Split:
    """What was recorded of one split: positions in the samples table (N,), ascending; each quantity (N, E)."""

    name: str
    rows: np.ndarray
    losses: np.ndarray
    margins: np.ndarray | None
    predicted: np.ndarray | None


def read_losses(
    path: str | Path, samples: pd.DataFrame, classes: list[str], task: str = "classes"
) -> list[tuple[str, int, pd.DataFrame]]:
    """Read and check losses that somebody recorded: (split, checkpoint, table), by checkpoint.

    `samples` has the columns sample, path, label, split. A table has sample int64 ascending, loss float32, margin
    float32 (NaN where there is none) and predicted int32 (a class index, -1 where there is none). Every sample of train
    and val is in it at every checkpoint. `task`, see `tasks`, says what the losses are of: those of `regression` may be
    negative, and only those of `classes` come with margins and predictions.

    Raises LossprintError, in one line, for a file that cannot be read or has another form, samples unknown, missing or
    given twice, losses that are not finite or negative, and fewer than LEAST checkpoints.
    """
    path = Path(path)
    samples = samples.sort_values("sample", ignore_index=True)
    if not path.is_file() and not path.is_dir():  # a pipe would be waited for
        raise LossprintError(f"expected losses in an .npz, Parquet or CSV file, found nothing at {path}")
    if path.is_dir() or path.suffix.lower() in (".parquet", ".pq"):
        checkpoints, splits = _from_table(_load_parquet(path), path, samples, classes)
    elif path.name.lower().endswith(imported_csv.ENDINGS):
        _check_columns(imported_csv.header(path), path)
        table = imported_csv.read_csv_table(path, COLUMNS, classes)
        checkpoints, splits = _from_table(table, path, samples, classes)
    elif path.suffix.lower() == ".npz":
        checkpoints, splits = _from_npz(path, samples, classes)
    else:
        raise LossprintError(f"expected losses in .npz, .parquet, .csv or a folder of Parquet files, found {path}")
    trained = int((np.asarray(checkpoints) > 0).sum())
    if trained < LEAST:
        raise LossprintError(f"expected at least {LEAST} checkpoints (0 does not count) in {path}, found {trained}")
    for split in splits:
        _check_values(split, samples, checkpoints, path, task)
    return [
        (split.name, int(checkpoint), _table(split, at, samples, task))
        for at, checkpoint in enumerate(checkpoints)
        for split in splits
    ]


def _table(split: _Split, at: int, samples: pd.DataFrame, task: str) -> pd.DataFrame:
    n, losses = len(split.rows), split.losses[:, at]
    return pd.DataFrame(
        {
            "sample": samples["sample"].to_numpy(np.int64)[split.rows],
            "loss": losses if task == "regression" else np.maximum(losses, 0),
            "margin": np.full(n, np.nan, np.float32) if split.margins is None else split.margins[:, at],
            "predicted": np.full(n, -1, np.int32) if split.predicted is None else split.predicted[:, at],
        }
    )


def _check_values(split: _Split, samples: pd.DataFrame, checkpoints: np.ndarray, path: Path, task: str) -> None:
    if task != "classes" and (split.margins is not None or split.predicted is not None):
        found = "predictions" if split.margins is None else "margins"
        raise _fault(f"losses alone, since without classes ({task}) nothing else is meant,", path, found)
    checks = [("finite losses", "NaN or infinite", ~np.isfinite(split.losses))]
    if task != "regression":
        checks.append(("losses of zero or more", "negative", split.losses < -ROUNDING))
    if split.margins is not None:
        checks.append(("finite margins", "NaN or infinite", ~np.isfinite(split.margins)))
    for expected, found, bad in checks:
        if bad.any():
            rows = np.flatnonzero(bad.any(axis=1))
            first = checkpoints[np.argmax(bad[rows[0]])]
            ids = samples["sample"].to_numpy()[split.rows[rows]]
            found = f"{bad.sum():,} {found} in {split.name}: {_samples(ids)}; the first at checkpoint {first}"
            raise _fault(expected, path, found)


def _fault(expected: str, where, found) -> LossprintError:
    return LossprintError(f"expected {expected} in {where}, found {found}")


def _samples(ids) -> str:
    """Sample ids in words: `samples 4, 9`, `sample 4`, `samples 0, 1, 2, 3, 4 and 7 more`."""
    ids = list(ids)
    return f"sample{'s' if len(ids) > 1 else ''} {some(ids)}"


# ------------------------------------------------------------------------------------------------- npz


def _from_npz(path: Path, samples: pd.DataFrame, classes: list[str]) -> tuple[np.ndarray, list[_Split]]:
    arrays = _load_npz(path)
    known = {"checkpoints", *(f"{split}_{name}" for split in SPLITS for name in ARRAYS)}
    strange = sorted(set(arrays) - known)
    if strange:
        names = f"arrays named checkpoints or {{train,val,test}}_{{{','.join(ARRAYS)}}}"
        raise _fault(names, path, repr(strange[0]))
    for split in NEEDED:
        if f"{split}_losses" not in arrays:
            raise _fault(f"an array {split}_losses", path, ", ".join(sorted(arrays)) or "no array")
    splits = [_npz_split(split, arrays, samples, classes, path) for split in SPLITS if f"{split}_losses" in arrays]
    number = splits[0].losses.shape[1]
    for split in splits[1:]:
        if split.losses.shape[1] != number:
            expected = f"as many checkpoints in {split.name}_losses as in train_losses, {number},"
            raise _fault(expected, path, split.losses.shape[1])
    checkpoints = arrays.get("checkpoints", np.arange(1, number + 1))
    if checkpoints.shape != (number,):
        raise _fault(f"checkpoints of shape ({number},)", path, checkpoints.shape)
    if checkpoints.dtype.kind not in "iu" or (np.diff(checkpoints.astype(np.int64), prepend=-1) <= 0).any():
        raise _fault("ascending whole numbers from 0 as checkpoints", path, checkpoints[:5].tolist())
    return checkpoints, splits


def _load_npz(path: Path) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    name = None
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise LossprintError(f"expected an .npz archive of named arrays, found a single array in {path}")
        with file:
            refuse_unpacked(file.zip, path)
            for name in file.files:
                arrays[name] = file[name]
                if not isinstance(arrays[name], np.ndarray):
                    raise ValueError(f"{name} is no array")
    except LossprintError:
        raise
    except Exception as error:  # a damaged archive may raise anything at all
        if name and "allow_pickle" in str(error):
            raise _fault(f"numbers or text as {name}", path, "Python objects, which are never loaded") from None
        detail = one_line(error) if name else "no archive of arrays"
        raise LossprintError(f"expected a readable .npz file at {path}, found: {detail}") from None
    return arrays


def _npz_split(split: str, arrays: dict, samples: pd.DataFrame, classes: list[str], path: Path) -> _Split:
    losses = _numbers(arrays, f"{split}_losses", path)
    ids, paths = arrays.get(f"{split}_samples"), arrays.get(f"{split}_paths")
    if ids is None and paths is None:
        rows = np.flatnonzero((samples["split"] == split).to_numpy(bool))
        each = f"a row for each {split} sample of the dataset, or {split}_samples beside it,"
    else:
        shapes = {array.shape for array in (ids, paths) if array is not None}
        if len(shapes) > 1 or len(next(iter(shapes))) != 1:
            found = " and ".join(map(str, sorted(shapes)))
            raise _fault(f"{split}_samples and {split}_paths of shape (N,)", path, found)
        rows = _positions(samples, _arrow(ids, path), _arrow(paths, path), f"{split}_losses of {path}")
        each = f"a row for each of {split}_{'paths' if ids is None else 'samples'},"
    if losses.shape[0] != len(rows):
        turned = ": it looks like (checkpoints, samples), transpose it" if losses.shape[1] == len(rows) else ""
        raise _fault(f"{split}_losses of shape ({len(rows)}, E), {each}", path, f"{losses.shape}{turned}")
    _check_rows(rows, split, samples, path)
    for key in (f"{split}_margins", f"{split}_predicted"):
        if key in arrays and arrays[key].shape != losses.shape:
            raise _fault(f"{key} of the shape of {split}_losses, {losses.shape},", path, arrays[key].shape)
    order = np.argsort(rows, kind="stable")
    margins = _numbers(arrays, f"{split}_margins", path)[order] if f"{split}_margins" in arrays else None
    predicted = arrays.get(f"{split}_predicted")
    if predicted is not None:
        flat = _class_indices(_arrow(predicted.ravel(), path), classes, f"{split}_predicted of {path}")
        predicted = flat.reshape(losses.shape)[order]
    return _Split(split, rows[order], losses[order], margins, predicted)


def _numbers(arrays: dict, name: str, path: Path) -> np.ndarray:
    array = arrays[name]
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        expected = f"numbers of shape (samples, checkpoints) as {name}"
        raise _fault(expected, path, f"{array.dtype} of shape {array.shape}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is found as such
        return array.astype(np.float32)


def _check_rows(rows: np.ndarray, split: str, samples: pd.DataFrame, path: Path) -> None:
    """Each sample of the split once, and no other."""
    ids, splits = samples["sample"].to_numpy(), samples["split"].to_numpy(str)
    other = rows[splits[rows] != split]
    if len(other):
        found = f"{len(other):,} that the dataset has in {splits[other[0]]}: {_samples(ids[other])}"
        raise _fault(f"only samples of {split} in {split}_losses", path, found)
    counts = np.bincount(rows, minlength=len(samples))
    if (counts > 1).any():
        raise _fault(f"each {split} sample once in {split}_losses", path, f"more rows of {_samples(ids[counts > 1])}")
    missing = ids[(counts == 0) & (splits == split)]
    if len(missing):
        whole = f"all {int((splits == split).sum()):,} {split} samples in {split}_losses"
        raise _fault(whole, path, f"{len(missing):,} missing: {_samples(missing)}")


# ------------------------------------------------------------------------------------------------- rows


def _from_table(
    table: pa.Table, path: Path, samples: pd.DataFrame, classes: list[str]
) -> tuple[np.ndarray, list[_Split]]:
    """From one row a sample and checkpoint, in any order."""
    rows = _positions(
        samples,
        table["sample"] if "sample" in table.column_names else None,
        table["path"] if "path" in table.column_names else None,
        str(path),
    )
    splits = samples["split"].to_numpy(str)
    if "split" in table.column_names:
        _check_split(table["split"], splits[rows], samples["sample"].to_numpy()[rows], path)
    number = table["checkpoint"]
    if not pa.types.is_integer(number.type) or number.null_count or (len(number) and pc.min(number).as_py() < 0):
        raise _fault("whole numbers from 0 as checkpoint", path, f"others ({number.type})")
    checkpoints, at = np.unique(number.to_numpy().astype(np.int64), return_inverse=True)
    shape = (len(checkpoints), len(samples))
    places = at * shape[1] + rows
    counts = np.bincount(places, minlength=shape[0] * shape[1]).reshape(shape)
    _check_counts(counts, checkpoints, samples, path)

    def spread(values: np.ndarray, empty) -> np.ndarray:
        whole = np.full(shape, empty, values.dtype)
        whole.ravel()[places] = values
        return whole.T

    losses = spread(_floats(table, "loss", path), np.nan)
    margins = predicted = None
    if "margin" in table.column_names:
        column = _floats(table, "margin", path)
        margins = None if np.isnan(column).all() else spread(column, np.nan)
    if "predicted" in table.column_names:
        column = _class_indices(table["predicted"], classes, f"column predicted of {path}")
        predicted = None if (column < 0).all() else spread(column, -1)
    made = []
    for split in SPLITS:
        mine = np.flatnonzero((splits == split) & (counts > 0).any(axis=0))
        if len(mine):
            parts = [None if whole is None else whole[mine] for whole in (losses, margins, predicted)]
            made.append(_Split(split, mine, *parts))
    return checkpoints, made


def _load_parquet(path: Path) -> pa.Table:
    try:
        source = ds.dataset(path, format="parquet", partitioning="hive")
        has = source.schema.names
        _check_columns(has, path)
        names, files = [name for name in COLUMNS if name in has], [Path(file) for file in source.files]
        most = sum(refuse_bomb(file, names) for file in files)
        kept = ds.ParquetFileFormat(dictionary_columns={name for file in files for name in repeated(file)} & {*names})
        table = ds.dataset(path, format=kept, partitioning="hive").to_table(columns=names)
        return spelled(table, pa.schema([source.schema.field(name) for name in names]), most)
    except (pa.ArrowException, OSError, ValueError) as error:
        detail = one_line(error)
        raise LossprintError(f"expected readable Parquet at {path}, found: {detail}") from None


def _check_columns(names: list[str], path: Path) -> None:
    for wanted in (("sample", "path"), ("checkpoint",), ("loss",)):
        if not set(wanted) & set(names):
            raise _fault(f"a column {' or '.join(wanted)}", path, ", ".join(names)[:300] or "none")


def _check_split(column: pa.ChunkedArray, own: np.ndarray, ids: np.ndarray, path: Path) -> None:
    """A split that the file names must be the dataset's."""
    said = np.array([SPLIT_NAMES.get(str(name).lower(), str(name)) for name in column.to_pylist()], str)
    wrong = np.flatnonzero(said != own)
    if len(wrong):
        first = wrong[0]
        found = f"{len(wrong):,} rows of others, such as sample {ids[first]} in {said[first]}, not {own[first]}"
        raise _fault("the dataset's splits", path, f"{found}; if they are yours, give its manifest a column split")


def _check_counts(counts: np.ndarray, checkpoints: np.ndarray, samples: pd.DataFrame, path: Path) -> None:
    """Each (checkpoint, sample) once for train and val; test wholly or not at all."""
    ids, splits = samples["sample"].to_numpy(), samples["split"].to_numpy(str)
    twice = np.argwhere(counts > 1)
    if len(twice):
        at, row = twice[0]
        found = f"{len(twice):,} given more than once, such as sample {ids[row]} at checkpoint {checkpoints[at]}"
        raise _fault("one row a sample and checkpoint", path, found)
    for split in SPLITS:
        part = counts[:, splits == split]
        if not part.any():
            if split in NEEDED:
                raise _fault(f"losses of the {part.shape[1]:,} {split} samples", path, "none of them")
            continue
        gaps = part == 0
        if gaps.any():
            lacking = ids[splits == split][gaps.any(axis=0)]
            whole = f"all {part.shape[1]:,} {split} samples at each of {len(checkpoints)} checkpoints"
            raise _fault(whole, path, f"{gaps.sum():,} losses missing: {_samples(lacking)}")


def _floats(table: pa.Table, name: str, path: Path) -> np.ndarray:
    kind = table[name].type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise _fault(f"numbers as {name}", path, kind)
    with np.errstate(over="ignore"):
        return table[name].cast(pa.float64()).to_numpy().astype(np.float32)


# ------------------------------------------------------------------------------------------------- ids and classes


def _arrow(array: np.ndarray | None, path: Path) -> pa.Array | None:
    try:
        return None if array is None else pa.array(array)
    except (pa.ArrowException, UnicodeError):
        raise _fault("ids, paths and classes as numbers or text", path, array.dtype) from None


def _plain(values):
    """Text as `string`, whatever its encoding in the file."""
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    return values.cast(pa.string()) if pa.types.is_string(kind) or pa.types.is_large_string(kind) else values


def _positions(samples: pd.DataFrame, ids, paths, where: str) -> np.ndarray:
    """Rows of the samples table for sample ids or paths; both must agree where both are given."""
    found = None
    for name, wanted in (("sample", ids), ("path", paths)):
        if wanted is None:
            continue
        wanted = _plain(wanted)
        kind, fits, words = pa.string(), pa.types.is_string(wanted.type), "text"
        if name == "sample":
            kind, fits, words = pa.int64(), pa.types.is_integer(wanted.type), "whole numbers"
        if not fits:
            raise _fault(f"{words} as {name}", where, wanted.type)
        own = pa.array(samples[name].to_numpy(object), kind)
        # Unsafe: an unsigned id beyond int64 becomes a negative one, which no dataset has.
        at = pc.index_in(wanted.cast(kind, safe=False), value_set=own)
        if name == "path" and at.null_count:
            at = _otherwise(at, wanted, samples["path"])
        if at.null_count:
            strange = pc.unique(pc.filter(wanted, pc.is_null(at)))
            unknown = f"{len(strange):,} that it does not have, such as {strange[0].as_py()!r:.200}"
            raise _fault(f"{name}s of the dataset, such as {own[0].as_py()!r},", where, unknown)
        at = at.to_numpy().astype(np.int64)
        if found is not None and (at != found).any():
            row = int(np.argmax(at != found))
            pair = f"{paths[row].as_py()!r} beside {ids[row].as_py()}"
            raise _fault("the path of each sample beside its id", where, pair)
        found = at
    return found


def _otherwise(at: pa.Array, wanted: pa.Array, paths: pd.Series) -> pa.Array:
    """The positions of paths, those that are null looked for as they may be written by another system."""
    spelled = Spelled(paths, paths=True)
    distinct = pc.unique(pc.filter(wanted, pc.is_null(at))).to_pylist()
    meant = [spelled(text) if text is not None else None for text in distinct]
    places = pa.array([None if path is None else spelled.known[path] for path in meant], at.type)
    return pc.coalesce(at, places.take(pc.index_in(wanted, value_set=pa.array(distinct, wanted.type))))


def _class_indices(values, classes: list[str], where: str) -> np.ndarray:
    """Labels or class numbers as int32 indices; -1 stays, for not recorded. See `predicted` for what a number means."""
    values = _plain(values)
    kind = values.type
    if pa.types.is_floating(kind) and pc.all(pc.equal(values, pc.round(values))).as_py():
        values = values.cast(pa.int64())  # as pandas keeps whole numbers in a column in which some are missing
    elif not pa.types.is_string(kind) and not pa.types.is_integer(kind):
        raise _fault("labels or class numbers", where, kind)
    if values.null_count:
        raise _fault("labels or class numbers", where, f"missing ones ({kind})")
    distinct, each = np.unique(values.to_numpy(zero_copy_only=False), return_inverse=True)
    return np.array(predicted.indices(distinct.tolist(), classes, where), np.int32)[each]
