"""Segments of videos as a file: what is read, what is refused, and the way back from decided frames."""

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lossprint.audit.datasets.kinds import kind_of
from lossprint.audit.runs.run import Run
from lossprint.audit.system.csvfile import write_csv
from lossprint.audit.types import LossprintError
from lossprint.audit.video.segments import corrected_segments, ranges, read_segments


def written(folder: Path, text: str) -> Path:
    (folder / "segments.csv").write_text(text)
    return folder / "segments.csv"


def message(path: Path) -> str:
    with pytest.raises(LossprintError) as caught:
        read_segments(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------- reading


def test_times_in_seconds_and_by_the_clock(tmp_path):
    found = read_segments(
        written(tmp_path, "sequence,start,end,label\na,0,12.5,cut\na,12.5,01:00,sew\na,1:00,1:01:02.25,cut\n")
    )
    assert found.table["start"].tolist() == [0, Fraction("12.5"), 60]
    assert found.table["end"].tolist() == [Fraction("12.5"), 60, Fraction("3662.25")]
    assert (found.unit, found.inclusive, set(found.table["split"])) == ("seconds", False, {"train"})


@pytest.mark.parametrize(
    ("rows", "inclusive", "ends"),
    [
        ("a,0,9,x\na,10,19,y\n", True, [10, 20]),
        ("a,0,10,x\na,10,20,y\n", False, [10, 20]),
        ("a,0,9,x\nb,0,19,y\n", True, [10, 20]),  # no neighbours: the last frame
        ("a,0,9,x\na,10,10,y\na,11,12,x\n", True, [10, 11, 13]),  # one frame
    ],
)
def test_whether_end_frames_are_part_of_their_segments(tmp_path, rows, inclusive, ends):
    found = read_segments(written(tmp_path, f"sequence,start_frame,end_frame,label\n{rows}"))
    assert (found.unit, found.inclusive) == ("frames", inclusive)
    assert found.table["end"].tolist() == ends


def test_which_samples_lie_in_a_segment(tmp_path):
    found = read_segments(written(tmp_path, "sequence,start,end,label\na,0.4,1.2,x\na,1.2,1.3,y\na,2,3,x\n"))
    mine = ranges(found, "a", Fraction(5))  # 0.2 s apart: 0.4 to 1.0, 1.2, 2.0 to 2.8
    assert (mine.first, mine.stop, mine.rows) == ([2, 6, 10], [6, 7, 15], [0, 1, 2])
    assert [mine.row(number) for number in (1, 2, 5, 6, 7, 10, 14, 15)] == [None, 0, 0, 1, None, 2, 2, None]
    assert ranges(found, "a", Fraction(1)).rows == [0, 2]  # the second is too short for one sample a second


def test_what_is_taken_for_segments(tmp_path):
    for text, expected in (
        ("sequence,start,end,label\n", True),
        ('\ufeff"sequence", "start_frame",end_frame,label,split\n', True),
        ("path,label,sequence,frame\n", False),
        ("path,sequence,start,end,label\n", False),
        ("", False),
    ):
        assert (kind_of(written(tmp_path, text)).name == "segments") is expected
    assert all(kind_of(name).name != "segments" for name in (tmp_path, tmp_path / "none.csv", "torchvision:X:."))


GOOD = "a,0,5,x\na,5,9,y\n"
BAD = {
    "no label": ("sequence,start,end\na,0,5\n", "column 'label'"),
    "no end": ("sequence,start,label\na,0,x\n", "column 'end'"),
    "both units": ("sequence,start,start_frame,end_frame,label\na,0,0,5,x\n", "start_frame"),
    "a column twice": ("sequence,start,end,label,label\na,0,5,x,x\n", "2 of them"),
    "no rows": ("sequence,start,end,label\n", "no rows"),
    "no time": (f"sequence,start,end,label\n{GOOD}a,now,12,x\n", "'now' in line 4"),
    "a negative time": (f"sequence,start,end,label\n{GOOD}b,-1,12,x\n", "'-1' in line 4"),
    "61 seconds": (f"sequence,start,end,label\n{GOOD}b,0:61,12,x\n", "'0:61' in line 4"),
    "half a frame": ("sequence,start_frame,end_frame,label\na,0,5.5,x\n", "'5.5' in line 2"),
    "no end after start": (f"sequence,start,end,label\n{GOOD}a,12,12,x\n", "12 to 12 in line 4"),
    "backwards": (f"sequence,start,end,label\n{GOOD}a,12,11.5,x\n", "12 to 11.5 in line 4"),
    "overlap": (
        f"sequence,start,end,label\na,8,10,x\n{GOOD}",
        "starts at 8 (line 2) before another ends, at 9 (line 4",
    ),
    "overlap by a frame": (
        "sequence,start_frame,end_frame,label\na,0,5,x\na,6,9,y\na,9,12,x\n",
        "starts at 9 (line 4) before another ends, at 9 (line 3",
    ),
    "two splits": (
        "sequence,start,end,label,split\na,0,5,x,train\na,5,9,y,val\n",
        "train (line 2) and in val (line 3)",
    ),
    "no split": ("sequence,start,end,label,split\na,0,5,x,train\na,5,9,y,pilot\n", "'pilot' in line 3"),
    "a path": (f"sequence,start,end,label\n{GOOD}../a,0,1,x\n", "'../a' in line 4"),
    "a Windows path": (f"sequence,start,end,label\n{GOOD}c\\a,0,1,x\n", "in line 4"),
    "a parent": (f"sequence,start,end,label\n{GOOD}..,0,1,x\n", "'..' in line 4"),
    "an empty sequence": (f"sequence,start,end,label\n{GOOD},0,1,x\n", "line 4"),
    "an empty label": (f"sequence,start,end,label\n{GOOD}b,0,1, \n", "line 4"),
    "one label": ("sequence,start,end,label\na,0,5,x\na,5,9,x\n", "'x'"),
    "a cell too many": (f"sequence,start,end,label\n{GOOD}b,0,1,x,y\n", "line 4"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_segments_are_one_line_with_their_place(tmp_path, name):
    text, part = BAD[name]
    path = written(tmp_path, text)
    found = message(path)
    assert part in found and str(path) in found


# -------------------------------------------------------------------------------------------------- the way back


def decoded(folder: Path, text: str, rate: str, samples: int, every: int = 1) -> tuple[Run, pd.DataFrame]:
    """A run as if its videos were sampled `samples` times, each `every` of its own frames, and all decisions kept."""
    root = folder / "frames"
    root.mkdir(exist_ok=True)
    segments = read_segments(written(root, text))
    (root / "segments.json").write_text(json.dumps({"lossprint": "1", "rate": float(rate), "videos": {}, "notes": []}))
    rows = []
    for name in segments.sequences:
        (root / "images" / name).mkdir(parents=True, exist_ok=True)
        video = {"frames": list(range(samples)), "source": [number * every for number in range(samples)]}
        (root / "images" / name / "video.json").write_text(json.dumps(video))
        mine = ranges(segments, name, Fraction(rate))
        for number in range(samples):
            row = mine.row(number if segments.unit == "seconds" else number * every)
            if row is not None:
                rows.append((name, number, segments.table["label"][row]))
    table = pd.DataFrame(rows, columns=["sequence", "frame", "label"]).assign(change="")
    return Run(folder, {"dataset": {"root": str(root), "classes": []}, "stages": []}), table


def relabelled(table: pd.DataFrame, sequence: str, first: int, last: int, label: str) -> pd.DataFrame:
    rows = (table["sequence"] == sequence) & table["frame"].between(first, last)
    table = table.copy()
    table.loc[rows & (table["label"] != label), "change"] = "relabelled"
    table.loc[rows, "label"] = label
    return table


def rows_of(frame: pd.DataFrame) -> list[str]:
    return [",".join(row) for row in frame.itertuples(index=False)]


PHASES = """sequence,start,end,label,by
a,00:00:00,0:00:10.40,cut,ann
a,0:00:10.40,0:00:20.5,sew,bob
b,0:00:03,0:00:09,cut,ann
a,0:00:20.5,0:00:30,cut,"Dr, Who"
"""


def test_undecided_segments_stand_as_they_were(tmp_path):
    run, table = decoded(tmp_path, PHASES, "1", 31)
    found = corrected_segments(run, table)
    write_csv(found, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == PHASES


def test_a_boundary_moves(tmp_path):
    run, table = decoded(tmp_path, PHASES, "1", 31)
    found = rows_of(corrected_segments(run, relabelled(table, "a", 8, 10, "sew")))
    assert found == [
        "a,00:00:00,00:00:08,cut,ann",
        "a,00:00:08,0:00:20.5,sew,bob",
        "b,0:00:03,0:00:09,cut,ann",
        "a,0:00:20.5,0:00:30,cut,Dr, Who",
    ]


def test_a_window_within_a_segment(tmp_path):
    run, table = decoded(tmp_path, PHASES, "3", 91)
    found = rows_of(corrected_segments(run, relabelled(table, "a", 64, 70, "sew")))
    # Samples 64 to 70 are those from 21 1/3 s to 23 1/3 s, and the next one is at 23 2/3 s.
    assert found[3:] == [
        "a,0:00:20.5,0:00:21.333,cut,Dr, Who",
        "a,0:00:21.333,0:00:23.666,sew,Dr, Who",
        "a,0:00:23.666,0:00:30,cut,Dr, Who",
    ]


def test_a_whole_segment_becomes_part_of_its_neighbours(tmp_path):
    run, table = decoded(tmp_path, PHASES, "1", 31)
    found = rows_of(corrected_segments(run, relabelled(table, "a", 11, 20, "cut")))
    assert found == ["a,00:00:00,0:00:30,cut,ann", "b,0:00:03,0:00:09,cut,ann"]


def test_neighbours_of_one_label_stay_two_where_nobody_decided(tmp_path):
    text = "sequence,start,end,label\na,0,5,cut\na,5,10,cut\na,10,15,sew\n"
    run, table = decoded(tmp_path, text, "1", 15)
    found = rows_of(corrected_segments(run, relabelled(table, "a", 8, 9, "sew")))
    assert found == ["a,0,5,cut", "a,5,8,cut", "a,8,15,sew"]


def test_excluded_frames_are_in_no_segment(tmp_path):
    run, table = decoded(tmp_path, PHASES, "1", 31)
    gone = (table["sequence"] == "a") & table["frame"].isin((4, 5, 29))
    found = rows_of(corrected_segments(run, table.assign(change=np.where(gone, "excluded", ""))))
    assert found[:2] == ["a,00:00:00,00:00:04,cut,ann", "a,00:00:06,0:00:10.40,cut,ann"]
    assert found[-1] == "a,0:00:20.5,0:00:29.0,cut,Dr, Who"


@pytest.mark.parametrize(("step", "end"), [(1, "74"), (0, "75")])
def test_in_frames_the_ends_are_as_the_file_has_them(tmp_path, step, end):
    text = f"label,end_frame,start_frame,sequence\ncut,{100 - step},0,a\nsew,{200 - step},100,a\n"
    run, table = decoded(tmp_path, text, "1", 9, every=25)
    found = corrected_segments(run, relabelled(table, "a", 3, 3, "sew"))
    assert rows_of(found) == [f"cut,{end},0,a", f"sew,{200 - step},75,a"]


def test_reordered_frames_stay_where_the_video_has_them(tmp_path):
    run, table = decoded(tmp_path, PHASES, "1", 31)
    moved = table.assign(given_frame=table["frame"], frame=table["frame"] + 100, change="reordered")
    assert rows_of(corrected_segments(run, moved)) == rows_of(corrected_segments(run, table))


@pytest.mark.parametrize("unit", ["seconds", "frames"])
def test_whatever_is_decided_comes_back(tmp_path, unit):
    """Read again and sampled again, the corrected file gives each frame the label that was decided for it."""
    rng = np.random.default_rng(7)
    for turn in range(12):
        folder = tmp_path / str(turn)
        folder.mkdir()
        rate, every = ("7", 1) if unit == "seconds" else ("1", 3)
        bounds = np.unique(rng.integers(0, 90, 8))
        names = "start,end" if unit == "seconds" else "start_frame,end_frame"
        pairs = [(s, e) for s, e in pairwise(bounds) if rng.random() < 0.8]
        rows = [f"a,{s / 10 if unit == 'seconds' else s},{e / 10 if unit == 'seconds' else e}" for s, e in pairs]
        more = [f"b,{s},{s + 1}" for s in range(20)]  # leave no doubt about the ends
        labels = [*rng.choice(list("xyz"), len(rows)), *("xy" * 10)]
        text = f"sequence,{names},label\n" + "".join(f"{row},{label}\n" for row, label in zip([*rows, *more], labels))
        run, table = decoded(folder, text, rate, 30 if unit == "frames" else 140, every)
        for _ in range(rng.integers(0, 4)):
            first = int(rng.integers(0, 60))
            table = relabelled(table, "a", first, first + int(rng.integers(0, 20)), str(rng.choice(list("xyz"))))
        gone = rng.random(len(table)) < (0.1 if turn % 2 else 0)
        table["change"] = np.where(gone, "excluded", table["change"])
        write_csv(corrected_segments(run, table), folder / "corrected.csv")
        _, again = decoded(folder, (folder / "corrected.csv").read_text(), rate, 30 if unit == "frames" else 140, every)
        wanted = table[~gone].drop(columns="change").reset_index(drop=True)
        pd.testing.assert_frame_equal(again.drop(columns="change"), wanted, check_dtype=False)


def test_only_a_run_of_segments_has_a_way_back(tmp_path):
    run = Run(tmp_path, {"dataset": {"root": str(tmp_path), "classes": []}, "stages": []})
    with pytest.raises(LossprintError, match="expected a run of segments"):
        corrected_segments(run, pd.DataFrame())
