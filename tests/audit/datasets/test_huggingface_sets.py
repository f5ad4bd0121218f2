"""hf:PLACE, with the library itself: what it saved on disk, and what it loads from a folder as from the hub."""

import os
import sys

import numpy as np
import pandas as pd
import pytest
from dataset_files import by_path, message, picture, png
from helpers import refused
from PIL import Image
from set_runs import audited_by_command, exports_as_decided, snippets_of

os.environ["HF_HUB_OFFLINE"] = "1"  # before the library is imported: the tests reach no network

import datasets as library
from datasets import ClassLabel, Features, Value

from lossprint.audit.datasets import kinds
from lossprint.audit.datasets.dataset import decode, image_reader, open_dataset
from lossprint.audit.datasets.kinds import open_reader, read_source
from lossprint.audit.datasets.media import TEXTS
from lossprint.audit.types import LossprintError

library.disable_progress_bars()
IMAGES = Features({"image": library.Image(), "label": ClassLabel(names=["cat", "dog"])})


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Arrow files of load_dataset go to a temporary folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", folder)
    monkeypatch.setattr(library.config, "DOWNLOADED_DATASETS_PATH", folder / "downloads")


def rows_of(count, first=0, features=IMAGES):
    """`count` images of values first, first + 1, ..., cats and dogs in turn."""
    cells = [{"bytes": png(first + k), "path": f"{k}.png"} for k in range(count)]
    return library.Dataset.from_dict({"image": cells, "label": [k % 2 for k in range(count)]}, features=features)


@pytest.fixture
def saved(tmp_path):
    """12 training, 4 validation and 4 test images; the value of image k of a split is k, 100 + k, 200 + k."""
    parts = {"train": rows_of(12), "validation": rows_of(4, 100), "test": rows_of(4, 200)}
    library.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    return f"hf:{tmp_path / 'saved'}"


def test_saved_to_disk(saved, tmp_path):
    dataset = open_dataset(saved)
    assert (dataset.kind, dataset.root, dataset.source) == ("huggingface", tmp_path / "saved", saved)
    assert dataset.classes == ["cat", "dog"] and dataset.notes == []
    assert dataset.samples["sample"].tolist() == list(range(20))
    assert dataset.samples["path"][[0, 11, 12, 19]].tolist() == [
        "train/000000",
        "train/000011",
        "val/000000",
        "test/000003",
    ]
    assert dataset.samples["split"].value_counts().to_dict() == {"train": 12, "val": 4, "test": 4}
    assert dataset.samples["label"].tolist() == ["cat", "dog"] * 10
    values = [*range(12), *range(100, 104), *range(200, 204)]
    assert decode(dataset, 4)[:, 0, 0, 0].tolist() == values
    assert decode(dataset, 4, workers=4).tolist() == decode(dataset, 4, workers=1).tolist()
    for read in (dataset.image, image_reader(saved)):
        assert np.asarray(read("test/000002")).tolist() == np.full((4, 4, 3), 202).tolist()
        for bad in ("test/000004", "test/2", "dev/000000", "train/-00001", "train/x", "../state.json", ""):
            with pytest.raises(LossprintError, match="SPLIT/NUMBER"):
                read(bad)


def test_pixels_and_labels_are_the_library_s_own(saved, tmp_path):
    dataset = open_dataset(saved)
    theirs = library.load_from_disk(str(tmp_path / "saved"))
    for ours, split in (("train", "train"), ("val", "validation"), ("test", "test")):
        names = theirs[split].features["label"].names
        for row, example in enumerate(theirs[split]):
            path = f"{ours}/{row:06d}"
            assert by_path(dataset, "label")[path] == names[example["label"]]
            assert np.array_equal(np.asarray(dataset.image(path)), np.asarray(example["image"].convert("RGB")))


