"""Coreset: which smaller training set would do, and what would be dropped?"""

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.charts import base as charts
from lossprint.app.elements import gallery
from lossprint.app.shared import decide, drawer, parts
from lossprint.app.views.coreset import measured, numbers, save
from lossprint.audit import words
from lossprint.audit.coresets.coreset import Ask
from lossprint.audit.coresets.shortfall import short_words
from lossprint.audit.memorized import exposure
from lossprint.audit.types import LossprintError
from lossprint.scoring.coresets.methods import METHODS

SHOWN = 12


def render(loaded: data.Loaded) -> None:
    parts.header("Coreset", "Which smaller training set would do, and what would be dropped?")
    if loaded.scores.empty:
        parts.empty("No training samples", "There is nothing to choose from in this run.", "search_off")
        return
    lacks = {name: numbers.lacking(loaded, name) for name in numbers.ordered()}
    ask, percent = _controls(loaded, [name for name, lack in lacks.items() if not lack], lacks)
    _note(ask.method, lacks)
    measured.measured(loaded, ask, lacks)
    try:
        chosen = data.coreset(loaded, ask)
    except LossprintError as error:
        st.warning(parts.md(error), icon=":material/info:")
        return
    st.subheader("The subset", anchor=False)
    flagged = np.isin(chosen.frame["sample"].to_numpy(), loaded.of_kind("label_error")["sample"].to_numpy())
    inside = np.isin(loaded.scores["sample"].to_numpy(), chosen.frame["sample"].to_numpy())
    _numbers(loaded, chosen, int(flagged.sum()), ask)
    save.files(loaded, ask, percent, chosen)
    balance, examples = st.columns([1, 1], gap="large")
    with balance:
        st.markdown("#### Class balance")
        _balance(chosen)
    with examples:
        order = _examples(
            loaded, chosen, METHODS[ask.method].chance, flagged, loaded.scores["sample"].to_numpy()[~inside]
        )
    save.in_code(loaded, ask, percent, chosen)
    save.saved(loaded, [name for name, lack in lacks.items() if not lack])
    drawer.draw(loaded, order)


# ---------------------------------------------------------------------------------------------- controls


def _controls(loaded: data.Loaded, names: list[str], lacks: dict[str, str]) -> tuple[Ask, int]:
    asked = st.query_params.get("method")
    for name, lack in lacks.items():
        if lack and METHODS[name].title == asked:
            st.warning(f"**{parts.md(asked)}** cannot be used here: this run has not {lack}.", icon=":material/info:")
    left, right = st.columns(2, gap="large", vertical_alignment="bottom")
    with left:
        method = st.selectbox(
            "Method",
            names,
            index=names.index("recommended"),
            key="method",
            bind="query-params",
            format_func=lambda name: METHODS[name].title,
            help=numbers.order_in_words(names),
        )
    with right:
        percent = st.slider("Keep", 1, 100, 30, key="keep", format="%d %%", bind="query-params")
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom", key="coreset-options"):
        least = st.number_input(
            "At least of each class",
            0,
            numbers.LEAST,
            1,
            key="least",
            bind="query-params",
            width=170,
            help="As far as a class has that many.",
        )
        chance = METHODS[method].chance
        # Drawn in any case: a widget that comes and goes would lose its place in the URL.
        seed = st.number_input(
            "Seed",
            0,
            numbers.SEEDS,
            0,
            key="seed",
            bind="query-params",
            width=120,
            disabled=not chance,
            help="Another number is another draw; the same one always gives the same subset."
            if chance
            else "This method leaves nothing to chance.",
        )
        equal = st.toggle(
            "Same number of each class",
            key="equal",
            bind="query-params",
            help="Else each class keeps its share. A class that has too few gives all it has.",
        )
        twins = st.toggle(
            "Never both of a duplicate pair",
            key="twins",
            bind="query-params",
            help="Of samples that are the same or almost, at most one is chosen.",
        )
        exposed = st.number_input(
            "Leave out the most exposed (%)",
            0,
            numbers.EXPOSED,
            0,
            key="exposed",
            bind="query-params",
            width=210,
            disabled=not exposure.stamp(loaded.run),
            help="Of the training samples, those that a model would give away the most: see the page Exposure.",
        )
    seed = int(seed) if chance else 0
    return Ask(method, percent / 100, None, None, equal, int(least), twins, seed, exposed / 100), percent


