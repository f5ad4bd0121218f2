"""The coreset of a run: what may be chosen from, the choice, and how it is written, kept and made again.

A sample that the experts excluded is never chosen, and one that they relabelled has its decided label. A subset is
named by a record of all that it depends on, so that the same one can be made again.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from lossprint.audit.coresets.ask import LATER, OPTIONS, Ask, ask_of
from lossprint.audit.coresets.evaluated import cells, ranked
from lossprint.audit.coresets.files import Fit, apply, digest, part, read, untouched
from lossprint.audit.coresets.shortfall import short
from lossprint.audit.datasets.kinds import OF_FILES
from lossprint.audit.export import outfile
from lossprint.audit.export.applied import Applied, applied, run_in_record
from lossprint.audit.export.tree import dataset_root
from lossprint.audit.memorized.exposure import most_exposed
from lossprint.audit.review.resolve import resolve
from lossprint.audit.review.strata import relevant
from lossprint.audit.runs.open import version
from lossprint.audit.runs.run import Run
from lossprint.audit.system.csvfile import csv_text
from lossprint.audit.types import LossprintError, Selection, one_line
from lossprint.scoring.coresets.coreset import Pool, lacks, select
from lossprint.scoring.coresets.gradients import LastLayer
from lossprint.scoring.coresets.methods import METHODS, Method, recommended
from lossprint.scoring.duplicates import components

__all__ = ["Ask", "Fit", "apply", "ask_of", "read"]

COLUMNS = ("sample", "path", "label", "score", "rank")
MEASURED = "measured"  # no method of its own: what did best in an evaluation of the run, see `measured`
WRONG_LABEL = ("label_error", "sequence_label")  # findings that say so, and the scores that say how likely


@dataclass(frozen=True, eq=False)
class Source:
    """What a run has to choose from, training samples by row, decisions applied: see `coreset.Pool`.

    table: sample, path, label. last_review: the latest decision among them. decisions: those that were applied.
    """

    table: pd.DataFrame
    scores: Mapping[str, np.ndarray]
    pool: Pool
    last_review: int | None
    relabelled: int
    decisions: Applied

    @property
    def excluded(self) -> int:
        return int(self.pool.excluded.sum())


def source_of(decisions: Applied, methods: tuple[str, ...] | None = None) -> Source:
    """Read what the given methods (default: all) need; what a run does not have is left out."""
    run = decisions.run
    table, findings = run.scores(), run.findings()
    if table.empty:
        raise LossprintError(f"expected scores of training samples in {run.path}, found none")
    ids = table["sample"].to_numpy(np.int64)
    # A score that no sample has was not computed: without margins, for one, there is no AUM.
    numeric = table.select_dtypes("number").dropna(axis="columns", how="all").columns.drop("sample")
    decided = decisions.decided.set_index("sample")
    gone = decided.index[decided["change"] == "excluded"]
    given = table["label"].to_numpy(object)
    new = table["sample"].map(decided["label"]).to_numpy(object) if len(decided) else given
    label = np.where(pd.isna(new), given, new)
    needs = {needed(METHODS[one]) for one in METHODS if methods is None or one in methods}
    found = run.embeddings() if needs & {"embeddings", "last layer"} else None
    vectors = None if found is None else _rows(found, ids)
    layer = None
    if "last layer" in needs and vectors is not None:
        layer = _last_layer(run, vectors, label, found, decided)
    suspect = _suspects(table, findings, decisions.history)
    pool = Pool(np.isin(ids, gone), suspect, _twins(findings, ids), vectors, layer)
    last = decided["review"][decided.index.isin(ids)].max()
    return Source(
        table[["sample", "path"]].assign(label=pd.array(label, dtype=table["label"].dtype)),
        {name: table[name].to_numpy(float) for name in numeric},
        pool,
        None if pd.isna(last) else int(last),
        int(((label != given) & ~pool.excluded).sum()),
        decisions,
    )


def choose(source: Source, ask: Ask) -> pd.DataFrame:
    """The subset asked for, best first, columns COLUMNS: score is that of the method, rank counts from 1.

    Raises LossprintError for an unknown method, one whose needs the run does not meet, or an impossible budget.
    """
    pool = source.pool if ask.one_of_duplicates else replace(source.pool, group=None)
    if ask.without_exposed:
        exposed = most_exposed(source.decisions.run, ask.without_exposed)
        pool = replace(pool, excluded=pool.excluded | source.table["sample"].isin(exposed).to_numpy())
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
        raise LossprintError(one_line(error)) from None
    rows = source.table.iloc[chosen.index].reset_index(drop=True)
    return rows.assign(score=chosen.score, rank=range(1, len(rows) + 1))


def coreset(run: Run, method: str, **options) -> pd.DataFrame:
    """A subset of the training split, see `Ask` for the options and `choose` for what comes back."""
    ask = measured(run, Ask(method, **options))[0]
    return choose(source_of(applied(run), (ask.method,)), ask)


def measured(run: Run, ask: Ask) -> tuple[Ask, str]:
    """The ask with the method that did best on validation samples in place of `measured`, and how well, in words.

    Of networks and steps those count that most methods were measured with, of as many the longest training. Any other
    method stays, without words. Raises LossprintError where nothing was measured at that fraction, options the same.
    """
    if ask.method != MEASURED:
        return ask, ""
    if ask.fraction is None:
        raise LossprintError(f"expected a fraction with the method {MEASURED}, found {' '.join(ask.budget) or 'none'}")
    table = run.evaluation()
    found = pd.DataFrame() if table is None else cells(table)
    if len(found):
        found = found[(found["options"] == ask.options) & (found["split"] == "val") & (found["fraction"] < 1)]
    shares = " ".join(f"{one:.6g}" for one in sorted(found["fraction"].unique())) if len(found) else "none"
    ways = [one for _, one in found.groupby(["model", "steps"], observed=True)] if len(found) else []
    ways = [(ranked(one, ask.fraction), one["model"].iloc[0], one["steps"].iloc[0]) for one in ways]
    first, model, steps = max(ways, key=lambda one: (len(one[0]), one[2]), default=(pd.Series(), "", 0))
    if first.empty:
        words = ["--methods all", f"--fractions {ask.fraction:.6g}", *ask.flags]
        raise LossprintError(
            f"expected methods measured on validation samples at the fraction {ask.fraction:.6g} with these options, "
            f"found {shares}: lossprint coreset evaluate {run.path} {' '.join(words)}"
        )
    told = f"{first.index[0]}: best of {len(first)} methods on validation samples, {100 * first.iloc[0]:.1f} %"
    return replace(ask, method=first.index[0]), f"{told} ({model}, {steps:,} steps)"


def settled(source: Source, ask: Ask, size: int) -> str:
    """The method that a subset of that size was chosen by: another one than asked for only for `recommended`."""
    if METHODS[ask.method].how != "recommended":
        return ask.method
    return recommended(size / len(source.table), source.pool.vectors is not None)


def needed(method: Method) -> str:
    """What a method uses beside scores where the run has it: `recommended` does without embeddings, but not as well."""
    return "embeddings" if method.how == "recommended" else method.needs


def lacking(source: Source, method: str) -> str:
    """What a method needs and the run does not have, in words; empty where it can be used."""
    return lacks(METHODS[method], source.scores, source.pool)


def _rows(embeddings: tuple[np.ndarray, np.ndarray], ids: np.ndarray) -> np.ndarray | None:
    """The vectors of the samples, None where not all have one."""
    at = pd.Index(embeddings[0]).get_indexer(ids)
    return embeddings[1][at] if (at >= 0).all() else None


def _suspects(table: pd.DataFrame, findings: pd.DataFrame, history: pd.DataFrame) -> np.ndarray:
    """How likely the label is wrong where it was flagged and nobody has decided on it, NaN elsewhere, (N,).

    That a sample was kept as one of two copies, or as no outlier, says nothing of its label.
    """
    said = resolve(relevant(history, WRONG_LABEL))
    settled = said.loc[said["decision"] != "unsure", "sample"]
    suspect = np.full(len(table), np.nan)
    for kind in WRONG_LABEL:
        flagged = findings.loc[findings["kind"] == kind, "sample"]
        mine = table["sample"].isin(flagged) & ~table["sample"].isin(settled)
        if mine.any():
            suspect = np.fmax(suspect, np.where(mine, table[kind], np.nan))
    return suspect


def _twins(findings: pd.DataFrame, ids: np.ndarray) -> np.ndarray:
    """A number for each group of exact or near duplicates among the training samples, -1 for all others, (N,)."""
    copies = findings["kind"].isin(["duplicate", "near_duplicate"]) & findings["sample"].isin(ids)
    row = pd.Index(ids).get_indexer(findings.loc[copies, "sample"])
    finding, names = pd.factorize(findings.loc[copies, "group"])
    n = len(ids) + len(names)  # samples and findings, joined where a finding names a sample
    group = np.full(len(ids), -1)
    group[row] = components(row, len(ids) + finding, n)[row]
    return group


def _last_layer(
    run: Run, vectors: np.ndarray, label: np.ndarray, embeddings: tuple, decided: pd.DataFrame
) -> LastLayer | None:
    """The last layer of the run's last checkpoint, labels as decided; None where its weights are not there."""
    asked, saved = run.manifest["asked"], run.saved_checkpoints()
    size = run.manifest["facts"].get("record", {}).get("size")
    if "model" not in asked or not saved or size is None or run.members("view"):
        return None  # of two views the embeddings are the backbone's, which the trained layer does not take
    from lossprint.audit.training import models, train

    network = models.build_model(asked["model"], len(run.classes), int(size))
    train.load_weights(network, run.read_checkpoint(saved[-1]))
    last = models.last_linear(network)
    samples = run.samples().set_index("sample")
    val = samples.index[samples["split"] == "val"].difference(decided.index[decided["change"] == "excluded"])
    val_label = samples["label"][val].astype(object)
    val_label = decided["label"].astype(object).reindex(val).fillna(val_label)
    val_vectors = _rows(embeddings, val.to_numpy())
    if val_vectors is None:
        return None
    classes = pd.Index(run.classes)
    bias = np.zeros(last.out_features, np.float32) if last.bias is None else last.bias.detach().numpy()
    return LastLayer(
        vectors,
        classes.get_indexer(label).astype(np.int64),
        val_vectors,
        classes.get_indexer(val_label).astype(np.int64),
        last.weight.detach().numpy(),
        bias,
    )


