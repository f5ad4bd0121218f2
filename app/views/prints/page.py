"""Loss prints: which shapes do the loss trajectories have, and which samples have them?"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from lossprint.app import data
from lossprint.app.elements import gallery
from lossprint.app.shared import decide, drawer, parts
from lossprint.app.shared.acting import acts, bar
from lossprint.app.shared.browse import PER_PAGE
from lossprint.app.views.prints import charts, shapes
from lossprint.app.views.prints.shapes import FEW, SHAPES, said
from lossprint.audit.scores import SCORES
from lossprint.audit.types import Trajectory

ALL_CLASSES, ALL_SHAPES = "All classes", "All shapes"
PAIR = {"training": "train", "validation": "val"}
SPLITS = {"Training": "train", "Validation": "val", "Test": "test"}
MEAN, LAST, FALL = "Mean loss", "Loss at the last checkpoint", "First low checkpoint"
CLASSES, USUAL = 6, 4  # classes side by side, at most and where nobody chose


@dataclass(frozen=True)
class Chosen:
    """What the filters say: the split, the class (index or None), the shape (index or None), what to sort by."""

    split: str
    label: int | None
    shape: int | None
    sort: str


@dataclass(frozen=True)
class View:
    """What a rerun draws from. `places` are those of the samples that pass the filters, in the chosen order."""

    loaded: data.Loaded
    chosen: Chosen
    found: shapes.Shapes
    trajectory: Trajectory
    places: np.ndarray

    def values(self) -> np.ndarray:
        return data.derived(self.loaded, _values, self.chosen.split, self.chosen.sort)


# ---------------------------------------------------------------------------------------------- worked out once a run


def _recorded(loaded: data.Loaded, split: str) -> Trajectory | None:
    return data.trajectory(loaded, split) if loaded.run.recorded(split) else None


def _shapes(loaded: data.Loaded, split: str) -> shapes.Shapes:
    return shapes.shapes_of(data.trajectory(loaded, split), len(loaded.classes))


def _able(loaded: data.Loaded) -> list[str]:
    return [name for name in SCORES if loaded.has(name)]


def _flagged(loaded: data.Loaded, split: str) -> np.ndarray:
    """Which samples of a split are flagged as label errors, (N,) bool."""
    found = loaded.findings.loc[loaded.findings["kind"] == "label_error", "sample"]
    return np.isin(data.trajectory(loaded, split).samples, found.to_numpy())


def _groups(loaded: data.Loaded, split: str, label: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each shape, within a class or all: how many samples, how many flagged, and the band (shapes, 3, E)."""
    found, trajectory = data.derived(loaded, _shapes, split), data.trajectory(loaded, split)
    code = found.code if label is None else np.where(trajectory.labels == label, found.code, shapes.UNTOLD)
    members = [np.flatnonzero(code == one) for one in range(len(SHAPES))]
    flagged = data.derived(loaded, _flagged, split)
    bands = np.array([shapes.quantiles(trajectory.losses, one) for one in members])
    return np.array([len(one) for one in members]), np.array([flagged[one].sum() for one in members]), bands


def _shape_figures(loaded: data.Loaded, split: str, label: int | None, shown: int | None, dark: bool) -> list:
    """A figure of each shape; kept, because making one takes longer than all else in a rerun."""
    found, steps = data.derived(loaded, _shapes, split), data.trajectory(loaded, split).checkpoints
    bands = data.derived(loaded, _groups, split, label)[-1]
    top = 1.05 * max(found.high, float(np.nanmax(bands, initial=0)))
    look = partial(charts.shape, checkpoints=steps, low=found.low, top=top, dark=dark)
    return [look(one, faint=shown not in (None, at)) for at, one in enumerate(bands)]


