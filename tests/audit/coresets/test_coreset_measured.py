"""The method that did best on validation samples: chosen by them alone, exported by name, offered on the page."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from coreset_runs import lossprint
from helpers import make_run
from streamlit.testing.v1 import AppTest

from lossprint.app import data
from lossprint.app.views.coreset import numbers
from lossprint.audit.cli.main import main
from lossprint.audit.coresets import coreset as coresets
from lossprint.audit.coresets.coreset import Ask
from lossprint.audit.runs.run import Run
from lossprint.audit.types import LossprintError
from lossprint.scoring.coresets.methods import FIRST, METHODS

RIGHT = {  # of 100 validation and of 100 test images, by method: the test split says the opposite
    "random": (60, 90),
    "cld": (75, 80),
    "csl_easy": (80, 70),
}


@pytest.fixture
def run(tmp_path):
    st.cache_data.clear()
    st.cache_resource.clear()
    return make_run(tmp_path / "run")


def plant(run: Run, right=RIGHT, **more) -> None:
    """Two seeds of each method at 10 %, the second with one right answer more."""
    rows = []
    for method, answers in right.items():
        for split, found in zip(("val", "test"), answers):
            for seed in (0, 1):
                shared = {"method": method, "fraction": 0.1, "seed": seed, "model": "small", "steps": 120, "batch": 8}
                shared |= {"options": "", "device": "cpu", "epochs": 4.0, "train_samples": 3, "noisy": 0.1}
                shared |= {"seconds": 1.0, "data": "x", "outdated": False, "precision": "float32", **more}
                shared["key"] = "/".join(str(shared[name]) for name in ("method", "seed", "steps", "options"))
                rows.append({**shared, "split": split, "label": "bag", "right": found + seed, "of": 101})
    new = pd.DataFrame(rows)
    run.update_evaluation(lambda now: new if now is None else pd.concat([now, new], ignore_index=True))


def asked(run: Run, **options) -> str:
    return coresets.measured(run, Ask("measured", **options))[0].method


def test_validation_samples_decide(run):
    plant(run)
    ask, told = coresets.measured(run, Ask("measured", fraction=0.1, seed=3))
    assert ask == Ask("csl_easy", fraction=0.1, seed=3)
    assert told == "csl_easy: best of 3 methods on validation samples, 79.7 % (small, 120 steps)"  # 80.5 of 101
    frame = coresets.coreset(run, "measured", fraction=0.1)
    pd.testing.assert_frame_equal(frame, coresets.coreset(run, "csl_easy", fraction=0.1))
    assert coresets.measured(run, Ask("cld", number=3)) == (Ask("cld", number=3), "")


def test_most_methods_count_then_most_steps_and_only_the_same_options(run):
    plant(run)
    plant(run, {"random": (1, 1), "cld": (2, 2)}, steps=900)  # fewer methods
    assert asked(run, fraction=0.1) == "csl_easy"
    plant(run, {"random": (90, 1), "cld": (2, 2), "csl_easy": (3, 3)}, steps=600)
    assert asked(run, fraction=0.1) == "random"
    options = Ask("", equal=True).options
    plant(run, {"random": (1, 1), "cld": (9, 9)}, options=options, steps=600)
    assert asked(run, fraction=0.1, equal=True) == "cld" and asked(run, fraction=0.1) == "random"
    plant(run, {"aum_easy": (99, 99)}, steps=600, outdated=True)
    assert asked(run, fraction=0.1) == "random"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"fraction": 0.2}, "the fraction 0.2 with these options, found 0.1: lossprint coreset evaluate "),
        ({"fraction": 0.1, "equal": True}, "found none: lossprint coreset evaluate "),
        ({"number": 3}, "expected a fraction with the method measured, found number"),
        ({}, "expected a fraction with the method measured, found none"),
    ],
)
def test_what_was_not_measured_is_not_made_up(run, options, says):
    plant(run)
    with pytest.raises(LossprintError) as refused:
        coresets.measured(run, Ask("measured", **options))
    assert says in str(refused.value)
    if "fraction" in options:
        ends = " --methods all --fractions " + ("0.1 --equal" if "equal" in options else "0.2")
        assert str(refused.value).endswith(ends)


def test_on_the_command_line(run, tmp_path, capsys):
    out = tmp_path / "out.csv"
    words = ["export", "coreset", run.path, "--method", "measured", "--fraction", "0.1", "--out", out]
    status, _, told = lossprint(capsys, *words)
    assert status == 2 and told.count("\n") == 1 and "--methods all --fractions 0.1" in told and not out.exists()
    plant(run)
    status, told, _ = lossprint(capsys, *words)
    assert status == 0 and told.startswith("csl_easy: best of 3 methods on validation samples")
    record = json.loads((tmp_path / "out.csv.json").read_text())
    assert record["coreset"]["method"] == "csl_easy"
    plant(run, {"random": (99, 1), "cld": (2, 2), "csl_easy": (3, 3)}, steps=600)  # later another one is best
    again = tmp_path / "again.csv"
    assert lossprint(capsys, "export", "coreset", run.path, "--like", out, "--out", again)[0] == 0
    assert again.read_bytes() == out.read_bytes()


# ------------------------------------------------------------------------------------------------- the page


def cells(**accuracy: tuple[float, float]) -> pd.DataFrame:
    """Of the test split, two seeds, at 10 %."""
    about = {"fraction": 0.1, "seeds": 2, "worst": 0.5, "worst_label": "coat", "noisy": np.nan}
    return pd.DataFrame([{**about, "method": name, "accuracy": a, "spread": s} for name, (a, s) in accuracy.items()])


def test_what_the_validation_images_say_is_told_with_what_the_others_make_of_it():
    found = cells(random=(0.70, 0.02), cld=(0.74, 0.01), csl_easy=(0.75, 0.02), recommended=(0.74, 0.01))

    def last(method: str, pick: str) -> str:
        return numbers.sentences(found, method, 0.1, "accuracy", pick, "test")[-1]

    of = "Of the 4 methods measured there, CLD (most aligned) did best on the validation images: on test images it is "
    assert last("random", "cld") == of + "4.0 points ahead."
    assert last("csl_easy", "cld") == of + "1.0 points behind, which is within the spread."
    assert last("cld", "cld") == "None of the 4 methods measured there did better on the validation images."
    assert last("recommended", "cld") == of + "0.0 points ahead, which is within the spread."  # on test images alone
    assert last("cld", None).startswith("The best of the 4 methods measured there is CSL (easy), ")
    assert last("cld", "aum_easy") == last("cld", None), "a method that these cells lack tells nothing"


def test_none_is_offered_in_place_of_one_as_good(run):
    plant(run, {"random": (60, 90), "cld": (75, 80), "recommended": (75, 80)})
    found, way = numbers.measured(data.load(run.path), 0).cells, ("small", 120, "")
    assert [numbers.to_choose(found, way, 0.1, one) for one in ("cld", "recommended")] == ["cld", "recommended"]
    assert numbers.to_choose(found, way, 0.1, "random") == numbers.to_choose(found, way, 0.1, "ccs") == "recommended"
    assert numbers.to_choose(found, way, None, "cld") is numbers.to_choose(found, way, 0.3, "cld") is None
    assert numbers.to_choose(found, ("small", 1, ""), 0.1, "cld") is None


def test_the_page_offers_it_and_a_click_takes_it(run, monkeypatch):
    plant(run)
    monkeypatch.setenv("LOSSPRINT_RUNS", str(run.path))
    app = AppTest.from_string("from lossprint.app import main\nmain.main('coreset')", default_timeout=60)
    app.session_state["method"], app.session_state["keep"] = "random", 10
    app.run()
    told = "\n".join(element.proto.body for element in app.get("html"))
    assert "CSL (easy) did best on the validation images: on test images it is 19.8 points behind." in told
    button = app.button(key="take-best")
    assert button.label == "Choose CSL, easy"
    button.click().run()
    assert not app.exception and app.selectbox(key="method").value == "csl_easy"
    told = "\n".join(element.proto.body for element in app.get("html"))
    assert "None of the 3 methods measured there did better on the validation images." in told
    assert "take-best" not in [one.key for one in app.button]
    app.selectbox(key="c_split").set_value("val").run()
    told = "\n".join(element.proto.body for element in app.get("html"))
    assert "None of the 3 methods measured there did better." in told


# ------------------------------------------------------------------------------------------------- worth choosing


def test_the_methods_offered_first_are_those_of_the_best_mean_rank_in_the_measured_tables():
    page = (Path(__file__).parent.parent.parent.parent / "docs" / "coresets-measured.md").read_text()
    tables = re.findall(r"^\| method \| 1 % \| 5 % .*\n\|[ -|]+\n((?:\|.*\n)+)", page, re.M)
    assert len(tables) == 4
    rows = [re.findall(r"^\| (\w+) \| (.*) \|$", table, re.M) for table in tables]
    means = [pd.DataFrame({name: re.findall(r"([\d.]+) ±", cells) for name, cells in table}).T for table in rows]
    ranks = pd.concat([table.astype(float).rank(ascending=False, method="min") for table in means], axis=1)
    mean = ranks.mean(axis=1).sort_values()
    assert ranks.shape == (len(METHODS), 20) and tuple(mean.index[:6]) == FIRST
    assert [*mean.iloc[[0, 5, 6]], mean["random"]] == pytest.approx([3.3, 6.25, 8.05, 13.25])  # as its comment says


def test_help_and_page_offer_these_first_and_all_others_after_them(capsys):
    for command in (["export", "coreset"], ["coreset", "evaluate"]):
        assert main([*command, "--help"]) == 0
        text = " ".join(capsys.readouterr().out.split())
        assert ", ".join(FIRST) in text and f"All methods: {', '.join(FIRST)}, random, " in text
        assert all(re.search(rf"\b{name}\b", text) for name in METHODS)
    assert numbers.ordered()[:6] == list(FIRST) and sorted(numbers.ordered()) == sorted(METHODS)


def test_which_is_the_best_and_whether_that_is_chance():
    cell = {"fraction": 0.1, "seeds": 2, "worst": 0.5, "worst_label": "coat", "noisy": np.nan}
    figures = {"random": (0.70, 0.02), "cld": (0.74, 0.01), "csl_easy": (0.75, 0.02), "aum_hard": (0.60, 0.01)}
    figures["recommended"] = figures["csl_easy"]  # the same subset
    measured = pd.DataFrame([{**cell, "method": name, "accuracy": a, "spread": s} for name, (a, s) in figures.items()])
    of = "The best of the 5 methods measured there is CSL (easy), "
    for method, says in (
        *((one, "None of the 5 methods measured there did better.") for one in ("csl_easy", "recommended")),
        # the mean of two seeds: .01 against the root of (.01² + .02²) / 2 = .0158
        ("cld", of + "1.0 points ahead, which is within the spread."),
        ("aum_hard", of + "15.0 points ahead."),
    ):
        assert numbers.sentences(measured, method, 0.1, "accuracy")[-1] == says
    measured["spread"] = np.nan  # of one seed nothing is known of it
    assert numbers.sentences(measured, "cld", 0.1, "accuracy")[-1].endswith("ahead.")
