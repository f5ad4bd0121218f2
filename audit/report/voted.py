"""What annotators' votes come to, as the report tells it."""

from dataclasses import dataclass

import pandas as pd

from lossprint.audit.report.facts import Facts
from lossprint.audit.report.tables import MOST
from lossprint.audit.report.words import DASH, given, name, other, path, percent
from lossprint.audit.review.votes import evidence
from lossprint.audit.runs import beside


@dataclass(frozen=True)
class Voted:
    """votes, samples: how many. people, rows: cells of the tables of annotators and of samples whose consensus differs
    from the given label; differ: how many those are, and open: how many of them nobody has decided on."""

    votes: int
    samples: int
    people: list[list]
    rows: list[list]
    differ: int
    open: int


def voted(facts: Facts) -> Voted | None:
    """What was counted, None without votes. LossprintError where a table is damaged."""
    counted = beside.consensus(facts.run)
    if counted is None:
        return None
    consensus, annotators, votes = counted
    against = consensus[(consensus["consensus"] != consensus["label"]) & consensus["sample"].isin(facts.samples.index)]
    against = against.sort_values("quality", ascending=False, kind="stable")
    people = [
        [
            name(row.annotator, 60),
            int(row.votes),
            *(_share(value) for value in (row.ability, row.agreement, row.with_consensus)),
            "few shared votes" if row.few else "",
        ]
        for row in annotators.head(MOST).itertuples()
    ]
    rows = [
        [
            path(facts.samples.at[row.sample, "path"]),
            given(row.label, 40),
            other(row.consensus),
            _share(row.quality),
            name(evidence(row), 90),
            _decision(facts, row.sample),
        ]
        for row in against.head(MOST).itertuples()
    ]
    unsettled = int((~against["sample"].isin(facts.reviewed.index)).sum())
    return Voted(len(votes), len(consensus), people, rows, len(against), unsettled)


def _decision(facts: Facts, sample: int):
    row = facts.decision(sample)
    if row is None:
        return "none yet"
    if row.change == "excluded":
        return "left out"
    return other(row.label) if row.change == "relabelled" else "as given"


def _share(value: float) -> str:
    return DASH if pd.isna(value) else percent(value)
