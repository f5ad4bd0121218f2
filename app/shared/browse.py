"""The gallery of findings on single samples, wrong labels and outliers: filters, order, pages, thumbnails, drawer."""

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.access import roles
from lossprint.app.charts import base as charts
from lossprint.app.elements import gallery
from lossprint.app.shared import decide, drawer, guard, parts, trust
from lossprint.app.shared.acting import acts, bar, steps
from lossprint.audit.datasets.tasks import ALL as ALL_SAMPLES
from lossprint.audit.export import export
from lossprint.audit.findings import quality
from lossprint.audit.runs.tables import FINDINGS
from lossprint.audit.types import KIND_WORDS

PER_PAGE = (24, 60, 120)
ALL = "All"
SORTS = {
    "severity": "Severity",
    "rank_confidence": "Surest first",
    "suggested_probability": "Clearest suggestion",
    "csl": "Most difficult",
    "curvature": "Highest curvature",
    "path": "Path",
    "sample": "Sample id",
}
CASES = {"wrong": "Clear", "ambiguous": "Ambiguous", "hard": "Hard"}
IN_MATRIX = 25  # classes
TOPS = (50, 100, 200, 500, 1000, 5000)


def filtered(
    found: pd.DataFrame,
    reviewed: set[str],
    *,
    given: str = ALL,
    suggested: str = ALL,
    least: float = 0.0,
    state: str = ALL,
    case: str = ALL,
    top: int | None = None,
) -> pd.DataFrame:
    """The findings that pass the filters, in their order. `state` is All, Open or Decided; `case` a triage or All;
    `top`: of so many, the most severe ones of all."""
    keep = found["severity"] >= least
    if top is not None:
        keep &= np.arange(len(found)) < top
    if given != ALL:
        keep &= found["label"] == given
    if suggested != ALL:
        keep &= found["suggested_label"] == suggested
    if case != ALL:
        keep &= found["triage"] == case
    if state != ALL:
        keep &= found["group"].isin(reviewed) == (state == "Decided")
    return found[keep]


def ordered(found: pd.DataFrame, by: str) -> pd.DataFrame:
    """Findings in the order of a key of `SORTS`: texts and ids ascending, scores from the suspect end, unknown last."""
    if by == "severity" or by not in found:
        return found
    return found.sort_values(by, ascending=by in ("path", "sample"), kind="stable", na_position="last")


def with_scores(loaded: data.Loaded, kind: str) -> pd.DataFrame:
    """The findings of a kind, most severe first, with the scores that they can be sorted and filtered by."""
    found = loaded.of_kind(kind)
    at = loaded.scores.index.get_indexer(found["sample"])
    more = {}
    for name in (*SORTS, "triage"):
        if name in loaded.scores.columns and name not in found.columns:
            column = loaded.scores[name].iloc[at].astype(object if name == "triage" else float)
            more[name] = column.where(at >= 0).to_numpy()
    return found.assign(**more, place=np.arange(1, len(found) + 1))


def confusion(found: pd.DataFrame, top: int = IN_MATRIX) -> pd.DataFrame:
    """Findings by given (rows) and suggested label (columns), square in the `top` labels that are involved most."""
    pairs = found.dropna(subset=["suggested_label"])
    involved = data.counts(pd.concat([pairs["label"], pairs["suggested_label"]]))
    names = sorted(involved.index[:top])
    table = pd.crosstab(pairs["label"], pairs["suggested_label"])
    return table.reindex(index=names, columns=names, fill_value=0)


def digits(loaded: data.Loaded) -> list[str]:
    """The labels of the keys 1 to 9 and 0: all classes where there are ten at most, else the most suggested ones."""
    if len(loaded.classes) <= 10:
        return list(loaded.classes)
    wrong = loaded.of_kind("label_error")
    frequent = list(data.counts(wrong["suggested_label"].dropna()).index[:10])
    return sorted(frequent)


