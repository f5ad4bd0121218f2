"""Judges that have trained on the videos that they judge: a model over time of all training videos, under their labels.

It learns what videos have in common before it learns any label by heart. Its epochs are averaged as far as that serves:
how far is found on a trial, a second model of the same videos with errors made on purpose (`scoring.videos.evidence`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lossprint.audit.video import temporal
from lossprint.scoring.videos import evidence

EPOCHS = 20
STOPS = (5, 8, 12, 16, 20)  # epochs after which averaging may end


@dataclass(frozen=True)
class Within:
    """Of the M training frames: losses (E, M) float32 of the labels as given after each epoch; log and of_trial (M, C)
    float32, mean log-probabilities over the first `epochs` epochs of the model and of its trial."""

    losses: np.ndarray
    log: np.ndarray
    of_trial: np.ndarray
    trial: evidence.Trial
    epochs: int

    def arrays(self) -> dict[str, np.ndarray]:
        """As `Run.write_timeline` takes them."""
        return {
            "within.losses": self.losses,
            "within.log": self.log,
            "within.log.trial": self.of_trial,
            "trial.labels": self.trial.labels,
            "trial.kind": self.trial.kind,
            "within.epochs": np.array([self.epochs]),
        }


def learn(
    features: np.ndarray,
    labels: np.ndarray,
    bounds: np.ndarray,
    classes: int,
    *,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> Within:
    """Train on whole videos, and once more on their trial. features (M, D), labels (M,), bounds as in `temporal`.

    The epochs that are averaged are those with which errors of the trial are told best.
    """
    trial = evidence.trial(labels, bounds, np.random.default_rng(seed))
    options = {"epochs": EPOCHS, "seed": seed, "progress": progress}
    width = evidence.window(labels, bounds)
    best, of_trial, epochs = -np.inf, None, STOPS[-1]
    weights = temporal.fit(features, trial.labels, bounds, classes, **options)
    total = np.zeros((len(labels), classes))
    for epoch, log in enumerate(temporal.looks(weights, features, bounds), 1):
        total += log
        if epoch in STOPS:  # an earlier end is preferred where more epochs add nothing
            told = evidence.worth(evidence.averaged(total / epoch, bounds, width), trial)
            if told > best:
                best, of_trial, epochs = told, (total / epoch).astype(np.float32), epoch
    weights = temporal.fit(features, labels, bounds, classes, **options)
    losses, total = np.empty((EPOCHS, len(labels)), np.float32), np.zeros((len(labels), classes), np.float32)
    for epoch, log in enumerate(temporal.looks(weights, features, bounds)):
        losses[epoch] = -log[np.arange(len(labels)), labels]
        if epoch < epochs:
            total += log / epochs
    return Within(losses, total, of_trial, trial, epochs)
