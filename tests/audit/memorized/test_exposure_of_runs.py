"""Exposure of a run: the command and what it keeps, the page, the report, coresets without the exposed, bad input."""

import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from app_pages import assert_whole, open_page, said
from helpers import at_home, make_run
from html_page import Page

from lossprint.audit.cli import output
from lossprint.audit.cli.main import main
from lossprint.audit.coresets import coreset as coresets
from lossprint.audit.memorized import exposure
from lossprint.audit.report.write import report_bytes
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.verify import verify
from lossprint.audit.types import LossprintError

SCHEMA = json.loads(Path(output.__file__).with_name("results.schema.json").read_text())
LATE = (7, 20, 33)  # training samples that are learnt late, but fully


def plant(run, checkpoints: int = 24) -> None:
    """Losses of `checkpoints` checkpoints: two at chance, most are learnt early, LATE late, sample 1 never."""
    random = np.random.default_rng(0)
    run.drop_parts_after(0)
    for split, level in (("train", 0.05), ("val", 0.6)):
        ids = run.sample_ids(split)
        for at in range(1, checkpoints + 1):
            losses = 1.0986 + random.random(len(ids)) * 0.1 if at < 3 else level * random.random(len(ids)) + 2.0 / at**2
            losses = np.where(np.isin(ids, LATE), 3.0 * (at < 15) + 0.01, losses)
            losses = np.where(ids == 1, 4 + random.normal(size=len(ids)), losses)
            run.write_part(split, at, pd.DataFrame({"sample": ids, "loss": losses, "margin": 1.0, "predicted": 0}))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("made"), train=40, held_out=40)
    plant(run)
    return run.path.parent


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    home = shutil.copytree(made, tmp_path / "home")
    monkeypatch.chdir(home)
    return at_home(home)


def test_the_command_ranks_and_attacks_and_keeps_both(run, capsys):
    assert main(["exposure", "run", "--out", "exposed.csv", "--json"]) == 0
    told = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    jsonschema.validate(told, {**SCHEMA["commands"]["exposure"], "$defs": SCHEMA["$defs"]})
    assert {row["sample"] for row in told["rows"][:3]} == set(LATE) and len(told["rows"]) == 20
    assert told["checkpoints"] == 22 and told["samples"] == 120 and told["attack"]["others"] == 120
    assert told["attack"]["auroc"] > 0.7 and told["attack"]["found"][1]["found"] is None
    notes = " ".join(told["notes"])
    assert "first 2 checkpoints at chance level left out" in notes and "1,000 samples" in notes
    table = pd.read_csv("exposed.csv")
    assert table["sample"].iloc[-1] == 1 and not table["learnt"].iloc[-1], "never learnt comes last"
    again = exposure.kept(open_run("run"))
    assert again.table["sample"].tolist() == table["sample"].tolist() and again.notes == tuple(told["notes"])
    assert again.attack.auroc == told["attack"]["auroc"] and not again.attack.found[1].measured
    assert verify("run").count("damaged") == 0
    assert main(["exposure", "run", "--top", "2"]) == 0
    said = capsys.readouterr().out
    assert "AUROC" in said and "never learnt come last" in said and "page Exposure" in said


def test_validation_samples_that_are_copies_of_members_are_no_others(run):
    pairs = pd.DataFrame({"sample": [0, 5, 130], "partner": [130, 6, 131], "kind": "near", "similarity": 1.0})
    run.write_duplicates(pairs.astype({"sample": "int64", "partner": "int64"}))
    exposed = exposure.measure(run)
    assert exposed.copies == 1 and exposed.attack.others == 119 and "copies of training samples" in exposed.notes[-1]


def test_few_checkpoints_rank_nothing_and_say_so(run):
    for name in run.path.glob("trajectories/split=*/checkpoint=000*"):
        if int(name.name[-5:]) > 3:
            shutil.rmtree(name)
    exposed = exposure.measure(run)
    assert (exposed.table["rank"] == 0).all() and "nothing is ranked" in exposed.notes[0]
    assert exposed.attack is not None
    with pytest.raises(LossprintError, match="nothing is ranked"):
        exposure.most_exposed(run, 0.1)


