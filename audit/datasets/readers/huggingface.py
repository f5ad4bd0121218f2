"""Datasets as Hugging Face's library `datasets` reads them -> one table; images and texts stay in its Arrow files.

    hf:PLACE[:KEY=VALUE]...       hf:data/saved    hf:owner/name    hf:owner/name:config=plain_text:label=fine_label

PLACE is a folder that `save_to_disk` wrote, a folder of files that `load_dataset` reads (Parquet, class folders of
images), or else a dataset of the hub, which `load_dataset` downloads into its cache. Code that comes with a dataset is
never run. The keys:

    config, revision      of a dataset of the hub
    image, label, text    the columns, where they are not what their types and names say
    train, val, test      which of the dataset's own splits to take as these

A sample's path is SPLIT/NUMBER, its row in that split from 0.
"""

import hashlib
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lossprint.audit.datasets.images import read_size, read_values
from lossprint.audit.datasets.media import TEXTS
from lossprint.audit.datasets.readers import texts
from lossprint.audit.datasets.source import SPLIT_NAMES, Reader, Source, fingerprint, inside, tabulate
from lossprint.audit.datasets.tasks import ALL
from lossprint.audit.types import SPLITS, LossprintError, one_line

KEYS = ("config", "revision", "image", "label", "text", *SPLITS)
OPTION = re.compile(r":(?=[a-z_]+=)")
HUB = re.compile(r"\w[\w.-]*/\w[\w.-]*")
SAVED = ("state.json", "dataset_dict.json")  # what save_to_disk writes into the folder
LABELS = ("label", "labels", "class", "target", "category")


@dataclass(frozen=True)
class _Spec:
    """What a name says. `name` is the whole of it, with an absolute place."""

    name: str
    place: str
    options: dict[str, str]

    @property
    def local(self) -> bool:
        return os.path.isabs(self.place)

    @property
    def saved(self) -> bool:
        return self.local and any(os.path.isfile(os.path.join(self.place, file)) for file in SAVED)


@dataclass(frozen=True)
class _Columns:
    """Names of the columns: one of images, or those of the texts; the label's, None for texts without labels."""

    image: str | None
    texts: tuple[str, ...]
    label: str | None


def absolute(name: str) -> str:
    """The same dataset, whatever folder the program is called from. Nothing is loaded."""
    return _spec_of(name).name


def read_huggingface(name: str) -> Source:
    """List the samples of hf:PLACE. Ids count on through train, val and test; rows without a label are left out.

    Raises LossprintError, in one line, where there is no such dataset, the hub cannot be reached, or it is not clear
    which columns and splits are meant.
    """
    spec = _spec_of(name)
    parts, roots, notes = _open(spec)
    columns = _columns(spec, parts)
    root = Path(spec.place) if spec.local else Path(roots[0])
    frames, contents = [], []
    for split, part in parts.items():
        labels = _labels(spec, part, columns.label)
        rows = np.flatnonzero([label is not None for label in labels])
        frame = pd.DataFrame({"label": labels[rows], "split": split, "row": rows})
        frame["path"] = [f"{split}/{row:06d}" for row in rows]
        frames.append(frame)
        if len(rows) < len(labels):
            notes.append(
                f"left out, because without a label: {len(labels) - len(rows):,} of {len(labels):,} in {split}"
            )
        if spec.saved:
            contents.append(part._fingerprint)  # it is kept in the folder, unlike that of a cache, which knows its path
    table = pd.concat(frames, ignore_index=True)
    if table.empty:
        raise LossprintError(f"expected rows with a label in {spec.name}, found none")
    rows = tabulate(table["path"].tolist(), table["label"].tolist(), table["split"].tolist())
    if columns.image is None:
        reader = _Texts(spec.name, parts, columns.texts)
        digest = hashlib.sha256()
        for path in rows["path"]:
            digest.update(hashlib.sha256(reader.read(path).encode()).digest())
        mark = fingerprint(rows, [*contents, digest.hexdigest()])
        return Source(spec.name, "text", root, rows, mark, reader.read, None, {}, tuple(notes), TEXTS)
    images = _Images(spec.name, parts, columns.image, roots)
    sizes, faults = images.measure(rows["path"].tolist())
    mark = fingerprint(rows, [*contents, *sizes])
    return Source(spec.name, "huggingface", root, rows, mark, images.read, images.size, faults, tuple(notes))


