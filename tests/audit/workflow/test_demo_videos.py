"""The made-up videos: what is said to be planted is what the manifest shows."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lossprint.audit.datasets.dataset import open_dataset
from lossprint.audit.types import LossprintError
from lossprint.audit.workflow import demo_videos


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return demo_videos.make_videos(tmp_path_factory.mktemp("videos") / "set", sequences=10, length=100, damaged=1.0)


def test_an_audit_can_open_them_and_no_video_is_in_two_splits(videos):
    samples = open_dataset(str(videos.manifest)).samples
    assert len(samples) == len(videos.frames)
    assert samples["frame"].tolist() == videos.frames["frame"].tolist()
    assert samples.groupby("sequence")["split"].nunique().eq(1).all()
    assert "true_label" not in pd.read_csv(videos.manifest)


def test_the_spans_are_the_frames_that_are_wrong(videos):
    assert sorted(videos.spans["error"].unique()) == sorted(demo_videos.ERRORS)
    for span in videos.spans.itertuples():
        frames = videos.frames[videos.frames["sequence"] == span.sequence]
        inside = frames["frame"].between(span.start, span.end)
        assert (inside == (frames["error"] == span.error)).all()
        relabelled, moved = frames["label"] != frames["true_label"], frames["true_frame"] != frames["frame"]
        if span.error == "moved":
            assert (moved == inside).all()
            assert not relabelled.any()
            assert sorted(frames["true_frame"]) == frames["frame"].tolist()
        else:
            assert (relabelled == inside).all()
            assert not moved.any()


def test_a_swap_exchanges_two_labels_whose_frames_look_alike(videos):
    frames = videos.frames[videos.frames["error"] == "swap"]
    pairs = set(zip(frames["label"], frames["true_label"]))
    assert pairs == {("clip", "cut"), ("cut", "clip")}


def test_clip_and_cut_have_the_same_pictures_but_for_their_order():
    sprites = {what: [np.ones((demo_videos.SPRITE,) * 2)] for what, _ in demo_videos.PHASES.values()}
    films = [demo_videos.film(np.random.default_rng(seed), sprites, 300) for seed in range(12)]
    means = {
        phase: np.concatenate([f.pictures[f.labels == phase].mean((1, 2, 3)) for f in films])
        for phase in ("clip", "cut", "dissect")
    }
    assert abs(means["clip"].mean() - means["cut"].mean()) < means["clip"].std() / 2


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    first, again = (demo_videos.make_videos(tmp_path / name, sequences=2, length=60, seed=3) for name in "ab")
    assert first.manifest.read_bytes() == again.manifest.read_bytes()
    pd.testing.assert_frame_equal(first.frames, again.frames)
    path = first.frames["path"][7]
    assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
    assert Image.open(tmp_path / "a" / path).size == (demo_videos.SIDE, demo_videos.SIDE)


def test_nothing_that_lies_there_is_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(LossprintError, match="new or empty folder"):
        demo_videos.make_videos(tmp_path, sequences=1)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
