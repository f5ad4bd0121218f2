"""Decisions made elsewhere: read as a whole, stored as a whole or not at all, and never twice."""

import csv
import io
import json
import shutil

import pytest
from helpers import at_home, make_run

from lossprint.audit.export import exchange, export, labelstudio
from lossprint.audit.export.applied import applied
from lossprint.audit.review.resolve import resolve, votes
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.types import LossprintError

NASTY = ("=1+1", 'a "b", c', "two\nlines", "exclude")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made")).path.parent


@pytest.fixture
def run(made, tmp_path):
    return at_home(shutil.copytree(made, tmp_path / "home"))


@pytest.fixture
def other(made, tmp_path):
    """The same run without its decisions."""
    return at_home(shutil.copytree(made, tmp_path / "other"))


def table(*rows: dict, delimiter: str = ",", bom: bool = False) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8-sig" if bom else "utf-8")


def image(sample: int) -> str:
    return f"images/train_{sample:03d}.png"


def task(sample: int, *annotations: dict, **data) -> dict:
    """A task of Label Studio's own export; an annotation is given by its label, choices, who, at."""
    made = []
    for one in annotations:
        value = {"choices": one.get("choices", [one.get("label")])}
        result = [
            {"from_name": "tag", "to_name": "img", "type": "choices", "value": value, "id": "x", "origin": "manual"}
        ]
        made.append(
            {
                "id": 7,
                "completed_by": one.get("who", 3),
                "result": [] if one.get("empty") else result,
                "was_cancelled": bool(one.get("skipped")),
                "ground_truth": bool(one.get("truth")),
                "created_at": "2024-05-06T07:08:09.1Z",
                "updated_at": one.get("at", "2024-05-06T07:08:10.1Z"),
                "lead_time": 2.5,
            }
        )
    data = data or {"image": f"/data/local-files/?d=somewhere/{image(sample)}"}
    return {"id": 40 + sample, "data": data, "annotations": made, "predictions": [], "project": 2}


def told(run) -> list[tuple]:
    history = open_reviews(run).history()
    rows = zip(history["sample"], history["decision"], history["new_label"].fillna(""), history["reviewer"])
    return [row for row, stands in zip(rows, history["stands"]) if stands]


def load(run, content: bytes | list, reviewer=None, name="f") -> exchange.Plan:
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    (run.path.parent / name).write_bytes(content)
    return exchange.import_file(run, run.path.parent / name, reviewer)


def refused(run, content, says: str, reviewer="ann") -> None:
    with pytest.raises(LossprintError, match=says) as error:
        load(run, content, reviewer)
    assert "\n" not in str(error.value) and open_reviews(run).history().empty
    assert not (run.path / "reviews.db").exists()


def standing(run) -> list[tuple]:
    """What each reviewer says, and what was adjudicated; without ids and times."""
    history = open_reviews(run).history()
    rows = history[history["stands"]].drop_duplicates(["sample", "reviewer", "role"], keep="last")
    kept = rows["role"].where(rows["role"] == "adjudication", "")
    columns = [rows[name].fillna("") for name in ("finding", "sample", "decision", "new_label", "reviewer", "blind")]
    return sorted(zip(*columns, kept))


# --------------------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize(("delimiter", "bom"), [(",", False), (";", True), ("\t", True)])
def test_a_plain_table_of_labels_is_decisions_of_who_is_named(run, delimiter, bom):
    rows = [
        {"note": "a;b\nc", "path": image(0), "label": "bag"},  # as given
        {"note": "", "path": image(1), "label": "shirt"},  # as suggested
        {"note": "", "path": image(4), "label": "bag"},  # another
        {"note": "", "path": image(5), "label": ""},  # says nothing
    ]
    made = load(run, table(*rows, delimiter=delimiter, bom=bom), " ann ")
    assert told(run) == [(0, "keep", "", "ann"), (1, "accept", "shirt", "ann"), (4, "relabel", "bag", "ann")]
    assert (made.rows, made.nothing, made.known) == (4, 1, 0)
    assert made.counts == {"accept": 1, "keep": 1, "relabel": 1} and made.reviewers == ["ann"]
    history = open_reviews(run).history()
    assert history["role"].tolist() == ["import"] * 3 and history["token"].notna().all()
    assert history["finding"].tolist() == ["duplicate:0", "label_error:1", "label_error:4"]


