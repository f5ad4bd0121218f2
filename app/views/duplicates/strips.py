"""Duplicate groups as strips of thumbnails, with which copy would stay, and the buttons that decide on a group."""

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.elements import gallery
from lossprint.app.questions import copies, groups
from lossprint.app.questions.copies import Standing
from lossprint.app.questions.groups import Edges, Table
from lossprint.app.shared import decide, drawer, parts, proof, story
from lossprint.audit import words
from lossprint.audit.datasets.media import Media

MEMBERS = 24  # tiles a group
IN_SIGHT = 4  # tiles that fit beside the buttons
BEST = {
    "loss": "the one with the lowest mean loss (CSL)",
    "central": "the one most similar to the others",
    "largest": "the one with the most pixels",
}


def value_of(loaded: data.Loaded, table: Table, frame: pd.DataFrame, policy: str) -> np.ndarray:
    """What a policy goes by (M,), in the order of `grouping.flat(frame)`: the lowest stays, NaN where unknown."""
    ids = table.members[groups.flat(frame)[1]]
    if policy == "central":
        return -groups.central(frame, table.members, data.derived(loaded, groups.edges))
    if policy == "largest":
        sizes = [data.thumb(loaded, sample) for sample in ids.tolist()]
        return np.array([-found.width * found.height if found else np.nan for found in sizes], float)
    return copies.losses(loaded.scores, ids)


def strips(loaded, table: Table, shown, decided: np.ndarray, partly: np.ndarray, policy: str, history) -> None:
    row, at = groups.flat(shown)
    ids = table.members[at]
    value = value_of(loaded, table, shown, policy)
    pairs = data.derived(loaded, groups.edges).among(ids)
    standing = copies.standing(history, ids)
    seen = decide.last_seen(history, shown["group"])
    for number, one in enumerate(shown.itertuples()):
        state = "decided" if decided[one.Index] else "partly" if partly[one.Index] else "open"
        _group(loaded, one, table.samples(one), value[row == number], pairs, standing, state, policy, seen)


def _group(loaded, row, samples: list[int], value, pairs: Edges, standing: Standing, state: str, policy, seen) -> None:
    members = pd.DataFrame({"sample": samples, "kind": row.kind})
    with st.container(border=True):
        sentence = story.group_sentence(members, loaded.samples, parts.md, loaded.noun)
        st.markdown(" ".join(_badges(row, samples, pairs, state, loaded.media)) + "  \n" + sentence)
        left, right = st.columns([3, 2], gap="medium")
        with left:
            _strip(loaded, row, samples, value, pairs, standing, state, policy)
            others = {f"#{one}": int(one) for one in samples[1:MEMBERS]}
            proof.beside(loaded, int(samples[0]), others, f"beside-{row.group}")
        with right:
            actions(loaded, row.group, samples, key=row.group, policy=policy, value=value, standing=standing, seen=seen)
            if row.size < row.whole:
                st.caption(
                    f"A part of the recorded group {parts.md(row.of)}: decisions here are stored as "
                    f"{parts.md(row.group)} and leave its other copies as they are."
                )


def _badges(row, samples: list[int], pairs: Edges, state: str, media: Media) -> list[str]:
    badges = []
    if row.conflict:
        badges.append(":red-badge[:material/warning: conflicting labels]")
    if row.leak:
        badges.append(":orange-badge[:material/call_split: across splits]")
    if row.kind == groups.EXACT:
        badges.append(f":gray-badge[exact: same {media.same}]")
    else:
        values = pairs.among(samples).similarity
        span = sorted({shown_alike(one) for one in (values.min(), values.max())}) if len(values) else []
        badges.append(f":gray-badge[near: {'–'.join(span)} alike]" if span else ":gray-badge[near]")
    if row.size < row.whole:
        badges.append(f":gray-badge[part of a group: {row.size} of {row.whole}]")
    if state != "open":
        said = "decided" if state == "decided" else "decided in part"
        badges.append(f":green-badge[:material/task_alt: {said}]")
    return badges


def shown_alike(similarity: float) -> str:
    """A similarity with three decimals, cut rather than rounded: only the same is 1."""
    return f"{np.floor(similarity * 1000 + groups.CLOSE) / 1000:.3f}"


