"""The arithmetic of benchmarks/review.py against planted answers, and that its simulations run."""

import importlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import BENCHMARKS, as_script

from lossprint.audit.runs.open import open_run

TRUTH = Path(__file__).parent.parent.parent / "assets" / "demo" / "truth.csv"


@pytest.fixture(params=["experts", "stopping", "sessions", "keys"])
def every(request, monkeypatch):
    return load(request.param, monkeypatch)


def load(name: str, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # as a script finds what lies beside it
    return importlib.import_module(f"review_{name}")


def test_each_part_says_what_it_does(every):
    assert every.__doc__


# ---------------------------------------------------------------------------------------------- simulated experts


def planted(size: int = 1000, errors: int = 50) -> tuple[np.ndarray, np.random.Generator]:
    random = np.random.default_rng(0)
    wrong = np.zeros(size, bool)
    wrong[random.permutation(size)[:errors]] = True
    return wrong, random


def test_a_perfect_order_finds_all_and_random_order_its_share(monkeypatch):
    bench = load("experts", monkeypatch)
    wrong, _ = planted()
    orders = {"perfect": np.argsort(~wrong, kind="stable"), "last": np.argsort(wrong, kind="stable"), "random": None}
    found = bench.simulated(orders, wrong, 0.0, 300, 0, 10)
    assert found["perfect"].shape == (300, 4, 3)
    assert (found["perfect"] == [50, 0, 0]).all()
    assert (found["last"] == [0, 0, 50]).all()
    assert found["random"][:, :, 0].mean(0) == pytest.approx(50 * np.array(bench.SHARES), rel=0.1)


def test_what_experts_say_adds_up_and_errs_at_the_rate_asked_for(monkeypatch):
    bench = load("experts", monkeypatch)
    wrong, random = planted(200_000, 50_000)
    said = bench.says(wrong, 0.1, random)
    assert said.mends.sum() / 50_000 == pytest.approx(0.9, abs=0.01)
    assert said.misses.sum() / 50_000 == pytest.approx(0.05, abs=0.01)
    assert said.spoils.sum() / 150_000 == pytest.approx(0.1, abs=0.01)
    assert (said.blames == (said.mends | said.spoils | said.misses)).all()
    assert (wrong & ~said.blames).sum() / 50_000 == pytest.approx(0.05, abs=0.01)
    assert not bench.says(wrong, 0.1, random, classes=2).misses.any()
    never = bench.says(wrong, 0.0, random)
    assert (never.mends == wrong).all() and not never.spoils.any() and not never.misses.any()


def test_reviewed_counts_as_a_plain_loop_does(monkeypatch):
    bench = load("experts", monkeypatch)
    wrong, random = planted(97, 20)
    said, order = bench.says(wrong, 0.3, random), random.permutation(97)
    labels = np.where(wrong, "wrong", "right").astype(object)
    found = bad = 0
    for at in order[: round(0.2 * 97)]:
        if wrong[at] and said.mends[at]:
            labels[at], found = "right", found + 1
        elif said.blames[at]:
            labels[at], bad = "wrong", bad + 1
    assert bench.reviewed(order, wrong, said, [0.2]).tolist() == [[found, bad, (labels == "wrong").sum()]]


def test_our_order_is_the_queue_and_then_the_score(monkeypatch):
    bench = load("experts", monkeypatch)
    scores = pd.DataFrame({"sample": [3, 5, 7, 9, 11], "label_error": [0.9, 0.1, 0.6, np.nan, 0.4]})
    rows = [("duplicate", 11, 1.0, "duplicate:11"), ("duplicate", 99, 1.0, "duplicate:11")]  # 99 is of another split
    rows += [("label_error", 7, 0.6, "label_error:7"), ("label_error", 3, 0.9, "label_error:3")]
    findings = pd.DataFrame(rows, columns=["kind", "sample", "severity", "group"]).assign(suggested_label="b")
    assert bench.our_order(findings, scores).tolist() == [0, 2, 4, 1, 3]


def test_cleanlabs_order_puts_a_plain_error_first(monkeypatch):
    bench = load("experts", monkeypatch)
    probabilities = np.full((60, 3), 0.05) + 0.85 * np.eye(3)[np.arange(60) % 3]
    given = np.arange(60) % 3
    given[17] = (given[17] + 1) % 3
    orders = bench.cleanlab_orders(given, probabilities)
    assert len(orders) == 3
    for order in orders.values():
        assert order[0] == 17 and sorted(order) == list(range(60))


@pytest.mark.proof
def test_experts_and_coverage_run_small(audited, tmp_path, monkeypatch):
    """The figures of so small a run mean nothing; cleanlab's probabilities are kept."""
    kept = tmp_path / "kept.npz"
    review, options = BENCHMARKS / "review.py", ["--cleanlab", kept, "--folds", 2, "--simulations", 5]
    told = as_script(review, "experts", audited, TRUTH, *options)
    assert "10% errors cleanlab self_confidence" in told
    bench = load("experts", monkeypatch)
    samples, probabilities = bench.out_of_sample(open_run(audited), 2, kept)  # read, not trained again
    assert len(samples) == 300 and probabilities.sum(1) == pytest.approx(1)
    with pytest.raises(SystemExit, match="in 3 folds, found others"):
        bench.out_of_sample(open_run(audited), 3, kept)
    told = as_script(review, "coverage", audited, TRUTH, "--simulations", 2, "--stops", 30, 60)
    assert len(re.findall(r"^\d+% errors", told, re.M)) == 6 and "held at" in told


# ---------------------------------------------------------------------------------------------- intervals


def test_chances_are_the_shares_among_neighbours(monkeypatch):
    bench = load("stopping", monkeypatch)
    error = np.array([1, 1, 0, 0, 1], bool)
    assert bench.chances(error, 3) == pytest.approx([1, 2 / 3, 1 / 3, 1 / 3, 0.5])
    assert bench.chances(error, 99) == pytest.approx([0.6] * 5)


def queue(errors_in_rest: int, size: int = 1000):
    """A queue of 300 whose first half is wrong, and a rest of which some are; samples have ids of their own."""
    samples = np.arange(size) * 3 + 1
    wrong = np.zeros(size, bool)
    wrong[:150] = True
    wrong[size - errors_in_rest :] = True
    names = [f"label_error:{sample}" for sample in samples[:300]]
    findings = pd.DataFrame({"kind": "label_error", "sample": samples[:300], "group": names, "label": "a"})
    return findings.assign(severity=np.linspace(0.9, 0.5, 300)), samples, wrong


def test_intervals_hold_what_an_expert_who_never_errs_leaves(monkeypatch):
    bench = load("stopping", monkeypatch)
    known = bench.Known(*queue(40), classes=3)
    rows = [bench.one(known, 0.0, [350, 500], seed) for seed in range(12)]
    for at in range(2):
        rest = [row[at][bench.NAMES.index("left in rest")] for row in rows]
        assert np.mean([held for held, _ in rest]) >= 0.8 and min(width for _, width in rest) > 5
        really = [row[at][bench.NAMES.index("rest, really")] for row in rows]
        assert rest == really
    assert bench.cell([(1.0, 20.0), (0.0, 10.0), None]) == "50.0 (15, 2x)" and bench.cell([None]) == "-"


def test_an_interval_that_is_shut_is_found_out(monkeypatch):
    """The benchmark can tell bad intervals from good ones."""
    bench = load("stopping", monkeypatch)
    known = bench.Known(*queue(40), classes=3)
    shut = bench.stopping.so_far

    def too_sure(of, history):
        from dataclasses import replace

        found = shut(of, history)
        rest = found.rest_left
        return replace(found, rest_left=rest and type(rest)(rest.estimate, rest.estimate, rest.estimate))

    monkeypatch.setattr(bench.stopping, "so_far", too_sure)
    rows = [bench.one(known, 0.0, [400], seed)[0] for seed in range(12)]
    assert np.mean([row[bench.NAMES.index("left in rest")][0] for row in rows]) < 0.5


# ---------------------------------------------------------------------------------------------- sessions


def told(bench, **stored) -> dict:
    return {name: bench.Account(stored=dict(tokens), pressed=dict(tokens)) for name, tokens in stored.items()}


def rows(*of) -> pd.DataFrame:
    frame = pd.DataFrame(of, columns=["finding", "reviewer", "decision", "token"])
    return frame.assign(stands=frame["decision"] != "undo")


def test_faults_of_a_review_are_found(monkeypatch):
    bench = load("sessions", monkeypatch)
    accounts = told(bench, ann={"a": "keep", "b": "exclude", "c": "one"}, bob={"d": "unsure"})
    good = [("x:1", "ann", "keep", "a:0"), ("x:2", "ann", "exclude", "b:0"), ("x:4", "bob", "unsure", "d:0")]
    good += [("dup:3", "ann", "keep", "c:0"), ("dup:3", "ann", "exclude", "c:1")]
    assert not any(bench.faults(accounts, rows(*good)).values())

    def found(*of) -> dict:
        return {name: which for name, which in bench.faults(accounts, rows(*of)).items() if which}

    assert found(*good[1:]) == {"lost": ["a"]}
    accounts["ann"].pressed["e"] = "keep"
    assert found(*good, ("x:1", "ann", "keep", "e:0")) == {"doubled": [("x:1", "ann")]}
    assert found(*good, good[0]) == {"doubled": ["a:0"]}
    accounts["bob"].pressed["f"] = "keep"
    assert found(*good, ("x:1", "bob", "keep", "f:0")) == {"shared": ["x:1"]}
    assert found(("x:1", "ann", "unsure", "a:0"), *good[1:]) == {"changed": ["a"]}
    assert found(("x:1", "bob", "keep", "a:0"), *good[1:]) == {"foreign": ["a"]}


def test_the_ratio_of_keys_is_told_with_its_verdict(monkeypatch):
    bench = load("keys", monkeypatch)
    assert "ratio 2.00, target 3 | met" in bench.line("Verify", [200.0, 210.0, 190.0], [100.0, 90.0, 110.0])
    assert "missed by 33 %" in bench.line("Verify", [400.0], [100.0])
    assert 'shortcut="M"' in bench.EMPTY
