"""Decisions: how they are read and stored. Every decision is on the disk before the page goes on."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from threading import Lock

import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.access import roles
from lossprint.app.shared import identity, parts
from lossprint.audit.review.resolve import LABELLED, resolve
from lossprint.audit.review.reviews import Conflict
from lossprint.audit.types import LossprintError, Review

DONE = {
    "accept": "Relabeled as suggested",
    "relabel": "Relabeled",
    "reorder": "Put elsewhere",
    "keep": "Label kept",
    "exclude": "Excluded",
    "unsure": "Marked as unsure",
}
BADGE = {
    "accept": ("relabeled", "good"),
    "relabel": ("relabeled", "good"),
    "reorder": ("put elsewhere", "good"),
    "keep": ("kept", "good"),
    "exclude": ("excluded", "bad"),
    "unsure": ("unsure", "warn"),
}
LONGEST = 500  # characters of a comment
STORING = Lock()
OWN = "_stored_last"  # the last decision of this session on each finding, by (run, finding)
STACK = "_stored"  # what this session stored and may take back: run, reviewer, ids of the rows, page, of what
DECISIONS, MARKS = "decisions", "marks"  # of what: the rows of two tables
TAKEN = "_taken_back"  # what this session took back and may store again: run, a table of decisions or marks
ASKING = "_asking_first"  # what is asked before it is done: the words, and what a yes calls
PAGE = "_page"


def reviewer() -> str:
    """The name that decisions are stored under; before anybody has said one, a word that stands for it in what is
    read. Nothing is stored under that."""
    return named() or "reviewer"


def named() -> str:
    """The signed-in user's address, else the name typed in this session or kept by this browser, else empty."""
    return roles.visitor().email or (st.session_state.get("reviewer") or "").strip() or identity.remembered() or ""


# ---------------------------------------------------------------------------------------------- reading


def decided(loaded: data.Loaded) -> dict[int, dict]:
    """The standing decision on each decided sample."""
    rows = data.reviews(loaded).current().to_dict("records")
    return {int(row["sample"]): row for row in rows}


def labels(loaded: data.Loaded) -> list[str]:
    """What a label may be now: the run's classes, and those that decisions added."""
    return data.reviews(loaded).classes()


def reviewed_groups(loaded: data.Loaded) -> set[str]:
    """The findings that a standing decision names."""
    history = data.reviews(loaded).history()
    return set(history.loc[history["stands"], "finding"].astype(str))


def excluded_elsewhere(loaded: data.Loaded, finding: str, samples: Sequence[int]) -> dict[int, str]:
    """The samples that are out at present by a decision on another finding, and which finding that is."""
    history = data.reviews(loaded).history()
    now = resolve(history[history["sample"].isin(samples)]).set_index("sample")
    out = now.loc[(now["decision"] == "exclude") & (now["finding"] != finding), "finding"].to_dict()
    return {int(sample): str(out[sample]) for sample in samples if sample in out}


def badge(row: Mapping | None) -> dict:
    """The badge of a decided sample as fields of a Tile; none where it is undecided."""
    if row is None:
        return {}
    word, tone = BADGE[str(row["decision"])]
    return {"badge": word, "tone": tone}


def sentence(row: Mapping) -> str:
    """Markdown: what was decided, by whom and when."""
    what = DONE[str(row["decision"])]
    if str(row["decision"]) in LABELLED:
        what = f"Relabeled **{parts.md(row['new_label'])}**"
    if row.get("role") == "adjudication":
        what = f"Settled: {what[0].lower()}{what[1:]}"
    at = pd.Timestamp(row["at"]).strftime("%d %b %Y, %H\\:%M UTC")
    text = f":material/task_alt: {what} by {parts.md(row['reviewer'])}, {at}"
    comment = str(row["comment"])
    comment = comment if len(comment) <= 200 else comment[:199] + "…"
    return text + (f": “{parts.md(comment)}”" if comment else "")


# ---------------------------------------------------------------------------------------------- writing (callbacks)


def say(message: str, icon: str) -> None:
    st.session_state["_toast"] = (message, icon)


