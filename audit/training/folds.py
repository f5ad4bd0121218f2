"""Which fold each sample is left out in: by class and split, and whole video sequences and groups."""

import numpy as np

from lossprint.audit.training.inputs import Inputs
from lossprint.audit.types import LossprintError
from lossprint.scoring.heads.folds import deal, joined


def fold_of(inputs: Inputs, folds: int, seed: int) -> np.ndarray:
    """The fold (N,) that each row is left out in: every class and split spread evenly, by chance, over the folds.

    A training sequence is left out with all its frames: the longest first, each goes to the fold with the fewest. Those
    of validation are never trained on, so their frames are spread like images. So are groups, by a column of the
    manifest. Raises LossprintError where train has fewer sequences or groups than there are folds.
    """
    if inputs.group is not None:
        return _by_group(inputs, folds, seed)
    random = np.random.default_rng((seed, folds))
    fold = np.empty(len(inputs.samples), np.int64)
    shuffled = random.permutation(len(fold))
    order = shuffled[np.lexsort((inputs.labels[shuffled], inputs.split[shuffled]))]
    fold[order] = np.arange(len(fold)) % folds
    if inputs.sequence is None:
        return fold
    rows = np.flatnonzero((inputs.split == "train") & (inputs.sequence != ""))
    names, of, sizes = np.unique(inputs.sequence[rows], return_inverse=True, return_counts=True)
    if 0 < len(names) < folds:
        raise LossprintError(
            f"expected at least {folds} training sequences for --folds {folds}, found {len(names)}: a sequence "
            "is in one fold with all its frames"
        )
    chance, load, dealt = random.permutation(len(names)), np.zeros(folds, np.int64), np.zeros(len(names), np.int64)
    for at in np.lexsort((chance, -sizes)):
        dealt[at] = load.argmin()
        load[dealt[at]] += sizes[at]
    fold[rows] = dealt[of]
    return fold


def _by_group(inputs: Inputs, folds: int, seed: int) -> np.ndarray:
    rows = np.flatnonzero(inputs.split == "train")
    columns = [column for column in (inputs.group, inputs.sequence) if column is not None]
    together = joined(*(column[rows] for column in columns))
    if 0 < (count := len(np.unique(together))) < folds:
        raise LossprintError(
            f"expected at least {folds} groups of training samples for --folds {folds}, found {count}: a group is in "
            "one fold with all its samples"
        )
    fold = deal(inputs.labels, folds, seed=seed)
    fold[rows] = deal(inputs.labels[rows], folds, groups=together, seed=seed)
    return fold
