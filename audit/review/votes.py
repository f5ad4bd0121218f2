"""Votes of several annotators, or labelling functions, on a run's samples: read, kept, and counted with the reviewers'.

A file has a row a vote: sample (its id or path), annotator, label; an empty label is an abstention. What comes of them
is kept in the run: consensus.parquet (a row a sample), annotators.parquet and counted.parquet (a row a vote).
"""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from lossprint.audit.review import resolve
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs import beside
from lossprint.audit.runs.run import Run
from lossprint.audit.system.atomic import refuse_pipe
from lossprint.audit.system.csvrows import csv_rows
from lossprint.audit.types import LossprintError
from lossprint.audit.words import plural, some
from lossprint.scoring.duplicates import components
from lossprint.scoring.heads import blocks, lda
from lossprint.scoring.votes import active, table
from lossprint.scoring.votes.consensus import Together, consensus
from lossprint.scoring.votes.table import Votes

NAMES = {  # column -> what other tools call it
    "sample": ("sample", "path", "task", "item", "image", "example"),
    "annotator": ("annotator", "labeler", "labeller", "worker", "function", "lf", "rater"),
    "label": ("label", "vote", "class"),
}
REVIEWER = " (reviewer)"  # after the name of who decided in the app
WORST = 10


@dataclass(frozen=True)
class Read:
    """votes: sample, annotator, label (None where an annotator abstained); notes: what was left out."""

    votes: pd.DataFrame
    notes: list[str]


def read_votes(run: Run, file: str | Path, skip_unknown: bool = False) -> Read:
    """The votes of a CSV file. LossprintError, in one line, for a sample or label that the run does not have (they are
    left out and counted with `skip_unknown`), for two different votes of an annotator on a sample, and without votes.
    """
    file = Path(file)
    if run.task != "classes":
        raise LossprintError(f"expected a run of classes to vote on, found one of {run.task} in {run.path}")
    try:
        refuse_pipe(file)
        header, rows, lines = csv_rows(file)
    except OSError as error:
        raise LossprintError(f"expected a readable file of votes, found {error.strerror or error} at {file}") from None
    at = {name: _column(header, name, file) for name in NAMES}
    samples = run.samples(columns=["sample", "path"])
    ids = dict(zip(samples["path"].astype(str), samples["sample"]))
    by_path = header[at["sample"]].lower() not in ("sample", "task", "item", "example") or not all(
        row[at["sample"]].strip().isdigit() for row in rows
    )
    known = ids if by_path else {str(one): one for one in samples["sample"]}
    seen: dict[tuple[int, str], str | None] = {}
    unknown, twice = {"sample": [], "label": []}, 0
    for row, line in zip(rows, lines):
        cell, who, label = (row[at[name]].strip() for name in NAMES)
        where = f"in {line} of {file}"
        if not who:
            raise LossprintError(f"expected the name of an annotator, found an empty cell {where}")
        key = cell if by_path else (cell.lstrip("0") or "0")
        if key not in known:
            unknown["sample"].append((cell, where))
            continue
        if label and label not in run.classes:
            unknown["label"].append((label, where))
            continue
        vote = (int(known[key]), who)
        if vote in seen and seen[vote] != (label or None):
            raise LossprintError(
                f"expected one vote of {who!r} on {cell!r}, found {seen[vote] or 'an abstention'!r} and then "
                f"{label or 'an abstention'!r} {where}"
            )
        twice += vote in seen
        seen[vote] = label or None
    for name, faults in unknown.items():
        if faults and not skip_unknown:
            raise LossprintError(
                _unknown(run, name, *faults[0], {"sample": list(known), "label": run.classes}[name], len(faults))
            )
    if not any(seen.values()):
        raise LossprintError(f"expected a vote with a label in {file}, found none in {plural(len(rows), 'row')}")
    frame = pd.DataFrame([(*key, label) for key, label in seen.items()], columns=["sample", "annotator", "label"])
    notes = [
        f"left out: {plural(len(faults), 'vote')} on {name}s that the run does not have, such as {faults[0][0]!r}"
        for name, faults in unknown.items()
        if faults
    ]
    notes += [f"left out: {plural(twice, 'vote')} that stood there before"] if twice else []
    return Read(frame.sort_values(["sample", "annotator"], ignore_index=True), notes)


