"""All samples as columns: filtered, put in order and grouped without a copy of the table. Draws nothing.

Every function of a run goes through data.derived: what it gives is worked out once and not to be changed. Places are
rows of `loaded.samples`. A further column of the manifest goes by `column:NAME`.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lossprint.app import data
from lossprint.audit.scores import SCORES
from lossprint.audit.types import KIND_WORDS

ALL = "All"
FLAGGED, CLEAN = "Flagged", "Not flagged"
PLAIN = {"csl": "Difficulty", "cld": "Fits its class", "label_error": "Label doubt", "outlier": "Unlike the rest"}
COLUMN = "column:"


@dataclass(frozen=True)
class Ask:
    """What is to be shown; all of it must hold.

    `kind`: FLAGGED, CLEAN or a kind of finding; `least` and `most`: limits of the column of numbers `score`; `column`
    and `value`: a further column of text and what it must say.
    """

    search: str = ""
    split: str = ALL
    label: str = ALL
    suggested: str = ALL
    kind: str = ALL
    score: str = ""
    least: float | None = None
    most: float | None = None
    column: str = ""
    value: str = ""


def title(name: str) -> str:
    """A column's name for people, as plain text: plain words for the scores that have some."""
    if name.startswith(COLUMN):
        return name.removeprefix(COLUMN)
    if name in PLAIN:
        return PLAIN[name]
    return SCORES[name].title if name in SCORES else {"sample": "Id"}.get(name, name[:1].upper() + name[1:])


def further(loaded: data.Loaded) -> pd.DataFrame:
    """The manifest's further columns, a row a sample, in the order of `loaded.samples`."""
    table = loaded.run.further()
    if table is None:
        return pd.DataFrame(index=loaded.samples.index)
    table = table.set_index("sample").reindex(loaded.samples.index)
    table.columns = [str(name) for name in table.columns]
    for name in table.columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].astype(object).astype("category")
    return table


def scores(loaded: data.Loaded) -> list[str]:
    """The scores that this run knows, those with plain words first."""
    return [name for name in (*PLAIN, *(one for one in SCORES if one not in PLAIN)) if loaded.has(name)]


def numbers(loaded: data.Loaded) -> list[str]:
    """All columns of numbers: scores, then further ones."""
    table = data.derived(loaded, further)
    more = [name for name in table.columns if pd.api.types.is_numeric_dtype(table[name])]
    return [*scores(loaded), *(COLUMN + name for name in more)]


def texts(loaded: data.Loaded) -> list[str]:
    """The further columns of text."""
    table = data.derived(loaded, further)
    return [COLUMN + name for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]


def _at(loaded: data.Loaded) -> np.ndarray:
    """The row in `loaded.scores` of each sample, -1 for none."""
    return loaded.scores.index.get_indexer(loaded.samples.index).astype(np.int32)


def values(loaded: data.Loaded, name: str) -> np.ndarray:
    """A column of numbers (N,) float32, NaN where a sample has none."""
    if name.startswith(COLUMN):
        return data.derived(loaded, further)[name.removeprefix(COLUMN)].to_numpy(np.float32)
    at = data.derived(loaded, _at)
    column = loaded.scores[name].to_numpy(np.float32)
    return np.where(at >= 0, column[at], np.float32(np.nan)) if len(column) else np.full(len(at), np.nan, np.float32)


def codes(loaded: data.Loaded, name: str) -> tuple[np.ndarray, list[str]]:
    """A column of text as (N,) int32 codes into its values, sorted; -1 where a sample has none."""
    if name in ("label", "split", "sequence"):
        column = loaded.samples[name]
    elif name in ("suggested_label", "triage"):
        column = loaded.scores[name].reindex(loaded.samples.index)
    else:
        column = data.derived(loaded, further)[name.removeprefix(COLUMN)]
    column = column.astype("category")
    names = column.cat.categories.astype(object)
    order = np.argsort(names.to_numpy(object).astype(str), kind="stable")
    rank = np.empty(len(order) + 1, np.int32)
    rank[order], rank[-1] = np.arange(len(order)), -1
    return rank[column.cat.codes.to_numpy()], [str(names[at]) for at in order]


