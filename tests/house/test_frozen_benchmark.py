"""benchmarks/frozen.py on kept features: that it runs beside cleanlab, and what its table says of planted errors."""

from pathlib import Path

import numpy as np
import pandas as pd
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
