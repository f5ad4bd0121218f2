"""Aligned and conflicting samples from arrays and files: whom a sample is learned with or against. Knows no Streamlit.

Two trajectories are compared by Pearson's correlation of the losses themselves (LTC), as in the run's pairs.parquet.
Checkpoint 0, the weights before training, counts nowhere.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pyarrow.parquet as pq

from lossprint.app.charts import base as charts
from lossprint.audit.runs import checked
from lossprint.audit.system.parquet import opened
from lossprint.audit.types import LossprintError, Trajectory, one_line
from lossprint.scoring.trajectory import correlations

SIDES = ("aligned", "conflicting")
SCOPES = ("class", "all")
COLUMNS = ["sample", "partner", "correlation", "side", "rank", "scope"]
STRONGEST = 5_000  # of the whole dataset, kept a scope
PORTION = 1 << 20  # rows read at once
FLAT = 1e-6  # of the largest value: less spread is rounding


# ---------------------------------------------------------------------------------------------- one query


def against(train: Trajectory, recorded: Trajectory, sample: int, k: int = 5) -> pd.DataFrame:
    """The k most aligned and k most conflicting training samples of a sample of another split: its class's, and all.

    `recorded` is the trajectory that holds `sample`. Columns `COLUMNS`; rank 1 is the highest correlation on the side
    aligned, the lowest (the suspect end) on the side conflicting; ties go to the smaller id. Empty where the loss of
    `sample` does not vary, misses a value or shares fewer than 2 checkpoints with the training split.
    """
    at = int(np.searchsorted(recorded.samples, sample))
    steps, mine, theirs = np.intersect1d(recorded.checkpoints, train.checkpoints, return_indices=True)
    counted = steps > 0
    found = []
    if at < len(recorded.samples) and recorded.samples[at] == sample and counted.sum() >= 2:
        query = recorded.losses[mine[counted], at : at + 1]
        r = correlations(_rows(train.losses, theirs[counted]), query, on="losses")[0][:, 0]
        own = np.flatnonzero(train.labels == recorded.labels[at])
        for scope, members in (("class", own), ("all", None)):
            values = r if members is None else r[members]
            for side in SIDES:
                best = _best(values if side == "conflicting" else -values, k)
                index = best if members is None else members[best]
                found.append(
                    pd.DataFrame(
                        {
                            "sample": sample,
                            "partner": train.samples[index],
                            "correlation": r[index],
                            "side": side,
                            "rank": np.arange(1, len(index) + 1),
                            "scope": scope,
                        }
                    )
                )
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=COLUMNS)


def _rows(losses: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Some rows of (E, N): a view, not a copy of 100 MB, where they follow each other."""
    if rows[-1] - rows[0] + 1 == len(rows) and (np.diff(rows) == 1).all():
        return losses[rows[0] : rows[-1] + 1]
    return losses[rows]


def _best(values: np.ndarray, k: int) -> np.ndarray:
    """Indices of the k smallest values, smallest first, ties by index; NaN is never among them."""
    k = min(k, int(np.count_nonzero(~np.isnan(values))))
    if not k:
        return np.empty(0, np.int64)
    rivals = np.flatnonzero(values <= np.partition(values, k - 1)[k - 1])  # NaN sorts last
    return rivals[np.argsort(values[rivals], kind="stable")[:k]]


# ---------------------------------------------------------------------------------------------- the whole dataset


def strongest(path: Path, top: int = STRONGEST) -> dict[str, pd.DataFrame]:
    """Of each scope, the training samples whose most conflicting validation sample pulls hardest against them.

    Columns sample, partner, correlation: one row a training sample, the most negative correlation first, ties by id, at
    most `top` rows. Reads the run's pairs a million rows at a time: 40 million take a second or two and 0.2 GB.
    """
    kept = {scope: pd.DataFrame({"sample": [], "partner": [], "correlation": []}) for scope in SCOPES}
    try:
        with opened(path, COLUMNS, page_checksum_verification=True) as file:
            for groups in _portions(file.metadata):
                for scope, rows in _conflicts(file, groups).items():
                    kept[scope] = _smallest(kept[scope], rows, top)
    except checked.DAMAGED as error:
        text = one_line(error)
        raise LossprintError(f"expected a readable table of pairs in {path}, found: {text}") from None
    return {scope: rows.astype({"sample": np.int64, "partner": np.int64}) for scope, rows in kept.items()}


