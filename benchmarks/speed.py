"""Speed and memory of the scorers, each beside the plain or the published procedure in the same run.

    python benchmarks/speed.py [cld] [streamed] [pairs] [curvature] [training]      all of them by default

Prints one table: ours, the other, the ratio, extra memory. Each measurement is the best of several in a process of its
own, so that peaks do not mix. Inputs are synthetic; sizes are those of the papers. `--small` shrinks them for a test.

  cld        N=50,000, E=164, C=100 beside the authors' numpy procedure, written anew from its description
  streamed   N=1,281,167, E=90 from Parquet parts, one a checkpoint, beside only reading the same columns
  pairs      50,000 x 5,000, E=164, top 10 a side, beside the bare float32 matrix product
  curvature  n=10 draws of `small` at 32 px, batch 256, beside 2n backward passes of a mean loss
  training   images a second of `small` beside torchvision's resnet18 at 32 px, and what recording adds
"""

import argparse
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
    """The authors' procedure: float64 everywhere, all differences at once, class by class; indices, best first."""
    losses = np.vstack([np.asarray(row, dtype=float) for row in rows])
    val = np.vstack([np.asarray(row, dtype=float) for row in val_rows])
    change = np.diff(losses, axis=0)
    ranked = {}
    for c in range(classes):
        mine, theirs = labels == c, val_labels == c
        reference = np.diff(val[:, theirs].mean(axis=1))
        own = change[:, mine]
        spread, reference_spread = own.std(axis=0), reference.std()
        own = (own - own.mean(axis=0)) / np.where(spread == 0, 1, spread)
        reference = (reference - reference.mean()) / (reference_spread or 1)
        r = (own * reference[:, None]).mean(axis=0)
        ranked[c] = np.flatnonzero(mine)[np.argsort(r)[::-1]]
    return ranked


