"""COCO files: one label an image, splits by what the images or the names say, and what is refused in one line."""

import json

import numpy as np
import pytest
from dataset_files import by_path, message, picture
from helpers import refused
from set_runs import audited_by_command, exports_as_decided

from lossprint.audit.cli import main as cli
from lossprint.audit.datasets.dataset import decode, image_reader, open_dataset
from lossprint.audit.datasets.kinds import read_source
from lossprint.audit.types import LossprintError

CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog", "supercategory": "animal"}]


def coco(path, count=6, folder="", split=None, first=0, images=True):
    """A COCO file of `count` images of values first, first + 1, ..., cats and dogs in turn, files in `folder`."""
    listed, annotations = [], []
    for k in range(count):
        listed.append({"id": 100 + k, "file_name": f"{first + k:02d}.png", "width": 4, "height": 4})
        if split:
            listed[-1]["split"] = split[k % len(split)]
        annotations.append({"id": k, "image_id": 100 + k, "category_id": (7, 3)[k % 2], "bbox": [0, 0, 1, 1]})
        if images:
            picture(path.parent / folder / f"{first + k:02d}.png", first + k)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": listed, "annotations": annotations, "categories": CATEGORIES}))
    return path


def changed(path, change):
    """The file with one change to what it holds."""
    about = json.loads(path.read_text())
    change(about)
    path.write_text(json.dumps(about))
    return path


def test_images_beside_the_file(tmp_path):
    path = coco(tmp_path / "labels.json", 20)
    dataset = open_dataset(path)
    assert (dataset.kind, dataset.root, dataset.source) == ("coco", tmp_path, str(path))
    assert dataset.classes == ["cat", "dog"]
    assert dataset.samples["path"].tolist() == [f"{k:02d}.png" for k in range(20)]
    assert dataset.samples["label"].tolist() == ["cat", "dog"] * 10
    assert dataset.samples["split"].value_counts().to_dict() == {"train": 18, "val": 2}
    assert decode(dataset, 4, workers=4)[:, 0, 0, 0].tolist() == list(range(20))
    for read in (dataset.image, image_reader(path)):
        assert np.asarray(read("03.png"))[0, 0, 0] == 3
        for bad in ("../03.png", str(tmp_path / "03.png"), "none.png"):
            with pytest.raises(LossprintError):
                read(bad)


@pytest.mark.parametrize(
    ("file", "images", "found"),
    [
        ("labels.json", "images", "images/00.png"),
        ("annotations/instances_all2020.json", "images", "images/00.png"),
        ("annotations/instances_all2020.json", "all2020", "all2020/00.png"),
        ("annotations/instances_all2020.json", "images/all2020", "images/all2020/00.png"),
        ("train/_annotations.coco.json", "train", "train/00.png"),
        ("train/labels.json", "train/images", "train/images/00.png"),
    ],
)
def test_where_images_lie(tmp_path, file, images, found):
    path = coco(tmp_path / file, images=False)
    for k in range(1, 6):  # the first one is lost
        picture(tmp_path / images / f"{k:02d}.png", k)
    source = read_source(path)
    assert source.rows["path"][0] == found and source.faults == {0: "no such file"} and source.root == tmp_path
    last = source.rows["path"][5]
    assert np.asarray(source.read(last))[0, 0, 0] == 5 == np.asarray(image_reader(path)(last))[0, 0, 0]


def test_splits_said_by_the_images(tmp_path):
    path = coco(tmp_path / "all.json", 12, split=["train", "Training", "VAL", "validation", "test", "test"])
    source = read_source(path)
    assert source.rows["split"].tolist() == ["train", "train", "val", "val", "test", "test"] * 2
    changed(path, lambda about: about["images"][3].update(split="dev"))
    assert "'dev' in images[3]" in message(path)


def test_splits_said_by_the_names(tmp_path):
    """As COCO lays them out, and Roboflow. Ids of images may be the same in each file."""
    train = coco(tmp_path / "coco" / "annotations" / "instances_train2017.json", 6, "../train2017")
    coco(tmp_path / "coco" / "annotations" / "instances_val2017.json", 4, "../val2017", first=50)
    train_too = coco(tmp_path / "flow" / "train" / "_annotations.coco.json", 6)
    coco(tmp_path / "flow" / "valid" / "_annotations.coco.json", 4)
    coco(tmp_path / "flow" / "test" / "_annotations.coco.json", 2)
    source = read_source(train)
    assert source.rows["split"].value_counts().to_dict() == {"train": 6, "val": 4}
    assert source.rows["path"][[0, 6]].tolist() == ["train2017/00.png", "val2017/50.png"]
    assert source.notes == (f"also read: {train.with_name('instances_val2017.json')} (val)",)
    assert not source.faults and np.asarray(image_reader(train)("val2017/50.png"))[0, 0, 0] == 50
    flow = read_source(train_too)
    assert flow.rows["split"].value_counts().to_dict() == {"train": 6, "val": 4, "test": 2}
    assert flow.rows["path"][[0, 6, 10]].tolist() == ["train/00.png", "valid/00.png", "test/00.png"]
    alone = read_source(train.with_name("instances_val2017.json"))  # asked for alone, it is what is trained on
    assert alone.rows["split"].tolist() == ["train"] * 4
    coco(tmp_path / "b" / "straining.json", 4)
    coco(tmp_path / "b" / "sval.json", 4)
    assert len(read_source(tmp_path / "b" / "straining.json").rows) == 4  # no such word


