"""Decisions: their buttons, how they are stored, and undo. Every decision is on the disk before the page goes on."""

import getpass
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from threading import Lock

import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.access import roles
from lossprint.app.shared import parts
from lossprint.audit.export import exchange
from lossprint.audit.review.resolve import LABELLED, resolve
from lossprint.audit.review.reviews import Conflict
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
OWN = "_stored_last"  # the last decision of this session on each finding, by (run, finding)
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


def bulk(loaded: data.Loaded, rows: pd.DataFrame, seen: Mapping[str, int]):
    """What a gallery calls for its selected tiles: stores one action on their findings.

    rows: findings by sample. seen: as in `store`, of what the tiles show.
    """

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
            press(loaded, decisions, seen=seen)
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
    loaded: data.Loaded, rows: Sequence[dict], *, seen: Mapping[str, int], asked=None, news=False
) -> list[Review]:
    """Append decisions in one go, the only way in which a page does: on the disk when this returns; one undo, one lock.

    rows: the keywords of `Reviews.add`, without the reviewer. `seen`: for each finding the highest id of its decisions
    that the page showed, see `last_seen`; what this session itself has stored since counts as seen. `asked()` says
    whether the page still asks about this: a quick second key reaches the button of the question before, meant another
    image, and is dropped. `news`: without what the reviewer's standing decisions say already.
    Raises Conflict where another session has decided since, LossprintError where nothing could be stored.
    """
    who, stack = reviewer(), st.session_state.setdefault(STACK, [])
    own = st.session_state.setdefault(OWN, {})
    kept = data.reviews(loaded)
    # Streamlit stops a script run at its next look at session_state and starts the next beside it: a quick second
    # key gets here before the first is done. What is stored is therefore noted without such a look.
    with STORING:
        if asked is not None and not asked():
            return []
        rows = _unsaid(kept.history(), rows, who) if news else rows
        known = {name: max(last, own.get((loaded.run.path, name), 0)) for name, last in seen.items()}
        made = kept.add_all([{**row, "reviewer": who} for row in rows], seen=known)
        if made:
            stack.append((loaded.run.path, who, [row.id for row in made]))
        for row in made:
            own[loaded.run.path, row.finding] = max(row.id, own.get((loaded.run.path, row.finding), 0))
    return made


def last_seen(history: pd.DataFrame, findings: Iterable[str]) -> dict[str, int]:
    """The highest id of the decisions on each finding, 0 without any: what a page knows that shows this history."""
    names = list(dict.fromkeys(findings))
    last = history[history["finding"].isin(names)].groupby("finding")["id"].max()
    return dict.fromkeys(names, 0) | {str(name): int(one) for name, one in last.items()}


def press(loaded: data.Loaded, decisions: Sequence[tuple], *, seen, comment_key=None, then=None, asked=None) -> None:
    """What a button or a gallery calls: store decisions, (finding, sample, decision, new label) each, and say so.

    `then()` is called when they are stored; the rest as in `store`. Where a colleague has decided on one of them since
    the page was drawn, nothing is stored, and the page is drawn anew with who decided what.
    """
    comment = (st.session_state.get(comment_key) or "").strip()[:LONGEST] if comment_key else ""
    names = ("finding", "sample", "decision", "new_label")
    rows = [dict(zip(names, one)) | {"comment": comment} for one in decisions]
    gone = False

    def still() -> bool:
        nonlocal gone
        gone = asked is not None and not asked()
        return not gone

    try:
        made = store(loaded, rows, seen=seen, asked=still, news=True)
    except Conflict as conflict:
        st.session_state["_error"] = meanwhile(conflict)
        return
    except LossprintError as error:
        st.session_state["_error"] = f"The decision was not stored: {error}"
        return
    if gone:
        return
    if made:
        _tell_stored(made)
    if then is not None:
        then()


def answered(row: Review, verb: str = "answered") -> str:
    """Who decided on a finding since the page was drawn, and what, as plain text."""
    who = "You, in another window, have" if row.reviewer == reviewer() else f"{row.reviewer} has"
    return f"{who} {verb} this meanwhile: {one_in_words(row.decision, row.new_label)}."


