"""Speed and memory of the scorers, each beside the plain or the published procedure in the same run.

    python benchmarks/speed.py [cld] [pairs] [curvature] [training]      all of them by default

Prints one table: ours, the other, the ratio, extra memory. Each measurement is the best of several in a process of its
own, so that peaks do not mix. Inputs are synthetic; sizes are those of the papers. `--small` shrinks them for a test.

  cld        N=50,000, E=164, C=100 beside the authors' numpy procedure, written anew after reading it, on the same
             float32 arrays; also what it takes from the lists that their recorder leaves, and a copy of the losses
  pairs      50,000 x 5,000, E=164, top 10 a side, beside the bare float32 matrix product
  curvature  n=10 draws of `small` at 32 px, batch 256, beside the authors' procedure, written anew after reading it
  training   images a second of `small` beside torchvision's resnet18 at 32 px, and what recording adds: in eval mode
             with batch norm's statistics, and as a by-product of a loop of one's own; both to Parquet on the disk
"""

import argparse
import itertools
import multiprocessing
import platform
import resource
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np


def best(call: Callable[[], object], times: int = 3) -> float:
    """Seconds of the fastest of several calls."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def side_by_side(*calls: Callable[[], object], times: int) -> list[float]:
    """Seconds of the fastest of several runs of each call, by turns, so that a busy moment falls on all of them."""
    seconds = [[best(call, 1) for call in calls] for _ in range(times)]
    return [min(column) for column in zip(*seconds)]


def extra_memory(call: Callable[[], object]) -> int:
    """Most bytes that numpy held at once during a call, beyond what it held before."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def trajectories(checkpoints: int, samples: int, seed: int) -> np.ndarray:
    """Falling, noisy losses (E, N) float32."""
    random = np.random.default_rng(seed)
    fall = np.exp(-np.arange(checkpoints, dtype=np.float32) / (checkpoints / 4))[:, None]
    losses = random.random((checkpoints, samples), dtype=np.float32)
    losses *= 0.3
    losses += fall * random.gamma(2.0, 1.0, samples).astype(np.float32)
    return losses


# ---------------------------------------------------------------------------------------------- CLD in memory


def published_cld(rows: list, val_rows: list, labels: np.ndarray, val_labels: np.ndarray, classes: int) -> dict:
    """The authors' procedure: float64 everywhere, all differences at once, class by class; indices, best first.

    After Compute_CLD_scores.py in manishnagaraj/CLD_Coresets_from_Trajectories: the same numpy operations in the same
    order, without its progress bar, unpickling and saving. rows, val_rows: losses at each checkpoint, arrays or lists.
    """
    losses = np.vstack([np.asarray(row, dtype=float) for row in rows])
    val = np.vstack([np.asarray(row, dtype=float) for row in val_rows])
    change = np.diff(losses, axis=0)
    ranked = {}
    for c in range(classes):
        mine, theirs = labels == c, val_labels == c
        if not mine.any() or not theirs.any():
            ranked[c] = np.empty(0, dtype=int)
            continue
        reference = np.diff(val[:, theirs].mean(axis=1))
        own = change[:, mine]
        mean, spread = own.mean(axis=0), own.std(axis=0)
        reference_mean, reference_spread = reference.mean(), reference.std()
        own = (own - mean) / np.where(spread == 0, 1.0, spread)
        reference = (reference - reference_mean) / (reference_spread or 1.0)
        r = (own * reference[:, None]).mean(axis=0)
        ranked[c] = np.flatnonzero(mine)[np.argsort(r)[::-1]]
    return ranked


def best_first(scores: np.ndarray, labels: np.ndarray, classes: int) -> dict:
    """Indices of each class's samples, highest score first."""
    by_class = np.argsort(labels.astype(np.int16), kind="stable")  # of 16 bits: a radix sort
    bounds = np.searchsorted(labels[by_class], np.arange(classes + 1))
    members = (by_class[start:stop] for start, stop in itertools.pairwise(bounds))
    return {c: rows[np.argsort(-scores[rows])] for c, rows in enumerate(members)}


