"""When to stop: planted histories, sentences, and simulated reviews whose truth is known."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from helpers import make_run

from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.review.stopping import Stopping, asked, findings_in_words, of_run, sentences, so_far, stopping
from lossprint.scoring.intervals import Interval, count_left

TRAIN = np.arange(1000)
QUEUE = np.arange(100, 300)  # flagged, most severe first
TEXT = dict.fromkeys(("finding", "decision", "reviewer", "new_label", "role"), "string")


def flagged(samples=QUEUE, kind: str = "label_error") -> pd.DataFrame:
    severity = np.linspace(0.95, 0.55, len(samples))
    group = [f"{kind}:{sample}" for sample in samples]
    label = [("coat", "bag")[sample % 2] for sample in samples]
    return pd.DataFrame({"kind": kind, "sample": samples, "label": label, "severity": severity, "group": group})


def history(*parts: tuple) -> pd.DataFrame:
    """Rows of (samples, decision or decisions[, kind[, reviewer[, role]]]), in this order."""
    frames = []
    for samples, decisions, *more in parts:
        kind, who, role = (*more, *("label_error", "Ann", "")[len(more) :])
        samples = np.atleast_1d(np.asarray(samples, np.int64))
        names = [f"{kind}:{sample}" for sample in samples]
        rows = {"finding": names, "sample": samples, "decision": decisions, "reviewer": who, "role": role}
        frames.append(pd.DataFrame({**rows, "new_label": "bag", "stands": True}))
    empty = {"finding": [], "sample": [], "decision": [], "reviewer": [], "role": [], "new_label": [], "stands": []}
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(empty)
    return frame.assign(id=np.arange(1, len(frame) + 1)).astype({**TEXT, "sample": "int64", "stands": bool})


@pytest.fixture(scope="module")
def rest():
    return asked(flagged(), TRAIN, 0).rest.to_numpy()


def review(*parts, findings=None, **more) -> Stopping:
    return stopping(flagged() if findings is None else findings, TRAIN, history(*parts), 0, **more)


def said(decisions: str) -> list[str]:
    names = {"a": "accept", "r": "relabel", "x": "exclude", "k": "keep", "u": "unsure"}
    return [names[one] for one in decisions]


# ------------------------------------------------------------------------------------------------- the queue


def test_errors_unsure_ones_and_open_ones_are_told_apart():
    found = review((QUEUE[:30], said("arx" + "a" * 12 + "k" * 13 + "uu")))
    assert (found.flagged, found.answered, found.errors, found.unsure) == (200, 28, 15, 2)
    assert found.ahead == 100
    assert 0 <= found.coming.low <= found.coming.estimate <= found.coming.high <= 100
    assert list(found.curve["errors"])[-1] == 15
    assert list(found.curve["reviewed"]) == list(range(1, 29))
    assert list(found.tenths["reviewed"]) == [20, 8, *[0] * 8]
    assert found.tenths["errors"].sum() == 15
    assert found.classes[["flagged", "reviewed", "errors", "open"]].sum().tolist() == [200, 28, 15, 172]
    # two unsure ones may both be errors
    trend = review((QUEUE[:28], said("arx" + "a" * 12 + "k" * 13))).queue_left
    assert found.queue_left.high >= trend.high - 3
    assert found.flagged_precision.low == (15 + found.queue_left.low) / 200


def test_the_curve_follows_the_order_of_the_first_answers():
    found = review((QUEUE[[5, 3, 9]], said("kaa")), (QUEUE[5], said("a"), "label_error", "Ben"))
    assert list(found.curve["errors"]) == [1, 2, 3]  # the question answered first is an error by now


def test_rules_adjudication_and_taken_back_decisions_count():
    parts = [(QUEUE[:4], said("aaaa")), (QUEUE[:3], said("kkk"), "label_error", "Ben")]
    assert review(*parts).errors == 1
    assert review(*parts, rule="majority").answered == 1  # three are split
    settled = [*parts, (QUEUE[0], said("a"), "label_error", "Cleo", "adjudication")]
    assert review(*settled).errors == 2
    assert review(*settled, rule="adjudicated").answered == 1
    undone = history(*parts)
    undone.loc[4:, "stands"] = False
    found = stopping(flagged(), TRAIN, undone, 0)
    assert (found.answered, found.errors) == (4, 4)


def test_what_was_said_of_a_duplicate_answers_no_label():
    findings = pd.concat([flagged(), flagged(np.array([100, 500]), "duplicate")], ignore_index=True)
    kept = review((np.array([100, 500]), said("kx"), "duplicate"), findings=findings)
    assert (kept.answered, kept.found_outside, kept.elsewhere, kept.rest) == (0, 0, 1, 799)
    relabelled = review((100, said("r"), "duplicate"), findings=findings)
    assert (relabelled.answered, relabelled.errors) == (1, 1)


def test_a_group_is_one_question():
    findings = flagged(np.array([7, 8, 9]), "duplicate").assign(group=["duplicate:7", "duplicate:7", "duplicate:9"])
    found = review((np.array([7, 8]), said("kx"), "duplicate"), findings=findings, kinds=("duplicate",))
    assert (found.flagged, found.answered, found.errors) == (2, 1, 1)


def test_open_ones_that_were_checked_at_random_replace_the_trend():
    of = asked(flagged(), TRAIN, 0)
    drawn = of.spot[of.spot >= 60][:35]
    found = so_far(of, history((QUEUE[:60], "accept"), (QUEUE[drawn], said("a" * 7 + "k" * 28))))
    assert found.spots == 35
    assert found.queue_left == count_left(140, 35, 7)
    assert "from 35 of the lower ones checked at random" in " ".join(sentences(found))
    assert so_far(of, history((QUEUE[:60], "accept"), (QUEUE[60:95], "keep"))).spots == 0


# ------------------------------------------------------------------------------------------------- the rest


def test_the_audited_part_is_a_leading_part_of_the_order(rest):
    found = review((rest[:80], said("a" + "k" * 79), "audit"))
    assert (found.rest, found.audited, found.audit_errors, found.audit_open) == (800, 80, 1, 0)
    assert found.rest_left == count_left(800, 80, 1)
    assert found.to_halve > 0
    # decided in a gallery: found, but not drawn at random
    more = review((rest[:80], said("a" + "k" * 79), "audit"), (rest[300:305], said("aaakk")))
    assert (more.audited, more.audit_errors, more.found_outside) == (80, 1, 3)
    assert more.rest_left.high == found.rest_left.high - 3
    # a gallery's decision within the part that was audited fills in
    filled = review((rest[:40], "keep", "audit"), (rest[40], "accept"), (rest[41:80], "keep", "audit"))
    assert (filled.audited, filled.audit_errors) == (80, 1)
    # just behind it, it does not make it longer
    assert review((rest[:79], "keep", "audit"), (rest[79], "accept")).audited == 79


def test_skipped_and_unsure_checks_count_both_ways(rest):
    found = review((rest[:70], "keep", "audit"), (rest[72:80], said("kakkkkku"), "audit"), (rest[80], "keep", "audit"))
    assert (found.audited, found.audit_errors, found.audit_open) == (78, 1, 3)
    assert found.rest_left.low == count_left(800, 81, 1).low
    assert found.rest_left.high == count_left(800, 81, 4).high + 3
    # one answered far behind the others is no leading part
    far = review((rest[:70], "keep", "audit"), (rest[400], "accept", "audit"))
    assert (far.audited, far.found_outside) == (70, 1)


def test_too_few_checks_say_how_many_more(rest):
    found = review((rest[:10], "keep", "audit"))
    assert found.rest_left is None
    assert found.left is None
    assert "Check at least 50 more of the 800 samples nobody flagged at random (10 so far, none wrong)" in " ".join(
        sentences(found)
    )
    assert review((rest, "keep", "audit")).rest_left == Interval(0, 0, 0)


def test_nothing_at_all_and_everything(rest):
    none = review()
    assert (none.answered, none.precision, none.coming, none.queue_left) == (0, None, None, None)
    assert findings_in_words(none)[0] == "None of the 200 suggestions has been reviewed yet."
    nothing = review(findings=flagged(QUEUE[:0]))
    assert (nothing.flagged, nothing.rest, len(nothing.tenths), len(nothing.classes)) == (0, 1000, 0, 0)
    assert findings_in_words(nothing)[0].startswith("No label was flagged")
    every = review((QUEUE, said("a" * 50 + "k" * 150)), (rest, "keep", "audit"))
    assert every.left == Interval(0, 0, 0)
    assert sentences(every) == [
        "All 200 suggestions were reviewed: 50 were errors (25 %).",
        "All of the 800 samples nobody flagged were checked: none of them wrong.",
    ]
    alone = stopping(flagged(), QUEUE, history(), 0)
    assert (alone.rest, alone.rest_left) == (0, Interval(0, 0, 0))
    sentences(alone)


def test_of_a_run(tmp_path):
    run = make_run(tmp_path, train=40)
    reviews = open_reviews(run)
    reviews.add(finding="label_error:1", sample=1, decision="accept", new_label="shirt", reviewer="Ann")
    found = of_run(run, reviews.history())
    assert (found.flagged, found.answered, found.errors, found.rest, found.elsewhere) == (2, 1, 1, 113, 5)
    assert sentences(found)[0] == "Of 1 reviewed suggestion 1 was an error (100 %, 90 % interval 5 to 100 %)."


# ------------------------------------------------------------------------------------------------- in words


def test_the_sentences_are_plain(rest):
    found = review((QUEUE[:60], said("a" * 40 + "k" * 20)), (rest[:100], said("a" + "k" * 99), "audit"))
    found = dataclasses.replace(found, coming=Interval(6.2, 2, 11), queue_left=Interval(9, 3, 20))
    found = dataclasses.replace(found, left=Interval(16, 4, 60))
    assert findings_in_words(found) == [
        "Of 60 reviewed suggestions 40 were errors (67 %, 90 % interval 55 to 77 %).",
        "At this rate the next hundred hold about 6 errors (2 to 11).",
        "In the 140 suggestions still open we expect about 9 errors (3 to 20), if their yield goes on so.",
        "In the 800 samples nobody flagged we expect about 7 more errors (0 to 34), from 100 checked at random.",
        "Together about 16 errors are left to be found (4 to 60).",
    ]
    one = dataclasses.replace(found, ahead=1, coming=Interval(1, 0, 1), answered=199)
    assert "At this rate the last one holds about 1 error (0 to 1)." in sentences(one)
    clean = review((rest[:60], "keep", "audit"))
    text = " ".join(sentences(clean))
    assert "we expect at most 37 errors (4.6 %): none of 60 checked at random was wrong." in text


# ------------------------------------------------------------------------------------------------- against the truth


@pytest.mark.parametrize("turns", [40, pytest.param(200, marks=pytest.mark.proof)])
def test_the_intervals_hold_the_truth(turns):
    """Reviews of a queue with a falling yield and a rest with few errors, stopped at different places."""
    rng = np.random.default_rng(11)
    held = {name: [] for name in ("precision", "coming", "queue", "rest", "left", "spots")}
    chance = 0.9 * np.exp(-2.5 * np.arange(200) / 200)
    order = asked(flagged(), TRAIN, 0)

    def note(name: str, interval: Interval, truth: float) -> None:
        held[name].append(interval.low <= truth <= interval.high)

    for turn in range(turns):
        wrong = rng.random(1000) < rng.choice([0, 0.005, 0.02])
        wrong[QUEUE] = rng.random(200) < chance
        decision = np.where(wrong, "accept", "keep").astype(object)
        done, checks = (40, 80, 120)[turn % 3], (60, 150)[turn % 2]
        # another seed each turn: another random sample
        of = dataclasses.replace(order, rest=pd.Index(rng.permutation(order.rest)), spot=rng.permutation(200))
        drawn = of.rest.to_numpy()[:checks]
        parts = [(QUEUE[:done], decision[QUEUE[:done]]), (drawn, decision[drawn], "audit")]
        found = so_far(of, history(*parts))
        in_rest, in_queue = wrong[of.rest].sum() - wrong[drawn].sum(), wrong[QUEUE[done:]].sum()
        note("precision", found.precision, chance[:done].mean())
        note("coming", found.coming, wrong[QUEUE[done : done + found.ahead]].sum())
        note("queue", found.queue_left, in_queue)
        note("rest", found.rest_left, in_rest)
        note("left", found.left, in_queue + in_rest)
        if turn % 2:
            continue
        spots = QUEUE[of.spot[of.spot >= done][:40]]
        found = so_far(of, history(*parts, (spots, decision[spots])))
        if found.spots:
            note("spots", found.queue_left, in_queue - wrong[spots].sum())
    assert len(held["spots"]) > 0.375 * turns
    for name, inside in held.items():
        assert np.mean(inside) >= 0.9 - 1.64 * np.sqrt(0.09 / len(inside)), (name, np.mean(inside))
