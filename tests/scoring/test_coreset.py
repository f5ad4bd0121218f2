"""Coreset selection on planted scores: which end, how many of each class, ties, gaps, and repeatability."""

from dataclasses import replace

import numpy as np
import pytest

from lossprint.scoring.coresets.coreset import Pool, lacks, select
from lossprint.scoring.coresets.cover import facility_location, k_centre
from lossprint.scoring.coresets.gradients import LastLayer, grad_match
from lossprint.scoring.coresets.methods import METHODS

LABELS = np.array(["b"] * 50 + ["a"] * 30 + ["c"] * 20)
SCORE = np.random.default_rng(0).permutation(100).astype(float)


RANKED = [name for name in METHODS if METHODS[name].column and METHODS[name].how == "score"]


@pytest.mark.parametrize("name", RANKED)
def test_each_method_keeps_its_end_of_its_score_in_every_class(name):
    method = METHODS[name]
    chosen = select(name, {method.column: SCORE}, LABELS, fraction=0.1)
    for label, count in (("b", 5), ("a", 3), ("c", 2)):
        members = np.flatnonzero(label == LABELS)
        ranked = members[np.argsort(-SCORE[members] if method.keep == "high" else SCORE[members])]
        assert set(chosen.index[LABELS[chosen.index] == label]) == set(ranked[:count])
    falling = np.diff(chosen.score) * (1 if method.keep == "high" else -1)
    assert (falling < 0).all()  # best first over all classes
    np.testing.assert_array_equal(chosen.score, SCORE[chosen.index])
    assert method.title and method.meaning.endswith(".")


def test_the_ends_are_the_published_ones():
    kept = {name: (method.column, method.keep) for name, method in METHODS.items() if method.how == "score"}
    assert {name: end for name, end in kept.items() if end[0]} == {
        "cld": ("cld", "high"),
        "cld_reversed": ("cld", "low"),
        "cld_cleaned": ("cld", "high"),
        "csl_easy": ("csl", "low"),
        "csl_hard": ("csl", "high"),
        "aum_easy": ("aum", "high"),
        "aum_hard": ("aum", "low"),
        "hard_cleaned": ("aum", "low"),
        "el2n_easy": ("el2n", "low"),
        "el2n_hard": ("el2n", "high"),
        "forgetting_easy": ("forgetting", "low"),
        "forgetting_hard": ("forgetting", "high"),
        "curvature_low": ("curvature", "low"),
        "gradient_norm_low": ("gradient_norm", "low"),
    }


@pytest.mark.parametrize("fraction", [0.01, 0.02, 0.03, 0.05, 0.123, 0.5, 0.77, 1.0])
def test_budgets_add_up_and_every_class_is_there_if_it_can_be(fraction):
    labels = np.repeat(np.arange(6), [1, 2, 3, 40, 70, 84])
    chosen = select("random", {}, labels, fraction=fraction)
    assert len(chosen.index) == len(set(chosen.index)) == round(fraction * 200)
    counts = np.bincount(labels[chosen.index], minlength=6)
    assert (counts > 0).sum() == min(6, len(chosen.index))
    if fraction >= 0.5:
        np.testing.assert_allclose(counts, np.bincount(labels) * fraction, atol=1.5)


def test_largest_remainders_by_hand():
    labels = np.repeat([0, 1, 2], [47, 16, 37])  # 10 %: 4.7, 1.6, 3.7 -> 4, 1, 3 and two seats for .7 and .7
    counts = np.bincount(labels[select("random", {}, labels, fraction=0.1).index])
    assert counts.tolist() == [5, 1, 4]


def test_per_class_takes_that_many_or_all():
    labels = np.repeat([0, 1, 2], [3, 10, 5])
    chosen = select("csl_easy", {"csl": np.arange(18.0)}, labels, per_class=4)
    assert sorted(chosen.index) == [0, 1, 2, 3, 4, 5, 6, 13, 14, 15, 16]


def test_missing_scores_come_last_and_ties_go_to_the_smaller_id():
    scores = {"cld": np.array([np.nan, 0.5, 0.5, 0.9, np.nan, 0.5])}
    ids = np.array([0, 30, 20, 50, 1, 10])
    labels = np.zeros(6, int)
    order = select("cld", scores, labels, fraction=1.0, sample_ids=ids)
    assert ids[order.index].tolist() == [50, 10, 20, 30, 0, 1]
    assert np.isnan(order.score[-2:]).all()
    assert ids[select("cld", scores, labels, per_class=3, sample_ids=ids).index].tolist() == [50, 10, 20]


def test_the_same_seed_chooses_the_same_samples_in_any_row_order():
    ids = np.random.default_rng(1).permutation(1000)[:100]
    order = np.random.default_rng(2).permutation(100)
    first = select("random", {}, LABELS, fraction=0.3, seed=5, sample_ids=ids)
    again = select("random", {}, LABELS[order], fraction=0.3, seed=5, sample_ids=ids[order])
    assert ids[first.index].tolist() == ids[order][again.index].tolist()
    other = select("random", {}, LABELS, fraction=0.3, seed=6, sample_ids=ids)
    assert set(other.index) != set(first.index)


