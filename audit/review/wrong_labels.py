"""How many of the flagged labels are wrong: one range, the same in the summary, on the pages and in the report."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.audit.review.stopping import Stopping
from lossprint.audit.runs.run import Run
from lossprint.audit.words import plural

KNOWN, SPOKEN = 3, 10  # answers before a tenth of the queue is known, and before a share of errors is spoken of


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


@dataclass(frozen=True)
class Ranks:
    """Ranks up to `last`, the ones before it left out, `reviewed` of them answered, and `share` of them wrong."""

    last: int
    reviewed: int
    share: float


def by_rank(tenths: pd.DataFrame) -> tuple[Ranks | None, Ranks | None]:
    """Where precision falls under one half, by the answers in each tenth of the queue (`Stopping.tenths`).

    The first ranks, of which more than half are wrong, and those behind, of which fewer are; each None where it is
    empty or has too few answers. They part where the shares, pooled so that they fall, cross one half. Tenths count up
    to the first with fewer than `KNOWN` answers. The network's own estimate says nothing of ranks: on data with known
    errors it missed by up to half of the flagged (docs/measured/label-errors.md).
    """
    known = tenths[(tenths["reviewed"] >= KNOWN).cummin()]
    share = (known["errors"] / known["reviewed"]).to_numpy(float)
    gain = np.cumsum(known["of"].to_numpy(float) * (share - 0.5))
    cut = int(gain.argmax()) + 1 if len(gain) and gain.max() > 0 else 0
    return _ranks(known.iloc[:cut]), _ranks(known.iloc[cut:])


def _ranks(part: pd.DataFrame) -> Ranks | None:
    reviewed = int(part["reviewed"].sum())
    if reviewed < SPOKEN:
        return None
    share = (part["of"] * part["errors"] / part["reviewed"]).sum() / part["of"].sum()
    return Ranks(int(part["last"].iloc[-1]), reviewed, float(share))


def rank_sentence(found: Stopping | None) -> str:
    """What the answers say of precision by rank, without a full stop; empty before there are enough."""
    first, behind = (None, None) if found is None or found.tenths.empty else by_rank(found.tenths)
    parts = []
    if first is not None:
        parts.append(f"Of the first {first.last:,}, {_in_ten(first.share)} are wrong, by {first.reviewed:,} answers")
    if behind is not None:
        whose = f"of those from there to rank {behind.last:,}" if parts else f"Of the first {behind.last:,}"
        parts.append(f"{whose}, fewer than half: {_in_ten(behind.share)}, by {behind.reviewed:,}")
    return "; ".join(parts)


def _in_ten(share: float) -> str:
    tenths = round(10 * share)
    return "nearly all" if tenths == 10 else "hardly any" if not tenths else f"about {tenths} in 10"
