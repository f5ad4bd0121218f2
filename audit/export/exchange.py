"""Decisions made in another tool, brought into a run: Label Studio's JSON, cleanlab-style CSV, our own exports.

A file is read and checked as a whole (`plan`) before anything is stored, and is stored as a whole or not at all.
"""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lossprint.audit.datasets.paths import Spelled
from lossprint.audit.export import labelstudio
from lossprint.audit.export.decisions_csv import SHOWN, is_whole, read_csv
from lossprint.audit.export.labelstudio import Said
from lossprint.audit.export.sample_paths import Finder
from lossprint.audit.review.classes import check_label
from lossprint.audit.review.queues import AUDIT
from lossprint.audit.review.resolve import LABELLED, adjudications, outcome, votes
from lossprint.audit.review.reviews import CHOICES, Reviews, open_reviews, run_key
from lossprint.audit.runs.run import Run
from lossprint.audit.system.csvrows import text_of
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.types import KINDS, LossprintError, Review
from lossprint.audit.words import plural

UNKNOWN = "an unknown label"
DECIDED = re.compile(r" ?\[decided [^\]]*\]$")


@dataclass(frozen=True)
class Plan:
    """What importing a file would store: `decisions`, the keywords of `Reviews.add`.

    `rows` counts what the file says; `nothing` rows say nothing (no label, skipped, not reviewed), `known` ones are
    stored already. `counts` splits `decisions`: accept, relabel, keep, exclude, unsure. `new_classes`: labels that
    these decisions give and that were no class before.
    """

    name: str
    rows: int
    nothing: int
    known: int
    decisions: list[dict] = field(repr=False)
    new_classes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(one["decision"] for one in self.decisions)
        return {choice: found[choice] for choice in CHOICES if found[choice]}

    @property
    def reviewers(self) -> list[str]:
        return sorted({one["reviewer"] for one in self.decisions})

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {choice}" for choice, count in self.counts.items()) or "none"
        passed = [(self.known, "stored already"), (self.nothing, "that say nothing")]
        others = "".join(f"; {count:,} rows {what}" for count, what in passed if count)
        new = ", ".join(repr(one[:SHOWN]) for one in self.new_classes[:3]) + ", ..." * (len(self.new_classes) > 3)
        new = f"; {plural(len(self.new_classes), 'new class', 'new classes')}: {new}" if self.new_classes else ""
        return f"{len(self.decisions):,} decisions from {self.name}: {counts}{new}{others}"


