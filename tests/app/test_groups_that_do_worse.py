"""Groups that do worse, on the page Classes: a camera that was planted, clusters, and too few samples to say."""

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from app_pages import assert_whole, open_page, said
from helpers import make_run

CAMERA = "cam [2](x)"


@pytest.fixture
def planted(tmp_path):
    """80 validation images a class; the network is wrong on half of those of one camera."""
    st.cache_resource.clear()
    run = make_run(tmp_path, train=4, held_out=80)
    samples = run.samples()
    camera = np.where(samples["sample"] % 4 == 0, CAMERA, "cam 1")
    run.write_further(pd.DataFrame({"sample": samples["sample"], "camera": camera, "hour": samples["sample"] / 7}))
    last = run.recorded("val")[-1]
    part = run.part("val", last)
    part = part.to_pandas() if hasattr(part, "to_pandas") else part.copy()
    bad = (part["sample"] % 8 == 0).to_numpy()
    part.loc[bad, "predicted"] = (part.loc[bad, "predicted"] + 1) % 3
    run.write_part("val", last, part)
    return run


def test_a_planted_camera_is_named_and_its_images_shown(planted, monkeypatch):
    app = open_page("classes", planted.path, monkeypatch)
    assert_whole(app)
    assert "1 group does worse than expected: **cam \\[2\\]\\(x\\)**" in said(app)
    table = next(one.value for one in app.dataframe if "expected" in one.value)
    assert list(table["group"]) == [CAMERA, "cam 1"] and list(table[""]) == ["worse", ""]
    by = next(one for one in app.selectbox if one.key == "worse-by")
    assert list(by.options) == ["Column camera", "Column hour", "Clusters of what looks alike"]
    for other in ("column:hour", "Clusters of what looks alike"):
        app = next(one for one in app.selectbox if one.key == "worse-by").set_value(other).run()
        assert_whole(app)
        assert "worse than" in said(app)


def test_few_held_out_samples_are_not_parted(tmp_path, monkeypatch):
    st.cache_resource.clear()
    app = open_page("classes", make_run(tmp_path).path, monkeypatch)
    assert_whole(app)
    assert "12 held\\-out samples" in said(app) or "12 held-out samples: too few" in said(app)