def cld(small: bool) -> list[tuple]:
    from lossprint.scoring import trajectory

    n, checkpoints, classes = (2_000, 20, 10) if small else (50_000, 164, 100)
    losses, val = trajectories(checkpoints, n, 0), trajectories(checkpoints, n // 10, 1)
    random = np.random.default_rng(2)
    labels, val_labels = random.integers(0, classes, n), random.integers(0, classes, n // 10)

    def ours():
        means = trajectory.class_means(val, val_labels, classes)
        r = trajectory.cld(losses, labels, means)
        return {c: (rows := np.flatnonzero(labels == c))[np.argsort(-r[rows])] for c in range(classes)}

    def theirs():
        return published_cld(list(losses), list(val), labels, val_labels, classes)

    a, b = ours(), theirs()
    assert all(np.array_equal(a[c], b[c]) for c in range(classes)), "the orders differ"
    fast, slow = best(ours), best(theirs)
    memory = [extra_memory(call) / losses.nbytes for call in (ours, theirs)]
    name = f"CLD, {n:,} x {checkpoints}, {classes} classes"
    return [
        (
            name,
            f"{fast:.3f} s",
            f"{slow:.3f} s",
            f"{slow / fast:.1f} times as fast",
            *map("{:.2f} of input".format, memory),
        )
    ]


# ---------------------------------------------------------------------------------------------- CLD from Parquet


def streamed(small: bool) -> list[tuple]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from lossprint.scoring.trajectory import Stream

    n, checkpoints, classes = (5_000, 8, 10) if small else (1_281_167, 90, 1000)
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, n).astype(np.int32)
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for checkpoint in range(checkpoints):
            losses = random.gamma(2.0, 1 / (1 + checkpoint), n).astype(np.float32)
            table = pa.table({"sample": np.arange(n), "loss": losses, "margin": -losses, "predicted": labels})
            files.append(Path(folder) / f"{checkpoint:05d}.parquet")
            pq.write_table(table, files[-1], compression="zstd")
        means = random.random((checkpoints, classes))

        def read(file: Path) -> np.ndarray:
            return pq.read_table(file, columns=["sample", "loss"])["loss"].to_numpy()

        def only_reading():
            for file in files:
                read(file)

        def ours():
            stream = Stream(labels, classes, ("cld",))
            for file, mean in zip(files, means, strict=True):
                stream.update(read(file), mean)
            return stream.result()

        only_reading()  # the file cache is warm for both
        slow, fast = best(ours, 2), best(only_reading, 2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    name = f"CLD streamed from Parquet, {n:,} x {checkpoints}"
    return [
        (name, f"{slow:.2f} s", f"{fast:.2f} s reading", f"{slow / fast:.2f} times reading", f"RSS {peak:.2f} GB", "")
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

    slow, fast = best(lambda: partners(losses, queries, 10)), best(product)
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


def published_curvature(network, images, labels, draws: int, h: float):
    """The authors' procedure: for every draw two gradients of the batch's mean loss."""
    import torch
    from torch.nn import functional as F

    def gradient(at):
        at = at.detach().requires_grad_(True)
        network.zero_grad()
        F.cross_entropy(network(at), labels).backward()
        return at.grad

    total = torch.zeros(len(images))
    for _ in range(draws):
        v = torch.randint(0, 2, images.shape).float().mul_(2).sub_(1).mul_(h)
        change = gradient(images + v) - gradient(images)
        total += change.flatten(1).norm(dim=1)
    return total / draws


def curvature(small: bool) -> list[tuple]:
    import torch

    from lossprint.audit.models import build_model
    from lossprint.scoring.curvature import measure

    batch, draws = (32, 2) if small else (256, 10)
    torch.manual_seed(0)
    network = build_model("small", 10, 32).eval()
    images = torch.randn(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,))

    def ours():
        return measure(network, [(np.arange(batch), images, labels)], draws=draws)

    def theirs():
        return published_curvature(network, images, labels, draws, 1e-3)

    ours(), theirs()
    fast, slow = best(ours, 5), best(theirs, 5)
    name = f"curvature, n={draws}, batch {batch} at 32 px"
    return [(name, f"{fast:.2f} s", f"{slow:.2f} s", f"{slow / fast:.2f} times as fast", "", "")]


# ---------------------------------------------------------------------------------------------- training


def training(small: bool) -> list[tuple]:
    import torch

    from lossprint.audit import train
    from lossprint.audit.models import build_model

    n = 256 if small else 4096
    random = np.random.default_rng(0)
    inputs = train.Inputs(
        samples=np.arange(n),
        labels=random.integers(0, 10, n),
        split=np.array(["train"] * n),
        pixels=random.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8),
        size=32,
        mean=np.full(3, 0.5),
        std=np.full(3, 0.25),
        classes=10,
    )
    rows = np.arange(n)

    class Sink:
        def update(self, *_):
            pass

    class NoBar:
        def update(self, _):
            pass

    speeds, recording = {}, 0.0
    for name in ("small", "resnet18"):
        torch.manual_seed(0)
        network = build_model(name, 10, 32)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
        part = rows if name == "small" else rows[: n // 8]
        recipe = train.Recipe(epochs=2)

        def epoch(network=network, optimizer=optimizer, part=part, recipe=recipe):
            train._epoch(network, optimizer, recipe, inputs, part, 0, 1, "cpu", NoBar())

        seconds = best(epoch, 2)
        speeds[name] = len(part) / seconds
        if name == "small":

            def record(network=network):
                train._estimate_statistics(network, inputs, rows, train.Recipe.statistics, "cpu")
                train.record(Sink(), network, inputs, rows, "cpu")

            recording = best(record, 2) / seconds
    fast, slow = speeds["small"], speeds["resnet18"]
    return [
        (
            "training at 32 px",
            f"{fast:,.0f} img/s small",
            f"{slow:,.0f} img/s resnet18",
            f"{fast / slow:.0f} times",
            "",
            "",
        ),
        ("recording in eval mode", f"{recording:.0%} of an epoch", "", "", "", ""),
    ]


PARTS = {call.__name__: call for call in (cld, streamed, pairs, curvature, training)}


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
