"""The functions that `lossprint.scoring` offers: arguments checked and turned, the work done in the modules beside.

N samples, E checkpoints, M validation samples, C classes. Losses are (N, E), a row a sample, in nats; the validation
losses are of the same checkpoints. Wrong shapes are a ValueError that says both.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lossprint.scoring import duplicates, outliers, pairs, trajectory
from lossprint.scoring import labels as errors
from lossprint.scoring.arrays import Values, as_array, by_checkpoint, classes_of, indices, like
from lossprint.scoring.coresets import coreset as coresets
from lossprint.scoring.coresets.coreset import Chosen, Pool
from lossprint.scoring.correlation import Undefined
from lossprint.scoring.duplicates import Pairs
from lossprint.scoring.labels import LabelErrors
from lossprint.scoring.memorized import exposure as memorized
from lossprint.scoring.pairs import Partners

if TYPE_CHECKING:
    import torch

    from lossprint.scoring.input_curvature import CurvatureScores

Floats = npt.NDArray[np.float64]

# ------------------------------------------------------------------------------------------------- trajectories


def cld(losses: Values, labels: Values, val_losses: Values, val_labels: Values) -> Floats:
    """Correlation of a sample's loss changes with those of its class's validation mean: (N,) in [-1, 1], low: suspect.

    losses (N, E), labels (N,), val_losses (M, E), val_labels (M,); labels are class indices or names. NaN where it is
    undefined, see `undefined_reasons`. arXiv 2508.20230.
    """
    return trajectory.cld(*_beside_means(losses, labels, val_losses, val_labels))


def ltc(losses: Values, labels: Values, val_losses: Values, val_labels: Values) -> Floats:
    """As `cld`, but of the losses themselves, not of their changes. arXiv 2503.09721."""
    return trajectory.ltc(*_beside_means(losses, labels, val_losses, val_labels))


def undefined_reasons(
    losses: Values, labels: Values, val_losses: Values, val_labels: Values, *, on: str = "differences"
) -> Undefined:
    """How many samples have no `cld` (on="differences") or `ltc` (on="losses"), by reason: constant, class_mean,
    missing, too_few."""
    return trajectory.undefined_reasons(*_beside_means(losses, labels, val_losses, val_labels), on=on)


def _beside_means(losses: Values, labels: Values, val_losses: Values, val_labels: Values):
    index, val_index, classes = classes_of(labels, val_labels)
    rows = by_checkpoint(losses, "losses", index)
    val_rows = by_checkpoint(val_losses, "val_losses", val_index, "val_labels")
    if len(rows) != len(val_rows):
        raise ValueError(
            f"expected losses {rows.T.shape} and val_losses {val_rows.T.shape} of the same checkpoints (the last axis)"
        )
    return rows, index, trajectory.class_means(val_rows, val_index, classes)


def csl(losses: Values) -> Floats:
    """Cumulative sample loss, the mean over the checkpoints: losses (N, E) -> (N,) nats. High: suspect.

    NaN where a loss is missing: a mean over fewer checkpoints is not comparable.
    """
    return trajectory.csl(by_checkpoint(losses, "losses"), axis=0)


def aum(margins: Values) -> Floats:
    """Area under the margin: margins (N, E), the given label's logit minus the largest other one -> (N,). Low: suspect.

    arXiv 2001.10528.
    """
    return trajectory.aum(by_checkpoint(margins, "margins"), axis=0)


def el2n(norms: Values) -> Floats:
    """Error norm: norms (N, E), a column each of `el2n_norms` -> their mean (N,) in [0, sqrt(2)]. High: suspect.

    arXiv 2107.07075.
    """
    return trajectory.el2n(by_checkpoint(norms, "norms"), axis=0)


def el2n_norms(outputs: Values, labels: Values, *, probabilities: bool = False) -> npt.NDArray[np.float32]:
    """|| p - onehot(y) || at one checkpoint: logits, or probabilities, (N, C), labels (N,) indices -> (N,)."""
    array = as_array(outputs)
    array = array if array.dtype.kind == "f" else array.astype(np.float64)
    return trajectory.el2n_norms(array, indices(labels), probabilities=probabilities)


def forgetting(correct: Values, missing: Values | None = None) -> Floats:
    """How often a right prediction was followed by a wrong one: correct (N, E) bool -> (N,). High: suspect.

    A sample that is never right counts E. missing (N, E) bool: predictions not known; NaN there. arXiv 1812.05159.
    """
    array = as_array(correct)
    if array.dtype.kind != "b" and not np.isin(array, (0, 1)).all():
        raise ValueError(f"expected correct as bool (samples, checkpoints), found {array.dtype} of other values")
    rows = by_checkpoint(array, "correct").astype(bool)
    return trajectory.forgetting(rows, None if missing is None else like(missing, "missing", rows).astype(bool))


def data_map(losses: Values) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the given label's probability over the checkpoints: losses (N, E) -> (N,), (N,).

    The first is the data map's confidence (low: suspect), the second its variability. arXiv 2009.10795.
    """
    return trajectory.data_map(by_checkpoint(losses, "losses"), axis=0)


