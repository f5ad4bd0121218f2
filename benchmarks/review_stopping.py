"""How often the intervals of "When to stop" hold what they are about, by simulated experts. See review.py.

Each simulation draws the audit's order, the expert's slips and, for the queue, the truth anew: a question is an error
with the share of errors among its real neighbours in the queue, `NEIGHBOURS` of them, so that there is a chance which
the precision can be compared with. The labels that were not flagged are wrong where they really are.

Experts who err are taken at their word, as on the page: the intervals are to hold what these experts would say of
everything. What is really left is told beside.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from review_experts import KEEPS, says, wrong_of  # beside this file

from lossprint.audit.review import queues, stopping, strata
from lossprint.audit.runs.run import Run

NEIGHBOURS = 101
STEP = 20  # answers between the stopping points along the queue as it is
NAMES = ("precision", "next hundred", "left in queue", "left in rest", "left together", "rest, really", "all, really")


@dataclass(frozen=True)
class Known:
    """The findings, the ids (N,) of the training samples, and which are wrong (N,) bool."""

    findings: pd.DataFrame
    samples: np.ndarray
    wrong: np.ndarray
    classes: int

    def at(self, samples) -> np.ndarray:
        return pd.Index(self.samples).get_indexer(samples)


def chances(error: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """The share of errors (Q,) among the nearest `neighbours` places of a queue, fewer at its ends."""
    half = neighbours // 2
    sums = np.r_[0, np.cumsum(error)]
    place = np.arange(len(error))
    first, last = np.maximum(place - half, 0), np.minimum(place + half + 1, len(error))
    return (sums[last] - sums[first]) / (last - first)


def history(findings: list[str], samples: np.ndarray, blamed: np.ndarray) -> pd.DataFrame:
    """Answers in their order as `Reviews.history` has them: accepted where blamed, else kept."""
    number = np.arange(1, len(findings) + 1)
    frame = pd.DataFrame({"finding": findings, "sample": samples, "id": number, "stands": True, "reviewer": "expert"})
    frame["decision"] = np.where(blamed, "accept", "keep")
    return frame.assign(role="", new_label=None, token=None)


def one(known: Known, error: float, stops, seed: int) -> list[list[tuple[float, float] | None]]:
    """At each stop, for each of NAMES: whether the interval holds the truth, and its width; None without interval."""
    random = np.random.default_rng([seed, round(1e6 * error)])
    of = strata.asked(known.findings, known.samples, seed)
    sample_at = known.at(of.members.index.to_numpy())
    queue = np.empty(len(of.groups), int)
    queue[of.members.to_numpy()] = sample_at
    chance = chances(known.wrong[queue])
    wrong = known.wrong.copy()
    wrong[queue] = random.random(len(queue)) < chance
    said = says(wrong, error, random, known.classes)
    keeps = KEEPS if known.classes > 2 else 1.0
    blame = chance * (1 - error * keeps) + (1 - chance) * error  # that this expert says so
    rest = known.at(of.rest)
    names, at = _asked(of, queue, rest, max(stops))
    found = []
    for stop in stops:
        answers = history(names[:stop], known.samples[at[:stop]], said.blames[at[:stop]])
        state = stopping.so_far(of, answers)
        done = np.isin(queue, at[:stop])
        open_queue, open_rest = queue[~done], np.setdiff1d(rest, at[:stop])
        truths = (
            blame[done].mean() if done.any() else np.nan,
            said.blames[open_queue[: stopping.AHEAD]].sum(),
            said.blames[open_queue].sum(),
            said.blames[open_rest].sum(),
            said.blames[open_queue].sum() + said.blames[open_rest].sum(),
            wrong[open_rest].sum(),
            wrong[open_queue].sum() + wrong[open_rest].sum(),
        )
        intervals = (state.precision, state.coming, state.queue_left, state.rest_left, state.left)
        intervals += (state.rest_left, state.left)
        if not len(open_queue):  # counted, and no longer estimated
            intervals = (None, None, None, *intervals[3:])
        found.append([held(*pair) for pair in zip(intervals, truths, strict=True)])
    return found


def held(interval, truth: float) -> tuple[float, float] | None:
    """1.0 where the interval holds the truth, else 0.0, and its width."""
    if interval is None:
        return None
    slack = 1e-9
    return float(interval.low - slack <= truth <= interval.high + slack), interval.width


def _asked(of: strata.Asked, queue: np.ndarray, rest: np.ndarray, count: int) -> tuple[list[str], np.ndarray]:
    """The first questions in the review's mixed order: their names, and positions of their samples."""
    some = pd.DataFrame({"group": of.groups[:count], "at": queue[:count]})
    audit = pd.DataFrame({"group": [f"{queues.AUDIT}:{one}" for one in of.rest[:count]], "at": rest[:count]})
    both = queues.mixed(some, audit)[:count]
    return both["group"].tolist(), both["at"].to_numpy(int)


