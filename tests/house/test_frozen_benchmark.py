"""benchmarks/frozen.py on kept features: that it runs beside cleanlab, and what its table says of planted errors."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import cut_demo
from helpers import BENCHMARKS, as_script, benchmark


def test_frozen_runs_on_kept_features(tmp_path, monkeypatch):
    """Features that name the true class but for noise: the ranking then leads to the planted errors."""
    bench = benchmark("frozen_features", monkeypatch)
    labels = Path(cut_demo(tmp_path / "data", 60, 10))
    demo = Path(__file__).parent.parent.parent / "assets" / "demo" / "truth.csv"
    table = pd.read_csv(labels, dtype=str)
    truth = pd.read_csv(demo, dtype=str).set_index("path").loc[table["path"]].reset_index()
    random = np.random.default_rng(0)
    train = np.flatnonzero(table["split"] == "train")
    for row in train[random.permutation(len(train))[:15]]:
        others = sorted(set(table["label"]) - {truth.loc[row, "true_label"]})
        table.loc[row, "label"], truth.loc[row, "is_error"] = others[0], "1"
    wrong = table["label"] != truth["true_label"]
    truth["is_error"] = wrong.astype(int).astype(str)
    table.to_csv(labels, index=False)
    truth.to_csv(tmp_path / "truth.csv", index=False)
    kept = table["split"] != "test"
    true = truth.loc[kept, "true_label"].astype("category").cat.codes.to_numpy()
    values = (np.eye(12)[true] * 4 + random.normal(size=(kept.sum(), 12))).astype(np.float16)
    name = bench.cached_name(bench.images(labels), labels.parent.name, "lite0")
    np.savez(tmp_path / name, features=values, stages=[12])
    options = ["--data", labels, tmp_path / "truth.csv", "--cache", tmp_path, "--seeds", 0, "--c", 1]
    told = as_script(BENCHMARKS / "frozen.py", *options)
    lines = {line[45:73].strip(): line[73:].split() for line in told.splitlines()}
    assert float(lines["ranking of all"][0]) > 0.8 and float(lines["ranking of all"][3]) > 0.95
    assert "cleanlab, 5 folds, C 1" in lines and "linear head, curvature" in lines


@pytest.mark.proof
def test_the_parts_after_the_features_are_timed_beside_cleanlab(tmp_path):
    options = ["--samples", 300, "--dimensions", 16, "--classes", 3, "--work", tmp_path, "--peer"]
    told = as_script(BENCHMARKS / "frozen_scale.py", *options)
    assert "300 x 16, 3 classes" in told and "cleanlab takes" in told
    for part in ("weight decay", "closed forms", "vote", "NNGuide", "scores and findings", "peak"):
        assert part in told


def test_views_are_measured_on_the_same_images_at_every_rate(tmp_path, monkeypatch):
    bench = benchmark("frozen_views", monkeypatch)
    for name, array in (("images-idx3", np.zeros((700, 28, 28), np.uint8)), ("labels-idx1", np.arange(700) % 10)):
        head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        (tmp_path / f"train-{name}-ubyte.gz").write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))
    tables = {}
    for kind, rate in (("random", 10), ("class-dependent", 40)):
        labels, truth = bench.injected(tmp_path, tmp_path / "made", 150, kind, rate, 0)
        tables[rate] = pd.read_csv(labels).merge(pd.read_csv(truth), on="path")
    for rate, table in tables.items():
        assert ((table["label"] != table["true_label"]) == (table["is_error"] == 1)).all()
        assert table["is_error"].sum() == round(1.5 * rate) and not table.loc[table["split"] == "val", "is_error"].any()
    assert (tables[10]["path"] == tables[40]["path"]).all()
    wrong = tables[40][tables[40]["is_error"] == 1]
    assert (wrong["label"] == wrong["true_label"].map(bench.SIMILAR)).all()
