"""What the triage map shows, from a run's tables: each function is called through data.derived, once a run."""

from dataclasses import dataclass

import numpy as np

from lossprint.app import data
from lossprint.app.views.map import charts, zones
from lossprint.audit.scores import SCORES

FLAGGED = 300  # flagged samples that are drawn in any case, the most severe ones


@dataclass(frozen=True)
class View:
    """What is drawn of two scores and a zone; see charts_map.triage_map. `missing`: samples without either score."""

    ranges: tuple
    crowd: np.ndarray
    mine: np.ndarray | None
    points: charts.Points
    regions: list[zones.Region]
    missing: int


def able(loaded: data.Loaded) -> list[str]:
    """The scores that this run knows."""
    return [name for name in SCORES if loaded.has(name)]


def membership(loaded: data.Loaded) -> np.ndarray:
    return zones.membership(loaded.scores)


def rules(loaded: data.Loaded) -> dict[str, dict[str, tuple[float, float]]]:
    return zones.bounds(loaded.scores)


def order(loaded: data.Loaded) -> np.ndarray:
    return zones.order(loaded.scores)


def axis(loaded: data.Loaded, name: str, scale: str) -> zones.Axis:
    return zones.axis(loaded.scores, name, scale)


def classes(loaded: data.Loaded) -> tuple[np.ndarray, list[str]]:
    """The class of each row as (N,) codes, and the classes."""
    labels = loaded.scores["label"].astype("category").cat
    return labels.codes.to_numpy(), [str(name) for name in labels.categories]


def view(loaded: data.Loaded, x: str, y: str, scale: str, zone: str | None) -> View:
    """The crowd, the points and the regions to draw."""
    scores = loaded.scores
    across, up = (data.derived(loaded, axis, name, scale) for name in (x, y))
    member = data.derived(loaded, membership)
    keep = None if zone is None else member == 1 + zones.NAMES.index(zone)
    flagged = scores.index.get_indexer(loaded.of_kind("label_error")["sample"].head(FLAGGED))
    field = zones.field(across, up, keep, extra=flagged[flagged >= 0])
    mine, crowd = None, field.counts
    if keep is not None:
        mine, crowd = field.counts, zones.density(across, up)
    rows = field.points
    points = charts.Points(
        across.at[rows].astype(float).round(6),
        up.at[rows].astype(float).round(6),
        zones.known(scores, x)[rows],
        zones.known(scores, y)[rows],
        scores.index.to_numpy()[rows],
        scores["label"].iloc[rows].astype(object).tolist(),
        member[rows],
        np.isin(rows, flagged),
    )
    missing = int((np.isnan(across.at) | np.isnan(up.at)).sum())
    ranges = ((across.low, across.high), (up.low, up.high))
    regions = zones.regions(scores, member, (x, y), (across, up), scale)
    return View(ranges, crowd, mine, points, regions, missing)


def chosen(loaded: data.Loaded, x: str, y: str, scale: str, zone: str | None, area: str | None) -> np.ndarray:
    """Which rows are in the zone and in the area, as packed bits: an eighth of a megabyte for a million samples."""
    inside = np.ones(len(loaded.scores), dtype=bool)
    if zone is not None:
        inside &= data.derived(loaded, membership) == 1 + zones.NAMES.index(zone)
    asked = zones.read_area(area)
    if asked is not None:
        inside &= zones.inside(asked, *(data.derived(loaded, axis, name, scale).at for name in (x, y)))
    return np.packbits(inside)
