"""The commands that carry decisions out and in: their options, what they print, and faults in one line."""

import json
import shutil

import pytest
from helpers import at_home, make_run, read_csv, refused

from lossprint.audit.cli import export as cli_export
from lossprint.audit.cli import main as cli
from lossprint.audit.export import outfile
from lossprint.audit.review.reviews import open_reviews


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made")).path.parent


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    run = at_home(shutil.copytree(made, tmp_path / "home"))
    reviews = open_reviews(run)
    for who in ("ann", "bob"):
        reviews.add(finding="label_error:1", sample=1, decision="accept", new_label="shirt", reviewer=who)
    reviews.add(finding="outlier:5", sample=5, decision="unsure", reviewer="ann")
    reviews.add(finding="label_error:4", sample=4, decision="relabel", new_label="bag", reviewer="ann")
    monkeypatch.setattr(cli_export, "open_run", lambda path: run)
    return run


def call(*arguments) -> int:
    return cli.main([str(argument) for argument in arguments])


def test_every_export_takes_a_rule_and_says_what_it_wrote(run, tmp_path, capsys):
    rule = ("--apply", "settled", "--unsure", "drop")
    assert call("export", "cleaned", run.path, "--out", tmp_path / "c.parquet", *rule) == 0
    assert "54 samples written to" in capsys.readouterr().out
    assert (
        call("export", "cleaned", run.path, "--out", tmp_path / "tree", "--link", "hardlink", "--unsure", "drop") == 0
    )
    assert "2 relabelled, 1 excluded (1 of them unsure)" in capsys.readouterr().out
    assert call("export", "manifest", run.path, "--out", tmp_path / "m.csv", *rule) == 0
    assert "manifest with 1 corrected labels, without 0 rows" in capsys.readouterr().out
    assert call("export", "changes", run.path, "--out", tmp_path / "d.csv", "--apply", "reviewer:bob") == 0
    assert "1 changes written to" in capsys.readouterr().out
    assert [row["review"] for row in read_csv(tmp_path / "d.csv")] == ["2"]
    assert outfile.read_record(tmp_path / "d.csv")["rule"] == "reviewer:bob"
    assert call("export", "cleanlab", run.path, "--out", tmp_path / "l.csv", *rule) == 0
    assert "54 samples, 2 of them label issues" in capsys.readouterr().out
    assert call("export", "labelstudio", run.path, "--out", tmp_path / "t.json", "--prefix", "s3://b/") == 0
    assert json.loads((tmp_path / "t.json").read_text())[0]["data"]["image"] == "s3://b/images/train_000.png"
    assert str(tmp_path / "t.xml") in capsys.readouterr().out


@pytest.mark.parametrize("what", ["changes", "cleanlab", "cleaned", "manifest"])
def test_a_decision_stored_while_an_export_is_made_is_in_its_table_and_its_record_or_in_neither(
    run, tmp_path, monkeypatch, what
):
    """Stored when the place of the record is looked at: the table of the changes is made by then, the record is not."""
    look, reviews, out = outfile.refuse_record, open_reviews(run), tmp_path / "x.csv"

    def stored_meanwhile(path):
        reviews.add(finding="label_error:6", sample=6, decision="relabel", new_label="shirt", reviewer="cay")
        look(path)

    monkeypatch.setattr(outfile, "refuse_record", stored_meanwhile)
    assert call("export", what, run.path, "--out", out) == 0
    record = outfile.read_record(out)
    given, labels = run.samples().set_index("path")["label"], {"cleaned": "label", "manifest": "label"}
    rows = read_csv(out)
    column = labels.get(what, "new" if what == "changes" else "cleaned_label")
    relabelled = [row["path"] for row in rows if row[column] and row[column] != given[row["path"]]]
    assert record["relabelled"] == len(relabelled)
    if what != "manifest":  # it has no room for who decided
        assert record["last_review"] == max(int(row["review"]) for row in rows if row["review"])


def test_decisions_are_imported_and_faults_are_one_line(run, tmp_path, capsys):
    (tmp_path / "f.csv").write_text("path,label\nimages/train_006.png,shirt\n")
    assert call("reviews", "import", run.path, tmp_path / "f.csv", "--reviewer", "eve") == 0
    assert capsys.readouterr().out == "stored: 1 decisions from f.csv: 1 relabel\n"
    assert open_reviews(run).history()["reviewer"].tolist()[-1] == "eve"
    (tmp_path / "g.csv").write_text("path,label\nnope.png,shirt\n")
    for arguments in (
        ("reviews", "import", run.path, tmp_path / "g.csv", "--reviewer", "eve"),
        ("export", "manifest", run.path, "--out", tmp_path / "m.parquet"),
        ("export", "changes", run.path, "--out", tmp_path / "d.csv", "--apply", "best"),
        ("export", "changes", run.path, "--out", tmp_path / "d.csv", "--apply", "reviewer:zoe"),
    ):
        refused(capsys, *arguments)
    assert not (tmp_path / "d.csv").exists() and len(open_reviews(run).history()) == 5