def _note(method: str, lacks: dict[str, str]) -> None:
    info = METHODS[method]
    st.markdown(f"**{info.title}.** {info.meaning}")
    if advice := numbers.advice():
        with st.expander("What to choose when", icon=":material/help:"):
            st.markdown("\n".join(f"- **{when}**: {choose}. {why}" for when, choose, why in advice))
            surer = "Surer than any rule is to measure on your own data, by `lossprint coreset evaluate`."
            st.markdown(f"{surer} {measured.ALL}")
    with st.expander("All methods, those worth choosing first", icon=":material/list:"):
        rows = [(numbers.kind(name), METHODS[name].title, METHODS[name].meaning, lack) for name, lack in lacks.items()]
        table = pd.DataFrame(rows, columns=["kind", "method", "keeps", "lacks"])
        if not table["lacks"].any():
            table = table.drop(columns="lacks")
        st.dataframe(
            table,
            hide_index=True,
            column_config={
                "kind": st.column_config.TextColumn("Kind", width=170),
                "method": st.column_config.TextColumn("Method", width=220),
                "keeps": st.column_config.TextColumn("What it keeps", width=640),
                "lacks": st.column_config.TextColumn("This run lacks", width=210),
            },
            alt="The methods, what each keeps, and what this run lacks for it",
        )


# ---------------------------------------------------------------------------------------------- the subset


def _numbers(loaded: data.Loaded, chosen: data.Coreset, inside: int, ask: Ask) -> None:
    flagged, of = loaded.of_kind("label_error")["sample"].nunique(), len(loaded.scores)
    kept = len(chosen.frame)
    grid = st.grid(3, min_column_width=150, gap="small")
    grid.metric("Kept", f"{kept:,}", border=True, height="stretch")
    grid.metric("Dropped", f"{of - kept:,}", border=True, height="stretch")
    grid.metric(
        "Flagged labels kept",
        f"{inside:,} of {flagged:,}",
        delta=None if ask.method == "random" else f"by chance about {flagged * kept / max(1, of):,.0f}",
        delta_color="off",
        delta_arrow="off",
        border=True,
        height="stretch",
        help="Samples flagged with a wrong label that would stay in the training set.",
    )
    for sentence in short_words(chosen.source.table, ask, chosen.frame):
        st.warning(f"{parts.md(sentence[0].upper() + sentence[1:])}.", icon=":material/warning:")
    said = [f"{parts.plural(chosen.excluded, 'sample')} excluded"] * bool(chosen.excluded)
    said += [f"{parts.plural(chosen.relabelled, 'label')} changed"] * bool(chosen.relabelled)
    if said:
        st.caption(f"The experts' decisions are applied: {', '.join(said)}.")


def _balance(chosen: data.Coreset) -> None:
    whole, part = chosen.whole, data.counts(chosen.frame["label"])
    shares = {
        "coreset": (100 * part / max(1, part.sum())).round(3),
        "all training samples": (100 * whole / max(1, whole.sum())).round(3),
    }
    figure = charts.class_bars(shares, dark=parts.dark(), unit="% of the samples")
    parts.chart(figure, "Share of each class", "coreset-balance")
    if len(whole) > 30:
        st.caption(f"The 30 largest of {len(whole):,} classes.")
    missing = whole.index.difference(part.index, sort=False)
    if len(missing):
        st.warning(f"Left without any sample: {parts.md(words.some(missing, 10))}.", icon=":material/warning:")


def _examples(
    loaded: data.Loaded, chosen: data.Coreset, chance: bool, flagged: np.ndarray, dropped: np.ndarray
) -> list[int]:
    """Galleries of what is kept and what is not; the samples shown, in order."""
    decided = decide.decided(loaded)
    some = np.random.default_rng(0).choice(dropped, min(SHOWN, len(dropped)), replace=False)
    doubted = set(chosen.frame["sample"][flagged].head(SHOWN)) if len(chosen.frame) else set()
    doubted |= set(loaded.of_kind("label_error")["sample"]) & set(some.tolist())
    rows = {
        "kept": (
            f"Kept, {'the first drawn' if chance else 'best first'}",
            list(zip(chosen.frame["sample"].head(SHOWN), chosen.frame["label"].head(SHOWN))),
        ),
        "dropped": ("Dropped, a random look", [(one, loaded.samples.at[one, "label"]) for one in some.tolist()]),
    }
    tiles = []
    for key, (title, mine) in rows.items():
        st.markdown(f"#### {parts.md(title)}")
        if not mine:
            st.caption("None.")
            continue
        shown = []
        for sample, label in mine:
            badge = decide.badge(decided.get(int(sample)))
            badge = badge or ({"badge": "flagged", "tone": "warn"} if int(sample) in doubted else {})
            shown.append(parts.tile(loaded, int(sample), given=str(label), **badge))
        gallery(
            shown,
            key=f"coreset-{key}",
            label=title,
            size="small",
            columns=6,
            selected=drawer.opened(),
            on_open=drawer.show,
        )
        tiles += shown
    parts.tell_missing(tiles)
    return [tile.id for tile in tiles]
