"""Experts' decisions: append-only rows in SQL, in the run folder (SQLite) or in a team's PostgreSQL.

Rows are only ever inserted; taking a decision back appends a row as well. Plain portable SQL through SQLAlchemy Core.
"""

from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from functools import cache, cached_property
from numbers import Real
from time import time

import numpy as np
import pandas as pd
from sqlalchemy import delete, exists, func, insert, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from lossprint.audit.review.classes import check_label, new_classes
from lossprint.audit.review.database import ADDED, ASSIGNMENTS, CLAIMS, REVIEWS, Database, read_back
from lossprint.audit.review.resolve import LABELLED, resolve
from lossprint.audit.review.rows import refuse_odd
from lossprint.audit.runs.run import Run
from lossprint.audit.types import DECISIONS, KINDS, LossprintError, Review

COLUMNS = tuple(field.name for field in fields(Review))
CHOICES = tuple(name for name in DECISIONS if name != "undo")
BLIND = ("", "given", "suggestion")
ROLES = ("", "adjudication", "import")
LONGEST_TOKEN = 80
AT_ONCE = 500  # values that one statement takes: databases have limits
TEXT = ("finding", "decision", "reviewer", "at", "new_label", "comment", "blind", "role", "token")
_none = cache(lambda: _typed(pd.DataFrame(columns=list(COLUMNS))))  # no decisions; copied before it is handed out


class Conflict(LossprintError):
    """Somebody decided since the page was drawn; `rows`: what, the latest (`row`) first. Nothing was stored."""

    def __init__(self, row: Review, *others: Review):
        super().__init__(f"expected no newer decision on {row.finding}, found {row.decision} by {row.reviewer}")
        self.row, self.rows = row, (row, *others)


def open_reviews(run: Run, url: str | None = None) -> "Reviews":
    """The decisions made on a run, in its own database or the one at `url`. Nothing is created before the first write.

    Raises LossprintError for a database URL that is not understood and for a missing database driver.
    """
    return Reviews(run, Database(url or run.reviews_url))


def run_key(run: Run) -> str:
    """What tells runs apart in a shared database; it stays the same when the folder is moved or scored again."""
    manifest = run.manifest
    return "/".join(str(part) for part in (manifest["dataset"].get("fingerprint", ""), manifest.get("created", "")))


