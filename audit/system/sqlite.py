"""SQLite files that may come from strangers: no links, nothing in them that computes, and an end to every question."""

import os
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


def refuse_odd(found: tuple[str, str] | None, file: object) -> None:
    """Raise LossprintError for the first row of ODD: type and name."""
    if found is not None:
        raise LossprintError(
            f"expected a review database of lossprint's own tables at {file}, found the {found[0]} {found[1]!r}, which "
            "could say or store something else"
        )
