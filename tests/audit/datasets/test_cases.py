"""Datasets as people have them: what is lost is said, what can be read is read, and what is meant can be said."""

import os
import unicodedata

import pandas as pd
import pytest
from dataset_files import by_path, folder, manifest, message, picture

from lossprint.audit.datasets.choices import Choices
from lossprint.audit.datasets.dataset import load, open_dataset, sample_reader
from lossprint.audit.datasets.labels import unlabelled
from lossprint.audit.recording.samples import described

HEIC = b"\0\0\0\x18ftypheic" + bytes(100)
COMPOSED, APART = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def rows(names, label=lambda name, at: name, per_class=5, path=lambda name, at: f"{name}/{at:02d}.png") -> str:
    """The text of a manifest of class folders as `folder` makes them."""
    lines = [f"{path(name, at)},{label(name, at)}" for name in names for at in range(per_class)]
    return "\n".join(["path,label", *lines]) + "\n"


def table(root, text, names=("cat", "dog", "owl"), per_class=5):
    folder(root, per_class, names)
    (root / "labels.csv").write_text(text, encoding="utf-8")
    return root / "labels.csv"


# --------------------------------------------------------------------------------------------- classes that are lost


@pytest.mark.parametrize(("here", "listed"), [(APART, COMPOSED), (COMPOSED, APART)])
def test_names_in_another_unicode_form_are_found(tmp_path, here, listed):
    path = table(tmp_path, rows(["cat", listed]), ("cat", here))
    dataset = open_dataset(path)
    assert len(dataset.samples) == 10 and dataset.unreadable.empty and dataset.classes == sorted(["cat", listed])
    assert set(dataset.samples["path"]) == {f"{name}/{at:02d}.png" for name in ("cat", here) for at in range(5)}
    assert dataset.notes[0].startswith("5 paths with letters in another Unicode form: found")


def test_a_class_of_which_nothing_is_read_is_an_error_unless_allowed(tmp_path):
    path = table(tmp_path, rows(["cat", "dog", "owl", "newt"]))
    said = message(path)
    assert "found none of a class, 'newt': 5 images (no such file); --allow-lost-classes goes on without" in said
    dataset = open_dataset(path, choices=Choices(allow_lost_classes=True))
    assert dataset.classes == ["cat", "dog", "owl"]
    assert "lost a class of which no image can be read: 'newt': 5 images (no such file)" in dataset.notes
    assert "5 of 20 images could not be read: 5 no such file; of 'newt' (5)" in dataset.notes


def test_a_class_of_broken_files_is_an_error_too(tmp_path):
    for file in sorted(folder(tmp_path, 4, ("cat", "dog", "owl")).joinpath("owl").iterdir()):
        file.write_text("no image")
    unchecked = open_dataset(tmp_path, check=False)  # not known yet
    assert "'owl': 4 images (not an image that Pillow can read)" in message(tmp_path)
    assert len(unchecked.classes) == 3
    allowed = open_dataset(tmp_path, check=False, choices=Choices(allow_lost_classes=True))
    assert load(allowed).dataset.classes == ["cat", "dog"]


def test_a_class_of_files_that_are_passed_over_is_an_error_and_the_extra_is_named(tmp_path):
    folder(tmp_path, 4, ("cat", "dog"))
    (tmp_path / "newt").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("no class")
    (tmp_path / "newt" / "IMG_1.NEF").write_bytes(HEIC)
    assert "'newt': 1 file (1 .nef); --allow-lost-classes goes on without" in message(tmp_path)
    dataset = open_dataset(tmp_path, choices=Choices(allow_lost_classes=True))
    assert dataset.classes == ["cat", "dog"]
    passed = "passed over, because no images by their extension: 2 of 10 files (1 .nef, 1 .txt; of 'newt' (1))"
    assert dataset.notes[0] == passed
    assert "lost a class of which no image can be read: 'newt': 1 file (1 .nef)" in dataset.notes


