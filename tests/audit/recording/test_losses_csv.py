"""Losses in a CSV file are those of a Parquet file, however its cells are written; losses without classes."""

import gzip
import unicodedata

import numpy as np
import pandas as pd
import pytest
from planted_losses import CLASSES, TRAIN, VAL, assert_planted, dataset, loss, read_rows, rows

from lossprint.audit import open_run
from lossprint.audit.cli import main as cli
from lossprint.audit.recording.imported import read_losses
from lossprint.audit.system.csvfile import write_csv
from lossprint.audit.types import LossprintError


@pytest.fixture
def samples():
    return dataset()


def read_csv(tmp_path, samples, text: str | bytes, name="l.csv", **options):
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    return read_losses(tmp_path / name, samples, CLASSES, **options)


@pytest.mark.parametrize("named_by", ["sample", "path", "both"])
def test_csv_rows_are_those_of_parquet(tmp_path, samples, named_by):
    frame = rows().sample(frac=1, random_state=1)
    frame["margin"] = frame["sample"] / 3 - frame["checkpoint"]
    frame["predicted"] = [CLASSES[i % 3] for i in frame["sample"]]
    frame["path"], frame["more"] = [f"images/{i}.png" for i in frame["sample"]], "x"
    frame = frame.drop(columns={"sample": "path", "path": "sample", "both": "more"}[named_by])
    expected = read_rows(tmp_path, samples, frame)
    for name, mark in (("l.csv", ""), ("l.csv", "\ufeff"), ("l.CSV.gz", "")):
        parts = read_csv(tmp_path, samples, mark + frame.to_csv(index=False), name)
        for (split, checkpoint, table), (*which, old) in zip(parts, expected, strict=True):
            assert [split, checkpoint] == which
            pd.testing.assert_frame_equal(table, old, rtol=1e-6)


def test_csv_cells_as_spreadsheets_and_exports_write_them(tmp_path, samples):
    """Quotes, line ends within a path, guarded formulas, numbers as text, blanks and empty lines."""
    odd = ['a,"b".png', "two\nlines.png", "=sum.png", "'quoted.png", "'=twice.png", "-4.png", "+5.png"]
    samples = samples.assign(path=odd)
    frame = rows().assign(path=[odd[(*TRAIN, *VAL).index(i)] for i in rows()["sample"]]).drop(columns="sample")
    write_csv(frame, tmp_path / "l.csv")
    assert ",=sum.png\n" in (tmp_path / "l.csv").read_text()
    assert_planted(read_losses(tmp_path / "l.csv", samples, CLASSES))
    write_csv(frame.astype({"loss": str}), tmp_path / "l.csv", for_excel=True)
    text = (tmp_path / "l.csv").read_text()
    assert ",'=sum.png\n" in text and '"two\nlines.png"' in text and ",''=twice.png\n" in text
    assert_planted(read_losses(tmp_path / "l.csv", samples, CLASSES))
    text = "".join(f'"{i}", {t} ,"{loss(i, t)}"\r\n\r\n' for t in (1, 2, 3) for i in (*TRAIN, *VAL))
    assert_planted(read_csv(tmp_path, samples, " sample,checkpoint , loss\r\n" + text))


def test_paths_as_another_system_writes_them(tmp_path, samples):
    known = samples.assign(path=[f"im\u00e4ges/{at}.png" for at in samples["sample"]])
    frame = rows().assign(path=[f"im\u00e4ges/{at}.png" for at in rows()["sample"]])
    expected = read_rows(tmp_path, known, frame)
    ways = (
        lambda path: unicodedata.normalize("NFD", path),
        lambda path: path.replace("/", "\\"),
        lambda path: f"/data/of/jo/{path}",
        lambda path: "C:\\jo\\" + path.replace("/", "\\"),
    )
    for way in ways:
        text = frame.assign(path=frame["path"].map(way)).drop(columns="sample").to_csv(index=False)
        for (*_, table), (*_, old) in zip(read_csv(tmp_path, known, text), expected, strict=True):
            pd.testing.assert_frame_equal(table, old, rtol=1e-6)
    with pytest.raises(LossprintError, match="1 that it does not have"):
        read_csv(tmp_path, known, text.replace("5.png", "555.png"))


