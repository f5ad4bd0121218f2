"""Which scores follow memorization: one ordinary run beside the Feldman-Zhang estimate from many models.

    python benchmarks/memorization.py SOURCE [--images N] [--models M] [--epochs E] [--precision float32|bfloat16] ...

SOURCE is a folder of gzipped IDX files (MNIST's names, such as Debian's dataset-fashion-mnist) or anything that
`lossprint audit` takes, of which the training images are used as labelled. M small networks are each trained on a
random 70 % of N images, without augmentation, until they memorise them (arXiv 2008.03703):

    memorization_i = P(correct | i in the subset) - P(correct | i not in the subset)

Then the audit's own recipe trains on all N images, once a seed, and the table shows how each score's ranking agrees
with memorization: Spearman, and the cosine (not centred, as in the curvature papers), mean over the seeds, with the
standard error over images from a bootstrap of that mean. Reliability is the Spearman correlation of the estimates from
two halves of the models, stepped up to all of them (Spearman-Brown): no score can be expected above its square root.
Two worker processes with a thread each are faster on two cores than one process with two.
"""

import argparse
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch.nn import functional as F

from lossprint.assets.make_demo import read_idx
from lossprint.audit.findings.score import score_run
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.training import loading, train
from lossprint.audit.training.models import build_model
from lossprint.audit.workflow import stages
from lossprint.scoring import input_curvature as curvature
from lossprint.scoring.memorized.memorization import memorization

SIGNS = {
    "csl": 1,
    "final_loss": 1,
    "curvature": 1,
    "curvature_last": 1,
    "gradient_norm": 1,
    "aum": -1,
    "label_error": 1,
}


@dataclass(frozen=True)
class Plan:
    """How a subset model is trained: SGD with Nesterov momentum, one cycle of the rate, no augmentation or decay."""

    epochs: int = 20
    batch: int = 64
    rate: float = 0.05
    fraction: float = 0.7
    precision: str = "float32"


# ---------------------------------------------------------------------------------------------- data


