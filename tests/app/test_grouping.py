"""Duplicate groups at a threshold, their similarities, and the copy that a policy keeps, against plain loops."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import make_run

from lossprint.app import data
from lossprint.app.questions import copies, groups
from lossprint.app.shared import decide
from lossprint.app.shared.acting import steps
from lossprint.app.views.duplicates import page as duplicates
from lossprint.audit.export.applied import applied
from lossprint.audit.export.export import changes
from lossprint.audit.findings import find
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run


def planted(pairs: list[tuple], labels: list[str], splits: list[str] | None = None, categorical: bool = False):
    """What a loaded run holds, with the findings that findings/find.py makes of these pairs
    (sample, partner, similarity).

    A similarity of 1 is an exact pair.
    """
    ids = np.arange(len(labels))
    samples = pd.DataFrame({"sample": ids, "label": labels, "split": splits or ["train"] * len(labels)}, index=ids)
    frame = pd.DataFrame(pairs, columns=["sample", "partner", "similarity"]).astype({"sample": int, "partner": int})
    frame["kind"] = np.where(frame["similarity"] == 1, "exact", "near")
    scores = pd.DataFrame({"label_error": np.linspace(0, 1, len(labels))}, index=ids)
    evidence = find.Evidence(scores, samples, frame)
    found = [*find.duplicates(evidence), *find.near_duplicates(evidence)]
    rows = [
        (one.kind, sample, one.severity, rank, one.name)
        for rank, one in enumerate(sorted(found, key=lambda one: -one.severity))
        for sample in one.samples
    ]
    findings = pd.DataFrame(rows, columns=["kind", "sample", "severity", "rank", "group"])
    if categorical:
        samples = samples.astype({"label": "category", "split": "category"})
    return SimpleNamespace(
        samples=samples, duplicates=frame, findings=findings, of_kind=lambda *kinds: findings[findings.kind.isin(kinds)]
    )


def at(loaded, least: float) -> groups.Table:
    return groups.regrouped(groups.recorded(loaded), loaded, groups.edges(loaded), least)


def members(table: groups.Table) -> dict[str, list[int]]:
    return {row.group: sorted(table.samples(row)) for row in table.frame.itertuples()}


def by_loops(loaded, least: float) -> set[tuple[str, tuple]]:
    """(kind, members) of every group at a threshold: exact ones, and connected ones that are not exact ones."""
    found = set()
    for kind, mine in (("duplicate", ["exact"]), ("near_duplicate", ["exact", "near"])):
        together: dict[int, set] = {}
        for row in loaded.duplicates.itertuples():
            if row.kind in mine and row.similarity >= least:
                union = together.get(row.sample, {row.sample}) | together.get(row.partner, {row.partner})
                for one in union:
                    together[one] = union
        for union in together.values():
            if ("duplicate", tuple(sorted(union))) not in found:
                found.add((kind, tuple(sorted(union))))
    return found


CHAIN = [(0, 1, 0.99), (1, 2, 0.95), (2, 3, 0.98), (3, 4, 1.0), (5, 6, 0.97), (7, 8, 1.0)]


def test_recorded_groups_put_conflicts_and_leaks_first():
    labels = ["a"] * 5 + ["a", "b"] + ["a", "a"]
    loaded = planted(CHAIN, labels, ["train"] * 8 + ["val"])
    table = groups.recorded(loaded)
    assert members(table) == {
        "near_duplicate:5": [5, 6],
        "duplicate:7": [7, 8],
        "duplicate:3": [3, 4],
        "near_duplicate:0": [0, 1, 2, 3, 4],
    }
    assert list(table.frame["conflict"]) == [True, False, False, False]
    assert list(table.frame["leak"]) == [False, True, False, False]
    assert table.images == 9
    listed = groups.listed(loaded)
    assert list(listed.columns) == ["group", "kind", "samples", "severity", "conflict", "leak"]
    assert listed["samples"].iloc[0] == [6, 5]  # the suspect first


def test_a_threshold_splits_names_the_parts_and_keeps_what_is_whole():
    loaded = planted(CHAIN, ["a"] * 9)
    assert members(at(loaded, 0.95)) == members(groups.recorded(loaded))
    table = at(loaded, 0.96)
    assert members(table) == {
        "duplicate:3": [3, 4],
        "duplicate:7": [7, 8],
        "near_duplicate:0 (2 of 5)": [0, 1],
        "near_duplicate:2 (3 of 5)": [2, 3, 4],
        "near_duplicate:5": [5, 6],
    }
    part = table.frame.set_index("group").loc["near_duplicate:2 (3 of 5)"]
    assert (part["of"], part["whole"], part["severity"]) == ("near_duplicate:0", 5, pytest.approx(0.98 * 0.5))
    # At 1 the near groups are gone, and the exact pair in one of them is a group of its own already.
    assert members(at(loaded, 1.0)) == {"duplicate:3": [3, 4], "duplicate:7": [7, 8]}


@pytest.mark.parametrize("categorical", [False, True])
def test_regrouping_agrees_with_plain_loops(categorical):
    rng = np.random.default_rng(0)
    for trial in range(30):
        size = int(rng.integers(2, 40))
        chosen = rng.integers(0, size, (size, 2))
        pairs = {(min(a, b), max(a, b)) for a, b in chosen.tolist() if a != b}
        kinds = rng.integers(0, 3, len(pairs))
        rows = [(a, b, 1.0 if k == 0 else round(rng.uniform(0.9, 0.99), 3)) for (a, b), k in zip(sorted(pairs), kinds)]
        # As the audit has it: equality is transitive, so all exact pairs are there and none of them is near.
        same = np.arange(size)
        for a, b, s in rows:
            if s == 1:
                same[same == same[b]] = same[a]
        rows = [(a, b, 1.0 if same[a] == same[b] else min(s, 0.999)) for a, b, s in rows]
        done = {(a, b) for a, b, _ in rows}
        rows += [
            (a, b, 1.0) for a in range(size) for b in range(a + 1, size) if same[a] == same[b] and (a, b) not in done
        ]
        if not rows:
            continue
        labels = [str(one) for one in rng.integers(0, 2, size)]
        splits = [("train", "val")[one] for one in rng.integers(0, 2, size)]
        loaded = planted(rows, labels, splits, categorical)
        whole = members(groups.recorded(loaded))
        for least in (0.5, 0.92, 0.95, 0.98, 1.0):
            table = at(loaded, least)
            found = {(row.kind, tuple(sorted(table.samples(row)))) for row in table.frame.itertuples()}
            assert found == by_loops(loaded, least), (trial, least)
            assert table.frame["group"].is_unique
            for row in table.frame.itertuples():
                mine = table.samples(row)
                assert row.conflict == (len({labels[one] for one in mine}) > 1)
                assert row.leak == (len({splits[one] for one in mine}) > 1)
                assert set(mine) <= set(whole[row.of]) and row.whole == len(whole[row.of])
                assert (row.group == row.of) == (row.size == row.whole)
            assert table.images == len({one for mine in members(table).values() for one in mine})


def test_without_pairs_or_groups():
    empty = planted([], ["a", "b"])
    assert groups.recorded(empty).frame.empty and at(empty, 0.9).images == 0 and groups.listed(empty).empty
    loaded = planted(CHAIN, ["a"] * 9)
    loaded.duplicates = loaded.duplicates.iloc[:0]  # findings whose pairs were not recorded
    assert len(at(loaded, 0.99).frame) == len(groups.recorded(loaded).frame)
    assert np.isnan(groups.matrix([0, 1], groups.edges(loaded))[0, 1])
    assert duplicates.scale(np.empty(0)) == (1.0, 0.001)
    assert duplicates.scale(np.array([0.97, 0.99])) == (0.97, 0.001)
    assert duplicates.scale(np.array([0.6123])) == (0.61, 0.005)


def test_filters():
    loaded = planted(CHAIN, ["a"] * 5 + ["a", "b"] + ["c", "c"], ["train"] * 8 + ["val"], categorical=True)
    table = groups.recorded(loaded)
    decided = (table.frame["group"] == "duplicate:7").to_numpy()

    def names(**chosen) -> set[str]:
        return set(groups.filtered(table, loaded.samples, decided, **chosen)["group"])

    assert len(names()) == 4
    assert names(show="Conflicting labels") == {"near_duplicate:5"} and names(show="Across splits") == {"duplicate:7"}
    assert names(kind="Near") == {"near_duplicate:0", "near_duplicate:5"}
    assert names(label="b") == {"near_duplicate:5"} and names(label="c", kind="Near") == set()
    assert names(state="Decided") == {"duplicate:7"} and len(names(state="Open")) == 3


def test_similarities_of_equal_copies_are_shared():
    loaded = planted([(0, 1, 1.0), (1, 2, 0.96), (2, 3, 0.98)], ["a"] * 4)
    alike = groups.matrix([3, 0, 1, 2], groups.edges(loaded))
    wanted = [[1, np.nan, np.nan, 0.98], [np.nan, 1, 1, 0.96], [np.nan, 1, 1, 0.96], [0.98, 0.96, 0.96, 1]]
    assert np.array_equal(alike, wanted, equal_nan=True)
    table = groups.recorded(loaded)
    near = table.frame[table.frame["kind"] == "near_duplicate"]
    mean = dict(zip(table.samples(next(near.itertuples())), groups.central(near, table.members, groups.edges(loaded))))
    assert mean == pytest.approx({0: 1.96 / 3, 1: 1.96 / 3, 2: 2.9 / 3, 3: 0.98 / 3})


def test_which_copy_stays():
    value = [0.3, 0.1, np.nan, 0.2]
    assert copies.stays([5, 6, 7, 8], {}, [True] * 4, value) == 6
    assert copies.stays([5, 6, 7, 8], {}, [True, True, False, True], value) == 7  # an evaluation copy
    assert copies.stays([5, 6, 7, 8], {6: {"decision": "exclude"}}, [True] * 4, value) == 8
    assert copies.stays([5, 6, 7, 8], {}, [True] * 4, value, [True, False, True, False]) == 5
    assert copies.stays([6, 5], {}, [True] * 2, [np.nan] * 2) == 5
    assert copies.keep_one([5, 6], 6, {6: {"decision": "relabel", "new_label": "b"}}) == [
        (6, "relabel", "b"),
        (5, "exclude", None),
    ]


HISTORY = ["sample", "finding", "decision", "new_label", "stands"]


def history(*rows) -> pd.DataFrame:
    frame = pd.DataFrame([(*row, True) for row in rows], columns=HISTORY)
    text = dict.fromkeys(("finding", "decision", "new_label"), "string")
    return frame.astype({**text, "sample": "int64", "stands": bool})


def planned(loaded, value: dict, *rows) -> tuple[copies.Plan, dict[int, str]]:
    """The plan for all groups, and the last decision on each sample."""
    table = groups.recorded(loaded)
    _, place = groups.flat(table.frame)
    values = np.array([value.get(sample, 0.5) for sample in table.members[place].tolist()])
    plan = copies.plan(table, table.frame, values, loaded.samples, history(*rows))
    return plan, {sample: (word, new) for _, sample, word, new in plan.decisions}


def test_of_nested_groups_one_copy_stays():
    loaded = planted([(0, 1, 1.0), (1, 2, 0.96)], ["a"] * 3)
    for best in range(3):
        plan, last = planned(loaded, {best: 0.1})
        assert {one for one, (word, _) in last.items() if word == "keep"} == {best}
        assert (plan.groups, plan.images, plan.stay, plan.go, plan.tested) == (2, 3, 1, 2, 0)


def test_a_plan_brings_nothing_back_and_keeps_labels():
    loaded = planted([(0, 1, 1.0), (2, 3, 0.96), (4, 5, 0.97)], ["a"] * 6, ["train"] * 4 + ["val"] * 2)
    out = [(one, "outlier:9", "exclude", None) for one in (0, 1, 2)]
    plan, last = planned(loaded, {4: 0.1}, *out, (3, "label_error:3", "relabel", "b"))
    assert {last[0], last[1], last[2]} == {("exclude", None)} and last[3] == ("relabel", "b")
    assert last[4] == ("keep", None) and last[5] == ("exclude", None)
    assert (plan.stay, plan.go, plan.tested) == (2, 1, 1)
    table = groups.recorded(loaded)
    changed = history((3, "label_error:3", "relabel", "b"))
    names = table.frame["group"][copies.conflicting_now(table, table.frame, loaded.samples, changed)]
    assert list(names) == ["near_duplicate:2"]


def test_a_plan_agrees_with_one_group_at_a_time():
    rng = np.random.default_rng(1)
    pairs = [(2 * i, 2 * i + 1, round(rng.uniform(0.9, 0.99), 3)) for i in range(50)]
    splits = [("train", "val")[one] for one in rng.integers(0, 2, 100)]
    loaded = planted(pairs, ["a"] * 100, splits)
    value = dict(enumerate(rng.random(100)))
    out = set(rng.integers(0, 100, 20).tolist())
    _, last = planned(loaded, value, *((one, "outlier:9", "exclude", None) for one in out))
    for a, b, _ in pairs:
        before = {one: {"decision": "exclude"} for one in (a, b) if one in out}
        train = [splits[a] == "train", splits[b] == "train"]
        kept = copies.stays([a, b], before, train, [value[a], value[b]])
        assert [one for one in (a, b) if last[one][0] == "keep"] == ([] if {a, b} <= out else [kept])


def test_what_counts_as_decided():
    loaded = planted(CHAIN, ["a"] * 9)
    whole, split = groups.recorded(loaded), at(loaded, 0.96)

    def names(table, *rows) -> tuple[set, set]:
        decided, partly = copies.states(table, history(*rows))
        return set(table.frame["group"][decided]), set(table.frame["group"][partly])

    part = (0, "near_duplicate:0 (2 of 5)", "keep", None)
    assert names(split, part) == ({"near_duplicate:0 (2 of 5)"}, set())
    assert names(whole, part) == (set(), {"near_duplicate:0"})
    all_of_it = (0, "near_duplicate:0", "keep", None)
    assert names(split, all_of_it) == ({"near_duplicate:0 (2 of 5)", "near_duplicate:2 (3 of 5)"}, set())
    larger = (2, "near_duplicate:2 (4 of 5)", "keep", None)  # of a threshold in between
    assert names(split, larger)[0] == {"near_duplicate:2 (3 of 5)"}
    assert names(whole, (7, "duplicate:7", "unsure", None)) == ({"duplicate:7"}, set())


@pytest.fixture
def run(tmp_path):
    """Three copies of one picture, of which two are closer: near_duplicate:0 holds 0, 2 and 4 of one class."""
    run = make_run(tmp_path, classes=("coat", "shirt"))
    pairs = pd.DataFrame({"sample": [0, 2], "partner": [2, 4], "kind": "near", "similarity": [0.96, 0.99]})
    run.write_duplicates(pairs)
    return find.find_run(run)


def test_a_decision_on_a_part_is_exported_on_its_samples_alone(run, monkeypatch):
    session = SimpleNamespace(session_state={"reviewer": "ann"})
    for module in (decide, steps):
        monkeypatch.setattr(module, "st", session)
    loaded = data.load(run.path)
    table = at(loaded, 0.97)
    row = next(table.frame.itertuples())
    assert row.group == "near_duplicate:2 (2 of 3)"
    plan = copies.plan(table, table.frame, np.array([0.1, 0.2]), loaded.samples, data.reviews(loaded).history())
    decide.press(loaded, plan.decisions, seen={row.group: 0})
    changed = changes(applied(open_run(run.path)))
    assert list(changed["decision"]) == ["exclude"] and changed["finding"].item() == row.group
    assert changed["path"].item() == loaded.samples.at[table.samples(row)[1], "path"]
    reviewed = decide.reviewed_groups(loaded)
    assert row.group in reviewed and "near_duplicate:0" not in reviewed
    steps.undo(loaded)
    assert open_reviews(run).current().empty


def test_many_groups_are_stored_and_taken_back_in_one_go(run, monkeypatch):
    session = SimpleNamespace(session_state={"reviewer": "ann"})
    for module in (decide, steps):
        monkeypatch.setattr(module, "st", session)
    loaded = data.load(run.path)
    decide.press(loaded, [(f"duplicate:{one}", one, "exclude", None) for one in range(5)], seen={})
    assert len(open_reviews(run).current()) == 5
    decide.st.session_state.pop(decide.STACK)  # another session of the same reviewer
    steps.undo(loaded)
    assert len(open_reviews(run).current()) == 5  # five questions at once: asked first
    words, yes = decide.st.session_state[decide.ASKING]
    assert words == "Take back 5 decisions?"
    yes()
    assert open_reviews(run).current().empty
