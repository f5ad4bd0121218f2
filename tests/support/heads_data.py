"""Made-up features of classes with planted wrong labels, for the tests of `scoring.heads`."""

import numpy as np


def planted(n: int = 600, d: int = 20, classes: int = 4, share: float = 0.1, seed: int = 0, apart: float = 3.0):
    """Features (n, d) float32 of Gaussian classes, given labels, which of them are wrong, true labels."""
    random = np.random.default_rng(seed)
    true = np.arange(n) % classes
    centres = random.normal(size=(classes, d))
    centres *= apart / np.linalg.norm(centres, axis=1, keepdims=True)
    scale = np.exp(random.normal(size=d))
    features = (centres[true] + random.normal(size=(n, d))) * scale + 5
    wrong = np.zeros(n, bool)
    wrong[random.permutation(n)[: round(share * n)]] = True
    labels = np.where(wrong, (true + random.integers(1, classes, n)) % classes, true)
    return features.astype(np.float32), labels, wrong, true
