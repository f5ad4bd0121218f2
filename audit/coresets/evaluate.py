"""Which coreset trains the best network? Every method against random, at equal steps, with the spread over seeds.

The same network is trained on each subset: equally many optimizer steps, the same batch size (all of a subset that has
fewer samples), schedule and seeds; the last epoch counts, never the best. A network is judged on the held-out images of
the run, labels as decided. Subsets of the same samples share their training. This module writes a row for each
training, split and class into evaluation.parquet:

    method, fraction, seed      of the subset and of the training; methods without chance have one subset for all seeds
    model, steps, batch, device, precision      how it was trained
    epochs                      of the whole training split, as many steps
    options                     equal, at_least, one_of_duplicates, without_exposed, where not the default, as JSON
    train_samples, noisy        size of the subset, and its share of wrong labels where a truth file was given
    split, label, right, of     held-out images of a class, and how many the network got right
    seconds, key                of the training; a digest of all that it depends on: none is repeated
    data, outdated              a digest of the decided dataset; whether it was another one than at the last evaluation

and into overlap.parquet what the subsets share: options, fraction, first, second (methods), shared (of the smaller one;
with chance, of the first seed), data.
"""

import difflib
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from lossprint.audit.coresets import coreset as coresets
from lossprint.audit.coresets.coreset import Ask
from lossprint.audit.coresets.evaluated import CELL, cells, text
from lossprint.audit.export.applied import Applied, applied
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.system.csvrows import csv_rows
from lossprint.audit.system.progress import Bar, bar_style
from lossprint.audit.training import loading, side_by_side
from lossprint.audit.training.side_by_side import HELD_OUT, Training, digest, measured_once
from lossprint.audit.types import LossprintError
from lossprint.scoring.coresets.methods import METHODS

__all__ = ["cells", "evaluate", "text"]

SAME = ["model", "steps", "options", "method", "fraction", "seed"]  # a later training replaces an earlier one
TEXT = ("method", "model", "device", "precision", "options", "split", "label", "key", "data")


@dataclass(frozen=True, eq=False)
class _Subset:
    """One subset to train on with one seed: sample ids (K,), and its share of wrong labels, NaN where not known."""

    method: str
    fraction: float
    seed: int
    ids: np.ndarray
    noisy: float


def evaluate(
    run: Run | str | Path,
    methods: list[str],
    fractions: list[float],
    *,
    seeds: int = 3,
    model: str | None = None,
    steps: int | None = None,
    truth: str | Path | None = None,
    equal: bool = False,
    at_least: int = 1,
    one_of_duplicates: bool = False,
    without_exposed: float = 0.0,
    jobs: int | None = None,
    device: str = "auto",
    precision: str | None = None,
    quiet: bool = False,
) -> pd.DataFrame:
    """Train on every subset with `seeds` seeds; save and return the table that this module's docstring describes.

    The network is the run's or `model`, the steps are those of the run's training, `precision` is float32, bfloat16 or
    auto as of an audit. Trainings run side by side on a CPU, `jobs` at once (default: one a core), the images decoded
    once for all. Each is saved when it is done, so that an evaluation that was cut off goes on; rows of other methods
    and fractions stay. What cannot be is refused before anything is trained. Raises LossprintError.
    """
    run = run if isinstance(run, Run) else open_run(run)
    asked = loading.asked_of(run) | ({"model": model} if model else {})
    from lossprint.audit.training import (
        models,  # torch only once the cheap checks have passed
        train,
    )

    models.check_model(asked["model"])
    device = train.pick_device(device)
    precision = train.pick_precision(precision, device)
    decisions = applied(run)
    samples, data = _decided(decisions)
    wrong = None if truth is None else _wrong(samples, run.classes, truth)
    options = {"equal": equal, "at_least": at_least, "one_of_duplicates": one_of_duplicates}
    options |= {"without_exposed": without_exposed}
    seeds_of = [asked["seed"] + k for k in range(seeds)]
    subsets = _subsets(decisions, methods, fractions, seeds_of, options, samples, wrong, quiet)
    labels = samples["label"].map({name: at for at, name in enumerate(run.classes)}).to_numpy(np.int64)
    inputs = loading.inputs_again(samples, labels, samples["split"].to_numpy(str), run.classes, asked, quiet)
    models.build_model(asked["model"], inputs.classes, inputs.size)  # one that does not fit is refused here
    recipe = replace(train.Recipe(), epochs=asked["epochs"]).for_size(len(inputs.rows("train")))
    each = recipe.steps(len(inputs.rows("train")))
    steps = steps or asked["epochs"] * each
    about = {"model": asked["model"], "steps": steps, "batch": recipe.batch, "device": device, "precision": precision}
    about["epochs"] = round(steps / each, 2)
    rows_of = [np.sort(np.searchsorted(inputs.samples, one.ids)) for one in subsets]
    keys = [_key(inputs, rows, about | {"seed": one.seed}) for one, rows in zip(subsets, rows_of)]
    table = _Table(run, subsets, keys, {"options": Ask("", **options).options, "data": data})
    _write_overlap(run, subsets, table.shared)
    plan = side_by_side.Plan(inputs, recipe, asked["model"], steps, device, precision)
    todo = {key: Training(rows, one.seed) for key, rows, one in zip(keys, rows_of, subsets)}

    def judged(key: str, predicted: np.ndarray) -> pd.DataFrame:
        return _right(inputs, plan.held_out, predicted, run.classes).assign(**about, key=key)

    jobs = jobs or (1 if device == "cuda" else side_by_side.cores())
    return measured_once(plan, todo, table.trained, judged, table.save, name="evaluate", jobs=jobs, quiet=quiet)


