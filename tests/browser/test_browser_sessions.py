"""Two reviewers at once in real browser sessions, the server killed in the middle: nothing lost, nothing doubled.

benchmarks/review.py has the long version: four reviewers, 200 decisions each, two kills.
"""

import importlib
import shutil
from pathlib import Path

import pytest
from browser import (
    MARKS,
    flag_many,
)
from helpers import BENCHMARKS, in_a_thread, make_run

from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run

DECISIONS = 12  # of each; 34 questions are there

pytestmark = MARKS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("sessions"), train=30, held_out=6)
    flag_many(run)
    return run


@pytest.mark.parametrize(
    ("database", "count"),
    [pytest.param(kind, DECISIONS, marks=pytest.mark.proof) for kind in ("sqlite", "postgresql")],
    indirect=["database"],
)
def test_two_reviewers_lose_and_double_nothing_while_the_server_is_killed(made, tmp_path, database, monkeypatch, count):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    bench = importlib.import_module("review_sessions")
    run = Path(shutil.copytree(made.path, tmp_path / "run"))
    accounts, _ = in_a_thread(bench.run_sessions, run, database, 2, count, 1)
    history = open_reviews(open_run(run), database).history()
    assert {name: len(one.stored) for name, one in accounts.items()} == {"Ann": count, "Bo Æ.": count}
    assert not {name: which for name, which in bench.faults(accounts, history).items() if which}, accounts
    assert set(history["reviewer"]) == set(accounts)
