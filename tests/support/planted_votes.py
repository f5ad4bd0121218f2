"""Made votes of annotators whose abilities are known, and what a model would say, for tests and benchmarks."""

import numpy as np

from lossprint.scoring.votes.table import Votes


def planted_votes(
    samples: int = 1000,
    classes: int = 5,
    abilities=(0.95, 0.85, 0.75, 0.6, 0.4),
    each: int = 3,
    model: float = 0.8,
    seed: int = 0,
):
    """Votes, the truth (N,) and probabilities p (N, K): `each` random annotators a sample, each wrong as often as one
    minus its ability, half of that by calling a class the next one; p names the truth with share `model`."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, samples)
    people = len(abilities)
    who = np.argsort(random.random((samples, people)), axis=1)[:, :each]
    sample, annotator = np.repeat(np.arange(samples), each), who.ravel()
    right = random.random(len(sample)) < np.asarray(abilities)[annotator]
    step = np.where(random.random(len(sample)) < 0.5, 1, random.integers(1, classes, len(sample)))
    label = (truth[sample] + np.where(right, 0, step)) % classes
    logits = random.normal(size=(samples, classes))
    named = np.where(random.random(samples) < model, truth, random.integers(0, classes, samples))
    logits[np.arange(samples), named] += 3.5
    p = np.exp(logits)
    return Votes.of(sample, annotator, label, classes), truth, p / p.sum(axis=1, keepdims=True)


def wide(votes: Votes) -> np.ndarray:
    """The votes (N, A), NaN where an annotator has none: cleanlab's form."""
    table = np.full((votes.samples, votes.annotators), np.nan)
    table[votes.sample, votes.annotator] = votes.label
    return table
