"""What holds of stretches of video, counted, against planted decisions and a plain loop."""

import numpy as np
import pandas as pd

from lossprint.audit.review import span_counts
from lossprint.audit.review.reviews import COLUMNS

SPANS = pd.DataFrame(
    [
        ("sequence_order:0", "sequence_order", "move", "b", 0, 4, 9, 10, 0.9),
        ("sequence_label:10", "sequence_label", "relabel", "a", 0, pd.NA, 4, 5, 0.8),
        ("sequence_label:20", "sequence_label", "relabel", "b", 0, pd.NA, 3, 4, 0.7),
        ("sequence_label:40", "sequence_label", "relabel", "c", 0, pd.NA, 1, 2, 0.6),
    ],
    columns=["span", "kind", "how", "sequence", "start", "middle", "end", "frames", "severity"],
)


def said(*answers) -> pd.DataFrame:
    """A history: answers of (finding, samples, decision, reviewer, role), a row a sample."""
    rows = []
    for finding, samples, decision, reviewer, *role in answers:
        for sample in samples:
            place = {"new_frame": sample} if finding.startswith("sequence_order") else {}
            label = {"new_label": "x"} if decision in ("relabel", "accept") else {}
            rows.append(
                {"finding": finding, "sample": sample, "decision": decision, "reviewer": reviewer}
                | {"id": len(rows), "role": role[0] if role else "", "stands": True, "at": ""}
                | place
                | label
            )
    types = {"stands": bool, "new_frame": "Int64"} | dict.fromkeys(("finding", "decision", "reviewer"), "string")
    return pd.DataFrame(rows, columns=[*COLUMNS, "stands"]).astype(types)


def test_a_segment_is_one_question_whatever_it_has_of_frames():
    history = said(
        ("sequence_order:0", range(10), "reorder", "Ann"),
        ("sequence_label:10", range(10, 12), "keep", "Ann"),  # the ends were moved: these are left as they were
        ("sequence_label:10", range(12, 17), "relabel", "Ann"),
        ("sequence_label:20", range(20, 24), "keep", "Ben"),
        ("outlier:21", [21], "exclude", "Ben"),
        ("sequence_label:40", range(40, 42), "unsure", "Ben"),
    )
    found = span_counts.outcomes(history, SPANS)
    assert found["choice"].tolist() == ["error", "error", "right", "unsure"]
    assert found["changed"].tolist() == [10, 5, 0, 0]
    table = span_counts.counts(SPANS, found)
    assert table.loc["sequence_label"].tolist() == [3, 11, 3, 2, 1, 1, 5]
    assert table.loc["sequence_order"].tolist() == [1, 10, 1, 1, 1, 0, 10]
    first, second = span_counts.sentences(table)
    assert first.startswith("3 of 4 spans of video were reviewed: 2 of them were errors (67 %, 90 % interval ")
    assert first.endswith("15 frames changed.")
    assert second == "1 span answered with “unsure” counts as open."
    share = span_counts.share(table)
    assert share.low < 2 / 3 < share.high and share.estimate == 2 / 3


def test_rules_and_overlapping_segments():
    history = said(
        ("sequence_label:10", range(10, 15), "relabel", "Ann"),
        ("sequence_label:20", [14, *range(20, 24)], "keep", "Ann"),  # sample 14 is in both, and answered for both
        ("sequence_label:10", range(10, 15), "keep", "Ben"),
    )
    for rule, choice, changed in (
        ("latest", "right", 0),
        ("reviewer:Ann", "error", 5),
        ("reviewer:Nobody", "", 0),
        ("majority", "", 0),
        ("settled", "", 0),
    ):
        found = span_counts.outcomes(history, SPANS, rule).loc["sequence_label:10"]
        assert (found["choice"], found["changed"]) == (choice, changed), rule
    settled = said(("sequence_label:10", range(10, 15), "accept", "Cem", "adjudication"))
    history = pd.concat([history, settled.assign(id=settled["id"] + 100)])
    assert span_counts.outcomes(history, SPANS, "adjudicated")["changed"].tolist() == [0, 5, 0, 0]
    assert span_counts.outcomes(history, SPANS, "majority").at["sequence_label:10", "choice"] == "error"


def test_nothing_found_and_nothing_decided():
    none = span_counts.counts(SPANS.head(0), span_counts.outcomes(said(), SPANS.head(0)))
    assert none.empty and span_counts.sentences(none) == [] and span_counts.share(none) is None
    table = span_counts.counts(SPANS, span_counts.outcomes(said(), SPANS))
    assert span_counts.sentences(table) == ["4 spans of video found, none reviewed yet."]


def test_many_frames_agree_with_a_plain_loop():
    random = np.random.default_rng(4)
    names = SPANS["span"].tolist()
    answers = [
        (
            names[random.integers(4)],
            [int(random.integers(30))],
            str(random.choice(["keep", "unsure", "relabel"])),
            "Ann",
        )
        for _ in range(200)
    ]
    history = said(*[(one, samples, how.replace("relabel", "reorder") if "order" in one else how, who)
                     for one, samples, how, who in answers])  # fmt: skip
    latest = {(one, samples[0]): how for one, samples, how, _ in answers}
    found = span_counts.outcomes(history, SPANS)
    for name in names:
        mine = [how for (of, _), how in latest.items() if of == name]
        assert found.at[name, "changed"] == mine.count("relabel")
        assert found.at[name, "choice"] == ("error" if "relabel" in mine else "right" if "keep" in mine else "unsure")
