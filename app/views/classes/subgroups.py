"""Groups of held-out samples on which the model does worse: by a column of the manifest, by cluster."""

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.elements import gallery
from lossprint.app.shared import drawer, parts
from lossprint.scoring.groups import worse

CLUSTERS = "Clusters of what looks alike"
FEW = 12  # values of a column of numbers up to which each is a group
SHOWN = 8  # tiles
HOW = (
    "Held-out samples, by whether the network's answer is the given label. *Expected* is what samples of the same "
    "classes reach outside the group, so that a group of hard classes is not worse for that alone. The intervals hold "
    "for all groups at once: in nine of ten datasets chance alone calls none worse. Of groups under "
    f"{worse.SMALLEST} samples nothing is said. Wrong labels make a group look worse, too: look at it."
)


def render(loaded: data.Loaded) -> None:
    table = data.derived(loaded, _held_out)
    if table is None:
        return
    st.subheader("Groups that do worse", anchor=False)
    options = data.derived(loaded, _columns)
    if not options:
        st.caption(
            f"{parts.plural(len(table), 'held-out sample')}: too few to part into groups. Columns of a manifest beside "
            "path and label (patient, camera, site) are compared here as well."
        )
        return
    by = st.selectbox("By", options, key="worse-by", format_func=_title, width=320)
    groups, small = data.derived(loaded, _groups, by)
    if not groups:
        st.caption(f"No group of {worse.SMALLEST} held-out samples or more.")
        return
    behind = [one for one in groups if one.worse]
    if behind:
        named = ", ".join(f"**{parts.md(one.name)}**" for one in behind[:3])
        st.markdown(f"{parts.plural(len(behind), 'group does', 'groups do')} worse than expected: {named}.")
    else:
        st.markdown("No group does worse than chance allows.")
    st.dataframe(_frame(groups), hide_index=True, height=min(390, 38 + 35 * len(groups)), alt="Groups, a row each")
    more = f" {parts.plural(small, 'smaller group')} not judged." if small else ""
    st.caption(f"{HOW}{more}")
    name = st.selectbox("Look at a group", [one.name for one in groups], key=f"worse-{by}", width=320)
    inside = table[data.derived(loaded, _names, by) == name]
    order = inside.sort_values("right", kind="stable")["sample"].tolist()
    tiles = [
        parts.tile(loaded, sample, given=loaded.samples.at[sample, "label"], suggested=loaded.classes[answer])
        for sample, answer in inside.set_index("sample").loc[order[:SHOWN], "predicted"].items()
    ]
    gallery(tiles, key="worse-tiles", label=f"Samples of {name}", size="small", on_open=drawer.show)


def _title(by: str) -> str:
    return by if by == CLUSTERS else f"Column {by.removeprefix('column:')}"


def _held_out(loaded: data.Loaded) -> pd.DataFrame | None:
    """sample, predicted, label (class indices), right: validation samples at the last checkpoint; None without."""
    recorded = loaded.run.recorded("val")
    if not recorded or not loaded.labelled:
        return None
    part = loaded.run.part("val", recorded[-1]).select(["sample", "predicted"]).to_pandas()
    label = pd.Index(loaded.classes).get_indexer(loaded.samples["label"].reindex(part["sample"]).astype(object))
    table = part.assign(label=label)
    table = table[(table["predicted"] >= 0) & (table["label"] >= 0)].reset_index(drop=True)
    return table.assign(right=table["predicted"] == table["label"]) if len(table) else None


def _columns(loaded: data.Loaded) -> list[str]:
    """What can be grouped by: columns of several values, and clusters."""
    further, table = loaded.run.further(), _held_out(loaded)
    known = [] if further is None else [str(name) for name in further.columns if name != "sample"]
    able = [f"column:{name}" for name in known if len(set(_names(loaded, f"column:{name}")) - {""}) > 1]
    vectors = _vectors(loaded, table["sample"].to_numpy())
    clusters = [] if vectors is None or len(vectors) < 2 * worse.EACH else [CLUSTERS]
    return able + clusters


def _vectors(loaded: data.Loaded, samples: np.ndarray) -> np.ndarray | None:
    found = loaded.run.embeddings()
    if found is None or not np.isin(samples, found[0]).all():
        return None
    order = np.argsort(found[0])
    return found[1][order[np.searchsorted(found[0], samples, sorter=order)]]


def _names(loaded: data.Loaded, by: str) -> np.ndarray:
    """The group of each held-out sample, (N,) texts, empty for none."""
    table = _held_out(loaded)
    if by == CLUSTERS:
        of = worse.clusters(_vectors(loaded, table["sample"].to_numpy()))
        names = {}
        for cluster in np.unique(of):
            labels = table.loc[of == cluster, "label"]
            most, share = int(labels.mode().iloc[0]), float((labels == labels.mode().iloc[0]).mean())
            names[cluster] = f"cluster {cluster + 1}: {100 * share:.0f} % {loaded.classes[most]}"
        return np.array([names[cluster] if cluster >= 0 else "" for cluster in of], object)
    column = loaded.run.further().set_index("sample")[by.removeprefix("column:")].reindex(table["sample"])
    if pd.api.types.is_numeric_dtype(column) and column.nunique() > FEW:
        column = pd.qcut(column, 4, duplicates="drop").map(lambda one: f"{one.left:g} to {one.right:g}").astype(object)
    return np.array([str(value) if pd.notna(value) else "" for value in column], object)


def _groups(loaded: data.Loaded, by: str) -> tuple[list[worse.Group], int]:
    table = _held_out(loaded)
    names = data.derived(loaded, _names, by)
    return worse.compare(names, table["right"].to_numpy(), table["label"].to_numpy())


def _frame(groups: list[worse.Group]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "group": [one.name for one in groups],
            "samples": [one.size for one in groups],
            "right": [f"{100 * one.right:.0f} %" for one in groups],
            "interval": [f"{100 * one.low:.0f} to {100 * one.high:.0f} %" for one in groups],
            "expected": [f"{100 * one.expected:.0f} %" for one in groups],
            "": ["worse" if one.worse else "" for one in groups],
        }
    )