def _class_figures(loaded: data.Loaded, labels: tuple[int, ...], dark: bool) -> list:
    """A figure of each of some classes, training beside validation; kept for the same reason."""
    known = {}
    for word, split in PAIR.items():
        recorded = _recorded(loaded, split)
        if recorded is not None:
            known[word] = data.derived(loaded, _shapes, split).bands[list(labels)], recorded.checkpoints
    low, high = shapes.levels(len(loaded.classes))
    top = 1.05 * max(high, *(float(np.nanmax(bands, initial=0)) for bands, _ in known.values()))
    mine = [{word: (bands[at], steps) for word, (bands, steps) in known.items()} for at in range(len(labels))]
    return [charts.class_bands(one, low=low, top=top, dark=dark) for one in mine]


def _values(loaded: data.Loaded, split: str, sort: str) -> np.ndarray:
    """What the samples of a split are sorted by, (N,)."""
    trajectory = data.trajectory(loaded, split)
    if sort == LAST:
        return trajectory.losses[-1]
    if sort == FALL:
        found = data.derived(loaded, _shapes, split)
        when = np.append(trajectory.checkpoints, np.inf).astype(np.float32)[found.fell]
        return np.where(found.code == shapes.UNTOLD, np.float32(np.nan), when)
    if sort == MEAN:
        known = np.isfinite(trajectory.losses).sum(axis=0)
        total = np.nansum(trajectory.losses, axis=0)
        return np.divide(total, known, out=np.full(len(total), np.nan, np.float32), where=known > 0)
    return loaded.scores[sort].reindex(trajectory.samples).to_numpy(np.float32)


def _order(loaded: data.Loaded, split: str, sort: str) -> np.ndarray:
    suspect = SCORES[sort].suspect if sort in SCORES else "high"
    return shapes.rank(data.derived(loaded, _values, split, sort), suspect)


def _blocks(loaded: data.Loaded, split: str, label: int | None, shape: int | None, sort: str) -> shapes.Blocks:
    return shapes.blocks(data.trajectory(loaded, split).losses, _places(loaded, Chosen(split, label, shape, sort)))


def _places(loaded: data.Loaded, chosen: Chosen) -> np.ndarray:
    """The places in the trajectory of the samples that pass the filters, in the chosen order."""
    order = data.derived(loaded, _order, chosen.split, chosen.sort)
    if chosen.label is None and chosen.shape is None:
        return order
    keep = np.ones(len(order), bool)
    if chosen.label is not None:
        keep &= data.trajectory(loaded, chosen.split).labels == chosen.label
    if chosen.shape is not None:
        keep &= data.derived(loaded, _shapes, chosen.split).code == chosen.shape
    return order[keep[order]]


# ---------------------------------------------------------------------------------------------- the page


def render(loaded: data.Loaded) -> None:
    parts.header("Loss prints", "Which shapes do the loss trajectories have, and which samples have them?")
    recorded = [title for title, split in SPLITS.items() if _recorded(loaded, split) is not None]
    if not recorded:
        what = "This run recorded no losses. `lossprint audit` records them, `lossprint import` takes your own."
        parts.empty("No losses", what, "search_off")
        return
    chosen = _filters(loaded, recorded)
    trajectory, found = data.trajectory(loaded, chosen.split), data.derived(loaded, _shapes, chosen.split)
    view = View(loaded, chosen, found, trajectory, _places(loaded, chosen))
    _shape_row(view)
    if not len(view.places):
        parts.empty("No such sample", "No sample has this shape in this class. Choose another one above.", "search_off")
        return
    left, right = st.columns([1, 1], gap="large")
    with left:
        rows = _heat(view)
        _bands(view)
    mine = view.places[slice(*rows)]
    with right:
        _gallery(view, mine, rows)
    drawer.draw(loaded, trajectory.samples[mine].tolist() if drawer.opened() is not None else [], ())


def _first_page() -> None:
    if "p_page" in st.session_state:
        st.session_state["p_page"] = 1


def _all_rows() -> None:
    """Other samples have other ranks: what was chosen of the old ones means nothing any more."""
    _first_page()
    if "rows" in st.session_state:
        st.session_state["rows"] = ""


