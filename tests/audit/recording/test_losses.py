"""Losses that users recorded themselves: both forms give the same tables, and each fault is one line that names it."""

import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import make_run
from planted_losses import CLASSES, TEST, TRAIN, VAL, E, assert_planted, dataset, loss, read_rows, rows

from lossprint.audit.recording.imported import read_losses
from lossprint.audit.types import LossprintError

TOO_FEW = "at least 3 checkpoints (0 does not count) in"


@pytest.fixture
def samples():
    return dataset()


def matrix(ids, value=loss) -> np.ndarray:
    return np.array([[value(i, t) for t in range(1, E + 1)] for i in ids])


def arrays(**changed) -> dict:
    whole = {"train_losses": matrix(TRAIN), "val_losses": matrix(VAL), **changed}
    return {name: array for name, array in whole.items() if array is not None}


def read_npz(tmp_path, samples, **changed):
    np.savez(tmp_path / "l.npz", **arrays(**changed))
    return read_losses(tmp_path / "l.npz", samples, CLASSES)


# ------------------------------------------------------------------------------------------------- what is read


def test_npz_without_ids_is_in_the_order_of_ids(tmp_path, samples):
    parts = read_npz(tmp_path, samples.sample(frac=1, random_state=0))
    assert_planted(parts)
    for _, _, table in parts:
        assert table["margin"].isna().all() and (table["predicted"] == -1).all()


@pytest.mark.parametrize("named_by", ["samples", "paths", "both"])
def test_npz_rows_in_any_order(tmp_path, samples, named_by):
    order = [3, 0, 2, 1]
    ids = [TRAIN[i] for i in order]
    named = {}
    if named_by in ("samples", "both"):
        named["train_samples"] = np.array(ids, np.int32)
    if named_by in ("paths", "both"):
        named["train_paths"] = np.array([f"images/{i}.png" for i in ids])
    margins = matrix(TRAIN, lambda i, t: i - t)[order]
    predicted = matrix(TRAIN, lambda i, t: (i + t) % 3).astype(int)[order]
    parts = read_npz(
        tmp_path, samples, train_losses=matrix(ids), train_margins=margins, train_predicted=predicted, **named
    )
    assert_planted(parts)
    for split, t, table in parts:
        if split == "train":
            assert table["margin"].tolist() == [i - t for i in TRAIN]
            assert table["predicted"].tolist() == [(i + t) % 3 for i in TRAIN]


def test_npz_with_checkpoints_labels_and_a_test_split(tmp_path, samples):
    predicted = np.array([["coat", "bag", "shirt"]] * 4)
    parts = read_npz(
        tmp_path, samples, checkpoints=np.array([2, 5, 90000]), train_predicted=predicted, test_losses=matrix(TEST)
    )
    assert_planted(parts, {"train": TRAIN, "val": VAL, "test": TEST}, (2, 5, 90000))
    assert [table["predicted"].tolist() for split, _, table in parts if split == "train"] == [[1] * 4, [0] * 4, [2] * 4]


def test_a_loss_just_below_zero_is_rounding(tmp_path, samples):
    losses = matrix(TRAIN)
    losses[1, 2] = -3e-8
    parts = read_npz(tmp_path, samples, train_losses=losses)
    assert {split: table for split, t, table in parts if t == 3}["train"]["loss"].tolist()[1] == 0


@pytest.mark.parametrize("named_by", ["sample", "path", "both"])
def test_parquet_rows_in_any_order(tmp_path, samples, named_by):
    frame = rows().sample(frac=1, random_state=1)
    frame["margin"] = frame["sample"] - frame["checkpoint"]
    frame["predicted"] = [CLASSES[i % 3] for i in frame["sample"]]
    if named_by != "sample":
        frame["path"] = [f"images/{i}.png" for i in frame["sample"]]
    if named_by == "path":
        frame = frame.drop(columns="sample")
    parts = read_rows(tmp_path, samples, frame.assign(split="train").drop(columns="split"))
    assert_planted(parts)
    for _, t, table in parts:
        assert (table["margin"] == table["sample"] - t).all() and (table["predicted"] == table["sample"] % 3).all()


