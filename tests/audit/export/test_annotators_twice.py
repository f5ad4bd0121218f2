"""One annotator twice on a sample in a file of Label Studio: the latest counts, and an answer twice is one."""

import json

import pytest
from helpers import make_run

from lossprint.audit.export import exchange
from lossprint.audit.types import LossprintError

EARLY, LATE = "2024-05-06T07:08:10.1Z", "2024-05-07T01:00:00Z"


def task(sample: int, *annotations: tuple[str, str]) -> dict:
    """A task; an annotation is a label and a time, all by the same person."""
    made = [
        {
            "completed_by": 3,
            "result": [{"from_name": "t", "to_name": "i", "type": "choices", "value": {"choices": [label]}}],
            "updated_at": at,
        }
        for label, at in annotations
    ]
    return {"data": {"image": f"images/train_{sample:03d}.png"}, "annotations": made}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"))  # bag, coat, shirt in turn


def answers(run, *tasks: dict) -> dict[int, str]:
    plan = exchange.plan(run, json.dumps(tasks).encode(), "f")
    assert plan.nothing + len(plan.decisions) == sum(len(one["annotations"]) for one in tasks)
    return {one["sample"]: one["new_label"] or one["decision"] for one in plan.decisions}


def test_the_latest_counts_in_whichever_order_they_stand(run):
    first, second = ("shirt", EARLY), ("bag", LATE)
    assert answers(run, task(1, first, second), task(2, second, first)) == {1: "bag", 2: "bag"}
    assert answers(run, task(0, first, second)) == {0: "keep"}


@pytest.mark.parametrize("times", [(EARLY, LATE), (LATE, LATE), ("", "")])
def test_the_same_answer_twice_is_one(times, run):
    assert answers(run, task(1, *(("shirt", at) for at in times))) == {1: "shirt"}


@pytest.mark.parametrize("times", [(EARLY, EARLY), (EARLY, ""), ("", "")])
def test_which_is_the_latest_is_not_guessed(times, run):
    with pytest.raises(LossprintError, match="1 with a second decision of one reviewer"):
        answers(run, task(1, ("shirt", times[0]), ("bag", times[1])))
