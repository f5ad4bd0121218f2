"""Queues: tiers from findings of all kinds, the random audit, likely labels, what is open to whom, time left."""

import numpy as np
import pandas as pd
import pytest
from helpers import make_run

from lossprint.audit.review import queues


def findings(*rows) -> pd.DataFrame:
    """Rows of (kind, samples, severity, suggested)."""
    frame = pd.DataFrame(
        [
            (kind, sample, suggested, severity, f"{kind}:{min(samples)}")
            for kind, samples, severity, suggested in rows
            for sample in samples
        ],
        columns=["kind", "sample", "suggested_label", "severity", "group"],
    )
    return frame


@pytest.fixture
def scores():
    return pd.DataFrame(
        {
            "triage": ["wrong", "ambiguous", "ambiguous", ""],
            "suggested_probability": [0.9, 0.4, 0.3, np.nan],
            "p_mean": [0.1, 0.2, 0.1, 0.9],
        },
        index=[10, 11, 12, 13],
    )


def test_tiers_follow_how_much_is_to_be_decided(scores):
    found = queues.items(
        findings(
            ("outlier", [13], 0.99, None),
            ("duplicate", [20, 21], 0.5, None),
            ("label_error", [12], 0.7, "a"),
            ("label_error", [10], 0.6, "a"),
            ("label_error", [11], 0.9, "b"),
            ("label_error", [99], 0.55, None),
            ("duplicate", [31, 30], 1.0, "a"),
            ("near_duplicate", [40, 41, 42], 0.8, None),
        ),
        scores,
    )
    assert found[["group", "tier"]].to_numpy().tolist() == [
        ["label_error:11", "correct"],
        ["label_error:12", "look"],
        ["label_error:10", "verify"],
        ["label_error:99", "look"],
        ["duplicate:30", "correct"],
        ["duplicate:20", "verify"],
        ["near_duplicate:40", "look"],
        ["outlier:13", "look"],
    ]
    assert found.set_index("group").at["duplicate:30", "samples"] == [31, 30]
    assert found.set_index("group").at["label_error:99", "suggested_label"] is None


def test_nothing_found_and_no_scores_are_empty_queues(scores):
    empty = queues.items(findings(), scores)
    assert empty.empty and list(empty) == ["group", "kind", "samples", "suggested_label", "severity", "tier"]
    alone = queues.items(findings(("label_error", [10], 0.9, "a")), scores[[]])
    assert alone["tier"].tolist() == ["look"]


def test_the_audit_asks_each_sample_of_the_rest_once_and_by_chance():
    train, flagged = np.arange(200), np.arange(0, 200, 4)
    order = queues.audit_order(train, flagged, 3)
    assert sorted(order) == sorted(set(range(200)) - set(flagged))
    assert np.array_equal(order, queues.audit_order(train[::-1], flagged[::-1], 3))
    assert not np.array_equal(order, queues.audit_order(train, flagged, 4))
    # Each sample comes first equally often: 150 of them, 3,000 seeds, 20 expected, deviation 4.5.
    first = np.bincount([queues.audit_order(train, flagged, seed)[0] for seed in range(3000)], minlength=200)
    assert first[flagged].sum() == 0 and first.max() < 20 + 6 * 4.5
    asked = queues.audit_items(order[:3])
    assert asked["group"].tolist() == [f"audit:{sample}" for sample in order[:3]]
    assert asked["samples"].tolist() == [[int(sample)] for sample in order[:3]]


def test_a_mixed_queue_asks_every_fifth_question_by_chance_and_loses_none(scores):
    rows = [("label_error", [at], 0.9 - at / 100, "a") for at in range(8)]
    mixed = queues.mixed(queues.items(findings(*rows), scores), queues.audit_items(np.array([50, 51, 52])))
    kinds = (mixed["kind"] == "audit").tolist()
    assert kinds[:10] == [False] * 4 + [True] + [False] * 4 + [True]
    assert len(mixed) == 11 and mixed["group"].is_unique
    assert [name for name in mixed["group"] if name.startswith("audit")] == ["audit:50", "audit:51", "audit:52"]


def test_likely_labels_are_those_that_the_model_believed_in(tmp_path):
    run = make_run(tmp_path, train=10)
    found = queues.likely(run, np.array([1, 4, 7]))
    labels = run.samples().set_index("sample")["label"]
    suggested = run.scores().set_index("sample")["suggested_label"]
    assert found[1][0] == suggested[1] and set(found[1]) == {suggested[1], labels[1]}
    assert found[4][0] == suggested[4]
    assert found[7] == [labels[7]]


