"""A dataset is split, checked, decoded and streamed: the answers are planted in tiny images."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from dataset_files import FOUR, by_path, folder, manifest, message, picture
from PIL import Image

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.datasets.dataset import decode, fits_in_memory, image_reader, image_sizes, load, open_dataset
from lossprint.audit.types import LossprintError

# ------------------------------------------------------------------------------------------------- validation split


def test_drawn_split_is_stratified_seeded_and_reported(tmp_path):
    folder(tmp_path, 20, ("a", "b"))
    folder(tmp_path, 2, ("few",))
    dataset = open_dataset(tmp_path, val_fraction=0.25, seed=3)
    drawn = dataset.samples[dataset.samples["split"] == "val"]
    assert drawn["label"].value_counts().to_dict() == {"a": 5, "b": 5, "few": 1}
    assert dataset.notes == ["drew 11 of 42 training samples for validation (stratified, seed 3)"]
    assert open_dataset(tmp_path, 0.25, 3).samples.equals(dataset.samples)
    assert not open_dataset(tmp_path, 0.25, 4).samples["split"].equals(dataset.samples["split"])


def test_every_class_keeps_one_of_two_in_train(tmp_path):
    folder(tmp_path, 2, ("a", "b", "c"))
    for fraction in (0.01, 0.99):
        samples = open_dataset(tmp_path, fraction).samples
        assert samples.groupby("label")["split"].agg(sorted).tolist() == [["train", "val"]] * 3


def test_the_draw_is_really_random(tmp_path):
    folder(tmp_path, 20, ("a", "b"))
    drawn = [open_dataset(tmp_path, 0.5, seed, check=False).samples["split"] == "val" for seed in range(40)]
    often = np.mean(drawn, axis=0)
    assert often.min() > 0.1 and often.max() < 0.9


def frames(tmp_path, sequences, each=6, lone=None):
    """A manifest without splits: every sequence shows x and y in turn, and `lone` shows z as well."""
    rows = [(name, at, "z" if name == lone and at > 3 else "xy"[at % 2]) for name in sequences for at in range(each)]
    lines = [f"{name}-{at}.png,{label},{name},{at}" for name, at, label in rows]
    names = [f"{name}-{at}" for name, at, _ in rows]
    return manifest(tmp_path, "\n".join(["path,label,sequence,frame", *lines]) + "\n", names)


def test_whole_sequences_are_drawn_for_validation(tmp_path):
    path = frames(tmp_path, "abcdefgh", lone="c")
    for seed in range(20):
        dataset = open_dataset(path, 0.3, seed, check=False)
        assert (dataset.samples.groupby("sequence")["split"].nunique() == 1).all()
        assert dataset.notes[0] == f"drew 2 of 8 training sequences (12 frames) for validation (seed {seed})"
        assert "z" in set(dataset.samples.loc[dataset.samples["split"] == "train", "label"])
    drawn = {tuple(open_dataset(path, 0.3, seed, check=False).samples["split"]) for seed in range(20)}
    assert len(drawn) > 5


def test_one_sequence_cannot_be_split(tmp_path):
    found = message(frames(tmp_path, "a"))
    assert "expected at least two sequences in train" in found and "found only 'a'" in found


def test_a_given_validation_split_is_left_alone(tmp_path):
    text = "path,label,split\na.png,x,train\nb.png,x,val\nc.png,y,train\nd.png,y,train\n"
    dataset = open_dataset(manifest(tmp_path, text))
    assert dataset.samples["split"].tolist() == ["train", "val", "train", "train"]
    assert dataset.notes == ["class 'y' without val samples: their images get no CLD"]


# ------------------------------------------------------------------------------------------------- unreadable images


def test_unreadable_images_are_listed_left_out_and_counted(tmp_path):
    folder(tmp_path, 10)
    before = open_dataset(tmp_path, 0.3)
    whole = (tmp_path / "cat" / "03.png").read_bytes()
    (tmp_path / "cat" / "03.png").write_bytes(whole[:45])
    (tmp_path / "dog" / "04.png").write_bytes(b"")
    (tmp_path / "dog" / "05.png").write_text("no image")
    (tmp_path / "dog" / "06.png").unlink()
    os.mkfifo(tmp_path / "dog" / "06.png")
    dataset = open_dataset(tmp_path, 0.3)
    bad = ["cat/03.png", "dog/04.png", "dog/05.png", "dog/06.png"]
    assert dataset.unreadable["path"].tolist() == bad
    assert "truncated" in dataset.unreadable["reason"][0].lower()
    assert dataset.unreadable["reason"].tolist()[1:] == [
        "an empty file", "not an image that Pillow can read", "not a regular file"
    ]  # fmt: skip
    assert any(
        note.startswith("4 of 20 images could not be read: 1 ") and note.endswith("of 'dog' (3), 'cat' (1)")
        for note in dataset.notes
    )
    assert not set(bad) & set(dataset.samples["path"])
    # Ids are as before, and so is the draw, but for the places in the validation split that became free or fell away.
    assert by_path(dataset, "sample").items() <= by_path(before, "sample").items()
    assert dataset.samples.index.tolist() == list(range(16))
    drawn = [
        {path for path, split in by_path(opened, "split").items() if split == "val"} for opened in (before, dataset)
    ]
    assert len((drawn[0] ^ drawn[1]) - set(bad)) <= 2
    assert dataset.fingerprint != before.fingerprint


def test_a_missing_file_of_a_manifest_is_unreadable(tmp_path):
    dataset = open_dataset(manifest(tmp_path, FOUR + "gone/e.png,y\n.,y\n"))
    assert dataset.unreadable.values.tolist() == [["gone/e.png", "no such file"], [".", "a folder, not a file"]]
    assert dataset.samples["sample"].tolist() == [0, 1, 2, 3]


def test_checking_and_loading_agree(tmp_path):
    folder(tmp_path, 10)
    (tmp_path / "cat" / "03.png").write_bytes(b"broken")
    unchecked = open_dataset(tmp_path, 0.3, seed=5, check=False)
    assert len(unchecked.samples) == 20 and not unchecked.checked
    seen = []
    loaded = load(unchecked, 4, progress=lambda done, total: seen.append((done, total)))
    checked = open_dataset(tmp_path, 0.3, seed=5)
    assert loaded.dataset.checked and checked.checked
    assert loaded.dataset.samples.equals(checked.samples)
    assert loaded.dataset.unreadable.equals(checked.unreadable)
    assert loaded.dataset.notes == checked.notes
    assert seen[-1] == (20, 20)
    assert loaded.pixels.shape == (19, 4, 4, 3) and loaded.pixels.dtype == np.uint8
    assert loaded.pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9, *range(10, 20)]
    assert len(loaded.digests) == 19
    assert np.array_equal(decode(checked, 4), loaded.pixels)
    assert load(checked).pixels is None


def test_decode_says_so_when_an_image_is_gone(tmp_path):
    dataset = open_dataset(folder(tmp_path))
    (tmp_path / "dog" / "07.png").unlink()
    with pytest.raises(LossprintError, match=r"found: 'dog/07.png': no such file"):
        decode(dataset, 4)


def test_digests_find_exact_duplicates(tmp_path):
    folder(tmp_path, 5)
    Image.new("RGB", (4, 4), (3, 3, 3)).save(tmp_path / "dog" / "copy.bmp")
    loaded = load(open_dataset(tmp_path, check=False))
    same = pd.Series(loaded.digests, index=loaded.dataset.samples["path"])
    assert same[same == same["cat/03.png"]].index.tolist() == ["cat/03.png", "dog/copy.bmp"]
    assert same.nunique() == 10


def test_sizes_come_from_headers(tmp_path):
    folder(tmp_path, 3)
    picture(tmp_path / "cat" / "09.png", size=(30, 20))
    whole = (tmp_path / "cat" / "09.png").read_bytes()
    (tmp_path / "cat" / "09.png").write_bytes(whole[:60])  # the header is still there
    (tmp_path / "cat" / "08.png").write_bytes(b"")
    dataset = open_dataset(tmp_path, check=False)
    assert image_sizes(dataset).tolist() == [[4, 4]] * 3 + [[30, 20]] + [[4, 4]] * 3
    assert len(image_sizes(dataset, at_most=2)) == 2


def test_a_bomb_is_listed_without_a_warning(tmp_path, monkeypatch, recwarn):
    folder(tmp_path, 3)
    picture(tmp_path / "cat" / "big.png", size=(10, 10))
    picture(tmp_path / "cat" / "huge.png", size=(20, 20))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 80)
    dataset = open_dataset(tmp_path)
    assert dataset.unreadable["path"].tolist() == ["cat/big.png", "cat/huge.png"]
    assert all("decompression bomb" in why for why in dataset.unreadable["reason"])
    assert not recwarn.list


# ------------------------------------------------------------------------------------------------- fingerprint


def test_fingerprint(tmp_path):
    path = manifest(tmp_path, FOUR)
    first = open_dataset(path).fingerprint
    os.utime(tmp_path / "a.png", (1, 1))
    assert open_dataset(path, seed=9, val_fraction=0.4).fingerprint == first
    path.write_text(FOUR.replace("b.png,x", "b.png,y").replace("c.png,y", "c.png,x"))  # two labels exchanged
    assert open_dataset(path).fingerprint != first
    path.write_text(FOUR)
    picture(tmp_path / "a.png", size=(40, 40))
    assert open_dataset(path).fingerprint != first


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 2])
def test_bad_fraction(tmp_path, fraction):
    assert "between 0 and 1" in message(folder(tmp_path), val_fraction=fraction)


# ------------------------------------------------------------------------------------------------- reading images


def test_image_reader_reads_without_scanning(tmp_path):
    path = manifest(tmp_path / "data", "neither path nor label")
    for reader in (image_reader(path), image_reader(tmp_path / "data")):
        image = reader("b.png")
        assert (image.mode, image.size) == ("RGB", (4, 4)) and np.asarray(image).max() == 1
        picture(tmp_path / "secret.png")
        for bad in ("../secret.png", str(tmp_path / "secret.png"), "none.png", "labels.csv", ".", "", "a\0.png"):
            with pytest.raises(LossprintError) as caught:
                reader(bad)
            assert "\n" not in str(caught.value)
    with pytest.raises(LossprintError, match="found nothing"):
        image_reader(tmp_path / "none")


def test_dataset_image(tmp_path):
    dataset = open_dataset(manifest(tmp_path, FOUR))
    assert np.asarray(dataset.image("c.png")).tolist() == np.full((4, 4, 3), 2).tolist()
    with pytest.raises(LossprintError, match="inside"):
        dataset.image("../c.png")
    with pytest.raises(LossprintError, match="no such file"):
        dataset.image("gone.png")


def test_stream_gives_what_decode_gives(tmp_path):
    folder(tmp_path, 5)
    picture(tmp_path / "cat" / "wide.png", 77, (40, 10))
    (tmp_path / "cat" / "02.png").write_bytes(b"broken")
    dataset = open_dataset(tmp_path)
    stream = datasets.ImageStream(dataset, 8)
    pickle.dumps(stream)  # a worker process of a DataLoader may need it
    whole = decode(dataset, 8)
    assert len(stream) == len(whole) == 10
    for rows, images in torch.utils.data.DataLoader(stream, batch_size=4):
        assert images.dtype == torch.uint8 and images.shape[1:] == (3, 8, 8)
        assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), whole[rows.numpy()])


def test_fits_in_memory(monkeypatch):
    monkeypatch.setattr(datasets, "free_memory", lambda: 1000)
    assert fits_in_memory(1, 12) and not fits_in_memory(1, 13)
    monkeypatch.undo()
    assert 1 << 20 < datasets.free_memory() < 1 << 50
    assert fits_in_memory(100, 32) and not fits_in_memory(10**9, 1000)


def test_importing_is_free_of_torch():
    code = "import sys, lossprint.audit.datasets.dataset; sys.exit(bool({'torch', 'streamlit'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
