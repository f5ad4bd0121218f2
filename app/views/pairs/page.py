"""Aligned and conflicting: which samples were learned with this one, and which against it?"""

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.charts import base as charts
from lossprint.app.elements import gallery
from lossprint.app.shared import drawer, parts
from lossprint.app.shared.sample import default_sample, loss_chart, on_side, suggestion_of
from lossprint.app.views.pairs import partners
from lossprint.scoring.labels import SUSPECT

SCOPES = {"Its own class": "class", "All classes": "all"}
CURVES = {"Losses": "losses", "Standardised": "standardised", "Changes": "changes"}
SEEN = {
    "losses": "",
    "standardised": "Each curve is shifted and scaled to mean 0 and spread 1, as the correlation r sees it: aligned "
    "ones lie on each other, conflicting ones are mirror images.",
    "changes": "What each loss gained or lost since the checkpoint before: the quantity that CLD correlates.",
}
OPEN, ASK = "Opens it", "Makes it the query"
CONFLICTS, OPPOSED, RANDOM = "Conflicts", "Often opposed", "Validation"
ANY = "Any classes"
WORDS = {
    "aligned": ("Aligned", "Their losses rise and fall together: what teaches one helps the other."),
    "conflicting": ("Conflicting", "One improves while the other gets worse: a wrong label, or a hard case."),
}
STRIP, SHOWN = 16, 15
FEW = 6  # checkpoints; with fewer, high correlations come about by chance


def render(loaded: data.Loaded) -> None:
    parts.header("Aligned & conflicting", "Which samples were learned together with this one, and which against it?")
    search, choice = st.columns([4, 6], gap="large", vertical_alignment="bottom")
    with search:
        sample = parts.choose_sample(loaded, default_sample(loaded))
    chosen = "All classes"
    if loaded.labelled:
        with choice:
            chosen = parts.one_of(
                "Partners from",
                list(SCOPES),
                default="Its own class",
                key="scope",
                bind="query-params",
            )
    scope = SCOPES[chosen]
    if sample is None:
        if loaded.samples.empty:
            parts.empty("No samples", "This run holds no samples.", "search_off")
        return
    _pick(loaded, scope, sample)
    found = _partners(loaded, sample)
    mine = found[(found["scope"] == scope).to_numpy()]
    mine = pd.concat([on_side(mine, side) for side in WORDS])
    _query(loaded, sample, mine, scope)
    shown = [sample]
    if mine.empty:
        _nothing(loaded, sample, scope, bool(len(found)))
    else:
        shown += [int(one) for one in mine["partner"]]
        _sides(loaded, sample, mine)
    shown += _strongest(loaded, scope)
    drawer.draw(loaded, list(dict.fromkeys(shown)), ())


def _partners(loaded: data.Loaded, sample: int) -> pd.DataFrame:
    """Of a training sample its validation partners, as stored; of any other its training partners, worked out now."""
    if loaded.samples.at[sample, "split"] == "train":
        return data.partners(loaded, sample)
    return data.derived(loaded, _against, sample)


def _against(loaded: data.Loaded, sample: int) -> pd.DataFrame:
    train = data.trajectory(loaded, "train")
    recorded = data.trajectory(loaded, loaded.samples.at[sample, "split"])
    if train is None or recorded is None:
        return pd.DataFrame(columns=partners.COLUMNS)
    return partners.against(train, recorded, sample)


def _conflicts(loaded: data.Loaded, scope: str) -> pd.DataFrame:
    """The dataset's strongest conflicts: sample, partner, correlation; one row a training sample."""
    with st.spinner("Looking for the strongest conflicts …"):
        return data.derived(loaded, _all_conflicts)[scope]


def _all_conflicts(loaded: data.Loaded) -> dict[str, pd.DataFrame]:
    return partners.strongest(loaded.run.pairs_path)


def _other(loaded: data.Loaded, sample: int) -> str:
    """What the partners of a sample are."""
    return "validation" if loaded.samples.at[sample, "split"] == "train" else "training"


# ---------------------------------------------------------------------------------------------- picking a query


