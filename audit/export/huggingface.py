"""A table of samples as a dataset of Hugging Face's library: in memory, or as a folder that `load_dataset` reads."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lossprint.audit.datasets.kinds import OF_FILES
from lossprint.audit.datasets.media import TEXTS, media_of
from lossprint.audit.datasets.source import inside
from lossprint.audit.export.items import Items
from lossprint.audit.export.tree import dataset_root, refuse_other, refuse_place
from lossprint.audit.runs.places import dataset_of
from lossprint.audit.runs.run import Run
from lossprint.audit.types import SPLITS, LossprintError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

BESIDE = ("path", "given_label", "change", "reason", "weight")  # columns that go along where the table has them
NAMES = {"train": "train", "val": "validation", "test": "test"}


def as_datasets(run: Run, table: pd.DataFrame, embed: bool = False) -> "DatasetDict":
    """Splits train, validation and test: image (or text), label (a ClassLabel) and what of BESIDE the table has.

    Image files stay where they are and are read when they are asked for, or are in memory with `embed`; images of other
    kinds are encoded as PNG.
    """
    datasets = _library()
    parts = {NAMES[split]: table[table["split"] == split] for split in SPLITS}
    names = Items(run, table).classes
    return datasets.DatasetDict({name: _split(run, part, names, embed) for name, part in parts.items() if len(part)})


def _split(run: Run, table: pd.DataFrame, names: list[str], embed: bool) -> "Dataset":
    datasets = _library()
    texts = media_of(run.manifest["dataset"]) is TEXTS
    content = "text" if texts else "image"
    beside = [name for name in BESIDE if name in table]
    features = {content: datasets.Value("string") if texts else datasets.Image()}
    features |= {"label": datasets.ClassLabel(names=names)}
    features |= {name: datasets.Value("float64" if name == "weight" else "string") for name in beside}
    numbers = pd.Index(names).get_indexer(table["label"]).tolist()
    columns = {name: table[name].astype(object).where(table[name].notna(), None).tolist() for name in beside}
    columns |= {content: list(_contents(run, table, texts, embed)), "label": numbers}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def _contents(run: Run, table: pd.DataFrame, texts: bool, embed: bool) -> Iterator[Any]:
    root, about = dataset_root(run), dataset_of(run)
    if root is not None and about.get("kind") in OF_FILES:
        follow = bool((about.get("choices") or {}).get("follow_links"))
        for path in table["path"]:
            file = inside(root, path, follow)
            refuse_other(file, path, str(root))
            yield {"path": file.name, "bytes": file.read_bytes()} if embed else {"path": str(file), "bytes": None}
        return
    items = Items(run, table)
    for path in table["path"]:
        item = items.read(path)
        if not texts:
            buffer = io.BytesIO()
            item.save(buffer, format="PNG")
            item = {"path": None, "bytes": buffer.getvalue()}
        yield item


def write_folder(run: Run, table: pd.DataFrame, out: str | Path) -> dict[str, int]:
    """Write OUT/data/SPLIT-00000-of-00001.parquet, images in them, and OUT/README.md, which says what they hold.

    `datasets.load_dataset(OUT)` reads it, and it can be uploaded as it is. Returns the samples of each split. Raises
    LossprintError where something is at OUT.
    """
    out = Path(out)
    refuse_place(run, out)
    splits = as_datasets(run, table, embed=True)
    part = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(part, ignore_errors=True)
    try:
        (part / "data").mkdir(parents=True)
        for name, dataset in splits.items():
            dataset.to_parquet(part / "data" / f"{name}-00000-of-00001.parquet")
        card = ["---", "configs:", "- config_name: default", "  data_files:"]
        for name in splits:
            card += [f"  - split: {name}", f"    path: data/{name}-*"]
        text = (
            f"Exported from the Lossprint run {run.name}: labels as its reviewers decided, `given_label` as they were."
        )
        (part / "README.md").write_text("\n".join([*card, "---", "", text, ""]), encoding="utf-8")
        if out.is_dir():
            out.rmdir()
        part.rename(out)
    except OSError as error:
        raise LossprintError(f"expected a folder that can be written at {out}, found: {error.strerror}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return {name: len(dataset) for name, dataset in splits.items()}


def _library():
    try:
        import datasets
    except ImportError:
        raise LossprintError(
            "expected Hugging Face's datasets, found none installed: pip install 'lossprint[hf]'"
        ) from None
    return datasets
