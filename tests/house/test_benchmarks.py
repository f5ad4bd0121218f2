"""The benchmarks' own arithmetic, and that they run."""

import gzip
import re
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import cut_demo
from helpers import BENCHMARKS, as_script, benchmark, make_run
from scipy.stats import mannwhitneyu


def with_ties() -> tuple[np.ndarray, np.ndarray, float]:
    """(positive (200,), scores with ties, the area under their ROC curve by scipy)."""
    random = np.random.default_rng(0)
    positive = random.random(200) < 0.2
    score = np.round(random.normal(size=200) + positive, 1)
    u = mannwhitneyu(score[positive], score[~positive]).statistic
    return positive, score, u / positive.sum() / (~positive).sum()


def test_auroc_and_average_precision():
    against = benchmark("against_truth")
    positive, score, area = with_ties()
    assert against.auroc(positive, score) == pytest.approx(area)
    # Hits at ranks 1 and 3: (1/1 + 2/3) / 2.
    assert against.average_precision(np.array([0, 1, 1, 0]) == 1, np.array([3, 4, 1.5, 1])) == pytest.approx(5 / 6)


def test_figures_of_label_errors(monkeypatch):
    bench = benchmark("label_errors", monkeypatch)
    wrong, score, area = with_ties()
    assert bench.figures(wrong, score)[0] == pytest.approx(area)
    # Hits at ranks 1 and 3: (1/1 + 2/3) / 2, and one of the first two.
    found = bench.figures(np.array([0, 1, 1, 0]) == 1, np.array([3, 4, 1.5, np.nan]))
    assert found == pytest.approx([0.75, 5 / 6, 0.5])


@pytest.mark.proof
def test_label_errors_runs_small(tmp_path):
    """Beside the real cleanlab, on the demo's images of three classes; the figures of so small a run mean nothing."""
    demo = Path(__file__).parent.parent.parent / "assets" / "demo" / "truth.csv"
    data, kept = cut_demo(tmp_path / "data", 40, 8), tmp_path / "kept"
    options = ["--data", data, demo, "--no-demo", "--seeds", 0, 1, "--epochs", 3, "--jobs", 1, "--keep", kept]
    told = as_script(BENCHMARKS / "label_errors.py", *options)
    assert "label_error (ours)" in told and "cleanlab 4-fold, self_confidence" in told
    assert len(list(kept.iterdir())) == 2
    assert as_script(BENCHMARKS / "label_errors.py", *options) == told


@pytest.mark.proof
def test_memorization_runs_small_and_estimates(small_dataset):
    bench = benchmark("memorization")
    # Four models, two samples: the first is right only where it was trained on, the second always.
    member = np.array([[1, 1], [1, 0], [0, 1], [0, 0]], bool)
    estimate, error = bench.memorization(member, np.array([[1, 1], [1, 1], [0, 1], [0, 1]], bool))
    assert estimate.tolist() == [1, 0] and error.tolist() == [0, 0]
    options = ["--images", 60, "--val", 20, "--models", 6, "--epochs", 2, "--seeds", 1, "--run-epochs", 2]
    told = as_script(BENCHMARKS / "memorization.py", small_dataset, *options, "--checkpoints", 2, "--workers", 1)
    assert "curvature_last" in told and "6 models of 2 epochs" in told


@pytest.mark.proof
def test_curvature_fidelity_runs_small(small_dataset):
    options = ["--images", 20, "--epochs", 2, "--reference", 3]
    assert "times cheaper" in as_script(BENCHMARKS / "curvature.py", small_dataset, *options)


@pytest.mark.proof
def test_duplicates_runs_small(small_dataset):
    """Ours alone, since the peers are an extra: copies of the demo's images, by a few of each change."""
    options = ["--fresh", small_dataset.parent, "--limit", 120, "--tools", "ours"]
    told = as_script(BENCHMARKS / "duplicates.py", *options)
    assert "nothing but the mirror | ours: 3 of 3" in told and "| 0 | 0.00 |" in told


def test_against_truth_prints_its_table(audited):
    truth = Path(__file__).parent.parent.parent / "assets" / "demo" / "truth.csv"
    told = as_script(BENCHMARKS / "against_truth.py", audited, truth)
    assert "label_error: AUROC" in told and "near pairs found" in told