def _pick(loaded: data.Loaded, scope: str, sample: int) -> None:
    """A strip of images, each of which becomes the query by a click."""
    val = data.trajectory(loaded, "val")
    conflicts = _conflicts(loaded, scope)
    able = ([CONFLICTS, OPPOSED] if len(conflicts) else []) + ([RANDOM] if val is not None else [])
    if not able:
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        which = parts.one_of("Or pick one", able, default=able[0], key="pick", bind="query-params")
        if which == RANDOM:
            present = np.unique(val.labels[val.labels >= 0])
            names = [loaded.classes[index] for index in present]
            label = st.selectbox("Class", names, key="of", bind="query-params", width=200)
            drawn = st.session_state.get("_drawn", 0)
            st.button("Others", icon=":material/shuffle:", on_click=_draw_others, help="Draw other samples at random.")
    if which == CONFLICTS:
        rows = conflicts.head(STRIP)
        ids, notes = rows["sample"], [f"r = {partners.signed(r)}" for r in rows["correlation"]]
    elif which == OPPOSED:
        rows = partners.most_opposed(conflicts, STRIP)
        ids, notes = rows["partner"], [f"{times:,} ×" for times in rows["times"]]
    else:
        mine = val.samples[val.labels == loaded.classes.index(label)]
        ids = np.random.default_rng(drawn).choice(mine, min(STRIP, len(mine)), replace=False)
        notes = [f"#{one}" for one in ids]
    tiles = [parts.tile(loaded, one, given=loaded.samples.at[one, "label"], note=note) for one, note in zip(ids, notes)]
    meaning = {
        CONFLICTS: "Training samples that a validation sample pulls against most.",
        OPPOSED: "Validation samples that are the strongest opponent of most training samples, among the "
        f"{len(conflicts):,} strongest conflicts: their own labels may be wrong.",
        RANDOM: "Validation samples of a class, drawn at random.",
    }[which]
    gallery(
        tiles,
        key="pick-strip",
        label=f"{which}: pick a query",
        size="small",
        strip=True,
        selected=sample,
        on_open=parts.choose,
    )
    st.caption(f"{meaning} Click one to make it the query.")


def _draw_others() -> None:
    st.session_state["_drawn"] = st.session_state.get("_drawn", 0) + 1


# ---------------------------------------------------------------------------------------------- the query


def _query(loaded: data.Loaded, sample: int, mine: pd.DataFrame, scope: str) -> None:
    row = loaded.samples.loc[sample]
    with st.container(border=True):
        picture, words, chart = st.columns([2, 4, 5], gap="medium")
        with picture:
            parts.big_image(loaded, sample, 200)
        with words:
            st.markdown(f"#### Sample {sample}")
            st.markdown(parts.labels_line(loaded, sample, suggestion_of(loaded, sample)))
            if not mine.empty and loaded.labelled:
                st.markdown(
                    partners.explain(
                        mine,
                        loaded.samples["label"],
                        row["label"],
                        scope,
                        _other(loaded, sample),
                        preferred=_preferred(loaded, sample),
                        flagged=lambda ids: _flagged(loaded, ids),
                        show=parts.md,
                    )
                )
            if not mine.empty:
                against = mine.loc[mine["side"] == "conflicting", "partner"]
                moved = partners.movement(
                    data.losses(loaded, sample), [data.losses(loaded, int(one)) for one in against]
                )
                if moved:
                    st.markdown(moved)
            st.caption(f"{parts.md(row['path'])} · {parts.SPLITS.get(row['split']) or parts.md(row['split'])}")
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.button("Open", icon=":material/zoom_in:", key="open-query", on_click=drawer.show, args=(sample,))
                parts.link("sample", "Whole story", "image_search", {"sample": sample})
        with chart:
            loss_chart(loaded, sample, "query-loss", height=250)


def _flagged(loaded: data.Loaded, samples: list[int]) -> int:
    """How many of a few samples are flagged for a suspicious label."""
    found = loaded.findings[loaded.findings["sample"].isin(samples)]
    return int(found.loc[found["kind"] == "label_error", "sample"].nunique())


