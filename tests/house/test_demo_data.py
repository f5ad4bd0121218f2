"""The embedded demo dataset is what its README says, and its script makes it again byte for byte."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

ASSETS = Path(__file__).resolve().parents[2] / "assets"
DEMO = ASSETS / "demo"
SCRIPT = runpy.run_path(str(ASSETS / "make_demo.py"))
GROUPS = ({"T-shirt", "pullover", "dress", "coat", "shirt"}, {"sandal", "sneaker", "ankle boot"})


@pytest.fixture(scope="module")
def demo() -> pd.DataFrame:
    """labels.csv and truth.csv side by side."""
    labels = pd.read_csv(DEMO / "labels.csv", dtype=str, keep_default_na=False)
    truth = pd.read_csv(DEMO / "truth.csv", dtype=str, keep_default_na=False)
    assert list(labels) == ["path", "label", "split"]
    assert list(truth) == ["path", "true_label", "is_error", "kind", "pair_id"]
    assert list(labels["path"]) == list(truth["path"]) == [f"images/{number:05d}.png" for number in range(5000)]
    return labels.merge(truth, on="path", validate="one_to_one")


@pytest.fixture(scope="module")
def pixels(demo) -> np.ndarray:
    """All images as RGB, (5000, 28, 28, 3) uint8."""
    images = []
    for path in demo["path"]:
        with Image.open(DEMO / path) as image:
            images.append(np.asarray(image.convert("RGB")))
    return np.stack(images)


def test_counts_and_stratification(demo):
    assert set(demo["label"]) == set(demo["true_label"]) == set(SCRIPT["CLASSES"])
    counts = demo.groupby(["split", "true_label"]).size().unstack()
    assert (counts.loc["train"] == 400).all()
    assert (counts.loc["val"] == 50).all()
    assert (counts.loc["test"] == 50).all()


def test_faults_are_in_the_training_split_only(demo):
    faulty = demo[(demo["is_error"] == "1") | (demo["kind"] != "") | (demo["pair_id"] != "")]
    assert set(faulty["split"]) == {"train"}
    assert ((demo["label"] != demo["true_label"]) == (demo["is_error"] == "1")).all()
    errors = demo[demo["is_error"] == "1"]
    assert errors["kind"].value_counts().to_dict() == {"label_error": 200, "exact": 20, "near": 20}
    assert ((demo["kind"] == "label_error") <= (demo["pair_id"] == "")).all()


def test_wrong_labels_are_realistic_confusions(demo):
    for row in demo[demo["is_error"] == "1"].itertuples():
        assert any({row.true_label, row.label} <= group for group in GROUPS), row


def test_pairs(demo):
    paired = demo[demo["pair_id"] != ""]
    assert set(paired["kind"]) == {"exact", "near"}
    pairs = paired.groupby("pair_id")
    assert len(pairs) == 80
    assert (pairs.size() == 2).all()
    assert (pairs["kind"].nunique() == 1).all()
    assert (pairs["true_label"].nunique() == 1).all()
    conflicting = pairs["label"].nunique() == 2
    assert conflicting.groupby(pairs["kind"].first()).sum().to_dict() == {"exact": 20, "near": 20}
    assert pairs["kind"].first().value_counts().to_dict() == {"exact": 40, "near": 40}


def test_exact_pairs_share_pixels_but_not_bytes(demo, pixels):
    for _, pair in demo[demo["kind"] == "exact"].groupby("pair_id"):
        first, second = pair.index
        assert np.array_equal(pixels[first], pixels[second])
        assert (DEMO / pair["path"][first]).read_bytes() != (DEMO / pair["path"][second]).read_bytes()


def test_no_other_images_share_pixels(demo, pixels):
    groups = demo.groupby([image.tobytes() for image in pixels])["pair_id"]
    shared = groups.agg(list)[groups.size() > 1]
    assert len(shared) == 40
    assert sorted(pair[0] for pair in shared) == sorted(set(demo.loc[demo["kind"] == "exact", "pair_id"]))


def test_near_pairs_look_alike(demo, pixels):
    grey = pixels[..., 0].astype(np.float64)
    mirrored, brighter = 0, 0
    for _, pair in demo[demo["kind"] == "near"].groupby("pair_id"):
        first, second = grey[pair.index[0]], grey[pair.index[1]]
        likeness = {}
        for mirror in (False, True):
            turned = first[:, ::-1] if mirror else first
            shifts = [np.roll(turned, (down, right), (0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1)]
            # The rim is left out: there the shift loses what the other image still has.
            insides = [shift[2:-2, 2:-2].ravel() for shift in shifts]
            likeness[mirror] = max(np.corrcoef(inside, second[2:-2, 2:-2].ravel())[0, 1] for inside in insides)
        assert max(likeness.values()) > 0.95, pair
        mirrored += likeness[True] > likeness[False]
        brighter += second.sum() > first.sum()
    assert 8 <= mirrored <= 18
    assert 10 <= brighter <= 30


def test_licence_and_size():
    licence = (DEMO / "LICENSE.fashion-mnist").read_text(encoding="utf-8")
    assert "MIT License" in licence
    assert "Copyright (c) 2017 Zalando SE, https://tech.zalando.com" in licence
    assert "without restriction" in licence and 'THE SOFTWARE IS PROVIDED "AS IS"' in licence
    assert sum(file.stat().st_size for file in DEMO.rglob("*") if file.is_file()) <= 8_000_000


def test_png_styles_decode_to_the_same_greys(tmp_path):
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5) * 13
    files = {style: SCRIPT["png"](grey, style) for style in ("plain", "filtered", "palette", "rgb")}
    assert len(set(files.values())) == 4
    for style, data in files.items():
        (tmp_path / f"{style}.png").write_bytes(data)
        with Image.open(tmp_path / f"{style}.png") as image:
            assert np.array_equal(np.asarray(image.convert("RGB")), np.repeat(grey[..., None], 3, axis=2)), style


@pytest.mark.proof
def test_the_script_makes_every_byte_again(tmp_path):
    source = SCRIPT["SOURCE"]
    if not (source / "train-images-idx3-ubyte.gz").exists():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    SCRIPT["write_demo"](source, tmp_path)
    made = {file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file()}
    kept = {file.relative_to(DEMO) for file in DEMO.rglob("*") if file.is_file()}
    assert made == kept
    assert [name for name in sorted(made) if (tmp_path / name).read_bytes() != (DEMO / name).read_bytes()] == []
