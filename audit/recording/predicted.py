"""What a predicted class means that somebody recorded: the same in every form of a file of losses.

A text is the name of a class. A number is the name of a class too where all numbers of the file are: 10 is class 10,
whatever its place among the sorted names. Where none is, numbers are the places of classes among the sorted names, from
0; where the names are numbers themselves, only if sorting them as text and as numbers is the same. All else is refused.
-1 is a prediction that was not recorded, unless a class is named so.
"""

import re
from collections.abc import Sequence

from lossprint.audit.datasets.paths import Spelled
from lossprint.audit.types import LossprintError

WHOLE = re.compile(r"\s*([+-]?[0-9]{1,18})(?:\.0*)?\s*")


def number_of(name: str) -> int | None:
    """The whole number that a name is, such as 7 for 007 and 7.0; None for another name."""
    whole = WHOLE.fullmatch(name)
    return int(whole[1]) if whole and name.isascii() else None


def indices(values: Sequence[str | int], classes: list[str], where: str) -> list[int]:
    """The place in `classes` of each distinct predicted class (V,), -1 for none.

    Raises LossprintError where a value is no class, or may be several.
    """
    spelled, places = Spelled(classes), {name: at for at, name in enumerate(classes)}
    texts = [value if isinstance(value, str) else None for value in values]
    known = [None if text is None else places.get(spelled(text) or spelled(text.strip())) for text in texts]
    numbers = [None if at is not None else _number(value, where) for value, at in zip(values, known)]
    named: dict[int, list[int]] = {}
    for at, name in enumerate(classes):
        if (number := number_of(name)) is not None:
            named.setdefault(number, []).append(at)
    asked = {one for one in numbers if one is not None and (one != -1 or -1 in named)}
    as_names = any(at is not None and number_of(text) is not None for at, text in zip(known, texts))
    meant = _places(asked, named, as_names, classes, where)
    return [at if at is not None else meant.get(number, -1) for at, number in zip(known, numbers)]


def _number(value: str | int, where: str) -> int:
    number = number_of(value) if isinstance(value, str) else int(value)
    if number is None:
        raise _fault("labels of the dataset, or class numbers,", where, repr(value[:80]))
    return number


def _places(
    numbers: set[int], named: dict[int, list[int]], as_names: bool, classes: list[str], where: str
) -> dict[int, int]:
    """The place of the class that each number means.

    named: the places of the classes that a number names; as_names: whether other numbers, as texts, are names.
    """
    several = next((one for one in sorted(numbers) if len(named.get(one, [])) > 1), None)
    if several is not None:
        names = " and ".join(repr(classes[at]) for at in named[several])
        raise _fault("names of classes", where, f"the number {several}, which may be {names}")
    if numbers <= named.keys():
        return {number: named[number][0] for number in numbers}
    in_order = [at for number in sorted(named) for at in named[number]] == list(range(len(named)))
    if named and (as_names or numbers & named.keys() or not (in_order and len(named) == len(classes))):
        number = min(numbers - named.keys())
        example = classes[next(iter(named.values()))[0]]
        raise _fault(
            "names of classes", where, f"the number {number}, which is none, in a dataset with a class {example!r}"
        )
    wrong = next((one for one in sorted(numbers) if not 0 <= one < len(classes)), None)
    if wrong is not None:
        raise _fault(f"class numbers below {len(classes)}, places among the sorted names,", where, wrong)
    return {number: number for number in numbers}


def _fault(expected: str, where: str, found) -> LossprintError:
    return LossprintError(f"expected {expected} in {where}, found {found}")