def _strip(loaded, row, samples: list[int], value, pairs: Edges, standing: Standing, state: str, policy: str) -> None:
    """The copies side by side, the one that would stay marked; what was decided takes the place of the preview."""
    now, before = standing.now(), standing.before(row.group)
    rows = loaded.samples.loc[samples]
    train = (rows["split"] == "train").to_numpy(bool)
    labels = copies.labels_now(samples, rows["label"].astype(object).tolist(), before)
    kept = copies.stays(samples, before, train, value)
    # Which one stays depends on which label is right: the copy of each label that its button keeps.
    firsts = {
        label: copies.stays(samples, before, train, value, [one == label for one in labels])
        for label in dict.fromkeys(labels)
    }
    order = _shown_members(samples, kept)
    alike = groups.matrix([samples[at] for at in order], pairs)
    to_kept = alike[order.index(samples.index(kept))]
    tiles = []
    for at, similarity in zip(order, to_kept):
        sample, label = samples[at], labels[at]
        if state == "decided":
            mark = decide.badge(now.get(sample))
            mark["dim"] = sample in now and now[sample]["decision"] == "exclude"
        elif len(firsts) == 1:
            mark = {"badge": "stays", "tone": "good"} if sample == kept else {"badge": "goes", "dim": True}
        elif labels.count(label) > 1:
            mark = {"badge": f"stays if {label}"} if firsts[label] == sample else {"badge": "goes", "dim": True}
        else:
            mark = {}
        split = rows["split"].iloc[at]
        notes = [parts.SPLITS.get(split, str(split))]
        if row.kind == groups.NEAR and sample != kept:
            notes.append(_like(similarity, kept, loaded.media))
        notes.append(_measure(loaded, sample, value[at], policy))
        if state != "decided" and before.get(sample, {}).get("decision") == "exclude":
            notes.append("excluded elsewhere")
        given = rows["label"].iloc[at]
        tiles.append(
            parts.tile(
                loaded,
                sample,
                given=given,
                suggested=label if label != given else "",
                title=f"#{sample}",
                note=" · ".join(note for note in notes if note),
                **mark,
            )
        )
    parts.tell_missing(tiles)
    gallery(
        tiles,
        key=f"group-{row.group}",
        label=f"duplicate group of {len(samples)} {loaded.noun}s",
        strip=True,
        selected=drawer.opened() if drawer.opened() in samples else None,
        on_open=drawer.show,
    )
    if len(samples) > MEMBERS:
        st.caption(f"{MEMBERS} of {len(samples):,} copies; scroll sideways.")
    elif len(samples) > IN_SIGHT:
        st.caption(
            f"{len(samples)} copies: the first {IN_SIGHT} in sight, **+{len(samples) - IN_SIGHT}** to the right."
        )
    if row.kind == groups.NEAR and len(samples) > 2:
        _pair_table([samples[at] for at in order], alike, row.group)


def _shown_members(samples: list[int], kept: int) -> list[int]:
    """Places of the copies to show, at most MEMBERS; where not all are in sight at once the one that stays is first."""
    order = list(range(len(samples)))
    if len(samples) > IN_SIGHT:
        order.insert(0, order.pop(samples.index(kept)))
    return order[:MEMBERS]


def _like(similarity: float, kept: int, media: Media) -> str:
    if np.isnan(similarity):
        return f"no pair with #{kept}"
    return f"same {media.same} as #{kept}" if similarity >= 1 else f"{shown_alike(similarity)} like #{kept}"


def _measure(loaded: data.Loaded, sample: int, value: float, policy: str) -> str:
    """What the policy goes by, for one copy."""
    if np.isnan(value):
        return ""
    if policy == "largest":
        found = data.thumb(loaded, sample)
        return loaded.media.measure.format(width=found.width, height=found.height) if found else ""
    return f"CSL {value:.2f}" if policy == "loss" else f"mean {shown_alike(-value)}"


def _pair_table(samples: list[int], alike: np.ndarray, group: str) -> None:
    box = st.expander("Similarity of each pair", key=f"pairs-{group}", on_change="rerun", icon=":material/grid_on:")
    if box.open:
        names = [f"#{sample}" for sample in samples]
        frame = pd.DataFrame(alike, names, names)
        with box:
            columns = {name: st.column_config.NumberColumn(format="%.3f") for name in names}
            st.dataframe(frame, column_config=columns, placeholder="–", alt="Similarity of each pair of copies")
            if np.isnan(alike).any():
                st.caption("–: no pair by themselves; other copies connect them.")


