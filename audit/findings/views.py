"""Two views of the same samples, a network's trajectories and heads on frozen features, ranked as one.

Both lie in the run: the network's as those of any run, the backbone's as the member `VIEW` and in head.parquet. How
much each counts follows from the share of validation samples that it names as they are labelled.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.audit.runs.run import Run
from lossprint.audit.training.names import VIEW, parts
from lossprint.audit.types import LossprintError
from lossprint.scoring.heads import combine
from lossprint.scoring.labels import SUSPECT, LabelErrors

STEADY = 0.75  # of the counted checkpoints name the suggested class, as `labels.triage` has it


@dataclass(frozen=True)
class Views:
    """The ranking of both, columns `HEAD`, and what run.json says: by view its accuracy on validation samples and its
    weight."""

    head: pd.DataFrame
    facts: dict[str, dict[str, float]]


def combined(run: Run, head: pd.DataFrame, own: LabelErrors) -> Views:
    """The ranking of the heads, a row a sample, and the network's own errors of the same samples, as one."""
    names = ["suspicion", "suggested", "probability", "given_probability", "flagged", "certain"]
    frozen = combine.Ranking(*(head[name].to_numpy() for name in names), np.zeros(len(head), bool))
    flagged = own.severity > SUSPECT
    network = combine.Ranking(
        own.severity,
        own.suggested,
        own.probability,
        own.given_probability,
        flagged,
        flagged & (own.stability >= STEADY),
        np.zeros(len(head), bool),
    )
    counts = [named(run), named(run.member(VIEW))]
    # One right and one wrong are added to each: ten of ten right are no certainty.
    ranking, weights = combine.joined([network, frozen], [(right + 1) / (of + 2) for right, of in counts])
    trained, backbone = parts(run.manifest["asked"].get("model") or "")
    facts = {
        name: {"accuracy": round(right / max(of, 1), 4), "weight": round(float(weight), 4)}
        for name, (right, of), weight in zip((trained or "network", backbone or "frozen"), counts, weights)
    }
    return Views(head.assign(**{name: getattr(ranking, name) for name in names}), facts)


def named(run: Run) -> tuple[int, int]:
    """How many validation samples a training, at its last checkpoint, names as they are labelled, and of how many."""
    checkpoints = run.recorded("val")
    if not checkpoints:
        raise LossprintError(f"expected validation samples recorded in {run.path}, found none")
    margins = run.part("val", checkpoints[-1], columns=["margin"])["margin"].to_numpy()
    return int((margins > 0).sum()), int((~np.isnan(margins)).sum())


def sentences(run: Run) -> list[str]:
    """How well each view of a run fits its images, and how they are weighed; or why it was left with one of two."""
    facts = run.manifest["facts"].get("score", {}).get("views")
    if not facts:
        return _left_out(run)
    (network, own), (backbone, theirs) = facts.items()
    share, other = 100 * theirs["accuracy"], 100 * own["accuracy"]
    fit = "fit these images" if share >= other else "fit these images less well"
    return [
        f"features of {backbone.partition(':')[2]} {fit}: {share:.0f} % of the validation labels against {other:.0f} % "
        f"by {network}; wrong labels are ranked by both, {100 * theirs['weight']:.0f} to {100 * own['weight']:.0f}"
    ]


def _left_out(run: Run) -> list[str]:
    """Which view was left out because the other fits a run's images so much better, and how well each did."""
    facts = run.manifest["asked"].get("auto") or {}
    trained, backbone = parts(run.manifest["asked"].get("model") or "")
    if not facts or (trained and backbone):
        return []
    name = facts["backbone"].partition(":")[2]
    ours, theirs = 100 * facts["network"], 100 * facts["backbone_share"]
    of = f", in a trial on {facts['samples']:,} images" if facts.get("samples") else ""
    if backbone:
        return [
            f"features of {name} fit these images: {theirs:.0f} % of the validation labels against "
            f"{ours:.0f} % by small{of}; no network was trained"
        ]
    return [
        f"features of {name} do not fit these images: {theirs:.0f} % of the validation labels against "
        f"{ours:.0f} % by {trained}{of}; they are left out, and all rests on {trained} alone"
    ]
