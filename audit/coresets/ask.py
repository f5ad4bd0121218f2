"""What subset is wanted: by which method, how large, and what must hold of it; also by the record of an earlier one."""

import json
from dataclasses import dataclass

from lossprint.audit.coresets.files import part
from lossprint.audit.types import LossprintError

BUDGETS = ("fraction", "number", "per_class")
LATER = "without_exposed"  # what records of before do not have stands in a record only where it is used
OPTIONS = ("equal", "at_least", "one_of_duplicates", LATER)


@dataclass(frozen=True)
class Ask:
    """What subset is wanted: a method, one budget of fraction, number and per_class, and what must hold of it.

    equal: the same number of each class instead of its share. at_least: of each class. one_of_duplicates: never both of
    a pair of exact or near duplicates. without_exposed: never one of this share of the training samples, those that a
    model gives away the most, see `memorized.exposure`.
    """

    method: str
    fraction: float | None = None
    number: int | None = None
    per_class: int | None = None
    equal: bool = False
    at_least: int = 1
    one_of_duplicates: bool = False
    seed: int = 0
    without_exposed: float = 0.0

    @property
    def budget(self) -> dict:
        given = {name: getattr(self, name) for name in BUDGETS}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def options(self) -> str:
        """Those of OPTIONS that are not the default, as JSON; empty for none."""
        given = {name: getattr(self, name) for name in OPTIONS}
        changed = {name: value for name, value in given.items() if value != getattr(type(self), name)}
        return json.dumps(changed) if changed else ""

    @property
    def flags(self) -> list[str]:
        """The same as words of the command line."""
        words = ["--equal"] * self.equal + ["--at-least", str(self.at_least)] * (self.at_least != 1)
        words += ["--one-of-duplicates"] * self.one_of_duplicates
        return words + ["--without-exposed", f"{self.without_exposed:g}"] * bool(self.without_exposed)


def ask_of(record: dict) -> Ask:
    """What was asked for by the record of a coreset. Raises LossprintError where it is none."""
    budget, params = part(record, "budget"), part(record, "params")
    told = {"method": part(record, "coreset").get("method"), "seed": record.get("seed"), **budget, **params}
    number = (int, float)
    kinds = {"method": str, "fraction": number, "equal": bool, "one_of_duplicates": bool, LATER: number}
    bad = [name for name, value in told.items() if not isinstance(value, kinds.get(name, int))]
    bad += [name for name in told if name not in Ask.__dataclass_fields__]
    if bad:
        raise LossprintError(f"expected the record of a coreset, found {told[bad[0]]!r} as its {bad[0]}")
    return Ask(**told)