@pytest.mark.proof
def test_speed_runs_small():
    """Ours and the published procedure agree, or it would stop; the figures of so small a run mean nothing."""
    told = as_script(BENCHMARKS / "speed.py", "cld", "pairs", "curvature", "--small")
    assert len(told.splitlines()) == 4


def planted_coresets(work: Path, name: str = "toy", more: int = 0, model: str | None = None) -> None:
    """A run with an evaluation of which all answers are known: two seeds, 100 test images, `more` right beyond that."""
    run = make_run(work / name)
    right = {
        "random": {0.1: (60, 64), 0.3: (70, 70)},
        "cld": {0.1: (66, 66), 0.3: (72, 72)},
        "cld_reversed": {0.1: (40, 40), 0.3: (71, 71)},
        "recommended": {0.1: (70, 72), 0.3: (65, 65)},
    }
    shared = {"steps": 9, "options": "", "batch": 8, "device": "cpu", "epochs": 1.0, "train_samples": 3, "noisy": 0.1}
    shared |= {"seconds": 1.0, "data": "x", "outdated": False, "split": "test", "label": "bag", "of": 100}
    own = run.manifest["asked"]["model"]
    rows = [
        {**shared, "method": method, "fraction": fraction, "seed": seed, "key": f"{one}{method}{at}{seed}"}
        | {"model": one, "right": found + more}
        for one in dict.fromkeys((own, model or own))
        for method, by_fraction in right.items()
        for at, (fraction, answers) in enumerate(by_fraction.items())
        for seed, found in enumerate(answers)
    ]
    run.update_evaluation(lambda _: pd.DataFrame(rows))


def test_claims_about_coresets_are_held_against_the_figures(tmp_path, capsys, monkeypatch):
    bench = benchmark("coreset")
    planted_coresets(tmp_path)
    bench.claims(SimpleNamespace(work=tmp_path, steps=None))
    told = capsys.readouterr().out
    assert "TRUE  CLD above its reverse everywhere: 10 %: +26.0, 30 %: +1.0" in told
    assert "FALSE CLD above random by 3 points at 10 and 30 %: 10 %: +4.0, 30 %: +2.0" in told
    assert "first half" not in told and "used for" not in told
    bench.table(SimpleNamespace(work=tmp_path, steps=None, best=["recommended"], markdown=False))
    told = capsys.readouterr().out
    assert "recommended at or above every single method within the spread in 1 of 2 cells" in told
    assert "not: toy at 30 %: cld by 7.0" in told
    bench.table(SimpleNamespace(work=tmp_path, steps=None, best=["recommended"], markdown=True))
    told = capsys.readouterr().out.splitlines()
    assert told[3:5] == ["| method | 10 % | 30 % |", "| --- | --- | --- |"]
    assert "| cld | 66.0 ± 0.0 | **72.0 ± 0.0** |" in told and "| recommended | **71.0 ± 1.4** | 65.0 ± 0.0 |" in told


def test_of_one_seed_the_spread_is_none(tmp_path, capsys):
    planted_coresets(tmp_path)
    run = benchmark("coreset").runs_of(tmp_path)[0]
    run.update_evaluation(lambda table: table[table["seed"] == 0])
    benchmark("coreset").table(SimpleNamespace(work=tmp_path, steps=None, best=["recommended"], markdown=False))
    told = capsys.readouterr().out
    assert "in 1 of 2 cells" in told and "not: toy at 30 %: cld by 7.0" in told


def test_the_method_measured_to_be_the_best_is_chosen_on_validation_samples(tmp_path, capsys):
    planted_coresets(tmp_path)
    run = benchmark("coreset").runs_of(tmp_path)[0]
    test = run.evaluation()
    best = {("random", 0.1): 90, ("cld", 0.3): 90}  # right answers of validation samples, of all others 50
    right = [best.get(cell, 50) for cell in zip(test["method"], test["fraction"])]
    run.update_evaluation(lambda now: pd.concat([now, test.assign(split="val", right=right)], ignore_index=True))
    benchmark("coreset").table(SimpleNamespace(work=tmp_path, steps=9, best=["recommended", "measured"], markdown=True))
    told = capsys.readouterr().out
    assert "recommended at or above every single method within the spread in 1 of 2 cells" in told
    assert "measured at or above every single method within the spread in 1 of 2 cells" in told
    assert "not: toy at 10 %: cld by 4.0 over random" in told  # test samples say 66 and 62


