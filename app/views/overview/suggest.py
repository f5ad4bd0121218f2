"""What to look at first: concrete suggestions from a run's tables, ranked. Knows no Streamlit."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from lossprint.audit.words import plural

SHOWN = 6


@dataclass(frozen=True)
class Suggestion:
    """One thing to look at: a sentence in markdown, samples to show, and the page with its URL parameters.

    `more` are fields of a gallery tile, one dict a sample.
    """

    title: str
    text: str
    samples: list[int]
    page: str
    params: dict = field(default_factory=dict)
    more: list[dict] = field(default_factory=list)


def suggestions(
    findings: pd.DataFrame,
    groups: pd.DataFrame,
    classes: pd.Series,
    show=str,
    claims: Mapping[str, str] | None = None,
    noun: str = "image",
) -> list[Suggestion]:
    """At most four suggestions. `groups`: the duplicate groups; `classes`: training samples by label; `claims`: what
    each span of video says, by its name; `noun`: what a sample is."""
    wrong = findings[findings["kind"] == "label_error"].sort_values("severity", ascending=False, kind="stable")
    found = [
        *_spans(findings, claims or {}, show),
        _worst(wrong),
        _confusion(wrong, show, noun),
        _conflicting(groups, noun),
        _leaking(groups),
        _class(wrong, classes, show),
        _outliers(findings, noun),
    ]
    return [one for one in found if one is not None][:4]


def _spans(findings: pd.DataFrame, claims: Mapping[str, str], show) -> list[Suggestion]:
    """The most severe span of each kind, with frames from all of it."""
    found = []
    for kind, title in (
        ("sequence_label", "The most suspicious span"),
        ("sequence_order", "The span most likely out of order"),
    ):
        mine = findings[(findings["kind"] == kind) & findings["group"].isin(list(claims))]
        if mine.empty:
            continue
        name = mine.loc[mine["severity"].idxmax(), "group"]
        rows = mine[mine["group"] == name]
        count = min(SHOWN, len(rows))
        rows = rows.iloc[[int((at + 0.5) * len(rows) / count) for at in range(count)]]
        more = [{"given": row.label, "suggested": row.suggested_label or ""} for row in rows.itertuples()]
        found.append(Suggestion(title, show(claims[name]), list(rows["sample"]), "sequences", {"span": name}, more))
    return found


def _label_tiles(rows: pd.DataFrame) -> list[dict]:
    return [
        {"given": row.label, "suggested": row.suggested_label or "", "bar": float(row.severity)}
        for row in rows.itertuples()
    ]


def _worst(wrong: pd.DataFrame) -> Suggestion | None:
    if wrong.empty:
        return None
    top = wrong.head(SHOWN)
    return Suggestion(
        "The most suspicious labels",
        f"{plural(len(wrong), 'label')} at odds with what the model learned from the others. These are the clearest.",
        list(top["sample"]),
        "labels",
        more=_label_tiles(top),
    )


def _confusion(wrong: pd.DataFrame, show, noun: str) -> Suggestion | None:
    pairs = wrong.dropna(subset=["suggested_label"]).groupby(["label", "suggested_label"]).size()
    if pairs.empty or pairs.max() < 3:
        return None
    given, other = pairs.idxmax()
    mine = wrong[(wrong["label"] == given) & (wrong["suggested_label"] == other)]
    return Suggestion(
        f"{show(given)} that looks like {show(other)}",
        f"The most frequent confusion, {plural(len(mine), 'sample')}. If it is a matter of definition, settle the rule "
        f"before you correct single {noun}s.",
        list(mine["sample"].head(SHOWN)),
        "labels",
        {"given": given, "suggested": other},
        _label_tiles(mine.head(SHOWN)),
    )


def _conflicting(groups: pd.DataFrame, noun: str) -> Suggestion | None:
    mine = groups[groups["conflict"]]
    if mine.empty:
        return None
    return Suggestion(
        f"One {noun}, two labels",
        f"{plural(len(mine), 'duplicate group')} with conflicting labels: at least one copy in each is wrong.",
        [sample for samples in mine["samples"] for sample in samples[:2]][:SHOWN],
        "duplicates",
        {"groups": "Conflicting labels"},
    )


def _leaking(groups: pd.DataFrame) -> Suggestion | None:
    mine = groups[groups["leak"]]
    if mine.empty:
        return None
    return Suggestion(
        "Evaluation data seen in training",
        f"{plural(len(mine), 'duplicate group')} across splits: accuracy on those samples looks better than it is.",
        [sample for samples in mine["samples"] for sample in samples[:2]][:SHOWN],
        "duplicates",
        {"groups": "Across splits"},
    )


def _class(wrong: pd.DataFrame, classes: pd.Series, show) -> Suggestion | None:
    rate = (wrong["label"].value_counts() / classes).dropna()
    if len(wrong) < 10 or rate.empty:
        return None
    name = rate.idxmax()
    if rate[name] < 2 * len(wrong) / max(1, classes.sum()):
        return None
    mine = wrong[wrong["label"] == name]
    return Suggestion(
        f"The least certain class: {show(name)}",
        f"{100 * rate[name]:.0f} % of the samples labeled **{show(name)}** are flagged, against "
        f"{100 * len(wrong) / classes.sum():.1f} % over all classes.",
        list(mine["sample"].head(SHOWN)),
        "labels",
        {"given": name},
        _label_tiles(mine.head(SHOWN)),
    )


def _outliers(findings: pd.DataFrame, noun: str) -> Suggestion | None:
    mine = findings[findings["kind"] == "outlier"].sort_values("severity", ascending=False, kind="stable")
    if mine.empty:
        return None
    return Suggestion(
        "Unlike anything else",
        f"{plural(len(mine), noun)} far from all others: broken, foreign, or rare and worth keeping.",
        list(mine["sample"].head(SHOWN)),
        "outliers",
        more=[{"given": row.label} for row in mine.head(SHOWN).itertuples()],
    )