def test_errors_say_what_there_is():
    with pytest.raises(ValueError, match=r"'cdl', did you mean 'cld'\?; there are recommended, random, cld,"):
        select("cdl", {}, LABELS, fraction=0.1)
    for fraction in (0, -0.1, 1.01, float("nan")):
        with pytest.raises(ValueError, match="above 0 and at most 1"):
            select("random", {}, LABELS, fraction=fraction)
    with pytest.raises(ValueError, match="only one"):
        select("random", {}, LABELS, fraction=0.1, per_class=1)
    with pytest.raises(ValueError, match="one of them"):
        select("random", {}, LABELS)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        select("random", {}, LABELS, per_class=0)
    with pytest.raises(ValueError, match="not a single one"):
        select("random", {}, LABELS, fraction=0.001)
    with pytest.raises(ValueError, match=r"'curvature', which was not computed; there are csl"):
        select("curvature_low", {"csl": SCORE}, LABELS, fraction=0.1)
    with pytest.raises(ValueError, match=r"\(99,\).*\(100,\)"):
        select("csl_easy", {"csl": SCORE[1:]}, LABELS, fraction=0.1)
    with pytest.raises(ValueError, match=r"\(100,\).*\(3,\)"):
        select("csl_easy", {"csl": SCORE}, LABELS, fraction=0.1, sample_ids=np.arange(3))


# ------------------------------------------------------------------------------------------------- beyond one score

N, IDS = 120, np.random.default_rng(9).permutation(10_000)[:120]
CODES = np.random.default_rng(8).integers(0, 3, N)


def world():
    """Scores, and a pool with embeddings and a last layer, of N samples in 3 classes."""
    random = np.random.default_rng(7)
    columns = {method.column for method in METHODS.values() if method.column}
    scores = {name: random.normal(size=N) for name in sorted(columns)}
    vectors = np.abs(random.normal(size=(N, 5))).astype(np.float32)
    val = np.abs(random.normal(size=(30, 5))).astype(np.float32)
    weight, bias = random.normal(size=(3, 5)).astype(np.float32), np.zeros(3, np.float32)
    layer = LastLayer(vectors, CODES, val, random.integers(0, 3, 30), weight, bias)
    suspect = np.where(random.random(N) < 0.2, random.random(N), np.nan)
    return scores, Pool(suspect=suspect, vectors=vectors, layer=layer)


def reordered(pool, rows):
    layer = replace(pool.layer, vectors=pool.layer.vectors[rows], labels=pool.layer.labels[rows])
    other = {name: None if getattr(pool, name) is None else getattr(pool, name)[rows] for name in ARRAYS}
    return Pool(layer=layer, **other)


ARRAYS = ("excluded", "suspect", "group", "vectors")


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_gives_its_budget_once_each_whatever_the_order_of_the_rows(name):
    scores, pool = world()
    whole = select(name, scores, CODES, fraction=1.0, sample_ids=IDS, pool=pool)
    assert sorted(whole.index) == list(range(N))
    for asked in ({"fraction": 0.3}, {"number": 7}, {"per_class": 9}, {"number": 30, "equal": True}):
        first = select(name, scores, CODES, **asked, seed=3, sample_ids=IDS, pool=pool)
        assert len(set(first.index)) == len(first.index)
        assert len(first.index) == {0.3: 36, 7: 7, 9: 27, 30: 30}[next(iter(asked.values()))]
        rows = np.random.default_rng(1).permutation(N)
        again = select(
            name, {k: v[rows] for k, v in scores.items()}, CODES[rows], **asked, seed=3, sample_ids=IDS[rows],
            pool=reordered(pool, rows),
        )  # fmt: skip
        assert IDS[first.index].tolist() == IDS[rows][again.index].tolist()
        np.testing.assert_allclose(first.score, again.score, rtol=1e-4)
        if name != "random_plain":
            counts = np.bincount(CODES[first.index], minlength=3)
            if "equal" in asked or "per_class" in asked:
                assert counts.max() - counts.min() <= 1
            else:
                np.testing.assert_allclose(counts, np.bincount(CODES) * len(first.index) / N, atol=1.01)
    others = [select(name, scores, CODES, number=40, seed=seed, sample_ids=IDS, pool=pool).index for seed in range(8)]
    assert (len({frozenset(one.tolist()) for one in others}) > 1) == METHODS[name].chance


