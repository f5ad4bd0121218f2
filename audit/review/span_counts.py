"""How far the review of stretches of video is: what holds of each, how many held an error, and in how many frames.

A stretch is one question, whatever it has of frames: its decisions are a row a frame, and one of them is an answer.
"""

import numpy as np
import pandas as pd

from lossprint.audit.review.queues import SPANS
from lossprint.audit.review.resolve import resolve
from lossprint.audit.review.strata import WRONG
from lossprint.audit.words import plural, verb
from lossprint.scoring.intervals import LEVEL, Interval, rate


def outcomes(history: pd.DataFrame, spans: pd.DataFrame, rule: str = "latest") -> pd.DataFrame:
    """What holds of each span, indexed by its name in the order of `spans`, rows of `Run.spans`.

    Columns choice: `error` where a frame of it is changed or left out, else `right` where one is kept, `unsure` where
    nothing else was said, and empty where nothing was; changed, how many frames are changed or left out. Each finding
    counts by itself: `rule` of `resolve.RULES` says whose decision holds of each of its frames.
    """
    rows = history[history["finding"].isin(spans["span"])]
    table = pd.DataFrame({"choice": "", "changed": 0}, index=pd.Index(spans["span"].astype(object)))
    if rows.empty:
        return table
    if rule.startswith("reviewer:"):  # one who decided on other kinds of finding only is no fault here
        who = rule.removeprefix("reviewer:").strip()
        rows, rule = rows[(rows["reviewer"] == who).to_numpy(bool)], "latest"
    # A frame may be a part of two findings, and what is said of one is no answer to the other.
    pair = rows.groupby(["finding", "sample"], sort=False).ngroup()
    asked = rows.assign(sample=pair, of=rows["sample"])
    said = pd.concat([resolve(asked, rule), resolve(asked, rule, places=True)])
    if said.empty:
        return table
    decision, by = said["decision"].astype(object), said["finding"].astype(object)
    wrong = decision.isin(WRONG).to_numpy(bool)
    changed = said[wrong].groupby(by[wrong])["of"].nunique()
    right = (decision == "keep").groupby(by).any()
    table["changed"] = changed.reindex(table.index).fillna(0).astype("int64")
    kept = right.reindex(table.index).astype(object)
    choices = np.select([table["changed"] > 0, kept.eq(True), kept.notna()], ["error", "right", "unsure"], "")
    return table.assign(choice=choices)


def counts(spans: pd.DataFrame, said: pd.DataFrame) -> pd.DataFrame:
    """How far each kind is, of `said` by `outcomes`: a row a kind that was found, indexed by it.

    Columns of (spans), frames and videos that they lie in, answered (by more than unsure ones), errors, unsure, and
    changed (frames).
    """
    choice, changed = (said[name].reindex(spans["span"]).to_numpy() for name in ("choice", "changed"))
    table = spans.assign(
        answered=np.isin(choice, ("error", "right")),
        wrong=choice == "error",
        unsure=choice == "unsure",
        changed=changed,
    )
    each = table.groupby(table["kind"].astype(object)).agg(
        of=("span", "size"),
        frames=("frames", "sum"),
        videos=("sequence", "nunique"),
        answered=("answered", "sum"),
        errors=("wrong", "sum"),
        unsure=("unsure", "sum"),
        changed=("changed", "sum"),
    )
    return each.reindex([kind for kind in SPANS if kind in each.index]).astype("int64")


def share(table: pd.DataFrame, level: float = LEVEL) -> Interval | None:
    """The share of errors among findings like those answered, of `counts`; None where none is answered."""
    errors, answered = int(table["errors"].sum()), int(table["answered"].sum())
    return rate(errors, answered, level) if answered else None


def sentences(table: pd.DataFrame) -> list[str]:
    """How far the review of the segments is, as plain sentences, of `counts`; none where none was found."""
    total, answered, errors = (int(table[name].sum()) for name in ("of", "answered", "errors"))
    if not total:
        return []
    if not answered:
        return [f"{plural(total, 'span')} of video found, none reviewed yet."]
    found = share(table)
    which = f"All {total:,} spans" if answered == total and total > 1 else f"{answered:,} of {plural(total, 'span')}"
    wrong = f"{errors or 'none'} of them {'was an error' if errors == 1 else 'were errors'}"
    said = [
        f"{which} of video {verb(answered, 'was')} reviewed: {wrong} "
        f"({100 * found.estimate:.0f} %, 90 % interval {100 * found.low:.0f} to {100 * found.high:.0f} %), "
        f"{plural(int(table['changed'].sum()), 'frame')} changed."
    ]
    if unsure := int(table["unsure"].sum()):
        said.append(f"{plural(unsure, 'span')} answered with “unsure” {verb(unsure, 'counts')} as open.")
    return said
