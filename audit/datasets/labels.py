"""Labels as people write them: signs of a missing one, and spellings of the same one."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from lossprint.audit.words import some

EMPTY = ("", "nan", "<na>")  # what pandas writes for no value, in any case: no class is called so
MINUS = ("-1", "-1.0")
DOUBTFUL = (
    *("none", "null", "na", "n/a", "n.a.", "#n/a", "-1", "-1.0", "?", "-", "--", "nan", "<na>"),
    *("unlabeled", "unlabelled", "unknown", "missing", "todo", "tbd"),
)
WHOLE = re.compile(r"[0-9]+(\.0+)?")
NUMBER = re.compile(r"([+-]?)0*([0-9]+)(?:\.0+)?")  # a whole number, as a spreadsheet or pandas may write it
WIDTHS = ("<wide>", "<narrow>")
MANNERS = "case, blanks, Unicode form or how a number is written"
SEVERAL = re.compile(r"[,;|]")


def unlabelled(labels: Sequence[str], numbers: bool) -> list[bool]:
    """Which cells hold no label: empty ones, nan, and -1 where all others are whole numbers and `numbers` are classes.

    What may be the name of a class, such as NA, is one; `doubtful_note` says so.
    """
    cells = [cell.strip().lower() for cell in labels]
    others = {cell for cell in cells if cell not in EMPTY and cell not in MINUS}
    signs = {*EMPTY, *MINUS} if numbers and others and all(map(WHOLE.fullmatch, others)) else set(EMPTY)
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
    """One text for all spellings of a label that differ only in case, blanks, Unicode form (wide letters and signs that
    are not seen among it) or how a whole number is written: 1, 01, 1.0."""
    text = "".join(map(_seen, unicodedata.normalize("NFC", label)))
    text = " ".join(unicodedata.normalize("NFC", text.casefold()).split())
    return NUMBER.sub(r"\1\2", text) if NUMBER.fullmatch(text) else text


def _seen(sign: str) -> str:
    """A sign in its usual width; nothing for one that is not seen."""
    if unicodedata.category(sign) == "Cf":
        return ""
    return unicodedata.normalize("NFKC", sign) if unicodedata.decomposition(sign).startswith(WIDTHS) else sign


def variants(labels: pd.Series) -> list[dict[str, int]]:
    """Labels (N,) of which `plain` is the same: each group's spellings with their samples."""
    counts = labels.value_counts()
    groups: dict[str, dict[str, int]] = {}
    for name in sorted(counts.index):
        groups.setdefault(plain(name), {})[name] = int(counts[name])
    return [group for group in groups.values() if len(group) > 1]


def spelling(labels: pd.Series, normalise: bool) -> tuple[pd.Series, list[str]]:
    """The labels (N,), with `normalise` each in its most frequent spelling, without blanks around; and notes where
    spellings differ or blanks stand around them."""
    groups, names = variants(labels), sorted(set(labels))
    around = [name for name in names if name != name.strip()]
    notes = []
    if groups:
        listed = some((_spellings(group) for group in groups), 10)
        differ = f"differ only in {MANNERS}: {listed}"
        made = f"made one class each of labels that {differ}"
        notes.append(made if normalise else f"classes that {differ}; --normalise-labels makes one of each")
    elif around:
        how = "taken off" if normalise else "taken as part of the name; --normalise-labels takes them off"
        notes.append(f"labels with blanks around them: {some(map(repr, around))}: {how}")
    if not notes or not normalise:
        return labels, notes
    best = {name: name for name in names} | {name: max(group, key=group.get) for group in groups for name in group}
    return labels.map({name: shown.strip() for name, shown in best.items()}), notes


def several_note(labels: pd.Series) -> list[str]:
    """A note on labels (N,) that look like several in one cell: parts of them are labels, or in others too."""
    counts = labels.value_counts()
    parts = {
        name: {part.strip() for part in SEVERAL.split(name)} - {""} for name in counts.index if SEVERAL.search(name)
    }
    shared = Counter(part for some_parts in parts.values() for part in some_parts)
    names = sorted(name for name, own in parts.items() if any(one in counts.index or shared[one] > 1 for one in own))
    if not names:
        return []
    sizes = some(f"{name!r} ({counts[name]:,})" for name in names)
    return [f"labels that look like several in one cell: {sizes}: each such text is taken as one class of its own"]


def _spellings(group: dict[str, int]) -> str:
    composed = {unicodedata.normalize("NFC", name) for name in group}
    shown = {name: ascii(name) if len(composed) < len(group) else repr(name) for name in group}
    return " / ".join(f"{shown[name]} ({count:,})" for name, count in group.items())
