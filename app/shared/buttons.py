"""The buttons that decide on one sample, with their keys, and the way back."""

from collections.abc import Mapping, Sequence

import streamlit as st

from lossprint.app import data
from lossprint.app.elements.keys import KEYS
from lossprint.app.shared import decide, parts
from lossprint.app.shared.acting import steps


def undo(loaded: data.Loaded, then, *, key: str) -> None:
    """Where all is answered: the way back. `then(row)` as in `steps.undo`."""
    st.button(
        "Undo my last decision",
        icon=":material/undo:",
        shortcut=KEYS["undo"],
        key=key,
        on_click=steps.undo,
        args=(loaded, then),
    )


def choices(
    loaded: data.Loaded,
    finding: str,
    sample: int,
    suggested: str | None,
    *,
    key: str,
    seen: Mapping[str, int],
    then=None,
    current=None,
) -> None:
    """The choices on one sample: accept the suggestion, keep, another label, exclude, unsure. Else as `decide.press`.

    The finding is a part of each key, so that a late click on one sample is never taken for a click on the next.
    """
    given = loaded.samples.at[sample, "label"]
    key = f"{key}-{finding}"
    comment = f"{key}-comment"

    how = {"seen": seen, "comment_key": comment, "then": then, "current": current}

    def button(label: str, decision: str, new_label: str | None = None, **style) -> None:
        st.button(
            label,
            key=f"{key}-{decision}",
            on_click=decide.press,
            args=(loaded, [(finding, sample, decision, new_label)]),
            kwargs=how,
            shortcut=KEYS[decision],
            width="stretch",
            **style,
        )

    if suggested and suggested != given:
        button(f"It is {parts.md(suggested)}", "accept", suggested, type="primary", icon=":material/check:")
    button(f"Keep {parts.md(given) if loaded.labelled else 'it'}", "keep", icon=":material/thumb_up:")
    left, right = st.columns(2, gap="xsmall", wrap=False)
    with left:
        button("Exclude", "exclude", icon=":material/block:")
    with right:
        button("Unsure", "unsure", icon=":material/help:")
    if loaded.labelled:
        others = [label for label in decide.labels(loaded) if label not in (given, suggested)]
        _another(loaded, finding, sample, others, key=key, how=how)
    _comment_box(comment)


def _comment_box(key: str) -> None:
    st.text_input(
        "Comment",
        key=key,
        max_chars=decide.LONGEST,
        placeholder="Comment (optional), stored with the decision",
        label_visibility="collapsed",
    )


def warn_excluded(loaded: data.Loaded, finding: str, samples: Sequence[int], what: str) -> None:
    """Say which samples a decision on another finding has left out; `what` says what deciding here does to them."""
    for sample, other in decide.excluded_elsewhere(loaded, finding, samples).items():
        st.warning(f"Sample {int(sample)} is excluded in {parts.md(other)}; {what}", icon=":material/block:")


def _another(loaded: data.Loaded, finding: str, sample: int, others: list[str], *, key: str, how: dict) -> None:
    """Choosing any other label stores it, a new class that was typed as well; `how`: keywords of `decide.press`."""
    name = f"{key}-other"

    def chosen() -> None:
        label = (st.session_state.get(name) or "").strip()
        if label:
            given = loaded.samples.at[sample, "label"]
            decision = ("keep", None) if label == given else ("relabel", label)
            decide.press(loaded, [(finding, sample, *decision)], new_class=True, **how)

    st.selectbox(
        "Another label",
        others,
        index=None,
        key=name,
        on_change=chosen,
        accept_new_options=True,
        placeholder="It is something else …",
        label_visibility="collapsed",
    )