def exposure(losses: Values) -> Floats:
    """How much a model trained so gives a sample away, LT-IQR: losses (N, E) -> (N,) nats. High: exposed, if the last
    loss is near zero; a sample that is never learnt is not.

    NaN where a loss is missing, and with fewer than four checkpoints. arXiv 2411.05743.
    """
    return memorized.lt_iqr(by_checkpoint(losses, "losses"))


# ------------------------------------------------------------------------------------------------- labels, partners


def label_errors(
    losses: Values,
    labels: Values,
    *,
    margins: Values | None = None,
    predicted: Values | None = None,
    val_losses: Values | None = None,
    val_margins: Values | None = None,
    weights: Values | None = None,
) -> LabelErrors:
    """Rank samples by how much the model believed in another label: losses (N, E), labels (N,) class indices.

    margins (N, E): the given label's logit minus the largest other one; predicted (N, E): the class of the largest
    logit, -1 where unknown. Without both there are no suggested labels. Checkpoints count by their mean validation loss
    and by how little was learnt by heart, where val_losses (M, E) and best also val_margins (M, E) are given, else by
    weights (E,), else alike. `severity` above 0.5: another label was ahead.
    """
    index = indices(labels)
    rows = by_checkpoint(losses, "losses", index)
    if val_losses is not None:
        if weights is not None:
            raise ValueError("expected val_losses or weights, found both")
        weights = _weights(rows, margins, val_losses, val_margins)
    elif weights is not None and (weights := as_array(weights)).shape != (len(rows),):
        raise ValueError(f"expected weights ({len(rows)},), one a checkpoint, found {weights.shape}")
    return errors.label_errors(
        rows,
        index,
        margins=None if margins is None else like(margins, "margins", rows),
        predicted=None if predicted is None else like(predicted, "predicted", rows, "iu").astype(np.int64),
        weights=weights,
    )


def _weights(rows: np.ndarray, margins: Values | None, val_losses: Values, val_margins: Values | None) -> np.ndarray:
    val_rows = by_checkpoint(val_losses, "val_losses")
    if len(val_rows) != len(rows):
        raise ValueError(
            f"expected losses {rows.T.shape} and val_losses {val_rows.T.shape} of the same checkpoints (the last axis)"
        )
    both = margins is not None and val_margins is not None
    train, val = (
        errors.fit(one, like(its, name, one) if both else None)
        for one, its, name in ((rows, margins, "margins"), (val_rows, val_margins, "val_margins"))
    )
    return errors.checkpoint_weights(val_rows, errors.newness(train, val))