# ------------------------------------------------------------------------------------------------- written


def record_of(run: Run, source: Source, ask: Ask, frame: pd.DataFrame) -> dict:
    """All that a subset depends on, for `outfile.record_text`. No clock: the same subset has the same record."""
    about, by = METHODS[ask.method], settled(source, ask, len(frame))
    by = {"by": by} if by != ask.method else {}
    lacking = short(source.table, ask, frame)
    return {
        "lossprint": version(),
        "coreset": {"method": ask.method, "title": about.title, "score": about.column, "kept_end": about.keep} | by,
        "budget": ask.budget,
        "params": {name: value for name, value in asdict(ask).items() if name in OPTIONS and (name != LATER or value)},
        "seed": ask.seed,
        "samples": len(frame),
        "of": len(source.table),
        "classes": {str(name): int(n) for name, n in frame["label"].value_counts().sort_index().items()},
        **({"short": lacking} if lacking else {}),
        "sha256": digest(csv_text(frame)),
        "dataset": run.manifest["dataset"].get("source"),
        "run": run_in_record(run) | {"seed": run.manifest.get("seed")},
        "versions": run.manifest.get("versions", {}),
        "decisions": {
            "last_review": source.last_review,
            "excluded": source.excluded,
            "relabelled": source.relabelled,
        },
    }


