"""A frozen backbone judges videos too: no network is trained but heads and a model over time."""

import json

import numpy as np
import pytest
from PIL import Image

from lossprint.audit.findings.find import find_run
from lossprint.audit.findings.score import score_run
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError
from lossprint.audit.video import features, timeline
from lossprint.audit.workflow.audit import audit
from lossprint.audit.workflow.newvideos import score_new
from lossprint.scoring.sequences import bounds_of

VIDEOS, PHASES, LONG = 5, 4, 16
WRONG = slice(1 * 64 + 20, 1 * 64 + 32)  # frames of the second video with a wrong label, a window of its second phase


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A manifest of VIDEOS videos, features of its frames that tell the phase but are of the video above all."""
    folder = tmp_path_factory.mktemp("unlike")
    random = np.random.default_rng(0)
    true = np.tile(np.repeat(np.arange(PHASES), LONG), VIDEOS)
    video = np.repeat(np.arange(VIDEOS), PHASES * LONG)
    given = true.copy()
    given[WRONG] = 3
    signal = random.normal(size=(PHASES, 24))[true] + 4 * random.normal(size=(VIDEOS, 24))[video]
    vectors = (signal + 0.7 * random.normal(size=signal.shape)).astype(np.float32)
    rows = ["path,label,split,sequence,frame"]
    for at in range(len(true)):
        Image.fromarray(random.integers(0, 255, (12, 12, 3), np.uint8)).save(folder / f"{at:03d}.png")
        split = "val" if video[at] == VIDEOS - 1 else "train"
        rows.append(f"{at:03d}.png,phase{given[at]},{split},v{video[at]},{at % (PHASES * LONG)}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    np.save(folder / "features.npy", vectors)
    run = audit(str(folder / "labels.csv"), folder / "run", features=folder / "features.npy", quiet=True)
    return folder, run


def test_frames_and_scores_have_both_severities_and_the_wrong_window_stands_out(made):
    _, run = made
    frames, scores = run.frames(), run.scores()
    assert len(frames) == VIDEOS * PHASES * LONG
    severity = frames["sequence_label"].to_numpy()
    assert severity[WRONG].mean() > np.delete(severity, np.r_[WRONG]).max()
    assert scores[["sequence_label", "sequence_order"]].notna().all(axis=None)
    spans = run.spans()
    top = spans.iloc[0]
    assert (top["sequence"], top["how"], top["suggested_label"]) == ("v1", "relabel", "phase1")
    assert abs(top["start"] - 20) <= 2 and abs(top["end"] - 31) <= 2
    assert set(run.findings()["kind"]) >= {"sequence_label"}


def test_scoring_again_gives_the_same_tables_and_says_what_the_evidence_is_worth(made):
    _, run = made
    before = run.frames()
    again = find_run(score_run(open_run(run.path)))
    assert again.frames().equals(before)
    facts = json.loads((run.path / "run.json").read_text())["facts"]["score"]["video"]
    assert set(facts["worth"]) == {"held_out", "within", "all"}
    assert 0 <= facts["held_out_share"] <= 1
    assert all(hit <= of for hit, of in facts["trial"].values())


def test_new_videos_need_networks_of_the_runs_own(made, tmp_path):
    folder, run = made
    with pytest.raises(LossprintError, match="frozen"):
        score_new(run.path, str(folder / "labels.csv"), tmp_path / "new", quiet=True)
    assert not (tmp_path / "new").exists()


def test_heads_of_folds_never_see_the_labels_of_a_video_that_they_judge():
    random = np.random.default_rng(1)
    labels = np.tile(np.repeat([0, 1], 10), 4)
    flat = random.normal(size=(80, 6)).astype(np.float32)
    where = timeline.Rows(np.arange(80), np.arange(5) * 20, np.array([0, 1, 2, -1]))
    looks = features.held_out(flat, features.heads(flat, labels, where, 2), where)
    changed = labels.copy()
    changed[20:40], changed[60:] = 1 - labels[20:40], 1 - labels[60:]
    other = features.held_out(flat, features.heads(flat, changed, where, 2), where)
    np.testing.assert_array_equal(looks[:, 20:40], other[:, 20:40])
    assert not np.array_equal(looks[:, :20], other[:, :20])
    np.testing.assert_array_equal(looks[0, :60], looks[2, :60])
    np.testing.assert_array_equal(looks[1, 60:], other[1, 60:])  # of the head without the second video


def test_features_are_freed_of_a_videos_own_mean_and_of_constants():
    random = np.random.default_rng(2)
    vectors = np.concatenate([random.normal(size=(40, 5)), np.full((40, 1), 3.0)], 1)
    style = np.repeat([0.0, 50.0], 20)[:, None]
    trained, bounds = np.ones(40, bool), bounds_of(np.repeat([0, 1], 20))
    where = (np.arange(40), bounds)
    one, other = (
        features.centred(each, *where, features.projection(each, *where, trained))
        for each in (vectors, vectors + style)
    )
    np.testing.assert_allclose(np.abs(one), np.abs(other), atol=1e-4)
    assert np.isfinite(one).all()
    assert one.shape == (40, 6)
