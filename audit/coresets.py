"""The coreset of a run: what may be chosen from, the choice, and how it is written, kept and applied to a dataset.

A sample that the experts excluded is never chosen, and one that they relabelled has its decided label. A subset is
named by a record of all that it depends on, so that the same one can be made again.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from lossprint.audit import outfile
from lossprint.audit.csvfile import csv_text, unguard
from lossprint.audit.export import applied, need_whole
from lossprint.audit.review import Reviews
from lossprint.audit.store import Run, open_run, version
from lossprint.audit.types import LossprintError, Selection
from lossprint.scoring.coreset import Pool, lacks, select
from lossprint.scoring.gradients import LastLayer
from lossprint.scoring.methods import METHODS

COLUMNS = ("sample", "path", "label", "score", "rank")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}")


@dataclass(frozen=True)
class Ask:
    """What subset is wanted: a method, one budget of fraction, number and per_class, and what must hold of it.

    equal: the same number of each class instead of its share. at_least: of each class. one_of_duplicates: never both of
    a pair of exact or near duplicates.
    """

    method: str
    fraction: float | None = None
    number: int | None = None
    per_class: int | None = None
    equal: bool = False
    at_least: int = 1
    one_of_duplicates: bool = False
    seed: int = 0

    @property
    def budget(self) -> dict:
        given = {"fraction": self.fraction, "number": self.number, "per_class": self.per_class}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, eq=False)
class Source:
    """What a run has to choose from, training samples by row, decisions applied: see `coreset.Pool`.

    table: sample, path, label. last_review: the latest decision among them.
    """

    table: pd.DataFrame
    scores: Mapping[str, np.ndarray]
    pool: Pool
    last_review: int | None
    relabelled: int

    @property
    def excluded(self) -> int:
        return int(self.pool.excluded.sum())


def source_of(run: Run, reviews: Reviews | None = None, methods: tuple[str, ...] | None = None) -> Source:
    """Read what the given methods (default: all) need; what a run does not have is left out."""
    need_whole(run)
    table = run.scores()
    ids = table["sample"].to_numpy(np.int64)
    # A score that no sample has was not computed: without margins, for one, there is no AUM.
    numeric = table.select_dtypes("number").dropna(axis="columns", how="all").columns.drop("sample")
    scores = {name: table[name].to_numpy(float) for name in numeric}
    decided = applied(run, reviews, decided_only=True).set_index("sample")
    decided = decided[decided.index.isin(ids)]
    given = table["label"].to_numpy(object)
    label = table["sample"].map(decided["label"]).to_numpy(object) if len(decided) else given
    label = np.where(pd.isna(label), given, label)
    gone = decided.index[decided["change"] == "excluded"]
    settled = decided.index[decided["decision"] != "unsure"]
    flagged = run.findings()
    flagged = set(flagged.loc[flagged["kind"] == "label_error", "sample"]) - set(settled)
    suspect = np.where(np.isin(ids, list(flagged)), table["label_error"], np.nan)
    needs = {METHODS[one].needs for one in METHODS if methods is None or one in methods}
    vectors = layer = None
    if needs & {"embeddings", "last layer"} and (found := run.embeddings()) is not None:
        at = pd.Index(found[0]).get_indexer(ids)
        vectors = found[1][at] if (at >= 0).all() else None
        if "last layer" in needs and vectors is not None:
            layer = _last_layer(run, vectors, label, found)
    pool = Pool(np.isin(ids, gone), suspect, _twins(run, ids), vectors, layer)
    last = decided["review"].max()
    return Source(
        table[["sample", "path"]].assign(label=pd.array(label, dtype=table["label"].dtype)),
        scores,
        pool,
        None if pd.isna(last) else int(last),
        int((label != given).sum()),
    )


def choose(source: Source, ask: Ask) -> pd.DataFrame:
    """The subset asked for, best first, columns COLUMNS: score is that of the method, rank counts from 1.

    Raises LossprintError for an unknown method, one whose needs the run does not meet, or an impossible budget.
    """
    pool = source.pool if ask.one_of_duplicates else replace(source.pool, group=None)
    try:
        chosen = select(
            ask.method,
            source.scores,
            source.table["label"].to_numpy(str),
            fraction=ask.fraction,
            number=ask.number,
            per_class=ask.per_class,
            equal=ask.equal,
            at_least=ask.at_least,
            seed=ask.seed,
            sample_ids=source.table["sample"].to_numpy(),
            pool=pool,
        )
    except ValueError as error:
        raise LossprintError(" ".join(str(error).split())) from None
    rows = source.table.iloc[chosen.index].reset_index(drop=True)
    return rows.assign(score=chosen.score, rank=range(1, len(rows) + 1))


def coreset(run: Run, method: str, **options) -> pd.DataFrame:
    """A subset of the training split, see `Ask` for the options and `choose` for what comes back."""
    return choose(source_of(run, methods=(method,)), Ask(method, **options))


def lacking(source: Source, method: str) -> str:
    """What a method needs and the run does not have, in words; empty where it can be used."""
    return lacks(METHODS[method], source.scores, source.pool)


def _twins(run: Run, ids: np.ndarray) -> np.ndarray:
    """A number for each group of exact or near duplicates among the training samples, -1 for all others, (N,)."""
    found = run.findings()
    found = found[found["kind"].isin(["duplicate", "near_duplicate"]) & found["sample"].isin(ids)]
    parent = np.arange(len(ids))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = at = parent[parent[at]]
        return at

    row = pd.Index(ids).get_indexer(found["sample"])
    for members in pd.Series(row).groupby(found["group"].to_numpy()):
        first = root(int(members[1].iloc[0]))
        for one in members[1].iloc[1:].tolist():
            parent[root(one)] = first
    group = np.full(len(ids), -1)
    for one in row.tolist():
        group[one] = root(one)
    return group


def _last_layer(run: Run, vectors: np.ndarray, label: np.ndarray, embeddings: tuple) -> LastLayer | None:
    """The last layer of the run's last checkpoint, None where its weights are not there or nothing was held out."""
    asked, saved = run.manifest["asked"], run.saved_checkpoints()
    if "model" not in asked or not saved or "record" not in run.manifest["facts"]:
        return None
    from lossprint.audit import models, train

    network = models.build_model(asked["model"], len(run.classes), int(run.manifest["facts"]["record"]["size"]))
    train.load_weights(network, run.read_checkpoint(saved[-1]))
    last = models.last_linear(network)
    index = {name: at for at, name in enumerate(run.classes)}
    samples = run.samples()
    val = samples[samples["split"] == "val"]
    at = pd.Index(embeddings[0]).get_indexer(val["sample"])
    bias = np.zeros(last.out_features, np.float32) if last.bias is None else last.bias.detach().numpy()
    return LastLayer(
        vectors,
        np.array([index[one] for one in label], np.int64),
        embeddings[1][at[at >= 0]],
        val["label"].map(index).to_numpy(np.int64)[at >= 0],
        last.weight.detach().numpy(),
        bias,
    )