def test_parquet_folder_with_split_partitions_and_categories(tmp_path, samples):
    frame = rows((*TRAIN, *VAL, *TEST))
    for (t, i), part in frame.groupby(["checkpoint", "sample"]):
        split = "train" if i in TRAIN else "validation" if i in VAL else "test"
        folder = tmp_path / "l" / f"split={split}" / f"checkpoint={t:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        part = part.assign(path=pd.Categorical([f"images/{i}.png"]))
        part[["path", "loss"]].to_parquet(folder / f"{i}.parquet", index=False)
    assert_planted(read_losses(tmp_path / "l", samples, CLASSES), {"train": TRAIN, "val": VAL, "test": TEST})


def test_the_trajectories_of_another_run_are_read_as_they_stand(tmp_path):
    run = make_run(tmp_path, done=False)
    parts = read_losses(run.path / "trajectories", run.samples(), run.classes)
    assert len(parts) == 10
    for split, checkpoint, table in parts:
        pd.testing.assert_frame_equal(table, run.part(split, checkpoint).to_pandas())


# ------------------------------------------------------------------------------------------------- what is refused


def spoil(array, at, value):
    array = np.array(array, float)
    array[at] = value
    return array


LAST_VAL = (0, 2)
NPZ_FAULTS = {
    "nan": (
        {"train_losses": spoil(matrix(TRAIN), ([1, 3], [1, 0]), np.nan)},
        "finite losses in", "2 NaN or infinite in train: samples 3, 8; the first at checkpoint 2"),
    "infinite": (
        {"val_losses": spoil(matrix(VAL), LAST_VAL, np.inf)},
        "finite losses in", "1 NaN or infinite in val: sample 10; the first at checkpoint 3"),
    "beyond float32": ({"val_losses": spoil(matrix(VAL), LAST_VAL, 1e300)}, "finite losses in", "1 NaN or infinite"),
    "negative": (
        {"train_losses": -matrix(TRAIN)},
        "losses of zero or more in", "12 negative in train: samples 2, 3, 5, 8; the first at checkpoint 1"),
    "nan margin": ({"train_margins": np.full((4, 3), np.nan)}, "finite margins in", "12 NaN or infinite in train"),
    "turned": (
        {"train_losses": matrix(TRAIN).T},
        "train_losses of shape (4, E), a row for each train sample of the dataset",
        "(3, 4): it looks like (checkpoints, samples), transpose it"),
    "too few rows": ({"val_losses": matrix(VAL[:1])}, "val_losses of shape (2, E), a row for each val", "(1, 3)"),
    "rows and ids": (
        {"train_samples": np.array(TRAIN[:3])},
        "train_losses of shape (3, E), a row for each of train_samples, in", "(4, 3)"),
    "one dimension": (
        {"train_losses": matrix(TRAIN)[:, 0]},
        "numbers of shape (samples, checkpoints) as train_losses in", "float64 of shape (4,)"),
    "text": ({"train_losses": matrix(TRAIN).astype(str)}, "numbers of shape (samples, checkpoints)", "<U"),
    "complex": ({"train_losses": matrix(TRAIN).astype(complex)}, "numbers of shape (samples, checkpoints)", "complex"),
    "unknown id": (
        {"train_samples": np.array([2, 3, 5, 99])},
        "samples of the dataset, such as 2, in train_losses of", "1 that it does not have, such as 99"),
    "unknown path": (
        {"train_paths": np.array(["2.png"] * 4)},
        "paths of the dataset, such as 'images/2.png', in", "1 that it does not have, such as '2.png'"),
    "vast id": ({"train_samples": np.array([2, 3, 5, 2**64 - 1], np.uint64)}, "samples of the dataset", "1 that"),
    "ids that are no whole numbers": (
        {"train_samples": np.array([2.0, 3, 5, 8])}, "whole numbers as sample in train_losses of", "double"),
    "complex ids": (
        {"train_samples": np.array([2j, 3, 5, 8])}, "ids, paths and classes as numbers or text in", "complex128"),
    "ids in a matrix": (
        {"train_samples": np.array([TRAIN])}, "train_samples and train_paths of shape (N,) in", "(1, 4)"),
    "id beside another path": (
        {"val_samples": np.array(VAL), "val_paths": np.array(["images/11.png", "images/10.png"])},
        "the path of each sample beside its id in val_losses of", "'images/11.png' beside 10"),
    "twice": (
        {"train_samples": np.array([2, 3, 5, 5])}, "each train sample once in", "more rows of sample 5"),
    "missing": (
        {"train_samples": np.array([2, 3, 5]), "train_losses": matrix(TRAIN[:3])},
        "all 4 train samples in train_losses in", "1 missing: sample 8"),
    "other split": (
        {"train_samples": np.array([2, 3, 5, 10])},
        "only samples of train in train_losses in", "1 that the dataset has in val: sample 10"),
    "two checkpoints": (
        {"train_losses": matrix(TRAIN)[:, :2], "val_losses": matrix(VAL)[:, :2]}, TOO_FEW, "2"),
    "no checkpoints": (
        {"train_losses": np.zeros((4, 0)), "val_losses": np.zeros((2, 0))}, TOO_FEW, "0"),
    "unlike numbers of checkpoints": (
        {"val_losses": matrix(VAL)[:, :2]}, "as many checkpoints in val_losses as in train_losses, 3, in", "2"),
    "shape of checkpoints": ({"checkpoints": np.arange(4)}, "checkpoints of shape (3,) in", "(4,)"),
    "falling checkpoints": ({"checkpoints": np.array([1, 3, 2])}, "ascending whole numbers from 0 as", "[1, 3, 2]"),
    "negative checkpoints": ({"checkpoints": np.array([-1, 3, 4])}, "ascending whole numbers from 0 as", "[-1, 3, 4]"),
    "half checkpoints": ({"checkpoints": np.array([1.5, 3, 4])}, "ascending whole numbers from 0 as", "[1.5, 3.0,"),
    "no validation": ({"val_losses": None}, "an array val_losses in", "train_losses"),
    "misspelt": ({"train_margin": matrix(TRAIN)}, "arrays named checkpoints or {train,val,", "'train_margin'"),
    "shape of margins": (
        {"train_margins": matrix(VAL)}, "train_margins of the shape of train_losses, (4, 3), in", "(2, 3)"),
    "no such class": ({"train_predicted": np.full((4, 3), 3)}, "class numbers below 3, places among", "3"),
    "no such label": (
        {"train_predicted": np.full((4, 3), "hat")}, "labels of the dataset, or class numbers, in", "'hat'"),
    "classes that are no whole numbers": (
        {"train_predicted": np.full((4, 3), 0.5)}, "labels or class numbers in train_predicted of", "double"),
    "objects": (
        {"train_losses": np.array([[{}] * 3] * 4, object)},
        "numbers or text as train_losses in", "Python objects, which are never loaded"),
}  # fmt: skip


