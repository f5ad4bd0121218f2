"""run.json of another hand: what a field may be, and that the reason is one line that names it."""

import copy
import json

import numpy as np
import pytest
from helpers import make_run, refused

from lossprint.audit.cli import main as cli
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.types import LossprintError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("checked"), train=4, held_out=2)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("asked", "seed"), -3, "-3 as asked.seed"),
        (("seed",), 2**63, "as seed"),
        (("asked", "epochs"), True, "True instead of a whole number as asked.epochs"),
        (("facts", "score", "seconds"), float("nan"), "nan as facts.score.seconds"),
        (("dataset", "classes"), ["a", "a"], "a class that comes twice"),
        (("dataset", "classes"), ["a", 1], "something else than text in dataset.classes"),
        (("stages",), "record", "'record' instead of a list as stages"),
        (("facts",), None, "no facts"),
    ],
)
def test_a_field_of_another_kind_is_named(made, tmp_path, place, value, told):
    manifest = copy.deepcopy(json.loads((made.path / "run.json").read_text()))
    inner = manifest
    for name in place[:-1]:
        inner = inner.setdefault(name, {})
    inner[place[-1]] = value
    (tmp_path / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(LossprintError) as fault:
        open_run(tmp_path)
    assert told in str(fault.value) and str(tmp_path) in str(fault.value)


def test_a_sample_with_two_embeddings_is_refused(made, tmp_path):
    run = Run(tmp_path, made.manifest)
    vectors = np.ones((3, 2), np.float32)
    for samples, told in ((np.array([4, 1, 4]), "several of one"), (np.array([4, 1, 2]), None)):
        run.write_embeddings(samples, vectors)
        if told is None:
            assert run.embeddings()[0].tolist() == [4, 1, 2]
        else:
            with pytest.raises(LossprintError, match=told):
                run.embeddings()


def test_what_is_not_known_is_passed_over(made, tmp_path):
    manifest = json.loads((made.path / "run.json").read_text()) | {"later": {"seed": -1}}
    (tmp_path / "run.json").write_text(json.dumps(manifest))
    assert open_run(tmp_path, need=None).manifest["later"] == {"seed": -1}


def test_tables_that_do_not_fit_each_other_are_refused_or_done_without(tmp_path, capsys):
    run = make_run(tmp_path, train=6, held_out=2)
    samples, unreadable = run.samples(), run.unreadable()
    run.write_samples(samples.drop(columns=["sequence", "frame"], errors="ignore"), unreadable)
    assert cli.main(["export", "manifest", str(run.path), "--out", str(tmp_path / "m.csv")]) == 0
    run.write_samples(samples.iloc[1:], unreadable)
    first = int(samples["sample"].iloc[0])
    assert first in run.findings()["sample"].tolist()
    command = ["export", "labelstudio", str(run.path), "--out", str(tmp_path / "t.json")]
    assert f"found some on {first}" in refused(capsys, *command)
    run.write_samples(samples, unreadable)
    run.write_scores(run.scores().iloc[:0])
    command = ["export", "coreset", str(run.path), "--method", "cld", "--fraction", "0.5", "--out", str(tmp_path / "c")]
    assert "expected scores of training samples" in refused(capsys, *command)
