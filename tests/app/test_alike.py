"""The map of what is alike: made by scoring, drawn in any colour, and a lasso leads to the bar and a gallery."""

import numpy as np
import pytest
from app_pages import assert_whole, open_page, said
from helpers import make_run

from lossprint.app import data
from lossprint.app.views.map import alike
from lossprint.audit.findings.find import find_run
from lossprint.audit.review.marks import open_marks
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run


@pytest.fixture
def run(tmp_path):
    """The usual run, found anew: 54 samples in a map, and one that has no embedding."""
    made = make_run(tmp_path)
    ids = made.samples()["sample"].to_numpy()
    vectors = np.random.default_rng(0).normal(size=(len(ids), 7)).astype(np.float32)
    vectors[5] = np.nan
    made.write_embeddings(ids, vectors)
    find_run(made)
    return open_run(made.path)


def test_finding_makes_the_map_and_says_of_what_and_how(run):
    table, facts = run.layout(), run.manifest["facts"]["find"]["layout"]
    assert facts == {"of": "embedding", "method": "pca", "arranged": 0}
    assert table["sample"].tolist() == [one for one in run.samples()["sample"] if one != 5]
    before = (run.path / "layout.parquet").read_bytes()
    find_run(run)
    assert (run.path / "layout.parquet").read_bytes() == before, "the same again"
    (run.path / "embeddings.safetensors").unlink()
    find_run(run)
    assert open_run(run.path).manifest["facts"]["find"]["layout"]["of"] == "losses"
    recorded = run.trajectory("train", losses_only=True)
    assert set(run.layout()["sample"]) <= set(recorded.samples.tolist())


@pytest.mark.parametrize("by", ["Label", "Suggested label", "Split", "Decision", "Tag", "CSL"])
def test_points_are_coloured_by(run, by):
    loaded = data.load(run.path)
    open_marks(run).tag("blurry", [3, 4], "ann")
    open_reviews(run).add(finding="pick:7", sample=7, decision="exclude", reviewer="ann")
    assert by in alike._colours(loaded)
    ids = data.derived(loaded, alike.table).index.to_numpy()
    values = dict(zip(ids.tolist(), alike._values(loaded, ids, by).tolist()))
    expected = {
        "Label": lambda one: loaded.samples.at[one, "label"],
        "Suggested label": lambda one: loaded.scores["suggested_label"].get(one) or "none",
        "Split": lambda one: loaded.samples.at[one, "split"],
        "Decision": lambda one: "excluded" if one == 7 else "none",
        "Tag": lambda one: "blurry" if one in (3, 4) else "none",
        "CSL": lambda one: loaded.scores["csl"].get(one, np.nan),
    }[by]
    wanted = {one: expected(one) for one in values}
    assert all(values[one] == wanted[one] or (by == "CSL" and np.isnan(wanted[one])) for one in values)


def test_a_line_on_the_map_chooses_what_the_bar_acts_on(run, monkeypatch):
    app = open_page("map", run.path, monkeypatch, map_of=alike_title())
    assert_whole(app)
    assert "Made of the network's embedding. The two principal components" in said(app)
    table = run.layout()
    middle = float(np.sort(table["x"])[26:28].mean())
    inside = table["x"].between(middle, 99)
    app = open_page("map", run.path, monkeypatch, map_of=alike_title(), a_colour="CSL")
    app.query_params["alike"] = f"{middle:.5g}_-99~99_99"
    app.run()
    assert_whole(app)
    assert f"**{inside.sum()}** within the line" in said(app)
    assert app.button(key="alike_put-on").disabled, "no tag is chosen yet"
    app.button(key="a_clear").click().run()
    assert_whole(app)
    assert "within the line" not in said(app)


def test_a_run_of_before_has_no_such_map(tmp_path, monkeypatch):
    app = open_page("map", make_run(tmp_path).path, monkeypatch, map_of=alike_title())
    assert_whole(app)
    assert "Near means alike" not in said(app)


def alike_title() -> str:
    from lossprint.app.views.map.page import MAPS

    return MAPS[1]
