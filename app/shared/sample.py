"""The parts of one sample's story: image or text, labels, reasons, loss print, scores, evidence."""

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.charts import base as charts
from lossprint.app.deep import deep
from lossprint.app.elements import gallery, reader, viewer
from lossprint.app.elements.viewer import Image
from lossprint.app.shared import decide, parts, spans, story, trust
from lossprint.audit.findings import quality
from lossprint.audit.review import queues
from lossprint.audit.scores import SCORES

LARGE = 1600  # pixels
PICKED = "pick"  # what is decided on a sample that no finding asks about is stored under `pick:SAMPLE`
DOUBTING = ("label_error", "sequence_label")  # findings that doubt a label


def finding_of(loaded: data.Loaded, sample: int, kinds: tuple[str, ...] = ()) -> pd.Series | None:
    """The most severe finding that a sample is in, of some kinds if given."""
    rows = loaded.findings[loaded.findings["sample"] == sample]
    if kinds:
        rows = rows[rows["kind"].isin(kinds)]
    return None if rows.empty else rows.sort_values("severity", ascending=False).iloc[0]


def default_sample(loaded: data.Loaded) -> int | None:
    """Where nobody chose: the most suspicious label, else the sample with the highest mean loss, else the first."""
    wrong = loaded.of_kind("label_error")
    if len(wrong):
        return int(wrong["sample"].iloc[0])
    if "csl" in loaded.scores and loaded.scores["csl"].notna().any():
        return int(loaded.scores["csl"].idxmax())
    return int(loaded.samples.index[0]) if len(loaded.samples) else None


def claims_of(loaded: data.Loaded) -> dict[str, str] | None:
    """What each span of video says, by its name; None where nothing was looked at over time."""
    videos = data.videos(loaded)
    if videos is None:
        return None
    return {
        span.span: f"{span.sequence}: {spans.claim(span, spans.own_ends(span))}" for span in videos.spans.itertuples()
    }


def looks_of(loaded: data.Loaded) -> dict[int, str]:
    """What stands out in how each flagged sample looks, by its id."""
    return quality.claims(loaded.run.quality(), loaded.of_kind("quality")["sample"].to_numpy())


def why(loaded: data.Loaded, sample: int) -> None:
    """The reasons why a sample is flagged, in plain words."""
    claims = data.derived(loaded, claims_of)
    for sentence in story.reasons(
        loaded.findings,
        loaded.scores,
        loaded.samples,
        sample,
        parts.md,
        claims,
        media=loaded.media,
        labelled=loaded.labelled,
        looks=data.derived(loaded, looks_of),
    ):
        st.markdown(sentence)
    for told in (trust.said(loaded, sample), trust.memorized(loaded, sample)):
        if told:
            st.markdown(f"{parts.md(told)}.")


def loss_chart(
    loaded: data.Loaded, sample: int, key: str, *, extra: tuple[charts.Line, ...] = (), height: int = charts.HEIGHT
) -> None:
    """The loss print of a sample over its class's mean and band on validation samples."""
    losses = data.losses(loaded, sample)
    if losses is None:
        st.caption("No losses were recorded for this sample.")
        return
    bands = data.bands(loaded)
    label = loaded.samples.at[sample, "label"]
    band = {}
    if bands is not None and label in bands.mean:
        steps = bands.checkpoints
        band = {
            "mean": pd.Series(bands.mean[label], steps),
            "low": pd.Series(bands.low[label], steps),
            "high": pd.Series(bands.high[label], steps),
            "band": f"{label}, {bands.source} mean",
        }
    line = charts.Line(f"sample {sample}", losses, "given")
    figure = charts.loss_print([*extra, line], dark=parts.dark(), height=height, **band)
    parts.chart(figure, f"Loss of sample {sample} at each checkpoint, over the mean of its class", key)
    if bands is not None and 0 < bands.count.get(label, 0) < 10:
        st.caption(
            f"Only {parts.plural(bands.count[label], f'{bands.source} sample')} of this class: its mean is noisy."
        )


