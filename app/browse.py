"""The gallery of findings on single samples: filters, paging, thumbnails, drawer. Mislabeled and Outliers use it."""

import pandas as pd
import streamlit as st

from lossprint.app import data, decide, detail, parts
from lossprint.app.gallery import gallery

PER_PAGE = (24, 48, 96)
ALL = "All"


def filtered(
    found: pd.DataFrame,
    reviewed: set[str],
    *,
    given: str = ALL,
    suggested: str = ALL,
    least: float = 0.0,
    state: str = ALL,
) -> pd.DataFrame:
    """The findings that pass the filters, in their order. `state` is All, Open or Decided."""
    keep = found["severity"] >= least
    if given != ALL:
        keep &= found["label"] == given
    if suggested != ALL:
        keep &= found["suggested_label"] == suggested
    if state != ALL:
        keep &= found["group"].isin(reviewed) == (state == "Decided")
    return found[keep]


def page_of(frame: pd.DataFrame, number: int, per_page: int) -> pd.DataFrame:
    """One page of a table; numbers count from 1, and one beyond the end means the last."""
    last = max(1, -(-len(frame) // per_page))
    start = (min(max(1, number), last) - 1) * per_page
    return frame.iloc[start : start + per_page]


def findings_gallery(loaded: data.Loaded, kind: str, *, prefix: str = "", suggestions: bool = True) -> None:
    """Filters, thumbnails by severity and the drawer. `prefix` keeps two pages' filters apart in the URL."""
    found = loaded.of_kind(kind)
    reviewed = decide.reviewed_groups(loaded)
    chosen = _filters(found, reviewed, prefix, suggestions)
    shown = filtered(found, reviewed, **chosen)
    if shown.empty:
        parts.empty(
            "Nothing matches these filters", "Lower the severity or choose another class or state.", "filter_alt_off"
        )
        return

    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        done = int(found["group"].isin(reviewed).sum())
        of = f" of {len(found):,}" if len(shown) < len(found) else ""
        st.markdown(f"**{len(shown):,}{of}** flagged · {done:,} decided")
        st.space("stretch")
        size = st.segmented_control(
            "Thumbnails",
            ["small", "medium", "large"],
            default="medium",
            required=True,
            key=f"{prefix}size",
            label_visibility="collapsed",
            format_func=lambda name: name[0].upper(),
            bind="query-params",
        )
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", width="content"):
            st.caption("per page", width="content")
            per_page = st.selectbox(
                "Per page", PER_PAGE, key=f"{prefix}per", label_visibility="collapsed", width=90, bind="query-params"
            )
    pages = max(1, -(-len(shown) // per_page))
    slot = st.container()
    number = 1
    if pages > 1:
        with st.container(horizontal_alignment="center"):
            number = st.pagination(pages, key=f"{prefix}page", bind="query-params")
    rows = page_of(shown, number, per_page)
    decided = decide.decided(loaded)
    tiles = [
        parts.tile(
            loaded,
            row.sample,
            given=row.label,
            suggested=row.suggested_label or "" if suggestions else "",
            bar=float(row.severity),
            **decide.badge(decided.get(int(row.sample))),
        )
        for row in rows.itertuples()
    ]
    with slot:
        parts.tell_missing(tiles)
        gallery(
            tiles,
            key=f"{prefix}gallery-{kind}",
            label="flagged samples, most severe first",
            size=size,
            selected=detail.opened(),
            on_open=detail.show,
        )
    st.caption("Click an image, or move with the arrow keys and press Enter, to see why it is flagged and to decide.")
    detail.drawer(loaded, [int(sample) for sample in shown["sample"]], (kind,))


def _filters(found: pd.DataFrame, reviewed: set[str], prefix: str, suggestions: bool) -> dict:
    first = f"{prefix}page"

    def reset() -> None:
        if first in st.session_state:
            st.session_state[first] = 1

    def choice(label: str, column: str, key: str) -> str:
        counts = found[column].dropna().value_counts()
        return st.selectbox(
            label,
            [ALL, *counts.index],
            key=key,
            bind="query-params",
            on_change=reset,
        )

    chosen = {}
    columns = st.columns([3, 3, 4, 3] if suggestions else [3, 4, 3], gap="medium")
    with columns[0]:
        chosen["given"] = choice("Given label", "label", f"{prefix}given")
    if suggestions:
        with columns[1]:
            chosen["suggested"] = choice("Suggested label", "suggested_label", f"{prefix}suggested")
    with columns[-2]:
        chosen["least"] = st.slider(
            "Severity at least", 0.0, 1.0, 0.0, 0.05, key=f"{prefix}least", bind="query-params", on_change=reset
        )
    with columns[-1]:
        chosen["state"] = st.segmented_control(
            "Decision",
            [ALL, "Open", "Decided"],
            default=ALL,
            required=True,
            key=f"{prefix}state",
            bind="query-params",
            on_change=reset,
        )
    return chosen
