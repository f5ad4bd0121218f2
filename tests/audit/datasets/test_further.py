"""Further columns of a manifest: kept by sample, numbers as numbers, names that look like numbers as texts."""

import numpy as np
import pandas as pd
import pytest

from lossprint.audit.datasets.further import MOST, further_columns


def of(path, **more) -> dict:
    return {"kind": "manifest", "source": str(path), **more}


TEXT = """path,label,patient,age,site,split,empty,note
a.png,x,007,41,Ulm,train,,"a, b"
b.png,y,12,,"Köln",train,,
c.png,x,1e5,39.5,Ulm,val,,
"""


def test_columns_are_kept_by_sample_with_numbers_as_numbers(tmp_path):
    (tmp_path / "labels.csv").write_text(TEXT)
    table = further_columns(of(tmp_path / "labels.csv"), np.array([0, 2]))
    assert list(table.columns) == ["sample", "patient", "age", "site", "empty", "note"]
    assert table["patient"].tolist() == ["007", "1e5"], "names that look like numbers stay names"
    assert table["age"].tolist() == [41.0, 39.5] and table["age"].dtype == float
    assert table["site"].tolist() == ["Ulm", "Ulm"] and table["note"].tolist() == ["a, b", None]
    assert table["empty"].isna().all()


def test_parquet_and_named_columns(tmp_path):
    frame = pd.DataFrame(
        {
            "file": ["a", "b"],
            "class": ["x", "y"],
            "camera": [3, 4],
            "box": [[1], [2]],
            "taken": pd.to_datetime(["2024-01-02", None]),
        }
    )
    frame.to_parquet(tmp_path / "m.parquet")
    choices = {"path_column": "file", "label_column": "class"}
    table = further_columns(of(tmp_path / "m.parquet", choices=choices), np.array([0, 1]))
    assert list(table.columns) == ["sample", "camera", "taken"]
    assert table["camera"].tolist() == [3.0, 4.0] and table["taken"].tolist() == ["2024-01-02 00:00:00", None]


@pytest.mark.parametrize(
    "dataset", [{"kind": "folder", "source": "/"}, {"kind": "manifest", "source": "gone.csv"}, {"kind": "hf"}]
)
def test_other_datasets_have_none(dataset):
    assert further_columns(dataset, np.array([0])) is None


def test_no_more_columns_than_can_be_looked_at_and_none_twice(tmp_path):
    names = [f"c{one}" for one in range(MOST + 5)] + ["twice", "twice", "x" * 61, " "]
    text = ",".join(["path", "label", *names]) + "\n" + ",".join(["a", "b", *names]) + "\n"
    (tmp_path / "labels.csv").write_text(text)
    table = further_columns(of(tmp_path / "labels.csv"), np.array([0]))
    assert list(table.columns) == ["sample", *names[:MOST]]
    (tmp_path / "labels.csv").write_text("path,label\na,b\n")
    assert further_columns(of(tmp_path / "labels.csv"), np.array([0])) is None
