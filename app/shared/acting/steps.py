"""The last step taken back, or stored again: decisions, tags, queues and views alike, in the order they were made."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.shared import decide, parts
from lossprint.app.shared.decide import ASKING, DECISIONS, MARKS, STACK, TAKEN
from lossprint.audit.export import exchange
from lossprint.audit.review.marks import Mark
from lossprint.audit.types import LossprintError

AGAIN = ("decision", "new_label", "comment", "blind", "seconds", "role", "new_frame")
TICKED = "_ticked"  # what was ticked for the action bar: run, key of the gallery, samples


@dataclass(frozen=True)
class Step:
    """What one action stored and what of it still stands: ids of rows `of` decisions or marks, in `words`.

    `many`: more than one question or sample; `page` is where, None where this session does not know.
    """

    ids: list[int]
    many: bool
    page: str | None
    words: str
    of: str = DECISIONS

    @property
    def asks(self) -> bool:
        """Whether it is asked before it is taken back: many questions at once, or the work of another page."""
        return self.many or self.page not in (None, decide.page())


def in_words(mark: Mark) -> str:
    """A tag, queue or view that was stored, renamed or deleted, as plain text."""
    if mark.kind == "tag":
        number = parts.plural(len(mark.samples), "sample")
        return f"Tag {mark.name} on {number}" if mark.action == "add" else f"Tag {mark.name} off {number}"
    what = {"queue": "Queue", "view": "View"}.get(mark.kind, mark.kind)
    done = {"set": "saved", "rename": "renamed so", "delete": "deleted"}.get(mark.action, mark.action)
    return f"{what} {mark.name} {done}"


def note(loaded: data.Loaded, marks: list[Mark]) -> None:
    """Say what was just stored, and let it be taken back as the last step."""
    taken = st.session_state.setdefault(TAKEN, [])
    with decide.STORING:
        entry = (loaded.run.path, decide.reviewer(), [one.id for one in marks], decide.page(), MARKS)
        st.session_state.setdefault(STACK, []).append(entry)
        taken.clear()
    decide.say("; ".join(parts.md(in_words(one)) for one in marks), ":material/check:")


def undo(loaded: data.Loaded, then=None) -> None:
    """Take back the reviewer's last action (all its rows), or ask first; `then(row)` gets the first decision back."""
    step = _last(loaded)
    if step is None:
        decide.say(f"Nothing to take back for {parts.md(decide.reviewer())}", ":material/info:")
    elif step.asks:
        where = f" stored on {step.page}" if step.page not in (None, decide.page()) else ""
        words = f"Take back {step.words}{where}?"
        st.session_state[ASKING] = (words, lambda: take_back(loaded, step.ids, then, of=step.of))
    else:
        take_back(loaded, step.ids, then, of=step.of)


def take_back(loaded: data.Loaded, ids: list[int], then=None, *, of: str = DECISIONS) -> None:
    """Take these rows back, as far as they still stand; `redo` stores them again."""
    try:
        if of == MARKS:
            _take_marks_back(loaded, ids)
            return
        reviews = data.reviews(loaded)
        history = reviews.history()
        # An import stores decisions of several reviewers in one go; it is taken back in one go as well.
        rows = exchange.take_back(reviews, ids)
    except LossprintError as error:
        st.session_state["_error"] = f"Nothing was taken back: {parts.md(error)}"
        return
    if not rows:
        decide.say("Nothing was taken back: it does not stand any more", ":material/info:")
        return
    gone = history[history["id"].isin([row.undoes for row in rows])]
    if (gone["reviewer"] == decide.reviewer()).all():
        kept = gone[["finding", "sample", *AGAIN]].astype(object)
        st.session_state.setdefault(TAKEN, []).append((loaded.run.path, kept.where(kept.notna(), None)))
    what = f"sample {rows[0].sample}" if len(rows) == 1 else f"{len(rows)} decisions"
    decide.say(f"Taken back: {what}", ":material/undo:")
    if then is not None:
        then(rows[0])


def _take_marks_back(loaded: data.Loaded, ids: list[int]) -> None:
    gone = data.marks(loaded).take_back(ids, reviewer=decide.reviewer())
    if not gone:
        decide.say("Nothing was taken back: it does not stand any more", ":material/info:")
        return
    if all(one.reviewer == decide.reviewer() for one in gone):
        st.session_state.setdefault(TAKEN, []).append((loaded.run.path, gone))
    decide.say(f"Taken back: {'; '.join(parts.md(in_words(one)) for one in gone)}", ":material/undo:")


