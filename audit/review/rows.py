"""Rows of a database of decisions, as this program writes them: SQLite lets a column hold anything, and a run folder
may come from a stranger. What is another kind of value, or would unpack to more than there can be, is refused."""

from collections.abc import Sequence

from lossprint.audit.review import ids
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.types import DECISIONS, LossprintError, one_line

WHOLE, NUMBER, TEXT, NONE = {int}, {int, float}, {str}, {type(None)}
KINDS = {"id": WHOLE, "sample": WHOLE, "until": NUMBER, "seconds": NUMBER | NONE}  # others hold texts
KINDS |= dict.fromkeys(("undoes", "new_frame", "subject"), WHOLE | NONE)
KINDS |= dict.fromkeys(("new_label", "token"), TEXT | NONE)
LABELLED = ("accept", "relabel")
LONGEST = 1 << 20  # characters of a view


def refuse_odd(columns: Sequence[str], rows: Sequence[tuple], where: object) -> None:
    """Raise LossprintError for a value of a kind that its column has not, and for a decision that says nothing."""
    at = {name: place for place, name in enumerate(columns)}
    for name, place in at.items():
        if odd := {type(row[place]) for row in rows} - KINDS.get(name, TEXT):
            value = next(row[place] for row in rows if type(row[place]) in odd)
            _refuse(f"{repr(value)[:80]} as {name}", where)
    if "decision" not in at:
        return
    decision = at["decision"]
    if odd := {row[decision] for row in rows} - set(DECISIONS):
        _refuse(f"the decision {min(odd)[:80]!r}", where)
    if "new_label" in at and any(row[decision] in LABELLED and row[at["new_label"]] is None for row in rows):
        _refuse("a label changed to none", where)


def refuse_content(kind: str, action: str, content: str, samples: int, where: object) -> None:
    """Raise LossprintError for what a tag, a queue or a view cannot hold, in a run of so many samples."""
    try:
        if kind not in ("tag", "queue", "view"):
            raise ValueError(f"the kind {kind[:80]!r}")
        if kind == "view" and action == "set":
            if len(content) > LONGEST or not isinstance(parsed(content), dict):
                raise ValueError("a view that asks for nothing")
        elif kind != "view" and ids.count(content) > samples:
            raise ValueError(f"a {kind} of more samples than there are")
    except (ValueError, RecursionError, OverflowError) as error:
        _refuse(one_line(error, 120), where)


def _refuse(what: str, where: object) -> None:
    raise LossprintError(f"expected decisions as Lossprint writes them, found {what} in the database of {where}")
