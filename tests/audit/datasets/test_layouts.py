"""Folders that hold no samples, or are no classes: passed over where that is certain, told where it is not."""

import pytest
from dataset_files import folder, message, picture

from lossprint.audit.datasets.choices import Choices
from lossprint.audit.datasets.dataset import open_dataset


def nested(root, classes, folders, per_folder=4):
    for number, name in enumerate(classes):
        for at, inner in enumerate(folders):
            for k in range(per_folder):
                picture(root / name / inner / f"{k}.png", 20 * number + 4 * at + k)
    return root


def notes(root, **choices) -> str:
    return " | ".join(open_dataset(root, choices=Choices(**choices)).notes)


def test_masks_beside_images_are_told_and_can_be_left_out(tmp_path):
    nested(tmp_path, ("cat", "dog", "owl"), ("images", "masks"))
    said = notes(tmp_path)
    assert "the same folders lie under 3 classes: images (12), masks (12)" in said
    assert "--exclude masks leaves a folder out" in said
    dataset = open_dataset(tmp_path, choices=Choices(exclude="masks"))
    assert len(dataset.samples) == 12 and all("/images/" in path for path in dataset.samples["path"])
    said = " | ".join(dataset.notes)
    assert "left out, because of --exclude masks: 12 files" in said and "the same folders" not in said


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("folders", [("64", "256"), ("fold1", "fold2"), ("small", "large"), ("2019", "2020", "2021")])
def test_folders_that_repeat_under_each_class_are_told(tmp_path, folders, split):
    nested(tmp_path / "train" if split else tmp_path, ("cat", "dog"), folders)
    assert "the same folders lie under 2 classes" in notes(tmp_path)


def test_masks_beside_loose_images_are_told(tmp_path):
    folder(tmp_path, 4)
    nested(tmp_path, ("cat", "dog"), ("Masks",))
    assert "Masks (8), beside 8 images in none" in notes(tmp_path)
    assert "left out, because of --exclude mask*: 8 files" in notes(tmp_path, exclude="mask*")


def test_folders_above_the_classes_are_told(tmp_path):
    nested(tmp_path, ("fold1", "fold2", "fold3"), ("cat", "dog"))
    said = notes(tmp_path)
    assert "class folders that look like parts of a dataset: fold1, fold2, fold3" in said
    assert "the same folders lie under 3 classes: cat (12), dog (12)" in said


def test_images_and_masks_as_classes_are_told(tmp_path):
    folder(tmp_path, 4, ("images", "masks"))
    assert "class folders whose names are of what lies beside images: 'masks' (4)" in notes(tmp_path)


@pytest.mark.parametrize("junk", ["@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN"])
def test_folders_of_systems_are_passed_over(tmp_path, junk):
    folder(tmp_path, 4)
    for at in range(3):
        picture(tmp_path / "cat" / junk / f"{at}.png" / "SYNOPHOTO_THUMB_XL.jpg", at)
        picture(tmp_path / junk / "dog" / f"{at}.png", at)
    dataset = open_dataset(tmp_path)
    assert len(dataset.samples) == 8 and dataset.classes == ["cat", "dog"]
    assert f"passed over, because in folders of a system ({junk}): 6 files" in " | ".join(dataset.notes)


@pytest.mark.parametrize("folders", [("images",), ("img",), ("site-a",)])
def test_a_plain_layout_is_told_nothing(tmp_path, folders):
    nested(tmp_path, ("cat", "dog", "part of a whole"), folders)
    assert "folder" not in notes(tmp_path)
    folder(tmp_path / "other", 4, ("fold1", "cat"))
    assert "folder" not in notes(tmp_path / "other")


def test_what_is_left_out_is_said_even_where_it_is_nothing(tmp_path):
    folder(tmp_path, 4)
    assert "no file lies in a folder that --exclude mask names" in notes(tmp_path, exclude="mask")
    (tmp_path / "labels.csv").write_text("path,label\ncat/00.png,cat\n")
    assert "expected class folders with --exclude" in message(tmp_path / "labels.csv", choices=Choices(exclude="cat"))


def test_files_that_are_passed_over_are_counted_by_class(tmp_path):
    folder(tmp_path, 4)
    for at in range(3):
        (tmp_path / "cat" / f"{at}.nef").write_bytes(b"raw")
    assert "3 of 11 files (3 .nef; of 'cat' (3))" in notes(tmp_path)
