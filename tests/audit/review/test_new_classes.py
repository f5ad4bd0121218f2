"""A class that a reviewer adds: in exports, counts and a training of it, and gone when it is taken back."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from helpers import at_home, make_run
from PIL import Image

import lossprint
from lossprint.audit.check import bank
from lossprint.audit.comparison.cleaned import read_cleaned
from lossprint.audit.comparison.summary import Summary, by_class
from lossprint.audit.export import exchange, export, labelstudio
from lossprint.audit.export.applied import applied
from lossprint.audit.export.coco import write_coco
from lossprint.audit.report import facts, tables
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.types import LossprintError
from lossprint.scoring.coresets.gradients import errors


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made")).path.parent


@pytest.fixture
def run(made, tmp_path):
    return at_home(shutil.copytree(made, tmp_path / "home"))


def add(run, sample: int, label: str, new: bool = True, who: str = "ann") -> None:
    how = {"finding": f"import:{sample}", "sample": sample, "decision": "relabel", "reviewer": who}
    open_reviews(run).add(**how, new_label=label, new_class=new)


def test_a_new_class_is_there_while_a_decision_gives_it(run):
    known = list(run.classes)
    with pytest.raises(LossprintError, match="expected one of the run's"):
        add(run, 0, "zebra", new=False)
    add(run, 0, "zebra")
    add(run, 7, "zebra", new=False)  # it is known by now
    add(run, 2, "an ox")
    assert open_reviews(run).classes() == [*known, "an ox", "zebra"]
    assert open_reviews(run).undo("ann").sample == 2
    assert open_reviews(run).classes() == [*known, "zebra"]
    assert [open_reviews(run).undo("ann").sample for _ in range(2)] == [7, 0]
    assert open_reviews(run).classes() == known == open_reviews(run).run.classes


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "in signs that can be seen"),
        ("a\tb", "in signs that can be seen"),
        ("\u202ezebra", "in signs that can be seen"),
        ("\u200b", "in signs that can be seen"),
        (" zebra", "in signs that can be seen"),
        ("z" * 101, "at most 100 characters, found 101"),
        ("BAG", "like no other, found 'BAG', which is like 'bag'"),
        ("b\uff41g", "which is like 'bag'"),
    ],
)
def test_a_slip_is_no_class(run, name, says):
    with pytest.raises(LossprintError, match=says) as caught:
        add(run, 0, name)
    assert "\n" not in str(caught.value)
    assert open_reviews(run).history().empty


def test_every_export_has_it_and_undo_removes_it(run, tmp_path):
    add(run, 0, "zebra/½")
    add(run, 41, "zebra/½")  # a validation or test sample
    decisions = applied(run)
    written = export.write_cleaned(decisions, tmp_path / "tree")
    assert written.relabelled == 2
    labels = pd.read_csv(tmp_path / "tree" / "labels.csv")
    mine = labels[labels["label"] == "zebra/½"]
    assert len(mine) == 2 and all((tmp_path / "tree" / path).is_file() for path in mine["path"])
    Image.open(tmp_path / "tree" / mine["path"].iloc[0]).verify()
    write_coco(decisions, tmp_path / "coco.json")
    names = [one["name"] for one in json.loads((tmp_path / "coco.json").read_text())["categories"]]
    assert names == [*run.classes, "zebra/½"]
    labelstudio.write_tasks(run, tmp_path / "tasks.json")
    assert 'value="zebra/½"' in (tmp_path / "tasks.xml").read_text()
    parts = {
        split: lossprint.open_run(run.path).cleaned().as_dataset(split=split) for split in ("train", "val", "test")
    }
    assert {tuple(part.classes) for part in parts.values()} == {(*run.classes, "zebra/½")}
    assert sum(part.targets.count(len(run.classes)) for part in parts.values()) == 2
    rows, _ = tables.changed_classes(facts.gather(run, open_reviews(run)))
    assert next(row for row in rows if "zebra" in row[0])[1:] == [0, 0, "+2", 0, 2]
    open_reviews(run).undo("ann")
    open_reviews(run).undo("ann")
    export.write_cleaned(applied(run), tmp_path / "after")
    assert not any("zebra" in str(path) for path in (tmp_path / "after").rglob("*"))
    write_coco(applied(run), tmp_path / "coco.json")
    assert len(json.loads((tmp_path / "coco.json").read_text())["categories"]) == len(run.classes)


def annotation(label: str, who: int, control: str = "choice", at: str = "") -> dict:
    result = [{"from_name": control, "to_name": "image", "type": "choices", "value": {"choices": [label]}}]
    return {"completed_by": who, "result": result, **({"updated_at": at} if at else {})}


def task(sample: int, *annotations: dict) -> dict:
    return {"data": {"image": f"/data/upload/images/train_{sample:03d}.png"}, "annotations": list(annotations)}


def flat(sample: int, label: str, control: str) -> dict:
    about = {
        "image": f"/x/images/train_{sample:03d}.png",
        "annotator": 3,
        "annotation_id": sample,
        "created_at": "2026-01-01",
    }
    return about | {control: label}


@pytest.mark.parametrize(
    "content",
    [
        [task(2, annotation("zebra", 1)), task(7, annotation("zebra", 1), annotation("bag", 1, at="2026-01-02"))],
        [task(2, annotation("zebra", 1, "label")), task(7, annotation("zebra", 2, "label"))],
        [task(2, annotation("zebra", 1, "what")), task(7, annotation("bag", 1, "what"))],
        [task(2, annotation("zebra", 1), annotation("zebra", 1)), task(7, annotation("bag", 2))],
        [flat(2, "zebra", "choice"), flat(7, "bag", "choice")],
        [flat(2, " zebra ", "kind"), flat(7, "bag", "kind")],
    ],
)
def test_a_new_class_in_label_studios_file_is_taken(run, content, tmp_path):
    content[1].setdefault("annotations", [])
    file = tmp_path / "project.json"
    if "annotations" in content[1] and len(content[1]["annotations"]) == 2:  # one annotator twice, the later counts
        content[1]["annotations"][0]["updated_at"] = "2026-01-01"
    file.write_text(json.dumps([{key: one[key] for key in one if one[key] != []} for one in content]))
    plan = exchange.import_file(run, file)
    assert plan.new_classes == ("zebra",) and "; 1 new class: 'zebra'" in str(plan)
    assert open_reviews(run).classes() == [*run.classes, "zebra"]
    assert exchange.import_file(run, file).decisions == []
    history = open_reviews(run).history()
    exchange.take_back(open_reviews(run), history["id"].tolist())
    assert open_reviews(run).classes() == run.classes


def test_what_may_be_no_label_at_all_is_refused_unless_said(run, tmp_path):
    file = tmp_path / "quality.json"
    file.write_text(json.dumps([task(2, annotation("good", 1, "quality"))]))
    with pytest.raises(LossprintError, match=r"1 with an unknown label .*; labels that are new classes are taken with"):
        exchange.import_file(run, file)
    assert exchange.import_file(run, file, new_classes=True).new_classes == ("good",)
    table = tmp_path / "typed.csv"
    table.write_text("path,label\nimages/train_007.png,shrit\nimages/train_002.png,Shrit\n")
    with pytest.raises(LossprintError, match="2 with an unknown label"):
        exchange.import_file(run, table, "bob")
    with pytest.raises(LossprintError, match=r"1 with a label that can be no class .*'Shrit', which is like 'shrit'"):
        exchange.import_file(run, table, "bob", new_classes=True)


def test_what_trains_and_compares_knows_it(run, tmp_path):
    add(run, 0, "zebra")
    add(run, 7, run.classes[0] if run.classes[0] != "bag" else "coat")
    export.write_cleaned(applied(run), tmp_path / "cleaned.csv")
    cleaned = read_cleaned(run, tmp_path / "cleaned.csv")
    assert cleaned.classes == [*run.classes, "zebra"] and cleaned.decided[0] == len(run.classes)
    known, train = bank.known_of(run), int((cleaned.split == "train").sum())
    assert len(known.labels) == train - 1 and known.labels.min() >= 0  # all but the one of a class that it cannot have
    right = {arm: np.array([[True, True]]) for arm in ("given", "cleaned")}
    table = by_class(Summary("val", "cleaned", np.array([0, 2]), [0], right, {}), ["a", "b"])
    assert table["class"].tolist() == ["a", "class 3 of then"]
    p = errors(np.eye(3, dtype=np.float32), np.array([0, -1, 2]), np.eye(3, dtype=np.float32), np.zeros(3))
    assert p[1].min() > 0 and p[1].sum() == pytest.approx(1) and p[2, 2] < 0
