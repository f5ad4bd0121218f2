"""What a team keeps beside its decisions: tags on samples, queues and views by name; append-only rows, as they are.

A row is a step: one tag put on any number of samples, or one queue or view stored, renamed or deleted. What holds at
present is what the standing rows say, one after the other; taking a step back appends a row.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
import pandas as pd
from sqlalchemy import func, insert, select
from sqlalchemy.engine import Connection

from lossprint.audit.review import ids as texts
from lossprint.audit.review.database import MARKS, Database, read_back
from lossprint.audit.review.reviews import run_key
from lossprint.audit.review.rows import refuse_content, refuse_odd
from lossprint.audit.runs.run import Run
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.types import LossprintError

KINDS = ("tag", "queue", "view")
LONGEST = 80  # characters of a name
SINCE = "0004"  # the version of the schema that has them


@dataclass(frozen=True)
class Mark:
    """A step. `content`: of tags and queues ids as `ids.write` has them, of a view JSON.

    `action`: add and remove of tags; set, rename and delete of queues and views, whose first row is the `subject`.
    """

    kind: str
    name: str
    action: str
    content: str
    reviewer: str
    at: str
    subject: int | None = None
    undoes: int | None = None
    id: int | None = None

    @property
    def samples(self) -> np.ndarray:
        return texts.read(self.content) if self.kind != "view" else np.empty(0, np.int64)


@dataclass(frozen=True)
class Kept:
    """A queue or a view that stands: `number` stays through renaming, `reviewer` and `at` are of the latest step."""

    number: int
    name: str
    content: str
    reviewer: str
    at: str

    @property
    def samples(self) -> np.ndarray:
        """The samples of a queue, in its order."""
        return texts.read(self.content)

    @property
    def asked(self) -> dict:
        """What a view shows."""
        return parsed(self.content)


@dataclass(frozen=True)
class State:
    """What holds: the samples of each tag, sorted, with who put it there last and when; queues and views by number."""

    tags: dict[str, np.ndarray]
    who: dict[str, tuple[str, str]]
    queues: dict[int, Kept]
    views: dict[int, Kept]

    def of(self, kind: str) -> dict[int, Kept]:
        return self.queues if kind == "queue" else self.views


NOTHING = State({}, {}, {}, {})


def open_marks(run: Run, url: str | None = None) -> "Marks":
    """The marks of a run, where its decisions are; see `reviews.open_reviews`."""
    return Marks(run, Database(url or run.reviews_url))


class Marks:
    """The marks of one run. May be shared by threads; a fault of the database is a LossprintError, in one line."""

    def __init__(self, run: Run, database: Database):
        self.run = run
        self.key = run_key(run)
        self.database = database
        self._known: tuple = ((None, 0), [], NOTHING)  # (last id, rows), standing and other rows, what holds

    def __enter__(self) -> "Marks":
        return self

    def __exit__(self, *_) -> None:
        self.database.close()

    # Reading --------------------------------------------------------------------------------------------------

    def history(self) -> list[Mark]:
        """Every row of this run, oldest first, those that take back among them."""
        return self._look()[1]

    def standing(self) -> list[Mark]:
        """The steps that stand, oldest first."""
        return _standing(self.history())

    def state(self) -> State:
        """What holds at present; not to be changed."""
        return self._look()[2]

    def tags(self) -> dict[str, np.ndarray]:
        """The samples of each tag, sorted; tags by name, those without a sample left out."""
        return self.state().tags

    def table(self) -> pd.DataFrame:
        """A row a sample and tag, as it stands: sample, tag, reviewer, at (of whoever put it there)."""
        rows = []
        tags = self.state().tags
        left = {name: set(ids.tolist()) for name, ids in tags.items()}
        for mark in reversed(self.standing()):  # the latest step that put it there says who
            if mark.kind != "tag" or mark.action != "add" or mark.name not in left:
                continue
            mine = [one for one in mark.samples.tolist() if one in left[mark.name]]
            left[mark.name] -= set(mine)
            rows += [(one, mark.name, mark.reviewer, mark.at) for one in mine]
        table = pd.DataFrame(rows, columns=["sample", "tag", "reviewer", "at"])
        return table.sort_values(["sample", "tag"], kind="stable", ignore_index=True)

    def _look(self) -> tuple:
        with self.database.reading() as reading:
            if reading is None or reading[1] < SINCE:
                return (None, 0), [], NOTHING
            connection, _ = reading
            mark = self._mark(connection)
            if self._known[0] != mark:
                rows = self._rows(connection)
                self._known = mark, rows, _state(_standing(rows))
            return self._known

    def _mark(self, connection: Connection) -> tuple:
        return tuple(
            connection.execute(select(func.max(MARKS.c.id), func.count()).where(MARKS.c.run == self.key)).one()
        )

    def _rows(self, connection: Connection) -> list[Mark]:
        mine = select(MARKS).where(MARKS.c.run == self.key).order_by(MARKS.c.id)
        names = tuple(Mark.__dataclass_fields__)
        found = [tuple(row[name] for name in names) for row in connection.execute(mine).mappings()]
        refuse_odd(names, found, self.run.path)
        marks = [Mark(**dict(zip(names, row))) for row in found]
        for mark in marks:
            refuse_content(mark.kind, mark.action, mark.content, self._number, self.run.path)
        return marks

    @cached_property
    def _number(self) -> int:
        return len(self.run.samples(columns=["sample"]))

    # Writing --------------------------------------------------------------------------------------------------

    def tag(self, name: str, samples: Iterable[int], reviewer: str, *, remove: bool = False) -> Mark | None:
        """Put a tag on samples, or take it off: one step, of those only that change; None where none does.

        Raises LossprintError for a name that cannot be, a sample that the run does not have, and an empty reviewer.
        """
        name, wanted = _name("tag", name), self._ids(samples)

        def made(state: State) -> list[dict]:
            have = state.tags.get(name, np.empty(0, np.int64))
            fresh = wanted[np.isin(wanted, have, invert=not remove)]
            action = "remove" if remove else "add"
            return (
                [{"kind": "tag", "name": name, "action": action, "content": texts.write(fresh)}] if len(fresh) else []
            )

        stored = self._append(reviewer, made)
        return stored[0] if stored else None

    def keep_queue(self, name: str, samples: Iterable[int], reviewer: str, *, replace: bool = False) -> Mark:
        """Store a queue: samples in the order in which Review asks about them. `replace`: in place of one so named."""
        order = [int(one) for one in samples]
        self._ids(order)
        return self._keep("queue", name, texts.write(list(dict.fromkeys(order))), reviewer, replace)

    def keep_view(self, name: str, asked: dict, reviewer: str, *, replace: bool = False) -> Mark:
        """Store a view: what its page is asked for, as JSON can hold it. `replace`: in place of one so named."""
        return self._keep("view", name, json.dumps(asked, ensure_ascii=True, sort_keys=True), reviewer, replace)

    def _keep(self, kind: str, name: str, content: str, reviewer: str, replace: bool) -> Mark:
        name = _name(kind, name)

        def made(state: State) -> list[dict]:
            same = _numbered(state, kind, name)
            if same is not None and not replace:
                raise LossprintError(f"expected a {kind} of a new name, found that there is one named {name!r}")
            return [{"kind": kind, "name": name, "action": "set", "content": content, "subject": same}]

        return self._append(reviewer, made)[0]

    def rename(self, kind: str, number: int, name: str, reviewer: str) -> Mark | None:
        """Another name for a queue or a view; None where it has that name."""
        name = _name(kind, name)

        def made(state: State) -> list[dict]:
            kept = _there(state, kind, number)
            if kept.name == name:
                return []
            if _numbered(state, kind, name) is not None:
                raise LossprintError(f"expected a {kind} of a new name, found that there is one named {name!r}")
            return [{"kind": kind, "name": name, "action": "rename", "content": "", "subject": number}]

        stored = self._append(reviewer, made)
        return stored[0] if stored else None

    def delete(self, kind: str, number: int, reviewer: str) -> Mark:
        """Let a queue or a view go; taking the step back brings it back."""

        def made(state: State) -> list[dict]:
            kept = _there(state, kind, number)
            return [{"kind": kind, "name": kept.name, "action": "delete", "content": "", "subject": number}]

        return self._append(reviewer, made)[0]

    def take_back(self, ids: Iterable[int], reviewer: str, *, anybodys: bool = False) -> list[Mark]:
        """Take back those of these steps that stand and are the reviewer's (or `anybodys`); returns those steps."""
        wanted, gone = {int(one) for one in ids}, []

        def made(_state: State) -> list[dict]:
            rows = self._known[1]
            mine = [
                one for one in _standing(rows) if one.id in wanted and (anybodys or one.reviewer == reviewer.strip())
            ]
            gone.extend(mine)
            return [
                {"kind": one.kind, "name": one.name, "action": "undo", "content": "", "undoes": one.id} for one in mine
            ]

        self._append(reviewer, made)
        return gone

    def again(self, steps: list[Mark], reviewer: str) -> list[Mark]:
        """Store steps that were taken back once more; a queue or view keeps its number, so that links to it hold."""
        rows = [
            {"kind": one.kind, "name": one.name, "action": one.action, "content": one.content}
            | {"subject": one.subject or (one.id if one.kind != "tag" else None)}
            for one in steps
        ]

        def made(state: State) -> list[dict]:
            for row in rows:
                same = None if row["kind"] == "tag" else _numbered(state, row["kind"], row["name"])
                if same not in (None, row["subject"]) and row["action"] != "delete":
                    raise LossprintError(f"expected a {row['kind']} of a new name, found one named {row['name']!r}")
            return rows

        return self._append(reviewer, made)

    def _append(self, reviewer: str, made) -> list[Mark]:
        """Store the rows that `made(state)` gives, all or none, alone in writing to this run."""
        reviewer = reviewer.strip()
        if not reviewer or not _plain(reviewer):
            raise LossprintError(f"expected the reviewer of a step, found {reviewer!r}")
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        with self.database.writing(self.key) as connection:
            rows = self._rows(connection)
            self._known = self._mark(connection), rows, _state(_standing(rows))
            new = [{"subject": None, "undoes": None} | row for row in made(self._known[2])]
            if not new:
                return []
            new = [{**row, "run": self.key, "reviewer": reviewer, "at": at} for row in new]
            keys = connection.scalars(insert(MARKS).returning(MARKS.c.id, sort_by_parameter_order=True), new)
            keys = read_back(connection, new, keys, MARKS)
        kept = [{name: value for name, value in row.items() if name != "run"} for row in new]
        return [Mark(**row, id=key) for row, key in zip(kept, keys, strict=True)]

    def _ids(self, samples: Iterable[int]) -> np.ndarray:
        wanted = np.unique(np.asarray(list(samples), np.int64))
        absent = wanted[~np.isin(wanted, self.run.samples()["sample"].to_numpy(np.int64))]
        if len(absent) or not len(wanted):
            raise LossprintError(
                f"expected samples of run {self.run.path}, found {absent[0] if len(absent) else 'none'}"
            )
        return wanted