def open_huggingface(name: str) -> Reader:
    """How to read one image or text by its path; nothing is listed. Raises as `read_huggingface` does."""
    spec = _spec_of(name)
    parts, roots, _ = _open(spec)
    columns = _columns(spec, parts)
    if columns.image is None:
        return Reader(spec.name, _Texts(spec.name, parts, columns.texts).read, TEXTS)
    return Reader(spec.name, _Images(spec.name, parts, columns.image, roots).read)


# ------------------------------------------------------------------------------------------------- what is asked for


def _spec_of(name: str) -> _Spec:
    place, *pairs = OPTION.split(name.removeprefix("hf:"))
    options = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key not in KEYS or key in options or not value:
            raise LossprintError(
                f"expected hf:PLACE:KEY=VALUE, each of {', '.join(KEYS)} once, found {pair!r} in {name}"
            )
        options[key] = value
    here = os.path.abspath(os.path.expanduser(place))
    if place and os.path.isdir(here):
        place = here
    elif not HUB.fullmatch(place) or place.startswith("."):
        raise LossprintError(
            f"expected hf:FOLDER or hf:OWNER/NAME of the Hugging Face hub, found {name!r}: {_lack(here)}"
        )
    return _Spec("hf:" + ":".join([place, *(f"{key}={value}" for key, value in options.items())]), place, options)


def _lack(path: str) -> str:
    return f"{path} is no folder" if os.path.exists(path) else f"no folder at {path}"


def _open(spec: _Spec) -> tuple[dict, tuple[str, ...], list[str]]:
    """Our splits -> the library's datasets; the folders that image files may lie in; notes."""
    try:
        import datasets
        from huggingface_hub import constants
    except ImportError:
        raise LossprintError(
            f"expected the library datasets to read {spec.name}, found none: pip install 'lossprint[hf]'"
        ) from None
    config, revision = spec.options.get("config"), spec.options.get("revision")
    if spec.saved and (config or revision):
        raise LossprintError(f"expected a config or a revision of a dataset of the hub only, found one in {spec.name}")
    try:
        if spec.saved:
            loaded = datasets.load_from_disk(spec.place)
        else:
            # Versions before 4 could run code that comes with a dataset; later ones ignore the argument.
            loaded = datasets.load_dataset(spec.place, config, revision=revision, trust_remote_code=False)
    except Exception as error:  # each format fails in its own way; all mean that there is nothing to read
        detail = one_line(error)
        kind = "a dataset that save_to_disk wrote" if spec.saved else "a dataset that load_dataset reads"
        raise LossprintError(f"expected {kind} at {spec.place}, found: {detail}") from None
    roots = (str(datasets.config.HF_DATASETS_CACHE), str(datasets.config.DOWNLOADED_DATASETS_PATH))
    roots = (*roots, str(datasets.config.EXTRACTED_DATASETS_PATH), str(constants.HF_HUB_CACHE))
    if spec.saved:
        roots = (spec.place,)
    elif spec.local:
        roots = (spec.place, *roots)
    parts, notes = _splits(spec, loaded if isinstance(loaded, dict) else {"train": loaded})
    return parts, roots, notes


def _splits(spec: _Spec, splits: dict) -> tuple[dict, list[str]]:
    """Our splits -> the dataset's own. A split alone is what there is to train on, whatever its name."""
    chosen = {split: spec.options[split] for split in SPLITS if split in spec.options}
    lacking = [own for own in chosen.values() if own not in splits]
    names = ", ".join(splits)
    if lacking or len(set(chosen.values())) < len(chosen):
        raise LossprintError(
            f"expected splits of the dataset, each once, in {spec.name}, found {', '.join(chosen.values())}: "
            f"there are {names}"
        )
    if len(splits) == 1 and not chosen:
        chosen = {"train": next(iter(splits))}
    left = []
    for own in splits:
        split = SPLIT_NAMES.get(own.lower())
        if own in chosen.values():
            continue
        if split is None or split in spec.options:
            left.append(own)
        elif split in chosen:
            raise LossprintError(
                f"expected one split for {split} in {spec.name}, found {chosen[split]} and {own}: name one, as in "
                f":{split}={own}"
            )
        else:
            chosen[split] = own
    if "train" not in chosen:
        raise LossprintError(
            f"expected a split to train on in {spec.name}, found {names}: name one, as in :train={next(iter(splits))}"
        )
    rows = ", ".join(f"{own} ({len(splits[own]):,} rows)" for own in left)
    notes = [f"left out, because not taken as train, val or test: {rows}"] if left else []
    return {split: splits[chosen[split]] for split in SPLITS if split in chosen}, notes