def test_likely_labels_agree_with_a_plain_loop(tmp_path):
    run = make_run(tmp_path, train=10, classes=tuple("abcdefgh"), seed=3)
    rng = np.random.default_rng(0)
    ids = run.samples().query("split == 'train'")["sample"].to_numpy()
    for checkpoint in run.recorded("train"):
        part = run.part("train", checkpoint).to_pandas()
        part["loss"] = rng.uniform(0.1, 3, len(part))
        part["margin"] = rng.uniform(-2, 2, len(part))
        part["predicted"] = rng.integers(0, 8, len(part))
        run.write_part("train", checkpoint, part.sample(frac=1, random_state=checkpoint))
    from lossprint.scoring.labels import checkpoint_weights, fit, newness

    train, val = (run.trajectory(split) for split in ("train", "val"))
    new = newness(*(fit(one.losses, one.margins) for one in (train, val)))
    weights = checkpoint_weights(val.losses, new)
    given = run.samples().set_index("sample")["label"]
    belief = {sample: dict.fromkeys(run.classes, 0.0) for sample in ids}
    for weight, checkpoint in zip(np.where(weights < 1e-6, 0, weights), run.recorded("train")):
        for row in run.part("train", checkpoint).to_pandas().itertuples():
            belief[row.sample][given[row.sample]] += weight * np.exp(-row.loss)
            if run.classes[row.predicted] != given[row.sample]:
                belief[row.sample][run.classes[row.predicted]] += weight * np.exp(-row.loss - row.margin)
    found = queues.likely(run, ids)
    for sample in ids:
        known = {name: value for name, value in belief[sample].items() if value > 0}
        assert found[sample] == sorted(known, key=known.get, reverse=True)[: queues.LIKELY]


def test_open_questions_are_ones_own_where_assigned_and_anybodys_elsewhere():
    groups = pd.Series(["a:1", "a:2", "a:3", "a:4", "a:5"])
    assignments = pd.DataFrame({"finding": ["a:1", "a:1", "a:2", "a:3"], "reviewer": ["ann", "bob", "bob", "ann"]})
    history = pd.DataFrame(
        {
            "finding": ["a:1", "a:4", "a:5", "a:3"],
            "reviewer": ["bob", "bob", "bob", "ann"],
            "stands": [True, True, False, False],
        }
    )
    assert queues.unanswered_by("ann", groups, history, assignments).tolist() == [True, False, True, False, True]
    assert queues.unanswered_by("bob", groups, history, assignments).tolist() == [False, True, False, False, True]
    assert queues.unanswered_by("cay", groups, history, assignments).tolist() == [False, False, False, False, True]
    nobody = assignments.iloc[:0]
    assert queues.unanswered_by("ann", groups, history.iloc[:0], nobody).all()


def test_the_next_open_question_comes_after_the_last_and_skipped_ones_come_again():
    names, all_open = ["a", "b", "c"], np.ones(3, bool)
    assert queues.next_open(names, all_open, set(), None) == ["a", "b", "c"]
    assert queues.next_open(names, all_open, set(), "b") == ["c", "a", "b"]
    assert queues.next_open(names, np.array([True, False, True]), {"c"}, "b") == ["a", "c"]
    assert queues.next_open(names, np.zeros(3, bool), set(), "a") == []
    assert queues.next_open([], np.zeros(0, bool), {"x"}, "gone") == []


def test_time_left_is_by_tier_without_long_pauses():
    tiers = pd.Series(["verify"] * 10 + ["look"] * 10)
    open_now = np.array([True] * 10 + [False] * 5 + [True] * 5)
    answers = pd.DataFrame({"tier": ["verify"] * 6 + ["look"] * 5, "seconds": [2.0] * 6 + [10, 10, 10, 10, 9999.0]})
    assert queues.seconds_left(tiers, open_now, answers) == pytest.approx(10 * 2 + 5 * (40 + queues.LONGEST) / 5)
    assert queues.seconds_left(tiers, open_now, answers.iloc[:4]) is None
    few = answers.iloc[:7]  # one look only: the overall mean stands in
    assert queues.seconds_left(tiers, open_now, few) == pytest.approx(10 * 2 + 5 * (12 + 10) / 7)
