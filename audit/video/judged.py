"""What all judges of a run's video frames say together: its timeline -> evidence for every label of every frame.

Held-out judges are the models over time and the judges of single frames of the folds; within are those that trained on
the videos. Their weights are those that tell the labels of the trial best, see `scoring.videos.evidence`.
"""

from dataclasses import dataclass

import numpy as np

from lossprint.scoring import sequences
from lossprint.scoring.videos import evidence

# The network of single frames is not trained on the trial, which would take as long as all the rest: whatever it is
# worth, its trajectories count so much of what the others say together.
UNTRIED = 0.4
KINDS = ("window", "phase", "exchange")


@dataclass(frozen=True)
class Judged:
    """Of M frames: log (M, C) nats of the label as all judges see it, whatever is stated, and stated: how many nats a
    label's being stated is worth. worth (3, kinds): AUROC on the trial of the judges held out, of those within and of
    all, NaN where unknown; width: frames that evidence was averaged over. held_out: the share of the evidence that
    comes from judges held out. trained (M,) bool are the rows of the trial, of_trial what `log` is on its labels.
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
    held = [evidence.averaged(one, bounds, width) for one in (sequences.logs(seen["probabilities"]), seen["looks"])]
    outside = [one[trained] for one in held]
    within, of_trial = ([evidence.averaged(seen[f"within.log{end}"], inner, width)] for end in ("", ".trial"))
    if "within.single.trial" in seen:
        within.append(evidence.averaged(seen["within.single"], inner, width))
        of_trial.append(evidence.averaged(seen["within.single.trial"], inner, width))
    trial, given = evidence.Trial(seen["trial.labels"], seen["trial.kind"]), labels[trained]
    judges = [*outside, *of_trial]
    weights = evidence.fitted(judges, trial, given)
    alone, known = evidence.fitted(outside, trial, given), evidence.fitted(of_trial, trial, given)
    log = np.empty_like(held[0])
    log[~trained] = _together([one[~trained] for one in held], alone)
    log[trained] = _together([*outside, *within], weights)
    if "within.single" in seen and "within.single.trial" not in seen:
        single = evidence.averaged(seen["within.single"], inner, width)
        log[trained] += UNTRIED * evidence.scaled(single, log[trained], given)
    tried = _together(judges, weights)
    shown = [_together(outside, alone), _together(of_trial, known), tried]
    worth = np.array([evidence.auroc(evidence.doubt(one, trial.labels), trial.kind) for one in shown])
    loud = [weight * evidence.doubt(judge, trial.labels).std() for weight, judge in zip(weights.judges, judges)]
    share = float(sum(loud[: len(outside)]) / sum(loud))
    return Judged(log, np.where(trained, weights.stated, alone.stated), worth, width, share, trained, trial, tried)


def _together(judges: list[np.ndarray], weights: evidence.Weights) -> np.ndarray:
    return sum(weight * judge for weight, judge in zip(weights.judges, judges))
