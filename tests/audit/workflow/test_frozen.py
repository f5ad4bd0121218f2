"""Audits on frozen features, of a user's backbone or from a file: wrong labels first, whole folders, refusals."""

import json
import shutil

import backbones_of_users
import numpy as np
import pandas as pd
import pytest
from conftest import DEMO, cut_demo

from lossprint.audit import LossprintError, open_run
from lossprint.audit.cli import main as cli
from lossprint.audit.runs.run import STAGES
from lossprint.audit.runs.verify import verify
from lossprint.audit.training import heads
from lossprint.audit.workflow.audit import audit
from lossprint.audit.workflow.score import score
from lossprint.scoring.labels import SUSPECT

MODEL = "frozen:backbones_in_place:filters"
WRONG = 15


def true_labels() -> pd.Series:
    return pd.read_csv(DEMO / "truth.csv", dtype=str).set_index("path")["true_label"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """150 training and 30 validation images of three classes, rightly labelled, but for 15 whose paths are given."""
    labels = cut_demo(tmp_path_factory.mktemp("planted"), 80, 15)
    table = pd.read_csv(labels, dtype=str)
    names = sorted(table["label"].unique())
    table = table[table["label"].to_numpy() == true_labels().reindex(table["path"]).to_numpy()]
    parts = table.groupby(["label", "split"])
    table = pd.concat([rows.head({"train": 50, "val": 10}[split]) for (_, split), rows in parts])
    table = table.sort_values("path").reset_index(drop=True)
    train = table.index[table["split"] == "train"]
    wrong = np.random.default_rng(0).choice(train, WRONG, replace=False)
    table.loc[wrong, "label"] = [names[(names.index(one) + 1) % len(names)] for one in table.loc[wrong, "label"]]
    table.to_csv(labels, index=False)
    return labels, set(table.loc[wrong, "path"])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder in which the user's module lies."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copyfile(backbones_of_users.__file__, folder / "backbones_in_place.py")
    return folder


@pytest.fixture(scope="module")
def frozen(planted, place, tmp_path_factory):
    """A run on a backbone of the user's; not to be changed."""
    out = tmp_path_factory.mktemp("frozen") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return audit(str(planted[0]), out, model=MODEL, quiet=True)


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)


def test_planted_wrong_labels_come_first(frozen, planted):
    scores = frozen.scores().sort_values("label_error", ascending=False)
    assert len(set(scores["path"].head(WRONG)) & planted[1]) >= WRONG - 3
    wrong = scores[scores["path"].isin(planted[1])]
    right = wrong["suggested_label"].to_numpy() == true_labels().reindex(wrong["path"]).to_numpy()
    assert right.mean() >= 0.8 and (wrong["label_error"] > SUSPECT).mean() >= 0.8


def test_findings_and_scores_are_what_the_heads_say(frozen):
    head, scores, findings = frozen.head(), frozen.scores(), frozen.findings()
    assert (head["sample"].to_numpy() == scores["sample"].to_numpy()).all() and len(head) == 150
    errors = findings[findings["kind"] == "label_error"]
    assert set(errors["sample"]) == set(head.loc[head["flagged"], "sample"]) and len(errors)
    np.testing.assert_array_equal(scores["label_error"] > SUSPECT, head["flagged"])
    for flagged in (False, True):  # within both in the order of the suspicion
        rows = (head["flagged"] == flagged).to_numpy()
        ranks = [frame[rows].rank() for frame in (head["suspicion"], scores["label_error"])]
        np.testing.assert_array_equal(ranks[0], ranks[1])
    names = np.array(frozen.classes)
    known = (head["suggested"] >= 0).to_numpy()
    assert (names[head["suggested"][known]] == scores["suggested_label"][known]).all()
    np.testing.assert_array_equal(scores["suggested_probability"], head["probability"])
    wrong = scores["triage"] == "wrong"
    assert (head["certain"][wrong] & (head["probability"][wrong] >= 0.5)).all() and wrong.any()


