"""Scores of a sample's loss trajectory: CLD, LTC, CSL, AUM, EL2N, forgetting and data-map statistics.

Throughout, E is the number of checkpoints, N of scored samples, M of validation samples, C of classes, Q of query
trajectories. `losses` is (E, N): one row a checkpoint in training order, natural log. Input may be float32; sums run in
float64. Work goes in blocks of samples that fit in a core's cache, so that no (E, N) float64 copy is ever made. An
undefined score is NaN, never 0, and `undefined_reasons` or `missing_reasons` counts why. A loss that is not finite
counts as missing. Wrong shapes raise ValueError and state both. Functions without labels beside the losses, which
cannot tell which way round these are, take the axis of the checkpoints: 0, or 1 for losses with a row a sample.

Sources: CLD, arXiv 2508.20230; LTC, arXiv 2503.09721; CSL, "Loss Knows Best" (2026) and ICML 2025; AUM, arXiv
2001.10528; EL2N, arXiv 2107.07075; forgetting, arXiv 1812.05159; data maps, arXiv 2009.10795.
"""

import itertools
import warnings

import numpy as np

from lossprint.scoring.correlation import (
    Undefined,
    blocks,
    check_labels,
    checked,
    count_reasons,
    float_matrix,
    on_differences,
    own_class,
    standardised,
)

ODD = 100  # checkpoints; more, and over four times as many as samples, are probably samples