def scores_chart(loaded: data.Loaded, sample: int, key: str) -> None:
    """The scores of a sample as percentiles within its class, and what each means one click away."""
    table = story.percentiles(loaded.scores, sample)
    if table.empty:
        st.caption("This sample has no scores: only training samples are scored.")
        return
    table = table[table["name"] != "trace"]
    label = loaded.samples.at[sample, "label"]
    group = parts.md(label) if loaded.labelled else "samples"
    st.markdown(story.unusual(table, group))
    parts.chart(
        charts.percentiles(table, dark=parts.dark(), within="its class" if loaded.labelled else "all samples"),
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


def partner_tiles(loaded: data.Loaded, pairs: pd.DataFrame) -> list:
    """A tile for each row of partners: the sample, its label and the correlation."""
    return [
        parts.tile(
            loaded, row.partner, given=loaded.samples.at[row.partner, "label"], note=f"r = {row.correlation:+.2f}"
        )
        for row in pairs.itertuples()
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
        rows = on_side(pairs, side)
        st.markdown(f"**{word}**")
        if rows.empty:
            st.caption("None found.")
            continue
        tiles = partner_tiles(loaded, rows)
        gallery(tiles, key=f"{key}-{side}", label=f"{side} partners of sample {sample}", size="small", columns=5)
        prints = [data.losses(loaded, int(partner)) for partner in rows["partner"].head(3)]
        lines += [charts.Line(side, losses, side, thin=True) for losses in prints if losses is not None]
    own = data.losses(loaded, sample)
    if lines and own is not None:
        figure = charts.loss_print([*lines, charts.Line(f"sample {sample}", own)], dark=parts.dark(), height=220)
        parts.chart(figure, f"Loss of sample {sample} and of its closest partners", f"{key}-curves")


def folded(
    loaded: data.Loaded, sample: int, key: str, title: str, *, box: str, expanded: bool = False, more=None
) -> None:
    """The details beside a question, folded: drawn once it is opened. `more()` draws below the partners.

    `box` is the key of the fold, which stays open as its user left it.
    """
    fold = st.expander(title, icon=":material/show_chart:", expanded=expanded, key=box, on_change="rerun")
    with fold:
        if not fold.open:
            return
        why(loaded, sample)
        left, right = st.columns(2, gap="large")
        with left:
            scores_chart(loaded, sample, f"{key}-scores")
        with right:
            if loaded.samples.at[sample, "split"] == "train":
                partner_strip(loaded, sample, "class", f"{key}-partners")
            copies(loaded, sample, key)
            if more is not None:
                more()


def details(loaded: data.Loaded, sample: int, key: str) -> None:
    """All scores, and the partners within its own class, folded: drawn once they are asked for."""
    if loaded.samples.at[sample, "split"] != "train":
        return
    inside = " and partners within its class" if loaded.labelled else ""
    box = f"{key}-details"
    fold = st.expander(f"Details: all scores{inside}", icon=":material/tune:", key=box, on_change="rerun")
    with fold:
        if not fold.open:
            return
        scores_chart(loaded, sample, f"{key}-scores")
        if loaded.labelled:
            st.markdown("##### Validation samples of its class")
            partner_strip(loaded, sample, "class", f"{key}-partners")
        parts.link("pairs", "All partners and their curves", "compare_arrows", {"sample": sample})


def copies(loaded: data.Loaded, sample: int, key: str) -> bool:
    """The duplicates of a sample, with their similarity; False where it has none."""
    pairs = loaded.duplicates
    pairs = pairs[(pairs["sample"] == sample) | (pairs["partner"] == sample)].head(12)
    if pairs.empty:
        return False
    st.markdown("##### Its duplicates")
    tiles = []
    for row in pairs.itertuples():
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
        f"Frame {row['frame']:d} of *{parts.md(row['sequence'])}*, number {at + 1:,} of {len(frames):,}. Its phase, "
        f"**{parts.md(row['label'])}**, goes from frame {numbers[first]:d} to {numbers[last]:d}."
    )
    around = frames.iloc[max(0, at - 4) : at + 5]
    tiles = [
        parts.tile(loaded, other, given=str(given), title=f"{frame}" + (" · this one" if other == sample else ""))
        for other, given, frame in zip(around["sample"], around["label"], around["frame"])
    ]
    findings = loaded.findings
    flagged = findings[(findings["sample"] == sample) & findings["kind"].isin(queues.SPANS)]
    for name in flagged["group"]:
        parts.link("sequences", "Its span in Sequences", "movie", {"span": name})
    if flagged.empty and data.videos(loaded) is not None:
        parts.link("sequences", "Its video in Sequences", "movie", {"sequence": row["sequence"]})
    gallery(tiles, key=f"{key}-time", label=f"frames around sample {sample}", size="small", strip=True, selected=sample)


def decision_list(loaded: data.Loaded, sample: int) -> None:
    """All decisions on a sample, newest first, those taken back included."""
    history = data.reviews(loaded).history()
    rows = history[(history["sample"] == sample) & history["decision"].isin(decide.DONE)]
    if rows.empty:
        return
    st.markdown("##### Decisions")
    for _, row in rows.iloc[::-1].head(20).iterrows():
        st.markdown(decide.sentence(row) + ("" if row["stands"] else " *(taken back)*"))


def picture(loaded: data.Loaded, sample: int, key: str, limit: int) -> None:
    """The image, large and zoomable, or the whole text, and where it comes from."""
    image = data.thumb(loaded, sample, LARGE)
    row = loaded.samples.loc[sample]
    if image is None:
        parts.big_image(loaded, sample, limit)
    elif image.turns:
        reader(image.turns, alt=parts.named(loaded, sample), left=image.left, tall=limit, key=key)
    else:
        viewer(large(loaded, sample, image), limit=limit, key=key)
    st.caption(
        f"Sample {sample} · {parts.md(row['path'])} · {parts.SPLITS.get(row['split']) or parts.md(row['split'])}"
    )


def large(loaded: data.Loaded, sample: int, image: data.Picture, caption: str = "") -> Image:
    """A sample's image as the viewer takes it, with its file's values where they have more than 8 bits."""
    size = {"width": image.width, "height": image.height, "pixelated": image.tiny}
    return Image(image.uri, parts.named(loaded, sample), **size, caption=caption, deep=deep(loaded, sample))


def suggestion_of(loaded: data.Loaded, sample: int) -> str | None:
    """The label that a finding puts in place of the given one; None where no finding doubts the label."""
    finding = finding_of(loaded, sample, DOUBTING)
    if finding is None:
        return None
    label = finding["suggested_label"]
    return label if isinstance(label, str) else parts.suggestion(loaded, sample)


def label_line(loaded: data.Loaded, sample: int, suggested: str | None) -> None:
    """The given label, the suggested one, and how probable the model found it, where it found it the likelier half."""
    line, note = parts.labels_line(loaded, sample, suggested), None
    frames = data.derived(loaded, parts.over_time)
    single = frames is None or sample not in frames.index
    if suggested and single and sample in loaded.scores.index and parts.suggestion(loaded, sample) == suggested:
        probability = loaded.scores.at[sample, "suggested_probability"]
        if probability >= 0.5:
            line += f" {100 * probability:.0f}{story.NBSP}%"
            note = "The percentage is the suggested label's mean probability over the checkpoints."
        elif pd.notna(probability):
            note = "A weak suggestion: it was ahead of the given label, and no label was sure."
    st.markdown(line, help=note)


def in_plain_words(loaded: data.Loaded, sample: int) -> None:
    """How difficult it was and how well it fits its class, among its class."""
    said = story.plain(loaded.scores, sample, parts.md(loaded.samples.at[sample, "label"]) if loaded.labelled else "")
    if said:
        st.markdown(said)


def evidence(loaded: data.Loaded, sample: int, key: str) -> None:
    """What else is known: neighbours in time, duplicates, decisions, all scores."""
    place_in_time(loaded, sample, key)
    copies(loaded, sample, key)
    decision_list(loaded, sample)
    details(loaded, sample, key)
