"""The triage map's arithmetic against planted answers and plain loops, and its page where things are missing."""

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from helpers import make_run
from streamlit.testing.v1 import AppTest

from lossprint.app.views.map import charts, zones
from lossprint.audit.scores import SCORES


def table(**columns) -> pd.DataFrame:
    return pd.DataFrame(columns)


def names(scores: pd.DataFrame) -> list[str]:
    return [zones.NAMES[code - 1] if code else "" for code in zones.membership(scores)]


# ---------------------------------------------------------------------------------------------- zones


def test_planted_samples_are_in_their_zones():
    scores = table(
        csl=np.arange(10.0),
        label_error=[0.1] * 8 + [0.5, 0.51],
        curvature=[9, 0, 1, 2, 3, 4, 5, 6, 7, 8.0],
        cld=[0.1, 0.2, 0.9, 0.8, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
    )
    # 2 is among the lowest three tenths of both, but aligned comes first; 0 has the highest curvature.
    assert names(scores) == ["", "redundant", "aligned", "aligned", "", "", "", "", "hard", "wrong"]


def test_without_label_error_the_margin_tells_whether_another_label_was_ahead():
    scores = table(csl=np.arange(10.0), aum=[3.0] * 7 + [1.0, 0.0, -0.1])
    assert names(scores)[8:] == ["hard", "wrong"]
    assert set(zones.bounds(scores)) == {"wrong", "hard"}


def test_unknown_and_constant_scores_make_no_zones():
    assert names(table(csl=[np.nan] * 5)) == [""] * 5
    assert names(table(csl=[1.0] * 5, label_error=[0.9] * 5, curvature=[2.0] * 5, cld=[0.5] * 5)) == [""] * 5
    assert names(table(cld=[-0.5, -0.4, -0.3, -0.2, -0.1])) == [""] * 5  # the highest are not positive
    assert names(table(csl=[], label_error=[])) == []
    one = table(csl=[0.0, 0, 0, 0, np.inf], label_error=[0.9] * 5)
    assert names(one) == [""] * 5  # not finite is unknown


def test_membership_agrees_with_a_loop():
    rng = np.random.default_rng(3)
    scores = pd.DataFrame(rng.normal(size=(300, 4)), columns=["csl", "label_error", "curvature", "cld"])
    scores.iloc[rng.integers(0, 300, 40), rng.integers(0, 4, 40)] = np.nan
    high = {name: np.nanquantile(scores[name], 0.8) for name in scores}
    low = {name: np.nanquantile(scores[name], 0.3) for name in scores}
    for row, found in zip(scores.itertuples(), names(scores)):
        if row.csl >= high["csl"] and row.label_error > 0.5:
            expected = "wrong"
        elif row.csl >= high["csl"] and row.label_error <= 0.5:
            expected = "hard"
        elif row.cld >= high["cld"] and row.cld > 0:
            expected = "aligned"
        elif row.csl <= low["csl"] and row.curvature <= low["curvature"]:
            expected = "redundant"
        else:
            expected = ""
        assert found == expected


def test_rules_are_said_with_their_numbers():
    titles = {name: info.title for name, info in SCORES.items()}
    rules = zones.bounds(table(csl=np.arange(11.0), label_error=np.zeros(11)))
    assert zones.spoken(rules["wrong"], titles) == "CSL ≥ 8, Label error > 0.5"
    assert zones.spoken(rules["hard"], titles) == "CSL ≥ 8, Label error ≤ 0.5"
    rules = zones.bounds(table(csl=np.arange(11.0), aum=np.zeros(11)))
    assert zones.spoken(rules["wrong"], titles) == "CSL ≥ 8, AUM < 0"


@pytest.mark.parametrize("scale", zones.SCALES)
def test_a_region_holds_the_samples_that_fulfil_its_rule(scale):
    rng = np.random.default_rng(5)
    scores = pd.DataFrame(rng.exponential(size=(400, 4)), columns=["csl", "label_error", "curvature", "cld"])
    zone = zones.membership(scores)
    lines = {name: zones.axis(scores, name, scale) for name in scores}

    def regions(across, up):
        return zones.regions(scores, zone, (across, up), (lines[across], lines[up]), scale)

    found = {region.whose: region for region in regions("csl", "curvature")}
    assert {whose: region.exact for whose, region in found.items()} == {
        ("wrong", "hard"): True,
        ("redundant",): True,
        ("aligned",): False,
    }
    x, y = lines["csl"].at, lines["curvature"].at
    for whose, region in found.items():
        mine = np.isin(zone, [1 + zones.NAMES.index(name) for name in whose])
        inside = (x >= region.x[0] - 1e-5) & (x <= region.x[1] + 1e-5)
        inside &= (y >= region.y[0] - 1e-5) & (y <= region.y[1] + 1e-5)
        if region.exact:
            assert inside[mine].all()
            assert set(zone[inside]) <= {*zone[mine], 0, 1 + zones.NAMES.index("aligned")}
        else:
            assert 0.15 < inside[mine].mean() < 0.6
    apart = regions("csl", "label_error")
    assert {region.whose for region in apart if region.exact} == {("wrong",), ("hard",), ("redundant",)}
    others = regions("cld", "label_error")
    assert {region.whose: region.exact for region in others}[("hard",)] is False  # CSL decides first


# ---------------------------------------------------------------------------------------------- places and density


def test_percentiles_share_ties_and_leave_the_unknown_out():
    line = zones.axis(table(csl=[5.0, 1, 1, np.nan, 9]), "csl")
    np.testing.assert_allclose(line.at, [62.5, 25, 25, np.nan, 87.5])
    assert (line.low, line.high) == (0, 100)
    assert zones.place(table(csl=[5.0, 1, 1, np.nan, 9]), "csl", 1.0) == 25
    assert zones.place(table(csl=[5.0, 1, 1, np.nan, 9]), "csl", 6.0) == 75


def test_by_value_the_outermost_are_put_at_the_border():
    values = np.append(np.linspace(0, 1, 9_999), 1e6)
    line = zones.axis(table(csl=values), "csl", "values")
    assert line.high < 1 and line.at.max() == np.float32(line.high) and line.low > 0
    few = zones.axis(table(csl=[3.0, -2, 400]), "csl", "values")
    assert (few.low, few.high) == (-2, 400)
    same = zones.axis(table(csl=[3.0, 3]), "csl", "values")
    assert same.low < 3 < same.high
    assert zones.axis(table(csl=[np.nan]), "csl", "values").high == 1


def test_density_agrees_with_numpy():
    rng = np.random.default_rng(0)
    scores = pd.DataFrame(rng.normal(size=(2_000, 2)), columns=["csl", "cld"])
    x, y = (zones.axis(scores, name, "values") for name in scores)
    expected, _, _ = np.histogram2d(y.at, x.at, bins=(60, 80), range=((y.low, y.high), (x.low, x.high)))
    counts = zones.density(x, y)
    assert counts.sum() == 2_000 and np.abs(counts - expected).sum() <= 8  # float32 at an edge
    scores.iloc[:100, 0] = np.nan
    assert zones.density(zones.axis(scores, "csl"), zones.axis(scores, "cld")).sum() == 1_900


def test_points_are_the_samples_with_few_others_around():
    rng = np.random.default_rng(1)
    scores = pd.DataFrame(rng.normal(size=(5_000, 2)), columns=["csl", "cld"])
    scores.loc[17] = [9.0, -9.0]
    x, y = (zones.axis(scores, name, "values") for name in scores)
    field = zones.field(x, y)
    assert field.counts.sum() == 5_000 and 17 in field.points and 0 < len(field.points) <= 1_000
    cell, counts = zones.cells(x, y), field.counts.ravel()
    rest = np.setdiff1d(np.arange(5_000), field.points)
    assert counts[cell[field.points]].max() <= counts[cell[rest]].min()
    crowded = int(np.argmax(counts[cell]))
    assert crowded not in field.points
    assert crowded in zones.field(x, y, extra=[crowded, crowded]).points
    keep = np.arange(5_000) < 40
    few = zones.field(x, y, keep, extra=[crowded])
    assert list(few.points) == list(range(40)) and not few.counts.any()


def test_a_million_samples_send_few_points():
    values = np.random.default_rng(2).normal(size=(1_000_000, 2))
    scores = pd.DataFrame(values, columns=["csl", "cld"])
    x, y = (zones.axis(scores, name, "values") for name in scores)
    assert len(zones.field(x, y).points) <= 2_000


# ---------------------------------------------------------------------------------------------- box and lasso


def test_a_lasso_agrees_with_a_loop():
    rng = np.random.default_rng(4)
    corners = [(0.1, 0.2), (0.9, 0.1), (0.5, 0.5), (0.8, 0.9), (0.2, 0.8)]
    area = zones.Area("lasso", tuple(corners))
    x, y = rng.random((2, 500))
    x[0] = np.nan

    def plain(px, py):
        odd = False
        for at, (ax, ay) in enumerate(corners):
            bx, by = corners[at - 1]
            if (ay > py) != (by > py) and px < (bx - ax) * (py - ay) / (by - ay) + ax:
                odd = not odd
        return odd

    assert list(zones.inside(area, x, y)) == [plain(*at) for at in zip(x, y)]


def test_a_box_holds_its_border():
    area = zones.box(3, 1, 0, 2)
    assert area.corners == ((1, 0), (3, 2))
    x, y = np.array([1.0, 3, 0.99, 2, np.nan]), np.array([0.0, 2, 1, 2.01, 1])
    assert list(zones.inside(area, x, y)) == [True, True, False, False, False]


def test_a_long_lasso_keeps_its_shape():
    turn = np.linspace(0, 2 * np.pi, 900, endpoint=False)
    area = zones.lasso(50 + 40 * np.cos(turn), 0.5 + 0.3 * np.sin(turn))
    assert len(area.corners) == zones.CORNERS
    x, y = np.random.default_rng(0).random((2, 4_000)) * [[100], [1]]
    true = ((x - 50) / 40) ** 2 + ((y - 0.5) / 0.3) ** 2 < 1
    assert (zones.inside(area, x, y) == true).mean() > 0.98
    text = zones.write_area(area)
    assert len(text) < 400 and zones.read_area(text) == area


def test_an_area_survives_the_url_and_nonsense_is_none():
    for area in (zones.box(-0.123456, 1e-5, 2, 97.000001), zones.lasso([0, 1, 2], [0, 5, 0])):
        assert zones.read_area(zones.write_area(area)) == area
    bad = (None, "", "1_2", "a_b~c_d", "1_2~3", "nan_0~1_1", "1e999_0~1_1", "0_0~0_1~0_2", "1_2~" * 300, "<b>~</b>")
    for text in bad:
        assert zones.read_area(text) is None, text
    assert zones.write_area(None) is None


def test_what_plotly_hands_over_becomes_an_area():
    assert zones.drawn({"points": [{}], "box": [], "lasso": []}) is None
    assert zones.drawn({"box": [{"x": [4, 1], "y": [2, 3]}]}) == zones.box(1, 4, 2, 3)
    assert zones.drawn({"box": [{"x": [4, 4], "y": [2, 3]}]}) is None
    assert zones.drawn({"lasso": [{"x": [0, 1, 1], "y": [0, 0, 1]}], "box": []}).kind == "lasso"
    assert zones.drawn({"lasso": [{"x": [], "y": []}]}) is None


# ---------------------------------------------------------------------------------------------- the selection


def test_the_most_suspicious_label_comes_first():
    scores = table(label_error=[0.1, np.nan, 0.9, 0.9], csl=[5.0, 9, 1, 2])
    assert list(zones.order(scores)) == [3, 2, 0, 1]
    assert list(zones.order(table(csl=[1.0, 3, 2]))) == [1, 2, 0]
    assert list(zones.order(table(cld=[1.0, 3]))) == [0, 1]


def test_the_classes_of_a_selection():
    found = zones.shares([0, 3, 1], [10, 10, 20], ["a", "b", "c"], 5)
    assert list(found.index) == ["b", "c"] and list(found["count"]) == [3, 1]
    assert list(found["chosen"]) == [75, 25] and list(found["whole"]) == [25, 50]
    assert zones.shares([0, 0], [1, 1], ["a", "b"], 5).empty


def test_the_figure_draws_hostile_labels_as_text():
    points = charts.Points(
        *(np.zeros(2) for _ in range(4)),
        np.array([1, 2]),
        ["<img src=x onerror=alert(1)>", None],
        np.array([0, 1]),
        np.array([True, False]),
    )
    figure = charts.triage_map(
        ((0, 1), (0, 1)),
        np.zeros((60, 80), int),
        points,
        [zones.Region(("wrong", "hard"), (0.8, 1), (0, 1), True)],
        titles=("a", "b"),
        names=("a", "b"),
        dark=True,
        area=zones.lasso([0, 1, 1], [0, 0, 1]),
    )
    assert "<img" not in figure.to_json()
    assert [shape.type for shape in figure.layout.shapes] == ["rect", "path"]


# ---------------------------------------------------------------------------------------------- the page


def page(run, **query) -> AppTest:
    def script(path):
        from pathlib import Path

        from lossprint.app import data
        from lossprint.app.views.map import page as view

        view.render(data.load(Path(path)))

    test = AppTest.from_function(script, args=(str(run.path),), default_timeout=30)
    for name, value in query.items():
        test.query_params[name] = value
    return test.run()


def rescore(run, change) -> None:
    run.write_scores(change(run.scores()))
    st.cache_resource.clear()  # run.json is as old as before


def test_the_page_says_what_is_missing(tmp_path):
    run = make_run(tmp_path)
    rescore(run, lambda scores: scores.drop(columns=["curvature", "cld"]))
    test = page(run, zone="Redundant")
    assert not test.exception and not test.error
    assert "It needs curvature" in " ".join(one.value for one in test.markdown)
    rescore(run, lambda scores: scores[["sample", "path", "label", "csl"]])
    assert "Fewer than two scores" in page(run).subheader[0].value
    rescore(run, lambda scores: scores.head(0))
    assert "No training samples" in page(run).subheader[0].value


def test_one_sample_and_constant_scores_are_drawn(tmp_path):
    run = make_run(tmp_path)
    rescore(run, lambda scores: scores.assign(csl=1.0, curvature=2.0, cld=np.nan))
    for query in ({}, {"scale": "Values"}, {"zone": "Late, doubted", "area": "0_0~1_1"}):
        test = page(run, **query)
        assert not test.exception and not test.error
    rescore(run, lambda scores: scores.head(1))
    test = page(run)
    assert not test.exception and not test.error
    assert "1 of 1 training sample" in test.subheader[0].value