def along(known: Known, seed: int) -> dict[str, tuple[int, int]]:
    """The queue's labels as they really are: at how many stopping points the interval held, of how many."""
    of = strata.asked(known.findings, known.samples, seed)
    queue = known.at(of.members.sort_values().index.to_numpy())
    wrong = known.wrong[queue]
    counts = {"next hundred": [0, 0], "left in queue": [0, 0]}
    for stop in range(stopping.TREND, len(queue), STEP):
        state = stopping.so_far(of, history(list(of.groups[:stop]), known.samples[queue[:stop]], wrong[:stop]))
        truths = (wrong[stop : stop + stopping.AHEAD].sum(), wrong[stop:].sum())
        for name, interval, truth in zip(counts, (state.coming, state.queue_left), truths, strict=True):
            if interval is not None:
                counts[name][0] += int(held(interval, truth)[0])
                counts[name][1] += 1
    return {name: tuple(pair) for name, pair in counts.items()}


# ---------------------------------------------------------------------------------------------- the table


def lines(known: Known, errors, stops, simulations: int, seed: int) -> Iterator[str]:
    """The table: a line an expert and stopping point."""
    yield f"{'expert':<11}{'answers':<9}" + "".join(f"{name:>16}" for name in NAMES)
    for error in errors:
        rows = [one(known, error, stops, 1000 * seed + number) for number in range(simulations)]
        for at, stop in enumerate(stops):
            cells = [cell([row[at][name] for row in rows]) for name in range(len(NAMES))]
            yield f"{f'{error:.0%} errors':<11}{stop:<9}" + "".join(f"{text:>16}" for text in cells)


def cell(found: list[tuple[float, float] | None]) -> str:
    """Coverage in per cent and the mean width."""
    known = np.array([pair for pair in found if pair is not None])
    if not len(known):
        return "-"
    share, width = known.mean(axis=0)
    few = "" if len(known) == len(found) else f", {len(known)}x"
    return f"{100 * share:.1f} ({width:.2f}{few})" if width < 1 else f"{100 * share:.1f} ({width:.0f}{few})"


def coverage(options) -> None:
    """Print the table."""
    from lossprint.audit import open_run

    run: Run = open_run(options.run)
    samples = run.scores()["sample"].to_numpy(np.int64)
    known = Known(run.findings(), samples, wrong_of(run, samples, Path(options.truth)), len(run.classes))
    of = strata.asked(known.findings, samples, 0)
    place = known.at(of.members.index.to_numpy())
    inside, outside = known.wrong[place].sum(), known.wrong[known.at(of.rest)].sum()
    print(f"queue {len(of.groups):,}, wrong {inside:,}; not flagged {len(of.rest):,}, wrong {outside:,}")
    print(f"coverage in % of the 90 % intervals (their mean width), {options.simulations} simulations")
    rates = [0.0, *(rate for rate in options.errors if rate)]
    for line in lines(known, rates, options.stops, options.simulations, options.seed):
        print(line, flush=True)
    for name, (inside, count) in along(known, options.seed).items():
        print(f"the queue's labels as they are, {name}: held at {inside} of {count} stopping points")
