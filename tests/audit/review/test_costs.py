"""What a review still costs: the times measured from answers, what is assumed without, and the sentences."""

import numpy as np
import pandas as pd
import pytest
from app_pages import assert_whole, open_page, said
from helpers import make_run

from lossprint.audit.review import costs, queues, stopping
from lossprint.audit.review.costs import Costs
from lossprint.audit.review.reviews import open_reviews


def answers(*rows) -> pd.DataFrame:
    """finding, reviewer, seconds, role, stands; the names `v…` are to verify, `c…` to correct, `l…` to look at."""
    frame = pd.DataFrame(rows, columns=["finding", "reviewer", "seconds", "role", "stands"])
    return frame.astype({"seconds": float, "stands": bool})


def tiers() -> pd.Series:
    names = {"v": "verify", "c": "correct", "l": "look"}
    return pd.Series({f"{letter}{at}": tier for letter, tier in names.items() for at in range(40)})


def many(letter: str, seconds: float, count: int = 12, start: int = 0) -> list[tuple]:
    return [(f"{letter}{start + at}", "ann", seconds, "", True) for at in range(count)]


def test_times_are_means_of_the_answers_of_each_kind():
    found = costs.measured(answers(*many("v", 2), *many("c", 9), *many("l", 21, start=20)), tiers())
    assert found == Costs(2, 15, 12, 24)
    questions = pd.Series(["verify"] * 30 + ["correct"] * 4 + ["look"] * 2)
    assert found.minutes(questions) == pytest.approx((30 * 2 + 6 * 15) / 60)


def test_pauses_copies_undone_adjudicated_and_untimed_answers_do_not_count():
    rows = [
        *many("v", 2),
        ("v30", "ann", 5000, "", True),  # a pause counts as LONGEST
        ("v31", "ann", 900, "", False),
        ("v32", "ann", 900, "adjudication", True),
        ("v33", "ann", np.nan, "", True),
        ("pick:7", "ann", 900, "", True),  # of no tier
        *[("v34", "ann", 2, "", True)] * 8,  # one answer on eight copies
    ]
    found = costs.measured(answers(*rows), tiers())
    assert found.verified == 14 and found.verify == pytest.approx((13 * 2 + queues.LONGEST) / 14)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], (costs.ASSUMED, costs.RATIO * costs.ASSUMED, 0, 0)),
        (many("v", 1, count=9), (costs.ASSUMED, costs.RATIO * costs.ASSUMED, 0, 0)),
        (many("v", 1, count=10), (1, costs.RATIO, 10, 0)),
        (many("c", 9, count=10), (9 / costs.RATIO, 9, 0, 10)),
    ],
)
def test_what_is_not_known_is_assumed_and_said(rows, expected):
    found = costs.measured(answers(*rows), tiers())
    assert (found.verify, found.correct, found.verified, found.corrected) == pytest.approx(expected)
    assert ("ssumption" in costs.basis(found)) == (not found.verified or not found.corrected)


def test_the_page_tells_minutes_and_takes_other_times(tmp_path, monkeypatch):
    run = make_run(tmp_path, train=40)
    app = open_page("stop", run.path, monkeypatch)
    assert_whole(app)
    assert "2 open questions on labels" in said(app) and "Assumptions, until 10 answers have a time" in said(app)
    open_reviews(run).add(finding="label_error:1", sample=1, decision="accept", new_label="shirt", reviewer="ann")
    app.number_input(key="verify_seconds").set_value(120.0)
    app.number_input(key="correct_seconds").set_value(600.0).run()
    assert_whole(app)
    text = said(app)
    assert "1 open question on labels" in text and ("2 minutes" in text or "10 minutes" in text)


def test_an_error_has_its_price():
    train = np.arange(400)
    names = [f"label_error:{one}" for one in range(60)]
    findings = pd.DataFrame(
        {"kind": "label_error", "sample": range(60), "severity": np.linspace(1, 0.6, 60), "group": names}
    )
    findings = findings.assign(rank=range(1, 61), label="a", suggested_label="b", path="p")
    history = pd.DataFrame(
        {
            "id": range(30),
            "finding": names[:30],
            "sample": range(30),
            "decision": ["accept", "keep"] * 15,
            "new_label": ["b", None] * 15,
            "reviewer": "ann",
            "stands": True,
            "role": "",
        }
    )
    found = stopping.stopping(findings, train, history.assign(at="", comment="", undoes=None, blind=""), 0)
    told = costs.sentences(Costs(6, 20), found, pd.Series(["verify"] * 30), pd.Series([], dtype=object))
    assert told[0].startswith("The next 30 questions take 3 minutes and hold about") and "an error" in told[0]
    assert told[1] == "30 open questions on labels, 30 to verify and 0 to correct: 3 minutes."
