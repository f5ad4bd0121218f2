"""The evidence on a doubted label, without a browser: examples of both classes, the loss print, the partners."""

import numpy as np
import pandas as pd
import pytest
from app_pages import assert_whole, open_page, said
from helpers import make_run

from lossprint.app import data
from lossprint.app.elements import proof as elements
from lossprint.app.shared import proof, sample
from lossprint.audit.types import Finding


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(proof.st, "session_state", {})
    run = make_run(tmp_path, train=30, held_out=6)
    samples = run.samples()
    scores = run.scores()
    run.write_findings([Finding("label_error", (4,), 0.9, "shirt"), Finding("outlier", (5,), 0.8)], samples)
    run.write_scores(scores)
    return data.load(run.path)


def test_typical_samples_are_of_their_class_unflagged_and_of_the_easier_half(loaded):
    for label, ids in proof.typical(loaded).items():
        assert len(ids) == len(set(ids)) == proof.TYPICAL + 1
        rows = loaded.samples.loc[list(ids)]
        assert (rows["label"] == label).all() and (rows["split"] == "train").all()
        assert not loaded.findings["sample"].isin(ids).any()
        mine = loaded.scores[(loaded.scores["label"] == label) & ~loaded.scores.index.isin(loaded.findings["sample"])]
        assert loaded.scores.loc[list(ids), "csl"].max() <= mine["csl"].quantile(0.55)


def test_a_class_that_is_flagged_as_a_whole_still_has_examples(tmp_path, monkeypatch):
    run = make_run(tmp_path, train=20, held_out=4)
    table = run.samples()
    coats = table.loc[(table["label"] == "coat") & (table["split"] == "train"), "sample"]
    scores = run.scores()
    run.write_findings([Finding("label_error", (int(one),), 0.9, "shirt") for one in coats], table)
    run.write_scores(scores)
    examples = proof.typical(data.load(run.path))
    assert set(examples["coat"]) <= set(coats) and examples["coat"]


def test_the_sample_itself_is_no_example_and_only_a_finding_names_the_other_side(loaded):
    one = proof.typical(loaded)["coat"][0]
    both = proof.sides(loaded, one, "coat", "shirt")
    assert [(side.name, side.role) for side in both] == [("coat", elements.GIVEN), ("shirt", elements.SUGGESTED)]
    assert one not in [tile.id for tile in both[0].tiles] and len(both[0].tiles) == proof.TYPICAL
    assert [side.name for side in proof.sides(loaded, one, "coat", None)] == ["coat"]
    assert sample.suggestion_of(loaded, 4) == "shirt"
    # The model may lean to another label for an outlier as well: no finding doubts its label, so none is suggested.
    assert sample.suggestion_of(loaded, 5) is None


def test_the_print_lies_over_the_bands_of_both_classes(loaded):
    drawn = proof.print_of(loaded, 4, "shirt")
    bands = data.bands(loaded)
    given = loaded.samples.at[4, "label"]
    np.testing.assert_allclose(drawn.losses, data.losses(loaded, 4), atol=1e-4)
    assert [band.label for band in drawn.bands] == [given, "shirt"] if given != "shirt" else [given]
    np.testing.assert_allclose(drawn.bands[0].high, bands.high[given], atol=1e-4)
    assert proof.print_of(loaded, 4, None).bands[0].role == elements.GIVEN


def test_what_is_unknown_of_a_print_is_no_number(loaded, monkeypatch):
    losses = pd.Series([3.0, np.nan, 9.0], [1, 2, 3])
    monkeypatch.setattr(data, "losses", lambda *_: losses)
    drawn = proof.print_of(loaded, 4, None)
    assert drawn.losses == (3.0, None, 9.0)
    assert all(value is None or np.isfinite(value) for band in drawn.bands for value in band.low)
    monkeypatch.setattr(data, "losses", lambda *_: None)
    assert proof.print_of(loaded, 4, None) is None


@pytest.mark.parametrize(
    "high, sentence",
    [
        ((1, 1, 1), "at every checkpoint"),
        ((1, 9, 1), "at 2 of 3 checkpoints"),
        ((9, 9, None), "stays within what is usual for a*b"),
    ],
)
def test_what_the_print_says_in_words(high, sentence):
    band = elements.Band("a*b", "a*b", elements.GIVEN, high, high, high)
    assert sentence in proof._seen(pd.Series([2.0, 3.0, 4.0], [1, 2, 3]), [band])


def test_partners_are_of_all_classes_and_say_which_labels_they_carry(loaded):
    groups = proof.partners(loaded, 4, "shirt")
    pairs = data.partners(loaded, 4)
    pairs = pairs[pairs["scope"] == "all"]
    assert [group.title for group in groups] == ["Pull against it", "Learned together with it"]
    against = sample.on_side(pairs, "conflicting")["partner"].tolist()
    assert [tile.id for tile in groups[0].tiles] == against
    given = loaded.samples.at[4, "label"]
    for tile, role in zip(groups[0].tiles, groups[0].roles):
        assert (role == elements.GIVEN) == (tile.given == given)
    assert proof._shares(["coat", "bag", "coat"]) == "2 of 3 are coat, 1 bag"
    assert proof.partners(loaded, int(loaded.samples.index[loaded.samples["split"] == "val"][0]), None) == []


def test_pages_show_it_without_a_click_and_the_scores_behind_one(loaded, monkeypatch):
    app = open_page("sample", loaded.run.path, monkeypatch, sample="4")
    assert_whole(app)
    assert "**Difficulty:**" in said(app) and "Validation samples of all 3 classes." in said(app)
    assert "CSL" not in said(app)
    app = open_page("review", loaded.run.path, monkeypatch, finding="label_error:4")
    assert_whole(app)
    assert "Validation samples of all 3 classes." in said(app)
    app = open_page("review", loaded.run.path, monkeypatch, finding="label_error:4", blind="Given label hidden")
    assert_whole(app)
    assert "Validation samples" not in said(app)


def test_a_percentage_stands_only_where_the_suggestion_was_the_likelier_half(loaded, monkeypatch):
    drawn = []
    monkeypatch.setattr(sample.st, "markdown", lambda text, help=None: drawn.append((text, help)))
    for probability in (0.04, 0.5, np.nan):
        loaded.scores.loc[4, "suggested_probability"] = probability
        sample.label_line(loaded, 4, "shirt")
    weak, sure, unknown = drawn
    assert "%" not in weak[0] and weak[1].startswith("A weak suggestion")
    assert sure[0].endswith("50\u00a0%") and "%" not in unknown[0] and unknown[1] is None


def test_the_chosen_answer_on_a_group_is_marked_and_keeping_contradicting_labels_is_said(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    app = open_page("duplicates", run.path, monkeypatch)
    assert "**Keep all** keeps the contradicting labels as they are." in said(app)
    assert not [one.label for one in app.button if "chosen" in one.label]
    app.button(key="near_duplicate:2-all").click().run()
    assert_whole(app)
    assert [one.label for one in app.button if "chosen" in one.label] == ["**Keep all** · chosen"]
    assert "Kept with contradicting labels, " in said(app)
