"""CSV that a spreadsheet does not run, and that gives every text back."""

import os

import numpy as np
import pandas as pd
import pytest

from lossprint.audit.system.csvfile import BOM, as_meant, csv_text, guard, unguard, write_csv
from lossprint.audit.types import LossprintError


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@sum", "\tx", "\rx", "\n=1", " =1", "\u00a0-1", "'=1", "''+1", "' @x", "＝1", "\0=1"]
)
def test_what_a_spreadsheet_would_run_gets_an_apostrophe_that_comes_off_again(text):
    assert guard(text).startswith("'") and unguard(guard(text)) == text


@pytest.mark.parametrize(
    "text", ["", "'", "''", "'abc", "a=1", "1-2", "coat", "(=1)", "é", '"=1"', "'a=1", "a;b", "1;2"]
)
def test_other_text_is_left_alone(text):
    assert guard(text) == text == unguard(text)


def test_guarding_gives_every_text_back():
    rng = np.random.default_rng(0)
    for _ in range(20000):
        text = "".join(rng.choice(list("'=+-@\t\r\n a0＋;\""), rng.integers(0, 6)))
        assert unguard(guard(text)) == text
        assert guard(text)[:1] not in tuple("=+-@\t\r\n＝＋－＠") or not guard(text)


def test_csv_is_quoted_as_rfc_4180_says_and_numbers_stay_numbers():
    frame = pd.DataFrame(
        {
            "label": pd.array(['say "hi"', "a,b", "x\r", "x\ny", None], dtype="string"),
            "score": [-0.5, 1e-12, float("nan"), 3.0, 0.1],
            "single": np.array([-0.1, 0.1, 1, 2, 3], np.float32),
            "count": pd.array([-1, None, 2, 3, 4], dtype="Int64"),
            "-any": ["-1", -1, None, "é", "plain"],
        }
    )
    text = csv_text(frame, for_excel=True)
    assert text == BOM + (
        "label,score,single,count,'-any\n"
        '"say ""hi""",-0.5,-0.1,-1,\'-1\n'
        '"a,b",1e-12,0.1,,-1\n'
        '"x\r",,1.0,2,\n'
        '"x\ny",3.0,2.0,3,é\n'
        ",0.1,3.0,4,plain\n"
    )
    plain = csv_text(frame)
    assert plain == text.removeprefix(BOM).replace("'-any", "-any").replace("'-1", "-1")
    assert csv_text(frame.iloc[:0]) == "label,score,single,count,-any\n"


@pytest.mark.parametrize(
    ("text", "cell"), [("a;=cmd", "a;'=cmd"), ('a;"=1"', 'a;\'"=1"'), ("x\n@y", "x\n'@y"), ("a; +1", "a;' +1")]
)
def test_what_another_spreadsheet_would_split_off_is_no_formula_either(text, cell):
    assert guard(text) == cell and unguard(cell) == text


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("cells", [["'-1", "-1"], ["'=x", "'=x", "=y"]])
def test_apostrophes_of_ones_own_stay(cells, marked):
    assert as_meant(cells, marked) == cells


def test_a_file_for_a_spreadsheet_is_read_as_it_was_before():
    cells = ["-1", "'-1", "cat", "=cmd", "@home", "NA"]
    assert as_meant([guard(cell) for cell in cells], True) == cells
    assert as_meant([guard(cell) for cell in cells], False) == [guard(cell) for cell in cells]


def test_a_csv_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path):
    frame = pd.DataFrame({"a": ["x"]})
    (tmp_path / "file").write_text("here")
    (tmp_path / "folder").mkdir()
    for out in (tmp_path / "file" / "x.csv", tmp_path / "folder", tmp_path / ("n" * 300 + ".csv")):
        with pytest.raises(LossprintError, match="expected a file that can be written at") as error:
            write_csv(frame, out)
        assert "\n" not in str(error.value)
    with pytest.raises(LossprintError, match="expected text that UTF-8 can hold"):
        write_csv(pd.DataFrame({"a": ["x\udc80"]}, dtype=object), tmp_path / "x.csv")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