def _filters(loaded: data.Loaded, recorded: list[str]) -> Chosen:
    columns = st.columns(4 if len(recorded) > 1 else 3, gap="medium", vertical_alignment="bottom")
    split = recorded[0]
    if len(recorded) > 1:
        with columns[0]:
            split = parts.one_of(
                "Split", recorded, default=split, key="split", bind="query-params", on_change=_all_rows
            )
    split = SPLITS[split]
    labels, names = [ALL_CLASSES, *loaded.classes], [ALL_SHAPES, *(one.name for one in SHAPES)]
    with columns[-3]:
        label = st.selectbox("Class", labels, key="pclass", bind="query-params", on_change=_all_rows)
    with columns[-2]:
        shape = st.selectbox("Shape", names, key="shape", bind="query-params", on_change=_all_rows)
    able = data.derived(loaded, _able) if split == "train" else []
    with columns[-1]:
        sort = st.selectbox(
            "Sort by",
            [*able, *([] if "csl" in able else [MEAN]), LAST, FALL],
            index=able.index("csl") if "csl" in able else 0,
            key="p_sort",
            bind="query-params",
            format_func=_title,
            on_change=_all_rows,
            help="The suspect end comes first. Only training samples have all scores.",
        )
    at, of = labels.index(label) - 1, names.index(shape) - 1
    return Chosen(split, at if at >= 0 else None, of if of >= 0 else None, sort)


def _title(sort: str) -> str:
    return SCORES[sort].title if sort in SCORES else sort


# ---------------------------------------------------------------------------------------------- shapes


def _shape_row(view: View) -> None:
    """The small multiples: how the samples of each shape go, how many there are, and a button that shows them."""
    loaded, chosen, found, steps = view.loaded, view.chosen, view.found, view.trajectory.checkpoints
    st.subheader("The shapes that occur", anchor=False)
    if len(steps) in FEW:
        st.info(FEW[len(steps)], icon=":material/info:")
    if len(steps) < 2:
        return
    half = ("the given label has at least half of the probability", "it has less than a quarter")
    if len(loaded.classes) < 4:
        half = ("halfway from an even guess to none", "worse than an even guess")
    if not loaded.labelled:
        half = ("halfway from the median at the first checkpoint to that at the last", "above the former")
    st.caption(
        f"**Low** is a loss of at most {found.low:.2f} nats ({half[0]}), the dotted line; **high** is one above "
        f"{found.high:.2f} ({half[1]}). Line: median of the samples; band: 10–90 % of them."
    )
    counts, flagged, _ = data.derived(loaded, _groups, chosen.split, chosen.label)
    figures = data.derived(loaded, _shape_figures, chosen.split, chosen.label, chosen.shape, parts.dark())
    told = int(counts.sum())
    with st.grid(4, min_column_width=220, gap="small"):
        for at in range(len(SHAPES)):
            with st.container(border=True, gap="xxsmall", height="stretch", key=f"shape-{at}"):
                _shape(view, at, int(counts[at]), told, int(flagged[at]), figures[at])
    labels = view.trajectory.labels
    untold = len(labels if chosen.label is None else labels[labels == chosen.label]) - told
    if untold:
        st.caption(f"{parts.plural(untold, 'sample')} without a shape: fewer than half of the losses are known.")


def _shape(view: View, at: int, count: int, told: int, flagged: int, figure: go.Figure) -> None:
    name, steps, active = SHAPES[at].name, view.trajectory.checkpoints, view.chosen.shape == at
    st.markdown(f"**{name}**  \n{parts.plural(count, 'sample')}" + (f" · {100 * count / told:.1f} %" if told else ""))
    parts.chart(figure, f"Median loss at each checkpoint of the samples that fit: {name}", f"shape-chart-{at}")
    st.caption(SHAPES[at].rule.format(third=int(steps[view.found.third - 1])))
    if view.chosen.split == "train":
        st.caption(f"{flagged:,} flagged as label errors" + (f" ({100 * flagged / count:.1f} %)" if count else ""))

    def press() -> None:
        st.session_state["shape"] = ALL_SHAPES if active else name
        _all_rows()

    st.space("stretch")
    st.button(
        "Show all shapes" if active else f"Show “{name.lower()}”",
        key=f"shape-button-{at}",
        type="primary" if active else "secondary",
        icon=":material/close:" if active else ":material/filter_alt:",
        disabled=not count and not active,
        on_click=press,
        width="stretch",
    )