@pytest.mark.parametrize("split", ["", "train"])
def test_heic_files_are_counted_and_the_extra_that_reads_them_is_named(tmp_path, monkeypatch, split):
    from lossprint.audit.datasets.readers import folders

    monkeypatch.setattr(folders, "EXTENSIONS", folders.EXTENSIONS - {".heic", ".heif"})  # as without the extra
    root = tmp_path / split
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for at in range(3):
            (root / name / f"{at}.HEIC").write_bytes(HEIC)
    said = message(tmp_path)
    assert "found none: passed over 6 files (6 .heic)" in said and "lossprint[heif]" in said and "pillow-heif" in said
    folder(root, 3, ("cat", "dog"))
    assert any("6 .heic" in note and "lossprint[heif]" in note for note in open_dataset(tmp_path).notes)


def test_files_without_an_extension_are_counted(tmp_path):
    for name in ("cat", "dog"):
        picture(tmp_path / name / "x.png")
        (tmp_path / name / "x.png").rename(tmp_path / name / "x")
    said = message(tmp_path)
    assert "found none: passed over 2 files (2 no extension)" in said and "extension, such as .jpg or .png" in said


# ------------------------------------------------------------------------------------------------ one bad class or row


def test_a_class_of_one_image_is_left_out_and_said(tmp_path):
    folder(tmp_path, 5, ("cat", "dog"))
    folder(tmp_path, 1, ("lynx",))
    dataset = open_dataset(tmp_path)
    assert dataset.classes == ["cat", "dog"] and len(dataset.samples) == 10
    assert dataset.notes[0] == (
        "left out, because of classes with fewer than 2 images in train and val (--min-per-class): 1 images, of "
        "'lynx' (1)"
    )
    folder(tmp_path, 4, ("owl",))
    assert open_dataset(tmp_path, choices=Choices(min_per_class=5)).classes == ["cat", "dog"]
    assert open_dataset(tmp_path, choices=Choices(min_per_class=1)).classes == ["cat", "dog", "lynx", "owl"]


def test_a_class_that_falls_below_two_when_its_images_are_decoded_is_left_out_then(tmp_path):
    folder(tmp_path, 5, ("cat", "dog"))
    folder(tmp_path, 2, ("lynx",))
    (tmp_path / "lynx" / "00.png").write_text("no image")
    loaded = load(open_dataset(tmp_path, check=False), 4)
    assert loaded.dataset.classes == ["cat", "dog"]
    assert len(loaded.pixels) == len(loaded.digests) == len(loaded.dataset.samples) == 10
    assert loaded.pixels[:, 0, 0, 0].tolist() == [*range(5), *range(10, 15)]


def test_unlabelled_test_images_do_not_stop_the_rest(tmp_path):
    folder(tmp_path / "train", 5, ("cat", "dog"))
    folder(tmp_path / "test", 4, ("unknown",))
    dataset = open_dataset(tmp_path)
    assert dataset.classes == ["cat", "dog"] and set(dataset.samples["split"]) == {"train", "val"}
    assert "4 images, of 'unknown' (only in test)" in dataset.notes[0]


@pytest.mark.parametrize("sign", ["", " ", "nan", "NaN"])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_rows_without_a_label_are_left_out_and_counted(tmp_path, sign, ending):
    path = table(tmp_path, rows(["cat", "dog"], lambda name, at: sign if at == 2 else name))
    if ending == "parquet":
        cells = pd.read_csv(path, keep_default_na=False)
        cells["label"] = cells["label"].where(cells["label"] != sign, sign or None)
        path = tmp_path / "labels.parquet"
        cells.to_parquet(path)
    dataset = open_dataset(path)
    assert dataset.classes == ["cat", "dog"] and dataset.samples["sample"].tolist() == [0, 1, 3, 4, 5, 6, 8, 9]
    assert dataset.notes[0].startswith("left out, because without a label (") and "2 of 10 rows" in dataset.notes[0]
    assert "cat/02.png" not in set(dataset.samples["path"])


def test_minus_one_is_no_class_beside_whole_numbers_and_a_name_beside_others(tmp_path):
    path = table(tmp_path, rows(["cat", "dog"], lambda name, at: -1 if at == 2 else int(name == "dog")))
    dataset = open_dataset(path)
    assert dataset.classes == ["0", "1"] and "('-1'): 2 of 10 rows" in dataset.notes[0]
    path.write_text(rows(["cat", "dog"], lambda name, at: -1 if at < 2 else name))
    dataset = open_dataset(path)
    assert dataset.classes == ["-1", "cat", "dog"]
    assert dataset.notes[0].startswith("classes that look like a missing label: '-1' (4)")
    assert unlabelled(["1.5", "-1", "nan"], numbers=False) == [False, False, True]  # quantities may be -1