def cld(small: bool) -> list[tuple]:
    from lossprint.scoring import trajectory

    n, checkpoints, classes = (2_000, 20, 10) if small else (50_000, 164, 100)
    losses, val = trajectories(checkpoints, n, 0), trajectories(checkpoints, n // 10, 1)
    random = np.random.default_rng(2)
    labels, val_labels = random.integers(0, classes, n), random.integers(0, classes, n // 10)
    room = np.empty_like(losses)

    def ours():
        means = trajectory.class_means(val, val_labels, classes)
        return best_first(trajectory.cld(losses, labels, means), labels, classes)

    def theirs():
        return published_cld(list(losses), list(val), labels, val_labels, classes)

    a, b = ours(), theirs()
    assert all(np.array_equal(a[c], b[c]) for c in range(classes)), "the orders differ"
    fast, slow, copied = side_by_side(ours, theirs, lambda: np.copyto(room, losses), times=7)
    memory = [extra_memory(call) / losses.nbytes for call in (ours, theirs)]
    lists, val_lists = ([list(row) for row in rows] for rows in (losses, val))
    listed = best(lambda: published_cld(lists, val_lists, labels, val_labels, classes), 2)
    name = f"CLD, {n:,} x {checkpoints}, {classes} classes"
    return [
        (
            name,
            f"{fast:.4f} s",
            f"{slow:.4f} s",
            f"{slow / fast:.1f} times as fast",
            *map("{:.2f} of input".format, memory),
            f"theirs from their recorder's lists {listed:.2f} s",
            f"copying the losses {copied:.4f} s",
        )
    ]


# ---------------------------------------------------------------------------------------------- pairs


def pairs(small: bool) -> list[tuple]:
    from lossprint.scoring.pairs import partners

    n, m, checkpoints = (1_000, 200, 20) if small else (50_000, 5_000, 164)
    losses, queries = trajectories(checkpoints, n, 0), trajectories(checkpoints, m, 1)
    rows, columns = np.ascontiguousarray(losses.T), np.ascontiguousarray(queries.T)

    def product():
        for start in range(0, n, 2000):
            rows[start : start + 2000] @ columns.T

    slow, fast = side_by_side(lambda: partners(losses, queries, 10), product, times=3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    name = f"pairs, {n:,} x {m:,}, top 10 a side"
    return [
        (
            name,
            f"{slow:.2f} s",
            f"{fast:.2f} s product",
            f"{slow / fast:.1f} times the product",
            f"RSS {peak:.2f} GB",
            "",
        )
    ]


# ---------------------------------------------------------------------------------------------- curvature


def published_curvature(network, images, labels, signs: Callable[[int], object], draws: int, h: float):
    """The authors' procedure: mean over draws of |grad of (mean loss at x + v minus mean loss at x)|, and the trace.

    After get_regularized_curvature_for_batch in scores.py of "Curvature Clues" (ICML 2024): both passes for every draw,
    one call of autograd.grad for their difference with respect to the images alone (so no weight gradients), and the
    products v . grad of the batch as the diagonal of a B x B matrix. Kinder than theirs: no loop over rows for the
    signs. signs(draw) gives +-1 in the images' shape. Returns two (B,) tensors.
    """
    import torch
    from torch.nn import functional as F

    size = len(images)
    lengths, products = torch.zeros(2, size, device=images.device)
    images = images.detach().requires_grad_(True)
    for draw in range(draws):
        v = h * signs(draw)
        rise = F.cross_entropy(network(images + v), labels) - F.cross_entropy(network(images), labels)
        change = torch.autograd.grad(rise, images)[0].reshape(size, -1)
        lengths += change.norm(dim=1)
        products += (v.reshape(size, -1) @ change.T).diag()
    return lengths / draws, products / draws


def curvature(small: bool) -> list[tuple]:
    import torch

    from lossprint.audit.training.models import build_model
    from lossprint.scoring.input_curvature import measure, rademacher

    batch, draws, h = (32, 2, 1e-3) if small else (256, 10, 1e-3)
    torch.manual_seed(0)
    network = build_model("small", 10, 32).eval()
    images = torch.randn(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels, ids = torch.randint(0, 10, (batch,)), np.arange(batch)

    def ours():
        return measure(network, [(ids, images, labels)], draws=draws, h=h)

    def theirs():
        return published_curvature(network, images, labels, at_random, draws, h)

    def at_random(_):
        return torch.randint_like(images, 2).mul_(2).sub_(1)

    same = published_curvature(network, images, labels, lambda draw: rademacher(ids, draw, images), draws, h)[0]
    # Their mean loss divides by the batch size and they leave h in. Differences of float32 gradients: a few per mille.
    assert np.allclose(same.numpy() * batch / h, ours().curvature, rtol=0.02, atol=0.02), "the scores differ"
    fast, slow = side_by_side(ours, theirs, times=5)
    name = f"curvature, n={draws}, batch {batch} at 32 px"
    return [(name, f"{fast:.2f} s", f"{slow:.2f} s", f"{slow / fast:.2f} times as fast", "", "")]


# ---------------------------------------------------------------------------------------------- training


def synthetic_inputs(train_count: int, val_count: int, seed: int):
    """Random images of 32 px and labels of 10 classes, as the audit's `train.Inputs`, and as a table for a Recorder."""
    import pandas as pd

    from lossprint.audit.training import train

    n, random = train_count + val_count, np.random.default_rng(seed)
    inputs = train.Inputs(
        samples=np.arange(n),
        labels=np.arange(n) % 10,
        split=np.array(["train"] * train_count + ["val"] * val_count),
        pixels=random.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8),
        size=32,
        mean=np.full(3, 0.5),
        std=np.full(3, 0.25),
        classes=10,
    )
    paths = [f"images/{i:06d}.png" for i in range(n)]
    labels = inputs.labels.astype(str)
    return inputs, pd.DataFrame({"sample": inputs.samples, "path": paths, "label": labels, "split": inputs.split})


def own_loop(network, optimizer, inputs, rows, recorder=None) -> tuple[float, float]:
    """An epoch of a plain loop, its batches' losses handed to a by-product recorder: (all seconds, the recorder's)."""
    from torch.nn import functional as F

    network.train()
    began, recording = time.perf_counter(), 0.0
    for ids, images, labels in inputs.batches(rows, "cpu", 128):
        logits = network(images)
        losses = F.cross_entropy(logits, labels, reduction="none")
        optimizer.zero_grad(set_to_none=True)
        losses.mean().backward()
        optimizer.step()
        if recorder is not None:
            before = time.perf_counter()
            recorder.update(ids, losses, logits, labels)
            recording += time.perf_counter() - before
    if recorder is not None:
        before = time.perf_counter()
        recorder.end_checkpoint(recorder.last + 1)
        recording += time.perf_counter() - before
    return time.perf_counter() - began, recording


def training(small: bool) -> list[tuple]:
    import torch

    from lossprint.audit.recording.recorder import Recorder
    from lossprint.audit.training import train
    from lossprint.audit.training.models import build_model

    class NoBar:
        def update(self, _):
            pass

    n, times = (256, 1) if small else (4096, 3)
    inputs, table = synthetic_inputs(n, n // 10, 0)
    rows, everything = inputs.rows("train"), np.arange(len(inputs.samples))
    recipe = train.Recipe(epochs=2)

    def built(name: str):
        torch.manual_seed(0)
        network = build_model(name, 10, 32)
        return network, torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def epoch(network, optimizer, part):
        train._epoch(network, optimizer, recipe, inputs, part, 0, 1, "cpu", NoBar())

    network, optimizer = built("small")
    large, large_optimizer = built("resnet18")
    few = rows[: n // 8]
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder) / "eval", table)
        beside = Recorder(Path(folder) / "by-product", table, recording="by-product")

        def record():
            train._estimate_statistics(network, inputs, rows, train.Recipe.statistics, "cpu")
            train.record(recorder, network, inputs, everything, "cpu")
            recorder.end_checkpoint(recorder.last + 1)

        epoch(network, optimizer, few)
        trained, recorded, large_trained = side_by_side(
            lambda: epoch(network, optimizer, rows),
            record,
            lambda: epoch(large, large_optimizer, few),
            times=times,
        )
        plain, with_it = [], []
        for _ in range(times):
            plain.append(own_loop(network, optimizer, inputs, rows)[0])
            with_it.append(own_loop(network, optimizer, inputs, rows, beside))
    fast, slow = n / trained, len(few) / large_trained
    whole, of_it = min(with_it)[0], min(seconds for _, seconds in with_it)
    name = "training at 32 px"
    return [
        (name, f"{fast:,.0f} img/s small", f"{slow:,.0f} img/s resnet18", f"{fast / slow:.0f} times", "", ""),
        (
            "recording in eval mode, statistics and Parquet included",
            f"{recorded:.3f} s",
            f"{trained:.3f} s an epoch",
            f"{recorded / trained:.0%} of an epoch",
            f"{len(rows):,} + {n // 10:,} validation images",
            "",
        ),
        (
            "recording as a by-product, Parquet included",
            f"{of_it:.4f} s",
            f"{min(plain):.3f} s an epoch",
            f"{of_it / min(plain):.1%} of an epoch",
            f"the loop with it {whole:.3f} s",
            "",
        ),
    ]


PARTS = {call.__name__: call for call in (cld, pairs, curvature, training)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    print(f"{platform.machine()}, {multiprocessing.cpu_count()} cores, Python {platform.python_version()}")
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"expected parts among {', '.join(PARTS)}, found {', '.join(unknown)}")
    for name in options.parts or PARTS:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            for row in pool.submit(PARTS[name], options.small).result():
                print(" | ".join(cell for cell in row if cell), flush=True)


if __name__ == "__main__":
    main()
