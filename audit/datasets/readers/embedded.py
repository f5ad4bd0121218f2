"""A Parquet file that holds its images as bytes, as Hugging Face writes them: a column of struct<bytes, path>, a label.

The names of the classes stand in the file's metadata, where `datasets` wrote it; else labels are text, whatever they
look like. No image is written to a disk, and the `path` beside the bytes is only a name: no file is opened by it.
"""

import io
import os
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from lossprint.audit.datasets.choices import USUAL, Choices
from lossprint.audit.datasets.images import read_size, read_values
from lossprint.audit.datasets.source import Source, fingerprint, locate, split_of, tabulate
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.system.memory import free_memory
from lossprint.audit.system.parquet import lengths, opened, read_table
from lossprint.audit.types import LossprintError, one_line

ENDINGS = (".parquet", ".pq")
IMAGES = ("image", "img", "picture", "photo", "jpg", "png")
LABELS = ("label", "labels", "class", "target", "fine_label", "category")
HELD = 4  # row groups that are kept in memory


def lists_embedded(name: str) -> bool:
    """Whether a DATASET is a Parquet file that holds images as bytes and no paths, by its schema."""
    path = os.path.expanduser(name)
    if not path.lower().endswith(ENDINGS) or not os.path.isfile(path):
        return False
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return False  # whoever reads all of it says what is wrong
    return "path" not in schema.names and bool(_image_columns(schema))


def read_embedded(name: str | Path, choices: Choices = USUAL) -> Source:
    """The images of such a file, row/000000 and so on. Raises LossprintError where it has no label or is damaged."""
    path = locate(name)
    try:
        file, schema = opened(path), pq.read_schema(path)
        image, label = _columns(schema, path, choices)
        held = _Held(path, image)
        split = ["split"] if "split" in schema.names else []
        table = read_table(path, [label, *split])
        sizes = _sizes(file, image)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise LossprintError(f"expected a readable Parquet file, found at {path}: {one_line(error)}") from None
    labels = _labels(table[label], schema, label)
    count = table.num_rows
    if not count:
        raise LossprintError(f"expected images in {path}, found no rows")
    splits = ["train"] * count
    if split:
        cells = [str(cell or "") for cell in table["split"].to_pylist()]
        splits = [split_of(cell, f"row {row}", path) if cell else "train" for row, cell in enumerate(cells, 1)]
    rows = tabulate([f"row/{row:06d}" for row in range(count)], labels, splits)
    faults = dict.fromkeys(np.flatnonzero(sizes <= 0).tolist(), "no bytes of an image")
    return Source(
        str(path),
        "embedded",
        path.parent,
        rows,
        fingerprint(rows, sizes.tolist()),
        held.image,
        held.size,
        faults,
        written=True,
    )


def _image_columns(schema: pa.Schema) -> list[str]:
    """The columns that hold images: of the struct of Hugging Face, or of bytes under a usual name."""
    found = []
    for field in schema:
        kind = field.type
        inner = pa.types.is_struct(kind) and any(one.name == "bytes" and _binary(one.type) for one in kind)
        if inner or (field.name.lower() in IMAGES and _binary(kind)):
            found.append(field.name)
    return found


def _binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _columns(schema: pa.Schema, path: Path, choices: Choices) -> tuple[str, str]:
    """The columns of the images and of the labels. Raises LossprintError where they are not to be told."""
    images = _image_columns(schema)
    if choices.path_column is not None:
        images = [name for name in images if name == choices.path_column]
    if len(images) != 1:
        raise LossprintError(
            f"expected one column of images in {path} (or --path-column NAME), found {', '.join(images) or 'none'} "
            f"among {', '.join(schema.names)[:200]}"
        )
    named = (
        [name for name in LABELS if name in schema.names] if choices.label_column is None else [choices.label_column]
    )
    if not named or named[0] not in schema.names or pa.types.is_nested(schema.field(named[0]).type):
        raise LossprintError(
            f"expected a column of labels in {path} (or --label-column NAME), found the columns "
            f"{', '.join(map(repr, schema.names))[:300]}"
        )
    return images[0], named[0]


def _labels(column: pa.ChunkedArray, schema: pa.Schema, name: str) -> list[str]:
    """Labels (N,) as text, empty where there is none; numbers by their names where the file says them."""
    names = _class_names(schema, name)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    if names and pa.types.is_integer(column.type):
        return [names[one] if one is not None and 0 <= one < len(names) else "" for one in column.to_pylist()]
    return [one or "" for one in column.cast(pa.string()).to_pylist()]


def _class_names(schema: pa.Schema, name: str) -> list[str]:
    """The names that `datasets` wrote of the classes of a column; none where it did not."""
    try:
        said = parsed((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = said["info"]["features"][name]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    names = list(names.values()) if isinstance(names, dict) else names
    whole = isinstance(names, list) and all(isinstance(one, str) for one in names)
    return names if whole and len(set(names)) == len(names) else []


def _sizes(file: pq.ParquetFile, image: str) -> np.ndarray:
    """Bytes of each image (N,), 0 for none. One row group at a time is in memory."""
    sizes = [np.empty(0, np.int64)]
    for group in range(file.num_row_groups):
        _refuse_large(file, group)
        sizes.append(pc.fill_null(lengths(_bytes(file, group, image)), 0).to_numpy().astype(np.int64))
    return np.concatenate(sizes)


def _refuse_large(file: pq.ParquetFile, group: int) -> None:
    size, free = file.metadata.row_group(group).total_byte_size, free_memory()
    if size > free // 2:
        raise LossprintError(
            f"expected row groups that fit into half of the free memory, {free / 1e9:.1f} GB, found one of "
            f"{size / 1e9:.1f} GB"
        )


def _bytes(file: pq.ParquetFile, group: int, image: str) -> pa.ChunkedArray:
    column = file.read_row_group(group, columns=[image])[image]
    return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column


class _Held:
    """The images of a file by their rows; the row groups that were read last stay in memory."""

    def __init__(self, path: Path, image: str):
        self.file, self.column, self.lock = opened(path), image, Lock()
        about = self.file.metadata
        self.starts = np.cumsum([0, *(about.row_group(at).num_rows for at in range(about.num_row_groups))])
        self.groups: dict[int, pa.ChunkedArray] = {}

    def image(self, path: str) -> Image.Image:
        return read_values(self._open(path))

    def size(self, path: str) -> tuple[int, int]:
        return read_size(self._open(path))

    def _open(self, path: str) -> io.BytesIO:
        number = path.removeprefix("row/")
        row = int(number) if number.isascii() and number.isdigit() and len(number) < 19 else -1
        if f"row/{row:06d}" != path or not 0 <= row < self.starts[-1]:
            raise LossprintError(f"expected the path of an image, such as row/000000, found {path!r}")
        group = int(np.searchsorted(self.starts, row, side="right")) - 1
        with self.lock:
            if group not in self.groups:
                while len(self.groups) >= HELD:
                    del self.groups[next(iter(self.groups))]
                self.groups[group] = _bytes(self.file, group, self.column)
            cell = self.groups[group][row - int(self.starts[group])]
        if not cell.is_valid:
            raise OSError(None, "no bytes of an image")
        return io.BytesIO(cell.as_py())
