"""Decisions: their buttons, how they are stored, and undo. Every decision is on the disk before the page goes on."""

import getpass
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from lossprint.app import data, parts
from lossprint.audit.types import LossprintError

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
CONFIRM = {"accept", "relabel", "keep"}


def default_reviewer() -> str:
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


def badge(row: pd.Series | None) -> dict:
    """The badge of a decided sample as fields of a Tile; none where it is undecided."""
    if row is None:
        return {}
    word, tone = BADGE[str(row["decision"])]
    return {"badge": word, "tone": tone}


def sentence(row: pd.Series) -> str:
    """Markdown: what was decided, by whom and when."""
    what = SAID[str(row["decision"])]
    if str(row["decision"]) in ("accept", "relabel"):
        what = f"Relabeled **{parts.md(row['new_label'])}**"
    at = pd.Timestamp(row["at"]).strftime("%d %b %Y, %H\\:%M UTC")
    said = f":material/task_alt: {what} by {parts.md(row['reviewer'])}, {at}"
    return said + (f": “{parts.md(row['comment'])}”" if row["comment"] else "")


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
) -> None:
    """Append decisions (sample, decision, new label) on one finding; `then()` is called when they are stored."""
    comment = (st.session_state.get(comment_key) or "").strip() if comment_key else ""
    try:
        for sample, decision, label in decisions:
            data.reviews(loaded).add(
                finding=finding,
                sample=int(sample),
                decision=decision,
                new_label=label,
                reviewer=reviewer(),
                comment=comment,
            )
    except LossprintError as error:
        st.session_state["_error"] = f"The decision was not stored: {error}"
        return
    st.session_state.setdefault("_stored", []).append((loaded.run.path, len(decisions)))
    first = decisions[0]
    label = f": {parts.md(first[2])}" if first[2] and len(decisions) == 1 else ""
    said = SAID[first[1]] if len(decisions) == 1 else f"{len(decisions)} decisions stored"
    _tell(said + label, ":material/check:")
    if then is not None:
        then()


def undo(loaded: data.Loaded, then=None) -> None:
    """Take back the reviewer's last action (all decisions of it); `then(finding)` is called with what it was about."""
    stack = st.session_state.setdefault("_stored", [])
    count = stack.pop()[1] if stack and stack[-1][0] == loaded.run.path else 1
    taken = None
    try:
        for _ in range(count):
            taken = data.reviews(loaded).undo(reviewer()) or taken
    except LossprintError as error:
        st.session_state["_error"] = f"Nothing was taken back: {error}"
        return
    if taken is None:
        _tell(f"Nothing to take back for {parts.md(reviewer())}", ":material/info:")
        return
    _tell(f"Taken back: sample {taken.sample}", ":material/undo:")
    if then is not None:
        then(taken.finding)


# ---------------------------------------------------------------------------------------------- buttons


def buttons(
    loaded: data.Loaded, finding: str, sample: int, suggested: str | None, *, key: str, then=None, digits: bool = False
) -> None:
    """The choices on one sample: accept the suggestion, keep, another label, exclude, unsure.

    `digits` shows up to nine other labels as buttons with the keys 1 to 9.
    """
    given = loaded.samples.at[sample, "label"]
    comment = f"{key}-comment-{finding}"

    def press(label: str, decision: str, shortcut: str, new_label: str | None = None, **style) -> None:
        st.button(
            label,
            key=f"{key}-{decision}",
            on_click=store,
            args=(loaded, finding, [(sample, decision, new_label)], comment, then),
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
                    args=(loaded, finding, [(sample, "relabel", label)], comment, then),
                )
    elif others:
        another(loaded, finding, sample, others, key=key, comment=comment, then=then)
    st.text_input(
        "Comment", key=comment, placeholder="Comment (optional), stored with the decision", label_visibility="collapsed"
    )


def another(loaded: data.Loaded, finding: str, sample: int, others: list[str], *, key: str, comment: str, then) -> None:
    """Choosing any other label of the dataset stores it."""
    name = f"{key}-other-{finding}"

    def chosen() -> None:
        label = st.session_state.get(name)
        if label in others:
            store(loaded, finding, [(sample, "relabel", label)], comment, then)

    st.selectbox(
        "Another label",
        others,
        index=None,
        key=name,
        on_change=chosen,
        placeholder="It is something else …",
        label_visibility="collapsed",
    )


def keep_one(
    loaded: data.Loaded, members: Sequence[int], label: str | None = None
) -> list[tuple[int, str, str | None]]:
    """Decisions that keep one copy of a duplicate group (with that label, if given) and exclude the others.

    A copy outside the training split is kept before one inside it, so that evaluation data stays as it is; among
    those the one with the lowest mean loss.
    """
    able = [sample for sample in members if label is None or loaded.samples.at[sample, "label"] == label]

    def order(sample: int) -> tuple:
        loss = loaded.scores["csl"].get(sample) if "csl" in loaded.scores else None
        return (
            loaded.samples.at[sample, "split"] == "train",
            loss if loss is not None and loss == loss else 0.0,
            sample,
        )

    kept = min(able, key=order)
    return [(kept, "keep", None)] + [(sample, "exclude", None) for sample in members if sample != kept]