def test_names_that_may_mean_missing_are_classes_and_said(tmp_path):
    path = table(tmp_path, rows(["cat", "dog"], lambda name, at: "NA" if at < 2 else name))
    dataset = open_dataset(path)
    assert dataset.classes == ["NA", "cat", "dog"]
    assert "'NA' (4)" in dataset.notes[0] and "taken as classes" in dataset.notes[0]


def test_a_manifest_without_any_label_is_refused(tmp_path):
    assert "expected rows with a label" in message(table(tmp_path, rows(["cat", "dog"], lambda name, at: "")))


def test_empty_rows_and_rows_listed_twice_are_left_out_and_counted(tmp_path):
    text = rows(["cat", "dog"]).replace("cat/02.png,cat\n", "cat/02.png,cat\n,\ncat/01.png,cat\n") + ",\n,\n"
    dataset = open_dataset(table(tmp_path, text))
    assert dataset.samples["sample"].tolist() == [0, 1, 2, *range(5, 12)]
    assert dataset.notes[:2] == [
        "left out, because without a path: 3 of 14 rows, such as line 5",
        "left out, because listed before: 1 rows, such as the one in line 6 of labels.csv",
    ]
    missing = text.replace("dog/04.png", "dog/gone.png")
    (tmp_path / "labels.csv").write_text(missing)
    assert open_dataset(tmp_path / "labels.csv").unreadable["path"].tolist() == ["dog/gone.png"]


def test_spellings_of_one_label_are_said_and_made_one_where_asked(tmp_path):
    spelt = {3: str.title, 4: lambda name: f"{name} "}
    path = table(tmp_path, rows(["cat", "dog"], lambda name, at: spelt.get(at, str)(name), per_class=8), per_class=8)
    path.write_text(path.read_text().replace("07.png,cat", "07.png,Cat").replace("06.png,cat", "06.png,cat "))
    path.write_text(path.read_text().replace("07.png,dog", "07.png,Dog").replace("06.png,dog", "06.png,dog "))
    dataset = open_dataset(path)
    assert len(dataset.classes) == 6
    assert dataset.notes[0] == (
        "classes that differ only in case, blanks, Unicode form or how a number is written: 'Cat' (2) / 'cat' (4) / "
        "'cat ' (2), 'Dog' (2) / 'dog' (4) / 'dog ' (2); --normalise-labels makes one of each"
    )
    one = open_dataset(path, choices=Choices(normalise_labels=True))
    assert one.classes == ["cat", "dog"] and one.notes[0].startswith("made one class each of labels that differ only")
    assert one.samples["label"].value_counts().to_dict() == {"cat": 8, "dog": 8}
    assert described(one, 0, "classes")[1]["choices"] == {"normalise_labels": True}


@pytest.mark.parametrize(
    ("label", "note", "one"),
    [
        (lambda name, at: name + "\u200b" * (at % 2), "'cat' (3) / 'cat\\u200b' (2)", ["cat", "dog"]),
        (
            lambda name, at: name.translate({99: 0xFF43}) if at else name,
            "'cat' (1) / '\uff43at' (4)",
            ["dog", "\uff43at"],
        ),
        (lambda name, at: "0" * (at % 2) + str(int(name == "cat")), "'0' (3) / '00' (2)", ["0", "1"]),
        (lambda name, at: f"{int(name == 'cat')}{'.0' * (at % 2)}", "'0' (3) / '0.0' (2)", ["0", "1"]),
        (lambda name, at: f" {name}", "labels with blanks around them: ' cat', ' dog'", ["cat", "dog"]),
    ],
)
def test_other_spellings_of_one_label_are_said_too(tmp_path, label, note, one):
    path = table(tmp_path, rows(["cat", "dog"], label))
    assert note in open_dataset(path, check=False).notes[0]
    assert open_dataset(path, check=False, choices=Choices(normalise_labels=True)).classes == one


