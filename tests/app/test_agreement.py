"""Agreement of two trainings against planted answers and plain loops, and the page Compare runs where things differ."""

import shutil

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from app_pages import assert_whole, open_page, said
from helpers import make_run

from lossprint.app.views.compare import agreement, charts
from lossprint.audit.findings.score import score_run
from lossprint.audit.runs.open import open_run
from lossprint.scoring import labels as label_scores
from lossprint.scoring import trajectory


@pytest.fixture(autouse=True)
def fresh_caches():
    st.cache_data.clear()
    st.cache_resource.clear()
    yield


def two(size: int = 300, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    first = random.random(size).round(2)  # with ties
    second = first + noise * random.random(size)
    first[5], second[9], second[5] = np.nan, np.inf, np.nan
    return first, second


@pytest.mark.parametrize("suspect", ["high", "low"])
def test_places_are_mean_ranks_from_the_suspect_end(suspect):
    values, _ = two()
    place = agreement.places(values, suspect)
    expected = pd.Series(values).rank(ascending=suspect == "low")
    np.testing.assert_array_equal(place, expected)
    assert np.isnan(agreement.places(np.full(3, np.nan), suspect)).all()
    assert agreement.places(np.empty(0), suspect).shape == (0,)


def test_correlation_of_places_is_spearmans():
    first, second = two()
    expected = pd.Series(first).corr(pd.Series(second).replace(np.inf, np.nan), method="spearman")
    rho, count = agreement.rank_correlation("csl", first, second)
    assert rho == pytest.approx(expected)
    assert count == 298
    found = agreement.agree("csl", first, second)
    assert (found.rho, found.count) == (pytest.approx(expected), 298)
    assert np.isnan(agreement.correlation(np.ones(4), np.arange(4.0)))
    assert np.isnan(agreement.correlation(np.ones(1), np.ones(1)))


def test_at_top_counts_what_both_name():
    random = np.random.default_rng(0)
    first, second = random.permutation(200) + 1, random.permutation(200) + 1
    top, shared = agreement.at_top(first, second)
    assert top[0] == 1 and top[-1] == 200 and shared[-1] == 1
    for k, share in zip(top, shared):
        assert share == pytest.approx(len(set(np.flatnonzero(first <= k)) & set(np.flatnonzero(second <= k))) / k)
    assert agreement.at_top(first, first)[1].tolist() == [1] * len(top)
    assert len(agreement.at_top(np.empty(0), np.empty(0))[0]) == 0


def test_a_score_that_says_nothing_is_not_agreement():
    found = agreement.agree("forgetting", np.ones(1000), np.ones(1000))
    assert np.isnan(found.rho) and np.isnan(found.jaccard)
    assert all(table.empty for table in found.sets.values())
    at = np.searchsorted(found.top, 100)
    assert found.shared[at] < 0.3  # chance: 0.1


def test_density_counts_each_sample_once_where_it_is():
    found = agreement.density(np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 4, 3]), bins=2)
    assert found.tolist() == [[2, 0], [0, 2]]
    assert agreement.density(np.array([1.0, 2]), np.array([2.0, 1]), bins=2).tolist() == [[0, 1], [1, 0]]


def test_sets_hold_the_flagged_in_order():
    first = np.array([0.9, 0.2, 0.8, 0.6, np.nan, 0.95])
    second = np.array([0.7, 0.9, 0.95, 0.1, 0.9, 0.2])
    found = agreement.agree("label_error", first, second)
    assert {name: table["row"].tolist() for name, table in found.sets.items()} == {
        "both": [2, 0],
        "first": [5, 3],
        "second": [1],
    }
    assert found.jaccard == pytest.approx(2 / 5)
    low = agreement.agree("aum", np.arange(100.0), np.arange(100.0)[::-1])
    assert low.sets["first"]["row"].tolist() == [0, 1, 2, 3, 4]
    assert low.sets["second"]["row"].tolist() == [99, 98, 97, 96, 95]
    assert agreement.agree("trace", first, second).sets["both"].empty
    assert agreement.agree("csl", np.empty(0), np.empty(0)).count == 0


def test_samples_match_by_id_within_a_dataset_and_by_path_beyond():
    first = pd.DataFrame({"sample": [1, 4, 6, 9], "path": ["a", "b", "c", "c"]})
    second = pd.DataFrame({"sample": [2, 4, 9], "path": ["c", "x", "a"]})
    by_id = agreement.match(first, second, True)
    assert (by_id.first.tolist(), by_id.second.tolist()) == ([1, 3], [1, 2])
    by_path = agreement.match(first, second, False)
    assert (by_path.first.tolist(), by_path.second.tolist()) == ([0, 2], [2, 0])