def write(
    run: Run, source: Source, ask: Ask, out: str | Path, like: dict | None = None, for_excel: bool = False
) -> pd.DataFrame:
    """Choose, and write FILE.csv or FILE.parquet, and its record beside it, such as FILE.csv.json; the table.

    Raises LossprintError as `choose` does, where the files cannot or must not be written, and where `like`, an earlier
    record, is of another subset.
    """
    frame, out = choose(source, ask), Path(out)
    outfile.refuse_table(run, frame, out, (".csv", *outfile.PARQUET))
    outfile.refuse_record(out)
    record = record_of(run, source, ask, frame)
    if like is not None and like.get("sha256") != record["sha256"]:
        raise LossprintError(f"expected the same subset again, found another one: {_differs(like, record)}")
    outfile.write(outfile.record_path(out), outfile.record_text(record).encode())
    outfile.save(run, frame, out, for_excel)
    return frame


def _differs(one: dict, other: dict) -> str:
    """What may be why the subsets of two records differ, in words."""
    ran, now = part(one, "run"), part(other, "run")
    if ran.get("fingerprint") != now["fingerprint"]:
        return "the record is of another dataset"
    if ran.get("created") != now["created"]:
        return "the record is of another run"
    if one.get("decisions") != other["decisions"]:
        return "decisions have been made or taken back since"
    return "decisions, scores or the version of lossprint have changed since"


def manifest(source: Source, chosen: pd.DataFrame) -> pd.DataFrame:
    """The subset as a dataset of its own: path, label, split (and sequence, frame), with the val and test samples.

    Labels are those decided, and what is excluded is left out, of val and test as well. In the order of the ids; paths
    are relative to the folder of the dataset.
    """
    table = source.decisions.table.copy()
    table["label"] = table["sample"].map(chosen.set_index("sample")["label"]).fillna(table["label"])
    held_out = (table["split"] != "train") & (table["change"] != "excluded")
    kept = table[table["sample"].isin(chosen["sample"]) | held_out]
    columns = [name for name in ("sequence", "frame") if name in kept and kept[name].notna().any()]
    return kept[["path", "label", "split", *columns]].reset_index(drop=True)


