"""When to stop reviewing: how much of what was flagged is wrong, what the next questions hold, and what is left.

Three strata of the training split. The queue is what findings flag (label errors), most severe first. The rest are the
samples that no finding of any kind names. What is flagged for another reason only (a duplicate, an outlier) is neither,
and is counted but not judged. What is said of the rest needs nothing but chance: the random audit is a simple random
sample of it. What is said of the queue's open part rests on its trend, until enough of that part was checked at random.

Reviewers who err are taken at their word: the intervals then cover what these reviewers would say of everything.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.audit.review import strata
from lossprint.audit.review.resolve import resolve
from lossprint.audit.review.strata import ENOUGH, WRONG, Asked, asked
from lossprint.audit.runs.run import Run
from lossprint.audit.words import hundredths, plural, verb
from lossprint.scoring.intervals import LEVEL, Interval, combined, count_left, next_errors, rate, to_halve

AHEAD = 100  # questions that a projection is about
TREND = 20  # answers before there is a trend


@dataclass(frozen=True)
class Stopping:
    """Where a review stands. Every Interval has level `level`; None where too little is known to say anything.

    The queue: `flagged` questions, of them `answered`, of these `errors`, and `unsure` (open, but asked). `precision`
    is the share of errors among questions like those answered. `ahead` is how many open questions come next, and
    `coming` the errors that they hold. `queue_left`: errors among all open questions, unsure ones too; `spots` random
    checks stand behind it, or the trend if that is 0.

    The rest: `rest` samples, `audited` of them belong to the random sample, of these `audit_errors` wrong and
    `audit_open` skipped or unsure. `found_outside` errors were found in the rest by other ways. `rest_left`: errors not
    found yet; `to_halve`: further checks for an interval half as wide. `left`: of queue and rest together.

    `curve`: a row an answer in the order of the answers, columns reviewed and errors, both so far. `tenths`: the queue
    in ten parts by severity, columns first, last, of, reviewed, errors, share, low, high. `classes`: by given label,
    columns label, flagged, reviewed, errors, share, open, expected.
    """

    level: float
    flagged: int
    answered: int
    errors: int
    unsure: int
    precision: Interval | None
    ahead: int
    coming: Interval | None
    queue_left: Interval | None
    spots: int
    rest: int
    audited: int
    audit_errors: int
    audit_open: int
    found_outside: int
    rest_left: Interval | None
    to_halve: int | None
    left: Interval | None
    elsewhere: int
    curve: pd.DataFrame
    tenths: pd.DataFrame
    classes: pd.DataFrame

    @property
    def flagged_precision(self) -> Interval | None:
        """Share of errors among all that was flagged, answered or not."""
        if self.queue_left is None or not self.flagged:
            return None
        left = self.queue_left
        return Interval(*((self.errors + end) / self.flagged for end in (left.estimate, left.low, left.high)))


def of_run(run: Run, history: pd.DataFrame, *, rule: str = "latest", kinds=("label_error",)) -> Stopping:
    """`stopping` of a run, with the seed that its random audit is drawn with."""
    samples = run.samples()
    train = samples.loc[samples["split"] == "train", "sample"].to_numpy()
    return stopping(run.findings(), train, history, int(run.manifest.get("seed") or 0), rule=rule, kinds=kinds)


def stopping(
    findings: pd.DataFrame,
    train_ids: np.ndarray,
    history: pd.DataFrame,
    seed: int,
    *,
    kinds: tuple[str, ...] = ("label_error",),
    rule: str = "latest",
    level: float = LEVEL,
) -> Stopping:
    """Where a review stands: findings.parquet, the ids of the training split, and `Reviews.history()`."""
    return so_far(asked(findings, train_ids, seed, kinds=kinds), history, rule=rule, level=level)


def so_far(of: Asked, history: pd.DataFrame, *, rule: str = "latest", level: float = LEVEL) -> Stopping:
    """Where a review stands.

    A question is answered when a decision other than `unsure` stands on its sample under the rule (see `resolve`);
    accept, relabel and exclude mean an error. What was said of a sample as a duplicate or an outlier is no answer,
    unless it changed the label.

    The random sample is the longest leading part of the audit's order that ends with a question which the audit asked
    and in which at most a tenth is open (skipped or unsure). Those are bounded both ways: as right at the low end of
    the interval, as wrong at the high end. Decisions beyond that part count as found, never as drawn at random.
    """
    relevant = strata.relevant(history, of.kinds)
    said = resolve(relevant, rule)
    sample, decision = said["sample"].to_numpy(np.int64), said["decision"].astype(object)
    wrong, unsure = decision.isin(WRONG).to_numpy(bool), (decision == "unsure").to_numpy(bool)

    place = of.members.reindex(sample).to_numpy(float)
    state = strata.states(place, wrong, unsure, len(of.groups))
    answered, error, doubtful = state >= 0, state == 1, state == -1
    firsts = relevant[relevant["stands"]].groupby("sample")["id"].min().reindex(sample).to_numpy(float)
    order = strata.order(place, firsts, answered)

    def predicted(places: np.ndarray):
        return lambda at: next_errors(of.severity[order], error[order], of.severity[places], at)

    fresh = np.flatnonzero(~answered & ~doubtful)
    ahead = fresh[:AHEAD]
    trend = predicted if len(order) >= TREND else None
    spots, open_queue = strata.open_queue(of, state, trend)
    rest = strata.unflagged(of, relevant, sample, wrong, unsure)
    rest_left = rest.pop("interval")
    queue_left = open_queue and open_queue(level)
    count = int(error.sum())
    return Stopping(
        level=level,
        flagged=len(of.groups),
        answered=len(order),
        errors=count,
        unsure=int(doubtful.sum()),
        precision=rate(count, len(order), level) if len(order) else None,
        ahead=len(ahead),
        coming=trend(ahead)(level) if trend and len(ahead) else None,
        queue_left=queue_left,
        spots=spots,
        rest=len(of.rest),
        **rest,
        rest_left=rest_left and rest_left(level),
        to_halve=_to_halve(rest, len(of.rest), level) if rest_left else None,
        left=combined([open_queue, rest_left], level) if open_queue and rest_left else None,
        elsewhere=of.elsewhere,
        curve=pd.DataFrame({"reviewed": np.arange(1, len(order) + 1), "errors": np.cumsum(error[order])}),
        tenths=strata.tenths(answered, error, level),
        classes=strata.classes(of, answered, error, queue_left),
    )


def _to_halve(rest: dict, population: int, level: float) -> int | None:
    drawn = rest["audited"]
    return to_halve(population, drawn, rest["audit_errors"], level) if 0 < drawn < population else None


# ------------------------------------------------------------------------------------------------- in words


def sentences(found: Stopping) -> list[str]:
    """What is known, in plain sentences: `findings_in_words`, then `notes`. Plain text, no name or label in it."""
    return findings_in_words(found) + notes(found)


def findings_in_words(found: Stopping) -> list[str]:
    """What was found, what comes next and what is left, the most useful first."""
    said = [*_of_the_queue(found), *_of_the_rest(found)]
    if found.left is not None and found.left.high > 0 and found.answered < found.flagged:
        said.append(f"Together {_about(found.left)} are left to be found {_range(found.left)}.")
    return said + _compared(found)


def notes(found: Stopping) -> list[str]:
    """How open questions count, what would make it surer, and what is not counted."""
    said = []
    if found.unsure:
        count = verb(found.unsure, "counts")
        said.append(f"{plural(found.unsure, 'suggestion')} answered with “unsure” {count} as open.")
    if found.rest_left is not None and found.audit_open:
        said.append(
            f"{plural(found.audit_open, 'random check')} skipped or unsure {verb(found.audit_open, 'counts')} as right "
            "at the low end of that interval and as wrong at the high end."
        )
    if found.to_halve:
        said.append(f"{plural(found.to_halve, 'more random check')} would halve the interval of what nobody flagged.")
    if found.found_outside:
        said.append(
            f"{plural(found.found_outside, 'error')} {verb(found.found_outside, 'was')} found among samples nobody "
            "flagged outside the random checks."
        )
    if found.elsewhere:
        are = verb(found.elsewhere, "is")
        count = plural(found.elsewhere, "sample")
        said.append(f"{count} flagged for another reason only, such as duplicates or outliers, {are} not counted here.")
    return said


def _of_the_queue(found: Stopping) -> list[str]:
    if not found.flagged:
        return ["No label was flagged, so there is nothing to review but the random checks."]
    if not found.answered:
        return [f"None of the {plural(found.flagged, 'suggestion')} has been reviewed yet."]
    wrong = f"{_none(found.errors)} {verb(found.errors, 'was')} {'an error' if found.errors == 1 else 'errors'}"
    share = f"{_percent(found.errors / found.answered)} %"
    if found.answered == found.flagged:
        which = f"All {found.flagged:,} suggestions were" if found.flagged > 1 else "The only suggestion was"
        return [f"{which} reviewed: {wrong} ({share})."]
    level = f"{100 * found.level:.0f} % interval"
    spread = f"{_percent(found.precision.low)} to {_percent(found.precision.high)} %"
    said = [f"Of {plural(found.answered, 'reviewed suggestion')} {wrong} ({share}, {level} {spread})."]
    if found.coming is not None:
        which = "the next hundred hold" if found.ahead == AHEAD else f"the last {found.ahead} hold"
        which = "the last one holds" if found.ahead == 1 else which
        said.append(f"At this rate {which} {_about(found.coming)} {_range(found.coming)}.")
    elif found.ahead:
        said.append(f"Review {plural(TREND - found.answered, 'more suggestion')} to see what the next ones hold.")
    count = found.flagged - found.answered
    if found.queue_left is not None and (count > found.ahead or found.spots):
        basis = (
            f"from {found.spots} of the lower ones checked at random" if found.spots else "if their yield goes on so"
        )
        said.append(
            f"In the {plural(count, 'suggestion')} still open we expect {_about(found.queue_left)} "
            f"{_range(found.queue_left)}, {basis}."
        )
    return said


def _of_the_rest(found: Stopping) -> list[str]:
    if not found.rest:
        return []
    where = f"the {plural(found.rest, 'sample')} nobody flagged" if found.rest > 1 else "the one sample nobody flagged"
    if found.rest_left is None:
        need = min(ENOUGH, found.rest)
        bound = count_left(found.rest, need, 0, found.level).high / found.rest
        more = need - found.audited
        so_far = f" ({found.audited} so far, {found.audit_errors or 'none'} wrong)" if found.audited else ""
        ask = f"Check at least {more:,}{' more' if so_far else ''} of {where} at random{so_far}"
        bounds = f"at most {_percent(bound)} % of these labels are" if bound else "none of these labels is"
        if found.audit_errors:
            return [f"{ask} to know what is left there."]
        return [f"{ask} to know what is left there: if {need} come out right, {bounds} wrong."]
    checked = f"{found.audited:,} checked at random"
    if found.rest_left.high == 0:
        return [f"All of {where} were checked: {_none(found.audit_errors + found.found_outside)} of them wrong."]
    if found.audit_errors == 0 and not found.audit_open:
        share = _percent(found.rest_left.high / found.rest)
        return [
            f"In {where} we expect at most {plural(int(found.rest_left.high), 'error')} ({share} %): none of "
            f"{checked} was wrong."
        ]
    return [f"In {where} we expect {_about(found.rest_left, more=True)} {_range(found.rest_left)}, from {checked}."]


def _compared(found: Stopping) -> list[str]:
    """Whether the queue is still a better place to look than chance."""
    if found.coming is None or found.rest_left is None or found.rest <= found.audited:
        return []
    rest = found.rest - found.audited
    if found.coming.low / found.ahead > found.rest_left.high / rest:
        return ["The queue is still a better place to look for errors than the samples nobody flagged."]
    if found.coming.estimate / found.ahead <= found.rest_left.estimate / rest:
        return ["The queue now yields no more than checking at random would."]
    return []


def _none(number: int) -> str:
    return f"{number:,}" if number else "none"


def _about(found: Interval, more: bool = False) -> str:
    return f"about {plural(round(found.estimate), ('more ' if more else '') + 'error')}"


def _range(found: Interval) -> str:
    return f"({int(np.floor(found.low)):,} to {int(np.ceil(found.high)):,})"


def _percent(share: float) -> str:
    return hundredths(share).removesuffix(".0")
