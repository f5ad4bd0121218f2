"""Numbers and lists in words, the same in the report, the pages and the lines of faults. Pure functions on strings."""

from collections.abc import Iterable

NBSP = "\N{NO-BREAK SPACE}"


def plural(number: int, one: str, many: str = "", space: str = " ") -> str:
    """`1 image`, `2,000 images`; `space` stands between number and noun."""
    return f"{number:,}{space}{one if number == 1 else many or one + 's'}"


def verb(number: int, one: str) -> str:
    """The verb, such as `is`, `was`, `has` or `counts`, in the form that goes with so many."""
    return one if number == 1 else {"is": "are", "was": "were", "has": "have"}.get(one, one.removesuffix("s"))


def hundredths(share: float) -> str:
    """A share in [0, 1] as a number of per cent, with a digit after the point where it is small."""
    value = 100 * share
    return f"{value:.0f}" if value >= 9.95 or value == 0 else f"{value:.1f}"


def percent(share: float) -> str:
    """`hundredths` with the sign, which no line break parts from it."""
    return f"{hundredths(share)}{NBSP}%"


def listed(names: list[str], most: int = 5) -> str:
    """`a, b and c`; of many, some and how many more."""
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1:,} others"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def some(things: Iterable, most: int = 5) -> str:
    """`4, 9`; of many, the first and how many more: `0, 1, 2, 3, 4 and 7 more`."""
    texts = list(map(str, things))
    more = f" and {len(texts) - most:,} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
