"""Where images and labels come from: what every reader gives, files under a root, and the reader of manifests.

Each reader lists every image in a fixed order, so that a sample keeps its id whatever turns out to be unreadable.
Images are not decoded here.
"""

import csv
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lossprint.audit.datasets.images import read_image, read_size
from lossprint.audit.system.csvfile import unguard
from lossprint.audit.system.memory import free_memory
from lossprint.audit.types import SPLITS, LossprintError, one_line

SPLIT_NAMES = {name: name for name in SPLITS}
SPLIT_NAMES |= {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
COLUMNS = ("path", "label", "split", "sequence", "frame")
DECODED = "segments.json"  # beside the manifest of frames that were decoded from videos
OF_FILES = ("folder", "manifest", "coco")  # kinds of datasets whose paths are files under their root
DATASETS = (
    "a folder of class folders, a manifest of images or texts (.csv, .parquet, .pq, .jsonl), a COCO file (.json), "
    "WebDataset shards (a .tar, a pattern or a folder of them), the URL of a folder, manifest or .tar, hf:PLACE or "
    "torchvision:NAME:ROOT"
)
ROW_BYTES = 150  # of a manifest's row as texts in memory, at least
MANIFESTS = (".csv", ".parquet", ".pq", ".jsonl", ".json")


@dataclass(frozen=True, eq=False)
class Source:
    """All images of a dataset, readable or not.

    rows: sample int64 (the position), path, label, split, sequence, frame, as the dataset itself says. faults: sample
    -> why its file cannot even be opened. read(path) decodes an image as upright RGB, size(path) gives its width and
    height from the header; both raise whatever is wrong with the file and trust that the path is one of the rows'.
    """

    name: str
    kind: str
    root: Path | str  # text where it is a URL
    rows: pd.DataFrame
    fingerprint: str
    read: Callable[[str], Image.Image]
    size: Callable[[str], tuple[int, int]]
    faults: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    text: Callable[[str], str] | None = None
    workers: int | None = None  # threads that reading is worth, where it mostly waits


def locate(name: str | Path) -> Path:
    """The absolute path of a folder or a manifest that is there. Raises LossprintError."""
    path = Path(os.path.abspath(os.path.expanduser(name)))
    try:
        there = path.exists()
    except OSError:  # a name that is too long
        there = False
    if not there:
        raise LossprintError(f"expected {DATASETS}, found nothing at {path}")
    if not path.is_dir() and not (path.is_file() and path.suffix.lower() in MANIFESTS):  # a pipe would block for ever
        raise LossprintError(f"expected {DATASETS}, found {path}")
    return path


def tabulate(paths, labels, splits, sequences=None, frames=None) -> pd.DataFrame:
    """The rows of a `Source`. Raises LossprintError for half of a character in a text, which JSON can hold."""
    try:
        rows = pd.DataFrame({"sample": np.arange(len(paths)), "path": paths, "label": labels, "split": splits})
        rows["sequence"] = pd.Series(sequences if sequences else [None] * len(paths), dtype="string")
    except UnicodeEncodeError as error:
        text = error.object[max(error.start - 20, 0) : error.end]
        raise LossprintError(f"expected paths and labels that UTF-8 can hold, found {text!r}") from None
    rows["frame"] = pd.Series(frames if frames else [None] * len(paths), dtype="Int64")
    return rows.astype({"sample": "int64"})


def fingerprint(rows: pd.DataFrame, contents: Iterable) -> str:
    """sha256 over path, label and split of each row, sequence and frame where there are any, then over `contents`."""
    digest = hashlib.sha256()
    for row in rows[[name for name in COLUMNS if rows[name].notna().any()]].itertuples(index=False):
        digest.update(("\0".join(map(str, row)) + "\n").encode())
    digest.update("\n".join(map(str, contents)).encode())
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------- files under a root


def inside(root: Path, path: str) -> Path:
    """The file that a relative path names. Raises LossprintError where it leads out of the root, be it by a link."""
    if path.startswith(("/", "\\")) or path[1:2] == ":" or "\0" in path:
        raise LossprintError(f"expected a path relative to {root}, found {path!r}")
    if not Path(os.path.realpath(root / path)).is_relative_to(os.path.realpath(root)):
        raise LossprintError(f"expected a path inside {root}, found {path!r}, which leads out of it")
    return root / path


def _read_file(root: Path, path: str) -> Image.Image:
    return read_image(root / path)


def read_file_inside(root: Path, path: str) -> Image.Image:
    """Decode an image under `root` as `Source.read` does, of a path that nobody has checked."""
    file = inside(root, path)
    if file.exists() and not file.is_file():  # a pipe would block for ever
        raise LossprintError(f"expected an image at {file}, found something that is no file")
    return read_image(file)


def _size_file(root: Path, path: str) -> tuple[int, int]:
    return read_size(root / path)


def of_files(kind: str, name: Path, root: Path, rows: pd.DataFrame, places: list[str], notes=()) -> Source:
    """A source of files under `root`; `places` says where each row stands, for messages."""
    sizes, faults = _measure(root, rows["path"].tolist(), places)
    read, size = partial(_read_file, root), partial(_size_file, root)
    return Source(str(name), kind, root, rows, fingerprint(rows, sizes), read, size, faults, tuple(notes))


def _measure(root: Path, paths: list[str], places: list[str]) -> tuple[list[int], dict[int, str]]:
    """File sizes in bytes (-1 for none) and faults by position. Raises LossprintError for a path that leads outside."""
    sizes, faults, folders = [], {}, set()
    for position, path in enumerate(paths):
        folder = os.path.dirname(path)
        size = -1
        try:
            # Resolving a path is slow. A plain file needs it once for its folder; whatever looks odd, for itself.
            plain = folder in folders and not (path[0] == "\\" or path[1:2] == ":" or ".." in path or "\0" in path)
            if not plain or os.path.islink(root / path):
                inside(root, path)
                folders.add(folder)
            status = os.stat(root / path)
        except LossprintError as error:
            raise LossprintError(f"{error}{places[position]}") from None
        except OSError as error:
            faults[position] = "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror).lower()
        else:
            size = status.st_size
            # A pipe or a device would block the reader for ever.
            if not stat.S_ISREG(status.st_mode):
                faults[position] = "a folder, not a file" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            elif size == 0:
                faults[position] = "an empty file"
        sizes.append(size)
    return sizes, faults


# -------------------------------------------------------------------------------------------------------- manifest


def read_manifest(path: Path) -> Source:
    """A CSV or Parquet manifest: path, label, perhaps split, sequence, frame; paths are relative to it, or URLs."""
    rows, places, notes = manifest_rows(path)
    if rows["path"].str.contains("://", regex=False).any():
        from lossprint.audit.datasets.remote import of_urls

        return of_urls(path, rows, places, notes)
    return of_files("manifest", path, path.parent, rows, places, notes)


def manifest_rows(path: Path) -> tuple[pd.DataFrame, list[str], list[str]]:
    """The rows of a manifest, where each stands in words, for messages, and the notes.

    Sample ids are row positions. Labels are text, whatever they look like. A missing split column means train. Frames
    of a sequence are ordered by their numbers; see `_check_sequences` for what is refused and what is noted.
    """
    columns, lines = _csv_columns(path) if path.suffix.lower() == ".csv" else _parquet_columns(path)
    if not lines:
        raise LossprintError(f"expected images in the manifest {path}, found no rows")
    for name in ("path", "label"):
        empty = next((line for line, cell in zip(lines, columns[name]) if not cell.strip()), None)
        if empty:
            raise LossprintError(f"expected a {name} in every row of {path}, found an empty cell in {empty}")
    seen: dict[str, str] = {}
    for line, cell in zip(lines, columns["path"]):
        first = seen.setdefault(os.path.normpath(cell), line)
        if first != line:
            raise LossprintError(f"expected each path once in {path}, found {cell!r} in {first} and in {line}")
    splits = ["train"] * len(lines)
    if "split" in columns:
        splits = [split_of(cell, line, path) for cell, line in zip(columns["split"], lines)]
    sequences = [cell or None for cell in columns["sequence"]] if "sequence" in columns else None
    frames = [_frame(cell, line, path) for cell, line in zip(columns["frame"], lines)] if "frame" in columns else None
    notes = []
    if sequences and any(sequences):
        notes = _check_sequences(path, lines, splits, sequences, frames or [None] * len(lines))
    notes += _decoding_notes(path.parent)
    rows = tabulate(columns["path"], columns["label"], splits, sequences, frames)
    return rows, [f", in {line} of {path.name}" for line in lines], notes


def _decoding_notes(folder: Path) -> list[str]:
    """What `video` noted when it decoded the frames of a manifest in this folder; nothing where it did not."""
    try:
        about = json.loads((folder / DECODED).read_text(encoding="utf-8"))
        return [str(note) for note in about["notes"]] if "lossprint" in about else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _check_sequences(path: Path, lines: list[str], splits: list[str], sequences: list, frames: list) -> list[str]:
    """Notes on the frames of sequences. Raises LossprintError where one is in two splits or has a frame twice.

    Neighbouring frames are nearly the same image: a sequence in two splits would be validated on what was trained on.
    """
    table = pd.DataFrame({"sequence": sequences, "frame": frames, "split": splits, "line": lines})
    table = table[table["sequence"].notna()]
    first = table.drop_duplicates("sequence").set_index("sequence")
    other = table[table["split"].to_numpy() != first["split"].reindex(table["sequence"]).to_numpy()]
    if len(other):
        name, split, line = other.iloc[0][["sequence", "split", "line"]]
        raise LossprintError(
            f"expected each sequence in one split, found {name!r} in {first.at[name, 'split']} "
            f"({first.at[name, 'line']}) and in {split} ({line}) of {path}"
        )
    numbered = table[table["frame"].notna()].astype({"frame": "int64"})
    again = numbered[numbered.duplicated(["sequence", "frame"])]
    if len(again):
        name, frame, line = again.iloc[0][["sequence", "frame", "line"]]
        same = numbered[(numbered["sequence"] == name) & (numbered["frame"] == frame)]
        raise LossprintError(
            f"expected each frame of a sequence once, found frame {frame} of {name!r} in {same['line'].iloc[0]} and in "
            f"{line} of {path}"
        )
    notes = []
    if len(numbered) < len(table):
        at = table[table["frame"].isna()].iloc[0]
        notes.append(
            f"{len(table) - len(numbered):,} frames of sequences without a number, such as in {at['line']} "
            f"({at['sequence']!r}): they have no place in time"
        )
    steps = numbered.groupby("sequence", sort=False)["frame"].diff()
    back = numbered[(steps < 0).to_numpy()]
    if len(back):
        name, frame, line = back.iloc[0][["sequence", "frame", "line"]]
        notes.append(
            f"rows that are not in the order of their frames, such as frame {frame} of {name!r} in {line}: the numbers "
            "count, not the rows"
        )
    return [*notes, *_gaps(numbered)]


def _gaps(numbered: pd.DataFrame) -> list[str]:
    """A note on missing frames: steps longer than the sequence's usual one, its median."""
    ordered = numbered.sort_values(["sequence", "frame"], kind="stable")
    steps = ordered.groupby("sequence")["frame"].diff()
    usual = steps.groupby(ordered["sequence"]).transform("median")
    gaps = ordered[(steps > usual).to_numpy()]
    if gaps.empty:
        return []
    name, frame = gaps.iloc[0][["sequence", "frame"]]
    before = frame - int(steps[gaps.index[0]])
    return [
        f"{len(gaps):,} gaps between frames, such as from {before} to {frame} of {name!r} (every "
        f"{usual[gaps.index[0]]:g} is usual there)"
    ]


def _csv_columns(path: Path) -> tuple[dict[str, list[str]], list[str]]:
    """The known columns of a CSV file as text, and what to call each row in a message."""
    header, rows, lines = csv_rows(path)
    places = _known(header, path)
    return {name: [unguard(row[at]) for row in rows] for name, at in places.items()}, lines


def csv_rows(path: Path) -> tuple[list[str], list[list[str]], list[str]]:
    """The column names of a CSV file, the cells of its rows as they stand, and what to call each row in a message.

    Raises LossprintError where it is no CSV file in UTF-8, is empty, or a row has another number of cells.
    """
    rows, lines = [], []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if row:
                    rows.append(row)
                    lines.append(f"line {reader.line_num}")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise LossprintError(f"expected UTF-8 text in {path}, found the byte 0x{byte:02x}") from None
    except csv.Error as error:
        raise LossprintError(f"expected a CSV file, found in line {reader.line_num} of {path}: {error}") from None
    except OSError as error:
        raise LossprintError(f"expected a readable manifest, found {str(error.strerror).lower()} at {path}") from None
    if not rows:
        raise LossprintError(f"expected a manifest with the columns path and label, found an empty file at {path}")
    header = [name.strip() for name in rows[0]]
    for row, line in zip(rows[1:], lines[1:]):
        if len(row) != len(header):
            raise LossprintError(f"expected {len(header)} cells in {line} of {path}, found {len(row)}")
    return header, rows[1:], lines[1:]


def _parquet_columns(path: Path) -> tuple[dict[str, list[str]], list[str]]:
    """The known columns of a Parquet file as text, and what to call each row in a message."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        places = _known(file.schema_arrow.names, path)
        _refuse_bomb(file.metadata.num_rows, path)
        table = file.read(columns=list(places))
        columns = {}
        for name in places:
            column = table[name]
            if pa.types.is_floating(column.type):  # pandas keeps missing whole numbers as NaN
                column = pc.if_else(pc.is_nan(column), None, column)
            columns[name] = [cell or "" for cell in column.cast(pa.string()).to_pylist()]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        detail = one_line(error)
        raise LossprintError(f"expected a readable Parquet file, found at {path}: {detail}") from None
    return columns, [f"row {number}" for number in range(1, table.num_rows + 1)]


def _refuse_bomb(rows: int, path: Path) -> None:
    """A small Parquet file may repeat a row billions of times."""
    free = free_memory()
    if rows * ROW_BYTES > free // 2:
        raise LossprintError(
            f"expected rows that fit into half of the free memory, {free / 1e9:.1f} GB, found {rows:,} in {path}"
        )


def of_segments(header: list[str]) -> bool:
    """Whether a CSV with these columns lists segments of videos, as `segments` reads them, and not images."""
    return "path" not in header and "sequence" in header and ("start" in header or "start_frame" in header)


def _known(header: list[str], path: Path) -> dict[str, int]:
    """Where the known columns are. Raises LossprintError where path or label is missing or a name comes twice."""
    if of_segments(header):
        raise LossprintError(
            f"expected a manifest of images, found segments of videos at {path}: `lossprint audit` decodes them, and "
            "RUN/frames/labels.csv is then a manifest of their frames"
        )
    for name in ("path", "label"):
        if name not in header:
            raise LossprintError(
                f"expected a column {name!r} in {path}, found the columns {', '.join(map(repr, header))[:300]}"
            )
    for name in COLUMNS:
        if header.count(name) > 1:
            raise LossprintError(f"expected one column {name!r} in {path}, found {header.count(name)}")
    return {name: header.index(name) for name in COLUMNS if name in header}


def split_of(cell: str, line: str, path: Path) -> str:
    """The split that a cell names: train, val or test. Raises LossprintError for another word."""
    if cell.strip().lower() not in SPLIT_NAMES:
        raise LossprintError(f"expected a split of {', '.join(SPLIT_NAMES)}, found {cell!r} in {line} of {path}")
    return SPLIT_NAMES[cell.strip().lower()]


def _frame(cell: str, line: str, path: Path) -> int | None:
    if not cell.strip():
        return None
    # pandas writes whole numbers as 3.0 in a column in which some are missing.
    if not re.fullmatch(r"[+-]?[0-9]{1,18}(\.0*)?", cell.strip()):
        raise LossprintError(f"expected a whole number as frame, found {cell!r} in {line} of {path}")
    return int(cell.strip().split(".")[0])