def triage(found: LabelErrors) -> npt.NDArray[np.str_]:
    """What kind of case each sample of `label_errors` is: "wrong", "ambiguous", "hard" or "", (N,)."""
    return errors.triage(found)


def partners(
    losses: Values,
    val_losses: Values,
    k: int = 10,
    *,
    labels: Values | None = None,
    val_labels: Values | None = None,
    on: str = "losses",
) -> Partners:
    """For each sample the k validation samples whose losses go with its own, and the k against it, best first.

    losses (N, E), val_losses (M, E). With labels (N,) and val_labels (M,) only those of its own class count. The
    result's aligned and conflicting are (N, k) rows of val_losses, -1 where there are fewer.
    """
    if (labels is None) != (val_labels is None):
        raise ValueError("expected labels and val_labels, or neither, found one of them")
    index = val_index = None
    if labels is not None:
        index, val_index, _ = classes_of(labels, val_labels)
    rows = by_checkpoint(losses, "losses", index)
    val_rows = by_checkpoint(val_losses, "val_losses", val_index, "val_labels")
    if len(rows) != len(val_rows):
        raise ValueError(
            f"expected losses {rows.T.shape} and val_losses {val_rows.T.shape} of the same checkpoints (the last axis)"
        )
    alike = {"labels": index, "query_labels": val_index, "same_class": index is not None}
    return pairs.partners(rows, val_rows, k, on=on, **alike)


# ------------------------------------------------------------------------------------------------- models, images


def curvature(
    model: "torch.nn.Module",
    data: Iterable[Any],
    *,
    draws: int = 10,
    h: float = 1e-3,
    seed: int = 0,
    chunk: int = 1,
    transform: "Callable[[torch.Tensor], torch.Tensor] | None" = None,
    device: "str | torch.device | None" = None,
    progress: Callable[[int], None] | None = None,
) -> "CurvatureScores":
    """Input-loss curvature, Hessian trace and input-gradient norm of every sample at one checkpoint of a model.

    data is a DataLoader, or any iterable, of batches (inputs, labels), which are numbered from 0 in their order, or
    (ids, inputs, labels). A DataLoader that shuffles must give ids, else it is a ValueError. The result's samples (N,)
    say whose the rows are. inputs (B, ...) are floats as the model takes them, or with `transform` raw ones; labels
    (B,) class indices. `h` is the step in units of the input, and `draws` + 1 backward passes are taken a batch. High
    curvature: suspect. The model is left as it was; one in half precision is measured in a float32 copy. arXiv
    2307.05831.
    """
    from lossprint.scoring import input_curvature

    options = {"draws": draws, "h": h, "seed": seed, "transform": transform, "device": device, "progress": progress}
    return input_curvature.measure(_whole(model), _numbered(data), chunk=chunk, **options)


