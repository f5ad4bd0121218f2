"""One sample's whole story: image, labels, reason, loss print, scores, partners; as a drawer or within a page."""

import pandas as pd
import streamlit as st

from lossprint.app import charts, data, decide, guard, parts, story
from lossprint.app.gallery import gallery
from lossprint.audit.types import SCORES, Review


def finding_of(loaded: data.Loaded, sample: int, kinds: tuple[str, ...] = ()) -> pd.Series | None:
    """The most severe finding that a sample is in, of some kinds if given."""
    mine = loaded.findings[loaded.findings["sample"] == sample]
    if kinds:
        mine = mine[mine["kind"].isin(kinds)]
    return None if mine.empty else mine.sort_values("severity", ascending=False).iloc[0]


def why(loaded: data.Loaded, sample: int) -> None:
    """The reasons why a sample is flagged, in plain words."""
    for sentence in story.reasons(loaded.findings, loaded.scores, loaded.samples, sample, parts.md):
        st.markdown(sentence)


def loss_chart(
    loaded: data.Loaded, sample: int, key: str, *, extra: tuple[charts.Line, ...] = (), height: int = charts.HEIGHT
) -> None:
    """The loss print of a sample over its class's mean and band on validation samples."""
    losses = data.losses(loaded, sample)
    if losses is None:
        st.caption("No losses were recorded for this sample.")
        return
    found = data.bands(loaded)
    label = loaded.samples.at[sample, "label"]
    band = {}
    if found is not None and label in found.mean:
        steps = found.checkpoints
        band = {
            "mean": pd.Series(found.mean[label], steps),
            "low": pd.Series(found.low[label], steps),
            "high": pd.Series(found.high[label], steps),
            "band": f"{label}, {found.source} mean",
        }
    line = charts.Line(f"sample {sample}", losses, "given")
    figure = charts.loss_print([*extra, line], dark=parts.dark(), height=height, **band)
    parts.chart(figure, f"Loss of sample {sample} at each checkpoint, over the mean of its class", key)
    if found is not None and 0 < found.count.get(label, 0) < 10:
        st.caption(
            f"Only {parts.plural(found.count[label], f'{found.source} sample')} of this class: its mean is noisy."
        )


def scores_chart(loaded: data.Loaded, sample: int, key: str) -> None:
    """The scores of a sample as percentiles within its class, and what each means one click away."""
    table = story.percentiles(loaded.scores, sample)
    if table.empty:
        st.caption("This sample has no scores: only training samples are scored.")
        return
    shown = table[table["name"] != "trace"]
    label = loaded.samples.at[sample, "label"]
    parts.chart(
        charts.percentiles(shown, dark=parts.dark()),
        f"Percentiles of the scores of sample {sample} within {label}",
        key,
    )
    with st.expander("Values, and what each score means", icon=":material/help:"):
        for row in table.itertuples():
            info = SCORES[row.name]
            st.markdown(
                f"**{info.title}** {row.value:.3g} ({info.unit}), higher than {story.share(row.percent)} of its class. "
                f"{info.meaning} *{info.caution}*"
            )


def partner_tiles(loaded: data.Loaded, mine: pd.DataFrame) -> list:
    """A tile for each row of partners: the image, its label and the correlation."""
    return [
        parts.tile(
            loaded, row.partner, given=loaded.samples.at[row.partner, "label"], note=f"r = {row.correlation:+.2f}"
        )
        for row in mine.itertuples()
    ]


def on_side(pairs: pd.DataFrame, side: str) -> pd.DataFrame:
    """The partners of a side that earn its name: the five least aligned ones may still be aligned."""
    sign = pairs["correlation"] > 0 if side == "aligned" else pairs["correlation"] < 0
    return pairs[(pairs["side"] == side) & sign]


