"""Several reviewers' decisions become one outcome a sample, as a plain loop over the histories says."""

import numpy as np
import pandas as pd
import pytest
from helpers import make_run

from lossprint.audit.review.resolve import RULES, adjudications, disagreements, outcome, resolve, votes
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.types import LossprintError

GIVEN = {0: "bag", 1: "coat", 2: "shirt", 3: "bag", 4: "coat"}
COLUMNS = ["finding", "sample", "decision", "reviewer", "new_label", "role", "id", "stands"]


def history(*rows) -> pd.DataFrame:
    """Rows (sample, reviewer, what[, role]); `what` is a decision, `=LABEL` a relabel, `undo:ID` takes one back."""
    made, undone = [], set()
    for at, (sample, who, what, *role) in enumerate(rows, 1):
        label = what[1:] if what.startswith("=") else None
        decision = "undo" if what.startswith("undo") else "relabel" if label else what
        if decision == "undo":
            undone.add(int(what[5:]))
        made.append((f"label_error:{sample}", sample, decision, who, label, *(role or [""]), at))
    frame = pd.DataFrame(made, columns=COLUMNS[:-1])
    frame["stands"] = (frame["decision"] != "undo") & ~frame["id"].isin(undone)
    text = dict.fromkeys(("finding", "decision", "reviewer", "new_label", "role"), "string")
    return frame.astype({**text, "sample": "int64", "id": "int64"})


def plain(rows: pd.DataFrame, rule: str, given: dict[int, str] | None = None) -> dict[int, int]:
    """The same, one row after another: sample -> id of the row that holds."""
    rows = [row for row in rows.to_dict("records") if row["stands"]]
    found = {}
    for sample in sorted({row["sample"] for row in rows}):
        mine = [row for row in rows if row["sample"] == sample]
        settled = [row["id"] for row in mine if row["role"] == "adjudication"]
        if rule.startswith("reviewer:"):
            chosen = [row["id"] for row in mine if row["reviewer"] == rule[9:]]
        elif settled or rule == "adjudicated":
            chosen = settled
        else:
            last = {row["reviewer"]: row for row in mine}
            said = {}
            for row in last.values():
                what = row["decision"]
                if what in ("accept", "relabel"):
                    what = "keep" if given and given[sample] == row["new_label"] else f"label:{row['new_label']}"
                said.setdefault(what, []).append(row["id"])
            if rule == "latest":
                chosen = [max(row["id"] for row in last.values())]
            else:
                if set(said) != {"unsure"}:
                    said.pop("unsure", None)
                of = sum(map(len, said.values()))
                enough = {"majority": lambda n: 2 * n > of, "settled": lambda n: n == of and of >= 2}[rule]  # noqa: B023
                chosen = next((ids for ids in said.values() if enough(len(ids))), [])
        if chosen:
            found[sample] = max(chosen)
    return found


@pytest.mark.parametrize("rule", ["latest", "majority", "settled", "adjudicated", "reviewer:a"])
@pytest.mark.parametrize("known", [False, True])
def test_random_histories_resolve_as_a_plain_loop_does(rule, known):
    rng = np.random.default_rng(4)
    for _ in range(60):
        rows = [(0, "a", "keep")]
        for _ in range(rng.integers(1, 25)):
            sample, who = int(rng.integers(5)), str(rng.choice(list("abcd")))
            what = str(rng.choice(["keep", "exclude", "unsure", "=bag", "=coat", "=bag", "undo"]))
            if what == "undo":
                at = int(rng.integers(2, len(rows) + 2))
                rows.append((sample, who, f"undo:{at}"))
            else:
                rows.append((sample, who, what, "adjudication" if rng.random() < 0.1 else ""))
        frame = history(*rows)
        given = pd.Series(GIVEN, dtype="category") if known else None
        found = resolve(frame, rule, given=given)
        assert dict(zip(found["sample"], found["id"])) == plain(frame, rule, GIVEN if known else None)
        assert found["sample"].is_monotonic_increasing and list(found.columns) == COLUMNS


def ids(frame: pd.DataFrame, rule: str, **more) -> dict[int, int]:
    found = resolve(frame, rule, **more)
    return dict(zip(found["sample"].tolist(), found["id"].tolist()))


