"""What of a dataset is fit to be learnt: which rows and classes are left out and said, and what is refused."""

import numpy as np
import pandas as pd

from lossprint.audit.datasets.labels import unlabelled
from lossprint.audit.datasets.source import Source
from lossprint.audit.types import LossprintError
from lossprint.audit.words import some

MOST_CLASSES = 100_000  # more are names of samples, not of classes; a network's last layer would not fit into memory


def labelled(origin: Source, task: str) -> tuple[pd.DataFrame, list[str]]:
    """The rows that have a label, and a note on the others."""
    if not origin.written:
        return origin.rows, []
    bare = np.array(unlabelled(origin.rows["label"].tolist(), numbers=task == "classes"), bool)
    if bare.all():
        raise LossprintError(f"expected rows with a label in {origin.name}, found none among {len(bare):,}")
    if not bare.any():
        return origin.rows, []
    without = origin.rows[bare]
    signs = some(sorted({repr(label) if label.strip() else "an empty cell" for label in without["label"]}))
    return origin.rows[~bare].reset_index(drop=True), [
        f"left out, because without a label ({signs}): {len(without):,} of {len(bare):,} rows, such as "
        f"{without['path'].iloc[0]}"
    ]


def unreadable_note(rows: pd.DataFrame, reasons: pd.Series, total: int) -> str:
    """How many images could not be read, for which reasons and of which classes."""
    why = some((f"{count:,} {reason}" for reason, count in reasons.value_counts().items()), 3)
    whose = some((f"{name!r} ({count:,})" for name, count in rows["label"].value_counts().items()), 3)
    ways = {"truncated": "--allow-truncated", "decompression bomb": "--max-pixels N"}
    options = [option for word, option in ways.items() if reasons.str.contains(word).any()]
    admit = f" ({' and '.join(options)} would admit such)" if options else ""
    return f"{len(rows):,} of {total:,} images could not be read: {why}{admit}; of {whose}"


def first_fault(origin: Source, unreadable: pd.DataFrame) -> str:
    """An example of what cannot be read, in brackets, and where the files of a manifest were looked for."""
    if unreadable.empty:
        return ""
    first = f" ({unreadable['path'][0]!r}: {unreadable['reason'][0]})"
    if origin.kind == "manifest" and (unreadable["reason"] == "no such file").all():
        first += f": its paths are looked for in {origin.root}; --root DIR names another folder"
    return first


def in_part_notes(paths: list[str], cut: list[int], several: list[int]) -> list[str]:
    """What is read only in part: rows of truncated images, and of files with several, of which the first counts."""
    ways = (
        (cut, "images are truncated and read as far as they go, such as {}"),
        (several, "files hold several images (animations or pages), such as {}: only the first of each is looked at"),
    )
    return [f"{len(rows):,} {words.format(paths[min(rows)])}" for rows, words in ways if rows]


def lost_note(origin: Source, rows: pd.DataFrame, faults: dict[int, str], allowed: bool) -> list[str]:
    """A note on the classes of which no image can be read. Raises LossprintError where that is not allowed."""
    bad = rows["sample"].isin(list(faults))
    unread = set(rows.loc[bad, "label"]) - set(rows.loc[~bad, "label"])
    lost = dict(origin.lost) | dict.fromkeys(sorted(unread), "")
    if not lost:
        return []
    for name in [name for name in list(lost)[:5] if name in unread]:  # the others are only counted: there may be many
        reasons = rows.loc[bad & (rows["label"] == name), "sample"].map(faults)
        lost[name] = f"{len(reasons):,} images ({some(sorted(set(reasons)), 2)})"
    listed = "; ".join(f"{name!r}: {why}" for name, why in list(lost.items())[:5])
    more = f"; and {len(lost) - 5:,} more" if len(lost) > 5 else ""
    what = "a class" if len(lost) == 1 else f"{len(lost):,} classes"
    if not allowed:
        raise LossprintError(
            f"expected images that can be read of every class in {origin.name}, found none of {what}, "
            f"{listed}{more}; --allow-lost-classes goes on without"
        )
    return [f"lost {what} of which no image can be read: {listed}{more}"]


def large_enough(samples: pd.DataFrame, least: int) -> tuple[pd.DataFrame, list[str]]:
    """The samples without the classes that have too few in train and val, and a note on these.

    Where fewer than two classes would remain all are kept, to be refused.
    """
    counts = _known_counts(samples)
    few = counts[counts < max(least, 1)]
    if few.empty or len(counts) - len(few) < 2:
        return samples, []
    gone = samples["label"].isin(few.index)
    listed = some((f"{name!r} ({f'{count:,}' if count else 'only in test'})" for name, count in few.items()), 10)
    return samples[~gone].reset_index(drop=True), [
        f"left out, because of classes with fewer than {max(least, 1)} images in train and val (--min-per-class): "
        f"{int(gone.sum()):,} images, of {listed}"
    ]


def _known_counts(samples: pd.DataFrame) -> pd.Series:
    """How many samples of each class train and val have."""
    known = samples.loc[samples["split"] != "test", "label"]
    return known.value_counts().reindex(sorted(set(samples["label"])), fill_value=0)


def refuse_unfit(samples: pd.DataFrame, name: str, task: str, least: int) -> None:
    """Raise LossprintError where nothing can be learnt from the samples."""
    counts = _known_counts(samples)
    if not (samples["split"] == "train").any():
        raise LossprintError(f"expected training samples in {name}, found none that can be read")
    if task != "classes":
        if counts.sum() < 2:
            raise LossprintError(f"expected at least two readable samples in train and val of {name}, found one")
        return
    if len(counts) < 2:
        raise LossprintError(f"expected at least two classes in {name}, found only {counts.index[0]!r}")
    if len(counts) > MOST_CLASSES:
        raise LossprintError(
            f"expected at most {MOST_CLASSES:,} classes in {name}, found {len(counts):,}, such as {counts.index[0]!r}"
        )
    few = [label for label, count in counts.items() if count < max(least, 1)]
    if few:
        number = "two" if least == 2 else f"{max(least, 1):,}"
        raise LossprintError(
            f"expected at least two classes with {number} or more readable samples in train and val of {name}, "
            f"found fewer of {named(few)}"
        )


def named(labels: list[str]) -> str:
    """Classes in words: `class 'cat'`."""
    return ("class " if len(labels) == 1 else "classes ") + some(map(repr, labels))
