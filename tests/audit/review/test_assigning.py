"""Who is asked what, how far each is, and agreement, against plain counts; the commands that tell it."""

import itertools
import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from helpers import make_run, refused

from lossprint.audit.cli import main as cli
from lossprint.audit.review import assigning, queues
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.types import LossprintError


def findings(number: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.choice(["label_error", "outlier"], number, p=[0.8, 0.2])
    groups = [f"{one}:{at}" for at, one in enumerate(kind)]
    return pd.DataFrame({"group": groups, "kind": kind, "severity": rng.random(number)})


def loads(pairs: list, names: list[str]) -> list[int]:
    count = Counter(name for _, name in pairs)
    return [count[name] for name in names]


def together(pairs: list, names: list[str]) -> list[int]:
    of: dict[str, set] = {}
    for finding, name in pairs:
        of.setdefault(finding, set()).add(name)
    count = Counter(pair for held in of.values() for pair in itertools.combinations(sorted(held), 2))
    return [count[pair] for pair in itertools.combinations(sorted(names), 2)]


@pytest.mark.parametrize("shared", [None, 0.2])
@pytest.mark.parametrize(("reviewers", "overlap"), [(1, 1), (2, 1), (2, 2), (3, 2), (4, 2), (4, 3), (5, 2), (7, 3)])
def test_a_queue_is_dealt_out_evenly(reviewers, overlap, shared):
    names = [f"r{at}" for at in range(reviewers)]
    for number in (1, 23, 100):
        table = findings(number)
        pairs = assigning.deal(table, names, overlap, 5, shared)
        assert len(set(pairs)) == len(pairs)
        each = Counter(finding for finding, _ in pairs)
        assert set(each) == set(table["group"])
        many = number if shared is None else round(shared * number)
        assert Counter(each.values())[overlap] >= many
        assert len(pairs) == many * overlap + (number - many)
        spread = loads(pairs, names)
        assert max(spread) - min(spread) <= 1
        both = together(pairs, names)
        assert max(both, default=0) - min(both, default=0) <= 3
        assert pairs == assigning.deal(table.sample(frac=1, random_state=1), names, overlap, 5, shared)
    assert reviewers == 1 or pairs != assigning.deal(table, names, overlap, 6, shared) or overlap == reviewers


def test_the_shared_ones_are_spread_over_kind_and_severity():
    table = findings(500).set_index("group")
    pairs = assigning.deal(table.reset_index(), ["a", "b", "c"], 2, 0, 0.2)
    each = pd.Series([finding for finding, _ in pairs]).value_counts()
    both = table.loc[each.index[each == 2]]
    for kind, all_of in table.groupby("kind"):
        mine = both[both["kind"] == kind]
        assert abs(len(mine) - 0.2 * len(all_of)) <= 1
        assert mine["severity"].mean() == pytest.approx(all_of["severity"].mean(), abs=0.03)
    # Each reviewer sees the same mix.
    for name in "abc":
        seen = table.loc[[finding for finding, who in pairs if who == name]]
        assert (seen["kind"] == "outlier").mean() == pytest.approx((table["kind"] == "outlier").mean(), abs=0.04)
        assert seen["severity"].mean() == pytest.approx(table["severity"].mean(), abs=0.05)


def test_wrong_use_is_one_line():
    table = findings(5)
    for names, overlap, shared, said in (
        (["a"], 2, None, "overlap of 1 to 1"),
        ([], 1, None, "found none"),
        (["a", " "], 1, None, "empty"),
        (["a", "a "], 1, None, "a twice"),
        (["a"], 1, 1.5, "share of 0 to 1"),
    ):
        with pytest.raises(LossprintError, match=said):
            assigning.deal(table, names, overlap, 0, shared)
    with pytest.raises(LossprintError, match="expected a queue"):
        assigning.queue(table, "nothing")
    assert assigning.deal(table[:0], ["a"]) == []


def history(rows: list[tuple], **all_of) -> pd.DataFrame:
    """(reviewer, finding, decision, label) each, in their order."""
    frame = pd.DataFrame(rows, columns=["reviewer", "finding", "decision", "new_label"])
    fixed = {"comment": "", "blind": "", "role": "", "seconds": np.nan, "stands": True, "token": None} | all_of
    frame = frame.assign(**fixed, sample=frame["finding"].str.split(":").str[1].astype(int), id=frame.index + 1)
    frame["at"] = [f"2025-03-01T10:00:{at:02d}.000000+00:00" for at in frame.index]
    text = dict.fromkeys(("reviewer", "finding", "decision", "new_label", "comment", "role"), "string")
    return frame.astype(text)


def assigned(pairs: list) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["finding", "reviewer"], dtype="string").assign(at="")


