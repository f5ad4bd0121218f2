"""CROWDLAB (arXiv 2210.06812): consensus of votes and a model's word, each weighed by how reliable it proves.

P is the mean agreement with the majority where several vote; a vote for l speaks for k with P if k = l, else
(1 - P) / (K - 1). With E, the error of always naming the commonest class, s_j the share of pairs in which annotator j
agrees with others and e the model's error against the consensus:

    w_j = max(1 - (1 - s_j) / E, tiny)          w_M = max(1 - e / E, tiny) sqrt(mean number of votes)
    posterior_i(k) = (w_M p_i(k) + sum_j w_j L_j(k)) / (w_M + sum_j w_j)

The consensus is its argmax; all is then taken once more with it in the majority's place, as the authors do.
"""

from dataclasses import dataclass

import numpy as np

from lossprint.scoring.votes.table import Votes, agreement, majority

TINY = 1e-6


@dataclass(frozen=True)
class Consensus:
    """label (N,), its quality (N,) in [0, 1], low is suspect, and posterior (N, K); majority (N,).

    agreement (N,): share of a sample's votes for the consensus. annotator_quality (A,), low is suspect, NaN for who
    shares no sample with others; weight (A,), model_weight. alone: no sample has two votes, so that the model, or
    nothing, stands in for the other annotators.
    """

    label: np.ndarray
    quality: np.ndarray
    posterior: np.ndarray
    majority: np.ndarray
    agreement: np.ndarray
    annotator_quality: np.ndarray
    weight: np.ndarray
    model_weight: float
    alone: bool


def crowdlab(votes: Votes, p: np.ndarray | None = None) -> Consensus:
    """Consensus of votes and of p (N, K), probabilities out of sample; without p the votes alone.

    ValueError for probabilities of another shape, and for fewer than two classes. Time and memory N K + V.
    """
    if votes.classes < 2:
        raise ValueError(f"expected two classes and more, got {votes.classes}")
    if p is not None and (np.shape(p) != (votes.samples, votes.classes) or not np.isfinite(p).all()):
        raise ValueError(f"expected finite probabilities ({votes.samples}, {votes.classes}), got {np.shape(p)}")
    shared, first = votes.each > 1, majority(votes, p)
    known = agreement(votes)
    if not shared.any():
        known = np.full(votes.annotators, np.nan)
        if p is not None:  # the model is the only other voice
            known = votes.mean(np.asarray(p).argmax(axis=1)[votes.sample] == votes.label)
    usual = np.nanmean(known) if not np.isnan(known).all() else 0.5
    known = np.where(np.isnan(known), usual, known)
    posterior, *_ = _posterior(votes, p, first, known, shared)
    top = posterior.max(axis=1, keepdims=True)
    label = np.where((posterior == top).sum(axis=1) == 1, posterior.argmax(axis=1), first)
    posterior, weight, model_weight = _posterior(votes, p, label, known, shared)
    with_consensus = votes.label == label[votes.sample]
    rows = np.arange(votes.samples)
    word = votes.mean(posterior[votes.sample, votes.label])
    mean_weight = weight.sum() * votes.each.mean() / votes.annotators
    share = model_weight / (model_weight + mean_weight)
    quality = share * word + (1 - share) * votes.mean(with_consensus, shared[votes.sample])
    return Consensus(
        label,
        posterior[rows, label],
        posterior,
        first,
        np.bincount(votes.sample, with_consensus) / votes.each,
        quality if shared.any() else word,
        weight,
        model_weight,
        not shared.any(),
    )


def _posterior(votes: Votes, p, label: np.ndarray, known: np.ndarray, shared: np.ndarray):
    """posterior (N, K), the annotators' weights (A,) and the model's, with the consensus `label` (N,)."""
    counted = shared if shared.any() else np.ones(votes.samples, bool)
    agreeing = np.bincount(votes.sample, votes.label == label[votes.sample]) / votes.each
    likely = float(agreeing[counted].mean()) if shared.any() else float(np.mean(known))
    error = max(float((label[counted] != np.bincount(label[counted]).argmax()).mean()), TINY)
    weight = np.maximum(1 - (1 - known) / error, TINY)
    model_weight, prior = 0.0, 0.0
    if p is not None:
        wrong = float((np.asarray(p).argmax(axis=1) != label)[counted].mean())
        model_weight = max(1 - wrong / error, TINY) * float(np.sqrt(votes.each.mean()))
        prior = model_weight * np.asarray(p, float)
    own = votes.sums(weight[votes.annotator])
    total = own.sum(axis=1, keepdims=True)
    spoken = likely * own + (1 - likely) / (votes.classes - 1) * (total - own)
    return (prior + spoken) / (model_weight + total), weight, model_weight


def vote_quality(votes: Votes, consensus: Consensus) -> np.ndarray:
    """The posterior (V,) of each vote's own class, low is suspect: which votes to look at again."""
    return consensus.posterior[votes.sample, votes.label]
