"""Class folders and manifests become samples; bad ones are refused with one clear line."""

import pandas as pd
import pytest
from dataset_files import FOUR, by_path, folder, manifest, message, picture

from lossprint.audit.datasets.dataset import open_dataset
from lossprint.audit.system.csvfile import write_csv

# ------------------------------------------------------------------------------------------------- class folders


def test_class_folders(tmp_path):
    dataset = open_dataset(folder(tmp_path))
    assert (dataset.kind, dataset.root, dataset.source) == ("folder", tmp_path, str(tmp_path))
    assert dataset.classes == ["cat", "dog"]
    assert dataset.samples["path"].tolist() == [f"{name}/{k:02d}.png" for name in ("cat", "dog") for k in range(10)]
    assert dataset.samples["sample"].tolist() == list(range(20))
    assert dataset.samples["label"].tolist() == ["cat"] * 10 + ["dog"] * 10
    assert dataset.samples["split"].value_counts().to_dict() == {"train": 18, "val": 2}
    assert dataset.samples.dtypes.astype(str).to_dict() | {"path": 0, "label": 0, "split": 0} == {
        "sample": "int64", "path": 0, "label": 0, "split": 0, "sequence": "string", "frame": "Int64",
    }  # fmt: skip
    assert dataset.samples[["sequence", "frame"]].isna().all(axis=None)
    assert dataset.unreadable.empty and list(dataset.unreadable) == ["path", "reason"]


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "VALIDATION", "Testing"), ("train", "valid", "test")]
)
def test_splits_above_class_folders(tmp_path, names):
    for name in names:
        folder(tmp_path / name, per_class=2)
    dataset = open_dataset(tmp_path)
    for name, split in zip(names, ("train", "val", "test")):
        rows = dataset.samples[dataset.samples["split"] == split]
        assert set(rows["path"]) == {f"{name}/{label}/{k:02d}.png" for label in ("cat", "dog") for k in range(2)}
    assert dataset.classes == ["cat", "dog"]
    assert dataset.notes == []


def test_nested_files_belong_to_their_class_folder(tmp_path):
    folder(tmp_path, per_class=2)
    picture(tmp_path / "cat" / "shoot 1" / "close" / "z.png")
    assert by_path(open_dataset(tmp_path), "label")["cat/shoot 1/close/z.png"] == "cat"


def test_classes_may_be_called_train_and_test(tmp_path):
    dataset = open_dataset(folder(tmp_path, 3, ("bus", "train", "test")))
    assert dataset.classes == ["bus", "test", "train"]
    (tmp_path / "train" / "steam").mkdir()
    picture(tmp_path / "train" / "steam" / "x.png")
    assert "bus as well" in message(tmp_path)


