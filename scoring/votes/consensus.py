"""What votes and a model come to: the mean of CROWDLAB's posterior and of Dawid and Skene's.

CROWDLAB weighs annotators by how often they agree with others, which takes a good one among poor ones for a poor one;
Dawid and Skene take errors for independent, and are too sure where an image misleads everybody. Of made votes of twelve
kinds, with errors that are independent and errors that images cause, the mean named about as many wrong as the better
of the two each time, and its probability found the wrong ones nearly as well (`benchmarks/votes.py`).
"""

from dataclasses import dataclass

import numpy as np

from lossprint.scoring.heads.combine import temperature
from lossprint.scoring.votes.crowdlab import Consensus, crowdlab
from lossprint.scoring.votes.dawid_skene import DawidSkene, dawid_skene
from lossprint.scoring.votes.table import Votes, majority


@dataclass(frozen=True)
class Together:
    """label (N,), quality (N,): its probability, low is suspect; posterior (N, K); majority (N,) of the votes alone.
    agreement (N,): the share of a sample's votes for the label. vote_quality (V,): the probability of each vote's own
    class. Both parts, and the model's probabilities (N, K) at the temperature that fits the majority, None without.
    """

    label: np.ndarray
    quality: np.ndarray
    posterior: np.ndarray
    majority: np.ndarray
    agreement: np.ndarray
    vote_quality: np.ndarray
    crowdlab: Consensus
    dawid_skene: DawidSkene
    p: np.ndarray | None


def consensus(votes: Votes, log_p: np.ndarray | None = None) -> Together:
    """Consensus of votes and, if there is one, of a model's log-probabilities (N, K) out of sample."""
    most, p = majority(votes), None
    if log_p is not None:
        scaled = np.asarray(log_p, np.float64)
        scaled = np.where(np.isnan(scaled).any(axis=1, keepdims=True), -np.log(votes.classes), scaled)
        scaled = np.maximum(scaled, -700) / temperature(np.maximum(scaled, -700), most)
        p = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
    one, other = crowdlab(votes, p), dawid_skene(votes, p)
    posterior = (one.posterior + other.posterior) / 2
    label = posterior.argmax(axis=1)
    return Together(
        label,
        posterior[np.arange(votes.samples), label],
        posterior,
        most,
        np.bincount(votes.sample, votes.label == label[votes.sample]) / votes.each,
        posterior[votes.sample, votes.label],
        one,
        other,
        p,
    )