def test_without_validation_losses_there_is_no_attack(run):
    shutil.rmtree(run.path / "trajectories" / "split=val")
    exposed = exposure.measure(run)
    assert exposed.attack is None and set(exposed.table["sample"][:3]) == set(LATE)
    assert any("cannot be told" in note for note in exposed.notes) and exposure.kept(run).attack is None


def only_line(capsys) -> str:
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("lossprint: expected"), err
    return err


def exported(out: str, *options: str) -> int:
    return main(["export", "coreset", "run", "--method", "random", "--out", out, *options])


def test_members_that_look_worse_than_others_are_said_to(run):
    for at in range(1, 25):
        for split, loss in (("train", 0.5), ("val", 0.1)):
            ids = run.sample_ids(split)
            losses = loss * np.random.default_rng(at).random(len(ids))
            run.write_part(split, at, pd.DataFrame({"sample": ids, "loss": losses, "margin": 1.0, "predicted": 0}))
    exposed = exposure.measure(run)
    assert exposed.attack.auroc < 0.3 and any("says nothing here" in note for note in exposed.notes)
    run.member("view=frozen").write_part("train", 1, run.part("train", 1))
    assert not any("linear head" in note for note in exposure.measure(run).notes)


def test_a_coreset_leaves_the_most_exposed_out(run, capsys):
    assert exported("some.csv", "--fraction", "0.9", "--without-exposed", "0.02") == 2
    assert "lossprint exposure" in only_line(capsys)
    exposure.measure(run)
    for fraction, size in (("0.9", 108), ("1.0", 117)):
        assert exported("some.csv", "--fraction", fraction, "--without-exposed", "0.025") == 0  # three of 120
        chosen = set(pd.read_csv("some.csv")["sample"])
        assert not chosen & set(LATE) and len(chosen) == size
    assert main(["export", "coreset", "run", "--like", "some.csv", "--out", "again.csv"]) == 0
    assert Path("some.csv").read_bytes() == Path("again.csv").read_bytes()
    assert json.loads(Path("some.csv.json").read_text())["params"]["without_exposed"] == 0.025
    assert coresets.Ask("random", without_exposed=0.025).options == '{"without_exposed": 0.025}'


def test_the_page_measures_and_shows_the_most_exposed(run, monkeypatch):
    app = open_page("exposure", run.path, monkeypatch)
    assert_whole(app)
    assert "lossprint exposure" in app.code[0].value
    app.button(key="exposure-measure").click().run()
    assert_whole(app)
    numbers = {metric.label: metric.value for metric in app.metric}
    assert (
        numbers["Found at 0.1 % false alarms"] == "not measurable"
        and float(numbers["Members told by their loss"]) > 0.7
    )
    assert "When not to trust it" in said(app)
    app = open_page("coreset", run.path, monkeypatch, exposed=5, keep=90, method="random")
    assert_whole(app)
    assert any("--without-exposed 0.05" in code.value for code in app.code)


def test_the_report_tells_it_without_naming_a_sample(run):
    before = Page(report_bytes(run).decode())
    assert "What a trained model gives away" not in before.text
    exposure.measure(run)
    text = Page(report_bytes(run).decode()).text
    part = text.split("What a trained model gives away")[-1].split("What this audit cannot tell")[0]
    assert "no claim about one image or person" in part and "train_007" not in part and "AUROC" in part


@pytest.mark.parametrize("facts", [b"{}", b"no json", b'{"attack": {"auroc": "x"}}', None])
def test_a_damaged_result_is_one_line(run, facts, monkeypatch):
    exposure.measure(run)
    file = run.path / exposure.FILE
    table = pq.read_table(file)
    pq.write_table(table.replace_schema_metadata({exposure.FACTS: facts} if facts else None), file)
    with pytest.raises(LossprintError, match=r"expected a readable exposure\.parquet"):
        exposure.kept(run)
    file.write_bytes(b"odd")
    app = open_page("exposure", run.path, monkeypatch)
    assert not app.exception and "expected a readable exposure" in app.error[0].value


def test_a_run_without_losses_is_refused(run, capsys):
    shutil.rmtree(run.path / "trajectories")
    assert main(["exposure", "run"]) == 2
    assert "expected recorded losses" in only_line(capsys)