def import_file(
    run: Run,
    path: str | Path,
    reviewer: str | None = None,
    reviews: Reviews | None = None,
    new_classes: bool = False,
) -> Plan:
    """Store the decisions of a file; `reviewer` decided where the file names nobody. Returns what was stored.

    Storing the same file again stores nothing twice. Raises LossprintError as `plan` does, and nothing is stored then.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LossprintError(f"expected a readable file at {path}, found: {error.strerror or error}") from None
    reviews = reviews or open_reviews(run)
    made = plan(run, content, path.name, reviewer, reviews, new_classes)
    reviews.add_all(made.decisions)
    return made


def take_back(reviews: Reviews, ids: list[int]) -> list[Review]:
    """Take back those of these decisions that still stand, whoever's they are: an import is often of several reviewers.

    Returns the appended `undo` rows.
    """
    history = reviews.history()
    mine = history[history["stands"] & history["id"].isin(ids)]
    taken = []
    for who, rows in mine.groupby("reviewer"):
        taken += reviews.undo_ids(str(who), rows["id"].astype(int).tolist())
    return taken


def plan(
    run: Run,
    content: bytes,
    name: str,
    reviewer: str | None = None,
    reviews: Reviews | None = None,
    new_classes: bool = False,
) -> Plan:
    """What a file says about the run's samples; nothing is stored.

    content: Label Studio's JSON or JSON-MIN, or CSV text (comma, semicolon or tab) with a column `path` or `sample` and
    a label column of LABELS or a column `decision`; also reviewer and comment. Images are matched by path, by the only
    path that ends in it (or that it ends in), else by sample id. The given label again is `keep`, the suggested one
    `accept`, another one `relabel`. A row without a label says nothing; nor does one that nobody has edited: with
    the given label still in it in a list of ours or a copy of the whole manifest, or of no review in our exports of
    decisions. So does a cleanlab row that is flagged as no issue and keeps its label. The time of the decision is kept
    in the comment. A label that is no class of the run becomes one where `new_classes` says so, and in Label Studio's
    JSON of a control `label` or `choice`, or of one that gives classes of the run as well: there labels are chosen, in
    a CSV they are typed.

    Raises LossprintError, in one line with counts and the first example, for unknown or ambiguous images, unknown
    labels, two decisions of one reviewer on a sample that differ and have no times, and where nobody is named as the
    reviewer. Of several with times the latest counts.
    """
    reviews = reviews or open_reviews(run)
    classes = reviews.classes()
    said, nothing = _read(run, content, name)
    decisions, silent = _decisions(run, said, name, reviewer, classes, new_classes)
    fresh = _fresh(run, decisions, content, reviews)
    new = sorted({one["new_label"] for one in fresh if one.get("new_class")})
    return Plan(name, len(said) + nothing, nothing + silent, len(decisions) - len(fresh), fresh, tuple(new))


# ------------------------------------------------------------------------------------------------------ reading a file


def _read(run: Run, content: bytes, name: str) -> tuple[list[Said], int]:
    file = text_of(content, name)
    text = file.text
    if not text.strip():
        raise LossprintError(f"expected decisions in {name}, found an empty file")
    if text.lstrip()[0] not in "[{":
        return read_csv(text, name, file.mark, len(run.samples(columns=["sample"])))
    try:
        return labelstudio.read(parsed(text), run.classes)
    except (ValueError, RecursionError) as error:
        raise LossprintError(f"expected JSON in {name}, found: {' '.join(str(error).split())[:200]}") from None
    except LossprintError as error:
        raise LossprintError(f"{error} (in {name})") from None


# --------------------------------------------------------------------------------------------------- about the samples


def _decisions(
    run: Run, said: list[Said], name: str, reviewer: str | None, known: list[str], new_classes: bool
) -> tuple[list[dict], int]:
    """What is said as the keywords of `Reviews.add`, in the order in which it was said; how many repeat our label."""
    samples = run.samples()
    given = dict(zip(samples["sample"], samples["label"]))
    found = Finder(samples)
    suggested, findings = _suggested(run), _findings(run)
    faults: dict[str, list[str]] = {}
    made, silent = [], 0
    classes = Spelled(known)
    labels = _Labels(classes, {one.control for one in said if one.label and classes.like(one.label)}, new_classes)
    for one in said:
        sample, fault = found(one.data)
        label, new, wrong = labels(one)
        who = one.reviewer or (reviewer or "").strip()
        meta = dict(one.meta or {})
        if not is_whole(meta.get("new_frame")):
            meta.pop("new_frame", None)
        role = "adjudication" if one.truth or meta.get("role") == "adjudication" else "import"
        if fault is None and wrong and one.verdict not in labelstudio.VERDICTS:
            fault = wrong, one.label
        if fault is None and one.verdict == "keep" and label not in (None, given[sample]):
            fault = "keep and yet another label than the given one", label
        if fault is None and one.copied and label == given[sample]:
            silent += 1
            continue
        if fault is None and not who:
            fault = "no reviewer, in the file or named beside it", f"sample {sample}"
        if fault is not None:
            faults.setdefault(fault[0], []).append(f"{fault[1][:SHOWN]!r} in {one.place}")
            continue
        decision = one.verdict or ("keep" if label == given[sample] else "relabel")
        if decision == "relabel" and meta.get("decision", "accept") == "accept" and label in suggested.get(sample, ()):
            decision = "accept"
        made.append(
            {
                "finding": _finding(findings, sample, meta.get("finding")),
                "sample": sample,
                "decision": decision,
                "new_label": label if decision in LABELLED else None,
                **({"new_class": True} if new and decision in LABELLED else {}),
                "reviewer": who,
                "comment": _comment(one),
                "role": role,
                **({"new_frame": meta["new_frame"]} if "new_frame" in meta else {}),
                "blind": meta["blind"] if meta.get("blind") in ("given", "suggestion") else "",
                "_place": one.place,
                "_order": (one.at, int(meta["review"]) if is_whole(meta.get("review", "")) else 0, len(made)),
            }
        )
    last = _last(made)
    for one in last:
        if one["_twice"]:
            fault = "a second decision of one reviewer", f"sample {one['sample']}"
            faults.setdefault(fault[0], []).append(f"{fault[1]!r} in {one['_place']}")
    silent, made = silent + len(made) - len(last), last
    if faults:
        told = "; ".join(f"{len(rows):,} with {what} (the first: {rows[0]})" for what, rows in faults.items())
        many = plural(len(said), "decision")
        told += "; labels that are new classes are taken with --new-classes" if UNKNOWN in faults else ""
        raise LossprintError(f"expected {many} on samples of {run.name} in {name}, found {told}")
    if all(one["_order"][0] for one in made):
        made.sort(key=lambda one: one["_order"])
    return [{key: value for key, value in one.items() if not key.startswith("_")} for one in made], silent


class _Labels:
    """What is meant by the labels that a file gives; `controls`: those of Label Studio that give known classes."""

    def __init__(self, classes: Spelled, controls: set[str | None], new_classes: bool):
        self.classes, self.controls, self.new_classes = classes, {*controls, *labelstudio.CONTROLS}, new_classes
        self.new: list[str] = []

    def __call__(self, one: Said) -> tuple[str | None, bool, str | None]:
        """The label, whether it is a new class, and in words why it is none at all."""
        if one.label is None:
            return None, False, None
        label = self.classes(one.label) or self.classes(one.label.strip())
        if label is not None:
            return label, False, None
        label = one.label.strip()
        if len(self.classes.like(one.label)) > 1:
            return label, False, "a label that is several in Unicode form"
        if not (self.new_classes or (one.control is not None and one.control in self.controls)):
            return label, False, UNKNOWN
        if label not in self.new:
            try:
                check_label("relabel", label, [*self.classes.known, *self.new], new=True)
            except LossprintError as error:
                return label, False, f"a label that can be no class ({error})"
            self.new.append(label)
        return label, True, None


def _last(made: list[dict]) -> list[dict]:
    """Of several decisions of one reviewer on a sample the one that counts, in the place of the first: they are all the
    same, or one is the latest. `_twice`: neither is so, and nobody can tell which it is."""
    by_question: dict[tuple, list[dict]] = {}
    for one in made:
        key = one["sample"], one["reviewer"], one["role"], "new_frame" in one
        by_question.setdefault(key, []).append(one)
    chosen = []
    for several in by_question.values():
        answers = {(one["decision"], one["new_label"], one.get("new_frame")) for one in several}
        times = [one["_order"][0] for one in several]
        clear = len(answers) == 1 or (all(times) and times.count(max(times)) == 1)
        # Of equal ones, or without a time, the last that was said; a fault names where that stands.
        latest = max(several, key=lambda one: one["_order"][0]) if clear and len(answers) > 1 else several[-1]
        chosen.append({**latest, "_twice": not clear})
    return chosen


def _suggested(run: Run) -> dict[int, set[str]]:
    """The labels that are suggested for a sample, by its score or by one of its findings."""
    tables = [table for table in (run.scores(), run.findings()) if "suggested_label" in table]
    both = pd.concat([table[["sample", "suggested_label"]] for table in tables]).dropna()
    named: dict[int, set[str]] = {}
    for sample, label in zip(both["sample"].tolist(), both["suggested_label"].astype(str)):
        named.setdefault(sample, set()).add(label)
    return named


def _findings(run: Run) -> dict[int, list[str]]:
    """The names of each sample's findings, in the order of KINDS."""
    found = run.findings()
    found = found.assign(place=found["kind"].map({kind: at for at, kind in enumerate(KINDS)}))
    named: dict[int, list[str]] = {}
    for row in found.sort_values(["place", "rank"], kind="stable").itertuples():
        named.setdefault(int(row.sample), []).append(str(row.group))
    return named