def test_one_label_an_image(tmp_path):
    path = coco(tmp_path / "labels.json", 8)

    def change(about):
        about["annotations"].append({"image_id": 100, "category_id": 7})  # the same again: two boxes of one class
        about["annotations"].append({"image_id": 101, "category_id": 7})  # another one
        about["annotations"] = [one for one in about["annotations"] if one["image_id"] not in (102, 103)]

    source = read_source(changed(path, change))
    assert source.rows["path"].tolist() == ["00.png", "04.png", "05.png", "06.png", "07.png"]
    assert source.notes == (
        "left out, because without an annotation: 2 of 8 images of labels.json, such as 02.png",
        "left out, because of several categories: 1 of 8 images of labels.json, such as 01.png",
    )
    changed(path, lambda about: about["annotations"].clear())
    assert "images with one category" in message(path)


def test_what_cannot_be_read_is_listed(tmp_path):
    path = coco(tmp_path / "labels.json", 12)
    (tmp_path / "02.png").write_text("no image")
    (tmp_path / "03.png").write_bytes(b"")
    (tmp_path / "04.png").unlink()
    dataset = open_dataset(path)
    assert dict(zip(dataset.unreadable["path"], dataset.unreadable["reason"])) == {
        "02.png": "not an image that Pillow can read", "03.png": "an empty file", "04.png": "no such file",
    }  # fmt: skip
    assert by_path(dataset, "sample")["05.png"] == 5


def test_fingerprint(tmp_path):
    path = coco(tmp_path / "labels.json")
    first = read_source(path).fingerprint
    assert read_source(path).fingerprint == first
    changed(path, lambda about: about["annotations"][0].update(bbox=[9, 9, 9, 9], category_id=7))
    assert read_source(path).fingerprint == first  # what is audited is the same
    changed(path, lambda about: about["annotations"][0].update(category_id=3))
    relabelled = read_source(path).fingerprint
    picture(tmp_path / "03.png", 3, (200, 200))
    assert len({first, relabelled, read_source(path).fingerprint}) == 3


BAD = {
    "found 100 again in images[2]": lambda about: about["images"][2].update(id=100),
    "found '01.png', in images[0] of labels.json and in images[1]": lambda about: about["images"][0].update(
        file_name="./01.png"
    ),
    "file_name in images[1]": lambda about: about["images"][1].update(file_name=""),
    "relative to": lambda about: about["images"][1].update(file_name="/etc/passwd.png"),
    "inside": lambda about: about["images"][1].update(file_name="../x.png"),
    "a split as text": lambda about: about["images"][1].update(split=3),
    "id as a whole number or text in images[0]": lambda about: about["images"][0].pop("id"),
    "in annotations[5]": lambda about: about["annotations"][5].update(category_id=None),
    "found 999, which is none": lambda about: about["annotations"][0].update(image_id=999),
    "found 5, which is none": lambda about: about["annotations"][0].update(category_id=5),
    "found True": lambda about: about["annotations"][0].update(category_id=True),
    "the name 'cat' again": lambda about: about["categories"][1].update(name="cat"),
    "the id 7 again": lambda about: about["categories"][1].update(id=7),
    "a name in categories[0]": lambda about: about["categories"][0].pop("name"),
    "found 'x'": lambda about: about["categories"].append("x"),
    "found 'images', 'annotations'": lambda about: about.pop("categories"),
    "lists of images": lambda about: about.update(images={}),
}


@pytest.mark.parametrize("said", BAD)
def test_bad_files(tmp_path, said):
    path = coco(tmp_path / "labels.json")
    changed(path, BAD[said])
    found = message(path)
    assert said in found and "labels.json" in found, found


def test_no_json(tmp_path):
    for text in (b"", b"{", b"[1]", b"null", b"\xff\xfe", b"[" * 200_000):
        (tmp_path / "labels.json").write_bytes(text)
        assert "labels.json" in message(tmp_path / "labels.json"), text


def test_links_that_lead_outside_are_refused(tmp_path):
    path = coco(tmp_path / "data" / "labels.json")
    picture(tmp_path / "secret.png")
    (tmp_path / "data" / "02.png").unlink()
    (tmp_path / "data" / "02.png").symlink_to(tmp_path / "secret.png")
    assert "'02.png', which leads out of it, in images[2] of labels.json" in message(path)


def test_audit_and_exports(tmp_path, capsys):
    path = coco(
        tmp_path / "data" / "labels.json", 32, "images", split=["train", "train", "train", "train", "val", "val"]
    )
    run = audited_by_command(str(path), tmp_path / "run")
    assert run.manifest["dataset"]["kind"] == "coco"
    exports_as_decided(run, str(path), tmp_path)
    assert "found a COCO file" in refused(capsys, "export", "manifest", run.path, "--out", tmp_path / "m.csv")
    half = ["export", "coreset", str(run.path), "--method", "random", "--fraction", "0.5"]
    listed = tmp_path / "data" / "half.csv"
    assert cli.main([*half, "--out", str(tmp_path / "ids.csv"), "--manifest", str(listed)]) == 0
    assert open_dataset(listed).samples["path"].str.startswith("images/").all()
    images = tmp_path / "data" / "images"
    assert "outside the dataset's own" in refused(capsys, "export", "cleaned", run.path, "--out", images / "clean")
