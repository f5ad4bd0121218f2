"""Dawid and Skene (Applied Statistics 28, 1979): each annotator's table of confusions, by expectation maximisation.

    E  q_i(k) ~ pi_k prod over votes of i  theta_j[k, l]
    M  theta_j[k, l] ~ sum_i q_i(k) [j called i l] + prior[k, l]

The prior is `draw` votes a row, spread as the rows of all annotators together: who has cast few votes is taken for an
average one. A model's most likely classes count as one more annotator's votes, so that its reliability is estimated
with the others'. Annotators who copy each other look able to it, and nothing in the votes says so.
"""

from dataclasses import dataclass

import numpy as np

from lossprint.scoring.votes.table import Votes, confusions, majority

SMOOTH = 0.1  # votes that every cell has beforehand
DIAGONAL = 0.5  # and those of the right class beside that
DRAW = 20.0
ROUNDS, ENOUGH = 500, 1e-5


@dataclass(frozen=True)
class DawidSkene:
    """posterior (N, K); theta (A, K, K): [annotator, true class, vote], rows of sum 1; prior (K,); ability (A,): the
    estimated share of an annotator's votes that are right, and the model's, NaN without one. whether it
    `settled` within the rounds.
    """

    posterior: np.ndarray
    theta: np.ndarray
    prior: np.ndarray
    ability: np.ndarray
    model_ability: float
    settled: bool


def dawid_skene(votes: Votes, p: np.ndarray | None = None, *, draw: float = DRAW, rounds: int = ROUNDS) -> DawidSkene:
    """From the majority's shares on, until no probability moves by more than 1e-5.

    p (N, K): a model's probabilities out of sample. draw 0 is the authors' own, smoothed by a fraction of a vote, and
    needs some 30 shared votes of each annotator.
    """
    own, size = votes, votes.classes
    if p is not None:
        rows = np.arange(votes.samples)
        votes = Votes.of(
            np.append(own.sample, rows),
            np.append(own.annotator, np.full(len(rows), own.annotators)),
            np.append(own.label, np.asarray(p).argmax(axis=1)),
            size,
        )
    posterior = 0.9 * own.counts / own.each[:, None] + 0.1 * np.eye(size)[majority(own)]
    starts = np.flatnonzero(np.diff(votes.sample, prepend=-1))
    ones, settled = np.eye(size) * DIAGONAL + SMOOTH, False
    for _ in range(rounds):
        counted = confusions(votes, posterior)
        usual = counted.sum(axis=0) + ones
        theta = counted + (draw * usual / usual.sum(axis=1, keepdims=True) if draw else ones)
        theta /= theta.sum(axis=2, keepdims=True)
        prior = posterior.mean(axis=0)
        spoken = np.log(theta).swapaxes(1, 2)[votes.annotator, votes.label]  # (V, K)
        logs = np.add.reduceat(spoken, starts, axis=0) + np.log(np.maximum(prior, 1e-300))
        logs -= logs.max(axis=1, keepdims=True)
        new = np.exp(logs)
        new /= new.sum(axis=1, keepdims=True)
        moved, posterior = float(np.abs(new - posterior).max()), new
        if moved < ENOUGH:
            settled = True
            break
    ability = votes.mean(posterior[votes.sample, votes.label])
    of_model = float("nan") if p is None else float(ability[-1])
    return DawidSkene(posterior, theta[: own.annotators], prior, ability[: own.annotators], of_model, settled)