def test_decisions_reviewers_comments_and_sample_ids(run):
    rows = [
        {"sample": "5", "decision": "Exclude", "reviewer": "ann", "comment": "'=cuff", "new_label": ""},
        {"sample": "6", "decision": "unsure", "reviewer": "", "comment": "", "new_label": ""},
        {"sample": "12", "decision": "keep", "reviewer": "bob", "comment": "", "new_label": "bag"},
        {"sample": "12", "decision": "", "reviewer": "ann", "comment": "", "new_label": "coat"},
    ]
    load(run, table(*rows), "eve")
    assert told(run) == [
        (5, "exclude", "", "ann"),
        (6, "unsure", "", "eve"),
        (12, "keep", "", "bob"),
        (12, "relabel", "coat", "ann"),
    ]
    history = open_reviews(run).history()
    assert history["comment"].tolist()[0] == "=cuff" and history["finding"].tolist()[2] == "import:12"


def test_images_are_found_by_the_only_path_with_that_ending(run):
    rows = [{"path": f"C:\\scans\\images\\train_00{i}.png", "label": "bag"} for i in (0,)]
    rows += [{"path": "train_001.png", "label": "bag"}, {"path": "./images/train_002.png", "label": "bag"}]
    rows += [{"path": "https://host/x/images/train_003.png?version=1", "label": "bag"}]
    rows += [{"path": "/data/upload/3/1a2b3c4d-train_004.png", "label": "bag"}]
    load(run, table(*rows), "ann")
    assert [row[0] for row in told(run)] == [0, 1, 2, 3, 4]


def test_an_ending_that_several_paths_have_is_ambiguous(tmp_path):
    run = make_run(tmp_path, kind="folder", train=3, held_out=1)
    samples = run.samples()
    folder = samples["path"][0].rsplit("/", 1)[0]
    samples["path"] = samples["path"].mask(samples["sample"] == 1, "train/class_001/train_000.png")
    run.write_samples(samples, run.unreadable())
    refused(
        run, table({"path": "train_000.png", "label": "bag"}), "1 with an ambiguous path .*'train_000.png' in line 2"
    )
    load(run, table({"path": f"/far/{folder}/train_000.png", "label": "coat"}), "ann")
    assert told(run) == [(0, "relabel", "coat", "ann")]
    again = {"path": "other_folder/train_000.png", "label": "coat"}
    with pytest.raises(LossprintError, match="an unknown path"):
        load(run, table(again), "ann")