def test_fingerprint(saved, tmp_path):
    first = read_source(saved).fingerprint
    assert read_source(saved).fingerprint == first
    os.rename(tmp_path / "saved", tmp_path / "moved")
    assert read_source(f"hf:{tmp_path / 'moved'}").fingerprint == first
    other = library.Dataset.from_dict({"image": [{"bytes": png(9)}] * 12, "label": [0, 1] * 6}, features=IMAGES)
    other.save_to_disk(tmp_path / "other")
    flipped = library.Dataset.from_dict({"image": [{"bytes": png(9)}] * 12, "label": [1, 0] * 6}, features=IMAGES)
    flipped.save_to_disk(tmp_path / "flipped")
    marks = [read_source(f"hf:{tmp_path / name}").fingerprint for name in ("other", "flipped")]
    assert len({first, *marks}) == 3


def test_parquet_in_a_folder_as_on_the_hub(tmp_path):
    """The name hf:owner/name takes the same way, through load_dataset."""
    root = tmp_path / "owner" / "name"
    root.mkdir(parents=True)
    rows_of(8).to_parquet(root / "train-00000-of-00001.parquet")
    rows_of(4, 100).to_parquet(root / "validation-00000-of-00001.parquet")
    source = read_source(f"hf:{root}")
    assert source.rows["split"].value_counts().to_dict() == {"train": 8, "val": 4}
    assert source.rows["label"].tolist() == ["cat", "dog"] * 6
    assert np.asarray(source.read("val/000003"))[0, 0, 0] == 103
    assert read_source(f"hf:{root}").fingerprint == source.fingerprint
    rows_of(4, 50).to_parquet(root / "validation-00000-of-00001.parquet")
    bigger = library.Dataset.from_dict({"image": [{"bytes": png(3, (9, 9))}] * 8, "label": [0, 1] * 4}, features=IMAGES)
    bigger.to_parquet(root / "train-00000-of-00001.parquet")
    assert read_source(f"hf:{root}").fingerprint != source.fingerprint


def test_a_name_of_the_hub_is_handed_on(tmp_path, monkeypatch):
    """What would be downloaded comes from a folder here; what is asked for is what the library gets."""
    asked, real = [], library.load_dataset
    root = tmp_path / "there"
    root.mkdir()
    rows_of(8).to_parquet(root / "train.parquet")
    monkeypatch.chdir(tmp_path)

    def load(path, name=None, **options):
        asked.append((path, name, options))
        return real(str(root))

    monkeypatch.setattr(library, "load_dataset", load)
    source = read_source("hf:owner/the.name:revision=v1:config=plain_text")
    assert source.name == "hf:owner/the.name:revision=v1:config=plain_text" and len(source.rows) == 8
    assert asked == [("owner/the.name", "plain_text", {"revision": "v1", "trust_remote_code": False})]
    assert kinds.absolute("hf:owner/the.name:label=x") == "hf:owner/the.name:label=x"
    assert kinds.absolute("hf:there:label=x") == f"hf:{tmp_path}/there:label=x"


def test_class_folders_of_images(tmp_path):
    """The library keeps their paths, not their bytes."""
    for label in ("cat", "dog"):
        for k in range(3):
            picture(tmp_path / "set" / "train" / label / f"{k}.png", k + 10 * (label == "dog"))
        picture(tmp_path / "set" / "test" / label / "0.png", 99)
    source = read_source(f"hf:{tmp_path / 'set'}")
    assert source.rows["label"].tolist() == ["cat"] * 3 + ["dog"] * 3 + ["cat", "dog"]
    assert [np.asarray(source.read(path))[0, 0, 0] for path in source.rows["path"]] == [0, 1, 2, 10, 11, 12, 99, 99]
    (tmp_path / "set" / "train" / "dog" / "1.png").unlink()
    with pytest.raises(LossprintError, match="no file of the dataset"):
        source.read("train/000004")


