"""A run on frozen features in the app: every page opens, none says what such a run has not."""

import numpy as np
import pandas as pd
import pytest
from app_pages import NAMES, assert_whole, open_page, said
from conftest import cut_demo
from PIL import Image

from lossprint.audit.workflow.audit import audit


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """A folder with one run, of features that are the images' pixels, 7 by 7; ten labels are wrong."""
    folder = tmp_path_factory.mktemp("pages")
    labels = cut_demo(folder / "data", 40, 8)
    table = pd.read_csv(labels)
    table.loc[:9, "label"] = table["label"].iloc[:10].map({"bag": "dress", "dress": "sandal", "sandal": "bag"})
    table.to_csv(labels, index=False)
    pictures = [Image.open(labels.parent / path).convert("L").resize((7, 7)) for path in table["path"]]
    np.save(folder / "pixels.npy", np.stack([np.asarray(one, np.float32).ravel() for one in pictures]))
    audit(str(labels), folder / "runs" / "frozen", features=folder / "pixels.npy", quiet=True)
    return folder / "runs"


@pytest.mark.parametrize("name", NAMES)
def test_every_page_opens(frozen, monkeypatch, name):
    assert_whole(open_page(name, frozen, monkeypatch))


def test_the_overview_names_the_model_and_counts_the_flagged(frozen, monkeypatch):
    app = open_page("overview", frozen, monkeypatch)
    assert "model frozen:features" in said(app).replace("\\", "") and any(
        one.label == "Wrong labels" for one in app.metric
    )
