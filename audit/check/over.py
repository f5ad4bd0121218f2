"""`--fail-on` of a check: how many images of a batch are too many, and what counts that nobody could judge.

As `findings.limits`, of other names and with shares of the batch: what was not judged counts as if found.
"""

from lossprint.audit.check.looked_for import KINDS
from lossprint.audit.findings.limits import Broken, Limit

NAMES = (*KINDS, "unmeasured")


def broken(result: dict, limits: tuple[Limit, ...]) -> list[Broken]:
    """The limits that a batch is over, in their order."""
    over = []
    for limit in limits:
        if limit.name == "unmeasured":
            part = {"found": result["unmeasured"], "unjudged": 0, "why": ""}
        else:
            part = result["parts"][limit.name]
        most = limit.number * result["images"] / 100 if limit.percent else limit.number
        value = part["found"] + part["unjudged"]
        if value < most or (value == most and not limit.reached):
            continue
        words = [f"{part['found']:,} found", *[f"{part['unjudged']:,} not judged"] * bool(part["unjudged"])]
        over.append(Broken(limit, part["found"], part["unjudged"], f"{limit}: {', '.join(words)}"))
    return over
