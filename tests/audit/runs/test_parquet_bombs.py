"""Tables of a run that would unpack to far more than their files are refused before they are read."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import make_run

from lossprint.app.views.pairs.partners import strongest
from lossprint.audit.datasets.readers.manifests import read_manifest
from lossprint.audit.findings.unjudged import count_unjudged
from lossprint.audit.recording.imported import read_losses
from lossprint.audit.runs import beside
from lossprint.audit.runs.tables import CHECKED, read_part
from lossprint.audit.runs.verify import verify
from lossprint.audit.system import bounds
from lossprint.audit.system.memory import peak
from lossprint.audit.system.parquet import read_table
from lossprint.audit.training import feature_files
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
    monkeypatch.setattr(bounds, "ROOM", 4 << 20)  # of 256 MB: the same at a size that a test may take
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
    monkeypatch.setattr(bounds, "ROOM", 1 << 20)
    bomb(file, 2_000_000)
    try:
        with pytest.raises(ValueError, match="rows that take"):
            read_part(file)
    finally:
        file.write_bytes(whole)
    assert len(read_part(file))


# ------------------------------------------------------------------------------ texts that repeat, other readers

LONG, ROWS = "x" * 100_000, 5_000  # half a gigabyte when spelled out, kilobytes in a file


def repeating(file, column: str, **options) -> None:
    """A file in which a column of texts holds one long text in every row, which no size in the file tells of."""
    table = pq.read_table(file)
    rows = {name: [table[name][0].as_py()] * ROWS for name in table.column_names} | {column: [LONG] * ROWS}
    whole = pa.table({name: pa.array(cells, table.schema.field(name).type) for name, cells in rows.items()})
    pq.write_table(whole, file, compression="zstd", **options)
    assert file.stat().st_size < 200_000


@pytest.fixture
def changed(run, monkeypatch):
    """Gives the path of a file of the run that may be changed, and puts it back."""
    monkeypatch.setattr(bounds, "ROOM", 4 << 20)
    kept = {}

    def file(name: str):
        kept[name] = (run.path / name).read_bytes()
        return run.path / name

    yield file
    for name, content in kept.items():
        (run.path / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "column"), [("findings.parquet", "label"), ("samples.parquet", "path"), ("scores.parquet", "path")]
)
@pytest.mark.parametrize("packed", [{}, {"use_dictionary": False, "encoding": "DELTA_BYTE_ARRAY"}])
def test_one_long_text_in_every_row_is_refused(name, column, packed, run, changed):
    file = changed(name)
    options = {"use_dictionary": False, "column_encoding": {column: packed["encoding"]}} if packed else {}
    repeating(file, column, **options)
    read = peak()
    with pytest.raises(LossprintError, match=r"texts that (repeat and )?take"):
        run.table(name)
    with pytest.raises(LossprintError, match=r"texts that (repeat and )?take"):
        run.table(name, columns=[column])
    assert peak() - read < 300 << 20


def test_a_check_of_a_batch_is_no_way_round(run, monkeypatch):
    """Red before: what `check` keeps was read without the bound on texts that repeat."""
    monkeypatch.setattr(bounds, "ROOM", 4 << 20)
    row = {field.name: pa.nulls(2000, field.type) for field in CHECKED}
    row["path"] = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2000, np.int32)), pa.array(["x" * 100_000]))
    (run.path / "checks").mkdir()
    pq.write_table(pa.table(row), run.path / "checks" / "new.parquet", compression="zstd")
    (run.path / "checks" / "new.json").write_text("{}")
    with pytest.raises(LossprintError, match="texts that repeat"):
        beside.check(run, "new")


def test_texts_come_as_they_were_written(run, tmp_path):
    """However they are kept: repeated, alone, with empty cells, as bytes, as categories."""
    table = pa.table(
        {
            "a": pa.array(["x", None, "x", "y"] * 500),
            "b": pa.array([f"number {at}" for at in range(2000)], pa.large_string()),
            "c": pa.array([b"1", b"2"] * 1000),
            "d": pa.array(["u", "v"] * 1000).dictionary_encode(),
            "e": pa.array(range(2000)),
        }
    )
    for at, options in enumerate(({}, {"use_dictionary": False}, {"row_group_size": 700})):
        file = tmp_path / f"{at}.parquet"
        pq.write_table(table, file, **options)
        assert read_table(file).equals(table)
        assert read_table(file, ["b", "a"]).equals(table.select(["b", "a"]))
        some = read_table(file, ["e"], filters=[("a", "==", "y")])
        assert some["e"].to_pylist() == list(range(3, 2000, 4))
    prefixed = table.select(["b", "e"])
    pq.write_table(prefixed, file, use_dictionary=False, column_encoding={"b": "DELTA_BYTE_ARRAY"})
    assert read_table(file).equals(prefixed)
    assert read_table(file, ["b", "e"], filters=[("e", "<", 3)])["b"].to_pylist() == [
        "number 0",
        "number 1",
        "number 2",
    ]
    pq.write_table(prefixed.slice(0, 0), file, use_dictionary=False, column_encoding={"b": "DELTA_BYTE_ARRAY"})
    assert read_table(file).equals(prefixed.slice(0, 0))


def test_curvature_and_the_page_of_partners_too(run, changed):
    name = next((run.path / "curvature").rglob("rank-0.parquet")).relative_to(run.path)
    bomb(changed(name), 2_000_000)
    with pytest.raises(LossprintError, match="rows that take"):
        run.curvature()
    bomb(changed("pairs.parquet"), 2_000_000)
    with pytest.raises(LossprintError, match="rows that take"):
        strongest(run.pairs_path)
    bomb(changed("scores.parquet"), 2_000_000)
    with pytest.raises(ValueError, match="rows that take"):
        count_unjudged(run)
    lines = verify(run.path).lines
    assert {"scores.parquet", "pairs.parquet", str(name)} <= {line.where for line in lines if line.word == "damaged"}


@pytest.mark.parametrize("kind", ["manifest", "losses", "a folder of losses", "features", "arrays of losses"])
def test_what_is_brought_is_bounded_too(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "ROOM", 4 << 20)
    samples = pd.DataFrame({"sample": [0], "path": ["a"], "label": ["a"], "split": ["train"]})
    file = tmp_path / "some.parquet"
    table = {"path": [LONG] * ROWS, "label": ["a"] * ROWS, "checkpoint": [1] * ROWS, "loss": [0.5] * ROWS}
    pq.write_table(pa.table(table), file, compression="zstd")
    if kind == "arrays of losses":
        file = tmp_path / "some.npz"
        np.savez_compressed(file, train_losses=np.zeros((1000, 1000)), val_losses=np.zeros((1, 1000)))
    read = {
        "manifest": lambda: read_manifest(file),
        "losses": lambda: read_losses(file, samples, ["a"]),
        "a folder of losses": lambda: read_losses(tmp_path, samples, ["a"]),
        "features": lambda: feature_files._read(file),
        "arrays of losses": lambda: read_losses(file, samples, ["a"]),
    }[kind]
    with pytest.raises((LossprintError, ValueError), match=r"take|at most") as caught:
        read()
    assert "\n" not in str(caught.value)