# ------------------------------------------------------------------------------------------------- what is asked


def _decided(decisions: Applied) -> tuple[pd.DataFrame, str]:
    """The run's samples by id with the labels as decided, held-out ones that are excluded left out; their digest."""
    run, table = decisions.run, decisions.table
    table = table[(table["change"] != "excluded") | (table["split"] == "train")]
    if not table["split"].isin(HELD_OUT).any():
        raise LossprintError(f"expected validation or test samples to judge on, found none in {run.path}")
    table = table.sort_values("sample", ignore_index=True)
    data = hashlib.blake2b(digest_size=16)
    for part in (table["sample"], table["label"].where(table["change"] != "excluded", "")):
        data.update("\0".join(part.astype(str)).encode("utf-8", "surrogatepass") + b"\n")
    return table, data.hexdigest()


def _wrong(samples: pd.DataFrame, classes: list[str], truth: str | Path) -> np.ndarray:
    """1 where a sample's label is not that of the truth file (path, true_label), 0 where it is, else NaN, (N,)."""
    if not Path(truth).is_file():
        raise LossprintError(f"expected a file with the columns path,true_label, found none at {truth}")
    header, rows, lines = csv_rows(Path(truth))
    if not {"path", "true_label"} <= set(header):
        raise LossprintError(f"expected the columns path,true_label in {truth}, found {', '.join(header)[:200]}")
    at = [header.index(name) for name in ("path", "true_label")]
    told: dict[str, str] = {}
    for row, line in zip(rows, lines):
        path, label = (row[one] for one in at)
        if told.setdefault(path, label) != label:
            raise LossprintError(
                f"expected one true label of each path, found another of {path!r} in {line} of {truth}"
            )
    if told and not set(told.values()) & set(classes):
        raise LossprintError(
            f"expected labels of the run as true_label in {truth}, such as {classes[0]!r}, found only others, such as "
            f"{next(iter(told.values()))!r}"
        )
    real = samples["path"].map(told)
    train = (samples["split"] == "train").to_numpy(bool)
    if real[train].isna().all():
        raise LossprintError(
            f"expected training samples of the run in {truth}, such as {samples['path'][train].iloc[0]!r}, found none"
        )
    return np.where(real.isna(), np.nan, real.astype(object) != samples["label"].astype(object))


def _subsets(decisions, methods, fractions, seeds, options, samples, wrong, quiet) -> list[_Subset]:
    """All subsets that are asked for; those of a method without chance are the same for all seeds."""
    methods, fractions = list(dict.fromkeys(methods)), [float(one) for one in dict.fromkeys(fractions)]
    if not (methods and fractions and seeds):
        raise LossprintError("expected methods, fractions and seeds to evaluate, found none of one of them")
    for name in methods:
        if name not in METHODS:
            near = difflib.get_close_matches(name, METHODS, 1)
            raise LossprintError(
                f"expected methods that there are, found {name!r}{f', did you mean {near[0]}?' if near else ''}; there "
                f"are {', '.join(METHODS)}"
            )
    source = coresets.source_of(decisions, tuple(methods))
    for name in methods:
        if lacking := coresets.lacking(source, name):
            raise LossprintError(f"{METHODS[name].title} needs {lacking}")
    known, found, fixed = samples["sample"].to_numpy(np.int64), [], {}
    choices = [(f, m, s) for f in fractions for m in methods for s in (seeds if METHODS[m].chance else seeds[:1])]
    style = {"unit": "subset", "desc": "choose", "disable": quiet, **bar_style()}
    for fraction, method, seed in Bar(choices, **style):
        ask = Ask(method, fraction=fraction, seed=seed if METHODS[method].chance else 0, **options)
        ids = fixed.get((fraction, method))
        if fraction == 1.0 and not (ask.equal or ask.one_of_duplicates):
            ask = replace(ask, method="random")  # all samples, whatever they are ranked by, which can take minutes
        if ids is None:
            ids = coresets.choose(source, ask)["sample"].to_numpy(np.int64)
            by = coresets.settled(source, ask, len(ids))
            if not METHODS[by].chance and not ask.one_of_duplicates:  # of two duplicates a seed can choose another
                fixed[fraction, method] = fixed[fraction, by] = ids
        told = np.full(1, np.nan) if wrong is None else wrong[np.searchsorted(known, ids)]
        told = told[~np.isnan(told)]
        noisy = float(told.mean()) if len(told) else np.nan
        for one in [seed] if METHODS[method].chance else seeds:
            found.append(_Subset(method, fraction, one, ids, noisy))
    return found