def partner_strip(loaded: data.Loaded, sample: int, scope: str, key: str) -> None:
    """The aligned and the conflicting validation partners of a training sample as thumbnails."""
    pairs = data.partners(loaded, sample)
    pairs = pairs[pairs["scope"] == scope]
    for side, word in (
        ("aligned", "Aligned: learned together"),
        ("conflicting", "Conflicting: pull against each other"),
    ):
        mine = on_side(pairs, side)
        st.markdown(f"**{word}**")
        if mine.empty:
            st.caption("None found.")
            continue
        tiles = partner_tiles(loaded, mine)
        gallery(tiles, key=f"{key}-{side}", label=f"{side} partners of sample {sample}", size="small", columns=5)


# ---------------------------------------------------------------------------------------------- the drawer


def opened() -> int | None:
    """The sample whose drawer is open, from the URL (`?open=`)."""
    text = st.query_params.get("open", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def show(sample: int) -> None:
    st.query_params["open"] = str(sample)


def close() -> None:
    if "open" in st.query_params:
        del st.query_params["open"]


def drawer(loaded: data.Loaded, order: list[int], kinds: tuple[str, ...] = ()) -> None:
    """Open the drawer of the sample that the URL names. `order` is the gallery's, to step through."""
    if opened() in loaded.samples.index:
        _drawer(loaded, order, kinds)


@st.dialog("Sample", width="medium", position="right", on_dismiss=close)
def _drawer(loaded: data.Loaded, order: list[int], kinds: tuple[str, ...]) -> None:
    with guard.one_line():
        _panel(loaded, order, kinds)


def _panel(loaded: data.Loaded, order: list[int], kinds: tuple[str, ...]) -> None:
    decide.tell()
    sample = opened()
    if sample is None or sample not in loaded.samples.index:
        st.caption("Closed.")
        return
    at = order.index(sample) if sample in order else None
    row = loaded.samples.loc[sample]
    found = finding_of(loaded, sample, kinds)
    suggested = (found["suggested_label"] if found is not None else None) or parts.suggestion(loaded, sample)

    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        _step("Previous", "chevron_left", order, at, -1)
        _step("Next", "chevron_right", order, at, +1)
        if at is not None:
            st.caption(f"{at + 1:,} of {len(order):,}")
        st.space("stretch")
        parts.link("trajectories", "Whole story", "open_in_new", {"sample": sample})
    left, right = st.columns([5, 4], gap="medium")
    with left:
        parts.big_image(loaded, sample, 360)
        st.caption(f"Sample {sample} · {parts.md(row['path'])} · {parts.SPLITS.get(row['split'], row['split'])}")
    with right:
        st.markdown(parts.labels_line(loaded, sample, suggested))
        why(loaded, sample)
    if found is not None and found["kind"] in ("label_error", "outlier"):
        now = decide.decided(loaded).get(sample)
        if now is not None:
            st.markdown(decide.sentence(now))
        following = order[at + 1] if at is not None and at + 1 < len(order) else None

        def then() -> None:
            if following is not None:
                show(following)

        with right:
            decide.warn_excluded(
                loaded, found["group"], [sample], "deciding here brings it back, except by **Exclude**."
            )
            decide.buttons(
                loaded, found["group"], sample, suggested, key="drawer", then=then, asked=lambda: opened() == sample
            )
            st.button(
                "Undo my last decision",
                key="drawer-undo",
                icon=":material/undo:",
                shortcut="U",
                type="tertiary",
                on_click=decide.undo,
                args=(loaded, _back),
            )
    st.markdown("##### Loss print")
    loss_chart(loaded, sample, "drawer-loss", height=260)
    if row["split"] == "train":
        st.markdown("##### Scores within its class")
        scores_chart(loaded, sample, "drawer-scores")


def _back(row: Review) -> None:
    show(row.sample)


def _step(label: str, icon: str, order: list[int], at: int | None, by: int) -> None:
    to = at + by if at is not None else None
    able = to is not None and 0 <= to < len(order)
    st.button(
        label,
        key=f"drawer-{icon}",
        icon=f":material/{icon}:",
        disabled=not able,
        on_click=show,
        args=(order[to],) if able else (0,),
        shortcut="Left" if by < 0 else "Right",
    )