def test_csv_columns_of_empty_cells_were_not_recorded(tmp_path, samples):
    parts = read_csv(tmp_path, samples, rows(margin="", predicted=" ").to_csv(index=False))
    assert_planted(parts)
    assert all(table["margin"].isna().all() and (table["predicted"] == -1).all() for _, _, table in parts)


def test_csv_predictions_are_labels_before_they_are_indices(tmp_path, samples):
    for classes, given, expected in (
        (CLASSES, [0, 1, 2], [0, 1, 2]),
        (CLASSES, [2, -1, 0], [2, -1, 0]),
        (["1", "2", "7"], [7, 1, 2], [2, 0, 1]),
        (["5", "6", "7"], [0, 1, 2], [0, 1, 2]),
    ):
        frame = rows(predicted=[given[i % 3] for i in rows()["sample"]])
        frame.to_csv(tmp_path / "l.csv", index=False)
        _, _, table = read_losses(tmp_path / "l.csv", samples, classes)[0]
        assert table["predicted"].tolist() == [expected[i % 3] for i in TRAIN]


def lines(*changed) -> str:
    """A whole file, some of whose lines, counted from 1, are others."""
    whole = rows(path=[f"images/{i}.png" for i in rows()["sample"]]).to_csv(index=False).splitlines()
    for number, line in changed:
        whole[number - 1] = line
    return "\n".join(whole) + "\n"


CSV_FAULTS = {
    "no loss": (lines((7, "2,1,,images/2.png")), "a loss in every row of", "an empty cell in line 7"),
    "no sample": (lines((3, ",1,0.5,images/3.png")), "a sample in every row of", "an empty cell in line 3"),
    "no path": (lines((19, '11,3,0.5," "')), "a path in every row of", "an empty cell in line 19"),
    "after two lines in one": (
        lines((2, '2,1,1.02,"images/2.png"\n\n'), (9, "3,2,,images/3.png")), "a loss in every row", "in line 11"),
    "words": (lines((4, "5,1,high,images/5.png")), "numbers as loss in", "'high' in line 4"),
    "decimal comma": (lines((4, '5,1,"1,05",images/5.png')), "numbers as loss in", "'1,05' in line 4"),
    "half checkpoint": (lines((4, "5,1.5,1,images/5.png")), "whole numbers as checkpoint in", "'1.5' in line 4"),
    "negative checkpoint": (lines((4, "5,-1,1,images/5.png")), "whole numbers from 0 as checkpoint in", "others"),
    "vast id": (lines((4, f"{2**70},1,1,images/5.png")), "whole numbers as sample in", f"'{2**70}' in line 4"),
    "unknown path": (lines((4, "5,1,1,5.png")), "paths of the dataset, such as", "1 that it does not have"),
    "not a number": (lines((4, "5,1,nan,images/5.png")), "finite losses in", "1 NaN or infinite in train: sample 5"),
    "infinite": (lines((4, "5,1,1e999,images/5.png")), "finite losses in", "1 NaN or infinite in train: sample 5"),
    "negative": (lines((4, "5,1,-1,images/5.png")), "losses of zero or more in", "1 negative in train: sample 5"),
    "a cell too few": (lines((4, "5,1,1")), "4 cells in line 4 of", "3"),
    "a cell too many": (lines((4, "5,1,1,05,images/5.png")), "4 cells in line 4 of", "5"),
    "a quote left open": (lines((4, '5,1,1,"images/5.png')), "a CSV file", "in line 19 of"),
    "no UTF-8": (lines((4, "5,1,1,images/\u00e4.png")).encode("latin-1"), "UTF-8 text in", "the byte 0xe4 in line 4"),
    "semicolons": (lines().replace(",", ";"), "columns separated by commas in", "';' between them"),
    "empty": ("", "losses in", "an empty file"),
    "no header": (lines().partition("\n")[2], "a column sample or path in", "2, 1, "),
    "two columns": (lines((1, "sample,checkpoint,loss,loss")), "one column loss in", "2"),
    "a label unknown": (
        rows(predicted="hat").to_csv(index=False), "labels of the dataset, or class numbers, in", "'hat' in"),
    "a prediction missing": (
        rows(predicted="bag").to_csv(index=False).replace("bag", "", 1), "a predicted in every row", "in line 2"),
    "other split": (rows(split="train").to_csv(index=False), "the dataset's splits in", "6 rows of others"),
    "no rows": ("sample,checkpoint,loss\n", "losses of the 4 train samples in", "none of them"),
}  # fmt: skip