NOBODY = history([])


def test_a_newcomer_shares_what_is_left_and_answers_stay():
    table = findings(60)
    first = assigning.plan(table, ["ann", "bob"], NOBODY, assigned([]))
    assert first.loads[["done", "open", "new", "shared"]].to_numpy().tolist() == [[0, 30, 30, 0]] * 2
    mine = [finding for finding, name in first.pairs if name == "ann"][:12]
    said = history([("ann", finding, "keep", None) for finding in mine])
    other = [("elsewhere:1", "dan")]
    again = assigning.plan(table, ["ann", "bob", "cay"], said, assigned(first.pairs + other))
    assert other[0] in again.pairs
    assert {("ann", one) for one in mine} <= {(name, finding) for finding, name in again.pairs}
    by = again.loads.set_index("reviewer")
    assert by["done"].to_dict() == {"ann": 12, "bob": 0, "cay": 0}
    assert by["open"].to_dict() == {"ann": 16, "bob": 16, "cay": 16}
    # What is answered is asked of nobody again.
    everything = pd.Series(again.pairs).map(lambda pair: pair[0])
    assert everything.value_counts().max() == 1
    asked = queues.unanswered_by("cay", table["group"], said, assigned(again.pairs))
    assert asked.sum() == 16
    assert again.withdrawn == 48 - sum(1 for pair in again.pairs if pair in first.pairs and pair[0] not in mine)


def test_extending_keeps_what_everybody_has():
    table = findings(60)
    first = assigning.plan(table, ["ann", "bob"], NOBODY, assigned([]))
    said = history([("ann", first.pairs[0][0] if first.pairs[0][1] == "ann" else first.pairs[1][0], "keep", None)])
    more = assigning.plan(table, ["ann", "bob", "cay"], said, assigned(first.pairs), overlap=2, extend=True)
    assert set(first.pairs) <= set(more.pairs)
    assert more.withdrawn == 0
    assert len(more.pairs) == 120
    by = more.loads.set_index("reviewer")
    assert by["open"].max() - by["open"].min() <= 1
    assert by["new"]["cay"] == by["open"]["cay"] == by["shared"]["cay"]
    unasked = assigning.plan(table, ["cay"], said, assigned(first.pairs), extend=True)
    assert unasked.loads.set_index("reviewer")["new"].sum() == 0


def test_who_answered_unasked_counts_towards_the_overlap():
    table = findings(10)
    said = history([("zoe", table["group"][0], "keep", None)])
    made = assigning.plan(table, ["ann", "bob"], said, assigned([]), overlap=2)
    held = [name for finding, name in made.pairs if finding == table["group"][0]]
    assert "zoe" in held
    assert len(held) == 2
    assert not queues.unanswered_by("zoe", table["group"], said, assigned(made.pairs)).any()