def flagged(loaded: data.Loaded, kind: str) -> np.ndarray:
    """(N,) bool: which samples are in a finding of a kind, or in any with FLAGGED."""
    rows = loaded.findings if kind == FLAGGED else loaded.findings[loaded.findings["kind"] == kind]
    return np.isin(loaded.samples.index.to_numpy(), rows["sample"].to_numpy())


def kinds(loaded: data.Loaded) -> list[str]:
    """The kinds of finding that this run has."""
    present = set(loaded.findings["kind"])
    return [kind for kind in KIND_WORDS if kind in present]


def _paths(loaded: data.Loaded) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(loaded.samples["path"].to_numpy(object), pa.string())])


def mask(loaded: data.Loaded, ask: Ask) -> np.ndarray:
    """(N,) bool: which samples are asked for."""
    keep = np.ones(len(loaded.samples), bool)
    for name, value in (
        ("split", ask.split),
        ("label", ask.label),
        ("suggested_label", ask.suggested),
        (ask.column, ask.value or ALL),
    ):
        if name and value != ALL:
            column, names = data.derived(loaded, codes, name)
            keep &= column == (names.index(value) if value in names else -2)
    if ask.kind == CLEAN:
        keep &= ~data.derived(loaded, flagged, FLAGGED)
    elif ask.kind != ALL:
        keep &= data.derived(loaded, flagged, ask.kind)
    if ask.score and (ask.least is not None or ask.most is not None):
        column = data.derived(loaded, values, ask.score)
        # Limits of the same precision as the column: 0.7 asks for what is stored as 0.7.
        keep &= column >= np.float32(-np.inf if ask.least is None else ask.least)
        keep &= column <= np.float32(np.inf if ask.most is None else ask.most)
    if ask.search.strip():
        keep &= _search(loaded, ask.search.strip())
    return keep


def _search(loaded: data.Loaded, words: str) -> np.ndarray:
    """(N,) bool: whether the path has every word, in any case; a number is a sample's id as well."""
    paths = data.derived(loaded, _paths)
    keep = np.ones(len(loaded.samples), bool)
    for word in words.split():
        keep &= pc.match_substring(paths, word, ignore_case=True).to_numpy(zero_copy_only=False).astype(bool)
    if words.isascii() and words.isdigit() and len(words) < 19:
        keep |= loaded.samples.index.to_numpy() == int(words)
    return keep


def order(loaded: data.Loaded, by: str, down: bool) -> np.ndarray:
    """(N,) int32: the places in the order of a column, samples of equal values by their ids, those without one last."""
    if by == "sample":
        places = np.arange(len(loaded.samples), dtype=np.int32)
        return places[::-1] if down else places
    if by == "path":
        ranks = pc.rank(data.derived(loaded, _paths), sort_keys="ascending", tiebreaker="first").to_numpy()
        column = ranks.astype(np.float64)
    elif by in ("label", "split", "suggested_label", *texts(loaded)):
        column = data.derived(loaded, codes, by)[0].astype(np.float64)
        column[column < 0] = np.nan
    else:
        column = data.derived(loaded, values, by).astype(np.float64)
    return np.argsort(-column if down else column, kind="stable").astype(np.int32)


def places(loaded: data.Loaded, ask: Ask, by: str, down: bool) -> np.ndarray:
    """The places of what is asked for, in order."""
    ordered = data.derived(loaded, order, by, down)
    return ordered[data.derived(loaded, mask, ask)[ordered]]


