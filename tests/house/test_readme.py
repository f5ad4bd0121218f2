"""What the README shows works as it stands."""

import re
from pathlib import Path

import pandas as pd
import torch
from conftest import cut_demo
from PIL import Image

from lossprint.audit.scores import SCORES
from lossprint.audit.workflow.score import score
from lossprint.scoring.coresets.methods import ADVICE

ROOT = Path(__file__).parent.parent.parent
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


def test_what_to_choose_when_is_the_advice():
    rows = re.findall(r"^\| (.+?) \| `(\w+)` \| (.+?) \|$", TEXT, re.M)
    assert rows and set(rows) <= set(ADVICE)


def test_the_scores_are_scores():
    table = TEXT[TEXT.index("| score |") :].split("\n\n")[0]
    names = re.findall(r"^\| `(\w+)` \|", table, re.M)
    assert len(names) >= 6 and set(names) <= set(SCORES)


def test_the_pictures_are_there_and_every_link_leads_somewhere():
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", TEXT)
    assert pictures
    for path in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / path).is_file(), path


def test_it_is_read_in_ten_minutes():
    assert len(TEXT.splitlines()) <= 250
    assert len(TEXT.encode()) <= 16 * 1024
