"""Class health against plain counts, and the pages Classes and Help where things are missing."""

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from app_pages import assert_whole, open_page, said
from helpers import make_run
from streamlit.testing.v1 import AppTest

from lossprint.app import data
from lossprint.app.shared import help as score_help
from lossprint.app.shared import tour
from lossprint.app.views.classes import charts, health
from lossprint.audit.scores import SCORES

CLASSES = ["bag", "coat", "shirt", "none of them"]


@pytest.fixture(autouse=True)
def fresh_caches():
    st.cache_data.clear()
    st.cache_resource.clear()
    yield


def tables(seed: int = 0, categories: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """200 samples of three classes, of which 120 are scored."""
    random = np.random.default_rng(seed)
    samples = pd.DataFrame(
        {
            "sample": np.arange(200),
            "label": random.choice(CLASSES[:3], 200),
            "split": ["train"] * 120 + ["val"] * 50 + ["test"] * 30,
        }
    )
    scores = samples[:120][["sample", "label"]].copy()
    scores["label_error"] = random.random(120)
    scores["suggested_label"] = random.choice([*CLASSES[:3], None], 120)
    scores["triage"] = np.where(scores["label_error"] > 0.8, "wrong", "")
    scores["csl"], scores["cld"] = random.random(120), random.random(120)
    scores.loc[3, ["csl", "cld", "label_error"]] = np.nan
    if categories:
        for table, names in ((samples, ("label", "split")), (scores, ("label", "suggested_label", "triage"))):
            for name in names:
                table[name] = table[name].astype("category")
    return samples, scores


@pytest.mark.parametrize("categories", [False, True])
def test_the_table_is_what_plain_loops_count(categories):
    samples, scores = tables(categories=categories)
    found = health.class_health(samples, scores, CLASSES)
    assert found.basis == "wrong"
    assert found.total == ((scores["triage"] == "wrong").mean(), (scores["label_error"] > 0.5).mean())
    assert list(found.table.index) == CLASSES
    rows = scores.astype(dict.fromkeys(("label", "suggested_label"), object)).to_dict("records")
    for name, row in found.table.iterrows():
        mine = [one for one in rows if one["label"] == name]
        flag = [one for one in mine if one["label_error"] > 0.5]
        assert row["flagged"] == len(flag)
        for split in ("train", "val", "test"):
            assert row[split] == ((samples["label"] == name) & (samples["split"] == split)).sum()
        if not mine:
            assert np.isnan(row["noise"]) and np.isnan(row["csl"]) and row["goes_to"] is None
            continue
        assert row["noise_most"] == pytest.approx(len(flag) / len(mine))
        assert row["noise"] == pytest.approx(sum(one["triage"] == "wrong" for one in mine) / len(mine))
        known = [one["csl"] for one in mine if one["csl"] == one["csl"]]
        assert row["csl"] == pytest.approx(sum(known) / len(known))
        out = {other: sum(one["suggested_label"] == other for one in flag) for other in CLASSES if other != name}
        into = {
            other: sum(
                one["label"] == other and one["suggested_label"] == name and one["label_error"] > 0.5 for one in rows
            )
            for other in CLASSES
            if other != name
        }
        assert (out[row["goes_to"]], into[row["comes_from"]]) == (max(out.values()), max(into.values()))
        assert (row["goes_to_count"], row["comes_from_count"]) == (max(out.values()), max(into.values()))


def test_confusions_are_sorted_and_leave_out_what_is_not_flagged():
    scores = pd.DataFrame(
        {
            "sample": range(6),
            "label": ["bag", "bag", "coat", "coat", "coat", "bag"],
            "suggested_label": ["coat", "coat", "bag", "shirt", None, "bag"],
            "label_error": [0.9, 0.6, 0.7, 0.4, 0.9, 0.9],
        }
    )
    found = health.confusions(scores, CLASSES)
    assert found.to_dict("records") == [
        {"given": "bag", "suggested": "coat", "count": 2},
        {"given": "coat", "suggested": "bag", "count": 1},
    ]
    assert health.confusions(scores.drop(columns="suggested_label"), CLASSES).empty
    assert health.confusions(scores.iloc[:0], CLASSES).empty


def test_without_suggestions_the_flagged_are_counted_and_without_severities_nothing():
    samples, scores = tables()
    assert health.class_health(samples, scores.assign(suggested_label=None), CLASSES).basis == "flagged"
    nothing = health.class_health(samples, scores.assign(label_error=np.nan), CLASSES)
    assert nothing.basis is None and np.isnan(nothing.total).all() and nothing.table["noise"].isna().all()
    bare = health.class_health(samples, scores[["sample", "label"]], CLASSES)
    assert bare.basis is None and bare.table["csl"].isna().all()
    assert bare.table["train"].sum() == 120


def test_accuracy_counts_known_predictions_only():
    right = health.accuracy(np.array([0, 1, 1, -1, 2]), np.array([0, 0, 1, 1, -1]), 3)
    assert right[:2].tolist() == [0.5, 1.0] and np.isnan(right[2])


def test_picks_are_the_extremes_of_the_class():
    _, scores = tables()
    mine = scores[scores["label"] == "coat"]
    found = health.picks(scores, CLASSES, "coat", 5)
    flag = mine["label_error"] > 0.5
    assert found["suspicious"] == mine[flag].nlargest(5, "label_error")["sample"].tolist()
    assert found["hard"] == mine[~flag].nlargest(5, "csl")["sample"].tolist()
    calm = mine[~flag]
    both = (calm["csl"].rank() + (-calm["cld"]).rank()).dropna()
    assert found["typical"] == both.sort_values(kind="stable").index[:5].tolist()
    assert health.picks(scores, CLASSES, "no class") == {"suspicious": [], "hard": [], "typical": []}
    assert health.picks(scores[["sample", "label"]], CLASSES, "coat") == {"suspicious": [], "hard": [], "typical": []}
    nothing = {"suspicious": [], "hard": [], "typical": []}
    assert health.picks(scores.iloc[:0], CLASSES, "coat") == nothing


def test_figures_hold_hostile_names_as_text():
    hostile = '<img src=x onerror="window.hacked=1">'
    figure = charts.partners(pd.Series({hostile: 3}), pd.Series({"b": 1}), label=hostile, dark=False)
    assert "<img" not in figure.to_json()
    assert len(figure.data) == 2 and sorted(figure.data[1].x) == [0, 3]


# ---------------------------------------------------------------------------------------------- pages


@pytest.mark.parametrize("missing", ["suggested_label", "label_error", "csl", "everything"])
def test_classes_page_of_a_run_with_less(missing, tmp_path, monkeypatch):
    run = make_run(tmp_path / "one")
    scores = run.scores()
    gone = [*SCORES, "suggested_label"] if missing == "everything" else [missing]
    run.write_scores(
        scores.assign(
            **dict.fromkeys(gone, np.nan if missing != "suggested_label" else None)
            | ({"suggested_label": None} if "suggested_label" in gone else {})
        )
    )
    run.write_findings([], run.samples())
    app = open_page("classes", run.path, monkeypatch)
    assert_whole(app)
    assert "bag" in said(app)


def test_classes_page_of_one_class_and_of_one_without_samples(tmp_path, monkeypatch):
    assert_whole(open_page("classes", make_run(tmp_path / "one", classes=("only",)).path, monkeypatch))
    run = make_run(tmp_path / "two")
    run.manifest["dataset"]["classes"].append("zebra")
    run = run.finish("find")
    app = open_page("classes", run.path, monkeypatch, **{"class": "zebra"})
    assert_whole(app)
    assert "No samples" in said(app).replace("\\", "")


def test_every_score_has_a_formula_a_paper_and_a_place_in_help(tmp_path, monkeypatch):
    for table in (score_help.FORMULAS, score_help.PAPERS):
        assert set(table) == set(SCORES)
    assert set(score_help.SYMBOLS) <= set(SCORES)
    assert all(formula.count("{") == formula.count("}") for formula in score_help.FORMULAS.values())
    app = open_page("help", make_run(tmp_path / "one").path, monkeypatch)
    assert_whole(app)
    shown = [element.value for element in app.subheader]
    assert [info.title for info in SCORES.values()] == shown
    for word in ("Loss print", "Validation sample", "Aligned", "Conflicting", "Near duplicate", "Coreset", "Triage"):
        assert word in said(app)


def test_the_chosen_score_comes_first_in_help_and_a_wrong_one_does_no_harm(tmp_path, monkeypatch):
    run = make_run(tmp_path / "one")
    monkeypatch.setenv("LOSSPRINT_RUNS", str(run.path))
    for asked, first in (("outlier", "Outlier"), ("<b>", "CLD")):
        app = AppTest.from_string("from lossprint.app import main\nmain.main('help')", default_timeout=30)
        app.query_params["score"] = asked
        app.run()
        assert_whole(app)
        assert app.subheader[0].value == first


def test_the_tour_leaves_for_good_and_comes_back_when_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("LOSSPRINT_RUNS", str(make_run(tmp_path / "one").path))
    code = (
        "from lossprint.app import main\nimport lossprint.app.views.help as page\n"
        "from lossprint.app.shared.tour import tour\n"
        "kept = page.render\npage.render = tour\n"
        "try:\n    main.main('help')\nfinally:\n    page.render = kept\n"
    )
    app = AppTest.from_string(code, default_timeout=30).run()
    assert "New here?" in said(app)
    app.button(key="tour-close").click().run()
    assert_whole(app)
    assert "New here?" not in said(app)
    app.session_state[tour.TOUR] = "open"
    assert "New here?" in said(app.run())


def test_the_tour_is_not_shown_where_something_was_decided(tmp_path, monkeypatch):
    run = make_run(tmp_path / "one")
    loaded = data.load(run.path)
    data.reviews(loaded).add(finding="label_error:1", sample=1, decision="keep", reviewer="ann")
    code = (
        "from pathlib import Path\nfrom lossprint.app import data\nfrom lossprint.app.shared.tour import tour\n"
        f"tour(data.load(Path({str(run.path)!r})))\n"
    )
    app = AppTest.from_string(code, default_timeout=30).run()
    assert not app.exception and not app.markdown
