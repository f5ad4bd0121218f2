"""ActiveLab (arXiv 2301.11856): which sample to label next, or to ask about again, by what the votes say already."""

import numpy as np

from lossprint.scoring.votes.crowdlab import Consensus
from lossprint.scoring.votes.table import Votes


def activelab(votes: Votes, consensus: Consensus, quality: np.ndarray | None = None) -> np.ndarray:
    """Of samples with votes the score (N,) in [0, 1], low: ask again next.

    The weighted mean of the consensus' posterior and of 1 / K, which stands for one more vote of an unknown annotator:
    weights are the model's and the voters' together, and the mean annotator's. Few or poor votes draw the score to 1/K.
    quality (N,): a better probability of the consensus than CROWDLAB's, such as that of `consensus.consensus`, by which
    the first votes asked for mended more (`benchmarks/votes.py`).
    """
    mean = float(consensus.weight.mean())
    spoken = np.bincount(votes.sample, consensus.weight[votes.annotator]) + consensus.model_weight
    quality = consensus.quality if quality is None else quality
    return (spoken * quality + mean / votes.classes) / (spoken + mean)


def unlabelled(p: np.ndarray, consensus: Consensus) -> np.ndarray:
    """The same of samples without a vote, by a model's probabilities p (M, K): low, label next."""
    mean, model = float(consensus.weight.mean()), consensus.model_weight
    return (model * np.max(p, axis=1) + mean / np.shape(p)[1]) / (model + mean)
