"""Votes of annotators on a run: files as tools write them, bad ones, reviewers as voters, the command and its files."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from helpers import make_run, one_line
from html_page import Page
from planted_votes import planted_votes

from lossprint.audit.cli import output
from lossprint.audit.cli.main import main
from lossprint.audit.report.write import report_bytes
from lossprint.audit.review import votes
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs import beside
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.tables import HEAD
from lossprint.audit.runs.verify import verify

SCHEMA = json.loads(Path(output.__file__).with_name("results.schema.json").read_text())
CLASSES = ("ant", "bee", "cat", "dog", "elk")
PEOPLE = ("ann", "bob", "cem", "dan", "eva")


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, classes=CLASSES, train=60, held_out=4)


def written(run, folder: Path, **shape) -> tuple[Path, np.ndarray, pd.DataFrame]:
    """votes.csv on the first samples of the run, the truth of each, and the rows."""
    made, truth, _ = planted_votes(**{"samples": 300, "seed": 2} | shape)
    table = run.samples().sort_values("sample")
    frame = pd.DataFrame(
        {
            "sample": table["sample"].to_numpy()[made.sample],
            "annotator": np.array(PEOPLE)[made.annotator],
            "label": np.array(CLASSES)[made.label],
        }
    )
    frame.to_csv(folder / "votes.csv", index=False)
    return folder / "votes.csv", np.array(CLASSES)[truth], frame


def test_the_command_counts_votes_and_keeps_what_they_come_to(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, truth, frame = written(run, tmp_path)
    assert main(["votes", "run", str(file), "--out", "consensus.csv"]) == 0
    said = capsys.readouterr().out
    assert "no model of pretrained features" in said and "eva" in said and "of 3 annotators said" in said
    assert main(["votes", "run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    jsonschema.validate(told, {**SCHEMA["commands"]["votes"], "$defs": SCHEMA["$defs"]})
    assert told["samples"] == 300 and told["annotators"][0]["annotator"] == "eva"
    table = pd.read_csv("consensus.csv").set_index("sample")
    wrong = (table["consensus"] != truth).mean()
    assert wrong < (table["majority"] != truth).mean()
    ability = pd.DataFrame(told["annotators"]).set_index("annotator")["ability"]
    real = frame["label"].eq(pd.Series(truth, np.arange(300)).reindex(frame["sample"]).to_numpy())
    real = real.groupby(frame["annotator"]).mean()
    assert (ability - real).abs().max() < 0.08
    consensus, annotators, counted = beside.consensus(open_run("run"))
    assert len(consensus) == 300 and len(annotators) == 5 and len(counted) == 900
    matrix = votes.confusion(counted, consensus, "ann", list(CLASSES))
    assert matrix.sum() == annotators.set_index("annotator")["votes"]["ann"] and matrix.trace() > 0.85 * matrix.sum()
    assert verify("run").count("damaged") == 0


def test_a_model_of_pretrained_features_has_a_say(run, tmp_path):
    file, truth, _ = written(run, tmp_path, each=2)
    table = run.samples().sort_values("sample")
    ids = table["sample"].to_numpy()
    shown = table["label"].map(CLASSES.index).to_numpy(copy=True)
    shown[:300] = [CLASSES.index(one) for one in truth]
    vectors = np.random.default_rng(0).normal(size=(len(ids), 8)) + 4 * np.eye(5, 8)[shown]
    run.write_embeddings(ids, vectors.astype(np.float32))
    train = table.loc[table["split"] == "train", "sample"].to_numpy()
    numbers = {
        "suspicion": 0.5,
        "suggested": 0,
        "probability": 0.5,
        "given_probability": 0.5,
        "foreign": 1.0,
        "head_curvature": 0.1,
    }
    head = pd.DataFrame({"sample": train, **numbers, "flagged": False, "certain": False})
    run.write_head(head.astype({"suggested": "int32"})[HEAD.names])
    beside.write_votes(run, votes.read_votes(run, file).votes)
    counted = votes.count(run)
    assert counted.notes == []
    wrong = (counted.consensus["consensus"] != truth).mean()
    assert wrong < 0.05 < (counted.consensus["majority"] != truth).mean()


def test_paths_other_names_abstentions_and_spreadsheets(run, tmp_path):
    paths = run.samples().sort_values("sample")["path"].tolist()
    file = tmp_path / "v.csv"
    file.write_text(f"Image;LF;Vote\n{paths[0]};keyword;bee\n{paths[0]};size;\n{paths[1]};size;cat\n")
    read = votes.read_votes(run, file)
    assert read.votes[["sample", "annotator"]].values.tolist() == [[0, "keyword"], [0, "size"], [1, "size"]]
    assert read.votes["label"].fillna("none").tolist() == ["bee", "none", "cat"]
    beside.write_votes(run, read.votes)
    counted = votes.count(run)
    assert len(counted.votes) == 2 and "no sample has two votes" in " ".join(counted.notes)
    assert counted.annotators["agreement"].isna().all() and counted.annotators["few"].all()


def test_reviewers_are_voters(run):
    with open_reviews(run) as reviews:
        reviews.add(finding="label_error:1", sample=1, decision="relabel", new_label="elk", reviewer="ann")
        reviews.add(finding="label_error:1", sample=1, decision="keep", reviewer="bob")
        reviews.add(finding="label_error:4", sample=4, decision="exclude", reviewer="ann")
    frame = votes.given_votes(run).sort_values("annotator")
    given = run.samples().set_index("sample")["label"][1]
    assert frame.values.tolist() == [[1, "ann (reviewer)", "elk"], [1, "bob (reviewer)", given]]
    assert len(votes.count(run).consensus) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sample,annotator,label\n9999,ann,bee\n", "expected a sample of"),
        ("path,annotator,label\nimages/train_00.png,ann,bee\n", "did you mean 'images/train_"),
        ("sample,annotator,label\n0,ann,bea\n", "did you mean 'bee'"),
        ("sample,annotator,label\n0,ann,bee\n0,ann,cat\n", "expected one vote of 'ann' on '0'"),
        ("sample,annotator,label\n0,ann,bee\n0,ann,\n", "found 'bee' and then 'an abstention'"),
        ("sample,annotator,label\n0,,bee\n", "name of an annotator"),
        ("sample,annotator,label\n0,ann,\n", "expected a vote with a label"),
        ("sample,annotator,label\n", "expected a vote with a label"),
        ("sample,who,label\n0,ann,bee\n", "expected the columns sample, annotator and label"),
        ("", "found an empty file"),
    ],
)
def test_bad_files_are_refused_in_one_line(run, tmp_path, text, words):
    file = tmp_path / "v.csv"
    file.write_text(text)
    assert words in one_line(votes.read_votes, run, file)


def test_what_is_unknown_can_be_left_out_and_is_counted(run, tmp_path):
    file = tmp_path / "v.csv"
    file.write_text("sample,annotator,label\n0,ann,bee\n0,ann,bee\n9999,ann,bee\n1,ann,boat\n")
    read = votes.read_votes(run, file, skip_unknown=True)
    assert len(read.votes) == 1
    assert [note.split(":")[0] for note in read.notes] == ["left out"] * 3 and "'boat'" in read.notes[1]


def test_no_votes_and_damaged_tables_are_said_in_one_line(run, tmp_path, capsys):
    assert main(["votes", str(run.path)]) == 2 and "lossprint votes" in capsys.readouterr().err
    assert main(["votes", str(run.path), str(tmp_path / "nothing.csv")]) == 2
    file, _, _ = written(run, tmp_path, samples=40)
    assert main(["votes", str(run.path), str(file)]) == 0
    (run.path / "consensus.parquet").write_bytes(b"PAR1")
    assert "expected a readable consensus.parquet" in one_line(beside.consensus, run)
    (run.path / "votes.parquet").write_bytes(b"PAR1")
    assert "expected a readable votes.parquet" in one_line(votes.count, run)


def test_votes_come_with_imported_losses(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, _, _ = written(run, tmp_path)
    losses = np.abs(np.random.default_rng(0).normal(size=(320, 4)))
    np.savez("losses.npz", train_losses=losses[:300], val_losses=losses[300:])
    arguments = ["import", "losses.npz", "--dataset", "data/labels.csv", "--out", "mine", "--quiet"]
    assert main([*arguments, "--votes", str(file)]) == 0
    assert len(beside.consensus(open_run("mine"))[0]) == 300


def test_the_report_and_the_exported_findings_have_what_the_votes_come_to(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "findings", "run", "--out", "before.csv"]) == 0
    assert "What annotators said" not in Page(report_bytes(run).decode()).text
    file, _, _ = written(run, tmp_path)
    beside.write_votes(run, votes.read_votes(run, file).votes)
    counted = votes.count(run).consensus.set_index("sample")
    against = counted[counted["consensus"] != counted["label"]]
    sample = int(against["quality"].idxmax())
    open_reviews(run).add(
        finding=f"pick:{sample}",
        sample=sample,
        decision="relabel",
        new_label=against["consensus"][sample],
        reviewer="z",
    )
    page = Page(report_bytes(run).decode())
    assert f"another label than the given one for {len(against)} images" in page.text
    assert f"{len(against) - 1} of these have no decision" in page.text
    names = run.samples().set_index("sample")["path"]
    rows = {row[0]: row for row in page.rows if len(row) == 6}
    assert rows[names[sample]][1:3] == [against["label"][sample], against["consensus"][sample]]
    assert rows[names[sample]][5] == against["consensus"][sample] and "eva" in rows
    assert main(["export", "findings", "run", "--out", "after.csv"]) == 0
    before, after = pd.read_csv("before.csv"), pd.read_csv("after.csv")
    pd.testing.assert_frame_equal(before, after[before.columns])
    first = after.iloc[0]
    assert first["consensus"] == counted["consensus"][first["sample"]] and first["votes"] == 3
    assert after["votes"].isna().sum() == (~after["sample"].isin(counted.index)).sum()
