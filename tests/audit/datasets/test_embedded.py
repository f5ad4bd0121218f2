"""Parquet files that hold their images as bytes."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_files import message, png
from helpers import one_line

from lossprint.audit.cli import main as cli
from lossprint.audit.datasets.choices import Choices
from lossprint.audit.datasets.dataset import image_reader, load, open_dataset

NAMES = ["owl", "cat", "dog"]


def written(path, plain=False, image="image", label="label", metadata=True, groups=5, **columns):
    """Twelve images of the values 0 to 11 in row groups of five, labels 0, 1, 2 in turn."""
    data = [png(at) for at in range(12)]
    cells = (
        pa.array(data) if plain else pa.array([{"bytes": one, "path": f"../{at}.png"} for at, one in enumerate(data)])
    )
    table = pa.table({image: cells, label: pa.array([at % 3 for at in range(12)], pa.int64()), **columns})
    if metadata:
        features = {image: {"_type": "Image"}, label: {"names": NAMES, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=groups)
    return path


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("groups", [1, 5, 100])
def test_images_within_a_parquet_file_are_read(tmp_path, plain, groups):
    path = written(tmp_path / "x.parquet", plain, groups=groups)
    dataset = open_dataset(path)
    assert dataset.kind == "embedded" and dataset.classes == sorted(NAMES)
    assert dataset.samples["label"].tolist() == NAMES * 4
    loaded = load(dataset, 4)
    assert loaded.pixels[:, 0, 0, 0].tolist() == list(range(12)) and len(set(loaded.digests)) == 12
    assert np.asarray(image_reader(path)("row/000011"))[0, 0, 0] == 11
    assert "such as row/000000" in one_line(image_reader(path), "row/000012")
    assert "such as row/000000" in one_line(image_reader(path), "../3.png")


def test_labels_are_text_where_the_file_names_none(tmp_path):
    assert open_dataset(written(tmp_path / "x.parquet", metadata=False)).classes == ["0", "1", "2"]
    split = pa.array(["train"] * 6 + ["test"] * 3 + ["validation"] * 3)
    dataset = open_dataset(written(tmp_path / "y.pq", split=split))
    assert dataset.samples["split"].value_counts().to_dict() == {"train": 6, "test": 3, "val": 3}
    text = pa.array(["a", "b", None] * 4)
    dataset = open_dataset(written(tmp_path / "z.parquet", breed=text), choices=Choices(label_column="breed"))
    assert dataset.classes == ["a", "b"] and len(dataset.aside) == 4
    assert any("without a label" in note for note in dataset.notes)


def test_what_cannot_be_told_is_one_line(tmp_path):
    path = written(tmp_path / "x.parquet", label="number_of_legs")
    assert "expected a column of labels" in message(path) and "--label-column NAME" in message(path)
    path = written(tmp_path / "y.parquet", mask=pa.array([{"bytes": png(1), "path": None}] * 12))
    assert "expected one column of images" in message(path)
    assert len(open_dataset(path, choices=Choices(path_column="image")).samples) == 12
    (tmp_path / "z.parquet").write_bytes(written(tmp_path / "w.parquet").read_bytes()[:-20])
    assert "expected a readable Parquet file" in message(tmp_path / "z.parquet")
    for said in (b"{", b"[]", b'{"info": {"features": {"label": {"names": [1, 2]}}}}'):
        table = pq.read_table(path).replace_schema_metadata({b"huggingface": said})
        pq.write_table(table, tmp_path / "v.parquet")
        assert open_dataset(tmp_path / "v.parquet", choices=Choices(path_column="image")).classes == ["0", "1", "2"]


def test_broken_and_missing_bytes_are_listed(tmp_path):
    cells = [{"bytes": png(at), "path": None} for at in range(12)]
    cells[3]["bytes"], cells[4]["bytes"] = b"no image", None
    table = pa.table({"image": pa.array(cells), "label": [str(at % 2) for at in range(12)]})
    pq.write_table(table, tmp_path / "x.parquet")
    dataset = open_dataset(tmp_path / "x.parquet")
    assert len(dataset.samples) == 10
    assert dict(zip(dataset.unreadable["path"], dataset.unreadable["reason"])) == {
        "row/000003": "not an image that Pillow can read",
        "row/000004": "no bytes of an image",
    }


def test_a_run_of_such_a_file_exports_its_images(tmp_path):
    (tmp_path / "data").mkdir()
    path = written(tmp_path / "data" / "x.parquet")
    samples = open_dataset(path).samples
    counts = samples["split"].value_counts()
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "l.npz", **{f"{split}_losses": rng.random((counts[split], 4)) for split in ("train", "val")})
    words = ["import", tmp_path / "l.npz", "--dataset", path, "--out", tmp_path / "run", "--quiet"]
    assert cli.main([str(word) for word in words]) == 0
    assert cli.main(["export", "cleaned", str(tmp_path / "run"), "--out", str(tmp_path / "tree")]) == 0
    listed = pd.read_csv(tmp_path / "tree" / "labels.csv")
    assert len(listed) == 12 and all((tmp_path / "tree" / place).is_file() for place in listed["path"])