def test_what_stands_beside_a_run_is_held_against_it_and_not_among_the_runs(tmp_path, capsys):
    bench = benchmark("coreset")
    for name, more, model in (("toy", 0, "resnet18"), ("toy.half", -2, None), ("toy.resnet18", 1, "resnet18")):
        planted_coresets(tmp_path, name, more, model)
    assert [run.path.parent.name for run in bench.runs_of(tmp_path)] == ["toy"]
    bench.claims(SimpleNamespace(work=tmp_path, steps=None))
    told = capsys.readouterr().out
    assert "FALSE CLD of the first half of the checkpoints within 1 point: 10 %: -2.0, 30 %: -2.0" in told
    assert "FALSE CLD of this run used for resnet18 within 1 point of its own: 10 %: -1.0, 30 %: -1.0" in told
    half = bench.open_run(tmp_path / "toy.half" / "run")
    half.update_evaluation(lambda table: table.assign(steps=8))
    bench.claims(SimpleNamespace(work=tmp_path, steps=9))
    told = capsys.readouterr().out
    assert "-     CLD of the first half of the checkpoints within 1 point: not measured" in told
    assert "used for resnet18 within 1 point of its own: 10 %: -1.0" in told
    bench.claims(SimpleNamespace(work=tmp_path, steps=7))
    assert capsys.readouterr().out == "", "nothing has so many steps"


def test_precisions_are_timed_beside_each_other(capsys):
    how = {"model": "small", "size": 28, "batch": 8, "steps": 3, "device": "cpu"}
    benchmark("coreset").precision(SimpleNamespace(**how))
    assert re.search(r"ms a step: float32 \d+\.\d, bfloat16 \d+\.\d, ratio \d+\.\d\d\n", capsys.readouterr().out)


def test_noise_is_planted_in_train_alone(tmp_path):
    bench = benchmark("coreset")
    for split, count in (("train", 400), ("t10k", 60)):
        pixels, labels = np.zeros((count, 28, 28), np.uint8), np.arange(count, dtype=np.uint8) % 10
        for what, array in (("images-idx3-ubyte", pixels), ("labels-idx1-ubyte", labels)):
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (tmp_path / f"{split}-{what}.gz").write_bytes(gzip.compress(head + array.tobytes()))
    bench.make_fashion(tmp_path, tmp_path / "made", 40, 400, 100)
    table = pd.read_csv(tmp_path / "made" / "labels-40.csv")
    truth = pd.read_csv(tmp_path / "made" / "truth.csv").set_index("path")["true_label"]
    wrong = table["label"] != table["path"].map(truth)
    assert table["split"].value_counts().to_dict() == {"train": 300, "val": 100, "test": 60}
    assert not wrong[table["split"] != "train"].any() and 0.3 < wrong[table["split"] == "train"].mean() < 0.5


@pytest.mark.proof
def test_a_selector_is_timed_in_a_process_of_its_own():
    command = [sys.executable, str(BENCHMARKS / "coreset.py"), "selectors", "--samples", "900", "--methods", "facility"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    name, seconds, extra, chosen = done.stdout.splitlines()[-1].split()
    assert name == "facility" and float(seconds) > 0 and float(extra) >= 0 and chosen == "90"


def test_partners_with_the_true_label_are_counted_by_side():
    bench = benchmark("evidence")
    names = ["sample", "scope", "side", "label", "given", "true"]
    rows = [(1, "all", "conflicting", label, "bag", "coat") for label in ("coat", "coat", "bag", "shirt")]
    rows += [(2, "all", "conflicting", "bag", "bag", "shirt"), (1, "class", "aligned", "bag", "bag", "coat")]
    first, second = bench.shares(pd.DataFrame(rows, columns=names))
    assert first.split() == ["all,", "conflicting", "40.0", "%", "40.0", "%", "0.0", "%", "2"]
    assert second.split() == ["class,", "aligned", "0.0", "%", "100.0", "%", "0.0", "%", "1"]
