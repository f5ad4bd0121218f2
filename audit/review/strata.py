"""The strata of a review: the queue of what was flagged, and the rest; what was answered and what is left in each."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from lossprint.audit.review import queues
from lossprint.audit.types import KINDS
from lossprint.scoring.intervals import Interval, count_left, rate

WRONG = ("accept", "relabel", "reorder", "exclude")
ENOUGH = 60  # random checks before the rest is spoken of: that many right ones bound its errors at 4.9 %
SPOT = 30  # random checks of the queue's open part before they replace its trend
HOLES = 0.1  # share of a random sample that may be open


@dataclass(frozen=True)
class Asked:
    """What there is to ask, whatever was answered.

    The questions of the queue, most severe first: groups (Q,) names, severity (Q,), label (Q,) the given ones; members
    maps the samples (the index) to places in the queue. `spot` (Q,) are these places in a random order, and `rest` the
    unflagged training samples in that of the random audit. `elsewhere` counts what is flagged for other reasons only.
    """

    kinds: tuple[str, ...]
    groups: np.ndarray
    severity: np.ndarray
    label: np.ndarray
    members: pd.Series
    spot: np.ndarray
    rest: pd.Index
    elsewhere: int


def asked(findings: pd.DataFrame, train_ids: np.ndarray, seed: int, *, kinds=("label_error",)) -> Asked:
    """The part of `stopping` that no decision changes."""
    mine = findings[findings["kind"].isin(kinds)].sort_values("severity", ascending=False, kind="stable")
    place, groups = pd.factorize(mine["group"].astype(object))
    first = np.unique(place, return_index=True)[1]
    members = pd.Series(place, index=mine["sample"].to_numpy(np.int64)).groupby(level=0).first()
    train = np.unique(np.asarray(train_ids, np.int64))
    flagged = findings["sample"].to_numpy(np.int64)
    elsewhere = np.setdiff1d(np.intersect1d(train, flagged), members.index.to_numpy())
    return Asked(
        kinds=tuple(kinds),
        groups=np.asarray(groups, object),
        severity=mine["severity"].to_numpy(float)[first],
        label=mine["label"].astype(object).to_numpy()[first] if "label" in mine else np.full(len(first), None, object),
        members=members,
        spot=np.random.default_rng([seed, 0x5907]).permutation(len(groups)),
        rest=pd.Index(queues.audit_order(train, flagged, seed)),
        elsewhere=len(elsewhere),
    )


# ------------------------------------------------------------------------------------------------- answers


def relevant(history: pd.DataFrame, kinds: tuple[str, ...]) -> pd.DataFrame:
    """The rows of a history that say whether a label is right, or answer a finding of these kinds."""
    kind = history["finding"].astype(object).str.split(":", n=1).str[0]
    other = kind.isin([one for one in KINDS if one not in kinds])
    return history[~other | history["decision"].isin(("accept", "relabel"))]


def states(place: np.ndarray, wrong: np.ndarray, unsure: np.ndarray, size: int) -> np.ndarray:
    """Of each question: 1 an error, 0 right, -1 unsure, -2 not asked yet. Any sample of a group answers for it."""
    state = np.full(size, -2)
    mine = ~np.isnan(place)
    value = np.where(wrong, 1, np.where(unsure, -1, 0))
    np.maximum.at(state, place[mine].astype(np.int64), value[mine])
    return state


def order(place: np.ndarray, when: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """The answered places of the queue in the order in which they were first answered."""
    first = np.full(len(answered), np.inf)
    mine = ~np.isnan(place)
    np.minimum.at(first, place[mine].astype(np.int64), when[mine])
    found = np.argsort(first, kind="stable")
    return found[answered[found]]


def _leading(answered: np.ndarray, ends: np.ndarray) -> int:
    """Length of the longest leading part that ends where `ends` and is answered but for `HOLES` of it."""
    holes = np.cumsum(~answered)
    good = ends & answered & (holes <= HOLES * np.arange(1, len(answered) + 1))
    return int(np.flatnonzero(good)[-1]) + 1 if good.any() else 0


# ------------------------------------------------------------------------------------------------- the strata


def open_queue(of: Asked, state: np.ndarray, predicted):
    """Errors among the open questions, as a function of the level, and how many random checks stand behind it.

    The queue's top is its leading part in which almost every question is answered. Where at least `SPOT` questions
    below it were answered in the random order `spot`, they are a simple random sample of what is below the top.
    """
    answered = state >= 0
    if answered.all():
        return 0, lambda at: Interval(0.0, 0.0, 0.0)
    # below it fewer than three in four are answered: there, they were not asked in the order of the queue
    top = int(np.argmax(np.r_[0, np.cumsum(np.where(answered, 1, -3))]))
    below = of.spot[of.spot >= top]
    drawn = _leading(answered[below], answered[below])
    spots = int(answered[below[:drawn]].sum())
    if 0 < min(SPOT, len(below)) <= spots:
        unknown = drawn - spots
        wrong = int((state[below[:drawn]] == 1).sum())
        outside = int((state[below[drawn:]] == 1).sum())
        loose = int((~answered[:top]).sum())
        most = int((~answered).sum())

        def by_chance(at: float) -> Interval:
            found = count_left(len(below), drawn, wrong, at, unknown=unknown)
            return _within(found, outside, loose, most)

        return spots, by_chance
    if predicted is None:
        return 0, None
    fresh, doubtful = np.flatnonzero(state == -2), np.flatnonzero(state == -1)

    def by_trend(at: float) -> Interval:
        found = predicted(fresh)(at)
        guess = predicted(doubtful)(at).estimate
        return Interval(found.estimate + guess, found.low, found.high + len(doubtful))

    return 0, by_trend


def unflagged(of: Asked, relevant: pd.DataFrame, sample: np.ndarray, wrong: np.ndarray, unsure: np.ndarray) -> dict:
    """audited, audit_errors, audit_open, found_outside, and `interval`: a function of the level, None if too few."""
    at = of.rest.get_indexer(sample)
    mine = at >= 0
    at, wrong, unsure = at[mine], wrong[mine], unsure[mine]
    standing = relevant[relevant["stands"]]
    drawn_names = standing["finding"].astype(object).str.startswith(f"{queues.AUDIT}:").to_numpy(bool)
    by_audit = of.rest.get_indexer(standing.loc[drawn_names, "sample"].to_numpy(np.int64))
    size = int(max(at.max(initial=-1), by_audit.max(initial=-1))) + 1
    answered, error, ends = np.zeros(size, bool), np.zeros(size, bool), np.zeros(size, bool)
    answered[at[~unsure]] = True
    error[at[wrong]] = True
    ends[by_audit[by_audit >= 0]] = True
    drawn = _leading(answered, ends)
    unknown = int((~answered[:drawn]).sum())
    errors, outside = int(error[:drawn].sum()), int(error[drawn:].sum())
    most = len(of.rest) - int(answered.sum())
    enough = len(of.rest) and drawn - unknown >= min(ENOUGH, len(of.rest))

    def by_chance(level: float) -> Interval:
        return _within(count_left(len(of.rest), drawn, errors, level, unknown=unknown), outside, 0, most)

    if not most:
        enough = True  # all were looked at, whoever chose them
    return {
        "audited": drawn - unknown,
        "audit_errors": errors,
        "audit_open": unknown,
        "found_outside": outside,
        "interval": by_chance if enough else None,
    }


def _within(found: Interval, outside: int, loose: int, most: int) -> Interval:
    """Less the errors found outside the random sample; up to `loose` more, of which nothing is known; in [0, most]."""
    ends = (found.estimate - outside + loose / 2, found.low - outside, found.high - outside + loose)
    return Interval(*(float(min(max(one, 0), most)) for one in ends))


# ------------------------------------------------------------------------------------------------- tables


def tenths(answered: np.ndarray, error: np.ndarray, level: float) -> pd.DataFrame:
    """The queue in ten parts by severity: first, last, of, reviewed, errors, share, low, high (NaN if none)."""
    size = len(answered)
    edges = np.unique(np.linspace(0, size, min(10, size) + 1).astype(int)) if size else np.array([0])
    rows = []
    for start, end in pairwise(edges):
        done, wrong = int(answered[start:end].sum()), int(error[start:end].sum())
        found = rate(wrong, done, level) if done else Interval(np.nan, np.nan, np.nan)
        share = (found.estimate, found.low, found.high)
        rows.append((int(start) + 1, int(end), int(end - start), done, wrong, *share))
    return pd.DataFrame(rows, columns=["first", "last", "of", "reviewed", "errors", "share", "low", "high"])


def classes(of: Asked, answered: np.ndarray, error: np.ndarray, left: Interval | None) -> pd.DataFrame:
    """By given label: label, flagged, reviewed, errors, share, open and expected, most expected errors first.

    `expected`: errors among the open questions of the label. `left`, that of the whole queue, is shared out by how many
    are open, times how the label's own answers compare with all, drawn towards 1 as if by two errors more (indirect
    standardisation, shrunk).
    """
    label = pd.Series(of.label).map(lambda one: one if isinstance(one, str) else "")
    frame = pd.DataFrame({"label": label, "reviewed": answered, "errors": error, "flagged": 1, "open": ~answered})
    frame = frame.groupby("label", sort=True, observed=True).sum().reset_index()
    frame["share"] = frame["errors"] / frame["reviewed"].where(frame["reviewed"] > 0)
    frame["expected"] = np.nan
    if left is not None and answered.any():
        ratio = (frame["errors"] + 2) / (frame["reviewed"] * error.sum() / answered.sum() + 2)
        share = left.estimate / max(1, int((~answered).sum()))
        frame["expected"] = np.minimum(frame["open"] * share * ratio, frame["open"])
    columns = ["label", "flagged", "reviewed", "errors", "share", "open", "expected"]
    return frame[columns].sort_values(["expected", "open"], ascending=False, ignore_index=True)
