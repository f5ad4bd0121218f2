"""Memorization of a run: of heads on pretrained features and of folds, what is kept and said, and bad input."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from app_pages import assert_whole, open_page, said
from helpers import make_run

from lossprint.audit.cli import output
from lossprint.audit.cli.main import main
from lossprint.audit.memorized import memorization
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.tables import HEAD
from lossprint.audit.runs.verify import verify

SCHEMA = json.loads(Path(output.__file__).with_name("results.schema.json").read_text())
ODD = (7, 20, 33)


def on_features(run) -> None:
    """Features that tell the classes, but for ODD, whose own dimensions alone give their labels away."""
    table = run.samples().sort_values("sample")
    ids, codes = table["sample"].to_numpy(), table["label"].map(run.classes.index).to_numpy()
    shown = np.where(np.isin(ids, ODD), (codes + 1) % 3, codes)
    vectors = np.random.default_rng(0).normal(size=(len(ids), 12)) * 0.3
    vectors[:, :3] += np.eye(3)[shown]
    vectors[[int(np.flatnonzero(ids == one)[0]) for one in ODD], [9, 10, 11]] += 12
    run.write_embeddings(ids, vectors.astype(np.float32))
    train = run.sample_ids("train")
    columns = {field.name: np.zeros(len(train)) for field in HEAD}
    columns |= {"sample": train, "flagged": np.zeros(len(train), bool), "certain": np.zeros(len(train), bool)}
    run.write_head(pd.DataFrame(columns).astype({"suggested": "int32", "head_curvature": "float32"}))


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_run(tmp_path, train=40, held_out=4, checkpoints=30)


def test_heads_on_features_know_odd_samples_only_because_they_were_there(run, capsys, monkeypatch):
    on_features(run)
    manifest = run.manifest["facts"]["record"] | {"decay": 1e-5}
    run = run.rewrite(run.stages, run.manifest["facts"] | {"record": manifest})
    assert main(["memorization", "run", "--trainings", "20", "--out", "all.csv", "--json"]) == 0
    told = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    jsonschema.validate(told, {**SCHEMA["commands"]["memorization"], "$defs": SCHEMA["$defs"]})
    assert {row["sample"] for row in told["rows"][:3]} == set(ODD) and told["trainings"] == 21 and told["heads"]
    assert all(row["inside"] == 14 and row["outside"] == 7 and row["error"] < 0.1 for row in told["rows"])
    table = pd.read_csv("all.csv").set_index("sample")
    assert set(table["distance"].nlargest(3).index) == set(ODD)
    assert len(table) == 120 and table["memorization"].drop(list(ODD)).abs().median() < 0.1
    kept = memorization.kept(open_run("run"))
    assert kept["memorization"][7] == pytest.approx(table["memorization"][7]) and verify("run").count("damaged") == 0
    kept.loc[7, ["memorization", "error"]] = 0.8, 0.05
    assert "Learned only because it was there" in memorization.sentence(kept.loc[7])
    kept.reset_index().to_parquet("run/memorization.parquet")
    app = open_page("sample", run.path, monkeypatch, sample="7")
    assert_whole(app)
    assert "80 percentage points more" in said(app)
    Path("run/memorization.parquet").write_bytes(b"odd")
    assert_whole(open_page("sample", run.path, monkeypatch, sample="7"))


def test_folds_give_an_estimate_with_the_most_its_error_may_be(run, capsys):
    ids = run.sample_ids("train")
    for fold in range(2):
        mine = ids[ids % 2 == fold]
        member = run.member(f"fold={fold:03d}")
        for at in range(1, 31):
            losses = np.where(np.isin(mine, ODD), 3.0, 0.05)
            member.write_part("train", at, pd.DataFrame({"sample": mine, "loss": losses, "margin": 1, "predicted": 0}))
    for at in range(1, 31):
        run.write_part("train", at, pd.DataFrame({"sample": ids, "loss": 0.05, "margin": 1.0, "predicted": 0}))
    assert main(["memorization", "run", "--quiet"]) == 0
    assert "the most that it may be" in capsys.readouterr().out
    table = memorization.kept(open_run("run"))
    a, b = np.exp(-0.05), np.exp(-3.0)
    assert table["memorization"][7] == pytest.approx(a - b, abs=1e-6)
    assert table["error"][7] == pytest.approx(np.sqrt(a * (1 - a) + b * (1 - b)), abs=1e-6)
    assert table["memorization"][8] == pytest.approx(0, abs=1e-6) and (table["outside"] == 1).all()


def test_without_features_and_folds_there_is_none(run, capsys):
    assert main(["memorization", "run"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "expected a run on pretrained features or with --folds" in err
