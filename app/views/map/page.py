"""Triage map: which samples were learned late and doubted, which only late, and which could go?"""

import html
from dataclasses import replace

import numpy as np
import streamlit as st

from lossprint.app import data
from lossprint.app.charts import base as charts
from lossprint.app.elements import gallery
from lossprint.app.shared import decide, drawer, guard, parts, trust
from lossprint.app.shared.acting import acts, bar
from lossprint.app.views.map import alike, triage, zones
from lossprint.app.views.map import charts as charts_map
from lossprint.audit.scores import SCORES

ALL = "All"
MAPS = ("Two scores", "What is alike")
TOOLS = {"select": "Box", "lasso": "Lasso", "zoom": "Zoom"}
SCALES = {"percentiles": "Percentiles", "values": "Values"}
PER_PAGE = (24, 48, 96)
STEPS = 5_000  # samples that the drawer steps through
AREA = "_map_area"
NUMBERS = "_map_numbers"  # the area that the two ranges made
TITLES = {name: info.title for name, info in SCORES.items()}


# ----------------------------------------------------------------------------------------------------------- the page


def render(loaded: data.Loaded) -> None:
    parts.header("Triage map", "Which samples were learned late and doubted, which only late, and which could go?")
    if data.derived(loaded, alike.table) is not None:
        which = parts.one_of("Map of", MAPS, default=MAPS[0], key="map_of", bind="query-params")
        if which == MAPS[1]:
            alike.page(loaded)
            return
    if loaded.scores.empty:
        parts.empty("No training samples", "Only training samples have scores, and this run holds none.", "search_off")
        return
    known = data.derived(loaded, triage.able)
    if len(known) < 2:
        parts.empty(
            "Fewer than two scores",
            "A map needs two scores for each sample. Score the run again with `lossprint score RUN`, or import margins "
            "beside the losses.",
            "bubble_chart",
        )
        return
    trust.warn(loaded)
    _page(loaded, known)


@guard.fragment
def _page(loaded: data.Loaded, known: list[str]) -> None:
    with guard.one_line():
        decide.tell()
        st.session_state[drawer.DRAWN] = False  # a fragment runs without main.py, which says so otherwise
        _draw(loaded, known)


def _draw(loaded: data.Loaded, known: list[str]) -> None:
    x, y, scale, tool = _controls(known)
    zone = _choose_zone()
    tag = (*loaded.key, x, y, scale)
    text = _area(tag)
    seen = data.derived(loaded, triage.view, x, y, scale, zone)
    bits = data.derived(loaded, triage.chosen, x, y, scale, zone, text)
    inside = np.unpackbits(bits, count=len(loaded.scores)).view(bool)
    chart, words = st.columns([3, 2], gap="large")
    with chart:
        _chart(loaded, seen, (x, y, scale), zone, tool, tag, text)
        _by_numbers(seen, (x, y, scale), tag, text)
    with words:
        _explain(loaded, zone)
    _selection(loaded, inside, zone, text, tag)


def _controls(known: list[str]) -> tuple[str, str, str, str]:
    with st.container(horizontal=True, gap="small"):
        x = _score("Across", "x", known, _at(known, "label_error", 0))
        y = _score("Up", "y", known, _at(known, "cld", 1))
        scale = parts.one_of(
            "Scale",
            list(SCALES),
            default="percentiles",
            key="scale",
            format_func=SCALES.get,
            bind="query-params",
            on_change=_first_page,
            width="content",
            help="Percentiles: where a sample stands among all training samples. Values: the scores themselves; the "
            "outermost 0.1 % are drawn at the border.",
        )
        tool = parts.one_of(
            "Dragging",
            list(TOOLS),
            default="select",
            key="drag",
            format_func=TOOLS.get,
            bind="query-params",
            width="content",
            help="Box and lasso choose samples, those within the shading too. Zoom enlarges (double-click: whole map), "
            "and a click on a point opens its sample.",
        )
    return x, y, scale, tool


def _score(label: str, key: str, known: list[str], index: int) -> str:
    return st.selectbox(
        label,
        known,
        index=index,
        key=key,
        format_func=TITLES.get,
        bind="query-params",
        on_change=_first_page,
        width=172,
    )