def test_cleanlab_rows_count_where_somebody_looked(run):
    rows = [
        {
            "path": image(1),
            "given_label": "coat",
            "predicted_label": "shirt",
            "is_label_issue": "True",
            "label": "shirt",
        },
        {"path": image(4), "given_label": "coat", "predicted_label": "bag", "is_label_issue": "True", "label": "coat"},
        {
            "path": image(5),
            "given_label": "shirt",
            "predicted_label": "shirt",
            "is_label_issue": "False",
            "label": "shirt",
        },
        {"path": image(6), "given_label": "bag", "predicted_label": "bag", "is_label_issue": "False", "label": "coat"},
    ]
    made = load(run, table(*rows), "ann")
    assert told(run) == [(1, "accept", "shirt", "ann"), (4, "keep", "", "ann"), (6, "relabel", "coat", "ann")]
    assert made.nothing == 1


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            [{"path": image(0), "label": "bag"}, {"path": "x.png", "label": "bag"}, {"path": "y.png", "label": "bag"}],
            "expected 3 decisions on samples of run in f, found 2 with an unknown path .the first: 'x.png' in line 3",
        ),
        (
            [{"path": image(0), "label": "Bag"}, {"path": "x.png", "label": "bag"}],
            "1 with an unknown label .the first: 'Bag' in line 2.; 1 with an unknown path .* 'x.png' in line 3",
        ),
        (
            [{"path": image(0), "label": "bag"}, {"path": f"a/{image(0)}", "label": "coat"}],
            "1 with a second decision of one reviewer .the first: 'sample 0' in line 3",
        ),
        ([{"path": image(0), "label": "coat", "decision": "keep"}], "1 with keep and yet another label"),
        (
            [{"path": image(0), "label": "", "decision": "relabel"}],
            "expected a label with 'relabel', found none in line 2",
        ),
        ([{"path": image(0), "label": "bag", "decision": "undo"}], "expected a decision of .*, found 'undo' in line 2"),
        ([{"sample": "999", "label": "bag"}], "1 with no known path or sample id .the first: '999' in line 2"),
        ([{"sample": "-1", "label": "bag"}], "no known path or sample id"),
        ([{"sample": "²", "label": "bag"}], "no known path or sample id"),
        (
            [{"path": image(0), "text": "bag"}],
            "expected a column path or sample and a column new, .* found 'path', 'text'",
        ),
        ([{"path": image(0), "is_label_issue": "True"}], "expected a column path or sample and a column"),
        ([{"path": "\n" * 500 + "x.png", "label": "bag"}], "an unknown path"),
    ],
)
def test_wrong_rows_are_one_line_and_nothing_is_stored(run, rows, says):
    refused(run, table(*rows), says)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "found an empty file"),
        (b"path,label\n\xff,bag\n", "expected UTF-8 text in f, found the byte 0xff"),
        (b"path,label\nx.png\n", "expected 2 cells in line 2 of f, found 1"),
        (b'path,label\n"x.png,bag\n', "expected a CSV file, found in line"),
        (b"path,label,label\nx.png,bag,bag\n", "expected one column 'label' in f, found 2"),
        (b"[1, 2]", "expected a list of Label Studio tasks, found something else .in f."),
        (b"[{]", "expected JSON in f, found"),
        (b"[" * 100_000, "expected JSON in f, found"),
        (b"[]", "expected Label Studio tasks with annotations, found none"),
        (b'{"a": 1}', "expected a list of Label Studio tasks"),
        (b'[{"data": 3, "annotations": []}]', "expected data and a list of annotations in task 1"),
        (
            b'[{"data": {}, "annotations": [3]}]',
            "expected an annotation with a list as its result in task 1, annotation 1",
        ),
    ],
)
def test_files_that_are_no_decisions(run, content, says):
    refused(run, content, says)


def test_a_decision_of_nobody_is_refused(run):
    refused(run, table({"path": image(0), "label": "bag"}), "no reviewer, in the file or named beside it", "  ")
    with pytest.raises(LossprintError, match="expected a readable file at"):
        exchange.import_file(run, run.path / "none.csv", "ann")


# ---------------------------------------------------------------------------------------------------- Label Studio


def test_label_studios_json_names_who_and_when(run):
    content = [
        task(1, {"label": "shirt", "who": {"id": 1, "email": "ann@x.org"}}, {"label": "coat", "who": 5}),
        task(4, {"label": "bag", "skipped": True}, {"empty": True}),
        task(5, {"label": "shirt", "who": {"id": 9, "email": "", "first_name": "Bo", "last_name": "B"}, "truth": True}),
        task(6),
    ]
    made = load(run, content)
    assert told(run) == [
        (1, "accept", "shirt", "ann@x.org"),
        (1, "keep", "", "Label Studio user 5"),
        (5, "keep", "", "Bo B"),
    ]
    assert made.nothing == 2
    history = open_reviews(run).history()
    assert history["comment"].tolist()[0] == "[decided 2024-05-06T07:08:10.1Z]"
    assert history["role"].tolist() == ["import", "import", "adjudication"]


