"""New classes: labels that reviewers gave and the dataset did not have. One is there while a decision gives it."""

from collections.abc import Sequence
from difflib import get_close_matches

import pandas as pd

from lossprint.audit.datasets.labels import plain
from lossprint.audit.review.resolve import LABELLED
from lossprint.audit.types import LossprintError

LONGEST = 100  # characters of a name


def new_classes(history: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """By name, the labels beyond `classes` that standing rows of `Reviews.history` give."""
    rows = history[history["stands"] & history["decision"].isin(LABELLED)]
    labels = rows["new_label"].dropna()
    return sorted(set(labels[~labels.isin(list(classes))].astype(str)))


def check_label(decision: str, label: str | None, classes: Sequence[str], new: bool = False) -> None:
    """Raise LossprintError for a label that is none of `classes`; with `new`, for one that may not become a class.

    A name that differs from a class only in case, blanks, width or signs that are not seen is a slip, no class.
    """
    if label is None:
        raise LossprintError(f"expected a new label with {decision!r}, found none")
    if label in classes:
        return
    if new:
        _check_name(label, classes)
        return
    near = get_close_matches(str(label), classes, n=3) or list(classes[:5])
    raise LossprintError(
        f"expected one of the run's {len(classes)} labels, found {label!r}; near it: {', '.join(near)}"
    )


def _check_name(name: str, classes: Sequence[str]) -> None:
    if not isinstance(name, str) or not plain(name) or not name.isprintable() or name != name.strip():
        raise LossprintError(f"expected the name of a new class, in signs that can be seen, found {name!r}")
    if len(name) > LONGEST:
        raise LossprintError(f"expected a new class of at most {LONGEST} characters, found {len(name):,}")
    like = next((known for known in classes if plain(known) == plain(name)), None)
    if like is not None:
        raise LossprintError(f"expected a new class that is like no other, found {name!r}, which is like {like!r}")
