"""Each example runs as it stands against the real libraries, leaves a whole run, and finds what was planted."""

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import cut_demo
from helpers import as_script

from lossprint.audit import open_run

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
TEXT = (EXAMPLES / "README.md").read_text()

# name, options, epochs, (training, validation) samples, task, recording, least share of the planted errors found
RUNS = [
    ("plain_pytorch", [], 3, (4000, 500), "classes", "eval", 0.4),
    ("lightning_example", ["--by-product"], 3, (4000, 500), "classes", "by-product", 0.4),
    ("huggingface_text_classification", [], 4, (600, 90), "classes", "eval", 0.8),
    ("huggingface_language_model", ["--by-product"], 5, (600, 60), "text", "by-product", 0.8),
    ("multi_label", [], 8, (1200, 200), "multi-label", "eval", 0.8),
    ("regression", [], 10, (1200, 200), "regression", "eval", 0.9),
]


@pytest.mark.parametrize(
    ("name", "options", "epochs", "counts", "task", "recording", "least"),
    [pytest.param(*one, id=one[0], marks=[] if one[0] == "regression" else pytest.mark.proof) for one in RUNS],
)
def test_an_example_finds_what_was_planted(
    tmp_path, monkeypatch, name, options, epochs, counts, task, recording, least
):
    if name.startswith(("lightning", "huggingface")):
        pytest.importorskip(name.split("_")[0].replace("huggingface", "transformers"))
    out = tmp_path / "run"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    printed = as_script(EXAMPLES / f"{name}.py", "--out", out, "--epochs", epochs, *options)
    run = open_run(out)
    assert run.task == task and run.manifest["recording"] == recording
    for split, count in zip(("train", "val"), counts):
        losses = run.trajectory(split).losses
        assert losses.shape == (epochs, count) and np.isfinite(losses).all()
    (told,) = re.findall(r"^(\d+) of the (\d+) planted errors .*, ([\d.]+) would be by chance", printed, re.M)
    found, planted, chance = map(float, told)
    assert found >= least * planted and found > 5 * chance
    worst = re.findall(r"^  (\S+): .*\(severity [\d.]+, (planted|not planted)\)$", printed, re.M)
    ranked = run.scores().sort_values("label_error", ascending=False)
    assert [path for path, _ in worst] == ranked["path"].head(5).tolist()
    assert sum(truth == "planted" for _, truth in worst) >= 4


@pytest.mark.proof
def test_exchanged_responses_have_a_high_ifd(tmp_path):
    printed = as_script(EXAMPLES / "prompt_responses.py", "--out", tmp_path / "run", "--pairs", 2000, "--epochs", 6)
    found, chance = map(float, re.search(r"^(\d+) of the .*, ([\d.]+) would be by chance", printed, re.M).groups())
    assert found > 1.5 * chance
    assert open_run(tmp_path / "run").scores()["ifd"].notna().all()


def test_the_readme_of_the_examples_names_each():
    assert "`tutorial.ipynb`" in TEXT
    files = {file.name for file in EXAMPLES.glob("*.py")}
    assert files == set(re.findall(r"`(\w+\.py)`", TEXT))
    assert files == {f"{one[0]}.py" for one in RUNS} | {"suspects.py", "prompt_responses.py"}
    for file in files - {"suspects.py"}:
        first = (EXAMPLES / file).read_text().split('"""')[1]
        assert f"python examples/{file} --out" in first and "from lossprint.audit" in first, file


@pytest.mark.proof
def test_the_notebook_of_the_tutorial_runs_to_its_end(tmp_path, monkeypatch):
    """On few images and epochs: every cell, in order, in a kernel of its own."""
    import nbclient
    import nbformat

    monkeypatch.setenv("DATASET", str(cut_demo(tmp_path / "data", 40, 10)))
    monkeypatch.setenv("EPOCHS", "4")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(EXAMPLES / "tutorial.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "kept without outputs"
    (tmp_path / "work").mkdir()
    where = {"metadata": {"path": str(tmp_path / "work")}}
    nbclient.NotebookClient(notebook, timeout=300, resources=where, kernel_name="python3").execute()
    run = open_run(tmp_path / "work" / "runs" / "notebook")
    assert run.manifest["asked"]["epochs"] == 4
    shown = [kind for cell in notebook.cells for output in cell.get("outputs", []) for kind in output.get("data", {})]
    assert "application/vnd.plotly.v1+json" in shown and "text/html" in shown
    assert not [
        output for cell in notebook.cells for output in cell.get("outputs", []) if output["output_type"] == "error"
    ]