# ---------------------------------------------------------------------------------------------- heat map


def _heat(view: View) -> tuple[int, int]:
    """Draw the heat map; the places of the order that are chosen in it: (first, one after the last)."""
    st.subheader("Heat map", anchor=False)
    slot = st.container()
    typed = st.text_input(
        "Ranks",
        key="rows",
        bind="query-params",
        placeholder="all; click a row above, or type such as 1-200",
        icon=":material/table_rows:",
        on_change=_first_page,
        help="Which ranks of the order the samples are shown of. It is in the URL: copy it to show a colleague.",
    )
    typed = (typed or "").strip()
    rows = shapes.parse_rows(typed, len(view.places))
    if typed and rows is None:
        st.caption(f"“{parts.md(typed[:40])}” names no ranks from 1 to {len(view.places):,}: all are shown.")
    with slot:
        _heat_chart(view, rows)
    return rows or (0, len(view.places))


def _heat_chart(view: View, rows: tuple[int, int] | None) -> None:
    chosen, steps = view.chosen, view.trajectory.checkpoints
    cells = data.derived(view.loaded, _blocks, chosen.split, chosen.label, chosen.shape, chosen.sort)
    title = _title(chosen.sort)
    figure = charts.heat(
        cells,
        steps,
        _notes(view, cells),
        title=f"rank by {title}",
        low=view.found.low,
        classes=len(view.loaded.classes),
        dark=parts.dark(),
        chosen=cells.around(*rows) if rows else None,
    )
    # A new key with each choice: the browser then forgets its own selection, and a row can be clicked twice.
    key = f"prints-heat-{rows}"

    def picked() -> None:
        points = st.session_state[key]["selection"]["points"]
        if points:
            custom = points[0]["customdata"]
            at = int(custom[0] if isinstance(custom, list) else custom)
            mine = int(cells.edges[at]), int(cells.edges[at + 1])
            st.session_state["rows"] = "" if mine == rows else shapes.rows_text(*mine)
            _first_page()

    st.plotly_chart(
        figure,
        key=key,
        on_select=picked,
        selection_mode="points",
        theme=None,
        config=parts.CHART,
        alt=f"Loss at each checkpoint of {parts.plural(len(view.places), 'sample')}, by {title}",
    )
    least, most = int(cells.sizes().min()), int(cells.sizes().max())
    each = f"{least:,}" if least == most else f"{least:,} or {most:,}"
    what = f"the mean of {each} samples that follow each other in the order" if most > 1 else "one sample"
    drawn = len(cells.steps)
    st.caption(
        f"Each row is {what}, the suspect end on top; colours on a logarithmic scale. "
        + (f"{drawn} of {len(steps)} checkpoints are drawn. " if drawn < len(steps) else "")
        + "Click a row to see its samples, and again to see all."
    )


def _notes(view: View, cells: shapes.Blocks) -> list[str]:
    """What is shown over each row: its ranks, the sort's values at both ends, the loss at the start and at the end."""
    values, starts, ends = view.values(), cells.edges[:-1], cells.edges[1:]
    best, worst = values[view.places[starts]], values[view.places[ends - 1]]
    return [
        f"ranks {shapes.rows_text(start, end).replace('-', '–')}<br>{_title(view.chosen.sort)}: {said(one)}"
        + (f" to {said(other)}" if said(other) != said(one) else "")
        + f"<br>mean loss: {said(begin)} to {said(finish)} nats"
        for start, end, one, other, begin, finish in zip(starts, ends, best, worst, cells.mean[:, 0], cells.mean[:, -1])
    ]


# ---------------------------------------------------------------------------------------------- bands by class