def test_several_labels_in_one_cell_are_said(tmp_path):
    path = table(tmp_path, rows(["cat", "dog"], lambda name, at: f'"{name}, pet"' if at < 2 else name))
    note = "labels that look like several in one cell: 'cat, pet' (2), 'dog, pet' (2): each such text is taken as one"
    assert any(one.startswith(note) for one in open_dataset(path, check=False).notes)
    path.write_text(rows(["cat", "dog"], lambda name, at: f'"{name}, {name}-like"'))  # a name with a comma
    assert not any("several" in one for one in open_dataset(path, check=False).notes)


def test_rows_that_contradict_each_other_cost_only_their_images(tmp_path):
    """Nobody can tell which label is meant; the first split counts; a label that stands in one row is the file's."""
    text = "split,path,label\n" + "".join(
        f"train,{name}/{at:02d}.png,{name}\n" for name in ("cat", "dog") for at in range(20)
    )
    folder(tmp_path, 20, ("cat", "dog"))
    again = "train,cat/03.png,dog\nval,./cat/04.png,cat\ntrain,dog/05.png,\ntrain,cat/03.png,cat\n"
    path = table(tmp_path, text.replace("train,cat/06.png,cat", "train,cat/06.png,") + again + "train,cat/06.png,cat\n")
    dataset = open_dataset(path)
    samples = dataset.samples.set_index("path")
    assert "cat/03.png" not in samples.index and len(samples) == 39
    assert samples.loc["cat/04.png", "split"] == "train" and samples.loc["cat/06.png", "label"] == "cat"
    assert samples.loc["dog/05.png", "label"] == "dog"
    notes = "\n".join(dataset.notes)
    both = "'cat/03.png' ('cat', in line 5 of labels.csv, and 'dog', in line 42 of labels.csv)"
    assert f"two labels of one image: 1 of 40 images, such as {both}: taken as images without a label" in notes
    assert "rows that say two splits of one image: 1 of 40 images, such as 'cat/04.png'" in notes


def test_unicode_forms_of_one_class_folder_are_said(tmp_path):
    folder(tmp_path / "train", 3, ("cat", COMPOSED))
    folder(tmp_path / "val", 3, ("cat", APART))
    dataset = open_dataset(tmp_path, choices=Choices(normalise_labels=True))
    assert len(dataset.classes) == 2 and "'cafe\\u0301' (3)" in dataset.notes[0]


# ---------------------------------------------------------------------------------------------------------- paths


def test_absolute_paths_inside_the_dataset_are_made_relative(tmp_path):
    root = tmp_path / "data"
    (tmp_path / "other").symlink_to(root)
    path = table(root, rows(["cat", "dog"], path=lambda name, at: f"{root}/{name}/{at:02d}.png"))
    for place in (path, tmp_path / "other" / "labels.csv"):
        dataset = open_dataset(place)
        assert len(dataset.samples) == 10 and dataset.samples["path"][0] == "cat/00.png"
        assert dataset.notes[0].startswith("10 paths with the dataset's own folder before them: made relative")
    text = path.read_text()
    path.write_text(text + "cat/00.png,cat\n")
    again = "left out, because listed before in another spelling: 1 rows, such as the one in line 12 of labels.csv"
    assert again in open_dataset(path).notes
    path.write_text(text + "cat/00.png,dog\n")
    assert any(note.startswith("rows that say two labels of one image: 1 of 10") for note in open_dataset(path).notes)
    path.write_text(text + "cat/00.png,dog\ncat/01.png,dog\n")
    assert "expected each path once, found 'cat/01.png', in line 3" in message(path)
    path.write_text(text.replace("\n/", "\nfile:///"))
    assert open_dataset(path).samples["path"][0] == "cat/00.png"
    path.write_text(rows(["cat", "dog"], path=lambda name, at: f"{tmp_path}/elsewhere/{name}/{at:02d}.png"))
    assert open_dataset(path).notes[0].startswith(f"10 paths with {tmp_path}/elsewhere/ before them")
    folder(tmp_path / "elsewhere", 5)  # there are others of these names: which are meant?
    assert "expected a path relative to" in message(path)
    path.write_text(rows(["cat", "dog"], path=lambda name, at: f"elsewhere/{name}/{at:02d}.png"))
    assert f"its paths are looked for in {root}; --root DIR names another folder" in message(path)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_backslashes_are_read_where_the_files_are_there(tmp_path, ending):
    path = table(tmp_path, rows(["cat", "dog"], path=lambda name, at: f".\\{name}\\{at:02d}.png"))
    if ending == "parquet":
        cells, path = pd.read_csv(path), tmp_path / "labels.parquet"
        cells.to_parquet(path)
    dataset = open_dataset(path)
    assert set(dataset.samples["path"]) == {f"{name}/{at:02d}.png" for name in ("cat", "dog") for at in range(5)}
    assert dataset.notes[0].startswith("10 paths with backslashes: read as slashes")


