"""Tables of a run that would unpack to far more than their files are refused before they are read."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import make_run

from lossprint.audit.runs.tables import read_part
from lossprint.audit.system import parquet
from lossprint.audit.types import LossprintError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"))


def bomb(file, rows: int) -> None:
    """A table with the columns of a file, in which each row is the same."""
    first = pq.read_table(file).slice(0, 1)
    plain = [one.cast(one.type.value_type) if pa.types.is_dictionary(one.type) else one for one in first.columns]
    at = pa.array(np.zeros(rows, np.int32))
    columns = [
        pa.nulls(rows) if one.null_count else pa.DictionaryArray.from_arrays(at, pa.concat_arrays(one.chunks))
        for one in plain
    ]
    pq.write_table(pa.table(columns, names=first.column_names), file, compression="zstd")


@pytest.mark.parametrize("name", ["findings.parquet", "samples.parquet", "scores.parquet", "pairs.parquet"])
def test_a_small_file_of_very_many_rows_is_refused(name, run, monkeypatch):
    whole = (run.path / name).read_bytes()
    monkeypatch.setattr(parquet, "ROOM", 4 << 20)  # of 256 MB: the same at a size that a test may take
    bomb(run.path / name, 2_000_000)
    read = pa.total_allocated_bytes()
    try:
        with pytest.raises(LossprintError, match="rows that take") as caught:
            run.table(name)
        assert "\n" not in str(caught.value)
        assert pa.total_allocated_bytes() - read < 8 << 20
    finally:
        (run.path / name).write_bytes(whole)
    assert len(run.table(name))


def test_parts_of_losses_too(run, monkeypatch):
    file = next(one for one in run.path.rglob("rank-0.parquet") if "loss" in pq.read_schema(one).names)
    whole = file.read_bytes()
    monkeypatch.setattr(parquet, "ROOM", 1 << 20)
    bomb(file, 2_000_000)
    try:
        with pytest.raises(ValueError, match="rows that take"):
            read_part(file)
    finally:
        file.write_bytes(whole)
    assert len(read_part(file))