def test_the_head_is_recorded_like_a_training(frozen):
    assert frozen.stages == list(STAGES)
    train, val, scores = frozen.trajectory("train"), frozen.trajectory("val"), frozen.scores()
    assert train.losses.shape == (30, 150) and val.losses.shape == (30, 30) and np.isfinite(train.losses).all()
    assert train.losses[-1].mean() < train.losses[0].mean() and (val.predicted[-1] == val.labels).mean() > 0.8
    np.testing.assert_allclose(scores["aum"], train.margins.mean(axis=0), rtol=1e-4, atol=1e-5)
    for name in ("cld", "csl", "forgetting", "el2n", "outlier"):
        assert scores[name].notna().all()
    assert scores[["curvature", "rank_confidence"]].isna().all().all()
    assert frozen.curvature_recorded() == [] and len(frozen.pairs())
    ids, vectors = frozen.embeddings()
    assert (ids == frozen.samples()["sample"]).all() and vectors.shape == (180, 512)
    facts = frozen.manifest["facts"]
    assert (
        facts["record"]["backbone"] == "backbones_in_place:filters"
        and facts["record"]["transform"] == "<function pixels>"
    )
    assert 0.5 < facts["record"]["out_of_fold"] <= 1 and facts["record"]["few"] == []
    assert facts["curvature"]["checkpoints"] == [] and "not measured" in facts["curvature"]["skipped"]
    assert frozen.manifest["asked"]["model"] == MODEL and frozen.manifest["asked"]["epochs"] == 30


def test_the_same_again_is_the_same_bytes_and_resume_ends_there(here, planted, frozen, tmp_path, monkeypatch):
    out, calls = tmp_path / "run", []
    record = heads._record

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return record(*arguments)

    monkeypatch.setattr(heads, "_record", killed)
    with pytest.raises(KeyboardInterrupt):
        audit(str(planted[0]), out, model=MODEL, quiet=True)
    monkeypatch.setattr(heads, "_record", record)
    assert "record" not in open_run(out, need=None).stages and open_run(out, need=None).recorded("train")
    run = audit(str(planted[0]), out, resume=True, quiet=True)
    listed = [json.loads((one.path / "checksums.json").read_text())["files"] for one in (frozen, run)]
    assert listed[0] == listed[1] and "head.parquet" in listed[0]


def test_a_run_that_was_recorded_goes_on_without_its_backbone(frozen, planted, tmp_path, monkeypatch):
    shutil.copytree(frozen.path, tmp_path / "run")
    run = open_run(tmp_path / "run").reopen("embed")
    (run.path / "scores.parquet").unlink()
    monkeypatch.chdir(tmp_path)  # where no module of the user's is
    run = audit(str(planted[0]), run.path, resume=True, quiet=True)
    pd.testing.assert_frame_equal(run.scores(), frozen.scores())


