"""Review: one question at a time, stored at once."""

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data, decide, detail, parts, story
from lossprint.app.gallery import gallery
from lossprint.app.views import duplicates
from lossprint.audit.types import Review

QUEUES = {
    "Everything": (),
    "Labels": ("label_error", "sequence_label"),
    "Duplicates": ("duplicate", "near_duplicate"),
    "Outliers": ("outlier",),
}
AT = "_review_at"
SKIPPED = "_review_skipped"


def queue(findings: pd.DataFrame, kinds: tuple[str, ...]) -> pd.DataFrame:
    """One row a finding: group, kind, samples, suggested_label, severity; label errors by severity come first."""
    mine = findings[findings["kind"].isin(kinds)] if kinds else findings
    order = {kind: at for at, kind in enumerate(("label_error", "duplicate", "near_duplicate"))}
    numbers, names = pd.factorize(mine["group"])
    first = np.unique(numbers, return_index=True)[1]
    order_in = np.argsort(numbers, kind="stable")
    members = np.split(mine["sample"].to_numpy()[order_in], np.cumsum(np.bincount(numbers))[:-1]) if len(mine) else []
    frame = pd.DataFrame(
        {
            "group": names.astype(object),
            "kind": mine["kind"].to_numpy()[first],
            "samples": pd.Series([one.tolist() for one in members], dtype=object),
            "suggested_label": mine["suggested_label"].to_numpy()[first],
            "severity": mine.groupby(numbers)["severity"].max().to_numpy(),
        }
    )
    place = frame["kind"].map(order).fillna(len(order))
    return frame.assign(place=place).sort_values(
        ["place", "severity"], ascending=[True, False], kind="stable", ignore_index=True
    )


def _queue(loaded: data.Loaded, which: str) -> pd.DataFrame:
    return queue(loaded.findings, QUEUES[which])


def next_open(names: list[str], reviewed: set[str], skipped: set[str], after: str | None) -> str | None:
    """The next finding after `after` (round the end) that is not reviewed nor skipped; then the skipped come again."""
    start = names.index(after) + 1 if after in names else 0
    ring = names[start:] + names[:start]
    fresh = [name for name in ring if name not in reviewed]
    return next((name for name in fresh if name not in skipped), fresh[0] if fresh else None)


def seconds_each(times: pd.Series) -> float | None:
    """The median pause between decisions, pauses over two minutes left out; None under five decisions."""
    pauses = pd.to_datetime(times, format="ISO8601").sort_values().diff().dt.total_seconds().dropna()
    pauses = pauses[pauses < 120]
    return None if len(pauses) < 5 else float(pauses.median())


def left_words(count: int, each: float | None) -> str:
    if each is None or count == 0:
        return ""
    minutes = count * each / 60
    return " · about a minute left" if minutes < 1.5 else f" · about {minutes:.0f} minutes left at your pace"


def render(loaded: data.Loaded) -> None:
    parts.header("Review", "One question at a time. Each answer is stored at once and can be taken back.")
    if loaded.findings.empty:
        parts.empty("Nothing to review", "This run has no findings.")
        return
    have = [name for name, kinds in QUEUES.items() if not kinds or loaded.findings["kind"].isin(kinds).any()]
    which = st.segmented_control(
        "Queue",
        have,
        default="Everything",
        required=True,
        key="queue",
        bind="query-params",
        label_visibility="collapsed",
        on_change=_forget,
    )
    items = data.derived(loaded, _queue, which)
    reviewed = decide.reviewed_groups(loaded)
    names = list(items["group"])
    _progress(loaded, items, reviewed)
    asked = parts.url_asks("finding")
    if asked in names:
        st.session_state[AT] = asked
    at = st.session_state.get(AT)
    if at not in names:
        at = next_open(names, reviewed, st.session_state.get(SKIPPED, set()), None)
        st.session_state[AT] = at
    parts.write_url("finding", at)
    if at is None:
        _done(loaded)
        return
    item = items[items["group"] == at].iloc[0]
    _question(loaded, item, names, reviewed)


def _forget() -> None:
    st.session_state.pop(AT, None)


def _progress(loaded: data.Loaded, items: pd.DataFrame, reviewed: set[str]) -> None:
    done = int(items["group"].isin(reviewed).sum())
    history = data.reviews(loaded).history()
    mine = history[history["stands"] & (history["reviewer"] == decide.reviewer())]
    each = seconds_each(mine.drop_duplicates("finding")["at"])
    text = f"{done:,} of {len(items):,} reviewed{left_words(len(items) - done, each)}"
    st.progress(done / max(1, len(items)), text=text)


