"""Experts' decisions: append-only rows in SQL, in the run folder (SQLite) or in a team's PostgreSQL.

Rows are only ever inserted; taking a decision back appends a row as well. Plain portable SQL through SQLAlchemy Core.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cached_property, lru_cache
from pathlib import Path
from time import sleep

import numpy as np
import pandas as pd
from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateIndex, CreateTable

from lossprint.audit.store import Run
from lossprint.audit.types import DECISIONS, KINDS, LossprintError, Review

SCHEMA = 1
WAIT = 20.0  # seconds that a writer waits for another writer's lock, or for a server to answer
COLUMNS = tuple(field.name for field in fields(Review))
CHOICES = tuple(name for name in DECISIONS if name != "undo")
LABELLED = ("accept", "relabel")

META = MetaData()
REVIEWS = Table(
    "reviews",
    META,
    Column("id", Integer, primary_key=True),
    Column("run", Text, nullable=False),
    Column("finding", Text, nullable=False),
    Column("sample", BigInteger, nullable=False),
    Column("decision", String(16), nullable=False),
    Column("new_label", Text),
    Column("reviewer", Text, nullable=False),
    Column("at", String(40), nullable=False),
    Column("comment", Text, nullable=False),
    # Unique: whatever races, a decision is taken back at most once. NULLs do not collide in either database.
    Column("undoes", Integer, ForeignKey("reviews.id"), unique=True),
    Column("blind", String(16), nullable=False),
    Column("seconds", Float),
    Column("role", String(16), nullable=False),
    Column("token", String(64), unique=True),
    sqlite_autoincrement=True,
)
BY_RUN = Index("reviews_by_run", REVIEWS.c.run, REVIEWS.c.id)
VERSIONS = Table(
    "schema_version",
    META,
    Column("component", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
)


def open_reviews(run: Run) -> "Reviews":
    """The decisions made on a run. Nothing is created before the first write, so a read-only run can be read.

    Raises LossprintError for a database URL that is not understood and for a missing database driver.
    """
    return Reviews(run, _engine(run.reviews_url, WAIT))


def run_key(run: Run) -> str:
    """What tells runs apart in a shared database; it stays the same when the folder is moved or scored again."""
    manifest = run.manifest
    return "/".join(str(part) for part in (manifest["dataset"].get("fingerprint", ""), manifest.get("created", "")))


class Reviews:
    """The decisions on one run. May be shared by threads; a fault of the database is a LossprintError, in one line."""

    def __init__(self, run: Run, engine: Engine):
        self.run = run
        self.key = run_key(run)
        self._db = engine
        self._known: tuple | None = None

    def __enter__(self) -> "Reviews":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Give back pooled connections. Using this object, or another one of the same database, opens new ones."""
        self._db.dispose()

    def add(
        self,
        *,
        finding: str,
        sample: int,
        decision: str,
        reviewer: str,
        new_label: str | None = None,
        comment: str = "",
    ) -> Review:
        """Append a decision; it is on the disk when this returns.

        Raises LossprintError for a decision not in CHOICES, a sample or label that the run does not have, a label
        missing (accept, relabel) or given where none belongs, or an empty finding or reviewer.
        """
        one = {"finding": finding, "sample": sample, "decision": decision, "reviewer": reviewer}
        return self.add_all([{**one, "new_label": new_label, "comment": comment}])[0]

    def add_all(self, decisions: list[dict]) -> list[Review]:
        """Append decisions, each the keywords of `add`, in one transaction: all are on the disk, or none.

        They share `at`, which tells what was decided in one go. Raises LossprintError as `add` does.
        """
        at = _now()
        return self._append([self._checked(at, **one) for one in decisions])

    def undo(self, reviewer: str) -> Review | None:
        """Take back the reviewer's latest decision that still stands; repeat it to go further back.

        Returns the appended `undo` row (`undoes` says which decision), or None when nothing is left to take back.
        """
        reviewer = reviewer.strip()
        while True:
            history = self.history()
            standing = history[history["stands"] & (history["reviewer"] == reviewer)]
            if standing.empty:
                return None
            last = standing.iloc[-1]
            row = Review(last["finding"], int(last["sample"]), "undo", reviewer, _now(), undoes=int(last["id"]))
            try:
                return self._append([row])[0]
            except IntegrityError:
                continue  # another session of the same reviewer was faster: take back the one before it

    def undo_ids(self, reviewer: str, ids: list[int]) -> list[Review]:
        """Take back those of these decisions that still stand and are the reviewer's, in one transaction.

        Returns the appended `undo` rows, none where nothing is left to take back.
        """
        reviewer = reviewer.strip()
        while True:
            history = self.history()
            mine = history[history["stands"] & (history["reviewer"] == reviewer) & history["id"].isin(ids)]
            at = _now()
            rows = [
                Review(row.finding, int(row.sample), "undo", reviewer, at, undoes=int(row.id))
                for row in mine.itertuples()
            ]
            try:
                return self._append(rows)
            except IntegrityError:
                continue  # another session took one of them back meanwhile: look again at what stands

    def history(self) -> pd.DataFrame:
        """Every row of this run, oldest first: the columns of Review and `stands`, False for undos and undone ones."""
        mine = REVIEWS.c.run == self.key
        # Rows are only ever appended, so their number and the last id say whether there are new ones.
        mark = self._read(select(func.max(REVIEWS.c.id), func.count()).where(mine))
        if self._known is not None and self._known[0] == mark:
            return self._known[1].copy()
        columns = [REVIEWS.c[name] for name in COLUMNS]
        rows = self._read(select(*columns).where(mine).order_by(REVIEWS.c.id))
        text = dict.fromkeys(("finding", "decision", "reviewer", "at", "new_label", "comment", "blind", "role", "token"), "string")
        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        frame = frame.astype({**text, "sample": "int64", "id": "int64", "undoes": "Int64", "seconds": "float64"})
        undone = set(frame["undoes"].dropna())
        frame["stands"] = ((frame["decision"] != "undo") & ~frame["id"].isin(undone)).astype(bool)
        # A row written between the two reads is in `rows` already; the next mark then differs, and all is read again.
        self._known = mark, frame
        return frame.copy()

    def current(self) -> pd.DataFrame:
        """The latest decision that stands on each decided sample: the columns of Review, ordered by sample."""
        history = self.history()
        latest = history[history["stands"]].drop_duplicates("sample", keep="last")
        return latest.sort_values("sample", ignore_index=True)[list(COLUMNS)]

    def progress(self, findings: pd.DataFrame) -> pd.DataFrame:
        """How far the review of a findings table is: one row a kind that it has, columns kind, of, reviewed, *CHOICES.

        `of` counts findings (a duplicate group is one), `reviewed` those that a standing decision names, and the
        rest splits `reviewed` by the latest such decision.
        """
        history = self.history()
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
    ) -> Review:
        if decision not in CHOICES:
            raise LossprintError(f"expected a decision of {', '.join(CHOICES)}, found {decision!r}")
        if decision in LABELLED:
            self._check_label(decision, new_label)
        elif new_label is not None:
            raise LossprintError(f"expected no new label with {decision!r}, found {new_label!r}")
        if not self._has_sample(sample):
            raise LossprintError(f"expected a sample of run {self.run.path}, found {sample!r}")
        texts = {"finding": finding, "reviewer": reviewer.strip(), "comment": comment}
        for name, text in texts.items():
            if not text and name != "comment":
                raise LossprintError(f"expected the {name} of a decision, found an empty text")
            if "\0" in text or not _is_utf8(text):
                raise LossprintError(f"expected plain text as the {name} of a decision, found {text!r}")
        return Review(sample=int(sample), decision=decision, new_label=new_label, at=at, **texts)

    def _check_label(self, decision: str, label: str | None) -> None:
        if label is None:
            raise LossprintError(f"expected a new label with {decision!r}, found none")
        if label not in self.run.classes:
            near = get_close_matches(str(label), self.run.classes, n=3) or self.run.classes[:5]
            raise LossprintError(
                f"expected one of the run's {len(self.run.classes)} labels, found {label!r}; near it: {', '.join(near)}"
            )

    # The database ---------------------------------------------------------------------------------------------

    def _append(self, reviews: list[Review]) -> list[Review]:
        if not reviews:
            return []
        with self._told("written"), self._db.connect() as connection:
            self._prepare(connection)
            rows = [
                {"run": self.key} | {name: value for name, value in asdict(review).items() if name != "id"}
                for review in reviews
            ]
            keys = connection.scalars(insert(REVIEWS).returning(REVIEWS.c.id, sort_by_parameter_order=True), rows)
            made = [replace(review, id=int(key)) for review, key in zip(reviews, keys, strict=True)]
            connection.commit()
        return made

    def _read(self, statement) -> list[tuple]:
        with self._told("read"):
            file = _file(self._db)
            if file is not None and not file.exists():
                return []
            try:
                return self._rows(self._db, statement)
            except OperationalError:
                if file is None or (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
                    raise
            # SQLite reads a WAL database only where it may keep its index file beside it. In a folder that cannot
            # be written, a copy is read, together with the log of a session that did not end well.
            with tempfile.TemporaryDirectory(prefix="lossprint-") as folder:
                copy = Path(folder) / file.name
                for suffix in ("", "-wal"):
                    if Path(f"{file}{suffix}").exists():
                        shutil.copyfile(f"{file}{suffix}", f"{copy}{suffix}")
                return self._rows(_make_engine(f"sqlite:///{copy}", WAIT), statement)

    def _rows(self, engine: Engine, statement) -> list[tuple]:
        with engine.connect() as connection:
            if self._version(connection) is None:
                return []
            return [tuple(row) for row in connection.execute(statement)]

    def _version(self, connection: Connection) -> int | None:
        """The schema's version, None where there is none yet. Its row is written last, so it says that all is there."""
        if not inspect(connection).has_table(VERSIONS.name):
            return None
        wanted = VERSIONS.c.component == REVIEWS.name
        found = connection.execute(select(VERSIONS.c.version).where(wanted)).scalar()
        if found is not None and found > SCHEMA:
            raise LossprintError(
                f"expected reviews of schema {SCHEMA} or older, found schema {found} in {self._where}: "
                "upgrade lossprint to open them"
            )
        return found

    def _prepare(self, connection: Connection) -> None:
        """Create the tables where they are missing; several processes may do so at once."""
        for attempt in range(50):
            try:
                if self._version(connection) is not None:
                    connection.commit()
                    return
                if connection.dialect.name == "sqlite":
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # kept in the file from now on
                connection.execute(CreateTable(REVIEWS, if_not_exists=True))
                connection.execute(CreateIndex(BY_RUN, if_not_exists=True))
                connection.execute(CreateTable(VERSIONS, if_not_exists=True))
                connection.execute(insert(VERSIONS).values(component=REVIEWS.name, version=SCHEMA))
                connection.commit()
            except (IntegrityError, OperationalError) as error:
                # Another process is creating them at this moment; what stays after some tries is a real fault.
                connection.rollback()
                if attempt == 49 or not (isinstance(error, IntegrityError) or "locked" in str(error.orig)):
                    raise
                sleep(0.02)

    @property
    def _where(self) -> str:
        return str(_file(self._db) or self._db.url.render_as_string(hide_password=True))

    @contextmanager
    def _told(self, done: str) -> Iterator[None]:
        """Turn a fault of the database into one line; a lost race for an undo passes through."""
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            cause = getattr(error, "orig", None) or error
            if isinstance(error, IntegrityError) and "undoes" in str(cause):
                raise
            found = " ".join(str(cause).split())[:300]
            raise LossprintError(
                f"expected a review database that can be {done} at {self._where}, found: {found}"
            ) from None


@lru_cache(maxsize=16)
def _engine(url: str, wait: float) -> Engine:
    try:
        return _make_engine(url, wait)
    except (ArgumentError, NoSuchModuleError, ValueError):
        # The URL may hold a password: it is not repeated.
        raise LossprintError(
            "expected sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME as LOSSPRINT_DATABASE_URL, "
            "found something else there"
        ) from None
    except ImportError as error:
        raise LossprintError(
            f"expected the PostgreSQL driver for LOSSPRINT_DATABASE_URL, found no module {error.name}: "
            "pip install 'psycopg[binary]'"
        ) from None


def _make_engine(url: str, wait: float) -> Engine:
    prefix = "sqlite:///"
    if url.startswith(prefix):
        # All that follows is a path: parsing it as a URL would cut a folder's name at a question mark.
        file = url.removeprefix(prefix)
        if not file or ":memory:" in file:
            raise ArgumentError("decisions must outlive the process")
        # One connection a use, none kept: a forked process inherits none, and none writes on into a deleted file.
        engine = create_engine(
            URL.create("sqlite", database=str(Path(file).absolute())),
            poolclass=NullPool,
            connect_args={"timeout": wait},
        )
        event.listen(engine, "connect", _set_up_sqlite)
        return engine
    parsed = make_url(url)
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")  # SQLAlchemy 2.0 and 2.1 differ in what they would take
    if parsed.get_backend_name() != "postgresql":
        raise ArgumentError("neither SQLite nor PostgreSQL")
    return create_engine(parsed, pool_pre_ping=True, connect_args={"connect_timeout": max(2, int(wait))})


def _set_up_sqlite(connection, _record) -> None:
    # FULL: a commit returns when it is on the disk, so that even a power cut loses no decision.
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _file(engine: Engine) -> Path | None:
    return Path(engine.url.database) if engine.dialect.name == "sqlite" else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