def test_differences_name_what_differs():
    one = {"dataset": {"fingerprint": "f", "source": "a", "classes": ["x", "y"], "counts": {"train": 3, "val": 1}}}
    assert agreement.differences(one, one) == {}
    other = {"dataset": {"fingerprint": "g", "source": "a", "classes": ["x", "z"], "counts": {"train": 4, "val": 1}}}
    assert agreement.differences(one, other) == {"classes": (["y"], ["z"]), "train": (3, 4)}
    same = {"dataset": {**one["dataset"], "fingerprint": "g"}}
    assert list(agreement.differences(one, same)) == ["contents"]


def test_scores_of_one_training_are_those_of_the_arrays(tmp_path):
    run = make_run(tmp_path / "one")
    found = agreement.training_scores([run])
    train, val = run.trajectory("train"), run.trajectory("val")
    np.testing.assert_allclose(found["csl"], trajectory.csl(train.losses), rtol=1e-6)
    np.testing.assert_allclose(found["aum"], trajectory.aum(train.margins), rtol=1e-6)
    np.testing.assert_allclose(found["p_mean"], trajectory.data_map(train.losses)[0], rtol=1e-6)
    new = label_scores.newness(*(label_scores.fit(one.losses, one.margins) for one in (train, val)))
    plain = label_scores.label_errors(
        train.losses, train.labels, margins=train.margins, weights=label_scores.checkpoint_weights(val.losses, new)
    )
    np.testing.assert_allclose(found["label_error"], plain.severity, rtol=1e-6)
    np.testing.assert_array_equal(found["sample"], train.samples)


def test_folds_are_put_together(tmp_path):
    run = make_run(tmp_path / "one")
    for fold in range(2):
        member = run.member(f"fold={fold:03d}")
        for split in ("train", "val"):
            for step in run.recorded(split):
                part = run.part(split, step).to_pandas()
                part.loc[part["sample"] % 2 != fold, ["loss", "margin"]] = np.nan
                member.write_part(split, step, part)
    found, expected = agreement.training_scores(run.members("fold")), agreement.training_scores([run])
    pd.testing.assert_frame_equal(found, expected)
    alone = agreement.training_scores(run.members("fold")[:1])
    assert alone["csl"].notna().to_numpy().tolist() == (alone["sample"] % 2 == 0).tolist()


@pytest.mark.parametrize("dark", [False, True])
def test_figures_stand_what_is_missing(dark):
    nothing = agreement.agree("csl", np.empty(0), np.empty(0))
    for found in (nothing, agreement.agree("csl", *two(50)), agreement.agree("csl", np.ones(1), np.ones(1))):
        charts.top_agreement(found, dark=dark)
        charts.rank_density(found, names=("<b>", "b"), dark=dark)
    frame = pd.DataFrame({"title": ["A", "B"], "score": ["a", "b"], "rho": [np.nan, -0.3]})
    charts.correlations(frame, dark=dark, chosen="a")


# ---------------------------------------------------------------------------------------------- the page


def folder_of_two(tmp_path, **second):
    """A folder with the runs `first` and `second`; keyword arguments make the second differ."""
    runs = tmp_path / "runs"
    runs.mkdir()
    for name, options in (("first", {"seed": 0}), ("second", {"seed": 1, **second})):
        make_run(tmp_path / name, **options).path.rename(runs / name)
    return runs


def test_compare_says_how_to_make_a_second_run(tmp_path, monkeypatch):
    app = open_page("compare", make_run(tmp_path / "one").path, monkeypatch)
    assert_whole(app)
    assert "Only one run here" in said(app)
    assert "--seed 1 --out" in app.code[0].value


def test_compare_draws_two_runs_of_one_dataset(tmp_path, monkeypatch):
    app = open_page("compare", folder_of_two(tmp_path), monkeypatch, run="first")
    assert_whole(app)
    assert [metric.value for metric in app.metric][:3] == ["2", "0", "0"]
    assert "not runs of the same dataset" not in "".join(str(one.value) for one in app.info)


def test_compare_matches_other_datasets_by_path_and_says_what_differs(tmp_path, monkeypatch):
    runs = folder_of_two(tmp_path, classes=("bag", "coat", "zebra"), train=6)
    app = open_page("compare", runs, monkeypatch, run="first")
    assert_whole(app)
    told = app.info[0].value
    assert "matched by path" in told and "zebra" in told and "Training samples: 30 and 18" in told
    assert "**18** training samples" in told and "have another label" in told


def test_compare_of_datasets_with_nothing_in_common(tmp_path, monkeypatch):
    app = open_page("compare", folder_of_two(tmp_path, kind="folder"), monkeypatch, run="first")
    assert_whole(app)
    assert "No sample in common" in said(app)


def test_compare_offers_the_further_seeds_of_a_run(tmp_path, monkeypatch):
    run = make_run(tmp_path / "one")
    member = run.member("seed=00001")
    shutil.copytree(run.path / "trajectories", member.path / "trajectories")
    score_run(run).finish("find")
    app = open_page("compare", open_run(run.path).path, monkeypatch)
    assert_whole(app)
    assert "Two trainings of the same run" in said(app)
    assert {"Rank correlation": "1.00"}.items() <= {one.label: one.value for one in app.metric}.items()
