"""Coreset: which smaller training set would do, and what would be dropped?"""

import html
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.charts import base as charts
from lossprint.app.elements import gallery
from lossprint.app.shared import decide, detail, parts
from lossprint.app.views.coreset import charts as charts_coreset
from lossprint.app.views.coreset import numbers, saving
from lossprint.audit.coresets.coreset import Ask
from lossprint.audit.types import LossprintError
from lossprint.scoring.coresets.methods import METHODS

SHOWN = 12
BEFORE = (
    "Until then nothing here says that one way of choosing is better than another: the scores only put samples in an "
    "order. Random choice is the baseline to beat, and on small, clean data few methods do."
)
ALL = "With `--methods all` the one that does best on the validation images can be chosen."
MEASURED = (
    "Large mark: mean of the trainings, its bar their deviation; small dots: single trainings, beside it. Only what "
    "was measured is drawn: nothing is known of the fractions between. All networks took equally many training steps."
)


def render(loaded: data.Loaded) -> None:
    parts.header("Coreset", "Which smaller training set would do, and what would be dropped?")
    if loaded.scores.empty:
        parts.empty("No training samples", "There is nothing to choose from in this run.", "search_off")
        return
    lacks = {name: numbers.lacking(loaded, name) for name in numbers.ordered()}
    ask, percent = _controls([name for name, lack in lacks.items() if not lack], lacks)
    _note(ask.method, lacks)
    _measured(loaded, ask, lacks)
    try:
        chosen = data.coreset(loaded, ask)
    except LossprintError as error:
        st.warning(parts.md(error), icon=":material/info:")
        return
    st.subheader("The subset", anchor=False)
    flagged = np.isin(chosen.frame["sample"].to_numpy(), loaded.of_kind("label_error")["sample"].to_numpy())
    inside = np.isin(loaded.scores["sample"].to_numpy(), chosen.frame["sample"].to_numpy())
    _numbers(loaded, chosen, int(flagged.sum()), ask.method)
    saving.files(loaded, ask, percent, chosen)
    balance, examples = st.columns([1, 1], gap="large")
    with balance:
        st.markdown("#### Class balance")
        _balance(chosen)
    with examples:
        order = _examples(
            loaded, chosen, METHODS[ask.method].chance, flagged, loaded.scores["sample"].to_numpy()[~inside]
        )
    saving.in_code(loaded, ask, percent, chosen)
    saving.saved(loaded, [name for name, lack in lacks.items() if not lack])
    detail.drawer(loaded, order)


# ---------------------------------------------------------------------------------------------- controls


def _controls(names: list[str], lacks: dict[str, str]) -> tuple[Ask, int]:
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
    return Ask(method, percent / 100, None, None, equal, int(least), twins, int(seed) if chance else 0), percent


def _note(method: str, lacks: dict[str, str]) -> None:
    info = METHODS[method]
    st.markdown(f"**{info.title}.** {info.meaning}")
    if advice := numbers.advice():
        with st.expander("What to choose when", icon=":material/help:"):
            st.markdown("\n".join(f"- **{when}**: {choose}. {why}" for when, choose, why in advice))
            st.markdown(f"Surer than any rule is to measure on your own data, by `lossprint coreset evaluate`. {ALL}")
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


# ---------------------------------------------------------------------------------------------- what was measured


@dataclass(frozen=True)
class _View:
    """What of the measurements is looked at. cells: of one split and one way of training."""

    cells: pd.DataFrame
    seeds: pd.DataFrame
    split: str
    way: tuple[str, int, str]
    judged: str


def _take(method: str) -> None:
    st.session_state["method"] = method