def load(source: Path, images: int, val: int, seed: int):
    """`images` training and `val` validation images, drawn at random: `train.Inputs` and the classes' names."""
    if (source / "train-images-idx3-ubyte.gz").is_file():
        pixels = read_idx(source / "train-images-idx3-ubyte.gz")[..., None].repeat(3, axis=3)
        labels = read_idx(source / "train-labels-idx1-ubyte.gz").astype(np.int64)
        pool, val_pool = np.split(np.random.default_rng(seed).permutation(len(labels)), [len(labels) // 2])
    else:
        asked = {**loading.DEFAULTS, "dataset": str(source)}
        whole = loading.inputs_of(*loading.load(asked, quiet=True))
        pixels, labels = whole.pixels, whole.labels
        random = np.random.default_rng(seed)
        pool, val_pool = (random.permutation(whole.rows(split)) for split in ("train", "val"))
    rows = np.concatenate([pool[:images], val_pool[:val]])
    split = np.repeat(["train", "val"], [min(images, len(pool)), min(val, len(val_pool))])
    pixels = np.ascontiguousarray(pixels[rows])
    mean, std = train.channel_statistics(pixels, np.flatnonzero(split == "train"))
    classes = int(labels.max()) + 1
    return train.Inputs(np.arange(len(rows)), labels[rows], split, pixels, pixels.shape[1], mean, std, classes)


# ---------------------------------------------------------------------------------------------- many models


def subset_model(inputs, plan: Plan, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Train one model on its subset of the N training images: (member (N,) bool, correct afterwards (N,) bool)."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rows, random = inputs.rows("train"), np.random.default_rng(seed)
    member = np.zeros(len(rows), bool)
    member[random.permutation(len(rows))[: round(plan.fraction * len(rows))]] = True
    images = inputs.normalised(torch.from_numpy(inputs.pixels[rows]).permute(0, 3, 1, 2), "cpu")
    labels = torch.from_numpy(inputs.labels[rows])
    network = build_model("small", inputs.classes, inputs.size).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=plan.rate, momentum=0.9, nesterov=True)
    parts = max(int(member.sum()) // plan.batch, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate, total_steps=plan.epochs * parts)
    half = torch.autocast("cpu", dtype=torch.bfloat16, enabled=plan.precision == "bfloat16")
    for _ in range(plan.epochs):
        for at in np.array_split(random.permutation(np.flatnonzero(member)), parts):
            with half:
                logits = network(images[at])
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(logits.float(), labels[at]).backward()
            optimizer.step()
            schedule.step()
    network.eval()
    with torch.inference_mode():
        correct = torch.cat([network(part).argmax(1) for part in images.split(256)]) == labels
    return member, correct.numpy()


def reliability(member: np.ndarray, correct: np.ndarray) -> float:
    """Spearman correlation of the estimates from the even and the odd models, stepped up to all models."""
    first, second = (memorization(member[start::2], correct[start::2])[0] for start in (0, 1))
    both = np.isfinite(first) & np.isfinite(second)
    r = spearmanr(first[both], second[both]).statistic
    return 2 * r / (1 + r)


# ---------------------------------------------------------------------------------------------- one ordinary run


def ordinary_run(inputs, epochs: int, checkpoints: int, seed: int) -> pd.DataFrame:
    """The audit's scores of the N training images after its own recipe on all of them; columns of `SIGNS`."""
    names = inputs.labels.astype(str)
    table = pd.DataFrame({"sample": inputs.samples, "label": names, "split": inputs.split})
    table["path"] = [f"{sample:06d}.png" for sample in inputs.samples]
    order = [str(index) for index in range(inputs.classes)]
    with tempfile.TemporaryDirectory() as folder:
        asked = {"model": "small", "epochs": epochs, "seed": seed, "curvature_checkpoints": checkpoints}
        recorder = Recorder(Path(folder) / "run", table, classes=order, asked=asked, seed=seed)
        network = train.train(recorder, inputs, model="small", epochs=epochs, seed=seed, device="cpu", quiet=True)
        run, work = recorder.finish(), stages.Work(asked, inputs, None, "cpu", True)
        run = stages.measure_curvature(run, stages.OwnNetworks(run, work), work)
        scores = score_run(run).scores().set_index("sample")
        last = curvature.measure(network.eval(), inputs.batches(inputs.rows("train"), "cpu"), seed=seed)
        final = run.part("train", epochs).to_pandas().set_index("sample")["loss"]
    scores["curvature_last"] = pd.Series(last.curvature, index=last.samples)
    scores["final_loss"] = final
    return scores.loc[inputs.samples[inputs.rows("train")], list(SIGNS)].astype(float)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def agreement(scores: list[np.ndarray], target: np.ndarray, draws: int = 200) -> tuple[float, float, float, float]:
    """Mean over the runs of Spearman and cosine of (N,) scores with (N,) memorization, and both standard errors."""
    random, rows = np.random.default_rng(0), np.arange(len(target))

    def means(at: np.ndarray) -> tuple[float, float]:
        spearman = [spearmanr(score[at], target[at]).statistic for score in scores]
        return float(np.mean(spearman)), float(np.mean([cosine(score[at], target[at]) for score in scores]))

    errors = np.std([means(random.choice(rows, len(rows))) for _ in range(draws)], axis=0)
    spearman, angle = means(rows)
    return spearman, angle, float(errors[0]), float(errors[1])


def report(runs: list[pd.DataFrame], target: np.ndarray) -> list[str]:
    known = np.isfinite(target)
    lines = [f"{'score':<16}  spearman  +-      cosine  +-      spearman of each run"]
    for name, sign in SIGNS.items():
        scores = [sign * run[name].to_numpy()[known] for run in runs]
        if not all(np.isfinite(score).all() for score in scores):
            lines.append(f"{name:<16}  not measured for every image")
            continue
        spearman, angle, error, angle_error = agreement(scores, target[known])
        each = " ".join(f"{spearmanr(score, target[known]).statistic:.3f}" for score in scores)
        lines.append(f"{name:<16}  {spearman:8.3f}  {error:.3f}  {angle:6.3f}  {angle_error:.3f}  {each}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--val", type=int, default=300, help="validation images of the ordinary runs")
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=20, help="of each subset model")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the subset models")
    parser.add_argument("--seeds", type=int, default=3, help="ordinary runs")
    parser.add_argument("--run-epochs", type=int, default=loading.DEFAULTS["epochs"], help="of each ordinary run")
    parser.add_argument("--checkpoints", type=int, default=loading.DEFAULTS["curvature_checkpoints"])
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    inputs = load(options.source, options.images, options.val, 0)
    plan = Plan(epochs=options.epochs, precision=options.precision)
    began = time.perf_counter()
    with ProcessPoolExecutor(options.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        done = list(pool.map(partial(subset_model, inputs, plan), range(options.models)))
        member, correct = (np.array(column) for column in zip(*done, strict=True))
        target, error = memorization(member, correct)
        trained = time.perf_counter()
        print(f"{len(target)} images, {options.models} models of {plan.epochs} epochs in {plan.precision}")
        print(
            f"accuracy inside the subset {correct[member].mean():.3f}, outside {correct[~member].mean():.3f}; "
            f"{trained - began:.0f} s"
        )
        print(
            f"memorization: mean {np.nanmean(target):.3f}, over 0.25 {np.nanmean(target > 0.25):.1%}, standard error "
            f"of one estimate {np.nanmean(error):.3f}, reliability {reliability(member, correct):.3f}",
            flush=True,
        )
        run = partial(ordinary_run, inputs, options.run_epochs, options.checkpoints)
        runs = list(pool.map(run, range(options.seeds)))
    print(f"{options.seeds} ordinary runs of {options.run_epochs} epochs, {time.perf_counter() - trained:.0f} s")
    print("\n".join(report(runs, target)))


if __name__ == "__main__":
    main()
