"""A run that the first version wrote, before the code was in rooms, is read, scored, decided on and exported.

tests/data/run-0.1.0 is an audit of 60 images of the demo (48 train, 12 val; three wrong labels and one copy planted), 3
epochs, with four decisions; its weights were left out, and its images are not there.
"""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lossprint.audit.cli.main import main
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import list_runs, open_run
from lossprint.audit.runs.run import STAGES, Run
from lossprint.audit.runs.tables import FINDINGS, PAIRS
from lossprint.audit.runs.verify import verify
from lossprint.audit.scores import SCORES

OLD = Path(__file__).parent.parent.parent / "data" / "run-0.1.0"


@pytest.fixture
def run(tmp_path) -> Run:
    shutil.copytree(OLD, tmp_path / "run")
    return open_run(tmp_path / "run")


def test_every_table_is_read(run):
    assert list_runs(run.path.parent) == [run.path]
    assert run.stages == list(STAGES) and run.classes == ["bag", "dress", "sandal"] and run.task == "classes"
    samples = run.samples()
    assert samples["split"].value_counts().to_dict() == {"train": 48, "val": 12} and run.unreadable().empty
    for split, count in (("train", 48), ("val", 12)):
        assert run.recorded(split) == [1, 2, 3] and run.known(split) == {"margin", "predicted", "el2n"}
        trajectory = run.trajectory(split)
        assert trajectory.losses.shape == trajectory.margins.shape == (3, count)
        assert np.isfinite(trajectory.losses).all()
    assert run.curvature_recorded() == [3] and len(run.curvature()) == 48
    ids, vectors = run.embeddings()
    assert ids.tolist() == samples["sample"].tolist() and vectors.shape[0] == 60
    assert run.duplicates()[["sample", "partner", "kind"]].to_numpy().tolist() == [[7, 33, "exact"]]
    later = {"sequence_label", "sequence_order", "head_curvature", "ifd", "response_loss"}
    assert set(SCORES) - set(run.scores()) == later and len(run.scores()) == 48
    assert list(run.findings()) == list(FINDINGS) and len(run.findings()) == 6
    assert list(run.pairs()) == list(PAIRS) and set(run.pairs(23)["sample"]) == {23}
    assert run.frames() is None and run.spans().empty and run.comparison() is None and run.evaluation() is None
    assert run.selections() == run.members("seed") == run.saved_checkpoints() == []


def test_it_is_whole(run):
    verified = verify(run.path)
    assert verified.whole and verified.compared == 14, verified.lines


def test_scoring_it_again_finds_the_same(run):
    """But for label errors, about: since 0.2 a checkpoint counts less for what was learnt by heart."""
    scores, findings, pairs = run.scores(), run.findings(), run.pairs()
    assert main(["score", str(run.path), "--quiet"]) == 0
    again = open_run(run.path)
    weighed = ["label_error", "suggested_probability", "p_mean", "severity"]
    for table, before in ((again.scores(), scores), (again.findings(), findings)):
        about = [name for name in weighed if name in before]
        pd.testing.assert_frame_equal(table.drop(columns=about), before.drop(columns=about), rtol=1e-6)
        pd.testing.assert_frame_equal(table[about], before[about], rtol=0, atol=0.01)
    pd.testing.assert_frame_equal(again.pairs(), pairs, rtol=1e-6)
    assert verify(run.path).whole


def test_its_decisions_are_read_and_gone_on_with(run):
    with open_reviews(run) as reviews:
        history = reviews.history()
        assert history[["sample", "decision", "reviewer"]].to_numpy().tolist() == [
            [23, "relabel", "ann"],
            [14, "keep", "ann"],
            [14, "unsure", "bob"],
            [7, "exclude", "ann"],
        ]
        assert history["new_label"].iloc[0] == "sandal" and history["comment"].iloc[0] == "clearly"
        reviews.add(finding="label_error:33", sample=33, decision="relabel", new_label="dress", reviewer="bob")
        assert reviews.history()["id"].tolist() == [1, 2, 3, 4, 5]


def test_it_is_exported(run, tmp_path, capsys):
    for what in ("findings", "changes", "cleaned"):
        assert main(["export", what, str(run.path), "--out", str(tmp_path / f"{what}.csv")]) == 0, capsys.readouterr()
    assert len(pd.read_csv(tmp_path / "findings.csv")) == 6
    changes = pd.read_csv(tmp_path / "changes.csv").set_index("path")
    assert changes["decision"].to_dict() == {"images/00014.png": "exclude", "images/00065.png": "relabel"}
    cleaned = pd.read_csv(tmp_path / "cleaned.csv").set_index("path")
    assert len(cleaned) == 59 and cleaned.loc["images/00065.png", "label"] == "sandal"
    assert main(["report", str(run.path), "--out", str(tmp_path / "report.html")]) == 0, capsys.readouterr()
    assert "images/00065.png" in (tmp_path / "report.html").read_text()
