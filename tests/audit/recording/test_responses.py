"""Losses of prompt/response pairs: from a table, by the recorder, as columns of the scores, and on a page."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from app_pages import assert_whole, open_page
from helpers import one_line

from lossprint.app.shared import story
from lossprint.audit.cli import main as cli
from lossprint.audit.recording import per_sample
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.recording.responses import read_responses, scores_of
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.verify import verify


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The run of a dozen pairs with losses of a training that was made up, not scored."""
    home = tmp_path_factory.mktemp("pairs")
    rows = [
        {
            "id": f"p/{at:02d}",
            "prompt": f"What is {at} + 1?",
            "response": str(at + 1),
            "split": "val" if at > 8 else "train",
        }
        for at in range(12)
    ]
    (home / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recorder = Recorder(home / "run", home / "pairs.jsonl", task="text")
    for epoch in (1, 2, 3):
        recorder.update(range(12), [2 / epoch + at / 50 for at in range(12)])
        recorder.end_checkpoint(epoch)
    recorder.finish()
    return home


@pytest.fixture
def home(recorded, tmp_path):
    shutil.copytree(recorded, tmp_path / "home")
    return tmp_path / "home"


def test_a_table_of_pairs_becomes_two_scores_that_pages_show(home, monkeypatch, capsys):
    table = pd.DataFrame({"path": [f"p/{at:02d}" for at in range(12)], "tokens": 2, "loss": 2.0, "alone": 4.0})
    table.loc[3, "loss"], table.loc[5, "alone"] = 9.0, np.nan
    table.to_csv(home / "pairs.csv", index=False)
    assert cli.main(["score", str(home / "run"), "--responses", str(home / "pairs.csv"), "--quiet"]) == 0
    scores = open_run(home / "run").scores().set_index("path")
    assert scores["response_loss"].nlargest(1).index.tolist() == ["p/03"] and scores.loc["p/00", "response_loss"] == 1
    assert scores.loc["p/03", "ifd"] == pytest.approx(2.25) and np.isnan(scores.loc["p/05", "ifd"])
    assert verify(home / "run").whole
    assert cli.main(["score", str(home / "run"), "--quiet"]) == 0  # once more, they stay
    assert open_run(home / "run").scores()["ifd"].notna().sum() == 8
    capsys.readouterr()
    told = story.percentiles(scores.reset_index().set_index("sample"), 3).set_index("name")
    assert told.loc["ifd", "value"] == pytest.approx(2.25) and told.loc["response_loss", "suspect"] == "high"
    app = open_page("explore", home / "run", monkeypatch, sort="ifd")
    assert_whole(app)


def test_a_row_a_token_is_summed_over_the_tokens_of_the_response(home):
    run = open_run(home / "run", need=None)
    rows = [(0, 0, "", 1.0), (0, 1, 0.5, 1.0), (0, 2, 1.5, 3.0), (4, 0, 2.0, "")]
    pd.DataFrame(rows, columns=["sample", "token", "loss", "alone"]).to_csv(home / "tokens.csv", index=False)
    found = read_responses(run, home / "tokens.csv").set_index("sample")
    assert found.loc[0].tolist() == [2.0, 1.0, 2.0]
    assert found.loc[4, "loss"] == 2.0 and np.isnan(found.loc[4, "alone"])
    frame = pd.DataFrame({"sample": [1, 2], "loss": [1.0, 2.0]})
    frame.to_parquet(home / "means.parquet", index=False)
    assert read_responses(run, home / "means.parquet")["loss"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "table, words",
    [
        ({"sample": [0], "tokens": [2]}, "expected the columns sample (or path) and loss"),
        ({"sample": [99], "loss": [1]}, "expected samples of"),
        ({"path": ["x"], "loss": [1]}, "expected samples of"),
        ({"sample": [0, 0], "loss": [1, 2]}, "expected a row a sample"),
        ({"sample": [0], "loss": [-1]}, "expected numbers of 0 or more as loss"),
        ({"sample": [0], "loss": ["much"]}, "found 'much' in row 1"),
        ({"sample": [0], "loss": [1], "tokens": [2], "token": [0]}, "found both"),
    ],
)
def test_bad_tables_are_refused_in_one_line(home, table, words):
    pd.DataFrame(table).to_csv(home / "bad.csv", index=False)
    assert words in one_line(read_responses, open_run(home / "run", need=None), home / "bad.csv")


def test_the_recorder_takes_what_a_language_model_says(home, tmp_path):
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 6, 9), torch.randint(0, 9, (3, 6))
    labels[:, :3] = -100
    labels[2] = -100
    sums, counts = per_sample.response_sums(logits, labels)
    assert counts.tolist() == [3, 3, 0] and sums[2] == 0
    by_hand = sum(torch.nn.functional.cross_entropy(logits[0, at - 1], labels[0, at]) for at in (3, 4, 5))
    assert sums[0] == pytest.approx(float(by_hand), rel=1e-5)
    recorder = Recorder(tmp_path / "run", home / "pairs.jsonl", task="text")
    recorder.responses(["p/00", "p/01"], sums[:2], counts[:2], 2 * sums[:2])
    recorder.responses([1, 2], [6.0, 1.0], [3, 1], [3.0, 0.0])
    found = scores_of(recorder.run)
    assert found["ifd"].iloc[:2].tolist() == pytest.approx([0.5, 2.0]) and np.isnan(found["ifd"].iloc[2])
    assert found.loc[1, "response_loss"] == 2.0
    assert "other shapes" in one_line(recorder.responses, [0, 1], [1.0], [1])
    assert "negative" in one_line(recorder.responses, [0], [-1.0], [1])