@pytest.mark.parametrize("name", list(METHODS))
def test_the_excluded_never_one_of_each_group_and_suspects_last(name):
    scores, pool = world()
    random = np.random.default_rng(0)
    excluded = random.random(N) < 0.1
    group = np.where(random.random(N) < 0.4, random.integers(0, 15, N), -1)
    pool = replace(pool, excluded=excluded, group=group)
    for number in (10, 40, N):
        chosen = select(name, scores, CODES, number=number, sample_ids=IDS, pool=pool).index
        assert not excluded[chosen].any()
        kept = group[chosen][group[chosen] >= 0]
        assert len(kept) == len(set(kept))
        left = (~excluded & (group < 0)).sum() + len(set(group[~excluded]) - {-1})
        assert len(chosen) == min(number, left)
        if METHODS[name].cleaned and number < 60:
            assert np.isnan(pool.suspect[chosen]).all()
    if METHODS[name].cleaned:  # and then the least likely errors first, best first over all
        suspects = pool.suspect[chosen][np.isfinite(pool.suspect[chosen])]
        assert len(suspects) and np.isfinite(pool.suspect[chosen])[-len(suspects) :].all()


def test_without_chance_ties_or_gaps_nothing_is_lost_when_all_are_suspect():
    scores, pool = world()
    pool = replace(pool, suspect=np.linspace(0.1, 0.9, N))
    for name in METHODS:
        assert len(select(name, scores, CODES, fraction=0.5, pool=pool).index) == 60
    chosen = select("random_cleaned", scores, np.zeros(N, int), number=10, pool=pool).index
    assert chosen.tolist() == list(range(10))


def test_covers_and_pursuit_are_class_by_class():
    scores, pool = world()
    error = pool.layer.errors()
    for name, way in (
        ("facility", lambda rows, k: facility_location(pool.vectors[rows], k)),
        ("k_centre", lambda rows, k: k_centre(pool.vectors[rows], k)),
        ("crust", lambda rows, k: facility_location(error[rows], k)),
        ("grad_match", lambda rows, k: grad_match(error[rows], pool.vectors[rows], k)),
    ):
        chosen = select(name, scores, CODES, per_class=6, pool=pool)
        for label in range(3):
            rows = np.flatnonzero(label == CODES)
            expected, value = way(rows, 6)
            mine = CODES[chosen.index] == label
            assert chosen.index[mine].tolist() == rows[expected].tolist()
            np.testing.assert_allclose(chosen.score[mine], value)


def test_ccs_leaves_the_hardest_out_and_spreads_over_the_score():
    aum = np.concatenate([np.linspace(-9, -8, 10), np.linspace(0, 1, 40), np.linspace(9, 10, 50)])
    labels = np.zeros(100, int)
    chosen = select("ccs", {"aum": aum}, labels, number=30, seed=1).index
    assert aum[chosen].min() >= 0  # a tenth, all of the lowest
    low = (aum[chosen] < 5).sum()
    assert 10 <= low <= 20  # strata of equal width, not samples, share the budget
    assert sorted(select("ccs", {"aum": aum}, labels, fraction=1.0).index) == list(range(100))
    gone = np.where(np.arange(100) % 2, np.nan, aum)
    assert len(select("ccs", {"aum": gone}, labels, number=80).index) == 80
    assert np.isfinite(gone[select("ccs", {"aum": gone}, labels, number=40).index]).sum() >= 30
    assert len(select("ccs", {"aum": np.full(100, np.nan)}, labels, number=8).index) == 8


def test_diversity_thins_near_neighbours_among_the_aligned():
    random = np.random.default_rng(5)
    spot = np.repeat(np.arange(20), 3)  # 20 places in the embedding, three samples at each
    vectors = (10 * np.eye(20, dtype=np.float32))[spot] + random.normal(0, 0.01, (60, 20)).astype(np.float32)
    cld = 1 - np.arange(60) / 60
    scores, pool = {"cld": cld}, Pool(vectors=vectors)
    plain = select("cld", scores, np.zeros(60, int), number=10, pool=pool).index
    thinned = select("cld_diverse", scores, np.zeros(60, int), number=10, pool=pool).index
    assert len(set(spot[plain])) == 4 and len(set(spot[thinned])) >= 7
    assert set(thinned) <= set(range(20))  # from the best twice the budget


def test_a_class_that_only_validation_has_moves_no_other():
    scores, pool = world()
    rows = CODES != 1  # the network knows three classes, of which the middle one has no training sample
    some = reordered(pool, np.flatnonzero(rows))
    columns = {name: score[rows] for name, score in scores.items()}
    for name in METHODS:
        chosen = select(name, columns, CODES[rows], per_class=5, pool=some).index
        counts = np.bincount(CODES[rows][chosen], minlength=3)
        assert len(chosen) == 10 and (name == "random_plain" or counts.tolist() == [5, 0, 5])


def test_what_a_method_lacks_is_said():
    scores, pool = world()
    for name, said in (
        ("facility", "embeddings, which a run without a model"),
        ("glister", "the last layer of a trained model"),
        ("cld", "the score 'cld', which was not computed; there are csl"),
    ):
        assert said in lacks(METHODS[name], {"csl": scores["csl"]}, Pool())
        with pytest.raises(ValueError, match=said):
            select(name, {"csl": scores["csl"]}, CODES, number=5, pool=Pool())
        assert not lacks(METHODS[name], scores, pool)
    with pytest.raises(ValueError, match="all are excluded"):
        select("random", scores, CODES, number=5, pool=Pool(excluded=np.ones(N, bool)))