def assert_one_line(error, path, expected, found):
    text = str(error.value)
    assert text.startswith(f"expected {expected}") and f"{path}, found {found}" in text and "\n" not in text, text


@pytest.mark.parametrize("fault", NPZ_FAULTS)
def test_a_faulty_npz_is_one_line(tmp_path, samples, fault):
    changed, expected, found = NPZ_FAULTS[fault]
    with pytest.raises(LossprintError) as error:
        read_npz(tmp_path, samples, **changed)
    assert_one_line(error, tmp_path / "l.npz", expected, found)


def drop(frame, sample, checkpoint):
    return frame[(frame["sample"] != sample) | (frame["checkpoint"] != checkpoint)]


def blank(frame, sample, column, after=0):
    rows = (frame["sample"] == sample) & (frame["checkpoint"] > after)
    return frame.assign(**{column: frame[column].mask(rows)})


EACH = "all {} samples at each of 3 checkpoints in"
PARQUET_FAULTS = {
    "nan": (
        blank(rows(), 5, "loss", after=1),
        "finite losses in", "2 NaN or infinite in train: sample 5; the first at checkpoint 2"),
    "negative": (rows().assign(loss=-1.0), "losses of zero or more in", "12 negative in train: samples 2, 3, 5, 8"),
    "twice": (
        pd.concat([rows(), rows().iloc[7:9]]),
        "one row a sample and checkpoint in", "2 given more than once, such as sample 3 at checkpoint 2"),
    "one missing": (drop(rows(), 5, 2), EACH.format("4 train"), "1 losses missing: sample 5"),
    "one val missing": (drop(rows(), 11, 3), EACH.format("2 val"), "1 losses missing: sample 11"),
    "part of test": (pd.concat([rows(), rows([20]).iloc[:1]]), EACH.format("1 test"), "2 losses missing: sample 20"),
    "no validation": (rows(TRAIN), "losses of the 2 val samples in", "none of them"),
    "nothing": (rows().iloc[:0], "losses of the 4 train samples in", "none of them"),
    "two after checkpoint 0": (
        rows()[lambda f: f["checkpoint"] < 4].assign(checkpoint=lambda f: f["checkpoint"] - 1),
        TOO_FEW,
        "2",
    ),
    "two checkpoints": (rows()[lambda f: f["checkpoint"] < 3], TOO_FEW, "2"),
    "unknown": (
        rows([*TRAIN, *VAL, 77, 78]),
        "samples of the dataset, such as 2, in", "2 that it does not have, such as 77"),
    "missing id": (blank(rows().astype({"sample": "Int64"}), 5, "sample"), "samples of the dataset", "1 that it does"),
    "no loss": (rows().drop(columns="loss"), "a column loss in", "sample, checkpoint"),
    "no sample": (rows().drop(columns="sample"), "a column sample or path in", "checkpoint, loss"),
    "other split": (
        rows(split="train"), "the dataset's splits in", "6 rows of others, such as sample 10 in train, not val"),
    "text": (rows(loss="high"), "numbers as loss in", ""),
    "half checkpoints": (rows().astype({"checkpoint": float}), "whole numbers from 0 as checkpoint", "others (double)"),
    "negative checkpoints": (rows().assign(checkpoint=-1), "whole numbers from 0 as checkpoint", "others (int64)"),
    "no such label": (rows(predicted="hat"), "labels of the dataset, or class numbers, in column", "'hat'"),
}  # fmt: skip


