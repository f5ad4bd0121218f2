"""What an audit does after the features: head, closed forms, vote, scores, findings, on made-up features of any size.

    python benchmarks/frozen_scale.py --samples 5000 --dimensions 1280 --classes 10 --work DIR [--peer] [--threads 1]

Features are drawn around a mean for each class, with 64 strong common factors, as those of a network have, written to
DIR as float16 and memory-mapped; 10 % of the labels are wrong, 100 samples a class (at most a tenth) are for
validation. `--kept FILE LABELS` takes features that `frozen_features.py` has kept, and the manifest, instead. What the
program runs after its pass over the images is run here in a process of its own, by the same functions, without the
images' duplicates. Prints seconds of each part by the clock, the processor's seconds, peak memory, and the average
precision of the planted labels. `--peer`: cleanlab beside it in the same run, on the same features: 5 folds of
scikit-learn's logistic regression at its default C, scores and `find_label_issues`; and the ratio.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from against_truth import average_precision  # beside this file

EPOCHS, WRONG, BLOCK, FACTORS = 30, 0.1, 1 << 16, 64


def made(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray]:
    """Features (N, d), given labels (N,), which are wrong (N,) where that is known, and which are for training (N,)."""
    if options.kept:
        table = pd.read_csv(options.kept[1], dtype=str, keep_default_na=False)
        table = table[table["split"] != "test"]
        with np.load(options.kept[0]) as kept:
            features = kept["features"]
        return (
            features,
            table["label"].astype("category").cat.codes.to_numpy(int),
            None,
            table["split"].eq("train").to_numpy(),
        )
    n, d, classes = options.samples, options.dimensions, options.classes
    random = np.random.default_rng([n, d, classes])
    means = random.standard_normal((classes, d), np.float32) * np.float32(0.25)
    factors = random.standard_normal((FACTORS, d), np.float32) * (0.98 ** np.arange(FACTORS, dtype=np.float32))[:, None]
    validation = min(100 * classes, n // 10)
    true = random.integers(0, classes, n + validation)
    file = options.work / f"features-{n}-{d}-{classes}.npy"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        rows = np.lib.format.open_memmap(part, "w+", np.float16, (n + validation, d))
        for start in range(0, len(true), BLOCK):
            block = means[true[start : start + BLOCK]]
            block += random.standard_normal((len(block), FACTORS), np.float32) @ factors
            block += random.standard_normal(block.shape, np.float32)
            rows[start : start + BLOCK] = np.maximum(block, -1)  # as after an activation
        rows.flush()
        part.replace(file)
    random = np.random.default_rng([n, classes])
    train = np.arange(len(true)) < n
    wrong = train & (random.random(len(true)) < WRONG)
    labels = np.where(wrong, (true + random.integers(1, classes, len(true))) % classes, true)
    return np.load(file, mmap_mode="r"), labels, wrong, train


class Parts:
    """Seconds of named parts by the clock and of the processor; what runs inside a part counts for the inner one."""

    def __init__(self):
        self.seconds: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))
        self.last, self.names = self._now(), ["rest"]

    @staticmethod
    def _now() -> np.ndarray:
        return np.array([time.perf_counter(), time.process_time()])

    def _count(self) -> None:
        now = self._now()
        self.seconds[self.names[-1]] += now - self.last
        self.last = now

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        self._count()
        self.names.append(name)
        try:
            yield
        finally:
            self._count()
            self.names.pop()

    def report(self) -> None:
        self._count()
        for name, (clock, processor) in self.seconds.items():
            print(f"  {name:<22}{clock:>9.1f} s{processor:>9.1f} s of the processor")
        clock, processor = sum(self.seconds.values())
        asked = processor - self.seconds["map"][1]
        print(f"  whole {clock:.1f} s, without the map {asked:.1f}, with it {processor:.1f} s of the processor")


def clocked(parts: Parts, stack: ExitStack) -> None:
    """Have the parts of `heads.train` and of the stages after it add to the seconds by name."""
    from lossprint.audit.findings import find
    from lossprint.audit.training import heads
    from lossprint.scoring.heads import combine, foreign, lda, linear, vote

    def slow(call, name):
        def timed(*inputs, **options):
            with parts.of(name):
                return call(*inputs, **options)

        return timed

    named = [(linear, "chosen_decay", "weight decay"), (lda, "shuffled", "closed forms"), (vote, "vote", "vote")]
    named += [(combine, "rank", "ranking"), (foreign, "remoteness", "NNGuide"), (heads, "_record", "recording")]
    named += [(find, "_write_layout", "map")]
    for module, function, name in named:
        stack.enter_context(mock.patch.object(module, function, slow(getattr(module, function), name)))


def ours(options: argparse.Namespace) -> None:
    """The program's part, in this process: prints seconds by part, peak and average precision."""
    import shutil

    import torch

    from lossprint.audit.recording.recorder import Recorder
    from lossprint.audit.system.memory import peak
    from lossprint.audit.training import heads
    from lossprint.audit.training.inputs import Inputs
    from lossprint.audit.workflow import frozen

    torch.set_num_threads(options.threads)
    vectors, labels, wrong, train = made(options)
    n, classes = len(labels), int(labels.max()) + 1
    split, names = np.where(train, "train", "val"), [f"{c:04d}" for c in range(classes)]
    table = pd.DataFrame({"sample": np.arange(n), "path": [str(i) for i in range(n)], "split": split})
    table["label"] = np.array(names)[labels]
    ones = np.ones(3)
    inputs = Inputs(np.arange(n), labels, split, None, 0, ones, ones, classes)
    shutil.rmtree(options.work / "run", ignore_errors=True)
    recorder = Recorder(options.work / "run", table, classes=names)
    del table
    parts = Parts()
    with ExitStack() as stack:
        clocked(parts, stack)
        options_of_head = {"epochs": EPOCHS, "seed": 0, "device": "cpu", "bar": mock.Mock()}
        with parts.of("head"):
            ranking, facts = heads.train(recorder, vectors, inputs, np.arange(n), **options_of_head)
        with parts.of("written"):
            recorder.run.write_head(ranking)
            recorder.run.write_embeddings(inputs.samples, vectors)
        run = recorder.finish(device="cpu", dimensions=vectors.shape[1], **facts)
        with parts.of("scores and findings"):
            run = frozen.finished(run)
    precision = told(wrong, train, run.scores()["label_error"].to_numpy())
    print(f"  weight decay {facts['decay']:g}, shrinkage {facts['shrinkage']:g}, peak {peak() / 1e9:.2f} GB{precision}")
    parts.report()