def _portions(metadata: pq.FileMetaData) -> Iterator[list[int]]:
    """Row groups to be read together: about PORTION rows, or one group that is larger."""
    groups, rows = [], 0
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).num_rows
        if groups and rows + size > PORTION:
            yield groups
            groups, rows = [], 0
        groups.append(group)
        rows += size
    if groups:
        yield groups


def _conflicts(file: pq.ParquetFile, groups: list[int]) -> dict[str, pd.DataFrame]:
    """The first-ranked conflicts of some row groups, by scope."""
    table = file.read_row_groups(groups, columns=COLUMNS)
    # The numbers say most of it and are quick; the texts are looked at for the few rows that are left.
    keep = (table["rank"].to_numpy() == 1) & (table["correlation"].to_numpy() < 0)
    rows = table.take(np.flatnonzero(keep)).to_pandas()
    rows = rows[(rows["side"] == "conflicting").to_numpy()]
    return {
        scope: rows.loc[(rows["scope"] == scope).to_numpy(), ["sample", "partner", "correlation"]] for scope in SCOPES
    }


def _smallest(kept: pd.DataFrame, rows: pd.DataFrame, top: int) -> pd.DataFrame:
    if len(kept) == top:
        rows = rows[rows["correlation"].to_numpy() <= kept["correlation"].iloc[-1]]
    if rows.empty:
        return kept
    both = pd.concat([kept, rows]) if len(kept) else rows
    order = np.lexsort((both["sample"].to_numpy(), both["correlation"].to_numpy()))[:top]
    return both.iloc[order].reset_index(drop=True)