# ------------------------------------------------------------------------------------------------- written, kept


def record_of(run: Run, source: Source, ask: Ask, frame: pd.DataFrame) -> dict:
    """All that a subset depends on, for `outfile.record_text`. No clock: the same subset has the same record."""
    about = METHODS[ask.method]
    dataset = run.manifest["dataset"]
    return {
        "lossprint": version(),
        "coreset": {"method": ask.method, "title": about.title, "score": about.column, "kept_end": about.keep},
        "budget": ask.budget,
        "params": {name: value for name, value in asdict(ask).items() if name not in (*BUDGETS, "method", "seed")},
        "seed": ask.seed,
        "samples": len(frame),
        "of": len(source.table),
        "classes": {str(name): int(n) for name, n in frame["label"].value_counts().sort_index().items()},
        "dataset": dataset.get("source"),
        "run": {
            "name": run.name,
            "path": str(run.path.resolve()),
            "fingerprint": dataset.get("fingerprint"),
            "created": run.manifest.get("created"),
            "seed": run.manifest.get("seed"),
        },
        "versions": run.manifest.get("versions", {}),
        "decisions": {
            "last_review": source.last_review,
            "excluded": source.excluded,
            "relabelled": source.relabelled,
        },
    }


BUDGETS = ("fraction", "number", "per_class")


def write(run: Run, source: Source, ask: Ask, out: str | Path) -> pd.DataFrame:
    """Choose, and write FILE.csv and its record FILE.csv.json; the table.

    Raises LossprintError as `choose` does, and where the files cannot or must not be written.
    """
    frame, out = choose(source, ask), Path(out)
    outfile.refuse_table(run, frame, out, (".csv",))
    outfile.refuse_record(out)
    outfile.write(outfile.record_path(out), outfile.record_text(record_of(run, source, ask, frame)).encode())
    return outfile.save(run, frame, out) and frame


def manifest(run: Run, chosen: pd.DataFrame) -> pd.DataFrame:
    """The subset as a dataset of its own: path, label, split (and sequence, frame) with all val and test samples.

    Training samples are in the order of their ids.
    """
    samples = run.samples().sort_values("sample", ignore_index=True)
    label = samples["sample"].map(chosen.set_index("sample")["label"])
    samples = samples.assign(label=label.fillna(samples["label"]))
    kept = samples[samples["sample"].isin(chosen["sample"]) | (samples["split"] != "train")]
    columns = [name for name in ("sequence", "frame") if name in kept and kept[name].notna().any()]
    return kept[["path", "label", "split", *columns]].reset_index(drop=True)