def _done(loaded: data.Loaded) -> None:
    parts.empty(
        "All reviewed", "Every finding of this queue has a decision. Export the cleaned dataset, or take another queue."
    )
    with st.container(horizontal=True, horizontal_alignment="center"):
        parts.link("export", "Export the cleaned dataset", "download")
        st.button(
            "Undo my last decision",
            icon=":material/undo:",
            shortcut="U",
            key="done-undo",
            on_click=decide.undo,
            args=(loaded, _back),
        )


def _go(name: str | None) -> None:
    st.session_state[AT] = name


def _back(row: Review) -> None:
    _go(row.finding)


def _question(loaded: data.Loaded, item: pd.Series, names: list[str], reviewed: set[str]) -> None:
    name, sample = item["group"], item["samples"][0]

    def onward() -> None:
        _go(next_open(names, reviewed | {name}, st.session_state.get(SKIPPED, set()), name))

    def asked() -> bool:
        return st.session_state.get(AT) == name

    def skip() -> None:
        if not asked():
            return
        skipped = st.session_state.setdefault(SKIPPED, set())
        skipped.add(name)
        if set(names) <= reviewed | skipped:
            skipped.clear()
            skipped.add(name)
        onward()

    picture, words = st.columns([1, 1], gap="large")
    with picture:
        if item["kind"] in duplicates.KINDS:
            tiles = [
                parts.tile(
                    loaded,
                    one,
                    given=loaded.samples.at[one, "label"],
                    title=f"#{one}",
                    note=parts.SPLITS.get(loaded.samples.at[one, "split"], ""),
                )
                for one in item["samples"][: duplicates.MEMBERS]
            ]
            parts.tell_missing(tiles)
            gallery(tiles, key="review-group", label="copies", size="large")
        else:
            parts.big_image(loaded, sample, 460)
            st.caption(f"Sample {sample} · {parts.md(loaded.samples.at[sample, 'path'])}")
    with words:
        _ask(loaded, item, sample, onward, asked)
        with st.container(horizontal=True, gap="xsmall"):
            st.button(
                "Skip",
                key=f"review-{name}-skip",
                icon=":material/skip_next:",
                shortcut="S",
                type="tertiary",
                on_click=skip,
            )
            st.button(
                "Undo",
                key="review-undo",
                icon=":material/undo:",
                shortcut="U",
                type="tertiary",
                on_click=decide.undo,
                args=(loaded, _back),
            )
    if item["kind"] not in duplicates.KINDS:
        with st.expander("Evidence: loss print, scores and neighbours", icon=":material/show_chart:"):
            left, right = st.columns(2, gap="large")
            with left:
                detail.loss_chart(loaded, sample, "review-loss", height=260)
                detail.scores_chart(loaded, sample, "review-scores")
            with right:
                detail.partner_strip(loaded, sample, "class", "review-partners")


def _ask(loaded: data.Loaded, item: pd.Series, sample: int, onward, asked) -> None:
    name, given = item["group"], parts.md(loaded.samples.at[sample, "label"])
    if item["kind"] in duplicates.KINDS:
        members = loaded.findings[loaded.findings["group"] == name]
        labels = loaded.samples.loc[item["samples"], "label"].nunique()
        st.markdown("### Which copy is right?" if labels > 1 else "### Keep one copy?")
        st.markdown(story.group_sentence(members, loaded.samples, parts.md))
        _now(loaded, item["samples"], of_many=True)
        comment = f"review-comment-{name}"
        duplicates.actions(
            loaded,
            name,
            item["samples"],
            key=f"review-{name}",
            then=onward,
            asked=asked,
            shortcuts=True,
            comment=comment,
        )
        decide.comment_box(comment)
        return
    suggested = item["suggested_label"]
    if suggested:
        st.markdown(f"### Is this {given}, or {parts.md(suggested)}?")
    else:
        st.markdown(f"### Does this belong, as {given}?")
    st.markdown(parts.labels_line(loaded, sample, suggested))
    detail.why(loaded, sample)
    _now(loaded, [sample])
    decide.warn_excluded(loaded, name, [sample], "deciding here brings it back, except by **Exclude**.")
    decide.buttons(loaded, name, sample, suggested, key="review", then=onward, asked=asked, digits=True)


def _now(loaded: data.Loaded, samples: list[int], of_many: bool = False) -> None:
    """What stands on the samples; `of_many` says which of them is meant."""
    decided = decide.decided(loaded)
    for sample in samples:
        if sample in decided:
            st.markdown((f"#{sample} " if of_many else "") + decide.sentence(decided[sample]))
