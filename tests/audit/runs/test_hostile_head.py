"""head.parquet of somebody else's run folder: whatever is in it, one line says so, or nothing of it is believed."""

import numpy as np
import pandas as pd
import pytest
from helpers import make_run
from hostile import extension

from lossprint.audit.findings import frozen
from lossprint.audit.runs.tables import HEAD
from lossprint.audit.types import LossprintError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"), train=12, held_out=4)


def whole(run) -> pd.DataFrame:
    ids = run.sample_ids("train")
    columns = {field.name: np.full(len(ids), 0.5) for field in HEAD}
    flags = {"flagged": np.zeros(len(ids), bool), "certain": np.zeros(len(ids), bool)}
    return pd.DataFrame(columns | flags | {"sample": ids, "suggested": np.zeros(len(ids), np.int32)})


def text(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    return frame.assign(**{name: "<script>alert(1)</script>"})


BAD = {
    "a sample twice": (lambda frame: frame.assign(sample=frame["sample"].to_numpy()[0]), "two rows"),
    "no flags": (lambda frame: frame.drop(columns="flagged"), "no column 'flagged'"),
    "flags that are texts": (lambda frame: text(frame, "certain"), "string in the column 'certain'"),
    "ranks that are texts": (lambda frame: text(frame, "suspicion"), "string in the column 'suspicion'"),
    "samples that are numbers": (
        lambda frame: frame.assign(sample=frame["sample"] + 0.5),
        "no such|other samples|double",
    ),
    "samples of another run": (lambda frame: frame.assign(sample=frame["sample"] + 10**6), "other samples"),
    "too few": (lambda frame: frame.head(3), "a row for each of the"),
    "a class beyond the last": (lambda frame: frame.assign(suggested=99), "class indices below"),
    "a class below none": (lambda frame: frame.assign(suggested=-7), "class indices below"),
    "lists": (lambda frame: frame.assign(foreign=[[1.0]] * len(frame)), "list<.*> in the column 'foreign'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_head_that_does_not_fit_is_an_error_in_one_line(run, name):
    change, words = BAD[name]
    change(whole(run)).to_parquet(run.path / "head.parquet", index=False)
    with pytest.raises(LossprintError, match=words) as error:
        frozen.head_of(run, run.sample_ids("train"))
    assert "\n" not in str(error.value) and "head.parquet" in str(error.value)


def test_no_pickle_is_opened(run, tmp_path):
    data, marker = extension(tmp_path)
    (run.path / "head.parquet").write_bytes(data)
    with pytest.raises(LossprintError, match=r"expected a readable head\.parquet"):
        run.head()
    assert not marker.exists()


def test_numbers_that_are_none_flag_nobody(run):
    """Infinity and NaN are passed over: no severity beyond its range comes of them, and nothing is flagged."""
    odd = whole(run).assign(foreign=np.nan, suspicion=np.nan, probability=np.inf, head_curvature=-np.inf)
    odd.to_parquet(run.path / "head.parquet", index=False)
    head = frozen.head_of(run, run.sample_ids("train"))
    assert np.isnan(frozen.foreign(head)).all() and not (frozen.severity(head) > 0.5).any()
    assert not (frozen.foreign(head.assign(foreign=-1.0)) > 0.5).any()


def test_a_head_of_an_older_version_has_no_curvature(run):
    whole(run).drop(columns="head_curvature").to_parquet(run.path / "head.parquet", index=False)
    assert "head_curvature" not in frozen.head_of(run, run.sample_ids("train"))
