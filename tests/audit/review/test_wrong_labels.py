"""How many flagged labels are wrong: one range, by the network first and by the answers as soon as they tell."""

from types import SimpleNamespace

import numpy as np
import pytest

from lossprint.audit.cli.audit import summary
from lossprint.audit.report.write import report_bytes
from lossprint.audit.review import stopping, strata, wrong_labels
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.review.wrong_labels import WrongLabels, by_rank, rank_sentence, sentence, span
from tests.support.learning_runs import learning_run


@pytest.fixture(scope="module")
def learnt_run(tmp_path_factory):
    return learning_run(tmp_path_factory.mktemp("wrong") / "run", [150] * 4, [40] * 4, knows=0.93, wrong=0.1)


def test_the_summary_the_report_and_the_pages_say_the_same(learnt_run):
    run, errors = learnt_run
    about = wrong_labels.wrong_labels(run)
    flagged = run.findings().query("kind == 'label_error'")
    assert about.flagged == len(flagged) and about.answers == 0
    assert about.low <= int(errors[flagged["sample"]].sum()) <= about.high
    words = sentence(about)
    assert words in summary(run)
    assert words in report_bytes(run).decode().replace("\N{NO-BREAK SPACE}", " ").replace("&#39;", "'")
    assert wrong_labels.wrong_labels(run, stopping.of_run(run, open_reviews(run).history())) == about
    ranges = wrong_labels.by_class(run)
    assert sum(row[0] for row in ranges.values()) == len(flagged)
    assert all(0 <= low <= high <= count for count, low, high in ranges.values())


def test_answers_take_the_place_of_the_estimate(learnt_run):
    run, errors = learnt_run
    before, reviews = wrong_labels.wrong_labels(run), open_reviews(run)
    found = run.findings().query("kind == 'label_error'").sort_values("severity", ascending=False)
    for at, row in enumerate(found.itertuples()):
        decision = "accept" if errors[row.sample] else "keep"
        label = row.suggested_label if decision == "accept" else None
        reviews.add(finding=row.group, sample=row.sample, decision=decision, reviewer="ann", new_label=label)
        if at not in (4, 30, len(found) - 1):
            continue
        about = wrong_labels.wrong_labels(run, stopping.of_run(run, reviews.history()))
        if at == 4:  # a few answers narrow the range only by what they are
            assert about.answers == 0 and before.low <= about.low <= about.high <= before.high
        else:
            assert about.answers == at + 1 and about.low <= int(errors[found["sample"]].sum()) <= about.high
    assert about.low == about.high == int(errors[found["sample"]].sum())
    assert f"by {len(found)} answers" in sentence(about)


def test_answers_say_at_which_rank_fewer_than_half_are_wrong():
    answered, error = np.zeros(400, bool), np.zeros(400, bool)
    error[:160], error[164::16] = True, True
    answered[::4] = True
    first, behind = by_rank(strata.tenths(answered, error & answered, 0.9))
    assert (first.last, first.reviewed, first.share) == (160, 40, 1.0)
    assert (behind.last, behind.reviewed) == (400, 60) and behind.share == pytest.approx(0.25)
    error[160:] = False
    error[162::20] = True
    answered[:] = np.arange(400) % 2 == 0
    words = rank_sentence(SimpleNamespace(tenths=strata.tenths(answered, error & answered, 0.9)))
    assert words == (
        "Of the first 160, nearly all are wrong, by 80 answers; of those from there to rank 400, fewer than half: "
        "about 1 in 10, by 120"
    )
    answered[80:] = False  # only the worst are answered: nothing is said of those behind
    assert rank_sentence(SimpleNamespace(tenths=strata.tenths(answered, error & answered, 0.9))) == (
        "Of the first 80, nearly all are wrong, by 40 answers"
    )
    answered[10:] = False
    assert rank_sentence(SimpleNamespace(tenths=strata.tenths(answered, error & answered, 0.9))) == ""
    assert rank_sentence(None) == ""


def test_words():
    assert span(WrongLabels(40, 3, 12)) == "3 to 12"
    assert span(WrongLabels(40, 0, 0)) == "none" and span(WrongLabels(40, 40, 40)) == "all 40"
    assert span(WrongLabels(4000, 1200, 1200)) == "1,200"
    assert sentence(WrongLabels(1, 0, 1)).startswith("Of 1 flagged label, 0 to 1 are expected")
