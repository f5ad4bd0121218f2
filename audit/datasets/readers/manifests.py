"""Manifests, CSV or Parquet files with a row an image, here or at a URL: the checks of their rows, and the readers.

The paths of a manifest's images are files relative to it, or, all of them, URLs.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

import pandas as pd

from lossprint.audit.datasets.choices import USUAL, Choices
from lossprint.audit.datasets.paths import of_file_url
from lossprint.audit.datasets.readers.remote import Images, file_name, listed
from lossprint.audit.datasets.source import (
    COLUMNS,
    Reader,
    Source,
    locate,
    of_files,
    once,
    read_file_inside,
    split_of,
    tabulate,
)
from lossprint.audit.system import urls
from lossprint.audit.system.atomic import write_bytes
from lossprint.audit.system.csvrows import noted_rows
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.system.memory import free_memory
from lossprint.audit.system.parquet import read_table
from lossprint.audit.system.urls import Place
from lossprint.audit.types import LossprintError, one_line

DECODED = "segments.json"  # beside the manifest of frames that were decoded from videos
TABLES = (".csv", ".tsv", ".parquet", ".pq")
CSV = (".csv", ".tsv")
ROW_BYTES = 150  # of a manifest's row as texts in memory, at least


def read_manifest(name: str | Path, choices: Choices = USUAL) -> Source:
    """A CSV or Parquet manifest: path, label, perhaps split, sequence, frame; paths are relative to it, or URLs.

    `choices` may say another folder that they are relative to, and other names of the columns.
    """
    path = locate(name)
    rows, places, notes = manifest_rows(path, choices)
    if not rows["path"].map(of_file_url).str.contains("://", regex=False).any():
        root = choices.root_beside(path) or path.parent
        return of_files("manifest", path, root, rows, places, notes, choices.follow_links, written=True)
    for url, line in zip(rows["path"], places):
        if not urls.is_url(url):
            raise LossprintError(f"expected a URL in every row of {path} or in none, found {url!r}{line}")
        urls.remote(url, line)
    return listed(str(path), "", rows, notes)


def open_manifest(name: str, choices: Choices = USUAL) -> Reader:
    """How one image of a manifest is read by its path, which may be a URL."""
    path = locate(name)
    root = choices.root_beside(path) or path.parent
    at_url, here = Images("").image, partial(read_file_inside, root, follow=choices.follow_links)
    return Reader(str(path), lambda image: (at_url if "://" in image else here)(image))


def read_remote_manifest(name: str) -> Source:
    """A manifest at a URL, with paths relative to it.

    Raises LossprintError for paths that lead out of the manifest's folder, and where nothing can be read there.
    """
    place, root = Place(name), _parent(name)
    with _downloaded(place) as file:
        rows, places, notes = manifest_rows(file)
    for path, line in zip(rows["path"], places):
        urls.relative(path, line, f"{root}/")
    return listed(name, root, rows, notes)


def open_remote_manifest(name: str) -> Reader:
    """How one image of a manifest at a URL is read by its path, as `remote.open_remote` does."""
    return Reader(name, Images(_parent(name)).image)


def is_table(name: str) -> bool:
    """Whether a URL or path names a manifest, by its ending."""
    return PurePosixPath(file_name(name)).suffix.lower() in TABLES


def manifest_of(name: str) -> Path:
    """A copy of a manifest at a URL, as it is now, in a temporary folder of this machine's user."""
    folder = urls.home("LOSSPRINT_CACHE", "XDG_CACHE_HOME", ".cache") / "manifests"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}-{file_name(name)}"
    write_bytes(path, _content(Place(name)))
    return path


def _parent(name: str) -> str:
    return name.partition("?")[0].rpartition("/")[0]


def _content(place: Place) -> bytes:
    about = place.info(first=True)
    if about is None:
        raise LossprintError(f"expected a manifest or class folders, found nothing at {place.url}")
    return place.read() if about.get("size") != 0 else b""


@contextmanager
def _downloaded(place: Place) -> Iterator[Path]:
    """The file at a URL as a file on this machine; messages about that name the URL."""
    data = _content(place)
    with tempfile.TemporaryDirectory(prefix="lossprint-") as folder:
        file = Path(folder) / file_name(place.url)
        file.write_bytes(data)
        try:
            yield file
        except LossprintError as error:
            raise LossprintError(str(error).replace(str(file), place.url)) from None


# ------------------------------------------------------------------------------------------------ rows


def manifest_rows(path: Path, choices: Choices = USUAL) -> tuple[pd.DataFrame, list[str], list[str]]:
    """The rows of a manifest, where each stands in words, for messages, and the notes.

    Sample ids are row positions. Labels are text, whatever they look like, and empty where a row has none. Rows without
    a path are left out, and each path is listed once, see `source.once`. A missing split column means train. Frames of
    a sequence are ordered by their numbers; see `_check_sequences` for what is refused and what is noted.
    """
    own = {"path": choices.path_column or "path", "label": choices.label_column or "label"}
    names = {name: own.get(name, name) for name in COLUMNS}
    columns, lines, doubts = (_csv_columns if path.suffix.lower() in CSV else _parquet_columns)(path, names)
    if not lines:
        raise LossprintError(f"expected images in the manifest {path}, found no rows")
    ids, notes = _kept(columns["path"], lines, path)
    lines = [lines[row] for row in ids]
    columns = {name: [cells[row] for row in ids] for name, cells in columns.items()}
    splits = ["train"] * len(lines)
    if "split" in columns:
        splits = [split_of(cell, line, path) for cell, line in zip(columns["split"], lines)]
    sequences = [cell or None for cell in columns["sequence"]] if "sequence" in columns else None
    frames = [_frame(cell, line, path) for cell, line in zip(columns["frame"], lines)] if "frame" in columns else None
    rows = tabulate(columns["path"], columns["label"], splits, sequences, frames).assign(sample=ids)
    rows, places, again = once(rows, [f", in {line} of {path.name}" for line in lines])
    notes += again
    if rows["sequence"].notna().any():
        notes += _check_sequences(path, rows.assign(line=rows["sample"].map(dict(zip(ids, lines)))))
    return rows, places, notes + doubts + _decoding_notes(path.parent)