def _preferred(loaded: data.Loaded, sample: int) -> str | None:
    """The label that the model prefers where it is not the given one; of a validation sample its last prediction."""
    split = loaded.samples.at[sample, "split"]
    if split == "train":
        return parts.suggestion(loaded, sample)
    found = data.trajectory(loaded, split)
    if found is None or found.predicted is None:
        return None
    at = int(np.searchsorted(found.samples, sample))
    if at >= len(found.samples) or found.samples[at] != sample:
        return None
    index = int(found.predicted[-1, at])
    name = loaded.classes[index] if 0 <= index < len(loaded.classes) else None
    return None if name == loaded.samples.at[sample, "label"] else name


def _nothing(loaded: data.Loaded, sample: int, scope: str, others: bool) -> None:
    """Why a sample has no partners, and what to do."""
    losses = data.losses(loaded, sample)
    kind = _other(loaded, sample)
    counted = 0 if losses is None else int((losses[losses.index > 0].notna()).sum())
    if losses is None:
        text = "No losses were recorded for it, so there is nothing to compare: pick another one above."
    elif counted < 2:
        text = "One checkpoint is no curve: record at least two, better ten or more (`lossprint audit --epochs`)."
    elif data.trajectory(loaded, "val" if kind == "validation" else "train") is None:
        text = (
            "This run recorded no validation samples to compare with. Give the dataset a validation split, or let "
            "`lossprint audit --val-fraction 0.1` set one aside."
        )
    elif kind == "validation" and "partners" in loaded.run.manifest["facts"].get("score", {}):
        text = (
            "This run has more than 2 million training samples: partners are kept for suspicious ones only (label "
            f"error over {SUSPECT}). Pick one of these above."
        )
    elif losses.max() - losses.min() <= partners.FLAT * losses.abs().max() or losses.isna().any():
        text = "Its loss does not vary, or was not recorded at every checkpoint, so it goes with and against no other."
    elif scope == "class":
        text = f"Its class has no {kind} samples to compare with, or none whose loss varies. "
        text += "Choose **All classes** above." if others else "Pick another sample above."
    else:
        text = f"No {kind} sample goes with it or against it. Pick another sample above."
    parts.empty("No partners", text, "group_off")


# ---------------------------------------------------------------------------------------------- both sides