@pytest.mark.parametrize("fault", CSV_FAULTS)
def test_a_faulty_csv_is_one_line(tmp_path, samples, fault):
    text, expected, found = CSV_FAULTS[fault]
    for name in ("l.csv", "l.csv.gz"):
        with pytest.raises(LossprintError) as error:
            read_csv(tmp_path, samples, text, name)
        said = str(error.value)
        assert said.startswith(f"expected {expected}") and found in said.partition(", found ")[2], said
        assert str(tmp_path / name) in said and "\n" not in said, said


def test_a_packed_csv_that_was_cut_off_is_one_line(tmp_path, samples):
    data = gzip.compress(np.random.default_rng(0).bytes(10_000).hex().encode())
    for content in (data[:2000], b"no gzip", b""):
        (tmp_path / "l.csv.gz").write_bytes(content)
        with pytest.raises(LossprintError) as error:
            read_losses(tmp_path / "l.csv.gz", samples, CLASSES)
        assert "l.csv.gz" in str(error.value) and "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------------- other tasks


def test_losses_of_quantities_may_be_negative(tmp_path, samples):
    frame = rows(loss=lambda f: f["loss"] - 1)
    parts = read_csv(tmp_path, samples, frame.to_csv(index=False), task="regression")
    assert min(table["loss"].min() for _, _, table in parts) < -0.6
    np.testing.assert_allclose(parts[0][2]["loss"], [loss(i, 1) - 1 for i in TRAIN], atol=1e-6)
    for task in ("classes", "text", "multi-label"):
        with pytest.raises(LossprintError, match="losses of zero or more"):
            read_csv(tmp_path, samples, frame.to_csv(index=False), task=task)


@pytest.mark.parametrize("column", ["margin", "predicted"])
def test_without_classes_there_are_losses_alone(tmp_path, samples, column):
    text = rows(**{column: 1}).to_csv(index=False)
    read_csv(tmp_path, samples, text)
    with pytest.raises(LossprintError, match=r"expected losses alone, .*\(regression\).* found") as error:
        read_csv(tmp_path, samples, text, task="regression")
    assert str(error.value).endswith({"margin": "margins", "predicted": "predictions"}[column])


def test_other_tasks_are_imported_and_scored(tmp_path):
    """Quantities as labels, sets of labels, texts without any: through the command, whole runs."""
    from PIL import Image

    random = np.random.default_rng(0)
    for at in range(12):
        Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(tmp_path / f"{at}.png")
    split = ["train"] * 8 + ["val"] * 4
    paths = [f"{at}.png" for at in range(12)]
    targets = [f"{value:.2f}" for value in random.normal(size=12)]
    sets = ["cat|dog", "cat", "dog", "cat|dog|owl"] * 3
    pd.DataFrame({"path": paths, "label": targets, "split": split}).to_csv(tmp_path / "regression.csv", index=False)
    pd.DataFrame({"path": paths, "label": sets, "split": split}).to_csv(tmp_path / "multi-label.csv", index=False)
    texts = pd.DataFrame({"id": [f"t{at}" for at in range(12)], "prompt": "say", "response": "word", "split": split})
    texts["response"] = [" ".join(random.permutation(list("abcdefghij"))) for _ in range(12)]
    texts.to_csv(tmp_path / "text.csv", index=False)
    for task in ("regression", "multi-label", "text"):
        names = texts["id"] if task == "text" else paths
        losses = [(name, t, random.gamma(2, 1 / t) - (task == "regression")) for t in range(1, 5) for name in names]
        pd.DataFrame(losses, columns=["path", "checkpoint", "loss"]).to_csv(tmp_path / f"{task}-l.csv", index=False)
        words = ["import", tmp_path / f"{task}-l.csv", "--dataset", tmp_path / f"{task}.csv", "--task", task, "--quiet"]
        assert cli.main([*map(str, words), "--out", str(tmp_path / f"{task}-run")]) == 0
        run = open_run(tmp_path / f"{task}-run")
        assert run.task == task and run.stages == ["record", "score", "find"]
        scores = run.scores()
        assert len(scores) == 8 and scores[["cld", "csl", "label_error"]].notna().all().all()
        np.testing.assert_allclose(
            scores["csl"],
            [np.mean([one for name, _, one in losses if name == path]) for path in scores["path"]],
            rtol=1e-5,
        )