def redo(loaded: data.Loaded) -> None:
    """Store again what was taken back last, unless something else was stored since."""
    taken = [rows for run, rows in st.session_state.get(TAKEN, []) if run == loaded.run.path]
    if not taken:
        decide.say("Nothing to do again", ":material/info:")
        return
    rows = taken[-1]
    rest = st.session_state[TAKEN][:-1]
    try:
        if isinstance(rows, list):
            note(loaded, data.marks(loaded).again(rows, reviewer=decide.reviewer()))
        else:
            seen = decide.last_seen(data.reviews(loaded).history(), rows["finding"])
            again = [row | {"new_class": True} for row in rows.to_dict("records")]  # taking it back took its class away
            decide.say_stored(decide.store(loaded, again, seen=seen))
    except LossprintError as error:
        st.session_state["_error"] = f"It was not stored: {parts.md(error)}"
        return
    st.session_state[TAKEN] = rest  # storing has dropped them: what is done again is no new work


def _last(loaded: data.Loaded) -> Step | None:
    """What this session stored last and still stands; in a new session, what the reviewer stored last in one go."""
    history = data.reviews(loaded).history()
    marks = {one.id: one for one in data.marks(loaded).standing()}
    stands = history[history["stands"]].set_index("id")["finding"]
    who = decide.reviewer()

    def of_decisions(ids: list[int], page: str | None) -> Step:
        return Step(ids, stands[ids].nunique() > 1, page, parts.plural(len(ids), "decision"))

    def of_marks(ids: list[int], page: str | None) -> Step:
        rows = [marks[one] for one in ids]
        words = "; ".join(in_words(one)[:1].lower() + in_words(one)[1:] for one in rows)
        return Step(ids, sum(len(one.samples) for one in rows) > 1, page, words, MARKS)

    stack = st.session_state.setdefault(STACK, [])
    while stack:
        at, by, ids, page, of = stack[-1]
        left = [one for one in ids if one in (marks if of == MARKS else stands.index)]
        if (at, by) == (loaded.run.path, who) and left:
            return (of_marks if of == MARKS else of_decisions)(left, page)
        stack.pop()
    ids = last_action(history, who)
    own = [one for one in marks.values() if one.reviewer == who]
    last = history.loc[history["id"] == ids[-1], "at"].iloc[0] if ids else ""
    if own and own[-1].at > last:
        return of_marks([one.id for one in own if one.at == own[-1].at], None)
    return of_decisions(ids, None) if ids else None


def last_action(history: pd.DataFrame, who: str) -> list[int]:
    """The ids of the reviewer's latest standing row and of those stored together with it."""
    own = history[history["stands"] & (history["reviewer"] == who)]
    if own.empty:
        return []
    return [int(number) for number in own.loc[own["at"] == own["at"].iloc[-1], "id"]]


def bulk(loaded: data.Loaded, rows: pd.DataFrame, seen: Mapping[str, int], ticks: str = ""):
    """What a gallery calls for its selected tiles: stores one action on their findings.

    rows: findings by sample. seen: as in `store`, of what the tiles show. ticks: under which key the ticked samples are
    kept for the action bar, see `bar.ticked`.
    """

    def act(action: str, samples: list[int], label: str | None) -> None:
        if action in ("undo", "redo"):
            (undo if action == "undo" else redo)(loaded)
            return
        if action == "more":
            st.session_state[TICKED] = (loaded.run.path, ticks, samples)
            return
        selected = rows[rows["sample"].isin(samples)].drop_duplicates("sample")
        decisions, without, labels = [], 0, decide.labels(loaded)
        for row in selected.itertuples():
            new = {"accept": row.suggested_label, "relabel": label}.get(action)
            if action == "accept" and not isinstance(new, str):
                without += 1
            elif action == "relabel" and new == row.label:
                decisions.append((row.group, int(row.sample), "keep", None))
            elif action in decide.DONE and (new is None or new in labels):
                decisions.append((row.group, int(row.sample), action, new))
        if decisions:
            decide.press(loaded, decisions, seen=seen)
        if without:
            decide.say(f"{parts.plural(without, 'sample')} without a suggestion left as before", ":material/info:")

    return act