# ---------------------------------------------------------------------------------------------- one group's buttons


def _chosen(standing: Standing, group: str) -> set[tuple] | None:
    """What stands on a group, as (sample, decision, new label); None where nothing does."""
    rows = [row for row in standing.rows if row["finding"] == group]
    latest = {int(row["sample"]): (int(row["sample"]), row["decision"], row["new_label"]) for row in rows}
    return set(latest.values()) or None


def actions(
    loaded: data.Loaded,
    group: str,
    samples: list[int],
    *,
    key: str,
    policy: str,
    value: np.ndarray,
    standing: Standing,
    seen: dict[str, int],
) -> None:
    """The choices on a duplicate group: one copy with one of its labels, all, none, unsure.

    `value` is what the policy goes by, one a sample; `standing` what was decided on the samples; `seen` as in
    `decide.store`.
    """
    before, now = standing.before(group), standing.now()
    rows = loaded.samples.loc[samples]
    train = (rows["split"] == "train").to_numpy(bool)
    of_each = copies.labels_now(samples, rows["label"].astype(object).tolist(), before)
    labels = list(dict.fromkeys(of_each))

    def one(label: str) -> list:
        among = [other == label for other in of_each]
        return copies.keep_one(samples, copies.stays(samples, before, train, value, among), before)

    chosen = _chosen(standing, group)

    def press(text: str, name: str, decisions: list, icon: str, **style) -> None:
        if chosen is not None and chosen == {(int(one), word, label) for one, word, label in decisions}:
            text, icon, style = f"**{text}** · chosen", "task_alt", {"type": "primary"}
        elif chosen is not None:
            style = {"type": "secondary"}
        st.button(
            text,
            key=f"{key}-{name}",
            icon=f":material/{icon}:",
            width="stretch",
            on_click=decide.press,
            args=(loaded, [(group, *one) for one in decisions]),
            kwargs={"seen": {group: seen[group]}},
            **style,
        )

    all_kept = copies.keep_all(samples, before)
    free = next((one for one in all_kept if one[1] == "keep"), None)
    with st.grid(2, min_column_width=130, gap="xsmall"):
        if len(labels) == 1:
            press("Keep one copy", "one", one(labels[0]), "filter_1", type="primary")
        for at, label in enumerate(labels[:6] if len(labels) > 1 else []):
            press(f"It is {parts.md(label)}", f"one-{at}", one(label), "check")
        press("Keep all", "all", all_kept, "done_all")
        press("Exclude all", "none", [(sample, "exclude", None) for sample in samples], "block")
        # On a copy where it hides no decision of another finding.
        press("Unsure", "unsure", [(free[0], "unsure", None)] if free else all_kept[:1], "help")
    out = [one for one in samples if one in now and now[one]["decision"] == "exclude" and now[one]["finding"] != group]
    if out:
        names = " and ".join(dict.fromkeys(parts.md(now[one]["finding"]) for one in out[:3]))
        what = f"Sample{'s' * (len(out) > 1)} {parts.md(words.some(out))} {'is' if len(out) == 1 else 'are'}"
        it = "it" if len(out) == 1 else "them"
        st.warning(f"{what} excluded in {names}; **Keep all** leaves {it} out.", icon=":material/block:")
    if len(labels) > 1:
        st.caption("Choosing a label keeps one copy that carries it and excludes the others.")
        if chosen == {(int(one), word, label) for one, word, label in all_kept}:
            contradicting = ", ".join(f"**{parts.md(label)}**" for label in labels[:6])
            st.warning(
                f"Kept with contradicting labels, {contradicting}: one of them is wrong, and the export has them all.",
                icon=":material/warning:",
            )
        else:
            st.caption(":material/warning: **Keep all** keeps the contradicting labels as they are.")
    else:
        kept = copies.stays(samples, before, train, value)
        best = loaded.media.worded(BEST[policy])
        st.caption(f"#{kept} stays: an evaluation copy if there is one, else {best}.")