def tell() -> None:
    """Show what the last callback had to say or asks first. Called once a run, by main.py and by the drawer."""
    # Always there, empty or not: what comes and goes above a gallery would make the browser draw that anew.
    with st.container():
        error = st.session_state.pop("_error", None)
        if error:
            st.error(error, icon=":material/error:")
        toast = st.session_state.pop("_toast", None)
        if toast:
            st.toast(toast[0], icon=toast[1])
        identity.draw()
        asking = st.session_state.pop(ASKING, None)
        if asking:
            words, yes = asking
            with st.container(
                border=True, horizontal=True, vertical_alignment="center", gap="small", key="asked-first"
            ):
                st.markdown(f":orange[:material/undo:] **{parts.md(words)}**", width="content")
                st.button("Take them back", key="asked-yes", type="primary", on_click=yes)
                st.button("Leave them", key="asked-no")


def store(
    loaded: data.Loaded, rows: Sequence[dict], *, seen: Mapping[str, int], current=None, news=False
) -> list[Review]:
    """Append decisions in one go, the only way in which a page does: on the disk when this returns; one undo, one lock.

    rows: the keywords of `Reviews.add`, without the reviewer. `seen`: for each finding the highest id of its decisions
    that the page showed, see `last_seen`; what this session itself has stored since counts as seen. `current()` says
    whether the page still asks about this: a quick second key reaches the button of the question before, meant another
    image, and is dropped. `news`: without what the reviewer's standing decisions say already.
    Raises Nameless where nobody said who decides, Conflict where another session has decided since, LossprintError
    where nothing could be stored.
    """
    if not named():
        raise identity.Nameless("expected a name to store it under, found none: type it under Reviewer in the sidebar")
    who, stack = reviewer(), st.session_state.setdefault(STACK, [])
    taken = st.session_state.setdefault(TAKEN, [])
    own = st.session_state.setdefault(OWN, {})
    reviews, where = data.reviews(loaded), page()
    # Streamlit stops a script run at its next look at session_state and starts the next beside it: a quick second
    # key gets here before the first is done. What is stored is therefore noted without such a look.
    with STORING:
        if current is not None and not current():
            return []
        rows = _news(reviews.history(), rows, who) if news else rows
        last_ids = {name: max(last, own.get((loaded.run.path, name), 0)) for name, last in seen.items()}
        stored = reviews.add_all([{**row, "reviewer": who} for row in rows], seen=last_ids)
        if stored:
            stack.append((loaded.run.path, who, [row.id for row in stored], where, DECISIONS))
            taken.clear()
        for row in stored:
            own[loaded.run.path, row.finding] = max(row.id, own.get((loaded.run.path, row.finding), 0))
    return stored


def last_seen(history: pd.DataFrame, findings: Iterable[str]) -> dict[str, int]:
    """The highest id of the decisions on each finding, 0 without any: what a page knows that shows this history."""
    names = list(dict.fromkeys(findings))
    last = history[history["finding"].isin(names)].groupby("finding")["id"].max()
    return dict.fromkeys(names, 0) | {str(name): int(number) for name, number in last.items()}


def press(
    loaded: data.Loaded,
    decisions: Sequence[tuple],
    *,
    seen,
    comment_key=None,
    then=None,
    current=None,
    new_class: bool = False,
) -> None:
    """What a button or a gallery calls: store decisions, (finding, sample, decision, new label) each, and say so.

    `then()` is called when they are stored; `new_class`: their label may be a new class; the rest as in
    `store`. Where a colleague has decided on one of them since
    the page was drawn, nothing is stored, and the page is drawn anew with who decided what.
    """
    comment = (st.session_state.get(comment_key) or "").strip()[:LONGEST] if comment_key else ""
    names = ("finding", "sample", "decision", "new_label")
    rows = [dict(zip(names, decision)) | {"comment": comment, "new_class": new_class} for decision in decisions]
    gone = False

    def still() -> bool:
        nonlocal gone
        gone = current is not None and not current()
        return not gone

    try:
        stored = store(loaded, rows, seen=seen, current=still, news=True)
    except identity.Nameless:
        how = {"comment_key": comment_key, "then": then, "current": current, "new_class": new_class}
        identity.ask(lambda: press(loaded, decisions, seen=seen, **how))
        return
    except Conflict as conflict:
        st.session_state["_error"] = meanwhile(conflict)
        return
    except LossprintError as error:
        st.session_state["_error"] = f"The decision was not stored: {parts.md(error)}"
        return
    if gone:
        return
    if stored:
        say_stored(stored)
    if then is not None:
        then()


