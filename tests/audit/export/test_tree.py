"""The cleaned dataset as a folder: every image, safe names, nothing half-written, the source left alone."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import at_home, digests, make_run, read_csv
from PIL import Image

from lossprint.audit.datasets.dataset import open_dataset
from lossprint.audit.export import export
from lossprint.audit.export.applied import applied
from lossprint.audit.export.tree import LONGEST, folder_names, safe_name
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.run import Run
from lossprint.audit.types import LossprintError

NASTY = (
    "=1+1",
    "a/b",
    "..",
    ".hidden",
    "con",
    "x\ny",
    'say "hi", you',
    "Coat",
    "coat",
    "%2F",
    "é" * 90,
    "-7",
    "tail. ",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made")).path.parent


@pytest.fixture
def run(made, tmp_path):
    return at_home(shutil.copytree(made, tmp_path / "home"))


def decide(run):
    """Sample 1 accepted, 4 relabelled, 3 and 31 excluded."""
    reviews = open_reviews(run)
    reviews.add(finding="label_error:1", sample=1, decision="accept", new_label="shirt", reviewer="ann")
    reviews.add(finding="label_error:4", sample=4, decision="relabel", new_label="bag", reviewer="bob")
    for sample in (3, 31):
        reviews.add(finding=f"outlier:{sample}", sample=sample, decision="exclude", reviewer="ann")


def test_the_folder_holds_each_image_under_its_decided_label(run, tmp_path):
    decide(run)
    root = Path(run.manifest["dataset"]["root"])
    before, told = digests(root), []
    done = export.write_cleaned(applied(run), tmp_path / "out", progress=lambda at, of: told.append((at, of)))
    out = tmp_path / "out"
    assert done.manifest == out / "labels.csv" and done.changes == out / "changes.csv"
    assert told == [(i, 52) for i in range(1, 53)]
    assert sorted(os.listdir(out)) == ["changes.csv", "export.json", "labels.csv", "test", "train", "val"]
    rows = read_csv(done.manifest)
    assert list(rows[0])[:4] == ["path", "label", "split", "source"]
    for row, kept in zip(rows, export.cleaned(applied(run)).itertuples()):
        assert (row["source"], row["label"], row["split"]) == (kept.path, kept.label, kept.split)
        assert row["path"].startswith(f"{row['split']}/{row['label']}/")
        assert (out / row["path"]).read_bytes() == (root / row["source"]).read_bytes()
        assert (out / row["path"]).stat().st_nlink == 1
    assert len({row["path"] for row in rows}) == 52 == sum(1 for _ in out.rglob("*.png"))
    assert digests(root) == before
    assert [row["decision"] for row in read_csv(done.changes)] == ["accept", "exclude", "relabel", "exclude"]

    for dataset in (open_dataset(out), open_dataset(out / "labels.csv")):
        said = dict(zip(dataset.samples["path"], dataset.samples["label"]))
        assert said == {row["path"]: row["label"] for row in rows}
    export.write_cleaned(applied(run), tmp_path / "again")
    assert digests(tmp_path / "again") == digests(out)
    assert not list(tmp_path.glob(".*"))


def test_hard_links_where_asked_for(run, tmp_path):
    done = export.write_cleaned(applied(run), tmp_path / "out", link="hardlink")
    row = read_csv(done.manifest)[0]
    assert os.path.samefile(tmp_path / "out" / row["path"], Path(run.manifest["dataset"]["root"]) / row["source"])


def test_labels_that_are_no_folder_names(tmp_path):
    run = make_run(tmp_path / "made", classes=NASTY, train=3, held_out=1)
    open_reviews(run).add(
        finding="label_error:1", sample=1, decision="relabel", new_label="a/b", reviewer="=ann", comment=".."
    )
    done = export.write_cleaned(applied(run), tmp_path / "out")
    rows = read_csv(done.manifest)
    assert sorted({row["label"] for row in rows}) == sorted(NASTY)
    folders = {}
    for row in rows:
        split, folder, name = row["path"].split("/")
        folders.setdefault(row["label"], set()).add(folder)
        assert (tmp_path / "out" / row["path"]).is_file() and split == row["split"] and name.endswith(".png")
    assert all(len(names) == 1 for names in folders.values())
    assert len({name.casefold() for names in folders.values() for name in names}) == len(NASTY)
    again = open_dataset(done.manifest)
    assert sorted(again.classes) == sorted(NASTY) and len(again.samples) == len(rows)
    assert not (tmp_path / "b").exists() and sorted(os.listdir(tmp_path)) == ["made", "out"]
    as_csv = export.write_cleaned(applied(run), tmp_path / "made" / "data" / "c.csv")
    assert open_dataset(as_csv.manifest).samples["label"].tolist() == export.cleaned(applied(run))["label"].tolist()


def test_names_are_safe_short_and_never_shared():
    texts = [*NASTY, "", ".", "...", " ", "a ", "a.", "CON", "Con.txt", "lpt1", "console", "a%", "a%25", "%~", "COAT",
             "\x00", "\x7f", "\u202e", "a\\b", "a:b", "x" * 5000, "x" * 5001, "é", "e\u0301", "😀" * 50, "\udc80", "~",
             "-rf", "a/../b"]  # fmt: skip
    names = [safe_name(text) for text in texts]
    assert len(set(names)) == len(texts)
    for text, name in zip(texts, names):
        assert 0 < len(name.encode()) <= LONGEST
        assert not set(name) & set('/\\:*?"<>|\0\n\x7f\u202e') and not name.startswith(".") and name[-1] not in ". "
        assert name.split(".")[0].upper() not in ("CON", "LPT1")
        assert safe_name(text) == name
    assert safe_name("T-shirt (new), größe +2") == "T-shirt (new), größe +2"
    assert (safe_name("a/b"), safe_name(".."), safe_name("con"), safe_name("50%")) == (
        "a%2Fb",
        "%2E%2E",
        "%63on",
        "50%25",
    )
    shared = folder_names(texts)
    assert set(shared) == set(texts)
    assert len({name.casefold() for name in shared.values()}) == len(texts)


@pytest.mark.parametrize("kind", ["manifest", "folder"])
def test_where_a_folder_may_not_be_made(tmp_path, kind):
    run = make_run(tmp_path, kind=kind, train=3, held_out=1)
    root = tmp_path / "data"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "link").symlink_to(root, target_is_directory=True)
    before = digests(tmp_path)
    inside = root / ("images" if kind == "manifest" else "train") / "out"
    refused = {
        tmp_path / "full": "expected a new or empty folder",
        tmp_path / "full" / "x": "expected a new or empty folder",
        tmp_path / "full" / "x" / "out": "can be written",
        root: "expected a new or empty folder",
        inside: "expected a folder outside the dataset's own",
        tmp_path / "link" / inside.relative_to(root): "expected a folder outside the dataset's own",
    }
    if kind == "folder":
        refused[root / "cleaned"] = "expected a folder outside the dataset's own"
    for out, says in refused.items():
        with pytest.raises(LossprintError, match=says) as error:
            export.write_cleaned(applied(run), out)
        assert "\n" not in str(error.value)
    with pytest.raises(LossprintError, match="expected link to be one of copy, hardlink, found 'symlink'"):
        export.write_cleaned(applied(run), tmp_path / "out", link="symlink")
    assert digests(tmp_path) == before and not list(tmp_path.rglob("*.unfinished"))
    (tmp_path / "empty").mkdir()
    assert export.write_cleaned(applied(run), tmp_path / "empty").kept == 15
    if kind == "manifest":
        export.write_cleaned(applied(run), root / "cleaned")  # beside the images that the manifest lists


def test_an_image_that_is_gone_leaves_nothing_half_written(run, tmp_path):
    root = Path(run.manifest["dataset"]["root"])
    (root / run.samples()["path"].iloc[40]).unlink()
    with pytest.raises(LossprintError, match=r"expected the image 'images/val_010.png' in .*, found none"):
        export.write_cleaned(applied(run), tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["home"]


def test_a_path_that_leads_out_of_the_dataset_is_not_copied(run, tmp_path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    samples = run.samples()
    samples.loc[2, "path"] = "../../secret.png"
    run.write_samples(samples, run.unreadable())
    with pytest.raises(LossprintError, match=r"expected the image '../../secret.png' in"):
        export.write_cleaned(applied(run), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_without_images_has_no_folder_but_a_csv(made, tmp_path):
    run = at_home(shutil.copytree(made, tmp_path / "home"), kind="table", root=None, source=None)
    with pytest.raises(LossprintError, match="expected a run of a dataset with images, found one of kind 'table'"):
        export.write_cleaned(applied(run), tmp_path / "out")
    assert export.write_cleaned(applied(run), tmp_path / "out.csv").kept == 54


def test_images_of_torchvision_become_png(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    pixels = {}
    for name, n in (("train", 40), ("t10k", 20)):
        pixels[name] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = np.arange(n, dtype=np.uint8) % 10
        (raw / f"{name}-images-idx3-ubyte").write_bytes(
            np.array([0x803, n, 28, 28], ">i4").tobytes() + pixels[name].tobytes()
        )
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(np.array([0x801, n], ">i4").tobytes() + labels.tobytes())
    dataset = open_dataset(f"torchvision:FashionMNIST:{tmp_path}")
    run = make_run(tmp_path / "made", classes=tuple(dataset.classes), train=3, held_out=1)
    described = {"kind": "torchvision", "source": dataset.source, "root": str(dataset.root), "classes": dataset.classes}
    run = Run(run.path, {**run.manifest, "dataset": {**run.manifest["dataset"], **described}})
    run.write_samples(dataset.samples, dataset.unreadable)
    done = export.write_cleaned(applied(run), tmp_path.parent / f"{tmp_path.name}-out")
    rows = read_csv(done.manifest)
    assert len(rows) == 60
    for row in rows:
        split, number = row["source"].split("/")
        with Image.open(done.manifest.parent / row["path"]) as image:
            assert image.format == "PNG" and image.mode == "RGB"
            assert (np.asarray(image)[:, :, 0] == pixels["t10k" if split == "test" else "train"][int(number)]).all()
    shutil.rmtree(done.manifest.parent)
