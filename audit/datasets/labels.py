"""Labels as people write them: signs of a missing one, and spellings of the same one."""

import re
import unicodedata
from collections.abc import Sequence

import pandas as pd

from lossprint.audit.words import some

EMPTY = ("", "nan", "<na>")  # what pandas writes for no value, in any case: no class is called so
DOUBTFUL = ("none", "null", "na", "n/a", "#n/a", "-1", "?", "nan", "<na>", "unlabeled", "unlabelled", "unknown")
WHOLE = re.compile(r"[0-9]+")


def unlabelled(labels: Sequence[str], numbers: bool) -> list[bool]:
    """Which cells hold no label: empty ones, nan, and -1 where all others are whole numbers and `numbers` are classes.

    What may be the name of a class, such as NA, is one; `doubtful_note` says so.
    """
    cells = [cell.strip().lower() for cell in labels]
    others = {cell for cell in cells if cell not in EMPTY and cell != "-1"}
    signs = {*EMPTY, "-1"} if numbers and others and all(map(WHOLE.fullmatch, others)) else set(EMPTY)
    return [cell in signs for cell in cells]


def doubtful_note(labels: pd.Series) -> list[str]:
    """A note on classes (N,) that look as if they were missing values."""
    counts = labels.value_counts()
    names = sorted(name for name in counts.index if name.strip().lower() in DOUBTFUL)
    if not names:
        return []
    sizes = some(f"{name!r} ({counts[name]:,})" for name in names)
    return [f"classes that look like a missing label: {sizes}: taken as classes; an empty cell is left out"]


def plain(label: str) -> str:
    """One text for all spellings of a label that differ only in case, blanks or Unicode form."""
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", label).casefold()).split())


def variants(labels: pd.Series) -> list[dict[str, int]]:
    """Labels (N,) that differ only in case, blanks or Unicode form: each group's spellings with their samples."""
    counts = labels.value_counts()
    groups: dict[str, dict[str, int]] = {}
    for name in sorted(counts.index):
        groups.setdefault(plain(name), {})[name] = int(counts[name])
    return [group for group in groups.values() if len(group) > 1]


def spelling(labels: pd.Series, normalise: bool) -> tuple[pd.Series, list[str]]:
    """The labels (N,), with `normalise` each in its most frequent spelling, and a note where spellings differ."""
    groups = variants(labels)
    if not groups:
        return labels, []
    listed = some((_spellings(group) for group in groups), 10)
    differ = "differ only in case, blanks or Unicode form"
    if not normalise:
        return labels, [f"classes that {differ}: {listed}; --normalise-labels makes one of each"]
    best = {name: max(group, key=group.get) for group in groups for name in group}
    return labels.replace(best), [f"made one class each of labels that {differ}: {listed}"]


def _spellings(group: dict[str, int]) -> str:
    shown = {name: ascii(name) if not unicodedata.is_normalized("NFC", name) else repr(name) for name in group}
    return " / ".join(f"{shown[name]} ({count:,})" for name, count in group.items())
