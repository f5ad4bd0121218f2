"""Images that look unlike the rest, from their files to the finding, the page, the drawer and the command line."""

import json

import numpy as np
import pandas as pd
import pytest
from app_pages import assert_whole, open_page, said
from PIL import Image

from lossprint.app.shared import story
from lossprint.audit.cli import main as cli
from lossprint.audit.datasets.dataset import open_dataset
from lossprint.audit.findings import quality
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.verify import verify


def shapes(seed: int, side: int = 24) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    return np.asarray(small.resize((side, side), Image.Resampling.NEAREST))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Losses at random of 66 images: a dark, a grey, a small and a long one; 6 frames of a video, of which one is dark.

    All cats are a little darker than all dogs.
    """
    place = tmp_path_factory.mktemp("quality")
    rows, images = [], []
    for at in range(60):
        image = shapes(at)
        if at < 30:
            image = (image * 0.8).astype(np.uint8)
        if at == 3:
            image = (image * 0.1).astype(np.uint8)
        if at == 4:
            image = np.repeat(image.mean(2, keepdims=True).astype(np.uint8), 3, axis=2)
        if at == 5:
            image = shapes(at, 6)
        if at == 40:
            image = image[:8]
        images.append(image)
        rows.append((f"{at:02}.png", "cat" if at < 30 else "dog", "val" if at % 10 == 9 else "train", "", ""))
    for at in range(6):
        images.append((shapes(100 + at) * (0.05 if at == 2 else 1)).astype(np.uint8))
        rows.append((f"v{at}.png", "dog", "train", "film", str(at)))
    for row, image in zip(rows, images, strict=True):
        Image.fromarray(image).save(place / row[0])
    pd.DataFrame(rows, columns=["path", "label", "split", "sequence", "frame"]).to_csv(
        place / "labels.csv", index=False
    )
    samples = open_dataset(place / "labels.csv").samples
    rng, counts = np.random.default_rng(0), samples["split"].value_counts()
    np.savez(place / "l.npz", **{f"{name}_losses": rng.random((counts[name], 4)) for name in ("train", "val")})
    words = ["import", place / "l.npz", "--dataset", place / "labels.csv", "--out", place / "run", "--quiet"]
    assert cli.main([str(word) for word in words]) == 0
    return open_run(place / "run")


def test_what_stands_out_is_a_finding_and_frames_are_none(run):
    found = run.findings()
    found = found[found["kind"] == "quality"]
    assert set(found["sample"]) == {3, 4, 5, 40}
    assert (found["severity"] > 0.5).all() and (found["group"] == [f"quality:{one}" for one in found["sample"]]).all()
    table = run.quality()
    assert len(table) == 66 and quality.issues_of(table, 62)[0] == "dark"  # known of the frame all the same
    assert [quality.issues_of(table, sample)[0] for sample in (3, 4, 5, 40)] == [
        "dark",
        "grey",
        "odd_size",
        "odd_aspect",
    ]
    assert table.loc[table["sample"] == 40, ["width", "height"]].to_numpy().tolist() == [[24, 8]]
    assert verify(run.path).lines == []


def test_what_tells_a_class_is_said_with_its_interval_and_chance_is_not(run):
    labels = run.samples().set_index("sample")["label"]
    (first, *_) = quality.telling(run.quality(), labels)
    assert (first.label, first.measure, first.more) == ("cat", "dark", False) and first.low >= quality.TELLING
    assert "an image of cat is below one of another class" in quality.sentence(first)
    mixed = pd.Series(np.random.default_rng(1).permutation(labels.to_numpy()), index=labels.index)
    assert quality.telling(run.quality(), mixed) == []


def test_the_command_lists_them_and_can_fail_on_them(run, capsys):
    words = ["findings", str(run.path), "--kind", "quality", "--json"]
    assert cli.main(words) == 0
    assert {row["sample"] for row in json.loads(capsys.readouterr().out)["rows"]} == {3, 4, 5, 40}
    assert cli.main([*words, "--fail-on", "quality>3"]) == 3


def test_the_page_shows_them_by_issue_and_the_drawer_says_why(run, monkeypatch):
    app = open_page("quality", run.path, monkeypatch)
    assert_whole(app)
    assert "**4** flagged" in said(app) and "an image of cat is below" in said(app)
    one = open_page("quality", run.path, monkeypatch, q_issue="Dark (1)")
    assert "nothing in it is bright" in said(one) and "**1** flagged" in said(one)
    looks = quality.claims(run.quality(), np.array([3, 4]))
    table = run.samples().set_index("sample")
    (sentence,) = story.reasons(run.findings(), run.scores().set_index("sample"), table, 3, looks=looks)
    assert sentence.startswith("It looks unlike the rest. Dark: nothing in it is bright")


def test_images_of_16_bits_are_measured_as_they_are_drawn(tmp_path):
    from lossprint.audit.datasets.dataset import load

    rng = np.random.default_rng(2)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for at in range(15):
            values = rng.integers(1000, 9000, (20, 20)).astype(np.uint16)
            Image.fromarray(values // 20 if (name, at) == ("a", 0) else values).save(tmp_path / name / f"{at:02}.png")
    for size in (16, None):  # with pixels and without
        loaded = load(open_dataset(tmp_path, check=False), size)
        dark = loaded.measures[:, 0]
        assert dark[0] < 0.1 and (dark[1:] > 0.8).all()


def test_texts_and_older_runs_have_no_such_table(run, tmp_path, monkeypatch):
    import shutil

    copy = tmp_path / "old"
    shutil.copytree(run.path, copy)
    (copy / "quality.parquet").unlink()
    app = open_page("quality", copy, monkeypatch)
    assert_whole(app)
    assert "Not looked at" in said(app) or any("Not looked at" in str(one.value) for one in app.info)