def _at(names: list[str], wanted: str, otherwise: int) -> int:
    return names.index(wanted) if wanted in names else otherwise


def _choose_zone() -> str | None:
    shown = {name: zones.ZONES[name].title for name in ("wrong", "hard", "redundant", "aligned")}
    asked = parts.one_of(
        "Zone",
        [ALL, *shown],
        default=ALL,
        key="zone",
        format_func=lambda name: shown.get(name, name),
        bind="query-params",
        on_change=_first_page,
    )
    return asked if asked in shown else None


def _first_page() -> None:
    if st.session_state.get("m_page", 1) != 1:
        st.session_state["m_page"] = 1


# ---------------------------------------------------------------------------------------------------------- the area


def _area(tag: tuple) -> str | None:
    """The chosen area as text, from the URL or drawn here; it belongs to one pair of axes and is gone with them."""
    asked = parts.url_asks("area")
    if asked is not None:
        st.session_state[AREA] = (tag, zones.write_area(zones.read_area(asked)))
    of, text = st.session_state.get(AREA, (None, None))
    text = text if of == tag else None
    parts.write_url("area", text)
    return text


def _set_area(tag: tuple, area: zones.Area | None) -> None:
    st.session_state[AREA] = (tag, zones.write_area(area))
    _first_page()


def _chart(
    loaded, seen: triage.View, axes: tuple[str, str, str], zone: str | None, tool: str, tag: tuple, text: str | None
):
    x, y, scale = axes

    def picked() -> None:
        selection = st.session_state["map"]["selection"]
        area = zones.drawn(selection)
        if area is not None:
            _set_area(tag, area)
            return
        points = selection["points"]
        custom = points[0].get("customdata") if points else None
        if isinstance(custom, list) and len(custom) == 3:  # not a cell of the density
            drawer.show(int(custom[0]))

    figure = charts_map.triage_map(
        seen.ranges,
        seen.crowd,
        seen.points,
        seen.regions,
        titles=tuple(_axis_title(name, scale) for name in (x, y)),
        names=(TITLES[x], TITLES[y]),
        dark=parts.dark(),
        mine=seen.mine,
        zone=zone,
        area=zones.read_area(text),
        tool=tool,
    )
    counts = np.bincount(data.derived(loaded, triage.membership), minlength=1 + len(zones.NAMES))
    said = ", ".join(f"{zones.ZONES[name].title} {counts[code]:,}" for code, name in enumerate(zones.NAMES, 1))
    st.plotly_chart(
        figure,
        key="map",
        on_select=picked,
        selection_mode=("points", "box", "lasso"),
        theme=None,
        config=parts.CHART,
        alt=f"{parts.plural(len(loaded.scores), 'training sample')} by {TITLES[x]} and {TITLES[y]}. {said}.",
    )
    missing = f" {parts.plural(seen.missing, 'sample')} without one of the scores cannot be drawn." * (seen.missing > 0)
    doing = {"select": "Drag a box", "lasso": "Draw a line around samples", "zoom": "Click a point"}[tool]
    what = "to open its sample." if tool == "zoom" else "to see them below."
    st.caption(f"{doing} {what} Shading: many samples; outlined points are flagged with a wrong label.{missing}")


def _axis_title(name: str, scale: str) -> str:
    info = SCORES[name]
    return f"{info.title}, percentile" if scale == "percentiles" else f"{info.title} ({info.unit})"


