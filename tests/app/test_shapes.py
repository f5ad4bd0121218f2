"""Shapes, quantiles and heat-map blocks against planted answers and plain loops."""

import math

import numpy as np
import pytest

from lossprint.app.charts import base as charts
from lossprint.app.views.prints import charts as charts_prints
from lossprint.app.views.prints import shapes
from lossprint.app.views.prints.shapes import AGAIN, EARLY, LATE, NEVER, UNTOLD
from lossprint.audit.types import Trajectory


def trajectory(losses, labels=None) -> Trajectory:
    """Samples as rows, for reading."""
    losses = np.array(losses, np.float32).T
    labels = np.zeros(losses.shape[1], np.int32) if labels is None else np.array(labels, np.int32)
    return Trajectory(np.arange(losses.shape[1]), labels, np.arange(1, len(losses) + 1), losses)


def random(samples: int = 400, steps: int = 9, classes: int = 5, seed: int = 0) -> Trajectory:
    rng = np.random.default_rng(seed)
    losses = rng.exponential(1.0, (samples, steps)) * np.linspace(1.6, 0.6, steps)
    losses[rng.random(losses.shape) < 0.1] = np.nan
    losses[3] = np.nan
    losses[4, 0] = np.inf
    return trajectory(losses, rng.integers(0, classes, samples))


# ---------------------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize(("classes", "low"), [(1, 0.3466), (2, 0.3466), (3, 0.5493), (4, 0.6931), (1000, 0.6931)])
def test_levels(classes, low):
    assert shapes.levels(classes) == pytest.approx((low, 2 * low), abs=1e-4)


def test_each_planted_shape_is_found():
    found = shapes.shapes_of(
        trajectory(
            [
                [2.0, 0.5, 0.3, 0.2, 0.1, 0.1],
                [0.6, 0.5, 0.3, 0.2, 0.1, 0.1],
                [0.5, 1.2, 0.3, 0.9, 0.1, 0.1],  # between low and high: no rise
                [2.2, 2.0, 1.8, 0.6, 0.4, 0.3],
                [2.4, 2.1, 2.0, 2.2, 1.9, 0.7],
                [2.0, 0.4, 0.3, 1.5, 0.3, 0.2],
                [0.3, 0.3, 0.3, 0.3, 0.3, 3.0],
                [np.nan, np.nan, np.nan, np.nan, 0.1, 0.1],
                [2.0, np.nan, 0.1, np.nan, 0.1, np.nan],
            ]
        ),
        10,
    )
    assert list(found.code) == [EARLY, EARLY, EARLY, LATE, NEVER, AGAIN, AGAIN, UNTOLD, LATE]
    assert list(found.fell) == [1, 0, 0, 3, 6, 1, 0, 4, 2]
    assert list(found.counts()) == [3, 2, 1, 2]
    assert found.third == 2
    assert found.typical[0] == 1


def test_what_is_early_depends_on_the_class():
    slow = [[2.0, 2.0, 2.0, 2.0, 0.3, 0.2]] * 3 + [[2.0, 2.0, 2.0, 2.0, 2.0, 0.2]]
    quick = [[0.3, 0.2, 0.2, 0.2, 0.2, 0.1]] * 3 + [[2.0, 2.0, 2.0, 2.0, 0.3, 0.2]]
    found = shapes.shapes_of(trajectory(slow + quick, [0] * 4 + [1] * 4), 10)
    assert list(found.code) == [EARLY] * 3 + [LATE] + [EARLY] * 3 + [LATE]


def test_a_rise_of_the_whole_class_is_no_rise_of_a_sample():
    wave = [2.0, 0.3, 2.0, 0.3, 0.2, 0.2]
    found = shapes.shapes_of(trajectory([wave] * 5 + [[2.0, 0.3, 0.3, 0.3, 2.0, 0.2]]), 10)
    assert list(found.code) == [EARLY] * 5 + [AGAIN]