def test_paths_that_lead_elsewhere_show_nothing(tmp_path):
    """A dataset may come from strangers and name any file of this machine."""
    picture(tmp_path / "secret.png", 77)
    root = tmp_path / "set"
    root.mkdir()
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    cells = [{"bytes": None, "path": str(tmp_path / "secret.png")}, {"bytes": None, "path": "../secret.png"}]
    cells += [{"bytes": None, "path": "link.png"}, {"bytes": None, "path": None}, {"bytes": b"", "path": None}]
    cells += [{"bytes": png(k), "path": None} for k in range(7)]
    frame = pd.DataFrame({"image": cells, "label": ["x", "y"] * 6})
    frame.to_parquet(root / "train.parquet")  # no word of the library in it: a plain struct
    source = read_source(f"hf:{root}")
    assert {at: text.split(",")[0] for at, text in source.faults.items()} == {
        0: "no bytes in this row", 1: "no bytes in this row", 2: "no bytes in this row", 3: "no image in this row",
        4: "an empty file",
    }  # fmt: skip
    read = open_reader(f"hf:{root}").read
    for row in range(4):
        with pytest.raises(LossprintError):
            read(f"train/{row:06d}")
    assert np.asarray(read("train/000005"))[0, 0, 0] == 0


def test_one_bad_image_is_listed_and_the_rest_read(tmp_path, monkeypatch):
    cells = [{"bytes": png(k), "path": None} for k in range(12)]
    cells[2] = {"bytes": b"no image", "path": "2.png"}
    cells[5] = {"bytes": png(5)[:40], "path": "5.png"}
    cells[7] = {"bytes": png(7, (300, 300)), "path": "7.png"}
    made = library.Dataset.from_dict({"image": cells, "label": [k % 2 for k in range(12)]}, features=IMAGES)
    made.save_to_disk(tmp_path / "saved")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 80_000)
    dataset = open_dataset(f"hf:{tmp_path / 'saved'}")
    assert dataset.unreadable["path"].tolist() == ["train/000002", "train/000005", "train/000007"]
    assert dataset.unreadable["reason"][0] == "not an image that Pillow can read"
    assert "decompression bomb" in dataset.unreadable["reason"][2]
    assert len(dataset.samples) == 9
    assert any(note.startswith("3 of 12 images could not be read: ") for note in dataset.notes)


# ------------------------------------------------------------------------------------------------- columns and splits


def test_columns_are_named_where_they_must_be(tmp_path):
    features = Features({
        "img": library.Image(), "mask": library.Image(), "fine_label": ClassLabel(names=["a", "b"]),
        "coarse_label": ClassLabel(names=["u", "v"]), "caption": Value("string"),
    })  # fmt: skip
    cells = [{"bytes": png(k)} for k in range(8)]
    table = {"img": cells, "mask": cells[::-1], "fine_label": [0, 1] * 4, "coarse_label": [0, 0, 1, 1] * 2}
    library.Dataset.from_dict(table | {"caption": [f"c{k // 2}" for k in range(8)]}, features=features).save_to_disk(
        tmp_path / "saved"
    )
    name = f"hf:{tmp_path / 'saved'}"
    assert "found img, mask: name one, as in :image=img" in message(name)
    assert ":label=fine_label" in message(f"{name}:image=img")
    assert read_source(f"{name}:image=img:label=coarse_label").rows["label"].tolist() == ["u", "u", "v", "v"] * 2
    assert read_source(f"{name}:label=caption:image=img").rows["label"].tolist()[:3] == ["c0", "c0", "c1"]
    assert np.asarray(image_reader(f"{name}:label=fine_label:image=mask")("train/000000"))[0, 0, 0] == 7
    for bad, said in {
        ":imge=img": "'imge=img'", ":image=": "'image='", ":image=img:image=mask": "'image=mask'",
        ":image=caption": "caption (string)", ":image=none": "img (Image)",
        ":image=img:label=mask": "coarse_label (ClassLabel)", ":text=no": "the column no",
        ":config=plain": "of the hub only", ":image=img:label=caption:val=dev": "there are train",
    }.items():  # fmt: skip
        assert said in message(name + bad), message(name + bad)