def keep(run: Run, source: Source, ask: Ask, name: str) -> Selection:
    """Choose, and keep the subset in the run folder under a name; one of that name is replaced."""
    name = name.strip()
    if not NAME.fullmatch(name):
        raise LossprintError(
            f"expected a name of up to 64 letters, digits, blanks and . _ + -, starting with a letter or digit, found "
            f"{name!r}"
        )
    frame = choose(source, ask)
    record = record_of(run, source, ask, frame) | {"name": name}
    run.write_selection(name, csv_text(frame), outfile.record_text(record))
    return _selection(name, record, frame)


def kept(run: Run) -> list[Selection]:
    """The subsets that were kept, by name."""
    found = []
    for name in run.selections():
        frame, record = read(run.selection_path(name))
        found.append(_selection(name, record or {}, frame))
    return found


def _selection(name: str, record: dict, frame: pd.DataFrame) -> Selection:
    params = {"seed": record.get("seed", 0), **record.get("params", {}), "decisions": record.get("decisions", {})}
    method = record.get("coreset", {}).get("method", "")
    return Selection(name, method, record.get("budget", {}), tuple(frame["sample"].tolist()), params)


# ------------------------------------------------------------------------------------------------- applied


def read(path: str | Path) -> tuple[pd.DataFrame, dict | None]:
    """A coreset CSV and its record, None without one. Raises LossprintError where it is none."""
    path = Path(path)
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise LossprintError(f"expected a coreset CSV, found nothing at {path}") from None
    except (OSError, ValueError) as error:
        raise LossprintError(f"expected a coreset CSV at {path}, found: {' '.join(str(error).split())[:200]}") from None
    missing = [name for name in ("sample", "path", "label") if name not in frame]
    if missing:
        raise LossprintError(f"expected columns sample,path,label in {path}, found no {missing[0]!r}")
    if frame.empty:
        raise LossprintError(f"expected samples in {path}, found none")
    whole = frame["sample"].str.fullmatch(r"\d{1,18}")
    if not whole.all():
        at = int((~whole).to_numpy().argmax())
        raise LossprintError(
            f"expected whole numbers as sample in {path}, found {frame['sample'][at]!r} in row {at + 2}"
        )
    frame = frame.assign(sample=frame["sample"].astype(np.int64))
    for name in ("path", "label"):
        frame[name] = [unguard(text) for text in frame[name]]
    if frame["sample"].duplicated().any():
        twice = int(frame["sample"][frame["sample"].duplicated()].iloc[0])
        raise LossprintError(f"expected each sample once in {path}, found {twice} again")
    return frame, outfile.read_record(path)


@dataclass(frozen=True)
class Fit:
    """How a coreset fits a dataset: its rows; relabelled: how many have another label than the dataset gives them."""

    samples: pd.DataFrame
    relabelled: int
    of: int
    fingerprint: bool | None  # whether the dataset is the one of the record, None where it does not say


def apply(path: str | Path, dataset: str) -> Fit:
    """Check that the ids and paths of a coreset CSV are training samples of a dataset, and the same ones.

    Raises LossprintError, naming the first that is not. Splits are those that the dataset itself has: a validation
    split that the audit drew is not known here, so such samples count as training samples.
    """
    from lossprint.audit.datasets import open_dataset

    frame, record = read(path)
    there = open_dataset(dataset, check=False)
    samples = there.samples.set_index("sample")
    unknown = ~frame["sample"].isin(samples.index)
    if unknown.any():
        raise LossprintError(
            f"expected samples of {dataset}, which has {len(samples):,}, found {int(unknown.sum()):,} others in "
            f"{path}, such as {int(frame['sample'][unknown].iloc[0])} ({frame['path'][unknown].iloc[0]!r})"
        )
    mine = samples.loc[frame["sample"]]
    other = mine["path"].to_numpy(str) != frame["path"].to_numpy(str)
    if other.any():
        at = int(other.argmax())
        raise LossprintError(
            f"expected the paths of {dataset} in {path}, found {int(other.sum()):,} others, such as "
            f"{frame['path'].iloc[at]!r} for sample {frame['sample'].iloc[at]}, there {mine['path'].iloc[at]!r}"
        )
    tested = mine["split"].to_numpy(str) == "test"
    if tested.any():
        at = int(tested.argmax())
        raise LossprintError(
            f"expected training samples in {path}, found {int(tested.sum()):,} of the test split of {dataset}, such as "
            f"{mine['path'].iloc[at]!r}"
        )
    strange = ~frame["label"].isin(there.classes)
    if strange.any():
        raise LossprintError(
            f"expected labels of {dataset} in {path}, found {frame['label'][strange].iloc[0]!r} for sample "
            f"{int(frame['sample'][strange].iloc[0])}"
        )
    made = ((record or {}).get("run") or {}).get("fingerprint")
    return Fit(
        frame,
        int((mine["label"].to_numpy(str) != frame["label"].to_numpy(str)).sum()),
        int((there.samples["split"] != "test").sum()),
        None if made is None else made == there.fingerprint,
    )


def opened(path: str | Path) -> tuple[Run, Source]:
    """A run by its path, and what may be chosen from it."""
    run = open_run(path)
    return run, source_of(run)
