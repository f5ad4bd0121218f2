"""What a coreset lacks of what was asked for. `ask` is a `coreset.Ask`; tables have a column label."""

import pandas as pd

from lossprint.audit.words import some

MOST = 20  # classes that a sentence names


def short(table: pd.DataFrame, ask, frame: pd.DataFrame) -> dict[str, list[int]]:
    """The classes of `table`, of all training samples, of which the subset `frame` has none or fewer than asked for.

    Each with how many it has and how many it was to have.
    """
    wanted = ask.per_class or max(ask.at_least, 1)
    held = frame["label"].astype(str).value_counts()
    names = sorted(set(table["label"].astype(str)))
    return {name: [int(held.get(name, 0)), wanted] for name in names if held.get(name, 0) < wanted}


def short_words(table: pd.DataFrame, ask, frame: pd.DataFrame) -> list[str]:
    """The same in words, a sentence each; and where the subset has fewer samples than asked for in all."""
    lacking = short(table, ask, frame)
    absent = [name for name, (count, _) in lacking.items() if not count]
    few = [f"{name} ({count:,} of {wanted:,})" for name, (count, wanted) in lacking.items() if count]
    said = [f"no sample of {len(absent):,} classes: {some(absent, MOST)}"] if absent else []
    said += [f"fewer than asked for of {len(few):,} classes: {some(few, MOST)}"] if few else []
    number = ask.number or (ask.fraction and int(ask.fraction * len(table) + 0.5))
    if number and len(frame) < number:
        said.append(f"{len(frame):,} samples, fewer than the {number:,} asked for: no others may be chosen")
    return said