def test_labels_by_name_and_rows_without(tmp_path):
    """Whole numbers and text under a usual name; -1 and nothing stand for no label, as in the test splits of GLUE."""
    cells = [{"bytes": png(k)} for k in range(6)]
    features = Features({"image": library.Image(), "labels": Value("int32")})
    made = library.Dataset.from_dict({"image": cells, "labels": [3, 10, None, 3, 10, 3]}, features=features)
    made.save_to_disk(tmp_path / "numbers")
    source = read_source(f"hf:{tmp_path / 'numbers'}")
    assert source.rows["path"].tolist() == [f"train/{k:06d}" for k in (0, 1, 3, 4, 5)]
    assert source.rows["label"].tolist() == ["3", "10", "3", "10", "3"]
    assert source.notes == ("left out, because without a label: 1 of 6 in train",)
    hidden = library.Dataset.from_dict({"image": cells[:2], "label": [-1, -1]}, features=IMAGES)
    library.DatasetDict({"train": rows_of(4), "test": hidden}).save_to_disk(tmp_path / "glue")
    assert read_source(f"hf:{tmp_path / 'glue'}").rows["split"].tolist() == ["train"] * 4
    bare = library.Dataset.from_dict({"image": cells}, features=Features({"image": library.Image()}))
    bare.save_to_disk(tmp_path / "bare")
    assert "one column of labels" in message(f"hf:{tmp_path / 'bare'}")


def test_splits(tmp_path):
    parts = {"training": rows_of(4), "dev": rows_of(2, 50), "test": rows_of(2, 60), "extra": rows_of(2, 70)}
    library.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    name = f"hf:{tmp_path / 'saved'}"
    source = read_source(name)
    assert source.rows["split"].value_counts().to_dict() == {"train": 4, "test": 2}
    assert source.notes == ("left out, because not taken as train, val or test: dev (2 rows), extra (2 rows)",)
    mapped = read_source(f"{name}:val=dev:train=extra")
    assert mapped.rows["split"].value_counts().to_dict() == {"train": 2, "val": 2, "test": 2}
    assert (
        np.asarray(mapped.read("train/000000"))[0, 0, 0] == 70 and np.asarray(mapped.read("val/000001"))[0, 0, 0] == 51
    )
    assert "each once" in message(f"{name}:val=dev:train=dev")
    rows_of(4).save_to_disk(tmp_path / "alone")  # one Dataset without splits
    assert read_source(f"hf:{tmp_path / 'alone'}").rows["split"].tolist() == ["train"] * 4
    library.DatasetDict({"test": rows_of(4)}).save_to_disk(tmp_path / "single")
    assert read_source(f"hf:{tmp_path / 'single'}").rows["split"].tolist() == ["train"] * 4
    library.DatasetDict({"a": rows_of(2), "b": rows_of(2)}).save_to_disk(tmp_path / "odd")
    assert "a split to train on" in message(f"hf:{tmp_path / 'odd'}") and ":train=a" in message(
        f"hf:{tmp_path / 'odd'}"
    )
    library.DatasetDict({"train": rows_of(2), "valid": rows_of(2), "validation": rows_of(2)}).save_to_disk(
        tmp_path / "two"
    )
    assert "found valid and validation" in message(f"hf:{tmp_path / 'two'}")


# ------------------------------------------------------------------------------------------------- texts


def test_texts(tmp_path):
    texts = {"text": ["a cat", "a dog\n", "ein Ünding"], "label": [0, 1, 1]}
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    library.DatasetDict({"train": library.Dataset.from_dict(texts, features=features)}).save_to_disk(tmp_path / "t")
    source = read_source(f"hf:{tmp_path / 't'}")
    assert source.kind == "text" and source.rows["label"].tolist() == ["neg", "pos", "pos"]
    reader = open_reader(f"hf:{tmp_path / 't'}")
    assert source.media is reader.media is TEXTS
    for read in (source.read, reader.read):
        assert [read(path) for path in source.rows["path"]] == texts["text"]
        with pytest.raises(LossprintError, match="SPLIT/NUMBER"):
            read("train/000003")
    assert read_source(f"hf:{tmp_path / 't'}").fingerprint == source.fingerprint


