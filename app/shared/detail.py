"""One sample's whole story: image or text, labels, reason, loss print, scores, evidence; as a drawer or a page."""

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.charts import base as charts
from lossprint.app.elements import gallery, reader, viewer
from lossprint.app.shared import decide, guard, parts, spans, story
from lossprint.app.shared.later import later
from lossprint.audit.review import queues
from lossprint.audit.scores import SCORES
from lossprint.audit.types import Review

LARGE = 1600  # pixels
DRAWN = "_drawer_drawn"


def finding_of(loaded: data.Loaded, sample: int, kinds: tuple[str, ...] = ()) -> pd.Series | None:
    """The most severe finding that a sample is in, of some kinds if given."""
    mine = loaded.findings[loaded.findings["sample"] == sample]
    if kinds:
        mine = mine[mine["kind"].isin(kinds)]
    return None if mine.empty else mine.sort_values("severity", ascending=False).iloc[0]


def default_sample(loaded: data.Loaded) -> int | None:
    """Where nobody chose: the most suspicious label, else the sample with the highest mean loss, else the first."""
    found = loaded.of_kind("label_error")
    if len(found):
        return int(found["sample"].iloc[0])
    if "csl" in loaded.scores and loaded.scores["csl"].notna().any():
        return int(loaded.scores["csl"].idxmax())
    return int(loaded.samples.index[0]) if len(loaded.samples) else None


def claims_of(loaded: data.Loaded) -> dict[str, str] | None:
    """What each finding of a stretch of video says, by its name; None where nothing was looked at over time."""
    videos = data.videos(loaded)
    if videos is None:
        return None
    return {
        span.span: f"{span.sequence}: {spans.claim(span, spans.own_ends(span))}" for span in videos.spans.itertuples()
    }


def why(loaded: data.Loaded, sample: int) -> None:
    """The reasons why a sample is flagged, in plain words."""
    claims = data.derived(loaded, claims_of)
    for sentence in story.reasons(
        *(loaded.findings, loaded.scores, loaded.samples, sample, parts.md, claims),
        media=loaded.media,
        labelled=loaded.labelled,
    ):
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
    group = parts.md(label) if loaded.labelled else "samples"
    st.markdown(story.unusual(shown, group))
    parts.chart(
        charts.percentiles(shown, dark=parts.dark(), within="its class" if loaded.labelled else "all samples"),
        f"Percentiles of the scores of sample {sample} within {label}",
        key,
    )
    with st.expander("Values, and what each score means", icon=":material/help:"):
        for row in table.itertuples():
            info = SCORES[row.name]
            st.markdown(
                f"**{info.title}** {row.value:.3g} ({info.unit}), {story.compared(row.percent)} *{group}*. "
                f"{info.meaning} *{info.caution}*"
            )


def partner_tiles(loaded: data.Loaded, mine: pd.DataFrame) -> list:
    """A tile for each row of partners: the sample, its label and the correlation."""
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
    """The aligned and the conflicting validation partners of a training sample: their images and their curves."""
    pairs = data.partners(loaded, sample)
    pairs = pairs[pairs["scope"] == scope]
    lines = []
    for side, word in (
        ("aligned", ":green[Aligned]: learned together"),
        ("conflicting", ":orange[Conflicting]: pull against each other"),
    ):
        mine = on_side(pairs, side)
        st.markdown(f"**{word}**")
        if mine.empty:
            st.caption("None found.")
            continue
        tiles = partner_tiles(loaded, mine)
        gallery(tiles, key=f"{key}-{side}", label=f"{side} partners of sample {sample}", size="small", columns=5)
        prints = [data.losses(loaded, int(partner)) for partner in mine["partner"].head(3)]
        lines += [charts.Line(side, one, side, thin=True) for one in prints if one is not None]
    own = data.losses(loaded, sample)
    if lines and own is not None:
        figure = charts.loss_print([*lines, charts.Line(f"sample {sample}", own)], dark=parts.dark(), height=220)
        parts.chart(figure, f"Loss of sample {sample} and of its closest partners", f"{key}-curves")


