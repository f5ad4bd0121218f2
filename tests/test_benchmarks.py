"""The benchmarks' own arithmetic, and that they run."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_auroc_and_average_precision():
    against = load("against_truth")
    random = np.random.default_rng(0)
    positive = random.random(200) < 0.2
    score = np.round(random.normal(size=200) + positive, 1)  # with ties
    u = mannwhitneyu(score[positive], score[~positive]).statistic
    assert against.auroc(positive, score) == pytest.approx(u / positive.sum() / (~positive).sum())
    # Hits at ranks 1 and 3: (1/1 + 2/3) / 2.
    assert against.average_precision(np.array([0, 1, 1, 0]) == 1, np.array([3, 4, 1.5, 1])) == pytest.approx(5 / 6)


def test_against_truth_prints_its_table(audited):
    truth = Path(__file__).parent.parent / "assets" / "demo" / "truth.csv"
    command = [sys.executable, str(BENCHMARKS / "against_truth.py"), str(audited), str(truth)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "label_error: AUROC" in done.stdout and "near pairs found" in done.stdout


def test_speed_runs_small():
    """Ours and the published procedure agree, or it would stop; the figures of so small a run mean nothing."""
    command = [sys.executable, str(BENCHMARKS / "speed.py"), "cld", "streamed", "pairs", "curvature", "--small"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5