# ------------------------------------------------------------------------------------------------- columns


def _columns(spec: _Spec, parts: dict) -> _Columns:
    """Which columns are meant. Raises LossprintError where that is not clear, or where a split lacks one."""
    part = parts["train"]
    image = _image_column(spec, part)
    form: tuple[str, ...] = ()
    if image is None:
        form = (spec.options["text"],) if "text" in spec.options else texts.form_of(part.column_names) or ()
        if not form:
            raise LossprintError(
                f"expected a column of images or of texts in {spec.name}, found {_described(part)}: name one, as in "
                ":image=NAME or :text=NAME"
            )
    columns = _Columns(image, form, _label_column(spec, part, form, needed=image is not None))
    for split, other in parts.items():
        for name in filter(None, (columns.image, *columns.texts, columns.label)):
            if name not in other.column_names or (name != columns.label and _kind(other, name) != _kind(part, name)):
                raise LossprintError(
                    f"expected the column {name} ({_kind(part, name)}) in {split} of {spec.name}, found "
                    f"{_described(other)}"
                )
    return columns


def _image_column(spec: _Spec, part) -> str | None:
    named = spec.options.get("image")
    fit = [name for name in part.column_names if _kind(part, name) in ("Image", "bytes")]
    if named is not None:
        if named not in part.column_names or _kind(part, named) not in ("Image", "bytes", "binary", "large_binary"):
            raise LossprintError(f"expected a column of images called {named} in {spec.name}, found {_described(part)}")
        return named
    if "text" in spec.options:
        if spec.options["text"] not in part.column_names:
            raise LossprintError(f"expected the column {spec.options['text']} in {spec.name}, found {_described(part)}")
        return None
    if len(fit) > 1 and "image" not in fit:
        raise LossprintError(
            f"expected one column of images in {spec.name}, found {', '.join(fit)}: name one, as in :image={fit[0]}"
        )
    return "image" if "image" in fit else next(iter(fit), None)


def _label_column(spec: _Spec, part, form: tuple[str, ...], needed: bool) -> str | None:
    named = spec.options.get("label")
    plain = ("ClassLabel", "string", "large_string", "bool", "int8", "int16", "int32", "int64")
    plain += ("uint8", "uint16", "uint32", "uint64")
    if named is not None:
        if named not in part.column_names or _kind(part, named) not in (*plain, "float32", "float64"):
            raise LossprintError(f"expected a column of labels called {named} in {spec.name}, found {_described(part)}")
        return named
    classes = [name for name in part.column_names if _kind(part, name) == "ClassLabel"]
    usual = [name for name in LABELS if name in part.column_names and name not in form and _kind(part, name) in plain]
    if len(classes) == 1 or usual:
        return next((name for name in usual if name in classes), None) or [*classes, *usual][0]
    if classes or needed:
        raise LossprintError(
            f"expected one column of labels in {spec.name}, found {_described(part)}: name one, as in "
            f":label={classes[0] if classes else 'NAME'}"
        )
    return None


def _kind(part, name: str) -> str:
    """What a column holds, in a word: Image, ClassLabel, string, int64; bytes for encoded images without that mark."""
    feature = part.features[name]
    if isinstance(feature, dict):
        return "bytes" if str(getattr(feature.get("bytes"), "dtype", "")).endswith("binary") else "struct"
    kind = type(feature).__name__
    return str(feature.dtype) if kind == "Value" else kind


def _described(part) -> str:
    return "the columns " + ", ".join(f"{name} ({_kind(part, name)})" for name in part.column_names)[:300]


