"""The database of the decisions: SQLite or PostgreSQL by URL, its schema's versions, and its faults in one line."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock
from time import sleep
from zlib import crc32

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    inspect,
    select,
    text,
)
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from lossprint.audit.system import sqlite
from lossprint.audit.types import LossprintError, one_line

WAIT = 20.0  # seconds that a writer waits for another writer's lock
CONNECT = 5  # seconds in which a server has to answer
UPGRADING = Lock()  # Alembic keeps what it works on in module globals: one upgrade a process at a time
VERSION_TABLE = "lossprint_version"  # of our own: a team's database may hold other programs' Alembic versions
HEAD = "0004"  # the newest file of migrations/versions
FIRST = "schema_version"  # the table in which the first release kept its version, always 1

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
    Column("undoes", Integer, ForeignKey("reviews.id"), unique=True),
    Column("blind", String(16), nullable=False),
    Column("seconds", Float),
    Column("role", String(16), nullable=False),
    Column("token", String(80)),
    Column("new_frame", BigInteger),
)
ADDED = {"0002": ("blind", "seconds", "role", "token"), "0003": ("new_frame",)}  # columns of `reviews` by version
ASSIGNMENTS = Table(
    "assignments",
    META,
    Column("id", Integer, primary_key=True),
    Column("run", Text, nullable=False),
    Column("batch", Integer, nullable=False),
    Column("finding", Text, nullable=False),
    Column("reviewer", Text, nullable=False),
    Column("at", String(40), nullable=False),
)
MARKS = Table(
    "marks",
    META,
    Column("id", Integer, primary_key=True),
    Column("run", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("name", Text, nullable=False),
    Column("action", String(16), nullable=False),
    Column("content", Text, nullable=False),
    Column("subject", Integer, ForeignKey("marks.id")),
    Column("reviewer", Text, nullable=False),
    Column("at", String(40), nullable=False),
    Column("undoes", Integer, ForeignKey("marks.id"), unique=True),
)
CLAIMS = Table(
    "claims",
    META,
    Column("run", Text, primary_key=True),
    Column("finding", Text, primary_key=True),
    Column("reviewer", Text, nullable=False),
    Column("session", String(64), nullable=False),
    Column("until", Float, nullable=False),
)


class Database:
    """A database of decisions. Nothing is created before the first write, so a read-only folder can be read."""

    def __init__(self, url: str):
        self.engine = _engine(url)

    @property
    def file(self) -> Path | None:
        """The file of an SQLite database."""
        return Path(self.engine.url.database) if self.engine.dialect.name == "sqlite" else None

    @property
    def where(self) -> str:
        """The database in words, without its password."""
        if self.file is not None:
            return str(self.file)
        return self.engine.url.set(query={}).render_as_string(hide_password=True)  # a query may hold one as well

    def close(self) -> None:
        """Give back pooled connections; the next use opens new ones."""
        self.engine.dispose()

    @contextmanager
    def writing(self, run: str) -> Iterator[Connection]:
        """A transaction that is alone in writing decisions of this run, on the newest schema; whole or not at all."""
        self._refuse_links()
        with self.told("written"), self.engine.connect() as connection:
            self._upgrade(connection)
            with _alone(connection, f"run {run}"):
                yield connection

    @contextmanager
    def reading(self) -> Iterator[tuple[Connection, str] | None]:
        """A connection and the version of the schema that it reads; None where there is no schema yet."""
        self._refuse_links()
        with self.told("read"):
            if self.file is not None and not self.file.exists():
                yield None
                return
            with ExitStack() as stack:
                try:
                    connection = stack.enter_context(self.engine.connect())
                    version = self._version(connection)
                except OperationalError as error:
                    connection = stack.enter_context(self._elsewhere(error, stack).connect())
                    version = self._version(connection)
                yield None if version is None else (connection, version)

    @contextmanager
    def told(self, done: str) -> Iterator[None]:
        """Turn a fault of the database into one line."""
        try:
            yield
        except (SQLAlchemyError, OSError, UnicodeError) as error:
            cause = getattr(error, "orig", None) or error
            found = one_line(cause)
            raise LossprintError(
                f"expected a review database that can be {done} at {self.where}, found: {found}"
            ) from None

    def _refuse_links(self) -> None:
        """A run's database is a file of its own; whoever names one by LOSSPRINT_DATABASE_URL may name a link."""
        if self.file is not None and not os.environ.get("LOSSPRINT_DATABASE_URL"):
            sqlite.refuse_links(self.file)

    def _elsewhere(self, error: OperationalError, stack: ExitStack) -> Engine:
        """Where SQLite may not, or has no room to, keep its index file beside a WAL database, a copy of it is read.

        On a full disk, where a copy may find no room either, it is read as it is if it has no log: nobody writes there.
        """
        full = any(words in str(error.orig) for words in ("disk I/O error", "disk is full"))
        if self.file is None or not (full or self._locked_away()):
            raise error
        log = Path(f"{self.file}-wal")
        if full and not (log.exists() and log.stat().st_size):
            return _as_it_is(self.file)
        return _copied(self.file, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lossprint-"))))

    def _locked_away(self) -> bool:
        return not (os.access(self.file, os.W_OK) and os.access(self.file.parent, os.W_OK))

    # The schema -----------------------------------------------------------------------------------------------

    def _version(self, connection: Connection) -> str | None:
        """The schema's version, None where there is none yet; a newer one than ours is refused."""
        if self.file is not None:
            sqlite.refuse_odd(lambda query: connection.exec_driver_sql(query).fetchall(), self.file)
        tables = inspect(connection)
        if tables.has_table(VERSION_TABLE):
            found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
            if found is not None and found not in _known():
                self._refuse(found)
            if found is not None:
                return found
        if not tables.has_table(FIRST) or "component" not in {one["name"] for one in tables.get_columns(FIRST)}:
            return None  # other programs (Flyway) call a table of theirs so, too
        found = connection.execute(
            text(f"SELECT version FROM {FIRST} WHERE component = :name"), {"name": REVIEWS.name}
        ).scalar()
        if found is not None and found != 1:
            self._refuse(str(found))
        return None if found is None else "0001"

    def _refuse(self, found: str) -> None:
        raise LossprintError(
            f"expected reviews of schema {HEAD} or older, found schema {found} in {self.where}: "
            "upgrade lossprint to open them"
        )

    def _upgrade(self, connection: Connection) -> None:
        """Bring the schema to the newest version; several processes may try at once, and one does it."""
        if self._version(connection) == HEAD:
            connection.rollback()
            return
        connection.rollback()
        if connection.dialect.name == "sqlite":
            _use_wal(connection)
        with UPGRADING, _alone(connection, "schema"):
            found = self._version(connection)
            if found == HEAD:
                return
            from alembic import command
            from alembic.config import Config

            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
            config.attributes["connection"] = connection
            if found is not None and not inspect(connection).has_table(VERSION_TABLE):
                command.stamp(config, found)  # the first release's own table said so
            command.upgrade(config, HEAD)


def read_back(connection: Connection, rows: list[dict], keys, table: Table = REVIEWS) -> list[int]:
    """The ids of rows that were just inserted, once the database says of each what was written: else nothing is stored.

    Raises LossprintError where it says anything else, as where something in it changes what is stored.
    """
    keys = [int(key) for key in keys]
    names = list(rows[0])
    for at in range(0, len(keys), 500):
        some = dict(zip(keys[at : at + 500], rows[at : at + 500]))
        stored = connection.execute(select(table).where(table.c.id.in_(some))).mappings()
        told = {row["id"]: [row[name] for name in names] for row in stored}
        if told != {key: [row[name] for name in names] for key, row in some.items()}:
            raise LossprintError("expected decisions to be stored as they were made, found others in the database")
    return keys


def _known() -> tuple[str, ...]:
    return tuple(f"{number:04d}" for number in range(1, int(HEAD) + 1))


def _use_wal(connection: Connection) -> None:
    """Readers then do not wait for writers; kept in the file from now on."""
    for attempt in range(50):
        try:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            connection.rollback()
            return
        except OperationalError as error:
            # SQLite does not wait here while another process is creating the file; what stays is a real fault.
            connection.rollback()
            if attempt == 49 or "locked" not in str(error.orig):
                raise
            sleep(0.02)


@contextmanager
def _alone(connection: Connection, what: str) -> Iterator[None]:
    """A transaction that no other one with the same `what` runs beside; committed at its end, else rolled back."""
    try:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text(f"SET LOCAL lock_timeout = {int(WAIT * 1000)}"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": crc32(f"lossprint {what}".encode())})
        yield
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


def _copied(file: Path, folder: Path) -> Engine:
    """A copy of an SQLite database, together with the log of a session that did not end well."""
    copy = folder / file.name
    for suffix in ("", "-wal"):
        if Path(f"{file}{suffix}").exists():
            shutil.copyfile(f"{file}{suffix}", f"{copy}{suffix}")
    return _make_engine(f"sqlite:///{copy}")


def _as_it_is(file: Path) -> Engine:
    """An SQLite database that is read without a file beside it: right as long as nobody writes."""
    address = f"{file.absolute().as_uri()}?immutable=1"
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(address, uri=True), poolclass=NullPool)
    event.listen(engine, "connect", _set_up_sqlite)
    return engine


@lru_cache(maxsize=16)
def _engine(url: str) -> Engine:
    try:
        return _make_engine(url)
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


def _make_engine(url: str) -> Engine:
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
            connect_args={"timeout": WAIT},
        )
        event.listen(engine, "connect", _set_up_sqlite)
        return engine
    parsed = make_url(url)
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")  # SQLAlchemy 2.0 and 2.1 differ in what they would take
    if parsed.get_backend_name() != "postgresql":
        raise ArgumentError("neither SQLite nor PostgreSQL")
    if "@" in (parsed.host or ""):
        raise ArgumentError("an @ in the password, to be written %40: what follows it would be told as the host")
    # A line that went dead is noticed after a while, too; what the URL itself says comes first.
    waits = {"connect_timeout": CONNECT, "tcp_user_timeout": 2000 * CONNECT}
    return create_engine(
        parsed,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",  # who waited for the lock sees what was written meanwhile
        connect_args={name: value for name, value in waits.items() if name not in parsed.query},
    )


def _set_up_sqlite(connection, _record) -> None:
    # The driver begins transactions by itself, but not before DDL: we begin them, and roll a schema back as a whole.
    connection.isolation_level = None
    sqlite.guard(connection)
    # FULL: a commit returns when it is on the disk, so that even a power cut loses no decision.
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
