"""Duplicates of a dataset as they are written into a run: equal copies in linear space, and none that is doubted."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageOps

from lossprint.audit.datasets.dataset import load, open_dataset
from lossprint.audit.findings import unjudged
from lossprint.audit.findings.duplicates import write_duplicates
from lossprint.audit.recording.recorder import Recorder
from lossprint.scoring.duplicates import components

RNG = np.random.default_rng(0)


def audited(root, out, size=64):
    """The duplicates of a dataset, without any training: (pairs, run, samples)."""
    loaded = load(open_dataset(root, check=False), size)
    run = Recorder(out, loaded.dataset).run
    write_duplicates(run, loaded, None)
    return run.duplicates(), run, loaded.dataset.samples


def scene(seed, side=96):
    field = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(field).resize((side, side), Image.Resampling.BICUBIC))


def put(root, name, values, **how):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(root / name, **how)


def test_equal_copies_take_a_row_each(tmp_path):
    for at in range(20):
        put(tmp_path / "data", f"{'ab'[at % 2]}/{at}.png", scene(at))
    for at in range(300):
        put(tmp_path / "data", f"{'ab'[at % 2]}/gone{at:03d}.png", scene(99))
    pairs, run, samples = audited(tmp_path / "data", tmp_path / "run")
    assert len(pairs) == 299 and (pairs["kind"] == "exact").all() and run.doubted() == 0
    group = components(pairs["sample"].to_numpy(), pairs["partner"].to_numpy(), 320)
    gone = samples["path"].str.contains("gone").to_numpy()
    assert len(set(group[gone])) == 1 and np.bincount(group).max() == 300


def test_a_near_copy_of_equal_ones_joins_them(tmp_path):
    for at in range(40):
        put(tmp_path / "data", f"{'ab'[at % 2]}/{at:02d}.png", scene(at))
    for at in range(3):
        put(tmp_path / "data", f"a/same{at}.png", scene(7))
    put(tmp_path / "data", "b/packed.jpg", scene(7), quality=60)
    pairs, _, samples = audited(tmp_path / "data", tmp_path / "run")
    at = dict(zip(samples["path"], samples["sample"]))
    group = components(pairs["sample"].to_numpy(), pairs["partner"].to_numpy(), 44)
    names = {samples["path"][row] for row in np.flatnonzero(group == group[at["b/packed.jpg"]])}
    assert names == {"b/07.png", "a/same0.png", "a/same1.png", "a/same2.png", "b/packed.jpg"}
    assert pairs["kind"].tolist().count("near") == 1


def test_equal_frames_of_two_videos_are_paired_across_them(tmp_path):
    rows = []
    for at in range(24):
        video, same = "xyz"[at % 3], at in (0, 3, 1, 4, 2)  # x twice, y twice, z once
        put(tmp_path / "data", f"{at:02d}.png", scene(100 if same else at))
        rows.append((f"{at:02d}.png", "ab"[at % 2], "train", video, at))
    pd.DataFrame(rows, columns=["path", "label", "split", "sequence", "frame"]).to_csv(
        tmp_path / "data" / "labels.csv", index=False
    )
    pairs, _, samples = audited(tmp_path / "data" / "labels.csv", tmp_path / "run")
    sequence = samples.set_index("sample")["sequence"]
    exact = pairs[pairs["kind"] == "exact"]
    assert (sequence[exact["sample"]].to_numpy() != sequence[exact["partner"]].to_numpy()).all()
    assert set(exact["sample"]) | set(exact["partner"]) == {0, 1, 2, 3, 4} and len(exact) == 4


def fixed_camera(root, seed):
    """One scene, noise and exposure anew in each photo, a small object somewhere in half of them."""
    rng, still = np.random.default_rng(seed), scene(seed).astype(float)
    for at in range(40):
        values = still.copy()
        if at % 2:
            y, x = rng.integers(10, 80, 2)
            values[y : y + 7, x : x + 7] = rng.integers(0, 256, 3)
        values = values * rng.uniform(0.97, 1.03) + rng.normal(0, 4, values.shape)
        put(root, f"{'ab'[at % 2]}/{at:02d}.jpg", np.clip(values, 0, 255).astype(np.uint8), quality=92)
    return root


@pytest.mark.parametrize("seed", [1, 2])
def test_a_fixed_camera_makes_no_copies_and_that_is_said(tmp_path, seed):
    pairs, run, _ = audited(fixed_camera(tmp_path / "data", seed), tmp_path / "run")
    assert pairs.empty and run.doubted() > 20
    counts = {"of": 36, "any": 0, "label_error": 0, "outlier": 0, "doubted": run.doubted()}
    run.manifest["facts"]["find"] = {"unjudged": counts}
    assert any("none of these is listed as a near duplicate" in sentence for sentence in unjudged.sentences(run))


def test_how_alike_is_alike_can_be_set_and_is_said(tmp_path):
    for at in range(40):
        put(tmp_path / "data", f"{'ab'[at % 2]}/{at:02d}.png", scene(at))
    put(tmp_path / "data", "a/packed.jpg", scene(7), quality=10)
    loaded = load(open_dataset(tmp_path / "data", check=False), 64)
    counts = []
    for at, least in enumerate((None, 0.5, 0.9999)):
        options = {} if least is None else {"near_similarity": least}
        run = Recorder(tmp_path / f"run{at}", loaded.dataset, asked=options).run
        write_duplicates(run, loaded, None)
        counts.append(len(run.duplicates()))
        run.manifest["facts"]["find"] = {"unjudged": {"of": 36, "any": 0, "label_error": 0, "outlier": 0}}
        assert any("--near-similarity" in sentence for sentence in unjudged.sentences(run)) == (least is not None)
    assert counts == [1, 1, 0]


# ------------------------------------------------------------------------------------------------ changed copies

WAYS = {
    "crop5": lambda image: image.crop((5, 5, 91, 91)),
    "crop10": lambda image: image.crop((10, 9, 86, 87)),
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "around": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "flipped": lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "brighter": lambda image: image.point(lambda level: min(255, round(1.5 * level))),
    "framed": lambda image: ImageOps.expand(image, 6, "white"),
    "grey": lambda image: image.convert("L"),
    "packed": lambda image: image,
}


def drawn(seed):
    """A picture of many shapes on a ground of its own, levels up to 170."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 170, (6, 6, 3), dtype=np.uint8)).resize((96, 96), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for _ in range(10):
        x, y, r = (int(value) for value in rng.integers((0, 0, 5), (96, 96, 16)))
        pen.regular_polygon((x, y, r), int(rng.integers(3, 9)), fill=tuple(int(v) for v in rng.integers(0, 170, 3)))
    return image