def test_overlap_unsure_and_ties():
    frame = history(
        (0, "a", "=coat"), (0, "b", "=coat"), (0, "c", "keep"),  # 2 of 3
        (1, "a", "=bag"), (1, "b", "keep"),  # a tie
        (2, "a", "unsure"), (2, "b", "exclude"), (2, "c", "exclude"),
        (3, "a", "unsure"),
        (4, "a", "unsure"), (4, "b", "unsure"),
    )  # fmt: skip
    assert ids(frame, "latest") == {0: 3, 1: 5, 2: 8, 3: 9, 4: 11}
    assert ids(frame, "majority") == {0: 2, 2: 8, 3: 9, 4: 11}
    assert ids(frame, "settled") == {2: 8, 4: 11}
    assert ids(frame, "adjudicated") == {}
    assert ids(frame, "reviewer:a") == ids(frame, "reviewer", reviewer=" a ") == {0: 1, 1: 4, 2: 6, 3: 9, 4: 10}


def test_a_reviewer_who_changes_their_mind_or_undoes_counts_once():
    frame = history((0, "a", "=coat"), (0, "a", "keep"), (0, "b", "keep"), (1, "a", "keep"), (1, "a", "undo:4"))
    assert ids(frame, "settled") == {0: 3} and ids(frame, "latest") == {0: 3}
    assert votes(frame)["outcome"].tolist() == ["keep", "keep"]
    back = history((0, "a", "=coat"), (0, "a", "keep"), (0, "b", "=coat"), (0, "a", "undo:2"))
    assert ids(back, "settled") == {0: 3} and votes(back)["outcome"].tolist() == ["label:coat", "label:coat"]


def test_an_adjudication_outweighs_later_votes_until_it_is_undone():
    rows = [(0, "a", "=coat"), (0, "b", "keep"), (0, "a", "exclude", "adjudication"), (0, "b", "=coat")]
    for rule in ("latest", "majority", "settled", "adjudicated"):
        assert ids(history(*rows), rule) == {0: 3}
    assert ids(history(*rows), "reviewer:a") == {0: 3} and ids(history(*rows), "reviewer:b") == {0: 4}
    undone = history(*rows, (0, "a", "undo:3"))
    assert ids(undone, "latest") == ids(undone, "majority") == ids(undone, "settled") == {0: 4}
    assert ids(undone, "adjudicated") == {} and adjudications(undone).empty
    assert disagreements(history(*rows[:3]))[["sample", "reviewers", "outcomes", "adjudicated"]].values.tolist() == [
        [0, 2, 2, True]
    ]


def test_choosing_the_given_label_is_keeping_it():
    frame = history((0, "a", "=bag"), (0, "b", "keep"), (1, "a", "=bag"), (1, "b", "keep"))
    given = pd.Series(GIVEN)
    assert ids(frame, "settled") == {} and ids(frame, "settled", given=given) == {0: 2}
    assert disagreements(frame)["sample"].tolist() == [0, 1]
    assert disagreements(frame, given)["sample"].tolist() == [1]
    assert outcome(frame, given).tolist() == ["keep", "keep", "label:bag", "keep"]
    assert resolve(frame, "settled", given=given)["decision"].tolist() == ["keep"]  # the row itself is as it was


def test_wrong_rules_are_one_line():
    frame = history((0, "a", "keep"), (1, "b", "keep"), (1, "b", "undo:2"))
    with pytest.raises(LossprintError, match=r"expected a rule of latest, .* or reviewer:NAME, found 'best'"):
        resolve(frame, "best")
    for who in ("b", "nobody", ""):
        with pytest.raises(LossprintError, match=r"expected a reviewer who decided something \(a\), found"):
            resolve(frame, f"reviewer:{who}")
    assert set(RULES) == {"latest", "majority", "settled", "adjudicated", "reviewer"}


def test_an_empty_history_resolves_to_nothing(tmp_path):
    run = make_run(tmp_path)
    frame = open_reviews(run).history()
    for rule in ("latest", "majority", "settled", "adjudicated"):
        assert resolve(frame, rule).empty
    assert votes(frame).empty and disagreements(frame).empty


def test_labels_named_like_decisions_are_told_apart():
    frame = history((0, "a", "=keep"), (0, "b", "keep"))
    assert disagreements(frame)["outcomes"].tolist() == [2]