def told(wrong: np.ndarray | None, train: np.ndarray, score: np.ndarray) -> str:
    return "" if wrong is None else f", AP {average_precision(wrong[train], score):.3f}"


def peer(options: argparse.Namespace) -> None:
    """cleanlab's part, in this process."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels, wrong, train = made(options)
    values, given = np.asarray(features[train], np.float32), labels[train]
    began, processor = time.perf_counter(), time.process_time()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    p = cross_val_predict(model, values, given, cv=5, method="predict_proba")
    score = get_label_quality_scores(given, p)
    find_label_issues(given, p, n_jobs=1)  # of several jobs it forks, and a process with threads may hang
    whole, used = time.perf_counter() - began, time.process_time() - processor
    print(f"  whole {whole:.1f} s, {used:.1f} s of the processor{told(wrong, train, -score)}")


PARTS = {"ours": ours, "peer": peer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--dimensions", type=int, default=1280)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--kept", nargs=2, type=Path, metavar=("FILE", "LABELS"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        PARTS[options.part](options)
        return
    options.work.mkdir(parents=True, exist_ok=True)
    features, labels, _, train = made(options)
    print(
        f"{train.sum():,} x {features.shape[1]:,}, {labels.max() + 1:,} classes; {platform.machine()}, "
        f"{options.threads} threads of {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    used = {}
    for part in ("ours", "peer") if options.peer else ("ours",):
        environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(options.threads))
        command = [sys.executable, __file__, *sys.argv[1:], "--part", part]
        output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
        print(f"{part}\n{output}", end="", flush=True)
        used[part] = float(output.rpartition(" s of the processor")[0].rpartition(" ")[2])
    if options.peer:
        print(f"cleanlab takes {used['peer'] / used['ours']:.1f} times the seconds of the processor")


if __name__ == "__main__":
    main()