def folded(
    loaded: data.Loaded, sample: int, key: str, title: str, *, box: str, expanded: bool = False, more=None
) -> None:
    """The evidence beside a question, folded: drawn once it is opened. `more()` draws below the partners.

    `title` says whether it is or was asked; `box` is the key of the fold, which stays open as its user left it.
    """
    fold = st.expander(title, icon=":material/show_chart:", expanded=expanded, key=box, on_change="rerun")
    with fold:
        if not fold.open:
            return
        why(loaded, sample)
        left, right = st.columns(2, gap="large")
        with left:
            loss_chart(loaded, sample, f"{key}-loss", height=260)
            scores_chart(loaded, sample, f"{key}-scores")
        with right:
            if loaded.samples.at[sample, "split"] == "train":
                partner_strip(loaded, sample, "class", f"{key}-partners")
            if more is not None:
                more()


def copies(loaded: data.Loaded, sample: int, key: str) -> bool:
    """The duplicates of a sample, with their similarity; False where it has none."""
    pairs = loaded.duplicates
    mine = pairs[(pairs["sample"] == sample) | (pairs["partner"] == sample)].head(12)
    if mine.empty:
        return False
    st.markdown("##### Its duplicates")
    tiles = []
    for row in mine.itertuples():
        other = int(row.partner if row.sample == sample else row.sample)
        split = loaded.samples.at[other, "split"]
        same = f"same {loaded.media.same}"
        alike = same if row.kind == "exact" else f"{row.similarity:.3f} alike"
        tiles.append(
            parts.tile(
                loaded,
                other,
                given=loaded.samples.at[other, "label"],
                title=f"#{other}",
                note=f"{alike} · {parts.SPLITS.get(split, split)}",
            )
        )
    gallery(tiles, key=f"{key}-copies", label=f"duplicates of sample {sample}", size="small")
    return True


def place_in_time(loaded: data.Loaded, sample: int, key: str) -> None:
    """Where a frame lies in its sequence, with the frames around it."""
    row = loaded.samples.loc[sample]
    if pd.isna(row.get("sequence")) or pd.isna(row.get("frame")):
        return
    frames = loaded.samples[loaded.samples["sequence"] == row["sequence"]].sort_values("frame")
    at = frames.index.get_loc(sample)
    labels = frames["label"].to_numpy(object)
    phase = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    first = int(phase[phase <= at][-1])
    last = int(phase[phase > at][0]) - 1 if (phase > at).any() else len(frames) - 1
    numbers = frames["frame"].to_numpy()
    st.markdown("##### Its place in time")
    st.markdown(
        f"Frame {row['frame']} of *{parts.md(row['sequence'])}*, number {at + 1:,} of {len(frames):,}. Its phase, "
        f"**{parts.md(row['label'])}**, goes from frame {numbers[first]} to {numbers[last]}."
    )
    around = frames.iloc[max(0, at - 4) : at + 5]
    tiles = [
        parts.tile(loaded, other, given=str(given), title=f"{frame}" + (" · this one" if other == sample else ""))
        for other, given, frame in zip(around["sample"], around["label"], around["frame"])
    ]
    found = loaded.findings
    mine = found[(found["sample"] == sample) & found["kind"].isin(queues.SPANS)]
    for name in mine["group"]:
        parts.link("sequences", "Its suspicious segment in Sequences", "movie", {"span": name})
    if mine.empty and data.videos(loaded) is not None:
        parts.link("sequences", "Its video in Sequences", "movie", {"sequence": row["sequence"]})
    gallery(tiles, key=f"{key}-time", label=f"frames around sample {sample}", size="small", strip=True, selected=sample)


def decisions(loaded: data.Loaded, sample: int) -> None:
    """All decisions on a sample, newest first, those taken back included."""
    history = data.reviews(loaded).history()
    mine = history[(history["sample"] == sample) & history["decision"].isin(decide.SAID)]
    if mine.empty:
        return
    st.markdown("##### Decisions")
    for _, row in mine.iloc[::-1].head(20).iterrows():
        st.markdown(decide.sentence(row) + ("" if row["stands"] else " *(taken back)*"))


def picture(loaded: data.Loaded, sample: int, key: str, limit: int) -> None:
    """The image, large and zoomable, or the whole text, and where it comes from."""
    found = data.thumb(loaded, sample, LARGE)
    row = loaded.samples.loc[sample]
    if found is None:
        parts.big_image(loaded, sample, limit)
    elif found.turns:
        reader(found.turns, alt=parts.named(loaded, sample), left=found.left, tall=limit, key=key)
    else:
        alt = parts.named(loaded, sample)
        size = {"width": found.width, "height": found.height, "pixelated": found.tiny}
        viewer(found.uri, alt=alt, limit=limit, key=key, **size)
    st.caption(f"Sample {sample} · {parts.md(row['path'])} · {parts.SPLITS.get(row['split'], row['split'])}")


