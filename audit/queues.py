"""What is asked of the experts and in which order: queues in tiers from findings of all kinds, and the random audit.

A finding is one question. Tiers after CLARIFIER: `verify` (one confident suggestion: yes or no), `correct` (choose among
the likely labels), `look` (ambiguous, or a group of images: look closer, with the evidence open).
"""

import numpy as np
import pandas as pd

TIERS = ("verify", "correct", "look")
AUDIT = "audit"  # kind of a question that nothing but chance asked; its finding is named `audit:SAMPLE`


def audit_order(train: np.ndarray, flagged: np.ndarray, seed: int) -> np.ndarray:
    """The training samples that no finding names, in the order in which the random audit asks about them.

    train, flagged: sample ids. Any leading part of the order is a simple random sample without replacement of the rest
    of the training split. The same ids and seed give the same order; it does not depend on the order of the ids.
    """
    rest = np.setdiff1d(train, flagged)
    return np.random.default_rng([seed, 0xA0D17]).permutation(rest)