def _measured(loaded: data.Loaded, ask: Ask, lacks: dict[str, str]) -> None:
    st.subheader("What was measured", anchor=False)
    found = data.derived(loaded, numbers.measured, loaded.run.evaluation_stamp())
    if found is None or found.cells.empty:
        _unmeasured(loaded, ask)
        return
    top = st.container(border=True, gap="small")
    view = _view(found, ask)
    on = parts.SPLITS.get(view.split, view.split)
    at = numbers.place(view.cells, ask.method, ask.fraction)
    pick = numbers.to_choose(found.cells, view.way, at, ask.method)
    elsewhere = pick if view.split != "val" else None
    said = numbers.sentences(view.cells, ask.method, ask.fraction, view.judged, elsewhere, on)
    with top:
        parts_ = [
            f'<p style="font-size:1.2rem;line-height:1.45;margin:0 0 .3rem">{html.escape(one)}</p>' for one in said
        ]
        st.html(f'<div class="sentences">{"".join(parts_)}</div>')
        about = f"Judged on {on} images; {numbers.way_in_words(view.way)}."
        if ask.options != view.way[2]:
            about += " Measured with other options than those set above."
        if found.outdated:
            number = parts.plural(found.outdated, "training")
            about += f" {number} from before the latest decisions not counted: measure again."
        st.caption(parts.md(about))
        if pick not in (None, ask.method) and not lacks.get(pick):
            title = METHODS[pick].title
            st.button(f"Choose {title}", key="take-best", icon=":material/check:", on_click=_take, args=(pick,))
    left, right = st.columns([5, 4], gap="large")
    with left:
        _figure(view, ask, " ".join(said))
    with right:
        _table(view)
        _overlap(loaded, view, ask)
    wanted = view.cells[(view.cells["method"] == ask.method) & np.isclose(view.cells["fraction"], ask.fraction)]
    if wanted.empty:
        with st.expander(f"Measure {METHODS[ask.method].title} at {numbers.per_cent(ask.fraction)}"):
            more = [ask.fraction] + [1.0] * (numbers.whole(view.cells) is None)
            seeds = int(view.cells["seeds"].max())
            _command(numbers.command(loaded, ask, more, seeds, view.way))


def _unmeasured(loaded: data.Loaded, ask: Ask) -> None:
    if not loaded.run.manifest["dataset"].get("source"):
        parts.empty("Not measured", "This run does not know its images, so no network can be trained on them.", "info")
        st.caption(BEFORE)
        return
    if not loaded.media.trained:
        parts.empty(
            "Not measured",
            "There is no training of texts built in: train your own model on the chosen subset, on a random one of the "
            "same size and on all samples, with as many steps each.",
            "info",
        )
        return
    fractions = [0.05, 0.1, 0.3, ask.fraction, 1.0]
    parts.empty(
        "Not measured yet",
        "This command trains a network on the chosen subsets, on random ones of the same size and on all samples, and "
        "compares them on held-out images. What it finds is shown here.",
        "model_training",
    )
    _command(numbers.command(loaded, ask, fractions))
    seconds = loaded.run.manifest["facts"].get("record", {}).get("seconds")
    took = f" That one took {_duration(seconds)} on this run's machine." if seconds else ""
    st.caption(f"Each training has as many steps as that of the audit itself.{took} {BEFORE} {ALL}")


def _duration(seconds: float) -> str:
    return f"{seconds:,.0f} seconds" if seconds < 120 else f"{seconds / 60:,.0f} minutes"


def _command(line: str) -> None:
    st.code(line, language=None, wrap_lines=True)


def _view(found: numbers.Measured, ask: Ask) -> _View:
    """What is shown of the measurements; asked only where there is a choice."""
    cells = found.cells
    splits = [name for name in ("test", "val") if (cells["split"] == name).any()]
    ways = numbers.ways(cells)
    judged = [name for name in numbers.PER_CENT if cells[name].notna().any()]
    split, way, what = splits[0], next((one for one in ways if one[2] == ask.options), ways[0]), judged[0]
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom", key="coreset-view"):
        what = st.selectbox(
            "What is judged",
            judged,
            key="c_judged",
            bind="query-params",
            format_func=numbers.PER_CENT.get,
            width=240,
        )
        if len(splits) > 1:
            split = st.selectbox(
                "Judged on",
                splits,
                key="c_split",
                bind="query-params",
                format_func=lambda name: f"{parts.SPLITS[name]} images".capitalize(),
                width=190,
                help="Methods that look at validation images while they choose are judged fairly on test images only.",
            )
        if len(ways) > 1:
            words = {numbers.way_in_words(one): one for one in ways}
            default = list(words.values()).index(way)
            way = words[
                st.selectbox("Trained", list(words), index=default, key="c_way", bind="query-params", width=300)
            ]
    mine = (cells["split"] == split) & (cells["steps"] == way[1])
    mine &= (cells["model"] == way[0]) & (cells["options"] == way[2]) & cells[what].notna()
    rows = cells[mine]
    seeds = found.seeds.merge(rows[["model", "steps", "options", "split", "method", "fraction"]])
    return _View(rows, seeds, split, way, what)