def test_scoring_again_keeps_the_ranking_and_a_damaged_one_is_seen(frozen, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(frozen.path, copy)
    pd.testing.assert_frame_equal(score(copy, quiet=True).scores(), frozen.scores())
    assert verify(copy).whole
    head = open_run(copy).head()
    open_run(copy).write_head(head.head(100))
    assert any(line.where == "head.parquet" and "150 training samples" in line.text for line in verify(copy).lines)
    with pytest.raises(LossprintError, match=r"a row for each of the 150 training samples in head\.parquet"):
        score(copy, quiet=True)
    open_run(copy).write_head(head.assign(suggested=7))
    with pytest.raises(LossprintError, match=r"expected class indices below 3 in head\.parquet"):
        score(copy, quiet=True)
    open_run(copy).write_head(head.assign(foreign=np.where(head["sample"] % 2, -1.0, np.inf)))
    assert score(copy, quiet=True).scores()["outlier"].isna().all()
    (copy / "head.parquet").unlink()
    assert not verify(copy).whole or open_run(copy).head() is None


def test_a_file_of_features_gives_the_ranking_of_the_network_that_made_it(frozen, planted, tmp_path, capsys):
    ids, vectors = frozen.embeddings()
    np.savez(tmp_path / "f.npz", features=vectors[::-1], samples=ids[::-1])
    command = [
        "audit",
        str(planted[0]),
        "--out",
        str(tmp_path / "run"),
        "--features",
        str(tmp_path / "f.npz"),
        "--quiet",
    ]
    assert cli.main(command) == 0 and "label error" in capsys.readouterr().out
    run = open_run(tmp_path / "run")
    pd.testing.assert_frame_equal(run.scores(), frozen.scores())
    assert run.manifest["asked"]["model"] == "frozen:features"
    assert run.manifest["asked"]["features"] == str(tmp_path / "f.npz")
    assert cli.main([*command, "--resume"]) == 0


BAD = {
    "--curvature": ({"model": MODEL, "curvature_checkpoints": 3}, "expected no --curvature-checkpoints"),
    "--compile": ({"model": MODEL, "compiled": True}, "expected no --compile"),
    "weights of a function": ({"model": MODEL, "weights": "a.pth"}, "expected no --weights with frozen:"),
    "weights of small": ({"weights": "a.pth"}, "expected --weights beside --model frozen:NAME, found it beside small"),
    "download": ({"model": "small", "download": True}, "expected --download beside --model frozen:NAME"),
    "both": ({"model": MODEL, "features": "a.npy"}, "expected --features without --model"),
    "no file": ({"model": "frozen:features"}, "expected --features FILE with --model frozen:features, found none"),
    "gone": ({"features": "none.npy"}, "expected features in .*none.npy, found: "),
    "unknown": ({"model": "frozen:resnet81"}, "did you mean frozen:resnet"),
    "maps": ({"model": MODEL.replace("filters", "maps")}, "found maps of shape"),
    "endless": ({"model": MODEL.replace("filters", "words")}, "found dict"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_refused_and_leaves_no_run(here, planted, tmp_path, name):
    options, text = BAD[name]
    with pytest.raises(LossprintError, match=text):
        audit(str(planted[0]), tmp_path / "run", quiet=True, **options)
    assert not (tmp_path / "run" / "run.json").exists()


def test_another_model_cannot_go_on(here, planted, frozen, tmp_path):
    shutil.copytree(frozen.path, tmp_path / "run")
    with pytest.raises(LossprintError, match=f"expected --model {MODEL}, with which .* was begun, found small"):
        audit(str(planted[0]), tmp_path / "run", model="small", resume=True, quiet=True)


def test_what_trains_the_runs_network_says_that_there_is_none(frozen, planted, tmp_path, capsys):
    assert cli.main(["audit", "--from", str(planted[0]), "--out", str(frozen.path)]) == 2
    assert cli.main(["coreset", "evaluate", str(frozen.path)]) == 2
    assert "expected a model to train from scratch, found the frozen" in capsys.readouterr().err


def test_foreign_images_that_resemble_each_other_are_outliers(planted, tmp_path):
    """A group that is larger than the neighbours looked at before: of random features, in which classes stand apart."""
    labels, random = planted[0], np.random.default_rng(3)
    table = pd.read_csv(labels, dtype=str)
    code = table["label"].astype("category").cat.codes.to_numpy()
    features = np.eye(16)[code] * 3 + random.normal(size=(len(table), 16)) * 0.4
    group = np.flatnonzero(table["split"] == "train")[::12]
    features[group] = np.eye(16)[15] * 3 + random.normal(size=(len(group), 16)) * 0.05
    np.save(tmp_path / "f.npy", features)
    run = audit(str(labels), tmp_path / "run", features=tmp_path / "f.npy", quiet=True)
    scores = run.scores().sort_values("outlier", ascending=False)
    paths = set(table["path"].iloc[group])
    assert len(set(scores["path"].head(len(group))) & paths) >= len(group) - 2
    flagged = set(run.findings().query("kind == 'outlier'")["path"])
    assert len(flagged & paths) > len(flagged) / 2 and len(flagged & paths) > len(paths) / 2
