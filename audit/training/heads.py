"""A linear head on frozen features as a training that is recorded, and the ranking of label errors that goes with it.

Every epoch of the head goes through the Recorder, so that all scores of trajectories follow as from any training. The
ranking itself is out of fold, see `scoring.heads.combine`.
"""

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.training.inputs import Inputs
from lossprint.scoring.heads import blocks, combine, folds, foreign, lda, linear, vote

FOLDS = 5


def train(
    recorder: Recorder,
    features: np.ndarray,
    inputs: Inputs,
    groups: np.ndarray,
    *,
    epochs: int,
    seed: int,
    device: str,
    bar,
) -> tuple[pd.DataFrame, dict]:
    """Train and record the head on features (N, d), rows as `inputs` has them; the ranking and facts for run.json.

    groups (N,): samples that stay together in folds, see `folds.joined`. `bar` counts epochs. The ranking has one row a
    training sample, columns `runs.tables.HEAD`.
    """
    rows, others = inputs.rows("train"), inputs.rows("val")
    values, labels, group, classes = features[rows], inputs.labels[rows], groups[rows], inputs.classes
    fold = folds.deal(labels, FOLDS, groups=group, seed=seed)
    decay = linear.chosen_decay(values, labels, classes, fold, epochs=epochs, seed=seed, device=device)
    margins = np.zeros(len(rows))
    for head in linear.train(values, labels, classes, decay=decay, epochs=epochs, seed=seed, device=device):
        _record(recorder, head, features[others], inputs, others)
        margins += _record(recorder, head, values, inputs, rows) / epochs
        recorder.end_checkpoint(head.epoch)
        bar.update()
    energy = torch.cat([logits.logsumexp(1).cpu() for _, logits in head.logits(values)]).numpy()
    prepared = blocks.prepare(values)
    closed, shrinkage = lda.shuffled(prepared, labels, classes, groups=group, folds=FOLDS, seed=seed)
    shares = vote.vote(prepared, labels, classes, groups=group, seed=seed)
    ranking = combine.rank(labels, closed.discriminant, closed.ridge, margins, shares)
    names = recorder.run.classes
    facts = {
        "decay": decay,
        "shrinkage": shrinkage,
        "out_of_fold": round(combine.share_named(closed.ridge, labels), 4),
        "few": [names[at] for at in np.unique(labels[ranking.few])],
    }
    table = {
        "sample": inputs.samples[rows],
        "suspicion": ranking.suspicion,
        "suggested": ranking.suggested.astype(np.int32),
        "probability": ranking.probability,
        "given_probability": ranking.given_probability,
        "flagged": ranking.flagged,
        "certain": ranking.certain,
        "foreign": foreign.remoteness(values, energy, seed=seed),
    }
    return pd.DataFrame(table), facts


@torch.inference_mode()
def _record(
    recorder: Recorder, head: linear.Linear, features: np.ndarray, inputs: Inputs, rows: np.ndarray
) -> np.ndarray:
    """Hand an epoch's losses of the rows (R,), whose features are given, to the recorder; their margins (R,)."""
    margins = np.zeros(len(rows))
    for part, logits in head.logits(features):
        labels = torch.from_numpy(inputs.labels[rows[part]]).to(logits.device)
        own = logits.gather(1, labels[:, None])
        margins[part] = (own[:, 0] - logits.scatter(1, labels[:, None], -torch.inf).amax(1)).cpu().numpy()
        losses = functional.cross_entropy(logits, labels, reduction="none")
        recorder.update(inputs.samples[rows[part]], losses, logits, labels)
    return margins
