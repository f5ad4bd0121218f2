"""What was measured of coresets, by `lossprint coreset evaluate`: sentences, figure and tables."""

import html
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.shared import parts
from lossprint.app.shared.owners import working
from lossprint.app.views.coreset import charts, numbers
from lossprint.audit.coresets.coreset import Ask
from lossprint.audit.workflow import offered
from lossprint.scoring.coresets.methods import METHODS

BEFORE = (
    "Until then nothing here says that one way of choosing is better than another: the scores only put samples in an "
    "order. Random choice is the baseline to beat, and on small, clean data few methods do."
)
ALL = "With `--methods all` the one that does best on the validation images can be chosen."
MEASURED = (
    "Large mark: mean of the trainings, its bar their deviation; small dots: single trainings, beside it. Only what "
    "was measured is drawn: nothing is known of the fractions between. All networks took equally many training steps."
)


@dataclass(frozen=True)
class View:
    """What of the measurements is looked at. cells: of one split and one way of training."""

    cells: pd.DataFrame
    seeds: pd.DataFrame
    split: str
    way: tuple[str, int, str]
    judged: str


def _choose(method: str) -> None:
    st.session_state["method"] = method


def measured(loaded: data.Loaded, ask: Ask, lacks: dict[str, str]) -> None:
    st.subheader("What was measured", anchor=False)
    measurements = data.derived(loaded, numbers.measured, loaded.run.evaluation_stamp())
    if measurements is None or measurements.cells.empty:
        _unmeasured(loaded, ask)
        return
    top = st.container(border=True, gap="small")
    view = _view(measurements, ask)
    on = parts.SPLITS.get(view.split, view.split)
    at = numbers.place(view.cells, ask.method, ask.fraction)
    pick = numbers.to_choose(measurements.cells, view.way, at, ask.method)
    elsewhere = pick if view.split != "val" else None
    sentences = numbers.sentences(view.cells, ask.method, ask.fraction, view.judged, elsewhere, on)
    with top:
        parts_ = [
            f'<p style="font-size:1.2rem;line-height:1.45;margin:0 0 .3rem">{html.escape(one)}</p>' for one in sentences
        ]
        st.html(f'<div class="sentences">{"".join(parts_)}</div>')
        about = f"Judged on {on} images; {numbers.way_in_words(view.way)}."
        if ask.options != view.way[2]:
            about += " Measured with other options than those set above."
        if measurements.outdated:
            number = parts.plural(measurements.outdated, "training")
            about += f" {number} from before the latest decisions not counted: measure again."
        st.caption(parts.md(about))
        if pick not in (None, ask.method) and not lacks.get(pick):
            title = METHODS[pick].title
            st.button(f"Choose {title}", key="take-best", icon=":material/check:", on_click=_choose, args=(pick,))
    left, right = st.columns([5, 4], gap="large")
    with left:
        _figure(view, ask, " ".join(sentences))
    with right:
        _table(view)
        _overlap(loaded, view, ask)
    wanted = view.cells[(view.cells["method"] == ask.method) & np.isclose(view.cells["fraction"], ask.fraction)]
    if wanted.empty:
        with st.expander(f"Measure {METHODS[ask.method].title} at {numbers.per_cent(ask.fraction)}"):
            more = [ask.fraction] + [1.0] * (numbers.whole(view.cells) is None)
            seeds = int(view.cells["seeds"].max())
            _command(loaded, numbers.command(loaded, ask, more, seeds, view.way))


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
    _command(loaded, numbers.command(loaded, ask, fractions))
    seconds = loaded.run.manifest["facts"].get("record", {}).get("seconds")
    took = f" That one took {_duration(seconds)} on this run's machine." if seconds else ""
    st.caption(f"Each training has as many steps as that of the audit itself.{took} {BEFORE} {ALL}")


def _duration(seconds: float) -> str:
    return f"{seconds:,.0f} seconds" if seconds < 120 else f"{seconds / 60:,.0f} minutes"


def _command(loaded: data.Loaded, words: list[str]) -> None:
    working.offer(loaded.run.path, "Measure it here", partial(offered.measured, loaded.run, words), "coreset")


def _view(measurements: numbers.Measured, ask: Ask) -> View:
    """What is shown of the measurements; asked only where there is a choice."""
    cells = measurements.cells
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
    seeds = measurements.seeds.merge(rows[["model", "steps", "options", "split", "method", "fraction"]])
    return View(rows, seeds, split, way, what)


def _figure(view: View, ask: Ask, alt: str) -> None:
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
    figure = charts.measured(
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


def _table(view: View) -> None:
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


def _overlap(loaded: data.Loaded, view: View, ask: Ask) -> None:
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