def test_changed_copies_are_found_and_nothing_else(tmp_path):
    expected = set()
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "data" / "b").mkdir()
    for at in range(60):
        drawn(at).save(tmp_path / "data" / "a" / f"{at:02d}.png")
    for at, (name, change) in enumerate(WAYS.items()):
        for row in (2 * at, 2 * at + 1):
            change(drawn(row)).save(tmp_path / "data" / "b" / f"{name}{row:02d}.jpg", quality=85)
            expected.add((f"a/{row:02d}.png", f"b/{name}{row:02d}.jpg"))
    pairs, _, samples = audited(tmp_path / "data", tmp_path / "run")
    path = samples.set_index("sample")["path"]
    found = {tuple(sorted((path[one], path[other]))) for one, other in zip(pairs["sample"], pairs["partner"])}
    assert found <= expected
    missed = {next(name for name in WAYS if f"b/{name}" in copy) for _, copy in expected - found}
    assert len(found) >= 18 and all(sum(f"b/{name}" in copy for _, copy in found) for name in WAYS), missed


def meters(root, digits=4, count=40):
    """Readings of one meter, each by a few more than the one before, photographed anew."""
    rng, reading = np.random.default_rng(digits), 1234
    for at in range(count):
        image = Image.new("RGB", (128, 96), (170, 175, 168))
        pen = ImageDraw.Draw(image)
        pen.rectangle([8, 30, 120, 66], fill=(30, 34, 30))
        for place, digit in enumerate(f"{reading:0{digits}d}"):
            pen.text((14 + place * 100 // digits, 34), digit, fill=(240, 60, 40), font_size=26)
        reading += int(rng.integers(1, 9))
        values = np.asarray(image) * rng.uniform(0.97, 1.03) + rng.normal(0, 2, (96, 128, 3))
        put(root, f"{'ab'[at % 2]}/{at:02d}.png", np.clip(values, 0, 255).astype(np.uint8))
    return root


def colours(root, count=40):
    """One template in four colours."""
    rng = np.random.default_rng(0)
    for at in range(count):
        name, colour = [("red", (200, 40, 40)), ("green", (30, 112, 30)), ("blue", (70, 90, 235)), ("grey", (95,) * 3)][
            at % 4
        ]
        image = Image.new("RGB", (96, 96), (240, 240, 240))
        moved = int(rng.integers(-1, 2))
        fill = tuple(int(np.clip(v + rng.integers(-8, 9), 0, 255)) for v in colour)
        ImageDraw.Draw(image).polygon(
            [(20 + moved, 20), (76 + moved, 20), (60 + moved, 84), (36 + moved, 84)], fill=fill
        )
        values = np.asarray(image) + rng.normal(0, 3, (96, 96, 3))
        put(root, f"{name}/{at:02d}.jpg", np.clip(values, 0, 255).astype(np.uint8), quality=92)
    return root


def tiles(root, count=40):
    """Empty ground under a microscope."""
    rng = np.random.default_rng(1)
    for at in range(count):
        put(root, f"{'ab'[at % 2]}/{at:02d}.png", np.clip(180 + rng.normal(0, 5, (64, 64, 3)), 0, 255).astype(np.uint8))
    return root


@pytest.mark.parametrize("made", [meters, colours, tiles])
def test_look_alikes_are_no_copies(tmp_path, made):
    pairs, _, _ = audited(made(tmp_path / "data"), tmp_path / "run")
    assert pairs.empty