def meanwhile(conflict: Conflict) -> str:
    """Markdown: that nothing was stored, as others have decided since the page was drawn, and who decided what."""
    rows = list({row.finding: row for row in reversed(conflict.rows)}.values())
    said = [
        f"{parts.md('you, in another window' if row.reviewer == reviewer() else row.reviewer)} on "
        f"{parts.md(f'{row.finding}: {one_in_words(row.decision, row.new_label)}')}"
        for row in rows[:3]
    ]
    more = f"; and {len(rows) - 3:,} more" if len(rows) > 3 else ""
    return (
        f"Nothing was stored: decided meanwhile by {'; '.join(said)}{more}. The page now shows it; decide again to "
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
) -> None:
    """Store the answer to one asked question, see `store`.

    decisions: (sample, decision, new label), and for a place in a video the new frame.
    `token` names the asking: the same answer sent twice is stored once. `seconds` may be whatever a browser sent.
    """
    shared = {"finding": finding, "comment": comment.strip()[:LONGEST], "blind": blind}
    shared |= {"seconds": looked(seconds), "role": role}
    rows = [
        {**shared, "sample": int(sample), "decision": decision, "new_label": label, "token": f"{token}:{at}"}
        | ({"new_frame": place[0]} if place else {})
        for at, (sample, decision, label, *place) in enumerate(decisions)
    ]
    store(loaded, rows, seen={finding: seen})


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


def _unsaid(history: pd.DataFrame, rows: Sequence[dict], who: str) -> list[dict]:
    """Without those that the reviewer's standing row on their finding and sample says already, in the same words."""
    names = {row["finding"] for row in rows}
    mine = history[history["stands"] & history["finding"].isin(names) & (history["reviewer"] == who)]
    mine = mine.drop_duplicates(["finding", "sample"], keep="last")
    # A decision under another finding may have come after it: then the same words are news again.
    latest = history[history["stands"]].drop_duplicates("sample", keep="last")["id"]
    said = {
        (row.finding, int(row.sample), row.decision, None if pd.isna(row.new_label) else row.new_label): row.comment
        for row in mine[mine["id"].isin(latest)].itertuples()
    }

    def new(row: dict) -> bool:
        words = (row["finding"], int(row["sample"]), row["decision"], row["new_label"])
        return words not in said or row["comment"] not in ("", said[words])

    return [row for row in rows if new(row)]


def _tell_stored(made: Sequence[Review]) -> None:
    if len(made) > 1:
        _tell(f"{len(made)} decisions stored", ":material/check:")
    else:
        label = made[0].new_label
        _tell(SAID[made[0].decision] + (f": {parts.md(label)}" if label else ""), ":material/check:")


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
    seen: Mapping[str, int],
    then=None,
    asked=None,
) -> None:
    """The choices on one sample: accept the suggestion, keep, another label, exclude, unsure; the rest as in `press`.

    The finding is a part of each key, so that a late click on one sample is never taken for a click on the next.
    """
    given = loaded.samples.at[sample, "label"]
    key = f"{key}-{finding}"
    comment = f"{key}-comment"

    how = {"seen": seen, "comment_key": comment, "then": then, "asked": asked}

    def button(label: str, decision: str, shortcut: str, new_label: str | None = None, **style) -> None:
        st.button(
            label,
            key=f"{key}-{decision}",
            on_click=press,
            args=(loaded, [(finding, sample, decision, new_label)]),
            kwargs=how,
            shortcut=shortcut,
            width="stretch",
            **style,
        )

    if suggested and suggested != given:
        button(f"It is {parts.md(suggested)}", "accept", "A", suggested, type="primary", icon=":material/check:")
    button(f"Keep {parts.md(given) if loaded.labelled else 'it'}", "keep", "K", icon=":material/thumb_up:")
    left, right = st.columns(2, gap="xsmall", wrap=False)
    with left:
        button("Exclude", "exclude", "X", icon=":material/block:")
    with right:
        button("Unsure", "unsure", "N", icon=":material/help:")
    others = [label for label in loaded.classes if label not in (given, suggested)]
    if others:
        another(loaded, finding, sample, others, key=key, how=how)
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


def another(loaded: data.Loaded, finding: str, sample: int, others: list[str], *, key: str, how: dict) -> None:
    """Choosing any other label of the dataset stores it; `how`: keywords of `press`."""
    name = f"{key}-other"

    def chosen() -> None:
        label = st.session_state.get(name)
        if label in others:
            press(loaded, [(finding, sample, "relabel", label)], **how)

    st.selectbox(
        "Another label",
        others,
        index=None,
        key=name,
        on_change=chosen,
        placeholder="It is something else …",
        label_visibility="collapsed",
    )
