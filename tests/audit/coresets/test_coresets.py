"""Coresets of a run: decisions hold, the same again by the record, and kept under a name."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from coreset_runs import at_home_on_disk, decide, lossprint
from helpers import digests, make_run, one_line, read_csv

from lossprint.audit.coresets import coreset as coresets
from lossprint.audit.coresets.coreset import Ask
from lossprint.audit.export.applied import applied
from lossprint.audit.export.outfile import read_record
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.scoring.coresets.methods import METHODS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made")).path.parent


@pytest.fixture
def run(made, tmp_path):
    """30 training samples, ids 0 to 29, bag, coat and shirt in turn; 1 and 4 (coat) are flagged as wrong labels."""
    return at_home_on_disk(shutil.copytree(made, tmp_path / "home"))


# ------------------------------------------------------------------------------------------------- decisions


@pytest.mark.parametrize("method", ["random", "cld", "cld_reversed", "k_centre", "facility", "ccs", "random_plain"])
def test_what_experts_excluded_is_never_chosen_and_what_they_relabelled_has_its_new_label(run, method):
    decide(run, 2, "exclude", finding="outlier:2")
    decide(run, 1, "relabel", "bag")
    frame = coresets.coreset(run, method, fraction=1.0)
    assert sorted(frame["sample"]) == [one for one in range(30) if one != 2]
    assert frame.set_index("sample")["label"][[0, 1, 4]].tolist() == ["bag", "bag", "coat"]
    assert frame["label"].value_counts().to_dict() == {"bag": 11, "coat": 9, "shirt": 9}
    source = coresets.source_of(applied(run))
    assert (source.excluded, source.relabelled, source.last_review) == (1, 1, 2)
    open_reviews(run).undo("ann")
    assert coresets.source_of(applied(run)).relabelled == 0


def test_flagged_labels_come_last_until_somebody_says_that_they_are_right(run):
    def order():
        return coresets.coreset(run, "random_cleaned", fraction=1.0)["sample"].tolist()

    assert order()[-2:] == [1, 4]  # 4 is the likelier error
    for decision, finding in (("unsure", None), ("keep", "duplicate:1"), ("keep", "outlier:1")):
        decide(run, 1, decision, finding=finding)  # says nothing of the label
        assert order()[-2:] == [1, 4], finding
    decide(run, 1, "keep")
    assert order()[-1] == 4 and order()[-2] != 1
    decide(run, 4, "relabel", "bag")
    assert set(order()[-2:]) != {1, 4}
    assert coresets.coreset(run, "random_cleaned", number=29)["sample"].nunique() == 29


def test_what_is_recommended_uses_the_embeddings_that_there_are(run):
    """Whatever other methods are asked for beside it."""

    def chosen(method, fraction, methods):
        source = coresets.source_of(applied(run), methods=methods)
        return coresets.choose(source, Ask(method, fraction=fraction))["sample"].tolist()

    for methods in (("recommended",), ("random", "recommended"), None):
        assert chosen("recommended", 0.1, methods) == chosen("facility_cleaned", 0.1, None)
        assert chosen("recommended", 0.5, methods) == chosen("random_cleaned", 0.5, None)
    (run.path / "embeddings.safetensors").unlink()
    assert chosen("recommended", 0.1, ("recommended",)) == chosen("random_cleaned", 0.1, None)


def test_never_both_of_a_duplicate_pair(run):
    pairs = ({0, 3}, {2, 6})
    every = set(coresets.coreset(run, "random", fraction=1.0)["sample"])
    assert all(pair <= every for pair in pairs)
    for method in ("random", "cld", "facility"):
        one = set(coresets.coreset(run, method, fraction=1.0, one_of_duplicates=True)["sample"])
        assert len(one) == 28 and all(len(pair & one) == 1 for pair in pairs)
    best = run.scores().set_index("sample")["cld"]
    kept = set(coresets.coreset(run, "cld", fraction=1.0, one_of_duplicates=True)["sample"])
    assert best[[0, 3]].idxmax() in kept and best[[2, 6]].idxmax() in kept
    decide(run, int(best[[0, 3]].idxmax()), "exclude", finding="duplicate:0")
    kept = set(coresets.coreset(run, "cld", fraction=1.0, one_of_duplicates=True)["sample"])
    assert len(kept & {0, 3}) == 1, "the other copy takes the place of the excluded one"


def test_copies_of_copies_are_one_group():
    rows = [("a", "duplicate", 5), ("a", "duplicate", 7), ("b", "near_duplicate", 7), ("b", "near_duplicate", 9)]
    rows += [("c", "near_duplicate", 4), ("c", "near_duplicate", 99), ("d", "outlier", 8)]
    group = coresets._twins(pd.DataFrame(rows, columns=["group", "kind", "sample"]), np.array([4, 5, 7, 8, 9]))
    assert group[1] == group[2] == group[4] >= 0 and group[3] == -1 and group[0] not in group[1:]
    assert coresets._twins(pd.DataFrame(columns=["group", "kind", "sample"]), np.array([4, 5])).tolist() == [-1, -1]


def test_budgets_of_a_run_whose_classes_differ(run):
    scores = run.scores()
    run.write_scores(scores[(scores["label"] != "shirt") | (scores["sample"] < 12)])  # 10 bag, 10 coat, 4 shirt

    def counts(**options):
        return coresets.coreset(run, "cld", **options)["label"].value_counts().sort_index().tolist()

    assert counts(fraction=0.5) == counts(number=12) == [5, 5, 2]
    assert counts(number=12, equal=True) == [4, 4, 4] and counts(per_class=6) == [6, 6, 4]
    assert counts(number=9, at_least=3) == [3, 3, 3]
    assert "more than the budget of 6" in one_line(counts, number=6, at_least=3)


def test_a_class_without_validation_samples_has_no_cld_and_comes_last_in_its_class_only(run):
    scores = run.scores()
    run.write_scores(scores.assign(cld=scores["cld"].where(scores["label"] != "coat")))
    frame = coresets.coreset(run, "cld", fraction=1.0)
    assert frame["label"].tail(10).eq("coat").all() and frame["score"].isna().sum() == 10
    assert frame["sample"].tail(10).is_monotonic_increasing
    assert coresets.coreset(run, "cld", fraction=0.3)["label"].value_counts().to_dict() == dict.fromkeys(run.classes, 3)


def test_a_run_of_imported_losses_says_what_it_lacks(run):
    source = coresets.source_of(applied(run))
    assert not coresets.lacking(source, "facility") and "last layer" in coresets.lacking(source, "grad_match")
    (run.path / "embeddings.safetensors").unlink()
    source = coresets.source_of(applied(run))
    for method in ("facility", "k_centre", "cld_diverse"):
        assert "embeddings" in one_line(coresets.choose, source, Ask(method, fraction=0.5))
    for method in ("grad_match", "glister", "crust"):
        assert "last layer" in one_line(coresets.choose, source, Ask(method, fraction=0.5))
    assert len(coresets.choose(source, Ask("cld", fraction=0.5))) == 15


# ------------------------------------------------------------------------------------------------- written, again


def test_export_says_what_was_done_and_gives_the_same_bytes_twice(run, tmp_path, capsys):
    decide(run, 2, "exclude", finding="outlier:2")
    decide(run, 1, "relabel", "bag")
    out = tmp_path / "half.csv"
    asked = ["export", "coreset", run.path, "--method", "cld", "--fraction", "0.5", "--out", out]
    status, told, _ = lossprint(capsys, *asked)
    assert status == 0 and told.splitlines() == [
        f"15 samples chosen by cld written to {out}",
        f"how to make them again: {out}.json",
        "decisions applied: 1 samples excluded, 1 relabelled",
    ]
    before = digests(tmp_path)
    assert lossprint(capsys, *asked)[0] == 0 and digests(tmp_path) == before
    rows = read_csv(out)
    assert list(rows[0]) == list(coresets.COLUMNS) and [int(row["rank"]) for row in rows] == list(range(1, 16))
    record = read_record(out)
    assert record["coreset"] == {"method": "cld", "title": "CLD, most aligned", "score": "cld", "kept_end": "high"}
    assert record["budget"] == {"fraction": 0.5} and record["seed"] == 0 and record["samples"] == 15
    assert record["params"] == {"equal": False, "at_least": 1, "one_of_duplicates": False}
    assert record["decisions"] == {"last_review": 2, "excluded": 1, "relabelled": 1}
    assert record["run"]["fingerprint"] == run.manifest["dataset"]["fingerprint"] and record["lossprint"]
    assert record["classes"] == pd.DataFrame(rows)["label"].value_counts().to_dict()


@pytest.mark.parametrize(
    "wanted",
    [
        ["--method", "random", "--fraction", "0.37", "--seed", "12"],
        ["--method", "ccs", "--number", "11", "--seed", "3", "--equal"],
        ["--method", "cld_cleaned", "--per-class", "4", "--at-least", "2", "--one-of-duplicates"],
        ["--method", "facility", "--fraction", "0.3"],
    ],
)
def test_the_record_alone_makes_the_same_subset_again(run, tmp_path, capsys, wanted):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    assert lossprint(capsys, "export", "coreset", run.path, *wanted, "--out", one)[0] == 0
    for like in (one, f"{one}.json"):
        assert lossprint(capsys, "export", "coreset", run.path, "--like", like, "--out", two)[0] == 0
        assert two.read_bytes() == one.read_bytes() and read_record(two) == read_record(one)
        two.unlink()


def test_another_subset_than_that_of_the_record_is_not_written(run, tmp_path, capsys):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    again = ["export", "coreset", run.path, "--like", one, "--out", two]
    assert lossprint(capsys, "export", "coreset", run.path, "--method", "random", "--number", 5, "--out", one)[0] == 0
    record = json.loads((tmp_path / "one.csv.json").read_text())

    def refused():
        status, _, told = lossprint(capsys, *again)
        assert status == 2 and told.count("\n") == 1 and not two.exists()
        return told

    decide(run, int(read_csv(one)[0]["sample"]), "exclude")
    assert "decisions have been made or taken back since" in refused()
    open_reviews(run).undo("ann")
    for name, told in (("fingerprint", "of another dataset"), ("created", "of another run")):
        other = record | {"run": record["run"] | {name: "x"}, "sha256": "x"}
        (tmp_path / "one.csv.json").write_text(json.dumps(other, indent=1))
        assert told in refused()
    for part, told in (
        ({"budget": {"fraction": "much"}}, "found 'much' as its fraction"),
        ({"params": {"equals": 1}}, "found 1 as its equals"),
        ({"coreset": 3}, "found None as its method"),
        ({"budget": {"number": 5, "fraction": 0.5}}, "only one"),
        ({"coreset": {"method": "x"}}, "unknown coreset method 'x'"),
    ):
        (tmp_path / "one.csv.json").write_text(json.dumps(record | part, indent=1))
        assert told in refused()
    (tmp_path / "one.csv.json").write_text('{\n "lossprint": 1')
    assert "expected the record of an export" in refused()
    (tmp_path / "one.csv.json").unlink()
    assert "expected the record of a coreset, found none" in refused()


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (["--method", "cdl", "--fraction", "0.5"], "did you mean 'cld'?"),
        (["--fraction", "0.5"], "expected --method M, or --like FILE.csv, found neither"),
        (["--method", "cld", "--like", "x.csv"], "expected no --method with --like"),
        (["--like", "x.csv", "--equal"], "expected no --equal with --like"),
        (["--method", "cld", "--fraction", "1.5"], "fraction must be above 0 and at most 1"),
        (["--method", "cld", "--fraction", "nan"], "fraction must be above 0"),
        (["--method", "cld", "--fraction", "0.01"], "not a single one"),
        (["--method", "cld", "--number", "31"], "number must be from 1 to the 30 samples"),
        (["--method", "grad_match", "--number", "3"], "GRAD-MATCH needs the last layer"),
    ],
)
def test_wrong_use_is_one_line_and_leaves_no_file(run, tmp_path, capsys, wanted, told):
    status, _, error = lossprint(capsys, "export", "coreset", run.path, *wanted, "--out", tmp_path / "out.csv")
    assert status == 2 and told in error and error.count("\n") == 1
    assert not list(tmp_path.glob("out.csv*"))


def test_nothing_else_is_overwritten(run, tmp_path, capsys):
    data, ask = run.path.parent / "data", ["--method", "cld", "--number", "3"]
    (tmp_path / "mine.csv.json").write_text("{}")
    (data / "other.csv").write_text("a,b\n")
    before = digests(tmp_path)
    for out, told in (
        (tmp_path / "mine.csv", "expected no file or an earlier record"),
        (data / "labels.csv", "expected another file than the dataset's own manifest"),
        (data / "other.csv", "expected a new file or an earlier export"),
        (run.path / "scores.csv", "expected a file outside the run folder"),
        (tmp_path / "subset.txt", "expected a file name that ends in .csv"),
        (tmp_path / "home", "expected a file name that ends in .csv"),
    ):
        status, _, error = lossprint(capsys, "export", "coreset", run.path, *ask, "--out", out)
        assert status == 2 and told in error, error
    assert digests(tmp_path) == before


def test_every_method_can_be_asked_what_it_lacks(run):
    source = coresets.source_of(applied(run))
    for method in METHODS:
        if coresets.lacking(source, method):
            assert METHODS[method].title in one_line(coresets.choose, source, Ask(method, number=6))
        else:
            assert len(coresets.choose(source, Ask(method, number=6))) == 6


# ------------------------------------------------------------------------------------------------- kept


def test_kept_subsets_come_back_and_can_be_replaced_and_dropped(run):
    source = coresets.source_of(applied(run))
    assert coresets.kept(run) == [] and coresets.damaged(run) == {}
    one = coresets.keep(run, source, Ask("cld", fraction=0.3, equal=True), " best 30 pc ")
    two = coresets.keep(run, source, Ask("random", number=4, seed=7), "a+b_c-1.0")
    assert (one.name, two.name) == ("best 30 pc", "a+b_c-1.0") and coresets.kept(run) == [two, one]
    assert one.samples == tuple(coresets.choose(source, Ask("cld", fraction=0.3, equal=True))["sample"])
    assert one.method == "cld" and one.budget == {"fraction": 0.3} and one.params["equal"] and two.params["seed"] == 7
    ask = coresets.ask_of(read_record(run.selection_path(two.name)))
    assert ask == Ask("random", number=4, seed=7)
    again = coresets.keep(run, source, Ask("random", number=5), two.name)
    assert coresets.kept(run) == [again, one] and len(again.samples) == 5
    run.drop_selection(two.name)
    run.drop_selection(two.name)
    assert coresets.kept(run) == [one] and len(list((run.path / "selections").iterdir())) == 2
    assert coresets.kept(open_run(run.path)) == [one]


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "../x", "a/b", "a\\b", "/etc/x", ".hidden", "-x", "a\nb", "a\0b", "a\x1b[2J", "x" * 65, "é"],
)
def test_a_name_that_is_no_file_name_is_refused_everywhere(run, name):
    source, before = coresets.source_of(applied(run)), digests(run.path.parent)
    for call in (
        lambda: coresets.keep(run, source, Ask("cld", number=3), name),
        lambda: run.selection_path(name),
        lambda: run.drop_selection(name),
        lambda: run.write_selection(name, "", ""),
    ):
        assert "expected a name of up to 64 letters" in one_line(call)
    assert digests(run.path.parent) == before


def test_a_name_that_differs_by_capitals_only_is_refused(run):
    source = coresets.source_of(applied(run))
    coresets.keep(run, source, Ask("cld", number=3), "Best")
    assert "differs from 'Best' by more than capitals" in one_line(
        coresets.keep, run, source, Ask("cld", number=4), "best"
    )
    assert [len(one.samples) for one in coresets.kept(run)] == [3]


def test_damaged_subsets_leave_the_others_alone_and_are_told(run):
    source, folder = coresets.source_of(applied(run)), run.path / "selections"
    for name in ("good", "binary", "edited", "alone", "strange", "broken", "empty"):
        coresets.keep(run, source, Ask("cld", number=3), name)
    (folder / "binary.csv").write_bytes(bytes(range(256)))
    (folder / "edited.csv").write_text((folder / "edited.csv").read_text().replace("train_0", "train_1"))
    (folder / "alone.csv.json").unlink()
    (folder / "strange.csv.json").write_text('{\n "lossprint": "1", "run": [], "coreset": "cld"}')
    (folder / "broken.csv.json").write_text('{\n "lossprint": ')
    (folder / "empty.csv").write_text("")
    (folder / "a folder.csv").mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "é.csv").write_text("mine")
    assert [one.name for one in coresets.kept(run)] == ["good"]
    told = coresets.damaged(run)
    assert set(told) == {"binary", "edited", "alone", "strange", "broken", "empty", "a folder"}
    assert all(one.startswith("expected ") and "\n" not in one for one in told.values())
    assert "found another one" in told["edited"] and "found none" in told["alone"]
    run.drop_selection("binary")
    assert "binary" not in coresets.damaged(run)


# ------------------------------------------------------------------------------------------------- what it lacks


def test_classes_that_a_budget_drops_are_named(run, tmp_path, capsys):
    for sample in (1, 4, 7, 10, 13, 16, 19, 22):  # 2 coats are left
        decide(run, sample, "exclude")

    def said(name, *budget):
        status, _, error = lossprint(
            capsys, "export", "coreset", run.path, "--method", "random", "--out", tmp_path / name, *budget
        )
        assert status == 0
        return error, read_record(tmp_path / name).get("short")

    error, short = said("two.csv", "--number", 2, "--equal")
    assert error == f"lossprint: no sample of 1 classes: {next(iter(short))}\n" and list(short.values()) == [[0, 1]]
    error, short = said("each.csv", "--per-class", 5)
    assert error == "lossprint: fewer than asked for of 1 classes: coat (2 of 5)\n" and short == {"coat": [2, 5]}
    assert "22 samples, fewer than the 25 asked for" in said("many.csv", "--number", 25)[0]
    assert said("whole.csv", "--number", 6) == ("", None)
