"""`--fail-on`: how many findings of a kind are too many, and what counts that nobody could judge.

A limit is NAME>NUMBER or NAME>=NUMBER, a number with % being a share of the training samples. NAME is a kind of
finding, `findings` (all kinds together), `unmeasured` (training samples that could not be judged fully) or `unreadable`
(images left out). No finding says nothing about what was not judged: samples without the score of a kind count as if
found, and a kind that was not looked for is over every limit.
"""

import re
from dataclasses import dataclass

from lossprint.audit.findings.table import counts
from lossprint.audit.runs.run import Run
from lossprint.audit.types import KINDS

NAMES = (*KINDS, "findings", "unmeasured", "unreadable")
OLD = "an earlier version scored it and did not count what could not be judged: score it again"
TERM = re.compile(r"\s*([a-z_]+)\s*(>=?)\s*([0-9]+(?:\.[0-9]+)?)\s*(%?)\s*", re.A)


@dataclass(frozen=True)
class Limit:
    """`name` may be up to `number`, a share of the training samples if `percent`; `reached` is too many already."""

    name: str
    number: float
    percent: bool
    reached: bool

    def __str__(self) -> str:
        return f"{self.name}{'>=' if self.reached else '>'}{self.number:g}{'%' * self.percent}"


@dataclass(frozen=True)
class Broken:
    """A limit that a run is over: `found` findings and `unjudged` samples; `words` say it."""

    limit: Limit
    found: int
    unjudged: int
    words: str


def read(text: str, names: tuple[str, ...] = NAMES) -> tuple[Limit, ...]:
    """The limits of `NAME>NUMBER,...`, of these names. ValueError, which says why, where it is something else."""
    limits = []
    for term in text.split(","):
        match = TERM.fullmatch(term)
        if match is None:
            raise ValueError(
                f"NAME>NUMBER such as label_error>50 or label_error>2%, with commas between, found {term!r}"
            )
        name, sign, number, percent = match.groups()
        if name not in names:
            raise ValueError(f"a name of {', '.join(names)}, found {name!r}")
        limits.append(Limit(name, float(number), bool(percent), sign == ">="))
    return tuple(limits)


def broken(run: Run, limits: tuple[Limit, ...], found: dict[str, int] | None = None) -> list[Broken]:
    """The limits that a run is over, in their order. `found` counts the findings by kind where not all count."""
    found = counts(run) if found is None else found
    total = run.manifest["dataset"].get("counts", {}).get("train")
    total = len(run.sample_ids("train")) if total is None else total
    said = []
    for limit in limits:
        number, unjudged, why = _count(run, limit.name, found)
        most = limit.number * total / 100 if limit.percent else limit.number
        value = number + unjudged
        if not why and (value < most or (value == most and not limit.reached)):
            continue
        words = ", ".join([f"{number:,} found", *[f"{unjudged:,} not judged"] * bool(unjudged), *[why] * bool(why)])
        said.append(Broken(limit, number, unjudged, f"{limit}: {words}"))
    return said


def _count(run: Run, name: str, found: dict[str, int]) -> tuple[int, int, str]:
    """How many there are, how many samples nobody could judge, and in words why nothing is known."""
    facts = run.manifest["facts"]
    unjudged = facts.get("find", {}).get("unjudged")
    if name == "unreadable":
        return int(run.manifest["dataset"].get("counts", {}).get("unreadable", 0)), 0, ""
    old = "" if unjudged is not None else OLD
    if name == "unmeasured" and old:
        return 0, 0, old
    if name == "unmeasured":
        doubt = facts.get("record", {}).get("doubt")
        return int(unjudged["any"]), 0, f"doubtful losses: {doubt}" if doubt else ""
    if name == "findings":
        return sum(found.values()), int((unjudged or {}).get("any", 0)), old
    if name in ("duplicate", "near_duplicate"):
        return found[name], 0, "" if run.has_duplicates() else "not looked for"
    if name.startswith("sequence_"):
        return found[name], 0, "not looked for" if _has_sequences(run) and run.frames() is None else ""
    return found[name], int((unjudged or {}).get(name, 0)), old


def _has_sequences(run: Run) -> bool:
    return bool(run.samples(columns=["sequence"])["sequence"].notna().any())
