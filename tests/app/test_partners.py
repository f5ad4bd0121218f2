"""Partners of any query and the dataset's strongest conflicts, against plain loops and planted answers."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import streamlit as st
from helpers import make_run
from streamlit.testing.v1 import AppTest

from lossprint.app.charts import base as charts
from lossprint.app.views.pairs import partners
from lossprint.audit.types import LossprintError, Trajectory


def recorded(losses, labels, samples=None, checkpoints=None) -> Trajectory:
    losses = np.asarray(losses, np.float32)
    samples = np.arange(losses.shape[1]) if samples is None else np.asarray(samples)
    checkpoints = np.arange(1, len(losses) + 1) if checkpoints is None else np.asarray(checkpoints)
    return Trajectory(samples.astype(np.int64), np.asarray(labels, np.int32), checkpoints.astype(np.int64), losses)


def of(found: pd.DataFrame, scope: str, side: str) -> pd.DataFrame:
    return found[(found["scope"] == scope) & (found["side"] == side)]


# ---------------------------------------------------------------------------------------------- one query


def test_the_partners_of_a_query_equal_a_plain_loop():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    train = recorded(rng.random((8, 300)), labels, samples=np.arange(300) * 2)
    val = recorded(rng.random((8, 5)), [0, 1, 2, 0, 1], samples=[1, 3, 5, 7, 9])
    for at, sample in enumerate(val.samples):
        found = partners.against(train, val, int(sample), 4)
        r = [np.corrcoef(train.losses[:, i], val.losses[:, at])[0, 1] for i in range(300)]
        for scope in partners.SCOPES:
            able = [i for i in range(300) if scope == "all" or labels[i] == val.labels[at]]
            for side, sign in (("aligned", -1), ("conflicting", 1)):
                expected = sorted(able, key=lambda i: sign * r[i])[:4]
                mine = of(found, scope, side)
                assert list(mine["partner"]) == [2 * i for i in expected]
                assert list(mine["rank"]) == [1, 2, 3, 4]
                np.testing.assert_allclose(mine["correlation"], [r[i] for i in expected], atol=1e-5)
        assert (found["sample"] == sample).all()


def test_only_common_checkpoints_count_and_never_checkpoint_0():
    falling = np.array([[9.0, 3.0, 2.0, 1.0]]).T
    train = recorded(np.hstack([falling, falling[::-1]]), [0, 0], checkpoints=[0, 1, 2, 4])
    val = recorded([[0.0], [3.0], [50.0], [1.0]], [0], samples=[7], checkpoints=[0, 1, 3, 4])
    found = of(partners.against(train, val, 7), "all", "aligned")
    np.testing.assert_allclose(found["correlation"], [1.0, -1.0])  # checkpoints 1 and 4 alone


def test_constant_gappy_and_lonely_trajectories_have_no_partners():
    losses = [[1, 2, 1.0], [1, 1, np.nan], [1, 0, 3.0]]
    train = recorded(losses, [0, 0, 0])
    val = recorded([[5, 2.0, 1, np.nan], [5, 3.0, 2, 1], [5, 4.0, 3, 1]], [0, 1, 0, 0], samples=[10, 11, 12, 13])
    assert partners.against(train, val, 10).empty  # constant
    assert partners.against(train, val, 13).empty  # a gap
    assert partners.against(train, val, 99).empty  # not recorded
    found = partners.against(train, val, 11)
    assert of(found, "class", "conflicting").empty  # no training sample of its class
    assert list(of(found, "all", "conflicting")["partner"]) == [1]  # 0 is constant, 2 misses a value
    one = recorded([[1.0, 2.0]], [0, 0])
    assert partners.against(one, one, 0).empty
    assert list(partners.against(one, one, 0).columns) == partners.COLUMNS


def test_ties_go_to_the_smaller_sample():
    train = recorded(np.tile([[3.0], [2.0], [1.0]], 50), np.zeros(50))
    val = recorded([[1.0], [2.0], [3.0]], [0])
    for side in partners.SIDES:
        assert list(of(partners.against(train, val, 0, 3), "all", side)["partner"]) == [0, 1, 2]


# ---------------------------------------------------------------------------------------------- the whole dataset


@pytest.fixture
def pairs(tmp_path):
    rng = np.random.default_rng(1)
    rows = [
        (sample, int(rng.integers(100, 110)), "val", np.float32(rng.uniform(-1, 0.3)), side, rank, scope)
        for sample in range(100)
        for scope in partners.SCOPES
        for side in partners.SIDES
        for rank in (1, 2)
    ]
    frame = pd.DataFrame(rows, columns=["sample", "partner", "partner_split", "correlation", "side", "rank", "scope"])
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), tmp_path / "pairs.parquet", row_group_size=37)
    return tmp_path, frame


@pytest.mark.parametrize("top", [1, 7, 30, 1000])
def test_the_strongest_conflicts_are_those_of_the_whole_table(pairs, top):
    folder, frame = pairs
    found = partners.strongest(folder / "pairs.parquet", top)
    assert set(found) == set(partners.SCOPES)
    for scope, rows in found.items():
        mine = frame[(frame["scope"] == scope) & (frame["side"] == "conflicting") & (frame["rank"] == 1)]
        expected = mine[mine["correlation"] < 0].sort_values(["correlation", "sample"]).head(top)
        for column in ("sample", "partner", "correlation"):
            assert list(rows[column]) == list(expected[column])
        assert rows["sample"].dtype == rows["partner"].dtype == np.int64


def test_a_run_without_pairs(tmp_path):
    run = make_run(tmp_path)
    run.write_pairs(run.pairs().iloc[:0])
    assert all(rows.empty for rows in partners.strongest(run.pairs_path).values())
    (run.path / "pairs.parquet").write_bytes(b"no parquet")
    with pytest.raises(LossprintError, match="expected a readable"):
        partners.strongest(run.pairs_path)


@pytest.mark.parametrize("kind", ["category", object])
def test_conflicts_are_counted_by_both_labels(kind):
    labels = pd.Series(["a", "a", "b", "c", "c"], index=[0, 1, 2, 10, 11]).astype(kind)
    rows = pd.DataFrame({"sample": [2, 0, 1], "partner": [10, 10, 11], "correlation": [-0.9, -0.8, -0.6]})
    table = partners.by_class(rows, labels)
    assert table.values.tolist() == [["a", "c", 2, -0.7], ["b", "c", 1, -0.9]]
    assert list(partners.of_pair(rows, labels, "a", "c")["sample"]) == [0, 1]
    assert partners.most_opposed(rows, 1).values.tolist() == [[10, 2]]
    figure = partners.pair_map(table, dark=False)
    order = list(figure.layout.yaxis.ticktext)
    assert figure.data[0].z[order.index("a"), order.index("c")] == 2
    assert np.isnan(figure.data[0].z[order.index("c"), order.index("a")])


# ---------------------------------------------------------------------------------------------- curves and words


def test_curves_are_losses_standardised_or_changes():
    losses = pd.Series([9.0, 1.0, 2.0, 4.0], index=[0, 1, 2, 3])
    assert partners.transformed(losses, "losses") is losses
    assert partners.transformed(losses, "changes").to_dict() == {2: 1.0, 3: 2.0}
    z = partners.transformed(losses, "standardised")
    assert list(z.index) == [1, 2, 3] and abs(z.mean()) < 1e-12 and abs(z.std(ddof=0) - 1) < 1e-12
    assert (partners.transformed(pd.Series([0.5] * 4), "standardised") == 0).all()


def test_hovering_a_curve_says_which_sample_it_is():
    own, other = pd.Series([2.0, 1.0], [1, 2]), pd.Series([1.0, 2.0], [1, 2])
    figure = partners.curves(
        ("sample 3", own), [("sample 7 · <b>", other)], "conflicting", "foes", "losses", dark=False
    )
    assert [trace.hovertemplate.split("<br>")[0] for trace in figure.data] == ["sample 7 · &lt;b&gt;", "sample 3"]
    assert figure.data[0].line.color == charts.LIGHT.conflicting
    assert figure.data[1].line.color == charts.LIGHT.given
    assert len(partners.curves(None, [], "aligned", "friends", "changes", dark=True).data) == 0


def explained(conflicting, aligned=(), scope="all", given="coat", **more) -> str:
    labels = pd.Series([*conflicting, *aligned])
    side = ["conflicting"] * len(conflicting) + ["aligned"] * len(aligned)
    pairs = pd.DataFrame({"partner": labels.index, "side": side, "correlation": -0.9})
    return partners.explain(pairs, labels, given, scope, "validation", **more)


def test_the_labels_of_the_partners_are_put_into_words():
    said = explained(["shirt"] * 4 + ["bag"], preferred="shirt")
    start = "Of its 5 most conflicting validation samples 4 are labeled *shirt*"
    assert said == f"{start}, which the model also prefers for this sample."
    assert "all are labeled *coat*, as it is itself." in explained(["coat"] * 3)
    assert "; 1 is labeled *shirt*, which the model prefers" in explained(["bag", "bag", "shirt"], preferred="shirt")
    assert "2 different labels: no single class" in explained(["bag", "shirt"])
    assert "Its only conflicting validation sample is labeled *bag*." in explained(["bag"])
    assert "No validation sample was learned against it. Of its 2 most aligned" in explained([], ["bag", "bag"])
    assert "conflicts most is sample 0 (r = −0.90)" in explained(["coat"], scope="class")
    assert explained(["a", "a"], flagged=len).endswith("2 have labels that are themselves flagged as suspicious.")
    assert explained(["a", "a"], flagged=lambda _: 1).endswith("1 has a label that is itself flagged as suspicious.")
    assert "*!b!*" in explained(["b"], show=lambda label: f"!{label}!")


def test_the_movement_of_the_losses_is_put_into_words():
    falling, rising = pd.Series([2.0, 1.0, 0.04]), pd.Series([0.1, np.nan, 1.9])
    assert partners.movement(falling, [rising, None]) == (
        "Its loss fell from 2.00 to 0.04 nats; that of its conflicting partner rose from 0.10 to 1.90 nats."
    )
    said = partners.movement(rising, [pd.Series([2.0, 0.0]), pd.Series([0.0, 2.0])])
    assert "partners stayed at about 1.00 nats on average." in said
    assert partners.movement(falling, []) is None and partners.movement(None, [rising]) is None


# ---------------------------------------------------------------------------------------------- edge cases of the page


@pytest.fixture
def page(monkeypatch):
    def open_page(run, **state):
        st.cache_data.clear()
        st.cache_resource.clear()
        monkeypatch.setenv("LOSSPRINT_RUNS", str(run.path))
        app = AppTest.from_string("from lossprint.app import main\nmain.main('pairs')", default_timeout=30)
        for key, value in state.items():
            app.session_state[key] = value
        app.run()
        assert not app.exception and not app.error
        return "\n".join(str(one.value) for one in [*app.markdown, *app.caption, *app.subheader])

    return open_page


def test_a_run_of_one_checkpoint_says_so(tmp_path, page):
    run = make_run(tmp_path, checkpoints=1)
    run.write_pairs(run.pairs().iloc[:0])
    assert "One checkpoint is no curve" in page(run)
    assert "One checkpoint is no curve" in page(run, sample="30")


def test_a_run_without_validation_samples_says_what_to_do(tmp_path, page):
    run = make_run(tmp_path, held_out=0)
    run.write_pairs(run.pairs().iloc[:0])
    assert "val-fraction" in page(run, sample="2")


def test_a_class_without_validation_samples_points_to_all_classes(tmp_path, page):
    run = make_run(tmp_path)
    pairs = run.pairs()
    run.write_pairs(pairs[(pairs["sample"] != 2) | (pairs["scope"] == "all")])
    assert "Choose **All classes** above" in page(run, sample="2")
    assert "Its 3 most conflicting validation samples carry 3" in page(run, sample="2", scope="All classes")


def test_a_constant_trajectory_and_a_test_sample_have_their_own_words(tmp_path, page):
    run = make_run(tmp_path)
    for checkpoint in run.recorded("val"):
        part = run.part("val", checkpoint).to_pandas()
        part.loc[part["sample"] == 31, "loss"] = 0.5
        run.write_part("val", checkpoint, part)
    assert "does not vary" in page(run, sample="31")
    assert "No losses were recorded" in page(run, sample="43")
    assert "training samples" in page(run, sample="30", scope="All classes")
    assert "Only 5 checkpoints" in page(run, sample="30")