def _column(header: list[str], name: str, file: Path) -> int:
    lower = [one.lower() for one in header]
    places = [lower.index(one) for one in NAMES[name] if one in lower]
    if not places:
        raise LossprintError(
            f"expected the columns sample, annotator and label in {file}, found {', '.join(map(repr, header))[:200]}"
        )
    return places[0]


def _unknown(run: Run, name: str, cell: str, where: str, known: list[str], count: int) -> str:
    near = get_close_matches(cell, known[:20_000], 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return (
        f"expected a {name} of {run.path}, found {cell!r} {where}{hint} ({plural(count, 'vote')} of that kind; "
        "--skip-unknown leaves them out)"
    )


def given_votes(run: Run) -> pd.DataFrame:
    """The votes that were imported and those of the reviewers: sample, annotator, label; abstentions left out."""
    stored = beside.votes(run)
    parts = [] if stored is None else [stored[stored["label"].notna()]]
    with open_reviews(run) as reviews:
        history = reviews.history()
    given = run.samples(columns=["sample", "label"]).set_index("sample")["label"].astype(object)
    said = resolve.votes(history, given)
    label = said["new_label"].astype(object).where(said["outcome"] != "keep", said["sample"].map(given).astype(object))
    kept = said["outcome"].astype(str).str.startswith("label:") | said["outcome"].eq("keep")
    mine = pd.DataFrame(
        {"sample": said["sample"], "annotator": said["reviewer"].astype(str) + REVIEWER, "label": label}
    )
    parts.append(mine[kept & label.isin(run.classes)])
    return pd.concat(parts, ignore_index=True).astype({"sample": "int64"})


@dataclass(frozen=True, eq=False)
class Counted:
    """consensus: a row a sample with votes, `tables.CONSENSUS`; annotators: `tables.ANNOTATORS`, least able first;
    votes: `tables.COUNTED`. notes: what to know before trusting them.
    """

    consensus: pd.DataFrame
    annotators: pd.DataFrame
    votes: pd.DataFrame
    notes: list[str]


def count(run: Run) -> Counted:
    """Count all votes anew and keep the result in the run. LossprintError where there are none."""
    frame = given_votes(run)
    if frame.empty:
        raise LossprintError(f"expected votes in {run.path}, found none: lossprint votes {run.path} votes.csv")
    if len(run.classes) < 2:
        raise LossprintError(f"expected two classes and more in {run.path}, found {len(run.classes)}")
    sample, ids = pd.factorize(frame["sample"], sort=True)
    annotator, names = pd.factorize(frame["annotator"], sort=True)
    votes = Votes.of(sample, annotator, pd.Index(run.classes).get_indexer(frame["label"]), len(run.classes))
    log_p, why = _model(run, ids, table.majority(votes))
    together = consensus(votes, log_p)
    counted = Counted(
        _samples(run, votes, together, np.asarray(ids)),
        _annotators(run, votes, together, list(names)),
        pd.DataFrame(
            {
                "sample": np.asarray(ids)[votes.sample],
                "annotator": np.asarray(names, object)[votes.annotator],
                "label": np.array(run.classes, object)[votes.label],
                "quality": together.vote_quality,
            }
        ),
        _notes(votes, together, why, list(names)),
    )
    beside.write_consensus(run, counted.consensus, counted.annotators, counted.votes)
    return counted


def _model(run: Run, ids: np.ndarray, majority: np.ndarray) -> tuple[np.ndarray | None, str]:
    """Log-probabilities (N, C) of the voted samples by a head out of fold, and why there are none.

    Only on pretrained features: a network's own embedding has learnt the given labels, and would echo them.
    """
    embedded = run.embeddings()
    if embedded is None or run.head() is None:
        return None, "no model of pretrained features has a say: the consensus rests on the votes alone"
    samples = run.samples(columns=["sample", "label"])
    samples = samples[samples["sample"].isin(embedded[0])]
    everything = samples["sample"].to_numpy(np.int64)
    at = pd.Index(everything).get_indexer(ids)
    codes = pd.Index(run.classes).get_indexer(samples["label"])
    codes[at[at >= 0]] = majority[at >= 0]
    pairs = run.duplicates()
    first, second = (pd.Index(everything).get_indexer(pairs[name]) for name in ("sample", "partner"))
    both = (first >= 0) & (second >= 0)
    groups = components(first[both], second[both], len(everything))
    vectors = embedded[1][pd.Index(embedded[0]).get_indexer(everything)]
    answers, _ = lda.shuffled(blocks.prepare(vectors), codes, len(run.classes), groups=groups, rounds=1)
    log_p = np.full((len(ids), len(run.classes)), np.nan)
    log_p[at >= 0] = answers.discriminant[at[at >= 0]]
    return log_p, ""


def _samples(run: Run, votes: Votes, together: Together, ids: np.ndarray) -> pd.DataFrame:
    classes = np.array(run.classes, object)
    given = run.samples(columns=["sample", "label"]).set_index("sample")["label"].astype(object)
    return pd.DataFrame(
        {
            "sample": ids,
            "label": given.reindex(ids).to_numpy(),
            "votes": votes.each,
            "for_given": votes.counts[np.arange(len(ids)), pd.Index(run.classes).get_indexer(given.reindex(ids))],
            "for_consensus": votes.counts[np.arange(len(ids)), together.label],
            "majority": classes[together.majority],
            "consensus": classes[together.label],
            "quality": together.quality,
            "crowdlab": classes[together.crowdlab.label],
            "crowdlab_quality": together.crowdlab.quality,
            "dawid_skene": classes[together.dawid_skene.posterior.argmax(axis=1)],
            "again": active.activelab(votes, together.crowdlab, together.quality),
        }
    )


def _annotators(run: Run, votes: Votes, together: Together, names: list[str]) -> pd.DataFrame:
    shared = np.bincount(votes.annotator, votes.others > 0, votes.annotators).astype(np.int64)
    frame = pd.DataFrame(
        {
            "annotator": names,
            "votes": votes.cast,
            "shared": shared,
            "coverage": votes.cast / votes.samples,
            "overlap": table.overlap(votes),
            "conflict": table.conflict(votes),
            "agreement": table.agreement(votes),
            "with_consensus": votes.mean(votes.label == together.label[votes.sample]),
            "quality": together.crowdlab.annotator_quality,
            "ability": together.dawid_skene.ability,
            "few": shared < table.FEW,
        }
    )
    return frame.sort_values(["ability", "annotator"], ignore_index=True)


def _notes(votes: Votes, together: Together, why: str, names: list[str]) -> list[str]:
    notes = [why] if why else []
    if together.crowdlab.alone:
        other = "the model" if together.p is not None else "nothing"
        notes.append(f"no sample has two votes: {other} stands in for other annotators, and agreement is not known")
    shared = np.bincount(votes.annotator, votes.others > 0, votes.annotators)
    few = [names[at] for at in np.flatnonzero(shared < table.FEW)]
    if few:
        notes.append(f"fewer than {table.FEW} votes shared with others, so that their numbers say little: {some(few)}")
    if not together.dawid_skene.settled:
        notes.append("Dawid and Skene's tables did not settle: take abilities with care")
    return notes


def confusion(counted: pd.DataFrame, consensus: pd.DataFrame, annotator: str, classes: list[str]) -> np.ndarray:
    """(K, K): how often the annotator called what the consensus calls row k by the name of column l."""
    mine = counted[counted["annotator"] == annotator]
    names = pd.Index(classes)
    rows = names.get_indexer(consensus.set_index("sample")["consensus"].reindex(mine["sample"]))
    table_of = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(table_of, (rows, names.get_indexer(mine["label"])), 1)
    return table_of


def evidence(row, noun: str = "annotator") -> str:
    """`three of four annotators said cat`, of a row of consensus."""
    said = f"{row.for_consensus:,} of {plural(int(row.votes), noun)} said {row.consensus}"
    if row.consensus != row.label:
        said += f", {row.for_given:,} {row.label}"
    return said