def test_label_studios_json_min(run):
    shared = {"annotation_id": 1, "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-02T00:00:00Z", "id": 3}
    content = [
        {"image": f"/data/upload/1/00ff00ff-train_00{i}.png", "choice": label, "annotator": who, **shared}
        for i, label, who in ((1, "shirt", 2), (4, {"choices": ["bag"]}, "bob@x.org"), (5, None, 2))
    ]
    made = load(run, content)
    assert told(run) == [(1, "accept", "shirt", "Label Studio user 2"), (4, "relabel", "bag", "bob@x.org")]
    assert made.nothing == 1
    named = [{"photo": image(6), "kind of thing": "coat", "annotator": 2, **shared}]
    load(run, named)
    assert told(run)[-1] == (6, "relabel", "coat", "Label Studio user 2")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([task(1, {"choices": ["shirt", "bag"]})], "expected one choice in task 1, annotation 1, found 2"),
        ([task(1, {"label": "boot"})], "1 with an unknown label .the first: 'boot' in task 1, annotation 1"),
        ([task(1, {"label": "shirt"}, image="nope.png")], "1 with an unknown path .the first: 'nope.png' in task 1"),
        ([task(1, {"label": "shirt"}, text="a"), task(2)], "1 with no known path or sample id"),
        (
            [task(1, {"label": "bag"}), task(1, {"label": "coat"})],
            "a second decision of one reviewer .*'sample 1' in task 2",
        ),
    ],
)
def test_wrong_tasks_are_one_line_and_nothing_is_stored(run, content, says):
    refused(run, content, says, None)


def test_two_controls_need_a_name(run):
    one = task(1, {"label": "shirt"})
    one["annotations"][0]["result"] += [{"from_name": "quality", "type": "choices", "value": {"choices": ["good"]}}]
    refused(run, [one], "expected one control with choices, or one named label, found tag, quality")
    one["annotations"][0]["result"][0]["from_name"] = "label"
    load(run, [one])
    assert told(run) == [(1, "accept", "shirt", "Label Studio user 3")]


# ----------------------------------------------------------------------------------------------------- round trips


def much(run) -> None:
    reviews = open_reviews(run)

    def add(sample, decision, who, label=None, **more):
        finding = more.pop("finding", f"label_error:{sample}")
        reviews.add(finding=finding, sample=sample, decision=decision, reviewer=who, new_label=label, **more)

    add(1, "accept", "ann", "shirt", comment='=cuff\n"see"', blind="given", seconds=3.25)
    add(1, "keep", "bob")
    add(1, "relabel", "ann", "bag", role="adjudication")
    add(4, "relabel", "ann", "shirt")
    add(4, "relabel", "ann", "bag")  # another mind
    add(3, "exclude", "ann", finding="duplicate:0", comment="twice")
    add(5, "unsure", "=bob", finding="outlier:5")
    add(12, "keep", "ann", finding="audit:12")
    add(7, "exclude", "cay", finding="audit:7")
    reviews.undo("cay")


def test_label_studio_and_back_gives_the_same_decisions(run, other, tmp_path):
    much(run)
    labelstudio.write_tasks(run, tmp_path / "t.json")
    made = exchange.import_file(other, tmp_path / "t.json")
    assert standing(other) == standing(run)
    for rule in ("latest", "majority", "settled", "adjudicated", "reviewer:ann"):
        first, again = (resolve(open_reviews(one).history(), rule) for one in (run, other))
        columns = ["sample", "decision", "new_label", "reviewer"]
        assert first[columns].fillna("").values.tolist() == again[columns].fillna("").values.tolist()
        assert (
            export.cleaned(applied(run, apply=rule))["label"].tolist()
            == export.cleaned(applied(other, apply=rule))["label"].tolist()
        )
    assert len(made.decisions) == 7
    comments = open_reviews(other).history().set_index(["sample", "reviewer", "role"])["comment"]
    assert comments[1, "ann", "import"].startswith('=cuff\n"see" [decided 20')
    # Into the run that they came from: all are there already.
    assert exchange.import_file(run, tmp_path / "t.json").decisions == []
    # And once more around: the comments do not grow.
    labelstudio.write_tasks(other, tmp_path / "t2.json")
    assert exchange.import_file(run, tmp_path / "t2.json").decisions == []
    assert exchange.import_file(other, tmp_path / "t2.json").decisions == []


def test_a_choice_changed_in_label_studio_is_that_persons(run, other, tmp_path):
    much(run)
    content = labelstudio.tasks(run)
    one = next(task for task in content if task["data"]["sample"] == 4)["annotations"][0]
    one["result"][0]["value"]["choices"] = ["coat"]
    one["completed_by"] = {"email": "eve@x.org"}
    load(other, content)
    assert (4, "keep", "", "eve@x.org") in told(other) and not any(
        row[0] == 4 and row[3] == "ann" for row in told(other)
    )