def _sides(loaded: data.Loaded, sample: int, mine: pd.DataFrame) -> None:
    """Galleries and curves of both sides."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        curve = parts.one_of("Curves", list(CURVES), default="Losses", key="curves", bind="query-params")
        parts.one_of(
            loaded.media.worded("A click on an image"),
            [OPEN, ASK],
            default=OPEN,
            key="click",
            bind="query-params",
        )
    own = data.losses(loaded, sample)
    columns = st.columns(2, gap="large")
    for column, side in zip(columns, WORDS):
        with column:
            _side(loaded, sample, own, mine[(mine["side"] == side).to_numpy()], side, CURVES[curve])
    if SEEN[CURVES[curve]]:
        st.caption(SEEN[CURVES[curve]])
    steps = 0 if own is None else int((own.index > 0).sum())
    if steps < FEW:
        st.caption(
            f":material/warning: Only {parts.plural(steps, 'checkpoint')}: high correlations come about by chance."
        )


def _clicked(sample: int) -> None:
    # Asked when it is clicked, not when it was drawn: a click may come before the page is drawn anew.
    (parts.choose if st.session_state.get("click") == ASK else drawer.show)(sample)


def _side(loaded: data.Loaded, sample: int, own, mine: pd.DataFrame, side: str, what: str) -> None:
    title, meaning = WORDS[side]
    kind = _other(loaded, sample)
    st.subheader(title, anchor=False)
    st.caption(meaning)
    if mine.empty:
        st.caption(
            f"None found: no {kind} sample has {'a positive' if side == 'aligned' else 'a negative'} correlation."
        )
        return
    labels = loaded.samples["label"]
    tiles = [
        parts.tile(loaded, row.partner, given=labels.at[row.partner], note=f"r = {partners.signed(row.correlation)}")
        for row in mine.itertuples()
    ]
    parts.tell_missing(tiles)
    gallery(
        tiles,
        key=f"partners-{side}",
        label=f"{side} partners of sample {sample}",
        size="small",
        columns=5,
        selected=drawer.opened(),
        on_open=_clicked,
    )
    others = []
    for row in mine.itertuples():
        losses = data.losses(loaded, int(row.partner))
        if losses is not None:
            name = f"sample {row.partner} · {labels.at[row.partner]} · r = {partners.signed(row.correlation)}"
            others.append((name, losses))
    query = None if own is None else (f"sample {sample}", own)
    if others or query:
        figure = partners.curves(query, others, side, f"{side} {kind} samples", what, dark=parts.dark())
        alt = f"{partners.TITLES[what]} of sample {sample} and of its {side} partners at each checkpoint"
        parts.chart(figure, alt, f"curves-{side}")


# ---------------------------------------------------------------------------------------------- the whole dataset


def _strongest(loaded: data.Loaded, scope: str) -> list[int]:
    """The strongest conflicts by class and as images. Returns the samples shown."""
    st.subheader("The dataset's strongest conflicts", anchor=False)
    rows = _conflicts(loaded, scope)
    if rows.empty:
        st.caption("None found: no training sample has a validation sample whose loss goes against its own.")
        return []
    table = data.derived(loaded, _table, scope)
    chart, images = st.columns([5, 6], gap="large")
    pairs = {_pair_name(row.label, row.other): (row.label, row.other) for row in table[:200].itertuples()}
    with images:
        picked = st.selectbox("Between", [ANY, *pairs], key="between", bind="query-params")
        if picked in pairs:
            rows = partners.of_pair(rows, loaded.samples["label"], *pairs[picked])
        rows = rows.head(SHOWN)
        labels = loaded.samples["label"]
        tiles = [
            parts.tile(loaded, row.sample, given=labels.at[row.sample], note=_against_whom(row, labels, scope))
            for row in rows.itertuples()
        ]
        gallery(
            tiles,
            key="strongest",
            label="strongest conflicts",
            size="small",
            selected=drawer.opened(),
            on_open=_clicked,
        )
    with chart:
        _chart(loaded, table, scope)
    return [int(one) for one in rows["sample"]]


def _against_whom(row, labels: pd.Series, scope: str) -> str:
    if scope == "class":
        return f"r = {partners.signed(row.correlation)}"
    label = str(labels.at[row.partner])
    return f"{partners.signed(row.correlation)} with {label if len(label) <= 24 else label[:23] + '…'}"


def _table(loaded: data.Loaded, scope: str) -> pd.DataFrame:
    return partners.by_class(data.derived(loaded, _all_conflicts)[scope], loaded.samples["label"])


def _pair_name(label: str, other: str) -> str:
    return " ".join((f"{label} ✕ {other}" if label != other else f"{label}").split())


def _chart(loaded: data.Loaded, table: pd.DataFrame, scope: str) -> None:
    total = int(table["samples"].sum())
    if scope == "all":
        first = next((row for row in table.itertuples() if row.label != row.other), None)
        parts.chart(
            partners.pair_map(table, dark=parts.dark()),
            "How many of the strongest conflicts are between which given labels",
            "conflict-map",
        )
        said = f"The {parts.plural(total, 'strongest conflict')}, one a training sample, by both labels."
        if first is not None:
            said += (
                f" Between different labels most are of *{parts.md(first.label)}* against *{parts.md(first.other)}* "
                f"({first.samples:,}): while the model got better at one, it got worse at the other. The two need not "
                "look alike."
            )
        st.caption(said)
        return
    counts = pd.Series(table["samples"].to_numpy(), table["label"])
    parts.chart(
        charts.class_bars({"strongest conflicts": counts}, dark=parts.dark(), unit="training samples", top=12),
        "How many of the strongest conflicts within a class are in which class",
        "conflict-bars",
    )
    st.caption(
        f"The {parts.plural(total, 'strongest conflict')} within a class, one a training sample, by class. "
        "Choose **All classes** above to see which two classes pull against each other."
    )
