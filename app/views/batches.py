"""Batches: do new images belong to this run? What `lossprint check` found, with pictures; nothing is judged here."""

import shlex

import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.elements import gallery
from lossprint.app.elements.gallery import Tile
from lossprint.app.shared import parts
from lossprint.audit.check.cards import named
from lossprint.audit.check.looked_for import KINDS
from lossprint.audit.check.page import SECTIONS, uri
from lossprint.audit.check.words import sentences
from lossprint.audit.runs import beside
from lossprint.audit.types import LossprintError

SHOWN = 48
LISTED = 200  # images to label next
NEXT = 12  # of the images that are not named foreign the farthest


def render(loaded: data.Loaded) -> None:
    parts.header(
        "New batches",
        loaded.media.worded("Do new images belong to this data? Nothing is trained on them, and nothing is a verdict."),
    )
    names = beside.checks(loaded.run)
    if not names:
        parts.empty(
            "No batch was checked yet",
            loaded.media.worded(
                "Foreign images, copies of this run's images, labels that are probably wrong, and shifts of classes "
                "and quality, without a training:"
            ),
            "playlist_add_check",
        )
        st.code(f"lossprint check NEW --run {shlex.quote(str(loaded.run.path))}", language=None, wrap_lines=True)
        return
    parts.dead_link("batch", names, "batch")
    name = st.selectbox("Batch", names, key="batch", bind="query-params")
    try:
        result, samples = beside.check(loaded.run, name)
    except LossprintError as error:
        st.error(parts.md(error), icon=":material/error:")
        return
    _summary(result)
    for kind, title in SECTIONS.items():
        _gallery(kind, title, samples)
    _next(samples)
    _label_next(samples)
    _classes(result["parts"].get("class_shift") or {})
    _quality(result["parts"].get("quality_shift") or {})
    if result["unreadable"]:
        st.subheader("Images that cannot be read", anchor=False)
        st.dataframe(
            pd.DataFrame(result["unreadable"]), hide_index=True, alt="Images that cannot be read, with reasons"
        )


def _summary(result: dict) -> None:
    try:
        told = sentences(result)
    except (KeyError, TypeError, ValueError):  # a file that somebody else wrote
        told = []
    for sentence in [*result["notes"], *told]:
        st.markdown(f"- {parts.md(sentence)}")
    rows = [
        {
            "Kind": KINDS[kind][1].capitalize(),
            "Found": part["found"],
            "Not judged": part["unjudged"],
            "Why": part["why"],
        }
        for kind, part in result["parts"].items()
        if kind in KINDS
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, alt="What was looked for, found, and could not be judged")


def _gallery(kind: str, title: str, samples: pd.DataFrame) -> None:
    rows = named(samples, kind)
    if rows.empty:
        return
    st.subheader(title, anchor=False)
    if len(rows) > SHOWN:
        st.caption(f"The {SHOWN} most suspect of {len(rows):,}.")
    gallery(_tiles(kind, rows.head(SHOWN)), key=f"batch-{kind}", label=title)


def _next(samples: pd.DataFrame) -> None:
    rows = samples[~samples["is_foreign"] & samples["foreign"].notna() & samples["card"].notna()]
    rows = rows.sort_values("foreign", ascending=False, kind="stable").head(NEXT)
    if rows.empty:
        return
    st.subheader("Farthest of the others", anchor=False)
    st.caption("Not named foreign: the run's own images lie as far out. A reading order for whoever wants to be sure.")
    gallery(_tiles("foreign", rows), key="batch-next", label="Images farthest out that are not named foreign")


def _label_next(samples: pd.DataFrame) -> None:
    """Images without a label, those first of which the run's head is least sure: a label there tells most.

    ActiveLab's order of samples without a vote; copies and foreign images are left out.
    """
    bare = samples["label"].isna() | (samples["label"] == "")
    rows = samples[bare & ~samples["is_foreign"] & (samples["copy_of"] < 0) & (samples["repeat"] < 0)]
    rows = rows[rows["probability"].notna()].sort_values("probability", kind="stable").head(LISTED)
    if rows.empty:
        return
    st.subheader("Label next", anchor=False)
    st.caption("Without a label, no copies and not foreign: those first of which the run's head is least sure.")
    st.dataframe(
        pd.DataFrame(
            {"Image": rows["path"], "Likely": rows["suggested_label"], "Sure": 100 * rows["probability"].astype(float)}
        ),
        hide_index=True,
        height="auto" if len(rows) < 8 else 290,
        alt="Images to label, the least sure first",
        column_config={"Sure": st.column_config.NumberColumn(format="%.0f %%")},
    )


def _tiles(kind: str, rows: pd.DataFrame) -> list[Tile]:
    tiles = []
    for row in rows.itertuples():
        label = row.label if isinstance(row.label, str) else ""
        suggested = row.suggested_label if kind == "label_error" and isinstance(row.suggested_label, str) else ""
        note = {"repeat": f"as image {row.repeat}", "foreign": ""}.get(kind, "")
        if kind in ("copy", "leak"):
            note = f"{row.copy_kind} copy of {row.copy_of} ({row.copy_split})"
        bar = float(row.foreign) if kind == "foreign" and row.foreign == row.foreign else None
        tiles.append(
            Tile(
                int(row.image),
                uri(row.card),
                f"new image {row.path}",
                title=str(row.path),
                given=label,
                suggested=suggested,
                note=note,
                bar=bar,
            )
        )
    return tiles


def _classes(part: dict) -> None:
    if not part.get("rows"):
        return
    st.subheader("Classes", anchor=False)
    st.caption("Labels as given." if part.get("how") == "given" else "Classes as the run's head predicts them.")
    table = pd.DataFrame(part["rows"])
    share = {"format": "percent", "min_value": 0.0, "max_value": 1.0}
    st.dataframe(
        table.assign(label=table["label"].fillna("labels that the run does not have")),
        hide_index=True,
        height="auto" if len(table) < 8 else 290,
        alt="Shares of the classes here and in the run",
        column_config={
            "label": "Class",
            "images": "Images",
            "share": st.column_config.ProgressColumn("Share here", **share),
            "known_share": st.column_config.ProgressColumn("Share in the run", **share),
        },
    )


def _quality(part: dict) -> None:
    if not part.get("rows"):
        return
    st.subheader("How the images were taken", anchor=False)
    st.caption(
        "Shifted by: the share of the batch that would have to be exchanged for it to be spread as this run's images. "
        "At least: what is left of it with 95 % confidence. Larger: the chance that a new image is above a known one."
    )
    config = st.column_config
    table = pd.DataFrame(part["rows"])
    names = {"name": "Measure", "median": "Median here", "known_median": "In the run", "distance": "Shifted by"}
    names |= {"least": "At least", "p": "p", "above": "Larger", "low": "from", "high": "to"}
    st.dataframe(
        table[[one for one in names if one in table]].rename(columns=names),
        hide_index=True,
        placeholder="–",
        alt="Measures of the images here and in the run",
        column_config={
            **{
                name: config.NumberColumn(format="percent")
                for name in ("Shifted by", "At least", "Larger", "from", "to")
            },
            "p": config.NumberColumn(format="scientific"),
        },
    )
