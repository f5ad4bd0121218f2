"""What the action bar does with samples: stores, or says in one line why it did not. Draws nothing."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.access import roles
from lossprint.app.shared import decide, identity, parts
from lossprint.app.shared.acting import picked, steps
from lossprint.audit.export import export
from lossprint.audit.export.applied import applied
from lossprint.audit.review.marks import LONGEST
from lossprint.audit.types import LossprintError

MOST = 20_000  # decisions in one go, and questions of a queue
LIKE = 100  # samples that more are to be like
SENT = "_sent"  # the queue that was made last: run, name, samples


@dataclass(frozen=True, eq=False)
class Selection:
    """Samples (N,) in the order shown, wherever they were chosen; `words`, plain, follow their number: "that match".

    `key`: of the widgets, one for each place; `name` is what a queue or a file of them is called at first.
    """

    ids: np.ndarray
    words: str
    key: str
    name: str = "selection"


def decide_all(
    loaded: data.Loaded, ids: np.ndarray, word: str, label: str | None, history: pd.DataFrame, comment_key: str
) -> None:
    """One decision on each sample, under the finding that asks about it, in one step; who has the label keeps it."""
    rows = picked.names(loaded, ids)
    given = loaded.samples.loc[ids, "label"].astype(object)
    decisions = [
        (row.group, int(row.sample), "keep", None)
        if word == "relabel" and label == old
        else (row.group, int(row.sample), word, label if word == "relabel" else None)
        for row, old in zip(rows.itertuples(), given)
    ]
    seen, new = decide.last_seen(history, rows["group"]), word == "relabel"
    decide.press(loaded, decisions, seen=seen, comment_key=comment_key, new_class=new)


def of_tiles(loaded: data.Loaded, ids, key: str, history: pd.DataFrame) -> Callable:
    """What a gallery of any samples calls for its ticked tiles, see `steps.bulk`; `key` is the gallery's.

    history: read before what the tiles show of decisions, never after.
    """
    rows = picked.names(loaded, ids)
    rows = rows.assign(label=loaded.samples.loc[rows["sample"], "label"].astype(str).to_numpy())
    seen = decide.last_seen(history, rows["group"])
    return steps.bulk(loaded, rows, seen, key)


def tag(loaded: data.Loaded, ids: np.ndarray, name: str | None, remove: bool = False) -> None:
    """Put a tag on samples, or take it off; one step."""

    def act() -> None:
        stored = data.marks(loaded).tag(name or "", ids, reviewer=decide.reviewer(), remove=remove)
        if stored is None:
            decide.say(f"They {'have no' if remove else 'all have the'} tag {parts.md(name)}", ":material/info:")
        else:
            steps.note(loaded, [stored])

    attempt(act, "Nothing was tagged")


def send(loaded: data.Loaded, ids: np.ndarray, name: str | None) -> None:
    """Keep samples as a queue of Review, under a name that is new."""

    def act() -> None:
        stored = data.marks(loaded).keep_queue(name or "", ids, reviewer=decide.reviewer())
        st.session_state[SENT] = (loaded.run.path, stored.name, len(stored.samples))
        steps.note(loaded, [stored])

    attempt(act, "Nothing was sent")


def more_like(loaded: data.Loaded, ids: np.ndarray) -> None:
    """A queue of undecided samples that look like these and not like those that were kept."""
    from lossprint.audit.findings import more

    def act() -> None:
        kept = data.reviews(loaded).current()
        fine = kept.loc[(kept["decision"] == "keep") & ~kept["sample"].isin(ids), "sample"].tail(LIKE)
        embedded = loaded.run.embeddings()
        known = np.empty(0, np.int64) if embedded is None else embedded[0]
        alike = ids[np.isin(ids, known)][:LIKE] if len(known) else ids
        table = more.like(loaded.run, alike.tolist(), fine[fine.isin(known)].tolist())
        few = ", ".join(f"#{one}" for one in ids[:3].tolist())
        _send_ranked(loaded, table, f"Like {few}{' …' if len(ids) > 3 else ''}")

    attempt(act, "No more were looked for")


def more_of(loaded: data.Loaded, given: str, corrected: str) -> None:
    """A queue of undecided samples labelled `given`, those first that look most like `corrected`."""
    from lossprint.audit.findings import more

    def act() -> None:
        table = more.of_confusion(loaded.run, given, corrected, number=50)
        _send_ranked(loaded, table, f"{given} or {corrected}")

    attempt(act, "No more were looked for")


def _send_ranked(loaded: data.Loaded, table: pd.DataFrame, name: str) -> None:
    if table.empty:
        decide.say("None is left that was not decided on", ":material/info:")
        return
    send(loaded, table["sample"].to_numpy(), free_name(loaded, name))


def free_name(loaded: data.Loaded, name: str) -> str:
    """A name that no queue has yet, near the one wished for."""
    taken = {one.name.casefold() for one in data.marks(loaded).state().queues.values()}
    name = name[: LONGEST - 6]
    others = (name if number == 1 else f"{name} ({number})" for number in range(1, len(taken) + 2))
    return next(one for one in others if one.casefold() not in taken)


def confusions(loaded: data.Loaded, ids: np.ndarray) -> list[tuple[str, str]]:
    """(given, other label) of these samples, as decided or else as suggested, the most frequent first."""
    ids = ids[:MOST]
    given = loaded.samples.loc[ids, "label"].astype(object)
    other = pd.Series(None, index=given.index, dtype=object)
    if "suggested_label" in loaded.scores:
        other = loaded.scores["suggested_label"].reindex(ids).astype(object)
    current = data.reviews(loaded).current().set_index("sample")["new_label"].astype(object)
    decided = current.reindex(ids)
    other = decided.where(decided.notna(), other)
    both = [(one, two) for one, two in zip(given, other) if isinstance(two, str) and two != one]
    counts = pd.Series(both, dtype=object).value_counts()
    return [pair for pair in counts.index[:20] if pair[0] in loaded.classes and pair[1] in loaded.classes]


def coreset(loaded: data.Loaded, ids: np.ndarray) -> bytes:
    """A selection as `lossprint coreset apply` takes it: training samples that are not excluded, labels as decided."""
    table = applied(loaded.run, data.reviews(loaded)).table.set_index("sample", drop=False)
    table = table[(table["split"] == "train") & (table["change"] != "excluded")]
    table = table.loc[ids[np.isin(ids, table.index.to_numpy())], ["sample", "path", "label"]]
    table = table.assign(score=np.nan, rank=np.arange(1, len(table) + 1))
    return export.csv_text(table).encode("utf-8")


def tags_of(loaded: data.Loaded, ids: np.ndarray) -> list[str]:
    """The tags of each sample, by name, with `; ` between them."""
    texts = np.full(len(ids), "", object)
    for name, samples in data.marks(loaded).tags().items():
        inside = np.isin(ids, samples)
        texts[inside] = [f"{text}; {name}" if text else name for text in texts[inside]]
    return texts.tolist()


def attempt(act: Callable[[], None], failed: str) -> None:
    """Call what stores something, once there is a name to store it under; a known fault is one line after `failed`."""
    if not decide.named():
        identity.ask(lambda: attempt(act, failed))
        return
    try:
        roles.require("reviewer", "to work on samples")
        act()
    except LossprintError as error:
        st.session_state["_error"] = f"{failed}: {parts.md(error)}"
