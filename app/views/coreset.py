"""Coreset: which smaller training set would do, and what would be dropped?"""

import pandas as pd
import streamlit as st

from lossprint.app import charts, data, parts
from lossprint.app.gallery import gallery
from lossprint.audit import export
from lossprint.audit.types import SCORES, LossprintError
from lossprint.scoring.coreset import METHODS

SHOWN = 12


def render(loaded: data.Loaded) -> None:
    parts.header("Coreset", "Which smaller training set would do, and what would be dropped?")
    if loaded.scores.empty:
        parts.empty("No training samples", "There is nothing to choose from in this run.", "search_off")
        return
    names = list(METHODS)
    columns = st.columns([4, 4, 2, 2], gap="medium", vertical_alignment="bottom")
    with columns[0]:
        method = st.selectbox(
            "Method",
            names,
            index=names.index(next(name for name in ("cld", *names) if _able(loaded, name))),
            key="method",
            bind="query-params",
            format_func=lambda name: METHODS[name].title,
        )
    with columns[1]:
        percent = st.slider("Keep", 1, 100, 30, key="keep", format="%d %%", bind="query-params")
    with columns[2]:
        seed = st.number_input(
            "Seed", 0, 9999, 0, key="seed", bind="query-params", help="Matters where chance has a part."
        )
    if not _able(loaded, method):
        st.warning(
            f"This run has no {SCORES[METHODS[method].column].title}, which **{METHODS[method].title}** chooses by. "
            "Take another method.",
            icon=":material/info:",
        )
        return
    try:
        chosen = data.coreset(loaded, method, percent / 100, int(seed))
    except LossprintError as error:
        st.warning(parts.md(error), icon=":material/info:")
        return
    with columns[3]:
        st.download_button(
            "Download CSV",
            lambda: export.csv_text(chosen).encode("utf-8"),
            f"coreset-{method}-{percent}pct-seed{seed}.csv",
            "text/csv",
            key="download-coreset",
            on_click="ignore",
            type="primary",
            icon=":material/download:",
            width="stretch",
        )
    _note(method)
    dropped = loaded.scores[~loaded.scores["sample"].isin(chosen["sample"])]
    _numbers(loaded, chosen, dropped, method)
    balance, examples = st.columns([1, 1], gap="large")
    with balance:
        st.subheader("Class balance", anchor=False)
        _balance(loaded, chosen)
    with examples:
        _examples(loaded, chosen, dropped)


def _able(loaded: data.Loaded, method: str) -> bool:
    column = METHODS[method].column
    return column is None or loaded.has(column)


def _note(method: str) -> None:
    info = METHODS[method]
    st.markdown(f"**{info.title}.** {info.meaning}")
    st.caption(
        "Random choice is the baseline to beat, and on small, clean data few methods do. Compare at equal training "
        "steps and over several seeds."
    )


def _numbers(loaded: data.Loaded, chosen: pd.DataFrame, dropped: pd.DataFrame, method: str) -> None:
    flagged = set(loaded.of_kind("label_error")["sample"])
    inside = len(flagged & set(chosen["sample"]))
    by_chance = len(flagged) * len(chosen) / max(1, len(loaded.scores))
    grid = st.grid(3, min_column_width=150, gap="small")
    grid.metric("Kept", f"{len(chosen):,}", border=True, height="stretch")
    grid.metric("Dropped", f"{len(dropped):,}", border=True, height="stretch")
    grid.metric(
        "Suspicious labels kept",
        f"{inside:,} of {len(flagged):,}",
        delta=None if method == "random" else f"by chance about {by_chance:,.0f}",
        delta_color="off",
        delta_arrow="off",
        border=True,
        height="stretch",
        help="Samples flagged as mislabeled that would stay in the training set.",
    )


def _balance(loaded: data.Loaded, chosen: pd.DataFrame) -> None:
    whole = data.counts(loaded.scores["label"])
    part = data.counts(chosen["label"])
    shares = {
        "coreset": (100 * part / max(1, part.sum())).round(3),
        "all training samples": (100 * whole / whole.sum()).round(3),
    }
    parts.chart(
        charts.class_bars(shares, dark=parts.dark(), unit="% of the samples"), "Share of each class", "coreset-balance"
    )
    if len(whole) > 30:
        st.caption(f"The 30 largest of {len(whole):,} classes.")
    missing = [label for label in whole.index if label not in part.index]
    if missing:
        st.warning(
            f"Left without any sample: {', '.join(parts.md(label) for label in missing[:10])}.",
            icon=":material/warning:",
        )


def _examples(loaded: data.Loaded, chosen: pd.DataFrame, dropped: pd.DataFrame) -> None:
    tiles = []
    for title, frame, key in (("Kept, best first", chosen, "kept"), ("Dropped, a random look", dropped, "dropped")):
        st.subheader(title, anchor=False)
        if frame.empty:
            st.caption("None.")
            continue
        shown = frame.head(SHOWN) if key == "kept" else frame.sample(min(SHOWN, len(frame)), random_state=0)
        mine = [parts.tile(loaded, row.sample, given=row.label) for row in shown.itertuples()]
        tiles += mine
        gallery(mine, key=f"coreset-{key}", label=title, size="small", columns=6)
    parts.tell_missing(tiles)