def membership(
    model: "torch.nn.Module",
    data: Iterable[Any],
    *,
    draws: int = 10,
    h: float = 1e-3,
    seed: int = 0,
    transform: "Callable[[torch.Tensor], torch.Tensor] | None" = None,
    device: "str | torch.device | None" = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Zeroth-order curvature of "Curvature Clues": samples (N,), scores (N,); arguments as in `curvature`.

    Higher tends to mean that a sample was not trained on.
    """
    from lossprint.scoring import input_curvature

    options = {"draws": draws, "h": h, "seed": seed, "transform": transform, "device": device, "progress": progress}
    return input_curvature.membership(_whole(model), _numbered(data), **options)


def _whole(model: "torch.nn.Module") -> "torch.nn.Module":
    """The model, or a float32 copy of one with weights of fewer bits: a step of 1e-3 would drown in it."""
    if any(one.is_floating_point() and one.element_size() < 4 for one in model.parameters()):
        import copy

        return copy.deepcopy(model).float()
    return model


def _numbered(data: Iterable[Any]) -> Iterable[tuple[Any, Any, Any]]:
    """Batches with ids: their own, or positions where these are certain."""
    count, order = 0, _order(data)
    for batch in data:
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
            found = f"{type(batch).__name__} of {len(batch)}" if hasattr(batch, "__len__") else type(batch).__name__
            raise ValueError(f"expected batches (inputs, labels) or (ids, inputs, labels), found {found}")
        if len(batch) == 3:
            yield tuple(batch)
            continue
        if order:
            raise ValueError(
                f"expected batches (ids, inputs, labels) of a DataLoader with a {order}, found (inputs, labels): "
                "nobody can tell whose they are; or give a DataLoader that keeps the order"
            )
        yield np.arange(count, count + len(batch[1])), *batch
        count += len(batch[1])


def _order(data: Iterable[Any]) -> str:
    """What may give the samples of a DataLoader in another order than that of its dataset; empty for nothing."""
    if not hasattr(data, "batch_sampler"):
        return ""
    batches = data.batch_sampler
    if batches is not None and type(batches).__name__ != "BatchSampler":
        return type(batches).__name__
    name = type(data.sampler if batches is None else batches.sampler).__name__
    return {"SequentialSampler": "", "_InfiniteConstantSampler": "dataset of its own order"}.get(name, name)


def outlier_scores(vectors: Values, *, neighbours: int | None = None) -> Floats:
    """How far a sample lies from the others in an embedding: vectors (N, D) -> (N,) in [0, 1], over 0.5: suspect.

    By the cosine distance to the k-th nearest neighbour, by default the 30th or, of few samples, a fifth of them.
    """
    array = as_array(vectors)
    k = outliers.neighbour_count(len(array), 1) if neighbours is None else neighbours
    return outliers.outlier_severity(outliers.neighbour_distance(array, k))


def exact_duplicates(items: Values | Sequence[Hashable]) -> list[npt.NDArray[np.int64]]:
    """Groups of equal rows: images or vectors (N, ...), or a sequence of texts or digests -> indices, two and more."""
    rows = items if isinstance(items, list | tuple) and items and isinstance(items[0], str | bytes) else as_array(items)
    return duplicates.exact_pairs([row.tobytes() if isinstance(row, np.ndarray) else row for row in rows])


def near_duplicates(images: Values, vectors: Values | None = None) -> Pairs:
    """Pairs of images that are one picture: images (N, H, W) grey levels from 0 to 255, vectors (N, D) embeddings.

    The result's first < second (P,) are rows, its similarity (P,) is in [0, 1].
    """
    return duplicates.near_pairs(None if vectors is None else as_array(vectors), as_array(images))


def coreset(
    method: str,
    scores: Mapping[str, Values],
    labels: Values,
    *,
    fraction: float | None = None,
    number: int | None = None,
    per_class: int | None = None,
    equal: bool = False,
    at_least: int = 1,
    seed: int = 0,
    vectors: Values | None = None,
    excluded: Values | None = None,
    suspect: Values | None = None,
) -> Chosen:
    """Choose a subset by a method of `lossprint.scoring.coresets.methods.METHODS`; its index (K,) are rows, best first.

    scores are columns (N,) by name, such as {"cld": cld(...)}; labels (N,) indices or names; one budget of fraction,
    number and per_class. vectors (N, D): embeddings, for the methods that need them. excluded (N,) bool: never chosen.
    suspect (N,): how likely a label is wrong where it is flagged, NaN elsewhere, for the `cleaned` methods.
    """
    bools = None if excluded is None else as_array(excluded).astype(bool)
    doubt = None if suspect is None else as_array(suspect).astype(np.float64)
    return coresets.select(
        method,
        {name: as_array(column).astype(np.float64) for name, column in scores.items()},
        as_array(labels),
        fraction=fraction,
        number=number,
        per_class=per_class,
        equal=equal,
        at_least=at_least,
        seed=seed,
        pool=Pool(bools, doubt, None, None if vectors is None else as_array(vectors)),
    )
