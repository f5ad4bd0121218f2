"""What accepting a span of frames says of each frame, on a sequence small enough to write down."""

import pandas as pd
import pytest

from lossprint.audit.types import LossprintError
from lossprint.audit.video import spans

FRAMES = pd.DataFrame(
    {
        "sample": [10, 11, 12, 13, 14, 15, 16],
        "sequence": "v",
        "frame": [0, 2, 4, 6, 8, 10, 12],  # every second frame was kept
        "label": ["a", "a", "b", "b", "b", "c", "c"],
    }
)


def span(how, start, end, middle=None, label=None):
    columns = {"sequence": "v", "how": how, "start": start, "middle": middle, "end": end, "suggested_label": label}
    return pd.Series(columns)


def told(table):
    return {row.sample: (row.decision, row.new_label, row.new_frame) for row in table.itertuples()}


def test_a_relabelled_stretch_names_only_frames_that_change():
    found = told(spans.mend(FRAMES, "relabel", 2, 7, label="b"))
    assert found == {11: ("relabel", "b", None)}


def test_exchanged_labels_go_to_the_other_block():
    found = told(spans.mend(FRAMES, "swap", 4, 12, middle=10))
    assert {sample: row[1] for sample, row in found.items()} == {12: "c", 13: "c", 14: "c", 15: "b", 16: "b"}


def test_moved_blocks_deal_the_same_numbers_anew_and_keep_the_order_within():
    found = spans.mend(FRAMES, "move", 4, 12, middle=10)
    assert dict(zip(found["sample"], found["new_frame"])) == {12: 8, 13: 10, 14: 12, 15: 4, 16: 6}
    assert set(found["decision"]) == {"reorder"}
    put = FRAMES.merge(found, on="sample", how="left")
    put["frame"] = put["new_frame"].fillna(put["frame"])
    assert put.sort_values("frame")["sample"].tolist() == [10, 11, 15, 16, 12, 13, 14]


def test_other_ends_leave_the_rest_kept_and_a_rejected_span_is_kept_whole():
    one = span("relabel", 4, 12, label="a")
    found = told(spans.decide(FRAMES, one, "accept", end=8))
    assert {s: row[0] for s, row in found.items()} == {
        12: "relabel",
        13: "relabel",
        14: "relabel",
        15: "keep",
        16: "keep",
    }
    assert {row[0] for row in told(spans.decide(FRAMES, one, "keep")).values()} == {"keep"}
    assert told(spans.decide(FRAMES, one, "accept", start=0, end=4, label="c"))[10] == ("relabel", "c", None)


@pytest.mark.parametrize(("start", "end", "middle"), [(13, 20, 15), (4, 12, 4), (4, 12, 14), (4, 12, None)])
def test_ends_without_frames_are_said(start, end, middle):
    with pytest.raises(LossprintError, match="expected frames"):
        spans.mend(FRAMES, "move", start, end, middle=middle)