def _labels(spec: _Spec, part, column: str | None) -> np.ndarray:
    """Labels (rows,) as text, None where there is none."""
    import pyarrow as pa

    if column is None:
        return np.full(len(part), ALL, object)
    values = part.data.column(column)
    if _kind(part, column) != "ClassLabel":
        cells = values.cast(pa.string()).to_pylist()
        return np.array([cell if cell and cell.strip() else None for cell in cells], object)
    names = np.array([*part.features[column].names, None], object)
    codes = values.fill_null(-1).to_numpy().astype(np.int64)  # -1 also stands for no label: the test splits of GLUE
    if len(codes) and not -1 <= codes.min() <= codes.max() < len(names) - 1:
        raise LossprintError(
            f"expected numbers of {len(names) - 1} classes in {column} of {spec.name}, found {codes.min()} to "
            f"{codes.max()}"
        )
    return names[codes]


# ------------------------------------------------------------------------------------------------- one sample alone


def _row(name: str, path: str, lengths: dict[str, int]) -> tuple[str, int]:
    split, _, number = path.partition("/")
    row = int(number) if number.isascii() and number.isdigit() and len(number) < 19 else -1
    if row < 0 or f"{split}/{row:06d}" != path or row >= lengths.get(split, 0):
        raise LossprintError(f"expected SPLIT/NUMBER of a row of {name}, found {path!r}")
    return split, row


class _Images:
    """The column of images of each split: cells are encoded bytes, or the path of a file under one of `roots`."""

    def __init__(self, name: str, parts: dict, column: str, roots: tuple[str, ...]):
        self.name, self.roots = name, roots
        self.columns = {split: part.data.column(column) for split, part in parts.items()}
        self.lengths = {split: len(part) for split, part in parts.items()}

    def read(self, path: str) -> Image.Image:
        return read_values(self._file(path))

    def size(self, path: str) -> tuple[int, int]:
        return read_size(self._file(path))

    def _file(self, path: str):
        split, row = _row(self.name, path, self.lengths)
        cell = self.columns[split][row].as_py()
        cell = cell if isinstance(cell, dict) else {"bytes": cell}
        if cell.get("bytes") is not None:
            return io.BytesIO(cell["bytes"])
        return self._place(cell.get("path"))

    def _place(self, path: str | None) -> Path:
        """A file that a cell names. A dataset may come from strangers: it must not show any file of this machine."""
        if not path:
            raise LossprintError("no image in this row")
        for root in self.roots:
            relative = os.path.relpath(path, root) if os.path.isabs(path) else path
            try:
                file = inside(Path(root), relative)
            except LossprintError:
                continue
            if file.is_file():
                return file
        raise LossprintError(f"no bytes in this row, and no file of the dataset at {path!r}")

    def measure(self, paths: list[str]) -> tuple[list[int], dict[int, str]]:
        """Sizes in bytes of the encoded images, -1 for none, and faults by position. No image is read."""
        sizes, faults = [], {}
        inline = {split: _byte_lengths(column) for split, column in self.columns.items()}
        for position, path in enumerate(paths):
            split, row = _row(self.name, path, self.lengths)
            size = int(inline[split][row])
            if size < 0:
                try:
                    size = os.path.getsize(self._file(path))
                except (LossprintError, OSError) as error:
                    faults[position] = str(error)
            if size == 0:
                faults[position] = "an empty file"
            sizes.append(size)
        return sizes, faults


def _byte_lengths(column) -> np.ndarray:
    """Bytes in each cell, -1 where there are none. Only the offsets of the Arrow file are read."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column
    if pa.types.is_null(values.type):
        return np.full(len(values), -1)
    return pc.binary_length(values).fill_null(-1).to_numpy()


class _Texts:
    """The columns of texts of each split."""

    def __init__(self, name: str, parts: dict, form: tuple[str, ...]):
        self.name, self.form = name, form
        self.lengths = {split: len(part) for split, part in parts.items()}
        self.columns = {}
        for split, part in parts.items():
            extra = [texts.INPUT] if texts.INPUT in part.column_names else []
            self.columns[split] = {column: part.data.column(column) for column in (*form, *extra)}

    def read(self, path: str) -> str:
        split, row = _row(self.name, path, self.lengths)
        record = {column: values[row].as_py() for column, values in self.columns[split].items()}
        form = self.form
        if len(form) == 1 and form != ("messages",):  # one column, whatever its name
            record, form = {"text": record[form[0]]}, ("text",)
        return texts.text_of(record, form, path, self.name)