def test_backslashes_that_find_nothing_are_named_and_lead_nowhere(tmp_path):
    picture(tmp_path / "secret.png")
    path = table(tmp_path / "data", rows(["cat", "dog"]) + "dog\\gone.png,dog\n..\\secret.png,dog\n")
    dataset = open_dataset(path)
    said = "no such file, nor one with slashes for its backslashes"
    assert dataset.unreadable.values.tolist() == [["dog\\gone.png", said], ["..\\secret.png", said]]
    picture(tmp_path / "data" / "a\\b.png")  # a name of this system
    path.write_text(rows(["cat", "dog"]) + "a\\b.png,dog\n")
    assert "a\\b.png" in by_path(open_dataset(path), "label")


# ---------------------------------------------------------------------------------------------------------- links


def linked(tmp_path):
    """A store, a folder of links to its files and one of links to its class folders."""
    store = folder(tmp_path / "store", 4)
    for name in ("cat", "dog"):
        (tmp_path / "files" / name).mkdir(parents=True)
        (tmp_path / "folders").mkdir(exist_ok=True)
        (tmp_path / "folders" / name).symlink_to(store / name)
        for file in (store / name).iterdir():
            (tmp_path / "files" / name / file.name).symlink_to(file)
    return tmp_path


@pytest.mark.parametrize("kind", ["files", "folders"])
def test_links_are_followed_where_asked_and_listed(tmp_path, kind):
    root, choices = linked(tmp_path) / kind, Choices(follow_links=True)
    assert "--follow-links" in message(root)
    dataset = open_dataset(root, choices=choices)
    assert len(dataset.samples) == 8 and dataset.root == root and dataset.samples["path"][0] == "cat/00.png"
    assert dataset.origin.links["cat/00.png"] == str(tmp_path / "store" / "cat" / "00.png")
    assert len(dataset.origin.links) == 8 and dataset.notes[0].startswith(f"followed links out of {root}: 8 files")
    about = described(dataset, 0, "classes")[1]
    assert (
        sample_reader(about)("dog/03.png").getpixel((0, 0))
        == (13, 13, 13)
        == dataset.image("dog/03.png").getpixel((0, 0))
    )
    (root / "labels.csv").write_text("path,label\n" + "".join(f"{p},{p[:3]}\n" for p in dataset.samples["path"]))
    assert "--follow-links" in message(root / "labels.csv")
    assert len(open_dataset(root / "labels.csv", choices=choices).samples) == 8


def test_followed_links_lead_in_no_circle_and_to_images_only(tmp_path):
    root, choices = linked(tmp_path) / "files", Choices(follow_links=True)
    os.mkfifo(tmp_path / "pipe")
    (root / "cat" / "pipe.png").symlink_to(tmp_path / "pipe")
    assert open_dataset(root, choices=choices).unreadable.values.tolist() == [["cat/pipe.png", "not a regular file"]]
    path = manifest(tmp_path / "m", "path,label\na.png,x\nb.png,x\nc.png,y\nd.png,y\n../store/cat/00.png,y\n")
    assert "which leads out of it" in message(path, choices=choices)  # by its own text, not by a link
    (root / "dog" / "round").symlink_to(root)
    assert "leads in a circle" in message(root, choices=choices)
    (root / "dog" / "round").unlink()
    (root / "dog" / "one").symlink_to(tmp_path / "away")
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "back").symlink_to(root / "dog")
    assert "leads in a circle" in message(root, choices=choices)
