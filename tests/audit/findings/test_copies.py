"""Duplicates of a dataset as they are written into a run: equal copies in linear space, and none that is doubted."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

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