def _by_numbers(seen: triage.View, axes: tuple[str, str, str], tag: tuple, text: str | None) -> None:
    """The same choice without a mouse: two ranges, which follow the box or hold the lasso."""
    x, y, scale = axes
    area = zones.read_area(text)
    keys = [f"range-{name}-{scale}-{side}" for name, side in ((x, "across"), (y, "up"))]

    def moved() -> None:
        sides = []
        for key, (low, high) in zip(keys, seen.ranges):
            least, most = st.session_state[key]
            pad = 0.02 * (high - low)  # a range up to the end holds the last sample, however its number is rounded
            sides += [low - pad if least <= low else least, high + pad if most >= high else most]
        whole = all(side < low or side > high for side, (low, high) in zip(sides, np.repeat(seen.ranges, 2, axis=0)))
        _set_area(tag, None if whole else zones.box(*sides))
        st.session_state[NUMBERS] = st.session_state[AREA][1]

    with st.expander("Choose by numbers", icon=":material/tune:"):
        for at, (name, key, (low, high)) in enumerate(zip((x, y), keys, seen.ranges)):
            corners = [corner[at] for corner in area.corners] if area else [low, high]
            # What they made they show already: writing it again would undo the keys pressed since.
            if key not in st.session_state or text != st.session_state.get(NUMBERS):
                ends = np.clip([min(corners), max(corners)], low, high)
                st.session_state[key] = (float(ends[0]), float(ends[1]))
            st.slider(
                _axis_title(name, scale),
                low,
                high,
                step=(high - low) / 100,
                format="%.0f" if scale == "percentiles" else "%.3g",
                key=key,
                on_change=moved,
            )


# ------------------------------------------------------------------------------------------------------- explanations


def _explain(loaded: data.Loaded, zone: str | None) -> None:
    """The zones: their mark, how many samples, the rule with its numbers, what they mean and what to do."""
    found, dark = data.derived(loaded, triage.rules), parts.dark()
    counts = np.bincount(data.derived(loaded, triage.membership), minlength=1 + len(zones.NAMES))
    cards = []
    for name in ("wrong", "hard", "redundant", "aligned"):
        one = zones.ZONES[name]
        if not loaded.labelled and name in zones.WITHOUT_LABELS:
            one = replace(one, **dict(zip(("rule", "meaning", "advice"), zones.WITHOUT_LABELS[name])))
        number = int(counts[1 + zones.NAMES.index(name)])
        if name in found:
            amount = f"{number:,} · {100 * number / len(loaded.scores):.1f} %"
            rule = f"{one.rule}: {zones.spoken(found[name], TITLES)}."
        else:
            missing = [zones.NEEDED[need] for need in one.needs if not _has(loaded, need)]
            amount, rule = "unknown", f"Needs {' and '.join(missing)}, which this run does not have."
        edge = getattr(charts.palette(dark), charts_map.ROLES[name]) if name == zone else "transparent"
        cards.append(
            f'<div style="border-left:4px solid {edge};padding-left:.6rem;margin:0 0 .7rem -.6rem">'
            '<div style="display:flex;gap:.45rem;align-items:center">'
            f"{charts_map.swatch(name, dark)}<strong>{one.title}</strong>"
            f'<span style="margin-left:auto;font-variant-numeric:tabular-nums">{amount}</span></div>'
            f'<div style="font-size:.88rem;line-height:1.4">{one.meaning} <em>{one.advice}</em></div>'
            f'<div style="font-size:.8rem;line-height:1.4">{html.escape(rule)}</div>'
            "</div>"
        )
    st.html("".join(cards))
    st.caption(
        "The limits are quantiles of this dataset, so every dataset has late and redundant samples. A sample belongs "
        "to the first of these that fits. It is a reading order, not a verdict."
    )


def _has(loaded: data.Loaded, need: str) -> bool:
    return loaded.has("label_error") or loaded.has("aum") if need == "doubt" else loaded.has(need)


# ------------------------------------------------------------------------------------------------------ the selection


def _selection(loaded: data.Loaded, inside: np.ndarray, zone: str | None, text: str | None, tag: tuple) -> None:
    ranked = data.derived(loaded, triage.order)
    rows = ranked[inside[ranked]]
    number = len(rows)
    where = [f"zone {zones.ZONES[zone].title.lower()}"] if zone else []
    area = zones.read_area(text)
    where += [f"the {area.kind}"] if area else []
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.subheader(
            f"{number:,} of {parts.plural(len(inside), 'training sample')}"
            + f" in {' and '.join(where)}" * bool(where),
            anchor=False,
        )
        if where:
            st.button(
                "Clear",
                key="clear-map",
                icon=":material/close:",
                on_click=_clear,
                args=(tag,),
                help="All samples again",
            )
        st.space("stretch")
        per_page = parts.per_page(PER_PAGE, "m_per", on_change=_first_page)
    if not number:
        title, text = _why_empty(loaded, zone, area)
        parts.empty(title, text, "highlight_alt")
        drawer.draw(loaded, [])
        return
    if where:
        ids = loaded.scores.index.to_numpy()[rows]
        words = f"in {' and '.join(where)}"
        bar.draw(loaded, acts.Selection(ids, words, "map", zones.ZONES[zone].title if zone else "from the map"))
    bar.draw_ticked(loaded, "map-gallery")
    pictures, make_up = st.columns([3, 1], gap="large") if where else (st.container(), None)
    with pictures:
        _gallery(loaded, rows, per_page)
    if make_up is not None:
        with make_up:
            _make_up(loaded, inside)
    opened = drawer.opened()
    drawer.draw(loaded, loaded.scores.index.to_numpy()[rows[:STEPS]].tolist() if opened is not None else [])