def groups(loaded: data.Loaded, name: str, chosen: np.ndarray) -> pd.DataFrame:
    """What is chosen by the values of a column of text: value, samples, flagged, share flagged, mean difficulty."""
    column, names = data.derived(loaded, codes, name)
    column = column[chosen]
    return _counted(loaded, np.where(column < 0, len(names), column), chosen, [*names, "(none)"])


def groups_by_tag(loaded: data.Loaded, tags: dict[str, np.ndarray], chosen: np.ndarray) -> pd.DataFrame:
    """The same by tags; a sample of several tags is in the group of each."""
    ids = loaded.samples.index.to_numpy()[chosen]
    inside = [np.isin(ids, samples) for samples in tags.values()]
    untagged = ~np.logical_or.reduce(inside) if inside else np.ones(len(ids), bool)
    inside = [np.flatnonzero(one) for one in (*inside, untagged)]
    column = np.repeat(np.arange(len(inside)), [len(one) for one in inside])
    return _counted(loaded, column, chosen[np.concatenate(inside)], [*tags, "(none)"])


def in_groups(
    loaded: data.Loaded, name: str, chosen: np.ndarray, values: list[str], tags: dict[str, np.ndarray]
) -> np.ndarray:
    """The places among the chosen ones that belong to any of these groups, in their order."""
    if name == "tag":
        ids = loaded.samples.index.to_numpy()[chosen]
        inside = np.isin(ids, np.concatenate([np.empty(0, int), *(tags[one] for one in values if one in tags)]))
        if "(none)" in values:
            inside |= ~np.isin(ids, np.concatenate(list(tags.values())))
        return chosen[inside]
    column, names = data.derived(loaded, codes, name)
    return chosen[np.isin(column[chosen], [names.index(one) if one in names else -1 for one in values])]


def _counted(loaded: data.Loaded, column: np.ndarray, chosen: np.ndarray, names: list[str]) -> pd.DataFrame:
    """column: which of the names each place in `chosen` belongs to."""
    counts = np.bincount(column, minlength=len(names))
    doubted = np.bincount(column, data.derived(loaded, flagged, FLAGGED)[chosen], len(names)).astype(int)
    table = pd.DataFrame({"value": names, "samples": counts, "flagged": doubted})
    table["share"] = 100 * table["flagged"] / table["samples"].clip(lower=1)
    if loaded.has("csl"):
        loss = data.derived(loaded, values, "csl")[chosen]
        known = ~np.isnan(loss)
        total = np.bincount(column[known], loss[known], len(names))
        of = np.bincount(column[known], minlength=len(names))
        table["difficulty"] = np.where(of > 0, total / np.maximum(of, 1), np.nan)
    table = table[table["samples"] > 0]
    return table.sort_values("samples", ascending=False, kind="stable", ignore_index=True)


def table(loaded: data.Loaded, chosen: np.ndarray, decided: dict[int, dict] | None = None, tags=None) -> pd.DataFrame:
    """The rows of some places with every column, for a page of them or a file."""
    rows = loaded.samples.iloc[chosen]
    frame = {name: rows[name].astype(object) for name in ("sample", "path", "label", "split")}
    if rows["sequence"].notna().any():
        frame |= {name: rows[name].astype(object) for name in ("sequence", "frame")}
    made = pd.DataFrame(frame)
    if "suggested_label" in loaded.scores:
        made["suggested_label"] = loaded.scores["suggested_label"].astype(object).reindex(rows.index)
    for name in scores(loaded):
        made[name] = data.derived(loaded, values, name)[chosen]
    if decided is not None:
        made["decision"] = [decided[one]["decision"] if one in decided else None for one in rows.index.tolist()]
        labels = [decided[one]["new_label"] if one in decided else None for one in rows.index.tolist()]
        made["new_label"] = labels
    if tags is not None:
        made["tags"] = tags
    more = data.derived(loaded, further)
    for name in more.columns:
        if name not in made:
            made[name] = more[name].iloc[chosen].to_numpy()
    return made.reset_index(drop=True)
