"""Curvature at a checkpoint, and at which checkpoints of a training it is measured."""

from collections.abc import Iterable, Sequence

import pandas as pd

from lossprint.scoring import input_curvature as curvature

DRAWS = 1  # at each checkpoint, fresh at each: more checkpoints rank better than more draws


def spread(checkpoints: Sequence, count: int) -> list:
    """`count` of the checkpoints, all where there are fewer, evenly over the training, the last one among them."""
    total = len(checkpoints)
    count = min(count, total)
    return [checkpoints[at - 1] for at in sorted({round(total * (k + 1) / count) for k in range(count)})]


def curvature_at(checkpoint: int, network, batches: Iterable, seed: int, device: str) -> pd.DataFrame:
    """Curvature, Hessian trace and gradient norm of each sample as `Run.write_curvature` takes them.

    `network` has the checkpoint's weights; `seed` is the run's, the directions are others at each checkpoint.
    """
    options = {"draws": DRAWS, "seed": seed * 1_000_003 + checkpoint, "device": device}
    measured = curvature.measure(network, batches, **options)
    names = ("curvature", "trace", "gradient_norm")
    return pd.DataFrame({"sample": measured.samples, **{name: getattr(measured, name) for name in names}})