def test_what_is_no_image_is_passed_over(tmp_path):
    folder(tmp_path, per_class=2)
    for name in ("cat/.DS_Store", "cat/Thumbs.db", "cat/._00.png", ".cache/cat/x.png", "cat/readme.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("?")
    picture(tmp_path / "loose.png")
    dataset = open_dataset(tmp_path)
    assert len(dataset.samples) == 4 and dataset.unreadable.empty
    assert dataset.notes[:2] == [
        "left out, because in no class folder: 1 of 5 images, such as loose.png",
        "passed over, because no images by their extension: 1 of 6 files (1 .txt)",
    ]


def test_classes_are_sorted_as_imagefolder_sorts_them(tmp_path):
    """By name, also where that puts 10 before 9: logits of a loop over ImageFolder then have the run's order."""
    assert open_dataset(folder(tmp_path / "a", 2, ("10", "9", "1"))).classes == ["1", "10", "9"]
    assert open_dataset(folder(tmp_path / "b", 2, ("x10", "x9", "a"))).classes == ["a", "x10", "x9"]


# ------------------------------------------------------------------------------------------------- manifests


def test_manifest_columns(tmp_path):
    text = "\ufefflabel,extra,path,frame,split,sequence\n007,!,a.png,3,Training,s 1\n007,!,b.png,4.0,VALID,s 3\n"
    text += "NA,!,c.png,,train,\n\nNA,!,./d.png,-2,validation,s 2\n"
    dataset = open_dataset(manifest(tmp_path, text))
    assert dataset.kind == "manifest" and dataset.root == tmp_path
    assert dataset.samples["path"].tolist() == ["a.png", "b.png", "c.png", "./d.png"]
    assert dataset.samples["label"].tolist() == ["007", "007", "NA", "NA"]
    assert dataset.samples["split"].tolist() == ["train", "val", "train", "val"]
    assert dataset.samples["sequence"].fillna("-").tolist() == ["s 1", "s 3", "-", "s 2"]
    assert dataset.samples["frame"].fillna(-9).tolist() == [3, 4, -9, -2]
    assert dataset.classes == ["007", "NA"]


def test_parquet_manifest_reads_like_csv(tmp_path):
    manifest(tmp_path, FOUR)
    frame = pd.DataFrame({"path": [f"{name}.png" for name in "abcd"], "label": [7, 7, 10, 10]})
    frame["frame"] = [1.0, None, 3.0, 4.0]
    frame["split"] = pd.Categorical(["train", "val", "train", "val"])
    frame.to_parquet(tmp_path / "labels.parquet")
    dataset = open_dataset(tmp_path / "labels.parquet")
    assert dataset.samples["label"].tolist() == ["7", "7", "10", "10"]
    assert dataset.samples["frame"].fillna(-9).tolist() == [1, -9, 3, 4]
    assert dataset.samples["split"].tolist() == ["train", "val", "train", "val"]
    assert dataset.classes == ["10", "7"]


def test_a_csv_of_ours_comes_back_as_it_was(tmp_path):
    names = ["=1+1.png", "@x.png", "'=y.png", "plain.png"]
    for name in names:
        picture(tmp_path / name)
    frame = pd.DataFrame({"path": names, "label": ["-a", "-a", "'s", "'s"], "sequence": ["+1", None, "'", "''=a"]})
    write_csv(frame, tmp_path / "out.csv")
    samples = open_dataset(tmp_path / "out.csv").samples
    assert samples["path"].tolist() == names
    assert samples["label"].tolist() == frame["label"].tolist()
    assert samples["sequence"].fillna("").tolist() == ["+1", "", "'", "''=a"]


def test_frames_missing_doubled_and_out_of_order_are_said(tmp_path):
    rows = [("u", 0), ("u", 2), ("u", 4), ("u", 10), ("v", 5), ("v", 3), ("v", 4), ("v", "")]
    text = "path,label,split,sequence,frame\n"
    split = {"u": "train", "v": "val"}
    text += "".join(f"{at}.png,{'xy'[at % 2]},{split[name]},{name},{frame}\n" for at, (name, frame) in enumerate(rows))
    notes = open_dataset(manifest(tmp_path, text, "01234567")).notes
    assert notes == [
        "1 frames of sequences without a number, such as in line 9 ('v'): they have no place in time",
        "rows that are not in the order of their frames, such as frame 3 of 'v' in line 7: the numbers count, not the "
        "rows",
        "1 gaps between frames, such as from 4 to 10 of 'u' (every 2 is usual there)",
    ]
    twice = message(manifest(tmp_path, text.replace("v,4", "v,5")))
    assert "expected each frame of a sequence once, found frame 5 of 'v' in line 6 and in line 8" in twice
    torn = message(manifest(tmp_path, text.replace("3.png,y,train", "3.png,y,val")))
    assert "expected each sequence in one split, found 'u' in train (line 2) and in val (line 5)" in torn


# ------------------------------------------------------------------------------------------------- bad input


BAD_MANIFESTS = {
    "path,klass\na.png,x\n": ["column 'label'", "'path', 'klass'"],
    "file;label\na.png;x\n": ["column 'path'", "'file', 'label'"],
    "label\nx\n": ["column 'path'"],
    "path,label,label\na.png,x,y\n": ["one column 'label'", "found 2"],
    "": ["empty file"],
    "path,label\n": ["no rows"],
    "path,label\na.png,x\nb.png\n": ["2 cells", "line 3", "found 1"],
    "path,label\na.png,x\nb.png,y,z\n": ["2 cells", "line 3", "found 3"],
    'path,label\na.png,"x\nb.png,y\n': ["CSV", "line"],
    "path,label\na.png,x\nb.png, \n": ["two classes", "only 'x'"],
    "path,label\n,x\n,y\n": ["a path in the rows", "empty cell in line 2"],
    "path,label\na.png,x\nb.png,y\n./a.png,y\n": ["each path once", "'./a.png'", "line 2 of", "in line 4"],
    "path,label,split\na.png,x,train\nb.png,x,dev\n": ["train, val, test", "validation", "'dev' in line 3"],
    "path,label,frame\na.png,x,1\nb.png,x,1.5\n": ["whole number", "'1.5' in line 3"],
    "path,label,frame\na.png,x,one\n": ["whole number", "'one' in line 2"],
    "path,label\na.png,x\n../b.png,x\n": ["inside", "'../b.png'", "line 3"],
    "path,label\na.png,x\nsub/../../b.png,x\n": ["inside", "line 3"],
    "path,label\na.png,x\n/etc/passwd,x\n": ["relative", "'/etc/passwd'", "line 3"],
    "path,label\na.png,x\n..,x\n": ["inside", "'..'", "line 3"],
    "path,label\na.png,x\nb.png,x\n": ["two classes", "only 'x'"],
    "path,label\na.png,x\nb.png,x\nc.png,y\nd.png,z\n": ["two or more readable samples", "classes 'y', 'z'"],
    "path,label,split\na.png,x,train\nb.png,x,val\nc.png,y,train\nd.png,y,test\n": ["fewer of class 'y'"],
    "path,label,split\na.png,x,val\nb.png,x,val\n": ["training samples"],
    "path,label\nno.png,x\nnone.png,y\n": ["can be read", "none among 2", "'no.png': no such file"],
}


@pytest.mark.parametrize("text", BAD_MANIFESTS)
def test_bad_manifest(tmp_path, text):
    path = manifest(tmp_path, text)
    found = message(path)
    for part in [*BAD_MANIFESTS[text], "labels.csv"]:
        assert part in found, found


def test_bad_manifest_files(tmp_path):
    (tmp_path / "utf16.csv").write_bytes(FOUR.encode("utf-16") + b"x")
    assert "UTF-16" in message(tmp_path / "utf16.csv")
    (tmp_path / "cyrillic.csv").write_bytes("path,label\na.png,кот\n".encode("cp1251"))
    assert "found the byte 0xea" in message(tmp_path / "cyrillic.csv")
    (tmp_path / "text.parquet").write_text(FOUR)
    assert "readable Parquet" in message(tmp_path / "text.parquet")
    pd.DataFrame({"path": ["a.png"], "kind": ["x"]}).to_parquet(tmp_path / "bare.parquet")
    assert "column 'label'" in message(tmp_path / "bare.parquet")
    pd.DataFrame({"path": ["a.png", None], "label": ["x", "y"]}).to_parquet(tmp_path / "hole.parquet")
    assert "none among 1 ('a.png'" in message(tmp_path / "hole.parquet")  # the row without a path is left out
    pd.DataFrame({"path": ["a.png"], "label": [[1, 2]]}).to_parquet(tmp_path / "nested.parquet")
    assert "readable Parquet" in message(tmp_path / "nested.parquet")
    (tmp_path / "labels.xlsx").touch()
    assert ".csv" in message(tmp_path / "labels.xlsx")


def test_links_that_lead_outside_are_refused(tmp_path):
    root = tmp_path / "data"
    path = manifest(root, FOUR.replace("d.png", "link.png"))
    picture(tmp_path / "secret.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    assert "'link.png', which leads out of it, in line 5" in message(path)
    (root / "link.png").unlink()
    (root / "link.png").symlink_to(root / "d.png")  # inside is fine
    assert open_dataset(path).unreadable.empty
    (root / "sub").symlink_to(tmp_path)
    path.write_text(FOUR + "sub/secret.png,x\n")
    assert "'sub/secret.png', which leads out of it, in line 6" in message(path)


def test_links_in_class_folders(tmp_path):
    root = folder(tmp_path / "data", 2)
    picture(tmp_path / "else" / "secret.png")
    (root / "cat" / "secret.png").symlink_to(tmp_path / "else" / "secret.png")
    assert "'cat/secret.png', which leads out of it" in message(root)
    (root / "cat" / "secret.png").unlink()
    (root / "bird").symlink_to(tmp_path / "else")
    assert "found a link at" in message(root) and "bird" in message(root)


def test_bad_folders(tmp_path):
    assert "found nothing at" in message(tmp_path / "none") and "none" in message(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "found none" in message(tmp_path / "empty")
    for k in range(3):
        picture(tmp_path / "flat" / f"{k}.png")
    assert "class folders" in message(tmp_path / "flat") and "3 images" in message(tmp_path / "flat")
    (tmp_path / "flat" / "labels.csv").touch()
    assert f"did you mean the manifest {tmp_path / 'flat' / 'labels.csv'}?" in message(tmp_path / "flat")
    assert "only 'cat'" in message(folder(tmp_path / "one", 3, ("cat",)))
    folder(tmp_path / "single", 3, ("cat",))
    picture(tmp_path / "single" / "bird" / "x.png")
    assert "fewer of class 'bird'" in message(tmp_path / "single")
    folder(tmp_path / "no train" / "val")
    assert "expected a train folder" in message(tmp_path / "no train")
    for file in folder(tmp_path / "broken", 2).rglob("*.png"):
        file.write_text("no image")
    assert "none among 4 ('cat/00.png': not an image that Pillow can read)" in message(tmp_path / "broken")
    folder(tmp_path / "a demo" / "images", 3, ("x",))
    (tmp_path / "a demo" / "labels.csv").touch()
    assert "did you mean" in message(tmp_path / "a demo")