def _bands(view: View) -> None:
    """Training beside validation, a chart a class."""
    loaded = view.loaded
    st.subheader("Training beside validation", anchor=False)
    names = st.multiselect(
        "Classes",
        loaded.classes,
        key="bands",
        bind="query-params",
        max_selections=CLASSES,
        placeholder="the chosen class, else those of the highest loss",
    )
    labels = [loaded.classes.index(name) for name in names]
    if not labels:
        labels = shapes.hardest(view.found.bands, USUAL) if view.chosen.label is None else [view.chosen.label]
    figures = data.derived(loaded, _class_figures, tuple(labels), parts.dark())
    with st.grid(2 if len(labels) > 1 else 1, min_column_width=220, gap="small"):
        for label, figure in zip(labels, figures):
            with st.container(gap="xxsmall"):
                name = loaded.classes[label]
                st.markdown(f"**{parts.md(name)}**")
                parts.chart(figure, f"Median loss of {name}, training beside validation", f"class-bands-{label}")
    missing = [word for word, split in PAIR.items() if _recorded(loaded, split) is None]
    st.caption(
        "Line: median of the class; band: 10–90 % of its samples. "
        + (f"No {missing[0]} losses were recorded." if missing else "Where only training falls, it is memorised.")
    )


# ---------------------------------------------------------------------------------------------- images


def _gallery(view: View, mine: np.ndarray, rows: tuple[int, int]) -> None:
    """The images of the chosen ranks, at the places `mine`, in their order."""
    loaded, chosen = view.loaded, view.chosen
    st.subheader(f"{loaded.noun.capitalize()}s", anchor=False)
    words = [f"**{parts.plural(len(mine), 'sample')}**"]
    words += [SHAPES[chosen.shape].name.lower()] if chosen.shape is not None else []
    if chosen.label is not None:
        words.append(parts.md(loaded.classes[chosen.label]))
    if len(mine) < len(view.places):
        words.append(f"ranks {rows[0] + 1:,}–{rows[1]:,} of {len(view.places):,}")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(" · ".join(words))
        st.space("stretch")
        if len(mine) < len(view.places):
            st.button("All ranks", key="all-ranks", icon=":material/close:", type="tertiary", on_click=_all_rows)
        per_page = parts.per_page(PER_PAGE, "p_per")
    slot = st.container()
    number = parts.pages(-(-len(mine) // per_page), "p_page")
    start = (number - 1) * per_page
    with slot:
        parts.begins("prints-top", number)
        ids, history = view.trajectory.samples[mine], data.reviews(loaded).history()
        bar.draw(loaded, acts.Selection(ids, "of these ranks", "prints", "loss prints"), history=history)
        bar.draw_ticked(loaded, "prints-gallery")
        on_act = acts.of_tiles(loaded, ids[start : start + per_page], "prints-gallery", history)
        tiles = _tiles(view, mine[start : start + per_page])
        parts.tell_missing(tiles)
        gallery(
            tiles,
            key="prints-gallery",
            label=f"samples by {_title(chosen.sort)}, the suspect end first",
            size="small",
            selected=drawer.opened(),
            on_open=drawer.show,
            on_act=on_act,
            more=True,
        )
    st.caption(
        f"Below each {loaded.noun}: {parts.md(_title(chosen.sort))} and the shape. Click one, or press Enter on it, to "
        "see its loss print and why it is flagged."
    )


def _tiles(view: View, places: np.ndarray) -> list:
    loaded, values, decided = view.loaded, view.values(), decide.decided(view.loaded)
    flagged = data.derived(loaded, _flagged, view.chosen.split)
    tiles = []
    for place in places:
        sample, code = int(view.trajectory.samples[place]), int(view.found.code[place])
        shape = SHAPES[code].name.lower() if code >= 0 else "no shape"
        tiles.append(
            parts.tile(
                loaded,
                sample,
                given=loaded.samples.at[sample, "label"],
                suggested=(parts.suggestion(loaded, sample) or "") if flagged[place] else "",
                note=f"{said(values[place])} · {shape}",
                **decide.badge(decided.get(sample)),
            )
        )
    return tiles