def test_progress():
    said = history(
        [
            ("ann", "label_error:1", "keep", None),
            ("ann", "label_error:1", "exclude", None),
            ("bob", "label_error:1", "keep", None),
            ("bob", "audit:9", "keep", None),
            ("bob", "label_error:1", "keep", None),
        ]
    )
    said["seconds"] = [9.0, 3.0, 4.0, 6.0, 5.0]
    said.loc[4, "role"] = "adjudication"
    here = assigned([("label_error:1", "ann"), ("label_error:2", "ann"), ("audit:9", "bob"), ("gone:1", "cay")])
    table = assigning.progress(said, here, findings=pd.DataFrame({"group": ["label_error:1", "label_error:2"]}))
    by = table.set_index("reviewer")
    assert by.index.tolist() == ["ann", "bob"]
    columns = ["assigned", "decided", "left", "besides", "settled"]
    assert by.loc["ann", columns].tolist() == [2, 1, 1, 0, 0]
    assert by.loc["bob", columns].tolist() == [1, 1, 0, 1, 1]
    assert by["seconds"].tolist() == [3.0, 5.0]
    assert by.loc["bob", "last"] == said["at"][4]
    waiting = assigning.progress(NOBODY, here).set_index("reviewer")
    assert waiting.loc["cay", ["assigned", "left"]].tolist() == [1, 1]
    assert waiting["last"].tolist() == ["", "", ""]
    assert assigning.progress(NOBODY, assigned([])).empty


def test_agreement_by_kind_pair_and_class():
    given = pd.Series({at: "coat" if at < 20 else "shirt" for at in range(40)})
    rows = []
    for at in range(40):
        kind = "outlier" if at >= 30 else "label_error"
        rows.append(("ann", f"{kind}:{at}", "keep", None))
        rows.append(("bob", f"{kind}:{at}", *(("accept", "bag") if at % 4 == 0 else ("keep", None))))
        if at % 10 == 0:
            rows.append(("cay", f"{kind}:{at}", "relabel", "bag"))
    rows.append(("ann", "label_error:50", "keep", None))  # nobody else saw it
    found = assigning.agreement(history(rows), given)
    assert found.samples.tolist() == list(range(40))
    assert found.reviewers == ("ann", "bob", "cay")
    apart = {at for at in range(40) if at % 4 == 0 or at % 10 == 0}
    assert set(found.samples[found.differ].tolist()) == apart
    # ann and bob: 30 of 40; ann and cay: 0 of 4; bob and cay: accept and relabel to one label are the same, 0 and 20
    pairs = {(row.first, row.second): row for row in found.pairs.itertuples()}
    assert (pairs["ann", "bob"].raw, pairs["ann", "bob"].samples) == (0.75, 40)
    assert (pairs["ann", "cay"].raw, pairs["bob", "cay"].raw) == (0.0, 0.5)
    assert found.raw.value == pytest.approx((30 + 0 + 2) / 48)
    assert found.name == "Fleiss' kappa"
    kinds = found.kinds.set_index("kind")
    assert kinds["samples"].to_dict() == {"label_error": 30, "outlier": 10}
    classes = found.classes.set_index("label")
    assert classes["samples"].to_dict() == {"coat": 20, "shirt": 20}
    assert classes["differ"].sum() == len(apart)
    assert assigning.agreement(history(rows)).classes.empty
    settled = history([*rows, ("cay", "label_error:50", "exclude", None)])
    settled.loc[settled.index[-1], "role"] = "adjudication"
    assert assigning.agreement(settled, given).samples.tolist() == list(range(40))


def test_two_thrown_coins_do_not_agree_by_more_than_chance():
    rng = np.random.default_rng(0)
    rows = []
    for at in range(2000):
        for name in ("ann", "bob"):
            accept = rng.random() < 0.5
            rows.append((name, f"label_error:{at}", *(("accept", f"class {at % 10}") if accept else ("keep", None))))
    found = assigning.agreement(history(rows))
    assert abs(found.alpha.value) < 0.08
    assert found.name == "Cohen's kappa"
    assert found.kappa.value == pytest.approx(found.alpha.value, abs=0.01)


def test_labels_are_told_apart_within_a_sample():
    said = history(
        [
            ("ann", "label_error:1", "relabel", "bag"),
            ("bob", "label_error:1", "accept", "bag"),
            ("cay", "label_error:1", "relabel", "hat"),
            ("ann", "audit:2", "relabel", "hat"),
            ("bob", "audit:2", "relabel", "hat"),
            ("cay", "audit:2", "relabel", "bag"),
            ("dan", "audit:2", "unsure", None),
        ]
    )
    votes = assigning.resolve.votes(said)
    codes = dict(zip(zip(votes["sample"], votes["reviewer"]), assigning.answers(votes)))
    assert codes[1, "ann"] == codes[1, "bob"] == 3
    assert codes[1, "cay"] == codes[2, "ann"] == codes[2, "bob"] == 4
    assert codes[2, "cay"] == 5
    assert codes[2, "dan"] == 2


