"""Findings of a network that learnt little, or not a class, are a reading order, and every summary says so."""

import pytest

from lossprint.audit.cli.audit import summary
from lossprint.audit.findings import doubts
from lossprint.audit.report.write import report_bytes
from tests.support.learning_runs import learning_run


def test_a_network_that_learnt_enough_leaves_no_doubt(tmp_path):
    run, errors = learning_run(tmp_path / "run", [100] * 5, [30] * 5, knows=0.95)
    assert doubts.sentences(run) == []
    kept = run.manifest["facts"]["score"]["strength"]
    assert not kept["little"] and kept["doubtful"] == 0 and kept["classes"] == {} and kept["validation"] == 150
    low, high = kept["accuracy"][1:]
    assert low < 0.95 < high
    scores = run.scores()
    assert (scores["triage"] == "wrong").sum() >= 0.8 * errors.sum()
    assert "reading order" not in summary(run) + report_bytes(run).decode()


def test_a_network_that_learnt_little_calls_nothing_wrong(tmp_path):
    run, _ = learning_run(tmp_path / "run", [5] * 40, [1] * 40, knows=0.3, steady=0.6, sure=6)
    assert not (run.scores()["triage"] == "wrong").any()
    sentence = doubts.sentences(run)[0]
    assert sentence.startswith("The network learnt little: it names ") and "of 40 validation samples right" in sentence
    assert "2.5 %" in sentence  # always naming one class
    report = report_bytes(run).decode().replace("\N{NO-BREAK SPACE}", " ")
    for text in (summary(run), report):
        assert "The network learnt little" in text and "a reading order here, not a count" in text


def test_a_class_that_was_not_learnt_is_named_and_others_stay(tmp_path):
    run, errors = learning_run(tmp_path / "run", [200, 200, 60], [60, 60, 30], knows=[0.97, 0.97, 0.05], wrong=0.06)
    kept = run.manifest["facts"]["score"]["strength"]
    assert not kept["little"] and list(kept["classes"]) == ["class 002"]
    assert "unlearnt" in kept["classes"]["class 002"]["reasons"]
    (sentence,) = doubts.sentences(run)
    assert "this class" in sentence and "class 002 (" in sentence and "of 30 validation samples right" in sentence
    assert sentence in summary(run)
    scores = run.scores().set_index("sample")
    called = scores["triage"] == "wrong"
    assert not called[scores["label"] == "class 002"].any()
    assert called[errors].sum() >= 8


def test_a_class_of_two_is_named_where_it_is_flagged(tmp_path):
    run, _ = learning_run(tmp_path / "run", [150, 150, 2], [40, 40, 1], knows=[0.97, 0.97, 0.0], wrong=0.0, seed=2)
    kept = run.manifest["facts"]["score"]["strength"]["classes"]["class 002"]
    assert kept["training"] == 2 and {"few", "mostly"} <= set(kept["reasons"])
    assert any("class 002 (2 of 2 training samples are flagged" in one for one in doubts.sentences(run))


@pytest.mark.parametrize("stage", ["score", "find"])
def test_a_run_of_an_earlier_version_says_nothing(tmp_path, stage):
    run, _ = learning_run(tmp_path / "run", [5] * 8, [1] * 8, knows=0.2, steady=0.5)
    facts = {name: {} for name in run.manifest["facts"]} | {"find": {"findings": {}}}
    run.manifest["facts"].clear()
    run.manifest["facts"].update(facts)
    assert doubts.sentences(run) == [] and "found: nothing" in summary(run)
