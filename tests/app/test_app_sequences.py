"""What the Sequences page draws and says, on a small run of made-up videos, against plain loops."""

import itertools

import numpy as np
import pandas as pd
import pytest
from videos import make_video_run

from lossprint.app import data
from lossprint.app.shared import spans as view
from lossprint.audit.review.resolve import resolve
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.video import spans


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    run, _ = make_video_run(tmp_path_factory.mktemp("bands"))
    return data.load(run.path)


def named(loaded, how: str):
    """A finding of a kind, and the frames of its video."""
    videos = data.videos(loaded)
    span = videos.spans[videos.spans["how"] == how].iloc[0]
    return span, videos.frames.iloc[videos.rows[span["sequence"]]]


def stored(loaded, span, frames, *choices: tuple[str, dict]) -> pd.DataFrame:
    """The history after some decisions on a finding, which are taken back at once."""
    reviews = open_reviews(loaded.run)
    made = []
    for choice, ends in choices:
        history = reviews.history()
        rows = spans.decide(frames, span, choice, **ends)
        left = spans.left_over(history, span, rows, frames)
        rows = pd.concat([left.astype(object), rows.astype(object)]) if len(left) else rows
        asked = [
            {name: None if pd.isna(value) else value for name, value in row.items()}
            | {"finding": span["span"], "reviewer": "ann"}
            for row in rows.to_dict("records")
        ]
        made += [row.id for row in reviews.add_all(asked)]
    history = reviews.history()
    reviews.undo_ids("ann", made)
    return history


def test_runs_and_bins_are_those_of_plain_loops():
    values = np.array([2, 2, 0, 0, 0, 2])
    assert view.runs(values) == [(0, 2), (2, 0), (5, 2)]
    assert view.runs(values[:0]) == []
    share = np.random.default_rng(0).random(1003)
    found = view.binned(share, 100)
    edges = np.linspace(0, 1003, 101).astype(int)
    assert found == [round(100 * max(share[a:b])) for a, b in itertools.pairwise(edges)]
    assert view.binned(np.array([0.1, np.nan])) == [10, 0]


def test_places_and_numbers_are_each_others_inverse_where_numbers_have_gaps():
    frames = pd.DataFrame({"frame": [0, 25, 50, 75, 100]})
    assert view.positions(frames, 25, 75, 50) == (1, 4, 2)
    assert view.numbers(frames, 1, 4, 2) == {"start": 25, "middle": 50, "end": 75}
    assert view.numbers(frames, -3, 99, None) == {"start": 0, "middle": None, "end": 100}


@pytest.mark.parametrize("how", ["relabel", "swap", "move"])
def test_a_finding_accepted_with_other_ends_is_drawn_with_them(loaded, how):
    span, frames = named(loaded, how)
    number = frames["frame"].to_numpy()
    one = next(pd.DataFrame([span]).itertuples())
    own = view.own_ends(one)
    at = number.tolist().index(own["end"])
    ends = own | {"start": own["start"] + 1, "end": int(number[at - 1])}
    said = spans.said(
        stored(loaded, span, frames, ("accept", ends)), data.videos(loaded).spans, loaded.samples["frame"]
    )
    assert said.at[span["span"], "choice"] == "accept" and said.at[span["span"], "reviewer"] == "ann"
    assert view.decided_ends(one, said) == ends
    row = view.row(loaded, span["sequence"], said)
    block = next(block for block in row.blocks if block.id == span["span"])
    assert block.state == "accept"
    assert (block.start, block.stop, block.middle) == view.positions(frames, **ends)
    none = spans.said(open_reviews(loaded.run).history(), data.videos(loaded).spans, loaded.samples["frame"])
    assert none.empty and view.decided_ends(one, none) == own
    kept = stored(loaded, span, frames, ("accept", ends), ("unsure", {}))
    said = spans.said(kept, data.videos(loaded).spans, loaded.samples["frame"])
    assert said.at[span["span"], "choice"] == "unsure" and view.decided_ends(one, said) == own


@pytest.mark.parametrize("how", ["relabel", "move"])
def test_who_keeps_what_was_accepted_with_wider_ends_keeps_all_of_it(loaded, how):
    span, frames = named(loaded, how)
    wider = {"start": int(span["start"]) - 2}
    if how == "relabel":
        before = frames.loc[frames["frame"] < span["start"], "label"].iloc[-1]
        wider["label"] = next(name for name in loaded.classes if name not in (span["label"], before))
    history = stored(loaded, span, frames, ("accept", wider), ("keep", {}))
    now = resolve(history, places=how == "move")
    assert len(now) == span["frames"] + 2 and set(now["decision"]) == {"keep"}
    if how == "move":
        assert (now["new_frame"].to_numpy(int) == frames.set_index("sample").loc[now["sample"], "frame"]).all()


def test_steps_that_no_other_video_makes_are_those_of_a_plain_loop(loaded):
    videos = data.videos(loaded)
    made = {
        name: set(view.steps_of(videos.frames["label"].iloc[where].to_numpy(str)))
        for name, where in videos.rows.items()
    }
    for how in ("relabel", "swap", "move"):
        span, frames = named(loaded, how)
        one = next(pd.DataFrame([span]).itertuples())
        edges = view.own_ends(one)
        start, stop, _ = view.positions(frames, **edges)
        others = set().union(*(steps for name, steps in made.items() if name != span["sequence"]))
        for labels in (frames["label"].to_numpy(str), view.mended(frames, one, edges)["label"].to_numpy(str)):
            around = labels[max(start - 1, 0) : stop + 1]
            steps = [(a, b) for a, b in itertools.pairwise(around) if a != b and (a, b) not in others]
            assert view.unseen(loaded, frames, labels, start, stop) == list(dict.fromkeys(steps))
    span, frames = named(loaded, "swap")
    one = next(pd.DataFrame([span]).itertuples())
    told = view.evidence(loaded, frames, one, view.own_ends(one))
    assert "None of the 7 other videos goes from" in told and "probability of" in told


def test_a_row_is_short_and_says_what_would_be(loaded):
    span, frames = named(loaded, "relabel")
    one = next(pd.DataFrame([span]).itertuples())
    said = spans.said(open_reviews(loaded.run).history(), data.videos(loaded).spans, loaded.samples["frame"])
    other = next(name for name in loaded.classes if name not in (span["label"], span["suggested_label"]))
    row = view.row(loaded, span["sequence"], said, span["span"], view.own_ends(one), other)
    start, stop, _ = view.positions(frames, **view.own_ends(one))
    inside = [value for first, value in row.after if start <= first < stop]
    assert inside == [loaded.classes.index(other)]
    assert len(row.score) == len(row.doubt) == row.count == len(frames)  # fewer than bins: a value a frame
    assert row.doubt[3] == round(100 * (1 - float(frames["p_given"].iloc[3])))
    assert f"You chose {other}." in view.claim(one, view.own_ends(one), other)
    shown = view.picture(loaded, span["sequence"], 3)
    assert shown["src"].startswith("data:image") and shown["doubt"] == row.doubt[3]
    assert view.picture(loaded, span["sequence"], len(frames)) is None