def _kept(paths: list[str], lines: list[str], path: Path) -> tuple[list[int], list[str]]:
    """The positions of the rows that have a path, and a note on the others."""
    kept = [row for row, name in enumerate(paths) if name.strip()]
    if not kept:
        raise LossprintError(f"expected a path in the rows of {path}, found an empty cell in {lines[0]} and all others")
    bare = len(paths) - len(kept)
    first = next((line for name, line in zip(paths, lines) if not name.strip()), "")
    return kept, [f"left out, because without a path: {bare:,} of {len(paths):,} rows, such as {first}"] if bare else []


def _decoding_notes(folder: Path) -> list[str]:
    """What `video` noted when it decoded the frames of a manifest in this folder; nothing where it did not."""
    try:
        about = parsed((folder / DECODED).read_text(encoding="utf-8"))
        return [str(note) for note in about["notes"]] if "lossprint" in about else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _check_sequences(path: Path, table: pd.DataFrame) -> list[str]:
    """Notes on the frames of sequences. Raises LossprintError where one is in two splits or has a frame twice.

    table: sequence, frame, split and `line`, what to call a row. Neighbouring frames are nearly the same image: a
    sequence in two splits would be validated on what was trained on.
    """
    table = table.loc[table["sequence"].notna(), ["sequence", "frame", "split", "line"]]
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


def _csv_columns(path: Path, names: dict[str, str]) -> tuple[dict[str, list[str]], list[str], list[str]]:
    """The known columns of a CSV file as text, what to call each row in a message, and what is not certain."""
    header, rows, lines, notes = noted_rows(path)
    places = _known(header, path, names)
    return {name: [row[at] for row in rows] for name, at in places.items()}, lines, notes


def _parquet_columns(path: Path, names: dict[str, str]) -> tuple[dict[str, list[str]], list[str], list[str]]:
    """The known columns of a Parquet file as text, what to call each row in a message, and nothing uncertain."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        about = pq.read_metadata(path)
        places = _known(about.schema.to_arrow_schema().names, path, names)
        _refuse_bomb(about.num_rows, path)
        table = read_table(path, list(dict.fromkeys(names[name] for name in places)))
        columns = {}
        for name in places:
            column = table[names[name]]
            if pa.types.is_floating(column.type):  # pandas keeps missing whole numbers as NaN
                column = pc.if_else(pc.is_nan(column), None, column)
            columns[name] = [cell or "" for cell in column.cast(pa.string()).to_pylist()]
    except (pa.ArrowException, OSError, ValueError) as error:
        detail = one_line(error)
        raise LossprintError(f"expected a readable Parquet file, found at {path}: {detail}") from None
    return columns, [f"row {number}" for number in range(1, table.num_rows + 1)], []


def _refuse_bomb(rows: int, path: Path) -> None:
    """A small Parquet file may repeat a row billions of times."""
    free = free_memory()
    if rows * ROW_BYTES > free // 2:
        raise LossprintError(
            f"expected rows that fit into half of the free memory, {free / 1e9:.1f} GB, found {rows:,} in {path}"
        )


def lists_segments(name: str | Path) -> bool:
    """Whether a DATASET is a CSV of segments, by its header. False for what cannot be read: others say why."""
    path = Path(os.path.expanduser(name))
    if path.suffix.lower() != ".csv" or not os.path.isfile(path):
        return False
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            first = next((line for line in file if line.strip()), "")
    except (OSError, UnicodeDecodeError):
        return False
    return _of_segments([name.strip().strip('"').strip() for name in first.split(",")])


def _of_segments(header: list[str]) -> bool:
    """Whether a CSV with these columns lists segments of videos, as `video.segments` reads them, and not images."""
    return "path" not in header and "sequence" in header and ("start" in header or "start_frame" in header)


def _known(header: list[str], path: Path, names: dict[str, str]) -> dict[str, int]:
    """Where the known columns are, which go by `names`. Raises LossprintError where path or label is none, or two."""
    if _of_segments(header):
        raise LossprintError(
            f"expected a manifest of images, found segments of videos at {path}: `lossprint audit` decodes them, and "
            "RUN/frames/labels.csv is then a manifest of their frames"
        )
    for name in ("path", "label"):
        if names[name] not in header:
            other = "" if names[name] != name else f" (or --{name}-column NAME)"
            raise LossprintError(
                f"expected a column {names[name]!r}{other} in {path}, found the columns "
                f"{', '.join(map(repr, header))[:300]}"
            )
    for name in COLUMNS:
        if header.count(names[name]) > 1:
            raise LossprintError(f"expected one column {names[name]!r} in {path}, found {header.count(names[name])}")
    return {name: header.index(names[name]) for name in COLUMNS if names[name] in header}


def _frame(cell: str, line: str, path: Path) -> int | None:
    if not cell.strip():
        return None
    # pandas writes whole numbers as 3.0 in a column in which some are missing.
    if not re.fullmatch(r"[+-]?[0-9]{1,18}(\.0*)?", cell.strip()):
        raise LossprintError(f"expected a whole number as frame, found {cell!r} in {line} of {path}")
    return int(cell.strip().split(".")[0])