def answered(row: Review, verb: str = "answered") -> str:
    """Who decided on a finding since the page was drawn, and what, as plain text."""
    who = "You, in another window, have" if row.reviewer == reviewer() else f"{row.reviewer} has"
    return f"{who} {verb} this meanwhile: {one_in_words(row.decision, row.new_label)}."


def meanwhile(conflict: Conflict) -> str:
    """Markdown: that nothing was stored, as others have decided since the page was drawn, and who decided what."""
    rows = list({row.finding: row for row in reversed(conflict.rows)}.values())
    people = [
        f"{parts.md('you, in another window' if row.reviewer == reviewer() else row.reviewer)} on "
        f"{parts.md(f'{row.finding}: {one_in_words(row.decision, row.new_label)}')}"
        for row in rows[:3]
    ]
    more = f"; and {len(rows) - 3:,} more" if len(rows) > 3 else ""
    return (
        f"Nothing was stored: decided meanwhile by {'; '.join(people)}{more}. The page now shows it; decide again to "
        "add yours."
    )


def answer(
    loaded: data.Loaded,
    finding: str,
    decisions: Sequence[tuple],
    *,
    token: str,
    seen: int,
    seconds: object = None,
    blind: str = "",
    comment: str = "",
    role: str = "",
    new_class: bool = False,
) -> None:
    """Store the answer to one asked question, see `store`.

    decisions: (sample, decision, new label), and for a place in a video the new frame.
    `token` names the asking: the same answer sent twice is stored once. `seconds` may be whatever a browser sent.
    """
    shared = {"finding": finding, "comment": comment.strip()[:LONGEST], "blind": blind}
    shared |= {"seconds": seconds_or_none(seconds), "role": role, "new_class": new_class}
    rows = [
        {**shared, "sample": int(sample), "decision": decision, "new_label": label, "token": f"{token}:{at}"}
        | ({"new_frame": place[0]} if place else {})
        for at, (sample, decision, label, *place) in enumerate(decisions)
    ]
    store(loaded, rows, seen={finding: seen})


def seconds_or_none(seconds: object) -> float | None:
    """How long a question was looked at, from what a browser sent: at most an hour, None where that is no number."""
    with suppress(TypeError, ValueError):
        return min(3600.0, max(0.0, round(float(seconds), 2)))
    return None


def one_in_words(decision: str, label: object) -> str:
    """A single decision in lower case, with its label, as plain text."""
    return DONE[str(decision)].lower() + (f" ({label})" if isinstance(label, str) else "")


def in_words(decisions: Sequence[tuple[int, str, str | None]]) -> str:
    """What an answer stored, as plain text."""
    if len(decisions) > 1:
        return f"{len(decisions)} decisions stored"
    _, decision, label, *_ = decisions[0]
    return DONE[decision] + (f": {label}" if label else "")


def _news(history: pd.DataFrame, rows: Sequence[dict], who: str) -> list[dict]:
    """Without those that the reviewer's standing row on their finding and sample says already, in the same words."""
    names = {row["finding"] for row in rows}
    own = history[history["stands"] & history["finding"].isin(names) & (history["reviewer"] == who)]
    own = own.drop_duplicates(["finding", "sample"], keep="last")
    # A decision under another finding may have come after it: then the same words are news again.
    latest = history[history["stands"]].drop_duplicates("sample", keep="last")["id"]
    comments = {
        (row.finding, int(row.sample), row.decision, None if pd.isna(row.new_label) else row.new_label): row.comment
        for row in own[own["id"].isin(latest)].itertuples()
    }

    def new(row: dict) -> bool:
        words = (row["finding"], int(row["sample"]), row["decision"], row["new_label"])
        return words not in comments or row["comment"] not in ("", comments[words])

    return [row for row in rows if new(row)]


def say_stored(rows: Sequence[Review]) -> None:
    if len(rows) > 1:
        say(f"{len(rows)} decisions stored", ":material/check:")
    else:
        label = rows[0].new_label
        say(DONE[rows[0].decision] + (f": {parts.md(label)}" if label else ""), ":material/check:")


def forget_stored() -> None:
    """Start the undo anew: another reviewer takes back nothing of the one before."""
    st.session_state.pop(STACK, None)
    st.session_state.pop(TAKEN, None)


def page() -> str:
    """The title of the page that is open; main.py notes it."""
    return st.session_state.get(PAGE, "")
