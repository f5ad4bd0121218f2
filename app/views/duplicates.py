"""Duplicates: which images are in the dataset more than once, and do their labels agree?"""

import pandas as pd
import streamlit as st

from lossprint.app import data, decide, detail, parts, story
from lossprint.app.gallery import gallery

KINDS = ("duplicate", "near_duplicate")
PER_PAGE = 8
MEMBERS = 24
SHOW = ("All", "Conflicting labels", "Across splits", "Not decided")


def groups(loaded: data.Loaded) -> pd.DataFrame:
    """One row a duplicate group: group, kind, samples, severity, conflict, leak; conflicts and leakage first."""
    rows = []
    for name, members in loaded.of_kind(*KINDS).groupby("group", sort=False):
        samples = [int(sample) for sample in members["sample"]]
        splits = loaded.samples.loc[samples, "split"]
        rows.append(
            (
                name,
                members["kind"].iloc[0],
                samples,
                float(members["severity"].max()),
                members["label"].nunique() > 1,
                splits.nunique() > 1,
            )
        )
    frame = pd.DataFrame(rows, columns=["group", "kind", "samples", "severity", "conflict", "leak"])
    return frame.sort_values(["conflict", "leak", "severity"], ascending=False, kind="stable", ignore_index=True)


def render(loaded: data.Loaded) -> None:
    parts.header("Duplicates", "Which images are in the dataset more than once, and do their labels agree?")
    found = groups(loaded)
    if found.empty:
        if loaded.run.has_duplicates():
            parts.empty("No duplicates", "No two images have the same or nearly the same content.")
        else:
            parts.empty(
                "Not looked for", "No images were compared in this run: its losses came from elsewhere.", "info"
            )
        return
    reviewed = decide.reviewed_groups(loaded)
    show = st.segmented_control(
        "Show", SHOW, default="All", required=True, key="groups", bind="query-params", label_visibility="collapsed"
    )
    is_open = ~found["group"].isin(reviewed)
    st.caption(
        f"{parts.plural(len(found), 'group')}: {found['conflict'].sum():,} with conflicting labels, "
        f"{found['leak'].sum():,} across splits, {is_open.sum():,} not decided."
    )
    masks = {"Conflicting labels": found["conflict"], "Across splits": found["leak"], "Not decided": is_open}
    if show in masks:
        found = found[masks[show]]
    if found.empty:
        parts.empty("No such group", "Choose another view above.", "filter_alt_off")
        return
    pages = -(-len(found) // PER_PAGE)
    slot = st.container()
    number = 1
    if pages > 1:
        with st.container(horizontal_alignment="center"):
            number = st.pagination(pages, key="dpage", bind="query-params")
    decided = decide.decided(loaded)
    similarity = _similarities(loaded)
    start = (min(number, pages) - 1) * PER_PAGE
    with slot:
        for row in found.iloc[start : start + PER_PAGE].itertuples():
            _group(loaded, row, decided, similarity)
    detail.drawer(loaded, [sample for samples in found["samples"] for sample in samples])


def _similarities(loaded: data.Loaded) -> dict[int, float]:
    """Per sample the similarity with its most similar partner."""
    pairs = loaded.duplicates
    if pairs.empty:
        return {}
    both = pd.concat(
        [pairs[["sample", "similarity"]], pairs[["partner", "similarity"]].set_axis(["sample", "similarity"], axis=1)]
    )
    return both.groupby("sample")["similarity"].max().to_dict()


def _group(loaded: data.Loaded, row, decided: dict[int, pd.Series], similarity: dict[int, float]) -> None:
    members = loaded.findings[loaded.findings["group"] == row.group]
    with st.container(border=True):
        badges = []
        if row.conflict:
            badges.append(":red-badge[:material/warning: conflicting labels]")
        if row.leak:
            badges.append(":orange-badge[:material/call_split: across splits]")
        badges.append(":gray-badge[exact]" if row.kind == "duplicate" else ":gray-badge[near]")
        st.markdown(" ".join(badges) + "  \n" + story.group_sentence(members, loaded.samples, parts.md))
        left, right = st.columns([1, 1], gap="medium")
        with left:
            _members(loaded, row, decided, similarity)
        with right:
            actions(loaded, row.group, row.samples, key=row.group)


def _members(loaded: data.Loaded, row, decided: dict[int, pd.Series], similarity: dict[int, float]) -> None:
    tiles = []
    for sample in row.samples[:MEMBERS]:
        split = loaded.samples.at[sample, "split"]
        close = similarity.get(sample)
        note = parts.SPLITS.get(split, split) + (f" · {close:.3f} alike" if close is not None and close < 1 else "")
        tiles.append(
            parts.tile(
                loaded,
                sample,
                given=loaded.samples.at[sample, "label"],
                title=f"#{sample}",
                note=note,
                **decide.badge(decided.get(sample)),
            )
        )
    parts.tell_missing(tiles)
    gallery(tiles, key=f"group-{row.group}", label=f"duplicate group of {len(row.samples)} images", on_open=detail.show)
    if len(row.samples) > MEMBERS:
        st.caption(f"The first {MEMBERS} of {len(row.samples):,} copies.")


def actions(
    loaded: data.Loaded,
    group: str,
    samples: list[int],
    *,
    key: str,
    then=None,
    asked=None,
    shortcuts: bool = False,
    comment: str | None = None,
) -> None:
    """The choices on a duplicate group: one copy with one of its labels, all, none, unsure."""
    before = decide.elsewhere(loaded, group)
    labels = list(dict.fromkeys(decide.label_now(loaded, sample, before) for sample in samples))

    def press(text: str, name: str, decisions: list, shortcut: str, icon: str, **style) -> None:
        st.button(
            text,
            key=f"{key}-{name}",
            icon=f":material/{icon}:",
            width="stretch",
            on_click=decide.store,
            args=(loaded, group, decisions, comment, then, asked),
            shortcut=shortcut if shortcuts else None,
            **style,
        )

    with st.grid(2, min_column_width=130, gap="xsmall"):
        if len(labels) == 1:
            press("Keep one copy", "one", decide.keep_one(loaded, group, samples), "A", "filter_1", type="primary")
        for at, label in enumerate(labels[:6] if len(labels) > 1 else []):
            decisions = decide.keep_one(loaded, group, samples, label)
            press(f"It is {parts.md(label)}", f"one-{at}", decisions, str(at + 1), "check")
        press("Keep all", "all", decide.keep_all(loaded, group, samples), "K", "done_all")
        press("Exclude all", "none", [(one, "exclude", None) for one in samples], "X", "block")
        press("Unsure", "unsure", decide.unsure_one(loaded, group, samples), "N", "help")
    decide.warn_excluded(loaded, group, samples, "**Keep all** leaves it out.")
    if len(labels) > 1:
        st.caption("Choosing a label keeps one copy that carries it and excludes the others.")
    else:
        st.caption("One copy stays, an evaluation copy if there is one, else the one with the lowest mean loss.")
