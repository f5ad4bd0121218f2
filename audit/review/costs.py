"""What a review still costs: minutes left = questions to verify x v + questions to correct x c.

To verify is to answer yes or no to one suggestion, the tier `verify`; to correct is to choose among labels, the tiers
`correct` and `look`. v and c are measured from how long the answered questions were looked at, where enough were; else
they are assumptions, which a person can change. After CLARIFIER (arXiv 2306.01277), where verifying costs a third to a
quarter of correcting.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.audit.review.queues import LONGEST
from lossprint.audit.review.stopping import Stopping
from lossprint.audit.words import plural

ENOUGH = 10  # answers with a time from which on a mean is taken
ASSUMED = 4.0  # seconds to verify
RATIO = 3.0  # a correction costs so many verifications


@dataclass(frozen=True)
class Costs:
    """Seconds to verify and to correct, and how many answers each is the mean of; 0 where it is assumed."""

    verify: float
    correct: float
    verified: int = 0
    corrected: int = 0

    def minutes(self, tiers: pd.Series) -> float:
        """Of one person, for questions of these tiers."""
        verify = int((tiers == "verify").sum())
        return (verify * self.verify + (len(tiers) - verify) * self.correct) / 60


def measured(history: pd.DataFrame, tiers: pd.Series) -> Costs:
    """From the standing answers of the history; tiers: those of the findings, by their names.

    An answer counts once, however many samples it is about; looks over `LONGEST` count as that, and answers to settle a
    disagreement, or without a time, not at all. Where one of both is known the other is taken by RATIO.
    """
    rows = history[history["stands"] & (history["role"].astype(object) == "") & history["seconds"].notna()]
    rows = rows.drop_duplicates(["finding", "reviewer"], keep="last")
    tier = rows["finding"].map(tiers)
    seconds = rows["seconds"].clip(0, LONGEST)[tier.notna()]
    verifying = (tier[tier.notna()] == "verify").to_numpy(bool)
    counts = [int(verifying.sum()), int((~verifying).sum())]
    known = [count >= ENOUGH for count in counts]
    means = [float(seconds[which].mean()) if yes else np.nan for which, yes in zip((verifying, ~verifying), known)]
    if not any(known):
        return Costs(ASSUMED, RATIO * ASSUMED)
    verify, correct = means
    return Costs(
        verify if known[0] else correct / RATIO,
        correct if known[1] else verify * RATIO,
        *(count if yes else 0 for count, yes in zip(counts, known)),
    )


def basis(costs: Costs) -> str:
    """What both times rest on, in one sentence."""
    counts = {"verify": costs.verified, "correct": costs.corrected}
    told = [f"the time to {name} is the mean of {plural(count, 'answer')}" for name, count in counts.items() if count]
    if len(told) == 2:
        return f"{' and '.join(told).capitalize()}."
    if told:
        return (
            f"{told[0].capitalize()}; the other is by the assumption that a correction costs {RATIO:g} verifications."
        )
    return (
        f"Assumptions, until {ENOUGH} answers have a time: {ASSUMED:g} seconds to verify, and a correction costs "
        f"{RATIO:g} verifications."
    )


def sentences(costs: Costs, found: Stopping, labels: pd.Series, others: pd.Series) -> list[str]:
    """What is left, in plain sentences. labels: tiers of the open questions on wrong labels, in their order; others: of
    all other open questions. Of one person: divide by how many review.
    """
    said = []
    ahead = labels.iloc[: found.ahead]
    if found.coming is not None and len(ahead):
        minutes, errors = costs.minutes(ahead), found.coming
        each = f", {_minutes(minutes / errors.estimate)} an error" if errors.estimate >= 0.5 else ""
        which = "The next question takes" if len(ahead) == 1 else f"The next {len(ahead):,} questions take"
        said.append(f"{which} {_minutes(minutes)} and hold about {plural(round(errors.estimate), 'error')}{each}.")
    if len(labels):
        verify = int((labels == "verify").sum())
        said.append(
            f"{plural(len(labels), 'open question')} on labels, {verify:,} to verify and {len(labels) - verify:,} to "
            f"correct: {_minutes(costs.minutes(labels))}."
        )
    if len(others):
        said.append(f"{plural(len(others), 'open question')} of other kinds: {_minutes(costs.minutes(others))}.")
    if found.to_halve:
        checks, minutes = plural(found.to_halve, "random check"), found.to_halve * costs.verify / 60
        said.append(f"{checks} to halve the interval of what nobody flagged: {_minutes(minutes)}.")
    return said


def _minutes(value: float) -> str:
    if value < 1:
        return plural(max(round(60 * value), 1), "second")
    return plural(round(value), "minute") if value < 90 else f"{value / 60:.1f} hours"