def test_nobody_and_one_reviewer_are_said_so():
    assert "nobody answered" in assigning.agreement(NOBODY).words[0]
    alone = assigning.agreement(history([("ann", "label_error:1", "keep", None)]))
    assert "only one reviewer" in alone.words[0]
    apart = history([("ann", "label_error:1", "keep", None), ("bob", "label_error:2", "keep", None)])
    found = assigning.agreement(apart, pd.Series({1: "a", 2: "b"}))
    assert "no item that two" in found.words[0]
    assert (len(found.samples), found.pairs.empty, found.classes.empty, found.kinds.empty) == (0, True, True, True)
    table, _ = assigning.status(apart, assigned([]), pd.DataFrame({"group": []}), pd.Series({1: "a", 2: "b"}))
    assert table["agreement"].isna().all()


# ------------------------------------------------------------------------------------------------- commands


def call(*arguments) -> int:
    return cli.main(["reviews", *map(str, arguments)])


def test_assigning_and_the_table_of_who_is_how_far(tmp_path, capsys):
    run = make_run(tmp_path)
    assert call("assign", run.path, "--reviewers", "ann, bob", "--overlap", 2, "--queue", "labels") == 0
    told = capsys.readouterr().out
    assert told.splitlines()[0].split() == ["reviewer", "answered", "to", "answer", "new", "shared"]
    assert told.splitlines()[1].split() == ["ann", "0", "2", "2", "2"]
    reviews = open_reviews(run)
    assert len(reviews.assignments()) == 4
    assert call("assign", run.path, "--reviewers", "cay", "--queue", "outliers") == 0
    assert len(reviews.assignments()) == 5, "another queue's stays"
    shared = {"finding": "label_error:1", "sample": 1}
    reviews.add_all(
        [{**shared, "decision": "keep", "reviewer": "ann"}, {**shared, "decision": "exclude", "reviewer": "bob"}]
    )
    capsys.readouterr()
    assert call("status", run.path) == 0
    told = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in told.splitlines()[1:4]}
    assert rows["ann"] == ["2", "1", "1", "0", "0", "%", "1"]
    assert rows["cay"] == ["1", "0", "1", "0", "-", "0"]
    assert "1 samples answered by two or more; 1 disagreements, 0 settled" in told
    assert "too few to rely on" in told
    for names, option, value, message in (
        ("ann", "--overlap", 2, "overlap of 1 to 1"),
        ("ann", "--queue", "video", "found none"),
        ("ann,,bob", "--overlap", 1, "empty"),
        ("ann", "--share", "2", "expected a number over 0 and up to 1, found '2'"),
        ("ann", "--share", "x", "expected a number over 0 and up to 1, found 'x'"),
    ):
        assert message in refused(capsys, "reviews", "assign", run.path, "--reviewers", names, option, value)


def test_names_cannot_draw_on_the_terminal(tmp_path, capsys):
    run = make_run(tmp_path)
    assert call("assign", run.path, "--reviewers", "\x1b[31mann") == 0
    assert "\x1b" not in capsys.readouterr().out
    assert call("status", run.path) == 0
    assert "?[31mann" in capsys.readouterr().out


def test_a_large_queue_is_planned_at_once():
    """A set made anew for each pair took minutes here."""
    table = findings(8000)
    said = history([(name, finding, "keep", None) for finding in table["group"][:4000] for name in ("ann", "bob")])
    first = assigning.deal(table, ["ann", "bob", "cay"], 2)
    started = time.monotonic()
    assigning.plan(table, ["ann", "bob", "cay", "dan"], said, assigned(first), overlap=2, extend=True)
    assigning.status(said, assigned(first), table, pd.Series(dtype=object))
    assert time.monotonic() - started < 8
