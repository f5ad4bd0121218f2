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
from lossprint.audit.types import LossprintError
from lossprint.scoring.heads import blocks, combine, foreign, lda, linear, vote
from lossprint.scoring.heads.folds import deal

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
    seeds: int = 1,
    folds: int = 0,
    members: bool = True,
) -> tuple[pd.DataFrame, dict]:
    """Train and record the head on features (N, d), rows as `inputs` has them; the ranking and facts for run.json.

    groups (N,): samples that stay together in folds, see `folds.joined`. Further seeds deal and train anew, and the
    ranking is by their mean; with folds the trained heads' part of it is out of fold, too. With `members` they are
    recorded as further trainings of the run. `bar` counts epochs. The ranking has one row a training sample, columns
    `runs.tables.HEAD`. Raises LossprintError where nothing can be left out, or not in so many folds.
    """
    rows, others = inputs.rows("train"), inputs.rows("val")
    raw, labels, group, classes = _taken(features, rows), inputs.labels[rows], groups[rows], inputs.classes
    _refuse_few(group, folds)
    fold = deal(labels, folds or FOLDS, groups=group, seed=seed)
    prepared = blocks.prepare(raw)
    preparation = linear.Preparation(torch.from_numpy(prepared.mean), torch.from_numpy(prepared.scale))
    # Once for all epochs, decays and folds, where they fit into memory.
    features, preparation = linear.ready(features, preparation, device)
    values = _taken(features, rows)
    if preparation.ready and not values.is_cuda:
        prepared = values.numpy()
    shared = {"epochs": epochs, "device": device, "preparation": preparation}
    decay = linear.chosen_decay(values, labels, classes, fold, seed=seed, **shared)
    margins, energy, bend = np.zeros(len(rows)), None, None
    for number in range(seeds):
        own = recorder if number == 0 else recorder.member(f"seed={seed + number:05d}") if members else None
        if own is not None:
            own.rewind(0)
        for head in linear.train(values, labels, classes, decay=decay, seed=seed + number, **shared):
            if own is not None:
                _record(own, head, features, inputs, others)
            margins += _record(own, head, features, inputs, rows) / (epochs * seeds)
            if own is not None:
                own.end_checkpoint(head.epoch)
            bar.update()
        if number == 0:
            energy = torch.cat([logits.logsumexp(1).cpu() for _, logits in head.logits(values)]).numpy()
            bend = linear.curvature(head, values).cpu().numpy()
    if folds:
        margins = _fold_heads(
            recorder if members else None, features, inputs, values, fold, decay, seed=seed, bar=bar, **shared
        )
    closed, shrinkage = lda.shuffled(
        prepared, labels, classes, groups=group, folds=folds or FOLDS, seeds=seeds, seed=seed
    )
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
        "foreign": foreign.remoteness(raw, energy, seed=seed),
        "head_curvature": bend,
    }
    return pd.DataFrame(table), facts


def _taken(features: np.ndarray | torch.Tensor, rows: np.ndarray) -> np.ndarray | torch.Tensor:
    """The rows (R,) of features (N, d): a view where they follow one another, as of a million samples it should be."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return features[rows[0] : rows[-1] + 1]
    return features[rows]


def _refuse_few(group: np.ndarray, folds: int) -> None:
    count = len(np.unique(group))
    if count < max(folds, 2):
        asked = f" for --folds {folds}" if folds else ""
        raise LossprintError(
            f"expected at least {max(folds, 2)} groups of training samples{asked}, found {count}: copies, a sequence "
            "and what --group-by joins are left out together"
        )


def _fold_heads(
    recorder: Recorder | None,
    features: torch.Tensor,
    inputs: Inputs,
    values: torch.Tensor,
    fold: np.ndarray,
    decay: float,
    *,
    epochs: int,
    seed: int,
    device: str,
    preparation: linear.Preparation,
    bar,
) -> np.ndarray:
    """Record heads that saw all folds but one, each on its own, fold (R,); margins (R,) of the training samples.

    Each has its share of the validation samples, so that all are recorded once.
    """
    rows, others, count = inputs.rows("train"), inputs.rows("val"), int(fold.max()) + 1
    shares = deal(inputs.labels[others], count, seed=seed)
    members = [None if recorder is None else recorder.member(f"fold={k:03d}") for k in range(count)]
    for member in members:
        if member is not None:
            member.rewind(0)
    margins, labels = np.zeros(len(rows)), inputs.labels[rows]
    options = {"fold": fold, "epochs": epochs, "seed": seed, "device": device, "preparation": preparation}
    for heads in linear.train_stack(values, labels, inputs.classes, [decay] * count, **options):
        for k, (member, head) in enumerate(zip(members, heads)):
            left = np.flatnonzero(fold == k)
            if member is not None:
                _record(member, head, features, inputs, others[shares == k])
            margins[left] += _record(member, head, features, inputs, rows[left]) / epochs
            if member is not None:
                member.end_checkpoint(head.epoch)
        bar.update()
    return margins


@torch.inference_mode()
def _record(
    recorder: Recorder | None, head: linear.Linear, features: torch.Tensor, inputs: Inputs, rows: np.ndarray
) -> np.ndarray:
    """Hand an epoch's losses of the rows (R,) of features (N, d) to the recorder, if there is one; margins (R,)."""
    margins = np.zeros(len(rows))
    for part, logits in head.logits(features, rows):
        labels = torch.from_numpy(inputs.labels[rows[part]]).to(logits.device)
        own = logits.gather(1, labels[:, None])
        margins[part] = (own[:, 0] - logits.scatter(1, labels[:, None], -torch.inf).amax(1)).cpu().numpy()
        if recorder is not None:
            losses = functional.cross_entropy(logits, labels, reduction="none")
            recorder.update(inputs.samples[rows[part]], losses, logits, labels)
    return margins
