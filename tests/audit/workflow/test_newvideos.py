"""New videos, looked at by the networks of a small run that is really trained: no training, the same tables."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
from films import film

from lossprint.audit.cli.main import main
from lossprint.audit.runs.open import open_run
from lossprint.audit.workflow import demo_videos
from lossprint.audit.workflow.audit import audit
from lossprint.audit.workflow.score import score


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    truth = demo_videos.make_videos(folder / "videos", sequences=6, length=30, damaged=0.0, seed=2)
    options = {"epochs": 2, "curvature_checkpoints": 0, "quiet": True}
    return audit(str(truth.manifest), folder / "run", **options)


@pytest.fixture(scope="module")
def more(tmp_path_factory):
    return demo_videos.make_videos(tmp_path_factory.mktemp("more") / "new", sequences=2, length=50, seed=8)


def test_an_audit_of_videos_takes_folds_of_videos_and_looks_over_time(trained):
    assert (trained.manifest["asked"]["folds"], trained.manifest["asked"]["epochs"]) == (4, 2)
    seen, frames = trained.timeline(), trained.frames()
    classes = len(trained.classes)
    assert seen["probabilities"].shape == (len(frames), classes) and seen["losses"].shape[1] == len(frames)
    np.testing.assert_allclose(seen["probabilities"].sum(1), 1, atol=1e-4)
    assert [list(one) for one in trained.read_temporal()] and len(trained.read_temporal()) == 4
    for fold in trained.members("fold"):
        assert fold.saved_checkpoints() == [2]
    train = frames["split"] == "train"
    assert frames.loc[train | (frames["split"] == "val"), "frame_csl"].notna().all() and train.any()


def test_scoring_again_gives_the_same_tables_and_needs_no_network(trained):
    before = [trained.frames(), trained.spans(), trained.scores()]
    again = score(trained.path)
    for one, other in zip(before, (again.frames(), again.spans(), again.scores())):
        pd.testing.assert_frame_equal(one, other)


def test_new_videos_become_a_run_of_their_own(trained, more, tmp_path, capsys):
    out = tmp_path / "new"
    assert main(["score", str(trained.path), "--new", str(more.manifest), "--out", str(out), "--quiet"]) == 0
    assert "lossprint app" in capsys.readouterr().out
    run = open_run(out)
    frames = run.frames()
    assert len(frames) == len(more.frames) == len(run.scores()) and set(frames["split"]) == {"train"}
    assert frames["temporal_csl"].notna().all() and frames["frame_csl"].notna().all()
    assert run.scores()["csl"].notna().all() and run.scores()["cld"].isna().all() and run.pairs().empty
    assert run.trajectory("train").losses.shape == (2, len(frames))
    first = run.spans()
    pd.testing.assert_frame_equal(score(out).spans(), first)
    # The networks are the run's own: their losses of the run's validation videos are what it recorded.
    assert np.isfinite(run.timeline()["losses"]).all()


def test_a_video_that_the_run_knows_is_seen_as_its_networks_saw_it(trained, tmp_path):
    frames = trained.frames()
    held = frames[frames["split"] == "val"]
    source = pd.read_csv(trained.manifest["dataset"]["source"])
    table = source[source["sequence"].isin(held["sequence"])]
    root = trained.manifest["dataset"]["root"]
    manifest = tmp_path / "videos"
    manifest.mkdir()
    for name in table["sequence"].unique():
        shutil.copytree(f"{root}/{name}", manifest / name)
    table.to_csv(manifest / "labels.csv", index=False)
    out = tmp_path / "again"
    assert main(["score", str(trained.path), "--new", str(manifest / "labels.csv"), "--out", str(out), "--quiet"]) == 0
    again = open_run(out).frames()
    np.testing.assert_allclose(again["temporal_csl"], held["temporal_csl"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(again["frame_csl"], held["frame_csl"], rtol=1e-3, atol=1e-4)


def test_what_cannot_be_looked_at_is_said_in_one_line(trained, more, tmp_path, capsys):
    def said(*arguments) -> str:
        assert main(["score", *map(str, arguments), "--quiet"]) == 2
        text = capsys.readouterr().err.strip()
        assert "\n" not in text
        return text

    table = pd.read_csv(more.manifest)
    wrong = more.manifest.parent / "wrong.csv"
    table.assign(label="nap").to_csv(wrong, index=False)
    assert re.search("expected labels that the run knows.*found 'nap'", said(trained.path, "--new", wrong))
    table.drop(columns=["sequence", "frame"]).to_csv(wrong, index=False)
    assert "expected a sequence and a frame in every row" in said(trained.path, "--new", wrong)
    table.assign(path=["gone.png", *table["path"][1:]]).to_csv(wrong, index=False)
    assert "gone.png" in said(trained.path, "--new", wrong)
    assert "found a folder" in said(trained.path, "--new", more.manifest.parent)
    assert "expected --out only beside --new" in said(trained.path, "--out", tmp_path)
    assert "found a run at" in said(trained.path, "--new", more.manifest, "--out", trained.path)


def test_new_video_files_with_segments(trained, tmp_path):
    pytest.importorskip("av")
    film(tmp_path / "later.mp4", pictures=80, fps=4, size=(64, 48))
    first, second = trained.classes[:2]
    text = f"sequence,start,end,label\nlater,0,9,{first}\nlater,9,20,{second}\n"
    (tmp_path / "segments.csv").write_text(text)
    assert (
        main(["score", str(trained.path), "--new", str(tmp_path / "segments.csv"), "--out", str(tmp_path / "r")]) == 0
    )
    frames = open_run(tmp_path / "r").frames()
    assert frames["label"].value_counts().to_dict() == {second: 11, first: 9}
    assert frames["temporal_csl"].notna().all() and (tmp_path / "r" / "frames" / "labels.csv").exists()