def test_instructions_and_named_columns(tmp_path):
    rows = [
        {"instruction": f"Say {k}.", "input": "" if k else "loud", "output": str(k), "sentence": f"s{k}"}
        for k in range(3)
    ]
    library.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    source = read_source(f"hf:{tmp_path / 'saved'}")
    assert source.rows["label"].tolist() == ["all"] * 3
    assert "Say 0." in source.read("train/000000") and "loud" in source.read("train/000000")
    named = read_source(f"hf:{tmp_path / 'saved'}:text=sentence:label=output")
    assert [named.read(path) for path in named.rows["path"]] == ["s0", "s1", "s2"]
    assert named.rows["label"].tolist() == ["0", "1", "2"] and named.fingerprint != source.fingerprint
    library.Dataset.from_dict({"text": ["a", " "]}).save_to_disk(tmp_path / "empty")
    assert "train/000001" in message(f"hf:{tmp_path / 'empty'}")
    library.Dataset.from_dict({"number": [1]}).save_to_disk(tmp_path / "none")
    assert "number (int64): name one" in message(f"hf:{tmp_path / 'none'}")


# ------------------------------------------------------------------------------------------------- bad input


def test_no_such_dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "OfflineModeIsEnabled" in message("hf:owner/name")
    for name in ("hf:", "hf:name", "hf:/nowhere/at/all", "hf:../a/b", "hf:a/b/c", "hf:.a/b"):
        assert "hf:OWNER/NAME" in message(name), name
    (tmp_path / "empty").mkdir()
    assert "load_dataset reads" in message(f"hf:{tmp_path / 'empty'}")
    rows_of(4).save_to_disk(tmp_path / "saved")
    next((tmp_path / "saved").glob("*.arrow")).write_bytes(b"damaged")
    assert "save_to_disk wrote" in message(f"hf:{tmp_path / 'saved'}")


def test_code_that_comes_with_a_dataset_is_not_run(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "set.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    assert "load_dataset reads" in message(f"hf:{tmp_path / 'set'}")
    assert not (tmp_path / "ran").exists()


def test_without_the_library(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install 'lossprint[hf]'" in message(saved)
    with pytest.raises(LossprintError, match="pip install"):
        open_reader(saved)


# ------------------------------------------------------------------------------------------------- end to end


def test_audit_and_exports(tmp_path, capsys, monkeypatch):
    parts = {"train": rows_of(24), "validation": rows_of(6, 100), "test": rows_of(4, 200)}
    library.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    name = f"hf:{tmp_path / 'saved'}:label=label"
    run = audited_by_command(name, tmp_path / "run")
    assert run.manifest["dataset"]["kind"] == "huggingface" and len(run.samples()) == 34
    exports_as_decided(run, name, tmp_path)
    left = snippets_of(run, tmp_path, monkeypatch, dataset=library.load_from_disk(str(tmp_path / "saved"))["train"])
    picked = left["PyTorch Subset"]["train"]
    assert len(picked) == 12 and picked[0]["image"].size == (4, 4)
    assert sorted(left["PyTorch Subset"]["train"].indices) == sorted(at for at, _ in left["List of paths"]["files"])
    assert "found a Hugging Face dataset" in refused(
        capsys, "export", "manifest", run.path, "--out", tmp_path / "m.csv"
    )
    half = ["export", "coreset", run.path, "--method", "random", "--fraction", "0.5", "--out", tmp_path / "ids.csv"]
    assert "a run of image files" in refused(capsys, *half, "--manifest", tmp_path / "saved" / "half.csv")
    inside = tmp_path / "saved" / "clean"
    assert "outside the dataset's own" in refused(capsys, "export", "cleaned", run.path, "--out", inside)
