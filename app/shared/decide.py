"""Decisions: their buttons, how they are stored, and undo. Every decision is on the disk before the page goes on."""

import getpass
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Lock

import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.access import roles
from lossprint.app.shared import parts
from lossprint.audit.export import exchange
from lossprint.audit.review.resolve import LABELLED, resolve
from lossprint.audit.types import LossprintError, Review

SAID = {
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
STACK = "_stored"  # what this session stored and may take back: run, reviewer, ids of the rows


def default_reviewer(loaded: data.Loaded | None = None) -> str:
    """The only reviewer of this run so far: it is most likely the same person; else the system's user."""
    history = data.reviews(loaded).history() if loaded is not None else ()
    if len(history) and history["reviewer"].nunique() == 1:
        return str(history["reviewer"].iloc[-1])
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "reviewer"


def reviewer() -> str:
    """The name that decisions are stored under: the signed-in user's address, else what the sidebar says."""
    return roles.visitor().email or (st.session_state.get("reviewer") or "").strip() or default_reviewer()


# ---------------------------------------------------------------------------------------------- reading


def decided(loaded: data.Loaded) -> dict[int, dict]:
    """The standing decision on each decided sample."""
    rows = data.reviews(loaded).current().to_dict("records")
    return {int(row["sample"]): row for row in rows}


def bulk(loaded: data.Loaded, rows: pd.DataFrame):
    """What a gallery calls for its selected tiles: stores one action on their findings. `rows`: findings by sample."""

    def act(action: str, samples: list[int], label: str | None) -> None:
        if action == "undo":
            undo(loaded)
            return
        mine = rows[rows["sample"].isin(samples)].drop_duplicates("sample")
        decisions, without = [], 0
        for row in mine.itertuples():
            new = {"accept": row.suggested_label, "relabel": label}.get(action)
            if action == "accept" and not isinstance(new, str):
                without += 1
            elif action == "relabel" and new == row.label:
                decisions.append((row.group, int(row.sample), "keep", None))
            elif action in SAID and (new is None or new in loaded.classes):
                decisions.append((row.group, int(row.sample), action, new))
        if decisions:
            store_all(loaded, decisions)
        if without:
            _tell(f"{parts.plural(without, 'sample')} without a suggestion left as before", ":material/info:")

    return act


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
    what = SAID[str(row["decision"])]
    if str(row["decision"]) in LABELLED:
        what = f"Relabeled **{parts.md(row['new_label'])}**"
    if row.get("role") == "adjudication":
        what = f"Settled: {what[0].lower()}{what[1:]}"
    at = pd.Timestamp(row["at"]).strftime("%d %b %Y, %H\\:%M UTC")
    said = f":material/task_alt: {what} by {parts.md(row['reviewer'])}, {at}"
    comment = str(row["comment"])
    comment = comment if len(comment) <= 200 else comment[:199] + "…"
    return said + (f": “{parts.md(comment)}”" if comment else "")


# ---------------------------------------------------------------------------------------------- writing (callbacks)


def _tell(message: str, icon: str) -> None:
    st.session_state["_toast"] = (message, icon)


def tell() -> None:
    """Show what the last callback had to say. Called once a run, by main.py and by the drawer."""
    error = st.session_state.pop("_error", None)
    if error:
        st.error(error, icon=":material/error:")
    toast = st.session_state.pop("_toast", None)
    if toast:
        st.toast(toast[0], icon=toast[1])


def store(
    loaded: data.Loaded,
    finding: str,
    decisions: Sequence[tuple[int, str, str | None]],
    comment_key: str | None = None,
    then=None,
    asked=None,
) -> None:
    """Append decisions (sample, decision, new label) on one finding; `then()` is called when they are stored.

    `asked()` says whether the page still asks about this finding. A quick second key reaches the button of the question
    before: it meant another image, and is dropped.
    """
    store_all(loaded, [(finding, *decision) for decision in decisions], comment_key, then, asked)


def store_all(loaded: data.Loaded, decisions: Sequence[tuple], comment_key=None, then=None, asked=None) -> None:
    """As `store`, for several findings at once, (finding, sample, decision, new label) each: one action, one undo."""
    comment = (st.session_state.get(comment_key) or "").strip()[:LONGEST] if comment_key else ""
    who, stack = reviewer(), st.session_state.setdefault(STACK, [])
    try:
        kept = data.reviews(loaded)
        # Streamlit stops a script run at its next look at session_state and starts the next beside it: a quick second
        # key gets here before the first is done. What is stored is therefore noted without such a look.
        with STORING:
            if asked is not None and not asked():
                return
            decisions = _unsaid(kept.history(), decisions, who, comment)
            shared = {"reviewer": who, "comment": comment}
            made = kept.add_all(
                [
                    {**shared, "finding": finding, "sample": int(sample), "decision": decision, "new_label": label}
                    for finding, sample, decision, label in decisions
                ]
            )
            if made:
                stack.append((loaded.run.path, who, [row.id for row in made]))
    except LossprintError as error:
        st.session_state["_error"] = f"The decision was not stored: {error}"
        return
    if made:
        _tell_stored(decisions)
    if then is not None:
        then()


def answer(
    loaded: data.Loaded,
    finding: str,
    decisions: Sequence[tuple],
    *,
    token: str,
    seen: int | None = None,
    seconds: object = None,
    blind: str = "",
    comment: str = "",
    role: str = "",
) -> None:
    """Append the answer to one asked question; undo takes it back. It is on the disk when this returns.

    decisions: (sample, decision, new label), and for a place in a video the new frame.
    `token` names the asking: the same answer sent twice is stored once. `seen` is the highest id of the decisions on
    this finding that the page knew of. `seconds` may be whatever a browser sent. Raises Conflict where another session
    has answered since, LossprintError where nothing could be stored.
    """
    shared = {"finding": finding, "reviewer": reviewer(), "comment": comment.strip()[:LONGEST]}
    shared |= {"blind": blind, "seconds": looked(seconds), "role": role}
    rows = [
        {**shared, "sample": int(sample), "decision": decision, "new_label": label, "token": f"{token}:{at}"}
        | ({"new_frame": place[0]} if place else {})
        for at, (sample, decision, label, *place) in enumerate(decisions)
    ]
    stack = st.session_state.setdefault(STACK, [])
    with STORING:
        made = data.reviews(loaded).add_all(rows, seen=None if seen is None else {finding: seen})
        stack.append((loaded.run.path, shared["reviewer"], [row.id for row in made]))


def store_rows(loaded: data.Loaded, finding: str, rows: pd.DataFrame, *, seen: int | None = None) -> None:
    """Append the decisions of `spans.decide` on one finding, all in one go; undo takes them back together.

    `seen` as in `answer`. Raises Conflict and LossprintError as `answer` does.
    """
    shared = {"finding": finding, "reviewer": reviewer()}
    asked = [
        {name: None if pd.isna(value) else value for name, value in row.items()} | shared
        for row in rows.to_dict("records")
    ]
    stack = st.session_state.setdefault(STACK, [])
    with STORING:
        made = data.reviews(loaded).add_all(asked, seen=None if seen is None else {finding: seen})
        stack.append((loaded.run.path, shared["reviewer"], [row.id for row in made]))


def looked(seconds: object) -> float | None:
    """How long a question was looked at, from what a browser sent: at most an hour, None where that is no number."""
    with suppress(TypeError, ValueError):
        return min(3600.0, max(0.0, round(float(seconds), 2)))
    return None


def one_in_words(decision: str, label: object) -> str:
    """A single decision in lower case, with its label, as plain text."""
    return SAID[str(decision)].lower() + (f" ({label})" if isinstance(label, str) else "")


def in_words(decisions: Sequence[tuple[int, str, str | None]]) -> str:
    """What an answer stored, as plain text."""
    if len(decisions) > 1:
        return f"{len(decisions)} decisions stored"
    _, decision, label, *_ = decisions[0]
    return SAID[decision] + (f": {label}" if label else "")


def _unsaid(history: pd.DataFrame, decisions: Sequence[tuple], who: str, comment: str) -> list[tuple]:
    """Without those that the reviewer's standing row on their finding and sample says already, in the same words."""
    asked = {finding for finding, *_ in decisions}
    mine = history[history["stands"] & history["finding"].isin(asked) & (history["reviewer"] == who)]
    mine = mine.drop_duplicates(["finding", "sample"], keep="last")
    # A decision under another finding may have come after it: then the same words are news again.
    latest = history[history["stands"]].drop_duplicates("sample", keep="last")["id"]
    said = {
        (row.finding, int(row.sample), row.decision, None if pd.isna(row.new_label) else row.new_label)
        for row in mine[mine["id"].isin(latest)].itertuples()
        if comment in ("", row.comment)
    }
    return [one for one in decisions if tuple(one) not in said]


def _tell_stored(decisions: list[tuple]) -> None:
    _, _, decision, label = decisions[0]
    if len(decisions) > 1:
        _tell(f"{len(decisions)} decisions stored", ":material/check:")
    else:
        _tell(SAID[decision] + (f": {parts.md(label)}" if label else ""), ":material/check:")


def forget_stored() -> None:
    """Start the undo anew: another reviewer takes back nothing of the one before."""
    st.session_state.pop(STACK, None)


def undo(loaded: data.Loaded, then=None) -> None:
    """Take back the reviewer's last action (all rows of it); `then(row)` is called with the first row taken back."""
    try:
        taken = _take_back(data.reviews(loaded), loaded.run.path)
    except LossprintError as error:
        st.session_state["_error"] = f"Nothing was taken back: {error}"
        return
    if not taken:
        _tell(f"Nothing to take back for {parts.md(reviewer())}", ":material/info:")
        return
    what = f"sample {taken[0].sample}" if len(taken) == 1 else f"{len(taken)} decisions"
    _tell(f"Taken back: {what}", ":material/undo:")
    if then is not None:
        then(taken[0])


def _take_back(kept, run) -> list[Review]:
    """What this session stored last and still stands; in a new session, what the reviewer stored last in one go."""
    stack = st.session_state.setdefault(STACK, [])
    while stack:
        at, who, ids = stack.pop()
        # An import stores decisions of several reviewers in one go; it is taken back in one go as well.
        taken = exchange.take_back(kept, ids) if (at, who) == (run, reviewer()) else []
        if taken:
            return taken
    return kept.undo_ids(reviewer(), last_action(kept.history(), reviewer()))


def last_action(history: pd.DataFrame, who: str) -> list[int]:
    """The ids of the reviewer's latest standing row and of those stored together with it."""
    mine = history[history["stands"] & (history["reviewer"] == who)]
    if mine.empty:
        return []
    last = mine.iloc[-1]
    return [int(one) for one in mine.loc[mine["at"] == last["at"], "id"]]


# ---------------------------------------------------------------------------------------------- buttons


def undo_button(loaded: data.Loaded, then, *, key: str) -> None:
    """Where all is answered: the way back. `then(row)` as in `undo`."""
    st.button(
        "Undo my last decision",
        icon=":material/undo:",
        shortcut="U",
        key=key,
        on_click=undo,
        args=(loaded, then),
    )


def buttons(
    loaded: data.Loaded,
    finding: str,
    sample: int,
    suggested: str | None,
    *,
    key: str,
    then=None,
    asked=None,
) -> None:
    """The choices on one sample: accept the suggestion, keep, another label, exclude, unsure.

    The finding is a part of each key, so that a late click on one sample is never taken for a click on the next.
    """
    given = loaded.samples.at[sample, "label"]
    key = f"{key}-{finding}"
    comment = f"{key}-comment"

    def press(label: str, decision: str, shortcut: str, new_label: str | None = None, **style) -> None:
        st.button(
            label,
            key=f"{key}-{decision}",
            on_click=store,
            args=(loaded, finding, [(sample, decision, new_label)], comment, then, asked),
            shortcut=shortcut,
            width="stretch",
            **style,
        )

    if suggested and suggested != given:
        press(f"It is {parts.md(suggested)}", "accept", "A", suggested, type="primary", icon=":material/check:")
    press(f"Keep {parts.md(given) if loaded.labelled else 'it'}", "keep", "K", icon=":material/thumb_up:")
    left, right = st.columns(2, gap="xsmall", wrap=False)
    with left:
        press("Exclude", "exclude", "X", icon=":material/block:")
    with right:
        press("Unsure", "unsure", "N", icon=":material/help:")
    others = [label for label in loaded.classes if label not in (given, suggested)]
    if others:
        another(loaded, finding, sample, others, key=key, comment=comment, then=then, asked=asked)
    comment_box(comment)


def comment_box(key: str) -> None:
    st.text_input(
        "Comment",
        key=key,
        max_chars=LONGEST,
        placeholder="Comment (optional), stored with the decision",
        label_visibility="collapsed",
    )


def warn_excluded(loaded: data.Loaded, finding: str, samples: Sequence[int], what: str) -> None:
    """Say which samples a decision on another finding has left out; `what` says what deciding here does to them."""
    for sample, other in excluded_elsewhere(loaded, finding, samples).items():
        st.warning(f"Sample {sample} is excluded in {parts.md(other)}; {what}", icon=":material/block:")


def another(
    loaded: data.Loaded, finding: str, sample: int, others: list[str], *, key: str, comment: str, then=None, asked=None
) -> None:
    """Choosing any other label of the dataset stores it."""
    name = f"{key}-other"

    def chosen() -> None:
        label = st.session_state.get(name)
        if label in others:
            store(loaded, finding, [(sample, "relabel", label)], comment, then, asked)

    st.selectbox(
        "Another label",
        others,
        index=None,
        key=name,
        on_change=chosen,
        placeholder="It is something else …",
        label_visibility="collapsed",
    )
