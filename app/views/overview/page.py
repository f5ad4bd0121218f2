"""Overview: what is in this dataset, and what deserves a look first?"""

from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from lossprint.app import data
from lossprint.app.charts import base as charts
from lossprint.app.elements import gallery
from lossprint.app.questions import groups
from lossprint.app.shared import decide, drawer, parts, story, trust
from lossprint.app.shared.sample import claims_of
from lossprint.app.shared.tour import tour
from lossprint.app.shared.viewport import when_seen
from lossprint.app.views.overview import suggest
from lossprint.audit.findings import unjudged, views
from lossprint.audit.review import queues, span_counts, wrong_labels
from lossprint.audit.scores import SCORES
from lossprint.audit.types import KIND_WORDS

CARDS = (
    ("label_error", "labels", "label_off"),
    ("sequence_label", "sequences", "movie"),
    ("sequence_order", "sequences", "swap_vert"),
    ("duplicate", "duplicates", "content_copy"),
    ("near_duplicate", "duplicates", "filter_none"),
    ("outlier", "outliers", "scatter_plot"),
    ("quality", "quality", "tonality"),
)
RECORDED = {
    "eval": "losses recorded after each epoch",
    "by-product": "losses of the training batches themselves",
    "imported": "losses imported",
}
AT_ONCE = 2  # suggestions drawn at once; the others when they come into view
DISTRIBUTIONS = ("csl", "curvature", "cld", "aum")


def render(loaded: data.Loaded) -> None:
    parts.header("Overview", "What is in this dataset, and what deserves a look first?")
    tour(loaded)
    _facts(loaded)
    _cards(loaded)
    _first(loaded)
    when_seen(f"overview {loaded.key}", _below, loaded, height=900)


def _below(loaded: data.Loaded) -> None:
    _suggested(loaded, AT_ONCE, None)
    _training(loaded)
    _scores(loaded)
    _notes(loaded)


def _facts(loaded: data.Loaded) -> None:
    manifest = loaded.run.manifest
    counts = loaded.samples["split"].value_counts()
    curve = data.learning(loaded)
    val = curve[(curve["split"] == "val") & curve["accuracy"].notna()]
    facts = [
        (f"{parts.SPLITS[split].capitalize()} samples", f"{counts[split]:,}")
        for split in parts.SPLITS
        if split in counts
    ]
    if "sequence" in loaded.samples and (videos := loaded.samples["sequence"].nunique()):
        facts.append(("Videos", f"{videos:,}"))
    if loaded.labelled:
        added = len(decide.labels(loaded)) - len(loaded.classes)
        facts.append(("Classes", f"{len(loaded.classes):,}" + (f" + {added:,} new" if added else "")))
    facts.append(("Checkpoints", f"{curve['checkpoint'].nunique():,}"))
    if len(val):
        facts.append(("Validation accuracy", f"{100 * val['accuracy'].iloc[-1]:.1f} %"))
    grid = st.grid(len(facts), min_column_width=140, gap="small")
    for label, value in facts:
        grid.metric(label, value, border=True)
    asked = manifest["asked"]
    source = str(manifest["dataset"].get("source") or "?")
    words = [f"Dataset **{parts.md('/'.join(Path(source).parts[-2:]))}**"]
    if asked.get("model"):
        words.append(f"model {parts.md(asked['model'])}")
    if manifest.get("seed") is not None:
        words.append(f"seed {parts.md(manifest['seed'])}")
    words.append(RECORDED.get(manifest.get("recording"), "losses of unknown origin"))
    st.caption(" · ".join(words), help=parts.md(source))
    for sentence in views.sentences(loaded.run):
        st.caption(f"{parts.md(sentence)}.")


def _cards(loaded: data.Loaded) -> None:
    progress = data.reviews(loaded).progress(loaded.findings).set_index("kind")
    st.subheader("Findings", anchor=False)
    lacking = [sentence for sentence in unjudged.sentences(loaded.run) if not sentence.startswith("Not looked for")]
    for sentence in lacking:
        st.warning(f"{parts.md(sentence)}.", icon=":material/help:")
    if loaded.findings.empty:
        title = "Nothing was flagged among what could be judged" if lacking else "Nothing was flagged"
        parts.empty(title, f"{_looked_for(loaded)} The evidence pages still work.")
        return
    trust.warn(loaded)
    shown = [card for card in CARDS if card[0] in progress.index]
    extents = data.derived(loaded, _extents)
    grid = st.grid(len(shown), min_column_width=165, gap="small", border=True)
    for kind, page, icon in shown:
        title, meaning = KIND_WORDS[kind][0], loaded.media.worded(story.MEANING[kind])
        if kind == "label_error" and not loaded.labelled:
            title, meaning = f"Suspicious {loaded.noun}s", "Their loss stayed far above that of the others."
        row = progress.loc[kind]
        with grid.cell():
            st.metric(title, f"{row['of']:,}", help=meaning)
            if kind == "label_error" and (about := trust.wrong(loaded)) is not None:
                st.caption(f"{wrong_labels.span(about)} expected to be wrong", help=wrong_labels.sentence(about))
            if kind in extents:
                st.caption(parts.md(extents[kind]))
            st.progress(row["reviewed"] / max(1, row["of"]), text=f"{row['reviewed']:,} of {row['of']:,} decided")
            parts.link(page, "Show them", icon)


def _extents(loaded: data.Loaded) -> dict[str, str]:
    """In how many frames and videos each kind of span was found."""
    videos = data.videos(loaded)
    if videos is None:
        return {}
    table = span_counts.counts(videos.spans, span_counts.outcomes(pd.DataFrame({"finding": []}), videos.spans))
    return {
        kind: f"{parts.plural(row['frames'], 'frame')} in {parts.plural(row['videos'], 'video')}"
        for kind, row in table.iterrows()
    }