def write_manifest(source: Source, chosen: pd.DataFrame, out: str | Path, record: dict) -> None:
    """Write `manifest` to FILE.csv or FILE.parquet, paths relative to it, as `lossprint audit` reads it, and the
    subset's record beside it.

    Raises LossprintError where it cannot or must not be written, see `reached`.
    """
    out = Path(out)
    before = reached(source.decisions.run, out)
    table = manifest(source, chosen)
    table["path"] = before + table["path"]
    parquet = out.suffix.lower() in outfile.PARQUET
    outfile.write(out, outfile.parquet_bytes(table) if parquet else outfile.encoded(csv_text(table), str(out)))
    told = {name: value for name, value in record.items() if name != "sha256"} | {"manifest": out.name}
    outfile.write(outfile.record_path(out), outfile.record_text(told).encode())


def reached(run: Run, out: str | Path) -> str:
    """What to put before a path of the dataset in a manifest at `out`.

    Raises LossprintError where the images cannot be reached from there, as a manifest's paths lead to no folder above
    it, and where another file is there: one with path and label may be somebody's own manifest.
    """
    out, root, about = Path(out), dataset_root(run), run.manifest["dataset"]
    if about.get("kind") != "remote" and (root is None or about.get("kind") not in OF_FILES):
        raise LossprintError(f"expected a run of image files for a manifest, found none in {run.path}")
    outfile.refuse(run, out, (".csv", *outfile.PARQUET), lambda file: outfile.read_record(file) is not None)
    outfile.refuse_record(out)
    if out.exists() and outfile.read_record(out) is None:
        raise LossprintError(f"expected a new file or an earlier export for the manifest, found another file at {out}")
    if about.get("kind") == "remote":  # paths are URLs, or are made ones
        return f"{about['root']}/" if "://" in about["root"] else ""
    place = out.resolve().parent
    if not root.is_relative_to(place):
        raise LossprintError(
            f"expected a place for the manifest from which its images are reached, {root} or a folder above it, "
            f"found {out}"
        )
    way = root.relative_to(place).as_posix()
    return "" if way == "." else f"{way}/"


# ------------------------------------------------------------------------------------------------- kept


def keep(run: Run, source: Source, ask: Ask, name: str, frame: pd.DataFrame | None = None) -> Selection:
    """Keep a subset in the run folder under a name, in place of one so named. frame: what `choose` gave, if known."""
    name = name.strip()
    run.selection_path(name)  # refuses one that cannot be
    same = [one for one in run.selections() if one != name and one.lower() == name.lower()]
    if same:  # on some systems one would replace the other
        raise LossprintError(f"expected a name that differs from {same[0]!r} by more than capitals, found {name!r}")
    frame = choose(source, ask) if frame is None else frame
    record = record_of(run, source, ask, frame) | {"name": name}
    try:
        run.write_selection(name, csv_text(frame), outfile.record_text(record))
    except OSError as error:
        raise LossprintError(f"expected a run folder that can be written, found: {error.strerror or error}") from None
    return _selection(name, record, frame)


def kept(run: Run) -> list[Selection]:
    """The subsets that were kept, by name; those that are `damaged` are left out."""
    return [found for found in _kept(run).values() if isinstance(found, Selection)]


def damaged(run: Run) -> dict[str, str]:
    """Names of kept subsets that cannot be used, and why: what they were is not certain any more."""
    return {name: found for name, found in _kept(run).items() if isinstance(found, str)}


def _kept(run: Run) -> dict[str, Selection | str]:
    found: dict[str, Selection | str] = {}
    for name in run.selections():
        path = run.selection_path(name)
        try:
            frame, record = read(path)
            if record is None:
                raise LossprintError(f"expected a record of what was kept beside {path}, found none")
            if not untouched(path, record):
                raise LossprintError(f"expected the subset that was kept, found another one at {path}")
            found[name] = _selection(name, record, frame)
        except LossprintError as error:
            found[name] = str(error)
    return found


def _selection(name: str, record: dict, frame: pd.DataFrame) -> Selection:
    ask, params = ask_of(record), {**part(record, "params"), "decisions": part(record, "decisions")}
    return Selection(name, ask.method, ask.budget, tuple(frame["sample"].tolist()), {"seed": ask.seed, **params})
