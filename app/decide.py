"""Decisions: their buttons, how they are stored, and undo. Every decision is on the disk before the page goes on."""

import getpass
from collections.abc import Sequence
from threading import Lock

import pandas as pd
import streamlit as st

from lossprint.app import data, parts
from lossprint.audit.types import LossprintError, Review

SAID = {
    "accept": "Relabeled as suggested",
    "relabel": "Relabeled",
    "keep": "Label kept",
    "exclude": "Excluded",
    "unsure": "Marked as unsure",
}
BADGE = {
    "accept": ("relabeled", "good"),
    "relabel": ("relabeled", "good"),
    "keep": ("kept", "good"),
    "exclude": ("excluded", "bad"),
    "unsure": ("unsure", "warn"),
}
LABELLED = ("accept", "relabel")
LONGEST = 500  # characters of a comment
STORING = Lock()
STACK = "_stored"  # what this session stored and may take back: run, reviewer, ids of the rows


def default_reviewer(loaded: data.Loaded | None = None) -> str:
    """Who decided last on this run: nobody logs in, and it is most likely the same person; else the system's user."""
    history = data.reviews(loaded).history() if loaded is not None else ()
    if len(history):
        return str(history["reviewer"].iloc[-1])
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "reviewer"


def reviewer() -> str:
    """The name that decisions are stored under, from the sidebar."""
    return (st.session_state.get("reviewer") or "").strip() or default_reviewer()


# ---------------------------------------------------------------------------------------------- reading


def decided(loaded: data.Loaded) -> dict[int, pd.Series]:
    """The standing decision on each decided sample."""
    current = data.reviews(loaded).current()
    return {int(row["sample"]): row for _, row in current.iterrows()}


def reviewed_groups(loaded: data.Loaded) -> set[str]:
    """The findings that a standing decision names."""
    history = data.reviews(loaded).history()
    return set(history.loc[history["stands"], "finding"].astype(str))


def elsewhere(loaded: data.Loaded, finding: str) -> dict[int, pd.Series]:
    """The standing decision on each sample that was made under another finding than this one."""
    history = data.reviews(loaded).history()
    rest = history[history["stands"] & (history["finding"] != finding)].drop_duplicates("sample", keep="last")
    return {int(row["sample"]): row for _, row in rest.iterrows()}


def excluded_elsewhere(loaded: data.Loaded, finding: str, samples: Sequence[int]) -> dict[int, str]:
    """The samples that are out at present by a decision on another finding, and which finding that is."""
    now = decided(loaded)
    rows = [now[sample] for sample in samples if sample in now]
    return {
        int(row["sample"]): str(row["finding"])
        for row in rows
        if row["decision"] == "exclude" and row["finding"] != finding
    }


def badge(row: pd.Series | None) -> dict:
    """The badge of a decided sample as fields of a Tile; none where it is undecided."""
    if row is None:
        return {}
    word, tone = BADGE[str(row["decision"])]
    return {"badge": word, "tone": tone}


