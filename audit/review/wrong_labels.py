"""How many of the flagged labels are wrong: one range, the same in the summary, on the pages and in the report."""

from dataclasses import dataclass

import numpy as np

from lossprint.audit.review.stopping import Stopping
from lossprint.audit.runs.run import Run
from lossprint.audit.words import plural


@dataclass(frozen=True)
class WrongLabels:
    """Of the `flagged` labels low to high are wrong. answers: how many answers say so, 0: the network itself does."""

    flagged: int
    low: int
    high: int
    answers: int = 0


def wrong_labels(run: Run, found: Stopping | None = None) -> WrongLabels | None:
    """The range, from the answers as soon as they tell anything of the open questions (see `stopping`), before that
    from the network's own probabilities; None where neither is known."""
    if found is not None and found.flagged and found.queue_left is not None:
        left = found.queue_left
        low, high = int(np.floor(left.low)), int(np.ceil(left.high))
        return WrongLabels(found.flagged, found.errors + low, found.errors + high, found.answered)
    kept = run.manifest["facts"].get("score", {}).get("strength", {}).get("wrong")
    if not kept or not kept["flagged"]:
        return None
    low, high = kept["low"], kept["high"]
    if found is not None:  # what is answered is known
        low, high = max(low, found.errors), min(high, kept["flagged"] - (found.answered - found.errors))
    return WrongLabels(kept["flagged"], min(low, high), high)


def by_class(run: Run) -> dict[str, tuple[int, int, int]]:
    """Of each given label how many are flagged, and from how many to how many of these are wrong, by the network."""
    kept = run.manifest["facts"].get("score", {}).get("strength", {}).get("wrong", {})
    return {name: tuple(row) for name, row in kept.get("classes", {}).items()}


def span(wrong: WrongLabels) -> str:
    """`170 to 310`, `none`, `all 12`."""
    if wrong.low == wrong.high:
        return "none" if not wrong.high else f"all {wrong.high:,}" if wrong.high == wrong.flagged else f"{wrong.high:,}"
    return f"{wrong.low:,} to {wrong.high:,}"


def sentence(wrong: WrongLabels) -> str:
    """What is known in one sentence, without a full stop."""
    basis = f"by {plural(wrong.answers, 'answer')}" if wrong.answers else "by the network's own estimate"
    return f"Of {plural(wrong.flagged, 'flagged label')}, {span(wrong)} are expected to be wrong, {basis}"
