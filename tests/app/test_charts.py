"""Figures are built from tables; labels in them are text whatever they hold."""

import numpy as np
import pandas as pd
import pytest

from lossprint.app.charts import base as charts

HOSTILE = "<img src=x onerror=alert(1)>"


def test_confusion_draws_a_point_a_pair_that_occurs():
    table = pd.DataFrame([[0, 3], [1, 0]], index=["a", "<b>"], columns=["a", "<b>"])
    points = charts.confusion(table, dark=False, chosen=("a", "<b>")).data
    assert [list(pair) for pair in points[0].customdata] == [["a", "<b>"], ["<b>", "a"]]
    assert list(points[0].text) == ["3", "1"] and "<b>" not in points[0].hovertext[0]
    assert len(points) == 2  # the ring of the chosen pair
    assert len(charts.confusion(table, dark=True).data) == 1


def test_loss_print_has_units_band_and_mean():
    steps = pd.Series([2.0, 1.0, 0.5], index=[1, 2, 3])
    line = charts.Line("sample 1", steps)
    figure = charts.loss_print([line], dark=False, mean=steps, low=steps - 0.1, high=steps + 0.1, band=HOSTILE)
    assert figure.layout.yaxis.title.text == "loss (nats)"
    assert figure.layout.xaxis.title.text == "checkpoint"
    assert figure.data[0].name == "10–90 %"
    assert HOSTILE not in figure.to_json()


@pytest.mark.parametrize("dark", [False, True])
def test_every_role_has_a_colour_of_its_own(dark):
    colours = charts.palette(dark)
    roles = [colours.given, colours.suggested, colours.aligned, colours.conflicting, colours.muted]
    assert len(set(roles)) == len(roles)


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0], [np.nan, np.inf]])
def test_histogram_of_little(values):
    charts.histogram(pd.Series(values, dtype=float), dark=False, unit="nats", suspect="high")


def test_histogram_counts_everything():
    figure = charts.histogram(pd.Series(np.arange(1000.0)), dark=False, unit="nats")
    assert sum(figure.data[0].y) == 1000


def test_class_bars_draw_the_largest():
    counts = pd.Series(range(50), index=[f"class {i}" for i in range(50)])
    figure = charts.class_bars({"training": counts}, dark=False)
    assert len(figure.data[0].y) == 30
    assert figure.data[0].y[0] == "class 49"


def test_learning_without_accuracy():
    frame = pd.DataFrame({"split": "train", "checkpoint": [1, 2], "loss": [1.0, 0.5], "accuracy": np.nan})
    assert len(charts.learning(frame, "loss", dark=False).data) == 1
    assert len(charts.learning(frame, "accuracy", dark=False).data) == 0


def test_percentiles_mark_the_suspect_end():
    table = {"title": ["CSL", "AUM", "CLD"], "percent": [99.0, 50.0, 1.0], "suspect": ["high", "low", "low"]}
    frame = pd.DataFrame(table)
    figure = charts.percentiles(frame, dark=False)
    hues = figure.data[-2].marker.color
    assert list(figure.data[-1].text) == ["99.0", "50.0", "1.0"]
    assert hues[0] == hues[2] == charts.LIGHT.conflicting and hues[1] == charts.LIGHT.given