class Reviews:
    """The decisions on one run. May be shared by threads; a fault of the database is a LossprintError, in one line."""

    def __init__(self, run: Run, database: Database):
        self.run = run
        self.key = run_key(run)
        self.database = database
        self._known: dict[str, tuple] = {}

    def __enter__(self) -> "Reviews":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Give back pooled connections. Using this object, or another one of the same database, opens new ones."""
        self.database.close()

    def add(
        self,
        *,
        finding: str,
        sample: int,
        decision: str,
        reviewer: str,
        new_label: str | None = None,
        comment: str = "",
        **how,
    ) -> Review:
        """Append a decision; it is on the disk when this returns. `how`: blind, seconds, role, token, new_frame,
        new_class (the label may be one that the run does not have yet, see `classes`).

        Raises LossprintError for a decision not in CHOICES, a sample or label that the run does not have, a label
        missing (accept, relabel) or given where none belongs, the same of a new frame (reorder), or an empty finding or
        reviewer.
        """
        one = {"finding": finding, "sample": sample, "decision": decision, "reviewer": reviewer}
        return self.add_all([{**one, "new_label": new_label, "comment": comment, **how}])[0]

    def add_all(self, decisions: list[dict], *, seen: dict[str, int] | None = None) -> list[Review]:
        """Append decisions, each the keywords of `add`, in one transaction: all are on the disk, or none.

        They share `at`, which tells what was decided in one go. What has a token that is stored already is not stored
        again; the stored row is returned. `seen` gives for a finding the highest id of its rows that the caller knew
        of (0: none): Conflict where a newer decision stands by now. Where the finding is assigned to several reviewers,
        who are to answer independently, only one's own newer decision counts, except for an adjudication: it settles
        what was there to be seen. Raises LossprintError as `add` does, and for a token given twice.
        """
        at = _now()
        rows = [self._checked(at, **one) for one in decisions]
        if not rows:
            return []
        tokens = [row.token for row in rows if row.token is not None]
        if len(set(tokens)) < len(tokens):
            raise LossprintError("expected a token of its own for each decision, found one twice")
        with self.database.writing(self.key) as connection:
            known = self._by_token(connection, tokens)
            fresh = [row for row in rows if row.token not in known]
            self._check_seen(connection, fresh, seen or {})
            stored = iter(self._insert(connection, fresh))
            return [known[row.token] if row.token in known else next(stored) for row in rows]

    def undo(self, reviewer: str) -> Review | None:
        """Take back the reviewer's latest decision that still stands; repeat it to go further back.

        Returns the appended `undo` row (`undoes` says which decision), or None when nothing is left to take back.
        """
        mine = REVIEWS.c.reviewer == reviewer.strip()
        taken = self._take_back(reviewer, [self._standing(mine).order_by(REVIEWS.c.id.desc()).limit(1)])
        return taken[0] if taken else None

    def undo_ids(self, reviewer: str, ids: list[int]) -> list[Review]:
        """Take back those of these decisions that still stand and are the reviewer's, in one transaction.

        Returns the appended `undo` rows, none where nothing is left to take back.
        """
        mine = REVIEWS.c.reviewer == reviewer.strip()
        parts = [REVIEWS.c.id.in_(part) for part in _parts(sorted({int(one) for one in ids}))]
        return self._take_back(reviewer, [self._standing(mine, part).order_by(REVIEWS.c.id) for part in parts])

    def _take_back(self, reviewer: str, which: list) -> list[Review]:
        with self.database.reading() as reading:
            if reading is None or not which:
                return []
        at = _now()
        with self.database.writing(self.key) as connection:
            rows = [
                Review(row.finding, row.sample, "undo", reviewer.strip(), at, undoes=row.id)
                for statement in which
                for row in connection.execute(statement)
            ]
            return self._insert(connection, rows)

    def history(self) -> pd.DataFrame:
        """Every row of this run, oldest first: the columns of Review and `stands`, False for undos and undone ones."""

        def read(connection: Connection, version: str, mark: tuple) -> pd.DataFrame:
            later = {name for since, names in ADDED.items() if since > version for name in names}
            here = [name for name in COLUMNS if name not in later]
            mine = select(*(REVIEWS.c[name] for name in here)).where(REVIEWS.c.run == self.key).order_by(REVIEWS.c.id)
            known = self._known["history"][1] if "history" in self._known else _none()
            if len(known):
                fresh = mine.where(REVIEWS.c.id >= int(known["id"].iloc[-1]))
                more = _typed(self._read(connection, fresh, here))
                both = _typed(pd.concat([known.iloc[:-1], more], ignore_index=True))
                # All of it is read where the last known row is another one: the database was put back from a copy.
                if (int(both["id"].max()), len(both)) == mark and more["at"].iloc[0] == known["at"].iloc[-1]:
                    return both
            return _typed(self._read(connection, mine, here))

        # A row written between the two reads is in the table; the next mark then differs, and there is another look.
        return self._memoised("history", REVIEWS, read, _none()).copy()

    def _memoised(self, name: str, table, read, empty: pd.DataFrame) -> pd.DataFrame:
        """What `read` gives. Rows are only appended, so their number and last id say whether there are new ones."""
        with self.database.reading() as reading:
            if reading is None or (reading[1] == "0001" and table is not REVIEWS):
                return empty
            connection, version = reading
            marks = select(func.max(table.c.id), func.count()).where(table.c.run == self.key)
            mark, known = tuple(connection.execute(marks).one()), self._known.get(name)
            if known is None or known[0] != mark:
                self._known[name] = known = mark, read(connection, version, mark)
            return known[1]

    def classes(self) -> list[str]:
        """The run's classes, and after them by name those that a standing decision gives beside them."""
        return [*self.run.classes, *new_classes(self.history(), self.run.classes)]

    def current(self, rule: str = "latest", reviewer: str | None = None) -> pd.DataFrame:
        """The decision that holds for each decided sample by a rule of resolve.RULES: the columns of Review."""
        return resolve(self.history(), rule, reviewer)[list(COLUMNS)]

    def progress(self, findings: pd.DataFrame, history: pd.DataFrame | None = None) -> pd.DataFrame:
        """How far the review of a findings table is: one row a kind that it has, columns kind, of, reviewed, *CHOICES.

        `of` counts findings (a duplicate group is one), `reviewed` those that a standing decision names, and the
        rest splits `reviewed` by the latest such decision.
        """
        history = self.history() if history is None else history
        latest = history[history["stands"]].drop_duplicates("finding", keep="last").set_index("finding")["decision"]
        each = findings[["kind", "group"]].drop_duplicates()
        decided = each["group"].map(latest)
        rows = []
        for kind in KINDS:
            mine = (each["kind"] == kind).to_numpy(bool)
            if mine.any():
                counts = decided[mine].value_counts()
                by = {choice: int(counts.get(choice, 0)) for choice in CHOICES}
                rows.append({"kind": kind, "of": int(mine.sum()), "reviewed": sum(by.values()), **by})
        return pd.DataFrame(rows, columns=["kind", "of", "reviewed", *CHOICES])

    # Several reviewers ----------------------------------------------------------------------------------------

    def assign(self, rows: list[tuple[str, str]], *, replace: bool = True) -> int:
        """Say who is to answer what: (finding, reviewer) pairs, beside or instead of what was assigned before.

        Returns how many were stored. Earlier assignments stay in the database, only the latest batch counts.
        """
        rows = list(dict.fromkeys((str(finding), str(reviewer).strip()) for finding, reviewer in rows))
        for finding, reviewer in rows:
            if not finding or not reviewer or not _is_plain(finding + reviewer):
                raise LossprintError(f"expected a finding and a reviewer, found {finding!r} and {reviewer!r}")
        with self.database.writing(self.key) as connection:
            mine = ASSIGNMENTS.c.run == self.key
            batch = connection.scalar(select(func.max(ASSIGNMENTS.c.batch)).where(mine)) or 0
            shared = {"run": self.key, "batch": batch + 1 if replace or not batch else batch, "at": _now()}
            if not replace:
                here = select(ASSIGNMENTS.c.finding, ASSIGNMENTS.c.reviewer).where(mine, ASSIGNMENTS.c.batch == batch)
                known = {tuple(row) for row in connection.execute(here)}
                rows = [row for row in rows if row not in known]
            # The first row says that there is a batch, also where nothing is assigned any more.
            new = [{**shared, "finding": "", "reviewer": ""}] if replace else []
            new += [{**shared, "finding": finding, "reviewer": reviewer} for finding, reviewer in rows]
            if new:
                connection.execute(insert(ASSIGNMENTS), new)
        return len(rows)

    def assignments(self) -> pd.DataFrame:
        """Who is to answer what at present: finding, reviewer, at; a row a pair, in the order of assignment."""
        columns = ["finding", "reviewer", "at"]

        def read(connection: Connection, _version: str, _mark: tuple) -> pd.DataFrame:
            mine = ASSIGNMENTS.c.run == self.key
            last = select(func.max(ASSIGNMENTS.c.batch)).where(mine).scalar_subquery()
            rows = select(*(ASSIGNMENTS.c[name] for name in columns)).order_by(ASSIGNMENTS.c.id)
            rows = rows.where(mine, ASSIGNMENTS.c.batch == last, ASSIGNMENTS.c.finding != "")
            return self._read(connection, rows, columns).astype("string")

        return self._memoised("assignments", ASSIGNMENTS, read, pd.DataFrame(columns=columns).astype("string")).copy()

    def claim(self, finding: str, reviewer: str, session: str, seconds: float = 600) -> str | None:
        """Hold a finding for a session, for so long, and let go what it held before.

        Returns None where it is held now, else the name of the reviewer who holds it. The same reviewer in another
        session is not refused: a window that was closed must not lock its owner out.
        """
        now, reviewer = time(), reviewer.strip()
        values = {"run": self.key, "finding": finding, "reviewer": reviewer, "session": session, "until": now + seconds}
        with self.database.writing(self.key) as connection:
            dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
            mine, free = CLAIMS.c.session == session, CLAIMS.c.until < now
            connection.execute(delete(CLAIMS).where(or_(free, mine), CLAIMS.c.run == self.key))
            connection.execute(
                dialect.insert(CLAIMS)
                .values(values)
                .on_conflict_do_update(
                    index_elements=["run", "finding"],
                    set_={name: values[name] for name in ("reviewer", "session", "until")},
                    where=CLAIMS.c.reviewer == reviewer,
                )
            )
            held = select(CLAIMS.c.reviewer, CLAIMS.c.session).where(
                CLAIMS.c.run == self.key, CLAIMS.c.finding == finding
            )
            holder, by = connection.execute(held).one()
        return None if by == session else holder

    def claims(self) -> pd.DataFrame:
        """What is held at present: finding, reviewer, session, until (seconds since 1970)."""
        columns = ["finding", "reviewer", "session", "until"]
        with self.database.reading() as reading:
            if reading is None or reading[1] == "0001":
                return pd.DataFrame(columns=columns)
            rows = select(*(CLAIMS.c[name] for name in columns))
            rows = rows.where(CLAIMS.c.run == self.key, CLAIMS.c.until >= time()).order_by(CLAIMS.c.finding)
            return self._read(reading[0], rows, columns)

    def release(self, session: str) -> None:
        """Let go all that a session holds."""
        with self.database.reading() as reading:
            if reading is None or reading[1] == "0001":
                return
        with self.database.writing(self.key) as connection:
            connection.execute(delete(CLAIMS).where(CLAIMS.c.session == session))

    # Checks ---------------------------------------------------------------------------------------------------

    @cached_property
    def _ids(self) -> np.ndarray:
        return np.sort(self.run.samples()["sample"].to_numpy(np.int64))

    def _has_sample(self, sample: int) -> bool:
        if not isinstance(sample, (int, np.integer)):
            return False
        at = np.searchsorted(self._ids, sample)
        return bool(at < len(self._ids) and self._ids[at] == sample)

    def _checked(
        self,
        at: str,
        *,
        finding: str,
        sample: int,
        decision: str,
        reviewer: str,
        new_label: str | None = None,
        comment: str = "",
        blind: str = "",
        seconds: float | None = None,
        role: str = "",
        token: str | None = None,
        new_frame: int | None = None,
        new_class: bool = False,
    ) -> Review:
        if decision not in CHOICES:
            raise LossprintError(f"expected a decision of {', '.join(CHOICES)}, found {decision!r}")
        for name, value, known in (("blind", blind, BLIND), ("role", role, ROLES)):
            if value not in known:
                raise LossprintError(f"expected {name} of {', '.join(map(repr, known))}, found {value!r}")
        if seconds is not None and not (isinstance(seconds, Real) and 0 <= seconds < float("inf")):
            raise LossprintError(f"expected the seconds of a decision, found {seconds!r}")
        if token is not None and not (isinstance(token, str) and 0 < len(token) <= LONGEST_TOKEN and _is_plain(token)):
            raise LossprintError(f"expected a token of 1 to {LONGEST_TOKEN} characters, found {token!r}")
        if decision in LABELLED:
            classes = self.run.classes
            check_label(decision, new_label, classes if new_label in classes else self.classes(), new_class)
        elif new_label is not None:
            raise LossprintError(f"expected no new label with {decision!r}, found {new_label!r}")
        if not self._has_sample(sample):
            raise LossprintError(f"expected a sample of run {self.run.path}, found {sample!r}")
        self._check_frame(decision, new_frame, int(sample))
        texts = {"finding": finding, "reviewer": reviewer.strip(), "comment": comment}
        for name, text in texts.items():
            if not text and name != "comment":
                raise LossprintError(f"expected the {name} of a decision, found an empty text")
            if not _is_plain(text):
                raise LossprintError(f"expected plain text as the {name} of a decision, found {text!r}")
        how = {"blind": blind, "seconds": None if seconds is None else float(seconds), "role": role, "token": token}
        how["new_frame"] = None if new_frame is None else int(new_frame)
        return Review(sample=int(sample), decision=decision, new_label=new_label, at=at, **texts, **how)

    def _check_frame(self, decision: str, number: int | None, sample: int) -> None:
        if number is None and decision != "reorder":
            return
        if decision not in ("reorder", "keep", "unsure"):
            raise LossprintError(f"expected no new frame with {decision!r}, found {number!r}")
        if not isinstance(number, (int, np.integer)) or not 0 <= number < 2**62:
            raise LossprintError(f"expected the new frame number of sample {sample}, found {number!r}")
        if sample not in self._framed:
            raise LossprintError(f"expected a frame of a sequence, found sample {sample}, which is none")

    @cached_property
    def _framed(self) -> set[int]:
        samples = self.run.samples()
        return set(samples.loc[samples["frame"].notna(), "sample"].tolist())

    # The database ---------------------------------------------------------------------------------------------

    def _read(self, connection: Connection, statement, columns: list[str]) -> pd.DataFrame:
        found = [tuple(row) for row in connection.execute(statement)]
        refuse_odd(columns, found, self.run.path)
        return pd.DataFrame(found, columns=columns)

    def _standing(self, *where):
        undo = REVIEWS.alias()  # looked up by `undoes`, which has an index as it is unique
        undone = exists().where(undo.c.undoes == REVIEWS.c.id)
        return select(REVIEWS).where(REVIEWS.c.run == self.key, REVIEWS.c.decision != "undo", ~undone, *where)

    def _by_token(self, connection: Connection, tokens: list[str]) -> dict[str, Review]:
        found = {}
        for part in _parts(tokens):
            mine = select(REVIEWS).where(REVIEWS.c.token.in_(part), REVIEWS.c.run == self.key)
            found |= {row.token: _review(row) for row in connection.execute(mine)}
        return found

    def _check_seen(self, connection: Connection, fresh: list[Review], seen: dict[str, int]) -> None:
        """Conflict with the latest of the newer decisions; see add_all."""
        newer = []
        for part in _parts(sorted({row.finding for row in fresh} & seen.keys())):
            since = min(seen[finding] for finding in part)
            rows = connection.execute(self._standing(REVIEWS.c.finding.in_(part), REVIEWS.c.id > since))
            newer += [row for row in rows if row.id > seen[row.finding]]
        settled = {row.finding for row in fresh if row.role == "adjudication"}
        shared = self._shared(connection, sorted({row.finding for row in newer})) - settled
        own = {(row.finding, row.reviewer) for row in fresh}
        newer = [row for row in newer if row.finding not in shared or (row.finding, row.reviewer) in own]
        if newer:
            raise Conflict(*map(_review, sorted(newer, key=lambda row: row.id, reverse=True)))

    def _shared(self, connection: Connection, findings: list[str]) -> set[str]:
        """Those of these findings that are assigned to several reviewers."""
        mine, found = ASSIGNMENTS.c.run == self.key, set()
        last = select(func.max(ASSIGNMENTS.c.batch)).where(mine).scalar_subquery()
        for part in _parts(findings):
            here = select(ASSIGNMENTS.c.finding).where(
                mine, ASSIGNMENTS.c.batch == last, ASSIGNMENTS.c.finding.in_(part)
            )
            several = func.count(func.distinct(ASSIGNMENTS.c.reviewer)) > 1
            found |= set(connection.scalars(here.group_by(ASSIGNMENTS.c.finding).having(several)))
        return found

    def _insert(self, connection: Connection, reviews: list[Review]) -> list[Review]:
        if not reviews:
            return []
        rows = [
            {"run": self.key} | {name: value for name, value in asdict(review).items() if name != "id"}
            for review in reviews
        ]
        keys = connection.scalars(insert(REVIEWS).returning(REVIEWS.c.id, sort_by_parameter_order=True), rows)
        return [replace(one, id=key) for one, key in zip(reviews, read_back(connection, rows, keys), strict=True)]


def _review(row) -> Review:
    return Review(**{name: getattr(row, name) for name in COLUMNS})


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of `reviews` with the columns of COLUMNS, their types, and `stands`."""
    for name in (name for names in ADDED.values() for name in names):
        if name not in frame:
            frame[name] = "" if name in ("blind", "role") else None
    frame = frame[list(COLUMNS)].astype({**dict.fromkeys(TEXT, "string"), "sample": "int64", "id": "int64"})
    frame = frame.astype({"undoes": "Int64", "seconds": "float64", "new_frame": "Int64"})
    undone = set(frame["undoes"].dropna())
    frame["stands"] = ((frame["decision"] != "undo") & ~frame["id"].isin(undone)).astype(bool)
    return frame


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _is_plain(text: str) -> bool:
    """Whether both databases can keep a text: without NUL and lone surrogates."""
    try:
        return b"\0" not in text.encode("utf-8")
    except UnicodeEncodeError:
        return False


def _parts(values: list) -> list[list]:
    return [values[at : at + AT_ONCE] for at in range(0, len(values), AT_ONCE)]
