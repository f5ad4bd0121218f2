"""What all judges of a run's video frames say together: its timeline -> evidence for every label of every frame.

Held-out judges are the models over time and the judges of single frames of the folds; within are those that trained on
the videos. Their weights are those that tell the labels of the trial best, see `scoring.videos.evidence`.
"""

from dataclasses import dataclass

import numpy as np

from lossprint.scoring import sequences
from lossprint.scoring.videos import evidence

# Judges beside the model over time, as far as a run has them. One that trained on the videos but not on the trial, as
# in runs of earlier versions, is left out: what it learned by heart shows nowhere.
LOOKS = ("looks", "looks.plain")
WITHIN = ("within.log", "within.single", "within.network")


@dataclass(frozen=True)
class Judged:
    """Of M frames: log (M, C) nats of the label as all judges see it, whatever is stated, and stated: how many nats a
    label's being stated is worth. worth (3, K): AUROC on the trial of the judges held out, of those within and of all,
    by kind of `evidence.KINDS`, NaN where unknown; width: frames that evidence was averaged over. held_out: the share
    of the evidence that comes from judges held out. trained (M,) bool are the rows of the trial, of_trial what `log` is
    on its labels.
    """

    log: np.ndarray
    stated: np.ndarray
    worth: np.ndarray
    width: int
    held_out: float
    trained: np.ndarray
    trial: evidence.Trial
    of_trial: np.ndarray


def judged(seen: dict[str, np.ndarray], labels: np.ndarray, bounds: np.ndarray) -> Judged | None:
    """The evidence of a run's `timeline`; None where no judge trained on the videos, as in runs of earlier versions.

    labels (M,), bounds (S + 1,) of the frames in the order of the timeline. Frames of videos that were not trained on
    have held-out judges only.
    """
    if "within.log" not in seen or not seen["trained"].any():
        return None
    trained = seen["trained"].astype(bool)
    inner = sequences.bounds_of(np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))[trained])
    width = evidence.window(labels[trained], inner)
    looks = [sequences.logs(seen["probabilities"]), *(seen[name] for name in LOOKS if name in seen)]
    held = [evidence.averaged(one, bounds, width) for one in looks]
    outside = [one[trained] for one in held]
    names = [name for name in WITHIN if f"{name}.trial" in seen]
    within, of_trial = (
        [evidence.averaged(seen[f"{name}{end}"], inner, width) for name in names] for end in ("", ".trial")
    )
    trial, given = evidence.Trial(seen["trial.labels"], seen["trial.kind"]), labels[trained]
    fit = {"trial": trial, "labels": given, "bounds": inner}
    judges = [*outside, *of_trial]
    weights, alone, known = (evidence.fitted(some, **fit) for some in (judges, outside, of_trial))
    log = alone(held, labels, bounds)
    tried = weights(judges, trial.labels, inner)
    shown = [alone(outside, trial.labels, inner), known(of_trial, trial.labels, inner), tried]
    worth = np.array([evidence.auroc(evidence.doubt(one, trial.labels), trial.kind) for one in shown])
    loud = (weights.near + weights.far) * [evidence.doubt(one, trial.labels).std() for one in judges]
    share = float(loud[: len(outside)].sum() / max(loud.sum(), 1e-9))
    log[trained] = weights([*outside, *within], given, inner)
    return Judged(log, np.where(trained, weights.stated, alone.stated), worth, width, share, trained, trial, tried)