def sentence(row: pd.Series) -> str:
    """Markdown: what was decided, by whom and when."""
    what = SAID[str(row["decision"])]
    if str(row["decision"]) in LABELLED:
        what = f"Relabeled **{parts.md(row['new_label'])}**"
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
    comment = (st.session_state.get(comment_key) or "").strip()[:LONGEST] if comment_key else ""
    who, stack = reviewer(), st.session_state.setdefault(STACK, [])
    try:
        kept = data.reviews(loaded)
        # Streamlit stops a script run at its next look at session_state and starts the next beside it: a quick second
        # key gets here before the first is done. What is stored is therefore noted without such a look.
        with STORING:
            if asked is not None and not asked():
                return
            decisions = _unsaid(kept.history(), finding, decisions, who, comment)
            shared = {"finding": finding, "reviewer": who, "comment": comment}
            made = kept.add_all(
                [
                    {**shared, "sample": int(sample), "decision": decision, "new_label": label}
                    for sample, decision, label in decisions
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


def _unsaid(history: pd.DataFrame, finding: str, decisions: Sequence[tuple], who: str, comment: str) -> list[tuple]:
    """Without those that the reviewer's standing row on this finding and sample says already, in the same words."""
    mine = history[history["stands"] & (history["finding"] == finding) & (history["reviewer"] == who)]
    mine = mine.drop_duplicates("sample", keep="last")
    # A decision under another finding may have come after it: then the same words are news again.
    latest = history[history["stands"]].drop_duplicates("sample", keep="last")["id"]
    said = {
        (int(row.sample), row.decision, None if pd.isna(row.new_label) else row.new_label)
        for row in mine[mine["id"].isin(latest)].itertuples()
        if comment in ("", row.comment)
    }
    return [one for one in decisions if tuple(one) not in said]


def _tell_stored(decisions: list[tuple]) -> None:
    _, decision, label = decisions[0]
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
        taken = kept.undo_ids(who, ids) if (at, who) == (run, reviewer()) else []
        if taken:
            return taken
    return kept.undo_ids(reviewer(), last_action(kept.history(), reviewer()))


def last_action(history: pd.DataFrame, who: str) -> list[int]:
    """The ids of the reviewer's latest standing row and of those stored together with it."""
    mine = history[history["stands"] & (history["reviewer"] == who)]
    if mine.empty:
        return []
    last = mine.iloc[-1]
    together = (mine["finding"] == last["finding"]) & (mine["at"] == last["at"])
    return [int(one) for one in mine.loc[together, "id"]]


# ---------------------------------------------------------------------------------------------- buttons


def buttons(
    loaded: data.Loaded,
    finding: str,
    sample: int,
    suggested: str | None,
    *,
    key: str,
    then=None,
    asked=None,
    digits: bool = False,
) -> None:
    """The choices on one sample: accept the suggestion, keep, another label, exclude, unsure.

    `digits` shows up to nine other labels as buttons with the keys 1 to 9. The finding is a part of each key, so that a
    late click of one question is never taken for a click of the next.
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
    press(f"Keep {parts.md(given)}", "keep", "K", icon=":material/thumb_up:")
    left, right = st.columns(2, gap="xsmall", wrap=False)
    with left:
        press("Exclude", "exclude", "X", icon=":material/block:")
    with right:
        press("Unsure", "unsure", "N", icon=":material/help:")
    others = [label for label in loaded.classes if label not in (given, suggested)]
    if digits and 0 < len(others) <= 9:
        st.caption("It is something else:")
        with st.grid(3, min_column_width=120, gap="xsmall"):
            for at, label in enumerate(others):
                st.button(
                    parts.md(label),
                    key=f"{key}-other-{at}",
                    width="stretch",
                    shortcut=str(at + 1),
                    on_click=store,
                    args=(loaded, finding, [(sample, "relabel", label)], comment, then, asked),
                )
    elif others:
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


def keep_all(loaded: data.Loaded, finding: str, members: Sequence[int]) -> list[tuple[int, str, str | None]]:
    """Decisions that keep every copy as other findings left it: relabeled there, or left out there."""
    before = elsewhere(loaded, finding)
    return [_carried(sample, before.get(sample)) for sample in members]


def unsure_one(loaded: data.Loaded, finding: str, members: Sequence[int]) -> list[tuple[int, str, str | None]]:
    """One decision that marks the group as unsure, on a copy where it hides no decision of another finding."""
    all_kept = keep_all(loaded, finding, members)
    free = next((sample for sample, decision, _ in all_kept if decision == "keep"), None)
    return [(free, "unsure", None)] if free is not None else all_kept[:1]


def _carried(sample: int, before: pd.Series | None) -> tuple[int, str, str | None]:
    """What stands on a sample, said once more under a duplicate group: a bare `keep` would give the old label back."""
    if before is not None and before["decision"] in LABELLED:
        return sample, "relabel", str(before["new_label"])
    if before is not None and before["decision"] == "exclude":
        return sample, "exclude", None
    return sample, "keep", None


def label_now(loaded: data.Loaded, sample: int, before: dict[int, pd.Series]) -> str:
    """The label of a sample after the decisions `before`."""
    row = before.get(sample)
    return (
        str(row["new_label"]) if row is not None and row["decision"] in LABELLED else loaded.samples.at[sample, "label"]
    )


def keep_one(
    loaded: data.Loaded, finding: str, members: Sequence[int], label: str | None = None
) -> list[tuple[int, str, str | None]]:
    """Decisions that keep one copy of a duplicate group (with that label, if given) and exclude the others.

    A copy that another finding left out is kept last, and a label that another finding gave stays with its copy. A copy
    outside the training split is kept before one inside it, so that evaluation data stays as it is; among those the one
    with the lowest mean loss.
    """
    before = elsewhere(loaded, finding)
    able = [sample for sample in members if label is None or label_now(loaded, sample, before) == label]

    def order(sample: int) -> tuple:
        loss = loaded.scores["csl"].get(sample) if "csl" in loaded.scores else None
        return (
            _carried(sample, before.get(sample))[1] == "exclude",
            loaded.samples.at[sample, "split"] == "train",
            loss if loss is not None and loss == loss else 0.0,
            sample,
        )

    kept = min(able, key=order)
    first = _carried(kept, before.get(kept))
    first = (kept, "keep", None) if first[1] == "exclude" else first
    return [first] + [(sample, "exclude", None) for sample in members if sample != kept]
