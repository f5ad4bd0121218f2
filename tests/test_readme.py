"""What the README shows works as it stands."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import cut_demo
from PIL import Image

from lossprint.audit import open_run
from lossprint.audit.store import STAGES
from lossprint.audit.types import SCORES
from lossprint.audit.workflow import score
from lossprint.scoring.coresets.methods import ADVICE, METHODS

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()


def test_the_recorder_example_runs_and_is_scored(tmp_path, monkeypatch):
    cut_demo(tmp_path / "data", 20, 3)
    monkeypatch.chdir(tmp_path)
    table = pd.read_csv("data/labels.csv")
    classes = sorted(table["label"].unique())
    images = torch.stack(
        [torch.frombuffer(bytearray(Image.open(f"data/{p}").tobytes()), dtype=torch.uint8) / 255 for p in table["path"]]
    )
    labels = torch.tensor([classes.index(label) for label in table["label"]])
    torch.manual_seed(0)
    model = torch.nn.Linear(784, len(classes))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    train = torch.tensor((table["split"] == "train").to_numpy())

    def train_one_epoch(model):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images[train]), labels[train]).backward()
        optimizer.step()

    names = {
        "torch": torch,
        "epochs": 4,
        "model": model,
        "train_one_epoch": train_one_epoch,
        "plain_loader": [(torch.arange(i, i + 23), images[i : i + 23], labels[i : i + 23]) for i in (0, 23, 46)],
    }
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    exec(example, names)
    run = score("runs/mine")
    train_losses = run.trajectory("train").losses
    assert train_losses.shape == (4, 60) and train_losses[-1].mean() < train_losses[0].mean()
    assert run.scores()["suggested_label"].notna().any()


def test_what_to_choose_when_is_what_the_page_says():
    for when, choose, why in ADVICE:
        assert f"| {when} | `{choose}` | {why} |" in TEXT and choose in METHODS


def test_every_coreset_method_is_in_the_readme():
    told = TEXT[TEXT.index("### Coresets") : TEXT.index("### Video")]
    for name in METHODS:
        assert name in told, name


def test_the_pictures_are_there():
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", TEXT)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).is_file(), picture


@pytest.mark.parametrize("name", SCORES)
def test_each_score_is_explained(name):
    assert re.search(rf"^\| {name} \|", TEXT, re.M)


def test_the_tree_names_every_file():
    """The architecture section lists each module of scoring, audit and app by name."""
    missing = [
        file.name
        for folder in ("scoring", "audit", "app")
        for file in (ROOT / folder).glob("*.py")
        if file.name != "__init__.py" and not re.search(rf"\b{re.escape(file.name)}\b", TEXT)
    ]
    assert missing == []


def test_the_run_folder_is_described_as_it_is(audited):
    assert open_run(audited).stages == list(STAGES)
    for file in audited.iterdir():
        assert file.name in TEXT, f"README.md does not name {file.name}"