def _right(inputs, rows: np.ndarray, predicted: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """For each split and class of the held-out rows: split, label, right, of."""
    labels = inputs.labels[rows]
    table = pd.DataFrame({"split": inputs.split[rows], "label": labels, "right": predicted == labels})
    table = table.groupby(["split", "label"])["right"].agg(right="sum", of="size").reset_index()
    return table.assign(label=np.array(classes, object)[table["label"]])


def _key(inputs, rows: np.ndarray, settings: dict) -> str:
    """A digest of all that a training and its judgement depend on."""
    held_out = np.flatnonzero(np.isin(inputs.split, HELD_OUT))
    settings = settings | {"size": inputs.size}
    if settings["precision"] == "float32":
        del settings["precision"]  # the keys of evaluations from before there was another one stay what they were
    samples, labels = inputs.samples, inputs.labels
    return digest(settings, samples[rows], labels[rows], samples[held_out], labels[held_out])


# ------------------------------------------------------------------------------------------------- what is written


class _Table:
    """The evaluation as it grows. trained: rows by key, of this and of earlier evaluations; shared: in all new rows."""

    def __init__(self, run: Run, subsets: list[_Subset], keys: list[str], shared: dict):
        self.run, self.shared, self.subsets = run, shared, list(zip(subsets, keys))
        before = _whole(run.evaluation())
        self.trained, self.noisy = {}, {}
        if before is not None:
            once = before.drop_duplicates(["key", "split", "label"])
            self.trained = {key: rows for key, rows in once.groupby("key", observed=True) if key in set(keys)}
            named = before.dropna(subset="noisy").drop_duplicates(["method", "fraction", "key"])
            self.noisy = named.set_index(["method", "fraction", "key"])["noisy"].to_dict()

    def save(self) -> pd.DataFrame:
        """Write what is there beside what others wrote in the meantime; the whole table."""
        new = []
        for one, key in self.subsets:
            if key in self.trained:
                noisy = self.noisy.get((one.method, one.fraction, key), np.nan) if np.isnan(one.noisy) else one.noisy
                which = {"method": one.method, "fraction": one.fraction, "seed": one.seed}
                sizes = {"train_samples": len(one.ids), "noisy": noisy, "outdated": False}
                new.append(self.trained[key].assign(**which, **sizes, **self.shared))

        def merge(now: pd.DataFrame | None) -> pd.DataFrame:
            table = pd.concat([part.astype(dict.fromkeys(TEXT, object)) for part in new], ignore_index=True)
            now = _whole(now)
            if now is not None:
                now = now.astype(dict.fromkeys(TEXT, object))
                now["outdated"] = now["data"] != self.shared["data"]
                again = now["key"].isin(table["key"]) | ~now["outdated"]
                again &= pd.MultiIndex.from_frame(now[SAME]).isin(pd.MultiIndex.from_frame(table[SAME]))
                table = pd.concat([now[~again], table], ignore_index=True)
            table = table.sort_values([*CELL, "seed", "label"], kind="stable", ignore_index=True)
            return table.astype(dict.fromkeys(TEXT, "category"))

        return self.run.update_evaluation(merge)


def _whole(table: pd.DataFrame | None) -> pd.DataFrame | None:
    """With the columns that earlier versions did not write: which decisions it rests on, and the precision."""
    if table is None:
        return None
    since = {"data": "", "precision": "float32"}
    return table.assign(**{name: value for name, value in since.items() if name not in table})


def _write_overlap(run: Run, subsets: list[_Subset], shared: dict) -> None:
    """What each two methods share at each fraction, beside what was found of the same dataset before."""
    sets: dict[tuple[float, str], set[int]] = {}
    for one in subsets:
        sets.setdefault((one.fraction, one.method), set(one.ids.tolist()))
    rows = [
        (fraction, first, second, len(mine & theirs) / min(len(mine), len(theirs)))
        for (fraction, first), mine in sets.items()
        for (other, second), theirs in sets.items()
        if other == fraction
    ]
    new = pd.DataFrame(rows, columns=["fraction", "first", "second", "shared"]).assign(**shared)
    names = ["options", "fraction", "first", "second"]

    def merge(now: pd.DataFrame | None) -> pd.DataFrame:
        now = _whole(now)
        old = new.head(0) if now is None else now[now["data"] == shared["data"]]
        both = (pd.concat([new, old]) if len(old) else new).drop_duplicates(names)
        return both.sort_values(names, ignore_index=True)[[*names, "shared", "data"]]

    run.update_overlap(merge)
