"""What the Sequences page says of its evidence comes from run.json, and is silent where that says nothing."""

from types import SimpleNamespace

import pandas as pd

from lossprint.app.views.sequences import trust


def loaded(video: dict | None):
    score = {} if video is None else {"video": video}
    return SimpleNamespace(run=SimpleNamespace(manifest={"facts": {"score": score}}))


def test_the_errors_of_the_trial_are_counted_by_kind_and_kinds_without_any_are_left_out():
    text = trust.chances(loaded({"trial": {"window": [3, 5], "phase": [0, 0], "exchange": [2, 2]}}))
    assert "3 of 5 windows" in text and "2 of 2 exchanged phases" in text and "whole phases" not in text


def test_a_run_without_a_trial_says_nothing():
    assert trust.chances(loaded(None)) == ""
    assert trust.chances(loaded({"trial": {"window": [0, 0]}})) == ""


def test_who_leads_follows_the_share_of_the_judges_that_never_saw_a_video(monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(trust.st, "caption", told.append)
    facts = {"worth": {"all": [0.951, None, 0.7]}, "trial": {"window": [1, 2]}}
    for share in (0.05, 0.5, 0.95):
        trust.worth(loaded(facts | {"held_out_share": share}))
    trust.worth(loaded(None))
    assert len(told) == 3
    assert "step back" in told[0] and "50%" in told[1] and "lead here" in told[2]
    assert all("0.95 for windows, 0.70 for exchanged phases" in one for one in told)


def test_videos_without_a_finding_are_said_to_be_as_near_to_one_as_their_worst_frame(monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(trust.st, "caption", told.append)
    frames = pd.DataFrame({"sequence_label": [0.9, 0.1, 0.2, 0.3], "sequence_order": [0.0, 0.45, 0.0, 0.1]})
    rows = {"a": slice(0, 1), "b": slice(1, 3), "c": slice(3, 4)}
    videos = SimpleNamespace(frames=frames, rows=rows, spans=pd.DataFrame({"sequence": ["a"]}))
    trust.quiet(loaded({"trial": {"window": [1, 2]}}), videos, ["a", "b", "c"])
    trust.quiet(loaded(None), videos, ["a"])
    assert len(told) == 1 and "b 0.45, c 0.30" in told[0] and "on purpose" in told[0]
