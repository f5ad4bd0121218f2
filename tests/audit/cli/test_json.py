"""What --json prints is as its schema says, and --fail-on ends with 3 where more is found, or nobody could judge."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from helpers import at_home, make_run

from lossprint.audit.cli import main as cli
from lossprint.audit.cli import output
from lossprint.audit.datasets.dataset import open_dataset
from lossprint.audit.findings import limits
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run

SCHEMA = json.loads(Path(output.__file__).with_name("results.schema.json").read_text())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = make_run(tmp_path_factory.mktemp("made")).path.parent
    assert cli.main(["score", str(home / "run"), "--quiet"]) == 0
    return home


@pytest.fixture
def home(made, tmp_path, monkeypatch):
    """run/ and data/ in the working directory; the run knows where its data is."""
    place = shutil.copytree(made, tmp_path / "home")
    run = at_home(place)
    asked = run.manifest["asked"] | {"dataset": run.manifest["dataset"]["source"]}
    replace(run, manifest=run.manifest | {"asked": asked}).rewrite(run.stages)
    monkeypatch.chdir(place)
    return place


def result(capsys, *arguments: str, status: int = 0) -> dict:
    """The object that a command prints, checked against the schema."""
    capsys.readouterr()
    found = cli.main([*arguments, "--json"])
    said = capsys.readouterr()
    assert found == status, said.err
    assert said.out.count("\n") == 1, said.out
    told = json.loads(said.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert told["lossprint"] and " ".join(arguments).startswith(told["command"])
    jsonschema.validate(told, {**SCHEMA["commands"][told["command"]], "$defs": SCHEMA["$defs"]})
    return told


def leaves(group=cli.program, prefix: str = "") -> dict:
    """Every command by its name, subcommands written out."""
    found = {}
    for name, command in group.commands.items():
        found |= leaves(command, f"{prefix}{name} ") if hasattr(command, "commands") else {f"{prefix}{name}": command}
    return found


def test_every_command_that_prints_a_result_has_json_and_a_schema():
    having = {name for name, one in leaves().items() if any(param.name == "as_json" for param in one.params)}
    assert having == set(SCHEMA["commands"]) and set(leaves()) - having == {"app"}
    for about in SCHEMA["commands"].values():
        jsonschema.Draft202012Validator.check_schema(about)


def test_what_was_found(home, capsys):
    told = result(capsys, "findings", "run", "--kind", "label_error", "--top", "1")
    assert [row["sample"] for row in told["rows"]] == [1] and told["findings"]["label_error"] == 2
    assert {"of": 30, "any": 0, "label_error": 0}.items() <= result(capsys, "score", "run")["unjudged"].items()
    same = result(capsys, "audit", "data/labels.csv", "--out", "run", "--resume", "--epochs", "5")
    assert same["findings"] == told["findings"] and same["samples"]["train"] == 30


def test_losses_imported_over_an_older_run(home, capsys):
    losses = np.abs(np.random.default_rng(0).normal(size=(42, 4)))
    np.savez("losses.npz", train_losses=losses[:30], val_losses=losses[30:])
    arguments = ("import", "losses.npz", "--dataset", "data/labels.csv", "--out", "mine", "--quiet")
    assert result(capsys, *arguments)["classes"] == 3
    assert cli.main([*arguments]) == 2 and "choose another --out" in capsys.readouterr().err
    before = open_run("mine").manifest
    assert result(capsys, *arguments, "--overwrite")["samples"]["val"] == 12
    assert open_run("mine").manifest["stages"] == before["stages"]
    Path("bad.npz").write_bytes(b"no losses")
    assert cli.main(["import", "bad.npz", *arguments[2:], "--overwrite"]) == 2
    assert open_run("mine").stages == before["stages"], "it is back"
    with open_reviews(open_run("mine")) as reviews:
        reviews.add(finding="outlier:3", sample=3, decision="keep", reviewer="ann")
    assert cli.main([*arguments, "--overwrite"]) == 2 and "without decisions" in capsys.readouterr().err
    assert sorted(path.name for path in home.iterdir() if path.name.startswith(".")) == []


def test_exports(home, capsys):
    with open_reviews(open_run("run")) as reviews:
        reviews.add(finding="label_error:4", sample=4, decision="accept", new_label="shirt", reviewer="ann")
        reviews.add(finding="outlier:5", sample=5, decision="exclude", reviewer="ann")
    told = result(capsys, "export", "cleaned", "run", "--out", "c.csv")
    assert (told["kept"], told["relabelled"], told["excluded"]) == (53, 1, 1) and Path(told["file"]).is_file()
    assert Path(told["changes"]).is_file()
    assert result(capsys, "export", "manifest", "run", "--out", "m.csv")["record"]["relabelled"] == 1
    assert result(capsys, "export", "changes", "run", "--out", "h.csv")["rows"] == 2
    assert result(capsys, "export", "cleanlab", "run", "--out", "l.csv")["rows"] == 54
    assert Path(result(capsys, "export", "labelstudio", "run", "--out", "t.json")["interface"]).is_file()
    assert result(capsys, "export", "findings", "run", "--out", "f.csv")["rows"] == len(pd.read_csv("f.csv"))
    told = result(capsys, "export", "coreset", "run", "--method", "random", "--fraction", "0.2", "--out", "k.csv")
    assert told["rows"] == 6 == told["record"]["samples"]
    assert result(capsys, "coreset", "apply", "k.csv", "--dataset", "data/labels.csv")["untouched"] is True
    assert result(capsys, "export", "coco", "run", "--out", "data/coco.json")["rows"] == 53
    again = open_dataset("data/coco.json")
    assert len(again.samples) == 53 and again.samples.set_index("path")["label"]["images/train_004.png"] == "shirt"
    told = result(capsys, "export", "huggingface", "run", "--out", "hub")
    assert told["splits"] == {"train": 29, "validation": 12, "test": 12}
    held = pd.read_parquet("hub/data/train-00000-of-00001.parquet")
    assert held["image"][0]["bytes"].startswith(b"\x89PNG") and (held["weight"] < 0.5).sum() == 1
    assert cli.main(["export", "huggingface", "run", "--out", "hub"]) == 2
    assert cli.main(["export", "cleaned", "run", "--out", "w.parquet", "--weight"]) == 0
    weights = pd.read_parquet("w.parquet").set_index("path")["weight"]
    assert weights["images/train_004.png"] == 1 and weights["images/train_001.png"] < 0.5
    for what in ("findings", "changes", "cleanlab"):
        assert cli.main(["export", what, "run", "--out", f"{what}.parquet"]) == 0
        assert len(pd.read_parquet(f"{what}.parquet"))
        assert cli.main(["export", what, "run", "--out", f"{what}.parquet", "--for-excel"]) == 2
    assert result(capsys, "report", "run", "--out", "r.html")["bytes"] == Path("r.html").stat().st_size


def test_reviews(home, capsys):
    assert result(capsys, "reviews", "status", "run")["rows"] == []
    told = result(capsys, "reviews", "assign", "run", "--reviewers", "ann,bob")
    assert sum(row["open"] for row in told["rows"]) == 4
    pd.DataFrame({"path": ["images/train_001.png", "images/train_004.png"], "label": ["shirt", "bag"]}).to_csv("d.csv")
    assert result(capsys, "reviews", "import", "run", "d.csv", "--reviewer", "ann")["decisions"]
    told = result(capsys, "reviews", "undo", "run", "--reviewer", "ann")
    assert [row["sample"] for row in told["rows"]] == [4]
    assert cli.main(["reviews", "undo", "run", "--reviewer", "bob"]) == 2
    assert "of ann" in capsys.readouterr().err
    told = result(capsys, "reviews", "undo", "run", "--reviewer", "ann", "--last", "9")
    assert [row["sample"] for row in told["rows"]] == [1]


def test_tags(home, capsys):
    assert result(capsys, "tags", "run") | {"rows": [], "tags": {}, "changed": 0} == result(capsys, "tags", "run")
    told = result(capsys, "tags", "run", "--add", "blurry", "--samples", "1,4", "--reviewer", "ann")
    assert told["changed"] == 2 and told["tags"] == {"blurry": 2}
    assert [(row["sample"], row["tag"], row["reviewer"]) for row in told["rows"]] == [
        (1, "blurry", "ann"),
        (4, "blurry", "ann"),
    ]
    assert cli.main(["export", "findings", "run", "--out", "f.csv", "--tags"]) == 0
    table = pd.read_csv("f.csv", keep_default_na=False)
    assert {row.tags for row in table.itertuples() if row.sample in (1, 4)} == {"blurry"}
    assert {row.tags for row in table.itertuples() if row.sample not in (1, 4)} == {""}
    assert result(capsys, "tags", "run", "--remove", "blurry", "--samples", "4", "--reviewer", "bob")["changed"] == 1
    for wrong in (["--add", "a"], ["--samples", "1"], ["--add", "a", "--remove", "b"], ["--reviewer", "ann"]):
        assert cli.main(["tags", "run", *wrong]) == 2
    assert cli.main(["tags", "run", "--add", "a", "--samples", "999999", "--reviewer", "ann"]) == 2
    assert "expected samples of run" in capsys.readouterr().err


def test_the_rest_that_is_cheap(home, capsys):
    told = result(capsys, "more", "run", "--confusion", "coat", "shirt")
    assert told["rows"] and result(capsys, "more", "run", "--like", "1")["rows"]
    url = f"file://{home / 'store'}"
    told = result(capsys, "sync", "run", url)
    assert told["files"] and told["bytes"] and result(capsys, "sync", "run", url)["files"] == 0
    told = result(capsys, "runs", "delete", "run", "--yes")
    assert told["run"] == str(home / "run") and not (home / "run").exists()


def test_a_demo_and_an_evaluation(home, capsys, monkeypatch):
    """What these print of a run and of a table, without training anew."""
    from lossprint.audit.coresets import evaluate
    from lossprint.audit.workflow import demo

    monkeypatch.setattr(demo, "audit_demo", lambda out: open_run("run"))
    assert result(capsys, "demo", "--no-app")["samples"]["train"] == 30
    rows = pd.DataFrame({"method": ["random", "cld"], "fraction": [0.5, 0.1], "seed": 0, "accuracy": [0.5, np.nan]})
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: rows)
    monkeypatch.setattr(evaluate, "text", lambda table: "")
    told = result(capsys, "coreset", "evaluate", "run")["rows"]
    assert [row["accuracy"] for row in told] == [0.5, None]


def test_segments_and_losses_from_checkpoints(home, capsys, monkeypatch):
    from lossprint.audit.export import export
    from lossprint.audit.workflow import from_checkpoints

    monkeypatch.setattr(export, "write_segments", lambda *_: (3, Path("s.order.csv")))
    assert result(capsys, "export", "segments", "run", "--out", "s.csv")["order"] == str(home / "s.order.csv")
    monkeypatch.setattr(from_checkpoints, "record", lambda *_, **__: open_run("run"))
    words = ("record", "--checkpoints", "saved", "--model", "small", "--dataset", "data/labels.csv", "--out", "new")
    assert result(capsys, *words)["findings"]["label_error"] == 2


def test_verify_says_the_same_in_both_ways(home, capsys):
    assert result(capsys, "verify", "run")["whole"] is True
    (home / "run" / "scores.parquet").write_bytes(b"x")
    told = result(capsys, "verify", "run", status=2)
    assert not told["whole"] and any(line["where"] == "scores.parquet" for line in told["lines"])


# ------------------------------------------------------------------------------------------------- runs


def test_runs_are_listed_renamed_put_away_and_deleted(home, capsys, monkeypatch):
    assert [row["state"] for row in result(capsys, "runs", "list", ".")["rows"]] == ["whole"]
    assert result(capsys, "runs", "rename", "run", "other")["run"] == str(home / "other")
    assert open_run("other").manifest["dataset"]["root"] == str(home / "data")
    for name in ("a/b", ".x", "", "data", "a\x1b[2Jb"):
        assert cli.main(["runs", "rename", "other", name]) == 2
    assert result(capsys, "runs", "archive", "other")["run"] == str(home / "archive" / "other")
    assert result(capsys, "runs", "list", ".")["rows"] == []
    assert [row["name"] for row in result(capsys, "runs", "list", ".", "--archived")["rows"]] == ["other"]
    assert cli.main(["runs", "archive", "archive/other"]) == 2
    result(capsys, "runs", "archive", "archive/other", "--back")
    assert cli.main(["runs", "delete", "other"]) == 2 and "--yes" in capsys.readouterr().err
    assert cli.main(["runs", "delete", "data", "--yes"]) == 2, "no run"
    answers = iter(["yes", "no", "yes", "other"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.prompt", lambda *_, **__: next(answers))
    assert cli.main(["runs", "delete", "other"]) == 2 and (home / "other").is_dir()
    assert cli.main(["runs", "delete", "other"]) == 0 and not (home / "other").exists()
    assert (home / "data" / "labels.csv").is_file()


def test_a_run_that_holds_the_dataset_or_is_written_is_left_alone(home, capsys):
    import fcntl

    run = at_home(home, root=str(home / "run" / "inner"))
    run.rewrite(run.stages)
    assert cli.main(["runs", "delete", "run", "--yes"]) == 2 and "outside the run folder" in capsys.readouterr().err
    run = at_home(home)
    run.rewrite(run.stages)
    held = os.open(home / "run", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    for arguments in (["delete", "run", "--yes"], ["rename", "run", "other"], ["archive", "run"]):
        assert cli.main(["runs", *arguments]) == 2 and "no other process writes" in capsys.readouterr().err
    os.close(held)
    shutil.rmtree(home / "data" / "images")
    assert cli.main(["runs", "delete", "run", "--yes"]) == 0


def test_a_damaged_run_is_listed_as_such(home, capsys):
    (home / "broken").mkdir()
    (home / "broken" / "run.json").write_text("{")
    rows = result(capsys, "runs", "list", ".")["rows"]
    assert {row["name"]: row["state"].partition(":")[0] for row in rows} == {"run": "whole", "broken": "damaged"}


# ------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("label_error>2,duplicate>1,unmeasured>0", 0),
        ("label_error>1", 3),
        ("label_error>=2", 3),
        ("label_error>=3", 0),
        ("label_error>6.6%", 3),
        ("label_error > 7 %", 0),
        ("findings>0", 3),
        ("sequence_label>0,unreadable>0", 0),
    ],
)
def test_limits(home, capsys, text, status):
    told = result(capsys, "findings", "run", "--fail-on", text, status=status)
    assert bool(told["failed"]) == (status == 3)
    assert cli.main(["score", "run", "--quiet", "--fail-on", text]) == status
    assert ("over the limit" in capsys.readouterr().err) == (status == 3)


@pytest.mark.parametrize(
    "text", ["", "label_error", "label_error>", "label_error>-1", "labels>3", "label_error<3", ">3"]
)
def test_what_is_no_limit_is_refused_before_anything_is_done(home, capsys, text):
    assert cli.main(["score", "run", "--fail-on", text]) == 2
    assert "argument --fail-on: expected" in capsys.readouterr().err


def test_a_filter_hides_nothing_from_a_limit(home, capsys):
    assert cli.main(["findings", "run", "--kind", "outlier", "--fail-on", "label_error>1"]) == 3


def test_what_a_reviewer_has_decided_on_is_no_longer_open(home, capsys):
    with open_reviews(open_run("run")) as reviews:
        reviews.add(finding="label_error:4", sample=4, decision="keep", reviewer="ann")
    told = result(capsys, "findings", "run", "--open", "--kind", "label_error", "--fail-on", "label_error>1")
    assert [row["sample"] for row in told["rows"]] == [1] and told["failed"] == []


def told_facts(home: Path, **changed) -> None:
    """Rewrite what the run says of its last stage."""
    run = open_run(home / "run")
    facts = {**run.manifest["facts"], **{name: {**run.manifest["facts"][name], **new} for name, new in changed.items()}}
    run.rewrite(run.stages, facts)


def test_not_measured_is_not_clean(home):
    lacking = {"of": 30, "any": 5, "label_error": 4, "outlier": 30}
    told_facts(home, find={"unjudged": lacking, "findings": {}})

    def over(text: str) -> list[str]:
        return [one.words for one in limits.broken(open_run("run"), limits.read(text))]

    assert over("label_error>3") == ["label_error>3: 0 found, 4 not judged"] and over("label_error>4") == []
    assert over("unmeasured>4") == ["unmeasured>4: 5 found"] and over("outlier>29") and over("findings>4")
    assert over("duplicate>0") == []
    (home / "run" / "duplicates.parquet").unlink()
    assert over("duplicate>99,near_duplicate>99") == [
        "duplicate>99: 0 found, not looked for",
        "near_duplicate>99: 0 found, not looked for",
    ]
    told_facts(home, record={"doubt": "the losses are another's"})
    assert "the losses are another's" in over("unmeasured>29")[0]
    told_facts(home, find={"unjudged": None})
    assert "score it again" in over("label_error>1000")[0] and over("unreadable>0") == []
