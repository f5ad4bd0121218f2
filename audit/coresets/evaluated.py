"""What an evaluation of coresets came to: its table, see `evaluate`, as means, deviations, a choice and text."""

import numpy as np
import pandas as pd

from lossprint.scoring.coresets.methods import METHODS

CELL = ["model", "steps", "options", "split", "method", "fraction"]


def by_seed(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each cell and seed, indexed by them: right, of and accuracy over all classes; size and noisy."""
    one = table.groupby([*CELL, "seed"], observed=True)
    runs = one.agg(right=("right", "sum"), of=("of", "sum"), size=("train_samples", "first"), noisy=("noisy", "first"))
    return runs.assign(accuracy=runs["right"] / runs["of"])


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each model, steps, options, split, method and fraction; outdated rows are not counted.

    accuracy: mean over the seeds, in [0, 1]; spread: their deviation (n - 1), NaN of one seed; worst, worst_label: the
    class with the lowest mean accuracy; over_random: mean difference to `random` at the same seeds, NaN where that was
    not trained; over_spread: the deviation of those differences; seeds, train_samples; noisy: share of wrong labels.
    """
    if "outdated" in table:
        table = table[~table["outdated"].astype(bool)]
    runs = by_seed(table).reset_index()
    base = runs[runs["method"] == "random"].drop(columns="method")
    at = [name for name in (*CELL, "seed") if name != "method"]
    runs = runs.merge(base[[*at, "accuracy"]], on=at, how="left", suffixes=("", "_random"))
    runs["over"] = runs["accuracy"] - runs["accuracy_random"]
    found = runs.groupby(CELL, observed=True).agg(
        accuracy=("accuracy", "mean"),
        spread=("accuracy", "std"),
        over_random=("over", "mean"),
        over_spread=("over", "std"),
        seeds=("seed", "nunique"),
        train_samples=("size", "first"),
        noisy=("noisy", "mean"),
    )
    by_class = table.groupby([*CELL, "label"], observed=True).agg(right=("right", "sum"), of=("of", "sum"))
    by_class = (by_class["right"] / by_class["of"]).rename("worst").reset_index()
    worst = by_class.sort_values(["worst", "label"], kind="stable").drop_duplicates(CELL).set_index(CELL)
    worst = worst.rename(columns={"label": "worst_label"})
    return found.join(worst[["worst", "worst_label"]]).reset_index()


def ranked(found: pd.DataFrame, fraction: float) -> pd.Series:
    """Mean accuracy on validation samples by method, the one to choose at that fraction first; empty below two.

    found: cells of one model, steps and options. Methods with fewer seeds than others are left out, as chance says more
    of them; of equal ones the first in METHODS comes first. The test split is not looked at, so that what it says of
    the choice is no better than what new data will.
    """
    here = found[(found["split"] == "val") & np.isclose(found["fraction"], fraction) & (found["fraction"] < 1)]
    here = here[here["seeds"] == here["seeds"].max()]
    accuracy = pd.Series(here["accuracy"].to_numpy(float), here["method"].astype(object)).dropna()
    accuracy = accuracy.reindex([name for name in METHODS if name in accuracy.index])
    return accuracy.sort_values(ascending=False, kind="stable")[: len(accuracy) * (len(accuracy) > 1)]


def text(table: pd.DataFrame, split: str | None = None) -> str:
    """Accuracy in percent with its deviation, a line a method and a column a fraction, for one split: test if any.

    Below it, where a truth file was given, the share of wrong labels kept, and which method is first in `ranked`.
    """
    found = cells(table)
    split = split or ("test" if (found["split"] == "test").any() else "val")
    lines = []
    for (model, steps, options), mine in found[found["split"] == split].groupby(CELL[:3], observed=True):
        how = f"{model}, {steps:,} steps{', ' + options if options else ''}"
        lines += [f"accuracy on {split}, %: {how}", *_grid(mine, "accuracy", "spread")]
        if mine["noisy"].notna().any():
            lines += [f"wrong labels among those kept, %: {how}", *_grid(mine, "noisy")]
        alike = (found[CELL[:3]] == [model, steps, options]).all(axis=1)
        lines += _choices(found[alike], mine, f"best on val, accuracy on {split}, %: {how}") if split != "val" else []
    if "outdated" in table and table["outdated"].any():
        lines.append("earlier trainings, from before the latest decisions, are not counted")
    return "\n".join(lines)


def _choices(found: pd.DataFrame, mine: pd.DataFrame, title: str) -> list[str]:
    """A line a fraction: the method that is best on val, and its accuracy on the split that `mine` are the cells of."""
    mine, lines = mine.set_index(["method", "fraction"]), []
    for fraction in sorted(found["fraction"].unique()):
        for method in ranked(found, fraction).index[:1]:
            if (method, fraction) in mine.index:
                told = _told(mine.loc[(method, fraction)], "accuracy", "spread")
                lines.append(f"{100 * fraction:>10.4g} %  {method:20}{told}")
    return [title, *lines] if lines else []


def _told(cell: pd.Series, value: str, spread: str | None) -> str:
    told = f"{100 * cell[value]:.1f}"
    return told + (f" ± {100 * cell[spread]:.1f}" if spread is not None and not np.isnan(cell[spread]) else "")


def _grid(mine: pd.DataFrame, value: str, spread: str | None = None) -> list[str]:
    """A line a method, random first, and a column a fraction."""
    fractions = sorted(mine["fraction"].unique())
    lines = [" " * 22 + "".join(f"{100 * one:>13.4g} %" for one in fractions)]
    mine = mine.set_index(["method", "fraction"])
    for method in sorted(set(mine.index.get_level_values(0)), key=lambda name: (name != "random", name)):
        row = ""
        for fraction in fractions:
            at, told = (method, fraction), ""
            if at in mine.index and not np.isnan(mine.at[at, value]):
                told = _told(mine.loc[at], value, spread)
            row += told.rjust(15)
        lines.append(f"{method:22}{row}".rstrip())
    return lines