def _looked_for(loaded: data.Loaded) -> str:
    """What was looked for and not found, and what was not looked for."""
    videos = data.videos(loaded)
    wrong = KIND_WORDS["label_error"][2]
    able = {
        wrong: loaded.has("label_error"),
        "duplicates": loaded.run.has_duplicates(),
        "outliers": loaded.has("outlier"),
    }
    if videos is not None:
        frames_only = len(videos.frames) == len(loaded.samples)
        able = {name: looked for name, looked in able.items() if name != wrong or not frames_only}
        able |= {KIND_WORDS[kind][2]: True for kind in queues.SPANS}
    none = ", ".join(f"no {name}" for name, looked in able.items() if looked)
    rest = " and ".join(name for name, looked in able.items() if not looked)
    sentences = [f"{none.capitalize()}."] if none else []
    return " ".join(sentences + ([f"Not looked for: {rest}."] if rest else []))


def _suggestions(loaded: data.Loaded) -> list[suggest.Suggestion]:
    classes = data.counts(loaded.samples.loc[loaded.samples["split"] == "train", "label"])
    claims = data.derived(loaded, claims_of)
    return suggest.suggestions(
        loaded.findings, data.derived(loaded, groups.listed), classes, parts.md, claims, loaded.noun
    )


def _first(loaded: data.Loaded) -> None:
    if data.derived(loaded, _suggestions):
        st.subheader("Look here first", anchor=False)
        _suggested(loaded, 0, AT_ONCE)


def _suggested(loaded: data.Loaded, first: int, last: int | None) -> None:
    decided = decide.decided(loaded)
    told = []
    for at, one in list(enumerate(data.derived(loaded, _suggestions)))[first:last]:
        with st.container(border=True):
            words, pictures = st.columns([2, 5], gap="medium", vertical_alignment="center")
            with words:
                st.markdown(f"**{at + 1:d}. {one.title}**")
                st.markdown(one.text)
                parts.link(one.page, "Show them", "arrow_forward", one.params)
            with pictures:
                more = one.more or [{"given": loaded.samples.at[sample, "label"]} for sample in one.samples]
                tiles = [
                    parts.tile(loaded, sample, **{**fields, **decide.badge(decided.get(int(sample)))})
                    for sample, fields in zip(one.samples, more)
                ]
                told += tiles
                gallery(tiles, key=f"first-{at}", label=one.title, size="small", on_open=drawer.show)
    parts.tell_missing(told)


def _training(loaded: data.Loaded) -> None:
    curve = data.learning(loaded)
    left, right = st.columns([2, 1], gap="large")
    with left:
        st.subheader("How the model learned", anchor=False)
        st.caption("Findings deserve trust where the model learned; one that stayed at chance level finds nothing.")
        known = [name for name in ("loss", "accuracy") if len(curve) and curve[name].notna().any()]
        if not known:
            st.caption("No losses were recorded.")
        else:
            for column, what in zip(st.columns(len(known), gap="medium"), known):
                with column:
                    figure = charts.learning(curve, what, dark=parts.dark())
                    parts.chart(figure, f"Mean {what} by checkpoint", f"learning-{what}")
    with right:
        st.subheader("Class balance", anchor=False)
        st.caption("Samples by class and split.")
        counts = data.derived(loaded, _class_counts)
        if counts:
            parts.chart(charts.class_bars(counts, dark=parts.dark()), "Samples by class and split", "balance")
        if len(loaded.classes) > 30:
            st.caption(f"The 30 largest of {len(loaded.classes):,} classes.")
        if loaded.labelled:
            parts.link("classes", "How each class is doing", "category")


def _scores(loaded: data.Loaded) -> None:
    names = [name for name in DISTRIBUTIONS if name in loaded.scores and loaded.scores[name].notna().any()]
    if not names:
        return
    st.subheader("Score distributions", anchor=False)
    st.caption("Training samples. The end to look at first, about 5 %, is orange.")
    grid = st.grid(len(names), min_column_width=210, gap="small")
    for name in names:
        info = SCORES[name]
        with grid.cell():
            st.markdown(f"**{info.title}**", help=f"{info.meaning}\n\n*{info.caution}*")
            figure = data.derived(loaded, _histogram, name, parts.dark())
            parts.chart(figure, f"Distribution of {info.title}", f"hist-{name}")


def _histogram(loaded: data.Loaded, name: str, dark: bool) -> go.Figure:
    info = SCORES[name]
    return charts.histogram(loaded.scores[name], dark=dark, unit=info.unit, suspect=info.suspect)


def _class_counts(loaded: data.Loaded) -> dict[str, pd.Series]:
    found = {split: data.counts(part["label"]) for split, part in loaded.samples.groupby("split", observed=True)}
    return {name: found[split] for split, name in parts.SPLITS.items() if split in found}


def _notes(loaded: data.Loaded) -> None:
    notes = list(loaded.run.manifest["dataset"].get("notes") or [])
    if not notes and loaded.unreadable.empty:
        return
    st.subheader("Notes", anchor=False)
    for note in notes:
        st.markdown(f":material/info: {parts.md(note)}")
    if len(loaded.unreadable):
        with st.expander(
            f"{parts.plural(len(loaded.unreadable), loaded.noun)} could not be read and took no part",
            icon=":material/broken_image:",
        ):
            st.dataframe(pd.DataFrame(loaded.unreadable), hide_index=True)
