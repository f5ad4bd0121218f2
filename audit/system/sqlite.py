"""SQLite files that may come from strangers: no links, nothing in them that computes, and an end to every question."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from lossprint.audit.types import LossprintError

DEADLINE = 60.0  # seconds in which a connection has to be done computing
STEPS = 100_000  # of SQLite's machine between two looks at the clock
SUFFIXES = ("", "-wal", "-shm", "-journal")
# Of a run's database, which `verify` looks at as well.
INDICES = (
    *("reviews_by_run", "reviews_by_token", "reviews_by_finding"),
    *("assignments_by_run", "claims_by_session", "marks_by_run"),
)
# What computes by itself, or stands in for a table.
ODD = (
    "SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'view') OR (type = 'table' AND rootpage = 0) "
    "OR (type = 'index' AND sql IS NOT NULL AND name NOT IN "
    f"{INDICES})"
)

# Our own tables, and what a column or rule of theirs may be: a check, a default, an order or a generated column could
# compute, and `ON CONFLICT REPLACE` would remove decisions that were stored.
SCHEMA = (
    "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND "
    "name IN ('reviews', 'assignments', 'claims', 'marks', 'lossprint_version', 'schema_version')"
)
COUNTED = (
    "reviews",
    "assignments",
    "marks",
)  # whose rows are in the order of their ids, which therefore never come twice
PLAIN = re.compile(
    r"\w+ (INTEGER|BIGINT|FLOAT|TEXT|VARCHAR\(\d+\))( DEFAULT '')?( NOT NULL)?( PRIMARY KEY( AUTOINCREMENT)?)?"
    r"|undoes INTEGER UNIQUE REFERENCES reviews \(id\)"  # as the first release wrote it
    r"|UNIQUE \(undoes\)|FOREIGN KEY\((undoes|subject)\) REFERENCES (reviews|marks) \(id\)|PRIMARY KEY \(run, finding\)"
    r"|CONSTRAINT lossprint_version_pkc PRIMARY KEY \(version_num\)"
)


def refuse_links(file: Path) -> None:
    """Raise LossprintError where a database, or a file that SQLite keeps beside it, is a link: it may be anybody's."""
    for suffix in SUFFIXES:
        if os.path.islink(f"{file}{suffix}"):
            raise LossprintError(f"expected a database that is a file, found the link {file}{suffix}")


def guard(connection) -> None:
    """Let a connection (of the module sqlite3) trust nothing that a schema says, and end what takes too long."""
    connection.execute("PRAGMA trusted_schema=OFF")
    end = monotonic() + DEADLINE
    connection.set_progress_handler(lambda: monotonic() > end, STEPS)


def refuse_odd(rows: Callable[[str], list], file: object) -> None:
    """Raise LossprintError for a database that holds more than plain tables. `rows`: what a query gives."""
    for kind, name in rows(ODD)[:1]:
        _refuse(f"the {kind} {name!r}", file)
    for name, sql in rows(SCHEMA):
        clauses = re.split(r",(?![^(]*\))", re.sub(r"\s+", " ", sql).partition("(")[2].rpartition(")")[0])
        odd = next((one.strip() for one in clauses if not PLAIN.fullmatch(one.strip())), None)
        if odd is not None or not sql.endswith(")") or (name in COUNTED and "AUTOINCREMENT" not in sql):
            _refuse(f"the table {name!r} with {odd or 'other rules'!r:.80}", file)


def _refuse(what: str, file: object) -> None:
    raise LossprintError(
        f"expected a review database of lossprint's own tables at {file}, found {what}, which could say or store "
        "something else"
    )