def plain_shape(losses: list[float], typical: int, high_medians: list[bool], low: float) -> int:
    known = [math.isfinite(loss) for loss in losses]
    if 2 * sum(known) < len(losses):
        return UNTOLD
    first = next((t for t, loss in enumerate(losses) if known[t] and loss <= low), None)
    if first is None:
        return NEVER
    if any(known[t] and losses[t] > 2 * low and not high_medians[t] for t in range(first, len(losses))):
        return AGAIN
    return EARLY if first <= max(typical, math.ceil(len(losses) / 3) - 1) else LATE


def test_shapes_agree_with_a_plain_loop_over_chunks(monkeypatch):
    monkeypatch.setattr(shapes, "CHUNK", 37)
    one = random()
    found = shapes.shapes_of(one, 5)
    for label in range(5):
        mine = np.flatnonzero((one.labels == label) & (found.code != UNTOLD))
        ordered = sorted(found.fell[mine])
        assert found.typical[label] == ordered[(len(ordered) + 1) // 2 - 1]
    expected = [
        plain_shape(
            [float(loss) for loss in one.losses[:, i]],
            int(found.typical[label]),
            list(found.bands[label, 1] > found.high),
            np.float32(found.low),
        )
        for i, label in enumerate(one.labels)
    ]
    assert list(found.code) == expected
    assert set(expected) == {EARLY, LATE, NEVER, AGAIN, UNTOLD}


def test_few_checkpoints_and_empty_classes():
    assert list(shapes.shapes_of(trajectory([[0.1], [3.0]]), 10).code) == [UNTOLD, UNTOLD]
    two = shapes.shapes_of(trajectory([[0.1, 0.1], [3.0, 0.1], [3.0, 3.0], [0.1, 3.0], [0.1, 0.1]]), 10)
    assert list(two.code) == [EARLY, LATE, NEVER, AGAIN, EARLY]
    gaps = shapes.shapes_of(trajectory([[0.1, 0.1]], [2]), 4)
    assert np.isnan(gaps.bands[[0, 1, 3]]).all()
    assert list(gaps.code) == [EARLY]
    assert list(shapes.shapes_of(trajectory([[0.0, 0.0, 0.0]]), 1).code) == [EARLY]


# ---------------------------------------------------------------------------------------------- quantiles


@pytest.mark.parametrize("cells", [1, 100, 10**6])
def test_quantiles_are_numpys_without_what_is_not_finite(monkeypatch, cells):
    monkeypatch.setattr(shapes, "CELLS", cells)
    one = random()
    columns = np.flatnonzero(one.labels == 2)
    losses = np.where(np.isfinite(one.losses), one.losses, np.nan)[:, columns]
    before = one.losses.copy()
    found = shapes.quantiles(one.losses, columns)
    np.testing.assert_allclose(found, np.nanquantile(losses, shapes.BAND, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(one.losses, before)
    np.testing.assert_array_equal(shapes.class_quantiles(one, 5)[2], found)


def test_quantiles_of_nothing_and_of_one():
    losses = np.array([[1.0, np.nan], [2.0, np.nan]], np.float32)
    assert np.isnan(shapes.quantiles(losses, np.array([], int))).all()
    assert np.isnan(shapes.quantiles(losses, np.array([1]))).all()
    np.testing.assert_array_equal(shapes.quantiles(losses, np.array([0, 1])), [[1, 2]] * 3)


def test_hardest_classes_come_first_and_empty_ones_never():
    bands = np.full((4, 3, 2), np.nan, np.float32)
    bands[0, 1], bands[2, 1], bands[3, 1] = 0.5, [2.0, np.nan], 1.0
    assert shapes.hardest(bands, 2) == [2, 3]
    assert shapes.hardest(bands, 9) == [2, 3, 0]


# ---------------------------------------------------------------------------------------------- the heat map


def test_rank_puts_the_suspect_end_first_and_the_unknown_last():
    values = np.array([0.5, np.nan, 2.0, -1.0, 2.0, np.inf])
    assert list(shapes.rank(values, "high")) == [5, 2, 4, 0, 3, 1]
    assert list(shapes.rank(values, "none")) == [5, 2, 4, 0, 3, 1]
    assert list(shapes.rank(values, "low")) == [3, 0, 2, 4, 5, 1]


@pytest.mark.parametrize(("rows", "columns"), [(7, 4), (1, 1), (400, 9), (1000, 100)])
def test_blocks_agree_with_a_plain_loop(rows, columns):
    one = random()
    order = shapes.rank(one.losses[-1], "high")[:300]
    found = shapes.blocks(one.losses, order, rows, columns)
    sizes = found.sizes()
    assert sizes.sum() == 300 and sizes.max() - sizes.min() <= 1 and len(sizes) == min(rows, 300)
    assert found.steps[-1] == 8 or columns == 1
    for block in range(0, len(sizes), 3):
        members = order[found.edges[block] : found.edges[block + 1]]
        for at, step in enumerate(found.steps):
            known = [float(x) for x in one.losses[step, members] if math.isfinite(x)]
            expected = sum(known) / len(known) if known else math.nan
            assert found.mean[block, at] == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_blocks_of_no_samples_and_around():
    assert shapes.blocks(np.ones((3, 5), np.float32), np.array([], np.int32)).mean.shape == (0, 3)
    found = shapes.blocks(np.ones((3, 10), np.float32), np.arange(10, dtype=np.int32), rows=4)
    assert list(found.edges) == [0, 2, 5, 7, 10]
    assert found.around(0, 2) == (0, 0)
    assert found.around(2, 5) == (1, 1)
    assert found.around(1, 6) == (0, 2)
    assert found.around(9, 10) == (3, 3)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("17-33", (16, 33)),
        ("5", (4, 5)),
        (" 1 – 1,000 ", (0, 100)),
        ("100", (99, 100)),
        *[(bad, None) for bad in ("", "0", "0-3", "9-2", "101-102", "a-b", "1-2-3", "-3", "²", "1e2", "9" * 40)],
    ],
)
def test_ranks_that_were_typed(text, rows):
    assert shapes.parse_rows(text, 100) == rows
    if rows:
        assert shapes.parse_rows(shapes.rows_text(*rows), 100) == rows


# ---------------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize("dark", [False, True])
def test_the_heat_map_has_one_row_a_block_that_can_be_clicked(dark):
    one = random()
    found = shapes.blocks(one.losses, np.arange(400, dtype=np.int32), rows=20)
    figure = charts_prints.heat(
        found, one.checkpoints, ["note"] * 20, title="rank", low=0.69, classes=10, dark=dark, chosen=(3, 4)
    )
    heat, bars = figure.data
    assert np.array(heat.z).shape == (20, 9)
    assert heat.zmin <= np.nanmin(heat.z) and list(bars.customdata) == list(range(20))
    assert len(figure.layout.shapes) == 2
    assert figure.layout.yaxis.range == (19.5, -0.5)


@pytest.mark.parametrize("scale", charts_prints.SCALES.values())
def test_the_colour_scale_rises_evenly_in_lightness(scale):
    light = [sum(w * int(c[i : i + 2], 16) for w, i in ((0.2126, 1), (0.7152, 3), (0.0722, 5))) for c in scale]
    rises = np.diff(light)
    assert (rises > 0).all() and rises.max() < 2.5 * rises.min()


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_bands_are_drawn_where_they_are_known(steps):
    band = np.array([[0.1], [0.5], [1.0]]) * np.ones(steps)
    checkpoints = np.arange(1, steps + 1)
    band[:, steps // 2] = np.nan if steps > 2 else band[:, 0]
    figure = charts_prints.shape(band, checkpoints, low=0.69, top=2, dark=False)
    assert len(figure.data) == 2
    assert len(figure.data[1].x) == (steps - 1 if steps > 2 else steps)
    assert figure.data[1].line.color == charts.LIGHT.given
    assert charts_prints.shape(band * np.nan, checkpoints, low=0.69, top=2, dark=False).data == ()
    both = {"training": (band, checkpoints), "validation": (band, checkpoints)}
    assert [one.name for one in charts_prints.class_bands(both, low=0.69, top=2, dark=True).data if one.name] == [
        "validation",
        "training",
    ]


@pytest.mark.parametrize("count", [1, 2, 9, 10, 17, 99, 101, 593, 4000, 1_000_000])
def test_round_ranks_are_few(count):
    found = charts_prints._round_ranks(count)
    assert len(found) <= 5 and all(1 <= rank <= count for rank in found) and found
