"""The table of kinds: which one a name is of, what that tells of its images; and no import circle in the room."""

import ast
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lossprint.audit.datasets import kinds
from lossprint.audit.datasets.dataset import image_reader, open_dataset, sample_reader
from lossprint.audit.datasets.media import IMAGES, TEXTS, media_of
from lossprint.audit.types import LossprintError

ROOM = Path(__file__).parents[3] / "audit" / "datasets"


def test_every_kind_is_told_by_its_name_or_its_file(tmp_path):
    for file, content in (
        ("images.csv", "path,label\na.png,x\n"),
        ("texts.csv", "text,label\na,x\n"),
        ("lines.jsonl", '{"text": "a"}\n'),
        ("segments.csv", "sequence,start,end,label\nv,0,1,x\n"),
        ("coco.JSON", "{}"),
    ):
        (tmp_path / file).write_text(content)
    (tmp_path / "folder" / "cat").mkdir(parents=True)
    (tmp_path / "tars" / "train").mkdir(parents=True)
    (tmp_path / "tars" / "train" / "0.tar").touch()
    images = pa.array([{"bytes": b"", "path": None}])
    pq.write_table(pa.table({"image": images, "label": ["x"]}), tmp_path / "images.parquet")
    expected = {
        str(tmp_path / "images.parquet"): "embedded",
        "torchvision:CIFAR10:data": "torchvision",
        "hf:owner/name": "huggingface",
        "shards-{0..9}.tar": "webdataset",
        "s3://bucket/0.tar": "webdataset",
        str(tmp_path / "tars"): "webdataset",
        "s3://bucket/labels.csv": "remote",
        "s3://bucket/folder": "remote",
        str(tmp_path / "folder"): "folder",
        str(tmp_path / "coco.JSON"): "coco",
        str(tmp_path / "texts.csv"): "text",
        str(tmp_path / "lines.jsonl"): "text",
        str(tmp_path / "segments.csv"): "segments",
        str(tmp_path / "images.csv"): "manifest",
        str(tmp_path / "none.csv"): "manifest",
    }
    assert {name: kinds.kind_of(name).name for name in expected} == expected
    assert {kind.name for kind in kinds.KINDS} == set(expected.values())
    assert set(kinds.OF_FILES) & set(kinds.PACKED) == set()
    assert kinds.kind_of(tmp_path / "texts.csv").media is TEXTS
    assert kinds.kind_of("s3://bucket/labels.csv").media is IMAGES


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".json", ".parquet"])
def test_what_is_no_file_is_refused_at_once(tmp_path, ending):
    """A pipe would block whoever opened it for ever; a name may be too long for a file."""
    os.mkfifo(tmp_path / f"pipe{ending}")
    for name in (tmp_path / f"pipe{ending}", tmp_path / ("x" * 300 + ending)):
        for use in (kinds.read_source, kinds.open_reader):
            with pytest.raises(LossprintError, match="expected a folder of class folders"):
                use(name)


def test_a_text_is_no_image(tmp_path):
    path = tmp_path / "texts.csv"
    path.write_text("text,label\na,x\nb,x\nc,y\nd,y\n")
    dataset = open_dataset(path)
    with pytest.raises(LossprintError, match="expected an image, found a text at 'row/000000'"):
        dataset.image("row/000000")
    with pytest.raises(LossprintError, match="expected a dataset of images, found texts"):
        image_reader(path)
    about = {"source": str(path), "media": "text", "fingerprint": dataset.fingerprint}
    assert media_of(about) is TEXTS and sample_reader(about)("row/000002") == "c"
    with pytest.raises(LossprintError, match="they were changed"):
        sample_reader(about | {"fingerprint": "another"})("row/000002")


def imports(file: Path, modules: dict[str, Path]) -> set[str]:
    """The modules of the room that a file imports, at its top or in a function."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names & set(modules)


def test_the_room_has_no_circle_of_imports():
    files = [file for file in ROOM.rglob("*.py") if file.name != "__init__.py"]
    modules = {
        ".".join(("lossprint.audit.datasets", *file.relative_to(ROOM).with_suffix("").parts)): file for file in files
    }
    left = {name: imports(file, modules) for name, file in modules.items()}
    assert len(left) > 15 and any(left.values())
    while left:
        free = {name for name, needed in left.items() if not needed & set(left)}
        assert free, f"these import each other: {sorted(left)}"
        left = {name: needed for name, needed in left.items() if name not in free}
