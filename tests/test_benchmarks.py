"""The benchmarks' own arithmetic, and that they run."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def load(name: str, monkeypatch=None):
    if monkeypatch is not None:  # one that imports from the file beside it, as a script finds it
        monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_ties() -> tuple[np.ndarray, np.ndarray, float]:
    """(positive (200,), scores with ties, the area under their ROC curve by scipy)."""
    random = np.random.default_rng(0)
    positive = random.random(200) < 0.2
    score = np.round(random.normal(size=200) + positive, 1)
    u = mannwhitneyu(score[positive], score[~positive]).statistic
    return positive, score, u / positive.sum() / (~positive).sum()


def test_auroc_and_average_precision():
    against = load("against_truth")
    positive, score, area = with_ties()
    assert against.auroc(positive, score) == pytest.approx(area)
    # Hits at ranks 1 and 3: (1/1 + 2/3) / 2.
    assert against.average_precision(np.array([0, 1, 1, 0]) == 1, np.array([3, 4, 1.5, 1])) == pytest.approx(5 / 6)


def test_figures_of_label_errors(monkeypatch):
    bench = load("label_errors", monkeypatch)
    wrong, score, area = with_ties()
    assert bench.figures(wrong, score)[0] == pytest.approx(area)
    # Hits at ranks 1 and 3: (1/1 + 2/3) / 2, and one of the first two.
    found = bench.figures(np.array([0, 1, 1, 0]) == 1, np.array([3, 4, 1.5, np.nan]))
    assert found == pytest.approx([0.75, 5 / 6, 0.5])


def test_label_errors_runs_small(small_dataset, tmp_path):
    """Beside the real cleanlab, on the demo's images of three classes; the figures of so small a run mean nothing."""
    demo = Path(__file__).parent.parent / "assets" / "demo" / "truth.csv"
    command = [sys.executable, str(BENCHMARKS / "label_errors.py"), "--data", str(small_dataset), str(demo)]
    command += ["--no-demo", "--seeds", "0", "1", "--epochs", "3", "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "label_error (ours)" in done.stdout and "cleanlab 4-fold, self_confidence" in done.stdout
    assert len(list(tmp_path.iterdir())) == 2
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.stdout == done.stdout


def test_memorization_runs_small_and_estimates(small_dataset):
    bench = load("memorization")
    # Four models, two samples: the first is right only where it was trained on, the second always.
    member = np.array([[1, 1], [1, 0], [0, 1], [0, 0]], bool)
    estimate, error = bench.memorization(member, np.array([[1, 1], [1, 1], [0, 1], [0, 1]], bool))
    assert estimate.tolist() == [1, 0] and error.tolist() == [0, 0]
    command = [sys.executable, str(BENCHMARKS / "memorization.py"), str(small_dataset), "--images", "60", "--val", "20"]
    command += ["--models", "6", "--epochs", "2", "--seeds", "1", "--run-epochs", "2", "--checkpoints", "2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "curvature_last" in done.stdout and "6 models of 2 epochs" in done.stdout


def test_curvature_fidelity_runs_small(small_dataset):
    command = [sys.executable, str(BENCHMARKS / "curvature.py"), str(small_dataset), "--images", "20"]
    done = subprocess.run([*command, "--epochs", "2", "--reference", "3"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "times cheaper" in done.stdout


def test_duplicates_runs_small(small_dataset):
    """Ours alone, since the peers are an extra: copies of the demo's images, by a few of each change."""
    command = [sys.executable, str(BENCHMARKS / "duplicates.py"), "--fresh", str(small_dataset.parent)]
    done = subprocess.run([*command, "--limit", "120", "--tools", "ours"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "nothing but the mirror | ours: 3 of 3" in done.stdout and "| 0 | 0.00 |" in done.stdout


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