@pytest.mark.parametrize("fault", PARQUET_FAULTS)
def test_a_faulty_parquet_file_is_one_line(tmp_path, samples, fault):
    frame, expected, found = PARQUET_FAULTS[fault]
    with pytest.raises(LossprintError) as error:
        read_rows(tmp_path, samples, frame)
    assert_one_line(error, tmp_path / "l.parquet", expected, found)


def test_files_that_are_none_of_it(tmp_path, samples):
    np.save(tmp_path / "one.npy", matrix(TRAIN))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    np.savez(tmp_path / "l.npz", **arrays())
    whole = (tmp_path / "l.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    broken = bytearray(whole)
    broken[300:330] = b"?" * 30
    (tmp_path / "broken.npz").write_bytes(broken)
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "l.csv").write_text("sample,loss\n")
    (tmp_path / "l.txt").write_text("sample,loss\n")
    (tmp_path / "l.parquet").write_bytes(b"PAR1 not really")
    (tmp_path / "bare").mkdir()
    (tmp_path / "mixed").mkdir()
    pq.write_table(pa.table({"sample": [2], "checkpoint": [1], "loss": [0.5]}), tmp_path / "mixed" / "a.parquet")
    (tmp_path / "mixed" / "b.parquet").write_text("no")
    expected = {
        "gone.npz": "found nothing at",
        "one.npz": "found a single array",
        "cut.npz": "expected a readable .npz file",
        "broken.npz": "expected a readable .npz file",
        "pickle.npz": "expected a readable .npz file",
        "empty.npz": "expected a readable .npz file",
        "l.csv": "expected a column checkpoint",
        "l.txt": "expected losses in .npz, .parquet, .csv or a folder",
        "l.parquet": "expected readable Parquet",
        "bare": "expected a column sample or path",
        "mixed": "expected readable Parquet",
    }
    for name, says in expected.items():
        with pytest.raises(LossprintError) as error:
            read_losses(tmp_path / name, samples, CLASSES)
        assert says in str(error.value) and name in str(error.value) and "\n" not in str(error.value), name
