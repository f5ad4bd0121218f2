"""Several reviewers: who is asked what, how far each is, and how far they agree.

A finding is one question, named as in `Reviews.history`. Nothing here writes: `plan` is for `Reviews.assign`.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.audit.review import queues, resolve
from lossprint.audit.types import LossprintError
from lossprint.scoring import reviewers as measures
from lossprint.scoring.reviewers import Estimate

QUEUES: dict[str, tuple[str, ...] | None] = {
    "labels": ("label_error",),
    "duplicates": queues.DUPLICATES,
    "outliers": ("outlier",),
    "quality": ("quality",),
    "video": ("sequence_label", "sequence_order"),
    "all": None,
}
Pair = tuple[str, str]  # finding, reviewer


@dataclass(frozen=True)
class Plan:
    """An assignment before it is stored.

    pairs: everything that is to be assigned once it is stored, of other queues as well. loads: a row a reviewer, with
    columns reviewer, done (answered already, of this queue), open (to be answered), new (those of `open` that the
    reviewer did not have), shared (those of `open` that another one is asked, or was, as well). withdrawn: open
    questions of this queue that somebody had and loses.
    """

    pairs: list[Pair]
    loads: pd.DataFrame
    withdrawn: int


@dataclass(frozen=True)
class Agreement:
    """How far reviewers agree on the samples that two or more of them answered, each reviewer's latest answer.

    samples: ids of those, ascending; differ (S,) bool: where not all say the same. reviewers: who answered any of them.
    raw, kappa, alpha: over all of them; kappa is Cohen's of two reviewers, else Fleiss' (`name` says which). kinds: a
    row a kind of finding, with kind, samples, raw, low, high, alpha, alpha_low, alpha_high. pairs: a row a pair of
    reviewers, with first, second, samples, raw, kappa, reason. classes: a row a given label, with label, samples,
    differ, raw; the lowest raw agreement first.
    """

    samples: np.ndarray
    differ: np.ndarray
    reviewers: tuple[str, ...]
    raw: Estimate
    kappa: Estimate
    name: str
    alpha: Estimate
    kinds: pd.DataFrame
    pairs: pd.DataFrame
    classes: pd.DataFrame

    @property
    def words(self) -> list[str]:
        """What it means, as plain sentences."""
        return measures.words(self.raw, self.alpha)


# ------------------------------------------------------------------------------------------------- who is asked what


def queue(findings: pd.DataFrame, name: str) -> pd.DataFrame:
    """The questions of a queue of `QUEUES`, a row each: group, kind, severity. findings: rows of findings.parquet."""
    if name not in QUEUES:
        raise LossprintError(f"expected a queue of {', '.join(QUEUES)}, found {name!r}")
    kinds = QUEUES[name]
    found = findings if kinds is None else findings[findings["kind"].isin(kinds)]
    found = found[["group", "kind", "severity"]].sort_values("severity", ascending=False, kind="stable")
    return found.drop_duplicates("group", ignore_index=True)


def deal(
    findings: pd.DataFrame,
    reviewers: list[str],
    overlap: int = 1,
    seed: int = 0,
    shared: float | None = None,
    *,
    kept: list[Pair] = (),
    done: list[Pair] = (),
) -> list[Pair]:
    """Give each finding to `overlap` reviewers; returns (finding, reviewer) pairs, a finding's own beside each other.

    findings: a row a finding with group, kind, severity. With `shared` (a share, 0 to 1) only that part of them goes to
    `overlap` reviewers and the rest to one; those are a systematic sample by kind and severity. `kept` pairs stay and
    count, `done` ones stay and count towards the overlap only, as they are no more work; neither is returned.

    The loads, with those kept, differ by at most one, unless what is kept differs by more already. Who has answered
    least with whom goes first, so that pairs of reviewers share about equally many. The same arguments give the same
    result. Raises LossprintError for names that are empty or twice there, an overlap that the reviewers are too few
    for, and a share outside 0 to 1.
    """
    names = _names(reviewers)
    if not 1 <= overlap <= len(names):
        raise LossprintError(f"expected an overlap of 1 to {len(names)}, the number of reviewers, found {overlap}")
    if shared is not None and not 0 <= shared <= 1:
        raise LossprintError(f"expected a share of 0 to 1, found {shared}")
    rows = findings.drop_duplicates("group").sort_values(["kind", "severity", "group"], ascending=[True, False, True])
    groups = rows["group"].astype(object).tolist()
    rng = np.random.default_rng([seed, 0xDEA1])
    want = np.full(len(groups), overlap)
    if shared is not None:
        number = round(shared * len(groups))
        want[:] = 1
        want[np.floor((np.arange(number) + rng.random()) * len(groups) / max(number, 1)).astype(int)] = overlap
    dealer = _Dealer(names, rng.random((len(groups), len(names))))
    known, answered = dict.fromkeys([*kept, *done]), set(done)
    held: dict[str, list[str]] = {}
    for finding, reviewer in known:
        held.setdefault(finding, []).append(reviewer)
    dealer.begin([held.get(group, ()) for group in groups], [one for one in kept if one not in answered])
    dealt: dict[str, list[str]] = {}
    # The shared ones first: with one reviewer each, the rest evens out whatever they left uneven.
    for at in np.argsort(-want, kind="stable").tolist():
        dealt[groups[at]] = dealer.deal(at, held.get(groups[at], ()), int(want[at]))
    return [(group, reviewer) for group in groups for reviewer in dealt[group]]


class _Dealer:
    """How much each reviewer has and how often each two share a finding, while findings are dealt out one by one."""

    def __init__(self, names: list[str], ties: np.ndarray):
        self.names, self.at = names, {name: i for i, name in enumerate(names)}
        self.load = [0] * len(names)
        self.together = [[0] * len(names) for _ in names]
        self.ties = ties.tolist()

    def begin(self, holders: list, open_pairs: list[Pair]) -> None:
        for _, reviewer in open_pairs:
            if reviewer in self.at:
                self.load[self.at[reviewer]] += 1
        for held in holders:
            mine = [self.at[name] for name in held if name in self.at]
            for i in mine:
                for j in mine:
                    self.together[i][j] += i != j

    def deal(self, row: int, held: list[str], want: int) -> list[str]:
        has = [self.at[name] for name in held if name in self.at]
        given, ties, load, together = [], self.ties[row], self.load, self.together
        for _ in range(want - len(held)):
            free = [i for i in range(len(self.names)) if i not in has]
            if not free:
                break
            # Least work, then least often together with those who have it, then by chance.
            near = tuple(has)
            best = min(free, key=lambda i, near=near: (load[i], sum(together[i][j] for j in near), ties[i]))
            for j in has:
                together[best][j] += 1
                together[j][best] += 1
            has.append(best)
            given.append(self.names[best])
            load[best] += 1
        return given


def plan(
    findings: pd.DataFrame,
    reviewers: list[str],
    history: pd.DataFrame,
    assignments: pd.DataFrame,
    *,
    overlap: int = 1,
    seed: int = 0,
    shared: float | None = None,
    extend: bool = False,
) -> Plan:
    """Deal out a queue, what has been answered and what other queues have assigned taken into account.

    Answers that stand are never asked for again and count towards the overlap, whoever gave them. Open questions of
    this queue are dealt out anew, so that what is left is shared evenly; with `extend` whoever has one keeps it, and
    only what is missing is dealt, to those with the least left first. Raises LossprintError as `deal` does.
    """
    names = _names(reviewers)
    groups = pd.Index(findings["group"].astype(object))
    standing = history[history["stands"] & (history["role"] != "adjudication")]
    done = _pairs(standing[standing["finding"].astype(object).isin(groups)])
    before = _pairs(assignments)
    here = set(groups)
    others = [pair for pair in before if pair[0] not in here]
    mine = [pair for pair in before if pair[0] in here]
    answered, had_before = set(done), set(mine)
    still = [pair for pair in mine if pair not in answered]
    kept = still if extend else []
    new = deal(findings, names, overlap, seed, shared, kept=kept, done=done)
    ask = [*kept, *new]
    # Who has answered unasked has answered: without a row of theirs, an assigned finding would not show it.
    asked_too = {finding for finding, _ in ask}
    stay = [pair for pair in done if pair in had_before or pair[0] in asked_too]
    had = set(still)
    by = pd.DataFrame(ask, columns=["finding", "reviewer"])
    both = pd.Series([finding for finding, _ in dict.fromkeys([*ask, *done])], dtype=object).value_counts()
    by["shared"] = by["finding"].map(both) > 1
    by["new"] = [pair not in had for pair in ask]
    count = by.groupby("reviewer").agg(open=("finding", "size"), new=("new", "sum"), shared=("shared", "sum"))
    ready = pd.Series([reviewer for _, reviewer in done], dtype=object).value_counts()
    known = list(dict.fromkeys([*names, *count.index]))
    loads = count.reindex(known).fillna(0).astype(int)
    loads.insert(0, "done", ready.reindex(known).fillna(0).astype(int))
    loads = loads.rename_axis("reviewer").reset_index()
    return Plan([*others, *stay, *ask], loads, len(had - set(ask)))


def _names(reviewers: list[str]) -> list[str]:
    names = [name.strip() for name in reviewers]
    if not names or not all(names):
        raise LossprintError(
            "expected the names of the reviewers, found an empty one"
            if names
            else "expected the names of the reviewers, found none"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise LossprintError(f"expected each reviewer once, found {', '.join(twice)} twice")
    return names


def _pairs(rows: pd.DataFrame) -> list[Pair]:
    return list(dict.fromkeys(zip(rows["finding"].astype(object), rows["reviewer"].astype(object))))


# ------------------------------------------------------------------------------------------------- how far each is


def progress(history: pd.DataFrame, assignments: pd.DataFrame, findings: pd.DataFrame | None = None) -> pd.DataFrame:
    """How far each reviewer is, a row each, by name.

    Columns reviewer, assigned (findings), decided (those of them that a decision of theirs names), left, besides
    (findings that they decided on unasked), settled (samples adjudicated), seconds (median a finding, NaN where
    unknown) and last (when they decided last, "" if never). With `findings` (rows with group) assignments of findings
    that are no longer there are left out; questions of the random audit always count.
    """
    if findings is not None:
        name = assignments["finding"].astype(object)
        here = name.isin(findings["group"].astype(object)) | name.str.startswith("audit:").astype(bool)
        assignments = assignments[here]
    standing = history[history["stands"]]
    own = standing[standing["role"] != "adjudication"].drop_duplicates(["finding", "reviewer"], keep="last")
    keys = ["finding", "reviewer"]
    asked = assignments[keys].astype(object).drop_duplicates()
    both = asked.merge(own[keys].astype(object), on=keys, how="outer", indicator="of")
    counts = pd.crosstab(both["reviewer"], both["of"].astype(object)).reindex(
        columns=["both", "left_only", "right_only"]
    )
    counts = counts.fillna(0).astype(int)
    table = pd.DataFrame(
        {
            "assigned": counts["both"] + counts["left_only"],
            "decided": counts["both"],
            "left": counts["left_only"],
            "besides": counts["right_only"],
        }
    )
    settling = standing[standing["role"] == "adjudication"].drop_duplicates("sample", keep="last")
    table = table.reindex(table.index.union(settling["reviewer"].astype(object).unique())).fillna(0).astype(int)
    table["settled"] = settling["reviewer"].astype(object).value_counts().reindex(table.index).fillna(0).astype(int)
    table["seconds"] = own.groupby(own["reviewer"].astype(object))["seconds"].median().reindex(table.index)
    last = standing.groupby(standing["reviewer"].astype(object))["at"].max().astype(object)
    table["last"] = last.reindex(table.index).fillna("")
    return table.rename_axis("reviewer").reset_index().sort_values("reviewer", ignore_index=True)


def status(
    history: pd.DataFrame, assignments: pd.DataFrame, findings: pd.DataFrame, given: pd.Series
) -> tuple[pd.DataFrame, Agreement]:
    """`progress` with two further columns, and the agreement that they come from.

    agreement: of the times that the reviewer and another answered about the same sample, the share in which they said
    the same, NaN where there were none. differs: samples on which the reviewer and another differ and that nobody has
    settled.
    """
    found = agreement(history, given)
    table = progress(history, assignments, findings)
    each = pd.concat([found.pairs.rename(columns={side: "reviewer"}) for side in ("first", "second")])
    each = each[each["samples"] > 0]
    same = (each["raw"] * each["samples"]).groupby(each["reviewer"]).sum()
    table["agreement"] = table["reviewer"].map(same / each.groupby("reviewer")["samples"].sum()).astype(float)
    unsettled = np.setdiff1d(found.samples[found.differ], resolve.adjudications(history)["sample"])
    said = resolve.votes(history, given)
    differs = said.loc[said["sample"].isin(unsettled), "reviewer"].astype(object).value_counts()
    table["differs"] = table["reviewer"].map(differs).fillna(0).astype(int)
    return table, found


# ------------------------------------------------------------------------------------------------- how far they agree


def answers(said: pd.DataFrame) -> np.ndarray:
    """What `resolve.votes` say as codes that mean the same for every sample, (M,) int.

    `keep`, `exclude` and `unsure` are themselves; a label is "as suggested" (where somebody accepted it) or else the
    sample's first, second ... other label. Names of labels would not do: two coins thrown for "given or suggested"
    would seem to agree by more than chance (an alpha of about 0.3 with ten classes), as no name is frequent.
    """
    outcome = said["outcome"].astype(object)
    named = outcome.str.startswith("label:").to_numpy(bool)
    codes = outcome.map({"keep": 0, "exclude": 1, "unsure": 2}).fillna(3).to_numpy(int)
    labels = pd.DataFrame({"sample": said["sample"].to_numpy()[named], "outcome": outcome.to_numpy()[named]})
    labels["accepted"] = (said["decision"] == "accept").to_numpy(bool)[named]
    if not len(labels):
        return codes
    each = labels.groupby(["sample", "outcome"])["accepted"].agg(["any", "size"]).reset_index()
    each = each.sort_values(["sample", "any", "size", "outcome"], ascending=[True, True, False, True])
    others = (~each["any"]).astype(int).groupby(each["sample"]).cumsum()
    each["code"] = np.where(each["any"], 3, 3 + others)
    codes[named] = labels.merge(each, on=["sample", "outcome"], how="left")["code"].to_numpy()
    return codes


def agreement(history: pd.DataFrame, given: pd.Series | None = None) -> Agreement:
    """How far reviewers agree, from rows of `Reviews.history`; adjudications do not count as answers.

    given: the given labels, indexed by sample; without it there is nothing by class, and naming the given label is not
    known to be the same as keeping it. Undefined measures are NaN with a reason.
    """
    said = resolve.votes(history, given)
    said = said[said.duplicated("sample", keep=False)].reset_index(drop=True)
    table, samples, names = measures.rating_table(
        said["sample"].to_numpy(), said["reviewer"].to_numpy(object).astype(str), answers(said)
    )
    if not len(samples):
        # Whether nobody answered or just nobody twice is told from all answers.
        everyone = history.loc[history["stands"] & (history["role"] != "adjudication"), "reviewer"]
        table = np.zeros((everyone.nunique(), everyone.nunique()), np.int32) - 1
        np.fill_diagonal(table, 0)
    pairs = [
        (names[i], names[j], share.items, share.value, kappa.value, share.reason or kappa.reason)
        for i, j, share, kappa in (measures.pairwise(table) if len(samples) else ())
    ]
    two = len(names) == 2
    differ = measures.differing(table) if len(samples) else np.zeros(0, bool)
    return Agreement(
        samples,
        differ,
        tuple(names.tolist()),
        measures.raw(table),
        measures.cohen(*table.T) if two else measures.fleiss(table),
        "Cohen's kappa" if two else "Fleiss' kappa",
        measures.alpha(table),
        _by_kind(said, samples, table),
        pd.DataFrame(pairs, columns=["first", "second", "samples", "raw", "kappa", "reason"]),
        _by_class(given, samples, table, differ),
    )


def _by_kind(said: pd.DataFrame, samples: np.ndarray, table: np.ndarray) -> pd.DataFrame:
    last = said.drop_duplicates("sample", keep="last")
    kind = last["finding"].astype(object).str.split(":", n=1).str[0].to_numpy()
    rows = []
    for name in sorted(set(kind)):
        mine = table[kind == name]
        share, beyond = measures.raw(mine), measures.alpha(mine)
        rows.append((name, len(mine), share.value, share.low, share.high, beyond.value, beyond.low, beyond.high))
    columns = ["kind", "samples", "raw", "low", "high", "alpha", "alpha_low", "alpha_high"]
    return pd.DataFrame(rows, columns=columns)


def _by_class(given: pd.Series | None, samples: np.ndarray, table: np.ndarray, differ: np.ndarray) -> pd.DataFrame:
    columns = ["label", "samples", "differ", "raw"]
    if given is None or not len(samples):
        return pd.DataFrame(columns=columns)
    label = given.reindex(samples).astype(object).to_numpy()
    rows = []
    for name in sorted({one for one in label if isinstance(one, str)}):
        mine = label == name
        rows.append((name, int(mine.sum()), int(differ[mine].sum()), measures.share(table[mine])))
    found = pd.DataFrame(rows, columns=columns)
    return found.sort_values(["raw", "samples"], ascending=[True, False], kind="stable", ignore_index=True)