def by_class(rows: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Which classes pull against each other: label, other, samples, correlation (the median), most samples first.

    `rows` has sample, partner, correlation; `labels` is indexed by sample id. `label` is the given label of the
    training sample, `other` that of the validation sample.
    """
    pairs = pd.DataFrame(
        {
            "label": labels.loc[rows["sample"]].astype(object).to_numpy(),
            "other": labels.loc[rows["partner"]].astype(object).to_numpy(),
            "correlation": rows["correlation"].to_numpy(dtype=float),
        }
    )
    table = pairs.groupby(["label", "other"], as_index=False)["correlation"].agg(["size", "median"])
    table = table.rename(columns={"size": "samples", "median": "correlation"})
    return table.sort_values(["samples", "correlation"], ascending=[False, True], kind="stable", ignore_index=True)


def of_pair(rows: pd.DataFrame, labels: pd.Series, label: str, other: str) -> pd.DataFrame:
    """The rows of `strongest` between a training label and a validation label, in their order."""
    mine = labels.loc[rows["sample"]].astype(object).to_numpy() == label
    return rows[mine & (labels.loc[rows["partner"]].astype(object).to_numpy() == other)]


def most_opposed(rows: pd.DataFrame, top: int) -> pd.DataFrame:
    """The validation samples that occur most often as a partner in `strongest`: partner, times."""
    partner, times = np.unique(rows["partner"].to_numpy(), return_counts=True)
    order = np.argsort(-times, kind="stable")[:top]
    return pd.DataFrame({"partner": partner[order], "times": times[order]})


# ---------------------------------------------------------------------------------------------- curves


def transformed(losses: pd.Series, what: str) -> pd.Series:
    """A loss print as `losses` (nats), `standardised` (mean 0, spread 1; all 0 where it does not vary) or `changes`.

    A change stands at the checkpoint that it leads to.
    """
    if what == "losses":
        return losses
    losses = losses[losses.index > 0]
    if what == "changes":
        return losses.diff().iloc[1:]
    spread = losses.std(ddof=0)
    centred = losses - losses.mean()
    return centred / spread if spread > FLAT * losses.abs().max() else centred * 0.0


TITLES = {"losses": "loss (nats)", "standardised": "loss, standardised", "changes": "change of loss (nats)"}


def curves(
    query: tuple[str, pd.Series] | None,
    others: Sequence[tuple[str, pd.Series]],
    side: str,
    group: str,
    what: str,
    *,
    dark: bool,
    height: int = 280,
) -> go.Figure:
    """The query's curve over those of its partners of a side; each comes with the name that hovering shows.

    `group` names the partners in the legend, `what` is a key of `TITLES`.
    """
    lines = [charts.Line(group, transformed(losses, what), side, thin=True) for _, losses in others]
    names = [name for name, _ in others]
    if query is not None:
        lines.append(charts.Line(query[0], transformed(query[1], what), "given"))
        names.append(query[0])
    figure = charts.loss_print(lines, dark=dark, height=height)
    for trace, name in zip(figure.data, names):
        trace.hovertemplate = f"{charts.text(name)}<br>checkpoint %{{x}}: %{{y:.3f}}<extra></extra>"
    figure.update_layout(hovermode="closest")
    figure.update_yaxes(title_text=TITLES[what], rangemode="tozero" if what == "losses" else "normal")
    return figure


def pair_map(table: pd.DataFrame, *, dark: bool, top: int = 12) -> go.Figure:
    """`by_class` as a heat map of the `top` busiest classes: label of the training sample by that of its opponent."""
    colours = charts.palette(dark)
    sums = table.groupby("label")["samples"].sum().add(table.groupby("other")["samples"].sum(), fill_value=0)
    order = list(sums.sort_values(ascending=False, kind="stable").index[:top])
    square = table.pivot_table(index="label", columns="other", values="samples", aggfunc="sum", observed=True)
    square = square.reindex(index=order, columns=order)
    names = [charts.text(label) for label in order]
    counts = square.to_numpy(dtype=float)
    axes = ("label of the validation sample", "label of the training sample")
    figure = charts.base_figure(dark, 150 + 26 * len(names), *axes, legend=False)
    figure.add_heatmap(
        z=counts,
        x=list(range(len(names))),
        y=list(range(len(names))),
        # In words: on hover a numeric axis shows its number. It is numeric since two shortened labels may be the same.
        customdata=[
            [f"labeled {row}<br>against validation samples labeled {column}" for column in names] for row in names
        ],
        text=[["" if np.isnan(cell) else f"{int(cell):,}" for cell in row] for row in counts],
        texttemplate="%{text}",
        textfont={"color": colours.ink, "size": 11},
        colorscale=[[0, charts.tint(colours.conflicting, 0.08)], [1, charts.tint(colours.conflicting, 0.55)]],
        showscale=False,
        xgap=2,
        ygap=2,
        hoverongaps=False,
        hovertemplate="%{text} training samples %{customdata}<extra></extra>",
    )
    ticks = {"tickvals": list(range(len(names))), "ticktext": names, "type": "linear", "showgrid": False}
    figure.update_xaxes(**ticks, tickangle=-40)
    figure.update_yaxes(**ticks, autorange="reversed")
    return figure


# ---------------------------------------------------------------------------------------------- in plain words


def explain(
    pairs: pd.DataFrame,
    labels: pd.Series,
    given: str,
    scope: str,
    kind: str,
    *,
    preferred: str | None = None,
    flagged: Callable[[Sequence[int]], int] = lambda samples: 0,
    show: Callable[[object], str] = str,
) -> str:
    """What the labels of a query's partners say, for a reader who knows nothing of correlations; markdown.

    `pairs` holds partner, side, correlation of one scope, best first, only of the sign that the side names. `kind` says
    what the partners are (`validation` or `training`), `preferred` the label that the model prefers for the query where
    it is not the given one, `flagged` how many of some samples are flagged as wrong labels. `show` escapes a label.
    """
    against_it = pairs.loc[pairs["side"] == "conflicting", "partner"]
    with_it = pairs.loc[pairs["side"] == "aligned", "partner"]
    sample = f"{kind} sample"
    said = []
    if against_it.empty:
        said.append(f"No {sample} {'of its class ' if scope == 'class' else ''}was learned against it.")
    elif scope == "class":
        lowest = pairs.loc[pairs["side"] == "conflicting", "correlation"].iloc[0]
        said.append(
            f"The {sample} of its own class *{show(given)}* that conflicts most is sample {against_it.iloc[0]}"
            f" (r = {signed(lowest)}): while the model got better at one, it got worse at the other."
        )
    else:
        said.append(_labels(labels.loc[against_it], "conflicting", sample, given, preferred, show))
    if scope == "all" and len(with_it):
        said.append(_labels(labels.loc[with_it], "aligned", sample, given, preferred, show))
    wrong = flagged([int(one) for one in against_it])
    if wrong and len(against_it) == 1:
        said.append("Its label is itself flagged as suspicious.")
    elif wrong:
        said.append(
            f"Of the {len(against_it)} conflicting ones, {wrong} {'has' if wrong == 1 else 'have'} "
            f"{'a label that is itself' if wrong == 1 else 'labels that are themselves'} flagged as suspicious."
        )
    return " ".join(said)


def _labels(found: pd.Series, side: str, sample: str, given: str, preferred: str | None, show) -> str:
    """Which label most of some partners carry, and what that label is to the query."""
    counts = found.astype(object).value_counts()
    label, times, of = counts.index[0], int(counts.iloc[0]), len(found)
    if preferred in counts.index and counts[preferred] == times:
        label = preferred
    own = {preferred: ", which the model also prefers for this sample", given: ", as it is itself"}
    if of == 1:
        return f"Its only {side} {sample} is labeled *{show(label)}*{own.get(label, '')}."
    if times == 1:
        said = f"Its {of} most {side} {sample}s carry {of} different labels: no single class stands out"
    else:
        how_many = "all" if times == of else times
        said = f"Of its {of} most {side} {sample}s {how_many} are labeled *{show(label)}*{own.get(label, '')}"
    if preferred in counts.index and label != preferred:
        few = int(counts[preferred])
        said += f"; {few} {'is' if few == 1 else 'are'} labeled *{show(preferred)}*, which the model prefers for it"
    elif times == 1 and label == preferred:
        said += f"; one is labeled *{show(preferred)}*, which the model prefers for it"
    return said + "."


def movement(own: pd.Series | None, others: Sequence[pd.Series]) -> str | None:
    """How the loss of a query and the mean loss of its conflicting partners went from first to last checkpoint.

    None where either is unknown.
    """
    known = [series.dropna() for series in others if series is not None]
    ends = [(series.iloc[0], series.iloc[-1]) for series in known if len(series) > 1]
    mine = own.dropna() if own is not None else pd.Series(dtype=float)
    if len(mine) < 2 or not ends:
        return None
    first, last = np.mean(ends, axis=0)
    partner, average = ("partner", "") if len(ends) == 1 else ("partners", " on average")
    return (
        f"Its loss {_went(mine.iloc[0], mine.iloc[-1])}; "
        f"that of its conflicting {partner} {_went(first, last)}{average}."
    )


def _went(first: float, last: float) -> str:
    if abs(last - first) < 0.05 * max(abs(first), abs(last), 1e-12):
        return f"stayed at about {last:.2f} nats"
    return f"{'fell' if last < first else 'rose'} from {first:.2f} to {last:.2f} nats"


def signed(r: float) -> str:
    """A correlation with its sign: +0.98, −0.40."""
    return f"{r:+.2f}".replace("-", "\N{MINUS SIGN}")
