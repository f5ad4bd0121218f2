"""Images without a label that are copies of samples: found, and the leak between splits is said."""

import shutil

import numpy as np
import pandas as pd
import pytest
from helpers import one_line
from PIL import Image

from lossprint.audit.cli import main as cli
from lossprint.audit.datasets.choices import Choices
from lossprint.audit.datasets.dataset import load, open_dataset
from lossprint.audit.export import exchange
from lossprint.audit.findings import unjudged
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError


def picture(seed: int) -> Image.Image:
    """Shapes that no other seed has."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)).resize((48, 48), Image.Resampling.BICUBIC)


def labelled(root, train="train"):
    for number, name in enumerate(("cat", "dog")):
        (root / train / name).mkdir(parents=True)
        for at in range(8):
            picture(100 * number + at).save(root / train / name / f"{at}.png")


def imported(tmp_path, dataset, **choices):
    """A run of losses at random."""
    samples = open_dataset(dataset, choices=Choices(**choices)).samples
    rng = np.random.default_rng(0)
    counts = samples["split"].value_counts()
    np.savez(tmp_path / "l.npz", **{f"{name}_losses": rng.random((counts[name], 4)) for name in ("train", "val")})
    words = ["import", tmp_path / "l.npz", "--dataset", dataset, "--out", tmp_path / "run", "--quiet"]
    assert cli.main([str(word) for word in words]) == 0
    return open_run(tmp_path / "run")


def test_copies_in_a_flat_test_folder_are_found_and_told_as_a_leak(tmp_path, capsys):
    data = tmp_path / "data"
    labelled(data)
    (data / "test").mkdir()
    for at in range(3):
        shutil.copy(data / "train" / "cat" / f"{at}.png", data / "test" / f"x{at}.png")
    picture(5).resize((40, 40)).save(data / "test" / "y.jpg", quality=90)  # nearly the same
    for at in range(4):
        picture(1000 + at).save(data / "test" / f"z{at}.png")
    (data / "test" / "broken.png").write_text("no image")
    run = imported(tmp_path, data)
    table = run.aside().set_index("path")
    assert len(table) == 8 and (table["sample"] >= 0).sum() == 4
    paths = dict(zip(run.samples()["sample"], run.samples()["path"]))
    assert [paths[table.at[f"test/x{at}.png", "sample"]] for at in range(3)] == [
        f"train/cat/{at}.png" for at in range(3)
    ]
    assert table.at["test/y.jpg", "kind"] == "near" and paths[table.at["test/y.jpg", "sample"]] == "train/cat/5.png"
    said = capsys.readouterr().out
    assert "4 of 8 images without a label are copies of samples, 4 of them from another split (a leak)" in said
    assert any("a leak" in sentence for sentence in unjudged.sentences(run))
    out = tmp_path / "f.csv"
    assert cli.main(["export", "findings", str(run.path), "--out", str(out)]) == 0
    rows = pd.read_csv(out, dtype=str, keep_default_na=False)
    mine = rows[rows["path"].str.startswith("test/")]
    assert len(mine) == 4 and set(mine["kind"]) == {"duplicate", "near_duplicate"}
    assert set(mine["sample"]) == {""} and set(mine["suggested_label"]) == {"cat"} and set(mine["label"]) == {""}
    for group, members in rows[rows["group"].isin(mine["group"])].groupby("group"):
        assert len(members) == 2 and members["path"].iloc[0].startswith("train/"), group
    assert not exchange.plan(run, out.read_bytes(), "f.csv", "me").decisions
    assert cli.main(["verify", str(run.path)]) == 0


@pytest.mark.parametrize("label", ["", "nan"])
def test_rows_without_a_label_are_compared_too(tmp_path, label):
    data = tmp_path / "data"
    labelled(data, "all")
    shutil.copy(data / "all" / "dog" / "3.png", data / "other.png")
    picture(77).save(data / "new.png")
    rows = [f"all/{name}/{at}.png,{name},{'val' if at < 2 else 'train'}" for name in ("cat", "dog") for at in range(8)]
    rows += [f"other.png,{label},test", f"new.png,{label},test"]
    (data / "labels.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    run = imported(tmp_path, data / "labels.csv")
    assert len(run.samples()) == 16  # they are no samples
    table = run.aside().set_index("path")
    assert table.at["other.png", "kind"] == "exact" and table.at["new.png", "sample"] == -1
    assert "1 of 2 images without a label is a copy of samples, 1 of them from another split" in str(
        unjudged.sentences(run)
    )


def test_a_dataset_without_such_images_says_nothing(tmp_path):
    labelled(tmp_path / "data")
    run = imported(tmp_path, tmp_path / "data")
    assert run.aside() is None and "without a label" not in str(unjudged.sentences(run))
    assert load(open_dataset(tmp_path / "data")).dataset.aside.empty


def test_a_class_that_is_left_out_is_compared_and_a_damaged_table_is_one_line(tmp_path):
    data = tmp_path / "data"
    labelled(data)
    (data / "test" / "unknown").mkdir(parents=True)
    shutil.copy(data / "train" / "cat" / "1.png", data / "test" / "unknown" / "1.png")
    run = imported(tmp_path, data)
    assert run.aside()["path"].tolist() == ["test/unknown/1.png"] and run.aside()["kind"].tolist() == ["exact"]
    (run.path / "aside.parquet").write_bytes(b"PAR1 no more")
    assert "aside.parquet" in one_line(run.aside, kind=LossprintError)