def class_means(losses: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Mean loss of each class's validation samples at each checkpoint: losses (E, M), labels (M,) -> (E, C) float64.

    A sample with a missing loss at any checkpoint is left out at all of them, so that every value of a column averages
    the same samples and no step in it comes from a change of company. A class with no complete sample is NaN.
    """
    losses, labels = checked(losses, labels, classes)
    complete = np.ones(losses.shape[1], dtype=bool)
    for row in losses:
        complete &= np.isfinite(row)
    kept = labels[complete]
    counts = np.bincount(kept, minlength=classes).astype(np.float64)
    counts[counts == 0] = np.nan
    means = np.empty((losses.shape[0], classes))
    for row, mean in zip(losses, means):
        weights = row if len(kept) == len(row) else row[complete]
        mean[:] = np.bincount(kept, weights=weights, minlength=classes) / counts
    return means


def cld(losses: np.ndarray, labels: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Correlation of loss differences: losses (E, N), labels (N,), means (E, C) from `class_means` -> (N,) in [-1, 1].

    Pearson correlation of l_i(t+1) - l_i(t) with v_c(t+1) - v_c(t), c the sample's own class. High: aligned with
    generalisation; low is the suspect end. NaN where undefined (see `Undefined`). arXiv 2508.20230, the CLD score.
    """
    return class_correlation(losses, labels, means, on="differences")[0]


def ltc(losses: np.ndarray, labels: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Loss trajectory correlation: as `cld`, but of the raw trajectories l_i(t) and v_c(t). Low is the suspect end.

    arXiv 2503.09721.
    """
    return class_correlation(losses, labels, means, on="losses")[0]


def class_correlation(
    losses: np.ndarray, labels: np.ndarray, means: np.ndarray, *, on: str = "differences"
) -> tuple[np.ndarray, Undefined]:
    """`cld` (on="differences") or `ltc` (on="losses") and, from the same pass, the counts of why it is NaN."""
    r, reason = own_class(losses, labels, means, differences=on_differences(on))
    return r, count_reasons(reason)


def undefined_reasons(
    losses: np.ndarray, labels: np.ndarray, means: np.ndarray, *, on: str = "differences"
) -> Undefined:
    """Counts of why `cld` (on="differences") or `ltc` (on="losses") is NaN. Arguments as there."""
    return class_correlation(losses, labels, means, on=on)[1]


def correlations(
    losses: np.ndarray, references: np.ndarray, *, on: str = "differences"
) -> tuple[np.ndarray, Undefined]:
    """Each sample with each reference: losses (E, N), references (E, Q) -> r (N, Q) float32 in [-1, 1], counts.

    References are the means of all classes (`class_means`) or the trajectories of single queries. Pearson's r of
    differences (the form of CLD) or of losses (of LTC), computed in float64, NaN where undefined; the counts are of
    pairs. Low: conflicting. Working memory beyond the result: 2 MB and the references in float64.
    """
    differences = on_differences(on)
    losses, references = float_matrix(losses, "losses"), float_matrix(references, "references")
    if len(references) != len(losses):
        raise ValueError(
            f"losses {losses.shape} and references {references.shape} differ in checkpoints (the first axis)"
        )
    pairs = (losses.shape[1], references.shape[1])
    r = np.full(pairs, np.nan, dtype=np.float32)
    if len(losses) < 2 + differences:
        return r, Undefined(too_few=r.size)
    with np.errstate(invalid="ignore", over="ignore"):
        queries, flat = standardised(references.astype(np.float64), differences)
    queries[:, flat] = 0.0
    missing = constant = 0
    for part in blocks(max(len(losses), pairs[1]), pairs[0]):
        columns = losses[:, part].astype(np.float64)
        gaps = ~np.isfinite(columns).all(axis=0)
        with np.errstate(invalid="ignore", over="ignore"):
            columns, still = standardised(columns, differences)
        missing += np.count_nonzero(gaps)
        constant += np.count_nonzero(still & ~gaps)
        columns[:, still | gaps] = np.nan
        np.clip(columns.T @ queries, -1.0, 1.0, out=r[part], casting="same_kind")
    r[:, flat] = np.nan
    lost = np.count_nonzero(flat)
    return r, Undefined(constant * (pairs[1] - lost), (pairs[0] - missing) * lost, missing * pairs[1])


def csl(losses: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Cumulative sample loss: the mean over checkpoints, losses (E, N) -> (N,) nats. High is the suspect end.

    NaN where a loss is missing: a mean over fewer checkpoints is not comparable.
    """
    return _mean_rows(turned(float_matrix(losses, "losses"), axis, "losses"), "losses")


def aum(margins: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Area under the margin: mean over checkpoints of margins (E, N), logit of the given label minus the largest other
    one -> (N,) logits. Low is the suspect end. NaN where a margin is missing. arXiv 2001.10528, equation 2.
    """
    return _mean_rows(turned(float_matrix(margins, "margins"), axis, "margins"), "margins")


def el2n(norms: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Error norm: mean over checkpoints of norms (E, N) from `el2n_norms` -> (N,) in [0, sqrt(2)]. High is suspect.

    NaN where a norm is missing. arXiv 2107.07075, definition 2.2, which averages over several early trainings.
    """
    return _mean_rows(turned(float_matrix(norms, "norms"), axis, "norms"), "norms")


def el2n_norms(outputs: np.ndarray, labels: np.ndarray, *, probabilities: bool = False) -> np.ndarray:
    """|| p - onehot(y) ||_2 at one checkpoint: logits or probabilities (B, C), labels (B,) -> (B,) float32.

    Between 0 and sqrt(2); NaN where an output is NaN or +inf. 1 - p_y is taken as the sum of the others, so that a
    sample that is learned well keeps its digits. Rows of `probabilities` must add up to 1, or it is a ValueError.
    """
    outputs, labels = float_matrix(outputs, "outputs", "(samples, classes)"), np.asarray(labels)
    check_labels(labels, len(outputs), outputs.shape[1], f"outputs {outputs.shape}")
    norms = np.empty(len(outputs), dtype=np.float32)
    for part in blocks(outputs.shape[1], len(outputs)):
        p = outputs[part].astype(np.float64)
        with np.errstate(invalid="ignore"):
            if probabilities:
                if (p < 0).any() or (np.abs(p.sum(axis=1) - 1) > 1e-3).any():
                    raise ValueError("probabilities must be 0 or more and add up to 1 in each row; are these logits?")
            else:
                p -= p.max(axis=1, keepdims=True)
                np.exp(p, out=p)
        own = (np.arange(len(p)), labels[part])
        given = p[own]
        p[own] = 0.0
        others = p.sum(axis=1)
        p[own] = others
        norms[part] = np.sqrt(np.einsum("bc,bc->b", p, p)) / (given + others)
    return norms


def forgetting(correct: np.ndarray, missing: np.ndarray | None = None) -> np.ndarray:
    """Forgetting events: correct (E, N) bool -> (N,), how often a correct prediction was followed by a wrong one.

    A sample that is never correct counts as most forgotten: E events, one more than can be observed. High is suspect.
    missing (E, N) bool marks predictions that are not known: NaN for their samples. arXiv 1812.05159 counts per
    presentation of the sample; here it is per checkpoint.
    """
    correct = np.asarray(correct)
    if correct.ndim != 2 or correct.dtype != bool:
        raise ValueError(f"correct must be a bool array (checkpoints, samples), got {correct.dtype} {correct.shape}")
    events = np.zeros(correct.shape[1])
    for before, after in itertools.pairwise(correct):
        events += before & ~after
    events[~correct.any(axis=0)] = correct.shape[0]
    if missing is not None:
        if np.shape(missing) != correct.shape:
            raise ValueError(f"missing {np.shape(missing)} does not match correct {correct.shape}")
        events[np.any(missing, axis=0)] = np.nan
    return events


def data_map(losses: np.ndarray, axis: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over checkpoints of p_y = exp(-loss): losses (E, N) -> two (N,) arrays.

    The mean is the data map's confidence (low is suspect), the deviation (population form) its variability (high:
    ambiguous; 0 with one checkpoint). NaN where a loss is missing. arXiv 2009.10795, section 2.
    """
    losses = turned(float_matrix(losses, "losses"), axis, "losses")
    mean, spread = np.empty((2, losses.shape[1]))
    for part in blocks(*losses.shape):
        p = np.exp(-_finite(losses[:, part]))
        mean[part] = p.mean(axis=0)
        p -= mean[part]
        spread[part] = np.sqrt(np.einsum("tn,tn->n", p, p) / len(p))
    return mean, spread


def turned(values: np.ndarray, axis: int | None, name: str) -> np.ndarray:
    """Values as (E, N), their checkpoints being along `axis`, the first unless it is said.

    A warning where it is not said and there are far more rows than columns, as of samples in place of checkpoints.
    """
    if axis not in (None, 0, 1):
        raise ValueError(f"axis must be that of the checkpoints, 0 or 1, got {axis!r}")
    rows, columns = values.shape
    if axis is None and rows > max(ODD, 4 * columns):
        warnings.warn(
            f"{name} {values.shape} are taken as {rows:,} checkpoints of {columns:,} samples: say axis=1 if a row is a "
            "sample",
            stacklevel=3,
        )
    return values.T if axis == 1 else values


def _mean_rows(values: np.ndarray, name: str) -> np.ndarray:
    """Mean over the first axis in float64, NaN where a value is not finite."""
    values = float_matrix(values, name)
    total = np.zeros(values.shape[1])
    with np.errstate(invalid="ignore"):
        for row in values:
            total += row
    total /= len(values)
    total[~np.isfinite(total)] = np.nan
    return total


def _finite(block: np.ndarray) -> np.ndarray:
    """A float64 copy with every value that is not finite as NaN."""
    block = block.astype(np.float64)
    infinite = np.isinf(block)
    if infinite.any():
        block[infinite] = np.nan
    return block