def _clear(tag: tuple) -> None:
    _set_area(tag, None)
    st.session_state["zone"] = ALL


def _why_empty(loaded: data.Loaded, zone: str | None, area: zones.Area | None) -> tuple[str, str]:
    if zone is not None and zone not in data.derived(loaded, triage.rules):
        needs = [zones.NEEDED[need] for need in zones.ZONES[zone].needs if not _has(loaded, need)]
        return "This zone is unknown", f"It needs {' and '.join(needs)}, which this run does not have."
    if area is not None:
        return "Nothing in there", "Draw a larger area, or take another zone."
    return "No sample in this zone", "None of the training samples fulfils its rule."


def _gallery(loaded: data.Loaded, rows: np.ndarray, per_page: int) -> None:
    slot = st.container()
    number = parts.pages(-(-len(rows) // per_page), "m_page")
    with slot:
        parts.begins("map-top", number)
    start = (number - 1) * per_page
    page = loaded.scores.iloc[rows[start : start + per_page]]
    member = data.derived(loaded, triage.membership)[rows[start : start + per_page]]
    history = data.reviews(loaded).history()  # first: never newer than what is shown
    on_act = acts.of_tiles(loaded, page.index.to_numpy(), "map-gallery", history)
    decided = decide.decided(loaded)
    tiles = []
    for sample, label, code in zip(page.index, page["label"].astype(object), member):
        doubted = code == 1 + zones.NAMES.index("wrong")
        severity = float(page.at[sample, "label_error"]) if "label_error" in page else np.nan
        tiles.append(
            parts.tile(
                loaded,
                sample,
                given=label,
                suggested=(parts.suggestion(loaded, int(sample)) or "") if doubted else "",
                note=zones.ZONES[zones.NAMES[code - 1]].title if code else "",
                bar=severity if np.isfinite(severity) else None,
                **decide.badge(decided.get(int(sample))),
            )
        )
    with slot:
        parts.tell_missing(tiles)
        gallery(
            tiles,
            key="map-gallery",
            label="chosen samples, most suspicious label first",
            selected=drawer.opened(),
            on_open=drawer.show,
            on_act=on_act,
            more=True,
            labels=decide.labels(loaded) if loaded.labelled else (),
        )
        st.caption(
            "Most suspicious label first, then highest CSL. The bar is the label error. "
            + loaded.media.worded("Click an image to see why.")
        )


def _make_up(loaded: data.Loaded, inside: np.ndarray) -> None:
    """Which classes the selection is made of, beside their share of all."""
    codes, names = data.derived(loaded, triage.classes)
    table = zones.shares(
        np.bincount(codes[inside & (codes >= 0)], minlength=len(names)),
        np.bincount(codes[codes >= 0], minlength=len(names)),
        names,
        10,
    )
    st.markdown("**Its classes**")
    series = {"chosen": table["chosen"].round(2), "all training samples": table["whole"].round(2)}
    parts.chart(
        charts.class_bars(series, dark=parts.dark(), unit="%", top=len(table)), "Share of each class", "map-classes"
    )
    rest = int((np.bincount(codes[inside & (codes >= 0)], minlength=len(names)) > 0).sum()) - len(table)
    if rest > 0:
        st.caption(f"And {parts.plural(rest, 'more class', 'more classes')}.")
