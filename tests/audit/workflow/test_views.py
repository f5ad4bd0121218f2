"""Runs of two views, a network trained from scratch beside heads on frozen features."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import cut_demo
from PIL import Image

from lossprint.audit import LossprintError, open_run
from lossprint.audit.cli import main as cli
from lossprint.audit.findings import views
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.runs.run import STAGES
from lossprint.audit.runs.verify import verify
from lossprint.audit.training import heads
from lossprint.audit.training.names import AUTO, VIEW, parts, trained_of
from lossprint.audit.workflow import auto
from lossprint.audit.workflow.audit import audit
from lossprint.audit.workflow.score import score
from lossprint.scoring.labels import SUSPECT


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    """120 training and 30 validation images of three classes, and a file of features: the pixels, 7 by 7."""
    folder = tmp_path_factory.mktemp("pixels")
    labels = cut_demo(folder / "data", 40, 10)
    pictures = [Image.open(labels.parent / path).convert("L").resize((7, 7)) for path in pd.read_csv(labels)["path"]]
    np.save(folder / "pixels.npy", np.stack([np.asarray(one, np.float32).ravel() for one in pictures]))
    return labels, folder / "pixels.npy"


def audited(pixels, out, **options):
    return audit(
        str(pixels[0]),
        out,
        **{"model": "small", "features": pixels[1], "epochs": 3, "curvature_checkpoints": 1, "quiet": True} | options,
    )


@pytest.fixture(scope="module")
def two(pixels, tmp_path_factory):
    """A run of both views; not to be changed."""
    return audited(pixels, tmp_path_factory.mktemp("two") / "run")


@pytest.fixture(scope="module")
def small(pixels, tmp_path_factory):
    return audited(pixels, tmp_path_factory.mktemp("small") / "run", features=None)


def test_both_views_are_kept_whole(two, small):
    assert two.stages == list(STAGES) and two.manifest["asked"]["model"] == "small+frozen:features"
    one, other = two.trajectory("train"), small.trajectory("train")
    np.testing.assert_array_equal(one.losses, other.losses)
    for column in ("csl", "aum", "cld", "curvature", "el2n"):
        pd.testing.assert_series_equal(two.scores()[column], small.scores()[column])
    assert two.member(VIEW).trajectory("train").losses.shape == (30, 120)
    assert two.embeddings()[1].shape == (150, 49) and len(two.saved_checkpoints()) == 3
    assert verify(two.path).whole


def test_the_ranking_is_of_both_weighed_by_validation_accuracy(two, small):
    facts = two.manifest["facts"]["score"]["views"]
    assert list(facts) == ["small", "frozen:features"]
    assert sum(one["weight"] for one in facts.values()) == pytest.approx(1, abs=1e-3)
    for name, run in (("small", small), ("frozen:features", two.member(VIEW))):
        assert facts[name]["accuracy"] == pytest.approx((run.trajectory("val").margins[-1] > 0).mean(), abs=1e-4)
    odds = [((30 * one["accuracy"] + 1) / (31 - 30 * one["accuracy"])) ** 3 for one in facts.values()]
    assert odds[0] / sum(odds) == pytest.approx(facts["small"]["weight"], abs=1e-2)
    head, scores, alone = two.head(), two.scores(), small.scores()["label_error"]
    weights = [one["weight"] for one in facts.values()]
    mean = (weights[0] * alone.rank() + weights[1] * head["suspicion"].rank()) / len(head)
    for rows in (scores["label_error"] > SUSPECT, scores["label_error"] <= SUSPECT):
        assert mean[rows].corr(scores["label_error"][rows], method="spearman") > 0.99
    flagged = scores["label_error"] > SUSPECT
    assert not (flagged & ~((alone > SUSPECT) | head["flagged"])).any()
    expected = weights[0] * (alone > SUSPECT).sum() + weights[1] * head["flagged"].sum()
    assert abs(flagged.sum() - expected) <= 1 and flagged.any()
    assert set(two.findings().query("kind == 'label_error'")["sample"]) == set(scores["sample"][flagged])


def test_one_sentence_says_how_well_each_fits(two, capsys):
    (sentence,) = views.sentences(two)
    facts = list(two.manifest["facts"]["score"]["views"].values())
    assert f"{100 * facts[1]['accuracy']:.0f} % of the validation labels against" in sentence and "by small" in sentence
    assert views.sentences(open_run(two.path).rewrite(two.stages, {})) == []
    two.rewrite(two.stages)


def test_a_view_that_fits_less_well_counts_less_and_is_named_so(pixels, tmp_path):
    noise = np.random.default_rng(0).normal(size=(150, 8))
    np.save(tmp_path / "noise.npy", noise)
    run = audited(pixels, tmp_path / "run", features=tmp_path / "noise.npy")
    facts = run.manifest["facts"]["score"]["views"]
    assert facts["frozen:features"]["weight"] < 0.1 and "fit these images less well" in views.sentences(run)[0]


def noise(pixels, folder):
    np.save(folder / "noise.npy", np.random.default_rng(0).normal(size=(150, 8)))
    return pixels[0], folder / "noise.npy"


def same_tables(one, other):
    for table in ("scores", "findings"):
        pd.testing.assert_frame_equal(getattr(one, table)(), getattr(other, table)())
    np.testing.assert_array_equal(one.embeddings()[1], other.embeddings()[1])


def test_features_that_do_not_fit_are_left_out_where_they_were_not_asked_for(pixels, small, tmp_path):
    run = audited(noise(pixels, tmp_path), tmp_path / "run", model=AUTO)
    assert run.manifest["asked"]["model"] == "small" and run.head() is None and not run.members("view")
    same_tables(run, small)
    assert verify(run.path).whole
    (sentence,) = views.sentences(run)
    assert sentence.startswith("features of features do not fit these images") and "rests on small alone" in sentence


def test_killed_as_they_are_left_out_it_goes_on_to_the_same(pixels, small, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Recorder, "reask", killed)
        audited(noise(pixels, tmp_path), tmp_path / "run", model=AUTO)
    run = audited(noise(pixels, tmp_path), tmp_path / "run", model=AUTO, resume=True)
    assert run.manifest["asked"]["model"] == "small"
    same_tables(run, small)


@pytest.mark.parametrize("fit", [True, False])
def test_a_trial_on_some_of_many_photos_says_which_view_is_taken(pixels, tmp_path, monkeypatch, fit):
    monkeypatch.setattr(auto, "QUICK", 1)
    monkeypatch.setattr(auto, "SMALL_IMAGE", 8)
    monkeypatch.setattr(auto, "TRIED", 110)
    labels = pd.read_csv(pixels[0])["label"].astype("category").cat.codes.to_numpy()
    random = np.random.default_rng(0)
    np.save(tmp_path / "features.npy", random.normal(size=(150, 8)) + fit * 9 * np.eye(8)[labels])
    options = {"model": AUTO, "epochs": 1 if fit else 3, "curvature_checkpoints": None}
    run = audited((pixels[0], tmp_path / "features.npy"), tmp_path / "run", **options)
    assert run.manifest["asked"]["model"] == ("frozen:features" if fit else "small")
    assert run.manifest["asked"]["auto"]["samples"] == 110 and (run.head() is not None) is fit
    (sentence,) = views.sentences(run)
    assert ("no network was trained" in sentence) is fit and "in a trial on 110 images" in sentence


def test_killed_in_the_view_it_goes_on_to_the_same_bytes(pixels, two, tmp_path, monkeypatch):
    record, calls = heads._record, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return record(*arguments)

    monkeypatch.setattr(heads, "_record", killed)
    with pytest.raises(KeyboardInterrupt):
        audited(pixels, tmp_path / "run")
    monkeypatch.setattr(heads, "_record", record)
    trained = tmp_path / "run" / "checkpoints" / "00003.safetensors"
    stamp = trained.stat().st_mtime_ns
    run = audit(str(pixels[0]), tmp_path / "run", resume=True, quiet=True)
    assert trained.stat().st_mtime_ns == stamp  # what was trained is not trained again
    listed = [json.loads((one.path / "checksums.json").read_text())["files"] for one in (two, run)]
    assert listed[0] == listed[1]


def test_scored_again_it_is_the_same_and_a_lost_view_is_said(two, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(two.path, copy)
    pd.testing.assert_frame_equal(score(copy, quiet=True).scores(), two.scores())
    shutil.rmtree(copy / "members" / VIEW / "trajectories" / "split=val")
    assert not verify(copy).whole
    with pytest.raises(LossprintError, match="split=val"):
        score(copy, quiet=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"small": {"accuracy": 0.5, "weight": 1}},
        {"a": {"accuracy": 2, "weight": 1}, "b": {"accuracy": 0, "weight": 0}},
        {"a": {"accuracy": "all", "weight": 1}, "b": {"accuracy": 0, "weight": 0}},
        {"a": 1, "b": 2},
        {"a": {"weight": True, "accuracy": True}, "b": {"accuracy": 0, "weight": 0}},
    ],
)
def test_views_in_a_run_json_that_are_none_are_refused(two, tmp_path, wrong):
    manifest = json.loads((two.path / "run.json").read_text())
    manifest["facts"]["score"]["views"] = wrong
    (tmp_path / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(LossprintError, match=r"found .* facts\.score\.views"):
        open_run(tmp_path, need=None)


def test_the_trained_view_serves_before_and_after_and_coresets(two, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(two.path, copy)
    command = ["coreset", "evaluate", str(copy), "--methods", "random", "--fractions", "0.5", "--seeds", "1"]
    assert cli.main([*command, "--steps", "8", "--quiet"]) == 0
    assert set(open_run(copy).evaluation()["model"]) == {"small"}
    choose = ["export", "coreset", str(copy), "--method", "grad_match", "--fraction", "0.5"]
    assert cli.main([*choose, "--out", str(tmp_path / "a.csv")]) == 2
    assert "last layer" in capsys.readouterr().err


def test_names_of_models_come_apart():
    assert parts("small") == ("small", None) and parts("frozen:a:b") == (None, "frozen:a:b")
    assert parts("small+frozen:a:b") == ("small", "frozen:a:b") and parts("a+b") == ("a+b", None)
    assert trained_of("resnet18+frozen:resnet50") == "resnet18" and trained_of("frozen:x") == "frozen:x"


BAD = {
    "small+frozen:resnet81": "did you mean frozen:resnet",
    "smal+frozen:resnet18": "did you mean small",
    "small+frozen:features": "expected --features FILE with --model small",
    "small+resnet18": "expected a model that exists",
}


@pytest.mark.parametrize("model", BAD)
def test_what_there_is_not_is_refused_and_leaves_no_run(pixels, tmp_path, model):
    with pytest.raises(LossprintError, match=BAD[model]):
        audit(str(pixels[0]), tmp_path / "run", model=model, quiet=True)
    assert not (tmp_path / "run" / "run.json").exists()