def _standing(rows: list[Mark]) -> list[Mark]:
    gone = {row.undoes for row in rows if row.undoes is not None}
    return [row for row in rows if row.undoes is None and row.id not in gone]


def _state(rows: list[Mark]) -> State:
    """What the standing rows say, one after the other."""
    tags: dict[str, np.ndarray] = {}
    who: dict[str, tuple[str, str]] = {}
    kept: dict[str, dict[int, Kept]] = {"queue": {}, "view": {}}
    for row in rows:
        if row.kind == "tag":
            have = tags.get(row.name, np.empty(0, np.int64))
            tags[row.name] = (np.union1d if row.action == "add" else np.setdiff1d)(have, row.samples)
            who[row.name] = (row.reviewer, row.at)
            continue
        if row.kind not in kept:
            continue  # of a later version
        here, number = kept[row.kind], row.subject or row.id
        if row.action == "set":
            here[number] = Kept(number, row.name, row.content, row.reviewer, row.at)
        elif number in here and row.action == "rename":
            here[number] = replace(here[number], name=row.name, reviewer=row.reviewer, at=row.at)
        elif row.action == "delete":
            here.pop(number, None)
    tags = {name: tags[name] for name in sorted(tags, key=str.casefold) if len(tags[name])}
    return State(tags, {name: who[name] for name in tags}, kept["queue"], kept["view"])


def _numbered(state: State, kind: str, name: str) -> int | None:
    return next((number for number, one in state.of(kind).items() if one.name.casefold() == name.casefold()), None)


def _there(state: State, kind: str, number: int) -> Kept:
    if number not in state.of(kind):
        raise LossprintError(f"expected a {kind} that is there, found none of the number {number}: it was deleted")
    return state.of(kind)[number]


def _name(kind: str, name: str) -> str:
    name = name.strip()
    if not 0 < len(name) <= LONGEST or not _plain(name) or not name.isprintable():
        raise LossprintError(f"expected a name of 1 to {LONGEST} plain characters for a {kind}, found {name[:100]!r}")
    return name


def _plain(text: str) -> bool:
    """Whether both databases can keep a text: without NUL and lone surrogates."""
    try:
        return b"\0" not in text.encode("utf-8")
    except UnicodeEncodeError:
        return False