def _finding(findings: dict[int, list[str]], sample: int, said: object) -> str:
    """The finding that a decision answers: the one that the file names, if the run asks it of this sample."""
    mine = findings.get(sample, [])
    if said in mine or (not mine and said == f"{AUDIT}:{sample}"):
        return str(said)
    return mine[0] if mine else f"import:{sample}"  # not `audit:`: it was not drawn by chance


def _comment(one: Said) -> str:
    """The comment with the time of the decision at its end; one that has it from an earlier import stays as it is."""
    if not one.at or DECIDED.search(one.comment):
        return one.comment
    return f"{one.comment} [decided {one.at[:40].replace(']', ')')}]".lstrip()


# ------------------------------------------------------------------------------------------------------- stored already


def _fresh(run: Run, decisions: list[dict], content: bytes, reviews: Reviews) -> list[dict]:
    """Without the decisions that stand already, each with the token that keeps it from being stored twice.

    A token names the file's content and the decision; after an import was taken back, the next one gets new tokens.
    """
    history = reviews.history()
    standing = set(history.loc[history["stands"], "token"].dropna())
    used = set(history["token"].dropna())
    said = {
        (sample, who, role == "adjudication", places): what
        for places in (False, True)
        for rows in (votes(history, places=places), adjudications(history, places))
        for sample, who, role, what in zip(rows["sample"], rows["reviewer"], rows["role"], outcome(rows))
    }
    digest = hashlib.sha256(content).hexdigest()
    mine = outcome(
        pd.DataFrame(decisions, columns=["decision", "new_label", "new_frame"]).astype({"new_frame": "Int64"})
    )
    fresh = []
    for at, (one, what) in enumerate(zip(decisions, mine)):
        attempt = 0
        while (token := _token(run, digest, at, one, attempt)) in used and token not in standing:
            attempt += 1
        key = one["sample"], one["reviewer"], one["role"] == "adjudication", "new_frame" in one
        if token not in standing and said.get(key) != what:
            fresh.append({**one, "token": token})
    return fresh


def _token(run: Run, digest: str, at: int, one: dict, attempt: int) -> str:
    text = "\0".join(map(str, (run_key(run), digest, at, one["sample"], one["reviewer"], one["decision"], attempt)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