def _figure(view: _View, ask: Ask, alt: str) -> None:
    cells = view.cells
    titles = {name: METHODS[name].title if name in METHODS else name for name in cells["method"].unique()}
    rest = numbers.others(cells, ask.method)
    shown = rest[: numbers.MOST]
    if len(rest) > 0:
        options = [name for name in titles if name not in ("random", "recommended")]
        picked = st.multiselect(
            "Also draw",
            options,
            key="c_also",
            bind="query-params",
            format_func=titles.get,
            placeholder=", ".join(titles[name] for name in shown),
        )
        shown = picked or shown
    parts_ = cells[cells["fraction"] < 1]
    all_ = numbers.whole(cells)
    if parts_.empty:
        st.caption("Only the training on all samples is done so far.")
        return
    loud = (ask.method, "random", "recommended", *shown)
    drawn = {name: titles[name] for name in METHODS if name in titles and name in loud}
    spread = numbers.SPREADS[view.judged]

    def shaped(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame[frame["method"].isin(list(drawn)) & (frame["fraction"] < 1)]
        return frame.assign(value=100 * frame[view.judged])

    rows = shaped(cells)
    figure = charts_coreset.measured(
        rows.assign(spread=100 * rows[spread]),
        shaped(view.seeds),
        titles=drawn,
        chosen=ask.method,
        wanted=ask.fraction,
        whole=None if all_ is None else (100 * all_[view.judged], 100 * all_[spread]),
        what=f"{numbers.PER_CENT[view.judged].lower()} (%)",
        dark=parts.dark(),
    )
    parts.chart(figure, alt, "coreset-measured")
    st.caption(MEASURED)


def _table(view: _View) -> None:
    shown = numbers.table(view.cells)
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    if shown["noisy"].isna().all():
        shown = shown.drop(columns="noisy")
    st.markdown("**All that was measured**")
    st.dataframe(
        shown,
        hide_index=True,
        height=min(330, 38 + 35 * len(shown)),
        column_config={
            "kept": number("Kept", format="%.6g %%", width=70, pinned=True),
            "method": text("Method", width=190, pinned=True),
            "accuracy": number("Accuracy", format="%.1f %%", width=80),
            "spread": number("±", format="%.1f", width=50, help="Deviation over the seeds"),
            "over_random": number("Over random", format="%+.1f", width=95, help="In points, seed by seed"),
            "over_spread": number("± of that", format="%.1f", width=75),
            "worst": number("Worst class", format="%.1f %%", width=90),
            "worst_label": text("which", width=110),
            "noisy": number("Wrong labels", format="%.1f %%", width=95, help="Share among the samples kept"),
            "seeds": number("Seeds", width=55),
            "samples": number("Samples", format="localized", width=75),
        },
        placeholder="–",
        alt="All measured methods and fractions",
    )


def _overlap(loaded: data.Loaded, view: _View, ask: Ask) -> None:
    at = numbers.place(view.cells[view.cells["fraction"] < 1], ask.method, ask.fraction)
    shown = numbers.shared(loaded.run.overlap(), ask.method, at, view.way[2])
    if shown.empty:
        return
    st.markdown(f"**The same samples as other methods, at {numbers.per_cent(at)}**")
    st.dataframe(
        shown,
        hide_index=True,
        height=min(220, 38 + 35 * len(shown)),
        column_config={
            "method": st.column_config.TextColumn("Method", width=190),
            "shared": st.column_config.ProgressColumn("Shared", min_value=0, max_value=100, format="%.0f %%"),
        },
        alt=f"What {METHODS[ask.method].title} shares with the other methods",
    )
    st.caption(f"By chance two subsets of this size share about {numbers.per_cent(at)}.")


# ---------------------------------------------------------------------------------------------- the subset


def _numbers(loaded: data.Loaded, chosen: data.Coreset, inside: int, method: str) -> None:
    flagged, of = loaded.of_kind("label_error")["sample"].nunique(), len(loaded.scores)
    kept = len(chosen.frame)
    grid = st.grid(3, min_column_width=150, gap="small")
    grid.metric("Kept", f"{kept:,}", border=True, height="stretch")
    grid.metric("Dropped", f"{of - kept:,}", border=True, height="stretch")
    grid.metric(
        "Suspicious labels kept",
        f"{inside:,} of {flagged:,}",
        delta=None if method == "random" else f"by chance about {flagged * kept / max(1, of):,.0f}",
        delta_color="off",
        delta_arrow="off",
        border=True,
        height="stretch",
        help="Samples flagged as mislabeled that would stay in the training set.",
    )
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
        more = f" and {len(missing) - 10:,} more" if len(missing) > 10 else ""
        names = ", ".join(parts.md(label) for label in missing[:10])
        st.warning(f"Left without any sample: {names}{more}.", icon=":material/warning:")


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
        st.markdown(f"#### {title}")
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
            selected=detail.opened(),
            on_open=detail.show,
        )
        tiles += shown
    parts.tell_missing(tiles)
    return [tile.id for tile in tiles]