def page_of(frame: pd.DataFrame, number: int, per_page: int) -> pd.DataFrame:
    """One page of a table; numbers count from 1, and one beyond the end means the last."""
    last = max(1, -(-len(frame) // per_page))
    start = (min(max(1, number), last) - 1) * per_page
    return frame.iloc[start : start + per_page]


@guard.fragment
def findings_gallery(
    loaded: data.Loaded, kind: str, *, prefix: str = "", suggestions: bool = True, only: frozenset[int] | None = None
) -> None:
    """Filters, thumbnails and the drawer, of these samples alone if given. `prefix` keeps two pages' filters apart in
    the URL."""
    with guard.one_line():
        decide.tell()
        st.session_state[drawer.DRAWN] = False
        _findings_gallery(loaded, kind, prefix, suggestions, only)


def _findings_gallery(
    loaded: data.Loaded, kind: str, prefix: str, suggestions: bool, only: frozenset[int] | None
) -> None:
    found = data.derived(loaded, with_scores, kind)
    if only is not None:
        found = found[found["sample"].isin(only)]
    reviewed = decide.reviewed_groups(loaded)
    chosen = _filters(found, reviewed, prefix, suggestions)
    if suggestions:
        _matrix(loaded, filtered(found, reviewed, **{**chosen, "given": ALL, "suggested": ALL}), prefix, chosen)
    shown = filtered(found, reviewed, **chosen)
    if shown.empty:
        parts.empty(
            "Nothing matches these filters", "Lower the severity or choose another class or state.", "filter_alt_off"
        )
        drawer.draw(loaded, [], (kind,))
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"{prefix}tools-strip"):
        done = int(found["group"].isin(reviewed).sum())
        of = f" of {len(found):,}" if len(shown) < len(found) else ""
        cases = "".join(f" · {word} {count:,}" for word, count in _cases(found).items())
        st.markdown(f"**{len(shown):,}{of}** flagged · {done:,} decided{cases if suggestions else ''}")
        st.space("stretch")
        size, per_page, by = _layout(found, prefix)
        shown = ordered(shown, by)
        _download(shown, kind, prefix)
    pages = max(1, -(-len(shown) // per_page))
    acted, top, slot = st.container(), st.container(), st.container()
    number = parts.pages(pages, f"{prefix}page")
    with top:
        parts.begins(f"{prefix}top-{kind}", number)
    rows = page_of(shown, number, per_page)
    drawer.draw(loaded, shown["sample"].tolist(), (kind,))  # before the tiles: it is what a click waits for
    seen = decide.last_seen(data.reviews(loaded).history(), rows["group"])  # first: never newer than what is shown
    ids = shown["sample"].to_numpy()
    with acted:
        bar.draw(loaded, acts.Selection(ids, "of them, as filtered", f"{prefix}{kind}", KIND_WORDS[kind][0].lower()))
        bar.draw_ticked(loaded, f"{prefix}gallery-{kind}")
    decided = decide.decided(loaded)
    tiles = [
        parts.tile(
            loaded,
            row.sample,
            given=row.label,
            suggested=row.suggested_label or "" if suggestions else "",
            bar=float(row.severity),
            note=_note(loaded, row, kind),
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
            selected=drawer.opened(),
            on_open=drawer.show,
            on_act=steps.bulk(loaded, rows, seen, f"{prefix}gallery-{kind}"),
            more=True,
            labels=decide.labels(loaded) if loaded.labelled else (),
            digits=digits(loaded) if loaded.labelled else (),
        )
    what = loaded.media.worded("an image")
    st.caption(f"Click {what}, or move with the arrow keys and press Enter, to see why it is flagged and to decide.")


def _note(loaded: data.Loaded, row, kind: str) -> str:
    """The place of a finding and its severity; what annotators said of its label, or what stands out of an image."""
    said = trust.said(loaded, int(row.sample)) if kind == "label_error" else ""
    if kind == "quality":
        said = data.derived(loaded, _issues).get(int(row.sample), "")
    return f"{row.place:,}. · {row.severity:.2f}" + (f" · {said}" if said else "")


def _issues(loaded: data.Loaded) -> dict[int, str]:
    """What stands out most of each image that is flagged for its quality, by its id."""
    table = loaded.run.quality()
    if table is None:
        return {}
    flagged = quality.flagged(table)
    return {int(sample): quality.WORDS[name][0].lower() for sample, name in zip(flagged["sample"], flagged["issue"])}


def _layout(found: pd.DataFrame, prefix: str) -> tuple[str, int, str]:
    """How to show the findings: the size of the thumbnails, how many a page, and their order."""
    able = [name for name in SORTS if name in ("severity", "path", "sample") or _known(found, name)]
    by = st.selectbox(
        "Sort",
        able,
        key=f"{prefix}sort",
        format_func=SORTS.get,
        label_visibility="collapsed",
        width=180,
        bind="query-params",
        help=None,
    )
    size = parts.one_of(
        "Thumbnails",
        ["small", "medium", "large"],
        default="medium",
        key=f"{prefix}size",
        label_visibility="collapsed",
        format_func=lambda name: name[0].upper(),
        bind="query-params",
    )
    return size, parts.per_page(PER_PAGE, f"{prefix}per"), by


def _download(shown: pd.DataFrame, kind: str, prefix: str) -> None:
    """The filtered findings as a file, in the order shown, all or the first so many."""
    with st.popover("Export", icon=":material/download:"):
        most = st.number_input(
            "How many, from the top", 1, len(shown), min(len(shown), 20), key=f"{prefix}export-{len(shown)}"
        )
        columns = [name for name in (*FINDINGS, *SORTS, "triage") if name in shown]
        roles.download(
            f"Download {parts.plural(int(most), 'row')} (CSV)",
            lambda: export.csv_text(shown.head(int(most))[list(dict.fromkeys(columns))]).encode("utf-8"),
            f"{kind}-first-{int(most)}.csv",
            "text/csv",
            key=f"{prefix}download",
            on_click="ignore",
        )


def _cases(found: pd.DataFrame) -> dict[str, int]:
    """How many findings are of each case, by its word; of runs without the triage none."""
    counts = found["triage"].value_counts() if "triage" in found else {}
    return {word: int(counts[case]) for case, word in CASES.items() if counts.get(case, 0)}


def _known(found: pd.DataFrame, name: str) -> bool:
    return name in found and bool(found[name].notna().any())


def _matrix(loaded: data.Loaded, found: pd.DataFrame, prefix: str, chosen: dict) -> None:
    """The confusion matrix, drawn when it is opened. A click on a cell sets the two label filters."""
    if not found["suggested_label"].notna().any():
        return
    box = st.expander(
        "Confusion matrix: which label is given, which one is suggested",
        icon=":material/grid_on:",
        key=f"{prefix}matrix",
        on_change="rerun",
        bind="query-params",
    )
    if not box.open:
        return
    key = f"{prefix}confusion"

    def picked() -> None:
        points = st.session_state[key]["selection"]["points"]
        if points and "customdata" in points[0]:
            given, suggested = points[0]["customdata"][:2]
            st.session_state[f"{prefix}given"], st.session_state[f"{prefix}suggested"] = given, suggested
            _first_page(prefix)

    def both() -> None:
        st.session_state[f"{prefix}given"] = st.session_state[f"{prefix}suggested"] = ALL
        _first_page(prefix)

    with box:
        table = confusion(found)
        figure = charts.confusion(table, dark=parts.dark(), chosen=(chosen["given"], chosen["suggested"]))
        st.plotly_chart(
            figure,
            key=key,
            on_select=picked,
            selection_mode="points",
            theme=None,
            config=parts.CHART,
            alt="Flagged samples by given and suggested label",
        )
        with st.container(horizontal=True, vertical_alignment="center"):
            more = f" The {IN_MATRIX} labels involved most." if len(loaded.classes) > len(table) == IN_MATRIX else ""
            st.caption(f"Click a cell to see its samples; the two label filters above do the same.{more}")
            if (chosen["given"], chosen["suggested"]) != (ALL, ALL):
                st.button("All pairs", key=f"{prefix}all-pairs", on_click=both, type="tertiary")


def _first_page(prefix: str) -> None:
    if st.session_state.get(f"{prefix}page", 1) != 1:
        st.session_state[f"{prefix}page"] = 1


def _filters(found: pd.DataFrame, reviewed: set[str], prefix: str, suggestions: bool) -> dict:
    def reset() -> None:
        _first_page(prefix)

    def choice_of(label: str, options: list[str], key: str) -> str:
        return st.selectbox(label, options, key=key, bind="query-params", on_change=reset)

    def choice(label: str, column: str, key: str) -> str:
        return choice_of(label, [ALL, *data.counts(found[column].dropna()).index], key)

    chosen = {}
    cases = [case for case in CASES if CASES[case] in _cases(found)] if suggestions else []
    if len(cases) > 1:
        chosen["case"] = parts.one_of(
            "Case",
            [ALL, *cases],
            default=ALL,
            key=f"{prefix}case",
            format_func=lambda name: CASES.get(name, name),
            bind="query-params",
            label_visibility="collapsed",
            on_change=reset,
            help="Clear: one other label was ahead steadily. Ambiguous: none was ahead steadily.",
        )
    labelled = suggestions or not (found["label"] == ALL_SAMPLES).all()
    widths = [3] * (labelled + suggestions) + [3] + [2] * any(number < len(found) for number in TOPS) + [3]
    for column, key in (("label", "given"), ("suggested_label", "suggested")) if labelled else ():
        parts.dead_link(f"{prefix}{key}", {ALL, *found[column].dropna()}, "flagged sample with this label:")
    columns = iter(st.container(key=f"{prefix}filters-row").columns(widths, gap="medium"))
    if labelled:
        with next(columns):
            chosen["given"] = choice("Given label", "label", f"{prefix}given")
    if suggestions:
        with next(columns):
            chosen["suggested"] = choice("Suggested label", "suggested_label", f"{prefix}suggested")
    with next(columns):
        chosen["least"] = st.slider(
            "Severity at least", 0.0, 1.0, 0.0, 0.05, key=f"{prefix}severity", bind="query-params", on_change=reset
        )
    tops = [number for number in TOPS if number < len(found)]
    if tops:
        with next(columns):
            most = choice_of("Top", [ALL, *map(str, tops)], f"{prefix}top")
            chosen["top"] = None if most == ALL else int(most)
    with next(columns):
        chosen["state"] = parts.one_of(
            "Decision",
            [ALL, "Open", "Decided"],
            default=ALL,
            key=f"{prefix}state",
            bind="query-params",
            on_change=reset,
        )
    return chosen
