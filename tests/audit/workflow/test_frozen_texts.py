"""Labelled texts on vectors: a file of features, an encoder, what is found, more like a few, and what is refused."""

import json
import sys

import numpy as np
import pytest
import text_runs
from helpers import one_line

from lossprint.audit.cli import main as cli
from lossprint.audit.findings import more
from lossprint.audit.workflow.audit import audit

ENCODER = """
import numpy as np


class SentenceTransformer:
    def __init__(self, name, device=None, local_files_only=False, trust_remote_code=True):
        if name != "here" or trust_remote_code:
            raise OSError(f"no {name}")
        self.local = local_files_only

    def encode(self, texts, batch_size, show_progress_bar):
        assert self.local and len(texts) <= batch_size
        return np.array([[text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts])
"""


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """texts.jsonl of three topics with eight wrong labels, and words.npz, their words as vectors."""
    home = tmp_path_factory.mktemp("texts")
    path, wrong = text_runs.labelled(home)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    table, _ = text_runs.bags([text_runs.words(row["text"]) for row in rows])
    np.savez(home / "words.npz", features=table.numpy(), paths=np.array([row["id"] for row in rows]))
    return path, wrong


def test_labelled_texts_are_audited_by_their_vectors(texts, tmp_path, capsys):
    path, wrong = texts
    out = tmp_path / "run"
    arguments = ["audit", str(path), "--features", str(path.with_name("words.npz")), "--out", str(out), "--quiet"]
    assert cli.main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"]["near_duplicate"] >= 1
    from lossprint.audit.runs.open import open_run

    run = open_run(out)
    scores = run.scores().sort_values("label_error", ascending=False)
    assert len(set(scores["path"].head(8)) & wrong) >= 7
    samples = run.samples().set_index("path")["sample"]
    nearest = more.like(run, samples[["weather/005", "weather/006"]].tolist(), number=15)
    assert nearest["path"].str.startswith("weather/").mean() > 0.8
    assert cli.main([*arguments, "--resume"]) == 0


def test_an_encoder_is_asked_for_each_text_and_only_where_it_is_there(texts, tmp_path, monkeypatch):
    path, _ = texts
    how = {"model": "frozen:sentences:here", "quiet": True}
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    assert "pip install 'lossprint[sentences]'" in one_line(audit, str(path), tmp_path / "no", **how)
    (tmp_path / "sentence_transformers.py").write_text(ENCODER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sentence_transformers")
    assert "--download fetches it" in one_line(audit, str(path), tmp_path / "no", **how | {"model": how["model"] + "x"})
    run = audit(str(path), tmp_path / "run", **how)
    assert run.embeddings()[1].shape[1] == 26 and run.manifest["facts"]["record"]["backbone"] == how["model"]
    monkeypatch.delitem(sys.modules, "sentence_transformers")


def test_what_does_not_go_with_texts_is_refused(texts, small_dataset, tmp_path, monkeypatch):
    path, _ = texts
    out = tmp_path / "run"
    for model in (None, "small", "auto", "frozen:resnet18"):
        assert "--features FILE or --model frozen:sentences:NAME" in one_line(audit, str(path), out, model=model)
    both = {"model": "small", "features": path.with_name("words.npz")}
    assert "found texts" in one_line(audit, str(path), out, **both)
    rows = [{"text": f"word {at}", "split": "train" if at < 20 else "val"} for at in range(30)]
    (tmp_path / "plain.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    np.save(tmp_path / "plain.npy", np.eye(30))
    features = {"features": tmp_path / "plain.npy"}
    assert "a column label of at least two classes" in one_line(audit, str(tmp_path / "plain.jsonl"), out, **features)
    (tmp_path / "sentence_transformers.py").write_text(ENCODER)
    monkeypatch.syspath_prepend(str(tmp_path))
    model = {"model": "frozen:sentences:here"}
    assert "expected texts for frozen:sentences:here, found images" in one_line(audit, str(small_dataset), out, **model)
    weights = model | {"weights": "w.pt"}
    assert "expected no --weights" in one_line(audit, str(path), out, **weights)
    monkeypatch.delitem(sys.modules, "sentence_transformers", raising=False)
    assert not out.exists()