def labels(loaded: data.Loaded, sample: int, suggested: str | None) -> None:
    """The given label, the suggested one, and how probable the model found it."""
    line, told = parts.labels_line(loaded, sample, suggested), None
    frames = data.derived(loaded, parts.over_time)
    single = frames is None or sample not in frames.index
    if suggested and single and sample in loaded.scores.index and parts.suggestion(loaded, sample) == suggested:
        probability = loaded.scores.at[sample, "suggested_probability"]
        if pd.notna(probability):
            line += f" {100 * probability:.0f}{story.NBSP}%"
            told = "The percentage is the suggested label's mean probability over the checkpoints."
    st.markdown(line, help=told)


def evidence(loaded: data.Loaded, sample: int, key: str) -> None:
    """What speaks for and against: neighbours in time, partners, duplicates, decisions."""
    place_in_time(loaded, sample, key)
    if loaded.samples.at[sample, "split"] == "train":
        st.markdown("##### Validation samples" + " of its class" * loaded.labelled)
        partner_strip(loaded, sample, "class", f"{key}-partners")
        parts.link("pairs", "All partners and their curves", "compare_arrows", {"sample": sample})
    copies(loaded, sample, key)
    decisions(loaded, sample)


# ---------------------------------------------------------------------------------------------- the drawer


def opened() -> int | None:
    """The sample whose drawer is open, from the URL (`?open=`)."""
    text = parts.url_value("open") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def show(sample: int) -> None:
    parts.write_url("open", str(sample))


def close() -> None:
    parts.write_url("open", None)


def drawer(loaded: data.Loaded, order: list[int], kinds: tuple[str, ...] = ()) -> None:
    """Open the drawer of the sample that the URL names. `order` is the gallery's, to step through.

    main.py calls it after every page, so that the drawer opens anywhere; where a page has called it, that one counts.
    """
    if st.session_state.get(DRAWN):
        return
    st.session_state[DRAWN] = True
    if opened() in loaded.samples.index:
        _drawer(loaded, order, kinds)


@st.dialog("Sample", width="medium", position="right", on_dismiss=close)
def _drawer(loaded: data.Loaded, order: list[int], kinds: tuple[str, ...]) -> None:
    guard.still_in()
    with guard.one_line():
        _panel(loaded, order, kinds)


def _panel(loaded: data.Loaded, order: list[int], kinds: tuple[str, ...]) -> None:
    decide.tell()
    sample = opened()
    if sample is None or sample not in loaded.samples.index:
        st.caption("Closed.")
        return
    at = order.index(sample) if sample in order else None
    found = finding_of(loaded, sample, kinds)
    # Before anything is drawn: never newer than what is shown.
    seen = {} if found is None else decide.last_seen(data.reviews(loaded).history(), [found["group"]])
    suggested = (found["suggested_label"] if found is not None else None) or parts.suggestion(loaded, sample)

    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        _step("Previous", "chevron_left", order, at, -1)
        _step("Next", "chevron_right", order, at, +1)
        if at is not None:
            st.caption(f"{at + 1:,} of {len(order):,}")
        st.space("stretch")
        parts.link("sample", "Open as a page", "open_in_new", {"sample": sample})
    left, right = st.columns([5, 4], gap="medium")
    with left:
        picture(loaded, sample, "drawer-image", 360)
    with right:
        labels(loaded, sample, suggested)
        why(loaded, sample)
    if found is not None and found["kind"] in ("label_error", "outlier"):
        following = order[at + 1] if at is not None and at + 1 < len(order) else None

        def then() -> None:
            if following is not None:
                show(following)

        with right:
            decide.warn_excluded(
                loaded, found["group"], [sample], "deciding here brings it back, except by **Exclude**."
            )
            how = {"then": then, "asked": lambda: opened() == sample}
            decide.buttons(loaded, found["group"], sample, suggested, key="drawer", seen=seen, **how)
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
    later(f"drawer {loaded.key} {sample}", _below, loaded, sample, "drawer", height=700)


def _below(loaded: data.Loaded, sample: int, key: str) -> None:
    if loaded.samples.at[sample, "split"] == "train":
        st.markdown(f"##### Scores within {'its class' if loaded.labelled else 'all samples'}")
        scores_chart(loaded, sample, f"{key}-scores")
    evidence(loaded, sample, key)


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
