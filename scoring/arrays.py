"""What callers hand over, as arrays: tensors of any type and device, lists, data frames; (N, E) turned to (E, N)."""

import warnings
from typing import Any

import numpy as np

Values = Any  # an array, a torch tensor, a data frame, a nested list: all that numpy or `detach` makes an array of
ODD = 100  # checkpoints; with more, and over four times as many as samples, losses are probably the other way round


def as_array(values: Values) -> np.ndarray:
    """A tensor on any device, or anything array-like, as a numpy array; halves become float32."""
    if hasattr(values, "detach"):
        values = values.detach()
        if values.is_floating_point() and values.element_size() < 4:
            values = values.float()
        return np.asarray(values.resolve_conj().resolve_neg().cpu().numpy())
    if isinstance(values, list | tuple) and any(hasattr(one, "detach") for one in values):
        return np.stack([as_array(one) for one in values]) if len({np.shape(one) for one in values}) == 1 else _refuse()
    return np.asarray(values)


def _refuse() -> np.ndarray:
    raise ValueError("expected tensors of one shape, found several")


def by_checkpoint(values: Values, name: str, labels: np.ndarray | None = None, beside: str = "labels") -> np.ndarray:
    """Values (N, E) as floats (E, N), not copied where they are floats; ValueError where they are of another shape.

    labels (N,) tell which way round they are. Without, a warning is all that can be given.
    """
    array = as_array(values)
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise ValueError(f"expected numbers (samples, checkpoints) as {name}, found {array.dtype} of {array.shape}")
    samples, checkpoints = array.shape
    if labels is not None and len(labels) != samples:
        turned = ": they look like (checkpoints, samples), transpose them" if len(labels) == checkpoints else ""
        raise ValueError(
            f"expected {name} (samples, checkpoints) with a row for each of {len(labels):,} {beside}, found "
            f"{array.shape}{turned}"
        )
    if not checkpoints:
        raise ValueError(f"expected {name} (samples, checkpoints) with at least one checkpoint, found {array.shape}")
    if labels is None and checkpoints > max(ODD, 4 * samples):
        warnings.warn(
            f"{name} of {array.shape} are taken as {samples:,} samples with {checkpoints:,} checkpoints each: "
            "transpose them if a row is a checkpoint",
            stacklevel=3,
        )
    return (array if array.dtype.kind == "f" else array.astype(np.float64)).T


def like(values: Values, name: str, losses: np.ndarray, kinds: str = "fiub") -> np.ndarray:
    """Values (N, E) beside losses, these already (E, N), as (E, N). ValueError where their shapes differ."""
    array = as_array(values)
    if array.shape != losses.T.shape or array.dtype.kind not in kinds:
        turned = ": transpose them" if array.shape == losses.shape else ""
        raise ValueError(f"expected {name} {losses.T.shape} as the losses, found {array.dtype} {array.shape}{turned}")
    return array.T


def indices(labels: Values, name: str = "labels") -> np.ndarray:
    """Labels (N,) as int64 class indices of 0 or more."""
    array = as_array(labels)
    whole = array.dtype.kind in "iu" or (
        array.dtype.kind == "f" and np.isfinite(array).all() and (array % 1 == 0).all()
    )
    if array.ndim != 1 or not (whole or not array.size) or (array.size and array.min() < 0):
        raise ValueError(f"expected class indices (samples,) of 0 or more as {name}, found {array.dtype} {array.shape}")
    return array.astype(np.int64)


def classes_of(labels: Values, others: Values) -> tuple[np.ndarray, np.ndarray, int]:
    """Two sets of labels, class indices or names, as indices of the classes that are in either; how many these are."""
    sides = [as_array(one) for one in (labels, others)]
    for name, side in zip(("labels", "val_labels"), sides):
        if side.ndim != 1:
            raise ValueError(f"expected one label a sample (N,) as {name}, found shape {side.shape}")
    texts = [side.dtype.kind in "UOS" for side in sides if side.size]
    if len(set(texts)) > 1:
        raise ValueError("expected labels and val_labels of one kind, class indices or names, found both")
    sides = [side.astype(str) for side in sides] if any(texts) else sides
    names, index = np.unique(np.concatenate(sides), return_inverse=True)
    return index[: len(sides[0])], index[len(sides[0]) :], max(len(names), 1)