@pytest.mark.parametrize("which", ["cleaned.csv", "cleaned.changes.csv", "tree/labels.csv", "cleanlab.csv"])
def test_our_own_tables_and_back_export_the_same(run, other, tmp_path, which):
    much(run)
    export.write_cleaned(applied(run), tmp_path / "cleaned.csv")
    export.write_cleaned(applied(run), tmp_path / "tree")
    export.write_table(applied(run), export.cleanlab, tmp_path / "cleanlab.csv")
    exchange.import_file(other, tmp_path / which)
    wanted, found = export.cleaned(applied(run)), export.cleaned(applied(other))
    if which in ("cleaned.csv", "tree/labels.csv"):  # excluded samples are not in these
        wanted, found = (one[one["path"] != image(3)] for one in (wanted, found))
    columns = ["path", "label", "change", "reviewer"]
    if which == "cleaned.changes.csv":
        columns = columns[:3]
    assert found[columns].fillna("").values.tolist() == wanted[columns].fillna("").values.tolist()
    if which in ("cleaned.csv", "cleanlab.csv"):
        assert votes(open_reviews(other).history()).set_index("sample").loc[5, "outcome"] == "unsure"
    assert exchange.import_file(other, tmp_path / which).decisions == []


def test_hostile_labels_and_names_go_round(tmp_path):
    run = make_run(tmp_path / "one", classes=NASTY, train=3, held_out=1)
    reviews = open_reviews(run)
    for sample, label in enumerate(sorted(NASTY)):
        after = NASTY[(NASTY.index(label) + 1) % len(NASTY)]
        reviews.add(
            finding="x:1", sample=sample, decision="relabel", new_label=after, reviewer="=cmd|'\"", comment="+1"
        )
    shutil.copytree(tmp_path / "one", tmp_path / "two", ignore=shutil.ignore_patterns("reviews.db*"))
    shutil.copytree(tmp_path / "one", tmp_path / "three", ignore=shutil.ignore_patterns("reviews.db*"))
    labelstudio.write_tasks(run, tmp_path / "t.json")
    export.write_cleaned(applied(run), tmp_path / "c.csv")
    for folder, file in (("two", "t.json"), ("three", "c.changes.csv")):
        again = at_home(tmp_path / folder)
        exchange.import_file(again, tmp_path / file)
        assert export.cleaned(applied(again))["label"].tolist() == export.cleaned(applied(run))["label"].tolist()
        assert set(open_reviews(again).history()["reviewer"]) == {"=cmd|'\""}


# ----------------------------------------------------------------------------------------------- stored once, undone


def test_a_file_is_stored_once_and_after_undo_again(run):
    content = table(
        {"path": image(1), "label": "shirt", "reviewer": "ann"}, {"path": image(4), "label": "bag", "reviewer": "bob"}
    )
    assert len(load(run, content).decisions) == 2
    again = load(run, content)
    assert again.decisions == [] and again.known == 2 and "2 rows stored already" in str(again)
    assert len(told(run)) == 2
    reviews = open_reviews(run)
    taken = exchange.take_back(reviews, reviews.history()["id"].tolist())
    assert sorted(row.reviewer for row in taken) == ["ann", "bob"] and told(run) == []
    assert exchange.take_back(reviews, reviews.history()["id"].tolist()) == []
    assert len(load(run, content).decisions) == 2 and len(told(run)) == 2
    assert load(run, content).decisions == [] and len(told(run)) == 2


def test_what_a_reviewer_decided_since_is_not_overwritten_by_the_same_file(run):
    content = table({"path": image(1), "label": "shirt", "reviewer": "ann"})
    load(run, content)
    open_reviews(run).add(finding="label_error:1", sample=1, decision="keep", reviewer="ann")
    assert load(run, content).decisions == [] and told(run)[-1] == (1, "keep", "", "ann")


def test_two_plans_of_one_file_store_it_once(run):
    content = table({"path": image(1), "label": "shirt", "reviewer": "ann"})
    reviews = open_reviews(run)
    plans = [exchange.plan(run, content, "f", None, reviews) for _ in range(2)]
    for one in plans:
        reviews.add_all(one.decisions)
    assert len(reviews.history()) == 1
